//! What statements cost: the slow-query log, the last slow statements, and sums by shape.
//!
//! A session hands in one [`Event`] for each statement. For a fast statement of a known
//! shape that is a look at the thresholds and a few atomic additions; the text is asked for
//! only when it is needed. Nothing here knows a socket.

mod limiter;
mod shapes;
mod slow;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arc_swap::ArcSwap;

pub use shapes::ShapeStats;
pub use slow::SlowStatement;

use crate::config::SlowLogConfig;
use crate::metrics::{Metrics, Outcome, Timing};
use crate::sql::ShapeId;
use crate::wire::SqlState;
use shapes::Shapes;
use slow::SlowLog;

/// A statement that was answered.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    pub database: &'a str,
    pub user: &'a str,
    pub application_name: &'a str,
    /// The client's address and port; `unix` for a Unix socket.
    pub client: &'a str,
    pub shape: ShapeId,
    pub outcome: Outcome,
    pub timing: Timing,
    pub rows: u64,
    /// Sent to the client.
    pub bytes: u64,
    /// Of the error that ended it.
    pub sqlstate: Option<SqlState>,
}

/// Collects [`Event`]s.
pub struct Insight {
    config: ArcSwap<SlowLogConfig>,
    normalise: fn(&str) -> String,
    slow: SlowLog,
    shapes: Shapes,
    metrics: Arc<Metrics>,
}

impl Insight {
    /// `normalise` takes the literals out of a statement (`sql::shape_text`).
    pub fn new(
        config: &SlowLogConfig,
        normalise: fn(&str) -> String,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            config: ArcSwap::from_pointee(config.clone()),
            normalise,
            slow: SlowLog::default(),
            shapes: Shapes::default(),
            metrics,
        })
    }

    /// From now on `config` decides what is slow.
    pub fn reload(&self, config: &SlowLogConfig) {
        self.config.store(Arc::new(config.clone()));
    }

    /// Notes one statement; `sql` is its text as it came, asked for only if needed.
    ///
    /// The counters of [`Metrics`] are the caller's to move. Never waits for anything
    /// but, for a slow statement, the log's writer.
    pub fn record<'s>(&self, event: &Event<'_>, sql: impl FnOnce() -> &'s str) {
        let config = self.config.load();
        let slow = slow::severity(&config, event.timing.total);
        let known = self.shapes.count(event);
        if known && slow.is_none() {
            return;
        }
        let sql = sql();
        if !known {
            self.shapes.admit(event, || self.text(sql));
        }
        if let Some(severity) = slow {
            let statement = if config.literals {
                slow::capped(sql.to_owned())
            } else {
                self.text(sql)
            };
            let written = self.slow.note(&config, severity, event, statement);
            self.metrics.slow_statement(written);
        }
    }

    /// `SHOW SLOW`: the last slow statements, newest first, whether or not the log had room for them.
    pub fn slow(&self) -> Vec<SlowStatement> {
        self.slow.last()
    }

    /// `SHOW QUERIES`: the shapes that took the most time, costliest first.
    pub fn queries(&self, count_max: usize) -> Vec<ShapeStats> {
        self.shapes.costliest(count_max)
    }

    /// The shape that is printed as `text`, if it is among those counted.
    pub fn find_shape(&self, text: &str) -> Option<ShapeId> {
        self.shapes.find(text)
    }

    fn text(&self, sql: &str) -> String {
        slow::capped((self.normalise)(sql))
    }
}
