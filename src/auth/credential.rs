//! What is known about one user.

use super::md5::{md5_matches, md5_response};
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

    /// Whether this is the password, given in clear. Costs PBKDF2's iterations, whatever is known.
    pub fn is_password(&self, user: &str, password: &str) -> bool {
        if password.is_empty() {
            return false;
        }
        let verifier = match (&self.verifier, self.usable_password()) {
            (Some(verifier), _) => Verifier::parse(verifier.reveal()).ok(),
            (None, Some(known)) => Some(Verifier::Scram(ScramKeys::from_password(
                known,
                *b"only for this one",
            ))),
            (None, None) => None,
        };
        match verifier {
            Some(Verifier::Scram(keys)) => keys.client_keys(password).is_some(),
            Some(known @ Verifier::Md5(_)) => {
                // As long as for the others: time shall not tell who has which secret.
                let _ = ScramKeys::from_password(password, *b"for nobody at all");
                let salt = [0; 4];
                md5_matches(
                    Some(&known),
                    salt,
                    md5_response(user, password, salt).as_bytes(),
                )
            }
            None => false,
        }
    }

    /// PostgreSQL lets nobody in with an empty password.
    fn usable_password(&self) -> Option<&str> {
        let password = self.password.as_ref()?.reveal();
        (!password.is_empty()).then_some(password)
    }
}
