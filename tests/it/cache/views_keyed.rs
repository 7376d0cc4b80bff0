//! A read of some rows of a view, a subquery or a common table expression depends on the rows that they are made of: a
//! write to others leaves its answer valid, and never one that it changes.

use super::keyed::{batch, becomes_hit, write_batch};
use super::{House, Pair, Served};

const SCHEMA: &str = "
    CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    CREATE TABLE orders (id int PRIMARY KEY, tenant int, kind varchar(8), note text, customer int, amount int);
    INSERT INTO orders SELECT g, g % 3, 'k' || g % 2, 'n' || g, g % 4, g FROM generate_series(1, 12) g;
    CREATE TABLE past (id int, tenant int, kind varchar(8), note text, big bigint);
    INSERT INTO past SELECT g, g % 3, 'k' || g % 2, 'p' || g, g FROM generate_series(1, 6) g;
    CREATE TABLE customer (id int PRIMARY KEY, tenant int, name text);
    INSERT INTO customer SELECT g, g % 3, 'c' || g FROM generate_series(0, 3) g;
    CREATE VIEW plain AS SELECT * FROM orders;
    CREATE VIEW renamed AS SELECT note AS n, tenant AS owner, id AS number FROM orders;
    CREATE VIEW swapped AS SELECT id AS tenant, tenant AS id, amount FROM orders;
    CREATE VIEW small AS SELECT id, tenant, amount FROM orders WHERE amount < 1000;
    CREATE VIEW odd AS SELECT id, tenant, amount FROM orders WHERE kind = 'k1';
    CREATE VIEW listed AS SELECT id, amount FROM orders WHERE kind IN ('k1', 'k7') AND note <> '';
    CREATE VIEW joined AS SELECT o.id, o.tenant, o.amount, c.name, c.tenant AS whose
        FROM orders o LEFT JOIN customer c ON c.id = o.customer;
    CREATE VIEW inner_joined AS SELECT o.id, c.id AS customer, o.amount, c.name FROM orders o JOIN customer c ON c.id = o.customer;
    CREATE VIEW sums AS SELECT tenant, kind, count(*) AS orders, sum(amount) AS amount FROM orders GROUP BY tenant, kind;
    CREATE VIEW by_key AS SELECT o.id, o.tenant, count(c.id) AS customers, max(o.amount) AS amount
        FROM orders o LEFT JOIN customer c ON c.tenant = o.tenant GROUP BY o.id;
    CREATE VIEW tenants AS SELECT DISTINCT tenant, kind FROM orders;
    CREATE VIEW every AS SELECT id, tenant, kind, note FROM orders UNION ALL SELECT id, tenant, kind, note FROM past;
    CREATE VIEW every_one AS SELECT tenant, note FROM orders UNION SELECT tenant, note FROM past;
    CREATE VIEW deep AS SELECT tenant, amount FROM small WHERE id > 0;
    CREATE VIEW guarded WITH (security_barrier) AS SELECT id, tenant, amount FROM orders WHERE amount >= 0;
";

/// The read is left alone by `other`, and each of `own` is seen in it.
fn told_apart(pair: &mut Pair<'_>, read: &str, other: &str, own: &[&str]) {
    pair.leaves_alone(read, other);
    for write in own {
        pair.invalidates(read, write);
    }
}

