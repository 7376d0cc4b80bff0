//! What the console understands.

use super::driver::{self, Courtesy};
use super::lexer::{self, Sentence, Token};
use crate::admin::house::{CacheFlush, Shutdown};
use crate::admin::show::Show;
use crate::admin::table::{Column, text};
use crate::wire::{ErrorReport, SqlState};

/// One command.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Command {
    Help,
    Show(Show),
    Pause(Option<String>),
    Resume(Option<String>),
    Suspend,
    Disable(String),
    Enable(String),
    Reconnect(Option<String>),
    WaitClose(Option<String>),
    Kill(Option<String>),
    KillClient(u64),
    Reload,
    Shutdown(Shutdown),
    Set {
        key: String,
        value: String,
    },
    CacheFlush(CacheFlush),
    /// All shapes, or one.
    CacheEnable(Option<String>),
    Explain {
        database: Option<String>,
        sql: String,
    },
    /// What drivers send of their own accord.
    Courtesy(Courtesy),
}

/// One row for each line.
pub(super) const EXPLAIN: &[Column] = &[text("explain")];

impl Command {
    /// The commands of a string. What follows EXPLAIN is one statement, whatever it holds.
    ///
    /// # Errors
    /// As [`Command::parse`], and for quotes and comments that do not end.
    pub fn parse_all(string: &str) -> Result<Vec<Self>, ErrorReport> {
        if let Some(explain) = explain(string) {
            return Ok(vec![explain]);
        }
        let sentences = lexer::sentences(string)?;
        sentences.iter().map(Self::parse).collect()
    }

    /// # Errors
    /// 42601, with where to find help.
    pub fn parse(sentence: &Sentence<'_>) -> Result<Self, ErrorReport> {
        let unknown = || unknown(sentence.source);
        let [verb, arguments @ ..] = sentence.tokens.as_slice() else {
            return Err(unknown());
        };
        let Token::Word(verb) = verb else {
            return Err(unknown());
        };
        let verb = verb.to_ascii_uppercase();
        let known = match verb.as_str() {
            "SHOW" => Self::show(arguments),
            "PAUSE" => optional_name(arguments).map(Command::Pause),
            "RESUME" => optional_name(arguments).map(Command::Resume),
            "RECONNECT" => optional_name(arguments).map(Command::Reconnect),
            "SUSPEND" if arguments.is_empty() => Some(Command::Suspend),
            "DISABLE" | "ENABLE" if arguments.is_empty() => {
                let required = "a database is required";
                return Err(ErrorReport::error(SqlState::SYNTAX_ERROR, required));
            }
            "DISABLE" => one_text(arguments).map(|name| Command::Disable(name.to_owned())),
            "ENABLE" => one_text(arguments).map(|name| Command::Enable(name.to_owned())),
            "WAIT_CLOSE" => optional_name(arguments).map(Command::WaitClose),
            "KILL" => optional_name(arguments).map(Command::Kill),
            "KILL_CLIENT" => one_text(arguments)
                .and_then(|id| id.parse().ok())
                .map(Command::KillClient),
            "RELOAD" if arguments.is_empty() => Some(Command::Reload),
            "SHUTDOWN" => shutdown(arguments).map(Command::Shutdown),
            "SET" => set(arguments),
            "CACHE" => cache(arguments)
                .map(Command::CacheFlush)
                .or_else(|| cache_enable(arguments)),
            _ => None,
        };
        let known = known.or_else(|| driver::courtesy(&sentence.tokens).map(Command::Courtesy));
        known.ok_or_else(unknown)
    }

    fn show(arguments: &[Token]) -> Option<Self> {
        let [Token::Word(word)] = arguments else {
            return None;
        };
        if word.eq_ignore_ascii_case("HELP") {
            return Some(Command::Help);
        }
        Show::from_word(word).map(Command::Show)
    }

