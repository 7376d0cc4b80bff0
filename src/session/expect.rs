//! Which replies are due, and what is to be known of the messages that they answer.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::statements::{ClientStatement, Statement};
use crate::upstream::{Prepared, Told};

/// A reply that is due, in the order in which the server will give it.
#[derive(Debug)]
pub enum Expect {
    /// Messages of our own up to a ReadyForQuery: nothing of it is shown, and whether they succeed
    /// does not matter.
    Hidden,
    /// A BEGIN of our own, with so many commands to come, in front of the client's messages and without a Sync:
    /// if it fails the server skips those, and the client is told that they failed.
    Begin {
        commands: usize,
    },
    /// Answers to a question of ours among the client's messages: see [`hold`](super::hold).
    Written,
    /// SQL of our own among the client's messages: the client is told if it fails. So many Closes of it are to come.
    Own {
        closes: usize,
    },
    /// COMMIT or ROLLBACK of a block of ours: the client is told if it fails.
    EndOfBlock,
    /// A Query or FunctionCall: everything up to ReadyForQuery.
    Simple {
        fill: Option<usize>,
        learner: Option<usize>,
        /// The client is not shown its rows, nor that it has any.
        hidden: bool,
        /// It follows messages without a Sync, and is skipped with them if one fails.
        unsynced: bool,
    },
    Parse {
        statement: Option<u64>,
        visible: bool,
        change: Option<NameChange>,
    },
    Bind {
        alias: Option<Alias>,
        /// See [`added`](super::added).
        added: bool,
    },
    DescribeStatement {
        statement: Option<ClientStatement>,
        alias: Option<Alias>,
    },
    /// A Describe of our own: what the server says of a statement is kept, and not shown.
    Learn(Told),
    DescribePortal {
        /// The client is told that it has no rows, whatever it has.
        hidden: bool,
    },
    Execute {
        fill: Option<usize>,
        learner: Option<usize>,
        /// The client is not shown its rows.
        hidden: bool,
        /// It ends all prepared statements, and the client's names went when it was sent.
        forgets: bool,
    },
    Close {
        visible: bool,
        /// The statement that is closed to make room for another.
        evicted: Option<(u64, Prepared)>,
    },
    /// Answered here, in its place among the others.
    Given {
        bytes: Bytes,
        change: Option<NameChange>,
    },
    /// The server is made to fail in this place, and the client is told this instead.
    Failure(Bytes),
    /// The client's CopyDone or CopyFail, sent before it was known whether the server copies: no reply.
    CopyEnd,
    Sync,
}

impl Expect {
    /// A Parse of our own.
    pub fn hidden_parse() -> Self {
        Self::Parse {
            statement: None,
            visible: false,
            change: None,
        }
    }
}

/// A change to the client's statement names, undone if the server skips it.
#[derive(Debug)]
pub struct NameChange {
    pub name: Bytes,
    pub before: Option<ClientStatement>,
}

/// What a statement is called upstream, and what the client calls it.
#[derive(Debug)]
pub struct Alias {
    pub statement: Arc<Statement>,
    pub upstream: Vec<u8>,
    pub client: Bytes,
}

impl Alias {
    /// The ErrorResponse `frame` with the client's name in place of ours; `None` if ours is not in it.
    pub fn rename(&self, frame: &[u8]) -> Option<BytesMut> {
        let quoted = [b"\"", &self.upstream[..], b"\""].concat();
        let at = memchr::memmem::find(frame, &quoted)?;
        let len = frame.len() - self.upstream.len() + self.client.len();
        let mut renamed = BytesMut::with_capacity(len);
        renamed.put_u8(frame[0]);
        renamed.put_u32(u32::try_from(len - 1).ok()?);
        renamed.extend_from_slice(&frame[5..=at]);
        renamed.extend_from_slice(&self.client);
        renamed.extend_from_slice(&frame[at + quoted.len() - 1..]);
        Some(renamed)
    }
}
