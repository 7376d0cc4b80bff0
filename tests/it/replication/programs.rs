//! pg_basebackup, pg_receivewal, pg_recvlogical, a standby and a subscription.

use std::path::Path;

use super::{conninfo, servers};
use crate::fixture::{Postgres, PsqlOutput, Wire, eventually, run};

/// Runs one of PostgreSQL's programs; `\0` parts its arguments.
fn program(name: &str, arguments: &[&str]) -> PsqlOutput {
    let mut command = Postgres::program(name);
    command.args(arguments);
    let output = run(command, "");
    assert!(output.success, "{name} {arguments:?}: {}", output.stderr);
    output
}

fn backup(conninfo: &str, to: &Path, more: &[&str]) {
    let to = to.to_str().expect("UTF-8");
    let mut arguments = vec!["-d", conninfo, "-D", to, "-c", "fast", "--no-sync"];
    arguments.extend_from_slice(more);
    program("pg_basebackup", &arguments);
    // WAL is read only by the programs of its own version, which other versions' servers come without.
    let is_own = Postgres::has_program("pg_waldump");
    let parse: &[&str] = if is_own { &[] } else { &["--no-parse-wal"] };
    program("pg_verifybackup", &[parse, &[to]].concat());
}

#[test]
fn a_base_backup_is_whole_and_a_server_runs_on_it() {
    let (postgres, pgditto) = servers(|_| {});
    postgres
        .psql("CREATE TABLE wide AS SELECT i, repeat('x', 1000) FROM generate_series(1, 20000) i");
    let copy = Postgres::start_with_data(&[], |data| {
        backup(&conninfo(&pgditto), data, &["-X", "stream"]);
    });
    assert_eq!(copy.psql("SELECT count(*) FROM wide"), "20000");
    assert_eq!(copy.psql("SELECT name FROM item"), "one");
    // By the protocol of tar files, with WAL in the backup itself, and compressed by servers that can.
    let compress = match postgres.major() {
        ..15 => "--gzip",
        _ => "--compress=server-gzip",
    };
    let folder = tempfile::tempdir_in("/tmp").expect("a folder");
    let out = folder.path().join("out");
    std::fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )
    .expect("own folder");
    let out = out.to_str().expect("UTF-8");
    let conninfo = conninfo(&pgditto);
    program(
        "pg_basebackup",
        &[
            "-d",
            &conninfo,
            "-D",
            out,
            "-c",
            "fast",
            "--no-sync",
            "-X",
            "fetch",
            "-F",
            "t",
            compress,
        ],
    );
    assert!(Path::new(out).join("base.tar.gz").exists());
}

#[test]
fn a_standby_follows() {
    let (postgres, pgditto) = servers(|_| {});
    let conninfo = conninfo(&pgditto);
    let settings = [
        (
            "primary_conninfo",
            &*format!("{conninfo} application_name=follower"),
        ),
        ("primary_slot_name", "follower"),
        ("wal_receiver_status_interval", "1"),
    ];
    let standby = Postgres::start_with_data(&settings, |data| {
        backup(
            &conninfo,
            data,
            &["-R", "-X", "stream", "-C", "-S", "follower"],
        );
    });
    assert_eq!(standby.psql("SELECT pg_is_in_recovery()"), "t");
    for i in 2..50 {
        postgres.psql(&format!("INSERT INTO item VALUES ({i}, 'more')"));
    }
    eventually("the standby has it all", || {
        standby.psql("SELECT count(*) FROM item") == "49"
    });
    let seen = "SELECT application_name, state, usename FROM pg_stat_replication";
    assert_eq!(postgres.psql(seen), "follower|streaming|app");
    // What the standby says comes back.
    eventually("the primary knows what was replayed", || {
        postgres.psql("SELECT replay_lsn = pg_current_wal_lsn() FROM pg_stat_replication") == "t"
    });
    // A transaction that waits for the standby: bytes of both directions are passed on at once.
    postgres.psql("ALTER SYSTEM SET synchronous_standby_names = 'follower'");
    postgres.psql("SELECT pg_reload_conf()");
    eventually("the standby is synchronous", || {
        postgres.psql("SELECT sync_state FROM pg_stat_replication") == "sync"
    });
    let mut client = Wire::connect(pgditto.port);
    client.query("SET synchronous_commit = remote_apply");
    client.query("INSERT INTO item VALUES (1000, 'sure')");
    assert_eq!(
        standby.psql("SELECT name FROM item WHERE id = 1000"),
        "sure"
    );
}

