//! What comments ask of us, and which of them say nothing about the answer.

use std::borrow::Cow;
use std::time::Duration;

use smallvec::SmallVec;

use super::lexer::{Token, TokenKind};
use crate::config::Level;

/// The wishes in the comments of a text. What a hint says that is not known here is ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints {
    pub no_cache: bool,
    pub ttl: Option<Duration>,
    pub level: Option<Level>,
    pub tags: Vec<String>,
}

impl Hints {
    /// Not to cache may be said anywhere; to cache in some other way only around the statement.
    fn read(&mut self, comment: &str, around: bool) {
        let Some(inside) = block(comment) else {
            return;
        };
        if inside.trim().eq_ignore_ascii_case("no query cache") {
            self.no_cache = true;
        }
        let Some(wishes) = directives(inside) else {
            return;
        };
        for wish in wishes.split(',') {
            let (name, value) = wish
                .split_once('=')
                .map_or((wish.trim(), ""), |(name, value)| {
                    (name.trim(), value.trim())
                });
            match name.to_ascii_lowercase().as_str() {
                "no_cache" | "no-cache" | "nocache" => self.no_cache = true,
                "ttl" if around => self.ttl = humantime::parse_duration(value).ok().or(self.ttl),
                "level" if around && value.eq_ignore_ascii_case("strict") => {
                    self.level = Some(Level::Strict)
                }
                "level" if around && value.eq_ignore_ascii_case("ttl") => {
                    self.level = Some(Level::Ttl)
                }
                "tags" if around => self.tags.extend(
                    value
                        .split('|')
                        .map(str::trim)
                        .filter(|tag| !tag.is_empty())
                        .map(str::to_owned),
                ),
                _ => {}
            }
        }
    }
}

fn block(comment: &str) -> Option<&str> {
    comment.strip_prefix("/*")?.strip_suffix("*/")
}

/// What follows `pgditto:` in a comment.
fn directives(inside: &str) -> Option<&str> {
    const NAME: &str = "pgditto:";
    let inside = inside.trim_start();
    let name = inside.get(..NAME.len())?;
    name.eq_ignore_ascii_case(NAME)
        .then(|| &inside[NAME.len()..])
}

/// Whether a comment says nothing about the answer: ours, or sqlcommenter's `key='value',…` (and nothing else in it).
fn removable(comment: &str) -> bool {
    block(comment).is_some_and(|inside| {
        !inside.contains("/*") && (directives(inside).is_some() || sqlcommenter(inside.as_bytes()))
    })
}

fn sqlcommenter(inside: &[u8]) -> bool {
    let mut rest = inside.trim_ascii();
    loop {
        let key = rest
            .iter()
            .take_while(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'%')
            })
            .count();
        let Some(value) = rest[key..].strip_prefix(b"='").filter(|_| key > 0) else {
            return false;
        };
        let Some(length) = value_length(value) else {
            return false;
        };
        rest = value[length + 1..].trim_ascii_start();
        if rest.is_empty() {
            return true;
        }
        let Some(next) = rest.strip_prefix(b",") else {
            return false;
        };
        rest = next.trim_ascii_start();
    }
}

/// The length of a value up to its closing quote; `\'` stands for a quote.
fn value_length(value: &[u8]) -> Option<usize> {
    let mut position = 0;
    loop {
        match value.get(position)? {
            b'\'' => return Some(position),
            b'\\' => position += 2,
            _ => position += 1,
        }
    }
}

/// Follows the comments of a text while it is scanned.
#[derive(Default)]
pub(super) struct Comments {
    hints: Hints,
    /// Behind the leading comments that are removable, and the white space around them.
    head: usize,
    /// The end of the last token that is neither a comment nor a `;`.
    tail: usize,
    begun: bool,
    /// A comment that may have been followed by a statement: only known later to stand at the end.
    trailing: SmallVec<[(usize, usize); 2]>,
    trailing_removable: bool,
}

impl Comments {
    pub fn comment(&mut self, text: &str, token: Token) {
        let comment = &text[token.start..token.end];
        if self.begun {
            self.trailing.push((token.start, token.end));
            self.trailing_removable |= removable(comment);
            return;
        }
        self.hints.read(comment, true);
        let untouched = text[self.head..token.start].trim_ascii().is_empty();
        if untouched && removable(comment) {
            self.head = token.end;
        }
    }

    pub fn token(&mut self, text: &str, token: Token) {
        if token.kind == TokenKind::Symbol(b';') {
            return;
        }
        self.begun = true;
        self.tail = token.end;
        if !self.trailing.is_empty() {
            for (start, end) in self.trailing.drain(..) {
                self.hints.read(&text[start..end], false);
            }
            self.trailing_removable = false;
        }
    }

    /// The hints, and the text without the comments that say nothing about the answer.
    pub fn finish(mut self, text: &str) -> (Hints, Cow<'_, str>) {
        for &(start, end) in &self.trailing {
            self.hints.read(&text[start..end], true);
        }
        let start = if self.head == 0 {
            0
        } else {
            text.len() - text[self.head..].trim_ascii_start().len()
        };
        if !self.trailing_removable {
            return (self.hints, Cow::Borrowed(&text[start..]));
        }
        let mut kept = String::new();
        let mut position = self.tail;
        for &(from, to) in &self.trailing {
            if removable(&text[from..to]) {
                kept.push_str(text[position..from].trim_ascii_end());
                position = to;
            }
        }
        kept.push_str(text[position..].trim_ascii_end());
        let body = &text[start..self.tail];
        let key_text = if kept.is_empty() {
            Cow::Borrowed(body)
        } else {
            Cow::Owned(format!("{body}{kept}"))
        };
        (self.hints, key_text)
    }
}
