//! Temporary tables: what their definitions run, and which of them run nothing that a user wrote, whoever writes to them.

use super::analyse::{body, inner};
use super::cursor::Cursor;
use super::facts::{Access, Facts, Kind, MadeTable, ObjectName, RelationUse, TemporaryTables};
use super::kind::{behind_into, temporary};
use super::lexer::{Token, TokenKind};

/// Whether it is a SELECT that makes a table.
pub(super) fn selects_into(statement: &str, kind: &Kind) -> bool {
    matches!(kind, Kind::Ddl | Kind::TemporaryDdl)
        && Cursor::new(statement).peek(0).is_some_and(|token| {
            let word = &statement[token.start..token.end];
            ["select", "with", "values", "table", "("]
                .iter()
                .any(|first| word.eq_ignore_ascii_case(first))
        })
}

/// What makes a temporary relation is run only where a query fills it.
pub(super) fn definition(statement: &str) -> Facts {
    const KIND: Kind = Kind::TemporaryDdl;
    if selects_into(statement, &KIND) {
        let facts = body(Kind::Select, statement);
        return Facts {
            kind: KIND,
            temporary: selected_into(statement).map(TemporaryTables::Made),
            ..written_elsewhere(facts)
        };
    }
    let mut cursor = Cursor::new(statement);
    while !cursor.word("table") {
        if cursor.any(&["view", "sequence"]) {
            return Facts::harmless(KIND);
        }
        if cursor.next().is_none() {
            return Facts::unknown(KIND);
        }
    }
    let made = created(statement);
    let copied = made.iter().flat_map(|made| &made.copies).map(read);
    let copied: Vec<RelationUse> = copied.collect();
    let facts = match filling_query(statement, &mut cursor) {
        Some((start, end)) => {
            written_elsewhere(inner(KIND, statement.get(start..end).unwrap_or_default()))
        }
        None => Facts {
            relations: copied,
            ..Facts::harmless(KIND)
        },
    };
    Facts {
        temporary: made.map(TemporaryTables::Made),
        ..facts
    }
}

/// DROP TABLE names, and nothing that depends on them.
pub(super) fn dropped(statement: &str) -> Option<TemporaryTables> {
    let mut cursor = Cursor::new(statement);
    if !cursor.words(&["drop", "table"]) {
        return None;
    }
    cursor.words(&["if", "exists"]);
    let mut names = vec![name(&mut cursor)?];
    while cursor.symbol(b',') {
        names.push(name(&mut cursor)?);
    }
    cursor.word("restrict");
    cursor.at_end().then_some(TemporaryTables::Dropped(names))
}

fn name(cursor: &mut Cursor<'_>) -> Option<ObjectName> {
    let mut parts = cursor.qualified_name()?;
    let name = parts.pop()?;
    Some(ObjectName {
        schema: parts.pop(),
        name,
    })
}

fn read(name: &ObjectName) -> RelationUse {
    RelationUse {
        name: name.clone(),
        access: Access::Read,
        only: false,
        alias: None,
    }
}

fn selected_into(statement: &str) -> Option<MadeTable> {
    let mut cursor = Cursor::new(statement);
    behind_into(&mut cursor)?;
    temporary(&mut cursor);
    cursor.word("table");
    Some(MadeTable {
        name: name(&mut cursor)?.name,
        draws: false,
        calls: Vec::new(),
        copies: Vec::new(),
    })
}

/// CREATE TEMP TABLE with columns whose defaults are constants or calls without arguments, and with no constraints but
/// unique ones; or with a query.
fn created(statement: &str) -> Option<MadeTable> {
    let mut cursor = Cursor::new(statement);
    cursor.word("create");
    temporary(&mut cursor);
    if !cursor.word("table") {
        return None;
    }
    cursor.words(&["if", "not", "exists"]);
    let mut made = MadeTable {
        name: name(&mut cursor)?.name,
        draws: false,
        calls: Vec::new(),
        copies: Vec::new(),
    };
    if cursor.symbol(b'(') {
        columns(&mut cursor, &mut made)?;
    }
    while let Some(token) = cursor.peek(0) {
        if cursor.word("as") {
            break;
        }
        // OF a type, PARTITION BY.
        if cursor.any(&["of", "partition", "inherits"]) {
            return None;
        }
        match token.kind {
            TokenKind::Symbol(b'(') => drop(cursor.parenthesised()),
            _ => drop(cursor.next()),
        }
    }
    Some(made)
}

