//! The unnamed portal inside a transaction block: it outlives the unit that was answered from the cache.

use super::wire::{Batch, Reply};
use super::{House, Pair, Served};

const SCHEMA: &str = "CREATE TABLE t (id int PRIMARY KEY, x int); INSERT INTO t SELECT g, g FROM generate_series(1, 3) g;";
const ALL: &str = "SELECT id, x FROM t ORDER BY id";
const OTHER: &str = "SELECT x FROM t ORDER BY x DESC";

fn batch(build: impl FnOnce(&mut Batch)) -> Batch {
    let mut batch = Batch::default();
    build(&mut batch);
    batch.sync();
    batch
}

/// Binds the unnamed portal, describes it and runs it to its end.
fn whole(sql: &str) -> Batch {
    Batch::whole(sql, &[])
}

fn again(max_rows: u32) -> Batch {
    batch(|batch| {
        batch.execute("", max_rows);
    })
}

/// The same of a statement that was prepared before, undescribed.
fn prepared(formats: &[u16]) -> Batch {
    batch(|batch| {
        batch.bind("", "s", &[], &[], formats).execute("", 0);
    })
}

/// A house in which all of this is a hit, in a block.
fn in_block<'a>(house: &'a House<'_>, warm: &[&Batch]) -> Pair<'a> {
    let mut pair = house.pair();
    let prepare = batch(|batch| {
        batch.parse("s", ALL, &[]).describe(b'S', "s");
    });
    pair.look_batch(&prepare);
    for batch in warm {
        pair.look_batch(batch);
        assert_eq!(pair.look_batch(batch), Served::Hit);
    }
    pair.both("BEGIN");
    pair
}

/// Without what an error says of PostgreSQL's own source.
fn told(reply: Reply) -> Reply {
    let mut told = reply.essence();
    for (_, body) in told.messages.iter_mut().filter(|(tag, _)| *tag == b'E') {
        let fields = body.split(|byte| *byte == 0);
        let kept = fields.filter(|field| !matches!(field.first(), Some(b'F' | b'L' | b'R')));
        *body = kept.collect::<Vec<_>>().join(&0);
    }
    told
}

/// The same answer from both; its SQLSTATE, or the kinds of its messages.
fn same(pair: &mut Pair<'_>, batch: &Batch) -> String {
    let [via, direct] = [&mut pair.via, &mut pair.direct].map(|client| told(client.batch(batch)));
    assert_eq!(via, direct);
    via.error().unwrap_or_else(|| via.kinds())
}

#[test]
fn a_portal_answered_from_the_cache_has_nothing_more_to_give() {
    let house = House::new(SCHEMA);
    let undescribed = [&[][..], &[1], &[0, 1]].map(prepared);
    for first in [whole(ALL)].into_iter().chain(undescribed) {
        let mut pair = in_block(&house, &[&first]);
        assert_eq!(pair.look_batch(&first), Served::Hit);
        assert_eq!(same(&mut pair, &again(0)), "C");
        assert_eq!(same(&mut pair, &again(2)), "C");
        let describe = batch(|batch| {
            batch.describe(b'P', "").execute("", 0);
        });
        assert_eq!(same(&mut pair, &describe), "TC");
        assert_eq!(pair.look_batch(&first), Served::Hit);
        let close = batch(|batch| {
            batch.close(b'P', "");
        });
        assert_eq!(same(&mut pair, &close), "3");
        assert_eq!(same(&mut pair, &again(0)), "34000");
        pair.both("ROLLBACK");
        assert_eq!(same(&mut pair, &again(0)), "34000");
        // What an unknown portal might have run is not known.
        house.serves();
    }
}

