//! All pools, by database and user, made when they are first asked for.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::brake::Brake;
use super::connector::Plan;
use super::error::UpstreamError;
use super::introduction::Introduction;
use super::learned::Learned;
use super::limits::Limits;
use super::pool::Pool;
use super::standing::{DatabaseRoom, PoolRoom};
use super::target::{ConnectOptions, Target};
use super::trial::TRIALS_MAX;
use super::walsender::Walsenders;
use crate::auth::{LoginSecret, Verifier};
use crate::config::{Config, DatabaseConfig, Secret};
use crate::hosts::Hosts;
use crate::tls::{self, Initiator, TlsError};
use crate::wire::{ErrorReport, SqlState};

/// More pools than this is somebody trying out names.
const POOLS_MAX: usize = 1000;
/// The `[[databases]]` entry that stands for every name that has none.
pub const ANY_DATABASE: &str = "*";

/// Why there is no pool.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PoolsError {
    /// No `[[databases]]` entry has this name: 3D000.
    #[error("database \"{0}\" does not exist")]
    UnknownDatabase(String),
    /// All pools are in use and there is no room for one more: 53300.
    #[error("too many pools")]
    TooMany,
    /// The process ends.
    #[error("shutting down")]
    ShuttingDown,
    /// DISABLE: 57P03.
    #[error("database \"{0}\" is disabled")]
    Disabled(String),
}

impl PoolsError {
    /// What the client is told.
    pub fn report(&self) -> ErrorReport {
        let code = match self {
            Self::UnknownDatabase(_) => SqlState::NO_SUCH_DATABASE,
            Self::TooMany => SqlState::TOO_MANY_CONNECTIONS,
            Self::ShuttingDown => SqlState::ADMIN_SHUTDOWN,
            Self::Disabled(_) => SqlState::CANNOT_CONNECT_NOW,
        };
        ErrorReport::fatal(code, self.to_string())
    }
}

/// The pools.
pub struct Pools {
    settings: ArcSwap<Snapshot>,
    map: Mutex<Map>,
    introduction: Option<Arc<dyn Introduction>>,
    learned: Learned,
    /// For passwords that the configuration has.
    brake: Arc<Brake>,
    /// For passwords that clients try.
    guesses: Brake,
    trials: Semaphore,
    me: Weak<Self>,
    pub(super) walsenders: Arc<Walsenders>,
}

#[derive(Default)]
struct Map {
    pools: HashMap<(String, String), Arc<Pool>>,
    rooms: HashMap<String, Weak<DatabaseRoom>>,
    shut: bool,
    orders: Orders,
}

/// What operators have ordered; it holds for pools that are yet to be made, too.
/// Databases go by the names that clients ask for.
#[derive(Default)]
struct Orders {
    all_paused: bool,
    paused: HashSet<String>,
    disabled: HashSet<String>,
}

impl Orders {
    fn is_paused(&self, database: &str) -> bool {
        self.all_paused || self.paused.contains(database)
    }
}

/// Why an order was not carried out; PgBouncer's words.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OrderError {
    #[error("no such database: {0}")]
    UnknownDatabase(String),
    #[error("already suspended/paused")]
    AlreadyPaused,
    #[error("pooler is not paused/suspended")]
    NotPaused,
    #[error("database {0} is not paused")]
    DatabaseNotPaused(String),
}

/// One configuration and what was made of it.
struct Snapshot {
    config: Arc<Config>,
    tls: Option<Arc<Initiator>>,
    known: Arc<KnownHosts>,
}

/// Lists of servers, so that all that lead to the same share what they know of them. As many as there
/// are in the configuration.
#[derive(Default)]
struct KnownHosts(Mutex<HashSet<Arc<Hosts>>>);

impl KnownHosts {
    fn intern(&self, hosts: Arc<Hosts>) -> Arc<Hosts> {
        let mut known = self.0.lock();
        if let Some(known) = known.get(&hosts) {
            return Arc::clone(known);
        }
        known.insert(Arc::clone(&hosts));
        hosts
    }
}

