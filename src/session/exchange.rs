//! One unit in flight: what was sent upstream, which replies are due, and what
//! of them the client sees. No sockets: bytes in, bytes out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use super::added::Additions;
use super::expect::{Expect, NameChange};
use super::fill::{Fill, Planned};
use super::hold::{Asked, Hold};
use super::learn::Learner;
use super::statements::{ABSENT, Statement};
use crate::notify::Speakers;
use crate::upstream::{Prepared, Shape, Told};
use crate::wire::{
    self, ErrorReport, Frame, TransactionStatus, WireError, backend, frontend, tag::backend as tag,
};

/// What the replies told.
#[derive(Debug, Default)]
pub struct Outcome {
    /// SQLSTATE of the first error that the client was shown.
    pub error: Option<[u8; 5]>,
    /// It came from the statement itself, not from a function that it ran.
    pub error_is_bare: bool,
    /// The server ended the session.
    pub fatal: bool,
    /// It has sent what the client need not ask for, and with it all that it had to say.
    pub pushed: bool,
    /// The transaction could not be begun, and nothing of the unit has run.
    pub begin_failed: bool,
    /// DISCARD ALL or DEALLOCATE ALL that was not known as such when it was sent: no prepared statement is left.
    pub deallocated_all: bool,
    pub discarded_all: bool,
    /// How many times one statement was deallocated in SQL.
    pub deallocated: usize,
    pub rows: u64,
    pub bytes: u64,
    /// The tag of the last CommandComplete.
    pub last_tag: Vec<u8>,
    pub descriptions: Vec<(Arc<Statement>, Bytes, Bytes)>,
    /// Statements whose Parse the server took.
    pub parsed: Vec<u64>,
    /// The server had something to say of a text that was prepared, and will each time.
    pub noticed_text: bool,
    /// Statements whose copy on the connection the server no longer has, or no longer runs.
    pub suspects: Vec<Arc<Statement>>,
}

/// Whether the unit goes on.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    NeedMore,
    /// The last ReadyForQuery came; it is not among the bytes for the client yet.
    Done(TransactionStatus),
}

/// The parts of a session and its connection that replies change.
pub struct Sides<'a> {
    /// ParameterStatus as the connection reported it.
    pub upstream_parameters: &'a mut BTreeMap<String, String>,
    /// ParameterStatus as the client knows it.
    pub client_parameters: &'a mut BTreeMap<String, String>,
    /// The client is told of changes at the end of the unit, not as they come.
    pub withheld: bool,
    pub speakers: &'a Speakers,
}

/// One unit in flight.
#[derive(Debug, Default)]
pub struct Exchange {
    /// Frames for the server, not yet written.
    pub outgoing: BytesMut,
    pub expects: VecDeque<Expect>,
    /// The client may send more frames that belong to this unit.
    pub open: bool,
    /// The server waits for CopyData.
    pub copy_in: bool,
    pub outcome: Outcome,
    /// Portals that were bound in this unit, and not executed yet, whose answers may be kept.
    pub planned: Vec<Planned>,
    pub fills: Vec<Fill>,
    /// Of writes whose rows may tell what they change.
    pub learners: Vec<Learner>,
    pub additions: Additions,
    /// What the fills have collected so far, in bytes, and how much that may be.
    fill_bytes: usize,
    pub fill_bytes_max: usize,
    /// Something was executed that may change what a read of the same unit answers.
    pub more_than_reads: bool,
    /// Bytes of a long message from the server that are passed on as they come.
    passing: usize,
    /// Likewise of one that is dropped.
    dropping: usize,
    /// Bytes of a long CopyData from the client, likewise.
    pub client_passing: usize,
    /// Statements that were sent in this unit and not yet confirmed.
    pub pending_parses: Vec<u64>,
    /// Statements that were to make room for others, and are still there.
    pub unclosed: Vec<(u64, Prepared)>,
    pub reverted: Vec<NameChange>,
    /// A message has failed, and the server drops everything until the Sync that is still to be sent.
    skipping: bool,
    /// The client listens: it is told of changed parameters after its notifications, right before
    /// the last ReadyForQuery, as by the server.
    parameters_last: bool,
    /// ParameterStatus that is held back for that.
    pub changed: BytesMut,
    /// The client is shown nothing before the end of the unit, and perhaps not then: what comes of it begins here
    /// among the bytes for the client.
    pub may_be_taken_back: Option<usize>,
    /// It ran before, in a process that had served others.
    pub runs_again: bool,
    /// SQL in the unit finds statements under the client's names until the unit ends.
    pub lent: bool,
    /// Until the unit's Sync: names of the client that SQL finds on the connection.
    pub lent_names: Vec<String>,
    /// The statement that was examined last: see [`Session::examine`](super::Session).
    pub examined: Option<u64>,
    /// Its description has not come yet.
    examining: bool,
    /// Frames of the unit that wait for that, or for the replies to what came before.
    held: VecDeque<Frame>,
    pub hold: Hold,
    pub asked: Asked,
    /// How the client's Query ended in a block of ours: told when the block has ended.
    ending: BytesMut,
    parameter_description: Option<Bytes>,
    portal_description: Option<Bytes>,
}

