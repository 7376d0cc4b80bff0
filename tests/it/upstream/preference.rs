//! Sessions that prefer a connection: they get it while that costs nobody anything.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use pgditto::upstream::{Lease, LeaseError, Pool, Wish};
use tokio::time::Instant;

use super::script::Script;
use super::{app_of, pool, pools, value};
use crate::fixture::{DEADLINE, Postgres, eventually, eventually_async};

async fn try_lease_of(pool: &Arc<Pool>, session: u64) -> Result<Lease, LeaseError> {
    let wish = Wish {
        session,
        ..Wish::default()
    };
    pool.lease(&wish, Instant::now() + DEADLINE).await
}

async fn lease_of(pool: &Arc<Pool>, session: u64) -> Lease {
    try_lease_of(pool, session).await.expect("a lease")
}

/// Which connection a session gets, and gives back at once.
async fn pid_of(pool: &Arc<Pool>, session: u64) -> u32 {
    let lease = lease_of(pool, session).await;
    let pid = lease.pid;
    lease.finish(true);
    pid
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_pool_has_room_each_session_keeps_the_connection_that_it_prefers() {
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |config| config.pool.default_pool_size = 3);
    let mut first = lease_of(&pool, 1).await;
    let (one, _one) = (first.pid, first.prefer(1));
    first.finish(true);
    let mut second = lease_of(&pool, 2).await;
    let (two, _two) = (second.pid, second.prefer(2));
    second.finish(true);
    assert_ne!(one, two, "another was opened");
    let third = pid_of(&pool, 3).await;
    assert!(third != one && third != two, "and one more");
    // By the order in which they came back each would get another's.
    for _ in 0..3 {
        assert_eq!(pid_of(&pool, 1).await, one);
        assert_eq!(pid_of(&pool, 2).await, two);
        assert_eq!(pid_of(&pool, 4).await, third, "nobody prefers it");
    }
    assert_eq!(pool.servers().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_full_pool_anybody_gets_at_once_what_another_prefers() {
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |config| config.pool.default_pool_size = 2);
    let mut held = [lease_of(&pool, 1).await, lease_of(&pool, 2).await];
    let pids = [held[0].pid, held[1].pid];
    let _preferences = [held[0].prefer(1), held[1].prefer(2)];
    held.into_iter().for_each(|lease| lease.finish(true));
    for session in 3..20 {
        let wish = Wish {
            session,
            ..Wish::default()
        };
        let lease = pool.lease(&wish, Instant::now() + DEADLINE);
        let lease = lease.now_or_never().expect("without waiting");
        lease.expect("a lease").finish(true);
    }
    assert_eq!(pid_of(&pool, 1).await, pids[0], "it is no worse off later");
    assert_eq!(pid_of(&pool, 2).await, pids[1]);
    // The session of the other one has to take what there is, too.
    let taken = lease_of(&pool, 1).await;
    let other = lease_of(&pool, 1).await;
    assert_eq!((taken.pid, other.pid), (pids[0], pids[1]));
    assert_eq!(pool.servers().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_database_gives_away_what_a_session_prefers() {
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |config| config.pool.max_db_connections = 1);
    let mut first = lease_of(&pool, 1).await;
    let (pid, _preference) = (first.pid, first.prefer(1));
    first.finish(true);
    let wish = Wish::default();
    let lease = pool.lease(&wish, Instant::now() + DEADLINE).now_or_never();
    let lease = lease.expect("without waiting").expect("a lease");
    assert_eq!(lease.pid, pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preference_lasts_as_long_as_it_is_kept() {
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |_| {});
    let mut first = lease_of(&pool, 1).await;
    let (pid, preference) = (first.pid, first.prefer(1));
    assert!(Arc::ptr_eq(&preference, &first.prefer(1)), "it is the same");
    first.finish(true);
    assert_ne!(pid_of(&pool, 2).await, pid);
    drop(preference);
    let mut used = [lease_of(&pool, 2).await, lease_of(&pool, 2).await];
    assert!(used.iter().any(|lease| lease.pid == pid));
    assert_eq!(pool.servers().len(), 2, "none was opened");

    // Whoever asks last on a connection prefers it.
    let (earlier, later) = (used[0].prefer(1), used[0].prefer(2));
    let theirs = used[0].pid;
    used.into_iter().for_each(|lease| lease.finish(true));
    assert_ne!(pid_of(&pool, 1).await, theirs);
    assert_eq!(pid_of(&pool, 2).await, theirs);
    drop((earlier, later));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_preferred_connection_died_is_served_by_another() {
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |_| {});
    let mut first = lease_of(&pool, 1).await;
    let (pid, preference) = (first.pid, first.prefer(1));
    first.finish(true);
    postgres.terminate(&pid.to_string());
    let mut next = lease_of(&pool, 1).await;
    assert_ne!(next.pid, pid);
    assert_eq!(value(&mut next, "SELECT 1").await, "1");
    let (pid, _preference) = (next.pid, next.prefer(1));
    drop(preference);
    next.finish(true);
    assert_ne!(pid_of(&pool, 2).await, pid);
    assert_eq!(pid_of(&pool, 1).await, pid, "it prefers the new one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preferred_connection_is_found_where_it_ages_and_still_ages() {
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |config| {
        config.pool.server_idle_timeout = Duration::from_secs(1);
    });
    let mut held = [lease_of(&pool, 1).await, lease_of(&pool, 2).await];
    let (pid, _preference) = (held[0].pid, held[0].prefer(1));
    held.into_iter().for_each(|lease| lease.finish(true));
    eventually("both are put away", || pool.stats().sv_used == 2);
    assert_eq!(pid_of(&pool, 1).await, pid);
    eventually("both are closed", || pool.servers().is_empty());
    assert_ne!(pid_of(&pool, 1).await, pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_other_can_be_opened_the_preferred_one_serves() {
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |_| {});
    let mut first = lease_of(&pool, 1).await;
    let (pid, _preference) = (first.pid, first.prefer(1));
    first.finish(true);
    postgres.psql("ALTER ROLE app NOLOGIN");
    let served: Vec<u32> = [pid_of(&pool, 2).await, pid_of(&pool, 3).await].into();
    assert_eq!(served, [pid, pid], "and nobody hears of the failed login");
    assert!(pool.stats().connect_errors_total > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_login_that_does_not_end_gets_what_another_prefers() {
    let script = Script::new().await;
    let pools = pools(script.port(), |_| {});
    let pool = app_of(&pools);
    let opened = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { lease_of(&pool, 1).await }
    });
    let mut peer = script.accept().await;
    peer.startup().await;
    peer.welcome(11).await;
    let mut first = opened.await.expect("served");
    let _preference = first.prefer(1);
    first.finish(true);

    let waiting = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { lease_of(&pool, 2).await }
    });
    // The server takes the connection and says nothing.
    let _silent = script.accept().await;
    // The session whose it is goes past the one that waits for a connection of its own.
    let own = lease_of(&pool, 1).now_or_never();
    if let Some(own) = own {
        assert_eq!(own.pid, 11);
        own.finish(true);
    } else {
        assert!(waiting.is_finished(), "it was the other's turn already");
    }
    let other = waiting.await.expect("served in the end");
    assert_eq!(other.pid, 11);
    // And who waits for one that is leased gets it when it comes back.
    let queued = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { lease_of(&pool, 1).await }
    });
    eventually_async("it waits", async || pool.stats().cl_waiting == 1).await;
    other.finish(true);
    assert_eq!(queued.await.expect("served").pid, 11);
}
