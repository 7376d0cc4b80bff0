//! Temporary tables of which it is known what writing to them runs.

use super::footprint::Effects;
use super::functions::{self, Outcome};
use super::names::{Meaning, NameScope, OwnTable};
use super::picture::{Owner, RelationKind};
use super::write::Reach;
use super::{Catalog, RelationOid};
use crate::sql::{Facts, ObjectName, TemporaryTables};

impl Catalog {
    /// The temporary table that the statement makes, if nothing that a user wrote is attached to it.
    pub(super) fn own_table(&self, facts: &Facts, scope: &NameScope) -> Option<OwnTable> {
        let Some(TemporaryTables::Made(made)) = &facts.temporary else {
            return None;
        };
        let mut draws = made.draws;
        for call in &made.calls {
            draws |= draws_at_most(self.built_in(call)?)?;
        }
        for copied in &made.copies {
            draws |= match self.meaning(copied, scope) {
                Meaning::Own(table) if self.candidates(copied, scope).is_empty() => table.draws,
                Meaning::Relations(oids) if oids.len() == 1 => self.copy_draws(oids[0])?,
                _ => return None,
            };
        }
        Some(OwnTable {
            name: made.name.clone(),
            draws,
        })
    }

    /// Of a function that can only be one of PostgreSQL's own.
    fn built_in(&self, call: &ObjectName) -> Option<Outcome> {
        let own = call
            .schema
            .as_deref()
            .is_none_or(|schema| schema == "pg_catalog");
        let known = own && self.index.builtin(&call.name).is_some();
        let only = self.index.functions_called(&call.name).next().is_none();
        (known && only).then(|| functions::builtin_outcome(&call.name))
    }

    /// Whether a table with the defaults and constraints of this one draws from sequences; `None` if it may do more.
    fn copy_draws(&self, oid: RelationOid) -> Option<bool> {
        let relation = self.index.relation(oid)?;
        let is_table = matches!(
            relation.kind,
            RelationKind::Table | RelationKind::Partitioned
        );
        let owners = [Owner::Write(oid), Owner::Index(oid)];
        let quiet = owners
            .iter()
            .all(|&owner| self.index.references(owner).is_empty());
        let draws = draws_at_most(self.outcomes.hidden().of(Owner::Write(oid)))?;
        (is_table && quiet).then_some(draws || relation.has_identity)
    }

    /// What writing to the table runs.
    pub(super) fn reach_own(&self, table: &OwnTable, reach: &mut Reach) {
        self.reach_types(reach);
        if table.draws {
            reach.effects = reach.effects.union(Effects::SEQUENCE);
        }
    }

    /// All that the statement drops are such tables, as far as their names can mean anything else.
    pub(super) fn drops_own(&self, facts: &Facts, scope: &NameScope) -> bool {
        let Some(TemporaryTables::Dropped(names)) = &facts.temporary else {
            return false;
        };
        names.iter().all(|name| {
            matches!(self.meaning(name, scope), Meaning::Own(_))
                && self.candidates(name, scope).is_empty()
        })
    }
}

/// Whether it draws from a sequence; `None` if it does anything else besides answering.
fn draws_at_most(outcome: Outcome) -> Option<bool> {
    let rest = Outcome {
        effects: outcome.effects.without(Effects::SEQUENCE),
        ..outcome
    };
    (rest == Outcome::QUIET).then_some(outcome.effects.contains(Effects::SEQUENCE))
}
