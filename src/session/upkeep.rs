//! What pgditto asks the server by itself, lest a session loses its own state or meets another's.

use std::time::{Duration, Instant};

use super::analysis::Analysis;
use super::decide::Meaning;
use super::forward::{Work, cancelled, statement_error};
use super::state::{self, Pin};
use super::statements::OWN;
use super::{Session, decide};
use crate::authority::Still;
use crate::catalog::{Effects, REFINT, SETTING_CODE, SettingNames, Temporaries, runs_text};
use crate::sql::{Facts, Kind, Stillness, is_custom_name, runs_text_from_elsewhere};
use crate::upstream::{Lease, UpstreamError, restore_sql};
use crate::wire::{ErrorReport, SqlState, TransactionStatus, frontend, tag};

/// How long control statements of our own may take.
pub(super) const CONTROL_TIMEOUT: Duration = Duration::from_secs(15);

/// Custom settings of former transactions that are remembered. More than these may be NULL again where they would be empty.
const HEARD_MAX: usize = 64;

/// What a unit needs before it leaves.
pub(super) struct Needs {
    /// It asks on which channels the session listens.
    channels: bool,
    stillness: Stillness,
}

impl Session {
    /// Asks the server what the connection holds, if something may have been left on it.
    /// False when the server gave no answer.
    /// `undone`: the transaction has come to nothing.
    pub(super) async fn read_back(&mut self, lease: &mut Lease, undone: bool) -> bool {
        let refused = std::mem::take(&mut self.refused);
        let effects = self.effects;
        let relevant = Effects::SETTINGS
            .union(Effects::ADVISORY_LOCKS)
            .union(Effects::LISTEN)
            .union(Effects::TEMPORARY)
            .union(Effects::TEMPORARY_TABLE)
            .union(Effects::PREPARED)
            .union(Effects::CURSORS)
            .union(Effects::LOAD);
        // A pin is looked at again whenever something ran that may have ended it.
        let pinned = self
            .pins
            .iter()
            .any(|pin| !matches!(pin, Pin::SessionPooling | Pin::ConnectionStart));
        let may_have_ended = pinned && self.ran_ddl;
        if !(effects.intersects(relevant) || may_have_ended) {
            self.effects = Effects::NONE;
            return true;
        }
        let hidden_code = std::mem::take(&mut self.hidden_code);
        if hidden_code && effects.contains(Effects::ALL) {
            lease.hides_settings_of = Some(self.registration.handle.number.into());
        }
        self.custom_lost |= effects.contains(Effects::UNNAMED_SETTINGS);
        if hidden_code && effects.contains(Effects::SETTINGS) {
            // Whatever ran may have called any of them.
            match self.database.authority.catalog() {
                Some(catalog) => self.note_names(&catalog.settings().names),
                None => match ask_setting_names(lease).await {
                    Ok(names) => self.note_names(&names),
                    Err(_) => return false,
                },
            }
        }
        if effects.contains(Effects::LOAD) && self.loads {
            self.pins.insert(Pin::Load);
        }
        self.unnamed_upstream = None;
        let deadline = Instant::now() + CONTROL_TIMEOUT;
        let mut found = match self.ask_state(lease, deadline).await {
            Ok(found) => found,
            Err(_) => return false,
        };
        // RESET goes back to what the client asked for at login, not to the server's default.
        let wanted = self.with_baseline(&found.settings, undone);
        if let Some(sql) = restore_sql(&found.settings, &wanted) {
            if uncancelled(lease, &sql, deadline).await.is_err() {
                return false;
            }
            found.settings = wanted;
        }
        if let Some(there) = &found.prepared
            && lease.prepared.retain(|id| there.contains(&id))
        {
            // Unseen code has run DEALLOCATE ALL: to the session too they are gone.
            self.statements.deallocate_all_but(|id| there.contains(&id));
        }
        // What was made before was another session's.
        self.own_past.temporary_schema |= found.pins.contains(&Pin::TemporaryObjects)
            || found.temporary_schema && !lease.has_temporary_schema;
        lease.has_heard |= !self.custom.is_empty();
        lease.has_temporary_schema = found.temporary_schema;
        self.listens_by_itself(&found.channels).await;
        self.pins = state::pins_after(&self.pins, &found.pins);
        if self.custom_lost {
            self.pins.insert(Pin::Setting);
        }
        self.tell_pins();
        self.scope.names.temporaries = match &found.temporaries {
            Temporaries::None => Temporaries::None,
            there if self.scope.names.temporaries.has_all_of(there) => {
                std::mem::take(&mut self.scope.names.temporaries)
            }
            _ => Temporaries::Any,
        };
        lease.applied = found.settings.clone();
        self.report_parameters(lease);
        let mut settings = found.settings;
        for (name, value) in refused.iter().filter(|_| undone) {
            settings = settings.with(name, value).unwrap_or(settings);
        }
        self.adopt_settings(settings);
        self.effects = Effects::NONE;
        true
    }

