use super::*;
use crate::config::{ConfigErrors, Level, PoolMode};

fn errors(text: &str) -> Vec<String> {
    let mut loaded = Loaded::default();
    let mut errors = Vec::new();
    let path = Arc::from(Path::new("c.toml"));
    let layer = read(&path, text, &mut loaded, &mut errors);
    crate::config::merge::apply_layer(layer, &mut loaded, &mut errors);
    match ConfigErrors::unless_empty(errors) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

fn config(text: &str) -> Config {
    let mut loaded = Loaded::default();
    let mut errors = Vec::new();
    let path = Arc::from(Path::new("c.toml"));
    let layer = read(&path, text, &mut loaded, &mut errors);
    crate::config::merge::apply_layer(layer, &mut loaded, &mut errors);
    assert_eq!(errors, []);
    loaded.config
}

#[test]
fn mistakes_name_file_line_and_nearest_name() {
    let table = [
        (
            "[pool]\ndefault_pool_siz = 5\n",
            "c.toml:2: unknown key pool.default_pool_siz; did you mean pool.default_pool_size?",
        ),
        (
            "\n[pol]\n",
            "c.toml:2: unknown section [pol]; did you mean [pool]?",
        ),
        (
            "[listen]\ndefault_pool_size = 5\n",
            "c.toml:2: unknown key listen.default_pool_size; did you mean pool.default_pool_size?",
        ),
        (
            "listen_port = 5\n",
            "c.toml:1: unknown section [listen_port]; did you mean listen_port in [listen]?",
        ),
        (
            "[pool]\n\ndefault_pool_size = \"5\"\n",
            "c.toml:3: pool.default_pool_size: expected a whole number from 1 to 100000, got \"5\"",
        ),
        (
            "[cache]\nlevel = \"bounded\"\n",
            "c.toml:2: cache.level: \"bounded\" is not available in this version",
        ),
        (
            "[fleet]\n",
            "c.toml:1: [fleet] is not available in this version",
        ),
        (
            "[databases]\nshop = \"host=x\"\n",
            "c.toml:1: databases: is a list of tables: write [[databases]]",
        ),
        ("pool = 5\n", "c.toml:1: pool: is a section: write [pool]"),
        (
            "[[users]]\nname = \"a\"\npasswrd = \"b\"\n",
            "c.toml:3: unknown key users.passwrd; did you mean users.password?",
        ),
        (
            "[[cache.rules]]\nmax_staleness = \"5s\"\n",
            "c.toml:2: cache.rules.max_staleness is not available in this version",
        ),
        (
            "[upstream]\npassword = \"a\"\npassword_file = \"b\"\n",
            "c.toml:3: password and password_file exclude each other: give one",
        ),
        (
            "[pool]\ndefault_pool_size = 1979-05-27\n",
            "c.toml:2: pool.default_pool_size: expected a whole number from 1 to 100000, got a date",
        ),
        (
            "[pool]\ndefault_pool_size = 99999999999999999999\n",
            "c.toml:2: pool.default_pool_size: expected a whole number from 1 to 100000, got a number out of range",
        ),
    ];
    for (text, message) in table {
        let found = errors(text);
        assert!(found.contains(&message.to_owned()), "{text}\n{found:#?}");
    }
}

#[test]
fn broken_toml_is_reported_with_its_line() {
    let found = errors("[pool]\ndefault_pool_size = \n[listen\n");
    assert!(found[0].starts_with("c.toml:2: not TOML: "), "{found:?}");
    let found = errors("[pool]\npool_mode = \"session\"\npool_mode = \"session\"\n");
    assert!(
        found[0].starts_with("c.toml:3: not TOML: duplicate key"),
        "{found:?}"
    );
}

#[test]
fn all_mistakes_are_reported_in_the_order_of_the_file() {
    let found = errors(
        "[pool]\nserver_lifetime = 5\ndefault_pool_size = 0\n[listen]\nlisten_port = 70000\n[cache]\nttl = \"0\"\n",
    );
    let lines: Vec<&str> = found
        .iter()
        .map(|error| error.split(": ").next().unwrap())
        .collect();
    assert_eq!(lines, ["c.toml:2", "c.toml:3", "c.toml:5", "c.toml:7"]);
}

#[test]
fn arrays_of_tables_are_read_in_order() {
    let config = config(
        r#"
[[databases]]
name = "shop"
pool_mode = "session"
[[databases]]
name = "reports"
host = "10.0.0.6"
port = 5433
pool_size = 3

[[users]]
name = "batch"
password = "hush"

[[cache.rules]]
tables = ["public.price*"]
level = "ttl"
ttl = "10s"
[[cache.rules]]
users = ["batch"]
cache = false
"#,
    );
    assert_eq!(config.databases.len(), 2);
    assert_eq!(config.databases[0].pool_mode, Some(PoolMode::Session));
    assert_eq!(config.databases[1].port, Some(5433));
    assert_eq!(config.users[0].password.as_ref().unwrap().reveal(), "hush");
    assert_eq!(config.cache.rules[0].level, Some(Level::Ttl));
    assert_eq!(config.cache.rules[1].cache, Some(false));
}

#[test]
fn any_bytes_are_read_or_refused() {
    for text in [
        "",
        "\u{feff}[pool]\n",
        "a",
        "[[",
        "[[users]]",
        "users = 1",
        "= =",
        "[[cache]]",
    ] {
        errors(text);
    }
}

proptest::proptest! {
    #[test]
    fn any_value_of_any_key_is_read_or_refused(
        n in 0..keys::KEYS.len(),
        value in "\\PC{0,20}",
    ) {
        let key = &keys::KEYS[n];
        errors(&format!("[{}]\n{} = {value}\n", key.section, key.name));
        errors(&format!("[{}]\n{} = '{value}'\n", key.section, key.name));
    }
}
