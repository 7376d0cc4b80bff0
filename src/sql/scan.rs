//! One pass over a text: its statements, its shape, its hints, and whether a constant in it may mean the clock.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::ShapeId;
use super::hints::{Comments, Hints};
use super::lexer::{Lexer, Token, TokenKind};
use super::literal::clock_constant;
use super::shape::ShapeHasher;

/// What [`scan`] finds in a text.
#[derive(Debug)]
pub struct Scan<'a> {
    /// The statements, without the comments and white space around them; empty ones are left out.
    pub statements: SmallVec<[&'a str; 1]>,
    /// The text without sqlcommenter's and our own comments.
    pub key_text: Cow<'a, str>,
    /// The fingerprint of the whole text.
    pub shape: ShapeId,
    /// A string constant may be read from the clock (see [`super::clock_text`]).
    pub clock_literal: bool,
    pub hints: Hints,
    /// Quotes, comments and parentheses are closed and every byte belongs to a token. When false the server will most
    /// probably refuse the text, and nothing else in here is to be relied on.
    pub well_formed: bool,
}

/// Scans `sql` by PostgreSQL's lexical rules in O(n). `standard_conforming_strings` is the session's setting.
pub fn scan(sql: &str, standard_conforming_strings: bool) -> Scan<'_> {
    let mut lexer = Lexer::new(sql, standard_conforming_strings);
    let mut comments = Comments::default();
    let mut shape = ShapeHasher::new();
    let mut splitter = Splitter::new(sql);
    let mut clock_literal = false;
    let mut unicode_text = false;
    for token in lexer.by_ref() {
        if token.kind == TokenKind::Comment {
            comments.comment(sql, token);
            continue;
        }
        comments.token(sql, token);
        if splitter.token(token) {
            shape.token(sql, token);
        } else {
            shape.statement_end();
        }
        match token.kind {
            TokenKind::Text(quoting) => {
                clock_literal |= clock_constant(&sql[token.start..token.end], quoting);
                unicode_text |= quoting == super::lexer::Quoting::Unicode;
            }
            // With an escape character of its own the constant may spell anything.
            TokenKind::Word if unicode_text => {
                clock_literal |= sql[token.start..token.end].eq_ignore_ascii_case("uescape")
            }
            _ => {}
        }
    }
    let well_formed = lexer.well_formed && splitter.balanced();
    let (hints, key_text) = comments.finish(sql);
    Scan {
        statements: splitter.finish(),
        key_text,
        shape: shape.finish(well_formed),
        clock_literal,
        hints,
        well_formed,
    }
}

/// How far the leading words of a statement go with `CREATE [OR REPLACE] {FUNCTION | PROCEDURE}`.
#[derive(Clone, Copy, PartialEq)]
enum Lead {
    Start,
    Create,
    CreateOr,
    Routine,
    Other,
}

/// Cuts at each `;` that ends a statement: neither inside parentheses (CREATE RULE … DO (a; b); elsewhere it is an error)
/// nor inside the BEGIN ATOMIC … END of a function.
struct Splitter<'a> {
    text: &'a str,
    statements: SmallVec<[&'a str; 1]>,
    start: Option<usize>,
    end: usize,
    parentheses: usize,
    overclosed: bool,
    lead: Lead,
    /// BEGIN ATOMIC and the CASEs in it that await their END.
    blocks: usize,
    previous: Previous,
}

#[derive(Clone, Copy, PartialEq)]
enum Previous {
    Begin,
    /// `AS` or `.`: what follows is a name, whatever it looks like.
    Naming,
    Other,
}

impl<'a> Splitter<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            statements: SmallVec::new(),
            start: None,
            end: 0,
            parentheses: 0,
            overclosed: false,
            lead: Lead::Start,
            blocks: 0,
            previous: Previous::Other,
        }
    }

    /// False if the token is a `;` that ends a statement.
    fn token(&mut self, token: Token) -> bool {
        match token.kind {
            TokenKind::Symbol(b';') if self.parentheses == 0 && self.blocks == 0 => {
                self.cut();
                return false;
            }
            TokenKind::Symbol(b'(') => self.parentheses += 1,
            TokenKind::Symbol(b')') => match self.parentheses.checked_sub(1) {
                Some(depth) => self.parentheses = depth,
                None => self.overclosed = true,
            },
            _ => {}
        }
        self.start.get_or_insert(token.start);
        self.end = token.end;
        match self.lead {
            Lead::Other => {}
            Lead::Routine => self.routine(token),
            _ => self.lead(token),
        }
        true
    }

    fn is(&self, token: Token, word: &str) -> bool {
        token.kind == TokenKind::Word
            && self.text[token.start..token.end].eq_ignore_ascii_case(word)
    }

    fn lead(&mut self, token: Token) {
        self.lead = match self.lead {
            Lead::Start if self.is(token, "create") => Lead::Create,
            Lead::Create if self.is(token, "or") => Lead::CreateOr,
            Lead::CreateOr if self.is(token, "replace") => Lead::Create,
            Lead::Create if self.is(token, "function") || self.is(token, "procedure") => {
                Lead::Routine
            }
            _ => Lead::Other,
        };
    }

    fn routine(&mut self, token: Token) {
        let previous = std::mem::replace(&mut self.previous, Previous::Other);
        if self.is(token, "begin") {
            self.previous = Previous::Begin;
        } else if self.is(token, "as") || token.kind == TokenKind::Symbol(b'.') {
            self.previous = Previous::Naming;
        } else if self.is(token, "atomic") && previous == Previous::Begin && self.blocks == 0 {
            self.blocks = 1;
        } else if self.blocks > 0 && previous != Previous::Naming {
            if self.is(token, "case") {
                self.blocks += 1;
            } else if self.is(token, "end") {
                self.blocks -= 1;
            }
        }
    }

    fn cut(&mut self) {
        if let Some(start) = self.start.take() {
            self.statements.push(&self.text[start..self.end]);
        }
        self.lead = Lead::Start;
        self.previous = Previous::Other;
    }

    fn balanced(&self) -> bool {
        self.parentheses == 0 && !self.overclosed && self.blocks == 0
    }

    fn finish(mut self) -> SmallVec<[&'a str; 1]> {
        self.cut();
        self.statements
    }
}
