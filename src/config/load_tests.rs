use std::io::Write;

use super::*;
use crate::config::{AuthType, SslMode};

/// A source with `text` as its file; the directory must outlive it.
fn source(text: &str, environment: &[(&str, &str)]) -> (Source, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    std::fs::write(&path, text).unwrap();
    (Source::new(Some(path), pairs(environment)), dir)
}

fn bare_source(environment: &[(&str, &str)]) -> Source {
    Source::new(None, pairs(environment))
}

fn pairs(environment: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    environment
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn messages(source: &Source) -> Vec<String> {
    let errors = source.load().unwrap_err();
    errors.iter().map(ToString::to_string).collect()
}

const URL: &str = "postgres://shop:hush@db:5433/orders";

#[test]
fn a_url_is_all_that_is_needed() {
    let mut source = bare_source(&[]);
    source.upstream(URL);
    let config = source.load().unwrap();
    assert_eq!(config.upstream.host, "db");
    assert_eq!(config.upstream.port, 5433);
    assert_eq!(config.upstream.user.as_deref(), Some("shop"));
    assert_eq!(config.upstream.password.as_ref().unwrap().reveal(), "hush");
    assert_eq!(config.upstream.dbname.as_deref(), Some("orders"));
    assert_eq!(config.auth.auth_type, AuthType::ScramSha256);
}

#[test]
fn later_layers_win_and_are_remembered() {
    let text = "[pool]\ndefault_pool_size = 1\nmin_pool_size = 1\nreserve_pool_size = 1\n[auth]\nauth_type = \"trust\"\n";
    let (mut source, _dir) = source(
        text,
        &[
            ("PGDITTO_POOL__MIN_POOL_SIZE", "0"),
            ("PGDITTO_POOL__RESERVE_POOL_SIZE", "2"),
        ],
    );
    source.set("pool.reserve_pool_size=3");
    source.set("pool.max_db_connections=5");
    source.set("pool.max_db_connections=6");
    let loaded = source.load_with_origins().unwrap();
    let pool = &loaded.config.pool;
    assert_eq!(
        (
            pool.default_pool_size,
            pool.min_pool_size,
            pool.reserve_pool_size,
            pool.max_db_connections,
            pool.max_prepared_statements,
        ),
        (1, 0, 3, 6, 200)
    );
    let origin = |key: &str| loaded.origins.of(key).to_string();
    assert!(origin("pool.default_pool_size").ends_with("config.toml:2"));
    assert_eq!(
        origin("pool.min_pool_size"),
        "environment PGDITTO_POOL__MIN_POOL_SIZE"
    );
    assert_eq!(origin("pool.reserve_pool_size"), "flag --set");
    assert_eq!(origin("pool.max_prepared_statements"), "default");
}

#[test]
fn flags_for_addresses_set_their_keys() {
    let mut source = bare_source(&[("PGDITTO_AUTH__AUTH_TYPE", "trust")]);
    source.listen("[::1]:7000");
    source.http("0.0.0.0:9000");
    let config = source.load().unwrap();
    assert_eq!(config.listen.listen_addr, "::1");
    assert_eq!(config.listen.listen_port, 7000);
    assert_eq!(config.http.listen, "0.0.0.0:9000");

    for wrong in ["7000", "host", "::1:7000", "h:0", "h:70000", ":7000", ""] {
        let mut source = bare_source(&[("PGDITTO_AUTH__AUTH_TYPE", "trust")]);
        source.listen(wrong);
        let found = messages(&source);
        assert!(
            found[0].starts_with("flag --listen: listen.listen_addr: expected ADDR:PORT"),
            "{wrong}: {found:?}"
        );
    }
}

#[test]
fn upstream_url_of_the_environment_beats_the_platforms() {
    let host = |environment: &[(&str, &str)]| {
        let config = bare_source(environment).load().unwrap();
        config.upstream.host.clone()
    };
    let platform = ("DATABASE_URL", "postgres://u:p@platform/d");
    assert_eq!(host(&[platform]), "platform");
    assert_eq!(
        host(&[platform, ("PGDITTO_UPSTREAM_URL", "postgres://u:p@own/d")]),
        "own"
    );
    assert_eq!(
        host(&[
            platform,
            ("PGDITTO_UPSTREAM__HOST", "parts"),
            ("PGDITTO_AUTH__AUTH_TYPE", "trust")
        ]),
        "parts"
    );
}

#[test]
fn stray_database_url_never_redirects_a_configured_upstream() {
    let (source, _dir) = source(
        "[upstream]\nhost = \"configured\"\nuser = \"u\"\npassword = \"p\"\n",
        &[("DATABASE_URL", "postgres://x:y@stray/z")],
    );
    let config = source.load().unwrap();
    assert_eq!(config.upstream.host, "configured");
    assert_eq!(config.upstream.dbname, None);
}

#[test]
fn url_wins_over_lower_layers_for_what_it_names() {
    let (mut source, _dir) = source(
        "[upstream]\nhost = \"old\"\nport = 9999\nuser = \"shop\"\npassword = \"kept\"\nquery_timeout = \"5s\"\n",
        &[],
    );
    source.upstream("postgres://shop@new/d?sslmode=require&connect_timeout=3");
    let config = source.load().unwrap();
    let upstream = &config.upstream;
    assert_eq!((upstream.host.as_str(), upstream.port), ("new", 5432));
    assert_eq!(upstream.password.as_ref().unwrap().reveal(), "kept");
    assert_eq!(upstream.query_timeout.as_secs(), 5);
    assert_eq!(upstream.server_connect_timeout.as_secs(), 3);
    assert_eq!(config.server_tls.sslmode, SslMode::Require);
}

#[test]
fn password_of_another_user_is_never_sent() {
    let (mut source, _dir) = source(
        "[upstream]\nuser = \"shop\"\npassword = \"hers\"\n[auth]\nauth_type = \"trust\"\n",
        &[],
    );
    source.upstream("postgres://other@db/d");
    let config = source.load().unwrap();
    assert_eq!(config.upstream.user.as_deref(), Some("other"));
    assert_eq!(config.upstream.password, None);
}

#[test]
fn url_and_part_of_one_layer_must_agree() {
    let (source, _dir) = source(
        &format!("[upstream]\nurl = \"{URL}\"\nhost = \"elsewhere\"\n"),
        &[],
    );
    let found = messages(&source);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("config.toml:3: upstream.host contradicts the URL"),
        "{found:?}"
    );
}

