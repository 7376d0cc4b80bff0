//! What operators and statements may ask for: modes, rules, hints, levels.

use super::{House, Served};
use crate::fixture::eventually;

const SCHEMA: &str = "
    CREATE TABLE price (id int, x int); INSERT INTO price VALUES (1, 1);
    CREATE TABLE stock (id int, x int); INSERT INTO stock VALUES (1, 1);
    CREATE FUNCTION total() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT sum(x) FROM price';
    CREATE FUNCTION pick(n int) RETURNS bigint LANGUAGE plpgsql STABLE AS
        $$BEGIN IF n = 1 THEN RETURN (SELECT sum(x) FROM price); END IF; RETURN (SELECT sum(x) FROM stock); END$$;
    CREATE FUNCTION caught() RETURNS bigint LANGUAGE plpgsql AS $$
        DECLARE n bigint := 0;
        BEGIN
            BEGIN
                n := (SELECT sum(x) FROM price);
                PERFORM 1 / (n - n);
            EXCEPTION WHEN division_by_zero THEN n := n * 2;
            END;
            RETURN n;
        END$$;
    CREATE FUNCTION picks(n int) RETURNS bigint LANGUAGE sql AS 'SELECT pick(n) + caught()';
";

fn with_config(config: &str) -> House<'static> {
    House::with(SCHEMA, |opts| {
        let name = format!(
            "pgditto-it-rules-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        );
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).expect("a temporary folder");
        let file = dir.join("pgditto.toml");
        std::fs::write(&file, config).expect("space");
        opts.args(&["--config", file.to_str().expect("a plain name")]);
    })
}

#[test]
fn mode_off_serves_nothing() {
    let database = super::fresh_database(&super::SHARED, SCHEMA);
    let pgditto = super::start(&super::SHARED, &database, |opts| {
        opts.set("cache.mode", "off");
    });
    let house = House {
        postgres: &super::SHARED,
        database,
        pgditto,
        before: Default::default(),
    };
    let mut pair = house.pair();
    for _ in 0..3 {
        pair.bypass("SELECT * FROM price", "cache_off");
    }
}

#[test]
fn a_rule_keeps_tables_out() {
    let house = with_config("[[cache.rules]]\ntables = [\"stock\"]\ncache = false\n");
    let mut pair = house.pair();
    pair.bypass("SELECT * FROM stock", "rule");
    pair.bypass("SELECT * FROM stock", "rule");
    pair.miss("SELECT * FROM price");
    pair.hit("SELECT * FROM price");
    pair.becomes_hit("SELECT * FROM price JOIN stock USING (id)");
}

#[test]
fn a_rule_gives_answers_another_age() {
    let house = with_config("[[cache.rules]]\ntables = [\"public.pri*\"]\nttl = \"200ms\"\n");
    let mut pair = house.pair();
    pair.becomes_hit("SELECT * FROM price");
    eventually("too old", || {
        pair.look("SELECT * FROM price") == Served::Miss
    });
    pair.becomes_hit("SELECT * FROM stock");
}

#[test]
fn level_ttl_may_be_as_old_as_the_ttl_and_no_older() {
    let house =
        with_config("[[cache.rules]]\ntables = [\"price\"]\nlevel = \"ttl\"\nttl = \"400ms\"\n");
    let mut pair = house.pair();
    let read = "SELECT x FROM price";
    pair.becomes_hit(read);
    house.outside("UPDATE price SET x = 2");
    eventually("seen within the ttl", || pair.via.query(read).text() == "2");
    // Schema changes count at once, at every level.
    pair.write("ALTER TABLE price ALTER COLUMN x TYPE bigint");
    house.before.take();
    pair.asked(read);
    // What is uncommitted or was rolled back is seen by nobody.
    let mut writer = house.via();
    writer.query("BEGIN");
    writer.query("UPDATE price SET x = 3");
    for _ in 0..5 {
        assert_eq!(pair.via.query(read).text(), "2");
    }
    assert_eq!(writer.query(read).text(), "3");
    writer.query("ROLLBACK");
    for _ in 0..5 {
        assert_eq!(pair.via.query(read).text(), "2");
    }
}

#[test]
fn hints_speak_for_one_statement() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    for hint in [
        "/* pgditto: no_cache */ SELECT x FROM price",
        "/*NO QUERY CACHE*/ SELECT x FROM price",
    ] {
        pair.bypass(hint, "hint");
        pair.bypass(hint, "hint");
    }
    pair.miss("SELECT x FROM price");
    pair.hit("SELECT x FROM price");
    let short = "/* pgditto: ttl=200ms, tags=a|b */ SELECT x FROM stock";
    pair.becomes_hit(short);
    eventually("too old", || pair.look(short) == Served::Miss);
    // No hint makes what must not be cached cacheable.
    pair.never_hits("/* pgditto: ttl=10s */ SELECT now(), x FROM price");
    pair.never_hits("/* pgditto: level=ttl, ttl=10s */ SELECT random() FROM price");
}

#[test]
fn a_session_may_do_without_the_cache() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let read = "SELECT x FROM price";
    pair.becomes_hit(read);
    pair.both("SET pgditto.cache = 'off'");
    pair.bypass(read, "session");
    pair.both("SET pgditto.cache = 'on'");
    pair.hit(read);
    pair.both("SET pgditto.cache = 'off'");
    pair.both("RESET pgditto.cache");
    pair.hit(read);
    let mut other = house.pair_as("app", &[("options", "-c pgditto.cache=off")]);
    other.bypass(read, "session");
}

#[test]
fn a_rule_may_vouch_for_a_function() {
    let house = with_config("[[cache.rules]]\nfunctions = [\"total\"]\n");
    let mut pair = house.pair();
    pair.becomes_hit("SELECT total()");
    pair.invalidates("SELECT total()", "UPDATE price SET x = x + 1");
}

/// What it reads is what it may read, whichever way it takes, and although it has left the block in which it read.
#[test]
fn a_function_that_a_rule_vouches_for_depends_on_all_that_it_may_read() {
    let house = with_config("[[cache.rules]]\nfunctions = [\"pick\", \"caught\", \"picks\"]\n");
    let mut pair = house.pair();
    let (price, stock) = (
        "UPDATE price SET x = x + 1 WHERE id = 1",
        "UPDATE stock SET x = x + 1 WHERE id = 1",
    );
    pair.invalidates("SELECT pick(1)", price);
    pair.invalidates("SELECT pick(2)", stock);
    pair.invalidates("SELECT pick(x - x + 1) FROM stock", price);
    pair.invalidates("SELECT caught()", price);
    pair.invalidates("SELECT picks(1)", price);
    pair.invalidates("SELECT picks(2)", stock);
    pair.invalidates(
        "SELECT picks(2)",
        "CREATE OR REPLACE FUNCTION caught() RETURNS bigint LANGUAGE sql AS 'SELECT 1000 + sum(x) FROM price'",
    );
    // Somebody vouched for it, and now it writes, or follows the clock.
    for body in [
        "BEGIN INSERT INTO stock VALUES (9, 9); RETURN 1; END",
        "BEGIN RETURN extract(epoch FROM clock_timestamp()) * 1000000; END",
        "BEGIN RETURN (random() * 1000000000)::bigint; END",
    ] {
        pair.write(&format!(
            "CREATE OR REPLACE FUNCTION caught() RETURNS bigint LANGUAGE plpgsql AS $$ {body} $$"
        ));
        house.serves();
        pair.never_hits("SELECT caught()");
        pair.never_hits("SELECT picks(2)");
    }
}
