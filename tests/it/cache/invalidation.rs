//! Writes that reach a table through something else, and changes of what names mean.

use super::wire::{Batch, Wire, query};
use super::{House, Pair, Served};
use crate::fixture::eventually;

#[test]
fn writes_through_views() {
    let house = House::new(
        "CREATE TABLE base (id int PRIMARY KEY, x int); INSERT INTO base VALUES (1, 1), (2, 2);
         CREATE VIEW thin AS SELECT id, x FROM base WHERE x < 100;
         CREATE VIEW thinner AS SELECT id, x FROM thin WHERE x < 50;
         CREATE TABLE sink (id int);
         CREATE VIEW instead AS SELECT count(*) AS n FROM base;
         CREATE FUNCTION catch() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO sink VALUES (NEW.n); RETURN NEW; END';
         CREATE TRIGGER catch INSTEAD OF INSERT ON instead FOR EACH ROW EXECUTE FUNCTION catch();
         CREATE MATERIALIZED VIEW kept AS SELECT sum(x) FROM base;",
    );
    let mut pair = house.pair();
    let base = "SELECT * FROM base ORDER BY id";
    pair.invalidates(base, "UPDATE thin SET x = x + 1 WHERE id = 1");
    pair.invalidates(base, "INSERT INTO thinner VALUES (3, 3)");
    pair.invalidates(base, "DELETE FROM thinner WHERE id = 3");
    pair.invalidates(
        "SELECT * FROM thinner ORDER BY id",
        "UPDATE base SET x = x + 1 WHERE id = 2",
    );
    pair.invalidates("SELECT n FROM instead", "INSERT INTO base VALUES (9, 9)");
    pair.invalidates(
        "SELECT * FROM sink ORDER BY id",
        "INSERT INTO instead VALUES (5)",
    );
    // A materialized view is a table of its own.
    pair.leaves_alone("SELECT * FROM kept", "UPDATE base SET x = x + 1");
    pair.invalidates("SELECT * FROM kept", "REFRESH MATERIALIZED VIEW kept");
}

#[test]
fn partitions_and_their_parents() {
    let house = House::new(
        "CREATE TABLE event (id int, at date) PARTITION BY RANGE (at);
         CREATE TABLE event_23 PARTITION OF event FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
         CREATE TABLE event_24 PARTITION OF event FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY LIST (id);
         CREATE TABLE event_24_a PARTITION OF event_24 FOR VALUES IN (1, 2);
         CREATE TABLE event_24_b PARTITION OF event_24 DEFAULT;
         INSERT INTO event VALUES (1, '2023-05-05'), (1, '2024-05-05'), (7, '2024-05-05');",
    );
    let mut pair = house.pair();
    let parent = "SELECT count(*), sum(id) FROM event";
    let leaf = "SELECT count(*), sum(id) FROM event_24_a";
    pair.invalidates(parent, "INSERT INTO event_23 VALUES (2, '2023-06-06')");
    pair.invalidates(parent, "UPDATE event_24_a SET id = 2");
    pair.invalidates(leaf, "INSERT INTO event VALUES (1, '2024-07-07')");
    pair.invalidates(leaf, "INSERT INTO event_24 VALUES (1, '2024-07-08')");
    // A row that moves from leaf to leaf.
    pair.invalidates(
        leaf,
        "UPDATE event SET at = '2023-07-07' WHERE at = '2024-07-07'",
    );
    pair.invalidates(
        "SELECT count(*) FROM event_23",
        "UPDATE event SET at = '2023-08-08' WHERE at = '2024-07-08'",
    );
    pair.invalidates(
        leaf,
        "DELETE FROM event WHERE at >= '2024-01-01' AND id = 2",
    );
    pair.invalidates(parent, "TRUNCATE event_24");
    pair.invalidates(parent, "ALTER TABLE event DETACH PARTITION event_23");
    pair.invalidates(parent, "ALTER TABLE event ATTACH PARTITION event_23 FOR VALUES FROM ('2023-01-01') TO ('2024-01-01')");
    pair.invalidates(parent, "DROP TABLE event_23");
    pair.invalidates(
        parent,
        "CREATE TABLE event_25 PARTITION OF event FOR VALUES FROM ('2025-01-01') TO ('2026-01-01'); \
         INSERT INTO event_25 VALUES (99, '2025-01-01')",
    );
    // With the partition there, its leaf belongs to what the parent answers.
    pair.invalidates(parent, "UPDATE event_25 SET id = 100");
}

