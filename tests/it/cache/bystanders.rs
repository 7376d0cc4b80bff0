//! What one session does takes the cache away from nobody else, except for what it changes.

use super::wire::{Batch, query};
use super::{House, Served};

const SCHEMA: &str = "
    CREATE TABLE t (id int PRIMARY KEY, x int); INSERT INTO t SELECT g, g FROM generate_series(1, 5) g;
    CREATE TABLE other (id int PRIMARY KEY, x int); INSERT INTO other SELECT g, g FROM generate_series(1, 5) g;
    CREATE TABLE gate (id int);
";
const ONE: &str = "SELECT x FROM t WHERE id = 1";
const TWO: &str = "SELECT x FROM t WHERE id = 2";
const ALL: &str = "SELECT count(*), sum(x) FROM t";
const OTHER: &str = "SELECT count(*), sum(x) FROM other";

#[test]
fn a_function_that_only_reads_takes_the_cache_from_nobody_while_it_runs() {
    let house = House::new(&format!(
        "{SCHEMA}
         CREATE FUNCTION report() RETURNS bigint LANGUAGE plpgsql AS $$
             DECLARE n bigint; r record;
             BEGIN
                 SELECT count(*) INTO n FROM gate;
                 FOR r IN SELECT x FROM t LOOP n := n + r.x; END LOOP;
                 IF n < 0 THEN RAISE NOTICE 'less than nothing'; END IF;
                 RETURN n;
             END$$;
         CREATE FUNCTION reports() RETURNS bigint LANGUAGE sql AS 'SELECT report()';
         CREATE VIEW reported AS SELECT report() AS n;"
    ));
    let mut pair = house.pair();
    let mut gate = house.direct();
    for (n, sql) in [
        "SELECT report()",
        "SELECT reports(), now()",
        "SELECT n FROM reported",
        "BEGIN; SELECT report(); COMMIT",
        "COPY (SELECT report()) TO STDOUT",
    ]
    .into_iter()
    .enumerate()
    {
        for read in [ONE, ALL, OTHER] {
            pair.becomes_hit(read);
        }
        gate.query("BEGIN; LOCK TABLE gate");
        let mut slow = house.via();
        slow.send(&query(sql));
        house.waiter();
        house.before.take();
        for read in [ONE, ALL, OTHER] {
            pair.hit(read);
        }
        // Nor does it keep new answers out, and those who write are seen meanwhile.
        let new = format!("SELECT x + {n} FROM other WHERE id = 3");
        pair.miss(&new);
        pair.hit(&new);
        pair.invalidates(ALL, "UPDATE t SET x = x + 1 WHERE id = 2");
        gate.query("COMMIT");
        assert_eq!(slow.reply().expect("an answer").error(), None, "{sql}");
        house.before.take();
        pair.hit(OTHER);
    }
}

/// What it runs is put together while it runs, and it makes a table of its own: before it is done nobody knows that
/// it changes nothing.
#[test]
fn code_that_cannot_be_read_through_takes_the_cache_from_nobody_if_it_has_written_nothing() {
    let house = House::new(&format!(
        "{SCHEMA}
         CREATE FUNCTION counted(name text) RETURNS bigint LANGUAGE plpgsql AS $$
             DECLARE n bigint; m bigint;
             BEGIN
                 SELECT count(*) INTO n FROM gate;
                 EXECUTE format('SELECT count(*) FROM %I', name) INTO m;
                 RETURN n + m;
             END$$;
         CREATE FUNCTION changed(name text) RETURNS void LANGUAGE plpgsql AS $$
             BEGIN EXECUTE format('UPDATE %I SET x = x + 1', name); END$$;"
    ));
    let mut pair = house.pair();
    let mut gate = house.direct();
    let reads = "SELECT counted('t')";
    for frames in [query(reads), Batch::whole(reads, &[]).0] {
        for read in [ONE, ALL, OTHER] {
            pair.becomes_hit(read);
        }
        gate.query("BEGIN; LOCK TABLE gate");
        let mut slow = house.via();
        slow.send(&frames);
        house.waiter();
        house.before.take();
        for read in [ONE, ALL, OTHER] {
            pair.hit(read);
        }
        gate.query("COMMIT");
        let reply = slow.reply().expect("an answer");
        assert_eq!((reply.error(), reply.text().as_str()), (None, "5"));
        house.before.take();
        for read in [ONE, ALL, OTHER] {
            pair.hit(read);
        }
    }
    pair.invalidates(ALL, "SELECT changed('t')");
    pair.invalidates(OTHER, "SELECT changed('other')");
}

