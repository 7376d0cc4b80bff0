//! Logins that the server refuses are not repeated without end: whoever fails too often is not
//! tried again for a while, so that nobody can have a user locked out by way of pgditto.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::error::UpstreamError;
use super::target::Target;

/// How many users are watched; the one that has failed longest ago makes room.
const USERS_MAX: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

/// Counts refused logins by server and user.
pub(super) struct Brake {
    state: Mutex<State>,
    refused: AtomicU64,
    withheld: AtomicU64,
}

struct State {
    most: u32,
    window: Duration,
    users: LruCache<(String, String), Failures>,
}

struct Failures {
    since: Instant,
    count: u32,
    last: Option<UpstreamError>,
}

/// One guess at a password. It counts as refused until it is known to be otherwise.
pub(super) struct Guess<'a> {
    brake: &'a Brake,
    key: (String, String),
}

/// Too many were refused: what the server said last, if it is known, and when it is asked again.
#[derive(Debug, Clone)]
pub(super) struct Braked {
    pub last: Option<UpstreamError>,
    pub wait: Duration,
}

fn key(target: &Target) -> (String, String) {
    (target.hosts.to_string(), target.user.clone())
}

impl Brake {
    /// At most `most` refused logins of one user within `window`.
    pub fn new(most: u32, window: Duration) -> Self {
        let users = LruCache::new(USERS_MAX);
        Self {
            state: Mutex::new(State {
                most,
                window,
                users,
            }),
            refused: AtomicU64::new(0),
            withheld: AtomicU64::new(0),
        }
    }

    pub fn set_limit(&self, most: u32, window: Duration) {
        let mut state = self.state.lock();
        state.most = most;
        state.window = window;
    }

    /// Whether a login may be tried now.
    pub fn admits(&self, target: &Target, now: Instant) -> Result<(), Braked> {
        self.check(&mut self.state.lock(), &key(target), now)
    }

    /// As [`Brake::admits`], for somebody who may not know the password: others who try at the
    /// same time are counted.
    pub fn guess(&self, target: &Target, now: Instant) -> Result<Guess<'_>, Braked> {
        let key = key(target);
        let mut state = self.state.lock();
        self.check(&mut state, &key, now)?;
        state.count(&key, now, None);
        Ok(Guess { brake: self, key })
    }

    fn check(&self, state: &mut State, key: &(String, String), now: Instant) -> Result<(), Braked> {
        let (most, window) = (state.most, state.window);
        let Some(failures) = state.users.peek(key) else {
            return Ok(());
        };
        let past = now.saturating_duration_since(failures.since);
        if past >= window {
            state.users.pop(key);
            return Ok(());
        }
        if failures.count < most {
            return Ok(());
        }
        self.withheld.fetch_add(1, Ordering::Relaxed);
        Err(Braked {
            last: failures.last.clone(),
            wait: window - past,
        })
    }

    /// The server has refused this login.
    pub fn refused(&self, target: &Target, error: &UpstreamError, now: Instant) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock();
        state.count(&key(target), now, Some(error));
    }

    /// It has let the user in, or an operator has given another password.
    pub fn forget(&self, target: &Target) {
        let mut state = self.state.lock();
        if !state.users.is_empty() {
            state.users.pop(&key(target));
        }
    }

    /// How many logins the server has refused, and how many it was spared.
    pub fn totals(&self) -> (u64, u64) {
        let total = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (total(&self.refused), total(&self.withheld))
    }
}

impl State {
    fn count(&mut self, key: &(String, String), now: Instant, error: Option<&UpstreamError>) {
        let none = || Failures {
            since: now,
            count: 0,
            last: None,
        };
        let failures = self.users.get_or_insert_mut(key.clone(), none);
        failures.count = failures.count.saturating_add(1);
        if error.is_some() {
            failures.last = error.cloned();
        }
    }
}

impl Guess<'_> {
    /// The server has let the user in.
    pub fn was_right(self) {
        self.brake.state.lock().users.pop(&self.key);
    }

    /// It has refused, which is counted already.
    pub fn was_wrong(self) {
        self.brake.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The server has not judged it.
    pub fn was_not_judged(self) {
        let mut state = self.brake.state.lock();
        if let Some(failures) = state.users.peek_mut(&self.key) {
            failures.count = failures.count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ServerTlsConfig, UpstreamConfig};

    fn target(user: &str) -> Target {
        let (upstream, tls) = (UpstreamConfig::default(), ServerTlsConfig::default());
        Target::new(&upstream, &tls, None, "db", user, None)
    }

    #[test]
    fn too_many_failures_of_a_user_stop_it_for_a_while_and_nobody_else() {
        let brake = Brake::new(2, Duration::from_secs(60));
        let (amy, bob, now) = (target("amy"), target("bob"), Instant::now());
        for _ in 0..2 {
            assert!(brake.admits(&amy, now).is_ok());
            brake.refused(&amy, &UpstreamError::Deadline, now);
        }
        let braked = brake.admits(&amy, now).expect_err("two were refused");
        assert!(matches!(braked.last, Some(UpstreamError::Deadline)));
        assert!(brake.admits(&bob, now).is_ok());
        assert_eq!(brake.totals(), (2, 1));
        let later = now + Duration::from_secs(60);
        assert!(brake.admits(&amy, later).is_ok());
    }

    #[test]
    fn guesses_under_way_count_as_wrong_ones() {
        let brake = Brake::new(2, Duration::from_secs(60));
        let (amy, now) = (target("amy"), Instant::now());
        let guess = || brake.guess(&amy, now).ok();
        let one = guess().expect("the first");
        let two = guess().expect("the second");
        assert!(guess().is_none());
        one.was_not_judged();
        let three = guess().expect("one was given back");
        assert!(guess().is_none());
        two.was_wrong();
        assert!(guess().is_none());
        three.was_right();
        assert!(guess().is_some());
    }
}
