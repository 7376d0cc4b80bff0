//! The second tier: room in Redis for what memory has no room for.
//!
//! Redis is never the judge. A value says who stored it under which stamp, and is
//! served on the same terms as an entry in memory; at level `strict` that means only
//! by the process that stored it, since nobody else's stamps can be compared.
//!
//! Whatever Redis does, no client sees an error, and no lookup waits longer than
//! `redis.timeout`: lookups that fail in a row open a breaker, behind which one task
//! ([`link`]) tries again in the background. Writing never happens in a query's way: a
//! second task works off a bounded queue over a connection of its own, so that large values do
//! not hold up small lookups.

mod link;
mod value;
mod written;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use super::CacheError;
use super::entry::Entry;
use super::key::{Key, KeySecret};
use crate::config::RedisConfig;
use link::Link;
pub(super) use value::Value;
#[cfg(test)]
pub(super) use value::{decode, encode};
use written::Written;

/// Larger values stay in memory only: they would hold up the lookups behind them
/// for longer than a lookup may take.
const VALUE_BYTES_MAX: usize = 256 << 10;
/// Entries that wait to be written, in number and in bytes. What comes while it is full is
/// not written.
const QUEUE_MAX: usize = 1024;
const QUEUE_BYTES_MAX: usize = 32 << 20;
/// Lookups that must fail in a row to open the breaker.
const FAILURES_MAX: u32 = 3;
/// Upper bounds of the latency counts.
pub const LATENCY_BOUNDS: [Duration; 5] = [
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
];

enum Job {
    Put {
        entry: Arc<Entry>,
        base: u128,
        hash: u128,
    },
    /// Everything of this fleet.
    Clear,
}

pub(super) struct Redis {
    client: ::redis::Client,
    /// Host and port: the URL itself may hold a password.
    address: String,
    prefix: String,
    secret: KeySecret,
    cfg: RedisConfig,
    /// `None` while the breaker is open.
    link: ArcSwapOption<Link>,
    broken: Notify,
    failures: AtomicU32,
    queue: mpsc::Sender<Job>,
    jobs: Mutex<Option<mpsc::Receiver<Job>>>,
    queued_bytes: AtomicUsize,
    written: Written,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    absent: AtomicU64,
    unfit: AtomicU64,
    skipped: AtomicU64,
    corrupt: AtomicU64,
    timeouts: AtomicU64,
    errors: AtomicU64,
    writes: AtomicU64,
    write_errors: AtomicU64,
    dropped: AtomicU64,
    opened: AtomicU64,
    latency: [AtomicU64; LATENCY_BOUNDS.len() + 1],
    latency_us: AtomicU64,
}

/// What the second tier did. All but the first and `queued` only grow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RedisStats {
    /// Lookups are answered; otherwise the breaker is open.
    pub connected: bool,
    /// How often the breaker opened.
    pub opened: u64,
    /// Lookups served.
    pub hits: u64,
    pub absent: u64,
    /// Values found that may not be served (any more).
    pub unfit: u64,
    /// Lookups not made, because Redis is away or this process never sent the key.
    pub skipped: u64,
    /// Values found that are not what was written.
    pub corrupt: u64,
    pub timeouts: u64,
    pub errors: u64,
    pub writes: u64,
    pub write_errors: u64,
    /// Entries not written because the queue was full or Redis away.
    pub dropped: u64,
    pub queued: usize,
    /// Lookups by how long they took, one count a bound of [`LATENCY_BOUNDS`] and one beyond.
    pub latency: [u64; LATENCY_BOUNDS.len() + 1],
    pub latency_sum: Duration,
}

/// Why a lookup in Redis gave nothing that could be judged.
enum Failure {
    Timeout,
    Error(::redis::RedisError),
}

