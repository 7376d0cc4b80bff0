//! The base protocol, and what breaks when a step is left out, comes early or comes late.

use super::script::Do::*;
use super::script::Happened::{No, Yes};
use super::script::Read::*;
use super::script::{Case, Do, Read, Reading, Rows, Script, Writing, script};
use super::{READ, readers};

/// The relation that everybody is concerned with.
const ROWS: Rows = Rows::All(0);

const SAFE: Script<Do> = script![Touch(ROWS), Mark; Commit; Settle(Yes); Acknowledge];

fn writers(count: usize, script: Script<Do>) -> Vec<Writing> {
    vec![Writing::new(&[ROWS], script); count]
}

/// Two who write by the same rules, three who read by the real ones.
fn written(script: Script<Do>) -> Case {
    Case::of(writers(2, script), readers(READ))
}

/// The same with one who writes.
fn one_written(script: Script<Do>) -> Case {
    Case::of(writers(1, script), readers(READ))
}

/// One who writes by the real rules, three who read by these.
fn read(script: Script<Read>) -> Case {
    Case::of(writers(1, SAFE), readers(script))
}

#[test]
fn marked_before_the_commit_settled_before_the_acknowledgement_is_safe() {
    written(SAFE).safe();
}

#[test]
fn invalidating_only_before_the_commit_is_forwarded_is_not() {
    written(script![Bump(ROWS); Commit; Acknowledge]).broken();
}

#[test]
fn invalidating_only_after_the_acknowledgement_is_not() {
    written(script![Commit; Acknowledge; Bump(ROWS)]).broken();
}

#[test]
fn without_a_mark_while_the_commit_is_in_flight_it_is_not() {
    written(script![Commit; Bump(ROWS); Acknowledge]).broken();
}

#[test]
fn marking_after_the_commit_is_forwarded_is_not() {
    written(script![Commit; Touch(ROWS), Mark; Settle(Yes); Acknowledge]).broken();
}

#[test]
fn taking_marks_off_before_versions_move_is_not() {
    written(script![Touch(ROWS), Mark; Commit; Settle(No); Bump(ROWS); Acknowledge]).broken();
}

#[test]
fn settling_after_the_acknowledgement_is_safe_as_long_as_the_marks_stay() {
    one_written(script![Touch(ROWS), Mark; Commit; Acknowledge; Settle(Yes)]).safe();
}

#[test]
fn taking_a_commit_for_an_abort_is_not() {
    written(script![Touch(ROWS), Mark; Commit; Settle(No); Acknowledge]).broken();
}

#[test]
fn versions_may_be_read_at_any_time_before_the_query_is_sent() {
    read(script![Ask, LookUp; Stamp; Snapshot; Store, Answer]).safe();
}

#[test]
fn versions_that_are_read_after_the_query_is_sent_are_not() {
    read(script![Ask, LookUp; Snapshot; Stamp; Store, Answer]).broken();
}

#[test]
fn not_marked_now_in_the_place_of_versions_is_not() {
    read(script![Ask, LookUp; Snapshot; StoreUnlessMarked, Answer]).broken();
}

#[test]
fn storing_whatever_comes_is_not() {
    read(script![Ask, LookUp; Snapshot; StoreAlways, Answer]).broken();
}

#[test]
fn serving_whatever_is_not_marked_is_not() {
    read(script![Ask, LookUpMarksOnly, Stamp; Snapshot; Store, Answer]).broken();
}

// The outcome is unknown.

#[test]
fn marks_that_stay_until_the_backend_of_a_lost_connection_is_gone_are_safe() {
    one_written(script![Touch(ROWS), Mark; Keep; Commit; SettleKept(Yes)]).safe();
}

#[test]
fn marks_dropped_with_the_connection_are_not() {
    one_written(script![Touch(ROWS), Mark; Settle(No); Commit]).broken();
}

#[test]
fn nor_are_they_if_the_versions_move_then() {
    one_written(script![Touch(ROWS), Mark; Settle(Yes); Commit]).broken();
}

