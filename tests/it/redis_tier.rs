//! The second tier against a real Redis: slow, stopped, killed, restarted, and lying.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use pgditto::cache::{
    Answer, Cache, CacheStats, Entry, Flush, Key, KeyBuilder, Lookup, Moment, RedisStats,
    StoreOptions, Tags, Terms,
};
use pgditto::catalog::Footprint;
use pgditto::config::{CacheConfig, Level, RedisConfig, Secret};
use pgditto::sql::ShapeId;
use smallvec::SmallVec;

use crate::fixture::{Redis, eventually_async};

/// A Redis with a user whose password must not be seen anywhere.
struct Server(Redis);

impl Server {
    fn start() -> Self {
        let server = Self(Redis::start());
        server.let_in();
        server
    }

    fn restart(&mut self) {
        self.0.restart();
        self.let_in();
    }

    fn let_in(&self) {
        let answer = self.0.command("ACL SETUSER someone on >hush ~* &* +@all");
        assert_eq!(answer, "+OK");
    }

    fn url(&self) -> String {
        self.0.url().replace("://", "://someone:hush@")
    }

    fn command(&self, words: &[&[u8]]) -> redis::Value {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_connection().unwrap();
        let mut command = redis::cmd(std::str::from_utf8(words[0]).unwrap());
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query(&mut connection).unwrap()
    }

    fn names(&self) -> Vec<String> {
        redis::from_redis_value(self.command(&[b"KEYS", b"*"])).unwrap()
    }
}

fn redis(server: &Server) -> RedisConfig {
    RedisConfig {
        url: Some(Secret::new(server.url())),
        retry_interval: Duration::from_millis(100),
        // Other tests may be hogging the machine.
        timeout: Duration::from_millis(50),
        ..RedisConfig::default()
    }
}

fn start(redis: &RedisConfig) -> (Arc<Cache>, Arc<Tags>) {
    let cfg = CacheConfig {
        memory_limit: 20_000,
        ..CacheConfig::default()
    };
    let cache = Cache::new(&cfg, redis).unwrap();
    cache.start();
    (cache, Tags::new(1 << 20).unwrap())
}

fn stats(cache: &Cache) -> RedisStats {
    let CacheStats { redis, .. } = cache.stats();
    redis.unwrap()
}

async fn until(what: &str, mut so: impl FnMut() -> bool) {
    eventually_async(what, async || so()).await;
}

fn key(cache: &Cache, number: usize) -> Key {
    let mut key = KeyBuilder::new("db");
    key.field(format!("SELECT {number}").as_bytes());
    key.finish(cache.secret())
}

fn terms(level: Level) -> Terms {
    Terms {
        level,
        ttl: Duration::from_secs(60),
        catalogue: 1,
    }
}

fn body(number: usize) -> Bytes {
    let mut body = format!("answer {number} ").into_bytes();
    body.resize(2000, b'.');
    body.into()
}

fn store(cache: &Cache, tags: &Tags, number: usize, level: Level) {
    let stamp = tags.stamp_whole(&[1], tags.picture());
    let answer = Answer {
        row_description: Some(Bytes::from_static(b"T")),
        body: body(number),
        rows: 1,
        cost: Duration::from_millis(1),
    };
    let options = StoreOptions {
        read_at: Moment::now(),
        ttl: Duration::from_secs(60),
        level,
        catalogue: 1,
        database: "db".into(),
        relations: SmallVec::from_slice(&[1]),
        shape: ShapeId(1),
        labels: SmallVec::new(),
    };
    cache.store(&key(cache, number), stamp, answer, options, tags);
}

async fn second(cache: &Cache, tags: &Tags, number: usize, level: Level) -> Option<Arc<Entry>> {
    let key = key(cache, number);
    cache
        .lookup_second(&key, tags, &terms(level), &"db".into())
        .await
}

async fn write_one(cache: &Cache, tags: &Tags, number: usize, level: Level) {
    let before = stats(cache).writes;
    store(cache, tags, number, level);
    until("written", || stats(cache).writes > before).await;
}

async fn connected(cache: &Cache) {
    until("connected", || stats(cache).connected).await;
}

