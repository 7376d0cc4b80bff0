//! The console: psql, and every tool made for PgBouncer, on the virtual database `pgbouncer`.
//!
//! It speaks the simple and the extended protocol over a [`Connection`] that is already logged in,
//! and answers from a [`House`]. Statements and portals live here as long as the
//! connection does. Nothing of it ever reaches the server.

mod command;
mod driver;
mod encode;
mod extended;
mod lexer;
mod run;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use super::house::{House, Role};
use crate::client::Connection;
use crate::wire::{
    ErrorReport, Frame, Severity, SqlState, TransactionStatus, WireError, backend, frontend, tag,
    take_frame,
};
use command::Command;
use extended::Prepared;
use run::Reply;

/// The names of the virtual database.
pub const DATABASES: [&str; 2] = ["pgbouncer", "pgditto"];

/// The longest message that is read. Nothing that the console understands is near it.
const FRAME_LEN_MAX: usize = 64 << 10;

/// Who has logged in.
pub struct Visitor<'a> {
    pub user: &'a str,
    /// For BackendKeyData, and with it for CancelRequest.
    pub pid: u32,
    pub key: Bytes,
    /// Told when the visitor's command is to be cancelled.
    pub cancelled: &'a Notify,
}

/// Answers until the client leaves. To be called after AuthenticationOk. Cancel-safe in that
/// dropping it closes the connection and leaves nothing half done.
///
/// # Errors
/// The stream's. A client without a role is told so, and that is no error.
pub async fn serve(
    connection: Connection,
    visitor: Visitor<'_>,
    house: Arc<dyn House>,
) -> io::Result<()> {
    let mut console = Console {
        connection,
        visitor,
        house,
        prepared: Prepared::default(),
        status: TransactionStatus::Idle,
        skipping: false,
    };
    if console.greet() {
        console.connection.flush().await?;
        console.converse().await?;
    }
    console.connection.flush().await
}

struct Console<'a> {
    connection: Connection,
    visitor: Visitor<'a>,
    house: Arc<dyn House>,
    prepared: Prepared,
    /// Of the pretended transaction of drivers that begin one.
    status: TransactionStatus,
    /// After an error in the extended protocol nothing is heard until Sync.
    skipping: bool,
}

/// Whether the conversation goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Continue,
    Close,
}

impl Console<'_> {
    /// False if the visitor has no business here.
    fn greet(&mut self) -> bool {
        let out = &mut self.connection.output;
        let Some(role) = self.house.role(self.visitor.user) else {
            let report = ErrorReport::fatal(SqlState::INVALID_AUTHORIZATION, "not allowed")
                .with_hint("The console is for the users of admin_users and stats_users.");
            backend::error(out, &report);
            return false;
        };
        for (name, value) in driver::PARAMETERS {
            backend::parameter_status_message(out, name.as_bytes(), value.as_bytes());
        }
        let superuser: &[u8] = if role == Role::Admin { b"on" } else { b"off" };
        backend::parameter_status_message(out, b"is_superuser", superuser);
        let user = self.visitor.user.as_bytes();
        backend::parameter_status_message(out, b"session_authorization", user);
        backend::backend_key_data(out, self.visitor.pid, &self.visitor.key);
        backend::ready_for_query(out, self.status);
        true
    }

    async fn converse(&mut self) -> io::Result<()> {
        loop {
            match take_frame(&mut self.connection.input, FRAME_LEN_MAX) {
                Ok(Some(frame)) => {
                    if self.hear(&frame).await? == Next::Close {
                        return Ok(());
                    }
                }
                Ok(None) => {
                    // What was answered leaves before the next request is waited for.
                    self.connection.flush().await?;
                    if self.connection.fill().await? == 0 {
                        return Ok(());
                    }
                }
                Err(error) => {
                    let report = ErrorReport {
                        severity: Severity::Fatal,
                        ..error.report()
                    };
                    backend::error(&mut self.connection.output, &report);
                    return Ok(());
                }
            }
        }
    }

    async fn hear(&mut self, frame: &Frame) -> io::Result<Next> {
        use tag::frontend as from_client;
        match frame.tag() {
            from_client::TERMINATE => return Ok(Next::Close),
            from_client::SYNC => {
                self.skipping = false;
                if self.status == TransactionStatus::Idle {
                    self.prepared.close_portals();
                }
                self.ready();
            }
            from_client::FLUSH => self.connection.flush().await?,
            _ if self.skipping => (),
            from_client::QUERY => return self.query(frame).await,
            from_client::FUNCTION_CALL => {
                let what = "function calls are not supported";
                let report = ErrorReport::error(SqlState::FEATURE_NOT_SUPPORTED, what);
                backend::error(&mut self.connection.output, &report);
                self.ready();
            }
            // What is left of a COPY that we never began.
            from_client::COPY_DATA | from_client::COPY_DONE | from_client::COPY_FAIL => (),
            _ => return self.extended(frame).await,
        }
        Ok(Next::Continue)
    }

    /// A Query: every command of the string, until one fails.
    async fn query(&mut self, frame: &Frame) -> io::Result<Next> {
        match self.commands(frame) {
            Err(report) => backend::error(&mut self.connection.output, &report),
            Ok(commands) if commands.is_empty() => {
                backend::empty_query(&mut self.connection.output);
            }
            Ok(commands) => {
                for command in commands {
                    match self.run(&command).await? {
                        Some(Ok(reply)) => self.put(&reply),
                        Some(Err(report)) => {
                            backend::error(&mut self.connection.output, &report);
                            break;
                        }
                        None => return Ok(Next::Close),
                    }
                }
            }
        }
        self.prepared.close_unnamed();
        self.ready();
        Ok(Next::Continue)
    }

    /// All of them are read before the first is carried out, as PostgreSQL does.
    fn commands(&self, frame: &Frame) -> Result<Vec<Command>, ErrorReport> {
        let query = frontend::Query::read(frame.body()).map_err(report)?;
        Command::parse_all(utf8(query.sql)?)
    }

    /// A whole reply of the simple protocol.
    fn put(&mut self, reply: &Reply) {
        let out = &mut self.connection.output;
        for notice in &reply.notices {
            backend::notice(out, notice);
        }
        if let Some(table) = &reply.table {
            let formats = encode::Formats::default();
            encode::description(out, table.columns, &formats);
            for row in &table.rows {
                encode::data_row(out, table.columns, row, &formats);
            }
        }
        backend::command_complete(out, &reply.tag);
    }

    fn ready(&mut self) {
        backend::ready_for_query(&mut self.connection.output, self.status);
    }
}

/// A malformed message, as an error of the statement only: its length was right.
fn report(error: WireError) -> ErrorReport {
    ErrorReport {
        severity: Severity::Error,
        ..error.report()
    }
}

fn utf8(text: &[u8]) -> Result<&str, ErrorReport> {
    std::str::from_utf8(text).map_err(|_| {
        ErrorReport::error(
            SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            "invalid byte sequence for encoding \"UTF8\"",
        )
    })
}
