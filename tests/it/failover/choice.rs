//! Which of several servers is used.

use crate::cache::wire::Wire;
use crate::failover::{client, pair, pgditto, port, text, url};
use crate::fixture::{DATABASE, PASSWORD, Postgres, USER, eventually};

#[test]
fn the_primary_is_found_wherever_it_stands_in_the_list() {
    let (primary, standby) = pair("CREATE TABLE t (v int)");
    for servers in [[&primary, &standby], [&standby, &primary]] {
        let pgditto = pgditto(&url(&servers, ""), |_| {}, &primary);
        let mut client = client(&pgditto);
        assert_eq!(port(&mut client), primary.port.to_string());
        text(&mut client, "INSERT INTO t VALUES (1)");
    }
}

#[test]
fn target_session_attrs_means_what_libpq_means() {
    let (primary, standby) = pair("");
    let (first, second) = (primary.port.to_string(), standby.port.to_string());
    for (wanted, found) in [
        ("any", &first),
        ("read-write", &first),
        ("primary", &first),
        ("read-only", &second),
        ("standby", &second),
        ("prefer-standby", &second),
    ] {
        let query = format!("?target_session_attrs={wanted}");
        let pgditto = pgditto(&url(&[&primary, &standby], &query), |_| {}, &primary);
        assert_eq!(port(&mut client(&pgditto)), *found, "{wanted}");
    }
    // Read only by default is not what a writer wants, though it is the primary.
    primary.psql("ALTER SYSTEM SET default_transaction_read_only = on");
    primary.psql("SELECT pg_reload_conf()");
    eventually("new sessions are read only", || {
        primary.psql("SHOW transaction_read_only") == "on"
    });
    for (wanted, found) in [("primary", &first), ("read-only", &first)] {
        let query = format!("?target_session_attrs={wanted}");
        let pgditto = pgditto(&url(&[&primary, &standby], &query), |_| {}, &primary);
        assert_eq!(port(&mut client(&pgditto)), *found, "{wanted}");
    }
}

#[test]
fn a_standby_is_preferred_and_not_demanded() {
    let primary = Postgres::start(&[]);
    let gone = crate::fixture::free_port();
    let url = format!(
        "postgres://{USER}:{PASSWORD}@127.0.0.1:{gone},127.0.0.1:{}/{DATABASE}?target_session_attrs=prefer-standby",
        primary.port
    );
    let pgditto = pgditto(&url, |_| {}, &primary);
    assert_eq!(port(&mut client(&pgditto)), primary.port.to_string());
}

#[test]
fn a_server_that_refuses_the_login_ends_the_search_as_in_libpq() {
    let (primary, standby) = pair("");
    let pgditto = pgditto(&url(&[&primary, &standby], ""), |_| {}, &primary);
    let refused = Wire::try_connect(pgditto.port, "nobody", DATABASE, &[]);
    let reply = refused.err().expect("nobody may log in");
    let code = reply.error().unwrap_or_default();
    assert!(code.starts_with("28"), "{reply:?}");
}

/// Two names of their own, and every other name, each on another server.
#[test]
fn names_and_the_wildcard_lead_to_servers_of_their_own() {
    let servers = [(); 3].map(|()| Postgres::start(&[]));
    for server in &servers {
        server.allow("host all all 127.0.0.1/32 trust");
        server.psql("CREATE DATABASE other OWNER app");
    }
    let [shop, reports, rest] = &servers;
    let standby = reports.standby(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.toml");
    let text = format!(
        "[upstream]\nurl = '{}'\n[[databases]]\nname = 'shop'\ndbname = 'app'\n\
         [[databases]]\nname = 'reports'\ndbname = 'app'\nhost = '127.0.0.1:{},127.0.0.1:{}'\n\
         [[databases]]\nname = '*'\nhost = '127.0.0.1'\nport = {}\n",
        shop.url(),
        standby.port,
        reports.port,
        rest.port,
    );
    std::fs::write(&file, text).expect("a file");
    let pgditto = crate::fixture::Pgditto::start(shop, |opts| {
        opts.no_upstream();
        opts.args(&["--config", file.to_str().expect("text")]);
        opts.set("auth.auth_type", "trust");
        opts.set("auth.admin_users", USER);
    });
    for (name, dbname, server) in [
        ("shop", "app", shop),
        ("reports", "app", reports),
        ("app", "app", rest),
        ("other", "other", rest),
    ] {
        let mut client = Wire::connect(pgditto.port, USER, name, &[]);
        assert_eq!(port(&mut client), server.port.to_string(), "{name}");
        let called = crate::failover::text(&mut client, "SELECT current_database()");
        assert_eq!(called, dbname, "{name}");
        // What is written under one name is not seen under another, cached or not.
        let mark = format!("CREATE TABLE mark AS SELECT '{name}' AS made_by");
        crate::failover::text(&mut client, &mark);
        for _ in 0..3 {
            assert_eq!(
                crate::failover::text(&mut client, "SELECT made_by FROM mark"),
                name
            );
        }
    }
    let missing = Wire::try_connect(pgditto.port, USER, "missing", &[]);
    let reply = missing.err().expect("no server has it");
    assert_eq!(reply.error().as_deref(), Some("3D000"), "{reply:?}");
    let mut console = Wire::connect(pgditto.port, USER, "pgbouncer", &[]);
    let shown = crate::failover::text(&mut console, "SHOW DATABASES");
    let row = format!("reports|127.0.0.1|{}|app|", reports.port);
    assert!(shown.lines().any(|line| line.starts_with(&row)), "{shown}");
}

#[test]
fn replication_connections_lead_to_the_primary() {
    let (primary, standby) = pair("CREATE TABLE t (id int)");
    let allowed = "host replication app 127.0.0.1/32 scram-sha-256";
    primary.psql("ALTER ROLE app REPLICATION");
    primary.allow(allowed);
    standby.catch_up(&primary);
    standby.allow(allowed);
    let pgditto = pgditto(&url(&[&standby, &primary], ""), |_| {}, &primary);
    for replication in ["database", "true"] {
        let parameters = [("replication", replication)];
        let mut walsender = Wire::connect(pgditto.port, USER, DATABASE, &parameters);
        assert_eq!(text(&mut walsender, "SHOW port"), primary.port.to_string());
    }
}
