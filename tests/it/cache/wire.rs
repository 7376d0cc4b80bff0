//! A client that says exactly the messages it is told to, and shows every byte that comes back.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use crate::fixture::DEADLINE;

/// One answer: every message up to ReadyForQuery, and the status that this one told.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    pub messages: Vec<(u8, Vec<u8>)>,
    pub status: char,
}

impl Reply {
    /// The rows, columns parted by `|` and rows by line ends; NULL is `~`.
    pub fn text(&self) -> String {
        let rows: Vec<String> = self
            .messages
            .iter()
            .filter(|(tag, _)| *tag == b'D')
            .map(|(_, body)| columns(body).join("|"))
            .collect();
        rows.join("\n")
    }

    /// The SQLSTATE of the first error.
    pub fn error(&self) -> Option<String> {
        let (_, body) = self.messages.iter().find(|(tag, _)| *tag == b'E')?;
        body.split(|byte| *byte == 0)
            .find(|field| field.first() == Some(&b'C'))
            .map(|field| String::from_utf8_lossy(&field[1..]).into_owned())
    }

    /// The command tags.
    pub fn tags(&self) -> Vec<String> {
        self.messages
            .iter()
            .filter(|(tag, _)| *tag == b'C')
            .map(|(_, body)| String::from_utf8_lossy(&body[..body.len() - 1]).into_owned())
            .collect()
    }

    /// The kinds of the messages, in order.
    pub fn kinds(&self) -> String {
        self.messages.iter().map(|(tag, _)| *tag as char).collect()
    }

    /// The same without what depends on the moment and not on the statement: parameters and notices.
    pub fn essence(&self) -> Self {
        let mut essence = self.clone();
        essence
            .messages
            .retain(|(tag, _)| !matches!(tag, b'S' | b'N'));
        essence
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "Reply {}", self.status)?;
        for (tag, body) in &self.messages {
            writeln!(
                f,
                "    {} {}",
                *tag as char,
                String::from_utf8_lossy(body).escape_debug()
            )?;
        }
        Ok(())
    }
}

fn columns(body: &[u8]) -> Vec<String> {
    let mut values = Vec::new();
    let mut at = 2;
    while at < body.len() {
        let len = i32::from_be_bytes(body[at..at + 4].try_into().expect("four bytes"));
        at += 4;
        if let Ok(len) = usize::try_from(len) {
            values.push(String::from_utf8_lossy(&body[at..at + len]).into_owned());
            at += len;
        } else {
            values.push("~".to_owned());
        }
    }
    values
}

/// A connection as a user whom nobody asks for a password.
pub struct Wire {
    stream: TcpStream,
    pub parameters: BTreeMap<String, String>,
    /// BackendKeyData as it came.
    key: Vec<u8>,
}

impl Wire {
    /// Logs in.
    ///
    /// # Panics
    /// When the server says no.
    pub fn connect(port: u16, user: &str, database: &str, parameters: &[(&str, &str)]) -> Self {
        Self::try_connect(port, user, database, parameters)
            .unwrap_or_else(|reply| panic!("{user}@{database}: {reply:?}"))
    }