#[test]
fn wal_is_received() {
    let (postgres, pgditto) = servers(|_| {});
    let conninfo = conninfo(&pgditto);
    program(
        "pg_receivewal",
        &["-d", &conninfo, "-S", "archive", "--create-slot"],
    );
    let folder = tempfile::tempdir_in("/tmp").expect("a folder");
    std::fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )
    .expect("own folder");
    let to = folder.path().to_str().expect("UTF-8");
    let receive = |end: &str| {
        let arguments = ["-d", &conninfo, "-S", "archive", "-D", to, "--endpos", end];
        program(
            "pg_receivewal",
            &[&arguments[..], &["--no-loop", "--no-sync"]].concat(),
        );
    };
    let position = "SELECT pg_current_wal_insert_lsn()";
    let begin = postgres.psql(position);
    postgres.psql("INSERT INTO item VALUES (2, 'two')");
    receive(&begin);
    postgres
        .psql("CREATE TABLE filler AS SELECT i, repeat('x', 500) FROM generate_series(1, 5000) i");
    let end = postgres.psql(position);
    postgres.psql("INSERT INTO item VALUES (3, 'three')");
    // It goes on where it was.
    receive(&end);
    let whole = std::fs::read_dir(folder.path())
        .expect("a folder")
        .flatten();
    let whole = whole.filter(|entry| entry.file_name().len() == 24).count();
    assert!(whole >= 2, "{whole} segments");
    program(
        "pg_receivewal",
        &["-d", &conninfo, "-S", "archive", "--drop-slot"],
    );
    assert_eq!(
        postgres.psql("SELECT count(*) FROM pg_replication_slots"),
        "0"
    );
}

#[test]
fn changes_are_decoded() {
    let (postgres, pgditto) = servers(|_| {});
    let conninfo = format!("{} dbname=app", conninfo(&pgditto));
    let slot = ["-d", &*conninfo, "--slot", "decoded"];
    let call = |more: &[&str]| program("pg_recvlogical", &[&slot[..], more].concat());
    call(&["--create-slot", "-P", "test_decoding"]);
    let mut client = Wire::connect(pgditto.port);
    client.query("INSERT INTO item SELECT i, 'many' FROM generate_series(10, 3000) i");
    client.query("UPDATE item SET name = 'uno' WHERE id = 1");
    let end = postgres.psql("SELECT pg_current_wal_lsn()");
    let output = call(&["--start", "-f", "-", "--endpos", &end, "--no-loop"]);
    let rows = output
        .stdout
        .lines()
        .filter(|line| line.contains("INSERT: id[integer]"));
    assert_eq!(rows.count(), 2991);
    assert!(
        output
            .stdout
            .contains("UPDATE: id[integer]:1 name[text]:'uno'")
    );
    call(&["--drop-slot"]);
}

#[test]
fn a_subscription_copies_and_follows() {
    let (postgres, pgditto) = servers(|_| {});
    postgres.psql("CREATE PUBLICATION all_of_it FOR ALL TABLES");
    let subscriber = Postgres::start(&[]);
    subscriber.psql_as("app", "CREATE TABLE item (id int PRIMARY KEY, name text)");
    let subscribe = format!(
        "CREATE SUBSCRIPTION copy CONNECTION '{} dbname=app' PUBLICATION all_of_it",
        conninfo(&pgditto)
    );
    subscriber.psql(&subscribe);
    eventually("the table is copied", || {
        subscriber.psql("SELECT srsubstate FROM pg_subscription_rel") == "r"
    });
    assert_eq!(subscriber.psql("SELECT name FROM item"), "one");
    let mut client = Wire::connect(pgditto.port);
    client.query("INSERT INTO item SELECT i, 'many' FROM generate_series(10, 3000) i");
    client.query("DELETE FROM item WHERE id = 1");
    eventually("the changes have come", || {
        subscriber.psql("SELECT count(*), min(id) FROM item") == "2991|10"
    });
    subscriber.psql("DROP SUBSCRIPTION copy");
    assert_eq!(
        postgres.psql("SELECT count(*) FROM pg_replication_slots"),
        "0"
    );
}
