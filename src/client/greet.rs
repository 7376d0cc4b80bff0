//! From an accepted stream to a login or a cancel request.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use crate::auth::LoginSecret;
use crate::config::{AuthType, ClientSslMode, ListenConfig, WithoutTls};
use crate::tls::{ALPN, Acceptor};
use crate::wire::{
    NEWEST_MINOR, Replication, Startup, StartupPacket, WireError, backend, take_startup,
};

use super::connection::Connection;
use super::error::ClientError;
use super::lookup::{Lookup, Memberships};
use super::passthrough::Passthrough;
use super::prove::{Claim, prove};
use super::rules::Rules;
use super::stream::Stream;
use super::users::UserDirectory;

/// What a client came for.
pub enum Greeting {
    /// Stop what the session with this key is doing. The client waits for its
    /// connection to be closed: drop it when the cancel is done, not before.
    Cancel {
        pid: u32,
        key: Bytes,
        connection: Connection,
    },
    Login(Login),
}

/// A client that is who it says; AuthenticationOk has been sent.
#[derive(Debug)]
pub struct Login {
    pub connection: Connection,
    pub user: String,
    /// [`PHYSICAL`] where replication is physical.
    pub database: String,
    /// What it asks for instead of a session.
    pub replication: Option<Replication>,
    /// The startup packet's others, in order, `options` as it came. Without
    /// `ignore_startup_parameters` and protocol options.
    pub parameters: Vec<(String, String)>,
    /// The minor version of protocol 3 that was settled for.
    pub minor: u16,
    /// What logs the user in upstream, where the login has shown or found it.
    pub secret: Option<LoginSecret>,
}

/// Physical replication is of no database; libpq gives this name.
pub const PHYSICAL: &str = "replication";

/// What decides who is let in.
pub struct Reception<'a> {
    /// `None` if no TLS is offered.
    pub tls: Option<Arc<Acceptor>>,
    pub sslmode: ClientSslMode,
    pub listen: &'a ListenConfig,
    pub auth: AuthType,
    /// What decides with `auth_type = hba`.
    pub rules: Option<&'a Rules>,
    pub users: &'a UserDirectory,
    /// Who is asked about users that are not listed.
    pub lookup: Option<&'a dyn Lookup>,
    /// Who is asked about members of roles.
    pub members: Option<&'a dyn Memberships>,
    /// Who is asked about passwords, where the server is to judge them.
    pub passthrough: Option<&'a dyn Passthrough>,
    pub passthrough_without_tls: WithoutTls,
}

/// Prints no cancel key.
impl std::fmt::Debug for Greeting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Greeting::Cancel { pid, .. } => write!(f, "Cancel {{ pid: {pid} }}"),
            Greeting::Login(login) => login.fmt(f),
        }
    }
}

/// Answers requests for encryption, shakes hands, reads the startup packet,
/// settles for a protocol version and has the client prove who it is.
///
/// Has no deadline of its own: the caller wraps it in `client_login_timeout`.
/// Not cancel safe: dropped, it closes the connection.
///
/// # Errors
/// Everything that ends the connection. Where somebody is there to be told,
/// the client has been told already.
pub async fn greet(stream: Stream, reception: Reception<'_>) -> Result<Greeting, ClientError> {
    if let Stream::Tcp(tcp) = &stream {
        tcp.set_nodelay(true)?;
    }
    let door = Door {
        tls: reception.tls.clone(),
        sslmode: reception.sslmode,
    };
    let (mut connection, opening) = door.open(Connection::new(stream)).await?;
    let startup = match opening {
        Opening::Cancel { pid, key } => {
            return Ok(Greeting::Cancel {
                pid,
                key,
                connection,
            });
        }
        Opening::Startup(startup) => startup,
    };
    let end_point = door.end_point(&connection);
    match admit(&mut connection, &startup, &reception, end_point).await {
        Ok(admitted) => Ok(Greeting::Login(Login {
            connection,
            user: admitted.user,
            database: admitted.database,
            replication: admitted.replication,
            minor: startup.minor.min(NEWEST_MINOR),
            parameters: remaining(startup, reception.listen),
            secret: admitted.secret,
        })),
        Err(error) => Err(refuse(&mut connection, error).await),
    }
}

