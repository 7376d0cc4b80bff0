//! Statements that were prepared when their text meant something else.

use super::House;
use super::wire::{Batch, Wire};
use crate::fixture::eventually;

const EVENTS: &str = "
    CREATE TABLE ev (id int PRIMARY KEY, at timestamptz);
    INSERT INTO ev VALUES (1, '2019-12-31 16:00Z'), (2, '2020-01-01 16:00Z')";

const SINCE: &str = "SELECT id FROM ev WHERE at >= '2020-01-01 00:00' ORDER BY id";

fn prepare(wire: &mut Wire, name: &str, sql: &str) {
    let mut batch = Batch::default();
    batch.parse(name, sql, &[]).describe(b'S', name).sync();
    let reply = wire.batch(&batch);
    assert_eq!(reply.error(), None, "{sql}: {reply:?}");
}

fn run(name: &str, parameters: &[Option<&[u8]>]) -> Batch {
    let mut batch = Batch::default();
    batch
        .bind("", name, &[], parameters, &[])
        .describe(b'P', "")
        .execute("", 0)
        .sync();
    batch
}

fn set(wire: &mut Wire, sql: &str) {
    let reply = wire.query(sql);
    assert_eq!(reply.error(), None, "{sql}: {reply:?}");
}

#[test]
fn a_constant_of_another_setting_is_kept_for_nobody() {
    for (one, other, sql) in [
        ("SET timezone = 'UTC'", "SET timezone = 'Asia/Tokyo'", SINCE),
        (
            "SET datestyle = 'ISO, DMY'",
            "SET datestyle = 'ISO, MDY'",
            "SELECT id FROM ev WHERE at >= '02/01/2020 00:00Z' ORDER BY id",
        ),
        (
            "SET transform_null_equals = on",
            "SET transform_null_equals = off",
            "SELECT count(*) FROM ev WHERE NULL = at",
        ),
    ] {
        let house = House::new(&format!("{EVENTS}; INSERT INTO ev VALUES (3, NULL)"));
        let mut asks = house.via();
        set(&mut asks, one);
        prepare(&mut asks, "s", sql);
        for _ in 0..2 {
            asks.batch(&run("s", &[]));
        }
        set(&mut asks, other);
        for _ in 0..2 {
            asks.batch(&run("s", &[]));
        }
        let mut pair = house.pair();
        pair.both(other);
        pair.becomes_hit(sql);
        pair.both(one);
        pair.becomes_hit(sql);
        // Nor that of a transaction.
        set(&mut asks, one);
        set(
            &mut asks,
            &format!("BEGIN; {}", other.replace("SET", "SET LOCAL")),
        );
        prepare(&mut asks, "local", sql);
        asks.batch(&run("local", &[]));
        set(&mut asks, "COMMIT");
        for _ in 0..3 {
            asks.batch(&run("local", &[]));
        }
        house.before.take();
        pair.becomes_hit(sql);
        pair.both(other);
        pair.becomes_hit(sql);
    }
}

#[test]
fn nobody_runs_what_another_has_made_of_the_same_text() {
    for mode in ["off", "on"] {
        let database = super::fresh_database(&super::SHARED, EVENTS);
        let pgditto = super::start(&super::SHARED, &database, |opts| {
            opts.set("cache.mode", mode)
                .set("pool.default_pool_size", 2);
        });
        let house = House {
            postgres: &super::SHARED,
            database,
            pgditto,
            before: Default::default(),
        };
        let delete = "DELETE FROM ev WHERE at < '2020-01-01 00:00'";
        let mut asks = house.via();
        set(&mut asks, "SET timezone = 'UTC'");
        prepare(&mut asks, "s", delete);
        set(&mut asks, "SET timezone = 'Asia/Tokyo'");
        // The connection with the copy of before is another's.
        let mut holds = house.via();
        set(&mut holds, "SET timezone = 'UTC'");
        set(&mut holds, "BEGIN; SELECT count(*) FROM pg_description");
        assert_eq!(asks.batch(&run("s", &[])).error(), None);
        let mut utc = house.via();
        set(&mut utc, "SET timezone = 'UTC'");
        prepare(&mut utc, "s", delete);
        assert_eq!(utc.batch(&run("s", &[])).error(), None);
        assert_eq!(
            house.direct().query("SELECT id FROM ev").text(),
            "2",
            "{mode}"
        );
        set(&mut holds, "COMMIT");
    }
}

