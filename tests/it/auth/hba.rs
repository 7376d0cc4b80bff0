//! Rules in the syntax of `pg_hba.conf`, by real clients.

use std::path::PathBuf;

use super::{ask, libpq, loopback, offer_tls, server_secret};
use crate::fixture::{Options, Pgditto, Postgres, PsqlOutput, Signal, Wait, eventually, psql};

/// A folder with `pg_hba.conf` and `pg_ident.conf`.
struct Files(tempfile::TempDir);

impl Files {
    fn new(hba: &str, ident: &str) -> Self {
        let files = Self(tempfile::tempdir().expect("a folder"));
        std::fs::write(files.hba(), hba).expect("a file");
        std::fs::write(files.ident(), ident).expect("a file");
        files
    }

    fn hba(&self) -> PathBuf {
        self.0.path().join("pg_hba.conf")
    }

    fn ident(&self) -> PathBuf {
        self.0.path().join("pg_ident.conf")
    }

    fn obey(&self, options: &mut Options) {
        options
            .set("auth.auth_type", "hba")
            .set("auth.auth_hba_file", self.hba().display())
            .set("auth.auth_ident_file", self.ident().display());
    }
}

fn says(output: &PsqlOutput, expected: &str) {
    assert!(!output.success, "{output:?}");
    assert!(output.stderr.contains(expected), "{expected}: {output:?}");
}

#[test]
fn rules_say_who_proves_what_and_who_stays_outside() {
    let postgres = Postgres::start(&[]);
    postgres.psql(
        "CREATE ROLE amy LOGIN PASSWORD 'pencil'; CREATE ROLE bob LOGIN PASSWORD 'brush';
         CREATE ROLE eve LOGIN PASSWORD 'chalk'; CREATE ROLE ann LOGIN PASSWORD 'ink';
         CREATE DATABASE ann",
    );
    let files = Files::new(
        "host  all       amy  127.0.0.0/8   password\n\
         host  app       bob  samehost      md5\n\
         host  all       eve  127.0.0.1 255.255.255.255 reject\n\
         host  sameuser  ann  samenet       scram-sha-256\n\
         host  app       postgres 127.0.0.1/32 trust\n\
         host  all       nobody 127.0.0.1/32 scram-sha-256\n",
        "",
    );
    let list = files.0.path().join("userlist.txt");
    let lines: String = ["amy", "bob", "eve"]
        .iter()
        .map(|user| format!("\"{user}\" \"{}\"\n", server_secret(&postgres, user)))
        .collect();
    std::fs::write(&list, lines + "\"ann\" \"ink\"\n").expect("a file");
    let pgditto = Pgditto::start(&postgres, |o| {
        files.obey(o);
        o.upstream(format!("postgres://127.0.0.1:{}/app", postgres.port))
            .set("auth.auth_file", list.display());
    });
    let login = |user: &str, password: &str, database: &str| {
        ask(
            pgditto.port,
            user,
            password,
            database,
            "SELECT current_user",
        )
    };
    for (user, password, database) in [
        ("amy", "pencil", "app"),
        ("bob", "brush", "app"),
        ("ann", "ink", "ann"),
        ("postgres", "", "app"),
    ] {
        let output = login(user, password, database);
        assert_eq!(output.stdout.trim(), user, "{output:?}");
    }
    for (user, password) in [
        ("amy", "brush"),
        ("amy", ""),
        ("bob", "pencil"),
        ("nobody", "x"),
    ] {
        let output = login(user, password, "app");
        let no_password = password.is_empty() && output.stderr.contains("no password supplied");
        let expected = format!("password authentication failed for user \"{user}\"");
        assert!(
            no_password || output.stderr.contains(&expected),
            "{output:?}"
        );
    }
    let outside = |user, database| {
        format!(
            "no pg_hba.conf entry for host \"127.0.0.1\", user \"{user}\", database \"{database}\", no encryption"
        )
    };
    says(&login("ann", "ink", "app"), &outside("ann", "app"));
    says(
        &login("bob", "brush", "postgres"),
        &outside("bob", "postgres"),
    );
    says(&login("app", "secret", "app"), &outside("app", "app"));
    says(
        &login("eve", "chalk", "app"),
        "pg_hba.conf rejects connection for host \"127.0.0.1\", user \"eve\", database \"app\", no encryption",
    );
    assert!(!pgditto.log().join("\n").contains("SCRAM-SHA-256$"));
}

