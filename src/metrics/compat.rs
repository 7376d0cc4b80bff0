//! The series of pgbouncer_exporter, under their exact names, so that dashboards
//! and alerts made for PgBouncer work unchanged.

use prometheus::{CounterVec, Gauge, GaugeVec, Registry, Result};

use super::database::{DatabaseStats, Totals};
use super::family::{flag, float, gauge, gauges, totals};
use super::snapshot::{DatabaseSnapshot, PoolSnapshot, Snapshot, pool_mode_word};

type PoolFigure = (&'static str, &'static str, fn(&PoolSnapshot) -> f64);

/// Part of the name, help, figure.
const POOLS: &[PoolFigure] = &[
    (
        "client_active_connections",
        "Client connections that do not wait.",
        |p| count(p.clients_active),
    ),
    (
        "client_waiting_connections",
        "Client connections that wait for a server connection.",
        |p| count(p.clients_waiting),
    ),
    (
        "client_active_cancel_connections",
        "Cancel requests that were sent on.",
        |p| count(p.cancels_active),
    ),
    (
        "client_waiting_cancel_connections",
        "Cancel requests that were not sent on yet.",
        |p| count(p.cancels_waiting),
    ),
    (
        "server_active_connections",
        "Server connections that a client has.",
        |p| count(p.servers_active),
    ),
    (
        "server_active_cancel_connections",
        "Server connections that carry a cancel request.",
        |p| count(p.cancels_active),
    ),
    (
        "server_being_canceled_connections",
        "Server connections kept back until a cancel request is done.",
        |p| count(p.servers_being_cancelled),
    ),
    (
        "server_idle_connections",
        "Server connections that nobody has.",
        |p| count(p.servers_idle),
    ),
    (
        "server_used_connections",
        "Server connections that want a check before use; there are none.",
        |_| 0.0,
    ),
    (
        "server_testing_connections",
        "Server connections that are read back or reset.",
        |p| count(p.servers_tested),
    ),
    (
        "server_login_connections",
        "Server connections that are logging in.",
        |p| count(p.servers_login),
    ),
    (
        "client_maxwait_seconds",
        "How long the oldest waiting client has waited.",
        |p| p.wait_max.as_secs_f64(),
    ),
];

type StatFigure = (&'static str, &'static str, fn(&Totals) -> f64);

const STATS: &[StatFigure] = &[
    ("queries_pooled_total", "Statements.", |t| {
        float(t.statements)
    }),
    ("queries_total", "Statements.", |t| float(t.statements)),
    (
        "sql_transactions_pooled_total",
        "Transactions that used a server connection.",
        |t| float(t.transactions),
    ),
    (
        "server_assignments_total",
        "Server connections given to clients.",
        |t| float(t.assignments),
    ),
    ("client_parses_total", "Parse messages from clients.", |t| {
        float(t.client_parses)
    }),
    (
        "server_parses_total",
        "Parse messages to the server.",
        |t| float(t.server_parses),
    ),
    ("binds_total", "Bind messages from clients.", |t| {
        float(t.binds)
    }),
    (
        "queries_duration_seconds_total",
        "Time of statements on the server.",
        |t| seconds(t.query_us),
    ),
    (
        "client_wait_seconds_total",
        "Time that clients waited for a server connection.",
        |t| seconds(t.wait_us),
    ),
    (
        "server_in_transaction_seconds_total",
        "Time that transactions held a server connection.",
        |t| seconds(t.transaction_us),
    ),
    ("received_bytes_total", "Bytes from clients.", |t| {
        float(t.received_bytes)
    }),
    ("sent_bytes_total", "Bytes to clients.", |t| {
        float(t.sent_bytes)
    }),
];

type DatabaseFigure = (&'static str, &'static str, fn(&DatabaseSnapshot) -> f64);

const DATABASES: &[DatabaseFigure] = &[
    (
        "pool_size",
        "Server connections that a pool may have.",
        |d| count(d.pool_size),
    ),
    ("reserve_pool", "Additional server connections.", |d| {
        count(d.reserve_pool_size)
    }),
    (
        "max_connections",
        "Server connections that the database may have; zero is no limit.",
        |d| count(d.connections_limit),
    ),
    (
        "current_connections",
        "Server connections of the database.",
        |d| count(d.connections),
    ),
    ("paused", "One while the database is paused.", |d| {
        flag(d.paused)
    }),
    ("disabled", "One while the database is disabled.", |d| {
        flag(d.disabled)
    }),
];

type ListFigure = (&'static str, &'static str, fn(&Snapshot) -> usize);

