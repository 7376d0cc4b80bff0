//! `[cache.verify]`: hits are compared with the server's answers behind the client's back.

use std::thread;

use super::House;
use super::wire::{Batch, Wire};
use crate::fixture::{Options, eventually};

const SCHEMA: &str = "
    CREATE TABLE t (id int PRIMARY KEY, x int);
    INSERT INTO t SELECT g, g FROM generate_series(1, 50) g;
    CREATE TABLE other (id int PRIMARY KEY);
    CREATE SCHEMA a; CREATE TABLE a.place AS SELECT 'a' AS here;
    CREATE SCHEMA b; CREATE TABLE b.place AS SELECT 'b' AS here;
";

fn all(opts: &mut Options) {
    opts.set("cache.verify.sample", 1)
        .set("auth.admin_users", "app");
}

fn verified(house: &House<'_>, result: &str) -> f64 {
    house
        .pgditto
        .metrics()
        .sum("pgditto_verify_total", &[("result", result)])
}

/// Asks until a check of what is asked has come to `result`.
fn until(house: &House<'_>, result: &str, mut ask: impl FnMut()) {
    let before = verified(house, result);
    eventually(&format!("a check that ends as {result}"), || {
        ask();
        verified(house, result) > before
    });
}

fn console(house: &House<'_>) -> Wire {
    Wire::connect(house.pgditto.port, "app", "pgditto", &[])
}

#[test]
fn a_write_past_pgditto_is_found_and_its_shape_is_off_until_an_operator_says_otherwise() {
    let house = House::with(SCHEMA, all);
    let mut pair = house.pair();
    let read = "SELECT x FROM t WHERE id = 7 AND x <> 4711";
    let again = "SELECT x FROM t WHERE id = 8 AND x <> 4711";
    pair.miss(read);
    until(&house, "match", || drop(pair.via.query(read)));
    house.outside("UPDATE t SET x = x + 1");
    until(&house, "mismatch", || drop(pair.via.query(read)));
    house.before.take();

    // Other values of the same shape, too; another shape stays in.
    pair.bypass(read, "mismatch");
    pair.bypass(again, "mismatch");
    pair.becomes_hit("SELECT count(*) FROM other");

    let mut console = console(&house);
    let shown = console.query("SHOW MISMATCHES").text();
    assert!(
        shown.contains("public.t") && !shown.contains("4711"),
        "{shown}"
    );
    let line = house
        .pgditto
        .await_log("an answer from the cache was not the server's");
    assert!(
        line.contains("entry_age_ms") && !line.contains("4711"),
        "{line}"
    );
    let off = || {
        house
            .pgditto
            .metrics()
            .sum("pgditto_verify_shapes_off", &[])
    };
    assert_eq!(off(), 1.0);

    assert!(console.query("CACHE ENABLE SHAPE 0123").error().is_some());
    assert_eq!(console.query("CACHE ENABLE").error(), None);
    assert_eq!(off(), 0.0);
    // What was wrong is not served again.
    house.before.take();
    pair.miss(read);
    pair.hit(read);
}

#[test]
fn reads_and_writes_through_pgditto_bring_no_mismatch_and_no_wait_for_the_check() {
    for pool_size in [1, 3] {
        let house = House::with(SCHEMA, |opts| {
            all(opts);
            opts.set("pool.default_pool_size", pool_size)
                .set("pool.query_wait_timeout", "20s")
                .set("cache.verify.concurrency", 2);
        });
        thread::scope(|scope| {
            for seed in 1..=3_u32 {
                let mut client = house.via();
                scope.spawn(move || {
                    let mut state = seed;
                    for _ in 0..400 {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        let id = (state >> 8) % 5;
                        let reply = match (state >> 24) % 8 {
                            0 => client.query(&format!("UPDATE t SET x = x + 1 WHERE id = {id}")),
                            1 => client.query("SELECT sum(x), count(*) FROM t"),
                            2 => client.query("SELECT id, x FROM t WHERE id < 4"),
                            3 => client.query("SELECT id, x FROM t WHERE id < 4 ORDER BY id"),
                            _ => {
                                let value = id.to_string();
                                let sql = "SELECT x FROM t WHERE id = $1";
                                client.batch(&Batch::whole(sql, &[Some(value.as_bytes())]))
                            }
                        };
                        assert_eq!(reply.error(), None, "seed {seed}");
                    }
                });
            }
        });
        if pool_size > 1 {
            let mut client = house.via();
            until(&house, "match", || {
                drop(client.query("SELECT sum(x), count(*) FROM t"));
            });
        } else {
            assert_eq!(verified(&house, "match"), 0.0);
            assert!(verified(&house, "busy") > 0.0);
        }
        assert_eq!(verified(&house, "mismatch"), 0.0);
        assert_eq!(verified(&house, "not_rebuilt"), 0.0);
        assert_eq!(console(&house).query("SHOW MISMATCHES").text(), "");
    }
}

#[test]
fn a_check_asks_under_the_settings_and_the_role_of_the_session_that_was_served() {
    let house = House::with(SCHEMA, all);
    house.superuser("CREATE ROLE reader; GRANT reader TO app; GRANT USAGE ON SCHEMA a TO reader; GRANT SELECT ON a.place TO reader");
    let read = "SELECT here FROM place ORDER BY here";
    let mut clients = [
        ("a", vec!["SET search_path = a"]),
        ("b", vec!["SET search_path = b"]),
        ("a", vec!["SET search_path = a", "SET ROLE reader"]),
    ]
    .map(|(here, settings)| {
        let mut client = house.via();
        for setting in settings {
            assert_eq!(client.query(setting).error(), None, "{setting}");
        }
        (here, client)
    });
    for (here, client) in &mut clients {
        until(&house, "match", || {
            assert!(client.query(read).text().contains(*here));
        });
    }
    for result in ["mismatch", "not_rebuilt", "failed"] {
        assert_eq!(verified(&house, result), 0.0, "{result}");
    }
    house.superuser("DROP OWNED BY reader; DROP ROLE reader");
}

#[test]
fn a_check_gives_its_connection_to_a_client_that_needs_it() {
    let house = House::with(SCHEMA, |opts| {
        all(opts);
        opts.set("pool.default_pool_size", 2)
            .set("cache.verify.timeout", "10m");
    });
    let mut client = house.via();
    let read = "SELECT count(*) FROM t";
    until(&house, "match", || drop(client.query(read)));
    // From now on nobody can read it on the server, but hits are still served.
    let mut locker = house.direct();
    for sql in ["BEGIN", "LOCK TABLE t IN ACCESS EXCLUSIVE MODE"] {
        assert_eq!(locker.query(sql).error(), None);
    }
    let mut watcher = house.direct();
    eventually("a check waits for the lock", || {
        drop(client.query(read));
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        watcher.query(waiting).text().contains('1')
    });
    let busy = verified(&house, "busy");
    let mut holder = house.via();
    for sql in ["BEGIN", "INSERT INTO other VALUES (1)"] {
        assert_eq!(holder.query(sql).error(), None);
    }
    // The other connection is taken, so this one needs the one that waits.
    assert_eq!(client.query("INSERT INTO other VALUES (2)").error(), None);
    eventually("the check has given way", || {
        verified(&house, "busy") > busy
    });
    assert_eq!(locker.query("COMMIT").error(), None);
    assert_eq!(holder.query("COMMIT").error(), None);
    assert_eq!(verified(&house, "mismatch"), 0.0);
}