impl Redis {
    /// `None` without a URL.
    pub fn new(cfg: &RedisConfig) -> Result<Option<Arc<Self>>, CacheError> {
        let Some(url) = &cfg.url else {
            return Ok(None);
        };
        let client = ::redis::Client::open(url.reveal())
            // The error would quote the URL.
            .map_err(|_| CacheError::RedisUrl("redis://, rediss:// or unix:// is expected"))?;
        let info = client.get_connection_info();
        if matches!(info.addr(), ::redis::ConnectionAddr::TcpTls { .. }) {
            // The client asks for the process's default provider; if somebody has set one
            // already, that one is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let fleet = cfg.fleet_name.as_deref().unwrap_or("default");
        // Equal for all of a fleet. The password takes part so that who merely sees the names
        // of the keys cannot try out which statement has which name.
        let password = info.redis_settings().password().unwrap_or_default();
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        Ok(Some(Arc::new(Self {
            address: info.addr().to_string(),
            prefix: format!("pgditto:{fleet}:"),
            secret: KeySecret::derived(&[b"redis", fleet.as_bytes(), password.as_bytes()]),
            cfg: cfg.clone(),
            link: ArcSwapOption::empty(),
            broken: Notify::new(),
            failures: AtomicU32::new(0),
            queue,
            jobs: Mutex::new(Some(jobs)),
            queued_bytes: AtomicUsize::new(0),
            written: Written::new(),
            counts: Counts::default(),
            client,
        })))
    }

    /// A named fleet vouches that its members serve the same databases of the same server:
    /// only then may one be given what another has read.
    pub fn is_shared(&self) -> bool {
        self.cfg.fleet_name.is_some()
    }

    /// Starts the two tasks; later calls do nothing.
    pub fn start(self: &Arc<Self>) -> Vec<tokio::task::AbortHandle> {
        let Some(jobs) = self.jobs.lock().take() else {
            return Vec::new();
        };
        vec![
            tokio::spawn(link::keep(Arc::clone(self))).abort_handle(),
            tokio::spawn(link::write(Arc::clone(self), jobs)).abort_handle(),
        ]
    }

    pub fn is_up(&self) -> bool {
        self.link.load().is_some()
    }

    fn name(&self, hash: u128) -> String {
        format!("{}{hash:032x}", self.prefix)
    }

    /// What Redis has for exactly this key, within `redis.timeout`. `own` is for who can
    /// only use what this process has stored.
    pub async fn get(&self, key: &Key, own: bool) -> Option<Value> {
        let hash = self.secret.hash(key.bytes());
        let link = self.link.load_full();
        let Some(link) = link.filter(|_| !own || self.written.maybe(hash)) else {
            self.counts.skipped.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let began = Instant::now();
        let found = self.ask(&link, hash).await;
        self.count_latency(began.elapsed());
        match found {
            Ok(bytes) => {
                self.failures.store(0, Ordering::Relaxed);
                if bytes.is_empty() {
                    self.counts.absent.fetch_add(1, Ordering::Relaxed);
                    return None;
                }
                let value = value::decode(&Bytes::from(bytes), key.bytes());
                if value.is_none() {
                    self.counts.corrupt.fetch_add(1, Ordering::Relaxed);
                }
                value
            }
            Err(failure) => {
                self.fail(&link, &failure);
                None
            }
        }
    }

    async fn ask(&self, link: &Link, hash: u128) -> Result<Vec<u8>, Failure> {
        let mut command = ::redis::cmd("GETRANGE");
        // A range bounds what comes, whoever may have written it; of an absent key it is empty.
        command.arg(self.name(hash)).arg(0).arg(VALUE_BYTES_MAX);
        let mut connection = link.lookups.clone();
        let asked = command.query_async::<Vec<u8>>(&mut connection);
        match tokio::time::timeout(self.cfg.timeout, asked).await {
            Ok(answer) => answer.map_err(Failure::Error),
            Err(_) => Err(Failure::Timeout),
        }
    }

    fn fail(&self, link: &Arc<Link>, failure: &Failure) {
        let lost = match failure {
            Failure::Timeout => {
                self.counts.timeouts.fetch_add(1, Ordering::Relaxed);
                false
            }
            Failure::Error(error) => {
                self.counts.errors.fetch_add(1, Ordering::Relaxed);
                error.is_io_error() || error.is_unrecoverable_error()
            }
        };
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if lost || failures >= FAILURES_MAX {
            self.open(link);
        }
    }

    /// Opens the breaker, unless another connection has taken this one's place already.
    fn open(&self, link: &Arc<Link>) {
        let before = self.link.compare_and_swap(link, None);
        if before
            .as_ref()
            .is_some_and(|before| Arc::ptr_eq(before, link))
        {
            self.counts.opened.fetch_add(1, Ordering::Relaxed);
            self.broken.notify_one();
        }
    }

    /// Queues an entry to be written. Never waits.
    pub fn put(&self, key: &Key, entry: &Arc<Entry>, base: u128) {
        let bytes = entry.weight();
        if bytes < self.cfg.min_entry_size || bytes > VALUE_BYTES_MAX {
            return;
        }
        let job = Job::Put {
            entry: Arc::clone(entry),
            base,
            hash: self.secret.hash(key.bytes()),
        };
        let queued = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let away = self.link.load().is_none();
        if away || queued > QUEUE_BYTES_MAX || self.queue.try_send(job).is_err() {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has all values of this fleet removed, as far as Redis is there.
    pub fn clear(&self) {
        if self.queue.try_send(Job::Clear).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn count_judged(&self, fits: bool) {
        let counter = match fits {
            true => &self.counts.hits,
            false => &self.counts.unfit,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn count_latency(&self, took: Duration) {
        let at = LATENCY_BOUNDS.partition_point(|&bound| bound < took);
        self.counts.latency[at].fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counts.latency_us.fetch_add(us, Ordering::Relaxed);
    }

    pub fn stats(&self) -> RedisStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &self.counts;
        RedisStats {
            connected: self.link.load().is_some(),
            opened: count(&counts.opened),
            hits: count(&counts.hits),
            absent: count(&counts.absent),
            unfit: count(&counts.unfit),
            skipped: count(&counts.skipped),
            corrupt: count(&counts.corrupt),
            timeouts: count(&counts.timeouts),
            errors: count(&counts.errors),
            writes: count(&counts.writes),
            write_errors: count(&counts.write_errors),
            dropped: count(&counts.dropped),
            queued: QUEUE_MAX - self.queue.capacity(),
            latency: std::array::from_fn(|at| count(&counts.latency[at])),
            latency_sum: Duration::from_micros(count(&counts.latency_us)),
        }
    }
}

/// Milliseconds since 1970: what another process's ages are counted by.
pub(super) fn wall_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