    pub(super) async fn ask_state(
        &self,
        lease: &mut Lease,
        deadline: Instant,
    ) -> Result<state::ReadBack, UpstreamError> {
        let prepared = self.effects.intersects(Effects::PREPARED);
        let sql = lease.in_utf8(&state::read_back_sql(&self.custom, prepared), 3);
        match uncancelled(lease, &sql, deadline).await {
            Err(error) if error.sqlstate() == SqlState::QUERY_CANCELED => {
                // The session's own statement_timeout is too short even for this.
                let own = uncancelled(lease, "SHOW statement_timeout", deadline).await?;
                let sql = format!("SET LOCAL statement_timeout = 0; {sql}");
                let rows = uncancelled(lease, &sql, deadline).await?;
                let mut found = state::read_back(&lease.from_utf8(rows)?);
                if let Some(Some(value)) = own.first().and_then(|row| row.first()) {
                    let own = found.settings.with("statement_timeout", value);
                    found.settings = own.unwrap_or(found.settings);
                }
                Ok(found)
            }
            rows => Ok(state::read_back(&lease.from_utf8(rows?)?)),
        }
    }

    /// `currval` and `lastval` must meet the state of this session, never another's.
    pub(super) async fn check_sequences(
        &mut self,
        work: &Work<'_>,
        lease: &mut Lease,
    ) -> Result<(), ErrorReport> {
        let me = u64::from(self.registration.handle.number);
        if lease.holds_state_of == Some(me) && lease.draw == self.draws
            || (lease.holds_state_of.is_none() && !self.touched_sequences)
            || self.tx.status == TransactionStatus::Failed
        {
            return Ok(());
        }
        let reads = self.any_statement(work, |analysis| {
            analysis.statements.iter().any(decide::reads_sequence_state)
                || self
                    .meaning(analysis)
                    .effects
                    .contains(Effects::SEQUENCE_READ)
        });
        let draws = || {
            self.any_statement(work, |analysis| {
                self.meaning(analysis).effects.intersects(Effects::SEQUENCE)
            })
        };
        // What cannot be seen, or not yet, may do either.
        let unseen = matches!(
            work,
            Work::FunctionCall(_) | Work::Extended { open: true, .. }
        );
        if !(reads || lease.holds_state_of.is_some() && (unseen || draws())) {
            return Ok(());
        }
        // What this transaction has drawn is still there.
        let lost = self.touched_sequences && !self.effects.intersects(Effects::SEQUENCE);
        if reads && lost {
            self.pin_sequences();
            self.touched_sequences = false;
            return Err(ErrorReport::error(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                "the sequence state of this session was lost with its upstream connection",
            )
            .with_detail("Another session used a sequence on the connection that held it.")
            .with_hint("Use RETURNING, or call nextval again; from now on this session keeps its connection."));
        }
        if lease.holds_state_of.is_none() {
            return Ok(());
        }
        // Another session's state: it must not be seen here, nor mixed with this session's.
        let deadline = Instant::now() + CONTROL_TIMEOUT;
        lease
            .beside("DISCARD SEQUENCES", OWN.as_bytes(), deadline.into())
            .await
            .map_err(|error| statement_error(error.report()))?;
        lease.holds_state_of = None;
        Ok(())
    }

    pub(super) fn pin_sequences(&mut self) {
        self.pins.insert(Pin::Sequence);
        self.tell_pins();
    }

