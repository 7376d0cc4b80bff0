//! LISTEN without a connection of the session's own.
//!
//! A LISTEN or UNLISTEN outside a transaction is carried out on the connection that all listening
//! sessions of the database share ([`Hub`](crate::notify::Hub)). What else listens (a LISTEN inside a
//! transaction, in a function, in an encoding other than UTF-8) pins the session to its connection
//! as before. Notifications reach the client when PostgreSQL would send them: between transactions,
//! the session's own before the ReadyForQuery of the statement that sent them.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::analysis::Analysis;
use super::request::End;
use super::state::Pin;
use super::statements::Statement;
use super::{Ending, Session};
use crate::metrics::ListenerEnd;
use crate::notify::{Mailbox, Trouble};
use crate::sql::{self, Channel, Kind};
use crate::upstream::{Lease, UpstreamError};
use crate::wire::{
    ErrorReport, Frame, SqlState, TransactionStatus, backend, frontend, tag::frontend as tag,
};

/// Channels beyond this are listened to on a connection of the session's own.
const CHANNELS_MAX: usize = 1000;

/// What the session listens to through the shared connection.
#[derive(Default)]
pub(super) struct Listening {
    mailbox: Option<Arc<Mailbox>>,
    /// As the server folds them, each with how it is written in SQL.
    channels: BTreeSet<String>,
    /// UNLISTENs of a transaction that went upstream; `None` is all channels.
    ending: Vec<Option<String>>,
}

impl Listening {
    /// Returns when something has come. Cancel safe.
    pub async fn arrived(&self) {
        match &self.mailbox {
            Some(mailbox) => mailbox.arrived().await,
            None => std::future::pending().await,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }
}

impl Session {
    /// Carries LISTEN or UNLISTEN out on the shared connection and gives the command tag; `None` if
    /// the statement is neither, or is better forwarded.
    pub(super) async fn listen_here(
        &mut self,
        analysis: &Analysis,
        sql: &[u8],
    ) -> Option<&'static str> {
        let kind = analysis.kind()?;
        if !matches!(kind, Kind::Listen | Kind::Unlisten)
            || self.tx.status != TransactionStatus::Idle
            || self.pins.contains(&Pin::Listen)
            || self.pins.contains(&Pin::SessionPooling)
            || !self.is_utf8()
            || self.reported.get("server_encoding").map(String::as_str) != Some("UTF8")
        {
            return None;
        }
        let scan = sql::scan(std::str::from_utf8(sql).ok()?, true);
        let channel = sql::channel(scan.statements.first()?)?;
        let hub = self.database.hub.clone();
        let number = self.registration.handle.number;
        match (kind, channel) {
            (Kind::Listen, Channel::Named { name, written }) => {
                if self.listening.channels.len() >= CHANNELS_MAX {
                    return None;
                }
                let bytes_max = self.config.listen.notification_buffer_size;
                let mailbox = self
                    .listening
                    .mailbox
                    .get_or_insert_with(|| Arc::new(Mailbox::new(number, bytes_max)))
                    .clone();
                // Where this fails the server says why, on the session's own connection.
                hub.listen(&name, written, &mailbox).await.ok()?;
                if self.listening.is_empty() {
                    self.metrics.listens(true);
                }
                self.listening.channels.insert(name);
                Some("LISTEN")
            }
            (Kind::Unlisten, Channel::Named { name, .. }) => {
                self.unlisten(Some(&name)).await;
                Some("UNLISTEN")
            }
            (Kind::Unlisten, Channel::All) => {
                self.unlisten(None).await;
                Some("UNLISTEN")
            }
            _ => None,
        }
    }

