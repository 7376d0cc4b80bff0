//! What is, at one moment: plain figures that the composition root collects
//! from the rooms, for a scrape and for the console.

use std::time::Duration;

use super::reason::Verification;
use crate::config::{CacheMode, PoolMode};

/// Everything that a gauge shows.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub phase: Phase,
    /// `PAUSE` of everything.
    pub paused: bool,
    /// `SUSPEND`.
    pub suspended: bool,
    /// Whether the server could be reached when it was last tried.
    pub upstream_reachable: bool,
    pub clients: ClientCounts,
    /// Users who have a password of their own.
    pub users: usize,
    /// Logins that the server has refused, and those that were not tried after that.
    pub failed_logins: (u64, u64),
    pub pools: Vec<PoolSnapshot>,
    pub databases: Vec<DatabaseSnapshot>,
    pub cache: CacheSnapshot,
    pub redis: RedisSnapshot,
    /// One for each database that was asked for.
    pub authorities: Vec<AuthoritySnapshot>,
    /// How many sessions are pinned now, by reason; a reason that is absent is zero.
    pub pinned: Vec<(&'static str, usize)>,
}

/// Whether new work is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    #[default]
    Serving,
    /// Transactions may end, and no client is accepted.
    Draining,
    /// Sessions end at once.
    Stopping,
}

impl Phase {
    pub const ALL: &'static [Phase] = &[Phase::Serving, Phase::Draining, Phase::Stopping];

    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Serving => "serving",
            Phase::Draining => "draining",
            Phase::Stopping => "stopping",
        }
    }
}

/// Clients of every pool, and those that have none yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientCounts {
    pub connected: usize,
    /// In a statement or a transaction.
    pub active: usize,
    /// For an upstream connection.
    pub waiting: usize,
    /// Connected and not logged in yet.
    pub logging_in: usize,
    /// `listen.max_client_conn`.
    pub limit: usize,
}

/// One pool. The names in the comments are PgBouncer's.
#[derive(Debug, Clone, Default)]
pub struct PoolSnapshot {
    pub database: String,
    pub user: String,
    /// `cl_active`: clients that do not wait, idle ones included.
    pub clients_active: usize,
    /// `cl_waiting`.
    pub clients_waiting: usize,
    /// `cl_active_cancel_req`: cancel requests that were sent on and are not done.
    pub cancels_active: usize,
    /// `cl_waiting_cancel_req`.
    pub cancels_waiting: usize,
    /// `sv_active`, pinned ones included.
    pub servers_active: usize,
    /// `sv_being_canceled`: kept back until a cancel request for them is done.
    pub servers_being_cancelled: usize,
    /// `sv_idle`.
    pub servers_idle: usize,
    /// `sv_tested`: being read back or reset.
    pub servers_tested: usize,
    /// `sv_login`.
    pub servers_login: usize,
    /// Of the active ones, those that a session keeps.
    pub servers_pinned: usize,
    /// How long the client at the head of the queue has waited.
    pub wait_max: Duration,
    pub pool_mode: PoolMode,
    pub pool_size: usize,
    pub reserve_pool_size: usize,
    pub pinned_limit: usize,
}

/// One database that clients may ask for.
#[derive(Debug, Clone, Default)]
pub struct DatabaseSnapshot {
    pub name: String,
    /// Of several servers the one in use.
    pub host: Option<String>,
    pub port: u16,
    /// [`AuthoritySnapshot::database`] of its authority, if there is one.
    pub authority: Option<String>,
    /// Its name on the server.
    pub dbname: String,
    pub pool_size: usize,
    pub min_pool_size: usize,
    pub reserve_pool_size: usize,
    pub server_lifetime: Duration,
    /// Where it differs from the general one.
    pub pool_mode: Option<PoolMode>,
    /// `max_db_connections`; zero is no limit.
    pub connections_limit: usize,
    pub connections: usize,
    pub clients: usize,
    pub paused: bool,
    /// No new client is let in.
    pub disabled: bool,
}

