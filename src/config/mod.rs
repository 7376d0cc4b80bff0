//! What an operator may set, with the defaults in one place.
//!
//! Every section is a struct of validated values; a room is given the section
//! that it needs, never the whole. [`Source::load`] merges defaults, file,
//! environment and flags, checks the result as a whole, and remembers where
//! each value came from.
//!
//! A key stands in two places: its field and default here, its row (name, kind,
//! range, reload, words for users) in [`keys`]. Everything else follows from
//! the row: the file, the environment, `--set`, `print-config`, `config.toml`
//! and what a reload may change.

mod check;
mod check_lists;
mod error;
mod file;
mod hidden;
mod hosts;
pub mod keys;
mod load;
mod markdown;
mod merge;
mod nearest;
mod print;
mod reload;
mod secret;
mod table;
mod units;
pub mod url;
mod userlist;
mod value;
mod words;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use error::{ConfigError, ConfigErrors, Origin, Problem};
pub use hosts::{Host, TargetSessionAttrs};
pub(crate) use load::split_address;
pub use load::{Source, check_text};
pub use markdown::markdown;
pub use merge::{Loaded, Origins};
pub use print::{print, reference};
pub use reload::{Changes, diff, effective};
pub use secret::{Secret, Watch};
pub(crate) use units::parse_time;

/// The whole configuration: an immutable snapshot, replaced as one on reload.
#[derive(Debug, Clone, Default)]
pub struct Config {
    pub listen: ListenConfig,
    pub auth: AuthConfig,
    pub client_tls: ClientTlsConfig,
    pub upstream: UpstreamConfig,
    pub server_tls: ServerTlsConfig,
    pub pool: PoolConfig,
    pub cache: CacheConfig,
    pub redis: RedisConfig,
    pub slow_log: SlowLogConfig,
    pub http: HttpConfig,
    pub log: LogConfig,
    pub databases: Vec<DatabaseConfig>,
    pub users: Vec<UserConfig>,
    /// Files whose content counts (secrets, certificates, keys): when one changes, load again ([`Watch`]).
    pub watched_files: Vec<PathBuf>,
}

/// What is known of a user: both `None` where only the name is.
#[derive(Debug, Clone, Default)]
pub struct UserSecrets {
    pub password: Option<Secret>,
    /// As `pg_authid.rolpassword` holds it.
    pub verifier: Option<Secret>,
}

impl Config {
    /// The secrets of `user`: of each kind, what `[[users]]` says, else `auth_file`, else the URL.
    /// `None` where nobody of that name is known.
    pub fn secrets(&self, user: &str) -> Option<UserSecrets> {
        let entry = self.users.iter().find(|entry| entry.name == user);
        let listed = self.auth.listed.get(user);
        let is_url = self.upstream.user.as_deref() == Some(user);
        if entry.is_none() && listed.is_none() && !is_url {
            return None;
        }
        let mut secrets = UserSecrets::default();
        if is_url {
            secrets.password.clone_from(&self.upstream.password);
        }
        match listed {
            Some(secret) if secret.is_verifier() => secrets.verifier = Some(secret.clone()),
            Some(secret) => secrets.password = Some(secret.clone()),
            None => {}
        }
        if let Some(entry) = entry {
            // An entry without a secret only sets a user's pool.
            if entry.password.is_some() {
                secrets.password.clone_from(&entry.password);
                // A password in [[users]] is not overruled by a verifier in auth_file.
                secrets.verifier = None;
            }
            if entry.scram_secret.is_some() {
                secrets.verifier.clone_from(&entry.scram_secret);
            }
        }
        Some(secrets)
    }

    /// Everybody of whom something is known.
    pub fn known_users(&self) -> impl Iterator<Item = &str> {
        let entries = self.users.iter().map(|entry| entry.name.as_str());
        let listed = self.auth.listed.keys().map(String::as_str);
        entries.chain(listed).chain(self.upstream.user.as_deref())
    }
}