#[test]
fn wrong_urls_are_reported_without_their_password() {
    let mut source = bare_source(&[]);
    source.upstream("postgres://u:hush@a:x,b/d");
    assert_eq!(
        messages(&source),
        ["flag --upstream: upstream.url: the port must be a number from 1 to 65535"]
    );
    let mut source = bare_source(&[]);
    source.upstream("postgres://u:hush@a/d?ssl_mode=x&sslmode=y");
    let found = messages(&source);
    assert_eq!(found.len(), 2);
    assert!(!found.concat().contains("hush"), "{found:?}");
}

#[test]
fn unknown_names_in_every_layer_are_errors() {
    let mut source = bare_source(&[
        ("PGDITTO_POOL__DEFAULT_POOL_SIZ", "1"),
        ("PGDITTO_AUTH__AUTH_TYPE", "trust"),
        ("PGDITTO_USERS", "ignored"),
        // What Kubernetes makes of a service called pgditto.
        ("PGDITTO_PORT_6432_TCP_ADDR", "10.0.0.1"),
        ("PGDITTO_SERVICE_HOST", "10.0.0.1"),
    ]);
    source.set("default_pool_size=1");
    source.set("users=x");
    source.set("pool.pool_mode");
    let found = messages(&source);
    assert_eq!(
        found,
        [
            "environment PGDITTO_POOL__DEFAULT_POOL_SIZ: unknown key pool.default_pool_siz; did you mean pool.default_pool_size?",
            "flag --set: unknown key default_pool_size; did you mean pool.default_pool_size?",
            "flag --set: users: can only be given in the file",
            "flag --set: pool.pool_mode: expected section.key=value",
        ]
    );
}

