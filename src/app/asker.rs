//! Questions to the server about its users, on connections of our own.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState as ServerState;

use super::control_target;
use crate::admin::console;
use crate::authority::ControlError;
use crate::client::PHYSICAL;
use crate::config::Config;
use crate::upstream::{Pools, PoolsError};
use crate::wire::{ErrorReport, SqlState};

/// In how many databases a connection is kept for asking.
const CONNECTIONS_MAX: NonZeroUsize = NonZeroUsize::new(16).expect("not zero");
/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longer names are nobody's: PostgreSQL cuts them off where roles are made.
const NAME_BYTES_MAX: usize = 63;

/// Asks as one user.
pub struct Asker {
    pub config: Arc<Config>,
    pools: Arc<Pools>,
    user: String,
    connections: Mutex<LruCache<String, Arc<Connecting>>>,
}

/// One question at a time in each database: the next waits, and finds the answer or the connection.
type Connecting = tokio::sync::Mutex<Option<Client>>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Place(#[from] PoolsError),
    #[error(transparent)]
    Connect(#[from] ControlError),
    #[error("{0}")]
    Query(#[from] tokio_postgres::Error),
    #[error("no answer in time")]
    Timeout,
    #[error("auth_query must give a row of name and secret, both text")]
    Shape,
}

impl Asker {
    pub fn new(config: &Arc<Config>, pools: &Arc<Pools>, user: String) -> Self {
        Self {
            config: Arc::clone(config),
            pools: Arc::clone(pools),
            user,
            connections: Mutex::new(LruCache::new(CONNECTIONS_MAX)),
        }
    }

    /// Where to ask about somebody who wants to go to `database`.
    pub fn place<'a>(&'a self, database: &'a str) -> &'a str {
        match &self.config.auth.auth_dbname {
            Some(name) => name,
            None => server_database(&self.config, database, &self.user),
        }
    }

    /// Puts a question about `user`; `None` where no user can have such a name.
    pub async fn ask<T>(
        &self,
        place: &str,
        user: &str,
        question: impl AsyncFnOnce(&Client) -> Result<T, Failure>,
    ) -> Result<Option<T>, Failure> {
        self.pools.target(place, &self.user)?;
        if user.len() > NAME_BYTES_MAX {
            return Ok(None);
        }
        let connection = {
            let mut connections = self.connections.lock();
            Arc::clone(connections.get_or_insert(place.to_owned(), Arc::default))
        };
        let asked = async {
            let mut connection = connection.lock().await;
            let client = match connection.take().filter(|client| !client.is_closed()) {
                Some(client) => client,
                None => self.connect(place).await?,
            };
            let answer = question(&client).await;
            // A connection on which a question was given up or failed is not asked again.
            if answer.is_ok() {
                *connection = Some(client);
            }
            answer.map(Some)
        };
        let asked = tokio::time::timeout(PATIENCE, asked);
        asked.await.unwrap_or(Err(Failure::Timeout))
    }

    async fn connect(&self, place: &str) -> Result<Client, Failure> {
        let target = self.pools.target(place, &self.user)?;
        let target = control_target(&self.config, &target, &self.user);
        let (client, _connection) = target.connect("-auth").await?;
        Ok(client)
    }
}

impl Failure {
    /// What the client is told: nothing of our own login.
    pub fn report(&self, database: &str) -> ErrorReport {
        let is_missing = match self {
            Failure::Place(error) => return error.report(),
            Failure::Connect(ControlError::Server(error)) => {
                error.code() == Some(&ServerState::INVALID_CATALOG_NAME)
            }
            _ => false,
        };
        match is_missing {
            true => ErrorReport::fatal(
                SqlState::NO_SUCH_DATABASE,
                format!("database \"{database}\" does not exist"),
            ),
            false => ErrorReport::fatal(
                SqlState::CANNOT_CONNECT_NOW,
                "the server could not be asked who may log in",
            ),
        }
    }
}

/// A database of the server's for whoever wants to go to `database`: the console is none, nor is
/// what physical replication asks for, unless an entry says otherwise.
pub fn server_database<'a>(config: &'a Config, database: &'a str, user: &'a str) -> &'a str {
    let upstream = &config.upstream;
    let is_physical =
        database == PHYSICAL && !config.databases.iter().any(|entry| entry.name == PHYSICAL);
    match is_physical || console::DATABASES.contains(&database) {
        true => {
            let named = upstream.dbname.as_deref().or(upstream.user.as_deref());
            named.unwrap_or(user)
        }
        false => database,
    }
}
