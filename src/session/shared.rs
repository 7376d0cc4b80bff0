//! What all sessions share, wired by the composition root.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use moka::sync::Cache as Bounded;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::analysis::Analyser;
use super::greeting::{Greeting, GreetingKey};
use super::hold::Runs;
use super::registry::Registry;
use super::report::ShadowCounts;
use super::rules::RuleCounts;
use super::statements::StatementTexts;
use super::suspension::Suspension;
use super::unheard::LastKnown;
use super::verify::Verifier;
use crate::authority::Authority;
use crate::cache::{Cache, Moment, Tags};
use crate::catalog::{CatalogVersion, ColumnNumber, Footprint, Judgement, RelationOid};
use crate::config::Config;
use crate::hosts::Hosts;
use crate::insight::Insight;
use crate::metrics::{Invalidation, Metrics};
use crate::notify::Hub;
use crate::sql::ShapeId;
use crate::upstream::{Pools, Target};
use crate::wire::SqlState;
use bytes::Bytes;

/// Whether new work is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Serving,
    /// No new clients; those that are here stay as long as they like.
    Closing,
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
    pub shadow: ShadowCounts,
    pub rules: RuleCounts,
    pub suspension: Suspension,
    pub verifier: Verifier,
}

/// How many shapes, statement texts (bytes) and greetings are remembered.
pub const SHAPES_MAX: u64 = 50_000;
pub const STATEMENT_BYTES_MAX: u64 = 64 << 20;
pub const GREETINGS_MAX: u64 = 10_000;
pub const GREETING_TTL: Duration = Duration::from_secs(60);
const JUDGEMENTS_MAX: u64 = 50_000;
const KNOWN_GOOD_MAX: u64 = 50_000;
const READABLE_MAX: u64 = 10_000;
const RUNS_MAX: u64 = 10_000;
const DESCRIPTION_BYTES_MAX: u64 = 32 << 20;

/// What pgditto knows of one database.
pub struct Database {
    pub name: Arc<str>,
    pub tags: Arc<Tags>,
    pub authority: Arc<Authority>,
    /// On which sessions listen.
    pub hub: Arc<Hub>,
    pub judgements: Bounded<JudgementKey, Arc<Judgement>>,
    pub descriptions: Bounded<DescriptionKey, Arc<Description>>,
    /// Whether columns may be read.
    pub readable: Bounded<ReadableKey, bool>,
    /// Statements that the server has taken from somebody with the same settings, under this catalogue.
    pub known_good: Bounded<DescriptionKey, CatalogVersion>,
    /// Of statements that touch more than rows that are known.
    pub runs: Bounded<ShapeId, Runs>,
    /// Of the custom settings that its code has to do with.
    pub(super) last_known: RwLock<LastKnown>,
    /// Other sidecars could not be told of our writes, and nobody waits for it any more.
    unannounced: AtomicBool,
}

/// How long a first write waits until other sidecars on the database know of this one.
const ANNOUNCE_WAIT: Duration = Duration::from_secs(3);

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

/// A column in the eyes of a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReadableKey {
    pub context: Bytes,
    pub catalogue: u64,
    pub relation: RelationOid,
    pub column: ColumnNumber,
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
    pub fn new(name: Arc<str>, tags: Arc<Tags>, authority: Arc<Authority>, hub: Arc<Hub>) -> Self {
        Self {
            name,
            tags,
            authority,
            hub,
            judgements: Bounded::new(JUDGEMENTS_MAX),
            descriptions: Bounded::builder()
                .max_capacity(DESCRIPTION_BYTES_MAX)
                .weigher(|key: &DescriptionKey, value: &Arc<Description>| {
                    let bytes = key.context.len() + value.parameters.len() + value.row.len() + 512;
                    u32::try_from(bytes).unwrap_or(u32::MAX)
                })
                .build(),
            readable: Bounded::new(READABLE_MAX),
            known_good: Bounded::new(KNOWN_GOOD_MAX),
            runs: Bounded::new(RUNS_MAX),
            last_known: RwLock::default(),
            unannounced: AtomicBool::new(false),
        }
    }

    /// Returns when writes may leave: when other sidecars on this database know of
    /// us. Where the guard cannot stand that cannot be, and writes must not wait
    /// for ever: after one wait they go on, and count for the others as writes from outside.
    pub async fn announce_writes(&self) {
        if self.authority.may_write(Moment::now()) {
            self.unannounced.store(false, Ordering::Relaxed);
            return;
        }
        if self.unannounced.load(Ordering::Relaxed) {
            return;
        }
        let wait = self.authority.wait_before_first_write();
        if tokio::time::timeout(ANNOUNCE_WAIT, wait).await.is_err()
            && !self.unannounced.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                database = %self.name,
                "the guard does not stand: another pgditto on this database could not be told of our writes"
            );
        }
    }
}

