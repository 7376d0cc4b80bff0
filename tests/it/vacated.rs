//! Where PostgreSQL wants nobody connected to a database, pgditto's own connections are no obstacle.

use crate::fixture::{Pgditto, Postgres, connect, eventually_async};

/// A server whose `app` may do everything, a pgditto that keeps connections open, and a session in `app`.
async fn operator() -> (Postgres, Pgditto, tokio_postgres::Client) {
    let postgres = Postgres::start(&[]);
    postgres.psql("ALTER ROLE app SUPERUSER");
    let pgditto = Pgditto::start(&postgres, |options| {
        options.set("pool.min_pool_size", 2);
    });
    let operator = connect(&pgditto.url("app", "app")).await;
    (postgres, pgditto, operator)
}

/// A session comes, listens, writes, reads the same again until it is answered from the cache, and goes.
async fn visit(pgditto: &Pgditto, database: &str, value: i32) {
    let visitor = connect(&pgditto.url("app", database)).await;
    run(&visitor, "LISTEN a").await;
    run(&visitor, "CREATE TABLE t (x int)").await;
    run(&visitor, &format!("INSERT INTO t VALUES ({value})")).await;
    let labels = [("outcome", "hit")];
    let hits = || pgditto.metrics().sum("pgditto_statements_total", &labels);
    let before = hits();
    eventually_async("a hit", async || {
        let row = visitor.query_one("SELECT x FROM t", &[]).await;
        assert_eq!(row.expect("a row").get::<_, i32>(0), value);
        hits() > before
    })
    .await;
}

async fn run(client: &tokio_postgres::Client, sql: &str) {
    let result = client.batch_execute(sql).await;
    result.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_can_be_dropped_when_its_sessions_are_gone() {
    let (_postgres, pgditto, operator) = operator().await;
    for round in 0..3 {
        run(&operator, "CREATE DATABASE spare").await;
        visit(&pgditto, "spare", round).await;
        match round {
            0 => run(&operator, "DROP DATABASE spare").await,
            _ => {
                let extended = operator.execute("DROP DATABASE IF EXISTS spare", &[]);
                extended.await.expect("nobody there");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_can_be_renamed_and_copied_when_its_sessions_are_gone() {
    let (_postgres, pgditto, operator) = operator().await;
    run(&operator, "CREATE DATABASE spare").await;
    visit(&pgditto, "spare", 1).await;
    run(&operator, "CREATE DATABASE copy TEMPLATE spare").await;
    for database in ["spare", "copy"] {
        let visitor = connect(&pgditto.url("app", database)).await;
        let row = visitor.query_one("SELECT x FROM t", &[]).await;
        assert_eq!(row.expect("a row").get::<_, i32>(0), 1, "{database}");
    }
    run(&operator, "ALTER DATABASE spare RENAME TO former").await;
    run(&operator, "ALTER DATABASE copy RENAME TO spare").await;
    let visitor = connect(&pgditto.url("app", "spare")).await;
    run(&visitor, "UPDATE t SET x = 2").await;
    drop(visitor);
    let visitor = connect(&pgditto.url("app", "former")).await;
    let row = visitor.query_one("SELECT x FROM t", &[]).await;
    assert_eq!(row.expect("a row").get::<_, i32>(0), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_with_a_session_is_in_use_though_the_session_is_idle() {
    let (_postgres, pgditto, operator) = operator().await;
    run(&operator, "CREATE DATABASE spare").await;
    let visitor = connect(&pgditto.url("app", "spare")).await;
    run(&visitor, "CREATE TABLE t (x int)").await;
    let refused = operator.batch_execute("DROP DATABASE spare").await;
    let refused = refused.expect_err("somebody is there");
    assert_eq!(refused.code().map(|code| code.code()), Some("55006"));
    run(&visitor, "INSERT INTO t VALUES (1)").await;
    drop(visitor);
    run(&operator, "DROP DATABASE spare").await;
}

/// Both are copies of one template, so that their tables have the same numbers and their counters the same past.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_of_a_database_for_the_next_of_its_name() {
    let (postgres, pgditto, operator) = operator().await;
    run(&operator, "CREATE DATABASE mold").await;
    let mold = postgres.superuser_url().replace("/app", "/mold");
    let in_mold = async |sql: &str| run(&connect(&mold).await, sql).await;
    in_mold("CREATE TABLE t (x int); INSERT INTO t VALUES (0)").await;
    for round in 1..4 {
        in_mold(&format!("UPDATE t SET x = {round}")).await;
        run(&operator, "CREATE DATABASE spare TEMPLATE mold").await;
        let visitor = connect(&pgditto.url("app", "spare")).await;
        let hits = || {
            let labels = [("outcome", "hit")];
            pgditto.metrics().sum("pgditto_statements_total", &labels)
        };
        let before = hits();
        eventually_async("a hit", async || {
            let row = visitor.query_one("SELECT x FROM t", &[]).await;
            assert_eq!(row.expect("a row").get::<_, i32>(0), round);
            hits() > before
        })
        .await;
        drop(visitor);
        run(&operator, "DROP DATABASE spare").await;
    }
}
