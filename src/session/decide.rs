//! What a statement means for this session at this moment, and whether its
//! answer may come from the cache.

use std::sync::Arc;

use smallvec::SmallVec;

use super::Session;
use super::analysis::Analysis;
use super::rules::Look;
use super::shared::JudgementKey;
use super::state::Pin;
use super::statements::Statement;
use super::verify::Check;
use crate::cache::{Key, KeyBuilder, Moment, Picture, StoreOptions, Terms};
use crate::catalog::{
    Dependency, Effects, Footprint, Given, Judgement, KEYS_MAX, NameScope, Order, OwnTable,
    ReadFacts, Returned, is_time_oid, is_unsafe_type_oid, keeps_process_state,
};
use crate::config::{CacheMode, CacheRule, Level};
use crate::sql::{self, Bypass, Facts, Kind};
use crate::wire::frontend::Bind;

/// What one string of SQL may do, in the catalogue as it stands.
pub struct Meaning {
    /// Older than the catalogue that was asked.
    pub picture: Picture,
    /// The version of the catalogue that was asked.
    pub catalogue: u64,
    pub footprint: Footprint,
    pub effects: Effects,
    /// [`Judgement::makes`] of its statements.
    pub makes: Vec<OwnTable>,
    /// It may load a library into the process that runs it.
    pub loads: bool,
    /// It takes locks that later reads rely on.
    pub locks: bool,
    /// It may end a transaction, or commit on its own.
    pub may_commit_inside: bool,
    /// What the rows that it returns tell of those of its footprint, where that is more than is known.
    pub returned: Option<Returned>,
    /// The judgement, where the string is one statement.
    pub single: Option<Arc<Judgement>>,
}

/// A read that may be answered from the cache.
pub struct ReadPlan {
    pub key: Key,
    pub order: Order,
    pub picture: Picture,
    pub options: StoreOptions,
    pub terms: Terms,
    /// [`ReadFacts::columns`].
    pub columns: u64,
    judgement: Arc<Judgement>,
    /// Empty: on all of its relations as a whole. See [`Session::confine`].
    pub dependencies: SmallVec<[Dependency; 4]>,
    /// Execute's row limit; 0 is none.
    pub max_rows: u32,
}

impl ReadPlan {
    /// How a hit of it can be checked.
    pub(super) fn check(&self) -> Check {
        Check {
            order: self.order,
            terms: self.terms,
        }
    }
}

impl Session {
    /// What `analysis` may do.
    pub(super) fn meaning(&self, analysis: &Analysis) -> Meaning {
        let picture = self.database.tags.picture();
        let catalog = self.database.authority.catalog();
        let mut meaning = Meaning {
            picture,
            catalogue: catalog.as_ref().map_or(0, |catalog| catalog.version.0),
            footprint: Footprint::nothing(),
            effects: Effects::NONE,
            makes: Vec::new(),
            loads: false,
            locks: false,
            may_commit_inside: analysis.may_commit_inside(),
            returned: None,
            single: None,
        };
        let anywhere = self.path_is_uncertain(analysis).then(|| NameScope {
            anywhere: true,
            ..self.scope.names.clone()
        });
        let names = anywhere.as_ref().unwrap_or(&self.scope.names);
        for (statement_index, facts) in analysis.statements.iter().enumerate() {
            let judgement = match &catalog {
                None => Arc::new(judge_blindly(facts)),
                Some(catalog) if facts.literal_dependent || !analysis.understood => {
                    Arc::new(catalog.judge(facts, names))
                }
                Some(catalog) => {
                    let key = JudgementKey {
                        shape: analysis.shape,
                        statement_index,
                        catalog: catalog.version,
                        scope: self.scope.digest ^ u64::from(anywhere.is_some()),
                    };
                    self.database
                        .judgements
                        .get_with(key, || Arc::new(catalog.judge(facts, names)))
                }
            };
            if !self.is_followed(&facts.kind) {
                meaning.footprint.merge(&judgement.footprint);
            }
            meaning.effects = meaning.effects.union(judgement.effects);
            meaning.makes.extend(judgement.makes.clone());
            meaning.loads |= judgement.loads && !runs_no_code(facts);
            meaning.locks |= facts.locks || takes_advisory_lock(facts);
            if facts.kind == Kind::Fetch {
                self.add_portals(&mut meaning);
            }
            if analysis.statements.len() == 1 {
                meaning.single = Some(judgement);
            }
        }
        // A temporary view of the same string may have the name of what is written to or read, and lead anywhere.
        let made_temporary =
            analysis.statements.len() > 1 && meaning.effects.contains(Effects::TEMPORARY);
        // Its names may have been looked up in the wrong path.
        let in_doubt = self.has_old_defaults() && !meaning.footprint.is_nothing();
        if made_temporary || in_doubt {
            meaning.footprint.merge(&Footprint::everything());
        }
        meaning
    }