/// Messages longer than this are passed on in pieces; they hold rows or copied data.
const WHOLE_MESSAGE_MAX: usize = 64 * 1024;
/// A message that must be seen whole may be this long; beyond it is passed on unseen.
const SEEN_MESSAGE_MAX: usize = 16 << 20;

impl Exchange {
    /// For a unit of a client that listens, or does not.
    pub fn answering(listens: bool) -> Self {
        Self {
            parameters_last: listens,
            ..Self::default()
        }
    }

    /// For what the server says between units.
    pub fn overhearing() -> Self {
        Self {
            open: true,
            ..Self::default()
        }
    }

    /// Sends BEGIN, and a `snapshot` where the client was given one already, in front of what follows.
    pub fn begin(&mut self, begin: &[u8], snapshot: bool) {
        const NOTHING_BOUND: &[u8] = &[0; 6];
        let commands: &[&[u8]] = match snapshot {
            true => &[begin, b"SELECT WHERE false"],
            false => &[begin],
        };
        for sql in commands {
            frontend::parse(&mut self.outgoing, b"", sql, &[]);
            frontend::bind_raw(&mut self.outgoing, b"", b"", NOTHING_BOUND);
            frontend::execute(&mut self.outgoing, b"", 0);
        }
        self.expects.push_back(Expect::Begin {
            commands: commands.len(),
        });
    }

    /// In place of the client's message the server is made to fail, so that its
    /// transaction fails with it; the client is told `error`.
    pub fn fail(&mut self, error: &ErrorReport) {
        let mut told = BytesMut::new();
        backend::error(&mut told, error);
        frontend::describe(
            &mut self.outgoing,
            frontend::Target::Statement,
            ABSENT.as_bytes(),
        );
        self.expects.push_back(Expect::Failure(told.freeze()));
    }

    /// In its place among the replies the client is given this.
    pub fn give(&mut self, bytes: Bytes) {
        self.expects.push_back(Expect::Given {
            bytes,
            change: None,
        });
    }

    /// Sends a Parse of the unnamed statement of which the client sees nothing.
    pub fn parse_unnamed(&mut self, sql: &[u8], parameter_types: &[u32]) {
        frontend::parse(&mut self.outgoing, b"", sql, parameter_types);
        self.expects.push_back(Expect::hidden_parse());
    }

    /// Asks what the server says of the statement that it knows by this name.
    pub fn learn(&mut self, upstream_name: &[u8], told: &Told) {
        frontend::describe(
            &mut self.outgoing,
            frontend::Target::Statement,
            upstream_name,
        );
        self.expects.push_back(Expect::Learn(told.clone()));
    }

    /// What follows in the unit waits until it is known what was asked last, of the statement `id`.
    pub fn await_examination(&mut self, id: u64) {
        frontend::flush(&mut self.outgoing);
        self.examined = Some(id);
        self.examining = true;
        self.open = true;
    }

