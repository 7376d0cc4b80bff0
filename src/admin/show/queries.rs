//! QUERIES and SLOW.

use super::moment;
use crate::admin::house::House;
use crate::admin::table::{Cell, Column, int8, row, text};
use crate::insight::{ShapeStats, SlowStatement};
use crate::wire::SqlState;

/// How many shapes are shown.
const QUERIES_MAX: usize = 100;

/// Times in microseconds.
pub(super) const QUERIES: &[Column] = &[
    text("shape"),
    text("database"),
    int8("count"),
    int8("hits"),
    int8("misses"),
    int8("bypasses"),
    text("last_bypass"),
    int8("errors"),
    int8("rows"),
    int8("bytes"),
    int8("total_time"),
    int8("avg_time"),
    int8("max_time"),
    int8("upstream_time"),
    text("statement"),
];

pub(super) fn queries(house: &dyn House) -> Vec<Vec<Cell>> {
    let row = |shape: ShapeStats| {
        let average = shape.total.as_nanos() / u128::from(shape.count.max(1)) / 1000;
        row![
            shape.shape.to_string(),
            shape.database,
            shape.count,
            shape.hits,
            shape.misses,
            shape.bypasses,
            shape.last_bypass,
            shape.errors,
            shape.rows,
            shape.bytes,
            shape.total,
            u64::try_from(average).unwrap_or(u64::MAX),
            shape.total_max,
            shape.upstream,
            shape.statement,
        ]
    };
    let queries = house.insight().queries(QUERIES_MAX);
    queries.into_iter().map(row).collect()
}

pub(super) const SLOW: &[Column] = &[
    text("at"),
    text("database"),
    text("user"),
    text("application_name"),
    text("client"),
    text("shape"),
    text("outcome"),
    text("reason"),
    int8("total_time"),
    int8("wait_time"),
    int8("upstream_time"),
    int8("send_time"),
    int8("rows"),
    int8("bytes"),
    text("sqlstate"),
    text("statement"),
];

pub(super) fn slow(house: &dyn House) -> Vec<Vec<Cell>> {
    let row = |slow: SlowStatement| {
        row![
            moment(slow.at),
            slow.database,
            slow.user,
            slow.application_name,
            slow.client,
            slow.shape.to_string(),
            slow.outcome.as_str(),
            slow.outcome.detail(),
            slow.timing.total,
            slow.timing.wait,
            slow.timing.upstream,
            slow.timing.send,
            slow.rows,
            slow.bytes,
            slow.sqlstate.as_ref().map(SqlState::as_str),
            slow.statement,
        ]
    };
    house.insight().slow().into_iter().map(row).collect()
}
