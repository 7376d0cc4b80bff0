//! Lines, fields and words, as PostgreSQL's `next_token` reads them.

use std::path::Path;
use std::sync::Arc;

/// A word. In quotes it is a name, whatever it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) quoted: bool,
}

impl Word {
    pub(super) fn is_keyword(&self, keyword: &str) -> bool {
        !self.quoted && self.text == keyword
    }

    /// The file whose words stand for this one (`@file`).
    pub(super) fn list(&self) -> Option<&str> {
        let file = self.text.strip_prefix('@').filter(|_| !self.quoted)?;
        (!file.is_empty()).then_some(file)
    }
}

/// Fields of words with commas between.
type Fields = Vec<Vec<Word>>;

/// A line that says something.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) file: Arc<Path>,
    /// The first of its lines, from one.
    pub(super) number: usize,
    pub(super) fields: Fields,
}

/// The lines of one file, each with its number or with what is wrong in it. A backslash at the end
/// of a line goes on with the next.
pub(super) fn lines(text: &str) -> Vec<(usize, Result<Fields, &'static str>)> {
    let mut found = Vec::new();
    let mut source = text.lines().enumerate();
    while let Some((n, first)) = source.next() {
        let mut whole = first.to_owned();
        while whole.ends_with('\\') {
            whole.pop();
            whole.push_str(source.next().map_or("", |(_, next)| next));
        }
        let fields = fields(&whole);
        if !fields.as_ref().is_ok_and(Vec::is_empty) {
            found.push((n + 1, fields));
        }
    }
    found
}

fn fields(line: &str) -> Result<Fields, &'static str> {
    let mut fields: Vec<Vec<Word>> = Vec::new();
    let mut rest = line;
    // After a comma the list goes on, also behind blanks.
    let mut goes_on = false;
    loop {
        rest = rest.trim_start();
        if rest.starts_with(',') {
            return Err("a comma without a word before it");
        }
        let Some((word, after)) = word(rest)? else {
            break;
        };
        match fields.last_mut().filter(|_| goes_on) {
            Some(field) => field.push(word),
            None => fields.push(vec![word]),
        }
        goes_on = after.starts_with(',');
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Ok(fields)
}

/// The first word and what follows it; `None` at the end of the line or before a comment.
fn word(text: &str) -> Result<Option<(Word, &str)>, &'static str> {
    let quoted = text.starts_with('"');
    let mut word = String::new();
    let mut in_quotes = false;
    let mut characters = text.char_indices().peekable();
    let mut end = text.len();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' if in_quotes && characters.next_if(|(_, next)| *next == '"').is_some() => {
                word.push('"');
            }
            '"' => in_quotes = !in_quotes,
            _ if in_quotes => word.push(c),
            ',' | '#' => {
                end = at;
                break;
            }
            c if c.is_whitespace() => {
                end = at;
                break;
            }
            c => word.push(c),
        }
    }
    if in_quotes {
        return Err("a quote that is not closed");
    }
    if word.is_empty() && !quoted {
        return Ok(None);
    }
    let word = Word { text: word, quoted };
    Ok(Some((word, &text[end..])))
}
