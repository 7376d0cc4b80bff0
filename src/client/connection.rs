//! A stream with the bytes that came and those that are to go.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::peer::Peer;
use super::stream::Stream;

/// Room made for one read, in bytes.
const READ_LEN: usize = 8 << 10;

/// An empty buffer that has grown beyond this is given back, so that one large
/// message does not keep its memory for as long as the client stays.
const KEEP_MAX: usize = 64 << 10;

/// A client's connection.
#[derive(Debug)]
pub struct Connection {
    pub stream: Stream,
    /// Read and not yet taken.
    pub input: BytesMut,
    /// To be written by the next `flush`.
    pub output: BytesMut,
    pub peer: Peer,
    /// Bytes may sit in the TLS layer until the next flush.
    pub(super) unflushed: bool,
}

/// What [`Connection::pump`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pumped {
    /// So many bytes were added to `input`; zero is the end of the stream.
    Read(usize),
    /// So many bytes of `output` were written and taken off it.
    Wrote(usize),
}

impl Connection {
    pub fn new(stream: Stream) -> Self {
        let peer = stream.peer();
        Self {
            stream,
            input: BytesMut::new(),
            output: BytesMut::new(),
            peer,
            unflushed: false,
        }
    }

    /// Reads what is there into `input`, waiting for at least one byte; 0 is
    /// the end of the stream, also of a TLS stream that ends without saying
    /// so: a session's proper end is Terminate, not the stream's.
    /// Cancel safe: what was read is in `input`.
    ///
    /// # Errors
    /// The stream's.
    pub async fn fill(&mut self) -> io::Result<usize> {
        give_back(&mut self.input);
        self.input.reserve(READ_LEN);
        match self.stream.read_buf(&mut self.input).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            result => result,
        }
    }

    /// Writes some of `output` or, if it may, reads something into `input`: whichever is possible
    /// first, so that neither direction waits for the other. With nothing to do it waits for ever.
    ///
    /// Cancel safe: what was written is off `output`, what was read is in `input`.
    ///
    /// # Errors
    /// The stream's.
    pub async fn pump(&mut self, may_read: bool) -> io::Result<Pumped> {
        if may_read {
            give_back(&mut self.input);
            self.input.reserve(READ_LEN);
        }
        poll_fn(|context| {
            if !self.output.is_empty()
                && let Poll::Ready(written) =
                    Pin::new(&mut self.stream).poll_write(context, &self.output)
            {
                let written = written?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.output.advance(written);
                give_back(&mut self.output);
                self.unflushed = true;
                return Poll::Ready(Ok(Pumped::Wrote(written)));
            }
            if self.unflushed && Pin::new(&mut self.stream).poll_flush(context)?.is_ready() {
                self.unflushed = false;
            }
            if !may_read {
                return Poll::Pending;
            }
            // Made anew at each poll: it keeps nothing between two of them.
            match pin!(self.stream.read_buf(&mut self.input)).poll(context) {
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    Poll::Ready(Ok(Pumped::Read(0)))
                }
                read => read.map_ok(Pumped::Read),
            }
        })
        .await
    }

    /// Writes all of `output` and leaves it empty. Cancel safe: what was not
    /// written is still in `output`.
    ///
    /// # Errors
    /// The stream's.
    pub async fn flush(&mut self) -> io::Result<()> {
        // One piece of memory: a vectored write would cost the kernel more.
        while !self.output.is_empty() {
            match self.stream.write(&self.output).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => self.output.advance(written),
            }
        }
        give_back(&mut self.output);
        // Even with nothing to write: TLS may still hold what an earlier,
        // cancelled call has handed over.
        self.stream.flush().await
    }
}

fn give_back(buffer: &mut BytesMut) {
    if buffer.is_empty() && buffer.capacity() > KEEP_MAX {
        *buffer = BytesMut::new();
    }
}
