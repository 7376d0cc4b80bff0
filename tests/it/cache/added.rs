//! A change of one row by its key, which answers told by another column depend on: it is sent with a RETURNING that the
//! client does not know of. The client sees what the server alone would say, and answers of other keys stay.

use super::keyed::{batch, write_batch};
use super::wire::{Batch, Reply, Wire};
use super::{House, Pair, Served};
use crate::fixture::{Options, eventually};

const SCHEMA: &str = "
    CREATE TABLE orders (id int PRIMARY KEY, tenant int, code varchar(3), mark uuid, \"Wo\"\"rd\" text, v int DEFAULT 0);
    INSERT INTO orders SELECT g, g % 3, 'c' || g % 3, ('00000000-0000-0000-0000-00000000000' || g)::uuid, 'w' || g % 3
        FROM generate_series(1, 9) g;
";

fn of_tenant(tenant: i64) -> String {
    format!("SELECT count(*), sum(v) FROM orders WHERE tenant = {tenant}")
}

/// Changes of which the keys were learned by a RETURNING of pgditto's.
fn learned(house: &House<'_>) -> f64 {
    let labels = [("asked_by", "pgditto"), ("result", "known")];
    let metrics = house.pgditto.metrics();
    metrics.sum("pgditto_returned_keys_total", &labels)
}

/// Answers are told by the tenant, and it is known that it may be read.
fn prime(pair: &mut Pair<'_>) {
    let house = pair.house;
    eventually("keys are learned", || {
        pair.becomes_hit(&of_tenant(1));
        let before = learned(house);
        pair.write("UPDATE orders SET v = v + 1 WHERE id = 9");
        learned(house) > before
    });
}

const AGAIN: &str =
    "INSERT INTO orders (id, tenant, v) VALUES (1, 1, 0), (4, 1, 0) ON CONFLICT DO NOTHING";

/// `write` changes `changed`, leaves `other` valid, and its keys were learned.
fn learns(
    pair: &mut Pair<'_>,
    changed: &str,
    other: &str,
    mut write: impl FnMut(&mut Pair<'_>),
    what: &str,
) {
    let house = pair.house;
    eventually(what, || {
        pair.write(AGAIN);
        for read in [changed, other] {
            pair.becomes_hit(read);
        }
        let (before, count) = (pair.direct.query(changed), learned(house));
        write(pair);
        house.before.take();
        // While the guard has not been heard nothing is added.
        let added = learned(house) > count;
        assert_ne!(
            before,
            pair.direct.query(changed),
            "it changes nothing: {what}"
        );
        let served = pair.look(other);
        pair.asked(changed);
        added && served == Served::Hit
    });
}

/// `write` changes `read`, which is noticed, and nothing was learned.
fn stays_wide(pair: &mut Pair<'_>, read: &str, write: &str) {
    let count = learned(pair.house);
    pair.invalidates(read, write);
    assert_eq!(learned(pair.house), count, "{write}");
}

/// Without the places in the server's source where errors come from.
fn placeless(mut reply: Reply) -> Reply {
    for (tag, body) in &mut reply.messages {
        if matches!(tag, b'E' | b'N') {
            let fields = body.split(|byte| *byte == 0);
            let kept = fields.filter(|field| !matches!(field.first(), Some(b'F' | b'L' | b'R')));
            *body = kept.collect::<Vec<_>>().join(&0);
        }
    }
    reply
}

fn play(client: &mut Wire, batches: &[Batch]) -> Vec<Reply> {
    batches
        .iter()
        .map(|batch| placeless(client.batch(batch)))
        .collect()
}

/// What each of these says in one transaction, which is rolled back.
fn in_block(client: &mut Wire, batches: &[Batch]) -> Vec<Reply> {
    client.query("BEGIN");
    let replies = play(client, batches);
    client.query("ROLLBACK");
    replies
}

fn one(sql: &str) -> Batch {
    batch(sql, &[], &[], &[])
}

#[test]
fn a_change_by_key_leaves_the_answers_of_other_tenants_valid() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    prime(&mut pair);
    for sql in [
        "UPDATE orders SET v = v + 1 WHERE id = 1",
        "UPDATE orders SET v = v + 1 WHERE id = 1;",
        "UPDATE orders SET v = v + 1 WHERE id = 1 -- all of it",
        "/* a */ UPDATE ONLY public.orders /* b */ AS o SET v = o.v + 1 WHERE 1 = o.id AND v >= 0 /* c */ ; -- d",
        "UPDATE orders SET v = (SELECT max(v) + 1 FROM orders) WHERE (id = '1')",
        "UPDATE orders SET v = v + 1, mark = NULL WHERE id IN (1)",
        "UPDATE orders SET v = v + 1 WHERE id IN (1, 4, 7)",
        "DELETE FROM orders WHERE id = 1",
        "DELETE FROM orders o USING (SELECT 1) s WHERE id = 4 AND tenant = 1",
    ] {
        if sql.contains("USING") {
            // What else it names may have columns of the same names.
            stays_wide(&mut pair, &of_tenant(1), &sql.replace("AND tenant = 1", ""));
            continue;
        }
        let write = |pair: &mut Pair<'_>| {
            let truth = {
                pair.direct.query("BEGIN");
                let truth = pair.direct.query(sql);
                pair.direct.query("ROLLBACK");
                truth
            };
            let reply = pair.write(sql);
            assert_eq!(reply.messages, truth.messages, "{sql}");
        };
        learns(&mut pair, &of_tenant(1), &of_tenant(2), write, sql);
    }
    // By every type of column, whatever its name.
    for (changed, other) in [
        ("code = 'c2'", "code = 'c0'"),
        (
            "mark = '00000000-0000-0000-0000-000000000002'",
            "mark = '00000000-0000-0000-0000-000000000003'",
        ),
        ("\"Wo\"\"rd\" = 'w2'", "\"Wo\"\"rd\" = 'w0'"),
    ] {
        let read = |condition| format!("SELECT sum(v) FROM orders WHERE {condition}");
        let write =
            |pair: &mut Pair<'_>| drop(pair.write("UPDATE orders SET v = v + 1 WHERE id = 2"));
        learns(&mut pair, &read(changed), &read(other), write, changed);
    }
    // A row that is not there, or not changed.
    for sql in [
        "UPDATE orders SET v = 7 WHERE id = 1000",
        "DELETE FROM orders WHERE id = 2 AND v = -1",
    ] {
        eventually(sql, || {
            pair.becomes_hit(&of_tenant(2));
            let count = learned(&house);
            pair.write(sql);
            learned(&house) > count && pair.look(&of_tenant(2)) == Served::Hit
        });
    }
}

