//! Who is at the other end.

use std::fmt;
use std::net::SocketAddr;

/// The other end's address, for logs and the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Tcp(SocketAddr),
    /// Unix sockets have no address of a client's.
    Unix,
    /// A TCP connection that was gone before it could be asked.
    Unknown,
}

/// `192.0.2.1:4711`, `[2001:db8::1]:4711`, `unix` or `unknown`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(f),
            Peer::Unix => f.write_str("unix"),
            Peer::Unknown => f.write_str("unknown"),
        }
    }
}
