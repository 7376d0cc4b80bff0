//! Connections for work that no client waits for: lent only while another one stays idle for the clients,
//! and to be given back as soon as a client has to wait.

use std::sync::Arc;

use tokio::time::Instant;

use super::counter::{Worn, idle_since};
use super::lease::Lease;
use super::pool::{Condition, Desk, Pool, Wish};

impl Pool {
    /// An idle connection, if nobody waits for one, another stays idle, and no session has left its state on
    /// it or prefers it. Never waits. Where there is room for one more connection it is opened, so that a
    /// later call finds it.
    pub fn lease_spare(self: &Arc<Self>, wish: &Wish) -> Option<Lease> {
        // Dropped after the lock.
        let mut worn = Worn::default();
        let mut desk = self.desk.lock();
        if desk.condition != Condition::Open || desk.shelf.queue_len() > 0 {
            return None;
        }
        if self.idle_len(&desk) < 2 {
            let limits = self.limits.load();
            desk.spare_wanted = desk.opening == 0
                && self.counted(&desk, &limits) < limits.size
                && !self.room.database.is_full()
                && !self.room.database.is_anybody_starving();
            if desk.spare_wanted {
                self.room.bell.notify_one();
            }
            return None;
        }
        let held = self.pick(&mut desk, wish, Instant::now(), &mut worn)?;
        let is_wanted = held.holds_state_of.is_some() || held.preferred_by.session().is_some();
        if is_wanted || self.idle_len(&desk) == 0 {
            let since = idle_since(&held);
            desk.shelf.lay_down(held, since);
            return None;
        }
        let lease = self.hand_over(&mut desk, held);
        drop(desk);
        Some(lease.accept())
    }

    /// Returns when a client waits for a connection, or the pool leases no more. Cancel safe.
    pub async fn wanted(&self) {
        let queued = self.queued.notified();
        tokio::pin!(queued);
        queued.as_mut().enable();
        let mut condition = self.condition.subscribe();
        if self.desk.lock().shelf.queue_len() > 0 {
            return;
        }
        tokio::select! {
            () = queued => {}
            _ = condition.wait_for(|condition| *condition != Condition::Open) => {}
        }
    }

    pub(super) fn idle_len(&self, desk: &Desk) -> usize {
        let at_rest = self.bb8.lock().state().idle_connections;
        desk.shelf.idle_len() + usize::try_from(at_rest).unwrap_or(usize::MAX)
    }
}
