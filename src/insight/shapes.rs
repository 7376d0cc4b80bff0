//! Sums by shape, for the shapes that cost most.
//!
//! The number of shapes is bounded. When there is no room, the cheapest one of a shard gives way and
//! the newcomer inherits its cost as a *handicap* (Metwally's space-saving): a shape that
//! costs more than its share can therefore not be kept out by a stream of
//! shapes that come once. The handicap decides who stays and is never shown.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use xxhash_rust::xxh3::xxh3_128;

use super::Event;
use crate::metrics::Outcome;
use crate::sql::ShapeId;

const SHARDS: usize = 16;
const SHAPES_PER_SHARD: usize = 64;

/// A shape in a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ShapeKey(u128);

impl ShapeKey {
    fn new(event: &Event<'_>) -> Self {
        Self(event.shape.0 ^ xxh3_128(event.database.as_bytes()))
    }

    fn shard(self) -> usize {
        usize::from(self.0.to_le_bytes()[0]) % SHARDS
    }
}

/// The sums of one shape in one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeStats {
    pub database: String,
    pub shape: ShapeId,
    pub count: u64,
    pub hits: u64,
    pub misses: u64,
    pub bypasses: u64,
    /// Why the last one that was not cached was not; empty if there was none.
    pub last_bypass: &'static str,
    pub errors: u64,
    pub rows: u64,
    pub bytes: u64,
    pub total: Duration,
    pub total_max: Duration,
    pub upstream: Duration,
    /// Without literals.
    pub statement: String,
}

#[derive(Debug)]
struct Sums {
    database: Box<str>,
    shape: ShapeId,
    statement: Box<str>,
    handicap_ns: u64,
    count: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    bypasses: AtomicU64,
    /// One more than the index in [`Bypass::ALL`](crate::sql::Bypass::ALL); zero is none.
    last_bypass: AtomicU64,
    errors: AtomicU64,
    rows: AtomicU64,
    bytes: AtomicU64,
    total_ns: AtomicU64,
    max_ns: AtomicU64,
    upstream_ns: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct Shapes([RwLock<HashMap<ShapeKey, Sums>>; SHARDS]);

impl Shapes {
    /// Adds `event` to its shape; false if the shape is not there (see [`Shapes::admit`]).
    pub fn count(&self, event: &Event<'_>) -> bool {
        let key = ShapeKey::new(event);
        let shard = self.0[key.shard()].read();
        match shard.get(&key) {
            Some(sums) => {
                sums.add(event);
                true
            }
            None => false,
        }
    }

    /// Makes room for the shape of `event` and adds it.
    pub fn admit(&self, event: &Event<'_>, statement: impl FnOnce() -> String) {
        let key = ShapeKey::new(event);
        // Before the lock is taken: a long statement takes its time.
        let statement = statement().into_boxed_str();
        let mut shard = self.0[key.shard()].write();
        let mut handicap_ns = 0;
        if shard.len() >= SHAPES_PER_SHARD && !shard.contains_key(&key) {
            let cheapest = shard.iter().min_by_key(|(_, sums)| sums.rank_ns());
            if let Some((&cheapest, sums)) = cheapest {
                handicap_ns = sums.rank_ns();
                shard.remove(&cheapest);
            }
        }
        shard
            .entry(key)
            .or_insert_with(|| Sums::new(event, statement, handicap_ns))
            .add(event);
    }

    pub fn costliest(&self, count_max: usize) -> Vec<ShapeStats> {
        let mut all: Vec<ShapeStats> = Vec::new();
        for shard in &self.0 {
            all.extend(shard.read().values().map(Sums::stats));
        }
        all.sort_by(|a, b| b.total.cmp(&a.total).then(a.shape.0.cmp(&b.shape.0)));
        all.truncate(count_max);
        all
    }

    pub fn find(&self, text: &str) -> Option<ShapeId> {
        self.0.iter().find_map(|shard| {
            let shard = shard.read();
            let mut shapes = shard.values().map(|sums| sums.shape);
            shapes.find(|shape| shape.to_string() == text)
        })
    }
}

impl Sums {
    fn new(event: &Event<'_>, statement: Box<str>, handicap_ns: u64) -> Self {
        Self {
            database: event.database.into(),
            shape: event.shape,
            statement,
            handicap_ns,
            count: AtomicU64::default(),
            hits: AtomicU64::default(),
            misses: AtomicU64::default(),
            bypasses: AtomicU64::default(),
            last_bypass: AtomicU64::default(),
            errors: AtomicU64::default(),
            rows: AtomicU64::default(),
            bytes: AtomicU64::default(),
            total_ns: AtomicU64::default(),
            max_ns: AtomicU64::default(),
            upstream_ns: AtomicU64::default(),
        }
    }

    fn add(&self, event: &Event<'_>) {
        let add = |sum: &AtomicU64, more: u64| {
            if more > 0 {
                sum.fetch_add(more, Ordering::Relaxed);
            }
        };
        add(&self.count, 1);
        match event.outcome {
            Outcome::Hit(_) => add(&self.hits, 1),
            Outcome::Miss => add(&self.misses, 1),
            Outcome::Bypass(reason) => {
                add(&self.bypasses, 1);
                let index = reason as u64 + 1;
                self.last_bypass.store(index, Ordering::Relaxed);
            }
            Outcome::Write | Outcome::Local => (),
        }
        add(&self.errors, u64::from(event.sqlstate.is_some()));
        add(&self.rows, event.rows);
        add(&self.bytes, event.bytes);
        let total_ns = ns(event.timing.total);
        add(&self.total_ns, total_ns);
        self.max_ns.fetch_max(total_ns, Ordering::Relaxed);
        add(&self.upstream_ns, ns(event.timing.upstream));
    }

    fn rank_ns(&self) -> u64 {
        let total_ns = self.total_ns.load(Ordering::Relaxed);
        self.handicap_ns.saturating_add(total_ns)
    }

    fn stats(&self) -> ShapeStats {
        let sum = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
        let time = |ns: &AtomicU64| Duration::from_nanos(sum(ns));
        let last_bypass = usize::try_from(sum(&self.last_bypass)).unwrap_or_default();
        let last_bypass = last_bypass
            .checked_sub(1)
            .and_then(|index| crate::sql::Bypass::ALL.get(index));
        ShapeStats {
            database: self.database.to_string(),
            shape: self.shape,
            count: sum(&self.count),
            hits: sum(&self.hits),
            misses: sum(&self.misses),
            bypasses: sum(&self.bypasses),
            last_bypass: last_bypass.map_or("", |reason| reason.as_str()),
            errors: sum(&self.errors),
            rows: sum(&self.rows),
            bytes: sum(&self.bytes),
            total: time(&self.total_ns),
            total_max: time(&self.max_ns),
            upstream: time(&self.upstream_ns),
            statement: self.statement.to_string(),
        }
    }
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
