//! Random sessions, compared at every step with the same session on a twin database, and every
//! live read with the truth of its own database.
//!
//! One session at a time asks, so each answer is determined; what a hit gives is compared as
//! well as what the server gives. A failing run is cut down to the steps that it needs.

mod ask;
mod catalogue;
mod change;
mod clocks;
mod compose;
mod draw;
mod ground;
mod oracle;
mod play;
mod reduce;
mod sources;
mod state;
mod tally;
mod values;

use std::collections::BTreeMap;
use std::time::Instant;

use super::{asked, fresh_seed, random::Random, seconds};
use crate::fixture::eventually;
use ask::{Ask, Client};
use draw::Templates;
use ground::Ground;
use play::{Step, play};
use tally::{Record, Tally, checks_of_all_seeds};

/// Steps of one session; then the databases are made anew.
const STEPS: usize = 160;

/// Then the servers are other ones: each pair of databases that is left costs the next ones something.
const EPISODES_OF_A_SERVER: u64 = 8;

/// Sessions of one seed, told by their numbers.
struct Episodes {
    seed: u64,
    ground: Ground,
    templates: Templates,
}

impl Episodes {
    fn new(seed: u64) -> Self {
        let ground = Ground::new();
        Self {
            seed,
            templates: Templates::new(ground.catalogue()),
            ground,
        }
    }

    /// # Panics
    /// At the first difference, with the steps that it needs.
    fn play(&self, episode: u64, until: Option<Instant>) -> Tally {
        let mut random = Random::new(self.seed).branch(episode);
        let script = self.templates.session(&mut random, STEPS);
        let mut tally = Tally::default();
        let Err(difference) = play(&self.ground, &script, until, &mut tally) else {
            return tally;
        };
        let Self { seed, ground, .. } = self;
        println!("SEED={seed} EPISODE={episode}: {difference}\nreducing …");
        let short = reduce::reduce(&script[..=difference.step], ground);
        let again = play(ground, &short, None, &mut Tally::default());
        let lines: Vec<String> = short.iter().map(|step| format!("    {step}")).collect();
        panic!(
            "SEED={seed} EPISODE={episode}, a shortest script:\n{}\n{}",
            lines.join("\n"),
            again
                .err()
                .map_or_else(|| difference.to_string(), |short| short.to_string())
        );
    }
}

/// Plays the same few sessions each time.
fn fuzz_shortly(until: Instant) -> Tally {
    let episodes = Episodes::new(1);
    let mut tally = episodes.play(0, None);
    // An episode that is begun after the time asked for would make a short run long.
    for episode in 1.. {
        if Instant::now() >= until {
            break;
        }
        tally += episodes.play(episode, Some(until));
    }
    tally
}

/// Plays whole sessions of a seed from `EPISODE` on, or from where its runs before have come to.
fn fuzz(seed: u64, until: Instant) -> Tally {
    let mut record = Record::of(seed);
    let first = asked("EPISODE", record.next());
    let command = |next: u64| format!("SEED={seed} EPISODE={next} make fuzz");
    println!("seed {seed}, from episode {first} on");
    let mut episodes = Episodes::new(seed);
    let mut tally = Tally::default();
    let mut episode = first;
    while episode == first || Instant::now() < until {
        if tally.episodes > 0 && tally.episodes.is_multiple_of(EPISODES_OF_A_SERVER) {
            episodes = Episodes::new(seed);
        }
        let played = episodes.play(episode, None);
        record.add(episode, played.checks);
        tally += played;
        episode += 1;
    }
    println!(
        "seed {seed}: episodes {first} to {}; it goes on with: {}",
        episode - 1,
        command(episode)
    );
    println!(
        "seed {seed} in all: {} episodes, {} hits asked again upstream; with all seeds: {}",
        record.episodes(),
        record.checks(),
        checks_of_all_seeds()
    );
    tally
}

/// Every text that would be asked in that many sessions.
#[cfg(feature = "postgres-parser")]
pub fn texts_of_sessions(seed: u64, sessions: u64) -> Vec<String> {
    let templates = Templates::new(Ground::new().catalogue());
    (0..sessions)
        .flat_map(|episode| {
            let mut random = Random::new(seed).branch(episode);
            templates.session(&mut random, STEPS)
        })
        .map(|step| match step {
            Step::Run(_, ask) | Step::Read(_, ask) | Step::Watch(_, ask) => ask.sql,
        })
        .collect()
}

/// `SECONDS_OF_FUZZ`, `SEED` and `EPISODE` make it longer and other; the suite plays the same sessions each time.
#[test]
fn random_sessions_answer_as_on_a_twin_database_and_every_hit_is_the_truth() {
    let until = Instant::now() + seconds("SECONDS_OF_FUZZ", 10);
    let tally = if std::env::var_os("SECONDS_OF_FUZZ").is_some() {
        fuzz(fresh_seed(), until)
    } else {
        fuzz_shortly(until)
    };
    println!("{tally}");
    assert!(tally.checks > 0, "{tally}");
}

/// The oracle comes into the state of the session in its own way: what it asks first is what the session has left.
#[test]
fn what_a_session_left_in_a_state_of_its_own_is_asked_again_as_a_hit() {
    const STATES: &[&[&str]] = &[
        &[],
        &["SET search_path = other, public"],
        &["SET ROLE soak_bob"],
        &["SET app.tenant = '2'"],
        &["SET TimeZone = 'Asia/Tokyo'", "SET DateStyle = 'German'"],
        &["SET app.tenant = '1'", "SET ROLE soak_alice"],
        &["BEGIN", "SET LOCAL app.tenant = '3'"],
    ];
    let ground = Ground::new();
    for settings in STATES {
        let settings = settings.iter().map(|sql| Step::Run(0, Ask::simple(*sql)));
        let mut script: Vec<Step> = settings.collect();
        script.push(Step::Read(
            0,
            Ask::simple("SELECT id, v FROM k ORDER BY id"),
        ));
        // Where the machine is so busy that the lease runs out in between, it is no hit.
        eventually("the answer is asked again as a hit", || {
            let mut tally = Tally::default();
            play(&ground, &script, None, &mut tally)
                .unwrap_or_else(|difference| panic!("{difference}"));
            assert_eq!(tally.asked, 1, "{script:?}");
            tally.checks == 1
        });
    }
}

#[test]
fn what_is_composed_of_the_catalogue_is_sql() {
    /// No statement, no such name, no one name, no group, no such conflict.
    const WRONG: &[&str] = &["42601", "42P01", "42703", "42702", "42803", "42P10"];
    let ground = Ground::new();
    let templates = Templates::new(ground.catalogue());
    let (database, _) = ground.twins();
    let mut client = Client::new(ground.direct("app", &database), "a");
    let mut random = Random::new(1);
    let mut codes = BTreeMap::new();
    for _ in 0..300 {
        for (what, ask) in ["read", "write"]
            .into_iter()
            .zip(templates.composed(&mut random))
        {
            let reply = client.ask(&ask).expect("an answer");
            let code = reply.error().unwrap_or_default();
            assert!(!WRONG.contains(&code.as_str()), "{ask}: {reply:?}");
            *codes.entry((what, code)).or_insert(0) += 1;
        }
    }
    println!("{codes:?}");
    let good = |what| codes.get(&(what, String::new())).copied().unwrap_or(0);
    assert!(good("read") > 150 && good("write") > 100, "{codes:?}");
}

#[test]
fn a_clock_is_read_anew_however_it_is_hidden() {
    clocks::check(&Ground::new());
}
