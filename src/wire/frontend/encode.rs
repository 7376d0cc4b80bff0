//! Each function appends one whole message to `out`.

use bytes::{BufMut, BytesMut};

use super::super::startup::{CANCEL_CODE, SSL_CODE};
use super::super::tag::frontend as tag;
use super::super::write::{count, countable, cstr, message, untagged, value};
use super::Target;

/// Query.
pub fn query(out: &mut BytesMut, sql: &[u8]) {
    message(out, tag::QUERY, |out| cstr(out, sql));
}

/// Parse.
pub fn parse(out: &mut BytesMut, name: &[u8], sql: &[u8], types: &[u32]) {
    message(out, tag::PARSE, |out| {
        cstr(out, name);
        cstr(out, sql);
        let types = countable(types);
        count(out, types);
        types.iter().for_each(|&oid| out.put_u32(oid));
    });
}

/// Bind, with everything after the two names as [`super::Bind::tail`] holds it.
pub fn bind_raw(out: &mut BytesMut, portal: &[u8], statement: &[u8], tail: &[u8]) {
    message(out, tag::BIND, |out| {
        cstr(out, portal);
        cstr(out, statement);
        out.put_slice(tail);
    });
}

/// Describe.
pub fn describe(out: &mut BytesMut, target: Target, name: &[u8]) {
    message(out, tag::DESCRIBE, |out| {
        out.put_u8(target.as_byte());
        cstr(out, name);
    });
}

/// Close.
pub fn close(out: &mut BytesMut, target: Target, name: &[u8]) {
    message(out, tag::CLOSE, |out| {
        out.put_u8(target.as_byte());
        cstr(out, name);
    });
}

/// Execute; zero rows is no limit.
pub fn execute(out: &mut BytesMut, portal: &[u8], max_rows: i32) {
    message(out, tag::EXECUTE, |out| {
        cstr(out, portal);
        out.put_i32(max_rows);
    });
}

/// Sync.
pub fn sync(out: &mut BytesMut) {
    message(out, tag::SYNC, |_| ());
}

/// Flush.
pub fn flush(out: &mut BytesMut) {
    message(out, tag::FLUSH, |_| ());
}

/// Terminate.
pub fn terminate(out: &mut BytesMut) {
    message(out, tag::TERMINATE, |_| ());
}

/// PasswordMessage: a password in clear, or the answer to an md5 salt.
pub fn password(out: &mut BytesMut, text: &[u8]) {
    message(out, tag::PASSWORD, |out| cstr(out, text));
}

/// SASLInitialResponse.
pub fn sasl_initial(out: &mut BytesMut, mechanism: &str, data: &[u8]) {
    message(out, tag::PASSWORD, |out| {
        cstr(out, mechanism.as_bytes());
        value(out, Some(data));
    });
}

/// SASLResponse.
pub fn sasl_response(out: &mut BytesMut, data: &[u8]) {
    message(out, tag::PASSWORD, |out| out.put_slice(data));
}

/// StartupMessage of version 3.`minor`.
pub fn startup(out: &mut BytesMut, minor: u16, parameters: &[(&str, &str)]) {
    untagged(out, |out| {
        out.put_u16(3);
        out.put_u16(minor);
        for (name, value) in parameters {
            // An empty name would end the list.
            if !name.is_empty() {
                cstr(out, name.as_bytes());
                cstr(out, value.as_bytes());
            }
        }
        out.put_u8(0);
    });
}

/// SSLRequest.
pub fn ssl_request(out: &mut BytesMut) {
    untagged(out, |out| out.put_u32(SSL_CODE));
}

/// CancelRequest.
pub fn cancel_request(out: &mut BytesMut, pid: u32, key: &[u8]) {
    untagged(out, |out| {
        out.put_u32(CANCEL_CODE);
        out.put_u32(pid);
        out.put_slice(key);
    });
}

/// One statement without parameters under a statement and a portal called `name`, which are gone afterwards. Six messages; the
/// first closes what one that failed may have left.
pub fn run_apart(out: &mut BytesMut, sql: &str, name: &[u8]) {
    const NOTHING_BOUND: &[u8] = &[0; 6];
    close(out, Target::Statement, name);
    parse(out, name, sql.as_bytes(), &[]);
    bind_raw(out, name, name, NOTHING_BOUND);
    execute(out, name, 0);
    close(out, Target::Portal, name);
    close(out, Target::Statement, name);
}