    /// The columns of its answer; `None` if it has no rows.
    pub fn columns(&self) -> Option<&'static [Column]> {
        match self {
            Command::Show(show) => Some(show.columns()),
            Command::Courtesy(courtesy) => courtesy.columns(),
            Command::Explain { .. } => Some(EXPLAIN),
            _ => None,
        }
    }

    /// Whether it changes anything, so that only an admin may ask for it.
    pub fn changes(&self) -> bool {
        match self {
            Command::Help | Command::Show(_) | Command::Explain { .. } | Command::Courtesy(_) => {
                false
            }
            Command::Pause(_)
            | Command::Resume(_)
            | Command::Suspend
            | Command::Disable(_)
            | Command::Enable(_)
            | Command::Reconnect(_)
            | Command::WaitClose(_)
            | Command::Kill(_)
            | Command::KillClient(_)
            | Command::Reload
            | Command::Shutdown(_)
            | Command::Set { .. }
            | Command::CacheFlush(_)
            | Command::CacheEnable(_) => true,
        }
    }

    /// The database that it is about, and what it would do to it.
    pub fn database(&self) -> Option<(&'static str, &str)> {
        let (verb, name) = match self {
            Command::Pause(name) => ("pause", name.as_deref()),
            Command::Reconnect(name) => ("reconnect", name.as_deref()),
            Command::WaitClose(name) => ("wait in", name.as_deref()),
            Command::Kill(name) => ("kill", name.as_deref()),
            Command::Disable(name) => ("disable", Some(name.as_str())),
            Command::Enable(name) => ("enable", Some(name.as_str())),
            _ => return None,
        };
        Some((verb, name?))
    }

    /// As CommandComplete has it; PgBouncer's words.
    pub fn tag(&self) -> String {
        match self {
            Command::Help | Command::Show(_) => "SHOW".into(),
            Command::Pause(_) => "PAUSE".into(),
            Command::Resume(_) => "RESUME".into(),
            Command::Suspend => "SUSPEND".into(),
            Command::Disable(_) => "DISABLE".into(),
            Command::Enable(_) => "ENABLE".into(),
            Command::Reconnect(_) => "RECONNECT".into(),
            Command::WaitClose(_) => "WAIT_CLOSE".into(),
            Command::Kill(_) => "KILL".into(),
            Command::KillClient(_) => "KILL_CLIENT".into(),
            Command::Reload => "RELOAD".into(),
            Command::Shutdown(_) => "SHUTDOWN".into(),
            Command::Set { key, value } => format!("SET {key}={value}"),
            Command::CacheFlush(_) => "CACHE FLUSH".into(),
            Command::CacheEnable(_) => "CACHE ENABLE".into(),
            Command::Explain { .. } => "EXPLAIN".into(),
            Command::Courtesy(courtesy) => courtesy.tag().into(),
        }
    }
}

fn unknown(source: &str) -> ErrorReport {
    let mut shown: String = source.chars().take(200).collect();
    if shown.len() < source.len() {
        shown.push('…');
    }
    ErrorReport::error(
        SqlState::SYNTAX_ERROR,
        format!("invalid command '{shown}', use SHOW HELP;"),
    )
    .with_hint(
        "This is the console of pgditto, not a database: SHOW HELP lists what it understands.",
    )
}

fn one_text(arguments: &[Token]) -> Option<&str> {
    match arguments {
        [argument] => argument.text(),
        _ => None,
    }
}

/// A database's name or nothing.
#[expect(
    clippy::option_option,
    reason = "the outer one is whether it is well-formed"
)]
fn optional_name(arguments: &[Token]) -> Option<Option<String>> {
    match arguments {
        [] => Some(None),
        [argument] => Some(Some(argument.text()?.to_owned())),
        _ => None,
    }
}

fn shutdown(arguments: &[Token]) -> Option<Shutdown> {
    match arguments {
        [] => Some(Shutdown::Immediate),
        [mode] if mode.is("WAIT_FOR_CLIENTS") => Some(Shutdown::WaitForClients),
        [mode] if mode.is("WAIT_FOR_SERVERS") => Some(Shutdown::WaitForServers),
        _ => None,
    }
}

