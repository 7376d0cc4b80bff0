//! What waits for one session.

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::wire;

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

    /// Drops what waits of such channels and senders.
    pub fn forget(&self, is_such: impl Fn(&[u8], u32) -> bool) {
        let mut waiting = self.waiting.lock();
        waiting.frames.retain(|frame| {
            let origin = origin(frame);
            !origin.is_some_and(|(channel, sender)| is_such(channel, sender))
        });
        waiting.bytes = waiting.frames.iter().map(Bytes::len).sum();
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

/// Channel and sender of a NotificationResponse.
fn origin(frame: &[u8]) -> Option<(&[u8], u32)> {
    let (sender, names) = frame.get(wire::HEADER_LEN..)?.split_first_chunk()?;
    let channel = names.split(|&byte| byte == 0).next()?;
    Some((channel, u32::from_be_bytes(*sender)))
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
    fn what_is_forgotten_makes_room_too() {
        let frame = |channel: &str| {
            let mut frame = BytesMut::new();
            wire::backend::notification(&mut frame, 7, channel.as_bytes(), b"x");
            frame.freeze()
        };
        let len = frame("c").len();
        let mailbox = Mailbox::new(1, 2 * len);
        for channel in ["c", "d"] {
            mailbox.put(&frame(channel));
        }
        mailbox.forget(|channel, sender| channel == b"c" && sender == 7);
        mailbox.forget(|channel, sender| channel == b"d" && sender == 8);
        mailbox.put(&frame("e"));
        let mut out = BytesMut::new();
        assert_eq!(mailbox.take(&mut out), Ok(()));
        assert_eq!(out, [frame("d"), frame("e")].concat());
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
