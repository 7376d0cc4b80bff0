//! A unit that goes upstream: lease, restore, send, relay, settle.

use std::time::{Duration, Instant};

use bytes::Buf;

use super::analysis::Analysis;
use super::baseline::Resets;
use super::exchange::{Exchange, Progress, Sides};
use super::hold::Wish;
use super::prepare::hide_ours;
use super::process::{self, INVALID_NAME};
use super::registry::Activity;
use super::send::{Unsent, sleep_until};
use super::serve::Miss;
use super::state::Pin;
use super::{Ending, INTERRUPTS, Session, UnitReport, shut_down};
use crate::catalog::{Effects, Temporaries};
use crate::metrics::ErrorOrigin;
use crate::sql::Kind;
use crate::upstream::{Lease, Past, Pumped};
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

impl Work<'_> {
    /// PostgreSQL's function that refuses it in a transaction that has failed.
    fn refuser(&self) -> &'static str {
        match self {
            Work::Query { .. } => "exec_simple_query",
            Work::FunctionCall(_) => "HandleFunctionRequest",
            Work::Extended { frames, .. } => match frames.first().map(Frame::tag) {
                Some(tag::frontend::BIND) => "exec_bind_message",
                Some(tag::frontend::EXECUTE) => "exec_execute_message",
                Some(tag::frontend::DESCRIBE) => "exec_describe_statement_message",
                _ => "exec_parse_message",
            },
        }
    }
}

/// While the client has not taken what it was sent, no more of the unit is read from it.
const OUTGOING_MAX: usize = 256 * 1024;
/// The client is sent what has come once it is this much.
const OUTPUT_MAX: usize = 64 * 1024;
/// How long a read of a client that has gone may take, and a statement on a replication connection.
pub(super) const ORPHAN_TIMEOUT: Duration = Duration::from_secs(60);
/// What the server says before it writes, and so learns that its client has gone: the size of its own buffer.
const UNHEARD_MAX: usize = 8 * 1024;

/// What has become of a unit.
#[derive(PartialEq, Eq)]
enum Attempt {
    Done,
    /// The client has seen nothing of it, and it is to run in a process that has served nobody.
    RunAgain,
    /// Nothing of it has happened, and it is to run with nothing added to it.
    RunPlainly,
}

/// Why the relay of a unit stopped before its end.
enum Broken {
    /// The upstream connection was lost or makes no sense.
    Upstream(String),
    /// The client has gone, and nothing of what it sent is under way that the server would bring to its end.
    Client,
    /// The client has gone, and what it asked for has taken too long.
    Abandoned,
    /// The client's bytes make no sense.
    Protocol(wire::WireError),
    QueryTimeout,
    Killed,
}

/// What is left of a client while its unit is relayed.
#[derive(Default)]
struct Parting {
    /// Nothing more comes from it. What it had sent is run, and it may still be reading.
    ended: bool,
    /// It has said so.
    goodbye: bool,
    /// It takes nothing any more.
    deaf: bool,
    /// How much it was not told since.
    unheard: usize,
    /// All that the server has done is asked for, although the client has not asked.
    flushed: bool,
    /// The server knows as well that nothing more comes, and is to end the connection.
    told: bool,
    /// When the unit is given up.
    deadline: Option<Instant>,
}

impl Parting {
    fn has_begun(&self) -> bool {
        self.ended || self.deaf
    }
}

impl Session {
    /// Forwards one unit and sends its replies, ReadyForQuery included.
    ///
    /// # Errors
    /// The session is over.
    pub(super) async fn forward(
        &mut self,
        work: Work<'_>,
        miss: Miss,
        report: &mut UnitReport,
    ) -> Result<(), Ending> {
        report.bypass = miss.bypass;
        let open = matches!(work, Work::Extended { open: true, .. });
        if let Some(error) = report.given_up.take() {
            return self.fail_here(&error, open).await;
        }
        if self.tx.failed_here {
            return self.fail_here(&aborted(work.refuser()), open).await;
        }
        let past = self.wanted_past(&work);
        let again = match self.attempt(&work, miss, past, report).await? {
            Attempt::Done => return Ok(()),
            Attempt::RunAgain => {
                self.keep_process();
                Past::Nothing
            }
            Attempt::RunPlainly => {
                self.forget_prepared(&work);
                self.adds_nothing = true;
                past
            }
        };
        let attempted = self.attempt(&work, Miss::default(), again, report).await;
        self.adds_nothing = false;
        attempted.map(drop)
    }

