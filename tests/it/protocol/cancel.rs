//! CancelRequest: the right key cancels the statement that runs, and nothing else ever.

use std::thread;

use bytes::BytesMut;
use pgditto::wire::frontend;

use crate::fixture::{Frames, Pgditto, Postgres, Wait, Wire, error_code, eventually};

fn servers() -> (Postgres, Pgditto) {
    let postgres = Postgres::start(&[]);
    let pgditto = Pgditto::start(&postgres, |options| {
        options
            .wait(Wait::Listening)
            .set("pool.default_pool_size", 1);
    });
    (postgres, pgditto)
}

/// Sends a CancelRequest and waits until it has been dealt with.
fn cancel(port: u16, pid: u32, key: &[u8]) {
    let mut wire = Wire::open(port);
    let mut packet = BytesMut::new();
    frontend::cancel_request(&mut packet, pid, key);
    wire.send(&packet);
    assert!(wire.read().is_none(), "a CancelRequest has no answer");
}

/// Waits until this many sessions run `pg_sleep`.
fn sleepers(postgres: &Postgres, count: usize) {
    let sql = "SELECT count(*) FROM pg_stat_activity \
               WHERE state = 'active' AND query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()";
    eventually("the statement runs", || {
        postgres.psql(sql) == count.to_string()
    });
}

#[test]
fn right_key_cancels_the_statement_and_the_session_goes_on() {
    let (postgres, pgditto) = servers();
    let mut wire = Wire::try_login(
        pgditto.port,
        2,
        &[("user", "app"), ("database", "app")],
        "secret",
    )
    .expect("let in");
    for frames in [
        Frames::new().query("SELECT pg_sleep(60)"),
        Frames::new().prepared("SELECT pg_sleep(60)", &[]).sync(),
    ] {
        wire.send(frames.bytes());
        sleepers(&postgres, 1);
        cancel(pgditto.port, wire.pid, &wire.key);
        assert_eq!(error_code(&wire.until_ready()), "57014");
        assert_eq!(wire.value("SELECT 1"), "1");
    }
}

#[test]
fn wrong_key_does_nothing() {
    let (postgres, pgditto) = servers();
    let mut wire = Wire::connect(pgditto.port);
    wire.send(Frames::new().query("SELECT pg_sleep(60)").bytes());
    sleepers(&postgres, 1);
    let mut key = wire.key.to_vec();
    key[0] ^= 1;
    cancel(pgditto.port, wire.pid, &key);
    cancel(pgditto.port, wire.pid + 1, &wire.key);
    sleepers(&postgres, 1);
    cancel(pgditto.port, wire.pid, &wire.key);
    assert_eq!(error_code(&wire.until_ready()), "57014");
}

#[test]
fn a_session_that_waits_for_a_connection_can_be_cancelled() {
    let (postgres, pgditto) = servers();
    let mut holder = Wire::connect(pgditto.port);
    holder.rows("BEGIN; SELECT 1");
    let mut waiter = Wire::connect(pgditto.port);
    waiter.send(Frames::new().query("SELECT pg_sleep(0)").bytes());
    // It may not wait yet: a cancel that comes too early cancels nothing.
    let (port, pid, key) = (pgditto.port, waiter.pid, waiter.key.clone());
    let answer = thread::scope(|scope| {
        let reader = scope.spawn(|| waiter.until_ready());
        eventually("the waiter is cancelled", || {
            cancel(port, pid, &key);
            reader.is_finished()
        });
        reader.join().expect("an answer")
    });
    assert_eq!(error_code(&answer), "57014");
    holder.rows("COMMIT");
    assert_eq!(waiter.value("SELECT 1"), "1");
    drop(postgres);
}

#[test]
fn a_late_cancel_never_hits_the_next_session() {
    let (_postgres, pgditto) = servers();
    let mut first = Wire::connect(pgditto.port);
    let (port, pid, key) = (pgditto.port, first.pid, first.key.clone());
    let stop = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let canceller = scope.spawn(|| {
            let mut rounds = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                cancel(port, pid, &key);
                rounds += 1;
            }
            rounds
        });
        let other = scope.spawn(|| {
            let mut second = Wire::connect(port);
            for round in 0..400 {
                let answer = second.query("SELECT pg_sleep(0.001)");
                assert_eq!(error_code(&answer), "", "round {round}");
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let mut cancelled = 0;
        while !other.is_finished() {
            let code = error_code(&first.query("SELECT pg_sleep(0.001)"));
            assert!(code.is_empty() || code == "57014", "{code}");
            cancelled += usize::from(!code.is_empty());
        }
        other.join().expect("the other session is never cancelled");
        let rounds = canceller.join().expect("no panic");
        assert!(
            rounds > 0 && cancelled > 0,
            "{rounds} cancels, {cancelled} hits"
        );
    });
}

#[test]
fn a_late_cancel_never_lets_a_transactions_work_run_outside_it() {
    let (postgres, pgditto) = servers();
    postgres.psql_as("app", "CREATE TABLE work (id int)");
    let mut wire = Wire::connect(pgditto.port);
    // Pinned, so that cancels and transactions meet on one connection.
    wire.query("CREATE TEMP TABLE mine (id int)");
    let (port, pid, key) = (pgditto.port, wire.pid, wire.key.clone());
    let stop = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    cancel(port, pid, &key);
                }
            });
        }
        let mut cancelled = 0;
        for _ in 0..500 {
            cancelled += usize::from(error_code(&wire.query("SELECT pg_sleep(0.001)")) == "57014");
            wire.query("BEGIN");
            let answer = wire.query("INSERT INTO work VALUES (1)");
            let status = answer.last().expect("ReadyForQuery").body[0];
            assert!(b"TE".contains(&status), "{answer:?}");
            wire.query("ROLLBACK");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(cancelled > 0);
    });
    assert_eq!(postgres.psql_as("app", "SELECT count(*) FROM work"), "0");
}