#[test]
fn inheritance() {
    let house = House::new(
        "CREATE TABLE animal (name text); CREATE TABLE cat (lives int) INHERITS (animal);
         CREATE TABLE kitten () INHERITS (cat); INSERT INTO animal VALUES ('x');",
    );
    let mut pair = house.pair();
    pair.invalidates(
        "SELECT count(*) FROM animal",
        "INSERT INTO kitten VALUES ('k', 9)",
    );
    pair.invalidates("SELECT sum(lives) FROM kitten", "UPDATE cat SET lives = 8");
    pair.invalidates(
        "SELECT min(name) FROM kitten",
        "UPDATE animal SET name = 'z'",
    );
    pair.leaves_alone(
        "SELECT count(*) FROM ONLY animal",
        "INSERT INTO cat VALUES ('c', 1)",
    );
    pair.invalidates(
        "SELECT count(*) FROM ONLY animal",
        "INSERT INTO animal VALUES ('y')",
    );
    pair.invalidates(
        "SELECT count(*) FROM animal",
        "CREATE TABLE lion () INHERITS (cat); INSERT INTO lion VALUES ('l', 1)",
    );
    pair.invalidates("SELECT count(*) FROM animal", "DELETE FROM lion");
}

/// Each step of the walk reads other rows of the same table than its beginning names.
#[test]
fn a_tree_that_is_walked_by_a_recursive_query() {
    let house = House::new(
        "CREATE TABLE tree (id int PRIMARY KEY, up int, name text); CREATE INDEX ON tree (up);
         INSERT INTO tree VALUES (1, NULL, 'root'), (2, 1, 'a'), (3, 2, 'b'), (4, 3, 'c'), (9, NULL, 'apart');
         CREATE TABLE other (id int);
         CREATE RECURSIVE VIEW below_one (id, name) AS
             SELECT id, name FROM tree WHERE id = 1 UNION ALL SELECT t.id, t.name FROM tree t JOIN below_one b ON t.up = b.id;",
    );
    let mut pair = house.pair();
    for read in [
        "WITH RECURSIVE below AS (SELECT id, up, name FROM tree WHERE id = 1 \
         UNION ALL SELECT t.id, t.up, t.name FROM tree t JOIN below b ON t.up = b.id) SELECT * FROM below ORDER BY id",
        "WITH RECURSIVE above(id, up) AS (SELECT id, up FROM tree WHERE id = 4 \
         UNION SELECT t.id, t.up FROM tree t, above a WHERE t.id = a.up) \
         SELECT string_agg(name, '/' ORDER BY id) FROM tree WHERE id IN (SELECT id FROM above)",
        "SELECT * FROM below_one ORDER BY id",
    ] {
        pair.leaves_alone(read, "INSERT INTO other VALUES (1)");
        for write in [
            "UPDATE tree SET name = name || '+' WHERE id = 3",
            "UPDATE tree SET up = 9 WHERE id = 2",
            "UPDATE tree SET up = 1 WHERE id = 2",
            "INSERT INTO tree VALUES (5, 3, 'd'); UPDATE tree SET up = 5 WHERE id = 4",
            "UPDATE tree SET up = 3 WHERE id = 4; DELETE FROM tree WHERE id = 5",
            "UPDATE tree SET name = name || '!' WHERE up IS NULL",
        ] {
            pair.invalidates(read, write);
        }
    }
}

