//! Whether a statement's answer depends on nothing but relations, settings and the
//! catalogue; and on which relations.

use smallvec::SmallVec;

use super::builtin::{self, Verdict};
use super::keys::ReadPlan;
use super::names::{Meaning, NameScope};
use super::order::Order;
use super::picture::{
    FIRST_USER_OID, FunctionOid, Owner, Referred, Relation, RelationKind, TypeOid, Volatility,
};
use super::{Catalog, RelationOid};
use crate::sql::{Bypass, Facts, FunctionUse, Kind, ObjectName};

/// What a cacheable statement reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadFacts {
    /// A digest of what gives the answer its columns: those of everything that it depends on, and the functions, operators
    /// and types of users that it names, with the labels of enums. While it is the same, the answer has the same columns.
    pub columns: u64,
    /// Sorted, without duplicates.
    pub dependencies: SmallVec<[RelationOid; 4]>,
    /// Settings that it reads by `current_setting` and that are the users' own; lower case, sorted.
    pub custom_settings: Vec<String>,
    /// `schema.name` of everything that it depends on, views included; those named by the
    /// statement come first.
    pub relation_names: Vec<String>,
    pub order: Order,
    /// How far its dependencies are confined to rows.
    pub keys: ReadPlan,
}

/// What reading comes to so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Closure {
    pub dependencies: Vec<RelationOid>,
    /// Of these, what is read in another way than by a name in the statement, or in the query of a view that is read so.
    pub unnamed: Vec<RelationOid>,
    /// With views, in the order in which they were met.
    pub met: Vec<RelationOid>,
    pub custom_settings: Vec<String>,
    /// PostgreSQL may choose among answers.
    pub open: bool,
    /// How many calls of functions lead here.
    pub depth: usize,
    /// It is found before anybody asks: how callers resolve names is not known.
    pub ahead: bool,
    /// With `ahead`: functions that look names up when they are called.
    pub late: Vec<FunctionOid>,
}

impl Closure {
    fn meet(&mut self, oid: RelationOid) {
        if !self.met.contains(&oid) {
            self.met.push(oid);
        }
    }

    pub(crate) fn absorb(&mut self, other: &Closure) {
        self.dependencies.extend_from_slice(&other.dependencies);
        self.unnamed.extend_from_slice(&other.unnamed);
        self.custom_settings
            .extend_from_slice(&other.custom_settings);
        self.late.extend_from_slice(&other.late);
        other.met.iter().for_each(|&oid| self.meet(oid));
        self.open |= other.open;
    }
}

impl Catalog {
    pub(super) fn judge_read(&self, facts: &Facts, scope: &NameScope) -> Result<ReadFacts, Bypass> {
        if facts.kind != Kind::Select {
            return Err(Bypass::NotSelect);
        }
        if !(scope.temporaries.is_none() || facts.relations.is_empty() && facts.types.is_empty()) {
            // Also a qualified name may have a temporary child.
            return Err(Bypass::TemporaryRelation);
        }
        let mut closure = Closure::default();
        self.read_facts(facts, scope, &mut closure)?;
        self.check_columns(facts, scope)?;
        self.read_late(scope, &mut closure)?;

        let keys = self.plan_read(facts, scope, &closure);
        let mut dependencies: SmallVec<[RelationOid; 4]> = closure.dependencies.into();
        dependencies.sort_unstable();
        dependencies.dedup();
        closure.custom_settings.sort_unstable();
        closure.custom_settings.dedup();
        let names = closure
            .met
            .iter()
            .filter_map(|&oid| self.relation_name(oid));
        Ok(ReadFacts {
            columns: self.columns_digest(facts, &closure.met),
            dependencies,
            custom_settings: closure.custom_settings,
            relation_names: names.collect(),
            // By what it is ordered the facts do not tell, so that it is never total.
            order: if closure.open {
                Order::Undetermined
            } else {
                Order::Multiset
            },
            keys,
        })
    }

    fn columns_digest(&self, facts: &Facts, relations: &[RelationOid]) -> u64 {
        let mut bytes = Vec::new();
        let mut rows = Vec::new();
        let used = facts.functions.iter();
        let called = used.flat_map(|used| self.index.functions_called(&used.name.name));
        let operators = facts.operators.iter();
        let behind = operators.flat_map(|name| self.index.operator_functions(name));
        let behind = behind.filter_map(|&oid| self.index.function(oid));
        for function in called.chain(behind) {
            bytes.extend_from_slice(&function.oid.to_be_bytes());
            bytes.extend_from_slice(&function.returns.to_be_bytes());
            rows.push(function.returns);
        }
        for oid in self.types_written(facts) {
            bytes.extend_from_slice(&oid.to_be_bytes());
            self.add_labels(oid, &mut bytes);
            rows.push(oid);
        }
        let rows = rows.into_iter().flat_map(|oid| self.index.type_parts(oid));
        let rows = rows.filter_map(|oid| Some(self.index.user_type(oid)?.relation));
        let relations = relations.iter().copied().chain(rows);
        for relation in relations.filter_map(|oid| self.index.relation(oid)) {
            bytes.extend_from_slice(&relation.oid.to_be_bytes());
            for column in &relation.columns {
                bytes.extend_from_slice(&(column.name.len() as u32).to_be_bytes());
                bytes.extend_from_slice(column.name.as_bytes());
                bytes.extend_from_slice(&column.type_oid.to_be_bytes());
                self.add_labels(column.type_oid, &mut bytes);
            }
        }
        xxhash_rust::xxh3::xxh3_64(&bytes)
    }

