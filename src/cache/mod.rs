//! Answers that may be given again, and the proof that they still may.
//!
//! Owns keys, tags and stamps, entries, single flight and the two tiers, memory and
//! Redis. Knows no session and no socket of a client or of the server: it is
//! told what is read and written, and hands bytes back.
//!
//! ```text
//! picture = tags.picture()            before the catalogue is looked at
//! cache.lookup(key, tags, terms)      hit → serve it
//! stamp = tags.stamp(deps, picture)   before the query's bytes leave
//! …the answer, complete, without error or notice…
//! cache.store(key, stamp, answer, …)  kept if the stamp was clean and still stands
//! ```

mod classes;
mod counters;
mod entry;
mod field;
mod flight;
mod flush;
mod key;
mod memory;
mod moment;
mod redis;
mod stats;
mod tags;
mod tally;
mod wanted;
mod writer;

#[cfg(test)]
mod enumerated;
#[cfg(test)]
mod keyed_model;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

pub use counters::Reading;
pub use entry::{Answer, Entry, StoreOptions, TTL_MAX, Terms};
pub use flight::{Flight, FlightStats, Follower, Leader};
pub use flush::Flush;
pub use key::{Key, KeyBuilder, KeySecret};
pub use moment::Moment;
pub use redis::{LATENCY_BOUNDS, RedisStats};
pub use stats::CacheStats;
pub use tags::{Fit, Picture, Stamp, TagId, Tags, TagsStats};
pub use tally::{RelationTally, ShapeTally, Tally};
pub use writer::{KeptMark, Learnable, Writer};

use parking_lot::Mutex;
use tokio::task::AbortHandle;

use crate::config::{CacheConfig, Level, RedisConfig};
use flight::Flights;
use flush::Flushes;
use memory::Memory;
use redis::Redis;
use tally::Tallies;

/// What keeps the cache from starting. Nothing survives; the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("the operating system gave no random numbers")]
    Random,
    /// Says nothing of the URL itself: it may hold a password.
    #[error("`redis.url` is not a Redis URL that is understood: {0}")]
    RedisUrl(&'static str),
}

/// Why a lookup served nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss {
    Absent,
    /// A write has changed what it depends on.
    Stale,
    /// A write to what it depends on is about to commit.
    Marked,
    /// Older than it may be.
    Expired,
    Flushed,
}

/// What a lookup found.
#[derive(Debug, Clone)]
pub enum Lookup {
    Hit(Arc<Entry>),
    Miss(Miss),
}

/// The cache of all databases; each database's [`Tags`] are handed in.
pub struct Cache {
    secret: KeySecret,
    memory: Memory,
    flights: Flights,
    flushes: Flushes,
    tallies: Tallies,
    counts: Counts,
    entry_bytes_max: AtomicUsize,
    second: Option<Arc<Redis>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

#[derive(Default)]
struct Counts {
    absent: AtomicU64,
    stale: AtomicU64,
    marked: AtomicU64,
    expired: AtomicU64,
    flushed: AtomicU64,
    refused: AtomicU64,
    too_large: AtomicU64,
    flushes: AtomicU64,
}

impl Cache {
    /// # Errors
    /// See [`CacheError`].
    pub fn new(cfg: &CacheConfig, redis: &RedisConfig) -> Result<Arc<Self>, CacheError> {
        Ok(Arc::new(Self {
            secret: KeySecret::random()?,
            memory: Memory::new(cfg.memory_limit),
            flights: Flights::new(cfg.single_flight_waiters, cfg.single_flight_timeout),
            flushes: Flushes::default(),
            tallies: Tallies::default(),
            counts: Counts::default(),
            entry_bytes_max: AtomicUsize::new(cfg.max_entry_size),
            second: Redis::new(redis)?,
            tasks: Mutex::default(),
        }))
    }

    /// Starts what runs in the background; it ends when the cache is dropped. To be
    /// called within the runtime.
    pub fn start(self: &Arc<Self>) {
        const TIDY_INTERVAL: Duration = Duration::from_secs(1);
        let cache = Arc::downgrade(self);
        let tidy = tokio::spawn(async move {
            let mut interval = tokio::time::interval(TIDY_INTERVAL);
            loop {
                interval.tick().await;
                match cache.upgrade() {
                    Some(cache) => cache.memory.tidy(),
                    None => return,
                }
            }
        });
        let mut tasks = self.tasks.lock();
        tasks.push(tidy.abort_handle());
        if let Some(second) = &self.second {
            tasks.extend(second.start());
        }
    }

