//! Users in PgBouncer's list, with passwords or with what the server keeps of them.

use super::{ask, server_secret};
use crate::fixture::{Options, Pgditto, Postgres, eventually};

/// A list with these lines, to which the application's own user is added.
fn listed(folder: &tempfile::TempDir, lines: &str) -> std::path::PathBuf {
    let path = folder.path().join("userlist.txt");
    std::fs::write(&path, format!("; users\n\"app\" \"secret\"\n{lines}\n")).expect("a file");
    path
}

fn roles(postgres: &Postgres) {
    postgres
        .psql("CREATE ROLE amy LOGIN PASSWORD 'pencil'; CREATE ROLE bob LOGIN PASSWORD 'brush'");
}

/// The server of `postgres` and none of its users.
fn no_user(options: &mut Options, postgres: &Postgres) {
    options.upstream(format!("postgres://127.0.0.1:{}/app", postgres.port));
}

#[test]
fn listed_users_log_in_with_passwords_and_with_the_servers_secrets() {
    let postgres = Postgres::start(&[]);
    roles(&postgres);
    let folder = tempfile::tempdir().expect("a folder");
    let secret = server_secret(&postgres, "bob");
    assert!(secret.starts_with("SCRAM-SHA-256$"));
    let list = listed(
        &folder,
        &format!("\"amy\" \"pencil\"\n\"bob\" \"{secret}\" \"\""),
    );
    let pgditto = Pgditto::start(&postgres, |o| {
        no_user(o, &postgres);
        o.set("auth.auth_file", list.display());
    });
    let login = |user, password| ask(pgditto.port, user, password, "app", "SELECT current_user");
    // Nobody has told pgditto bob's password: the server takes what bob's own login has shown.
    for (user, password) in [("amy", "pencil"), ("bob", "brush"), ("app", "secret")] {
        let output = login(user, password);
        assert_eq!(output.stdout.trim(), user, "{output:?}");
    }
    for (user, password) in [
        ("amy", "brush"),
        ("bob", "pencil"),
        ("eve", "pencil"),
        ("bob", &secret),
    ] {
        let output = login(user, password);
        let expected = format!("password authentication failed for user \"{user}\"");
        assert!(output.stderr.contains(&expected), "{output:?}");
    }
    let log = pgditto.log().join("\n");
    assert!(!log.contains("SCRAM-SHA-256$") && !log.contains("pencil"));
}

#[test]
fn secret_that_is_not_the_servers_opens_no_session() {
    let postgres = Postgres::start(&[]);
    roles(&postgres);
    let folder = tempfile::tempdir().expect("a folder");
    let before = server_secret(&postgres, "bob");
    // The same password, salted anew.
    postgres.psql("ALTER ROLE bob PASSWORD 'brush'");
    let list = listed(&folder, &format!("\"bob\" \"{before}\""));
    let pgditto = Pgditto::start(&postgres, |o| {
        no_user(o, &postgres);
        o.set("auth.auth_file", list.display());
    });
    let login = || ask(pgditto.port, "bob", "brush", "app", "SELECT current_user");
    let output = login();
    let expected = "authentication with the upstream server failed";
    assert!(output.stderr.contains(expected), "{output:?}");
    // The list is read again when it changes.
    listed(
        &folder,
        &format!("\"bob\" \"{}\"", server_secret(&postgres, "bob")),
    );
    eventually("bob is let in", || login().success);
}

#[test]
fn md5_secrets_log_in_on_both_sides() {
    let postgres = Postgres::start(&[("password_encryption", "md5")]);
    postgres.allow("host all amy 127.0.0.1/32 md5");
    roles(&postgres);
    let folder = tempfile::tempdir().expect("a folder");
    let secret = server_secret(&postgres, "amy");
    assert!(secret.starts_with("md5"));
    let list = listed(&folder, &format!("\"amy\" \"{secret}\""));
    let pgditto = Pgditto::start(&postgres, |o| {
        no_user(o, &postgres);
        o.set("auth.auth_file", list.display())
            .set("auth.auth_type", "md5");
    });
    let login = |password| ask(pgditto.port, "amy", password, "app", "SELECT current_user");
    assert_eq!(login("pencil").stdout.trim(), "amy");
    assert!(!login("brush").success);
}

#[test]
fn broken_list_is_named_by_its_line_and_shows_no_secret() {
    let postgres = Postgres::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let list = listed(&folder, "\"amy\" pencil");
    let mut pgditto = Pgditto::start(&postgres, |o| {
        o.set("auth.auth_file", list.display())
            .wait(crate::fixture::Wait::Nothing);
    });
    assert!(!pgditto.wait().success());
    pgditto.await_log("userlist.txt:3: expected a name and a secret in quotes");
    assert!(!pgditto.log().join("\n").contains("pencil"));
}
