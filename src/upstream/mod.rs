//! PostgreSQL's side: connections, the pools that keep them, and leases.
//!
//! Owns connecting and authenticating as a client, what is known of a
//! connection's state, who gets it next, and cancelling. Knows neither the cache
//! nor what the statements mean. A *lease* comes back idle and clean or not at
//! all.

mod brake;
mod cancel;
mod connection;
mod connector;
mod control;
mod counter;
mod error;
mod introduction;
mod keeper;
mod learned;
mod lease;
mod limits;
mod login;
mod orders;
mod past;
mod pool;
mod pools;
mod preference;
mod prepared;
mod search;
mod settings;
mod shape;
mod shelf;
mod spare;
mod standing;
mod stream;
mod target;
mod trial;
mod walsender;

pub use cancel::{CancelHandle, cancel};
pub use connection::{Connection, Pumped};
pub use error::{LeaseError, UpstreamError};
pub use introduction::{Admission, Introduction};
pub use lease::Lease;
pub use orders::PoolStats;
pub use past::{Beginning, Past};
pub use pool::{Condition, Pool, Wish};
pub use pools::{ANY_DATABASE, OrderError, Pools, PoolsError};
pub use preference::Preference;
pub use prepared::{Prepared, PreparedSet};
pub use settings::{Settings, SettingsError, restore_sql, set_sql};
pub use shape::{Shape, Told};
pub use standing::{ServerInfo, ServerState};
pub use stream::Stream;
pub use target::{ConnectOptions, Target};
pub use trial::TrialError;
pub use walsender::{Walsender, WalsenderError};