    /// A session that defines what relies on the state of one server process keeps its own: until the catalogue
    /// has been read again, nothing else tells that it uses what it has defined.
    fn pin_what_is_defined(&mut self, analysis: &Analysis) {
        let text = analysis.key_text.to_ascii_lowercase();
        let names = |word: &str| memchr::memmem::find(&text, word.as_bytes()).is_some();
        if names("currval") || names("lastval") {
            self.pins.insert(Pin::Sequence);
        }
        if REFINT.iter().any(|symbol| names(symbol)) {
            self.keep_process();
        }
    }

    /// What the statements of a unit need before they leave.
    pub(super) fn needs(&self, work: &Work<'_>) -> Needs {
        let mut needs = Needs {
            channels: false,
            stillness: Stillness::NotNeeded,
        };
        self.any_statement(work, |analysis| {
            needs.channels |= self.asks_for_channels(analysis);
            for facts in analysis.statements.iter() {
                needs.stillness = needs.stillness.max(facts.stillness);
            }
            false
        });
        needs
    }

    /// Lets our own readings of the database end that the unit would notice, and keeps new ones from beginning as
    /// long as the answer is kept.
    pub(super) async fn keep_still(
        &self,
        needs: &Needs,
    ) -> (Option<Still>, Result<(), ErrorReport>) {
        if needs.stillness == Stillness::NotNeeded {
            return (None, Ok(()));
        }
        tokio::select! {
            still = self.database.authority.still() => {
                let still = (needs.stillness == Stillness::During).then_some(still);
                (still, Ok(()))
            }
            () = self.registration.handle.cancelled.notified() => (None, Err(cancelled())),
        }
    }

    /// `pg_listening_channels` must see what the session listens to on the shared connection.
    pub(super) async fn check_channels(
        &mut self,
        needs: &Needs,
        lease: &mut Lease,
    ) -> Result<(), ErrorReport> {
        if !needs.channels {
            return Ok(());
        }
        if self.tx.status != TransactionStatus::Idle && self.tx.unsent_begin.is_none() {
            return Err(ErrorReport::error(
                SqlState::FEATURE_NOT_SUPPORTED,
                "pg_listening_channels is not known inside a transaction that has reached the server",
            )
            .with_hint("Ask before the transaction, or as its first statement."));
        }
        let deadline = Instant::now() + CONTROL_TIMEOUT;
        self.listen_on(lease, deadline)
            .await
            .map_err(|error| statement_error(error.report()))?;
        self.effects = self.effects.union(Effects::LISTEN);
        Ok(())
    }

    /// Whether a statement that the unit parses, binds or runs is of this sort.
    pub(super) fn any_statement(
        &self,
        work: &Work<'_>,
        mut is: impl FnMut(&Analysis) -> bool,
    ) -> bool {
        match work {
            Work::Query { analysis, .. } => is(analysis),
            Work::FunctionCall(_) => false,
            Work::Extended { frames, .. } => frames.iter().any(|frame| match frame.tag() {
                tag::frontend::PARSE => frontend::Parse::read(frame.body()).is_ok_and(|parse| {
                    is(&self.intern(parse.sql, &parse.parameter_types).analysis)
                }),
                tag::frontend::BIND => frontend::Bind::read(frame.body()).is_ok_and(|bind| {
                    self.statements
                        .get(bind.statement)
                        .is_some_and(|statement| is(&statement.analysis))
                }),
                _ => false,
            }),
        }
    }

    /// What a statement leaves behind, or tells, once it has run.
    pub(super) fn note_effects(&mut self, meaning: &Meaning) {
        let effects = meaning.effects;
        self.backend_told |= effects.contains(Effects::BACKEND_TOLD);
        self.effects = self.effects.union(effects.without(Effects::BACKEND_TOLD));
        if effects.contains(Effects::TEMPORARY) {
            self.has_temporaries(Temporaries::Any);
        } else if !meaning.makes.is_empty() {
            let mut temporaries = self.scope.names.temporaries.clone();
            meaning
                .makes
                .iter()
                .for_each(|table| temporaries.add(table));
            self.has_temporaries(temporaries);
        }
    }

