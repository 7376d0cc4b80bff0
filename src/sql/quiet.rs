//! DDL that evaluates nothing: what a user wrote is stored or dropped, and none of it runs.

use super::cursor::Cursor;
use super::lexer::TokenKind;

/// No expression, query or function of a user runs when the statement does, but for event triggers, the checks of
/// literals by their types, and whatever an extension hooks in. Its kind is `Ddl`. What is not certain is not.
pub(super) fn evaluates_nothing(statement: &str) -> bool {
    let mut cursor = Cursor::new(statement);
    if cursor.any(&["grant", "revoke", "drop", "reassign"]) {
        return true;
    }
    if cursor.word("alter") {
        return alters(&mut cursor);
    }
    cursor.word("create") && creates(&mut cursor)
}

fn creates(cursor: &mut Cursor<'_>) -> bool {
    if cursor.is(1, "mapping") {
        return false;
    }
    if cursor.any(&["role", "group", "user", "policy"]) {
        return true;
    }
    if cursor.word("schema") {
        // Its elements are statements of their own.
        cursor.words(&["if", "not", "exists"]);
        cursor.word("authorization");
        return cursor.name().is_some() && cursor.at_end();
    }
    cursor.words(&["or", "replace"]);
    cursor.word("unlogged");
    if cursor.any(&["view", "sequence", "trigger", "rule"]) {
        return true;
    }
    cursor.word("table") && makes_an_empty_table(cursor)
}

fn alters(cursor: &mut Cursor<'_>) -> bool {
    if cursor.is(1, "mapping") {
        return false;
    }
    if cursor.any(&["policy", "role", "group", "user", "sequence"])
        || cursor.words(&["default", "privileges"])
    {
        return true;
    }
    if !cursor.any(&["table", "view", "index"]) {
        return false;
    }
    cursor.words(&["if", "exists"]);
    cursor.word("only");
    if cursor.qualified_name().is_none() {
        return false;
    }
    cursor.operator("*");
    let quiet = cursor.any(&["rename", "enable", "disable", "force", "drop", "owner"])
        || cursor.words(&["set", "schema"])
        || cursor.words(&["no", "force"]);
    // More actions may follow a comma.
    while let Some(token) = cursor.next() {
        if token.kind == TokenKind::Symbol(b',') {
            return false;
        }
    }
    quiet
}

/// The rest of CREATE TABLE has no query, makes no partition, whose bounds are evaluated, and no constraint by an
/// index on expressions.
fn makes_an_empty_table(cursor: &mut Cursor<'_>) -> bool {
    let mut depth = 0_usize;
    loop {
        if cursor.word("exclude") || depth == 0 && cursor.any(&["as", "of"]) {
            return false;
        }
        match cursor.next().map(|token| token.kind) {
            Some(TokenKind::Symbol(b'(')) => depth += 1,
            Some(TokenKind::Symbol(b')')) => depth = depth.saturating_sub(1),
            Some(_) => {}
            None => return true,
        }
    }
}
