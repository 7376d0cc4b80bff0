//! Limits: sizes, pins, the reserve, and many users on one database.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use pgditto::config::UserConfig;
use pgditto::upstream::{LeaseError, Pools, PoolsError};

use super::{app_of, config_for, impatient, lease, pool, pools, try_lease};
use crate::fixture::{DATABASE, Postgres, eventually, eventually_async};

#[tokio::test(flavor = "multi_thread")]
async fn pins_leave_the_count_up_to_their_limit() {
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |config| {
        impatient(config);
        config.pool.default_pool_size = 1;
        config.pool.max_pinned_connections = Some(1);
    });
    let mut first = lease(&pool).await;
    first.pin();
    first.pin();
    let mut second = lease(&pool).await;
    second.pin();
    assert_eq!(pool.stats().pinned, 2);
    match try_lease(&pool).await {
        Err(LeaseError::Timeout { pinned: 2, .. }) => {}
        other => panic!("{other:?}"),
    }
    let states: Vec<_> = pool.servers().iter().map(|s| s.state.as_str()).collect();
    assert_eq!(states, ["pinned", "pinned"]);
    // One pin less makes no room while its connection is there…
    second.unpin();
    assert!(try_lease(&pool).await.is_err());
    second.finish(true);
    let third = lease(&pool).await;
    // …and the end of the last makes one connection too many.
    first.finish(true);
    eventually("one is closed", || pool.servers().len() == 1);
    third.finish(true);
    assert_eq!(pool.stats().pinned, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn query_wait_timeout_ends_the_waiting() {
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |config| {
        impatient(config);
        config.pool.default_pool_size = 1;
    });
    let held = lease(&pool).await;
    let refused = try_lease(&pool).await.expect_err("no room");
    assert!(
        matches!(refused, LeaseError::Timeout { pinned: 0, .. }),
        "{refused:?}"
    );
    assert_eq!(refused.report().code.as_str(), "53300");
    assert_eq!(pool.stats().timeouts_total, 1);
    assert_eq!(pool.stats().cl_waiting, 0);
    held.finish(true);
    lease(&pool).await.finish(true);
}

