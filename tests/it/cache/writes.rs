//! Every statement that writes, in every form in which clients send it, is known to the next read.

use super::wire::{Batch, query};
use super::{House, Served};

const SCHEMA: &str = "
    CREATE TABLE stock (id int PRIMARY KEY, amount int DEFAULT 0);
    INSERT INTO stock SELECT g, 10 FROM generate_series(1, 5) g;
    CREATE TABLE log (at serial, what text);
    CREATE TABLE apart (id int); INSERT INTO apart VALUES (1);
";
const READ: &str = "SELECT count(*), sum(amount), max(id) FROM stock";
const LOG: &str = "SELECT count(*) FROM log";

#[test]
fn data_modifying_statements() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    for write in [
        "INSERT INTO stock VALUES (6, 1)",
        "INSERT INTO stock (id) SELECT 7",
        "insert into public.stock as s values (7, 2) on conflict (id) do update set amount = s.amount + excluded.amount",
        "INSERT INTO stock VALUES (8, 8) ON CONFLICT DO NOTHING",
        "UPDATE stock SET amount = amount + 1 WHERE id = 1",
        "UPDATE stock SET amount = amount + 1 RETURNING id",
        "UPDATE ONLY stock SET amount = a.id * 7 FROM apart a WHERE stock.id = 1",
        "DELETE FROM stock WHERE id = 8",
        "DELETE FROM stock USING apart WHERE stock.id = apart.id RETURNING *",
        "WITH moved AS (DELETE FROM stock WHERE id = 3 RETURNING *) INSERT INTO log (what) SELECT 'moved' FROM moved",
        "WITH more AS (UPDATE stock SET amount = amount + 1 RETURNING id) SELECT count(*) FROM more",
        "WITH a AS (WITH b AS (SELECT 1) SELECT * FROM b), c AS (INSERT INTO stock VALUES (30, 1) RETURNING id) SELECT * FROM a, c",
        "EXPLAIN ANALYZE UPDATE stock SET amount = amount + 1",
        "EXPLAIN (ANALYZE true, FORMAT json) DELETE FROM stock WHERE id = 30",
        "/* a comment; */ UPDATE stock SET amount = amount + 1 -- WHERE false",
        "TRUNCATE stock",
    ] {
        pair.invalidates(READ, write);
    }
}

#[test]
fn a_write_to_another_table_leaves_answers_valid() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    for write in [
        "INSERT INTO apart VALUES (2)",
        "DELETE FROM apart WHERE id = 2",
        "INSERT INTO log (what) SELECT 'x' FROM stock",
        "EXPLAIN UPDATE stock SET amount = 0",
        "SELECT nextval('log_at_seq')",
        "SELECT pg_sleep(0)",
        "SELECT set_config('app.x', '1', false)",
        "CREATE INDEX ON apart (id)",
        "ANALYZE",
        "VACUUM stock",
        "COMMENT ON TABLE stock IS 'x'",
    ] {
        pair.leaves_alone(READ, write);
    }
}

#[test]
fn merge_writes() {
    const MERGE: &str = "MERGE INTO stock s USING (VALUES (1, 5), (2, 5)) v(id, n) ON s.id = v.id \
         WHEN MATCHED THEN UPDATE SET amount = s.amount + n WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.n)";
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    pair.invalidates(READ, MERGE);
    pair.invalidates(READ, &format!("WITH w AS (SELECT 1) {MERGE}"));
    // What RETURNING has can be asked of since PostgreSQL 17; before, the server refuses it.
    let within = format!("WITH w AS ({MERGE} RETURNING s.id) SELECT count(*) FROM w");
    if house.postgres.major() >= 17 {
        pair.invalidates(READ, &within);
        pair.invalidates(READ, &format!("EXPLAIN ANALYZE {within}"));
    } else {
        assert_eq!(pair.via.query(&within).error().as_deref(), Some("42601"));
    }
}

