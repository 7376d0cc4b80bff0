//! CACHE, CACHE_TABLES, CACHE_RULES.

use super::moment;
use crate::admin::house::{CacheRuleRow, CacheTableRow, House, MismatchRow};
use crate::admin::table::{Cell, Column, int4, int8, row, text};
use crate::config::{CacheRule, Level};
use crate::metrics::{Verification, cache_mode_word};

pub(super) const CACHE: &[Column] = &[text("name"), text("value")];

pub(super) fn cache(house: &dyn House) -> Vec<Vec<Cell>> {
    let snapshot = house.snapshot();
    let (cache, redis) = (&snapshot.cache, &snapshot.redis);
    let words = [
        ("mode", cache_mode_word(cache.mode)),
        ("redis_state", redis.state.as_str()),
    ];
    let numbers = [
        ("entries", cache.entries),
        ("bytes", cache.bytes),
        ("memory_limit", cache.bytes_limit),
        ("hits", cache.hits),
        ("misses_absent", cache.absent),
        ("misses_stale", cache.stale),
        ("misses_marked", cache.marked),
        ("misses_expired", cache.expired),
        ("misses_flushed", cache.flushed),
        ("fills_stored", cache.stores),
        ("fills_refused", cache.refused),
        ("fills_too_large", cache.too_large),
        ("evictions", cache.evictions),
        ("flights_led", cache.flights.led),
        ("flights_joined", cache.flights.joined),
        ("flights_shared", cache.flights.shared),
        ("flights_refused", cache.flights.refused),
        ("flights_timed_out", cache.flights.timed_out),
        ("shadow_hits", cache.shadow_hits),
        ("shadow_matches", cache.shadow_matches),
        ("shadow_mismatches", cache.shadow_mismatches),
        ("redis_hits", redis.hits),
        ("redis_misses", redis.misses),
        ("redis_stores", redis.stores),
        ("redis_errors", redis.errors),
        ("redis_timeouts", redis.timeouts),
    ];
    let verified = Verification::ALL
        .iter()
        .zip(cache.verify.results)
        .map(|(result, count)| row![format!("verify_{}", result.as_str()), count.to_string()]);
    let off = cache.verify.shapes_off.to_string();
    let verified = verified.chain([row!["verify_shapes_off", off]]);
    let words = words.iter().map(|&(name, word)| row![name, word]);
    let numbers = numbers.iter().map(|(name, n)| row![*name, n.to_string()]);
    words.chain(numbers).chain(verified).collect()
}

pub(super) const TABLES: &[Column] = &[
    text("database"),
    text("relation"),
    int8("entries"),
    int8("bytes"),
    int8("hits"),
    int8("stale"),
    int8("fills"),
];

/// Those with the most hits first.
pub(super) fn tables(house: &dyn House) -> Vec<Vec<Cell>> {
    let mut tables = house.cache_tables();
    tables.sort_by(|a, b| {
        (b.hits, &a.database, &a.relation).cmp(&(a.hits, &b.database, &b.relation))
    });
    let row = |table: CacheTableRow| {
        row![
            table.database,
            table.relation,
            table.entries,
            table.bytes,
            table.hits,
            table.stale,
            table.stores,
        ]
    };
    tables.into_iter().map(row).collect()
}

pub(super) const RULES: &[Column] = &[
    int4("position"),
    text("tables"),
    text("users"),
    text("databases"),
    text("shape"),
    text("cache"),
    text("level"),
    text("ttl"),
    text("tags"),
    text("functions"),
    int8("matched"),
];

pub(super) fn rules(house: &dyn House) -> Vec<Vec<Cell>> {
    let row = |(index, CacheRuleRow { rule, matched }): (usize, CacheRuleRow)| {
        let CacheRule {
            tables,
            users,
            databases,
            shape,
            cache,
            level,
            ttl,
            tags,
            functions,
        } = rule;
        row![
            index + 1,
            list(&tables),
            list(&users),
            list(&databases),
            shape,
            cache.map(|cache| if cache { "true" } else { "false" }),
            level.map(level_word),
            ttl.map(|ttl| humantime::format_duration(ttl).to_string()),
            list(&tags),
            list(&functions),
            matched,
        ]
    };
    house
        .cache_rules()
        .into_iter()
        .enumerate()
        .map(row)
        .collect()
}

/// Times in microseconds.
pub(super) const MISMATCHES: &[Column] = &[
    text("at"),
    text("database"),
    text("shape"),
    int8("entry_age"),
    int8("cached_rows"),
    text("cached_hash"),
    int8("server_rows"),
    text("server_hash"),
    text("relations"),
    text("statement"),
];

/// The oldest first.
pub(super) fn mismatches(house: &dyn House) -> Vec<Vec<Cell>> {
    let row = |found: MismatchRow| {
        row![
            moment(found.found_at),
            found.database,
            found.shape,
            found.entry_age,
            found.cached_rows,
            found.cached_hash,
            found.server_rows,
            found.server_hash,
            found.relations.join(","),
            found.statement,
        ]
    };
    house.mismatches().into_iter().map(row).collect()
}

/// NULL where the rule does not say.
fn list(words: &[String]) -> Option<String> {
    (!words.is_empty()).then(|| words.join(","))
}

fn level_word(level: Level) -> &'static str {
    match level {
        Level::Strict => "strict",
        Level::Ttl => "ttl",
    }
}
