//! Who else writes. Under `strict` a write from outside is seen only when an entry is too old, so
//! operators should know that there are such writes. A sample finds them, not a proof: a
//! transaction between two looks is not seen.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Core;
use super::control::{ControlError, column, rows};
use super::standing::Block;

/// Transactions that write have an xid. Autovacuum's workers have no user, and change nothing that a query
/// shows. All this may be seen of every role's backends.
const WRITERS: &str = "SELECT pid, backend_xid, usename FROM pg_catalog.pg_stat_activity \
     WHERE datname = pg_catalog.current_database() AND backend_xid IS NOT NULL AND usesysid IS NOT NULL \
     AND pid <> pg_catalog.pg_backend_pid()";

/// What was seen of foreign writers.
#[derive(Default)]
pub(super) struct Foreign {
    told: AtomicBool,
}

/// The transactions of the last sample.
pub(super) type Seen = HashSet<(u32, String)>;

impl Core {
    /// Looks for transactions of others that write now; counts those that are not in `seen`.
    pub(super) async fn look_for_foreign_writers(&self, seen: &mut Seen) {
        // Then all is known to be foreign, or nothing is.
        let moot = [Block::PoolerUpstream, Block::NotAlone, Block::Guard];
        if moot
            .into_iter()
            .any(|block| self.standing.is_blocked(block))
        {
            return;
        }
        match self.foreign_writers().await {
            Ok(writers) => {
                let new = writers.iter().filter(|(writer, _)| !seen.contains(writer));
                let count = u64::try_from(new.count()).unwrap_or(u64::MAX);
                self.counts.foreign.fetch_add(count, Ordering::Relaxed);
                if let Some(((pid, _), user)) = writers.first()
                    && !self.foreign.told.swap(true, Ordering::Relaxed)
                {
                    tracing::warn!(database = %self.target.dbname, pid, user,
                        "a connection that is not pgditto's writes to this database: cached answers may miss \
                         such writes for as long as cache.ttl ({:?})", self.cfg.ttl);
                }
                *seen = writers.into_iter().map(|(writer, _)| writer).collect();
            }
            Err(error) => tracing::debug!(%error, "foreign writers cannot be looked for"),
        }
    }

    /// (pid, xid) and user of each.
    async fn foreign_writers(&self) -> Result<Vec<((u32, String), String)>, ControlError> {
        let client = self.proven().await?;
        let _reading = self.gate.read().await;
        let mut writers = Vec::new();
        for row in rows(&client, WRITERS).await? {
            let pid: u32 = column(&row, 0).ok_or(ControlError::Malformed)?;
            let xid: String = column(&row, 1).ok_or(ControlError::Malformed)?;
            // One of ours that is gone may still be ending its transaction.
            if self.record.find(pid).is_none() {
                writers.push(((pid, xid), column(&row, 2).unwrap_or_default()));
            }
        }
        Ok(writers)
    }
}
