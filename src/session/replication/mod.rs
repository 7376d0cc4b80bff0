//! A replication connection: a client and a walsender of its own, and the bytes between them.
//!
//! Nothing of it is pooled or cached. SQL that it may run in a database is a write to
//! everything ([`doubt`]); what passes is otherwise not read ([`relay`]).

mod command;
mod doubt;
mod relay;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::sync::watch;

use super::forward::ORPHAN_TIMEOUT;
use super::registry::{Activity, Identity, Origin, Registration};
use super::state::Pin;
use super::{
    CLOSE_TIMEOUT, Database, Ended, Ending, Phase, Refused, Shared, idle_in_transaction,
    idle_session, shut_down,
};
use crate::client::{self, Login};
use crate::config::Config;
use crate::metrics::{DatabaseMetrics, ErrorOrigin};
use crate::upstream::{self, Walsender};
use crate::wire::{self, ErrorReport, Replication, SqlState, TransactionStatus, WireError};
use doubt::Doubt;
use relay::{FromClient, FromServer, Relay, WAITING_MAX};

/// A client with its walsender.
pub struct ReplicationSession {
    shared: Arc<Shared>,
    config: Arc<Config>,
    metrics: Arc<DatabaseMetrics>,
    client: client::Connection,
    walsender: Walsender,
    registration: Registration,
    relay: Relay,
    /// `None` where replication is physical: there is no SQL.
    doubt: Option<Doubt>,
    /// For the server.
    outgoing: BytesMut,
    /// Since when nobody has sent anything.
    quiet_since: Instant,
    /// When the client last took something, or had nothing to take.
    taken_at: Instant,
}

/// Why the connection ends before the message under way has passed.
struct Stop {
    report: ErrorReport,
    until: Instant,
}

/// Opens a replication connection for a client that has logged in.
///
/// # Errors
/// What the client is to be told before it is closed.
pub async fn replicate(
    shared: Arc<Shared>,
    login: Login,
    kind: Replication,
) -> Result<ReplicationSession, Refused> {
    let refused = |login, report| Refused {
        login: Box::new(login),
        report,
    };
    let (walsender, database) = match open(&shared, &login, kind).await {
        Ok(opened) => opened,
        Err(report) => return Err(refused(login, report)),
    };
    let named = |(name, _): &&(String, String)| name == "application_name";
    let application = login.parameters.iter().rfind(named);
    let identity = Identity {
        user: login.user.clone(),
        database: login.database.clone(),
        origin: Origin::of(&login.connection.stream),
        application_name: application
            .map(|(_, value)| value.clone())
            .unwrap_or_default(),
    };
    let key_len = wire::cancel_key_len(login.minor);
    let Ok(registration) = shared.registry.register(identity, key_len) else {
        let message = "no random bytes for the session's cancel key";
        return Err(refused(
            login,
            ErrorReport::fatal(SqlState::INTERNAL_ERROR, message),
        ));
    };
    let handle = &registration.handle;
    handle.set_cancel_target(Some(walsender.cancel_handle()));
    *handle.pins.lock() = vec![Pin::Replication];
    shared.metrics.pinned(Pin::Replication.as_str());
    let config = shared.config.load_full();
    Ok(ReplicationSession {
        metrics: shared.metrics.database(&login.database),
        client: login.connection,
        relay: Relay::new(config.listen.max_message_size),
        doubt: database.map(|database| Doubt::new(shared.clone(), database)),
        outgoing: BytesMut::new(),
        quiet_since: Instant::now(),
        taken_at: Instant::now(),
        walsender,
        registration,
        config,
        shared,
    })
}

async fn open(
    shared: &Arc<Shared>,
    login: &Login,
    kind: Replication,
) -> Result<(Walsender, Option<Arc<Database>>), ErrorReport> {
    let (name, user) = (login.database.as_str(), login.user.as_str());
    let pools = &shared.pools;
    let connect = || pools.replicate(name, user, kind, &login.parameters);
    if kind == Replication::Physical {
        let walsender = connect().await.map_err(|error| error.report())?;
        return Ok((walsender, None));
    }
    let target = pools.target(name, user).map_err(|error| error.report())?;
    // Before the connection: it proves itself to the authority of its database.
    let database = shared.databases.open(&target);
    let timeout = shared.config.load().upstream.server_connect_timeout;
    let deadline = Instant::now() + timeout;
    loop {
        match connect().await {
            Ok(walsender) => {
                let proof = database.authority.proof_now();
                let is_proven = proof
                    .is_none_or(|proof| walsender.admission.generation == Some(proof.generation));
                // One that came in before the guard stood may lead elsewhere.
                if is_proven || Instant::now() >= deadline {
                    return Ok((walsender, Some(database)));
                }
            }
            Err(error) => {
                drop(database);
                let report = error.report();
                shared.databases.forget_unknown(&target, report.code);
                return Err(report);
            }
        }
    }
}

