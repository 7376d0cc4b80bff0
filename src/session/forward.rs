//! A unit that goes upstream: lease, restore, send, relay, settle.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Buf;

use super::analysis::Analysis;
use super::decide;
use super::exchange::{Exchange, Expect, Progress, Sides};
use super::registry::Activity;
use super::serve::Miss;
use super::shared::DescriptionKey;
use super::state::{self, Pin};
use super::{Ending, Session, UnitReport};
use crate::cache::Fit;
use crate::catalog::{Effects, SettingNames};
use crate::metrics::{ErrorOrigin, Invalidation};
use crate::planted::{Step, planted};
use crate::sql::Kind;
use crate::upstream::{Lease, Pumped, Settings, UpstreamError, Wish, restore_sql};
use crate::wire::{self, ErrorReport, Frame, SqlState, TransactionStatus, frontend, tag};

/// What is forwarded.
pub(super) enum Work<'a> {
    Query {
        frame: &'a Frame,
        analysis: &'a Analysis,
    },
    FunctionCall(&'a Frame),
    /// `open`: the unit did not end with Sync.
    Extended {
        frames: &'a [Frame],
        open: bool,
    },
}

/// While the client has not taken what it was sent, no more of the unit is read from it.
const OUTGOING_MAX: usize = 256 * 1024;
/// The client is sent what has come once it is this much.
const OUTPUT_MAX: usize = 64 * 1024;
/// How long control statements of our own may take.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a statement of a client that has gone may take to say what became of it.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(60);

/// Why the relay of a unit stopped before its end.
enum Broken {
    /// The upstream connection was lost or makes no sense.
    Upstream(String),
    /// The client has gone and what it asked for is not worth waiting for.
    Client,
    /// The client's bytes make no sense.
    Protocol(wire::WireError),
    QueryTimeout,
    Killed,
}

impl Session {
    /// Forwards one unit and sends its replies, ReadyForQuery included.
    ///
    /// # Errors
    /// The session is over.
    pub(super) async fn forward(
        &mut self,
        work: Work<'_>,
        mut miss: Miss,
        report: &mut UnitReport,
    ) -> Result<(), Ending> {
        report.bypass = miss.bypass;
        let open = matches!(work, Work::Extended { open: true, .. });
        if report.cancelled {
            return self.fail_here(&cancelled(), open).await;
        }
        if self.tx.failed_here {
            return self.fail_here(&aborted(), open).await;
        }
        let mut lease = match self.take_lease(report).await {
            Ok(lease) => lease,
            Err(error) => return self.fail_here(&error, open).await,
        };
        let mut exchange = Exchange::default();
        self.begin_unit();
        let refused = self.check_sequences(&work, &mut lease).await;
        if let Some(begin) = self.tx.unsent_begin.take() {
            if self.tx.served {
                // A snapshot was taken as far as the client knows: SET TRANSACTION comes too late.
                let with_snapshot = [&begin[..], b"\n;SELECT WHERE false"].concat();
                frontend::query(&mut exchange.outgoing, &with_snapshot);
            } else {
                frontend::query(&mut exchange.outgoing, &begin);
            }
            exchange
                .expects
                .push_back(Expect::Hidden { may_fail: false });
            self.unnamed_upstream = None;
            // A cancel that struck BEGIN would let the statement behind it run without a
            // transaction. Until the server has begun there is nothing to cancel.
            self.registration.handle.set_cancel_target(None);
        }
        if let Err(error) = refused {
            exchange.refuse(&error);
        } else if let Err(error) = self.queue(&work, &mut lease, &mut exchange, &mut miss) {
            self.lease = Some(lease);
            return Err(Ending::Protocol(error));
        }
        drop(miss);
        if self.writer.is_some() {
            self.database.announce_writes().await;
        }
        // The stamps are taken: a connection that has outlived the guard may lead to
        // a server that is none any more, and what it reads must not be kept.
        let generation = lease.admission.generation;
        if !generation.is_some_and(|generation| self.database.authority.may_fill(generation)) {
            exchange.fills.clear();
        }
        let handle = self.registration.handle.clone();
        handle.set_activity(Activity::Active);
        let sent = Instant::now();
        let relayed = self.relay(&mut lease, &mut exchange).await;
        report.upstream += sent.elapsed();
        report.rows += exchange.outcome.rows;
        report.bytes += exchange.outcome.bytes;
        report.error = exchange.outcome.error;
        match relayed {
            Ok(status) => self.finish(lease, exchange, status, report).await,
            Err(broken) => self.broken(lease, exchange, broken).await,
        }
    }

