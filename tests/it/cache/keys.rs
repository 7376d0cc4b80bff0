//! What makes two questions different: everything that may change an answer, and nothing is left out.

use super::wire::Batch;
use super::{House, Pair, Served};

const SCHEMA: &str = "
    CREATE TABLE k (id int PRIMARY KEY, at timestamptz, d date, i interval, b bytea, f float8, n numeric, t text, m money);
    INSERT INTO k VALUES (1, '2024-02-03 04:05:06Z', '2024-02-03', '1 mon 2 days 03:04:05', '\\x0aff', 1.0/3, 1234.5, 'ä', 12.5);
    CREATE SCHEMA one; CREATE SCHEMA two;
    CREATE TABLE one.t (x int); INSERT INTO one.t VALUES (1);
    CREATE TABLE two.t (x int); INSERT INTO two.t VALUES (2);
";

#[test]
fn settings_that_change_how_values_look() {
    let house = House::new(SCHEMA);
    for (name, values, read) in [
        (
            "TimeZone",
            &["UTC", "Asia/Tokyo", "America/New_York"][..],
            "SELECT at FROM k",
        ),
        (
            "DateStyle",
            &["ISO, DMY", "SQL, DMY", "German", "Postgres, MDY"],
            "SELECT d, at FROM k",
        ),
        (
            "IntervalStyle",
            &["postgres", "iso_8601", "sql_standard"],
            "SELECT i FROM k",
        ),
        ("bytea_output", &["hex", "escape"], "SELECT b FROM k"),
        ("extra_float_digits", &["0", "1", "-5"], "SELECT f FROM k"),
        ("lc_monetary", &["C", "C.UTF-8"], "SELECT m FROM k"),
        (
            "lc_numeric",
            &["C", "C.UTF-8"],
            "SELECT to_char(n, '9G999D9') FROM k",
        ),
        (
            "transform_null_equals",
            &["off", "on"],
            "SELECT count(*) FROM k WHERE t = NULL",
        ),
        (
            "xmlbinary",
            &["base64", "hex"],
            "SELECT xmlelement(name x, b) FROM k",
        ),
        (
            "quote_all_identifiers",
            &["off", "on"],
            "SELECT quote_ident(t) FROM k",
        ),
        (
            "array_nulls",
            &["on", "off"],
            "SELECT '{NULL}'::text[] FROM k",
        ),
        (
            "default_text_search_config",
            &["pg_catalog.simple", "pg_catalog.english"],
            "SELECT to_tsvector(t || ' walking') FROM k",
        ),
        (
            "backslash_quote",
            &["safe_encoding", "on"],
            "SELECT E'\\'' FROM k",
        ),
    ] {
        let mut pairs: Vec<_> = values.iter().map(|_| house.pair()).collect();
        for (pair, value) in pairs.iter_mut().zip(values) {
            pair.both(&format!("SET {name} = '{value}'"));
        }
        for _ in 0..3 {
            pairs.iter_mut().for_each(|pair| drop(pair.look(read)));
        }
        // One session that goes through all of them.
        for value in values.iter().chain(values) {
            pairs[0].both(&format!("SET {name} = '{value}'"));
            pairs[0].look(read);
        }
        pairs[0].both(&format!("RESET {name}"));
        pairs[0].look(read);
        pairs[0].both("RESET ALL");
        pairs[0].look(read);
    }
}

#[test]
fn equal_settings_share_answers_and_other_settings_do_not() {
    let house = House::new(SCHEMA);
    let read = "SELECT at FROM k WHERE id = 1";
    let mut utc = house.pair();
    utc.both("SET TimeZone = 'UTC'");
    utc.becomes_hit(read);
    let mut tokyo = house.pair();
    tokyo.both("SET TimeZone = 'Asia/Tokyo'");
    tokyo.miss(read);
    tokyo.hit(read);
    utc.hit(read);
    let mut also = house.pair_as("app", &[("TimeZone", "Asia/Tokyo")]);
    also.both("SET TimeZone = 'Asia/Tokyo'");
    also.hit(read);
    let mut option = house.pair_as("app", &[("options", "-c TimeZone=Europe/Paris")]);
    option.look(read);
    option.becomes_hit(read);
    option.both("RESET TimeZone");
    option.hit(read);
    utc.both("DISCARD ALL");
    utc.look(read);
}

