//! A lease: one session's hold on one connection.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::cancel::CancelHandle;
use super::connection::Connection;
use super::pool::{Held, Pool};

/// A connection that nobody else has.
///
/// It comes back clean or not at all: dropped without
/// [`finish(true)`](Self::finish) or [`clean`](Self::clean) it is closed.
pub struct Lease {
    /// Absent only while it is being taken apart.
    held: Option<Held>,
    pool: Arc<Pool>,
    number: u64,
    clean: bool,
    pinned: bool,
    first: bool,
}

impl Lease {
    /// Clean until it is accepted, since nobody can have touched it.
    pub(super) fn new(pool: Arc<Pool>, held: Held) -> Self {
        let number = held.gate.open();
        if let Some(standing) = &held.standing {
            standing.record.leased();
        }
        Self {
            held: Some(held),
            pool,
            number,
            clean: true,
            pinned: false,
            first: false,
        }
    }

    pub(super) fn accept(mut self) -> Self {
        self.clean = false;
        self.first = !std::mem::replace(&mut self.has_served, true);
        self
    }

    /// Nobody has had the connection before.
    pub fn is_first(&self) -> bool {
        self.first
    }

    pub(super) fn into_held(mut self) -> Held {
        let held = self.held.take().expect(HELD);
        held.gate.shut();
        held
    }

    /// Ends the lease. `clean` promises that the connection is idle outside a
    /// transaction, that everything it sent was read, and that its public
    /// fields tell all that the session left on it; else it is closed.
    pub fn finish(mut self, clean: bool) {
        self.clean = clean;
    }

    /// As `finish(true)` will do, but the lease goes on until it is dropped.
    /// Take it back with [`dirty`](Self::dirty) before the next use.
    pub fn clean(&mut self) {
        self.clean = true;
    }

    pub fn dirty(&mut self) {
        self.clean = false;
    }

    /// Takes the connection out of the pool's count, as far as
    /// `max_pinned_connections` goes: it will stay with this session for long.
    pub fn pin(&mut self) {
        if !std::mem::replace(&mut self.pinned, true) {
            self.pool.set_pinned(self, true);
        }
    }

    /// Counts the connection again.
    pub fn unpin(&mut self) {
        if std::mem::replace(&mut self.pinned, false) {
            self.pool.set_pinned(self, false);
        }
    }

    pub fn is_pinned(&self) -> bool {
        self.pinned
    }

    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// What `SHOW SERVERS` calls the application; else it is the
    /// `application_name` that was applied when the last lease ended.
    pub fn set_application(&self, name: &str) {
        if let Some(standing) = &self.standing {
            standing.record.set_application(name);
        }
    }

    /// A handle to cancel what this lease runs. It does nothing once the lease
    /// is over.
    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle {
            gate: Arc::clone(&self.gate),
            lease: self.number,
            target: Arc::clone(&self.target),
            encrypted: self.is_encrypted(),
            pid: self.pid,
            key: self.key.clone(),
            wait: self.pool.limits.load().cancel_wait,
        }
    }
}

const HELD: &str = "a lease holds its connection until it is dropped";

impl Deref for Lease {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.held.as_ref().expect(HELD)
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Connection {
        self.held.as_mut().expect(HELD)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.pool.take_back(held, self.clean, self.pinned);
        }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease")
            .field("connection", &self.held.as_deref())
            .field("pinned", &self.pinned)
            .finish_non_exhaustive()
    }
}
