//! Writers that are none of pgditto's clients: what they write is seen after `cache.ttl` at the latest.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Address, Client};
use super::history::History;
use super::tally::Served;
use super::{DATABASE, Focus, SETTINGS, history_of_all, prepare, upstream};
use crate::fixture::{Pgditto, Postgres};
use crate::soak::random::Random;
use crate::soak::{fresh_seed, seconds};

const WRITERS: u64 = 3;
const READERS: u64 = 4;
const HOT_READERS: u64 = 2;
/// How old answers may be.
const TTL: Duration = Duration::from_secs(1);

/// Everybody writes to the server directly; some read there, others through pgditto.
fn play(postgres: &Postgres, level: &str, seed: u64, lasts: Duration) {
    let random = Random::new(seed);
    let pgditto = Pgditto::start(postgres, |opts| {
        opts.set("auth.auth_type", "trust")
            .set("cache.level", level)
            .set("cache.ttl", format!("{}ms", TTL.as_millis()))
            .upstream(upstream(postgres.port));
    });
    let mut history = history_of_all(false);
    history.ttl = Some(TTL);
    let address = Address {
        port: pgditto.port,
        direct_port: postgres.port,
        database: DATABASE,
    };
    thread::scope(|scope| {
        let client = |n: u64, direct| Client::new(&history, address, random.branch(n), direct, n);
        for n in 0..WRITERS {
            let writer = client(n, true);
            scope.spawn(move || writer.run(false, Focus::Nothing));
        }
        for n in 100..100 + READERS {
            let reader = client(n, false);
            scope.spawn(move || reader.run(true, Focus::Nothing));
        }
        for n in 200..200 + HOT_READERS {
            let reader = client(n, false);
            scope.spawn(move || reader.run_hot());
        }
        let until = Instant::now() + lasts;
        while Instant::now() < until && !history.is_over() {
            thread::sleep(Duration::from_millis(20));
        }
        history.over.store(true, Ordering::SeqCst);
    });
    judge(&history, level, seed, Served::of(&pgditto.metrics()));
}

fn judge(history: &History, level: &str, seed: u64, served: Served) {
    let text = format!(
        "level {level}, seed {seed}: {} values judged, {} commits acknowledged, {} hits, {:.1} % of the reads through pgditto\n  \
         {} values were overwritten, the oldest {} ms before it was asked for; {} ms are allowed\n  {}\n  {:?}",
        history.reads.load(Ordering::Relaxed),
        history.writes.load(Ordering::Relaxed),
        served.hits,
        served.ratio() * 100.0,
        history.outdated.load(Ordering::Relaxed),
        history.oldest_us.load(Ordering::Relaxed) / 1_000,
        TTL.as_millis(),
        history.tally.text(),
        history.anomalies(),
    );
    println!("{text}");
    assert!(history.anomalies().is_empty(), "{text}");
    // Else nothing was tried.
    assert!(served.hits > 0.0, "{text}");
    assert!(history.outdated.load(Ordering::Relaxed) > 0, "{text}");
}

/// `SECONDS_OF_SOAK` and `SEED` make it longer and other.
#[test]
fn nobody_reads_what_an_outside_writer_overwrote_longer_than_ttl_ago() {
    let (seed, lasts) = (fresh_seed(), seconds("SECONDS_OF_SOAK", 6));
    println!("seed {seed}");
    for level in ["strict", "ttl"] {
        let postgres = Postgres::start(SETTINGS);
        prepare(&postgres);
        play(&postgres, level, seed, lasts / 2);
    }
}
