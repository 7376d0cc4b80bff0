//! Transactions: what a session sees of its own, of others, and when the cache must keep out.

use super::wire::Batch;
use super::{House, Served};

const SCHEMA: &str = "
    CREATE TABLE account (id int PRIMARY KEY, balance int);
    INSERT INTO account SELECT g, 100 FROM generate_series(1, 10) g;
    CREATE TABLE other (id int);
";
const READ: &str = "SELECT balance FROM account WHERE id = 1";

#[test]
fn a_transaction_sees_its_own_writes_and_others_see_them_after_commit() {
    let house = House::new(SCHEMA);
    let mut own = house.pair();
    let mut other = house.pair();
    own.becomes_hit(READ);
    own.write("BEGIN");
    own.write("UPDATE account SET balance = 1 WHERE id = 1");
    assert_eq!(own.via.query(READ).text(), "1");
    house.before.take();
    other.hit(READ);
    assert_eq!(own.via.query(READ).text(), "1");
    own.write("COMMIT");
    assert_ne!(other.look(READ), Served::Hit);
    assert_eq!(other.via.query(READ).text(), "1");
}

#[test]
fn a_rollback_leaves_the_answers_of_others_valid() {
    let house = House::new(SCHEMA);
    let mut own = house.pair();
    let mut other = house.pair();
    other.becomes_hit(READ);
    own.write("BEGIN");
    own.write("UPDATE account SET balance = 1 WHERE id = 1");
    assert_eq!(own.via.query(READ).text(), "1");
    own.write("ROLLBACK");
    other.hit(READ);
    own.hit(READ);
    // An error rolls back as well.
    own.write("BEGIN");
    own.write("UPDATE account SET balance = 1 WHERE id = 1");
    assert!(own.via.query("SELECT 1 / 0").error().is_some());
    assert_eq!(own.via.query(READ).error().as_deref(), Some("25P02"));
    own.write("COMMIT");
    other.hit(READ);
    // So does an error in a statement on its own.
    assert!(
        own.via
            .query("UPDATE account SET balance = 1 / (id - 1)")
            .error()
            .is_some()
    );
    house.before.take();
    other.hit(READ);
}

#[test]
fn a_transaction_that_has_written_reads_from_the_server_to_its_end() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    pair.becomes_hit(READ);
    pair.becomes_hit("SELECT count(*) FROM other");
    pair.write("BEGIN");
    pair.write("INSERT INTO other VALUES (1)");
    assert_eq!(
        house.look(&mut pair.via, READ).1,
        Served::Bypass("after_write".into())
    );
    let (reply, served) = house.look(&mut pair.via, "SELECT count(*) FROM other");
    assert_eq!(
        (reply.text().as_str(), served),
        ("1", Served::Bypass("after_write".into()))
    );
    pair.write("ROLLBACK");
    pair.hit("SELECT count(*) FROM other");
}

#[test]
fn savepoints_take_back_only_what_they_took_back() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let mut other = house.pair();
    other.becomes_hit(READ);
    pair.write("BEGIN");
    pair.write("SAVEPOINT a");
    pair.write("UPDATE account SET balance = 5 WHERE id = 1");
    pair.write("ROLLBACK TO a");
    assert_eq!(pair.via.query(READ).text(), "100");
    pair.write("UPDATE account SET balance = 6 WHERE id = 1");
    pair.write("RELEASE a");
    house.before.take();
    other.hit(READ);
    pair.write("COMMIT");
    assert_ne!(other.look(READ), Served::Hit);
    // A subtransaction that failed within one that goes on.
    other.becomes_hit(READ);
    pair.write("BEGIN");
    pair.write("UPDATE account SET balance = 7 WHERE id = 1");
    pair.write("SAVEPOINT a");
    assert!(pair.via.query("SELECT 1 / 0").error().is_some());
    pair.write("ROLLBACK TO a");
    pair.write("COMMIT");
    assert_ne!(other.look(READ), Served::Hit);
}

