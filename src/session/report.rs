//! What one unit did, for the metrics and the slow-query log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::Session;
use super::analysis::Analysis;
use crate::cache::{Answer, Entry};
use crate::catalog::Order;
use crate::insight::Event;
use crate::metrics::{ErrorOrigin, Outcome, Tier, Timing};
use crate::sql::{Bypass, Kind};
use crate::wire::{ErrorReport, SqlState};

/// What one unit did.
pub(super) struct UnitReport {
    pub started: Instant,
    /// Answered without the server.
    pub here: bool,
    /// Who gave the last cached answer.
    pub tier: Option<Tier>,
    /// The unit's read may be cached.
    pub planned: bool,
    /// The answer was longer than an entry may be.
    pub too_large: bool,
    pub bypass: Option<Bypass>,
    /// Waiting for a connection or for another's flight.
    pub waited: Duration,
    pub upstream: Duration,
    /// Writing to a client that was slow to read.
    pub sending: Duration,
    pub rows: u64,
    pub bytes: u64,
    pub error: Option<[u8; 5]>,
    /// What ended the wait for another's flight: a cancel, or the session's own time limit.
    pub given_up: Option<ErrorReport>,
    pub shadows: Vec<Shadow>,
    out: BytesMut,
}

/// How an answer from upstream compares with what the cache would have served
/// in its place (`cache.mode = "shadow"`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shadow {
    Match,
    /// Other rows, though nothing that the entry depends on had changed.
    Mismatch,
    /// A write came in between, or the answer may differ from run to run.
    NotJudged,
}

/// How often [`Shadow`] was seen.
#[derive(Debug, Default)]
pub struct ShadowCounts {
    pub hits: AtomicU64,
    pub matches: AtomicU64,
    pub mismatches: AtomicU64,
}

impl ShadowCounts {
    pub fn count(&self, shadow: Shadow) {
        self.hits.fetch_add(1, Ordering::Relaxed);
        match shadow {
            Shadow::Match => {
                self.matches.fetch_add(1, Ordering::Relaxed);
            }
            Shadow::Mismatch => {
                self.mismatches.fetch_add(1, Ordering::Relaxed);
            }
            Shadow::NotJudged => {}
        }
    }
}

impl UnitReport {
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            here: false,
            tier: None,
            planned: false,
            bypass: None,
            waited: Duration::ZERO,
            upstream: Duration::ZERO,
            sending: Duration::ZERO,
            rows: 0,
            bytes: 0,
            error: None,
            too_large: false,
            given_up: None,
            shadows: Vec::new(),
            out: BytesMut::new(),
        }
    }

    /// An answer came from the cache.
    pub fn hit(&mut self, entry: &Entry, tier: Tier) {
        self.tier = Some(tier);
        self.rows += entry.answer.rows;
    }

    fn outcome(&self, analysis: &Analysis) -> Outcome {
        match (self.tier, self.bypass) {
            (Some(tier), _) if self.here => Outcome::Hit(tier),
            _ if self.here => Outcome::Local,
            _ if self.too_large => Outcome::Bypass(Bypass::TooLarge),
            _ if self.planned && self.bypass.is_none() => Outcome::Miss,
            (_, Some(Bypass::NotSelect)) => Outcome::Write,
            (_, reason) => {
                let reads = analysis
                    .single()
                    .is_none_or(|facts| facts.kind == Kind::Select);
                match reason {
                    Some(reason) if reads => Outcome::Bypass(reason),
                    _ => Outcome::Write,
                }
            }
        }
    }

    pub fn put_out(&mut self, out: BytesMut) {
        self.out = out;
    }

    pub fn take_out(&mut self) -> BytesMut {
        std::mem::take(&mut self.out)
    }

    /// Compares the answer that came with the one that the cache held; `holds`: its tags still stand.
    pub fn shadow(&mut self, entry: &Entry, answer: &Answer, order: Order, holds: bool) {
        let same = match order {
            Order::Total => entry.answer.body == answer.body,
            Order::Multiset => same_rows(&entry.answer.body, &answer.body),
            Order::Undetermined => true,
        };
        self.shadows.push(match (holds, order, same) {
            (false, ..) | (_, Order::Undetermined, _) => Shadow::NotJudged,
            (true, _, true) => Shadow::Match,
            (true, _, false) => Shadow::Mismatch,
        });
    }
}

/// The same messages in any order.
fn same_rows(a: &[u8], b: &[u8]) -> bool {
    fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
        let mut frames = Vec::new();
        while let Ok(Some(header)) = crate::wire::frame_header(bytes) {
            if header.frame_len > bytes.len() {
                break;
            }
            let (frame, rest) = bytes.split_at(header.frame_len);
            frames.push(frame);
            bytes = rest;
        }
        frames.sort_unstable();
        frames
    }
    a.len() == b.len() && frames(a) == frames(b)
}

impl Session {
    /// Counts the unit, and writes it down if it was slow.
    pub(super) fn record(&self, report: &UnitReport, analysis: &Analysis, sql: &[u8]) {
        let total = report.started.elapsed();
        let timing = Timing {
            wait: report.waited,
            upstream: report.upstream,
            send: report.sending,
            total,
        };
        let outcome = report.outcome(analysis);
        self.metrics.statement(outcome, &timing);
        self.metrics.sent(report.bytes);
        if !report.here {
            self.metrics.assigned(report.waited);
        }
        let sqlstate = report.error.map(SqlState);
        if let Some(code) = sqlstate {
            self.shared.metrics.error(code, ErrorOrigin::Upstream);
        }
        for shadow in &report.shadows {
            self.shared.shadow.count(*shadow);
        }
        let handle = &self.registration.handle;
        let application_name = handle.application_name.lock().clone();
        let event = Event {
            database: &handle.database,
            user: &self.user,
            application_name: &application_name,
            client: &handle.origin.peer,
            shape: analysis.shape,
            outcome,
            timing,
            rows: report.rows,
            bytes: report.bytes,
            sqlstate,
        };
        self.shared
            .insight
            .record(&event, || std::str::from_utf8(sql).unwrap_or("<not UTF-8>"));
    }
}
