//! The running process as operators see it: the one door from this room to the rest.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::config::AuthConfig;
use crate::insight::Insight;
use crate::metrics::{Metrics, Snapshot};

/// The process. Snapshots are cheap and never wait; commands may, and when the future of a command is
/// dropped only the waiting ends.
#[async_trait]
pub trait House: Send + Sync + 'static {
    fn metrics(&self) -> &Metrics;
    fn insight(&self) -> &Insight;
    /// Pools, databases, cache, Redis, guards, phase.
    fn snapshot(&self) -> Snapshot;

    /// What `user` may do on the console now; see [`Role::of`].
    fn role(&self, user: &str) -> Option<Role>;
    fn clients(&self) -> Vec<ClientRow>;
    fn servers(&self) -> Vec<ServerRow>;
    fn users(&self) -> Vec<UserRow>;
    fn config_rows(&self) -> Vec<ConfigRow>;
    fn cache_tables(&self) -> Vec<CacheTableRow>;
    fn cache_rules(&self) -> Vec<CacheRuleRow>;
    fn mismatches(&self) -> Vec<MismatchRow>;
    fn pins(&self) -> Vec<PinRow>;

    /// Takes no new work for the database, or for all; returns when no connection of it is in use.
    async fn pause(&self, database: Option<&str>) -> Result<(), CommandError>;
    async fn resume(&self, database: Option<&str>) -> Result<(), CommandError>;
    /// Answers what is under way, then takes nothing new from any client until RESUME; returns
    /// when all is answered.
    async fn suspend(&self) -> Result<(), CommandError>;
    /// Refuses new clients of the database.
    async fn disable(&self, database: &str) -> Result<(), CommandError>;
    async fn enable(&self, database: &str) -> Result<(), CommandError>;
    /// Replaces every upstream connection once it is free.
    async fn reconnect(&self, database: Option<&str>) -> Result<(), CommandError>;
    /// Returns when no upstream connection is left that RECONNECT or a reload has made old.
    async fn wait_close(&self, database: Option<&str>) -> Result<(), CommandError>;
    /// Closes clients and upstream connections at once; new clients wait for RESUME.
    async fn kill(&self, database: Option<&str>) -> Result<(), CommandError>;
    async fn kill_client(&self, id: u64) -> Result<(), CommandError>;
    async fn reload(&self) -> Result<Reloaded, CommandError>;
    /// Begins the end and returns.
    async fn shutdown(&self, mode: Shutdown) -> Result<(), CommandError>;
    /// As SIGTERM: begins the drain and returns. Doing it twice is no error.
    async fn drain(&self) -> Result<(), CommandError>;
    /// Sets a configuration key until the process ends: `section.key`, or PgBouncer's bare name.
    async fn set(&self, key: &str, value: &str) -> Result<(), CommandError>;
    async fn cache_flush(&self, what: CacheFlush) -> Result<(), CommandError>;
    /// Why `sql` is or is not answered from the cache, in lines; for the upstream URL's user, or `user`.
    async fn explain(
        &self,
        database: Option<&str>,
        user: &str,
        sql: &str,
    ) -> Result<String, CommandError>;
    /// Lets shapes be cached again that [`mismatches`](Self::mismatches) shows: all, or one.
    async fn cache_enable(&self, shape: Option<&str>) -> Result<(), CommandError>;
}

/// What a user may do on the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// May change things.
    Admin,
    /// May only SHOW.
    Stats,
}

impl Role {
    /// `url_user` is the upstream URL's user, who may SHOW. `None`: nobody else may log in.
    pub fn of(user: &str, auth: &AuthConfig, url_user: Option<&str>) -> Option<Role> {
        let listed = |users: &[String]| users.iter().any(|listed| listed == user);
        if listed(&auth.admin_users) {
            Some(Role::Admin)
        } else if listed(&auth.stats_users) || url_user == Some(user) {
            Some(Role::Stats)
        } else {
            None
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Stats => "stats",
        }
    }
}

/// How SHUTDOWN ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    Immediate,
    /// When every client has left by itself.
    WaitForClients,
    /// When every upstream connection is free.
    WaitForServers,
}

/// What CACHE FLUSH names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheFlush {
    All,
    /// `table` or `schema.table`, folded as PostgreSQL folds; in every database.
    Table {
        schema: Option<String>,
        name: String,
    },
    /// A label of a rule or hint.
    Tag(String),
    /// As `SHOW QUERIES` prints it: sixteen hexadecimal digits.
    Shape(String),
}

/// What RELOAD found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Keys that have changed and take effect only after a restart.
    pub needs_restart: Vec<String>,
}

/// Why a command was not carried out. The operator's to mend, but for the last one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("no such database: {0}")]
    NoSuchDatabase(String),
    #[error("no client has the id {0}")]
    NoSuchClient(u64),
    #[error("already suspended/paused")]
    AlreadyPaused,
    #[error("pooler is not paused/suspended")]
    NotPaused,
    #[error("database {0} is not paused")]
    DatabaseNotPaused(String),
    #[error("cannot suspend with paused databases")]
    DatabasesPaused,
    /// The console's own database is never paused, killed and so on.
    #[error("cannot {verb} admin db: {database}")]
    AdminDatabase {
        verb: &'static str,
        database: String,
    },
    #[error("unrecognized configuration parameter \"{key}\"")]
    UnknownKey {
        key: String,
        nearest: Option<String>,
    },
    #[error("{key}: {why}")]
    InvalidValue { key: String, why: String },
    #[error("\"{0}\" cannot be changed without a restart")]
    NeedsRestart(String),
    #[error("the configuration was not reloaded: {0}")]
    NotReloaded(String),
    #[error("no cached answer depends on \"{0}\"")]
    NoSuchTable(String),
    #[error("no cached answer has the shape {0}")]
    NoSuchShape(String),
    #[error("the shape {0} is not kept out of the cache")]
    ShapeNotOff(String),
    /// The one who asked no longer waits for it.
    #[error("canceling statement due to user request")]
    Cancelled,
    #[error("{0}")]
    Failed(String),
}

