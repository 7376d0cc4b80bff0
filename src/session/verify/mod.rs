//! Hits that are checked behind the client's back: the server is asked twice, and an answer that it
//! gives neither before nor after, though nothing that the entry depends on has changed, is a mistake.
//!
//! Owns the line of those that are to be checked, the counts, and the shapes that are out of the cache
//! since one was found wrong. A client waits for none of it: [`rerun`] takes only a connection that leaves
//! another one idle, and gives it back when somebody has to wait.

mod digest;
mod off;
mod rerun;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

pub use off::Mismatch;

use super::Session;
use super::shared::{Database, Shared};
use super::statements::Statement;
use crate::cache::{Entry, Terms};
use crate::catalog::Order;
use crate::config::{Level, VerifyConfig};
use crate::metrics::Verification;
use crate::upstream::{Pool, Settings};
use crate::wire::frontend;
use off::Off;

/// Longer statements, with their values, are not kept to be asked again.
const REQUEST_BYTES_MAX: usize = 64 << 10;

/// What the checks of one process share.
#[derive(Default)]
pub struct Verifier {
    counts: [AtomicU64; Verification::ALL.len()],
    draws: AtomicU64,
    line: Mutex<Line>,
    pub off: Off,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<Job>,
    running: usize,
}

/// A read with all that is needed to ask for it again.
struct Job {
    pool: Arc<Pool>,
    database: Arc<Database>,
    settings: Settings,
    /// The session's: its defaults hold as long as it.
    generation: u64,
    entry: Arc<Entry>,
    check: Check,
    sql: Bytes,
    /// The whole messages.
    request: Bytes,
}

/// How the answer to a read is checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Check {
    pub order: Order,
    pub terms: Terms,
}

/// How a read was asked for.
pub(super) enum Asked<'a> {
    Query(&'a [u8]),
    Portal {
        statement: &'a Statement,
        /// [`Bind::tail`](crate::wire::frontend::Bind::tail).
        tail: &'a [u8],
        max_rows: u32,
    },
}

impl Asked<'_> {
    fn sql(&self) -> Bytes {
        match self {
            Asked::Query(sql) => Bytes::copy_from_slice(sql),
            Asked::Portal { statement, .. } => statement.sql.clone(),
        }
    }

    /// The messages that ask for it again, outside of a transaction; `None` if they are too long.
    fn request(&self) -> Option<Bytes> {
        let mut out = BytesMut::new();
        match self {
            Asked::Query(sql) if sql.len() <= REQUEST_BYTES_MAX => frontend::query(&mut out, sql),
            Asked::Portal {
                statement,
                tail,
                max_rows,
            } if statement.sql.len() + tail.len() <= REQUEST_BYTES_MAX => {
                frontend::parse(&mut out, b"", &statement.sql, &statement.parameter_types);
                frontend::bind_raw(&mut out, b"", b"", tail);
                frontend::execute(&mut out, b"", i32::try_from(*max_rows).unwrap_or(0));
                frontend::sync(&mut out);
            }
            _ => return None,
        }
        Some(out.freeze())
    }
}

impl Session {
    /// Has a hit checked, if the lot falls on it. Costs the client nothing but the copy of its request.
    pub(super) fn verify(&self, entry: &Arc<Entry>, check: Check, asked: &Asked<'_>) {
        let limits = &self.config.cache.verify;
        let verifier = &self.shared.verifier;
        if limits.sample <= 0.0 || !verifier.draw(limits.sample) {
            return;
        }
        let by_age = entry.level != Level::Strict || check.terms.level != Level::Strict;
        if by_age || check.order == Order::Undetermined {
            return verifier.count(Verification::NotComparable);
        }
        let settings = self
            .tx
            .customs()
            .try_fold(self.settings.clone(), |settings, (name, value)| {
                settings.with(name, value)
            });
        let (request, settings) = match (asked.request(), settings) {
            (Some(request), Ok(settings)) if !self.has_old_defaults() => (request, settings),
            _ => return verifier.count(Verification::NotRebuilt),
        };
        let job = Job {
            pool: Arc::clone(&self.pool),
            database: Arc::clone(&self.database),
            settings,
            generation: self.generation,
            entry: Arc::clone(entry),
            check,
            sql: asked.sql(),
            request,
        };
        Verifier::enqueue(&self.shared, job, limits);
    }
}

impl Verifier {
    fn count(&self, result: Verification) {
        self.counts[result as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often each result was seen, in the order of [`Verification::ALL`].
    pub fn counts(&self) -> [u64; Verification::ALL.len()] {
        std::array::from_fn(|index| self.counts[index].load(Ordering::Relaxed))
    }

    /// How many wait to be checked.
    pub fn waiting(&self) -> usize {
        self.line.lock().waiting.len()
    }

    /// True for a `sample` of all calls.
    fn draw(&self, sample: f64) -> bool {
        // SplitMix64: no pattern of the application's meets one of ours.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self
            .draws
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_add(1)
            .wrapping_mul(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // 53 bits are what an f64 holds exactly.
        ((z >> 11) as f64) < sample * (1_u64 << 53) as f64
    }

    fn enqueue(shared: &Arc<Shared>, job: Job, limits: &VerifyConfig) {
        let mut line = shared.verifier.line.lock();
        if line.running < limits.concurrency {
            line.running += 1;
            drop(line);
            tokio::spawn(work(Arc::clone(shared), job));
        } else if line.waiting.len() < limits.queue {
            line.waiting.push_back(job);
        } else {
            drop(line);
            shared.verifier.count(Verification::QueueFull);
        }
    }
}

/// One that works through the line; counted off however it ends.
struct Worker {
    shared: Arc<Shared>,
    counted: bool,
}

impl Worker {
    /// The next in the line; `None` ends the worker.
    fn next(&mut self) -> Option<Job> {
        let limit = self.shared.config.load().cache.verify.concurrency;
        let mut line = self.shared.verifier.line.lock();
        let next = match line.running > limit {
            true => None,
            false => line.waiting.pop_front(),
        };
        if next.is_none() {
            // Under the same lock: who comes now finds the place free.
            line.running -= 1;
            self.counted = false;
        }
        next
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.counted {
            self.shared.verifier.line.lock().running -= 1;
        }
    }
}

async fn work(shared: Arc<Shared>, first: Job) {
    let mut worker = Worker {
        shared,
        counted: true,
    };
    let mut next = Some(first);
    while let Some(job) = next {
        let result = rerun::run(&worker.shared, &job).await;
        worker.shared.verifier.count(result);
        next = worker.next();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lot_falls_on_the_share_that_was_asked_for() {
        for (sample, least, most) in [(1.0, 10_000, 10_000), (0.0, 0, 0), (0.01, 50, 200)] {
            let verifier = Verifier::default();
            let drawn = (0..10_000).filter(|_| verifier.draw(sample)).count();
            assert!((least..=most).contains(&drawn), "{drawn} of {sample}");
        }
    }
}
