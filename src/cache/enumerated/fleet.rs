//! Two nodes: how the other one learns of a commit. The writers' node is 0.

use super::READ;
use super::script::Do::*;
use super::script::Happened::Yes;
use super::script::{Case, Do, Reading, Rows, Script, Writing, script};

const ALL: Rows = Rows::All(0);

/// One who writes at one node; two who read at the other by one query, and one at the writers' by another.
fn fleet(script: Script<Do>) -> Case {
    let readers = vec![
        Reading::new(0, READ).at(1),
        Reading::new(1, READ),
        Reading::new(0, READ).at(1),
    ];
    Case {
        nodes: 2,
        ..Case::of(vec![Writing::new(&[ALL], script)], readers)
    }
}

#[test]
fn marking_the_other_node_before_the_commit_is_forwarded_is_safe() {
    fleet(script![
        Touch(ALL), Mark; MarkRemote; Commit; Settle(Yes); SettleRemote; Acknowledge
    ])
    .safe();
}

#[test]
fn the_other_node_may_take_the_mark_off_after_the_acknowledgement() {
    fleet(script![
        Touch(ALL), Mark; MarkRemote; Commit; Settle(Yes); Acknowledge; SettleRemote
    ])
    .safe();
}

#[test]
fn marking_the_other_node_while_the_commit_is_on_its_way_is_not() {
    fleet(script![
        Touch(ALL), Mark; Commit; MarkRemote; Settle(Yes); SettleRemote; Acknowledge
    ])
    .broken();
}

#[test]
fn telling_the_other_node_after_the_commit_and_before_the_acknowledgement_is_not() {
    fleet(script![
        Touch(ALL), Mark; Commit; Settle(Yes); BumpRemote(ALL); Acknowledge
    ])
    .broken();
}

#[test]
fn telling_the_other_node_after_the_acknowledgement_is_not() {
    fleet(script![
        Touch(ALL), Mark; Commit; Settle(Yes); Acknowledge; BumpRemote(ALL)
    ])
    .broken();
}