    /// For [`KeyBuilder::finish`].
    pub fn secret(&self) -> &KeySecret {
        &self.secret
    }

    /// Answers larger than this are not kept: stop collecting at it.
    pub fn entry_bytes_max(&self) -> usize {
        self.entry_bytes_max.load(Ordering::Relaxed)
    }

    /// From now on these limits are in force.
    pub fn reload(&self, cfg: &CacheConfig) {
        self.memory.resize(cfg.memory_limit);
        self.flights
            .reload(cfg.single_flight_waiters, cfg.single_flight_timeout);
        self.entry_bytes_max
            .store(cfg.max_entry_size, Ordering::Relaxed);
    }

    /// What memory has for `key`, if it may be served on these terms at `now`.
    pub fn lookup(&self, key: &Key, tags: &Tags, terms: &Terms, now: Moment) -> Lookup {
        let Some(entry) = self.memory.find(key) else {
            self.counts.absent.fetch_add(1, Ordering::Relaxed);
            return Lookup::Miss(Miss::Absent);
        };
        match self.judge(&entry, tags, terms, now) {
            Ok(()) => {
                if let Some(resident) = &entry.resident {
                    resident.hit();
                }
                Lookup::Hit(entry)
            }
            Err(miss) => {
                self.count_miss(miss, &entry);
                if miss == Miss::Expired && entry.is_older_than(entry.ttl, now) {
                    self.memory.forget(key);
                }
                Lookup::Miss(miss)
            }
        }
    }

    /// Whether `entry`, that was served on `terms`, still may be: by the same check.
    pub fn still_serves(&self, entry: &Entry, tags: &Tags, terms: &Terms) -> bool {
        self.judge(entry, tags, terms, Moment::now()).is_ok()
    }

    /// Whether `entry` may be served on `terms` at `now`.
    fn judge(&self, entry: &Entry, tags: &Tags, terms: &Terms, now: Moment) -> Result<(), Miss> {
        if self.flushes.voids(entry) {
            return Err(Miss::Flushed);
        }
        if entry.is_older_than(terms.ttl, now) {
            return Err(Miss::Expired);
        }
        match terms.level {
            Level::Strict => match tags.fit(&entry.stamp) {
                Fit::Fresh => Ok(()),
                Fit::Marked => Err(Miss::Marked),
                Fit::Stale => Err(Miss::Stale),
            },
            // Age is all that counts, but never across a change of the catalogue: who
            // may see what, and what columns there are, hold at every level.
            Level::Ttl => {
                if tags.same_generation(&entry.stamp) && entry.catalogue == terms.catalogue {
                    Ok(())
                } else {
                    Err(Miss::Stale)
                }
            }
        }
    }

