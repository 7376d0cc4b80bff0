//! The small statements that drivers send at connect, between uses and at the end of a
//! transaction. They mean nothing here, and refusing them would keep the driver out.

use super::lexer::Token;
use crate::admin::table::{Cell, Column, int4, row, text};
use crate::wire::TransactionStatus;

/// Drivers take their features from the number. An old one promises nothing that the console lacks.
pub(super) const SERVER_VERSION: &str = concat!("14.0 (pgditto ", env!("CARGO_PKG_VERSION"), ")");

/// Parameters that are reported at login and can be shown.
pub(super) const PARAMETERS: &[(&str, &str)] = &[
    ("server_version", SERVER_VERSION),
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("integer_datetimes", "on"),
    ("standard_conforming_strings", "on"),
];

/// Settings of a PostgreSQL session, which drivers set: accepted and of no effect.
const SESSION_SETTINGS: &[&str] = &[
    "application_name",
    "bytea_output",
    "client_encoding",
    "client_min_messages",
    "datestyle",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "intervalstyle",
    "lock_timeout",
    "names",
    "search_path",
    "session",
    "standard_conforming_strings",
    "statement_timeout",
    "time",
    "timezone",
    "transaction",
];

pub(super) fn is_session_setting(key: &str) -> bool {
    SESSION_SETTINGS
        .iter()
        .any(|known| known.eq_ignore_ascii_case(key))
}

/// An answer that is always the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Courtesy {
    /// Only a tag, and the transaction status from then on where it changes.
    Done {
        tag: &'static str,
        status: Option<TransactionStatus>,
    },
    /// One row of one column.
    Value {
        tag: &'static str,
        column: &'static [Column],
        value: Constant,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Constant {
    Text(&'static str),
    Number(u32),
}

impl Courtesy {
    pub fn tag(self) -> &'static str {
        match self {
            Courtesy::Done { tag, .. } | Courtesy::Value { tag, .. } => tag,
        }
    }

    pub fn columns(self) -> Option<&'static [Column]> {
        match self {
            Courtesy::Done { .. } => None,
            Courtesy::Value { column, .. } => Some(column),
        }
    }

    pub fn rows(self) -> Vec<Vec<Cell>> {
        match self {
            Courtesy::Done { .. } => Vec::new(),
            Courtesy::Value { value, .. } => vec![match value {
                Constant::Text(text) => row![text],
                Constant::Number(number) => row![number],
            }],
        }
    }

    /// The transaction status after it, where it changes.
    pub fn status(self) -> Option<TransactionStatus> {
        match self {
            Courtesy::Done { status, .. } => status,
            Courtesy::Value { .. } => None,
        }
    }
}

/// By what the statement begins with, in lower case.
const DONE: &[(&str, &str, Option<TransactionStatus>)] = &[
    ("begin", "BEGIN", Some(TransactionStatus::InBlock)),
    (
        "start transaction",
        "START TRANSACTION",
        Some(TransactionStatus::InBlock),
    ),
    ("commit", "COMMIT", Some(TransactionStatus::Idle)),
    ("end", "COMMIT", Some(TransactionStatus::Idle)),
    ("rollback", "ROLLBACK", Some(TransactionStatus::Idle)),
    ("abort", "ROLLBACK", Some(TransactionStatus::Idle)),
    ("discard", "DISCARD ALL", None),
    ("reset", "RESET", None),
    ("deallocate", "DEALLOCATE ALL", None),
    ("close all", "CLOSE CURSOR ALL", None),
    ("unlisten", "UNLISTEN", None),
];

type Value = (&'static str, &'static [Column], Constant);

const SELECTS: &[Value] = &[
    ("select 1", &[int4("?column?")], Constant::Number(1)),
    ("select version()", &[text("version")], VERSION),
    ("select pg_catalog.version()", &[text("version")], VERSION),
    (
        "select current_database()",
        &[text("current_database")],
        Constant::Text("pgbouncer"),
    ),
    (
        "select current_catalog",
        &[text("current_catalog")],
        Constant::Text("pgbouncer"),
    ),
    (
        "select current_schema()",
        &[text("current_schema")],
        Constant::Text("public"),
    ),
    (
        "select pg_is_in_recovery()",
        &[text("pg_is_in_recovery")],
        Constant::Text("f"),
    ),
    (
        "select pg_catalog.pg_is_in_recovery()",
        &[text("pg_is_in_recovery")],
        Constant::Text("f"),
    ),
];

const VERSION: Constant = Constant::Text(concat!(
    "PostgreSQL 14.0 (pgditto ",
    env!("CARGO_PKG_VERSION"),
    ")"
));

