//! What is known of every row, and the judgement of what was read.
//!
//! The versions of a row rise in the order of their commits, since one writer at a time has a row. So a
//! read that begins after a version was acknowledged, or was seen by anybody, must not show an older one:
//! that is linearizability of the rows, reads of one's own writes, and monotonic reads over all queries
//! at once. Some rows are written in pairs, the same version to both by one transaction: who saw one of them at a
//! version has seen the other, so reads are monotonic across keys and tables too. A version that was never
//! sent to commit, or that a crash took back, must not be seen, nor one whose commit the server still withholds.
//!
//! Where writers are none of pgditto's clients, answers may be old: then what counts is how long ago, before the
//! read began, whoever wrote the next version was told so.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::tally::Tally;

/// So many anomalies of a class are told as they are found.
const TEXTS: u64 = 20;

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
    /// Older than what somebody had seen of the row that is always written with it.
    BackwardsAcrossRows,
    /// A row that is always there is not, or has no version.
    Missing,
    /// A transaction does not see what it has written itself.
    OwnWriteUnread,
    /// Seen while the commit still waited for a standby.
    PublishedEarly,
    /// Overwritten longer ago than answers may be old.
    OlderThanTtl,
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
    /// The row that is written with it, always.
    pub bond: Option<usize>,
    /// The newest version of that row that anybody saw.
    bond_seen: AtomicI64,
    /// It is written with its bond, and not under its own name.
    follows: bool,
    /// A version whose commit waits for a standby that is not there.
    pub withheld: AtomicI64,
    /// Versions that crashes took back: above the first, up to the second.
    unhappened: Mutex<Vec<(i64, i64)>>,
    /// When versions were acknowledged: as many as are needed to tell ages.
    told: Mutex<VecDeque<(Instant, i64)>>,
    /// Held while a version is written.
    writer: Mutex<()>,
}

/// What could be known of a row before it was read.
pub struct Known {
    crash: u64,
    acknowledged: i64,
    seen: i64,
    bond_seen: i64,
    /// The newest version of all, and since when.
    newest: Option<(Instant, i64)>,
}

#[derive(Default)]
pub struct History {
    pub tally: Tally,
    pub rows: Vec<Row>,
    /// Odd while the server is being crashed: acknowledged commits may be lost.
    crash: AtomicU64,
    anomalies: Mutex<BTreeMap<Anomaly, (u64, String)>>,
    pub reads: AtomicU64,
    pub writes: AtomicU64,
    pub unknown: AtomicU64,
    /// Versions that crashes took back although they were acknowledged.
    pub taken_back: AtomicU64,
    /// Odd while something strikes.
    pub strikes: AtomicU64,
    pub over: AtomicBool,
    /// Answers may be as old as this: writers are none of pgditto's clients.
    pub ttl: Option<Duration>,
    /// Answers that were older than what had been acknowledged, and the age of the oldest, in microseconds.
    pub outdated: AtomicU64,
    pub oldest_us: AtomicU64,
    /// Told at the first anomaly to stop.
    pub stop_at_first: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a crash took the version back.
fn is_taken_back(unhappened: &[(i64, i64)], version: i64) -> bool {
    unhappened
        .iter()
        .any(|&(above, to)| version > above && version <= to)
}

impl Row {
    /// What everybody must know who asks now, if answers may be as old as `ttl`.
    fn known_long(&self, asked: Instant, ttl: Duration) -> Known {
        let mut told = lock(&self.told);
        let long_ago = |at: &Instant| asked.saturating_duration_since(*at) > ttl;
        // Two that are old enough say the same as the younger.
        while told.get(1).is_some_and(|(at, _)| long_ago(at)) {
            told.pop_front();
        }
        let first = told.front().filter(|(at, _)| long_ago(at));
        Known {
            crash: 0,
            acknowledged: first.map_or(0, |(_, version)| *version),
            seen: 0,
            bond_seen: 0,
            newest: told.back().map(|(_, version)| (asked, *version)),
        }
    }

