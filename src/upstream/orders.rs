//! What an administrator can order a pool to do, and what it tells.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;

use super::connector::{Connector, Plan};
use super::counter::Worn;
use super::error::{LeaseError, UpstreamError};
use super::limits::Limits;
use super::pool::{Condition, Desk, Pool};
use super::standing::{ServerInfo, ServerState};
use crate::config::PoolMode;

/// One line of `SHOW POOLS`, and totals since the pool exists.
#[derive(Clone, Debug)]
pub struct PoolStats {
    pub database: String,
    pub user: String,
    pub mode: PoolMode,
    pub condition: Condition,
    /// Sessions that wait for a lease.
    pub cl_waiting: usize,
    /// How long the first of them has waited.
    pub maxwait: Duration,
    /// Cancel requests that were sent on and are not done; each has a connection of its own.
    pub cancels: usize,
    /// Leased, pinned ones too.
    pub sv_active: usize,
    /// Kept back until a cancel of what ran there is over.
    pub sv_being_canceled: usize,
    /// Idle and used a moment ago.
    pub sv_idle: usize,
    /// Idle for longer.
    pub sv_used: usize,
    /// Logging in.
    pub sv_login: usize,
    pub pinned: usize,
    pub pool_size: usize,
    pub reserve_pool_size: usize,
    pub leases_total: u64,
    /// Waits that ended without a lease.
    pub timeouts_total: u64,
    pub wait_total: Duration,
    pub connects_total: u64,
    pub connect_errors_total: u64,
}

impl Pool {
    /// PAUSE: new leases wait; idle connections are closed, busy ones when they
    /// come back. See [`drained`](Self::drained).
    pub fn pause(&self) {
        self.turn(Condition::Paused);
        self.close_idle();
    }

    /// RESUME, after a pause or a kill.
    pub fn resume(&self) {
        self.turn(Condition::Open);
    }

    /// RECONNECT: no connection of now is leased again. Idle ones are closed at
    /// once, busy ones when they come back.
    pub fn reconnect(&self) {
        self.blueprint.generation.fetch_add(1, Ordering::Relaxed);
        self.close_idle();
    }

    /// KILL: waiting sessions are refused, leasing ones are told by
    /// [`condition`](Self::condition); nothing is leased until `resume`.
    pub fn kill(&self) {
        self.refuse(Condition::Killed, &LeaseError::Killed);
    }

    /// As `kill`, for the end of the process.
    pub fn shut_down(&self) {
        self.refuse(Condition::ShuttingDown, &LeaseError::ShuttingDown);
    }

    fn refuse(&self, condition: Condition, error: &LeaseError) {
        self.turn(condition);
        let dismissed = self.desk.lock().shelf.dismiss_all();
        for waiter in dismissed {
            // One that is gone needs no answer.
            let _ = waiter.answer.send(Err(error.clone()));
        }
        self.reconnect();
    }

    fn turn(&self, condition: Condition) {
        let mut desk = self.desk.lock();
        // The process does not come back to life.
        if desk.condition != Condition::ShuttingDown {
            desk.condition = condition;
            self.condition.send_replace(condition);
        }
        drop(desk);
        self.room.bell.notify_one();
    }

    /// Closes every idle connection.
    pub fn close_idle(&self) {
        let mut worn = Worn::default();
        let mut desk = self.desk.lock();
        self.fetch_all_spare(&mut desk);
        worn.0 = desk.shelf.take_all();
        drop(desk);
    }

    /// Closes the connection that has been idle longest; false if none is idle,
    /// or too few are there and the minimum counts.
    pub(super) fn close_one_idle(&self, below_minimum: bool) -> bool {
        let mut worn = Worn::default();
        let minimum = self.limits.load().min;
        let mut desk = self.desk.lock();
        let too_few = self.room.taken() <= minimum && !below_minimum;
        if too_few || desk.shelf.queue_len() > 0 {
            return false;
        }
        self.fetch_all_spare(&mut desk);
        worn.0
            .extend(desk.shelf.take_oldest().map(|idle| idle.connection));
        drop(desk);
        !worn.0.is_empty()
    }

    /// Changes whenever the pool begins or ceases to lease. A session that holds
    /// a lease selects on it, to end on [`Condition::Killed`].
    pub fn condition(&self) -> watch::Receiver<Condition> {
        self.condition.subscribe()
    }

