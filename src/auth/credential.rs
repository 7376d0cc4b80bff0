//! What is known about one user.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::login::LoginSecret;
use super::scram::{MockSecret, ScramKeys};
use super::verifier::Verifier;
use crate::config::Secret;

/// A user's secrets. Prints none of them.
#[derive(Clone, Debug, Default)]
pub struct Credential {
    /// In clear; also what logs in upstream.
    pub password: Option<Secret>,
    /// As `pg_authid.rolpassword` holds it. Decides over `password` when a client logs in.
    pub verifier: Option<Secret>,
}

impl Credential {
    /// What a SCRAM exchange with a client checks. From a password this costs
    /// PBKDF2's iterations: keep the result. `None` if there is only an md5
    /// verifier, a verifier that cannot be read, or nothing.
    pub fn scram_keys(&self, user: &str, mock: &MockSecret) -> Option<ScramKeys> {
        if let Some(verifier) = &self.verifier {
            return match Verifier::parse(verifier.reveal()) {
                Ok(Verifier::Scram(keys)) => Some(keys),
                Ok(Verifier::Md5(_)) | Err(_) => None,
            };
        }
        // With the salt that an unknown user would see, or the two could be told apart.
        Some(ScramKeys::from_password(
            self.usable_password()?,
            mock.salt(user),
        ))
    }

    /// What an md5 exchange with a client checks. `None` if there is only a
    /// SCRAM verifier, a verifier that cannot be read, or nothing.
    pub fn md5_verifier(&self, user: &str) -> Option<Verifier> {
        match &self.verifier {
            Some(verifier) => Verifier::parse(verifier.reveal())
                .ok()
                .filter(|verifier| matches!(verifier, Verifier::Md5(_))),
            None => Some(Verifier::md5(user, self.usable_password()?)),
        }
    }

    /// What logs the user in upstream, if this is the password, given in clear: never the given one,
    /// but what it proves. Costs PBKDF2's iterations, whatever is known.
    pub fn login_secret(&self, user: &str, password: &str) -> Option<LoginSecret> {
        if password.is_empty() {
            return None;
        }
        match (&self.verifier, &self.password) {
            (Some(verifier), _) => match Verifier::parse(verifier.reveal()).ok()? {
                Verifier::Scram(keys) => {
                    let keys = keys.client_keys(password)?;
                    Some(LoginSecret::Scram(Arc::new(keys)))
                }
                Verifier::Md5(digits) => {
                    // As long as for the others: time shall not tell who has which secret.
                    let _ = ScramKeys::from_password(password, *b"for nobody at all");
                    let known = LoginSecret::Md5(Zeroizing::new(digits));
                    known.is_of(user, password).then_some(known)
                }
            },
            (None, Some(known)) => {
                let keys = ScramKeys::from_password(known.reveal(), *b"only for this one");
                // An empty one fits no password that is let through above.
                keys.client_keys(password)?;
                Some(LoginSecret::Password(known.clone()))
            }
            (None, None) => None,
        }
    }

    /// PostgreSQL lets nobody in with an empty password.
    fn usable_password(&self) -> Option<&str> {
        let password = self.password.as_ref()?.reveal();
        (!password.is_empty()).then_some(password)
    }
}