    fn begin_unit(&mut self) {
        self.commit_inside = false;
        self.executes_sent = 0;
        self.resets = false;
        self.deallocates.clear();
        self.single_control = false;
        self.ran_ddl = false;
        self.prepared_gid = None;
        self.catalog_at_start = self
            .database
            .authority
            .catalog()
            .map(|catalog| catalog.version);
        self.status_before = self.tx.status;
    }

    /// Translates the unit's frames; nothing has been written when it returns.
    fn queue(
        &mut self,
        work: &Work<'_>,
        lease: &mut Lease,
        exchange: &mut Exchange,
        miss: &mut Miss,
    ) -> Result<(), wire::WireError> {
        match work {
            Work::Query { frame, analysis } => {
                let meaning = self.meaning(analysis);
                self.commit_inside = meaning.may_commit_inside;
                self.note_statements(analysis);
                let mut names = Vec::new();
                self.named_in_sql(analysis, &mut names);
                self.lend_names(&names, exchange);
                self.translate_query(frame, &meaning, false, exchange, miss);
                self.take_names_back(&names, exchange);
                self.before_commit(exchange);
            }
            Work::FunctionCall(frame) => {
                self.translate_function_call(frame, false, exchange);
                self.before_commit(exchange);
            }
            Work::Extended { frames, open } => {
                exchange.open = *open;
                let names = if *open {
                    Vec::new()
                } else {
                    self.named_in_unit(frames)
                };
                self.lend_names(&names, exchange);
                for frame in *frames {
                    self.translate(frame, lease, exchange, miss)?;
                }
                self.take_names_back(&names, exchange);
            }
        }
        Ok(())
    }

    /// The statements of the protocol that SQL in this unit names, but for DEALLOCATE, which is done here.
    fn named_in_unit(&self, frames: &[Frame]) -> Vec<String> {
        let mut names = Vec::new();
        let mut add = |analysis: &Analysis| {
            if !matches!(analysis.kind(), Some(Kind::Deallocate { .. })) {
                self.named_in_sql(analysis, &mut names);
            }
        };
        for frame in frames {
            match frame.tag() {
                tag::frontend::PARSE => {
                    if let Ok(parse) = frontend::Parse::read(frame.body()) {
                        add(&self.analyse(parse.sql));
                    }
                }
                tag::frontend::BIND => {
                    if let Ok(bind) = frontend::Bind::read(frame.body())
                        && let Some(statement) = self.statements.get(bind.statement)
                    {
                        add(&statement.analysis);
                    }
                }
                _ => {}
            }
        }
        names
    }

    /// The connection that this session holds, or one from the pool with the session's settings on it.
    async fn take_lease(&mut self, report: &mut UnitReport) -> Result<Lease, ErrorReport> {
        if let Some(lease) = self.lease.take() {
            return Ok(lease);
        }
        let handle = self.registration.handle.clone();
        handle.set_activity(Activity::Waiting);
        let started = Instant::now();
        let deadline = started + self.config.pool.query_wait_timeout;
        let lease = loop {
            let wish = Wish {
                session: u64::from(handle.number),
                settings: self.settings.clone(),
                defaults: None,
            };
            let lease = tokio::select! {
                lease = self.pool.lease(&wish, deadline.into()) => lease,
                () = handle.cancelled.notified() => return Err(cancelled()),
                () = handle.kill.notified() => return Err(killed()),
            };
            report.waited = started.elapsed();
            let mut lease = lease.map_err(|error| statement_error(error.report()))?;
            if !self.is_proven(&lease) && Instant::now() < deadline {
                // It leads to where the guard stood before, or came in before there was one.
                lease.finish(false);
                continue;
            }
            match self.restore(&mut lease).await {
                Ok(()) => break lease,
                Err(error @ UpstreamError::Server { .. }) => {
                    lease.finish(false);
                    return Err(statement_error(error.report()));
                }
                // The connection died while it was idle: the next one is as good.
                Err(error) => {
                    lease.finish(false);
                    if Instant::now() >= deadline {
                        return Err(statement_error(error.report()));
                    }
                }
            }
        };
        self.unnamed_upstream = None;
        Ok(lease)
    }

