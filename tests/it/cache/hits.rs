//! What is served from the cache, in every form in which clients ask.

use std::thread;

use super::wire::{Batch, Wire};
use super::{House, Served};
use crate::fixture::eventually;

const SCHEMA: &str = "
    CREATE TABLE item (id int PRIMARY KEY, name text, price numeric, at timestamptz DEFAULT '2024-01-02 03:04:05Z');
    INSERT INTO item SELECT g, 'item ' || g, g * 1.5 FROM generate_series(1, 20) g;
    CREATE TABLE part (id int PRIMARY KEY, item int REFERENCES item, note text);
    INSERT INTO part SELECT g, g % 20 + 1, 'part ' || g FROM generate_series(1, 40) g;
    CREATE TABLE empty (id int);
    CREATE VIEW dear AS SELECT * FROM item WHERE price > 10;
";

#[test]
fn a_query_string_is_asked_once_and_then_answered_from_memory() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    for sql in [
        "SELECT * FROM item WHERE id = 3",
        "select name, price from item where id in (1, 2, 3) order by id",
        "SELECT i.name, p.note FROM item i JOIN part p ON p.item = i.id WHERE i.id = 4 ORDER BY p.id",
        "SELECT count(*), sum(price), max(name) FROM item",
        "SELECT item, count(*) FROM part GROUP BY item HAVING count(*) > 1 ORDER BY item LIMIT 3",
        "WITH cheap AS (SELECT * FROM item WHERE price < 9) SELECT c.name FROM cheap c ORDER BY c.id",
        "SELECT * FROM dear ORDER BY id",
        "SELECT name FROM item WHERE EXISTS (SELECT FROM part WHERE part.item = item.id AND part.id > 35) ORDER BY id",
        "SELECT id, CASE WHEN price > 5 THEN 'dear' ELSE 'cheap' END AS class FROM item ORDER BY 1 DESC LIMIT 2 OFFSET 1",
        "SELECT id, row_number() OVER (ORDER BY price DESC) FROM item WHERE id < 5 ORDER BY id",
        "VALUES (1, 'a'), (2, 'b')",
        "TABLE empty",
        "SELECT name FROM item WHERE name LIKE 'item 1%' UNION ALL SELECT note FROM part WHERE id = 2 ORDER BY 1",
        "SELECT DISTINCT item FROM part WHERE note ILIKE '%1%' ORDER BY item",
        "SELECT upper(name), length(name), coalesce(price, 0)::int FROM item WHERE id BETWEEN 2 AND 4 ORDER BY id",
        "SELECT array_agg(id ORDER BY id), string_agg(name, ',' ORDER BY id) FROM item WHERE id < 4",
        "SELECT at FROM item WHERE id = 1",
        "SELECT '{\"a\": 1}'::jsonb ->> 'a', (SELECT max(id) FROM part)",
        "  SELECT 1 ;  ",
    ] {
        pair.miss(sql);
        pair.hit(sql);
        pair.hit(sql);
    }
}

#[test]
fn an_unnamed_statement_in_one_batch_is_a_hit() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let batch = Batch::whole("SELECT name FROM item WHERE id = $1", &[Some(b"3")]);
    assert_eq!(pair.look_batch(&batch), Served::Miss);
    assert_eq!(pair.look_batch(&batch), Served::Hit);
    let other = Batch::whole("SELECT name FROM item WHERE id = $1", &[Some(b"4")]);
    assert_eq!(pair.look_batch(&other), Served::Miss);
    assert_eq!(pair.look_batch(&other), Served::Hit);
    let null = Batch::whole("SELECT name FROM item WHERE id = $1", &[None]);
    assert_eq!(pair.look_batch(&null), Served::Miss);
    assert_eq!(pair.look_batch(&null), Served::Hit);
    // A batch that does not ask for a description, and one that describes the statement.
    let mut bare = Batch::default();
    bare.parse("", "SELECT name FROM item WHERE id = $1", &[]);
    bare.bind("", "", &[], &[Some(b"5")], &[])
        .execute("", 0)
        .sync();
    assert_eq!(pair.look_batch(&bare), Served::Miss);
    assert_eq!(pair.look_batch(&bare), Served::Hit);
}

