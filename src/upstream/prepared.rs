//! Which prepared statements a connection holds.

use std::num::NonZeroUsize;

use lru::LruCache;

/// The ids of the statements that are prepared on one connection, the least
/// recently used of them going first when there is no more room.
#[derive(Debug)]
pub struct PreparedSet {
    ids: LruCache<u64, (), foldhash::fast::FixedState>,
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

    /// True if `id` is prepared; then it counts as just used.
    pub fn contains(&mut self, id: u64) -> bool {
        self.ids.promote(&id)
    }

    /// Notes that `id` is prepared. Returns the id that had to go for it, which
    /// the caller closes on the server.
    #[must_use = "the evicted statement is still prepared on the server"]
    pub fn insert(&mut self, id: u64) -> Option<u64> {
        match self.ids.push(id, ()) {
            // The map hands back an old entry of the same key as well.
            Some((evicted, ())) if evicted != id => Some(evicted),
            _ => None,
        }
    }

    /// Forgets `id`; true if it was there.
    pub fn remove(&mut self, id: u64) -> bool {
        self.ids.pop(&id).is_some()
    }

    /// Forgets those that are not kept; true if there were any.
    pub fn retain(&mut self, kept: impl Fn(u64) -> bool) -> bool {
        let gone: Vec<u64> = self.ids.iter().map(|(id, ())| *id).collect();
        let gone = gone.into_iter().filter(|id| !kept(*id));
        gone.fold(false, |_, id| self.remove(id))
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

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut set = PreparedSet::new(2);
        assert_eq!(set.insert(1), None);
        assert_eq!(set.insert(2), None);
        assert!(set.contains(1));
        assert_eq!(set.insert(3), Some(2));
        assert!(!set.contains(2));
        assert_eq!(set.len(), 2);
    }

    #[test]
    fn inserting_twice_evicts_nothing() {
        let mut set = PreparedSet::new(1);
        assert_eq!(set.insert(7), None);
        assert_eq!(set.insert(7), None);
        assert_eq!(set.insert(8), Some(7));
    }

    #[test]
    fn removed_and_cleared_ones_are_gone() {
        let mut set = PreparedSet::new(0);
        assert_eq!(set.insert(1), None);
        assert!(set.remove(1));
        assert!(!set.remove(1));
        assert_eq!(set.insert(2), None);
        set.clear();
        assert!(set.is_empty());
    }
}
