//! PostgreSQL's lexical rules (`src/backend/parser/scan.l`), and nothing of its grammar.
//!
//! Every byte is looked at a bounded number of times, whatever the input; nothing is copied. Rules that differ between
//! server versions are read in the way that tells more texts apart (`1_000`, `0x1F` and `1a` are a number and a word).

use memchr::{memchr, memchr2};

/// How a string constant is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quoting {
    /// `'…'`, and `N'…'`.
    Plain { national: bool },
    /// `E'…'`, or `'…'` when standard_conforming_strings is off.
    Escape,
    /// `U&'…'`
    Unicode,
    /// `B'…'` and `X'…'`
    Bits,
    /// `$tag$…$tag$`
    Dollar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// An unquoted identifier or key word.
    Word,
    /// `"…"`; `unicode` is `U&"…"`.
    Quoted {
        unicode: bool,
    },
    Text(Quoting),
    Integer,
    /// A number with a point or an exponent.
    Decimal,
    /// `$1`
    Parameter,
    /// `( ) [ ] , . ;`
    Symbol(u8),
    /// A run of operator characters, and `::`, `:=`, `:`, `..`.
    Operator,
    Comment,
    /// A byte that no token begins with.
    Stray,
}

/// A token and its place: `text[start..end]` is all of it, quotes included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub kind: TokenKind,
    pub start: usize,
    pub end: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Space,
    Letter,
    Digit,
    Apostrophe,
    DoubleQuote,
    Dollar,
    Operator,
    Symbol,
    Point,
    Colon,
    Stray,
}

const CLASSES: [Class; 256] = classes();

const fn classes() -> [Class; 256] {
    let mut table = [Class::Stray; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => Class::Space,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..=0xff => Class::Letter,
            b'0'..=b'9' => Class::Digit,
            b'\'' => Class::Apostrophe,
            b'"' => Class::DoubleQuote,
            b'$' => Class::Dollar,
            b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'+' | b'-' | b'*'
            | b'/' | b'%' | b'<' | b'>' | b'=' => Class::Operator,
            b'(' | b')' | b'[' | b']' | b',' | b';' => Class::Symbol,
            b'.' => Class::Point,
            b':' => Class::Colon,
            _ => Class::Stray,
        };
        byte += 1;
    }
    table
}

fn class(byte: u8) -> Class {
    CLASSES[byte as usize]
}

/// What may stand inside an identifier after its first character.
fn continues_word(byte: u8) -> bool {
    matches!(class(byte), Class::Letter | Class::Digit | Class::Dollar)
}

