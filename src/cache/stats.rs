//! What the cache tells of itself; whoever exports it reads a snapshot.

use super::flight::FlightStats;
use super::redis::RedisStats;

/// A snapshot of the counts. All but the last group only grow.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CacheStats {
    /// Lookups served from memory.
    pub hits: u64,
    /// Lookups not served, by reason: see [`Miss`].
    pub absent: u64,
    pub stale: u64,
    pub marked: u64,
    pub expired: u64,
    pub flushed: u64,
    /// Answers kept, those that came from Redis included.
    pub stores: u64,
    /// Answers not kept because a write came between.
    pub refused: u64,
    pub too_large: u64,
    /// Entries given up for want of room.
    pub evictions: u64,
    pub flushes: u64,
    /// Resident now; what the tier has not dropped yet counts too.
    pub entries: u64,
    pub bytes: u64,
    pub bytes_max: u64,
    pub flights: FlightStats,
    /// `None` without `redis.url`.
    pub redis: Option<RedisStats>,
}

impl CacheStats {
    pub fn misses(&self) -> u64 {
        self.absent + self.stale + self.marked + self.expired + self.flushed
    }
}