#[test]
fn writes_in_strings_of_several_statements() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    for write in [
        "SELECT 1; UPDATE stock SET amount = amount + 1; SELECT 2",
        "UPDATE stock SET amount = amount + 1; INSERT INTO log (what) VALUES ('a')",
        "BEGIN; UPDATE stock SET amount = amount + 1; COMMIT",
        "BEGIN; UPDATE stock SET amount = amount + 1; COMMIT; BEGIN; SELECT 1; ROLLBACK",
        "UPDATE stock SET amount = amount + 1; COMMIT; SELECT 1",
        "BEGIN; UPDATE stock SET amount = amount + 1; END; SELECT 1",
    ] {
        pair.invalidates(READ, write);
    }
    // A part has happened, although the string fails.
    for write in [
        "BEGIN; UPDATE stock SET amount = amount + 1; COMMIT; SELECT 1 / 0",
        "UPDATE stock SET amount = amount + 1; COMMIT; SELECT 1 / 0",
        "BEGIN; UPDATE stock SET amount = amount + 1; COMMIT AND CHAIN; SELECT nothing",
    ] {
        let failing = |pair: &mut super::Pair<'_>| {
            assert!(pair.via.query(write).error().is_some(), "{write}");
            pair.via.query("ROLLBACK");
        };
        pair.invalidates_by(READ, failing, write);
    }
    // Nothing has happened: what fails as a whole is taken back as a whole.
    pair.becomes_hit(READ);
    assert!(
        pair.via
            .query("UPDATE stock SET amount = 0; SELECT 1 / 0")
            .error()
            .is_some()
    );
    house.before.take();
    pair.look(READ);
    // An implicit transaction that becomes an explicit one.
    pair.becomes_hit(READ);
    let mut other = house.pair();
    let begun = pair.write("UPDATE stock SET amount = amount + 1; BEGIN");
    assert_eq!(begun.status, 'T');
    other.becomes_hit(READ);
    let before = other.direct.query(READ);
    pair.write("COMMIT");
    assert_ne!(other.direct.query(READ), before, "it was still to come");
    assert_ne!(other.look(READ), Served::Hit);
}

#[test]
fn writes_in_the_extended_protocol() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let send = |batch: Batch| {
        move |pair: &mut super::Pair<'_>| {
            let reply = pair.via.batch(&batch);
            assert_eq!(reply.error(), None, "{reply:?}");
        }
    };
    let insert = Batch::whole(
        "INSERT INTO stock VALUES ($1, $2)",
        &[Some(b"6"), Some(b"1")],
    );
    pair.invalidates_by(READ, send(insert), "unnamed");
    let mut prepare = Batch::default();
    prepare
        .parse("w", "UPDATE stock SET amount = amount + $1", &[23])
        .describe(b'S', "w")
        .sync();
    assert_eq!(pair.via.batch(&prepare).error(), None);
    house.before.take();
    for _ in 0..3 {
        let mut run = Batch::default();
        run.bind("", "w", &[], &[Some(b"2")], &[])
            .execute("", 0)
            .sync();
        pair.invalidates_by(READ, send(run), "named");
    }
    let mut flushed = Batch::default();
    flushed
        .bind("", "w", &[], &[Some(b"2")], &[])
        .execute("", 0)
        .flush()
        .sync();
    pair.invalidates_by(
        READ,
        |pair| {
            pair.via.send(&flushed.0);
            pair.via.reply();
        },
        "flushed",
    );
    // Two writes and a read between them, in one batch.
    let mut pipeline = Batch::default();
    pipeline
        .bind("", "w", &[], &[Some(b"2")], &[])
        .execute("", 0);
    pipeline
        .parse("", READ, &[])
        .bind("", "", &[], &[], &[])
        .execute("", 0);
    pipeline
        .bind("", "w", &[], &[Some(b"3")], &[])
        .execute("", 0)
        .sync();
    pair.invalidates_by(READ, send(pipeline), "pipeline");
    // A batch of which a part failed is taken back.
    pair.becomes_hit(READ);
    let mut failing = Batch::default();
    failing
        .bind("", "w", &[], &[Some(b"2")], &[])
        .execute("", 0);
    failing
        .parse("", "SELECT 1 / 0", &[])
        .bind("", "", &[], &[], &[])
        .execute("", 0)
        .sync();
    assert!(pair.via.batch(&failing).error().is_some());
    house.before.take();
    pair.look(READ);
    // A Query after unsynced messages commits them, too; from PostgreSQL 18 on it leaves their transaction open.
    let mut unsynced = Batch::default();
    unsynced
        .bind("", "w", &[], &[Some(b"2")], &[])
        .execute("", 0)
        .query("SELECT 1");
    pair.invalidates_by(
        READ,
        |pair| {
            pair.via.send(&unsynced.0);
            pair.via.reply();
            pair.via.query("COMMIT");
        },
        "unsynced",
    );
}