    /// Frames wait, and whatever comes must wait behind them.
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Lets a frame wait behind the others.
    pub fn hold(&mut self, frame: &Frame) {
        self.held.push_back(frame.clone());
    }

    /// Lets a frame wait that was next in turn.
    pub fn hold_back(&mut self, frame: &Frame) {
        self.held.push_front(frame.clone());
    }

    /// The frame that need not wait any longer.
    pub fn release(&mut self) -> Option<Frame> {
        let waits = self.examining || self.hold == Hold::Sync && !self.expects.is_empty();
        match waits {
            true => None,
            false => self.held.pop_front(),
        }
    }

    /// The unit cannot end before the client has sent more.
    pub fn awaits_client(&self) -> bool {
        let whole = self
            .held
            .back()
            .is_some_and(|last| last.tag() == wire::tag::frontend::SYNC);
        self.open && !whole && !self.hold.in_block()
    }

    /// [`Exchange::fail`] in place of the whole unit.
    pub fn refuse(&mut self, error: &ErrorReport) {
        self.fail(error);
        frontend::sync(&mut self.outgoing);
        self.expects.push_back(Expect::Sync);
    }

    /// The server copies from the client, and drops every Sync until the end of the data.
    fn enter_copy_in(&mut self) {
        let end = self
            .expects
            .iter()
            .position(|expect| matches!(expect, Expect::CopyEnd));
        if !matches!(self.expects.front(), Some(Expect::Simple { .. })) {
            let mut at = 0;
            let end = end.unwrap_or(self.expects.len());
            self.expects.retain(|expect| {
                at += 1;
                at > end || !matches!(expect, Expect::Sync)
            });
        }
        if end.is_none() {
            self.copy_in = true;
            self.open = true;
        }
    }

    /// Bytes of a message have been passed on, and its end has not come.
    pub fn is_mid_message(&self) -> bool {
        self.passing > 0
    }

    /// Takes what the server sent; appends what the client is to see.
    ///
    /// # Errors
    /// The server's bytes make no sense; the connection must be closed.
    pub fn interpret(
        &mut self,
        input: &mut BytesMut,
        sides: &mut Sides<'_>,
        out: &mut BytesMut,
    ) -> Result<Progress, WireError> {
        loop {
            if self.passing > 0 {
                let n = self.passing.min(input.len());
                if let Some(fill) = self.current_fill() {
                    fill.extend(&input[..n]);
                }
                out.extend_from_slice(&input[..n]);
                input.advance(n);
                self.passing -= n;
                if self.passing > 0 {
                    return Ok(Progress::NeedMore);
                }
            }
            if self.dropping > 0 {
                let n = self.dropping.min(input.len());
                input.advance(n);
                self.dropping -= n;
                if self.dropping > 0 {
                    return Ok(Progress::NeedMore);
                }
            }
            while let Some(Expect::Given { .. } | Expect::CopyEnd) = self.expects.front() {
                if let Some(Expect::Given { bytes, .. }) = self.expects.pop_front() {
                    out.extend_from_slice(&bytes);
                }
            }
            let Some(header) = wire::frame_header(input)? else {
                return Ok(Progress::NeedMore);
            };
            if input.len() < header.frame_len {
                let opaque = matches!(header.tag, tag::DATA_ROW | tag::COPY_DATA);
                if (opaque && header.frame_len > WHOLE_MESSAGE_MAX)
                    || header.frame_len > SEEN_MESSAGE_MAX
                {
                    out.extend_from_slice(&self.changed);
                    self.changed.clear();
                    self.pass_long(header.tag, header.frame_len);
                    continue;
                }
                return Ok(Progress::NeedMore);
            }
            let done = self.take(header.tag, header.frame_len, input, sides, out)?;
            if let Some(status) = done {
                return Ok(Progress::Done(status));
            }
        }
    }

    /// Begins to pass on a message that is too long to be kept whole.
    fn pass_long(&mut self, tag: u8, frame_len: usize) {
        let is_row = tag == tag::DATA_ROW;
        if is_row && self.hides_rows() {
            self.dropping = frame_len;
        } else {
            self.passing = frame_len;
            self.outcome.bytes += frame_len as u64;
            self.outcome.rows += u64::from(is_row);
        }
        if is_row {
            self.collect(frame_len, |fill| fill.begin_row(frame_len));
        } else if let Some(fill) = self.current_fill() {
            fill.spoil();
        }
        if let Some(learner) = self.current_learner() {
            learner.spoil();
        }
    }

