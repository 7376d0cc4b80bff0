//! The composition root: builds every room from the configuration and runs
//! them until the drain is over.

mod asker;
mod commands;
mod explain;
mod introduction;
mod listen;
mod lookup;
mod members;
mod passthrough;
mod places;
mod rows;

use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::admin::console;
use crate::admin::http::{self, Access};
use crate::authority::{Authority, ControlTarget, Proof, Setup};
use crate::cache::{Cache, CacheError, Tags};
use crate::client::{Rules, RulesError, UserDirectory};
use crate::config::{CacheMode, Config, ConfigErrors, Level, Source, Watch};
use crate::insight::Insight;
use crate::metrics::{Metrics, MetricsError};
use crate::notify::Hub;
use crate::session::analysis::Analyser;
use crate::session::registry::{Registry, SessionHandle};
use crate::session::{
    Database, Databases, Phase, RuleCounts, Shared, StatementTexts, shared, state::Pin,
};
use crate::sql;
use crate::tls::{self, TlsError};
use crate::upstream::{Pools, Target};
use introduction::Doorman;
use listen::Listeners;
use lookup::AuthQuery;
use members::Members;
use passthrough::ByLogin;
use places::Places;

/// How often files with secrets and certificates are looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Why the process cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Rules(#[from] RulesError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    #[error("cannot listen on {0}: {1}")]
    Listen(String, std::io::Error),
    #[error("signals: {0}")]
    Signals(std::io::Error),
    #[error("{0}")]
    Explain(String),
}

/// The whole: what sessions share, and what only the front door and the operator need.
pub struct House {
    pub shared: Arc<Shared>,
    /// Loaded again on SIGHUP and RELOAD; the console's SET adds to it.
    source: Mutex<Source>,
    phase: watch::Sender<Phase>,
    users: ArcSwap<UserDirectory>,
    /// Who may come from where; `None` unless `auth_type` is `hba`.
    rules: ArcSwap<Option<Arc<Rules>>>,
    /// Who is asked about users that are not listed; `None` without `auth_user`.
    auth_query: ArcSwap<Option<Arc<AuthQuery>>>,
    /// Who is asked about members of roles; `None` where nobody is known as whom to ask.
    members: ArcSwap<Option<Arc<Members>>>,
    /// Who asks the server about passwords that only it can judge.
    passthrough: ArcSwap<ByLogin>,
    client_tls: ArcSwap<Option<Arc<tls::Acceptor>>>,
    /// Whoever is connected, for whatever reason.
    connections: Places,
    /// Who has logged in to a database of the server.
    clients: Places,
    access: Arc<Access>,
}

/// Serves until it is told to stop. `source` is loaded again on SIGHUP.
///
/// # Errors
/// When the configuration is wrong, or nothing can be listened on.
pub async fn serve(source: Source) -> Result<(), AppError> {
    let config = source.load()?;
    let house = House::build(source, &config)?;
    let listen = &config.listen;
    let listeners = Listeners::bind(
        &listen.listen_addr,
        listen.listen_port,
        listen.unix_socket_dir.as_deref(),
    )
    .await
    .map_err(|(place, error)| AppError::Listen(place, error))?;
    let places = listeners.describe();
    let http = match config.http.listen.as_str() {
        "" => None,
        address => Some(
            TcpListener::bind(address)
                .await
                .map_err(|error| AppError::Listen(address.to_owned(), error))?,
        ),
    };
    let mut signals = Signals::new().map_err(AppError::Signals)?;
    house.shared.cache.start();
    house.open_default_database();
    listeners.run(&house);
    tokio::spawn(house.shared.metrics.clone().keep_averages());
    if let Some(listener) = http {
        let place = listener
            .local_addr()
            .map_err(|error| AppError::Listen(config.http.listen.clone(), error))?;
        tracing::info!("metrics, probes and status on http://{place}");
        let (access, operated) = (house.access.clone(), house.clone());
        tokio::spawn(async move { http::serve(listener, access, operated).await });
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        "pgditto listens on {places}"
    );
    say_which_bound_applies(&config);
    house.until_stopped(&mut signals).await;
    Ok(())
}

/// How old an answer may be, said where whoever starts the process reads it.
fn say_which_bound_applies(config: &Config) {
    let ttl = humantime::format_duration(config.cache.ttl);
    match (config.cache.mode, config.cache.level) {
        (CacheMode::Off, _) => {}
        (_, Level::Strict) => tracing::warn!(
            "cached answers know of every write that goes through pgditto; of writes from elsewhere they know \
             after cache.ttl ({ttl}) at the latest, and there is no other bound"
        ),
        (_, Level::Ttl) => tracing::warn!(
            "cache.level is ttl: cached answers may be older than any write, by cache.ttl ({ttl}) at most"
        ),
    }
}

