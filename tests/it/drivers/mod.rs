//! Real drivers and tools, each with one session of everything that applications do.
//!
//! The sessions are programs in `tests/drivers`, in the language of their driver. Every test runs
//! its session on PostgreSQL itself first, so that what fails only afterwards is ours.

mod tokio_postgres;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::fixture::{DATABASE, PASSWORD, Pgditto, Postgres, USER, node, python, repository, run};

const POOL_SIZE: u64 = 10;

/// Runs a session directly and through pgditto with its cache on.
///
/// `command` makes the session's command for a port and a URL.
fn session(needs_hits: bool, command: impl Fn(u16, &str) -> Command) {
    let postgres = Postgres::start(&[]);
    succeed(command(postgres.port, &postgres.url()));
    let pgditto = Pgditto::start(&postgres, |opts| {
        opts.set("pool.default_pool_size", POOL_SIZE);
    });
    let url = pgditto.url(USER, DATABASE);
    succeed(command(pgditto.port, &url));
    let hits = pgditto.metrics().sum("pgditto_hits_total", &[]);
    assert!(!needs_hits || hits > 0.0, "the cache was not used at all");
}

fn succeed(command: Command) {
    let line = format!("{command:?}");
    let output = run(command, "");
    let text = format!("{}{}", output.stdout, output.stderr);
    assert!(output.success, "{line}\n{text}");
    println!("{line}\n{text}");
}

fn script(path: &str, url: &str) -> Command {
    let mut command = Command::new(repository().join("tests/drivers").join(path));
    command.arg(url);
    command
}

fn interpreted(interpreter: &Path, path: &Path, url: &str) -> Command {
    let mut command = Command::new(interpreter);
    command.arg(path).arg(url);
    command
}

#[test]
fn psql_runs_a_whole_session() {
    session(true, |_, url| script("psql/session.sh", url));
}

#[test]
fn psycopg_runs_a_whole_session() {
    let python = python("python-drivers", "tests/drivers/python-requirements.txt");
    let path = repository().join("tests/drivers/psycopg/session.py");
    session(true, |_, url| interpreted(&python, &path, url));
}

#[test]
fn asyncpg_runs_a_whole_session() {
    let python = python("python-drivers", "tests/drivers/python-requirements.txt");
    let path = repository().join("tests/drivers/asyncpg/session.py");
    session(true, |_, url| interpreted(&python, &path, url));
}

#[test]
fn node_postgres_runs_a_whole_session() {
    let folder = node(
        "node-postgres",
        &[
            "tests/drivers/node/package.json",
            "tests/drivers/node/session.mjs",
        ],
    );
    let path = folder.join("session.mjs");
    session(true, |_, url| interpreted(Path::new("node"), &path, url));
}

#[test]
fn jdbc_runs_a_whole_session() {
    session(true, |port, _| {
        let mut command = Command::new("java");
        command.args([
            "-XX:TieredStopAtLevel=1",
            "-cp",
            "/usr/share/java/postgresql.jar",
        ]);
        command.arg(repository().join("tests/drivers/jdbc/Session.java"));
        command.arg(format!(
            "jdbc:postgresql://127.0.0.1:{port}/{DATABASE}?user={USER}&password={PASSWORD}"
        ));
        command
    });
}

/// Sixty-four clients on a pool of ten, in all three protocols; no amount is lost or counted twice.
#[test]
fn pgbench_balances_its_books_with_64_clients_on_10_connections() {
    let postgres = Postgres::start(&[]);
    let pgditto = Pgditto::start(&postgres, |opts| {
        opts.set("pool.default_pool_size", POOL_SIZE);
    });
    let most = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Catalogue, guard and watch have connections of their own, and large reads have parallel
            // workers; only the pool's connections run pgbench. Who counts is another user.
            let sql = "SELECT count(*) FROM pg_stat_activity
                       WHERE backend_type = 'client backend' AND usename = 'app'
                         AND application_name NOT LIKE 'pgditto%' AND query ~ 'pgbench_|^(BEGIN|END)'";
            while !done.load(Ordering::Relaxed) {
                let now = postgres.psql(sql).parse().expect("a count");
                most.fetch_max(now, Ordering::Relaxed);
            }
        });
        let mut pgbench = script("pgbench/session.sh", &pgditto.url(USER, DATABASE));
        pgbench.args(["40", "64", "2"]);
        let output = run(pgbench, "");
        done.store(true, Ordering::Relaxed);
        println!("{}", output.stdout);
        assert!(output.success, "{}{}", output.stdout, output.stderr);
    });
    let most = most.into_inner();
    assert!(
        (1..=POOL_SIZE).contains(&most),
        "{most} upstream connections"
    );
}

/// In its prepared protocol pgbench waits for the answer to each Parse, and while it does none of the thread's other clients
/// ends its transaction: who needed a server for Parse would wait for ever.
#[test]
fn one_thread_of_pgbench_has_more_clients_than_there_are_connections() {
    let postgres = Postgres::start(&[]);
    let pgditto = Pgditto::start(&postgres, |opts| {
        opts.set("pool.default_pool_size", POOL_SIZE);
    });
    let mut pgbench = script("pgbench/session.sh", &pgditto.url(USER, DATABASE));
    pgbench.args(["40", "16", "1"]);
    succeed(pgbench);
}