impl ReplicationSession {
    /// Sends what follows AuthenticationOk, as the server said it.
    ///
    /// # Errors
    /// The client has gone.
    pub async fn send_greeting(&mut self) -> std::io::Result<()> {
        let out = &mut self.client.output;
        for (name, value) in &self.walsender.parameters {
            wire::backend::parameter_status_message(out, name.as_bytes(), value.as_bytes());
        }
        let handle = &self.registration.handle;
        wire::backend::backend_key_data(out, handle.number, handle.key());
        wire::backend::ready_for_query(out, TransactionStatus::Idle);
        self.client.flush().await
    }

    /// Passes bytes both ways until one side ends the connection.
    pub async fn run(&mut self) -> Ending {
        let handle = self.registration.handle.clone();
        let mut phase = self.shared.phase.clone();
        let mut stop: Option<Stop> = None;
        loop {
            let mut passed = self.pass_on(stop.is_some());
            if passed.is_ok() && stop.is_none() {
                passed = self.take().await;
            }
            match passed {
                Ok(()) => {}
                Err(Ending::ClientGone) => return self.client_gone().await,
                Err(ending) => return ending,
            }
            if stop.is_none() && self.should_stop(&mut phase) {
                stop = Some(Stop::now(shut_down()));
            }
            if let Some(stop) = &stop {
                if self.relay.is_between_messages() {
                    return Ending::Fatal(stop.report.clone());
                }
                if Instant::now() >= stop.until {
                    return Ending::Closed;
                }
            }
            if self.client.output.is_empty() {
                self.taken_at = Instant::now();
            }
            let (deadline, report) = self.deadline(stop.as_ref());
            let has_room = self.client.output.len() < WAITING_MAX;
            let may_read = self.outgoing.len() < WAITING_MAX
                && self.client.input.len() < self.config.listen.unit_buffer_size;
            tokio::select! {
                pumped = self.client.pump(may_read) => match pumped {
                    Ok(client::Pumped::Wrote(length)) => {
                        self.taken_at = Instant::now();
                        self.metrics.sent(length as u64);
                    }
                    Ok(client::Pumped::Read(length @ 1..)) => {
                        self.quiet_since = Instant::now();
                        self.metrics.received(length as u64);
                    }
                    Ok(client::Pumped::Read(0)) | Err(_) => return self.client_gone().await,
                },
                moved = move_upstream(&mut self.walsender, &mut self.outgoing, has_room) => {
                    if !moved {
                        return self.server_gone().await;
                    }
                    self.quiet_since = Instant::now();
                }
                _ = phase.changed() => {}
                () = handle.kill.notified() => stop = Some(Stop::now(shut_down())),
                () = tokio::time::sleep_until(deadline.into()) => match report {
                    Late::Stopped => {}
                    Late::Idle(report) => return Ending::Fatal(report),
                    Late::Stalled => {
                        self.shared.metrics.stalled();
                        return Ending::ClientGone;
                    }
                },
            }
        }
    }

    /// Passes on what the server has said, and settles what it has answered.
    fn pass_on(&mut self, to_boundary: bool) -> Result<(), Ending> {
        loop {
            let (input, out) = (&mut self.walsender.input, &mut self.client.output);
            match self.relay.server(input, out, to_boundary) {
                Ok(FromServer::Passed) => return Ok(()),
                Ok(FromServer::Ready(status, frame)) => {
                    if let Some(doubt) = &mut self.doubt {
                        doubt.settle(status);
                    }
                    self.client.output.extend_from_slice(&frame);
                    self.registration.handle.set_activity(match status {
                        TransactionStatus::Idle => Activity::Idle,
                        _ => Activity::InTransaction,
                    });
                }
                Err(_) => return Err(Ending::Fatal(lost())),
            }
        }
    }

    /// Takes what the client has sent, as far as it may go on now.
    async fn take(&mut self) -> Result<(), Ending> {
        loop {
            let (input, out) = (&mut self.client.input, &mut self.outgoing);
            match self.relay.client(input, out) {
                Ok(FromClient::Passed) => break,
                Ok(FromClient::Asks(frame)) => self.ask(&frame)?,
                Ok(FromClient::Terminate) => return Err(Ending::ClientGone),
                Ok(FromClient::OutOfPlace(tag)) => {
                    let message =
                        format!("unexpected message type {tag:#04X} on a replication connection");
                    let report = ErrorReport::fatal(SqlState::PROTOCOL_VIOLATION, message);
                    return Err(Ending::Fatal(report));
                }
                Err(error) => return Err(Ending::Protocol(error)),
            }
        }
        if let Some(doubt) = &self.doubt {
            doubt.announce().await;
        }
        Ok(())
    }

    /// Queues a message that the server may act upon.
    fn ask(&mut self, frame: &wire::Frame) -> Result<(), Ending> {
        let handle = &self.registration.handle;
        handle.note_request();
        handle.set_activity(Activity::Active);
        if let Some(doubt) = &mut self.doubt
            && doubt.before(frame, self.relay.status()).is_err()
        {
            let message = "PREPARE TRANSACTION cannot be followed here";
            return Err(Ending::Fatal(
                ErrorReport::fatal(SqlState::FEATURE_NOT_SUPPORTED, message).with_hint(
                    "Name the transaction by a plain string without backslashes, in a statement of its own.",
                ),
            ));
        }
        self.outgoing.extend_from_slice(frame.bytes());
        Ok(())
    }