#[test]
fn chained_transactions_are_settled_one_by_one() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let mut other = house.pair();
    other.becomes_hit(READ);
    pair.write("BEGIN");
    pair.write("UPDATE account SET balance = 5 WHERE id = 1");
    pair.write("COMMIT AND CHAIN");
    assert_ne!(other.look(READ), Served::Hit);
    other.becomes_hit(READ);
    pair.write("UPDATE account SET balance = 6 WHERE id = 1");
    house.before.take();
    other.hit(READ);
    pair.write("COMMIT");
    assert_ne!(other.look(READ), Served::Hit);
    other.becomes_hit(READ);
    pair.write("BEGIN");
    pair.write("UPDATE account SET balance = 8 WHERE id = 1");
    pair.write("ROLLBACK AND CHAIN");
    pair.write("UPDATE account SET balance = 9 WHERE id = 2");
    pair.write("COMMIT");
    other.becomes_hit(READ);
}

#[test]
fn snapshots_that_last_are_the_servers_alone() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    pair.becomes_hit(READ);
    for begin in [
        "BEGIN ISOLATION LEVEL REPEATABLE READ",
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
        "START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        "BEGIN; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    ] {
        pair.both(begin);
        assert!(matches!(pair.look(READ), Served::Bypass(_)), "{begin}");
        let mut outside = house.pair();
        outside.write("UPDATE account SET balance = balance + 1 WHERE id = 1");
        // The snapshot holds.
        assert!(matches!(pair.look(READ), Served::Bypass(_)), "{begin}");
        pair.both("COMMIT");
        pair.becomes_hit(READ);
    }
    for set in [
        "SET default_transaction_isolation = 'repeatable read'",
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    ] {
        pair.both(set);
        assert_eq!(pair.look(READ), Served::Bypass("isolation".into()), "{set}");
        pair.both("RESET default_transaction_isolation");
        pair.becomes_hit(READ);
    }
}

#[test]
fn set_transaction_after_a_hit_is_refused_as_the_server_would() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    pair.becomes_hit(READ);
    pair.both("BEGIN");
    pair.hit(READ);
    let set = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ";
    let ours = pair.via.query(set);
    let theirs = pair.direct.query(set);
    assert_eq!(theirs.error().as_deref(), Some("25001"));
    assert_eq!((ours.error(), ours.status), (theirs.error(), theirs.status));
    let ours = pair.via.query(READ);
    let theirs = pair.direct.query(READ);
    assert_eq!((ours.error(), ours.status), (theirs.error(), theirs.status));
    pair.both("ROLLBACK");
    pair.hit(READ);
}

#[test]
fn a_read_after_a_lock_sees_what_the_lock_protects() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    pair.becomes_hit(READ);
    for lock in [
        "LOCK TABLE account IN SHARE MODE",
        "SELECT id FROM account WHERE id = 2 FOR UPDATE",
        "SELECT id FROM account WHERE id = 2 FOR KEY SHARE",
        "SELECT pg_advisory_xact_lock(5)",
        "SELECT pg_try_advisory_xact_lock_shared(5)",
        "SELECT pg_advisory_lock(6)",
    ] {
        pair.write("BEGIN");
        pair.write(lock);
        let served = house.look(&mut pair.via, READ).1;
        assert!(matches!(served, Served::Bypass(_)), "{lock}: {served:?}");
        pair.write("COMMIT");
    }
    // The session's advisory lock outlives the transaction.
    let (_, served) = house.look(&mut pair.via, READ);
    assert_eq!(served, Served::Bypass("after_lock".into()));
    pair.write("SELECT pg_advisory_unlock_all()");
    pair.becomes_hit(READ);
    // A lock taken by a function that nobody looks into.
    house.outside("CREATE FUNCTION guard() RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(9); END'");
    pair.write("BEGIN");
    pair.write("SELECT guard()");
    let served = house.look(&mut pair.via, READ).1;
    assert!(matches!(served, Served::Bypass(_)), "{served:?}");
    pair.write("COMMIT");
}

#[test]
fn settings_of_one_transaction_hold_for_it_alone() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let read = "SELECT timestamptz '2024-01-01 00:00Z', balance FROM account WHERE id = 1";
    pair.becomes_hit(read);
    pair.both("BEGIN");
    pair.both("SET LOCAL TimeZone = 'Asia/Tokyo'");
    pair.asked(read);
    pair.both("COMMIT");
    pair.hit(read);
    pair.both("BEGIN");
    pair.both("SET TimeZone = 'Asia/Tokyo'");
    pair.asked(read);
    pair.both("ROLLBACK");
    pair.hit(read);
    pair.both("BEGIN");
    pair.both("SELECT set_config('TimeZone', 'Asia/Tokyo', true)");
    pair.asked(read);
    pair.both("COMMIT");
    pair.hit(read);
    pair.both("SELECT set_config('TimeZone', 'Asia/Tokyo', false)");
    pair.asked(read);
    pair.becomes_hit(read);
}