#[test]
fn foreign_keys_that_act() {
    let house = House::new(
        "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 5);
         CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a ON DELETE CASCADE ON UPDATE CASCADE);
         INSERT INTO b SELECT g, g FROM generate_series(1, 5) g;
         CREATE TABLE c (b int REFERENCES b ON DELETE SET NULL ON UPDATE SET NULL);
         INSERT INTO c SELECT generate_series(1, 5);
         CREATE TABLE d (a int DEFAULT 1 REFERENCES a ON DELETE SET DEFAULT DEFERRABLE INITIALLY DEFERRED);
         INSERT INTO d VALUES (5);
         CREATE TABLE self (id int PRIMARY KEY, up int REFERENCES self ON DELETE CASCADE);
         INSERT INTO self VALUES (1, NULL), (2, 1), (3, 2);",
    );
    let mut pair = house.pair();
    pair.invalidates("SELECT count(*) FROM b", "DELETE FROM a WHERE id = 2");
    pair.invalidates("SELECT max(a) FROM b", "UPDATE a SET id = 50 WHERE id = 3");
    pair.invalidates("SELECT count(b) FROM c", "DELETE FROM a WHERE id = 50");
    pair.invalidates("SELECT a FROM d", "DELETE FROM a WHERE id = 5");
    pair.invalidates("SELECT count(*) FROM self", "DELETE FROM self WHERE id = 2");
    pair.invalidates("SELECT count(*) FROM c", "TRUNCATE a CASCADE");
}

#[test]
fn triggers_on_other_tables() {
    let house = House::new(
        "CREATE TABLE source (x int); CREATE TABLE copy1 (x int); CREATE TABLE copy2 (x int); CREATE TABLE copy3 (x int);
         CREATE FUNCTION first() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO copy1 VALUES (1); RETURN COALESCE(NEW, OLD); END';
         CREATE FUNCTION second() RETURNS trigger LANGUAGE plpgsql AS
             $$BEGIN EXECUTE format('INSERT INTO %I VALUES (1)', TG_ARGV[0]); RETURN NULL; END$$;
         CREATE TRIGGER b BEFORE INSERT ON source FOR EACH ROW EXECUTE FUNCTION first();
         CREATE TRIGGER a AFTER INSERT ON copy1 FOR EACH STATEMENT EXECUTE FUNCTION second('copy2');
         CREATE CONSTRAINT TRIGGER d AFTER INSERT ON source DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION second('copy3');
         CREATE TRIGGER t AFTER TRUNCATE ON source EXECUTE FUNCTION second('copy2');",
    );
    let mut pair = house.pair();
    for table in ["copy1", "copy2", "copy3"] {
        pair.invalidates(
            &format!("SELECT count(*) FROM {table}"),
            "INSERT INTO source VALUES (1)",
        );
    }
    pair.invalidates("SELECT count(*) FROM copy2", "TRUNCATE source");
    // Deferred to the commit of a transaction that ends much later.
    let mut other = house.pair();
    let read = "SELECT count(*) FROM copy3";
    other.becomes_hit(read);
    pair.write("BEGIN");
    pair.write("INSERT INTO source VALUES (1)");
    other.becomes_hit(read);
    pair.write("COMMIT");
    assert_ne!(other.look(read), Served::Hit);
}

#[test]
fn rules() {
    let house = House::new(
        "CREATE TABLE front (x int); CREATE TABLE back (x int);
         CREATE RULE also AS ON INSERT TO front DO ALSO INSERT INTO back VALUES (NEW.x);
         CREATE TABLE quiet (x int); INSERT INTO quiet VALUES (1);
         CREATE RULE instead AS ON DELETE TO quiet DO INSTEAD INSERT INTO back VALUES (OLD.x);",
    );
    let mut pair = house.pair();
    pair.invalidates("SELECT count(*) FROM back", "INSERT INTO front VALUES (1)");
    pair.invalidates("SELECT count(*) FROM front", "INSERT INTO front VALUES (1)");
    pair.invalidates("SELECT count(*) FROM back", "DELETE FROM quiet");
}

