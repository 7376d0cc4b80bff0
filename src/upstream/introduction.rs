//! Who else must meet a new connection.

use async_trait::async_trait;

use super::connection::Connection;
use super::error::UpstreamError;
use super::standing::ServerInfo;
use super::target::Target;
use crate::config::Host;

/// What a connection's introduction found out; the pool only keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Admission {
    /// The generation of proofs under which it was let in; `None`: let in without.
    pub generation: Option<u64>,
    /// `backend_start`, in microseconds since 1970 by the server's clock.
    pub started_us: i64,
}

/// Called for every pooled connection, right after its login and before its
/// first use: the place to prove that it leads to the same server, and to
/// write its process id down.
#[async_trait]
pub trait Introduction: Send + Sync {
    /// Lets the connection in, or not. Bounded by `server_connect_timeout`.
    ///
    /// # Errors
    /// Any: the connection is closed, and the error counts as that of the connect.
    async fn introduce(&self, connection: &mut Connection) -> Result<(), UpstreamError>;

    /// To which of several servers a connection must lead, if somebody knows; it may take a moment
    /// to find out.
    async fn place(&self, _target: &Target) -> Option<Host> {
        None
    }

    /// Resolves when what [`place`](Self::place) said of the target holds no more.
    async fn displaced(&self, _target: &Target) {
        std::future::pending().await
    }

    /// A connection is gone, or about to go. Called wherever it was dropped: must
    /// neither block nor call back into the pool.
    fn departed(&self, _server: &ServerInfo) {}
}
