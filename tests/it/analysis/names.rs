//! What a statement names by PostgreSQL's tree, and whether our facts say so.

use std::collections::BTreeSet;

use pgditto::sql::{Access, Facts, Kind, ObjectName};
use serde_json::Value;

use super::blocks::{self, Block};
use super::tree::{self, Fields, flag, list, node, number, object, some, text};

type Name = (Option<String>, String);

/// A relation, whether it is written, ONLY, and its alias.
type Relation = (Name, bool, bool, Option<String>);

/// What PostgreSQL's tree of one statement names.
#[derive(Default)]
pub struct Names {
    relations: BTreeSet<Relation>,
    /// With the number of arguments.
    functions: BTreeSet<(Name, usize)>,
    operators: BTreeSet<String>,
    types: BTreeSet<Name>,
    columns: BTreeSet<Vec<String>>,
    pub parameters: Vec<i64>,
    pub blocks: Vec<Block>,
    writes: bool,
    locks: bool,
    wildcard: bool,
    limited: bool,
    current_value: bool,
    /// The next function is a source of rows.
    in_from: bool,
    /// The names of common table expressions that can be seen.
    scope: Vec<String>,
}

impl Names {
    /// Of what runs when the statement does.
    pub fn of(statement: &Value, kind: &Kind) -> Self {
        let mut names = Self::default();
        match node(statement) {
            // These run nothing, and a new temporary table only the query that fills it.
            Some((
                "CommentStmt" | "VariableSetStmt" | "TransactionStmt" | "ConstraintsSetStmt",
                _,
            )) => {}
            Some(("PrepareStmt", fields)) => names.visit(&fields["query"]),
            Some(("CreateTableAsStmt", fields)) if *kind == Kind::TemporaryDdl => {
                names.visit(&fields["query"]);
            }
            Some(("SelectStmt", _)) => names.visit(statement),
            _ if *kind == Kind::TemporaryDdl => {}
            _ => names.visit(statement),
        }
        names
    }

    pub fn is_common_table(&self, name: &str) -> bool {
        self.scope.iter().any(|known| known == name)
    }

