//! What a new configuration changes, and what of it can take effect without a restart.

use super::Config;
use super::keys::{DATABASE_KEYS, KEYS};
use super::table::Effect;

/// Keys that differ between two configurations; an array of tables counts as one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    pub applied: Vec<&'static str>,
    pub needs_restart: Vec<&'static str>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.needs_restart.is_empty()
    }
}

/// Compares two configurations. A secret file with new content is a change of the secret.
pub fn diff(old: &Config, new: &Config) -> Changes {
    let mut changes = Changes::default();
    let mut note = |key, effect| match effect {
        Effect::Reload => changes.applied.push(key),
        Effect::Restart => changes.needs_restart.push(key),
    };
    for key in KEYS {
        if !(key.same)(old, new) {
            note(key.full, key.effect);
        }
    }
    if old.auth.auth_file == new.auth.auth_file && old.auth.listed != new.auth.listed {
        note("auth.auth_file", Effect::Reload);
    }
    if old.databases != new.databases {
        note("databases", DATABASE_KEYS[0].effect);
    }
    if old.users != new.users {
        note("users", Effect::Reload);
    }
    if old.cache.rules != new.cache.rules {
        note("cache.rules", Effect::Reload);
    }
    changes
}

/// `new` with the values of `old` for whatever needs a restart: what is in force after a reload, and what
/// `SHOW CONFIG` should print.
pub fn effective(old: &Config, new: &Config) -> Config {
    let mut config = new.clone();
    for key in KEYS.iter().filter(|key| key.effect == Effect::Restart) {
        (key.copy)(old, &mut config);
    }
    if DATABASE_KEYS[0].effect == Effect::Restart {
        config.databases = old.databases.clone();
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CacheRule, Secret, UserConfig};

    #[test]
    fn changes_are_sorted_into_applied_and_restart() {
        let old = Config::default();
        assert!(diff(&old, &old.clone()).is_empty());

        let mut new = old.clone();
        new.pool.default_pool_size = 7;
        new.listen.listen_port = 7000;
        new.upstream.password = Some(Secret::new("new"));
        new.users.push(UserConfig::default());
        new.cache.rules.push(CacheRule::default());
        let changes = diff(&old, &new);
        assert_eq!(
            changes.applied,
            [
                "upstream.password",
                "pool.default_pool_size",
                "users",
                "cache.rules"
            ]
        );
        assert_eq!(changes.needs_restart, ["listen.listen_port"]);
    }

    #[test]
    fn what_needs_a_restart_stays_in_force() {
        let old = Config::default();
        let mut new = old.clone();
        new.pool.default_pool_size = 7;
        new.listen.listen_port = 7000;
        let effective = effective(&old, &new);
        assert_eq!(effective.pool.default_pool_size, 7);
        assert_eq!(effective.listen.listen_port, 6432);
    }
}
