//! Custom settings (`app.tenant`) that the session has not set: NULL to `current_setting`, but the empty string for good
//! in a process where anybody has set them once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::analysis::Analysis;
use super::baseline::sees_settings;
use super::forward::Work;
use super::state::quote_literal;
use super::upkeep::{CONTROL_TIMEOUT, uncancelled};
use super::{Database, Session};
use crate::catalog::{CodeSettings, SettingNames};
use crate::sql::{Facts, Kind, is_custom_name};
use crate::upstream::{Lease, Settings, UpstreamError, restore_sql};
use crate::wire::TransactionStatus;

/// The custom settings that a unit may read, or what follows it on the same connection, and that have no value of the
/// session's.
#[derive(Debug, Default)]
pub(super) struct Unset {
    /// The session has never named them: nor may the process have heard of them.
    unheard: BTreeSet<String>,
    /// The session had them for a transaction: from then on they are there.
    heard: BTreeSet<String>,
}

impl Unset {
    pub fn wants_unheard(&self) -> bool {
        !self.unheard.is_empty()
    }
}

impl Session {
    /// Nothing where the session would rather keep its connection.
    pub(super) fn unset_names(&self, work: &Work<'_>) -> Unset {
        if self.preference.is_some() {
            return Unset::default();
        }
        let code = self.database.code_settings();
        let mut reads = Reads {
            by_code: self.database.read_by_code(&code),
            code,
            stays: self.tx.status != TransactionStatus::Idle
                || self.tx.unsent_begin.is_some()
                || !self.pins.is_empty(),
            set: BTreeSet::new(),
            names: BTreeSet::new(),
        };
        if matches!(work, Work::FunctionCall(_)) {
            reads.all_code();
        }
        self.any_statement(work, |analysis| {
            reads.note(self, analysis);
            false
        });
        let mut names = reads.names;
        names.retain(|name| {
            self.custom_setting(name).is_none() && !self.own_past.empty_anyway.contains(name)
        });
        let is_heard = |name: &String| self.own_past.heard.contains(name);
        let (heard, unheard) = names.into_iter().partition(is_heard);
        Unset { unheard, heard }
    }

    /// Has the process hear of what the session has named. Whether it has heard of what the session has not; where it has
    /// served nobody before, that is noted as how all of them begin.
    pub(super) async fn is_spoilt(
        &mut self,
        lease: &mut Lease,
        unset: &Unset,
    ) -> Result<bool, UpstreamError> {
        let deadline = Instant::now() + CONTROL_TIMEOUT;
        if !unset.heard.is_empty() {
            lease.has_heard = true;
            uncancelled(lease, &reset_to_default_sql(&unset.heard), deadline).await?;
        }
        if unset.unheard.is_empty() {
            return Ok(false);
        }
        let sql = lease.in_utf8(&heard_sql(&unset.unheard), 1);
        let rows = uncancelled(lease, &sql, deadline).await?;
        let heard = lease.from_utf8(rows)?.into_iter().flatten().flatten();
        if lease.is_first() {
            self.own_past.empty_anyway.extend(heard);
            return Ok(false);
        }
        let is_spoilt = heard.count() > 0;
        lease.has_heard |= is_spoilt;
        Ok(is_spoilt)
    }
}

/// What the statements of a unit read, in their order.
struct Reads {
    code: Arc<CodeSettings>,
    /// What code of the database reads.
    by_code: BTreeSet<String>,
    /// The connection is kept beyond the unit.
    stays: bool,
    /// The unit has set them by then.
    set: BTreeSet<String>,
    names: BTreeSet<String>,
}

impl Reads {
    fn note(&mut self, session: &Session, analysis: &Analysis) {
        for facts in analysis.statements.iter() {
            self.note_statement(facts, analysis);
        }
        if self.by_code.is_empty() || !(self.stays || analysis.statements.iter().any(sees_settings))
        {
            return;
        }
        let judgement = session.meaning(analysis).single;
        match judgement.as_ref().map(|judgement| judgement.read.as_ref()) {
            Some(Ok(read)) if !self.stays => {
                read.custom_settings
                    .iter()
                    .for_each(|name| self.reads(name));
            }
            _ => self.all_code(),
        }
    }

