//! What sort of statement a text is, by its leading words alone: independent of any parser of the rest, so that a
//! statement whose body nobody understands is still known for what it is.

use super::control;
use super::cursor::Cursor;
use super::facts::{Isolation, Kind};
use super::lexer::TokenKind;

/// The kind of one statement. What does not follow PostgreSQL's grammar as far as it is read here is `Unknown`.
pub(super) fn classify(statement: &str) -> Kind {
    let mut cursor = Cursor::new(statement);
    if cursor.at_end() {
        return Kind::Empty;
    }
    if cursor.is_symbol(0, b'(') {
        return query(&mut cursor);
    }
    let Some(first) = cursor.peek(0).filter(|token| token.kind == TokenKind::Word) else {
        return Kind::Unknown;
    };
    let first = cursor.text(first).to_ascii_lowercase();
    if matches!(first.as_str(), "select" | "values" | "table" | "with") {
        return query(&mut cursor);
    }
    cursor.next();
    data(&first, &mut cursor)
        .or_else(|| control::transaction(&first, &mut cursor))
        .or_else(|| control::setting(&first, &mut cursor))
        .or_else(|| prepared(&first, &mut cursor))
        .or_else(|| definition(&first, &mut cursor))
        .unwrap_or(Kind::Unknown)
}

/// SELECT, VALUES, TABLE and WITH, in parentheses or not.
fn query(cursor: &mut Cursor<'_>) -> Kind {
    loop {
        while cursor.symbol(b'(') {}
        if !cursor.word("with") {
            break;
        }
        match behind_with(cursor) {
            Some(Kind::Select) => {}
            Some(kind) => return kind,
            None => return Kind::Unknown,
        }
    }
    if !["select", "values", "table"]
        .into_iter()
        .any(|word| cursor.is(0, word))
    {
        return Kind::Unknown;
    }
    select_into(cursor).unwrap_or(Kind::Select)
}

/// Steps over the common table expressions. `Select` also stands for a query in parentheses, which may be anything.
fn behind_with(cursor: &mut Cursor<'_>) -> Option<Kind> {
    cursor.word("recursive");
    let mut depth = 0_usize;
    loop {
        if depth == 0 && !cursor.is(1, "as") {
            for (word, kind) in [
                ("select", Kind::Select),
                ("values", Kind::Select),
                ("table", Kind::Select),
                ("insert", Kind::Insert),
                ("update", Kind::Update),
                ("delete", Kind::Delete),
                ("merge", Kind::Merge),
            ] {
                if cursor.is(0, word) {
                    return Some(kind);
                }
            }
        }
        match cursor.next()?.kind {
            TokenKind::Symbol(b'(') => depth += 1,
            TokenKind::Symbol(b')') => {
                depth = depth.saturating_sub(1);
                // Neither a column list nor a body is followed by a parenthesis; only the statement can be.
                if depth == 0 && cursor.is_symbol(0, b'(') {
                    return Some(Kind::Select);
                }
            }
            _ => {}
        }
    }
}

/// SELECT … INTO makes a table. INTO is a reserved word, so that it is one unless something names with it or INSERT or
/// MERGE stand before it.
fn select_into(cursor: &mut Cursor<'_>) -> Option<Kind> {
    behind_into(cursor)?;
    let temporary = temporary(cursor);
    cursor.word("unlogged");
    cursor.word("table");
    Some(if temporary || in_temporary_schema(cursor) {
        Kind::TemporaryDdl
    } else {
        Kind::Ddl
    })
}

/// Steps over all of a SELECT up to its INTO.
pub(super) fn behind_into(cursor: &mut Cursor<'_>) -> Option<()> {
    loop {
        if cursor.word("into") {
            return Some(());
        }
        let naming = cursor.is(0, "as") || cursor.is_symbol(0, b'.');
        let changing = cursor.is(0, "insert") || cursor.is(0, "merge");
        cursor.next()?;
        if naming {
            cursor.next()?;
        } else if changing {
            cursor.word("into");
        }
    }
}

/// Steps over `[LOCAL | GLOBAL] TEMP[ORARY]`.
pub(super) fn temporary(cursor: &mut Cursor<'_>) -> bool {
    if ["local", "global"]
        .into_iter()
        .any(|word| cursor.is(0, word))
        && (cursor.is(1, "temp") || cursor.is(1, "temporary"))
    {
        cursor.next();
    }
    cursor.any(&["temp", "temporary"])
}

fn in_temporary_schema(cursor: &mut Cursor<'_>) -> bool {
    cursor
        .qualified_name()
        .is_some_and(|parts| parts.len() > 1 && parts[parts.len() - 2] == "pg_temp")
}

fn data(first: &str, cursor: &mut Cursor<'_>) -> Option<Kind> {
    Some(match first {
        "insert" => Kind::Insert,
        "update" => Kind::Update,
        "delete" => Kind::Delete,
        "merge" => Kind::Merge,
        "truncate" => Kind::Truncate,
        "copy" => return Some(copy(cursor)),
        "call" => Kind::Call,
        "do" => Kind::Do,
        "fetch" | "move" => Kind::Fetch,
        "close" => Kind::CloseCursor,
        "listen" => Kind::Listen,
        "unlisten" => Kind::Unlisten,
        "notify" => Kind::Notify,
        "lock" => Kind::Lock,
        "load" => Kind::Load,
        "explain" => Kind::Explain {
            analyze: explain(cursor),
        },
        _ => return None,
    })
}

