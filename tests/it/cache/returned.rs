//! A write whose text leaves open which keys it changes, and whose rows tell: the answers of other keys stay. Whatever
//! makes its rows tell less than all, or something else, makes it touch every key.

use super::keyed::{batch, becomes_hit, write_batch};
use super::wire::Batch;
use super::{House, Pair, Served};

const SCHEMA: &str = "
    CREATE TABLE orders (id serial PRIMARY KEY, tenant int, code varchar(3), mark uuid, v int DEFAULT 0);
    INSERT INTO orders (tenant, code, mark)
        SELECT g % 3, 'c' || g % 3, ('00000000-0000-0000-0000-00000000000' || g)::uuid FROM generate_series(1, 9) g;
    CREATE TABLE lines (orders int, n int);
    INSERT INTO lines SELECT g, g FROM generate_series(1, 9) g;
";

const ONE: &str = "SELECT * FROM orders WHERE id = 1";
const ALL: &str = "SELECT count(*), sum(v) FROM orders";

fn of_id(id: i64) -> String {
    format!("SELECT * FROM orders WHERE id = {id}")
}

fn of_tenant(tenant: i64) -> String {
    format!("SELECT count(*), sum(v) FROM orders WHERE tenant = {tenant}")
}

/// What the sequence gives next.
fn next(pair: &mut Pair<'_>) -> i64 {
    let last = pair.direct.query("SELECT last_value FROM orders_id_seq");
    last.text().parse::<i64>().expect("a number") + 1
}

/// `write` changes what `changed` and a read of all rows answer, and leaves the answer of `other` valid.
fn changes_only(
    pair: &mut Pair<'_>,
    changed: &str,
    other: &str,
    write: impl FnOnce(&mut Pair<'_>),
    what: &str,
) {
    for read in [changed, other, ALL] {
        pair.becomes_hit(read);
    }
    let before = pair.direct.query(changed);
    write(pair);
    pair.house.before.take();
    assert_ne!(
        before,
        pair.direct.query(changed),
        "the test changes nothing: {what}"
    );
    assert_eq!(pair.look(other), Served::Hit, "{what}");
    pair.asked(changed);
    pair.asked(ALL);
}

fn written(sql: &str) -> impl FnOnce(&mut Pair<'_>) {
    move |pair| drop(pair.write(sql))
}

#[test]
fn an_insert_that_returns_its_key_leaves_the_answers_of_other_keys_valid() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    for sql in [
        "INSERT INTO orders (tenant, v) VALUES (1, 5) RETURNING id",
        "INSERT INTO orders (tenant, v) VALUES (1, 5) RETURNING *",
        "INSERT INTO orders (tenant, v) VALUES (1, 5) RETURNING v + 1, id AS number",
        "INSERT INTO public.orders AS o (tenant, v) VALUES (1, 5) RETURNING \"o\".ID, o.*",
        "INSERT INTO orders (tenant, v) VALUES (1, 5) RETURNING (orders.id)",
        "INSERT INTO orders (tenant, v) VALUES (1, 5), (2, 6), (1, 7) RETURNING id, tenant",
        "INSERT INTO orders (tenant, v) VALUES (1, 5) ON CONFLICT DO NOTHING RETURNING id",
        "INSERT INTO orders VALUES (DEFAULT, 1, 'x', NULL) RETURNING id",
    ] {
        let changed = of_id(next(&mut pair));
        changes_only(&mut pair, &changed, ONE, written(sql), sql);
    }
    // By a key that a constant tells, and by two together.
    let other = "SELECT count(*) FROM orders WHERE tenant = 0";
    pair.becomes_hit(other);
    pair.write("INSERT INTO orders (tenant) VALUES (1) RETURNING id");
    pair.hit(other);
}

