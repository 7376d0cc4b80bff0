//! A connection's place among the others: counted, recorded, growing old.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::cancel::CancelGate;
use super::introduction::Introduction;
use super::pool::Pool;

/// What the pool knows of a connection that it opened.
pub(crate) struct Standing {
    /// The pool's generation when it was opened.
    pub generation: u64,
    /// When it is too old to be leased again.
    pub retires_at: Option<Instant>,
    /// Since when nobody has it.
    pub idle_since: Instant,
    /// Not to be leased again, but otherwise in order.
    pub retired: bool,
    pub record: Arc<ServerRecord>,
    /// Given back, and so counted off, when the connection is gone.
    pub _slot: Slot,
}

/// Room for the connections of all users of one database.
pub(super) struct DatabaseRoom {
    taken: AtomicUsize,
    /// `max_db_connections`; zero is no limit.
    limit: AtomicUsize,
    /// Pools that have waiters, no connection, and no room to open one.
    starving: AtomicUsize,
    /// Changes when a place becomes free.
    pub freed: watch::Sender<()>,
    pools: Mutex<Vec<Weak<Pool>>>,
}

impl DatabaseRoom {
    pub fn new(limit: usize) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
            starving: AtomicUsize::new(0),
            freed: watch::Sender::new(()),
            pools: Mutex::default(),
        }
    }

    /// A pool takes its places here from now on.
    pub fn join(&self, pool: &Arc<Pool>) {
        let mut pools = self.pools.lock();
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(pool));
    }

    /// Closes an idle connection of another user's pool, so that `asking` can
    /// open one; its keeper is told when the place is free. Only the `starving`
    /// may cut into another's minimum.
    pub fn ask_for_room(&self, asking: &Arc<Pool>, starving: bool) {
        let pools: Vec<_> = self.pools.lock().iter().filter_map(Weak::upgrade).collect();
        let mut others = pools.iter().filter(|pool| !Arc::ptr_eq(pool, asking));
        others.any(|pool| pool.close_one_idle(starving));
    }

    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
        self.freed.send_replace(());
    }

    pub fn is_full(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        limit > 0 && self.taken.load(Ordering::Relaxed) >= limit
    }

    fn is_beyond_limit(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        limit > 0 && self.taken.load(Ordering::Relaxed) > limit
    }

    /// Whether some pool should get the next place before any that has one.
    pub fn is_anybody_starving(&self) -> bool {
        self.starving.load(Ordering::Relaxed) > 0
    }

    pub fn count_starving(&self, was: bool, is: bool) {
        match (was, is) {
            (false, true) => self.starving.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.starving.fetch_sub(1, Ordering::Relaxed),
            _ => return,
        };
        self.freed.send_replace(());
    }

    /// Whether a connection that comes back should be closed so that another
    /// user's pool can open one.
    pub fn wants_one_back(&self) -> bool {
        self.is_beyond_limit() || (self.is_full() && self.is_anybody_starving())
    }
}

/// Room for one pool's connections, and the list of them.
pub(super) struct PoolRoom {
    pub database: Arc<DatabaseRoom>,
    taken: AtomicUsize,
    /// Rung when the keeper may have something to do.
    pub bell: Notify,
    next_id: AtomicU64,
    servers: Mutex<BTreeMap<u64, Arc<ServerRecord>>>,
    introduction: Option<Arc<dyn Introduction>>,
}

impl PoolRoom {
    pub fn new(
        database: Arc<DatabaseRoom>,
        introduction: Option<Arc<dyn Introduction>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            database,
            taken: AtomicUsize::new(0),
            bell: Notify::new(),
            next_id: AtomicU64::new(1),
            servers: Mutex::default(),
            introduction,
        })
    }

    /// Connections that are open or being opened.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    pub fn introduction(&self) -> Option<&Arc<dyn Introduction>> {
        self.introduction.as_ref()
    }

    /// A place for one more, if the database's limit leaves one.
    pub fn take(self: &Arc<Self>) -> Option<Slot> {
        let database = &self.database;
        let limit = database.limit.load(Ordering::Relaxed);
        let next = |taken| (limit == 0 || taken < limit).then_some(taken + 1);
        let relaxed = Ordering::Relaxed;
        database.taken.fetch_update(relaxed, relaxed, next).ok()?;
        self.taken.fetch_add(1, Ordering::Relaxed);
        Some(Slot {
            room: Arc::clone(self),
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
        })
    }

    pub fn servers(&self) -> Vec<ServerInfo> {
        let servers = self.servers.lock();
        servers.values().map(|record| record.info()).collect()
    }
}