/// Where the server draws the key, the answers of other keys stay, and so does that there is no such row.
#[test]
fn an_insert_whose_key_the_server_draws_leaves_the_answers_of_other_keys_valid() {
    let house = House::new(
        "CREATE TABLE note (id serial PRIMARY KEY, word text UNIQUE, v int);
         INSERT INTO note (word, v) VALUES ('a', 1), ('b', 2);",
    );
    let mut pair = house.pair();
    let of = |id: i64| format!("SELECT count(*), sum(v) FROM note WHERE id = {id}");
    let mut words = 0..;
    let texts = [
        "INSERT INTO note (word, v) VALUES ($1, $2)",
        "INSERT INTO note (word, v) VALUES ($1, 3), ($1 || '-', $2 + 1) -- two",
        "INSERT INTO note AS n VALUES (DEFAULT, $1, $2) ON CONFLICT DO NOTHING;",
        "INSERT INTO note (word, v) VALUES ($1, $2), ($1, $2) ON CONFLICT (word) DO NOTHING",
    ];
    for (number, sql) in texts.into_iter().enumerate() {
        for simple in [true, false] {
            eventually(&format!("{sql}, {simple}"), || {
                let batches: Vec<Batch> = (0..2)
                    .map(|_| {
                        let word = format!("w{}", words.next().expect("endless"));
                        if simple {
                            let sql = sql.replace("$1", &format!("'{word}'"));
                            Batch(super::wire::query(&sql.replace("$2", "5")))
                        } else {
                            Batch::whole(sql, &[Some(word.as_bytes()), Some(b"5")])
                        }
                    })
                    .collect();
                let truth = pair.direct.batch(&batches[0]);
                let last = pair.direct.query("SELECT last_value FROM note_id_seq");
                let last: i64 = last.text().parse().expect("a number");
                for id in [1, last + 1, last + 9] {
                    pair.becomes_hit(&of(id));
                }
                let count = learned(&house);
                assert_eq!(pair.via.batch(&batches[1]), truth, "{sql}");
                house.before.take();
                let added = learned(&house) > count;
                let stays = [1, last + 9].map(|id| pair.look(&of(id)) == Served::Hit);
                pair.asked(&of(last + 1));
                added && stays == [true, true]
            });
        }
        // One that does not come to be.
        let failing = format!("INSERT INTO note (word, v) VALUES ('b', {number})");
        let truth = pair.direct.query(&failing);
        assert_eq!(pair.via.query(&failing), truth);
        house.before.take();
    }
    for sql in [
        "INSERT INTO note (word, v) VALUES ('b', 3) ON CONFLICT (word) DO UPDATE SET v = note.v + 1",
        "INSERT INTO note (word, v) SELECT 's' || count(*), 1 FROM note",
        "INSERT INTO note DEFAULT VALUES",
    ] {
        pair.becomes_hit(&of(1));
        let count = learned(&house);
        pair.write(sql);
        assert_eq!(learned(&house), count, "{sql}");
        pair.asked(&of(2));
    }
}