#[test]
fn reads_of_views_are_told_apart_by_the_keys_of_their_tables() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let tenant_2 = "UPDATE orders SET amount = amount + 1 WHERE tenant = 2";
    let tenant_1 = "UPDATE orders SET amount = amount + 1 WHERE tenant = 1";
    let moved = "UPDATE orders SET tenant = 1 WHERE id = 6";
    let back = "UPDATE orders SET tenant = 0 WHERE id = 6";
    for (read, other, own) in [
        (
            "SELECT * FROM plain WHERE tenant = 1 ORDER BY id",
            tenant_2,
            &[
                tenant_1,
                moved,
                back,
                "UPDATE orders SET amount = 7 WHERE id = 1",
            ][..],
        ),
        (
            "SELECT amount FROM plain p WHERE p.id = 4 AND p.amount > 0",
            "DELETE FROM orders WHERE id = 12",
            &["UPDATE orders SET amount = 77 WHERE id = 4", tenant_1],
        ),
        (
            "SELECT n FROM renamed WHERE number IN (5, 9) ORDER BY n",
            "UPDATE orders SET note = 'x' WHERE id = 4",
            &["UPDATE orders SET note = 'x' WHERE id = 9"],
        ),
        (
            "SELECT count(*) FROM renamed WHERE owner = 1",
            "INSERT INTO orders VALUES (20, 2, 'k1', 'n20', 0, 20)",
            &[moved, back, "DELETE FROM orders WHERE id = 10"],
        ),
        (
            "SELECT amount FROM swapped WHERE tenant = 5",
            "UPDATE orders SET amount = amount + 1 WHERE id = 2",
            &["UPDATE orders SET amount = amount + 1 WHERE id = 5"],
        ),
        (
            "SELECT sum(amount) FROM swapped WHERE id = 1",
            tenant_2,
            &[tenant_1, moved, back],
        ),
        (
            "SELECT sum(amount) FROM small WHERE tenant = 1",
            tenant_2,
            &[tenant_1, "UPDATE orders SET amount = 5000 WHERE id = 7"],
        ),
        // Its own condition, on a varchar, confines as well.
        (
            "SELECT count(*), sum(amount) FROM odd",
            "UPDATE orders SET amount = amount + 1 WHERE kind = 'k0'",
            &[
                "UPDATE orders SET amount = amount + 1 WHERE kind = 'k1'",
                "UPDATE orders SET kind = 'k1' WHERE kind = 'k0' AND id = 8",
                "UPDATE orders SET kind = 'k0' WHERE id = 8",
            ],
        ),
        (
            "SELECT count(*), sum(amount) FROM listed",
            "UPDATE orders SET amount = amount + 1 WHERE kind = 'k0'",
            &[
                "UPDATE orders SET amount = amount + 1 WHERE kind = 'k1'",
                "UPDATE orders SET kind = 'k7' WHERE kind = 'k0' AND id = 8",
            ],
        ),
        (
            "SELECT sum(amount), min(name) FROM joined WHERE tenant = 1",
            tenant_2,
            &[
                tenant_1,
                moved,
                back,
                "UPDATE customer SET name = 'a' WHERE id = 1",
            ],
        ),
        (
            "SELECT orders, amount FROM sums WHERE tenant = 1 ORDER BY kind",
            tenant_2,
            &[tenant_1, moved, back],
        ),
        (
            "SELECT sum(amount) FROM by_key WHERE id = 4",
            "UPDATE orders SET amount = amount + 1 WHERE id = 5",
            &["UPDATE orders SET amount = amount + 1 WHERE id = 4"],
        ),
        (
            "SELECT kind FROM tenants WHERE tenant = 1 ORDER BY kind",
            tenant_2,
            &[
                "INSERT INTO orders VALUES (30, 1, 'new', 'n30', 1, 1)",
                "DELETE FROM orders WHERE id = 30",
            ],
        ),
        (
            "SELECT note FROM every WHERE tenant = 1 ORDER BY note",
            tenant_2,
            &[
                moved,
                back,
                "UPDATE past SET note = 'z' || note WHERE tenant = 1",
            ],
        ),
        (
            "SELECT note FROM every_one WHERE tenant = 1 ORDER BY note",
            "UPDATE past SET note = 'y' || note WHERE tenant = 2",
            &[moved, back, "DELETE FROM past WHERE tenant = 1"],
        ),
        (
            "SELECT sum(amount) FROM deep WHERE tenant = 1",
            tenant_2,
            &[tenant_1, moved, back],
        ),
        (
            "SELECT sum(amount) FROM guarded WHERE tenant = 1",
            tenant_2,
            &[tenant_1, moved, back],
        ),
    ] {
        told_apart(&mut pair, read, other, own);
    }
}

