use super::*;

const SCRAM: &str = "SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy";
const MD5: &str = "md50123456789abcdef0123456789abcdef";

/// Imports `ini` with `userlist` beside it; the output and the notes.
fn import(ini: &str, userlist: &str) -> (String, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pgbouncer.ini");
    std::fs::write(&path, ini).unwrap();
    std::fs::write(dir.path().join("userlist.txt"), userlist).unwrap();
    let import = Import::read(&path, None)
        .map_err(|Failure(why)| why)
        .unwrap();
    (import.document.to_string(), import.notes)
}

fn noted(notes: &[String], part: &str) {
    assert!(
        notes.iter().any(|note| note.contains(part)),
        "{part}: {notes:#?}"
    );
}

#[test]
fn realistic_file_is_imported_whole() {
    let (text, notes) = import(
        "\
[databases]
shop = host=10.0.0.5 port=5433 dbname=shop_production pool_size=30
reports = host=10.0.0.6 dbname=reports pool_mode=session connect_query='SET x = 1'
* = host=10.0.0.5 port=5433

[users]
batch = pool_mode=session max_user_connections=10

[pgbouncer]
logfile = /var/log/postgresql/pgbouncer.log
pidfile = /var/run/postgresql/pgbouncer.pid
listen_addr = *
listen_port = 6432
unix_socket_dir = /var/run/postgresql
auth_type = scram-sha-256
auth_file = userlist.txt
admin_users = postgres, root
stats_users = stats
pool_mode = transaction
server_reset_query = DISCARD ALL
ignore_startup_parameters = extra_float_digits
max_client_conn = 1000
default_pool_size = 25
reserve_pool_timeout = 2.5
server_lifetime = 1800
server_idle_timeout = 60
query_wait_timeout = 30
server_tls_sslmode = require
server_tls_ca_file = /etc/ssl/ca.pem
log_connections = 0
tcp_keepalive = 1
",
        &format!("\"shop\" \"hush\"\n\"batch\" \"{SCRAM}\"\n\"old\" \"{MD5}\"\n"),
    );
    let config = config::check_text(&text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));

    assert_eq!(config.listen.listen_addr, "*");
    assert_eq!(config.listen.max_client_conn, 1000);
    assert_eq!(
        config.listen.ignore_startup_parameters,
        ["extra_float_digits"]
    );
    assert_eq!(config.auth.admin_users, ["postgres", "root"]);
    assert_eq!(config.upstream.host, "10.0.0.5");
    assert_eq!(config.upstream.port, 5433);
    assert_eq!(config.pool.default_pool_size, 25);
    assert_eq!(config.pool.reserve_pool_timeout.as_millis(), 2500);
    assert_eq!(config.pool.server_lifetime.as_secs(), 1800);
    assert_eq!(config.server_tls.sslmode, config::SslMode::Require);
    assert_eq!(config.server_tls.ca_file, None);

    let [shop, reports, rest] = config.databases.as_slice() else {
        panic!("{text}");
    };
    assert_eq!(
        (shop.name.as_str(), shop.dbname.as_deref(), shop.pool_size),
        ("shop", Some("shop_production"), Some(30))
    );
    assert_eq!(
        (shop.host.as_deref(), reports.host.as_deref(), reports.port),
        (None, Some("10.0.0.6"), Some(5432))
    );
    assert_eq!(reports.pool_mode, Some(config::PoolMode::Session));
    assert_eq!(rest.name, "*");

    let user = |name: &str| config.users.iter().find(|user| user.name == name).unwrap();
    assert_eq!(
        user("shop").password.as_ref().map(|s| s.reveal()),
        Some("hush")
    );
    assert_eq!(
        user("batch").scram_secret.as_ref().map(|s| s.reveal()),
        Some(SCRAM)
    );
    assert_eq!(user("batch").pool_mode, Some(config::PoolMode::Session));
    assert_eq!(user("old").scram_secret, None);

    noted(
        &notes,
        "pgbouncer.ini:3: reports: connect_query= has no counterpart",
    );
    noted(&notes, "logfile: is not needed");
    noted(&notes, "tcp_keepalive: has no counterpart");
    noted(&notes, "max_user_connections= has no counterpart");
    noted(&notes, "server_tls_ca_file: is not used");
    noted(&notes, "old: an md5 secret cannot log in");
    noted(&notes, "the output contains passwords");
}