#[test]
fn a_change_of_the_extended_protocol_is_answered_as_the_server_answers_it() {
    const UPDATE: &str = "UPDATE orders SET v = v + 1 WHERE id = $1";
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    prime(&mut pair);
    // Prepared before, and in the unit itself.
    for name in ["", "u"] {
        let mut prepare = Batch::default();
        prepare.parse("u", UPDATE, &[23]).describe(b'S', "u").sync();
        if name == "u" {
            assert_eq!(pair.via.batch(&prepare), pair.direct.batch(&prepare));
        }
        for formats in [&[][..], &[0], &[1], &[1, 0, 1], &[9]] {
            for max_rows in [0, 1, 5] {
                let mut update = Batch::default();
                if name.is_empty() {
                    update.parse("", UPDATE, &[]).describe(b'S', "");
                }
                update.bind("", name, &[], &[Some(b"1")], formats);
                update.describe(b'P', "").execute("", max_rows).sync();
                let what = format!("{name} {formats:?} {max_rows}");
                let truth = in_block(&mut pair.direct, std::slice::from_ref(&update));
                let write = |pair: &mut Pair<'_>| {
                    let reply = pair.via.batch(&update);
                    assert_eq!(reply.messages, truth[0].messages, "{what}");
                    assert_eq!(reply.kinds().matches('D').count(), 0, "{what}");
                };
                learns(&mut pair, &of_tenant(1), &of_tenant(2), write, &what);
            }
        }
    }
    // Many in one unit, and binary values.
    let mut many = Batch::default();
    for id in [[0, 0, 0, 1], [0, 0, 0, 4], [0, 0, 0, 7]] {
        many.bind("", "u", &[1], &[Some(&id)], &[]).execute("", 0);
    }
    many.sync();
    let write = |pair: &mut Pair<'_>| write_batch(pair, &many);
    learns(&mut pair, &of_tenant(1), &of_tenant(2), write, "a pipeline");
}

#[test]
fn the_portal_of_a_change_behaves_as_the_server_s() {
    const UPDATE: &str = "UPDATE orders SET v = v + 1 WHERE id = 1";
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    prime(&mut pair);
    let unit = |build: &dyn Fn(&mut Batch)| {
        let mut batch = Batch::default();
        build(&mut batch);
        batch.sync();
        batch
    };
    let bound = unit(&|b| {
        b.parse("", UPDATE, &[]).bind("", "", &[], &[], &[]);
    });
    let executed = unit(&|b| {
        b.execute("", 0);
    });
    let described = unit(&|b| {
        b.describe(b'P', "");
    });
    let closed = unit(&|b| {
        b.close(b'P', "");
    });
    let whole = one(UPDATE);
    let broken = unit(&|b| {
        b.parse("", "SELEC", &[]);
    });
    let divides = one("UPDATE orders SET v = 1 / (v - v) WHERE id = 1");
    let statement = unit(&|b| {
        b.describe(b'S', "");
    });
    let twice = unit(&|b| {
        b.parse("", UPDATE, &[]).bind("", "", &[], &[], &[]);
        b.execute("", 0).execute("", 0);
    });
    let late = unit(&|b| {
        b.parse("", UPDATE, &[]).bind("", "", &[], &[], &[]);
        b.parse("x", "SELEC", &[]).execute("", 0);
    });
    let named = unit(&|b| {
        b.parse("", UPDATE, &[]).bind("p", "", &[], &[], &[1]);
        b.describe(b'P', "p").execute("p", 1).close(b'P', "p");
    });
    let savepoint = unit(&|b| {
        b.parse("", "SAVEPOINT s", &[]).bind("p", "", &[], &[], &[]);
        b.execute("p", 0).close(b'P', "p");
    });
    let back = unit(&|b| {
        b.parse("", "ROLLBACK TO s", &[])
            .bind("p", "", &[], &[], &[]);
        b.execute("p", 0).close(b'P', "p");
    });
    let read = one("SELECT v FROM orders WHERE id = 1");
    for script in [
        &[&bound, &described, &executed, &statement][..],
        &[&bound, &executed, &executed],
        &[&bound, &executed, &described, &closed, &described],
        &[&bound, &closed, &executed],
        &[&whole, &executed],
        &[&whole, &described],
        &[&whole, &statement, &read],
        &[&twice, &described],
        &[&late, &executed, &described],
        &[&bound, &broken, &described, &executed],
        &[&divides, &described, &executed],
        &[&savepoint, &divides, &back, &whole],
        &[&savepoint, &bound, &broken, &back, &whole],
        &[&named, &whole, &named],
        &[&whole, &whole, &read],
    ] {
        let script: Vec<Batch> = script.iter().map(|batch| (*batch).clone()).collect();
        let truth = in_block(&mut pair.direct, &script);
        eventually("something was added", || {
            let count = learned(&house);
            assert_eq!(in_block(&mut pair.via, &script), truth);
            // To a portal that is never executed nothing is learned.
            learned(&house) > count
                || truth
                    .iter()
                    .all(|reply| reply.tags().iter().all(|tag| tag != "UPDATE 1"))
        });
        // Outside of a block each unit is a transaction of its own.
        let alone = |client: &mut Wire| {
            house.outside("UPDATE orders SET v = 0 WHERE id = 1");
            play(client, &script)
        };
        assert_eq!(alone(&mut pair.via), alone(&mut pair.direct));
        house.before.take();
    }
}

