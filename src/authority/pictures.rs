//! The catalogue's picture: when it is stale, and how it becomes fresh again.
//!
//! DDL through us takes the picture away before it commits and gives it back after it has
//! settled. DDL from elsewhere is watched for; until it is found, what it changed is not
//! known, and that delay is `cache.catalog_watch_interval`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Core;
use super::control::{ControlError, STATEMENT_PATIENCE, end_itself};
use super::foreign::Seen;
use super::standing::Block;
use super::stats::Server;
use crate::catalog::{Catalog, CatalogError, CatalogVersion, Loader, Roles};
use crate::planted::{Step, planted};

/// How long the loading may take.
const LOAD_PATIENCE: Duration = Duration::from_secs(60);
/// Between attempts to load, growing.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(5);
const RETRY_LOCKED_LAST: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Pictures {
    current: ArcSwapOption<Catalog>,
    state: Mutex<State>,
    wake: Notify,
    pub loads: AtomicU64,
    /// Counts pictures that were taken away or loaded, and changes of ours that have settled.
    pub turns: AtomicU64,
    pub failures: AtomicU64,
    /// Changes from elsewhere.
    pub found: AtomicU64,
    /// Whom names meant when it was last seen.
    roles: Mutex<Option<Roles>>,
}

#[derive(Default)]
struct State {
    /// DDL of ours on its way.
    changing: usize,
    /// Counts what has made a picture stale: one that was begun before is stale too.
    epoch: u64,
    /// What the watch last found in order: the version, and the server's snapshot before it was read.
    watched: Option<(CatalogVersion, Arc<str>)>,
}

impl Pictures {
    pub fn current(&self) -> Option<Arc<Catalog>> {
        self.current.load_full()
    }
}

impl Core {
    /// DDL of ours is about to commit.
    pub(super) fn catalogue_changing(&self) {
        let mut state = self.pictures.state.lock();
        state.changing += 1;
        self.take_away(&mut state);
    }

    /// It has settled, whatever came of it.
    pub(super) fn catalogue_settled(&self) {
        let mut state = self.pictures.state.lock();
        state.changing = state.changing.saturating_sub(1);
        self.pictures.turns.fetch_add(1, Ordering::AcqRel);
        drop(state);
        self.pictures.wake.notify_one();
    }

    /// It has changed, or may have, and not through us.
    pub(super) fn catalogue_changed(&self) {
        if planted(Step::GuardLossIgnored) {
            return;
        }
        // First no picture, then the walk: what is judged in between means everything, and what
        // was judged before is found by the walk or fails the comparison of pictures.
        self.take_away(&mut self.pictures.state.lock());
        self.tags.widen_in_flight();
        self.tags.bump_everything();
        self.pictures.wake.notify_one();
    }

    fn take_away(&self, state: &mut State) {
        state.epoch += 1;
        self.standing.block(Block::CatalogStale);
        self.pictures.current.store(None);
        self.pictures.turns.fetch_add(1, Ordering::AcqRel);
    }

    /// Loads and watches, for ever.
    pub(super) async fn keep_pictures(self: Arc<Self>) {
        let interval = self.cfg.catalog_watch_interval;
        let mut retry = RETRY_FIRST;
        let mut told = false;
        // For whoever has locked what a view is made of.
        let mut patience = Instant::now();
        let mut writers = Seen::default();
        loop {
            if self.pictures.current.load().is_none() {
                match self.load_picture().await {
                    Ok(()) => (retry, told) = (RETRY_FIRST, false),
                    Err(ControlError::Locked) if patience.elapsed() < LOAD_PATIENCE => {
                        tokio::time::sleep(retry).await;
                        retry = (retry * 2).min(RETRY_LOCKED_LAST);
                        continue;
                    }
                    Err(error) => {
                        self.pictures.failures.fetch_add(1, Ordering::Relaxed);
                        if !std::mem::replace(&mut told, true) {
                            tracing::warn!(database = %self.target.dbname, %error,
                                "the catalogue cannot be loaded: nothing is cached until it is");
                        }
                        tokio::time::sleep(retry).await;
                        retry = (retry * 2).min(RETRY_LAST);
                        continue;
                    }
                }
            }
            let woken = tokio::time::timeout(interval, self.pictures.wake.notified()).await;
            patience = Instant::now();
            if woken.is_err() && self.pictures.current.load().is_some() {
                self.watch_catalogue().await;
                self.look_for_foreign_writers(&mut writers).await;
            }
        }
    }

