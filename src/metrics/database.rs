//! What is counted for one database.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, Registry, Result,
};

use super::family::{counters, gauges, histograms};
use super::reason::{Asker, Held, Learning, ListenerEnd, Outcome, Tier};
use crate::sql::Bypass;

/// How long a statement took, and where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// For a connection, or for another session's query of the same.
    pub wait: Duration,
    /// Between the first byte sent to the server and the last received.
    pub upstream: Duration,
    /// Writing to the client.
    pub send: Duration,
    /// From the client's request to the last byte sent.
    pub total: Duration,
}

/// The families that have the label `database`.
pub(super) struct DatabaseFamilies {
    statements: IntCounterVec,
    hits: IntCounterVec,
    bypasses: IntCounterVec,
    transactions: IntCounterVec,
    received: IntCounterVec,
    sent: IntCounterVec,
    listening: GaugeVec,
    listeners_ended: IntCounterVec,
    held: IntCounterVec,
    learned: IntCounterVec,
    hit_seconds: HistogramVec,
    miss_seconds: HistogramVec,
    wait_seconds: HistogramVec,
    upstream_seconds: HistogramVec,
}

impl DatabaseFamilies {
    pub fn new(registry: &Registry) -> Result<Self> {
        let family = |name, help, labels: &[&str]| counters(registry, name, help, labels);
        let histogram = |name, help| histograms(registry, name, help, &["database"]);
        Ok(Self {
            statements: family(
                "pgditto_statements_total",
                "Statements by outcome: hit, miss, bypass, write, or answered locally.",
                &["database", "outcome"],
            )?,
            hits: family(
                "pgditto_hits_total",
                "Statements answered from the cache, by tier.",
                &["database", "tier"],
            )?,
            bypasses: family(
                "pgditto_bypasses_total",
                "Reads that were not answered from the cache, by reason.",
                &["database", "reason"],
            )?,
            transactions: family(
                "pgditto_transactions_total",
                "Transactions that used an upstream connection.",
                &["database"],
            )?,
            received: family(
                "pgditto_client_received_bytes_total",
                "Bytes received from clients.",
                &["database"],
            )?,
            sent: family(
                "pgditto_client_sent_bytes_total",
                "Bytes sent to clients.",
                &["database"],
            )?,
            listening: gauges(
                registry,
                "pgditto_listening_sessions",
                "Sessions that LISTEN on the connection that they share.",
                &["database"],
            )?,
            listeners_ended: family(
                "pgditto_listeners_ended_total",
                "Listening sessions that were ended lest they miss a notification, by reason.",
                &["database", "reason"],
            )?,
            held: family(
                "pgditto_held_commits_total",
                "Statements whose commit waited until their work was done, by whether they had written.",
                &["database", "result"],
            )?,
            learned: family(
                "pgditto_returned_keys_total",
                "Writes whose rows could tell which keys they changed, by whether they did and whose RETURNING it was.",
                &["database", "result", "asked_by"],
            )?,
            hit_seconds: histogram(
                "pgditto_hit_seconds",
                "Time to answer a statement from the cache.",
            )?,
            miss_seconds: histogram(
                "pgditto_miss_seconds",
                "Time to answer a cacheable statement that was not in the cache.",
            )?,
            wait_seconds: histogram(
                "pgditto_wait_seconds",
                "Time that a client waited for an upstream connection.",
            )?,
            upstream_seconds: histogram(
                "pgditto_upstream_seconds",
                "Time that a statement took upstream.",
            )?,
        })
    }