    fn add_labels(&self, oid: TypeOid, bytes: &mut Vec<u8>) {
        for part in self.index.type_parts(oid) {
            if let Some(user_type) = self.index.user_type(part) {
                bytes.extend_from_slice(&user_type.labels.to_be_bytes());
            }
        }
    }

    /// Everything but the columns, which only a statement's own text has to be asked for.
    pub(super) fn read_facts(
        &self,
        facts: &Facts,
        scope: &NameScope,
        closure: &mut Closure,
    ) -> Result<(), Bypass> {
        match facts.hazard {
            Some(Bypass::DatetimeText) if self.converts_no_text(facts, scope) => {}
            Some(hazard) => return Err(hazard),
            None => {}
        }
        if !facts.complete {
            return Err(Bypass::Unparsed);
        }
        if facts.writes {
            return Err(Bypass::NotSelect);
        }
        if facts.locks {
            return Err(Bypass::Locking);
        }
        if let Some(hazard) = self.hazard {
            return Err(hazard);
        }
        for used in &facts.relations {
            match self.meaning(&used.name, scope) {
                Meaning::Relations(oids) => {
                    for oid in oids {
                        self.read_relation(oid, used.only, closure)?;
                    }
                }
                Meaning::Temporary | Meaning::Own(_) => return Err(Bypass::TemporaryRelation),
                Meaning::Unknown if is_defined(facts, &used.name) => {}
                Meaning::Unknown if used.name.schema.as_deref().is_some_and(is_system_schema) => {
                    return Err(Bypass::SystemCatalog);
                }
                Meaning::Unknown => return Err(Bypass::UnknownRelation),
            }
        }
        if self.zones_time(facts, scope) {
            return Err(Bypass::StableFunction);
        }
        for function in &facts.functions {
            self.read_function(function, scope, closure)?;
        }
        for operator in &facts.operators {
            self.check_operator(operator)?;
        }
        closure.open |= facts.limited || self.rounds_or_picks(facts, closure);
        let mut types = facts.types.iter();
        types.try_for_each(|name| self.check_type(name, scope))
    }

    /// Adds a relation with its descendants and, for views, what they read.
    fn read_relation(
        &self,
        oid: RelationOid,
        only: bool,
        closure: &mut Closure,
    ) -> Result<(), Bypass> {
        let family = if only {
            vec![oid]
        } else {
            self.index.family(oid)
        };
        for member in family {
            let relation = self.index.relation(member).ok_or(Bypass::UnknownRelation)?;
            closure.meet(member);
            self.check_relation(relation)?;
            if relation.kind == RelationKind::View {
                match self.views.get(&member) {
                    Some(Ok(view)) => closure.absorb(view),
                    Some(Err(reason)) => return Err(*reason),
                    None => return Err(Bypass::UnknownRelation),
                }
            } else {
                closure.dependencies.push(member);
            }
            if relation.policies.is_some() {
                // Of all roles: which of them apply follows from the role and the catalogue.
                match self.policies.get(&member) {
                    Some(Ok(policies)) => {
                        closure.absorb(policies);
                        closure.unnamed.extend_from_slice(&policies.dependencies);
                    }
                    Some(Err(reason)) => return Err(*reason),
                    None => return Err(Bypass::RowSecurity),
                }
            }
        }
        Ok(())
    }

    /// The same of a relation that is not named.
    fn read_unnamed(&self, oid: RelationOid, closure: &mut Closure) -> Result<(), Bypass> {
        let known = closure.dependencies.len();
        self.read_relation(oid, false, closure)?;
        closure
            .unnamed
            .extend_from_slice(&closure.dependencies[known..]);
        Ok(())
    }

    fn check_relation(&self, relation: &Relation) -> Result<(), Bypass> {
        if relation.is_system() {
            return Err(Bypass::SystemCatalog);
        }
        match relation.kind {
            RelationKind::Sequence => return Err(Bypass::Sequence),
            RelationKind::Foreign => return Err(Bypass::ForeignTable),
            RelationKind::Composite => return Err(Bypass::UnknownRelation),
            RelationKind::View
            | RelationKind::Table
            | RelationKind::Partitioned
            | RelationKind::MaterializedView => {}
        }
        if relation
            .columns
            .iter()
            .any(|c| self.index.is_unsafe_type(c.type_oid) || self.is_checked_by_code(c.type_oid))
        {
            return Err(Bypass::UnsafeType);
        }
        Ok(())
    }