#[test]
fn rules_are_read_again_and_a_mistake_changes_nothing() {
    let postgres = Postgres::start(&[]);
    let files = Files::new("host all app 127.0.0.1/32 scram-sha-256", "");
    let options = |o: &mut Options| files.obey(o);
    let pgditto = Pgditto::start(&postgres, options);
    let login = || ask(pgditto.port, "app", "secret", "app", "SELECT 1").success;
    assert!(login());
    std::fs::write(files.hba(), "host all app 127.0.0.1/32 scram").expect("a file");
    pgditto.signal(Signal::HUP);
    pgditto.await_log("line 1: the method \"scram\" is not supported");
    assert!(login());
    std::fs::write(files.hba(), "host all app 127.0.0.1/32 reject").expect("a file");
    pgditto.signal(Signal::HUP);
    eventually("the rules are read", || !login());
    let mut broken = Pgditto::start(&postgres, |o| {
        files.obey(o);
        std::fs::write(files.hba(), "hostssl all all all cert").expect("a file");
        o.wait(Wait::Nothing);
    });
    assert!(!broken.wait().success());
    broken.await_log("certificates of clients are only checked with client_tls_ca_file");
}

#[test]
fn unix_sockets_tell_who_the_peer_is() {
    let postgres = Postgres::start(&[]);
    // Tests run as root or as an ordinary user.
    let me = String::from_utf8(
        std::process::Command::new("id")
            .arg("-un")
            .output()
            .expect("coreutils")
            .stdout,
    );
    let me = me.expect("a name").trim().to_owned();
    let files = Files::new(
        "local app app peer map=people\nlocal app all peer\n",
        &format!("people /^{me}$ app\n"),
    );
    let pgditto = Pgditto::start(&postgres, |o| {
        files.obey(o);
        o.set("listen.unix_socket_dir", files.0.path().display());
    });
    let login = |user: &str| {
        let folder = files.0.path().display();
        let port = pgditto.port;
        let conninfo = format!("host={folder} port={port} user={user} dbname=app");
        psql(&conninfo, &["-Atq", "-c", "SELECT current_user"], "")
    };
    let output = login("app");
    assert_eq!(output.stdout.trim(), "app", "{output:?}");
    says(
        &login("postgres"),
        "Peer authentication failed for user \"postgres\"",
    );
    says(
        &libpq(pgditto.port, "sslmode=disable"),
        "no pg_hba.conf entry for host \"127.0.0.1\"",
    );
}

#[test]
fn rules_tell_encrypted_connections_from_clear_ones() {
    let postgres = Postgres::start(&[]);
    let tls = loopback();
    let files = Files::new("hostssl all all all scram-sha-256", "");
    let pgditto = Pgditto::start(&postgres, |o| {
        files.obey(o);
        offer_tls(o, "allow", &tls);
    });
    assert!(libpq(pgditto.port, "sslmode=require").success);
    says(
        &libpq(pgditto.port, "sslmode=disable"),
        "user \"app\", database \"app\", no encryption",
    );
}

