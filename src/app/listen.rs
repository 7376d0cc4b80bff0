//! Where applications come in: TCP and Unix sockets, one task a client.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use super::House;
use crate::admin;
use crate::admin::console::{self, Visitor};
use crate::client::{self, Greeting, Login, Lookup, Memberships, Reception, Stream};
use crate::metrics::{ErrorOrigin, Refusal};
use crate::session::registry::{Identity, Origin, SessionHandle};
use crate::session::{self, Phase};
use crate::wire::{self, ErrorReport, SqlState};

/// Connections beyond twice `max_client_conn`, so that a small limit still leaves a way in.
const SPARE_CONNECTIONS: usize = 16;

/// The sockets that clients connect to.
pub struct Listeners {
    tcp: Vec<TcpListener>,
    unix: Option<(UnixListener, SocketFile)>,
}

/// A socket's file; gone when dropped.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listeners {
    /// Binds what `[listen]` names.
    ///
    /// # Errors
    /// An address that cannot be bound; the text names it.
    pub async fn bind(
        addr: &str,
        port: u16,
        unix_dir: Option<&Path>,
    ) -> Result<Self, (String, io::Error)> {
        let mut tcp = Vec::new();
        for host in addr
            .split(',')
            .map(str::trim)
            .filter(|host| !host.is_empty())
        {
            let host = if host == "*" { "::" } else { host };
            let bound = match TcpListener::bind((host, port)).await {
                // A machine without IPv6.
                Err(_) if host == "::" => TcpListener::bind(("0.0.0.0", port)).await,
                bound => bound,
            };
            tcp.push(bound.map_err(|error| (format!("{host}:{port}"), error))?);
        }
        let unix = match unix_dir {
            Some(dir) => {
                Some(bind_unix(dir, port).map_err(|error| (dir.display().to_string(), error))?)
            }
            None => None,
        };
        Ok(Self { tcp, unix })
    }

    /// The first TCP address, for the log.
    pub fn describe(&self) -> String {
        let tcp = self
            .tcp
            .iter()
            .filter_map(|listener| listener.local_addr().ok());
        let mut places: Vec<String> = tcp.map(|address| address.to_string()).collect();
        places.extend(
            self.unix
                .iter()
                .map(|(_, file)| file.0.display().to_string()),
        );
        places.join(", ")
    }

    /// Accepts clients until the phase is no longer serving, then closes the sockets.
    pub fn run(self, house: &Arc<House>) {
        for listener in self.tcp {
            let house = house.clone();
            tokio::spawn(async move {
                let mut phase = house.shared.phase.clone();
                while let Some(accepted) = until_draining(&mut phase, listener.accept()).await {
                    match accepted.and_then(|(stream, _)| Stream::tcp(stream)) {
                        Ok(stream) => house.clone().admit(stream),
                        Err(error) => refused_by_system(&error).await,
                    }
                }
            });
        }
        if let Some((listener, file)) = self.unix {
            let house = house.clone();
            tokio::spawn(async move {
                let mut phase = house.shared.phase.clone();
                while let Some(accepted) = until_draining(&mut phase, listener.accept()).await {
                    match accepted {
                        Ok((stream, _)) => house.clone().admit(Stream::Unix(stream)),
                        Err(error) => refused_by_system(&error).await,
                    }
                }
                drop(file);
            });
        }
    }
}

/// `None` once no new client is taken.
async fn until_draining<T>(
    phase: &mut watch::Receiver<Phase>,
    accept: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        accepted = accept => Some(accepted),
        _ = phase.wait_for(|phase| *phase != Phase::Serving) => None,
    }
}

/// Out of file descriptors, most likely: it passes, and spinning does not help it.
async fn refused_by_system(error: &io::Error) {
    tracing::error!(%error, "cannot accept a client");
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
}

fn bind_unix(dir: &Path, port: u16) -> io::Result<(UnixListener, SocketFile)> {
    let path = dir.join(format!(".s.PGSQL.{port}"));
    // A file that nobody listens on is left from a process that was killed.
    if path.exists() && std::os::unix::net::UnixStream::connect(&path).is_err() {
        std::fs::remove_file(&path)?;
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777))?;
    Ok((listener, SocketFile(path)))
}