    fn read_function(
        &self,
        used: &FunctionUse,
        scope: &NameScope,
        closure: &mut Closure,
    ) -> Result<(), Bypass> {
        let name = used.name.name.as_str();
        let schema = used.name.schema.as_deref();
        let mut by_user = false;
        for function in self.index.functions_called(name) {
            if schema.is_some_and(|s| s != function.schema) {
                continue;
            }
            by_user = true;
            if self.is_trusted(function.oid) {
                continue;
            }
            if !scope.vouches(&function.schema, name) {
                self.read_call(function, scope, closure)?;
                continue;
            }
            let reads = match function.extension {
                Some(_) => &[],
                None => self
                    .outcomes
                    .reads(function.oid)
                    .ok_or(Bypass::UserFunction)?,
            };
            for &oid in reads {
                self.read_unnamed(oid, closure)?;
            }
        }
        if schema.is_some_and(|s| s != "pg_catalog") {
            return if by_user {
                Ok(())
            } else {
                self.check_type_function(used, scope)
            };
        }
        let Some(known) = self.index.builtin(name) else {
            // What is a field of no row the look at columns finds.
            let field = used.field && !self.is_type(name);
            return if by_user || field || (schema.is_none() && builtin::is_syntax(name)) {
                Ok(())
            } else {
                self.check_type_function(used, scope)
            };
        };
        match builtin::verdict(name, used.argument_count, known.volatile, known.stable) {
            Verdict::Fine => Ok(()),
            Verdict::Bypass(reason) => Err(reason),
            Verdict::Setting => read_setting(used, closure),
        }
    }

    /// Immutable, and by somebody who knows what that means.
    pub(super) fn is_trusted(&self, oid: u32) -> bool {
        self.index.function(oid).is_some_and(|function| {
            let compiled = matches!(function.language.as_str(), "c" | "internal");
            function.volatility == Volatility::Immutable
                && (function.extension.is_some() || (compiled && !function.aggregate))
                && !builtin::is_not_immutable(&function.name)
        })
    }

    /// Operators with a function that is not trusted, of any schema.
    pub(super) fn check_operator(&self, operator: &str) -> Result<(), Bypass> {
        let functions = self.index.operator_functions(operator).iter();
        let all_trusted = functions
            .copied()
            .all(|function| function < FIRST_USER_OID || self.is_trusted(function));
        if all_trusted {
            Ok(())
        } else {
            Err(Bypass::UserOperator)
        }
    }

    /// What running the query of a view or the conditions of policies comes to: the text is asked for what
    /// it calls, `pg_depend` for what it names, so that neither can miss what the other has.
    pub(super) fn read_hidden(&self, owner: Owner, facts: &Facts) -> Result<Closure, Bypass> {
        if matches!(owner, Owner::Policy(_)) && facts.hazard == Some(Bypass::DatetimeText) {
            // The columns of the table itself are not seen here.
            return Err(Bypass::DatetimeText);
        }
        if let Owner::Policy(oid) = owner
            && facts.functions.iter().any(|f| f.name.name == "timezone")
            && self.has_time(oid)
        {
            return Err(Bypass::StableFunction);
        }
        let mut closure = Closure {
            ahead: true,
            ..Closure::default()
        };
        // The text is written out for an empty search path.
        let scope = NameScope::default();
        self.read_facts(facts, &scope, &mut closure)?;
        let system = facts
            .columns
            .iter()
            .any(|c| builtin::is_system_column(&c.name));
        if system {
            return Err(Bypass::SystemColumn);
        }
        let names = facts.relations.iter();
        let named: Vec<RelationOid> = names
            .flat_map(|used| self.candidates(&used.name, &scope))
            .collect();
        for &target in self.index.references(owner) {
            match target {
                Referred::Relation(read) if named.contains(&read) => {
                    self.read_relation(read, false, &mut closure)?;
                }
                Referred::Relation(read) => self.read_unnamed(read, &mut closure)?,
                Referred::Function(called) if self.was_followed(called, facts) => {}
                Referred::Function(_) | Referred::Operator(_) => {
                    let functions = self.index.functions_behind(target);
                    if !functions.into_iter().all(|f| self.is_trusted(f)) {
                        return Err(Bypass::UserFunction);
                    }
                }
                Referred::Type(used) => {
                    if self.index.is_unsafe_type(used) {
                        return Err(Bypass::UnsafeType);
                    }
                }
                Referred::OperatorClass => return Err(Bypass::UserOperator),
            }
        }
        Ok(closure)
    }
}

fn is_defined(facts: &Facts, name: &ObjectName) -> bool {
    name.schema.is_none() && facts.defined.contains(&name.name)
}

fn is_system_schema(schema: &str) -> bool {
    matches!(schema, "pg_catalog" | "information_schema" | "pg_toast")
}

fn read_setting(used: &FunctionUse, closure: &mut Closure) -> Result<(), Bypass> {
    let Some(name) = used.first_text() else {
        return Err(Bypass::CustomSetting);
    };
    let name = name.to_ascii_lowercase();
    if name.contains('.') {
        closure.custom_settings.push(name);
        Ok(())
    } else if builtin::is_readable_setting(&name) {
        Ok(())
    } else {
        Err(Bypass::CustomSetting)
    }
}
