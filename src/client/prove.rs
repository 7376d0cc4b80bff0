//! A client proves who it is.

use std::sync::Arc;

use crate::auth::{
    AuthError, Channel, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramServer, md5_matches, random_bytes,
};
use crate::config::AuthType;
use crate::wire::{Frame, backend, frontend, tag, take_frame};

use super::connection::Connection;
use super::error::ClientError;
use super::users::UserDirectory;

/// The longest message that may carry a password or a proof, in bytes.
const MESSAGE_LEN_MAX: usize = 64 << 10;

/// Asks for the proof and checks it. What goes with the client's success (the
/// last message of SCRAM) is left in `output`. With `end_point` SCRAM may be bound
/// to the TLS connection.
pub(super) async fn prove(
    connection: &mut Connection,
    auth: AuthType,
    users: &UserDirectory,
    user: &str,
    end_point: Option<Arc<[u8]>>,
) -> Result<(), ClientError> {
    match auth {
        AuthType::Trust => Ok(()),
        AuthType::ScramSha256 => scram(connection, users, user, end_point).await,
        AuthType::Md5 => md5(connection, users, user).await,
    }
}

async fn scram(
    connection: &mut Connection,
    users: &UserDirectory,
    user: &str,
    end_point: Option<Arc<[u8]>>,
) -> Result<(), ClientError> {
    let failed = |source| ClientError::Auth {
        user: user.to_owned(),
        source,
    };
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
    let (keys, known) = users.scram_keys(user);
    let mut server = ScramServer::over(channel, keys, known);
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
    Ok(())
}

async fn md5(
    connection: &mut Connection,
    users: &UserDirectory,
    user: &str,
) -> Result<(), ClientError> {
    let failed = |source| ClientError::Auth {
        user: user.to_owned(),
        source,
    };
    let salt = random_bytes().map_err(failed)?;
    backend::authentication_md5(&mut connection.output, salt);
    connection.flush().await?;
    let frame = read_message(connection, "password").await?;
    let response = frontend::read_password(frame.body())?;
    if md5_matches(users.md5_verifier(user).as_ref(), salt, response) {
        Ok(())
    } else {
        Err(failed(AuthError::Failed))
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
