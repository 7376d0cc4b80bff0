//! What operators may order: the console's and the HTTP side's door to the process.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::House;
use super::lookup::AuthQuery;
use super::members::Members;
use super::passthrough::ByLogin;
use crate::admin::console;
use crate::admin::{
    self, CacheFlush, CacheRuleRow, CacheTableRow, ClientRow, CommandError, ConfigRow, MismatchRow,
    PinRow, Reloaded, Role, ServerRow, Shutdown, UserRow,
};
use crate::cache::Flush;
use crate::catalog::Catalog;
use crate::client::Rules;
use crate::config::keys::{self, Effect};
use crate::config::{self, Config, Source};
use crate::insight::Insight;
use crate::metrics::{Invalidation, Metrics, Snapshot};
use crate::session::{Database, Phase};
use crate::tls;
use crate::upstream::OrderError;

#[async_trait]
impl admin::House for House {
    fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    fn insight(&self) -> &Insight {
        &self.shared.insight
    }

    fn snapshot(&self) -> Snapshot {
        self.take_snapshot()
    }

    fn role(&self, user: &str) -> Option<Role> {
        let config = self.shared.config.load();
        Role::of(user, &config.auth, config.upstream.user.as_deref())
    }

    fn clients(&self) -> Vec<ClientRow> {
        self.client_rows()
    }

    fn servers(&self) -> Vec<ServerRow> {
        self.server_rows()
    }

    fn users(&self) -> Vec<UserRow> {
        self.user_rows()
    }

    fn config_rows(&self) -> Vec<ConfigRow> {
        self.configuration_rows()
    }

    fn cache_tables(&self) -> Vec<CacheTableRow> {
        self.cache_table_rows()
    }

    fn cache_rules(&self) -> Vec<CacheRuleRow> {
        self.cache_rule_rows()
    }

    fn mismatches(&self) -> Vec<MismatchRow> {
        self.mismatch_rows()
    }

    fn pins(&self) -> Vec<PinRow> {
        self.pin_rows()
    }

    async fn pause(&self, database: Option<&str>) -> Result<(), CommandError> {
        self.refuse_if_suspended()?;
        for pool in self.shared.pools.pause(database)? {
            pool.drained().await;
        }
        Ok(())
    }

    async fn resume(&self, database: Option<&str>) -> Result<(), CommandError> {
        if database.is_none() && self.shared.suspension.end() {
            return Ok(());
        }
        Ok(self.shared.pools.resume(database)?)
    }

    async fn suspend(&self) -> Result<(), CommandError> {
        let pools = &self.shared.pools;
        if pools.is_paused(None) {
            return Err(CommandError::AlreadyPaused);
        }
        let snapshot = self.take_snapshot();
        if snapshot.databases.iter().any(|database| database.paused) {
            return Err(CommandError::DatabasesPaused);
        }
        if !self.shared.suspension.begin() {
            return Err(CommandError::AlreadyPaused);
        }
        self.shared.suspension.quiet(&self.shared.registry).await;
        Ok(())
    }

    async fn disable(&self, database: &str) -> Result<(), CommandError> {
        Ok(self.shared.pools.set_disabled(database, true)?)
    }

    async fn enable(&self, database: &str) -> Result<(), CommandError> {
        Ok(self.shared.pools.set_disabled(database, false)?)
    }

    async fn reconnect(&self, database: Option<&str>) -> Result<(), CommandError> {
        for pool in self.shared.pools.named(database)? {
            pool.reconnect();
        }
        Ok(())
    }

