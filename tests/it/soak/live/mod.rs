//! Many clients with rising values, and faults beside them.

mod client;
mod end;
mod faults;
mod history;
mod outside;
pub mod proxy;
mod reads;
mod scenes;
mod schema;
mod snapshots;
mod tally;
mod writes;

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{fresh_seed, random::Random, seconds};
use crate::cache::wire::Wire;
use crate::fixture::{Options, Pgditto, Postgres, Redis};
use client::{Address, Client};
pub use history::Anomaly;
use history::History;
use schema::{BONDS, COMES_AND_GOES, MOVES, TABLES, UNLOGGED, schema};
use tally::{LONG, Served};

const DATABASE: &str = "soak";
/// What a commit looks like of which something may happen on its way.
pub const SLOW_COMMIT: &str = "COMMIT -- slow";
const SETTINGS: &[(&str, &str)] = &[
    ("max_prepared_transactions", "50"),
    // Commits that were acknowledged are lost by a crash.
    ("synchronous_commit", "off"),
    ("wal_writer_delay", "10s"),
    ("wal_writer_flush_after", "0"),
];
const WRITERS: u64 = 6;
const DIRECT_READERS: u64 = 2;
const HOT_READERS: u64 = 2;
/// Of all reads of a long run, as many at least are hits: else not much of the cache was tested. Readers go on asking
/// while something is down, and nothing is served for some time after.
const HIT_RATIO_LEAST: f64 = 0.02;

/// What a run is about. The rare is seldom seen among everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "planted-faults"),
    allow(dead_code, reason = "chosen for planted faults")
)]
pub enum Focus {
    Everything,
    /// pgditto is killed while a slow commit is on its way.
    Kills,
    /// A connection is cut while a slow commit is on its way.
    Cuts,
    /// PostgreSQL crashes.
    Crashes,
    /// What was prepared through a pgditto that is killed is committed by somebody else.
    Prepared,
    /// The link is cut while a commit waits for a synchronous standby.
    Standby,
    /// The network falls silent, and a second pgditto writes meanwhile.
    Silence,
    /// New connections lead to a standby that lags.
    Elsewhere,
    /// A second pgditto comes and goes.
    Others,
    /// Nothing fails.
    Nothing,
}

impl Focus {
    /// Nobody writes but the one whose commits are slow.
    fn is_about_slow_commits(self) -> bool {
        matches!(self, Focus::Kills | Focus::Cuts)
    }

    #[cfg(feature = "planted-faults")]
    pub const ALL: [Focus; 10] = [
        Focus::Everything,
        Focus::Kills,
        Focus::Cuts,
        Focus::Crashes,
        Focus::Prepared,
        Focus::Standby,
        Focus::Silence,
        Focus::Elsewhere,
        Focus::Others,
        Focus::Nothing,
    ];
}

/// How one run is done.
pub struct Plan {
    pub seed: u64,
    pub lasts: Duration,
    pub focus: Focus,
    /// A step of the protocol that this pgditto leaves out.
    pub planted: Option<String>,
}

/// What came of it.
pub struct Report {
    pub anomalies: Vec<(Anomaly, u64, String)>,
    pub text: String,
    pub served: Served,
    /// What a run of that length must have done, and this one did not.
    pub missing: Vec<String>,
}

/// The database behind a port, as pgditto is told of it.
fn upstream(port: u16) -> String {
    format!("postgres://app@127.0.0.1:{port}/{DATABASE}?sslmode=disable")
}

/// Everybody is let in, and the database is there.
fn prepare(postgres: &Postgres) {
    postgres.allow("host all all 127.0.0.1/32 trust");
    postgres.psql(&format!("CREATE DATABASE {DATABASE} OWNER app"));
    for sql in schema().split_inclusive("\n         CHECKPOINT;") {
        let made = Wire::connect(postgres.port, "postgres", DATABASE, &[])
            .query(&format!("SET ROLE app; {sql}").replace("CHECKPOINT;", ""));
        assert_eq!(made.error(), None, "{made:?}");
    }
    postgres.psql("CHECKPOINT");
}

/// Nothing has happened yet.
fn history_of_all(stop_at_first: bool) -> History {
    let mut history = History::new(TABLES, stop_at_first);
    for [first, second] in BONDS {
        history.bind(first, second);
    }
    history
}

