//! The shared connection of one database.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio_postgres::{AsyncMessage, Client, Notification};

use super::mailbox::Mailbox;
use crate::authority::{Authority, ControlError, ControlTarget, Listener};
use crate::wire::{self, backend};

/// Nothing may end the connection for idling or cut a statement short; what time they have is ours to bound.
const SETTLE: &str = "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings \
     WHERE name IN ('statement_timeout', 'lock_timeout', 'transaction_timeout', \
     'idle_session_timeout', 'idle_in_transaction_session_timeout')";

/// Which session a backend of the server spoke for last, by the number that its client knows.
/// Learned from the first time that somebody listens.
#[derive(Debug, Default)]
pub struct Speakers {
    wanted: AtomicBool,
    numbers: Mutex<HashMap<u32, u32>>,
}

/// More backends than this are forgotten and learned anew.
const SPEAKERS_MAX: usize = 10_000;

impl Speakers {
    /// Somebody listens.
    pub fn want(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// The backend `pid` may notify for the session `number` from now on.
    pub fn speaks_for(&self, pid: u32, number: u32) {
        if !self.wanted.load(Ordering::Relaxed) {
            return;
        }
        let mut numbers = self.numbers.lock();
        if numbers.len() >= SPEAKERS_MAX && !numbers.contains_key(&pid) {
            numbers.clear();
        }
        numbers.insert(pid, number);
    }

    /// Appends a NotificationResponse as the client is to see it.
    pub fn rename(&self, frame: &[u8], out: &mut BytesMut) {
        let sender = wire::HEADER_LEN..wire::HEADER_LEN + 4;
        let start = out.len();
        out.extend_from_slice(frame);
        if let Some(pid) = frame
            .get(sender.clone())
            .and_then(|pid| pid.try_into().ok())
        {
            let number = self.number(u32::from_be_bytes(pid)).to_be_bytes();
            out[start..][sender].copy_from_slice(&number);
        }
    }

    /// The session that the backend spoke for, or the backend itself where it is none of ours.
    pub fn number(&self, pid: u32) -> u32 {
        self.numbers.lock().get(&pid).copied().unwrap_or(pid)
    }
}

/// The connection on which all sessions of one database listen; open as long as one of them does.
pub struct Hub {
    target: ControlTarget,
    /// Who knows which server everybody else is on.
    authority: Option<Arc<Authority>>,
    pub speakers: Arc<Speakers>,
    /// Held while what is listened to changes, so that the server and the table below agree.
    changing: tokio::sync::Mutex<()>,
    line: Mutex<Option<Arc<Line>>>,
}

/// A connection and who hears what on it.
struct Line {
    client: Client,
    task: AbortHandle,
    ears: Arc<Ears>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Brings what the server notifies to the mailboxes.
#[derive(Clone)]
struct Hearing {
    ears: Arc<Ears>,
    speakers: Arc<Speakers>,
}

impl Listener for Hearing {
    fn hear(&mut self, message: AsyncMessage) {
        if let AsyncMessage::Notification(notification) = message {
            self.ears.deliver(&notification, &self.speakers);
        }
    }

    fn lost(self) {
        self.ears.lose();
    }
}

#[derive(Default)]
struct Ears {
    channels: Mutex<HashMap<String, Vec<Arc<Mailbox>>>>,
    lost: AtomicBool,
}

impl Hub {
    /// Connects when somebody listens.
    pub fn new(target: ControlTarget, authority: Option<Arc<Authority>>) -> Self {
        Self {
            target,
            authority,
            speakers: Arc::default(),
            changing: tokio::sync::Mutex::default(),
            line: Mutex::default(),
        }
    }

    /// Begins to deliver to `mailbox` what is notified on a channel after this returns. `name` is the
    /// channel as the server folds it, `written` as it stands in SQL.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses; nothing has changed.
    pub async fn listen(
        &self,
        name: &str,
        written: &str,
        mailbox: &Arc<Mailbox>,
    ) -> Result<(), ControlError> {
        self.speakers.want();
        let _changing = self.changing.lock().await;
        let line = self.connected().await?;
        // Also where others listen already: what was notified before is then delivered before this returns.
        self.ask(&line, &format!("LISTEN {written}")).await?;
        if !line.ears.add(name, mailbox) {
            mailbox.lose();
        }
        Ok(())
    }

    /// Delivers nothing more of the channel to this session.
    pub async fn unlisten(&self, name: &str, number: u32) {
        self.remove(number, Some(name)).await;
    }

