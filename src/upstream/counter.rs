//! The counter over which connections go: from the shelf or from bb8 to whoever
//! is next, and back again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::MutexGuard;
use tokio::time::{Instant, timeout};

use super::cancel::Passage;
use super::connection::Connection;
use super::keeper::SHELF_TIME;
use super::lease::Lease;
use super::limits::Limits;
use super::pool::{Condition, Desk, Held, Pool, Wish};
use super::shelf::Idle;
use super::standing::ServerState;

/// A connection that was idle for less is handed out unseen, unless the runtime
/// has noticed something: the look costs a system call, and a busy pool should
/// not pay it.
const LOOK_AFTER_IDLE: Duration = Duration::from_millis(100);
impl Pool {
    /// Takes the idle connection that suits `wish` best, from the shelf or, if
    /// that is bare, from bb8. Those that turn out dead go to `worn`.
    pub(super) fn pick(
        &self,
        desk: &mut Desk,
        wish: &Wish,
        now: Instant,
        worn: &mut Worn,
    ) -> Option<Held> {
        if desk.own_in_spare.contains(&wish.session) {
            self.fetch_all_spare(desk);
        }
        loop {
            let idle = self.take_idle(desk, wish, now)?;
            if let Some(held) = self.look_at(idle, now, worn) {
                return Some(held);
            }
        }
    }

    /// Takes the idle connection that the session of `wish` prefers, if there is one.
    pub(super) fn pick_preferred(
        &self,
        desk: &mut Desk,
        wish: &Wish,
        now: Instant,
        worn: &mut Worn,
    ) -> Option<Held> {
        if desk.own_in_spare.contains(&wish.session) {
            self.fetch_all_spare(desk);
        }
        let idle = desk
            .shelf
            .take_if(|held| held.preferred_by.is(wish.session))?;
        self.look_at(idle, now, worn)
    }

    /// The connection, unless it turns out dead or worn.
    fn look_at(&self, idle: Idle<Held>, now: Instant, worn: &mut Worn) -> Option<Held> {
        let Idle {
            mut connection,
            since,
        } = idle;
        let unseen =
            now.saturating_duration_since(since) < LOOK_AFTER_IDLE && !connection.has_news();
        let is_free = self.blueprint.is_fit(&connection) && !connection.is_spent;
        if is_free && (unseen || connection.is_still_good()) {
            return Some(connection);
        }
        worn.0.push(connection);
        None
    }

    /// The one that suits best; one that another session prefers only if there is no other and none is
    /// to be had soon.
    fn take_idle(&self, desk: &mut Desk, wish: &Wish, now: Instant) -> Option<Idle<Held>> {
        let is_free = |held: &Held| {
            held.holds_state_of == Some(wish.session) || !held.preferred_by.is_other(wish.session)
        };
        match desk.shelf.take_by_rank(|held| rank(wish, held)) {
            Some(idle) if is_free(&idle.connection) => return Some(idle),
            Some(idle) => desk.shelf.lay_down(idle.connection, idle.since),
            None => {}
        }
        while let Some(connection) = self.fetch_spare() {
            let since = idle_since(&connection);
            if is_free(&connection) {
                return Some(Idle { connection, since });
            }
            desk.shelf.lay_down(connection, since);
        }
        // A newcomer stands in no queue yet.
        let waiters = desk.shelf.queue_len().max(1);
        if desk.shelf.idle_len() == 0 || self.leaves_preferred(desk, waiters, now) {
            return None;
        }
        desk.shelf.take_by_rank(|held| rank(wish, held))
    }

    /// One connection that bb8 has idle. Never waits.
    pub(super) fn fetch_spare(&self) -> Option<Held> {
        let bb8 = self.bb8.lock().clone();
        if bb8.state().idle_connections == 0 {
            return None;
        }
        bb8.get_owned().now_or_never()?.ok()
    }

    /// Takes everything back from bb8, each as old as it is.
    pub(super) fn fetch_all_spare(&self, desk: &mut Desk) {
        while let Some(held) = self.fetch_spare() {
            let since = idle_since(&held);
            desk.shelf.lay_down(held, since);
        }
        desk.own_in_spare.clear();
        self.room.bell.notify_one();
    }

    /// Makes a lease of a connection. Dropping it unaccepted returns it.
    pub(super) fn hand_over(self: &Arc<Self>, desk: &mut Desk, held: Held) -> Lease {
        desk.leased += 1;
        self.counters.leases.fetch_add(1, Ordering::Relaxed);
        Lease::new(Arc::clone(self), held)
    }

    /// Gives a connection that nobody has to the first who waits, else lays it
    /// on the shelf.
    pub(super) fn give(self: &Arc<Self>, mut held: Held) {
        if let Some(standing) = &mut held.standing {
            standing.idle_since = Instant::now();
            standing.record.set_state(ServerState::Idle);
        }
        let mut desk = self.desk.lock();
        if !self.blueprint.is_fit(&held) || held.is_spent || self.is_surplus(&desk) {
            drop(desk);
            close(held);
            return;
        }
        let since = idle_since(&held);
        let held = match self.is_left(&desk, &held, since) {
            true => held,
            false => match self.serve_next(&mut desk, held) {
                Ok(()) => return,
                Err(held) => held,
            },
        };
        desk.shelf.lay_down(held, since);
        // A busy pool must not wake its keeper for every lease.
        let waited_for = desk.shelf.queue_len() > 0;
        if waited_for || desk.keeper_comes.is_none_or(|at| at > since + SHELF_TIME) {
            drop(desk);
            self.room.bell.notify_one();
        }
    }

