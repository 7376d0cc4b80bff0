//! What bb8 needs to know of our connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::brake::{Brake, Braked};
use super::connection::Connection;
use super::error::UpstreamError;
use super::past::Beginning;
use super::search;
use super::standing::{PoolRoom, ServerInfo, ServerRecord, ServerState, Slot, Standing};
use super::target::{ConnectOptions, Target};

/// bb8's way to make and judge connections; a handle on the shared [`Blueprint`].
#[derive(Clone)]
pub(super) struct Connector(pub Arc<Blueprint>);

/// How the connections of one pool are made, and what makes one unfit.
pub(super) struct Blueprint {
    pub database: String,
    pub user: String,
    pub room: Arc<PoolRoom>,
    pub plan: ArcSwap<Plan>,
    /// Connections of an older generation are not leased again.
    pub generation: AtomicU64,
    /// Places that were taken for the connects which are about to be made. bb8
    /// hands no argument through, and any place fits any connect.
    reserved: Mutex<Vec<Slot>>,
    pub brake: Arc<Brake>,
    /// The server has just refused what was learned: whoever hears of it first closes the rest.
    pub disowned: AtomicBool,
}

/// The part that a reload replaces.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub target: Target,
    pub options: ConnectOptions,
    /// `server_lifetime`; zero is for ever.
    pub lifetime: Duration,
    /// Whether what logs in was shown by a client's login, and may have to be forgotten.
    pub is_learned: bool,
    /// The server has refused what was learned, or it was forgotten: nothing more is tried before a
    /// login has shown something anew.
    pub refused: Option<UpstreamError>,
}

impl Blueprint {
    pub fn new(
        database: &str,
        user: &str,
        room: Arc<PoolRoom>,
        plan: Plan,
        brake: Arc<Brake>,
    ) -> Arc<Self> {
        Arc::new(Self {
            database: database.to_owned(),
            user: user.to_owned(),
            room,
            plan: ArcSwap::from_pointee(plan),
            generation: AtomicU64::new(0),
            reserved: Mutex::default(),
            brake,
            disowned: AtomicBool::new(false),
        })
    }

    /// Keeps `slot` for the connect that follows.
    pub fn reserve(&self, slot: Slot) {
        self.reserved.lock().push(slot);
    }

    /// Whether `connection` may be leased, as far as flags tell.
    pub fn is_fit(&self, connection: &Connection) -> bool {
        let fits = |standing: &Standing| {
            !standing.retired
                && standing.generation == self.generation.load(Ordering::Relaxed)
                && standing.retires_at.is_none_or(|at| Instant::now() < at)
        };
        !connection.is_broken() && connection.standing.as_ref().is_some_and(fits)
    }

    async fn connect(&self) -> Result<Connection, UpstreamError> {
        // Without a place it is bb8 that wants one more on its own account.
        let slot = self.reserved.lock().pop().ok_or(UpstreamError::NoPlace)?;
        self.open(slot, None).await
    }

    /// Opens a connection at this place; with a beginning of its own, if one is given.
    pub async fn open(
        &self,
        slot: Slot,
        beginning: Option<&Beginning>,
    ) -> Result<Connection, UpstreamError> {
        let mut plan = self.plan.load_full();
        if let Some(beginning) = beginning {
            Arc::make_mut(&mut plan).options.begin(beginning.options());
        }
        let generation = self.generation.load(Ordering::Relaxed);
        let mut connection = self.log_in(&plan).await?;
        let record = Arc::new(ServerRecord::new(
            self.info(&connection, generation),
            Arc::clone(&connection.gate),
        ));
        slot.record(Arc::clone(&record));
        let now = Instant::now();
        connection.standing = Some(Standing {
            generation,
            retires_at: jittered(plan.lifetime).and_then(|lifetime| now.checked_add(lifetime)),
            idle_since: now,
            retired: false,
            record,
            _slot: slot,
        });
        if let Some(introduction) = self.room.introduction() {
            let introduced = introduction.introduce(&mut connection);
            timeout(plan.options.timeout, introduced)
                .await
                .unwrap_or(Err(UpstreamError::ConnectTimeout(plan.options.timeout)))?;
        }
        Ok(connection)
    }

    /// One login, unless too many were refused.
    async fn log_in(&self, plan: &Arc<Plan>) -> Result<Connection, UpstreamError> {
        if let Some(refused) = &plan.refused {
            return Err(refused.clone());
        }
        let target = &plan.target;
        // What was learned is refused once, and then forgotten.
        if !plan.is_learned
            && let Err(Braked {
                last: Some(error), ..
            }) = self.brake.admits(target, Instant::now())
        {
            return Err(error);
        }
        let result = search::open(target, &plan.options, self.room.introduction()).await;
        match &result {
            Ok(_) => self.brake.forget(target),
            Err(error) if error.is_refusal() => {
                if plan.is_learned {
                    self.disown(plan, error);
                    self.disowned.store(true, Ordering::Relaxed);
                }
                self.brake.refused(target, error, Instant::now());
            }
            Err(_) => {}
        }
        result
    }

    /// Nothing is tried any more with what `plan` has learned, unless another is in force by now.
    pub fn disown(&self, plan: &Arc<Plan>, error: &UpstreamError) {
        let mut without = Plan::clone(plan);
        without.target.learned = None;
        without.is_learned = false;
        without.refused = Some(error.clone());
        self.plan.compare_and_swap(plan, Arc::new(without));
    }

    fn info(&self, connection: &Connection, generation: u64) -> ServerInfo {
        let (local, remote) = connection.stream.addresses().unzip();
        ServerInfo {
            database: self.database.clone(),
            user: self.user.clone(),
            pid: connection.pid,
            state: ServerState::Idle,
            connected_at: SystemTime::now(),
            requested_at: None,
            application: String::new(),
            local,
            remote,
            address: connection.target().address(),
            tls: connection.stream.tls_text(),
            generation,
            close_needed: false,
            statements: 0,
            cancels: 0,
        }
    }
}

impl bb8::ManageConnection for Connector {
    /// Boxed, because it moves with every lease.
    type Connection = Box<Connection>;
    type Error = UpstreamError;

    async fn connect(&self) -> Result<Box<Connection>, UpstreamError> {
        self.0.connect().await.map(Box::new)
    }

    /// Flags only: a round trip would cost more than most statements.
    async fn is_valid(&self, connection: &mut Box<Connection>) -> Result<(), UpstreamError> {
        match self.0.is_fit(connection) {
            true => Ok(()),
            false => Err(UpstreamError::closed()),
        }
    }

    fn has_broken(&self, connection: &mut Box<Connection>) -> bool {
        !self.0.is_fit(connection) || connection.is_spent
    }
}

/// `lifetime` give or take a tenth, so that connections which were opened
/// together do not retire together; `None` for zero.
fn jittered(lifetime: Duration) -> Option<Duration> {
    if lifetime.is_zero() {
        return None;
    }
    // Without randomness the middle is as good as any.
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    let factor = 0.9 + 0.2 * f64::from(random) / f64::from(u32::MAX);
    Some(Duration::try_from_secs_f64(lifetime.as_secs_f64() * factor).unwrap_or(lifetime))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_differ_by_at_most_a_tenth() {
        let lifetime = Duration::from_secs(1000);
        for _ in 0..100 {
            let jittered = jittered(lifetime).unwrap();
            assert!((900..=1100).contains(&jittered.as_secs()), "{jittered:?}");
        }
        assert_eq!(super::jittered(Duration::ZERO), None);
        assert!(super::jittered(Duration::MAX).is_some());
    }
}
