//! A client proves who it is.

use std::sync::Arc;

use bytes::Buf;
use zeroize::{Zeroize, Zeroizing};

use crate::auth::hba::{ClientCert, IdentMaps, Method, NeedsRoles, Visit};
use crate::auth::{
    AuthError, Channel, LoginSecret, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramKeys, ScramServer,
    Verifier, md5_matches, random_bytes,
};
use crate::config::{AuthType, Secret};
use crate::wire::{
    Frame, HEADER_LEN, Replication, WireError, backend, frame_header, frontend, tag, take_frame,
};

use super::connection::Connection;
use super::error::ClientError;
use super::greet::Reception;
use super::identity::{certificate_name, system_user};
use super::networks::{is_own, own_networks};
use super::passthrough::is_private;
use super::peer::Peer;
use super::users::{KnownUser, UserDirectory};

/// The longest message that may carry a password or a proof, in bytes.
const MESSAGE_LEN_MAX: usize = 64 << 10;

/// Who somebody says to be.
pub(super) struct Claim<'a> {
    pub(super) user: &'a str,
    pub(super) database: &'a str,
    pub(super) replication: Option<Replication>,
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

/// What a client has to prove, and by what.
struct Demand<'a> {
    method: Method,
    client_cert: Option<ClientCert>,
    map: Option<&'a str>,
}

/// Asks for the proof and checks it; gives what logs the user in upstream, if the
/// proof has shown it. What goes with the client's success (the last message of
/// SCRAM) is left in `output`.
pub(super) async fn prove(
    connection: &mut Connection,
    reception: &Reception<'_>,
    claim: &Claim<'_>,
) -> Result<Option<LoginSecret>, ClientError> {
    let demand = demand(connection, reception, claim).await?;
    let certificate = certificate_name(&connection.stream);
    if demand.client_cert.is_some() && certificate.is_none() {
        let message = "connection requires a valid client certificate";
        return Err(ClientError::NotAdmitted(message.into()));
    }
    let may_be = |system: Option<String>, method: &str| {
        let none = IdentMaps::default();
        let maps = reception.rules.map_or(&none, |rules| &rules.maps);
        match system.filter(|system| maps.allows(demand.map, system, claim.user)) {
            Some(_) => Ok(()),
            None => Err(ClientError::NotAdmitted(format!(
                "{method} authentication failed for user \"{}\"",
                claim.user
            ))),
        }
    };
    let secret = match demand.method {
        Method::Trust | Method::Cert => None,
        Method::Reject => {
            let who = described(connection, claim);
            return Err(ClientError::NotAdmitted(format!(
                "pg_hba.conf rejects connection for {who}"
            )));
        }
        Method::Peer => {
            may_be(system_user(&connection.stream), "Peer")?;
            None
        }
        Method::Passthrough => Some(pass_through(connection, reception, claim).await?),
        Method::Md5 | Method::Password | Method::ScramSha256 => {
            by_password(connection, reception, claim, demand.method).await?
        }
    };
    if demand.client_cert == Some(ClientCert::VerifyFull) {
        may_be(certificate.flatten(), "certificate")?;
    }
    Ok(secret)
}

async fn demand<'a>(
    connection: &Connection,
    reception: &Reception<'a>,
    claim: &Claim<'_>,
) -> Result<Demand<'a>, ClientError> {
    let of = |method| Demand {
        method,
        client_cert: None,
        map: None,
    };
    match reception.auth {
        AuthType::Trust => Ok(of(Method::Trust)),
        AuthType::ScramSha256 => Ok(of(Method::ScramSha256)),
        AuthType::Md5 => Ok(of(Method::Md5)),
        AuthType::Passthrough => Ok(of(Method::Passthrough)),
        AuthType::Cert => Ok(Demand {
            client_cert: Some(ClientCert::VerifyFull),
            ..of(Method::Cert)
        }),
        AuthType::Hba => {
            let address = match connection.peer {
                Peer::Tcp(address) => Some(address.ip()),
                Peer::Unix => None,
                Peer::Unknown => return Err(ClientError::Closed),
            };
            let rules = reception.rules;
            let decide = |roles| {
                let visit = Visit {
                    address,
                    encrypted: connection.stream.is_encrypted(),
                    user: claim.user,
                    database: claim.database,
                    is_physical: claim.replication == Some(Replication::Physical),
                    roles,
                    is_own: &is_own,
                    own_networks: &own_networks,
                };
                rules.map_or(Ok(None), |rules| rules.hba.decide(&visit))
            };
            let rule = match decide(None) {
                Ok(rule) => rule,
                Err(NeedsRoles) => {
                    let roles = match reception.members {
                        Some(members) => members.roles_of(claim.user, claim.database).await,
                        None => Ok(Arc::default()),
                    };
                    let roles = roles.map_err(ClientError::Lookup)?;
                    decide(Some(&roles)).unwrap_or_default()
                }
            };
            let rule = rule.ok_or_else(|| {
                let who = described(connection, claim);
                ClientError::NotAdmitted(format!("no pg_hba.conf entry for {who}"))
            })?;
            Ok(Demand {
                method: rule.method,
                client_cert: rule.client_cert,
                map: rule.map.as_deref(),
            })
        }
    }
}

/// Who comes from where, in PostgreSQL's words.
fn described(connection: &Connection, claim: &Claim<'_>) -> String {
    let host = match connection.peer {
        Peer::Tcp(address) => address.ip().to_canonical().to_string(),
        Peer::Unix | Peer::Unknown => "[local]".into(),
    };
    let encryption = match connection.stream.is_encrypted() {
        true => "SSL encryption",
        false => "no encryption",
    };
    let user = claim.user;
    match claim.replication {
        Some(Replication::Physical) => {
            format!("replication connection from host \"{host}\", user \"{user}\", {encryption}")
        }
        _ => format!(
            "host \"{host}\", user \"{user}\", database \"{}\", {encryption}",
            claim.database
        ),
    }
}

