//! Names that stand where columns stand: a name that is no column may be a call in disguise.

use super::Catalog;
use super::builtin;
use super::names::NameScope;
use super::picture::Relation;
use crate::sql::{Bypass, ColumnUse, Facts};

impl Catalog {
    /// Every name must be a column's, a row's or one that the statement defines.
    pub(super) fn check_columns(&self, facts: &Facts, scope: &NameScope) -> Result<(), Bypass> {
        if facts.columns.is_empty() {
            return Ok(());
        }
        let rows: Vec<(&str, Vec<&Relation>)> = facts
            .relations
            .iter()
            .map(|used| {
                let found = self.candidates(&used.name, scope);
                let relations = found
                    .iter()
                    .filter_map(|&oid| self.index.relation(oid))
                    .collect();
                (used.alias.as_deref().unwrap_or(&used.name.name), relations)
            })
            .collect();
        let used = facts.functions.iter();
        let called = used.flat_map(|used| self.index.functions_called(&used.name.name));
        let of_users = called.flat_map(|function| {
            let row = self.index.user_type(function.returns);
            let row = row.and_then(|row| self.index.relation(row.relation));
            let columns = row.into_iter().flat_map(|row| &row.columns);
            let names = function.parameters.iter().flat_map(|p| &p.names);
            names.chain(columns.map(|column| &column.name))
        });
        let outputs: Vec<&str> = facts
            .functions
            .iter()
            .filter_map(|f| self.index.builtin(&f.name.name))
            .flat_map(|b| {
                b.outputs
                    .iter()
                    .map(String::as_str)
                    .chain([b.name.as_str()])
            })
            .chain(of_users.map(String::as_str))
            .collect();
        facts
            .columns
            .iter()
            .try_for_each(|column| self.check_column(column, facts, &rows, &outputs))
    }

    fn check_column(
        &self,
        column: &ColumnUse,
        facts: &Facts,
        rows: &[(&str, Vec<&Relation>)],
        outputs: &[&str],
    ) -> Result<(), Bypass> {
        let name = column.name.as_str();
        if builtin::is_system_column(name) {
            return Err(Bypass::SystemColumn);
        }
        if !column.qualifier.is_empty() && self.index.is_row_function(name) {
            return Err(Bypass::UserFunction);
        }
        let in_some = rows
            .iter()
            .any(|(_, relations)| relations.iter().any(|r| r.has_column(name)));
        let defined = facts.defined.iter().any(|d| d == name) || outputs.contains(&name);
        let is_row = rows.iter().any(|(alias, _)| *alias == name);
        let known = match column.qualifier.last() {
            None => in_some || defined || is_row,
            // A field of an expression, or else a call or a cast, which was looked at as such.
            Some(qualifier) if qualifier.is_empty() => {
                in_some || defined || self.is_field(name) || self.is_callable(name)
            }
            Some(qualifier) => {
                let mut of_row = rows
                    .iter()
                    .filter(|(alias, _)| alias == qualifier)
                    .peekable();
                let is_relation = of_row.peek().is_some();
                let in_all =
                    of_row.all(|(_, rs)| !rs.is_empty() && rs.iter().all(|r| r.has_column(name)));
                let row_defined = facts.defined.iter().any(|d| d == qualifier);
                (is_relation && in_all)
                    || (row_defined && (defined || in_some))
                    || (is_relation && defined)
            }
        };
        if known {
            Ok(())
        } else {
            Err(Bypass::UnknownColumn)
        }
    }

    fn is_field(&self, name: &str) -> bool {
        let mut rows = self.index.picture.relations.iter();
        rows.any(|row| row.has_column(name))
    }

    fn is_callable(&self, name: &str) -> bool {
        let of_users = self.index.functions_called(name).next();
        of_users.is_some() || self.index.builtin(name).is_some() || self.is_type(name)
    }

    /// Each column that is converted to a date or time is one already, or a number.
    pub(super) fn converts_no_text(&self, facts: &Facts, scope: &NameScope) -> bool {
        let Some(columns) = &facts.datetime_columns else {
            return false;
        };
        columns.iter().all(|column| {
            // A name that the statement defines may stand for any expression.
            if facts.defined.contains(&column.name) {
                return false;
            }
            let mut types = facts
                .relations
                .iter()
                .flat_map(|used| self.candidates(&used.name, scope))
                .filter_map(|oid| self.index.relation(oid))
                .flat_map(|relation| relation.columns.iter().filter(|c| c.name == column.name))
                .peekable();
            types.peek().is_some() && types.all(|c| builtin::converts_without_text(c.type_oid))
        })
    }
}
