//! Transactions whose outcome is not known: lost at their commit, or prepared.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use smallvec::SmallVec;
use tokio_postgres::Client;

use super::Core;
use super::control::{ControlError, column, rows};
use super::followed::Following;
use super::standing::Block;
use crate::cache::KeptMark;
use crate::catalog::Footprint;
use crate::planted::{Step, planted};

const POLL: Duration = Duration::from_millis(500);
/// Relations of the catalogue have smaller oids.
const FIRST_USER_OID: u32 = 16384;

impl Core {
    /// Sees a lost transaction to its end. It is settled as having happened: a bump
    /// too many costs a few misses.
    pub(super) async fn resolve(
        self: Arc<Self>,
        kept: KeptMark,
        pid: u32,
        gids: Vec<String>,
        following: Following,
    ) {
        self.counts.unknown.fetch_add(1, Ordering::Relaxed);
        match self.record.find(pid) {
            // Backends cannot be told apart, and nothing will be served any more.
            _ if self.standing.is_blocked(Block::PoolerUpstream) => {}
            Some(backend) => {
                // The pool has written it off, but until it is gone the next process must know of it.
                self.record.add(&backend);
                self.end(&backend, None).await;
                self.record.remove(pid);
            }
            // Whose backend it is nobody knows: it must not be ended, only awaited.
            None => self.wait_until_gone(pid).await,
        }
        for gid in gids {
            self.wait_until_not_prepared(&gid).await;
        }
        drop(following);
        self.settle_kept(kept);
        self.counts.unknown.fetch_sub(1, Ordering::Relaxed);
    }

    /// Sees prepared transactions to their ends, whoever ends them. `following` where `kept` is sure to cover all that
    /// they do.
    pub(super) async fn follow_prepared(
        self: Arc<Self>,
        kept: KeptMark,
        gids: Vec<String>,
        following: Option<Following>,
    ) {
        self.counts.prepared.fetch_add(1, Ordering::Relaxed);
        for gid in gids {
            self.wait_until_not_prepared(&gid).await;
        }
        drop(following);
        self.settle_kept(kept);
        self.counts.prepared.fetch_sub(1, Ordering::Relaxed);
    }

    async fn wait_until_gone(&self, pid: u32) {
        let sql = format!("SELECT FROM pg_catalog.pg_stat_activity WHERE pid = {pid}");
        loop {
            let found = async { rows(&*self.proven().await?, &sql).await };
            match found.await {
                Ok(found) if found.is_empty() => return,
                Ok(_) => {}
                Err(error) => tracing::debug!(pid, %error, "cannot be looked for yet"),
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn settle_kept(&self, kept: KeptMark) {
        let catalogue = kept.touched().catalogue;
        if catalogue {
            self.tags.widen_in_flight();
        }
        kept.settle(true);
        if catalogue {
            self.catalogue_settled();
        }
    }

    async fn wait_until_not_prepared(&self, gid: &str) {
        let mut first = None;
        loop {
            match self.prepared_as(gid).await {
                Ok(None) => return,
                // Another one has the name by now.
                Ok(Some(xid)) if *first.get_or_insert_with(|| xid.clone()) != xid => return,
                Ok(Some(_)) => {}
                Err(error) => tracing::debug!(%error, "prepared transactions cannot be listed yet"),
            }
            self.followed.time_to_look(POLL).await;
        }
    }

    /// The number of the transaction that has this name.
    async fn prepared_as(&self, gid: &str) -> Result<Option<String>, ControlError> {
        let client = self.proven().await?;
        let prepared = rows(&client, PREPARED).await?;
        let named = prepared
            .into_iter()
            .find(|row| row.first().and_then(Option::as_deref) == Some(gid));
        Ok(named.and_then(|mut row| row.pop().flatten()))
    }

    /// Marks what the transactions have touched that are prepared when we start, as far as their locks tell: should one
    /// be committed through us, that is a write to everything (see `Kind::CommitPrepared`).
    pub(super) async fn mark_prepared(self: &Arc<Self>) -> Result<(), ControlError> {
        if planted(Step::PreparedOverlooked) {
            return Ok(());
        }
        let client = self.proven().await?;
        let prepared = rows(&client, PREPARED).await?;
        let mut marks = Vec::with_capacity(prepared.len());
        for row in &prepared {
            let gid: String = column(row, 0).ok_or(ControlError::Malformed)?;
            let xid: String = column(row, 1).ok_or(ControlError::Malformed)?;
            marks.push((gid, touched_by(&client, &xid).await?));
        }
        for (gid, footprint) in marks {
            tracing::warn!(database = %self.target.dbname, gid, relations = ?footprint.relations,
                everything = footprint.everything,
                "a prepared transaction is open: what it touched is not cached until it is ended");
            let kept = self.tags.mark(&footprint, self.tags.picture()).keep();
            let core = Arc::clone(self);
            self.spawn(core.follow_prepared(kept, vec![gid], None));
        }
        Ok(())
    }
}

const PREPARED: &str = "SELECT gid, transaction FROM pg_catalog.pg_prepared_xacts \
     WHERE database = pg_catalog.current_database()";

/// What a prepared transaction has written, by the locks that it still holds: they
/// have no process any more, only its transaction id. With the ancestors of partitions, since a
/// write to a leaf locks only the leaf. Whatever is not a plain write means everything.
async fn touched_by(client: &Client, xid: &str) -> Result<Footprint, ControlError> {
    let sql = format!(
        "WITH RECURSIVE held AS (SELECT r.relation, r.mode \
         FROM pg_catalog.pg_locks x JOIN pg_catalog.pg_locks r USING (virtualtransaction) \
         WHERE x.locktype = 'transactionid' AND x.transactionid = '{xid}'::pg_catalog.xid \
         AND x.pid IS NULL AND r.pid IS NULL AND r.locktype = 'relation' \
         AND r.mode NOT IN ('AccessShareLock', 'RowShareLock')), \
         up AS (SELECT relation FROM held UNION \
         SELECT i.inhparent FROM pg_catalog.pg_inherits i JOIN up ON i.inhrelid = up.relation) \
         SELECT relation, (SELECT pg_catalog.bool_and(mode = 'RowExclusiveLock') FROM held) FROM up"
    );
    let found = rows(client, &sql).await?;
    let mut relations: SmallVec<[u32; 4]> = SmallVec::new();
    let mut plain = !found.is_empty();
    for row in &found {
        let oid: u32 = column(row, 0).ok_or(ControlError::Malformed)?;
        plain &= oid >= FIRST_USER_OID && row.get(1).and_then(Option::as_deref) == Some("t");
        relations.push(oid);
    }
    relations.sort_unstable();
    relations.dedup();
    Ok(match plain {
        true => Footprint {
            relations,
            ..Footprint::default()
        },
        false => Footprint::everything(),
    })
}