impl House {
    fn build(source: Source, config: &Arc<Config>) -> Result<Arc<Self>, AppError> {
        let doorman = Arc::new(Doorman::default());
        let pools = Pools::new(config.clone(), Some(doorman.clone()))?;
        let cache = Cache::new(&config.cache, &config.redis)?;
        let pins: Vec<&'static str> = Pin::ALL.iter().map(|pin| pin.as_str()).collect();
        let metrics = Metrics::new(&pins)?;
        let (phase, phase_seen) = watch::channel(Phase::Serving);
        let shared = Arc::new_cyclic(|me: &Weak<Shared>| Shared {
            config: ArcSwap::new(config.clone()),
            pools,
            cache,
            insight: Insight::new(&config.slow_log, sql::shape_text, metrics.clone()),
            metrics,
            registry: Arc::new(Registry::default()),
            analyser: Analyser::new(shared::SHAPES_MAX),
            statements: StatementTexts::new(shared::STATEMENT_BYTES_MAX),
            greetings: moka::sync::Cache::builder()
                .max_capacity(shared::GREETINGS_MAX)
                .time_to_live(shared::GREETING_TTL)
                .build(),
            phase: phase_seen,
            shadow: Default::default(),
            suspension: Default::default(),
            verifier: Default::default(),
            rules: RuleCounts::new(&config.cache.rules),
            databases: Databases::new(Box::new({
                let (config, me) = (config.clone(), me.clone());
                move |target| Arc::new(open_database(&config, target, me.clone()))
            })),
        });
        doorman.serve(&shared);
        Ok(Arc::new(Self {
            users: ArcSwap::from_pointee(UserDirectory::from_config(config)),
            rules: ArcSwap::from_pointee(Rules::load(config)?),
            auth_query: ArcSwap::from_pointee(AuthQuery::new(config, &shared.pools)),
            members: ArcSwap::from_pointee(Members::new(config, &shared.pools)),
            passthrough: ArcSwap::from_pointee(ByLogin::new(config, &shared.pools)),
            client_tls: ArcSwap::from_pointee(tls::server(&config.client_tls)?),
            connections: Places::default(),
            clients: Places::default(),
            access: Access::new(config.http.admin_token_file.clone()),
            shared,
            source: Mutex::new(source),
            phase,
        }))
    }

    /// The upstream URL's own database is looked after from the start, so that
    /// its guard stands and its catalogue is read before the first client comes.
    fn open_default_database(&self) {
        let config = self.shared.config.load();
        let Some(user) = &config.upstream.user else {
            return;
        };
        let dbname = config.upstream.dbname.as_ref().unwrap_or(user);
        let pools = &self.shared.pools;
        if let (Ok(target), Ok(_pool)) = (pools.target(dbname, user), pools.get(dbname, user)) {
            self.shared.databases.open(&target);
        }
    }

    /// Waits for the signals of the operator; returns when the process may end.
    async fn until_stopped(&self, signals: &mut Signals) {
        let mut phase = self.phase.subscribe();
        // One for the whole wait: a reload must not give a drain its time anew.
        let mut drained = std::pin::pin!(self.drained(&mut phase));
        let mut files = Watch::new(&self.shared.config.load().watched_files);
        let mut look = tokio::time::interval(WATCH_INTERVAL);
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => {
                    if *self.phase.borrow() != Phase::Serving {
                        break;
                    }
                    self.begin_drain();
                }
                _ = signals.interrupt.recv() => self.begin_drain(),
                _ = signals.quit.recv() => break,
                _ = signals.hangup.recv() => self.reload_on_signal(),
                _ = signals.user1.recv() => drop(self.shared.pools.pause(None)),
                _ = signals.user2.recv() => self.resume_on_signal(),
                _ = look.tick() => {
                    self.reload_changed_files(&mut files);
                    self.shared.pools.forget_old();
                    self.passthrough.load().forget_old();
                }
                () = &mut drained => break,
            }
        }
        self.phase.send_replace(Phase::Stopping);
        // Sessions say goodbye; their number falls to nothing in no time.
        let goodbye = self.clients_gone();
        let _ = tokio::time::timeout(Duration::from_secs(2), goodbye).await;
        self.shared.pools.shut_down();
    }

    /// No new clients; sessions end once their transaction has.
    pub fn begin_drain(&self) {
        if *self.phase.borrow() == Phase::Serving {
            tracing::info!("draining: transactions may end, then sessions are closed");
            self.phase.send_replace(Phase::Draining);
        }
    }

    /// Resolves when the end has come: by itself, by order, or by `drain_timeout`.
    async fn drained(&self, phase: &mut watch::Receiver<Phase>) {
        loop {
            let now = *phase.borrow_and_update();
            let ended = async {
                match now {
                    Phase::Serving => std::future::pending().await,
                    Phase::Closing => self.clients_gone().await,
                    Phase::Draining => {
                        let timeout = self.shared.config.load().listen.drain_timeout;
                        if tokio::time::timeout(timeout, self.clients_gone())
                            .await
                            .is_err()
                        {
                            let left = self.shared.registry.count();
                            tracing::warn!(left, "drain_timeout is over with sessions left");
                        }
                    }
                    Phase::Stopping => {}
                }
            };
            tokio::select! {
                () = ended => return,
                _ = phase.changed() => {}
            }
        }
    }

    async fn clients_gone(&self) {
        let is_operator =
            |session: &Arc<SessionHandle>| console::DATABASES.contains(&session.database.as_str());
        while !self.shared.registry.all().iter().all(is_operator) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// SHUTDOWN WAIT_FOR_CLIENTS: no new clients; those that are here end when they like.
    fn wait_for_clients(&self) {
        tracing::info!("shutting down when the last client has left");
        self.phase.send_replace(Phase::Closing);
    }

    fn resume_on_signal(&self) {
        if !self.shared.suspension.end()
            && let Err(error) = self.shared.pools.resume(None)
        {
            tracing::info!("SIGUSR2: {error}");
        }
    }

    fn reload_on_signal(&self) {
        let source = self.source.lock().clone();
        match source.load() {
            Ok(config) => {
                if let Err(error) = self.apply(&config) {
                    tracing::error!("{error}");
                }
            }
            // The old one stays in force.
            Err(errors) => tracing::error!("the configuration was not reloaded: {errors}"),
        }
    }

    /// Loads again if a file that holds a secret, a certificate or a key has changed.
    fn reload_changed_files(&self, files: &mut Watch) {
        let mut watched = self.shared.config.load().watched_files.clone();
        if let Some(rules) = &**self.rules.load() {
            watched.extend(rules.files().cloned());
        }
        files.follow(&watched);
        if files.changed() {
            tracing::info!("a file with a secret or certificate has changed");
            self.reload_on_signal();
        }
    }

    /// The server answers: a guard has been heard, or a connection is open. True
    /// as long as nobody has asked for anything.
    fn upstream_reachable(&self) -> bool {
        let databases = self.shared.databases.all();
        let heard = databases
            .iter()
            .any(|database| database.authority.stats().proof_age.is_some());
        let open = || {
            self.shared.pools.all().iter().any(|pool| {
                let stats = pool.stats();
                stats.sv_active + stats.sv_idle + stats.sv_used > 0
            })
        };
        databases.is_empty() || heard || open()
    }
}

