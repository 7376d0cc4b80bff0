//! `cache.mode = "shadow"`: nothing is served, and what would have been served is compared with the truth.

use super::{House, SHARED, Served, fresh_database, start};
use crate::fixture::eventually;

#[test]
fn shadow_counts_and_checks_and_never_serves() {
    let database = fresh_database(
        &SHARED,
        "CREATE TABLE t (id int, x int); INSERT INTO t SELECT g, g FROM generate_series(1, 50) g;",
    );
    let pgditto = start(&SHARED, &database, |opts| {
        opts.set("cache.mode", "shadow");
    });
    let house = House {
        postgres: &SHARED,
        database,
        pgditto,
        before: Default::default(),
    };
    let mut pair = house.pair();
    let shadow = |house: &House<'_>| {
        house
            .pgditto
            .metrics()
            .sum("pgditto_cache_shadow_total", &[])
    };
    eventually("the cache would have served", || {
        assert_ne!(pair.look("SELECT sum(x) FROM t"), Served::Hit);
        shadow(&house) > 0.0
    });
    for _ in 0..5 {
        assert_ne!(pair.look("SELECT x FROM t WHERE id < 9"), Served::Hit);
        assert_ne!(pair.look("SELECT sum(x) FROM t"), Served::Hit);
        pair.write("UPDATE t SET x = x + 1 WHERE id = 3");
        assert_ne!(pair.look("SELECT sum(x) FROM t"), Served::Hit);
        // The order changes with every update, and is nobody's promise.
        assert_ne!(pair.look("SELECT x FROM t WHERE id < 9"), Served::Hit);
    }
    let metrics = house.pgditto.metrics();
    assert_eq!(metrics.sum("pgditto_hits_total", &[]), 0.0);
    assert_eq!(
        metrics.sum("pgditto_cache_shadow_total", &[("result", "mismatch")]),
        0.0,
        "{metrics:?}"
    );
    assert!(
        metrics.sum("pgditto_cache_shadow_total", &[("result", "match")]) > 0.0,
        "{metrics:?}"
    );
}