    fn visit(&mut self, value: &Value) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| self.visit(value)),
            Value::Object(fields) => match node(value) {
                Some((sort, fields)) => self.met(sort, fields),
                // A field of a known sort: the sort is not written there.
                None => self.met(sort_of(fields), fields),
            },
            _ => {}
        }
    }

    fn met(&mut self, sort: &str, fields: &Fields) {
        let mut skipped: &[&str] = &[];
        match sort {
            "RangeVar" => return self.relation(fields, false),
            "LockingClause" => {
                self.locks = true;
                return;
            }
            // The new table.
            "IntoClause" => return,
            "WithClause" => return,
            "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt" => {
                self.writes = true;
                skipped = &["relation"];
                if sort != "InsertStmt"
                    && let Some(Value::Object(target)) = some(fields, "relation")
                {
                    let scope = std::mem::take(&mut self.scope);
                    self.relation(target, false);
                    self.scope = scope;
                }
            }
            "CopyStmt" if flag(fields, "is_from") => {
                self.writes = true;
                skipped = &["relation"];
            }
            "RefreshMatViewStmt" => {
                self.writes = true;
                skipped = &["relation"];
            }
            "TruncateStmt" => {
                self.writes = true;
                for relation in list(fields, "relations") {
                    if let Some(relation) = tree::fields(relation, "RangeVar") {
                        self.relation(relation, true);
                    }
                }
                return;
            }
            "LockStmt" => self.locks = true,
            "SelectStmt" => {
                self.limited |= some(fields, "limit_count").is_some()
                    || some(fields, "limit_offset").is_some()
                    || list(fields, "distinct_clause")
                        .iter()
                        .any(|expression| node(expression).is_some());
            }
            "RangeFunction" => {
                for function in list(fields, "functions") {
                    self.in_from = true;
                    self.visit(function);
                    self.in_from = false;
                }
                skipped = &["functions"];
            }
            "FuncCall" => self.function(fields),
            "AExpr" => self.operator(object(list(fields, "name")).1),
            "SubLink" if !list(fields, "oper_name").is_empty() => {
                self.operator(object(list(fields, "oper_name")).1);
            }
            "TypeName" if !list(fields, "names").is_empty() => {
                self.types.insert(object(list(fields, "names")));
            }
            // A row that several columns are assigned from stands there once for each of them.
            "MultiAssignRef" if number(fields, "colno") > 1 => return,
            // An index is looked for by its definition, nothing of which is evaluated; options are words.
            "InferClause" | "DefElem" => return,
            "ParamRef" => self.parameters.push(number(fields, "number")),
            // Who asks is known; the others are CURRENT_DATE and its like.
            "SqlvalueFunction" => {
                const USERS: std::ops::RangeInclusive<i64> = 10..=13;
                self.current_value |= !USERS.contains(&number(fields, "op"));
            }
            "AStar" => self.wildcard = true,
            "ColumnRef" => {
                if let Some(parts) = tree::parts(list(fields, "fields"))
                    && parts.last().is_some_and(|name| name != "*")
                {
                    self.columns.insert(parts);
                }
            }
            _ => {}
        }
        if skipped.contains(&"relation")
            && let Some(Value::Object(target)) = some(fields, "relation")
        {
            self.relation(target, true);
        }
        let outer = self.scope.len();
        if let Some(Value::Object(with)) = some(fields, "with_clause") {
            self.common_tables(with);
        }
        if let Some(block) = blocks::block(sort, fields, self) {
            self.blocks.push(block);
        }
        for (name, value) in fields {
            if !skipped.contains(&name.as_str()) {
                self.visit(value);
            }
        }
        self.scope.truncate(outer);
    }

    /// Without RECURSIVE an expression sees those before it, with RECURSIVE all of them.
    fn common_tables(&mut self, with: &Fields) {
        let tables: Vec<&Fields> = list(with, "ctes")
            .iter()
            .filter_map(|table| tree::fields(table, "CommonTableExpr"))
            .collect();
        let name = |table: &Fields| text(table, "ctename").to_owned();
        if flag(with, "recursive") {
            self.scope.extend(tables.iter().map(|table| name(table)));
            for table in tables {
                self.visit(&table["ctequery"]);
            }
        } else {
            for table in tables {
                self.visit(&table["ctequery"]);
                self.scope.push(name(table));
            }
        }
    }

    fn relation(&mut self, fields: &Fields, write: bool) {
        let name = text(fields, "relname").to_owned();
        let schema = Some(text(fields, "schemaname").to_owned()).filter(|name| !name.is_empty());
        if !write && schema.is_none() && self.is_common_table(&name) {
            return;
        }
        let alias = match some(fields, "alias") {
            Some(Value::Object(alias)) => Some(text(alias, "aliasname").to_owned()),
            _ => None,
        };
        self.relations
            .insert(((schema, name), write, !flag(fields, "inh"), alias));
    }

    fn operator(&mut self, name: String) {
        match name.as_str() {
            "BETWEEN" | "BETWEEN SYMMETRIC" => {
                self.operators.extend([">=".to_owned(), "<=".to_owned()])
            }
            "NOT BETWEEN" | "NOT BETWEEN SYMMETRIC" => {
                self.operators.extend(["<".to_owned(), ">".to_owned()])
            }
            _ => {
                self.operators.insert(name);
            }
        }
    }

    fn function(&mut self, fields: &Fields) {
        let in_from = std::mem::take(&mut self.in_from);
        let mut count = list(fields, "args").len();
        let name = object(list(fields, "funcname"));
        if in_from && name == (None, "unnest".to_owned()) && count > 1 {
            // It is as many calls as it has arguments.
            count = 1;
        }
        if flag(fields, "agg_within_group") {
            count += list(fields, "agg_order").len();
        }
        self.functions.insert((name, count));
    }

    /// What is there and our facts do not know.
    pub fn missing_in(&self, facts: &Facts) -> Vec<String> {
        let mut missing = Vec::new();
        let ran = facts.kind != Kind::Explain { analyze: false };
        for relation in &self.relations {
            let (name, write, only, alias) = relation;
            let access = if *write && ran {
                Access::Write
            } else {
                Access::Read
            };
            let known = facts.relations.iter().any(|known| {
                same(name, &known.name)
                    && known.access == access
                    && (!known.only || *only)
                    && known.alias == *alias
            });
            if !known {
                missing.push(format!("relation {relation:?}"));
            }
        }
        for function in &self.functions {
            let (name, count) = function;
            let known = facts
                .functions
                .iter()
                .any(|known| same(name, &known.name) && known.argument_count == *count);
            if !known {
                missing.push(format!("function {function:?}"));
            }
        }
        for name in &self.types {
            // INTERVAL '…' is the grammar's own, whatever else has that name.
            let interval = name.0.as_deref() == Some("pg_catalog") && name.1 == "interval";
            if !interval && !facts.types.iter().any(|known| same(name, known)) {
                missing.push(format!("type {name:?}"));
            }
        }
        for operator in &self.operators {
            if !facts.operators.contains(operator) {
                missing.push(format!("operator {operator}"));
            }
        }
        for parts in &self.columns {
            let last = parts.last().map_or("", String::as_str);
            let known = facts.columns.iter().any(|known| {
                known.qualifier.iter().chain([&known.name]).eq(parts)
                    // `t.c[1]` is taken apart further, and is then no known column.
                    || known.qualifier == [""] && known.name == last
            });
            if !known {
                missing.push(format!("column {parts:?}"));
            }
        }
        let select = facts.kind == Kind::Select && !self.writes;
        for (there, known, what) in [
            (self.writes && ran, facts.writes, "a write"),
            (self.locks && ran, facts.locks, "a lock"),
            (self.wildcard, facts.wildcard, "a wildcard"),
            (self.limited, facts.limited, "a limit"),
            (
                self.current_value && select,
                facts.hazard.is_some(),
                "a current value",
            ),
        ] {
            if there && !known {
                missing.push(what.to_owned());
            }
        }
        missing
    }
}

/// The grammar's own names are in `pg_catalog`, which we do not write.
fn same(theirs: &Name, ours: &ObjectName) -> bool {
    theirs.1 == ours.name
        && (theirs.0 == ours.schema
            || theirs.0.as_deref() == Some("pg_catalog") && ours.schema.is_none())
}

fn sort_of(fields: &Fields) -> &'static str {
    let has = |name: &str| fields.contains_key(name);
    if has("relname") && has("relpersistence") {
        "RangeVar"
    } else if has("values_lists") {
        "SelectStmt"
    } else if has("funcname") && has("agg_star") {
        "FuncCall"
    } else if has("names") && has("typemod") {
        "TypeName"
    } else if has("ctes") {
        "WithClause"
    } else if has("on_commit") && has("rel") {
        "IntoClause"
    } else if has("index_elems") {
        "InferClause"
    } else {
        ""
    }
}
