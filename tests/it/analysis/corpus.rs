//! Texts of SQL: those that the fuzzer asks, those that stand in the sources of our tests, and those of scripts for psql.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::psql;
use crate::soak;

/// Sessions of the fuzzer.
const SESSIONS: u64 = 60;

/// What the fuzzer would ask in some sessions, each text once.
pub fn asked_by_the_fuzzer(seed: u64) -> Vec<String> {
    let texts: BTreeSet<String> = soak::texts_of_sessions(seed, SESSIONS)
        .into_iter()
        .collect();
    texts.into_iter().collect()
}

/// String constants of our tests; most are no SQL.
pub fn written_in_our_tests() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = files(&root.join("tests"), "rs");
    files.extend(self::files(&root.join("src/sql"), "rs"));
    let texts: BTreeSet<String> = files
        .iter()
        .flat_map(|file| rust_strings(&read(file)))
        .collect();
    texts.into_iter().collect()
}

/// What psql sends when it plays the scripts of a folder, in the order of their names.
pub fn asked_by_scripts(folder: &Path) -> Vec<String> {
    let files = files(folder, "sql");
    assert!(!files.is_empty(), "no scripts in {}", folder.display());
    files
        .iter()
        .flat_map(|file| psql::texts(&read(file)))
        .collect()
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries =
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|known| known == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Some of PostgreSQL's scripts are in other encodings than UTF-8.
fn read(file: &Path) -> String {
    let bytes = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The string constants of a Rust source that have no escapes but those of quotes and lines.
fn rust_strings(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(start) = rest.find(['"', '\'', '/']) {
        let before = &rest[..start];
        let at = &rest[start..];
        if at.starts_with("//") {
            rest = at.split_once('\n').map_or("", |(_, next)| next);
        } else if let Some(next) = at.strip_prefix("'\"'") {
            rest = next;
        } else if at.starts_with("'\\") {
            rest = at.get(3..).unwrap_or_default();
        } else if !at.starts_with('"') {
            rest = &at[1..];
        } else {
            let hashes = before.len() - before.trim_end_matches('#').len();
            let raw = before.trim_end_matches('#').ends_with('r');
            let end = if raw {
                at[1..].find(&format!("\"{}", "#".repeat(hashes)))
            } else {
                end_of_string(&at[1..])
            };
            let Some(end) = end else { break };
            let text = &at[1..=end];
            if raw {
                found.push(text.to_owned());
            } else {
                found.extend(unescaped(text));
            }
            rest = &at[end + 2..];
        }
    }
    found
}

fn end_of_string(text: &str) -> Option<usize> {
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
}

fn unescaped(text: &str) -> Option<String> {
    let mut plain = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        match characters.next()? {
            'n' => plain.push('\n'),
            't' => plain.push('\t'),
            same @ ('"' | '\\' | '\'') => plain.push(same),
            '\n' => while characters.next_if(|next| next.is_whitespace()).is_some() {},
            _ => return None,
        }
    }
    Some(plain)
}

#[test]
fn strings_are_found_in_a_source() {
    let source = r##"f('"', 'a', "SELECT 1"); // "no"
        g("it\"s", "a \
           b", r"\d", r#"say "x""#, "\x41");"##;
    assert_eq!(
        rust_strings(source),
        ["SELECT 1", "it\"s", "a b", "\\d", "say \"x\""]
    );
}
