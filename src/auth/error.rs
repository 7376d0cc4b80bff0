//! What can go wrong while a password is being proven.

use crate::wire::{ErrorReport, SqlState};

/// Every variant ends the connection that it happened on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The client's proof is wrong, or there is nothing that it could prove.
    #[error("password authentication failed")]
    Failed,
    /// The peer's message is not one of SCRAM's.
    #[error("malformed SCRAM message ({0})")]
    Malformed(&'static str),
    /// The peer asks for something of SCRAM's that PostgreSQL does not do either.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The peer's message does not continue this exchange.
    #[error("invalid SCRAM response ({0})")]
    Response(&'static str),
    /// The client knows channel binding and was told that we do not: by somebody in between.
    #[error("SCRAM channel binding negotiation error")]
    Downgraded,
    /// The client saw another certificate than ours.
    #[error("SCRAM channel binding check failed")]
    BindingMismatch,
    #[error("unsupported SCRAM channel-binding type")]
    BindingType,
    /// Upstream wants more work than a password is worth.
    #[error("the server asks for {0} iterations, more than {max}", max = super::scram::ITERATIONS_MAX)]
    Iterations(u32),
    /// Upstream refused our proof; the word is SCRAM's, such as `invalid-proof`.
    #[error("the server refused the SCRAM exchange: {0}")]
    Refused(String),
    /// Upstream could not prove that it knows the password.
    #[error("incorrect server signature: the server does not know this password")]
    ServerSignature,
    /// The server keeps another verifier than the one that the client's keys belong to.
    #[error("the server's SCRAM secret of this user is not the one that is known here")]
    OtherVerifier,
    /// A configured verifier is neither `SCRAM-SHA-256$…` nor `md5…`.
    #[error("neither a SCRAM-SHA-256 nor an md5 verifier")]
    Verifier,
    #[error("no random bytes")]
    Random,
}

impl AuthError {
    /// What a client that logs in as `user` is told.
    pub fn report(&self, user: &str) -> ErrorReport {
        match self {
            AuthError::Malformed(detail) => {
                ErrorReport::fatal(SqlState::PROTOCOL_VIOLATION, "malformed SCRAM message")
                    .with_detail(*detail)
            }
            AuthError::Unsupported(message) => {
                ErrorReport::fatal(SqlState::FEATURE_NOT_SUPPORTED, *message)
            }
            AuthError::Response(detail) => {
                ErrorReport::fatal(SqlState::PROTOCOL_VIOLATION, "invalid SCRAM response")
                    .with_detail(*detail)
            }
            AuthError::Downgraded => {
                ErrorReport::fatal(SqlState::INVALID_AUTHORIZATION, self.to_string()).with_detail(
                    "The client supports SCRAM channel binding but thinks the server does not. However, this server does support channel binding.",
                )
            }
            AuthError::BindingMismatch => {
                ErrorReport::fatal(SqlState::INVALID_AUTHORIZATION, self.to_string())
            }
            AuthError::BindingType => {
                ErrorReport::fatal(SqlState::PROTOCOL_VIOLATION, self.to_string())
            }
            AuthError::Random => {
                ErrorReport::fatal(SqlState::INTERNAL_ERROR, "could not generate random nonce")
            }
            AuthError::Failed
            | AuthError::Iterations(_)
            | AuthError::Refused(_)
            | AuthError::ServerSignature
            | AuthError::OtherVerifier
            | AuthError::Verifier => ErrorReport::fatal(
                SqlState::INVALID_PASSWORD,
                format!("password authentication failed for user \"{user}\""),
            )
            .in_routine("auth_failed"),
        }
    }
}