/// The cache as a whole. All that is not "now" only grows.
#[derive(Debug, Clone, Default)]
pub struct CacheSnapshot {
    pub mode: CacheMode,
    /// Now.
    pub entries: u64,
    /// Now.
    pub bytes: u64,
    pub bytes_limit: u64,
    /// Lookups by result: hit, and then why not.
    pub hits: u64,
    pub absent: u64,
    pub stale: u64,
    pub marked: u64,
    pub expired: u64,
    pub flushed: u64,
    pub stores: u64,
    /// Answers not kept because a write came between.
    pub refused: u64,
    /// Answers not kept because of their size.
    pub too_large: u64,
    /// Entries given up for want of room.
    pub evictions: u64,
    pub flights: FlightSnapshot,
    /// `mode = "shadow"`: answers that would have been served, and of those that could be
    /// compared, how many were the server's.
    pub shadow_hits: u64,
    pub shadow_matches: u64,
    pub shadow_mismatches: u64,
    pub verify: VerifySnapshot,
}

/// Hits that were to be compared with the server's answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerifySnapshot {
    /// In the order of [`Verification::ALL`].
    pub results: [u64; Verification::ALL.len()],
    /// How many wait for it now.
    pub waiting: usize,
    /// Shapes that are out of the cache since one was wrong.
    pub shapes_off: usize,
}

/// Concurrent misses of the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlightSnapshot {
    pub led: u64,
    pub joined: u64,
    /// Of those that joined, how many were served by the leader's query.
    pub shared: u64,
    pub refused: u64,
    pub timed_out: u64,
    /// Now.
    pub flying: usize,
}

/// The second tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RedisState {
    /// `redis.url` is not set.
    #[default]
    Off,
    Connected,
    /// Left alone until `redis.retry_interval` is over.
    Down,
}

impl RedisState {
    pub const ALL: &'static [RedisState] =
        &[RedisState::Off, RedisState::Connected, RedisState::Down];

    pub fn as_str(self) -> &'static str {
        match self {
            RedisState::Off => "off",
            RedisState::Connected => "connected",
            RedisState::Down => "down",
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RedisSnapshot {
    pub state: RedisState,
    pub hits: u64,
    pub misses: u64,
    pub stores: u64,
    pub errors: u64,
    pub timeouts: u64,
}

/// Whether one database's cached answers may be given now.
#[derive(Debug, Clone, Default)]
pub struct AuthoritySnapshot {
    pub database: String,
    /// `None`: they may. Else why not, as [`Bypass`](crate::sql::Bypass) names it: guard, start_barrier,
    /// not_alone, pooler_upstream, catalog_stale.
    pub hindrance: Option<crate::sql::Bypass>,
    /// Age of the guard's last proof.
    pub proof_age: Option<Duration>,
    /// Transactions of others that were seen writing, since the process began.
    pub foreign_writers: u64,
    /// Relations in the catalogue's picture.
    pub relations: usize,
    /// Column sets by whose values answers are told apart.
    pub key_classes: usize,
    /// Keys that answers depend on, as far as their counters tell.
    pub keys: u64,
    /// What the counters of keys take, and `cache.key_memory`.
    pub key_bytes: u64,
    pub key_bytes_limit: u64,
    /// Guards lost since the start.
    pub guards_lost: u64,
    /// Guards that stood on another server than the one before, or after a restart of it.
    pub server_changes: u64,
    /// Changes of the catalogue by somebody else that were found since the start.
    pub catalogue_found: u64,
}

impl Snapshot {
    /// Clients that may still connect.
    pub fn free_clients(&self) -> usize {
        self.clients.limit.saturating_sub(self.clients.connected)
    }

    /// Upstream connections that nobody has.
    pub fn free_servers(&self) -> usize {
        self.pools.iter().map(|pool| pool.servers_idle).sum()
    }

    /// Upstream connections that somebody has, or that are being prepared for use.
    pub fn used_servers(&self) -> usize {
        let used = |pool: &PoolSnapshot| {
            pool.servers_active
                + pool.servers_being_cancelled
                + pool.servers_tested
                + pool.servers_login
        };
        self.pools.iter().map(used).sum()
    }
}

pub fn pool_mode_word(mode: PoolMode) -> &'static str {
    match mode {
        PoolMode::Transaction => "transaction",
        PoolMode::Session => "session",
    }
}

pub fn cache_mode_word(mode: CacheMode) -> &'static str {
    match mode {
        CacheMode::Off => "off",
        CacheMode::Shadow => "shadow",
        CacheMode::On => "on",
    }
}