#[test]
fn environment_that_contradicts_itself_is_an_error() {
    let source = bare_source(&[
        ("PGDITTO_UPSTREAM_URL", "postgres://u:p@a"),
        ("PGDITTO_UPSTREAM__URL", "postgres://u:p@b"),
    ]);
    let found = messages(&source);
    assert!(
        found[0].contains("upstream.url is also given by environment PGDITTO_UPSTREAM_URL"),
        "{found:?}"
    );
}

#[test]
fn every_key_has_an_environment_override() {
    let defaults = Config::default();
    for key in keys::KEYS {
        let name = format!("PGDITTO_{}", key.full.replace('.', "__")).to_ascii_uppercase();
        let value = key.show(&defaults);
        let value = value.trim_matches(['"', '[', ']']);
        let source = bare_source(&[(&name, value), ("PGDITTO_AUTH__AUTH_TYPE", "trust")]);
        if key.full == "auth.auth_type" {
            continue;
        }
        let loaded = source
            .load_with_origins()
            .unwrap_or_else(|errors| panic!("{name}={value}: {errors}"));
        assert_eq!(
            *loaded.origins.of(key.full),
            Origin::Environment(name),
            "{}",
            key.full
        );
        assert_eq!(key.show(&loaded.config), key.show(&defaults));
    }
}

#[test]
fn secrets_come_from_files_and_are_watched() {
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    let mut file = std::fs::File::create(&password).unwrap();
    file.write_all(b"from file\n").unwrap();
    let mut source = bare_source(&[
        ("PGDITTO_UPSTREAM__USER", "shop"),
        (
            "PGDITTO_UPSTREAM__PASSWORD_FILE",
            password.to_str().unwrap(),
        ),
    ]);
    let old = source.load().unwrap();
    assert_eq!(
        old.upstream.password.as_ref().unwrap().reveal(),
        "from file"
    );
    assert_eq!(old.watched_files, std::slice::from_ref(&password));

    std::fs::write(&password, "rotated\n").unwrap();
    let new = source.load().unwrap();
    assert_eq!(
        crate::config::diff(&old, &new).applied,
        ["upstream.password"]
    );

    source.set("upstream.password=from flag");
    let config = source.load().unwrap();
    assert_eq!(
        config.upstream.password.as_ref().unwrap().reveal(),
        "from flag"
    );
    assert!(config.watched_files.is_empty());
}

#[test]
fn url_may_come_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("url");
    std::fs::write(&path, format!("{URL}\n")).unwrap();
    let source = bare_source(&[("PGDITTO_UPSTREAM__URL_FILE", path.to_str().unwrap())]);
    let config = source.load().unwrap();
    assert_eq!(config.upstream.host, "db");
    assert_eq!(config.watched_files, [path]);
}

#[test]
fn missing_file_is_one_clear_error() {
    let source = Source::new(Some("/nowhere/config.toml".into()), []);
    let found = messages(&source);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("flag --config: cannot read /nowhere/config.toml: "));
}

#[test]
fn probes_need_no_secrets() {
    let mut source = bare_source(&[("PGDITTO_HTTP__LISTEN", "0.0.0.0:9999")]);
    assert!(source.load().is_err());
    let (http, drain_timeout) = source.load_http().unwrap();
    assert_eq!(http.listen, "0.0.0.0:9999");
    assert_eq!(drain_timeout.as_secs(), 30);
    source.http("nonsense");
    assert!(source.load_http().is_err());
}

#[test]
fn console_settings_are_above_flags() {
    let mut source = bare_source(&[("PGDITTO_AUTH__AUTH_TYPE", "trust")]);
    source.set("pool.default_pool_size=5");
    source.set_from_console("pool.default_pool_size", "6");
    let loaded = source.load_with_origins().unwrap();
    assert_eq!(loaded.config.pool.default_pool_size, 6);
    assert_eq!(
        *loaded.origins.of("pool.default_pool_size"),
        Origin::Console
    );
}