#[test]
fn a_name_that_means_another_table_since_is_read_and_written_where_it_leads() {
    let house = House::new(
        "CREATE SCHEMA s1; CREATE TABLE public.t (id int PRIMARY KEY, v text);
         INSERT INTO public.t VALUES (1, 'public')",
    );
    let path = "SET search_path = s1, public";
    let mut asks = house.via();
    set(&mut asks, path);
    prepare(&mut asks, "r", "SELECT v FROM t WHERE id = 1");
    prepare(&mut asks, "w", "UPDATE t SET v = $1 WHERE id = 1");
    asks.batch(&run("r", &[]));
    asks.batch(&run("w", &[Some(b"before")]));
    let mut maker = house.via();
    set(
        &mut maker,
        "CREATE TABLE s1.t (id int, v text); INSERT INTO s1.t VALUES (1, 's1')",
    );
    house.serves();
    for _ in 0..2 {
        asks.batch(&run("r", &[]));
    }
    house.before.take();
    let mut pair = house.pair();
    pair.both(path);
    pair.becomes_hit("SELECT v FROM t WHERE id = 1");
    let tables = [
        "SELECT v FROM public.t WHERE id = 1",
        "SELECT v FROM s1.t WHERE id = 1",
    ];
    for read in tables {
        pair.becomes_hit(read);
    }
    asks.batch(&run("w", &[Some(b"after")]));
    house.before.take();
    for read in tables {
        pair.look(read);
    }
    pair.write("UPDATE public.t SET v = 'again'");
    asks.batch(&run("r", &[]));
    house.before.take();
    pair.becomes_hit("SELECT v FROM t WHERE id = 1");
}

#[test]
fn a_label_that_means_another_value_since_is_kept_for_nobody() {
    let house = House::new(
        "CREATE TYPE e AS ENUM ('a', 'b'); CREATE TABLE en (id int, e e);
         INSERT INTO en VALUES (1, 'a'), (2, 'b')",
    );
    let sql = "SELECT id FROM en WHERE e = 'a'";
    let mut asks = house.via();
    prepare(&mut asks, "s", sql);
    asks.batch(&run("s", &[]));
    let mut maker = house.via();
    set(&mut maker, "ALTER TYPE e RENAME VALUE 'a' TO 'x'");
    set(&mut maker, "ALTER TYPE e RENAME VALUE 'b' TO 'a'");
    house.serves();
    for _ in 0..3 {
        asks.batch(&run("s", &[]));
    }
    house.before.take();
    let mut pair = house.pair();
    pair.becomes_hit(sql);
    assert_eq!(pair.via.query(sql).text(), "2");
}

#[test]
fn a_text_in_another_encoding_is_stored_as_it_was() {
    let house = House::with("CREATE TABLE word (w text)", |opts| {
        opts.set("pool.default_pool_size", 2);
    });
    let mut asks = house.via();
    prepare(&mut asks, "s", "INSERT INTO word VALUES ('é')");
    set(&mut asks, "SET client_encoding = 'LATIN1'");
    // It is sent to the connection that has no copy, and to the other.
    let mut holds = house.via();
    for turn in 0..2 {
        let reply = asks.batch(&run("s", &[]));
        assert_eq!(reply.error(), None, "{reply:?}");
        let sql = if turn == 0 {
            "BEGIN; SELECT count(*) FROM pg_description"
        } else {
            "COMMIT"
        };
        set(&mut holds, sql);
    }
    asks.batch(&run("s", &[]));
    let right = "SELECT count(*) FROM word WHERE w = U&'\\00e9'";
    assert_eq!(house.direct().query(right).text(), "3");
    assert_eq!(asks.query("SHOW client_encoding").text(), "LATIN1");
}

/// The server has read the text, and goes by what it was then.
#[test]
fn what_was_prepared_under_other_rules_of_texts_is_read_by_them_on_every_connection() {
    const ON: &str = "standard_conforming_strings = on";
    const OFF: &str = "standard_conforming_strings = off";
    const UTF8: &str = "client_encoding = 'UTF8'";
    const LATIN1: &str = "client_encoding = 'LATIN1'";
    let house = House::new(
        "CREATE TABLE k (id int PRIMARY KEY, t text); INSERT INTO k VALUES (7, 'x');
         CREATE TABLE w (id int, t text)",
    );
    let mut pair = house.pair();
    let mut count = 0;
    for (then, now, sql) in [
        (ON, OFF, r"SELECT 'a\b', t, U&'\0037' FROM k"),
        (OFF, ON, r"SELECT 'a\\b', '\'', t FROM k"),
        (
            ON,
            OFF,
            r"INSERT INTO w VALUES (U&'\0037', 'x\n') RETURNING t",
        ),
        (OFF, ON, r"INSERT INTO w VALUES ('\067', 'x\n') RETURNING t"),
        (UTF8, LATIN1, "SELECT length('é'), t FROM k"),
        (LATIN1, UTF8, "SELECT length('é'), t FROM k"),
    ] {
        for before in [
            "",
            "BEGIN",
            "BEGIN; SET LOCAL TimeZone = 'UTC'",
            "SET TimeZone = 'UTC'",
        ] {
            count += 1;
            let name = format!("s{count}");
            pair.both(&format!("SET {then}"));
            for wire in [&mut pair.via, &mut pair.direct] {
                prepare(wire, &name, sql);
            }
            pair.both(&format!("SET {now}"));
            // On a connection that has no copy of it.
            let mut other = house.via();
            set(&mut other, "BEGIN; SELECT random()");
            if !before.is_empty() {
                pair.both(before);
            }
            for _ in 0..2 {
                pair.look_batch(&run(&name, &[]));
            }
            // SQL knows it, too.
            pair.both(&format!("EXECUTE {name}"));
            if before.starts_with("BEGIN") {
                pair.both("COMMIT");
            }
            for setting in ["client_encoding", "standard_conforming_strings", "TimeZone"] {
                pair.both(&format!("SHOW {setting}"));
            }
            set(&mut other, "COMMIT");
            pair.look_batch(&run(&name, &[]));
            // As it was again.
            pair.both(&format!("SET {then}"));
            pair.look_batch(&run(&name, &[]));
            pair.both("RESET ALL");
        }
    }
}

