//! PostgreSQL's own tree of a statement, as JSON: a walk over it passes every node, those too that nobody thought of.

use serde_json::{Map, Value};

pub type Fields = Map<String, Value>;

/// The trees of the statements of a text; `None` if PostgreSQL refuses it, or its tree is too deep for its reader.
pub fn parse(text: &str) -> Option<Vec<Value>> {
    let parsed = pg_query::parse(text, 0).ok()?;
    let statements = parsed.protobuf.stmts.iter();
    statements
        .map(|raw| serde_json::to_value(raw.stmt.as_deref()).ok())
        .collect()
}

/// What a node is, and its fields.
pub fn node(value: &Value) -> Option<(&str, &Fields)> {
    let (name, fields) = value.get("node")?.as_object()?.iter().next()?;
    Some((name, fields.as_object()?))
}

/// The fields of a node of that sort.
pub fn fields<'a>(value: &'a Value, sort: &str) -> Option<&'a Fields> {
    node(value)
        .filter(|(name, _)| *name == sort)
        .map(|(_, fields)| fields)
}

pub fn list<'a>(fields: &'a Fields, name: &str) -> &'a [Value] {
    fields
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// A field that is text; empty where there is none.
pub fn text<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}

pub fn number(fields: &Fields, name: &str) -> i64 {
    fields.get(name).and_then(Value::as_i64).unwrap_or_default()
}

pub fn flag(fields: &Fields, name: &str) -> bool {
    fields
        .get(name)
        .and_then(Value::as_bool)
        .unwrap_or_default()
}

/// A field that is something else than nothing.
pub fn some<'a>(fields: &'a Fields, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}

/// The parts of a name, with `*` for all.
pub fn parts(values: &[Value]) -> Option<Vec<String>> {
    values
        .iter()
        .map(|value| match node(value)? {
            ("String", fields) => Some(text(fields, "sval").to_owned()),
            ("AStar", _) => Some("*".to_owned()),
            _ => None,
        })
        .collect()
}

/// `schema.name`; the grammar's own names have the schema `pg_catalog`.
pub fn object(values: &[Value]) -> (Option<String>, String) {
    let mut parts = parts(values).unwrap_or_default();
    let name = parts.pop().unwrap_or_default();
    (parts.pop(), name)
}

/// The parts of a reference to a column.
pub fn column(value: &Value) -> Option<Vec<String>> {
    parts(list(fields(value, "ColumnRef")?, "fields"))
}
