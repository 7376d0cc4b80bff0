//! Several who ask at once, and answers that are old before they are complete.

use std::fmt::Write;
use std::thread;

use super::wire::{Batch, Wire, query};
use super::{House, Served};
use crate::fixture::eventually;

const SCHEMA: &str = "
    CREATE TABLE t (id int PRIMARY KEY, x int); INSERT INTO t VALUES (1, 1);
    CREATE TABLE part (id int PRIMARY KEY, x int); INSERT INTO part SELECT g, g FROM generate_series(1, 5) g;
";
const PART: &str = "SELECT count(*), sum(x) FROM part";

/// Until so many backends of the house's database wait for `event`.
fn await_waiting(house: &House<'_>, event: &str, count: u32) {
    eventually(&format!("{count} wait: {event}"), || {
        house.postgres.psql(&format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND {event}",
            house.database
        )) == count.to_string()
    });
}

const FOR_A_LOCK: &str = "wait_event_type = 'Lock'";

/// The fill race: the snapshot is from before the write, the end of the answer from after it.
#[test]
fn an_answer_from_before_a_write_is_not_kept_after_it() {
    let house = House::with(SCHEMA, |opts| {
        opts.set("cache.max_entry_size", "64MB");
    });
    let mut pair = house.pair();
    let by_key =
        "SELECT x, repeat('y', 8000) FROM t, generate_series(1, 5600) WHERE id = 1".to_owned();
    let whole = "SELECT x, repeat('z', 8000) FROM t, generate_series(1, 5600)".to_owned();
    let first = |client: &mut Wire, sql: &str| {
        let text = client.query(sql).text();
        text.split('|').next().unwrap_or_default().to_owned()
    };
    for (round, read) in [by_key, whole].iter().enumerate() {
        let (old, new) = (round + 1, round + 2);
        // Its answer is longer than what fits on the way, and nobody takes it.
        let mut slow = house.via();
        slow.send(&query(read));
        await_waiting(&house, "wait_event = 'ClientWrite'", 1);
        let mut writer = house.via();
        let written = writer.query(&format!("UPDATE t SET x = {new} WHERE id = 1"));
        assert_eq!(written.error(), None);
        let answer = slow.reply().expect("an answer");
        assert!(answer.text().starts_with(&format!("{old}|")));
        for _ in 0..2 {
            assert_eq!(first(&mut house.via(), read), new.to_string());
        }
        // Answers of that length are kept where nothing is written meanwhile.
        house.before.take();
        pair.becomes_hit(read);
    }
}

/// A deadlock that PostgreSQL cannot see: whoever has the lock waits for the answer of who waits for the lock.
#[test]
fn whoever_holds_a_lock_does_not_wait_for_somebody_elses_answer() {
    let house = House::with(SCHEMA, |opts| {
        opts.set("cache.single_flight_timeout", "10m");
    });
    let mut holder = house.via();
    for sql in ["BEGIN", "SELECT count(*), random() FROM part"] {
        assert_eq!(holder.query(sql).error(), None);
    }
    let mut locker = house.direct();
    locker.send(&query("BEGIN; LOCK TABLE part; ROLLBACK"));
    await_waiting(&house, FOR_A_LOCK, 1);
    let mut leader = house.via();
    leader.send(&query(PART));
    await_waiting(&house, FOR_A_LOCK, 2);
    assert_eq!(holder.query(PART).text(), "5|15");
    await_waiting(&house, FOR_A_LOCK, 2);
    assert_eq!(holder.query("COMMIT").error(), None);
    assert_eq!(locker.reply().expect("the lock").error(), None);
    assert_eq!(leader.reply().expect("an answer").text(), "5|15");
}

