//! The tags of one database: counters of what its relations have seen.
//!
//! Owns the counters, the generation that voids everything at once, and the
//! register of writers in flight. Knows neither sessions nor SQL: it is told
//! relations and commits, and answers whether what was read may still be served.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::classes::{self, Classes, Standing};
use super::counters::Reading;
use super::field::{Field, Level, Line, Slot};
use super::writer::{Registry, Writer};
use crate::catalog::{ColumnNumber, Dependency, Footprint, Region, RelationOid};
use crate::planted::{Step, planted};

/// A tag: the name of one dependency. [`Tags::slot`] says where its counter stands.
///
/// A key's tag, `slot[C]`, has no name here: it is a place in the field of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TagId<'a> {
    /// Every entry depends on it.
    Everything,
    /// `tab`: the relation as a whole is written. All that read it depend on it.
    Table(RelationOid),
    /// `any`: some row is written. Depends on it who is not confined to keys.
    Any(RelationOid),
    /// `wild[C]`: rows are written whose keys of this class are not known. Depends on
    /// it who is confined to keys of the class.
    Wild(RelationOid, &'a [ColumnNumber]),
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
    words: SmallVec<[(Slot, Reading); 4]>,
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
            words: SmallVec::new(),
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

    #[cfg(test)]
    pub(super) fn forget(&mut self, index: usize) {
        self.words.remove(index);
    }

    /// The words, `everything` first, for the second tier.
    pub(super) fn words(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let words = self.words.iter().copied();
        std::iter::once((Slot::EVERYTHING, self.everything))
            .chain(words)
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
        // A place that has no counter here fits nothing.
        let words: SmallVec<[_; 4]> = words
            .map(|(slot, word)| (Slot::from_bits(slot), Reading::from_bits(word)))
            .collect();
        let everything = Reading::from_bits(everything);
        let clean = everything.is_clean()
            && words
                .iter()
                .all(|(_, reading): &(_, Reading)| reading.is_clean());
        clean.then_some(Self {
            generation,
            everything,
            words,
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
    /// Grows whenever everything is voided: by [`Tags::empty`], and when the
    /// catalogue changed, since an entry's dependencies and its reader's
    /// privileges hold for one picture of the catalogue only. It begins anywhere: what is kept in memory may be
    /// of a database of this name that was left before (`DROP DATABASE`), whose counters began at zero as well.
    generation: Line<AtomicU64>,
    first_generation: u64,
    pub(super) field: Field,
    pub(super) classes: Classes,
    /// One birth of a class, or one growth of the field, at a time.
    births: Mutex<()>,
    pub(super) registry: Mutex<Registry>,
    pub(super) counts: Counts,
}

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
    /// Column sets by whose values reads are told apart.
    pub classes: usize,
    /// Counters of keys that reads depend on.
    pub live_keys: u64,
    /// What the counters of keys take.
    pub key_bytes: u64,
}

impl Tags {
    /// `key_bytes_max` bounds the counters of keys; with none every read depends on its
    /// relations as a whole.
    ///
    /// # Errors
    /// When the operating system gives no random numbers: without them two
    /// processes could take each other's values for their own.
    pub fn new(key_bytes_max: u64) -> Result<Arc<Self>, super::CacheError> {
        let mut random = [0; 24];
        getrandom::fill(&mut random).map_err(|_| super::CacheError::Random)?;
        let (mut base, mut first) = ([0; 16], [0; 8]);
        base.copy_from_slice(&random[..16]);
        first.copy_from_slice(&random[16..]);
        // Far from the greatest, which fits nowhere.
        let first_generation = u64::from_le_bytes(first) >> 1;
        Ok(Arc::new(Self {
            base: u128::from_le_bytes(base),
            generation: Line(AtomicU64::new(first_generation)),
            first_generation,
            field: Field::new(key_bytes_max),
            classes: Classes::default(),
            births: Mutex::default(),
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

    /// As [`Tags::stamp`], of relations as a whole.
    pub fn stamp_whole(&self, relations: &[RelationOid], picture: Picture) -> Stamp {
        self.stamp(relations.iter().copied().map(Dependency::Relation), picture)
    }

    /// The versions of `everything` and of each dependency, to be taken after the
    /// request has come in and before its query's Bind (or Query) is sent: the
    /// snapshot is taken at Bind.
    ///
    /// `picture` is older than the catalogue that gave `dependencies`. If the
    /// catalogue has changed since, they may be the wrong ones, so the stamp is not clean.
    pub fn stamp(
        &self,
        dependencies: impl IntoIterator<Item = Dependency>,
        picture: Picture,
    ) -> Stamp {
        let generation = self.generation();
        let everything = self.field.everything().read();
        let mut stamp = Stamp {
            generation: picture.0,
            everything,
            words: SmallVec::new(),
            clean: everything.is_clean() && generation == picture.0,
        };
        for dependency in dependencies {
            match dependency {
                Dependency::Relation(oid) => self.stamp_relation(oid, &mut stamp),
                Dependency::Region(region) => self.stamp_region(&region, &mut stamp),
            }
        }
        stamp
    }

    fn stamp_relation(&self, oid: RelationOid, stamp: &mut Stamp) {
        self.stamp_slot(Self::slot(TagId::Table(oid)), stamp);
        self.stamp_slot(Self::slot(TagId::Any(oid)), stamp);
    }

    fn stamp_region(&self, region: &Region, stamp: &mut Stamp) {
        let columns = region.columns();
        let keys = match region.keys(&columns) {
            Some(keys) if self.class_stands(region.relation, &columns) => keys,
            _ => return self.stamp_relation(region.relation, stamp),
        };
        self.stamp_slot(Self::slot(TagId::Table(region.relation)), stamp);
        self.stamp_slot(Self::slot(TagId::Wild(region.relation, &columns)), stamp);
        let class = classes::class_hash(region.relation, &columns);
        let level = self.field.level();
        let mut crowded = false;
        for key in keys {
            let slot = Slot::key(classes::key_hash(class, key), level);
            crowded |= self.field.note_use(slot);
            self.stamp_slot(slot, stamp);
        }
        if crowded {
            self.grow(level);
        }
    }

    fn stamp_slot(&self, slot: Slot, stamp: &mut Stamp) {
        let reading = self.read(slot);
        stamp.clean &= reading.is_some_and(Reading::is_clean);
        if let Some(reading) = reading {
            stamp.words.push((slot, reading));
        }
    }

    fn read(&self, slot: Slot) -> Option<Reading> {
        self.field.counter(slot).map(|counter| counter.read())
    }

    /// Whether keys of this class may be stamped; it is born if need be.
    fn class_stands(&self, relation: RelationOid, columns: &[ColumnNumber]) -> bool {
        if columns.is_empty() || !self.field.has_keys() {
            return false;
        }
        if self.classes.is_published(relation, columns) {
            return true;
        }
        let _birth = self.births.lock();
        match self.classes.announce(relation, columns) {
            Standing::Published => true,
            Standing::Refused => false,
            Standing::Announced => {
                self.remark_in_flight();
                self.classes.publish(relation, columns);
                true
            }
        }
    }

    /// Takes stamps in a larger field of keys than the one that has become too small.
    fn grow(&self, from: Level) {
        let _birth = self.births.lock();
        if let Some(level) = self.field.announce_larger(from) {
            self.remark_in_flight();
            self.field.publish_larger(level);
        }
    }

    /// Every writer that is marked puts its marks where it would put them now.
    pub(super) fn remark_in_flight(&self) {
        self.registry.lock().each(|state| state.follow(self));
    }

    /// Whether what was filled under `stamp` may be served now. An entry carries
    /// its own dependencies, so a reader's idea of them, which may come from an
    /// older catalogue, plays no part.
    pub fn fit(&self, stamp: &Stamp) -> Fit {
        if !stamp.clean || stamp.generation != self.generation() {
            return Fit::Stale;
        }
        let mut fit = Self::compare(self.field.everything().read(), stamp.everything);
        for &(slot, then) in &stamp.words {
            let Some(now) = self.read(slot) else {
                return Fit::Stale;
            };
            match Self::compare(now, then) {
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
        } else if planted(Step::VersionsIgnored) && now.writers() == 0 {
            Fit::Fresh
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
        if !planted(Step::NotWidened) {
            self.registry.lock().each(|state| state.widen(self));
        }
    }

    /// Every entry is stale.
    pub fn bump_everything(&self) {
        self.field.everything().bump();
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
    pub fn reading(&self, tag: TagId<'_>) -> Reading {
        let counter = self.field.counter(Self::slot(tag));
        counter.unwrap_or(self.field.everything()).read()
    }

    pub fn stats(&self) -> TagsStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TagsStats {
            writers: self.registry.lock().len(),
            kept: count(&self.counts.kept),
            widened: count(&self.counts.widened),
            unsettled: count(&self.counts.unsettled),
            saturated: count(&self.counts.saturated),
            generation: self.generation().wrapping_sub(self.first_generation),
            classes: self.classes.len(),
            live_keys: self.field.live_keys(),
            key_bytes: self.field.key_bytes(),
        }
    }

    /// Neighbouring oids, which relations of one schema have, fall far apart, and
    /// no two of a run of them fall together.
    pub(super) fn slot(tag: TagId<'_>) -> Slot {
        const SPREAD: u32 = 0x9E37_79B1;
        match tag {
            TagId::Everything => Slot::EVERYTHING,
            TagId::Table(oid) => Slot::table(oid.wrapping_mul(SPREAD)),
            TagId::Any(oid) => Slot::table(oid.wrapping_mul(SPREAD) ^ 0x5555_5555),
            TagId::Wild(oid, columns) => classes::wild(oid, columns),
        }
    }
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;

    const KEY_BYTES: u64 = 2 << 20;

    fn on(oid: RelationOid) -> Footprint {
        Footprint {
            relations: SmallVec::from_slice(&[oid]),
            ..Footprint::default()
        }
    }

    #[test]
    fn a_stamp_fits_until_a_relation_is_written() {
        let tags = Tags::new(KEY_BYTES).unwrap();
        let picture = tags.picture();
        let stamp = tags.stamp_whole(&[16384, 16385], picture);
        assert!(stamp.is_clean());
        assert_eq!(tags.fit(&stamp), Fit::Fresh);
        let writer = tags.mark(&on(16385), picture);
        assert_eq!(tags.fit(&stamp), Fit::Marked);
        assert!(!tags.stamp_whole(&[16385], picture).is_clean());
        assert!(tags.stamp_whole(&[16384], picture).is_clean());
        writer.settle(true);
        assert_eq!(tags.fit(&stamp), Fit::Stale);
        assert_eq!(tags.stats().writers, 0);
    }

    #[test]
    fn an_aborted_write_leaves_a_stamp_fresh() {
        let tags = Tags::new(KEY_BYTES).unwrap();
        let stamp = tags.stamp_whole(&[7], tags.picture());
        tags.mark(&on(7), tags.picture()).settle(false);
        assert_eq!(tags.fit(&stamp), Fit::Fresh);
    }

    #[test]
    fn everything_voids_whoever_depends_on_anything() {
        let tags = Tags::new(KEY_BYTES).unwrap();
        let stamp = tags.stamp_whole(&[], tags.picture());
        tags.mark(&Footprint::everything(), tags.picture())
            .settle(true);
        assert_eq!(tags.fit(&stamp), Fit::Stale);
        let stamp = tags.stamp_whole(&[1], tags.picture());
        tags.bump_everything();
        assert_eq!(tags.fit(&stamp), Fit::Stale);
    }

    #[test]
    fn empty_voids_entries_and_fills_under_way_and_renames_the_incarnation() {
        let tags = Tags::new(KEY_BYTES).unwrap();
        let (before, stamp) = (tags.incarnation(), tags.stamp_whole(&[1], tags.picture()));
        tags.empty();
        assert_eq!(tags.fit(&stamp), Fit::Stale);
        assert!(!tags.same_generation(&stamp));
        assert_ne!(tags.incarnation(), before);
        assert_ne!(
            tags.incarnation(),
            Tags::new(KEY_BYTES).unwrap().incarnation()
        );
    }

    #[test]
    fn a_stamp_judged_from_an_older_catalogue_is_not_clean() {
        let tags = Tags::new(KEY_BYTES).unwrap();
        let picture = tags.picture();
        tags.widen_in_flight();
        assert!(!tags.stamp_whole(&[1], picture).is_clean());
        assert!(tags.stamp_whole(&[1], tags.picture()).is_clean());
    }

    #[test]
    fn a_stamp_that_never_fits() {
        let tags = Tags::new(KEY_BYTES).unwrap();
        assert_eq!(tags.fit(&Stamp::never()), Fit::Stale);
    }

    #[test]
    fn words_come_back_as_the_stamp_and_nonsense_does_not() {
        let tags = Tags::new(KEY_BYTES).unwrap();
        tags.mark(&on(9), tags.picture()).settle(true);
        let stamp = tags.stamp_whole(&[9, 16384], tags.picture());
        let words: Vec<_> = stamp.words().collect();
        assert_eq!(words.len(), 5);
        let again = Stamp::from_words(stamp.generation(), words.clone()).unwrap();
        assert_eq!(again, stamp);
        assert_eq!(tags.fit(&again), Fit::Fresh);
        assert!(Stamp::from_words(0, []).is_none());
        assert!(Stamp::from_words(0, [(3, 0)]).is_none());
        let nowhere = Stamp::from_words(stamp.generation(), [words[0], (1 << 20, 0)]).unwrap();
        assert_eq!(tags.fit(&nowhere), Fit::Stale);
        assert!(Stamp::from_words(0, [(words[0].0, 1)]).is_none());
    }

    #[test]
    fn relations_of_one_schema_do_not_share_counters() {
        let slots: std::collections::HashSet<_> = (16384..16384 + 10_000)
            .map(|oid| Tags::slot(TagId::Table(oid)))
            .collect();
        assert_eq!(slots.len(), 10_000);
    }

    fn key(value: u64) -> Region {
        Region::new(16384, [(1, smallvec![value])])
    }

    fn of_keys(regions: &[Region]) -> Footprint {
        Footprint {
            regions: regions.to_vec(),
            ..Footprint::default()
        }
    }

    #[test]
    fn a_write_to_one_key_leaves_the_stamps_of_others_fresh() {
        let tags = Tags::new(KEY_BYTES).unwrap();
        let picture = tags.picture();
        let stamp = |value| tags.stamp([Dependency::Region(key(value))], picture);
        let (mine, other) = (stamp(1), stamp(2));
        let whole = tags.stamp_whole(&[16384], picture);
        let writer = tags.mark(&of_keys(&[key(1)]), picture);
        assert_eq!(tags.fit(&mine), Fit::Marked);
        assert_eq!(tags.fit(&whole), Fit::Marked);
        assert_eq!(tags.fit(&other), Fit::Fresh);
        writer.settle(true);
        assert_eq!(tags.fit(&mine), Fit::Stale);
        assert_eq!(tags.fit(&whole), Fit::Stale);
        assert_eq!(tags.fit(&other), Fit::Fresh);
        let unknown = Region::new(16384, [(2, smallvec![1])]);
        tags.mark(&of_keys(&[unknown]), picture).settle(true);
        assert_eq!(tags.fit(&other), Fit::Stale);
        let again = stamp(2);
        tags.mark(&on(16384), picture).settle(true);
        assert_eq!(tags.fit(&again), Fit::Stale);
        let stats = tags.stats();
        assert_eq!((stats.classes, stats.live_keys), (1, 2));
    }

    #[test]
    fn a_class_born_while_a_writer_is_marked_has_its_mark() {
        let tags = Tags::new(KEY_BYTES).unwrap();
        let picture = tags.picture();
        let writer = tags.mark(&of_keys(&[key(1)]), picture);
        assert!(!tags.stamp([Dependency::Region(key(1))], picture).is_clean());
        let other = tags.stamp([Dependency::Region(key(2))], picture);
        assert!(other.is_clean());
        writer.settle(true);
        assert_eq!(tags.fit(&other), Fit::Fresh);
        assert!(tags.stamp([Dependency::Region(key(1))], picture).is_clean());
    }

    #[test]
    fn the_field_of_keys_grows_under_writers_and_old_stamps_stay() {
        let tags = Tags::new(KEY_BYTES).unwrap();
        let picture = tags.picture();
        let writer = tags.mark(&of_keys(&[key(0)]), picture);
        let early = tags.stamp([Dependency::Region(key(1))], picture);
        let before = tags.stats().key_bytes;
        for value in 1..4000 {
            tags.stamp([Dependency::Region(key(value))], picture);
        }
        assert!(tags.stats().key_bytes > before);
        assert_eq!(tags.fit(&early), Fit::Fresh);
        tags.mark(&of_keys(&[key(1)]), picture).settle(true);
        assert_eq!(tags.fit(&early), Fit::Stale);
        assert!(!tags.stamp([Dependency::Region(key(0))], picture).is_clean());
        writer.settle(true);
        let stamp = tags.stamp([Dependency::Region(key(0))], picture);
        assert!(stamp.is_clean());
        tags.mark(&of_keys(&[key(0)]), picture).settle(true);
        assert_eq!(tags.fit(&stamp), Fit::Stale);
        assert!(tags.stats().key_bytes <= KEY_BYTES);
    }

    #[test]
    fn without_memory_for_keys_a_read_depends_on_the_whole_relation() {
        let tags = Tags::new(0).unwrap();
        let picture = tags.picture();
        let stamp = tags.stamp([Dependency::Region(key(2))], picture);
        tags.mark(&of_keys(&[key(1)]), picture).settle(true);
        assert_eq!(tags.fit(&stamp), Fit::Stale);
        assert_eq!(tags.stats().classes, 0);
    }

    #[test]
    fn words_of_keys_come_back_as_the_stamp() {
        let tags = Tags::new(KEY_BYTES).unwrap();
        let stamp = tags.stamp([Dependency::Region(key(1))], tags.picture());
        let again = Stamp::from_words(stamp.generation(), stamp.words()).unwrap();
        assert_eq!(tags.fit(&again), Fit::Fresh);
        tags.mark(&of_keys(&[key(1)]), tags.picture()).settle(true);
        assert_eq!(tags.fit(&again), Fit::Stale);
    }
}
