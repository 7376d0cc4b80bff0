//! The running process as the console and `/metrics` see it: what each room
//! says of itself, put into the rows that operators know.

use std::time::{Duration, SystemTime};

use crate::admin::{
    CacheRuleRow, CacheTableRow, ClientRow, ClientState, ConfigRow, MismatchRow, PinRow, ServerRow,
    ServerState, UserRow,
};
use crate::cache::Moment;
use crate::config::keys::{Effect, KEYS};
use crate::config::{Config, DatabaseConfig};
use crate::metrics::{
    AuthoritySnapshot, CacheSnapshot, ClientCounts, DatabaseSnapshot, FlightSnapshot, Phase,
    PoolSnapshot, RedisSnapshot, RedisState, Snapshot, VerifySnapshot,
};
use crate::session;
use crate::session::registry::{Activity, SessionHandle};
use crate::session::state::Pin;
use crate::upstream::{self, ANY_DATABASE, PoolStats};

use super::House;

impl House {
    pub(super) fn take_snapshot(&self) -> Snapshot {
        let shared = &self.shared;
        let config = shared.config.load_full();
        let sessions = shared.registry.all();
        let pools = shared.pools.all();
        let stats: Vec<PoolStats> = pools.iter().map(|pool| pool.stats()).collect();
        let of = |activity: Activity| sessions.iter().filter(|s| s.activity() == activity).count();
        let logged_in = sessions.len();
        let connected = self.connections.taken();
        Snapshot {
            phase: match *self.phase.borrow() {
                session::Phase::Serving => Phase::Serving,
                session::Phase::Closing | session::Phase::Draining => Phase::Draining,
                session::Phase::Stopping => Phase::Stopping,
            },
            paused: shared.pools.is_paused(None),
            suspended: shared.suspension.is_on(),
            upstream_reachable: self.upstream_reachable(),
            clients: ClientCounts {
                connected,
                active: of(Activity::Active) + of(Activity::InTransaction),
                waiting: of(Activity::Waiting),
                logging_in: connected.saturating_sub(logged_in),
                limit: config.listen.max_client_conn,
            },
            users: config.users.len() + usize::from(config.upstream.user.is_some()),
            failed_logins: shared.pools.failed_logins(),
            pools: stats
                .iter()
                .map(|stats| pool_snapshot(stats, &sessions, &config))
                .collect(),
            databases: self.database_snapshots(&config, &stats, &sessions),
            cache: self.cache_snapshot(&config),
            redis: self.redis_snapshot(),
            authorities: self.authority_snapshots(&config),
            pinned: Pin::ALL
                .iter()
                .map(|pin| {
                    let holders = sessions
                        .iter()
                        .filter(|session| session.pins.lock().contains(pin));
                    (pin.as_str(), holders.count())
                })
                .collect(),
        }
    }

    fn database_snapshots(
        &self,
        config: &Config,
        stats: &[PoolStats],
        sessions: &[std::sync::Arc<SessionHandle>],
    ) -> Vec<DatabaseSnapshot> {
        let mut names: Vec<String> = config
            .databases
            .iter()
            .map(|entry| entry.name.clone())
            .filter(|name| name != ANY_DATABASE)
            .collect();
        names.extend(stats.iter().map(|pool| pool.database.clone()));
        names.extend(self.shared.pools.under_orders());
        names.sort();
        names.dedup();
        names
            .into_iter()
            .map(|name| {
                let named = |wanted: &str| config.databases.iter().find(|it| it.name == wanted);
                let entry = named(&name).or_else(|| named(ANY_DATABASE));
                let none = DatabaseConfig::default();
                let entry = entry.unwrap_or(&none);
                let mine = || stats.iter().filter(|pool| pool.database == name);
                // Where it leads is the same for every user.
                let target = self.shared.pools.target(&name, "").ok();
                let host = target.as_ref().map(|target| target.hosts.preferred());
                let database = target.as_ref();
                let database = database.and_then(|target| self.shared.databases.of_target(target));
                DatabaseSnapshot {
                    host: host.map(|host| host.name.clone()),
                    port: host.map_or(0, |host| host.port),
                    authority: database.map(|database| database.name.to_string()),
                    dbname: entry.dbname.clone().unwrap_or_else(|| name.clone()),
                    pool_size: entry.pool_size.unwrap_or(config.pool.default_pool_size),
                    min_pool_size: config.pool.min_pool_size,
                    reserve_pool_size: config.pool.reserve_pool_size,
                    server_lifetime: config.pool.server_lifetime,
                    pool_mode: entry.pool_mode,
                    connections_limit: config.pool.max_db_connections,
                    connections: mine().map(connections).sum(),
                    clients: sessions
                        .iter()
                        .filter(|session| session.database == name)
                        .count(),
                    paused: self.shared.pools.is_paused(Some(&name)),
                    disabled: self.shared.pools.is_disabled(&name),
                    name,
                }
            })
            .collect()
    }

