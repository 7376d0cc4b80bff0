//! How many there may be, who sees them, and what ends them.

use super::{servers, walsender};
use crate::fixture::{
    Frames, PASSWORD, Pgditto, Postgres, Signal, Wire, error_code, eventually, psql,
};

fn refused(pgditto: &Pgditto, replication: &str) -> String {
    let parameters = [
        ("user", "app"),
        ("database", "app"),
        ("replication", replication),
    ];
    match Wire::try_login(pgditto.port, 0, &parameters, PASSWORD) {
        Err(message) => message.code(),
        Ok(_) => panic!("let in"),
    }
}

fn console(pgditto: &Pgditto, sql: &str) -> String {
    let output = psql(&pgditto.url("app", "pgbouncer"), &["-Atc", sql], "");
    assert!(output.success, "{sql}: {}", output.stderr);
    output.stdout
}

/// How many of the application's processes on the server are walsenders.
fn walsenders(postgres: &Postgres) -> String {
    postgres.psql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'")
}

/// Begins to stream from where the log ends.
fn stream(walsender: &mut Wire) {
    let position = walsender.rows("IDENTIFY_SYSTEM")[0][2]
        .clone()
        .expect("a position");
    let start = format!("START_REPLICATION {position}");
    walsender.send(Frames::new().query(&start).bytes());
    walsender.read_until(b"W");
}

/// The server's last word, in a stream that may hold anything before.
fn last_error(wire: &mut Wire) -> String {
    error_code(&wire.read_until(&[]))
}

#[test]
fn there_are_no_more_than_may_be() {
    let (postgres, pgditto) = servers(|options| {
        options.set("pool.max_replication_connections", 2);
    });
    let first = walsender(&pgditto, "database");
    let _second = walsender(&pgditto, "true");
    assert_eq!(refused(&pgditto, "true"), "53300");
    assert_eq!(refused(&pgditto, "database"), "53300");
    assert_eq!(walsenders(&postgres), "2");
    // They take nobody's place in the pools.
    assert_eq!(Wire::connect(pgditto.port).value("SELECT 1"), "1");
    drop(first);
    eventually("a place is free", || {
        let parameters = [("user", "app"), ("database", "app"), ("replication", "1")];
        Wire::try_login(pgditto.port, 0, &parameters, PASSWORD).is_ok()
    });
}

#[test]
fn none_may_be_at_all() {
    let (_postgres, pgditto) = servers(|options| {
        options.set("pool.max_replication_connections", 0);
    });
    assert_eq!(refused(&pgditto, "true"), "53300");
    assert_eq!(refused(&pgditto, "database"), "53300");
}

#[test]
fn operators_see_and_end_them() {
    let (postgres, pgditto) = servers(|options| {
        options.set("auth.admin_users", "app");
    });
    let mut logical = walsender(&pgditto, "database");
    let mut physical = walsender(&pgditto, "true");
    stream(&mut physical);
    let pids = postgres
        .psql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsender' ORDER BY 1");
    let rows = |table: &str| -> Vec<Vec<String>> {
        let text = console(&pgditto, &format!("SHOW {table}"));
        let rows = text
            .lines()
            .map(|line| line.split('|').map(str::to_owned).collect());
        rows.filter(|row: &Vec<String>| {
            row.iter()
                .any(|cell| cell == "replication" || cell.starts_with("replication"))
        })
        .collect()
    };
    let clients = rows("CLIENTS");
    let mut databases: Vec<&str> = clients.iter().map(|row| &*row[2]).collect();
    databases.sort_unstable();
    assert_eq!(databases, ["app", "replication"], "{clients:?}");
    let servers = rows("SERVERS");
    let mut shown: Vec<&str> = servers.iter().map(|row| &*row[15]).collect();
    shown.sort_unstable();
    assert_eq!(shown.join("\n"), pids, "{servers:?}");
    assert_eq!(rows("PINS").len(), 2);
    let pinned = pgditto
        .metrics()
        .sum("pgditto_pinned_sessions", &[("reason", "replication")]);
    assert!((pinned - 2.0).abs() < f64::EPSILON, "{pinned}");

    console(&pgditto, &format!("KILL_CLIENT {}", physical.pid));
    assert_eq!(last_error(&mut physical), "57P01");
    console(&pgditto, "KILL app");
    assert_eq!(last_error(&mut logical), "57P01");
    eventually("both are gone", || walsenders(&postgres) == "0");
    assert_eq!(refused(&pgditto, "database"), "57P03");
    console(&pgditto, "RESUME app");
    assert_eq!(walsender(&pgditto, "database").value("SELECT 1"), "1");
}

#[test]
fn a_drain_ends_streams_and_waits_for_transactions() {
    let (_postgres, mut pgditto) = servers(|_| {});
    let mut streaming = walsender(&pgditto, "true");
    stream(&mut streaming);
    let mut idle = walsender(&pgditto, "database");
    let mut writing = walsender(&pgditto, "database");
    writing.query("BEGIN");
    writing.query("INSERT INTO item VALUES (2, 'two')");
    pgditto.signal(Signal::TERM);
    assert_eq!(last_error(&mut streaming), "57P01");
    assert_eq!(last_error(&mut idle), "57P01");
    assert_eq!(error_code(&writing.query("COMMIT")), "");
    assert_eq!(last_error(&mut writing), "57P01");
    assert!(pgditto.wait().success());
}

#[test]
fn a_client_that_vanishes_takes_its_walsender_along() {
    let (postgres, pgditto) = servers(|_| {});
    let mut streaming = walsender(&pgditto, "true");
    stream(&mut streaming);
    let logical = walsender(&pgditto, "database");
    assert_eq!(walsenders(&postgres), "2");
    drop(streaming);
    drop(logical);
    eventually("the walsenders are gone", || walsenders(&postgres) == "0");
}

#[test]
fn a_walsender_that_is_ended_ends_the_client_in_the_servers_words() {
    let (postgres, pgditto) = servers(|_| {});
    let mut streaming = walsender(&pgditto, "true");
    stream(&mut streaming);
    let mut logical = walsender(&pgditto, "database");
    postgres.psql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'walsender'",
    );
    assert_eq!(last_error(&mut streaming), "57P01");
    assert_eq!(last_error(&mut logical), "57P01");
}