#[test]
fn an_insert_of_the_extended_protocol_returns_its_key_in_text_and_binary() {
    const INSERT: &str = "INSERT INTO orders (tenant, v) VALUES ($1, 5) RETURNING v, id, mark";
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    for formats in [&[][..], &[0], &[1], &[0, 1, 0], &[1, 0, 1]] {
        let changed = of_id(next(&mut pair));
        let mut insert = Batch::default();
        insert
            .parse("", INSERT, &[])
            .bind("", "", &[], &[Some(b"1")], formats);
        insert.describe(b'P', "").execute("", 0).sync();
        let write = |pair: &mut Pair<'_>| write_batch(pair, &insert);
        changes_only(&mut pair, &changed, ONE, write, &format!("{formats:?}"));
    }
    // Prepared once, in one unit with others, and with a row limit that is not reached.
    let mut prepare = Batch::default();
    prepare.parse("i", INSERT, &[23]).sync();
    write_batch(&mut pair, &prepare);
    for max_rows in [0, 0, 2] {
        let changed = of_id(next(&mut pair) + 1);
        let mut insert = Batch::default();
        for tenant in [&b"1"[..], b"2"] {
            insert.bind("", "i", &[], &[Some(tenant)], &[]);
            insert.execute("", max_rows);
        }
        insert.sync();
        let write = |pair: &mut Pair<'_>| write_batch(pair, &insert);
        changes_only(&mut pair, &changed, ONE, write, "a pipeline");
    }
}

#[test]
fn a_change_by_key_that_returns_the_tenant_leaves_other_tenants_valid() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    for sql in [
        "UPDATE orders SET v = v + 1 WHERE id = 1 RETURNING tenant",
        "UPDATE orders AS o SET v = v + 1 WHERE o.id = 1 RETURNING o.*",
        "UPDATE orders SET v = v + 1 WHERE v >= 0 AND id IN (1, 4) RETURNING v, tenant",
        "UPDATE orders o SET v = o.v + 1 FROM lines WHERE o.id = orders AND n = 1 RETURNING n, o.tenant",
        "UPDATE orders SET v = v + 1 WHERE id = 1 RETURNING *",
        "DELETE FROM orders WHERE id = 1 RETURNING id, tenant",
        "DELETE FROM orders o USING lines WHERE o.id = orders AND n = 4 RETURNING tenant",
    ] {
        changes_only(&mut pair, &of_tenant(1), &of_tenant(2), written(sql), sql);
    }
    let of_code = |code| format!("SELECT sum(v) FROM orders WHERE code = '{code}'");
    let sql = "UPDATE orders SET v = v + 1 WHERE id = 7 RETURNING code";
    changes_only(&mut pair, &of_code("c1"), &of_code("c2"), written(sql), sql);
    let of_mark =
        |n| format!("SELECT v FROM orders WHERE mark = '00000000-0000-0000-0000-00000000000{n}'");
    let sql = "UPDATE orders SET v = v + 1 WHERE id = 7 RETURNING mark";
    changes_only(&mut pair, &of_mark(7), &of_mark(8), written(sql), sql);
    let update = batch(
        "UPDATE orders SET v = v + 1 WHERE id = $1 RETURNING tenant",
        &[],
        &[],
        &[Some(b"7")],
    );
    let write = |pair: &mut Pair<'_>| write_batch(pair, &update);
    changes_only(&mut pair, &of_tenant(1), &of_tenant(2), write, "extended");
}

