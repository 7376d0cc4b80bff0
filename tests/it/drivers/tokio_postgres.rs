//! The session of tokio-postgres.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, TryStreamExt, pin_mut};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Error, IsolationLevel, NoTls, SimpleQueryMessage};

use crate::fixture::{DATABASE, Pgditto, Postgres, USER, connect, connect_listening};

#[tokio::test(flavor = "multi_thread")]
async fn tokio_postgres_runs_a_whole_session() {
    let postgres = Postgres::start(&[]);
    session(&postgres.url()).await;
    let pgditto = Pgditto::start(&postgres, |_| {});
    session(&pgditto.url(USER, DATABASE)).await;
    let hits = pgditto.metrics().sum("pgditto_hits_total", &[]);
    assert!(hits > 0.0, "the cache was not used at all");
}

async fn session(url: &str) {
    let mut client = connect(url).await;
    let other = connect(url).await;
    client
        .batch_execute(
            "DROP SCHEMA IF EXISTS drv_tokio CASCADE; CREATE SCHEMA drv_tokio;
             CREATE TABLE drv_tokio.item (id int PRIMARY KEY, name text, price float8)",
        )
        .await
        .expect("tables");
    reads_repeat_and_see_writes(&client, &other).await;
    transactions(&mut client, &other).await;
    prepared_statements(&client).await;
    pipelines(&client).await;
    portals(&mut client).await;
    copy(&client, &other).await;
    errors(&mut client).await;
    cancel_and_timeouts(&client).await;
    notices_and_notifications(url, &other).await;
    types(&client, &other).await;
}

async fn value<T>(client: &Client, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> T
where
    T: for<'a> tokio_postgres::types::FromSql<'a>,
{
    client.query_one(sql, parameters).await.expect(sql).get(0)
}

fn code(error: Result<impl Sized, Error>) -> SqlState {
    let error = error.err().expect("an error");
    error.code().unwrap_or_else(|| panic!("{error:?}")).clone()
}

const COUNT: &str = "SELECT count(*) FROM drv_tokio.item";

async fn reads_repeat_and_see_writes(client: &Client, other: &Client) {
    let select = "SELECT price FROM drv_tokio.item WHERE id = $1";
    client
        .batch_execute("INSERT INTO drv_tokio.item VALUES (1, 'tea', 3.5), (2, 'cup', 8)")
        .await
        .expect("rows");
    for round in 0..5 {
        let price = f64::from(round) + 0.25;
        let updated = client
            .execute(
                "UPDATE drv_tokio.item SET price = $1 WHERE id = 1",
                &[&price],
            )
            .await;
        assert_eq!(updated.expect("an update"), 1);
        for reader in [client, other, client, other, other] {
            assert_eq!(value::<f64>(reader, select, &[&1]).await, price);
            let simple = reader
                .simple_query("SELECT price FROM drv_tokio.item WHERE id = 1")
                .await
                .expect("a simple query");
            let text = simple.iter().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0),
                _ => None,
            });
            assert_eq!(text, Some(price.to_string().as_str()));
        }
        assert_eq!(value::<f64>(other, select, &[&2]).await, 8.0);
        assert!(other.query(select, &[&3]).await.expect("no row").is_empty());
    }
}

async fn transactions(client: &mut Client, other: &Client) {
    let before: i64 = value(other, COUNT, &[]).await;
    let insert = "INSERT INTO drv_tokio.item VALUES ($1, 'new', 0)";

    let transaction = client.transaction().await.expect("BEGIN");
    transaction.execute(insert, &[&10]).await.expect("a row");
    let own: i64 = transaction.query_one(COUNT, &[]).await.expect("own").get(0);
    assert_eq!(own, before + 1);
    assert_eq!(value::<i64>(other, COUNT, &[]).await, before);
    transaction.commit().await.expect("COMMIT");
    assert_eq!(value::<i64>(other, COUNT, &[]).await, before + 1);

    let transaction = client.transaction().await.expect("BEGIN");
    transaction
        .execute("DELETE FROM drv_tokio.item", &[])
        .await
        .expect("no rows");
    transaction.rollback().await.expect("ROLLBACK");
    assert_eq!(value::<i64>(client, COUNT, &[]).await, before + 1);

    let mut transaction = client.transaction().await.expect("BEGIN");
    transaction.execute(insert, &[&11]).await.expect("a row");
    let savepoint = transaction.savepoint("here").await.expect("SAVEPOINT");
    savepoint.execute(insert, &[&12]).await.expect("a row");
    savepoint.rollback().await.expect("ROLLBACK TO");
    transaction.commit().await.expect("COMMIT");
    assert_eq!(value::<i64>(other, COUNT, &[]).await, before + 2);

    let snapshot = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .start()
        .await
        .expect("BEGIN");
    let count: i64 = snapshot
        .query_one(COUNT, &[])
        .await
        .expect("a count")
        .get(0);
    assert_eq!(count, before + 2);
    other.execute(insert, &[&13]).await.expect("a row");
    let count: i64 = snapshot
        .query_one(COUNT, &[])
        .await
        .expect("a count")
        .get(0);
    assert_eq!(count, before + 2);
    snapshot.commit().await.expect("COMMIT");
    assert_eq!(value::<i64>(client, COUNT, &[]).await, before + 3);
}

