//! Servers that go away, cancels that come late, and an administrator's orders.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use parking_lot::Mutex;
use pgditto::upstream::{
    Condition, Connection, Introduction, Lease, LeaseError, Pool, Pools, ServerInfo, UpstreamError,
    Wish,
};
use pgditto::wire::{ErrorReport, SqlState, StartupPacket, backend, frontend, tag};
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::script::{Peer, Script};
use super::{app_of, config_for, lease, pool, pools, try_lease, value};
use crate::fixture::{DATABASE, DEADLINE, Postgres, eventually, eventually_async};

#[tokio::test(flavor = "multi_thread")]
async fn restart_of_the_server_is_not_noticed_by_those_who_had_no_lease() {
    let mut postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |_| {});
    let held = [lease(&pool).await, lease(&pool).await, lease(&pool).await];
    let pids: Vec<u32> = held.iter().map(|lease| lease.pid).collect();
    for lease in held {
        lease.finish(true);
    }
    postgres.restart();
    for _ in 0..3 {
        let mut lease = lease(&pool).await;
        assert!(!pids.contains(&lease.pid));
        assert_eq!(value(&mut lease, "SELECT 1").await, "1");
        lease.finish(true);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn terminated_idle_connection_is_not_leased() {
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |_| {});
    let leased = lease(&pool).await;
    let pid = leased.pid;
    leased.finish(true);
    postgres.terminate(&pid.to_string());
    let mut next = lease(&pool).await;
    assert_ne!(next.pid, pid);
    assert_eq!(value(&mut next, "SELECT 1").await, "1");
}