    /// Forwards one unit on a connection with such a past.
    async fn attempt(
        &mut self,
        work: &Work<'_>,
        mut miss: Miss,
        past: Past,
        report: &mut UnitReport,
    ) -> Result<Attempt, Ending> {
        let open = matches!(work, Work::Extended { open: true, .. });
        let needs = self.needs(work);
        let (still, mut refused) = self.keep_still(&needs).await;
        self.vacate(work);
        let had_lease = self.lease.is_some();
        let runs_again = past == Past::Nothing && self.pins.contains(&Pin::OwnProcess);
        let mut lease = match self.take_lease(past, work, report).await {
            Ok(lease) => lease,
            Err(error) => {
                if runs_again {
                    self.give_up_process();
                }
                self.fail_here(&error, open).await?;
                return Ok(Attempt::Done);
            }
        };
        let mut exchange = Exchange::answering(!self.listening.is_empty());
        exchange.runs_again = runs_again;
        if !had_lease && self.may_run_again(work, &lease) {
            exchange.may_be_taken_back = Some(self.client.output.len());
        }
        self.begin_unit();
        if refused.is_ok() {
            refused = self.check_sequences(work, &mut lease).await;
        }
        if refused.is_ok() {
            refused = self.check_channels(&needs, &mut lease).await;
        }
        // A read that may be kept runs nothing that could notify.
        let notified = miss.plan.is_none();
        if notified {
            self.speaks_on(&lease);
        }
        if let Err(error) = refused {
            self.shared.metrics.error(error.code, ErrorOrigin::Proxy);
            self.begin_upstream(&mut exchange);
            exchange.refuse(&error);
        } else if let Err(error) = self.queue(work, &mut lease, &mut exchange, &mut miss) {
            self.lease = Some(lease);
            return Err(Ending::Protocol(error));
        } else if self.may_run_plainly(work, &exchange) {
            exchange.may_be_taken_back = Some(self.client.output.len());
        }
        drop(miss);
        if self.writer.is_some() {
            self.database.announce_writes().await;
        }
        let handle = self.registration.handle.clone();
        handle.set_activity(Activity::Active);
        let sent = Instant::now();
        self.begin_work();
        self.upstream_since.get_or_insert(sent);
        let relayed = self.relay(&mut lease, &mut exchange, !notified).await;
        drop(still);
        report.upstream += sent.elapsed();
        report.rows += exchange.outcome.rows;
        report.bytes += exchange.outcome.bytes;
        report.error = exchange.outcome.error;
        self.note_run(None);
        match relayed {
            Ok(status) => self.finish(lease, exchange, status, notified, report).await,
            Err(broken) => {
                self.broken(lease, exchange, broken).await?;
                Ok(Attempt::Done)
            }
        }
    }

    fn begin_unit(&mut self) {
        self.commit_inside = false;
        self.hold = Wish::default();
        self.executes_sent = 0;
        self.texts_uncertain = false;
        self.resets = Resets::default();
        self.deallocates.clear();
        self.single_control = false;
        self.ran_ddl = false;
        self.backend_told = false;
        self.catalog_at_start = self
            .database
            .authority
            .catalog()
            .map(|catalog| catalog.version);
        self.status_before = self.tx.status;
    }

