//! SQL on a logical replication connection writes like any other, and so invalidates.

use super::{House, Served, server};

const SCHEMA: &str = "CREATE TABLE t (a int PRIMARY KEY, b int); INSERT INTO t VALUES (1, 10); \
    CREATE TABLE other (x int); INSERT INTO other VALUES (1)";
const READ: &str = "SELECT b FROM t WHERE a = 1";

#[test]
fn what_a_replication_connection_writes_is_seen_by_the_next_read() {
    let postgres = server();
    postgres.psql("ALTER ROLE app REPLICATION");
    let house = House::on(&postgres, SCHEMA, |_| {});
    let mut reader = house.via();
    let mut walsender = house.via_as("app", &[("replication", "database")]);
    let mut kept = |expected: &str| {
        reader.query(READ);
        // Others may look at the catalogue meanwhile; in the end it is kept.
        house.serves();
        reader.query(READ);
        let (reply, served) = house.look(&mut reader, READ);
        assert_eq!((reply.text().as_str(), served), (expected, Served::Hit));
    };
    let mut value = 10;
    kept("10");
    for script in [
        &["UPDATE t SET b = b + 1"][..],
        &["BEGIN; UPDATE t SET b = b + 1; COMMIT"],
        &["BEGIN", "UPDATE t SET b = b + 1", "COMMIT"],
        &[
            "BEGIN",
            "SAVEPOINT s",
            "UPDATE t SET b = b + 1",
            "RELEASE s",
            "END",
        ],
        &["DO 'BEGIN UPDATE t SET b = b + 1; COMMIT; END'"],
        &["WITH w AS (UPDATE t SET b = b + 1 RETURNING b) SELECT b FROM w"],
        &[
            "BEGIN",
            "UPDATE t SET b = b + 1",
            "PREPARE TRANSACTION 'gid'",
            "COMMIT PREPARED 'gid'",
        ],
    ] {
        for sql in script {
            let reply = walsender.query(sql);
            assert_eq!(reply.error(), None, "{sql}: {reply:?}");
        }
        value += 1;
        let reply = house.via().query(READ);
        assert_eq!(reply.text(), value.to_string(), "{script:?}");
        kept(&value.to_string());
    }
    // Open, it hides nothing and shows nothing.
    for sql in ["BEGIN", "UPDATE t SET b = 0"] {
        walsender.query(sql);
    }
    kept(&value.to_string());
    walsender.query("ROLLBACK");
    kept(&value.to_string());
}

#[test]
fn commands_of_replication_leave_what_is_cached_alone() {
    let postgres = server();
    postgres.psql("ALTER ROLE app REPLICATION");
    let house = House::on(&postgres, SCHEMA, |_| {});
    let mut reader = house.via();
    let mut walsender = house.via_as("app", &[("replication", "database")]);
    reader.query(READ);
    assert_eq!(house.look(&mut reader, READ).1, Served::Hit);
    // The command is PostgreSQL 15's.
    let read_slot = match postgres.major() {
        ..15 => "SHOW wal_level",
        _ => "READ_REPLICATION_SLOT kept",
    };
    for command in [
        "IDENTIFY_SYSTEM",
        "SHOW wal_segment_size",
        "SELECT pg_catalog.set_config('search_path', '', false);",
        "CREATE_REPLICATION_SLOT kept TEMPORARY PHYSICAL",
        read_slot,
        "DROP_REPLICATION_SLOT kept",
        "BEGIN READ ONLY ISOLATION LEVEL REPEATABLE READ",
        "COMMIT",
    ] {
        let reply = walsender.query(command);
        assert_eq!(reply.error(), None, "{command}: {reply:?}");
        assert_eq!(house.look(&mut reader, READ).1, Served::Hit, "{command}");
    }
}

#[test]
fn a_replication_client_that_vanishes_at_its_write_leaves_no_stale_answer() {
    let postgres = server();
    postgres.psql("ALTER ROLE app REPLICATION");
    let house = House::on(&postgres, SCHEMA, |_| {});
    let mut reader = house.via();
    reader.query(READ);
    assert_eq!(house.look(&mut reader, READ).1, Served::Hit);
    let mut blocker = house.direct();
    blocker.query("BEGIN; LOCK TABLE other IN ACCESS EXCLUSIVE MODE");
    let mut walsender = house.via_as("app", &[("replication", "database")]);
    walsender.send(&super::wire::query(
        "BEGIN; UPDATE t SET b = 99; COMMIT; SELECT count(*) FROM other",
    ));
    crate::fixture::eventually("the write is committed, and not answered", || {
        house.direct().query(READ).text() == "99"
    });
    assert_eq!(reader.query(READ).text(), "99");
    drop(walsender);
    assert_eq!(reader.query(READ).text(), "99");
    blocker.query("ROLLBACK");
    house.serves();
    assert_eq!(reader.query(READ).text(), "99");
}
