//! The application's side of a connection: the stream, TLS, the startup
//! packet, and who the application is.
//!
//! [`greet`] takes a stream as the listener accepted it and ends with a login
//! or a cancel request; everything after that is the session's. The room
//! knows neither the cache nor upstream.

mod connection;
mod error;
mod greet;
mod identity;
mod lookup;
mod networks;
mod passthrough;
mod peer;
mod prove;
mod rules;
mod stream;
mod users;

pub use connection::{Connection, Pumped};
pub use error::ClientError;
pub use greet::{Greeting, Login, PHYSICAL, Reception, greet};
pub use lookup::{Lookup, Memberships};
pub use passthrough::Passthrough;
pub use peer::Peer;
pub use rules::{Rules, RulesError};
pub use stream::Stream;
pub use users::{KnownUser, UserDirectory};
