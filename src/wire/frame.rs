//! Whole messages: one byte of tag, four of length, a body.

use bytes::{Bytes, BytesMut};

use super::error::WireError;

/// Bytes of a tag and a length.
pub const HEADER_LEN: usize = 5;

/// What the first five bytes of a message say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    pub tag: u8,
    /// Bytes of the whole message: the tag and what its length field counts.
    pub frame_len: usize,
}

/// Reads the header at the beginning of `buf`; `None` if fewer than five bytes are there.
///
/// # Errors
/// A length field below 4 or beyond 2^31 - 1: the stream cannot be read on.
pub fn frame_header(buf: &[u8]) -> Result<Option<FrameHeader>, WireError> {
    let Some(&[tag, a, b, c, d]) = buf.first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    let len = i32::from_be_bytes([a, b, c, d]);
    match usize::try_from(len) {
        Ok(len) if len >= 4 => Ok(Some(FrameHeader {
            tag,
            frame_len: len + 1,
        })),
        _ => Err(WireError::MessageLength),
    }
}

/// One whole message.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// Never shorter than a header; its length field counts exactly these bytes.
    bytes: Bytes,
}

impl Frame {
    pub fn tag(&self) -> u8 {
        self.bytes[0]
    }

    pub fn body(&self) -> &[u8] {
        &self.bytes[HEADER_LEN..]
    }

    /// Tag, length and body.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Bytes of the whole message, never fewer than five.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// Prints no content, which may be a password or a row.
impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frame")
            .field("tag", &char::from(self.tag()))
            .field("len", &self.len())
            .finish()
    }
}

/// Takes the first message off `buf` without copying it; `None` if it is not whole yet.
///
/// # Errors
/// A length that cannot be, or a message of more than `frame_len_max` bytes,
/// as soon as its header is there.
pub fn take_frame(buf: &mut BytesMut, frame_len_max: usize) -> Result<Option<Frame>, WireError> {
    let Some(FrameHeader { frame_len, .. }) = frame_header(buf)? else {
        return Ok(None);
    };
    if frame_len > frame_len_max {
        return Err(WireError::TooLong {
            len: frame_len,
            limit: frame_len_max,
        });
    }
    if buf.len() < frame_len {
        return Ok(None);
    }
    Ok(Some(Frame {
        bytes: buf.split_to(frame_len).freeze(),
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frame_is_taken_when_whole_and_not_before() {
        let whole = b"Q\0\0\0\x0dselect 1\0Z";
        for end in 0..14 {
            let mut buf = BytesMut::from(&whole[..end]);
            assert_eq!(take_frame(&mut buf, 100), Ok(None));
            assert_eq!(buf.len(), end);
        }
        let mut buf = BytesMut::from(&whole[..]);
        let frame = take_frame(&mut buf, 100).unwrap().unwrap();
        assert_eq!(frame.tag(), b'Q');
        assert_eq!(frame.body(), b"select 1\0");
        assert_eq!(frame.len(), 14);
        assert_eq!(&buf[..], b"Z");
    }

    #[test]
    fn impossible_lengths_are_refused() {
        for len in [0u32, 3, 0x8000_0000, 0xffff_ffff] {
            let mut buf = BytesMut::from(&b"Q"[..]);
            buf.extend_from_slice(&len.to_be_bytes());
            assert_eq!(frame_header(&buf), Err(WireError::MessageLength));
        }
    }

    #[test]
    fn long_frame_is_refused_before_its_body_is_there() {
        let mut buf = BytesMut::from(&b"Q\0\0\x01\0"[..]);
        let error = take_frame(&mut buf, 256).unwrap_err();
        assert_eq!(
            error,
            WireError::TooLong {
                len: 257,
                limit: 256
            }
        );
        assert_eq!(take_frame(&mut buf, 257), Ok(None));
    }

    proptest! {
        #[test]
        fn any_bytes_split_into_frames_that_add_up(bytes in proptest::collection::vec(0u8..6, 0..200)) {
            let mut buf = BytesMut::from(&bytes[..]);
            let mut taken = 0;
            while let Ok(Some(frame)) = take_frame(&mut buf, 1000) {
                prop_assert_eq!(&frame.bytes()[..], &bytes[taken..taken + frame.len()]);
                taken += frame.len();
            }
            prop_assert_eq!(taken + buf.len(), bytes.len());
        }
    }
}
