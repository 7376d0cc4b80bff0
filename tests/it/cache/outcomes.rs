//! Commits of which nobody here knows how they ended: their connection is cut, their backend crashes, or they are
//! cancelled. Values rise, so that whatever is served must be at least what was known before it was asked for.

use rustix::process::{Pid, Signal, kill_process};

use super::wire::{Wire, query};
use super::{House, SHARED, Served, fresh_database, start};
use crate::fixture::{Postgres, eventually};
use crate::soak::live::SLOW_COMMIT;
use crate::soak::live::proxy::Proxy;
use crate::soak::random::Random;

const SCHEMA: &str = "
    CREATE TABLE t (id int PRIMARY KEY, x int); INSERT INTO t VALUES (1, 0), (2, 0);
    CREATE TABLE gate (id int);
    CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN LOCK TABLE gate; RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON t DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION wait();
";
const READ: &str = "SELECT x FROM t WHERE id = 1";

/// A house whose way to the server can be cut.
fn house_by(proxy: &Proxy) -> House<'static> {
    let database = fresh_database(&SHARED, SCHEMA);
    let pgditto = start(&SHARED, &database, |opts| {
        opts.upstream(format!(
            "postgres://app@127.0.0.1:{}/{database}?sslmode=disable",
            proxy.port
        ));
    });
    let house = House {
        postgres: &SHARED,
        database,
        pgditto,
        before: Default::default(),
    };
    house.serves();
    house
}

fn number(client: &mut Wire) -> i64 {
    let reply = client.query(READ);
    reply.text().parse().unwrap_or_else(|_| panic!("{reply:?}"))
}

/// Nothing older than what was there before it was asked for.
fn nothing_old(via: &mut Wire, direct: &mut Wire) {
    for _ in 0..15 {
        let known = number(direct);
        let read = number(via);
        assert!(read >= known, "{read} after {known}");
    }
}

fn waiting(house: &House<'_>) -> String {
    house.postgres.psql(&format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event_type = 'Lock'",
        house.database
    ))
}

#[test]
fn a_commit_whose_connection_is_cut_is_resolved_before_anything_is_served() {
    let proxy = Proxy::start(SHARED.port, &Random::new(1));
    let house = house_by(&proxy);
    let mut pair = house.pair();
    let mut direct = house.direct();
    let mut gate = house.direct();
    for value in 1..7 {
        pair.becomes_hit(READ);
        let slow = value % 2 == 0;
        if slow {
            gate.query("BEGIN; LOCK TABLE gate");
        }
        let mut writer = house.via();
        writer.query("BEGIN");
        let update = format!("UPDATE t SET x = {value} WHERE id = 1");
        assert_eq!(writer.query(&update).error(), None);
        // Not that of our own reading of the catalogue.
        proxy.cut_next_commit(true);
        writer.send(&query(SLOW_COMMIT));
        // Whether it has committed is not known, and is not said.
        let said = writer.reply();
        assert!(
            said.as_ref().is_none_or(|reply| reply.error().is_some()),
            "{said:?}"
        );
        nothing_old(&mut pair.via, &mut direct);
        house.before.take();
        pair.becomes_hit(READ);
        // It is over, one way or the other: what comes now changes nothing.
        if slow {
            assert_eq!(waiting(&house), "0");
            gate.query("COMMIT");
        }
        let (known, served) = (number(&mut direct), pair.look(READ));
        assert_eq!((number(&mut pair.via), served), (known, Served::Hit));
        house.before.take();
    }
}

