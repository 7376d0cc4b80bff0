use std::ffi::OsString;

use super::*;
use crate::config::{Source, check_text};

const REFERENCE: &str = include_str!("../../config.toml");

#[test]
fn config_toml_is_the_complete_reference() {
    assert!(
        REFERENCE == reference(),
        "config.toml is out of date: write it anew with `cargo run -- print-config --reference > config.toml`"
    );
}

#[test]
fn values_of_config_toml_are_the_defaults() {
    // With the one thing that a start needs beside it.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    std::fs::write(&path, REFERENCE).unwrap();
    let mut source = Source::new(Some(path), []);
    source.set("auth.auth_type=trust");
    let config = source.load().unwrap();
    let document = toml::Value::Table(REFERENCE.parse().unwrap());
    let defaults = Config::default();
    for key in KEYS {
        assert!(
            key.full
                .split('.')
                .try_fold(&document, |table, part| table.get(part))
                .is_some(),
            "{} is missing",
            key.full
        );
        if key.full != "auth.auth_type" {
            assert!((key.same)(&config, &defaults), "{}", key.full);
        }
    }
}

#[test]
fn examples_of_config_toml_are_valid() {
    let uncommented: String = REFERENCE
        .lines()
        .map(|line| match line.strip_prefix("# [[") {
            Some(rest) => format!("[[{rest}\n"),
            None => format!("{}\n", line.strip_prefix("#   ").unwrap_or(line)),
        })
        .collect();
    let text = uncommented
        .replace("\"scram-sha-256\"\nadmin", "\"trust\"\nadmin")
        .replace("auth_type = \"scram-sha-256\"", "auth_type = \"trust\"");
    let config = check_text(&text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    assert_eq!(config.cache.rules.len(), 1);
    assert_eq!(config.databases.len(), 1);
    assert_eq!(config.users.len(), 1);
}

#[test]
fn print_masks_secrets_and_names_origins() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    let text =
        "[redis]\nurl = \"redis://:hush2@r\"\n\n[[users]]\nname = \"a\"\npassword = \"hush3\"\n";
    std::fs::write(&path, text).unwrap();
    let environment = [(
        OsString::from("PGDITTO_POOL__MIN_POOL_SIZE"),
        OsString::from("2"),
    )];
    let mut source = Source::new(Some(path.clone()), environment);
    source.upstream("postgres://shop:hush1@db/d?sslmode=verify-full");
    let printed = print(&source.load_with_origins().unwrap());

    assert!(!printed.contains("hush"), "{printed}");
    let path = path.display();
    for line in [
        "url = \"***\"  # from flag --upstream".to_owned(),
        "host = \"db\"  # from flag --upstream".to_owned(),
        "password = \"***\"  # from flag --upstream".to_owned(),
        "server_tls_sslmode = \"verify-full\"  # from flag --upstream".to_owned(),
        "min_pool_size = 2  # from environment PGDITTO_POOL__MIN_POOL_SIZE".to_owned(),
        "default_pool_size = 20  # from default".to_owned(),
        format!("url = \"***\"  # from {path}:2"),
        format!("name = \"a\"  # from {path}:5"),
        format!("password = \"***\"  # from {path}:6"),
    ] {
        assert!(printed.lines().any(|l| l == line), "{line}\n{printed}");
    }
}

#[test]
fn print_is_toml_that_means_the_same() {
    let mut source = Source::new(None, []);
    source.set("auth.auth_type=trust");
    source.set("listen.listen_port=7000");
    source.set("auth.admin_users=a,b");
    source.set("pool.max_pinned_connections=3");
    let loaded = source.load_with_origins().unwrap();
    let again = check_text(&print(&loaded)).unwrap();
    for key in KEYS {
        assert!((key.same)(&loaded.config, &again), "{}", key.full);
    }
}
