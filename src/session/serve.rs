//! Answers that need no server: hits, and what pgditto knows by itself, such as
//! BEGIN and its end. Units of the extended protocol are served in [`super::stage`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::decide::ReadPlan;
use super::forward::{cancelled, timed_out};
use super::rules::Look;
use super::send::sleep_until;
use super::state::Pin;
use super::transaction::Transaction;
use super::verify::Asked;
use super::{Session, UnitReport};
use crate::cache::{self, Entry, Flight, Leader, Lookup, Moment};
use crate::config::CacheMode;
use crate::metrics::Tier;
use crate::planted::{Step, planted};
use crate::sql::{self, Bypass, Kind};
use crate::wire::{TransactionStatus, backend};

/// What came of trying to answer a unit here.
pub(super) enum Served {
    /// The replies, up to but without ReadyForQuery.
    Whole(BytesMut),
    /// Forward; these reads of the unit may fill the cache.
    Miss(Miss),
}

/// Reads of a unit that was not served.
#[derive(Default)]
pub(super) struct Miss {
    /// How the answer of the Query, or of the unit's only Execute, is to be kept.
    pub plan: Option<Box<ReadPlan>>,
    pub leader: Option<Leader>,
    pub shadow: Option<Arc<Entry>>,
    pub bypass: Option<Bypass>,
    /// How many Executes of the unit have been looked at in vain.
    pub executes_looked_at: usize,
}

impl Miss {
    pub(super) fn bypass(reason: Bypass) -> Self {
        Self {
            bypass: Some(reason),
            ..Self::default()
        }
    }
}

impl Session {
    /// Tries to answer a Query here.
    pub(super) async fn serve_query(
        &mut self,
        sql: &[u8],
        analysis: &super::analysis::Analysis,
        report: &mut UnitReport,
    ) -> Served {
        if let Some(kind) = analysis.kind() {
            let mut out = BytesMut::new();
            if self.answer_here(kind, sql, &mut out) {
                self.statements.remove(b"");
                if *kind != Kind::Empty {
                    self.lose_unnamed();
                }
                return Served::Whole(out);
            }
        }
        let meaning = self.meaning(analysis);
        match self.read_plan(analysis, &meaning, &[], None, Look::First) {
            Err(reason) => Served::Miss(Miss::bypass(reason)),
            Ok(plan) => self.serve_read(sql, analysis, plan, report).await,
        }
    }

    async fn serve_read(
        &mut self,
        sql: &[u8],
        analysis: &super::analysis::Analysis,
        plan: ReadPlan,
        report: &mut UnitReport,
    ) -> Served {
        let check = plan.check();
        match self.find(plan, true, report).await {
            Err(mut miss) => {
                if let Some(plan) = &mut miss.plan {
                    self.confine(plan, analysis, None);
                }
                Served::Miss(miss)
            }
            Ok((entry, tier)) => {
                self.verify(&entry, check, &Asked::Query(sql));
                self.statements.remove(b"");
                self.lose_unnamed();
                self.tx.served = self.tx.status != TransactionStatus::Idle;
                let mut out = BytesMut::with_capacity(entry.answer.body.len() + 1024);
                if let Some(description) = &entry.answer.row_description {
                    out.extend_from_slice(description);
                }
                out.extend_from_slice(&entry.answer.body);
                report.hit(&entry, tier);
                Served::Whole(out)
            }
        }
    }

