//! Why a connection did not come to a login.

use std::io;

use crate::auth::AuthError;
use crate::wire::{ErrorReport, SqlState, WireError};

/// Nothing survives any of them: the connection is closed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The client went away before it logged in, as health checks do.
    #[error("the client closed the connection")]
    Closed,
    #[error("connection to the client lost: {0}")]
    Io(#[from] io::Error),
    #[error("TLS handshake failed: {0}")]
    Handshake(io::Error),
    /// The client broke the protocol.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Bytes in clear came with a request for encryption. Taken for the first
    /// encrypted ones, they would be what somebody in between wants us to read.
    #[error("received unencrypted data after {request}")]
    EarlyData { request: &'static str },
    #[error("connection requires TLS")]
    TlsRequired,
    #[error("received direct SSL connection request without ALPN protocol negotiation extension")]
    NoAlpn,
    /// Another message than the one that carries a password or a proof.
    #[error("expected {expected} response, got message type {tag}")]
    UnexpectedMessage { expected: &'static str, tag: u8 },
    #[error("client selected an invalid SASL authentication mechanism")]
    Mechanism,
    /// No rule lets this client in, or it is not whom it says: in words for the client.
    #[error("{0}")]
    NotAdmitted(String),
    /// Nobody could be asked about the user.
    #[error("{}", .0.message)]
    Lookup(ErrorReport),
    #[error("user \"{user}\": {source}")]
    Auth { user: String, source: AuthError },
}

impl ClientError {
    /// What the client is told; `None` if nobody is there to be told.
    pub fn report(&self) -> Option<ErrorReport> {
        let protocol_violation =
            || ErrorReport::fatal(SqlState::PROTOCOL_VIOLATION, self.to_string());
        Some(match self {
            ClientError::Closed | ClientError::Io(_) | ClientError::Handshake(_) => return None,
            ClientError::Wire(error) => {
                let mut report = error.report();
                report.severity = crate::wire::Severity::Fatal;
                report
            }
            ClientError::EarlyData { .. } => protocol_violation().with_detail(
                "This could be either a client-software bug or evidence of an attempted man-in-the-middle attack.",
            ),
            ClientError::TlsRequired => {
                ErrorReport::fatal(SqlState::INVALID_AUTHORIZATION, self.to_string())
                    .with_hint("Connect with sslmode=require or stronger.")
            }
            ClientError::NoAlpn
            | ClientError::UnexpectedMessage { .. }
            | ClientError::Mechanism => protocol_violation(),
            ClientError::NotAdmitted(message) => {
                ErrorReport::fatal(SqlState::INVALID_AUTHORIZATION, message.clone())
            }
            ClientError::Lookup(report) => report.clone(),
            ClientError::Auth { user, source } => source.report(user),
        })
    }
}
