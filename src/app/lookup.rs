//! `auth_query`: the server is asked for the secrets of users that nobody has listed.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_postgres::Client;

use super::asker::{Asker, Failure};
use crate::client::{KnownUser, Lookup};
use crate::config::{Config, Secret};
use crate::upstream::Pools;
use crate::wire::ErrorReport;

/// How many answers are kept.
const ANSWERS_MAX: u64 = 10_000;

/// Asks with `auth_query` as `auth_user`. One for each configuration, so that a reload forgets what
/// was found.
pub struct AuthQuery {
    asker: Asker,
    answers: moka::sync::Cache<Key, Arc<KnownUser>>,
}

/// Database (as clients name it) and user.
type Key = (String, String);

impl AuthQuery {
    /// `None` where no `auth_user` is set.
    pub fn new(config: &Arc<Config>, pools: &Arc<Pools>) -> Option<Arc<Self>> {
        let user = config.auth.auth_user.clone()?;
        let answers = moka::sync::Cache::builder()
            .max_capacity(ANSWERS_MAX)
            .time_to_live(config.auth.auth_query_ttl)
            .build();
        Some(Arc::new(Self {
            asker: Asker::new(config, pools, user),
            answers,
        }))
    }

    async fn question(&self, client: &Client, user: &str) -> Result<Option<Secret>, Failure> {
        let sql = self.asker.config.auth.auth_query.as_str();
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
        let place = self.asker.place(database);
        let key = (place.to_owned(), user.to_owned());
        if let Some(known) = self.answers.get(&key) {
            return Ok(Some(known));
        }
        let asked = self
            .asker
            .ask(place, user, async |client| {
                self.question(client, user).await
            })
            .await;
        match asked {
            Ok(Some(Some(secret))) => {
                let known = Arc::new(KnownUser::new(secret));
                self.answers.insert(key, Arc::clone(&known));
                Ok(Some(known))
            }
            Ok(_) => Ok(None),
            Err(error) => {
                tracing::warn!(database = place, %error, "auth_query failed");
                Err(error.report(place))
            }
        }
    }

    fn forget(&self, user: &str, database: &str) {
        let key = (self.asker.place(database).to_owned(), user.to_owned());
        self.answers.invalidate(&key);
    }
}
