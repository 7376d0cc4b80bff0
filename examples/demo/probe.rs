//! What the servers cost, read from outside: CPU times from `/proc`, outcomes from `/metrics`.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// CPU time so far of PostgreSQL with all its processes, and of pgditto.
#[derive(Default, Clone, Copy)]
pub struct CpuTimes {
    pub postgres: Duration,
    pub proxy: Duration,
}

impl CpuTimes {
    pub fn now(postmaster: Option<u32>, proxy: Option<u32>) -> Self {
        let postgres = postmaster.map_or(Duration::ZERO, |pid| {
            let children: Duration = children(pid).iter().filter_map(|&pid| cpu_time(pid)).sum();
            children + cpu_time(pid).unwrap_or_default()
        });
        Self {
            postgres,
            proxy: proxy.and_then(cpu_time).unwrap_or_default(),
        }
    }

    pub fn since(&self, before: &Self) -> Self {
        Self {
            postgres: self.postgres.saturating_sub(before.postgres),
            proxy: self.proxy.saturating_sub(before.proxy),
        }
    }
}

/// Linux counts in hundredths of a second here, whatever its own tick is.
const TICK_MS: u64 = 10;

/// User and system time of a process and of its children that ended.
fn cpu_time(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold spaces; what counts comes after it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields
        .get(11..15)?
        .iter()
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Some(Duration::from_millis(ticks * TICK_MS))
}

fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// Sums of pgditto's counters; empty when there is no pgditto (or something else in its place).
#[derive(Default)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    pub async fn scrape(address: Option<&str>) -> Self {
        let text = match address {
            Some(address) => get(address).await.unwrap_or_default(),
            None => String::new(),
        };
        let samples = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .filter_map(|(series, value)| Some((series.to_owned(), value.parse().ok()?)));
        Self(samples.collect())
    }

    pub fn since(&self, before: &Self) -> Self {
        let change = |(series, value): (&String, &f64)| {
            let begin = before.0.get(series).copied().unwrap_or_default();
            (series.clone(), value - begin)
        };
        Self(self.0.iter().map(change).collect())
    }

    /// Statements of one outcome (`hit`, `miss`, …), or `None` without metrics.
    pub fn statements(&self, outcome: &str) -> Option<f64> {
        if self.0.is_empty() {
            return None;
        }
        let label = format!("outcome=\"{outcome}\"");
        let matching = self.0.iter().filter(|(series, _)| {
            series.starts_with("pgditto_statements_total{") && series.contains(&label)
        });
        Some(matching.map(|(_, value)| value).sum())
    }
}

async fn get(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    // HTTP/1.0, so that the answer is not chunked and ends with the connection.
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(body.to_owned())
}
