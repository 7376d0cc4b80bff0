//! A unit of the extended protocol, answered here message by message.
//!
//! A unit is served whole or not at all: replies are written to a buffer of
//! their own, and the names it defines are kept aside, until the last message
//! of the unit has turned out to be answerable.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::request::End;
use super::rules::Look;
use super::serve::{Miss, Served, begin_tag};
use super::state::Pin;
use super::statements::{ClientStatement, Statement};
use super::transaction::Transaction;
use super::unnamed::Finished;
use super::verify::Asked;
use super::{Session, UnitReport};
use crate::metrics::Tier;
use crate::sql::{Bypass, Isolation, Kind};
use crate::upstream::Shape;
use crate::wire::{self, Frame, TransactionStatus, backend, frontend, tag::frontend as tag};

/// The parts of a transaction that serving a unit changes.
struct Staged {
    out: BytesMut,
    /// `Some(None)`: the transaction ended here.
    begun: Option<Option<(Bytes, Option<Isolation>)>>,
    status: TransactionStatus,
    names: Vec<(Bytes, Option<Arc<Statement>>)>,
    portals: Vec<(Bytes, Portal)>,
    /// Names of portals that are there, run or not.
    bound: Vec<Bytes>,
    /// What becomes of the client's unnamed portal, if anything: `Some(None)`, it is closed.
    unnamed: Option<Option<Finished>>,
    /// A portal with a name was run.
    named_portal: bool,
    hits: u64,
    rows: u64,
    ended: bool,
    executes_looked_at: usize,
}

#[derive(Clone)]
struct Portal {
    statement: Arc<Statement>,
    frame: Frame,
}

impl Session {
    /// Whether a run of messages that ends with `end` may be answered here. What Flush ends is
    /// a part of a unit only: a portal that is bound in it may be used in the rest.
    pub(super) fn may_serve(frames: &[Frame], end: End) -> bool {
        match end {
            End::Sync => true,
            End::Flush => frames.iter().all(|frame| {
                matches!(
                    frame.tag(),
                    tag::PARSE | tag::DESCRIBE | tag::CLOSE | tag::FLUSH
                )
            }),
            End::Full => false,
        }
    }

    /// Tries to answer a whole unit of the extended protocol here.
    pub(super) async fn serve_extended(
        &mut self,
        frames: &[Frame],
        report: &mut UnitReport,
    ) -> Served {
        if self.tx.status == TransactionStatus::Failed && !self.tx.failed_here {
            return Served::Miss(Miss::bypass(Bypass::FailedTransaction));
        }
        let mut staged = Staged {
            out: BytesMut::new(),
            begun: None,
            status: self.tx.status,
            names: Vec::new(),
            portals: Vec::new(),
            bound: Vec::new(),
            unnamed: None,
            named_portal: false,
            hits: 0,
            rows: 0,
            ended: false,
            executes_looked_at: 0,
        };
        match self.stage(frames, &mut staged, report).await {
            Ok(()) => {
                self.commit_staged(staged);
                report.here = true;
                Served::Whole(report.take_out())
            }
            Err(mut miss) => {
                miss.executes_looked_at = staged.executes_looked_at;
                Served::Miss(miss)
            }
        }
    }

    fn commit_staged(&mut self, staged: Staged) {
        for (name, statement) in staged.names {
            match statement {
                Some(statement) => {
                    let prepared = self.as_prepared_now(statement);
                    self.statements.insert(&name, prepared);
                }
                None => drop(self.statements.remove(&name)),
            }
        }
        match staged.begun {
            Some(Some((begin, isolation))) => {
                self.tx = Transaction::begun_here(begin, isolation);
            }
            Some(None) => self.end_transaction_here(),
            None => {}
        }
        match staged.unnamed {
            Some(Some(finished)) => self.keep_unnamed(finished),
            Some(None) => self.lose_unnamed(),
            None => {}
        }
        if staged.hits > 0 && self.tx.status != TransactionStatus::Idle {
            self.tx.served = true;
        }
    }

