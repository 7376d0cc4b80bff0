//! What passes on a replication connection, message by message: bodies stream by unread, but for
//! what the client asks and the server's word that it has answered. Without I/O.

use bytes::{Buf, Bytes, BytesMut};

use crate::wire::{Frame, TransactionStatus, WireError, backend, frame_header, tag, take_frame};

/// While this much waits to be sent on, no more is taken.
pub(super) const WAITING_MAX: usize = 256 << 10;

/// Which way a copy goes that the client has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copying {
    In,
    /// Streaming.
    Both,
}

/// Where both directions stand.
#[derive(Debug)]
pub(super) struct Relay {
    frame_len_max: usize,
    /// Bytes of a message that has begun to pass, still to come.
    from_client: usize,
    from_server: usize,
    /// The server owes a ReadyForQuery.
    due: bool,
    /// Messages of the extended protocol were passed on, which it refuses up to Sync.
    skipping: bool,
    copying: Option<Copying>,
    /// The client has ended a copy before it knew that it had begun.
    ended_ahead: bool,
    /// The last message of the server was an error.
    failed: bool,
    status: TransactionStatus,
}

/// What the server's side has come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FromServer {
    /// All that came has passed, or there is no room for more.
    Passed,
    /// ReadyForQuery, not passed yet.
    Ready(TransactionStatus, Bytes),
}

/// What the client's side has come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FromClient {
    /// All that may pass now has passed.
    Passed,
    /// A message that the server may act upon, not passed yet.
    Asks(Frame),
    Terminate,
    /// A message that has no place here: what would become of it is not known.
    OutOfPlace(u8),
}

impl Relay {
    pub(super) fn new(frame_len_max: usize) -> Self {
        Self {
            frame_len_max,
            from_client: 0,
            from_server: 0,
            due: false,
            skipping: false,
            copying: None,
            ended_ahead: false,
            failed: false,
            status: TransactionStatus::Idle,
        }
    }

    /// The server has something to answer.
    pub(super) fn is_busy(&self) -> bool {
        self.due || self.skipping
    }

    /// The server answers, and waits for nothing from the client.
    pub(super) fn is_answering(&self) -> bool {
        self.due && self.copying.is_none()
    }

    pub(super) fn is_streaming(&self) -> bool {
        self.copying == Some(Copying::Both)
    }

    /// As of the last ReadyForQuery.
    pub(super) fn status(&self) -> TransactionStatus {
        self.status
    }

    /// The client has been sent whole messages only.
    pub(super) fn is_between_messages(&self) -> bool {
        self.from_server == 0
    }

    /// The server has said why it ends the connection, if it does.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Moves what the server sent to `out`; with `to_boundary` only the message under way.
    ///
    /// # Errors
    /// What the server sends is no message.
    pub(super) fn server(
        &mut self,
        input: &mut BytesMut,
        out: &mut BytesMut,
        to_boundary: bool,
    ) -> Result<FromServer, WireError> {
        use tag::backend as tag;
        loop {
            if self.from_server > 0 {
                let moved = shift(input, out, self.from_server);
                self.from_server -= moved;
                if moved == 0 {
                    return Ok(FromServer::Passed);
                }
                continue;
            }
            if to_boundary {
                return Ok(FromServer::Passed);
            }
            let Some(header) = frame_header(input)? else {
                return Ok(FromServer::Passed);
            };
            self.failed = header.tag == tag::ERROR;
            match header.tag {
                tag::READY_FOR_QUERY => {
                    let Some(frame) = take_frame(input, READY_LEN)? else {
                        return Ok(FromServer::Passed);
                    };
                    self.status = backend::ready_status(frame.body())?;
                    self.due = false;
                    self.copying = None;
                    self.ended_ahead = false;
                    return Ok(FromServer::Ready(self.status, frame.into_bytes()));
                }
                tag::COPY_IN | tag::COPY_BOTH if std::mem::take(&mut self.ended_ahead) => {}
                tag::COPY_IN => self.copying = Some(Copying::In),
                tag::COPY_BOTH => self.copying = Some(Copying::Both),
                _ => {}
            }
            self.from_server = header.frame_len;
        }
    }

