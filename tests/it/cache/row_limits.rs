//! Execute with a row limit: served in autocommit, where the portal ends with the unit.

use super::wire::Batch;
use super::{House, Pair, Served};

const SCHEMA: &str = "CREATE TABLE t (id int PRIMARY KEY, x int); INSERT INTO t SELECT g, g FROM generate_series(1, 3) g;";
const ALL: &str = "SELECT id, x FROM t ORDER BY id";

/// What asyncpg's `fetchrow` and JDBC's `setMaxRows` send.
fn limited(sql: &str, max_rows: u32) -> Batch {
    let mut batch = Batch::default();
    batch.parse("", sql, &[]).bind("", "", &[], &[], &[]);
    batch.describe(b'P', "").execute("", max_rows).sync();
    batch
}

/// A first answer from the server, and then hits, each what the server answers.
fn becomes_hit(pair: &mut Pair<'_>, batch: &Batch) {
    assert_eq!(pair.look_batch(batch), Served::Miss);
    assert_eq!(pair.look_batch(batch), Served::Hit);
    assert_eq!(pair.look_batch(batch), Served::Hit);
}

#[test]
fn limits_are_hits_of_their_own_and_none_answers_for_another() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    // Suspended; suspended at the very last row; complete; no limit.
    for max_rows in [1, 2, 3, 4, 0] {
        becomes_hit(&mut pair, &limited(ALL, max_rows));
    }
    for (max_rows, kinds) in [(1, "12TDs"), (2, "12TDDs"), (3, "12TDDDs"), (4, "12TDDDC")] {
        let batch = limited(ALL, max_rows);
        assert_eq!(house.via().batch(&batch).kinds(), kinds, "{max_rows}");
    }
    house.before.take();
    // A limit below one is none.
    assert_eq!(pair.look_batch(&limited(ALL, u32::MAX)), Served::Hit);
    assert_eq!(pair.look_batch(&limited(ALL, 0)), Served::Hit);
}

#[test]
fn a_limited_answer_sees_every_write() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let batch = limited(ALL, 1);
    becomes_hit(&mut pair, &batch);
    for value in 10..13 {
        pair.write(&format!("UPDATE t SET x = {value} WHERE id = 1"));
        becomes_hit(&mut pair, &batch);
    }
    pair.write("DELETE FROM t WHERE id > 1");
    // One row is still as many as asked for; whether there are more nobody has looked.
    becomes_hit(&mut pair, &batch);
    pair.write("DELETE FROM t");
    becomes_hit(&mut pair, &batch);
}

#[test]
fn a_portal_does_not_outlive_its_unit_in_autocommit() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    becomes_hit(&mut pair, &limited(ALL, 1));
    let mut rest = Batch::default();
    rest.execute("", 1).sync();
    let reply = pair.via.batch(&rest);
    assert_eq!(reply, pair.direct.batch(&rest));
    assert_eq!(reply.error().as_deref(), Some("34000"));
}

#[test]
fn a_portal_that_outlives_its_unit_is_read_to_its_end() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let first = limited(ALL, 1);
    becomes_hit(&mut pair, &first);
    pair.both("BEGIN");
    assert_eq!(
        pair.look_batch(&first),
        Served::Bypass("row_limit".to_owned())
    );
    for (max_rows, kinds) in [(1, "Ds"), (0, "DC"), (0, "C")] {
        let mut rest = Batch::default();
        rest.execute("", max_rows).sync();
        let (reply, served) = house.look_batch(&mut pair.via, &rest);
        assert_ne!(served, Served::Hit);
        assert_eq!(reply, pair.direct.batch(&rest));
        assert_eq!(reply.kinds(), kinds);
    }
    pair.both("COMMIT");
    // BEGIN in the same unit makes the portal last just as well.
    let mut opened = Batch::default();
    opened.parse("", ALL, &[]).bind("", "", &[], &[], &[]);
    opened.describe(b'P', "").execute("", 1);
    opened.parse("b", "BEGIN", &[]);
    opened.bind("b", "b", &[], &[], &[]).execute("b", 0).sync();
    let mut rest = Batch::default();
    rest.execute("", 1).sync();
    for batch in [&opened, &rest] {
        let (reply, served) = house.look_batch(&mut pair.via, batch);
        assert_ne!(served, Served::Hit);
        assert_eq!(reply, pair.direct.batch(batch));
        assert_eq!(reply.error(), None, "{reply:?}");
    }
    pair.both("ROLLBACK");
    // What was kept meanwhile is what it is outside.
    assert_eq!(pair.look_batch(&first), Served::Hit);
    assert_eq!(pair.look_batch(&limited(ALL, 2)), Served::Miss);
}

#[test]
fn a_portal_executed_twice_fills_with_its_first_answer() {
    let house = House::new(SCHEMA);
    for max_rows in [0, 1] {
        let mut pair = house.pair();
        let sql = format!("SELECT id + {max_rows} FROM t ORDER BY id");
        let mut twice = Batch::default();
        twice.parse("", &sql, &[]).bind("", "", &[], &[], &[]);
        twice.describe(b'P', "").execute("", max_rows);
        twice.execute("", max_rows).sync();
        for _ in 0..3 {
            assert_ne!(pair.look_batch(&twice), Served::Hit);
            // Compared with the server byte by byte, hit or not.
            pair.look_batch(&limited(&sql, max_rows));
        }
        assert_eq!(pair.look_batch(&limited(&sql, max_rows)), Served::Hit);
    }
}

#[test]
fn one_row_of_a_statement_prepared_before_is_a_hit_as_asyncpg_asks_for_it() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let mut prepare = Batch::default();
    prepare.parse("s1", ALL, &[]).describe(b'S', "s1").sync();
    let mut row = Batch::default();
    row.bind("", "s1", &[1], &[], &[1]).execute("", 1).sync();
    pair.look_batch(&prepare);
    becomes_hit(&mut pair, &row);
    pair.write("UPDATE t SET x = 7 WHERE id = 1");
    becomes_hit(&mut pair, &row);
}

/// A part that ends with Flush, and then the Sync.
fn flushed(pair: &mut Pair<'_>, part: &[u8]) -> Served {
    let mut rest = Batch::default();
    rest.flush().sync();
    let batch = Batch([part, &rest.0].concat());
    pair.look_batch(&batch)
}

#[test]
fn answers_that_are_flushed_before_sync_are_kept() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let whole = Batch::whole(ALL, &[]);
    let part = &whole.0[..whole.0.len() - 5];
    assert_eq!(flushed(&mut pair, part), Served::Miss);
    assert_eq!(pair.look_batch(&whole), Served::Hit);
    // Bound before the write of its own unit, and executed after it.
    let sql = "SELECT sum(x) FROM t";
    let mut late = Batch::default();
    late.parse("", sql, &[]).bind("p", "", &[], &[], &[]);
    late.parse("", "UPDATE t SET x = x + 1", &[]);
    late.bind("", "", &[], &[], &[]).execute("", 0);
    late.describe(b'P', "p").execute("p", 0);
    late.flush().sync();
    for _ in 0..3 {
        // Through pgditto alone: both sides are the same table.
        let (reply, _) = house.look_batch(&mut pair.via, &late);
        assert_eq!(reply.error(), None, "{reply:?}");
        let served = pair.look_batch(&Batch::whole(sql, &[]));
        assert_ne!(served, Served::Hit);
    }
}
