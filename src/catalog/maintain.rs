//! Statements that write no row of their own: maintenance and REFRESH MATERIALIZED VIEW.

use std::collections::HashSet;

use super::Catalog;
use super::footprint::{Effects, Footprint};
use super::names::NameScope;
use super::picture::Owner;
use super::write::{Ops, Reach};
use crate::sql::Facts;

impl Catalog {
    /// VACUUM, CREATE INDEX, …: they change no row, but evaluate index expressions.
    pub(super) fn reach_maintenance(&self, facts: &Facts, scope: &NameScope) -> Reach {
        let mut reach = Reach::default();
        reach.add(self.outcomes.event_triggers());
        if facts.evaluates_nothing {
            return reach;
        }
        for reference in &self.index.picture.references {
            if let Owner::Index(_) = reference.owner {
                self.reach_references(reference.owner, &mut reach);
            }
        }
        self.reach_types(&mut reach);
        if !facts.complete {
            reach.add(self.outcomes.any());
            if !scope.temporaries.is_none() {
                // An index of a temporary table may call anything from now on.
                reach.effects = reach.effects.union(Effects::TEMPORARY);
            }
        }
        self.reach_code(facts, scope, &mut reach);
        if self.calls_users(facts) || !facts.defined.is_empty() {
            // A new index that calls a user's function changes what writes may touch.
            reach.footprint.merge(&Footprint::catalogue());
        }
        reach
    }

    fn calls_users(&self, facts: &Facts) -> bool {
        facts
            .functions
            .iter()
            .any(|f| self.index.functions_called(&f.name.name).next().is_some())
            || facts
                .operators
                .iter()
                .any(|o| !self.index.operator_functions(o).is_empty())
    }

    pub(super) fn reach_refresh(&self, facts: &Facts, scope: &NameScope) -> Reach {
        let mut reach = Reach::default();
        reach.add(self.outcomes.event_triggers());
        if facts.relations.is_empty() {
            reach.everything();
            reach.add(self.outcomes.any());
        }
        let mut seen = HashSet::new();
        for used in &facts.relations {
            let found = self.candidates(&used.name, scope);
            if found.is_empty() {
                reach.everything();
                reach.add(self.outcomes.any());
            }
            for oid in found {
                self.touch(oid, Ops::INSERT, &mut seen, &mut reach);
                self.reach_references(Owner::Refresh(oid), &mut reach);
                if let Some(&outcome) = self.definitions.get(&oid) {
                    reach.add(outcome);
                }
            }
        }
        reach
    }
}
