//! The room `upstream` against real and scripted servers.

mod login;
mod pool;
mod preference;
mod script;
mod sharing;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use pgditto::config::{Config, Secret, SslMode};
use pgditto::upstream::{Lease, LeaseError, Pool, Pools, Wish};
use tokio::time::Instant;

use crate::fixture::{DATABASE, DEADLINE, PASSWORD, Postgres, USER};

/// The configuration for a server at a loopback port, as `app`.
fn config_for(port: u16, change: impl FnOnce(&mut Config)) -> Arc<Config> {
    let mut config = Config::default();
    config.upstream.port = port;
    config.upstream.user = Some(USER.into());
    config.upstream.password = Some(Secret::new(PASSWORD));
    config.server_tls.sslmode = SslMode::Disable;
    change(&mut config);
    Arc::new(config)
}

pub fn pools(port: u16, change: impl FnOnce(&mut Config)) -> Arc<Pools> {
    Pools::new(config_for(port, change), None).expect("no files are named")
}

/// The pool of `app` in `app`.
fn pool(postgres: &Postgres, change: impl FnOnce(&mut Config)) -> Arc<Pool> {
    app_of(&pools(postgres.port, change))
}

pub fn app_of(pools: &Pools) -> Arc<Pool> {
    pools.get(DATABASE, USER).expect("any database goes")
}

pub async fn try_lease(pool: &Arc<Pool>) -> Result<Lease, LeaseError> {
    pool.lease(&Wish::default(), Instant::now() + DEADLINE)
        .await
}

async fn lease(pool: &Arc<Pool>) -> Lease {
    try_lease(pool).await.expect("a lease")
}

/// The one value of a statement's one row.
async fn value(lease: &mut Lease, sql: &str) -> String {
    let rows = lease.simple(sql, Instant::now() + DEADLINE).await;
    let mut rows = rows.unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert_eq!(rows.len(), 1, "{sql}");
    rows.remove(0).remove(0).expect("not null")
}

/// Until nothing can be got: what a test of a refusal waits.
fn impatient(config: &mut Config) {
    config.pool.query_wait_timeout = Duration::from_millis(100);
}
