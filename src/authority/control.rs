//! Connections of our own to the server: never lent to a client.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use super::tls::Tls;
use crate::config::{Host, Secret, SslMode, TargetSessionAttrs};
use crate::hosts::{Hosts, fits, none_fits};
use crate::tls::Initiator;
use tokio::task::JoinHandle;
use tokio_postgres::config::SslNegotiation as Negotiation;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Config, SimpleQueryMessage};

/// How long any statement of ours may take, save the loading of the catalogue.
pub(super) const STATEMENT_PATIENCE: Duration = Duration::from_secs(5);

/// A database, and as whom to ask it.
#[derive(Clone)]
pub struct ControlTarget {
    pub hosts: Arc<Hosts>,
    pub dbname: String,
    pub user: String,
    pub password: Option<Secret>,
    pub sslmode: SslMode,
    /// What verifies the server's certificate; needed unless `sslmode` is disable.
    pub tls: Option<Arc<Initiator>>,
    /// For each server.
    pub connect_timeout: Duration,
    /// What its connections are called in pg_stat_activity; what each is for is appended.
    pub application_name: String,
}

/// A control connection's failure. The upstream's fault; nothing survives but the next attempt.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("{}", chain(.0))]
    Server(#[from] tokio_postgres::Error),
    #[error("no answer in time")]
    Timeout,
    #[error("the connection leads to another server than the guard's")]
    OtherServer,
    #[error("{}", none_fits(*.0))]
    NoneFits(TargetSessionAttrs),
    #[error("the answer is not what was asked for")]
    Malformed,
    #[error("{0}")]
    Catalog(String),
    #[error("what a view is made of is locked")]
    Locked,
}

/// The driver's own words say only "db error".
fn chain(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

pub(super) type Row = Vec<Option<String>>;

impl ControlTarget {
    pub(super) fn config(&self, host: &Host, purpose: &str) -> Config {
        let mut config = Config::new();
        config
            .host(&host.name)
            .port(host.port)
            .dbname(&self.dbname)
            .user(&self.user)
            .application_name(called(&self.application_name, purpose))
            .connect_timeout(self.connect_timeout)
            .keepalives_idle(Duration::from_secs(10))
            .ssl_negotiation(match &self.tls {
                Some(tls) if tls.is_direct() => Negotiation::Direct,
                _ => Negotiation::Postgres,
            })
            .ssl_mode(match (&self.tls, self.sslmode) {
                // A Unix socket is never encrypted, as with libpq.
                _ if host.is_unix() => tokio_postgres::config::SslMode::Disable,
                (None, _) | (_, SslMode::Disable) => tokio_postgres::config::SslMode::Disable,
                (_, SslMode::Allow | SslMode::Prefer) => tokio_postgres::config::SslMode::Prefer,
                (_, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => {
                    tokio_postgres::config::SslMode::Require
                }
            });
        if let Some(password) = &self.password {
            config.password(password.reveal());
        }
        config
    }

    pub(super) fn tls(&self) -> Tls {
        Tls(self.tls.clone())
    }

    /// The task ends when the connection does: it keeps the connection going in between.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn connect(&self, purpose: &str) -> Result<(Client, JoinHandle<()>), ControlError> {
        let line = self.find(purpose, Silence).await?;
        Ok((line.client, line.task))
    }

    /// The same; `listener` hears what the server says unasked, in the order of the stream: what it
    /// said before the answer to a statement is heard before that answer is there.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn connect_hearing(
        &self,
        purpose: &str,
        listener: impl Listener,
    ) -> Result<(Client, JoinHandle<()>), ControlError> {
        let line = self.find(purpose, listener).await?;
        Ok((line.client, line.task))
    }

    /// Connects to the first server that is what is wanted, beginning with the one that was so last.
    pub(super) async fn find(
        &self,
        purpose: &str,
        listener: impl Listener,
    ) -> Result<Line, ControlError> {
        let mut failure = ControlError::NoneFits(self.hosts.wanted());
        let mut reached = false;
        for (host, wanted) in self.hosts.candidates() {
            let tried = async {
                let (client, connection) = self.connect_to(&host, purpose).await?;
                let task = tokio::spawn(keep(connection, listener.clone()));
                match is_wanted(&client, wanted).await {
                    Ok(true) => Ok(Some((client, task))),
                    refused => {
                        task.abort();
                        refused.map(|_| None)
                    }
                }
            };
            match tried.await {
                Ok(Some((client, task))) => {
                    return Ok(Line { client, task, host });
                }
                Ok(None) => reached = true,
                Err(error) => failure = error,
            }
        }
        match reached {
            true => Err(ControlError::NoneFits(self.hosts.wanted())),
            false => Err(failure),
        }
    }

    async fn connect_to(&self, host: &Host, purpose: &str) -> Result<(Client, Wire), ControlError> {
        let config = self.config(host, purpose);
        // The driver's own limit is for the socket, not for the log-in.
        let connecting = tokio::time::timeout(self.connect_timeout, config.connect(self.tls()));
        Ok(connecting.await.map_err(|_| ControlError::Timeout)??)
    }

    /// The same, leading to this server whatever it is.
    pub(super) fn at(&self, host: &Host) -> Self {
        Self {
            hosts: Hosts::one(host.clone()),
            ..self.clone()
        }
    }

    pub(super) fn address(&self) -> String {
        format!("{}/{}", self.hosts, self.dbname)
    }
}