#[test]
fn what_a_transaction_learned_so_holds_until_its_commit() {
    const UPDATE: &str = "UPDATE orders SET v = v + 1 WHERE id = 1";
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    prime(&mut pair);
    for script in [
        &["BEGIN", UPDATE, "COMMIT"][..],
        &[
            "BEGIN",
            UPDATE,
            UPDATE,
            "COMMIT AND CHAIN",
            UPDATE,
            "COMMIT",
        ],
        &["BEGIN", "SAVEPOINT s", UPDATE, "RELEASE s", "COMMIT"],
        &[
            "BEGIN",
            UPDATE,
            "SAVEPOINT s",
            UPDATE,
            "ROLLBACK TO s",
            "COMMIT",
        ],
        &["BEGIN ISOLATION LEVEL SERIALIZABLE", UPDATE, "COMMIT"],
    ] {
        let write = |pair: &mut Pair<'_>| script.iter().for_each(|sql| drop(pair.write(sql)));
        learns(
            &mut pair,
            &of_tenant(1),
            &of_tenant(2),
            write,
            &script.join("; "),
        );
    }
    // One that was rolled back changes nothing.
    pair.becomes_hit(&of_tenant(1));
    for sql in ["BEGIN", UPDATE, "ROLLBACK"] {
        pair.write(sql);
    }
    pair.hit(&of_tenant(1));
    // A pipeline that an error ends, and one that commits in its middle.
    let unit = |texts: &[&str]| {
        let mut unit = Batch::default();
        for sql in texts {
            unit.parse("", sql, &[])
                .bind("", "", &[], &[], &[])
                .execute("", 0);
        }
        unit.sync();
        unit
    };
    pair.becomes_hit(&of_tenant(1));
    let failed = pair
        .via
        .batch(&unit(&[UPDATE, "SELECT 1 / (v - v) FROM orders"]));
    assert_eq!(failed.error().as_deref(), Some("22012"));
    house.before.take();
    pair.hit(&of_tenant(1));
    let committed = unit(&["BEGIN", UPDATE, "COMMIT", UPDATE]);
    let write = |pair: &mut Pair<'_>| write_batch(pair, &committed);
    learns(&mut pair, &of_tenant(1), &of_tenant(2), write, "a pipeline");
}

#[test]
fn a_statement_that_was_prepared_before_there_were_such_answers_is_learned_from() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let mut prepare = Batch::default();
    prepare
        .parse("u", "UPDATE orders SET v = v + 1 WHERE id = $1", &[])
        .sync();
    write_batch(&mut pair, &prepare);
    let mut update = Batch::default();
    update
        .bind("", "u", &[], &[Some(b"1")], &[])
        .execute("", 0)
        .sync();
    write_batch(&mut pair, &update);
    assert_eq!(learned(&house), 0.0);
    let write = |pair: &mut Pair<'_>| write_batch(pair, &update);
    learns(
        &mut pair,
        &of_tenant(1),
        &of_tenant(2),
        write,
        "learned later",
    );
    // And so is one that every connection prepares for itself.
    let mut other = house.via();
    other.batch(&prepare);
    let write = |_: &mut Pair<'_>| drop(other.batch(&update));
    learns(
        &mut pair,
        &of_tenant(1),
        &of_tenant(2),
        write,
        "another session",
    );
}

