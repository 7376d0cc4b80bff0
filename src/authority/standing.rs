//! Whether hits may be served now: what every hit asks, in two loads.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use crate::cache::Moment;
use crate::planted::{Step, planted};
use crate::sql::Bypass;

/// A reason to serve nothing, until it is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Block {
    /// There is no guard, or it stands on a server in recovery.
    Guard = 1,
    PoolerUpstream = 1 << 1,
    NotAlone = 1 << 2,
    StartBarrier = 1 << 3,
    CatalogStale = 1 << 4,
}

impl Block {
    const ALL: [Block; 5] = [
        Block::Guard,
        Block::PoolerUpstream,
        Block::NotAlone,
        Block::StartBarrier,
        Block::CatalogStale,
    ];

    fn reason(self) -> Bypass {
        match self {
            Block::Guard => Bypass::Guard,
            Block::PoolerUpstream => Bypass::PoolerUpstream,
            Block::NotAlone => Bypass::NotAlone,
            Block::StartBarrier => Bypass::StartBarrier,
            Block::CatalogStale => Bypass::CatalogStale,
        }
    }
}

/// The lease, and what stands in the way beside it.
#[derive(Debug)]
pub(super) struct Standing {
    blocks: AtomicU16,
    /// Hits end here unless the guard answers before: [`Moment`] in nanoseconds, zero without a lease.
    until: AtomicU64,
}

impl Standing {
    /// Nothing is known yet, so everything stands in the way.
    pub fn new() -> Self {
        let blocks = Block::Guard as u16 | Block::StartBarrier as u16 | Block::CatalogStale as u16;
        Self {
            blocks: AtomicU16::new(blocks),
            until: AtomicU64::new(0),
        }
    }

    /// Served is at the moment of this check: what changes later came after the answer.
    pub fn may_serve(&self, now: Moment) -> Result<(), Bypass> {
        let blocks = self.blocks.load(Ordering::Acquire);
        if blocks != 0 {
            return Err(Self::first(blocks));
        }
        if now.as_nanos() < self.until.load(Ordering::Acquire) || planted(Step::LeaseIgnored) {
            Ok(())
        } else {
            Err(Bypass::Guard)
        }
    }

    #[cold]
    fn first(blocks: u16) -> Bypass {
        Block::ALL
            .into_iter()
            .find(|&block| blocks & block as u16 != 0)
            .map_or(Bypass::Guard, Block::reason)
    }

    pub fn block(&self, block: Block) {
        self.blocks.fetch_or(block as u16, Ordering::AcqRel);
    }

    pub fn unblock(&self, block: Block) {
        self.blocks.fetch_and(!(block as u16), Ordering::AcqRel);
    }

    pub fn set(&self, block: Block, on: bool) {
        match on {
            true => self.block(block),
            false => self.unblock(block),
        }
    }

    pub fn is_blocked(&self, block: Block) -> bool {
        self.blocks.load(Ordering::Acquire) & block as u16 != 0
    }

    /// The guard has answered a question that was sent at `sent`. The lease counts from
    /// there: what the server said may be as old.
    pub fn extend(&self, sent: Moment, lease: Duration) {
        let until = (sent + lease).as_nanos();
        self.until.store(until, Ordering::Release);
    }

    /// The guard is lost.
    pub fn lose(&self) {
        self.block(Block::Guard);
        self.until.store(0, Ordering::Release);
    }

    /// Since what the lease counts from was asked for.
    pub fn age(&self, now: Moment, lease: Duration) -> Option<Duration> {
        match self.until.load(Ordering::Relaxed) {
            0 => None,
            until => Some(now.since(Moment::from_nanos(until) - lease)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_need_a_lease_and_nothing_in_the_way() {
        let standing = Standing::new();
        let sent = Moment::from_nanos(1_000);
        let lease = Duration::from_nanos(500);
        assert_eq!(standing.may_serve(sent), Err(Bypass::Guard));
        standing.unblock(Block::Guard);
        assert_eq!(standing.may_serve(sent), Err(Bypass::StartBarrier));
        standing.unblock(Block::StartBarrier);
        assert_eq!(standing.may_serve(sent), Err(Bypass::CatalogStale));
        standing.unblock(Block::CatalogStale);
        assert_eq!(standing.may_serve(sent), Err(Bypass::Guard));
        standing.extend(sent, lease);
        assert_eq!(standing.may_serve(Moment::from_nanos(1_499)), Ok(()));
        assert_eq!(
            standing.may_serve(Moment::from_nanos(1_500)),
            Err(Bypass::Guard)
        );
        standing.set(Block::NotAlone, true);
        assert_eq!(standing.may_serve(sent), Err(Bypass::NotAlone));
        standing.set(Block::NotAlone, false);
        standing.lose();
        standing.unblock(Block::Guard);
        assert_eq!(standing.may_serve(sent), Err(Bypass::Guard));
    }
}