#[test]
fn what_a_transaction_learned_holds_until_its_commit() {
    const INSERT: &str = "INSERT INTO orders (tenant) VALUES (1) RETURNING id";
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    for script in [
        &["BEGIN", INSERT, "COMMIT"][..],
        &[
            "BEGIN",
            INSERT,
            "UPDATE orders SET v = 3 WHERE id = 5 RETURNING tenant",
            "COMMIT AND CHAIN",
            "COMMIT",
        ],
        &["BEGIN", "SAVEPOINT s", INSERT, "RELEASE s", "COMMIT"],
        &[
            "BEGIN",
            "SAVEPOINT s",
            INSERT,
            "SAVEPOINT z",
            "UPDATE orders SET v = 9 WHERE id = 2 RETURNING tenant",
            "ROLLBACK TO z",
            "COMMIT",
        ],
    ] {
        let changed = of_id(next(&mut pair));
        let write = |pair: &mut Pair<'_>| script.iter().for_each(|sql| drop(pair.write(sql)));
        changes_only(&mut pair, &changed, ONE, write, &script.join("; "));
    }
    // One that was rolled back has changed nothing, though it was told its key.
    let (one, all) = (of_id(next(&mut pair)), of_tenant(1));
    pair.becomes_hit(&one);
    pair.becomes_hit(&all);
    for sql in ["BEGIN", INSERT, "ROLLBACK"] {
        pair.write(sql);
    }
    pair.hit(&one);
    pair.hit(&all);
    // A pipeline that commits in its middle, and one that an error ends.
    let mut committed = Batch::default();
    let mut failed = Batch::default();
    for sql in ["BEGIN", INSERT, "COMMIT"] {
        committed.parse("", sql, &[]).bind("", "", &[], &[], &[]);
        committed.execute("", 0);
    }
    for sql in [INSERT, "SELECT 1 / (v - v) FROM orders"] {
        failed.parse("", sql, &[]).bind("", "", &[], &[], &[]);
        failed.execute("", 0);
    }
    let changed = of_id(next(&mut pair));
    let write = |pair: &mut Pair<'_>| write_batch(pair, committed.sync());
    changes_only(&mut pair, &changed, ONE, write, "a pipeline");
    pair.becomes_hit(ONE);
    pair.via.batch(failed.sync());
    pair.house.before.take();
    pair.hit(ONE);
}

#[test]
fn a_change_of_no_row_leaves_all_answers_valid() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    for sql in [
        "UPDATE orders SET v = 1 WHERE id = 1000 RETURNING tenant",
        "UPDATE orders SET v = 1 WHERE id = 1 AND v = 77 RETURNING tenant",
        "DELETE FROM orders WHERE v = 77 RETURNING id",
        "INSERT INTO orders (id, v) VALUES (1, 5) ON CONFLICT DO NOTHING RETURNING tenant",
    ] {
        for read in [ONE, ALL] {
            pair.leaves_alone(read, sql);
        }
    }
}

