//! What can go wrong between here and PostgreSQL.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::time::Instant;

use crate::config::TargetSessionAttrs;
use crate::hosts::none_fits;
use crate::wire::{ErrorReport, Frame, HEADER_LEN, SqlState, WireError, backend};

/// Upstream failed, or said no. Cheap to clone: one failure may be the answer
/// to several who waited for it.
#[derive(Debug, Clone, Error)]
pub enum UpstreamError {
    /// The server cannot be reached.
    #[error("could not connect to {address}: {source}")]
    Connect {
        address: String,
        source: Arc<io::Error>,
    },
    /// Connecting and logging in took longer than `server_connect_timeout`.
    #[error("no login within {0:?}")]
    ConnectTimeout(Duration),
    /// The TLS handshake failed, or the certificate is not what was asked for.
    #[error("TLS with {address}: {source}")]
    Tls {
        address: String,
        source: Arc<io::Error>,
    },
    /// `server_tls_sslmode` demands TLS, which the server does not speak.
    #[error("the server does not support TLS, which server_tls_sslmode demands")]
    NoTls,
    /// The server asks for a password and none is known for this user.
    #[error("the server asks for a password of user \"{user}\" and none is configured")]
    NoPassword { user: String },
    /// The server keeps another SCRAM secret of the user than the one that its login has shown.
    #[error(
        "the server keeps another SCRAM secret of user \"{user}\" than the one that is known here"
    )]
    OtherSecret { user: String },
    /// The server asks for something that is not spoken here, or could not
    /// prove that it knows the password.
    #[error("authentication: {0}")]
    Authentication(String),
    /// The server refused the login. `report` is its whole ErrorResponse.
    #[error("the server refused the login: {sqlstate} {message}")]
    Refused {
        report: Bytes,
        sqlstate: SqlState,
        message: String,
    },
    /// The server answered a control statement with an error; the connection
    /// still stands unless the severity was FATAL. `report` is its whole
    /// ErrorResponse.
    #[error("the server said {sqlstate} {message}")]
    Server {
        report: Bytes,
        sqlstate: SqlState,
        message: String,
    },
    /// The connection was lost.
    #[error("the connection to the server was lost: {0}")]
    Lost(Arc<io::Error>),
    /// The server sent something that cannot be; the connection is given up.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    /// A control statement was not done in time; the connection is given up.
    #[error("the server did not answer in time")]
    Deadline,
    /// A row of a control statement is not UTF-8 text.
    #[error("the server answered with text that is not UTF-8")]
    Encoding,
    /// Servers were reached, and none is what `target_session_attrs` wants.
    #[error("{}", none_fits(*.0))]
    NoneFits(TargetSessionAttrs),
    /// The server does not tell a replication connection whether it is in recovery: it is older than
    /// PostgreSQL 14, and `default_transaction_read_only` is on.
    #[error("the server does not tell replication connections whether it is in recovery")]
    Unjudged,
    /// It leads to another server than that of the guard.
    #[error("{0}")]
    Unproven(String),
    /// No place was left when this connection was to be opened.
    #[error("no place is left for a new connection")]
    NoPlace,
}

impl UpstreamError {
    /// Lost at the end of the stream.
    pub(super) fn closed() -> Self {
        Self::Lost(Arc::new(io::ErrorKind::UnexpectedEof.into()))
    }

    pub(super) fn refused(frame: Frame) -> Self {
        let (sqlstate, message) = read_report(&frame);
        Self::Refused {
            report: frame.into_bytes(),
            sqlstate,
            message,
        }
    }

    pub(super) fn server(frame: Frame) -> Self {
        let (sqlstate, message) = read_report(&frame);
        Self::Server {
            report: frame.into_bytes(),
            sqlstate,
            message,
        }
    }

    /// The server's own ErrorResponse, whole, to be passed on as it is.
    pub fn frame(&self) -> Option<&Bytes> {
        match self {
            Self::Refused { report, .. } | Self::Server { report, .. } => Some(report),
            _ => None,
        }
    }

