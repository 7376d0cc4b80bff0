//! Replication connections: each is one client's, from its login to its end.
//!
//! They stand beside the pools: PostgreSQL counts walsenders apart from its
//! other backends, and nothing of one can be shared.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use thiserror::Error;
use tokio::time::timeout;

use super::cancel::CancelHandle;
use super::connection::Connection;
use super::error::UpstreamError;
use super::introduction::Introduction;
use super::pools::{Pools, PoolsError};
use super::search;
use super::standing::{ServerInfo, ServerRecord, ServerState};
use crate::wire::{ErrorReport, Replication, SqlState};

/// Why there is no replication connection.
#[derive(Debug, Clone, Error)]
pub enum WalsenderError {
    #[error(transparent)]
    Pools(#[from] PoolsError),
    /// `max_replication_connections` are open: 53300.
    #[error("too many replication connections")]
    TooMany,
    /// PAUSE or KILL holds: 57P03.
    #[error("the database is paused")]
    Paused,
    #[error(transparent)]
    Connect(#[from] UpstreamError),
}

impl WalsenderError {
    /// What the client is told.
    pub fn report(&self) -> ErrorReport {
        match self {
            Self::Pools(error) => error.report(),
            Self::TooMany => ErrorReport::fatal(SqlState::TOO_MANY_CONNECTIONS, self.to_string())
                .with_hint("See pool.max_replication_connections."),
            Self::Paused => ErrorReport::fatal(SqlState::CANNOT_CONNECT_NOW, self.to_string()),
            Self::Connect(error) => error.report(),
        }
    }
}

/// Those that are open or being opened.
#[derive(Default)]
pub(super) struct Walsenders(Mutex<Seats>);

#[derive(Default)]
struct Seats {
    next: u64,
    /// `None` while it is being opened.
    taken: BTreeMap<u64, Option<Arc<ServerRecord>>>,
}

impl Walsenders {
    fn take(self: &Arc<Self>, limit: usize) -> Option<Seat> {
        let mut seats = self.0.lock();
        if seats.taken.len() >= limit {
            return None;
        }
        seats.next += 1;
        let id = seats.next;
        seats.taken.insert(id, None);
        Some(Seat {
            all: Arc::clone(self),
            id,
            introduction: None,
        })
    }

    pub fn servers(&self) -> Vec<ServerInfo> {
        let seats = self.0.lock();
        let records = seats.taken.values().flatten();
        records.map(|record| record.info()).collect()
    }
}

/// One place among them; given back when dropped.
struct Seat {
    all: Arc<Walsenders>,
    id: u64,
    /// Who is told that the connection is gone.
    introduction: Option<Arc<dyn Introduction>>,
}

impl Seat {
    fn record(&self, record: Arc<ServerRecord>) {
        self.all.0.lock().taken.insert(self.id, Some(record));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let record = self.all.0.lock().taken.remove(&self.id).flatten();
        if let (Some(record), Some(introduction)) = (record, &self.introduction) {
            introduction.departed(&record.info());
        }
    }
}

/// A replication connection. Dropped, it is closed.
pub struct Walsender {
    connection: Connection,
    lease: u64,
    cancel_wait: Duration,
    /// Behind the connection: whoever hears that it is gone must find it gone.
    _seat: Seat,
}

impl Pools {
    /// Opens a replication connection of `user`, with the client's own startup `parameters`
    /// (without `user`, `database` and `replication`). A logical one is introduced as those of the
    /// pools are, since SQL may write there; a physical one can only replicate.
    ///
    /// # Errors
    /// See [`WalsenderError`].
    pub async fn replicate(
        &self,
        database: &str,
        user: &str,
        kind: Replication,
        parameters: &[(String, String)],
    ) -> Result<Walsender, WalsenderError> {
        if self.is_disabled(database) {
            return Err(PoolsError::Disabled(database.to_owned()).into());
        }
        if self.is_paused(Some(database)) {
            return Err(WalsenderError::Paused);
        }
        let (plan, limits, places) = self.walsender_plan(database, user)?;
        let mut seat = self
            .walsenders
            .take(places)
            .ok_or(WalsenderError::TooMany)?;
        let mut options = plan.options;
        let ours = std::mem::take(&mut options.parameters);
        options.parameters = merged(ours, kind, parameters);
        let mut connection = search::open(&plan.target, &options, self.introduction()).await?;
        let record = Arc::new(ServerRecord::new(
            info(&connection, database, user),
            Arc::clone(&connection.gate),
        ));
        record.set_state(ServerState::Pinned);
        seat.record(record);
        if let (Replication::Logical, Some(introduction)) = (kind, self.introduction()) {
            seat.introduction = Some(Arc::clone(introduction));
            let introduced = introduction.introduce(&mut connection);
            timeout(options.timeout, introduced)
                .await
                .unwrap_or(Err(UpstreamError::ConnectTimeout(options.timeout)))?;
        }
        Ok(Walsender {
            lease: connection.gate.open(),
            connection,
            cancel_wait: limits.cancel_wait,
            _seat: seat,
        })
    }

    /// The replication connections, in the order in which they were opened.
    pub fn walsenders(&self) -> Vec<ServerInfo> {
        self.walsenders.servers()
    }
}

/// The startup packet's parameters: the operator's `options` before the client's, which so prevail.
fn merged(
    ours: Vec<(String, String)>,
    kind: Replication,
    theirs: &[(String, String)],
) -> Vec<(String, String)> {
    let value = match kind {
        Replication::Physical => "true",
        Replication::Logical => "database",
    };
    let mut merged = vec![("replication".to_owned(), value.to_owned())];
    merged.extend(ours);
    let (options, others): (Vec<_>, Vec<_>) = theirs
        .iter()
        .cloned()
        .partition(|(name, _)| name == "options");
    // PostgreSQL heeds the last.
    if let Some((name, value)) = options.into_iter().next_back() {
        match merged.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = format!("{known} {value}"),
            None => merged.push((name, value)),
        }
    }
    merged.extend(others);
    merged
}

fn info(connection: &Connection, database: &str, user: &str) -> ServerInfo {
    let (local, remote) = connection.stream.addresses().unzip();
    let now = SystemTime::now();
    ServerInfo {
        database: database.to_owned(),
        user: user.to_owned(),
        pid: connection.pid,
        state: ServerState::Pinned,
        connected_at: now,
        requested_at: Some(now),
        application: String::new(),
        local,
        remote,
        address: connection.target.address(),
        tls: connection.stream.tls_text(),
        generation: 0,
        close_needed: false,
        statements: 0,
        cancels: 0,
    }
}

impl Walsender {
    /// A handle to cancel what runs there, as long as it is open.
    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle {
            gate: Arc::clone(&self.connection.gate),
            lease: self.lease,
            target: Arc::clone(&self.connection.target),
            encrypted: self.connection.is_encrypted(),
            pid: self.connection.pid,
            key: self.connection.key.clone(),
            wait: self.cancel_wait,
        }
    }
}

impl Deref for Walsender {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Walsender {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

impl Drop for Walsender {
    fn drop(&mut self) {
        self.connection.gate.shut();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        all.iter().map(owned).collect()
    }

    #[test]
    fn the_clients_options_come_behind_the_operators() {
        let theirs = pairs(&[("application_name", "standby"), ("options", "-c b=2")]);
        let ours = pairs(&[("options", "-c a=1")]);
        assert_eq!(
            merged(ours, Replication::Logical, &theirs),
            pairs(&[
                ("replication", "database"),
                ("options", "-c a=1 -c b=2"),
                ("application_name", "standby"),
            ])
        );
        let alone = pairs(&[("options", "-c b=2"), ("options", "-c c=3")]);
        let sent = merged(Vec::new(), Replication::Physical, &alone);
        assert_eq!(
            sent,
            pairs(&[("replication", "true"), ("options", "-c c=3")])
        );
    }

    #[test]
    fn a_seat_is_free_again_when_its_holder_is_gone() {
        let walsenders = Arc::new(Walsenders::default());
        let one = walsenders.take(1).unwrap();
        assert!(walsenders.take(1).is_none());
        assert!(walsenders.take(0).is_none());
        drop(one);
        assert!(walsenders.take(1).is_some());
    }
}