    /// It commits what is marked until the server says that it has ended.
    fn is_followed(&self, kind: &Kind) -> bool {
        matches!(kind, Kind::CommitPrepared { gid } if self.database.authority.follows_prepared(gid))
    }

    /// What was sent before in the same transaction, or in the same string, may have changed the path or the role.
    fn path_is_uncertain(&self, analysis: &Analysis) -> bool {
        self.tx.local_settings
            || self.effects.intersects(Effects::SETTINGS)
            || analysis.statements.len() > 1
            || self.pins.contains(&Pin::SessionAuthorization)
    }

    /// FETCH and MOVE run what is bound to the portal that they name, if it has not run yet.
    fn add_portals(&self, meaning: &mut Meaning) {
        // SQL has no word for the unnamed one.
        for (_, bound) in self.portals.iter().filter(|(name, _)| !name.is_empty()) {
            let analysis = bound.as_ref().map(|bound| &bound.statement.analysis);
            match analysis {
                None => {
                    meaning.footprint.merge(&Footprint::catalogue());
                    meaning.effects = Effects::ALL;
                    meaning.locks = true;
                    meaning.may_commit_inside = true;
                }
                // What it would run is among the others.
                Some(analysis) if analysis.kind() == Some(&Kind::Fetch) => {}
                Some(analysis) => {
                    let bound = self.meaning(analysis);
                    meaning.footprint.merge(&bound.footprint);
                    meaning.effects = meaning.effects.union(bound.effects);
                    meaning.locks |= bound.locks;
                    meaning.may_commit_inside |= bound.may_commit_inside;
                }
            }
        }
    }