pub(super) struct Lexer<'a> {
    bytes: &'a [u8],
    position: usize,
    standard_strings: bool,
    /// False once a quote or a comment was not closed, or a byte began no token.
    pub well_formed: bool,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str, standard_strings: bool) -> Self {
        Self {
            bytes: text.as_bytes(),
            position: 0,
            standard_strings,
            well_formed: true,
        }
    }

    fn at(&self, position: usize) -> Option<u8> {
        self.bytes.get(position).copied()
    }

    fn word_end(&self, mut position: usize) -> usize {
        while position < self.bytes.len() && continues_word(self.bytes[position]) {
            position += 1;
        }
        position
    }

    /// The end of a quoted thing whose closing quote is missing.
    fn unterminated(&mut self) -> usize {
        self.well_formed = false;
        self.bytes.len()
    }

    /// The end of a string of which `position` is the first byte inside. After a closing quote, white space that holds a
    /// newline and then another quote continue the string.
    fn text_end(&mut self, mut position: usize, backslash: bool) -> usize {
        loop {
            let rest = &self.bytes[position..];
            let found = if backslash {
                memchr2(b'\'', b'\\', rest)
            } else {
                memchr(b'\'', rest)
            };
            let Some(offset) = found else {
                return self.unterminated();
            };
            position += offset;
            if self.bytes[position] == b'\\' {
                position += 2;
                if position > self.bytes.len() {
                    return self.unterminated();
                }
            } else if self.at(position + 1) == Some(b'\'') {
                position += 2;
            } else {
                match continuation(self.bytes, position + 1) {
                    Some(inside) => position = inside,
                    None => return position + 1,
                }
            }
        }
    }

    fn quoted_end(&mut self, mut position: usize) -> usize {
        loop {
            let Some(offset) = memchr(b'"', &self.bytes[position..]) else {
                return self.unterminated();
            };
            position += offset + 1;
            if self.at(position) != Some(b'"') {
                return position;
            }
            position += 1;
        }
    }

    /// `position` is behind the opening `/*`.
    fn comment_end(&mut self, mut position: usize) -> usize {
        let mut depth = 1_usize;
        loop {
            let Some(offset) = memchr2(b'*', b'/', &self.bytes[position..]) else {
                return self.unterminated();
            };
            position += offset;
            match (self.bytes[position], self.at(position + 1)) {
                (b'/', Some(b'*')) => {
                    depth += 1;
                    position += 2;
                }
                (b'*', Some(b'/')) => {
                    depth -= 1;
                    position += 2;
                    if depth == 0 {
                        return position;
                    }
                }
                _ => position += 1,
            }
        }
    }

    fn line_end(&self, position: usize) -> usize {
        memchr2(b'\n', b'\r', &self.bytes[position..])
            .map_or(self.bytes.len(), |offset| position + offset)
    }

    fn digits_end(&self, mut position: usize) -> usize {
        while self.at(position).is_some_and(|byte| byte.is_ascii_digit()) {
            position += 1;
        }
        position
    }

    /// A number that begins with a digit, or with a point and a digit.
    fn number(&self, start: usize) -> (TokenKind, usize) {
        let mut kind = TokenKind::Integer;
        let mut end = self.digits_end(start);
        if self.at(end) == Some(b'.') && self.at(end + 1) != Some(b'.') {
            kind = TokenKind::Decimal;
            end = self.digits_end(end + 1);
        }
        if matches!(self.at(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(self.at(end + 1), Some(b'+' | b'-')));
            let exponent = end + 1 + sign;
            if self.at(exponent).is_some_and(|byte| byte.is_ascii_digit()) {
                return (TokenKind::Decimal, self.digits_end(exponent));
            }
        }
        (kind, end)
    }

    /// A run of operator characters, cut where a comment begins, and without the trailing `+` and `-` that only operators
    /// with one of `~ ! @ # ^ & | ` ? %` may end in.
    fn operator_end(&self, start: usize) -> usize {
        let bytes = self.bytes;
        let mut end = start + 1;
        while end < bytes.len() && class(bytes[end]) == Class::Operator {
            if matches!(
                (bytes[end], self.at(end + 1)),
                (b'-', Some(b'-')) | (b'/', Some(b'*'))
            ) {
                break;
            }
            end += 1;
        }
        let special = |byte: &u8| {
            matches!(
                byte,
                b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'%'
            )
        };
        if end - start > 1
            && matches!(bytes[end - 1], b'+' | b'-')
            && !bytes[start..end].iter().any(special)
        {
            while end - start > 1 && matches!(bytes[end - 1], b'+' | b'-') {
                end -= 1;
            }
        }
        end
    }

    /// `$1`, `$$…$$`, `$tag$…$tag$` or a stray `$`.
    fn dollar(&mut self, start: usize) -> (TokenKind, usize) {
        let mut position = start + 1;
        if self.at(position).is_some_and(|byte| byte.is_ascii_digit()) {
            return (TokenKind::Parameter, self.digits_end(position));
        }
        while self
            .at(position)
            .is_some_and(|byte| matches!(class(byte), Class::Letter | Class::Digit))
        {
            position += 1;
        }
        if self.at(position) != Some(b'$') {
            self.well_formed = false;
            return (TokenKind::Stray, start + 1);
        }
        position += 1;
        let delimiter = &self.bytes[start..position];
        // Candidates are found by their `$`, and a candidate that fails is left at its second `$`, which may open the next.
        loop {
            let Some(offset) = memchr(b'$', &self.bytes[position..]) else {
                return (TokenKind::Text(Quoting::Dollar), self.unterminated());
            };
            position += offset;
            let rest = &self.bytes[position..];
            if rest.starts_with(delimiter) {
                return (TokenKind::Text(Quoting::Dollar), position + delimiter.len());
            }
            let agreed = rest
                .iter()
                .zip(delimiter)
                .take_while(|(a, b)| a == b)
                .count();
            position += agreed.max(1);
        }
    }

    fn word(&mut self, start: usize) -> (TokenKind, usize) {
        match (self.bytes[start], self.at(start + 1), self.at(start + 2)) {
            (b'e' | b'E', Some(b'\''), _) => (
                TokenKind::Text(Quoting::Escape),
                self.text_end(start + 2, true),
            ),
            (b'b' | b'B' | b'x' | b'X', Some(b'\''), _) => (
                TokenKind::Text(Quoting::Bits),
                self.text_end(start + 2, false),
            ),
            (b'n' | b'N', Some(b'\''), _) => (
                TokenKind::Text(Quoting::Plain { national: true }),
                self.text_end(start + 2, !self.standard_strings),
            ),
            (b'u' | b'U', Some(b'&'), Some(b'\'')) => (
                TokenKind::Text(Quoting::Unicode),
                self.text_end(start + 3, false),
            ),
            (b'u' | b'U', Some(b'&'), Some(b'"')) => (
                TokenKind::Quoted { unicode: true },
                self.quoted_end(start + 3),
            ),
            _ => (TokenKind::Word, self.word_end(start + 1)),
        }
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        while self.position < self.bytes.len() && class(self.bytes[self.position]) == Class::Space {
            self.position += 1;
        }
        let start = self.position;
        let first = self.at(start)?;
        let (kind, end) = match class(first) {
            Class::Letter => self.word(start),
            Class::Digit => self.number(start),
            Class::Symbol => (TokenKind::Symbol(first), start + 1),
            Class::Apostrophe if self.standard_strings => (
                TokenKind::Text(Quoting::Plain { national: false }),
                self.text_end(start + 1, false),
            ),
            Class::Apostrophe => (
                TokenKind::Text(Quoting::Escape),
                self.text_end(start + 1, true),
            ),
            Class::DoubleQuote => (
                TokenKind::Quoted { unicode: false },
                self.quoted_end(start + 1),
            ),
            Class::Dollar => self.dollar(start),
            Class::Operator => match (first, self.at(start + 1)) {
                (b'-', Some(b'-')) => (TokenKind::Comment, self.line_end(start)),
                (b'/', Some(b'*')) => (TokenKind::Comment, self.comment_end(start + 2)),
                _ => (TokenKind::Operator, self.operator_end(start)),
            },
            Class::Point => match self.at(start + 1) {
                Some(b'0'..=b'9') => self.number(start),
                Some(b'.') => (TokenKind::Operator, start + 2),
                _ => (TokenKind::Symbol(b'.'), start + 1),
            },
            Class::Colon => match self.at(start + 1) {
                Some(b':' | b'=') => (TokenKind::Operator, start + 2),
                _ => (TokenKind::Operator, start + 1),
            },
            // The lexer must not stop inside a character, and every byte of one that is not ASCII is a letter.
            Class::Stray | Class::Space => {
                self.well_formed = false;
                (TokenKind::Stray, start + 1)
            }
        };
        self.position = end;
        Some(Token { kind, start, end })
    }
}