async fn by_password(
    connection: &mut Connection,
    reception: &Reception<'_>,
    claim: &Claim<'_>,
    method: Method,
) -> Result<Option<LoginSecret>, ClientError> {
    let (known, is_found) = match (reception.users.find(claim.user), reception.lookup) {
        (None, Some(lookup)) => {
            let found = lookup.find(claim.user, claim.database).await;
            (found.map_err(ClientError::Lookup)?, true)
        }
        (listed, _) => (listed, false),
    };
    // As PostgreSQL: its md5 takes SCRAM from those who have only a SCRAM secret.
    // Who is not known is asked as most of those are whom the server knows.
    let is_scram_only = match &known {
        Some(known) => known.is_scram_only(),
        None => is_found,
    };
    let proven = match method {
        Method::Password => cleartext(connection, reception.users, known.as_ref(), claim).await,
        Method::Md5 if !is_scram_only => md5(connection, known.as_deref(), claim).await,
        _ => scram(connection, reception.users, known.as_deref(), claim).await,
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

async fn cleartext(
    connection: &mut Connection,
    users: &UserDirectory,
    known: Option<&Arc<KnownUser>>,
    claim: &Claim<'_>,
) -> Result<Option<LoginSecret>, ClientError> {
    let password = ask_password(connection, claim).await?;
    check(users, known, claim, &password).await.map(Some)
}

/// The password in clear, which users that are not listed log in upstream with.
async fn pass_through(
    connection: &mut Connection,
    reception: &Reception<'_>,
    claim: &Claim<'_>,
) -> Result<LoginSecret, ClientError> {
    if !is_private(connection, reception.passthrough_without_tls) {
        return Err(ClientError::TlsRequired);
    }
    let password = ask_password(connection, claim).await?;
    if let Some(known) = reception.users.find(claim.user) {
        return check(reception.users, Some(&known), claim, &password).await;
    }
    let proven = match reception.passthrough {
        Some(server) => server.prove(claim.user, claim.database, &password).await,
        None => Ok(None),
    };
    let secret = proven.map_err(ClientError::Lookup)?;
    secret.ok_or_else(|| claim.failed(AuthError::Failed))
}

/// What logs a user in upstream of whom something is known here, if this is its password. Beside the
/// runtime's workers: it costs as many hashes as whoever set the secret has chosen.
async fn check(
    users: &UserDirectory,
    known: Option<&Arc<KnownUser>>,
    claim: &Claim<'_>,
    password: &Secret,
) -> Result<LoginSecret, ClientError> {
    let (known, mock) = (known.cloned(), users.mock().clone());
    let (user, password) = (claim.user.to_owned(), password.clone());
    let checked = tokio::task::spawn_blocking(move || match known {
        Some(known) => known.login_secret(&user, password.reveal()),
        None => {
            // As long as if it were known.
            let _ = ScramKeys::from_password(password.reveal(), mock.salt(&user));
            None
        }
    });
    let secret = checked.await.ok().flatten();
    secret.ok_or_else(|| claim.failed(AuthError::Failed))
}

async fn ask_password(
    connection: &mut Connection,
    claim: &Claim<'_>,
) -> Result<Secret, ClientError> {
    backend::authentication_cleartext(&mut connection.output);
    connection.flush().await?;
    await_message(connection, "password").await?;
    let header = frame_header(&connection.input)?;
    // It is whole: what is longer than the input was refused or waited for.
    let len = header.map_or(0, |header| header.frame_len);
    let (message, _) = connection.input.split_at_mut(len);
    let password = frontend::read_password(message.get(HEADER_LEN..).unwrap_or_default())
        .map(|password| std::str::from_utf8(password).map(Secret::new));
    // Nothing of it stays in a buffer that lives as long as the client.
    message.zeroize();
    connection.input.advance(len);
    password?.map_err(|_| claim.failed(AuthError::Failed))
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
        Some(Verifier::Md5(digits)) => Ok(Some(LoginSecret::Md5(Zeroizing::new(digits)))),
        _ => Ok(None),
    }
}

async fn read_message(
    connection: &mut Connection,
    expected: &'static str,
) -> Result<Frame, ClientError> {
    loop {
        await_message(connection, expected).await?;
        if let Some(frame) = take_frame(&mut connection.input, MESSAGE_LEN_MAX)? {
            return Ok(frame);
        }
    }
}

/// Until a whole message with a password or a proof is there, which stays in `input`.
async fn await_message(
    connection: &mut Connection,
    expected: &'static str,
) -> Result<(), ClientError> {
    loop {
        // Before its length is believed: who does not send a password may send anything.
        match connection.input.first() {
            Some(&tag) if tag != tag::frontend::PASSWORD => {
                return Err(ClientError::UnexpectedMessage { expected, tag });
            }
            _ => (),
        }
        match frame_header(&connection.input)? {
            Some(header) if header.frame_len > MESSAGE_LEN_MAX => {
                return Err(ClientError::Wire(WireError::TooLong {
                    len: header.frame_len,
                    limit: MESSAGE_LEN_MAX,
                }));
            }
            Some(header) if header.frame_len <= connection.input.len() => return Ok(()),
            _ => {}
        }
        if connection.fill().await? == 0 {
            return Err(ClientError::Closed);
        }
    }
}