    /// The handles of one database.
    pub fn database(&self, name: &str) -> DatabaseMetrics {
        let labelled =
            |family: &IntCounterVec, label: &str| family.with_label_values(&[name, label]);
        let plain = |family: &IntCounterVec| family.with_label_values(&[name]);
        let histogram = |family: &HistogramVec| family.with_label_values(&[name]);
        DatabaseMetrics {
            outcomes: Outcome::LABELS.map(|outcome| labelled(&self.statements, outcome)),
            hits: Tier::ALL
                .iter()
                .map(|tier| labelled(&self.hits, tier.as_str()))
                .collect(),
            bypasses: Bypass::ALL
                .iter()
                .map(|reason| labelled(&self.bypasses, reason.as_str()))
                .collect(),
            transactions: plain(&self.transactions),
            received: plain(&self.received),
            sent: plain(&self.sent),
            listening: self.listening.with_label_values(&[name]),
            listeners_ended: ListenerEnd::ALL
                .iter()
                .map(|reason| labelled(&self.listeners_ended, reason.as_str()))
                .collect(),
            held: Held::ALL
                .iter()
                .map(|result| labelled(&self.held, result.as_str()))
                .collect(),
            learned: Learning::ALL
                .iter()
                .map(|result| {
                    let of = |asker: Asker| {
                        let labels = [name, result.as_str(), asker.as_str()];
                        self.learned.with_label_values(&labels)
                    };
                    [of(Asker::Client), of(Asker::Proxy)]
                })
                .collect(),
            hit_seconds: histogram(&self.hit_seconds),
            miss_seconds: histogram(&self.miss_seconds),
            wait_seconds: histogram(&self.wait_seconds),
            upstream_seconds: histogram(&self.upstream_seconds),
            tally: Tally::default(),
            window: Mutex::default(),
        }
    }
}

/// The counters of one database.
pub struct DatabaseMetrics {
    outcomes: [IntCounter; Outcome::LABELS.len()],
    hits: Box<[IntCounter]>,
    bypasses: Box<[IntCounter]>,
    transactions: IntCounter,
    received: IntCounter,
    sent: IntCounter,
    listening: Gauge,
    listeners_ended: Box<[IntCounter]>,
    held: Box<[IntCounter]>,
    learned: Box<[[IntCounter; 2]]>,
    hit_seconds: Histogram,
    miss_seconds: Histogram,
    wait_seconds: Histogram,
    upstream_seconds: Histogram,
    tally: Tally,
    window: Mutex<Window>,
}

/// What only the console and the compatibility block show.
#[derive(Default)]
struct Tally {
    assignments: AtomicU64,
    transaction_ns: AtomicU64,
    query_ns: AtomicU64,
    wait_ns: AtomicU64,
    client_parses: AtomicU64,
    server_parses: AtomicU64,
    binds: AtomicU64,
}

impl DatabaseMetrics {
    /// A session listens on the shared connection from now on, or no more.
    pub fn listens(&self, on: bool) {
        self.listening.add(if on { 1.0 } else { -1.0 });
    }

    pub fn listener_ended(&self, reason: ListenerEnd) {
        self.listeners_ended[reason as usize].inc();
    }

    /// The commit of work was held, and goes out now.
    pub fn held(&self, result: Held) {
        self.held[result as usize].inc();
    }

    /// The rows of a write have told which keys it changed, or not.
    pub fn learned(&self, result: Learning, asker: Asker) {
        self.learned[result as usize][asker as usize].inc();
    }

    /// A statement was answered.
    pub fn statement(&self, outcome: Outcome, timing: &Timing) {
        self.outcomes[outcome.index()].inc();
        match outcome {
            Outcome::Hit(tier) => {
                self.hits[tier as usize].inc();
                self.hit_seconds.observe(timing.total.as_secs_f64());
                return;
            }
            Outcome::Local => return,
            Outcome::Miss => self.miss_seconds.observe(timing.total.as_secs_f64()),
            Outcome::Bypass(reason) => self.bypasses[reason as usize].inc(),
            Outcome::Write => (),
        }
        self.upstream_seconds.observe(timing.upstream.as_secs_f64());
        add(&self.tally.query_ns, timing.upstream);
    }

    /// A transaction gave its upstream connection back, after this long.
    pub fn transaction(&self, held: Duration) {
        self.transactions.inc();
        add(&self.tally.transaction_ns, held);
    }

    /// A session was given an upstream connection.
    pub fn assigned(&self, waited: Duration) {
        self.wait_seconds.observe(waited.as_secs_f64());
        self.tally.assignments.fetch_add(1, Ordering::Relaxed);
        add(&self.tally.wait_ns, waited);
    }

    /// Bytes came from a client.
    pub fn received(&self, bytes: u64) {
        self.received.inc_by(bytes);
    }

    /// Bytes went to a client.
    pub fn sent(&self, bytes: u64) {
        self.sent.inc_by(bytes);
    }

    /// A client sent Parse.
    pub fn client_parse(&self) {
        self.tally.client_parses.fetch_add(1, Ordering::Relaxed);
    }

