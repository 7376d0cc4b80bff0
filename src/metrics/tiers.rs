//! The series of the two tiers, read from a [`Snapshot`] at scrape time.

use prometheus::{Counter, CounterVec, Gauge, GaugeVec, Registry, Result};

use super::family::{float, gauge, gauges, one_of, reach, total, totals};
use super::reason::Verification;
use super::snapshot::{RedisState, Snapshot, cache_mode_word};

pub(super) struct CacheGauges {
    mode: GaugeVec,
    entries: Gauge,
    bytes: Gauge,
    limit: Gauge,
    lookups: CounterVec,
    stores: CounterVec,
    evictions: Counter,
    flights: CounterVec,
    flying: Gauge,
    shadow: CounterVec,
    verify: CounterVec,
    verify_waiting: Gauge,
    verify_shapes_off: Gauge,
}

pub(super) struct RedisGauges {
    state: GaugeVec,
    operations: CounterVec,
}

impl CacheGauges {
    pub fn new(registry: &Registry) -> Result<Self> {
        Ok(Self {
            mode: gauges(
                registry,
                "pgditto_cache_mode",
                "One for `cache.mode`.",
                &["mode"],
            )?,
            entries: gauge(registry, "pgditto_cache_entries", "Answers in memory.")?,
            bytes: gauge(
                registry,
                "pgditto_cache_bytes",
                "Size of the answers in memory, overhead included.",
            )?,
            limit: gauge(
                registry,
                "pgditto_cache_limit_bytes",
                "`cache.memory_limit`.",
            )?,
            lookups: totals(
                registry,
                "pgditto_cache_lookups_total",
                "Lookups in memory, by result.",
                &["result"],
            )?,
            stores: totals(
                registry,
                "pgditto_cache_fills_total",
                "Answers that were to be kept, by result.",
                &["result"],
            )?,
            evictions: total(
                registry,
                "pgditto_cache_evictions_total",
                "Answers given up for want of room.",
            )?,
            flights: totals(
                registry,
                "pgditto_cache_flights_total",
                "Concurrent misses of the same, by what became of each.",
                &["result"],
            )?,
            flying: gauge(
                registry,
                "pgditto_cache_flights",
                "Misses under way that others may join.",
            )?,
            shadow: totals(
                registry,
                "pgditto_cache_shadow_total",
                "Answers that `cache.mode = \"shadow\"` would have served, and how they compared.",
                &["result"],
            )?,
            verify: totals(
                registry,
                "pgditto_verify_total",
                "Hits that were to be compared with the server's answer (`[cache.verify]`), by result.",
                &["result"],
            )?,
            verify_waiting: gauge(
                registry,
                "pgditto_verify_queue",
                "Hits that wait to be compared.",
            )?,
            verify_shapes_off: gauge(
                registry,
                "pgditto_verify_shapes_off",
                "Shapes that are kept out of the cache since an answer of theirs was not the server's.",
            )?,
        })
    }

    pub fn fill(&self, snapshot: &Snapshot) {
        let cache = &snapshot.cache;
        let (modes, mode) = (["off", "shadow", "on"], cache_mode_word(cache.mode));
        one_of(&self.mode, &[], modes.into_iter(), mode);
        self.entries.set(float(cache.entries));
        self.bytes.set(float(cache.bytes));
        self.limit.set(float(cache.bytes_limit));
        for (result, count) in [
            ("hit", cache.hits),
            ("absent", cache.absent),
            ("stale", cache.stale),
            ("marked", cache.marked),
            ("expired", cache.expired),
            ("flushed", cache.flushed),
        ] {
            reach(&self.lookups.with_label_values(&[result]), count);
        }
        for (result, count) in [
            ("stored", cache.stores),
            ("refused", cache.refused),
            ("too_large", cache.too_large),
        ] {
            reach(&self.stores.with_label_values(&[result]), count);
        }
        reach(&self.evictions, cache.evictions);
        let flights = &cache.flights;
        for (result, count) in [
            ("led", flights.led),
            ("joined", flights.joined),
            ("shared", flights.shared),
            ("refused", flights.refused),
            ("timed_out", flights.timed_out),
        ] {
            reach(&self.flights.with_label_values(&[result]), count);
        }
        self.flying.set(float(flights.flying as u64));
        for (result, count) in [
            ("hit", cache.shadow_hits),
            ("match", cache.shadow_matches),
            ("mismatch", cache.shadow_mismatches),
        ] {
            reach(&self.shadow.with_label_values(&[result]), count);
        }
        for (result, count) in Verification::ALL.iter().zip(cache.verify.results) {
            reach(&self.verify.with_label_values(&[result.as_str()]), count);
        }
        self.verify_waiting.set(float(cache.verify.waiting as u64));
        self.verify_shapes_off
            .set(float(cache.verify.shapes_off as u64));
    }
}

impl RedisGauges {
    pub fn new(registry: &Registry) -> Result<Self> {
        Ok(Self {
            state: gauges(
                registry,
                "pgditto_redis_state",
                "One for the state of the second tier: off, connected, down.",
                &["state"],
            )?,
            operations: totals(
                registry,
                "pgditto_redis_operations_total",
                "What was asked of Redis, by result.",
                &["result"],
            )?,
        })
    }

    pub fn fill(&self, snapshot: &Snapshot) {
        let redis = &snapshot.redis;
        let states = RedisState::ALL.iter().map(|state| state.as_str());
        one_of(&self.state, &[], states, redis.state.as_str());
        for (result, count) in [
            ("hit", redis.hits),
            ("miss", redis.misses),
            ("store", redis.stores),
            ("error", redis.errors),
            ("timeout", redis.timeouts),
        ] {
            reach(&self.operations.with_label_values(&[result]), count);
        }
    }
}
