//! One statement with its values, as one of the ways of the protocol puts it.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use crate::cache::wire::{Batch, Reply, Wire};

/// How a statement is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Simple,
    /// Parse, Bind, Describe, Execute, Sync with the unnamed statement.
    Extended {
        binary: bool,
    },
    /// With a statement that is prepared once for each session.
    Prepared {
        binary: bool,
    },
}

/// A value of `$n`: its declared type (0 is none), its format and bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    pub type_oid: u32,
    pub binary: bool,
    pub bytes: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub sql: String,
    pub values: Vec<Value>,
    pub mode: Mode,
    /// Lines for a COPY FROM STDIN.
    pub copy: Option<String>,
    /// The rows have one order only.
    pub ordered: bool,
    /// Sent in another encoding than the connection's.
    pub misencoded: bool,
}

impl Ask {
    /// A text in the simple protocol, whose rows have one order.
    pub fn simple(sql: impl Into<String>) -> Self {
        Self {
            sql: sql.into(),
            values: Vec::new(),
            mode: Mode::Simple,
            copy: None,
            ordered: true,
            misencoded: false,
        }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.sql)?;
        if self.mode != Mode::Simple {
            write!(f, "  -- {:?}", self.mode)?;
        }
        for (n, value) in self.values.iter().enumerate() {
            let text = value
                .bytes
                .as_ref()
                .map(|bytes| bytes.escape_ascii().to_string());
            write!(f, " ${}={text:?}", n + 1)?;
            if value.type_oid != 0 || value.binary {
                write!(
                    f,
                    " (type {}{})",
                    value.type_oid,
                    if value.binary { ", binary" } else { "" }
                )?;
            }
        }
        if let Some(lines) = &self.copy {
            write!(f, "  <- {lines:?}")?;
        }
        if self.misencoded {
            write!(f, "  (in another encoding than the connection's)")?;
        }
        Ok(())
    }
}

/// A connection, and what it has prepared.
pub struct Client {
    pub wire: Wire,
    prepared: HashSet<String>,
    /// What was prepared in another is asked no more.
    age: u64,
    /// Stands for `{side}`: what is named for the whole server needs two names.
    side: &'static str,
}

impl Client {
    pub fn new(wire: Wire, side: &'static str) -> Self {
        Self {
            wire,
            prepared: HashSet::new(),
            age: 0,
            side,
        }
    }

    /// As a driver does it: in the encoding that the server has told last. `?` is what LATIN1 has not.
    fn encoded(&self, text: &str, misencoded: bool) -> Vec<u8> {
        let told = self.wire.parameters.get("client_encoding");
        let latin1 = told.is_some_and(|name| name == "LATIN1");
        if latin1 == misencoded {
            return text.as_bytes().to_vec();
        }
        let byte = |character| u8::try_from(u32::from(character)).unwrap_or(b'?');
        text.chars().map(byte).collect()
    }

    /// Prepares anew from here on.
    pub fn forget(&mut self) {
        self.age += 1;
    }

    /// Sends `ask` and waits for the answer; `None` when the connection ended or nothing came.
    pub fn ask(&mut self, ask: &Ask) -> Option<Reply> {
        let text = ask.sql.replace("{side}", self.side);
        let sql = self.encoded(&text, ask.misencoded);
        let mut batch = Batch::default();
        if let Some(lines) = &ask.copy {
            batch.query_bytes(&sql).copy_data(lines).copy_done();
            return self.wire.try_batch(&batch);
        }
        let types: Vec<u32> = ask.values.iter().map(|value| value.type_oid).collect();
        let (name, binary) = match ask.mode {
            Mode::Simple => {
                batch.query_bytes(&sql);
                return self.wire.try_batch(&batch);
            }
            Mode::Extended { binary } => (String::new(), binary),
            Mode::Prepared { binary } => {
                let digest =
                    xxhash_rust::xxh3::xxh3_64(format!("{text}{types:?}{}", self.age).as_bytes());
                (format!("p{digest:x}"), binary)
            }
        };
        let known = !name.is_empty() && self.prepared.contains(&name);
        if !known {
            batch.parse_bytes(&name, &sql, &types);
        }
        let formats: Vec<u16> = ask
            .values
            .iter()
            .map(|value| u16::from(value.binary))
            .collect();
        let values: Vec<Option<Vec<u8>>> = ask
            .values
            .iter()
            .map(|value| {
                let bytes = value.bytes.as_deref()?;
                Some(match std::str::from_utf8(bytes) {
                    Ok(text) if !value.binary => self.encoded(text, ask.misencoded),
                    _ => bytes.to_vec(),
                })
            })
            .collect();
        let values: Vec<Option<&[u8]>> = values.iter().map(Option::as_deref).collect();
        batch.bind("", &name, &formats, &values, &[u16::from(binary)]);
        batch.describe(b'P', "").execute("", 0).sync();
        let reply = self.wire.try_batch(&batch)?;
        if !known && !name.is_empty() && reply.kinds().starts_with('1') {
            self.prepared.insert(name);
        }
        if text.starts_with("DISCARD ALL") || text.starts_with("DEALLOCATE ALL") {
            self.prepared.clear();
        }
        Some(reply)
    }
}

