//! Reading SCRAM's messages: attributes such as `r=nonce`, with commas between.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::keys::KEY_LEN;
use crate::auth::error::AuthError;

/// The message as text. A NUL would be the message's end for PostgreSQL.
pub(super) fn text(message: &[u8]) -> Result<&str, AuthError> {
    if message.is_empty() {
        return Err(AuthError::Malformed("The message is empty."));
    }
    if message.contains(&0) {
        return Err(AuthError::Malformed(
            "Message length does not match input length.",
        ));
    }
    std::str::from_utf8(message).map_err(|_| AuthError::Malformed("The message is not UTF-8."))
}

/// Takes the attribute `name` off the beginning of `rest`, with the comma after it.
pub(super) fn attribute<'a>(rest: &mut &'a str, name: char) -> Result<&'a str, AuthError> {
    let value = rest
        .strip_prefix(name)
        .and_then(|rest| rest.strip_prefix('='))
        .ok_or(AuthError::Malformed(
            "An attribute is missing or out of order.",
        ))?;
    let (value, after) = value.split_once(',').unwrap_or((value, ""));
    *rest = after;
    Ok(value)
}

/// The rest of a message may only be extensions, which are ignored.
pub(super) fn extensions(rest: &str) -> Result<(), AuthError> {
    if rest.is_empty() {
        return Ok(());
    }
    for extension in rest.split(',') {
        match extension.as_bytes() {
            [name, b'=', ..] if name.is_ascii_alphabetic() => (),
            _ => return Err(AuthError::Malformed("An attribute has no name.")),
        }
    }
    Ok(())
}

/// A nonce is of printable characters.
pub(super) fn nonce(value: &str) -> Result<&str, AuthError> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(value)
    } else {
        Err(AuthError::Malformed(
            "There are non-printable characters in the SCRAM nonce.",
        ))
    }
}

/// A proof or a signature.
pub(super) fn key(value: &str) -> Option<[u8; KEY_LEN]> {
    STANDARD.decode(value).ok()?.try_into().ok()
}

pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
