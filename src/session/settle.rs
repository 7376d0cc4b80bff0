//! What a unit leaves behind once the server has answered all of it: versions and marks, descriptions, answers to keep.

use std::time::Instant;

use super::exchange::Exchange;
use super::shared::{Description, DescriptionKey};
use super::{Session, UnitReport};
use crate::cache::Fit;
use crate::metrics::Invalidation;
use crate::planted::{Step, planted};
use crate::sql::Bypass;
use crate::upstream::Lease;
use crate::wire::TransactionStatus;

impl Session {
    /// The end of §3: before ReadyForQuery passes, versions move and marks come off.
    pub(super) fn settle(&mut self, status: TransactionStatus, failed: bool, last_tag: &[u8]) {
        let authority = &self.database.authority;
        if status != TransactionStatus::Idle && !planted(Step::SettledAtT) {
            // A transaction goes on; what it wrote stays pending. Where the unit
            // held a commit point as well, a part of it may have happened.
            if let Some(writer) = &mut self.writer
                && writer.is_marked()
                // Of a transaction that was prepared on the way nobody knows the end.
                && self.prepared_gids.is_empty()
            {
                authority.release(writer, self.commit_inside);
                if self.commit_inside {
                    self.announce_roles();
                }
            }
            return;
        }
        let prepared = std::mem::take(&mut self.prepared_gids);
        if std::mem::take(&mut self.ends_prepared) {
            authority.prepared_ended();
        }
        let Some(mut writer) = self.writer.take() else {
            return;
        };
        let rolled_back = last_tag == b"ROLLBACK" && !failed;
        // A statement on its own or a pipeline without transaction control that
        // failed; or a COMMIT or ROLLBACK on its own that the server answers with ROLLBACK.
        let surely_aborted = failed && !self.commit_inside || rolled_back && self.single_control;
        let touched = writer.touched();
        if !planted(Step::AfterAcknowledgement) {
            authority.mark(&mut writer);
        }
        // What else was in the unit may have failed, or ended another transaction.
        let refused = self.single_control && (failed || rolled_back);
        if !prepared.is_empty() && !refused && !planted(Step::SettledAtPrepare) {
            // Whoever decides it, and when: the marks stay until it is decided.
            authority.follow_prepared(writer.keep(), prepared);
            return;
        }
        if planted(Step::AfterAcknowledgement) {
            let database = std::sync::Arc::clone(&self.database);
            tokio::spawn(async move {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                database.authority.settle(writer, !surely_aborted);
            });
            return;
        }
        authority.settle(writer, !surely_aborted && !planted(Step::BeforeOnly));
        if surely_aborted {
            return;
        }
        self.shared.note_invalidated(&self.database, &touched);
        self.announce_roles();
    }

    /// Statement descriptions that came along are good for everybody with the same settings.
    pub(super) fn keep_descriptions(&mut self, exchange: &mut Exchange) {
        let descriptions = std::mem::take(&mut exchange.outcome.descriptions);
        let parsed = std::mem::take(&mut exchange.outcome.parsed);
        let nothing_new = descriptions.is_empty() && parsed.is_empty();
        if nothing_new || exchange.outcome.noticed_text || !self.may_use_descriptions() {
            return;
        }
        let Some(catalog) = self.database.authority.catalog() else {
            return;
        };
        if self.catalog_at_start != Some(catalog.version) {
            return;
        }
        for statement in parsed {
            let key = DescriptionKey {
                context: self.context.clone(),
                statement,
            };
            self.database.known_good.insert(key, catalog.version);
        }
        for (statement, parameters, row) in descriptions {
            if !statement.analysis.understood {
                continue;
            }
            let key = DescriptionKey {
                context: self.context.clone(),
                statement: statement.id,
            };
            let description = Description {
                catalog: catalog.version,
                parameters,
                row,
            };
            self.database.descriptions.insert(key, description.into());
        }
    }

    pub(super) fn keep_fills(
        &mut self,
        exchange: &mut Exchange,
        status: TransactionStatus,
        report: &mut UnitReport,
    ) {
        let failed = exchange.outcome.error.is_some();
        let now = Instant::now();
        for fill in std::mem::take(&mut exchange.fills) {
            report.too_large |= fill.is_too_large();
            let sound = !failed && status != TransactionStatus::Failed && !self.tx.wrote;
            if !sound {
                continue;
            }
            report.planned = true;
            // However it came: it was looked at like any other.
            report.bypass = report.bypass.filter(|reason| *reason != Bypass::Streamed);
            let Some(mut finished) = fill.finish(now) else {
                continue;
            };
            if planted(Step::LateVersions) {
                let tags = &self.database.tags;
                finished.stamp = tags.stamp_whole(&finished.options.relations, tags.picture());
            }
            if let Some((entry, order)) = &finished.shadow {
                let holds = self.database.tags.fit(&entry.stamp) == Fit::Fresh;
                report.shadow(entry, &finished.answer, *order, holds);
            }
            let entry = self.shared.cache.store(
                &finished.key,
                finished.stamp,
                finished.answer,
                finished.options,
                &self.database.tags,
            );
            if let Some(leader) = finished.leader {
                leader.finish(Some(entry));
            }
        }
    }

    /// Marks of a transaction of which nobody knows whether it happened stay until
    /// the authority has found out; true if there are any.
    pub(super) fn keep_unknown(&mut self, lease: &Lease) -> bool {
        let Some(writer) = self.writer.take() else {
            return false;
        };
        if !writer.is_marked() {
            writer.settle(false);
            return false;
        }
        self.shared
            .metrics
            .invalidated(Invalidation::UnknownOutcome);
        if planted(Step::MarksDropped) {
            writer.settle(true);
            return true;
        }
        self.database.authority.resolve_unknown(
            writer.keep(),
            lease.pid,
            std::mem::take(&mut self.prepared_gids),
        );
        true
    }
}
