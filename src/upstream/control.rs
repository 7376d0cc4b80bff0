//! Control statements: our own SQL on a connection, between two of a session's.

use tokio::time::{Instant, timeout_at};

use super::connection::Connection;
use super::error::UpstreamError;
use crate::wire::{backend, tag};

/// The most that the answer to a control statement may weigh.
const ANSWER_BYTES_MAX: usize = 16 << 20;

impl Connection {
    /// Runs `sql` with the simple protocol and returns the rows of all its
    /// statements as text. ParameterStatus is tracked, notices are dropped.
    ///
    /// Not cancel safe: the connection counts as broken until ReadyForQuery has
    /// been read, so that one which was left in the middle is closed.
    ///
    /// # Errors
    /// [`UpstreamError::Server`] if a statement failed: the connection stands,
    /// `status` says in which state. After any other it is broken, but for
    /// [`UpstreamError::Encoding`].
    pub async fn simple(
        &mut self,
        sql: &str,
        deadline: Instant,
    ) -> Result<Vec<Vec<Option<String>>>, UpstreamError> {
        if self.is_broken() {
            return Err(UpstreamError::closed());
        }
        self.break_it();
        let outcome = timeout_at(deadline, self.exchange(sql)).await;
        let outcome = outcome.map_err(|_| UpstreamError::Deadline)??;
        self.mend();
        outcome
    }

    /// The outer result is the connection's fate, the inner one the statement's.
    async fn exchange(
        &mut self,
        sql: &str,
    ) -> Result<Result<Vec<Vec<Option<String>>>, UpstreamError>, UpstreamError> {
        let mut outgoing = bytes::BytesMut::with_capacity(sql.len() + 8);
        crate::wire::frontend::query(&mut outgoing, sql.as_bytes());
        while !outgoing.is_empty() {
            if self.pump(&mut outgoing).await? == super::Pumped::Read(0) {
                return Err(UpstreamError::closed());
            }
        }
        let mut rows = Vec::new();
        let mut failure = None;
        let mut bytes_left = ANSWER_BYTES_MAX;
        loop {
            let frame = match self.next_frame(ANSWER_BYTES_MAX).await {
                Ok(frame) => frame,
                // After a FATAL report comes the end; the report says more.
                Err(error) => return Err(failure.unwrap_or(error)),
            };
            bytes_left = bytes_left
                .checked_sub(frame.len())
                .ok_or_else(|| UpstreamError::Protocol("an answer without end".into()))?;
            match frame.tag() {
                tag::backend::DATA_ROW => match read_row(frame.body()) {
                    Ok(row) => rows.push(row),
                    Err(UpstreamError::Encoding) => failure = Some(UpstreamError::Encoding),
                    Err(error) => return Err(error),
                },
                tag::backend::ERROR => failure = Some(UpstreamError::server(frame)),
                tag::backend::PARAMETER_STATUS => match self.note_parameter(frame.body()) {
                    Err(UpstreamError::Encoding) => {}
                    noted => noted?,
                },
                tag::backend::READY_FOR_QUERY => {
                    self.status = backend::ready_status(frame.body())?;
                    return Ok(failure.map_or(Ok(rows), Err));
                }
                // Bounded with the rest of the answer.
                tag::backend::NOTIFICATION => self.notifications.push(frame),
                tag::backend::NOTICE
                | tag::backend::ROW_DESCRIPTION
                | tag::backend::COMMAND_COMPLETE
                | tag::backend::EMPTY_QUERY => {}
                other => {
                    return Err(UpstreamError::Protocol(format!(
                        "message {:?} in answer to a control statement",
                        char::from(other)
                    )));
                }
            }
        }
    }
}

fn read_row(body: &[u8]) -> Result<Vec<Option<String>>, UpstreamError> {
    let text = |value: &[u8]| match std::str::from_utf8(value) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(UpstreamError::Encoding),
    };
    let values = backend::data_row(body)?;
    values
        .into_iter()
        .map(|v| v.map(text).transpose())
        .collect()
}
