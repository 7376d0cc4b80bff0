//! What logs a user in upstream.

use std::sync::Arc;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::md5::{answer, md5_hex, md5_response};
use super::scram::ClientKeys;
use crate::config::Secret;

/// A user's secret, in the form in which it is known. Prints nothing of it.
#[derive(Clone, PartialEq)]
pub enum LoginSecret {
    Password(Secret),
    /// An md5 verifier: as good as the password, where the server asks for md5.
    Md5(Zeroizing<[u8; 32]>),
    /// What a login has shown: good where the server holds the same verifier.
    Scram(Arc<ClientKeys>),
}

impl LoginSecret {
    /// The md5 verifier of a password.
    pub fn md5(user: &str, password: &str) -> Self {
        Self::Md5(Zeroizing::new(md5_hex(&[
            password.as_bytes(),
            user.as_bytes(),
        ])))
    }

    pub fn password(&self) -> Option<&Secret> {
        match self {
            LoginSecret::Password(password) => Some(password),
            LoginSecret::Md5(_) | LoginSecret::Scram(_) => None,
        }
    }

    /// Whether this password gives this secret. May cost PBKDF2's iterations.
    pub fn is_of(&self, user: &str, password: &str) -> bool {
        match self {
            LoginSecret::Password(known) => {
                known.reveal().as_bytes().ct_eq(password.as_bytes()).into()
            }
            LoginSecret::Md5(digits) => {
                let given = Zeroizing::new(md5_hex(&[password.as_bytes(), user.as_bytes()]));
                digits.as_slice().ct_eq(given.as_slice()).into()
            }
            LoginSecret::Scram(keys) => keys.verifier().client_keys(password).is_some(),
        }
    }

    /// The answer to AuthenticationMD5Password, if it can be given.
    pub fn md5_response(&self, user: &str, salt: [u8; 4]) -> Option<String> {
        match self {
            LoginSecret::Password(password) => Some(md5_response(user, password.reveal(), salt)),
            LoginSecret::Md5(digits) => Some(answer(digits, salt)),
            LoginSecret::Scram(_) => None,
        }
    }
}

impl std::fmt::Debug for LoginSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            LoginSecret::Password(_) => "Password(***)",
            LoginSecret::Md5(_) => "Md5(***)",
            LoginSecret::Scram(_) => "Scram(***)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::scram::ScramKeys;
    use super::*;

    #[test]
    fn only_its_own_password_gives_a_secret() {
        let keys = ScramKeys::from_password("pencil", *b"salt");
        let keys = keys.client_keys("pencil").expect("the right password");
        for secret in [
            LoginSecret::Password(Secret::new("pencil")),
            LoginSecret::md5("amy", "pencil"),
            LoginSecret::Scram(Arc::new(keys)),
        ] {
            assert!(secret.is_of("amy", "pencil"), "{secret:?}");
            assert!(!secret.is_of("amy", "brush"), "{secret:?}");
            assert!(!secret.is_of("amy", ""), "{secret:?}");
        }
        assert!(!LoginSecret::md5("amy", "pencil").is_of("bob", "pencil"));
    }
}
