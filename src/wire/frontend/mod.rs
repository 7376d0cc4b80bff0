//! Messages that go towards a server: views of what a client sent, and
//! encoders for what we send upstream.

mod encode;

pub use encode::{
    bind_raw, cancel_request, close, describe, execute, flush, parse, password, query, run_apart,
    sasl_initial, sasl_response, ssl_request, startup, sync, terminate,
};

use smallvec::SmallVec;

use super::cursor::Cursor;
use super::error::WireError;

/// Query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    pub sql: &'a [u8],
}

impl<'a> Query<'a> {
    /// # Errors
    /// A body that is not exactly one string.
    pub fn read(body: &'a [u8]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(body);
        let sql = cursor.cstr()?;
        cursor.finish()?;
        Ok(Self { sql })
    }
}

/// Parse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parse<'a> {
    pub name: &'a [u8],
    pub sql: &'a [u8],
    /// Type OIDs; 0 leaves one to the server.
    pub parameter_types: Vec<u32>,
}

impl<'a> Parse<'a> {
    /// # Errors
    /// A body that is too short for its counts, or too long.
    pub fn read(body: &'a [u8]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(body);
        let name = cursor.cstr()?;
        let sql = cursor.cstr()?;
        let count = cursor.count(4)?;
        let mut parameter_types = Vec::with_capacity(count);
        for _ in 0..count {
            parameter_types.push(cursor.u32()?);
        }
        cursor.finish()?;
        Ok(Self {
            name,
            sql,
            parameter_types,
        })
    }
}

/// Bind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind<'a> {
    pub portal: &'a [u8],
    pub statement: &'a [u8],
    /// As sent: none, one for all, or one each; see [`Bind::parameter_format`].
    pub parameter_formats: SmallVec<[i16; 4]>,
    /// Values; `None` is NULL.
    pub parameters: SmallVec<[Option<&'a [u8]>; 4]>,
    pub result_formats: SmallVec<[i16; 4]>,
    /// Everything after the two names, as it came.
    pub tail: &'a [u8],
}

impl<'a> Bind<'a> {
    /// # Errors
    /// A body that is too short for its counts and lengths, or too long.
    pub fn read(body: &'a [u8]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(body);
        let portal = cursor.cstr()?;
        let statement = cursor.cstr()?;
        let tail = cursor.rest();
        let parameter_formats = formats(&mut cursor)?;
        let count = cursor.count(4)?;
        let mut parameters = SmallVec::with_capacity(count);
        for _ in 0..count {
            parameters.push(cursor.value()?);
        }
        let result_formats = formats(&mut cursor)?;
        cursor.finish()?;
        Ok(Self {
            portal,
            statement,
            parameter_formats,
            parameters,
            result_formats,
            tail,
        })
    }

    /// The format of parameter `index`: 0 is text, 1 is binary.
    pub fn parameter_format(&self, index: usize) -> i16 {
        match self.parameter_formats.as_slice() {
            [] => 0,
            [all] => *all,
            each => each.get(index).copied().unwrap_or(0),
        }
    }
}

fn formats(cursor: &mut Cursor<'_>) -> Result<SmallVec<[i16; 4]>, WireError> {
    let count = cursor.count(2)?;
    let mut formats = SmallVec::with_capacity(count);
    for _ in 0..count {
        formats.push(cursor.i16()?);
    }
    Ok(formats)
}

/// What Describe and Close name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Statement,
    Portal,
}

impl Target {
    fn as_byte(self) -> u8 {
        match self {
            Target::Statement => b'S',
            Target::Portal => b'P',
        }
    }
}

/// Describe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Describe<'a> {
    pub target: Target,
    pub name: &'a [u8],
}

impl<'a> Describe<'a> {
    /// # Errors
    /// A target other than `S` and `P`, or a body that is not exactly one name after it.
    pub fn read(body: &'a [u8]) -> Result<Self, WireError> {
        let (target, name) = target_and_name(body, "DESCRIBE")?;
        Ok(Self { target, name })
    }
}

/// Close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close<'a> {
    pub target: Target,
    pub name: &'a [u8],
}

impl<'a> Close<'a> {
    /// # Errors
    /// A target other than `S` and `P`, or a body that is not exactly one name after it.
    pub fn read(body: &'a [u8]) -> Result<Self, WireError> {
        let (target, name) = target_and_name(body, "CLOSE")?;
        Ok(Self { target, name })
    }
}

fn target_and_name<'a>(
    body: &'a [u8],
    message: &'static str,
) -> Result<(Target, &'a [u8]), WireError> {
    let mut cursor = Cursor::new(body);
    let subtype = cursor.u8()?;
    let name = cursor.cstr()?;
    cursor.finish()?;
    match subtype {
        b'S' => Ok((Target::Statement, name)),
        b'P' => Ok((Target::Portal, name)),
        _ => Err(WireError::Subtype { message, subtype }),
    }
}

/// Execute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execute<'a> {
    pub portal: &'a [u8],
    /// Zero or less is no limit.
    pub max_rows: i32,
}

impl<'a> Execute<'a> {
    /// # Errors
    /// A body that is not exactly a name and a number.
    pub fn read(body: &'a [u8]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(body);
        let portal = cursor.cstr()?;
        let max_rows = cursor.i32()?;
        cursor.finish()?;
        Ok(Self { portal, max_rows })
    }
}

/// The password of a PasswordMessage. Never to be printed.
///
/// # Errors
/// A body that is not exactly one string.
pub fn read_password(body: &[u8]) -> Result<&[u8], WireError> {
    Query::read(body).map(|message| message.sql)
}

/// SASLInitialResponse.
pub struct SaslInitial<'a> {
    pub mechanism: &'a [u8],
    /// `None` if the client sent no first message with its choice.
    pub data: Option<&'a [u8]>,
}

impl<'a> SaslInitial<'a> {
    /// # Errors
    /// A body that is too short for its length, or too long.
    pub fn read(body: &'a [u8]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(body);
        let mechanism = cursor.cstr()?;
        let data = cursor.value()?;
        cursor.finish()?;
        Ok(Self { mechanism, data })
    }
}

/// The messages without a body (Sync, Flush, Terminate, CopyDone) must have none.
///
/// # Errors
/// A body.
pub fn read_empty(body: &[u8]) -> Result<(), WireError> {
    Cursor::new(body).finish()
}

#[cfg(test)]
mod tests;
