//! A commit that waits until the work is done, and a client that does not notice.

use super::House;
use super::wire::{Batch, Wire, query};
use crate::fixture::eventually;

const SCHEMA: &str = "
    CREATE TABLE t (id int PRIMARY KEY, x int); INSERT INTO t SELECT g, g FROM generate_series(1, 5) g;
    CREATE TABLE other (id int PRIMARY KEY, x int); INSERT INTO other SELECT g, g FROM generate_series(1, 5) g;
    CREATE TABLE none (id int);
    CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1);
    CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED); INSERT INTO child VALUES (1);
    CREATE TABLE loud (id int); INSERT INTO loud VALUES (1);
    CREATE FUNCTION say() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN RAISE NOTICE '% %', TG_NAME, TG_OP; RETURN NULL; END$$;
    CREATE TRIGGER now AFTER UPDATE ON loud FOR EACH ROW EXECUTE FUNCTION say();
    CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON loud DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION say();
    CREATE FUNCTION run(sql text) RETURNS text LANGUAGE plpgsql AS
        $$DECLARE said text; BEGIN EXECUTE sql INTO said; RETURN said; END$$;
    CREATE FUNCTION done(sql text) RETURNS void LANGUAGE plpgsql AS $$BEGIN EXECUTE sql; END$$;
";
const ALL: &str = "SELECT count(*), sum(x) FROM t";
const OTHER: &str = "SELECT count(*), sum(x) FROM other";
const WHOLE: &str = "UPDATE t SET x = x + 1";

fn held(house: &House<'_>, result: &str) -> f64 {
    let metrics = house.pgditto.metrics();
    metrics.sum("pgditto_held_commits_total", &[("result", result)])
}

#[test]
fn what_the_client_is_told_is_what_the_server_says() {
    // However fast it is.
    let house = House::with(SCHEMA, |options| {
        options.set("cache.hold_commits_from", "1us");
    });
    let mut pair = house.pair();
    for (sql, is_held) in [
        ("UPDATE t SET x = x + 1", true),
        ("UPDATE t SET x = x WHERE x > 0 RETURNING id, 'row'", true),
        ("DELETE FROM t WHERE x < 0", true),
        ("TRUNCATE none", true),
        (
            "EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) UPDATE t SET x = x",
            true,
        ),
        // It fails at once, or at its commit, or says something there.
        ("UPDATE t SET x = x / 0", true),
        ("UPDATE t SET nothing = 1", true),
        ("DELETE FROM parent", true),
        ("UPDATE loud SET id = id", true),
        // Code of which nobody knows what it does.
        ("SELECT run('SELECT max(id)::text FROM t')", true),
        ("SELECT run('SELECT 1 / 0')", true),
        ("SELECT done('UPDATE t SET x = x + 1')", true),
        ("SELECT done('DELETE FROM parent')", true),
        ("SELECT done('UPDATE loud SET id = id')", true),
        (
            "SELECT run('SELECT set_config(''TimeZone'', ''Asia/Tokyo'', false)')",
            true,
        ),
        (
            "SELECT run('SELECT set_config(''TimeZone'', ''UTC'', false)')",
            true,
        ),
        ("UPDATE t SET x = x + 1; SELECT 1", false),
        ("UPDATE t SET x = x + 1 WHERE id = 1", false),
        ("SELECT count(*) FROM none", false),
    ] {
        for frames in [query(sql), Batch::whole(sql, &[]).0] {
            // So that there is a picture, and something to keep.
            pair.becomes_hit(OTHER);
            let before = held(&house, "written") + held(&house, "nothing_written");
            let ask = |wire: &mut Wire| {
                wire.send(&frames);
                wire.reply().expect("an answer")
            };
            let told = ask(&mut pair.via);
            assert_eq!(told, ask(&mut pair.direct), "{sql}");
            house.before.take();
            let after = held(&house, "written") + held(&house, "nothing_written");
            // A statement that fails before its end is never held to its end.
            if told.error().is_none() {
                assert_eq!(after > before, is_held, "{sql}");
            }
            pair.look(ALL);
            assert_eq!(
                pair.via.query("SHOW TimeZone"),
                pair.direct.query("SHOW TimeZone")
            );
        }
    }
}

#[test]
fn what_has_written_nothing_makes_nothing_stale_and_what_has_does() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    for read in [ALL, OTHER] {
        pair.becomes_hit(read);
    }
    for _ in 0..3 {
        pair.write("SELECT run('SELECT count(*)::text FROM t')");
        for read in [ALL, OTHER] {
            pair.hit(read);
        }
    }
    assert_eq!(held(&house, "nothing_written"), 3.0);
    pair.invalidates(ALL, "SELECT done('UPDATE t SET x = x + 1')");
    assert_eq!(held(&house, "written"), 1.0);
}

/// The server has one unnamed statement, and asking it something takes it.
#[test]
fn the_unnamed_statement_is_still_the_clients() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    pair.becomes_hit(OTHER);
    let mut first = Batch::default();
    first
        .parse("", "SELECT run($1)", &[25])
        .bind("", "", &[], &[Some(b"SELECT 'one'")], &[])
        .execute("", 0)
        .sync();
    let mut again = Batch::default();
    again
        .bind("", "", &[], &[Some(b"SELECT 'two'")], &[])
        .execute("", 0)
        .sync();
    for batch in [&first, &again, &again] {
        assert_eq!(pair.via.batch(batch), pair.direct.batch(batch));
    }
    assert!(held(&house, "nothing_written") >= 3.0);
}

#[test]
fn work_that_is_cancelled_or_killed_has_changed_nothing_and_takes_nothing_along() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let mut holder = house.direct();
    for (end, code) in [("cancel", "57014"), ("terminate", "57P01")] {
        for frames in [query(WHOLE), Batch::whole(WHOLE, &[]).0] {
            pair.becomes_hit(ALL);
            holder.query("BEGIN; SELECT FROM t WHERE id = 1 FOR UPDATE");
            let mut slow = house.via();
            slow.send(&frames);
            let pid = house.waiter();
            house.superuser(&format!("SELECT pg_{end}_backend({pid})"));
            let reply = slow.reply();
            if let Some(reply) = reply {
                assert_eq!(reply.error().as_deref(), Some(code), "{end}");
            }
            holder.query("ROLLBACK");
            house.before.take();
            pair.hit(ALL);
        }
    }
}

#[test]
fn work_whose_client_has_gone_is_committed_all_the_same() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let mut holder = house.direct();
    pair.becomes_hit(ALL);
    let before = pair.direct.query(ALL);
    holder.query("BEGIN; SELECT FROM t WHERE id = 1 FOR UPDATE");
    let mut slow = house.via();
    slow.send(&query(WHOLE));
    house.waiter();
    drop(slow);
    house.before.take();
    pair.hit(ALL);
    holder.query("ROLLBACK");
    eventually("it is committed", || pair.direct.query(ALL) != before);
    house.before.take();
    eventually("it is known", || pair.via.query(ALL) != before);
    house.before.take();
    pair.becomes_hit(ALL);
}
