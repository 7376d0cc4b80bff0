//! Functions in SQL whose body is one query: calling one reads what its query reads.

use std::collections::HashSet;

use super::builtin;
use super::functions::Outcome;
use super::index::Index;
use super::names::NameScope;
use super::picture::Function;
use super::read::Closure;
use super::{Catalog, RelationOid};
use crate::sql::{self, Bypass, Facts};

/// Calls within calls that are followed.
const DEPTH_MAX: usize = 8;

/// The query of a function that runs in its caller's role and settings. Nothing in it makes a date or time of a text: an
/// argument may be any value of a column, so that it could say `today`.
#[derive(Debug)]
pub(super) struct FunctionQuery {
    facts: Facts,
    /// The same for a look at its columns: parameters have names, too, and are qualified by the function's.
    named: Facts,
    /// Its names were looked up when it was made; else they are whenever it runs.
    bound: bool,
}

impl FunctionQuery {
    pub(super) fn of(function: &Function, index: &Index) -> Option<Self> {
        let parameters = function.parameters.as_ref()?;
        let mut types = parameters.types.iter().chain([&function.returns]);
        if types.any(|&oid| index.is_unsafe_type(oid)) {
            return None;
        }
        let facts = sql::function_query(&function.body)?;
        let plain_types = facts
            .types
            .iter()
            .all(|name| builtin::is_plain_type(&name.name));
        let mut called = facts.functions.iter().map(|used| used.name.name.as_str());
        if !plain_types || called.any(builtin::is_datetime_type) {
            return None;
        }
        let mut named = facts.clone();
        named.defined.extend_from_slice(&parameters.names);
        named.defined.push(function.name.clone());
        Some(Self {
            facts,
            named,
            bound: function.bound,
        })
    }
}

impl Catalog {
    /// Adds what a call of the function reads.
    pub(super) fn read_call(
        &self,
        function: &Function,
        scope: &NameScope,
        closure: &mut Closure,
    ) -> Result<(), Bypass> {
        let outcome = self.outcomes.of(function.oid);
        let answers_only = Outcome::QUIET
            == Outcome {
                opaque: false,
                ..outcome
            };
        let query = self.function_queries.get(&function.oid);
        let (Some(query), true) = (query, answers_only) else {
            return Err(Bypass::UserFunction);
        };
        if closure.depth == DEPTH_MAX {
            return Err(Bypass::UserFunction);
        }
        if closure.ahead && !query.bound {
            closure.late.push(function.oid);
            return Ok(());
        }
        if !scope.temporaries.is_none() {
            return Err(Bypass::TemporaryRelation);
        }
        let of_definition = NameScope::default();
        let scope = if query.bound { &of_definition } else { scope };
        let mut read = Closure {
            depth: closure.depth + 1,
            // One without ORDER BY gives any of its rows as its value.
            open: true,
            ahead: query.bound,
            ..Closure::default()
        };
        self.read_facts(&query.facts, scope, &mut read)?;
        self.check_columns(&query.named, scope)?;
        closure.absorb(&read);
        closure.unnamed.extend_from_slice(&read.dependencies);
        Ok(())
    }

    /// What was left until it is known who calls.
    pub(super) fn read_late(&self, scope: &NameScope, closure: &mut Closure) -> Result<(), Bypass> {
        let mut followed = HashSet::new();
        while let Some(late) = closure.late.pop() {
            if followed.insert(late) {
                let function = self.index.function(late).ok_or(Bypass::UserFunction)?;
                self.read_call(function, scope, closure)?;
            }
        }
        Ok(())
    }

    /// What is called by its name in `facts`, which have been read, was followed.
    pub(super) fn was_followed(&self, function: u32, facts: &Facts) -> bool {
        let name = self.index.function(function).map(|f| f.name.as_str());
        let mut called = facts.functions.iter();
        self.function_queries.contains_key(&function)
            && called.any(|used| Some(used.name.name.as_str()) == name)
    }

    /// What such a function names: it is to be read before what calls it.
    pub(super) fn named_by_query(&self, function: u32) -> &[RelationOid] {
        match self.function_queries.contains_key(&function) {
            true => self.outcomes.named(function),
            false => &[],
        }
    }
}
