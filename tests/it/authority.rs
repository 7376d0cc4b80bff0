//! The authority against real servers: leases, losses, neighbours, orphans and DDL from elsewhere.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgditto::authority::{Authority, ControlTarget, Proof, Setup, Unproven};
use pgditto::cache::{Fit, Moment, Tags};
use pgditto::catalog::Footprint;
use pgditto::config::{CacheConfig, Host, Secret, ServerTlsConfig, SslMode};
use pgditto::hosts::Hosts;
use pgditto::sql::Bypass;
use rustix::process::{Pid, kill_process};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::fixture::{
    Certificates, DATABASE, PASSWORD, PgBouncer, Postgres, Signal, USER, connect, eventually,
};

const LEASE: Duration = Duration::from_millis(600);

fn target(port: u16) -> ControlTarget {
    ControlTarget {
        hosts: Hosts::one(Host::new("127.0.0.1", port)),
        dbname: DATABASE.into(),
        user: USER.into(),
        password: Some(Secret::new(PASSWORD)),
        sslmode: SslMode::Disable,
        tls: None,
        connect_timeout: Duration::from_secs(10),
        application_name: "pgditto".into(),
    }
}

fn setup(target: ControlTarget) -> Setup {
    Setup {
        target,
        login: Arc::new(|_| None),
        users: vec![USER.into()],
        tags: Tags::new(1 << 20).unwrap(),
        cache: CacheConfig {
            lease: LEASE,
            catalog_watch_interval: Duration::from_millis(100),
            ..CacheConfig::default()
        },
        state_dir: None,
        roles_changed: Box::new(|_| {}),
    }
}

/// An authority and its counters.
struct Ruler {
    authority: Arc<Authority>,
    tags: Arc<Tags>,
}

impl Ruler {
    fn start(setup: Setup) -> Self {
        let tags = Arc::clone(&setup.tags);
        Self {
            authority: Authority::start(setup),
            tags,
        }
    }

    fn on(postgres: &Postgres) -> Self {
        Self::start(setup(target(postgres.port)))
    }

    fn verdict(&self) -> Result<(), Bypass> {
        self.authority.may_serve(Moment::now())
    }

    fn serves(&self) {
        eventually("hits are served", || self.verdict().is_ok());
    }

    fn refuses(&self, reason: Bypass) {
        eventually(reason.as_str(), || self.verdict() == Err(reason));
    }
}

/// The row that a connection shows.
async fn shown(client: &Client, proof: &Proof) -> Vec<Option<String>> {
    let messages = client.simple_query(&proof.sql()).await.unwrap();
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let row = row.unwrap();
    (0..row.len())
        .map(|at| row.get(at).map(str::to_owned))
        .collect()
}

async fn pid(client: &Client) -> u32 {
    let row = client
        .query_one("SELECT pg_backend_pid()", &[])
        .await
        .unwrap();
    row.get::<_, i32>(0) as u32
}

/// A connection of "our pool": admitted, and on record.
async fn pooled(postgres: &Postgres, ruler: &Ruler) -> (Client, u32) {
    let client = connect(&postgres.url()).await;
    let proof = ruler.authority.proof().await;
    let pid = pid(&client).await;
    let row = shown(&client, &proof).await;
    let backend = ruler.authority.admit(&proof, &row, pid).unwrap();
    assert_eq!((backend.pid, backend.user.as_str()), (pid, USER));
    (client, pid)
}

fn lives(postgres: &Postgres, pid: u32) -> bool {
    let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}");
    postgres.psql(&sql) == "1"
}

