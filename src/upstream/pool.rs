//! One pool: the connections of one user to one database, and who gets them.
//!
//! bb8 connects, checks, ages and reaps. It neither chooses among connections
//! nor is it fair to those who wait, so what is in use, or was a moment ago,
//! stays checked out here: on the [shelf](super::shelf), from where it goes to
//! the first in the queue or to the session it suits best. What lies unused
//! goes back to bb8. Nobody ever waits inside bb8.
//!
//! This file has the way of a lease; [the keeper](super::keeper) opens and
//! puts away connections, [the orders](super::orders) are the administrator's.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use bb8::PooledConnection;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::brake::Brake;
use super::connector::{Blueprint, Connector, Plan};
use super::counter::Worn;
use super::error::{Failure, LeaseError, UpstreamError};
use super::keeper;
use super::lease::Lease;
use super::limits::Limits;
use super::past::{Beginning, Past};
use super::pools::Pools;
use super::settings::Settings;
use super::shelf::{Place, Shelf};
use super::standing::PoolRoom;

/// How long the error of a failed connect answers for the server.
const FAILURE_STANDS: Duration = Duration::from_millis(200);

/// A connection, checked out of bb8.
pub(super) type Held = PooledConnection<'static, Connector>;
/// Where a waiter gets its lease or why it gets none.
pub(super) struct Waiter {
    pub answer: oneshot::Sender<Result<Lease, LeaseError>>,
    pub session: u64,
}

impl Waiter {
    /// What counts of its wish now that it has to take what comes.
    pub fn wish(&self) -> Wish {
        Wish {
            session: self.session,
            ..Wish::default()
        }
    }
}

/// What a session would like its connection to be. All but the database and
/// the user, which the pool stands for, and the past are preferences.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The session's id: a connection that holds its state comes first, then the one that it prefers.
    pub session: u64,
    /// The number of its last draw from a sequence; none before the first.
    pub draw: u64,
    /// The settings that it needs; others must be restored first.
    pub settings: Settings,
    /// The digest of the login defaults under which it works.
    pub defaults: Option<u64>,
    /// No preference, but a condition.
    pub past: Past,
    /// Rather one that has not heard of custom settings.
    pub unheard: bool,
    /// A condition, too: a connection of its own that begins so.
    pub beginning: Option<Beginning>,
}

/// Whether a pool leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Open,
    /// New leases wait.
    Paused,
    /// New leases are refused and running ones should end at once.
    Killed,
    /// New leases are refused: the process ends.
    ShuttingDown,
}

/// The connections of one user to one database.
pub struct Pool {
    pub(super) blueprint: Arc<Blueprint>,
    pub(super) room: Arc<PoolRoom>,
    pub(super) bb8: Mutex<bb8::Pool<Connector>>,
    pub(super) limits: ArcSwap<Limits>,
    pub(super) desk: Mutex<Desk>,
    pub(super) condition: watch::Sender<Condition>,
    /// Tells when the last lease came back.
    pub(super) quiet: Notify,
    /// Tells when somebody begins to wait for a connection.
    pub(super) queued: Notify,
    pub(super) counters: Counters,
    owner: Weak<Pools>,
}

/// What the pool's lock protects.
pub(super) struct Desk {
    pub shelf: Shelf<Held, Waiter>,
    pub condition: Condition,
    /// Connects under way.
    pub opening: usize,
    /// One more connection is to be opened though nobody waits.
    pub spare_wanted: bool,
    /// Connections that somebody has, pinned ones too.
    pub leased: usize,
    pub pinned: usize,
    /// Counted as starving in the database's room.
    pub starving: bool,
    pub failure: Option<Failure>,
    /// When the keeper comes though nobody calls it.
    pub keeper_comes: Option<Instant>,
    /// Sessions whose state lives on a connection that went back to bb8, or that prefer one there.
    pub own_in_spare: HashSet<u64>,
}

/// Totals since the pool exists.
#[derive(Default)]
pub(super) struct Counters {
    pub leases: AtomicU64,
    pub wait_us: AtomicU64,
    pub timeouts: AtomicU64,
    pub connects: AtomicU64,
    pub connect_errors: AtomicU64,
}

enum Answer {
    Lease(Lease),
    Wait(Ticket, oneshot::Receiver<Result<Lease, LeaseError>>),
}

impl Pool {
    /// An empty pool. Needs a runtime: its keeper is a task, which ends with it.
    pub(super) fn new(
        database: &str,
        user: &str,
        plan: Plan,
        limits: Limits,
        room: Arc<PoolRoom>,
        brake: Arc<Brake>,
        owner: Weak<Pools>,
    ) -> Arc<Self> {
        let blueprint = Blueprint::new(database, user, Arc::clone(&room), plan, brake);
        let bb8 = limits.build(Connector(Arc::clone(&blueprint)));
        let pool = Arc::new(Self {
            blueprint,
            room: Arc::clone(&room),
            bb8: Mutex::new(bb8),
            limits: ArcSwap::from_pointee(limits),
            desk: Mutex::new(Desk {
                shelf: Shelf::new(),
                condition: Condition::Open,
                opening: 0,
                spare_wanted: false,
                leased: 0,
                pinned: 0,
                starving: false,
                failure: None,
                keeper_comes: None,
                own_in_spare: HashSet::new(),
            }),
            condition: watch::Sender::new(Condition::Open),
            quiet: Notify::new(),
            queued: Notify::new(),
            counters: Counters::default(),
            owner,
        });
        tokio::spawn(keeper::keep(Arc::downgrade(&pool), room));
        pool
    }