    /// Whether the answer to `analysis` with the bound values of `bind` may come from the cache,
    /// and under which key.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn read_plan(
        &self,
        analysis: &Analysis,
        meaning: &Meaning,
        parameter_types: &[u32],
        bind: Option<&Bind<'_>>,
        look: Look,
    ) -> Result<ReadPlan, Bypass> {
        if self.config.cache.mode == CacheMode::Off {
            return Err(Bypass::CacheOff);
        }
        let Some(facts) = analysis.single() else {
            return Err(if analysis.understood {
                Bypass::MultiStatement
            } else {
                Bypass::Unparsed
            });
        };
        if facts.kind != Kind::Select {
            return Err(Bypass::NotSelect);
        }
        let judgement = meaning.single.clone().ok_or(Bypass::CatalogStale)?;
        let read = judgement.read.as_ref().map_err(|reason| *reason)?;
        self.session_bypass()?;
        if read
            .custom_settings
            .iter()
            .any(|name| self.custom_setting(name).is_none())
        {
            // NULL, empty or a default: by what the session has named before, which is in no key.
            return Err(Bypass::CustomSetting);
        }
        if analysis.hints.no_cache {
            return Err(Bypass::Hint);
        }
        if analysis.clock_literal {
            return Err(Bypass::ClockValue);
        }
        if let Some(bind) = bind
            && bind
                .parameters
                .iter()
                .flatten()
                .any(|value| sql::clock_text(value))
        {
            return Err(Bypass::ClockValue);
        }
        let zones = facts.functions.iter().any(|f| f.name.name == "timezone");
        if parameter_types
            .iter()
            .any(|&oid| is_unsafe_type_oid(oid) || zones && is_time_oid(oid))
        {
            return Err(Bypass::UnsafeType);
        }
        if self.shared.verifier.off.holds(analysis.shape) {
            return Err(Bypass::Mismatch);
        }
        let rule = self.rule(read, analysis, look);
        if rule.is_some_and(|rule| rule.cache == Some(false)) {
            return Err(Bypass::Rule);
        }
        let level = analysis
            .hints
            .level
            .or_else(|| rule.and_then(|rule| rule.level))
            .unwrap_or(self.config.cache.level);
        if level == Level::Strict {
            self.database.authority.may_serve(Moment::now())?;
        }
        let ttl = analysis
            .hints
            .ttl
            .or_else(|| rule.and_then(|rule| rule.ttl))
            .unwrap_or(self.config.cache.ttl);
        let catalogue = meaning.catalogue;
        let options = StoreOptions {
            read_at: Moment::now(),
            ttl,
            level,
            catalogue,
            database: self.database.name.clone(),
            relations: SmallVec::from_slice(&read.dependencies),
            shape: analysis.shape,
            labels: labels(analysis, rule),
        };
        let key = self.key(analysis, read, parameter_types, bind);
        Ok(ReadPlan {
            max_rows: 0,
            columns: read.columns,
            judgement: Arc::clone(&judgement),
            dependencies: SmallVec::new(),
            key,
            picture: meaning.picture,
            order: read.order,
            options,
            terms: Terms {
                level,
                ttl,
                catalogue,
            },
        })
    }

    /// Confines what a read that goes to the server depends on to the rows that its values tell.
    pub(super) fn confine(
        &self,
        plan: &mut ReadPlan,
        analysis: &Analysis,
        bound: Option<(&Statement, &Bind<'_>)>,
    ) {
        if let Ok(read) = &plan.judgement.read
            && !read.keys.is_empty()
            && let Some(given) = self.given(analysis, plan.terms.catalogue, &plan.judgement, bound)
        {
            plan.dependencies = read.keys.dependencies(&read.dependencies, &given);
        }
    }

    /// Narrows what a change touches to the rows that its values tell.
    pub(super) fn narrow(
        &self,
        meaning: &mut Meaning,
        analysis: &Analysis,
        bound: Option<(&Statement, &Bind<'_>)>,
    ) {
        if let Some(judgement) = &meaning.single
            && let Some(narrow) = &judgement.narrow
            && let Some(given) = self.given(analysis, meaning.catalogue, judgement, bound)
        {
            let regions = narrow.regions(&given);
            meaning.returned = narrow
                .returned
                .as_ref()
                .filter(|_| regions.len() <= KEYS_MAX)
                .and_then(|returned| returned.unknown_in(&regions));
            meaning.footprint.narrow(narrow.relation, regions);
        }
    }

    /// The values of a statement, if the session reads constants as we do.
    fn given<'a>(
        &self,
        analysis: &'a Analysis,
        catalogue: u64,
        judgement: &Judgement,
        bound: Option<(&'a Statement, &'a Bind<'_>)>,
    ) -> Option<Given<'a>> {
        if !analysis.understood || !self.standard_strings() {
            return None;
        }
        let (statement, bind) = bound.unzip();
        Some(Given {
            literals: sql::Literals::of(std::str::from_utf8(&analysis.key_text).ok()?),
            parameter_types: statement.map_or(&[], |statement| &statement.parameter_types),
            inferred_now: statement
                .is_some_and(|statement| self.has_types_of_old(statement, catalogue, judgement)),
            parameters: bind.map_or(&[], |bind| &bind.parameters),
            formats: bind.map_or(&[], |bind| &bind.parameter_formats),
            utf8: self.is_utf8(),
        })
    }

    /// The same read, of `max_rows` rows at most; a plan has one limit for good.
    pub(super) fn limited(&self, mut plan: ReadPlan, max_rows: u32) -> ReadPlan {
        if plan.max_rows != max_rows {
            let limit = [b"r", &max_rows.to_be_bytes()[..]].concat();
            plan.key = plan.key.with_field(&limit, self.shared.cache.secret());
            plan.max_rows = max_rows;
            if plan.order != Order::Total {
                // Which rows come first is not determined.
                plan.order = Order::Undetermined;
            }
        }
        plan
    }

    /// What in the session itself forbids the cache.
    fn session_bypass(&self) -> Result<(), Bypass> {
        if self.has_old_defaults() {
            return Err(Bypass::SettingsUnknown);
        }
        if let Some(reason) = self.tx.bypass(self.default_isolation()) {
            return Err(reason);
        }
        for pin in &self.pins {
            match pin {
                Pin::AdvisoryLocks => return Err(Bypass::InTransactionAfterLock),
                Pin::TemporaryObjects => return Err(Bypass::TemporaryRelation),
                // What was notified before its connection answers comes before the answer.
                Pin::SessionAuthorization | Pin::Load | Pin::Listen => return Err(Bypass::Pinned),
                // Whatever reads a custom setting that is not known is told apart by its name.
                Pin::Setting
                | Pin::HoldCursor
                | Pin::SqlPrepare
                | Pin::Sequence
                | Pin::OwnProcess
                | Pin::ConnectionStart
                | Pin::SessionPooling
                | Pin::Replication => {}
            }
        }
        if !self.effects.is_empty() {
            return Err(Bypass::SettingsUnknown);
        }
        if matches!(
            self.settings.get("pgditto.cache"),
            Some("off" | "false" | "0" | "no")
        ) {
            return Err(Bypass::Session);
        }
        if !self.standard_strings() {
            return Err(Bypass::StandardStrings);
        }
        if !self.is_utf8() {
            return Err(Bypass::Encoding);
        }
        Ok(())
    }

    /// The value that a custom setting has at present.
    pub(super) fn custom_setting(&self, name: &str) -> Option<&str> {
        self.tx.custom(name).or_else(|| self.settings.get(name))
    }

    fn key(
        &self,
        analysis: &Analysis,
        read: &ReadFacts,
        parameter_types: &[u32],
        bind: Option<&Bind<'_>>,
    ) -> Key {
        let mut key = KeyBuilder::new(&self.database.name);
        key.field(&self.context);
        key.field(&analysis.key_text);
        for name in &read.custom_settings {
            key.field(name.as_bytes());
            key.field(match self.custom_setting(name) {
                Some(value) => value.as_bytes(),
                None => b"\0unset",
            });
        }
        let mut shape: SmallVec<[u8; 64]> = SmallVec::new();
        for oid in parameter_types {
            shape.extend_from_slice(&oid.to_be_bytes());
        }
        key.field(&shape);
        shape.clear();
        if let Some(bind) = bind {
            for format in &bind.parameter_formats {
                shape.extend_from_slice(&format.to_be_bytes());
            }
            key.field(&shape);
            shape.clear();
            // Text for all columns is what a Query gets, too. Several formats must be as many as there are columns.
            if !matches!(bind.result_formats.as_slice(), [] | [0]) {
                for format in &bind.result_formats {
                    shape.extend_from_slice(&format.to_be_bytes());
                }
            }
            key.field(&shape);
            for parameter in &bind.parameters {
                match parameter {
                    None => key.field(b"n"),
                    Some(value) => key.field(b"v").field(value),
                };
            }
        } else {
            key.field(b"").field(b"");
        }
        key.finish(self.shared.cache.secret())
    }
}

