//! Single flight: one of many equal misses asks the server, the others wait for its answer.
//!
//! Who arrived before the leader's query was sent may take the answer whatever
//! has happened since: its snapshot was taken within the follower's own request.
//! Who arrived later may be younger than the snapshot, and takes the answer only
//! if it could be served from the cache at the moment it has come.
//!
//! Nobody who holds a lease may wait here: A holds a lock, B leads a read that
//! waits for it, A joins B, and no deadlock detector sees the circle.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::Cache;
use super::entry::{Entry, Terms};
use super::key::Key;
use super::memory::HashedKeys;
use super::moment::Moment;
use super::tags::{Fit, Stamp, Tags};
use crate::planted::{Step, planted};

const SHARDS: usize = 64;

/// What a miss should do.
pub enum Flight {
    /// Ask the server, and tell the others.
    Lead(Leader),
    /// Wait for the one who asks.
    Follow(Follower),
    /// Ask the server and tell nobody: too many wait already, or waiting has no prospect.
    Full,
}

#[derive(Clone)]
enum Outcome {
    Pending,
    Landed(Option<Arc<Entry>>),
}

struct Shared {
    key: Bytes,
    /// Set when the query is sent.
    sent: OnceLock<Stamp>,
    outcome: watch::Sender<Outcome>,
}

type Shard = Mutex<HashMap<u128, Arc<Shared>, HashedKeys>>;

pub(super) struct Flights {
    shards: Box<[Shard]>,
    waiters_max: AtomicUsize,
    timeout: Mutex<Duration>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    led: AtomicU64,
    joined: AtomicU64,
    shared: AtomicU64,
    refused: AtomicU64,
    timed_out: AtomicU64,
}

/// What single flight did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlightStats {
    pub led: u64,
    pub joined: u64,
    /// Of those that joined, how many were served by another's query.
    pub shared: u64,
    /// Those that found too many waiting, or no prospect.
    pub refused: u64,
    pub timed_out: u64,
    /// Under way now.
    pub flying: usize,
}

impl Flights {
    pub fn new(waiters_max: usize, timeout: Duration) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            waiters_max: AtomicUsize::new(waiters_max),
            timeout: Mutex::new(timeout),
            counts: Counts::default(),
        }
    }

    /// From now on these limits are in force.
    pub fn reload(&self, waiters_max: usize, timeout: Duration) {
        self.waiters_max.store(waiters_max, Ordering::Relaxed);
        *self.timeout.lock() = timeout;
    }

    fn shard(&self, key: &Key) -> &Shard {
        &self.shards[(key.hash() >> 96) as usize % SHARDS]
    }

    pub fn join(&self, cache: &Arc<Cache>, key: &Key, tags: &Tags) -> Flight {
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        let mut flights = self.shard(key).lock();
        let Some(flight) = flights.get(&key.hash()) else {
            let shared = Arc::new(Shared {
                key: key.bytes().clone(),
                sent: OnceLock::new(),
                outcome: watch::Sender::new(Outcome::Pending),
            });
            flights.insert(key.hash(), Arc::clone(&shared));
            count(&self.counts.led);
            return Flight::Lead(Leader {
                cache: Arc::clone(cache),
                key: key.clone(),
                shared,
                outcome: None,
            });
        };
        // An answer that a writer has overtaken already will not serve who comes now.
        let prospect = flight
            .sent
            .get()
            .is_none_or(|stamp| tags.fit(stamp) == Fit::Fresh || planted(Step::LateFollower));
        if flight.key != key.bytes()
            || !prospect
            || flight.outcome.receiver_count() >= self.waiters_max.load(Ordering::Relaxed)
        {
            count(&self.counts.refused);
            return Flight::Full;
        }
        count(&self.counts.joined);
        Flight::Follow(Follower {
            cache: Arc::clone(cache),
            // Decided under the lock under which the leader says that it sends.
            in_time: flight.sent.get().is_none() || planted(Step::LateFollower),
            outcome: flight.outcome.subscribe(),
        })
    }

    pub fn stats(&self) -> FlightStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        FlightStats {
            led: count(&self.counts.led),
            joined: count(&self.counts.joined),
            shared: count(&self.counts.shared),
            refused: count(&self.counts.refused),
            timed_out: count(&self.counts.timed_out),
            flying: self.shards.iter().map(|shard| shard.lock().len()).sum(),
        }
    }
}

/// The one who asks the server. Dropped without [`Leader::finish`] (an error, an answer
/// too large to keep, a client gone), it sends its followers to ask for themselves.
#[must_use = "dropping it wakes the followers with nothing"]
pub struct Leader {
    cache: Arc<Cache>,
    key: Key,
    shared: Arc<Shared>,
    outcome: Option<Arc<Entry>>,
}

impl Leader {
    /// The query leaves now: to be called after its stamp was taken and before its bytes
    /// are written.
    pub fn sent(&self, stamp: &Stamp) {
        let _flights = self.cache.flights.shard(&self.key).lock();
        // Only the leader sets it, and once: a second query of the same leader is no flight.
        let _ = self.shared.sent.set(stamp.clone());
    }

    /// The answer, complete and without error; `None` if there is none to share.
    pub fn finish(mut self, answer: Option<Arc<Entry>>) {
        self.outcome = answer;
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.cache
            .flights
            .shard(&self.key)
            .lock()
            .remove(&self.key.hash());
        // Those who come from now on find the entry in the cache, or lead themselves.
        self.shared
            .outcome
            .send_replace(Outcome::Landed(self.outcome.take()));
    }
}

/// One who waits for another's answer.
pub struct Follower {
    cache: Arc<Cache>,
    in_time: bool,
    outcome: watch::Receiver<Outcome>,
}

impl Follower {
    /// The answer, or `None`: ask the server. At most `single_flight_timeout`; the caller
    /// bounds it further by its own statement's time and cancels. Cancel safe.
    pub async fn wait(mut self, tags: &Tags, terms: &Terms) -> Option<Arc<Entry>> {
        let flights = &self.cache.flights;
        let landed = self
            .outcome
            .wait_for(|outcome| matches!(outcome, Outcome::Landed(_)));
        let timeout = *flights.timeout.lock();
        let entry = match tokio::time::timeout(timeout, landed).await {
            Ok(Ok(outcome)) => match &*outcome {
                Outcome::Landed(entry) => entry.clone()?,
                Outcome::Pending => return None,
            },
            Ok(Err(_)) => return None,
            Err(_) => {
                flights.counts.timed_out.fetch_add(1, Ordering::Relaxed);
                return None;
            }
        };
        let serves = self.in_time || self.cache.judge(&entry, tags, terms, Moment::now()).is_ok();
        if !serves {
            return None;
        }
        flights.counts.shared.fetch_add(1, Ordering::Relaxed);
        Some(entry)
    }
}
