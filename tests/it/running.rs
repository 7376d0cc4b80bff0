//! The program as its operator has it: sockets, logins, signals, reloads, logs and explanations.

use std::fs;
use std::net::TcpStream;
use std::process::Command;

use bytes::BytesMut;
use pgditto::wire::frontend;

use crate::fixture::{
    Certificates, Frames, Message, Pgditto, Postgres, PsqlOutput, Signal, Wait, Wire, connect,
    error_code, eventually, psql, run,
};

/// A server whose user `app` has a password, and one table.
fn postgres() -> Postgres {
    let postgres = Postgres::start(&[]);
    postgres.psql_as(
        "app",
        "CREATE TABLE item (id int PRIMARY KEY, name text); INSERT INTO item VALUES (1, 'one')",
    );
    postgres
}

/// psql with libpq's own words for where and how to connect.
fn libpq(conninfo: &str, sql: &str) -> PsqlOutput {
    psql(conninfo, &["-At", "-c", sql], "")
}

/// Logs the application in; the refusal is the error.
fn login(pgditto: &Pgditto) -> Result<Wire, Message> {
    let parameters = [("user", "app"), ("database", "app")];
    Wire::try_login(pgditto.port, 0, &parameters, "secret")
}

/// What `psql` printed, if it ended well.
fn answer(output: &PsqlOutput) -> &str {
    assert!(output.success, "{}", output.stderr);
    output.stdout.trim()
}

#[test]
fn applications_may_come_over_a_unix_socket() {
    let postgres = postgres();
    let folder = tempfile::tempdir().expect("a folder");
    let mut pgditto = Pgditto::start(&postgres, |o| {
        o.set("listen.unix_socket_dir", folder.path().display())
            .set("listen.listen_addr", "127.0.0.1");
    });
    let conninfo = format!(
        "host={} port={} user=app password=secret dbname=app",
        folder.path().display(),
        pgditto.port
    );
    let output = libpq(&conninfo, "SELECT name FROM item");
    assert_eq!(answer(&output), "one");
    let socket = folder.path().join(format!(".s.PGSQL.{}", pgditto.port));
    assert!(socket.exists());
    pgditto.signal(Signal::TERM);
    assert!(pgditto.wait().success());
    assert!(!socket.exists(), "the socket is taken away at the end");
}

#[test]
fn every_auth_type_lets_the_right_password_in_and_no_other() {
    let postgres = postgres();
    for auth_type in ["scram-sha-256", "md5", "trust"] {
        let pgditto = Pgditto::start(&postgres, |o| {
            o.set("auth.auth_type", auth_type);
        });
        let with = |password: &str| {
            libpq(
                &format!(
                    "host=127.0.0.1 port={} user=app password={password} dbname=app",
                    pgditto.port
                ),
                "SELECT name FROM item",
            )
        };
        assert_eq!(answer(&with("secret")), "one", "{auth_type}");
        let wrong = with("wrong");
        assert_eq!(wrong.success, auth_type == "trust", "{auth_type}");
        if auth_type != "trust" {
            assert!(
                wrong
                    .stderr
                    .contains("password authentication failed for user \"app\""),
                "{auth_type}: {}",
                wrong.stderr
            );
        }
        let log = pgditto.log().join("\n");
        assert!(!log.contains("secret") && !log.contains("wrong"), "{log}");
    }
}

#[test]
fn users_of_the_configuration_log_in_with_their_own_passwords() {
    let postgres = postgres();
    postgres.psql("CREATE ROLE reporter LOGIN PASSWORD 'numbers'");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pgditto.toml");
    fs::write(
        &file,
        "[[users]]\nname = \"reporter\"\npassword = \"numbers\"\n",
    )
    .expect("writable");
    let pgditto = Pgditto::start(&postgres, |o| {
        o.args(&["--config", file.to_str().expect("plain")]);
    });
    let with = |user: &str, password: &str| {
        libpq(
            &format!(
                "host=127.0.0.1 port={} user={user} password={password} dbname=app",
                pgditto.port
            ),
            "SELECT session_user",
        )
    };
    assert_eq!(answer(&with("reporter", "numbers")), "reporter");
    assert_eq!(answer(&with("app", "secret")), "app");
    assert!(!with("reporter", "secret").success);
    assert!(!with("nobody", "numbers").success);
}

