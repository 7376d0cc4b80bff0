//! The keeper of a pool: the one task that opens connections and puts idle
//! ones away.
//!
//! Because nobody else opens any, there is no herd: as many are opened as are
//! waited for and have room, a few at a time, and none while a failure stands.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep_until};

use super::counter::{Worn, idle_since};
use super::error::UpstreamError;
use super::limits::Limits;
use super::past::Beginning;
use super::pool::{Condition, Desk, Held, Pool, Waiter};
use super::preference::PATIENCE;
use super::standing::{PoolRoom, Slot};

/// How long a connection stays on the shelf before bb8 gets it.
pub(super) const SHELF_TIME: Duration = Duration::from_secs(3);
/// A login costs the server a process; more at once would not be faster.
const LOGINS_AT_ONCE: usize = 4;
/// More sessions than have something of their own in bb8, mostly: those that have gone are forgotten then.
const OWN_IN_SPARE_MAX: usize = 4096;

/// Tends the pool whenever its bell rings, a place becomes free, or it is time.
/// Ends with the pool.
pub(super) async fn keep(pool: Weak<Pool>, room: Arc<PoolRoom>) {
    let mut freed = room.database.freed.subscribe();
    loop {
        let next = match pool.upgrade() {
            Some(pool) => pool.tend(),
            None => return,
        };
        let timer = async {
            match next {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = room.bell.notified() => {}
            _ = freed.changed() => {}
            () = timer => {}
        }
    }
}

/// The earliest of the times at which something will have to be done.
#[derive(Default)]
struct Alarm(Option<Instant>);

impl Alarm {
    fn set(&mut self, at: Instant) {
        self.0 = Some(self.0.map_or(at, |earlier| earlier.min(at)));
    }
}

impl Pool {
    /// One round; returns when the next is due if nothing happens before.
    fn tend(self: &Arc<Self>) -> Option<Instant> {
        let now = Instant::now();
        let limits = self.limits.load_full();
        let mut alarm = Alarm::default();
        let mut worn = Worn::default();
        let mut desk = self.desk.lock();

        while desk.condition == Condition::Open
            && let Some(wish) = desk.shelf.first_waiter().map(Waiter::wish)
            && let Some(held) = self.pick(&mut desk, &wish, now, &mut worn)
        {
            if let Err(held) = self.serve_next(&mut desk, held) {
                desk.shelf.lay_down(held, now);
                break;
            }
        }
        if let Some(since) = desk.shelf.first_waits_since()
            && since + PATIENCE > now
            && self.idle_len(&desk) > 0
        {
            alarm.set(since + PATIENCE);
        }
        let spare = self.put_away(&mut desk, &limits, now, &mut alarm, &mut worn);
        let (places, blocked) = self.take_places(&mut desk, &limits, now, &mut alarm);
        let starving = blocked && self.room.taken() == 0 && desk.shelf.queue_len() > 0;
        let was_starving = std::mem::replace(&mut desk.starving, starving);
        desk.keeper_comes = alarm.0;
        drop(desk);

        self.room.database.count_starving(was_starving, starving);
        // Back to bb8, which looks at what comes.
        drop(spare);
        drop(worn);
        for place in places {
            self.blueprint.reserve(place);
            tokio::spawn(open(Arc::clone(self)));
        }
        if blocked {
            self.room.database.ask_for_room(self, starving);
        }
        alarm.0
    }

    /// Takes off the shelf what has been idle for long, or is unfit. What is
    /// beyond the pool's size (the reserve) is closed, the rest is bb8's.
    fn put_away(
        &self,
        desk: &mut Desk,
        limits: &Limits,
        now: Instant,
        alarm: &mut Alarm,
        worn: &mut Worn,
    ) -> Vec<Held> {
        if desk.own_in_spare.len() > OWN_IN_SPARE_MAX {
            self.fetch_all_spare(desk);
        }
        let unfit = desk.shelf.take_worn(|held| !self.blueprint.is_fit(held));
        worn.0.extend(unfit);
        let mut excess = self
            .counted(desk, limits)
            .saturating_sub(limits.size + worn.0.len());
        let busy = desk.leased + desk.opening;
        let keep = limits.min.saturating_sub(busy);
        let mut spare = Vec::new();
        if let Some(before) = now.checked_sub(SHELF_TIME) {
            for held in desk.shelf.take_idle_since(before, keep) {
                if excess > 0 {
                    excess -= 1;
                    worn.0.push(held);
                    continue;
                }
                desk.own_in_spare.extend(held.holds_state_of);
                desk.own_in_spare.extend(held.preferred_by.session());
                spare.push(held);
            }
        }
        if desk.shelf.idle_len() > keep
            && let Some(oldest) = desk.shelf.oldest_idle()
        {
            alarm.set(oldest + SHELF_TIME);
        }
        let standings = desk.shelf.idle().filter_map(|held| held.standing.as_ref());
        if let Some(first) = standings.filter_map(|standing| standing.retires_at).min() {
            alarm.set(first);
        }
        spare
    }

    /// Takes a place for every connection that is to be opened now. True if the
    /// database's limit stood in the way of more.
    fn take_places(
        self: &Arc<Self>,
        desk: &mut Desk,
        limits: &Limits,
        now: Instant,
        alarm: &mut Alarm,
    ) -> (Vec<Slot>, bool) {
        let mut places = Vec::new();
        if desk.condition != Condition::Open {
            return (places, false);
        }
        let queue = desk.shelf.queue_len();
        let mut size = limits.size;
        if let Some(since) = desk.shelf.first_waits_since()
            && limits.reserve > 0
        {
            let reserve_from = since + limits.reserve_after;
            match reserve_from <= now {
                true => size += limits.reserve,
                false => alarm.set(reserve_from),
            }
        }
        let starving = self.room.database.is_anybody_starving();
        let fewer_than_min = || self.room.taken() < limits.min && !starving;
        let spare = std::mem::take(&mut desk.spare_wanted) && queue == 0 && !starving;
        let wanted =
            |desk: &Desk| queue > desk.opening || fewer_than_min() || (spare && desk.opening == 0);
        while wanted(desk) && desk.opening < LOGINS_AT_ONCE && self.counted(desk, limits) < size {
            if let Some(failure) = &desk.failure
                && failure.until > now
            {
                alarm.set(failure.until);
                break;
            }
            if starving && !desk.starving && self.room.taken() > 0 {
                break;
            }
            match self.room.take() {
                Some(place) => places.push(place),
                None => return (places, queue > 0),
            }
            desk.opening += 1;
        }
        (places, false)
    }
}

/// Counts a connect off, however it ends.
struct Opening(Arc<Pool>);

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.desk.lock().opening -= 1;
        self.0.room.bell.notify_one();
    }
}

