//! The guard: one connection per database whose life is the server's identity.
//!
//! While it lives the server has not crashed, has not been replaced by a standby, and has kept
//! every commit that it acknowledged. So hits need an answer from it that was asked for
//! less than a lease ago, and when it is gone the cache is void. It is also how one pgditto
//! knows of another: each registers, then looks.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::control::{ControlError, Line, Row, Silence, column, rows};
use super::proof::{GUARDS, Proof, guard_name};
use super::standing::Block;
use super::stats::Server;
use super::{Core, control_pool};
use crate::cache::Moment;
use crate::config::Host;
use crate::hosts::none_fits;
use crate::planted::{Step, planted};

/// Between attempts to connect, growing.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(5);

/// The same where there are several servers: one of them may be ready at any time.
const RETRY_LAST_OF_SEVERAL: Duration = Duration::from_millis(500);

/// A guard that is registered.
struct Guard {
    host: Host,
    client: Client,
    connection: JoinHandle<()>,
    pid: i32,
    /// As of the last look.
    in_recovery: Option<bool>,
    /// The generation of its proof.
    generation: u64,
    /// When it had its name, by our clock.
    registered: Moment,
    /// A digest of what sessions began with when it was posted.
    configuration: Option<String>,
}

/// What the server says each time it is asked.
struct Look {
    sent: Moment,
    received: Moment,
    pid: i32,
    snapshot: Arc<str>,
    in_recovery: bool,
    others: Vec<Other>,
    /// When the server last read its configuration.
    configured: Option<String>,
    /// A digest of what roles and databases begin with.
    role_settings: Option<String>,
}

/// Another pgditto on this database.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Other {
    pid: i32,
    lease: Duration,
}

/// Set once, lest a setting of the role or database end the guard or change its answers' meaning.
const SETTLE: &str = "SELECT pg_catalog.set_config('search_path', 'pg_catalog', false); \
     SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings \
     WHERE name IN ('statement_timeout', 'lock_timeout', 'transaction_timeout', \
     'idle_session_timeout', 'idle_in_transaction_session_timeout')";

const IDENTIFY: &str = "SELECT pg_backend_pid(), \
     (SELECT (date_part('epoch', backend_start) * 1000000)::int8 \
     FROM pg_stat_get_activity(pg_backend_pid())), \
     (date_part('epoch', pg_postmaster_start_time()) * 1000000)::int8";

/// Why a guard is given up that could stand on.
pub(super) const DEFAULTS_CHANGED: &str = "what sessions begin with has changed";

/// Everybody may see the names of connections.
fn look_sql() -> String {
    format!(
        "SELECT pg_backend_pid(), txid_current_snapshot(), pg_is_in_recovery(), \
         (SELECT string_agg(pid || ':' || substring(application_name FROM '[0-9]+$'), ' ') \
         FROM pg_stat_get_activity(NULL) \
         WHERE application_name ~ '{GUARDS}' AND pid <> pg_backend_pid() \
         AND datid = (SELECT oid FROM pg_database WHERE datname = current_database())), \
         pg_conf_load_time(), \
         (SELECT sum(hashtext(concat_ws(' ', setdatabase, setrole, setconfig))) FROM pg_db_role_setting)"
    )
}

/// What sessions begin with, as far as the server's files say; asked for when these were read again.
const CONFIGURATION: &str = "SELECT md5(concat_ws(' ', \
     (SELECT string_agg(concat_ws('=', name, reset_val), ' ' ORDER BY name) FROM pg_settings WHERE context <> 'internal'), \
     (SELECT sum(hashtext(concat_ws(' ', setdatabase, setrole, setconfig))) FROM pg_db_role_setting)))";