#[test]
fn changes_of_the_schema_through_pgditto() {
    let house = House::new(
        "CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x');
         CREATE VIEW v AS SELECT a FROM t;
         CREATE TABLE audit (x int);
         CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE m (x mood); INSERT INTO m VALUES ('ok');",
    );
    let mut pair = house.pair();
    let all = "SELECT * FROM t";
    pair.invalidates(all, "ALTER TABLE t ADD COLUMN c int DEFAULT 5");
    pair.invalidates(all, "ALTER TABLE t RENAME COLUMN b TO bb");
    pair.invalidates(all, "ALTER TABLE t DROP COLUMN c");
    pair.invalidates(all, "ALTER TABLE t ALTER COLUMN bb TYPE varchar(10)");
    pair.invalidates(
        all,
        "DROP TABLE t CASCADE; CREATE TABLE t (a int); INSERT INTO t VALUES (7)",
    );
    pair.invalidates(
        all,
        "BEGIN; ALTER TABLE t RENAME TO t_old; CREATE TABLE t (z int); COMMIT",
    );
    pair.write("CREATE VIEW v AS SELECT a FROM t_old");
    pair.invalidates(
        "SELECT * FROM v",
        "CREATE OR REPLACE VIEW v AS SELECT a + 1000 AS a FROM t_old",
    );
    pair.invalidates("SELECT * FROM v", "ALTER VIEW v RENAME COLUMN a TO aa");
    pair.invalidates(
        "SELECT x FROM m",
        "ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'",
    );
    // A table that is not there is no answer that lasts.
    let missing = "SELECT count(*) FROM appears";
    assert_eq!(pair.via.query(missing).error().as_deref(), Some("42P01"));
    assert_eq!(pair.via.query(missing).error().as_deref(), Some("42P01"));
    pair.write("CREATE TABLE appears (x int)");
    pair.becomes_hit(missing);
    pair.write("DROP TABLE appears");
    assert_eq!(pair.via.query(missing).error().as_deref(), Some("42P01"));
    // A trigger that comes while an answer is kept.
    let audit = "SELECT count(*) FROM audit";
    pair.becomes_hit(audit);
    pair.write(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO audit VALUES (1); RETURN NULL; END'; \
         CREATE TRIGGER note AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION note()",
    );
    pair.invalidates(audit, "INSERT INTO t VALUES (1)");
    pair.write("CREATE OR REPLACE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM t_old; RETURN NULL; END'");
    pair.invalidates("SELECT count(*) FROM t_old", "INSERT INTO t VALUES (1)");
}

/// In a block it commits long after the definitions changed: what is read in between is kept under the new ones, and only
/// what the write is taken for makes it old.
#[test]
fn a_write_that_waited_behind_a_new_trigger_means_what_the_trigger_does() {
    let house = House::new(
        "CREATE TABLE t (x int); CREATE TABLE audit (x int);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO audit VALUES (1); RETURN NULL; END';",
    );
    let mut pair = house.pair();
    let audit = "SELECT count(*) FROM audit";
    let told = |client: &mut Wire, sql: &str| assert_eq!(client.query(sql).error(), None, "{sql}");
    for (before, in_block) in [(0, false), (1, true), (2, true)] {
        pair.becomes_hit(audit);
        let mut ddl = house.via();
        told(&mut ddl, "BEGIN");
        told(
            &mut ddl,
            "CREATE TRIGGER note AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION note()",
        );
        // It waits for the lock of the DDL.
        let mut writer = house.via();
        if in_block {
            told(&mut writer, "BEGIN");
        }
        writer.send(&query("INSERT INTO t VALUES (1)"));
        eventually("the write waits", || {
            house.postgres.psql(&format!(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event_type = 'Lock'",
                house.database
            )) == "1"
        });
        told(&mut ddl, "COMMIT");
        assert_eq!(writer.reply().expect("an answer").error(), None);
        house.before.take();
        if in_block {
            pair.becomes_hit(audit);
            assert_eq!(pair.via.query(audit).text(), before.to_string());
            told(&mut writer, "COMMIT");
            house.before.take();
        }
        pair.asked(audit);
        pair.becomes_hit(audit);
        assert_eq!(pair.via.query(audit).text(), (before + 1).to_string());
        pair.write("DROP TRIGGER note ON t");
    }
}

