//! Passwords that only the server can judge.

use async_trait::async_trait;

use super::connection::Connection;
use super::peer::Peer;
use crate::auth::LoginSecret;
use crate::config::{Secret, WithoutTls};
use crate::wire::ErrorReport;

/// Whoever can ask the server whether a password is right.
#[async_trait]
pub trait Passthrough: Send + Sync {
    /// What logs `user` in upstream from now on, or `None` if the password is wrong.
    ///
    /// # Errors
    /// The server could not be asked or does not say: what the client is told.
    async fn prove(
        &self,
        user: &str,
        database: &str,
        password: &Secret,
    ) -> Result<Option<LoginSecret>, ErrorReport>;
}

/// Whether a password may come over this connection as it is.
pub(super) fn is_private(connection: &Connection, without_tls: WithoutTls) -> bool {
    if connection.stream.is_encrypted() {
        return true;
    }
    match (connection.peer, without_tls) {
        (Peer::Unix, WithoutTls::Unix | WithoutTls::Loopback) => true,
        (Peer::Tcp(address), WithoutTls::Loopback) => address.ip().to_canonical().is_loopback(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::stream::Stream;
    use super::*;

    #[tokio::test]
    async fn passwords_come_in_clear_only_where_that_was_chosen() {
        let connection = |peer| {
            let (unix, _) = tokio::net::UnixStream::pair().unwrap();
            let mut connection = Connection::new(Stream::Unix(unix));
            connection.peer = peer;
            connection
        };
        let tcp = |address: &str| Peer::Tcp(address.parse().unwrap());
        use WithoutTls::{Loopback, Off, Unix};
        for (peer, allowed) in [
            (Peer::Unix, &[Unix, Loopback][..]),
            (tcp("127.9.9.9:1"), &[Loopback]),
            (tcp("[::1]:1"), &[Loopback]),
            (tcp("[::ffff:127.0.0.1]:1"), &[Loopback]),
            (tcp("192.0.2.1:1"), &[]),
            (Peer::Unknown, &[]),
        ] {
            for choice in [Off, Unix, Loopback] {
                let is_private = is_private(&connection(peer), choice);
                assert_eq!(is_private, allowed.contains(&choice), "{peer} {choice:?}");
            }
        }
    }
}
