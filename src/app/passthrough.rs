//! `auth_type = passthrough`: the server is asked whether a client's password is right.

use std::num::NonZeroUsize;
use std::sync::Arc;

use async_trait::async_trait;
use lru::LruCache;
use parking_lot::Mutex;

use super::asker::server_database;
use crate::auth::LoginSecret;
use crate::client::Passthrough;
use crate::config::{Config, Secret};
use crate::upstream::Pools;
use crate::wire::ErrorReport;

/// For how many users the server's answer is remembered.
const USERS_MAX: u64 = 10_000;
/// For how many users the next waits until the one before has asked.
const TURNS_MAX: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

/// Tries passwords by logins of the very user. Keeps no password: only what it takes to know it
/// again for `passthrough_ttl`. One for each configuration.
pub struct ByLogin {
    config: Arc<Config>,
    pools: Arc<Pools>,
    proven: moka::sync::Cache<Key, LoginSecret>,
    turns: Mutex<LruCache<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// Database and user.
type Key = (String, String);

impl ByLogin {
    pub fn new(config: &Arc<Config>, pools: &Arc<Pools>) -> Self {
        let proven = moka::sync::Cache::builder()
            .max_capacity(USERS_MAX)
            .time_to_live(config.auth.passthrough_ttl)
            .build();
        Self {
            config: Arc::clone(config),
            pools: Arc::clone(pools),
            proven,
            turns: Mutex::new(LruCache::new(TURNS_MAX)),
        }
    }

    /// Lets go of what no longer counts. To be called now and then.
    pub fn forget_old(&self) {
        self.proven.run_pending_tasks();
    }

    /// What the server said yes to a moment ago, if it was this password.
    async fn remembered(&self, key: &Key, password: &Secret) -> Option<LoginSecret> {
        let secret = self.proven.get(key)?;
        let (known, user, password) = (secret.clone(), key.1.clone(), password.clone());
        // Costs as many hashes as the server has chosen.
        let compared =
            tokio::task::spawn_blocking(move || known.is_of(&user, password.reveal())).await;
        matches!(compared, Ok(true)).then_some(secret)
    }
}

#[async_trait]
impl Passthrough for ByLogin {
    async fn prove(
        &self,
        user: &str,
        database: &str,
        password: &Secret,
    ) -> Result<Option<LoginSecret>, ErrorReport> {
        if password.reveal().is_empty() {
            return Ok(None);
        }
        let place = server_database(&self.config, database, user).to_owned();
        let key = (place, user.to_owned());
        if let Some(secret) = self.remembered(&key, password).await {
            return Ok(Some(secret));
        }
        // A crowd that comes at once asks once, and one after the other for many databases: what is
        // under way counts as wrong until it is known to be right.
        let turn = {
            let mut turns = self.turns.lock();
            Arc::clone(turns.get_or_insert(user.to_owned(), Arc::default))
        };
        let _turn = turn.lock().await;
        if let Some(secret) = self.remembered(&key, password).await {
            return Ok(Some(secret));
        }
        match self.pools.try_password(&key.0, user, password).await {
            Ok(secret) => {
                if !self.config.auth.passthrough_ttl.is_zero() {
                    self.proven.insert(key, secret.clone());
                }
                Ok(Some(secret))
            }
            Err(error) => match error.report() {
                None => Ok(None),
                Some(report) => {
                    tracing::debug!(user, database, %error, "a password could not be tried");
                    Err(report)
                }
            },
        }
    }
}
