//! A client that shows every message as it came.

use bytes::BytesMut;
use pgditto::wire::{Frame, backend, frontend, tag, take_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub struct Raw {
    stream: TcpStream,
    input: BytesMut,
    pub output: BytesMut,
}

/// A column: name, type and length.
pub type Described = (String, u32, i16);

/// What one Query was answered with.
#[derive(Debug, Default)]
pub struct Answer {
    pub columns: Vec<Described>,
    pub rows: Vec<Vec<Option<String>>>,
    pub tags: Vec<String>,
    /// SQLSTATE and message.
    pub error: Option<(String, String)>,
    pub hint: Option<String>,
    pub notices: Vec<String>,
}

impl Raw {
    /// Logs in without a password; the frames up to ReadyForQuery, or to the end of the stream.
    pub async fn connect(port: u16, user: &str) -> (Self, Vec<Frame>) {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let mut raw = Self {
            stream,
            input: BytesMut::new(),
            output: BytesMut::new(),
        };
        let parameters = [("user", user), ("database", "pgbouncer")];
        frontend::startup(&mut raw.output, 0, &parameters);
        let frames = raw.exchange().await;
        (raw, frames)
    }

    /// Sends what is in `output`; the frames up to ReadyForQuery, or to the end of the stream.
    pub async fn exchange(&mut self) -> Vec<Frame> {
        self.stream.write_all(&self.output).await.unwrap();
        self.output.clear();
        let mut frames = Vec::new();
        loop {
            match take_frame(&mut self.input, 1 << 24).unwrap() {
                Some(frame) => {
                    let last = frame.tag() == tag::backend::READY_FOR_QUERY;
                    frames.push(frame);
                    if last {
                        return frames;
                    }
                }
                None => {
                    if self.stream.read_buf(&mut self.input).await.unwrap() == 0 {
                        return frames;
                    }
                }
            }
        }
    }

    pub async fn send(&mut self) {
        self.stream.write_all(&self.output).await.unwrap();
        self.output.clear();
    }

    pub async fn query(&mut self, sql: &str) -> Answer {
        frontend::query(&mut self.output, sql.as_bytes());
        answer(&self.exchange().await)
    }
}

pub fn tags(frames: &[Frame]) -> String {
    frames.iter().map(|frame| char::from(frame.tag())).collect()
}

pub fn answer(frames: &[Frame]) -> Answer {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut answer = Answer::default();
    for frame in frames {
        let body = frame.body();
        match frame.tag() {
            tag::backend::ROW_DESCRIPTION => {
                let columns = backend::row_description(body).unwrap();
                let columns = columns.iter();
                let columns = columns.map(|c| (text(c.name), c.type_oid, c.type_len));
                answer.columns = columns.collect();
            }
            tag::backend::DATA_ROW => {
                let row = backend::data_row(body).unwrap();
                let row = row.iter().map(|value| value.map(text));
                answer.rows.push(row.collect());
            }
            tag::backend::COMMAND_COMPLETE => {
                answer.tags.push(text(backend::command_tag(body).unwrap()));
            }
            tag::backend::ERROR => {
                let fields = backend::Fields::read(body).unwrap();
                let field = |code| text(fields.get(code).unwrap_or_default());
                answer.error = Some((field(b'C'), field(b'M')));
                answer.hint = fields.get(b'H').map(text);
            }
            tag::backend::NOTICE => {
                let fields = backend::Fields::read(body).unwrap();
                let notice = text(fields.get(b'M').unwrap_or_default());
                answer.notices.push(notice);
            }
            _ => (),
        }
    }
    answer
}