#[test]
fn members_of_roles_are_told_from_others_by_the_servers_word() {
    let postgres = Postgres::start(&[]);
    postgres.psql(
        "CREATE ROLE staff; CREATE ROLE \"old guard\" IN ROLE staff; CREATE DATABASE staff;
         CREATE ROLE amy LOGIN PASSWORD 'pencil' IN ROLE \"old guard\";
         CREATE ROLE bob LOGIN PASSWORD 'brush'; CREATE ROLE eve LOGIN SUPERUSER PASSWORD 'chalk'",
    );
    let files = Files::new(
        "host  all       app           127.0.0.1/32  scram-sha-256\n\
         host  samerole  all           127.0.0.1/32  passthrough\n\
         host  app       +staff        127.0.0.1/32  passthrough\n\
         host  app       +\"old guard\" 127.0.0.1/32  reject\n",
        "",
    );
    let pgditto = Pgditto::start(&postgres, |o| {
        files.obey(o);
        o.set("auth.passthrough_without_tls", "loopback")
            .set("auth.auth_query_ttl", "0");
    });
    let login = |user: &str, password: &str, database: &str| {
        ask(
            pgditto.port,
            user,
            password,
            database,
            "SELECT current_user",
        )
    };
    for database in ["app", "staff"] {
        let output = login("amy", "pencil", database);
        assert_eq!(output.stdout.trim(), "amy", "{output:?}");
    }
    // Superusers are members of nothing more than others, and who does not exist of nothing.
    let outside = "no pg_hba.conf entry for host \"127.0.0.1\"";
    let long = "x".repeat(100);
    for (user, password) in [
        ("bob", "brush"),
        ("eve", "chalk"),
        ("nobody", "x"),
        (&long, "x"),
    ] {
        says(&login(user, password, "app"), outside);
    }
    postgres.psql("GRANT staff TO bob; REVOKE staff FROM \"old guard\"");
    assert!(login("bob", "brush", "app").success);
    says(
        &login("amy", "pencil", "app"),
        "pg_hba.conf rejects connection for host \"127.0.0.1\", user \"amy\"",
    );
    postgres.psql("ALTER ROLE app NOLOGIN");
    postgres.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
    eventually("nobody can be asked", || {
        let output = login("bob", "brush", "app");
        output.stderr.contains("could not be asked who may log in")
    });
}

#[test]
fn rules_in_other_files_count_and_are_read_again_when_those_change() {
    let postgres = Postgres::start(&[]);
    let files = Files::new(
        "include_if_exists first.conf\n\
         include_dir rules\n\
         host @databases \"/^(app|x),?$\" 127.0.0.1/32 scram-sha-256\n",
        "",
    );
    let write = |name: &str, text: &str| {
        // As editors do it.
        let path = files.0.path().join(name);
        let new = path.with_extension("new");
        std::fs::write(&new, text).expect("a file");
        std::fs::rename(new, path).expect("the same disk");
    };
    std::fs::create_dir(files.0.path().join("rules")).expect("a folder");
    write("databases", "nothing\n");
    let pgditto = Pgditto::start(&postgres, |o| files.obey(o));
    let login = || ask(pgditto.port, "app", "secret", "app", "SELECT 1").success;
    assert!(!login());
    write("databases", "nothing\napp\n");
    eventually("the list is read", login);
    write("rules/keep-out.conf", "host all all all reject");
    eventually("the folder is read", || !login());
    write("first.conf", "host app app samehost scram-sha-256");
    eventually("the file is found", login);
    write("rules/mistake.conf", "# fine\nhots all all all trust");
    pgditto.await_log("mistake.conf: line 2: \"hots\" is no connection type");
    assert!(login());
    let mut broken = Pgditto::start(&postgres, |o| {
        files.obey(o);
        o.wait(Wait::Nothing);
    });
    assert!(!broken.wait().success());
}

#[test]
fn a_pipe_in_the_place_of_a_file_stops_nothing() {
    let postgres = Postgres::start(&[]);
    let files = Files::new("host all @pipe all trust", "");
    let pipe = files.0.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("coreutils").success());
    let mut pgditto = Pgditto::start(&postgres, |o| {
        files.obey(o);
        o.wait(Wait::Nothing);
    });
    assert!(!pgditto.wait().success());
    pgditto.await_log("pipe: not a file");
    let mut nobody = Pgditto::start(&postgres, |o| {
        std::fs::write(files.hba(), "host all +staff all trust").expect("a file");
        files.obey(o);
        o.upstream(format!("postgres://127.0.0.1:{}/app", postgres.port))
            .wait(Wait::Nothing);
    });
    assert!(!nobody.wait().success());
    nobody.await_log("nobody is known who could ask the server for members of roles");
}