    /// Parse was sent upstream.
    pub fn server_parse(&self) {
        self.tally.server_parses.fetch_add(1, Ordering::Relaxed);
    }

    /// A client sent Bind.
    pub fn bind(&self) {
        self.tally.binds.fetch_add(1, Ordering::Relaxed);
    }

    pub fn totals(&self) -> Totals {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let us = |counter: &AtomicU64| count(counter) / 1000;
        let outcome = |index: usize| self.outcomes[index].get();
        Totals {
            transactions: self.transactions.get(),
            statements: self.outcomes.iter().map(IntCounter::get).sum(),
            assignments: count(&self.tally.assignments),
            received_bytes: self.received.get(),
            sent_bytes: self.sent.get(),
            transaction_us: us(&self.tally.transaction_ns),
            query_us: us(&self.tally.query_ns),
            wait_us: us(&self.tally.wait_ns),
            client_parses: count(&self.tally.client_parses),
            server_parses: count(&self.tally.server_parses),
            binds: count(&self.tally.binds),
            hits: outcome(0),
            misses: outcome(1),
            bypasses: outcome(2),
        }
    }

    pub(super) fn stats(&self, database: &str) -> DatabaseStats {
        DatabaseStats {
            database: database.to_owned(),
            totals: self.totals(),
            averages: self.window.lock().averages,
        }
    }

    pub(super) fn roll(&self, period: Duration) {
        let totals = self.totals();
        let mut window = self.window.lock();
        window.averages = Averages::between(&window.begin, &totals, period);
        window.begin = totals;
    }
}

fn add(counter: &AtomicU64, time: Duration) {
    let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    counter.fetch_add(ns, Ordering::Relaxed);
}

#[derive(Default)]
struct Window {
    begin: Totals,
    averages: Averages,
}

/// One database's line of `SHOW STATS`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatabaseStats {
    pub database: String,
    pub totals: Totals,
    pub averages: Averages,
}

/// Sums since the start. Times in microseconds, as PgBouncer has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub transactions: u64,
    pub statements: u64,
    pub assignments: u64,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    /// Time that transactions held an upstream connection.
    pub transaction_us: u64,
    pub query_us: u64,
    pub wait_us: u64,
    pub client_parses: u64,
    pub server_parses: u64,
    pub binds: u64,
    pub hits: u64,
    pub misses: u64,
    pub bypasses: u64,
}

impl Totals {
    /// The sum of both.
    pub fn plus(&self, other: &Totals) -> Totals {
        self.zip(other, |a, b| a + b)
    }

    fn zip(&self, other: &Totals, with: impl Fn(u64, u64) -> u64) -> Totals {
        Totals {
            transactions: with(self.transactions, other.transactions),
            statements: with(self.statements, other.statements),
            assignments: with(self.assignments, other.assignments),
            received_bytes: with(self.received_bytes, other.received_bytes),
            sent_bytes: with(self.sent_bytes, other.sent_bytes),
            transaction_us: with(self.transaction_us, other.transaction_us),
            query_us: with(self.query_us, other.query_us),
            wait_us: with(self.wait_us, other.wait_us),
            client_parses: with(self.client_parses, other.client_parses),
            server_parses: with(self.server_parses, other.server_parses),
            binds: with(self.binds, other.binds),
            hits: with(self.hits, other.hits),
            misses: with(self.misses, other.misses),
            bypasses: with(self.bypasses, other.bypasses),
        }
    }
}

/// Counts and bytes per second, and times per one, over the last
/// [`STATS_PERIOD`](super::STATS_PERIOD); in the shape of [`Totals`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Averages(pub Totals);

impl Averages {
    fn between(begin: &Totals, end: &Totals, period: Duration) -> Self {
        let change = end.zip(begin, u64::saturating_sub);
        let seconds = period.as_secs().max(1);
        let rates = change.zip(&change, |count, _| count / seconds);
        let per = |sum: u64, count: u64| sum.checked_div(count).unwrap_or(0);
        // A hit takes no time upstream, so it does not make the average look better.
        let queries = change.statements - change.hits.min(change.statements);
        Averages(Totals {
            transaction_us: per(change.transaction_us, change.transactions),
            query_us: per(change.query_us, queries),
            wait_us: per(change.wait_us, change.assignments),
            ..rates
        })
    }
}