    async fn wait_close(&self, database: Option<&str>) -> Result<(), CommandError> {
        const LOOK_INTERVAL: Duration = Duration::from_millis(20);
        for pool in self.shared.pools.named(database)? {
            // Those of now: what another RECONNECT makes old meanwhile is waited for as well.
            while pool.servers().iter().any(|server| server.close_needed) {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        }
        Ok(())
    }

    async fn kill(&self, database: Option<&str>) -> Result<(), CommandError> {
        self.refuse_if_suspended()?;
        self.shared.pools.kill(database)?;
        for session in self.shared.registry.all() {
            let is_operator = console::DATABASES.contains(&session.database.as_str());
            if !is_operator && database.is_none_or(|database| session.database == database) {
                session.end();
            }
        }
        Ok(())
    }

    async fn kill_client(&self, id: u64) -> Result<(), CommandError> {
        let session = u32::try_from(id)
            .ok()
            .and_then(|number| self.shared.registry.get(number));
        let session = session.ok_or(CommandError::NoSuchClient(id))?;
        session.end();
        Ok(())
    }

    async fn reload(&self) -> Result<Reloaded, CommandError> {
        let source = self.source.lock().clone();
        let config = source
            .load()
            .map_err(|errors| CommandError::NotReloaded(errors.to_string()))?;
        let changes = self.apply(&config)?;
        Ok(Reloaded {
            needs_restart: changes
                .needs_restart
                .iter()
                .map(|key| (*key).to_owned())
                .collect(),
        })
    }

    async fn shutdown(&self, mode: Shutdown) -> Result<(), CommandError> {
        match mode {
            Shutdown::Immediate => drop(self.phase.send_replace(Phase::Stopping)),
            Shutdown::WaitForClients => self.wait_for_clients(),
            Shutdown::WaitForServers => self.begin_drain(),
        }
        Ok(())
    }

    async fn drain(&self) -> Result<(), CommandError> {
        self.begin_drain();
        Ok(())
    }

    async fn set(&self, key: &str, value: &str) -> Result<(), CommandError> {
        let full = full_key(key).ok_or_else(|| CommandError::UnknownKey {
            key: key.to_owned(),
            nearest: None,
        })?;
        if keys::find(full).is_some_and(|key| key.effect == Effect::Restart) {
            return Err(CommandError::NeedsRestart(full.to_owned()));
        }
        let mut source: Source = self.source.lock().clone();
        source.set_from_console(full, value);
        let config = source.load().map_err(|errors| CommandError::InvalidValue {
            key: full.to_owned(),
            why: errors.to_string(),
        })?;
        self.apply(&config)?;
        *self.source.lock() = source;
        Ok(())
    }

    async fn cache_flush(&self, what: CacheFlush) -> Result<(), CommandError> {
        let flushes = match what {
            CacheFlush::All => vec![Flush::All],
            CacheFlush::Tag(label) => vec![Flush::Label(label)],
            CacheFlush::Shape(text) => match self.shared.insight.find_shape(&text) {
                Some(shape) => vec![Flush::Shape(shape)],
                None => return Err(CommandError::NoSuchShape(text)),
            },
            CacheFlush::Table { schema, name } => {
                let databases = self.shared.databases.all();
                let found: Vec<Flush> = databases
                    .iter()
                    .flat_map(|database| relations_named(database, schema.as_deref(), &name))
                    .collect();
                if found.is_empty() {
                    return Err(CommandError::NoSuchTable(name));
                }
                found
            }
        };
        for flush in &flushes {
            self.shared.cache.flush(flush);
        }
        self.shared.metrics.invalidated(Invalidation::Flush);
        Ok(())
    }

    async fn explain(
        &self,
        database: Option<&str>,
        user: &str,
        sql: &str,
    ) -> Result<String, CommandError> {
        self.explain_here(database, user, sql).await
    }

    async fn cache_enable(&self, shape: Option<&str>) -> Result<(), CommandError> {
        match (self.shared.verifier.off.clear(shape), shape) {
            (0, Some(shape)) => Err(CommandError::ShapeNotOff(shape.to_owned())),
            _ => Ok(()),
        }
    }
}

impl House {
    fn refuse_if_suspended(&self) -> Result<(), CommandError> {
        match self.shared.suspension.is_on() {
            true => Err(CommandError::AlreadyPaused),
            false => Ok(()),
        }
    }

    /// Puts a newly loaded configuration in force, as far as that goes without a restart.
    pub(super) fn apply(&self, new: &Config) -> Result<config::Changes, CommandError> {
        let old = self.shared.config.load_full();
        let changes = config::diff(&old, new);
        let config = Arc::new(config::effective(&old, new));
        let failed = |error: tls::TlsError| CommandError::NotReloaded(error.to_string());
        let client_tls = tls::server(&config.client_tls).map_err(failed)?;
        let rules =
            Rules::load(&config).map_err(|error| CommandError::NotReloaded(error.to_string()))?;
        self.shared.pools.update(config.clone()).map_err(failed)?;
        self.rules.store(Arc::new(rules));
        self.client_tls.store(Arc::new(client_tls));
        let users = self.users.load().reloaded(&config);
        self.users.store(Arc::new(users));
        self.auth_query
            .store(Arc::new(AuthQuery::new(&config, &self.shared.pools)));
        self.members
            .store(Arc::new(Members::new(&config, &self.shared.pools)));
        self.passthrough
            .store(Arc::new(ByLogin::new(&config, &self.shared.pools)));
        self.shared.insight.reload(&config.slow_log);
        self.shared.cache.reload(&config.cache);
        self.shared.rules.reload(&config.cache.rules);
        self.access.reload(config.http.admin_token_file.clone());
        self.shared.config.store(config);
        self.shared.greetings.invalidate_all();
        if !changes.applied.is_empty() {
            tracing::info!(keys = changes.applied.join(", "), "configuration reloaded");
        }
        if !changes.needs_restart.is_empty() {
            tracing::warn!(
                keys = changes.needs_restart.join(", "),
                "these changes take effect after a restart"
            );
        }
        Ok(changes)
    }
}

impl From<OrderError> for CommandError {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::UnknownDatabase(name) => CommandError::NoSuchDatabase(name),
            OrderError::AlreadyPaused => CommandError::AlreadyPaused,
            OrderError::NotPaused => CommandError::NotPaused,
            OrderError::DatabaseNotPaused(name) => CommandError::DatabaseNotPaused(name),
        }
    }
}

fn relations_named(database: &Arc<Database>, schema: Option<&str>, name: &str) -> Vec<Flush> {
    let named = |catalog: &Arc<Catalog>| -> Vec<Flush> {
        catalog
            .relations()
            .filter(|relation| {
                relation.name == name && schema.is_none_or(|schema| relation.schema == schema)
            })
            .map(|relation| Flush::Relation(relation.oid))
            .collect()
    };
    database
        .authority
        .catalog()
        .as_ref()
        .map(named)
        .unwrap_or_default()
}

/// `section.key`, or the bare name that PgBouncer has for it, if only one section has it.
fn full_key(key: &str) -> Option<&'static str> {
    if let Some(known) = keys::find(key) {
        return Some(known.full);
    }
    let mut named = keys::KEYS.iter().filter(|known| known.name == key);
    match (named.next(), named.next()) {
        (Some(known), None) => Some(known.full),
        _ => None,
    }
}