    /// Moves what the client sent to `out`, up to the next message that asks something. One
    /// question at a time: the next waits for the answer.
    ///
    /// # Errors
    /// What the client sends is no message.
    pub(super) fn client(
        &mut self,
        input: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<FromClient, WireError> {
        use tag::frontend as tag;
        loop {
            if self.from_client > 0 {
                let moved = shift(input, out, self.from_client);
                self.from_client -= moved;
                if moved == 0 {
                    return Ok(FromClient::Passed);
                }
                continue;
            }
            let Some(header) = frame_header(input)? else {
                return Ok(FromClient::Passed);
            };
            if header.frame_len > self.frame_len_max {
                return Err(WireError::TooLong {
                    len: header.frame_len,
                    limit: self.frame_len_max,
                });
            }
            match header.tag {
                tag::COPY_DATA | tag::FLUSH => {}
                tag::COPY_DONE | tag::COPY_FAIL => {
                    self.ended_ahead = self.due && self.copying.is_none();
                    self.copying = None;
                }
                tag::TERMINATE if !self.is_answering() => return Ok(FromClient::Terminate),
                other if self.copying.is_some() => return Ok(FromClient::OutOfPlace(other)),
                _ if self.due => return Ok(FromClient::Passed),
                tag::SYNC => {
                    self.skipping = false;
                    self.due = true;
                }
                other @ (tag::QUERY | tag::FUNCTION_CALL) if self.skipping => {
                    return Ok(FromClient::OutOfPlace(other));
                }
                other @ (tag::QUERY
                | tag::FUNCTION_CALL
                | tag::PARSE
                | tag::BIND
                | tag::DESCRIBE
                | tag::EXECUTE
                | tag::CLOSE) => {
                    let Some(frame) = take_frame(input, self.frame_len_max)? else {
                        return Ok(FromClient::Passed);
                    };
                    match other {
                        tag::QUERY | tag::FUNCTION_CALL => self.due = true,
                        _ => self.skipping = true,
                    }
                    return Ok(FromClient::Asks(frame));
                }
                // The server ends the connection, in its own words.
                _ => {}
            }
            self.from_client = header.frame_len;
        }
    }
}

/// Bytes of ReadyForQuery.
const READY_LEN: usize = 6;

/// Moves at most `most` bytes, as far as there is room.
fn shift(from: &mut BytesMut, to: &mut BytesMut, most: usize) -> usize {
    let room = WAITING_MAX.saturating_sub(to.len());
    let moved = most.min(from.len()).min(room);
    to.extend_from_slice(&from[..moved]);
    from.advance(moved);
    moved
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag];
        bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    /// A client and a server, and what has passed from one to the other.
    struct Line {
        relay: Relay,
        from_client: BytesMut,
        from_server: BytesMut,
        to_server: BytesMut,
        to_client: BytesMut,
    }

    impl Line {
        fn new() -> Self {
            Self {
                relay: Relay::new(1 << 20),
                from_client: BytesMut::new(),
                from_server: BytesMut::new(),
                to_server: BytesMut::new(),
                to_client: BytesMut::new(),
            }
        }

        fn client(&mut self, bytes: &[u8]) -> FromClient {
            self.from_client.extend_from_slice(bytes);
            let relay = &mut self.relay;
            relay
                .client(&mut self.from_client, &mut self.to_server)
                .unwrap()
        }

        fn server(&mut self, bytes: &[u8]) -> FromServer {
            self.from_server.extend_from_slice(bytes);
            let relay = &mut self.relay;
            relay
                .server(&mut self.from_server, &mut self.to_client, false)
                .unwrap()
        }

        fn asks(&mut self, bytes: &[u8]) {
            match self.client(bytes) {
                FromClient::Asks(frame) => assert_eq!(frame.bytes(), bytes),
                other => panic!("{other:?}"),
            }
        }

        fn ready(&mut self, status: u8) {
            let ready = self.server(&message(b'Z', &[status]));
            assert!(matches!(ready, FromServer::Ready(..)), "{ready:?}");
        }
    }