    /// A drain waits for a transaction or a backup, and not for a stream, which has no end.
    fn should_stop(&self, phase: &mut watch::Receiver<Phase>) -> bool {
        let is_idle = !self.relay.is_busy() && self.relay.status() == TransactionStatus::Idle;
        match *phase.borrow_and_update() {
            Phase::Serving | Phase::Closing => false,
            Phase::Draining => is_idle || self.relay.is_streaming(),
            Phase::Stopping => true,
        }
    }

    /// When waiting ends, and with what.
    fn deadline(&self, stop: Option<&Stop>) -> (Instant, Late) {
        let listen = &self.config.listen;
        if let Some(stop) = stop {
            return (stop.until, Late::Stopped);
        }
        if !self.client.output.is_empty() {
            return (self.taken_at + listen.client_write_timeout, Late::Stalled);
        }
        let (timeout, report) = match self.relay.status() {
            TransactionStatus::Idle => (listen.client_idle_timeout, idle_session()),
            _ => (listen.idle_transaction_timeout, idle_in_transaction()),
        };
        if self.relay.is_busy() || timeout.is_zero() {
            // The server has its own time limits for what it does, and for a standby that is silent.
            return (Instant::now() + LONG, Late::Stopped);
        }
        (self.quiet_since + timeout, Late::Idle(report))
    }

    /// The server has ended the connection; what it said before is passed on.
    async fn server_gone(&mut self) -> Ending {
        loop {
            if let Err(ending) = self.pass_on(false) {
                return ending;
            }
            if self.client.output.len() < WAITING_MAX {
                break;
            }
            let sent = self.client.flush();
            let patience = self.config.listen.client_write_timeout;
            if !matches!(tokio::time::timeout(patience, sent).await, Ok(Ok(()))) {
                return Ending::ClientGone;
            }
        }
        match self.relay.is_between_messages() && !self.relay.has_failed() {
            true => Ending::Fatal(lost()),
            false => Ending::Closed,
        }
    }

    /// What the client sent last reaches the server, and a statement that may write comes to its end,
    /// as it would if the client were connected to the server itself.
    async fn client_gone(&mut self) -> Ending {
        let writes = self.doubt.as_ref().is_some_and(Doubt::is_marked);
        let patience = match writes {
            true => ORPHAN_TIMEOUT,
            false => CLOSE_TIMEOUT,
        };
        let end = async {
            while !self.outgoing.is_empty() || writes && self.relay.is_answering() {
                let moved = move_upstream(&mut self.walsender, &mut self.outgoing, true).await;
                if !moved || self.pass_on(false).is_err() {
                    break;
                }
                self.client.output.clear();
            }
        };
        let _ = tokio::time::timeout(patience, end).await;
        Ending::ClientGone
    }

    /// Tells the client why, as far as that still reaches it, and closes both connections.
    pub async fn close(mut self, ending: Ending) -> Ended {
        let report = match ending {
            Ending::ClientGone | Ending::Closed => None,
            Ending::Fatal(report) => Some(report),
            Ending::Protocol(error) => Some(protocol(&error)),
        };
        // The backend learns that it is over before the client does.
        if let Some(doubt) = &mut self.doubt {
            doubt.end(self.walsender.pid);
        }
        self.registration.handle.set_cancel_target(None);
        drop(self.walsender);
        if let Some(report) = &report {
            self.shared.metrics.error(report.code, ErrorOrigin::Proxy);
            if self.relay.is_between_messages() {
                wire::backend::error(&mut self.client.output, report);
            }
        }
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.client.flush()).await;
        Ended { report }
    }
}

/// What it means that the time is over.
enum Late {
    /// Look again.
    Stopped,
    Idle(ErrorReport),
    Stalled,
}

/// As good as no deadline.
const LONG: Duration = Duration::from_secs(3600);

impl Stop {
    fn now(report: ErrorReport) -> Self {
        Self {
            report,
            until: Instant::now() + CLOSE_TIMEOUT,
        }
    }
}

/// Writes to the server, or reads from it if there is room; false when it is gone. Cancel safe.
async fn move_upstream(walsender: &mut Walsender, outgoing: &mut BytesMut, has_room: bool) -> bool {
    if has_room {
        let pumped = walsender.pump(outgoing).await;
        return !matches!(pumped, Err(_) | Ok(upstream::Pumped::Read(0)));
    }
    if outgoing.is_empty() {
        return std::future::pending().await;
    }
    walsender.push(outgoing).await.is_ok()
}

fn lost() -> ErrorReport {
    let message = "the upstream connection was lost";
    ErrorReport::fatal(SqlState::CONNECTION_FAILURE, message)
}

fn protocol(error: &WireError) -> ErrorReport {
    ErrorReport {
        severity: wire::Severity::Fatal,
        ..error.report()
    }
}
