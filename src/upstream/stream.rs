//! The socket towards PostgreSQL: TCP, Unix or TLS over TCP.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use rustix::net::RecvFlags;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use super::error::UpstreamError;
use super::target::Target;
use crate::tls::{self, Initiator};
use crate::wire::frontend;

/// When the kernel begins to ask whether a silent server is still there, and
/// how often; with Linux's nine probes a dead peer is known within minutes.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);

/// A byte stream to a server.
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Whether to ask for TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encryption {
    Plain,
    /// TLS if the server has it.
    IfOffered,
    Required,
}

/// What is to be read without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    Nothing,
    Bytes,
    End,
}

impl Stream {
    /// Connects, and speaks TLS as `encryption` says; where `sslnegotiation` is direct, without asking
    /// whether the server has it. A Unix socket is never
    /// encrypted, as with libpq.
    pub(super) async fn open(
        target: &Target,
        encryption: Encryption,
    ) -> Result<Self, UpstreamError> {
        let refused = |source: io::Error| UpstreamError::Connect {
            address: target.address(),
            source: Arc::new(source),
        };
        if target.is_unix() {
            let stream = UnixStream::connect(target.address()).await;
            return stream.map(Self::Unix).map_err(refused);
        }
        let stream = TcpStream::connect((target.host.as_str(), target.port));
        let mut stream = stream.await.map_err(refused)?;
        tune(&stream).map_err(refused)?;
        if encryption == Encryption::Plain {
            return Ok(Self::Tcp(stream));
        }
        let offered = match &target.tls {
            Some(initiator) if initiator.is_direct() => true,
            _ => ask_for_tls(&mut stream).await?,
        };
        match (offered, &target.tls) {
            (true, Some(initiator)) => start_tls(target, stream, initiator).await,
            (false, _) if encryption == Encryption::IfOffered => Ok(Self::Tcp(stream)),
            _ => Err(UpstreamError::NoTls),
        }
    }

    pub fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The hash of the server's certificate that a login may be bound to, if there is one.
    pub(super) fn end_point(&self) -> Option<Arc<[u8]>> {
        let Self::Tls(stream) = self else {
            return None;
        };
        tls::end_point(stream.get_ref().1.peer_certificates()?.first()?)
    }

    /// Protocol and cipher as `SHOW SERVERS` prints them; empty in clear.
    pub fn tls_text(&self) -> String {
        let Self::Tls(stream) = self else {
            return String::new();
        };
        crate::tls::describe(stream.get_ref().1)
    }

    /// Our address and the server's; `None` on a Unix socket.
    pub fn addresses(&self) -> Option<(std::net::SocketAddr, std::net::SocketAddr)> {
        let stream = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
            Self::Unix(_) => return None,
        };
        stream.local_addr().ok().zip(stream.peer_addr().ok())
    }

    /// Whether the runtime has noticed that something can be read. Costs no
    /// system call, and may be behind the truth.
    pub(super) fn seems_readable(&self) -> bool {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let ready = match self {
            Self::Tcp(stream) => stream.poll_read_ready(&mut context),
            Self::Unix(stream) => stream.poll_read_ready(&mut context),
            Self::Tls(stream) => stream.get_ref().0.poll_read_ready(&mut context),
        };
        ready.is_ready()
    }

    /// Looks at the kernel's buffer with one system call, whatever the
    /// runtime has noticed so far.
    pub(super) fn waiting(&self) -> Waiting {
        let mut byte = [0u8; 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let peeked = match self {
            Self::Tcp(stream) => rustix::net::recv(stream, &mut byte, flags),
            Self::Unix(stream) => rustix::net::recv(stream, &mut byte, flags),
            Self::Tls(stream) => rustix::net::recv(stream.get_ref().0, &mut byte, flags),
        };
        match peeked {
            Ok((_, 0)) => Waiting::End,
            Ok(_) => Waiting::Bytes,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Waiting::Nothing,
            Err(_) => Waiting::End,
        }
    }

    /// Reads what has arrived without waiting; `None` if nothing has.
    pub(super) fn read_now(&mut self, input: &mut BytesMut) -> Option<io::Result<usize>> {
        let mut chunk = [0u8; 4096];
        let flags = RecvFlags::DONTWAIT;
        let read = match self {
            Self::Tcp(stream) => rustix::net::recv(&*stream, &mut chunk, flags),
            Self::Unix(stream) => rustix::net::recv(&*stream, &mut chunk, flags),
            Self::Tls(stream) => {
                let mut buffer = ReadBuf::new(&mut chunk);
                let mut context = Context::from_waker(std::task::Waker::noop());
                let read = match Pin::new(stream).poll_read(&mut context, &mut buffer) {
                    Poll::Pending => return None,
                    Poll::Ready(read) => read.map(|()| buffer.filled().len()),
                };
                return Some(read.inspect(|&n| input.extend_from_slice(&chunk[..n])));
            }
        };
        match read {
            Ok((_, n)) => {
                input.extend_from_slice(&chunk[..n]);
                Some(Ok(n))
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => None,
            Err(errno) => Some(Err(errno.into())),
        }
    }

    /// Sends what the socket takes at once and does not care for the rest:
    /// good enough for a farewell.
    pub(super) fn write_now(&mut self, bytes: &[u8]) {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let _ = Pin::new(&mut *self).poll_write(&mut context, bytes);
        let _ = Pin::new(self).poll_flush(&mut context);
    }
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// SSLRequest: true if the server goes on in TLS.
async fn ask_for_tls(stream: &mut TcpStream) -> Result<bool, UpstreamError> {
    let mut request = BytesMut::with_capacity(8);
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await?;
    // One byte more than the answer has: whatever follows it in clear was
    // put there by somebody who wants it taken for the server's words.
    let mut answer = [0u8; 2];
    match (stream.read(&mut answer).await?, answer[0]) {
        (0, _) => Err(UpstreamError::closed()),
        (1, b'S') => Ok(true),
        (1, b'N') => Ok(false),
        // An error report before TLS may be anybody's, so it is not shown.
        (_, b'E') => Err(UpstreamError::Protocol(
            "an error in answer to SSLRequest".into(),
        )),
        (1, other) => Err(UpstreamError::Protocol(format!(
            "{other:#04x} in answer to SSLRequest"
        ))),
        _ => Err(UpstreamError::Protocol(
            "unencrypted data after the answer to SSLRequest".into(),
        )),
    }
}

async fn start_tls(
    target: &Target,
    stream: TcpStream,
    initiator: &Initiator,
) -> Result<Stream, UpstreamError> {
    let failed = |source: io::Error| UpstreamError::Tls {
        address: target.address(),
        source: Arc::new(source),
    };
    let stream = initiator.connect(&target.host, stream).await;
    stream
        .map(|stream| Stream::Tls(Box::new(stream)))
        .map_err(failed)
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