#[tokio::test(flavor = "multi_thread")]
async fn hits_begin_once_the_guard_stands_and_the_catalogue_is_known() {
    let postgres = Postgres::start(&[]);
    let ruler = Ruler::on(&postgres);
    assert!(ruler.verdict().is_err());
    assert!(ruler.authority.catalog().is_none());
    ruler.serves();
    assert!(ruler.authority.catalog().is_some());
    let stats = ruler.authority.stats();
    assert!(stats.alone && stats.bypass.is_none() && stats.looks > 0);
    assert!(stats.proof_age.unwrap() < LEASE);
    assert_eq!(
        (stats.generation, stats.losses, stats.catalogue_loads),
        (0, 0, 1)
    );
    let name = postgres
        .psql("SELECT application_name FROM pg_stat_activity WHERE application_name ~ '^pgditto [0-9a-f]{32}/[0-9]+$'");
    assert!(!name.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_does_not_answer_ends_the_lease_and_a_late_answer_empties_the_cache() {
    let postgres = Postgres::start(&[]);
    let ruler = Ruler::on(&postgres);
    ruler.serves();
    let stamp = ruler.tags.stamp_whole(&[1], ruler.tags.picture());
    let server = ruler.authority.stats().server.unwrap();
    let backend = Pid::from_raw(server.guard_pid).unwrap();
    kill_process(backend, Signal::STOP).unwrap();
    ruler.refuses(Bypass::Guard);
    tokio::time::sleep(LEASE).await;
    assert_eq!(ruler.verdict(), Err(Bypass::Guard));
    kill_process(backend, Signal::CONT).unwrap();
    ruler.serves();
    assert_eq!(ruler.tags.fit(&stamp), Fit::Stale);
    let stats = ruler.authority.stats();
    assert!(stats.lapses >= 1);
    assert_eq!(stats.losses, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_guard_empties_the_cache_and_begins_a_new_generation() {
    let postgres = Postgres::start(&[]);
    let ruler = Ruler::on(&postgres);
    ruler.serves();
    let stamp = ruler.tags.stamp_whole(&[1], ruler.tags.picture());
    let old = ruler.authority.proof_now().unwrap();
    let mut generation = ruler.authority.generation();
    let guard = ruler.authority.stats().server.unwrap().guard_pid;
    postgres.psql(&format!("SELECT pg_terminate_backend({guard})"));
    generation.changed().await.unwrap();
    eventually("emptied", || ruler.tags.fit(&stamp) == Fit::Stale);
    ruler.serves();
    assert_eq!(ruler.authority.stats().generation, 1);
    assert!(!ruler.authority.may_fill(old.generation));
    // What was proven to the old guard proves nothing any more.
    let client = connect(&postgres.url()).await;
    let row = shown(&client, &old).await;
    let pid = pid(&client).await;
    assert_eq!(
        ruler.authority.admit(&old, &row, pid),
        Err(Unproven::OtherServer)
    );
    pooled(&postgres, &ruler).await;
    let new = ruler.authority.proof_now().unwrap();
    assert!(ruler.authority.may_fill(new.generation));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_server_is_a_loss_although_it_comes_back_on_the_same_port() {
    let mut postgres = Postgres::start(&[]);
    let ruler = Ruler::on(&postgres);
    ruler.serves();
    let before = ruler.tags.incarnation();
    postgres.stop(true);
    ruler.refuses(Bypass::Guard);
    assert!(!ruler.authority.may_write(Moment::now()));
    eventually("emptied", || ruler.tags.incarnation() != before);
    postgres.restart();
    ruler.serves();
    assert_eq!(ruler.authority.stats().losses, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_another_server_proves_nothing() {
    let (postgres, other) = (Postgres::start(&[]), Postgres::start(&[]));
    // Before there is a proof: what roles begin with is part of what it vouches for.
    postgres.psql("CREATE ROLE nobody LOGIN; ALTER ROLE nobody SET search_path = ''");
    let ruler = Ruler::on(&postgres);
    let proof = ruler.authority.proof().await;
    let stranger = connect(&other.url()).await;
    let row = shown(&stranger, &proof).await;
    let pid = pid(&stranger).await;
    assert_eq!(
        ruler.authority.admit(&proof, &row, pid),
        Err(Unproven::OtherServer)
    );
    // Any role of the guard's server may show the proof, whatever it may see.
    postgres.allow("host all nobody 127.0.0.1/32 trust");
    let nobody = connect(&postgres.url_for("nobody", DATABASE)).await;
    let row = shown(&nobody, &proof).await;
    let pid = row[0].as_deref().unwrap().parse().unwrap();
    let backend = ruler.authority.admit(&proof, &row, pid).unwrap();
    assert_eq!(backend.user, "nobody");
    assert_eq!(ruler.authority.stats().recorded, 1);
    ruler.authority.departed(pid);
    assert_eq!(ruler.authority.stats().recorded, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_in_between_turns_the_cache_off_and_nothing_else() {
    let postgres = Postgres::start(&[]);
    let ruler = Ruler::on(&postgres);
    ruler.serves();
    let (client, pid) = pooled(&postgres, &ruler).await;
    let proof = ruler.authority.proof_now().unwrap();
    let row = shown(&client, &proof).await;
    assert_eq!(
        ruler.authority.admit(&proof, &row, pid + 1),
        Err(Unproven::PoolerUpstream)
    );
    assert_eq!(ruler.verdict(), Err(Bypass::PoolerUpstream));

    let bouncer = PgBouncer::start(&postgres, "pool_mode = transaction\nserver_round_robin = 1");
    let mut target = target(bouncer.port);
    (target.user, target.password) = ("postgres".into(), None);
    let ruler = Ruler::start(setup(target));
    // While this one holds the pooler's one connection the guard gets another, and then they wander.
    let other = connect(&bouncer.url(DATABASE)).await;
    other.batch_execute("BEGIN").await.unwrap();
    eventually("the guard looks", || ruler.authority.stats().looks > 0);
    other.batch_execute("COMMIT").await.unwrap();
    ruler.refuses(Bypass::PoolerUpstream);
    tokio::time::sleep(LEASE).await;
    let stats = ruler.authority.stats();
    assert_eq!((stats.generation, stats.losses), (0, 0), "pools go on");
    assert_eq!(ruler.verdict(), Err(Bypass::PoolerUpstream));
    ruler.authority.wait_before_first_write().await;
    let stamp = ruler.tags.stamp_whole(&[7], ruler.tags.picture());
    ruler
        .authority
        .resolve_unknown(mark_one(&ruler), 1, Vec::new());
    eventually("settled", || ruler.tags.fit(&stamp) == Fit::Stale);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_are_no_fleet_serve_nothing_until_one_is_gone() {
    let postgres = Postgres::start(&[]);
    let first = Ruler::on(&postgres);
    first.serves();
    assert!(first.authority.may_write(Moment::now()));
    let stamp = first.tags.stamp_whole(&[1], first.tags.picture());

    let longer = LEASE * 2;
    let mut second = setup(target(postgres.port));
    second.cache.lease = longer;
    let began = Instant::now();
    let second = Ruler::start(second);
    second.authority.wait_before_first_write().await;
    let waited = began.elapsed();
    assert!(waited >= longer, "{waited:?}");
    assert_eq!(first.verdict(), Err(Bypass::NotAlone));
    second.refuses(Bypass::NotAlone);
    // A third hears how long the others' leases are.
    let began = Instant::now();
    let third = Ruler::on(&postgres);
    third.authority.wait_before_first_write().await;
    assert!(began.elapsed() >= longer);
    drop(third);

    drop(second);
    first.serves();
    assert_eq!(first.tags.fit(&stamp), Fit::Stale);
    assert_eq!(first.authority.stats().losses, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ddl_from_outside_is_found_and_voids_everything() {
    let postgres = Postgres::start(&[]);
    postgres.psql("CREATE TABLE t (a int)");
    let ruler = Ruler::on(&postgres);
    ruler.serves();
    let version = ruler.authority.catalog().unwrap().version;
    let stamp = ruler.tags.stamp_whole(&[1], ruler.tags.picture());
    postgres.psql("INSERT INTO t VALUES (1)");
    tokio::time::sleep(LEASE).await;
    assert_eq!(ruler.tags.fit(&stamp), Fit::Fresh);
    let mut writer = ruler.tags.writer();
    writer.touch(&Footprint::nothing(), ruler.tags.picture());
    postgres.psql("ALTER TABLE t ADD COLUMN b int");
    eventually("found", || ruler.tags.fit(&stamp) == Fit::Stale);
    assert!(writer.touched().everything, "it may have waited behind it");
    eventually("loaded", || {
        ruler
            .authority
            .catalog()
            .is_some_and(|catalog| catalog.version != version)
    });
    ruler.serves();
    assert_eq!(ruler.authority.stats().catalogue_found, 1);
    assert_eq!(ruler.authority.stats().catalogue_loads, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn ddl_through_us_takes_the_picture_away_before_it_commits() {
    let postgres = Postgres::start(&[]);
    let ruler = Ruler::on(&postgres);
    ruler.serves();
    let waiting = {
        let mut waiting = ruler.tags.writer();
        waiting.touch(&Footprint::nothing(), ruler.tags.picture());
        waiting
    };
    let mut writer = ruler.tags.writer();
    let picture = ruler.tags.picture();
    ruler
        .authority
        .touch(&mut writer, &Footprint::catalogue(), picture);
    assert!(ruler.authority.catalog().is_some());
    ruler.authority.mark(&mut writer);
    ruler.authority.mark(&mut writer);
    assert!(ruler.authority.catalog().is_none());
    assert_eq!(ruler.verdict(), Err(Bypass::CatalogStale));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(ruler.authority.catalog().is_none());
    postgres.psql("CREATE TABLE through_us ()");
    ruler.authority.settle(writer, true);
    assert!(waiting.touched().everything);
    ruler.serves();
    assert_eq!(ruler.authority.stats().catalogue_found, 0);

    // An aborted one changes nothing but takes the picture away as well.
    let mut writer = ruler.tags.writer();
    writer.touch(&Footprint::catalogue(), ruler.tags.picture());
    ruler.authority.mark(&mut writer);
    assert!(ruler.authority.catalog().is_none());
    let picture = ruler.tags.picture();
    ruler.authority.settle(writer, false);
    assert_eq!(ruler.tags.picture(), picture);
    ruler.serves();
}

fn recorded(postgres: &Postgres, dir: &Path) -> Setup {
    Setup {
        state_dir: Some(dir.to_owned()),
        ..setup(target(postgres.port))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_process_left_is_ended_before_the_first_hit() {
    let postgres = Postgres::start(&[]);
    let dir = tempfile::tempdir().unwrap();
    let first = Ruler::start(recorded(&postgres, dir.path()));
    first.serves();
    let (orphan, orphan_pid) = pooled(&postgres, &first).await;
    orphan
        .batch_execute("BEGIN; CREATE TABLE orphaned ()")
        .await
        .unwrap();
    let (_gone, gone_pid) = pooled(&postgres, &first).await;
    first.authority.departed(gone_pid);
    drop(first);

    let second = Ruler::start(recorded(&postgres, dir.path()));
    second.serves();
    assert!(!lives(&postgres, orphan_pid));
    assert!(lives(&postgres, gone_pid), "not on record any more");
    assert!(orphan.batch_execute("COMMIT").await.is_err());
    drop(second);
    // Nobody is left on record, so there is nothing to wait for.
    let client = connect(&postgres.url()).await;
    client.batch_execute("BEGIN").await.unwrap();
    let third = Ruler::start(recorded(&postgres, dir.path()));
    third.serves();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_record_older_transactions_of_our_users_are_waited_for() {
    let postgres = Postgres::start(&[]);
    let older = connect(&postgres.url()).await;
    older.batch_execute("BEGIN").await.unwrap();
    let stranger = connect(&postgres.superuser_url()).await;
    stranger.batch_execute("BEGIN").await.unwrap();
    let ruler = Ruler::on(&postgres);
    ruler.refuses(Bypass::StartBarrier);
    tokio::time::sleep(LEASE).await;
    assert_eq!(ruler.verdict(), Err(Bypass::StartBarrier));
    older.batch_execute("COMMIT").await.unwrap();
    ruler.serves();
    drop(ruler);

    older.batch_execute("BEGIN").await.unwrap();
    let mut impatient = setup(target(postgres.port));
    impatient.cache.ttl = Duration::from_millis(500);
    Ruler::start(impatient).serves();
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_transactions_stay_marked_until_they_are_ended() {
    let postgres = Postgres::start(&[("max_prepared_transactions", "5")]);
    postgres.psql(
        "CREATE TABLE t (a int); CREATE TABLE u (a int); \
         CREATE TABLE p (a int) PARTITION BY LIST (a); \
         CREATE TABLE leaf PARTITION OF p FOR VALUES IN (1); \
         BEGIN; INSERT INTO t VALUES (1); INSERT INTO leaf VALUES (1); SELECT * FROM u; \
         PREPARE TRANSACTION 'one'; \
         CREATE TABLE made (); BEGIN; ALTER TABLE made ADD COLUMN a int; \
         PREPARE TRANSACTION 'two'",
    );
    let oid = |name: &str| -> u32 {
        let oid = postgres.psql(&format!("SELECT '{name}'::regclass::oid"));
        oid.parse().unwrap()
    };
    let (t, u, p) = (oid("t"), oid("u"), oid("p"));
    let ruler = Ruler::on(&postgres);
    ruler.serves();
    let clean = |oid: u32| {
        ruler
            .tags
            .stamp_whole(&[oid], ruler.tags.picture())
            .is_clean()
    };
    assert_eq!(ruler.authority.stats().prepared, 2);
    assert!(!clean(u), "an ALTER means everything");
    postgres.psql("ROLLBACK PREPARED 'two'");
    eventually("only what was written", || clean(u));
    assert!(!clean(t) && !clean(p));
    let stamp = ruler.tags.stamp_whole(&[u], ruler.tags.picture());
    postgres.psql("COMMIT PREPARED 'one'");
    eventually("settled", || clean(t) && clean(p));
    assert_eq!(ruler.tags.fit(&stamp), Fit::Fresh);
    assert_eq!(ruler.authority.stats().prepared, 0);
}

fn mark_one(ruler: &Ruler) -> pgditto::cache::KeptMark {
    let footprint = Footprint {
        relations: [7].into_iter().collect(),
        ..Footprint::default()
    };
    ruler.tags.mark(&footprint, ruler.tags.picture()).keep()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_unknown_outcome_is_ended_and_then_settled() {
    let postgres = Postgres::start(&[]);
    let ruler = Ruler::on(&postgres);
    ruler.serves();
    let (client, pid) = pooled(&postgres, &ruler).await;
    client.batch_execute("BEGIN").await.unwrap();
    let stamp = ruler.tags.stamp_whole(&[7], ruler.tags.picture());
    let kept = mark_one(&ruler);
    ruler.authority.departed(pid);
    ruler.authority.resolve_unknown(kept, pid, Vec::new());
    assert_eq!(ruler.tags.fit(&stamp), Fit::Marked);
    eventually("settled", || ruler.tags.fit(&stamp) == Fit::Stale);
    assert!(!lives(&postgres, pid));
    eventually("counted off", || {
        let stats = ruler.authority.stats();
        (stats.unknown, stats.recorded) == (0, 0)
    });

    // Whose backend it was is not known: it is waited for, not ended.
    let stranger = connect(&postgres.url()).await;
    let pid = self::pid(&stranger).await;
    let stamp = ruler.tags.stamp_whole(&[7], ruler.tags.picture());
    ruler
        .authority
        .resolve_unknown(mark_one(&ruler), pid, Vec::new());
    tokio::time::sleep(LEASE).await;
    assert!(lives(&postgres, pid));
    assert_eq!(ruler.tags.fit(&stamp), Fit::Marked);
    drop(stranger);
    eventually("settled", || ruler.tags.fit(&stamp) == Fit::Stale);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_waits_for_a_standby_is_waited_for_and_not_published_early() {
    // From the start: a reload reaches the process that sees to it some time later.
    let postgres = Postgres::start(&[("synchronous_standby_names", "nobody")]);
    postgres.psql("CREATE TABLE t (a int); GRANT ALL ON t TO app");
    let ruler = Ruler::on(&postgres);
    ruler.serves();
    let (client, pid) = pooled(&postgres, &ruler).await;
    let committing = tokio::spawn(async move {
        client
            .batch_execute("SET synchronous_commit = on; INSERT INTO t VALUES (1)")
            .await
    });
    eventually("waits for the standby", || {
        let sql = format!("SELECT wait_event FROM pg_stat_activity WHERE pid = {pid}");
        postgres.psql(&sql) == "SyncRep"
    });
    let stamp = ruler.tags.stamp_whole(&[7], ruler.tags.picture());
    ruler
        .authority
        .resolve_unknown(mark_one(&ruler), pid, Vec::new());
    committing.abort();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(postgres.psql("SELECT count(*) FROM t"), "0");
    assert_eq!(ruler.tags.fit(&stamp), Fit::Marked);
    postgres.psql("ALTER SYSTEM SET synchronous_standby_names = ''");
    postgres.psql("SELECT pg_reload_conf()");
    eventually("settled", || ruler.tags.fit(&stamp) == Fit::Stale);
    assert_eq!(postgres.psql("SELECT count(*) FROM t"), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guard_speaks_tls() {
    let certificates = Certificates::for_names(&["localhost", "127.0.0.1"]);
    let postgres = Postgres::start_tls(&[], &certificates);
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, &certificates.authority_pem).unwrap();
    let tls = pgditto::tls::upstream(&ServerTlsConfig {
        sslmode: SslMode::VerifyFull,
        ca_file: Some(ca_file),
        ..ServerTlsConfig::default()
    });
    let target = ControlTarget {
        sslmode: SslMode::VerifyFull,
        tls: tls.unwrap(),
        ..target(postgres.port)
    };
    let ruler = Ruler::start(setup(target));
    ruler.serves();
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE application_name LIKE 'pgditto%' AND NOT ssl";
    assert_eq!(postgres.psql(encrypted), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guard_asks_for_no_tls_on_a_unix_socket() {
    let postgres = Postgres::start(&[]);
    let tls = pgditto::tls::upstream(&ServerTlsConfig {
        sslmode: SslMode::Require,
        ..ServerTlsConfig::default()
    });
    let directory = postgres.socket_dir().display().to_string();
    let target = ControlTarget {
        hosts: Hosts::one(Host::new(directory, postgres.port)),
        sslmode: SslMode::Require,
        tls: tls.unwrap(),
        ..target(postgres.port)
    };
    Ruler::start(setup(target)).serves();
}