/// A Query would end it, a Bind of another statement does not.
#[test]
fn an_unnamed_statement_is_read_by_the_rules_of_its_parse() {
    let house =
        House::new("CREATE TABLE k (id int PRIMARY KEY, t text); INSERT INTO k VALUES (7, 'x')");
    let mut pair = house.pair();
    for wire in [&mut pair.via, &mut pair.direct] {
        prepare(wire, "off", "SET standard_conforming_strings = off");
        prepare(wire, "", r"SELECT 'a\b', t FROM k");
    }
    pair.look_batch(&run("off", &[]));
    let mut other = house.via();
    set(&mut other, "BEGIN; SELECT random()");
    for _ in 0..2 {
        pair.look_batch(&run("", &[]));
    }
}

#[test]
fn a_statement_whose_columns_have_changed_since_is_refused_also_after_a_hit_of_others() {
    let house = House::new("CREATE TABLE t (id int, v text); INSERT INTO t VALUES (1, 'a')");
    let mut pair = house.pair();
    for wire in [&mut pair.via, &mut pair.direct] {
        prepare(wire, "s", "SELECT * FROM t");
        prepare(wire, "u", "SELECT v FROM t");
    }
    house.before.take();
    let mut bare = Batch::default();
    bare.bind("", "s", &[], &[], &[]).execute("", 0).sync();
    eventually("a hit", || pair.look_batch(&bare) == super::Served::Hit);
    pair.write("ALTER TABLE t ADD more int");
    house.serves();
    house.before.take();
    pair.becomes_hit("SELECT * FROM t");
    for _ in 0..2 {
        for batch in [&bare, &run("s", &[])] {
            let refused = pair.via.batch(batch);
            assert_eq!(refused.error().as_deref(), Some("0A000"), "{refused:?}");
            assert_eq!(pair.direct.batch(batch).error().as_deref(), Some("0A000"));
        }
        house.before.take();
        pair.look_batch(&run("u", &[]));
    }
    eventually("a hit", || {
        pair.look_batch(&run("u", &[])) == super::Served::Hit
    });
}

/// Without a backslash a text means the same whatever the rules of strings are.
#[test]
fn what_was_prepared_under_other_rules_of_strings_runs_on() {
    let house =
        House::new("CREATE TABLE k (id int PRIMARY KEY, t text); INSERT INTO k VALUES (7, 'x')");
    let mut pair = house.pair();
    for (name, sql) in [
        ("read", "SELECT t FROM k WHERE id = '7'::text::int"),
        ("write", "UPDATE k SET t = 'y' WHERE id = 7"),
    ] {
        pair.both("SET standard_conforming_strings = on");
        for wire in [&mut pair.via, &mut pair.direct] {
            prepare(wire, name, sql);
        }
        pair.look_batch(&run(name, &[]));
        pair.both("SET standard_conforming_strings = off");
        // On a connection that has no copy of it.
        let mut other = house.via();
        set(&mut other, "BEGIN; SELECT random()");
        for _ in 0..2 {
            pair.look_batch(&run(name, &[]));
        }
    }
}

#[test]
fn what_the_server_notices_of_a_text_is_told_once() {
    let house =
        House::new("CREATE TABLE k (id int PRIMARY KEY, t text); INSERT INTO k VALUES (7, 'x')");
    let told = |wire: &mut Wire| {
        let mut told = Vec::new();
        set(wire, "SET standard_conforming_strings = off");
        for before in [
            &[][..],
            &["BEGIN"],
            &["BEGIN", "UPDATE k SET t = 'z' WHERE id = 7"],
        ] {
            for sql in [
                r"UPDATE k SET t = '\x61' WHERE id = 7",
                r"SELECT t = '\x61' FROM k",
            ] {
                before.iter().for_each(|sql| set(wire, sql));
                for _ in 0..2 {
                    let name = format!("{}{sql}", before.len());
                    let mut batch = Batch::default();
                    batch.parse(&name, sql, &[]).bind("", &name, &[], &[], &[]);
                    batch.describe(b'P', "").execute("", 0).sync();
                    let first = wire.batch(&batch).kinds();
                    let again = wire.batch(&run(&name, &[])).kinds();
                    wire.batch(Batch::default().close(b'S', &name).sync());
                    told.push(format!("{before:?} {sql}: {first} {again}"));
                }
                if !before.is_empty() {
                    set(wire, "ROLLBACK");
                }
            }
        }
        told
    };
    assert_eq!(told(&mut house.via()), told(&mut house.direct()));
}
