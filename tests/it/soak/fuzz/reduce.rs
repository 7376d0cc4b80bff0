//! Cuts a failing script down to the steps that it needs.

use std::time::{Duration, Instant};

use super::ground::Ground;
use super::play::{Step, play};
use super::tally::Tally;

/// A long reduction helps nobody.
const LASTS: Duration = Duration::from_secs(150);

/// A script that still fails, with as few steps as were found in time.
pub fn reduce(script: &[Step], ground: &Ground) -> Vec<Step> {
    let until = Instant::now() + LASTS;
    let mut best = script.to_vec();
    let mut part = best.len() / 2;
    while part > 0 && Instant::now() < until {
        let mut at = 0;
        while at < best.len() && Instant::now() < until {
            let mut shorter = best.clone();
            shorter.drain(at..(at + part).min(best.len()));
            match play(ground, &shorter, None, &mut Tally::default()) {
                Err(difference) => {
                    shorter.truncate(difference.step + 1);
                    best = shorter;
                }
                Ok(()) => at += part,
            }
        }
        part /= 2;
    }
    best
}