/// One place. Dropping it takes no lock that a pool holds, so that connections
/// can be dropped anywhere.
pub(super) struct Slot {
    room: Arc<PoolRoom>,
    id: u64,
}

impl Slot {
    pub fn record(&self, record: Arc<ServerRecord>) {
        self.room.servers.lock().insert(self.id, record);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let record = self.room.servers.lock().remove(&self.id);
        self.room.taken.fetch_sub(1, Ordering::Relaxed);
        self.room.database.taken.fetch_sub(1, Ordering::Relaxed);
        if let (Some(record), Some(introduction)) = (record, &self.room.introduction) {
            introduction.departed(&record.info());
        }
        self.room.bell.notify_one();
        self.room.database.freed.send_replace(());
    }
}

/// Whether somebody has the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    Idle,
    Active,
    /// Active, and not counted while it is.
    Pinned,
    /// Nobody's, until a cancel of what ran there is over.
    BeingCancelled,
}

impl ServerState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Active => "active",
            Self::Pinned => "pinned",
            Self::BeingCancelled => "being_canceled",
        }
    }
}

/// One line of `SHOW SERVERS`.
#[derive(Clone, Debug)]
pub struct ServerInfo {
    pub database: String,
    pub user: String,
    pub pid: u32,
    pub state: ServerState,
    pub connected_at: SystemTime,
    /// When it was last leased.
    pub requested_at: Option<SystemTime>,
    pub application: String,
    /// Absent on a Unix socket.
    pub local: Option<SocketAddr>,
    pub remote: Option<SocketAddr>,
    /// `host:port`, or the path of the socket.
    pub address: String,
    /// Protocol and cipher; empty in clear.
    pub tls: String,
    /// The pool's generation when it was opened.
    pub generation: u64,
    /// It is of an older generation, and will be closed when it comes back.
    pub close_needed: bool,
    /// Statements that are prepared there, as of the end of the last unit.
    pub statements: usize,
    /// Cancels of what runs there that are under way.
    pub cancels: usize,
}

pub(crate) struct ServerRecord {
    /// As of the login; what changes stands beside it.
    at_login: ServerInfo,
    state: AtomicU8,
    requested_ms: AtomicU64,
    application: Mutex<String>,
    statements: AtomicUsize,
    gate: Arc<CancelGate>,
}

impl ServerRecord {
    pub fn new(at_login: ServerInfo, gate: Arc<CancelGate>) -> Self {
        Self {
            at_login,
            state: AtomicU8::new(0),
            requested_ms: AtomicU64::new(0),
            application: Mutex::default(),
            statements: AtomicUsize::new(0),
            gate,
        }
    }

    pub fn note_statements(&self, count: usize) {
        self.statements.store(count, Ordering::Relaxed);
    }

    pub fn leased(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_ms = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        self.requested_ms.store(now_ms, Ordering::Relaxed);
        self.set_state(ServerState::Active);
    }

    pub fn set_state(&self, state: ServerState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    pub fn set_application(&self, name: &str) {
        let mut application = self.application.lock();
        if *application != name {
            name.clone_into(&mut application);
        }
    }

    pub(super) fn info(&self) -> ServerInfo {
        let state = match self.state.load(Ordering::Relaxed) {
            1 => ServerState::Active,
            2 => ServerState::Pinned,
            3 => ServerState::BeingCancelled,
            _ => ServerState::Idle,
        };
        let requested_ms = self.requested_ms.load(Ordering::Relaxed);
        let requested = UNIX_EPOCH.checked_add(Duration::from_millis(requested_ms));
        ServerInfo {
            state,
            requested_at: requested.filter(|_| requested_ms > 0),
            application: self.application.lock().clone(),
            statements: self.statements.load(Ordering::Relaxed),
            cancels: self.gate.under_way(),
            ..self.at_login.clone()
        }
    }
}
