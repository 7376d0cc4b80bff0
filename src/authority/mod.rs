//! By what right hits are served from one database: its guard, its catalogue's picture, and the
//! certainty that nobody commits unseen.
//!
//! Owns the control connections to the server and the record of upstream connections. Knows
//! no client, no session and no pool: pools ask it for a [`Proof`] and tell it of their
//! backends, sessions ask [`Authority::may_serve`] and send their commits through
//! [`Authority::mark`] and [`Authority::settle`].

mod barrier;
mod control;
mod followed;
mod foreign;
mod gate;
mod guard;
mod pictures;
mod proof;
mod record;
mod standing;
mod stats;
mod tls;
mod unknown;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_postgres::Client;

use crate::cache::{KeptMark, Moment, Picture, Tags, Writer};
use crate::catalog::{Catalog, Footprint};
use crate::config::{CacheConfig, Host};
use crate::sql::Bypass;
pub use control::{ControlError, ControlTarget, Listener, run};
pub use gate::Still;
pub use proof::{Backend, Proof, Unproven};
pub use stats::{AuthorityStats, Server};

use control::{end_itself, rows};
use followed::Followed;
use foreign::Foreign;
use gate::Gate;
use guard::DEFAULTS_CHANGED;
use pictures::Pictures;
use record::{Found, Record};
use standing::{Block, Standing};
use stats::Counts;

/// Control connections beside the guard.
const CONTROL_CONNECTIONS_MAX: u32 = 2;

type ControlManager = bb8_postgres::PostgresConnectionManager<tls::Tls>;
/// Lent out whole, since the pool is another after the guard has moved.
type Control = bb8::PooledConnection<'static, ControlManager>;

/// Finds how to log in as a user of the pools, where that is known.
pub type Login = Arc<dyn Fn(&str) -> Option<ControlTarget> + Send + Sync>;

/// What an authority needs to begin.
pub struct Setup {
    /// The database, and as whom the guard logs in.
    pub target: ControlTarget,
    /// For what only a backend's own user may do to it.
    pub login: Login,
    /// The users of our pools; empty is everybody.
    pub users: Vec<String>,
    pub tags: Arc<Tags>,
    pub cache: CacheConfig,
    /// `upstream.state_dir`.
    pub state_dir: Option<PathBuf>,
    /// Is told the names of roles that are found to mean nobody, or another role than before.
    pub roles_changed: RolesChanged,
}

pub type RolesChanged = Box<dyn Fn(&[String]) + Send + Sync>;

/// The right to serve hits of one database.
pub struct Authority {
    core: Arc<Core>,
}

/// What its tasks share.
struct Core {
    target: ControlTarget,
    login: Login,
    users: Vec<String>,
    tags: Arc<Tags>,
    cfg: CacheConfig,
    /// Leads to where the guard stands, or stood last.
    control: ArcSwap<bb8::Pool<ControlManager>>,
    standing: Standing,
    /// Barriers that are not passed yet: [`Block::StartBarrier`] stands until there is none.
    barriers: AtomicUsize,
    record: Record,
    pictures: Pictures,
    roles_changed: RolesChanged,
    gate: Gate,
    proof: watch::Sender<Option<Arc<Proof>>>,
    generation: watch::Sender<u64>,
    /// From when on writes may be sent; `None` while we are not registered.
    writes_from: watch::Sender<Option<Moment>>,
    snapshot: Mutex<Option<Arc<str>>>,
    server: Mutex<Option<Server>>,
    counts: Counts,
    foreign: Foreign,
    followed: Arc<Followed>,
    tasks: Mutex<JoinSet<()>>,
}

impl Authority {
    /// Begins. Nothing is served before the guard stands, the catalogue is loaded, and nobody is
    /// left who could commit unseen. To be called within the runtime; dropping it ends its tasks.
    pub fn start(setup: Setup) -> Arc<Self> {
        let Setup {
            target,
            login,
            users,
            tags,
            cache,
            state_dir,
            roles_changed,
        } = setup;
        let (record, found) = open_record(state_dir, &target);
        let control = ArcSwap::from_pointee(control_pool(&target, target.hosts.preferred()));
        let core = Arc::new(Core {
            target,
            login,
            users,
            tags,
            cfg: cache,
            control,
            standing: Standing::new(),
            barriers: AtomicUsize::new(1),
            record,
            pictures: Pictures::default(),
            roles_changed,
            gate: Gate::default(),
            proof: watch::Sender::new(None),
            generation: watch::Sender::new(0),
            writes_from: watch::Sender::new(None),
            snapshot: Mutex::default(),
            server: Mutex::default(),
            counts: Counts::default(),
            foreign: Foreign::default(),
            followed: Arc::default(),
            tasks: Mutex::default(),
        });
        core.spawn(Arc::clone(&core).keep_guard());
        core.spawn(Arc::clone(&core).keep_pictures());
        core.spawn(Arc::clone(&core).pass_start_barrier(found));
        Arc::new(Self { core })
    }

