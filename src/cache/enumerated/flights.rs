//! Single flight: who may take another's answer.

use super::script::Do::{Acknowledge, Commit, Mark, Settle, Touch};
use super::script::Happened::Yes;
use super::script::Read::*;
use super::script::{Case, Read, Reading, Rows, Script, Writing, script};

const ALL: Rows = Rows::All(0);

/// One who writes, two who ask the same and one who asks something else.
fn flown(script: Script<Read>) -> Case {
    let writes = script![Touch(ALL), Mark; Commit; Settle(Yes); Acknowledge];
    let readers = [0, 1, 0].map(|query| Reading::new(query, script));
    Case::of(vec![Writing::new(&[ALL], writes)], readers.into())
}

#[test]
fn who_came_before_the_query_was_sent_may_take_its_answer_and_who_came_later_if_it_stands() {
    flown(script![Ask, LookUp, Join; Wait; Stamp; Sent; Snapshot; Store, Answer]).safe();
}

/// Nobody is let in any more once a write has overtaken the flight: that alone would be enough.
#[test]
fn who_came_later_and_was_let_in_may_take_it_whatever_has_happened_since() {
    flown(script![Ask, LookUp, Join; WaitAndTakeAny; Stamp; Sent; Snapshot; Store, Answer]).safe();
}

/// All come before the query is sent: then any answer is as good as their own.
#[test]
fn who_came_before_the_query_was_sent_may_take_it_whatever_has_happened() {
    let mut case = flown(script![WaitAndTakeAny; Stamp; Sent; Snapshot; Store, Answer]);
    for reader in &mut case.readers {
        reader.before = &[Ask, Join];
    }
    case.safe();
}

#[test]
fn a_leader_that_says_too_late_that_its_query_has_left_is_wrong() {
    flown(script![Ask, LookUp, Join; Wait; Stamp; Snapshot; Sent; Store, Answer]).broken();
}