#[test]
fn who_waits_for_anothers_answer_gets_neither_its_error_nor_its_patience() {
    let house = House::with(SCHEMA, |opts| {
        opts.set("cache.single_flight_timeout", "10m");
    });
    let joined = || {
        let metrics = house.pgditto.metrics();
        metrics.sum("pgditto_statements_total", &[("outcome", "hit")])
    };
    let mut blocker = house.direct();
    blocker.query("BEGIN; LOCK TABLE part");
    let mut leader = house.via();
    leader.send(&query(PART));
    await_waiting(&house, FOR_A_LOCK, 1);
    let before = joined();
    // One waits for as long as it takes, and one until it is told to stop.
    let mut patient = house.via();
    patient.send(&query(PART));
    let mut told = house.via();
    told.send(&query(PART));
    // A cancel that comes before what it is to cancel does nothing.
    let packet = told.cancel_packet();
    let reply = thread::scope(|scope| {
        let waits = scope.spawn(|| told.reply());
        eventually("the cancel strikes", || {
            Wire::send_packet(house.pgditto.port, &packet);
            waits.is_finished()
        });
        waits.join().expect("no panic")
    });
    assert_eq!(reply.expect("a word").error().as_deref(), Some("57014"));
    await_waiting(&house, FOR_A_LOCK, 1);
    // And one for as long as it has set itself.
    let mut hasty = house.via();
    assert_eq!(hasty.query("SET statement_timeout = '200ms'").error(), None);
    assert_eq!(hasty.query(PART).error().as_deref(), Some("57014"));
    await_waiting(&house, FOR_A_LOCK, 1);
    // The first one gives up: that is its own error, and the next asks for itself.
    Wire::send_packet(house.pgditto.port, &leader.cancel_packet());
    let error = leader.reply().expect("a word").error();
    assert_eq!(error.as_deref(), Some("57014"));
    await_waiting(&house, FOR_A_LOCK, 1);
    assert_eq!(joined(), before);
    blocker.query("COMMIT");
    assert_eq!(patient.reply().expect("an answer").text(), "5|15");
    for client in [&mut leader, &mut told] {
        assert_eq!(client.query(PART).text(), "5|15");
    }
}

/// What was counted per table must be counted for the last of many as for the first.
#[test]
fn a_read_of_many_tables_knows_a_write_to_each() {
    const TABLES: usize = 150;
    let mut schema = String::from("CREATE TABLE parted (id int, x int) PARTITION BY LIST (id);");
    let mut reads = Vec::new();
    for n in 0..TABLES {
        let _ = write!(
            schema,
            "CREATE TABLE t{n} (x int); INSERT INTO t{n} VALUES (0); \
             CREATE TABLE p{n} PARTITION OF parted FOR VALUES IN ({n});"
        );
        reads.push(format!("SELECT x FROM t{n}"));
    }
    schema.push_str(&format!(
        "INSERT INTO parted SELECT g, 0 FROM generate_series(0, {TABLES} - 1) g;"
    ));
    let house = House::new(&schema);
    let mut pair = house.pair();
    let union = format!(
        "SELECT sum(x), count(*) FROM ({}) s",
        reads.join(" UNION ALL ")
    );
    let parts = "SELECT sum(x), count(*) FROM parted";
    for n in [0, 64, 128, TABLES - 1] {
        pair.invalidates(&union, &format!("UPDATE t{n} SET x = x + 1"));
        pair.invalidates(parts, &format!("UPDATE p{n} SET x = x + 1"));
        pair.invalidates(
            parts,
            &format!("UPDATE parted SET x = x + 1 WHERE id = {n}"),
        );
    }
}

/// The old protocol's call writes like any other.
#[test]
fn a_function_call_that_writes_is_seen_by_the_next_read() {
    let house = House::new(&format!(
        "{SCHEMA} CREATE FUNCTION add(n int) RETURNS int LANGUAGE sql AS 'UPDATE t SET x = x + n RETURNING x';
         CREATE FUNCTION dynamic(n int) RETURNS int LANGUAGE plpgsql AS
             $$BEGIN EXECUTE 'UPDATE part SET x = x + ' || n; RETURN n; END$$;"
    ));
    let mut pair = house.pair();
    for (function, read) in [("add", "SELECT sum(x) FROM t"), ("dynamic", PART)] {
        let oid = pair
            .direct
            .query(&format!("SELECT '{function}(int)'::regprocedure::oid::int"));
        let oid: u32 = oid.text().parse().expect("a number");
        let mut call = Batch::default();
        call.function_call(oid, &[b"3"]);
        for _ in 0..2 {
            pair.invalidates_by(
                read,
                |pair| assert_eq!(pair.via.batch(&call).error(), None),
                function,
            );
        }
        // Within a transaction it shows at the commit.
        let mut other = house.pair();
        other.becomes_hit(read);
        pair.write("BEGIN");
        assert_eq!(pair.via.batch(&call).error(), None);
        house.before.take();
        other.look(read);
        pair.write("COMMIT");
        assert_ne!(other.look(read), Served::Hit);
        other.becomes_hit(read);
    }
}