    /// The same for a unit of the extended protocol that consists of one LISTEN or UNLISTEN: the replies up to
    /// but without ReadyForQuery.
    pub(super) async fn listen_unit(
        &mut self,
        frames: &[Frame],
        end: End,
    ) -> Option<(BytesMut, Arc<Statement>)> {
        if end != End::Sync
            || self.tx.status != TransactionStatus::Idle
            || !self.begins_to_listen(frames)
        {
            return None;
        }
        let mut parsed: Option<(Bytes, Arc<Statement>)> = None;
        let mut bound: Option<(&[u8], Arc<Statement>)> = None;
        let mut executed = false;
        let mut out = BytesMut::new();
        for frame in frames {
            match frame.tag() {
                tag::PARSE if parsed.is_none() && bound.is_none() => {
                    let parse = frontend::Parse::read(frame.body()).ok()?;
                    let statement = self.intern(parse.sql, &parse.parameter_types);
                    let taken = !parse.name.is_empty() && self.statements.get(parse.name).is_some();
                    if taken || !self.is_text(parse.name) || !parse.parameter_types.is_empty() {
                        return None;
                    }
                    parsed = Some((Bytes::copy_from_slice(parse.name), statement));
                    backend::parse_complete(&mut out);
                }
                tag::BIND if bound.is_none() => {
                    let bind = frontend::Bind::read(frame.body()).ok()?;
                    let statement = match &parsed {
                        Some((name, statement)) if name == bind.statement => statement,
                        _ => self.statements.get(bind.statement)?,
                    };
                    if !matches!(
                        statement.analysis.kind(),
                        Some(Kind::Listen | Kind::Unlisten)
                    ) || !bind.parameters.is_empty()
                        || !bind.parameter_formats.is_empty()
                        || !self.is_text(bind.portal)
                    {
                        return None;
                    }
                    bound = Some((bind.portal, statement.clone()));
                    backend::bind_complete(&mut out);
                }
                tag::DESCRIBE => {
                    let describe = frontend::Describe::read(frame.body()).ok()?;
                    let of_portal = matches!(describe.target, frontend::Target::Portal);
                    if !of_portal || bound.as_ref()?.0 != describe.name {
                        return None;
                    }
                    backend::no_data(&mut out);
                }
                tag::EXECUTE if !executed => {
                    let execute = frontend::Execute::read(frame.body()).ok()?;
                    let (portal, statement) = bound.as_ref()?;
                    if execute.portal != *portal {
                        return None;
                    }
                    executed = true;
                    let listen = statement.analysis.kind() == Some(&Kind::Listen);
                    let command = if listen { "LISTEN" } else { "UNLISTEN" };
                    backend::command_complete(&mut out, command);
                }
                tag::SYNC if executed => {}
                _ => return None,
            }
        }
        let (_, statement) = bound.filter(|_| executed)?;
        self.listen_here(&statement.analysis, &statement.sql)
            .await?;
        if let Some((name, statement)) = parsed {
            let prepared = self.as_prepared_now(statement);
            self.statements.insert(&name, prepared);
        }
        Some((out, statement))
    }

    /// A look at the unit's beginning, for every unit pays for it.
    fn begins_to_listen(&self, frames: &[Frame]) -> bool {
        let Some(first) = frames.first() else {
            return false;
        };
        match first.tag() {
            tag::PARSE => frontend::Parse::read(first.body()).is_ok_and(|parse| {
                let text = parse.sql.trim_ascii_start();
                let begins = |word: &str| {
                    text.get(..word.len())
                        .is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
                };
                begins("listen") || begins("unlisten")
            }),
            tag::BIND => frontend::Bind::read(first.body())
                .ok()
                .and_then(|bind| self.statements.get(bind.statement))
                .and_then(|statement| statement.analysis.kind())
                .is_some_and(|kind| matches!(kind, Kind::Listen | Kind::Unlisten)),
            _ => false,
        }
    }

    /// UNLISTEN has been committed: of the channel (`None` is every channel) the client is told nothing more, not even
    /// what was notified before.
    async fn unlisten(&mut self, name: Option<&str>) {
        let heard = name.is_none_or(|name| self.listening.channels.contains(name));
        self.end_listening(name).await;
        if heard && let Some(mailbox) = &self.listening.mailbox {
            mailbox.forget(|channel, _| name.is_none_or(|name| name.as_bytes() == channel));
        }
    }

    /// Hears the channel no more; `None` is every channel.
    async fn end_listening(&mut self, name: Option<&str>) {
        if self.listening.is_empty() {
            return;
        }
        let number = self.registration.handle.number;
        let hub = self.database.hub.clone();
        match name {
            Some(name) if self.listening.channels.contains(name) => {
                self.listening.channels.remove(name);
                hub.unlisten(name, number).await;
            }
            Some(_) => return,
            None => {
                self.listening.channels.clear();
                hub.unlisten_all(number).await;
            }
        }
        if self.listening.is_empty() {
            self.metrics.listens(false);
        }
    }

    /// What LISTEN and UNLISTEN mean in a unit that goes upstream.
    pub(super) fn note_listening(&mut self, analysis: &Analysis) {
        let listens = |kind: &Kind| matches!(kind, Kind::Unlisten | Kind::RollbackTo);
        if self.listening.is_empty()
            || !analysis.statements.iter().any(|facts| listens(&facts.kind))
        {
            return;
        }
        let text = String::from_utf8_lossy(&analysis.key_text);
        let scan = sql::scan(&text, true);
        for (statement, facts) in scan.statements.iter().zip(analysis.statements.iter()) {
            match (&facts.kind, sql::channel(statement)) {
                (Kind::Unlisten, Some(Channel::Named { name, .. })) => {
                    self.listening.ending.push(Some(name));
                }
                (Kind::Unlisten, _) => self.listening.ending.push(None),
                // Whether it took them back is not known. Who hears too much loses nothing.
                (Kind::RollbackTo, _) => self.listening.ending.clear(),
                _ => {}
            }
        }
    }