impl House {
    /// Takes a client on a task of its own, if there is room. There is more than clients may
    /// use, for cancel requests and operators: they are needed most when everything is taken.
    fn admit(self: Arc<Self>, stream: Stream) {
        tokio::spawn(async move {
            let clients_max = self.shared.config.load().listen.max_client_conn;
            let Some(_place) = self.connections.take(2 * clients_max + SPARE_CONNECTIONS) else {
                self.count_too_many();
                turn_away(client::Connection::new(stream)).await;
                return;
            };
            self.attend(stream).await;
        });
    }

    fn count_too_many(&self) {
        let metrics = &self.shared.metrics;
        metrics.refused(Refusal::TooManyClients);
        metrics.error(SqlState::TOO_MANY_CONNECTIONS, ErrorOrigin::Proxy);
    }

    async fn attend(self: Arc<Self>, stream: Stream) {
        let config = self.shared.config.load_full();
        let users = self.users.load_full();
        let tls = self.client_tls.load_full();
        let rules = (*self.rules.load_full()).clone();
        let auth_query = self.auth_query.load_full();
        let members = self.members.load_full();
        let passthrough = self.passthrough.load_full();
        let reception = Reception {
            tls: (*tls).clone(),
            sslmode: config.client_tls.sslmode,
            listen: &config.listen,
            auth: config.auth.auth_type,
            rules: rules.as_deref(),
            users: &users,
            lookup: auth_query.as_deref().map(|query| query as &dyn Lookup),
            members: members
                .as_deref()
                .map(|members| members as &dyn Memberships),
            passthrough: Some(&*passthrough),
            passthrough_without_tls: config.auth.passthrough_without_tls,
        };
        let greeting = tokio::time::timeout(
            config.listen.client_login_timeout,
            client::greet(stream, reception),
        );
        match greeting.await {
            Err(_) => self.shared.metrics.refused(Refusal::Timeout),
            Ok(Err(error)) => {
                let metrics = &self.shared.metrics;
                metrics.refused(refusal(&error));
                if let Some(report) = error.report() {
                    metrics.error(report.code, ErrorOrigin::Proxy);
                }
                tracing::debug!(%error, "login refused");
            }
            Ok(Ok(Greeting::Cancel {
                pid,
                key,
                connection,
            })) => {
                let outcome = self.shared.registry.cancel(pid, &key).await;
                self.shared.metrics.cancelled(outcome);
                // libpq waits for the end of this connection as the sign that it is done.
                drop(connection);
            }
            Ok(Ok(Greeting::Login(login))) => self.serve(login).await,
        }
    }

    /// Somebody asks for the console's database.
    async fn receive_operator(self: Arc<Self>, login: Login) {
        let identity = Identity {
            user: login.user.clone(),
            database: login.database.clone(),
            origin: Origin::of(&login.connection.stream),
            application_name: application_name(&login),
        };
        let key_len = wire::cancel_key_len(login.minor);
        let Ok(registration) = self.shared.registry.register(identity, key_len) else {
            return;
        };
        let handle = registration.handle.clone();
        let visitor = Visitor {
            user: &login.user,
            pid: handle.number,
            key: handle.key().clone(),
            cancelled: &handle.cancelled,
        };
        let mut phase = self.shared.phase.clone();
        let house: Arc<dyn admin::House> = self.clone();
        tokio::select! {
            _ = console::serve(login.connection, visitor, house) => {}
            () = handle.kill.notified() => {}
            // An operator who watches a drain sees it to its end.
            _ = phase.wait_for(|phase| *phase == Phase::Stopping) => {}
        }
        drop(registration);
        let is_operator =
            |session: &Arc<SessionHandle>| console::DATABASES.contains(&session.database.as_str());
        if !self.shared.registry.all().iter().any(is_operator) && self.shared.suspension.end() {
            // As PgBouncer does: nobody is left who could order it.
            tracing::warn!("the last operator has left while everything is suspended: resuming");
        }
    }

