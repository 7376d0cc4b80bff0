//! Transaction control and settings: the statements of which every word is read, because they may be answered or
//! followed without the server's help.

use super::cursor::Cursor;
use super::facts::Kind;
use super::kind::transaction_modes;

/// Whether a statement that begins a transaction says START TRANSACTION, which the server's command tag repeats.
pub fn is_start_transaction(statement: &str) -> bool {
    let mut cursor = Cursor::new(statement);
    while cursor.symbol(b';') {}
    cursor.is(0, "start")
}

/// What a LISTEN or UNLISTEN names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel<'a> {
    /// `UNLISTEN *`.
    All,
    /// A name as the server folds it, and as it stands in the text.
    Named { name: String, written: &'a str },
}

/// The longest identifier that a server does not cut, and say so, in bytes.
const NAME_BYTES_MAX: usize = 63;

/// The channel of a statement that is LISTEN or UNLISTEN to its last word; `None` where that is not
/// certain, also for a name that the server would cut.
pub fn channel(statement: &str) -> Option<Channel<'_>> {
    let mut cursor = Cursor::new(statement);
    while cursor.symbol(b';') {}
    let channel = if cursor.words(&["unlisten"]) && cursor.operator("*") {
        Channel::All
    } else {
        cursor.word("listen");
        let token = cursor.peek(0)?;
        let written = cursor.text(token);
        let name = cursor.name()?;
        if name.is_empty() || written.len() > NAME_BYTES_MAX {
            return None;
        }
        Channel::Named { name, written }
    };
    cursor.at_end().then_some(channel)
}

/// `None` if it is no transaction control, or not to the last word.
pub(super) fn transaction(first: &str, cursor: &mut Cursor<'_>) -> Option<Kind> {
    let noise = |cursor: &mut Cursor<'_>| cursor.any(&["work", "transaction"]);
    let kind = match first {
        "begin" | "start" => {
            if first == "start" && !cursor.is(0, "transaction") {
                return None;
            }
            noise(cursor);
            let (isolation, read_only, deferrable) = transaction_modes(cursor)?;
            Kind::Begin {
                isolation,
                read_only,
                deferrable,
            }
        }
        "commit" if cursor.word("prepared") => Kind::CommitPrepared {
            gid: cursor.constant()?,
        },
        "commit" | "end" => {
            noise(cursor);
            Kind::Commit {
                chain: chain(cursor)?,
            }
        }
        "rollback" if cursor.word("prepared") => {
            cursor.constant()?;
            Kind::RollbackPrepared
        }
        "rollback" | "abort" => {
            noise(cursor);
            if first == "rollback" && cursor.word("to") {
                savepoint(cursor)?;
                Kind::RollbackTo
            } else {
                Kind::Rollback {
                    chain: chain(cursor)?,
                }
            }
        }
        "savepoint" => {
            cursor.name()?;
            Kind::Savepoint
        }
        "release" => {
            savepoint(cursor)?;
            Kind::Release
        }
        "prepare" if cursor.word("transaction") => match cursor.constant() {
            Some(gid) => Kind::PrepareTransaction { gid },
            // A prepared statement by the name of `transaction`.
            None => {
                return Some(Kind::Prepare {
                    name: "transaction".to_owned(),
                });
            }
        },
        _ => return None,
    };
    cursor.at_end().then_some(kind)
}

fn savepoint(cursor: &mut Cursor<'_>) -> Option<String> {
    if cursor.is(0, "savepoint") && cursor.peek(1).is_some() {
        cursor.next();
    }
    cursor.name()
}

fn chain(cursor: &mut Cursor<'_>) -> Option<bool> {
    if cursor.words(&["and", "chain"]) {
        return Some(true);
    }
    cursor.words(&["and", "no", "chain"]);
    Some(false)
}

/// SET, RESET, SHOW, DISCARD.
pub(super) fn setting(first: &str, cursor: &mut Cursor<'_>) -> Option<Kind> {
    match first {
        "set" => set(cursor),
        "reset" => {
            let name = special_name(cursor).or_else(|| setting_name(cursor))?;
            let name = (name != "all").then_some(name);
            cursor.at_end().then_some(Kind::Reset { name })
        }
        "show" => {
            let name = special_name(cursor).or_else(|| setting_name(cursor))?;
            cursor.at_end().then_some(Kind::Show { name })
        }
        "discard" if cursor.word("all") => cursor.at_end().then_some(Kind::DiscardAll),
        "discard" => {
            cursor.any(&["plans", "sequences", "temp", "temporary"]);
            cursor.at_end().then_some(Kind::DiscardOther)
        }
        _ => None,
    }
}

