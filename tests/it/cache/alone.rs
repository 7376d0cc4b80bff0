//! Hits only while nobody can commit unseen: other pgdittos, orphans of earlier ones, lost guards, crashes,
//! commits of which nobody knows the outcome.

use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use super::wire::{Wire, query};
use super::{House, Served, server, start};
use crate::fixture::{Pgditto, Postgres, eventually};

const SCHEMA: &str = "
    CREATE TABLE t (id int PRIMARY KEY, x int); INSERT INTO t VALUES (1, 0), (2, 0);
    CREATE TABLE gate (id int);
";
const READ: &str = "SELECT x FROM t WHERE id = 1";

fn not_alone(pgditto: &Pgditto) -> bool {
    pgditto
        .metrics()
        .sum("pgditto_guard_state", &[("state", "not_alone")])
        > 0.0
}

/// How many backends of the house's database wait for a lock.
fn waiting(house: &House<'_>) -> String {
    house.postgres.psql(&format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event_type = 'Lock'",
        house.database
    ))
}

fn x(postgres: &Postgres, database: &str) -> String {
    Wire::connect(postgres.port, "app", database, &[])
        .query(READ)
        .text()
}

#[test]
fn two_on_one_database_serve_nothing_and_say_so_and_nobody_sees_an_old_value() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    pair.becomes_hit(READ);
    let mut second = start(house.postgres, &house.database, |_| {});
    let mut other = Wire::connect(second.port, "app", &house.database, &[]);
    // From its very first write on.
    for value in 1..40 {
        let written = other.query(&format!("UPDATE t SET x = {value} WHERE id = 1"));
        assert_eq!(written.error(), None, "{written:?}");
        assert_eq!(pair.via.query(READ).text(), value.to_string());
        let written = pair
            .via
            .query(&format!("UPDATE t SET x = -{value} WHERE id = 1"));
        assert_eq!(written.error(), None, "{written:?}");
        assert_eq!(other.query(READ).text(), format!("-{value}"));
    }
    eventually("both know", || {
        not_alone(&house.pgditto) && not_alone(&second)
    });
    for pgditto in [&house.pgditto, &second] {
        pgditto.await_log("another pgditto serves this database");
    }
    house.before.take();
    pair.bypass(READ, "not_alone");
    drop(other);
    second.signal(crate::fixture::Signal::TERM);
    second.wait();
    house.before.take();
    pair.becomes_hit(READ);
}

#[test]
fn in_a_rolling_update_nobody_sees_an_old_value() {
    let postgres = &super::SHARED;
    let database = super::fresh_database(postgres, SCHEMA);
    let mut old = start(postgres, &database, |_| {});
    let mut value = 0;
    for _ in 0..3 {
        let mut before = Wire::connect(old.port, "app", &database, &[]);
        eventually("the old one serves", || {
            assert_eq!(before.query(READ).text(), value.to_string());
            old.metrics().sum("pgditto_hits_total", &[]) > 5.0
        });
        let new = start(postgres, &database, |_| {});
        let mut after = Wire::connect(new.port, "app", &database, &[]);
        for _ in 0..15 {
            value += 1;
            assert_eq!(
                after
                    .query(&format!("UPDATE t SET x = {value} WHERE id = 1"))
                    .error(),
                None
            );
            assert_eq!(before.query(READ).text(), value.to_string());
            assert_eq!(after.query(READ).text(), value.to_string());
            value += 1;
            assert_eq!(
                before
                    .query(&format!("UPDATE t SET x = {value} WHERE id = 1"))
                    .error(),
                None
            );
            assert_eq!(after.query(READ).text(), value.to_string());
        }
        drop(before);
        old.kill9();
        for _ in 0..15 {
            value += 1;
            assert_eq!(
                after
                    .query(&format!("UPDATE t SET x = {value} WHERE id = 1"))
                    .error(),
                None
            );
            assert_eq!(after.query(READ).text(), value.to_string());
        }
        old = new;
    }
}

/// After `kill -9` a backend still holds a statement that will commit as soon as it gets its lock.
fn orphan(configure: impl FnOnce(&mut crate::fixture::Options), recorded: bool) {
    let mut house = House::on(&super::SHARED, SCHEMA, configure);
    house.pair().becomes_hit(READ);
    let mut gate = house.direct();
    gate.query("BEGIN; LOCK TABLE gate");
    let mut client = house.via();
    client.send(&query(
        "BEGIN; LOCK TABLE gate; UPDATE t SET x = 5 WHERE id = 1; COMMIT",
    ));
    eventually("it waits", || waiting(&house) == "1");
    house.pgditto.restart();
    house.before.take();
    if recorded {
        eventually("it was ended", || waiting(&house) == "0");
        house.pair().becomes_hit(READ);
        gate.query("COMMIT");
        assert_eq!(x(house.postgres, &house.database), "0");
        house.pair().hit(READ);
        return;
    }
    let mut pair = house.pair();
    pair.never_hits(READ);
    pair.never_hits(READ);
    gate.query("COMMIT");
    // Whenever it commits: there is no hit that does not know.
    eventually("it has committed", || {
        x(house.postgres, &house.database) == "5"
    });
    house.before.take();
    pair.becomes_hit(READ);
    assert_eq!(pair.via.query(READ).text(), "5");
}

