//! What pgditto reads of the database by itself is nothing that a client's statement notices.

use pgditto::catalog::{CatalogError, Loader};

use crate::fixture::{Frames, Pgditto, Postgres, Wire, connect, eventually_async};

/// A server, and a pgditto whose reading of the catalogue waits again and again for what the blocker holds: while it
/// does it has a snapshot, and locks on `free`. For standbys the blocker's lock would be logged under a transaction's
/// number, which holds up VACUUM by itself.
struct Busy {
    postgres: Postgres,
    _pgditto: Pgditto,
    client: Wire,
    _blocker: tokio_postgres::Client,
}

async fn busy() -> Busy {
    let postgres = Postgres::start(&[
        ("autovacuum", "off"),
        ("wal_level", "minimal"),
        ("max_wal_senders", "0"),
        // VACUUM takes no page for visible whose commit is not on disk.
        ("synchronous_commit", "on"),
    ]);
    postgres.psql_as(
        "app",
        "CREATE TABLE free (x int); CREATE TABLE taken (x int); \
         CREATE VIEW before AS SELECT x FROM free; CREATE VIEW v AS SELECT x FROM taken; \
         CREATE VIEW behind AS SELECT x FROM free",
    );
    let pgditto = Pgditto::start(&postgres, |_| ());
    let mut client = Wire::connect(pgditto.port);
    let blocker = connect(&postgres.url()).await;
    let lock = "BEGIN; LOCK TABLE taken IN ACCESS EXCLUSIVE MODE";
    blocker.batch_execute(lock).await.expect("a lock");
    client.rows("CREATE TABLE changed (x int)");
    let observer = connect(&postgres.superuser_url()).await;
    eventually_async("the catalogue is being read", async || {
        let waiting = "SELECT FROM pg_locks WHERE NOT granted";
        let rows = observer.query(waiting, &[]).await.expect("an answer");
        !rows.is_empty()
    })
    .await;
    Busy {
        postgres,
        _pgditto: pgditto,
        client,
        _blocker: blocker,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_does_not_wait_meets_no_reading_of_the_catalogue() {
    let mut busy = busy().await;
    for round in 0..20 {
        busy.client.rows("BEGIN");
        // Whoever holds ACCESS SHARE is in its way.
        busy.client
            .rows("LOCK TABLE free IN ACCESS EXCLUSIVE MODE NOWAIT");
        busy.client.rows("COMMIT");
        let extended = Frames::new().prepared("LOCK free NOWAIT", &[]).sync();
        busy.client.rows("BEGIN");
        let answer = busy.client.ask(&extended);
        assert!(answer.iter().all(|message| message.tag != b'E'), "{round}");
        busy.client.rows("ROLLBACK");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vacuum_sees_what_was_committed_before_it() {
    let mut busy = busy().await;
    for round in 0..20 {
        busy.client
            .rows("INSERT INTO free SELECT generate_series(1, 100)");
        busy.client.rows("VACUUM free");
        let pages =
            "SELECT relpages > 0 AND relallvisible = relpages FROM pg_class WHERE relname = 'free'";
        assert_eq!(busy.postgres.psql(pages), "t", "{round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_waits_only_a_moment_for_locks() {
    let postgres = Postgres::start(&[]);
    postgres.psql_as("app", "CREATE TABLE t (x int); CREATE VIEW v AS TABLE t");
    let reader = connect(&postgres.url()).await;
    let holder = connect(&postgres.url()).await;
    let lock = "BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE";
    holder.batch_execute(lock).await.expect("a lock");
    let refused = Loader::load(&reader).await;
    assert!(matches!(refused, Err(CatalogError::Locked)), "{refused:?}");
    holder.batch_execute("COMMIT").await.expect("free");
    let catalog = Loader::load(&reader).await.expect("a picture");
    let judged = catalog.judge(
        &pgditto::sql::analyse("SELECT x FROM v"),
        &pgditto::catalog::NameScope {
            search_path: vec!["public".into()],
            role: "app".into(),
            ..Default::default()
        },
    );
    assert!(judged.read.is_ok(), "{judged:?}");
}
