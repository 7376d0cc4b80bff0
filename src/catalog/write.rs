//! What a statement may touch: a superset, by closure over foreign keys, inheritance,
//! views, triggers, rules and every function that may run unseen.

use std::collections::HashSet;

use super::builtin;
use super::footprint::{Effects, Footprint};
use super::functions::{self, Outcome};
use super::keys::WritePlan;
use super::names::{Meaning, NameScope, Temporaries};
use super::picture::{
    FIRST_USER_OID, FkAction, FunctionOid, Owner, Referred, RelationKind, TypeOid,
};
use super::{Catalog, RelationOid};
use crate::sql::{Access, Facts, FunctionUse, Kind};

/// What is done to the rows of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ops {
    update: bool,
    delete: bool,
    truncate: bool,
}

impl Ops {
    pub(super) const INSERT: Ops = Ops {
        update: false,
        delete: false,
        truncate: false,
    };
    const UPDATE: Ops = Ops {
        update: true,
        ..Ops::INSERT
    };
    const DELETE: Ops = Ops {
        delete: true,
        ..Ops::INSERT
    };
    const TRUNCATE: Ops = Ops {
        truncate: true,
        ..Ops::INSERT
    };
    const ALL: Ops = Ops {
        update: true,
        delete: true,
        truncate: false,
    };

    /// What the statement does to its targets. With a single target the kind tells;
    /// where several are named (data-modifying WITH), which is done to which is not known.
    /// One relation that is a target twice is named once, so any name that the statement
    /// defines counts as a WITH.
    fn of(facts: &Facts) -> Ops {
        let targets = facts
            .relations
            .iter()
            .filter(|r| r.access == Access::Write)
            .count();
        let plain = targets == 1 && facts.defined.iter().all(|name| name == "excluded");
        match facts.kind {
            Kind::Truncate => Ops::TRUNCATE,
            Kind::CopyFrom => Ops::INSERT,
            // INSERT may carry ON CONFLICT DO UPDATE.
            Kind::Insert if plain => Ops::UPDATE,
            Kind::Update if plain => Ops::UPDATE,
            Kind::Delete if plain => Ops::DELETE,
            _ => Ops::ALL,
        }
    }
}

/// What has been found so far.
#[derive(Debug, Default)]
pub(super) struct Reach {
    pub footprint: Footprint,
    pub effects: Effects,
    /// [`Outcome::loads`].
    pub loads: bool,
    /// [`Outcome::sees_text`].
    pub sees_text: bool,
    /// The rows of its target, where all else that it touches is another relation's.
    pub narrow: Option<WritePlan>,
    /// Relations touched, each as often as there are ways to it.
    pub ways: Vec<RelationOid>,
    /// Functions that write to what they name, and that have not been followed there.
    pub writing: Vec<FunctionOid>,
    pub followed: HashSet<FunctionOid>,
}

impl Reach {
    pub(super) fn anything() -> Self {
        Self {
            footprint: Footprint::catalogue(),
            effects: Effects::ALL,
            loads: true,
            sees_text: true,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, outcome: Outcome) {
        self.footprint.merge(&outcome.footprint());
        self.effects = self.effects.union(outcome.effects);
        self.loads |= outcome.loads;
        self.sees_text |= outcome.sees_text;
    }

    pub(super) fn everything(&mut self) {
        self.footprint.merge(&Footprint::everything());
        self.loads = true;
    }
}

impl Catalog {
    /// Of a statement that plans and runs a query: SELECT, INSERT, …, COPY, EXPLAIN ANALYZE.
    pub(super) fn reach_query(&self, facts: &Facts, scope: &NameScope) -> Reach {
        let mut reach = Reach::default();
        if !facts.complete {
            reach.everything();
            reach.add(self.outcomes.any());
            return Reach {
                effects: reach.effects.union(Effects::ALL),
                loads: true,
                ..reach
            };
        }
        self.reach_code(facts, scope, &mut reach);
        let ops = Ops::of(facts);
        let mut seen = HashSet::new();
        let mut targets = 0;
        for used in facts.relations.iter().filter(|r| r.access == Access::Write) {
            targets += 1;
            match self.meaning(&used.name, scope) {
                Meaning::Relations(oids) => {
                    oids.iter()
                        .for_each(|&oid| self.touch(oid, ops, &mut seen, &mut reach));
                }
                Meaning::Own(table) => {
                    self.reach_own(&table, &mut reach);
                    for oid in self.candidates(&used.name, scope) {
                        self.touch(oid, ops, &mut seen, &mut reach);
                    }
                }
                Meaning::Temporary if used.name.schema.is_some() => {
                    // A temporary view or trigger may lead anywhere.
                    reach.everything();
                    reach.add(self.outcomes.any());
                }
                Meaning::Temporary => {
                    reach.everything();
                    reach.add(self.outcomes.any());
                    for oid in self.candidates(&used.name, scope) {
                        self.touch(oid, ops, &mut seen, &mut reach);
                    }
                }
                Meaning::Unknown => {
                    reach.everything();
                    reach.add(self.outcomes.any());
                }
            }
        }
        if facts.writes && targets == 0 {
            reach.everything();
        }
        self.follow(scope, &mut seen, &mut reach);
        reach.narrow = self.narrowed(facts, scope, targets, &reach);
        reach
    }