    /// How long ago a version had been overwritten.
    fn age(&self, version: i64, asked: Instant) -> Duration {
        let told = lock(&self.told);
        let over = told.iter().find(|(_, newer)| *newer > version);
        over.map_or(Duration::ZERO, |(at, _)| {
            asked.saturating_duration_since(*at)
        })
    }
}

impl History {
    pub fn new(tables: &[(&'static str, i64)], stop_at_first: bool) -> Self {
        let row = |table, id| Row {
            table,
            id,
            acknowledged: AtomicI64::new(0),
            begun: AtomicI64::new(0),
            seen: AtomicI64::new(0),
            bond: None,
            bond_seen: AtomicI64::new(0),
            follows: false,
            withheld: AtomicI64::new(0),
            unhappened: Mutex::default(),
            told: Mutex::default(),
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

    /// These two are written together, under the name of the first.
    pub fn bind(&mut self, first: (&str, i64), second: (&str, i64)) {
        let (a, b) = (self.place(first.0, first.1), self.place(second.0, second.1));
        self.rows[a].bond = Some(b);
        self.rows[b].bond = Some(a);
        self.rows[b].follows = true;
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

    pub fn report(&self, anomaly: Anomaly, what: String) {
        let mut anomalies = lock(&self.anomalies);
        let (count, _) = anomalies.entry(anomaly).or_insert((0, what.clone()));
        *count += 1;
        if *count <= TEXTS {
            println!("{anomaly:?}: {what}");
        }
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
        if let Some(ttl) = self.ttl {
            return row.known_long(Instant::now(), ttl);
        }
        Known {
            newest: None,
            crash: self.crash.load(Ordering::SeqCst),
            acknowledged: row.acknowledged.load(Ordering::SeqCst),
            seen: row.seen.load(Ordering::SeqCst),
            bond_seen: row.bond_seen.load(Ordering::SeqCst),
        }
    }

    /// After an answer without the row has come: `absent` says which versions of it are no row.
    pub fn judge_absent(&self, at: usize, known: &Known, absent: impl Fn(i64) -> bool, how: &str) {
        let begun = self.rows[at].begun.load(Ordering::SeqCst);
        if self.crash.load(Ordering::SeqCst) != known.crash || known.crash % 2 == 1 {
            return;
        }
        let floor = known.acknowledged.max(known.seen).max(known.bond_seen);
        // What a crash took back is the last that it may have been.
        let unhappened = lock(&self.rows[at].unhappened).clone();
        let absent = || {
            (floor..=begun)
                .chain((0..floor).rev())
                .filter(|version| absent(*version))
        };
        let version = absent()
            .find(|version| !is_taken_back(&unhappened, *version))
            .or_else(|| absent().next());
        match version {
            Some(version) => self.judge(at, known, version, &format!("no row: {how}")),
            None => self.report(Anomaly::Missing, how.to_owned()),
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
        if is_taken_back(&lock(&row.unhappened), version) {
            return self.report(Anomaly::Unhappened, of());
        }
        if version > 0 && row.withheld.load(Ordering::SeqCst) == version {
            self.report(Anomaly::PublishedEarly, of());
        }
        if let Some((asked, newest)) = known.newest
            && version < newest
        {
            self.outdated.fetch_add(1, Ordering::Relaxed);
            let age = row.age(version, asked);
            self.oldest_us
                .fetch_max(age.as_micros() as u64, Ordering::Relaxed);
        }
        if version < known.acknowledged {
            let class = match self.ttl {
                Some(_) => Anomaly::OlderThanTtl,
                None => Anomaly::StaleAfterAcknowledgement,
            };
            self.report(
                class,
                format!("{}; {} was acknowledged", of(), known.acknowledged),
            );
        } else if version < known.seen {
            self.report(
                Anomaly::BackwardsInTime,
                format!("{}; {} was seen", of(), known.seen),
            );
        } else if version < known.bond_seen {
            self.report(
                Anomaly::BackwardsAcrossRows,
                format!("{}; the other row was seen at {}", of(), known.bond_seen),
            );
        }
        row.seen.fetch_max(version, Ordering::SeqCst);
        if let Some(bond) = row.bond {
            self.rows[bond]
                .bond_seen
                .fetch_max(version, Ordering::SeqCst);
        }
    }

    /// Alone with a row, and the version to write. `None` while another has it.
    pub fn write(&self, at: usize) -> Option<Writing<'_>> {
        let row = &self.rows[at];
        if row.follows {
            return None;
        }
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

    /// It is back; `truth` tells what it still knows of each row, of which it is told the newest version. Whoever writes is waited for.
    pub fn crash_ends(&self, mut truth: impl FnMut(&Row, i64) -> i64) {
        let alone: Vec<_> = self.rows.iter().map(|row| lock(&row.writer)).collect();
        for row in &self.rows {
            let begun = row.begun.load(Ordering::SeqCst);
            let left = truth(row, begun);
            if left < begun {
                lock(&row.unhappened).push((left, begun));
            }
            if left < row.acknowledged.load(Ordering::SeqCst) {
                self.taken_back.fetch_add(1, Ordering::Relaxed);
            }
            row.acknowledged.store(left, Ordering::SeqCst);
            row.seen.store(left, Ordering::SeqCst);
            row.bond_seen.store(left, Ordering::SeqCst);
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
        for row in self.rows() {
            row.begun.store(self.version, Ordering::SeqCst);
        }
    }

    /// The row, and the one that is written with it.
    fn rows(&self) -> impl Iterator<Item = &Row> {
        let bond = self.row.bond.map(|bond| &self.history.rows[bond]);
        std::iter::once(self.row).chain(bond)
    }

    /// Whether the server withholds its commit, and nobody may see it.
    pub fn withheld(&self, is: bool) {
        let version = if is { self.version } else { 0 };
        self.row.withheld.store(version, Ordering::SeqCst);
    }

    pub fn acknowledged(self) {
        self.history.writes.fetch_add(1, Ordering::Relaxed);
        if self.history.crash.load(Ordering::SeqCst) == self.crash && self.crash.is_multiple_of(2) {
            for row in self.rows() {
                row.acknowledged.store(self.version, Ordering::SeqCst);
                if self.history.ttl.is_some() {
                    lock(&row.told).push_back((Instant::now(), self.version));
                }
            }
        }
    }

    pub fn unknown(self) {
        self.history.unknown.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn who_reads_what_was_overwritten_longer_than_ttl_ago_is_noticed() {
    let mut history = History::new(&[("t", 1)], false);
    history.ttl = Some(Duration::from_secs(10));
    for version in 1..=3 {
        let writing = history.write(0).expect("nobody else writes");
        assert_eq!(writing.version, version);
        writing.commits();
        writing.acknowledged();
    }
    let row = &history.rows[0];
    let first = lock(&row.told)[0].0;
    let late = first + Duration::from_secs(5);
    let known = row.known_long(late, Duration::from_secs(10));
    history.judge(0, &known, 0, "in time");
    assert!(history.anomalies().is_empty());
    let late = first + Duration::from_secs(60);
    let known = row.known_long(late, Duration::from_secs(10));
    history.judge(0, &known, 3, "the newest");
    assert!(history.anomalies().is_empty());
    history.judge(0, &known, 2, "a minute later");
    let found: Vec<_> = history.anomalies().into_keys().collect();
    assert_eq!(found, [Anomaly::OlderThanTtl]);
}

#[test]
fn a_row_that_is_not_there_is_at_none_of_the_versions_that_a_crash_took_back() {
    let history = History::new(&[("t", 1)], false);
    let commit = |acknowledged| {
        let writing = history.write(0).expect("nobody else writes");
        writing.commits();
        if acknowledged {
            writing.acknowledged();
        }
    };
    commit(true);
    commit(true);
    commit(false);
    history.crash_begins();
    // The second and the third are gone.
    history.crash_ends(|_, begun| {
        assert_eq!(begun, 3);
        1
    });
    commit(false);
    let absent_at = |versions: &'static [i64]| {
        let known = history.known(0);
        history.judge_absent(0, &known, |version| versions.contains(&version), "read");
        let found: Vec<_> = history.anomalies().into_keys().collect();
        lock(&history.anomalies).clear();
        // Nobody has seen anything.
        history.rows[0].seen.store(1, Ordering::SeqCst);
        found
    };
    assert_eq!(absent_at(&[2, 4]), [], "the fourth may have been committed");
    assert_eq!(absent_at(&[1, 3]), [], "the first is what is left");
    assert_eq!(absent_at(&[2, 3]), [Anomaly::Unhappened]);
    assert_eq!(absent_at(&[0, 3]), [Anomaly::StaleAfterAcknowledgement]);
    assert_eq!(absent_at(&[]), [Anomaly::Missing]);
}
