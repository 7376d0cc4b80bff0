//! Counts: of the whole cache, of each relation and of each shape.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::RwLock;
use smallvec::SmallVec;

use super::entry::Entry;
use crate::catalog::RelationOid;
use crate::sql::ShapeId;

/// How many relations, and how many shapes, are counted by name. What comes
/// later is counted in the whole only.
const NAMES_MAX: usize = 10_000;

/// One relation's or shape's counts. Entries and bytes are those resident in
/// memory, and lag behind by what the tier has not dropped yet. An entry that
/// depends on three relations counts in each.
#[derive(Debug, Default)]
struct Counts {
    hits: AtomicU64,
    stale: AtomicU64,
    stores: AtomicU64,
    entries: AtomicI64,
    bytes: AtomicI64,
}

/// What is counted for one relation or shape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub hits: u64,
    /// Lookups that found an entry which a write had made stale.
    pub stale: u64,
    pub stores: u64,
    pub entries: u64,
    pub bytes: u64,
}

/// A relation's counts, for `SHOW CACHE_TABLES`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationTally {
    pub database: Arc<str>,
    pub relation: RelationOid,
    pub tally: Tally,
}

/// A shape's counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeTally {
    pub shape: ShapeId,
    pub tally: Tally,
}

/// Counts by name.
#[derive(Debug)]
struct Named<K> {
    names: RwLock<HashMap<K, Arc<Counts>>>,
    /// Names that came when there was no room.
    refused: AtomicU64,
}

impl<K> Default for Named<K> {
    fn default() -> Self {
        Self {
            names: RwLock::default(),
            refused: AtomicU64::new(0),
        }
    }
}

impl<K: Eq + Hash + Clone> Named<K> {
    fn of(&self, name: K) -> Option<Arc<Counts>> {
        if let Some(counts) = self.names.read().get(&name) {
            return Some(Arc::clone(counts));
        }
        let mut names = self.names.write();
        if names.len() >= NAMES_MAX {
            // Looking for names without entries is long work: not for every newcomer.
            let refused = self.refused.fetch_add(1, Ordering::Relaxed);
            if refused.is_multiple_of(1024) {
                names.retain(|_, counts| counts.entries.load(Ordering::Relaxed) > 0);
            }
        }
        if names.len() >= NAMES_MAX {
            return None;
        }
        Some(Arc::clone(names.entry(name).or_default()))
    }

    fn each<T>(&self, with: impl Fn(&K, Tally) -> T) -> Vec<T> {
        let names = self.names.read();
        names
            .iter()
            .map(|(name, counts)| with(name, counts.tally()))
            .collect()
    }
}

impl Counts {
    fn tally(&self) -> Tally {
        let positive = |counter: &AtomicI64| {
            u64::try_from(counter.load(Ordering::Relaxed)).unwrap_or_default()
        };
        Tally {
            hits: self.hits.load(Ordering::Relaxed),
            stale: self.stale.load(Ordering::Relaxed),
            stores: self.stores.load(Ordering::Relaxed),
            entries: positive(&self.entries),
            bytes: positive(&self.bytes),
        }
    }
}

/// The counts by name of one cache.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    relations: Named<(Arc<str>, RelationOid)>,
    shapes: Named<ShapeId>,
    whole: Arc<Counts>,
}

impl Tallies {
    /// Counts an entry as resident until what this returns is dropped.
    pub fn settle_in(&self, entry: &Entry) -> Resident {
        let mut counts: SmallVec<[Arc<Counts>; 4]> = SmallVec::new();
        counts.push(Arc::clone(&self.whole));
        counts.extend(self.shapes.of(entry.shape));
        for &oid in &entry.relations {
            counts.extend(self.relations.of((Arc::clone(&entry.database), oid)));
        }
        let bytes = i64::try_from(entry.weight()).unwrap_or(i64::MAX);
        for counts in &counts {
            counts.stores.fetch_add(1, Ordering::Relaxed);
            counts.entries.fetch_add(1, Ordering::Relaxed);
            counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        Resident { counts, bytes }
    }

    pub fn whole(&self) -> Tally {
        self.whole.tally()
    }

    pub fn per_relation(&self) -> Vec<RelationTally> {
        self.relations
            .each(|(database, relation), tally| RelationTally {
                database: Arc::clone(database),
                relation: *relation,
                tally,
            })
    }

    pub fn per_shape(&self) -> Vec<ShapeTally> {
        self.shapes
            .each(|&shape, tally| ShapeTally { shape, tally })
    }
}

/// Where an entry is counted.
#[derive(Debug)]
pub(super) struct Resident {
    counts: SmallVec<[Arc<Counts>; 4]>,
    bytes: i64,
}

impl Resident {
    pub fn hit(&self) {
        for counts in &self.counts {
            counts.hits.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn stale(&self) {
        for counts in &self.counts {
            counts.stale.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        for counts in &self.counts {
            counts.entries.fetch_sub(1, Ordering::Relaxed);
            counts.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}
