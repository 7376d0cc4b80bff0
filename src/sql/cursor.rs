//! Tokens one after another, as far as somebody asks for them; comments are passed over.

use std::collections::VecDeque;

use super::lexer::{Lexer, Token, TokenKind, fold, folds_alike, unquote};
use super::literal::decode;

pub(super) struct Cursor<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    ahead: VecDeque<Token>,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            lexer: Lexer::new(text, true),
            ahead: VecDeque::new(),
        }
    }

    /// The token `distance` behind the next one.
    pub fn peek(&mut self, distance: usize) -> Option<Token> {
        while self.ahead.len() <= distance {
            let token = self
                .lexer
                .by_ref()
                .find(|token| token.kind != TokenKind::Comment)?;
            self.ahead.push_back(token);
        }
        self.ahead.get(distance).copied()
    }

    pub fn next(&mut self) -> Option<Token> {
        self.peek(0)?;
        self.ahead.pop_front()
    }

    /// Nothing is left but white space, comments and `;`.
    pub fn at_end(&mut self) -> bool {
        while self.symbol(b';') {}
        self.peek(0).is_none()
    }

    /// The byte at which the next token begins.
    pub fn position(&mut self) -> usize {
        self.peek(0).map_or(self.text.len(), |token| token.start)
    }

    pub fn text(&self, token: Token) -> &'a str {
        &self.text[token.start..token.end]
    }

    /// Whether the token at `distance` is the unquoted `word`.
    pub fn is(&mut self, distance: usize, word: &str) -> bool {
        self.peek(distance).is_some_and(|token| {
            token.kind == TokenKind::Word && self.text(token).eq_ignore_ascii_case(word)
        })
    }

    pub fn is_symbol(&mut self, distance: usize, symbol: u8) -> bool {
        self.peek(distance)
            .is_some_and(|token| token.kind == TokenKind::Symbol(symbol))
    }

    /// Steps over `word` if it is next.
    pub fn word(&mut self, word: &str) -> bool {
        let found = self.is(0, word);
        if found {
            self.ahead.pop_front();
        }
        found
    }

    pub fn any(&mut self, words: &[&str]) -> bool {
        words.iter().any(|word| self.word(word))
    }

    /// Steps over all of `words` or none.
    pub fn words(&mut self, words: &[&str]) -> bool {
        let found = words
            .iter()
            .enumerate()
            .all(|(distance, word)| self.is(distance, word));
        if found {
            self.ahead.drain(..words.len());
        }
        found
    }

    pub fn symbol(&mut self, symbol: u8) -> bool {
        let found = self.is_symbol(0, symbol);
        if found {
            self.ahead.pop_front();
        }
        found
    }

    pub fn operator(&mut self, operator: &str) -> bool {
        let found = self
            .peek(0)
            .is_some_and(|token| token.kind == TokenKind::Operator && self.text(token) == operator);
        if found {
            self.ahead.pop_front();
        }
        found
    }

    /// An identifier, folded. `U&"…"` is none: its escapes are not read.
    pub fn name(&mut self) -> Option<String> {
        let token = self.peek(0)?;
        let name = match token.kind {
            TokenKind::Word if folds_alike(self.text(token)) => fold(self.text(token)),
            TokenKind::Quoted { unicode: false } => unquote(self.text(token)),
            _ => return None,
        };
        self.ahead.pop_front();
        Some(name)
    }

    /// A string constant, decoded.
    pub fn constant(&mut self) -> Option<String> {
        let token = self.peek(0)?;
        let TokenKind::Text(quoting) = token.kind else {
            return None;
        };
        let value = decode(self.text(token), quoting).into_owned();
        self.ahead.pop_front();
        Some(value)
    }

    /// `a`, `a.b`, `a.b.c`: the parts.
    pub fn qualified_name(&mut self) -> Option<Vec<String>> {
        let mut parts = vec![self.name()?];
        while self.symbol(b'.') {
            parts.push(self.name()?);
        }
        Some(parts)
    }

    /// Steps over `( … )`; false if it does not begin here or does not end.
    pub fn parenthesised(&mut self) -> bool {
        if !self.symbol(b'(') {
            return false;
        }
        let mut depth = 1_usize;
        while let Some(token) = self.next() {
            match token.kind {
                TokenKind::Symbol(b'(') => depth += 1,
                TokenKind::Symbol(b')') => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return true;
            }
        }
        false
    }
}
