//! Users whom nobody lists: the server itself says whether a password is right.

use super::{ask, libpq, loopback, offer_tls, server_secret};
use crate::fixture::{Options, Pgditto, Postgres, PsqlOutput, connect, eventually_async, psql};

/// Passwords come in clear from this machine.
fn pass_through(options: &mut Options) -> &mut Options {
    options
        .set("auth.auth_type", "passthrough")
        .set("auth.passthrough_without_tls", "loopback")
}

fn login(pgditto: &Pgditto, user: &str, password: &str) -> PsqlOutput {
    ask(pgditto.port, user, password, "app", "SELECT current_user")
}

fn let_in(pgditto: &Pgditto, user: &str, password: &str) {
    let output = login(pgditto, user, password);
    assert_eq!(output.stdout.trim(), user, "{output:?}");
}

fn refused(pgditto: &Pgditto, user: &str, password: &str, expected: &str) {
    let output = login(pgditto, user, password);
    assert!(output.stderr.contains(expected), "{expected}: {output:?}");
}

fn wrong(pgditto: &Pgditto, user: &str, password: &str) {
    let expected = format!("password authentication failed for user \"{user}\"");
    refused(pgditto, user, password, &expected);
}

/// How many passwords of this user the server has refused, by its own log.
fn refusals(postgres: &Postgres, user: &str) -> usize {
    let line = format!("password authentication failed for user \"{user}\"");
    postgres.log().matches(&line).count()
}

fn connections(postgres: &Postgres, user: &str) -> String {
    postgres.psql(&format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = '{user}'"
    ))
}