#[test]
fn search_path_decides_which_table_is_meant() {
    let house = House::new(SCHEMA);
    let mut one = house.pair();
    let mut two = house.pair_as("app", &[("options", "-c search_path=two")]);
    one.both("SET search_path = one, two");
    for _ in 0..3 {
        one.look("SELECT x FROM t");
        two.look("SELECT x FROM t");
    }
    one.hit("SELECT x FROM t");
    two.hit("SELECT x FROM t");
    one.invalidates("SELECT x FROM t", "UPDATE t SET x = 11");
    two.hit("SELECT x FROM t");
    one.both("SET search_path = two");
    one.look("SELECT x FROM t");
    one.both("BEGIN");
    one.both("SET LOCAL search_path = one");
    one.look("SELECT x FROM t");
    one.both("COMMIT");
    one.look("SELECT x FROM t");
    // A write in one path touches what that path names.
    two.invalidates("SELECT x FROM t", "UPDATE t SET x = 22");
    one.both("SET search_path TO DEFAULT");
    assert_eq!(
        one.via.query("SELECT x FROM t").error().as_deref(),
        Some("42P01")
    );
}

#[test]
fn a_setting_is_in_the_key_however_it_was_set() {
    let house = House::new(&format!(
        "{SCHEMA}
         CREATE FUNCTION enter(zone text) RETURNS void LANGUAGE plpgsql AS
             $$BEGIN PERFORM set_config('TimeZone', zone, false); END$$;
         CREATE PROCEDURE enters(zone text) LANGUAGE plpgsql AS $$BEGIN PERFORM enter(zone); COMMIT; END$$;
         CREATE TABLE zone (name text);
         CREATE FUNCTION follow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM enter(NEW.name); RETURN NULL; END$$;
         CREATE TRIGGER follow AFTER INSERT ON zone FOR EACH ROW EXECUTE FUNCTION follow();
         CREATE VIEW mine AS SELECT name, setting FROM pg_settings;
         CREATE FUNCTION update_own(zone text) RETURNS void LANGUAGE plpgsql AS
             $$BEGIN UPDATE pg_settings SET setting = zone WHERE name = 'TimeZone'; END$$;
         CREATE FUNCTION update_mine(zone text) RETURNS void LANGUAGE sql AS
             $$UPDATE mine SET setting = zone WHERE name = 'TimeZone'$$;
         CREATE TABLE ruled (name text);
         CREATE RULE sets AS ON INSERT TO ruled DO ALSO SELECT set_config('TimeZone', NEW.name, false);"
    ));
    let read = "SELECT at FROM k";
    for set in [
        "SET TimeZone = 'Asia/Tokyo'",
        "SET TIME ZONE 'Asia/Tokyo'",
        "SELECT 1; SET TimeZone = 'Asia/Tokyo'",
        "SET TimeZone = 'Asia/Tokyo'; SELECT at FROM k",
        "BEGIN; SET TimeZone = 'Asia/Tokyo'; COMMIT",
        "BEGIN; SET TimeZone = 'Asia/Tokyo'; SAVEPOINT s; SET TimeZone = 'UTC'; ROLLBACK TO s; COMMIT",
        "SELECT set_config('TimeZone', 'Asia/Tokyo', false)",
        "SELECT set_config('Time' || 'Zone', 'Asia/Tokyo', false), id FROM k",
        "SELECT set_config(name, 'Asia/Tokyo', false) FROM pg_settings WHERE name ILIKE 'timezone'",
        "UPDATE pg_settings SET setting = 'Asia/Tokyo' WHERE name = 'TimeZone'",
        "DO $$BEGIN SET TimeZone = 'Asia/Tokyo'; END$$",
        "DO $$BEGIN EXECUTE 'SET TimeZone TO ' || quote_literal('Asia/Tokyo'); END$$",
        "SELECT enter('Asia/Tokyo')",
        "CALL enters('Asia/Tokyo')",
        "INSERT INTO zone VALUES ('Asia/Tokyo')",
        "WITH n AS (INSERT INTO zone VALUES ('Asia/Tokyo') RETURNING name) SELECT name FROM n",
        "EXPLAIN ANALYZE SELECT enter('Asia/Tokyo')",
        "UPDATE mine SET setting = 'Asia/Tokyo' WHERE name = 'TimeZone'",
        "SELECT update_own('Asia/Tokyo')",
        "SELECT update_mine('Asia/Tokyo')",
        "INSERT INTO ruled VALUES ('Asia/Tokyo')",
    ] {
        let mut pair = house.pair();
        // With a picture of the catalogue, so that what is known of it is what decides.
        pair.becomes_hit(read);
        let before = pair.direct.query(read);
        pair.both(set);
        assert_ne!(pair.direct.query(read), before, "{set}");
        for _ in 0..3 {
            pair.look(read);
        }
        let mut other = house.pair();
        other.look(read);
        pair.both("RESET TimeZone");
        pair.look(read);
        pair.look(read);
    }
    // What is taken back is back.
    for set in [
        "BEGIN; SET TimeZone = 'Asia/Tokyo'; ROLLBACK",
        "BEGIN; SET LOCAL TimeZone = 'Asia/Tokyo'; COMMIT",
        "BEGIN; SELECT enter('Asia/Tokyo'); ROLLBACK",
    ] {
        let mut pair = house.pair();
        pair.becomes_hit(read);
        pair.both(set);
        pair.look(read);
        pair.becomes_hit(read);
    }
    // Which table is meant follows, too.
    let mut pair = house.pair();
    for set in [
        "SELECT 1; SET search_path = one; SELECT 2",
        "BEGIN; SET search_path = two; COMMIT",
        "DO $$BEGIN PERFORM set_config('search_path', 'one, two', false); END$$",
        "SET SCHEMA 'two'",
    ] {
        pair.both(set);
        for _ in 0..3 {
            pair.look("SELECT x FROM t");
        }
    }
}

