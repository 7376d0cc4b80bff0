//! At most so many in a second, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts within whole seconds of a clock that the caller gives.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    /// The second in the upper half, how many it has let through in the lower.
    window: AtomicU64,
    suppressed: AtomicU64,
}

impl Limiter {
    /// `Some` lets one through, with how many were suppressed since the last one; `now` is the time
    /// since any fixed moment.
    pub fn admit(&self, now: Duration, per_second: u32) -> Option<u64> {
        let second = now.as_secs() << 32;
        let next = |window: u64| {
            let used = if window & !0xffff_ffff == second {
                window & 0xffff_ffff
            } else {
                0
            };
            (used < u64::from(per_second)).then_some(second | (used + 1))
        };
        let relaxed = Ordering::Relaxed;
        if self.window.fetch_update(relaxed, relaxed, next).is_ok() {
            Some(self.suppressed.swap(0, relaxed))
        } else {
            self.suppressed.fetch_add(1, relaxed);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_rate_is_counted_and_told_with_the_next() {
        let limiter = Limiter::default();
        let at = Duration::from_millis;
        assert_eq!(limiter.admit(at(5100), 2), Some(0));
        assert_eq!(limiter.admit(at(5200), 2), Some(0));
        assert_eq!(limiter.admit(at(5300), 2), None);
        assert_eq!(limiter.admit(at(5999), 2), None);
        assert_eq!(limiter.admit(at(6000), 2), Some(2));
        assert_eq!(limiter.admit(at(6001), 2), Some(0));
        assert_eq!(limiter.admit(at(6002), 2), None);
    }

    #[test]
    fn a_rate_of_zero_lets_nothing_through() {
        assert_eq!(Limiter::default().admit(Duration::ZERO, 0), None);
    }
}
