//! One counter: a version, and how many writers are on their way to commit.
//!
//! Both stand in one word, so that one load sees them together. Were they two,
//! a reader could load the version before a writer's bump and the writers
//! after it took its mark off, and take a stale entry for a fresh one.
//!
//! # Orderings
//!
//! The protocol orders our memory against another process, PostgreSQL, that we
//! reach through system calls:
//!
//! * a mark must be visible to every reader before the bytes of the commit
//!   leave, and a bump before the bytes of the acknowledgement do. Both are
//!   `Release` (as part of `AcqRel`) read-modify-writes that stand before the
//!   write call in program order; whoever learns of the commit, however many
//!   processes later, has a happens-before chain to them, since each hand-over
//!   (socket, lock of the server, socket) is itself a release and an acquire.
//!   Whoever has not learned of it may be ordered before it, and may see the
//!   old word.
//! * a stamp must be read before the query's bytes leave, and after the request
//!   that it serves has come in: an `Acquire` load cannot sink below the write
//!   call nor rise above the read call.
//!
//! Each word is sound alone: a reader that depends on several words needs no
//! order between them, because a writer marks and bumps every word that it
//! touches, and any one of them that has moved voids the entry.

use std::sync::atomic::{AtomicU64, Ordering};

/// The version's unit: the lower 16 bits count writers.
const VERSION: u64 = 1 << 16;
const WRITERS: u64 = VERSION - 1;

/// A counter's word at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reading(u64);

impl Reading {
    /// Nobody who touches this is on the way to commit.
    pub fn is_clean(self) -> bool {
        self.0 & WRITERS == 0
    }

    pub fn version(self) -> u64 {
        self.0 >> 16
    }

    pub fn writers(self) -> u16 {
        (self.0 & WRITERS) as u16
    }

    pub(super) const fn to_bits(self) -> u64 {
        self.0
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub fn read(&self) -> Reading {
        Reading(self.0.load(Ordering::Acquire))
    }

    /// One writer more. When 16 bits are full the counter stays marked for ever
    /// (until the process ends): wrapping round to "nobody" would be a wrong answer,
    /// and 65,535 commits in flight on one relation are a leak, not a load.
    pub fn mark(&self) -> Saturated {
        let marked = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                (word & WRITERS < WRITERS).then_some(word + 1)
            });
        Saturated(marked.is_err())
    }

    /// Takes one mark off, and moves the version first if `happened`: one
    /// addition does both, so no reader can come between them. The version wraps
    /// after 2^48 writes, which takes nine years at a million a second.
    pub fn unmark(&self, happened: bool) {
        // A closure that always returns Some cannot fail.
        let _ = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                let word = if happened {
                    word.wrapping_add(VERSION)
                } else {
                    word
                };
                Some(match word & WRITERS {
                    // Saturated: whose mark it was is no longer known.
                    WRITERS => word,
                    // A mark that was not counted cannot be taken off.
                    0 => word,
                    _ => word - 1,
                })
            });
    }

    /// Moves the version.
    pub fn bump(&self) {
        self.0.fetch_add(VERSION, Ordering::AcqRel);
    }
}

/// Whether a mark found the counter full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Saturated(pub bool);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_makes_it_unclean_and_settling_moves_the_version() {
        let counter = Counter::default();
        let before = counter.read();
        assert!(before.is_clean());
        counter.mark();
        counter.mark();
        assert_eq!(counter.read().writers(), 2);
        counter.unmark(true);
        assert_eq!(counter.read().writers(), 1);
        counter.unmark(false);
        let after = counter.read();
        assert!(after.is_clean());
        assert_eq!(after.version(), before.version() + 1);
    }

    #[test]
    fn an_aborted_write_leaves_the_word_as_it_was() {
        let counter = Counter::default();
        let before = counter.read();
        counter.mark();
        counter.unmark(false);
        assert_eq!(counter.read(), before);
    }

    #[test]
    fn a_full_counter_stays_marked_and_still_counts_versions() {
        let counter = Counter(AtomicU64::new(WRITERS - 1));
        assert_eq!(counter.mark(), Saturated(false));
        assert_eq!(counter.mark(), Saturated(true));
        for _ in 0..3 {
            counter.unmark(true);
        }
        assert_eq!(counter.read().writers(), u16::MAX);
        assert_eq!(counter.read().version(), 3);
    }

    #[test]
    fn the_version_wraps_without_touching_the_writers() {
        let counter = Counter(AtomicU64::new(u64::MAX << 16));
        counter.mark();
        counter.unmark(true);
        assert_eq!(counter.read(), Reading(0));
        counter.bump();
        assert_eq!(counter.read().version(), 1);
    }
}
