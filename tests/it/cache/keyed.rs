//! A write to some rows leaves the answers of others valid, and never one that it changes: values in
//! every dress, rows that move, and everything that makes it uncertain which rows they are.

use super::wire::{Batch, Wire};
use super::{House, Pair, Served};

const SCHEMA: &str = "
    CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    CREATE TABLE acc (id int PRIMARY KEY, big bigint UNIQUE, small smallint, owner text, code varchar(3), flag bool,
                      tag uuid, price numeric, ratio float8, nick text COLLATE nocase, amount int DEFAULT 0,
                      twice int GENERATED ALWAYS AS (amount * 2) STORED);
    INSERT INTO acc SELECT g, g, g, 'o' || g, 'c' || g, g % 2 = 1, ('00000000-0000-0000-0000-00000000000' || g)::uuid, g, g, 'n' || g
        FROM generate_series(1, 9) g;
    CREATE TABLE item (acc int, pos int, what text, PRIMARY KEY (acc, pos));
    INSERT INTO item SELECT a, p, 'w' || a || p FROM generate_series(1, 9) a, generate_series(1, 3) p;
";

const ONE: &str = "SELECT * FROM acc WHERE id = 1";
const TWO: &str = "SELECT * FROM acc WHERE id = 2";

#[test]
fn a_write_by_key_leaves_the_answers_of_other_keys_valid() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    for write in [
        "UPDATE acc SET amount = amount + 1 WHERE id = 1",
        "UPDATE public.acc AS a SET amount = amount + 1 WHERE 1 = a.id AND price > 0",
        "UPDATE acc SET amount = amount + 1 WHERE id = '1'",
        "UPDATE acc SET amount = amount + 1 WHERE id IN (1, 3)",
        "UPDATE acc SET amount = acc.amount + 1 FROM item WHERE acc.id = item.acc AND item.acc = 1",
        "INSERT INTO acc (id, amount) VALUES (1, 5) ON CONFLICT (id) DO UPDATE SET amount = acc.amount + excluded.amount",
        "BEGIN; UPDATE acc SET amount = amount + 1 WHERE id = 1; COMMIT",
        "DELETE FROM acc WHERE id = 1",
        "INSERT INTO acc (id, amount) VALUES (1, 7)",
    ] {
        pair.becomes_hit(ONE);
        pair.becomes_hit(TWO);
        pair.becomes_hit("SELECT sum(amount) FROM acc");
        pair.write(write);
        // A string of several statements touches its tables as a whole.
        if !write.starts_with("BEGIN") {
            pair.hit(TWO);
        }
        pair.asked(ONE);
        pair.asked("SELECT sum(amount) FROM acc");
    }
}

/// Reads of more rows than the smallest field of counters has room for.
#[test]
fn answers_stay_while_reads_of_thousands_of_other_rows_begin() {
    let house = House::new(
        "CREATE TABLE many (id int PRIMARY KEY, v int NOT NULL); INSERT INTO many SELECT g, 0 FROM generate_series(1, 3000) g",
    );
    let read = |id: usize| format!("SELECT v FROM many WHERE id = {id}");
    let mut pair = house.pair();
    pair.becomes_hit(&read(1));
    pair.becomes_hit(&read(2));
    let counters = || house.pgditto.metrics().sum("pgditto_key_bytes", &[]);
    let before = counters();
    let mut client = house.via();
    for id in 3..=3000 {
        client.query(&read(id));
    }
    house.before.take();
    assert!(counters() > before);
    pair.hit(&read(1));
    pair.write("UPDATE many SET v = v + 1 WHERE id = 1");
    pair.asked(&read(1));
    pair.hit(&read(2));
    pair.becomes_hit(&read(1));
    pair.write("UPDATE many SET v = v + 1 WHERE id IN (1, 2, 3000)");
    for id in [1, 2, 3000] {
        pair.asked(&read(id));
    }
}

#[test]
fn statements_of_one_transaction_each_touch_their_rows() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    for read in [ONE, TWO, "SELECT * FROM acc WHERE id = 3"] {
        pair.becomes_hit(read);
    }
    for write in [
        "BEGIN",
        "UPDATE acc SET amount = 5 WHERE id = 1",
        "SAVEPOINT s",
        "UPDATE acc SET amount = 5 WHERE id = 3",
        "ROLLBACK TO s",
        "COMMIT",
    ] {
        pair.write(write);
    }
    pair.asked(ONE);
    pair.hit(TWO);
}