async fn prepared_statements(client: &Client) {
    let double = client
        .prepare("SELECT $1::int4 * 2 AS double")
        .await
        .expect("Parse");
    assert_eq!(double.columns()[0].name(), "double");
    for number in 0..20 {
        let row = client.query_one(&double, &[&number]).await.expect("a row");
        assert_eq!(row.get::<_, i32>(0), number * 2);
    }
    let mut kept = Vec::new();
    for number in 0..300 {
        let sql = format!("SELECT {number} + $1::int4");
        kept.push(client.prepare(&sql).await.expect("Parse"));
    }
    for (number, statement) in (0..).zip(&kept) {
        let row = client.query_one(statement, &[&1]).await.expect("a row");
        assert_eq!(row.get::<_, i32>(0), number + 1);
    }
}

async fn pipelines(client: &Client) {
    let requests = (0..50)
        .map(|number| async move { value::<i32>(client, "SELECT $1::int4", &[&number]).await });
    let answers = futures_util::future::join_all(requests).await;
    assert!(answers.into_iter().eq(0..50));
    let (good, bad, after) = tokio::join!(
        client.query_one("SELECT 1", &[]),
        client.query_one("SELECT 1 / $1::int4", &[&0]),
        client.query_one("SELECT 2", &[]),
    );
    assert_eq!(good.expect("before the error").get::<_, i32>(0), 1);
    assert_eq!(code(bad), SqlState::DIVISION_BY_ZERO);
    assert_eq!(after.expect("after the error").get::<_, i32>(0), 2);
}

async fn portals(client: &mut Client) {
    let transaction = client.transaction().await.expect("BEGIN");
    let portal = transaction
        .bind("SELECT generate_series(1, 100)", &[])
        .await
        .expect("Bind");
    let mut seen = Vec::new();
    loop {
        let rows = transaction.query_portal(&portal, 7).await.expect("rows");
        if rows.is_empty() {
            break;
        }
        seen.extend(rows.iter().map(|row| row.get::<_, i32>(0)));
    }
    assert!(seen.into_iter().eq(1..=100));
    transaction.commit().await.expect("COMMIT");
}

async fn copy(client: &Client, other: &Client) {
    client
        .batch_execute("CREATE TABLE drv_tokio.bulk (id int, name text)")
        .await
        .expect("a table");
    let lines: String = (0..1000).map(|at| format!("{at},row {at}\n")).collect();
    let copy_in = "COPY drv_tokio.bulk FROM STDIN (FORMAT csv)";

    let sink = client.copy_in(copy_in).await.expect("COPY in");
    pin_mut!(sink);
    sink.send(Bytes::from(lines.clone())).await.expect("data");
    assert_eq!(sink.finish().await.expect("the end"), 1000);

    let copy_out = "COPY (SELECT * FROM drv_tokio.bulk ORDER BY id) TO STDOUT (FORMAT csv)";
    let stream = other.copy_out(copy_out).await.expect("COPY out");
    let parts: Vec<Bytes> = stream.try_collect().await.expect("data");
    assert_eq!(parts.concat(), lines.as_bytes());

    {
        // Dropping the sink half-way fails the COPY.
        let sink = client.copy_in::<_, Bytes>(copy_in).await.expect("COPY in");
        pin_mut!(sink);
        sink.send(Bytes::from("1,half\n")).await.expect("data");
    }
    let sink = client.copy_in(copy_in).await.expect("COPY in");
    pin_mut!(sink);
    sink.send(Bytes::from("no number,x\n")).await.expect("data");
    assert_eq!(
        code(sink.finish().await),
        SqlState::INVALID_TEXT_REPRESENTATION
    );
    let count = "SELECT count(*) FROM drv_tokio.bulk";
    assert_eq!(value::<i64>(client, count, &[]).await, 1000);
}

async fn errors(client: &mut Client) {
    assert_eq!(
        code(client.query("SELEC 1", &[]).await),
        SqlState::SYNTAX_ERROR
    );
    let duplicate = "INSERT INTO drv_tokio.item VALUES (1, 'again', 0)";
    assert_eq!(
        code(client.execute(duplicate, &[]).await),
        SqlState::UNIQUE_VIOLATION
    );
    assert_eq!(value::<i32>(client, "SELECT 1", &[]).await, 1);
    let transaction = client.transaction().await.expect("BEGIN");
    assert_eq!(
        code(transaction.execute(duplicate, &[]).await),
        SqlState::UNIQUE_VIOLATION
    );
    assert_eq!(
        code(transaction.query("SELECT 1", &[]).await),
        SqlState::IN_FAILED_SQL_TRANSACTION
    );
    transaction.rollback().await.expect("ROLLBACK");
    assert_eq!(value::<i32>(client, "SELECT 1", &[]).await, 1);
}