/// A RowDescription; what a session has made has another number in the twin database.
fn columns(body: &[u8], same_database: bool) -> String {
    let mut text = String::new();
    let mut rest = &body[2..];
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let (name, fields) = (&rest[..end], &rest[end + 1..end + 19]);
        let number =
            |at: usize| u32::from_be_bytes(fields[at..at + 4].try_into().expect("four bytes"));
        let made = |oid: u32| {
            if same_database || oid < 16_384 {
                oid
            } else {
                16_384
            }
        };
        text.push_str(&format!(
            "{}:{}.{:?}:{}({:?}) ",
            name.escape_ascii(),
            made(number(0)),
            &fields[4..6],
            made(number(6)),
            &fields[10..18]
        ));
        rest = &rest[end + 19..];
    }
    text
}

/// What DROP TABLE says of a temporary table that is not there.
const NO_SCHEMA: &str = r#"C3F000 Mschema \"pg_temp\" does not exist"#;
const NO_TABLE: &str = r#"C42P01 Mtable \"k\" does not exist"#;

/// Fields of errors.
const LOCK_TIMEOUT: &[u8] = b"C55P03";
const PRIVILEGE: &[u8] = b"C42501";

/// An answer in lines that can be compared: rows of no order sorted, errors without the place in the server's source.
pub fn lines(reply: Option<&Reply>, ordered: bool, same_database: bool) -> Vec<String> {
    let Some(reply) = reply else {
        return vec!["the connection ended".to_owned()];
    };
    let mut lines = Vec::new();
    let mut rows = Vec::new();
    // Where among the messages of one answer they stand is not the same in all versions.
    let mut parameters = BTreeMap::new();
    let put = |lines: &mut Vec<String>, rows: &mut Vec<String>| {
        if !ordered {
            rows.sort();
        }
        lines.append(rows);
    };
    for (tag, body) in &reply.messages {
        match tag {
            b'T' => lines.push(format!("T {}", columns(body, same_database))),
            b'D' => rows.push(format!("D {}", body.escape_ascii())),
            b'S' => {
                let mut parts = body.split(|byte| *byte == 0);
                parameters.insert(parts.next(), parts.next());
            }
            b'E' | b'N' => {
                put(&mut lines, &mut rows);
                // Who waits for a lock while it reads a text anew says where in the text, and who runs a plan does not.
                let says = |what: &[u8]| body.split(|byte| *byte == 0).any(|field| field == what);
                let waited = says(LOCK_TIMEOUT);
                let fields = body
                    .split(|byte| *byte == 0)
                    .filter(|field| match field.first() {
                        None | Some(b'F' | b'L' | b'R' | b'V') => false,
                        Some(b'P') => !waited,
                        Some(_) => true,
                    });
                if says(PRIVILEGE) {
                    // Who makes a plan is told when it binds, and who has one when it runs.
                    while lines
                        .last()
                        .is_some_and(|line| line.starts_with(['2', 'n', 'T']))
                    {
                        lines.pop();
                    }
                }
                let text: Vec<String> = fields
                    .map(|field| field.escape_ascii().to_string())
                    .collect();
                let text = text
                    .join(" ")
                    .replace("\"b_g", "\"a_g")
                    .replace("fuzz_b", "fuzz_a")
                    // A plan that was made before knows of it later.
                    .replace("during inlining", "during startup")
                    // In a transaction others' temporary tables have left this trace (docs/pins.md).
                    .replace(NO_SCHEMA, NO_TABLE);
                lines.push(format!("{} {text}", *tag as char));
            }
            _ => {
                put(&mut lines, &mut rows);
                lines.push(format!("{} {}", *tag as char, body.escape_ascii()));
            }
        }
    }
    put(&mut lines, &mut rows);
    for (name, value) in parameters {
        let text = |part: Option<&[u8]>| part.unwrap_or_default().escape_ascii().to_string();
        lines.push(format!("S {}={}", text(name), text(value)));
    }
    lines.push(format!("Z {}", reply.status));
    lines
}
