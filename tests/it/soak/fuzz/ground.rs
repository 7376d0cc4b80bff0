//! The servers of the fuzzer, and the databases that its sessions play on.

use std::cell::Cell;

use super::catalogue::Catalogue;
use crate::cache::wire::Wire;
use crate::fixture::{Pgditto, Postgres, eventually};

const TEMPLATE: &str = "fuzz_template";
/// Locks that the script itself holds are not waited for.
const LOCK_TIMEOUT_MS: u32 = 40;
/// Nobody else runs while the truth is asked for. It is no part of what a hit is kept under.
const TRUTH_LOCK_TIMEOUT_MS: u32 = 5;

/// A server with a database to copy, and a pgditto for all of its databases.
pub struct Ground {
    pub postgres: Postgres,
    pub pgditto: Pgditto,
    next: Cell<u32>,
}

impl Ground {
    pub fn new() -> Self {
        let postgres = Postgres::start(&[
            ("max_prepared_transactions", "20"),
            ("deadlock_timeout", "20ms"),
            ("autovacuum", "off"),
        ]);
        postgres.allow("host all all 127.0.0.1/32 trust");
        postgres.psql("CREATE ROLE soak_alice LOGIN; CREATE ROLE soak_bob LOGIN; GRANT soak_alice, soak_bob TO app");
        // Before PostgreSQL 15 only a superuser may set it, and both twins answer so.
        if postgres.major() >= 15 {
            postgres.psql("GRANT SET ON PARAMETER session_replication_role TO app");
        }
        postgres.psql(&format!("CREATE DATABASE {TEMPLATE} OWNER app"));
        let mut schema = include_str!("schema.sql").to_owned();
        if postgres.major() < 15 {
            schema = schema.replace("WITH (security_invoker)", "");
        }
        let made = Wire::connect(postgres.port, "app", TEMPLATE, &[]).query(&schema);
        assert_eq!(made.error(), None, "{made:?}");
        let pgditto = Pgditto::start(&postgres, |opts| {
            opts.set("auth.auth_type", "trust");
        });
        Self {
            postgres,
            pgditto,
            next: Cell::new(0),
        }
    }

    /// What the databases of the sessions hold when they are new.
    pub fn catalogue(&self) -> Catalogue {
        Catalogue::read(&mut Wire::connect(self.postgres.port, "app", TEMPLATE, &[]))
    }

    /// A pair of databases, made from the template.
    pub fn twins(&self) -> (String, String) {
        let n = self.next.get();
        self.next.set(n + 1);
        let (a, b) = (format!("fuzz_a{n}"), format!("fuzz_b{n}"));
        for name in [&a, &b] {
            let sql = format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE} OWNER app");
            eventually("nobody uses the template", || {
                Wire::connect(self.postgres.port, "postgres", "postgres", &[])
                    .query(&sql)
                    .error()
                    .is_none()
            });
        }
        (a, b)
    }

    /// Waits until hits are served on the database of `client`.
    pub fn serves(&self, client: &mut Wire) {
        eventually("hits are served", || {
            let before = self.hits();
            client.query("SELECT 1 AS warm");
            self.hits() > before
        });
    }

    pub fn hits(&self) -> f64 {
        self.pgditto.metrics().sum("pgditto_hits_total", &[])
    }

    pub fn via(&self, user: &str, database: &str) -> Wire {
        let options = format!("-c lock_timeout={LOCK_TIMEOUT_MS}ms");
        Wire::connect(self.pgditto.port, user, database, &[("options", &options)])
    }

    pub fn direct(&self, user: &str, database: &str) -> Wire {
        let options = format!("-c lock_timeout={LOCK_TIMEOUT_MS}ms");
        Wire::connect(self.postgres.port, user, database, &[("options", &options)])
    }

    /// A direct connection that gives up sooner where it meets a lock.
    pub fn truth(&self, user: &str, database: &str) -> Wire {
        let options = format!("-c lock_timeout={TRUTH_LOCK_TIMEOUT_MS}ms");
        Wire::connect(self.postgres.port, user, database, &[("options", &options)])
    }

    /// Prepared transactions outlive their database's sessions.
    pub fn clean(&self, ours: &str, twin: &str) {
        for database in [ours, twin] {
            let mut client = Wire::connect(self.postgres.port, "postgres", database, &[]);
            let open = client
                .query("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()");
            for gid in open.text().lines() {
                client.query(&format!("ROLLBACK PREPARED '{gid}'"));
            }
        }
    }
}
