//! What all sessions share, wired by the composition root.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use moka::sync::Cache as Bounded;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::analysis::Analyser;
use super::greeting::{Greeting, GreetingKey};
use super::registry::Registry;
use super::statements::StatementTexts;
use crate::authority::Authority;
use crate::cache::{Cache, Tags};
use crate::catalog::{CatalogVersion, Judgement};
use crate::config::Config;
use crate::insight::Insight;
use crate::metrics::Metrics;
use crate::sql::ShapeId;
use crate::upstream::Pools;
use bytes::Bytes;

/// Whether new work is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Serving,
    /// Transactions may end; sessions close with 57P01 once idle.
    Draining,
    /// Sessions end at once.
    Stopping,
}

/// What all sessions share.
pub struct Shared {
    pub config: ArcSwap<Config>,
    pub pools: Arc<Pools>,
    pub cache: Arc<Cache>,
    pub metrics: Arc<Metrics>,
    pub insight: Arc<Insight>,
    pub registry: Arc<Registry>,
    pub analyser: Analyser,
    pub statements: StatementTexts,
    pub greetings: Bounded<GreetingKey, Arc<Greeting>>,
    pub phase: watch::Receiver<Phase>,
    pub databases: Databases,
}

/// How many shapes, statement texts (bytes) and greetings are remembered.
pub const SHAPES_MAX: u64 = 50_000;
pub const STATEMENT_BYTES_MAX: u64 = 64 << 20;
pub const GREETINGS_MAX: u64 = 10_000;
pub const GREETING_TTL: Duration = Duration::from_secs(60);
const JUDGEMENTS_MAX: u64 = 50_000;
const DESCRIPTION_BYTES_MAX: u64 = 32 << 20;

/// What pgditto knows of one database.
pub struct Database {
    pub name: Arc<str>,
    pub tags: Arc<Tags>,
    pub authority: Arc<Authority>,
    pub judgements: Bounded<JudgementKey, Arc<Judgement>>,
    pub descriptions: Bounded<DescriptionKey, Arc<Description>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct JudgementKey {
    pub shape: ShapeId,
    pub statement_index: usize,
    pub catalog: CatalogVersion,
    pub scope: u64,
}

/// A statement in the eyes of a session: who asks, under which settings, what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DescriptionKey {
    pub context: Bytes,
    pub statement: u64,
}

/// What the server said when it described a statement.
#[derive(Debug)]
pub struct Description {
    pub catalog: CatalogVersion,
    /// The whole ParameterDescription frame.
    pub parameters: Bytes,
    /// The whole RowDescription or NoData frame.
    pub row: Bytes,
}

impl Database {
    pub fn new(name: Arc<str>, tags: Arc<Tags>, authority: Arc<Authority>) -> Self {
        Self {
            name,
            tags,
            authority,
            judgements: Bounded::new(JUDGEMENTS_MAX),
            descriptions: Bounded::builder()
                .max_capacity(DESCRIPTION_BYTES_MAX)
                .weigher(|key: &DescriptionKey, value: &Arc<Description>| {
                    let bytes = key.context.len() + value.parameters.len() + value.row.len() + 512;
                    u32::try_from(bytes).unwrap_or(u32::MAX)
                })
                .build(),
        }
    }
}

/// The databases that clients have asked for, each with its own guard,
/// catalogue and tags; made on first use.
pub struct Databases {
    open: Mutex<HashMap<String, Arc<Database>>>,
    make: Box<dyn Fn(&str, &str) -> Arc<Database> + Send + Sync>,
}

impl Databases {
    /// `make` is given the database's name and the user of the session that asks first.
    pub fn new(make: Box<dyn Fn(&str, &str) -> Arc<Database> + Send + Sync>) -> Self {
        Self {
            open: Mutex::new(HashMap::new()),
            make,
        }
    }

    /// The database of this name. Call it only for names that the server knows,
    /// so that nobody can fill the map with names that he made up.
    pub fn get(&self, name: &str, user: &str) -> Arc<Database> {
        self.open
            .lock()
            .entry(name.to_owned())
            .or_insert_with(|| (self.make)(name, user))
            .clone()
    }

    pub fn all(&self) -> Vec<Arc<Database>> {
        self.open.lock().values().cloned().collect()
    }
}

impl Shared {
    /// Functions of users that some rule vouches for, sorted.
    pub fn vouched_functions(&self) -> Vec<String> {
        let config = self.config.load();
        let mut functions: Vec<String> = config
            .cache
            .rules
            .iter()
            .flat_map(|rule| rule.functions.iter().cloned())
            .collect();
        functions.sort();
        functions.dedup();
        functions
    }

    /// What the databases of the server share has changed through `origin`:
    /// roles, memberships, defaults. Every picture is old, and so is every greeting.
    pub fn catalogues_changed(&self, origin: &Arc<Database>) {
        self.greetings.invalidate_all();
        for database in self.databases.all() {
            if !Arc::ptr_eq(&database, origin) {
                database.authority.invalidate();
                database.tags.widen_in_flight();
                database.authority.settled();
            }
        }
    }
}
