//! PostgreSQL's side: connections, the pools that keep them, and leases.
//!
//! Owns connecting and authenticating as a client, what is known of a
//! connection's state, who gets it next, and cancelling. Knows neither the cache
//! nor what the statements mean. A *lease* comes back idle and clean or not at
//! all.

mod prepared;
mod settings;
mod shelf;

pub use prepared::PreparedSet;
pub use settings::{Settings, SettingsError, restore_sql};