    /// Rows that come now are of no concern to the client.
    fn hides_rows(&self) -> bool {
        matches!(
            self.expects.front(),
            Some(Expect::Simple { hidden: true, .. } | Expect::Execute { hidden: true, .. })
        )
    }

    fn current_learner(&mut self) -> Option<&mut Learner> {
        let index = match self.expects.front() {
            Some(Expect::Simple { learner, .. } | Expect::Execute { learner, .. }) => (*learner)?,
            _ => return None,
        };
        self.learners.get_mut(index)
    }

    fn current_fill(&mut self) -> Option<&mut Fill> {
        let index = match self.expects.front() {
            Some(Expect::Simple { fill, .. } | Expect::Execute { fill, .. }) => (*fill)?,
            _ => return None,
        };
        self.fills.get_mut(index)
    }

    /// Takes one whole message; `Some` at the unit's last ReadyForQuery.
    fn take(
        &mut self,
        message: u8,
        frame_len: usize,
        input: &mut BytesMut,
        sides: &mut Sides<'_>,
        out: &mut BytesMut,
    ) -> Result<Option<TransactionStatus>, WireError> {
        let frame = &input[..frame_len];
        let body = &frame[5..];
        let hidden = matches!(
            self.expects.front(),
            Some(Expect::Hidden | Expect::Begin { .. } | Expect::Written | Expect::Own { .. })
        );
        let mut visible = !hidden;
        let mut done = None;
        if !matches!(message, tag::PARAMETER_STATUS | tag::READY_FOR_QUERY) && !self.hold.in_block()
        {
            out.extend_from_slice(&self.changed);
            self.changed.clear();
        }
        match message {
            _ if hidden && is_reply(message) => self.begun(message, body),
            tag::COMMAND_COMPLETE if matches!(self.expects.front(), Some(Expect::EndOfBlock)) => {
                visible = false;
            }
            tag::DATA_ROW => {
                visible = !self.hides_rows();
                if visible {
                    self.outcome.rows += 1;
                    self.collect(frame.len(), |fill| fill.push(frame));
                }
                if let Some(learner) = self.current_learner() {
                    learner.row(body);
                }
            }
            tag::ROW_DESCRIPTION if self.hides_rows() => visible = false,
            tag::ROW_DESCRIPTION | tag::NO_DATA => {
                visible = !matches!(self.expects.front(), Some(Expect::Learn(_)));
                if let Some(Expect::DescribePortal { hidden: true }) = self.expects.front() {
                    self.expects.pop_front();
                    visible = false;
                    backend::no_data(out);
                } else {
                    self.described(frame);
                }
            }
            tag::PARAMETER_DESCRIPTION => {
                self.parameter_description = Some(Bytes::copy_from_slice(frame));
                visible = !matches!(self.expects.front(), Some(Expect::Learn(_)));
            }
            tag::COMMAND_COMPLETE => {
                self.collect(frame.len(), |fill| fill.push(frame));
                let command = backend::command_tag(body)?;
                if let Some(learner) = self.current_learner() {
                    learner.complete(command);
                }
                self.note_command(command);
                self.executed();
                if self.hold == Hold::Block {
                    self.ending.extend_from_slice(frame);
                    self.outcome.bytes += frame_len as u64;
                    visible = false;
                }
            }
            tag::PORTAL_SUSPENDED => {
                self.collect(frame.len(), |fill| fill.push(frame));
                if let Some(learner) = self.current_learner() {
                    learner.spoil();
                }
                self.executed();
            }
            tag::EMPTY_QUERY => {
                self.spoil_fill();
                self.executed();
            }
            tag::PARSE_COMPLETE => {
                if let Some(Expect::Parse {
                    visible: shown,
                    statement,
                    ..
                }) = self.expects.pop_front()
                {
                    visible = shown;
                    if let Some(id) = statement {
                        self.pending_parses.retain(|pending| *pending != id);
                        self.outcome.parsed.push(id);
                    }
                }
            }
            tag::BIND_COMPLETE => {
                if let Some(Expect::Bind { added, .. }) = self.expects.pop_front() {
                    self.additions.bound |= added;
                }
            }
            tag::CLOSE_COMPLETE => {
                if let Some(Expect::Close { visible: shown, .. }) = self.expects.pop_front() {
                    visible = shown;
                }
            }
            tag::COPY_IN | tag::COPY_BOTH => {
                self.outcome.pushed = true;
                self.spoil_fill();
                self.enter_copy_in();
            }
            tag::COPY_OUT | tag::COPY_DATA | tag::COPY_DONE | tag::FUNCTION_CALL_RESPONSE => {
                self.spoil_fill();
            }
            tag::ERROR => visible = self.failed(frame, out)?,
            tag::NOTICE => {
                if let Some(Expect::Parse { visible: shown, .. }) = self.expects.front() {
                    // Of a copy: the client was told when it prepared the text.
                    visible &= *shown;
                    self.outcome.noticed_text = true;
                }
                self.outcome.pushed |= visible;
                self.spoil_fill();
            }
            tag::PARAMETER_STATUS => {
                self.spoil_fill();
                let (name, value) = backend::parameter_status(body)?;
                let name = String::from_utf8_lossy(name).into_owned();
                let value = String::from_utf8_lossy(value).into_owned();
                visible &= !sides.withheld;
                if visible {
                    sides.client_parameters.insert(name.clone(), value.clone());
                }
                sides.upstream_parameters.insert(name, value);
                if visible && (self.parameters_last || self.hold.in_block()) {
                    self.outcome.bytes += frame_len as u64;
                    self.changed.extend_from_slice(&input[..frame_len]);
                    visible = false;
                }
            }
            tag::READY_FOR_QUERY => {
                let status = backend::ready_status(body)?;
                let (shown, last) = self.ready(status, out);
                visible = shown;
                done = last.then_some(status);
                if !last && !self.hold.in_block() {
                    out.extend_from_slice(&self.changed);
                    self.changed.clear();
                }
            }
            // Belongs to no reply.
            tag::NOTIFICATION => {
                sides.speakers.rename(&input[..frame_len], out);
                self.outcome.bytes += frame_len as u64;
                visible = false;
            }
            // What is unknown passes unchanged.
            _ => {}
        }
        if visible {
            self.outcome.bytes += frame_len as u64;
            out.extend_from_slice(&input[..frame_len]);
        }
        input.advance(frame_len);
        Ok(done)
    }

