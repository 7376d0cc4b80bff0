//! The tags of one database: counters of what its relations have seen.
//!
//! Owns the counters, the generation that voids everything at once, and the
//! register of writers in flight. Knows neither sessions nor SQL: it is told
//! relations and commits, and answers whether what was read may still be served.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::counters::{Counter, Reading};
use super::writer::{Registry, Writer};
use crate::catalog::{Footprint, RelationOid};

/// Table counters of one database, 8 bytes each. Two relations that share one
/// cost each other a needless miss, never a stale hit. A fixed field has no
/// moment in which a counter does not exist yet, so a reader and a writer who
/// meet a relation for the first time cannot miss each other.
const TABLES: usize = 1 << 15;

/// A tag: the name of one dependency.
///
/// Keyed tags will stand beside `Table`: `Any(oid)`, `Wild(oid, class)` and
/// `Slot(oid, class, hash)` (see `docs`, "Dependencies"). [`Tags::slot`] is the only
/// place that says where a tag's counter lives, so each becomes one more range
/// of the field there, and writers then enumerate the classes at their mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TagId {
    /// Every entry depends on it.
    Everything,
    /// `tab`: the relation as a whole.
    Table(RelationOid),
}

/// Where a tag's counter stands: an index that only this process understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Slot(u32);

impl Slot {
    pub const EVERYTHING: Slot = Slot(u32::MAX);

    pub const fn to_bits(self) -> u32 {
        self.0
    }

    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

/// Which picture of the catalogue a judgement was made from: to be read
/// ([`Tags::picture`]) before the catalogue is, and handed in with what was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture(u64);

/// The versions of what a read depends on, taken before its query was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    generation: u64,
    everything: Reading,
    tables: SmallVec<[(Slot, Reading); 4]>,
    clean: bool,
}

impl Stamp {
    /// Nobody who touches a dependency was on the way to commit, and the
    /// dependencies were judged from the catalogue that still stands.
    pub fn is_clean(&self) -> bool {
        self.clean
    }

    /// A stamp that fits nowhere, for an answer that must not be kept.
    pub fn never() -> Self {
        Self {
            generation: u64::MAX,
            everything: Reading::from_bits(u64::MAX),
            tables: SmallVec::new(),
            clean: false,
        }
    }

    /// A stamp of which only the generation is known: it never fits strictly.
    pub(super) fn undated(generation: u64) -> Self {
        Self {
            generation,
            ..Self::never()
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The words, `everything` first, for the second tier.
    pub(super) fn words(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let tables = self.tables.iter().copied();
        std::iter::once((Slot::EVERYTHING, self.everything))
            .chain(tables)
            .map(|(slot, reading)| (slot.to_bits(), reading.to_bits()))
    }

    /// What [`Stamp::words`] gave, `None` if it cannot have been a clean stamp.
    pub(super) fn from_words(
        generation: u64,
        words: impl IntoIterator<Item = (u32, u64)>,
    ) -> Option<Self> {
        let mut words = words.into_iter();
        let (slot, everything) = words.next()?;
        if Slot::from_bits(slot) != Slot::EVERYTHING {
            return None;
        }
        let mut tables = SmallVec::new();
        for (slot, word) in words {
            if slot as usize >= TABLES {
                return None;
            }
            tables.push((Slot::from_bits(slot), Reading::from_bits(word)));
        }
        let everything = Reading::from_bits(everything);
        let clean = everything.is_clean()
            && tables
                .iter()
                .all(|(_, reading): &(_, Reading)| reading.is_clean());
        clean.then_some(Self {
            generation,
            everything,
            tables,
            clean,
        })
    }
}

/// Whether an entry's stamp still stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It does, and nobody is on the way to change it.
    Fresh,
    /// A writer that touches it is on the way to commit.
    Marked,
    /// It has changed.
    Stale,
}

/// The counters of one database.
#[derive(Debug)]
pub struct Tags {
    /// Differs between any two processes: values kept outside of this one name it.
    base: u128,
    /// How often everything was voided: by [`Tags::empty`], and whenever the
    /// catalogue changed, since an entry's dependencies and its reader's
    /// privileges hold for one picture of the catalogue only.
    generation: Line<AtomicU64>,
    everything: Line<Counter>,
    tables: Box<[Counter]>,
    pub(super) registry: Mutex<Registry>,
    pub(super) counts: Counts,
}

/// Alone on its cache line: every read loads it, so no neighbour may write next to it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line<T>(T);

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub widened: AtomicU64,
    pub unsettled: AtomicU64,
    pub saturated: AtomicU64,
    pub kept: AtomicU64,
}

/// What [`Tags::stats`] tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TagsStats {
    /// Transactions that have sent a write and are not settled.
    pub writers: usize,
    /// Of these, outcomes that are unknown.
    pub kept: u64,
    /// How often the catalogue changed under writers in flight.
    pub widened: u64,
    /// Writers dropped with a mark on: a defect, and their relations stay uncached.
    pub unsettled: u64,
    /// Marks that found their counter full: the relation stays uncached.
    pub saturated: u64,
    pub generation: u64,
}

