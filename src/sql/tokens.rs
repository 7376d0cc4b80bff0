//! Our tokens as sqlparser's, with what its grammar gets wrong or does not know put into words that it understands.
//!
//! sqlparser is given tokens and never text, so that PostgreSQL's lexical rules hold. What it is known to misread
//! (`ONLY`, `TABLE`, `INTO`, `FOR NO KEY UPDATE`) never reaches it, and what is counted here must be met again in its
//! tree: a table that is lost in a misreading would be a stale answer.

use sqlparser::tokenizer::{Location, Span, Token as Grammar, TokenWithSpan};

use super::bounds::bounded;
use super::lexer::{Lexer, Quoting, Token, TokenKind, fold, folds_alike, unquote};
use super::literal::decode;
use super::operators::operator;
use super::vocabulary::{names_current_value, names_user, structural};

/// The line that marks the first word of a name behind ONLY.
const ONLY_LINE: u64 = 2;

/// Whether the name that begins at `span` stood behind ONLY.
pub(super) fn is_only(span: Span) -> bool {
    span.start.line == ONLY_LINE
}

/// A statement for the parser, and what must be found again in its tree.
#[derive(Default)]
pub(super) struct Prepared {
    pub tokens: Vec<TokenWithSpan>,
    /// Every identifier: a word that is no part of the grammar.
    pub names: Vec<String>,
    /// SELECT, and TABLE rewritten to it.
    pub selects: usize,
    /// INSERT, UPDATE, DELETE and MERGE where they may begin a statement.
    pub changes: usize,
    /// FOR UPDATE and its like.
    pub locks: bool,
    /// CURRENT_DATE, USER and their like.
    pub current_value: bool,
    /// SELECT … INTO; the target is not among the tokens.
    pub into: bool,
    /// OVERRIDING {SYSTEM | USER} VALUE; it is not among the tokens.
    pub overriding: bool,
    /// The `$n`, each as often as it stands there.
    pub parameters: Vec<usize>,
    /// A word of the grammar stands where it is not understood.
    pub doubtful: bool,
}

/// `None` if the statement cannot or must not be given to the parser.
pub(super) fn prepare(statement: &str) -> Option<Prepared> {
    let mut lexer = Lexer::new(statement, true);
    let raw: Vec<Token> = lexer
        .by_ref()
        .filter(|token| token.kind != TokenKind::Comment)
        .collect();
    if !lexer.well_formed || !bounded(statement, &raw) {
        return None;
    }
    let mut rewriter = Rewriter {
        text: statement,
        raw: &raw,
        position: 0,
        only: false,
        labelled: false,
        closing: None,
        out: Prepared::default(),
    };
    while rewriter.position < raw.len() {
        rewriter.step()?;
    }
    Some(rewriter.out)
}

struct Rewriter<'a> {
    text: &'a str,
    raw: &'a [Token],
    position: usize,
    /// The next word is the name behind ONLY.
    only: bool,
    /// The last token was a word that stood for a name behind AS or a point, whatever it looks like.
    labelled: bool,
    /// The parenthesis of `ONLY (name)` that is to be left out.
    closing: Option<usize>,
    out: Prepared,
}

