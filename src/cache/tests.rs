//! The cache from outside: levels, ages, flushes, flights, and counters under threads.

use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use smallvec::SmallVec;

use super::*;
use crate::catalog::{Footprint, RelationOid};
use crate::sql::ShapeId;

fn cache() -> Arc<Cache> {
    with(CacheConfig::default())
}

fn with(cfg: CacheConfig) -> Arc<Cache> {
    Cache::new(&cfg, &RedisConfig::default()).unwrap()
}

fn key(cache: &Cache, text: &str) -> Key {
    let mut key = KeyBuilder::new("db");
    key.field(text.as_bytes());
    key.finish(cache.secret())
}

fn answer(bytes: usize) -> Answer {
    Answer {
        row_description: Some(Bytes::from_static(b"T")),
        body: vec![b'D'; bytes].into(),
        rows: 1,
        cost: Duration::from_millis(1),
    }
}

fn options(level: Level, read_at: Moment) -> StoreOptions {
    StoreOptions {
        read_at,
        ttl: Duration::from_secs(60),
        level,
        catalogue: 7,
        database: "db".into(),
        relations: SmallVec::from_slice(&[1]),
        shape: ShapeId(5),
        labels: SmallVec::from_iter([Box::from("label")]),
    }
}

fn terms(level: Level) -> Terms {
    Terms {
        level,
        ttl: Duration::from_secs(60),
        catalogue: 7,
    }
}

fn on(oid: RelationOid) -> Footprint {
    Footprint {
        relations: SmallVec::from_slice(&[oid]),
        ..Footprint::default()
    }
}

fn fill(cache: &Cache, tags: &Tags, key: &Key, level: Level) -> Arc<Entry> {
    let read_at = Moment::now();
    let stamp = tags.stamp(&[1], tags.picture());
    cache.store(key, stamp, answer(10), options(level, read_at), tags)
}

fn look(cache: &Cache, tags: &Tags, key: &Key, level: Level) -> Option<Miss> {
    match cache.lookup(key, tags, &terms(level), Moment::now()) {
        Lookup::Hit(_) => None,
        Lookup::Miss(miss) => Some(miss),
    }
}

#[test]
fn strict_serves_until_a_write_and_ttl_beyond_it() {
    let (cache, tags) = (cache(), Tags::new().unwrap());
    let key = key(&cache, "q");
    assert_eq!(look(&cache, &tags, &key, Level::Strict), Some(Miss::Absent));
    fill(&cache, &tags, &key, Level::Strict);
    assert_eq!(look(&cache, &tags, &key, Level::Strict), None);
    let writer = tags.mark(&on(1), tags.picture());
    assert_eq!(look(&cache, &tags, &key, Level::Strict), Some(Miss::Marked));
    assert_eq!(look(&cache, &tags, &key, Level::Ttl), None);
    writer.settle(true);
    assert_eq!(look(&cache, &tags, &key, Level::Strict), Some(Miss::Stale));
    assert_eq!(look(&cache, &tags, &key, Level::Ttl), None);
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses()), (3, 3));
    assert_eq!((stats.stale, stats.marked, stats.absent), (1, 1, 1));
}

#[test]
fn an_answer_is_not_kept_when_a_write_came_between() {
    let (cache, tags) = (cache(), Tags::new().unwrap());
    let key = key(&cache, "q");
    let (read_at, stamp) = (Moment::now(), tags.stamp(&[1], tags.picture()));
    tags.mark(&on(1), tags.picture()).settle(true);
    cache.store(
        &key,
        stamp,
        answer(1),
        options(Level::Strict, read_at),
        &tags,
    );
    assert_eq!(look(&cache, &tags, &key, Level::Strict), Some(Miss::Absent));
    assert_eq!(cache.stats().refused, 1);
}

#[test]
fn a_ttl_fill_under_a_mark_never_serves_strict() {
    let (cache, tags) = (cache(), Tags::new().unwrap());
    let key = key(&cache, "q");
    let writer = tags.mark(&on(1), tags.picture());
    fill(&cache, &tags, &key, Level::Ttl);
    assert_eq!(look(&cache, &tags, &key, Level::Ttl), None);
    writer.settle(false);
    assert_eq!(look(&cache, &tags, &key, Level::Strict), Some(Miss::Stale));
}