fn set(cursor: &mut Cursor<'_>) -> Option<Kind> {
    if cursor.word("constraints") {
        return Some(Kind::SetConstraints);
    }
    // LOCAL and SESSION may also be the name of what is set.
    let mut local = false;
    if (cursor.is(0, "local") || cursor.is(0, "session")) && !names_a_setting(cursor) {
        if cursor.words(&["session", "characteristics"]) {
            return Some(Kind::Set {
                name: "session characteristics".to_owned(),
                local: false,
            });
        }
        if !cursor.is(1, "authorization") {
            local = cursor.is(0, "local");
            cursor.next();
        }
    }
    if cursor.is(0, "transaction") && !names_a_setting(cursor) {
        return Some(Kind::SetTransaction);
    }
    if !names_a_setting(cursor)
        && let Some(name) = special_set(cursor)
    {
        return Some(Kind::Set {
            name: name.to_owned(),
            local,
        });
    }
    let name = setting_name(cursor)?;
    let assigned = cursor.operator("=") || cursor.word("to") || cursor.words(&["from", "current"]);
    assigned.then_some(Kind::Set { name, local })
}

/// SET … TO DEFAULT, `= DEFAULT`, and what says the same of what SET calls by another name (`TIME ZONE LOCAL`).
pub(super) fn sets_to_default(kind: &Kind, statement: &str) -> bool {
    let Kind::Set { name, .. } = kind else {
        return false;
    };
    let mut cursor = Cursor::new(statement);
    let mut is_default = false;
    while !cursor.at_end() {
        is_default = cursor.is(0, "default")
            || name == "timezone"
                && cursor.is(0, "local")
                && cursor.peek(1).is_none_or(|_| cursor.is_symbol(1, b';'));
        cursor.next();
    }
    is_default
}

/// The value that SET LOCAL gives to a setting whose name has a dot, where it is one string; `None` of any other statement.
/// The names of pgditto's own are none of these.
pub fn local_custom_value(statement: &str) -> Option<String> {
    let mut cursor = Cursor::new(statement);
    if !cursor.words(&["set", "local"]) {
        return None;
    }
    let name = setting_name(&mut cursor)?;
    let custom = name.contains('.') && !name.starts_with("pgditto.");
    let assigned = custom && (cursor.operator("=") || cursor.word("to"));
    let plain = cursor
        .peek(0)
        .is_some_and(|token| !cursor.text(token).contains('\\'));
    let value = cursor.constant().filter(|_| assigned && plain)?;
    while cursor.symbol(b';') {}
    cursor.at_end().then_some(value)
}

fn names_a_setting(cursor: &mut Cursor<'_>) -> bool {
    cursor.is_symbol(1, b'.')
        || cursor.is(1, "to")
        || cursor
            .peek(1)
            .is_some_and(|token| cursor.text(token) == "=")
}

/// What SET calls by another name than SHOW does.
fn special_set(cursor: &mut Cursor<'_>) -> Option<&'static str> {
    [
        (["time", "zone"].as_slice(), "timezone"),
        (&["session", "authorization"], "session_authorization"),
        (&["xml", "option"], "xmloption"),
        (&["names"], "client_encoding"),
        (&["role"], "role"),
        (&["schema"], "search_path"),
        (&["seed"], "seed"),
        (&["catalog"], "catalog"),
    ]
    .into_iter()
    .find_map(|(words, name)| cursor.words(words).then_some(name))
}

fn special_name(cursor: &mut Cursor<'_>) -> Option<String> {
    [
        (["time", "zone"].as_slice(), "timezone"),
        (&["session", "authorization"], "session_authorization"),
        (
            &["transaction", "isolation", "level"],
            "transaction_isolation",
        ),
    ]
    .into_iter()
    .find_map(|(words, name)| cursor.words(words).then(|| name.to_owned()))
}

/// The name of a setting; PostgreSQL compares them without regard to case, quoted or not.
fn setting_name(cursor: &mut Cursor<'_>) -> Option<String> {
    Some(cursor.qualified_name()?.join(".").to_ascii_lowercase())
}
