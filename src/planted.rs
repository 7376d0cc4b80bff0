//! Steps of the cache's protocol that a build for tests can leave out, to see that its checker notices.
//!
//! Only with the feature `planted-faults` does the variable `PLANTED_FAULT` name a step; in any other build
//! [`planted`] is false, and nothing of this is left.

/// One step of the protocol, by what goes wrong without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing is marked before a commit is forwarded.
    NoMark,
    /// Marks come off when a connection is lost at its commit.
    MarksDropped,
    /// The versions of an answer are read when it is complete.
    LateVersions,
    /// The versions of an answer are read when its portal is executed, and not when it is bound.
    VersionsAtExecute,
    /// An answer is served whenever nothing that it depends on is marked, whatever its versions.
    VersionsIgnored,
    /// ReadyForQuery `T` settles a transaction.
    SettledAtT,
    /// Versions move before a commit is forwarded, and not after it.
    BeforeOnly,
    /// Versions move some time after the client was told.
    AfterAcknowledgement,
    /// Hits begin without a look at what an earlier process left.
    NoStartBarrier,
    /// Transactions that are prepared when a process starts are not looked for.
    PreparedOverlooked,
    /// PREPARE TRANSACTION settles, and not the end of what was prepared.
    SettledAtPrepare,
    /// A backend that waits for a synchronous standby is ended like any other.
    StandbyWaitEnded,
    /// The cache outlives its guard.
    GuardLossIgnored,
    /// Hits need no fresh proof of the guard.
    LeaseIgnored,
    /// A connection is used whichever server it leads to.
    UnprovenConnections,
    /// Another pgditto on the same database changes nothing.
    OthersIgnored,
    /// Writes in flight mean what they meant before definitions changed.
    NotWidened,
    /// What a write touches is told by the classes that there were when it was sent, and not when it commits.
    EarlyFootprints,
    /// Whoever holds a connection waits for another's answer, too.
    FollowerWithLease,
    /// Whoever came after another's query was sent takes its answer, too.
    LateFollower,
}

/// Whether this step is left out.
#[cfg(feature = "planted-faults")]
pub fn planted(step: Step) -> bool {
    static CHOSEN: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| std::env::var("PLANTED_FAULT").unwrap_or_default());
    *CHOSEN == format!("{step:?}")
}

/// Whether this step is left out: never.
#[cfg(not(feature = "planted-faults"))]
#[inline(always)]
pub const fn planted(_: Step) -> bool {
    false
}
