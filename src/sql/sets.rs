//! Which custom settings (`app.tenant`) a piece of code sets for its session: searched for in the tokens of its text, and
//! in those of its constants, which may be code that is run by EXECUTE. And which it reads, where one too many does no harm.

use super::cursor::Cursor;
use super::lexer::{Lexer, Quoting, Token, TokenKind, unquote};
use super::literal::{decode, decode_exactly};

/// Constants within constants are followed so far.
const DEPTH_MAX: usize = 5;

/// A custom setting that some code sets; its name is in lower case.
#[derive(Debug, PartialEq, Eq)]
pub enum Setting {
    /// For longer than its transaction, as far as the text tells.
    Session(String),
    /// For its transaction only.
    Local(String),
    /// For longer, under a name that is put together at run time, or cannot be read with certainty.
    Unnamed,
}

/// Tells the custom settings that `code` sets. A name too many is told here and there.
///
/// A SET whose name is not certain counts only where a statement may begin: elsewhere it is that of an UPDATE.
pub fn custom_settings(code: &str, tell: &mut impl FnMut(Setting)) {
    search(
        Piece {
            text: code,
            depth: 0,
            begins: true,
            sure: true,
        },
        tell,
    );
}

/// Tells the names of the custom settings that `code` reads by `current_setting`, in lower case; not those that are put
/// together at run time, but perhaps names of other things.
pub fn settings_read(code: &str, tell: &mut impl FnMut(String)) {
    const CALL: &str = "current_setting";
    let code = code.to_ascii_lowercase();
    for (at, _) in code.match_indices(CALL) {
        let rest = &code[at + CALL.len()..];
        let argument = rest.split([',', ')']).next().unwrap_or_default();
        let words = argument.split(|c: char| !is_part_of_name(c));
        let mut words = words.map(|word| word.trim_matches('$'));
        if let Some(name) = words.find(|word| is_custom_name(word)) {
            tell(name.to_owned());
        }
    }
}

/// A name that PostgreSQL takes for a custom setting, unless its prefix is reserved.
pub fn is_custom_name(name: &str) -> bool {
    let is_start = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
    let is_identifier = |part: &str| {
        part.starts_with(is_start)
            && part
                .chars()
                .all(|c| is_start(c) || c.is_ascii_digit() || c == '$')
    };
    name.contains('.') && name.split('.').all(is_identifier)
}

fn is_part_of_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$' | '.')
}

#[derive(Clone, Copy)]
struct Piece<'a> {
    text: &'a str,
    depth: usize,
    /// A statement may begin where it begins.
    begins: bool,
    /// No comment: what is doubtful in it counts.
    sure: bool,
}

fn search(piece: Piece<'_>, tell: &mut impl FnMut(Setting)) {
    let Piece { text, depth, .. } = piece;
    let mut lexer = Lexer::new(text, true);
    let mut begins = piece.begins;
    let mut behind_point = false;
    let mut continued = false;
    for token in lexer.by_ref() {
        let written = &text[token.start..token.end];
        let rest = &text[token.end..];
        match token.kind {
            TokenKind::Text(quoting) if depth < DEPTH_MAX => search(
                Piece {
                    text: &decode(written, quoting),
                    depth: depth + 1,
                    begins: !continued,
                    sure: piece.sure,
                },
                tell,
            ),
            // Where the code is not SQL, a text.
            TokenKind::Quoted { .. }
                if depth < DEPTH_MAX
                    && written.contains(|c: char| c == '(' || c.is_whitespace()) =>
            {
                search(
                    Piece {
                        text: written.trim_matches('"'),
                        depth: depth + 1,
                        begins: false,
                        sure: piece.sure,
                    },
                    tell,
                );
            }
            TokenKind::Comment => {
                if depth < DEPTH_MAX {
                    search(
                        Piece {
                            text: &written[2..],
                            depth: depth + 1,
                            begins: false,
                            sure: false,
                        },
                        tell,
                    );
                }
                continue;
            }
            TokenKind::Word if written.eq_ignore_ascii_case("set") && !behind_point => {
                set(rest, begins && piece.sure, tell);
            }
            _ if calls_set_config(token, written) => {
                if let Some(setting) = called(rest)
                    && (piece.sure || setting != Setting::Unnamed)
                {
                    tell(setting);
                }
            }
            _ => {}
        }
        begins = opens_statement(token, written);
        behind_point = token.kind == TokenKind::Symbol(b'.');
        continued = written == "||" || token.kind == TokenKind::Symbol(b',');
    }
    if !lexer.well_formed && piece.sure && text.to_ascii_lowercase().contains("set_config") {
        // Its constants cannot be told from its code.
        tell(Setting::Unnamed);
    }
}

fn opens_statement(token: Token, written: &str) -> bool {
    const WORDS: &[&str] = &["begin", "then", "else", "loop", "atomic"];
    match token.kind {
        TokenKind::Word => WORDS.iter().any(|word| written.eq_ignore_ascii_case(word)),
        TokenKind::Symbol(b';') => true,
        TokenKind::Operator => written.ends_with(">>"),
        _ => false,
    }
}