/// The read is answered anew after the write, however both are written.
#[test]
fn values_are_told_apart_and_not_their_texts() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    for (read, write) in [
        (
            "SELECT amount FROM acc WHERE id = '07'",
            "UPDATE acc SET amount = amount + 1 WHERE id = 7",
        ),
        (
            "SELECT amount FROM acc WHERE id = ' +7 '",
            "UPDATE acc SET amount = amount + 1 WHERE id = '7'",
        ),
        (
            "SELECT amount FROM acc WHERE id = 7",
            "UPDATE acc SET amount = amount + 1 WHERE id = 7.0",
        ),
        (
            "SELECT amount FROM acc WHERE id = 7.0",
            "UPDATE acc SET amount = amount + 1 WHERE id = 7",
        ),
        (
            "SELECT amount FROM acc WHERE big = 7",
            "UPDATE acc SET amount = amount + 1 WHERE big = '007'",
        ),
        (
            "SELECT amount FROM acc WHERE big = 7",
            "UPDATE acc SET amount = amount + 1 WHERE id = 7",
        ),
        (
            "SELECT amount FROM acc WHERE small = 7",
            "UPDATE acc SET amount = amount + 1 WHERE small = 7::bigint",
        ),
        (
            "SELECT amount FROM acc WHERE flag = 'yes'",
            "UPDATE acc SET amount = amount + 1 WHERE flag = true",
        ),
        (
            "SELECT amount FROM acc WHERE flag",
            "UPDATE acc SET amount = amount + 1 WHERE flag = 't'",
        ),
        (
            "SELECT amount FROM acc WHERE flag = true",
            "UPDATE acc SET flag = ' TR ' WHERE id = 2",
        ),
        (
            "SELECT amount FROM acc WHERE owner = 'o7'",
            "UPDATE acc SET amount = amount + 1 WHERE owner = E'\\x6f7'",
        ),
        (
            "SELECT amount FROM acc WHERE owner = U&'\\006f7'",
            "UPDATE acc SET amount = amount + 1 WHERE owner = $$o7$$",
        ),
        (
            "SELECT amount FROM acc WHERE owner = 'o7'",
            "UPDATE acc SET amount = amount + 1 WHERE owner = U&'!006f7' UESCAPE '!'",
        ),
        (
            "SELECT amount FROM acc WHERE owner = 'o'\n'7'",
            "UPDATE acc SET amount = amount + 1 WHERE owner = 'o7'",
        ),
        (
            "SELECT amount FROM acc WHERE code = 'c7'",
            "UPDATE acc SET amount = amount + 1 WHERE code = 'c7'::bpchar",
        ),
        (
            "SELECT amount FROM acc WHERE nick = 'n7'",
            "UPDATE acc SET amount = amount + 1 WHERE nick = 'N7'",
        ),
        (
            "SELECT amount FROM acc WHERE tag = '00000000-0000-0000-0000-000000000007'",
            "UPDATE acc SET amount = amount + 1 WHERE tag = '{00000000000000000000000000000007}'",
        ),
        (
            "SELECT amount FROM acc WHERE price = 7",
            "UPDATE acc SET amount = amount + 1 WHERE price = 7.00",
        ),
        (
            "SELECT amount FROM acc WHERE ratio = 7",
            "UPDATE acc SET amount = amount + 1 WHERE ratio = '7e0'",
        ),
        (
            "SELECT count(*) FROM acc WHERE id = 70",
            "INSERT INTO acc (id) VALUES (70.4)",
        ),
        (
            "SELECT count(*) FROM acc WHERE id = 71",
            "INSERT INTO acc (id) VALUES (' 71 ')",
        ),
        (
            "SELECT count(*) FROM acc WHERE id = 72",
            "INSERT INTO acc (amount, id) VALUES (1, '0072'), (2, 73)",
        ),
        (
            "SELECT count(*) FROM acc WHERE code = 'abc'",
            "INSERT INTO acc (id, code) VALUES (80, 'abc   ')",
        ),
        (
            "SELECT count(*) FROM acc WHERE owner = '7'",
            "INSERT INTO acc (id, owner) VALUES (81, 7)",
        ),
        (
            "SELECT count(*) FROM acc WHERE amount = 0",
            "INSERT INTO acc (id) VALUES (82)",
        ),
        (
            "SELECT count(*) FROM acc WHERE amount = 0",
            "UPDATE acc SET amount = DEFAULT WHERE id = 1 OR id = 7",
        ),
        (
            "SELECT count(*) FROM acc WHERE twice = 18",
            "UPDATE acc SET amount = 9 WHERE id = 3",
        ),
        (
            "SELECT count(*) FROM acc WHERE owner IS NULL AND id = 4",
            "UPDATE acc SET owner = NULL WHERE id = '4'",
        ),
        (
            "SELECT count(*) FROM acc WHERE id IN (5, 90)",
            "INSERT INTO acc VALUES (90)",
        ),
        (
            "SELECT count(*) FROM acc WHERE id = -1",
            "INSERT INTO acc VALUES (-1)",
        ),
        (
            "SELECT count(*) FROM acc WHERE id = - 2",
            "INSERT INTO acc VALUES ('-2')",
        ),
    ] {
        pair.invalidates(read, write);
    }
}

/// By its `search_path` a session writes with an `=` of its own, and other rows than those that its text names. As long as
/// there is one, comparisons mean nothing that is known, so nothing is told apart by them, and nothing kept.
#[test]
fn an_equality_of_the_user_s_own_names_other_rows() {
    const CHANGE: &str = "UPDATE acc SET amount = acc.amount + 1";
    const ALL: &str = "SELECT sum(amount), count(*) FROM acc";
    const SOME: &str = "SELECT sum(amount) FROM acc WHERE flag";
    let house = House::new(&format!("{SCHEMA} CREATE SCHEMA own;"));
    let mut pair = house.pair();
    pair.leaves_alone(ONE, &format!("{CHANGE} WHERE id = -1"));
    for read in [ALL, SOME] {
        pair.becomes_hit(read);
    }
    pair.write(
        "CREATE FUNCTION own.same(int, int) RETURNS bool LANGUAGE sql IMMUTABLE AS
             'SELECT pg_catalog.abs($1) OPERATOR(pg_catalog.=) pg_catalog.abs($2)';
         CREATE OPERATOR own.= (LEFTARG = int, RIGHTARG = int, FUNCTION = own.same);
         CREATE FUNCTION own.other(bool, bool) RETURNS bool LANGUAGE sql IMMUTABLE AS
             'SELECT $1 OPERATOR(pg_catalog.<>) $2';
         CREATE OPERATOR own.= (LEFTARG = bool, RIGHTARG = bool, FUNCTION = own.other);",
    );
    let mut writer = house.via();
    let reply = writer.query("SET search_path = own, pg_catalog, public");
    assert_eq!(reply.error(), None);
    let bound = format!("{CHANGE} WHERE id = $1");
    for (read, write) in [
        (ONE, format!("{CHANGE} WHERE id = -1")),
        (ONE, format!("{CHANGE} WHERE id IN (-1, -7)")),
        (ALL, format!("{CHANGE} WHERE id = ANY ('{{-1}}')")),
        (
            ONE,
            format!("{CHANGE} FROM item WHERE acc.id = item.acc AND item.acc = -1"),
        ),
        (SOME, format!("{CHANGE} WHERE flag = false")),
        (ONE, bound.clone()),
        (ALL, "DELETE FROM acc WHERE id = -1".into()),
    ] {
        pair.never_hits(read);
        let before = pair.direct.query(read);
        let reply = match write == bound {
            true => writer.batch(&Batch::whole(&write, &[Some(b"-1")])),
            false => writer.query(&write),
        };
        assert_eq!(reply.error(), None, "{write}: {reply:?}");
        assert_ne!(
            pair.direct.query(read),
            before,
            "it changes nothing: {write}"
        );
        house.before.take();
        for read in [read, ONE, ALL, SOME] {
            pair.asked(read);
        }
    }
    pair.write("DROP OPERATOR own.= (int, int); DROP OPERATOR own.= (bool, bool)");
    for read in [ONE, ALL, SOME] {
        pair.becomes_hit(read);
    }
}