impl Rewriter<'_> {
    fn text_at(&self, index: usize) -> &str {
        self.raw
            .get(index)
            .map_or("", |token| &self.text[token.start..token.end])
    }

    fn is(&self, index: usize, word: &str) -> bool {
        self.raw
            .get(index)
            .is_some_and(|token| token.kind == TokenKind::Word)
            && self.text_at(index).eq_ignore_ascii_case(word)
    }

    fn is_any(&self, index: usize, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(index, word))
    }

    fn is_symbol(&self, index: usize, symbols: &[u8]) -> bool {
        matches!(self.raw.get(index), Some(Token { kind: TokenKind::Symbol(symbol), .. }) if symbols.contains(symbol))
    }

    fn is_name(&self, index: usize) -> bool {
        matches!(
            self.raw.get(index),
            Some(Token {
                kind: TokenKind::Word | TokenKind::Quoted { .. },
                ..
            })
        )
    }

    /// The index behind `a`, `a.b`, `a.b.c`.
    fn name_end(&self, mut index: usize) -> Option<usize> {
        loop {
            if !self.is_name(index) {
                return None;
            }
            index += 1;
            if !self.is_symbol(index, b".") {
                return Some(index);
            }
            index += 1;
        }
    }

    fn emit(&mut self, token: Grammar) {
        let column = self.position as u64;
        let line = if std::mem::take(&mut self.only) {
            ONLY_LINE
        } else {
            1
        };
        let place = Location::new(line, column);
        self.out
            .tokens
            .push(TokenWithSpan::new(token, Span::new(place, place)));
    }

    fn emit_word(&mut self, word: &str) {
        self.emit(Grammar::make_word(word, None));
    }

    /// Takes one token, or a few that belong together.
    fn step(&mut self) -> Option<()> {
        let index = self.position;
        let token = self.raw[index];
        let text = &self.text[token.start..token.end];
        if self.closing == Some(index) {
            self.closing = None;
            self.position += 1;
            return Some(());
        }
        match token.kind {
            TokenKind::Word => {
                // `1_000`, `0x1F` and `1a` mean different things to different versions.
                let glued = index
                    .checked_sub(1)
                    .map(|before| self.raw[before])
                    .is_some_and(|before| {
                        before.end == token.start
                            && matches!(
                                before.kind,
                                TokenKind::Integer | TokenKind::Decimal | TokenKind::Parameter
                            )
                    });
                self.out.doubtful |= glued;
                return self.word(text);
            }
            TokenKind::Quoted { unicode: false } => {
                let name = unquote(text);
                self.emit(Grammar::make_word(&name, Some('"')));
                self.out.names.push(name);
            }
            TokenKind::Text(Quoting::Bits) => self.emit(Grammar::HexStringLiteral(
                decode(text, Quoting::Bits).into_owned(),
            )),
            TokenKind::Text(quoting @ Quoting::Plain { national: true }) => {
                self.emit(Grammar::NationalStringLiteral(
                    decode(text, quoting).into_owned(),
                ));
            }
            TokenKind::Text(quoting) => self.emit(Grammar::SingleQuotedString(
                decode(text, quoting).into_owned(),
            )),
            TokenKind::Integer | TokenKind::Decimal => {
                self.emit(Grammar::Number(text.to_owned(), false))
            }
            TokenKind::Parameter => {
                self.out.parameters.extend(text[1..].parse::<usize>());
                self.emit(Grammar::Placeholder(text.to_owned()));
            }
            TokenKind::Symbol(b';') if self.position + 1 == self.raw.len() => {}
            TokenKind::Symbol(symbol) => self.emit(match symbol {
                b'(' => Grammar::LParen,
                b')' => Grammar::RParen,
                b'[' => Grammar::LBracket,
                b']' => Grammar::RBracket,
                b',' => Grammar::Comma,
                b'.' => Grammar::Period,
                _ => return None,
            }),
            TokenKind::Operator => self.emit(operator(text)?),
            TokenKind::Quoted { unicode: true } | TokenKind::Comment | TokenKind::Stray => {
                return None;
            }
        }
        self.position += 1;
        Some(())
    }

    fn word(&mut self, text: &str) -> Option<()> {
        let index = self.position;
        let before = index.wrapping_sub(1);
        let label = self.is_symbol(before, b".") || self.is(before, "as") && !self.labelled;
        self.labelled = false;
        let consumed = if label { 0 } else { self.special(text)? };
        if consumed > 0 {
            self.position += consumed;
            return Some(());
        }
        self.labelled = label;
        self.emit_word(text);
        let lower = text.to_ascii_lowercase();
        if !label {
            self.count(&lower);
        }
        if !structural(&lower) {
            self.out.doubtful |= !folds_alike(text);
            self.out.names.push(fold(text));
        }
        self.position += 1;
        Some(())
    }

    fn count(&mut self, word: &str) {
        let before = self.position.wrapping_sub(1);
        match word {
            "select" => self.out.selects += 1,
            "insert" | "update" | "delete" | "merge" if !self.is_any(before, &["do", "then"]) => {
                self.out.changes += 1
            }
            _ => self.out.current_value |= names_current_value(word) && !names_user(word),
        }
    }

    /// Rewrites what begins at this word. How many tokens that were; 0 if it is nothing special.
    fn special(&mut self, text: &str) -> Option<usize> {
        let index = self.position;
        let before = index.wrapping_sub(1);
        Some(match text.to_ascii_lowercase().as_str() {
            "only" if !self.is_any(before, &["row", "rows"]) => self.only(),
            "table" => {
                let begins = index == 0
                    || self.is_symbol(before, b"()")
                    || self.is_any(before, &["union", "all", "distinct", "except", "intersect"]);
                self.out.doubtful |= !begins;
                self.out.selects += 1;
                self.emit_word("SELECT");
                self.emit(Grammar::Mul);
                self.emit_word("FROM");
                1
            }
            "for" => self.lock(),
            "into" if !self.is_any(before, &["insert", "merge"]) => self.select_into(),
            "overriding"
                if self.is_any(index + 1, &["system", "user"]) && self.is(index + 2, "value") =>
            {
                self.out.overriding = true;
                3
            }
            "current" if self.is(index + 1, "of") && self.is_name(index + 2) => {
                self.emit_word("true");
                3
            }
            "variadic" if self.is_symbol(before, b"(,") => 1,
            "exclude" if self.is_any(before, &["row", "preceding", "following"]) => {
                self.frame_exclusion()
            }
            "conflict" if self.is(before, "on") => self.inference(text),
            "between" if self.is_any(index + 1, &["symmetric", "asymmetric"]) => {
                self.emit_word("BETWEEN");
                2
            }
            _ => 0,
        })
    }

    /// `EXCLUDE {CURRENT ROW | GROUP | TIES | NO OTHERS}` of a window.
    fn frame_exclusion(&self) -> usize {
        let index = self.position;
        if self.is_any(index + 1, &["group", "ties"]) {
            return 2;
        }
        let pair = |first, second| self.is(index + 1, first) && self.is(index + 2, second);
        if pair("current", "row") || pair("no", "others") {
            3
        } else {
            0
        }
    }

    /// `CONFLICT (…) [WHERE …]` finds an index by its expressions and runs none of them; what the parser does not know is
    /// left out.
    fn inference(&mut self, text: &str) -> usize {
        let start = self.position + 1;
        let plain = |index: usize| self.is_name(index) || self.is_symbol(index, b",");
        let mut end = start + 1;
        while plain(end) {
            end += 1;
        }
        if !self.is_symbol(start, b"(") || self.is_symbol(end, b")") && self.is(end + 1, "do") {
            return 0;
        }
        while end < self.raw.len()
            && !(self.is(end, "do") && self.is_any(end + 1, &["nothing", "update"]))
        {
            if self.is_any(end, &["select", "values", "table"]) {
                self.out.doubtful = true;
            }
            end += 1;
        }
        self.emit_word(text);
        end - self.position
    }

    /// `ONLY name` and `ONLY (name)`: the name is marked, the rest is left out.
    fn only(&mut self) -> usize {
        let index = self.position;
        let before = index.wrapping_sub(1);
        let expected = self.is_any(
            before,
            &["from", "join", "update", "using", "table", "into"],
        ) || self.is_symbol(before, b",(");
        let parenthesised = self.is_symbol(index + 1, b"(");
        let name = index + 1 + usize::from(parenthesised);
        match self.name_end(name) {
            Some(end) if expected && (!parenthesised || self.is_symbol(end, b")")) => {
                self.only = true;
                self.closing = parenthesised.then_some(end);
                name - index
            }
            _ => {
                self.out.doubtful = true;
                1
            }
        }
    }

    /// `FOR {UPDATE | NO KEY UPDATE | SHARE | KEY SHARE}`.
    fn lock(&mut self) -> usize {
        let index = self.position;
        let (strength, consumed) = if self.is(index + 1, "update") {
            ("UPDATE", 2)
        } else if self.is(index + 1, "no")
            && self.is(index + 2, "key")
            && self.is(index + 3, "update")
        {
            ("UPDATE", 4)
        } else if self.is(index + 1, "share") {
            ("SHARE", 2)
        } else if self.is(index + 1, "key") && self.is(index + 2, "share") {
            ("SHARE", 3)
        } else {
            return 0;
        };
        self.out.locks = true;
        self.emit_word("FOR");
        self.emit_word(strength);
        consumed
    }

    /// `INTO [TEMP …] [TABLE] name` of SELECT.
    fn select_into(&mut self) -> usize {
        self.out.into = true;
        let mut end = self.position + 1;
        while self.is_any(
            end,
            &["local", "global", "temp", "temporary", "unlogged", "table"],
        ) {
            end += 1;
        }
        match self.name_end(end) {
            Some(end) => end - self.position,
            None => {
                self.out.doubtful = true;
                1
            }
        }
    }
}