/// No lock keeps a function from being replaced: the write that waits was judged by the one before, and runs the new one.
#[test]
fn a_write_that_waited_runs_the_function_that_was_made_meanwhile() {
    let follow = |body: &str| {
        format!(
            "CREATE OR REPLACE FUNCTION follow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN {body} RETURN NULL; END'"
        )
    };
    let house = House::new(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, x int); INSERT INTO t VALUES (1, 0); CREATE TABLE audit (x int);
         {}; CREATE TRIGGER follow AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION follow();",
        follow("")
    ));
    let mut pair = house.pair();
    let audit = "SELECT count(*) FROM audit";
    for before in 0..2 {
        pair.write(&follow(""));
        pair.becomes_hit(audit);
        let mut holder = house.direct();
        assert_eq!(
            holder
                .query("BEGIN; SELECT FROM t WHERE id = 1 FOR UPDATE")
                .error(),
            None
        );
        let mut writer = house.via();
        assert_eq!(writer.query("BEGIN").error(), None);
        writer.send(&query("UPDATE t SET x = x + 1 WHERE id = 1"));
        eventually("the write waits", || {
            house.postgres.psql(&format!(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event_type = 'Lock'",
                house.database
            )) == "1"
        });
        pair.write(&follow("INSERT INTO audit VALUES (1);"));
        pair.becomes_hit(audit);
        holder.query("ROLLBACK");
        assert_eq!(writer.reply().expect("an answer").error(), None);
        house.before.take();
        pair.becomes_hit(audit);
        assert_eq!(pair.via.query(audit).text(), before.to_string());
        assert_eq!(writer.query("COMMIT").error(), None);
        house.before.take();
        pair.asked(audit);
        pair.becomes_hit(audit);
        assert_eq!(pair.via.query(audit).text(), (before + 1).to_string());
    }
}

#[test]
fn changes_of_the_schema_from_outside_are_found_by_the_watch() {
    let house = House::with(
        "CREATE TABLE t (a int); INSERT INTO t VALUES (1); CREATE TABLE audit (x int);
         CREATE VIEW v AS SELECT a FROM t;
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO audit VALUES (1); RETURN NULL; END';",
        |opts| {
            opts.set("cache.catalog_watch_interval", "50ms");
        },
    );
    let mut pair = house.pair();
    let seen = |pair: &mut Pair<'_>, read: &str, ddl: &str| {
        pair.becomes_hit(read);
        let before = pair.direct.query(read);
        house.outside(ddl);
        let after = pair.direct.query(read);
        assert_ne!(before, after, "{ddl}");
        eventually(&format!("seen: {ddl}"), || pair.via.query(read) == after);
        house.before.take();
        pair.becomes_hit(read);
    };
    seen(
        &mut pair,
        "SELECT * FROM t",
        "ALTER TABLE t ADD COLUMN b int DEFAULT 3",
    );
    seen(
        &mut pair,
        "SELECT * FROM v",
        "CREATE OR REPLACE VIEW v AS SELECT a * 100 AS a FROM t",
    );
    seen(
        &mut pair,
        "SELECT * FROM t",
        "ALTER TABLE t RENAME TO u; CREATE TABLE t (z text)",
    );
    // A trigger from outside: as soon as it is known, writes mean what it does.
    let audit = "SELECT count(*) FROM audit";
    pair.becomes_hit(audit);
    house.outside("CREATE TRIGGER note AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION note()");
    eventually("the trigger is known", || {
        pair.via.query(audit);
        pair.write("INSERT INTO t VALUES ('x')");
        let truth = pair.direct.query(audit).text();
        pair.via.query(audit).text() == truth
    });
    house.before.take();
    for _ in 0..3 {
        pair.invalidates(audit, "INSERT INTO t VALUES ('x')");
    }
}

#[test]
fn a_table_of_the_same_name_earlier_in_the_path() {
    let house = House::new(
        "CREATE SCHEMA one; CREATE SCHEMA two; CREATE TABLE two.t (x int); INSERT INTO two.t VALUES (2);",
    );
    let mut pair = house.pair();
    pair.both("SET search_path = one, two");
    pair.becomes_hit("SELECT x FROM t");
    pair.invalidates("SELECT x FROM t", "CREATE TABLE one.t (x int)");
    pair.invalidates("SELECT x FROM t", "INSERT INTO t VALUES (1)");
    pair.leaves_alone("SELECT x FROM two.t", "INSERT INTO t VALUES (5)");
    pair.invalidates("SELECT x FROM t", "DROP TABLE one.t");
    pair.invalidates(
        "SELECT x FROM t",
        "ALTER SCHEMA one RENAME TO gone; ALTER SCHEMA two RENAME TO one; UPDATE one.t SET x = 77",
    );
}

