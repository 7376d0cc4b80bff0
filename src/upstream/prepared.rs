//! Which prepared statements a connection holds.

use std::num::NonZeroUsize;
use std::time::Instant;

use lru::LruCache;

use super::shape::Told;

/// A statement as it was prepared on one connection.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Before its Parse was sent.
    pub at: Instant,
    /// What the server says of it.
    pub told: Told,
}

/// The ids of the statements that are prepared on one connection, the least
/// recently used of them going first when there is no more room.
#[derive(Debug)]
pub struct PreparedSet {
    ids: LruCache<u64, Prepared, foldhash::fast::FixedState>,
}

impl PreparedSet {
    /// An empty set for at most `statements_max` ids; zero is taken as one, since
    /// a statement must be prepared to be executed at all.
    pub fn new(statements_max: usize) -> Self {
        let capacity = NonZeroUsize::new(statements_max).unwrap_or(NonZeroUsize::MIN);
        // Unbounded as far as the map is concerned: a bounded one would reserve
        // the whole table for every connection at once.
        let mut ids = LruCache::unbounded_with_hasher(foldhash::fast::FixedState::default());
        ids.resize(capacity);
        Self { ids }
    }

    /// How `id` is prepared, if it is; then it counts as just used.
    pub fn get(&mut self, id: u64) -> Option<&Prepared> {
        self.ids.get(&id)
    }

    /// Notes that `id` is prepared, anew or for the first time. Returns what had to
    /// go for it, which the caller closes on the server.
    #[must_use = "the evicted statement is still prepared on the server"]
    pub fn insert(&mut self, id: u64, prepared: Prepared) -> Option<(u64, Prepared)> {
        // The map hands back an old entry of the same key as well.
        let pushed = self.ids.push(id, prepared);
        pushed.filter(|(evicted, _)| *evicted != id)
    }

    /// Forgets `id`; true if it was there.
    pub fn remove(&mut self, id: u64) -> bool {
        self.ids.pop(&id).is_some()
    }

    /// Forgets those that are not kept; true if there were any.
    pub fn retain(&mut self, kept: impl Fn(u64) -> bool) -> bool {
        let gone: Vec<u64> = self.ids.iter().map(|(id, _)| *id).collect();
        let gone = gone.into_iter().filter(|id| !kept(*id));
        gone.fold(false, |_, id| self.remove(id))
    }

    /// Forgets all; those that were there.
    pub fn take(&mut self) -> Vec<(u64, Prepared)> {
        std::iter::from_fn(|| self.ids.pop_lru()).collect()
    }

    /// Forgets all, as after DISCARD ALL or DEALLOCATE ALL.
    pub fn clear(&mut self) {
        self.ids.clear();
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(set: &mut PreparedSet, id: u64) -> Option<u64> {
        let prepared = Prepared {
            at: Instant::now(),
            told: Told::default(),
        };
        set.insert(id, prepared).map(|(evicted, _)| evicted)
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut set = PreparedSet::new(2);
        assert_eq!(insert(&mut set, 1), None);
        assert_eq!(insert(&mut set, 2), None);
        assert!(set.get(1).is_some());
        assert_eq!(insert(&mut set, 3), Some(2));
        assert!(set.get(2).is_none());
        assert_eq!(set.len(), 2);
    }

    #[test]
    fn inserting_twice_evicts_nothing() {
        let mut set = PreparedSet::new(1);
        assert_eq!(insert(&mut set, 7), None);
        assert_eq!(insert(&mut set, 7), None);
        assert_eq!(insert(&mut set, 8), Some(7));
    }

    #[test]
    fn removed_and_cleared_ones_are_gone() {
        let mut set = PreparedSet::new(0);
        assert_eq!(insert(&mut set, 1), None);
        assert!(set.remove(1));
        assert!(!set.remove(1));
        assert_eq!(insert(&mut set, 2), None);
        set.clear();
        assert!(set.is_empty());
    }

    #[test]
    fn what_is_not_retained_is_told() {
        let mut set = PreparedSet::new(3);
        for id in 1..=3 {
            assert_eq!(insert(&mut set, id), None);
        }
        assert!(!set.retain(|_| true));
        assert!(set.retain(|id| id == 2));
        assert_eq!(set.len(), 1);
        assert!(set.get(2).is_some());
    }
}