    /// Delivers nothing more to this session.
    pub async fn unlisten_all(&self, number: u32) {
        self.remove(number, None).await;
    }

    /// Returns when what was committed before has been delivered.
    ///
    /// # Errors
    /// The connection is lost, and the mailboxes say so.
    pub async fn catch_up(&self) -> Result<(), ControlError> {
        let line = self.line.lock().clone();
        match line {
            Some(line) => self.ask(&line, "").await,
            None => Ok(()),
        }
    }

    /// To be called when a guard stands anew: where it is on another server nothing more would be heard
    /// here, and the mailboxes say so.
    pub async fn follow(&self) {
        let _changing = self.changing.lock().await;
        let line = self.line.lock().clone();
        if let (Some(line), Some(authority)) = (line, &self.authority)
            && authority.vouch(&line.client).await.is_err()
        {
            line.task.abort();
            line.ears.lose();
        }
    }

    async fn remove(&self, number: u32, name: Option<&str>) {
        let _changing = self.changing.lock().await;
        let Some(line) = self.line.lock().clone() else {
            return;
        };
        let (silent, empty) = line.ears.remove(number, name);
        if empty {
            *self.line.lock() = None;
            return;
        }
        for channel in silent {
            // If it fails the connection is lost, and then so is what it listened to.
            let channel = channel.replace('"', "\"\"");
            let _ = self.ask(&line, &format!("UNLISTEN \"{channel}\"")).await;
        }
    }

    async fn connected(&self) -> Result<Arc<Line>, ControlError> {
        if let Some(line) = self.line.lock().clone()
            && !line.client.is_closed()
        {
            return Ok(line);
        }
        let ears = Arc::new(Ears::default());
        let listener = Hearing {
            ears: ears.clone(),
            speakers: self.speakers.clone(),
        };
        let (client, task) = self.target.connect_hearing("-listen", listener).await?;
        if let Some(authority) = &self.authority
            && let Err(error) = authority.vouch(&client).await
        {
            task.abort();
            return Err(error);
        }
        let line = Arc::new(Line {
            client,
            task: task.abort_handle(),
            ears,
        });
        self.ask(&line, SETTLE).await?;
        *self.line.lock() = Some(line.clone());
        Ok(line)
    }

    /// A statement that is not answered in time ends the connection: nobody knows what was heard of it.
    async fn ask(&self, line: &Line, sql: &str) -> Result<(), ControlError> {
        let asked = crate::authority::run(&line.client, sql).await;
        if matches!(asked, Err(ControlError::Timeout)) {
            line.task.abort();
            line.ears.lose();
        }
        asked
    }
}

impl Ears {
    /// False if the connection is lost already.
    fn add(&self, name: &str, mailbox: &Arc<Mailbox>) -> bool {
        let mut channels = self.channels.lock();
        if self.lost.load(Ordering::Relaxed) {
            return false;
        }
        let mailboxes = channels.entry(name.to_owned()).or_default();
        if !mailboxes.iter().any(|known| known.number == mailbox.number) {
            mailboxes.push(mailbox.clone());
        }
        true
    }

    /// Which channels nobody hears any more, and whether nothing is heard at all.
    fn remove(&self, number: u32, name: Option<&str>) -> (Vec<String>, bool) {
        let mut channels = self.channels.lock();
        let mut silent = Vec::new();
        channels.retain(|channel, mailboxes| {
            if name.is_none_or(|name| name == channel) {
                mailboxes.retain(|mailbox| mailbox.number != number);
            }
            if mailboxes.is_empty() {
                silent.push(channel.clone());
            }
            !mailboxes.is_empty()
        });
        (silent, channels.is_empty())
    }

    fn deliver(&self, notification: &Notification, speakers: &Speakers) {
        let channels = self.channels.lock();
        let Some(mailboxes) = channels.get(notification.channel()) else {
            return;
        };
        let mut frame = BytesMut::new();
        backend::notification(
            &mut frame,
            speakers.number(notification.process_id().cast_unsigned()),
            notification.channel().as_bytes(),
            notification.payload().as_bytes(),
        );
        let frame: Bytes = frame.freeze();
        mailboxes.iter().for_each(|mailbox| mailbox.put(&frame));
    }

    fn lose(&self) {
        let mut channels = self.channels.lock();
        self.lost.store(true, Ordering::Relaxed);
        for mailbox in channels.drain().flat_map(|(_, mailboxes)| mailboxes) {
            mailbox.lose();
        }
    }
}