const LISTS: &[ListFigure] = &[
    ("databases", "Count of databases.", |s| s.databases.len()),
    ("users", "Count of users.", |s| s.users),
    ("pools", "Count of pools.", |s| s.pools.len()),
    ("free_clients", "Clients that may still connect.", |s| {
        s.free_clients()
    }),
    ("used_clients", "Clients that are connected.", |s| {
        s.clients.connected
    }),
    ("login_clients", "Clients that are logging in.", |s| {
        s.clients.logging_in
    }),
    ("free_servers", "Server connections that nobody has.", |s| {
        s.free_servers()
    }),
    ("used_servers", "Server connections in use.", |s| {
        s.used_servers()
    }),
    (
        "cached_dns_names",
        "Always zero: names are resolved by the system.",
        |_| 0,
    ),
    (
        "cached_dns_zones",
        "Always zero: names are resolved by the system.",
        |_| 0,
    ),
    (
        "in_flight_dns_queries",
        "Always zero: names are resolved by the system.",
        |_| 0,
    ),
];

const DATABASE_LABELS: &[&str] = &[
    "name",
    "host",
    "port",
    "database",
    "force_user",
    "pool_mode",
];

pub(super) struct Compat {
    pools: Vec<GaugeVec>,
    stats: Vec<CounterVec>,
    databases: Vec<GaugeVec>,
    lists: Vec<Gauge>,
    max_client_connections: Gauge,
}

impl Compat {
    pub fn new(registry: &Registry) -> Result<Self> {
        let version = gauges(
            registry,
            "pgbouncer_version_info",
            "One, with the version as a label.",
            &["version"],
        )?;
        let version_text = concat!("pgditto ", env!("CARGO_PKG_VERSION"));
        version.with_label_values(&[version_text]).set(1.0);
        gauge(registry, "pgbouncer_up", "One: there is an answer.")?.set(1.0);
        gauge(
            registry,
            "pgbouncer_config_max_user_connections",
            "Zero: there is no such limit.",
        )?;
        let pools = POOLS.iter().map(|(name, help, _)| {
            let name = format!("pgbouncer_pools_{name}");
            gauges(registry, &name, help, &["database", "user"])
        });
        let stats = STATS.iter().map(|(name, help, _)| {
            let name = format!("pgbouncer_stats_{name}");
            totals(registry, &name, help, &["database"])
        });
        let databases = DATABASES.iter().map(|(name, help, _)| {
            let name = format!("pgbouncer_databases_{name}");
            gauges(registry, &name, help, DATABASE_LABELS)
        });
        let lists = LISTS
            .iter()
            .map(|(name, help, _)| gauge(registry, &format!("pgbouncer_{name}"), help));
        Ok(Self {
            pools: pools.collect::<Result<_>>()?,
            stats: stats.collect::<Result<_>>()?,
            databases: databases.collect::<Result<_>>()?,
            lists: lists.collect::<Result<_>>()?,
            max_client_connections: gauge(
                registry,
                "pgbouncer_config_max_client_connections",
                "`listen.max_client_conn`.",
            )?,
        })
    }

    pub fn fill(&self, snapshot: &Snapshot, stats: &[DatabaseStats]) {
        for (family, (_, _, figure)) in self.pools.iter().zip(POOLS) {
            family.reset();
            for pool in &snapshot.pools {
                let labels = [pool.database.as_str(), pool.user.as_str()];
                family.with_label_values(&labels).set(figure(pool));
            }
        }
        for (family, (_, _, figure)) in self.stats.iter().zip(STATS) {
            for line in stats {
                let counter = family.with_label_values(&[line.database.as_str()]);
                let missing = figure(&line.totals) - counter.get();
                if missing > 0.0 {
                    counter.inc_by(missing);
                }
            }
        }
        for (family, (_, _, figure)) in self.databases.iter().zip(DATABASES) {
            family.reset();
            for database in &snapshot.databases {
                let port = database.port.to_string();
                let labels = [
                    database.name.as_str(),
                    database.host.as_deref().unwrap_or_default(),
                    &port,
                    &database.dbname,
                    "",
                    database.pool_mode.map_or("", pool_mode_word),
                ];
                family.with_label_values(&labels).set(figure(database));
            }
        }
        for (gauge, (_, _, figure)) in self.lists.iter().zip(LISTS) {
            gauge.set(count(figure(snapshot)));
        }
        self.max_client_connections
            .set(count(snapshot.clients.limit));
    }
}

fn count(value: usize) -> f64 {
    float(value as u64)
}

fn seconds(us: u64) -> f64 {
    float(us) / 1e6
}
