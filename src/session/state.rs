//! What a session keeps on its upstream connection: settings, which move with
//! it, and pins, which do not.
//!
//! Nothing here is guessed from the text of a statement. A statement that may
//! leave something behind is followed by *reading back*: the server says what
//! the connection holds, and that becomes the session's settings and pins.

use std::collections::{BTreeSet, HashSet};

use super::statements::upstream_id;
use super::switches;
use crate::catalog::Temporaries;
use crate::upstream::Settings;
use crate::wire::ErrorReport;

/// Why a session keeps its upstream connection. Also a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pin {
    /// Temporary tables, views or functions.
    TemporaryObjects,
    /// Session-level advisory locks.
    AdvisoryLocks,
    /// LISTEN.
    Listen,
    /// A cursor WITH HOLD.
    HoldCursor,
    /// PREPARE in SQL.
    SqlPrepare,
    /// A setting that cannot be read back and set again.
    Setting,
    /// SET SESSION AUTHORIZATION.
    SessionAuthorization,
    /// LOAD: libraries cannot be unloaded.
    Load,
    /// `currval` or `lastval` was lost once, or code relies on it that the client does not see.
    Sequence,
    /// State of the process that cannot be asked for, or an answer that depends on who it has served.
    OwnProcess,
    /// A setting of the startup packet that only a connection can begin with.
    ConnectionStart,
    /// `pool_mode = session`.
    SessionPooling,
    /// A replication connection.
    Replication,
}

impl Pin {
    pub const ALL: &'static [Pin] = &[
        Pin::TemporaryObjects,
        Pin::AdvisoryLocks,
        Pin::Listen,
        Pin::HoldCursor,
        Pin::SqlPrepare,
        Pin::Setting,
        Pin::SessionAuthorization,
        Pin::Load,
        Pin::Sequence,
        Pin::OwnProcess,
        Pin::ConnectionStart,
        Pin::SessionPooling,
        Pin::Replication,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Pin::TemporaryObjects => "temporary_objects",
            Pin::AdvisoryLocks => "advisory_locks",
            Pin::Listen => "listen",
            Pin::HoldCursor => "hold_cursor",
            Pin::SqlPrepare => "sql_prepare",
            Pin::Setting => "setting",
            Pin::SessionAuthorization => "session_authorization",
            Pin::Load => "load",
            Pin::Sequence => "sequence",
            Pin::OwnProcess => "own_process",
            Pin::ConnectionStart => "connection_start",
            Pin::SessionPooling => "session_pooling",
            Pin::Replication => "replication",
        }
    }

    /// True for those that reading back finds again as long as they hold.
    fn is_read_back(self) -> bool {
        !matches!(
            self,
            Pin::Setting
                | Pin::Load
                | Pin::Sequence
                | Pin::OwnProcess
                | Pin::ConnectionStart
                | Pin::SessionPooling
                | Pin::Replication
        )
    }
}

/// What the server says that a connection holds.
#[derive(Debug, Default)]
pub struct ReadBack {
    pub settings: Settings,
    pub pins: BTreeSet<Pin>,
    /// The backend has a temporary schema, be it empty.
    pub temporary_schema: bool,
    /// What is in it; of tables it is not told what is attached to them.
    pub temporaries: Temporaries,
    /// On which the connection listens.
    pub channels: Vec<String>,
    /// Statements of the protocol that are prepared there, by our own numbers; `None` if it was not asked.
    pub prepared: Option<HashSet<u64>>,
}

/// Names of custom settings that a session may have set (`app.tenant`): the
/// server does not list them, so they are asked for by name.
#[derive(Debug, Clone, Default)]
pub struct CustomNames(BTreeSet<String>);

/// More custom settings than this cannot be followed; the session is pinned.
const CUSTOM_NAMES_MAX: usize = 64;

