//! Answers on their way into the cache: planned when Bind is translated, or Query, and collected while
//! they pass to the client.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::Session;
use super::decide::ReadPlan;
use super::exchange::Exchange;
use super::rules::Look;
use super::serve::Miss;
use super::statements::{Statement, told_apart};
use crate::cache::{Answer, Entry, Key, Leader, Moment, Stamp, StoreOptions};
use crate::catalog::Order;
use crate::planted::{Step, planted};
use crate::sql::Kind;
use crate::upstream::Connection;
use crate::wire::frontend::Bind;

/// A portal bound in the unit that is under way, whose answer may be kept.
pub struct Planned {
    /// As the server tells names apart.
    portal: Bytes,
    plan: ReadPlan,
    /// Read before the Bind left: there the snapshot is taken.
    stamp: Stamp,
    leader: Option<Leader>,
    shadow: Option<Arc<Entry>>,
}

impl std::fmt::Debug for Planned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Planned")
            .field("portal", &self.portal)
            .finish_non_exhaustive()
    }
}

/// Answers of one unit that are kept at most.
const UNIT_FILLS_MAX: usize = 1000;
/// What they may take together, unless one entry may be longer.
const UNIT_FILL_BYTES_MAX: usize = 16 << 20;

impl Session {
    /// The answer of the portal that is being bound is kept, if it may be. To be called before its
    /// Bind is sent, which goes out on `connection`.
    pub(super) fn plan_fill(
        &mut self,
        statement: &Statement,
        bind: &Bind<'_>,
        connection: &Connection,
        exchange: &mut Exchange,
        miss: &mut Miss,
    ) {
        Self::unplan_fill(bind.portal, exchange);
        let look = match miss.executes_looked_at.checked_sub(1) {
            Some(rest) => {
                miss.executes_looked_at = rest;
                Look::Again
            }
            None => Look::First,
        };
        if exchange.planned.len() + exchange.fills.len() >= UNIT_FILLS_MAX {
            return;
        }
        let found = miss.plan.take().map(|plan| *plan);
        let plan = found.or_else(|| {
            let analysis = &statement.analysis;
            if exchange.more_than_reads || analysis.kind() != Some(&Kind::Select) {
                return None;
            }
            let meaning = self.meaning(analysis);
            let types = &statement.parameter_types;
            let mut plan = self
                .read_plan(analysis, &meaning, types, Some(bind), look)
                .ok()?;
            self.confine(&mut plan, analysis, Some((statement, bind)));
            Some(plan)
        });
        let Some(plan) = plan else { return };
        exchange
            .planned
            .extend(self.stamped(bind.portal, plan, connection, miss));
    }

    /// The end of a portal's plan without an answer.
    pub(super) fn unplan_fill(portal: &[u8], exchange: &mut Exchange) {
        exchange
            .planned
            .retain(|planned| planned.portal != told_apart(portal));
    }

    /// Begins to collect the answer of a portal at its first Execute.
    pub(super) fn begin_fill(
        &mut self,
        portal: &[u8],
        max_rows: u32,
        exchange: &mut Exchange,
    ) -> Option<usize> {
        let at = exchange
            .planned
            .iter()
            .position(|planned| planned.portal == told_apart(portal))?;
        let mut planned = exchange.planned.swap_remove(at);
        if exchange.more_than_reads || self.tx.wrote {
            return None;
        }
        if planted(Step::VersionsAtExecute) {
            let tags = &self.database.tags;
            planned.stamp = tags.stamp_whole(&planned.plan.options.relations, tags.picture());
        }
        planned.plan = self.limited(planned.plan, max_rows);
        Some(self.collect_into(planned, exchange))
    }

    /// Begins to collect the answer of a Query, before it is sent on `connection`.
    pub(super) fn begin_query_fill(
        &mut self,
        connection: &Connection,
        exchange: &mut Exchange,
        miss: &mut Miss,
    ) -> Option<usize> {
        let plan = miss.plan.take()?;
        if self.tx.wrote {
            return None;
        }
        let planned = self.stamped(b"", *plan, connection, miss)?;
        Some(self.collect_into(planned, exchange))
    }