    /// Resolves when no lease is out. Cancel safe.
    pub async fn drained(&self) {
        loop {
            let quiet = self.quiet.notified();
            tokio::pin!(quiet);
            quiet.as_mut().enable();
            if self.desk.lock().leased == 0 {
                return;
            }
            quiet.await;
        }
    }

    /// How sessions of this database and user use their connections.
    pub fn mode(&self) -> PoolMode {
        self.limits.load().mode
    }

    /// Where new connections lead: for control connections to the same place.
    pub fn target(&self) -> super::Target {
        self.blueprint.plan.load().target.clone()
    }

    pub fn stats(&self) -> PoolStats {
        let limits = self.limits.load();
        let sv_used = self.bb8.lock().state().idle_connections;
        let total = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let servers = self.room.servers();
        let is_cancelled = |server: &&ServerInfo| server.state == ServerState::BeingCancelled;
        let sv_being_canceled = servers.iter().filter(is_cancelled).count();
        let desk = self.desk.lock();
        PoolStats {
            database: self.database().to_owned(),
            user: self.user().to_owned(),
            mode: limits.mode,
            condition: desk.condition,
            cl_waiting: desk.shelf.queue_len(),
            maxwait: desk
                .shelf
                .first_waits_since()
                .map_or(Duration::ZERO, |since| since.elapsed()),
            cancels: servers.iter().map(|server| server.cancels).sum(),
            sv_active: desk.leased.saturating_sub(sv_being_canceled),
            sv_being_canceled,
            sv_idle: desk.shelf.idle_len(),
            sv_used: usize::try_from(sv_used).unwrap_or(usize::MAX),
            sv_login: desk.opening,
            pinned: desk.pinned,
            pool_size: limits.size,
            reserve_pool_size: limits.reserve,
            leases_total: total(&self.counters.leases),
            timeouts_total: total(&self.counters.timeouts),
            wait_total: Duration::from_micros(total(&self.counters.wait_us)),
            connects_total: total(&self.counters.connects),
            connect_errors_total: total(&self.counters.connect_errors),
        }
    }

    /// One line per open connection, in the order of their opening.
    pub fn servers(&self) -> Vec<ServerInfo> {
        let generation = self.blueprint.generation.load(Ordering::Relaxed);
        let mut servers = self.room.servers();
        for server in &mut servers {
            server.close_needed = server.generation != generation;
        }
        servers
    }

    /// A reload: sizes take effect at once, another target or age limit lets
    /// the present connections go as they become idle.
    pub(super) fn update(&self, plan: Plan, limits: Limits) {
        let before = self.limits.swap(Arc::new(limits.clone()));
        let old_plan = self.blueprint.plan.swap(Arc::new(plan.clone()));
        let aged_otherwise =
            before.idle_timeout != limits.idle_timeout || before.lifetime != limits.lifetime;
        if aged_otherwise || !old_plan.target.is_same(&plan.target) {
            self.reconnect();
            // They were those of the old one.
            self.blueprint.brake.forget(&plan.target);
            self.desk.lock().failure = None;
        }
        if aged_otherwise {
            // The connections of the old one were made unfit, so none gets lost in it.
            *self.bb8.lock() = limits.build(Connector(Arc::clone(&self.blueprint)));
        }
        self.room.bell.notify_one();
    }

    /// What was learned is good for nothing any more: nothing is tried with it, and what was
    /// opened with it is closed, busy connections when they come back.
    pub(super) fn disown(&self, error: &UpstreamError) {
        let plan = self.blueprint.plan.load_full();
        if plan.is_learned {
            self.blueprint.disown(&plan, error);
        }
        self.reconnect();
    }

    /// What was learned has been refused or forgotten, and nothing has taken its place.
    pub(super) fn is_disowned(&self) -> bool {
        self.blueprint.plan.load().refused.is_some()
    }

    /// Nobody has, awaits or could reuse a connection.
    pub(super) fn is_unused(&self) -> bool {
        let unused = |desk: &Desk| desk.leased == 0 && desk.shelf.queue_len() == 0;
        self.room.taken() == 0 && unused(&self.desk.lock())
    }

    pub(super) fn connected(&self) {
        self.counters.connects.fetch_add(1, Ordering::Relaxed);
        self.desk.lock().failure = None;
    }
}