#[test]
fn errors_and_notices_are_the_server_s_own() {
    let house = House::new(&format!(
        "{SCHEMA}
         ALTER TABLE orders ADD CONSTRAINT small CHECK (v < 1000000);
         CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
             RAISE NOTICE 'was %', OLD.v; IF NEW.v = 13 THEN RAISE EXCEPTION 'unlucky'; END IF; RETURN NULL; END$$;
         CREATE TRIGGER tell AFTER UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION tell();"
    ));
    let mut pair = house.pair();
    prime(&mut pair);
    pair.both("SET client_min_messages = 'notice'");
    prime(&mut pair);
    for sql in [
        "UPDATE orders SET v = 12 WHERE id = 1",
        "UPDATE orders SET v = 13 WHERE id = 1",
        "UPDATE orders SET v = 2000000 WHERE id = 1",
        "UPDATE orders SET v = 1 / (v - v) WHERE id = 1 -- no",
        "UPDATE orders SET v = 'x' WHERE id = 1",
        "UPDATE orders SET none = 1 WHERE id = 1",
        "UPDATE orders SET v = none WHERE id = 1",
        "UPDATE orders SET v = 1 WHERE id = 1 AND",
        "UPDATE orders SET id = 2 WHERE id = 1",
        "UPDATE orders SET tenant = 5 WHERE id = 'y'",
        "DELETE FROM orders WHERE id = 1 AND 1 / (v - v) = 1",
    ] {
        let whole = Batch::whole(sql, &[]);
        let mut query = Batch::default();
        query.0 = super::wire::query(sql);
        for batch in [query, whole] {
            pair.house
                .outside("UPDATE orders SET v = 3, tenant = 1 WHERE id = 1");
            let truth = placeless(pair.direct.batch(&batch));
            pair.house
                .outside("UPDATE orders SET v = 3, tenant = 1 WHERE id = 1");
            assert_eq!(placeless(pair.via.batch(&batch)), truth, "{sql}");
        }
    }
}

