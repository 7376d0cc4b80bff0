//! The numbers that bound one pool.

use std::time::Duration;

use super::connector::Connector;
use crate::config::{Config, DatabaseConfig, PoolMode, UserConfig};

/// How often bb8 looks for connections that have been idle too long.
const REAP_EVERY_MAX: Duration = Duration::from_secs(30);
const REAP_EVERY_MIN: Duration = Duration::from_millis(100);

/// `[pool]`, with what the database and the user override.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub mode: PoolMode,
    pub size: usize,
    pub min: usize,
    pub reserve: usize,
    pub reserve_after: Duration,
    pub pinned_max: usize,
    /// Zero is no limit.
    pub query_wait: Duration,
    /// Zero is never.
    pub idle_timeout: Duration,
    /// Zero is for ever.
    pub lifetime: Duration,
    pub cancel_wait: Duration,
}

impl Limits {
    pub fn new(
        config: &Config,
        database: Option<&DatabaseConfig>,
        user: Option<&UserConfig>,
    ) -> Self {
        let pool = &config.pool;
        let size = user
            .and_then(|user| user.pool_size)
            .or(database.and_then(|database| database.pool_size))
            .unwrap_or(pool.default_pool_size)
            .max(1);
        let mode = user
            .and_then(|user| user.pool_mode)
            .or(database.and_then(|database| database.pool_mode))
            .unwrap_or(pool.pool_mode);
        Self {
            mode,
            size,
            min: pool.min_pool_size.min(size),
            reserve: pool.reserve_pool_size,
            reserve_after: pool.reserve_pool_timeout,
            pinned_max: pool.max_pinned_connections.unwrap_or(size),
            query_wait: pool.query_wait_timeout,
            idle_timeout: pool.server_idle_timeout,
            lifetime: pool.server_lifetime,
            cancel_wait: config.upstream.cancel_wait_timeout,
        }
    }

    /// A bb8 pool for the ageing. Its size is without bound, because places are
    /// counted here, where pins and the database's limit are known. Connections
    /// know their own, jittered lifetime; bb8's is for those that nobody asks.
    pub fn build(&self, connector: Connector) -> bb8::Pool<Connector> {
        let never_if_zero = |time: Duration| (!time.is_zero()).then_some(time);
        bb8::Pool::builder()
            .max_size(u32::MAX)
            .test_on_check_out(true)
            .retry_connection(false)
            .max_lifetime(never_if_zero(self.lifetime))
            .idle_timeout(never_if_zero(self.idle_timeout))
            .reaper_rate((self.idle_timeout / 4).clamp(REAP_EVERY_MIN, REAP_EVERY_MAX))
            .queue_strategy(bb8::QueueStrategy::Lifo)
            .build_unchecked(connector)
    }
}
