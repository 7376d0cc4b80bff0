//! What one unit did, for the metrics and the slow-query log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::Session;
use super::analysis::Analysis;
use super::decide::ReadPlan;
use crate::cache::{Answer, Entry};
use crate::sql::Bypass;

/// What one unit did.
pub(super) struct UnitReport {
    pub started: Instant,
    /// Answered without the server.
    pub here: bool,
    pub hits: u64,
    pub planned: bool,
    pub bypass: Option<Bypass>,
    /// Waiting for a connection or for another's flight.
    pub waited: Duration,
    pub upstream: Duration,
    /// Writing to a client that was slow to read.
    pub sending: Duration,
    pub rows: u64,
    pub bytes: u64,
    pub error: Option<[u8; 5]>,
    pub too_large: bool,
    /// The client cancelled before anything was sent.
    pub cancelled: bool,
    pub shadows: Vec<Shadow>,
    out: BytesMut,
}

/// How an answer from upstream compares with what the cache would have served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shadow {
    Match,
    Mismatch,
    /// The entry's tags no longer hold, or the answer may differ from run to run.
    NotJudged,
}

impl UnitReport {
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            here: false,
            hits: 0,
            planned: false,
            bypass: None,
            waited: Duration::ZERO,
            upstream: Duration::ZERO,
            sending: Duration::ZERO,
            rows: 0,
            bytes: 0,
            error: None,
            too_large: false,
            cancelled: false,
            shadows: Vec::new(),
            out: BytesMut::new(),
        }
    }

    pub fn hit(&mut self, entry: &Entry) {
        self.hits += 1;
        self.rows += entry.answer.rows;
    }

    pub fn relations(&mut self, _plan: &ReadPlan) {
        self.planned = true;
    }

    pub fn put_out(&mut self, out: BytesMut) {
        self.out = out;
    }

    pub fn take_out(&mut self) -> BytesMut {
        std::mem::take(&mut self.out)
    }

    /// Compares the answer that came with the one that the cache held; `holds`: its tags still stand.
    pub fn shadow(&mut self, entry: &Arc<Entry>, answer: &Answer, holds: bool) {
        self.shadows.push(if !holds {
            Shadow::NotJudged
        } else if entry.answer.body == answer.body || same_rows(&entry.answer.body, &answer.body) {
            Shadow::Match
        } else {
            Shadow::Mismatch
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
    pub(super) fn record(&self, report: &UnitReport, analysis: &Analysis, sql: &[u8]) {
        let _ = (report, analysis, sql);
    }
}