#[test]
fn a_row_that_moves_is_known_where_it_was_and_where_it_comes() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let at = |id| format!("SELECT owner FROM acc WHERE id = {id}");
    for (write, changed, other) in [
        ("UPDATE acc SET id = 11 WHERE id = 1", [1, 11], 2),
        (
            "UPDATE acc SET (id, amount) = (1, 3) WHERE id = 11",
            [1, 11],
            9,
        ),
        ("UPDATE acc SET id = id + 10 WHERE id = 2", [2, 12], 9),
        ("UPDATE acc SET id = '0013' WHERE id = 3", [3, 13], 9),
        ("UPDATE acc SET id = 14.4 WHERE id = 4", [4, 14], 9),
        ("UPDATE acc SET id = 15 WHERE owner = 'o5'", [5, 15], 9),
    ] {
        for id in changed.into_iter().chain([other]) {
            pair.becomes_hit(&at(id));
        }
        pair.write(write);
        for id in changed {
            pair.asked(&at(id));
        }
        // Where the new key is no constant, or the old one not given, all keys are meant.
        pair.look(&at(other));
    }
    pair.becomes_hit(&at(9));
    pair.write("UPDATE acc SET id = 16 WHERE id = 6");
    pair.hit(&at(9));
    // By another column that it is told by, too.
    pair.becomes_hit("SELECT id FROM acc WHERE owner = 'x'");
    pair.becomes_hit("SELECT id FROM acc WHERE owner = 'o7'");
    pair.write("UPDATE acc SET owner = 'x' WHERE owner = 'o7'");
    pair.asked("SELECT id FROM acc WHERE owner = 'x'");
    pair.asked("SELECT id FROM acc WHERE owner = 'o7'");
}

#[test]
fn an_empty_answer_is_known_to_change() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    pair.leaves_alone(
        "SELECT * FROM acc WHERE id = 50",
        "INSERT INTO acc (id) VALUES (51)",
    );
    pair.invalidates(
        "SELECT * FROM acc WHERE id = 50",
        "INSERT INTO acc (id) VALUES (50)",
    );
    pair.invalidates(
        "SELECT * FROM acc WHERE id = 52",
        "INSERT INTO acc (id) SELECT 52",
    );
    pair.invalidates(
        "SELECT * FROM acc WHERE id = 53",
        "COPY (SELECT 1) TO STDOUT; INSERT INTO acc (id) VALUES (53)",
    );
    pair.invalidates(
        "SELECT count(*) FROM acc WHERE id = 54",
        "WITH n AS (INSERT INTO acc (id) VALUES (54) RETURNING id) SELECT id FROM n",
    );
}

#[test]
fn joins_and_keys_of_several_columns() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let by_join = "SELECT a.owner, i.what FROM acc a JOIN item i ON i.acc = a.id WHERE a.id = 3 ORDER BY i.pos";
    pair.leaves_alone(
        by_join,
        "UPDATE item SET what = 'x' WHERE acc = 4 AND pos = 1",
    );
    pair.leaves_alone(by_join, "UPDATE acc SET amount = 3 WHERE id = 4");
    pair.invalidates(
        by_join,
        "UPDATE item SET what = 'x' WHERE acc = 3 AND pos = 1",
    );
    pair.invalidates(by_join, "UPDATE acc SET owner = 'x' WHERE id = 3");
    pair.invalidates(by_join, "INSERT INTO item VALUES (3, 4, 'new')");
    pair.invalidates(by_join, "UPDATE item SET what = 'y' WHERE pos = 4");
    let outer = "SELECT a.owner, i.what FROM acc a LEFT JOIN item i ON i.acc = a.id AND i.pos = 9 WHERE a.id = 5";
    pair.leaves_alone(outer, "INSERT INTO item VALUES (6, 9, 'x')");
    pair.invalidates(outer, "INSERT INTO item VALUES (5, 9, 'x')");
    let preserved = "SELECT count(*), count(i.acc) FROM acc a LEFT JOIN item i ON i.acc = a.id AND a.id = 5 AND i.pos = 1";
    pair.invalidates(preserved, "INSERT INTO acc (id) VALUES (60)");
    pair.invalidates(preserved, "DELETE FROM item WHERE acc = 5 AND pos = 1");
    let both = "SELECT what FROM item WHERE acc = 7 AND pos = 2";
    pair.leaves_alone(both, "UPDATE item SET what = 'x' WHERE acc = 7 AND pos = 3");
    pair.leaves_alone(both, "DELETE FROM item WHERE pos = 3 AND acc = 7");
    pair.invalidates(both, "UPDATE item SET what = 'z' WHERE acc = 7 AND pos = 2");
    pair.invalidates(both, "UPDATE item SET what = 'zz' WHERE acc = 7");
    pair.invalidates(both, "UPDATE item SET pos = 20 WHERE acc = 7 AND pos = 2");
    pair.invalidates(both, "UPDATE item SET pos = 2 WHERE acc = 7 AND pos = 20");
    let twice = "SELECT a.owner, b.owner FROM acc a, acc b WHERE a.id = 7 AND b.id = 8";
    pair.leaves_alone(twice, "UPDATE acc SET owner = 'y' WHERE id = 9");
    pair.invalidates(twice, "UPDATE acc SET owner = 'y' WHERE id = 7");
    pair.invalidates(twice, "UPDATE acc SET owner = 'y' WHERE id = 8");
    let within = "SELECT owner, (SELECT count(*) FROM item) FROM acc WHERE id = 7";
    pair.invalidates(within, "DELETE FROM item WHERE acc = 1 AND pos = 1");
    let limited = "SELECT * FROM (SELECT id FROM acc ORDER BY id LIMIT 3) s WHERE id = 2";
    pair.invalidates(limited, "DELETE FROM acc WHERE id = 2");
}

/// One Execute with these values, text where the format is 0.
pub(super) fn batch(sql: &str, types: &[u32], formats: &[u16], values: &[Option<&[u8]>]) -> Batch {
    let mut batch = Batch::default();
    batch
        .parse("", sql, types)
        .bind("", "", formats, values, &[]);
    batch.describe(b'P', "").execute("", 0).sync();
    batch
}

