//! The walk over a parsed statement: everything that it names, and `doubt` at whatever is not known here.
//!
//! Matches list their variants, and structures that may hold more than PostgreSQL's grammar are taken apart field by
//! field, so that what a new version of the parser adds does not pass unseen.

mod blocks;
mod constants;
mod dml;
mod expression;
mod from;
mod function;
mod query;
mod returning;
mod rows;
mod special;
mod types;

use std::collections::HashSet;

use sqlparser::ast::{Ident, ObjectName as ParsedName, ObjectNamePart, Statement};

use super::Bypass;
use super::blocks::{Block, Change, Derived, Output};
use super::facts::{Access, ColumnUse, FunctionUse, ObjectName, RelationUse};
use super::lexer::fold;
use super::tokens::{Prepared, is_only};
use super::vocabulary::names_system_column;
use types::is_datetime;

/// Levels of the tree that are followed down; deeper, the statement is not known completely.
const DEPTH_MAX: usize = 128;

/// What a walk has met.
#[derive(Default)]
pub(super) struct Walker {
    pub relations: Vec<RelationUse>,
    pub functions: Vec<FunctionUse>,
    pub operators: Vec<String>,
    pub types: Vec<ObjectName>,
    pub columns: Vec<ColumnUse>,
    pub defined: Vec<String>,
    pub hazard: Option<Bypass>,
    pub datetime_columns: Option<Vec<ColumnUse>>,
    pub wildcard: bool,
    pub ordered: bool,
    pub limited: bool,
    pub locks: bool,
    pub literal_dependent: bool,
    pub blocks: Vec<Block>,
    pub derived: Vec<Derived>,
    pub rows: Vec<usize>,
    pub change: Option<Change>,
    pub returning: Vec<Output>,
    pub returns: bool,
    /// Something was met that is not known here, or that PostgreSQL has not.
    pub doubt: bool,
    /// A text is converted to a date or time whatever the types of the columns.
    datetime_fixed: bool,
    selects: usize,
    changes: usize,
    depth: usize,
    /// Window functions.
    windows: usize,
    /// Common table expressions, by the WITH that defines them, inside out.
    scopes: Vec<Vec<rows::Common>>,
    /// Every name that the walk has met, in whatever role.
    met: HashSet<String>,
    /// Where in a block the walk is; `None` where names are no sources of one.
    place: Option<blocks::Place>,
}

impl Walker {
    /// Walks a query or change; anything else is a doubt.
    pub fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Query(query) => {
                self.ordered = query.order_by.is_some();
                self.rows = self.query(query).unwrap_or_default();
            }
            other => {
                let block = self.change(other);
                self.note_change(other, block);
                self.note_returning(other, block);
            }
        }
    }

    /// It contains INSERT, UPDATE, DELETE or MERGE.
    pub fn changes(&self) -> bool {
        self.changes > 0
    }

    /// Whether everything that the tokens promised was met.
    pub fn accounts_for(&self, prepared: &Prepared) -> bool {
        !self.doubt
            && self.selects == prepared.selects
            && self.changes == prepared.changes
            && prepared.names.iter().all(|name| self.met.contains(name))
    }

    /// A reason that holds whatever the catalogue says. The first one stays, but for the one that may be lifted.
    fn raise(&mut self, hazard: Bypass) {
        if self
            .hazard
            .is_none_or(|known| known == Bypass::DatetimeText)
        {
            self.hazard = Some(hazard);
        }
    }

    /// Runs `inner` one level down, unless that is too deep.
    fn deeper(&mut self, inner: impl FnOnce(&mut Self)) {
        if self.depth == DEPTH_MAX {
            self.doubt = true;
            return;
        }
        self.depth += 1;
        inner(self);
        self.depth -= 1;
    }

    /// An identifier as PostgreSQL keeps it, which has been met by this.
    fn name(&mut self, ident: &Ident) -> String {
        // PostgreSQL has no such names: what looks like an alias is the constant of a type (`pg_lsn '0/0'`).
        self.doubt |= ident.quote_style == Some('\'');
        let name = if ident.quote_style.is_some() {
            ident.value.clone()
        } else {
            fold(&ident.value)
        };
        if !self.met.contains(&name) {
            self.met.insert(name.clone());
        }
        name
    }

    fn define(&mut self, ident: &Ident) -> String {
        let name = self.name(ident);
        if !self.defined.contains(&name) {
            self.defined.push(name.clone());
        }
        name
    }

    fn parts(&mut self, name: &ParsedName) -> Vec<String> {
        let mut parts = Vec::with_capacity(name.0.len());
        for part in &name.0 {
            match part {
                ObjectNamePart::Identifier(ident) => parts.push(self.name(ident)),
                ObjectNamePart::Function(_) => self.doubt = true,
            }
        }
        parts
    }

    /// `schema.name` or `name`. A database in front can only be the current one.
    fn object(&mut self, name: &ParsedName) -> ObjectName {
        let mut parts = self.parts(name);
        self.doubt |= !(1..=3).contains(&parts.len());
        let name = parts.pop().unwrap_or_default();
        ObjectName {
            schema: parts.pop(),
            name,
        }
    }

    fn relation(&mut self, name: &ParsedName, access: Access, alias: Option<String>) {
        let only = matches!(name.0.first(), Some(ObjectNamePart::Identifier(ident)) if is_only(ident.span));
        let name = self.object(name);
        // What a change is made to is never a common table expression.
        if access == Access::Read && name.schema.is_none() && self.is_common_table(&name.name) {
            return;
        }
        let used = RelationUse {
            name,
            access,
            only,
            alias,
        };
        if !self.relations.contains(&used) {
            self.relations.push(used);
        }
    }

    fn is_common_table(&self, name: &str) -> bool {
        self.scopes.iter().flatten().any(|known| known.name == name)
    }

    fn column(&mut self, qualifier: Vec<String>, name: String) {
        if names_system_column(&name) {
            self.raise(Bypass::SystemColumn);
        }
        let used = ColumnUse { qualifier, name };
        if !self.columns.contains(&used) {
            self.columns.push(used);
        }
    }

    fn operator(&mut self, operator: &str) {
        if !self.operators.iter().any(|known| known == operator) {
            self.operators.push(operator.to_owned());
        }
    }

    fn call(&mut self, name: &str, argument_count: usize) {
        self.called(FunctionUse {
            name: ObjectName {
                schema: None,
                name: name.to_owned(),
            },
            argument_count,
            literal_arguments: vec![None; argument_count],
            field: false,
        });
    }

    /// `(row).name`, which is a call or a cast if there is no such field. It is given a qualifier that no relation can have,
    /// so that it is no known column.
    fn field(&mut self, name: String) {
        if is_datetime(&name) {
            self.clock_conversion();
        }
        self.called(FunctionUse {
            name: ObjectName {
                schema: None,
                name: name.clone(),
            },
            argument_count: 1,
            literal_arguments: vec![None],
            field: true,
        });
        self.column(vec![String::new()], name);
    }

    fn called(&mut self, function: FunctionUse) {
        if !self.functions.contains(&function) {
            self.functions.push(function);
        }
    }
}