/// One run.
pub fn soak(plan: &Plan) -> Report {
    let random = Random::new(plan.seed);
    let mut postgres = Postgres::start(SETTINGS);
    prepare(&postgres);
    let redis = Redis::start();
    let proxy = proxy::Proxy::start(postgres.port, &random.branch(1));
    let direct = proxy::Proxy::start(postgres.port, &random.branch(3));
    let state = tempfile::tempdir().expect("a folder");
    let configure = |opts: &mut Options| {
        opts.set("auth.auth_type", "trust")
            .set("redis.url", redis.url())
            .set("pool.default_pool_size", 8)
            .set("upstream.query_timeout", "3s")
            .set("cache.ttl", "20s")
            .upstream(upstream(proxy.port));
        if let Some(step) = &plan.planted {
            opts.env("PLANTED_FAULT", step.as_str());
        }
    };
    let mut pgditto = Pgditto::start(&postgres, |opts| {
        configure(opts);
        // Without a record of them, a start waits for older backends.
        if plan.planted.is_some() || !plan.seed.is_multiple_of(8) {
            opts.set("upstream.state_dir", state.path().display());
        }
    });
    let history = history_of_all(plan.planted.is_some());
    let address = Address {
        port: pgditto.port,
        direct_port: direct.port,
        database: DATABASE,
    };
    let served_now = |pgditto: &Pgditto| Served::of(&pgditto.metrics());
    let began = Instant::now();
    let mut served = thread::scope(|scope| {
        let focus = plan.focus;
        for n in 0..WRITERS + DIRECT_READERS {
            let direct = n >= WRITERS;
            let client = Client::new(&history, address, random.branch(100 + n), direct, n);
            scope.spawn(move || client.run(direct || focus.is_about_slow_commits(), focus));
        }
        for n in 200..200 + HOT_READERS {
            let client = Client::new(&history, address, random.branch(n), false, n);
            scope.spawn(move || client.run_hot());
        }
        let slow = Client::new(&history, address, random.branch(60), false, 60);
        if focus == Focus::Everything || focus.is_about_slow_commits() {
            scope.spawn(move || slow.run_slow(focus));
        }
        let history = &history;
        let (ddl, births, locks) = (random.branch(50), random.branch(51), random.branch(52));
        if matches!(focus, Focus::Everything | Focus::Nothing) {
            let function = random.branch(53);
            scope.spawn(move || scenes::behind_ddl(history, address, &ddl));
            scope.spawn(move || scenes::behind_function(history, address, &function));
            scope.spawn(move || scenes::births(history, address, &births));
            scope.spawn(move || scenes::locks(history, address, &locks));
            let (early, late) = (random.branch(54), random.branch(55));
            scope.spawn(move || snapshots::early_binds(history, address, &early));
            scope.spawn(move || snapshots::late_followers(history, address, &late));
        }
        let mut stage = faults::Stage {
            postgres: &mut postgres,
            pgditto: &mut pgditto,
            proxy: &proxy,
            direct: &direct,
            configure: &configure,
            history,
            address,
            served: Served::default(),
        };
        // Nothing fails before the cache has begun its work; a busy machine takes a while.
        let calm = Instant::now() + Duration::from_secs(30);
        while served_now(stage.pgditto).hits == 0.0 && Instant::now() < calm && !history.is_over() {
            thread::sleep(Duration::from_millis(20));
        }
        let until = Instant::now() + plan.lasts;
        stage.strike(&mut random.branch(2), until, focus);
        history.over.store(true, Ordering::SeqCst);
        stage.served
    });
    served += served_now(&pgditto);
    if std::env::var_os("SOAK_LOG").is_some() {
        pgditto.log().iter().for_each(|line| println!("{line}"));
    }
    if std::env::var_os("SOAK_METRICS").is_some() {
        for (series, value) in &pgditto.metrics().0 {
            println!("{series} {value}");
        }
    }
    let mut left = Served::default();
    if history.anomalies().is_empty() {
        left = end::end(&history, address, &pgditto);
    }
    report(plan, &history, (served, left), began.elapsed())
}

fn report(
    plan: &Plan,
    history: &History,
    (served, left): (Served, Served),
    took: Duration,
) -> Report {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let mut text = format!(
        "seed {}, {} s: {} values judged, {} commits acknowledged, {} of unknown outcome, {} taken back by crashes\n  \
         {} hits, {:.1} % of the reads through pgditto; of {} answers in the end {} hits\n  {}",
        plan.seed,
        took.as_secs(),
        count(&history.reads),
        count(&history.writes),
        count(&history.unknown),
        count(&history.taken_back),
        served.hits,
        served.ratio() * 100.0,
        left.hits + left.others,
        left.hits,
        history.tally.text(),
    );
    let mut missing = Vec::new();
    if plan.focus == Focus::Everything && plan.planted.is_none() && plan.lasts >= LONG {
        missing = history.tally.missing();
        if served.ratio() < HIT_RATIO_LEAST {
            missing.push("hits".to_owned());
        }
    }
    let mut anomalies = Vec::new();
    for (anomaly, (count, first)) in history.anomalies() {
        let _ = write!(text, "\n  {anomaly:?}: {count}, the first: {first}");
        anomalies.push((anomaly, count, first));
    }
    if anomalies.is_empty() {
        text.push_str("\n  no anomaly");
    }
    Report {
        anomalies,
        text,
        served,
        missing,
    }
}

/// `SECONDS_OF_SOAK` and `SEED` make it longer and other.
#[test]
fn nobody_reads_what_is_older_than_what_was_known_whatever_is_cut_and_killed() {
    let plan = Plan {
        seed: fresh_seed(),
        lasts: seconds("SECONDS_OF_SOAK", 14),
        focus: Focus::Everything,
        planted: None,
    };
    println!("seed {}", plan.seed);
    let report = soak(&plan);
    println!("{}", report.text);
    assert!(report.anomalies.is_empty(), "{}", report.text);
    assert!(report.served.hits > 0.0, "{}", report.text);
    assert!(
        report.missing.is_empty(),
        "never happened: {:?}\n{}",
        report.missing,
        report.text
    );
}