#[test]
fn an_equality_carries_over_the_joins_of_a_view_and_into_it() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let read = "SELECT count(amount), min(name) FROM inner_joined WHERE customer = 2";
    pair.leaves_alone(read, "UPDATE customer SET name = 'x' WHERE id = 1");
    pair.leaves_alone(read, "UPDATE orders SET amount = 1 WHERE customer = 3");
    pair.invalidates(read, "UPDATE customer SET name = 'x' WHERE id = 2");
    pair.invalidates(read, "UPDATE orders SET customer = 2 WHERE id = 1");
    let read =
        "SELECT c.name, p.amount FROM customer c LEFT JOIN plain p ON p.id = c.id WHERE c.id = 2";
    pair.leaves_alone(read, "UPDATE orders SET amount = 3 WHERE id = 3");
    pair.invalidates(read, "UPDATE orders SET amount = 3 WHERE id = 2");
    pair.invalidates(read, "DELETE FROM orders WHERE id = 2");
    // On the nullable side of the view's join a row of the other side may come and go with it.
    let read = "SELECT count(*), sum(amount) FROM joined WHERE whose = 1";
    pair.leaves_alone(read, "UPDATE customer SET name = 'y' WHERE tenant = 2");
    pair.invalidates(
        read,
        "UPDATE orders SET amount = amount + 1 WHERE customer = 1",
    );
    pair.invalidates(read, "UPDATE customer SET tenant = 1 WHERE id = 0");
}

#[test]
fn subqueries_and_common_table_expressions_are_told_apart_too() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let tenant_2 = "UPDATE orders SET amount = amount + 1 WHERE tenant = 2";
    let tenant_1 = "UPDATE orders SET amount = amount + 1 WHERE tenant = 1";
    for read in [
        "SELECT sum(amount) FROM (SELECT * FROM orders) o WHERE o.tenant = 1",
        "SELECT sum(amount) FROM (SELECT tenant AS t, amount FROM orders ORDER BY id) o WHERE t = 1",
        "SELECT amount FROM (SELECT tenant, sum(amount) AS amount FROM orders GROUP BY 1) o WHERE tenant = 1",
        "SELECT sum(amount) FROM (SELECT o.*, c.name FROM orders o JOIN customer c ON c.id = o.customer) x WHERE tenant = 1 OR tenant = 1 AND false",
        "SELECT sum(amount) FROM (SELECT id, tenant, amount FROM orders UNION ALL SELECT id, tenant, id FROM past) x WHERE tenant = 1",
        "WITH o AS (SELECT * FROM orders) SELECT sum(amount) FROM o WHERE tenant = 1",
        "WITH o AS NOT MATERIALIZED (SELECT * FROM plain), p AS (SELECT * FROM o WHERE id > 0) SELECT sum(amount) FROM p WHERE tenant = 1",
        "SELECT c.name, o.amount FROM customer c LEFT JOIN (SELECT tenant, sum(amount) AS amount FROM orders GROUP BY tenant) o ON o.tenant = c.id WHERE c.id = 1",
    ] {
        let or = read.contains(" OR ");
        if !or {
            pair.leaves_alone(read, tenant_2);
        }
        pair.invalidates(read, tenant_1);
        pair.invalidates(read, "UPDATE orders SET tenant = 1 WHERE id = 6");
        pair.invalidates(read, "UPDATE orders SET tenant = 0 WHERE id = 6");
    }
}

