//! One transaction that writes, from its first write to its settled outcome.
//!
//! ```text
//! tags.writer()      registered: the catalogue's changes find it
//!   touch(footprint) before a writing statement's bytes leave
//!   touch_learnable  the same of a statement whose rows may tell more of what it touches
//!   learn(…)         they did
//!   mark()           before any bytes leave that can make the transaction visible
//!   settle(happened) after ReadyForQuery `I` has come and before it is passed on
//!   release(…)       after ReadyForQuery `T` or `E`: marks off, footprint still pending
//!   keep()           the outcome is unknown: the marks stay
//! ```
//!
//! Marks are as wide as what was known when they were set, and stay until the outcome is settled. What moves is no wider
//! than what is known then: first the versions of what was touched, and only then, unmoved, the rest of the marks comes off.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::classes;
use super::field::Slot;
use super::tags::{Picture, TagId, Tags};
use crate::catalog::{Footprint, Learned, Region};
use crate::planted::{Step, planted};

/// The writers in flight of one database.
#[derive(Debug, Default)]
pub(super) struct Registry {
    next: u64,
    writers: HashMap<u64, Arc<Mutex<State>>, foldhash::fast::RandomState>,
}

impl Registry {
    fn add(&mut self, classes: usize) -> (u64, Arc<Mutex<State>>) {
        let id = self.next;
        self.next += 1;
        let state = Arc::new(Mutex::new(State {
            classes,
            ..State::default()
        }));
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

/// Regions of one writer that are, or are to be, more narrowly known: there is room in a footprint for as many
/// that are known from the start, beyond which the relation is touched as a whole.
const LEARNT_REGIONS_MAX: usize = 128;

/// What one statement touches, as long as its rows may tell more of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Learnable {
    writer: u64,
    number: u64,
}

/// What a writer has touched, and which counters carry its mark.
#[derive(Debug, Default)]
pub(super) struct State {
    touched: Footprint,
    /// Touched as well, each until it is known more narrowly.
    learnable: Vec<(u64, Vec<Region>)>,
    numbers: u64,
    marked: bool,
    /// Sorted, without duplicates; empty unless `marked`.
    slots: Slots,
    /// Those of `slots` that `touched` does not need.
    loose: Slots,
    /// So many classes of the database count, the oldest first: all that there are when it marks, unless that step is left out.
    classes: usize,
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
            return self.need(Slot::EVERYTHING, tags);
        }
        let touched = std::mem::take(&mut self.touched);
        for &oid in &touched.relations {
            self.need(Tags::slot(TagId::Table(oid)), tags);
        }
        let classes = self.classes;
        for region in &touched.regions {
            Self::each_slot(region, classes, tags, |slot| self.need(slot, tags));
        }
        self.touched = touched;
        let learnable = std::mem::take(&mut self.learnable);
        for region in learnable.iter().flat_map(|(_, regions)| regions) {
            Self::each_slot(region, classes, tags, |slot| {
                if self.put(slot, tags) {
                    self.loose.push(slot);
                }
            });
        }
        self.learnable = learnable;
    }

    fn each_slot(region: &Region, classes: usize, tags: &Tags, mut with: impl FnMut(Slot)) {
        let oid = region.relation;
        with(Tags::slot(TagId::Any(oid)));
        tags.classes.each(oid, classes, |columns| {
            let Some(keys) = region.keys(columns) else {
                return with(Tags::slot(TagId::Wild(oid, columns)));
            };
            let class = classes::class_hash(oid, columns);
            for level in tags.field.marked_levels() {
                for &key in &keys {
                    with(Slot::key(classes::key_hash(class, key), level));
                }
            }
        });
    }

    fn need(&mut self, slot: Slot, tags: &Tags) {
        self.loose.retain(|loose| *loose != slot);
        self.put(slot, tags);
    }

    /// False if it is there already.
    fn put(&mut self, slot: Slot, tags: &Tags) -> bool {
        let (Err(at), Some(counter)) = (self.slots.binary_search(&slot), tags.field.counter(slot))
        else {
            return false;
        };
        let saturated = counter.mark();
        if saturated.0 {
            tags.counts.saturated.fetch_add(1, Ordering::Relaxed);
        }
        self.slots.insert(at, slot);
        true
    }

    fn regions(&self) -> usize {
        let learnable = self.learnable.iter().map(|(_, regions)| regions.len());
        self.touched.regions.len() + learnable.sum::<usize>()
    }

    /// Whether it is known more narrowly now.
    fn learn(&mut self, number: u64, learned: &Learned) -> bool {
        let at = self
            .learnable
            .iter()
            .position(|(known, _)| *known == number);
        let Some((_, regions)) = at.map(|at| self.learnable.swap_remove(at)) else {
            return false;
        };
        let regions = match learned {
            Learned::Nothing => Vec::new(),
            Learned::Values(values) => regions.iter().map(|region| region.with(values)).collect(),
        };
        self.add(regions);
        true
    }

    fn add(&mut self, regions: Vec<Region>) {
        self.touched.merge(&Footprint {
            regions,
            ..Footprint::default()
        });
    }

    /// What has not been learned by now stays as wide as it is.
    fn end_learning(&mut self, tags: &Tags) {
        if !self.learnable.is_empty() {
            for (_, regions) in std::mem::take(&mut self.learnable) {
                self.add(regions);
            }
            self.follow(tags);
        }
        if self.touched.everything {
            self.loose.clear();
        }
    }

    fn release(&mut self, tags: &Tags, happened: bool) {
        self.end_learning(tags);
        self.marked = false;
        let unmark = |slot: Slot, happened: bool| {
            if let Some(counter) = tags.field.counter(slot) {
                counter.unmark(happened);
            }
        };
        let loose = std::mem::take(&mut self.loose);
        for slot in self.slots.drain(..) {
            if !loose.contains(&slot) {
                unmark(slot, happened);
            }
        }
        // Readers of what was touched find either its mark or its new version.
        for slot in loose {
            unmark(slot, false);
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
        let classes = match planted(Step::EarlyFootprints) {
            true => tags.classes.len(),
            false => usize::MAX,
        };
        let (id, state) = tags.registry.lock().add(classes);
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

    /// Adds regions that one statement may touch, as [`touch`](Self::touch) does, and whose rows may tell more of it.
    /// Until they do they are touched as they are; so they stay, if the answer is `None`.
    pub fn touch_learnable(&mut self, regions: Vec<Region>, picture: Picture) -> Option<Learnable> {
        let mut state = self.state.lock();
        state.touched.everything |= self.tags.picture() != picture;
        let known = state.regions() + regions.len() <= LEARNT_REGIONS_MAX;
        let learnable = (known && !state.touched.everything).then(|| {
            state.numbers += 1;
            Learnable {
                writer: self.id,
                number: state.numbers,
            }
        });
        match learnable {
            Some(learnable) => state.learnable.push((learnable.number, regions)),
            None => state.add(regions),
        }
        state.follow(&self.tags);
        learnable
    }

    /// The statement is complete, and `learned` holds for all rows that it has touched of its regions. Whether that
    /// makes a difference: after the first release what is not known stays as wide as it is.
    pub fn learn(&mut self, which: Learnable, learned: &Learned) -> bool {
        let mut state = self.state.lock();
        let known = which.writer == self.id && state.learn(which.number, learned);
        state.follow(&self.tags);
        known
    }

    /// What has been touched so far, widened as it may have been.
    pub fn touched(&self) -> Footprint {
        let state = self.state.lock();
        let mut touched = state.touched.clone();
        for (_, regions) in &state.learnable {
            touched.merge(&Footprint {
                regions: regions.clone(),
                ..Footprint::default()
            });
        }
        touched
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> SmallVec<[Slot; 4]> {
        self.state.lock().slots.clone()
    }

    /// What a release does last.
    #[cfg(test)]
    pub(super) fn unmark_loose(&mut self) {
        let mut state = self.state.lock();
        for slot in std::mem::take(&mut state.loose) {
            self.tags.field.counter(slot).unwrap().unmark(false);
            state.slots.retain(|marked| *marked != slot);
        }
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
mod tests;