pub(super) fn write_batch(pair: &mut Pair<'_>, batch: &Batch) {
    let reply = pair.via.batch(batch);
    assert_eq!(reply.error(), None, "{reply:?}");
    pair.house.before.take();
}

pub(super) fn becomes_hit(pair: &mut Pair<'_>, batch: &Batch) {
    pair.look_batch(batch);
    assert_eq!(pair.look_batch(batch), Served::Hit);
}

#[test]
fn parameters_are_values_too_in_text_and_binary() {
    const UPDATE: &str = "UPDATE acc SET amount = amount + 1 WHERE id = $1";
    const SELECT: &str = "SELECT amount FROM acc WHERE id = $1";
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let other = batch(SELECT, &[], &[], &[Some(b"8")]);
    let seven: [&[u8]; 3] = [&[0, 0, 0, 7], &[0, 7], &[0, 0, 0, 0, 0, 0, 0, 7]];
    let ways: [(&[u32], &[u16], &[u8]); 7] = [
        (&[], &[], b"7"),
        (&[], &[0], b" +07 "),
        (&[23], &[], b"7"),
        (&[], &[1], seven[0]),
        (&[23], &[1], seven[0]),
        (&[21], &[1], seven[1]),
        (&[20], &[1], seven[2]),
    ];
    for (types, formats, value) in ways {
        for (read_types, read_formats, read_value) in ways {
            let read = batch(SELECT, read_types, read_formats, &[Some(read_value)]);
            becomes_hit(&mut pair, &read);
            becomes_hit(&mut pair, &other);
            write_batch(&mut pair, &batch(UPDATE, types, formats, &[Some(value)]));
            assert_eq!(pair.look_batch(&other), Served::Hit);
            assert_eq!(pair.look_batch(&read), Served::Miss);
        }
    }
    // Of another type, NULL, or of a type that is given elsewhere.
    let read = batch(SELECT, &[], &[], &[Some(b"7")]);
    let two_places = "UPDATE acc SET price = $1, amount = amount + 1 WHERE id = $1";
    let numeric = [0, 1, 0, 0, 0, 0, 0, 0, 0, 7];
    for write in [
        batch(UPDATE, &[1700], &[], &[Some(b"7.0")]),
        batch(UPDATE, &[1700], &[1], &[Some(&numeric)]),
        batch(UPDATE, &[701], &[], &[Some(b"7")]),
        batch(two_places, &[], &[], &[Some(b"7")]),
        batch(
            "UPDATE acc SET amount = amount + 1 WHERE id = $1 OR $1 IS NULL",
            &[23],
            &[],
            &[None],
        ),
        batch(
            "UPDATE acc SET amount = amount + 1 WHERE id = $2 AND $1 = 'x'",
            &[25, 23],
            &[0, 1],
            &[Some(b"x"), Some(seven[0])],
        ),
    ] {
        becomes_hit(&mut pair, &read);
        write_batch(&mut pair, &write);
        assert_eq!(pair.look_batch(&read), Served::Miss);
    }
}

#[test]
fn the_elements_of_an_array_are_values_too() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    // A binary array of one dimension.
    let array = |oid: u32, elements: &[&[u8]]| {
        let mut bytes = Vec::new();
        for number in [1, 0, oid, elements.len() as u32, 1] {
            bytes.extend(number.to_be_bytes());
        }
        for element in elements {
            bytes.extend((element.len() as u32).to_be_bytes());
            bytes.extend(*element);
        }
        bytes
    };
    let four = array(23, &[&[0, 0, 0, 7], &[0, 0, 0, 3]]);
    let eight = array(20, &[&[0, 0, 0, 0, 0, 0, 0, 7]]);
    const ANY: &str = "id = ANY ($1)";
    const CAST: &str = "id = ANY ($1::int[])";
    type Way<'a> = (&'a str, &'a [u32], &'a [u16], &'a [u8]);
    let ways: [Way<'_>; 8] = [
        (ANY, &[], &[], b"{3,7}"),
        (ANY, &[1007], &[0], b" { +07 , NULL, \"3\" }"),
        (ANY, &[1007], &[1], &four),
        (ANY, &[], &[1], &four),
        (ANY, &[1016], &[1], &eight),
        (CAST, &[], &[], b"{7}"),
        (CAST, &[1007], &[1], &four),
        ("id = SOME (($1))", &[1005], &[], b"{7,7,7}"),
    ];
    let select = |on: &str| format!("SELECT id, amount FROM acc WHERE {on} ORDER BY id");
    let update = |on: &str| format!("UPDATE acc SET amount = amount + 1 WHERE {on}");
    let eight = "SELECT id, amount FROM acc WHERE id = 8";
    for (on, types, formats, value) in ways {
        for (read_on, read_types, read_formats, read_value) in ways {
            let read = batch(
                &select(read_on),
                read_types,
                read_formats,
                &[Some(read_value)],
            );
            becomes_hit(&mut pair, &read);
            pair.becomes_hit(eight);
            write_batch(
                &mut pair,
                &batch(&update(on), types, formats, &[Some(value)]),
            );
            pair.hit(eight);
            assert_eq!(pair.look_batch(&read), Served::Miss, "{on} {read_on}");
            pair.write("UPDATE acc SET amount = 0 WHERE id = 8");
            assert_eq!(pair.look_batch(&read), Served::Hit);
        }
        // Constants, and texts.
        pair.invalidates(
            "SELECT id, amount FROM acc WHERE id = ANY (ARRAY[1, 7])",
            &update("id = '7'"),
        );
        pair.leaves_alone(
            "SELECT id, amount FROM acc WHERE owner = ANY (ARRAY['o1', 'o7'])",
            &update("owner = 'o8'"),
        );
    }
    let seven = select("id = 7");
    for (write, types, value) in [
        // What cannot be told: other types, other dimensions, too many, a slice, a cast that rounds.
        (ANY, &[1231][..], &b"{7.0}"[..]),
        (ANY, &[1022], b"{7}"),
        (ANY, &[], b"{{7},{9}}"),
        (ANY, &[], b"[2:2]={7}"),
        (ANY, &[], b"{1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17}"),
        ("id = ANY ($1::numeric[]::int[])", &[], b"{6.8}"),
        ("id = ANY ($1::int[])", &[1009], b"{7}"),
        ("id = ANY ($1) AND $1 IS NOT NULL", &[], b"{7}"),
        ("id = ANY (ARRAY[6.5, 7])", &[], b""),
        ("id = ANY ('{7}')", &[], b""),
        ("id = ANY (SELECT 7)", &[], b""),
        ("id >= ANY ($1)", &[], b"{7}"),
        ("owner = ANY ($1::varchar(2)[])", &[], b"{o77}"),
    ] {
        pair.becomes_hit(&seven);
        let value = Some(value);
        let values = match write.contains('$') {
            true => std::slice::from_ref(&value),
            false => &[],
        };
        write_batch(&mut pair, &batch(&update(write), types, &[], values));
        assert_ne!(pair.look(&seven), Served::Hit, "{write}");
    }
}

