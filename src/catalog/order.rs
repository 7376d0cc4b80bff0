//! Whether an answer is the only one, so that a hit may be compared with a fresh answer.

use super::Catalog;
use super::builtin;
use super::read::Closure;
use crate::sql::Facts;

/// Whether PostgreSQL may give one answer only, for comparing a hit with a fresh answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Rows and their order.
    Total,
    /// Rows, in any order.
    Multiset,
    /// Neither.
    Undetermined,
}

impl Catalog {
    /// It holds an aggregate or window function whose result depends on the order of rows.
    pub(super) fn rounds_or_picks(&self, facts: &Facts, closure: &Closure) -> bool {
        const FLOATS: [u32; 4] = [700, 701, 1021, 1022];
        let relations = closure
            .met
            .iter()
            .filter_map(|&oid| self.index.relation(oid));
        let mut type_oids = relations
            .flat_map(|r| &r.columns)
            .map(|column| column.type_oid);
        let floats = type_oids.any(|oid| FLOATS.contains(&oid))
            || facts
                .types
                .iter()
                .any(|t| matches!(t.name.as_str(), "float4" | "float8"));
        facts.functions.iter().any(|function| {
            let name = function.name.name.as_str();
            builtin::depends_on_order(name)
                || (builtin::sums(name) && floats)
                || self.index.functions_called(name).next().is_some()
        })
    }
}