#[test]
fn a_named_statement_that_was_prepared_before_is_a_hit() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let mut prepare = Batch::default();
    prepare
        .parse("s1", "SELECT id, name FROM item WHERE id = $1", &[23])
        .describe(b'S', "s1")
        .sync();
    pair.look_batch(&prepare);
    let mut run = Batch::default();
    run.bind("", "s1", &[], &[Some(b"7")], &[])
        .execute("", 0)
        .sync();
    assert_eq!(pair.look_batch(&run), Served::Miss);
    assert_eq!(pair.look_batch(&run), Served::Hit);
    let mut binary = Batch::default();
    binary
        .bind("", "s1", &[1], &[Some(&7_i32.to_be_bytes())], &[1])
        .execute("", 0)
        .sync();
    assert_eq!(pair.look_batch(&binary), Served::Miss);
    assert_eq!(pair.look_batch(&binary), Served::Hit);
    let mut mixed = Batch::default();
    mixed
        .bind("", "s1", &[], &[Some(b"7")], &[1, 0])
        .execute("", 0)
        .sync();
    assert_eq!(pair.look_batch(&mixed), Served::Miss);
    assert_eq!(pair.look_batch(&mixed), Served::Hit);
    let mut portal = Batch::default();
    portal
        .bind("p", "s1", &[], &[Some(b"8")], &[])
        .describe(b'P', "p")
        .execute("p", 0);
    portal.close(b'P', "p").sync();
    assert_eq!(pair.look_batch(&portal), Served::Miss);
    assert_eq!(pair.look_batch(&portal), Served::Hit);
    let mut close = Batch::default();
    close.close(b'S', "s1").sync();
    assert_eq!(pair.via.batch(&close), pair.direct.batch(&close));
    let gone = pair.via.batch(&run);
    assert_eq!(gone.error().as_deref(), Some("26000"));
    let truth = pair.direct.batch(&run);
    assert_eq!(truth.error(), gone.error());
}

#[test]
fn one_connection_answers_for_all_with_the_same_settings() {
    let house = House::new(SCHEMA);
    let mut one = house.pair();
    one.miss("SELECT * FROM item WHERE id = 1");
    let mut two = house.pair_as("app", &[("application_name", "another")]);
    two.hit("SELECT * FROM item WHERE id = 1");
    two.both("SET statement_timeout = '7s'");
    two.hit("SELECT * FROM item WHERE id = 1");
}

#[test]
fn text_answers_are_shared_by_both_protocols() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let sql = "SELECT * FROM item WHERE id = 9";
    pair.miss(sql);
    assert_eq!(pair.look_batch(&Batch::whole(sql, &[])), Served::Hit);
    let sql = "SELECT * FROM item WHERE id = 10";
    assert_eq!(pair.look_batch(&Batch::whole(sql, &[])), Served::Miss);
    pair.hit(sql);
}

#[test]
fn a_transaction_of_hits_never_reaches_the_server() {
    let house = House::with(SCHEMA, |opts| {
        opts.set("pool.default_pool_size", 1);
    });
    let mut pair = house.pair();
    pair.becomes_hit("SELECT count(*) FROM item");
    pair.becomes_hit("SELECT count(*) FROM part");
    // The only connection is somebody else's now.
    let mut holder = house.via();
    assert_eq!(holder.query("BEGIN; LOCK TABLE empty").error(), None);
    house.before.take();
    pair.both("BEGIN");
    pair.hit("SELECT count(*) FROM item");
    pair.hit("SELECT count(*) FROM part");
    pair.both("COMMIT");
    for begin in [
        "START TRANSACTION",
        "BEGIN ISOLATION LEVEL READ COMMITTED",
        "BEGIN READ ONLY",
    ] {
        pair.both(begin);
        pair.hit("SELECT count(*) FROM item");
        pair.both("ROLLBACK");
    }
    holder.query("ROLLBACK");
}