#[test]
fn a_function_in_the_path_that_hides_a_built_in_one() {
    let house = House::new("CREATE TABLE t (x varchar(10)); INSERT INTO t VALUES ('abc');");
    let mut pair = house.pair();
    let read = "SELECT length(x) FROM t";
    pair.becomes_hit(read);
    pair.write("CREATE FUNCTION length(varchar) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT (random() * 1000000)::int'");
    pair.via.query(read);
    pair.never_hits(read);
    // That one is meant.
    let [one, other] = [(); 2].map(|()| pair.direct.query(read).text());
    assert_ne!(one, other);
    pair.write("DROP FUNCTION length(varchar)");
    pair.becomes_hit(read);
    pair.write(
        "CREATE FUNCTION public.eq(varchar, text) RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT random() < 2'; \
         CREATE OPERATOR public.= (LEFTARG = varchar, RIGHTARG = text, FUNCTION = public.eq)",
    );
    pair.never_hits("SELECT count(*) FROM t WHERE x = 'abc'::text");
    // A function that is called like a column.
    pair.write(
        "CREATE FUNCTION secret(t) RETURNS float LANGUAGE sql VOLATILE AS 'SELECT random()'",
    );
    pair.never_hits("SELECT t.secret FROM t");
    pair.never_hits("SELECT secret(t) FROM t");
}

#[test]
fn a_collation_that_is_made_anew_sorts_anew() {
    let house = House::new(
        "CREATE COLLATION own (provider = icu, locale = 'und-u-kf-lower');
         CREATE TABLE t (x text); INSERT INTO t VALUES ('b'), ('B'), ('a'), ('A');
         CREATE VIEW sorted AS SELECT string_agg(x, '' ORDER BY x COLLATE own) AS all FROM t;",
    );
    let mut pair = house.pair();
    let anew = |locale: &str| {
        format!(
            "DROP COLLATION own CASCADE; CREATE COLLATION own (provider = icu, locale = '{locale}');
             CREATE VIEW sorted AS SELECT string_agg(x, '' ORDER BY x COLLATE own) AS all FROM t"
        )
    };
    for read in [
        "SELECT x FROM t ORDER BY x COLLATE own",
        "SELECT * FROM sorted",
        "SELECT max(x COLLATE own), x COLLATE own < 'B' AS less FROM t GROUP BY 2, x ORDER BY x COLLATE own",
    ] {
        pair.invalidates(read, &anew("und-u-kf-upper"));
        pair.invalidates(read, &anew("und-u-kf-lower"));
    }
    pair.becomes_hit("SELECT x FROM t ORDER BY x");
    pair.write("DROP VIEW sorted; ALTER TABLE t ALTER x TYPE text COLLATE own");
    pair.look("SELECT x FROM t ORDER BY x");
    pair.becomes_hit("SELECT x FROM t ORDER BY x");
}