    pub(super) fn has_temporaries(&mut self, temporaries: Temporaries) {
        if self.scope.names.temporaries != temporaries {
            self.scope.names.temporaries = temporaries;
            self.rescope();
        }
    }

    /// What the kinds of these statements say beyond their meaning, before they leave.
    pub(super) fn note_statements(&mut self, analysis: &Analysis) {
        self.note_listening(analysis);
        self.single_control = matches!(
            analysis.kind(),
            Some(Kind::Commit { .. } | Kind::Rollback { .. } | Kind::PrepareTransaction { .. })
        );
        for facts in analysis.statements.iter() {
            if facts.kind == Kind::Unknown {
                self.tx.takes_settings_back();
            }
            if matches!(facts.kind, Kind::Do | Kind::Unknown) {
                self.note_texts(analysis);
            }
            if matches!(facts.kind, Kind::Ddl | Kind::TemporaryDdl) {
                // CREATE TABLE AS runs a query; of what is defined it does not matter what it would set.
                let mut names = SettingNames::default();
                names.add(&String::from_utf8_lossy(&analysis.key_text));
                names.unnamed = false;
                self.note_names(&names);
                self.database.note_read(names.read);
            }
            self.hidden_code |= !matches!(facts.kind, Kind::Set { .. } | Kind::Reset { .. });
            self.texts_uncertain |= self.may_read_texts_anew(facts);
            self.note_past(facts);
            self.note_resets(facts);
            self.note_freed(&facts.frees_roles);
            self.tx.changed_defaults |= facts.changes_defaults;
            if self.makes_temporary_schema(facts) {
                self.effects = self.effects.union(Effects::TEMPORARY);
            }
            match &facts.kind {
                Kind::Begin { isolation, .. } if self.tx.status == TransactionStatus::Idle => {
                    self.tx.isolation = *isolation;
                }
                Kind::SetTransaction => self.tx.loses_settings(),
                Kind::RollbackTo | Kind::Commit { .. } | Kind::Rollback { .. } => {
                    self.tx.takes_settings_back();
                }
                Kind::Set { name, local } => {
                    match analysis.local_custom().filter(|_| *local) {
                        Some(value) => self.tx.sets_custom(name.clone(), value),
                        None => self.tx.loses_settings(),
                    }
                    let name = cut_parts(name);
                    self.note_custom_name(&name);
                    if *local {
                        self.note_heard([&name]);
                    }
                }
                Kind::Reset { name } => {
                    self.tx.loses_settings();
                    // From then on it is empty where it was not there.
                    if let Some(name) = name {
                        self.note_custom_name(&cut_parts(name));
                    }
                }
                Kind::DiscardAll => self.ran_ddl = true,
                Kind::Deallocate { name: None } => self.ran_ddl = true,
                Kind::Deallocate { name: Some(name) } => self.deallocates.push(name.clone()),
                Kind::PrepareTransaction { gid } => {
                    self.tx.takes_settings_back();
                    self.prepared_gids.push(gid.clone());
                }
                Kind::CommitPrepared { .. } | Kind::RollbackPrepared => self.ends_prepared = true,
                Kind::Load => self.loads = true,
                Kind::Ddl | Kind::TemporaryDdl | Kind::Do | Kind::Unknown => {
                    self.ran_ddl = true;
                    self.pin_what_is_defined(analysis);
                }
                Kind::Call | Kind::DiscardOther => self.ran_ddl = true,
                _ => {}
            }
            if !facts.functions.is_empty() {
                let code = self.database.code_settings();
                let functions = facts.functions.iter();
                let set = functions.filter_map(|f| code.set_by(&f.name.name));
                self.note_heard(set.flatten());
            }
            if facts.functions.iter().any(|f| runs_text(&f.name.name)) {
                self.note_texts(analysis);
            }
            for function in &facts.functions {
                if function.name.name == "set_config" {
                    match function.first_text() {
                        Some(name) => {
                            if name.eq_ignore_ascii_case("seed") {
                                self.effects = self.effects.union(Effects::PROCESS);
                            }
                            self.note_custom_name(&name.to_ascii_lowercase());
                        }
                        // It may be a custom setting, which the server does not list.
                        None => self.custom_lost = true,
                    }
                }
            }
        }
    }

