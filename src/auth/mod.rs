//! Passwords, without any I/O: SCRAM-SHA-256 and md5, as the server towards
//! applications and as the client towards PostgreSQL.
//!
//! Nothing here prints a password, a verifier or what is derived from one.
//! Whatever depends on a secret is compared in constant time.
//! Sources: RFC 5802, RFC 7677, RFC 4013; PostgreSQL's `auth-scram.c`.

mod credential;
mod error;
pub mod hba;
mod login;
mod md5;
mod random;
mod scram;
mod verifier;

pub use credential::Credential;
pub use error::AuthError;
pub use login::LoginSecret;
pub use md5::{md5_matches, md5_response};
pub use random::random_bytes;
pub use scram::{
    Channel, ClientKeys, MockSecret, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramClient, ScramKeys,
    ScramServer,
};
pub use verifier::Verifier;
