//! What may be given to the parser: its trees are built and dropped on the stack of a worker, and some of its loops
//! recurse where nobody counts.

use super::lexer::{Token, TokenKind};
use super::vocabulary::structural;

/// The longest chain of operators that a statement may build: each is a level of a tree that is dropped recursively.
const OPERATORS_MAX: usize = 2_000;
/// sqlparser refuses at about 50; this keeps it from trying.
const NESTING_MAX: usize = 100;
/// JOINs that await their ON, each a level of recursion.
const OPEN_JOINS_MAX: usize = 50;
/// Whether no chain and no nesting of these tokens can be too long for the stack.
pub(super) fn bounded(text: &str, tokens: &[Token]) -> bool {
    let mut operators = 0;
    let mut depth = 0_usize;
    let mut joins = OpenJoins::default();
    for token in tokens {
        let word = &text[token.start..token.end];
        match token.kind {
            TokenKind::Symbol(b'(' | b'[') => depth += 1,
            TokenKind::Symbol(b')' | b']') => depth = depth.saturating_sub(1),
            TokenKind::Word if word.eq_ignore_ascii_case("case") => depth += 1,
            TokenKind::Word if word.eq_ignore_ascii_case("end") => depth = depth.saturating_sub(1),
            _ => {}
        }
        operators += usize::from(match token.kind {
            TokenKind::Operator | TokenKind::Symbol(b'[') => true,
            TokenKind::Word => structural(word),
            _ => false,
        });
        joins.token(token.kind, word);
        if depth > NESTING_MAX || operators > OPERATORS_MAX || joins.open > OPEN_JOINS_MAX {
            return false;
        }
    }
    true
}

/// Counts the JOINs that await their ON: `a JOIN b JOIN c ON … ON …` nests to the right, and the parser recurses on it
/// without a limit of its own.
#[derive(Default)]
struct OpenJoins {
    open: usize,
    /// What is open outside of the parentheses around this place.
    outside: Vec<usize>,
}

impl OpenJoins {
    fn token(&mut self, kind: TokenKind, word: &str) {
        let outside = self.outside.last().copied().unwrap_or(0);
        match kind {
            TokenKind::Symbol(b'(') => self.outside.push(self.open),
            TokenKind::Symbol(b')') => self.open = self.outside.pop().unwrap_or(self.open),
            TokenKind::Word if word.eq_ignore_ascii_case("join") => self.open += 1,
            TokenKind::Word
                if word.eq_ignore_ascii_case("on") || word.eq_ignore_ascii_case("using") =>
            {
                self.open = self.open.saturating_sub(1).max(outside);
            }
            _ => {}
        }
    }
}