    /// Where functions that write are not followed, it is not known what they write to.
    pub(super) fn give_up(&self, reach: &mut Reach) {
        if !reach.writing.is_empty() {
            reach.everything();
            reach.add(self.outcomes.any());
        }
    }

    /// Touches what functions that write name.
    fn follow(&self, scope: &NameScope, seen: &mut HashSet<(RelationOid, Ops)>, reach: &mut Reach) {
        while let Some(function) = reach.writing.pop() {
            if !reach.followed.insert(function) {
                continue;
            }
            let named = self.outcomes.named(function);
            // A temporary view may have the name of a table, and lead anywhere.
            if named.is_empty() || scope.temporaries == Temporaries::Any {
                reach.everything();
                reach.add(self.outcomes.any());
            }
            for &oid in named {
                // PostgreSQL's own of other schemas than pg_catalog are no targets.
                if !self.index.relation(oid).is_some_and(|r| r.is_system()) {
                    self.touch(oid, Ops::ALL, seen, reach);
                }
            }
        }
    }

    /// What is known of the target's rows, if there is one target and one way to it.
    fn narrowed(
        &self,
        facts: &Facts,
        scope: &NameScope,
        targets: usize,
        reach: &Reach,
    ) -> Option<WritePlan> {
        let mut written = facts.relations.iter().filter(|r| r.access == Access::Write);
        match self.meaning(&written.next()?.name, scope) {
            Meaning::Relations(oids) if oids.len() == 1 && targets == 1 => {
                let ways = reach.ways.iter().filter(|way| **way == oids[0]).count();
                let mut plan = (ways == 1)
                    .then(|| self.plan_write(facts, scope, oids[0]))
                    .flatten()?;
                plan.returnable = self.plan_returnable(facts, scope, reach, &plan);
                Some(plan)
            }
            _ => None,
        }
    }

    /// Functions, operators, types and what the relations that are read run: whatever the
    /// statement is.
    pub(super) fn reach_code(&self, facts: &Facts, scope: &NameScope, reach: &mut Reach) {
        for function in &facts.functions {
            self.reach_function(function, scope, reach);
        }
        for operator in &facts.operators {
            self.reach_functions(self.index.operator_functions(operator).to_vec(), reach);
        }
        // The operators that are not written: of IN, BETWEEN, USING, CASE, LIKE, DISTINCT.
        for operator in super::IMPLICIT_OPERATORS {
            self.reach_functions(self.index.operator_functions(operator).to_vec(), reach);
        }
        if self.may_order(facts, scope) {
            self.reach_ordering(reach);
        }
        for cast in &self.index.picture.casts {
            self.reach_functions(vec![cast.function], reach);
        }
        for oid in self.types_written(facts) {
            self.reach_type(oid, reach);
        }
        if !facts.types.is_empty() && !scope.temporaries.is_none() {
            // It may be the row type of a temporary table.
            self.reach_types(reach);
        }
        for column in facts
            .columns
            .iter()
            .filter(|c| self.index.is_row_function(&c.name))
        {
            let functions = self.index.functions_called(&column.name).map(|f| f.oid);
            self.reach_functions(functions.collect(), reach);
        }
        for used in &facts.relations {
            if self.meaning(&used.name, scope) == Meaning::Temporary {
                // Reading a temporary view runs whatever its query calls.
                reach.add(self.outcomes.any());
            }
            for oid in self.candidates(&used.name, scope) {
                self.reach_functions(self.index.functions_run_by_reading(oid), reach);
                self.reach_views(oid, reach);
                self.reach_checks(oid, reach);
            }
        }
    }

    /// Texts become values of the types of columns, and are checked by what users say.
    fn reach_checks(&self, oid: RelationOid, reach: &mut Reach) {
        for relation in self.index.reading_closure(oid) {
            let columns = self
                .index
                .relation(relation)
                .map_or(&[][..], |r| &r.columns);
            for column in columns {
                if self.is_checked_by_code(column.type_oid) {
                    self.reach_type(column.type_oid, reach);
                }
            }
        }
    }