    /// Whether hits may be served at `now`. A few atomic loads.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn may_serve(&self, now: Moment) -> Result<(), Bypass> {
        self.core.standing.may_serve(now)
    }

    /// The picture of the catalogue, `None` while it is stale. Read [`Tags::picture`] before it.
    pub fn catalog(&self) -> Option<Arc<Catalog>> {
        self.core.pictures.current()
    }

    /// Counts pictures that were taken away or loaded: while it stands still, so does what statements mean.
    pub fn catalogue_epoch(&self) -> u64 {
        self.core.pictures.turns.load(Ordering::Acquire)
    }

    /// [`Writer::touch`], for writers that [`Authority::mark`] may have marked already.
    pub fn touch(&self, writer: &mut Writer, footprint: &Footprint, picture: Picture) {
        let announce = writer.is_marked() && footprint.catalogue && !writer.touched().catalogue;
        if announce {
            self.invalidate();
        }
        writer.touch(footprint, picture);
    }

    /// Marks a writer before any bytes leave that can make its transaction visible. If it may change
    /// the catalogue the picture is taken away first.
    pub fn mark(&self, writer: &mut Writer) {
        if !writer.is_marked() && writer.touched().catalogue {
            self.invalidate();
        }
        writer.mark();
    }

    /// Settles a writer before ReadyForQuery is passed on.
    pub fn settle(&self, writer: Writer, happened: bool) {
        let catalogue = self.before_settling(&writer, happened);
        writer.settle(happened);
        if catalogue {
            self.settled();
        }
    }

    /// [`Writer::release`]: the marks go, what was touched stays pending.
    pub fn release(&self, writer: &mut Writer, happened: bool) {
        let catalogue = self.before_settling(writer, happened);
        writer.release(happened);
        if catalogue {
            self.settled();
        }
    }

    /// Whether it may have changed the catalogue. If so every writer in flight is widened before the change
    /// settles, or one that waited behind it could commit what it did not know that it touches.
    fn before_settling(&self, writer: &Writer, happened: bool) -> bool {
        let catalogue = writer.is_marked() && writer.touched().catalogue;
        if catalogue && happened {
            self.core.tags.widen_in_flight();
        }
        catalogue
    }

    /// DDL is about to commit: there is no picture until [`Authority::settled`] is called as often.
    /// [`Authority::mark`] does it where a writer's footprint says so.
    pub fn invalidate(&self) {
        self.core.catalogue_changing();
    }

    /// It has settled, whatever came of it; the picture is loaded again.
    pub fn settled(&self) {
        self.core.catalogue_settled();
    }

    /// Roles have lost these names, and whoever went by them has been dealt with: that they mean others now is no news.
    pub fn forget_roles(&self, names: &[String]) {
        self.core.forget_roles(names);
    }

    /// What sessions of some role or database begin with was changed. From here on nothing counts that was read under the
    /// old defaults; connections that began with them are the caller's to replace.
    pub fn defaults_changed(&self) {
        let generation = *self.core.generation.borrow();
        self.core.lost(generation, DEFAULTS_CHANGED);
    }

    /// The catalogue may have been changed by other means (a change of roles in another database).
    pub fn catalogue_changed(&self) {
        self.core.catalogue_changed();
    }

    /// Sees a transaction to its end whose outcome is unknown: the backend with this pid is terminated,
    /// unless its commit waits for a standby, and awaited; then the transactions that were being prepared; then the marks
    /// are settled. To be called before, or soon after, [`Authority::departed`].
    pub fn resolve_unknown(&self, kept: KeptMark, pid: u32, gids: Vec<String>) {
        let core = Arc::clone(&self.core);
        let following = core.followed.follow(&gids);
        self.core.spawn(core.resolve(kept, pid, gids, following));
    }

    /// Keeps the marks of a transaction that was prepared until nobody has it prepared any more.
    pub fn follow_prepared(&self, kept: KeptMark, gids: Vec<String>) {
        let core = Arc::clone(&self.core);
        let following = Some(core.followed.follow(&gids));
        self.core.spawn(core.follow_prepared(kept, gids, following));
    }

    /// Whether the marks of the transaction of this name stand, whatever it has touched, until it is no longer prepared.
    pub fn follows_prepared(&self, gid: &str) -> bool {
        self.core.followed.contains(gid)
    }

    /// A prepared transaction may have been ended through us.
    pub fn prepared_ended(&self) {
        self.core.followed.ended();
    }

    /// Waits until nothing that we read of the database by ourselves is on its way, for some seconds at most. As long as
    /// the answer is kept nothing begins, save what has waited for a second. Cancel safe.
    pub async fn still(&self) -> Still {
        self.core.gate.still().await
    }

    /// What a new upstream connection must show, when there is a guard: wait for it no longer than for
    /// the connection itself. Cancel safe.
    pub async fn proof(&self) -> Arc<Proof> {
        self.core.guarded().await
    }

    /// [`Authority::proof`] without waiting.
    pub fn proof_now(&self) -> Option<Arc<Proof>> {
        self.core.proof.borrow().clone()
    }

    /// A guard has stood at some time: there is such a database.
    pub fn has_stood(&self) -> bool {
        self.core.server.lock().is_some()
    }

    /// A new connection has answered [`Proof::sql`]; on success it is on record and may be used as long
    /// as [`Proof::generation`] is the current one.
    ///
    /// # Errors
    /// It must be closed; save [`Unproven::PoolerUpstream`], with which it may be used, since from here on
    /// nothing is served from the cache.
    pub fn admit(
        &self,
        proof: &Proof,
        row: &[Option<String>],
        key_pid: u32,
    ) -> Result<Backend, Unproven> {
        let backend = proof.read(row, key_pid);
        if backend == Err(Unproven::PoolerUpstream) {
            self.core.pooler_upstream();
        }
        if self.core.standing.is_blocked(Block::PoolerUpstream) {
            return Err(Unproven::PoolerUpstream);
        }
        let backend = backend?;
        self.core.record.add(&backend);
        Ok(backend)
    }

    /// An admitted connection is gone, or idle and about to go. Never blocks. Of one whose
    /// outcome is unknown [`Authority::resolve_unknown`] keeps track.
    pub fn departed(&self, pid: u32) {
        self.core.record.remove(pid);
    }

    /// Whether a connection of our own leads to the guard's server; where no guard stands, nobody can say
    /// otherwise.
    ///
    /// # Errors
    /// It does not, or gives no answer.
    pub async fn vouch(&self, client: &Client) -> Result<(), ControlError> {
        match self.proof_now() {
            Some(proof) => prove(client, &proof).await,
            None => Ok(()),
        }
    }

    /// Changes whenever a guard stands anew, or is lost.
    pub fn proofs(&self) -> watch::Receiver<Option<Arc<Proof>>> {
        self.core.proof.subscribe()
    }

    /// Changes when the guard is lost: connections of an older generation are to be closed as soon as
    /// they are idle.
    pub fn generation(&self) -> watch::Receiver<u64> {
        self.core.generation.subscribe()
    }

    /// Whether what a connection of this [`Proof::generation`] reads may be kept: to be asked after the stamp
    /// is taken. A connection that outlives the guard may lead to a server that is none any more.
    pub fn may_fill(&self, generation: u64) -> bool {
        *self.core.generation.borrow() == generation
    }

    /// Whether writes may be sent at `now`, without waiting.
    pub fn may_write(&self, now: Moment) -> bool {
        self.core
            .writes_from
            .borrow()
            .is_some_and(|from| from <= now)
    }

    /// Returns when writes may be sent: we are registered, so that others know of us, and if one was there
    /// before, what it served before it knew is over. The caller bounds it. Cancel safe.
    pub async fn wait_before_first_write(&self) {
        let mut from = self.core.writes_from.subscribe();
        loop {
            let known = *from.borrow_and_update();
            match known {
                Some(moment) => {
                    let left = moment.since(Moment::now());
                    if left.is_zero() {
                        return;
                    }
                    let _ = tokio::time::timeout(left, from.changed()).await;
                }
                None => {
                    let _ = from.changed().await;
                }
            }
        }
    }

    pub fn stats(&self) -> AuthorityStats {
        let core = &self.core;
        let now = Moment::now();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        AuthorityStats {
            bypass: self.may_serve(now).err(),
            generation: *core.generation.borrow(),
            server: core.server.lock().clone(),
            proof_age: core.standing.age(now, core.cfg.lease),
            looks: count(&core.counts.looks),
            last_look: Duration::from_micros(count(&core.counts.last_look_us)),
            lapses: count(&core.counts.lapses),
            losses: count(&core.counts.losses),
            moves: count(&core.counts.moves),
            alone: !core.standing.is_blocked(Block::NotAlone),
            catalogue_loads: count(&core.pictures.loads),
            catalogue_failures: count(&core.pictures.failures),
            catalogue_found: count(&core.pictures.found),
            unknown: core.counts.unknown.load(Ordering::Relaxed),
            prepared: core.counts.prepared.load(Ordering::Relaxed),
            recorded: core.record.len(),
            foreign_writers: count(&core.counts.foreign),
        }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.core.tasks.lock().abort_all();
        // The tasks end a little later; whoever comes next must not wait for them.
        self.core.record.close();
    }
}