impl Pools {
    /// No pools yet. `introduction` meets every connection that they will open.
    ///
    /// # Errors
    /// If the files of `[server_tls]` cannot be used.
    pub fn new(
        config: Arc<Config>,
        introduction: Option<Arc<dyn Introduction>>,
    ) -> Result<Arc<Self>, TlsError> {
        let (most, window) = failures(&config);
        let settings = ArcSwap::from_pointee(Snapshot::new(config, Arc::default())?);
        Ok(Arc::new_cyclic(|me| Self {
            settings,
            map: Mutex::default(),
            introduction,
            learned: Learned::new(),
            brake: Arc::new(Brake::new(most, window)),
            guesses: Brake::new(most, window),
            trials: Semaphore::new(TRIALS_MAX),
            me: me.clone(),
            walsenders: Arc::default(),
        }))
    }

    /// The pool of `user` in `database`, as clients name it. Nothing is
    /// connected before the first lease. Needs a runtime.
    ///
    /// # Errors
    /// See [`PoolsError`].
    pub fn get(&self, database: &str, user: &str) -> Result<Arc<Pool>, PoolsError> {
        let mut map = self.map.lock();
        if map.orders.disabled.contains(database) {
            return Err(PoolsError::Disabled(database.to_owned()));
        }
        let key = (database.to_owned(), user.to_owned());
        if let Some(pool) = map.pools.get(&key) {
            return Ok(Arc::clone(pool));
        }
        if map.shut {
            return Err(PoolsError::ShuttingDown);
        }
        let settings = self.settings.load_full();
        let (plan, limits) = settings.resolve(database, user, self.learned.get(database, user))?;
        if map.pools.len() >= POOLS_MAX {
            map.drop_unused();
            if map.pools.len() >= POOLS_MAX {
                return Err(PoolsError::TooMany);
            }
        }
        let room = map.room(database, settings.config.pool.max_db_connections);
        let introduction = self.introduction.clone();
        let pool = Pool::new(
            database,
            user,
            plan,
            limits,
            PoolRoom::new(Arc::clone(&room), introduction),
            Arc::clone(&self.brake),
            self.me.clone(),
        );
        room.join(&pool);
        if map.orders.is_paused(database) {
            pool.pause();
        }
        map.pools.insert(key, Arc::clone(&pool));
        Ok(pool)
    }

    /// Where `user` in `database` leads, without a pool: for control connections.
    ///
    /// # Errors
    /// [`PoolsError::UnknownDatabase`].
    pub fn target(&self, database: &str, user: &str) -> Result<Target, PoolsError> {
        Ok(self.route(database, user)?.0)
    }

    /// As [`Pools::target`], and how to log in there.
    pub(super) fn route(
        &self,
        database: &str,
        user: &str,
    ) -> Result<(Target, ConnectOptions), PoolsError> {
        let settings = self.settings.load();
        let learned = self.learned.get(database, user);
        let (plan, _) = settings.resolve(database, user, learned)?;
        Ok((plan.target, plan.options))
    }

    /// How a replication connection is made, and how many there may be.
    pub(super) fn walsender_plan(
        &self,
        database: &str,
        user: &str,
    ) -> Result<(Plan, Limits, usize), PoolsError> {
        let settings = self.settings.load();
        if self.map.lock().shut {
            return Err(PoolsError::ShuttingDown);
        }
        let (plan, limits) = settings.resolve(database, user, self.learned.get(database, user))?;
        let places = settings.config.pool.max_replication_connections;
        Ok((plan, limits, places))
    }

    pub(super) fn introduction(&self) -> Option<&Arc<dyn Introduction>> {
        self.introduction.as_ref()
    }

    /// A client has logged in: from now on its user can be logged in upstream with `secret`, where
    /// the configuration has no password. Connections made with another are replaced.
    pub fn learn(&self, database: &str, user: &str, secret: LoginSecret) {
        let is_new = self.learned.put(database, user, secret.clone());
        let key = (database.to_owned(), user.to_owned());
        let map = self.map.lock();
        if let Some(pool) = map.pools.get(&key)
            && (is_new || pool.is_disowned())
            && let Ok((plan, limits)) = self.settings.load().resolve(database, user, Some(secret))
        {
            pool.update(plan, limits);
        }
    }

