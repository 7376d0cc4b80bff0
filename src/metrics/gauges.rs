//! Our own series that are read from a [`Snapshot`] at scrape time.

use prometheus::{CounterVec, Gauge, GaugeVec, Registry, Result};

use super::family::{flag, float, gauge, gauges, one_of, reach, set, totals};
use super::process::Process;
use super::snapshot::{Phase, PoolSnapshot, Snapshot};
use super::tiers::{CacheGauges, RedisGauges};
use crate::sql::Bypass;

/// What a database's guard may say: `serving`, or one of these.
const HINDRANCES: &[Bypass] = &[
    Bypass::Guard,
    Bypass::StartBarrier,
    Bypass::NotAlone,
    Bypass::PoolerUpstream,
    Bypass::CatalogStale,
];
const SERVING: &str = "serving";

pub(super) struct Gauges {
    phase: GaugeVec,
    paused: Gauge,
    upstream_up: Gauge,
    started: Gauge,
    clients: GaugeVec,
    clients_limit: Gauge,
    pool_clients: GaugeVec,
    pool_servers: GaugeVec,
    pool_limits: GaugeVec,
    pool_wait: GaugeVec,
    pinned: GaugeVec,
    pin_reasons: Vec<&'static str>,
    database_connections: GaugeVec,
    database_limit: GaugeVec,
    guard: GaugeVec,
    guard_age: GaugeVec,
    key_classes: GaugeVec,
    keys: GaugeVec,
    key_bytes: GaugeVec,
    key_bytes_limit: GaugeVec,
    foreign_writers: CounterVec,
    server_changes: CounterVec,
    cache: CacheGauges,
    redis: RedisGauges,
    process: Process,
}

impl Gauges {
    pub fn new(registry: &Registry, pin_reasons: &[&'static str]) -> Result<Self> {
        let one = |name, help| gauge(registry, name, help);
        let many = |name, help, labels: &[&str]| gauges(registry, name, help, labels);
        let pool = ["database", "user", "state"];
        let build = many(
            "pgditto_build_info",
            "One, with the version as a label.",
            &["version"],
        )?;
        build
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1.0);
        Ok(Self {
            phase: many(
                "pgditto_phase",
                "One for what the process is doing: serving, draining, stopping.",
                &["phase"],
            )?,
            paused: one("pgditto_paused", "One while PAUSE holds.")?,
            upstream_up: one(
                "pgditto_upstream_up",
                "One if the server could be reached when it was last tried.",
            )?,
            started: one(
                "pgditto_start_time_seconds",
                "When the process began, as seconds since 1970.",
            )?,
            clients: many("pgditto_clients", "Clients, by state.", &["state"])?,
            clients_limit: one("pgditto_clients_limit", "`listen.max_client_conn`.")?,
            pool_clients: many(
                "pgditto_pool_clients",
                "Clients of a pool, by state.",
                &pool,
            )?,
            pool_servers: many(
                "pgditto_pool_connections",
                "Upstream connections of a pool, by state; pinned ones are active too.",
                &pool,
            )?,
            pool_limits: many(
                "pgditto_pool_connections_limit",
                "How many upstream connections a pool may have, by kind.",
                &["database", "user", "kind"],
            )?,
            pool_wait: many(
                "pgditto_pool_wait_max_seconds",
                "How long the client at the head of a pool's queue has waited.",
                &["database", "user"],
            )?,
            pinned: many(
                "pgditto_pinned_sessions",
                "Sessions that keep their upstream connection, by reason.",
                &["reason"],
            )?,
            pin_reasons: pin_reasons.to_vec(),
            database_connections: many(
                "pgditto_database_connections",
                "Upstream connections of a database, over all users.",
                &["database"],
            )?,
            database_limit: many(
                "pgditto_database_connections_limit",
                "`max_db_connections`; zero is no limit.",
                &["database"],
            )?,
            guard: many(
                "pgditto_guard_state",
                "One for what a database's guard says: serving, or why no `strict` answer is given from the cache.",
                &["database", "state"],
            )?,
            guard_age: many(
                "pgditto_guard_proof_age_seconds",
                "Age of the last proof that this is still the same server.",
                &["database"],
            )?,
            key_classes: many(
                "pgditto_key_classes",
                "Sets of columns by whose values answers from one table are told apart.",
                &["database"],
            )?,
            keys: many(
                "pgditto_keys",
                "Keys that answers depend on, as far as their counters tell.",
                &["database"],
            )?,
            key_bytes: many(
                "pgditto_key_bytes",
                "Memory of the counters of keys.",
                &["database"],
            )?,
            key_bytes_limit: many(
                "pgditto_key_bytes_limit",
                "`cache.key_memory`.",
                &["database"],
            )?,
            foreign_writers: totals(
                registry,
                "pgditto_foreign_writers_total",
                "Transactions seen writing that did not come through pgditto; sampled, so there may be more.",
                &["database"],
            )?,
            server_changes: totals(
                registry,
                "pgditto_server_changes_total",
                "Times that a database's server was found to be another, such as a promoted standby, or restarted.",
                &["database"],
            )?,
            cache: CacheGauges::new(registry)?,
            redis: RedisGauges::new(registry)?,
            process: Process::new(registry)?,
        })
    }