#[test]
fn a_statement_that_is_prepared_once_touches_the_rows_of_each_bind() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let mut prepare = Batch::default();
    prepare
        .parse(
            "u",
            "UPDATE acc SET amount = amount + 1 WHERE id = $1",
            &[23],
        )
        .sync();
    write_batch(&mut pair, &prepare);
    for id in [1, 2, 1] {
        pair.becomes_hit(ONE);
        pair.becomes_hit(TWO);
        let mut update = Batch::default();
        let value = id.to_string();
        update
            .bind("", "u", &[], &[Some(value.as_bytes())], &[])
            .execute("", 0)
            .sync();
        write_batch(&mut pair, &update);
        pair.look(if id == 1 { ONE } else { TWO });
        pair.hit(if id == 1 { TWO } else { ONE });
    }
    // Two portals at once, executed in the other order.
    pair.becomes_hit(ONE);
    pair.becomes_hit(TWO);
    pair.becomes_hit("SELECT * FROM acc WHERE id = 3");
    let mut two = Batch::default();
    two.bind("a", "u", &[], &[Some(b"1")], &[])
        .bind("b", "u", &[], &[Some(b"2")], &[]);
    two.execute("b", 0).execute("a", 0).sync();
    write_batch(&mut pair, &two);
    pair.asked(ONE);
    pair.asked(TWO);
    pair.hit("SELECT * FROM acc WHERE id = 3");
}

#[test]
fn a_statement_stays_confined_when_other_tables_change() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    // The catalogue is known.
    pair.becomes_hit(ONE);
    let mut prepare = Batch::default();
    prepare
        .parse("u", "UPDATE acc SET amount = amount + 1 WHERE id = $1", &[])
        .sync();
    write_batch(&mut pair, &prepare);
    let mut update = Batch::default();
    update
        .bind("", "u", &[1], &[Some(&1_i32.to_be_bytes())], &[])
        .execute("", 0)
        .sync();
    write_batch(&mut pair, &update);
    pair.write("CREATE TABLE other (id int)");
    pair.write("ALTER TABLE acc ADD COLUMN more int");
    pair.becomes_hit(ONE);
    pair.becomes_hit(TWO);
    write_batch(&mut pair, &update);
    pair.hit(TWO);
    pair.miss(ONE);
}

#[test]
fn a_parameter_keeps_the_type_that_its_column_had_when_it_was_prepared() {
    let house =
        House::new("CREATE TABLE t (id float8, x int); INSERT INTO t VALUES (7, 1), (8, 2);");
    let mut pair = house.pair();
    let mut prepare = Batch::default();
    prepare
        .parse("u", "UPDATE t SET x = x + 1 WHERE id = $1", &[])
        .sync();
    write_batch(&mut pair, &prepare);
    pair.write("ALTER TABLE t ALTER id TYPE bigint");
    let read = "SELECT x FROM t WHERE id = 7";
    pair.invalidates_by(
        read,
        |pair| {
            let mut update = Batch::default();
            update
                .bind("", "u", &[1], &[Some(&7_f64.to_be_bytes())], &[])
                .execute("", 0)
                .sync();
            write_batch(pair, &update);
        },
        "a float8 compared with a bigint",
    );
}

#[test]
fn on_conflict_touches_the_row_that_is_there() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let by_big = "SELECT amount FROM acc WHERE big = 7";
    pair.invalidates(
        by_big,
        "INSERT INTO acc (id, big) VALUES (7, 70) ON CONFLICT (id) DO UPDATE SET amount = 3",
    );
    pair.invalidates(
        by_big,
        "INSERT INTO acc (id, big) VALUES (70, 7) ON CONFLICT (big) DO UPDATE SET amount = 4",
    );
    pair.invalidates(
        "SELECT amount FROM acc WHERE id = 7",
        "INSERT INTO acc (id, big) VALUES (70, 7) ON CONFLICT (big) DO UPDATE SET amount = 5",
    );
    pair.invalidates("SELECT amount FROM acc WHERE id = 7", "INSERT INTO acc (id) VALUES (7) ON CONFLICT ON CONSTRAINT acc_pkey DO UPDATE SET amount = 6");
    pair.invalidates(
        "SELECT count(*) FROM acc WHERE id = 75",
        "INSERT INTO acc (id) VALUES (7) ON CONFLICT (id) DO UPDATE SET id = 75",
    );
    pair.leaves_alone(
        ONE,
        "INSERT INTO acc (id) VALUES (76) ON CONFLICT DO NOTHING",
    );
    pair.leaves_alone(
        ONE,
        "INSERT INTO acc (id) VALUES (76) ON CONFLICT (id) DO UPDATE SET amount = 9",
    );
}