    async fn stage(
        &mut self,
        frames: &[Frame],
        staged: &mut Staged,
        report: &mut UnitReport,
    ) -> Result<(), Miss> {
        let mut executes = 0;
        let forward = || Miss::default();
        for (at, frame) in frames.iter().enumerate() {
            match frame.tag() {
                tag::PARSE => {
                    let parse = frontend::Parse::read(frame.body()).map_err(|_| forward())?;
                    let statement = self.intern(parse.sql, &parse.parameter_types);
                    let taken = || match parse.name {
                        b"" => false,
                        name => {
                            self.staged_name(staged, name).is_some()
                                || self.may_be_prepared_in_sql(name)
                        }
                    };
                    if !self.is_text(parse.name) || taken() {
                        return Err(forward());
                    }
                    // A Parse without an Execute of the same unit needs proof that the server would take it.
                    if !self.answerable_kind(&statement)
                        && !executed_in(frames, at)
                        && !self.is_known_good(&statement)
                    {
                        return Err(forward());
                    }
                    staged
                        .names
                        .push((Bytes::copy_from_slice(parse.name), Some(statement)));
                    backend::parse_complete(&mut staged.out);
                }
                tag::BIND => {
                    let bind = frontend::Bind::read(frame.body()).map_err(|_| forward())?;
                    if !self.is_text(bind.portal) {
                        return Err(forward());
                    }
                    let Some(statement) = self.staged_as_told(staged, bind.statement) else {
                        return Err(forward());
                    };
                    // A named portal of a transaction is there for later units as well, and one
                    // that is not executed now is there for nothing else.
                    if !bind.portal.is_empty() && !self.stage_named_portal(staged, bind.portal)
                        || !executed_later(frames, at, bind.portal)
                    {
                        return Err(Miss::bypass(Bypass::OpenPortal));
                    }
                    if is_control(&statement)
                        && !(self.answerable_kind(&statement)
                            && bind.parameters.is_empty()
                            && bind.parameter_formats.len() <= 1)
                    {
                        return Err(forward());
                    }
                    staged.portals.push((
                        Bytes::copy_from_slice(bind.portal),
                        Portal {
                            statement,
                            frame: frame.clone(),
                        },
                    ));
                    backend::bind_complete(&mut staged.out);
                }
                tag::DESCRIBE => {
                    let describe = frontend::Describe::read(frame.body()).map_err(|_| forward())?;
                    match describe.target {
                        frontend::Target::Statement => {
                            let Some(statement) = self.staged_as_told(staged, describe.name) else {
                                return Err(forward());
                            };
                            // It may have been described since to somebody who prepared it later.
                            let description = self.description(&statement);
                            let Some(description) =
                                description.filter(|_| self.is_current(&statement))
                            else {
                                return Err(forward());
                            };
                            staged.out.extend_from_slice(&description.parameters);
                            staged.out.extend_from_slice(&description.row);
                        }
                        frontend::Target::Portal => {
                            let Some(portal) = staged_portal(staged, describe.name) else {
                                return Err(Miss::bypass(Bypass::OpenPortal));
                            };
                            if self.answerable_kind(&portal.statement) {
                                backend::no_data(&mut staged.out);
                            } else if !next_executes(frames, at, describe.name) {
                                return Err(forward());
                            }
                            // Otherwise the answer that the next Execute finds brings its description.
                        }
                    }
                }
                tag::EXECUTE => {
                    let execute = frontend::Execute::read(frame.body()).map_err(|_| forward())?;
                    let Some(portal) = staged_portal(staged, execute.portal) else {
                        return Err(Miss::bypass(Bypass::OpenPortal));
                    };
                    // Less than one row is no limit, too.
                    let max_rows = u32::try_from(execute.max_rows).unwrap_or(0);
                    if max_rows > 0 && !ends_with_portals(frames, at, staged.status) {
                        return Err(Miss::bypass(Bypass::RowLimit));
                    }
                    let described = at > 0 && describes_portal(&frames[at - 1], execute.portal);
                    staged.executes_looked_at = executes + 1;
                    let description = self
                        .stage_execute(
                            &portal,
                            max_rows,
                            described,
                            staged,
                            report,
                            executes == 0 && single_execute(frames),
                        )
                        .await?;
                    match execute.portal {
                        b"" => {
                            let Portal { statement, frame } = &portal;
                            staged.unnamed =
                                Some(Some(self.finished(statement, frame, description)));
                        }
                        _ => staged.named_portal = true,
                    }
                    // It has given all its rows, or it ends now.
                    staged.portals.retain(|(name, _)| name != execute.portal);
                    executes += 1;
                }
                tag::CLOSE => {
                    let close = frontend::Close::read(frame.body()).map_err(|_| forward())?;
                    if !self.is_text(close.name) {
                        return Err(forward());
                    }
                    match close.target {
                        frontend::Target::Statement
                            if self.staged_name(staged, close.name).is_none()
                                && self.may_be_prepared_in_sql(close.name) =>
                        {
                            return Err(forward());
                        }
                        frontend::Target::Statement => {
                            staged
                                .names
                                .push((Bytes::copy_from_slice(close.name), None));
                        }
                        frontend::Target::Portal => {
                            staged.portals.retain(|(name, _)| name != close.name);
                            staged.bound.retain(|name| name != close.name);
                            if close.name.is_empty() {
                                staged.unnamed = Some(None);
                            }
                            let cursor = !close.name.is_empty() && self.may_have_cursors();
                            if cursor || self.portals.contains_key(close.name) {
                                return Err(forward());
                            }
                        }
                    }
                    backend::close_complete(&mut staged.out);
                }
                tag::SYNC | tag::FLUSH if frame.len() == wire::HEADER_LEN => {}
                _ => return Err(forward()),
            }
        }
        if staged.named_portal && staged.status != TransactionStatus::Idle {
            // It is there for later units as well.
            return Err(Miss::bypass(Bypass::OpenPortal));
        }
        report.rows += staged.rows;
        report.put_out(std::mem::take(&mut staged.out));
        Ok(())
    }

