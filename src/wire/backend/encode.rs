//! Each function appends one whole message to `out`.
//!
//! The rare ones go through pgwire's message structs; those on the way of
//! every query are written here, without an allocation.

use bytes::{BufMut, Bytes, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::data::{FieldDescription, RowDescription};
use pgwire::messages::response::{ErrorResponse, NoticeResponse};
use pgwire::messages::startup::{
    Authentication, BackendKeyData, NegotiateProtocolVersion, SecretKey,
};

use super::super::report::ErrorReport;
use super::super::status::TransactionStatus;
use super::super::tag::backend as tag;
use super::super::write::{count, countable, cstr, message, value};

/// Appends a message of pgwire's. It writes the tag before it checks the size;
/// what it refuses must leave nothing behind.
fn append(out: &mut BytesMut, message: &impl Message) {
    let start = out.len();
    if message.encode(out).is_err() {
        debug_assert!(false, "a message of our own beyond pgwire's limits");
        out.truncate(start);
    }
}

/// AuthenticationOk.
pub fn authentication_ok(out: &mut BytesMut) {
    append(out, &Authentication::Ok);
}

/// AuthenticationCleartextPassword.
pub fn authentication_cleartext(out: &mut BytesMut) {
    append(out, &Authentication::CleartextPassword);
}

/// AuthenticationMD5Password.
pub fn authentication_md5(out: &mut BytesMut, salt: [u8; 4]) {
    append(out, &Authentication::MD5Password(salt.to_vec()));
}

/// AuthenticationSASL, with the mechanisms in order of preference.
pub fn authentication_sasl(out: &mut BytesMut, mechanisms: &[&str]) {
    let mechanisms = mechanisms.iter().map(|&name| name.to_owned()).collect();
    append(out, &Authentication::SASL(mechanisms));
}

/// AuthenticationSASLContinue. Not through pgwire, which has a limit on the
/// data: it echoes a nonce whose length the client chose.
pub fn authentication_sasl_continue(out: &mut BytesMut, data: &[u8]) {
    message(out, tag::AUTHENTICATION, |out| {
        out.put_u32(11);
        out.put_slice(data);
    });
}

/// AuthenticationSASLFinal.
pub fn authentication_sasl_final(out: &mut BytesMut, data: &[u8]) {
    message(out, tag::AUTHENTICATION, |out| {
        out.put_u32(12);
        out.put_slice(data);
    });
}

/// ParameterStatus.
pub fn parameter_status_message(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    message(out, tag::PARAMETER_STATUS, |out| {
        cstr(out, name);
        cstr(out, value);
    });
}

/// BackendKeyData. `key` has 4 to 256 bytes, and exactly 4 unless the client
/// speaks 3.2: see [`super::super::cancel_key_len`].
pub fn backend_key_data(out: &mut BytesMut, pid: u32, key: &[u8]) {
    let key = SecretKey::Bytes(Bytes::copy_from_slice(key));
    append(out, &BackendKeyData::new(pid.cast_signed(), key));
}

/// ReadyForQuery.
pub fn ready_for_query(out: &mut BytesMut, status: TransactionStatus) {
    out.put_slice(&[tag::READY_FOR_QUERY, 0, 0, 0, 5, status.as_byte()]);
}

/// NegotiateProtocolVersion: the newest minor version that is spoken here, and
/// the options that were asked for and are not known.
pub fn negotiate_protocol_version(out: &mut BytesMut, newest_minor: u32, unrecognised: &[&str]) {
    // Whatever its name in the manual, PostgreSQL puts the whole version there.
    let version = (3 << 16 | newest_minor).cast_signed();
    let options = unrecognised.iter().map(|&name| name.to_owned()).collect();
    append(out, &NegotiateProtocolVersion::new(version, options));
}

/// ErrorResponse.
pub fn error(out: &mut BytesMut, report: &ErrorReport) {
    append(out, &ErrorResponse::new(fields(report)));
}

/// ErrorResponse as clients of protocol 2 and 1 read it.
pub fn error_before_3(out: &mut BytesMut, report: &ErrorReport) {
    let severity = report.severity.as_str();
    out.put_u8(tag::ERROR);
    out.extend_from_slice(format!("{severity}:  {}\n", text(&report.message)).as_bytes());
    out.put_u8(0);
}

/// NoticeResponse.
pub fn notice(out: &mut BytesMut, report: &ErrorReport) {
    append(out, &NoticeResponse::new(fields(report)));
}

/// NotificationResponse.
pub fn notification(out: &mut BytesMut, pid: u32, channel: &[u8], payload: &[u8]) {
    message(out, tag::NOTIFICATION, |out| {
        out.put_u32(pid);
        cstr(out, channel);
        cstr(out, payload);
    });
}

fn fields(report: &ErrorReport) -> Vec<(u8, String)> {
    let severity = report.severity.as_str();
    let mut fields = vec![
        (b'S', severity.to_owned()),
        (b'V', severity.to_owned()),
        (b'C', report.code.as_str().to_owned()),
        (b'M', text(&report.message)),
    ];
    fields.extend(report.detail.iter().map(|detail| (b'D', text(detail))));
    fields.extend(report.hint.iter().map(|hint| (b'H', text(hint))));
    fields.extend(report.routine.iter().map(|routine| (b'R', text(routine))));
    fields
}

/// A NUL would end the field and make the rest another one.
fn text(text: &str) -> String {
    text.replace('\0', " ")
}

/// ParseComplete.
pub fn parse_complete(out: &mut BytesMut) {
    message(out, tag::PARSE_COMPLETE, |_| ());
}

/// BindComplete.
pub fn bind_complete(out: &mut BytesMut) {
    message(out, tag::BIND_COMPLETE, |_| ());
}

/// CloseComplete.
pub fn close_complete(out: &mut BytesMut) {
    message(out, tag::CLOSE_COMPLETE, |_| ());
}

/// NoData.
pub fn no_data(out: &mut BytesMut) {
    message(out, tag::NO_DATA, |_| ());
}

/// EmptyQueryResponse.
pub fn empty_query(out: &mut BytesMut) {
    message(out, tag::EMPTY_QUERY, |_| ());
}

/// PortalSuspended.
pub fn portal_suspended(out: &mut BytesMut) {
    message(out, tag::PORTAL_SUSPENDED, |_| ());
}

/// CommandComplete.
pub fn command_complete(out: &mut BytesMut, command: &str) {
    message(out, tag::COMMAND_COMPLETE, |out| {
        cstr(out, command.as_bytes());
    });
}

/// One column of a row of our own, in text.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    pub name: &'a str,
    pub type_oid: u32,
    /// As `pg_type.typlen` has it; negative if the length varies.
    pub type_len: i16,
}

/// RowDescription. Use no more than 1600 columns, as PostgreSQL.
pub fn row_description_message(out: &mut BytesMut, columns: &[Column<'_>]) {
    let fields = columns.iter().map(|column| {
        FieldDescription::new(
            text(column.name),
            0,
            0,
            column.type_oid,
            column.type_len,
            -1,
            0,
        )
    });
    append(out, &RowDescription::new(fields.collect()));
}

/// DataRow.
pub fn data_row_message(out: &mut BytesMut, values: &[Option<&[u8]>]) {
    message(out, tag::DATA_ROW, |out| {
        let values = countable(values);
        count(out, values);
        values.iter().for_each(|&bytes| value(out, bytes));
    });
}
