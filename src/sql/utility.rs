//! The facts of statements that name relations in lists of their own: the parser knows most of them badly or not at all.

use super::analyse::inner;
use super::cursor::Cursor;
use super::facts::{Access, Facts, Kind, ObjectName, RelationUse};

/// `[ONLY] name [*]`, `ONLY (name)`.
fn relation(cursor: &mut Cursor<'_>, access: Access) -> Option<RelationUse> {
    let only = cursor.word("only");
    let parenthesised = only && cursor.symbol(b'(');
    let mut parts = cursor.qualified_name()?;
    if parenthesised && !cursor.symbol(b')') {
        return None;
    }
    cursor.operator("*");
    let name = parts.pop()?;
    Some(RelationUse {
        name: ObjectName {
            schema: parts.pop(),
            name,
        },
        access,
        only,
        alias: None,
    })
}

fn relations(cursor: &mut Cursor<'_>, access: Access) -> Option<Vec<RelationUse>> {
    let mut relations = vec![relation(cursor, access)?];
    while cursor.symbol(b',') {
        relations.push(relation(cursor, access)?);
    }
    Some(relations)
}

/// The statement behind its first word.
fn behind_verb(statement: &str) -> Cursor<'_> {
    let mut cursor = Cursor::new(statement);
    cursor.next();
    cursor
}

/// TRUNCATE [TABLE] names …. CASCADE empties whatever refers to them, by whatever kind of foreign key.
pub(super) fn truncate(statement: &str) -> Facts {
    let mut cursor = behind_verb(statement);
    cursor.word("table");
    let relations = relations(&mut cursor, Access::Write);
    if cursor.any(&["restart", "continue"]) {
        cursor.word("identity");
    }
    cursor.word("restrict");
    match relations {
        Some(relations) if cursor.at_end() => Facts {
            relations,
            writes: true,
            ..Facts::harmless(Kind::Truncate)
        },
        _ => Facts::unknown(Kind::Truncate),
    }
}

/// LOCK [TABLE] names [IN … MODE] [NOWAIT].
pub(super) fn lock(statement: &str) -> Facts {
    let mut cursor = behind_verb(statement);
    cursor.word("table");
    let relations = relations(&mut cursor, Access::Read);
    match relations {
        Some(relations) if cursor.is(0, "in") || cursor.is(0, "nowait") || cursor.at_end() => {
            Facts {
                relations,
                locks: true,
                ..Facts::harmless(Kind::Lock)
            }
        }
        _ => Facts::unknown(Kind::Lock),
    }
}

/// A program may come back as a session of its own, and the WHERE of COPY FROM may call any function.
pub(super) fn copy(kind: Kind, statement: &str) -> Facts {
    let mut cursor = behind_verb(statement);
    if cursor.is_symbol(0, b'(') {
        cursor.symbol(b'(');
        let start = cursor.position();
        let mut cursor = behind_verb(statement);
        cursor.parenthesised();
        let end = statement[..cursor.position()]
            .trim_end()
            .rfind(')')
            .unwrap_or(start);
        if cursor.is(0, "to") && !cursor.is(1, "program") {
            return inner(kind, statement.get(start..end).unwrap_or_default());
        }
        return Facts::unknown(kind);
    }
    if cursor.is(0, "binary")
        && !cursor.is(1, "from")
        && !cursor.is(1, "to")
        && !cursor.is_symbol(1, b'(')
        && !cursor.is_symbol(1, b'.')
    {
        cursor.next();
    }
    let access = if kind == Kind::CopyFrom {
        Access::Write
    } else {
        Access::Read
    };
    let Some(relation) = relation(&mut cursor, access) else {
        return Facts::unknown(kind);
    };
    if cursor.is_symbol(0, b'(') {
        cursor.parenthesised();
    }
    if cursor.is(1, "program") {
        return Facts::unknown(kind);
    }
    while cursor.peek(0).is_some() {
        if cursor.word("where") {
            return Facts::unknown(kind);
        }
        cursor.next();
    }
    Facts {
        relations: vec![relation],
        writes: access == Access::Write,
        ..Facts::harmless(kind)
    }
}

