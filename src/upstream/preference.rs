//! Which connection a session would rather have again: the one whose number it knows.
//!
//! No pin: where nothing else is idle and the pool has no room, anybody gets it. The session holds the
//! preference and the connection its other end, so that it is over with whichever goes first, and nobody
//! has to look for the other.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;
use super::pool::{Desk, Pool};

/// How long somebody may wait for a connection of its own while one lies idle that another session prefers.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

/// A session's preference for one connection, until it is dropped or another session asks there.
#[derive(Debug)]
pub struct Preference {
    session: u64,
}

/// A connection's end of it.
#[derive(Debug, Default)]
pub(super) struct PreferredBy(Weak<Preference>);

impl PreferredBy {
    /// The session, if it still is there and has not moved on.
    pub fn session(&self) -> Option<u64> {
        self.0.upgrade().map(|preference| preference.session)
    }

    pub fn is(&self, session: u64) -> bool {
        self.session() == Some(session)
    }

    /// Whether it is for another session than this.
    pub fn is_other(&self, session: u64) -> bool {
        self.session().is_some_and(|other| other != session)
    }
}

impl Connection {
    /// From now on `session` prefers this connection to others, as long as what is returned exists.
    pub fn prefer(&mut self, session: u64) -> Arc<Preference> {
        if let Some(preference) = self.preferred_by.0.upgrade()
            && preference.session == session
        {
            return preference;
        }
        let preference = Arc::new(Preference { session });
        self.preferred_by = PreferredBy(Arc::downgrade(&preference));
        preference
    }
}

impl Pool {
    /// Whether connections that others prefer are left to them: another one is on its way to each of the
    /// first `waiters`, or can be opened, and none of them has waited for long.
    pub(super) fn leaves_preferred(&self, desk: &Desk, waiters: usize, now: Instant) -> bool {
        let limits = self.limits.load();
        let to_open = waiters.saturating_sub(desk.opening);
        let has_room = to_open == 0
            || (self.counted(desk, &limits) + to_open <= limits.size
                && !self.room.database.is_full()
                && !self.room.database.is_anybody_starving());
        let fails = desk.failure.as_ref().is_some_and(|f| f.until > now);
        let patient = |since| now.saturating_duration_since(since) < PATIENCE;
        has_room && !fails && desk.shelf.first_waits_since().is_none_or(patient)
    }
}