    fn cache_snapshot(&self, config: &Config) -> CacheSnapshot {
        use std::sync::atomic::Ordering::Relaxed;
        let stats = self.shared.cache.stats();
        let shadow = &self.shared.shadow;
        CacheSnapshot {
            mode: config.cache.mode,
            entries: stats.entries,
            bytes: stats.bytes,
            bytes_limit: stats.bytes_max,
            hits: stats.hits,
            absent: stats.absent,
            stale: stats.stale,
            marked: stats.marked,
            expired: stats.expired,
            flushed: stats.flushed,
            stores: stats.stores,
            refused: stats.refused,
            too_large: stats.too_large,
            evictions: stats.evictions,
            flights: FlightSnapshot {
                led: stats.flights.led,
                joined: stats.flights.joined,
                shared: stats.flights.shared,
                refused: stats.flights.refused,
                timed_out: stats.flights.timed_out,
                flying: stats.flights.flying,
            },
            shadow_hits: shadow.hits.load(Relaxed),
            shadow_matches: shadow.matches.load(Relaxed),
            shadow_mismatches: shadow.mismatches.load(Relaxed),
            verify: VerifySnapshot {
                results: self.shared.verifier.counts(),
                waiting: self.shared.verifier.waiting(),
                shapes_off: self.shared.verifier.off.len(),
            },
        }
    }

    fn redis_snapshot(&self) -> RedisSnapshot {
        let Some(stats) = self.shared.cache.stats().redis else {
            return RedisSnapshot::default();
        };
        RedisSnapshot {
            state: if stats.connected {
                RedisState::Connected
            } else {
                RedisState::Down
            },
            hits: stats.hits,
            misses: stats.absent + stats.unfit + stats.skipped + stats.corrupt,
            stores: stats.writes,
            errors: stats.errors + stats.write_errors,
            timeouts: stats.timeouts,
        }
    }

    fn authority_snapshots(&self, config: &Config) -> Vec<AuthoritySnapshot> {
        let now = Moment::now();
        let databases = self.shared.databases.all();
        databases
            .iter()
            .map(|database| {
                let stats = database.authority.stats();
                let tags = database.tags.stats();
                AuthoritySnapshot {
                    database: database.name.to_string(),
                    hindrance: database.authority.may_serve(now).err(),
                    proof_age: stats.proof_age,
                    foreign_writers: stats.foreign_writers,
                    relations: database
                        .authority
                        .catalog()
                        .map_or(0, |catalog| catalog.relations().count()),
                    key_classes: tags.classes,
                    keys: tags.live_keys,
                    key_bytes: tags.key_bytes,
                    key_bytes_limit: config.cache.key_memory,
                    guards_lost: stats.losses,
                    server_changes: stats.moves,
                    catalogue_found: stats.catalogue_found,
                }
            })
            .collect()
    }

    pub(super) fn client_rows(&self) -> Vec<ClientRow> {
        let sessions = self.shared.registry.all();
        sessions.iter().map(|session| client_row(session)).collect()
    }

    pub(super) fn server_rows(&self) -> Vec<ServerRow> {
        let sessions = self.shared.registry.all();
        let holder = |pid: u32| {
            sessions
                .iter()
                .find(|session| session.upstream_pid() == Some(pid))
        };
        let mut rows = Vec::new();
        for pool in self.shared.pools.all() {
            for server in pool.servers() {
                rows.push(server_row(server, holder));
            }
        }
        let walsenders = self.shared.pools.walsenders().into_iter();
        rows.extend(walsenders.map(|server| server_row(server, holder)));
        rows
    }