    /// Answers one Execute; gives the description of its portal, if that is known.
    async fn stage_execute(
        &mut self,
        portal: &Portal,
        max_rows: u32,
        described: bool,
        staged: &mut Staged,
        report: &mut UnitReport,
        may_lead: bool,
    ) -> Result<Option<Bytes>, Miss> {
        let statement = &portal.statement;
        if let Some(kind) = statement.analysis.kind()
            && self.stage_control(kind, &statement.sql, staged)
        {
            return Ok(None);
        }
        if staged.status == TransactionStatus::Failed {
            return Err(Miss::bypass(Bypass::FailedTransaction));
        }
        let bind = frontend::Bind::read(portal.frame.body()).map_err(|_| Miss::default())?;
        let meaning = self.meaning(&statement.analysis);
        if let Some(Some((_, isolation))) = &staged.begun
            && matches!(
                isolation.unwrap_or(self.default_isolation()),
                Isolation::RepeatableRead | Isolation::Serializable
            )
        {
            return Err(Miss::bypass(Bypass::Isolation));
        }
        let plan = self
            .read_plan(
                &statement.analysis,
                &meaning,
                &statement.parameter_types,
                Some(&bind),
                Look::First,
            )
            .map_err(Miss::bypass)?;
        let plan = self.limited(plan, max_rows);
        if !described && !self.has_columns_of_old(statement, &plan) {
            return Err(Miss::bypass(Bypass::CatalogStale));
        }
        let check = plan.check();
        let (entry, tier) = if may_lead {
            let found = self.find(plan, described, report).await;
            found.map_err(|mut miss| {
                if let Some(plan) = &mut miss.plan {
                    self.confine(plan, &statement.analysis, Some((statement, &bind)));
                }
                miss
            })?
        } else {
            let entry = self.find_now(&plan, described).ok_or_else(Miss::default)?;
            (entry, Tier::Memory)
        };
        let asked = Asked::Portal {
            statement,
            tail: bind.tail,
            max_rows,
        };
        self.verify(&entry, check, &asked);
        if described && let Some(description) = &entry.answer.row_description {
            staged.out.extend_from_slice(description);
            if statement.told.get().is_none()
                && let Ok(shape) = Shape::of_row(description)
            {
                statement.told.set(shape);
            }
        }
        staged.out.extend_from_slice(&entry.answer.body);
        staged.hits += 1;
        report.hit(&entry, tier);
        Ok(entry.answer.row_description.clone())
    }

    /// BEGIN, COMMIT and ROLLBACK of a transaction that has not reached the server.
    fn stage_control(&self, kind: &Kind, sql: &Bytes, staged: &mut Staged) -> bool {
        let unsent = match &staged.begun {
            Some(begun) => begun.is_some(),
            None => self.tx.unsent_begin.is_some() || self.tx.failed_here,
        };
        let failed = staged.status == TransactionStatus::Failed;
        match kind {
            Kind::Empty => backend::empty_query(&mut staged.out),
            Kind::Begin { isolation, .. }
                if self.begins_lazily()
                    && staged.status == TransactionStatus::Idle
                    && !staged.ended =>
            {
                staged.begun = Some(Some((sql.clone(), *isolation)));
                staged.status = TransactionStatus::InBlock;
                backend::command_complete(&mut staged.out, begin_tag(sql));
            }
            Kind::Commit { chain: false } | Kind::Rollback { chain: false } if unsent => {
                staged.begun = Some(None);
                staged.status = TransactionStatus::Idle;
                // A transaction that begins after it in the same unit is the server's business.
                staged.ended = true;
                let commits = matches!(kind, Kind::Commit { .. }) && !failed;
                backend::command_complete(
                    &mut staged.out,
                    if commits { "COMMIT" } else { "ROLLBACK" },
                );
            }
            _ => return false,
        }
        true
    }