#[test]
fn a_cancel_that_races_with_a_commit_leaves_no_wrong_answer() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let mut direct = house.direct();
    let cancel = |client: &Wire| Wire::send_packet(house.pgditto.port, &client.cancel_packet());
    // It strikes while the commit waits: nothing has been written.
    let mut gate = house.direct();
    gate.query("BEGIN; LOCK TABLE gate");
    pair.becomes_hit(READ);
    let mut writer = house.via();
    for sql in ["BEGIN", "UPDATE t SET x = 1000 WHERE id = 1"] {
        assert_eq!(writer.query(sql).error(), None);
    }
    writer.send(&query("COMMIT"));
    eventually("the commit waits", || waiting(&house) == "1");
    cancel(&writer);
    let error = writer.reply().expect("a word").error();
    assert_eq!(error.as_deref(), Some("57014"));
    house.before.take();
    pair.becomes_hit(READ);
    assert_eq!(pair.via.query(READ).text(), "0");
    gate.query("COMMIT");
    // It comes when it comes: the server says how it ended, and so do all later answers.
    let (mut committed, mut cancelled) = (0, 0);
    for value in 1..40 {
        house.before.take();
        pair.becomes_hit(READ);
        for sql in ["BEGIN", &format!("UPDATE t SET x = {value} WHERE id = 1")] {
            let reply = writer.query(sql);
            assert_eq!(reply.error(), None, "{sql}: {reply:?}");
        }
        let commit = if value % 3 == 0 {
            "COMMIT; SELECT count(*) FROM generate_series(1, 1000000)"
        } else {
            "COMMIT"
        };
        writer.send(&query(commit));
        cancel(&writer);
        let reply = writer.reply().expect("a word");
        let after = number(&mut pair.via);
        if reply.tags().first().is_some_and(|tag| tag == "COMMIT") {
            committed += 1;
            assert_eq!(after, value, "{reply:?}");
        } else {
            cancelled += 1;
            assert!(after < value, "{reply:?}");
        }
        nothing_old(&mut pair.via, &mut direct);
        writer.query("ROLLBACK");
    }
    println!("{committed} committed, {cancelled} cancelled");
}

/// One backend crashes, and the server begins anew: it calls itself as old as before, and yet commits that it had
/// acknowledged are gone, and so is what was unlogged.
#[test]
fn a_backend_that_crashes_takes_what_was_cached_along() {
    const FLEETING: &str = "SELECT count(*) FROM fleeting";
    let postgres = Postgres::start(&[
        ("synchronous_commit", "off"),
        ("wal_writer_delay", "10s"),
        ("wal_writer_flush_after", "0"),
    ]);
    postgres.allow("host all all 127.0.0.1/32 trust");
    let house = House::on(
        &postgres,
        "CREATE UNLOGGED TABLE fleeting (x int); INSERT INTO fleeting VALUES (1);
         CREATE TABLE t (id int PRIMARY KEY, x int); INSERT INTO t VALUES (1, 0);",
        |_| {},
    );
    let began = || postgres.psql("SELECT pg_postmaster_start_time()");
    postgres.psql("CHECKPOINT");
    let before = began();
    let mut client = house.via();
    for value in 1..20 {
        client.query(&format!("UPDATE t SET x = {value} WHERE id = 1"));
    }
    for read in [FLEETING, READ] {
        eventually("a hit", || house.look(&mut client, read).1 == Served::Hit);
    }
    let mut doomed = house.direct();
    let pid = doomed.query("SELECT pg_backend_pid()").text();
    let pid = pid.parse().expect("a number");
    let backend = Pid::from_raw(pid).expect("a process");
    kill_process(backend, Signal::KILL).expect("it runs");
    eventually("the server has begun anew", || {
        Wire::try_open(postgres.port, "app", &house.database)
            .and_then(|mut direct| direct.try_query(FLEETING))
            .is_some_and(|reply| reply.text() == "0")
    });
    assert_eq!(began(), before);
    let mut direct = house.direct();
    let mut via = house.via();
    for read in [FLEETING, READ] {
        // Whoever asks while connections are made anew may be told so; nobody is told what is gone.
        eventually("an answer", || via.query(read).error().is_none());
        for _ in 0..10 {
            assert_eq!(via.query(read).text(), direct.query(read).text(), "{read}");
        }
        eventually("a hit", || {
            house.before.take();
            let (reply, served) = house.look(&mut via, read);
            assert_eq!(reply.text(), direct.query(read).text(), "{read}");
            served == Served::Hit
        });
    }
}
