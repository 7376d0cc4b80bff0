//! `pg_ident.conf`: which of the server's users somebody may be whom the system or a certificate names.

use regex_lite::Regex;

use super::HbaError;
use super::line::{Line, Word, lines};

/// The maps.
#[derive(Debug, Default)]
pub struct IdentMaps {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    map: String,
    system: System,
    /// `\1` stands for what the expression's first group has found.
    user: String,
}

#[derive(Debug)]
enum System {
    Is(String),
    Matches(Regex),
}

impl IdentMaps {
    /// # Errors
    /// The first mistake.
    pub fn parse(text: &str) -> Result<Self, HbaError> {
        let mut entries = Vec::new();
        for line in lines(text)? {
            entries.push(entry(&line).map_err(|why| HbaError {
                line: line.number,
                why,
            })?);
        }
        Ok(Self { entries })
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
        match &self.system {
            System::Is(name) => name == system && self.user == user,
            System::Matches(pattern) => pattern.captures(system).is_some_and(|found| {
                let group = found.get(1).map_or("", |group| group.as_str());
                // Only the first, as in PostgreSQL.
                self.user.replacen("\\1", group, 1) == user
            }),
        }
    }
}

fn entry(line: &Line) -> Result<Entry, String> {
    let [map, system, user] = &line.fields[..] else {
        return Err("expected a map, a name of the system's and a user".into());
    };
    let word = |field: &[Word]| match field {
        [word] => Ok(word.text.clone()),
        _ => Err("one name is expected, not a list".to_owned()),
    };
    let (map, system, user) = (word(map)?, word(system)?, word(user)?);
    let system = match system.strip_prefix('/') {
        Some(pattern) => System::Matches(Regex::new(pattern).map_err(|error| error.to_string())?),
        None => System::Is(system),
    };
    if user.contains("\\1") {
        let has_group = matches!(&system, System::Matches(pattern) if pattern.captures_len() > 1);
        if !has_group {
            return Err(format!(
                "{user:?} needs an expression with a group in parentheses"
            ));
        }
    }
    Ok(Entry { map, system, user })
}
