//! One transaction that writes, from its first write to its settled outcome.
//!
//! ```text
//! tags.writer()      registered: the catalogue's changes find it
//!   touch(footprint) before a writing statement's bytes leave
//!   mark()           before any bytes leave that can make the transaction visible
//!   settle(happened) after ReadyForQuery `I` has come and before it is passed on
//!   release(…)       after ReadyForQuery `T` or `E`: marks off, footprint still pending
//!   keep()           the outcome is unknown: the marks stay
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::classes;
use super::field::Slot;
use super::tags::{Picture, TagId, Tags};
use crate::catalog::{Footprint, Region};

/// The writers in flight of one database.
#[derive(Debug, Default)]
pub(super) struct Registry {
    next: u64,
    writers: HashMap<u64, Arc<Mutex<State>>, foldhash::fast::RandomState>,
}

impl Registry {
    fn add(&mut self) -> (u64, Arc<Mutex<State>>) {
        let id = self.next;
        self.next += 1;
        let state = Arc::new(Mutex::new(State::default()));
        self.writers.insert(id, Arc::clone(&state));
        (id, state)
    }

    pub fn each(&self, mut with: impl FnMut(&mut State)) {
        for state in self.writers.values() {
            with(&mut state.lock());
        }
    }

    pub fn len(&self) -> usize {
        self.writers.len()
    }
}

/// What a writer has touched, and which counters carry its mark.
#[derive(Debug, Default)]
pub(super) struct State {
    touched: Footprint,
    marked: bool,
    /// Sorted, without duplicates; empty unless `marked`.
    slots: Slots,
}

type Slots = SmallVec<[Slot; 4]>;

impl State {
    pub fn widen(&mut self, tags: &Tags) {
        self.touched.everything = true;
        self.follow(tags);
    }

    /// Once marked, the marks follow what is touched, the classes that there are, and the
    /// field of keys as it grows.
    pub fn follow(&mut self, tags: &Tags) {
        if !self.marked {
            return;
        }
        if self.touched.everything {
            // Every entry depends on it, so it stands for all relations.
            return Self::put(&mut self.slots, Slot::EVERYTHING, tags);
        }
        for &oid in &self.touched.relations {
            Self::put(&mut self.slots, Tags::slot(TagId::Table(oid)), tags);
        }
        for region in &self.touched.regions {
            Self::put_region(&mut self.slots, region, tags);
        }
    }

    fn put_region(slots: &mut Slots, region: &Region, tags: &Tags) {
        let oid = region.relation;
        Self::put(slots, Tags::slot(TagId::Any(oid)), tags);
        tags.classes.each(oid, |columns| {
            let Some(keys) = region.keys(columns) else {
                return Self::put(slots, Tags::slot(TagId::Wild(oid, columns)), tags);
            };
            let class = classes::class_hash(oid, columns);
            for level in tags.field.marked_levels() {
                for &key in &keys {
                    Self::put(slots, Slot::key(classes::key_hash(class, key), level), tags);
                }
            }
        });
    }

    fn put(slots: &mut Slots, slot: Slot, tags: &Tags) {
        if let (Err(at), Some(counter)) = (slots.binary_search(&slot), tags.field.counter(slot)) {
            let saturated = counter.mark();
            if saturated.0 {
                tags.counts.saturated.fetch_add(1, Ordering::Relaxed);
            }
            slots.insert(at, slot);
        }
    }

    fn release(&mut self, tags: &Tags, happened: bool) {
        self.marked = false;
        for slot in self.slots.drain(..) {
            if let Some(counter) = tags.field.counter(slot) {
                counter.unmark(happened);
            }
        }
    }
}

/// A transaction that writes. Made by [`Tags::writer`].
///
/// Dropped without a mark, it has sent nothing that could commit, and is
/// forgotten. Dropped with its mark on, the mark stays for ever, since nobody
/// can say any more whether it happened: that is counted and must not be.
#[derive(Debug)]
#[must_use = "a dropped mark is never taken off"]
pub struct Writer {
    tags: Arc<Tags>,
    id: u64,
    state: Arc<Mutex<State>>,
    over: bool,
}

