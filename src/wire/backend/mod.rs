//! Messages that come from a server: views of what upstream sent, and
//! encoders for what we answer ourselves.

mod encode;
mod fields;

pub use encode::{
    Column, authentication_cleartext, authentication_md5, authentication_ok, authentication_sasl,
    authentication_sasl_continue, authentication_sasl_final, backend_key_data, bind_complete,
    close_complete, command_complete, data_row_message, empty_query, error, error_before_3,
    negotiate_protocol_version, no_data, notice, notification, parameter_status_message,
    parse_complete, portal_suspended, ready_for_query, row_description_message,
};
pub use fields::Fields;

use smallvec::SmallVec;

use super::cursor::Cursor;
use super::error::WireError;
use super::startup::{CANCEL_KEY_LEN_MAX, CANCEL_KEY_LEN_MIN};
use super::status::TransactionStatus;

/// What an Authentication… message asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication<'a> {
    Ok,
    Cleartext,
    Md5([u8; 4]),
    /// Names of mechanisms, in the server's order of preference.
    Sasl(Vec<&'a [u8]>),
    SaslContinue(&'a [u8]),
    SaslFinal(&'a [u8]),
    /// GSSAPI, SSPI, Kerberos and what is yet to come.
    Other(u32),
}

impl<'a> Authentication<'a> {
    /// # Errors
    /// A body that does not fit the kind that it names.
    pub fn read(body: &'a [u8]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(body);
        let request = match cursor.u32()? {
            0 => Authentication::Ok,
            3 => Authentication::Cleartext,
            5 => Authentication::Md5(cursor.salt()?),
            10 => {
                let mut mechanisms = Vec::new();
                loop {
                    match cursor.cstr()? {
                        [] => break Authentication::Sasl(mechanisms),
                        name => mechanisms.push(name),
                    }
                }
            }
            11 => return Ok(Authentication::SaslContinue(cursor.rest())),
            12 => return Ok(Authentication::SaslFinal(cursor.rest())),
            other => return Ok(Authentication::Other(other)),
        };
        cursor.finish()?;
        Ok(request)
    }
}

/// The tag of CommandComplete, such as `INSERT 0 1`.
///
/// # Errors
/// A body that is not exactly one string.
pub fn command_tag(body: &[u8]) -> Result<&[u8], WireError> {
    let mut cursor = Cursor::new(body);
    let tag = cursor.cstr()?;
    cursor.finish()?;
    Ok(tag)
}

/// The status of ReadyForQuery.
///
/// # Errors
/// A body that is not exactly one known byte.
pub fn ready_status(body: &[u8]) -> Result<TransactionStatus, WireError> {
    let mut cursor = Cursor::new(body);
    let byte = cursor.u8()?;
    cursor.finish()?;
    TransactionStatus::from_byte(byte).ok_or(WireError::TransactionStatus(byte))
}

/// Name and value of ParameterStatus.
///
/// # Errors
/// A body that is not exactly two strings.
pub fn parameter_status(body: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let mut cursor = Cursor::new(body);
    let name = cursor.cstr()?;
    let value = cursor.cstr()?;
    cursor.finish()?;
    Ok((name, value))
}

/// Process id and cancel key of BackendKeyData.
///
/// # Errors
/// A key of fewer than 4 or more than 256 bytes.
pub fn backend_key(body: &[u8]) -> Result<(u32, &[u8]), WireError> {
    let mut cursor = Cursor::new(body);
    let pid = cursor.u32()?;
    let key = cursor.rest();
    if (CANCEL_KEY_LEN_MIN..=CANCEL_KEY_LEN_MAX).contains(&key.len()) {
        Ok((pid, key))
    } else {
        Err(WireError::CancelKeyLength)
    }
}

/// The protocol version that a server settles for, and the options that it does not know.
///
/// # Errors
/// A body that does not hold exactly the strings that it counts.
pub fn negotiated_version(body: &[u8]) -> Result<(u32, Vec<&[u8]>), WireError> {
    let mut cursor = Cursor::new(body);
    let version = cursor.u32()?;
    let count = cursor.u32()?;
    let mut options = Vec::new();
    for _ in 0..count {
        options.push(cursor.cstr()?);
    }
    cursor.finish()?;
    Ok((version, options))
}

/// One column of a RowDescription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnView<'a> {
    pub name: &'a [u8],
    /// Zero if the column is none of a relation's.
    pub table_oid: u32,
    pub column: i16,
    pub type_oid: u32,
    pub type_len: i16,
    pub type_modifier: i32,
    /// 0 is text, 1 is binary.
    pub format: i16,
}

/// The columns of a RowDescription.
///
/// # Errors
/// A body that does not hold exactly the columns that it counts.
pub fn row_description(body: &[u8]) -> Result<Vec<ColumnView<'_>>, WireError> {
    let mut cursor = Cursor::new(body);
    // A name's NUL and 18 bytes of numbers.
    let count = cursor.count(19)?;
    let mut columns = Vec::with_capacity(count);
    for _ in 0..count {
        columns.push(ColumnView {
            name: cursor.cstr()?,
            table_oid: cursor.u32()?,
            column: cursor.i16()?,
            type_oid: cursor.u32()?,
            type_len: cursor.i16()?,
            type_modifier: cursor.i32()?,
            format: cursor.i16()?,
        });
    }
    cursor.finish()?;
    Ok(columns)
}

/// The values of a DataRow; `None` is NULL.
///
/// # Errors
/// A body that does not hold exactly the values that it counts.
pub fn data_row(body: &[u8]) -> Result<SmallVec<[Option<&[u8]>; 8]>, WireError> {
    let mut cursor = Cursor::new(body);
    let count = cursor.count(4)?;
    let mut values = SmallVec::with_capacity(count);
    for _ in 0..count {
        values.push(cursor.value()?);
    }
    cursor.finish()?;
    Ok(values)
}

/// The type OIDs of a ParameterDescription.
///
/// # Errors
/// A body that does not hold exactly the types that it counts.
pub fn parameter_description(body: &[u8]) -> Result<Vec<u32>, WireError> {
    let mut cursor = Cursor::new(body);
    let count = cursor.count(4)?;
    let mut types = Vec::with_capacity(count);
    for _ in 0..count {
        types.push(cursor.u32()?);
    }
    cursor.finish()?;
    Ok(types)
}

#[cfg(test)]
mod tests;