    pub(super) fn user_rows(&self) -> Vec<UserRow> {
        let config = self.shared.config.load_full();
        let sessions = self.shared.registry.all();
        let pools: Vec<PoolStats> = self
            .shared
            .pools
            .all()
            .iter()
            .map(|pool| pool.stats())
            .collect();
        let mut names: Vec<String> = config.users.iter().map(|user| user.name.clone()).collect();
        names.extend(config.upstream.user.clone());
        names.extend(pools.iter().map(|pool| pool.user.clone()));
        names.sort();
        names.dedup();
        names
            .into_iter()
            .map(|name| {
                let entry = config.users.iter().find(|user| user.name == name);
                UserRow {
                    pool_mode: entry.and_then(|user| user.pool_mode),
                    pool_size: entry.and_then(|user| user.pool_size),
                    connections: pools
                        .iter()
                        .filter(|pool| pool.user == name)
                        .map(connections)
                        .sum(),
                    clients: sessions
                        .iter()
                        .filter(|session| session.user == name)
                        .count(),
                    name,
                }
            })
            .collect()
    }

    pub(super) fn configuration_rows(&self) -> Vec<ConfigRow> {
        let config = self.shared.config.load_full();
        let defaults = Config::default();
        KEYS.iter()
            .map(|key| ConfigRow {
                key: key.full.to_owned(),
                value: key.show(&config),
                default: key.show(&defaults),
                changeable: key.effect == Effect::Reload,
            })
            .collect()
    }

    pub(super) fn cache_table_rows(&self) -> Vec<CacheTableRow> {
        let databases = self.shared.databases.all();
        let tallies = self.shared.cache.per_relation();
        tallies
            .into_iter()
            .map(|tally| {
                let database = databases
                    .iter()
                    .find(|database| database.name == tally.database);
                let catalog = database.and_then(|database| database.authority.catalog());
                let relation = catalog
                    .and_then(|catalog| catalog.relation_name(tally.relation))
                    .unwrap_or_else(|| tally.relation.to_string());
                CacheTableRow {
                    database: tally.database.to_string(),
                    relation,
                    entries: tally.tally.entries,
                    bytes: tally.tally.bytes,
                    hits: tally.tally.hits,
                    stale: tally.tally.stale,
                    stores: tally.tally.stores,
                }
            })
            .collect()
    }

    pub(super) fn cache_rule_rows(&self) -> Vec<CacheRuleRow> {
        let rules = self.shared.rules.all();
        rules
            .into_iter()
            .map(|(rule, matched)| CacheRuleRow { rule, matched })
            .collect()
    }

    pub(super) fn mismatch_rows(&self) -> Vec<MismatchRow> {
        let row = |found: session::Mismatch| MismatchRow {
            database: found.database,
            shape: found.shape.to_string(),
            found_at: found.found_at,
            entry_age: found.entry_age,
            cached_rows: found.cached_rows,
            cached_hash: found.cached_hash,
            server_rows: found.server_rows,
            server_hash: found.server_hash,
            relations: found.relations,
            statement: found.statement,
        };
        self.shared
            .verifier
            .off
            .all()
            .into_iter()
            .map(row)
            .collect()
    }

    pub(super) fn pin_rows(&self) -> Vec<PinRow> {
        let mut rows = Vec::new();
        for session in self.shared.registry.all() {
            for pin in session.pins.lock().iter() {
                rows.push(PinRow {
                    client_id: u64::from(session.number),
                    database: session.database.clone(),
                    user: session.user.clone(),
                    application_name: session.application_name.lock().clone(),
                    reason: pin.as_str(),
                    server_pid: session.upstream_pid().unwrap_or(0),
                });
            }
        }
        rows
    }
}

fn connections(pool: &PoolStats) -> usize {
    pool.sv_active + pool.sv_being_canceled + pool.sv_idle + pool.sv_used + pool.sv_login
}

