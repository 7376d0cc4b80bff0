//! The tables of `docs/configuration.md`.

use std::fmt::Write as _;

use super::keys::{DATABASE_KEYS, KEYS, RULE_KEYS, SECTIONS, USER_KEYS};
use super::table::{Effect, Key};
use super::{CacheRule, Config, DatabaseConfig, UserConfig};

const HEAD: &str = "| key | default | takes | change | meaning |\n|---|---|---|---|---|\n";

/// Every key as a row, a table for each section.
pub fn markdown() -> String {
    let mut out = String::new();
    for (section, doc) in SECTIONS {
        let keys = KEYS.iter().filter(|key| key.section == *section);
        table::<Config>(&mut out, &format!("[{section}]"), doc, keys);
    }
    let rules = "Rules are tried in order, and the first whose conditions all match decides.";
    table::<CacheRule>(&mut out, "[[cache.rules]]", rules, RULE_KEYS.iter());
    let databases =
        "Without any, clients may ask for every database of the server; with some, for these only.";
    table::<DatabaseConfig>(&mut out, "[[databases]]", databases, DATABASE_KEYS.iter());
    let users = "Users beside the one of [upstream].";
    table::<UserConfig>(&mut out, "[[users]]", users, USER_KEYS.iter());
    out
}

fn table<'a, T: Default + 'static>(
    out: &mut String,
    heading: &str,
    doc: &str,
    keys: impl Iterator<Item = &'a Key<T>>,
) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "\n### `{heading}`\n\n{}\n", plain(doc));
    out.push_str(HEAD);
    let defaults = T::default();
    for key in keys {
        let effect = match key.effect {
            Effect::Reload => "reload",
            Effect::Restart => "restart",
        };
        let _ = writeln!(
            out,
            "| `{}` | `{}` | {} | {effect} | {} |",
            key.name,
            key.show(&defaults),
            plain(&key.takes()),
            plain(key.doc)
        );
    }
}

/// Text in which Markdown finds nothing to interpret.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '|' | '*' | '<' | '[' | ']') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
