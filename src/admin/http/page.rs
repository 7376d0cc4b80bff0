//! The status page: the tables that answer most questions, as plain HTML.

use std::fmt::Write;

use crate::admin::house::House;
use crate::admin::show::Show;
use crate::admin::table::{Kind, Table};
use crate::metrics::Totals;

/// What is shown, under which heading.
const SECTIONS: &[(&str, Show)] = &[
    ("State", Show::State),
    ("Pools", Show::Pools),
    ("Databases", Show::Databases),
    ("Cache", Show::Cache),
    ("Cached tables", Show::CacheTables),
    ("Costliest statements", Show::Queries),
    ("Slow statements", Show::Slow),
    ("Pinned sessions", Show::Pins),
];

/// More rows than this are for the API.
const ROWS_MAX: usize = 20;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--faint:#8881}\
body{font:14px/1.5 system-ui,sans-serif;margin:2rem auto;padding:0 1rem;max-width:80rem}\
h1{font-size:1.4rem;margin:0}h2{font-size:1.05rem;margin:2rem 0 .5rem}\
.figures{display:flex;flex-wrap:wrap;gap:1rem;margin:1rem 0}\
.figures div{border:1px solid var(--line);border-radius:.5rem;padding:.5rem 1rem;min-width:8rem}\
.figures b{display:block;font-size:1.3rem;font-variant-numeric:tabular-nums}\
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:13px}\
th,td{padding:.2rem .6rem;text-align:left;white-space:nowrap;border-bottom:1px solid var(--line)}\
th{font-weight:600;background:var(--faint)}\
td.n{text-align:right;font-variant-numeric:tabular-nums}\
td.s{white-space:normal;min-width:24rem;font-family:ui-monospace,monospace}\
p{opacity:.75}";

pub(super) fn render(house: &dyn House) -> String {
    let mut html = String::from(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>pgditto</title><style>",
    );
    html.push_str(STYLE);
    html.push_str("</style></head><body>");
    let version = env!("CARGO_PKG_VERSION");
    push(&mut html, format_args!("<h1>pgditto {version}</h1>"));
    figures(&mut html, house);
    for (heading, show) in SECTIONS {
        push(&mut html, format_args!("<h2>{heading}</h2>"));
        table(&mut html, &show.table(house));
    }
    html.push_str(
        "<p>The same and more: psql to the database <code>pgbouncer</code>, then <code>SHOW HELP</code>; \
         JSON under <code>/api/v1/</code>; <code>/metrics</code>. Times are in microseconds.</p></body></html>\n",
    );
    html
}

/// What one wants to know first.
fn figures(html: &mut String, house: &dyn House) {
    let snapshot = house.snapshot();
    let stats = house.metrics().stats();
    let sum = stats
        .iter()
        .fold(Totals::default(), |sum, line| sum.plus(&line.totals));
    let reads = sum.hits + sum.misses + sum.bypasses;
    let ratio = (sum.hits * 100).checked_div(reads);
    let ratio = ratio.map_or_else(|| "–".to_owned(), |percent| format!("{percent} %"));
    let (used, free) = (snapshot.used_servers(), snapshot.free_servers());
    html.push_str("<div class=\"figures\">");
    for (name, value) in [
        ("state", snapshot.phase.as_str().to_owned()),
        ("clients", snapshot.clients.connected.to_string()),
        (
            "upstream connections",
            format!("{used} in use, {free} idle"),
        ),
        ("reads from the cache", ratio),
        ("statements", sum.statements.to_string()),
        ("cache", format!("{} KiB", snapshot.cache.bytes >> 10)),
    ] {
        push(
            html,
            format_args!("<div>{name}<b>{}</b></div>", escape(&value)),
        );
    }
    html.push_str("</div>");
}

fn table(html: &mut String, table: &Table) {
    if table.rows.is_empty() {
        html.push_str("<p>none</p>");
        return;
    }
    html.push_str("<div class=\"scroll\"><table><tr>");
    for column in table.columns {
        push(html, format_args!("<th>{}</th>", escape(column.name)));
    }
    html.push_str("</tr>");
    for row in table.rows.iter().take(ROWS_MAX) {
        html.push_str("<tr>");
        for (column, cell) in table.columns.iter().zip(row) {
            let class = match (column.kind, column.name) {
                (Kind::Text, "statement") => " class=\"s\"",
                (Kind::Text, _) => "",
                (Kind::Int4 | Kind::Int8 | Kind::Numeric, _) => " class=\"n\"",
            };
            let text = cell.print().unwrap_or_default();
            push(html, format_args!("<td{class}>{}</td>", escape(&text)));
        }
        html.push_str("</tr>");
    }
    html.push_str("</table></div>");
    if let Some(more) = table
        .rows
        .len()
        .checked_sub(ROWS_MAX)
        .filter(|more| *more > 0)
    {
        push(html, format_args!("<p>and {more} more</p>"));
    }
}

fn push(html: &mut String, text: std::fmt::Arguments<'_>) {
    html.write_fmt(text)
        .expect("writing to a String does not fail");
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for next in text.chars() {
        match next {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            next => escaped.push(next),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_chose_is_no_markup() {
        assert_eq!(escape("<script>'\"&"), "&lt;script&gt;&#39;&quot;&amp;");
    }
}