impl CustomNames {
    /// Adds a name; false when there are too many.
    pub fn insert(&mut self, name: &str) -> bool {
        if self.0.contains(name) {
            return true;
        }
        if self.0.len() >= CUSTOM_NAMES_MAX {
            return false;
        }
        self.0.insert(name.to_owned())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// The statement that reads a connection back; every name in it is qualified,
/// so that no session's `search_path` can change what it means. `prepared`: with the statements of the protocol.
pub fn read_back_sql(custom: &CustomNames, prepared: bool) -> String {
    let mut sql = String::from(
        "SELECT 's', name::pg_catalog.text, setting FROM pg_catalog.pg_settings \
           WHERE source OPERATOR(pg_catalog.=) 'session' \
             AND name OPERATOR(pg_catalog.<>) ALL (ARRAY['transaction_isolation','transaction_read_only','transaction_deferrable','seed','role','session_authorization']) \
         UNION ALL SELECT 'r', 'role', pg_catalog.current_setting('role') \
         UNION ALL SELECT 'u', '', '' WHERE pg_catalog.current_setting('session_authorization') OPERATOR(pg_catalog.<>) \
             (SELECT usename::pg_catalog.text FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) a JOIN pg_catalog.pg_user u ON u.usesysid OPERATOR(pg_catalog.=) a.usesysid) \
         UNION ALL SELECT 'a', '', '' WHERE EXISTS (SELECT 1 FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory' AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()) \
         UNION ALL SELECT 'l', pg_catalog.pg_listening_channels(), '' \
         UNION ALL SELECT 'p', '', '' WHERE EXISTS (SELECT 1 FROM pg_catalog.pg_prepared_statement() WHERE from_sql) \
         UNION ALL SELECT 'h', '', '' WHERE EXISTS (SELECT 1 FROM pg_catalog.pg_cursor() WHERE is_holdable) \
         UNION ALL SELECT 't', relname::pg_catalog.text, relkind::pg_catalog.text FROM pg_catalog.pg_class \
             WHERE pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0::pg_catalog.oid AND relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema() \
         UNION ALL SELECT 't', NULL, '' WHERE pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0::pg_catalog.oid \
             AND EXISTS (SELECT 1 FROM pg_catalog.pg_depend WHERE refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema() \
                 AND refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass \
                 AND classid OPERATOR(pg_catalog.<>) 'pg_catalog.pg_class'::pg_catalog.regclass) \
         UNION ALL SELECT 'm', '', '' WHERE pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0::pg_catalog.oid",
    );
    if prepared {
        sql.push_str(
            " UNION ALL SELECT 'n', '', COALESCE(pg_catalog.string_agg(name, ' '), '') \
             FROM pg_catalog.pg_prepared_statement() WHERE NOT from_sql",
        );
    }
    for name in custom.iter() {
        let literal = quote_literal(name);
        sql.push_str(&format!(
            " UNION ALL SELECT 'c', {literal}, pg_catalog.current_setting({literal}, true) \
             WHERE pg_catalog.current_setting({literal}, true) IS NOT NULL"
        ));
    }
    sql
}

/// Names those of these settings, which are in lower case, that have no value of the session's own.
pub fn reset_sql<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(quote_literal).collect();
    format!(
        "SELECT name::pg_catalog.text FROM pg_catalog.pg_settings \
           WHERE source OPERATOR(pg_catalog.<>) 'session' \
             AND pg_catalog.lower(name COLLATE pg_catalog.\"C\") OPERATOR(pg_catalog.=) ANY (ARRAY[{}]::pg_catalog.text[])",
        names.join(", ")
    )
}

/// Takes the rows of [`read_back_sql`].
pub fn read_back(rows: &[Vec<Option<String>>]) -> ReadBack {
    let mut settings = Settings::default();
    let mut pins = BTreeSet::new();
    let mut channels = Vec::new();
    let mut prepared = None;
    let mut temporary_schema = false;
    let mut temporaries = Temporaries::None;
    for row in rows {
        let (Some(Some(kind)), Some(name), Some(value)) = (row.first(), row.get(1), row.get(2))
        else {
            continue;
        };
        match (kind.as_str(), name, value) {
            ("s" | "c", Some(name), Some(value)) => {
                match settings.with(name, value) {
                    Ok(with) => settings = with,
                    // It can be set nowhere else.
                    Err(_) => drop(pins.insert(Pin::Setting)),
                }
            }
            ("r", _, Some(role)) if role != "none" => {
                settings = settings.with("role", role).unwrap_or(settings);
            }
            ("u", ..) => drop(pins.insert(Pin::SessionAuthorization)),
            ("a", ..) => drop(pins.insert(Pin::AdvisoryLocks)),
            ("l", Some(channel), _) => {
                pins.insert(Pin::Listen);
                channels.push(channel.clone());
            }
            ("p", ..) => drop(pins.insert(Pin::SqlPrepare)),
            ("n", _, Some(names)) => {
                prepared = Some(names.split(' ').filter_map(upstream_id).collect());
            }
            ("h", ..) => drop(pins.insert(Pin::HoldCursor)),
            ("m", ..) => temporary_schema = true,
            ("t", name, sort) => {
                pins.insert(Pin::TemporaryObjects);
                temporaries.note(name.as_deref(), sort.as_deref());
            }
            _ => {}
        }
    }
    ReadBack {
        settings,
        pins,
        temporary_schema,
        temporaries,
        channels,
        prepared,
    }
}

/// The pins after reading back: those that the server names, and of those that
/// it cannot name the ones that held before.
pub fn pins_after(before: &BTreeSet<Pin>, read_back: &BTreeSet<Pin>) -> BTreeSet<Pin> {
    before
        .iter()
        .copied()
        .filter(|pin| !pin.is_read_back())
        .chain(read_back.iter().copied())
        .collect()
}

/// Settings that change no answer's bytes and no name's meaning, so that two
/// sessions that differ only in them share entries. `client_min_messages` is
/// not among them: a notice that was held back must not be cached as silence.
const NOT_IN_KEYS: &[&str] = &[
    "application_name",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "lock_timeout",
    "statement_timeout",
    "transaction_timeout",
    "tcp_keepalives_count",
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "tcp_user_timeout",
];

/// The settings as they stand in a cache key: without those that change no
/// answer, and without custom ones, which stand only in the keys of statements
/// that read them.
pub fn key_settings(settings: &Settings) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in settings.iter() {
        if name.contains('.') || NOT_IN_KEYS.contains(&name) {
            continue;
        }
        for part in [name, value] {
            bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
    }
    bytes
}

/// A text as a literal that means the same whatever `standard_conforming_strings` is.
pub fn quote_literal(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 4);
    quoted.push_str("E'");
    for c in text.chars() {
        if c == '\'' || c == '\\' {
            quoted.push(c);
        }
        quoted.push(c);
    }
    quoted.push('\'');
    quoted
}