    /// The server has refused what a login of `user` had shown: it is forgotten, and the user's
    /// connections are closed. In other databases of the server too, where new ones have to prove
    /// themselves, unless what was refused is the password: then that is forgotten there as well.
    pub(super) fn disown(&self, database: &str, user: &str, error: &UpstreamError) {
        let is_password = matches!(error, UpstreamError::OtherSecret { .. })
            || error.sqlstate() == SqlState::INVALID_PASSWORD;
        let hosts = |database: &str| Some(self.target(database, user).ok()?.hosts);
        let here = hosts(database);
        let is_here = |other: &str| other == database || hosts(other) == here;
        let is_over = |other: &str| other == database || is_password && is_here(other);
        for (other, _) in self.learned.of_user(user) {
            if is_over(&other) {
                self.learned.forget(&other, user);
            }
        }
        for pool in self.all().iter().filter(|pool| pool.user() == user) {
            match pool.database() {
                other if is_over(other) => pool.disown(error),
                other if is_here(other) => pool.reconnect(),
                _ => {}
            }
        }
    }

    /// What a login of `user` at the server of `target` has shown, to whichever database.
    pub(super) fn shown(&self, target: &Target) -> Option<LoginSecret> {
        let is_there = |database: &str| {
            let other = self.target(database, &target.user);
            other.is_ok_and(|other| other.hosts == target.hosts)
        };
        let mut known = self.learned.of_user(&target.user).into_iter();
        known
            .find(|(database, _)| is_there(database))
            .map(|(_, secret)| secret)
    }

    /// Forgets what no login has shown for `learned_lifetime`, where no session of the user is left.
    /// To be called now and then.
    pub fn forget_old(&self) {
        let lifetime = self.settings.load().config.auth.learned_lifetime;
        for (database, user) in self.learned.older_than(lifetime) {
            let key = (database.clone(), user.clone());
            let pool = self.map.lock().pools.get(&key).cloned();
            // The map's and this one.
            let has_sessions = |pool: &Arc<Pool>| Arc::strong_count(pool) > 2;
            if pool.as_ref().is_some_and(has_sessions) {
                continue;
            }
            self.learned.forget(&database, &user);
            if let Some(pool) = pool {
                pool.disown(&UpstreamError::NoPassword { user });
            }
        }
    }

    pub(super) fn guesses(&self) -> &Brake {
        &self.guesses
    }

    pub(super) fn trials(&self) -> &Semaphore {
        &self.trials
    }

    /// How many logins the server has refused, and how many were not tried after that.
    pub fn failed_logins(&self) -> (u64, u64) {
        let (of_pools, of_guesses) = (self.brake.totals(), self.guesses.totals());
        (of_pools.0 + of_guesses.0, of_pools.1 + of_guesses.1)
    }

    /// Every pool, by database and user.
    pub fn all(&self) -> Vec<Arc<Pool>> {
        let mut pools: Vec<_> = self.map.lock().pools.values().cloned().collect();
        pools.sort_by(|a, b| (a.database(), a.user()).cmp(&(b.database(), b.user())));
        pools
    }

    /// The pools of one database, by user.
    pub fn of_database(&self, database: &str) -> Vec<Arc<Pool>> {
        let mut pools = self.all();
        pools.retain(|pool| pool.database() == database);
        pools
    }

    /// The pools of one database, or all of them.
    ///
    /// # Errors
    /// [`OrderError::UnknownDatabase`].
    pub fn named(&self, database: Option<&str>) -> Result<Vec<Arc<Pool>>, OrderError> {
        let Some(name) = database else {
            return Ok(self.all());
        };
        let found = self.of_database(name);
        if found.is_empty() && !self.knows(name) {
            return Err(OrderError::UnknownDatabase(name.to_owned()));
        }
        Ok(found)
    }

    /// Whether clients may ask for a database of this name.
    fn knows(&self, database: &str) -> bool {
        self.target(database, "").is_ok()
    }

    /// PAUSE: leases wait until [`resume`](Self::resume), also those of pools to come. Returns
    /// the pools, of which some may still be busy.
    ///
    /// # Errors
    /// Everything is paused already, or nobody knows the database.
    pub fn pause(&self, database: Option<&str>) -> Result<Vec<Arc<Pool>>, OrderError> {
        self.named(database)?;
        {
            let orders = &mut self.map.lock().orders;
            if orders.all_paused {
                return Err(OrderError::AlreadyPaused);
            }
            match database {
                Some(name) => drop(orders.paused.insert(name.to_owned())),
                None => orders.all_paused = true,
            }
        }
        // Whatever pool is made from now on is paused from the start.
        let pools = self.named(database)?;
        pools.iter().for_each(|pool| pool.pause());
        Ok(pools)
    }