    /// The name that clients ask for.
    pub fn database(&self) -> &str {
        &self.blueprint.database
    }

    pub fn user(&self) -> &str {
        &self.blueprint.user
    }

    /// [`Pool::lease`] of a connection with any past.
    pub(super) async fn lease_any(
        self: &Arc<Self>,
        wish: &Wish,
        deadline: Instant,
    ) -> Result<Lease, LeaseError> {
        let asked = Instant::now();
        let (ticket, receiver) = match self.ask(wish, asked)? {
            Answer::Lease(lease) => return Ok(lease),
            Answer::Wait(ticket, receiver) => (ticket, receiver),
        };
        let wait = self.limits.load().query_wait;
        let deadline = match asked.checked_add(wait) {
            Some(end) if !wait.is_zero() => end.min(deadline),
            _ => deadline,
        };
        let answer = timeout_at(deadline, receiver).await;
        drop(ticket);
        let waited = asked.elapsed();
        let waited_us = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.counters
            .wait_us
            .fetch_add(waited_us, Ordering::Relaxed);
        match answer {
            Ok(Ok(answer)) => answer.map(Lease::accept),
            Ok(Err(_)) => Err(LeaseError::ShuttingDown),
            Err(_) => {
                self.counters.timeouts.fetch_add(1, Ordering::Relaxed);
                let desk = self.desk.lock();
                match (desk.condition, &desk.failure) {
                    (Condition::Paused, _) => Err(LeaseError::Paused),
                    // Nothing came free because nothing could be opened.
                    (_, Some(failure)) if self.waits_out() && self.room.taken() <= desk.opening => {
                        Err(failure.error.clone().into())
                    }
                    _ => Err(LeaseError::Timeout {
                        waited,
                        pinned: desk.pinned,
                    }),
                }
            }
        }
    }

    fn ask(self: &Arc<Self>, wish: &Wish, now: Instant) -> Result<Answer, LeaseError> {
        let mut worn = Worn::default();
        let mut desk = self.desk.lock();
        match desk.condition {
            Condition::Killed => return Err(LeaseError::Killed),
            Condition::ShuttingDown => return Err(LeaseError::ShuttingDown),
            Condition::Paused => {}
            Condition::Open => {
                // Nobody is overtaken, not even by one whom a connection suits; but what was left to a
                // session that prefers it, while others are opened, is not waited for.
                let held = match desk.shelf.queue_len() {
                    0 => self.pick(&mut desk, wish, now, &mut worn),
                    _ => self.pick_preferred(&mut desk, wish, now, &mut worn),
                };
                if let Some(held) = held {
                    let lease = self.hand_over(&mut desk, held);
                    drop(desk);
                    return Ok(Answer::Lease(lease.accept()));
                }
                if self.room.taken() == 0
                    && !self.waits_out()
                    && let Some(failure) = desk.failure.as_ref().filter(|f| f.until > now)
                {
                    return Err(failure.error.clone().into());
                }
            }
        }
        let (answer, receiver) = oneshot::channel();
        let waiter = Waiter {
            answer,
            session: wish.session,
        };
        let ticket = Ticket {
            place: desk.shelf.join(waiter, now),
            pool: Arc::clone(self),
        };
        drop(desk);
        self.room.bell.notify_one();
        self.queued.notify_waiters();
        Ok(Answer::Wait(ticket, receiver))
    }

    /// Whether one waits where no server can be used: of several another may soon take over.
    fn waits_out(&self) -> bool {
        !self.blueprint.plan.load().target.hosts.is_plain()
    }

    /// Counts a failed connect, and forgets what was learned if that was refused.
    pub(super) fn note_failure(&self, error: &UpstreamError) {
        self.counters.connect_errors.fetch_add(1, Ordering::Relaxed);
        if self.blueprint.disowned.swap(false, Ordering::Relaxed)
            && let Some(owner) = self.owner.upgrade()
        {
            owner.disown(self.database(), self.user(), error);
        }
    }

    /// A connect failed: its error goes to the one whose turn it is, and to
    /// everybody if there is no connection left that could serve the others.
    pub(super) fn failed(&self, error: UpstreamError) {
        if matches!(error, UpstreamError::NoPlace) {
            return;
        }
        self.note_failure(&error);
        let mut desk = self.desk.lock();
        let until = Instant::now() + FAILURE_STANDS;
        desk.failure = Some(Failure {
            error: error.clone(),
            until,
        });
        let told = match self.room.taken() {
            _ if self.waits_out() && error.may_pass() => Vec::new(),
            // The keeper gives them what was left to others till now.
            _ if self.idle_len(&desk) > 0 => Vec::new(),
            0 => desk.shelf.dismiss_all(),
            // The server is full, of us too: one of ours will come free.
            _ if error.sqlstate() == crate::wire::SqlState::TOO_MANY_CONNECTIONS => Vec::new(),
            _ => desk.shelf.call_next().into_iter().collect(),
        };
        drop(desk);
        for waiter in told {
            // One that is gone needs no answer.
            let _ = waiter.answer.send(Err(error.clone().into()));
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let was_starving = self.desk.get_mut().starving;
        self.room.database.count_starving(was_starving, false);
        // The keeper finds the pool gone, and goes.
        self.room.bell.notify_one();
    }
}

/// A place in the queue, given up when dropped.
struct Ticket {
    place: Place,
    pool: Arc<Pool>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let left = self.pool.desk.lock().shelf.leave(self.place);
        if left {
            self.pool.room.bell.notify_one();
        }
    }
}