#[test]
fn orphans_of_a_killed_process_are_ended_where_they_are_on_record() {
    let dir = std::env::temp_dir().join(format!("pgditto-it-state-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a temporary folder");
    orphan(
        |opts| {
            opts.set("upstream.state_dir", dir.display());
        },
        true,
    );
}

#[test]
fn orphans_of_a_killed_process_are_waited_for_where_they_are_not() {
    orphan(|_| {}, false);
}

#[test]
fn a_guard_that_is_terminated_stops_hits_until_there_is_a_new_one() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    for value in 1..4 {
        pair.becomes_hit(READ);
        let ended = house.postgres.psql(&format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE datname = '{}' AND application_name LIKE 'pgditto %'",
            house.database
        ));
        assert_eq!(ended, "1");
        // Meanwhile anything may happen to the server.
        house.outside(&format!("UPDATE t SET x = {value} WHERE id = 1"));
        house.before.take();
        eventually("the guard is missed", || {
            pair.via.query(READ).text() == value.to_string()
        });
        house.before.take();
        pair.becomes_hit(READ);
    }
}

#[test]
fn a_crash_of_the_server_empties_the_cache() {
    let mut postgres = server();
    let database = super::fresh_database(
        &postgres,
        "CREATE UNLOGGED TABLE fleeting (x int); INSERT INTO fleeting VALUES (1); CREATE TABLE t (x int);",
    );
    let pgditto = start(&postgres, &database, |_| {});
    let mut client = Wire::connect(pgditto.port, "app", &database, &[]);
    let hits = || pgditto.metrics().sum("pgditto_hits_total", &[]);
    eventually("a hit", || {
        assert_eq!(client.query("SELECT count(*) FROM fleeting").text(), "1");
        hits() > 0.0
    });
    postgres.psql("CHECKPOINT");
    postgres.stop(true);
    postgres.restart();
    // The client has lost no connection of its own; what was unlogged is gone.
    let mut direct = Wire::connect(postgres.port, "app", &database, &[]);
    eventually("the server is back", || {
        client.query("SELECT 1").error().is_none()
    });
    for _ in 0..20 {
        assert_eq!(direct.query("SELECT count(*) FROM fleeting").text(), "0");
        assert_eq!(client.query("SELECT count(*) FROM fleeting").text(), "0");
    }
    let before = hits();
    eventually("hits again", || {
        assert_eq!(client.query("SELECT count(*) FROM fleeting").text(), "0");
        hits() > before
    });
}

/// A table whose commit waits for `gate`.
const SLOW_COMMIT: &str = "
    CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN LOCK TABLE gate; RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON t DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION wait();
";

#[test]
fn nothing_is_served_while_a_commit_is_on_its_way() {
    let house = House::new(&format!("{SCHEMA}{SLOW_COMMIT}"));
    let mut pair = house.pair();
    let mut gate = house.direct();
    for value in 1..4 {
        pair.becomes_hit(READ);
        gate.query("BEGIN; LOCK TABLE gate");
        let mut writer = house.via();
        writer.query("BEGIN");
        writer.query(&format!("UPDATE t SET x = {value} WHERE id = 1"));
        house.before.take();
        pair.hit(READ);
        writer.send(&query("COMMIT"));
        eventually("the commit waits", || waiting(&house) == "1");
        for _ in 0..3 {
            pair.bypass(READ, "marked");
        }
        // A client that goes away does not take the mark with it.
        if value == 2 {
            drop(writer);
            pair.never_hits(READ);
            gate.query("COMMIT");
            eventually("it is over", || waiting(&house) == "0");
        } else {
            gate.query("COMMIT");
            assert_eq!(writer.reply().expect("an answer").error(), None);
            house.before.take();
            assert_ne!(pair.look(READ), Served::Hit);
            assert_eq!(pair.via.query(READ).text(), value.to_string());
        }
        house.before.take();
    }
    pair.becomes_hit(READ);
}

/// Who waits at `gate` is stopped: it goes on, or ends, when it is told to.
fn stop_the_waiting(house: &House<'_>) -> Pid {
    let pid = house.postgres.psql(&format!(
        "SELECT pid FROM pg_stat_activity WHERE datname = '{}' AND wait_event_type = 'Lock'",
        house.database
    ));
    let pid = Pid::from_raw(pid.parse().expect("one waits")).expect("a process");
    kill_process(pid, Signal::STOP).expect("it runs");
    pid
}