    /// The BEGIN that was answered here goes upstream with what needs it; false if there is none.
    fn begin_upstream(&mut self, exchange: &mut Exchange) -> bool {
        let Some(begin) = self.tx.unsent_begin.take() else {
            return false;
        };
        // A snapshot was taken as far as the client knows: SET TRANSACTION comes too late.
        exchange.begin(&begin, self.tx.served);
        self.unnamed_upstream = None;
        true
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
                let mut meaning = self.meaning(analysis);
                self.narrow(&mut meaning, analysis, None);
                self.commit_inside = meaning.may_commit_inside;
                let mut names = Vec::new();
                self.named_in_sql(analysis, &mut names);
                // As long as it is known by which rules texts are read.
                self.lend_names(&names, lease, exchange);
                self.note_statements(analysis);
                exchange.lent_names = names;
                self.prepare_names(analysis, lease, exchange);
                hide_ours(analysis, lease, exchange);
                self.note_work(analysis, &meaning);
                let unsynced = self.begin_upstream(exchange) || self.hold_query(exchange);
                self.replace_unnamed(analysis.kind());
                let meaning = &mut meaning;
                self.translate_query((frame, analysis), meaning, unsynced, lease, exchange, miss);
                self.end_loan(exchange);
                self.before_commit(exchange);
            }
            Work::FunctionCall(frame) => {
                let unsynced = self.begin_upstream(exchange);
                self.translate_function_call(frame, unsynced, exchange);
                self.before_commit(exchange);
            }
            Work::Extended { frames, open } => {
                exchange.open = *open;
                let names = self.named_in_unit(frames);
                exchange.lent = !names.is_empty();
                self.lend_names(&names, lease, exchange);
                self.begin_upstream(exchange);
                exchange.lent_names = names;
                for frame in *frames {
                    self.translate(frame, lease, exchange, miss)?;
                }
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

    /// Moves bytes both ways until the unit's last ReadyForQuery. `reads`: it is known to do nothing else.
    async fn relay(
        &mut self,
        lease: &mut Lease,
        exchange: &mut Exchange,
        reads: bool,
    ) -> Result<TransactionStatus, Broken> {
        let handle = self.registration.handle.clone();
        let deadline = (!self.config.upstream.query_timeout.is_zero())
            .then(|| Instant::now() + self.config.upstream.query_timeout);
        let mut parting = Parting::default();
        let mut has_heard = false;
        loop {
            let connection = &mut **lease;
            let mut sides = Sides {
                upstream_parameters: &mut connection.parameters,
                client_parameters: &mut self.reported,
                withheld: self.resets.any(),
                speakers: &self.database.hub.speakers,
            };
            let progress = exchange
                .interpret(&mut connection.input, &mut sides, &mut self.client.output)
                .map_err(|error| Broken::Upstream(error.to_string()))?;
            if let Progress::Done(status) = progress {
                return Ok(status);
            }
            let mut is_over = false;
            if exchange.open {
                let before = exchange.outgoing.len();
                parting.goodbye |= self.take_open(lease, exchange)?;
                parting.ended |= parting.goodbye;
                parting.flushed &= exchange.outgoing.len() == before;
                if self.writer.is_some() {
                    self.database.announce_writes().await;
                }
                if parting.ended && exchange.awaits_client() && !parting.told {
                    is_over = finish_open(lease, exchange, &mut parting).await;
                }
            }
            // What was answered here goes along with what the server says.
            let may_send = !self.client.output.is_empty()
                && exchange.may_be_taken_back.is_none()
                && (has_heard || exchange.expects.is_empty())
                && (!parting.flushed || exchange.outcome.pushed)
                && (exchange.outgoing.is_empty() || self.client.output.len() > OUTPUT_MAX);
            if may_send && !parting.deaf {
                match self.send(parting.deadline.or(deadline)).await {
                    Ok(()) => {}
                    Err(Unsent::Gone) => parting.deaf = true,
                    Err(Unsent::Killed) => return Err(Broken::Killed),
                    Err(Unsent::Late) if parting.has_begun() => return Err(Broken::Abandoned),
                    Err(Unsent::Late) => return Err(Broken::QueryTimeout),
                    Err(Unsent::Stalled) => return Err(Broken::Client),
                }
            }
            if parting.deaf {
                parting.unheard += self.client.output.len();
                self.client.output.clear();
                let notices = reads || parting.unheard > UNHEARD_MAX;
                is_over |= notices && self.writer.is_none() && !exchange.copy_in;
            }
            if is_over {
                return Err(Broken::Client);
            }
            if parting.has_begun() && parting.deadline.is_none() {
                parting.deadline = self
                    .patience(reads)
                    .map(|patience| Instant::now() + patience);
            }
            let may_read_client = !parting.ended
                && if exchange.awaits_client() && !exchange.holds() {
                    exchange.outgoing.len() < OUTGOING_MAX
                } else {
                    self.client.input.len() < self.limits.unit_bytes_max
                };
            tokio::select! {
                pumped = lease.pump(&mut exchange.outgoing) => match pumped {
                    Ok(Pumped::Read(0)) | Err(_) if parting.told => return Err(Broken::Client),
                    Ok(Pumped::Read(0)) => return Err(Broken::Upstream("the server closed the connection".into())),
                    Ok(Pumped::Read(_)) => has_heard = true,
                    Ok(_) => {}
                    Err(error) => return Err(Broken::Upstream(error.to_string())),
                },
                read = self.client.fill(), if may_read_client => match read {
                    Ok(length @ 1..) => self.metrics.received(length as u64),
                    _ => parting.ended = true,
                },
                () = sleep_until(deadline), if deadline.is_some() => return Err(Broken::QueryTimeout),
                () = sleep_until(parting.deadline), if parting.deadline.is_some() => {
                    return Err(Broken::Abandoned);
                }
                () = handle.kill.notified() => return Err(Broken::Killed),
            }
        }
    }

    /// How long a unit goes on whose client has gone; `reads` as of [`relay`](Self::relay).
    fn patience(&self, reads: bool) -> Option<Duration> {
        let patience = self.config.upstream.abandoned_timeout;
        match (patience.is_zero(), reads) {
            (true, true) => Some(ORPHAN_TIMEOUT),
            (true, false) => None,
            (false, true) => Some(patience.min(ORPHAN_TIMEOUT)),
            (false, false) => Some(patience),
        }
    }

    /// Takes what the client has sent since for a unit that is still open; true if it said goodbye.
    fn take_open(&mut self, lease: &mut Lease, exchange: &mut Exchange) -> Result<bool, Broken> {
        if exchange.hold.in_block() {
            self.end_block(exchange);
            return Ok(false);
        }
        let mut nothing = Miss::default();
        while let Some(frame) = exchange.release() {
            self.translate_next(&frame, lease, exchange, &mut nothing)
                .map_err(Broken::Protocol)?;
        }
        while exchange.open && !exchange.holds() && exchange.outgoing.len() < OUTGOING_MAX {
            if exchange.client_passing > 0 {
                let n = exchange.client_passing.min(self.client.input.len());
                exchange.outgoing.extend_from_slice(&self.client.input[..n]);
                self.client.input.advance(n);
                exchange.client_passing -= n;
                if n == 0 {
                    return Ok(false);
                }
                continue;
            }
            let header = wire::frame_header(&self.client.input).map_err(Broken::Protocol)?;
            let Some(header) = header else {
                return Ok(false);
            };
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
            let Some(frame) = frame else {
                return Ok(false);
            };
            if frame.tag() == tag::frontend::TERMINATE {
                // Nobody is to read what comes behind it.
                self.client.input.clear();
                return Ok(true);
            }
            self.translate(&frame, lease, exchange, &mut nothing)
                .map_err(Broken::Protocol)?;
        }
        Ok(false)
    }

    /// After the last ReadyForQuery: settle, read back, hand the connection on, tell the client.
    async fn finish(
        &mut self,
        mut lease: Lease,
        mut exchange: Exchange,
        status: TransactionStatus,
        notified: bool,
        report: &mut UnitReport,
    ) -> Result<Attempt, Ending> {
        let failed = exchange.outcome.error.is_some();
        let adds = exchange.additions.any();
        let refused = self.note_refused(&exchange);
        let run_again = exchange
            .may_be_taken_back
            .filter(|_| refused || exchange.outcome.error == Some(INVALID_NAME) && !adds);
        if let Some(from) = run_again {
            process::take_back(&mut self.client.output, from);
            report.error = None;
        } else if failed && exchange.runs_again {
            self.give_up_process();
        }
        for id in exchange.pending_parses.drain(..) {
            lease.prepared.remove(id);
        }
        if !self.effects.intersects(Effects::PREPARED) {
            // Otherwise reading back will tell what is gone.
            for statement in exchange.outcome.suspects.drain(..) {
                // The copy is gone or of an older shape: who comes next gets a new one.
                lease.prepared.remove(statement.id);
                self.shared.statements.retire(&statement);
            }
        }
        for (id, copy) in exchange.unclosed.drain(..) {
            // The one that was to take its place did not come either.
            let _ = lease.prepared.insert(id, copy);
        }
        for change in exchange.reverted.drain(..).rev() {
            match change.before {
                Some(statement) => self.statements.insert(&change.name, statement),
                None => drop(self.statements.remove(&change.name)),
            }
        }
        if failed {
            self.unnamed_upstream = None;
            self.forget_unbound(&exchange);
        }
        self.learn(&mut exchange);
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
            self.preference = None;
            lease.is_spent |= self.pins.remove(&Pin::OwnProcess);
        }
        for name in self
            .deallocates
            .drain(..)
            .take(exchange.outcome.deallocated)
        {
            self.statements.remove(name.as_bytes());
        }
        self.tx.observe(status);
        // By now the server has told.
        self.texts_uncertain = false;
        if std::mem::take(&mut self.backend_told) {
            let session = u64::from(self.registration.handle.number);
            self.preference = Some(lease.prefer(session));
        }
        if status == TransactionStatus::Idle {
            self.forget_portals();
            if self.effects.intersects(Effects::SEQUENCE) {
                self.draws += 1;
                lease.holds_state_of = Some(u64::from(self.registration.handle.number));
                lease.draw = self.draws;
                self.touched_sequences = true;
                if self.effects.contains(Effects::SEQUENCE_READ) {
                    // Code that the client does not see relies on it.
                    self.pin_sequences();
                }
            }
            if self.effects.contains(Effects::PROCESS) {
                self.keep_process();
            }
            // What the client asked for is done: a cancel comes too late from now on.
            self.registration.handle.set_cancel_target(None);
            let undone = failed || exchange.outcome.last_tag == b"ROLLBACK";
            if !(self.read_back(&mut lease, undone).await && self.ask_privileges(&mut lease).await)
            {
                // What the connection holds is not known, so nobody gets it, not even its session.
                lease.finish(false);
                return Err(Ending::Fatal(ErrorReport::fatal(
                    SqlState::CONNECTION_FAILURE,
                    "the upstream connection was lost while its state was read back",
                )));
            }
        }
        if self.resets.any() {
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
        for notification in lease.notifications.drain(..) {
            let speakers = &self.database.hub.speakers;
            speakers.rename(notification.bytes(), &mut self.client.output);
        }
        self.hand_on(lease);
        if run_again.is_some() {
            self.client.output.extend_from_slice(&exchange.changed);
            return Ok(match refused {
                true => Attempt::RunPlainly,
                false => Attempt::RunAgain,
            });
        }
        if exchange.outcome.begin_failed {
            // To the client its transaction had begun before, and has failed now.
            self.tx.status = TransactionStatus::Failed;
            self.tx.failed_here = true;
        } else if status == TransactionStatus::Idle {
            let committed = !failed && exchange.outcome.last_tag != b"ROLLBACK";
            self.settle_listening(committed, exchange.outcome.discarded_all)
                .await;
            self.hand_over(notified).await;
        }
        self.client.output.extend_from_slice(&exchange.changed);
        wire::backend::ready_for_query(&mut self.client.output, self.tx.status);
        let sending = Instant::now();
        let sent = self.send_or_end().await;
        report.sending += sending.elapsed();
        sent.map(|()| Attempt::Done)
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
        if exchange.is_mid_message() && !matches!(broken, Broken::Client) {
            // An error in the middle of a row would be read as a part of it.
            let _ = tokio::time::timeout(super::CLOSE_TIMEOUT, self.client.flush()).await;
            return Err(Ending::Closed);
        }
        match broken {
            Broken::Client => Err(Ending::ClientGone),
            Broken::Abandoned => {
                self.shared.metrics.abandoned();
                Err(Ending::Fatal(abandoned()))
            }
            Broken::Protocol(error) => Err(Ending::Protocol(error)),
            Broken::QueryTimeout => Err(Ending::Fatal(ErrorReport::fatal(
                SqlState::QUERY_CANCELED,
                "query_timeout: the statement took longer than pgditto allows",
            ))),
            Broken::Killed => Err(Ending::Fatal(shut_down())),
            Broken::Upstream(reason) => {
                tracing::warn!(reason, database = %self.database.name, "upstream connection lost");
                if fatal_sent {
                    // The server said why; the client has it word by word.
                    let _ = self.send(None).await;
                    return Err(Ending::Closed);
                }
                let lost = ErrorReport::error(
                    SqlState::CONNECTION_FAILURE,
                    "the upstream connection was lost while the statement ran",
                )
                .with_hint("Whether it took effect is not known.");
                if in_transaction || !self.pins.is_empty() || exchange.awaits_client() {
                    return Err(Ending::Fatal(ErrorReport {
                        severity: wire::Severity::Fatal,
                        ..lost
                    }));
                }
                self.tx = super::transaction::Transaction::none();
                self.forget_portals();
                self.unnamed_upstream = None;
                self.effects = Effects::NONE;
                self.has_temporaries(Temporaries::None);
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
        self.send_or_end().await
    }
}

/// Brings what a client has sent of an open unit to its end: it has gone, and the rest will never come. True when
/// all of it is done.
async fn finish_open(lease: &mut Lease, exchange: &mut Exchange, parting: &mut Parting) -> bool {
    if exchange.holds() || !exchange.outgoing.is_empty() {
        return false;
    }
    if exchange.copy_in || exchange.client_passing > 0 {
        // The server has something to say about that, and ends the connection.
        parting.told = true;
        if parting.goodbye {
            frontend::terminate(&mut exchange.outgoing);
            lease.break_it();
            return false;
        }
        let ended = tokio::time::timeout(super::CLOSE_TIMEOUT, lease.end()).await;
        return !matches!(ended, Ok(Ok(())));
    }
    if exchange.expects.is_empty() {
        return true;
    }
    if !parting.flushed {
        frontend::flush(&mut exchange.outgoing);
        parting.flushed = true;
    }
    false
}

/// The failure of one statement: the session lives on.
pub(super) fn statement_error(report: ErrorReport) -> ErrorReport {
    ErrorReport {
        severity: wire::Severity::Error,
        ..report
    }
}

pub(super) fn cancelled() -> ErrorReport {
    ErrorReport::error(
        SqlState::QUERY_CANCELED,
        "canceling statement due to user request",
    )
    .in_routine(INTERRUPTS)
}

/// `statement_timeout`.
pub(super) fn timed_out() -> ErrorReport {
    ErrorReport::error(
        SqlState::QUERY_CANCELED,
        "canceling statement due to statement timeout",
    )
    .in_routine(INTERRUPTS)
}

/// To a client that may still be reading.
fn abandoned() -> ErrorReport {
    ErrorReport::fatal(
        SqlState::QUERY_CANCELED,
        "abandoned_timeout: the connection was closed, and the statement took longer than pgditto allows then",
    )
}

pub(super) fn aborted(routine: &'static str) -> ErrorReport {
    ErrorReport::error(
        SqlState::IN_FAILED_SQL_TRANSACTION,
        "current transaction is aborted, commands ignored until end of transaction block",
    )
    .in_routine(routine)
}