/// `[listen]`: where applications connect.
#[derive(Debug, Clone)]
pub struct ListenConfig {
    /// `listen_addr`: address to listen on; `*` is every interface, empty is none.
    pub listen_addr: String,
    /// `listen_port`.
    pub listen_port: u16,
    /// `unix_socket_dir`: also listen on `<dir>/.s.PGSQL.<port>`.
    pub unix_socket_dir: Option<PathBuf>,
    /// `max_client_conn`: clients at once; one more gets 53300.
    pub max_client_conn: usize,
    /// `client_login_timeout`: from accept to the first ReadyForQuery.
    pub client_login_timeout: Duration,
    /// `client_idle_timeout`: zero is never.
    pub client_idle_timeout: Duration,
    /// `idle_transaction_timeout`: zero is never.
    pub idle_transaction_timeout: Duration,
    /// `max_message_size`: the longest message a client may send, in bytes.
    pub max_message_size: usize,
    /// `unit_buffer_size`: bytes of messages kept until Sync before they stream upstream uncached.
    pub unit_buffer_size: usize,
    /// `client_write_timeout`: a client that takes nothing of its answer for this long is given up.
    pub client_write_timeout: Duration,
    /// `notification_buffer_size`: bytes of notifications that wait for one session.
    pub notification_buffer_size: usize,
    /// `ignore_startup_parameters`: names accepted and dropped.
    pub ignore_startup_parameters: Vec<String>,
    /// `drain_timeout`: how long SIGTERM waits for transactions to end.
    pub drain_timeout: Duration,
    /// `workers`: threads that serve clients; `None` is one per core.
    pub workers: Option<usize>,
}

impl Default for ListenConfig {
    fn default() -> Self {
        Self {
            listen_addr: "127.0.0.1".into(),
            listen_port: 6432,
            unix_socket_dir: None,
            max_client_conn: 5000,
            client_login_timeout: Duration::from_secs(60),
            client_idle_timeout: Duration::ZERO,
            idle_transaction_timeout: Duration::ZERO,
            max_message_size: 1 << 30,
            unit_buffer_size: 1 << 20,
            client_write_timeout: Duration::from_secs(3600),
            notification_buffer_size: 8 << 20,
            ignore_startup_parameters: Vec::new(),
            drain_timeout: Duration::from_secs(30),
            workers: None,
        }
    }
}

/// How clients prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuthType {
    Trust,
    #[default]
    ScramSha256,
    Md5,
    /// By a certificate with the user's name.
    Cert,
    /// As `auth_hba_file` says.
    Hba,
    /// By the password in clear, which the server is asked about.
    Passthrough,
}

/// Where passwords may be asked for in clear without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WithoutTls {
    #[default]
    Off,
    /// On the Unix socket.
    Unix,
    /// There, and from this machine's loopback addresses.
    Loopback,
}

/// `[auth]`.
#[derive(Debug, Clone)]
pub struct AuthConfig {
    pub auth_type: AuthType,
    /// `auth_file`: PgBouncer's user list.
    pub auth_file: Option<PathBuf>,
    /// What stands in it, by user: passwords, or what `pg_authid.rolpassword` holds.
    pub listed: Arc<HashMap<String, Secret>>,
    /// `auth_hba_file`: rules in the syntax of `pg_hba.conf`.
    pub auth_hba_file: Option<PathBuf>,
    /// `auth_ident_file`: maps in the syntax of `pg_ident.conf`.
    pub auth_ident_file: Option<PathBuf>,
    /// `auth_user`: who asks the server with `auth_query`; `None` turns it off.
    pub auth_user: Option<String>,
    /// `auth_query`: for the user `$1`, one row of name and secret.
    pub auth_query: String,
    /// `auth_dbname`: where to ask; `None` is the client's own database.
    pub auth_dbname: Option<String>,
    /// `auth_query_ttl`: how long an answer counts; zero asks for every login.
    pub auth_query_ttl: Duration,
    /// `passthrough_ttl`: how long the server's yes to a password counts; zero asks for every login.
    pub passthrough_ttl: Duration,
    /// `passthrough_without_tls`.
    pub passthrough_without_tls: WithoutTls,
    /// `learned_lifetime`: how long what a login has shown logs its user in upstream.
    pub learned_lifetime: Duration,
    /// `admin_users`: may change things on the console.
    pub admin_users: Vec<String>,
    /// `stats_users`: may only SHOW.
    pub stats_users: Vec<String>,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            auth_type: AuthType::default(),
            auth_file: None,
            auth_hba_file: None,
            auth_ident_file: None,
            listed: Arc::default(),
            auth_user: None,
            auth_query:
                "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END \
                         FROM pg_authid WHERE rolname = $1 AND rolcanlogin"
                    .into(),
            auth_dbname: None,
            auth_query_ttl: Duration::from_secs(10),
            passthrough_ttl: Duration::from_secs(10),
            passthrough_without_tls: WithoutTls::default(),
            learned_lifetime: Duration::from_secs(3600),
            admin_users: Vec::new(),
            stats_users: Vec::new(),
        }
    }
}