/// Whatever would notice the addition, or makes it say less than all.
#[test]
fn where_somebody_would_notice_nothing_is_added() {
    let house = House::new(&format!(
        "{SCHEMA}
         CREATE TABLE log (line text);
         CREATE VIEW running AS SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid();
         CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
             $$BEGIN RAISE NOTICE '%', current_query(); RETURN NULL; END$$;
         CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS
             $$BEGIN RAISE NOTICE '%', (SELECT query FROM running); RETURN NULL; END$$;
         CREATE TABLE told (LIKE orders INCLUDING ALL);
         CREATE TABLE looked (LIKE orders INCLUDING ALL);
         CREATE TABLE kept (LIKE orders INCLUDING ALL);
         CREATE TABLE part (id int PRIMARY KEY, tenant int, v int) PARTITION BY RANGE (id);
         CREATE TABLE low PARTITION OF part FOR VALUES FROM (0) TO (10);
         CREATE VIEW seen AS SELECT * FROM orders;
         CREATE CONSTRAINT TRIGGER tell AFTER UPDATE ON told DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION tell();
         CREATE TRIGGER look AFTER UPDATE ON looked FOR EACH ROW EXECUTE FUNCTION look();
         ALTER TABLE kept ENABLE ROW LEVEL SECURITY;
         INSERT INTO told SELECT * FROM orders; INSERT INTO looked SELECT * FROM orders;
         INSERT INTO kept SELECT * FROM orders; INSERT INTO part SELECT id, tenant, v FROM orders WHERE id < 10;"
    ));
    let mut pair = house.pair();
    pair.both("SET client_min_messages = 'notice'");
    prime(&mut pair);
    for table in ["told", "looked", "kept", "part", "seen"] {
        let read = format!("SELECT sum(v) FROM {table} WHERE tenant = 1");
        let update = format!("UPDATE {table} SET v = v + 1 WHERE id = 1");
        for _ in 0..2 {
            stays_wide(&mut pair, &read, &update);
        }
        // The notices have the text of the statement in them.
        let truth = pair.direct.query(&update);
        assert_eq!(pair.via.query(&update), truth);
    }
    for write in [
        "UPDATE orders SET v = v + length(current_query()) WHERE id = 1",
        "UPDATE orders SET v = v + 1 WHERE id >= 1 AND id < 2",
        "UPDATE orders SET v = v + 1 WHERE id = ANY ('{1, 4}')",
        "UPDATE orders SET v = v + 1 WHERE id IN (1, 4, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35)",
        "UPDATE orders SET v = v + 1 WHERE code = 'c1'",
        "UPDATE orders SET tenant = 4 WHERE id = 1",
        "UPDATE orders SET v = v + 1 FROM log WHERE id = 4 OR line = 'x'",
        "UPDATE orders SET v = v + 1 WHERE id = 4; SELECT 1",
        "WITH w AS (UPDATE orders SET v = v + 1 WHERE id = 4 RETURNING 1) SELECT * FROM w",
        "PREPARE u AS UPDATE orders SET v = v + 1 WHERE id = 4; EXECUTE u; DEALLOCATE u",
    ] {
        if write.contains("FROM log") {
            pair.write("INSERT INTO log VALUES ('y')");
        }
        stays_wide(&mut pair, &of_tenant(1), write);
    }
    let explain = "EXPLAIN ANALYZE UPDATE orders SET v = v + 1 WHERE id = 4";
    stays_wide(&mut pair, &of_tenant(1), explain);
    // Of a session that nothing is known to be right of.
    for (before, after) in [
        ("SET client_encoding = 'LATIN1'", "RESET client_encoding"),
        (
            "SET client_min_messages = 'debug1'",
            "RESET client_min_messages",
        ),
        ("BEGIN; SET LOCAL work_mem = '5MB'", "COMMIT"),
    ] {
        let mut other = house.via();
        pair.becomes_hit(&of_tenant(1));
        let count = learned(&house);
        for sql in [before, "UPDATE orders SET v = v + 1 WHERE id = 4", after] {
            let reply = other.query(sql);
            assert_eq!(reply.error(), None, "{sql}: {reply:?}");
        }
        house.before.take();
        assert_eq!(learned(&house), count, "{before}");
        pair.asked(&of_tenant(1));
    }
    // A condition that looks at texts, which no dependency tells of.
    prime(&mut pair);
    pair.write("ALTER TABLE orders ADD CHECK (current_query() <> '')");
    for _ in 0..3 {
        stays_wide(
            &mut pair,
            &of_tenant(1),
            "UPDATE orders SET v = v + 1 WHERE id = 4",
        );
    }
}

/// Whatever makes the rows that RETURNING has others than those that are changed, or has others changed beside them.
#[test]
fn where_other_rows_may_be_changed_than_are_returned_nothing_is_added() {
    let house = House::new(&format!(
        "{SCHEMA}
         CREATE TABLE log (line text);
         CREATE TABLE ruled (LIKE orders INCLUDING ALL);
         CREATE RULE also AS ON UPDATE TO ruled DO ALSO INSERT INTO log VALUES ('also');
         CREATE TABLE moved (LIKE orders INCLUDING ALL);
         CREATE TABLE ruled_off (LIKE orders INCLUDING ALL);
         CREATE RULE elsewhere AS ON UPDATE TO ruled_off DO INSTEAD
             UPDATE moved SET v = moved.v + 1, tenant = OLD.tenant WHERE moved.id = OLD.id + 3;
         CREATE VIEW shown AS SELECT id, tenant, v FROM moved;
         CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN UPDATE moved SET v = NEW.v WHERE tenant = OLD.tenant; RETURN NEW; END';
         CREATE TRIGGER instead INSTEAD OF UPDATE ON shown FOR EACH ROW EXECUTE FUNCTION instead();
         CREATE TABLE stamped (LIKE orders INCLUDING ALL);
         CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.tenant := 2; RETURN NEW; END';
         CREATE TRIGGER stamp BEFORE UPDATE ON stamped FOR EACH ROW EXECUTE FUNCTION stamp();
         CREATE TABLE quiet (LIKE orders INCLUDING ALL);
         CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.code := ''x''; RETURN NEW; END';
         CREATE TRIGGER touch BEFORE UPDATE ON quiet FOR EACH ROW EXECUTE FUNCTION touch();
         CREATE TABLE parent (LIKE orders INCLUDING ALL);
         CREATE TABLE child (LIKE orders INCLUDING ALL) INHERITS (parent);
         INSERT INTO ruled SELECT * FROM orders; INSERT INTO ruled_off SELECT * FROM orders;
         INSERT INTO moved SELECT * FROM orders; INSERT INTO stamped SELECT * FROM orders;
         INSERT INTO quiet SELECT * FROM orders; INSERT INTO parent SELECT * FROM orders WHERE id > 3;
         INSERT INTO child SELECT * FROM orders WHERE id <= 4;"
    ));
    let mut pair = house.pair();
    prime(&mut pair);
    let sum = |table: &str, tenant: i64| {
        format!("SELECT sum(v), count(*) FROM {table} WHERE tenant = {tenant}")
    };
    let update = |table: &str| format!("UPDATE {table} SET v = v + 1 WHERE id = 1");
    for (read, write) in [
        (sum("ruled", 1), update("ruled")),
        ("SELECT count(*) FROM log".into(), update("ruled")),
        (sum("moved", 1), update("ruled_off")),
        (sum("shown", 1), update("shown")),
        (sum("moved", 1), update("shown")),
        (sum("stamped", 2), update("stamped")),
        (sum("quiet", 1), update("quiet")),
        (
            "SELECT count(*) FROM quiet WHERE code = 'x'".into(),
            "UPDATE quiet SET v = v + 1 WHERE id = 2".into(),
        ),
        (sum("parent", 1), update("parent")),
        (sum("child", 1), update("parent")),
        // In both of them.
        (
            sum("child", 1),
            "UPDATE parent SET v = v + 1 WHERE id = 4".into(),
        ),
    ] {
        stays_wide(&mut pair, &read, &write);
    }
    pair.invalidates(&sum("parent", 1), &update("child"));
    // The row that was of tenant 1 is of another now.
    pair.write("ALTER TABLE stamped DISABLE TRIGGER stamp");
    pair.write("UPDATE stamped SET tenant = 1");
    pair.write("ALTER TABLE stamped ENABLE TRIGGER stamp");
    prime(&mut pair);
    stays_wide(&mut pair, &sum("stamped", 1), &update("stamped"));
}

