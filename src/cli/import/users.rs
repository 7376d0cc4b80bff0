//! The user list and the section `[users]`.

use super::Import;
use crate::cli::ini::{self, Entry};
use crate::config::keys::{USER_KEYS, to_toml};

impl Import {
    pub(super) fn users(&mut self, listed: &[(String, String)], entries: &[&Entry]) {
        // Of a name listed twice the later counts, as in PgBouncer.
        let mut users: Vec<(String, String)> = Vec::new();
        let forced = std::mem::take(&mut self.forced);
        for (name, secret) in forced.iter().chain(listed) {
            users.retain(|(other, _)| other != name);
            users.push((name.clone(), secret.clone()));
        }
        for entry in entries {
            if !users.iter().any(|(name, _)| *name == entry.name) {
                users.push((entry.name.clone(), String::new()));
            }
        }
        for (name, secret) in &users {
            let entry = entries.iter().find(|entry| entry.name == *name);
            self.push_user(name, secret, entry.copied());
        }
        if users.iter().any(|(_, secret)| !secret.is_empty())
            || self.document.has("upstream.password")
        {
            self.notes.push(
                "the output contains passwords: keep it where only pgditto can read it".into(),
            );
        }
    }

    fn push_user(&mut self, name: &str, secret: &str, entry: Option<&Entry>) {
        let mut wanted = vec![("name", name.to_owned())];
        if secret.starts_with("SCRAM-SHA-256$") {
            wanted.push(("scram_secret", secret.to_owned()));
        } else if is_md5(secret) && self.scram_only {
            self.notes.push(format!(
                "{name}: an md5 secret cannot log in with scram-sha-256, and is left out"
            ));
        } else if is_md5(secret) {
            wanted.push(("scram_secret", secret.to_owned()));
        } else if !secret.is_empty() {
            wanted.push(("password", secret.to_owned()));
        }
        if let Some(entry) = entry {
            for (part, value) in ini::connection_string(&entry.value).unwrap_or_default() {
                match part.as_str() {
                    "pool_mode" => wanted.push(("pool_mode", value)),
                    "pool_size" => wanted.push(("pool_size", value)),
                    other => {
                        self.note(entry, &format!("{other}= has no counterpart for one user"));
                    }
                }
            }
        }
        let mut lines = Vec::new();
        for (key, value) in &wanted {
            match to_toml(USER_KEYS, key, value) {
                Ok(line) => lines.push(line),
                Err(why) => self.notes.push(format!("{name}: {key} is left out: {why}")),
            }
        }
        self.document.push("users", lines);
    }
}

fn is_md5(secret: &str) -> bool {
    secret
        .strip_prefix("md5")
        .is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}
