//! What an operator changes while the process runs holds from then on.

use crate::fixture::{DATABASE, Pgditto, Postgres, Signal, USER, Wire, eventually, psql};

/// A value as `SHOW CONFIG` has it.
fn shown(pgditto: &Pgditto, key: &str) -> String {
    let console = pgditto.url(USER, "pgbouncer");
    let output = psql(&console, &["-At", "-c", "SHOW CONFIG"], "");
    let line = output.stdout.lines().find(|line| line.starts_with(key));
    let line = line.unwrap_or_else(|| panic!("no {key}: {output:?}"));
    let value = line.split('|').nth(1).expect("a value");
    value.trim_matches('"').to_owned()
}

#[test]
fn values_set_on_the_console_hold_until_the_process_ends() {
    let postgres = Postgres::start(&[]);
    let mut pgditto = Pgditto::start(&postgres, |options| {
        options.set("auth.admin_users", USER);
    });
    let console = pgditto.url(USER, "pgbouncer");
    for command in [
        "SET query_wait_timeout = '7s'",
        "SET cache.ttl = '8s'",
        "RELOAD",
    ] {
        let output = psql(&console, &["-c", command], "");
        assert!(output.success, "{command}: {output:?}");
    }
    assert_eq!(shown(&pgditto, "query_wait_timeout"), "7s");
    assert_eq!(shown(&pgditto, "cache.ttl"), "8s");
    pgditto.restart();
    assert_eq!(shown(&pgditto, "cache.ttl"), "1m");
}

#[test]
fn a_password_file_that_changes_is_read_without_a_word() {
    let postgres = Postgres::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("password");
    std::fs::write(&path, "secret\n").expect("space on the disk");
    let pgditto = Pgditto::start(&postgres, |options| {
        options
            .upstream(format!(
                "postgres://{USER}@127.0.0.1:{}/{DATABASE}",
                postgres.port
            ))
            .set("upstream.password_file", path.display());
    });
    let parameters = [("user", USER), ("database", DATABASE)];
    let login = |password: &str| Wire::try_login(pgditto.port, 0, &parameters, password).is_ok();
    assert!(login("secret") && !login("another"));
    postgres.psql("ALTER ROLE app PASSWORD 'another'");
    // As Kubernetes and careful administrators do it: the new file takes the old one's place.
    let new = folder.path().join("new");
    std::fs::write(&new, "another\n").expect("space on the disk");
    std::fs::rename(&new, &path).expect("the same disk");
    eventually("the new password is known", || login("another"));
    assert!(!login("secret"));
    // The pool knows it as well.
    postgres.psql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE usename = 'app' AND application_name NOT LIKE 'pgditto%'",
    );
    let parameters = [parameters[0], parameters[1], ("work_mem", "3MB")];
    let mut wire = Wire::try_login(pgditto.port, 0, &parameters, "another").expect("let in");
    assert_eq!(wire.value("SHOW work_mem"), "3MB");
}

#[test]
fn a_reload_gives_a_drain_no_more_time() {
    let postgres = Postgres::start(&[]);
    let mut pgditto = Pgditto::start(&postgres, |options| {
        options.set("listen.drain_timeout", "2s");
    });
    let mut wire = Wire::connect(pgditto.port);
    wire.query("BEGIN; SELECT 1");
    pgditto.signal(Signal::TERM);
    pgditto.await_log("draining");
    // More often than the drain may take: it must end all the same.
    eventually("the process ends", || {
        if pgditto.status().is_some() {
            return true;
        }
        pgditto.signal(Signal::HUP);
        false
    });
}
