//! One connection to PostgreSQL: its bytes, and what is known of its state.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::cancel::CancelGate;
use super::error::UpstreamError;
use super::introduction::Admission;
use super::preference::PreferredBy;
use super::prepared::PreparedSet;
use super::settings::Settings;
use super::standing::Standing;
use super::stream::{Stream, Waiting};
use super::target::Target;
use crate::wire::{Frame, TransactionStatus, backend, frontend, tag, take_frame};

/// Room that is made for reading when less than the minimum is left: making it
/// for every read would cost an allocation for each.
const READ_BYTES: usize = 16 << 10;
const READ_BYTES_MIN: usize = 4 << 10;
/// The longest message that an idle connection may send of itself.
const IDLE_FRAME_BYTES_MAX: usize = 64 << 10;

/// A connection that has logged in.
///
/// The public fields are the session's knowledge of the backend's state; the
/// pool only compares them. Dropping it closes the socket, with a Terminate if
/// the stream is in order.
pub struct Connection {
    pub(super) stream: Stream,
    /// What has been read and not been taken yet.
    pub input: BytesMut,
    /// The backend's process id; zero if it told none.
    pub pid: u32,
    /// The secret of a cancel request; empty if it told none.
    pub key: Bytes,
    /// What ParameterStatus reported, by name as the server spells it.
    pub parameters: BTreeMap<String, String>,
    /// Settings that are in force and differ from the login defaults.
    pub applied: Settings,
    /// Statements that are prepared here.
    pub prepared: PreparedSet,
    /// The session whose state (sequence values) lives here.
    pub holds_state_of: Option<u64>,
    /// Which of that session's draws it was. Once the session has drawn elsewhere, it is of no use.
    pub draw: u64,
    /// The session that has run code here which may have set custom settings that nobody can list.
    pub hides_settings_of: Option<u64>,
    pub(super) preferred_by: PreferredBy,
    /// Somebody has, or had, a lease of it.
    pub has_served: bool,
    /// Its backend has made a temporary schema, which stays when it is empty.
    pub has_temporary_schema: bool,
    /// Its backend may have heard of custom settings, which it never forgets.
    pub has_heard: bool,
    /// A session has left on it what nobody else may meet: it is closed when the lease is over.
    pub is_spent: bool,
    /// A digest of the login defaults, if somebody has asked for them.
    pub defaults: Option<u64>,
    /// What its introduction found out.
    pub admission: Admission,
    /// NotificationResponse messages that came amid control statements, for the
    /// session to pass on.
    pub notifications: Vec<Frame>,
    /// As of the last ReadyForQuery that this room has read.
    pub status: TransactionStatus,
    pub(super) target: Arc<Target>,
    pub(super) gate: Arc<CancelGate>,
    pub(super) standing: Option<Standing>,
    broken: bool,
    /// Bytes may sit in the TLS layer until the next flush.
    unflushed: bool,
}

/// What [`Connection::pump`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pumped {
    /// So many bytes were added to `input`; zero is the end of the stream.
    Read(usize),
    /// Some of `outgoing` was written and taken off it.
    Wrote,
}

impl Connection {
    pub(super) fn new(stream: Stream, target: Arc<Target>, prepared: PreparedSet) -> Self {
        Self {
            stream,
            input: BytesMut::with_capacity(READ_BYTES),
            pid: 0,
            key: Bytes::new(),
            parameters: BTreeMap::new(),
            applied: Settings::none(),
            prepared,
            holds_state_of: None,
            draw: 0,
            hides_settings_of: None,
            preferred_by: PreferredBy::default(),
            has_served: false,
            has_temporary_schema: false,
            has_heard: false,
            is_spent: false,
            defaults: None,
            admission: Admission::default(),
            notifications: Vec::new(),
            status: TransactionStatus::Idle,
            target,
            gate: Arc::new(CancelGate::default()),
            standing: None,
            broken: false,
            unflushed: false,
        }
    }

