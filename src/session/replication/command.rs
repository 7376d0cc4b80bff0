//! What a text on a replication connection may do, as far as that can be told from it alone.

use crate::session::analysis::{Analyser, Analysis};
use crate::sql::Kind;
use crate::wire::TransactionStatus;

/// What may become of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Deed {
    /// Nothing that is cached can change by it.
    Nothing,
    /// It ends a transaction and writes nothing itself.
    Ends,
    /// It may write, and nobody sees it before the transaction's end.
    Writes,
    /// It may write and commit.
    Commits,
    /// It prepares a transaction of this name.
    Prepares(String),
    /// It may prepare a transaction of which the name cannot be told.
    Untold,
}

/// The words by which PostgreSQL (to version 18) knows the commands of replication. Where
/// a text begins with one it is a command as a whole or an error, so it is no SQL.
const COMMANDS: &[&str] = &[
    "ALTER_REPLICATION_SLOT",
    "BASE_BACKUP",
    "CREATE_REPLICATION_SLOT",
    "DROP_REPLICATION_SLOT",
    "IDENTIFY_SYSTEM",
    "READ_REPLICATION_SLOT",
    "START_REPLICATION",
    "TIMELINE_HISTORY",
    "UPLOAD_MANIFEST",
];

/// What clients of libpq and subscriptions say first.
const SECURE_SEARCH_PATH: &[u8] = b"SELECT pg_catalog.set_config('search_path', '', false);";

/// `status` is that of the session before it.
pub(super) fn deed(sql: &[u8], status: TransactionStatus, analyser: &Analyser) -> Deed {
    if is_command(sql) || sql == SECURE_SEARCH_PATH {
        return Deed::Nothing;
    }
    // With a backslash quotes may end elsewhere, as standard_conforming_strings says. Encodings that
    // hide other characters that matter have one in them, or are not UTF-8.
    let analysis = match sql.contains(&b'\\') {
        true => Analysis::not_understood(),
        false => analyser.analyse(sql),
    };
    if !analysis.understood {
        return match names_prepare(sql) {
            true => Deed::Untold,
            false => Deed::Commits,
        };
    }
    let last_gid = analysis
        .statements
        .iter()
        .rev()
        .find_map(|facts| match &facts.kind {
            Kind::PrepareTransaction { gid } => Some(gid.clone()),
            _ => None,
        });
    if let Some(gid) = last_gid {
        return Deed::Prepares(gid);
    }
    match analysis.kind() {
        Some(Kind::Begin { .. } | Kind::Empty | Kind::Show { .. }) => Deed::Nothing,
        Some(Kind::Commit { .. } | Kind::Rollback { .. }) => Deed::Ends,
        _ if status == TransactionStatus::InBlock && !analysis.may_commit_inside() => Deed::Writes,
        _ => Deed::Commits,
    }
}

fn is_command(sql: &[u8]) -> bool {
    let sql = sql.trim_ascii_start();
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let len = sql.iter().take_while(|byte| is_part(byte)).count();
    // A letter of another alphabet would make it another word.
    let ends = sql.get(len).is_none_or(u8::is_ascii);
    let is = |command: &str| command.as_bytes().eq_ignore_ascii_case(&sql[..len]);
    ends && COMMANDS.iter().any(|command| is(command))
}

/// Whether both words are somewhere in it.
fn names_prepare(sql: &[u8]) -> bool {
    let lower = sql.to_ascii_lowercase();
    let has = |word: &[u8]| lower.windows(word.len()).any(|window| window == word);
    has(b"prepare") && has(b"transaction")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_text_may_do() {
        use TransactionStatus::{Failed, Idle, InBlock};
        let analyser = Analyser::new(100);
        let prepares = || Deed::Prepares("g".into());
        for (sql, status, expected) in [
            ("IDENTIFY_SYSTEM", Idle, Deed::Nothing),
            (
                " START_REPLICATION SLOT \"s\" LOGICAL 0/0 (publication_names '\"a;b\"')",
                Idle,
                Deed::Nothing,
            ),
            (
                "CREATE_REPLICATION_SLOT \"s\" LOGICAL pgoutput (SNAPSHOT 'use')",
                InBlock,
                Deed::Nothing,
            ),
            ("BASE_BACKUP ( LABEL 'x\\y' )", Idle, Deed::Nothing),
            ("SHOW wal_segment_size", Idle, Deed::Nothing),
            ("SHOW wal_segment_size; DELETE FROM t", Idle, Deed::Commits),
            (
                "SELECT pg_catalog.set_config('search_path', '', false);",
                Idle,
                Deed::Nothing,
            ),
            (
                "SELECT pg_catalog.set_config('search_path', f(), false);",
                Idle,
                Deed::Commits,
            ),
            ("IDENTIFY_SYSTEMS", Idle, Deed::Commits),
            ("IDENTIFY_SYSTEM\u{e9}", Idle, Deed::Commits),
            ("", Idle, Deed::Nothing),
            (
                "BEGIN READ ONLY ISOLATION LEVEL REPEATABLE READ",
                Idle,
                Deed::Nothing,
            ),
            ("BEGIN; DELETE FROM t", Idle, Deed::Commits),
            ("DELETE FROM t", Idle, Deed::Commits),
            ("DELETE FROM t", InBlock, Deed::Writes),
            ("SELECT f()", InBlock, Deed::Writes),
            ("COPY t TO STDOUT", InBlock, Deed::Writes),
            ("COPY t FROM STDIN", Idle, Deed::Commits),
            ("DELETE FROM t; COMMIT", InBlock, Deed::Commits),
            (
                "DELETE FROM t WHERE a = '\\'; COMMIT; --'",
                InBlock,
                Deed::Commits,
            ),
            ("CALL p()", InBlock, Deed::Commits),
            ("COMMIT", InBlock, Deed::Ends),
            ("ROLLBACK", Failed, Deed::Ends),
            ("SELECT 1", Failed, Deed::Commits),
            ("PREPARE TRANSACTION 'g'", InBlock, prepares()),
            (
                "DELETE FROM t; PREPARE TRANSACTION 'g'",
                InBlock,
                prepares(),
            ),
            ("PREPARE TRANSACTION E'\\147'", InBlock, Deed::Untold),
            ("COMMIT PREPARED 'g'", Idle, Deed::Commits),
        ] {
            assert_eq!(deed(sql.as_bytes(), status, &analyser), expected, "{sql}");
        }
        let latin1 = b"DELETE FROM t WHERE a = '\xe9'";
        assert_eq!(deed(latin1, InBlock, &analyser), Deed::Commits);
    }
}