fn pool_snapshot(
    stats: &PoolStats,
    sessions: &[std::sync::Arc<SessionHandle>],
    config: &Config,
) -> PoolSnapshot {
    let mine = sessions
        .iter()
        .filter(|session| session.database == stats.database && session.user == stats.user);
    PoolSnapshot {
        database: stats.database.clone(),
        user: stats.user.clone(),
        clients_active: mine
            .filter(|session| session.activity() != Activity::Waiting)
            .count(),
        clients_waiting: stats.cl_waiting,
        cancels_active: stats.cancels,
        cancels_waiting: 0,
        servers_active: stats.sv_active,
        servers_being_cancelled: stats.sv_being_canceled,
        servers_idle: stats.sv_idle + stats.sv_used,
        servers_tested: 0,
        servers_login: stats.sv_login,
        servers_pinned: stats.pinned,
        wait_max: stats.maxwait,
        pool_mode: stats.mode,
        pool_size: stats.pool_size,
        reserve_pool_size: stats.reserve_pool_size,
        pinned_limit: config
            .pool
            .max_pinned_connections
            .unwrap_or(stats.pool_size),
    }
}

fn client_row(session: &SessionHandle) -> ClientRow {
    let (addr, port) = address_and_port(&session.origin.peer);
    let (local_addr, local_port) = local_end(session.origin.local);
    let state = match session.activity() {
        Activity::Idle => ClientState::Idle,
        Activity::Active | Activity::InTransaction => ClientState::Active,
        Activity::Waiting => ClientState::Waiting,
    };
    let since = session.request_at().elapsed();
    ClientRow {
        id: u64::from(session.number),
        user: session.user.clone(),
        database: session.database.clone(),
        state,
        addr,
        port,
        local_addr,
        local_port,
        connect_time: session.connected_at,
        request_time: SystemTime::now() - since,
        wait: if state == ClientState::Waiting {
            since
        } else {
            Duration::ZERO
        },
        link: session.upstream_pid().map(u64::from),
        remote_pid: session.origin.peer_pid,
        tls: session.origin.tls.clone(),
        application_name: session.application_name.lock().clone(),
        prepared_statements: session.statements(),
        pins: session.pins.lock().iter().map(|pin| pin.as_str()).collect(),
    }
}

fn server_row<'a>(
    server: upstream::ServerInfo,
    holder: impl Fn(u32) -> Option<&'a std::sync::Arc<SessionHandle>>,
) -> ServerRow {
    let link = holder(server.pid);
    let (addr, port) = match server.remote {
        Some(remote) => (remote.ip().to_string(), remote.port()),
        None => (server.address.clone(), 0),
    };
    let (local_addr, local_port) = local_end(server.local);
    ServerRow {
        id: u64::from(server.pid),
        user: server.user,
        database: server.database,
        state: match server.state {
            upstream::ServerState::Idle => ServerState::Idle,
            upstream::ServerState::Active | upstream::ServerState::Pinned => ServerState::Active,
            upstream::ServerState::BeingCancelled => ServerState::BeingCancelled,
        },
        addr,
        port,
        local_addr,
        local_port,
        connect_time: server.connected_at,
        request_time: server.requested_at.unwrap_or(server.connected_at),
        close_needed: server.close_needed,
        link: link.map(|session| u64::from(session.number)),
        remote_pid: server.pid,
        tls: server.tls,
        application_name: link
            .map(|session| session.application_name.lock().clone())
            .unwrap_or(server.application),
        prepared_statements: server.statements,
        pins: link
            .map(|session| session.pins.lock().iter().map(|pin| pin.as_str()).collect())
            .unwrap_or_default(),
    }
}

/// Our end of a connection; a Unix socket has no port.
fn local_end(local: Option<std::net::SocketAddr>) -> (String, u16) {
    match local {
        Some(local) => (local.ip().to_string(), local.port()),
        None => ("unix".into(), 0),
    }
}

/// `127.0.0.1:5432` or `[::1]:5432`; a Unix socket has no port.
fn address_and_port(peer: &str) -> (String, u16) {
    match peer.parse::<std::net::SocketAddr>() {
        Ok(address) => (address.ip().to_string(), address.port()),
        Err(_) => (peer.to_owned(), 0),
    }
}
