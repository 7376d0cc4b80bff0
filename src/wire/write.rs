//! Building frames.

use bytes::{BufMut, BytesMut};

/// Appends one message with `tag`; `body` writes what follows the length.
pub(super) fn message(out: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    untagged(out, body);
}

/// The same for packets that have no tag: those that open a connection.
pub(super) fn untagged(out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    body(out);
    // Bodies are bounded far below this by `max_message_size`.
    let len = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

/// Appends a string and its NUL. A string that holds a NUL ends there, as it
/// would for C: otherwise its rest would be read as the next field.
pub(super) fn cstr(out: &mut BytesMut, text: &[u8]) {
    let end = memchr::memchr(0, text).unwrap_or(text.len());
    out.put_slice(&text[..end]);
    out.put_u8(0);
}

/// As many elements as a count of 16 bits can name.
pub(super) fn countable<T>(elements: &[T]) -> &[T] {
    &elements[..elements.len().min(usize::from(u16::MAX))]
}

/// Appends the count of `elements`, which [`countable`] has bounded.
pub(super) fn count<T>(out: &mut BytesMut, elements: &[T]) {
    out.put_u16(u16::try_from(elements.len()).unwrap_or(u16::MAX));
}

/// Appends a value and the length before it; NULL is -1.
pub(super) fn value(out: &mut BytesMut, value: Option<&[u8]>) {
    match value {
        None => out.put_i32(-1),
        Some(bytes) => {
            out.put_i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
            out.put_slice(bytes);
        }
    }
}
