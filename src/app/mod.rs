//! The composition root: builds every room from the configuration and runs
//! them until the drain is over.

mod introduction;
mod listen;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, watch};

use crate::authority::Authority;
use crate::cache::{Cache, CacheError, Tags};
use crate::client::UserDirectory;
use crate::config::{Config, ConfigErrors, Source};
use crate::insight::Insight;
use crate::metrics::{Metrics, MetricsError};
use crate::sql;
use crate::session::analysis::Analyser;
use crate::session::registry::Registry;
use crate::session::{Database, Databases, Phase, Shared, StatementTexts, shared, state::Pin};
use crate::tls::{self, TlsError};
use crate::upstream::Pools;
use introduction::Doorman;
use listen::Listeners;

/// Why the process cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Tls(#[from] TlsError),
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
    source: Source,
    phase: watch::Sender<Phase>,
    users: ArcSwap<UserDirectory>,
    client_tls: ArcSwap<Option<Arc<rustls::ServerConfig>>>,
    clients: Arc<Semaphore>,
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
    let mut signals = Signals::new().map_err(AppError::Signals)?;
    house.shared.cache.start();
    listeners.run(&house);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "pgditto listens on {places}");
    house.until_stopped(&mut signals).await;
    Ok(())
}

impl House {
    fn build(source: Source, config: &Arc<Config>) -> Result<Arc<Self>, AppError> {
        let doorman = Arc::new(Doorman::default());
        let pools = Pools::new(config.clone(), Some(doorman.clone()))?;
        let cache = Cache::new(&config.cache, &config.redis)?;
        let pins: Vec<&'static str> = Pin::ALL.iter().map(|pin| pin.as_str()).collect();
        let metrics = Metrics::new(&pins)?;
        let (phase, phase_seen) = watch::channel(Phase::Serving);
        let shared = Arc::new(Shared {
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
            databases: Databases::new(Box::new(|target| {
                let name = format!("{}/{}", target.address(), target.dbname);
                let tags = Tags::new().expect("the operating system gives random numbers");
                Arc::new(Database::new(name.into(), tags, Arc::new(Authority)))
            })),
        });
        doorman.serve(&shared);
        Ok(Arc::new(Self {
            users: ArcSwap::from_pointee(UserDirectory::from_config(config)),
            client_tls: ArcSwap::from_pointee(tls::server(&config.client_tls)?),
            clients: Arc::new(Semaphore::new(config.listen.max_client_conn)),
            shared,
            source,
            phase,
        }))
    }

    /// Waits for the signals of the operator; returns when the process may end.
    async fn until_stopped(&self, signals: &mut Signals) {
        let mut phase = self.phase.subscribe();
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => {
                    if *self.phase.borrow() != Phase::Serving {
                        break;
                    }
                    self.drain();
                }
                _ = signals.interrupt.recv() => self.drain(),
                _ = signals.quit.recv() => break,
                _ = signals.hangup.recv() => self.reload(),
                _ = signals.user1.recv() => self.shared.pools.all().iter().for_each(|pool| pool.pause()),
                _ = signals.user2.recv() => self.shared.pools.all().iter().for_each(|pool| pool.resume()),
                () = self.drained(&mut phase) => break,
            }
        }
        self.phase.send_replace(Phase::Stopping);
        // Sessions say goodbye; their number falls to nothing in no time.
        let goodbye = self.clients_gone();
        let _ = tokio::time::timeout(Duration::from_secs(2), goodbye).await;
        self.shared.pools.shut_down();
    }

    /// No new clients; sessions end once their transaction has.
    pub fn drain(&self) {
        if *self.phase.borrow() == Phase::Serving {
            tracing::info!("draining: transactions may end, then sessions are closed");
            self.phase.send_replace(Phase::Draining);
        }
    }

    /// Resolves when a drain has come to its end, by itself or by `drain_timeout`.
    async fn drained(&self, phase: &mut watch::Receiver<Phase>) {
        let _ = phase.wait_for(|phase| *phase != Phase::Serving).await;
        let timeout = self.shared.config.load().listen.drain_timeout;
        if tokio::time::timeout(timeout, self.clients_gone()).await.is_err() {
            tracing::warn!(left = self.shared.registry.len(), "drain_timeout is over with sessions left");
        }
    }

    async fn clients_gone(&self) {
        while self.shared.registry.len() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn reload(&self) {}
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
pub async fn explain(_config: Arc<Config>, _sql: &str) -> Result<String, AppError> {
    Err(AppError::Explain("not yet wired".into()))
}