    /// The session has had these, if only for a transaction.
    fn note_heard<'a>(&mut self, names: impl IntoIterator<Item = &'a String>) {
        for name in names {
            if is_custom_name(name) && self.own_past.heard.len() < HEARD_MAX {
                self.own_past.heard.insert(name.clone());
            }
        }
    }

    /// What the server tells of the settings that it reads texts by comes only at the end of the unit.
    fn may_read_texts_anew(&self, facts: &Facts) -> bool {
        fn reads_by(name: &str) -> bool {
            let names = ["standard_conforming_strings", "client_encoding", "names"];
            names.iter().any(|known| name.eq_ignore_ascii_case(known))
        }
        match &facts.kind {
            Kind::Set { name, .. } | Kind::Reset { name: Some(name) } => reads_by(name),
            Kind::Reset { name: None } | Kind::DiscardAll => true,
            Kind::RollbackTo | Kind::Commit { .. } | Kind::Rollback { .. } => {
                self.tx.local_settings || self.effects.intersects(Effects::SETTINGS)
            }
            _ if !self.effects.intersects(Effects::SETTINGS) => false,
            Kind::Select => facts.functions.iter().any(|function| {
                function.name.name != "set_config" || function.first_text().is_none_or(reads_by)
            }),
            _ => true,
        }
    }

    /// Notes the settings that the code in a statement sets, and in the texts that it has run.
    fn note_texts(&mut self, analysis: &Analysis) {
        let text = String::from_utf8_lossy(&analysis.key_text);
        let mut names = SettingNames::default();
        names.add(&text);
        names.unnamed |= runs_text_from_elsewhere(&text, &runs_text);
        self.note_names(&names);
        self.note_heard(&names.local);
        self.database.note_read(names.read);
    }

    pub(super) fn note_names(&mut self, names: &SettingNames) {
        self.custom_lost |= names.unnamed;
        // What is read by code had not been heard of before, so that it can be told who was the first.
        let told = names.local.intersection(&names.read);
        for name in names.names.iter().chain(told) {
            self.note_custom_name(name);
        }
    }

    pub(super) fn note_custom_name(&mut self, name: &str) {
        // Of other letters it depends on the server whether a small one is the same.
        if name.contains('.') && !(name.is_ascii() && self.custom.insert(name)) {
            self.custom_lost = true;
        }
    }
}

/// A name of identifiers as the server cuts them.
fn cut_parts(name: &str) -> String {
    const IDENTIFIER_BYTES_MAX: usize = 63;
    let cut = |part: &str| part[..part.floor_char_boundary(IDENTIFIER_BYTES_MAX)].to_owned();
    let parts: Vec<String> = name.split('.').map(cut).collect();
    parts.join(".")
}

/// The custom settings that code of users may set, while the catalogue is not known.
async fn ask_setting_names(lease: &mut Lease) -> Result<SettingNames, UpstreamError> {
    let deadline = Instant::now() + CONTROL_TIMEOUT;
    let code = lease.in_utf8(SETTING_CODE, 1);
    let sql = format!("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '1s'; {code}");
    let mut names = SettingNames::default();
    match uncancelled(lease, &sql, deadline).await {
        Ok(rows) => lease
            .from_utf8(rows)?
            .iter()
            .flatten()
            .flatten()
            .for_each(|code| names.add(code)),
        Err(error) if error.sqlstate() == SqlState::LOCK_NOT_AVAILABLE => names.unnamed = true,
        Err(error) => return Err(error),
    }
    Ok(names)
}

/// Runs a control statement again if a cancel that was meant for the client's strikes it.
pub(super) async fn uncancelled(
    lease: &mut Lease,
    sql: &str,
    deadline: Instant,
) -> Result<Vec<Vec<Option<String>>>, UpstreamError> {
    const TRIES: usize = 20;
    for _ in 1..TRIES {
        match lease.simple(sql, deadline.into()).await {
            Err(error) if error.sqlstate() == SqlState::QUERY_CANCELED => {}
            answer => return answer,
        }
    }
    lease.simple(sql, deadline.into()).await
}