#[test]
fn no_level_serves_across_a_change_of_the_catalogue() {
    let (cache, tags) = (cache(), Tags::new().unwrap());
    let key = key(&cache, "q");
    fill(&cache, &tags, &key, Level::Ttl);
    let other = Terms {
        catalogue: 8,
        ..terms(Level::Ttl)
    };
    assert!(matches!(
        cache.lookup(&key, &tags, &other, Moment::now()),
        Lookup::Miss(Miss::Stale)
    ));
    tags.widen_in_flight();
    assert_eq!(look(&cache, &tags, &key, Level::Ttl), Some(Miss::Stale));
}

#[test]
fn an_entry_is_served_while_it_is_younger_than_both_ages() {
    let (cache, tags) = (cache(), Tags::new().unwrap());
    let key = key(&cache, "q");
    fill(&cache, &tags, &key, Level::Strict);
    let at = |terms: &Terms, after: u64| {
        let now = Moment::now() + Duration::from_secs(after);
        matches!(cache.lookup(&key, &tags, terms, now), Lookup::Hit(_))
    };
    let impatient = Terms {
        ttl: Duration::from_secs(5),
        ..terms(Level::Ttl)
    };
    assert!(at(&impatient, 4));
    assert!(!at(&impatient, 6));
    assert!(at(&terms(Level::Strict), 50));
    assert!(!at(&terms(Level::Strict), 61));
    // Beyond its own age it is gone, not only unfit for this reader.
    assert_eq!(look(&cache, &tags, &key, Level::Strict), Some(Miss::Absent));
}

#[test]
fn two_keys_with_one_hash_do_not_answer_for_each_other() {
    let (cache, tags) = (cache(), Tags::new().unwrap());
    let one = key(&cache, "one");
    let two = one.colliding(b"two");
    fill(&cache, &tags, &one, Level::Strict);
    assert_eq!(look(&cache, &tags, &two, Level::Strict), Some(Miss::Absent));
    assert!(matches!(cache.flight(&one, &tags), Flight::Lead(_)));
    let _leader = cache.flight(&one, &tags);
    assert!(matches!(cache.flight(&two, &tags), Flight::Full));
}

#[test]
fn a_flush_voids_what_it_names_and_fills_under_way() {
    let (cache, tags) = (cache(), Tags::new().unwrap());
    let key = key(&cache, "q");
    for what in [
        Flush::All,
        Flush::Relation(1),
        Flush::Label("label".into()),
        Flush::Shape(ShapeId(5)),
    ] {
        fill(&cache, &tags, &key, Level::Ttl);
        assert_eq!(look(&cache, &tags, &key, Level::Ttl), None, "{what:?}");
        let (read_at, stamp) = (Moment::now(), tags.stamp(&[1], tags.picture()));
        cache.flush(&what);
        assert!(look(&cache, &tags, &key, Level::Ttl).is_some(), "{what:?}");
        cache.store(&key, stamp, answer(1), options(Level::Ttl, read_at), &tags);
        assert_eq!(
            look(&cache, &tags, &key, Level::Ttl),
            Some(Miss::Flushed),
            "{what:?}"
        );
    }
    fill(&cache, &tags, &key, Level::Ttl);
    cache.flush(&Flush::Relation(2));
    cache.flush(&Flush::Label("other".into()));
    cache.flush(&Flush::Shape(ShapeId(6)));
    assert_eq!(look(&cache, &tags, &key, Level::Ttl), None);
}

