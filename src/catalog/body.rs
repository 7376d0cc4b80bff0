//! The words of a function's body.
//!
//! No grammar is applied: a word counts wherever it stands, save in comments and
//! string constants, where nothing can come of it that is not flagged by another word
//! (EXECUTE, `query_to_xml`, …). So what is found is a superset of what the body does.

/// The words of an SQL or PL/pgSQL body, in lower case.
#[derive(Debug, Default)]
pub(crate) struct Words {
    pub words: Vec<Word>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub text: String,
    /// It stands where a statement may begin.
    pub starts: bool,
}

impl Words {
    /// Reads `body`. Where string constants cannot be told from code with certainty
    /// (backslashes, dollar quotes), their content counts as code.
    pub(crate) fn read(body: &str) -> Self {
        let mut out = Words::default();
        let mut starts = true;
        let opaque = may_confuse(body);
        let bytes = body.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            if !opaque && let Some(end) = skipped_end(body, at) {
                at = end;
            } else if !opaque && byte == b'"' {
                let end = quoted_end(bytes, at);
                out.quoted(&body[at..end]);
                starts = false;
                at = end;
            } else if is_word_byte(byte) {
                let end = (at..bytes.len())
                    .find(|&i| !is_word_byte(bytes[i]))
                    .unwrap_or(bytes.len());
                let text = cut(&body[at..end]).to_lowercase();
                let next = opens_statement(&text);
                out.words.push(Word { text, starts });
                starts = next;
                at = end;
            } else {
                match byte {
                    b';' | b'>' => starts = true,
                    _ if byte.is_ascii_whitespace() => {}
                    // In opaque text a quote may open a statement of its own.
                    _ => starts = opaque,
                }
                at += 1;
            }
        }
        out
    }

    /// A quoted identifier: its words, whatever else stands between them.
    fn quoted(&mut self, text: &str) {
        let words = text.split(|c: char| c.is_ascii() && !is_word_byte(c as u8));
        self.words
            .extend(words.filter(|w| !w.is_empty()).map(|w| Word {
                text: cut(w).to_lowercase(),
                starts: false,
            }));
    }

    pub(crate) fn contains(&self, word: &str) -> bool {
        self.words.iter().any(|w| w.text == word)
    }

    pub(crate) fn begins(&self, word: &str) -> bool {
        self.words.iter().any(|w| w.starts && w.text == word)
    }
}

/// The longest identifier, in bytes. PostgreSQL cuts what is longer, and finds what has the shorter name.
const IDENTIFIER_MAX: usize = 63;

fn cut(word: &str) -> &str {
    &word[..word.floor_char_boundary(IDENTIFIER_MAX)]
}

fn opens_statement(word: &str) -> bool {
    matches!(
        word,
        "begin" | "then" | "else" | "loop" | "atomic" | "declare"
    )
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// Quotes could be read wrongly: an escape string or a dollar quote.
fn may_confuse(body: &str) -> bool {
    let bytes = body.as_bytes();
    bytes.contains(&b'\\')
        || bytes.windows(2).any(|pair| {
            let letter = pair[1].is_ascii_alphabetic() || pair[1] >= 0x80;
            pair[0] == b'$' && (pair[1] == b'$' || pair[1] == b'_' || letter)
        })
}

/// Where a comment or a string constant that begins at `at` ends.
fn skipped_end(body: &str, at: usize) -> Option<usize> {
    let rest = &body.as_bytes()[at..];
    if rest.starts_with(b"--") {
        let line = rest.iter().position(|&b| b == b'\n' || b == b'\r');
        return Some(line.map_or(body.len(), |n| at + n));
    }
    if rest.starts_with(b"/*") {
        return Some(at + comment_len(rest));
    }
    if rest.first() == Some(&b'\'') {
        // A doubled quote is two constants side by side, which comes to the same.
        let end = rest[1..].iter().position(|&b| b == b'\'');
        return Some(end.map_or(body.len(), |n| at + n + 2));
    }
    None
}

fn quoted_end(bytes: &[u8], at: usize) -> usize {
    let end = bytes[at + 1..].iter().position(|&b| b == b'"');
    end.map_or(bytes.len(), |n| at + n + 2)
}

fn comment_len(rest: &[u8]) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(body: &str) -> Vec<String> {
        Words::read(body)
            .words
            .into_iter()
            .map(|w| w.text)
            .collect()
    }

    #[test]
    fn constants_and_comments_are_left_out() {
        assert_eq!(
            texts(
                "IF TG_OP = 'INSERT' THEN -- don't delete\n NEW.a := 'it''s'; /* x /* update */ */ END"
            ),
            ["if", "tg_op", "then", "new", "a", "end"]
        );
    }

    #[test]
    fn what_may_be_misread_counts_as_code() {
        assert!(Words::read(r"a := E'\' ; delete from t; --'").contains("delete"));
        assert!(Words::read("a := $q$ it's $q$; delete from t; b := 'x'").contains("delete"));
        assert!(Words::read("a := $ä$ it's $ä$; delete from t; b := 'x'").contains("delete"));
    }

    #[test]
    fn set_is_told_from_the_set_of_an_update() {
        assert!(!Words::read("BEGIN UPDATE t SET a = 1; RETURN; END").begins("set"));
        assert!(Words::read("BEGIN SET work_mem = 1; END").begins("set"));
        assert!(Words::read("IF x THEN SET a.b = 1; END IF").begins("set"));
        assert!(Words::read("BEGIN <<l>> SET a.b = 1; END").begins("set"));
    }

    #[test]
    fn long_identifiers_are_cut() {
        let (short, long) = ("x".repeat(63), "X".repeat(80));
        assert_eq!(texts(&format!("PERFORM {long}()")), ["perform", &short]);
        assert_eq!(texts(&format!("PERFORM \"{long}\"()")), ["perform", &short]);
        let two_bytes = "ä".repeat(40);
        assert_eq!(texts(&two_bytes), ["ä".repeat(31)]);
    }

    #[test]
    fn quoted_identifiers_are_words() {
        assert!(Words::read("PERFORM \"Audit\"(1)").contains("audit"));
        assert!(Words::read("x := \"it's\"; delete from t; y := 'z'").contains("delete"));
    }
}