    /// Built-ins that views call by their text, and policies by their expressions.
    fn reach_views(&self, oid: RelationOid, reach: &mut Reach) {
        for relation in self.index.reading_closure(oid) {
            reach.add(self.outcomes.hidden().of(Owner::Policy(relation)));
            let is_view = self
                .index
                .relation(relation)
                .is_some_and(|r| r.kind == RelationKind::View);
            if is_view && let Some(&outcome) = self.definitions.get(&relation) {
                reach.add(outcome);
            }
        }
    }

    /// What any literal may run, by its type.
    pub(super) fn reach_types(&self, reach: &mut Reach) {
        for user_type in &self.index.picture.types {
            self.reach_type(user_type.oid, reach);
        }
        self.reach_ordering(reach);
    }

    /// The types of users that the text may name, arrays of them included.
    pub(super) fn types_written(&self, facts: &Facts) -> impl Iterator<Item = TypeOid> {
        facts.types.iter().flat_map(|written| {
            let exact = written.name.split(['(', '[']).next();
            let exact = exact.unwrap_or_default().trim();
            [exact, exact.trim_start_matches('_')]
                .into_iter()
                .flat_map(|name| self.index.types_called(name))
                .map(|user_type| user_type.oid)
        })
    }

    /// Values of a type of users' own which they taught PostgreSQL to order may be at hand. Those of its own types are
    /// ordered otherwise only where an index or a range type says so, which is known of these.
    fn may_order(&self, facts: &Facts, scope: &NameScope) -> bool {
        let ordered = &self.index.picture.ordered_by_users;
        if ordered.iter().all(|&oid| oid < FIRST_USER_OID) {
            return false;
        }
        let is_ordered = |oid: TypeOid| {
            let mut parts = self.index.type_parts(oid).into_iter();
            parts.any(|part| part >= FIRST_USER_OID && ordered.contains(&part))
        };
        let in_relation = |oid: RelationOid| {
            let columns = self.index.relation(oid).map_or(&[][..], |r| &r.columns);
            columns.iter().any(|column| is_ordered(column.type_oid))
        };
        let mut read = facts
            .relations
            .iter()
            .flat_map(|used| self.candidates(&used.name, scope))
            .flat_map(|oid| self.index.reading_closure(oid));
        let mut called = facts
            .functions
            .iter()
            .flat_map(|f| self.index.functions_called(&f.name.name));
        !scope.temporaries.is_none()
            || self.types_written(facts).any(is_ordered)
            || called.next().is_some()
            || read.any(in_relation)
    }

    /// Whatever sorts, groups or compares rows may call what users taught PostgreSQL to order by.
    fn reach_ordering(&self, reach: &mut Reach) {
        self.reach_functions(self.index.picture.ordering_functions.clone(), reach);
    }

    fn reach_type(&self, oid: TypeOid, reach: &mut Reach) {
        self.reach_functions(self.index.type_functions(oid), reach);
        reach.add(self.outcomes.hidden().of_type(oid, &self.index));
    }

    fn reach_functions(&self, functions: Vec<u32>, reach: &mut Reach) {
        for function in functions.into_iter().filter(|&oid| oid != 0) {
            self.reach_outcome(function, reach);
        }
    }

    fn reach_outcome(&self, function: FunctionOid, reach: &mut Reach) {
        let outcome = self.outcomes.of(function);
        if outcome.writes_what_it_names() {
            reach.writing.push(function);
        }
        reach.add(Outcome {
            names: outcome.names && !outcome.writes_what_it_names(),
            ..outcome
        });
    }

    fn reach_function(&self, used: &FunctionUse, scope: &NameScope, reach: &mut Reach) {
        let name = used.name.name.as_str();
        let mut known = false;
        for function in self.index.functions_called(name) {
            if used
                .name
                .schema
                .as_ref()
                .is_none_or(|s| *s == function.schema)
            {
                known = true;
                if function.extension.is_none() || !scope.vouches(&function.schema, name) {
                    self.reach_outcome(function.oid, reach);
                }
            }
        }
        if used
            .name
            .schema
            .as_deref()
            .is_none_or(|s| s == "pg_catalog")
        {
            if self.index.builtin(name).is_some() {
                known = true;
                let outcome = functions::builtin_outcome(name);
                reach.add(Outcome {
                    // In the statement's own text it is seen.
                    effects: outcome.effects.without(Effects::SEQUENCE_READ),
                    ..outcome
                });
            }
            known |= builtin::is_syntax(name) || self.index.is_builtin_type(name);
        }
        for user_type in self.index.types_called(name) {
            known = true;
            self.reach_type(user_type.oid, reach);
        }
        if !known && !used.field {
            // Newer than the picture, perhaps.
            reach.add(Outcome::ANYTHING);
            if builtin::keeps_process_state(name) {
                reach.effects = reach.effects.union(Effects::PROCESS);
            }
        }
    }

