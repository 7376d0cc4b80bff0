//! The first tier: entries in this process's memory, bounded in bytes.
//!
//! The tier finds and evicts; whether what it finds may be served is not its question.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use moka::notification::RemovalCause;

use super::entry::{Entry, TTL_MAX};
use super::key::Key;

/// Keys are hashes already, keyed with a secret: hashing them again adds nothing.
#[derive(Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only `write_u128` is called for a `u128`; any other input still spreads.
        self.0 = xxhash_rust::xxh3::xxh3_64_with_seed(bytes, self.0);
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = (hash as u64) ^ ((hash >> 64) as u64).rotate_left(32);
    }
}

pub(super) type HashedKeys = BuildHasherDefault<Hashed>;

type Entries = moka::sync::Cache<u128, Arc<Entry>, HashedKeys>;

pub(super) struct Memory {
    entries: ArcSwap<Entries>,
    evictions: Arc<AtomicU64>,
    limit: AtomicU64,
}

impl Memory {
    pub fn new(limit: u64) -> Self {
        let evictions = Arc::new(AtomicU64::new(0));
        Self {
            entries: ArcSwap::from_pointee(Self::entries(limit, &evictions)),
            evictions,
            limit: AtomicU64::new(limit),
        }
    }

    fn entries(limit: u64, evictions: &Arc<AtomicU64>) -> Entries {
        let count = Arc::clone(evictions);
        moka::sync::Cache::builder()
            .max_capacity(limit)
            .weigher(|_, entry: &Arc<Entry>| u32::try_from(entry.weight()).unwrap_or(u32::MAX))
            // Each entry has its own, shorter deadline, which is looked at when it is found.
            .time_to_live(TTL_MAX)
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build_with_hasher(HashedKeys::default())
    }

    /// A new limit. What is there moves over, as far as there is room for it.
    pub fn resize(&self, limit: u64) {
        if self.limit.swap(limit, Ordering::Relaxed) == limit {
            return;
        }
        // Its size is given to a moka cache once and for all.
        let new = Arc::new(Self::entries(limit, &self.evictions));
        let old = self.entries.swap(Arc::clone(&new));
        for (hash, entry) in old.iter() {
            // What was put there meanwhile is newer.
            if !new.contains_key(&*hash) {
                new.insert(*hash, entry);
            }
        }
        new.run_pending_tasks();
    }

    /// The entry of exactly this key.
    pub fn find(&self, key: &Key) -> Option<Arc<Entry>> {
        self.entries
            .load()
            .get(&key.hash())
            .filter(|entry| entry.key == key.bytes())
    }

    pub fn put(&self, key: &Key, entry: Arc<Entry>) {
        self.entries.load().insert(key.hash(), entry);
    }

    /// Gives the memory of an entry back that nobody can be served any more. An entry
    /// that was put there meanwhile may go with it, which costs a miss.
    pub fn forget(&self, key: &Key) {
        self.entries.load().invalidate(&key.hash());
    }

    pub fn clear(&self) {
        self.entries.load().invalidate_all();
    }

    /// The tier does its work inside its callers; when nobody calls, this does it.
    pub fn tidy(&self) {
        self.entries.load().run_pending_tasks();
    }

    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }
}