    fn count_miss(&self, miss: Miss, entry: &Entry) {
        let counter = match miss {
            Miss::Absent => &self.counts.absent,
            Miss::Stale => &self.counts.stale,
            Miss::Marked => &self.counts.marked,
            Miss::Expired => &self.counts.expired,
            Miss::Flushed => &self.counts.flushed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if let (Miss::Stale, Some(resident)) = (miss, &entry.resident) {
            resident.stale();
        }
    }

    /// Keeps a complete answer, if it may be kept: at level `strict` when its stamp was
    /// clean and still stands, at level `ttl` when the catalogue has not changed since.
    ///
    /// The entry comes back either way, for the followers of this flight, to whom it may be
    /// given whether it is kept or not. The caller vouches that the read was
    /// autocommit, or of a transaction that is known to have written nothing, and that `stamp`
    /// was taken before its bytes left.
    pub fn store(
        &self,
        key: &Key,
        stamp: Stamp,
        answer: Answer,
        options: StoreOptions,
        tags: &Tags,
    ) -> Arc<Entry> {
        let entry = Entry::new(key.bytes(), stamp, answer, options);
        if entry.answer.len() > self.entry_bytes_max()
            || entry.weight() as u64 > self.memory.limit()
        {
            self.counts.too_large.fetch_add(1, Ordering::Relaxed);
            return Arc::new(entry);
        }
        let stands = match entry.level {
            Level::Strict => tags.fit(&entry.stamp) == Fit::Fresh,
            Level::Ttl => tags.same_generation(&entry.stamp),
        };
        if !stands {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            return Arc::new(entry);
        }
        let entry = self.keep(key, entry);
        if let Some(second) = &self.second {
            second.put(key, &entry, tags.base());
        }
        entry
    }

    /// Whether there is a second tier that answers now.
    pub fn has_second(&self) -> bool {
        self.second.as_ref().is_some_and(|second| second.is_up())
    }

    /// What Redis has for `key`, if it may be served on these terms. Waits at most
    /// `redis.timeout`. What it serves is kept in memory for the rest of its time. Cancel safe.
    ///
    /// At level `strict` only what this process has stored itself can fit; at level `ttl`
    /// another's answer is as good, if the fleet has a name, and the answer is young enough and
    /// was read under the same catalogue.
    pub async fn lookup_second(
        &self,
        key: &Key,
        tags: &Tags,
        terms: &Terms,
        database: &Arc<str>,
    ) -> Option<Arc<Entry>> {
        let second = self.second.as_ref()?;
        // Before the value is read, as with any read: what is voided meanwhile does not fit.
        let generation = tags.generation();
        let own = terms.level == Level::Strict || !second.is_shared();
        let value = second.get(key, own).await?;
        if own && value.base != tags.base() {
            second.count_judged(false);
            return None;
        }
        let entry = self.revive(key, tags, generation, value, database);
        let fits = entry
            .as_ref()
            .is_some_and(|entry| self.judge(entry, tags, terms, Moment::now()).is_ok());
        second.count_judged(fits);
        entry.filter(|_| fits).map(|entry| self.keep(key, entry))
    }

    /// An entry made of a value from Redis, with its own age. `None` if it was stored by
    /// this process before everything was voided, or has no age that can be trusted.
    fn revive(
        &self,
        key: &Key,
        tags: &Tags,
        generation: u64,
        value: redis::Value,
        database: &Arc<str>,
    ) -> Option<Entry> {
        let now = Moment::now();
        let own = value.base == tags.base();
        let (stamp, age) = if own {
            if value.generation != generation {
                return None;
            }
            let stamp = Stamp::from_words(value.generation, value.words);
            (
                stamp.unwrap_or_else(|| Stamp::undated(generation)),
                now.since(value.read_at),
            )
        } else {
            let age_ms = redis::wall_ms().checked_sub(value.read_at_ms)?;
            (Stamp::undated(generation), Duration::from_millis(age_ms))
        };
        let options = StoreOptions {
            read_at: now - age,
            ttl: value.ttl,
            level: value.level,
            catalogue: value.catalogue,
            database: Arc::clone(database),
            relations: value.relations,
            shape: value.shape,
            labels: value.labels,
        };
        Some(Entry::new(key.bytes(), stamp, value.answer, options))
    }

    fn keep(&self, key: &Key, mut entry: Entry) -> Arc<Entry> {
        entry.resident = Some(self.tallies.settle_in(&entry));
        let entry = Arc::new(entry);
        self.memory.put(key, Arc::clone(&entry));
        // The tier evicts now and then; in between, large entries could run far over the limit.
        let limit = self.memory.limit();
        if self.tallies.whole().bytes > limit + limit / 16 {
            self.memory.tidy();
        }
        entry
    }

    /// Joins or starts the flight for `key`.
    pub fn flight(self: &Arc<Self>, key: &Key, tags: &Tags) -> Flight {
        self.flights.join(self, key, tags)
    }

    /// Serves nothing of `what` that was read until now. `All` also removes the fleet's
    /// values from Redis; the others are remembered by this process only.
    pub fn flush(&self, what: &Flush) {
        self.counts.flushes.fetch_add(1, Ordering::Relaxed);
        self.flushes.note(what, Moment::now());
        if *what == Flush::All {
            self.memory.clear();
            if let Some(second) = &self.second {
                second.clear();
            }
        }
    }

    pub fn stats(&self) -> CacheStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Tally {
            hits,
            stores,
            entries,
            bytes,
            ..
        } = self.tallies.whole();
        CacheStats {
            hits,
            absent: count(&self.counts.absent),
            stale: count(&self.counts.stale),
            marked: count(&self.counts.marked),
            expired: count(&self.counts.expired),
            flushed: count(&self.counts.flushed),
            stores,
            refused: count(&self.counts.refused),
            too_large: count(&self.counts.too_large),
            evictions: self.memory.evictions(),
            flushes: count(&self.counts.flushes),
            entries,
            bytes,
            bytes_max: self.memory.limit(),
            flights: self.flights.stats(),
            redis: self.second.as_ref().map(|second| second.stats()),
        }
    }

    pub fn per_relation(&self) -> Vec<RelationTally> {
        self.tallies.per_relation()
    }

    pub fn per_shape(&self) -> Vec<ShapeTally> {
        self.tallies.per_shape()
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        for task in self.tasks.get_mut() {
            task.abort();
        }
    }
}