    #[test]
    fn the_second_question_waits_for_the_first_answer() {
        let mut line = Line::new();
        let question = message(b'Q', b"SELECT 1\0");
        line.asks(&question);
        assert_eq!(line.client(&question), FromClient::Passed);
        assert_eq!(line.client(&message(b'S', b"")), FromClient::Passed);
        assert!(line.to_server.is_empty() && line.relay.is_busy());
        line.ready(b'I');
        let second = line.client(b"");
        assert!(matches!(second, FromClient::Asks(frame) if frame.bytes() == &question));
        line.ready(b'T');
        assert_eq!(line.relay.status(), TransactionStatus::InBlock);
        assert_eq!(line.client(b""), FromClient::Passed);
        assert_eq!(line.to_server, message(b'S', b""));
    }

    #[test]
    fn a_stream_passes_both_ways_until_its_end() {
        let mut line = Line::new();
        line.asks(&message(b'Q', b"START_REPLICATION 0/0\0"));
        let begin = [message(b'W', b"\0\0\0"), message(b'd', b"wal")].concat();
        assert_eq!(line.server(&begin), FromServer::Passed);
        assert_eq!(line.to_client, begin);
        assert!(line.relay.is_streaming());
        let status = message(b'd', b"r status");
        assert_eq!(line.client(&status), FromClient::Passed);
        assert_eq!(
            line.client(&message(b'Q', b"SELECT 1\0")),
            FromClient::OutOfPlace(b'Q')
        );
        line.from_client.clear();
        assert_eq!(line.client(&message(b'c', b"")), FromClient::Passed);
        assert_eq!(line.to_server, [status, message(b'c', b"")].concat());
        assert!(!line.relay.is_streaming() && line.relay.is_busy());
        line.ready(b'I');
        line.asks(&message(b'Q', b"IDENTIFY_SYSTEM\0"));
    }

    #[test]
    fn a_copy_that_is_sent_before_the_server_asks_for_it_is_over_when_it_is() {
        let mut line = Line::new();
        let question = message(b'Q', b"COPY t FROM STDIN\0");
        line.asks(&question);
        let copy = [message(b'd', b"1\n"), message(b'c', b""), question.clone()].concat();
        assert_eq!(line.client(&copy), FromClient::Passed);
        line.server(&message(b'G', b"\0\0\0"));
        // It waits, and is not taken for a message amid the copy.
        assert_eq!(line.client(b""), FromClient::Passed);
        line.ready(b'I');
        assert!(matches!(line.client(b""), FromClient::Asks(_)));
    }

    #[test]
    fn the_extended_protocol_passes_up_to_sync() {
        let mut line = Line::new();
        line.asks(&message(b'P', b"\0SELECT 1\0\0\0"));
        line.asks(&message(b'B', b"\0\0\0\0\0\0\0\0"));
        assert_eq!(
            line.client(&message(b'Q', b"SELECT 1\0")),
            FromClient::OutOfPlace(b'Q')
        );
        line.from_client.clear();
        assert_eq!(line.client(&message(b'S', b"")), FromClient::Passed);
        line.server(&message(b'E', b"\0"));
        assert!(line.relay.has_failed());
        line.ready(b'I');
        assert!(!line.relay.is_busy() && !line.relay.has_failed());
        assert_eq!(line.client(&message(b'X', b"")), FromClient::Terminate);
    }

    #[test]
    fn messages_that_are_too_long_are_refused() {
        let mut line = Line::new();
        line.from_client.extend_from_slice(b"Q\x7f\xff\xff\xff");
        let refused = line
            .relay
            .client(&mut line.from_client, &mut line.to_server);
        assert!(matches!(refused, Err(WireError::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn bytes_pass_unchanged_however_they_are_cut(cut in 1usize..40, bodies in proptest::collection::vec(0usize..30, 1..20)) {
            let mut line = Line::new();
            let all: Vec<u8> = bodies.iter().flat_map(|len| message(b'd', &vec![b'x'; *len])).collect();
            for piece in all.chunks(cut) {
                line.client(piece);
                line.server(piece);
            }
            prop_assert_eq!(&line.to_server[..], &all[..]);
            prop_assert_eq!(&line.to_client[..], &all[..]);
            prop_assert!(line.relay.is_between_messages());
        }
    }
}
