//! What logs a user in upstream.

use std::sync::Arc;

use super::md5::{answer, md5_response};
use super::scram::ClientKeys;
use crate::config::Secret;

/// A user's secret, in the form in which it is known. Prints nothing of it.
#[derive(Clone, PartialEq)]
pub enum LoginSecret {
    Password(Secret),
    /// An md5 verifier: as good as the password, where the server asks for md5.
    Md5([u8; 32]),
    /// What a client's own SCRAM login has shown: good where the server holds the same verifier.
    Scram(Arc<ClientKeys>),
}

impl LoginSecret {
    pub fn password(&self) -> Option<&Secret> {
        match self {
            LoginSecret::Password(password) => Some(password),
            LoginSecret::Md5(_) | LoginSecret::Scram(_) => None,
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
