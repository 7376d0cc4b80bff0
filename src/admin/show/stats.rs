//! STATS, STATS_TOTALS, STATS_AVERAGES, TOTALS. Times in microseconds.

use crate::admin::house::House;
use crate::admin::table::{Cell, Column, numeric, row, text};
use crate::metrics::{DatabaseStats, Totals};

pub(super) const STATS: &[Column] = &[
    text("database"),
    numeric("total_xact_count"),
    numeric("total_query_count"),
    numeric("total_received"),
    numeric("total_sent"),
    numeric("total_xact_time"),
    numeric("total_query_time"),
    numeric("total_wait_time"),
    numeric("avg_xact_count"),
    numeric("avg_query_count"),
    numeric("avg_recv"),
    numeric("avg_sent"),
    numeric("avg_xact_time"),
    numeric("avg_query_time"),
    numeric("avg_wait_time"),
    numeric("total_server_assignment_count"),
    numeric("total_client_parse_count"),
    numeric("total_server_parse_count"),
    numeric("total_bind_count"),
    numeric("avg_server_assignment_count"),
    numeric("avg_client_parse_count"),
    numeric("avg_server_parse_count"),
    numeric("avg_bind_count"),
    numeric("total_hit_count"),
    numeric("total_miss_count"),
    numeric("total_bypass_count"),
    numeric("avg_hit_count"),
    numeric("avg_miss_count"),
    numeric("avg_bypass_count"),
];

/// STATS_TOTALS and STATS_AVERAGES alike.
pub(super) const PARTS: &[Column] = &[
    text("database"),
    numeric("xact_count"),
    numeric("query_count"),
    numeric("bytes_received"),
    numeric("bytes_sent"),
    numeric("xact_time"),
    numeric("query_time"),
    numeric("wait_time"),
    numeric("server_assignment_count"),
    numeric("client_parse_count"),
    numeric("server_parse_count"),
    numeric("bind_count"),
    numeric("hit_count"),
    numeric("miss_count"),
    numeric("bypass_count"),
];

pub(super) const TOTALS: &[Column] = &[text("name"), numeric("value")];

pub(super) fn stats(house: &dyn House) -> Vec<Vec<Cell>> {
    let row = |line: DatabaseStats| {
        let (total, average) = (line.totals, line.averages.0);
        let mut row = row![line.database];
        row.extend(base(&total));
        row.extend(base(&average));
        row.extend(newer(&total));
        row.extend(newer(&average));
        row.extend(ours(&total));
        row.extend(ours(&average));
        row
    };
    house.metrics().stats().into_iter().map(row).collect()
}

pub(super) fn totals(house: &dyn House) -> Vec<Vec<Cell>> {
    parts(house, |line| line.totals)
}

pub(super) fn averages(house: &dyn House) -> Vec<Vec<Cell>> {
    parts(house, |line| line.averages.0)
}

fn parts(house: &dyn House, part: impl Fn(&DatabaseStats) -> Totals) -> Vec<Vec<Cell>> {
    let row = |line: DatabaseStats| {
        let part = part(&line);
        let mut row = row![line.database];
        row.extend(base(&part));
        row.extend(newer(&part));
        row.extend(ours(&part));
        row
    };
    house.metrics().stats().into_iter().map(row).collect()
}

fn base(part: &Totals) -> Vec<Cell> {
    row![
        part.transactions,
        part.statements,
        part.received_bytes,
        part.sent_bytes,
        part.transaction_us,
        part.query_us,
        part.wait_us,
    ]
}

fn newer(part: &Totals) -> Vec<Cell> {
    row![
        part.assignments,
        part.client_parses,
        part.server_parses,
        part.binds,
    ]
}

fn ours(part: &Totals) -> Vec<Cell> {
    row![part.hits, part.misses, part.bypasses]
}

/// The names in `SHOW TOTALS`, in the order of [`base`], [`newer`] and [`ours`].
const BASE: [&str; 7] = [
    "xact_count",
    "query_count",
    "client_bytes",
    "server_bytes",
    "xact_time",
    "query_time",
    "wait_time",
];
const NEWER: [&str; 4] = [
    "server_assignment_count",
    "client_parse_count",
    "server_parse_count",
    "bind_count",
];
const OURS: [&str; 3] = ["hit_count", "miss_count", "bypass_count"];

pub(super) fn sums(house: &dyn House) -> Vec<Vec<Cell>> {
    let (mut total, mut average) = (Totals::default(), Totals::default());
    for line in house.metrics().stats() {
        total = total.plus(&line.totals);
        average = together(&average, &line.averages.0);
    }
    let named = |prefix: &str, names: &[&str], cells: Vec<Cell>| {
        let row = |(name, cell): (&&str, Cell)| vec![Cell::Text(format!("{prefix}_{name}")), cell];
        names.iter().zip(cells).map(row).collect::<Vec<_>>()
    };
    [
        named("total", &BASE, base(&total)),
        named("avg", &BASE, base(&average)),
        named("total", &NEWER, newer(&total)),
        named("avg", &NEWER, newer(&average)),
        named("total", &OURS, ours(&total)),
        named("avg", &OURS, ours(&average)),
    ]
    .concat()
}

/// Rates add up; times are weighed by how many there were of each.
fn together(a: &Totals, b: &Totals) -> Totals {
    let weighed = |a_time: u64, a_count: u64, b_time: u64, b_count: u64| {
        let sum = a_time
            .saturating_mul(a_count)
            .saturating_add(b_time.saturating_mul(b_count));
        sum.checked_div(a_count + b_count)
            .unwrap_or(a_time.max(b_time))
    };
    let queries = |part: &Totals| part.statements.saturating_sub(part.hits);
    Totals {
        transaction_us: weighed(
            a.transaction_us,
            a.transactions,
            b.transaction_us,
            b.transactions,
        ),
        query_us: weighed(a.query_us, queries(a), b.query_us, queries(b)),
        wait_us: weighed(a.wait_us, a.assignments, b.wait_us, b.assignments),
        ..a.plus(b)
    }
}
