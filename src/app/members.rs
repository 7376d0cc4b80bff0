//! Who is a member of which roles, for the rules of `auth_hba_file`.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;

use super::asker::{Asker, Failure};
use crate::client::Memberships;
use crate::config::Config;
use crate::upstream::Pools;
use crate::wire::ErrorReport;

/// For how many users the answer is kept.
const ANSWERS_MAX: u64 = 10_000;

/// A role is a member of itself and, by others, of all that those are members of. As in
/// PostgreSQL's own check superusers are members of nothing more.
const ROLES: &str = "WITH RECURSIVE member(oid) AS ( \
     SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1 \
     UNION SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN member ON m.member = member.oid) \
     SELECT rolname::pg_catalog.text FROM pg_catalog.pg_roles JOIN member USING (oid)";

/// Asks as `auth_user`, else as the user of the upstream URL. One for each configuration.
pub struct Members {
    asker: Asker,
    answers: moka::sync::Cache<Key, Arc<HashSet<String>>>,
}

/// Database and user.
type Key = (String, String);

impl Members {
    /// `None` where nobody is known as whom to ask.
    pub fn new(config: &Arc<Config>, pools: &Arc<Pools>) -> Option<Arc<Self>> {
        let user = config.auth.auth_user.clone();
        let user = user.or_else(|| config.upstream.user.clone())?;
        let answers = moka::sync::Cache::builder()
            .max_capacity(ANSWERS_MAX)
            .time_to_live(config.auth.auth_query_ttl)
            .build();
        Some(Arc::new(Self {
            asker: Asker::new(config, pools, user),
            answers,
        }))
    }

    /// Where to ask: roles are those of the whole server, so that one database does for all where
    /// there is one server.
    fn place<'a>(&'a self, database: &'a str) -> &'a str {
        let config = &self.asker.config;
        let upstream = &config.upstream;
        match upstream.dbname.as_deref().or(upstream.user.as_deref()) {
            Some(name) if config.databases.is_empty() => {
                config.auth.auth_dbname.as_deref().unwrap_or(name)
            }
            _ => self.asker.place(database),
        }
    }
}

#[async_trait]
impl Memberships for Members {
    async fn roles_of(
        &self,
        user: &str,
        database: &str,
    ) -> Result<Arc<HashSet<String>>, ErrorReport> {
        let place = self.place(database);
        let key = (place.to_owned(), user.to_owned());
        if let Some(known) = self.answers.get(&key) {
            return Ok(known);
        }
        let question = async |client: &tokio_postgres::Client| {
            let rows = client.query(ROLES, &[&user]).await?;
            let names = rows.iter().map(|row| row.try_get(0));
            Ok::<_, Failure>(names.collect::<Result<HashSet<String>, _>>()?)
        };
        match self.asker.ask(place, user, question).await {
            Ok(roles) => {
                let roles = Arc::new(roles.unwrap_or_default());
                self.answers.insert(key, Arc::clone(&roles));
                Ok(roles)
            }
            Err(error) => {
                tracing::warn!(database = place, %error, "roles could not be asked for");
                Err(error.report(place))
            }
        }
    }
}
