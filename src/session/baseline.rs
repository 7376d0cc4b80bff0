//! What the client asked for in its startup packet. To PostgreSQL that is what RESET goes back to; on a connection that
//! others share it is set like any other setting, so RESET goes to the server's default, and from there on.

use std::time::Instant;

use super::Session;
use super::forward::Work;
use super::state;
use super::statements::OWN;
use super::upkeep::CONTROL_TIMEOUT;
use crate::sql::{Facts, Kind, KnownArgument};
use crate::upstream::{Beginning, Lease, Settings, set_sql};
use crate::wire::tag;

/// Settings of the startup packet that the unit in flight takes back to where sessions begin.
#[derive(Debug, Default)]
pub(super) struct Resets {
    /// By name, and whether for the transaction only.
    named: Vec<(String, bool)>,
    /// Others may be among them.
    perhaps: bool,
    /// Of those the ones that would be taken back for the transaction only.
    perhaps_local: Vec<String>,
}

impl Resets {
    pub fn any(&self) -> bool {
        self.perhaps || !self.named.is_empty()
    }

    fn note(&mut self, name: &str, local: bool) {
        self.forget(name);
        self.named.push((name.to_owned(), local));
    }

    fn forget(&mut self, name: &str) {
        self.named.retain(|(known, _)| known != name);
    }

    fn contains(&self, name: &str) -> bool {
        self.named.iter().any(|(known, _)| known == name)
    }
}

/// `pg_settings` does not have them: whether they were reset, only the text tells.
fn is_unlisted(name: &str) -> bool {
    name == "role" || name.contains('.')
}

/// Whether what a statement of this kind does may depend on settings.
pub(super) fn sees_settings(facts: &Facts) -> bool {
    !matches!(
        facts.kind,
        Kind::Empty
            | Kind::Begin { .. }
            | Kind::Commit { .. }
            | Kind::Rollback { .. }
            | Kind::Set { .. }
            | Kind::Reset { .. }
            | Kind::DiscardAll
            | Kind::DiscardOther
            | Kind::Deallocate { .. }
            | Kind::CloseCursor
            | Kind::Unlisten
    )
}

impl Session {
    /// What a statement may take back, before it leaves.
    pub(super) fn note_resets(&mut self, facts: &Facts) {
        if self.baseline.is_none() {
            return;
        }
        match &facts.kind {
            Kind::Set { name, local } => match self.baseline.get(name) {
                Some(_) if facts.to_default => self.resets.note(name, *local),
                _ => self.resets.forget(name),
            },
            Kind::Reset { name: Some(name) } if self.baseline.get(name).is_some() => {
                self.resets.note(name, false);
            }
            Kind::Reset { name: None } | Kind::DiscardAll => {
                for (name, _) in self.baseline.iter() {
                    if name != "role" || facts.kind == Kind::DiscardAll {
                        self.resets.note(name, false);
                    }
                }
            }
            _ => {}
        }
        for function in &facts.functions {
            if function.name.name == "set_config" {
                // The value may be NULL.
                let name = function.first_text().map(str::to_ascii_lowercase);
                match name {
                    Some(name) if self.baseline.get(&name).is_some() => {
                        self.resets.forget(&name);
                        self.resets.perhaps = true;
                        let local = function.literal_arguments.get(2);
                        if local == Some(&Some(KnownArgument::Boolean(true))) {
                            self.resets.perhaps_local.push(name);
                        }
                    }
                    Some(_) => {}
                    None => self.resets.perhaps = true,
                }
            }
        }
    }

    /// How the connection has to begin that the unit is sent on, if it takes something back and goes on: then what comes
    /// after it sees what it should. A connection that the session has already is as it is.
    pub(super) fn wanted_beginning(&self, work: &Work<'_>) -> Option<Beginning> {
        if self.baseline.is_none() || self.lease.is_some() {
            return None;
        }
        let wanted = match work {
            Work::Query { analysis, .. } => {
                let mut statements = analysis.statements.iter();
                statements.any(|facts| self.takes_back(facts)) && statements.any(sees_settings)
            }
            Work::FunctionCall(_) => false,
            Work::Extended { frames, .. } => {
                let executes = frames
                    .iter()
                    .filter(|frame| frame.tag() == tag::frontend::EXECUTE);
                executes.count() > 1
                    && self.any_statement(work, |analysis| {
                        analysis
                            .statements
                            .iter()
                            .any(|facts| self.takes_back(facts))
                    })
                    && self.any_statement(work, |analysis| {
                        analysis.statements.iter().any(sees_settings)
                    })
            }
        };
        wanted.then(|| Beginning::with(self.baseline.iter()))
    }

    fn takes_back(&self, facts: &Facts) -> bool {
        match &facts.kind {
            Kind::Set { name, .. } => facts.to_default && self.baseline.get(name).is_some(),
            Kind::Reset { name: Some(name) } => self.baseline.get(name).is_some(),
            // A name that is shown to operators is not worth a connection.
            Kind::Reset { name: None } | Kind::DiscardAll => self
                .baseline
                .iter()
                .any(|(name, _)| name != "application_name"),
            _ => false,
        }
    }

    /// The settings that the session has, where the connection holds `found`: those that have gone back to the server's
    /// defaults are what the client asked for at login.
    pub(super) fn with_baseline(&self, found: &Settings, undone: bool) -> Settings {
        let mut wanted = found.clone();
        for (name, value) in self.baseline.iter() {
            let was_reset = || !undone && self.resets.contains(name);
            let is_gone = match found.get(name) {
                None => name != "role" || was_reset(),
                Some("") => name.contains('.') && was_reset(),
                Some(_) => false,
            };
            if is_gone {
                wanted = wanted.with(name, value).unwrap_or(wanted);
            }
        }
        wanted
    }

    /// RESET within a transaction goes back to what the client asked for at login, too.
    /// False when the server gave no answer.
    pub(super) async fn return_to_baseline(&mut self, lease: &mut Lease) -> bool {
        let deadline = Instant::now() + CONTROL_TIMEOUT;
        let sql = state::reset_sql(self.baseline.iter().map(|(name, _)| name));
        let own = OWN.as_bytes();
        let Ok(rows) = lease.beside(&sql, own, deadline.into()).await else {
            return false;
        };
        let listed = rows.iter().filter_map(|row| row.first()?.as_deref());
        let listed = listed.map(|name| {
            let is = |known: &str| known.eq_ignore_ascii_case(name);
            let known = self.resets.named.iter().find(|(known, _)| is(known));
            let perhaps = || self.resets.perhaps_local.iter().any(|known| is(known));
            (name, known.map_or_else(perhaps, |(_, local)| *local))
        });
        let unlisted = self.resets.named.iter();
        let unlisted = unlisted.map(|(name, local)| (name.as_str(), *local));
        let all = listed.chain(unlisted.filter(|(name, _)| is_unlisted(name)));
        let sql =
            set_sql(all.filter_map(|(name, local)| Some((name, self.baseline.get(name)?, local))));
        sql.is_empty() || lease.beside(&sql, own, deadline.into()).await.is_ok()
    }
}