    /// While a guard stands, only connections that were proved to lead to its server are used.
    fn is_proven(&self, lease: &Lease) -> bool {
        match self.database.authority.proof_now() {
            Some(proof) => lease.admission.generation == Some(proof.generation),
            None => true,
        }
    }

    /// Brings the session's settings onto the connection, and what it reports to the client.
    async fn restore(&mut self, lease: &mut Lease) -> Result<(), UpstreamError> {
        if let Some(sql) = restore_sql(&lease.applied, &self.settings) {
            // Where only a part of it took effect, nobody else gets the connection.
            let deadline = Instant::now() + CONTROL_TIMEOUT;
            lease.simple(&sql, deadline.into()).await?;
            lease.applied = self.settings.clone();
        }
        self.report_parameters(lease);
        if self.tx.unsent_begin.is_none() {
            let cancel = lease.cancel_handle();
            self.registration.handle.set_cancel_target(Some(cancel));
        }
        Ok(())
    }

    /// Tells the client of parameters that are other on this connection than on the last.
    fn report_parameters(&mut self, lease: &Lease) {
        if self.reported == lease.parameters {
            return;
        }
        for (name, value) in &lease.parameters {
            if self.reported.get(name) != Some(value) {
                wire::backend::parameter_status_message(
                    &mut self.client.output,
                    name.as_bytes(),
                    value.as_bytes(),
                );
            }
        }
        self.reported.clone_from(&lease.parameters);
    }

    /// Moves bytes both ways until the unit's last ReadyForQuery.
    async fn relay(
        &mut self,
        lease: &mut Lease,
        exchange: &mut Exchange,
    ) -> Result<TransactionStatus, Broken> {
        let handle = self.registration.handle.clone();
        let mut deadline = (!self.config.upstream.query_timeout.is_zero())
            .then(|| Instant::now() + self.config.upstream.query_timeout);
        let mut client_gone = false;
        let mut beginning = exchange.awaits_begin();
        loop {
            let connection = &mut **lease;
            let mut sides = Sides {
                upstream_parameters: &mut connection.parameters,
                client_parameters: &mut self.reported,
                withheld: self.resets,
            };
            let progress = exchange
                .interpret(&mut connection.input, &mut sides, &mut self.client.output)
                .map_err(|error| Broken::Upstream(error.to_string()))?;
            if let Progress::Done(status) = progress {
                if beginning {
                    handle.set_cancel_target(Some(lease.cancel_handle()));
                }
                return Ok(status);
            }
            if beginning && !exchange.awaits_begin() {
                beginning = false;
                handle.set_cancel_target(Some(lease.cancel_handle()));
            }
            if exchange.open && !client_gone {
                self.take_open(lease, exchange)?;
            }
            if client_gone {
                self.client.output.clear();
            } else if !self.client.output.is_empty()
                && (exchange.outgoing.is_empty() || self.client.output.len() > OUTPUT_MAX)
                && self.client.flush().await.is_err()
            {
                client_gone = true;
            }
            if client_gone && self.writer.is_none() && !exchange.copy_in {
                return Err(Broken::Client);
            }
            let may_read_client = !client_gone
                && if exchange.open {
                    exchange.outgoing.len() < OUTGOING_MAX
                } else {
                    self.client.input.len() < self.limits.unit_bytes_max
                };
            tokio::select! {
                pumped = lease.pump(&mut exchange.outgoing) => match pumped {
                    Ok(Pumped::Read(0)) => return Err(Broken::Upstream("the server closed the connection".into())),
                    Ok(_) => {}
                    Err(error) => return Err(Broken::Upstream(error.to_string())),
                },
                read = self.client.fill(), if may_read_client => {
                    if !matches!(read, Ok(n) if n > 0) {
                        client_gone = true;
                        if exchange.open {
                            // What was begun can never be finished.
                            return Err(Broken::Client);
                        }
                        deadline = Some(Instant::now() + ORPHAN_TIMEOUT);
                    }
                }
                () = sleep_until(deadline), if deadline.is_some() => {
                    return Err(if client_gone { Broken::Client } else { Broken::QueryTimeout });
                }
                () = handle.kill.notified() => return Err(Broken::Killed),
            }
        }
    }

