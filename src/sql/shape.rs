//! The shape of a text: its tokens without literals, comments, white space and the case of unquoted words.

use smallvec::SmallVec;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::ShapeId;
use super::lexer::{Lexer, Quoting, Token, TokenKind};

/// At most so many bytes of a shape are put into logs.
const SHAPE_TEXT_BYTES_MAX: usize = 1024;

const BUFFER_BYTES: usize = 1024;

/// Gathers normalised tokens. Short texts, which nearly all are, are hashed in one go.
pub(super) struct ShapeHasher {
    buffer: SmallVec<[u8; BUFFER_BYTES]>,
    overflow: Option<Box<Xxh3>>,
    separator: bool,
}

/// Every token begins with a byte that can stand in no word and no operator, and quoted names carry their length, so that
/// no two sequences of tokens look alike.
mod mark {
    pub const WORD: u8 = 1;
    pub const NAME: u8 = 2;
    pub const UNICODE_NAME: u8 = 3;
    pub const TEXT: u8 = 4;
    pub const NATIONAL_TEXT: u8 = 5;
    pub const BITS: u8 = 6;
    pub const INTEGER: u8 = 7;
    pub const DECIMAL: u8 = 8;
    pub const OTHER: u8 = 14;
    pub const SEPARATOR: u8 = 15;
    pub const MALFORMED: u8 = 16;
}

impl ShapeHasher {
    pub fn new() -> Self {
        Self {
            buffer: SmallVec::new(),
            overflow: None,
            separator: false,
        }
    }

    /// Takes one token that is no comment and no top-level `;`.
    pub fn token(&mut self, text: &str, token: Token) {
        if std::mem::take(&mut self.separator) {
            self.buffer.push(mark::SEPARATOR);
        }
        let bytes = &text.as_bytes()[token.start..token.end];
        match token.kind {
            TokenKind::Word => {
                self.buffer.push(mark::WORD);
                let start = self.buffer.len();
                self.buffer.extend_from_slice(bytes);
                self.buffer[start..].make_ascii_lowercase();
            }
            TokenKind::Quoted { unicode } => {
                self.buffer.push(if unicode {
                    mark::UNICODE_NAME
                } else {
                    mark::NAME
                });
                self.buffer.extend_from_slice(&bytes.len().to_le_bytes());
                self.buffer.extend_from_slice(bytes);
            }
            TokenKind::Text(Quoting::Plain { national: true }) => {
                self.buffer.push(mark::NATIONAL_TEXT)
            }
            TokenKind::Text(Quoting::Bits) => self.buffer.push(mark::BITS),
            TokenKind::Text(_) => self.buffer.push(mark::TEXT),
            TokenKind::Integer => self.buffer.push(mark::INTEGER),
            TokenKind::Decimal => self.buffer.push(mark::DECIMAL),
            TokenKind::Parameter
            | TokenKind::Operator
            | TokenKind::Symbol(_)
            | TokenKind::Stray
            | TokenKind::Comment => {
                self.buffer.push(mark::OTHER);
                self.buffer.extend_from_slice(bytes);
            }
        }
        if self.buffer.len() >= BUFFER_BYTES / 2 {
            self.flush();
        }
    }

    /// A `;` between two statements counts, one behind the last does not.
    pub fn statement_end(&mut self) {
        self.separator = !self.buffer.is_empty() || self.overflow.is_some();
    }

    fn flush(&mut self) {
        self.overflow
            .get_or_insert_with(|| Box::new(Xxh3::new()))
            .update(&self.buffer);
        self.buffer.clear();
    }

    pub fn finish(mut self, well_formed: bool) -> ShapeId {
        if !well_formed {
            self.buffer.push(mark::MALFORMED);
        }
        ShapeId(match self.overflow {
            None => xxh3_128(&self.buffer),
            Some(mut hasher) => {
                hasher.update(&self.buffer);
                hasher.digest128()
            }
        })
    }
}

/// The text of a shape for logs and the console: literals as `?`, `$n` kept, comments out, white space folded; at most
/// about a kilobyte.
pub fn shape_text(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len().min(SHAPE_TEXT_BYTES_MAX + 8));
    let mut end = 0;
    for token in Lexer::new(sql, true) {
        if token.kind == TokenKind::Comment {
            continue;
        }
        if token.start > end && !out.is_empty() {
            out.push(' ');
        }
        end = token.end;
        let text = &sql[token.start..token.end];
        match token.kind {
            TokenKind::Text(_) | TokenKind::Integer | TokenKind::Decimal => out.push('?'),
            TokenKind::Word => {
                out.extend(text.chars().map(|character| character.to_ascii_lowercase()))
            }
            // A name may hold anything, and a log line must stay one line.
            TokenKind::Quoted { .. } => out.extend(text.chars().map(|character| {
                if character.is_control() {
                    ' '
                } else {
                    character
                }
            })),
            TokenKind::Stray => out.push('�'),
            TokenKind::Parameter
            | TokenKind::Operator
            | TokenKind::Symbol(_)
            | TokenKind::Comment => out.push_str(text),
        }
        if out.len() > SHAPE_TEXT_BYTES_MAX {
            let cut = (0..=SHAPE_TEXT_BYTES_MAX)
                .rev()
                .find(|&cut| out.is_char_boundary(cut))
                .unwrap_or(0);
            out.truncate(cut);
            out.push('…');
            break;
        }
    }
    out.trim_end_matches([';', ' ']).to_owned()
}