impl Core {
    /// Keeps a guard, for ever.
    pub(super) async fn keep_guard(self: Arc<Self>) {
        let retry_last = match self.target.hosts.is_plain() {
            true => RETRY_LAST,
            false => RETRY_LAST_OF_SEVERAL,
        };
        let mut retry = RETRY_FIRST;
        let mut told = false;
        loop {
            match self.post().await {
                Ok(mut guard) => {
                    (retry, told) = (RETRY_FIRST, false);
                    let cause = self.stand(&mut guard).await;
                    guard.connection.abort();
                    self.lost(guard.generation, &cause);
                }
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(server = %self.target.address(), %error,
                            "the guard cannot connect: nothing is served from the cache");
                    }
                }
            }
            tokio::time::sleep(retry).await;
            retry = (retry * 2).min(retry_last);
        }
    }

    /// Connects and registers.
    async fn post(self: &Arc<Self>) -> Result<Guard, ControlError> {
        let name = guard_name(self.tags.incarnation(), self.cfg.lease);
        // Connected is registered.
        let Line {
            client,
            task: connection,
            host,
        } = self.target.find(&name, Silence).await?;
        let registered = Moment::now();
        rows(&client, SETTLE).await?;
        let identity = rows(&client, IDENTIFY).await?;
        let row = identity.first().ok_or(ControlError::Malformed)?;
        let pid = column(row, 0).ok_or(ControlError::Malformed)?;
        let server = Server {
            host: host.clone(),
            guard_pid: pid,
            guard_started_us: column(row, 1).ok_or(ControlError::Malformed)?,
            postmaster_started_us: column(row, 2),
            // Some providers keep it to themselves.
            system_identifier: rows(&client, "SELECT system_identifier FROM pg_control_system()")
                .await
                .ok()
                .and_then(|rows| column(rows.first()?, 0)),
        };
        // Before any connection is proved.
        let configuration = configuration(&client).await?;
        self.introduce(&server);
        self.target.hosts.remember(&host);
        // Proofs count for the generation that the last loss began.
        let generation = *self.generation.borrow();
        self.proof.send_replace(Some(Arc::new(Proof::new(
            pid,
            host.clone(),
            name,
            generation,
        ))));
        Ok(Guard {
            host,
            client,
            connection,
            pid,
            generation,
            in_recovery: None,
            registered,
            configuration,
        })
    }

    /// Before the first connection is proved: what was known of another server counts no more.
    fn introduce(self: &Arc<Self>, server: &Server) {
        let before = self.server.lock().replace(server.clone());
        let (host, dbname) = (&server.host, &self.target.dbname);
        let moved = before.is_some_and(|before| {
            before.host != server.host
                || before.system_identifier != server.system_identifier
                || before.postmaster_started_us != server.postmaster_started_us
        });
        if !self.target.hosts.is_plain() {
            self.control
                .store(Arc::new(control_pool(&self.target, host)));
        }
        if !moved {
            tracing::info!(server = %host, database = %dbname, pid = server.guard_pid, "the guard stands");
            return;
        }
        tracing::warn!(server = %host, database = %dbname, ?server,
            "the guard stands again, and the server is another or was restarted");
        self.counts.moves.fetch_add(1, Ordering::AcqRel);
        if planted(Step::GuardLossIgnored) {
            return;
        }
        // It may have been ours before, and what we sent it then may still be on its way.
        self.raise_barrier();
        let core = Arc::clone(self);
        self.spawn(async move { core.wait_for_others().await });
    }

    /// Asks every third of a lease, until the guard is lost; says why it is.
    async fn stand(self: &Arc<Self>, guard: &mut Guard) -> String {
        let sql = look_sql();
        let lease = self.cfg.lease;
        let mut last: Option<Moment> = None;
        let mut defaults: Option<(Option<String>, Option<String>)> = None;
        let mut generations = self.generation.subscribe();
        loop {
            let look = match self.look(guard, &sql).await {
                Ok(look) => look,
                Err(error) => {
                    if matches!(error, ControlError::Timeout) {
                        self.target.hosts.distrust(&guard.host);
                    }
                    return error.to_string();
                }
            };
            if let Some(cause) = self.unwanted(guard, &look) {
                return cause.into();
            }
            if *generations.borrow() != guard.generation {
                return DEFAULTS_CHANGED.into();
            }
            if look.pid != guard.pid {
                // Of no use any more, and harmless: pools go on, without the cache.
                self.pooler_upstream();
                guard.pid = look.pid;
            }
            let now = (look.configured.clone(), look.role_settings.clone());
            if defaults.as_ref() != Some(&now) {
                match configuration(&guard.client).await {
                    Ok(same) if same == guard.configuration => {}
                    Ok(_) => return DEFAULTS_CHANGED.into(),
                    Err(error) => return error.to_string(),
                }
                defaults = Some(now);
            }
            // Between two looks that are a lease apart another pgditto can have come, written and gone.
            let lapsed = last.is_some_and(|last| look.received.since(last) >= lease);
            if lapsed {
                self.counts.lapses.fetch_add(1, Ordering::Relaxed);
                self.tags.empty();
            }
            last = Some(look.sent);
            self.see_others(guard, &look);
            *self.snapshot.lock() = Some(Arc::clone(&look.snapshot));
            self.standing.set(Block::Guard, look.in_recovery);
            self.standing.extend(look.sent, lease);
            self.counts.looks.fetch_add(1, Ordering::Relaxed);
            let next = tokio::time::sleep(lease / 3);
            tokio::select! {
                () = next => {}
                _ = &mut guard.connection => return "the connection was closed".into(),
                _ = generations.wait_for(|now| *now != guard.generation) => return DEFAULTS_CHANGED.into(),
            }
        }
    }

    /// Why the guard should not stand where it does: the server was promoted, and what was read before is
    /// older than what it holds now; or it is not what is wanted of several.
    fn unwanted(&self, guard: &mut Guard, look: &Look) -> Option<&'static str> {
        let was_in_recovery = guard.in_recovery.replace(look.in_recovery);
        if was_in_recovery == Some(true) && !look.in_recovery {
            return Some("the server was promoted");
        }
        let hosts = &self.target.hosts;
        (!hosts.keeps(look.in_recovery)).then(|| none_fits(hosts.wanted()))
    }

    async fn look(&self, guard: &mut Guard, sql: &str) -> Result<Look, ControlError> {
        let reading = self.gate.read_at_once();
        let sent = Moment::now();
        let asked = rows(&guard.client, sql).await?;
        let received = Moment::now();
        drop(reading);
        let took = received.since(sent);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counts.last_look_us.store(us, Ordering::Relaxed);
        asked
            .first()
            .and_then(|row| Look::read(row, sent, received))
            .ok_or(ControlError::Malformed)
    }

    /// Acts on who else is there: before the lease is extended on the same look.
    fn see_others(self: &Arc<Self>, guard: &Guard, look: &Look) {
        let alone = look.others.is_empty() || planted(Step::OthersIgnored);
        let was_alone = !self.standing.is_blocked(Block::NotAlone);
        let first = self.writes_from.borrow().is_none();
        if first {
            // Whoever served before we were registered stops within its lease, and looks before.
            let leases = look.others.iter().map(|other| other.lease);
            let wait = leases.chain([self.cfg.lease]).max().unwrap_or_default();
            let from = match alone {
                true => look.received,
                false => guard.registered + wait,
            };
            self.writes_from.send_replace(Some(from));
        }
        if alone == was_alone {
            return;
        }
        let database = &self.target.dbname;
        if alone {
            tracing::info!(%database, "the other pgditto is gone: hits begin again when its last transactions are over");
            self.raise_barrier();
            self.standing.unblock(Block::NotAlone);
            let core = Arc::clone(self);
            self.spawn(async move { core.wait_for_others().await });
        } else {
            self.standing.block(Block::NotAlone);
            let pids: Vec<_> = look.others.iter().map(|other| other.pid).collect();
            tracing::warn!(%database, guards = ?pids,
                "another pgditto serves this database and they are not a fleet: none of them serves strict hits");
        }
    }

    /// The guard of this generation, or whoever takes its place until it stands, is of no use any more.
    pub(super) fn lost(&self, generation: u64, cause: &str) {
        if planted(Step::GuardLossIgnored) {
            // Connections are replaced, and what was read before stays.
            self.proof.send_replace(None);
            self.generation.send_modify(|generation| *generation += 1);
            return;
        }
        self.standing.lose();
        self.proof.send_replace(None);
        self.writes_from.send_replace(None);
        *self.snapshot.lock() = None;
        // Before the cache is emptied: a stamp that is taken after that finds the new generation
        // (see `Authority::may_fill`), and one that was taken before is void.
        let is_first = self.generation.send_if_modified(|now| {
            let is_first = *now == generation;
            *now += u64::from(is_first);
            is_first
        });
        if !is_first {
            // It was given up before, and all that follows was done.
            return;
        }
        self.tags.empty();
        self.catalogue_changed();
        self.counts.losses.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(server = %self.target.address(), cause,
            "the guard is lost: the cache is emptied, and upstream connections are replaced");
    }
}