    /// Loads a picture, if it is time; it counts only if nothing made it stale meanwhile.
    async fn load_picture(&self) -> Result<(), ControlError> {
        let client = self.proven().await?;
        let reading = self.gate.read().await;
        let epoch = {
            let state = self.pictures.state.lock();
            if state.changing > 0 {
                return Ok(());
            }
            state.epoch
        };
        let began = Instant::now();
        let timeline = self.timeline();
        let snapshot = self.snapshot();
        let catalog = read(LOAD_PATIENCE, Loader::load(&client)).await;
        if matches!(catalog, Err(ControlError::Timeout)) {
            // It was left in the middle of something.
            end_itself(&client).await;
        }
        drop(reading);
        let mut catalog = catalog?;
        catalog.version = timeline.tell_apart(catalog.version);
        let version = catalog.version;
        let is_stale = |state: &State| state.epoch != epoch || state.changing > 0;
        if is_stale(&self.pictures.state.lock()) {
            return Ok(());
        }
        // Before anything is served by it: who a name meant before must not be answered as who it means now.
        self.note_roles(catalog.roles());
        let mut state = self.pictures.state.lock();
        if is_stale(&state) {
            return Ok(());
        }
        self.pictures.loads.fetch_add(1, Ordering::Relaxed);
        state.watched = snapshot.map(|snapshot| (version, snapshot));
        self.pictures.turns.fetch_add(1, Ordering::AcqRel);
        self.pictures.current.store(Some(Arc::new(catalog)));
        self.standing.unblock(Block::CatalogStale);
        drop(state);
        let took_ms = began.elapsed().as_millis();
        tracing::debug!(database = %self.target.dbname, took_ms, "the catalogue is loaded");
        Ok(())
    }

    /// Whom these names mean is to be learned anew, and is no change.
    pub(super) fn forget_roles(&self, names: &[String]) {
        if let Some(roles) = self.pictures.roles.lock().as_mut() {
            roles.forget(names);
        }
    }

    fn note_roles(&self, now: &Roles) {
        let before = self.pictures.roles.lock().replace(now.clone());
        let changed = before.map(|before| now.changed_since(&before));
        if let Some(changed) = changed.filter(|changed| !changed.is_empty()) {
            (self.roles_changed)(&changed);
        }
    }

    /// Looks for changes from elsewhere. If it cannot look, it takes them for granted.
    async fn watch_catalogue(&self) {
        let (epoch, watched) = {
            let state = self.pictures.state.lock();
            (state.epoch, state.watched.clone())
        };
        let snapshot = self.snapshot();
        // No transaction that wrote has ended since: nothing can have changed.
        if let (Some((_, before)), Some(now)) = (&watched, &snapshot)
            && before == now
        {
            return;
        }
        let mut seen = self.read_version().await;
        if seen.is_err() {
            seen = self.read_version().await;
        }
        let same = match (&seen, &watched) {
            (Ok(seen), Some((version, _))) => seen == version,
            (Ok(seen), None) => self
                .pictures
                .current()
                .is_some_and(|catalog| catalog.version == *seen),
            (Err(_), _) => false,
        };
        let mut state = self.pictures.state.lock();
        if state.epoch != epoch {
            return;
        }
        if same {
            state.watched = seen.ok().zip(snapshot);
            return;
        }
        drop(state);
        match seen {
            Ok(_) => {
                self.pictures.found.fetch_add(1, Ordering::Relaxed);
                tracing::info!(database = %self.target.dbname,
                    "the catalogue was changed from outside: everything cached is void");
            }
            Err(error) => tracing::warn!(database = %self.target.dbname, %error,
                "the catalogue cannot be watched: nothing is cached until it can"),
        }
        self.catalogue_changed();
    }

    async fn read_version(&self) -> Result<CatalogVersion, ControlError> {
        let client = self.proven().await?;
        let _reading = self.gate.read().await;
        let timeline = self.timeline();
        let version = read(STATEMENT_PATIENCE, Loader::version(&client)).await?;
        Ok(timeline.tell_apart(version))
    }

    fn timeline(&self) -> Timeline {
        let server = self.server.lock();
        let identity = server.as_ref().map(Server::identity);
        Timeline(identity.unwrap_or_default())
    }
}

/// Which server it is, the same for whoever asks. Versions are made of transaction ids, which two servers give to
/// different changes once one of them was promoted.
#[derive(Clone, Copy)]
struct Timeline(u64);

impl Timeline {
    fn tell_apart(self, version: CatalogVersion) -> CatalogVersion {
        CatalogVersion(version.0.wrapping_add(self.0))
    }
}

async fn read<T>(
    patience: Duration,
    reading: impl Future<Output = Result<T, CatalogError>>,
) -> Result<T, ControlError> {
    match tokio::time::timeout(patience, reading).await {
        Ok(read) => read.map_err(|error| match error {
            CatalogError::Locked => ControlError::Locked,
            error => ControlError::Catalog(error.to_string()),
        }),
        Err(_) => Err(ControlError::Timeout),
    }
}
