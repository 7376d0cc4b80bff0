//! Who may log in, and with what.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::auth::{Credential, MockSecret, ScramKeys, Verifier};
use crate::config::Config;

/// The users of one configuration. Prints no secret.
pub struct UserDirectory {
    users: HashMap<String, Entry>,
    mock: MockSecret,
}

struct Entry {
    credential: Credential,
    /// From a password they cost thousands of hashes: made once, at the first login.
    scram_keys: OnceLock<Option<ScramKeys>>,
}

impl UserDirectory {
    /// The URL's user with the URL's password, and `[[users]]`, which decide
    /// where both name a user.
    pub fn from_config(config: &Config) -> Self {
        let mut users: HashMap<String, Entry> = HashMap::new();
        let upstream = &config.upstream;
        let url = upstream
            .user
            .iter()
            .map(|user| (user, &upstream.password, &None));
        let listed = config
            .users
            .iter()
            .map(|user| (&user.name, &user.password, &user.scram_secret));
        for (name, password, verifier) in url.chain(listed) {
            let credential = &mut users.entry(name.clone()).or_default().credential;
            // An entry without a secret only sets a user's pool.
            if password.is_some() {
                credential.password.clone_from(password);
            }
            if verifier.is_some() {
                credential.verifier.clone_from(verifier);
            }
        }
        Self {
            users,
            mock: MockSecret::random().expect("a system that has booted has random bytes"),
        }
    }

    /// `None` for a user who is not known.
    pub fn credential(&self, user: &str) -> Option<Credential> {
        self.users.get(user).map(|entry| entry.credential.clone())
    }

    /// The keys for an exchange with `user`, and whether anybody can pass it.
    pub(super) fn scram_keys(&self, user: &str) -> (ScramKeys, bool) {
        let known = self.users.get(user).and_then(|entry| {
            entry
                .scram_keys
                .get_or_init(|| entry.credential.scram_keys(user, &self.mock))
                .clone()
        });
        match known {
            Some(keys) => (keys, true),
            None => (self.mock.keys(user), false),
        }
    }

    pub(super) fn md5_verifier(&self, user: &str) -> Option<Verifier> {
        self.users.get(user)?.credential.md5_verifier(user)
    }
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            credential: Credential::default(),
            scram_keys: OnceLock::new(),
        }
    }
}

impl std::fmt::Debug for UserDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UserDirectory({} users)", self.users.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Secret, UserConfig};

    fn config() -> Config {
        let mut config = Config::default();
        config.upstream.user = Some("amy".into());
        config.upstream.password = Some(Secret::new("from the url"));
        config
    }

    fn password(directory: &UserDirectory, user: &str) -> Option<String> {
        let password = directory.credential(user)?.password?;
        Some(password.reveal().to_owned())
    }

    #[test]
    fn url_and_list_make_one_directory() {
        let mut config = config();
        for (name, password) in [("amy", None), ("bob", Some("listed"))] {
            config.users.push(UserConfig {
                name: name.into(),
                password: password.map(Secret::new),
                ..UserConfig::default()
            });
        }
        let directory = UserDirectory::from_config(&config);
        assert_eq!(password(&directory, "amy").as_deref(), Some("from the url"));
        assert_eq!(password(&directory, "bob").as_deref(), Some("listed"));
        assert!(directory.credential("eve").is_none());
        config.users[0].password = Some(Secret::new("listed"));
        let directory = UserDirectory::from_config(&config);
        assert_eq!(password(&directory, "amy").as_deref(), Some("listed"));
    }

    #[test]
    fn debug_prints_no_secret() {
        let directory = UserDirectory::from_config(&config());
        assert_eq!(format!("{directory:?}"), "UserDirectory(1 users)");
        let credential = directory.credential("amy");
        assert!(!format!("{credential:?}").contains("url"));
    }
}
