//! A stand-in for the running process: fixed figures, and a list of the commands it was given.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use parking_lot::Mutex;
use pgditto::admin::house::*;
use pgditto::config::{AuthConfig, CacheRule, PoolMode, SlowLogConfig};
use pgditto::insight::{Event, Insight};
use pgditto::metrics::*;
use pgditto::sql::{Bypass, ShapeId};

pub struct Played {
    metrics: Arc<Metrics>,
    insight: Arc<Insight>,
    auth: AuthConfig,
    pub phase: Mutex<Phase>,
    pub upstream_reachable: Mutex<bool>,
    commands: Mutex<Vec<String>>,
}

impl Played {
    pub fn new() -> Arc<Self> {
        let metrics = Metrics::new(&["listen", "temporary_objects"]).unwrap();
        let config = SlowLogConfig::default();
        let insight = Insight::new(&config, pgditto::sql::shape_text, Arc::clone(&metrics));
        let timing = Timing {
            wait: Duration::from_millis(1),
            upstream: Duration::from_millis(1200),
            send: Duration::from_millis(2),
            total: Duration::from_millis(1203),
        };
        let shop = metrics.database("shop");
        let outcome = Outcome::Bypass(Bypass::VolatileFunction);
        shop.statement(outcome, &timing);
        shop.transaction(Duration::from_millis(1200));
        insight.record(
            &Event {
                database: "shop",
                user: "app",
                application_name: "<b>till</b>",
                client: "10.0.0.9:5000",
                shape: ShapeId(7 << 64),
                outcome,
                timing,
                rows: 3,
                bytes: 100,
                sqlstate: None,
            },
            || "SELECT random(), 'secret literal'",
        );
        Arc::new(Self {
            metrics,
            insight,
            auth: AuthConfig {
                admin_users: vec!["adm".into()],
                stats_users: vec!["stat".into()],
                ..AuthConfig::default()
            },
            phase: Mutex::default(),
            upstream_reachable: Mutex::new(true),
            commands: Mutex::default(),
        })
    }

    /// What was asked of it since the last call.
    pub fn commands(&self) -> Vec<String> {
        std::mem::take(&mut self.commands.lock())
    }

    fn note(&self, command: impl Into<String>) -> Result<(), CommandError> {
        self.commands.lock().push(command.into());
        Ok(())
    }

    fn of_database(&self, command: &str, database: Option<&str>) -> Result<(), CommandError> {
        match database {
            None | Some("shop" | "postgres") => self.note(format!("{command} {database:?}")),
            Some(unknown) => Err(CommandError::NoSuchDatabase(unknown.into())),
        }
    }
}