/// Most of these would answer wrongly were the condition asked of the table.
#[test]
fn what_looks_at_other_rows_is_read_as_a_whole() {
    let house = House::new(
        "CREATE TABLE t (id int PRIMARY KEY, k int, x int); INSERT INTO t SELECT g, g % 3, g FROM generate_series(1, 9) g;
         CREATE VIEW first AS SELECT * FROM t ORDER BY x, id LIMIT 4;
         CREATE VIEW later AS SELECT * FROM t ORDER BY x, id OFFSET 4;
         CREATE VIEW numbered AS SELECT id, k, row_number() OVER (ORDER BY x, id) AS n FROM t;
         CREATE VIEW lowest AS SELECT DISTINCT ON (k) k, id, x FROM t ORDER BY k, x, id;
         CREATE VIEW rolled AS SELECT k, sum(x) AS x FROM t GROUP BY ROLLUP (k);
         CREATE VIEW rest AS SELECT k, id FROM t EXCEPT SELECT id, x FROM t;
         CREATE VIEW shared AS SELECT k, id FROM t INTERSECT SELECT id % 3, x FROM t;
         CREATE VIEW shifted AS SELECT id + 1 AS id, x FROM t;
         CREATE VIEW related AS SELECT id, (SELECT sum(o.x) FROM t o WHERE o.k = t.k) AS x FROM t;
         CREATE VIEW existing AS SELECT id, x FROM t WHERE EXISTS (SELECT FROM t o WHERE o.x = t.x + 1);
         CREATE VIEW preserved AS SELECT a.id, b.x FROM t a LEFT JOIN t b ON b.id = a.k AND a.id = 7;",
    );
    let mut pair = house.pair();
    for (read, write) in [
        (
            "SELECT count(*) FROM first WHERE id = 4",
            "UPDATE t SET x = 0 WHERE id = 9",
        ),
        (
            "SELECT count(*) FROM later WHERE id = 9",
            "UPDATE t SET x = 100 WHERE id = 8 AND k = 2; UPDATE t SET x = -1 WHERE id = 9",
        ),
        (
            "SELECT n FROM numbered WHERE id = 5",
            "DELETE FROM t WHERE id = 1",
        ),
        (
            "SELECT k FROM lowest WHERE id = 3",
            "UPDATE t SET x = -5 WHERE id = 6",
        ),
        (
            "SELECT k, x FROM rolled WHERE x > 0 ORDER BY k",
            "UPDATE t SET x = x + 1 WHERE id = 2",
        ),
        (
            "SELECT count(*) FROM rest WHERE k = 2",
            "UPDATE t SET id = 2, x = 5 WHERE id = 2 AND k = 2",
        ),
        (
            "SELECT count(*) FROM shared WHERE k = 1",
            "UPDATE t SET x = 4 WHERE id = 7",
        ),
        (
            "SELECT x FROM shifted WHERE id = 5",
            "UPDATE t SET x = 50 WHERE id = 4",
        ),
        (
            "SELECT x FROM related WHERE id = 5",
            "UPDATE t SET x = 51 WHERE id = 8",
        ),
        (
            "SELECT count(*) FROM existing WHERE id = 5",
            "UPDATE t SET x = 6 WHERE id = 3; UPDATE t SET x = 5 WHERE id = 5",
        ),
        (
            "SELECT count(*) FROM preserved WHERE id = 7",
            "DELETE FROM t WHERE id = 7",
        ),
        (
            "SELECT count(*) FROM (SELECT id FROM t FETCH FIRST 100 ROWS ONLY) s WHERE id = 5",
            "DELETE FROM t WHERE id = 5",
        ),
        (
            "WITH w AS (SELECT * FROM t) SELECT (SELECT count(*) FROM w), x FROM w WHERE id = 4",
            "DELETE FROM t WHERE id = 6",
        ),
        (
            "SELECT count(*) FROM (SELECT id, x FROM t) s (x, id) WHERE id = 50",
            "UPDATE t SET x = 1 WHERE id = 4",
        ),
    ] {
        pair.becomes_hit(read);
        pair.write(write);
        let served = pair.look(read);
        assert_ne!(served, Served::Hit, "{read}\n{write}");
    }
}

