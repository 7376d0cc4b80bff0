//! The figures, for a person.

use std::fmt::Write;
use std::time::Duration;

use crate::Side;
use crate::probe::Metrics;
use crate::target::{Latency, Proof};

/// The value below which `percent` of all are; sorts them.
pub fn percentile(times_ns: &mut [u64], percent: f64) -> Duration {
    times_ns.sort_unstable();
    let rank = (times_ns.len() as f64 * percent / 100.0) as usize;
    let at = rank.min(times_ns.len().saturating_sub(1));
    Duration::from_nanos(times_ns.get(at).copied().unwrap_or_default())
}

/// The comparison under load.
pub fn table(clients: usize, direct: &Side, through: &Side, outcomes: &Metrics) -> String {
    let mut text = String::new();
    let mut line = |name: &str, figure: &dyn Fn(&Side) -> String| {
        let (left, right) = (figure(direct), figure(through));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:<44}{left:>14}{right:>18}");
    };
    line("", &|side| {
        let names = ["directly", "through pgditto"];
        names[usize::from(std::ptr::eq(side, through))].to_owned()
    });
    line("transactions per second", &|side| {
        format!("{:.0}", side.rate())
    });
    line("reads, median", &|side| time(side.read_percentile(50.0)));
    line("reads, 99th percentile", &|side| {
        time(side.read_percentile(99.0))
    });
    line("transactions that wrote", &|side| {
        (side.tally.transactions - side.tally.reads_ns.len() as u64).to_string()
    });
    line("CPU of PostgreSQL per transaction", &|side| {
        side.per_transaction(side.postgres_cpu)
    });
    line("CPU of pgditto per transaction", &|side| {
        side.per_transaction(side.proxy_cpu)
    });
    line(
        &format!("connections to PostgreSQL of {clients} clients"),
        &|side| side.connections.to_string(),
    );
    let _ = writeln!(
        text,
        "  {:<44}{:>32}",
        "answered from the cache",
        hit_ratio(outcomes)
    );
    format!("\n{text}")
}

fn hit_ratio(outcomes: &Metrics) -> String {
    let count = |outcome| outcomes.statements(outcome);
    match (count("hit"), count("miss"), count("bypass")) {
        (Some(hits), Some(misses), Some(bypasses)) if hits + misses + bypasses > 0.0 => {
            let ratio = hits / (hits + misses + bypasses);
            format!("{:.1} % of reads", ratio * 100.0)
        }
        _ => "not known".to_owned(),
    }
}

/// What one client alone waits for one small read.
pub fn latencies(latency: &Latency) -> String {
    let [hit, miss, direct] = [latency.hit, latency.miss, latency.direct].map(time);
    let doubt = match latency.confirmed {
        Some(true) => "",
        Some(false) => "  (not all of them were hits and misses)",
        None => "  (without metrics to confirm it)",
    };
    format!(
        "\n  One client alone, median of a small read: hit {hit}, miss {miss}, directly {direct}{doubt}\n"
    )
}

/// The line that matters most.
pub fn proof(proof: &Proof) -> String {
    let Proof { writes, stale, .. } = proof;
    let cached = proof.cached.map_or(String::new(), |hits| {
        format!("; {hits:.0} reads between them came from the cache")
    });
    if *stale == 0 {
        format!(
            "  Every write was seen by the next read: {writes} of {writes}, on another connection{cached}.\n"
        )
    } else {
        format!("  WRONG: {stale} of {writes} writes were not seen by the next read{cached}.\n")
    }
}

impl Side {
    fn rate(&self) -> f64 {
        self.tally.transactions as f64 / self.elapsed.as_secs_f64()
    }

    fn read_percentile(&self, percent: f64) -> Duration {
        percentile(&mut self.tally.reads_ns.clone(), percent)
    }

    fn per_transaction(&self, cpu: Duration) -> String {
        if cpu.is_zero() || self.tally.transactions == 0 {
            return "-".to_owned();
        }
        time(cpu.div_f64(self.tally.transactions as f64))
    }
}

/// Three digits and a unit.
fn time(time: Duration) -> String {
    let us = time.as_secs_f64() * 1e6;
    match us {
        ..100.0 => format!("{us:.1} µs"),
        ..1000.0 => format!("{us:.0} µs"),
        ..10_000.0 => format!("{:.2} ms", us / 1e3),
        _ => format!("{:.1} ms", us / 1e3),
    }
}