#[test]
fn begin_and_select_in_one_batch_are_a_hit() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let mut batch = Batch::default();
    batch
        .parse("", "BEGIN", &[])
        .bind("", "", &[], &[], &[])
        .execute("", 0);
    batch.parse("", "SELECT name FROM item WHERE id = $1", &[23]);
    batch
        .bind("", "", &[], &[Some(b"2")], &[])
        .describe(b'P', "")
        .execute("", 0)
        .sync();
    assert_eq!(pair.look_batch(&batch), Served::Miss);
    pair.both("COMMIT");
    assert_eq!(pair.look_batch(&batch), Served::Hit);
    let mut again = Batch::default();
    again.parse("", "SELECT name FROM item WHERE id = $1", &[23]);
    again
        .bind("", "", &[], &[Some(b"2")], &[])
        .describe(b'P', "")
        .execute("", 0)
        .sync();
    assert_eq!(pair.look_batch(&again), Served::Hit);
    let mut commit = Batch::default();
    commit
        .parse("", "COMMIT", &[])
        .bind("", "", &[], &[], &[])
        .execute("", 0)
        .sync();
    assert_eq!(pair.look_batch(&commit), Served::Local);
}

#[test]
fn a_driver_that_prepares_on_every_new_connection_costs_the_server_nothing() {
    let house = House::with(SCHEMA, |opts| {
        opts.set("pool.default_pool_size", 1);
    });
    let mut prepare = Batch::default();
    prepare
        .parse("s", "SELECT name FROM item WHERE id = $1", &[])
        .describe(b'S', "s")
        .sync();
    let mut run = Batch::default();
    run.bind("", "s", &[], &[Some(b"2")], &[])
        .execute("", 0)
        .sync();
    let mut first = house.pair();
    first.look_batch(&prepare);
    first.look_batch(&run);
    assert_eq!(first.look_batch(&run), Served::Hit);
    // The only connection is somebody else's now.
    let mut holder = house.via();
    assert_eq!(holder.query("BEGIN; LOCK TABLE empty").error(), None);
    house.before.take();
    for _ in 0..3 {
        let mut next = house.pair();
        assert_eq!(next.look_batch(&prepare), Served::Local);
        assert_eq!(next.look_batch(&run), Served::Hit);
    }
    holder.query("ROLLBACK");
}

#[test]
fn a_batch_of_several_reads_is_served_whole_or_not_at_all() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let batch = |ids: &[&'static str]| {
        let mut batch = Batch::default();
        batch.parse("", "SELECT name FROM item WHERE id = $1", &[23]);
        for id in ids {
            batch
                .bind("", "", &[], &[Some(id.as_bytes())], &[])
                .describe(b'P', "")
                .execute("", 0);
        }
        batch.sync();
        batch
    };
    assert_eq!(pair.look_batch(&batch(&["1", "2"])), Served::Miss);
    assert_eq!(pair.look_batch(&batch(&["1", "2"])), Served::Hit);
    assert_eq!(pair.look_batch(&batch(&["2", "1"])), Served::Hit);
    assert_eq!(pair.look_batch(&batch(&["1", "3"])), Served::Miss);
    assert_eq!(pair.look_batch(&batch(&["1", "3"])), Served::Hit);
}

#[test]
fn answers_without_rows_are_kept() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    pair.miss("SELECT * FROM empty");
    pair.hit("SELECT * FROM empty");
    pair.miss("SELECT FROM item WHERE id = 3");
    pair.hit("SELECT FROM item WHERE id = 3");
    pair.invalidates("SELECT * FROM empty", "INSERT INTO empty VALUES (1)");
}

#[test]
fn many_who_ask_the_same_at_once_ask_the_server_once() {
    const CLIENTS: usize = 8;
    // Nobody's patience ends before a slow machine has seen that they wait.
    let house = House::with(SCHEMA, |opts| {
        opts.set("cache.single_flight_timeout", "1m");
    });
    let sql = "SELECT count(*) FROM item a, item b, item c, part d, part e WHERE a.id + d.id <> 7";
    let truth = house.direct().query(sql);
    let before = house.pgditto.metrics();
    // Nobody gets the table before all have asked.
    let mut blocker = house.direct();
    blocker.query("BEGIN; LOCK TABLE part");
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = house.via();
            thread::spawn(move || client.query(sql))
        })
        .collect();
    eventually("all but one wait for that one", || {
        let metrics = house.pgditto.metrics();
        metrics.sum("pgditto_cache_flights", &[]) >= 1.0
    });
    eventually("one of them waits on the server", || {
        house.postgres.psql(&format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event_type = 'Lock'",
            house.database
        )) != "0"
    });
    blocker.query("COMMIT");
    for client in clients {
        assert_eq!(client.join().expect("an answer"), truth);
    }
    let asked = |metrics: &crate::fixture::Metrics| {
        metrics.sum("pgditto_statements_total", &[("outcome", "miss")])
    };
    eventually("all are counted", || {
        let metrics = house.pgditto.metrics();
        let name = "pgditto_statements_total";
        metrics.sum(name, &[]) >= before.sum(name, &[]) + CLIENTS as f64
    });
    let misses = asked(&house.pgditto.metrics()) - asked(&before);
    assert_eq!(misses, 1.0, "one flight for all");
}