#[test]
fn a_write_and_a_read_in_one_pipeline_see_each_other() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    pair.becomes_hit(READ);
    let mut bytes = Vec::new();
    for n in 1..=5 {
        bytes.extend(Batch::whole("UPDATE stock SET amount = amount + 1 WHERE id = 1", &[]).0);
        bytes.extend(Batch::whole(READ, &[]).0);
        bytes.extend(query(&format!(
            "UPDATE stock SET amount = amount + {n} WHERE id = 2"
        )));
        bytes.extend(query(READ));
    }
    pair.via.send(&bytes);
    let mut sum = 50;
    for n in 1..=5 {
        assert_eq!(pair.via.reply().expect("updated").error(), None);
        sum += 1;
        assert_eq!(pair.via.reply().expect("read").text(), format!("5|{sum}|5"));
        assert_eq!(pair.via.reply().expect("updated").error(), None);
        sum += n;
        assert_eq!(pair.via.reply().expect("read").text(), format!("5|{sum}|5"));
    }
    // All in one implicit transaction.
    let mut batch = Batch::default();
    batch.parse("r", READ, &[]);
    for _ in 0..3 {
        batch.bind("", "r", &[], &[], &[]).execute("", 0);
        batch.parse("", "UPDATE stock SET amount = amount + 1 WHERE id = 1", &[]);
        batch.bind("", "", &[], &[], &[]).execute("", 0);
    }
    batch.bind("", "r", &[], &[], &[]).execute("", 0).sync();
    let reply = pair.via.batch(&batch);
    let rows = (0..=3)
        .map(|n| format!("5|{}|5", sum + n))
        .collect::<Vec<_>>();
    assert_eq!(reply.text(), rows.join("\n"));
    house.before.take();
    assert_ne!(pair.look(READ), Served::Hit);
}

#[test]
fn copy_in_writes_and_a_copy_that_fails_does_not() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let copy = |id: u32, rest: Batch| {
        move |pair: &mut super::Pair<'_>| {
            let mut start = Batch::default();
            start.query("COPY stock FROM STDIN");
            start.copy_data(&format!("{id}\t1\n"));
            pair.via.send(&start.0);
            pair.via.send(&rest.0);
            pair.via.reply();
        }
    };
    let done = Batch::default().copy_done().clear();
    pair.invalidates_by(READ, copy(100, done), "COPY");
    pair.becomes_hit(READ);
    copy(101, Batch::default().copy_fail().clear())(&mut pair);
    house.before.take();
    pair.look(READ);
    pair.becomes_hit(READ);
    copy(
        102,
        Batch::default()
            .copy_data("nonsense\tx\n")
            .copy_done()
            .clear(),
    )(&mut pair);
    house.before.take();
    pair.look(READ);
    // In the extended protocol, and in a transaction.
    pair.invalidates_by(
        READ,
        |pair| {
            let mut batch = Batch::default();
            batch
                .parse("", "COPY stock FROM STDIN", &[])
                .bind("", "", &[], &[], &[])
                .execute("", 0);
            batch.sync().copy_data("103\t1\n").copy_done().sync();
            pair.via.send(&batch.0);
            let reply = pair.via.reply().expect("copied");
            assert_eq!(reply.error(), None, "{reply:?}");
        },
        "COPY in the extended protocol",
    );
    let mut other = house.pair();
    other.becomes_hit(READ);
    pair.write("BEGIN");
    let mut start = Batch::default();
    start
        .query("COPY stock FROM STDIN")
        .copy_data("104\t1\n")
        .copy_done();
    pair.via.send(&start.0);
    assert_eq!(pair.via.reply().expect("copied").error(), None);
    house.before.take();
    other.hit(READ);
    pair.write("COMMIT");
    assert_ne!(other.look(READ), Served::Hit);
    // A client that leaves in the middle has written nothing.
    other.becomes_hit(READ);
    let mut leaver = house.via();
    let mut start = Batch::default();
    start.query("COPY stock FROM STDIN").copy_data("105\t1\n");
    leaver.send(&start.0);
    drop(leaver);
    house.before.take();
    let truth = other.direct.query(READ);
    assert_eq!(other.via.query(READ).text(), truth.text());
}

#[test]
fn texts_that_become_values_of_a_domain_run_its_check() {
    let house = House::new(
        "CREATE TABLE lim (m int); INSERT INTO lim VALUES (10);
         CREATE TABLE u (n int); INSERT INTO u VALUES (0);
         CREATE FUNCTION within(int) RETURNS bool LANGUAGE sql STABLE AS 'SELECT $1 <= m FROM lim';
         CREATE FUNCTION counted(int) RETURNS bool LANGUAGE plpgsql AS
             'BEGIN UPDATE u SET n = n + 1; RETURN true; END';
         CREATE DOMAIN small AS int CHECK (within(VALUE));
         CREATE DOMAIN noted AS int CHECK (counted(VALUE));
         CREATE TABLE reads (a int, arr small[]); INSERT INTO reads VALUES (1, '{1}');
         CREATE TABLE acts (a int, arr noted[]); INSERT INTO acts VALUES (1, '{1}');
         CREATE VIEW acting AS SELECT * FROM acts",
    );
    let mut pair = house.pair();
    for write in [
        "SELECT a FROM acts WHERE arr = '{1}'",
        "SELECT coalesce(arr, '{5}') FROM acting",
        "SELECT a FROM acts WHERE arr <> $${2}$$",
    ] {
        pair.invalidates("SELECT n FROM u", write);
    }
    pair.never_hits("SELECT a FROM reads WHERE arr = '{1}'");
}