    /// Whether `held` is left to the session that prefers it, though others wait.
    fn is_left(&self, desk: &Desk, held: &Held, now: Instant) -> bool {
        let Some(first) = desk.shelf.first_waiter() else {
            return false;
        };
        held.preferred_by.is_other(first.session)
            && self.leaves_preferred(desk, desk.shelf.queue_len(), now)
    }

    /// Hands `held` to the first in the queue who is still there; back if there
    /// is none, or none may be served.
    pub(super) fn serve_next(
        self: &Arc<Self>,
        desk: &mut MutexGuard<'_, Desk>,
        mut held: Held,
    ) -> Result<(), Held> {
        while desk.condition == Condition::Open
            && let Some(waiter) = desk.shelf.call_next()
        {
            let lease = self.hand_over(desk, held);
            match waiter.answer.send(Ok(lease)) {
                Ok(()) => return Ok(()),
                Err(Ok(lease)) => {
                    desk.leased -= 1;
                    self.counters.leases.fetch_sub(1, Ordering::Relaxed);
                    held = lease.into_held();
                }
                // What was sent was a lease.
                Err(Err(_)) => return Ok(()),
            }
        }
        Err(held)
    }

    /// Whether a connection that comes back is one too many: the limits were
    /// lowered, pins have ended, the pool is closed, or another user's pool has none.
    fn is_surplus(&self, desk: &Desk) -> bool {
        let limits = self.limits.load();
        desk.condition != Condition::Open
            || self.counted(desk, &limits) > limits.size + limits.reserve
            || (self.room.taken() > 1 && self.room.database.wants_one_back())
    }

    /// Connections that count against the pool's size.
    pub(super) fn counted(&self, desk: &Desk, limits: &Limits) -> usize {
        let excused = desk.pinned.min(limits.pinned_max);
        self.room.taken().saturating_sub(excused)
    }

    /// A lease is over. `clean`: idle, with nothing of the session's on it that
    /// the connection's fields do not tell.
    pub(super) fn take_back(self: &Arc<Self>, mut held: Held, clean: bool, pinned: bool) {
        if pinned {
            self.set_pinned(&held, false);
        }
        match held.gate.shut() {
            _ if !clean || held.is_spent || !self.blueprint.is_fit(&held) => held.retire(),
            Passage::Clear => {}
            Passage::Barred => held.retire(),
            Passage::Busy => return self.wait_for_cancels(held),
        }
        held.note_statements();
        if let (Some(standing), Some(name)) = (&held.standing, held.applied.get("application_name"))
        {
            standing.record.set_application(name);
        }
        self.count_back();
        self.give(held);
    }

    fn count_back(&self) {
        let mut desk = self.desk.lock();
        desk.leased -= 1;
        if desk.leased == 0 {
            drop(desk);
            self.quiet.notify_waiters();
        }
    }

    /// Keeps the connection from everybody until no cancel can hit it any more.
    fn wait_for_cancels(self: &Arc<Self>, mut held: Held) {
        let pool = Arc::clone(self);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            held.retire();
            self.count_back();
            return;
        };
        if let Some(standing) = &held.standing {
            standing.record.set_state(ServerState::BeingCancelled);
        }
        runtime.spawn(async move {
            let wait = pool.limits.load().cancel_wait;
            let passage = timeout(wait, held.gate.passage()).await;
            if passage != Ok(Passage::Clear) {
                held.retire();
            }
            pool.count_back();
            pool.give(held);
        });
    }

    pub(super) fn set_pinned(&self, held: &Connection, pinned: bool) {
        let mut desk = self.desk.lock();
        match pinned {
            true => desk.pinned += 1,
            false => desk.pinned -= 1,
        }
        drop(desk);
        if let Some(standing) = &held.standing {
            standing.record.set_state(match pinned {
                true => ServerState::Pinned,
                false => ServerState::Active,
            });
        }
        // The pool has got more room, or less.
        self.room.bell.notify_one();
    }
}

/// Connections to close once the lock is released.
#[derive(Default)]
pub(super) struct Worn(pub Vec<Held>);

impl Drop for Worn {
    fn drop(&mut self) {
        self.0.drain(..).for_each(close);
    }
}

/// Closes a connection, with a farewell if it is in order.
pub(super) fn close(mut held: Held) {
    held.retire();
}

pub(super) fn idle_since(held: &Held) -> Instant {
    let standing = held.standing.as_ref();
    standing.map_or_else(Instant::now, |standing| standing.idle_since)
}

/// How well a connection suits: the lower the better.
fn rank(wish: &Wish, connection: &Connection) -> u8 {
    let defaults = wish.defaults.is_none() || wish.defaults == connection.defaults;
    let preferred = connection.preferred_by.session();
    let as_it_is = |connection: &Connection| {
        connection.applied == wish.settings && !connection.hides_settings_from(Some(wish.session))
    };
    let outdated = |session: &u64| *session == wish.session && connection.draw < wish.draw;
    let rank = match connection
        .holds_state_of
        .filter(|session| !outdated(session))
    {
        // It would be closed and another opened in its place.
        state if !wish.past.admits(connection) || wish.unheard && connection.has_heard => {
            6 + u8::from(state.is_some())
        }
        Some(session) if session == wish.session => 0,
        _ if preferred == Some(wish.session) => 1,
        // That session may get another number with this choice.
        None if preferred.is_some() => 5,
        None if defaults && as_it_is(connection) => 2,
        None if defaults => 3,
        None => 4,
        // Somebody else's state is lost with this choice.
        Some(_) if preferred.is_some() => 8,
        Some(_) if defaults => 6,
        Some(_) => 7,
    };
    2 * rank + u8::from(connection.has_heard == wish.unheard)
}