#[test]
fn a_failed_transaction_is_told_so_and_no_more() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    pair.becomes_hit(READ);
    for client in [&mut pair.via, &mut pair.direct] {
        client.query("BEGIN");
        assert!(client.query("SELECT 1 / 0").error().is_some());
    }
    for sql in [
        READ,
        "SELECT 1",
        "BEGIN",
        "",
        "SAVEPOINT a",
        "SHOW TimeZone",
    ] {
        let ours = pair.via.query(sql);
        let theirs = pair.direct.query(sql);
        assert_eq!(
            (ours.error(), ours.status),
            (theirs.error(), theirs.status),
            "{sql}"
        );
        let batch = Batch::whole(sql, &[]);
        let ours = pair.via.batch(&batch);
        let theirs = pair.direct.batch(&batch);
        assert_eq!(
            (ours.error(), ours.status),
            (theirs.error(), theirs.status),
            "{sql}"
        );
    }
    let ours = pair.via.query("COMMIT");
    assert_eq!(ours.tags(), ["ROLLBACK"]);
    assert_eq!(pair.direct.query("COMMIT").tags(), ["ROLLBACK"]);
    house.before.take();
    pair.hit(READ);
}

#[test]
fn statements_with_notices_are_not_kept() {
    let house = House::new(
        "CREATE TABLE a (id int); INSERT INTO a VALUES (1);
         CREATE FUNCTION loud(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
             $$BEGIN RAISE NOTICE 'heard'; RETURN $1; END$$;",
    );
    let mut pair = house.pair();
    let sql = "SELECT loud(id) FROM a";
    for _ in 0..3 {
        let (reply, served) = house.look(&mut pair.via, sql);
        assert_ne!(served, Served::Hit);
        assert!(reply.kinds().contains('N'), "{reply:?}");
    }
    // A truncated identifier makes a notice, in a statement that could be cached.
    let long = format!("SELECT id AS {} FROM a", "x".repeat(80));
    for _ in 0..3 {
        let (reply, served) = house.look(&mut pair.via, &long);
        assert_ne!(served, Served::Hit);
        assert!(reply.kinds().contains('N'), "{reply:?}");
    }
    // Silence under one setting must not become silence under another.
    pair.both("SET client_min_messages = 'error'");
    house.look(&mut pair.via, &long);
    house.look(&mut pair.via, &long);
    pair.both("RESET client_min_messages");
    let (reply, _) = house.look(&mut pair.via, &long);
    assert!(reply.kinds().contains('N'), "{reply:?}");
}

#[test]
fn lazy_begin_behaves_like_begin() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    for sql in [
        "BEGIN",
        "BEGIN",
        "COMMIT",
        "COMMIT",
        "ROLLBACK",
        "BEGIN",
        "ROLLBACK",
        "ABORT",
        "START TRANSACTION READ ONLY",
        "UPDATE account SET balance = 1",
        "SELECT 1",
        "END",
        "BEGIN READ ONLY",
        READ,
        "SELECT 1 / 0",
        "COMMIT",
        "BEGIN",
        "SAVEPOINT a",
        "SELECT nothing",
        "ROLLBACK TO a",
        "COMMIT",
        "BEGIN",
        "COMMIT AND CHAIN",
        READ,
        "COMMIT",
        "BEGIN",
        "ROLLBACK AND CHAIN",
        "COMMIT",
        "COMMIT AND CHAIN",
        "BEGIN ISOLATION LEVEL NONSENSE",
    ] {
        let ours = pair.via.query(sql);
        let theirs = pair.direct.query(sql);
        assert_eq!(
            (ours.error(), ours.tags(), ours.status, ours.text()),
            (theirs.error(), theirs.tags(), theirs.status, theirs.text()),
            "{sql}"
        );
    }
}
