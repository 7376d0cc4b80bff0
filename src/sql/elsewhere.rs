//! Whether a piece of code runs a text that does not stand in it: an argument, a value of a table.
//!
//! What such a text says nobody can read beforehand. EXECUTE of a text that *begins* in the code (`'INSERT INTO ' || t`,
//! `format('ALTER TABLE %I …', t)`) is known as far as its command goes, and is none of these.

use super::lexer::{Lexer, Quoting, Token, TokenKind};
use super::literal::decode;

/// Constants within constants are followed so far.
const DEPTH_MAX: usize = 5;

/// Commands that set nothing for the session by themselves.
const COMMANDS: &[&str] = &[
    "alter", "analyse", "analyze", "call", "close", "cluster", "comment", "copy", "create",
    "declare", "delete", "drop", "explain", "fetch", "grant", "import", "insert", "listen", "lock",
    "merge", "move", "notify", "reassign", "refresh", "reindex", "revoke", "security", "select",
    "table", "truncate", "unlisten", "update", "vacuum", "values", "with",
];

/// Functions whose result begins as their first argument does.
const BEGIN_AS_ARGUMENT: &[&str] = &["concat", "format", "string_agg", "trim", "btrim", "rtrim"];

/// True if `code`, in SQL or PL/pgSQL, may run a text that comes from elsewhere, by EXECUTE or by one of the functions
/// that `runs_text` names.
pub fn runs_text_from_elsewhere(code: &str, runs_text: &dyn Fn(&str) -> bool) -> bool {
    search(code, runs_text, 0)
}

/// The same of code in any other language, where the server is asked through `plpy` or `spi_…`.
pub fn calls_with_text_from_elsewhere(code: &str) -> bool {
    const CALLS: &[&str] = &["plpy.execute", "plpy.prepare", "plpy.cursor", "spi_"];
    let code = code.to_ascii_lowercase();
    CALLS.iter().any(|call| {
        code.match_indices(call).any(|(at, _)| {
            let name_ends = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
            let rest = &code[at + call.len()..];
            let argument = rest.trim_start_matches(|c| !name_ends(c));
            let argument = argument.trim_start_matches(|c: char| c == '(' || c.is_whitespace());
            let text = argument.trim_start_matches(['\'', '"', '{']);
            let is_text = text.len() < argument.len();
            let name = argument.split(name_ends).next().unwrap_or_default();
            !(is_text && begins_with_command(text) || is_plan(&code, name))
        })
    })
}

/// The variable is given a prepared plan, or the call has no text at all (`spi_freeplan`, `spi_fetchrow`).
fn is_plan(code: &str, name: &str) -> bool {
    !name.is_empty()
        && code.match_indices(name).any(|(at, _)| {
            let rest = code[at + name.len()..].trim_start();
            let value = rest.strip_prefix('=').map(str::trim_start);
            value.is_some_and(|v| {
                ["plpy.prepare", "spi_prepare", "spi_query"]
                    .iter()
                    .any(|p| v.starts_with(p))
            })
        })
}

fn search(code: &str, runs_text: &dyn Fn(&str) -> bool, depth: usize) -> bool {
    let code = Code::read(code);
    (0..code.tokens.len()).any(|at| {
        let token = code.tokens[at];
        match token.kind {
            TokenKind::Text(quoting) if depth < DEPTH_MAX => {
                let text = decode(code.written(token), quoting);
                search(&text, runs_text, depth + 1)
            }
            TokenKind::Word | TokenKind::Quoted { .. } => {
                let is_call = code.is_symbol(at + 1, b'(');
                if is_call && runs_text(&code.written(token).trim_matches('"').to_ascii_lowercase())
                {
                    !code.begins_here(at + 2, true)
                } else {
                    code.is(at, "execute")
                        && code.may_run(at, depth)
                        && !code.begins_here(at + 1, true)
                }
            }
            _ => false,
        }
    })
}

struct Code<'a> {
    text: &'a str,
    tokens: Vec<Token>,
}

impl<'a> Code<'a> {
    fn read(text: &'a str) -> Self {
        let tokens = Lexer::new(text, true).filter(|token| token.kind != TokenKind::Comment);
        Self {
            text,
            tokens: tokens.collect(),
        }
    }

