//! What a cached answer is the answer to.
//!
//! The whole key is kept and compared; its hash only finds the place. Fields
//! are written with their lengths, so no two lists of fields give the same bytes.

use bytes::Bytes;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_secret};

/// At least what xxh3 asks for.
const SECRET_BYTES: usize = 192;

/// Keys the hash, so that nobody outside can aim at one place of the cache.
#[derive(Clone)]
pub struct KeySecret([u8; SECRET_BYTES]);

impl KeySecret {
    /// A secret that only this process has.
    ///
    /// # Errors
    /// When the operating system gives no random numbers.
    pub fn random() -> Result<Self, super::CacheError> {
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret).map_err(|_| super::CacheError::Random)?;
        Ok(Self(secret))
    }

    /// A secret that every process makes alike from the same words, for places that
    /// are shared. Who knows the words can name the place of a key that he can guess;
    /// who does not cannot read anything out of a place's name.
    pub fn derived(words: &[&[u8]]) -> Self {
        let mut material = Vec::new();
        for word in words {
            material.extend_from_slice(&(word.len() as u64).to_le_bytes());
            material.extend_from_slice(word);
        }
        let mut secret = [0; SECRET_BYTES];
        let mut last = 0x70_67_64_69_74_74_6f;
        for chunk in secret.chunks_exact_mut(8) {
            last = xxh3_64_with_seed(&material, last);
            chunk.copy_from_slice(&last.to_le_bytes());
        }
        Self(secret)
    }

    /// A hash that tells nothing to whom does not have the secret.
    pub fn hash(&self, bytes: &[u8]) -> u128 {
        xxh3_128_with_secret(bytes, &self.0)
    }
}

impl std::fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeySecret(***)")
    }
}

/// Puts a key together, field by field.
#[derive(Debug, Clone)]
pub struct KeyBuilder(Vec<u8>);

impl KeyBuilder {
    pub fn new(database: &str) -> Self {
        let mut builder = Self(Vec::with_capacity(256));
        builder.field(database.as_bytes());
        builder
    }

    /// One more field, empty ones too.
    pub fn field(&mut self, bytes: &[u8]) -> &mut Self {
        self.0
            .extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn finish(self, secret: &KeySecret) -> Key {
        Key {
            hash: secret.hash(&self.0),
            bytes: self.0.into(),
        }
    }
}

/// A whole key and the hash that finds its place. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    hash: u128,
    bytes: Bytes,
}

impl Key {
    pub(super) fn hash(&self) -> u128 {
        self.hash
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// This key with one more field at its end.
    #[must_use]
    pub fn with_field(&self, field: &[u8], secret: &KeySecret) -> Self {
        let mut builder = KeyBuilder(self.bytes.to_vec());
        builder.field(field);
        builder.finish(secret)
    }

    /// A key with a chosen hash, to make two keys meet.
    #[cfg(test)]
    pub(super) fn colliding(&self, bytes: &'static [u8]) -> Key {
        Key {
            hash: self.hash,
            bytes: Bytes::from_static(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_run_together() {
        let secret = KeySecret::random().unwrap();
        let key = |fields: &[&[u8]]| {
            let mut builder = KeyBuilder::new("db");
            for field in fields {
                builder.field(field);
            }
            builder.finish(&secret)
        };
        assert_eq!(key(&[b"ab", b"c"]), key(&[b"ab", b"c"]));
        assert_ne!(key(&[b"ab", b"c"]), key(&[b"a", b"bc"]));
        assert_ne!(key(&[b"ab"]), key(&[b"ab", b""]));
    }

    #[test]
    fn places_differ_between_secrets() {
        let hash = |secret: &KeySecret| KeyBuilder::new("db").finish(secret).hash();
        let (one, two) = (KeySecret::random().unwrap(), KeySecret::random().unwrap());
        assert_ne!(hash(&one), hash(&two));
        let fleet = |name: &str| hash(&KeySecret::derived(&[name.as_bytes(), b"pw"]));
        assert_eq!(fleet("a"), fleet("a"));
        assert_ne!(fleet("a"), fleet("b"));
        assert_eq!(format!("{one:?}"), "KeySecret(***)");
    }
}
