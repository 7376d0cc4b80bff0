//! Instruments that can prove the cache wrong, run for seconds in the suite and for hours by hand.
//!
//! `fuzz` plays random sessions through pgditto and on a twin database, and asks every live read
//! again on both ways after every step. `live` lets many clients write rising values while faults
//! strike, and checks in real time what each of them reads. `planted` shows that `live` finds what
//! each step of the protocol prevents. `hit_ratio` compares with perfect invalidation. A run prints its seed;
//! the same seed plays the same run.

mod fuzz;
mod hit_ratio;
pub mod live;
#[cfg(feature = "planted-faults")]
mod planted;
pub mod random;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[cfg(feature = "postgres-parser")]
pub use fuzz::texts_of_sessions;

/// A number from the environment, or what the suite uses.
pub fn asked(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .ok()
        .filter(|text| !text.is_empty())
        .map_or(otherwise, |text| {
            text.parse()
                .unwrap_or_else(|_| panic!("{name} is a number, not {text:?}"))
        })
}

fn seconds(name: &str, otherwise: u64) -> Duration {
    Duration::from_secs(asked(name, otherwise))
}

/// `SEED`, or one of this moment.
fn fresh_seed() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(1, |since| since.as_nanos() as u64);
    asked("SEED", now % 1_000_000_000)
}