#[test]
fn a_long_update_takes_the_cache_only_from_what_it_changes() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let mut holder = house.direct();
    let (keyed, whole) = (
        "UPDATE t SET x = x + 1 WHERE id = 1",
        "UPDATE t SET x = x + 1",
    );
    // On its own, of rows that are known: what depends on these rows is asked upstream.
    for read in [ONE, TWO, ALL, OTHER] {
        pair.becomes_hit(read);
    }
    holder.query("BEGIN; SELECT FROM t WHERE id = 1 FOR UPDATE");
    let mut slow = house.via();
    slow.send(&query(keyed));
    house.waiter();
    house.before.take();
    for read in [TWO, OTHER] {
        pair.hit(read);
    }
    pair.bypass(ONE, "marked");
    pair.bypass(ALL, "marked");
    holder.query("COMMIT");
    assert_eq!(slow.reply().expect("an answer").error(), None);
    house.before.take();
    pair.asked(ONE);
    pair.asked(ALL);
    // Of a whole table: it takes nothing from anybody before its commit.
    for frames in [query(whole), Batch::whole(whole, &[]).0] {
        for read in [ONE, TWO, ALL, OTHER] {
            pair.becomes_hit(read);
        }
        holder.query("BEGIN; SELECT FROM t WHERE id = 1 FOR UPDATE");
        let mut slow = house.via();
        slow.send(&frames);
        house.waiter();
        house.before.take();
        for read in [ONE, TWO, ALL, OTHER] {
            pair.hit(read);
        }
        holder.query("COMMIT");
        assert_eq!(slow.reply().expect("an answer").error(), None);
        house.before.take();
        pair.asked(ONE);
        pair.asked(ALL);
        pair.hit(OTHER);
    }
    // In a transaction it takes nothing from anybody before its commit.
    for update in [keyed, whole] {
        for read in [ONE, TWO, ALL, OTHER] {
            pair.becomes_hit(read);
        }
        let mut slow = house.via();
        slow.query("BEGIN");
        slow.query(update);
        slow.query("SELECT count(*) FROM other");
        house.before.take();
        for read in [ONE, TWO, ALL, OTHER] {
            pair.hit(read);
        }
        slow.query("COMMIT");
        house.before.take();
        pair.asked(ONE);
        pair.asked(ALL);
        pair.hit(OTHER);
    }
}

#[test]
fn temporary_tables_take_the_cache_from_nobody_else() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let mut own = house.via();
    for read in [ONE, ALL, OTHER] {
        pair.becomes_hit(read);
    }
    for sql in [
        "CREATE TEMP TABLE mine (id int PRIMARY KEY, x int DEFAULT 7, at timestamptz NOT NULL DEFAULT now())",
        "INSERT INTO mine SELECT id, x FROM t",
        "CREATE INDEX ON mine (x)",
        "ANALYZE mine",
        "SELECT count(*) FROM mine JOIN t USING (id)",
        "UPDATE mine SET x = t.x FROM t WHERE mine.id = t.id",
        "DELETE FROM mine USING t WHERE mine.id = t.id",
        "DROP TABLE mine",
        "CREATE TEMPORARY TABLE mine AS SELECT * FROM t",
        "TRUNCATE mine",
        "INSERT INTO pg_temp.mine SELECT * FROM t",
        "DROP TABLE IF EXISTS pg_temp.mine",
        "CREATE TEMP TABLE IF NOT EXISTS mine (LIKE t INCLUDING ALL)",
        "INSERT INTO mine SELECT * FROM t ON CONFLICT DO NOTHING",
        "DROP TABLE mine",
        "BEGIN",
        "CREATE TEMP TABLE mine (id serial, x int) ON COMMIT DROP",
        "INSERT INTO mine (x) SELECT x FROM t",
        "SAVEPOINT s",
        "CREATE TEMP TABLE more (id int GENERATED ALWAYS AS IDENTITY (START 5), line jsonb DEFAULT '{}'::jsonb)",
        "INSERT INTO more (line) SELECT to_json(mine)::jsonb FROM mine",
        "ROLLBACK TO s",
        "INSERT INTO mine (x) VALUES (1)",
        "COMMIT",
        "SELECT id INTO TEMP mine FROM t",
        "INSERT INTO mine VALUES (1)",
        "DISCARD TEMP",
        "CREATE TEMP TABLE mine (x int); INSERT INTO more_of_it SELECT 1",
    ] {
        let reply = own.query(sql);
        assert_eq!(
            reply.error().is_some(),
            sql.contains("more_of_it"),
            "{sql}: {reply:?}"
        );
        house.before.take();
        if !sql.contains("more_of_it") {
            for read in [ONE, ALL, OTHER] {
                assert_eq!(pair.look(read), Served::Hit, "{read} after {sql}");
            }
        }
    }
    // The table of a load: what it is loaded into is written to, and nothing else.
    for sql in [
        "BEGIN",
        "CREATE TEMP TABLE mine (LIKE other) ON COMMIT DROP",
        "INSERT INTO mine SELECT id + 1000, x FROM other",
        "INSERT INTO other SELECT * FROM mine",
        "COMMIT",
    ] {
        for read in [ONE, ALL, OTHER] {
            pair.becomes_hit(read);
        }
        assert_eq!(own.query(sql).error(), None, "{sql}");
        house.before.take();
        for read in [ONE, ALL] {
            assert_eq!(pair.look(read), Served::Hit, "{read} after {sql}");
        }
    }
    pair.asked(OTHER);
}

