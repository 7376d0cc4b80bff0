//! What happens is counted where operators look for it.

use bytes::BytesMut;
use pgditto::wire::frontend;

use crate::fixture::{Frames, PASSWORD, Pgditto, Postgres, Wire, error_code, eventually};

fn servers() -> (Postgres, Pgditto) {
    let postgres = Postgres::start(&[]);
    let pgditto = Pgditto::start(&postgres, |_| {});
    (postgres, pgditto)
}

/// Waits until the series with these labels has this value.
#[track_caller]
fn counts(pgditto: &Pgditto, name: &str, labels: &[(&str, &str)], value: f64) {
    let what = format!("{name}{labels:?} is {value}");
    eventually(&what, || pgditto.metrics().sum(name, labels) == value);
}

#[test]
fn pins_are_counted_when_they_begin() {
    let (_postgres, pgditto) = servers();
    let mut wire = Wire::connect(pgditto.port);
    for _ in 0..2 {
        wire.query("SELECT pg_advisory_lock(1)");
        counts(
            &pgditto,
            "pgditto_pinned_sessions",
            &[("reason", "advisory_locks")],
            1.0,
        );
        wire.query("SELECT pg_advisory_lock(2)");
        wire.query("SELECT pg_advisory_unlock_all()");
        counts(&pgditto, "pgditto_pinned_sessions", &[], 0.0);
    }
    counts(
        &pgditto,
        "pgditto_pins_total",
        &[("reason", "advisory_locks")],
        2.0,
    );
    counts(&pgditto, "pgditto_pins_total", &[], 2.0);
}

#[test]
fn cancels_are_counted_by_what_became_of_them() {
    let (postgres, pgditto) = servers();
    let mut wire = Wire::connect(pgditto.port);
    let cancel = |pid: u32, key: &[u8]| {
        let mut wire = Wire::open(pgditto.port);
        let mut packet = BytesMut::new();
        frontend::cancel_request(&mut packet, pid, key);
        wire.send(&packet);
        assert!(wire.read().is_none(), "a CancelRequest has no answer");
    };
    let outcome = |outcome: &str| {
        let name = "pgditto_cancels_total";
        counts(&pgditto, name, &[("outcome", outcome)], 1.0);
    };
    cancel(wire.pid + 1, &wire.key);
    outcome("unknown");
    cancel(wire.pid, &wire.key);
    outcome("idle");
    wire.send(Frames::new().query("SELECT pg_sleep(60)").bytes());
    eventually("the statement runs", || {
        postgres.psql("SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'")
            == "1"
    });
    cancel(wire.pid, &wire.key);
    assert_eq!(error_code(&wire.until_ready()), "57014");
    outcome("forwarded");
    counts(&pgditto, "pgditto_cancels_total", &[], 3.0);
}

#[test]
fn clients_that_are_turned_away_are_counted_with_the_error_they_got() {
    let (_postgres, pgditto) = servers();
    let cases = [
        (
            [("user", "app"), ("database", "app")],
            "wrong",
            "authentication",
            "28",
        ),
        (
            [("user", "app"), ("database", "nowhere")],
            PASSWORD,
            "unknown_database",
            "3D",
        ),
    ];
    for (parameters, password, reason, class) in cases {
        assert!(Wire::try_login(pgditto.port, 0, &parameters, password).is_err());
        let name = "pgditto_client_refusals_total";
        counts(&pgditto, name, &[("reason", reason)], 1.0);
        let labels = [("class", class), ("origin", "proxy")];
        counts(&pgditto, "pgditto_errors_total", &labels, 1.0);
    }
    counts(&pgditto, "pgditto_client_refusals_total", &[], 2.0);
}

#[test]
fn errors_are_counted_by_whose_they_are() {
    let postgres = Postgres::start(&[]);
    let pgditto = Pgditto::start(&postgres, |options| {
        options.set("listen.idle_transaction_timeout", "100ms");
    });
    let mut wire = Wire::connect(pgditto.port);
    assert_eq!(wire.error("SELECT 1/0"), "22012");
    let upstream = [("class", "22"), ("origin", "upstream")];
    counts(&pgditto, "pgditto_errors_total", &upstream, 1.0);
    counts(
        &pgditto,
        "pgditto_errors_total",
        &[("origin", "proxy")],
        0.0,
    );
    wire.query("BEGIN");
    assert_eq!(wire.read().expect("a goodbye").code(), "25P03");
    let proxy = [("class", "25"), ("origin", "proxy")];
    counts(&pgditto, "pgditto_errors_total", &proxy, 1.0);
    counts(&pgditto, "pgditto_errors_total", &[], 2.0);
}

#[test]
fn what_the_guard_finds_is_counted() {
    let (postgres, pgditto) = servers();
    let serving = [("state", "serving")];
    counts(&pgditto, "pgditto_guard_state", &serving, 1.0);
    let name = "pgditto_invalidations_total";
    counts(&pgditto, name, &[], 0.0);
    postgres.psql_as("app", "CREATE TABLE outside ()");
    counts(&pgditto, name, &[("reason", "catalogue_outside")], 1.0);
    let ended = postgres.psql(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE application_name LIKE 'pgditto %'",
    );
    assert_eq!(ended, "1");
    counts(&pgditto, name, &[("reason", "guard")], 1.0);
    counts(&pgditto, "pgditto_guard_state", &serving, 1.0);
}

#[test]
fn function_calls_are_counted_as_what_they_are() {
    let (_postgres, pgditto) = servers();
    let mut wire = Wire::connect(pgditto.port);
    // 154 is int4mul.
    wire.ask(&Frames::new().function_call(154, &["7", "2"]));
    let labels = [("reason", "function_call")];
    counts(&pgditto, "pgditto_bypasses_total", &labels, 1.0);
}