/// `[client_tls]`: TLS towards applications.
#[derive(Debug, Clone, Default)]
pub struct ClientTlsConfig {
    /// `client_tls_sslmode`: disable, allow, require, verify-ca, verify-full.
    pub sslmode: ClientSslMode,
    pub key_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    /// `client_tls_ca_file`: who vouches for certificates of clients; `None` asks for none.
    pub ca_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientSslMode {
    /// SSLRequest is answered `N`.
    #[default]
    Disable,
    /// Offered, not demanded.
    Allow,
    /// A startup packet in clear is refused with 28000.
    Require,
    /// And so is a client without a certificate. Whose it must be, `auth_type` says.
    Verify,
}

impl ClientSslMode {
    /// Whether clients in clear are turned away.
    pub fn is_required(self) -> bool {
        match self {
            ClientSslMode::Disable | ClientSslMode::Allow => false,
            ClientSslMode::Require | ClientSslMode::Verify => true,
        }
    }
}

/// `[upstream]`: the PostgreSQL server.
#[derive(Debug, Clone)]
pub struct UpstreamConfig {
    /// The URL as it was given. Its parts already stand in the fields below and in `[server_tls]`: use those.
    pub url: Option<Secret>,
    /// Host name, address, or the directory of a Unix socket (begins with `/`); several of them, with
    /// commas in between, may have ports of their own. Use [`UpstreamConfig::hosts`].
    pub host: String,
    /// Of hosts that name none.
    pub port: u16,
    /// `target_session_attrs`: `None` is `primary` of several hosts, `any` of one.
    pub target_session_attrs: Option<TargetSessionAttrs>,
    /// The URL's user: clients of this name log in with the URL's password.
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// The URL's database, where control connections go when no client named one yet.
    pub dbname: Option<String>,
    /// `application_name` of our own control connections; clients' own names pass unchanged.
    pub application_name: String,
    /// `options` of the StartupMessage of every upstream connection (`-c name=value …`), before a client's own.
    pub options: Option<String>,
    /// `server_connect_timeout`.
    pub server_connect_timeout: Duration,
    /// `login_failures_max`: how many refused logins of one user are tried within the window.
    pub login_failures_max: u32,
    /// `login_failures_window`.
    pub login_failures_window: Duration,
    /// `query_timeout`: zero is never.
    pub query_timeout: Duration,
    /// `abandoned_timeout`: how long a statement goes on without its client; zero is for ever.
    pub abandoned_timeout: Duration,
    /// `cancel_wait_timeout`: how long a lease waits for a cancel connection to be closed by the server.
    pub cancel_wait_timeout: Duration,
    /// `state_dir`: where open upstream connections are written down.
    pub state_dir: Option<PathBuf>,
    /// `lazy_begin`: BEGIN is sent with the first statement that needs the server.
    pub lazy_begin: bool,
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self {
            url: None,
            host: "127.0.0.1".into(),
            port: 5432,
            target_session_attrs: None,
            user: None,
            password: None,
            dbname: None,
            application_name: "pgditto".into(),
            options: None,
            server_connect_timeout: Duration::from_secs(15),
            login_failures_max: 5,
            login_failures_window: Duration::from_secs(60),
            query_timeout: Duration::ZERO,
            abandoned_timeout: Duration::from_secs(3600),
            cancel_wait_timeout: Duration::from_secs(10),
            state_dir: None,
            lazy_begin: true,
        }
    }
}

