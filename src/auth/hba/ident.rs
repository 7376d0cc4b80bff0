//! `pg_ident.conf`: which of the server's users somebody may be whom the system or a certificate names.

use std::path::{Path, PathBuf};

use regex_lite::Regex;

use super::HbaError;
use super::line::{Line, Word};
use super::source::{Files, Text};

/// The maps.
#[derive(Debug, Default)]
pub struct IdentMaps {
    entries: Vec<Entry>,
    files: Vec<PathBuf>,
}

#[derive(Debug)]
struct Entry {
    map: String,
    system: System,
    user: User,
}

#[derive(Debug)]
enum User {
    All,
    /// `\1` stands for what the expression's first group has found.
    Is(String),
    Matches(Regex),
}

#[derive(Debug)]
enum System {
    Is(String),
    Matches(Regex),
}

impl IdentMaps {
    /// # Errors
    /// The first mistake.
    pub fn read(path: &Path, files: &Files<'_>) -> Result<Self, HbaError> {
        let text = Text::read(path, files)?;
        let mut entries = Vec::new();
        for line in &text.lines {
            entries.push(entry(line).map_err(|why| HbaError {
                file: line.file.to_path_buf(),
                line: line.number,
                why,
            })?);
        }
        Ok(Self {
            entries,
            files: text.seen,
        })
    }

    /// The files that say all this: when one changes, read again.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Whether the one whom `system` names may log in as `user`: only as the user of the same name
    /// without a map.
    pub fn allows(&self, map: Option<&str>, system: &str, user: &str) -> bool {
        let Some(map) = map else {
            return system == user;
        };
        let mut entries = self.entries.iter().filter(|entry| entry.map == map);
        entries.any(|entry| entry.allows(system, user))
    }
}

impl Entry {
    fn allows(&self, system: &str, user: &str) -> bool {
        let found = match &self.system {
            System::Is(name) if name == system => None,
            System::Is(_) => return false,
            System::Matches(pattern) => match pattern.captures(system) {
                Some(found) => Some(found),
                None => return false,
            },
        };
        match &self.user {
            User::All => true,
            User::Matches(pattern) => pattern.is_match(user),
            User::Is(name) => {
                let group = found.and_then(|found| found.get(1));
                match group {
                    // Only the first, as in PostgreSQL.
                    Some(group) => name.replacen("\\1", group.as_str(), 1) == user,
                    None => name == user,
                }
            }
        }
    }
}

fn entry(line: &Line) -> Result<Entry, String> {
    let [map, system, user] = &line.fields[..] else {
        return Err("expected a map, a name of the system's and a user".into());
    };
    fn one(field: &[Word]) -> Result<&Word, String> {
        match field {
            [word] => Ok(word),
            _ => Err("one name is expected, not a list".to_owned()),
        }
    }
    let regex = |pattern| Regex::new(pattern).map_err(|error| error.to_string());
    let (map, system, user) = (one(map)?.text.clone(), one(system)?, one(user)?);
    let system = match system.text.strip_prefix('/') {
        Some(pattern) => System::Matches(regex(pattern)?),
        None => System::Is(system.text.clone()),
    };
    let user = match user.text.strip_prefix('/') {
        _ if user.is_keyword("all") => User::All,
        Some(pattern) => User::Matches(regex(pattern)?),
        None if !user.quoted && user.text.starts_with('+') => {
            return Err(format!("{} is not supported in maps", user.text));
        }
        None => User::Is(user.text.clone()),
    };
    if let User::Is(user) = &user
        && user.contains("\\1")
    {
        let has_group = matches!(&system, System::Matches(pattern) if pattern.captures_len() > 1);
        if !has_group {
            return Err(format!(
                "{user:?} needs an expression with a group in parentheses"
            ));
        }
    }
    Ok(Entry { map, system, user })
}