/// As applications have them: each table says when its rows were changed, and a log of all of them says what.
#[test]
fn triggers_on_every_table_leave_invalidation_exact() {
    let house = House::new(&format!(
        "{SCHEMA}
         ALTER TABLE t ADD updated_at timestamptz; ALTER TABLE other ADD updated_at timestamptz;
         CREATE TABLE audit (n bigint GENERATED ALWAYS AS IDENTITY, who text, what text, line text, seen timestamptz);
         CREATE TABLE totals (name text PRIMARY KEY, n int);
         CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
             $$BEGIN NEW.updated_at := now(); RETURN NEW; END$$;
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF TG_OP = 'DELETE' THEN
                 INSERT INTO audit (who, what, line, seen) VALUES (current_user, TG_OP, to_json(OLD)::text, now());
             ELSE
                 INSERT INTO audit (who, what, line, seen) VALUES (session_user, TG_OP, to_json(NEW)::text, clock_timestamp());
             END IF;
             INSERT INTO totals VALUES (TG_TABLE_NAME, 1) ON CONFLICT (name) DO UPDATE SET n = totals.n + 1;
             PERFORM pg_notify('changed', TG_TABLE_NAME);
             RETURN NULL;
         END$$;
         CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION stamp();
         CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON other FOR EACH ROW EXECUTE FUNCTION stamp();
         CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION note();
         CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON other FOR EACH ROW EXECUTE FUNCTION note();
         CREATE FUNCTION twice(int) RETURNS int LANGUAGE plpgsql AS $$BEGIN RETURN 2 * $1; END$$;
         CREATE FUNCTION highest() RETURNS int LANGUAGE plpgsql AS $$BEGIN RETURN (SELECT max(x) FROM other); END$$;"
    ));
    let mut pair = house.pair();
    let (log, sums) = ("SELECT count(*) FROM audit", "SELECT sum(n) FROM totals");
    for write in [
        "UPDATE t SET x = x + 1 WHERE id = 1",
        "UPDATE t SET x = twice(x) WHERE id = 2",
        "INSERT INTO t SELECT max(id) + 1, highest() FROM t",
        "DELETE FROM t WHERE id = (SELECT max(id) FROM t)",
        "WITH moved AS (DELETE FROM t WHERE id = 3 RETURNING id, x) SELECT * FROM moved",
        "BEGIN; INSERT INTO t VALUES (3, 3); COMMIT",
    ] {
        for read in [ALL, OTHER, log, sums] {
            pair.becomes_hit(read);
        }
        let before = [ALL, log, sums].map(|read| pair.direct.query(read).text());
        pair.write(write);
        // What is untouched stays; what the triggers write is as known as what the statement names.
        assert_eq!(pair.look(OTHER), Served::Hit, "{write}");
        for (read, before) in [ALL, log, sums].into_iter().zip(before) {
            assert_ne!(pair.direct.query(read).text(), before, "{read}: {write}");
            pair.asked(read);
        }
    }
    for read in [
        "SELECT highest(), twice(4)",
        "SELECT twice(x), x FROM other",
    ] {
        for kept in [ALL, OTHER, log, sums] {
            pair.leaves_alone(kept, read);
        }
    }
    // What the log itself fires counts as well, and so does a function that is replaced by another.
    pair.write(
        "CREATE FUNCTION more() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN UPDATE other SET x = x + 1 WHERE id = 5; RETURN NULL; END$$;
         DROP TRIGGER note ON other; CREATE TRIGGER more AFTER INSERT ON audit FOR EACH ROW EXECUTE FUNCTION more()",
    );
    pair.invalidates(OTHER, "UPDATE t SET x = x + 1 WHERE id = 1");
    pair.write(
        "CREATE OR REPLACE FUNCTION more() RETURNS trigger LANGUAGE plpgsql AS
             $$BEGIN EXECUTE 'INSERT INTO ' || 'gate VALUES (1)'; RETURN NULL; END$$",
    );
    pair.invalidates(
        "SELECT count(*) FROM gate",
        "UPDATE t SET x = x + 1 WHERE id = 1",
    );
}