    /// Whether a named portal may be bound here. One of a transaction is the server's, and a name may be taken.
    fn stage_named_portal(&self, staged: &mut Staged, name: &[u8]) -> bool {
        let is_free = staged.status == TransactionStatus::Idle
            && !self.may_have_cursors()
            && staged.bound.iter().all(|bound| bound != name);
        staged.bound.push(Bytes::copy_from_slice(name));
        is_free
    }

    /// The server may know cursors that SQL has declared: to the protocol they are portals.
    fn may_have_cursors(&self) -> bool {
        self.pins.contains(&Pin::HoldCursor)
            || self.lease.is_some() && self.tx.status != TransactionStatus::Idle
    }

    fn answerable_kind(&self, statement: &Statement) -> bool {
        is_control(statement) && statement.parameter_types.is_empty()
    }

    /// The same, if it surely gives the columns that the client was told of.
    fn staged_as_told(&self, staged: &Staged, name: &[u8]) -> Option<Arc<Statement>> {
        let here = staged.names.iter().any(|(staged, _)| staged == name);
        let prepared = self.statements.as_prepared(name);
        let unexamined = prepared.is_some_and(ClientStatement::is_unexamined);
        if unexamined && !here {
            return None;
        }
        self.staged_name(staged, name)
    }

    fn staged_name(&self, staged: &Staged, name: &[u8]) -> Option<Arc<Statement>> {
        match staged.names.iter().rev().find(|(staged, _)| staged == name) {
            Some((_, statement)) => statement.clone(),
            None => self.statements.get(name).cloned(),
        }
    }
}

/// What is answered here without a look at the cache, if at all.
fn is_control(statement: &Statement) -> bool {
    matches!(
        statement.analysis.kind(),
        Some(Kind::Begin { .. } | Kind::Commit { .. } | Kind::Rollback { .. } | Kind::Empty)
    )
}

/// The portal that is bound at `at` is executed before it is bound or closed again.
fn executed_later(frames: &[Frame], at: usize, portal: &[u8]) -> bool {
    for frame in &frames[at + 1..] {
        let named = match frame.tag() {
            tag::EXECUTE => match frontend::Execute::read(frame.body()) {
                Ok(execute) if execute.portal == portal => return true,
                _ => None,
            },
            tag::BIND => frontend::Bind::read(frame.body())
                .ok()
                .map(|bind| bind.portal),
            _ => None,
        };
        if named == Some(portal) {
            return false;
        }
    }
    false
}

/// The Execute at `at` is the unit's last message, outside a transaction block: no portal
/// outlives it, so nobody can ask for the rows behind its limit.
fn ends_with_portals(frames: &[Frame], at: usize, status: TransactionStatus) -> bool {
    status == TransactionStatus::Idle
        && frames
            .get(at + 1)
            .is_some_and(|next| next.tag() == tag::SYNC)
}

fn staged_portal(staged: &Staged, name: &[u8]) -> Option<Portal> {
    staged
        .portals
        .iter()
        .rev()
        .find(|(portal, _)| portal == name)
        .map(|(_, portal)| portal.clone())
}

/// The statement that the Parse at `at` names is executed later in the unit.
fn executed_in(frames: &[Frame], at: usize) -> bool {
    let Ok(parse) = frontend::Parse::read(frames[at].body()) else {
        return false;
    };
    let mut bound: Option<&[u8]> = None;
    for frame in &frames[at + 1..] {
        match frame.tag() {
            tag::BIND => {
                if let Ok(bind) = frontend::Bind::read(frame.body())
                    && bind.statement == parse.name
                    && bound.is_none()
                {
                    bound = Some(bind.portal);
                }
            }
            tag::EXECUTE => {
                if let Ok(execute) = frontend::Execute::read(frame.body())
                    && Some(execute.portal) == bound
                {
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}

fn next_executes(frames: &[Frame], at: usize, portal: &[u8]) -> bool {
    frames.get(at + 1).is_some_and(|frame| {
        frame.tag() == tag::EXECUTE
            && frontend::Execute::read(frame.body()).is_ok_and(|execute| execute.portal == portal)
    })
}

fn describes_portal(frame: &Frame, portal: &[u8]) -> bool {
    frame.tag() == tag::DESCRIBE
        && frontend::Describe::read(frame.body()).is_ok_and(|describe| {
            matches!(describe.target, frontend::Target::Portal) && describe.name == portal
        })
}

fn single_execute(frames: &[Frame]) -> bool {
    frames
        .iter()
        .filter(|frame| frame.tag() == tag::EXECUTE)
        .count()
        == 1
}