/// `key = value` or `key TO value`; the value may be a list. `None` for what drivers set.
fn set(arguments: &[Token]) -> Option<Command> {
    let [Token::Word(key), between, values @ ..] = arguments else {
        return None;
    };
    if (*between != Token::Symbol('=') && !between.is("TO")) || driver::is_session_setting(key) {
        return None;
    }
    let mut value = String::new();
    for token in values {
        match token {
            Token::Symbol(',') => value.push(','),
            Token::Symbol(_) => return None,
            token => {
                if !value.is_empty() && !value.ends_with(',') {
                    value.push(' ');
                }
                value.push_str(token.text()?);
            }
        }
    }
    // An empty value must be written as one.
    (!values.is_empty()).then(|| Command::Set {
        key: key.to_ascii_lowercase(),
        value,
    })
}

fn cache(arguments: &[Token]) -> Option<CacheFlush> {
    match arguments {
        [flush] if flush.is("FLUSH") => Some(CacheFlush::All),
        [flush, what, name] if flush.is("FLUSH") => {
            if what.is("TABLE") {
                table(name)
            } else if what.is("TAG") {
                Some(CacheFlush::Tag(name.text()?.to_owned()))
            } else if what.is("SHAPE") {
                let shape = name.text()?.to_ascii_lowercase();
                Some(CacheFlush::Shape(shape))
            } else {
                None
            }
        }
        // "schema"."table" is cut at the quotes.
        [
            flush,
            what,
            Token::Name(schema),
            Token::Word(dot),
            Token::Name(name),
        ] if flush.is("FLUSH") && what.is("TABLE") && dot == "." => Some(CacheFlush::Table {
            schema: Some(schema.clone()),
            name: name.clone(),
        }),
        _ => None,
    }
}

/// `EXPLAIN [ON db] statement`; `None` for anything else.
fn explain(string: &str) -> Option<Command> {
    let rest = after_word(string, "EXPLAIN")?;
    let (database, sql) = match after_word(rest, "ON") {
        None => (None, rest),
        Some(rest) => {
            let (name, sql) = rest.trim_start().split_once(char::is_whitespace)?;
            (Some(name.trim_matches('"').to_owned()), sql)
        }
    };
    let sql = sql.trim().trim_end_matches(';').trim_end().to_owned();
    (!sql.is_empty()).then_some(Command::Explain { database, sql })
}

/// What follows a keyword at the start of `text`.
fn after_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (first, rest) = text.trim_start().split_once(char::is_whitespace)?;
    first.eq_ignore_ascii_case(word).then_some(rest)
}

/// `ENABLE` or `ENABLE SHAPE id`.
fn cache_enable(arguments: &[Token]) -> Option<Command> {
    let shape = match arguments {
        [enable] if enable.is("ENABLE") => None,
        [enable, what, shape] if enable.is("ENABLE") && what.is("SHAPE") => {
            Some(shape.text()?.to_ascii_lowercase())
        }
        _ => return None,
    };
    Some(Command::CacheEnable(shape))
}

fn table(token: &Token) -> Option<CacheFlush> {
    let (schema, name) = match token {
        Token::Word(word) => {
            let word = word.to_lowercase();
            match word.split_once('.') {
                Some((schema, name)) => (Some(schema.to_owned()), name.to_owned()),
                None => (None, word),
            }
        }
        Token::Name(name) => (None, name.clone()),
        Token::Text(_) | Token::Symbol(_) => return None,
    };
    let empty = name.is_empty() || schema.as_ref().is_some_and(String::is_empty);
    (!empty).then_some(CacheFlush::Table { schema, name })
}

#[cfg(test)]
mod tests {
    use super::super::lexer::sentences;
    use super::*;

    fn parse(text: &str) -> Result<Command, ErrorReport> {
        Command::parse(&sentences(text).unwrap()[0])
    }