#[test]
fn encodings_of_the_client() {
    let house = House::new(SCHEMA);
    let mut utf8 = house.pair();
    let mut latin = house.pair();
    latin.both("SET client_encoding = 'LATIN1'");
    for _ in 0..3 {
        utf8.look("SELECT t FROM k");
        latin.look("SELECT t FROM k");
    }
    let mut named = house.pair_as("app", &[("client_encoding", "LATIN1")]);
    named.look("SELECT t FROM k");
    named.look("SELECT t FROM k");
}

#[test]
fn parameters_by_value_type_and_format() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let ask = |types: &[u32], formats: &[u16], value: Option<&[u8]>, results: &[u16]| {
        let mut batch = Batch::default();
        batch.parse("", "SELECT $1, id FROM k", types);
        batch
            .bind("", "", formats, &[value], results)
            .describe(b'P', "")
            .execute("", 0)
            .sync();
        batch
    };
    let batches = [
        ask(&[25], &[], Some(b"7"), &[]),
        ask(&[23], &[], Some(b"7"), &[]),
        ask(&[20], &[], Some(b"7"), &[]),
        ask(&[23], &[], Some(b"8"), &[]),
        ask(&[23], &[], None, &[]),
        ask(&[25], &[], Some(b""), &[]),
        ask(&[23], &[1], Some(&[0, 0, 0, 7]), &[]),
        ask(&[23], &[1], Some(&[0, 0, 0, 7]), &[1]),
        ask(&[23], &[], Some(b"7"), &[1]),
        ask(&[23], &[], Some(b"7"), &[1, 0]),
        ask(&[23], &[], Some(b"7"), &[0, 1]),
        ask(&[700], &[1], Some(&[0, 0, 0, 7]), &[]),
        ask(&[17], &[1], Some(b"7"), &[]),
        ask(&[17], &[0], Some(b"7"), &[]),
    ];
    for round in 0..3 {
        for batch in &batches {
            let served = pair.look_batch(batch);
            assert_eq!(served == Served::Hit, round > 0, "round {round}");
        }
    }
}