#[test]
fn functions_and_blocks_that_write() {
    let house = House::new(&format!(
        "{SCHEMA}
        CREATE FUNCTION by_sql() RETURNS void LANGUAGE sql AS 'UPDATE stock SET amount = amount + 1';
        CREATE FUNCTION by_plpgsql(n int) RETURNS int LANGUAGE plpgsql AS
            'BEGIN UPDATE stock SET amount = amount + n; RETURN n; END';
        CREATE FUNCTION by_execute(t text) RETURNS void LANGUAGE plpgsql AS
            $$BEGIN EXECUTE 'UPDATE ' || t || ' SET amount = amount + 1'; END$$;
        CREATE FUNCTION innocent() RETURNS int LANGUAGE sql STABLE AS 'SELECT by_plpgsql(1)';
        CREATE FUNCTION by_stable() RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN RETURN by_plpgsql(1); END';
        CREATE PROCEDURE by_call() LANGUAGE plpgsql AS
            'BEGIN UPDATE stock SET amount = amount + 1; COMMIT; UPDATE stock SET amount = amount + 1; ROLLBACK; END';
        CREATE PROCEDURE half_way() LANGUAGE plpgsql AS
            'BEGIN UPDATE stock SET amount = amount + 1; COMMIT; RAISE EXCEPTION ''after that''; END';
        CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql AS 'SELECT by_plpgsql(n)';
        CREATE OPERATOR !!! (RIGHTARG = int, FUNCTION = by_plpgsql);
        CREATE DOMAIN counted AS int CHECK (by_plpgsql(VALUE) = VALUE);
        CREATE TABLE checked (x int CHECK (by_plpgsql(x) > 0), y int DEFAULT by_plpgsql(1));
        CREATE VIEW acting AS SELECT by_plpgsql(1) AS n;
        CREATE AGGREGATE acting_sum(int) (SFUNC = int4pl, STYPE = int, FINALFUNC = by_plpgsql);"
    ));
    let mut pair = house.pair();
    for write in [
        "SELECT by_sql()",
        "SELECT by_plpgsql(2)",
        "SELECT (2).by_plpgsql",
        "SELECT (id).twice FROM apart",
        "SELECT by_execute('stock')",
        "SELECT innocent()",
        "SELECT by_stable()",
        "SELECT * FROM apart WHERE twice(1) = 1",
        "SELECT * FROM twice(1)",
        "VALUES (by_plpgsql(1))",
        "SELECT !!! 1",
        "SELECT 5::counted",
        "INSERT INTO checked (x) VALUES (1)",
        "SELECT * FROM acting",
        "SELECT acting_sum(id) FROM apart",
        "EXPLAIN ANALYZE SELECT by_plpgsql(1)",
        "DO $$BEGIN UPDATE stock SET amount = amount + 1; END$$",
        "DO $$BEGIN EXECUTE 'DELETE FROM stock WHERE id = (SELECT max(id) FROM stock)'; END$$",
        "DO $$BEGIN UPDATE stock SET amount = amount + 1; COMMIT; END$$",
        "CALL by_call()",
        "COPY (SELECT by_plpgsql(1)) TO STDOUT",
        "SELECT query_to_xml('SELECT by_plpgsql(1)', true, true, '')",
        "SELECT apart.by_row FROM (SELECT by_plpgsql(1) AS by_row) apart",
        "UPDATE apart SET id = by_plpgsql(1)",
        "CREATE TABLE made AS SELECT by_plpgsql(1)",
        "SELECT by_plpgsql(1) INTO made2",
        "DECLARE c CURSOR WITH HOLD FOR SELECT by_plpgsql(1)",
    ] {
        pair.invalidates(READ, write);
    }
    let failing = |pair: &mut super::Pair<'_>| {
        assert!(pair.via.query("CALL half_way()").error().is_some());
    };
    pair.invalidates_by(READ, failing, "CALL that fails after its COMMIT");
}

#[test]
fn functions_with_a_standard_body_that_write() {
    let house = House::new(&format!(
        "{SCHEMA}
        CREATE FUNCTION standard() RETURNS void BEGIN ATOMIC UPDATE stock SET amount = amount + 1; END;"
    ));
    house.pair().invalidates(READ, "SELECT standard()");
}

#[test]
fn prepared_in_sql() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    pair.write("PREPARE w(int) AS UPDATE stock SET amount = amount + $1");
    pair.write("PREPARE r AS SELECT count(*), sum(amount) FROM stock");
    let mut other = house.pair();
    for write in [
        "EXECUTE w(1)",
        "execute W (2)",
        "EXPLAIN ANALYZE EXECUTE w(3)",
    ] {
        other.becomes_hit(READ);
        pair.write(write);
        assert_ne!(other.look(READ), Served::Hit, "{write}");
    }
    assert_eq!(
        pair.via.query("EXECUTE r").text(),
        pair.direct
            .query("SELECT count(*), sum(amount) FROM stock")
            .text()
    );
    pair.write("BEGIN");
    pair.write("EXECUTE w(4)");
    house.before.take();
    other.becomes_hit(READ);
    pair.write("COMMIT");
    assert_ne!(other.look(READ), Served::Hit);
}