/// A name that is written out; `None` of the server's own, which have no point in them, and of a column.
fn named(name: &str, local: bool) -> Option<Setting> {
    if !name.chars().all(is_part_of_name) || name.ends_with('.') {
        return (!local).then_some(Setting::Unnamed);
    }
    let name = name.contains('.').then(|| name.to_ascii_lowercase())?;
    Some(match local {
        true => Setting::Local(name),
        false => Setting::Session(name),
    })
}

/// What follows SET.
fn set(rest: &str, begins: bool, tell: &mut impl FnMut(Setting)) {
    let mut cursor = Cursor::new(rest);
    cursor.word("session");
    let local = cursor.word("local");
    let mut name = String::new();
    let mut certain = false;
    let mut end = 0;
    while let Some(token) = cursor.peek(0) {
        let written = cursor.text(token);
        match token.kind {
            TokenKind::Word => name.push_str(written),
            TokenKind::Quoted { unicode: false } => name.push_str(&unquote(written)),
            _ => break,
        }
        cursor.next();
        end = token.end;
        certain = match cursor.peek(0) {
            // Another constant may go on with it.
            None => end < rest.len(),
            Some(next) if next.kind == TokenKind::Operator => {
                matches!(cursor.text(next), "=" | ":=")
            }
            Some(_) => true,
        };
        if !cursor.symbol(b'.') {
            break;
        }
        name.push('.');
        certain = false;
    }
    // `(a, b) =` are columns.
    if end == 0 && cursor.is_symbol(0, b'(') {
        return;
    }
    let setting = named(&name, local);
    let doubtful = !local && (!certain || setting == Some(Setting::Unnamed));
    if let Some(setting) = setting.filter(|setting| *setting != Setting::Unnamed) {
        tell(setting);
    }
    if doubtful && begins {
        tell(Setting::Unnamed);
    }
}

/// `set_config`, quoted or not; of a name with escapes it is not known.
fn calls_set_config(token: Token, written: &str) -> bool {
    match token.kind {
        TokenKind::Word => written.eq_ignore_ascii_case("set_config"),
        TokenKind::Quoted { unicode } => unicode || unquote(written) == "set_config",
        _ => false,
    }
}

/// What follows `set_config`.
fn called(rest: &str) -> Option<Setting> {
    let mut cursor = Cursor::new(rest);
    if !cursor.symbol(b'(') {
        return None;
    }
    let mut arguments: Vec<Vec<Token>> = vec![Vec::new()];
    let mut depth = 0_usize;
    loop {
        let Some(token) = cursor.next() else {
            return Some(Setting::Unnamed);
        };
        match token.kind {
            TokenKind::Symbol(b')') if depth == 0 => break,
            TokenKind::Symbol(b',') if depth == 0 => {
                arguments.push(Vec::new());
                continue;
            }
            TokenKind::Symbol(b'(' | b'[') => depth += 1,
            TokenKind::Symbol(b')' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if let Some(argument) = arguments.last_mut() {
            argument.push(token);
        }
    }
    let is = |token: &Token, word: &str| cursor.text(*token).eq_ignore_ascii_case(word);
    let [name, _, local] = arguments.as_slice() else {
        return Some(Setting::Unnamed);
    };
    let local = matches!(local.as_slice(), [word] if is(word, "true"));
    let constant = match name.as_slice() {
        [constant] => Some(*constant),
        // The server writes the type behind every constant.
        [constant, cast, text] if is(cast, "::") && is(text, "text") => Some(*constant),
        _ => None,
    };
    let written = constant.and_then(|token| constant_text(token, cursor.text(token)));
    match written {
        Some(name) => named(&name, local),
        None => (!local).then_some(Setting::Unnamed),
    }
}

fn constant_text(token: Token, written: &str) -> Option<String> {
    match token.kind {
        TokenKind::Text(quoting @ (Quoting::Plain { .. } | Quoting::Escape | Quoting::Dollar)) => {
            decode_exactly(written, quoting).map(Into::into)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{is_custom_name, settings_read};

    #[test]
    fn custom_names_are_told_as_postgres_does() {
        for (name, custom) in [
            ("app.tenant", true),
            ("a.b_1.c$", true),
            ("work_mem", false),
            ("custom.bad-guc", false),
            ("special.weird name", false),
            ("a.", false),
            ("a.1b", false),
        ] {
            assert_eq!(is_custom_name(name), custom, "{name}");
        }
    }

    #[test]
    fn what_code_reads_is_found_however_it_is_written() {
        let found = |code: &str| {
            let mut names = Vec::new();
            settings_read(code, &mut |name| names.push(name));
            names.join(" ")
        };
        for code in [
            "(tenant = current_setting('app.tenant'::text, true))",
            "RETURN pg_catalog.\"current_setting\" ( E'App.Tenant')",
            "EXECUTE 'SELECT current_setting(''app.tenant'', true)'",
            "CURRENT_SETTING($$app.tenant$$, missing_ok => true)",
            "current_setting(setting_name => 'app.tenant')",
        ] {
            assert_eq!(found(code), "app.tenant", "{code}");
        }
        for code in [
            "current_setting('app.' || x, true)",
            "current_setting('work_mem'), 'app.tenant'",
            "current_setting",
        ] {
            assert_eq!(found(code), "", "{code}");
        }
    }
}
