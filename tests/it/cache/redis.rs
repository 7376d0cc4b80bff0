//! Redis as the second tier: room and nothing else, and no trouble when it is gone.

use super::{House, SHARED, Served, fresh_database, start};
use crate::fixture::{Redis, eventually};

const SCHEMA: &str = "
    CREATE TABLE t (id int PRIMARY KEY, x int);
    INSERT INTO t SELECT g, g FROM generate_series(1, 400) g;
";
const READ: &str = "SELECT x FROM t WHERE id = 1";

fn house_with(redis: &Redis, more: &[(&str, &str)]) -> House<'static> {
    House::with(SCHEMA, |opts| {
        opts.set("redis.url", redis.url());
        opts.set("redis.fleet_name", "truth");
        // Other tests may be hogging the machine.
        opts.set("redis.timeout", "200ms");
        for (key, value) in more {
            opts.set(key, value);
        }
    })
}

#[test]
fn a_process_serves_no_strict_value_of_an_earlier_one() {
    let redis = Redis::start();
    let mut house = house_with(&redis, &[]);
    let mut pair = house.pair();
    pair.becomes_hit(READ);
    eventually("it is in Redis", || redis.command("DBSIZE") != ":0");
    drop(pair);
    // While it is away somebody writes.
    house.pgditto.kill9();
    house.outside("UPDATE t SET x = 1000 WHERE id = 1");
    house.pgditto.restart();
    house.before.take();
    let mut pair = house.pair();
    for _ in 0..5 {
        pair.look(READ);
    }
    pair.becomes_hit(READ);
    // And the other way round: the same value, and yet not a hit before it was asked for again.
    drop(pair);
    house.pgditto.restart();
    house.serves();
    let mut pair = house.pair();
    pair.miss(READ);
    pair.hit(READ);
}

#[test]
fn what_does_not_fit_into_memory_is_found_in_redis_until_it_is_written_to() {
    let redis = Redis::start();
    let house = house_with(&redis, &[("cache.memory_limit", "1MB")]);
    let mut pair = house.pair();
    let read = |id: u32| format!("SELECT x, repeat('{id}', 9000) FROM t WHERE id = {id}");
    for id in 1..=150 {
        pair.look(&read(id));
    }
    eventually("one of the first comes from Redis", || {
        (1..=20).for_each(|id| drop(pair.look(&read(id))));
        house
            .pgditto
            .metrics()
            .sum("pgditto_hits_total", &[("tier", "redis")])
            > 0.0
    });
    pair.write("UPDATE t SET x = x + 1");
    for id in 1..=30 {
        assert_ne!(pair.look(&read(id)), Served::Hit, "{id}");
    }
}

#[test]
fn values_of_level_ttl_survive_a_restart() {
    let redis = Redis::start();
    let mut house = house_with(&redis, &[("cache.level", "ttl"), ("cache.ttl", "30s")]);
    let mut pair = house.pair();
    pair.becomes_hit(READ);
    eventually("it is in Redis", || redis.command("DBSIZE") != ":0");
    drop(pair);
    house.pgditto.restart();
    house.before.take();
    // Not before the catalogue is known to be the same.
    let mut pair = house.pair();
    eventually("the guard stands", || {
        pair.look("SELECT 2 AS two") == Served::Hit
    });
    pair.hit(READ);
    assert!(
        house
            .pgditto
            .metrics()
            .sum("pgditto_hits_total", &[("tier", "redis")])
            > 0.0
    );
}

#[test]
fn a_redis_that_stops_or_dies_is_no_error_to_any_client() {
    let mut redis = Redis::start();
    let house = house_with(
        &redis,
        &[("redis.timeout", "20ms"), ("redis.retry_interval", "50ms")],
    );
    let mut pair = house.pair();
    pair.becomes_hit(READ);
    let work = |pair: &mut super::Pair<'_>, from: u32| {
        for id in from..from + 10 {
            pair.look(&format!("SELECT x FROM t WHERE id = {id}"));
            pair.invalidates(READ, "UPDATE t SET x = x + 1 WHERE id = 1");
        }
    };
    redis.pause();
    work(&mut pair, 10);
    redis.resume();
    work(&mut pair, 20);
    redis.stop();
    work(&mut pair, 30);
    redis.restart();
    work(&mut pair, 40);
}

#[test]
fn a_redis_that_was_never_there_is_no_error_either() {
    let mut redis = Redis::start();
    redis.stop();
    let database = fresh_database(&SHARED, SCHEMA);
    let pgditto = start(&SHARED, &database, |opts| {
        opts.set("redis.url", redis.url());
    });
    let house = House {
        postgres: &SHARED,
        database,
        pgditto,
        before: Default::default(),
    };
    house.serves();
    let mut pair = house.pair();
    pair.becomes_hit(READ);
    pair.invalidates(READ, "UPDATE t SET x = x + 1 WHERE id = 1");
}
