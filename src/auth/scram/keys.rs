//! The arithmetic of SCRAM, and the keys that it leaves with a server.

use std::borrow::Cow;
use std::num::NonZeroU32;

use ring::{digest, hmac, pbkdf2};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::ITERATIONS_MAX;

/// Bytes of a key, a signature and a proof.
pub(super) const KEY_LEN: usize = 32;

/// PostgreSQL's `scram_iterations`.
pub(super) const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("not zero");

/// What a SCRAM verifier holds. Prints nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    pub(in crate::auth) iterations: NonZeroU32,
    pub(in crate::auth) salt: Vec<u8>,
    pub(in crate::auth) stored_key: [u8; KEY_LEN],
    pub(in crate::auth) server_key: [u8; KEY_LEN],
}

impl ScramKeys {
    /// The keys of a password, at PostgreSQL's default of 4096 iterations.
    pub fn from_password(password: &str, salt: impl Into<Vec<u8>>) -> Self {
        let salt = salt.into();
        let salted = salted_password(password, &salt, ITERATIONS);
        Self {
            iterations: ITERATIONS,
            stored_key: sha256(&client_key(&*salted)),
            server_key: server_key(&*salted),
            salt,
        }
    }
}

impl ScramKeys {
    /// The key that the password gives besides these, if it gives these. Costs their iterations;
    /// where they are more than a million nobody's password does, since whoever sets a secret
    /// names their number.
    pub fn client_keys(&self, password: &str) -> Option<ClientKeys> {
        if self.iterations.get() > ITERATIONS_MAX {
            return None;
        }
        let salted = salted_password(password, &self.salt, self.iterations);
        let client_key = Zeroizing::new(client_key(&*salted));
        let is_same = sha256(&*client_key).ct_eq(&self.stored_key);
        bool::from(is_same).then(|| ClientKeys {
            verifier: self.clone(),
            client_key: *client_key,
        })
    }
}

impl Drop for ScramKeys {
    fn drop(&mut self) {
        self.stored_key.zeroize();
        self.server_key.zeroize();
    }
}

impl std::fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScramKeys(***)")
    }
}

/// A verifier's keys with the one that its password gives and that the verifier only has the hash of.
/// They log in wherever the same verifier is kept, as the password would. Prints nothing of them.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientKeys {
    pub(super) verifier: ScramKeys,
    pub(super) client_key: [u8; KEY_LEN],
}

impl ClientKeys {
    /// What the server keeps.
    pub fn verifier(&self) -> &ScramKeys {
        &self.verifier
    }
}

impl Drop for ClientKeys {
    fn drop(&mut self) {
        self.client_key.zeroize();
    }
}

impl std::fmt::Debug for ClientKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientKeys(***)")
    }
}

/// SASLprep as PostgreSQL does it: a password that has no prepared form, or
/// an empty one, is used as it is.
fn prepared(password: &str) -> Cow<'_, str> {
    match stringprep::saslprep(password) {
        Ok(prepared) if !prepared.is_empty() => prepared,
        _ => Cow::Borrowed(password),
    }
}

pub(super) fn salted_password(
    password: &str,
    salt: &[u8],
    iterations: NonZeroU32,
) -> Zeroizing<[u8; KEY_LEN]> {
    let mut salted = Zeroizing::new([0; KEY_LEN]);
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        iterations,
        salt,
        prepared(password).as_bytes(),
        &mut *salted,
    );
    salted
}

pub(super) fn client_key(salted: &[u8]) -> [u8; KEY_LEN] {
    hmac_sha256(salted, b"Client Key")
}

pub(super) fn server_key(salted: &[u8]) -> [u8; KEY_LEN] {
    hmac_sha256(salted, b"Server Key")
}

pub(super) fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; KEY_LEN] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    first_32(tag.as_ref())
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; KEY_LEN] {
    first_32(digest::digest(&digest::SHA256, bytes).as_ref())
}

pub(super) fn xor(a: &[u8; KEY_LEN], b: &[u8; KEY_LEN]) -> [u8; KEY_LEN] {
    std::array::from_fn(|at| a[at] ^ b[at])
}

fn first_32(hash: &[u8]) -> [u8; KEY_LEN] {
    *hash.first_chunk().expect("SHA-256 gives 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_prepared_as_postgresql_prepares_them() {
        // RFC 4013's examples, and what PostgreSQL does where they forbid.
        assert_eq!(prepared("I\u{ad}X"), "IX");
        assert_eq!(prepared("\u{aa}"), "a");
        assert_eq!(prepared("\u{2168}"), "IX");
        assert_eq!(prepared("\u{7}"), "\u{7}");
        assert_eq!(prepared("\u{627}1"), "\u{627}1");
        assert_eq!(prepared("\u{ad}"), "\u{ad}");
    }
}