#[test]
fn any_user_gets_into_any_database_with_the_servers_own_password() {
    let postgres = Postgres::start(&[]);
    postgres.psql(
        "CREATE ROLE amy LOGIN PASSWORD 'pencil';
         CREATE ROLE bob LOGIN PASSWORD 'brush';
         CREATE ROLE idle NOLOGIN PASSWORD 'pencil'; CREATE DATABASE other;
         SET password_encryption = md5; CREATE ROLE old LOGIN PASSWORD 'chalk'",
    );
    postgres.allow("host all old 127.0.0.1/32 md5");
    let pgditto = Pgditto::start(&postgres, |o| {
        pass_through(o).set("log.level", "trace");
    });
    for (user, password) in [("amy", "pencil"), ("bob", "brush"), ("old", "chalk")] {
        let_in(&pgditto, user, password);
        let_in(&pgditto, user, password);
        let output = ask(
            pgditto.port,
            user,
            password,
            "other",
            "SELECT current_user, current_database()",
        );
        assert_eq!(output.stdout.trim(), format!("{user}|other"), "{output:?}");
    }
    // Who is listed here needs no answer of the server's.
    let_in(&pgditto, "app", "secret");
    wrong(&pgditto, "app", "pencil");
    for (user, password) in [("amy", "brush"), ("nobody", "pencil")] {
        wrong(&pgditto, user, password);
    }
    refused(&pgditto, "idle", "pencil", "is not permitted to log in");
    let output = ask(pgditto.port, "amy", "pencil", "nowhere", "SELECT 1");
    let expected = "database \"nowhere\" does not exist";
    assert!(output.stderr.contains(expected), "{output:?}");
    let log = pgditto.log().join("\n");
    for secret in [&server_secret(&postgres, "amy"), "pencil", "brush", "chalk"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn passwords_are_asked_for_in_clear_only_where_that_was_chosen() {
    let postgres = Postgres::start(&[]);
    postgres.psql("CREATE ROLE amy LOGIN PASSWORD 'pencil'");
    let tls = loopback();
    let folder = tempfile::tempdir().expect("a folder");
    let pgditto = Pgditto::start(&postgres, |o| {
        offer_tls(o, "allow", &tls);
        o.set("auth.auth_type", "passthrough")
            .set("auth.passthrough_without_tls", "unix")
            .set("listen.unix_socket_dir", folder.path().display());
    });
    let output = libpq(pgditto.port, "user=amy password=pencil sslmode=require");
    assert_eq!(output.stdout.trim(), "1", "{output:?}");
    refused(&pgditto, "amy", "pencil", "connection requires TLS");
    let conninfo = format!(
        "host={} port={} user=amy password=pencil dbname=app",
        folder.path().display(),
        pgditto.port
    );
    let output = psql(&conninfo, &["-Atq", "-c", "SELECT 1"], "");
    assert_eq!(output.stdout.trim(), "1", "{output:?}");
}

#[test]
fn whom_the_server_would_let_in_without_a_password_stays_outside() {
    let postgres = Postgres::start(&[]);
    postgres
        .psql("CREATE ROLE amy LOGIN PASSWORD 'pencil'; CREATE ROLE bob LOGIN PASSWORD 'brush'");
    postgres.allow("host all amy 127.0.0.1/32 trust\nhost all bob 127.0.0.1/32 password");
    let pgditto = Pgditto::start(&postgres, |o| {
        pass_through(o);
    });
    for (user, password) in [("amy", "pencil"), ("amy", "guess"), ("postgres", "guess")] {
        refused(
            &pgditto,
            user,
            password,
            "the server asks no password of user",
        );
    }
    refused(
        &pgditto,
        "bob",
        "brush",
        "passwords in clear, which are not kept",
    );
}

#[test]
fn password_that_was_changed_counts_at_once_and_the_old_one_no_longer_than_configured() {
    let postgres = Postgres::start(&[]);
    postgres.psql("CREATE ROLE amy LOGIN PASSWORD 'pencil'");
    let patient = Pgditto::start(&postgres, |o| {
        pass_through(o).set("auth.passthrough_ttl", "1h");
    });
    let strict = Pgditto::start(&postgres, |o| {
        pass_through(o).set("auth.passthrough_ttl", "0");
    });
    for pgditto in [&patient, &strict] {
        let_in(pgditto, "amy", "pencil");
    }
    postgres.psql("ALTER ROLE amy PASSWORD 'brush'");
    let_in(&patient, "amy", "pencil");
    wrong(&strict, "amy", "pencil");
    for pgditto in [&patient, &strict] {
        let_in(pgditto, "amy", "brush");
        wrong(pgditto, "amy", "pencil");
        let_in(pgditto, "amy", "brush");
    }
    postgres.psql("ALTER ROLE amy NOLOGIN");
    refused(&strict, "amy", "brush", "is not permitted to log in");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_a_user_whom_the_server_refuses_are_closed() {
    let postgres = Postgres::start(&[]);
    postgres.psql("CREATE ROLE amy LOGIN PASSWORD 'pencil'; CREATE DATABASE other");
    let pgditto = Pgditto::start(&postgres, |o| {
        pass_through(o).set("auth.passthrough_ttl", "0");
    });
    let conninfo = |database: &str| {
        format!(
            "host=127.0.0.1 port={} user=amy password=pencil dbname={database}",
            pgditto.port
        )
    };
    let session = connect(&conninfo("app")).await;
    session.simple_query("SELECT 1").await.expect("an answer");
    let other = connect(&conninfo("other")).await;
    other.simple_query("SELECT 1").await.expect("an answer");
    assert_eq!(connections(&postgres, "amy"), "2");
    postgres.psql("ALTER ROLE amy PASSWORD 'brush'");
    // Somebody's guess closes nothing.
    wrong(&pgditto, "amy", "guess");
    assert_eq!(connections(&postgres, "amy"), "2");
    wrong(&pgditto, "amy", "pencil");
    eventually_async("they are closed", async || {
        connections(&postgres, "amy") == "0"
    })
    .await;
    // What was remembered is gone: the server is not asked again with it.
    let before = refusals(&postgres, "amy");
    for _ in 0..3 {
        let answer = session.simple_query("SELECT pg_backend_pid()").await;
        assert!(answer.is_err());
    }
    assert_eq!(refusals(&postgres, "amy"), before);
    let_in(&pgditto, "amy", "brush");
    session.simple_query("SELECT 1").await.expect("an answer");
}

#[test]
fn too_many_wrong_passwords_of_a_user_do_not_reach_the_server() {
    let postgres = Postgres::start(&[]);
    postgres
        .psql("CREATE ROLE amy LOGIN PASSWORD 'pencil'; CREATE ROLE bob LOGIN PASSWORD 'brush'");
    let pgditto = Pgditto::start(&postgres, |o| {
        pass_through(o)
            .set("upstream.login_failures_max", 2)
            .set("upstream.login_failures_window", "1h")
            .set("auth.passthrough_ttl", "0");
    });
    let_in(&pgditto, "amy", "pencil");
    for guess in ["a", "b"] {
        wrong(&pgditto, "amy", guess);
        wrong(&pgditto, "bob", guess);
    }
    for user in ["amy", "bob"] {
        refused(&pgditto, user, "c", "too many failed logins of user");
        assert_eq!(refusals(&postgres, user), 2);
    }
    // Nobody can shut out a user who was in a while ago.
    let_in(&pgditto, "amy", "pencil");
    refused(&pgditto, "bob", "brush", "too many failed logins of user");
    let failed = |outcome: &str| {
        let labels = [("outcome", outcome)];
        pgditto
            .metrics()
            .sum("pgditto_upstream_failed_logins_total", &labels)
    };
    assert_eq!((failed("refused"), failed("withheld")), (4.0, 3.0));
}

#[test]
fn keys_are_forgotten_when_nobody_of_the_user_is_left() {
    let postgres = Postgres::start(&[]);
    postgres.psql("CREATE ROLE amy LOGIN PASSWORD 'pencil'");
    let pgditto = Pgditto::start(&postgres, |o| {
        pass_through(o).set("auth.learned_lifetime", "1ms");
    });
    let_in(&pgditto, "amy", "pencil");
    crate::fixture::eventually("the user's connections are closed", || {
        connections(&postgres, "amy") == "0"
    });
    let_in(&pgditto, "amy", "pencil");
}

#[test]
fn a_server_that_is_away_is_no_wrong_password() {
    let mut postgres = Postgres::start(&[]);
    postgres.psql("CREATE ROLE amy LOGIN PASSWORD 'pencil'");
    let pgditto = Pgditto::start(&postgres, |o| {
        pass_through(o).set("upstream.login_failures_max", 1);
    });
    postgres.stop(true);
    for _ in 0..3 {
        refused(
            &pgditto,
            "amy",
            "pencil",
            "the upstream server cannot be reached",
        );
    }
    postgres.restart();
    let_in(&pgditto, "amy", "pencil");
}
