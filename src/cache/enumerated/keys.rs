//! Keys: classes that are born while writers are on their way, and marks that are wider, or narrower, than what moves.

use super::READ;
use super::script::Do::*;
use super::script::Happened::Yes;
use super::script::Read::*;
use super::script::{Case, Do, Read, Reading, Rows, Script, Writing, script};

const ALL: Rows = Rows::All(0);
const SOME: Rows = Rows::Some(0);
const ONE: Rows = Rows::Key(0, 1);
const OTHER: Rows = Rows::Key(0, 2);

/// Reads of one key, of the whole relation, and of the other key.
const QUERIES: &[Rows] = &[ONE, ALL, OTHER];

// A class is born for the first read by it.

const BORN: Script<Read> =
    script![Ask, LookUp; Announce; Walk; Publish; Stamp; Snapshot; Store, Answer];

/// One whose write is confined to one key; two who read that key, for the first of whom the class is born, and one who reads all.
fn born(script: Script<Read>) -> Case {
    let writes = script![Touch(ONE), Mark; Commit; Settle(Yes); Acknowledge];
    let readers = vec![
        Reading::new(0, script),
        Reading::new(1, READ),
        Reading::new(0, script),
    ];
    Case {
        queries: QUERIES,
        ..Case::of(vec![Writing::new(&[ONE], writes)], readers)
    }
}

#[test]
fn a_class_that_takes_over_the_marks_before_it_is_published_is_safe() {
    born(BORN).safe();
}

#[test]
fn a_class_that_takes_over_no_marks_is_not() {
    born(script![Ask, LookUp; Announce; Publish; Stamp; Snapshot; Store, Answer]).broken();
}

// What is marked, and what moves.

/// One who truly writes these rows by this script. Two read the last of these keys, one reads all.
fn written(writes: &'static [Rows], script: Script<Do>) -> Case {
    let key = if writes.contains(&OTHER) { 2 } else { 0 };
    let readers = [key, 1, key].map(|query| Reading::new(query, READ));
    Case {
        queries: QUERIES,
        ..Case::of(vec![Writing::new(writes, script)], readers.into())
    }
}

#[test]
fn marking_wide_and_moving_what_is_learned_before_the_marks_come_off_is_safe() {
    written(
        &[ONE],
        script![TouchLearnable(SOME), Mark; Commit; Learn(1); Settle(Yes); Acknowledge],
    )
    .safe();
}

#[test]
fn learning_before_the_commit_is_safe() {
    written(
        &[ONE],
        script![TouchLearnable(SOME), Learn(1), Mark; Commit; Settle(Yes); Acknowledge],
    )
    .safe();
}

#[test]
fn taking_wide_marks_off_before_what_is_learned_is_marked_is_not() {
    written(
        &[ONE],
        script![TouchLearnable(SOME), Mark; Commit; UnmarkLoose; Learn(1); Settle(Yes); Acknowledge],
    )
    .broken();
}

#[test]
fn learning_less_than_was_written_is_not() {
    written(
        &[ONE, OTHER],
        script![TouchLearnable(SOME), Mark; Commit; Learn(1); Settle(Yes); Acknowledge],
    )
    .broken();
}

#[test]
fn marking_narrow_and_moving_wide_is_not() {
    written(
        &[ONE, OTHER],
        script![Touch(ONE), Mark; Commit; Touch(ALL); Settle(Yes); Acknowledge],
    )
    .broken();
}

#[test]
fn nor_is_it_if_what_is_wide_only_moves() {
    written(
        &[ONE, OTHER],
        script![Touch(ONE), Mark; Commit; Bump(ALL); Settle(Yes); Acknowledge],
    )
    .broken();
}

#[test]
fn keys_that_are_not_known_are_safe_if_they_touch_every_key() {
    written(
        &[ONE, OTHER],
        script![Touch(SOME), Mark; Commit; Settle(Yes); Acknowledge],
    )
    .safe();
}

#[test]
fn a_row_that_moves_is_safe_if_both_its_keys_are_touched() {
    written(
        &[ONE, OTHER],
        script![Touch(ONE), Touch(OTHER), Mark; Commit; Settle(Yes); Acknowledge],
    )
    .safe();
}

#[test]
fn a_row_that_moves_is_not_if_only_its_new_key_is() {
    written(
        &[ONE, OTHER],
        script![Touch(ONE), Mark; Commit; Settle(Yes); Acknowledge],
    )
    .broken();
}
