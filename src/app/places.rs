//! How many there may be at once, under a limit that a reload may move.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts who is here.
#[derive(Debug, Default)]
pub struct Places(Arc<AtomicUsize>);

/// Given back when dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Places {
    /// `None` if `limit` or more are here. Who is here already stays, also above a lowered limit.
    pub fn take(&self, limit: usize) -> Option<Place> {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < limit).then_some(taken + 1)
            })
            .ok()
            .map(|_| Place(self.0.clone()))
    }

    pub fn taken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_holder_is_gone() {
        let places = Places::default();
        let one = places.take(1).unwrap();
        assert!(places.take(1).is_none());
        let two = places.take(2).unwrap();
        assert_eq!(places.taken(), 2);
        drop(one);
        assert!(places.take(1).is_none(), "the limit was lowered");
        drop(two);
        assert!(places.take(1).is_some());
    }
}
