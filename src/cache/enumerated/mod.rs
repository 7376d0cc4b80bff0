//! The project's own model of its cache protocol: every interleaving of small cases, each state once.
//!
//! [`super::model`] and [`super::keyed_model`] play long random schedules; here nothing is left to chance. A rule is
//! shown to be safe in a small case, and each simplification of it to be broken, by a counter-example that is printed
//! (`cargo test --lib cache::enumerated -- --nocapture`).
//!
//! | file | cases | real code |
//! |---|---|---|
//! | [`commits`] | one writer's steps, a reader's steps, unknown outcomes, PREPARE, ReadyForQuery `T` | yes |
//! | [`keys`] | classes that are born, marks wider than what moves, and narrower | yes |
//! | [`definitions`] | DDL, and writers that wait behind it | yes |
//! | [`flights`] | single flight | yes |
//! | [`guard`] | a server that crashes and loses what it had acknowledged | the counters; the guard is a rule here |
//! | [`lease`] | until when the guard's, or a fleet's, word holds | no: a clock and two processes |
//! | [`fleet`] | two nodes, marked before the commit, or later | the counters; the messages are rules here |
//! | [`joining`] | a node that joins a fleet | no |
//!
//! Real are `Tags`, `Writer`, `KeptMark`, `Stamp` and `Flight`; the server, and what remembers entries, are played. To add a rule, write
//! its steps as a [`script`], of [`Do`](script::Do) for writers and [`Read`](script::Read) for readers, and say whether it is safe; a new kind
//! of step is one arm in `writer.rs` or `reader.rs`. What counts as a wrong answer stands in [`database`].
//!
//! Moves are merged where that hides nothing: a question that is answered from memory is answered
//! in the move in which it comes (later, more would be known already, and the check is stricter), and whoever
//! stores an answer gives it to its client at once.

mod bench;
mod commits;
mod database;
mod definitions;
mod explore;
mod fleet;
mod flights;
mod guard;
mod joining;
mod keys;
mod lease;
mod protocol;
mod reader;
mod script;
mod writer;

use bench::Bench;
use protocol::World;
use script::{Case, Read, Reading, Rows, Script, Writing, script};

impl Case {
    /// Two queries of one relation.
    fn of(writers: Vec<Writing>, readers: Vec<Reading>) -> Self {
        Self {
            writers,
            readers,
            queries: &[Rows::All(0), Rows::All(0)],
            nodes: 1,
            proves: true,
            trigger_writes: 1,
        }
    }

    #[track_caller]
    fn safe(self) {
        let bench = Bench::new(self.nodes, self.queries.len());
        explore::safe(|| World::new(&self, &bench));
    }

    #[track_caller]
    fn broken(self) {
        let bench = Bench::new(self.nodes, self.queries.len());
        explore::broken(|| World::new(&self, &bench));
    }
}

use script::Read::*;

/// What a reader does.
const READ: Script<Read> = script![Ask, LookUp, Stamp; Snapshot; Store, Answer];

/// Three who read by two queries: one fills, one learns what is new, one is served.
fn readers(script: Script<Read>) -> Vec<Reading> {
    [0, 1, 0].map(|query| Reading::new(query, script)).into()
}