#[test]
fn two_phase_commit() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let mut other = house.pair();
    let gid = |name: &str| format!("{}-{name}", house.database);
    // Decided by the same session, by another one, and past pgditto.
    for way in 0..3 {
        other.becomes_hit(READ);
        pair.write("BEGIN");
        pair.write("UPDATE stock SET amount = amount + 1");
        pair.write(&format!("PREPARE TRANSACTION '{}'", gid("a")));
        // Prepared: from now on it may commit at any moment.
        assert_ne!(other.look(READ), Served::Hit);
        assert_ne!(other.look(READ), Served::Hit);
        let decision = format!("COMMIT PREPARED '{}'", gid("a"));
        match way {
            0 => drop(pair.write(&decision)),
            1 => drop(other.write(&decision)),
            _ => house.outside(&decision),
        }
        house.before.take();
        assert_ne!(other.look(READ), Served::Hit);
        other.becomes_hit(READ);
    }
    pair.write("BEGIN");
    pair.write("UPDATE stock SET amount = amount + 1");
    pair.write(&format!("PREPARE TRANSACTION '{}'", gid("b")));
    other.look(READ);
    other.write(&format!("ROLLBACK PREPARED '{}'", gid("b")));
    other.becomes_hit(READ);
}

/// What it has written nobody here has seen.
#[test]
fn a_transaction_that_was_prepared_elsewhere_counts_when_it_is_committed_here() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let mut other = house.pair();
    let gid = format!("{}-elsewhere", house.database);
    let prepare =
        |work: &str| house.outside(&format!("BEGIN; {work}; PREPARE TRANSACTION '{gid}'"));
    let commit = format!("COMMIT PREPARED '{gid}'");
    for _ in 0..2 {
        prepare("UPDATE stock SET amount = amount + 1");
        other.becomes_hit(READ);
        pair.write(&commit);
        other.look(READ);
        other.becomes_hit(READ);
    }
    // What is no row counts as well.
    prepare("CREATE RULE more AS ON UPDATE TO stock DO ALSO DELETE FROM apart");
    other.becomes_hit("SELECT count(*) FROM apart");
    pair.write(&commit);
    other.becomes_hit("SELECT count(*) FROM apart");
    pair.write("UPDATE stock SET amount = amount + 1");
    other.look("SELECT count(*) FROM apart");
}

/// What else is in the unit says nothing of the transaction that was prepared in it.
#[test]
fn a_transaction_prepared_in_a_unit_that_goes_on_is_seen_to_its_end() {
    let house = House::new(SCHEMA);
    let mut reader = house.pair();
    let gid = |name: &str| format!("{}-{name}", house.database);
    let change = |id: i32| format!("UPDATE stock SET amount = amount + 1 WHERE id = {id}");
    let read = |id: i32| format!("SELECT amount FROM stock WHERE id = {id}");
    let prepare = |name: &str| format!("PREPARE TRANSACTION '{}'", gid(name));
    for (name, behind) in [
        ("fails", &["SELECT 1 / 0"][..]),
        ("ends", &["BEGIN", "ROLLBACK"]),
        (
            "again",
            &["BEGIN", "UPDATE stock SET amount = amount + 1 WHERE id = 2"],
        ),
    ] {
        for way in ["string", "pipeline"] {
            let gid = gid(name);
            let mut statements = vec!["BEGIN".to_owned(), change(1), prepare(name)];
            statements.extend(behind.iter().map(|sql| (*sql).to_owned()));
            let mut writer = house.via();
            reader.becomes_hit(&read(1));
            if way == "string" {
                writer.query(&statements.join("; "));
            } else {
                let mut batch = Batch::default();
                for sql in &statements {
                    batch.parse("", sql, &[]).bind("", "", &[], &[], &[]);
                    batch.execute("", 0);
                }
                batch.sync();
                writer.batch(&batch);
            }
            if name == "again" {
                let second = gid.clone() + "-2";
                assert_eq!(
                    writer
                        .query(&format!("PREPARE TRANSACTION '{second}'"))
                        .error(),
                    None
                );
                assert_eq!(
                    writer.query(&format!("COMMIT PREPARED '{second}'")).error(),
                    None
                );
            }
            house.before.take();
            // It may be committed at any moment.
            assert_ne!(reader.look(&read(1)), Served::Hit, "{name} {way}");
            assert_ne!(reader.look(&read(1)), Served::Hit, "{name} {way}");
            let decision = format!("COMMIT PREPARED '{gid}'");
            assert_eq!(writer.query(&decision).error(), None, "{name} {way}");
            house.before.take();
            assert_ne!(reader.look(&read(1)), Served::Hit, "{name} {way}");
            reader.becomes_hit(&read(1));
            reader.becomes_hit(&read(2));
        }
    }
}

