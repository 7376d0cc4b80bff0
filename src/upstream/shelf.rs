//! The shelf: idle connections on one side, those who wait on the other.
//!
//! Pure bookkeeping, generic over what a connection and a waiter are; the pool
//! holds it under its lock and does the I/O. Waiters are served strictly in the
//! order in which they came. Idle connections are chosen by rank and, among
//! equals, the one that came back last, so that spare ones grow old.

use std::collections::VecDeque;

use tokio::time::Instant;

/// A waiter's place in the queue; grows with every waiter.
pub(super) type Place = u64;

#[derive(Debug)]
pub(super) struct Shelf<C, W> {
    /// The one that has been idle longest first.
    idle: Vec<Idle<C>>,
    /// In the order of their places.
    queue: VecDeque<Waiting<W>>,
    next_place: Place,
}

#[derive(Debug)]
pub(super) struct Idle<C> {
    pub connection: C,
    pub since: Instant,
}

#[derive(Debug)]
struct Waiting<W> {
    place: Place,
    since: Instant,
    waiter: W,
}

impl<C, W> Shelf<C, W> {
    pub fn new() -> Self {
        Self {
            idle: Vec::new(),
            queue: VecDeque::new(),
            next_place: 0,
        }
    }

    /// Lays a connection down that is idle since `since`.
    pub fn lay_down(&mut self, connection: C, since: Instant) {
        let place = self.idle.partition_point(|idle| idle.since <= since);
        self.idle.insert(place, Idle { connection, since });
    }

    /// Takes the idle connection of the lowest rank, the last returned of equals.
    pub fn take_by_rank(&mut self, rank: impl Fn(&C) -> u8) -> Option<Idle<C>> {
        let mut best: Option<(usize, u8)> = None;
        for (index, idle) in self.idle.iter().enumerate().rev() {
            let rank = rank(&idle.connection);
            if best.is_none_or(|(_, lowest)| rank < lowest) {
                best = Some((index, rank));
            }
            if rank == 0 {
                break;
            }
        }
        best.map(|(index, _)| self.idle.remove(index))
    }

    /// Takes an idle connection that `is` finds.
    pub fn take_if(&mut self, is: impl Fn(&C) -> bool) -> Option<Idle<C>> {
        let found = self.idle.iter().position(|idle| is(&idle.connection))?;
        Some(self.idle.remove(found))
    }

    /// Takes the connection that has been idle longest.
    pub fn take_oldest(&mut self) -> Option<Idle<C>> {
        match self.idle.is_empty() {
            true => None,
            false => Some(self.idle.remove(0)),
        }
    }

    /// Takes those that are idle since `before` or longer, oldest first, but
    /// leaves at least `keep` on the shelf.
    pub fn take_idle_since(&mut self, before: Instant, keep: usize) -> Vec<C> {
        let spare = self.idle.len().saturating_sub(keep);
        let old = self.idle.partition_point(|idle| idle.since <= before);
        self.idle
            .drain(..old.min(spare))
            .map(|idle| idle.connection)
            .collect()
    }

    /// Takes those that `is_worn` finds.
    pub fn take_worn(&mut self, is_worn: impl Fn(&C) -> bool) -> Vec<C> {
        let worn = self.idle.extract_if(.., |idle| is_worn(&idle.connection));
        worn.map(|idle| idle.connection).collect()
    }

    /// Takes every idle connection.
    pub fn take_all(&mut self) -> Vec<C> {
        self.idle.drain(..).map(|idle| idle.connection).collect()
    }

    pub fn idle_len(&self) -> usize {
        self.idle.len()
    }

    /// Since when the oldest one lies here.
    pub fn oldest_idle(&self) -> Option<Instant> {
        self.idle.first().map(|idle| idle.since)
    }

    pub fn idle(&self) -> impl Iterator<Item = &C> {
        self.idle.iter().map(|idle| &idle.connection)
    }

    /// Queues up at the end.
    pub fn join(&mut self, waiter: W, since: Instant) -> Place {
        let place = self.next_place;
        self.next_place += 1;
        self.queue.push_back(Waiting {
            place,
            since,
            waiter,
        });
        place
    }

    /// Leaves the queue; true if the place was still taken.
    pub fn leave(&mut self, place: Place) -> bool {
        let found = self.queue.binary_search_by_key(&place, |w| w.place);
        found.is_ok_and(|index| self.queue.remove(index).is_some())
    }

    /// The waiter whose turn it is.
    pub fn call_next(&mut self) -> Option<W> {
        self.queue.pop_front().map(|waiting| waiting.waiter)
    }

    pub fn first_waiter(&self) -> Option<&W> {
        self.queue.front().map(|waiting| &waiting.waiter)
    }

    /// Every waiter, in order.
    pub fn dismiss_all(&mut self) -> Vec<W> {
        self.queue.drain(..).map(|w| w.waiter).collect()
    }

    pub fn queue_len(&self) -> usize {
        self.queue.len()
    }

    /// Since when the first in the queue waits.
    pub fn first_waits_since(&self) -> Option<Instant> {
        self.queue.front().map(|waiting| waiting.since)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn shelf() -> (Shelf<u32, &'static str>, Instant) {
        (Shelf::new(), Instant::now())
    }

    #[test]
    fn waiters_are_called_in_the_order_in_which_they_came() {
        let (mut shelf, now) = shelf();
        shelf.join("a", now);
        let second = shelf.join("b", now);
        shelf.join("c", now);
        assert!(shelf.leave(second));
        assert!(!shelf.leave(second));
        assert_eq!(shelf.call_next(), Some("a"));
        assert_eq!(shelf.call_next(), Some("c"));
        assert_eq!(shelf.call_next(), None);
    }

    #[test]
    fn the_best_rank_wins_and_then_the_last_returned() {
        let (mut shelf, now) = shelf();
        for connection in [10, 21, 31, 42] {
            shelf.lay_down(connection, now);
        }
        let by_last_digit = |connection: &u32| (connection % 10) as u8;
        let mut take = || shelf.take_by_rank(by_last_digit).map(|i| i.connection);
        assert_eq!(
            [take(), take(), take(), take(), take()],
            [Some(10), Some(31), Some(21), Some(42), None]
        );
    }

    #[test]
    fn only_old_ones_are_taken_and_some_are_kept() {
        let (mut shelf, start) = shelf();
        for second in 0..5 {
            shelf.lay_down(second, start + Duration::from_secs(u64::from(second)));
        }
        let before = start + Duration::from_secs(2);
        assert_eq!(shelf.take_idle_since(before, 4), [0]);
        assert_eq!(shelf.take_idle_since(before, 0), [1, 2]);
        assert_eq!(shelf.take_oldest().map(|idle| idle.connection), Some(3));
        assert_eq!(shelf.oldest_idle(), Some(start + Duration::from_secs(4)));
        assert_eq!(shelf.take_all(), [4]);
        assert_eq!(shelf.idle_len(), 0);
    }

    #[test]
    fn dismissing_empties_the_queue() {
        let (mut shelf, now) = shelf();
        shelf.join("a", now);
        shelf.join("b", now);
        assert_eq!(shelf.first_waits_since(), Some(now));
        assert_eq!(shelf.dismiss_all(), ["a", "b"]);
        assert_eq!(shelf.queue_len(), 0);
    }
}
