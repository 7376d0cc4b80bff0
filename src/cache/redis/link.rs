//! The connections to Redis, and the two tasks that live on them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;

use super::{Failure, Job, Redis, VALUE_BYTES_MAX, value, wall_ms};
use crate::cache::entry::Entry;
use crate::cache::moment::Moment;

/// How long a write, or a question whether Redis is still there, may take: nobody waits for them.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many values one round trip writes.
const BATCH_MAX: usize = 32;

/// Two connections that come and go together.
pub(super) struct Link {
    pub lookups: MultiplexedConnection,
    writes: MultiplexedConnection,
}

/// Keeps a link while there is a Redis. One line says that it went away, one that it is back.
pub(super) async fn keep(redis: Arc<Redis>) {
    let mut away: Option<Instant> = None;
    let mut begun = false;
    loop {
        match connect(&redis).await {
            Ok(link) => {
                let address = &redis.address;
                match away.take() {
                    Some(since) => {
                        tracing::info!(%address, away_ms = since.elapsed().as_millis(), "Redis is back");
                    }
                    None if !begun => tracing::info!(%address, "Redis is connected"),
                    None => {}
                }
                begun = true;
                redis.failures.store(0, Ordering::Relaxed);
                redis.link.store(Some(Arc::new(link)));
                watch(&redis).await;
                say_away(&redis, &mut away, "it does not answer lookups in time");
            }
            Err(cause) => say_away(&redis, &mut away, &cause),
        }
        tokio::time::sleep(redis.cfg.retry_interval).await;
    }
}

fn say_away(redis: &Redis, away: &mut Option<Instant>, cause: &str) {
    if away.is_none() {
        *away = Some(Instant::now());
        tracing::warn!(
            address = %redis.address,
            cause,
            "Redis is away: answers are kept in memory only until it is back"
        );
    }
}

/// Connects, and has both connections answer once: the probe behind the open breaker.
async fn connect(redis: &Redis) -> Result<Link, String> {
    let config = ::redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(redis.cfg.connect_timeout))
        .set_response_timeout(Some(PATIENCE));
    let one = || {
        redis
            .client
            .get_multiplexed_async_connection_with_config(&config)
    };
    let both = async {
        let mut link = Link {
            lookups: one().await?,
            writes: one().await?,
        };
        ping(&mut link.lookups).await?;
        ping(&mut link.writes).await?;
        Ok::<_, ::redis::RedisError>(link)
    };
    // The connection's own time-out does not cover the log-in.
    match tokio::time::timeout(redis.cfg.connect_timeout + PATIENCE, both).await {
        Ok(link) => link.map_err(|error| error.to_string()),
        Err(_) => Err("it does not answer".into()),
    }
}

async fn ping(connection: &mut MultiplexedConnection) -> Result<(), ::redis::RedisError> {
    ::redis::cmd("PING").query_async(connection).await
}

/// Returns when the link is broken: because lookups say so, or because it no longer
/// answers while there are none.
async fn watch(redis: &Redis) {
    let interval = redis.cfg.retry_interval.max(Duration::from_millis(100));
    loop {
        // Who opened the breaker before we wait has left a permit.
        if tokio::time::timeout(interval, redis.broken.notified())
            .await
            .is_ok()
        {
            if redis.link.load().is_none() {
                return;
            }
            continue;
        }
        let Some(link) = redis.link.load_full() else {
            return;
        };
        let mut connection = link.lookups.clone();
        if ping(&mut connection).await.is_err() {
            redis.open(&link);
        }
    }
}

/// Works off the queue.
pub(super) async fn write(redis: Arc<Redis>, mut jobs: mpsc::Receiver<Job>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while jobs.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let clear = batch.iter().any(|job| matches!(job, Job::Clear));
        let link = redis.link.load_full();
        let (bytes, written) = match &link {
            Some(link) => put_all(&redis, link, &batch).await,
            None => (weigh(&batch), false),
        };
        redis.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        if !written {
            redis
                .counts
                .dropped
                .fetch_add(batch.len() as u64, Ordering::Relaxed);
        }
        if clear && let Some(link) = &link {
            clear_all(&redis, link).await;
        }
        batch.clear();
    }
}

fn weigh(batch: &[Job]) -> usize {
    let weight = |job: &Job| match job {
        Job::Put { entry, .. } => entry.weight(),
        Job::Clear => 0,
    };
    batch.iter().map(weight).sum()
}

async fn put_all(redis: &Redis, link: &Arc<Link>, batch: &[Job]) -> (usize, bool) {
    let bytes = weigh(batch);
    let mut pipe = ::redis::pipe();
    let mut hashes = Vec::with_capacity(batch.len());
    for job in batch {
        let Job::Put { entry, base, hash } = job else {
            continue;
        };
        if let Some((value, left)) = worth(entry, *base) {
            let name = redis.name(*hash);
            let ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            pipe.cmd("SET").arg(name).arg(value).arg("PX").arg(ms);
            pipe.ignore();
            hashes.push(*hash);
        }
    }
    if hashes.is_empty() {
        return (bytes, true);
    }
    let mut connection = link.writes.clone();
    let sent = pipe.query_async::<()>(&mut connection);
    let failure = match tokio::time::timeout(PATIENCE, sent).await {
        Ok(Ok(())) => {
            for &hash in &hashes {
                redis.written.note(hash);
            }
            let count = hashes.len() as u64;
            redis.counts.writes.fetch_add(count, Ordering::Relaxed);
            return (bytes, true);
        }
        Ok(Err(error)) => Failure::Error(error),
        Err(_) => Failure::Timeout,
    };
    redis.counts.write_errors.fetch_add(1, Ordering::Relaxed);
    // A Redis that refuses to write (out of memory, a replica) can still be read.
    if !matches!(&failure, Failure::Error(error) if !error.is_io_error()) {
        redis.fail(link, &failure);
    }
    (bytes, false)
}

/// The value of an entry that has some of its time left, and how much.
fn worth(entry: &Entry, base: u128) -> Option<(Vec<u8>, Duration)> {
    let now = Moment::now();
    let left = entry.ttl.checked_sub(entry.age(now))?;
    if left < Duration::from_millis(1) {
        return None;
    }
    let value = value::encode(entry, base, now, wall_ms());
    (value.len() <= VALUE_BYTES_MAX).then_some((value, left))
}

/// Removes all values of this fleet, a page at a time.
async fn clear_all(redis: &Redis, link: &Link) {
    let mut connection = link.writes.clone();
    let pattern = format!("{}*", escape_glob(&redis.prefix));
    let mut cursor = 0_u64;
    loop {
        let mut scan = ::redis::cmd("SCAN");
        scan.arg(cursor)
            .arg("MATCH")
            .arg(&pattern)
            .arg("COUNT")
            .arg(1000);
        let page = scan
            .query_async::<(u64, Vec<Vec<u8>>)>(&mut connection)
            .await;
        let Ok((next, names)) = page else {
            redis.counts.write_errors.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if !names.is_empty() {
            let mut unlink = ::redis::cmd("UNLINK");
            unlink.arg(names);
            if unlink.query_async::<u64>(&mut connection).await.is_err() {
                redis.counts.write_errors.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        if next == 0 {
            return;
        }
        cursor = next;
    }
}

fn escape_glob(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
