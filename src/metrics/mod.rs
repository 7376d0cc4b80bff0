//! What is counted, in one registry that belongs to one [`Metrics`].
//!
//! What happens is counted where it happens, through handles that are kept:
//! an increment is one atomic addition. What merely *is* (clients, pools, bytes
//! in the cache) is read at scrape time from a [`Snapshot`] that the composition
//! root gives. Nothing here knows a socket or a session.

mod compat;
mod database;
mod family;
mod gauges;
mod process;
mod reason;
mod snapshot;
mod tiers;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, RwLock};
use prometheus::{IntCounter, IntCounterVec, Registry, TextEncoder};

pub use database::{Averages, DatabaseMetrics, DatabaseStats, Timing, Totals};
pub use reason::{
    Asker, Cancel, ErrorOrigin, FailedLogin, Held, Invalidation, Learning, ListenerEnd, Outcome,
    Refusal, Tier, Verification,
};
pub use snapshot::{
    AuthoritySnapshot, CacheSnapshot, ClientCounts, DatabaseSnapshot, FlightSnapshot, Phase,
    PoolSnapshot, RedisSnapshot, RedisState, Snapshot, VerifySnapshot, cache_mode_word,
    pool_mode_word,
};

use crate::wire::SqlState;
use compat::Compat;
use database::DatabaseFamilies;
use family::{counter, counters};
use gauges::Gauges;

/// More databases than this are counted together, under [`OTHER_DATABASES`]:
/// clients choose the names, and every one costs some ninety series.
const DATABASES_MAX: usize = 100;
const OTHER_DATABASES: &str = "(other)";

/// Over how long the averages of `SHOW STATS` are taken, as PgBouncer's `stats_period`.
pub const STATS_PERIOD: Duration = Duration::from_secs(60);

/// The metrics could not be set up: two of one name. The program's fault.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

/// Every counter, histogram and gauge of the process.
pub struct Metrics {
    registry: Registry,
    families: DatabaseFamilies,
    databases: RwLock<BTreeMap<Box<str>, Arc<DatabaseMetrics>>>,
    pins: IntCounterVec,
    invalidations: Vec<IntCounter>,
    refusals: Vec<IntCounter>,
    cancels: Vec<IntCounter>,
    logins: IntCounter,
    failed_logins: Vec<IntCounter>,
    stalls: IntCounter,
    abandoned: IntCounter,
    errors: IntCounterVec,
    slow: SlowCounters,
    /// Filled and read under one lock, so that two scrapes do not mix.
    scraped: Mutex<Scraped>,
}

struct SlowCounters {
    logged: IntCounter,
    suppressed: IntCounter,
}

struct Scraped {
    gauges: Gauges,
    compat: Compat,
}

