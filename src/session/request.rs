//! Frames from the client → units of work.
//!
//! A unit is what is decided upon as a whole: one Query, one FunctionCall, or
//! the messages of the extended protocol up to Sync, Flush, the byte limit, or
//! a pause in which nothing more comes.

use bytes::BytesMut;

use crate::wire::{self, Frame, WireError, tag::frontend as tag};

/// How a run of extended-protocol messages ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client waits for ReadyForQuery; Sync is the last frame.
    Sync,
    /// The client waits for replies but has not synced; Flush is the last frame.
    Flush,
    /// `listen.unit_buffer_size` was reached, or nothing more has come: the rest streams.
    Full,
}

/// What the client asks for next.
#[derive(Debug)]
pub enum Unit {
    Query(Frame),
    FunctionCall(Frame),
    Extended { frames: Vec<Frame>, end: End },
    Terminate,
}

/// Assembles units; keeps the messages of a unit that is not complete yet.
#[derive(Debug, Default)]
pub struct Assembler {
    frames: Vec<Frame>,
    bytes: usize,
    /// The unit has failed here: what comes before its Sync is dropped.
    discarding: bool,
}

impl Assembler {
    /// Drops everything up to the next Sync, as the server does after an error.
    pub fn discard_to_sync(&mut self) {
        self.discarding = true;
    }

    /// Messages have come whose Sync or Flush has not.
    pub fn is_open(&self) -> bool {
        !self.frames.is_empty()
    }

    /// What has come of a unit that is not complete; `None` if nothing has.
    pub fn take_open(&mut self) -> Option<Unit> {
        self.is_open().then(|| self.end(End::Full))
    }

    /// The next unit in `input`, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// A message of unknown type or impossible length: the client's fault, and the session's end.
    pub fn next(
        &mut self,
        input: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Option<Unit>, WireError> {
        loop {
            if self.is_open() && input.first() == Some(&tag::TERMINATE) {
                // What came before it is run; it stays for those who do that.
                return Ok(self.take_open());
            }
            let Some(frame) = wire::take_frame(input, limits.frame_len_max)? else {
                return Ok(None);
            };
            if self.discarding && frame.tag() != tag::SYNC && frame.tag() != tag::TERMINATE {
                continue;
            }
            match frame.tag() {
                tag::PARSE | tag::BIND | tag::DESCRIBE | tag::EXECUTE | tag::CLOSE => {
                    self.push(frame);
                    if self.bytes > limits.unit_bytes_max {
                        return Ok(Some(self.end(End::Full)));
                    }
                }
                tag::SYNC => {
                    self.discarding = false;
                    self.push(frame);
                    return Ok(Some(self.end(End::Sync)));
                }
                tag::FLUSH => {
                    if !frame.body().is_empty() {
                        // The server says what is wrong with it.
                        self.push(frame);
                        return Ok(Some(self.end(End::Full)));
                    }
                    // A Flush with nothing before it asks for nothing.
                    if !self.frames.is_empty() {
                        self.push(frame);
                        return Ok(Some(self.end(End::Flush)));
                    }
                }
                // PostgreSQL, too, drops what is left of a COPY that has already ended.
                tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL if self.frames.is_empty() => {}
                tag::TERMINATE => return Ok(Some(Unit::Terminate)),
                _ if !self.frames.is_empty() => {
                    // It follows messages that were never synced: one stream, in which the server decides.
                    self.push(frame);
                    return Ok(Some(self.end(End::Full)));
                }
                tag::QUERY => return Ok(Some(Unit::Query(frame))),
                tag::FUNCTION_CALL => return Ok(Some(Unit::FunctionCall(frame))),
                other => return Err(WireError::FrontendTag(other)),
            }
        }
    }

    fn push(&mut self, frame: Frame) {
        self.bytes += frame.len();
        self.frames.push(frame);
    }

    fn end(&mut self, end: End) -> Unit {
        self.bytes = 0;
        Unit::Extended {
            frames: std::mem::take(&mut self.frames),
            end,
        }
    }
}

/// Sizes that hold for one client.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub frame_len_max: usize,
    pub unit_bytes_max: usize,
}
