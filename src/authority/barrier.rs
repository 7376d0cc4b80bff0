//! Backends that may still commit although nobody waits for them.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Core;
use super::control::{ControlError, column, rows};
use super::proof::Backend;
use super::record::Found;
use super::standing::Block;
use crate::cache::Moment;
use crate::planted::{Step, planted};

const POLL_FIRST: Duration = Duration::from_millis(10);
const POLL_LAST: Duration = Duration::from_secs(1);

/// How long it is until we look again.
struct Pace(Duration);

impl Pace {
    fn new() -> Self {
        Self(POLL_FIRST)
    }

    async fn rest(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(POLL_LAST);
    }
}

/// What became of a backend.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Gone,
    /// Its commit is written and waits for a standby: ending it would publish it early.
    WaitsForStandby,
    Lives,
    /// Something has its pid, but whether it is the one is hidden from this role.
    Hidden,
}

impl Core {
    /// The start barrier: before it is passed nothing is served.
    pub(super) async fn pass_start_barrier(self: Arc<Self>, found: Found) {
        // Time runs from when we can look.
        self.guarded().await;
        if planted(Step::NoStartBarrier) {
            return self.open_barrier();
        }
        match found {
            Found::Backends(backends) => {
                if !backends.is_empty() {
                    tracing::warn!(database = %self.target.dbname, backends = backends.len(),
                        "ending the upstream connections that an earlier process left: hits wait until they are gone");
                }
                for backend in &backends {
                    // One of which we may not know whether it is the one is not waited for for ever: its pid
                    // may be anybody's by now.
                    let deadline = Moment::now() + self.cfg.ttl;
                    if !self.end(backend, Some(deadline)).await {
                        tracing::warn!(pid = backend.pid, user = %backend.user,
                            "whether this backend of an earlier process is gone is hidden from us: what it commits counts as written from outside");
                    }
                }
            }
            Found::Nothing => {
                tracing::info!(database = %self.target.dbname,
                    "no record of an earlier process: hits wait until older backends of our users are gone or idle, at most {:?}",
                    self.cfg.ttl);
                self.outwait_older().await;
            }
        }
        while let Err(error) = self.mark_prepared().await {
            tracing::debug!(%error, "prepared transactions cannot be listed yet");
            tokio::time::sleep(POLL_LAST).await;
        }
        self.record.forget_inherited();
        self.open_barrier();
    }

    /// The same for what another pgditto left that was here and went.
    pub(super) async fn wait_for_others(self: Arc<Self>) {
        self.outwait_older().await;
        self.open_barrier();
    }

    /// One more barrier; each is opened once.
    pub(super) fn raise_barrier(&self) {
        self.barriers.fetch_add(1, Ordering::AcqRel);
        self.standing.block(Block::StartBarrier);
    }

    fn open_barrier(&self) {
        // What was read while somebody could still commit unseen is void.
        self.tags.empty();
        if self.barriers.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        self.standing.unblock(Block::StartBarrier);
        // Another may have been raised between the two.
        if self.barriers.load(Ordering::Acquire) > 0 {
            self.standing.block(Block::StartBarrier);
            return;
        }
        tracing::info!(database = %self.target.dbname, "nobody is left who could commit unseen: hits begin");
    }

