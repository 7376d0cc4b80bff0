//! Registering a family in one line, and filling one at scrape time.

use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    Opts, Registry, Result,
};

/// Seconds, from 10 µs to 10 s.
const BUCKETS: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

pub(super) fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter> {
    let family = IntCounter::new(name, help)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

pub(super) fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec> {
    let family = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

/// Counters whose value is read from elsewhere at scrape time.
pub(super) fn totals(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<CounterVec> {
    let family = CounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

pub(super) fn total(registry: &Registry, name: &str, help: &str) -> Result<Counter> {
    let family = Counter::new(name, help)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

pub(super) fn gauge(registry: &Registry, name: &str, help: &str) -> Result<Gauge> {
    let family = Gauge::new(name, help)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

pub(super) fn gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<GaugeVec> {
    let family = GaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

pub(super) fn histograms(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<HistogramVec> {
    let options = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
    let family = HistogramVec::new(options, labels)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

/// A figure as Prometheus holds it.
#[expect(
    clippy::cast_precision_loss,
    reason = "beyond 2^53 a rounded figure is good enough"
)]
pub(super) fn float(value: u64) -> f64 {
    value as f64
}

/// One for `current` and zero for every other value of the last label.
pub(super) fn one_of<'a>(
    family: &GaugeVec,
    labels: &[&str],
    values: impl Iterator<Item = &'a str>,
    current: &str,
) {
    for value in values {
        let mut labels = labels.to_vec();
        labels.push(value);
        family
            .with_label_values(&labels)
            .set(flag(value == current));
    }
}

/// Brings a counter up to a sum that is kept elsewhere.
pub(super) fn reach(counter: &Counter, sum: u64) {
    let missing = float(sum) - counter.get();
    if missing > 0.0 {
        counter.inc_by(missing);
    }
}

pub(super) fn set(family: &GaugeVec, labels: &[&str], value: usize) {
    family.with_label_values(labels).set(float(value as u64));
}

pub(super) fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}