#[test]
fn defaults_of_pgbouncer_that_differ_are_written_out() {
    let (text, notes) = import(
        "[databases]\napp =\n[pgbouncer]\nauth_file = userlist.txt\n",
        &format!("\"app\" \"{MD5}\"\n"),
    );
    let config = config::check_text(&text).unwrap();
    assert_eq!(config.pool.pool_mode, config::PoolMode::Session);
    assert_eq!(config.auth.auth_type, config::AuthType::Md5);
    assert_eq!(config.listen.listen_addr, "");
    assert_eq!(
        config.listen.unix_socket_dir.as_deref(),
        Some(Path::new("/tmp"))
    );
    assert_eq!(config.upstream.host, "/tmp");
    assert_eq!(config.upstream.dbname.as_deref(), Some("app"));
    noted(&notes, "pool_mode: not set, which is session in PgBouncer");
}

#[test]
fn lone_fallback_serves_every_database() {
    let (text, _) = import(
        "[databases]\n* = host=db\n[pgbouncer]\nlisten_addr = 127.0.0.1\nauth_type = trust\n",
        "",
    );
    let config = config::check_text(&text).unwrap();
    assert_eq!(config.upstream.host, "db");
    assert!(config.databases.is_empty());
}

#[test]
fn forced_users_keep_their_passwords() {
    let (text, notes) = import(
        "[databases]\na = host=db user=one password='p 1'\nb = host=db user=two password=p2\n\
         [pgbouncer]\nlisten_addr = 127.0.0.1\n",
        "",
    );
    let config = config::check_text(&text).unwrap();
    assert_eq!(config.upstream.user.as_deref(), Some("one"));
    assert_eq!(
        config.upstream.password.as_ref().map(|s| s.reveal()),
        Some("p 1")
    );
    assert_eq!(config.users[0].name, "two");
    noted(&notes, "a: user= has no counterpart");
}

#[test]
fn unknown_ways_to_log_in_never_become_trust() {
    for auth_type in ["any", "ldap", "pam", "plain"] {
        let (text, notes) = import(
            &format!(
                "[databases]\n* = host=db\n[pgbouncer]\nauth_type = {auth_type}\nauth_file = userlist.txt\n"
            ),
            "\"a\" \"hush\"\n",
        );
        let config = config::check_text(&text).unwrap();
        assert_eq!(config.auth.auth_type, config::AuthType::ScramSha256);
        noted(
            &notes,
            "has no counterpart: clients log in with scram-sha-256",
        );
    }
}

#[test]
fn values_without_counterpart_leave_the_default() {
    let (text, notes) = import(
        "[databases]\n* = host=db\n[pgbouncer]\nauth_type = trust\nlisten_addr = 127.0.0.1,10.0.0.1\n\
         query_wait_timeout = 0\npool_mode = statement\nclient_login_timeout = soon\n[odd]\nx = 1\n",
        "",
    );
    let config = config::check_text(&text).unwrap();
    assert_eq!(config.listen.listen_addr, "127.0.0.1");
    assert_eq!(config.pool.query_wait_timeout.as_secs(), 120);
    noted(&notes, "several addresses are not supported");
    noted(&notes, "query_wait_timeout: left at the default");
    noted(&notes, "statement has no counterpart");
    noted(&notes, "client_login_timeout: left at the default");
    noted(&notes, "x: is in a section that PgBouncer does not know");
}