/// REFRESH MATERIALIZED VIEW [CONCURRENTLY] name [WITH [NO] DATA].
pub(super) fn refresh(statement: &str) -> Facts {
    let mut cursor = behind_verb(statement);
    let view = cursor.words(&["materialized", "view"]);
    if cursor.is(0, "concurrently")
        && cursor.peek(1).is_some()
        && !cursor.is(1, "with")
        && !cursor.is_symbol(1, b'.')
    {
        cursor.next();
    }
    match relation(&mut cursor, Access::Write) {
        Some(relation) if view && (cursor.is(0, "with") || cursor.at_end()) => Facts {
            relations: vec![relation],
            writes: true,
            ..Facts::harmless(Kind::RefreshMaterializedView)
        },
        _ => Facts::unknown(Kind::RefreshMaterializedView),
    }
}

/// Known completely when it names its relations, or has none. An index of which it is not known what it calls is defined.
pub(super) fn maintenance(statement: &str) -> Facts {
    let mut indexes = false;
    let mut cursor = Cursor::new(statement);
    if cursor.any(&["comment", "checkpoint"]) {
        return Facts {
            evaluates_nothing: true,
            ..Facts::harmless(Kind::Maintenance)
        };
    }
    let relations = if cursor.any(&["vacuum", "analyze", "analyse"]) {
        vacuumed(&mut cursor)
    } else if cursor.word("reindex") {
        if cursor.is_symbol(0, b'(') {
            cursor.parenthesised();
        }
        let table = cursor.word("table");
        cursor.word("concurrently");
        relation(&mut cursor, Access::Read)
            .filter(|_| table && cursor.at_end())
            .map(|relation| vec![relation])
    } else if cursor.word("cluster") {
        if cursor.is_symbol(0, b'(') {
            cursor.parenthesised();
        }
        cursor.word("verbose");
        relation(&mut cursor, Access::Read)
            .filter(|_| cursor.is(0, "using") || cursor.at_end())
            .map(|relation| vec![relation])
    } else {
        indexes = true;
        indexed(&mut cursor)
    };
    match relations {
        Some(relations) => Facts {
            relations,
            ..Facts::harmless(Kind::Maintenance)
        },
        None => Facts {
            defined: if indexes {
                vec!["index".into()]
            } else {
                Vec::new()
            },
            ..Facts::unknown(Kind::Maintenance)
        },
    }
}

/// VACUUM and ANALYZE with names.
fn vacuumed(cursor: &mut Cursor<'_>) -> Option<Vec<RelationUse>> {
    if cursor.is_symbol(0, b'(') {
        cursor.parenthesised();
    }
    while cursor.any(&["full", "freeze", "verbose", "analyze", "analyse"]) {}
    let mut relations = Vec::new();
    loop {
        relations.push(relation(cursor, Access::Read)?);
        if cursor.is_symbol(0, b'(') {
            cursor.parenthesised();
        }
        if !cursor.symbol(b',') {
            return cursor.at_end().then_some(relations);
        }
    }
}

/// CREATE [UNIQUE] INDEX [CONCURRENTLY] [[IF NOT EXISTS] name] ON name [USING method] (columns) … without expressions and
/// operator classes but some of PostgreSQL's own, which call nothing of a user's.
fn indexed(cursor: &mut Cursor<'_>) -> Option<Vec<RelationUse>> {
    const OPERATOR_CLASSES: &[&str] = &[
        "text_pattern_ops",
        "varchar_pattern_ops",
        "bpchar_pattern_ops",
        "jsonb_ops",
        "jsonb_path_ops",
        "gin_trgm_ops",
        "gist_trgm_ops",
        "inet_ops",
    ];
    cursor.word("create");
    cursor.word("unique");
    if !cursor.word("index") {
        return None;
    }
    cursor.word("concurrently");
    cursor.words(&["if", "not", "exists"]);
    if !cursor.is(0, "on") {
        cursor.qualified_name()?;
    }
    if !cursor.word("on") {
        return None;
    }
    let relation = relation(cursor, Access::Read)?;
    if cursor.word("using") {
        cursor.name()?;
    }
    if !cursor.symbol(b'(') {
        return None;
    }
    loop {
        cursor.name()?;
        if cursor.word("collate") {
            cursor.qualified_name()?;
        }
        cursor.any(OPERATOR_CLASSES);
        cursor.any(&["asc", "desc"]);
        if cursor.word("nulls") && !cursor.any(&["first", "last"]) {
            return None;
        }
        if cursor.symbol(b')') {
            break;
        }
        if !cursor.symbol(b',') {
            return None;
        }
    }
    while cursor.peek(0).is_some() {
        if cursor.word("where") {
            return None;
        }
        cursor.next();
    }
    Some(vec![relation])
}
