//! The slow-query log and the ring of the last slow statements.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use super::Event;
use super::limiter::Limiter;
use crate::config::SlowLogConfig;
use crate::metrics::{Outcome, Timing};
use crate::sql::ShapeId;
use crate::wire::SqlState;

/// How many `SHOW SLOW` remembers.
const RING_LEN: usize = 200;

/// Statements longer than this are cut, in the log and on the console.
const STATEMENT_BYTES_MAX: usize = 2048;

/// Which threshold was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    Warn,
    Error,
}

/// `None` for what is fast enough. A threshold of zero is never passed.
pub(super) fn severity(config: &SlowLogConfig, total: Duration) -> Option<Severity> {
    let passes = |threshold: Duration| !threshold.is_zero() && total >= threshold;
    if passes(config.error) {
        Some(Severity::Error)
    } else if passes(config.warn) {
        Some(Severity::Warn)
    } else {
        None
    }
}

/// A statement as `SHOW SLOW` has it.
#[derive(Debug, Clone)]
pub struct SlowStatement {
    pub at: SystemTime,
    pub database: String,
    pub user: String,
    pub application_name: String,
    pub client: String,
    pub shape: ShapeId,
    pub outcome: Outcome,
    pub timing: Timing,
    pub rows: u64,
    pub bytes: u64,
    pub sqlstate: Option<SqlState>,
    /// Without literals, unless `slow_log.literals` keeps them.
    pub statement: String,
}

pub(super) struct SlowLog {
    started: Instant,
    limiter: Limiter,
    ring: Mutex<VecDeque<SlowStatement>>,
}

impl Default for SlowLog {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            limiter: Limiter::default(),
            ring: Mutex::default(),
        }
    }
}

impl SlowLog {
    /// Remembers a slow statement and writes it to the log; false if it is one too many for the
    /// log in this second. The memory is a ring, so a storm of slow statements costs it no room.
    pub fn note(
        &self,
        config: &SlowLogConfig,
        severity: Severity,
        event: &Event<'_>,
        statement: String,
    ) -> bool {
        let slow = SlowStatement {
            at: SystemTime::now(),
            database: event.database.to_owned(),
            user: event.user.to_owned(),
            application_name: event.application_name.to_owned(),
            client: event.client.to_owned(),
            shape: event.shape,
            outcome: event.outcome,
            timing: event.timing,
            rows: event.rows,
            bytes: event.bytes,
            sqlstate: event.sqlstate,
            statement,
        };
        let now = self.started.elapsed();
        let admitted = self.limiter.admit(now, config.max_per_second);
        if let Some(suppressed) = admitted {
            write(severity, &slow, suppressed);
        }
        let mut ring = self.ring.lock();
        if ring.len() == RING_LEN {
            ring.pop_front();
        }
        ring.push_back(slow);
        admitted.is_some()
    }

    /// Newest first.
    pub fn last(&self) -> Vec<SlowStatement> {
        self.ring.lock().iter().rev().cloned().collect()
    }
}

macro_rules! line {
    ($level:ident, $slow:expr, $suppressed:expr) => {
        tracing::$level!(
            database = $slow.database,
            user = $slow.user,
            application_name = $slow.application_name,
            client = $slow.client,
            total_ms = ms($slow.timing.total),
            wait_ms = ms($slow.timing.wait),
            upstream_ms = ms($slow.timing.upstream),
            send_ms = ms($slow.timing.send),
            outcome = $slow.outcome.as_str(),
            reason = $slow.outcome.detail(),
            rows = $slow.rows,
            bytes = $slow.bytes,
            sqlstate = $slow.sqlstate.as_ref().map(SqlState::as_str),
            shape = %$slow.shape,
            suppressed = $suppressed,
            statement = $slow.statement,
            "slow query"
        )
    };
}

fn write(severity: Severity, slow: &SlowStatement, suppressed: u64) {
    match severity {
        Severity::Warn => line!(warn, slow, suppressed),
        Severity::Error => line!(error, slow, suppressed),
    }
}

/// Milliseconds to the microsecond: what a reader wants, and no more digits.
fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// At most [`STATEMENT_BYTES_MAX`], on one line.
pub(super) fn capped(mut statement: String) -> String {
    if statement.len() > STATEMENT_BYTES_MAX {
        let end = (0..=STATEMENT_BYTES_MAX)
            .rev()
            .find(|&end| statement.is_char_boundary(end));
        statement.truncate(end.unwrap_or_default());
        statement.push('…');
    }
    if statement.contains(char::is_control) {
        statement = statement.replace(char::is_control, " ");
    }
    statement
}