impl Metrics {
    /// `pin_reasons` are the labels of all pins, exported from the start with zero.
    ///
    /// # Errors
    /// See [`MetricsError`].
    pub fn new(pin_reasons: &[&'static str]) -> Result<Arc<Self>, MetricsError> {
        let registry = Registry::new();
        let pins = counters(
            &registry,
            "pgditto_pins_total",
            "Sessions that began to keep their upstream connection, by reason.",
            &["reason"],
        )?;
        for reason in pin_reasons {
            pins.with_label_values(&[reason]);
        }
        let invalidations = counters(
            &registry,
            "pgditto_invalidations_total",
            "Changes that made cached answers stale, by reason.",
            &["reason"],
        )?;
        let refusals = counters(
            &registry,
            "pgditto_client_refusals_total",
            "Clients that were turned away before their first statement, by reason.",
            &["reason"],
        )?;
        let cancels = counters(
            &registry,
            "pgditto_cancels_total",
            "Cancel requests of clients, by outcome.",
            &["outcome"],
        )?;
        let failed_logins = counters(
            &registry,
            "pgditto_upstream_failed_logins_total",
            "Logins to the server that failed, by outcome.",
            &["outcome"],
        )?;
        let errors = counters(
            &registry,
            "pgditto_errors_total",
            "Errors that clients were sent, by class of the SQLSTATE and by where they came from.",
            &["class", "origin"],
        )?;
        reason::export_errors(&errors);
        let scraped = Scraped {
            gauges: Gauges::new(&registry, pin_reasons)?,
            compat: Compat::new(&registry)?,
        };
        scraped.gauges.started(unix_seconds(SystemTime::now()));
        Ok(Arc::new(Self {
            families: DatabaseFamilies::new(&registry)?,
            databases: RwLock::default(),
            invalidations: reason::each(Invalidation::ALL, Invalidation::as_str, &invalidations),
            refusals: reason::each(Refusal::ALL, Refusal::as_str, &refusals),
            failed_logins: reason::each(FailedLogin::ALL, FailedLogin::as_str, &failed_logins),
            cancels: reason::each(Cancel::ALL, Cancel::as_str, &cancels),
            stalls: counter(
                &registry,
                "pgditto_client_stalls_total",
                "Clients that were disconnected since they took nothing of their answer.",
            )?,
            abandoned: counter(
                &registry,
                "pgditto_abandoned_statements_total",
                "Statements that were given up: their clients had gone, and they took longer than `upstream.abandoned_timeout`.",
            )?,
            logins: counter(
                &registry,
                "pgditto_client_logins_total",
                "Clients that logged in.",
            )?,
            slow: SlowCounters {
                logged: counter(
                    &registry,
                    "pgditto_slow_statements_total",
                    "Statements that the slow-query log wrote down.",
                )?,
                suppressed: counter(
                    &registry,
                    "pgditto_slow_statements_suppressed_total",
                    "Slow statements beyond `slow_log.max_per_second`.",
                )?,
            },
            pins,
            errors,
            scraped: Mutex::new(scraped),
            registry,
        }))
    }

    /// The counters of one database; keep the handle for the session's life.
    /// To be called once the login is known to be good: the names come from clients.
    pub fn database(&self, name: &str) -> Arc<DatabaseMetrics> {
        if let Some(known) = self.databases.read().get(name) {
            return Arc::clone(known);
        }
        let mut databases = self.databases.write();
        let name = if databases.len() < DATABASES_MAX {
            name
        } else {
            OTHER_DATABASES
        };
        let known = databases.entry(name.into());
        Arc::clone(known.or_insert_with(|| Arc::new(self.families.database(name))))
    }

    /// A session began to keep its upstream connection.
    pub fn pinned(&self, reason: &'static str) {
        self.pins.with_label_values(&[reason]).inc();
    }

    pub fn invalidated(&self, reason: Invalidation) {
        self.invalidations[reason as usize].inc();
    }

    /// What is counted elsewhere, `count` times since the start.
    fn invalidated_in_all(&self, reason: Invalidation, count: u64) {
        catch_up(&self.invalidations[reason as usize], count);
    }

    pub fn refused(&self, reason: Refusal) {
        self.refusals[reason as usize].inc();
    }

    /// A client was given up that took nothing of its answer.
    pub fn stalled(&self) {
        self.stalls.inc();
    }

    /// A statement was given up whose client had gone.
    pub fn abandoned(&self) {
        self.abandoned.inc();
    }

    pub fn logged_in(&self) {
        self.logins.inc();
    }

    pub fn cancelled(&self, outcome: Cancel) {
        self.cancels[outcome as usize].inc();
    }

    /// A client was sent an error.
    pub fn error(&self, code: SqlState, origin: ErrorOrigin) {
        let class = reason::error_class(code);
        self.errors
            .with_label_values(&[class, origin.as_str()])
            .inc();
    }

    /// A slow statement was written down, or was one too many for this second.
    pub fn slow_statement(&self, written: bool) {
        if written {
            self.slow.logged.inc();
        } else {
            self.slow.suppressed.inc();
        }
    }

    /// The figures of `SHOW STATS`, by database.
    pub fn stats(&self) -> Vec<DatabaseStats> {
        let databases = self.databases.read();
        databases
            .iter()
            .map(|(name, database)| database.stats(name))
            .collect()
    }

    /// Takes the averages of `SHOW STATS` anew; `period` is the time since the last call.
    pub fn roll(&self, period: Duration) {
        for database in self.databases.read().values() {
            database.roll(period);
        }
    }

    /// Calls [`Metrics::roll`] once a [`STATS_PERIOD`], for ever. Cancel-safe.
    pub async fn keep_averages(self: Arc<Self>) {
        let mut interval = tokio::time::interval(STATS_PERIOD);
        interval.tick().await;
        loop {
            interval.tick().await;
            self.roll(STATS_PERIOD);
        }
    }

    /// Everything in Prometheus' text format, version 0.0.4.
    ///
    /// # Errors
    /// See [`MetricsError`].
    pub fn render(&self, snapshot: &Snapshot) -> Result<String, MetricsError> {
        let stats = self.stats();
        let families = {
            let scraped = self.scraped.lock();
            let sum = |of: fn(&AuthoritySnapshot) -> u64| snapshot.authorities.iter().map(of).sum();
            self.invalidated_in_all(Invalidation::Guard, sum(|a| a.guards_lost));
            self.invalidated_in_all(Invalidation::CatalogueOutside, sum(|a| a.catalogue_found));
            let (refused, withheld) = snapshot.failed_logins;
            catch_up(&self.failed_logins[FailedLogin::Refused as usize], refused);
            catch_up(
                &self.failed_logins[FailedLogin::Withheld as usize],
                withheld,
            );
            scraped.gauges.fill(snapshot);
            scraped.compat.fill(snapshot, &stats);
            self.registry.gather()
        };
        Ok(TextEncoder::new().encode_to_string(&families)?)
    }
}

/// What is counted elsewhere, `count` since the start.
fn catch_up(counter: &IntCounter, count: u64) {
    counter.inc_by(count.saturating_sub(counter.get()));
}

/// Resident memory of this process, where the system says.
pub fn resident_bytes() -> Option<u64> {
    process::resident_bytes()
}

fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
