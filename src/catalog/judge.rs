//! What a statement means to a session: one decision for each kind.

use super::Catalog;
use super::footprint::{Effects, Footprint};
use super::keys::WritePlan;
use super::names::{NameScope, OwnTable};
use super::read::ReadFacts;
use super::write::Reach;
use crate::sql::{Bypass, Facts, Kind};

/// What a statement reads, touches and leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Whether its answer may be cached, and under which relations.
    pub read: Result<ReadFacts, Bypass>,
    /// What it may touch when it runs; at the latest its commit makes that visible.
    pub footprint: Footprint,
    /// To which rows what it touches of its target may be narrowed, once its values are known.
    pub narrow: Option<WritePlan>,
    pub effects: Effects,
    /// It may load a library into the process that runs it.
    pub loads: bool,
    /// With [`Effects::TEMPORARY_TABLE`].
    pub makes: Option<OwnTable>,
}

impl Catalog {
    /// What `facts` mean for a session with these names. Pure: the same answer for the
    /// same picture, facts and scope, so that callers may keep it.
    pub fn judge(&self, facts: &Facts, scope: &NameScope) -> Judgement {
        let mut reach = self.reach(facts, scope);
        self.give_up(&mut reach);
        let Reach {
            footprint,
            effects,
            loads,
            narrow,
            ..
        } = reach;
        let mut read = self.judge_read(facts, scope);
        let leaves_nothing = effects.without(Effects::BACKEND_TOLD).is_empty();
        if read.is_ok() && !(footprint.is_nothing() && leaves_nothing) {
            // Somebody vouched for a function that does more than answer.
            read = Err(Bypass::UserFunction);
        }
        Judgement {
            read,
            footprint,
            narrow,
            effects,
            loads,
            makes: self.own_table(facts, scope),
        }
    }

    fn reach(&self, facts: &Facts, scope: &NameScope) -> Reach {
        match &facts.kind {
            Kind::Select if facts.hazard == Some(Bypass::SelectInto) => {
                let mut reach = self.reach_query(facts, scope);
                reach.add(self.outcomes.event_triggers());
                reach.footprint.merge(&Footprint::catalogue());
                reach.effects = reach.effects.union(Effects::TEMPORARY);
                reach
            }
            Kind::Select
            | Kind::Insert
            | Kind::Update
            | Kind::Delete
            | Kind::Merge
            | Kind::CopyFrom
            | Kind::CopyTo
            | Kind::Truncate
            | Kind::Explain { analyze: true } => self.reach_query(facts, scope),
            // Of text that could not be read the word ANALYZE may have been missed.
            Kind::Explain { analyze: false } if !facts.complete => self.reach_query(facts, scope),
            // Planning evaluates functions that call themselves immutable or stable.
            Kind::Explain { analyze: false } => {
                let mut reach = Reach::default();
                self.reach_code(facts, scope, &mut reach);
                reach
            }
            Kind::Declare { hold } => {
                let mut reach = self.reach_query(facts, scope);
                if *hold || !facts.complete {
                    reach.effects = reach.effects.union(Effects::CURSORS);
                }
                reach
            }
            Kind::RefreshMaterializedView => self.reach_refresh(facts, scope),
            Kind::Maintenance => self.reach_maintenance(facts, scope),
            Kind::TemporaryDdl => self.reach_temporary_ddl(facts, scope),
            Kind::Ddl if self.drops_own(facts, scope) => {
                let mut reach = Reach::default();
                reach.add(self.outcomes.event_triggers());
                reach
            }
            Kind::Ddl => self.reach_ddl(facts, scope),
            Kind::Call => self.reach_call(facts, scope),
            Kind::Execute { .. } => {
                let mut reach = Reach {
                    footprint: Footprint::everything(),
                    effects: Effects::ALL,
                    loads: true,
                    ..Reach::default()
                };
                reach.add(self.outcomes.any());
                // What that comes to has been found when it was prepared.
                reach.effects = reach.effects.without(Effects::UNNAMED_SETTINGS);
                reach
            }
            Kind::Prepare { .. } if facts.complete => {
                let mut reach = Reach::default();
                self.reach_code(facts, scope, &mut reach);
                let effects = Effects::UNNAMED_SETTINGS.intersection(reach.effects);
                Reach {
                    effects: effects.union(Effects::PREPARED),
                    ..Reach::default()
                }
            }
            Kind::Do => Reach::anything(),
            // A library's initialisation is code of any sort.
            Kind::Load => Reach {
                footprint: Footprint::everything(),
                effects: Effects::LOAD.union(Effects::SETTINGS),
                loads: true,
                ..Reach::default()
            },
            Kind::Unknown => Reach {
                footprint: Footprint::all_catalogues(),
                effects: Effects::ALL,
                loads: true,
                ..Reach::default()
            },
            // Who has prepared it has done anything; of those that are followed the marks stand.
            Kind::CommitPrepared { .. } => Reach {
                footprint: Footprint::all_catalogues(),
                ..Reach::default()
            },
            harmless => Reach {
                effects: leaves_behind(harmless),
                ..Reach::default()
            },
        }
    }

    /// CREATE TEMP TABLE … AS runs a query, and temporary objects run event triggers too.
    fn reach_temporary_ddl(&self, facts: &Facts, scope: &NameScope) -> Reach {
        // Its query may change rows, by WITH.
        let mut reach = Reach {
            narrow: None,
            ..self.reach_query(facts, scope)
        };
        reach.add(self.outcomes.event_triggers());
        reach.effects = reach.effects.union(match self.own_table(facts, scope) {
            Some(_) => Effects::TEMPORARY_TABLE,
            None => Effects::TEMPORARY,
        });
        reach
    }

    /// Statements that name no relation may be about roles or databases, which all
    /// databases of the server share.
    fn reach_ddl(&self, facts: &Facts, scope: &NameScope) -> Reach {
        let mut reach = Reach {
            footprint: Footprint {
                shared_catalogue: !facts.complete || facts.relations.is_empty(),
                ..Footprint::catalogue()
            },
            // A view over a temporary table is temporary without saying so.
            effects: Effects::TEMPORARY,
            // CREATE FUNCTION and CREATE EXTENSION do.
            loads: true,
            ..Reach::default()
        };
        reach.add(self.outcomes.event_triggers());
        if facts.complete {
            self.reach_code(facts, scope, &mut reach);
        } else if facts.evaluates_nothing {
            self.reach_types(&mut reach);
        } else {
            reach.add(self.outcomes.any());
        }
        reach
    }

    fn reach_call(&self, facts: &Facts, scope: &NameScope) -> Reach {
        if !facts.complete || facts.functions.is_empty() {
            return Reach::anything();
        }
        let mut reach = Reach {
            footprint: Footprint::everything(),
            ..Reach::default()
        };
        self.reach_code(facts, scope, &mut reach);
        reach
    }
}

/// Of kinds that touch nothing.
fn leaves_behind(kind: &Kind) -> Effects {
    match kind {
        Kind::Set { name, .. } if name == "seed" => Effects::SETTINGS.union(Effects::PROCESS),
        Kind::Set { local: false, .. } | Kind::Reset { .. } => Effects::SETTINGS,
        Kind::DiscardAll => Effects::ALL,
        Kind::DiscardOther => Effects::TEMPORARY.union(Effects::SEQUENCE),
        Kind::Prepare { .. } | Kind::Deallocate { .. } => Effects::PREPARED,
        Kind::Listen | Kind::Unlisten => Effects::LISTEN,
        Kind::CloseCursor => Effects::CURSORS,
        _ => Effects::NONE,
    }
}
