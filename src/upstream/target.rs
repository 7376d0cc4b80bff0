//! Where a connection leads and how it is made.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::LoginSecret;
use crate::config::{Host, Secret, ServerTlsConfig, SslMode, UpstreamConfig};
use crate::hosts::Hosts;
use crate::tls::Initiator;

/// One or several servers, a database and a user of it.
#[derive(Clone)]
pub struct Target {
    /// All of them; `host` and `port` are the one that it leads to, or that is tried first.
    pub hosts: Arc<Hosts>,
    /// Host name, address, or the directory of a Unix socket (begins with `/`).
    pub host: String,
    pub port: u16,
    pub dbname: String,
    pub user: String,
    pub password: Option<Secret>,
    /// What logs in where no password is configured.
    pub learned: Option<LoginSecret>,
    pub sslmode: SslMode,
    /// Absent only where `sslmode` is disable.
    pub tls: Option<Arc<Initiator>>,
}

impl Target {
    /// The servers of `[upstream]`, as `user` with `password` in `dbname`.
    pub fn new(
        upstream: &UpstreamConfig,
        server_tls: &ServerTlsConfig,
        tls: Option<Arc<Initiator>>,
        dbname: impl Into<String>,
        user: impl Into<String>,
        password: Option<Secret>,
    ) -> Self {
        let hosts = Hosts::new(upstream.hosts(), upstream.wanted());
        let Host { name, port } = hosts.preferred().clone();
        Self {
            hosts,
            host: name,
            port,
            dbname: dbname.into(),
            user: user.into(),
            password,
            learned: None,
            sslmode: server_tls.sslmode,
            tls,
        }
    }

    /// The same, with `hosts` for servers.
    pub(super) fn among(mut self, hosts: Arc<Hosts>) -> Self {
        let preferred = hosts.preferred().clone();
        self.hosts = hosts;
        self.at(&preferred)
    }

    /// The same, leading to this one of the servers.
    pub(super) fn at(&self, host: &Host) -> Self {
        Self {
            host: host.name.clone(),
            port: host.port,
            ..self.clone()
        }
    }

    /// Whether `host` is a directory that holds a socket.
    pub fn is_unix(&self) -> bool {
        self.host.starts_with('/')
    }

    /// `host:port`, or the socket's path.
    pub fn address(&self) -> String {
        match self.is_unix() {
            true => format!("{}/.s.PGSQL.{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// What logs in: the configured password, else what was learned.
    pub fn secret(&self) -> Option<LoginSecret> {
        let password = self.password.clone().map(LoginSecret::Password);
        password.or_else(|| self.learned.clone())
    }

    /// Whether both lead to the same place in the same way.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same_tls = match (&self.tls, &other.tls) {
            (None, None) => true,
            (Some(left), Some(right)) => Arc::ptr_eq(left, right),
            _ => false,
        };
        same_tls
            && self.hosts == other.hosts
            && self.dbname == other.dbname
            && self.user == other.user
            && self.password == other.password
            && self.learned == other.learned
            && self.sslmode == other.sslmode
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("address", &self.address())
            .field("dbname", &self.dbname)
            .field("user", &self.user)
            .field("sslmode", &self.sslmode)
            .finish_non_exhaustive()
    }
}

/// How to log in.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// From the first packet to ReadyForQuery: `server_connect_timeout`.
    pub timeout: Duration,
    /// Sent in the startup packet after `user` and `database`.
    pub parameters: Vec<(String, String)>,
    /// Room for prepared statements: `max_prepared_statements`.
    pub prepared_statements_max: usize,
}

impl ConnectOptions {
    /// Adds these to the `options` that are sent.
    pub(super) fn begin(&mut self, options: &str) {
        let known = self.parameters.iter_mut();
        match known.rev().find(|(name, _)| name == "options") {
            Some((_, known)) => known.push_str(options),
            None => self
                .parameters
                .push(("options".to_owned(), options.to_owned())),
        }
    }
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            timeout: UpstreamConfig::default().server_connect_timeout,
            parameters: Vec::new(),
            prepared_statements_max: crate::config::PoolConfig::default().max_prepared_statements,
        }
    }
}