    #[test]
    fn commands_are_read_in_any_case() {
        let name = || Some("Shop".to_owned());
        for (text, command) in [
            ("show help", Command::Help),
            ("Show Pools;", Command::Show(Show::Pools)),
            ("PAUSE", Command::Pause(None)),
            ("pause Shop", Command::Pause(name())),
            ("resume \"Shop\"", Command::Resume(name())),
            ("reconnect Shop", Command::Reconnect(name())),
            ("kill Shop", Command::Kill(name())),
            ("KILL_CLIENT 12", Command::KillClient(12)),
            ("shutdown", Command::Shutdown(Shutdown::Immediate)),
            (
                "SHUTDOWN WAIT_FOR_CLIENTS",
                Command::Shutdown(Shutdown::WaitForClients),
            ),
            ("cache flush", Command::CacheFlush(CacheFlush::All)),
            (
                "CACHE FLUSH TAG prices",
                Command::CacheFlush(CacheFlush::Tag("prices".into())),
            ),
            (
                "CACHE FLUSH SHAPE 00000000000000FF",
                Command::CacheFlush(CacheFlush::Shape("00000000000000ff".into())),
            ),
            ("cache enable", Command::CacheEnable(None)),
            (
                "CACHE ENABLE SHAPE 00000000000000FF",
                Command::CacheEnable(Some("00000000000000ff".into())),
            ),
            (
                "CACHE FLUSH TABLE Public.Item",
                Command::CacheFlush(CacheFlush::Table {
                    schema: Some("public".into()),
                    name: "item".into(),
                }),
            ),
            (
                "CACHE FLUSH TABLE \"a.b\"",
                Command::CacheFlush(CacheFlush::Table {
                    schema: None,
                    name: "a.b".into(),
                }),
            ),
            (
                "CACHE FLUSH TABLE \"S\".\"T\"",
                Command::CacheFlush(CacheFlush::Table {
                    schema: Some("S".into()),
                    name: "T".into(),
                }),
            ),
            (
                "SET Max_Client_Conn = '50'",
                Command::Set {
                    key: "max_client_conn".into(),
                    value: "50".into(),
                },
            ),
            (
                "SET auth.admin_users TO a, b",
                Command::Set {
                    key: "auth.admin_users".into(),
                    value: "a,b".into(),
                },
            ),
        ] {
            assert_eq!(parse(text).unwrap(), command, "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_says_where_help_is() {
        for text in [
            "foo",
            "show",
            "show nothing",
            "KILL_CLIENT x",
            "shutdown now",
            "cache",
            "cache flush table",
            "cache flush table a b",
            "SET a",
            "SET a =",
            "SELECT * FROM pools",
            "= 1",
            "'x'",
        ] {
            let report = parse(text).unwrap_err();
            assert_eq!(report.code, SqlState::SYNTAX_ERROR, "{text}");
            assert!(report.hint.unwrap().contains("SHOW HELP"), "{text}");
        }
    }

    #[test]
    fn what_follows_explain_is_one_statement() {
        let explain = |database: Option<&str>, sql: &str| {
            let database = database.map(str::to_owned);
            vec![Command::Explain {
                database,
                sql: sql.into(),
            }]
        };
        for (text, commands) in [
            ("EXPLAIN SELECT 1;", explain(None, "SELECT 1")),
            (
                " explain\nSELECT ';', E'\\'', $$;'$$ ; ",
                explain(None, "SELECT ';', E'\\'', $$;'$$"),
            ),
            (
                "EXPLAIN ON \"Shop\" TABLE t",
                explain(Some("Shop"), "TABLE t"),
            ),
        ] {
            assert_eq!(Command::parse_all(text).unwrap(), commands, "{text}");
        }
        for text in ["EXPLAIN", "EXPLAIN ;", "EXPLAIN ON shop", "EXPLAINED x"] {
            assert!(Command::parse_all(text).is_err(), "{text}");
        }
    }

    #[test]
    fn tags_are_those_of_pgbouncer() {
        for (text, tag) in [
            ("show help", "SHOW"),
            ("show pools", "SHOW"),
            ("pause", "PAUSE"),
            ("set max_client_conn=50", "SET max_client_conn=50"),
            ("kill_client 3", "KILL_CLIENT"),
            ("set extra_float_digits = 3", "SET"),
            ("select 1", "SELECT 1"),
        ] {
            assert_eq!(parse(text).unwrap().tag(), tag, "{text}");
        }
    }
}