#[test]
fn cursors_that_write_and_read() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let mut other = house.pair();
    other.becomes_hit(READ);
    pair.write("BEGIN");
    pair.write("DECLARE c CURSOR FOR SELECT id FROM stock ORDER BY id FOR UPDATE");
    pair.write("FETCH c");
    pair.write("UPDATE stock SET amount = 77 WHERE CURRENT OF c");
    house.before.take();
    other.hit(READ);
    pair.write("COMMIT");
    assert_ne!(other.look(READ), Served::Hit);
}

#[test]
fn a_log_beside_the_table_is_written_by_the_same_statement() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let both = "WITH u AS (UPDATE stock SET amount = amount + 1 RETURNING id) INSERT INTO log (what) SELECT 'u' FROM u";
    pair.becomes_hit(LOG);
    pair.invalidates(READ, both);
    pair.becomes_hit(READ);
    pair.invalidates(LOG, both);
}

/// Until the transaction has ended the server tells nobody what path it has.
#[test]
fn a_write_goes_where_the_path_of_its_transaction_leads() {
    let house = House::new(
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0);
         CREATE SCHEMA two; CREATE TABLE two.t (id int PRIMARY KEY, v int); INSERT INTO two.t VALUES (1, 0);
         CREATE FUNCTION moves() RETURNS void LANGUAGE plpgsql AS 'BEGIN SET LOCAL search_path = two; END';
         CREATE FUNCTION moves_by_call() RETURNS void LANGUAGE plpgsql AS
             $$BEGIN PERFORM set_config('search_path', 'two', true); END$$;",
    );
    let mut reader = house.pair();
    let (one, two) = (
        "SELECT v FROM public.t WHERE id = 1",
        "SELECT v FROM two.t WHERE id = 1",
    );
    const WRITE: &str = "UPDATE t SET v = v + 1 WHERE id = 1";
    let read = "SELECT v FROM t WHERE id = 1";
    for (path, writes, goes) in [
        (
            "public",
            &["BEGIN", "SET LOCAL search_path = two", WRITE, "COMMIT"][..],
            two,
        ),
        (
            "two, public",
            &["BEGIN", "SET LOCAL search_path = public", WRITE, "COMMIT"],
            one,
        ),
        (
            "two, public",
            &[
                read,
                "BEGIN",
                read,
                "SET LOCAL search_path = public",
                read,
                WRITE,
                "COMMIT",
            ],
            one,
        ),
        (
            "public",
            &[
                "BEGIN",
                "SELECT set_config('search_path', 'two', true)",
                WRITE,
                "COMMIT",
            ],
            two,
        ),
        (
            "public",
            &["BEGIN", "SET search_path = two", WRITE, "COMMIT"],
            two,
        ),
        (
            "public",
            &["BEGIN; SET LOCAL search_path = two; UPDATE t SET v = v + 1 WHERE id = 1; COMMIT"],
            two,
        ),
        (
            "public",
            &["SET search_path = two; UPDATE t SET v = v + 1 WHERE id = 1"],
            two,
        ),
        (
            "two, public",
            &[
                "BEGIN",
                "SAVEPOINT a",
                "SET search_path = public",
                "RELEASE a",
                WRITE,
                "COMMIT",
            ],
            one,
        ),
        (
            "two, public",
            &[
                "BEGIN",
                "SAVEPOINT a",
                "SET search_path = public",
                "ROLLBACK TO a",
                WRITE,
                "COMMIT",
            ],
            two,
        ),
        (
            "two, public",
            &["BEGIN", "SET LOCAL search_path TO DEFAULT", WRITE, "COMMIT"],
            one,
        ),
        (
            "two, public",
            &["BEGIN", "RESET search_path", WRITE, "COMMIT"],
            one,
        ),
        ("public", &["BEGIN", "SELECT moves()", WRITE, "COMMIT"], two),
        (
            "public",
            &["BEGIN", "SELECT moves_by_call()", WRITE, "COMMIT"],
            two,
        ),
        (
            "public",
            &[
                "BEGIN",
                "DO 'BEGIN SET LOCAL search_path = two; END'",
                WRITE,
                "COMMIT",
            ],
            two,
        ),
        (
            "public",
            &[
                "BEGIN",
                "SET LOCAL search_path = two",
                "DELETE FROM t",
                "INSERT INTO t SELECT 1, (random() * 1e9)::int",
                "COMMIT",
            ],
            two,
        ),
        (
            "public",
            &[
                "BEGIN",
                "SET LOCAL search_path = two",
                "TRUNCATE t",
                "COMMIT",
            ],
            two,
        ),
        ("public", &["INSERT INTO two.t VALUES (1, 0)"], two),
    ] {
        let batch = |statements: &[&str]| {
            let mut pipeline = super::wire::Batch::default();
            for sql in statements {
                pipeline.parse("", sql, &[]).bind("", "", &[], &[], &[]);
                pipeline.execute("", 0);
            }
            pipeline.sync();
            pipeline
        };
        for way in ["one by one", "pipeline"] {
            if way == "pipeline" && (writes.len() < 3 || writes.contains(&"TRUNCATE t")) {
                continue;
            }
            let mut writer = house.via();
            assert_eq!(
                writer.query(&format!("SET search_path = {path}")).error(),
                None
            );
            reader.invalidates_by(
                goes,
                |_| {
                    if way == "pipeline" {
                        assert_eq!(writer.batch(&batch(writes)).error(), None);
                        return;
                    }
                    for sql in writes {
                        let reply = writer.query(sql);
                        assert_eq!(reply.error(), None, "{sql}: {reply:?}");
                    }
                },
                &format!("{writes:?} {way}"),
            );
            house.serves();
        }
    }
    // What such a transaction reads is what its path leads to, too.
    reader.both("SET search_path = public");
    reader.becomes_hit(read);
    for moves in [
        "SELECT moves()",
        "SELECT moves_by_call()",
        "SET LOCAL search_path = two",
    ] {
        reader.write("UPDATE two.t SET v = v + 100");
        reader.becomes_hit(read);
        reader.both("BEGIN");
        reader.both(moves);
        reader.look(read);
        reader.both("COMMIT");
    }
}

