//! SCRAM-SHA-256, with channel binding and without.

mod channel;
mod client;
mod keys;
mod message;
mod mock;
mod server;

pub use channel::Channel;
pub use client::ScramClient;
pub use keys::{ClientKeys, ScramKeys};
pub use mock::MockSecret;
pub use server::ScramServer;

/// The mechanism's name in AuthenticationSASL.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";
/// The mechanism that binds itself to the TLS connection.
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// The most iterations that we do for a server: about a second of work. A
/// server that has not proven anything yet names the number.
pub(super) const ITERATIONS_MAX: u32 = 1_000_000;

#[cfg(test)]
mod tests;
