//! Who gets which connection, and in which order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use pgditto::upstream::{Lease, Past, Pool, Prepared, Settings, Told, Wish, restore_sql};
use tokio::sync::Barrier;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{lease, pool, try_lease, value};
use crate::fixture::{DEADLINE, Postgres, eventually, eventually_async};

#[tokio::test(flavor = "multi_thread")]
async fn connection_is_used_again_and_remembers_its_state() {
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |_| {});
    let mut first = lease(&pool).await;
    assert_eq!(
        value(&mut first, "SELECT pg_backend_pid()").await,
        first.pid.to_string()
    );
    assert_eq!(first.parameters["client_encoding"], "UTF8");
    assert!(!first.key.is_empty());
    let pid = first.pid;
    let prepared = Prepared {
        at: std::time::Instant::now(),
        told: Told::default(),
    };
    assert!(first.prepared.insert(7, prepared).is_none());
    first.finish(true);
    let mut second = lease(&pool).await;
    assert_eq!(second.pid, pid);
    assert!(second.prepared.get(7).is_some());
    assert_eq!(pool.servers().len(), 1);
    assert_eq!(pool.servers()[0].state.as_str(), "active");
    assert_eq!(pool.servers()[0].pid, pid);
    // Dropped without a word it is not clean.
    drop(second);
    eventually("the dirty one is closed", || pool.servers().is_empty());
    assert_ne!(lease(&pool).await.pid, pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_sessions_share_ten_connections_fairly() {
    const SESSIONS: usize = 64;
    const STATEMENTS: usize = 40;
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |config| config.pool.default_pool_size = 10);
    let done: Arc<Vec<AtomicUsize>> = Arc::new((0..SESSIONS).map(|_| 0.into()).collect());
    let slowest_at_first_end = Arc::new(Mutex::new(None));
    let all_there = Arc::new(Barrier::new(SESSIONS));
    let sessions: Vec<_> = (0..SESSIONS)
        .map(|session| {
            let (pool, done) = (Arc::clone(&pool), Arc::clone(&done));
            let all_there = Arc::clone(&all_there);
            let slowest_at_first_end = Arc::clone(&slowest_at_first_end);
            tokio::spawn(async move {
                all_there.wait().await;
                for _ in 0..STATEMENTS {
                    let mut lease = lease(&pool).await;
                    assert_eq!(value(&mut lease, "SELECT 1").await, "1");
                    lease.finish(true);
                    done[session].fetch_add(1, Ordering::SeqCst);
                }
                let slowest = done.iter().map(|done| done.load(Ordering::SeqCst)).min();
                let mut first = slowest_at_first_end.lock();
                *first = first.or(slowest);
            })
        })
        .collect();
    for session in sessions {
        session.await.expect("every session is served");
    }
    let slowest = slowest_at_first_end.lock().expect("somebody was first");
    assert!(
        slowest >= STATEMENTS / 2,
        "when the first had {STATEMENTS}, one had {slowest}"
    );
    assert!(pool.servers().len() <= 10);
    assert_eq!(pool.stats().leases_total, (SESSIONS * STATEMENTS) as u64);
}

/// Begins to wait for a lease and returns when it stands in the queue.
async fn queue_up<T: Send + 'static>(
    pool: &Arc<Pool>,
    then: impl FnOnce(Lease) -> T + Send + 'static,
) -> JoinHandle<T> {
    let before = pool.stats().cl_waiting;
    let waiting = Arc::clone(pool);
    let task = tokio::spawn(async move { then(lease(&waiting).await) });
    let queued = async || pool.stats().cl_waiting == before + 1;
    eventually_async("one more waits", queued).await;
    task
}