/// `[server_tls]`: TLS towards PostgreSQL, libpq's `sslmode` words.
#[derive(Debug, Clone, Default)]
pub struct ServerTlsConfig {
    pub sslmode: SslMode,
    pub sslnegotiation: SslNegotiation,
    /// `server_tls_ca_file`: trusted roots; the system's when absent.
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SslMode {
    Disable,
    Allow,
    #[default]
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// How TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SslNegotiation {
    /// The server is asked whether it has TLS.
    #[default]
    Postgres,
    /// With the first byte: PostgreSQL 17.
    Direct,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PoolMode {
    #[default]
    Transaction,
    Session,
}

/// `[pool]`: limits of one (database, user) pool.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    pub pool_mode: PoolMode,
    pub default_pool_size: usize,
    pub min_pool_size: usize,
    pub reserve_pool_size: usize,
    /// `reserve_pool_timeout`: a client that waited this long may use the reserve.
    pub reserve_pool_timeout: Duration,
    /// `max_db_connections`: over all users of one database; zero is no limit.
    pub max_db_connections: usize,
    /// `max_pinned_connections`: pinned beyond the pool's size; `None` is `default_pool_size`.
    pub max_pinned_connections: Option<usize>,
    /// `max_replication_connections`: of the process, beside the pools; zero refuses them.
    pub max_replication_connections: usize,
    pub query_wait_timeout: Duration,
    pub server_lifetime: Duration,
    pub server_idle_timeout: Duration,
    /// `max_prepared_statements`: per upstream connection.
    pub max_prepared_statements: usize,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            pool_mode: PoolMode::Transaction,
            default_pool_size: 20,
            min_pool_size: 0,
            reserve_pool_size: 0,
            reserve_pool_timeout: Duration::from_secs(5),
            max_db_connections: 0,
            max_pinned_connections: None,
            max_replication_connections: 10,
            query_wait_timeout: Duration::from_secs(120),
            server_lifetime: Duration::from_secs(3600),
            server_idle_timeout: Duration::from_secs(600),
            max_prepared_statements: 200,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheMode {
    Off,
    /// Never serves; counts what it would have served and checks it.
    Shadow,
    #[default]
    On,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Linearizable for every write through pgditto.
    #[default]
    Strict,
    /// At most `ttl` old.
    Ttl,
}

/// `[cache]` and `[[cache.rules]]`.
#[derive(Debug, Clone)]
pub struct CacheConfig {
    pub mode: CacheMode,
    pub level: Level,
    /// How long any entry may live, at every level.
    pub ttl: Duration,
    /// `memory_limit`, in bytes, overhead included.
    pub memory_limit: u64,
    /// `key_memory`: for counters of keys, in bytes, of each database; without any, writes
    /// invalidate whole tables.
    pub key_memory: u64,
    /// `learn_keys`: changes are sent with a RETURNING where that tells which keys they change.
    pub learn_keys: bool,
    /// `hold_commits_from`: the commit of statements that touch much and take so long is a step of its own; zero is never.
    pub hold_commits_from: Duration,
    /// `max_entry_size`, in bytes.
    pub max_entry_size: usize,
    /// `lease`: hits need a round trip to the guard no older than this.
    pub lease: Duration,
    /// `catalog_watch_interval`: how often DDL from outside is looked for.
    pub catalog_watch_interval: Duration,
    /// `single_flight_timeout`, `single_flight_waiters`: bounds for coalesced misses.
    pub single_flight_timeout: Duration,
    pub single_flight_waiters: usize,
    pub verify: VerifyConfig,
    pub rules: Vec<CacheRule>,
}

/// `[cache.verify]`: hits that are compared with the server's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifyConfig {
    /// The share of hits, from 0 to 1.
    pub sample: f64,
    /// `concurrency`, `queue`: how many are compared at once, and how many wait for that.
    pub concurrency: usize,
    pub queue: usize,
    /// Of one comparison.
    pub timeout: Duration,
}

impl Default for VerifyConfig {
    fn default() -> Self {
        Self {
            sample: 0.0,
            concurrency: 1,
            queue: 100,
            timeout: Duration::from_secs(5),
        }
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            mode: CacheMode::On,
            level: Level::Strict,
            ttl: Duration::from_secs(60),
            memory_limit: 256 << 20,
            key_memory: 48 << 20,
            learn_keys: true,
            hold_commits_from: Duration::from_millis(50),
            max_entry_size: 1 << 20,
            lease: Duration::from_secs(1),
            catalog_watch_interval: Duration::from_secs(1),
            single_flight_timeout: Duration::from_secs(5),
            single_flight_waiters: 1000,
            verify: VerifyConfig::default(),
            rules: Vec::new(),
        }
    }
}