#[test]
fn reloaded_limits_hold_at_once_and_what_fits_stays() {
    let config = |memory_limit, max_entry_size| CacheConfig {
        memory_limit,
        max_entry_size,
        ..CacheConfig::default()
    };
    let cache = with(config(1_000_000, 10_000));
    let tags = Tags::new().unwrap();
    let store = |number: u32, bytes| {
        let key = key(&cache, &number.to_string());
        let stamp = tags.stamp(&[1], tags.picture());
        let options = options(Level::Strict, Moment::now());
        cache.store(&key, stamp, answer(bytes), options, &tags);
        key
    };
    let keys: Vec<_> = (0..100).map(|number| store(number, 1000)).collect();
    let found = || {
        let hit = |key: &&Key| look(&cache, &tags, key, Level::Strict).is_none();
        keys.iter().filter(hit).count()
    };
    assert_eq!(found(), 100);
    cache.reload(&config(2_000_000, 20_000));
    assert_eq!(found(), 100);
    assert_eq!(cache.stats().bytes_max, 2_000_000);
    let large = store(1000, 15_000);
    assert_eq!(look(&cache, &tags, &large, Level::Strict), None);
    cache.reload(&config(30_000, 10_000));
    assert!((1..30).contains(&found()), "{}", found());
    store(1001, 15_000);
    assert_eq!(cache.stats().too_large, 1);
    // What moved is invalidated, flushed and counted as before.
    tags.mark(&on(1), tags.picture()).settle(true);
    assert_eq!(found(), 0);
}

#[test]
fn memory_is_bounded_in_bytes_and_what_is_too_large_is_not_kept() {
    let cache = with(CacheConfig {
        memory_limit: 100_000,
        max_entry_size: 10_000,
        ..CacheConfig::default()
    });
    let tags = Tags::new().unwrap();
    for number in 0..1000 {
        let key = key(&cache, &number.to_string());
        let stamp = tags.stamp(&[1], tags.picture());
        let options = options(Level::Strict, Moment::now());
        cache.store(&key, stamp, answer(1000), options, &tags);
    }
    cache.memory.tidy();
    let stats = cache.stats();
    assert!(stats.evictions > 0);
    assert_eq!(stats.stores, 1000);
    // What is dropped is freed a little later.
    assert!(stats.entries < 500, "{stats:?}");
    let stamp = tags.stamp(&[1], tags.picture());
    let options = options(Level::Strict, Moment::now());
    let key = key(&cache, "large");
    cache.store(&key, stamp, answer(10_001), options, &tags);
    assert_eq!(cache.stats().too_large, 1);
}

#[test]
fn counts_by_relation_and_shape_follow_the_entries() {
    let (cache, tags) = (cache(), Tags::new().unwrap());
    let key = key(&cache, "q");
    fill(&cache, &tags, &key, Level::Strict);
    look(&cache, &tags, &key, Level::Strict);
    tags.mark(&on(1), tags.picture()).settle(true);
    look(&cache, &tags, &key, Level::Strict);
    let relations = cache.per_relation();
    assert_eq!(relations.len(), 1);
    let tally = relations[0].tally;
    assert_eq!((&*relations[0].database, relations[0].relation), ("db", 1));
    assert_eq!((tally.hits, tally.stale, tally.stores), (1, 1, 1));
    assert_eq!(tally.entries, 1);
    assert!(tally.bytes > entry::OVERHEAD_BYTES as u64);
    assert_eq!(cache.per_shape()[0].tally, tally);
}

fn lead(cache: &Arc<Cache>, tags: &Tags, key: &Key) -> Leader {
    match cache.flight(key, tags) {
        Flight::Lead(leader) => leader,
        _ => panic!("not the first"),
    }
}

fn follow(cache: &Arc<Cache>, tags: &Tags, key: &Key) -> Follower {
    match cache.flight(key, tags) {
        Flight::Follow(follower) => follower,
        _ => panic!("not a follower"),
    }
}