    /// Logs in, or says why not.
    pub fn try_connect(
        port: u16,
        user: &str,
        database: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Self, Reply> {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
        Self::log_in(stream, user, database, parameters)
    }

    fn log_in(
        stream: TcpStream,
        user: &str,
        database: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Self, Reply> {
        stream.set_read_timeout(Some(DEADLINE)).expect("a time-out");
        // It may have been closed already.
        let _ = stream.set_nodelay(true);
        let mut wire = Self {
            stream,
            parameters: BTreeMap::new(),
            key: Vec::new(),
        };
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        for (name, value) in [("user", user), ("database", database)]
            .iter()
            .chain(parameters)
        {
            body.extend_from_slice(name.as_bytes());
            body.push(0);
            body.extend_from_slice(value.as_bytes());
            body.push(0);
        }
        body.push(0);
        let mut packet = (body.len() as u32 + 4).to_be_bytes().to_vec();
        packet.extend(body);
        let _ = wire.stream.write_all(&packet);
        let reply = wire.reply().unwrap_or(Reply {
            messages: Vec::new(),
            status: '-',
        });
        if reply.error().is_some() || reply.status == '-' {
            return Err(reply);
        }
        let key = reply.messages.iter().find(|(tag, _)| *tag == b'K');
        wire.key = key.map(|(_, body)| body.clone()).unwrap_or_default();
        Ok(wire)
    }

    /// Logs in; `None` if nobody is there or the answer is no.
    pub fn try_open(port: u16, user: &str, database: &str) -> Option<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        Self::log_in(stream, user, database, &[]).ok()
    }

    /// The packet that cancels what this connection asked.
    pub fn cancel_packet(&self) -> Vec<u8> {
        let mut packet = (self.key.len() as u32 + 8).to_be_bytes().to_vec();
        packet.extend_from_slice(&80_877_102_u32.to_be_bytes());
        packet.extend_from_slice(&self.key);
        packet
    }

    /// Sends a packet on a connection of its own, which the other side ends.
    pub fn send_packet(port: u16, packet: &[u8]) {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            let _ = stream.write_all(packet);
            let _ = stream.read(&mut [0]);
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the connection stands");
    }

    /// Sends a string in the simple protocol and waits for its answer.
    pub fn query(&mut self, sql: &str) -> Reply {
        self.try_query(sql)
            .unwrap_or_else(|| panic!("the connection was closed: {sql}"))
    }

    /// [`Wire::query`]; `None` if the connection ends first.
    pub fn try_query(&mut self, sql: &str) -> Option<Reply> {
        self.stream.write_all(&query(sql)).ok()?;
        self.reply()
    }

    /// Sends a batch that ends with Sync and waits for its answer.
    pub fn batch(&mut self, batch: &Batch) -> Reply {
        self.send(&batch.0);
        self.reply().expect("the connection stands")
    }

    /// [`Wire::batch`]; `None` if the connection ends first, or nothing comes before the deadline.
    pub fn try_batch(&mut self, batch: &Batch) -> Option<Reply> {
        self.stream.write_all(&batch.0).ok()?;
        self.reply()
    }

    /// The kinds of the next messages, of which none is a ReadyForQuery: what comes after a Flush.
    pub fn kinds(&mut self, count: usize) -> String {
        let mut kinds = String::new();
        for _ in 0..count {
            let mut header = [0; 5];
            self.stream.read_exact(&mut header).expect("a message");
            let len = u32::from_be_bytes(header[1..].try_into().expect("four bytes"));
            let mut body = vec![0; len as usize - 4];
            self.stream.read_exact(&mut body).expect("its body");
            kinds.push(header[0] as char);
        }
        kinds
    }

    /// Sends what has no ReadyForQuery yet, and reads up to the first message of this kind; false if there is an error,
    /// or the connection ends first.
    pub fn try_until(&mut self, batch: &Batch, kind: u8) -> bool {
        if self.stream.write_all(&batch.0).is_err() {
            return false;
        }
        loop {
            let mut header = [0; 5];
            if self.stream.read_exact(&mut header).is_err() {
                return false;
            }
            let len = u32::from_be_bytes(header[1..].try_into().expect("four bytes"));
            let mut body = vec![0; len as usize - 4];
            if self.stream.read_exact(&mut body).is_err() {
                return false;
            }
            if header[0] == kind || header[0] == b'E' {
                return header[0] == kind;
            }
        }
    }

    /// Reads up to ReadyForQuery; up to the end after a fatal error; `None` at the end alone.
    pub fn reply(&mut self) -> Option<Reply> {
        let mut messages = Vec::new();
        loop {
            let mut header = [0; 5];
            if self.stream.read_exact(&mut header).is_err() {
                return (!messages.is_empty()).then_some(Reply {
                    messages,
                    status: '-',
                });
            }
            let len = u32::from_be_bytes(header[1..].try_into().expect("four bytes"));
            let mut body = vec![0; len as usize - 4];
            self.stream.read_exact(&mut body).ok()?;
            match header[0] {
                b'Z' => {
                    let status = body[0] as char;
                    return Some(Reply { messages, status });
                }
                b'S' => {
                    let mut parts = body.split(|byte| *byte == 0);
                    let mut next =
                        || String::from_utf8_lossy(parts.next().expect("text")).into_owned();
                    self.parameters.insert(next(), next());
                    messages.push((b'S', body));
                }
                tag => messages.push((tag, body)),
            }
        }
    }
}

/// A Query message.
pub fn query(sql: &str) -> Vec<u8> {
    let mut batch = Batch::default();
    batch.push(b'Q', &[sql.as_bytes(), &[0]].concat());
    batch.0
}

/// Messages of the extended protocol.
#[derive(Default, Clone)]
pub struct Batch(pub Vec<u8>);

impl Batch {
    /// Parse (unnamed), Bind, Describe the portal, Execute, Sync: what most drivers send for one statement.
    pub fn whole(sql: &str, values: &[Option<&[u8]>]) -> Self {
        let mut batch = Self::default();
        batch.parse("", sql, &[]).bind("", "", &[], values, &[]);
        batch.describe(b'P', "").execute("", 0).sync();
        batch
    }