/// Nothing has been read back of the session since it made the view.
#[test]
fn a_temporary_view_of_the_same_transaction_leads_its_writes_elsewhere() {
    let house = House::new(
        "CREATE TABLE t (x int); CREATE TABLE log (x int); CREATE TABLE hidden (x int); CREATE TABLE source (x int);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES (1); RETURN NULL; END';
         CREATE TRIGGER note AFTER INSERT ON source FOR EACH ROW EXECUTE FUNCTION note();",
    );
    let mut reader = house.pair();
    let read = "SELECT count(*) FROM hidden";
    let make = |name: &str| format!("CREATE TEMP VIEW {name} AS SELECT x FROM hidden");
    for (name, write) in [
        ("t", "INSERT INTO t VALUES (1)"),
        (
            "t",
            "WITH w AS (INSERT INTO t VALUES (1) RETURNING x) SELECT x FROM w",
        ),
        ("log", "INSERT INTO source VALUES (1)"),
    ] {
        let mut pipeline = Batch::default();
        for sql in [make(name).as_str(), write] {
            pipeline.parse("", sql, &[]).bind("", "", &[], &[], &[]);
            pipeline.execute("", 0);
        }
        pipeline.sync();
        let mut writer = house.via();
        let told = |writer: &mut Wire, sql: &str| {
            let reply = writer.query(sql);
            assert_eq!(reply.error(), None, "{sql}: {reply:?}");
        };
        for way in ["string", "transaction", "pipeline", "autocommit"] {
            reader.invalidates_by(
                read,
                |_| match way {
                    "string" => told(&mut writer, &format!("{}; {write}", make(name))),
                    "transaction" => {
                        for sql in ["BEGIN", &make(name), write, "COMMIT"] {
                            told(&mut writer, sql);
                        }
                    }
                    "pipeline" => assert_eq!(writer.batch(&pipeline).error(), None),
                    _ => {
                        told(&mut writer, &make(name));
                        told(&mut writer, write);
                    }
                },
                way,
            );
            told(&mut writer, "DISCARD TEMP");
            house.serves();
        }
    }
}

/// The function is called by the index, and the picture of before does not know it.
#[test]
fn an_index_of_an_expression_runs_functions_from_its_creation_on() {
    let house = House::new(
        "CREATE TABLE log (n bigint);
         CREATE FUNCTION w(int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES ($1); RETURN true; END';
         CREATE FUNCTION imm(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM w($1); RETURN $1; END';
         CREATE TABLE a (v int); CREATE TABLE b (v int); CREATE TABLE c (v int)",
    );
    let mut pair = house.pair();
    let read = "SELECT count(*) FROM log";
    for (index, write) in [
        ("CREATE INDEX ON a (imm(v))", "INSERT INTO a VALUES (1)"),
        (
            "CREATE INDEX ON b (v) WHERE imm(v) > 0",
            "INSERT INTO b VALUES (1)",
        ),
        (
            "CREATE UNIQUE INDEX ON c USING btree (v, (imm(v) + 1))",
            "INSERT INTO c VALUES (1)",
        ),
    ] {
        pair.becomes_hit(read);
        pair.write(index);
        let before = pair.direct.query(read);
        // Whoever asks meanwhile may keep the answer.
        (0..3).for_each(|_| drop(pair.look(read)));
        pair.write(write);
        assert_ne!(pair.direct.query(read), before, "{write}");
        assert_ne!(pair.look(read), Served::Hit, "{write}");
    }
}

#[test]
fn a_dollar_quote_hides_no_code_whatever_its_tag() {
    let house = House::new(
        "CREATE TABLE log (n int); INSERT INTO log SELECT generate_series(1, 10);
         CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $f$DECLARE x text;
         BEGIN x := $ä$ it's $ä$; DELETE FROM log WHERE n = (SELECT max(n) FROM log); RETURN 'z'; END$f$",
    );
    let mut pair = house.pair();
    pair.invalidates("SELECT count(*) FROM log", "SELECT f()");
    pair.invalidates("SELECT max(n) FROM log", "SELECT f()");
}

#[test]
fn a_statement_whose_type_was_made_anew_is_refused_whoever_has_asked_since() {
    let house = House::new("CREATE TYPE mood AS ENUM ('ok')");
    let mut pair = house.pair();
    let sql = "SELECT 'ok'::mood AS mood";
    let mut prepare = Batch::default();
    prepare.parse("s", sql, &[]).describe(b'S', "s").sync();
    pair.look_batch(&prepare);
    let mut run = Batch::default();
    run.bind("", "s", &[], &[], &[]).execute("", 0).sync();
    eventually("a hit", || pair.look_batch(&run) == Served::Hit);
    pair.write("DROP TYPE mood; CREATE TYPE mood AS ENUM ('ok', 'no')");
    house.pair().becomes_hit(sql);
    // The server says that it cannot find the type.
    assert_ne!(pair.direct.batch(&run).error(), None);
    let refused = pair.via.batch(&run);
    assert_eq!(refused.error().as_deref(), Some("0A000"), "{refused:?}");
}
