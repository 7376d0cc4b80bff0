//! What waits for one session.

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Why a session hears nothing more; it ends, so that its driver connects and listens again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The shared connection was lost, and with it what was notified meanwhile.
    Lost,
    /// More has come than may wait.
    Full,
}

/// Notifications for one session, whole frames, in the order in which they came.
#[derive(Debug)]
pub struct Mailbox {
    /// The session, whatever it is called by the hub's owner.
    pub number: u32,
    bytes_max: usize,
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: Vec<Bytes>,
    bytes: usize,
    trouble: Option<Trouble>,
}

impl Mailbox {
    /// Room for `bytes_max` bytes of frames.
    pub fn new(number: u32, bytes_max: usize) -> Self {
        Self {
            number,
            bytes_max,
            waiting: Mutex::default(),
            arrived: Notify::new(),
        }
    }

    pub(super) fn put(&self, frame: &Bytes) {
        let mut waiting = self.waiting.lock();
        if waiting.trouble.is_none() {
            if waiting.bytes + frame.len() > self.bytes_max {
                waiting.trouble = Some(Trouble::Full);
            } else {
                waiting.bytes += frame.len();
                waiting.frames.push(frame.clone());
            }
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    pub(super) fn lose(&self) {
        self.waiting.lock().trouble.get_or_insert(Trouble::Lost);
        self.arrived.notify_one();
    }

    /// Appends what waits to `out`. What came before a trouble is delivered before it is told.
    ///
    /// # Errors
    /// Nothing more will come.
    pub fn take(&self, out: &mut BytesMut) -> Result<(), Trouble> {
        let mut waiting = self.waiting.lock();
        waiting.bytes = 0;
        for frame in waiting.frames.drain(..) {
            out.extend_from_slice(&frame);
        }
        waiting.trouble.map_or(Ok(()), Err)
    }

    /// Returns once something has come that [`take`](Self::take) would tell. Cancel safe.
    pub async fn arrived(&self) {
        loop {
            let arrived = self.arrived.notified();
            {
                let waiting = self.waiting.lock();
                if !waiting.frames.is_empty() || waiting.trouble.is_some() {
                    return;
                }
            }
            arrived.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_mailbox_gives_what_it_holds_and_then_says_so() {
        let mailbox = Mailbox::new(1, 10);
        for frame in ["12345", "67890", "x"] {
            mailbox.put(&Bytes::from(frame));
        }
        let mut out = BytesMut::new();
        assert_eq!(mailbox.take(&mut out), Err(Trouble::Full));
        assert_eq!(&out[..], b"1234567890");
        mailbox.put(&Bytes::from("y"));
        assert_eq!(mailbox.take(&mut out), Err(Trouble::Full));
        assert_eq!(&out[..], b"1234567890");
    }

    #[test]
    fn what_was_taken_makes_room() {
        let mailbox = Mailbox::new(1, 10);
        let mut out = BytesMut::new();
        for _ in 0..3 {
            mailbox.put(&Bytes::from("1234567890"));
            assert_eq!(mailbox.take(&mut out), Ok(()));
        }
        assert_eq!(out.len(), 30);
    }
}
