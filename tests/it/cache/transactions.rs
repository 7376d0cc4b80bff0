//! Transactions: what a session sees of its own, of others, and when the cache must keep out.

use super::wire::{Batch, Wire};
use super::{House, Pair, SHARED, Served, fresh_database, server, start};
use crate::fixture::{Postgres, eventually};

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

/// Receipts of a batch are written until the batch is closed; a report is of the batch that was closed last.
const RECEIPTS: &str = "CREATE TABLE control (batch int); INSERT INTO control VALUES (1); CREATE TABLE receipt (batch int);";
const REPORT: &str =
    "SELECT c.batch, (SELECT count(*) FROM receipt r WHERE r.batch = c.batch - 1) FROM control c";

/// A session that is to be serializable: how it logs in, what it says first, and how it begins to read.
type Serializable = (
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
    &'static [&'static str],
);

fn told(client: &mut Wire, sql: &str) -> Option<String> {
    client.query(sql).error()
}

/// A receipt is begun before its batch is closed, and committed after a report of that batch was read: PostgreSQL refuses it,
/// if it has seen the report being read. What the report says is in the cache, from a transaction that is not serializable.
fn a_report_is_the_servers(house: &House<'_>, (parameters, session, begin): Serializable) {
    let mut keeper = house.pair_as("app", parameters);
    for sql in session {
        keeper.both(sql);
    }
    for read in [false, true] {
        let what = format!("{parameters:?} {session:?} {begin:?} {read}");
        let (mut receipt, mut closing) = (house.via(), house.via());
        for client in [&mut receipt, &mut closing] {
            assert_eq!(told(client, "BEGIN ISOLATION LEVEL SERIALIZABLE"), None);
        }
        let batch = receipt.query("SELECT batch FROM control").text();
        let close = "UPDATE control SET batch = batch + 1";
        assert_eq!(told(&mut closing, close), None);
        assert_eq!(told(&mut closing, "COMMIT"), None);
        keeper.both("BEGIN ISOLATION LEVEL READ COMMITTED");
        eventually("the report is in the cache", || {
            keeper.look(REPORT) == Served::Hit
        });
        keeper.both("COMMIT");
        if read {
            let mut reporter = house.via_as("app", parameters);
            for sql in session.iter().chain(begin) {
                assert_eq!(told(&mut reporter, sql), None, "{what}: {sql}");
            }
            house.before.take();
            let (report, served) = house.look(&mut reporter, REPORT);
            assert!(matches!(served, Served::Bypass(_)), "{what}: {served:?}");
            let none_yet = report.text().ends_with("|0");
            assert!(none_yet, "{what}: {report:?}");
            assert_eq!(told(&mut reporter, "COMMIT"), None);
        }
        let inserted = told(
            &mut receipt,
            &format!("INSERT INTO receipt VALUES ({batch})"),
        );
        let ended = receipt.query("COMMIT");
        let refused = inserted.or(ended.error());
        assert_eq!(refused.as_deref(), read.then_some("40001"), "{what}");
        house.before.take();
    }
}

#[test]
fn a_report_that_is_read_in_a_serializable_transaction_takes_part_in_conflicts() {
    let house = House::new(RECEIPTS);
    const SET: &str = "SET default_transaction_isolation = 'serializable'";
    let ways: &[Serializable] = &[
        (&[], &[], &["BEGIN ISOLATION LEVEL SERIALIZABLE"]),
        (
            &[],
            &[],
            &["START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY"],
        ),
        (
            &[],
            &[],
            &["BEGIN", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
        ),
        (
            &[],
            &[],
            &["BEGIN", "SET transaction_isolation = 'serializable'"],
        ),
        (&[], &[SET], &[]),
        (&[], &[SET], &["BEGIN"]),
        (
            &[],
            &["SELECT set_config('default_transaction_isolation', 'serializable', false)"],
            &[],
        ),
        (
            &[],
            &["SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
            &[],
        ),
        (
            &[("default_transaction_isolation", "serializable")],
            &[],
            &[],
        ),
        (
            &[("options", "-c default_transaction_isolation=serializable")],
            &[],
            &["BEGIN"],
        ),
    ];
    for way in ways {
        a_report_is_the_servers(&house, *way);
    }
}

/// A house where nothing of a session in autocommit is a hit.
fn serializable_house<'a>(postgres: &'a Postgres, schema: &str) -> House<'a> {
    let database = fresh_database(postgres, schema);
    let pgditto = start(postgres, &database, |_| {});
    House {
        postgres,
        database,
        pgditto,
        before: Default::default(),
    }
}

fn reports_are_the_servers(house: &House<'_>) {
    let mut pair: Pair<'_> = house.pair();
    let says = "SHOW default_transaction_isolation";
    assert_eq!(pair.via.query(says).text(), "serializable");
    assert_eq!(pair.direct.query(says).text(), "serializable");
    house.before.take();
    // What a session begins with is looked up between transactions.
    eventually("hits are served", || {
        pair.both("BEGIN ISOLATION LEVEL READ COMMITTED");
        pair.look(REPORT);
        let served = pair.look(REPORT);
        pair.both("COMMIT");
        served == Served::Hit
    });
    pair.bypass(REPORT, "isolation");
    pair.both("BEGIN");
    pair.bypass(REPORT, "isolation");
    pair.both("COMMIT");
    const BEGINNINGS: [&[&str]; 3] = [&[], &["BEGIN"], &["BEGIN READ ONLY"]];
    for begin in BEGINNINGS {
        a_report_is_the_servers(house, (&[], &[], begin));
    }
}

#[test]
fn sessions_that_are_serializable_by_their_databases_default_are_the_servers_alone() {
    let by_database = "DO $$BEGIN EXECUTE format(
        'ALTER DATABASE %I SET default_transaction_isolation = serializable', current_database()); END$$;";
    let house = serializable_house(&SHARED, &format!("{RECEIPTS}{by_database}"));
    reports_are_the_servers(&house);
}

#[test]
fn sessions_that_are_serializable_by_their_roles_default_are_the_servers_alone() {
    let postgres = server();
    let in_database = "DO $$BEGIN EXECUTE format(
        'ALTER ROLE app IN DATABASE %I SET default_transaction_isolation = serializable', current_database()); END$$;";
    for by_role in [
        "ALTER ROLE app SET default_transaction_isolation = 'serializable';",
        in_database,
    ] {
        let house = serializable_house(&postgres, &format!("{RECEIPTS}{by_role}"));
        reports_are_the_servers(&house);
        house.superuser("ALTER ROLE app RESET default_transaction_isolation");
    }
}

#[test]
fn sessions_that_are_serializable_by_the_servers_default_are_the_servers_alone() {
    let postgres = Postgres::start(&[("default_transaction_isolation", "serializable")]);
    postgres.allow("host all all 127.0.0.1/32 trust");
    reports_are_the_servers(&serializable_house(&postgres, RECEIPTS));
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