/// A lease on a connection whose other end the test plays.
async fn lease_of_script(script: &Script, pool: &Arc<Pool>, pid: u32) -> (Lease, Peer) {
    let leased = tokio::spawn({
        let pool = Arc::clone(pool);
        async move { lease(&pool).await }
    });
    let mut peer = script.accept().await;
    peer.startup().await;
    peer.welcome(pid).await;
    (leased.await.expect("served"), peer)
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connection_may_report_parameters_and_nothing_else() {
    let script = Script::new().await;
    let pools = pools(script.port(), |_| {});
    let pool = app_of(&pools);
    let (leased, mut peer) = lease_of_script(&script, &pool, 11).await;
    leased.finish(true);
    peer.send(|out| {
        let report = ErrorReport::warning(SqlState::WARNING, "beware");
        backend::notice(out, &report);
        backend::parameter_status_message(out, b"TimeZone", b"Mars");
    })
    .await;
    eventually_async("it has heard of it", async || {
        let lease = lease(&pool).await;
        let known = lease.parameters.get("TimeZone").map(String::as_str) == Some("Mars");
        assert_eq!(lease.pid, 11);
        lease.finish(true);
        known
    })
    .await;

    // A row that nobody asked for: the next lease must not read it.
    peer.send(|out| backend::data_row_message(out, &[None]))
        .await;
    assert!(peer_is_left_by_leases(&pool, &mut peer).await);
    let (leased, mut peer) = lease_of_script(&script, &pool, 12).await;
    leased.finish(true);
    // Half a message is no better.
    peer.raw(b"S\0\0").await;
    assert!(peer_is_left_by_leases(&pool, &mut peer).await);
}

/// Leases and returns until the connection to `peer` is found unfit.
async fn peer_is_left_by_leases(pool: &Arc<Pool>, peer: &mut Peer) -> bool {
    eventually_async("it is closed", async || {
        // At once or not at all: the script opens no other.
        let lease = pool.lease(&Wish::default(), Instant::now()).await;
        lease.map(|lease| lease.finish(true)).is_err()
    })
    .await;
    peer.is_left().await
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_connect_is_the_answer_to_who_waited_for_it() {
    let mut postgres = Postgres::start(&[]);
    let wrong = pools(postgres.port, |config| {
        config.upstream.password = Some(pgditto::config::Secret::new("wrong"));
    });
    let refused = try_lease(&app_of(&wrong))
        .await
        .expect_err("wrong password");
    assert_eq!(refused.report().code, SqlState::INVALID_PASSWORD);
    assert!(refused.frame().is_some());

    let pools = pools(postgres.port, |_| {});
    let nowhere = pools.get("nowhere", "postgres").expect("any goes");
    let refused = try_lease(&nowhere).await.expect_err("no such database");
    assert_eq!(refused.report().code, SqlState::NO_SUCH_DATABASE);
    // Asked again at once, it does not ask the server.
    let errors = nowhere.stats().connect_errors_total;
    let (again, counted) = (
        try_lease(&nowhere).await,
        nowhere.stats().connect_errors_total,
    );
    assert!(again.is_err());
    assert!(counted <= errors + 1);

    let app = app_of(&pools);
    postgres.stop(false);
    let refused = try_lease(&app).await.expect_err("nobody listens");
    assert!(
        matches!(refused, LeaseError::Connect(UpstreamError::Connect { .. })),
        "{refused:?}"
    );
    assert_eq!(refused.report().code, SqlState::CANNOT_CONNECT_NOW);
    postgres.restart();
    eventually_async("it is served again", async || try_lease(&app).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full_server_makes_waiters_wait_for_our_own_connections() {
    let postgres = Postgres::start(&[]);
    postgres.psql("ALTER ROLE app CONNECTION LIMIT 1");
    let pool = pool(&postgres, |_| {});
    let held = lease(&pool).await;
    let pid = held.pid;
    let waiting = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { lease(&pool).await }
    });
    eventually_async("the server refuses", async || {
        pool.stats().connect_errors_total > 0
    })
    .await;
    held.finish(true);
    assert_eq!(waiting.await.expect("served").pid, pid);
}

/// Sends a statement and reads up to ReadyForQuery; the SQLSTATE if it failed.
async fn run(connection: &mut Connection, sql: &str) -> Option<SqlState> {
    let mut outgoing = BytesMut::new();
    frontend::query(&mut outgoing, sql.as_bytes());
    connection.write(&outgoing).await.expect("a connection");
    let mut failure = None;
    loop {
        let frame = connection.next_frame(1 << 20).await.expect("a message");
        match frame.tag() {
            tag::backend::ERROR => {
                failure = Some(backend::Fields::read(frame.body()).expect("fields").code());
            }
            tag::backend::READY_FOR_QUERY => return failure,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_hits_its_own_statement_and_no_other() {
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |config| config.pool.default_pool_size = 1);
    let mut first = lease(&pool).await;
    let handle = first.cancel_handle();
    let sleeping = format!(
        "SELECT FROM pg_stat_activity WHERE pid = {} AND query LIKE '%pg_sleep%'",
        first.pid
    );
    let watch = crate::fixture::connect(&postgres.superuser_url()).await;
    let canceller = async {
        let sleeps = async || {
            watch
                .query_opt(&sleeping, &[])
                .await
                .expect("an answer")
                .is_some()
        };
        eventually_async("it sleeps", sleeps).await;
        handle.cancel().await
    };
    let statement = run(&mut first, "SELECT pg_sleep(60)");
    let (cancelled, outcome) = tokio::join!(canceller, statement);
    assert_eq!(outcome, Some(SqlState::QUERY_CANCELED));
    first.finish(true);
    assert!(cancelled.expect("the server closed"));
    let mut second = lease(&pool).await;
    // The old handle does nothing to the new holder.
    assert!(!handle.cancel().await.expect("nothing was sent"));
    assert_eq!(run(&mut second, "SELECT 1").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_waits_until_its_last_cancel_is_over() {
    for server_closes in [true, false] {
        let script = Script::new().await;
        let wait = if server_closes { 20_000 } else { 50 };
        let pools = pools(script.port(), |config| {
            config.pool.default_pool_size = 1;
            config.upstream.cancel_wait_timeout = Duration::from_millis(wait);
        });
        let pool = app_of(&pools);
        let (leased, mut first) = lease_of_script(&script, &pool, 11).await;
        let handle = leased.cancel_handle();
        let cancelled = tokio::spawn(async move { handle.cancel().await });
        let mut cancel = script.accept().await;
        match cancel.packet().await {
            StartupPacket::Cancel { pid: 11, key } => assert_eq!(&key[..], [1, 2, 3, 4]),
            other => panic!("{other:?}"),
        }
        leased.finish(true);
        let next = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { lease(&pool).await }
        });
        eventually_async("the next one waits", async || pool.stats().cl_waiting == 1).await;
        if server_closes {
            assert_eq!(pool.stats().sv_being_canceled, 1);
            drop(cancel);
            assert!(cancelled.await.unwrap().expect("closed"));
            assert_eq!(next.await.expect("served").pid, 11);
        } else {
            // Nobody knows when the signal will come: the connection is not used again.
            assert!(cancelled.await.unwrap().is_err());
            let mut second = script.accept().await;
            second.startup().await;
            second.welcome(12).await;
            assert_eq!(next.await.expect("served").pid, 12);
            assert!(first.is_left().await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_lets_leases_wait_and_resume_serves_them() {
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |_| {});
    let held = lease(&pool).await;
    lease(&pool).await.finish(true);
    pool.pause();
    assert_eq!(pool.servers().len(), 1);
    let waiting = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { lease(&pool).await }
    });
    eventually_async("it waits", async || pool.stats().cl_waiting == 1).await;
    held.finish(true);
    pool.drained().await;
    assert_eq!(pool.stats().cl_waiting, 1);
    let late = pool.lease(&Wish::default(), Instant::now()).await;
    assert!(matches!(late, Err(LeaseError::Paused)), "{late:?}");
    pool.resume();
    waiting.await.expect("served").finish(true);
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnect_replaces_every_connection() {
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |_| {});
    let (busy, idle) = (lease(&pool).await, lease(&pool).await);
    let old = [busy.pid, idle.pid];
    idle.finish(true);
    pool.reconnect();
    assert_eq!(pool.servers().len(), 1);
    busy.finish(true);
    eventually("the busy one is closed", || pool.servers().is_empty());
    assert!(!old.contains(&lease(&pool).await.pid));
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_tells_everybody() {
    let postgres = Postgres::start(&[]);
    let pool = pool(&postgres, |config| config.pool.default_pool_size = 1);
    let held = lease(&pool).await;
    let mut told = pool.condition();
    assert_eq!(*told.borrow_and_update(), Condition::Open);
    let waiting = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { try_lease(&pool).await }
    });
    eventually_async("it waits", async || pool.stats().cl_waiting == 1).await;
    pool.kill();
    assert!(matches!(waiting.await.unwrap(), Err(LeaseError::Killed)));
    told.changed().await.expect("the pool is there");
    assert_eq!(*told.borrow(), Condition::Killed);
    held.finish(true);
    assert!(matches!(try_lease(&pool).await, Err(LeaseError::Killed)));
    eventually("nothing is left", || pool.servers().is_empty());
    pool.resume();
    lease(&pool).await.finish(true);
}

/// Writes down who comes and who goes.
#[derive(Default)]
struct Book {
    come: Mutex<Vec<u32>>,
    gone: Mutex<Vec<u32>>,
    refuse: Mutex<bool>,
}

#[async_trait]
impl Introduction for Book {
    async fn introduce(&self, connection: &mut Connection) -> Result<(), UpstreamError> {
        let deadline = Instant::now() + DEADLINE;
        let rows = connection
            .simple("SELECT pg_backend_pid()", deadline)
            .await?;
        assert_eq!(
            rows[0][0].as_deref(),
            Some(connection.pid.to_string().as_str())
        );
        if *self.refuse.lock() {
            return Err(UpstreamError::Authentication("not the same server".into()));
        }
        self.come.lock().push(connection.pid);
        Ok(())
    }

    fn departed(&self, server: &ServerInfo) {
        self.gone.lock().push(server.pid);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_is_introduced_before_its_first_use() {
    let postgres = Postgres::start(&[]);
    let book = Arc::new(Book::default());
    let config = config_for(postgres.port, |_| {});
    let pools = Pools::new(config, Some(Arc::clone(&book) as Arc<dyn Introduction>));
    let pool = pools
        .expect("no files")
        .get(DATABASE, "postgres")
        .expect("a pool");
    let first = lease(&pool).await;
    let pid = first.pid;
    assert_eq!(*book.come.lock(), [pid]);
    drop(first);
    eventually("its end is known", || *book.gone.lock() == [pid]);
    *book.refuse.lock() = true;
    let refused = try_lease(&pool).await.expect_err("not let in");
    assert!(matches!(
        refused,
        LeaseError::Connect(UpstreamError::Authentication(_))
    ));
    assert_eq!(book.come.lock().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_server_is_not_hammered() {
    let script = Script::new().await;
    let pools = pools(script.port(), |_| {});
    let pool = app_of(&pools);
    let waiters: Vec<_> = (0..50)
        .map(|_| {
            let pool = Arc::clone(&pool);
            tokio::spawn(async move { try_lease(&pool).await })
        })
        .collect();
    eventually_async("all wait", async || pool.stats().cl_waiting == 50).await;
    // A few logins are under way, whatever the number of those who wait.
    let logins = pool.stats().sv_login;
    assert!((1..=4).contains(&logins), "{logins}");
    let mut peers = Vec::new();
    for _ in 0..logins {
        peers.push(script.accept().await);
    }
    for peer in &mut peers {
        let mut ignored = BytesMut::new();
        peer.stream.read_buf(&mut ignored).await.expect("a startup");
    }
    drop(peers);
    for waiter in waiters {
        assert!(waiter.await.unwrap().is_err());
    }
}