#[test]
fn triggers_generated_values_and_cascades_touch_more_than_their_statement_names() {
    let house = House::new(
        "CREATE TABLE t (id int PRIMARY KEY, x int); INSERT INTO t SELECT g, g FROM generate_series(1, 5) g;
         CREATE FUNCTION turn() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.id := NEW.id + 100; RETURN NEW; END$$;
         CREATE TABLE turned (id int, x int);
         CREATE TRIGGER turn BEFORE INSERT ON turned FOR EACH ROW EXECUTE FUNCTION turn();
         CREATE TABLE ruled (id int, x int);
         CREATE RULE other AS ON INSERT TO ruled DO INSTEAD INSERT INTO t VALUES (NEW.id + 1000, 1);
         CREATE TABLE numbered (id int GENERATED BY DEFAULT AS IDENTITY (START 500), x int);
         CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree ON DELETE CASCADE);
         INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2), (4, NULL);
         CREATE TABLE leaf (id int PRIMARY KEY, tree int REFERENCES tree ON DELETE CASCADE ON UPDATE CASCADE);
         INSERT INTO leaf VALUES (1, 3), (2, 4);",
    );
    let mut pair = house.pair();
    for (read, write) in [
        (
            "SELECT count(*) FROM turned WHERE id = 101",
            "INSERT INTO turned VALUES (1, 1)",
        ),
        (
            "SELECT count(*) FROM t WHERE id = 1001",
            "INSERT INTO ruled VALUES (1, 1)",
        ),
        (
            "SELECT count(*) FROM numbered WHERE id = 500",
            "INSERT INTO numbered (id, x) OVERRIDING USER VALUE VALUES (7, 1)",
        ),
        (
            "SELECT count(*) FROM numbered WHERE id = 501",
            "INSERT INTO numbered (x) VALUES (1)",
        ),
        (
            "SELECT count(*) FROM leaf WHERE id = 1",
            "DELETE FROM tree WHERE id = 1",
        ),
        (
            "SELECT tree FROM leaf WHERE id = 2",
            "UPDATE tree SET id = 40 WHERE id = 4",
        ),
        ("SELECT count(*) FROM t WHERE id = 2", "TRUNCATE t"),
    ] {
        pair.invalidates(read, write);
    }
    pair.write("INSERT INTO tree VALUES (5, NULL), (6, 5), (7, 6)");
    pair.invalidates(
        "SELECT up FROM tree WHERE id = 7",
        "DELETE FROM tree WHERE id = 5",
    );
}

#[test]
fn rows_of_partitions_children_and_views_are_told_by_their_tables() {
    let house = House::new(
        "CREATE TABLE part (id int, at int, x int) PARTITION BY RANGE (at);
         CREATE TABLE low PARTITION OF part FOR VALUES FROM (0) TO (10);
         CREATE TABLE high PARTITION OF part FOR VALUES FROM (10) TO (20);
         INSERT INTO part SELECT g, g, g FROM generate_series(1, 15) g;
         CREATE TABLE parent (id int, x int); CREATE TABLE child () INHERITS (parent);
         INSERT INTO child VALUES (1, 1); INSERT INTO parent VALUES (2, 2);
         CREATE TABLE base (id int PRIMARY KEY, x int); INSERT INTO base VALUES (1, 1), (2, 2);
         CREATE VIEW thin AS SELECT id, x FROM base WHERE id = 1;
         CREATE VIEW shifted AS SELECT id + 1 AS id, x FROM base;",
    );
    let mut pair = house.pair();
    for (read, write) in [
        (
            "SELECT x FROM part WHERE id = 3",
            "UPDATE part SET x = 30 WHERE id = 3",
        ),
        (
            "SELECT x FROM part WHERE id = 3",
            "UPDATE low SET x = 31 WHERE id = 3",
        ),
        (
            "SELECT count(*) FROM low WHERE id = 4",
            "UPDATE part SET at = 12 WHERE id = 4",
        ),
        (
            "SELECT count(*) FROM high WHERE id = 5",
            "UPDATE part SET at = 13 WHERE id = 5",
        ),
        (
            "SELECT x FROM low WHERE id = 6",
            "UPDATE part SET x = 60 WHERE id = 6",
        ),
        (
            "SELECT x FROM parent WHERE id = 1",
            "UPDATE child SET x = 10 WHERE id = 1",
        ),
        (
            "SELECT x FROM child WHERE id = 1",
            "UPDATE parent SET x = 11 WHERE id = 1",
        ),
        ("SELECT x FROM thin", "UPDATE base SET x = 10 WHERE id = 1"),
        (
            "SELECT x FROM thin WHERE id = 1",
            "UPDATE base SET x = 11 WHERE id = 1",
        ),
        (
            "SELECT x FROM base WHERE id = 1",
            "UPDATE thin SET x = 12 WHERE id = 1",
        ),
        (
            "SELECT x FROM shifted WHERE id = 3",
            "UPDATE base SET x = 13 WHERE id = 2",
        ),
    ] {
        pair.invalidates(read, write);
    }
}

#[test]
fn a_column_that_changes_its_type_or_a_new_trigger_changes_what_is_known() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    pair.invalidates(
        "SELECT amount FROM acc WHERE owner = 'o7'",
        "UPDATE acc SET amount = 1 WHERE owner = 'o7'",
    );
    pair.write("ALTER TABLE acc ALTER owner TYPE text COLLATE nocase");
    pair.invalidates(
        "SELECT amount FROM acc WHERE owner = 'o7'",
        "UPDATE acc SET amount = 2 WHERE owner = 'O7'",
    );
    pair.write(
        "CREATE FUNCTION turn() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.id := NEW.id + 100; RETURN NEW; END$$;
         CREATE TRIGGER turn BEFORE UPDATE ON acc FOR EACH ROW EXECUTE FUNCTION turn()",
    );
    pair.invalidates(
        "SELECT count(*) FROM acc WHERE id = 103",
        "UPDATE acc SET amount = 3 WHERE id = 3",
    );
    pair.write("DROP TRIGGER turn ON acc; CREATE UNIQUE INDEX ON acc (owner)");
    pair.invalidates(
        "SELECT amount FROM acc WHERE owner = 'o8'",
        "INSERT INTO acc (id, owner) VALUES (99, 'O8') ON CONFLICT (owner) DO UPDATE SET amount = 77",
    );
}

#[test]
fn a_unique_index_may_call_more_equal_than_its_column() {
    let house = House::new(
        "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE t (name text, x int); CREATE UNIQUE INDEX ON t (name COLLATE nocase);
         INSERT INTO t VALUES ('a', 1);",
    );
    let mut pair = house.pair();
    pair.invalidates(
        "SELECT x FROM t WHERE name = 'a'",
        "INSERT INTO t VALUES ('A', 1) ON CONFLICT (name) DO UPDATE SET x = 2",
    );
}