async fn cancel_and_timeouts(client: &Client) {
    let sleep = "SELECT pg_sleep(30)";
    let token = client.cancel_token();
    let sleeping = client.query(sleep, &[]);
    let cancelling = async {
        // A cancel that overtakes its statement would cancel nothing, so it is sent until one does.
        let mut ticks = tokio::time::interval(Duration::from_millis(200));
        loop {
            ticks.tick().await;
            token.cancel_query(NoTls).await.expect("a cancel request");
        }
    };
    let answer = tokio::select! {
        answer = sleeping => answer,
        () = cancelling => unreachable!("it goes on for ever"),
        () = tokio::time::sleep(Duration::from_secs(15)) => panic!("not cancelled"),
    };
    assert_eq!(code(answer), SqlState::QUERY_CANCELED);
    // A cancel that came late may still hit the next statement, as it may without a proxy.
    let alive = async || client.query_one("SELECT 1", &[]).await.is_ok();
    crate::fixture::eventually_async("the session goes on", alive).await;

    client
        .batch_execute("SET statement_timeout = '100ms'")
        .await
        .expect("SET");
    assert_eq!(
        code(client.query(sleep, &[]).await),
        SqlState::QUERY_CANCELED
    );
    let show = "SHOW statement_timeout";
    assert_eq!(value::<String>(client, show, &[]).await, "100ms");
    client
        .batch_execute("RESET statement_timeout")
        .await
        .expect("RESET");
    assert_eq!(value::<String>(client, show, &[]).await, "0");
}

async fn notices_and_notifications(url: &str, other: &Client) {
    let (client, mut messages) = connect_listening(url).await;
    client
        .batch_execute("DO $$ BEGIN RAISE NOTICE 'hear, hear'; END $$; LISTEN drv_tokio")
        .await
        .expect("a notice");
    other
        .batch_execute("NOTIFY drv_tokio, 'first'")
        .await
        .expect("NOTIFY");
    other
        .query("SELECT pg_notify('drv_tokio', 'second')", &[])
        .await
        .expect("pg_notify");
    let mut heard = Vec::new();
    while heard.len() < 3 {
        let next = tokio::time::timeout(Duration::from_secs(20), messages.recv());
        match next.await.expect("in time").expect("open") {
            AsyncMessage::Notice(notice) => heard.push(notice.message().to_owned()),
            AsyncMessage::Notification(event) => heard.push(event.payload().to_owned()),
            _ => {}
        }
    }
    assert_eq!(heard, ["hear, hear", "first", "second"]);
}

async fn types(client: &Client, other: &Client) {
    client
        .batch_execute(
            "CREATE TABLE drv_tokio.type (a int2, b int4, c int8, d float4, e float8, f bool, g text,
                                          h bytea, i timestamptz, j int4[], k text[], l text)",
        )
        .await
        .expect("a table");
    let text = "grüße, 世界 🐘 'quoted' \\ back";
    let bytes: Vec<u8> = (0..=255).collect();
    let time = std::time::UNIX_EPOCH + Duration::from_micros(1_711_848_600_000_001);
    let numbers = vec![Some(1), None, Some(3)];
    let texts = vec![Some("a,b"), Some("\""), Some(""), None];
    let nothing: Option<&str> = None;
    client
        .execute(
            "INSERT INTO drv_tokio.type VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
            &[
                &-7i16,
                &i32::MAX,
                &i64::MIN,
                &0.5f32,
                &0.1f64,
                &true,
                &text,
                &bytes,
                &time,
                &numbers,
                &texts,
                &nothing,
            ],
        )
        .await
        .expect("a row");
    for reader in [client, other, client, other] {
        let row = reader
            .query_one("SELECT * FROM drv_tokio.type", &[])
            .await
            .expect("a row");
        assert_eq!(row.get::<_, i16>(0), -7);
        assert_eq!(row.get::<_, i32>(1), i32::MAX);
        assert_eq!(row.get::<_, i64>(2), i64::MIN);
        assert_eq!(row.get::<_, f32>(3), 0.5);
        assert_eq!(row.get::<_, f64>(4), 0.1);
        assert!(row.get::<_, bool>(5));
        assert_eq!(row.get::<_, &str>(6), text);
        assert_eq!(row.get::<_, &[u8]>(7), bytes);
        assert_eq!(row.get::<_, std::time::SystemTime>(8), time);
        assert_eq!(row.get::<_, Vec<Option<i32>>>(9), numbers);
        assert_eq!(row.get::<_, Vec<Option<&str>>>(10), texts);
        assert_eq!(row.get::<_, Option<&str>>(11), nothing);
    }
}
