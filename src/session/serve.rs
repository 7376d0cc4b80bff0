//! Answers that need no server: hits, and what pgditto knows by itself (BEGIN
//! and its end, statements already known good, descriptions).
//!
//! A unit is served whole or not at all: replies are written to a buffer of
//! their own, and the names it defines are kept aside, until the last message
//! of the unit has turned out to be answerable.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::decide::{Meaning, ReadPlan};
use super::request::End;
use super::rules::Look;
use super::shared::{DescriptionKey, JudgementKey};
use super::statements::Statement;
use super::transaction::Transaction;
use super::{Session, UnitReport};
use crate::cache::{self, Entry, Flight, Leader, Lookup, Moment};
use crate::catalog::{CatalogVersion, Judgement};
use crate::config::CacheMode;
use crate::metrics::Tier;
use crate::sql::{self, Bypass, Isolation, Kind};
use crate::wire::{self, Frame, TransactionStatus, backend, frontend, tag::frontend as tag};

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
    /// By the Execute's place among the unit's Executes; a Query has place 0.
    pub plans: Vec<(usize, ReadPlan)>,
    pub leader: Option<Leader>,
    pub shadow: Option<Arc<Entry>>,
    pub bypass: Option<Bypass>,
}

impl Miss {
    pub(super) fn bypass(reason: Bypass) -> Self {
        Self {
            bypass: Some(reason),
            ..Self::default()
        }
    }
}

/// The parts of a transaction that serving a unit changes.
struct Staged {
    out: BytesMut,
    /// `Some(None)`: the transaction ended here.
    begun: Option<Option<(Bytes, Option<Isolation>)>>,
    status: TransactionStatus,
    names: Vec<(Bytes, Option<Arc<Statement>>)>,
    portals: Vec<(Bytes, Portal)>,
    hits: u64,
    rows: u64,
    ended: bool,
}

