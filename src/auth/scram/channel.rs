//! What an exchange says of the TLS connection below it (RFC 5801's GS2 header).

use std::sync::Arc;

/// The only type of binding that PostgreSQL knows (RFC 5929).
pub(super) const TLS_SERVER_END_POINT: &str = "tls-server-end-point";

/// What this side of an exchange can say of the connection's encryption.
#[derive(Clone)]
pub enum Channel {
    /// It cannot be bound: it is in clear, or nobody knows the hash of the server's certificate.
    Unbound,
    /// This side could bind it, and the exchange is one without: towards clients, SCRAM-SHA-256-PLUS
    /// was offered and not chosen; towards a server, it was not offered.
    Declined,
    /// It is bound to this hash of the server's certificate.
    Bound(Arc<[u8]>),
}

impl Channel {
    /// The header in front of client-first, as a client writes it.
    pub(super) fn header(&self) -> String {
        match self {
            Channel::Unbound => "n,,".into(),
            Channel::Declined => "y,,".into(),
            Channel::Bound(_) => format!("p={TLS_SERVER_END_POINT},,"),
        }
    }

    /// What `c` of client-final holds after the header.
    pub(super) fn data(&self) -> &[u8] {
        match self {
            Channel::Unbound | Channel::Declined => &[],
            Channel::Bound(hash) => hash,
        }
    }
}