#[test]
fn a_waiter_that_came_after_a_write_does_not_take_the_answer_from_before_it() {
    let house = House::new(SCHEMA);
    let sql = "SELECT sum(price) FROM item";
    // The leader's query is on the server and waits there, its snapshot not yet taken or already old.
    let mut blocker = house.direct();
    blocker.query("BEGIN; LOCK TABLE part");
    let slow = "SELECT (SELECT count(*) FROM part), (SELECT sum(price) FROM item)";
    let mut leader = house.via();
    let led = thread::spawn(move || leader.query(slow));
    eventually("the leader waits", || {
        house.postgres.psql(&format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event_type = 'Lock'",
            house.database
        )) != "0"
    });
    let mut writer = house.via();
    assert_eq!(
        writer
            .query("UPDATE item SET price = price + 1000 WHERE id = 1")
            .error(),
        None
    );
    let mut late = house.via();
    let waiting = thread::spawn(move || late.query(slow));
    let expected = house.direct().query(sql).text();
    eventually("both wait", || {
        house.postgres.psql(&format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event_type = 'Lock'",
            house.database
        )) == "2"
    });
    blocker.query("COMMIT");
    assert_eq!(led.join().expect("an answer").error(), None);
    let answer = waiting.join().expect("an answer").text();
    assert_eq!(answer, format!("40|{expected}"));
}

#[test]
fn long_answers_are_not_kept() {
    let house = House::with(SCHEMA, |opts| {
        opts.set("cache.max_entry_size", "4kB");
    });
    let mut pair = house.pair();
    let long = "SELECT repeat('x', 500) FROM item";
    pair.bypass(long, "too_large");
    pair.bypass(long, "too_large");
    pair.miss("SELECT repeat('x', 100) FROM item WHERE id < 5");
    pair.hit("SELECT repeat('x', 100) FROM item WHERE id < 5");
}

#[test]
fn memory_stays_within_its_limit_and_the_answers_stay_right() {
    let house = House::with(SCHEMA, |opts| {
        opts.set("cache.memory_limit", "1MB");
    });
    let mut client = house.via();
    for round in 0..3 {
        for id in 1..=100 {
            let sql = format!(
                "SELECT repeat('{id},', 9000) FROM item WHERE id = {}",
                id % 20 + 1
            );
            assert_eq!(
                client.query(&sql).text(),
                format!("{id},").repeat(9000),
                "round {round}"
            );
        }
    }
    let metrics = house.pgditto.metrics();
    assert!(metrics.sum("pgditto_cache_evictions_total", &[]) > 0.0);
    eventually("memory is within its limit", || {
        house.pgditto.metrics().sum("pgditto_cache_bytes", &[]) <= 1024.0 * 1024.0 * 1.1
    });
}

#[test]
fn an_answer_is_given_again_only_until_its_ttl_is_over() {
    let house = House::with(SCHEMA, |opts| {
        opts.set("cache.ttl", "300ms");
    });
    let mut pair = house.pair();
    pair.becomes_hit("SELECT * FROM item WHERE id = 1");
    eventually("the answer is too old", || {
        pair.look("SELECT * FROM item WHERE id = 1") == Served::Miss
    });
}

