//! Many clients with rising values, and faults beside them.

mod client;
mod faults;
mod history;
pub mod proxy;
mod scenes;

use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::{fresh_seed, random::Random, seconds};
use crate::cache::wire::Wire;
use crate::fixture::{Options, Pgditto, Postgres, Redis, eventually};
use client::{Address, Client};
pub use history::Anomaly;
use history::History;

const DATABASE: &str = "soak";
const TABLES: &[(&str, i64)] = &[
    ("v0", 4),
    ("v1", 4),
    ("v2", 2),
    ("src", 1),
    ("dst", 1),
    ("c0", 1),
    ("c1", 1),
    ("c2", 1),
    ("c3", 1),
    ("fsrc", 1),
    ("fdst", 1),
    (UNLOGGED, 2),
];
/// Its rows come with their first version, and go with a crash.
const UNLOGGED: &str = "u0";
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
    /// PostgreSQL crashes.
    Crashes,
    /// Nothing fails.
    Nothing,
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
    pub hits: f64,
    pub reads: u64,
}

fn schema() -> String {
    let mut sql = String::from(
        "CREATE FUNCTION bump(t text, i int, n int) RETURNS void LANGUAGE plpgsql AS
             $$BEGIN EXECUTE format('UPDATE %I SET version = $1 WHERE id = $2', t) USING n, i; END$$;
         CREATE TABLE pauses (seconds float8);
         CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(NEW.seconds); RETURN NULL; END$$;
         CREATE CONSTRAINT TRIGGER pause AFTER INSERT ON pauses DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pause();
         CREATE TABLE ddl (id int);
         CREATE TABLE held (id int);
         CREATE TABLE acc_a (id int PRIMARY KEY, amount int);
         CREATE TABLE acc_b (id int PRIMARY KEY, amount int);
         INSERT INTO acc_a SELECT g, 1000 FROM generate_series(0, 2) g;
         INSERT INTO acc_b SELECT g, 1000 FROM generate_series(0, 2) g;
         CREATE VIEW acc_all AS SELECT * FROM acc_a UNION ALL SELECT * FROM acc_b;",
    );
    for (table, rows) in TABLES {
        let (kind, rows) = if *table == UNLOGGED {
            ("UNLOGGED", 0)
        } else {
            ("", *rows)
        };
        // A string is as good as its parts: writing to one never fails.
        let _ = write!(
            sql,
            "CREATE {kind} TABLE {table} (id int PRIMARY KEY, version int, other int);
             INSERT INTO {table} SELECT g, 0, 0 FROM generate_series(0, {rows} - 1) g;
             CREATE VIEW all_{table} AS SELECT * FROM {table};"
        );
    }
    for table in scenes::BORN {
        for column in 0..scenes::COLUMNS {
            let _ = write!(
                sql,
                "ALTER TABLE {table} ADD COLUMN k{column} int DEFAULT 0;"
            );
        }
    }
    sql.push_str(
        "CREATE FUNCTION copy_over() RETURNS trigger LANGUAGE plpgsql AS
             $$BEGIN UPDATE dst SET version = NEW.other WHERE id = 0; RETURN NULL; END$$;
         CREATE FUNCTION follow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
         CREATE TRIGGER follows AFTER UPDATE ON fsrc FOR EACH ROW EXECUTE FUNCTION follow();
         CHECKPOINT;",
    );
    sql
}