#[test]
fn without_memory_for_keys_a_write_means_the_whole_table() {
    let house = House::with(SCHEMA, |opts| {
        opts.set("cache.key_memory", "0");
    });
    let mut pair = house.pair();
    pair.becomes_hit(TWO);
    pair.write("UPDATE acc SET amount = 1 WHERE id = 1");
    pair.asked(TWO);
    pair.becomes_hit(TWO);
}

/// Small, fast and reproducible.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
}

/// A constant for the integer `n`, in one of its dresses; sometimes no integer at all.
fn integer(random: &mut Random, n: u64) -> String {
    match random.below(9) {
        0 => format!("'{n}'"),
        1 => format!("' +0{n}\t'"),
        2 => format!("$${n}$$"),
        3 => format!("E'\\x3{n}'"),
        4 => format!("{n}.0"),
        5 => format!("({n})"),
        6 => format!("{n}::bigint"),
        _ => n.to_string(),
    }
}

fn text(random: &mut Random, n: u64) -> String {
    match random.below(5) {
        0 => format!("E'\\x6b{n}'"),
        1 => format!("$q$k{n}$q$"),
        2 => format!("U&'\\006b{n}'"),
        _ => format!("'k{n}'"),
    }
}

/// A condition on the columns of `alias`, mostly by key.
fn condition(random: &mut Random, alias: &str) -> String {
    let n = random.below(6);
    let m = random.below(6);
    match random.below(11) {
        0..=2 => format!("{alias}.id = {}", integer(random, n)),
        3 => format!("{} = {alias}.b AND {alias}.x >= 0", integer(random, n)),
        4 => format!("{alias}.k = {}", text(random, n)),
        5 => format!(
            "{alias}.id IN ({}, {})",
            integer(random, n),
            integer(random, m)
        ),
        6 => format!("{alias}.id = {n} AND {alias}.k = {}", text(random, m)),
        7 => format!("({alias}.id = {n} OR {alias}.b = {m})"),
        8 => format!("{alias}.id + 0 = {n}"),
        9 => format!("{alias}.id = ANY (ARRAY[{n}, {}])", integer(random, m)),
        _ => format!("{alias}.v = {}", text(random, n)),
    }
}

/// Views with the columns of `t`. What a condition on them may be asked of is another thing for each.
const VIEWS: &str = "
    CREATE VIEW v_all AS SELECT * FROM t;
    CREATE VIEW v_swapped AS SELECT b AS id, id AS b, k, v, x FROM t;
    CREATE VIEW v_texts AS SELECT id, b, v AS k, k AS v, x FROM t;
    CREATE VIEW v_constant AS SELECT id, b, k, v, x FROM v_all WHERE v = 'k1' AND id IN (1, 2, 3);
    CREATE VIEW v_cast AS SELECT id::bigint AS id, b::int AS b, k::varchar(2) AS k, v::text AS v, x FROM t;
    CREATE VIEW v_grouped AS SELECT id, b, k, v, sum(x) AS x FROM t GROUP BY id, b, k, v;
    CREATE VIEW v_distinct AS SELECT DISTINCT id, b, k, v, x FROM v_swapped;
    CREATE VIEW v_rolled AS SELECT id, b, k, v, count(*) AS x FROM t GROUP BY GROUPING SETS ((id, b), (k, v, id), ());
    CREATE VIEW v_window AS SELECT id, b, k, v, count(*) OVER (PARTITION BY b) AS x FROM t;
    CREATE VIEW v_limited AS SELECT id, b, k, v, x FROM t ORDER BY x, id, b, k, v LIMIT 9;
    CREATE VIEW v_first AS SELECT DISTINCT ON (b) id, b, k, v, x FROM t ORDER BY b, x, id, k, v;
    CREATE VIEW v_either AS SELECT id, b, k, v, x FROM t WHERE x > 5 UNION SELECT id, b, k, v, x + 1 FROM t WHERE id = 4;
    CREATE VIEW v_mixed AS SELECT id, b, k, v, x FROM t UNION ALL SELECT x, b, v, v, id FROM u;
    CREATE VIEW v_less AS SELECT id, b, k, v, x FROM t EXCEPT SELECT b::int, id, k, v, x FROM t;
    CREATE VIEW v_left AS SELECT c.id, a.b, a.k, c.v, a.x FROM u a LEFT JOIN t c ON c.id = a.b AND c.b = 2;
    CREATE VIEW v_right AS SELECT c.id, a.b, c.k, a.v, c.x FROM t a RIGHT JOIN (SELECT * FROM u WHERE id = 1) c ON a.id = c.b;
    CREATE VIEW v_full AS SELECT id, a.b, c.k, a.v, a.x FROM t a FULL JOIN u c USING (id);
    CREATE VIEW v_inner AS SELECT a.id, c.b, a.k, c.v, a.x FROM t a JOIN v_all c ON c.id = a.b;
    CREATE VIEW v_common AS WITH w AS (SELECT id, b, k, v, x FROM t WHERE b = 1) SELECT * FROM w;
    CREATE VIEW v_related AS SELECT id, b, k, v, (SELECT sum(o.x) FROM t o WHERE o.k = t.k AND o.id = 2) AS x FROM t;
";

/// What has the columns of `t`: itself, a view, or a query; and what must stand before the statement.
fn rows(random: &mut Random) -> (&'static str, String) {
    const PLACES: &[&str] = &[
        "t",
        "v_all",
        "v_swapped",
        "v_texts",
        "v_constant",
        "v_cast",
        "v_grouped",
        "v_distinct",
        "v_rolled",
        "v_window",
        "v_limited",
        "v_first",
        "v_either",
        "v_mixed",
        "v_less",
        "v_left",
        "v_right",
        "v_full",
        "v_inner",
        "v_common",
        "v_related",
    ];
    let place = PLACES[random.below(PLACES.len() as u64) as usize];
    match random.below(8) {
        0 => ("", format!("(SELECT * FROM {place})")),
        1 => (
            "",
            format!("(SELECT id, b, k, v, sum(x) AS x FROM {place} GROUP BY 1, 2, 3, 4)"),
        ),
        2 => (
            "",
            format!("(SELECT b::int AS id, id AS b, v AS k, k AS v, x FROM {place} ORDER BY x)"),
        ),
        3 => (
            "",
            format!("(SELECT * FROM {place} UNION ALL SELECT * FROM {place} WHERE id = 3)"),
        ),
        4 => (
            "",
            format!("(SELECT * FROM {place} ORDER BY 1, 2, 3, 4, 5 LIMIT 7)"),
        ),
        5 => (
            "WITH w AS (SELECT * FROM v_all WHERE b = 2) ",
            "w".to_owned(),
        ),
        _ => ("", place.to_owned()),
    }
}