#[test]
fn comments_that_carry_no_meaning_do_not_make_another_answer() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    pair.miss("SELECT name FROM item WHERE id = 1 /*traceparent='00-1-1-01',route='/a'*/");
    pair.hit("SELECT name FROM item WHERE id = 1 /*traceparent='00-2-2-01',route='/a'*/");
    // Words of comments, names and texts are no calls, wherever they stand.
    for sql in [
        "/* now() */ SELECT name FROM item WHERE id = 1",
        "SELECT name /* random(), nextval('x') */ FROM item -- pg_sleep(1), CURRENT_DATE\n WHERE id = 1",
        "SELECT name AS \"now()\", 'clock_timestamp()' AS random FROM item WHERE id = 1 /* FOR UPDATE */",
    ] {
        pair.becomes_hit(sql);
    }
}

/// The server that a hit does not ask is asked by whatever comes next.
#[test]
fn what_comes_after_a_hit_goes_where_it_would_have_gone_without() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let read = "SELECT name FROM item WHERE id = 1";
    let (one, other) = ("SET work_mem = '5MB'", "SET work_mem = '6MB'");
    for (n, set) in [one, other, one].into_iter().enumerate() {
        pair.both(set);
        pair.becomes_hit(read);
        for sql in [
            "SHOW work_mem",
            "SELECT pg_is_in_recovery()",
            "SELECT 1 / 0",
            "SELECT nothing",
        ] {
            let (ours, theirs) = (pair.via.query(sql), pair.direct.query(sql));
            assert_eq!(
                (ours.text(), ours.error()),
                (theirs.text(), theirs.error()),
                "{sql}"
            );
        }
        house.before.take();
        pair.hit(read);
        pair.invalidates(
            read,
            &format!("UPDATE item SET name = 'after {n}' WHERE id = 1"),
        );
        pair.hit(read);
        pair.both("BEGIN");
        pair.hit(read);
        pair.write(&format!("UPDATE item SET name = 'within {n}' WHERE id = 1"));
        assert_eq!(pair.via.query(read).text(), format!("within {n}"));
        pair.write("COMMIT");
        pair.direct.query("COMMIT");
        pair.asked(read);
    }
}

#[test]
fn a_client_that_sends_everything_at_once_gets_every_answer_in_order() {
    let house = House::new(SCHEMA);
    let mut via = house.via();
    let mut direct = house.direct();
    let mut batch = Batch::default();
    for id in 1..=5_u8 {
        let id = id.to_string();
        batch.parse("", "SELECT name FROM item WHERE id = $1", &[23]);
        batch
            .bind("", "", &[], &[Some(id.as_bytes())], &[])
            .describe(b'P', "")
            .execute("", 0)
            .sync();
        batch.query("SELECT count(*) FROM part");
    }
    for _ in 0..3 {
        let answers = |client: &mut Wire| {
            client.send(&batch.0);
            (0..10)
                .map(|_| client.reply().expect("an answer").essence())
                .collect::<Vec<_>>()
        };
        assert_eq!(answers(&mut via), answers(&mut direct));
    }
}

/// Rows that are passed on in pieces, whether the answer has room for them or not.
#[test]
fn a_row_of_any_length_is_kept_where_the_entry_has_room() {
    let house = House::with(SCHEMA, |opts| {
        opts.set("cache.max_entry_size", "1MB");
    });
    let mut pair = house.pair();
    for count in [1, 3] {
        let sql = format!(
            "SELECT id, repeat(name, 30000), price FROM item WHERE id <= {count} ORDER BY id"
        );
        pair.miss(&sql);
        pair.hit(&sql);
        let whole = Batch::whole(&sql.replace("price", "price AS p"), &[]);
        assert_eq!(pair.look_batch(&whole), Served::Miss);
        assert_eq!(pair.look_batch(&whole), Served::Hit);
    }
    let long = "SELECT repeat(name, 30000) FROM item ORDER BY id";
    pair.bypass(long, "too_large");
    pair.bypass(long, "too_large");
}

#[test]
fn a_login_that_is_refused_while_nobody_else_is_there_takes_no_answer_away() {
    let house = House::new("CREATE TABLE t (id int); INSERT INTO t VALUES (1)");
    let read = "SELECT id FROM t";
    house.pair().becomes_hit(read);
    eventually("nobody is there", || {
        house.pgditto.metrics().sum("pgditto_clients", &[]) == 0.0
    });
    assert!(Wire::try_open(house.pgditto.port, "no_such_role", &house.database).is_none());
    house.before.take();
    house.pair().hit(read);
}