#[tokio::test]
async fn what_memory_has_no_room_for_comes_back_from_redis() {
    let server = Server::start();
    let (cache, tags) = start(&redis(&server));
    connected(&cache).await;
    const ENTRIES: usize = 50;
    for number in 0..ENTRIES {
        store(&cache, &tags, number, Level::Strict);
    }
    until("written", || stats(&cache).writes == ENTRIES as u64).await;
    let mut from_redis = 0;
    for number in 0..ENTRIES {
        let strict = terms(Level::Strict);
        let key = key(&cache, number);
        let entry = match cache.lookup(&key, &tags, &strict, Moment::now()) {
            Lookup::Hit(entry) => entry,
            Lookup::Miss(_) => {
                from_redis += 1;
                second(&cache, &tags, number, Level::Strict).await.unwrap()
            }
        };
        assert_eq!(entry.answer.body, body(number));
        assert_eq!(entry.answer.row_description, Some(Bytes::from_static(b"T")));
    }
    assert!(from_redis > ENTRIES / 2, "{from_redis}");
    let stats = stats(&cache);
    assert_eq!(stats.hits, from_redis as u64);
    assert_eq!(stats.latency.iter().sum::<u64>(), from_redis as u64);
    for name in server.names() {
        let place = name.strip_prefix("pgditto:default:").unwrap();
        assert_eq!(place.len(), 32);
        assert!(place.bytes().all(|b| b.is_ascii_hexdigit()));
    }
}

#[tokio::test]
async fn a_write_voids_what_is_in_redis_too() {
    let server = Server::start();
    let (cache, tags) = start(&redis(&server));
    connected(&cache).await;
    write_one(&cache, &tags, 1, Level::Strict).await;
    assert!(second(&cache, &tags, 1, Level::Strict).await.is_some());
    let footprint = Footprint {
        relations: SmallVec::from_slice(&[1]),
        ..Footprint::default()
    };
    let writer = tags.mark(&footprint, tags.picture());
    assert!(second(&cache, &tags, 1, Level::Strict).await.is_none());
    writer.settle(true);
    assert!(second(&cache, &tags, 1, Level::Strict).await.is_none());
    assert!(second(&cache, &tags, 1, Level::Ttl).await.is_some());
    tags.empty();
    assert!(second(&cache, &tags, 1, Level::Ttl).await.is_none());
    assert_eq!(stats(&cache).unfit, 3);
}

#[tokio::test]
async fn another_process_takes_only_what_age_alone_vouches_for() {
    let server = Server::start();
    let fleet = RedisConfig {
        fleet_name: Some("a*b".into()),
        ..redis(&server)
    };
    let (cache, tags) = start(&fleet);
    connected(&cache).await;
    write_one(&cache, &tags, 1, Level::Strict).await;

    let (other, other_tags) = start(&fleet);
    connected(&other).await;
    assert!(
        second(&other, &other_tags, 1, Level::Strict)
            .await
            .is_none()
    );
    assert!(second(&other, &other_tags, 1, Level::Ttl).await.is_some());
    let key = key(&other, 1);
    let later = Terms {
        catalogue: 2,
        ..terms(Level::Ttl)
    };
    let found = other
        .lookup_second(&key, &other_tags, &later, &"db".into())
        .await;
    assert!(found.is_none(), "read under another catalogue");

    // Without a name nobody vouches that it is the same server.
    let (loner, loner_tags) = start(&redis(&server));
    connected(&loner).await;
    write_one(&loner, &loner_tags, 1, Level::Ttl).await;
    let (stranger, stranger_tags) = start(&redis(&server));
    connected(&stranger).await;
    assert!(
        second(&stranger, &stranger_tags, 1, Level::Ttl)
            .await
            .is_none()
    );

    assert_eq!(server.names().len(), 2);
    cache.flush(&Flush::All);
    until("cleared", || server.names().len() == 1).await;
    assert!(server.names()[0].starts_with("pgditto:default:"));
}

#[tokio::test]
async fn wrong_bytes_and_flushed_values_are_misses() {
    let server = Server::start();
    let (cache, tags) = start(&redis(&server));
    connected(&cache).await;
    write_one(&cache, &tags, 1, Level::Strict).await;
    let name = server.names().remove(0);
    server.command(&[b"SETRANGE", name.as_bytes(), b"300", b"!"]);
    assert!(second(&cache, &tags, 1, Level::Strict).await.is_none());
    server.command(&[b"SET", name.as_bytes(), b"short"]);
    assert!(second(&cache, &tags, 1, Level::Strict).await.is_none());
    assert_eq!(stats(&cache).corrupt, 2);
    server.command(&[b"DEL", name.as_bytes()]);
    server.command(&[b"LPUSH", name.as_bytes(), b"a list"]);
    assert!(second(&cache, &tags, 1, Level::Strict).await.is_none());
    assert_eq!(stats(&cache).errors, 1);
    write_one(&cache, &tags, 1, Level::Strict).await;
    assert!(second(&cache, &tags, 1, Level::Strict).await.is_some());
    server.command(&[b"FLUSHALL"]);
    assert!(second(&cache, &tags, 1, Level::Strict).await.is_none());
    assert_eq!(stats(&cache).absent, 1);
    assert!(stats(&cache).connected);
}