#[test]
fn a_backend_that_is_killed_in_its_commit_keeps_the_mark_until_it_is_gone() {
    let house = House::new(&format!("{SCHEMA}{SLOW_COMMIT}"));
    let mut pair = house.pair();
    let mut gate = house.direct();
    pair.becomes_hit(READ);
    gate.query("BEGIN; LOCK TABLE gate");
    let mut writer = house.via();
    writer.query("BEGIN");
    writer.query("UPDATE t SET x = 9 WHERE id = 1");
    writer.send(&query("COMMIT"));
    eventually("the commit waits", || waiting(&house) == "1");
    let backend = stop_the_waiting(&house);
    let killed = house.postgres.psql(&format!(
        "SELECT pg_terminate_backend({})",
        backend.as_raw_nonzero()
    ));
    assert_eq!(killed, "t");
    // It has been told to end, and has not.
    house.before.take();
    for _ in 0..3 {
        pair.bypass(READ, "marked");
    }
    kill_process(backend, Signal::CONT).expect("it is there");
    assert!(writer.reply().is_none_or(|reply| reply.error().is_some()));
    house.before.take();
    pair.becomes_hit(READ);
    assert_eq!(pair.via.query(READ).text(), "0");
    gate.query("COMMIT");
}

#[test]
fn a_commit_that_took_too_long_for_us_is_resolved_before_anything_is_served() {
    let house = House::with(&format!("{SCHEMA}{SLOW_COMMIT}"), |opts| {
        opts.set("upstream.query_timeout", "3s");
    });
    let mut pair = house.pair();
    let mut gate = house.direct();
    pair.becomes_hit(READ);
    gate.query("BEGIN; LOCK TABLE gate");
    let mut writer = house.via();
    writer.query("BEGIN");
    writer.query("UPDATE t SET x = 9 WHERE id = 1");
    writer.send(&query("COMMIT"));
    eventually("the commit waits", || waiting(&house) == "1");
    // It neither commits nor ends, whatever pgditto tells it.
    let backend = stop_the_waiting(&house);
    let reply = writer.reply().expect("a word about it");
    assert_eq!(reply.error().as_deref(), Some("57014"), "{reply:?}");
    house.before.take();
    for _ in 0..5 {
        pair.bypass(READ, "marked");
    }
    kill_process(backend, Signal::CONT).expect("it is there");
    pair.becomes_hit(READ);
    assert_eq!(waiting(&house), "0");
    gate.query("COMMIT");
    pair.hit(READ);
    assert_eq!(pair.via.query(READ).text(), "0");
}

#[test]
fn a_commit_that_waits_for_a_standby_is_neither_seen_early_nor_late() {
    let postgres = server();
    let house = House::on(&postgres, SCHEMA, |opts| {
        opts.set("upstream.query_timeout", "300ms");
    });
    let mut pair = house.pair();
    pair.becomes_hit(READ);
    postgres.psql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    postgres.psql("SELECT pg_reload_conf()");
    let mut writer = house.via();
    writer.query("SET synchronous_commit = on");
    eventually("commits wait for the standby", || {
        house
            .direct()
            .query("SHOW synchronous_standby_names")
            .text()
            == "nobody"
    });
    // Since the server has read its files the guard is another, and the picture is there again.
    house.pgditto.await_log("the guard is lost");
    house.before.take();
    pair.becomes_hit(READ);
    writer.send(&query("UPDATE t SET x = 9 WHERE id = 1"));
    let reply = writer.reply().expect("a word about it");
    assert!(reply.error().is_some(), "{reply:?}");
    house.before.take();
    for _ in 0..4 {
        pair.bypass(READ, "marked");
        assert_eq!(x(&postgres, &house.database), "0");
    }
    postgres.psql("ALTER SYSTEM RESET synchronous_standby_names");
    postgres.psql("SELECT pg_reload_conf()");
    eventually("it is visible", || x(&postgres, &house.database) == "9");
    house.before.take();
    pair.becomes_hit(READ);
    assert_eq!(pair.via.query(READ).text(), "9");
}

#[test]
fn sessions_that_hang_up_in_a_transaction_have_written_nothing() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    pair.becomes_hit(READ);
    let leavers: Vec<_> = (0..4)
        .map(|n| {
            let mut leaver = house.via();
            thread::spawn(move || {
                leaver.query("BEGIN");
                leaver.query(&format!("UPDATE t SET x = 77 WHERE id = {}", n % 2 + 1));
            })
        })
        .collect();
    for leaver in leavers {
        leaver.join().expect("done");
    }
    eventually("they are gone", || {
        house.postgres.psql(&format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND backend_xid IS NOT NULL",
            house.database
        )) == "0"
    });
    house.before.take();
    pair.becomes_hit(READ);
    assert_eq!(pair.via.query(READ).text(), "0");
}