#[test]
fn settling_a_lost_commit_before_its_backend_is_gone_is_not() {
    one_written(script![Touch(ROWS), Mark; Keep; SettleKept(Yes); Commit]).broken();
}

#[test]
fn taking_a_lost_commit_for_an_abort_is_not_either() {
    one_written(script![Touch(ROWS), Mark; Keep; Commit; SettleKept(No)]).broken();
}

// ReadyForQuery `T`: an implicit transaction has become an explicit one, or a unit has committed inside.

#[test]
fn what_was_written_before_ready_for_query_t_stays_pending_and_is_safe() {
    one_written(script![Touch(ROWS), Mark; Release(No); Mark; Commit; Settle(Yes); Acknowledge])
        .safe();
}

#[test]
fn settling_at_ready_for_query_t_is_not() {
    one_written(script![Touch(ROWS), Mark; Settle(Yes); Commit; Acknowledge]).broken();
}

#[test]
fn forgetting_at_ready_for_query_t_to_mark_again_is_not() {
    one_written(script![Touch(ROWS), Mark; Release(No); Commit; Settle(Yes); Acknowledge]).broken();
}

#[test]
fn versions_that_move_for_a_commit_inside_a_unit_are_safe() {
    one_written(
        script![Touch(ROWS), Mark; Commit; Release(Yes); Acknowledge; Mark; Commit; Settle(Yes); Acknowledge],
    )
    .safe();
}

#[test]
fn a_commit_inside_a_unit_for_which_they_do_not_is_not() {
    one_written(
        script![Touch(ROWS), Mark; Commit; Release(No); Acknowledge; Mark; Commit; Settle(Yes); Acknowledge],
    )
    .broken();
}

#[test]
fn a_unit_that_commits_inside_is_safe_if_it_is_marked_throughout() {
    one_written(script![Touch(ROWS), Mark; Commit; Commit; Settle(Yes); Acknowledge]).safe();
}

// PREPARE TRANSACTION: whoever likes commits it, and is told.

#[test]
fn marks_that_stay_until_the_prepared_transaction_is_gone_are_safe() {
    one_written(script![Touch(ROWS), Mark; Keep; Commit; Acknowledge; SettleKept(Yes)]).safe();
}

#[test]
fn marks_dropped_at_prepare_are_not() {
    one_written(script![Touch(ROWS), Mark; Settle(Yes); Commit; Acknowledge]).broken();
}

#[test]
fn marks_dropped_before_the_prepared_transaction_is_gone_are_not() {
    one_written(script![Touch(ROWS), Mark; Keep; SettleKept(Yes); Commit; Acknowledge]).broken();
}

/// A new process finds a transaction that an earlier one has left prepared.
fn left_prepared(before: &'static [Do], script: Script<Do>) -> Case {
    let mut case = one_written(script);
    case.writers[0].before = before;
    case
}

#[test]
fn marks_made_at_the_start_of_what_is_prepared_are_safe() {
    left_prepared(
        &[Touch(ROWS), Keep],
        script![Commit; Acknowledge; SettleKept(Yes)],
    )
    .safe();
}

#[test]
fn a_prepared_transaction_that_nobody_looked_for_at_the_start_is_not() {
    left_prepared(&[], script![Commit; Acknowledge]).broken();
}

// One transaction writes to two relations, each read by a query of its own.

fn two_relations(script: Script<Do>) -> Case {
    let both = &[Rows::All(0), Rows::All(1)];
    let readers = [0, 1, 0, 1].map(|query| Reading::new(query, READ));
    Case {
        queries: both,
        ..Case::of(vec![Writing::new(both, script)], readers.into())
    }
}

#[test]
fn reads_that_go_from_one_relation_to_another_never_go_back() {
    two_relations(
        script![Touch(Rows::All(0)), Touch(Rows::All(1)), Mark; Commit; Settle(Yes); Acknowledge],
    )
    .safe();
}

#[test]
fn unless_one_of_them_is_settled_apart_before_the_other_is_marked() {
    two_relations(
        script![Touch(Rows::All(0)), Mark; Commit; Settle(Yes); Touch(Rows::All(1)), Mark; Settle(Yes); Acknowledge],
    )
    .broken();
}
