//! The fields of ErrorResponse and NoticeResponse.

use super::super::cursor::Cursor;
use super::super::error::WireError;
use super::super::sqlstate::SqlState;

/// A view of an error's or notice's fields, each a letter and a text.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    /// Checked by `read`: letters and strings up to a final zero.
    body: &'a [u8],
}

impl<'a> Fields<'a> {
    /// # Errors
    /// A body that is not a list of fields with its end as the last byte.
    pub fn read(body: &'a [u8]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(body);
        while cursor.u8()? != 0 {
            cursor.cstr()?;
        }
        cursor.finish()?;
        Ok(Self { body })
    }

    /// The first field with this letter: `C` is the SQLSTATE, `M` the message.
    pub fn get(&self, code: u8) -> Option<&'a [u8]> {
        self.iter()
            .find(|(letter, _)| *letter == code)
            .map(|(_, text)| text)
    }

    /// Letters and texts, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let mut cursor = Cursor::new(self.body);
        std::iter::from_fn(move || match cursor.u8() {
            Ok(0) | Err(_) => None,
            Ok(letter) => Some((letter, cursor.cstr().ok()?)),
        })
    }

    /// The SQLSTATE; `XX000` if there is none.
    pub fn code(&self) -> SqlState {
        self.get(b'C')
            .and_then(SqlState::from_bytes)
            .unwrap_or(SqlState::INTERNAL_ERROR)
    }
}
