//! What an authority tells of itself.

use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use crate::config::Host;
use crate::sql::Bypass;

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Which of the hosts.
    pub host: Host,
    pub guard_pid: i32,
    pub guard_started_us: i64,
    pub postmaster_started_us: Option<i64>,
    /// Where the role may know it.
    pub system_identifier: Option<u64>,
}

impl Server {
    /// Tells a server from its standbys and from itself after a restart.
    pub(super) fn identity(&self) -> u64 {
        let text = format!(
            "{:?} {:?}",
            self.system_identifier, self.postmaster_started_us
        );
        xxhash_rust::xxh3::xxh3_64(text.as_bytes())
    }
}

#[derive(Default)]
pub(super) struct Counts {
    pub looks: AtomicU64,
    pub last_look_us: AtomicU64,
    pub lapses: AtomicU64,
    pub losses: AtomicU64,
    pub moves: AtomicU64,
    pub foreign: AtomicU64,
    pub unknown: AtomicUsize,
    pub prepared: AtomicUsize,
}

/// A snapshot for metrics and the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityStats {
    /// `None`: strict hits may be served now.
    pub bypass: Option<Bypass>,
    pub generation: u64,
    pub server: Option<Server>,
    /// Since the guard's last answer was asked for; `None` without a guard.
    pub proof_age: Option<Duration>,
    /// Answers of the guard, and how long the last took.
    pub looks: u64,
    pub last_look: Duration,
    /// Answers that came so late that the cache was emptied.
    pub lapses: u64,
    /// Guards lost.
    pub losses: u64,
    /// Guards that stood on another server than the one before, or after a restart of it.
    pub moves: u64,
    pub alone: bool,
    pub catalogue_loads: u64,
    pub catalogue_failures: u64,
    /// Changes of the catalogue that came from outside.
    pub catalogue_found: u64,
    /// Transactions whose outcome is being found out.
    pub unknown: usize,
    /// Prepared transactions that are followed.
    pub prepared: usize,
    /// Upstream connections on record.
    pub recorded: usize,
    /// Transactions of others that wrote while somebody looked.
    pub foreign_writers: u64,
}
