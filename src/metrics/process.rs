//! The process itself, in the names that every Prometheus client uses. Read from
//! `/proc`; where there is none the series stay at zero.

use std::fs;

use prometheus::{Counter, Gauge, Registry, Result};

use super::family::{float, gauge, total};

/// Linux shows times to programs in hundredths of a second, whatever the kernel's own tick.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) struct Process {
    cpu: Counter,
    resident: Gauge,
    open_files: Gauge,
    max_files: Gauge,
}

impl Process {
    pub fn new(registry: &Registry) -> Result<Self> {
        Ok(Self {
            cpu: total(
                registry,
                "process_cpu_seconds_total",
                "User and system time of the process.",
            )?,
            resident: gauge(
                registry,
                "process_resident_memory_bytes",
                "Resident memory of the process.",
            )?,
            open_files: gauge(registry, "process_open_fds", "Open file descriptors.")?,
            max_files: gauge(
                registry,
                "process_max_fds",
                "How many file descriptors the process may open.",
            )?,
        })
    }

    pub fn fill(&self) {
        if let Some(ticks) = cpu_ticks() {
            let missing = float(ticks) / TICKS_PER_SECOND - self.cpu.get();
            if missing > 0.0 {
                self.cpu.inc_by(missing);
            }
        }
        self.resident
            .set(float(resident_bytes().unwrap_or_default()));
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            self.open_files.set(float(entries.count() as u64));
        }
        self.max_files.set(float(max_files().unwrap_or_default()));
    }
}

/// The command in `/proc/self/stat` may hold blanks and brackets: fields are counted from the last one.
fn cpu_ticks() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// `VmRSS` of this process, in bytes.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn max_files() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}
