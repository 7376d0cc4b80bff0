//! SUSPEND: what is under way is answered, and nothing new is begun before RESUME.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::registry::{Registry, SessionHandle};

/// Whether sessions are suspended.
#[derive(Debug, Default)]
pub struct Suspension {
    on: AtomicBool,
    told: watch::Sender<bool>,
}

/// A unit is under way until this is dropped.
pub(super) struct UnderWay(Arc<SessionHandle>);

impl UnderWay {
    /// Before the look at [`Suspension::is_on`]: either this session sees the suspension, or
    /// [`Suspension::quiet`] sees the unit.
    pub fn begin(handle: &Arc<SessionHandle>) -> Self {
        handle.under_way.store(true, Ordering::SeqCst);
        Self(handle.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.store(false, Ordering::SeqCst);
    }
}

impl Suspension {
    /// False if it was on already.
    pub fn begin(&self) -> bool {
        self.turn(true)
    }

    /// False if it was not on.
    pub fn end(&self) -> bool {
        self.turn(false)
    }

    fn turn(&self, on: bool) -> bool {
        let before = self.on.swap(on, Ordering::SeqCst);
        self.told.send_replace(on);
        before != on
    }

    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::SeqCst)
    }

    /// Resolves when it is not on. Cancel safe.
    pub async fn over(&self) {
        // The sender is here, so there is no error.
        let _ = self.told.subscribe().wait_for(|on| !on).await;
    }

    /// Resolves when no session of `registry` has a unit under way. Cancel safe.
    pub async fn quiet(&self, registry: &Registry) {
        const LOOK_INTERVAL: Duration = Duration::from_millis(5);
        let busy = |session: &Arc<SessionHandle>| session.under_way.load(Ordering::SeqCst);
        while self.is_on() && registry.all().iter().any(busy) {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}