/// The guard, the catalogue and the tags of the database that `target` leads to.
/// Control connections log in as the upstream URL's user where there is one, else as
/// `auth_user`, else as the user of the client that came first.
fn open_database(config: &Arc<Config>, target: &Target, shared: Weak<Shared>) -> Database {
    let name: Arc<str> = database_name(target).into();
    let tags = Tags::new(config.cache.key_memory)
        .expect("the operating system gave random numbers at start, and still does");
    let user = config
        .upstream
        .user
        .clone()
        .or_else(|| config.auth.auth_user.clone())
        .unwrap_or_else(|| target.user.clone());
    let authority = Authority::start(Setup {
        target: control_target(config, target, &user),
        login: Arc::new({
            let (config, target) = (config.clone(), target.clone());
            move |user| Some(control_target(&config, &target, user))
        }),
        users: Vec::new(),
        tags: tags.clone(),
        cache: config.cache.clone(),
        state_dir: config.upstream.state_dir.clone(),
        roles_changed: Box::new({
            let (hosts, dbname) = (target.hosts.clone(), target.dbname.clone());
            move |names| {
                if let Some(shared) = shared.upgrade() {
                    let is_there = |other: &Target| other.hosts == hosts && other.dbname == dbname;
                    shared.end_roles(is_there, names);
                }
            }
        }),
    });
    let hub = Arc::new(Hub::new(
        control_target(config, target, &user),
        Some(authority.clone()),
    ));
    tokio::spawn(follow(authority.proofs(), Arc::downgrade(&hub)));
    Database::new(name, tags, authority, hub)
}

/// What logs and metrics call it.
fn database_name(target: &Target) -> String {
    match target.hosts.list() {
        [_] => format!("{}/{}", target.address(), target.dbname),
        _ => format!("{}/{}", target.hosts, target.dbname),
    }
}

/// Sees to it that listeners are where the guard is; ends with the guard's keeper.
async fn follow(mut proofs: watch::Receiver<Option<Arc<Proof>>>, hub: Weak<Hub>) {
    while proofs.changed().await.is_ok() {
        let stands = proofs.borrow_and_update().is_some();
        let Some(hub) = hub.upgrade() else { return };
        if stands {
            hub.follow().await;
        }
    }
}

/// How to log in as `user` where `target` leads.
fn control_target(config: &Config, target: &Target, user: &str) -> ControlTarget {
    ControlTarget {
        hosts: target.hosts.clone(),
        dbname: target.dbname.clone(),
        user: user.to_owned(),
        password: if target.user == user {
            target
                .secret()
                .and_then(|secret| secret.password().cloned())
        } else {
            config.secrets(user).and_then(|secrets| secrets.password)
        },
        sslmode: target.sslmode,
        tls: target.tls.clone(),
        connect_timeout: config.upstream.server_connect_timeout,
        application_name: config.upstream.application_name.clone(),
    }
}

/// The signals that `conventions` name.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }
}

/// Says why `sql` is or is not answered from the cache.
///
/// # Errors
/// When the server cannot be reached, since what names mean is only known there.
pub async fn explain(config: Arc<Config>, sql: &str) -> Result<String, AppError> {
    explain::explain(&config, sql).await
}
