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
    /// ReadyForQuery `T` settles a transaction.
    SettledAtT,
    /// Versions move before a commit is forwarded, and not after it.
    BeforeOnly,
    /// Versions move some time after the client was told.
    AfterAcknowledgement,
    /// Hits begin without a look at what an earlier process left.
    NoStartBarrier,
    /// The cache outlives its guard.
    GuardLossIgnored,
    /// Writes in flight mean what they meant before definitions changed.
    NotWidened,
    /// What a write touches is told by the classes that there were when it was sent, and not when it commits.
    EarlyFootprints,
    /// Whoever holds a connection waits for another's answer, too.
    FollowerWithLease,
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