/// Opens one connection, for which a place is reserved, and gives it away.
async fn open(pool: Arc<Pool>) {
    let opening = Opening(pool);
    let pool = &opening.0;
    match open_one(Arc::clone(pool)).await {
        Ok(Some(held)) => pool.give(held),
        Ok(None) => {}
        Err(error) => pool.failed(error),
    }
}

/// Opens one connection, for which a place is reserved. `None` if it is unfit already.
pub(super) async fn open_one(pool: Arc<Pool>) -> Result<Option<Held>, UpstreamError> {
    let bb8 = pool.bb8.lock().clone();
    let connection = bb8.dedicated_connection().await?;
    pool.connected();
    // Into bb8 and out again at once, so that it ages there from now on. Under the lock, lest it meets one
    // that is another's.
    let _desk = pool.desk.lock();
    match bb8.add(connection) {
        Ok(()) => Ok(bb8.get_owned().now_or_never().and_then(Result::ok)),
        Err(_) => Ok(None),
    }
}

/// Opens one connection that begins in its own way, at this place: nobody else may get it.
pub(super) async fn open_own(
    pool: Arc<Pool>,
    place: Slot,
    beginning: Beginning,
) -> Result<Option<Held>, UpstreamError> {
    let connection = pool.blueprint.open(place, Some(&beginning)).await?;
    pool.connected();
    let gate = Arc::clone(&connection.gate);
    // All that take something from bb8 have the lock.
    let mut desk = pool.desk.lock();
    let bb8 = pool.bb8.lock().clone();
    if bb8.add(Box::new(connection)).is_err() {
        return Ok(None);
    }
    while let Some(mut held) = pool.fetch_spare() {
        if Arc::ptr_eq(&held.gate, &gate) {
            held.is_spent = true;
            return Ok(Some(held));
        }
        let since = idle_since(&held);
        desk.shelf.lay_down(held, since);
    }
    drop(desk);
    // Should it still be there, nobody may have it.
    pool.reconnect();
    Ok(None)
}