#[tokio::test(flavor = "multi_thread")]
async fn waiters_are_served_in_the_order_in_which_they_came() {
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |config| config.pool.default_pool_size = 1);
    let held = lease(&pool).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiters = Vec::new();
    for number in 0..8 {
        let order = Arc::clone(&order);
        let record = move |lease: Lease| {
            order.lock().push(number);
            lease.finish(true);
        };
        waiters.push(queue_up(&pool, record).await);
    }
    assert!(pool.stats().maxwait > Duration::ZERO);
    held.finish(true);
    for waiter in waiters {
        waiter.await.expect("served");
    }
    assert_eq!(*order.lock(), (0..8).collect::<Vec<_>>());
    assert_eq!(pool.servers().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiter_that_goes_away_costs_no_connection() {
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |config| config.pool.default_pool_size = 1);
    let held = lease(&pool).await;
    let pid = held.pid;

    // One that leaves while it waits.
    let gone = queue_up(&pool, drop).await;
    gone.abort();
    assert!(gone.await.is_err());
    eventually("its place is free", || pool.stats().cl_waiting == 0);

    // One that leaves when the connection was handed to it already.
    let wish = Wish::default();
    let mut handed = Box::pin(pool.lease(&wish, Instant::now() + DEADLINE));
    assert!((&mut handed).now_or_never().is_none());
    held.finish(true);
    let stats = pool.stats();
    assert_eq!((stats.sv_active, stats.sv_idle), (1, 0));
    drop(handed);
    let stats = pool.stats();
    assert_eq!(
        (stats.sv_active, stats.sv_idle, stats.cl_waiting),
        (0, 1, 0)
    );
    assert_eq!(lease(&pool).await.pid, pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_chosen_by_what_is_on_them() {
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |_| {});
    let berlin = Settings::none().with("TimeZone", "Europe/Berlin").unwrap();
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(lease(&pool).await);
    }
    let pids: Vec<u32> = held.iter().map(|lease| lease.pid).collect();
    held[0].holds_state_of = Some(7);
    held[1].applied = berlin.clone();
    held[2].defaults = Some(1);
    for lease in held {
        lease.finish(true);
    }
    let wish = |session, settings: &Settings, defaults| Wish {
        session,
        settings: settings.clone(),
        defaults,
        ..Wish::default()
    };
    let none = Settings::none();
    for (wish, expected) in [
        // The plain ones suit alike: the one that came back last.
        (wish(1, &none, None), pids[3]),
        (wish(7, &berlin, None), pids[0]),
        (wish(1, &berlin, None), pids[1]),
        (wish(1, &none, Some(1)), pids[2]),
        // The same defaults are worth more than the same settings.
        (wish(1, &berlin, Some(1)), pids[2]),
    ] {
        let chosen = pool.lease(&wish, Instant::now() + DEADLINE).await;
        let chosen = chosen.expect("a lease");
        assert_eq!(chosen.pid, expected, "{wish:?}");
        chosen.finish(true);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_travel_whatever_characters_they_hold() {
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |_| {});
    let mut lease = lease(&pool).await;
    let deadline = || Instant::now() + DEADLINE;
    // Everything that could make a quote mean something else.
    let awkward = Settings::none()
        .with("client_encoding", "SJIS")
        .and_then(|s| s.with("standard_conforming_strings", "off"))
        .and_then(|s| s.with("backslash_quote", "off"))
        .and_then(|s| s.with("search_path", "\"we\"\"ird\", public"))
        .and_then(|s| s.with("my.text", "あ'\\'; DROP TABLE x; --\n\t\u{7f}"))
        .unwrap();
    let sql = restore_sql(&Settings::none(), &awkward).expect("a difference");
    lease.simple(&sql, deadline()).await.expect("valid SQL");
    assert_eq!(lease.parameters["client_encoding"], "SJIS");

    let plain = Settings::none().with("my.text", "ünï'\\cödé").unwrap();
    let sql = restore_sql(&awkward, &plain).expect("a difference");
    lease.simple(&sql, deadline()).await.expect("valid SQL");
    assert_eq!(lease.parameters["client_encoding"], "UTF8");
    let read = value(&mut lease, "SELECT current_setting('my.text')").await;
    assert_eq!(read, "ünï'\\cödé");
    assert_eq!(
        value(&mut lease, "SHOW standard_conforming_strings").await,
        "on"
    );
    assert_eq!(
        value(&mut lease, "SHOW search_path").await,
        "\"$user\", public"
    );

    // And once more with the awkward text, read where it can be.
    let text = awkward.get("my.text").expect("set").to_owned();
    let only_text = Settings::none().with("my.text", &text).unwrap();
    let sql = restore_sql(&plain, &only_text).expect("a difference");
    lease.simple(&sql, deadline()).await.expect("valid SQL");
    assert_eq!(
        value(&mut lease, "SELECT current_setting('my.text')").await,
        text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_taken_on_and_off_in_the_right_order() {
    let postgres = Postgres::start(&[]);
    postgres.psql("CREATE ROLE \"we ird\"; CREATE ROLE other SUPERUSER");
    let pools = super::pools(postgres.port, |_| {});
    let pool = pools.get("app", "postgres").expect("a pool");
    let mut lease = lease(&pool).await;
    let deadline = Instant::now() + DEADLINE;
    let as_other = Settings::none()
        .with("session_authorization", "other")
        .and_then(|s| s.with("role", "we ird"))
        .and_then(|s| s.with("log_statement", "all"))
        .unwrap();
    let back = Settings::none().with("log_statement", "ddl").unwrap();
    let there = restore_sql(&Settings::none(), &as_other).expect("a difference");
    lease.simple(&there, deadline).await.expect("valid SQL");
    let who = "SELECT session_user || '/' || current_user";
    assert_eq!(value(&mut lease, who).await, "other/we ird");
    let home = restore_sql(&as_other, &back).expect("a difference");
    lease.simple(&home, deadline).await.expect("valid SQL");
    assert_eq!(value(&mut lease, who).await, "postgres/postgres");
    assert_eq!(value(&mut lease, "SHOW log_statement").await, "ddl");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_used_goes_to_bb8_and_ages_there() {
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |config| {
        config.pool.server_idle_timeout = Duration::from_secs(1);
    });
    let mut first = lease(&pool).await;
    let second = lease(&pool).await;
    let pid = first.pid;
    first.holds_state_of = Some(3);
    first.finish(true);
    second.finish(true);
    eventually("both are put away", || pool.stats().sv_used == 2);
    // A session finds its state even there.
    let wish = Wish {
        session: 3,
        ..Wish::default()
    };
    let own = pool
        .lease(&wish, Instant::now() + DEADLINE)
        .await
        .expect("a lease");
    assert_eq!(own.pid, pid);
    own.finish(true);
    eventually("both are closed", || pool.servers().is_empty());
    assert!(try_lease(&pool).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_needs_a_process_without_a_past_waits_its_turn_and_gets_one_in_the_place_of_another() {
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |config| config.pool.default_pool_size = 1);
    let wish = Wish {
        past: Past::Nothing,
        ..Wish::default()
    };
    let first = pool
        .lease(&wish, Instant::now() + DEADLINE)
        .await
        .expect("a lease");
    assert!(first.is_first());
    let used = first.pid;
    let waiting = {
        let (pool, wish) = (Arc::clone(&pool), wish.clone());
        tokio::spawn(async move { pool.lease(&wish, Instant::now() + DEADLINE).await })
    };
    eventually_async("it waits", async || pool.stats().cl_waiting == 1).await;
    first.finish(true);
    let own = waiting.await.expect("no panic").expect("a lease");
    assert!(own.is_first());
    assert_ne!(own.pid, used);
    assert_eq!(pool.servers().len(), 1);
    let own_pid = own.pid;
    own.finish(true);
    // Others may have it afterwards.
    let next = lease(&pool).await;
    assert_eq!(next.pid, own_pid);
    assert!(!next.is_first());
    assert_eq!(pool.servers().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_a_temporary_schema_is_chosen_before_one_is_opened() {
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |config| config.pool.default_pool_size = 2);
    let plain = lease(&pool).await;
    let mut temporary = lease(&pool).await;
    temporary.has_temporary_schema = true;
    let pids = [plain.pid, temporary.pid];
    plain.finish(true);
    temporary.finish(true);
    let wish = Wish {
        past: Past::NoTemporarySchema,
        ..Wish::default()
    };
    let lease = pool
        .lease(&wish, Instant::now() + DEADLINE)
        .await
        .expect("a lease");
    assert_eq!(lease.pid, pids[0]);
    let other = pool
        .lease(&wish, Instant::now() + DEADLINE)
        .await
        .expect("a lease");
    assert!(!pids.contains(&other.pid));
    assert_eq!(pool.servers().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_in_a_storm() {
    const SIZE: usize = 4;
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |config| {
        config.pool.default_pool_size = SIZE;
        config.pool.max_pinned_connections = Some(2);
    });
    let seed: u64 = 0x9e37_79b9_7f4a_7c15;
    println!("seed {seed:#x}");
    let sessions: Vec<_> = (0..32)
        .map(|session| {
            let pool = Arc::clone(&pool);
            let mut state = seed ^ session;
            let mut random = move |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            tokio::spawn(async move {
                for _ in 0..60 {
                    let wish = Wish {
                        session,
                        ..Wish::default()
                    };
                    let lease = pool.lease(&wish, Instant::now() + DEADLINE);
                    let patience = Duration::from_micros(random(20_000));
                    let Ok(lease) = tokio::time::timeout(patience, lease).await else {
                        continue;
                    };
                    let mut lease = lease.expect("a lease");
                    match random(10) {
                        0 => drop(lease),
                        1 => {
                            lease.pin();
                            assert_eq!(value(&mut lease, "SELECT 1").await, "1");
                            lease.finish(true);
                        }
                        2 => {
                            lease.holds_state_of = Some(session);
                            lease.finish(true);
                        }
                        3 => pool.reconnect(),
                        4 => {
                            let deadline = Instant::now() + Duration::from_micros(random(200));
                            let clean = lease.simple("SELECT 1", deadline).await.is_ok();
                            lease.finish(clean);
                        }
                        _ => {
                            assert_eq!(value(&mut lease, "SELECT 1").await, "1");
                            lease.finish(true);
                        }
                    }
                }
            })
        })
        .collect();
    for session in sessions {
        session.await.expect("no session fails");
    }
    eventually("the books balance", || {
        let stats = pool.stats();
        let idle = stats.sv_idle + stats.sv_used;
        (
            stats.sv_active,
            stats.cl_waiting,
            stats.pinned,
            stats.sv_login,
        ) == (0, 0, 0, 0)
            && pool.servers().len() == idle
            && idle <= SIZE
    });
    let mut all = Vec::new();
    for _ in 0..SIZE {
        all.push(lease(&pool).await);
    }
    let count = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
    eventually("the server counts the same", || {
        postgres.psql(count) == SIZE.to_string()
    });
}