impl Core {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    fn snapshot(&self) -> Option<Arc<str>> {
        self.snapshot.lock().clone()
    }

    /// For the rest of our life: its pools could show another face at any time.
    fn pooler_upstream(&self) {
        if !self.standing.is_blocked(Block::PoolerUpstream) {
            self.standing.block(Block::PoolerUpstream);
            tracing::warn!(server = %self.target.address(),
                "there is another pooler between pgditto and the server: the cache is off");
        }
    }

    /// Returns when a guard stands.
    async fn guarded(&self) -> Arc<Proof> {
        let mut proofs = self.proof.subscribe();
        loop {
            if let Some(proof) = &*proofs.borrow_and_update() {
                return Arc::clone(proof);
            }
            // We hold the sender: it cannot be closed.
            let _ = proofs.changed().await;
        }
    }

    /// A control connection that leads to the guard's server, once a guard stands.
    async fn proven(&self) -> Result<Control, ControlError> {
        let proof = self.guarded().await;
        let control = self.control.load_full();
        let client = control.get_owned().await.map_err(|error| match error {
            bb8::RunError::User(error) => ControlError::Server(error),
            bb8::RunError::TimedOut => ControlError::Timeout,
        })?;
        if let Err(error) = prove(&client, &proof).await {
            end_itself(&client).await;
            return Err(error);
        }
        Ok(client)
    }

