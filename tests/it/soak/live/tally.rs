//! What happened in a run: operations by kind, faults that struck, scenes that were played.
//!
//! A fault counts only where somebody saw that it struck, and a scene where it was played to its end.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::fixture::Metrics;

/// What can happen to servers, connections and pgditto.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The server fell and rose again.
    Crash,
    /// ... without commits that it had acknowledged.
    CommitsLost,
    /// ... and with an unlogged table empty that had rows.
    UnloggedEmptied,
    /// A standby took its place that lacked acknowledged commits.
    LaggingPromoted,
    PgdittoKilled,
    /// ... while the server was busy with a commit.
    PgdittoKilledAtCommit,
    BackendEnded,
    /// ... in the middle of a commit or a write.
    BackendEndedAtWork,
    ConnectionCut,
    AllConnectionsCut,
    /// A connection ended between a COMMIT and its answer.
    CommitCut,
    /// ... when the COMMIT takes long.
    SlowCommitCut,
    /// A client's cancel ended a COMMIT.
    CommitCancelled,
    /// `upstream.query_timeout` passed during a COMMIT.
    CommitTimedOut,
    /// A second pgditto served the database, and the first one knew of it.
    SecondPgditto,
    /// The link was cut while a commit waited for a synchronous standby.
    StandbyWaitCut,
    /// Nothing passed between pgditto and the server for a while, and no connection ended, with a COMMIT on its way.
    SilentCut,
    /// ... and meanwhile a second pgditto wrote, which had a way of its own.
    SecondBehindSilence,
    /// What was prepared through a pgditto that was killed was committed elsewhere.
    PreparedOverKill,
}

impl Fault {
    /// Those that a long run must have seen.
    const NEEDED: [Fault; 18] = [
        Fault::Crash,
        Fault::CommitsLost,
        Fault::UnloggedEmptied,
        Fault::LaggingPromoted,
        Fault::PgdittoKilled,
        Fault::PgdittoKilledAtCommit,
        Fault::BackendEnded,
        Fault::BackendEndedAtWork,
        Fault::ConnectionCut,
        Fault::AllConnectionsCut,
        Fault::CommitCut,
        Fault::SlowCommitCut,
        Fault::CommitCancelled,
        Fault::CommitTimedOut,
        Fault::SecondPgditto,
        Fault::StandbyWaitCut,
        Fault::PreparedOverKill,
        Fault::SilentCut,
    ];
}

/// A few clients in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scene {
    BehindDdl,
    BehindFunction,
    Birth,
    Lock,
    EarlyBind,
    LateFollower,
}

impl Scene {
    const ALL: [Scene; 6] = [
        Scene::BehindDdl,
        Scene::BehindFunction,
        Scene::Birth,
        Scene::Lock,
        Scene::EarlyBind,
        Scene::LateFollower,
    ];
}

/// Every kind of operation that clients are to do.
pub const OPERATIONS: &[&str] = &[
    "read: point",
    "read: IN list",
    "read: aggregate",
    "read: view",
    "read: join",
    "read: whole table",
    "read: CTE",
    "read: subquery",
    "read: literal",
    "read: sum over two tables",
    "read: in a transaction",
    "by simple query",
    "by unnamed statement",
    "by prepared statement",
    "in binary",
    "write: plain",
    "write: rolled back",
    "write: failed",
    "write: in one string",
    "write: with a parameter",
    "write: in a function",
    "write: after a savepoint",
    "write: through a view",
    "write: before a BEGIN",
    "write: in two phases",
    "write: with DDL",
    "write: with a cancel",
    "write: with a slow commit",
    "write: long before its Sync",
    "write: at COMMIT AND CHAIN",
    "transfer between tables",
];

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Operation(&'static str),
    Error(String),
    Fault(Fault),
    Scene(Scene),
}

#[derive(Clone, Copy, Default)]
struct Tried {
    done: u64,
    in_vain: u64,
}

#[derive(Default)]
pub struct Tally(Mutex<BTreeMap<What, Tried>>);

impl Tally {
    fn counts(&self) -> MutexGuard<'_, BTreeMap<What, Tried>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, what: What, done: bool) {
        let mut counts = self.counts();
        let tried = counts.entry(what).or_default();
        if done {
            tried.done += 1;
        } else {
            tried.in_vain += 1;
        }
    }

    /// `kind` is one of [`OPERATIONS`].
    pub fn operation(&self, kind: &'static str) {
        debug_assert!(OPERATIONS.contains(&kind), "{kind}");
        self.count(What::Operation(kind), true);
    }

    /// A client was told of an error.
    pub fn error(&self, code: &str) {
        self.count(What::Error(code.to_owned()), true);
    }

    /// It was tried, and was seen to strike, or not.
    pub fn fault(&self, fault: Fault, struck: bool) {
        self.count(What::Fault(fault), struck);
    }

    /// It was begun, and played to its end, or not.
    pub fn scene(&self, scene: Scene, played: bool) {
        self.count(What::Scene(scene), played);
    }

    fn done(&self, what: &What) -> u64 {
        self.counts().get(what).map_or(0, |tried| tried.done)
    }

    /// What a long run of everything must have done at least once, and this one did not.
    pub fn missing(&self) -> Vec<String> {
        let operations = OPERATIONS.iter().map(|kind| What::Operation(kind));
        let faults = Fault::NEEDED.map(What::Fault);
        let scenes = Scene::ALL.map(What::Scene);
        let all = operations.chain(faults).chain(scenes);
        all.filter(|what| self.done(what) == 0)
            .map(|what| format!("{what:?}"))
            .collect()
    }

    /// One line for each sort.
    pub fn text(&self) -> String {
        let mut lines = [
            "operations".to_owned(),
            "errors".to_owned(),
            "faults that struck".to_owned(),
            "scenes".to_owned(),
        ];
        for (what, Tried { done, in_vain }) in &*self.counts() {
            let (line, name) = match what {
                What::Operation(kind) => (0, (*kind).to_owned()),
                What::Error(code) => (1, code.clone()),
                What::Fault(fault) => (2, format!("{fault:?}")),
                What::Scene(scene) => (3, format!("{scene:?}")),
            };
            let _ = write!(lines[line], "; {name} {done}");
            if *in_vain > 0 {
                let _ = write!(lines[line], " (and {in_vain} in vain)");
            }
        }
        lines.join("\n  ")
    }
}

/// What pgditto says that became of reads, over all its lives.
#[derive(Clone, Copy, Default, Debug)]
pub struct Served {
    pub hits: f64,
    pub others: f64,
}

impl Served {
    pub fn of(metrics: &Metrics) -> Self {
        let sum = |outcome| metrics.sum("pgditto_statements_total", &[("outcome", outcome)]);
        Self {
            hits: sum("hit"),
            others: sum("miss") + sum("bypass"),
        }
    }

    /// Hits among the reads.
    pub fn ratio(&self) -> f64 {
        self.hits / (self.hits + self.others).max(1.0)
    }
}

impl std::ops::AddAssign for Served {
    fn add_assign(&mut self, other: Self) {
        self.hits += other.hits;
        self.others += other.others;
    }
}

/// Runs as long as this must have done all that is asked of one.
pub const LONG: Duration = Duration::from_secs(30 * 60);