    /// RESUME, after PAUSE or KILL. Resuming all leaves those alone that were paused by name.
    ///
    /// # Errors
    /// It was not paused, or nobody knows the database.
    pub fn resume(&self, database: Option<&str>) -> Result<(), OrderError> {
        self.named(database)?;
        let mut map = self.map.lock();
        match database {
            Some(name) if !map.orders.paused.remove(name) => {
                return Err(OrderError::DatabaseNotPaused(name.to_owned()));
            }
            None if !std::mem::take(&mut map.orders.all_paused) => {
                return Err(OrderError::NotPaused);
            }
            _ => {}
        }
        for ((of, _), pool) in &map.pools {
            if database.is_none_or(|database| database == of) && !map.orders.is_paused(of) {
                pool.resume();
            }
        }
        Ok(())
    }

    /// KILL: who waits is refused, what is idle is closed; what comes then waits as after PAUSE.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub fn kill(&self, database: Option<&str>) -> Result<(), OrderError> {
        for pool in self.pause(database)? {
            pool.kill();
            pool.pause();
        }
        Ok(())
    }

    /// DISABLE and ENABLE: whether new clients may ask for the database.
    ///
    /// # Errors
    /// [`OrderError::UnknownDatabase`].
    pub fn set_disabled(&self, database: &str, disabled: bool) -> Result<(), OrderError> {
        self.named(Some(database))?;
        let orders = &mut self.map.lock().orders;
        match disabled {
            true => orders.disabled.insert(database.to_owned()),
            false => orders.disabled.remove(database),
        };
        Ok(())
    }

    /// PAUSE or KILL holds for the database, or for all.
    pub fn is_paused(&self, database: Option<&str>) -> bool {
        let orders = &self.map.lock().orders;
        match database {
            Some(name) => orders.is_paused(name),
            None => orders.all_paused,
        }
    }

    pub fn is_disabled(&self, database: &str) -> bool {
        self.map.lock().orders.disabled.contains(database)
    }

    /// Databases that are paused by name or disabled, whether or not they have a pool.
    pub fn under_orders(&self) -> Vec<String> {
        let orders = &self.map.lock().orders;
        orders.paused.union(&orders.disabled).cloned().collect()
    }

    /// Closes what is idle in a database of these servers, busy connections when they come back. Pools that nobody uses are
    /// dropped, so that none keeps its minimum open.
    pub fn leave(&self, hosts: &Arc<Hosts>, dbname: &str) {
        let is_there = |pool: &Pool| {
            let target = pool.target();
            target.hosts == *hosts && target.dbname == dbname
        };
        let mut dropped = Vec::new();
        self.map.lock().pools.retain(|_, pool| {
            let is_there = is_there(pool);
            if is_there {
                pool.reconnect();
            }
            let is_over = is_there && Arc::strong_count(pool) == 1;
            if is_over {
                dropped.push(Arc::clone(pool));
            }
            !is_over
        });
        for pool in dropped {
            pool.kill();
        }
    }

    /// A reload. New sizes count at once; connections to another place are
    /// replaced as they become idle; pools without connections that nobody uses
    /// are dropped; those of a database that is gone are killed.
    ///
    /// # Errors
    /// If the files of `[server_tls]` cannot be used: then nothing has changed.
    pub fn update(&self, config: Arc<Config>) -> Result<(), TlsError> {
        let (most, window) = failures(&config);
        let known = Arc::clone(&self.settings.load().known);
        let settings = Snapshot::new(config, known)?;
        self.brake.set_limit(most, window);
        self.guesses.set_limit(most, window);
        let mut gone = Vec::new();
        let mut map = self.map.lock();
        map.drop_unused();
        map.pools.retain(|(database, user), pool| {
            let resolved = settings.resolve(database, user, self.learned.get(database, user));
            match resolved {
                Ok((plan, limits)) => pool.update(plan, limits),
                Err(_) => gone.push(Arc::clone(pool)),
            }
            gone.last().is_none_or(|last| !Arc::ptr_eq(last, pool))
        });
        for room in map.rooms.values().filter_map(Weak::upgrade) {
            room.set_limit(settings.config.pool.max_db_connections);
        }
        map.rooms.retain(|_, room| room.strong_count() > 0);
        self.settings.store(Arc::new(settings));
        drop(map);
        for pool in gone {
            pool.kill();
        }
        Ok(())
    }

    /// Refuses every lease from now on and closes what is idle. Leases that are
    /// out go on; see [`Pool::drained`].
    pub fn shut_down(&self) {
        self.map.lock().shut = true;
        for pool in self.all() {
            pool.shut_down();
        }
    }
}

