//! `auth_query`: the server is asked for the secrets of users that nobody has listed.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lru::LruCache;
use parking_lot::Mutex;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState as ServerState;

use super::control_target;
use crate::admin::console;
use crate::authority::ControlError;
use crate::client::{KnownUser, Lookup};
use crate::config::{Config, Secret};
use crate::upstream::Pools;
use crate::wire::{ErrorReport, SqlState};

/// How many answers are kept.
const ANSWERS_MAX: u64 = 10_000;
/// In how many databases a connection is kept for asking.
const CONNECTIONS_MAX: NonZeroUsize = NonZeroUsize::new(16).expect("not zero");
/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks with `auth_query` as `auth_user`, on connections of its own. One for each configuration, so
/// that a reload forgets what was found.
pub struct AuthQuery {
    config: Arc<Config>,
    pools: Arc<Pools>,
    user: String,
    answers: moka::sync::Cache<Key, Arc<KnownUser>>,
    connections: Mutex<LruCache<String, Arc<Connecting>>>,
}

/// Database (as clients name it) and user.
type Key = (String, String);
/// One question at a time in each database: the next waits, and finds the answer or the connection.
type Connecting = tokio::sync::Mutex<Option<Client>>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Connect(#[from] ControlError),
    #[error("{0}")]
    Query(#[from] tokio_postgres::Error),
    #[error("no answer in time")]
    Timeout,
    #[error("auth_query must give a row of name and secret, both text")]
    Shape,
}

impl AuthQuery {
    /// `None` where no `auth_user` is set.
    pub fn new(config: &Arc<Config>, pools: &Arc<Pools>) -> Option<Arc<Self>> {
        let user = config.auth.auth_user.clone()?;
        let answers = moka::sync::Cache::builder()
            .max_capacity(ANSWERS_MAX)
            .time_to_live(config.auth.auth_query_ttl)
            .build();
        Some(Arc::new(Self {
            config: Arc::clone(config),
            pools: Arc::clone(pools),
            user,
            answers,
            connections: Mutex::new(LruCache::new(CONNECTIONS_MAX)),
        }))
    }

    /// Where to ask about somebody who wants to go to `database`.
    fn place<'a>(&'a self, database: &'a str) -> &'a str {
        match &self.config.auth.auth_dbname {
            Some(name) => name,
            None => server_database(&self.config, database, &self.user),
        }
    }

    async fn ask(&self, place: &str, user: &str) -> Result<Option<Secret>, Failure> {
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
            let answer = self.question(&client, user).await;
            // A connection on which a question was given up or failed is not asked again.
            if answer.is_ok() {
                *connection = Some(client);
            }
            answer
        };
        let asked = tokio::time::timeout(PATIENCE, asked);
        asked.await.unwrap_or(Err(Failure::Timeout))
    }

    async fn connect(&self, place: &str) -> Result<Client, Failure> {
        // The place is known: `find` has asked for it.
        let target = self.pools.target(place, &self.user);
        let target = target.map_err(|_| Failure::Shape)?;
        let target = control_target(&self.config, &target, &self.user);
        let (client, _connection) = target.connect("-auth").await?;
        Ok(client)
    }

    async fn question(&self, client: &Client, user: &str) -> Result<Option<Secret>, Failure> {
        let sql = self.config.auth.auth_query.as_str();
        let rows = client.query(sql, &[&user]).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        if row.len() < 2 {
            return Err(Failure::Shape);
        }
        let text = |at| row.try_get::<_, Option<&str>>(at);
        let (name, secret) = match (text(0), text(1)) {
            (Ok(name), Ok(secret)) => (name, secret),
            _ => return Err(Failure::Shape),
        };
        // A row about somebody else is no answer.
        let about_user = name == Some(user);
        let secret = secret.filter(|secret| about_user && !secret.is_empty());
        Ok(secret.map(Secret::new))
    }
}

#[async_trait]
impl Lookup for AuthQuery {
    async fn find(
        &self,
        user: &str,
        database: &str,
    ) -> Result<Option<Arc<KnownUser>>, ErrorReport> {
        let place = self.place(database);
        let key = (place.to_owned(), user.to_owned());
        if let Some(known) = self.answers.get(&key) {
            return Ok(Some(known));
        }
        if let Err(error) = self.pools.target(place, &self.user) {
            return Err(error.report());
        }
        match self.ask(place, user).await {
            Ok(None) => Ok(None),
            Ok(Some(secret)) => {
                let known = Arc::new(KnownUser::new(secret));
                self.answers.insert(key, Arc::clone(&known));
                Ok(Some(known))
            }
            Err(error) => {
                tracing::warn!(database = place, %error, "auth_query failed");
                Err(report(&error, place))
            }
        }
    }

    fn forget(&self, user: &str, database: &str) {
        let key = (self.place(database).to_owned(), user.to_owned());
        self.answers.invalidate(&key);
    }
}

/// A database of the server's for whoever wants to go to `database`: the console is none.
pub(super) fn server_database<'a>(config: &'a Config, database: &'a str, user: &'a str) -> &'a str {
    let upstream = &config.upstream;
    match console::DATABASES.contains(&database) {
        true => {
            let named = upstream.dbname.as_deref().or(upstream.user.as_deref());
            named.unwrap_or(user)
        }
        false => database,
    }
}

/// What the client is told: nothing of our own login.
fn report(failure: &Failure, database: &str) -> ErrorReport {
    let is_missing = match failure {
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
