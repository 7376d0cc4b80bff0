//! Exchanges for users who do not exist.

use super::keys::{ITERATIONS, KEY_LEN, ScramKeys, hmac_sha256};
use crate::auth::error::AuthError;
use crate::auth::random::random_bytes;

/// Bytes of PostgreSQL's salts.
const SALT_LEN: usize = 16;

/// Gives each user name a salt that stays the same as long as this secret
/// does, so that a name that is not known looks like one that is.
#[derive(Clone)]
pub struct MockSecret([u8; KEY_LEN]);

impl MockSecret {
    /// # Errors
    /// The system has no random bytes.
    pub fn random() -> Result<Self, AuthError> {
        random_bytes().map(Self)
    }

    /// The user's salt.
    pub fn salt(&self, user: &str) -> [u8; SALT_LEN] {
        let hash = hmac_sha256(&self.0, user.as_bytes());
        std::array::from_fn(|at| hash[at])
    }

    /// Keys that no password fits, for [`super::ScramServer::new`] with `user_known = false`.
    pub fn keys(&self, user: &str) -> ScramKeys {
        ScramKeys {
            iterations: ITERATIONS,
            salt: self.salt(user).to_vec(),
            stored_key: [0; KEY_LEN],
            server_key: [0; KEY_LEN],
        }
    }
}

impl std::fmt::Debug for MockSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MockSecret(***)")
    }
}
