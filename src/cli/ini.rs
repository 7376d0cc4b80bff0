//! PgBouncer's files as PgBouncer reads them: the INI file with `%include`, connection strings, and the user list.
//!
//! Source: pgbouncer(5), and `cfparser.c` and `loader.c` for what it leaves open.

use std::path::{Path, PathBuf};

/// One `name = value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) section: String,
    pub(super) name: String,
    pub(super) value: String,
    /// `file:line`.
    pub(super) at: String,
}

/// What PgBouncer itself would refuse to start with.
#[derive(Debug, thiserror::Error)]
pub(super) enum IniError {
    #[error("cannot read {path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{at}: {what}")]
    Syntax { at: String, what: &'static str },
}

/// As deep as PgBouncer follows `%include`.
const INCLUDE_DEPTH_MAX: usize = 10;

pub(super) fn read(path: &Path) -> Result<Vec<Entry>, IniError> {
    let mut reader = Reader {
        base: path.parent().unwrap_or(Path::new("")).to_owned(),
        section: String::new(),
        entries: Vec::new(),
    };
    reader.file(path, 0)?;
    Ok(reader.entries)
}

/// Reads a file that another one names: relative to the working directory, as PgBouncer does, or else beside the
/// main file, since the import seldom runs where PgBouncer does.
pub(super) fn read_named(name: &Path, base: &Path) -> Result<String, IniError> {
    std::fs::read_to_string(name)
        .or_else(|error| std::fs::read_to_string(base.join(name)).map_err(|_| error))
        .map_err(|source| IniError::Read {
            path: name.to_owned(),
            source,
        })
}

struct Reader {
    base: PathBuf,
    section: String,
    entries: Vec<Entry>,
}

impl Reader {
    fn file(&mut self, path: &Path, depth: usize) -> Result<(), IniError> {
        let text = read_named(path, &self.base)?;
        for (n, line) in text.lines().enumerate() {
            let at = format!("{}:{}", path.display(), n + 1);
            let syntax = |what| IniError::Syntax {
                at: at.clone(),
                what,
            };
            let line = line.trim();
            if line.is_empty() || line.starts_with([';', '#']) {
                continue;
            }
            if let Some(directive) = line.strip_prefix('%') {
                let name = directive
                    .strip_prefix("include")
                    .filter(|rest| rest.starts_with(char::is_whitespace))
                    .ok_or_else(|| syntax("unknown directive"))?;
                if depth == INCLUDE_DEPTH_MAX {
                    return Err(syntax("too many nested %include"));
                }
                self.file(Path::new(name.trim()), depth + 1)?;
            } else if let Some(section) = line.strip_prefix('[') {
                let name = section
                    .split_once(']')
                    .ok_or_else(|| syntax("a section has no ]"))?;
                self.section = name.0.trim().to_owned();
            } else {
                let (name, value) = pair(line).ok_or_else(|| syntax("expected name = value"))?;
                self.entries.push(Entry {
                    section: self.section.clone(),
                    name,
                    value,
                    at,
                });
            }
        }
        Ok(())
    }
}

/// `name = value`; the name may be quoted as an SQL identifier.
fn pair(line: &str) -> Option<(String, String)> {
    let (name, rest) = match line.starts_with('"') {
        true => quoted(line, '"')?,
        false => {
            let end = line.find(|c: char| c == '=' || c.is_whitespace())?;
            (line[..end].to_owned(), &line[end..])
        }
    };
    let value = rest.trim_start().strip_prefix('=')?.trim();
    (!name.is_empty()).then(|| (name, value.to_owned()))
}

/// Text in quotes, which are doubled inside; returns what follows them too.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix(quote)?;
    let mut out = String::new();
    loop {
        let (before, after) = rest.split_once(quote)?;
        out.push_str(before);
        match after.strip_prefix(quote) {
            Some(more) => {
                out.push(quote);
                rest = more;
            }
            None => return Some((out, after)),
        }
    }
}

/// A connection string: `name=value` or `name='value'`, with space around and between. `None` when it is none.
pub(super) fn connection_string(text: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, after) = match after.starts_with('\'') {
            true => quoted(after, '\'')?,
            false => {
                let end = after.find(char::is_whitespace).unwrap_or(after.len());
                (after[..end].to_owned(), &after[end..])
            }
        };
        pairs.push((name.trim().to_owned(), value));
        rest = after.trim_start();
    }
    Some(pairs)
}

/// `"name" "secret" …` on each line that begins with a quote; PgBouncer passes over all others.
pub(super) fn userlist(text: &str) -> Vec<(String, String)> {
    let user = |line: &str| {
        let (name, rest) = quoted(line.trim_start(), '"')?;
        let (secret, _) = quoted(rest.trim_start(), '"')?;
        Some((name, secret))
    };
    text.lines().filter_map(user).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect()
    }

    #[test]
    fn lines_are_read_as_pgbouncer_reads_them() {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("pgbouncer.ini");
        std::fs::write(
            &main,
            "; comment\n# comment\n[databases]\n\"odd\"\"name\" = host=a\n* = host=b\n\n\
             [pgbouncer]\nauth_type=md5\n%include more.ini\n  pool_mode =  session ; not a comment\n",
        )
        .unwrap();
        std::fs::write(dir.path().join("more.ini"), "listen_port = 7000\n").unwrap();
        let entries = read(&main).unwrap();
        let found: Vec<(&str, &str, &str)> = entries
            .iter()
            .map(|e| (e.section.as_str(), e.name.as_str(), e.value.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("databases", "odd\"name", "host=a"),
                ("databases", "*", "host=b"),
                ("pgbouncer", "auth_type", "md5"),
                ("pgbouncer", "listen_port", "7000"),
                ("pgbouncer", "pool_mode", "session ; not a comment"),
            ]
        );
        assert!(entries[3].at.ends_with("more.ini:1"), "{}", entries[3].at);
    }

    #[test]
    fn broken_files_are_refused_with_their_line() {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("pgbouncer.ini");
        for (text, what) in [
            ("[pgbouncer]\nnonsense\n", ":2: expected name = value"),
            ("[pgbouncer\n", ":1: a section has no ]"),
            ("%included x\n", ":1: unknown directive"),
            ("%include pgbouncer.ini\n", ":1: too many nested %include"),
        ] {
            std::fs::write(&main, text).unwrap();
            let error = read(&main).unwrap_err().to_string();
            assert!(error.ends_with(what), "{error}");
        }
    }

    #[test]
    fn connection_strings_keep_quoted_values_whole() {
        assert_eq!(
            connection_string(
                "host=localhost  port = 300 password='it''s a = b' connect_query='SELECT 1'"
            ),
            Some(pairs(&[
                ("host", "localhost"),
                ("port", "300"),
                ("password", "it's a = b"),
                ("connect_query", "SELECT 1"),
            ]))
        );
        assert_eq!(connection_string(""), Some(vec![]));
        assert_eq!(connection_string("host"), None);
        assert_eq!(connection_string("password='open"), None);
    }

    #[test]
    fn user_list_takes_the_first_two_quoted_fields() {
        let text = "; comment\n\"shop\" \"hush\" \"rest\"\n\"a\"\"b\" \"\"\nbroken\n\"half\n";
        assert_eq!(userlist(text), pairs(&[("shop", "hush"), ("a\"b", "")]));
    }
}