/// Of types: their checks and defaults, through other types, operators and operator classes.
#[test]
fn types_that_write_when_their_values_are_made_or_compared() {
    let operators = [("lt", "<"), ("le", "<="), ("eq", "="), ("ge", ">="), ("gt", ">")]
        .map(|(name, sign)| {
            format!(
                "CREATE FUNCTION c{name}(c, c) RETURNS bool LANGUAGE internal IMMUTABLE AS 'record_{name}';
                 CREATE OPERATOR {sign} (leftarg = c, rightarg = c, function = c{name});"
            )
        })
        .concat();
    // Qualified: from PostgreSQL 17 on ANALYZE, CREATE INDEX and their like run code with a path of their own.
    let house = House::new("CREATE TABLE log (n bigint); GRANT ALL ON log TO app");
    house.superuser_seen(&format!(
        "CREATE FUNCTION w(int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.log VALUES ($1); RETURN true; END';
         CREATE DOMAIN d1 AS int CHECK (w(VALUE));
         CREATE DOMAIN d2 AS int CHECK ((VALUE::d1) IS NOT NULL); CREATE TABLE checked (id int PRIMARY KEY, v d2);
         CREATE DOMAIN d3 AS int DEFAULT (7::d1); CREATE TABLE filled (id int, v d3);
         CREATE FUNCTION wi(int, int) RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.log VALUES ($1); RETURN 1; END';
         CREATE OPERATOR @@@ (leftarg = int, rightarg = int, function = wi);
         CREATE DOMAIN d4 AS int DEFAULT (1 @@@ 2); CREATE TABLE by_operator (id int, v d4);
         CREATE FUNCTION icmp(int, int) RETURNS int LANGUAGE plpgsql AS
             'BEGIN INSERT INTO public.log VALUES (1); RETURN btint4cmp($1, $2); END';
         CREATE OPERATOR CLASS iops FOR TYPE int4 USING btree AS FUNCTION 1 icmp(int, int),
             OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >;
         CREATE TYPE spans AS RANGE (subtype = int4, subtype_opclass = iops); CREATE TABLE ranges (id int, v spans);
         CREATE TYPE c AS (a int);
         CREATE FUNCTION ccmp(c, c) RETURNS int LANGUAGE plpgsql AS
             'BEGIN INSERT INTO public.log VALUES (1); RETURN btint4cmp($1.a, $2.a); END';
         {operators}
         CREATE OPERATOR CLASS cops DEFAULT FOR TYPE c USING btree AS FUNCTION 1 ccmp(c, c),
             OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >;
         CREATE TABLE sorted (id int, v c); INSERT INTO sorted SELECT g, row(10 - g)::c FROM generate_series(1, 3) g;
         CREATE FUNCTION sd2(int, int) RETURNS float8 LANGUAGE plpgsql AS
             'BEGIN INSERT INTO public.log VALUES (1); RETURN $1 - $2; END';
         CREATE FUNCTION sd(int, int) RETURNS float8 IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN public.sd2($1, $2); END';
         CREATE TYPE near AS RANGE (subtype = int4, subtype_diff = sd);
         CREATE TABLE analysed (id int, v near); INSERT INTO analysed SELECT g, near(g, g + 3) FROM generate_series(1, 20) g;
         GRANT ALL ON ALL TABLES IN SCHEMA public TO app; ALTER TABLE sorted OWNER TO app; ALTER TABLE analysed OWNER TO app"
    ));
    house.serves();
    let mut reader = house.pair();
    for write in [
        "INSERT INTO checked VALUES (1, 5)",
        "SELECT 5::d2",
        "INSERT INTO filled VALUES (1)",
        "INSERT INTO by_operator VALUES (1)",
        "INSERT INTO ranges VALUES (1, '[1,5]')",
        "SELECT '[2,7]'::spans",
        "SELECT id FROM sorted ORDER BY v",
        "SELECT count(DISTINCT v) FROM sorted",
        "ANALYZE sorted",
        "ANALYZE analysed",
        "CREATE INDEX ON sorted (v)",
        "CREATE TEMP TABLE own AS SELECT v FROM sorted",
    ] {
        let mut writer = house.via();
        let mut told = |sql: &str| assert_eq!(writer.query(sql).error(), None, "{sql}");
        if write.starts_with("CREATE TEMP") {
            told(write);
            told("CREATE INDEX ON own (v)");
            reader.invalidates_by(
                "SELECT count(*) FROM log",
                |_| told("INSERT INTO own SELECT v FROM sorted"),
                write,
            );
        } else {
            reader.invalidates_by("SELECT count(*) FROM log", |_| told(write), write);
        }
        house.serves();
    }
}