#[test]
fn texts_of_other_types_and_collations_in_views_are_told_by_their_values() {
    let house = House::new(
        "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE t (id int PRIMARY KEY, name text, code varchar(4), big bigint, price numeric, x int);
         INSERT INTO t VALUES (1, 'a', 'c1', 7, 7, 1), (2, 'A', 'c2', 8, 8, 2), (3, 'b''\\', 'c3', 9, 9, 3);
         CREATE TABLE u (id int, name text COLLATE nocase, price numeric); INSERT INTO u VALUES (1, 'a', 7.5);
         CREATE VIEW loose AS SELECT id, name COLLATE nocase AS name, x FROM t;
         CREATE VIEW any_name AS SELECT name, id FROM t UNION ALL SELECT name, id FROM u;
         CREATE VIEW any_price AS SELECT id AS price, x FROM t UNION ALL SELECT price, id FROM u;
         CREATE VIEW quoted AS SELECT x FROM t WHERE name = 'b''\\';
         CREATE VIEW sevens AS SELECT x FROM t WHERE big = '007' AND code = 'c1';
         CREATE VIEW priced AS SELECT x FROM t WHERE price = 7;
         CREATE VIEW as_text AS SELECT code::text AS code, x FROM t;",
    );
    let mut pair = house.pair();
    for (read, write) in [
        (
            "SELECT sum(x) FROM loose WHERE name = 'a'",
            "UPDATE t SET x = 20 WHERE name = 'A'",
        ),
        (
            "SELECT count(*) FROM any_name WHERE name = 'a'",
            "UPDATE t SET name = 'B' WHERE name = 'A'",
        ),
        (
            "SELECT sum(x) FROM any_price WHERE price = 1",
            "UPDATE t SET x = 30 WHERE id = 1",
        ),
        (
            "SELECT x FROM quoted",
            "UPDATE t SET x = 40 WHERE name = E'b\\'\\\\'",
        ),
        ("SELECT x FROM sevens", "UPDATE t SET x = 50 WHERE big = 7"),
        (
            "SELECT x FROM sevens",
            "UPDATE t SET x = 51 WHERE code = 'c1'",
        ),
        (
            "SELECT x FROM priced",
            "UPDATE t SET x = 60 WHERE price = 7.0",
        ),
        (
            "SELECT x FROM as_text WHERE code = 'c2'",
            "UPDATE t SET x = 70 WHERE code = 'c2'",
        ),
    ] {
        pair.invalidates(read, write);
    }
}

#[test]
fn a_parameter_is_a_value_of_what_the_view_shows() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let own = "UPDATE orders SET amount = amount + 1 WHERE tenant = $1";
    for read in [
        "SELECT sum(amount) FROM plain WHERE tenant = $1",
        "SELECT sum(amount) FROM deep WHERE tenant = $1",
        "SELECT sum(amount) FROM small WHERE tenant = ANY (ARRAY[$1::int])",
        "SELECT count(*), sum(amount) FROM sums WHERE tenant = $1",
        "WITH o AS (SELECT * FROM orders) SELECT sum(amount) FROM o WHERE tenant = $1",
    ] {
        for (format, one, two) in [
            (0, &b"1"[..], &b"2"[..]),
            (1, &[0, 0, 0, 1][..], &[0, 0, 0, 2][..]),
        ] {
            let of = |sql: &str, value| batch(sql, &[], &[format], &[Some(value)]);
            becomes_hit(&mut pair, &of(read, one));
            write_batch(&mut pair, &of(own, two));
            if !read.contains("ARRAY") {
                assert_eq!(pair.look_batch(&of(read, one)), Served::Hit, "{read}");
            }
            write_batch(&mut pair, &of(own, one));
            assert_eq!(pair.look_batch(&of(read, one)), Served::Miss, "{read}");
        }
    }
}