#[test]
fn rows_that_tell_less_than_all_leave_no_answer_valid() {
    let house = House::new(
        "CREATE TABLE t (id serial PRIMARY KEY, tenant int, v int DEFAULT 0, code text, \"user\" text, \"current_role\" text);
         INSERT INTO t (tenant, code, \"user\", \"current_role\")
             SELECT nullif(g % 3, 2), 'ä' || g % 3, 'u' || g % 3, 'r' || g % 3 FROM generate_series(1, 40) g;
         CREATE FUNCTION turn() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.id := NEW.id + 100; RETURN NEW; END$$;
         CREATE TABLE turned (id serial, x int);
         CREATE TRIGGER turn BEFORE INSERT ON turned FOR EACH ROW EXECUTE FUNCTION turn();
         CREATE TABLE part (id serial, at int) PARTITION BY RANGE (at);
         CREATE TABLE low PARTITION OF part FOR VALUES FROM (0) TO (10);
         CREATE TABLE ruled (id serial, x int);
         CREATE RULE twice AS ON INSERT TO ruled DO ALSO INSERT INTO t (id) VALUES (1000);
         CREATE TABLE seen (id serial PRIMARY KEY, n int);
         CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN UPDATE seen SET n = 1 WHERE id = 1; RETURN NULL; END$$;
         INSERT INTO seen (n) VALUES (0), (0);
         CREATE TRIGGER tell AFTER INSERT ON seen FOR EACH ROW EXECUTE FUNCTION tell();",
    );
    let mut pair = house.pair();
    let tenant = |n: i32| format!("SELECT count(*), sum(v) FROM t WHERE tenant = {n}");
    for (read, write) in [
        // The tenant that it was is not returned.
        (
            tenant(1),
            "UPDATE t SET tenant = tenant + 5 WHERE id = 1 RETURNING tenant",
        ),
        (
            tenant(1),
            "UPDATE t SET (tenant, v) = (SELECT 6, 1) WHERE id = 4 RETURNING *",
        ),
        (
            tenant(1),
            "INSERT INTO t (id, v) VALUES (7, 1) ON CONFLICT (id) DO UPDATE SET tenant = 8 RETURNING tenant",
        ),
        // No column, or another's.
        (
            tenant(1),
            "UPDATE t SET v = v + 1 WHERE id = 10 RETURNING tenant + 1, v AS tenant",
        ),
        (
            tenant(1),
            "UPDATE t SET v = t.v + 1 FROM t o WHERE t.id = 10 AND o.id = 3 RETURNING o.tenant",
        ),
        (
            tenant(1),
            "UPDATE t SET v = t.v + 1 FROM t o WHERE t.id = 10 AND o.id = 3 RETURNING o.*, t.*",
        ),
        (
            "SELECT sum(v) FROM t WHERE \"user\" = 'u1'".into(),
            "UPDATE t SET v = v + 1 WHERE id = 10 RETURNING user",
        ),
        (
            "SELECT sum(v) FROM t WHERE \"current_role\" = 'r1'".into(),
            "UPDATE t SET v = v + 1 WHERE id = 10 RETURNING current_role",
        ),
        // Too many rows, and one without a tenant beside one that has it.
        (tenant(1), "UPDATE t SET v = v + 1 RETURNING id, tenant"),
        (
            "SELECT v FROM t WHERE id = 13".into(),
            "UPDATE t SET v = v + 1 RETURNING id",
        ),
        (
            tenant(1),
            "UPDATE t SET v = v + 1 WHERE id IN (13, 2) RETURNING tenant",
        ),
        (
            "SELECT count(*) FROM turned WHERE id = 101".into(),
            "INSERT INTO turned (x) VALUES (1) RETURNING id",
        ),
        (
            "SELECT count(*) FROM part WHERE id = 1".into(),
            "INSERT INTO part (at) VALUES (1) RETURNING id",
        ),
        (
            "SELECT count(*) FROM low WHERE id = 2".into(),
            "INSERT INTO part (at) VALUES (1) RETURNING id",
        ),
        (
            "SELECT count(*) FROM t WHERE id = 1000".into(),
            "INSERT INTO ruled (x) VALUES (1) RETURNING id",
        ),
        (
            "SELECT n FROM seen WHERE id = 1".into(),
            "INSERT INTO seen (n) VALUES (7) RETURNING id",
        ),
        (
            tenant(1),
            "WITH w AS (UPDATE t SET v = v + 1 WHERE id = 16 RETURNING 0 AS tenant) SELECT tenant FROM w",
        ),
        (
            tenant(1),
            "EXPLAIN ANALYZE UPDATE t SET v = v + 1 WHERE id = 16 RETURNING tenant",
        ),
    ] {
        pair.invalidates(&read, write);
    }
    // Text in another encoding than ours.
    let read = "SELECT sum(v) FROM t WHERE code = 'ä1'";
    for set in [
        "SET client_encoding = 'LATIN1'",
        "SET client_encoding = 'UTF8'",
    ] {
        pair.invalidates_by(
            read,
            |pair| {
                let mut other = pair.house.via();
                other.query(set);
                let reply = other.query("UPDATE t SET v = v + 1 WHERE id = 16 RETURNING code");
                assert_eq!(reply.error(), None, "{reply:?}");
            },
            set,
        );
    }
}

/// Rows that come in parts, that an error cuts off, or that are not asked for at all.
#[test]
fn rows_that_do_not_all_come_leave_no_answer_valid() {
    const UPDATE: &str =
        "UPDATE orders SET v = v + 1 WHERE v >= 0 AND id IN (1, 2) RETURNING tenant";
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let in_parts = |executes: &[u32]| {
        let mut batch = Batch::default();
        batch.parse("", UPDATE, &[]).bind("p", "", &[], &[], &[]);
        executes.iter().for_each(|max_rows| {
            batch.execute("p", *max_rows);
        });
        batch.sync();
        batch
    };
    for executes in [&[1][..], &[1, 0], &[2, 0], &[1, 1, 1], &[0, 0]] {
        for tenant in [1, 2] {
            let batch = in_parts(executes);
            let write = |pair: &mut Pair<'_>| drop(pair.via.batch(&batch));
            pair.invalidates_by(&of_tenant(tenant), write, &format!("{executes:?}"));
        }
    }
    // Its first part came, and then the transaction ended without the rest.
    pair.invalidates_by(
        &of_tenant(2),
        |pair| {
            pair.write("BEGIN");
            pair.via.batch(&in_parts(&[1]));
            pair.write("COMMIT");
        },
        "a suspended portal",
    );
    // A savepoint behind it is rolled back, and what was before has happened.
    pair.invalidates_by(
        &of_tenant(1),
        |pair| {
            pair.write("BEGIN");
            pair.via.batch(&in_parts(&[1]));
            pair.write("SAVEPOINT s");
            let failed = pair.via.query(
                "UPDATE orders SET v = v + 1 WHERE id = 3 RETURNING tenant, 1 / (tenant - tenant)",
            );
            assert!(failed.error().is_some());
            pair.write("ROLLBACK TO s");
            pair.write("COMMIT");
        },
        "an error behind a suspended portal",
    );
    // A row that is longer than what is looked at.
    let long = "UPDATE orders SET v = v + 1 WHERE id = 2 RETURNING tenant, repeat('x', 100000)";
    pair.invalidates(&of_tenant(2), long);
}

#[test]
fn a_reader_beside_the_commit_is_never_told_the_past() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let read = batch(
        "SELECT count(*) FROM orders WHERE tenant = $1",
        &[],
        &[],
        &[Some(b"1")],
    );
    becomes_hit(&mut pair, &read);
    pair.write("BEGIN");
    pair.write("INSERT INTO orders (tenant) VALUES (1) RETURNING tenant, id");
    // Not visible yet, and so not void.
    let mut reader = house.via();
    assert_eq!(house.look_batch(&mut reader, &read).1, Served::Hit);
    pair.write("COMMIT");
    assert_eq!(house.look_batch(&mut reader, &read).1, Served::Miss);
}