/// The settings that a StartupMessage asks for, in the order in which PostgreSQL sets them: those of `options`, then its own
/// parameters, which win.
///
/// # Errors
/// An option that PostgreSQL's own command line would refuse; what the client is told of it.
pub fn startup_settings(
    parameters: &[(String, String)],
) -> Result<Vec<(String, String)>, ErrorReport> {
    let mut settings = Vec::new();
    let options = parameters.iter().rev().find(|(name, _)| name == "options");
    if let Some((_, options)) = options {
        switches::read(split_options(options), &mut settings)?;
    }
    for (name, value) in parameters {
        match name.as_str() {
            "user" | "database" | "options" => {}
            name if name.starts_with("_pq_.") => {}
            _ => settings.push((name.to_ascii_lowercase(), value.clone())),
        }
    }
    Ok(settings)
}

/// Words separated by blanks; a backslash takes the next character as it is.
fn split_options(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = options.chars();
    while let Some(c) = characters.next() {
        if c.is_ascii_whitespace() {
            words.extend(word.take());
        } else if c == '\\' {
            word.get_or_insert_default().extend(characters.next());
        } else {
            word.get_or_insert_default().push(c);
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn startup_options_are_read_as_postgres_reads_them() {
        let settings = startup_settings(&[
            pair("user", "a"),
            pair("DateStyle", "ISO"),
            pair("options", r"-c geqo=off --search-path=a\ b -cwork_mem=4MB"),
        ])
        .unwrap();
        assert_eq!(
            settings,
            vec![
                pair("geqo", "off"),
                pair("search_path", "a b"),
                pair("work_mem", "4MB"),
                pair("datestyle", "ISO"),
            ]
        );
        assert!(startup_settings(&[pair("options", "-x")]).is_err());
        assert!(startup_settings(&[pair("options", "-c")]).is_err());
        assert!(startup_settings(&[pair("options", "-c name")]).is_err());
    }

    #[test]
    fn pins_that_the_server_cannot_name_stay() {
        let before = BTreeSet::from([Pin::Load, Pin::Listen]);
        let found = BTreeSet::from([Pin::AdvisoryLocks]);
        assert_eq!(
            pins_after(&before, &found),
            BTreeSet::from([Pin::Load, Pin::AdvisoryLocks])
        );
    }

    #[test]
    fn equal_answers_share_a_key_whatever_the_timeouts() {
        let plain = Settings::default().with("timezone", "UTC").unwrap();
        let timed = plain
            .with("statement_timeout", "5")
            .unwrap()
            .with("app.user", "7")
            .unwrap();
        assert_eq!(key_settings(&plain), key_settings(&timed));
        assert_ne!(key_settings(&plain), key_settings(&Settings::default()));
    }

    #[test]
    fn literals_survive_quoting() {
        assert_eq!(quote_literal(r"a'b\c"), r"E'a''b\\c'");
    }
}
