//! The values of a statement's constants, found by the places at which [`super::Constant`] says that they stand.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::lexer::{Lexer, Quoting, Token, TokenKind};
use super::literal::decode_exactly;

/// One constant as it stands in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Literal<'a> {
    /// What a string constant means.
    Text(Cow<'a, str>),
    /// The digits of an integer, without sign.
    Integer(&'a str),
}

/// The constants of one statement.
#[derive(Debug)]
pub struct Literals<'a> {
    text: &'a str,
    tokens: SmallVec<[(usize, Token); 16]>,
}

impl<'a> Literals<'a> {
    /// Of a string of one statement, read with standard_conforming_strings on.
    pub fn of(text: &'a str) -> Self {
        let mut place = 0;
        let mut tokens = SmallVec::new();
        for token in Lexer::new(text, true) {
            match token.kind {
                TokenKind::Comment => continue,
                // Empty statements in front.
                TokenKind::Symbol(b';') if place == 0 => continue,
                TokenKind::Text(_) | TokenKind::Integer => tokens.push((place, token)),
                _ => {}
            }
            place += 1;
        }
        Self { text, tokens }
    }

    /// The constant that is the token `place`; `None` if there is no string or integer, or if what it means is not
    /// certain.
    pub fn get(&self, place: usize) -> Option<Literal<'a>> {
        let at = self
            .tokens
            .binary_search_by_key(&place, |(place, _)| *place)
            .ok()?;
        let token = self.tokens[at].1;
        let text = &self.text[token.start..token.end];
        match token.kind {
            TokenKind::Integer => Some(Literal::Integer(text)),
            TokenKind::Text(Quoting::Bits | Quoting::Plain { national: true }) => None,
            TokenKind::Text(quoting) => decode_exactly(text, quoting).map(Literal::Text),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Option<Literal<'_>> {
        Some(Literal::Text(value.into()))
    }

    #[test]
    fn constants_are_found_by_their_place_among_the_tokens() {
        let literals = Literals::of("; -- no token\nSELECT /* 'a' */ 7, 'it''s', $$x$$, 1.5;");
        assert_eq!(literals.get(1), Some(Literal::Integer("7")));
        assert_eq!(literals.get(3), text("it's"));
        assert_eq!(literals.get(5), text("x"));
        for none in [0, 2, 7, 8, 99] {
            assert_eq!(literals.get(none), None, "{none}");
        }
    }

    #[test]
    fn only_what_is_certain_is_decoded() {
        for (sql, value) in [
            (r"E'\x41\102\t'", Some("AB\t")),
            (r"E'\xc3\xa4'", Some("ä")),
            (r"U&'d\0061t\+000061'", Some("data")),
            ("'a'\n 'b'", Some("ab")),
            ("$q$it's$q$", Some("it's")),
            (r"E'\xff'", None),
            (r"E'\ud83d\ude00'", None),
            (r"U&'\d83d\de00'", None),
            (r"E'\U0011ffff'", None),
            (r"E'a\000b'", None),
            ("N'a'", None),
            ("B'1'", None),
        ] {
            let literals = Literals::of(sql);
            assert_eq!(literals.get(0), value.and_then(text), "{sql}");
        }
    }
}