    /// The transaction in which UNLISTEN went upstream is over.
    pub(super) async fn settle_listening(&mut self, committed: bool, discarded_all: bool) {
        let ending = std::mem::take(&mut self.listening.ending);
        if discarded_all {
            self.unlisten(None).await;
        } else if committed {
            for name in ending {
                self.unlisten(name.as_deref()).await;
            }
        }
    }

    /// The connection that the session holds listens to these itself.
    pub(super) async fn listens_by_itself(&mut self, channels: &[String]) {
        if !channels.is_empty() {
            self.database.hub.speakers.want();
        }
        let moves = |channel: &&String| self.listening.channels.contains(*channel);
        let moved: Vec<&String> = channels.iter().filter(moves).collect();
        if moved.is_empty() {
            return;
        }
        // What was notified before that connection listened is heard here; a lost connection is told by the mailbox.
        let _ = self.database.hub.catch_up().await;
        for channel in &moved {
            self.end_listening(Some(channel)).await;
        }
        if let Some(mailbox) = &self.listening.mailbox {
            // The transaction that listens hears its own, too.
            mailbox.forget(|channel, sender| {
                sender == mailbox.number && moved.iter().any(|name| name.as_bytes() == channel)
            });
        }
    }

    /// Where the server is to say what the session listens to, its connection has to know.
    pub(super) async fn listen_on(
        &mut self,
        lease: &mut Lease,
        deadline: std::time::Instant,
    ) -> Result<(), UpstreamError> {
        let mut sql = String::new();
        for channel in &self.listening.channels {
            sql.push_str(&format!("LISTEN \"{}\";", channel.replace('"', "\"\"")));
        }
        self.unnamed_upstream = None;
        lease.simple(&sql, deadline.into()).await?;
        self.end_listening(None).await;
        Ok(())
    }

    /// Whether the statement asks what the session listens to.
    pub(super) fn asks_for_channels(&self, analysis: &Analysis) -> bool {
        !self.listening.is_empty()
            && analysis.statements.iter().any(|facts| {
                let functions = facts.functions.iter();
                functions
                    .into_iter()
                    .any(|function| function.name.name == "pg_listening_channels")
            })
    }

    /// Queues what has come for the client, before ReadyForQuery of a unit that ended outside a transaction.
    /// `notified`: the unit may have sent a notification, which the session is to hear first.
    pub(super) async fn hand_over(&mut self, notified: bool) {
        if self.listening.is_empty() {
            return;
        }
        if notified {
            // A lost connection is told by the mailbox.
            let _ = self.database.hub.catch_up().await;
        }
        if let Some(mailbox) = &self.listening.mailbox {
            // Trouble ends the session once the client has its answer.
            let _ = mailbox.take(&mut self.client.output);
        }
    }

    /// Something has come while the client asked for nothing.
    pub(super) async fn deliver(&mut self) -> Result<(), Ending> {
        let Some(mailbox) = &self.listening.mailbox else {
            return Ok(());
        };
        let taken = mailbox.take(&mut self.client.output);
        let (end, report) = match taken {
            Ok(()) => return self.send_or_end().await,
            Err(Trouble::Lost) => (
                ListenerEnd::Lost,
                ErrorReport::fatal(
                    SqlState::CONNECTION_FAILURE,
                    "the upstream connection on which this session listens was lost",
                )
                .with_hint("Connect and LISTEN again; what was notified meanwhile is not known."),
            ),
            Err(Trouble::Full) => (
                ListenerEnd::Full,
                ErrorReport::fatal(
                    SqlState::PROGRAM_LIMIT_EXCEEDED,
                    "more notifications wait for this session than listen.notification_buffer_size allows",
                ),
            ),
        };
        self.metrics.listener_ended(end);
        Err(Ending::Fatal(report))
    }

    /// The session ends.
    pub(super) async fn stop_listening(&mut self) {
        self.end_listening(None).await;
    }

    /// A notification names the backend that sent it; the client knows the session that it spoke for.
    pub(super) fn speaks_on(&self, lease: &Lease) {
        let number = self.registration.handle.number;
        self.database.hub.speakers.speaks_for(lease.pid, number);
    }
}