#[test]
fn an_older_portal_on_the_server_never_answers_for_a_newer_one() {
    let house = House::new(SCHEMA);
    let hit = whole(ALL);
    let suspended = batch(|batch| {
        batch
            .parse("", OTHER, &[])
            .bind("", "", &[], &[], &[])
            .execute("", 1);
    });
    let mut pair = in_block(&house, &[&hit]);
    assert_eq!(same(&mut pair, &suspended), "12Ds");
    assert_eq!(same(&mut pair, &again(1)), "Ds");
    assert_eq!(pair.look_batch(&hit), Served::Hit);
    assert_eq!(same(&mut pair, &again(1)), "C");
    // A newer one on the server is the server's again.
    assert_eq!(same(&mut pair, &suspended), "12Ds");
    assert_eq!(same(&mut pair, &again(0)), "DDC");
    // A Query ends it, wherever it is answered.
    assert_eq!(same(&mut pair, &suspended), "12Ds");
    pair.both(ALL);
    assert_eq!(pair.look(ALL), Served::Hit);
    assert_eq!(same(&mut pair, &again(0)), "34000");
    assert_eq!(same(&mut pair, &again(0)), "34000");
    pair.both("ROLLBACK");
}

#[test]
fn the_begin_that_was_answered_here_leaves_the_portal_that_it_would_leave() {
    let house = House::new(SCHEMA);
    let hit = whole(ALL);
    let mut pair = in_block(&house, &[&hit]);
    assert_eq!(same(&mut pair, &again(0)), "34000");
    pair.both("ROLLBACK");
    // After a hit BEGIN is followed by a snapshot when it goes to the server.
    pair.both("BEGIN");
    assert_eq!(pair.look(ALL), Served::Hit);
    assert_eq!(same(&mut pair, &again(0)), "34000");
    pair.both("ROLLBACK");
    let begin = whole("BEGIN");
    for (next, expected) in [(again(0), "55000"), (again(1), "55000")] {
        assert_eq!(same(&mut pair, &begin), "12nC");
        assert_eq!(same(&mut pair, &next), expected);
        // The block has failed, and the portal with it.
        assert_eq!(same(&mut pair, &next), "25P02");
        pair.both("ROLLBACK");
    }
    let empty = whole("");
    pair.both("BEGIN");
    assert_eq!(same(&mut pair, &empty), "12nI");
    assert_eq!(same(&mut pair, &again(0)), "I");
    pair.both("ROLLBACK");
}

#[test]
fn a_named_portal_of_a_unit_that_begins_a_block_outlives_it() {
    let house = House::new(SCHEMA);
    let opened = batch(|batch| {
        batch
            .parse("", ALL, &[])
            .bind("p", "", &[], &[], &[])
            .describe(b'P', "p");
        batch.execute("p", 0);
        batch
            .parse("b", "BEGIN", &[])
            .bind("", "b", &[], &[], &[])
            .execute("", 0);
    });
    let mut pair = house.pair();
    pair.look_batch(&whole(ALL));
    let rest = batch(|batch| {
        batch.execute("p", 0);
    });
    for _ in 0..2 {
        assert_eq!(same(&mut pair, &opened), "12TDDDC12C");
        assert_eq!(same(&mut pair, &rest), "C");
        pair.both("ROLLBACK");
        let forget = batch(|batch| {
            batch.close(b'S', "b");
        });
        assert_eq!(same(&mut pair, &forget), "3");
    }
}

