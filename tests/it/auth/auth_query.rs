//! Users whom only the server knows.

use super::{ask, server_secret};
use crate::fixture::{Options, Pgditto, Postgres, connect, eventually_async};

fn asking(options: &mut Options, postgres: &Postgres) {
    let url = format!("postgres://postgres@127.0.0.1:{}/app", postgres.port);
    options.upstream(url).set("auth.auth_user", "postgres");
}

fn refused(pgditto: &Pgditto, user: &str, password: &str) {
    let output = ask(pgditto.port, user, password, "app", "SELECT 1");
    let expected = format!("password authentication failed for user \"{user}\"");
    assert!(output.stderr.contains(&expected), "{output:?}");
}

fn let_in(pgditto: &Pgditto, user: &str, password: &str) {
    let output = ask(pgditto.port, user, password, "app", "SELECT current_user");
    assert_eq!(output.stdout.trim(), user, "{output:?}");
}

#[test]
fn users_of_the_server_log_in_without_being_listed() {
    let postgres = Postgres::start(&[]);
    postgres.psql(
        "CREATE ROLE amy LOGIN PASSWORD 'pencil';
         CREATE ROLE idle NOLOGIN PASSWORD 'pencil';
         CREATE ROLE late LOGIN PASSWORD 'pencil' VALID UNTIL '2001-01-01';
         CREATE ROLE bare LOGIN",
    );
    let pgditto = Pgditto::start(&postgres, |o| {
        asking(o, &postgres);
        o.set("log.level", "debug");
    });
    let_in(&pgditto, "amy", "pencil");
    let_in(&pgditto, "amy", "pencil");
    let_in(&pgditto, "app", "secret");
    refused(&pgditto, "amy", "brush");
    // Whether they exist is not to be told apart.
    for user in ["idle", "late", "bare", "nobody", "' OR true --"] {
        refused(&pgditto, user, "pencil");
    }
    let log = pgditto.log().join("\n");
    for secret in [&server_secret(&postgres, "amy"), "pencil", "SCRAM-SHA-256$"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn password_that_was_changed_counts_after_one_refusal() {
    let postgres = Postgres::start(&[]);
    postgres.psql("CREATE ROLE amy LOGIN PASSWORD 'pencil'");
    let pgditto = Pgditto::start(&postgres, |o| {
        asking(o, &postgres);
        o.set("auth.auth_query_ttl", "1h");
    });
    let_in(&pgditto, "amy", "pencil");
    postgres.psql("ALTER ROLE amy PASSWORD 'brush'");
    refused(&pgditto, "amy", "brush");
    let_in(&pgditto, "amy", "brush");
    refused(&pgditto, "amy", "pencil");
}

#[test]
fn a_function_in_one_database_may_answer_for_all() {
    let postgres = Postgres::start(&[]);
    postgres.psql(
        "CREATE ROLE amy LOGIN PASSWORD 'pencil';
         CREATE ROLE asker LOGIN PASSWORD 'question';
         CREATE DATABASE other;
         CREATE FUNCTION lookup(INOUT name text, OUT secret text) LANGUAGE sql SECURITY DEFINER
            AS $$ SELECT usename, passwd FROM pg_shadow WHERE usename = name AND NOT usesuper $$",
    );
    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join("userlist.txt");
    std::fs::write(&list, "\"asker\" \"question\"\n").expect("a file");
    let pgditto = Pgditto::start(&postgres, |o| {
        o.upstream(format!("postgres://127.0.0.1:{}/app", postgres.port))
            .set("auth.auth_file", list.display())
            .set("auth.auth_user", "asker")
            .set("auth.auth_dbname", "app")
            .set("auth.auth_query", "SELECT * FROM lookup($1)");
    });
    let output = ask(
        pgditto.port,
        "amy",
        "pencil",
        "other",
        "SELECT current_database()",
    );
    assert_eq!(output.stdout.trim(), "other", "{output:?}");
    // The function keeps superusers out.
    refused(&pgditto, "postgres", "pencil");
}

#[test]
fn question_that_fails_lets_nobody_in_and_stops_nobody_who_is_listed() {
    let postgres = Postgres::start(&[]);
    let pgditto = Pgditto::start(&postgres, |o| {
        o.set("auth.auth_user", "app");
    });
    // `app` may not read pg_authid.
    let output = ask(pgditto.port, "amy", "pencil", "app", "SELECT 1");
    let expected = "the server could not be asked who may log in";
    assert!(output.stderr.contains(expected), "{output:?}");
    let_in(&pgditto, "app", "secret");
    let output = ask(pgditto.port, "amy", "pencil", "nowhere", "SELECT 1");
    let expected = "database \"nowhere\" does not exist";
    assert!(output.stderr.contains(expected), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_of_a_password_that_was_changed_is_refused_once_and_replaced_by_the_next_login() {
    let postgres = Postgres::start(&[]);
    postgres.psql("CREATE ROLE amy LOGIN PASSWORD 'pencil'; CREATE DATABASE other");
    let pgditto = Pgditto::start(&postgres, |o| {
        asking(o, &postgres);
        o.set("auth.auth_query_ttl", "0");
    });
    let conninfo = |database: &str| {
        format!(
            "host=127.0.0.1 port={} user=amy password=pencil dbname={database}",
            pgditto.port
        )
    };
    // Databases that nobody has named in the configuration.
    let session = connect(&conninfo("app")).await;
    let other = connect(&conninfo("other")).await;
    other.simple_query("SELECT 1").await.expect("an answer");
    session.simple_query("SELECT 1").await.expect("an answer");
    postgres.psql(
        "ALTER ROLE amy PASSWORD 'brush';
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'amy'",
    );
    // Its connection is gone, and the key opens no other.
    let expected = "authentication with the upstream server failed";
    eventually_async("the key is refused", async || {
        let answer = session.simple_query("SELECT pg_backend_pid()").await;
        let error = answer.err().and_then(|error| error.as_db_error().cloned());
        error.is_some_and(|error| error.message() == expected)
    })
    .await;
    let_in(&pgditto, "amy", "brush");
    session.simple_query("SELECT 1").await.expect("an answer");
    refused(&pgditto, "amy", "pencil");
}