/// How a client may come in.
struct Door {
    /// `None` if no TLS is offered.
    tls: Option<Arc<Acceptor>>,
    sslmode: ClientSslMode,
}

/// What the first packet is that is not about encryption.
enum Opening {
    Cancel { pid: u32, key: Bytes },
    Startup(Startup),
}

enum Step {
    /// A request was turned down: the client goes on in clear.
    Declined,
    Encrypt(Arc<Acceptor>),
    Opened(Opening),
}

/// Which requests have been made; each may be made once.
#[derive(Default)]
struct Asked {
    ssl: bool,
    gss: bool,
}

impl Door {
    /// What the client may bind its login to.
    fn end_point(&self, connection: &Connection) -> Option<Arc<[u8]>> {
        let acceptor = self.tls.as_ref()?;
        connection
            .stream
            .is_encrypted()
            .then(|| acceptor.end_point.clone())?
    }

    async fn open(&self, connection: Connection) -> Result<(Connection, Opening), ClientError> {
        let mut connection = self.direct(connection).await?;
        let mut asked = Asked::default();
        loop {
            match self.step(&mut connection, &mut asked).await {
                Ok(Step::Declined) => (),
                Ok(Step::Encrypt(tls)) => connection = encrypt(connection, &tls).await?,
                Ok(Step::Opened(opening)) => return Ok((connection, opening)),
                Err(error) => return Err(refuse(&mut connection, error).await),
            }
        }
    }

    /// Shakes hands at once if the client begins with TLS
    /// (`sslnegotiation=direct`, PostgreSQL 17). Without the right ALPN it may
    /// be a browser that somebody has sent here.
    async fn direct(&self, connection: Connection) -> Result<Connection, ClientError> {
        const HANDSHAKE_RECORD: u8 = 0x16;
        let (Stream::Tcp(tcp), Some(acceptor)) = (&connection.stream, &self.tls) else {
            return Ok(connection);
        };
        let mut first = [0];
        match tcp.peek(&mut first).await? {
            0 => return Err(ClientError::Closed),
            _ if first != [HANDSHAKE_RECORD] => return Ok(connection),
            _ => (),
        }
        let mut connection = encrypt(connection, acceptor).await?;
        match &connection.stream {
            Stream::Tls(tls) if tls.get_ref().1.alpn_protocol() == Some(ALPN) => Ok(connection),
            _ => Err(refuse(&mut connection, ClientError::NoAlpn).await),
        }
    }

    /// Takes one packet and answers it, if it is a request.
    async fn step(
        &self,
        connection: &mut Connection,
        asked: &mut Asked,
    ) -> Result<Step, ClientError> {
        let encrypted = connection.stream.is_encrypted();
        match read_packet(connection).await? {
            StartupPacket::Ssl if !(asked.ssl || encrypted) => {
                asked.ssl = true;
                refuse_early_data(connection, "SSL request")?;
                match (&self.tls, &connection.stream) {
                    (Some(acceptor), Stream::Tcp(_)) => {
                        connection.output.extend_from_slice(b"S");
                        connection.flush().await?;
                        Ok(Step::Encrypt(Arc::clone(acceptor)))
                    }
                    _ => decline(connection).await,
                }
            }
            StartupPacket::GssEnc if !(asked.gss || encrypted) => {
                asked.gss = true;
                refuse_early_data(connection, "GSSAPI encryption request")?;
                decline(connection).await
            }
            // A second time it is only a protocol version that nobody knows, as for PostgreSQL.
            StartupPacket::Ssl => Err(unsupported(5679)),
            StartupPacket::GssEnc => Err(unsupported(5680)),
            StartupPacket::Cancel { pid, key } => Ok(Step::Opened(Opening::Cancel { pid, key })),
            StartupPacket::Startup(startup) => match (&connection.stream, self.sslmode) {
                (Stream::Tcp(_), mode) if mode.is_required() => Err(ClientError::TlsRequired),
                _ => Ok(Step::Opened(Opening::Startup(startup))),
            },
        }
    }
}