impl CacheConfig {
    /// Functions of users that some rule vouches for, sorted.
    pub fn vouched_functions(&self) -> Vec<String> {
        let functions = self.rules.iter().flat_map(|rule| &rule.functions);
        let mut functions: Vec<String> = functions.cloned().collect();
        functions.sort();
        functions.dedup();
        functions
    }
}

/// One `[[cache.rules]]`: every condition that is given must match; the first rule that matches decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheRule {
    /// Every relation of the statement must match one of these (`schema.table`, `table`, `*` as a wildcard).
    pub tables: Vec<String>,
    pub users: Vec<String>,
    pub databases: Vec<String>,
    /// A shape's id as the slow log and `SHOW QUERIES` print it.
    pub shape: Option<String>,
    /// `cache = false` keeps what matches out of the cache.
    pub cache: Option<bool>,
    pub level: Option<Level>,
    pub ttl: Option<Duration>,
    pub tags: Vec<String>,
    /// `functions`: user functions that this rule vouches for.
    pub functions: Vec<String>,
}

/// `[redis]`: the second tier; off without `url`.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    pub url: Option<Secret>,
    /// `timeout`: the longest a lookup may wait for Redis.
    pub timeout: Duration,
    pub connect_timeout: Duration,
    /// `retry_interval`: how long Redis is left alone after failures.
    pub retry_interval: Duration,
    /// `fleet_name`: the `<fleet>` of `pgditto:<fleet>:<hash>`.
    pub fleet_name: Option<String>,
    /// Values smaller than this stay in memory only, in bytes.
    pub min_entry_size: usize,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: None,
            timeout: Duration::from_millis(5),
            connect_timeout: Duration::from_secs(1),
            retry_interval: Duration::from_secs(1),
            fleet_name: None,
            min_entry_size: 0,
        }
    }
}

/// `[slow_log]`.
#[derive(Debug, Clone)]
pub struct SlowLogConfig {
    /// Zero is never, for both.
    pub warn: Duration,
    pub error: Duration,
    /// `literals = true` keeps the statement as it came.
    pub literals: bool,
    /// `max_per_second`: lines beyond it are counted, not written.
    pub max_per_second: u32,
}

impl Default for SlowLogConfig {
    fn default() -> Self {
        Self {
            warn: Duration::from_secs(1),
            error: Duration::from_secs(5),
            literals: false,
            max_per_second: 10,
        }
    }
}

/// `[http]`: metrics, probes, drain.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// `listen`: `ADDR:PORT`; empty turns it off.
    pub listen: String,
    /// `admin_token_file`: without it everything that changes state is refused.
    pub admin_token_file: Option<PathBuf>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9930".into(),
            admin_token_file: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// `[log]`.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// A `tracing` filter, such as `info` or `pgditto=debug`.
    pub level: String,
    pub format: LogFormat,
    pub log_connections: bool,
    pub log_disconnections: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            level: "info".into(),
            format: LogFormat::Text,
            log_connections: false,
            log_disconnections: false,
        }
    }
}

/// One `[[databases]]`: a name that clients may ask for, and where it leads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatabaseConfig {
    /// The name clients ask for; `*` is every name that has no entry of its own.
    pub name: String,
    /// As `upstream.host`; `None` is the server of `[upstream]`.
    pub host: Option<String>,
    /// `None`: `upstream.port` where `host` is `None` too, else 5432.
    pub port: Option<u16>,
    /// `None`: that of `[upstream]` where `host` is `None` too, else by the number of hosts.
    pub target_session_attrs: Option<TargetSessionAttrs>,
    /// The database's name on the server; `None` is the name the client asked for.
    pub dbname: Option<String>,
    pub pool_mode: Option<PoolMode>,
    pub pool_size: Option<usize>,
}

/// One `[[users]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserConfig {
    pub name: String,
    pub password: Option<Secret>,
    /// A verifier as `pg_authid.rolpassword` holds it (`SCRAM-SHA-256$…` or `md5…`).
    pub scram_secret: Option<Secret>,
    pub pool_mode: Option<PoolMode>,
    pub pool_size: Option<usize>,
}
