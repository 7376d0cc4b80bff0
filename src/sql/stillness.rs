//! Statements that others notice only by what they hold: a snapshot, or a lock that conflicts with no read.

use super::cursor::Cursor;
use super::facts::{Kind, Stillness};

/// What the statement wants of whoever reads the database on pgditto's own behalf.
pub(super) fn stillness(kind: &Kind, statement: &str) -> Stillness {
    let mut cursor = Cursor::new(statement);
    match kind {
        Kind::Lock => locks(&mut cursor),
        Kind::Maintenance if cursor.any(&["vacuum", "cluster"]) => Stillness::Before,
        // They wait for whoever holds a snapshot, and cannot stand in a transaction.
        Kind::Maintenance | Kind::Ddl if has(&mut cursor, "concurrently") => Stillness::Before,
        _ => Stillness::NotNeeded,
    }
}

/// Only ACCESS EXCLUSIVE, which is also what stands for no mode, meets the locks of a read.
fn locks(cursor: &mut Cursor<'_>) -> Stillness {
    let (mut shares, mut at_once) = (false, false);
    while cursor.peek(0).is_some() {
        if cursor.word("in") {
            shares = !cursor.words(&["access", "exclusive"]);
        } else if cursor.word("nowait") {
            at_once = true;
        } else {
            cursor.next();
        }
    }
    match (shares, at_once) {
        (true, _) => Stillness::NotNeeded,
        (false, true) => Stillness::During,
        (false, false) => Stillness::Before,
    }
}

fn has(cursor: &mut Cursor<'_>, word: &str) -> bool {
    while cursor.peek(0).is_some() {
        if cursor.word(word) {
            return true;
        }
        cursor.next();
    }
    false
}
