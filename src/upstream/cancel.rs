//! Cancel requests, and the gate that keeps them from hitting a stranger.
//!
//! A cancel request names a backend, not a statement: it strikes whatever runs
//! there when the signal comes. So a connection does not go to its next holder
//! while a cancel of the last one is under way, and a cancel is over only when
//! the server has closed the connection that carried it (it signals first and
//! closes then). If the end of a cancel was not seen, the connection is closed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::error::UpstreamError;
use super::stream::{Encryption, Stream};
use super::target::Target;
use crate::wire::frontend;

/// Sends a cancel request for `pid` over a connection of its own and waits
/// until the server closes that, at most `wait` in all. `encrypted` asks for
/// TLS, so that the key does not travel in clear where the connection did not.
///
/// # Errors
/// The server was not reached, or did not close in time: whether the request
/// was heeded is then unknown.
pub async fn cancel(
    target: &Target,
    encrypted: bool,
    pid: u32,
    key: &[u8],
    wait: Duration,
) -> io::Result<()> {
    let attempt = async {
        let mut stream = open(target, encrypted).await?;
        send(&mut stream, pid, key).await
    };
    timeout(wait, attempt)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn open(target: &Target, encrypted: bool) -> io::Result<Stream> {
    let encryption = match encrypted {
        true => Encryption::Required,
        false => Encryption::Plain,
    };
    let stream = Stream::open(target, encryption).await;
    stream.map_err(|error| match error {
        UpstreamError::Connect { source, .. } | UpstreamError::Lost(source) => {
            io::Error::new(source.kind(), source)
        }
        other => io::Error::other(other),
    })
}

async fn send(stream: &mut Stream, pid: u32, key: &[u8]) -> io::Result<()> {
    let mut request = BytesMut::with_capacity(16);
    frontend::cancel_request(&mut request, pid, key);
    stream.write_all(&request).await?;
    stream.flush().await?;
    let mut ignored = [0u8; 256];
    loop {
        match stream.read(&mut ignored).await {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // Servers close without TLS's own farewell, and may reset.
            Err(error) if is_closed(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
    )
}

/// Counts the cancels that are under way for one connection's present holder.
#[derive(Debug, Default)]
pub(super) struct CancelGate {
    state: Mutex<GateState>,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct GateState {
    /// Which lease may cancel; zero is none. Numbers are never used twice.
    lease: u64,
    leases: u64,
    under_way: usize,
    /// A cancel was sent and its end was not seen.
    unknown: bool,
}

/// What stands in the way of the next holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    Clear,
    Busy,
    /// Never: a cancel may strike at any time.
    Barred,
}

impl CancelGate {
    /// A new holder comes; returns the number that its cancels must show.
    pub fn open(&self) -> u64 {
        let mut state = self.state.lock();
        state.leases += 1;
        state.lease = state.leases;
        state.lease
    }

    /// The holder goes: no cancel begins any more.
    pub fn shut(&self) -> Passage {
        let mut state = self.state.lock();
        state.lease = 0;
        state.passage()
    }

    /// Resolves when nothing is under way any more. For after [`shut`](Self::shut).
    pub async fn passage(&self) -> Passage {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            emptied.as_mut().enable();
            let passage = self.state.lock().passage();
            if passage != Passage::Busy {
                return passage;
            }
            emptied.await;
        }
    }

    /// How many are under way.
    pub fn under_way(&self) -> usize {
        self.state.lock().under_way
    }

    fn begin(self: &Arc<Self>, lease: u64) -> Option<UnderWay> {
        let mut state = self.state.lock();
        if state.lease != lease {
            return None;
        }
        state.under_way += 1;
        Some(UnderWay {
            gate: Arc::clone(self),
            sent: false,
        })
    }
}

impl GateState {
    fn passage(&self) -> Passage {
        match (self.unknown, self.under_way) {
            (true, _) => Passage::Barred,
            (false, 0) => Passage::Clear,
            (false, _) => Passage::Busy,
        }
    }
}

/// One cancel; its end is counted however it comes.
struct UnderWay {
    gate: Arc<CancelGate>,
    /// The request may have reached the server and its end was not seen yet.
    sent: bool,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.gate.state.lock();
        state.under_way -= 1;
        state.unknown |= self.sent;
        drop(state);
        self.gate.emptied.notify_waiters();
    }
}

/// Cancels what one lease runs, from any task, for as long as that lease lasts.
#[derive(Clone, Debug)]
pub struct CancelHandle {
    pub(super) gate: Arc<CancelGate>,
    pub(super) lease: u64,
    pub(super) target: Arc<Target>,
    pub(super) encrypted: bool,
    pub(super) pid: u32,
    pub(super) key: Bytes,
    pub(super) wait: Duration,
}

impl CancelHandle {
    /// The server's process that a cancel would reach.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Cancels; `Ok(false)` if the lease is over, and nothing was sent.
    ///
    /// If the future is dropped after the request was sent, the connection will
    /// be closed at the end of its lease.
    ///
    /// # Errors
    /// As [`cancel`]; a request whose end is unknown costs the lease its connection.
    pub async fn cancel(&self) -> io::Result<bool> {
        let Some(mut under_way) = self.gate.begin(self.lease) else {
            return Ok(false);
        };
        let attempt = async {
            let mut stream = open(&self.target, self.encrypted).await?;
            under_way.sent = true;
            send(&mut stream, self.pid, &self.key).await?;
            under_way.sent = false;
            Ok(true)
        };
        timeout(self.wait, attempt)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lease_that_is_over_cannot_begin_a_cancel() {
        let gate = Arc::new(CancelGate::default());
        let lease = gate.open();
        assert_eq!(gate.shut(), Passage::Clear);
        assert!(gate.begin(lease).is_none());
        let next = gate.open();
        assert!(gate.begin(lease).is_none());
        assert!(gate.begin(next).is_some());
    }

    #[tokio::test]
    async fn the_next_holder_waits_until_the_last_cancel_is_over() {
        let gate = Arc::new(CancelGate::default());
        let lease = gate.open();
        let first = gate.begin(lease);
        let second = gate.begin(lease);
        assert_eq!(gate.shut(), Passage::Busy);
        let waits = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.passage().await }
        });
        drop(first);
        assert_eq!(gate.shut(), Passage::Busy);
        drop(second);
        assert_eq!(waits.await.unwrap(), Passage::Clear);
    }

    #[tokio::test]
    async fn a_cancel_whose_end_was_not_seen_bars_the_way() {
        let gate = Arc::new(CancelGate::default());
        let lease = gate.open();
        let mut under_way = gate.begin(lease).unwrap();
        under_way.sent = true;
        drop(under_way);
        assert_eq!(gate.shut(), Passage::Barred);
        assert_eq!(gate.passage().await, Passage::Barred);
    }
}