/// Its old value and its new one stand in the text; what is learned is of other columns, which the change leaves alone.
#[test]
fn a_change_of_the_key_itself_is_known_where_it_was_and_where_it_comes() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    prime(&mut pair);
    let of = |id: i64| format!("SELECT tenant, v FROM orders WHERE id = {id}");
    let (mut from, mut to) = (1, 11);
    let moves = |pair: &mut Pair<'_>, from: i64, to: i64, set: &str, tenants: &[i64]| {
        let mut reads = vec![of(from), of(to)];
        reads.extend(tenants.iter().map(|tenant| of_tenant(*tenant)));
        for read in &reads {
            pair.becomes_hit(read);
        }
        pair.write(&format!(
            "UPDATE orders SET id = {to}, {set} WHERE id = {from}"
        ));
        for read in &reads {
            pair.asked(read);
        }
    };
    for _ in 0..3 {
        moves(&mut pair, from, to, "v = v + 1", &[1]);
        (from, to) = (to, from);
    }
    // And of the other column as well: nothing tells whose row it was.
    for tenant in [2, 1, 2] {
        let count = learned(&house);
        let set = format!("tenant = {tenant}");
        moves(&mut pair, from, to, &set, &[1, 2]);
        assert_eq!(learned(&house), count);
        (from, to) = (to, from);
    }
}

#[test]
fn nothing_is_added_where_it_is_switched_off() {
    let off = |options: &mut Options| {
        options.set("cache.learn_keys", "false");
    };
    let house = House::with(SCHEMA, off);
    let mut pair = house.pair();
    for _ in 0..3 {
        stays_wide(
            &mut pair,
            &of_tenant(1),
            "UPDATE orders SET v = v + 1 WHERE id = 4",
        );
    }
}

/// A role that may change what it may not read all of.
#[test]
fn what_the_role_may_not_read_is_not_asked_for() {
    let house = House::new(SCHEMA);
    house.superuser("DROP ROLE IF EXISTS added_clerk; CREATE ROLE added_clerk LOGIN");
    house.superuser_seen("GRANT SELECT (id, v), UPDATE (v) ON orders TO added_clerk");
    let mut pair = house.pair();
    prime(&mut pair);
    let mut clerk = house.via_as("added_clerk", &[]);
    let mut update = |sql: &str| {
        let reply = clerk.query(sql);
        assert_eq!(reply.tags(), ["UPDATE 1"], "{reply:?}");
        house.before.take();
    };
    for _ in 0..3 {
        pair.becomes_hit(&of_tenant(1));
        let count = learned(&house);
        update("UPDATE orders SET v = v + 1 WHERE id = 4");
        assert_eq!(learned(&house), count);
        pair.asked(&of_tenant(1));
    }
    // What it has been given since counts from when that is known.
    house.superuser_seen("GRANT SELECT (tenant) ON orders TO added_clerk");
    let write = |_: &mut Pair<'_>| update("UPDATE orders SET v = v + 1 WHERE id = 4");
    learns(&mut pair, &of_tenant(1), &of_tenant(2), write, "granted");
    house.superuser("REVOKE ALL ON orders FROM added_clerk; DROP ROLE added_clerk");
}

