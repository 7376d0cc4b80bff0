//! A server that crashes and comes back without commits that it had acknowledged (`synchronous_commit = off`), or
//! another one in its place. The guard is lost with it: that voids every entry, and nobody uses a new connection before.

use super::READ;
use super::script::Do::*;
use super::script::Happened::Yes;
use super::script::{Case, Do, Reading, Rows, Script, Writing, script};

const ALL: Rows = Rows::All(0);

/// One who writes, a server that crashes, and readers.
fn crashed(server: Script<Do>, proves: bool) -> Case {
    let writes = script![Touch(ALL), Mark; Commit; Settle(Yes); Acknowledge];
    let writers = vec![Writing::new(&[ALL], writes), Writing::new(&[], server)];
    let readers = [0, 1, 0].map(|query| Reading::new(query, READ));
    Case {
        proves,
        ..Case::of(writers, readers.into())
    }
}

#[test]
fn entries_that_are_void_before_the_new_server_is_used_are_safe() {
    crashed(script![Crash; Void], true).safe();
}

#[test]
fn entries_that_outlive_the_guard_are_not() {
    crashed(script![Crash], false).broken();
}

#[test]
fn a_new_server_that_is_used_before_the_guard_is_seen_to_be_lost_is_not() {
    crashed(script![Crash; Void], false).broken();
}

#[test]
fn voiding_entries_before_the_crash_is_not() {
    crashed(script![Void; Crash], false).broken();
}
