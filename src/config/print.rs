//! A configuration as TOML: with origins for `print-config`, with explanations for `config.toml`.

use std::fmt::Write as _;

use super::error::Origin;
use super::keys::{DATABASE_KEYS, KEYS, RULE_KEYS, SECTIONS, USER_KEYS};
use super::merge::Loaded;
use super::table::{Effect, Key};
use super::{CacheRule, Config, DatabaseConfig, Level, PoolMode, UserConfig};

/// The effective values, each with where it came from; secrets are masked.
pub fn print(loaded: &Loaded) -> String {
    let mut out = String::new();
    for (section, _) in SECTIONS {
        line(&mut out, format_args!("[{section}]"));
        for key in KEYS.iter().filter(|key| key.section == *section) {
            let origin = loaded.origins.of(key.full);
            let value = key.show(&loaded.config);
            line(
                &mut out,
                format_args!("{} = {value}  # from {origin}", key.name),
            );
        }
        out.push('\n');
    }
    let config = &loaded.config;
    print_array(
        &mut out,
        "cache.rules",
        RULE_KEYS,
        &config.cache.rules,
        loaded,
    );
    print_array(
        &mut out,
        "databases",
        DATABASE_KEYS,
        &config.databases,
        loaded,
    );
    print_array(&mut out, "users", USER_KEYS, &config.users, loaded);
    while out.ends_with("\n\n") {
        out.pop();
    }
    out
}

fn print_array<T: Default>(
    out: &mut String,
    array: &str,
    keys: &[Key<T>],
    items: &[T],
    loaded: &Loaded,
) {
    for (n, item) in items.iter().enumerate() {
        line(out, format_args!("[[{array}]]"));
        for key in keys {
            let origin = loaded.origins.of(&format!("{array}[{n}].{}", key.name));
            if *origin != Origin::Default {
                line(
                    out,
                    format_args!("{} = {}  # from {origin}", key.name, key.show(item)),
                );
            }
        }
        out.push('\n');
    }
}

/// Writing to a string cannot fail.
fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
    out.push('\n');
}

const INTRODUCTION: &str = "\
# Every option of pgditto, with its default. None of it has to be set: with
# `pgditto --upstream postgres://user:password@host/db` everything below holds.
#
# A value comes from, each winning over the ones before: its default, this file (--config), the environment
# (PGDITTO_SECTION__KEY, such as PGDITTO_POOL__DEFAULT_POOL_SIZE=10), flags (--set pool.default_pool_size=10).
# `pgditto print-config` shows what is in force and why; `pgditto check-config` finds mistakes.
#
# Times are written as \"500ms\", \"30s\", \"1h 30m\"; sizes as \"64kB\", \"256MB\", where 1 kB is 1024 bytes.
# SIGHUP (or RELOAD on the console) reads this file again; keys marked [restart] wait for the next start.
";

/// The commented reference: the content of `config.toml`.
pub fn reference() -> String {
    let mut out = String::from(INTRODUCTION);
    let defaults = Config::default();
    for (section, doc) in SECTIONS {
        out.push('\n');
        comment(&mut out, "# ", doc);
        line(&mut out, format_args!("[{section}]"));
        for key in KEYS.iter().filter(|key| key.section == *section) {
            explain(&mut out, "# ", key);
            line(
                &mut out,
                format_args!("{} = {}", key.name, key.show(&defaults)),
            );
        }
    }
    example(
        &mut out,
        "cache.rules",
        "Rules are tried in order, and the first whose conditions all match decides.",
        RULE_KEYS,
        &CacheRule {
            tables: vec!["public.price*".into()],
            level: Some(Level::Ttl),
            ttl: Some(std::time::Duration::from_secs(10)),
            ..CacheRule::default()
        },
    );
    example(
        &mut out,
        "databases",
        "Without any [[databases]], clients may ask for every database of the server; with some, for these only.",
        DATABASE_KEYS,
        &DatabaseConfig {
            name: "reports".into(),
            pool_mode: Some(PoolMode::Session),
            pool_size: Some(5),
            ..DatabaseConfig::default()
        },
    );
    example(
        &mut out,
        "users",
        "Users beside the one of [upstream].",
        USER_KEYS,
        &UserConfig {
            name: "reporting".into(),
            ..UserConfig::default()
        },
    );
    out
}

fn explain<T>(out: &mut String, prefix: &str, key: &Key<T>) {
    let restart = match key.effect {
        Effect::Reload => "",
        Effect::Restart => " [restart]",
    };
    comment(out, prefix, &format!("{}{restart}", key.doc));
}

/// An element of an array of tables, all of it as a comment.
fn example<T>(out: &mut String, array: &str, doc: &str, keys: &[Key<T>], item: &T) {
    out.push('\n');
    comment(out, "# ", doc);
    line(out, format_args!("# [[{array}]]"));
    for key in keys {
        explain(out, "#   # ", key);
        line(out, format_args!("#   {} = {}", key.name, key.show(item)));
    }
}

/// Words wrapped to lines of comment.
fn comment(out: &mut String, prefix: &str, text: &str) {
    let mut row = String::from(prefix);
    for word in text.split(' ') {
        if row.len() + word.len() > 110 {
            line(out, format_args!("{}", row.trim_end()));
            row = String::from(prefix);
        }
        row.push_str(word);
        row.push(' ');
    }
    line(out, format_args!("{}", row.trim_end()));
}

#[cfg(test)]
#[path = "print_tests.rs"]
mod tests;