#[test]
fn writes_whose_rows_tell_their_keys_are_counted() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let count = |result| {
        let labels = [("result", result), ("asked_by", "client")];
        house
            .pgditto
            .metrics()
            .sum("pgditto_returned_keys_total", &labels)
    };
    pair.becomes_hit(ONE);
    for sql in [
        "INSERT INTO orders (tenant) VALUES (1) RETURNING id",
        "UPDATE orders SET v = 1 WHERE id = 1000 RETURNING tenant",
        "UPDATE orders SET v = v + 1 WHERE id IN (1, 2) RETURNING nullif(tenant, 1), tenant",
        // These have nothing to tell.
        "UPDATE orders SET v = 1 WHERE id = 1 RETURNING id",
        "UPDATE orders SET v = 1 WHERE id = 1",
    ] {
        pair.write(sql);
    }
    assert_eq!((count("known"), count("unknown")), (3.0, 0.0));
    let failed = pair
        .via
        .query("INSERT INTO orders (tenant) VALUES (1) RETURNING id, 1 / (v - v)");
    assert!(failed.error().is_some());
    pair.write("INSERT INTO orders (tenant) SELECT NULL RETURNING tenant");
    pair.write("INSERT INTO orders (v) VALUES (DEFAULT) RETURNING tenant");
    assert_eq!((count("known"), count("unknown")), (3.0, 2.0));
}

/// A portal of the protocol has a name that SQL finds.
#[test]
fn a_write_that_fetch_runs_is_seen() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    for run in ["FETCH ALL FROM p", "MOVE 1 FROM p"] {
        pair.invalidates_by(
            &of_tenant(1),
            |pair| {
                pair.write("BEGIN");
                let mut bind = Batch::default();
                bind.parse(
                    "",
                    "UPDATE orders SET v = v + 1 WHERE id = 1 RETURNING tenant",
                    &[],
                );
                bind.bind("p", "", &[], &[], &[]).flush().sync();
                pair.via.batch(&bind);
                pair.write(run);
                pair.write("COMMIT");
            },
            run,
        );
    }
}
