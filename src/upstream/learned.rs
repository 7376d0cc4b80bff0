//! What logins of clients have taught: how to log their users in upstream.

use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::auth::LoginSecret;

/// How many are kept; the least used make room.
const LEARNED_MAX: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

/// By database and user, as clients name them.
type Key = (String, String);

pub(super) struct Learned(Mutex<LruCache<Key, Entry>>);

struct Entry {
    secret: LoginSecret,
    /// When a login has shown it last.
    shown_at: Instant,
}

impl Learned {
    pub fn new() -> Self {
        Self(Mutex::new(LruCache::new(LEARNED_MAX)))
    }

    pub fn get(&self, database: &str, user: &str) -> Option<LoginSecret> {
        let key = (database.to_owned(), user.to_owned());
        self.0.lock().get(&key).map(|entry| entry.secret.clone())
    }

    /// What is known of the user in whichever databases, the latest use first.
    pub fn of_user(&self, user: &str) -> Vec<(String, LoginSecret)> {
        let entries = self.0.lock();
        let of_user = entries.iter().filter(|((_, of), _)| of == user);
        of_user
            .map(|((database, _), entry)| (database.clone(), entry.secret.clone()))
            .collect()
    }

    /// True if something else was known before, or nothing.
    pub fn put(&self, database: &str, user: &str, secret: LoginSecret) -> bool {
        let key = (database.to_owned(), user.to_owned());
        let entry = Entry {
            secret: secret.clone(),
            shown_at: Instant::now(),
        };
        let before = self.0.lock().put(key, entry);
        before.is_none_or(|before| before.secret != secret)
    }

    pub fn forget(&self, database: &str, user: &str) {
        let key = (database.to_owned(), user.to_owned());
        self.0.lock().pop(&key);
    }

    /// Those that no login has shown within `lifetime`.
    pub fn older_than(&self, lifetime: Duration) -> Vec<Key> {
        let entries = self.0.lock();
        let old = entries
            .iter()
            .filter(|(_, entry)| entry.shown_at.elapsed() >= lifetime);
        old.map(|(key, _)| key.clone()).collect()
    }
}