/// A connection of ours and where it leads; the task keeps it going.
pub(super) struct Line {
    pub client: Client,
    pub task: JoinHandle<()>,
    pub host: Host,
}

type Wire = tokio_postgres::Connection<
    tokio_postgres::Socket,
    <Tls as MakeTlsConnect<tokio_postgres::Socket>>::Stream,
>;

/// Who hears what the server says unasked.
pub trait Listener: Clone + Send + 'static {
    fn hear(&mut self, message: AsyncMessage);
    /// Nothing more can be heard.
    fn lost(self);
}

/// Nobody listens.
#[derive(Clone)]
pub(super) struct Silence;

impl Listener for Silence {
    fn hear(&mut self, _: AsyncMessage) {}
    fn lost(self) {}
}

async fn keep(mut connection: Wire, mut listener: impl Listener) {
    // Whoever uses the client hears of the error.
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        listener.hear(message);
    }
    listener.lost();
}

/// Asks a server what it is, where that matters.
async fn is_wanted(client: &Client, wanted: TargetSessionAttrs) -> Result<bool, ControlError> {
    if wanted == TargetSessionAttrs::Any {
        return Ok(true);
    }
    let sql = "SELECT pg_catalog.pg_is_in_recovery(), \
               pg_catalog.current_setting('transaction_read_only')";
    let said = rows(client, sql).await?;
    let row = said.first().ok_or(ControlError::Malformed)?;
    let is = |at: usize, yes: &str| row.get(at).and_then(Option::as_deref) == Some(yes);
    Ok(fits(wanted, is(0, "t"), is(1, "on")))
}

/// The configured name, shortened where the server would cut what comes behind it.
fn called(name: &str, purpose: &str) -> String {
    let room = NAME_BYTES_MAX.saturating_sub(purpose.len());
    let end = name.floor_char_boundary(room.min(name.len()));
    format!("{}{purpose}", &name[..end])
}

/// The longest `application_name`.
const NAME_BYTES_MAX: usize = 63;

/// Runs statements over the simple protocol and gives the rows of all of them.
pub(super) async fn rows(client: &Client, sql: &str) -> Result<Vec<Row>, ControlError> {
    let asked = tokio::time::timeout(STATEMENT_PATIENCE, client.simple_query(sql));
    let messages = asked.await.map_err(|_| ControlError::Timeout)??;
    Ok(messages
        .into_iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                let column = |at| row.get(at).map(str::to_owned);
                Some((0..row.len()).map(column).collect())
            }
            _ => None,
        })
        .collect())
}

/// Runs statements whose rows nobody wants.
///
/// # Errors
/// See [`ControlError`].
pub async fn run(client: &Client, sql: &str) -> Result<(), ControlError> {
    rows(client, sql).await.map(drop)
}

/// Closes a pooled connection that must not be handed out again: the pool has no other way to be rid
/// of it than to find it closed.
pub(super) async fn end_itself(client: &Client) {
    let end = "SELECT pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid())";
    // It always fails: nobody is left to answer.
    let _ = rows(client, end).await;
}

/// A column that must be there and be readable.
pub(super) fn column<T: std::str::FromStr>(row: &[Option<String>], at: usize) -> Option<T> {
    row.get(at)?.as_deref()?.parse().ok()
}
