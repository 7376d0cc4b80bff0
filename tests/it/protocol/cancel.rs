//! CancelRequest: the right key cancels the statement that runs, and nothing else ever.

use std::thread;

use bytes::BytesMut;
use pgditto::wire::frontend;

use crate::fixture::{Frames, Message, Pgditto, Postgres, Wait, Wire, error_code, eventually};

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
fn a_cancel_that_races_with_the_end_cancels_that_statement_or_nothing() {
    let (postgres, pgditto) = servers();
    postgres.psql_as(
        "app",
        "CREATE TABLE item (id int); INSERT INTO item VALUES (1)",
    );
    let parameters = [("user", "app"), ("database", "app")];
    let mut wire = Wire::try_login(pgditto.port, 2, &parameters, "secret").expect("let in");
    let (port, pid, key) = (pgditto.port, wire.pid, wire.key.clone());
    let (mut cancelled, mut done) = (0, 0);
    for round in 0..150 {
        // From before the statement begins to after its end.
        let sql = format!("SELECT pg_sleep(0.00{}), {round}", round % 4);
        let frames = match round % 2 {
            0 => Frames::new().query(&sql),
            _ => Frames::new().prepared(&sql, &[]).sync(),
        };
        let canceller = thread::spawn({
            let key = key.clone();
            move || cancel(port, pid, &key)
        });
        let answer = wire.ask(&frames);
        canceller.join().expect("it is closed when it is done");
        match error_code(&answer).as_str() {
            "" => done += 1,
            "57014" => cancelled += 1,
            other => panic!("{other}: {answer:?}"),
        }
        // The cancel is over: nothing is left that could hit what comes next, from the cache or not.
        assert_eq!(
            wire.value(&format!("SELECT id + {round} FROM item")),
            (round + 1).to_string()
        );
    }
    assert_eq!(cancelled + done, 150);
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
fn a_transaction_that_cannot_begin_runs_nothing() {
    let (postgres, pgditto) = servers();
    postgres.psql_as("app", "CREATE TABLE work (id int)");
    let mut wire = Wire::connect(pgditto.port);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let units = [
        Frames::new().query("INSERT INTO work VALUES (1)"),
        Frames::new()
            .prepared("INSERT INTO work VALUES (1)", &[])
            .sync(),
    ];
    let last = |answer: &[Message]| match answer.last() {
        Some(message) if message.tag == b'Z' => message.body[0],
        _ => panic!("{answer:?}: {}", pgditto.log().join("\n")),
    };
    thread::scope(|scope| {
        let canceller = scope.spawn(|| {
            // Not the client's cancel, which pgditto would know of.
            let login = [("user", "postgres"), ("database", "postgres")];
            let mut direct = Wire::try_login(postgres.port, 0, &login, "").expect("let in");
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                direct.query(
                    "SELECT pg_cancel_backend(pid), pg_sleep(0.0005) FROM pg_stat_activity \
                     WHERE usename = 'app' AND application_name NOT LIKE 'pgditto%'",
                );
            }
        });
        let client = scope.spawn(|| {
            let mut cancelled = 0;
            for round in 0..20_000 {
                if round >= 600 && cancelled > 0 {
                    break;
                }
                wire.query("BEGIN");
                let answer = wire.ask(&units[round % 2]);
                let code = error_code(&answer);
                let expected = if code.is_empty() { b'T' } else { b'E' };
                assert_eq!(last(&answer), expected, "{answer:?}");
                cancelled += usize::from(code == "57014");
                // A cancel may strike it too.
                while last(&wire.query("ROLLBACK")) != b'I' {}
            }
            assert!(cancelled > 0);
        });
        let ended = client.join();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        canceller.join().expect("no panic");
        ended.expect("the client got its answers");
    });
    assert_eq!(postgres.psql_as("app", "SELECT count(*) FROM work"), "0");
}