    /// A reply to messages of our own came.
    fn begun(&mut self, message: u8, body: &[u8]) {
        if let Some(Expect::Written) = self.expects.front() {
            self.asked.take(message, body);
            if message == tag::COMMAND_COMPLETE {
                self.expects.pop_front();
            }
            return;
        }
        let left = match self.expects.front_mut() {
            Some(Expect::Begin { commands }) if message == tag::COMMAND_COMPLETE => commands,
            Some(Expect::Own { closes }) if message == tag::CLOSE_COMPLETE => closes,
            _ => return,
        };
        *left -= 1;
        if *left == 0 {
            self.expects.pop_front();
        }
    }

    /// ReadyForQuery came: whether the client is to see it now, and whether it is the unit's last.
    fn ready(&mut self, status: TransactionStatus, out: &mut BytesMut) -> (bool, bool) {
        let hidden = match self.expects.front() {
            Some(Expect::Hidden) => true,
            Some(Expect::Simple { .. }) if self.hold == Hold::Block => {
                self.expects.pop_front();
                self.hold = Hold::Answered(status);
                self.open = true;
                return (false, false);
            }
            Some(Expect::EndOfBlock) => {
                if self.outcome.error.is_none() {
                    out.extend_from_slice(&self.ending);
                }
                false
            }
            Some(Expect::Sync | Expect::Simple { .. }) => false,
            // A Sync that was sent while the server copied, and came after its failure.
            _ => {
                self.copy_in = false;
                self.skipping = false;
                self.open &= !self.expects.is_empty();
                return (!self.expects.is_empty(), self.expects.is_empty());
            }
        };
        self.expects.pop_front();
        self.copy_in = false;
        if self.expects.is_empty() && !hidden {
            self.open = false;
        }
        let rest = self
            .expects
            .iter()
            .any(|expect| !matches!(expect, Expect::Hidden));
        // Where more of the same stream is on its way, the client waits for this one. The last
        // one is held back until everything has been settled.
        let visible = !hidden && rest;
        (visible, self.expects.is_empty() && !self.open)
    }

