//! Statements that want nobody in a database, those that take its name from a role, and those that change what sessions
//! begin with.

use super::cursor::Cursor;
use super::facts::Kind;

/// What CREATE DATABASE copies unless it says otherwise.
const DEFAULT_TEMPLATE: &str = "template1";

/// The database to which nobody may be connected: the one that DROP, RENAME or SET TABLESPACE names, the template of
/// CREATE DATABASE.
pub(super) fn vacated(kind: &Kind, statement: &str) -> Option<String> {
    if *kind != Kind::Ddl {
        return None;
    }
    let mut cursor = Cursor::new(statement);
    if cursor.words(&["drop", "database"]) {
        cursor.words(&["if", "exists"]);
        return cursor.name();
    }
    if cursor.words(&["alter", "database"]) {
        let name = cursor.name()?;
        let moves = cursor.words(&["rename", "to"]) || cursor.words(&["set", "tablespace"]);
        return moves.then_some(name);
    }
    if cursor.words(&["create", "database"]) {
        cursor.name()?;
        return template(&mut cursor);
    }
    None
}

/// The roles that DROP or RENAME names.
pub(super) fn freed(kind: &Kind, statement: &str) -> Vec<String> {
    let mut names = Vec::new();
    if *kind != Kind::Ddl {
        return names;
    }
    let mut cursor = Cursor::new(statement);
    let drops = cursor.word("drop");
    if !(drops || cursor.word("alter"))
        || !cursor.any(&["role", "user", "group"])
        || cursor.word("mapping")
    {
        return names;
    }
    if !drops {
        names.extend(cursor.name().filter(|_| cursor.words(&["rename", "to"])));
        return names;
    }
    cursor.words(&["if", "exists"]);
    while let Some(name) = cursor.name() {
        names.push(name);
        if !cursor.symbol(b',') {
            break;
        }
    }
    names
}

/// ALTER ROLE … SET or RESET, be it IN DATABASE, and ALTER DATABASE … SET or RESET.
pub(super) fn changes_defaults(kind: &Kind, statement: &str) -> bool {
    if *kind != Kind::Ddl {
        return false;
    }
    let mut cursor = Cursor::new(statement);
    if !cursor.word("alter") {
        return false;
    }
    let of_database = cursor.word("database");
    if !of_database && !cursor.any(&["role", "user"]) {
        return false;
    }
    pass_name(&mut cursor);
    if !of_database && cursor.words(&["in", "database"]) {
        pass_name(&mut cursor);
    }
    let moves = cursor.words(&["set", "tablespace"]);
    !moves && cursor.any(&["set", "reset"])
}

/// Steps over a name, however it is spelled.
fn pass_name(cursor: &mut Cursor<'_>) {
    cursor.next();
    if cursor.word("uescape") {
        cursor.next();
    }
}

/// `None` where a string constant says it: that is no part of a statement's shape.
fn template(cursor: &mut Cursor<'_>) -> Option<String> {
    while cursor.peek(0).is_some() {
        if cursor.word("template") {
            cursor.operator("=");
            if cursor.word("default") {
                break;
            }
            return cursor.name();
        }
        cursor.next();
    }
    Some(DEFAULT_TEMPLATE.to_owned())
}
