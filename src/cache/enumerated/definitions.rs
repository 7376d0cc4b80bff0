//! Definitions that change: CREATE TRIGGER, and a writer that has waited behind it and runs with the new trigger.

use super::READ;
use super::script::Do::*;
use super::script::Happened::Yes;
use super::script::Read::*;
use super::script::{Case, Do, Read, Reading, Rows, Script, Writing, script};

const ALL: Rows = Rows::All(0);

/// It writes to relation 0; the trigger, to relation 1.
const WRITES: Script<Do> =
    script![Judge; Touch(ALL); Execute; Mark; Commit; Settle(Yes); Acknowledge];

const DDL: Script<Do> = script![
    TouchCatalogue, Mark, DropPicture; CreateTrigger; Widen; Settle(Yes); Acknowledge; LoadPicture
];

/// One who has looked at the definitions may take his time before he reads the versions.
const READ_LATE: Script<Read> = script![Ask, LookUp; Stamp; Snapshot; Store, Answer];

/// One who creates the trigger, one who writes, and two who read what the trigger writes.
fn changed(ddl: Script<Do>, writes: Script<Do>) -> Case {
    let writers = vec![Writing::new(&[], ddl), Writing::new(&[ALL], writes)];
    let readers = [READ_LATE, READ].map(|script| Reading::new(1, script));
    Case {
        queries: &[Rows::All(0), Rows::All(1)],
        ..Case::of(writers, readers.into())
    }
}

#[test]
fn writers_in_flight_that_are_widened_before_ddl_settles_are_safe() {
    changed(DDL, WRITES).safe();
}

#[test]
fn writers_in_flight_that_are_not_widened_are_not() {
    let ddl = script![
        TouchCatalogue, Mark, DropPicture; CreateTrigger; Settle(Yes); Acknowledge; LoadPicture
    ];
    changed(ddl, WRITES).broken();
}

#[test]
fn widening_once_the_ddl_has_settled_is_not() {
    let ddl = script![
        TouchCatalogue, Mark, DropPicture; CreateTrigger; Settle(Yes); Acknowledge; Widen; LoadPicture
    ];
    changed(ddl, WRITES).broken();
}

#[test]
fn definitions_whose_picture_stays_until_the_new_one_is_loaded_are_not() {
    let ddl = script![
        TouchCatalogue, Mark; CreateTrigger; Widen; Settle(Yes); Acknowledge; LoadPicture
    ];
    changed(ddl, WRITES).broken();
}

#[test]
fn a_picture_that_is_loaded_again_before_the_commit_is_not() {
    let ddl = script![
        TouchCatalogue, Mark, DropPicture; LoadPicture; CreateTrigger; Widen; Settle(Yes); Acknowledge
    ];
    changed(ddl, WRITES).broken();
}

#[test]
fn a_footprint_of_an_old_picture_that_is_taken_for_one_of_the_newest_is_not() {
    let writes = script![
        Judge; Redate, Touch(ALL); Execute; Mark; Commit; Settle(Yes); Acknowledge
    ];
    changed(DDL, writes).broken();
}