    /// Adds what changing rows of `oid` may touch.
    pub(super) fn touch(
        &self,
        oid: RelationOid,
        ops: Ops,
        seen: &mut HashSet<(RelationOid, Ops)>,
        reach: &mut Reach,
    ) {
        reach.ways.push(oid);
        if !seen.insert((oid, ops)) {
            return;
        }
        let Some(relation) = self.index.relation(oid) else {
            return reach.everything();
        };
        if relation.is_system() {
            reach.footprint = Footprint {
                shared_catalogue: true,
                ..Footprint::catalogue()
            };
            // UPDATE pg_settings is SET.
            reach.effects = reach.effects.union(Effects::SETTINGS);
            return;
        }
        reach.footprint.merge(&Footprint {
            relations: [oid].into_iter().collect(),
            ..Footprint::nothing()
        });
        if relation.has_identity && !ops.truncate {
            reach.effects = reach.effects.union(Effects::SEQUENCE);
        }
        if self.index.has_rules(oid) {
            reach.everything();
            reach.add(self.outcomes.any());
            // What its actions call is not read.
            reach.effects = reach.effects.union(Effects::ALL);
        }
        if self.index.shows_settings(oid) {
            reach.effects = reach.effects.union(Effects::SETTINGS);
        }
        self.reach_hidden_code(oid, reach);
        if relation.kind == RelationKind::View {
            for &target in self.index.references(Owner::View(oid)) {
                if let Referred::Relation(base) = target {
                    self.touch(base, ops, seen, reach);
                }
            }
        }
        // An UPDATE may move a row from one partition to another, by DELETE and INSERT.
        let ops = match relation.kind {
            RelationKind::Partitioned if ops.update => Ops {
                delete: true,
                ..ops
            },
            _ => ops,
        };
        for &child in self.index.children(oid) {
            self.touch(child, ops, seen, reach);
        }
        // A partition's rows are its ancestors': their foreign keys hold for it too.
        for ancestor in self.index.ancestry(oid) {
            self.touch_referencing(ancestor, ops, seen, reach);
        }
    }

    fn touch_referencing(
        &self,
        oid: RelationOid,
        ops: Ops,
        seen: &mut HashSet<(RelationOid, Ops)>,
        reach: &mut Reach,
    ) {
        for key in self.index.foreign_keys_to(oid) {
            if ops.truncate {
                self.touch(key.referencing, Ops::TRUNCATE, seen, reach);
            }
            let mut caused = Ops::INSERT;
            if ops.delete {
                caused.delete |= key.on_delete == FkAction::Cascade;
                caused.update |= key.on_delete == FkAction::Set;
            }
            caused.update |= ops.update && key.on_update != FkAction::None;
            if caused != Ops::INSERT {
                self.touch(key.referencing, caused, seen, reach);
            }
        }
    }

    /// What a write to the relation runs without naming it. Ancestors count: before
    /// PostgreSQL 15 the copies of their triggers are marked as internal.
    fn reach_hidden_code(&self, oid: RelationOid, reach: &mut Reach) {
        self.reach_functions(self.index.column_functions(oid), reach);
        reach.add(self.outcomes.hidden().of_relation(oid, &self.index));
        for relation in self.index.ancestry(oid) {
            reach.add(self.outcomes.hidden().of(Owner::Write(relation)));
            reach.add(self.outcomes.hidden().of(Owner::Policy(relation)));
            let triggers = self.index.triggers(relation);
            self.reach_functions(triggers.to_vec(), reach);
            if triggers.iter().any(|&oid| self.index.is_refint(oid)) {
                reach.effects = reach.effects.union(Effects::PROCESS);
            }
            for owner in [
                Owner::Write(relation),
                Owner::Index(relation),
                Owner::Policy(relation),
            ] {
                self.reach_references(owner, reach);
            }
        }
    }

    pub(super) fn reach_references(&self, owner: Owner, reach: &mut Reach) {
        for &target in self.index.references(owner) {
            match target {
                Referred::OperatorClass => reach.add(Outcome::ANYTHING),
                // A default's sequence, or what a policy or a materialised view reads.
                Referred::Relation(read) => {
                    self.reach_functions(self.index.functions_run_by_reading(read), reach);
                    self.reach_views(read, reach);
                }
                _ => self.reach_functions(self.index.functions_behind(target), reach),
            }
        }
    }
}
