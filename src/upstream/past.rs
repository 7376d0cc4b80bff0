//! What the process behind a connection has been through, where an answer depends on it.
//!
//! Libraries once loaded, a temporary schema once made, what C code keeps in its variables: none of it can be
//! undone. Who must not meet it gets a connection that was opened in the place of another.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::connection::Connection;
use super::counter;
use super::error::LeaseError;
use super::keeper;
use super::lease::Lease;
use super::pool::{Condition, Pool, Wish};

/// What the process may have been through; each admits less than the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Past {
    #[default]
    Anything,
    /// It has no temporary schema.
    NoTemporarySchema,
    /// It has served nobody.
    Nothing,
}

impl Past {
    pub(super) fn admits(self, connection: &Connection) -> bool {
        match self {
            Past::Anything => true,
            Past::NoTemporarySchema => !connection.has_temporary_schema,
            Past::Nothing => !connection.has_served,
        }
    }

    fn admitted(self, lease: &Lease) -> bool {
        match self {
            Past::Nothing => lease.is_first(),
            other => other.admits(lease),
        }
    }
}

/// What goes into the startup packet of a connection that one session alone gets: `options` as PostgreSQL reads them.
#[derive(Clone)]
pub struct Beginning(Arc<str>);

impl Beginning {
    /// Connections that begin with these settings.
    pub fn with<'a>(settings: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut options = String::new();
        for (name, value) in settings {
            options.push_str(" -c ");
            for character in name.chars().chain(['=']).chain(value.chars()) {
                if character.is_ascii_whitespace() || matches!(character, '\x0b' | '\\') {
                    options.push('\\');
                }
                options.push(character);
            }
        }
        Self(options.into())
    }

    pub(super) fn options(&self) -> &str {
        &self.0
    }
}

/// Without the values: they may be secrets of the application.
impl std::fmt::Debug for Beginning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Beginning").finish_non_exhaustive()
    }
}

impl Pool {
    /// Leases a connection: at once if one is idle, else in the order of asking.
    /// Waits until `deadline` or for `query_wait_timeout`, whichever is shorter.
    ///
    /// Its settings are as [`Connection::applied`] says, not as wished; its past is as wished. One that
    /// [begins](Wish::beginning) in its own way takes the place of another, and is closed when the lease is over.
    ///
    /// Cancel safe: a waiter that goes away loses its place and nothing else; a
    /// connection that was already handed to it goes to the next.
    ///
    /// # Errors
    /// [`LeaseError::Connect`] if a connection had to be opened and could not;
    /// the others as their names say.
    pub async fn lease(
        self: &Arc<Self>,
        wish: &Wish,
        deadline: Instant,
    ) -> Result<Lease, LeaseError> {
        loop {
            let lease = self.lease_any(wish, deadline).await?;
            let beginning = wish.beginning.as_ref();
            if beginning.is_none() && wish.past.admitted(&lease) {
                return Ok(lease);
            }
            if let Some(lease) = self.replace(lease, beginning, deadline).await?
                && wish.past.admitted(&lease)
            {
                return Ok(lease);
            }
        }
    }

    /// Closes the connection and opens one in its place; `None` if another took the place, or nothing is leased any more.
    async fn replace(
        self: &Arc<Self>,
        lease: Lease,
        beginning: Option<&Beginning>,
        deadline: Instant,
    ) -> Result<Option<Lease>, LeaseError> {
        let asked = Instant::now();
        let place = {
            // Under the lock the keeper cannot take it.
            let mut desk = self.desk.lock();
            counter::close(lease.into_held());
            desk.leased -= 1;
            if desk.leased == 0 {
                self.quiet.notify_waiters();
            }
            self.room.take()
        };
        let Some(place) = place else {
            return Ok(None);
        };
        // Once begun it comes to its end: what nobody waits for any more goes to the pool.
        let opened = match beginning {
            Some(beginning) => {
                tokio::spawn(keeper::open_own(Arc::clone(self), place, beginning.clone()))
            }
            None => {
                self.blueprint.reserve(place);
                tokio::spawn(keeper::open_one(Arc::clone(self)))
            }
        };
        match timeout_at(deadline, opened).await {
            Ok(Ok(Ok(Some(held)))) => {
                let mut desk = self.desk.lock();
                if desk.condition == Condition::Open {
                    let lease = self.hand_over(&mut desk, held);
                    drop(desk);
                    return Ok(Some(lease.accept()));
                }
                drop(desk);
                self.give(held);
                Ok(None)
            }
            Ok(Ok(Ok(None))) => Ok(None),
            Ok(Ok(Err(error))) => {
                self.note_failure(&error);
                Err(error.into())
            }
            Ok(Err(_)) => Err(LeaseError::ShuttingDown),
            Err(_) => Err(LeaseError::Timeout {
                waited: asked.elapsed(),
                pinned: self.desk.lock().pinned,
            }),
        }
    }
}
