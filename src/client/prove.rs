//! A client proves who it is.

use std::sync::Arc;

use crate::auth::{
    AuthError, Channel, LoginSecret, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramServer, Verifier,
    md5_matches, random_bytes,
};
use crate::config::AuthType;
use crate::wire::{Frame, backend, frontend, tag, take_frame};

use super::connection::Connection;
use super::error::ClientError;
use super::greet::Reception;
use super::users::{KnownUser, UserDirectory};

/// The longest message that may carry a password or a proof, in bytes.
const MESSAGE_LEN_MAX: usize = 64 << 10;

/// Who somebody says to be.
pub(super) struct Claim<'a> {
    pub(super) user: &'a str,
    pub(super) database: &'a str,
    /// What SCRAM may be bound to.
    pub(super) end_point: Option<Arc<[u8]>>,
}

impl Claim<'_> {
    fn failed(&self, source: AuthError) -> ClientError {
        ClientError::Auth {
            user: self.user.to_owned(),
            source,
        }
    }
}

/// Asks for the proof and checks it; gives what logs the user in upstream, if the
/// proof has shown it. What goes with the client's success (the last message of
/// SCRAM) is left in `output`.
pub(super) async fn prove(
    connection: &mut Connection,
    reception: &Reception<'_>,
    claim: &Claim<'_>,
) -> Result<Option<LoginSecret>, ClientError> {
    if reception.auth == AuthType::Trust {
        return Ok(None);
    }
    let (known, is_found) = match (reception.users.find(claim.user), reception.lookup) {
        (None, Some(lookup)) => {
            let found = lookup.find(claim.user, claim.database).await;
            (found.map_err(ClientError::Lookup)?, true)
        }
        (listed, _) => (listed, false),
    };
    let is_scram = match reception.auth {
        AuthType::ScramSha256 => true,
        // As PostgreSQL: its md5 takes SCRAM from those who have only a SCRAM secret.
        _ => known.as_ref().is_some_and(|known| known.is_scram_only()),
    };
    let proven = match is_scram {
        true => scram(connection, reception.users, known.as_deref(), claim).await,
        false => md5(connection, known.as_deref(), claim).await,
    };
    if let (Err(ClientError::Auth { .. }), true, Some(lookup)) =
        (&proven, is_found, reception.lookup)
    {
        lookup.forget(claim.user, claim.database);
    }
    // The password is worth more than what the exchange has shown.
    match known.as_ref().and_then(|known| known.password()) {
        Some(password) => proven.map(|_| Some(LoginSecret::Password(password.clone()))),
        None => proven,
    }
}

async fn scram(
    connection: &mut Connection,
    users: &UserDirectory,
    known: Option<&KnownUser>,
    claim: &Claim<'_>,
) -> Result<Option<LoginSecret>, ClientError> {
    let failed = |source| claim.failed(source);
    let end_point = claim.end_point.clone();
    let offered: &[&str] = match end_point {
        Some(_) => &[SCRAM_SHA_256_PLUS, SCRAM_SHA_256],
        None => &[SCRAM_SHA_256],
    };
    backend::authentication_sasl(&mut connection.output, offered);
    connection.flush().await?;
    let mut frame = read_message(connection, "SASL").await?;
    let initial = frontend::SaslInitial::read(frame.body())?;
    let channel = if initial.mechanism == SCRAM_SHA_256.as_bytes() {
        match end_point {
            Some(_) => Channel::Declined,
            None => Channel::Unbound,
        }
    } else if initial.mechanism == SCRAM_SHA_256_PLUS.as_bytes() {
        Channel::Bound(end_point.ok_or(ClientError::Mechanism)?)
    } else {
        return Err(ClientError::Mechanism);
    };
    let (keys, is_known) = users.scram_keys(claim.user, known);
    let mut server = ScramServer::over(channel, keys, is_known);
    let challenge = match initial.data {
        Some(first) => server.first(first),
        None => {
            // The client names its mechanism first and waits to be asked.
            backend::authentication_sasl_continue(&mut connection.output, b"");
            connection.flush().await?;
            frame = read_message(connection, "SASL").await?;
            server.first(frame.body())
        }
    }
    .map_err(failed)?;
    backend::authentication_sasl_continue(&mut connection.output, &challenge);
    connection.flush().await?;
    let frame = read_message(connection, "SASL").await?;
    let proof = server.last(frame.body()).map_err(failed)?;
    backend::authentication_sasl_final(&mut connection.output, &proof);
    Ok(server
        .client_keys()
        .map(|keys| LoginSecret::Scram(Arc::new(keys))))
}

async fn md5(
    connection: &mut Connection,
    known: Option<&KnownUser>,
    claim: &Claim<'_>,
) -> Result<Option<LoginSecret>, ClientError> {
    let salt = random_bytes().map_err(|source| claim.failed(source))?;
    backend::authentication_md5(&mut connection.output, salt);
    connection.flush().await?;
    let frame = read_message(connection, "password").await?;
    let response = frontend::read_password(frame.body())?;
    let verifier = known.and_then(|known| known.md5_verifier(claim.user));
    if !md5_matches(verifier.as_ref(), salt, response) {
        return Err(claim.failed(AuthError::Failed));
    }
    match verifier {
        Some(Verifier::Md5(digits)) => Ok(Some(LoginSecret::Md5(digits))),
        _ => Ok(None),
    }
}

async fn read_message(
    connection: &mut Connection,
    expected: &'static str,
) -> Result<Frame, ClientError> {
    loop {
        // Before its length is believed: who does not send a password may send anything.
        match connection.input.first() {
            Some(&tag) if tag != tag::frontend::PASSWORD => {
                return Err(ClientError::UnexpectedMessage { expected, tag });
            }
            _ => (),
        }
        if let Some(frame) = take_frame(&mut connection.input, MESSAGE_LEN_MAX)? {
            return Ok(frame);
        }
        if connection.fill().await? == 0 {
            return Err(ClientError::Closed);
        }
    }
}