#[tokio::test]
async fn who_joined_before_the_query_was_sent_takes_the_answer_whatever_happens() {
    let (cache, tags) = (cache(), Tags::new().unwrap());
    let key = key(&cache, "q");
    let leader = lead(&cache, &tags, &key);
    let early = follow(&cache, &tags, &key);
    let stamp = tags.stamp(&[1], tags.picture());
    leader.sent(&stamp);
    let late = follow(&cache, &tags, &key);
    tags.mark(&on(1), tags.picture()).settle(true);
    // A write has overtaken the answer: it has no use for who comes now.
    assert!(matches!(cache.flight(&key, &tags), Flight::Full));
    let entry = cache.store(
        &key,
        stamp,
        answer(1),
        options(Level::Strict, Moment::now()),
        &tags,
    );
    leader.finish(Some(entry));
    let terms = terms(Level::Strict);
    assert!(early.wait(&tags, &terms).await.is_some());
    assert!(late.wait(&tags, &terms).await.is_none());
    assert_eq!(cache.stats().flights.shared, 1);
    assert_eq!(cache.stats().flights.flying, 0);
}

#[tokio::test]
async fn who_joined_later_takes_an_answer_that_the_cache_could_serve() {
    let (cache, tags) = (cache(), Tags::new().unwrap());
    let key = key(&cache, "q");
    let leader = lead(&cache, &tags, &key);
    let stamp = tags.stamp(&[1], tags.picture());
    leader.sent(&stamp);
    let late = follow(&cache, &tags, &key);
    let options = options(Level::Strict, Moment::now());
    leader.finish(Some(cache.store(&key, stamp, answer(1), options, &tags)));
    assert!(late.wait(&tags, &terms(Level::Strict)).await.is_some());
}

#[tokio::test]
async fn followers_are_bounded_in_number_and_time_and_survive_their_leader() {
    let cache = with(CacheConfig {
        single_flight_waiters: 2,
        single_flight_timeout: Duration::from_millis(20),
        ..CacheConfig::default()
    });
    let tags = Tags::new().unwrap();
    let key = key(&cache, "q");
    let leader = lead(&cache, &tags, &key);
    let followers = [follow(&cache, &tags, &key), follow(&cache, &tags, &key)];
    assert!(matches!(cache.flight(&key, &tags), Flight::Full));
    drop(leader);
    for follower in followers {
        assert!(follower.wait(&tags, &terms(Level::Strict)).await.is_none());
    }
    let leader = lead(&cache, &tags, &key);
    let follower = follow(&cache, &tags, &key);
    assert!(follower.wait(&tags, &terms(Level::Strict)).await.is_none());
    assert_eq!(cache.stats().flights.timed_out, 1);
    drop(leader);
}

/// Real threads on the real counters: a value that writers count up under the
/// protocol must never be served older than what was acknowledged.
#[test]
fn threads_never_see_an_answer_older_than_an_acknowledged_write() {
    const WRITES: u64 = 20_000;
    let tags = Tags::new().unwrap();
    let database = AtomicU64::new(0);
    let acknowledged = AtomicU64::new(0);
    let entry: parking_lot::Mutex<Option<(Stamp, u64)>> = parking_lot::Mutex::new(None);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..WRITES {
                        let writer = tags.mark(&on(1), tags.picture());
                        let value = database.fetch_add(1, Ordering::AcqRel) + 1;
                        writer.settle(true);
                        acknowledged.fetch_max(value, Ordering::AcqRel);
                    }
                })
            })
            .collect();
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut hits = 0_u64;
                    while !over.load(Ordering::Relaxed) {
                        let floor = acknowledged.load(Ordering::Acquire);
                        let cached = entry.lock().clone();
                        if let Some((stamp, value)) = cached
                            && tags.fit(&stamp) == Fit::Fresh
                        {
                            assert!(value >= floor, "{value} served, {floor} acknowledged");
                            acknowledged.fetch_max(value, Ordering::AcqRel);
                            hits += 1;
                            continue;
                        }
                        let stamp = tags.stamp(&[1], tags.picture());
                        let value = database.load(Ordering::Acquire);
                        if tags.fit(&stamp) == Fit::Fresh {
                            *entry.lock() = Some((stamp, value));
                        }
                    }
                    hits
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
        over.store(true, Ordering::Relaxed);
        let hits: u64 = readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .sum();
        assert!(hits > 0);
    });
    let reading = tags.reading(TagId::Table(1));
    assert_eq!(reading.version(), 2 * WRITES);
    assert_eq!(reading.writers(), 0);
    assert_eq!(tags.stats().writers, 0);
}