    /// Ends a backend and returns when it is gone, however long that takes; false if at `hidden_until` it
    /// is still hidden whether it is. It is done as the backend's own user, who may and who sees it,
    /// on a connection to the guard's server.
    pub(super) async fn end(&self, backend: &Backend, hidden_until: Option<Moment>) -> bool {
        let mut pace = Pace::new();
        let mut told = false;
        loop {
            match self.end_once(backend).await {
                Ok(Fate::Gone) => return true,
                Ok(Fate::Hidden) if hidden_until.is_some_and(|until| until <= Moment::now()) => {
                    return false;
                }
                Ok(Fate::WaitsForStandby) if !std::mem::replace(&mut told, true) => {
                    tracing::warn!(
                        pid = backend.pid,
                        "its commit waits for a standby and is waited for"
                    );
                }
                Ok(Fate::Hidden) if !std::mem::replace(&mut told, true) => {
                    tracing::warn!(pid = backend.pid, user = %backend.user,
                        "whether this backend still lives can only be seen as its own user, of whom no password is known");
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(pid = backend.pid, %error, "cannot be ended yet"),
            }
            pace.rest().await;
        }
    }

    async fn end_once(&self, backend: &Backend) -> Result<Fate, ControlError> {
        let (client, _connection) = self.connect_as(&backend.user).await?;
        let mut pace = Pace::new();
        let mut fate = Fate::Lives;
        // A few looks on one connection: it is mostly gone after the first.
        for _ in 0..6 {
            fate = fate_of(&client, backend).await?;
            match fate {
                Fate::Gone => break,
                Fate::WaitsForStandby | Fate::Hidden => {}
                Fate::Lives => {
                    let Backend {
                        pid, started_us, ..
                    } = backend;
                    let may_be_ended = match planted(Step::StandbyWaitEnded) {
                        true => "true",
                        false => "wait_event IS DISTINCT FROM 'SyncRep'",
                    };
                    // Looked at again in the same statement: pids are used again, and it may have
                    // begun to wait for a standby.
                    let terminate = format!(
                        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
                         WHERE pid = {pid} AND {may_be_ended} \
                         AND (pg_catalog.date_part('epoch', backend_start) * 1000000)::pg_catalog.int8 = {started_us}"
                    );
                    rows(&client, &terminate).await?;
                }
            }
            pace.rest().await;
        }
        Ok(fate)
    }

    /// Without a record nobody is ended: they may be another's. Waits until each backend of
    /// our users that is older than the guard has gone or been idle, at most `cache.ttl`.
    async fn outwait_older(&self) {
        self.guarded().await;
        let deadline = Moment::now() + self.cfg.ttl;
        let mut pace = Pace::new();
        let mut idle = HashSet::new();
        let mut told = false;
        while Moment::now() < deadline {
            match self.older(&mut idle).await {
                Ok(older) if older.is_empty() => return,
                Ok(older) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::info!(database = %self.target.dbname, pids = ?older,
                            "older backends are in the middle of something: waiting for them");
                    }
                }
                Err(error) => tracing::debug!(%error, "older backends cannot be listed yet"),
            }
            pace.rest().await;
        }
        tracing::warn!(database = %self.target.dbname,
            "older backends are still there: what they commit from here on counts as written from outside");
    }

    /// Those older than the guard that were never seen idle. `idle` remembers who was.
    async fn older(&self, idle: &mut HashSet<u32>) -> Result<Vec<u32>, ControlError> {
        let client = self.proven().await?;
        let before = self
            .server
            .lock()
            .as_ref()
            .map(|server| server.guard_started_us);
        let before = before.ok_or(ControlError::Timeout)?;
        // Of roles whose activity is hidden from us neither start nor state can be seen: they count.
        let sql = format!(
            "SELECT pid, usename, state = 'idle' FROM pg_catalog.pg_stat_activity \
             WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid() \
             AND coalesce(backend_type, 'client backend') = 'client backend' \
             AND coalesce((pg_catalog.date_part('epoch', backend_start) * 1000000)::pg_catalog.int8, 0) < {before}"
        );
        let mut older = Vec::new();
        for row in rows(&client, &sql).await? {
            let pid: u32 = column(&row, 0).ok_or(ControlError::Malformed)?;
            let user: String = column(&row, 1).unwrap_or_default();
            if row.get(2).and_then(Option::as_deref) == Some("t") {
                idle.insert(pid);
            }
            let ours = self.users.is_empty() || self.users.contains(&user);
            if ours && !idle.contains(&pid) && !self.record.has(pid) {
                older.push(pid);
            }
        }
        Ok(older)
    }
}

async fn fate_of(client: &tokio_postgres::Client, backend: &Backend) -> Result<Fate, ControlError> {
    let sql = format!(
        "SELECT (pg_catalog.date_part('epoch', backend_start) * 1000000)::pg_catalog.int8, wait_event \
         FROM pg_catalog.pg_stat_activity WHERE pid = {}",
        backend.pid
    );
    let found = rows(client, &sql).await?;
    let Some(row) = found.first() else {
        return Ok(Fate::Gone);
    };
    match column::<i64>(row, 0) {
        None => return Ok(Fate::Hidden),
        Some(started_us) if started_us != backend.started_us => return Ok(Fate::Gone),
        Some(_) => {}
    }
    Ok(match row.get(1).and_then(Option::as_deref) {
        Some("SyncRep") if !planted(Step::StandbyWaitEnded) => Fate::WaitsForStandby,
        _ => Fate::Lives,
    })
}