#[tokio::test(flavor = "multi_thread")]
async fn reserve_is_opened_for_those_who_wait_long() {
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |config| {
        config.pool.query_wait_timeout = Duration::from_secs(1);
        config.pool.default_pool_size = 1;
        config.pool.reserve_pool_size = 1;
        config.pool.reserve_pool_timeout = Duration::from_millis(50);
    });
    let first = lease(&pool).await;
    let second = lease(&pool).await;
    assert!(try_lease(&pool).await.is_err());
    assert_eq!(pool.servers().len(), 2);
    second.finish(true);
    first.finish(true);
    eventually("the reserve is closed when it is not needed", || {
        pool.servers().len() == 1
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_one_database_share_its_limit() {
    let postgres = Postgres::start(&[]);
    let pools = pools(postgres.port, |config| config.pool.max_db_connections = 2);
    let app = app_of(&pools);
    let other = pools.get(DATABASE, "postgres").expect("a pool");
    let held = [lease(&app).await, lease(&app).await];
    for lease in held {
        lease.finish(true);
    }
    assert_eq!(app.servers().len(), 2);

    // An idle connection of the one makes room for the other.
    let theirs = lease(&other).await;
    assert_eq!(app.servers().len(), 1);
    theirs.finish(true);

    // Another database has a room of its own.
    let elsewhere = pools.get("postgres", "postgres").expect("a pool");
    let _own = [lease(&elsewhere).await, lease(&elsewhere).await];
    assert_eq!(app.servers().len() + other.servers().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn user_without_a_connection_gets_one_from_a_busy_pool() {
    let postgres = Postgres::start(&[]);
    let pools = pools(postgres.port, |config| config.pool.max_db_connections = 2);
    let app = app_of(&pools);
    let other = pools.get(DATABASE, "postgres").expect("a pool");
    let (first, second) = (lease(&app).await, lease(&app).await);
    // The busy pool's own waiter came first, and has a chance of its own.
    let own = tokio::spawn({
        let app = Arc::clone(&app);
        async move { lease(&app).await }
    });
    eventually_async("ours waits", async || app.stats().cl_waiting == 1).await;
    let theirs = tokio::spawn({
        let other = Arc::clone(&other);
        async move { lease(&other).await }
    });
    eventually_async("theirs waits", async || other.stats().cl_waiting == 1).await;
    // Its keeper may need a moment to find that it starves: what comes back before goes to ours.
    first.finish(true);
    second.finish(true);
    let theirs = theirs.await.expect("served");
    let own = own.await.expect("served");
    assert_eq!(app.servers().len() + other.servers().len(), 2);
    theirs.finish(true);
    own.finish(true);
}

#[tokio::test(flavor = "multi_thread")]
async fn minimum_is_kept_open() {
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |config| {
        config.pool.min_pool_size = 3;
        config.pool.server_idle_timeout = Duration::from_millis(200);
    });
    eventually("three are open without anybody asking", || {
        pool.stats().sv_idle == 3
    });
    let pids = |pool: &pgditto::upstream::Pool| -> Vec<u32> {
        pool.servers().iter().map(|server| server.pid).collect()
    };
    let before = pids(&pool);
    pool.close_idle();
    eventually("three others are open", || {
        let now = pids(&pool);
        now.len() == 3 && now.iter().all(|pid| !before.contains(pid))
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn old_connections_are_not_leased_again() {
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |config| {
        config.pool.server_lifetime = Duration::from_millis(1);
    });
    let mut pids = Vec::new();
    for _ in 0..3 {
        let lease = lease(&pool).await;
        pids.push(lease.pid);
        lease.finish(true);
        eventually("it is closed", || pool.servers().is_empty());
    }
    pids.dedup();
    assert_eq!(pids.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_change_while_the_pool_works() {
    let postgres = Postgres::start(&[]);
    let small = |config: &mut pgditto::config::Config| {
        impatient(config);
        config.pool.default_pool_size = 1;
    };
    let pools = pools(postgres.port, small);
    let pool = app_of(&pools);
    let held = lease(&pool).await;
    assert!(try_lease(&pool).await.is_err());
    let larger = config_for(postgres.port, |config| config.pool.default_pool_size = 2);
    pools.update(larger).expect("valid");
    let second = lease(&pool).await;
    pools
        .update(config_for(postgres.port, small))
        .expect("valid");
    second.finish(true);
    eventually("the second is closed", || pool.servers().len() == 1);
    held.finish(true);
    // Its connections are kept as long as they are good for something…
    pools
        .update(config_for(postgres.port, small))
        .expect("valid");
    assert_eq!(pool.servers().len(), 1);
    // …and a pool that has none and that nobody holds goes.
    pool.close_idle();
    drop(pool);
    eventually("unused pools are dropped", || {
        let same = config_for(postgres.port, small);
        pools.update(same).expect("valid");
        pools.all().is_empty()
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_lead_where_the_configuration_says() {
    let postgres = Postgres::start(&[]);
    let named = |name: &str, dbname: Option<&str>| pgditto::config::DatabaseConfig {
        name: name.into(),
        dbname: dbname.map(Into::into),
        pool_size: Some(7),
        ..Default::default()
    };
    let pools = pools(postgres.port, |config| {
        config.databases = vec![named("shop", Some("app"))];
        config.users = vec![UserConfig {
            name: "postgres".into(),
            pool_size: Some(3),
            ..Default::default()
        }];
    });
    let pool = pools.get("shop", "app").expect("listed");
    assert_eq!(pool.stats().pool_size, 7);
    let mut leased = lease(&pool).await;
    assert_eq!(
        super::value(&mut leased, "SELECT current_database()").await,
        "app"
    );
    assert_eq!(
        pools
            .get("shop", "postgres")
            .expect("listed")
            .stats()
            .pool_size,
        3
    );
    let unknown = pools.get("app", "app").map(|_| ());
    assert_eq!(unknown, Err(PoolsError::UnknownDatabase("app".into())));

    // It disappears: whoever is there is told.
    let condition = pool.condition();
    pools
        .update(config_for(postgres.port, |config| {
            config.databases = vec![named("other", None)];
        }))
        .expect("valid");
    assert_eq!(*condition.borrow(), pgditto::upstream::Condition::Killed);
    assert!(matches!(try_lease(&pool).await, Err(LeaseError::Killed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn shutting_down_refuses_and_waits_for_the_leases() {
    let postgres = Postgres::start(&[]);
    let pools: Arc<Pools> = pools(postgres.port, |_| {});
    let pool = app_of(&pools);
    let held = lease(&pool).await;
    pools.shut_down();
    assert!(matches!(
        try_lease(&pool).await,
        Err(LeaseError::ShuttingDown)
    ));
    assert!(matches!(
        pools.get("new", "app").map(|_| ()),
        Err(PoolsError::ShuttingDown)
    ));
    let mut drained = Box::pin(pool.drained());
    assert!((&mut drained).now_or_never().is_none());
    held.finish(true);
    drained.await;
    eventually("nothing is left", || pool.servers().is_empty());
}