#[test]
fn a_cursor_and_a_portal_share_their_names() {
    let house = House::new(SCHEMA);
    let mut pair = in_block(&house, &[&whole(ALL)]);
    let close = batch(|batch| {
        batch.close(b'P', "c");
    });
    let rest = batch(|batch| {
        batch.execute("c", 0);
    });
    let bound = batch(|batch| {
        batch.bind("c", "s", &[], &[], &[]).execute("c", 1);
    });
    let declare = format!("DECLARE c CURSOR FOR {ALL}");
    pair.both(&declare);
    assert_eq!(same(&mut pair, &rest), "DDDC");
    assert_eq!(same(&mut pair, &close), "3");
    assert_eq!(same(&mut pair, &rest), "34000");
    pair.both("ROLLBACK");
    pair.both("BEGIN");
    pair.both(&declare);
    assert_eq!(same(&mut pair, &close), "3");
    let fetch = Batch::default().query("FETCH c").clear();
    assert_eq!(same(&mut pair, &fetch), "34000");
    pair.both("ROLLBACK");
    pair.both("BEGIN");
    pair.both(&declare);
    assert_eq!(same(&mut pair, &bound), "42P03");
    pair.both("ROLLBACK");
    pair.both("BEGIN");
    assert_eq!(same(&mut pair, &bound), "2Ds");
    pair.both("CLOSE c");
    assert_eq!(same(&mut pair, &bound), "2Ds");
    pair.both("CLOSE c");
    assert_eq!(same(&mut pair, &rest), "34000");
    pair.both("ROLLBACK");
    // One that outlives its transaction.
    let held = format!("DECLARE c CURSOR WITH HOLD FOR {ALL}");
    pair.both(&held);
    let named = batch(|batch| {
        batch.bind("c", "s", &[], &[], &[]).execute("c", 0);
    });
    assert_eq!(same(&mut pair, &named), "42P03");
    assert_eq!(same(&mut pair, &close), "3");
    assert_eq!(same(&mut pair, &fetch), "34000");
    assert_eq!(same(&mut pair, &named), "2DDDC");
}

#[test]
fn a_portal_is_bound_once_in_a_unit() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let hit = whole(ALL);
    pair.look_batch(&hit);
    assert_eq!(pair.look_batch(&hit), Served::Hit);
    let unit = |between: &dyn Fn(&mut Batch)| {
        batch(|batch| {
            batch.parse("", ALL, &[]).bind("p", "", &[], &[], &[]);
            batch.describe(b'P', "p");
            between(batch);
            batch.bind("p", "", &[], &[], &[]);
            batch.describe(b'P', "p").execute("p", 0);
        })
    };
    let executed = unit(&|batch| {
        batch.execute("p", 0);
    });
    let closed = unit(&|batch| {
        batch.execute("p", 0).close(b'P', "p");
    });
    let unused = unit(&|_| {});
    for _ in 0..2 {
        assert_eq!(same(&mut pair, &executed), "42P03");
        assert_eq!(same(&mut pair, &unused), "42P03");
        assert_eq!(same(&mut pair, &closed), "12TDDDC32TDDDC");
    }
}

#[test]
fn a_name_that_prepare_has_taken_is_refused_with_a_hit_behind_it() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let hit = whole(ALL);
    pair.look_batch(&hit);
    assert_eq!(pair.look_batch(&hit), Served::Hit);
    pair.both("PREPARE q AS SELECT 1");
    let taken = batch(|batch| {
        batch.parse("q", ALL, &[]).bind("", "q", &[], &[], &[]);
        batch.describe(b'P', "").execute("", 0);
    });
    assert_eq!(same(&mut pair, &taken), "42P05");
    pair.both("DEALLOCATE q");
    assert_eq!(same(&mut pair, &taken), "12TDDDC");
    assert_eq!(same(&mut pair, &taken), "42P05");
}

#[test]
fn formats_that_do_not_fit_the_columns_are_refused() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let prepare = batch(|batch| {
        batch.parse("s", ALL, &[]).describe(b'S', "s");
    });
    pair.look_batch(&prepare);
    pair.look_batch(&whole(ALL));
    assert_eq!(pair.look_batch(&whole(ALL)), Served::Hit);
    for formats in [&[][..], &[0], &[0, 0], &[1], &[1, 0]] {
        pair.look_batch(&prepared(formats));
        assert_eq!(
            pair.look_batch(&prepared(formats)),
            Served::Hit,
            "{formats:?}"
        );
    }
    for formats in [&[0, 0, 0][..], &[1, 1, 1], &[1, 0, 0, 0]] {
        for _ in 0..2 {
            assert_eq!(same(&mut pair, &prepared(formats)), "08P01", "{formats:?}");
        }
    }
}
