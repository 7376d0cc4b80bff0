//! What must hold within the arrays of tables: `[[databases]]`, `[[users]]`, `[[cache.rules]]`.

use std::collections::HashSet;

use super::check::Checker;
use super::{AuthType, CacheRule, Config, DatabaseConfig, UserConfig};

impl Checker<'_> {
    pub(super) fn rules(&mut self, rules: &[CacheRule]) {
        for (n, rule) in rules.iter().enumerate() {
            for why in rule_mistakes(rule, n + 1 == rules.len()) {
                self.report(&format!("cache.rules[{n}]"), why);
            }
        }
    }

    pub(super) fn databases(&mut self, databases: &[DatabaseConfig]) {
        let mut seen = HashSet::new();
        for (n, database) in databases.iter().enumerate() {
            let name = database.name.as_str();
            let why = match name {
                // Silent when the name itself was refused.
                "" if self.loaded.origins.given(&format!("databases[{n}].name")) => continue,
                "" => "a database needs a name".to_owned(),
                "pgbouncer" | "pgditto" => format!("{name} is the name of the console"),
                _ if !seen.insert(name) => format!("the database {name} is listed twice"),
                _ => continue,
            };
            self.report(&format!("databases[{n}]"), why);
        }
    }

    pub(super) fn users(&mut self, config: &Config) {
        let mut seen = HashSet::new();
        for (n, user) in config.users.iter().enumerate() {
            if user.name.is_empty() {
                self.report(&format!("users[{n}]"), "a user needs a name");
            } else if !seen.insert(user.name.as_str()) {
                let why = format!("the user {} is listed twice", user.name);
                self.report(&format!("users[{n}]"), why);
            }
            self.user_secret(n, user, config.auth.auth_type);
        }
    }

    fn user_secret(&mut self, n: usize, user: &UserConfig, auth_type: AuthType) {
        let at = format!("users[{n}]");
        let Some(secret) = &user.scram_secret else {
            return;
        };
        if user.password.is_some() {
            let why = format!("{} has a password and a scram_secret: give one", user.name);
            self.report(&at, why);
        }
        let md5 = secret.is_verifier() && secret.reveal().starts_with("md5");
        if !secret.is_verifier() {
            self.report(
                &at,
                format!(
                    "the scram_secret of {} is neither SCRAM-SHA-256$… nor md5…",
                    user.name
                ),
            );
        } else if md5 && auth_type == AuthType::ScramSha256 {
            self.report(
                &at,
                format!(
                    "{} has an md5 secret, which cannot log in with auth_type = \"scram-sha-256\"",
                    user.name
                ),
            );
        }
    }
}

fn rule_mistakes(rule: &CacheRule, last: bool) -> Vec<&'static str> {
    let mut mistakes = Vec::new();
    let unconditional = rule.tables.is_empty()
        && rule.users.is_empty()
        && rule.databases.is_empty()
        && rule.shape.is_none();
    if unconditional && !last {
        mistakes.push("a rule without conditions matches everything: put it last");
    }
    let refines = rule.level.is_some()
        || rule.ttl.is_some()
        || !rule.tags.is_empty()
        || !rule.functions.is_empty();
    match rule.cache {
        Some(false) if refines => {
            mistakes.push("a rule with cache = false takes no level, ttl, tags or functions");
        }
        None if !refines => {
            mistakes.push("a rule must say something: cache, level, ttl, tags or functions");
        }
        _ => {}
    }
    if rule
        .tables
        .iter()
        .any(|table| table.matches('.').count() > 1)
    {
        mistakes
            .push("tables: write table or schema.table; the database is a condition of its own");
    }
    mistakes
}
