//! What statements may touch, noted before they leave, and marked before they may commit.

use super::Session;
use super::decide::Meaning;
use super::exchange::Exchange;
use crate::cache::{Learnable, Picture};
use crate::catalog::{Effects, Footprint, Returned, Temporaries};
use crate::planted::{Step, planted};
use crate::sql::{Isolation, Kind};
use crate::wire::TransactionStatus;

impl Session {
    /// What the meaning of a forwarded statement says for the rest of the transaction.
    fn note_meaning(&mut self, meaning: &Meaning) {
        if !meaning.footprint.is_nothing() {
            self.tx.wrote = true;
        }
        self.tx.locked |= meaning.locks;
        self.own_past.may_have_loaded |= meaning.loads;
    }

    /// Notes what a statement may touch, before it leaves. If its rows may tell more of that: which they are.
    pub(super) fn touch(&mut self, meaning: &Meaning) -> Option<(Learnable, Returned)> {
        self.note_meaning(meaning);
        let footprint = &meaning.footprint;
        match &meaning.returned {
            _ if footprint.is_nothing() => None,
            Some(returned) if !footprint.everything => {
                let mut rest = footprint.clone();
                let regions = std::mem::take(&mut rest.regions);
                self.touch_footprint(&rest, meaning.picture);
                let writer = self.writer.as_mut()?;
                let learnable = writer.touch_learnable(regions, meaning.picture)?;
                Some((learnable, returned.clone()))
            }
            _ => {
                self.touch_footprint(footprint, meaning.picture);
                None
            }
        }
    }

    pub(super) fn touch_everything(&mut self) {
        let picture = self.database.tags.picture();
        self.tx.wrote = true;
        self.tx.locked = true;
        self.commit_inside = true;
        self.own_past.may_have_loaded = true;
        self.own_past.counted = true;
        self.effects = self.effects.union(Effects::ALL);
        self.has_temporaries(Temporaries::Any);
        self.touch_footprint(&Footprint::all_catalogues(), picture);
    }

    fn touch_footprint(&mut self, footprint: &Footprint, picture: Picture) {
        let database = &self.database;
        let writer = self.writer.get_or_insert_with(|| database.tags.writer());
        database.authority.touch(writer, footprint, picture);
    }

    /// Marks what this transaction touched, if what was just queued may commit it.
    pub(super) fn before_commit(&mut self, exchange: &Exchange) {
        let implicit = self.tx.status == TransactionStatus::Idle && self.tx.unsent_begin.is_none();
        // COPY commits after CopyDone, which comes through here again; so does what is held.
        if exchange.copy_in || exchange.hold.in_block() {
            return;
        }
        if implicit || self.commit_inside {
            self.mark_now();
        }
    }

    pub(super) fn mark_now(&mut self) {
        if planted(Step::NoMark) || planted(Step::AfterAcknowledgement) {
            return;
        }
        if let Some(writer) = &mut self.writer {
            self.database.authority.mark(writer);
            if planted(Step::BeforeOnly) {
                self.database.authority.release(writer, true);
            }
        }
    }
}

/// What is read after it in the same unit is what it would be without it.
pub(super) fn leaves_reads_alone(kind: Option<&Kind>, meaning: &Meaning) -> bool {
    match kind {
        Some(Kind::Select) => {
            meaning.footprint.is_nothing() && meaning.effects.is_empty() && !meaning.locks
        }
        Some(Kind::Begin { isolation, .. }) => matches!(
            isolation,
            None | Some(Isolation::ReadCommitted | Isolation::ReadUncommitted)
        ),
        Some(Kind::Empty) => true,
        _ => false,
    }
}

/// BEGIN and ROLLBACK make nothing visible.
pub(super) fn begins_or_ends_nothing(kind: Option<&Kind>) -> bool {
    matches!(kind, Some(Kind::Begin { .. } | Kind::Rollback { .. }))
}
