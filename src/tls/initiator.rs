//! The client's half of a TLS handshake with PostgreSQL.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::ALPN;
use crate::config::SslNegotiation;

/// TLS towards PostgreSQL.
#[derive(Debug)]
pub struct Initiator {
    pub config: Arc<ClientConfig>,
    pub negotiation: SslNegotiation,
}

/// The handshake was begun without SSLRequest, and the other side did not take it so. It may also
/// be a server with `ssl = off`, which closes the connection as older ones do.
#[derive(Debug, thiserror::Error)]
#[error(
    "the server does not take TLS without SSLRequest ({0}): PostgreSQL does since version 17, with ssl = on; for others set server_tls.server_tls_sslnegotiation to postgres"
)]
struct NotDirect(String);

impl Initiator {
    /// Whether the handshake begins at once, without SSLRequest.
    pub fn is_direct(&self) -> bool {
        self.negotiation == SslNegotiation::Direct
    }

    /// Shakes hands with `host`, a name or an address. If that is the first that the server hears of us, it
    /// must choose `postgresql` by ALPN, as libpq demands it: what else listens there could be made
    /// to take our words for its own protocol's.
    ///
    /// # Errors
    /// The handshake failed, or the certificate is not what was asked for.
    pub async fn connect<S>(&self, host: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let connected = connector.connect(name, stream).await;
        if !self.is_direct() {
            return connected;
        }
        match connected {
            Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(ALPN) => Ok(stream),
            Ok(_) => Err(not_direct("it did not choose postgresql by ALPN")),
            Err(error) if is_no_answer(&error) => Err(not_direct(error)),
            Err(error) => Err(error),
        }
    }
}

fn not_direct(why: impl ToString) -> io::Error {
    io::Error::other(NotDirect(why.to_string()))
}

/// Whether the other side did not speak TLS at all, or not with us.
fn is_no_answer(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let said = error.get_ref().and_then(|inner| inner.downcast_ref());
    let closed = matches!(
        error.kind(),
        UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe
    );
    closed
        || matches!(
            said,
            Some(
                rustls::Error::InvalidMessage(_)
                    | rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)
            )
        )
}