impl Writer {
    pub(super) fn register(tags: &Arc<Tags>) -> Self {
        let (id, state) = tags.registry.lock().add();
        Self {
            tags: Arc::clone(tags),
            id,
            state,
            over: false,
        }
    }

    /// Adds what a statement may touch, before its bytes leave. A writer that is
    /// marked marks it at once.
    ///
    /// `picture` is older than the catalogue from which `footprint` was judged. If
    /// the catalogue has changed in between, the statement may meet a trigger that the
    /// judgement knew nothing of, and means everything.
    pub fn touch(&mut self, footprint: &Footprint, picture: Picture) {
        let mut state = self.state.lock();
        state.touched.merge(footprint);
        // We are registered: either the walk of a widening finds us, or it was over
        // before we registered and its new generation is what is loaded here.
        if self.tags.picture() != picture {
            state.touched.everything = true;
        }
        state.follow(&self.tags);
    }

    /// What has been touched so far, widened as it may have been.
    pub fn touched(&self) -> Footprint {
        self.state.lock().touched.clone()
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> SmallVec<[Slot; 4]> {
        self.state.lock().slots.clone()
    }

    pub fn is_marked(&self) -> bool {
        self.state.lock().marked
    }

    /// Marks all that was touched: before any bytes leave that can make it visible.
    pub fn mark(&mut self) {
        let mut state = self.state.lock();
        state.marked = true;
        state.follow(&self.tags);
    }

    /// The transaction is over: before ReadyForQuery is passed on. `happened` unless
    /// it has surely been aborted.
    pub fn settle(mut self, happened: bool) {
        self.finish(happened);
    }

    /// Takes the marks off but keeps what was touched pending: an implicit
    /// transaction has become an explicit one, or a chained one has begun.
    /// `happened` if the unit held a commit point.
    pub fn release(&mut self, happened: bool) {
        self.state.lock().release(&self.tags, happened);
    }

    /// The outcome is unknown (connection lost, or the transaction was prepared): the
    /// marks stay until somebody finds out.
    pub fn keep(mut self) -> KeptMark {
        self.mark();
        self.tags.counts.kept.fetch_add(1, Ordering::Relaxed);
        KeptMark(self)
    }

    fn finish(&mut self, happened: bool) {
        // Off the register only after the marks are off: a widening between the two
        // finds a writer that is not marked, which costs nothing.
        self.state.lock().release(&self.tags, happened);
        self.tags.registry.lock().writers.remove(&self.id);
        self.over = true;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        if self.is_marked() {
            // It stays on the register, so that a widening still reaches its mark.
            self.tags.counts.unsettled.fetch_add(1, Ordering::Relaxed);
        } else {
            self.finish(false);
        }
    }
}

/// The marks of a transaction whose outcome is not known yet.
#[derive(Debug)]
#[must_use = "a dropped mark is never taken off"]
pub struct KeptMark(Writer);

impl KeptMark {
    /// The outcome is known, or its backend (and its gid) is gone and whatever happened is visible.
    pub fn settle(mut self, happened: bool) {
        self.0.finish(happened);
        self.0.tags.counts.kept.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn touched(&self) -> Footprint {
        self.0.touched()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::tags::Fit;
    use crate::catalog::RelationOid;

    const KEY_BYTES: u64 = 1 << 20;

    fn on(oids: &[RelationOid]) -> Footprint {
        Footprint {
            relations: SmallVec::from_slice(oids),
            ..Footprint::default()
        }
    }

    #[test]
    fn a_long_transaction_marks_only_at_its_commit() {
        let tags = Tags::new(KEY_BYTES).unwrap();
        let picture = tags.picture();
        let mut writer = tags.writer();
        writer.touch(&on(&[1]), picture);
        assert!(tags.stamp_whole(&[1], picture).is_clean());
        writer.touch(&on(&[2]), picture);
        writer.mark();
        assert!(!tags.stamp_whole(&[1], picture).is_clean());
        assert!(!tags.stamp_whole(&[2], picture).is_clean());
        writer.settle(true);
        assert!(tags.stamp_whole(&[1, 2], picture).is_clean());
    }

    #[test]
    fn touching_more_while_marked_marks_at_once() {
        let tags = Tags::new(KEY_BYTES).unwrap();
        let picture = tags.picture();
        let mut writer = tags.mark(&on(&[1]), picture);
        writer.touch(&on(&[1, 2]), picture);
        assert_eq!(tags.reading(TagId::Table(1)).writers(), 1);
        assert_eq!(tags.reading(TagId::Table(2)).writers(), 1);
        writer.settle(true);
        assert_eq!(tags.reading(TagId::Table(2)).version(), 1);
    }

    #[test]
    fn widening_reaches_marked_and_announced_writers() {
        let tags = Tags::new(KEY_BYTES).unwrap();
        let picture = tags.picture();
        let marked = tags.mark(&on(&[1]), picture);
        let mut announced = tags.writer();
        announced.touch(&on(&[2]), picture);
        tags.widen_in_flight();
        assert_eq!(tags.reading(TagId::Everything).writers(), 1);
        let stamp = tags.stamp_whole(&[], tags.picture());
        announced.mark();
        assert_eq!(tags.reading(TagId::Everything).writers(), 2);
        announced.settle(true);
        marked.settle(true);
        assert_eq!(tags.reading(TagId::Everything).version(), 2);
        assert_eq!(tags.fit(&stamp), Fit::Stale);
    }

    #[test]
    fn a_footprint_from_an_older_catalogue_means_everything() {
        let tags = Tags::new(KEY_BYTES).unwrap();
        let picture = tags.picture();
        tags.widen_in_flight();
        let mut writer = tags.writer();
        writer.touch(&on(&[1]), picture);
        assert!(writer.touched().everything);
    }

    #[test]
    fn a_released_writer_keeps_what_it_touched() {
        let tags = Tags::new(KEY_BYTES).unwrap();
        let picture = tags.picture();
        let mut writer = tags.mark(&on(&[1]), picture);
        writer.release(false);
        assert!(tags.stamp_whole(&[1], picture).is_clean());
        assert_eq!(tags.reading(TagId::Table(1)).version(), 0);
        writer.mark();
        assert!(!tags.stamp_whole(&[1], picture).is_clean());
        writer.release(true);
        assert_eq!(tags.reading(TagId::Table(1)).version(), 1);
        drop(writer);
        assert_eq!(tags.stats().writers, 0);
        assert_eq!(tags.stats().unsettled, 0);
    }

    #[test]
    fn an_unknown_outcome_stays_marked_until_it_is_settled() {
        let tags = Tags::new(KEY_BYTES).unwrap();
        let kept = tags.mark(&on(&[1]), tags.picture()).keep();
        assert_eq!(tags.stats().kept, 1);
        tags.empty();
        assert!(!tags.stamp_whole(&[1], tags.picture()).is_clean());
        tags.widen_in_flight();
        assert!(!tags.stamp_whole(&[], tags.picture()).is_clean());
        kept.settle(true);
        assert!(tags.stamp_whole(&[1], tags.picture()).is_clean());
        assert_eq!(tags.stats().kept, 0);
    }

    #[test]
    fn a_mark_dropped_unsettled_stays_and_is_counted() {
        let tags = Tags::new(KEY_BYTES).unwrap();
        drop(tags.mark(&on(&[1]), tags.picture()));
        assert!(!tags.stamp_whole(&[1], tags.picture()).is_clean());
        assert_eq!(tags.stats().unsettled, 1);
        tags.widen_in_flight();
        assert!(!tags.stamp_whole(&[], tags.picture()).is_clean());
    }

    #[test]
    fn relations_that_share_a_counter_mark_it_once_and_settle_it_once() {
        let tags = Tags::new(KEY_BYTES).unwrap();
        let slot = Tags::slot(TagId::Table(1));
        let twin = (2..)
            .find(|&oid| Tags::slot(TagId::Table(oid)) == slot)
            .unwrap();
        let writer = tags.mark(&on(&[1, twin]), tags.picture());
        assert_eq!(tags.reading(TagId::Table(1)).writers(), 1);
        writer.settle(true);
        assert_eq!(tags.reading(TagId::Table(twin)).writers(), 0);
    }
}
