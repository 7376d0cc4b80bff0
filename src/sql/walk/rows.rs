//! The walk's notes of whose rows a query has, and which columns of them: how a condition on a column of a subquery is
//! one on a column of what it is made of.
//!
//! A condition may be asked earlier where the rows that it drops have no part in those that it keeps. They have where a
//! query counts rows off (LIMIT, DISTINCT ON) or looks from one row at others (window functions). A group has one value in
//! a column that is shown as it is, or PostgreSQL would refuse the query, but for GROUPING SETS; DISTINCT and UNION drop
//! only rows that are equal in all columns.

use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, ObjectNamePart, Select, SelectItem,
    SelectItemQualifiedWildcardKind,
};

use super::Walker;
use super::blocks::plain;
use super::constants::column;
use crate::sql::blocks::{Derived, Shown};

/// Columns of one block; of what has more nothing is noted. Blocks whose rows are those of one query.
const SHOWN_MAX: usize = 256;
const BRANCHES_MAX: usize = 16;

/// The blocks whose rows together are those of a query of which conditions may be asked earlier.
pub(super) type Rows = Option<Vec<usize>>;

/// A common table expression in reach.
#[derive(Debug, Clone)]
pub(super) struct Common {
    pub name: String,
    pub derived: Option<usize>,
}

impl Walker {
    /// Notes the columns of a block, if conditions on them may be asked of its sources.
    pub(super) fn note_shown(&mut self, block: usize, select: &Select, windows: usize) -> Rows {
        let grouped_plainly = match &select.group_by {
            GroupByExpr::All(_) => false,
            GroupByExpr::Expressions(expressions, modifiers) => {
                modifiers.is_empty() && !expressions.iter().any(is_several)
            }
        };
        let apart = matches!(select.distinct, Some(Distinct::On(_)))
            || self.windows > windows
            || !select.named_window.is_empty();
        if apart || !grouped_plainly || select.projection.len() > SHOWN_MAX {
            return None;
        }
        let block_of = self.blocks.get_mut(block)?;
        let sources = block_of.sources.len();
        block_of.shown = select
            .projection
            .iter()
            .map(|item| shown(item, sources))
            .collect();
        Some(vec![block])
    }

    /// Notes that these blocks have the rows of one query; its number.
    pub(super) fn note_derived(&mut self, rows: Rows, uses: usize) -> Option<usize> {
        let branches = rows?;
        self.derived.push(Derived { branches, uses });
        Some(self.derived.len() - 1)
    }

    /// The common table expression of that name, which is read once more.
    pub(super) fn use_common(&mut self, name: &str) -> Option<usize> {
        let mut scopes = self.scopes.iter().rev().flatten();
        let derived = scopes.find(|known| known.name == name)?.derived?;
        self.derived.get_mut(derived)?.uses += 1;
        Some(derived)
    }
}

/// The rows of a UNION.
pub(super) fn united(left: Rows, right: Rows) -> Rows {
    let mut branches = left?;
    branches.extend(right?);
    (branches.len() <= BRANCHES_MAX).then_some(branches)
}

/// GROUPING SETS and its like.
fn is_several(expression: &Expr) -> bool {
    match expression {
        Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_) => true,
        Expr::Nested(inner) => is_several(inner),
        Expr::Tuple(parts) => parts.iter().any(is_several),
        _ => false,
    }
}

fn shown(item: &SelectItem, sources: usize) -> Shown {
    let of = |expression: &Expr| column(expression, 0, sources);
    let unnamed = Shown::Expression { name: None };
    match item {
        SelectItem::UnnamedExpr(expression) => match of(expression) {
            Some(seen) => Shown::Column {
                name: seen.column.name.clone(),
                seen,
            },
            None => unnamed,
        },
        SelectItem::ExprWithAlias { expr, alias } => {
            let name = plain(alias);
            match of(expr) {
                Some(seen) => Shown::Column { name, seen },
                None => Shown::Expression { name: Some(name) },
            }
        }
        SelectItem::Wildcard(_) => Shown::All(None),
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
            match name.0.as_slice() {
                [ObjectNamePart::Identifier(alias)] => Shown::All(Some(plain(alias))),
                // Of a relation by its full name: its columns, and how many there are, are not followed.
                _ => Shown::All(Some(String::new())),
            }
        }
        // A row of a type: as many columns as it has.
        SelectItem::QualifiedWildcard(..) => Shown::All(Some(String::new())),
        SelectItem::ExprWithAliases { .. } => unnamed,
    }
}
