//! The commit of work that may be long and wide waits until the work is done: so its marks stand for as long as the
//! commit takes, and not for as long as the work does.
//!
//! ```text
//! extended   …, Execute, Flush    — the replies —   mark, Sync
//! simple     BEGIN, the Query     — the replies —   mark, COMMIT; how the statement ended is told after it
//! ```
//!
//! Of code that cannot be read through the server is asked, before the commit, whether it has written at all.

use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::Session;
use super::analysis::Analysis;
use super::decide::Meaning;
use super::exchange::Exchange;
use super::expect::Expect;
use crate::cache::{Moment, Writer};
use crate::catalog::Footprint;
use crate::config::CacheMode;
use crate::metrics::Held;
use crate::sql::{Kind, ShapeId};
use crate::wire::{Frame, TransactionStatus, backend, frontend, tag::backend as tag};

/// True where nothing was written: a transaction that writes has a number.
const NOTHING_WRITTEN: &[u8] = b"SELECT pg_catalog.pg_current_xact_id_if_assigned() IS NULL";

/// After so many runs that were not held it is asked again whether a statement writes.
const ASKED_AGAIN_AFTER: u8 = 16;

/// How a statement ran before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Runs {
    /// A running mean.
    took: Duration,
    /// It had written something when it was asked last.
    writes: bool,
    /// So many were not held since.
    unasked: u8,
}

impl Runs {
    /// Whether it is worth a round trip that its marks stand for its commit alone.
    fn hold(&self, from: Duration, everything: bool) -> bool {
        let may_read_only = !self.writes || self.unasked >= ASKED_AGAIN_AFTER;
        self.took >= from || everything && may_read_only
    }

    /// `held`: whether it had written then; `None` if it was not held.
    fn then(before: Option<Self>, took: Duration, held: Option<bool>) -> Self {
        let before = before.unwrap_or(Self {
            took,
            writes: true,
            unasked: 0,
        });
        Self {
            took: (before.took * 3 + took) / 4,
            writes: held.unwrap_or(before.writes),
            unasked: match held {
                Some(_) => 0,
                None => before.unasked.saturating_add(1),
            },
        }
    }
}

/// What the statements of one unit say of holding its commit.
#[derive(Debug, Default)]
pub(super) struct Wish {
    wanted: bool,
    /// One of them is of a kind that goes its own way.
    pub refused: bool,
    /// One of them calls code, which may have written or not.
    asks: bool,
    /// The one for whose sake it is wanted, or would be if it took longer.
    shape: Option<ShapeId>,
    since: Option<Instant>,
}

/// How far a unit is whose commit is held.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// Its commit is not held, or not any more.
    #[default]
    None,
    /// Its Sync waits until all that came before has been answered.
    Sync,
    /// Its Query runs in a block of ours.
    Block,
    /// The Query has been answered, and the block has this status.
    Answered(TransactionStatus),
    /// The end of the block is under way.
    Ending,
}

impl Hold {
    /// The client's Query runs in a block of which the client knows nothing.
    pub fn in_block(self) -> bool {
        !matches!(self, Self::None | Self::Sync)
    }
}

/// Whether the work has written: the answer to a question of ours.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub nothing_written: Option<bool>,
}

impl Asked {
    /// A message of the answer.
    pub fn take(&mut self, message: u8, body: &[u8]) {
        if message == tag::DATA_ROW {
            let row = backend::data_row(body).unwrap_or_default();
            self.nothing_written = Some(row.first() == Some(&Some(&b"t"[..])));
        }
    }
}

impl Session {
    /// Notes a statement of the unit, before or as it is queued. `meaning` has been narrowed.
    pub(super) fn note_work(&mut self, analysis: &Analysis, meaning: &Meaning) {
        let Some(kind) = analysis.kind().filter(|kind| is_work(kind)) else {
            self.hold.refused = true;
            return;
        };
        let footprint = &meaning.footprint;
        if !is_wide(kind, footprint) {
            return;
        }
        let from = self.config.cache.hold_commits_from;
        let runs = self.database.runs.get(&analysis.shape);
        self.hold.wanted |= runs.is_none_or(|runs| runs.hold(from, footprint.everything));
        self.hold.asks |= matches!(kind, Kind::Select | Kind::Explain { .. });
        self.hold.shape = Some(analysis.shape);
    }

    /// Whether the commit of a transaction that is this unit alone is to be held: there are answers that it could keep.
    fn holds_commit(&self, exchange: &Exchange) -> bool {
        let authority = &self.database.authority;
        self.hold.wanted
            && !self.hold.refused
            && !self.commit_inside
            && self.tx.status == TransactionStatus::Idle
            && self.tx.unsent_begin.is_none()
            && exchange.hold == Hold::None
            && !exchange.is_skipping()
            && self.config.cache.mode != CacheMode::Off
            && !self.config.cache.hold_commits_from.is_zero()
            && authority.catalog().is_some()
            && authority.may_serve(Moment::now()).is_ok()
    }

    /// Lets a Sync wait for what comes before it; false if it need not.
    pub(super) fn hold_sync(&mut self, frame: &Frame, exchange: &mut Exchange) -> bool {
        if !self.holds_commit(exchange) || self.writer.as_ref().is_none_or(Writer::is_marked) {
            return false;
        }
        if self.hold.asks {
            self.ask_whether_written(exchange);
        }
        frontend::flush(&mut exchange.outgoing);
        exchange.hold_back(frame);
        exchange.hold = Hold::Sync;
        exchange.open = true;
        true
    }