const SHOWS: &[Value] = &[
    (
        "server_version",
        &[text("server_version")],
        Constant::Text(SERVER_VERSION),
    ),
    (
        "server_version_num",
        &[text("server_version_num")],
        Constant::Text("140000"),
    ),
    (
        "server_encoding",
        &[text("server_encoding")],
        Constant::Text("UTF8"),
    ),
    (
        "client_encoding",
        &[text("client_encoding")],
        Constant::Text("UTF8"),
    ),
    (
        "datestyle",
        &[text("DateStyle")],
        Constant::Text("ISO, MDY"),
    ),
    (
        "intervalstyle",
        &[text("IntervalStyle")],
        Constant::Text("postgres"),
    ),
    ("timezone", &[text("TimeZone")], Constant::Text("UTC")),
    (
        "standard_conforming_strings",
        &[text("standard_conforming_strings")],
        Constant::Text("on"),
    ),
    (
        "transaction_read_only",
        &[text("transaction_read_only")],
        Constant::Text("off"),
    ),
    (
        "transaction isolation level",
        &[text("transaction_isolation")],
        Constant::Text("read committed"),
    ),
    (
        "transaction_isolation",
        &[text("transaction_isolation")],
        Constant::Text("read committed"),
    ),
    (
        "search_path",
        &[text("search_path")],
        Constant::Text("public"),
    ),
];

/// `None` if drivers do not send it.
pub(super) fn courtesy(tokens: &[Token]) -> Option<Courtesy> {
    let plain = plain(tokens)?;
    if let Some(setting) = plain.strip_prefix("set ") {
        let end = setting.find([' ', '=']).unwrap_or(setting.len());
        let status = None;
        return is_session_setting(&setting[..end])
            .then_some(Courtesy::Done { tag: "SET", status });
    }
    let (tag, values, name) = match plain.strip_prefix("show ") {
        Some(name) => ("SHOW", SHOWS, name),
        None => ("SELECT 1", SELECTS, plain.as_str()),
    };
    if let Some(&(_, column, value)) = values.iter().find(|(known, _, _)| *known == name) {
        return Some(Courtesy::Value { tag, column, value });
    }
    let begins = |known: &str| {
        let rest = plain.strip_prefix(known)?;
        (rest.is_empty() || rest.starts_with(' ')).then_some(())
    };
    let done = DONE.iter().find(|(known, _, _)| begins(known).is_some());
    done.map(|&(_, tag, status)| Courtesy::Done { tag, status })
}

/// The tokens in lower case, with one blank between words; `None` if there are constants in it that
/// might mean something, unless it is a SET.
fn plain(tokens: &[Token]) -> Option<String> {
    let is_set = tokens.first().is_some_and(|token| token.is("SET"));
    let mut plain = String::new();
    let mut after_word = false;
    for token in tokens {
        match token {
            Token::Word(word) => {
                if after_word {
                    plain.push(' ');
                }
                plain.push_str(&word.to_ascii_lowercase());
                after_word = true;
            }
            Token::Symbol(symbol) => {
                plain.push(*symbol);
                after_word = false;
            }
            Token::Name(_) | Token::Text(_) => {
                if !is_set {
                    return None;
                }
                plain.push_str(" ?");
                after_word = true;
            }
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::super::lexer::sentences;
    use super::*;

    fn courtesy_of(text: &str) -> Option<Courtesy> {
        courtesy(&sentences(text).unwrap()[0].tokens)
    }

    #[test]
    fn what_drivers_send_is_answered() {
        for (text, tag) in [
            ("SET extra_float_digits = 3", "SET"),
            ("SET application_name = 'PostgreSQL JDBC Driver'", "SET"),
            ("SET client_encoding TO 'UTF8'", "SET"),
            ("SET TIME ZONE 'UTC'", "SET"),
            ("set datestyle to iso, mdy", "SET"),
            (
                "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
                "SET",
            ),
            ("BEGIN", "BEGIN"),
            ("begin isolation level serializable", "BEGIN"),
            ("COMMIT", "COMMIT"),
            ("ROLLBACK", "ROLLBACK"),
            ("DISCARD ALL", "DISCARD ALL"),
            ("UNLISTEN *", "UNLISTEN"),
            ("CLOSE ALL", "CLOSE CURSOR ALL"),
            ("RESET ALL", "RESET"),
            ("select  VERSION ( )", "SELECT 1"),
            ("SHOW transaction isolation level", "SHOW"),
            ("show server_version", "SHOW"),
        ] {
            assert_eq!(courtesy_of(text).map(Courtesy::tag), Some(tag), "{text}");
        }
    }

    #[test]
    fn what_means_something_is_not_taken_for_a_courtesy() {
        for text in [
            "SET max_client_conn = 5",
            "beginning",
            "SELECT 2",
            "select 'version()'",
            "SHOW nothing",
            "INSERT",
        ] {
            assert_eq!(courtesy_of(text), None, "{text}");
        }
    }

    #[test]
    fn a_transaction_is_open_from_begin_to_its_end() {
        let status = |text: &str| courtesy_of(text).unwrap().status();
        assert_eq!(status("BEGIN"), Some(TransactionStatus::InBlock));
        assert_eq!(status("end"), Some(TransactionStatus::Idle));
        assert_eq!(status("SET timezone = utc"), None);
    }
}