#[async_trait]
impl House for Played {
    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn insight(&self) -> &Insight {
        &self.insight
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            phase: *self.phase.lock(),
            upstream_reachable: *self.upstream_reachable.lock(),
            clients: ClientCounts {
                connected: 3,
                active: 1,
                waiting: 1,
                logging_in: 0,
                limit: 100,
            },
            users: 2,
            pools: vec![PoolSnapshot {
                database: "shop".into(),
                user: "app".into(),
                clients_active: 2,
                clients_waiting: 1,
                servers_active: 4,
                servers_idle: 5,
                wait_max: Duration::from_micros(2_000_123),
                pool_mode: PoolMode::Transaction,
                pool_size: 20,
                ..PoolSnapshot::default()
            }],
            databases: vec![DatabaseSnapshot {
                name: "shop".into(),
                host: Some("db.internal".into()),
                port: 5432,
                authority: Some("shop".into()),
                dbname: "shop".into(),
                pool_size: 20,
                server_lifetime: Duration::from_secs(3600),
                ..DatabaseSnapshot::default()
            }],
            authorities: vec![AuthoritySnapshot {
                database: "shop".into(),
                hindrance: None,
                proof_age: Some(Duration::from_millis(20)),
                foreign_writers: 3,
                relations: 12,
                ..AuthoritySnapshot::default()
            }],
            pinned: vec![("listen", 1)],
            cache: CacheSnapshot {
                entries: 10,
                bytes: 20_480,
                bytes_limit: 1 << 28,
                hits: 90,
                ..CacheSnapshot::default()
            },
            ..Snapshot::default()
        }
    }

    fn role(&self, user: &str) -> Option<Role> {
        Role::of(user, &self.auth, Some("app"))
    }

    fn clients(&self) -> Vec<ClientRow> {
        vec![ClientRow {
            id: 41,
            user: "app".into(),
            database: "shop".into(),
            state: ClientState::Waiting,
            addr: "10.0.0.9".into(),
            port: 5000,
            local_addr: "127.0.0.1".into(),
            local_port: 6432,
            connect_time: SystemTime::UNIX_EPOCH,
            request_time: SystemTime::UNIX_EPOCH,
            wait: Duration::from_micros(1_500_000),
            link: Some(9),
            remote_pid: 0,
            tls: String::new(),
            application_name: "<b>till</b>".into(),
            prepared_statements: 2,
            pins: vec!["listen"],
        }]
    }

    fn servers(&self) -> Vec<ServerRow> {
        vec![ServerRow {
            id: 9,
            user: "app".into(),
            database: "shop".into(),
            state: ServerState::Active,
            addr: "10.0.0.1".into(),
            port: 5432,
            local_addr: "10.0.0.2".into(),
            local_port: 40_000,
            connect_time: SystemTime::UNIX_EPOCH,
            request_time: SystemTime::UNIX_EPOCH,
            close_needed: false,
            link: Some(41),
            remote_pid: 777,
            tls: "TLSv1.3".into(),
            application_name: "till".into(),
            prepared_statements: 2,
            pins: vec!["listen"],
        }]
    }

    fn users(&self) -> Vec<UserRow> {
        vec![UserRow {
            name: "stat".into(),
            pool_mode: None,
            pool_size: None,
            connections: 0,
            clients: 1,
        }]
    }

    fn config_rows(&self) -> Vec<ConfigRow> {
        let row = |key: &str, value: &str| ConfigRow {
            key: key.into(),
            value: value.into(),
            default: value.into(),
            changeable: true,
        };
        vec![
            row("listen.max_client_conn", "100"),
            row("cache.ttl", "1m"),
            row("pool.pool_mode", "transaction"),
        ]
    }

    fn cache_tables(&self) -> Vec<CacheTableRow> {
        let table = |relation: &str, hits| CacheTableRow {
            database: "shop".into(),
            relation: relation.into(),
            entries: 5,
            bytes: 10_000,
            hits,
            stale: 1,
            stores: 6,
        };
        vec![table("public.a", 1), table("public.b", 80)]
    }

    fn cache_rules(&self) -> Vec<CacheRuleRow> {
        vec![CacheRuleRow {
            rule: CacheRule {
                tables: vec!["public.item".into()],
                ttl: Some(Duration::from_secs(30)),
                ..CacheRule::default()
            },
            matched: 4,
        }]
    }

    fn mismatches(&self) -> Vec<MismatchRow> {
        vec![MismatchRow {
            database: "shop".into(),
            shape: "00000000000000ff".into(),
            found_at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_230_515),
            entry_age: Duration::from_millis(1500),
            cached_rows: 2,
            cached_hash: "aa".into(),
            server_rows: 3,
            server_hash: "bb".into(),
            relations: vec!["public.item".into()],
            statement: "SELECT ? FROM item".into(),
        }]
    }

    fn pins(&self) -> Vec<PinRow> {
        vec![PinRow {
            client_id: 41,
            database: "shop".into(),
            user: "app".into(),
            application_name: "till".into(),
            reason: "listen",
            server_pid: 777,
        }]
    }

    async fn pause(&self, database: Option<&str>) -> Result<(), CommandError> {
        if database == Some("never") {
            self.note("pause never")?;
            std::future::pending::<()>().await;
        }
        self.of_database("pause", database)
    }

    async fn resume(&self, database: Option<&str>) -> Result<(), CommandError> {
        self.of_database("resume", database)
    }

    async fn suspend(&self) -> Result<(), CommandError> {
        self.note("suspend")
    }

    async fn disable(&self, database: &str) -> Result<(), CommandError> {
        self.of_database("disable", Some(database))
    }

    async fn enable(&self, database: &str) -> Result<(), CommandError> {
        self.of_database("enable", Some(database))
    }

    async fn wait_close(&self, database: Option<&str>) -> Result<(), CommandError> {
        self.of_database("wait_close", database)
    }

    async fn reconnect(&self, database: Option<&str>) -> Result<(), CommandError> {
        self.of_database("reconnect", database)
    }

    async fn kill(&self, database: Option<&str>) -> Result<(), CommandError> {
        self.of_database("kill", database)
    }

    async fn kill_client(&self, id: u64) -> Result<(), CommandError> {
        if id == 41 {
            self.note("kill_client 41")
        } else {
            Err(CommandError::NoSuchClient(id))
        }
    }

    async fn reload(&self) -> Result<Reloaded, CommandError> {
        self.note("reload")?;
        Ok(Reloaded {
            needs_restart: vec!["listen.listen_port".into()],
        })
    }

    async fn shutdown(&self, mode: Shutdown) -> Result<(), CommandError> {
        self.note(format!("shutdown {mode:?}"))
    }

    async fn drain(&self) -> Result<(), CommandError> {
        *self.phase.lock() = Phase::Draining;
        self.note("drain")
    }

    async fn set(&self, key: &str, value: &str) -> Result<(), CommandError> {
        if key == "max_client_con" {
            return Err(CommandError::UnknownKey {
                key: key.into(),
                nearest: Some("max_client_conn".into()),
            });
        }
        self.note(format!("set {key}={value}"))
    }

    async fn cache_flush(&self, what: CacheFlush) -> Result<(), CommandError> {
        self.note(format!("flush {what:?}"))
    }

    async fn explain(
        &self,
        database: Option<&str>,
        user: &str,
        sql: &str,
    ) -> Result<String, CommandError> {
        let database = database.unwrap_or("shop");
        Ok(format!(
            "database: {database}\nuser: {user}\nstatement: {sql}\n"
        ))
    }

    async fn cache_enable(&self, shape: Option<&str>) -> Result<(), CommandError> {
        self.note(format!("enable {shape:?}"))
    }
}