#[derive(Clone)]
struct Portal {
    statement: Arc<Statement>,
    frame: Frame,
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
                return Served::Whole(out);
            }
        }
        let meaning = self.meaning(analysis);
        match self.read_plan(analysis, &meaning, &[], None, Look::First) {
            Err(reason) => Served::Miss(Miss::bypass(reason)),
            Ok(plan) => match self.find(plan, true, report).await {
                Err(miss) => Served::Miss(miss),
                Ok((entry, tier)) => {
                    self.statements.remove(b"");
                    self.tx.served = self.tx.status != TransactionStatus::Idle;
                    let mut out = BytesMut::with_capacity(entry.answer.body.len() + 1024);
                    if let Some(description) = &entry.answer.row_description {
                        out.extend_from_slice(description);
                    }
                    out.extend_from_slice(&entry.answer.body);
                    report.hit(&entry, tier);
                    Served::Whole(out)
                }
            },
        }
    }

    /// Looks an answer up in both tiers and, where somebody else is fetching it, waits for that.
    async fn find(
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
                plans: vec![(0, plan)],
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
        if self.lease.is_some() {
            return Err(Miss {
                plans: vec![(0, plan)],
                ..Miss::default()
            });
        }
        let leader = match cache.flight(&plan.key, &tags) {
            Flight::Lead(leader) => Some(leader),
            Flight::Full => None,
            Flight::Follow(follower) => {
                let waited = Instant::now();
                let cancelled = self.registration.handle.cancelled.notified();
                let entry = tokio::select! {
                    entry = follower.wait(&tags, &plan.terms) => entry,
                    () = cancelled => {
                        report.cancelled = true;
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
            plans: vec![(0, plan)],
            leader,
            ..Miss::default()
        })
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
                    && !self.pins.contains(&super::state::Pin::SqlPrepare)
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
        self.config.upstream.lazy_begin && self.tx.status == TransactionStatus::Idle
    }

    fn end_transaction_here(&mut self) {
        self.tx = Transaction::none();
        self.portals.clear();
        self.writer = None;
    }

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
            hits: 0,
            rows: 0,
            ended: false,
        };
        match self.stage(frames, &mut staged, report).await {
            Ok(()) => {
                self.commit_staged(staged);
                report.here = true;
                Served::Whole(report.take_out())
            }
            Err(mut miss) => {
                if miss.bypass.is_none() && miss.leader.is_none() && miss.shadow.is_none() {
                    self.plan_all(frames, &mut miss, report);
                }
                Served::Miss(miss)
            }
        }
    }

    fn commit_staged(&mut self, staged: Staged) {
        for (name, statement) in staged.names {
            match statement {
                Some(statement) => self.statements.insert(&name, statement),
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
                    if !self.is_text(parse.name)
                        || (!parse.name.is_empty()
                            && self.staged_name(staged, parse.name).is_some())
                    {
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
                    let Some(statement) = self.staged_name(staged, bind.statement) else {
                        return Err(forward());
                    };
                    // A named portal of a transaction is there for later units as well, and one
                    // that is not executed now is there for nothing else.
                    if (!bind.portal.is_empty() && staged.status != TransactionStatus::Idle)
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
                            let Some(statement) = self.staged_name(staged, describe.name) else {
                                return Err(forward());
                            };
                            let Some(description) = self.description(&statement) else {
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
                    if execute.max_rows != 0 {
                        return Err(Miss::bypass(Bypass::RowLimit));
                    }
                    let described = at > 0 && describes_portal(&frames[at - 1], execute.portal);
                    report.executes_looked_at = executes + 1;
                    self.stage_execute(
                        &portal,
                        described,
                        staged,
                        report,
                        executes == 0 && single_execute(frames),
                    )
                    .await?;
                    // It has given all its rows.
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
                            if self.portals.contains_key(close.name) {
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
        report.rows += staged.rows;
        report.put_out(std::mem::take(&mut staged.out));
        Ok(())
    }

    async fn stage_execute(
        &mut self,
        portal: &Portal,
        described: bool,
        staged: &mut Staged,
        report: &mut UnitReport,
        may_lead: bool,
    ) -> Result<(), Miss> {
        let statement = &portal.statement;
        if let Some(kind) = statement.analysis.kind()
            && self.stage_control(kind, &statement.sql, staged)
        {
            return Ok(());
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
        if !described && !self.has_columns_of_old(statement, &plan) {
            return Err(Miss::bypass(Bypass::CatalogStale));
        }
        let (entry, tier) = if may_lead {
            self.find(plan, described, report).await?
        } else {
            let entry = self.find_now(&plan, described).ok_or_else(Miss::default)?;
            (entry, Tier::Memory)
        };
        if described && let Some(description) = &entry.answer.row_description {
            staged.out.extend_from_slice(description);
        }
        staged.out.extend_from_slice(&entry.answer.body);
        staged.hits += 1;
        report.hit(&entry, tier);
        Ok(())
    }

    /// Whether the answer has the columns that the client was told of when it prepared the statement. What is
    /// not certain the server decides: it refuses a statement whose columns have changed.
    fn has_columns_of_old(&self, statement: &Statement, plan: &ReadPlan) -> bool {
        let then = &statement.reading;
        let same_scope = then.scope == self.scope.digest;
        if then.catalogue == 0 {
            // The one turn since was the loading of the first picture.
            let turns = self.database.authority.catalogue_epoch() - then.epoch;
            return same_scope && turns == 1;
        }
        if then.catalogue == plan.options.catalogue && same_scope {
            return true;
        }
        let key = JudgementKey {
            shape: statement.analysis.shape,
            statement_index: 0,
            catalog: CatalogVersion(then.catalogue),
            scope: then.scope,
        };
        let known = self.database.judgements.get(&key);
        let columns = |judgement: &Judgement| judgement.read.as_ref().ok().map(|read| read.columns);
        known.is_some_and(|known| columns(&known) == Some(plan.columns))
    }

    /// The memory tier alone: for units of several Executes, of which all must hit.
    fn find_now(&self, plan: &ReadPlan, needs_description: bool) -> Option<Arc<Entry>> {
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
                if self.config.upstream.lazy_begin
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

    fn answerable_kind(&self, statement: &Statement) -> bool {
        is_control(statement) && statement.parameter_types.is_empty()
    }

    fn staged_name(&self, staged: &Staged, name: &[u8]) -> Option<Arc<Statement>> {
        match staged.names.iter().rev().find(|(staged, _)| staged == name) {
            Some((_, statement)) => statement.clone(),
            None => self.statements.get(name).cloned(),
        }
    }

    /// The server would take a Parse of this statement: it has taken it from a session with
    /// the same settings, and the catalogue has not been seen to change since. Needs no
    /// guard: at worst the error comes with Bind in place of Parse.
    fn is_known_good(&self, statement: &Statement) -> bool {
        if !self.may_use_descriptions() {
            return false;
        }
        let key = DescriptionKey {
            context: self.context.clone(),
            statement: statement.id,
        };
        let known = self.database.known_good.get(&key);
        let catalog = self.database.authority.catalog();
        known.is_some_and(|known| catalog.is_none_or(|catalog| catalog.version == known))
    }

    /// What the server said of this statement, if the catalogue is still the same.
    pub(super) fn description(
        &self,
        statement: &Arc<Statement>,
    ) -> Option<Arc<super::shared::Description>> {
        if self.config.cache.mode != CacheMode::On || !self.may_use_descriptions() {
            return None;
        }
        let catalog = self.database.authority.catalog()?;
        self.database.authority.may_serve(Moment::now()).ok()?;
        let key = DescriptionKey {
            context: self.context.clone(),
            statement: statement.id,
        };
        self.database
            .descriptions
            .get(&key)
            .filter(|description| description.catalog == catalog.version)
    }

    /// Nothing on the session may change what a name means.
    pub(super) fn may_use_descriptions(&self) -> bool {
        self.effects.is_empty()
            && !self.tx.wrote
            && !self.tx.local_settings
            && self.tx.status != TransactionStatus::Failed
            && self.pins.iter().all(|pin| {
                !matches!(
                    pin,
                    super::state::Pin::TemporaryObjects
                        | super::state::Pin::Setting
                        | super::state::Pin::SessionAuthorization
                        | super::state::Pin::Load
                )
            })
    }

    /// Plans fills for every read of a unit that goes upstream whole, if all of
    /// it is reads or the beginning of a transaction.
    fn plan_all(&mut self, frames: &[Frame], miss: &mut Miss, report: &mut UnitReport) {
        let already: Option<usize> = miss.plans.first().map(|(place, _)| *place);
        let mut names: Vec<(Bytes, Option<Arc<Statement>>)> = Vec::new();
        let mut portals: Vec<(Bytes, Portal)> = Vec::new();
        let mut plans = Vec::new();
        let mut place = 0;
        for frame in frames {
            match frame.tag() {
                tag::PARSE => {
                    let Ok(parse) = frontend::Parse::read(frame.body()) else {
                        return;
                    };
                    let statement = self.intern(parse.sql, &parse.parameter_types);
                    names.push((Bytes::copy_from_slice(parse.name), Some(statement)));
                }
                tag::BIND => {
                    let Ok(bind) = frontend::Bind::read(frame.body()) else {
                        return;
                    };
                    let statement =
                        match names.iter().rev().find(|(name, _)| name == bind.statement) {
                            Some((_, statement)) => statement.clone(),
                            None => self.statements.get(bind.statement).cloned(),
                        };
                    let Some(statement) = statement else { return };
                    portals.push((
                        Bytes::copy_from_slice(bind.portal),
                        Portal {
                            statement,
                            frame: frame.clone(),
                        },
                    ));
                }
                tag::EXECUTE => {
                    let Ok(execute) = frontend::Execute::read(frame.body()) else {
                        return;
                    };
                    let portal = portals
                        .iter()
                        .rev()
                        .find(|(name, _)| name == execute.portal);
                    let Some((_, portal)) = portal else { return };
                    if execute.max_rows != 0 {
                        return;
                    }
                    let analysis = &portal.statement.analysis;
                    let control = matches!(
                        analysis.kind(),
                        Some(Kind::Begin {
                            isolation: None
                                | Some(Isolation::ReadCommitted | Isolation::ReadUncommitted),
                            ..
                        })
                    );
                    if !control {
                        let Ok(bind) = frontend::Bind::read(portal.frame.body()) else {
                            return;
                        };
                        let meaning = self.meaning(analysis);
                        let look = if place < report.executes_looked_at {
                            Look::Again
                        } else {
                            Look::First
                        };
                        match self.read_plan(
                            analysis,
                            &meaning,
                            &portal.statement.parameter_types,
                            Some(&bind),
                            look,
                        ) {
                            Ok(plan) => plans.push((place, plan)),
                            Err(_) => return,
                        }
                    }
                    place += 1;
                }
                _ => {}
            }
        }
        if already.is_none() {
            report.planned |= !plans.is_empty();
            miss.plans = plans;
        }
    }

    /// What the meaning of a forwarded statement says for the rest of the transaction.
    pub(super) fn note_meaning(&mut self, meaning: &Meaning) {
        if !meaning.footprint.is_nothing() {
            self.tx.wrote = true;
        }
        self.tx.locked |= meaning.locks;
    }
}

/// What is answered here without a look at the cache, if at all.
fn is_control(statement: &Statement) -> bool {
    matches!(
        statement.analysis.kind(),
        Some(Kind::Begin { .. } | Kind::Commit { .. } | Kind::Rollback { .. } | Kind::Empty)
    )
}

/// The command tag of a statement that begins a transaction.
fn begin_tag(sql: &[u8]) -> &'static str {
    match std::str::from_utf8(sql) {
        Ok(text) if sql::is_start_transaction(text) => "START TRANSACTION",
        _ => "BEGIN",
    }
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