    fn note_statement(&mut self, facts: &Facts, analysis: &Analysis) {
        match &facts.kind {
            Kind::Show { name } if is_custom_name(name) => self.reads(name),
            Kind::Do | Kind::Unknown | Kind::Ddl | Kind::TemporaryDdl => {
                let mut names = SettingNames::default();
                names.add(&String::from_utf8_lossy(&analysis.key_text));
                names.read.iter().for_each(|name| self.reads(name));
                if facts.kind == Kind::Do {
                    names.local.iter().for_each(|name| self.sets(name));
                }
            }
            Kind::Set { name, .. } | Kind::Reset { name: Some(name) } => self.sets(name),
            Kind::Begin { .. } => self.stays = true,
            _ => {}
        }
        // Where nothing else is asked for, nothing is read before it is set.
        if let (Kind::Select, [function]) = (&facts.kind, facts.functions.as_slice())
            && facts.relations.is_empty()
            && let Some(set) = self.code.set_by(&function.name.name)
        {
            self.set.extend(set.iter().cloned());
        }
        for function in &facts.functions {
            let name = || function.first_text().map(str::to_ascii_lowercase);
            match function.name.name.as_str() {
                "current_setting" => name()
                    .filter(|name| is_custom_name(name))
                    .iter()
                    .for_each(|name| self.reads(name)),
                "set_config" => name().iter().for_each(|name| self.sets(name)),
                _ => {}
            }
        }
    }

    fn sets(&mut self, name: &str) {
        self.set.insert(name.to_owned());
    }

    fn reads(&mut self, name: &str) {
        if !self.set.contains(name) {
            self.names.insert(name.to_owned());
        }
    }

    fn all_code(&mut self) {
        let unset = self.by_code.difference(&self.set);
        self.names.extend(unset.cloned());
    }
}

/// So many names that only texts of definitions have told are kept.
const DEFINED_MAX: usize = 1000;

/// What the code of a database has to do with, as was last known: definitions that change are read again only when they have.
#[derive(Debug, Default)]
pub(super) struct LastKnown {
    code: Arc<CodeSettings>,
    /// Read by what definitions since have named.
    defined: BTreeSet<String>,
}

impl Database {
    /// By the newest picture that there was.
    pub(super) fn code_settings(&self) -> Arc<CodeSettings> {
        match self.authority.catalog() {
            None => Arc::clone(&self.last_known.read().code),
            Some(catalog) => {
                let code = catalog.settings();
                if !Arc::ptr_eq(&self.last_known.read().code, code) {
                    self.last_known.write().code = Arc::clone(code);
                }
                Arc::clone(code)
            }
        }
    }

    /// What code reads, also such as was defined a moment ago.
    fn read_by_code(&self, code: &CodeSettings) -> BTreeSet<String> {
        let known = self.last_known.read();
        known.defined.union(&code.names.read).cloned().collect()
    }

    /// A text that is on its way may define code that reads these.
    pub(super) fn note_read(&self, names: BTreeSet<String>) {
        if names.is_empty() {
            return;
        }
        let mut known = self.last_known.write();
        if known.defined.len() + names.len() > DEFINED_MAX {
            known.defined.clear();
        }
        known.defined.extend(names);
    }
}

/// Names those of these settings that are empty, though not by a default of the role or the database.
fn heard_sql(names: &BTreeSet<String>) -> String {
    let of_name = |name: &String| {
        let literal = quote_literal(name);
        format!(
            "SELECT {literal} WHERE pg_catalog.current_setting({literal}, true) OPERATOR(pg_catalog.=) '' \
               AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_db_role_setting, pg_catalog.unnest(setconfig) one \
                   WHERE pg_catalog.lower(pg_catalog.split_part(one, '=', 1) COLLATE pg_catalog.\"C\") OPERATOR(pg_catalog.=) {literal} \
                     AND (setdatabase OPERATOR(pg_catalog.=) 0::pg_catalog.oid \
                       OR setdatabase OPERATOR(pg_catalog.=) (SELECT oid FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database())) \
                     AND (setrole OPERATOR(pg_catalog.=) 0::pg_catalog.oid \
                       OR setrole OPERATOR(pg_catalog.=) (SELECT usesysid FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()))))"
        )
    };
    let each: Vec<String> = names.iter().map(of_name).collect();
    each.join(" UNION ALL ")
}

/// They are at their defaults, and are there from then on.
fn reset_to_default_sql(names: &BTreeSet<String>) -> String {
    let set = names.iter().fold(Settings::none(), |set, name| {
        set.with(name, "").unwrap_or(set)
    });
    restore_sql(&set, &Settings::none()).unwrap_or_default()
}