/// COPY [BINARY] name [(columns)] {FROM | TO} …, COPY (query) TO ….
fn copy(cursor: &mut Cursor<'_>) -> Kind {
    if cursor.is_symbol(0, b'(') {
        return if cursor.parenthesised() && cursor.word("to") {
            Kind::CopyTo
        } else {
            Kind::Unknown
        };
    }
    if cursor.is(0, "binary")
        && !cursor.is(1, "from")
        && !cursor.is(1, "to")
        && !cursor.is_symbol(1, b'(')
        && !cursor.is_symbol(1, b'.')
    {
        cursor.next();
    }
    let named = cursor.qualified_name().is_some();
    if cursor.is_symbol(0, b'(') && !cursor.parenthesised() {
        return Kind::Unknown;
    }
    match named {
        true if cursor.word("from") => Kind::CopyFrom,
        true if cursor.word("to") => Kind::CopyTo,
        _ => Kind::Unknown,
    }
}

/// Steps over what stands between EXPLAIN and its statement; whether that will be run. An option's value that is not a
/// plain `off` or `false` counts as on.
pub(super) fn explain(cursor: &mut Cursor<'_>) -> bool {
    let query = |cursor: &mut Cursor<'_>| {
        ["select", "values", "table", "with"]
            .into_iter()
            .any(|word| cursor.is(1, word))
    };
    if !cursor.is_symbol(0, b'(') || cursor.is_symbol(1, b'(') || query(cursor) {
        let analyze = cursor.any(&["analyze", "analyse"]);
        cursor.word("verbose");
        return analyze;
    }
    cursor.next();
    let mut analyze = false;
    while let Some(token) = cursor.next() {
        match token.kind {
            TokenKind::Symbol(b')') => break,
            TokenKind::Word
                if ["analyze", "analyse"]
                    .iter()
                    .any(|word| cursor.text(token).eq_ignore_ascii_case(word)) =>
            {
                analyze |= !cursor.any(&["off", "false"]);
            }
            TokenKind::Quoted { .. } => analyze = true,
            _ => {}
        }
    }
    analyze
}

fn prepared(first: &str, cursor: &mut Cursor<'_>) -> Option<Kind> {
    Some(match first {
        "prepare" => Kind::Prepare {
            name: cursor.name()?,
        },
        "execute" => Kind::Execute {
            name: cursor.name()?,
        },
        "deallocate" => {
            if cursor.is(0, "prepare") && cursor.peek(1).is_some() {
                cursor.next();
            }
            Kind::Deallocate {
                name: if cursor.word("all") {
                    None
                } else {
                    Some(cursor.name()?)
                },
            }
        }
        "declare" => Kind::Declare {
            hold: declare(cursor)?,
        },
        _ => return None,
    })
}

/// Steps over DECLARE's words up to and including FOR; whether the cursor outlives its transaction.
pub(super) fn declare(cursor: &mut Cursor<'_>) -> Option<bool> {
    cursor.name()?;
    while cursor.any(&["binary", "insensitive", "asensitive", "no", "scroll"]) {}
    if !cursor.word("cursor") {
        return None;
    }
    let hold = cursor.words(&["with", "hold"]);
    cursor.words(&["without", "hold"]);
    cursor.word("for").then_some(hold)
}

fn definition(first: &str, cursor: &mut Cursor<'_>) -> Option<Kind> {
    Some(match first {
        "create" => create(cursor),
        "vacuum" | "analyze" | "analyse" | "reindex" | "comment" | "cluster" | "checkpoint" => {
            Kind::Maintenance
        }
        "refresh" => Kind::RefreshMaterializedView,
        "alter" | "drop" | "grant" | "revoke" | "import" | "reassign" | "security" => Kind::Ddl,
        _ => return None,
    })
}

fn create(cursor: &mut Cursor<'_>) -> Kind {
    cursor.words(&["or", "replace"]);
    if cursor.is(0, "index") || cursor.is(0, "unique") && cursor.is(1, "index") {
        return Kind::Maintenance;
    }
    let temporary = temporary(cursor);
    cursor.word("recursive");
    if !cursor.any(&["table", "view", "sequence"]) {
        return Kind::Ddl;
    }
    cursor.words(&["if", "not", "exists"]);
    if !in_temporary_schema(cursor) && !temporary {
        return Kind::Ddl;
    }
    // A temporary child belongs to what its permanent parent answers.
    while cursor.peek(0).is_some() {
        if cursor.word("inherits") || cursor.words(&["partition", "of"]) {
            return Kind::Ddl;
        }
        cursor.next();
    }
    Kind::TemporaryDdl
}

/// `[ISOLATION LEVEL …] [READ ONLY | READ WRITE] [[NOT] DEFERRABLE]`, with or without commas, to the end.
pub(super) fn transaction_modes(
    cursor: &mut Cursor<'_>,
) -> Option<(Option<Isolation>, Option<bool>, bool)> {
    let (mut isolation, mut read_only, mut deferrable) = (None, None, false);
    let mut first = true;
    while !cursor.at_end() {
        if !first {
            cursor.symbol(b',');
        }
        first = false;
        if cursor.words(&["isolation", "level"]) {
            isolation = Some(level(cursor)?);
        } else if cursor.words(&["read", "only"]) {
            read_only = Some(true);
        } else if cursor.words(&["read", "write"]) {
            read_only = Some(false);
        } else if cursor.words(&["not", "deferrable"]) {
            deferrable = false;
        } else if cursor.word("deferrable") {
            deferrable = true;
        } else {
            return None;
        }
    }
    Some((isolation, read_only, deferrable))
}

fn level(cursor: &mut Cursor<'_>) -> Option<Isolation> {
    [
        (
            ["read", "uncommitted"].as_slice(),
            Isolation::ReadUncommitted,
        ),
        (&["read", "committed"], Isolation::ReadCommitted),
        (&["repeatable", "read"], Isolation::RepeatableRead),
        (&["serializable"], Isolation::Serializable),
    ]
    .into_iter()
    .find_map(|(words, isolation)| cursor.words(words).then_some(isolation))
}