    /// The Sync that has waited is next.
    pub(super) fn release_sync(&mut self, exchange: &mut Exchange) {
        if exchange.hold == Hold::Sync {
            exchange.hold = Hold::None;
            self.note_held(exchange);
        }
    }

    /// Begins a block for a Query whose commit is held; false if it need not be.
    pub(super) fn hold_query(&mut self, exchange: &mut Exchange) -> bool {
        if !self.holds_commit(exchange) {
            return false;
        }
        exchange.begin(b"BEGIN", false);
        exchange.hold = Hold::Block;
        true
    }

    /// Ends that block, as soon as the Query has been answered.
    pub(super) fn end_block(&mut self, exchange: &mut Exchange) {
        let Hold::Answered(mut status) = exchange.hold else {
            return;
        };
        if !exchange.expects.is_empty() {
            return;
        }
        if exchange.is_skipping() {
            // The question has failed, and the client knows of it.
            frontend::sync(&mut exchange.outgoing);
            exchange.expects.push_back(Expect::Hidden);
            exchange.synced();
            status = TransactionStatus::Failed;
        } else if status == TransactionStatus::InBlock
            && self.hold.asks
            && exchange.asked.nothing_written.is_none()
        {
            self.ask_whether_written(exchange);
            frontend::flush(&mut exchange.outgoing);
            return;
        }
        let end: &[u8] = match status {
            TransactionStatus::InBlock => {
                self.note_held(exchange);
                self.commit_inside = true;
                self.mark_now();
                b"COMMIT"
            }
            _ => b"ROLLBACK",
        };
        frontend::query(&mut exchange.outgoing, end);
        exchange.expects.push_back(Expect::EndOfBlock);
        exchange.hold = Hold::Ending;
        exchange.open = false;
    }

    fn ask_whether_written(&mut self, exchange: &mut Exchange) {
        const NOTHING_BOUND: &[u8] = &[0; 6];
        let outgoing: &mut BytesMut = &mut exchange.outgoing;
        frontend::parse(outgoing, b"", NOTHING_WRITTEN, &[]);
        frontend::bind_raw(outgoing, b"", b"", NOTHING_BOUND);
        frontend::execute(outgoing, b"", 0);
        exchange.expects.push_back(Expect::Written);
        self.unnamed_upstream = None;
    }

    /// The work is done, and its commit is to follow.
    fn note_held(&mut self, exchange: &Exchange) {
        let written = exchange.asked.nothing_written != Some(true);
        self.note_run(Some(written));
        self.metrics.held(match written {
            true => Held::Written,
            false => Held::NothingWritten,
        });
        if !written && let Some(writer) = self.writer.take() {
            writer.settle(false);
        }
    }

    /// The unit leaves.
    pub(super) fn begin_work(&mut self) {
        self.hold.since = Some(Instant::now());
    }

    /// Keeps how the work went, once a unit; `held` as of [`Runs::then`].
    pub(super) fn note_run(&mut self, held: Option<bool>) {
        let (Some(shape), Some(since)) = (self.hold.shape, self.hold.since.take()) else {
            return;
        };
        let runs = &self.database.runs;
        runs.insert(shape, Runs::then(runs.get(&shape), since.elapsed(), held));
    }
}

/// Statements that do their work at once, and may stand in a block as well as alone.
fn is_work(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Select
            | Kind::Insert
            | Kind::Update
            | Kind::Delete
            | Kind::Merge
            | Kind::Truncate
            | Kind::RefreshMaterializedView
            | Kind::Explain { analyze: true }
    )
}

/// It touches more than rows that are known by a key, or that it adds.
fn is_wide(kind: &Kind, footprint: &Footprint) -> bool {
    if footprint.everything {
        return true;
    }
    let mut regions = footprint.regions.iter();
    !footprint.is_nothing()
        && match kind {
            Kind::Update | Kind::Delete => regions.all(|region| region.columns().is_empty()),
            _ => footprint.regions.is_empty(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: Duration = Duration::from_millis(50);

    fn ran(before: Option<Runs>, ms: u64, held: Option<bool>) -> Runs {
        Runs::then(before, Duration::from_millis(ms), held)
    }

    #[test]
    fn what_takes_long_is_held_and_what_has_become_fast_is_not() {
        let mut runs = ran(None, 400, Some(true));
        assert!(runs.hold(FROM, false));
        for _ in 0..20 {
            runs = ran(Some(runs), 1, Some(true));
        }
        assert!(!runs.hold(FROM, false) && !runs.hold(FROM, true));
    }

    #[test]
    fn code_that_may_only_read_is_asked_again_now_and_then() {
        let reads = ran(None, 1, Some(false));
        assert!(reads.hold(FROM, true) && !reads.hold(FROM, false));
        let mut writes = ran(Some(reads), 1, Some(true));
        for _ in 0..ASKED_AGAIN_AFTER {
            assert!(!writes.hold(FROM, true));
            writes = ran(Some(writes), 1, None);
        }
        assert!(writes.hold(FROM, true));
    }
}
