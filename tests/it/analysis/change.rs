//! What a statement changes by PostgreSQL's tree, and whether our facts leave out or invent some of it.

use pgditto::sql::{Assigned, Change, Conflict, Facts, Literals, Output};
use serde_json::Value;

use super::blocks::{fixed, is_that};
use super::tree::{self, Fields, column, list, node, number, some, text};

/// What our facts say of the change at the top of a statement that is not so.
pub fn claimed(facts: &Facts, statement: &Value, sql: &str) -> Vec<String> {
    let Some((sort, fields)) = node(statement) else {
        return Vec::new();
    };
    let literals = Literals::of(sql);
    let mut claims = Vec::new();
    match (&facts.change, sort) {
        (None, _) => {}
        (Some(Change::Delete { block }), "DeleteStmt") => {
            claims.extend(target(facts, *block, fields))
        }
        (Some(Change::Update { block, assigned }), "UpdateStmt") => {
            claims.extend(target(facts, *block, fields));
            claims.extend(assigns(assigned, list(fields, "target_list"), &literals));
        }
        (
            Some(Change::Insert {
                columns,
                rows,
                conflict,
            }),
            "InsertStmt",
        ) => {
            claims.extend(inserts(columns.as_deref(), rows, fields, &literals));
            claims.extend(conflicts(conflict, fields, &literals));
        }
        (Some(change), sort) => claims.push(format!("{change:?} of {sort}")),
    }
    claims.extend(returns(facts, fields));
    claims
}

/// The target is the first source of the change's block.
fn target(facts: &Facts, block: usize, fields: &Fields) -> Option<String> {
    let first = facts
        .blocks
        .get(block)
        .and_then(|block| block.sources.first());
    let name = first
        .and_then(|source| source.relation.as_ref())
        .map(|name| name.name.as_str());
    let theirs = some(fields, "relation")?
        .as_object()
        .map(|target| text(target, "relname"));
    (name != theirs).then(|| format!("target {first:?}"))
}

fn assigns(ours: &[(String, Assigned)], theirs: &[Value], literals: &Literals<'_>) -> Vec<String> {
    let theirs: Vec<&Fields> = theirs
        .iter()
        .filter_map(|target| tree::fields(target, "ResTarget"))
        .collect();
    let mut claims = Vec::new();
    for target in &theirs {
        let name = text(target, "name");
        if !ours.iter().any(|(known, _)| known == name) {
            claims.push(format!("{name} is not assigned"));
        }
    }
    for (name, value) in ours {
        let Some(value) = value else { continue };
        let so = theirs.iter().any(|target| {
            text(target, "name") == name
                && list(target, "indirection").is_empty()
                && fixed(&target["val"]).is_some_and(|their| is_that(value, &their, literals))
        });
        if !so {
            claims.push(format!("{name} becomes {value:?}"));
        }
    }
    claims
}

fn inserts(
    columns: Option<&[String]>,
    rows: &[Vec<Assigned>],
    fields: &Fields,
    literals: &Literals<'_>,
) -> Vec<String> {
    const NOT_OVERRIDING: i64 = 1;
    let mut claims = Vec::new();
    let their_columns: Vec<&str> = list(fields, "cols")
        .iter()
        .filter_map(|column| tree::fields(column, "ResTarget"))
        .map(|column| match list(column, "indirection") {
            [] => text(column, "name"),
            _ => "",
        })
        .collect();
    if !columns.unwrap_or_default().iter().eq(&their_columns) {
        claims.push(format!("columns {columns:?}"));
    }
    if number(fields, "override") != NOT_OVERRIDING {
        claims.push("nothing is overridden".to_owned());
    }
    let their_rows: Vec<&[Value]> = some(fields, "select_stmt")
        .and_then(|query| tree::fields(query, "SelectStmt"))
        .map(|query| list(query, "values_lists"))
        .unwrap_or_default()
        .iter()
        .filter_map(|row| tree::fields(row, "List"))
        .map(|row| list(row, "items"))
        .collect();
    let same = rows.len() == their_rows.len()
        && rows.iter().zip(their_rows).all(|(row, their_row)| {
            row.len() == their_row.len()
                && row.iter().zip(their_row).all(|(our, their)| {
                    our.as_ref().is_none_or(|our| {
                        fixed(their).is_some_and(|their| is_that(our, &their, literals))
                    })
                })
        });
    if !same {
        claims.push(format!("rows {rows:?}"));
    }
    claims
}

fn conflicts(conflict: &Conflict, fields: &Fields, literals: &Literals<'_>) -> Vec<String> {
    const UPDATE: i64 = 3;
    let theirs = some(fields, "on_conflict_clause").and_then(Value::as_object);
    let updates = theirs.is_some_and(|theirs| number(theirs, "action") == UPDATE);
    match (conflict, theirs) {
        (Conflict::Unknown, _) => Vec::new(),
        (Conflict::Nothing, _) if !updates => Vec::new(),
        (Conflict::Update { columns, assigned }, Some(theirs)) if updates => {
            let mut claims = assigns(assigned, list(theirs, "target_list"), literals);
            let infer = some(theirs, "infer").and_then(Value::as_object);
            let plain = |element: &Value| {
                let element = tree::fields(element, "IndexElem")?;
                let plain = some(element, "expr").is_none()
                    && list(element, "collation").is_empty()
                    && list(element, "opclass").is_empty();
                plain.then(|| text(element, "name").to_owned())
            };
            let names = infer.and_then(|infer| {
                let elements = list(infer, "index_elems").iter();
                elements.map(plain).collect::<Option<Vec<_>>>()
            });
            if names.as_ref() != Some(columns) {
                claims.push(format!("conflict of {columns:?}"));
            }
            claims
        }
        _ => vec![format!("{conflict:?}")],
    }
}

fn returns(facts: &Facts, fields: &Fields) -> Vec<String> {
    if facts.returning.is_empty() {
        return Vec::new();
    }
    let expressions: Vec<&Value> = some(fields, "returning_clause")
        .and_then(Value::as_object)
        .map(|clause| list(clause, "exprs"))
        .unwrap_or_default()
        .iter()
        .filter_map(|target| tree::fields(target, "ResTarget")?.get("val"))
        .collect();
    let target = some(fields, "relation")
        .and_then(Value::as_object)
        .map(
            |target| match some(target, "alias").and_then(Value::as_object) {
                Some(alias) => text(alias, "aliasname"),
                None => text(target, "relname"),
            },
        );
    let alone = list(fields, "from_clause").is_empty() && list(fields, "using_clause").is_empty();
    let is = |ours: &Output, their: &Value| {
        let parts = column(their).unwrap_or_default();
        let (qualifier, last) = match parts.as_slice() {
            [last] => (None, last.as_str()),
            [qualifier, last] => (Some(qualifier.as_str()), last.as_str()),
            _ => (None, ""),
        };
        let of_target = qualifier.is_none() || qualifier == target;
        match ours {
            Output::Column(name) => name == last && of_target,
            Output::All => last == "*" && of_target && (alone || qualifier.is_some()),
            Output::Other => parts.last().is_none_or(|last| last != "*"),
        }
    };
    let same = facts.returning.len() == expressions.len()
        && facts
            .returning
            .iter()
            .zip(expressions)
            .all(|(our, their)| is(our, their));
    if same {
        Vec::new()
    } else {
        vec![format!("returning {:?}", facts.returning)]
    }
}