async fn configuration(client: &Client) -> Result<Option<String>, ControlError> {
    let asked = rows(client, CONFIGURATION).await?;
    Ok(asked
        .into_iter()
        .next()
        .and_then(|mut row| row.pop().flatten()))
}

impl Look {
    fn read(row: &Row, sent: Moment, received: Moment) -> Option<Self> {
        let others = match row.get(3)? {
            None => Vec::new(),
            Some(list) => list
                .split(' ')
                .map(|other| {
                    let (pid, lease_ms) = other.split_once(':')?;
                    Some(Other {
                        pid: pid.parse().ok()?,
                        lease: Duration::from_millis(lease_ms.parse().ok()?),
                    })
                })
                .collect::<Option<_>>()?,
        };
        Some(Self {
            sent,
            received,
            pid: column(row, 0)?,
            snapshot: row.get(1)?.as_deref()?.into(),
            in_recovery: row.get(2)?.as_deref()? == "t",
            others,
            configured: row.get(4).cloned().flatten(),
            role_settings: row.get(5).cloned().flatten(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_read_whole_or_not_at_all() {
        let row = |others: Option<&str>| -> Row {
            let mut row: Row = ["7", "10:12:11", "f"].map(|t| Some(t.to_owned())).to_vec();
            row.push(others.map(str::to_owned));
            row
        };
        let read = |row: &Row| Look::read(row, Moment::default(), Moment::default());
        let look = read(&row(None)).unwrap();
        assert_eq!((look.pid, &*look.snapshot), (7, "10:12:11"));
        assert!(look.others.is_empty() && !look.in_recovery);
        let look = read(&row(Some("8:1000 9:250"))).unwrap();
        assert_eq!(look.others.len(), 2);
        assert_eq!(look.others[1].lease, Duration::from_millis(250));
        assert!(read(&row(Some("8"))).is_none());
        assert!(read(&Row::new()).is_none());
    }
}