    /// Whether it may be over soon, or elsewhere be otherwise: where there are several servers, one waits
    /// and tries again.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::ConnectTimeout(_)
            | Self::Lost(_)
            | Self::Deadline
            | Self::NoneFits(_)
            | Self::Unproven(_)
            | Self::NoPlace => true,
            Self::Refused { sqlstate, .. } | Self::Server { sqlstate, .. } => matches!(
                *sqlstate,
                SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN | SqlState::CANNOT_CONNECT_NOW
            ),
            Self::Tls { .. }
            | Self::NoTls
            | Self::NoPassword { .. }
            | Self::OtherSecret { .. }
            | Self::Authentication(_)
            | Self::Protocol(_)
            | Self::Unjudged
            | Self::Encoding => false,
        }
    }

    /// Whether this connection has ended, for no fault of what was asked on it.
    pub fn is_departure(&self) -> bool {
        match self {
            Self::Lost(_) => true,
            Self::Server { sqlstate, .. } => matches!(
                *sqlstate,
                SqlState::ADMIN_SHUTDOWN
                    | SqlState::CRASH_SHUTDOWN
                    // Of the role or the database; a session's own stays with pgditto.
                    | SqlState::IDLE_SESSION_TIMEOUT
            ),
            _ => false,
        }
    }

    /// Whether the login came to its end, and that was a no: the same will be refused again.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Refused { sqlstate, .. } => {
                [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION].contains(sqlstate)
            }
            Self::NoPassword { .. } | Self::OtherSecret { .. } | Self::Authentication(_) => true,
            _ => false,
        }
    }

    /// The SQLSTATE of the server's report, or the one that we raise for it.
    pub fn sqlstate(&self) -> SqlState {
        match self {
            Self::Refused { sqlstate, .. } | Self::Server { sqlstate, .. } => *sqlstate,
            Self::Connect { .. } | Self::ConnectTimeout(_) | Self::NoneFits(_) | Self::NoPlace => {
                SqlState::CANNOT_CONNECT_NOW
            }
            Self::NoPassword { .. } | Self::OtherSecret { .. } | Self::Authentication(_) => {
                SqlState::INVALID_AUTHORIZATION
            }
            Self::Unjudged => SqlState::FEATURE_NOT_SUPPORTED,
            Self::Tls { .. }
            | Self::NoTls
            | Self::Lost(_)
            | Self::Protocol(_)
            | Self::Unproven(_)
            | Self::Deadline
            | Self::Encoding => SqlState::CONNECTION_FAILURE,
        }
    }

    /// What a client is told if there is no report of the server's. Names no
    /// address and no internal text.
    pub fn report(&self) -> ErrorReport {
        let message = match self {
            Self::Refused {
                message, report, ..
            }
            | Self::Server {
                message, report, ..
            } => {
                let mut told = ErrorReport::fatal(self.sqlstate(), message.clone());
                let fields = report.get(HEADER_LEN..).unwrap_or_default();
                if let Ok(fields) = backend::Fields::read(fields) {
                    let text = |field| {
                        let text = String::from_utf8_lossy(fields.get(field)?);
                        Some(text.into_owned().into())
                    };
                    told.detail = text(b'D');
                    told.hint = text(b'H');
                }
                return told;
            }
            Self::Connect { .. } => "the upstream server cannot be reached",
            Self::ConnectTimeout(_) => "the upstream server did not complete the login in time",
            Self::Tls { .. } => "the TLS handshake with the upstream server failed",
            Self::NoTls => "the upstream server does not support TLS",
            Self::NoPassword { .. } => {
                return ErrorReport::fatal(
                    self.sqlstate(),
                    "no password for the upstream server is known for this user",
                )
                .with_hint("Give the user a password in [[users]].");
            }
            Self::OtherSecret { .. } => {
                return ErrorReport::fatal(
                    self.sqlstate(),
                    "authentication with the upstream server failed",
                )
                .with_hint("The user's password may have changed: connect again.");
            }
            Self::Authentication(_) => "authentication with the upstream server failed",
            Self::Lost(_) => "the connection to the upstream server was lost",
            Self::NoneFits(wanted) => none_fits(*wanted),
            Self::Unjudged => {
                "the upstream server does not tell replication connections whether it is in recovery"
            }
            Self::Unproven(_) => "the upstream server is being replaced by another",
            Self::Protocol(_) | Self::Encoding => "the upstream server sent an unexpected message",
            Self::Deadline => "the upstream server did not answer in time",
            Self::NoPlace => "no upstream connection is free",
        };
        ErrorReport::fatal(self.sqlstate(), message)
    }
}

impl From<io::Error> for UpstreamError {
    fn from(error: io::Error) -> Self {
        Self::Lost(Arc::new(error))
    }
}

impl From<WireError> for UpstreamError {
    fn from(error: WireError) -> Self {
        Self::Protocol(error.to_string())
    }
}

fn read_report(frame: &Frame) -> (SqlState, String) {
    let Ok(fields) = backend::Fields::read(frame.body()) else {
        return (SqlState::INTERNAL_ERROR, String::new());
    };
    let message = fields.get(b'M').unwrap_or_default();
    (fields.code(), String::from_utf8_lossy(message).into_owned())
}

/// Why no connection was leased.
#[derive(Debug, Clone, Error)]
pub enum LeaseError {
    /// None became free in time.
    #[error("no upstream connection became free within {waited:?}, {pinned} are pinned")]
    Timeout { waited: Duration, pinned: usize },
    /// A new connection was needed and failed.
    #[error(transparent)]
    Connect(#[from] UpstreamError),
    /// The pool was paused all the time.
    #[error("the pool is paused")]
    Paused,
    /// KILL is in force.
    #[error("the pool was killed by an administrator")]
    Killed,
    /// The process ends.
    #[error("shutting down")]
    ShuttingDown,
}

impl LeaseError {
    /// The server's own ErrorResponse if there is one.
    pub fn frame(&self) -> Option<&Bytes> {
        match self {
            Self::Connect(error) => error.frame(),
            _ => None,
        }
    }

    /// What a client is told if there is no report of the server's.
    pub fn report(&self) -> ErrorReport {
        match self {
            Self::Timeout { pinned, .. } => {
                let report = ErrorReport::fatal(
                    SqlState::TOO_MANY_CONNECTIONS,
                    "no upstream connection became free within query_wait_timeout",
                );
                match pinned {
                    0 => report,
                    _ => report.with_detail(format!(
                        "{pinned} upstream connections are pinned by sessions (see SHOW PINS)."
                    )),
                }
            }
            Self::Connect(error) => error.report(),
            Self::Paused => ErrorReport::fatal(SqlState::CANNOT_CONNECT_NOW, "the pool is paused"),
            Self::Killed => ErrorReport::fatal(
                SqlState::ADMIN_SHUTDOWN,
                "terminating connection due to administrator command",
            ),
            Self::ShuttingDown => ErrorReport::fatal(
                SqlState::ADMIN_SHUTDOWN,
                "terminating connection due to shutdown",
            ),
        }
    }
}

/// A connect that failed and until when its error answers for the server.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub error: UpstreamError,
    pub until: Instant,
}