fn columns(cursor: &mut Cursor<'_>, made: &mut MadeTable) -> Option<()> {
    let mut depth = 1_usize;
    while depth > 0 {
        if cursor.any(&["references", "check", "exclude"]) {
            return None;
        }
        if cursor.word("like") {
            made.copies.push(name(cursor)?);
        } else if cursor.word("default") {
            default(cursor, made)?;
        } else if cursor.word("generated") {
            let identity = cursor.words(&["always", "as", "identity"])
                || cursor.words(&["by", "default", "as", "identity"]);
            identity.then_some(())?;
            made.draws = true;
        } else {
            let token = cursor.next()?;
            match token.kind {
                TokenKind::Symbol(b'(') => depth += 1,
                TokenKind::Symbol(b')') => depth -= 1,
                // `serial`, `serial8`, `bigserial`, …; or a column that is called so.
                TokenKind::Word => {
                    let word = cursor.text(token).to_ascii_lowercase();
                    made.draws |= word.contains("serial");
                }
                _ => {}
            }
        }
    }
    Some(())
}

/// A constant or `name()`, with casts.
fn default(cursor: &mut Cursor<'_>, made: &mut MadeTable) -> Option<()> {
    const VALUES: &[&str] = &[
        "true",
        "false",
        "null",
        "current_date",
        "current_time",
        "current_timestamp",
        "localtime",
        "localtimestamp",
        "current_user",
        "session_user",
    ];
    let parenthesised = cursor.symbol(b'(');
    if !cursor.any(VALUES) && cursor.constant().is_none() {
        let signed = cursor.operator("-") || cursor.operator("+");
        let number = |token: Token| matches!(token.kind, TokenKind::Integer | TokenKind::Decimal);
        if cursor.peek(0).is_some_and(number) {
            cursor.next();
        } else {
            let call = name(cursor)?;
            if signed || !cursor.symbol(b'(') || !cursor.symbol(b')') {
                return None;
            }
            made.calls.push(call);
        }
    }
    while cursor.operator("::") {
        cursor.qualified_name()?;
        cursor.words(&["precision"]);
        cursor.words(&["varying"]);
        if cursor.is_symbol(0, b'(') {
            cursor.parenthesised();
        }
        while cursor.symbol(b'[') {
            cursor.symbol(b']').then_some(())?;
        }
    }
    if parenthesised {
        cursor.symbol(b')').then_some(())?;
    }
    // Whatever goes on here is no part of a larger expression.
    let ends = [")", ","];
    let next = cursor.peek(0)?;
    let ended = ends.contains(&cursor.text(next))
        || ["not", "null", "primary", "unique", "constraint", "collate"]
            .iter()
            .any(|word| cursor.is(0, word));
    ended.then_some(())
}

/// The new temporary table itself is nothing that anybody else could read.
fn written_elsewhere(facts: Facts) -> Facts {
    let writes = !facts.complete
        || facts
            .relations
            .iter()
            .any(|relation| relation.access == Access::Write);
    Facts { writes, ..facts }
}

/// Where the query of CREATE TABLE … AS begins and ends, without its WITH [NO] DATA.
fn filling_query(statement: &str, cursor: &mut Cursor<'_>) -> Option<(usize, usize)> {
    let mut depth = 0_usize;
    loop {
        if depth == 0 && cursor.word("as") {
            break;
        }
        match cursor.next()?.kind {
            TokenKind::Symbol(b'(') => depth += 1,
            TokenKind::Symbol(b')') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    let start = cursor.position();
    let mut last: [Option<Token>; 3] = [None; 3];
    while let Some(token) = cursor.next() {
        if token.kind != TokenKind::Symbol(b';') {
            last = [last[1], last[2], Some(token)];
        }
    }
    let is = |token: Option<Token>, word: &str| {
        token.is_some_and(|token| statement[token.start..token.end].eq_ignore_ascii_case(word))
    };
    let with = match last {
        [_, with, data] if is(data, "data") && is(with, "with") => with,
        [with, no, data] if is(data, "data") && is(no, "no") && is(with, "with") => with,
        _ => None,
    };
    Some((start, with.map_or(statement.len(), |token| token.start)))
}