    /// Takes what the client has sent since for a unit that is still open.
    fn take_open(&mut self, lease: &mut Lease, exchange: &mut Exchange) -> Result<(), Broken> {
        let mut nothing = Miss::default();
        while exchange.open && exchange.outgoing.len() < OUTGOING_MAX {
            if exchange.client_passing > 0 {
                let n = exchange.client_passing.min(self.client.input.len());
                exchange.outgoing.extend_from_slice(&self.client.input[..n]);
                self.client.input.advance(n);
                exchange.client_passing -= n;
                if n == 0 {
                    return Ok(());
                }
                continue;
            }
            let header = wire::frame_header(&self.client.input).map_err(Broken::Protocol)?;
            let Some(header) = header else { return Ok(()) };
            if header.tag == tag::frontend::COPY_DATA && header.frame_len > self.client.input.len()
            {
                if header.frame_len > self.limits.frame_len_max {
                    return Err(Broken::Protocol(wire::WireError::TooLong {
                        len: header.frame_len,
                        limit: self.limits.frame_len_max,
                    }));
                }
                // Where the server does not copy, it drops it.
                exchange.client_passing = header.frame_len;
                continue;
            }
            let frame = wire::take_frame(&mut self.client.input, self.limits.frame_len_max)
                .map_err(Broken::Protocol)?;
            let Some(frame) = frame else { return Ok(()) };
            if frame.tag() == tag::frontend::TERMINATE {
                return Err(Broken::Client);
            }
            self.translate(&frame, lease, exchange, &mut nothing)
                .map_err(Broken::Protocol)?;
        }
        Ok(())
    }

    /// After the last ReadyForQuery: settle, read back, hand the connection on, tell the client.
    async fn finish(
        &mut self,
        mut lease: Lease,
        mut exchange: Exchange,
        status: TransactionStatus,
        report: &mut UnitReport,
    ) -> Result<(), Ending> {
        let failed = exchange.outcome.error.is_some();
        for id in exchange.pending_parses.drain(..) {
            lease.prepared.remove(id);
        }
        for id in exchange.unclosed.drain(..) {
            // The one that was to take its place did not come either.
            let _ = lease.prepared.insert(id);
        }
        for change in exchange.reverted.drain(..).rev() {
            match change.before {
                Some(statement) => self.statements.insert(&change.name, statement),
                None => drop(self.statements.remove(&change.name)),
            }
        }
        if failed {
            self.unnamed_upstream = None;
        }
        self.settle(status, failed, &exchange.outcome.last_tag);
        self.keep_descriptions(&mut exchange);
        self.keep_fills(&mut exchange, status, report);
        if exchange.outcome.deallocated_all {
            lease.prepared.clear();
            self.statements.clear();
            self.unnamed_upstream = None;
        }
        if exchange.outcome.discarded_all && status == TransactionStatus::Idle {
            self.pins.remove(&Pin::Setting);
            self.pins.remove(&Pin::Sequence);
        }
        for name in self
            .deallocates
            .drain(..)
            .take(exchange.outcome.deallocated)
        {
            self.statements.remove(name.as_bytes());
        }
        let control_failed = exchange.outcome.hidden_error;
        self.tx.observe(status);
        if status == TransactionStatus::Idle {
            self.portals.clear();
            if self.effects.intersects(Effects::SEQUENCE) {
                lease.holds_state_of = Some(u64::from(self.registration.handle.number));
                self.touched_sequences = true;
            }
            // What the client asked for is done: a cancel comes too late from now on.
            self.registration.handle.set_cancel_target(None);
            if !self.read_back(&mut lease).await {
                // What the connection holds is not known, so nobody gets it, not even its session.
                lease.finish(false);
                return Err(Ending::Fatal(ErrorReport::fatal(
                    SqlState::CONNECTION_FAILURE,
                    "the upstream connection was lost while its state was read back",
                )));
            }
        }
        if self.resets {
            if status == TransactionStatus::InBlock && !self.return_to_baseline(&mut lease).await {
                self.keep_unknown(&lease);
                lease.finish(false);
                return Err(Ending::Fatal(ErrorReport::fatal(
                    SqlState::CONNECTION_FAILURE,
                    "the upstream connection was lost while settings were restored on it",
                )));
            }
            self.report_parameters(&lease);
        }
        if control_failed {
            self.keep_unknown(&lease);
            lease.finish(false);
            self.registration.handle.set_cancel_target(None);
            return Err(Ending::Fatal(ErrorReport::fatal(
                SqlState::INTERNAL_ERROR,
                "the transaction could not be begun on the server",
            )));
        }
        wire::backend::ready_for_query(&mut self.client.output, status);
        self.hand_on(lease);
        let sending = Instant::now();
        let flushed = self.client.flush().await;
        report.sending += sending.elapsed();
        flushed.map_err(|_| Ending::ClientGone)
    }

