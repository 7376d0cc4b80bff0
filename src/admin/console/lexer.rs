//! A console string, cut into commands and those into tokens.

use crate::wire::{ErrorReport, SqlState};

/// A piece of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// As it was written: names of databases are not folded, as in PgBouncer.
    Word(String),
    /// `"…"`, decoded.
    Name(String),
    /// `'…'`, decoded.
    Text(String),
    Symbol(char),
}

impl Token {
    /// A keyword, in any case.
    pub fn is(&self, keyword: &str) -> bool {
        matches!(self, Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    /// What it says, however it is quoted; `None` for a symbol.
    pub fn text(&self) -> Option<&str> {
        match self {
            Token::Word(text) | Token::Name(text) | Token::Text(text) => Some(text),
            Token::Symbol(_) => None,
        }
    }
}

/// One command: where it came from and its tokens, of which there is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sentence<'a> {
    pub source: &'a str,
    pub tokens: Vec<Token>,
}

/// The commands of a string; empty ones are left out.
///
/// # Errors
/// A quote or comment that does not end.
pub(super) fn sentences(text: &str) -> Result<Vec<Sentence<'_>>, ErrorReport> {
    let mut sentences = Vec::new();
    let mut tokens = Vec::new();
    let mut begin = 0;
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        match next {
            ';' => {
                close(&mut sentences, &mut tokens, &text[begin..at]);
                at += 1;
                begin = at;
            }
            '\'' | '"' => {
                let (decoded, len) = quoted(&text[at..], next)?;
                tokens.push(if next == '"' {
                    Token::Name(decoded)
                } else {
                    Token::Text(decoded)
                });
                at += len;
            }
            '-' if text[at..].starts_with("--") => {
                at += text[at..].find('\n').unwrap_or(text.len() - at);
            }
            '/' if text[at..].starts_with("/*") => at += comment(&text[at..])?,
            _ if next.is_whitespace() => at += next.len_utf8(),
            '=' | ',' | '(' | ')' => {
                tokens.push(Token::Symbol(next));
                at += 1;
            }
            _ => {
                let rest = &text[at..];
                let len = rest.find(ends_word).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..len].to_owned()));
                at += len;
            }
        }
    }
    close(&mut sentences, &mut tokens, &text[begin..]);
    Ok(sentences)
}

fn close<'a>(sentences: &mut Vec<Sentence<'a>>, tokens: &mut Vec<Token>, source: &'a str) {
    if !tokens.is_empty() {
        sentences.push(Sentence {
            source: source.trim(),
            tokens: std::mem::take(tokens),
        });
    }
}

fn ends_word(next: char) -> bool {
    next.is_whitespace() || matches!(next, ';' | '\'' | '"' | '=' | ',' | '(' | ')')
}

/// What stands between quotes, where a doubled one stands for itself, and its length with both.
fn quoted(text: &str, quote: char) -> Result<(String, usize), ErrorReport> {
    let mut decoded = String::new();
    let mut at = 1;
    loop {
        let Some(len) = text[at..].find(quote) else {
            return Err(unterminated("quoted string"));
        };
        decoded.push_str(&text[at..at + len]);
        at += len + 1;
        if !text[at..].starts_with(quote) {
            return Ok((decoded, at));
        }
        decoded.push(quote);
        at += 1;
    }
}

/// The length of a comment; they do not nest here.
fn comment(text: &str) -> Result<usize, ErrorReport> {
    match text.find("*/") {
        Some(len) => Ok(len + 2),
        None => Err(unterminated("comment")),
    }
}

fn unterminated(what: &str) -> ErrorReport {
    ErrorReport::error(SqlState::SYNTAX_ERROR, format!("unterminated {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Vec<String>> {
        let print = |token: &Token| match token {
            Token::Symbol(symbol) => symbol.to_string(),
            token => token.text().unwrap().to_owned(),
        };
        let sentences = sentences(text).unwrap();
        sentences
            .iter()
            .map(|sentence| sentence.tokens.iter().map(print).collect())
            .collect()
    }

    #[test]
    fn commands_end_at_semicolons_outside_quotes() {
        assert_eq!(
            words("PAUSE \"a;b\"; ; show pools -- rest; of\n;"),
            [vec!["PAUSE", "a;b"], vec!["show", "pools"]]
        );
        assert_eq!(words("SET a='it''s'"), [["SET", "a", "=", "it's"]]);
        assert_eq!(
            words("/* x; */ SELECT version()"),
            [["SELECT", "version", "(", ")"]]
        );
        assert!(words(" ;; ").is_empty());
    }

    #[test]
    fn what_does_not_end_is_an_error() {
        for text in ["'", "\"a", "SHOW /* pools", "'''"] {
            assert_eq!(
                sentences(text).unwrap_err().code,
                SqlState::SYNTAX_ERROR,
                "{text}"
            );
        }
    }

    #[test]
    fn any_text_is_cut_without_a_panic() {
        for text in ["ä'ö'ü", "--", "/*/", "/**/", "-", "é;é", "\u{2028}x"] {
            let _ = sentences(text);
        }
    }
}