fn unsupported(minor: u16) -> ClientError {
    let major = 1234;
    ClientError::Wire(WireError::UnsupportedProtocol { major, minor })
}

/// Refuses what was sent behind a request without waiting for its answer
/// (CVE-2021-23214). What is still in the socket is read by TLS, not by us.
fn refuse_early_data(connection: &Connection, request: &'static str) -> Result<(), ClientError> {
    if connection.input.is_empty() {
        Ok(())
    } else {
        Err(ClientError::EarlyData { request })
    }
}

async fn decline(connection: &mut Connection) -> Result<Step, ClientError> {
    connection.output.extend_from_slice(b"N");
    connection.flush().await?;
    Ok(Step::Declined)
}

async fn encrypt(connection: Connection, acceptor: &Acceptor) -> Result<Connection, ClientError> {
    let Stream::Tcp(tcp) = connection.stream else {
        let error = io::Error::other("only TCP connections are encrypted");
        return Err(ClientError::Handshake(error));
    };
    let tls = TlsAcceptor::from(Arc::clone(&acceptor.config))
        .accept(tcp)
        .await
        .map_err(ClientError::Handshake)?;
    Ok(Connection {
        stream: Stream::Tls(Box::new(tls)),
        ..connection
    })
}

async fn read_packet(connection: &mut Connection) -> Result<StartupPacket, ClientError> {
    loop {
        if let Some(packet) = take_startup(&mut connection.input)? {
            return Ok(packet);
        }
        if connection.fill().await? == 0 {
            return Err(ClientError::Closed);
        }
    }
}

/// Who was let in, and to what.
struct Admitted {
    user: String,
    database: String,
    replication: Option<Replication>,
    secret: Option<LoginSecret>,
}

/// Settles for a version and has the client prove who it is.
async fn admit(
    connection: &mut Connection,
    startup: &Startup,
    reception: &Reception<'_>,
    end_point: Option<Arc<[u8]>>,
) -> Result<Admitted, ClientError> {
    let replication = match is_ignored(reception.listen, "replication") {
        true => None,
        false => startup.replication()?,
    };
    let user = startup.user()?;
    let database = match replication {
        Some(Replication::Physical) => PHYSICAL,
        _ => startup.database()?,
    };
    let options: Vec<&str> = startup.protocol_options().collect();
    if startup.minor > NEWEST_MINOR || !options.is_empty() {
        // Never a newer version than the client's: it would take that for an upgrade.
        let minor = startup.minor.min(NEWEST_MINOR).into();
        backend::negotiate_protocol_version(&mut connection.output, minor, &options);
    }
    let claim = Claim {
        user,
        database,
        replication,
        end_point,
    };
    let secret = prove(connection, reception, &claim).await?;
    backend::authentication_ok(&mut connection.output);
    connection.flush().await?;
    Ok(Admitted {
        user: user.to_owned(),
        database: database.to_owned(),
        replication,
        secret,
    })
}

/// The parameters that are left for the session.
fn remaining(startup: Startup, cfg: &ListenConfig) -> Vec<(String, String)> {
    let mut parameters = startup.parameters;
    parameters.retain(|(name, _)| {
        !matches!(name.as_str(), "user" | "database" | "replication")
            && !name.starts_with("_pq_.")
            && !is_ignored(cfg, name)
    });
    parameters
}

fn is_ignored(cfg: &ListenConfig, name: &str) -> bool {
    let ignored = &cfg.ignore_startup_parameters;
    ignored.iter().any(|each| each.eq_ignore_ascii_case(name))
}

/// Tells the client, if it can be told, and says good-bye.
async fn refuse(connection: &mut Connection, error: ClientError) -> ClientError {
    if let Some(report) = error.report() {
        match error {
            ClientError::Wire(WireError::UnsupportedProtocol { major: 1 | 2, .. }) => {
                backend::error_before_3(&mut connection.output, &report);
            }
            _ => backend::error(&mut connection.output, &report),
        }
        // It may be gone by now; the error says more than its absence.
        let _ = connection.flush().await;
        let _ = connection.stream.shutdown().await;
    }
    error
}

#[cfg(test)]
mod tests;
