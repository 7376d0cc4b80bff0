//! One cached answer, and the terms on which it is kept and served.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use super::moment::Moment;
use super::tags::Stamp;
use super::tally::Resident;
use crate::catalog::RelationOid;
use crate::config::Level;
use crate::sql::ShapeId;

/// No entry lives longer, whatever a rule or a hint says.
pub const TTL_MAX: Duration = Duration::from_secs(24 * 3600);

/// What an entry costs beside its key and its bytes, in bytes: the tier's own
/// bookkeeping (about 330 to 500 were measured for a million small entries, with a
/// time to live), the entry itself, and two allocations' heads.
pub(super) const OVERHEAD_BYTES: usize = 400;

/// An answer as it goes to a client, without ReadyForQuery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The whole RowDescription frame, where the reply had one.
    pub row_description: Option<Bytes>,
    /// DataRow frames and CommandComplete, as they came.
    pub body: Bytes,
    pub rows: u64,
    /// What the server took for it.
    pub cost: Duration,
}

impl Answer {
    pub fn len(&self) -> usize {
        self.body.len() + self.row_description.as_ref().map_or(0, Bytes::len)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a fill brings with it.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// When the query was about to be sent: the answer's age counts from here.
    pub read_at: Moment,
    pub ttl: Duration,
    pub level: Level,
    /// The version of the catalogue that the read was judged by; see [`Terms::catalogue`].
    pub catalogue: u64,
    pub database: Arc<str>,
    pub relations: SmallVec<[RelationOid; 4]>,
    pub shape: ShapeId,
    pub labels: SmallVec<[Box<str>; 1]>,
}

/// On what terms a read accepts a cached answer.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    pub level: Level,
    /// No answer older than this, whatever it was stored with.
    pub ttl: Duration,
    /// The version of the catalogue that the reader judged by. It only matters for
    /// what another process left in Redis at level `ttl`: an answer from under another
    /// catalogue could hold columns or rows that this user must not see any more.
    pub catalogue: u64,
}

/// An answer in the cache.
#[derive(Debug)]
pub struct Entry {
    pub answer: Answer,
    pub stamp: Stamp,
    pub read_at: Moment,
    pub ttl: Duration,
    pub level: Level,
    pub catalogue: u64,
    pub database: Arc<str>,
    pub relations: SmallVec<[RelationOid; 4]>,
    pub shape: ShapeId,
    pub labels: SmallVec<[Box<str>; 1]>,
    pub(super) key: Bytes,
    /// Counts the entry where it is resident, until it is dropped.
    pub(super) resident: Option<Resident>,
}

impl Entry {
    pub(super) fn new(key: &Bytes, stamp: Stamp, answer: Answer, options: StoreOptions) -> Self {
        Self {
            answer,
            stamp,
            read_at: options.read_at,
            ttl: options.ttl.min(TTL_MAX),
            level: options.level,
            catalogue: options.catalogue,
            database: options.database,
            relations: options.relations,
            shape: options.shape,
            labels: options.labels,
            key: key.clone(),
            resident: None,
        }
    }

    pub fn age(&self, now: Moment) -> Duration {
        now.since(self.read_at)
    }

    /// Too old for a read that accepts `ttl`, or altogether.
    pub fn is_older_than(&self, ttl: Duration, now: Moment) -> bool {
        self.age(now) >= self.ttl.min(ttl)
    }

    /// What it costs in memory.
    pub fn weight(&self) -> usize {
        let labels: usize = self.labels.iter().map(|label| label.len() + 16).sum();
        self.key.len() + self.answer.len() + labels + OVERHEAD_BYTES
    }
}