/// What is one value for one and the next for the other, if nothing parts them.
#[test]
fn values_that_run_together_are_other_values() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let of = |one: &str, two: &str| {
        let values = [Some(one.as_bytes()), Some(two.as_bytes())];
        Batch::whole("SELECT $1::text, $2::text, id FROM k", &values)
    };
    let batches = [
        of("ab", "c"),
        of("a", "bc"),
        of("abc", ""),
        of("", "abc"),
        of("a", "b\u{1}c"),
        of("a\u{1}b", "c"),
    ];
    for batch in &batches {
        assert_ne!(pair.look_batch(batch), Served::Hit);
    }
    for batch in &batches {
        pair.look_batch(batch);
        assert_eq!(pair.look_batch(batch), Served::Hit);
    }
}

#[test]
fn texts_that_differ_only_in_literals_or_in_blanks_within_them() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    for sql in [
        "SELECT 'a b', id FROM k",
        "SELECT 'a  b', id FROM k",
        "SELECT 'a\tb', id FROM k",
        "SELECT 'A b', id FROM k",
        "SELECT E'a\\nb', id FROM k",
        "SELECT 'a\\nb', id FROM k",
        "SELECT $$a b$$, id FROM k",
        "SELECT $x$a  b$x$, id FROM k",
        "SELECT 'a' 'b', id FROM k LIMIT 0",
        "SELECT 'a'\n'b', id FROM k",
        "SELECT 1, id FROM k",
        "SELECT 1.0, id FROM k",
        "SELECT 01, id FROM k",
        "SELECT '/* x */', id FROM k",
        "SELECT '/* y */', id FROM k",
        "SELECT '-- x', id FROM k",
        "SELECT id AS \"a b\" FROM k",
        "SELECT id AS \"a  b\" FROM k",
        "SELECT id AS \"A B\" FROM k",
        "SELECT U&'\\0061', id FROM k",
        "SELECT B'1010', X'1A', id FROM k",
    ] {
        let ours = pair.via.query(sql);
        let theirs = pair.direct.query(sql);
        assert_eq!(ours.essence(), theirs.essence(), "{sql}");
        if ours.error().is_some() {
            continue;
        }
        house.before.take();
        pair.look(sql);
        pair.look(sql);
    }
}

#[test]
fn databases_do_not_share_answers() {
    let house = House::new("CREATE TABLE t (x text); INSERT INTO t VALUES ('here');");
    let there = super::fresh_database(
        house.postgres,
        "CREATE TABLE t (x text); INSERT INTO t VALUES ('there');",
    );
    let mut pair = house.pair();
    pair.becomes_hit("SELECT x FROM t");
    let mut other = super::Wire::connect(house.pgditto.port, "app", &there, &[]);
    for _ in 0..3 {
        assert_eq!(other.query("SELECT x FROM t").text(), "there");
    }
    crate::fixture::eventually("hits there, too", || {
        house.before.take();
        let (reply, served) = house.look(&mut other, "SELECT x FROM t");
        assert_eq!(reply.text(), "there");
        served == Served::Hit
    });
    other.query("UPDATE t SET x = 'changed'");
    assert_eq!(other.query("SELECT x FROM t").text(), "changed");
    house.before.take();
    pair.hit("SELECT x FROM t");
}