/// What a client is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientState {
    #[default]
    Idle,
    Active,
    /// For an upstream connection.
    Waiting,
}

impl ClientState {
    pub fn as_str(self) -> &'static str {
        match self {
            ClientState::Idle => "idle",
            ClientState::Active => "active",
            ClientState::Waiting => "waiting",
        }
    }
}

/// A line of `SHOW CLIENTS`.
#[derive(Debug, Clone)]
pub struct ClientRow {
    pub id: u64,
    pub user: String,
    pub database: String,
    pub state: ClientState,
    /// An address; `unix` for a Unix socket, with port 0.
    pub addr: String,
    pub port: u16,
    pub local_addr: String,
    pub local_port: u16,
    pub connect_time: SystemTime,
    pub request_time: SystemTime,
    /// How long it has waited until now; zero unless it waits.
    pub wait: Duration,
    /// The upstream connection that it has: [`ServerRow::id`].
    pub link: Option<u64>,
    /// Of a client on a Unix socket, where the system tells.
    pub remote_pid: u32,
    /// Protocol and cipher; empty in clear.
    pub tls: String,
    pub application_name: String,
    pub prepared_statements: usize,
    /// Why it keeps its upstream connection; empty if it does not.
    pub pins: Vec<&'static str>,
}

/// What an upstream connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServerState {
    #[default]
    Idle,
    Active,
    /// Being read back or reset.
    Tested,
    /// Logging in.
    New,
    /// Kept back until a cancel request for it is done.
    BeingCancelled,
}

impl ServerState {
    pub fn as_str(self) -> &'static str {
        match self {
            ServerState::Idle => "idle",
            ServerState::Active => "active",
            ServerState::Tested => "tested",
            ServerState::New => "new",
            ServerState::BeingCancelled => "being_canceled",
        }
    }
}

/// A line of `SHOW SERVERS`.
#[derive(Debug, Clone)]
pub struct ServerRow {
    pub id: u64,
    pub user: String,
    pub database: String,
    pub state: ServerState,
    pub addr: String,
    pub port: u16,
    pub local_addr: String,
    pub local_port: u16,
    pub connect_time: SystemTime,
    pub request_time: SystemTime,
    /// It will be closed as soon as it is free.
    pub close_needed: bool,
    /// The client that has it: [`ClientRow::id`].
    pub link: Option<u64>,
    /// The backend's.
    pub remote_pid: u32,
    pub tls: String,
    /// Of the client that has it.
    pub application_name: String,
    pub prepared_statements: usize,
    /// Why its client keeps it; empty if it does not.
    pub pins: Vec<&'static str>,
}

/// A line of `SHOW USERS`.
#[derive(Debug, Clone)]
pub struct UserRow {
    pub name: String,
    /// Where it differs from the general one.
    pub pool_mode: Option<crate::config::PoolMode>,
    pub pool_size: Option<usize>,
    /// Upstream.
    pub connections: usize,
    pub clients: usize,
}

/// One configuration key in force.
#[derive(Debug, Clone)]
pub struct ConfigRow {
    /// `section.key`.
    pub key: String,
    /// Never a secret.
    pub value: String,
    pub default: String,
    /// Whether RELOAD and SET suffice.
    pub changeable: bool,
}

/// What is cached of one relation.
#[derive(Debug, Clone)]
pub struct CacheTableRow {
    pub database: String,
    /// `schema.table`.
    pub relation: String,
    pub entries: u64,
    pub bytes: u64,
    pub hits: u64,
    /// Lookups that found an entry which a write had made stale.
    pub stale: u64,
    pub stores: u64,
}

/// One `[[cache.rules]]`, in order.
#[derive(Debug, Clone)]
pub struct CacheRuleRow {
    pub rule: crate::config::CacheRule,
    /// Statements that it decided.
    pub matched: u64,
}

/// A shape that verification has taken out of the cache, with the evidence; no values.
#[derive(Debug, Clone)]
pub struct MismatchRow {
    pub database: String,
    pub shape: String,
    pub found_at: SystemTime,
    /// How long before it had been read.
    pub entry_age: Duration,
    pub cached_rows: u64,
    /// Differs between processes.
    pub cached_hash: String,
    pub server_rows: u64,
    pub server_hash: String,
    /// What the entry depends on.
    pub relations: Vec<String>,
    /// Without literals.
    pub statement: String,
}

/// A session that keeps its upstream connection, once for each reason.
#[derive(Debug, Clone)]
pub struct PinRow {
    pub client_id: u64,
    pub database: String,
    pub user: String,
    pub application_name: String,
    pub reason: &'static str,
    /// The backend that it keeps.
    pub server_pid: u32,
}
