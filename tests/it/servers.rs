//! The fixture itself: what other tests take for granted.

use crate::fixture::{Postgres, Redis, connect, eventually, psql};

#[tokio::test(flavor = "multi_thread")]
async fn postgres_starts_with_settings_and_knows_the_application() {
    let postgres = Postgres::start(&[("work_mem", "12345kB")]);
    let client = connect(&postgres.url()).await;
    let row = client
        .query_one(
            "SELECT current_user::text, current_setting('work_mem')",
            &[],
        )
        .await
        .expect("an answer");
    assert_eq!(row.get::<_, &str>(0), "app");
    assert_eq!(row.get::<_, &str>(1), "12345kB");
}

#[test]
fn postgres_demands_the_password_of_everybody_but_the_superuser() {
    let postgres = Postgres::start(&[]);
    let wrong = postgres.url().replace("secret", "guess");
    let refused = psql(&wrong, &[], "SELECT 1");
    assert!(!refused.success);
    assert!(
        refused.stderr.contains("password authentication failed"),
        "{refused:?}"
    );
    assert_eq!(postgres.psql("SELECT current_user"), "postgres");
}

#[test]
fn postgres_comes_back_on_its_port_with_its_data() {
    let mut postgres = Postgres::start(&[]);
    postgres.psql("CREATE TABLE kept (x int); INSERT INTO kept VALUES (42); CHECKPOINT");
    postgres.restart();
    assert_eq!(postgres.psql("SELECT x FROM kept"), "42");
    postgres.kill9();
    postgres.restart();
    assert_eq!(postgres.psql("SELECT x FROM kept"), "42");
    postgres.stop(true);
    assert!(!psql(&postgres.url(), &[], "SELECT 1").success);
}

#[test]
fn postgres_leaves_nothing_behind() {
    let postgres = Postgres::start(&[]);
    let (data, pid) = (postgres.data(), postgres.pid());
    drop(postgres);
    assert!(!data.exists());
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn redis_pauses_and_comes_back_empty() {
    let mut redis = Redis::start();
    assert_eq!(redis.command("SET x 1"), "+OK");
    assert_eq!(redis.command("DBSIZE"), ":1");
    redis.pause();
    redis.resume();
    eventually("a resumed Redis answers", || {
        redis.command("PING") == "+PONG"
    });
    redis.restart();
    assert_eq!(redis.command("DBSIZE"), ":0");
}