    fn note_command(&mut self, command: &[u8]) {
        let forgotten = matches!(
            self.expects.front(),
            Some(Expect::Execute { forgets: true, .. })
        );
        self.outcome.last_tag.clear();
        self.outcome.last_tag.extend_from_slice(command);
        match command {
            b"DISCARD ALL" => {
                self.outcome.discarded_all = true;
                self.outcome.deallocated_all |= !forgotten;
            }
            b"DEALLOCATE ALL" => self.outcome.deallocated_all |= !forgotten,
            b"DEALLOCATE" => self.outcome.deallocated += 1,
            _ => {}
        }
    }

    /// A RowDescription or NoData came.
    fn described(&mut self, frame: &[u8]) {
        match self.expects.front() {
            Some(Expect::DescribeStatement { .. }) => {
                let parameters = self.parameter_description.take();
                if let (
                    Some(Expect::DescribeStatement {
                        statement: Some(prepared),
                        ..
                    }),
                    Some(parameters),
                ) = (self.expects.pop_front(), parameters)
                {
                    tell(&prepared.told, &parameters, frame);
                    let statement = prepared.statement;
                    let description = (statement, parameters, Bytes::copy_from_slice(frame));
                    self.outcome.descriptions.push(description);
                }
            }
            Some(Expect::Learn(told)) => {
                if let Some(parameters) = self.parameter_description.take() {
                    tell(told, &parameters, frame);
                }
                self.expects.pop_front();
                // What is examined was asked last.
                let asked = |expect: &Expect| matches!(expect, Expect::Learn(_));
                self.examining &= self.expects.iter().any(asked);
            }
            Some(Expect::DescribePortal { .. }) => {
                self.expects.pop_front();
                self.portal_description = Some(Bytes::copy_from_slice(frame));
            }
            Some(Expect::Simple { .. }) => {
                if let Some(fill) = self.current_fill() {
                    fill.describe(Bytes::copy_from_slice(frame));
                }
            }
            _ => {}
        }
    }

    /// Has the answer that is under way take so many bytes more, if the unit has room for them.
    fn collect(&mut self, frame_len: usize, take: impl FnOnce(&mut Fill)) {
        let bytes = self.fill_bytes + frame_len;
        let room = bytes <= self.fill_bytes_max;
        if let Some(fill) = self.current_fill() {
            if room {
                take(fill);
                self.fill_bytes = bytes;
            } else {
                fill.outgrow();
            }
        }
    }

    fn spoil_fill(&mut self) {
        // A notice or a changed parameter may come between any two messages of the unit.
        for fill in &mut self.fills {
            fill.spoil();
        }
    }

    /// An Execute is over.
    fn executed(&mut self) {
        if let Some(Expect::Execute { fill, .. }) = self.expects.front() {
            let fill = *fill;
            self.expects.pop_front();
            let description = self.portal_description.take();
            if let Some(fill) = fill.and_then(|index| self.fills.get_mut(index)) {
                if let Some(description) = description {
                    fill.describe(description);
                }
                fill.complete();
            }
        } else if let Some(fill) = self.current_fill() {
            fill.complete();
        }
    }