    pub fn started(&self, unix_seconds: f64) {
        self.started.set(unix_seconds);
    }

    pub fn fill(&self, snapshot: &Snapshot) {
        one_of(
            &self.phase,
            &[],
            Phase::ALL.iter().map(|p| p.as_str()),
            snapshot.phase.as_str(),
        );
        self.paused.set(flag(snapshot.paused));
        self.upstream_up.set(flag(snapshot.upstream_reachable));
        self.fill_clients(snapshot);
        for family in [
            &self.pool_clients,
            &self.pool_servers,
            &self.pool_limits,
            &self.pool_wait,
            &self.database_connections,
            &self.database_limit,
            &self.guard,
            &self.guard_age,
        ] {
            // What is gone is not shown for ever.
            family.reset();
        }
        snapshot.pools.iter().for_each(|pool| self.fill_pool(pool));
        for database in &snapshot.databases {
            let name = [database.name.as_str()];
            set(&self.database_connections, &name, database.connections);
            set(&self.database_limit, &name, database.connections_limit);
        }
        self.fill_guards(snapshot);
        self.cache.fill(snapshot);
        self.redis.fill(snapshot);
        self.process.fill();
    }

    fn fill_clients(&self, snapshot: &Snapshot) {
        let clients = &snapshot.clients;
        let idle = clients
            .connected
            .saturating_sub(clients.active + clients.waiting + clients.logging_in);
        for (state, count) in [
            ("active", clients.active),
            ("idle", idle),
            ("waiting", clients.waiting),
            ("logging_in", clients.logging_in),
        ] {
            set(&self.clients, &[state], count);
        }
        self.clients_limit.set(float(clients.limit as u64));
        for reason in &self.pin_reasons {
            let found = snapshot.pinned.iter().find(|(name, _)| name == reason);
            set(&self.pinned, &[reason], found.map_or(0, |found| found.1));
        }
    }

    fn fill_pool(&self, pool: &PoolSnapshot) {
        let (database, user) = (pool.database.as_str(), pool.user.as_str());
        for (state, count) in [
            ("active", pool.clients_active),
            ("waiting", pool.clients_waiting),
        ] {
            set(&self.pool_clients, &[database, user, state], count);
        }
        for (state, count) in [
            ("active", pool.servers_active),
            ("idle", pool.servers_idle),
            ("login", pool.servers_login),
            ("tested", pool.servers_tested),
            ("being_canceled", pool.servers_being_cancelled),
            ("pinned", pool.servers_pinned),
        ] {
            set(&self.pool_servers, &[database, user, state], count);
        }
        for (kind, count) in [
            ("pool", pool.pool_size),
            ("reserve", pool.reserve_pool_size),
            ("pinned", pool.pinned_limit),
        ] {
            set(&self.pool_limits, &[database, user, kind], count);
        }
        self.pool_wait
            .with_label_values(&[database, user])
            .set(pool.wait_max.as_secs_f64());
    }

    fn fill_guards(&self, snapshot: &Snapshot) {
        for authority in &snapshot.authorities {
            let state = authority.hindrance.map_or(SERVING, Bypass::as_str);
            let states = [SERVING]
                .into_iter()
                .chain(HINDRANCES.iter().map(|h| h.as_str()));
            one_of(&self.guard, &[&authority.database], states, state);
            let database = [authority.database.as_str()];
            set(&self.key_classes, &database, authority.key_classes);
            for (gauge, figure) in [
                (&self.keys, authority.keys),
                (&self.key_bytes, authority.key_bytes),
                (&self.key_bytes_limit, authority.key_bytes_limit),
            ] {
                gauge.with_label_values(&database).set(float(figure));
            }
            let foreign = self
                .foreign_writers
                .with_label_values(&[authority.database.as_str()]);
            reach(&foreign, authority.foreign_writers);
            let changes = self.server_changes.with_label_values(&database);
            reach(&changes, authority.server_changes);
            if let Some(age) = authority.proof_age {
                self.guard_age
                    .with_label_values(&[authority.database.as_str()])
                    .set(age.as_secs_f64());
            }
        }
    }
}
