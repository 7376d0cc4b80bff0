//! What the console shows, as JSON.

use serde_json::{Map, Value, json};

use crate::admin::show::Show;
use crate::admin::table::{Cell, Table};

/// What is under `/api/v1/`.
const PATHS: &[Show] = &[
    Show::Pools,
    Show::Clients,
    Show::Servers,
    Show::Databases,
    Show::Stats,
    Show::Cache,
    Show::CacheTables,
    Show::CacheRules,
    Show::Slow,
    Show::Queries,
    Show::Pins,
];

/// The table that a path such as `cache_tables` names.
pub(super) fn find(path: &str) -> Option<Show> {
    let named = |show: &&Show| show.as_str().to_ascii_lowercase() == path;
    PATHS.iter().find(named).copied()
}

/// One object for each row, under the names of the columns. Numbers of more than 53 bits do not occur in
/// practice; a reader that cannot hold them rounds.
pub(super) fn render(table: &Table) -> Value {
    let value = |cell: &Cell| match cell {
        Cell::Null => Value::Null,
        Cell::Text(text) => json!(text),
        Cell::Number(number) => json!(number),
    };
    let row = |row: &Vec<Cell>| {
        let pairs = table.columns.iter().zip(row);
        let pairs = pairs.map(|(column, cell)| (column.name.to_owned(), value(cell)));
        Value::Object(pairs.collect::<Map<_, _>>())
    };
    json!({ "rows": table.rows.iter().map(row).collect::<Vec<_>>() })
}