fn read(random: &mut Random) -> String {
    let on = condition(random, "a");
    let other = condition(random, "c");
    let (with, t) = match random.below(3) {
        0 => ("", "t".to_owned()),
        _ => rows(random),
    };
    match random.below(9) {
        0..=3 => format!("{with}SELECT * FROM {t} a WHERE {on} ORDER BY id, b, k, v, x"),
        4 => format!("{with}SELECT count(*), sum(x) FROM {t} a WHERE {on}"),
        5 => format!(
            "{with}SELECT a.id, a.x, c.x FROM {t} a JOIN u c ON c.id = a.id WHERE {on} ORDER BY 1, 2, 3"
        ),
        6 => format!(
            "{with}SELECT a.id, a.x, c.x FROM {t} a LEFT JOIN u c ON c.b = a.b AND {other} WHERE {on} ORDER BY 1, 2, 3"
        ),
        7 => format!(
            "{with}SELECT c.id, a.x, c.x FROM u c LEFT JOIN {t} a ON c.b = a.b AND {on} WHERE {other} ORDER BY 1, 2, 3"
        ),
        _ => format!(
            "{with}SELECT a.id, a.x, c.x FROM u c RIGHT JOIN {t} a ON c.id = a.b AND {on} WHERE {other} ORDER BY 1, 2, 3"
        ),
    }
}

fn write(random: &mut Random) -> String {
    let table = random.pick(&["t", "t", "u"]);
    let on = condition(random, "a");
    let (n, m) = (random.below(6), random.below(6));
    let (id, k) = (integer(random, n), text(random, m));
    // A row of its own, of which nothing else is said: its other keys are learned.
    let row = random.below(150);
    let sql = match random.below(14) {
        10 | 11 => format!("UPDATE {table} a SET x = x + 1 WHERE n = {row}"),
        12 => format!("UPDATE {table} a SET k = {k}, x = a.x + 1 WHERE {row} = a.n AND {on}"),
        13 => format!("DELETE FROM {table} a WHERE n = {row} AND x > 1"),
        0..=2 => format!("UPDATE {table} a SET x = x + 1 WHERE {on}"),
        3 => format!("UPDATE {table} a SET id = {id} WHERE {on}"),
        4 => format!("UPDATE {table} a SET k = {k}, b = b + 1 WHERE {on}"),
        5 => format!("UPDATE {table} a SET v = {k} WHERE {on}"),
        6 => format!("DELETE FROM {table} a WHERE {on}"),
        7 => format!(
            "INSERT INTO {table} AS a (id, b, k, v, x) VALUES ({id}, {m}, {k}, 'k{n}  ', 1), ({m}, {n}, 'k{n}', {k}, 2)"
        ),
        8 => format!("INSERT INTO {table} AS a VALUES ({id}, {m} + 0, {k})"),
        _ => format!("UPDATE t a SET x = a.x + 1 FROM u c WHERE c.id = a.id AND {on}"),
    };
    let returning = random.pick(&[
        "",
        "",
        "",
        " RETURNING a.*",
        " RETURNING a.id, a.x",
        " RETURNING a.k, a.b + 1, a.b",
        " RETURNING a.v, a.k, a.id",
        " RETURNING *",
    ]);
    format!("{sql}{returning}")
}

/// One client at a time: after each write every answer must be what the server says.
#[test]
fn random_reads_and_writes_answer_as_the_server_does() {
    const STEPS: usize = 5000;
    let seed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |since| since.as_nanos() as u64 | 1);
    println!("seed {seed}");
    let mut random = Random(seed);
    let house = House::new(&format!(
        "CREATE TABLE t (id int, b bigint, k text, v varchar(4), x int, n serial PRIMARY KEY);
         CREATE TABLE u (id smallint, b int, k varchar, v text, x int, n serial UNIQUE); {VIEWS}
         INSERT INTO t SELECT g % 6, g / 6, 'k' || g % 5, 'k' || g % 4, g FROM generate_series(1, 30) g;
         INSERT INTO u SELECT g % 6, g / 6, 'k' || g % 5, 'k' || g % 4, g FROM generate_series(1, 30) g;"
    ));
    let (mut via, mut direct) = (house.via(), house.direct());
    let mut reads: Vec<String> = (0..40).map(|_| read(&mut random)).collect();
    let before = house.pgditto.metrics();
    let mut asked = 0;
    for step in 0..STEPS {
        if random.below(5) == 0 {
            let sql = write(&mut random);
            let rows = |client: &mut Wire| client.query(&sql);
            // A statement that fails is as good as any: it must change nothing.
            let reply = rows(&mut via);
            assert!(
                reply.error().is_none_or(|code| code.len() < 200),
                "{sql}: {reply:?}"
            );
            if random.below(4) == 0 {
                let full = direct.query("SELECT count(*) > 60 FROM t").text();
                if full == "t" {
                    via.query("DELETE FROM t WHERE x > 2");
                    via.query("DELETE FROM u WHERE x > 2");
                }
            }
            continue;
        }
        let at = random.below(reads.len() as u64) as usize;
        let reply = via.query(&reads[at]);
        let truth = direct.query(&reads[at]);
        assert_eq!(
            reply.essence(),
            truth.essence(),
            "step {step} of seed {seed}: {}",
            reads[at]
        );
        asked += 1;
        if random.below(60) == 0 {
            reads[at] = read(&mut random);
        }
    }
    let after = house.pgditto.metrics();
    let hits = after.sum("pgditto_hits_total", &[]) - before.sum("pgditto_hits_total", &[]);
    let labels = [("asked_by", "pgditto"), ("result", "known")];
    let learned = after.sum("pgditto_returned_keys_total", &labels);
    println!("{asked} reads, {hits} hits, {learned} changes whose keys were learned");
    assert!(learned > 0.0);
    assert!(
        hits > asked as f64 / 20.0,
        "{hits} hits of {asked}: it proves little"
    );
}
