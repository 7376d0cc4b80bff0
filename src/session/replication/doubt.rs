//! What SQL on a logical replication connection may have written: whatever is no command of
//! replication counts as a write of everything, catalogue and roles included.

use std::sync::Arc;

use super::command::{Deed, deed};
use crate::cache::Writer;
use crate::catalog::Footprint;
use crate::metrics::Invalidation;
use crate::session::{Database, Shared};
use crate::wire::{Frame, TransactionStatus, frontend, tag};

/// Why a statement is not passed on.
#[derive(Debug)]
pub(super) struct Untold;

/// The writer of one connection.
pub(super) struct Doubt {
    shared: Arc<Shared>,
    database: Arc<Database>,
    writer: Option<Writer>,
    /// PREPARE TRANSACTION is under way.
    gid: Option<String>,
}

impl Doubt {
    pub(super) fn new(shared: Arc<Shared>, database: Arc<Database>) -> Self {
        Self {
            shared,
            database,
            writer: None,
            gid: None,
        }
    }

    /// To be called before the message leaves, with the status before it.
    ///
    /// # Errors
    /// What it does could not be followed: it must not leave.
    pub(super) fn before(
        &mut self,
        frame: &Frame,
        status: TransactionStatus,
    ) -> Result<(), Untold> {
        let deed = match (frame.tag(), frontend::Query::read(frame.body())) {
            (tag::frontend::QUERY, Ok(query)) => deed(query.sql, status, &self.shared.analyser),
            // Not even the server runs what is malformed, or comes by the extended protocol.
            _ => Deed::Commits,
        };
        match deed {
            Deed::Nothing => {}
            Deed::Ends => self.mark(),
            Deed::Writes => self.touch(),
            Deed::Commits => {
                self.touch();
                self.mark();
            }
            Deed::Prepares(gid) => {
                self.gid = Some(gid);
                self.touch();
                self.mark();
            }
            Deed::Untold => return Err(Untold),
        }
        Ok(())
    }

    /// Other sidecars must know of us before a write leaves.
    pub(super) async fn announce(&self) {
        if self.writer.is_some() {
            self.database.announce_writes().await;
        }
    }

    /// What it was asked may be committed now.
    pub(super) fn is_marked(&self) -> bool {
        self.writer.as_ref().is_some_and(Writer::is_marked)
    }

    /// To be called before ReadyForQuery passes.
    pub(super) fn settle(&mut self, status: TransactionStatus) {
        let authority = &self.database.authority;
        if status != TransactionStatus::Idle {
            // What it wrote stays pending; a part of it may have been committed.
            if let Some(writer) = self.writer.as_mut().filter(|writer| writer.is_marked()) {
                authority.release(writer, true);
            }
            return;
        }
        let Some(mut writer) = self.writer.take() else {
            return;
        };
        authority.mark(&mut writer);
        if let Some(gid) = self.gid.take() {
            authority.follow_prepared(writer.keep(), vec![gid]);
            return;
        }
        let touched = writer.touched();
        authority.settle(writer, true);
        self.shared.note_invalidated(&self.database, &touched);
    }

    /// The connection ends: what may have been committed unseen stays marked until
    /// its backend, `pid`, is gone.
    pub(super) fn end(&mut self, pid: u32) {
        let Some(writer) = self.writer.take() else {
            return;
        };
        if !writer.is_marked() {
            writer.settle(false);
            return;
        }
        let metrics = &self.shared.metrics;
        metrics.invalidated(Invalidation::UnknownOutcome);
        let authority = &self.database.authority;
        authority.resolve_unknown(writer.keep(), pid, self.gid.take().into_iter().collect());
    }

    fn touch(&mut self) {
        let database = &self.database;
        let picture = database.tags.picture();
        let writer = self.writer.get_or_insert_with(|| database.tags.writer());
        database
            .authority
            .touch(writer, &Footprint::all_catalogues(), picture);
    }

    fn mark(&mut self) {
        if let Some(writer) = &mut self.writer {
            self.database.authority.mark(writer);
        }
    }
}
