//! Calls of functions in SQL whose body is one query.

use super::wire::Batch;
use super::{House, Served};

const SCHEMA: &str = "
    CREATE TABLE item (id int PRIMARY KEY, shop int, price int, note text);
    INSERT INTO item SELECT g, g % 3, g * 10, 'note ' || g FROM generate_series(1, 9) g;
    CREATE TABLE other (id int); INSERT INTO other VALUES (1);
    CREATE FUNCTION price_of(n int) RETURNS int LANGUAGE sql AS 'SELECT price FROM item WHERE id = n';
    CREATE FUNCTION by_place(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT price_of.price FROM item price_of WHERE id = $1;';
    CREATE FUNCTION qualified(shop int) RETURNS bigint LANGUAGE sql IMMUTABLE AS
        'SELECT sum(price) FROM item WHERE item.shop = qualified.shop AND price > 0';
    CREATE FUNCTION items(n int) RETURNS SETOF item LANGUAGE sql AS 'SELECT * FROM item WHERE shop = $1 ORDER BY id';
    CREATE FUNCTION pairs(OUT a int, OUT b text) RETURNS SETOF record LANGUAGE sql AS
        'SELECT id, note FROM item ORDER BY id';
    CREATE FUNCTION nested(n int) RETURNS int LANGUAGE sql AS 'SELECT price_of(n) + by_place($1)';
    CREATE VIEW priced AS SELECT id, price_of(id) AS price FROM item;
";

const READS: [&str; 8] = [
    "SELECT price_of(3)",
    "SELECT id, by_place(id) FROM item ORDER BY id",
    "SELECT qualified(1)",
    "SELECT * FROM items(2)",
    "SELECT b FROM pairs() ORDER BY a",
    "SELECT i.note, price FROM items(1) i",
    "SELECT nested(2) WHERE price_of(2) > 0",
    "SELECT sum(price) FROM priced",
];

#[test]
fn what_such_a_function_reads_counts_as_the_statements_own() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    for read in READS {
        pair.leaves_alone(read, "UPDATE other SET id = id + 1");
        pair.invalidates(
            read,
            "UPDATE item SET price = price + 500, note = note || '!' WHERE id = id",
        );
    }
    // With the key beside it, the function's part is the whole table.
    let read = "SELECT note, price_of(2) FROM item WHERE id = 1";
    pair.invalidates(read, "UPDATE item SET price = price + 1 WHERE id = 2");
}

#[test]
fn functions_with_a_standard_body_are_followed_too() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    pair.write(
        "CREATE FUNCTION returned(n int) RETURNS int LANGUAGE sql RETURN n + (SELECT price FROM item WHERE id = n);
         CREATE FUNCTION atomic(n int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT price_of(n); END;
         CREATE SCHEMA elsewhere;
         CREATE TABLE elsewhere.item (id int, price int); INSERT INTO elsewhere.item VALUES (3, -3)",
    );
    for read in ["SELECT returned(3)", "SELECT atomic(3)"] {
        pair.invalidates(read, "UPDATE item SET price = price + 1 WHERE id = 3");
    }
    // Its names were looked up when it was made.
    pair.both("SET search_path = elsewhere, public");
    pair.invalidates(
        "SELECT returned(3)",
        "UPDATE public.item SET price = price + 1",
    );
    pair.leaves_alone(
        "SELECT returned(3)",
        "UPDATE elsewhere.item SET price = price + 1",
    );
}

#[test]
fn names_in_a_function_mean_what_they_mean_to_who_calls_it() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    pair.write(
        "CREATE SCHEMA mine;
         CREATE TABLE mine.item (id int PRIMARY KEY, price int); INSERT INTO mine.item VALUES (3, 7)",
    );
    let mut other = house.pair();
    let read = "SELECT public.price_of(3)";
    other.both("SET search_path = mine, public");
    for _ in 0..2 {
        pair.becomes_hit(read);
        house.before.take();
        other.becomes_hit(read);
        house.before.take();
    }
    other.invalidates(read, "UPDATE mine.item SET price = price + 1");
    pair.invalidates(
        read,
        "UPDATE public.item SET price = price + 1 WHERE id = 3",
    );
    // A temporary table comes before all others.
    pair.becomes_hit(read);
    pair.both("CREATE TEMP TABLE item AS SELECT 3 AS id, -1 AS price");
    pair.never_hits(read);
    assert_eq!(pair.via.query(read).text(), "-1");
    pair.both("DROP TABLE pg_temp.item");
    pair.becomes_hit(read);
}

