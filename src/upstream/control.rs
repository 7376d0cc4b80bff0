//! Control statements: our own SQL on a connection, between two of a session's.

use bytes::BytesMut;
use tokio::time::{Instant, timeout_at};

use super::connection::Connection;
use super::error::UpstreamError;
use super::settings::{Settings, restore_all_sql, restore_sql};
use crate::wire::frontend;
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
        let mut outgoing = BytesMut::with_capacity(sql.len() + 8);
        frontend::query(&mut outgoing, sql.as_bytes());
        self.control(outgoing, deadline).await
    }

    /// The same of one statement, within a transaction: the unnamed statement and portal stay what they are.
    /// `name` is that of no other statement or portal.
    ///
    /// # Errors
    /// As of [`Connection::simple`].
    pub async fn beside(
        &mut self,
        sql: &str,
        name: &[u8],
        deadline: Instant,
    ) -> Result<Vec<Vec<Option<String>>>, UpstreamError> {
        let mut outgoing = BytesMut::with_capacity(sql.len() + 256);
        frontend::run_apart(&mut outgoing, sql, name);
        frontend::sync(&mut outgoing);
        self.control(outgoing, deadline).await
    }

    async fn control(
        &mut self,
        outgoing: BytesMut,
        deadline: Instant,
    ) -> Result<Vec<Vec<Option<String>>>, UpstreamError> {
        if self.is_broken() {
            return Err(UpstreamError::closed());
        }
        self.break_it();
        let outcome = timeout_at(deadline, self.exchange(outgoing)).await;
        let outcome = outcome.map_err(|_| UpstreamError::Deadline)??;
        self.mend();
        outcome
    }

    /// A query of so many columns of texts, which can be read whatever `client_encoding` is: its answer goes through
    /// [`from_utf8`](Self::from_utf8).
    pub fn in_utf8(&self, query: &str, columns: usize) -> String {
        if self.speaks_utf8() {
            return query.to_owned();
        }
        let names: Vec<String> = (0..columns).map(|n| format!("c{n}")).collect();
        let hex = |name: &String| {
            format!("pg_catalog.encode(pg_catalog.convert_to({name}, 'UTF8'), 'hex')")
        };
        let shown: Vec<String> = names.iter().map(hex).collect();
        let (shown, names) = (shown.join(", "), names.join(", "));
        format!("SELECT {shown} FROM ({query}) answer ({names})")
    }

    /// The answer to what [`in_utf8`](Self::in_utf8) has made, before the settings change.
    ///
    /// # Errors
    /// [`UpstreamError::Encoding`]
    pub fn from_utf8(
        &self,
        rows: Vec<Vec<Option<String>>>,
    ) -> Result<Vec<Vec<Option<String>>>, UpstreamError> {
        if self.speaks_utf8() {
            return Ok(rows);
        }
        let text = |hex: String| read_hex(&hex).ok_or(UpstreamError::Encoding);
        let row = |row: Vec<Option<String>>| {
            let values = row.into_iter();
            values.map(|value| value.map(text).transpose()).collect()
        };
        rows.into_iter().map(row).collect()
    }

    fn speaks_utf8(&self) -> bool {
        let encoding = self.parameters.get("client_encoding");
        encoding.is_some_and(|encoding| encoding == "UTF8")
    }

    /// Brings these settings onto the connection, in the place of what was set there; what nobody can list
    /// stays where `session` has set it itself.
    ///
    /// # Errors
    /// As [`simple`](Self::simple); a part of them may be in force then.
    pub async fn bring(
        &mut self,
        settings: &Settings,
        session: Option<u64>,
        deadline: Instant,
    ) -> Result<(), UpstreamError> {
        let sql = if self.hides_settings_from(session) {
            Some(restore_all_sql(&self.applied, settings))
        } else {
            restore_sql(&self.applied, settings)
        };
        if let Some(sql) = sql {
            self.simple(&sql, deadline).await?;
            self.applied = settings.clone();
            self.hides_settings_of = self.hides_settings_of.filter(|&one| Some(one) == session);
        }
        Ok(())
    }

    /// Somebody else than `session` has perhaps set here what nobody can list.
    pub(super) fn hides_settings_from(&self, session: Option<u64>) -> bool {
        self.hides_settings_of.is_some() && self.hides_settings_of != session
    }

    /// The outer result is the connection's fate, the inner one the statement's.
    async fn exchange(
        &mut self,
        mut outgoing: BytesMut,
    ) -> Result<Result<Vec<Vec<Option<String>>>, UpstreamError>, UpstreamError> {
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
                tag::backend::PARSE_COMPLETE
                | tag::backend::BIND_COMPLETE
                | tag::backend::CLOSE_COMPLETE
                | tag::backend::NOTICE
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

/// The text of which these are the bytes in UTF-8.
fn read_hex(hex: &str) -> Option<String> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |pair: &[u8]| match *pair {
        [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(byte).collect();
    String::from_utf8(bytes?).ok()
}
