//! Who may log in, and with what.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::auth::{Credential, LoginSecret, MockSecret, ScramKeys, Verifier};
use crate::config::{Config, Secret};

/// The users of one configuration. Prints no secret.
pub struct UserDirectory {
    users: HashMap<String, Arc<KnownUser>>,
    mock: MockSecret,
}

/// A user and the secrets that prove it. Prints none of them.
#[derive(Debug, Default)]
pub struct KnownUser {
    credential: Credential,
    /// From a password they cost thousands of hashes: made once, at the first login.
    scram_keys: OnceLock<Option<ScramKeys>>,
}

impl KnownUser {
    /// A user with a password, or with what `pg_authid.rolpassword` holds.
    pub fn new(secret: Secret) -> Self {
        let (password, verifier) = match secret.is_verifier() {
            true => (None, Some(secret)),
            false => (Some(secret), None),
        };
        Self {
            credential: Credential { password, verifier },
            scram_keys: OnceLock::new(),
        }
    }

    fn has_secret(&self) -> bool {
        self.credential.password.is_some() || self.credential.verifier.is_some()
    }

    pub(super) fn password(&self) -> Option<&Secret> {
        self.credential.password.as_ref()
    }

    pub(super) fn md5_verifier(&self, user: &str) -> Option<Verifier> {
        self.credential.md5_verifier(user)
    }

    /// What logs the user in upstream, if this is its password.
    pub(super) fn login_secret(&self, user: &str, password: &str) -> Option<LoginSecret> {
        self.credential.login_secret(user, password)
    }

    /// Whether only SCRAM can prove this user.
    pub(super) fn is_scram_only(&self) -> bool {
        let verifier = self.credential.verifier.as_ref();
        verifier.is_some_and(|verifier| verifier.reveal().starts_with("SCRAM-SHA-256$"))
    }
}

impl UserDirectory {
    /// The URL's user with the URL's password, `auth_file`, and `[[users]]`, which decide where
    /// several name a user.
    pub fn from_config(config: &Config) -> Self {
        let known = |name: &str| {
            let secrets = config.secrets(name).unwrap_or_default();
            let credential = Credential {
                password: secrets.password,
                verifier: secrets.verifier,
            };
            let user = KnownUser {
                credential,
                scram_keys: OnceLock::new(),
            };
            (name.to_owned(), Arc::new(user))
        };
        Self {
            users: config.known_users().map(known).collect(),
            mock: MockSecret::random().expect("a system that has booted has random bytes"),
        }
    }

    /// The users of a configuration that replaces this one's. Names that nobody has look as they
    /// did: otherwise a reload would show who they are.
    pub fn reloaded(&self, config: &Config) -> Self {
        Self {
            mock: self.mock.clone(),
            ..Self::from_config(config)
        }
    }

    /// A user who is listed with a secret.
    pub(super) fn find(&self, user: &str) -> Option<Arc<KnownUser>> {
        let found = self.users.get(user)?;
        found.has_secret().then(|| Arc::clone(found))
    }

    /// What unknown users' exchanges are made from.
    pub(super) fn mock(&self) -> &MockSecret {
        &self.mock
    }

    /// The keys for an exchange with `user`, and whether anybody can pass it.
    pub(super) fn scram_keys(&self, user: &str, known: Option<&KnownUser>) -> (ScramKeys, bool) {
        let keys = known.and_then(|known| {
            known
                .scram_keys
                .get_or_init(|| known.credential.scram_keys(user, &self.mock))
                .clone()
        });
        match keys {
            Some(keys) => (keys, true),
            None => (self.mock.keys(user), false),
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
    use crate::config::UserConfig;

    fn config() -> Config {
        let mut config = Config::default();
        config.upstream.user = Some("amy".into());
        config.upstream.password = Some(Secret::new("from the url"));
        config
    }

    fn password(directory: &UserDirectory, user: &str) -> Option<String> {
        let known = directory.find(user)?;
        Some(known.password()?.reveal().to_owned())
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
        assert!(directory.find("eve").is_none());
        config.users[0].password = Some(Secret::new("listed"));
        let directory = UserDirectory::from_config(&config);
        assert_eq!(password(&directory, "amy").as_deref(), Some("listed"));
    }

    #[test]
    fn debug_prints_no_secret() {
        let directory = UserDirectory::from_config(&config());
        assert_eq!(format!("{directory:?}"), "UserDirectory(1 users)");
        let credential = directory.find("amy");
        assert!(credential.is_some() && !format!("{credential:?}").contains("url"));
    }
}