/// What was known of the columns and of privileges changes behind pgditto's back, and is not seen.
#[test]
fn a_change_that_the_server_refuses_for_the_addition_runs_as_it_was() {
    let blind = |options: &mut Options| {
        options.set("cache.catalog_watch_interval", "1h");
    };
    for (refused, ddl) in [
        (
            "42501",
            "REVOKE SELECT ON orders FROM app; GRANT SELECT (id, v) ON orders TO app",
        ),
        ("42703", "ALTER TABLE orders DROP COLUMN tenant"),
        (
            "0A000",
            "ALTER TABLE orders ALTER COLUMN tenant TYPE bigint",
        ),
    ] {
        let house = House::with(SCHEMA, blind);
        let mut pair = house.pair();
        let mut named = Batch::default();
        named
            .parse("u", "UPDATE orders SET v = v + 1 WHERE id = $1", &[])
            .sync();
        write_batch(&mut pair, &named);
        let mut bound = Batch::default();
        bound
            .bind("", "u", &[], &[Some(b"1")], &[])
            .describe(b'P', "")
            .execute("", 0)
            .sync();
        let write = |pair: &mut Pair<'_>| write_batch(pair, &bound);
        learns(&mut pair, &of_tenant(1), &of_tenant(2), write, refused);
        let mut query = Batch::default();
        query.0 = super::wire::query("UPDATE orders SET v = v + 1 WHERE id = 1");
        let whole = Batch::whole("UPDATE orders SET v = v + 1 WHERE id = $1", &[Some(b"1")]);
        house.outside(ddl);
        for (batch, kinds) in [(&bound, "2nC"), (&query, "C"), (&whole, "12nC")] {
            let reply = pair.via.batch(batch);
            assert_eq!(
                (reply.error(), reply.kinds().as_str()),
                (None, kinds),
                "{refused}: {reply:?}"
            );
            assert_eq!(reply.status, 'I');
        }
        // It was tried with the addition first, but where a connection has read the new type already.
        let labels = [("asked_by", "pgditto"), ("result", "unknown")];
        let metrics = house.pgditto.metrics();
        let tried = metrics.sum("pgditto_returned_keys_total", &labels);
        assert!(tried > 0.0 || refused == "0A000", "{refused}");
    }
}

#[test]
fn a_row_that_is_longer_than_what_is_looked_at_is_not_shown_either() {
    let house = House::new(
        "CREATE TABLE t (id int PRIMARY KEY, word text, v int);
         INSERT INTO t SELECT g, repeat('x', 200000), 0 FROM generate_series(1, 3) g;",
    );
    let mut pair = house.pair();
    pair.becomes_hit("SELECT count(*) FROM t WHERE word = 'y'");
    let update = "UPDATE t SET v = v + 1 WHERE id = 1";
    let labels = [("asked_by", "pgditto"), ("result", "unknown")];
    let unknown = || {
        let metrics = house.pgditto.metrics();
        metrics.sum("pgditto_returned_keys_total", &labels)
    };
    eventually("a row that is too long came", || {
        for batch in [Batch(super::wire::query(update)), one(update)] {
            let truth = pair.direct.batch(&batch);
            assert_eq!(pair.via.batch(&batch), truth);
        }
        unknown() > 0.0
    });
}

/// In the server's log and in pg_stat_activity it has the longer text: docs/operations.md says so.
#[test]
fn the_server_shows_the_longer_text() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    prime(&mut pair);
    let mut watcher = house.direct_as("postgres", &[]);
    eventually("a longer text", || {
        pair.write("BEGIN");
        pair.write("UPDATE orders SET v = v + 1 WHERE id = 1 /* mine */");
        let shown = watcher.query(
            "SELECT query FROM pg_stat_activity WHERE query LIKE '%mine%' AND pid <> pg_backend_pid()",
        );
        pair.write("COMMIT");
        shown.text() == "UPDATE orders SET v = v + 1 WHERE id = 1 RETURNING \"tenant\" /* mine */"
    });
}