impl Tags {
    /// # Errors
    /// When the operating system gives no random numbers: without them two
    /// processes could take each other's values for their own.
    pub fn new() -> Result<Arc<Self>, super::CacheError> {
        let mut base = [0; 16];
        getrandom::fill(&mut base).map_err(|_| super::CacheError::Random)?;
        Ok(Arc::new(Self {
            base: u128::from_le_bytes(base),
            generation: Line::default(),
            everything: Line::default(),
            tables: (0..TABLES).map(|_| Counter::default()).collect(),
            registry: Mutex::default(),
            counts: Counts::default(),
        }))
    }

    /// Names this process and database, and changes whenever everything is voided.
    pub fn incarnation(&self) -> u128 {
        self.base.wrapping_add(u128::from(self.generation()))
    }

    pub(super) fn base(&self) -> u128 {
        self.base
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.0.load(Ordering::Acquire)
    }

    /// To be read before the catalogue from which dependencies or a footprint are judged.
    pub fn picture(&self) -> Picture {
        Picture(self.generation())
    }

    /// The versions of `everything` and of each relation, to be taken after the
    /// request has come in and before its query's Bind (or Query) is sent: the
    /// snapshot is taken at Bind.
    ///
    /// `picture` is older than the catalogue that gave `dependencies`. If the
    /// catalogue has changed since, they may be the wrong ones, so the stamp is not clean.
    pub fn stamp(&self, dependencies: &[RelationOid], picture: Picture) -> Stamp {
        let generation = self.generation();
        let everything = self.everything.0.read();
        let mut clean = everything.is_clean() && generation == picture.0;
        let tables = dependencies
            .iter()
            .map(|&oid| {
                let slot = Self::slot(TagId::Table(oid));
                let reading = self.counter(slot).read();
                clean &= reading.is_clean();
                (slot, reading)
            })
            .collect();
        Stamp {
            generation: picture.0,
            everything,
            tables,
            clean,
        }
    }

    /// Whether what was filled under `stamp` may be served now. An entry carries
    /// its own dependencies, so a reader's idea of them, which may come from an
    /// older catalogue, plays no part.
    pub fn fit(&self, stamp: &Stamp) -> Fit {
        if !stamp.clean || stamp.generation != self.generation() {
            return Fit::Stale;
        }
        let mut fit = Self::compare(self.everything.0.read(), stamp.everything);
        for &(slot, then) in &stamp.tables {
            match Self::compare(self.counter(slot).read(), then) {
                Fit::Fresh => {}
                Fit::Marked => fit = if fit == Fit::Fresh { Fit::Marked } else { fit },
                Fit::Stale => fit = Fit::Stale,
            }
        }
        fit
    }

    /// No everything has been voided since `stamp`, whatever single relations have seen.
    pub fn same_generation(&self, stamp: &Stamp) -> bool {
        stamp.generation == self.generation()
    }

    fn compare(now: Reading, then: Reading) -> Fit {
        // A clean stamp's word holds no writers, so one comparison looks at both halves.
        if now == then {
            Fit::Fresh
        } else if now.version() == then.version() {
            Fit::Marked
        } else {
            Fit::Stale
        }
    }

    /// Registers a transaction that is about to send its first write. It must be
    /// registered before those bytes leave.
    pub fn writer(self: &Arc<Self>) -> Writer {
        Writer::register(self)
    }

    /// A writer that has touched `footprint` and is marked: for a statement that commits by itself.
    pub fn mark(self: &Arc<Self>, footprint: &Footprint, picture: Picture) -> Writer {
        let mut writer = self.writer();
        writer.touch(footprint, picture);
        writer.mark();
        writer
    }

    /// The catalogue has changed or is about to settle its change: every writer
    /// in flight, marked or not, may have waited behind the change and run with a
    /// new trigger, so each means everything from here on, and so does every
    /// footprint and every stamp that was judged from an older picture.
    ///
    /// To be called after the change can be visible and before its own writer settles.
    pub fn widen_in_flight(&self) {
        // First the generation, then the walk: a writer that the walk misses
        // registers after it, and so finds the new generation when it touches.
        self.void();
        self.counts.widened.fetch_add(1, Ordering::Relaxed);
        self.registry.lock().each(|state| state.widen(self));
    }

    /// Every entry is stale.
    pub fn bump_everything(&self) {
        self.everything.0.bump();
    }

    /// Voids every entry and every fill under way, at every level, at once. Marks stay:
    /// their writers are still on their way.
    pub fn empty(&self) {
        self.void();
    }

    fn void(&self) {
        self.generation.0.fetch_add(1, Ordering::AcqRel);
    }

    /// How often `tag` has been written, and how many are about to.
    pub fn reading(&self, tag: TagId) -> Reading {
        self.counter(Self::slot(tag)).read()
    }