#[test]
fn clocks_chance_and_code_in_a_function_keep_it_from_the_cache() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    for (signature, body) in [
        ("(n int) RETURNS text", "SELECT now()::text || n"),
        ("(n int) RETURNS date", "SELECT CURRENT_DATE + n"),
        ("(n int) RETURNS float8", "SELECT random() * n"),
        ("(n int) RETURNS date", "SELECT DATE ''today'' + n"),
        (
            "(n int) RETURNS bool",
            "SELECT n > 0 AND DATE ''2020-01-01'' < ''now''",
        ),
        ("(n int) RETURNS bigint", "SELECT nextval(''seq'') + n"),
        ("(n int) RETURNS int", "SELECT n; SELECT n"),
        (
            "(n int) RETURNS int",
            "UPDATE item SET price = n WHERE id = 1 RETURNING price",
        ),
        (
            "(n int) RETURNS int",
            "WITH w AS (DELETE FROM other RETURNING id) SELECT n FROM item LIMIT 1",
        ),
        (
            "(n int) RETURNS int",
            "SELECT price FROM item WHERE id = n FOR UPDATE",
        ),
        (
            "(n int, m timestamptz DEFAULT now()) RETURNS text",
            "SELECT m::text || n",
        ),
        ("(n int) RETURNS int SECURITY DEFINER", "SELECT n"),
        ("(n int) RETURNS int SET search_path = public", "SELECT n"),
        (
            "(n int) RETURNS text",
            "SELECT (''2020-01-0'' || n)::date::text",
        ),
        (
            "(n int) RETURNS bigint",
            "SELECT count(*) + n FROM pg_class",
        ),
        (
            "(n int) RETURNS text",
            "SELECT inet_server_port()::text || n",
        ),
        (
            "(n int) RETURNS text",
            "SELECT current_setting(''app.'' || n, true)",
        ),
        ("(n int) RETURNS int", "SELECT spoken(n)"),
        ("(VARIADIC n int[]) RETURNS int", "SELECT n[1]"),
    ] {
        pair.write(
            "DROP FUNCTION IF EXISTS f; CREATE SEQUENCE IF NOT EXISTS seq;
             CREATE OR REPLACE FUNCTION spoken(n int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN n; END'",
        );
        pair.write(&format!(
            "CREATE FUNCTION f{signature} LANGUAGE sql AS '{body}'"
        ));
        house.serves();
        house.before.take();
        pair.never_hits("SELECT f(1)");
    }
    // What is asked may say `today` by the value of a column.
    pair.write("CREATE TABLE word (day text); INSERT INTO word VALUES ('today'), ('2020-02-02')");
    for (signature, body) in [
        ("(text) RETURNS date", "SELECT $1::date"),
        ("(text) RETURNS date", "SELECT date($1)"),
        ("(text) RETURNS date", "SELECT CAST($1 AS date)"),
        ("(t text) RETURNS date", "SELECT t::date"),
        ("(text) RETURNS text", "SELECT ($1::timestamptz)::text"),
        ("(text) RETURNS text", "SELECT (ARRAY[$1]::date[])::text"),
        ("(text) RETURNS timestamptz", "SELECT timestamptz($1)"),
    ] {
        pair.write("DROP FUNCTION f");
        pair.write(&format!(
            "CREATE FUNCTION f{signature} LANGUAGE sql AS '{body}'"
        ));
        house.serves();
        house.before.take();
        pair.never_hits("SELECT f(day) FROM word ORDER BY day");
    }
}

#[test]
fn a_policy_that_calls_a_function_shows_each_tenant_his_rows() {
    let house = House::new(
        "CREATE FUNCTION tenant() RETURNS int LANGUAGE sql STABLE AS
             $$SELECT nullif(current_setting('app.tenant', true), '')::int$$;
         CREATE TABLE members (tenant int, name text);
         INSERT INTO members VALUES (1, 'ann'), (2, 'bob');
         CREATE FUNCTION may(who int) RETURNS bool LANGUAGE sql STABLE AS
             'SELECT EXISTS (SELECT FROM members WHERE tenant = who)';
         CREATE TABLE deeds (id int, tenant int); INSERT INTO deeds VALUES (1, 1), (2, 2), (3, 2);
         ALTER TABLE deeds ENABLE ROW LEVEL SECURITY; ALTER TABLE deeds FORCE ROW LEVEL SECURITY;
         CREATE POLICY own ON deeds USING (tenant = tenant() AND may(tenant))",
    );
    let (mut one, mut two) = (house.pair(), house.pair());
    let read = "SELECT id FROM deeds ORDER BY id";
    one.both("SET app.tenant = '1'");
    two.both("SET app.tenant = '2'");
    for _ in 0..2 {
        one.becomes_hit(read);
        assert_eq!(one.via.query(read).text(), "1");
        house.before.take();
        two.becomes_hit(read);
        house.before.take();
    }
    two.invalidates(read, "UPDATE members SET tenant = 3 WHERE tenant = 2");
    one.both("SET app.tenant = '3'");
    one.becomes_hit(read);
}

#[test]
fn a_function_that_is_made_anew_is_asked_anew() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let mut prepared = house.pair();
    for (name, sql) in [("a", "SELECT price_of(3)"), ("b", "SELECT * FROM items(2)")] {
        let mut prepare = Batch::default();
        prepare.parse(name, sql, &[]).describe(b'S', name).sync();
        prepared.look_batch(&prepare);
        let mut run = Batch::default();
        run.bind("", name, &[], &[], &[]).execute("", 0).sync();
        crate::fixture::eventually("a hit", || prepared.look_batch(&run) == Served::Hit);
    }
    pair.invalidates(
        "SELECT price_of(3)",
        "CREATE OR REPLACE FUNCTION price_of(n int) RETURNS int LANGUAGE sql AS 'SELECT -price FROM item WHERE id = n'",
    );
    pair.invalidates(
        "SELECT price_of('3')",
        "CREATE FUNCTION price_of(n text) RETURNS text LANGUAGE sql AS 'SELECT note FROM item WHERE id = n::int'",
    );
    pair.write(
        "DROP FUNCTION price_of(int) CASCADE; DROP FUNCTION price_of(text);
         CREATE FUNCTION price_of(n int) RETURNS text LANGUAGE sql AS 'SELECT note FROM item WHERE id = n';
         ALTER TABLE item ADD more int",
    );
    house.serves();
    house.before.take();
    for (name, sql) in [("a", "SELECT price_of(3)"), ("b", "SELECT * FROM items(2)")] {
        pair.becomes_hit(sql);
        house.before.take();
        let mut run = Batch::default();
        run.bind("", name, &[], &[], &[]).execute("", 0).sync();
        let refused = prepared.via.batch(&run);
        assert_eq!(refused.error().as_deref(), Some("0A000"), "{refused:?}");
    }
}