    /// Looks an answer up in both tiers and, where somebody else is fetching it, waits for that.
    pub(super) async fn find(
        &mut self,
        plan: ReadPlan,
        needs_description: bool,
        report: &mut UnitReport,
    ) -> Result<(Arc<Entry>, Tier), Miss> {
        report.planned = true;
        let shadow = self.config.cache.mode == CacheMode::Shadow;
        let tags = self.database.tags.clone();
        let cache = self.shared.cache.clone();
        let fits = |entry: &Entry| !needs_description || entry.answer.row_description.is_some();
        let mut marked = false;
        let found = match cache.lookup(&plan.key, &tags, &plan.terms, Moment::now()) {
            Lookup::Hit(entry) if fits(&entry) => Some((entry, Tier::Memory)),
            Lookup::Miss(cache::Miss::Marked) => {
                marked = true;
                None
            }
            _ => cache
                .lookup_second(&plan.key, &tags, &plan.terms, &self.database.name)
                .await
                .filter(|entry| fits(entry))
                .map(|entry| (entry, Tier::Redis)),
        };
        if shadow {
            return Err(Miss {
                plan: Some(Box::new(plan)),
                shadow: found.map(|(entry, _)| entry),
                ..Miss::default()
            });
        }
        if let Some(found) = found {
            return Ok(found);
        }
        if marked {
            return Err(Miss::bypass(Bypass::Marked));
        }
        // Nobody who holds a connection waits for another's flight: the other
        // might wait for a lock that this transaction holds.
        if self.lease.is_some() && !planted(Step::FollowerWithLease) {
            return Err(Miss {
                plan: Some(Box::new(plan)),
                ..Miss::default()
            });
        }
        let leader = match cache.flight(&plan.key, &tags) {
            Flight::Lead(leader) => Some(leader),
            Flight::Full => None,
            Flight::Follow(follower) => {
                let waited = Instant::now();
                let is_cancelled = self.registration.handle.cancelled.notified();
                let deadline = self.statement_timeout().map(|timeout| waited + timeout);
                let entry = tokio::select! {
                    entry = follower.wait(&tags, &plan.terms) => entry,
                    () = is_cancelled => {
                        report.given_up = Some(cancelled());
                        None
                    }
                    () = sleep_until(deadline), if deadline.is_some() => {
                        report.given_up = Some(timed_out());
                        None
                    }
                };
                report.waited += waited.elapsed();
                match entry {
                    Some(entry) if fits(&entry) => return Ok((entry, Tier::Flight)),
                    _ => None,
                }
            }
        };
        Err(Miss {
            plan: Some(Box::new(plan)),
            leader,
            ..Miss::default()
        })
    }

    /// What the session has set for itself; the server's default is the server's to keep.
    fn statement_timeout(&self) -> Option<Duration> {
        let set: u64 = self.settings.get("statement_timeout")?.parse().ok()?;
        (set > 0).then(|| Duration::from_millis(set))
    }

    /// Answers what needs neither cache nor server; false if `kind` is not of that sort now.
    fn answer_here(&mut self, kind: &Kind, sql: &[u8], out: &mut BytesMut) -> bool {
        match kind {
            Kind::Empty => backend::empty_query(out),
            Kind::Begin { isolation, .. } if self.may_begin_here() => {
                self.tx = Transaction::begun_here(Bytes::copy_from_slice(sql), *isolation);
                backend::command_complete(out, begin_tag(sql));
            }
            Kind::Commit { chain: false } if self.tx.failed_here => {
                self.end_transaction_here();
                backend::command_complete(out, "ROLLBACK");
            }
            Kind::Commit { chain: false } if self.tx.unsent_begin.is_some() => {
                self.end_transaction_here();
                backend::command_complete(out, "COMMIT");
            }
            Kind::Rollback { chain: false }
                if self.tx.unsent_begin.is_some() || self.tx.failed_here =>
            {
                self.end_transaction_here();
                backend::command_complete(out, "ROLLBACK");
            }
            Kind::Deallocate { name: Some(name) }
                if self.tx.status != TransactionStatus::Failed
                    && self.statements.remove(name.as_bytes()) =>
            {
                backend::command_complete(out, "DEALLOCATE");
            }
            Kind::Deallocate { name: None }
                if self.tx.status != TransactionStatus::Failed
                    && !self.pins.contains(&Pin::SqlPrepare)
                    && self.effects.is_empty() =>
            {
                self.statements.clear();
                backend::command_complete(out, "DEALLOCATE ALL");
            }
            _ => return false,
        }
        true
    }

    fn may_begin_here(&self) -> bool {
        self.begins_lazily() && self.tx.status == TransactionStatus::Idle
    }

    /// Whether BEGIN may wait for a statement that needs the server. Where the session's own connection
    /// listens it may not: what is notified in the transaction is to come after it.
    pub(super) fn begins_lazily(&self) -> bool {
        self.config.upstream.lazy_begin && !self.pins.contains(&Pin::Listen)
    }

    pub(super) fn end_transaction_here(&mut self) {
        self.tx = Transaction::none();
        self.forget_portals();
        self.writer = None;
    }

    /// The memory tier alone: for units of several Executes, of which all must hit.
    pub(super) fn find_now(&self, plan: &ReadPlan, needs_description: bool) -> Option<Arc<Entry>> {
        if self.config.cache.mode == CacheMode::Shadow {
            return None;
        }
        match self
            .shared
            .cache
            .lookup(&plan.key, &self.database.tags, &plan.terms, Moment::now())
        {
            Lookup::Hit(entry) => {
                (!needs_description || entry.answer.row_description.is_some()).then_some(entry)
            }
            _ => None,
        }
    }
}

/// The command tag of a statement that begins a transaction.
pub(super) fn begin_tag(sql: &[u8]) -> &'static str {
    match std::str::from_utf8(sql) {
        Ok(text) if sql::is_start_transaction(text) => "START TRANSACTION",
        _ => "BEGIN",
    }
}