    fn push(&mut self, tag: u8, body: &[u8]) -> &mut Self {
        self.0.push(tag);
        self.0
            .extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        self.0.extend_from_slice(body);
        self
    }

    pub fn parse(&mut self, name: &str, sql: &str, types: &[u32]) -> &mut Self {
        self.parse_bytes(name, sql.as_bytes(), types)
    }

    /// [`Batch::parse`] of a text in whatever encoding.
    pub fn parse_bytes(&mut self, name: &str, sql: &[u8], types: &[u32]) -> &mut Self {
        let mut body = [name.as_bytes(), &[0], sql, &[0]].concat();
        body.extend_from_slice(&(types.len() as u16).to_be_bytes());
        for oid in types {
            body.extend_from_slice(&oid.to_be_bytes());
        }
        self.push(b'P', &body)
    }

    pub fn bind(
        &mut self,
        portal: &str,
        statement: &str,
        formats: &[u16],
        values: &[Option<&[u8]>],
        result_formats: &[u16],
    ) -> &mut Self {
        let mut body = [portal.as_bytes(), &[0], statement.as_bytes(), &[0]].concat();
        let count =
            |body: &mut Vec<u8>, n: usize| body.extend_from_slice(&(n as u16).to_be_bytes());
        count(&mut body, formats.len());
        formats
            .iter()
            .for_each(|format| count(&mut body, usize::from(*format)));
        count(&mut body, values.len());
        for value in values {
            match value {
                None => body.extend_from_slice(&(-1_i32).to_be_bytes()),
                Some(value) => {
                    body.extend_from_slice(&(value.len() as u32).to_be_bytes());
                    body.extend_from_slice(value);
                }
            }
        }
        count(&mut body, result_formats.len());
        result_formats
            .iter()
            .for_each(|format| count(&mut body, usize::from(*format)));
        self.push(b'B', &body)
    }

    /// `what` is `b'S'` for a statement, `b'P'` for a portal.
    pub fn describe(&mut self, what: u8, name: &str) -> &mut Self {
        self.push(b'D', &[&[what], name.as_bytes(), &[0]].concat())
    }

    pub fn execute(&mut self, portal: &str, max_rows: u32) -> &mut Self {
        self.push(
            b'E',
            &[portal.as_bytes(), &[0], &max_rows.to_be_bytes()].concat(),
        )
    }

    pub fn close(&mut self, what: u8, name: &str) -> &mut Self {
        self.push(b'C', &[&[what], name.as_bytes(), &[0]].concat())
    }

    pub fn flush(&mut self) -> &mut Self {
        self.push(b'H', &[])
    }

    pub fn sync(&mut self) -> &mut Self {
        self.push(b'S', &[])
    }

    pub fn query(&mut self, sql: &str) -> &mut Self {
        self.query_bytes(sql.as_bytes())
    }

    /// [`Batch::query`] of a text in whatever encoding.
    pub fn query_bytes(&mut self, sql: &[u8]) -> &mut Self {
        self.push(b'Q', &[sql, &[0]].concat())
    }

    /// The call of a function by its number, with arguments as texts.
    pub fn function_call(&mut self, oid: u32, arguments: &[&[u8]]) -> &mut Self {
        let mut body = oid.to_be_bytes().to_vec();
        body.extend_from_slice(&0_u16.to_be_bytes());
        body.extend_from_slice(&(arguments.len() as u16).to_be_bytes());
        for argument in arguments {
            body.extend_from_slice(&(argument.len() as u32).to_be_bytes());
            body.extend_from_slice(argument);
        }
        body.extend_from_slice(&0_u16.to_be_bytes());
        self.push(b'F', &body)
    }

    pub fn copy_data(&mut self, data: &str) -> &mut Self {
        self.push(b'd', data.as_bytes())
    }

    pub fn copy_done(&mut self) -> &mut Self {
        self.push(b'c', &[])
    }

    pub fn copy_fail(&mut self) -> &mut Self {
        self.push(b'f', b"enough\0")
    }

    pub fn clear(&mut self) -> Self {
        std::mem::take(self)
    }
}