/// The first byte inside the next piece of a string constant that was closed before `position`.
pub(super) fn continuation(bytes: &[u8], mut position: usize) -> Option<usize> {
    let mut newline = false;
    loop {
        match *bytes.get(position)? {
            b'\n' | b'\r' => newline = true,
            b' ' | b'\t' | 0x0b | 0x0c => {}
            b'-' if bytes.get(position + 1) == Some(&b'-') => {
                position += memchr2(b'\n', b'\r', &bytes[position..])?;
                continue;
            }
            b'\'' if newline => return Some(position + 1),
            _ => return None,
        }
        position += 1;
    }
}

/// An identifier as PostgreSQL keeps it: ASCII letters in lower case, at most 63 bytes of whole characters.
pub(super) fn fold(word: &str) -> String {
    let mut name = word.to_ascii_lowercase();
    clip(&mut name);
    name
}

/// Whether every server folds the word as we do: in a database of a single-byte encoding capitals beyond ASCII are folded
/// too, by its locale.
pub(super) fn folds_alike(word: &str) -> bool {
    word.is_ascii()
        || !word
            .chars()
            .any(|character| !character.is_ascii() && character.is_uppercase())
}

/// The name in a `"…"` token.
pub(super) fn unquote(token: &str) -> String {
    let inside = token
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(token);
    let mut name = inside.replace("\"\"", "\"");
    clip(&mut name);
    name
}

fn clip(name: &mut String) {
    const NAME_BYTES_MAX: usize = 63;
    if name.len() > NAME_BYTES_MAX {
        let end = (0..=NAME_BYTES_MAX)
            .rev()
            .find(|&end| name.is_char_boundary(end))
            .unwrap_or(0);
        name.truncate(end);
    }
}