/// One run.
pub fn soak(plan: &Plan) -> Report {
    let random = Random::new(plan.seed);
    let mut postgres = Postgres::start(SETTINGS);
    postgres.allow("host all all 127.0.0.1/32 trust");
    postgres.psql(&format!("CREATE DATABASE {DATABASE} OWNER app"));
    for sql in schema().split_inclusive("\n         CHECKPOINT;") {
        let made = Wire::connect(postgres.port, "postgres", DATABASE, &[])
            .query(&format!("SET ROLE app; {sql}").replace("CHECKPOINT;", ""));
        assert_eq!(made.error(), None, "{made:?}");
    }
    postgres.psql("CHECKPOINT");
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
            .upstream(format!(
                "postgres://app@127.0.0.1:{}/{DATABASE}?sslmode=disable",
                proxy.port
            ));
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
    let history = History::new(TABLES, plan.planted.is_some());
    let address = Address {
        port: pgditto.port,
        direct_port: direct.port,
        database: DATABASE,
    };
    let hits_now = |pgditto: &Pgditto| pgditto.metrics().sum("pgditto_hits_total", &[]);
    let began = Instant::now();
    let mut hits = thread::scope(|scope| {
        let focus = plan.focus;
        for n in 0..WRITERS + DIRECT_READERS {
            let direct = n >= WRITERS;
            let client = Client::new(&history, address, random.branch(100 + n), direct, n);
            scope.spawn(move || client.run(direct || focus == Focus::Kills, focus));
        }
        for n in 200..200 + HOT_READERS {
            let client = Client::new(&history, address, random.branch(n), false, n);
            scope.spawn(move || client.run_hot());
        }
        let slow = Client::new(&history, address, random.branch(60), false, 60);
        if matches!(focus, Focus::Everything | Focus::Kills) {
            scope.spawn(move || slow.run_slow(focus));
        }
        let history = &history;
        let (ddl, births, locks) = (random.branch(50), random.branch(51), random.branch(52));
        if matches!(focus, Focus::Everything | Focus::Nothing) {
            let function = random.branch(53);
            scope.spawn(move || scenes::behind_ddl(history, address, &ddl));
            scope.spawn(move || scenes::behind_function(history, address, &function));
            scope.spawn(move || scenes::births(history, address, &births));
        }
        if focus == Focus::Nothing {
            scope.spawn(move || scenes::locks(history, address, &locks));
        }
        let mut stage = faults::Stage {
            postgres: &mut postgres,
            pgditto: &mut pgditto,
            proxy: &proxy,
            direct: &direct,
            configure: &configure,
            history,
            address,
            hits: 0.0,
        };
        // Nothing fails before the cache has begun its work; a busy machine takes a while.
        let calm = Instant::now() + Duration::from_secs(30);
        while hits_now(stage.pgditto) == 0.0 && Instant::now() < calm && !history.is_over() {
            thread::sleep(Duration::from_millis(20));
        }
        let until = Instant::now() + plan.lasts;
        stage.strike(&mut random.branch(2), until, focus);
        history.over.store(true, Ordering::SeqCst);
        stage.hits
    });
    hits += hits_now(&pgditto);
    if std::env::var_os("SOAK_METRICS").is_some() {
        for (series, value) in &pgditto.metrics().0 {
            println!("{series} {value}");
        }
    }
    if history.anomalies().is_empty() {
        end(&history, address, &pgditto);
    }
    report(plan, &history, hits, began.elapsed())
}

/// When nobody asks any more, both say the same, and nothing acknowledged is missing.
fn end(history: &History, address: Address, pgditto: &Pgditto) {
    let mut direct = Wire::connect(address.direct_port, "postgres", address.database, &[]);
    let open =
        direct.query("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()");
    for gid in open.text().lines() {
        direct.query(&format!("ROLLBACK PREPARED '{gid}'"));
    }
    eventually("nobody writes any more", || {
        direct
            .query(
                "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state <> 'idle'",
            )
            .text()
            == "0"
    });
    assert!(
        pgditto.try_http("GET", "/readyz").is_some(),
        "pgditto stands"
    );
    let mut via = Wire::connect(address.port, "app", address.database, &[]);
    for row in &history.rows {
        let sql = format!("SELECT version FROM {} WHERE id = {}", row.table, row.id);
        let truth = direct.query(&sql).text();
        for _ in 0..3 {
            let said = via.query(&sql).text();
            if said != truth {
                history.report(
                    Anomaly::WrongInTheEnd,
                    format!("{said} instead of {truth}: {sql}"),
                );
            }
        }
        let acknowledged = row.acknowledged.load(Ordering::SeqCst);
        if truth.parse::<i64>().is_ok_and(|truth| truth < acknowledged) {
            history.report(
                Anomaly::Lost,
                format!("{truth}, and {acknowledged} was acknowledged: {sql}"),
            );
        }
    }
}

fn report(plan: &Plan, history: &History, hits: f64, took: Duration) -> Report {
    let reads = history.reads.load(Ordering::Relaxed);
    let mut text = format!(
        "seed {}, {} s: {reads} values read, {} commits acknowledged, {} of unknown outcome, {} taken back by crashes, {hits} hits",
        plan.seed,
        took.as_secs(),
        history.writes.load(Ordering::Relaxed),
        history.unknown.load(Ordering::Relaxed),
        history.taken_back.load(Ordering::Relaxed),
    );
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
        hits,
        reads,
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
    assert!(report.hits > 0.0 && report.reads > 0, "{}", report.text);
}