    async fn serve(self: Arc<Self>, login: Login) {
        if console::DATABASES.contains(&login.database.as_str()) {
            return self.receive_operator(login).await;
        }
        let Some(_place) = self
            .clients
            .take(self.shared.config.load().listen.max_client_conn)
        else {
            self.count_too_many();
            return turn_away(login.connection).await;
        };
        if let Some(secret) = &login.secret {
            let pools = &self.shared.pools;
            pools.learn(&login.database, &login.user, secret.clone());
        }
        let visit = Visit {
            peer: login.connection.peer.to_string(),
            user: login.user.clone(),
            database: login.database.clone(),
        };
        let shared = self.shared.clone();
        let ended = match login.replication {
            None => match session::open(shared, login).await {
                Ok(mut session) => {
                    self.connected(&visit);
                    let ending = match session.send_greeting().await {
                        Ok(()) => session.run().await,
                        Err(_) => session::Ending::ClientGone,
                    };
                    session.close(ending).await
                }
                Err(refused) => return self.refuse(&visit, refused).await,
            },
            Some(kind) => match session::replicate(shared, login, kind).await {
                Ok(mut replication) => {
                    self.connected(&visit);
                    let ending = match replication.send_greeting().await {
                        Ok(()) => replication.run().await,
                        Err(_) => session::Ending::ClientGone,
                    };
                    replication.close(ending).await
                }
                Err(refused) => return self.refuse(&visit, refused).await,
            },
        };
        if self.shared.config.load().log.log_disconnections {
            let reason = ended
                .report
                .map_or("closed by the client".into(), |report| report.message);
            let Visit {
                peer,
                user,
                database,
            } = visit;
            tracing::info!(user, database, peer, %reason, "disconnected");
        }
    }

    fn connected(&self, visit: &Visit) {
        self.shared.metrics.logged_in();
        if self.shared.config.load().log.log_connections {
            let Visit {
                peer,
                user,
                database,
            } = visit;
            tracing::info!(user, database, peer, "connected");
        }
    }

    async fn refuse(&self, visit: &Visit, refused: session::Refused) {
        let session::Refused { mut login, report } = refused;
        let metrics = &self.shared.metrics;
        metrics.refused(refusal_of_session(report.code));
        metrics.error(report.code, ErrorOrigin::Proxy);
        wire::backend::error(&mut login.connection.output, &report);
        let _ = login.connection.flush().await;
        tracing::info!(
            user = visit.user,
            database = visit.database,
            peer = visit.peer,
            code = report.code.as_str(),
            "session refused: {}",
            report.message
        );
    }
}

/// Who has come, for the log.
struct Visit {
    peer: String,
    user: String,
    database: String,
}

/// What an operator's program calls itself.
fn application_name(login: &Login) -> String {
    let mut parameters = login.parameters.iter();
    let given = parameters.find(|(name, _)| name == "application_name");
    given.map(|(_, name)| name.clone()).unwrap_or_default()
}

/// One client too many: told so in the protocol, without reading another byte of what it sends.
async fn turn_away(mut connection: client::Connection) {
    wire::backend::error(
        &mut connection.output,
        &ErrorReport::fatal(
            SqlState::TOO_MANY_CONNECTIONS,
            "sorry, too many clients already",
        ),
    );
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), connection.flush()).await;
}

/// Why a client that logged in was given no session.
fn refusal_of_session(code: SqlState) -> Refusal {
    match code {
        SqlState::NO_SUCH_DATABASE => Refusal::UnknownDatabase,
        SqlState::ADMIN_SHUTDOWN => Refusal::Draining,
        // Startup options that cannot be followed.
        SqlState::SYNTAX_ERROR
        | SqlState::FEATURE_NOT_SUPPORTED
        | SqlState::PROGRAM_LIMIT_EXCEEDED => Refusal::Protocol,
        _ => Refusal::Upstream,
    }
}

fn refusal(error: &client::ClientError) -> Refusal {
    use client::ClientError;
    match error {
        ClientError::Auth { .. }
        | ClientError::Mechanism
        | ClientError::Lookup(_)
        | ClientError::NotAdmitted(_) => Refusal::Authentication,
        ClientError::Handshake(_) | ClientError::TlsRequired | ClientError::NoAlpn => Refusal::Tls,
        _ => Refusal::Protocol,
    }
}
