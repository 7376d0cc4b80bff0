//! SCRAM-SHA-256, without channel binding.

mod client;
mod keys;
mod message;
mod mock;
mod server;

pub use client::ScramClient;
pub use keys::ScramKeys;
pub use mock::MockSecret;
pub use server::ScramServer;

/// The mechanism's name in AuthenticationSASL.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";

/// The most iterations that we do for a server: about a second of work. A
/// server that has not proven anything yet names the number.
pub(super) const ITERATIONS_MAX: u32 = 1_000_000;

#[cfg(test)]
mod tests;