fn labels(analysis: &Analysis, rule: Option<&CacheRule>) -> SmallVec<[Box<str>; 1]> {
    let of_rule = rule.into_iter().flat_map(|rule| &rule.tags);
    analysis
        .hints
        .tags
        .iter()
        .chain(of_rule)
        .map(|label| label.as_str().into())
        .collect()
}

fn takes_advisory_lock(facts: &Facts) -> bool {
    facts.functions.iter().any(|function| {
        function.name.name.starts_with("pg_advisory")
            || function.name.name.starts_with("pg_try_advisory")
    })
}

/// It reads what `nextval` left behind in this session.
pub(super) fn reads_sequence_state(facts: &Facts) -> bool {
    facts
        .functions
        .iter()
        .any(|function| matches!(function.name.name.as_str(), "currval" | "lastval"))
}

/// A read of constants: whatever the catalogue holds, it runs no code of users.
fn runs_no_code(facts: &Facts) -> bool {
    const TYPES: &[&str] = &[
        "bool",
        "boolean",
        "bytea",
        "date",
        "float8",
        "int",
        "int4",
        "int8",
        "integer",
        "interval",
        "json",
        "jsonb",
        "numeric",
        "text",
        "time",
        "timestamp",
        "timestamptz",
        "uuid",
        "varchar",
    ];
    facts.kind == Kind::Select
        && facts.complete
        && facts.relations.is_empty()
        && facts.functions.is_empty()
        && facts.operators.is_empty()
        && facts
            .types
            .iter()
            .all(|name| name.schema.is_none() && TYPES.contains(&name.name.as_str()))
}

/// What a statement means while there is no picture of the catalogue: what is
/// not known to touch nothing may touch everything.
fn judge_blindly(facts: &Facts) -> Judgement {
    let (footprint, effects) = match &facts.kind {
        Kind::Empty
        | Kind::Begin { .. }
        | Kind::Commit { .. }
        | Kind::Rollback { .. }
        | Kind::Savepoint
        | Kind::Release
        | Kind::RollbackTo
        | Kind::SetTransaction
        | Kind::Show { .. }
        | Kind::Notify => (Footprint::nothing(), Effects::NONE),
        Kind::Set { name, .. } if name == "seed" => (
            Footprint::nothing(),
            Effects::SETTINGS.union(Effects::PROCESS),
        ),
        Kind::Set { .. } | Kind::Reset { .. } => (Footprint::nothing(), Effects::SETTINGS),
        Kind::Listen | Kind::Unlisten => (Footprint::nothing(), Effects::LISTEN),
        Kind::CommitPrepared { .. } => (Footprint::all_catalogues(), Effects::NONE),
        Kind::Ddl | Kind::Do | Kind::Call | Kind::Unknown => {
            (Footprint::all_catalogues(), Effects::ALL)
        }
        _ => (Footprint::everything(), Effects::ALL),
    };
    let tells_backend = facts
        .functions
        .iter()
        .any(|function| function.name.name == "pg_backend_pid");
    let called = facts.functions.iter();
    let effects = called.fold(effects, |effects, function| {
        // An extension's functions too: another that is called so is kept in doubt.
        match keeps_process_state(&function.name.name) {
            true => effects.union(Effects::PROCESS),
            false => effects,
        }
    });
    Judgement {
        read: Err(Bypass::CatalogStale),
        footprint,
        narrow: None,
        makes: None,
        loads: effects.contains(Effects::ALL),
        effects: match tells_backend {
            true => effects.union(Effects::BACKEND_TOLD),
            false => effects,
        },
    }
}