/// The databases that clients have asked for, each with its own guard,
/// catalogue and tags; made on first use.
///
/// Two names that lead to the same database of the same server are one: a
/// write under one name is a write under the other.
pub struct Databases {
    open: Mutex<HashMap<Place, Arc<Database>>>,
    make: MakeDatabase,
}

/// Begins to look after the database that a target leads to.
pub type MakeDatabase = Box<dyn Fn(&Target) -> Arc<Database> + Send + Sync>;

/// Where a database is: its servers, and its name.
pub(super) type Place = (Arc<Hosts>, String);

fn place(target: &Target) -> Place {
    (target.hosts.clone(), target.dbname.clone())
}

impl Databases {
    /// `make` is given where the first client that asks is led.
    pub fn new(make: MakeDatabase) -> Self {
        Self {
            open: Mutex::new(HashMap::new()),
            make,
        }
    }

    /// The database that `target` leads to.
    pub fn open(&self, target: &Target) -> Arc<Database> {
        self.open
            .lock()
            .entry(place(target))
            .or_insert_with(|| (self.make)(target))
            .clone()
    }

    /// The same, if it is open.
    pub fn of_target(&self, target: &Target) -> Option<Arc<Database>> {
        self.open.lock().get(&place(target)).cloned()
    }

    /// Those of a server that are open.
    pub(super) fn on(&self, hosts: &Arc<Hosts>) -> Vec<Arc<Database>> {
        let open = self.open.lock();
        let there = open.iter().filter(|((other, _), _)| other == hosts);
        there.map(|(_, database)| Arc::clone(database)).collect()
    }

    /// After a login that failed: forgets a database that the server does not know, or has never been seen to know, unless
    /// somebody uses it. Nobody fills the map with names that he made up.
    pub fn forget_unknown(&self, target: &Target, error: SqlState) {
        let mut open = self.open.lock();
        let unknown = |known: &Arc<Database>| {
            error == SqlState::NO_SUCH_DATABASE || !known.authority.has_stood()
        };
        if open
            .get(&place(target))
            .is_some_and(|known| Arc::strong_count(known) == 1 && unknown(known))
        {
            open.remove(&place(target));
        }
    }

    /// Ceases to look after a database, unless somebody uses it; false if somebody does.
    pub(super) fn close(&self, place: &Place) -> bool {
        let mut open = self.open.lock();
        let in_use = |known: &Arc<Database>| Arc::strong_count(known) > 1;
        if open.get(place).is_some_and(in_use) {
            return false;
        }
        let closed = open.remove(place);
        drop(open);
        drop(closed);
        true
    }

    pub fn all(&self) -> Vec<Arc<Database>> {
        self.open.lock().values().cloned().collect()
    }
}

impl Shared {
    /// Functions of users that some rule vouches for, sorted.
    pub fn vouched_functions(&self) -> Vec<String> {
        self.config.load().cache.vouched_functions()
    }

    /// Counts what a write has invalidated, and tells the other databases if it concerns them.
    pub(super) fn note_invalidated(&self, database: &Arc<Database>, touched: &Footprint) {
        self.metrics.invalidated(match touched {
            touched if touched.catalogue => Invalidation::Catalogue,
            touched if touched.everything => Invalidation::Everything,
            touched if touched.is_keyed() => Invalidation::Keys,
            _ => Invalidation::Write,
        });
        if touched.shared_catalogue {
            self.catalogues_changed(database);
        }
    }

    /// What the databases of the server share has changed through `origin`:
    /// roles, memberships, defaults. Every picture is old, and so is every greeting.
    pub fn catalogues_changed(&self, origin: &Arc<Database>) {
        self.greetings.invalidate_all();
        for database in self.databases.all() {
            if !Arc::ptr_eq(&database, origin) {
                database.authority.catalogue_changed();
            }
        }
    }
}