    fn written(&self, token: Token) -> &'a str {
        &self.text[token.start..token.end]
    }

    fn at(&self, at: usize) -> Option<(TokenKind, &'a str)> {
        self.tokens
            .get(at)
            .map(|token| (token.kind, self.written(*token)))
    }

    fn is(&self, at: usize, word: &str) -> bool {
        matches!(self.at(at), Some((TokenKind::Word, written)) if written.eq_ignore_ascii_case(word))
    }

    fn is_any(&self, at: usize, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(at, word))
    }

    fn is_symbol(&self, at: usize, symbol: u8) -> bool {
        matches!(self.at(at), Some((TokenKind::Symbol(found), _)) if found == symbol)
    }

    fn is_operator(&self, at: usize, operator: &str) -> bool {
        matches!(self.at(at), Some((TokenKind::Operator, written)) if written == operator)
    }

    /// A statement may begin at `at`.
    fn opens(&self, at: usize) -> bool {
        let Some(before) = at.checked_sub(1) else {
            return true;
        };
        self.is_symbol(before, b';')
            || self.is_any(
                before,
                &["begin", "then", "else", "loop", "atomic", "declare"],
            )
            || matches!(self.at(before), Some((TokenKind::Operator, written)) if written.ends_with(">>"))
    }

    /// EXECUTE at `at` runs a text: it is no privilege, no trigger's function and no word of a message.
    fn may_run(&self, at: usize, depth: usize) -> bool {
        let begins = self.opens(at) && (at > 0 || depth == 0)
            || at > 0 && self.is_any(at - 1, &["query", "in", "for"]);
        begins && !self.is_any(at + 1, &["on", "function", "procedure"])
    }

    /// The text that is the value of the expression at `at` begins in the code. `follow`: through variables.
    fn begins_here(&self, mut at: usize, follow: bool) -> bool {
        loop {
            if self.is_symbol(at, b'(') {
                at += 1;
            } else if self.is(at, "pg_catalog") && self.is_symbol(at + 1, b'.') {
                at += 2;
            } else if self.is_any(at, BEGIN_AS_ARGUMENT) && self.is_symbol(at + 1, b'(') {
                return self.begins_in_constant(at + 2, false);
            } else {
                break;
            }
        }
        match self.at(at) {
            Some((TokenKind::Text(_), _)) => self.begins_in_constant(at, true),
            Some((TokenKind::Word, name)) => {
                let ends = self.tokens.len() <= at + 1
                    || self.is_symbol(at + 1, b';')
                    || self.is_symbol(at + 1, b')')
                    || self.is_symbol(at + 1, b',')
                    || self.is_operator(at + 1, "||")
                    || self.is_any(at + 1, &["into", "using", "loop"]);
                follow && ends && self.is_made_here(name)
            }
            _ => false,
        }
    }

    /// A constant at `at` is all of the text (if `alone` allows for that), or names its command.
    fn begins_in_constant(&self, at: usize, alone: bool) -> bool {
        let Some((TokenKind::Text(quoting), written)) = self.at(at) else {
            return self.is_any(at, BEGIN_AS_ARGUMENT)
                && self.is_symbol(at + 1, b'(')
                && self.begins_in_constant(at + 2, false);
        };
        if quoting == Quoting::Unicode {
            return false;
        }
        alone && !self.is_operator(at + 1, "||") || begins_with_command(&decode(written, quoting))
    }

    /// A variable of the code itself, and every text that it is given begins in the code.
    fn is_made_here(&self, name: &str) -> bool {
        let mut declared = false;
        for at in 0..self.tokens.len() {
            if !self.is(at, name) {
                continue;
            }
            let assigned = |at| self.is_operator(at, ":=") || self.is_operator(at, "=");
            if self.opens(at) && assigned(at + 1) {
                if !self.goes_on(at + 2, name) {
                    return false;
                }
            } else if self.opens(at) && matches!(self.at(at + 1), Some((TokenKind::Word, _))) {
                declared = true;
                let mut value = at + 1;
                while value < self.tokens.len() && !self.is_symbol(value, b';') {
                    if self.is(value, "alias")
                        || (assigned(value) || self.is(value, "default"))
                            && !self.goes_on(value + 1, name)
                    {
                        return false;
                    }
                    value += 1;
                }
            } else if at > 0 && self.is_any(at - 1, &["for", "foreach"]) && self.is(at + 1, "in") {
                if !(self.is(at + 2, "select") && self.begins_here(at + 3, false)) {
                    return false;
                }
            } else if self.is_target(at) {
                let start = (0..at).rev().find(|&start| self.opens(start)).unwrap_or(0);
                let alone = self.is(at - 1, "into") && !self.is_symbol(at + 1, b',');
                if !(alone && self.is(start, "select") && self.begins_here(start + 1, false)) {
                    return false;
                }
            } else if self.is_symbol(at + 1, b'[') || self.is_symbol(at + 1, b'.') {
                return false;
            }
        }
        declared
    }

    /// A value that begins here, or as the variable did before.
    fn goes_on(&self, at: usize, name: &str) -> bool {
        self.is(at, "null")
            || self.is(at, name) && self.is_operator(at + 1, "||")
            || self.begins_here(at, false)
    }

    /// It stands in the list behind INTO, or is handed to a procedure that may give it a value.
    fn is_target(&self, at: usize) -> bool {
        let mut before = at;
        while let Some(place) = before.checked_sub(1) {
            if self.is(place, "into") || self.is(place, "call") || self.is(place, "diagnostics") {
                return true;
            }
            let goes_on = self.is_symbol(place, b',')
                || self.is_symbol(place, b'(')
                || self.is_symbol(place, b'.')
                || matches!(self.at(place), Some((TokenKind::Word, _)));
            if !goes_on || self.opens(place + 1) {
                return false;
            }
            before = place;
        }
        false
    }
}