#[test]
fn custom_settings_are_in_the_keys_of_those_who_read_them() {
    let house = House::new(&format!(
        "{SCHEMA} CREATE VIEW mine AS SELECT id, current_setting('app.tenant', true) AS tenant FROM k;"
    ));
    let mut a = house.pair();
    let mut b = house.pair();
    a.both("SET app.tenant = 'a'");
    b.both("SET app.tenant = 'b'");
    for read in [
        "SELECT current_setting('app.tenant'), id FROM k",
        "SELECT * FROM mine",
        "SELECT id FROM k WHERE current_setting('app.tenant', true) = 'a'",
        "SELECT current_setting('APP.Tenant'), id FROM k",
    ] {
        for _ in 0..3 {
            a.look(read);
            b.look(read);
        }
    }
    // Who has not set it is answered by the server.
    let mut none = house.pair();
    none.never_hits("SELECT * FROM mine");
    none.never_hits("SELECT current_setting('app.tenant', true), id FROM k");
    // Those who do not read it share.
    a.becomes_hit("SELECT id FROM k");
    b.hit("SELECT id FROM k");
    a.both("SET app.tenant = 'b'");
    a.look("SELECT * FROM mine");
    a.both("SELECT set_config('app.tenant', 'c', false)");
    a.look("SELECT * FROM mine");
    a.both("BEGIN");
    a.both("SET LOCAL app.tenant = 'd'");
    a.look("SELECT * FROM mine");
    a.both("COMMIT");
    a.look("SELECT * FROM mine");
    a.both("DO $$BEGIN PERFORM set_config('app.' || 'tenant', 'hidden', false); END$$");
    a.look("SELECT * FROM mine");
    a.look("SELECT * FROM mine");
    let name = "SELECT current_setting('app.' || 'tenant'), id FROM k";
    a.look(name);
    a.look(name);
}

#[test]
fn temporary_tables_hide_others() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let mut other = house.pair();
    pair.both("SET search_path = one");
    other.both("SET search_path = one");
    // The same rows, but not from the same table.
    let asked = |pair: &mut Pair<'_>, sql: &str| {
        let (reply, served) = house.look(&mut pair.via, sql);
        assert_eq!(
            reply.text(),
            pair.direct.query(sql).text(),
            "{served:?}: {sql}"
        );
        assert_ne!(served, Served::Hit, "{sql}");
    };
    pair.becomes_hit("SELECT x FROM t");
    pair.both("CREATE TEMP TABLE t AS SELECT 99 AS x");
    asked(&mut pair, "SELECT x FROM t");
    asked(&mut pair, "SELECT x FROM t");
    other.look("SELECT x FROM t");
    pair.both("DROP TABLE pg_temp.t");
    pair.becomes_hit("SELECT x FROM t");
    // Within one transaction.
    pair.both("BEGIN");
    pair.both("CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 98 AS x");
    asked(&mut pair, "SELECT x FROM t");
    pair.both("COMMIT");
    pair.becomes_hit("SELECT x FROM t");
    // Made where nobody sees it.
    pair.both("DO $$BEGIN CREATE TEMP TABLE t AS SELECT 97 AS x; END$$");
    asked(&mut pair, "SELECT x FROM t");
    pair.both("DISCARD TEMP");
    pair.becomes_hit("SELECT x FROM t");
    pair.both("SELECT 96 AS x INTO TEMP t");
    asked(&mut pair, "SELECT x FROM t");
    pair.both("DISCARD ALL");
    pair.both("SET search_path = one");
    pair.becomes_hit("SELECT x FROM t");
}

#[test]
fn standard_conforming_strings_off_means_other_literals() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let read = "SELECT 'a\\tb', id FROM k";
    pair.becomes_hit(read);
    pair.both("SET escape_string_warning = off");
    pair.both("SET standard_conforming_strings = off");
    pair.look(read);
    pair.look(read);
    // What looks like the end of a literal is none here.
    let tricky = "SELECT 'a\\'; UPDATE one.t SET x = 5; --', id FROM k";
    let ours = pair.via.query(tricky);
    let theirs = pair.direct.query(tricky);
    assert_eq!(ours.essence(), theirs.essence());
    pair.both("SET standard_conforming_strings = on");
    pair.look(read);
}
