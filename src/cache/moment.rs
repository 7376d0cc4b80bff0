//! The one clock of the cache and of the leases.

use std::time::Duration;

/// A moment on `CLOCK_BOOTTIME`, in nanoseconds.
///
/// `std::time::Instant` stands still while a machine is suspended, and a lease
/// or an age that stands still with it would be too young when it wakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

impl Moment {
    pub fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
        Self(seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos))
    }

    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Zero when `earlier` is the later one.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, by: Duration) -> Moment {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        Moment(self.0.saturating_add(nanos))
    }
}

impl std::ops::Sub<Duration> for Moment {
    type Output = Moment;

    fn sub(self, by: Duration) -> Moment {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        Moment(self.0.saturating_sub(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_forward_and_differences_never_go_below_zero() {
        let earlier = Moment::now();
        let later = Moment::now();
        assert!(later >= earlier);
        assert_eq!(
            earlier.since(later + Duration::from_secs(1)),
            Duration::ZERO
        );
        assert_eq!(
            (earlier + Duration::from_millis(5)).since(earlier),
            Duration::from_millis(5)
        );
        assert_eq!(Moment::from_nanos(5) - Duration::from_secs(1), Moment(0));
    }
}
