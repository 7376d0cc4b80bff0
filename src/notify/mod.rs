//! LISTEN without a connection of one's own: all listening sessions of a database share one
//! connection ([`Hub`]), and each takes what is meant for it from a [`Mailbox`].
//!
//! Owns: the shared connection, who listens to what, notifications that wait for their session.
//! Delivery is PostgreSQL's: after the commit, to everybody who listened before it, in order, and
//! only between transactions, which is the session's part. Nothing is lost unseen: where the shared
//! connection is lost or a mailbox is full, the session learns that it must end.

mod hub;
mod mailbox;

pub use hub::{Hub, Speakers};
pub use mailbox::{Mailbox, Trouble};