    /// An ErrorResponse came; true if the client is to see it as it is.
    fn failed(&mut self, frame: &[u8], out: &mut BytesMut) -> Result<bool, WireError> {
        let body = &frame[wire::HEADER_LEN..];
        self.outcome.pushed = true;
        self.spoil_fill();
        self.copy_in = false;
        let fields = backend::Fields::read(body)?;
        let severity = fields.get(b'V').or_else(|| fields.get(b'S')).unwrap_or(b"");
        if severity == b"FATAL" || severity == b"PANIC" {
            self.outcome.fatal = true;
            return Ok(true);
        }
        let instead = match self.expects.front_mut() {
            Some(Expect::Hidden) => return Ok(false),
            Some(Expect::Begin { .. }) => {
                // The client knows of no other.
                self.outcome.begin_failed = !self.hold.in_block();
                self.hold = Hold::None;
                let whole = !self.open;
                self.skip_to_sync();
                if whole && self.expects.is_empty() {
                    // A Query has been skipped as well, and no Sync is on its way.
                    frontend::sync(&mut self.outgoing);
                    self.expects.push_back(Expect::Sync);
                    self.synced();
                }
                self.note_error(body)?;
                return Ok(true);
            }
            Some(Expect::Simple { .. } | Expect::EndOfBlock) | None => {
                self.note_error(body)?;
                return Ok(true);
            }
            Some(Expect::Failure(bytes)) => Some(std::mem::take(bytes)),
            Some(
                Expect::Bind {
                    alias: Some(alias), ..
                }
                | Expect::DescribeStatement {
                    alias: Some(alias), ..
                },
            ) => {
                if matches!(fields.get(b'C'), Some(b"0A000" | b"26000")) {
                    self.outcome.suspects.push(alias.statement.clone());
                }
                alias.rename(frame).map(BytesMut::freeze)
            }
            Some(_) => None,
        };
        self.skip_to_sync();
        let Some(instead) = instead else {
            self.note_error(body)?;
            return Ok(true);
        };
        out.extend_from_slice(&instead);
        self.note_error(&instead[wire::HEADER_LEN..])?;
        Ok(false)
    }

    fn note_error(&mut self, body: &[u8]) -> Result<(), WireError> {
        if self.outcome.error.is_none() {
            let fields = backend::Fields::read(body)?;
            let code = fields.get(b'C').and_then(|code| code.try_into().ok());
            self.outcome.error = Some(code.unwrap_or(*b"XX000"));
            self.outcome.error_is_bare = fields.get(b'W').is_none();
        }
        Ok(())
    }

    /// The message at the front has failed: the server drops everything up to Sync.
    fn skip_to_sync(&mut self) {
        if let Some(Expect::Parse {
            change: Some(change),
            ..
        }) = self.expects.front_mut()
            && change.name.is_empty()
        {
            // A Parse that fails has dropped the unnamed statement before.
            change.before = None;
        }
        while let Some(expect) = self.expects.front_mut() {
            match expect {
                Expect::Sync
                | Expect::Hidden
                | Expect::EndOfBlock
                | Expect::Simple {
                    unsynced: false, ..
                } => break,
                Expect::Close { evicted, .. } => self.unclosed.extend(evicted.take()),
                Expect::Learn(_) => self.examining = false,
                Expect::Parse { change, .. } | Expect::Given { change, .. } => {
                    self.reverted.extend(change.take());
                }
                _ => {}
            }
            self.expects.pop_front();
        }
        if self.expects.is_empty() {
            self.skipping = true;
            self.open = true;
        }
    }

    /// Frames that are translated now would be dropped by the server.
    pub fn is_skipping(&self) -> bool {
        self.skipping
    }

    /// A Sync is on its way.
    pub fn synced(&mut self) {
        self.skipping = false;
        self.open = false;
    }
}

/// Keeps what the server says of a statement, if nothing is known of it yet.
fn tell(told: &Told, parameters: &Bytes, row: &[u8]) {
    if told.get().is_none()
        && let Ok(shape) = Shape::read(parameters.clone(), row)
    {
        told.set(shape);
    }
}

/// A message that answers a query, and says nothing of the session.
fn is_reply(message: u8) -> bool {
    !matches!(
        message,
        tag::ERROR | tag::NOTICE | tag::NOTIFICATION | tag::PARAMETER_STATUS | tag::READY_FOR_QUERY
    )
}