    pub fn stats(&self) -> TagsStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TagsStats {
            writers: self.registry.lock().len(),
            kept: count(&self.counts.kept),
            widened: count(&self.counts.widened),
            unsettled: count(&self.counts.unsettled),
            saturated: count(&self.counts.saturated),
            generation: self.generation(),
        }
    }

    /// Neighbouring oids, which relations of one schema have, fall far apart, and
    /// no two of a run of them fall together.
    pub(super) fn slot(tag: TagId) -> Slot {
        match tag {
            TagId::Everything => Slot::EVERYTHING,
            TagId::Table(oid) => {
                let spread = oid.wrapping_mul(0x9E37_79B1);
                Slot(spread >> (u32::BITS - TABLES.trailing_zeros()))
            }
        }
    }

    pub(super) fn counter(&self, slot: Slot) -> &Counter {
        match self.tables.get(slot.0 as usize) {
            Some(counter) => counter,
            None => &self.everything.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(oid: RelationOid) -> Footprint {
        Footprint {
            relations: SmallVec::from_slice(&[oid]),
            ..Footprint::default()
        }
    }

    #[test]
    fn a_stamp_fits_until_a_relation_is_written() {
        let tags = Tags::new().unwrap();
        let picture = tags.picture();
        let stamp = tags.stamp(&[16384, 16385], picture);
        assert!(stamp.is_clean());
        assert_eq!(tags.fit(&stamp), Fit::Fresh);
        let writer = tags.mark(&on(16385), picture);
        assert_eq!(tags.fit(&stamp), Fit::Marked);
        assert!(!tags.stamp(&[16385], picture).is_clean());
        assert!(tags.stamp(&[16384], picture).is_clean());
        writer.settle(true);
        assert_eq!(tags.fit(&stamp), Fit::Stale);
        assert_eq!(tags.stats().writers, 0);
    }

    #[test]
    fn an_aborted_write_leaves_a_stamp_fresh() {
        let tags = Tags::new().unwrap();
        let stamp = tags.stamp(&[7], tags.picture());
        tags.mark(&on(7), tags.picture()).settle(false);
        assert_eq!(tags.fit(&stamp), Fit::Fresh);
    }

    #[test]
    fn everything_voids_whoever_depends_on_anything() {
        let tags = Tags::new().unwrap();
        let stamp = tags.stamp(&[], tags.picture());
        tags.mark(&Footprint::everything(), tags.picture())
            .settle(true);
        assert_eq!(tags.fit(&stamp), Fit::Stale);
        let stamp = tags.stamp(&[1], tags.picture());
        tags.bump_everything();
        assert_eq!(tags.fit(&stamp), Fit::Stale);
    }

    #[test]
    fn empty_voids_entries_and_fills_under_way_and_renames_the_incarnation() {
        let tags = Tags::new().unwrap();
        let (before, stamp) = (tags.incarnation(), tags.stamp(&[1], tags.picture()));
        tags.empty();
        assert_eq!(tags.fit(&stamp), Fit::Stale);
        assert!(!tags.same_generation(&stamp));
        assert_ne!(tags.incarnation(), before);
        assert_ne!(tags.incarnation(), Tags::new().unwrap().incarnation());
    }

    #[test]
    fn a_stamp_judged_from_an_older_catalogue_is_not_clean() {
        let tags = Tags::new().unwrap();
        let picture = tags.picture();
        tags.widen_in_flight();
        assert!(!tags.stamp(&[1], picture).is_clean());
        assert!(tags.stamp(&[1], tags.picture()).is_clean());
    }

    #[test]
    fn a_stamp_that_never_fits() {
        let tags = Tags::new().unwrap();
        assert_eq!(tags.fit(&Stamp::never()), Fit::Stale);
    }

    #[test]
    fn words_come_back_as_the_stamp_and_nonsense_does_not() {
        let tags = Tags::new().unwrap();
        tags.mark(&on(9), tags.picture()).settle(true);
        let stamp = tags.stamp(&[9, 16384], tags.picture());
        let words: Vec<_> = stamp.words().collect();
        assert_eq!(words.len(), 3);
        let again = Stamp::from_words(stamp.generation(), words.clone()).unwrap();
        assert_eq!(again, stamp);
        assert_eq!(tags.fit(&again), Fit::Fresh);
        assert!(Stamp::from_words(0, []).is_none());
        assert!(Stamp::from_words(0, [(3, 0)]).is_none());
        assert!(Stamp::from_words(0, [words[0], (TABLES as u32, 0)]).is_none());
        assert!(Stamp::from_words(0, [(words[0].0, 1)]).is_none());
    }

    #[test]
    fn relations_of_one_schema_do_not_share_counters() {
        let slots: std::collections::HashSet<_> = (16384..16384 + 10_000)
            .map(|oid| Tags::slot(TagId::Table(oid)))
            .collect();
        assert_eq!(slots.len(), 10_000);
    }
}