    /// A connection of its own as another user, on the guard's server.
    async fn connect_as(&self, user: &str) -> Result<(Client, JoinHandle<()>), ControlError> {
        let proof = self.guarded().await;
        let target = (self.login)(user);
        let target = target.as_ref().unwrap_or(&self.target);
        let (client, connection) = target.at(&proof.host).connect("-control").await?;
        prove(&client, &proof).await?;
        Ok((client, connection))
    }
}

/// Control connections to one of the servers. Needs a runtime.
fn control_pool(target: &ControlTarget, host: &Host) -> bb8::Pool<ControlManager> {
    let manager = ControlManager::new(target.config(host, "-control"), target.tls());
    bb8::Pool::builder()
        .max_size(CONTROL_CONNECTIONS_MAX)
        .connection_timeout(target.connect_timeout)
        .idle_timeout(Duration::from_secs(60))
        .build_unchecked(manager)
}

async fn prove(client: &Client, proof: &Proof) -> Result<(), ControlError> {
    let shown = rows(client, &proof.sql()).await?;
    let row = shown.first().ok_or(ControlError::Malformed)?;
    match Proof::holds(row) {
        true => Ok(()),
        false => Err(ControlError::OtherServer),
    }
}

/// The record of this server and database, or none with a word about why.
fn open_record(dir: Option<PathBuf>, target: &ControlTarget) -> (Record, Found) {
    let Some(dir) = dir else {
        return (Record::unwritten(), Found::Nothing);
    };
    let name = xxhash_rust::xxh3::xxh3_64(target.address().as_bytes());
    match Record::open(&dir, &format!("{name:016x}")) {
        Ok(opened) => opened,
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error,
                "upstream connections cannot be written down: after a crash hits will wait longer");
            (Record::unwritten(), Found::Nothing)
        }
    }
}