    /// Keeps the connection while the transaction or a pin needs it; else the pool gets it.
    fn hand_on(&mut self, mut lease: Lease) {
        let handle = &self.registration.handle;
        if self.tx.status != TransactionStatus::Idle {
            handle.set_activity(Activity::InTransaction);
            self.lease = Some(lease);
        } else if !self.pins.is_empty() {
            handle.set_activity(Activity::Idle);
            handle.set_cancel_target(Some(lease.cancel_handle()));
            lease.pin();
            self.lease = Some(lease);
        } else {
            handle.set_cancel_target(None);
            handle.set_activity(Activity::Idle);
            lease.unpin();
            lease.finish(true);
            self.unnamed_upstream = None;
        }
    }

    /// The end of §3: before ReadyForQuery passes, versions move and marks come off.
    fn settle(&mut self, status: TransactionStatus, failed: bool, last_tag: &[u8]) {
        let authority = &self.database.authority;
        if status != TransactionStatus::Idle && !planted(Step::SettledAtT) {
            // A transaction goes on; what it wrote stays pending. Where the unit
            // held a commit point as well, a part of it may have happened.
            if let Some(writer) = &mut self.writer
                && writer.is_marked()
            {
                authority.release(writer, self.commit_inside);
            }
            return;
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
        if let Some(gid) = self.prepared_gid.take().filter(|_| !failed && !rolled_back) {
            // Whoever decides it, and when: the marks stay until it is decided.
            authority.follow_prepared(writer.keep(), gid);
            return;
        }
        if planted(Step::AfterAcknowledgement) {
            let database = Arc::clone(&self.database);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                database.authority.settle(writer, !surely_aborted);
            });
            return;
        }
        authority.settle(writer, !surely_aborted && !planted(Step::BeforeOnly));
        if surely_aborted {
            return;
        }
        self.shared.metrics.invalidated(match &touched {
            touched if touched.catalogue => Invalidation::Catalogue,
            touched if touched.everything => Invalidation::Everything,
            _ => Invalidation::Write,
        });
        if touched.shared_catalogue {
            self.shared.catalogues_changed(&self.database);
        }
    }

    /// Statement descriptions that came along are good for everybody with the same settings.
    fn keep_descriptions(&mut self, exchange: &mut Exchange) {
        let descriptions = std::mem::take(&mut exchange.outcome.descriptions);
        let parsed = std::mem::take(&mut exchange.outcome.parsed);
        if (descriptions.is_empty() && parsed.is_empty()) || !self.may_use_descriptions() {
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
            let description = super::shared::Description {
                catalog: catalog.version,
                parameters,
                row,
            };
            self.database.descriptions.insert(key, description.into());
        }
    }

    fn keep_fills(
        &mut self,
        exchange: &mut Exchange,
        status: TransactionStatus,
        report: &mut UnitReport,
    ) {
        let failed = exchange.outcome.error.is_some() || exchange.outcome.hidden_error;
        let now = Instant::now();
        for fill in std::mem::take(&mut exchange.fills) {
            report.too_large |= fill.is_too_large();
            let sound = !failed && status != TransactionStatus::Failed && !self.tx.wrote;
            if !sound {
                continue;
            }
            let Some(mut finished) = fill.finish(now) else {
                continue;
            };
            if planted(Step::LateVersions) {
                let tags = &self.database.tags;
                finished.stamp = tags.stamp(&finished.options.relations, tags.picture());
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

    /// Asks the server what the connection holds, if something may have been left on it.
    /// False when the server gave no answer.
    pub(super) async fn read_back(&mut self, lease: &mut Lease) -> bool {
        let (effects, pins_before) = (self.effects, self.pins.clone());
        let relevant = Effects::SETTINGS
            .union(Effects::ADVISORY_LOCKS)
            .union(Effects::LISTEN)
            .union(Effects::TEMPORARY)
            .union(Effects::PREPARED)
            .union(Effects::CURSORS)
            .union(Effects::LOAD);
        // A pin is looked at again whenever something ran that may have ended it.
        let pinned = self
            .pins
            .iter()
            .any(|pin| !matches!(pin, Pin::SessionPooling));
        let may_have_ended = pinned && self.ran_ddl;
        if !(effects.intersects(relevant) || may_have_ended) {
            self.effects = Effects::NONE;
            return true;
        }
        if effects.contains(Effects::SETTINGS) && std::mem::take(&mut self.hidden_code) {
            // Whatever ran may have called any of them.
            if let Some(catalog) = self.database.authority.catalog() {
                self.note_names(catalog.setting_names());
            }
        }
        if effects.contains(Effects::LOAD) && self.loads {
            self.pins.insert(Pin::Load);
        }
        let deadline = Instant::now() + CONTROL_TIMEOUT;
        let mut found = match self.ask_state(lease, deadline).await {
            Ok(found) => found,
            Err(_) => return false,
        };
        // RESET goes back to what the client asked for at login, not to the server's default.
        let mut wanted = found.settings.clone();
        for (name, value) in self.baseline.iter() {
            if found.settings.get(name).is_none()
                && let Ok(with) = wanted.with(name, value)
            {
                wanted = with;
            }
        }
        if let Some(sql) = restore_sql(&found.settings, &wanted) {
            if uncancelled(lease, &sql, deadline).await.is_err() {
                return false;
            }
            found.settings = wanted;
        }
        self.pins = state::pins_after(&self.pins, &found.pins);
        if self.custom_lost {
            self.pins.insert(Pin::Setting);
        }
        for pin in self.pins.difference(&pins_before) {
            self.shared.metrics.pinned(pin.as_str());
        }
        *self.registration.handle.pins.lock() = self.pins.iter().copied().collect();
        lease.applied = found.settings.clone();
        self.report_parameters(lease);
        self.adopt_settings(found.settings);
        self.effects = Effects::NONE;
        true
    }

    /// RESET within a transaction goes back to what the client asked for at login, too.
    /// False when the server gave no answer.
    async fn return_to_baseline(&mut self, lease: &mut Lease) -> bool {
        let deadline = Instant::now() + CONTROL_TIMEOUT;
        let sql = state::reset_sql(self.baseline.iter().map(|(name, _)| name));
        let Ok(rows) = lease.simple(&sql, deadline.into()).await else {
            return false;
        };
        let mut wanted = Settings::default();
        for name in rows.iter().filter_map(|row| row.first()?.as_deref()) {
            if let Some(value) = self.baseline.get(name)
                && let Ok(with) = wanted.with(name, value)
            {
                wanted = with;
            }
        }
        match restore_sql(&Settings::default(), &wanted) {
            Some(sql) => lease.simple(&sql, deadline.into()).await.is_ok(),
            None => true,
        }
    }

    async fn ask_state(
        &self,
        lease: &mut Lease,
        deadline: Instant,
    ) -> Result<state::ReadBack, UpstreamError> {
        let sql = state::read_back_sql(&self.custom);
        match uncancelled(lease, &sql, deadline).await {
            Err(error) if error.sqlstate() == SqlState::QUERY_CANCELED => {
                // The session's own statement_timeout is too short even for this.
                let own = uncancelled(lease, "SHOW statement_timeout", deadline).await?;
                let sql = format!("SET LOCAL statement_timeout = 0; {sql}");
                let mut found = state::read_back(&uncancelled(lease, &sql, deadline).await?);
                if let Some(Some(value)) = own.first().and_then(|row| row.first()) {
                    let own = found.settings.with("statement_timeout", value);
                    found.settings = own.unwrap_or(found.settings);
                }
                Ok(found)
            }
            rows => Ok(state::read_back(&rows?)),
        }
    }

    /// `currval` and `lastval` must meet the state of this session, never another's.
    async fn check_sequences(
        &mut self,
        work: &Work<'_>,
        lease: &mut Lease,
    ) -> Result<(), ErrorReport> {
        let me = u64::from(self.registration.handle.number);
        if lease.holds_state_of == Some(me)
            || (lease.holds_state_of.is_none() && !self.touched_sequences)
            || !self.reads_sequences(work)
        {
            return Ok(());
        }
        if self.touched_sequences {
            if self.pins.insert(Pin::Sequence) {
                self.shared.metrics.pinned(Pin::Sequence.as_str());
            }
            self.touched_sequences = false;
            return Err(ErrorReport::error(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                "the sequence state of this session was lost with its upstream connection",
            )
            .with_detail("Another session used a sequence on the connection that held it.")
            .with_hint("Use RETURNING, or call nextval again; from now on this session keeps its connection."));
        }
        // Another session's state: it must not be seen here.
        let deadline = Instant::now() + CONTROL_TIMEOUT;
        lease
            .simple("DISCARD SEQUENCES", deadline.into())
            .await
            .map_err(|error| statement_error(error.report()))?;
        lease.holds_state_of = None;
        Ok(())
    }

    fn reads_sequences(&self, work: &Work<'_>) -> bool {
        let reads =
            |analysis: &Analysis| analysis.statements.iter().any(decide::reads_sequence_state);
        match work {
            Work::Query { analysis, .. } => reads(analysis),
            Work::FunctionCall(_) => false,
            Work::Extended { frames, .. } => frames.iter().any(|frame| match frame.tag() {
                tag::frontend::PARSE => frontend::Parse::read(frame.body()).is_ok_and(|parse| {
                    reads(&self.intern(parse.sql, &parse.parameter_types).analysis)
                }),
                tag::frontend::BIND => frontend::Bind::read(frame.body()).is_ok_and(|bind| {
                    self.statements
                        .get(bind.statement)
                        .is_some_and(|statement| reads(&statement.analysis))
                }),
                _ => false,
            }),
        }
    }

    /// The unit could not be brought to its end.
    async fn broken(
        &mut self,
        mut lease: Lease,
        exchange: Exchange,
        broken: Broken,
    ) -> Result<(), Ending> {
        let in_transaction = self.status_before != TransactionStatus::Idle;
        let unknown = self.keep_unknown(&lease);
        self.registration.handle.set_cancel_target(None);
        lease.break_it();
        let fatal_sent = exchange.outcome.fatal;
        if unknown || matches!(broken, Broken::Upstream(_)) {
            // What may be committing is the authority's to end, or not: a cancel would
            // publish a commit that waits for its standby.
            lease.finish(false);
        } else {
            // Nobody waits for the answer any more. The lease lasts until the server knows that.
            tokio::spawn(async move {
                if let Err(error) = lease.cancel_handle().cancel().await {
                    tracing::debug!(%error, "a cancel request did not reach the server");
                }
                lease.finish(false);
            });
        }
        match broken {
            Broken::Client => Err(Ending::ClientGone),
            Broken::Protocol(error) => Err(Ending::Protocol(error)),
            Broken::QueryTimeout => Err(Ending::Fatal(ErrorReport::fatal(
                SqlState::QUERY_CANCELED,
                "query_timeout: the statement took longer than pgditto allows",
            ))),
            Broken::Killed => Err(Ending::Fatal(killed())),
            Broken::Upstream(reason) => {
                tracing::warn!(reason, database = %self.database.name, "upstream connection lost");
                if fatal_sent {
                    // The server said why; the client has it word by word.
                    let _ = self.client.flush().await;
                    return Err(Ending::Closed);
                }
                let lost = ErrorReport::error(
                    SqlState::CONNECTION_FAILURE,
                    "the upstream connection was lost while the statement ran",
                )
                .with_hint("Whether it took effect is not known.");
                if exchange.is_mid_message() {
                    // An error in the middle of a row would be read as a part of it.
                    let _ = self.client.flush().await;
                    return Err(Ending::Closed);
                }
                if in_transaction || !self.pins.is_empty() || exchange.open {
                    return Err(Ending::Fatal(ErrorReport {
                        severity: wire::Severity::Fatal,
                        ..lost
                    }));
                }
                self.tx = super::transaction::Transaction::none();
                self.portals.clear();
                self.unnamed_upstream = None;
                self.effects = Effects::NONE;
                for change in exchange.reverted.into_iter().rev() {
                    match change.before {
                        Some(statement) => self.statements.insert(&change.name, statement),
                        None => drop(self.statements.remove(&change.name)),
                    }
                }
                self.fail_here(&lost, false).await
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
        self.database
            .authority
            .resolve_unknown(writer.keep(), lease.pid, self.prepared_gid.take());
        true
    }

    /// Tells the client of an error that the server never saw.
    pub(super) async fn fail_here(
        &mut self,
        error: &ErrorReport,
        open: bool,
    ) -> Result<(), Ending> {
        if error.severity == wire::Severity::Fatal {
            return Err(Ending::Fatal(error.clone()));
        }
        self.shared.metrics.error(error.code, ErrorOrigin::Proxy);
        wire::backend::error(&mut self.client.output, error);
        if self.tx.status != TransactionStatus::Idle {
            self.tx.status = TransactionStatus::Failed;
            if self.lease.is_none() {
                self.tx.failed_here = true;
                self.tx.unsent_begin = None;
            }
        }
        if open {
            // As the server would: everything up to Sync is dropped.
            self.assembler.discard_to_sync();
        } else {
            wire::backend::ready_for_query(&mut self.client.output, self.tx.status);
        }
        self.client.flush().await.map_err(|_| Ending::ClientGone)
    }

    /// What the kinds of these statements say beyond their meaning, before they leave.
    pub(super) fn note_statements(&mut self, analysis: &Analysis) {
        self.single_control = matches!(
            analysis.kind(),
            Some(Kind::Commit { .. } | Kind::Rollback { .. })
        );
        for facts in analysis.statements.iter() {
            if matches!(facts.kind, Kind::Do | Kind::Unknown) {
                let mut names = SettingNames::default();
                names.add(&String::from_utf8_lossy(&analysis.key_text));
                self.note_names(&names);
            }
            self.hidden_code |= !matches!(facts.kind, Kind::Set { .. } | Kind::Reset { .. });
            match &facts.kind {
                Kind::Begin { isolation, .. } if self.tx.status == TransactionStatus::Idle => {
                    self.tx.isolation = *isolation;
                }
                Kind::SetTransaction => self.tx.local_settings = true,
                Kind::Set { name, .. } => {
                    // It may be SET … TO DEFAULT.
                    self.resets |= self.baseline.get(name).is_some();
                    self.tx.local_settings = true;
                    self.note_custom_name(name);
                }
                Kind::Reset { name } => {
                    self.resets |= match name {
                        Some(name) => self.baseline.get(name).is_some(),
                        None => !self.baseline.is_none(),
                    };
                    self.tx.local_settings = true;
                }
                Kind::DiscardAll => {
                    self.resets |= !self.baseline.is_none();
                    self.ran_ddl = true;
                }
                Kind::Deallocate { name: None } => self.ran_ddl = true,
                Kind::Deallocate { name: Some(name) } => self.deallocates.push(name.clone()),
                Kind::PrepareTransaction { gid } => self.prepared_gid = Some(gid.clone()),
                Kind::Load => self.loads = true,
                Kind::Ddl
                | Kind::TemporaryDdl
                | Kind::Do
                | Kind::Call
                | Kind::Unknown
                | Kind::DiscardOther => {
                    self.ran_ddl = true;
                }
                _ => {}
            }
            for function in &facts.functions {
                if function.name.name == "set_config" {
                    match function.literal_arguments.first() {
                        Some(Some(name)) => self.note_custom_name(&name.to_ascii_lowercase()),
                        // It may be a custom setting, which the server does not list.
                        _ => self.custom_lost = true,
                    }
                }
            }
        }
    }

    fn note_names(&mut self, names: &SettingNames) {
        self.custom_lost |= names.unnamed;
        for name in &names.names {
            self.note_custom_name(name);
        }
    }

    fn note_custom_name(&mut self, name: &str) {
        if name.contains('.') && !self.custom.insert(name) {
            self.custom_lost = true;
        }
    }
}

/// Runs a control statement again if a cancel that was meant for the client's strikes it.
async fn uncancelled(
    lease: &mut Lease,
    sql: &str,
    deadline: Instant,
) -> Result<Vec<Vec<Option<String>>>, UpstreamError> {
    const TRIES: usize = 5;
    for _ in 1..TRIES {
        match lease.simple(sql, deadline.into()).await {
            Err(error) if error.sqlstate() == SqlState::QUERY_CANCELED => {}
            answer => return answer,
        }
    }
    lease.simple(sql, deadline.into()).await
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// The failure of one statement: the session lives on.
fn statement_error(report: ErrorReport) -> ErrorReport {
    ErrorReport {
        severity: wire::Severity::Error,
        ..report
    }
}

fn cancelled() -> ErrorReport {
    ErrorReport::error(
        SqlState::QUERY_CANCELED,
        "canceling statement due to user request",
    )
}

fn killed() -> ErrorReport {
    ErrorReport::fatal(
        SqlState::ADMIN_SHUTDOWN,
        "terminating connection due to administrator command",
    )
}

fn aborted() -> ErrorReport {
    ErrorReport::error(
        SqlState::IN_FAILED_SQL_TRANSACTION,
        "current transaction is aborted, commands ignored until end of transaction block",
    )
}
