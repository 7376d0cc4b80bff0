//! The upstream connection of a session: taken from the pool, brought up to the session's settings, handed on.

use std::collections::HashMap;
use std::time::Instant;

use super::analysis::Analysis;
use super::forward::{Work, cancelled, statement_error};
use super::process::INVALID_NAME;
use super::registry::Activity;
use super::upkeep::CONTROL_TIMEOUT;
use super::{Session, UnitReport, shut_down};
use crate::sql::Kind;
use crate::upstream::{Lease, Past, Settings, UpstreamError, Wish};
use crate::wire::{self, ErrorReport, TransactionStatus, frontend, tag};

impl Session {
    /// The connection that this session holds, or one from the pool with the session's settings on it.
    pub(super) async fn take_lease(
        &mut self,
        mut past: Past,
        work: &Work<'_>,
        report: &mut UnitReport,
    ) -> Result<Lease, ErrorReport> {
        if let Some(lease) = self.lease.take() {
            return Ok(lease);
        }
        let handle = self.registration.handle.clone();
        handle.set_activity(Activity::Waiting);
        let started = Instant::now();
        let deadline = started + self.config.pool.query_wait_timeout;
        let beginning = self.wanted_beginning(work);
        let unset = self.unset_names(work);
        let lease = loop {
            let wish = Wish {
                beginning: beginning.clone(),
                session: u64::from(handle.number),
                draw: self.draws,
                settings: self.settings.clone(),
                past,
                unheard: unset.wants_unheard(),
                ..Wish::default()
            };
            let lease = tokio::select! {
                lease = self.pool.lease(&wish, deadline.into()) => lease,
                () = handle.cancelled.notified() => return Err(cancelled()),
                () = handle.kill.notified() => return Err(shut_down()),
            };
            report.waited = started.elapsed();
            let mut lease = lease.map_err(|error| statement_error(error.report()))?;
            if !self.is_proven(&lease) && Instant::now() < deadline {
                // It leads to where the guard stood before, or came in before there was one.
                lease.finish(false);
                continue;
            }
            match self.restore(&mut lease).await {
                Ok(()) => match self.is_spoilt(&mut lease, &unset).await {
                    Ok(false) => break lease,
                    // Another process would give no other answer.
                    Err(ref error @ UpstreamError::Server { .. })
                        if lease.is_first() && !error.is_departure() =>
                    {
                        break lease;
                    }
                    Err(error) if Instant::now() >= deadline => {
                        lease.finish(false);
                        return Err(statement_error(error.report()));
                    }
                    spoilt => {
                        lease.finish(spoilt.is_ok());
                        past = Past::Nothing;
                    }
                },
                Err(error @ UpstreamError::Server { .. }) if !error.is_departure() => {
                    if error.sqlstate().0 == INVALID_NAME && past != Past::Nothing {
                        lease.finish(false);
                        // A library that others loaded has reserved the name of one of its settings.
                        past = Past::Nothing;
                        self.keep_process();
                        continue;
                    }
                    if self.restore_what_stays(work, &mut lease).await {
                        break lease;
                    }
                    lease.finish(false);
                    return Err(refused_setting(&error));
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
    pub(super) fn is_proven(&self, lease: &Lease) -> bool {
        match self.database.authority.proof_now() {
            Some(proof) => lease.admission.generation == Some(proof.generation),
            None => true,
        }
    }

    /// Brings the session's settings onto the connection, and what it reports to the client.
    pub(super) async fn restore(&mut self, lease: &mut Lease) -> Result<(), UpstreamError> {
        self.refused = Settings::none();
        let me = u64::from(self.registration.handle.number);
        let deadline = Instant::now() + CONTROL_TIMEOUT;
        // Where only a part of it took effect, nobody else gets the connection.
        lease
            .bring(&self.settings, Some(me), deadline.into())
            .await?;
        lease.has_heard |= !self.custom.is_empty();
        self.report_parameters(lease);
        let cancel = lease.cancel_handle();
        self.registration.handle.set_cancel_target(Some(cancel));
        Ok(())
    }

    /// Where one of the session's settings is refused by now: brings the others onto the connection, if the first statement
    /// of the unit makes an end of that one.
    async fn restore_what_stays(&mut self, work: &Work<'_>, lease: &mut Lease) -> bool {
        let Some(stays) = self.first_run(work).and_then(|first| self.kept_by(&first)) else {
            return false;
        };
        let deadline = Instant::now() + CONTROL_TIMEOUT;
        let me = u64::from(self.registration.handle.number);
        let brought = lease.bring(&stays, Some(me), deadline.into()).await;
        let restored = brought.is_ok();
        if restored {
            self.refused = self.settings.clone();
            for (name, _) in stays.iter() {
                self.refused = self.refused.without(name);
            }
            self.report_parameters(lease);
            let cancel = lease.cancel_handle();
            self.registration.handle.set_cancel_target(Some(cancel));
        }
        restored
    }

    /// The kind of the first statement that the unit runs, apart from BEGIN; `None` if that is not certain.
    fn first_run(&self, work: &Work<'_>) -> Option<Kind> {
        let first = |analysis: &Analysis| {
            let kinds = analysis.statements.iter().map(|facts| &facts.kind);
            let mut kinds = kinds.filter(|kind| !matches!(kind, Kind::Begin { .. } | Kind::Empty));
            kinds.next().cloned()
        };
        let frames = match work {
            Work::Query { analysis, .. } => return first(analysis),
            Work::FunctionCall(_) => return None,
            Work::Extended { frames, .. } => *frames,
        };
        let mut parsed = HashMap::new();
        let mut bound: Option<(&[u8], Kind)> = None;
        for frame in frames {
            match frame.tag() {
                tag::frontend::PARSE => {
                    let parse = frontend::Parse::read(frame.body()).ok()?;
                    parsed.insert(parse.name, first(&self.analyse(parse.sql)));
                }
                tag::frontend::BIND => {
                    let bind = frontend::Bind::read(frame.body()).ok()?;
                    let known = || first(&self.statements.get(bind.statement)?.analysis);
                    let kind = match parsed.get(bind.statement) {
                        Some(kind) => kind.clone(),
                        None => known(),
                    };
                    match (&bound, kind) {
                        (Some(_), _) => return None,
                        (None, Some(kind)) => bound = Some((bind.portal, kind)),
                        // BEGIN.
                        (None, None) => {}
                    }
                }
                tag::frontend::EXECUTE => {
                    let execute = frontend::Execute::read(frame.body()).ok()?;
                    if let Some((_, kind)) = bound.filter(|(portal, _)| *portal == execute.portal) {
                        return Some(kind);
                    }
                    bound = None;
                }
                _ => {}
            }
        }
        None
    }

    /// What such a statement leaves of the session's settings; `None` if that is all of them.
    fn kept_by(&self, kind: &Kind) -> Option<Settings> {
        let kept = match kind {
            Kind::Set { name, local: false } | Kind::Reset { name: Some(name) } => {
                match name.as_str() {
                    "session_authorization" => self.settings.without(name).without("role"),
                    name => self.settings.without(name),
                }
            }
            Kind::Reset { name: None } => {
                // The role stays.
                let role = self.settings.get("role");
                let kept = role.map(|role| Settings::none().with("role", role));
                kept.and_then(Result::ok).unwrap_or_default()
            }
            Kind::DiscardAll => Settings::none(),
            _ => return None,
        };
        (kept != self.settings).then_some(kept)
    }

    /// Tells the client of parameters that are other on this connection than on the last.
    pub(super) fn report_parameters(&mut self, lease: &Lease) {
        if self.reported == lease.parameters {
            return;
        }
        let parameters = lease.parameters.iter();
        let mut changed: Vec<_> = parameters
            .filter(|(name, value)| self.reported.get(*name) != Some(*value))
            .collect();
        // As PostgreSQL 15 does.
        changed.sort_by_cached_key(|(name, _)| name.to_ascii_lowercase());
        for (name, value) in changed {
            wire::backend::parameter_status_message(
                &mut self.client.output,
                name.as_bytes(),
                value.as_bytes(),
            );
        }
        self.reported.clone_from(&lease.parameters);
    }

    /// Lets operators see the pins, and counts those that are new.
    pub(super) fn tell_pins(&self) {
        let mut told = self.registration.handle.pins.lock();
        if self.pins.iter().eq(told.iter()) {
            return;
        }
        for pin in self.pins.iter().filter(|pin| !told.contains(pin)) {
            self.shared.metrics.pinned(pin.as_str());
        }
        *told = self.pins.iter().copied().collect();
    }

    /// Keeps the connection while the transaction or a pin needs it; else the pool gets it.
    pub(super) fn hand_on(&mut self, mut lease: Lease) {
        if self.tx.status == TransactionStatus::Idle
            && let Some(since) = self.upstream_since.take()
        {
            self.metrics.transaction(since.elapsed());
        }
        lease.note_statements();
        self.tell_pins();
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
}

/// The server takes a setting no more that it took before: a role that may not be taken on any longer, a tablespace that is gone.
fn refused_setting(error: &UpstreamError) -> ErrorReport {
    statement_error(error.report())
        .with_hint("The session has a setting that the server refuses by now. RESET or SET it, or use DISCARD ALL.")
}