/// What was logged on this thread, by line.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn capture() -> (Self, tracing::subscriber::DefaultGuard) {
        let lines = Self::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    fn count(&self, what: &str) -> usize {
        let text = String::from_utf8(self.0.lock().clone()).unwrap();
        assert!(!text.contains("hush"), "the password stands in the log");
        text.lines().filter(|line| line.contains(what)).count()
    }
}

#[tokio::test]
async fn a_stopped_redis_costs_a_bounded_wait_and_then_nothing() {
    let (lines, _guard) = Lines::capture();
    let server = Server::start();
    let cfg = RedisConfig {
        timeout: Duration::from_millis(5),
        // Long enough that it is the lookups that notice.
        retry_interval: Duration::from_millis(700),
        ..redis(&server)
    };
    let (cache, tags) = start(&cfg);
    connected(&cache).await;
    write_one(&cache, &tags, 1, Level::Strict).await;
    server.0.pause();
    let began = Instant::now();
    while stats(&cache).connected {
        assert!(second(&cache, &tags, 1, Level::Strict).await.is_none());
    }
    let timeouts = stats(&cache).timeouts;
    assert!(timeouts <= 3, "{timeouts}");
    assert!(began.elapsed() < Duration::from_millis(500));
    let began = Instant::now();
    for _ in 0..1000 {
        assert!(second(&cache, &tags, 1, Level::Strict).await.is_none());
        store(&cache, &tags, 2, Level::Strict);
    }
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(stats(&cache).timeouts, timeouts);
    assert_eq!(stats(&cache).dropped, 1000);
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.0.resume();
    connected(&cache).await;
    assert!(second(&cache, &tags, 1, Level::Strict).await.is_some());
    assert_eq!(lines.count("Redis is connected"), 1);
    assert_eq!(lines.count("Redis is away"), 1);
    assert_eq!(lines.count("Redis is back"), 1);
}

#[tokio::test]
async fn a_killed_redis_is_left_alone_and_taken_back() {
    let (lines, _guard) = Lines::capture();
    let mut server = Server::start();
    let (cache, tags) = start(&redis(&server));
    connected(&cache).await;
    write_one(&cache, &tags, 1, Level::Strict).await;
    server.0.stop();
    until("noticed without a lookup", || !stats(&cache).connected).await;
    assert!(second(&cache, &tags, 1, Level::Strict).await.is_none());
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.restart();
    connected(&cache).await;
    // It has forgotten everything, and is of use again.
    assert!(second(&cache, &tags, 1, Level::Strict).await.is_none());
    write_one(&cache, &tags, 1, Level::Strict).await;
    assert!(second(&cache, &tags, 1, Level::Strict).await.is_some());
    assert_eq!(lines.count("Redis is away"), 1);
    assert_eq!(lines.count("Redis is back"), 1);
    assert_eq!(stats(&cache).opened, 1);
}

#[tokio::test]
async fn a_redis_that_was_never_there_is_told_once_and_harms_nobody() {
    let (lines, _guard) = Lines::capture();
    let server = Server::start();
    // TLS towards a port that does not speak it: the provider must be there all the same.
    let url = server.url().replace("redis://", "rediss://");
    let cfg = RedisConfig {
        url: Some(Secret::new(url)),
        retry_interval: Duration::from_millis(20),
        ..redis(&server)
    };
    let (cache, tags) = start(&cfg);
    store(&cache, &tags, 1, Level::Strict);
    assert!(second(&cache, &tags, 1, Level::Strict).await.is_none());
    until("told", || lines.count("Redis is away") == 1).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(lines.count("Redis is away"), 1);
    assert!(!stats(&cache).connected);

    let bad = RedisConfig {
        url: Some(Secret::new("http://:hush@nowhere/")),
        ..RedisConfig::default()
    };
    let error = Cache::new(&CacheConfig::default(), &bad).err().unwrap();
    assert!(!error.to_string().contains("hush"));
    let none = Cache::new(&CacheConfig::default(), &RedisConfig::default()).unwrap();
    none.start();
    assert!(none.stats().redis.is_none());
    assert!(second(&none, &tags, 1, Level::Ttl).await.is_none());
}
