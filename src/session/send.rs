//! Sending to the client, as long as it takes what it is sent.
//!
//! A client that reads slowly slows its own statement and nobody else's. While it takes nothing at all,
//! the session still hears KILL and the end of the statement's time, and in the end gives the client up.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use super::{Ending, Session, shut_down};

/// Why what was queued for the client is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsent {
    Gone,
    Killed,
    /// The statement's own time is over.
    Late,
    /// The client took nothing for `client_write_timeout`.
    Stalled,
}

impl Session {
    /// Writes all that is queued for the client. `deadline` is the statement's.
    ///
    /// # Errors
    /// The rest is still queued.
    pub(super) async fn send(&mut self, deadline: Option<Instant>) -> Result<(), Unsent> {
        // Nearly always the socket has room, and nothing has to be waited for.
        let at_once = poll_fn(|context| {
            Poll::Ready(match pin!(self.client.flush()).poll(context) {
                Poll::Ready(flushed) => Some(flushed),
                Poll::Pending => None,
            })
        });
        if let Some(flushed) = at_once.await {
            return flushed.map_err(|_| Unsent::Gone);
        }
        let handle = self.registration.handle.clone();
        let patience = self.config.listen.client_write_timeout;
        loop {
            let left = self.client.output.len();
            tokio::select! {
                flushed = self.client.flush() => return flushed.map_err(|_| Unsent::Gone),
                () = handle.kill.notified() => return Err(Unsent::Killed),
                () = sleep_until(deadline), if deadline.is_some() => return Err(Unsent::Late),
                () = tokio::time::sleep(patience) => {
                    if self.client.output.len() == left {
                        self.shared.metrics.stalled();
                        return Err(Unsent::Stalled);
                    }
                }
            }
        }
    }

    /// The same between statements.
    ///
    /// # Errors
    /// The session is over.
    pub(super) async fn send_or_end(&mut self) -> Result<(), Ending> {
        self.send(None).await.map_err(|unsent| match unsent {
            Unsent::Killed => Ending::Fatal(shut_down()),
            Unsent::Gone | Unsent::Late | Unsent::Stalled => Ending::ClientGone,
        })
    }
}

pub(super) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