    /// Where it leads.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    pub fn is_encrypted(&self) -> bool {
        self.stream.is_encrypted()
    }

    /// Tells `SHOW SERVERS` how many statements are prepared here.
    pub fn note_statements(&self) {
        if let Some(standing) = &self.standing {
            standing.record.note_statements(self.prepared.len());
        }
    }

    /// Gives the connection up: it is closed as soon as it is let go.
    pub fn break_it(&mut self) {
        self.broken = true;
    }

    /// True after [`break_it`](Self::break_it), a lost connection, or a control
    /// statement that was not read to its end.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Closes the connection when it is let go, though nothing is wrong with it.
    pub(super) fn retire(&mut self) {
        if let Some(standing) = &mut self.standing {
            standing.retired = true;
        }
    }

    /// Takes back a `break_it` that guarded an exchange which came to its end.
    pub(super) fn mend(&mut self) {
        self.broken = false;
    }

    /// Reads what comes into `input`; zero is the end of the stream. Pushes on what
    /// the TLS layer still holds of earlier writes.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// The connection is lost, and broken from then on.
    pub async fn fill(&mut self) -> io::Result<usize> {
        let read = poll_fn(|context| self.poll_fill(context)).await;
        self.broken |= !matches!(read, Ok(1..));
        read
    }

    /// The next whole message, at most `frame_len_max` bytes long.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// The connection is lost or what it sends is no message; it is broken from
    /// then on.
    pub async fn next_frame(&mut self, frame_len_max: usize) -> Result<Frame, UpstreamError> {
        loop {
            match take_frame(&mut self.input, frame_len_max) {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => {}
                Err(error) => {
                    self.broken = true;
                    return Err(error.into());
                }
            }
            if self.fill().await? == 0 {
                return Err(UpstreamError::closed());
            }
        }
    }

    /// Writes all of `bytes`. Nothing is read meanwhile: use it for what the
    /// server takes without answering first, and [`pump`](Self::pump) for the rest.
    ///
    /// Not cancel safe: the connection counts as broken until it is done.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let was_broken = std::mem::replace(&mut self.broken, true);
        self.stream.write_all(bytes).await?;
        self.stream.flush().await?;
        self.unflushed = false;
        self.broken = was_broken;
        Ok(())
    }

    /// Tells the server that nothing more will come, as it learns it of a client that goes away. Broken from then on.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn end(&mut self) -> io::Result<()> {
        self.broken = true;
        self.stream.shutdown().await
    }

    /// Writes some of `outgoing` or reads something into `input`, whichever is
    /// possible first, so that neither side can block the other for ever. With
    /// nothing to write it only reads.
    ///
    /// Cancel safe: what was written is off `outgoing`, what was read is in `input`.
    ///
    /// # Errors
    /// The connection is lost, and broken from then on.
    pub async fn pump(&mut self, outgoing: &mut BytesMut) -> io::Result<Pumped> {
        let pumped = poll_fn(|context| self.poll_pump(context, outgoing)).await;
        self.broken |= matches!(pumped, Err(_) | Ok(Pumped::Read(0)));
        pumped
    }

    /// Writes some of `outgoing` and reads nothing: for who has no room for more.
    ///
    /// Cancel safe: what was written is off `outgoing`.
    ///
    /// # Errors
    /// The connection is lost, and broken from then on.
    pub async fn push(&mut self, outgoing: &mut BytesMut) -> io::Result<()> {
        let pushed = poll_fn(|context| {
            let written =
                std::task::ready!(Pin::new(&mut self.stream).poll_write(context, outgoing))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            outgoing.advance(written);
            self.unflushed = true;
            // The next turn pushes on what the TLS layer still holds.
            self.poll_flush(context)?;
            Poll::Ready(Ok(()))
        })
        .await;
        self.broken |= pushed.is_err();
        pushed
    }

    /// [`pump`](Self::pump) for one's own `poll_fn`.
    pub fn poll_pump(
        &mut self,
        context: &mut Context<'_>,
        outgoing: &mut BytesMut,
    ) -> Poll<io::Result<Pumped>> {
        if !outgoing.is_empty() {
            match Pin::new(&mut self.stream).poll_write(context, outgoing) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    outgoing.advance(written);
                    self.unflushed = true;
                    // The flush belongs to the write, but need not be waited for.
                    self.poll_flush(context)?;
                    return Poll::Ready(Ok(Pumped::Wrote));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
        }
        self.poll_fill(context).map_ok(Pumped::Read)
    }

    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.poll_flush(context)?;
        if self.input.capacity() - self.input.len() < READ_BYTES_MIN {
            self.input.reserve(READ_BYTES);
        }
        // Made anew at each poll: it keeps nothing between two of them.
        pin!(self.stream.read_buf(&mut self.input)).poll(context)
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(context) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {}
            }
        }
        Ok(())
    }

    /// Notes a ParameterStatus message. The number of names is bounded, since a
    /// hostile server chooses them.
    ///
    /// # Errors
    /// A body that is none, or text that is not UTF-8: then nothing is noted.
    pub fn note_parameter(&mut self, body: &[u8]) -> Result<(), UpstreamError> {
        const PARAMETERS_MAX: usize = 256;
        let (name, value) = backend::parameter_status(body)?;
        let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) else {
            return Err(UpstreamError::Encoding);
        };
        let count = self.parameters.len();
        match self.parameters.get_mut(name) {
            Some(known) => value.clone_into(known),
            None if count < PARAMETERS_MAX => {
                self.parameters.insert(name.to_owned(), value.to_owned());
            }
            None => return Err(UpstreamError::Protocol("too many parameters".into())),
        }
        Ok(())
    }

    /// Whether there is reason to look before the connection is used again,
    /// even if it was idle for a moment only.
    pub(super) fn has_news(&self) -> bool {
        !self.input.is_empty() || !self.notifications.is_empty() || self.stream.seems_readable()
    }

    /// Looks without waiting whether the server has said something while the
    /// connection was idle. Changed parameters and notices are fine; an error,
    /// the end of the stream or anything else breaks it. True if it still stands.
    pub(super) fn is_still_good(&mut self) -> bool {
        let good =
            !self.broken && self.notifications.is_empty() && self.take_idle_messages().is_some();
        self.broken |= !good;
        good
    }

    /// `None` if the connection must not be used again.
    fn take_idle_messages(&mut self) -> Option<()> {
        // The end may stand right behind the server's last words.
        loop {
            match self.stream.waiting() {
                Waiting::End => return None,
                Waiting::Bytes => match self.stream.read_now(&mut self.input)? {
                    Ok(1..) if self.input.len() <= IDLE_FRAME_BYTES_MAX => {}
                    _ => return None,
                },
                Waiting::Nothing => break,
            }
        }
        while let Some(frame) = take_frame(&mut self.input, IDLE_FRAME_BYTES_MAX).ok()? {
            match frame.tag() {
                tag::backend::PARAMETER_STATUS => self.note_parameter(frame.body()).ok()?,
                // A server that stops at once says so in a warning.
                tag::backend::NOTICE if !UpstreamError::server(frame.clone()).may_pass() => {}
                _ => return None,
            }
        }
        // Half a message: what it will be is not known, and reading on would wait.
        self.input.is_empty().then_some(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.broken && !self.unflushed {
            let mut farewell = BytesMut::with_capacity(8);
            frontend::terminate(&mut farewell);
            self.stream.write_now(&farewell);
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("pid", &self.pid)
            .field("target", &self.target)
            .field("applied", &self.applied)
            .field("holds_state_of", &self.holds_state_of)
            .field("preferred_by", &self.preferred_by.session())
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}
