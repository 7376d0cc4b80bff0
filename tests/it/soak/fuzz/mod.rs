//! Random sessions, compared at every step with the same session on a twin database, and every
//! live read with the truth of its own database.
//!
//! One session at a time asks, so each answer is determined; what a hit gives is compared as
//! well as what the server gives. A failing run is cut down to the steps that it needs.

mod ask;
mod clocks;
mod draw;
mod play;
mod reduce;

use std::time::Instant;

use super::{fresh_seed, random::Random, seconds};
use draw::Templates;
#[cfg(feature = "postgres-parser")]
use play::Step;
use play::{Ground, Tally};

/// Steps of one session; then the databases are made anew.
const STEPS: usize = 160;

/// Plays sessions until the time is over; the first difference ends it.
fn fuzz(seed: u64, until: Instant) -> Tally {
    let ground = Ground::new();
    let templates = Templates::new();
    let mut tally = Tally::default();
    for episode in 0.. {
        if episode > 0 && Instant::now() >= until {
            break;
        }
        let mut random = Random::new(seed).branch(episode);
        let script = templates.session(&mut random, STEPS);
        // An episode that is begun after the time asked for would make a short run long.
        let last = (episode > 0).then_some(until);
        if let Err(difference) = ground.play(&script, last, &mut tally) {
            println!("seed {seed}, episode {episode}: {difference}\nreducing …");
            let short = reduce::reduce(&script[..=difference.step], &ground);
            let again = ground.play(&short, None, &mut Tally::default());
            let lines: Vec<String> = short.iter().map(|step| format!("    {step}")).collect();
            panic!(
                "seed {seed}, episode {episode}, a shortest script:\n{}\n{}",
                lines.join("\n"),
                again
                    .err()
                    .map_or_else(|| difference.to_string(), |short| short.to_string())
            );
        }
    }
    tally
}

/// Every text that would be asked in that many sessions.
#[cfg(feature = "postgres-parser")]
pub fn texts_of_sessions(seed: u64, sessions: u64) -> Vec<String> {
    let templates = Templates::new();
    (0..sessions)
        .flat_map(|episode| {
            let mut random = Random::new(seed).branch(episode);
            templates.session(&mut random, STEPS)
        })
        .map(|step| match step {
            Step::Run(_, ask) | Step::Watch(ask) => ask.sql,
        })
        .collect()
}

/// `SECONDS_OF_FUZZ` and `SEED` make it longer and other; the suite plays the same sessions each time.
#[test]
fn random_sessions_answer_as_on_a_twin_database_and_every_hit_is_the_truth() {
    let lasts = seconds("SECONDS_OF_FUZZ", 10);
    let long = std::env::var_os("SECONDS_OF_FUZZ").is_some();
    let seed = if long { fresh_seed() } else { 1 };
    println!("seed {seed}");
    let tally = fuzz(seed, Instant::now() + lasts);
    println!("seed {seed}: {tally}");
    assert!(tally.hits > 0.0, "{tally}");
}

#[test]
fn a_clock_is_read_anew_however_it_is_hidden() {
    clocks::check(&Ground::new());
}
