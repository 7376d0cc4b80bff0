//! What is known of every row, and the judgement of what was read.
//!
//! The versions of a row rise in the order of their commits, since one writer at a time has a row. So a
//! read that begins after a version was acknowledged, or was seen by anybody, must not show an older one:
//! that is linearizability of the rows, reads of one's own writes, and monotonic reads over all keys and
//! queries at once. A version that was never sent to commit, or that a crash took back, must not be seen.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Never committed by anybody.
pub const NEVER: i64 = 1_000_000_000;

/// A class of anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Anomaly {
    /// Older than what a writer had been told of.
    StaleAfterAcknowledgement,
    /// Older than what somebody had seen.
    BackwardsInTime,
    /// Rolled back, or never sent to commit.
    NeverCommitted,
    /// Taken back by a crash of the server, and seen after it.
    Unhappened,
    /// A sum over two tables that no transaction changes.
    Torn,
    /// Nobody asks any more, and pgditto says something else than PostgreSQL.
    WrongInTheEnd,
    /// Acknowledged and not there.
    Lost,
    /// Two wait for each other, and PostgreSQL does not see it.
    Deadlocked,
}

pub struct Row {
    pub table: &'static str,
    pub id: i64,
    /// The last version whose commit was acknowledged.
    pub acknowledged: AtomicI64,
    /// The last version whose commit may have been sent.
    pub begun: AtomicI64,
    /// The newest version that anybody saw.
    seen: AtomicI64,
    /// Versions that crashes took back: above the first, up to the second.
    unhappened: Mutex<Vec<(i64, i64)>>,
    /// Held while a version is written.
    writer: Mutex<()>,
}

/// What could be known of a row before it was read.
pub struct Known {
    crash: u64,
    acknowledged: i64,
    seen: i64,
}

#[derive(Default)]
pub struct History {
    pub rows: Vec<Row>,
    /// Odd while the server is being crashed: acknowledged commits may be lost.
    crash: AtomicU64,
    anomalies: Mutex<BTreeMap<Anomaly, (u64, String)>>,
    pub reads: AtomicU64,
    pub writes: AtomicU64,
    pub unknown: AtomicU64,
    /// Versions that crashes took back although they were acknowledged.
    pub taken_back: AtomicU64,
    pub over: AtomicBool,
    /// Told at the first anomaly to stop.
    pub stop_at_first: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl History {
    pub fn new(tables: &[(&'static str, i64)], stop_at_first: bool) -> Self {
        let row = |table, id| Row {
            table,
            id,
            acknowledged: AtomicI64::new(0),
            begun: AtomicI64::new(0),
            seen: AtomicI64::new(0),
            unhappened: Mutex::default(),
            writer: Mutex::default(),
        };
        let rows = tables
            .iter()
            .flat_map(|&(table, count)| (0..count).map(move |id| row(table, id)));
        Self {
            rows: rows.collect(),
            stop_at_first,
            ..Self::default()
        }
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    pub fn place(&self, table: &str, id: i64) -> usize {
        let found = self
            .rows
            .iter()
            .position(|row| row.table == table && row.id == id);
        found.unwrap_or_else(|| panic!("no row {id} of {table}"))
    }

    /// The places of a table's rows.
    pub fn rows_of(&self, table: &str) -> Vec<usize> {
        (0..self.rows.len())
            .filter(|&at| self.rows[at].table == table)
            .collect()
    }

    pub fn report(&self, anomaly: Anomaly, what: String) {
        let mut anomalies = lock(&self.anomalies);
        anomalies.entry(anomaly).or_insert((0, what)).0 += 1;
        if self.stop_at_first {
            self.over.store(true, Ordering::SeqCst);
        }
    }

    pub fn anomalies(&self) -> BTreeMap<Anomaly, (u64, String)> {
        lock(&self.anomalies).clone()
    }

    /// Before a read is sent.
    pub fn known(&self, at: usize) -> Known {
        let row = &self.rows[at];
        Known {
            crash: self.crash.load(Ordering::SeqCst),
            acknowledged: row.acknowledged.load(Ordering::SeqCst),
            seen: row.seen.load(Ordering::SeqCst),
        }
    }

    /// After its answer has come.
    pub fn judge(&self, at: usize, known: &Known, version: i64, how: &str) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let row = &self.rows[at];
        let begun = row.begun.load(Ordering::SeqCst);
        let crash = self.crash.load(Ordering::SeqCst);
        let of = || format!("{} {} version {version}: {how}", row.table, row.id);
        if version > begun || version < 0 {
            return self.report(
                Anomaly::NeverCommitted,
                format!("{}; {begun} was the last begun", of()),
            );
        }
        // Between the crash and the look at what it left, nothing is known.
        if crash != known.crash || crash % 2 == 1 {
            return;
        }
        if lock(&row.unhappened)
            .iter()
            .any(|&(above, to)| version > above && version <= to)
        {
            return self.report(Anomaly::Unhappened, of());
        }
        if version < known.acknowledged {
            self.report(
                Anomaly::StaleAfterAcknowledgement,
                format!("{}; {} was acknowledged", of(), known.acknowledged),
            );
        } else if version < known.seen {
            self.report(
                Anomaly::BackwardsInTime,
                format!("{}; {} was seen", of(), known.seen),
            );
        }
        row.seen.fetch_max(version, Ordering::SeqCst);
    }

    /// Alone with a row, and the version to write. `None` while another has it.
    pub fn write(&self, at: usize) -> Option<Writing<'_>> {
        let row = &self.rows[at];
        let guard = row.writer.try_lock().ok()?;
        let version = row.begun.load(Ordering::SeqCst) + 1;
        Some(Writing {
            history: self,
            row,
            version,
            crash: self.crash.load(Ordering::SeqCst),
            _alone: guard,
        })
    }

    /// The server is about to be crashed.
    pub fn crash_begins(&self) {
        self.crash.fetch_add(1, Ordering::SeqCst);
    }

    /// It is back; `truth` tells what it still knows of each row. Whoever writes is waited for.
    pub fn crash_ends(&self, mut truth: impl FnMut(&Row) -> i64) {
        let alone: Vec<_> = self.rows.iter().map(|row| lock(&row.writer)).collect();
        for row in &self.rows {
            let left = truth(row);
            let begun = row.begun.load(Ordering::SeqCst);
            if left < begun {
                lock(&row.unhappened).push((left, begun));
            }
            if left < row.acknowledged.load(Ordering::SeqCst) {
                self.taken_back.fetch_add(1, Ordering::Relaxed);
            }
            row.acknowledged.store(left, Ordering::SeqCst);
            row.seen.store(left, Ordering::SeqCst);
        }
        self.crash.fetch_add(1, Ordering::SeqCst);
        drop(alone);
    }
}

pub struct Writing<'a> {
    history: &'a History,
    row: &'a Row,
    pub version: i64,
    crash: u64,
    _alone: MutexGuard<'a, ()>,
}

impl Writing<'_> {
    /// To be called before anything is sent that may commit the version.
    pub fn commits(&self) {
        self.row.begun.store(self.version, Ordering::SeqCst);
    }

    pub fn acknowledged(self) {
        self.history.writes.fetch_add(1, Ordering::Relaxed);
        if self.history.crash.load(Ordering::SeqCst) == self.crash && self.crash.is_multiple_of(2) {
            self.row.acknowledged.store(self.version, Ordering::SeqCst);
        }
    }

    pub fn unknown(self) {
        self.history.unknown.fetch_add(1, Ordering::Relaxed);
    }
}