#[test]
fn applications_may_demand_tls_and_a_server_that_proves_itself() {
    let postgres = postgres();
    let certificates = Certificates::for_names(&["localhost", "127.0.0.1"]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("writable");
        path.display().to_string()
    };
    let authority = file("authority.pem", &certificates.authority_pem);
    let (certificate, key) = (
        file("server.pem", &certificates.certificate_pem),
        file("server.key", &certificates.key_pem),
    );
    let pgditto = Pgditto::start(&postgres, |o| {
        o.set("client_tls.client_tls_sslmode", "require")
            .set("client_tls.client_tls_cert_file", &certificate)
            .set("client_tls.client_tls_key_file", &key);
    });
    let conninfo = |mode: &str| {
        format!(
            "host=localhost hostaddr=127.0.0.1 port={} user=app password=secret dbname=app sslmode={mode} \
             sslrootcert={authority}",
            pgditto.port
        )
    };
    for mode in ["require", "verify-full"] {
        let output = libpq(&conninfo(mode), "SELECT name FROM item");
        assert_eq!(answer(&output), "one", "{mode}");
    }
    let clear = libpq(&conninfo("disable"), "SELECT 1");
    assert!(!clear.success, "a client in clear is turned away");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_a_transaction_end_and_then_says_goodbye() {
    let postgres = postgres();
    let mut pgditto = Pgditto::start(&postgres, |_| {});
    let mut idle = Wire::connect(pgditto.port);
    let mut busy = Wire::connect(pgditto.port);
    busy.query("BEGIN; INSERT INTO item VALUES (2, 'two')");
    pgditto.signal(Signal::TERM);
    let goodbye = idle.read_until(b"E");
    assert_eq!(goodbye.last().expect("an error").code(), "57P01");
    eventually("nobody listens any more", || {
        TcpStream::connect(("127.0.0.1", pgditto.port)).is_err()
    });
    assert_eq!(
        pgditto.try_http("GET", "/readyz").map(|reply| reply.status),
        Some(503)
    );
    busy.query("COMMIT");
    let goodbye = busy.read_until(b"E");
    assert_eq!(goodbye.last().expect("an error").code(), "57P01");
    assert!(pgditto.wait().success());
    assert_eq!(postgres.psql_as("app", "SELECT count(*) FROM item"), "2");
}

#[test]
fn a_drain_ends_at_its_time_limit() {
    let postgres = postgres();
    let mut pgditto = Pgditto::start(&postgres, |o| {
        o.set("listen.drain_timeout", "300ms");
    });
    let mut busy = Wire::connect(pgditto.port);
    busy.query("BEGIN; INSERT INTO item VALUES (2, 'two')");
    pgditto.signal(Signal::TERM);
    assert!(pgditto.wait().success());
    assert_eq!(postgres.psql_as("app", "SELECT count(*) FROM item"), "1");
}

#[test]
fn a_second_sigterm_and_sigquit_stop_at_once() {
    let postgres = postgres();
    for signals in [&[Signal::TERM, Signal::TERM][..], &[Signal::QUIT]] {
        let mut pgditto = Pgditto::start(&postgres, |o| {
            o.set("listen.drain_timeout", "1h");
        });
        let mut busy = Wire::connect(pgditto.port);
        busy.query("BEGIN; INSERT INTO item VALUES (2, 'two')");
        for (index, &signal) in signals.iter().enumerate() {
            if index > 0 {
                // Two signals at once are one.
                pgditto.await_log("draining");
            }
            pgditto.signal(signal);
        }
        assert!(pgditto.wait().success());
        assert_eq!(postgres.psql_as("app", "SELECT count(*) FROM item"), "1");
    }
}

#[test]
fn sigint_waits_for_upstream_connections() {
    let postgres = postgres();
    let mut pgditto = Pgditto::start(&postgres, |_| {});
    let mut busy = Wire::connect(pgditto.port);
    busy.query("BEGIN; INSERT INTO item VALUES (2, 'two')");
    pgditto.signal(Signal::INT);
    pgditto.await_log("draining");
    assert_eq!(busy.value("SELECT count(*) FROM item"), "2");
    busy.query("COMMIT");
    assert!(pgditto.wait().success());
    assert_eq!(postgres.psql_as("app", "SELECT count(*) FROM item"), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigusr1_pauses_and_sigusr2_resumes() {
    let postgres = postgres();
    let pgditto = Pgditto::start(&postgres, |o| {
        o.set("cache.mode", "off");
    });
    let client = connect(&pgditto.url("app", "app")).await;
    client.query("SELECT 1", &[]).await.expect("an answer");
    pgditto.signal(Signal::USR1);
    let paused = |value: f64| {
        let name = "pgbouncer_databases_paused";
        eventually("the pools are paused or not", || {
            let metrics = pgditto.metrics();
            assert!(metrics.series(name).next().is_some(), "{name} is exported");
            metrics.sum(name, &[("name", "app")]) == value
        });
    };
    paused(1.0);
    let waiting = tokio::spawn(async move { client.query_one("SELECT 7", &[]).await });
    eventually("a client waits", || {
        pgditto
            .metrics()
            .sum("pgbouncer_pools_client_waiting_connections", &[])
            == 1.0
    });
    assert!(!waiting.is_finished());
    pgditto.signal(Signal::USR2);
    let row = waiting.await.expect("no panic").expect("an answer");
    assert_eq!(row.get::<_, i32>(0), 7);
    paused(0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reloads_without_dropping_a_client_and_says_what_waits_for_a_restart() {
    let postgres = postgres();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pgditto.toml");
    let write = |text: &str| fs::write(&file, text).expect("writable");
    write("[listen]\nmax_client_conn = 50\n");
    let pgditto = Pgditto::start(&postgres, |o| {
        o.args(&["--config", file.to_str().expect("plain")]);
    });
    let mut client = Wire::connect(pgditto.port);
    client.query("BEGIN; SET LOCAL search_path = pg_catalog");

    write("[listen]\nmax_client_conn = 1\n[log]\nlevel = \"debug\"\n");
    pgditto.signal(Signal::HUP);
    let line = pgditto.await_log("these changes take effect after a restart");
    assert!(line.contains("log.level"), "{line}");
    let line = pgditto.await_log("configuration reloaded");
    assert!(line.contains("listen.max_client_conn"), "{line}");
    let refused = login(&pgditto).err();
    assert_eq!(refused.expect("one too many").code(), "53300");

    write("[listen]\nmax_client_con = 100\n");
    pgditto.signal(Signal::HUP);
    let line = pgditto.await_log("the configuration was not reloaded");
    assert!(line.contains("max_client_conn"), "the nearest key: {line}");
    assert!(line.contains("2"), "the line: {line}");

    assert_eq!(client.value("SHOW search_path"), "pg_catalog");
    client.query("COMMIT");
}

#[test]
fn a_slow_statement_is_one_line_with_where_its_time_went_and_no_literal() {
    let postgres = postgres();
    let pgditto = Pgditto::start(&postgres, |o| {
        o.set("slow_log.warn", "100ms")
            .set("slow_log.error", "400ms")
            .set("log.format", "json");
    });
    let mut client = Wire::connect_to(
        pgditto.port,
        "app",
        &[("application_name", "the application")],
    );
    eventually("the cache answers", || {
        client.query("SELECT name FROM item");
        pgditto.metrics().sum("pgditto_hits_total", &[]) > 0.0
    });
    client.query("SELECT name, pg_sleep(0.15) FROM item WHERE name <> 'private matter'");
    let line = pgditto.await_log("slow query");
    assert!(!line.contains("private matter"), "{line}");
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let number = |field: &str| {
        line[field]
            .as_f64()
            .unwrap_or_else(|| panic!("{field}: {line}"))
    };
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["database"], "app");
    assert_eq!(line["user"], "app");
    assert_eq!(line["application_name"], "the application");
    assert!(
        line["client"]
            .as_str()
            .is_some_and(|it| it.starts_with("127.0.0.1:")),
        "{line}"
    );
    assert_eq!(
        (&line["outcome"], &line["reason"]),
        (&"bypass".into(), &"volatile_function".into())
    );
    assert_eq!(number("rows"), 1.0);
    assert!(number("bytes") > 10.0);
    assert!(number("upstream_ms") >= 150.0 && number("total_ms") >= number("upstream_ms"));
    assert!(number("wait_ms") >= 0.0 && number("send_ms") >= 0.0);
    assert_eq!(
        line["statement"],
        "select name, pg_sleep(?) from item where name <> ?"
    );
    assert_eq!(line["shape"].as_str().map(str::len), Some(16), "{line}");

    client.query("SELECT pg_sleep(0.45)");
    let line = pgditto.await_log("\"ERROR\"");
    assert!(line.contains("slow query"), "{line}");
}

#[test]
fn explain_says_whether_why_and_on_what() {
    let postgres = postgres();
    postgres.psql_as("app", "CREATE VIEW named AS SELECT name FROM item");
    let explain_with = |args: &[&str], sql: &str| {
        let mut command: Command = Command::new(env!("CARGO_BIN_EXE_pgditto"));
        command.args(["explain", "--upstream", &postgres.url(), sql]);
        command.args(args);
        let output = run(command, "");
        assert!(output.success, "{}", output.stderr);
        output.stdout
    };
    let explain = |sql: &str| explain_with(&[], sql);
    let cached = explain("SELECT * FROM named WHERE name = 'one'");
    assert!(
        cached.contains("decision:   answered from the cache"),
        "{cached}"
    );
    assert!(cached.contains("item"), "it depends on the table: {cached}");
    assert!(!cached.contains("'one'"), "{cached}");
    let keyed = explain("SELECT * FROM item WHERE name = 'one'");
    assert!(
        keyed.contains("depends on: public.item (name = ?)"),
        "{keyed}"
    );
    let volatile = explain("SELECT random() FROM item");
    assert!(volatile.contains("volatile_function"), "{volatile}");
    let write = explain("UPDATE item SET name = 'two'");
    assert!(write.contains("item"), "{write}");
    postgres.psql_as(
        "app",
        "CREATE FUNCTION twice(x int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 2 * x; END'",
    );
    let call = "SELECT twice(4)";
    assert!(explain(call).contains("user_function"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("vouched.toml");
    std::fs::write(&path, "[[cache.rules]]\nfunctions = [\"twice\"]\n").expect("space");
    let vouched = explain_with(&["--config", path.to_str().expect("UTF-8")], call);
    assert!(vouched.contains("answered from the cache"), "{vouched}");
}

#[test]
fn a_server_that_is_not_there_is_a_clear_error_and_no_reason_to_end() {
    let mut postgres = postgres();
    let url = postgres.url();
    postgres.stop(true);
    let pgditto = Pgditto::start(&postgres, |o| {
        o.upstream(url)
            .set("upstream.server_connect_timeout", "1s")
            .set("pool.query_wait_timeout", "2s")
            .wait(Wait::Listening);
    });
    assert_eq!(
        pgditto.try_http("GET", "/readyz").map(|reply| reply.status),
        Some(503)
    );
    assert_eq!(
        pgditto
            .try_http("GET", "/healthz")
            .map(|reply| reply.status),
        Some(200)
    );
    let refused = login(&pgditto).err();
    assert_eq!(refused.expect("nobody to ask").code(), "57P03");
    postgres.restart();
    eventually("the server is found again", || login(&pgditto).is_ok());
}

#[test]
fn cancels_and_operators_get_in_when_every_place_is_taken() {
    let postgres = postgres();
    let pgditto = Pgditto::start(&postgres, |o| {
        o.set("listen.max_client_conn", 1)
            .set("auth.admin_users", "['app']");
    });
    let mut busy = Wire::connect(pgditto.port);
    busy.send(Frames::new().query("SELECT pg_sleep(30)").bytes());
    assert_eq!(login(&pgditto).err().expect("one too many").code(), "53300");
    let output = psql(
        &pgditto.url("app", "pgbouncer"),
        &["-At", "-c", "SHOW LISTS"],
        "",
    );
    assert!(answer(&output).contains("used_clients|"), "{output:?}");
    eventually("the statement is under way", || {
        postgres.psql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)%' AND pid <> pg_backend_pid()") == "1"
    });
    let mut request = BytesMut::new();
    frontend::cancel_request(&mut request, busy.pid, &busy.key);
    Wire::open(pgditto.port).send(&request);
    let replies = busy.until_ready();
    assert_eq!(error_code(&replies), "57014");
}

#[test]
fn options_of_the_url_hold_for_every_session() {
    let postgres = postgres();
    postgres.psql_as(
        "app",
        "CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.item AS SELECT 'other' AS name",
    );
    let url = postgres.url() + "?options=-c%20work_mem%3D7MB%20-c%20search_path%3Delsewhere";
    let pgditto = Pgditto::start(&postgres, |o| {
        o.upstream(url + "&application_name=shop")
            .set("pool.default_pool_size", 1);
    });
    let through = pgditto.url("app", "app");
    let set_and_reset = "SET work_mem = '1MB'; RESET work_mem";
    let output = psql(
        &through,
        &["-At", "-c", set_and_reset, "-c", "SHOW work_mem"],
        "",
    );
    assert!(output.stdout.ends_with("7MB\n"), "{output:?}");
    eventually("a hit", || {
        let output = libpq(&through, "SELECT name FROM item");
        assert_eq!(output.stdout, "other\n", "{output:?}");
        pgditto.metrics().sum("pgditto_hits_total", &[]) > 0.0
    });
    // And what is pgditto's own is called so.
    let named = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'shop %'";
    assert_eq!(postgres.psql(named), "1");
}

#[test]
fn pgditto_leaves_nothing_in_the_server_that_applications_look_at() {
    let postgres = postgres();
    let pgditto = Pgditto::start(&postgres, |o| {
        o.set(
            "upstream.application_name",
            "a name that is longer than any server keeps",
        );
    });
    let mut client = Wire::connect(pgditto.port);
    eventually("the cache answers", || {
        client.query("SELECT name FROM item");
        pgditto.metrics().sum("pgditto_hits_total", &[]) > 0.0
    });
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' OR locktype = 'object'";
    assert_eq!(client.value(locks), "0");
    let left = "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname LIKE '%ditto%') \
                + (SELECT count(*) FROM pg_class WHERE relname LIKE '%ditto%') \
                + (SELECT count(*) FROM pg_proc WHERE proname LIKE '%ditto%')";
    assert_eq!(client.value(left), "0");
}