/// The first word of `text`, whole, is a command that sets nothing.
fn begins_with_command(text: &str) -> bool {
    let mut tokens = Lexer::new(text, true).filter(|token| token.kind != TokenKind::Comment);
    let first = tokens.find(|token| token.kind != TokenKind::Symbol(b'('));
    first.is_some_and(|token| {
        let word = text[token.start..token.end].to_ascii_lowercase();
        token.end < text.len() && COMMANDS.contains(&word.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(code: &str) -> bool {
        runs_text_from_elsewhere(code, &|name| name.starts_with("query_to_xml"))
    }

    #[test]
    fn what_begins_in_the_code_is_known() {
        for code in [
            "BEGIN EXECUTE 'SELECT 1'; END",
            "BEGIN EXECUTE 'INSERT INTO ' || t || ' VALUES (1)'; END",
            "BEGIN EXECUTE format('ALTER TABLE %I ADD x int', t); RETURN NEW; END",
            "BEGIN RETURN QUERY EXECUTE pg_catalog.format($q$ -- all\n SELECT * FROM %I $q$, t) USING 1; END",
            "BEGIN FOR r IN EXECUTE ('DELETE FROM ' || t) LOOP END LOOP; END",
            "DECLARE q text; BEGIN q := 'SELECT ' || x; q := q || ' FROM t'; EXECUTE q INTO r USING 1; END",
            "DECLARE n int := 1; q text := 'UPDATE t SET x = 1'; BEGIN EXECUTE q; END",
            "DECLARE q text; BEGIN SELECT format('DROP TABLE %I', t) INTO q; EXECUTE q; END",
            "DECLARE q text; BEGIN SELECT string_agg(format('DROP TABLE %I', t), ';') INTO q FROM p; EXECUTE q; END",
            "DECLARE q text; BEGIN FOR q IN SELECT 'DROP TABLE ' || t FROM p LOOP EXECUTE q; END LOOP; END",
            "GRANT EXECUTE ON FUNCTION f TO x",
            "BEGIN RAISE NOTICE 'execute %', x; EXECUTE 'CREATE TRIGGER t BEFORE INSERT ON u EXECUTE FUNCTION f()'; END",
            "SELECT query_to_xml('SELECT 1', true, false, '')",
            "DO $$ DECLARE q text; BEGIN q = 'DROP TABLE x'; EXECUTE q; END $$",
        ] {
            assert!(!found(code), "{code}");
        }
    }

    #[test]
    fn what_comes_from_elsewhere_is_told() {
        for code in [
            "BEGIN EXECUTE q; END",
            "BEGIN EXECUTE $1; END",
            "BEGIN IF a THEN EXECUTE r.command; END IF; END",
            "BEGIN EXECUTE (SELECT command FROM t); END",
            "BEGIN EXECUTE format('%s', q); END",
            "BEGIN EXECUTE format(q, 1); END",
            "BEGIN EXECUTE 'SE' || 'T app.x = 1'; END",
            "BEGIN EXECUTE 'DO ' || q; END",
            "DECLARE q text; BEGIN q := p; EXECUTE q; END",
            "DECLARE q text := p; BEGIN EXECUTE q; END",
            "DECLARE q ALIAS FOR $1; BEGIN EXECUTE q; END",
            "DECLARE q text; BEGIN q := 'SELECT 1'; SELECT command INTO q FROM t; EXECUTE q; END",
            "DECLARE q text; BEGIN SELECT 'SELECT 1', command INTO a, q FROM t; EXECUTE q; END",
            "DECLARE q text; BEGIN FETCH c INTO q; EXECUTE q; END",
            "DECLARE q text; BEGIN CALL p(q); EXECUTE q; END",
            "DECLARE q text[]; BEGIN EXECUTE q[1]; END",
            "DECLARE q text; BEGIN FOREACH q IN ARRAY a LOOP EXECUTE q; END LOOP; END",
            "DO $$ DECLARE q text; BEGIN SELECT command FROM t INTO q; EXECUTE q; END $$",
            "BEGIN RETURN QUERY EXECUTE q; END",
            "BEGIN OPEN c FOR EXECUTE q; END",
            "SELECT query_to_xml(q, true, false, '')",
            "BEGIN PERFORM query_to_xml_and_xmlschema($1, true, false, ''); END",
        ] {
            assert!(found(code), "{code}");
        }
    }

    #[test]
    fn other_languages_are_read_by_their_calls() {
        for code in [
            "plpy.execute('SELECT 1')",
            "plan = plpy.prepare(\"INSERT INTO t VALUES ($1)\", ['int'])\nplpy.execute(plan, [1])",
            "return 1",
        ] {
            assert!(!calls_with_text_from_elsewhere(code), "{code}");
        }
        for code in [
            "plpy.execute(q)",
            "plpy.execute('%s' % q)",
            "my $r = spi_exec_query($_[0]);",
            "plan = plpy.prepare(q)\nplpy.execute(plan)",
        ] {
            assert!(calls_with_text_from_elsewhere(code), "{code}");
        }
    }
}