    /// `None`: the connection has outlived the guard and may lead to a server that is none any
    /// more; what it reads must not be kept.
    fn stamped(
        &self,
        portal: &[u8],
        mut plan: ReadPlan,
        connection: &Connection,
        miss: &mut Miss,
    ) -> Option<Planned> {
        plan.options.read_at = Moment::now();
        let tags = &self.database.tags;
        let dependencies = std::mem::take(&mut plan.dependencies);
        let stamp = match dependencies.is_empty() {
            true => tags.stamp_whole(&plan.options.relations, plan.picture),
            false => tags.stamp(dependencies, plan.picture),
        };
        let generation = connection.admission.generation?;
        if !self.database.authority.may_fill(generation) {
            return None;
        }
        let leader = miss.leader.take();
        if let Some(leader) = &leader {
            leader.sent(&stamp);
        }
        Some(Planned {
            portal: Bytes::copy_from_slice(told_apart(portal)),
            plan,
            stamp,
            leader,
            shadow: miss.shadow.take(),
        })
    }

    fn collect_into(&self, planned: Planned, exchange: &mut Exchange) -> usize {
        let Planned {
            plan,
            stamp,
            leader,
            shadow,
            ..
        } = planned;
        let bytes_max = self.shared.cache.entry_bytes_max();
        exchange.fill_bytes_max = bytes_max.max(UNIT_FILL_BYTES_MAX);
        exchange.fills.push(Fill {
            key: plan.key,
            stamp,
            options: plan.options,
            leader,
            shadow: shadow.map(|entry| (entry, plan.order)),
            row_description: None,
            body: BytesMut::new(),
            rows: 0,
            body_bytes_max: bytes_max,
            state: State::Collecting,
            started: Instant::now(),
        });
        exchange.fills.len() - 1
    }
}

/// Collects the frames of one answer while they pass to the client.
pub struct Fill {
    pub key: Key,
    pub stamp: Stamp,
    pub options: StoreOptions,
    pub leader: Option<Leader>,
    /// What the cache would have served in its place (`cache.mode = "shadow"`),
    /// and how far the two can be compared.
    pub shadow: Option<(Arc<Entry>, Order)>,
    row_description: Option<Bytes>,
    body: BytesMut,
    rows: u64,
    body_bytes_max: usize,
    state: State,
    started: Instant,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Collecting,
    Complete,
    Spoilt,
    TooLarge,
}

impl std::fmt::Debug for Fill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fill")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Fill {
    pub fn describe(&mut self, frame: Bytes) {
        self.row_description = Some(frame);
    }

    /// Adds one DataRow, CommandComplete or PortalSuspended frame.
    pub fn push(&mut self, frame: &[u8]) {
        if self.has_room(frame.len()) {
            self.rows += u64::from(frame.first() == Some(&crate::wire::tag::backend::DATA_ROW));
            self.body.extend_from_slice(frame);
        }
    }

    /// A DataRow of this length begins, whose bytes come piece by piece ([`Fill::extend`]).
    pub fn begin_row(&mut self, frame_len: usize) {
        if self.has_room(frame_len) {
            self.rows += 1;
        }
    }

    pub fn extend(&mut self, piece: &[u8]) {
        if self.state == State::Collecting {
            self.body.extend_from_slice(piece);
        }
    }

    fn has_room(&mut self, len: usize) -> bool {
        if self.body.len() + len > self.body_bytes_max {
            self.outgrow();
        }
        self.state == State::Collecting
    }

    /// There is no room for it.
    pub fn outgrow(&mut self) {
        if self.state == State::Collecting {
            self.state = State::TooLarge;
            self.body = BytesMut::new();
        }
    }

    pub fn complete(&mut self) {
        if self.state == State::Collecting {
            self.state = State::Complete;
        }
    }

    pub fn spoil(&mut self) {
        self.state = State::Spoilt;
    }

    pub fn is_too_large(&self) -> bool {
        self.state == State::TooLarge
    }

    /// The finished answer, or `None` if it may not be kept.
    pub fn finish(self, now: Instant) -> Option<Finished> {
        if self.state != State::Complete {
            return None;
        }
        Some(Finished {
            key: self.key,
            stamp: self.stamp,
            options: self.options,
            leader: self.leader,
            shadow: self.shadow,
            answer: Answer {
                row_description: self.row_description,
                body: self.body.freeze(),
                rows: self.rows,
                cost: now.duration_since(self.started),
            },
        })
    }
}

/// An answer that may be kept.
pub struct Finished {
    pub key: Key,
    pub stamp: Stamp,
    pub options: StoreOptions,
    pub leader: Option<Leader>,
    pub shadow: Option<(Arc<Entry>, Order)>,
    pub answer: Answer,
}