/// Names in the code of functions, in every dress in which PostgreSQL understands them.
#[test]
fn a_function_writes_to_what_it_names_however_the_name_is_written() {
    let long = "long_".repeat(20);
    let house = House::new(&format!(
        "CREATE TABLE plain (x int); CREATE TABLE \"Mixed Case\" (x int); CREATE TABLE \"quo\"\"ted\" (x int);
         CREATE TABLE ärger (x int); CREATE TABLE rückgabe (x int); CREATE TABLE {long} (x int);
         CREATE SCHEMA s; CREATE TABLE s.hidden (x int); CREATE TABLE base (x int);
         CREATE VIEW \"Front\" AS SELECT x FROM base;
         CREATE FUNCTION prüfe() RETURNS void LANGUAGE sql AS 'INSERT INTO plain VALUES (1)';
         CREATE FUNCTION f1() RETURNS void LANGUAGE sql AS 'INSERT INTO pLaIn VALUES (1)';
         CREATE FUNCTION f2() RETURNS void LANGUAGE sql AS 'INSERT INTO \"Mixed Case\" VALUES (1)';
         CREATE FUNCTION f3() RETURNS void LANGUAGE sql AS 'INSERT INTO \"quo\"\"ted\" VALUES (1)';
         CREATE FUNCTION f4() RETURNS void LANGUAGE sql AS 'INSERT INTO äRGER VALUES (1)';
         CREATE FUNCTION f5() RETURNS void LANGUAGE sql AS 'INSERT INTO U&\"r\\00fcckgabe\" VALUES (1)';
         CREATE FUNCTION f6() RETURNS void LANGUAGE plpgsql AS $$BEGIN INSERT INTO {long}and_more VALUES (1); END$$;
         CREATE FUNCTION f7() RETURNS void LANGUAGE plpgsql SET search_path = s AS $$BEGIN INSERT INTO hidden VALUES (1); END$$;
         CREATE FUNCTION f8() RETURNS void LANGUAGE plpgsql AS $$BEGIN INSERT INTO \"Front\" VALUES (1); END$$;
         CREATE FUNCTION f9() RETURNS void LANGUAGE plpgsql AS $$BEGIN PERFORM PRüFE(); END$$;
         CREATE FUNCTION {long}() RETURNS void LANGUAGE sql AS 'INSERT INTO plain VALUES (1)';
         CREATE FUNCTION f12() RETURNS void LANGUAGE plpgsql AS $$BEGIN PERFORM {long}and_more(); END$$;
         CREATE FUNCTION f10() RETURNS void LANGUAGE plpgsql AS $$BEGIN
             DECLARE c CURSOR FOR SELECT x FROM plain FOR UPDATE;
             BEGIN FOR r IN c LOOP UPDATE plain SET x = x + 1 WHERE CURRENT OF c; END LOOP; END; END$$;
         CREATE FUNCTION f11() RETURNS void LANGUAGE plpgsql AS $$BEGIN DO 'BEGIN INSERT INTO plain VALUES (1); END'; END$$;",
    ));
    let mut pair = house.pair();
    let cut = &long[..63];
    for (function, table) in [
        ("f1", "plain"),
        ("f2", "\"Mixed Case\""),
        ("f3", "\"quo\"\"ted\""),
        ("f4", "ärger"),
        ("f5", "rückgabe"),
        ("f6", cut),
        ("f7", "s.hidden"),
        ("f8", "base"),
        ("f9", "plain"),
        ("f10", "plain"),
        ("f11", "plain"),
        ("f12", "plain"),
    ] {
        pair.invalidates(
            &format!("SELECT count(*), sum(x) FROM {table}"),
            &format!("SELECT {function}()"),
        );
    }
}