#[test]
fn a_view_that_is_replaced_or_whose_columns_are_renamed_is_followed_anew() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let read = "SELECT sum(amount) FROM small WHERE tenant = 1";
    pair.becomes_hit(read);
    pair.write(
        "CREATE OR REPLACE VIEW small AS SELECT tenant AS id, id AS tenant, amount FROM orders",
    );
    pair.becomes_hit(read);
    pair.leaves_alone(read, "UPDATE orders SET amount = 100 WHERE id = 4");
    pair.invalidates(read, "UPDATE orders SET amount = 100 WHERE id = 1");
    pair.write("ALTER VIEW small RENAME COLUMN tenant TO number");
    pair.write("ALTER VIEW small RENAME COLUMN id TO tenant");
    pair.leaves_alone(
        read,
        "UPDATE orders SET amount = amount + 1 WHERE tenant = 2",
    );
    pair.invalidates(read, "UPDATE orders SET amount = amount + 1 WHERE id = 4");
    pair.write("ALTER TABLE orders RENAME COLUMN tenant TO customer_of");
    pair.leaves_alone(
        read,
        "UPDATE orders SET amount = amount + 1 WHERE customer_of = 2",
    );
    pair.invalidates(
        read,
        "UPDATE orders SET amount = amount + 1 WHERE customer_of = 1",
    );
    pair.write("ALTER TABLE orders ADD COLUMN more int");
    pair.invalidates(
        read,
        "UPDATE orders SET amount = amount + 1 WHERE customer_of = 1",
    );
}

#[test]
fn policies_of_a_views_tables_count_beside_the_condition() {
    let house = House::new(
        "CREATE TABLE t (id int PRIMARY KEY, tenant int, x int); INSERT INTO t SELECT g, g % 3, g FROM generate_series(1, 9) g;
         CREATE TABLE member (role text, tenant int); INSERT INTO member VALUES ('app', 1);
         CREATE VIEW shown AS SELECT id, tenant, x FROM t;
         ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY;
         CREATE POLICY own ON t USING (tenant IN (SELECT tenant FROM member WHERE role = current_user));
         CREATE VIEW shared AS SELECT r.id, m.role FROM shown r JOIN member m ON m.tenant = r.tenant;",
    );
    let mut pair = house.pair();
    let read = "SELECT x FROM shown WHERE id = 4";
    pair.leaves_alone(read, "UPDATE t SET x = 10 WHERE id = 7");
    pair.invalidates(read, "UPDATE t SET x = 10 WHERE id = 4");
    pair.invalidates(read, "UPDATE member SET tenant = 2 WHERE role = 'app'");
    let read = "SELECT count(*) FROM shared WHERE role = 'app'";
    pair.invalidates(read, "INSERT INTO member VALUES ('app', 1)");
    pair.invalidates(read, "DELETE FROM member WHERE tenant = 1");
}

/// The words that PostgreSQL keeps are no columns, whatever columns there are.
#[test]
fn current_role_is_no_column() {
    let house = House::new(
        "CREATE TABLE t (id int PRIMARY KEY, \"current_role\" text, \"user\" text, x int);
         INSERT INTO t VALUES (1, 'nobody', 'nobody', 1);",
    );
    let mut pair = house.pair();
    for word in ["current_role", "user", "current_user", "session_user"] {
        pair.invalidates(
            &format!("SELECT sum(x) FROM t WHERE {word} = 'app'"),
            "UPDATE t SET x = x + 1 WHERE \"current_role\" = 'nobody' AND \"user\" = 'nobody'",
        );
        pair.invalidates(
            &format!("SELECT sum(x) FROM (SELECT {word} AS w, x FROM t) s WHERE w = 'app'"),
            "UPDATE t SET x = x + 1 WHERE \"current_role\" = 'nobody' AND \"user\" = 'nobody'",
        );
    }
}