impl Map {
    fn drop_unused(&mut self) {
        self.pools
            .retain(|_, pool| Arc::strong_count(pool) > 1 || !pool.is_unused());
    }

    fn room(&mut self, database: &str, limit: usize) -> Arc<DatabaseRoom> {
        if let Some(room) = self.rooms.get(database).and_then(Weak::upgrade) {
            return room;
        }
        self.rooms.retain(|_, room| room.strong_count() > 0);
        let room = Arc::new(DatabaseRoom::new(limit));
        self.rooms
            .insert(database.to_owned(), Arc::downgrade(&room));
        room
    }
}

impl Snapshot {
    fn new(config: Arc<Config>, known: Arc<KnownHosts>) -> Result<Self, TlsError> {
        let tls = tls::upstream(&config.server_tls)?;
        Ok(Self { config, tls, known })
    }

    /// What the configuration says of one pool.
    fn resolve(
        &self,
        database: &str,
        user: &str,
        learned: Option<LoginSecret>,
    ) -> Result<(Plan, Limits), PoolsError> {
        let config = &*self.config;
        let entry = entry(&config.databases, database);
        if entry.is_none() && !config.databases.is_empty() {
            return Err(PoolsError::UnknownDatabase(database.to_owned()));
        }
        let user_entry = config.users.iter().find(|entry| entry.name == user);
        let secrets = config.secrets(user).unwrap_or_default();
        let target = Target::new(
            &config.upstream,
            &config.server_tls,
            self.tls.clone(),
            entry.and_then(|e| e.dbname.as_deref()).unwrap_or(database),
            user,
            secrets.password,
        );
        let hosts = match entry {
            Some(entry) => {
                let (hosts, wanted) = entry.hosts(&config.upstream);
                Hosts::new(hosts, wanted)
            }
            None => Arc::clone(&target.hosts),
        };
        let mut target = target.among(self.known.intern(hosts));
        let is_learned = target.password.is_none() && learned.is_some();
        // Without any the server may still let the user in.
        target.learned = learned.or_else(|| md5_of(secrets.verifier.as_ref()?));
        let options = config.upstream.options.clone();
        let options = options.map(|options| ("options".to_owned(), options));
        let plan = Plan {
            target,
            options: ConnectOptions {
                timeout: config.upstream.server_connect_timeout,
                parameters: options.into_iter().collect(),
                prepared_statements_max: config.pool.max_prepared_statements,
            },
            lifetime: config.pool.server_lifetime,
            is_learned,
            refused: None,
        };
        Ok((plan, Limits::new(config, entry, user_entry)))
    }
}

/// `login_failures_max` and `login_failures_window`.
fn failures(config: &Config) -> (u32, Duration) {
    let upstream = &config.upstream;
    (upstream.login_failures_max, upstream.login_failures_window)
}

fn entry<'a>(databases: &'a [DatabaseConfig], name: &str) -> Option<&'a DatabaseConfig> {
    let named = |wanted: &str| databases.iter().find(|entry| entry.name == wanted);
    named(name).or_else(|| named(ANY_DATABASE))
}

/// An md5 verifier, which is all that an md5 login needs.
fn md5_of(verifier: &Secret) -> Option<LoginSecret> {
    match Verifier::parse(verifier.reveal()) {
        Ok(Verifier::Md5(digits)) => Some(LoginSecret::Md5(Zeroizing::new(digits))),
        Ok(Verifier::Scram(_)) | Err(_) => None,
    }
}