/// A negative number is another one as a value of the type `oid`.
#[test]
fn a_parameter_that_is_an_oid_as_well_is_no_negative_number() {
    let house = House::new(
        "CREATE TABLE t (o oid, id int8, n text); CREATE INDEX ON t (id); INSERT INTO t VALUES (4294967295, 5, 'q')",
    );
    let mut reader = house.pair();
    reader.becomes_hit("SELECT n FROM t WHERE id = 4294967295");
    let mut writer = house.via();
    let mut batch = Batch::default();
    batch
        .parse(
            "",
            "INSERT INTO t (o, id, n) VALUES ($1::oid, $1, 'x')",
            &[],
        )
        .bind("", "", &[], &[Some(b"-1")], &[])
        .execute("", 0)
        .sync();
    assert_eq!(writer.batch(&batch).error(), None);
    house.before.take();
    assert_ne!(
        reader.look("SELECT n FROM t WHERE id = 4294967295"),
        Served::Hit
    );
}

/// `"$user"` is whoever the session is by now, for a transaction or for good.
#[test]
fn a_write_goes_where_the_name_of_its_role_leads() {
    let house =
        House::new("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0)");
    let role = format!("{}_mover", house.database);
    house.superuser_seen(&format!(
        "CREATE ROLE {role}; GRANT {role} TO app; CREATE SCHEMA {role} AUTHORIZATION {role};
         CREATE TABLE {role}.t (id int PRIMARY KEY, v int); INSERT INTO {role}.t VALUES (1, 0);
         ALTER TABLE {role}.t OWNER TO {role}; GRANT USAGE ON SCHEMA {role} TO app; GRANT ALL ON {role}.t TO app;
         CREATE FUNCTION becomes() RETURNS void LANGUAGE plpgsql AS 'BEGIN SET SESSION AUTHORIZATION {role}; END'"
    ));
    house.serves();
    let mut reader = house.pair();
    let moved = format!("SELECT v FROM {role}.t WHERE id = 1");
    const WRITE: &str = "UPDATE t SET v = v + 1 WHERE id = 1";
    let authorization = format!("SET SESSION AUTHORIZATION {role}");
    let local_role = format!("SET LOCAL ROLE {role}");
    let by_call = format!("SELECT set_config('role', '{role}', true)");
    let set_role = format!("SET ROLE {role}");
    for (user, statements) in [
        ("postgres", &[authorization.as_str(), WRITE][..]),
        ("postgres", &["SELECT becomes()", WRITE]),
        (
            "postgres",
            &[&authorization, &set_role, "RESET ROLE", WRITE],
        ),
        ("app", &["BEGIN", &local_role, WRITE, "COMMIT"]),
        ("app", &["BEGIN", &by_call, WRITE, "COMMIT"]),
        ("app", &[&set_role, WRITE]),
    ] {
        let mut writer = house.via_as(user, &[]);
        reader.invalidates_by(
            &moved,
            |_| {
                for sql in statements {
                    let reply = writer.query(sql);
                    assert_eq!(reply.error(), None, "{sql}: {reply:?}");
                }
            },
            &format!("{statements:?}"),
        );
    }
}
