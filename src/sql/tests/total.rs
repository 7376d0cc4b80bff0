//! Whatever the text is, there is an answer, and on the stack of an ordinary worker.

use proptest::prelude::*;

use crate::sql::{analyse, clock_text, scan, shape_text};

const WORKER_STACK_BYTES: usize = 2 * 1024 * 1024;

/// Runs on a stack of the size that a worker has.
fn on_a_worker(run: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new()
        .stack_size(WORKER_STACK_BYTES)
        .spawn(run)
        .unwrap()
        .join()
        .unwrap();
}

fn everything(sql: &str) {
    for standard in [true, false] {
        let scan = scan(sql, standard);
        for statement in &scan.statements {
            assert!(sql.contains(statement));
            let facts = analyse(statement);
            assert!(facts.complete || facts.writes && facts.locks, "{statement}");
        }
    }
    analyse(sql);
    assert!(shape_text(sql).len() < 2_000);
    clock_text(sql.as_bytes());
}

#[test]
fn long_chains_and_deep_nesting_fit_on_a_worker() {
    on_a_worker(|| {
        for length in [100, 900, 1_900, 2_100, 10_000] {
            for (head, link, tail) in [
                ("SELECT 1", "+1", ""),
                ("SELECT a", " AND a", ""),
                ("SELECT a", " OR a = 1", ""),
                ("SELECT a", "::int", ""),
                ("SELECT a", "[1]", ""),
                ("SELECT a", " IS NULL", ""),
                ("SELECT a", " COLLATE x", ""),
                ("SELECT a", " AT TIME ZONE 'x'", ""),
                ("SELECT a", "->'b'", ""),
                ("SELECT a", ".b", ""),
                ("SELECT ", "NOT ", "a"),
                ("SELECT ", "- ", "a"),
                ("SELECT ", "@ ", "a"),
                ("SELECT 1", " UNION SELECT 1", ""),
                ("SELECT 1", " UNION (SELECT 1", ""),
                ("SELECT 1 FROM a", " JOIN a ON true", ""),
                ("SELECT 1 FROM a", " JOIN a", ""),
                ("SELECT 1 FROM a", " CROSS JOIN a", ""),
                ("SELECT 1 FROM a", " NATURAL JOIN a", ""),
                ("SELECT 1 FROM a", " JOIN (SELECT DISTINCT ON (1) 1) a", ""),
                ("SELECT 1 FROM a", " JOIN (a", ""),
                ("SELECT 1 FROM ", "a JOIN b ON (SELECT 1 FROM ", ""),
                ("SELECT 1 FROM a", ", a", ""),
                ("SELECT 1 IN (1", ", 1", ")"),
                ("VALUES (1)", ", (1)", ""),
                ("SELECT a BETWEEN 1 AND 2", " BETWEEN 1 AND 2", ""),
                ("SELECT a", " LIKE a", ""),
                ("SELECT ", "CASE WHEN a THEN ", "b"),
                ("SELECT CASE", " WHEN a THEN b", " END"),
                ("SELECT ", "(", ""),
                ("SELECT ", "f(", ""),
                ("SELECT ", "ARRAY[", ""),
                ("SELECT * FROM ", "(SELECT * FROM ", "a"),
                ("WITH a AS (SELECT 1)", ", a AS (SELECT 1)", " SELECT 1"),
                ("", "WITH a AS (SELECT 1) (", "SELECT 1"),
                ("", "EXPLAIN ", "SELECT 1"),
                ("", "EXPLAIN ANALYZE ", "SELECT 1"),
                ("", "PREPARE p AS ", "SELECT 1"),
                ("", "DECLARE c CURSOR FOR ", "SELECT 1"),
                ("", "COPY (", "SELECT 1"),
                ("", "/*", ""),
                ("", "$$", ""),
                ("", "$a", ""),
                ("", "'", ""),
                ("SELECT 'a'", "\n'a'", ""),
                ("SELECT 'a'", " --\n", ""),
            ] {
                everything(&format!("{head}{}{tail}", link.repeat(length)));
            }
        }
    });
}

#[test]
fn balanced_nesting_of_ten_thousand_fits_on_a_worker() {
    on_a_worker(|| {
        for (open, inside, close) in [
            ("(", "1", ")"),
            ("f(", "1", ")"),
            ("ARRAY[", "1", "]"),
            ("CASE WHEN true THEN ", "1", " END"),
            ("(SELECT ", "1", ")"),
            ("/*", "", "*/"),
        ] {
            for depth in [10, 40, 45, 50, 60, 99, 101, 10_000] {
                everything(&format!(
                    "SELECT {}{inside}{}",
                    open.repeat(depth),
                    close.repeat(depth)
                ));
            }
        }
    });
}

#[test]
fn a_statement_longer_than_the_cap_keeps_its_kind() {
    let long = format!("INSERT INTO t VALUES {}", "(1),".repeat(100_000));
    let facts = analyse(&long);
    assert_eq!(facts.kind, crate::sql::Kind::Insert);
    assert!(!facts.complete && facts.literal_dependent);
    let long = format!("SELECT {}1", "1,".repeat(100_000));
    assert_eq!(analyse(&long).hazard, Some(crate::sql::Bypass::TooLong));
}

const WORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "ONLY",
    "TABLE",
    "INTO",
    "FOR",
    "UPDATE",
    "INSERT",
    "DELETE",
    "MERGE",
    "USING",
    "ON",
    "JOIN",
    "WITH",
    "AS",
    "VALUES",
    "UNION",
    "ALL",
    "a",
    "b",
    "\"c\"",
    "s.t",
    "1",
    "1.5",
    "'x'",
    "E'\\n'",
    "$1",
    "$$x$$",
    "(",
    ")",
    "[",
    "]",
    ",",
    ".",
    ";",
    "::",
    "=",
    "+",
    "-",
    "*",
    "->>",
    "||",
    "AND",
    "OR",
    "NOT",
    "IS",
    "NULL",
    "IN",
    "BETWEEN",
    "CASE",
    "WHEN",
    "THEN",
    "END",
    "CAST",
    "EXTRACT",
    "INTERVAL",
    "date",
    "GROUP",
    "BY",
    "ORDER",
    "LIMIT",
    "OVER",
    "FILTER",
    "SET",
    "DO",
    "NOTHING",
    "RETURNING",
    "CONFLICT",
    "COPY",
    "TO",
    "STDOUT",
    "EXPLAIN",
    "ANALYZE",
    "BEGIN",
    "COMMIT",
    "CREATE",
    "TEMP",
    "FUNCTION",
    "ATOMIC",
    "LOCK",
    "TRUNCATE",
    "PREPARE",
    "DECLARE",
    "CURSOR",
    "EXISTS",
    "ARRAY",
    "ROW",
    "LATERAL",
    "TABLESAMPLE",
    "CURRENT",
    "OF",
    "user",
    "--x\n",
    "/* y */",
    "now()",
    "f",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_scanned_and_analysed(sql in any::<String>()) {
        everything(&sql);
    }

    #[test]
    fn any_quotes_are_scanned_and_analysed(sql in "[ aeEuUnNxX&$1'\"\\\\;/*\n.:()+é-]{0,60}") {
        everything(&sql);
    }

    #[test]
    fn any_words_are_scanned_and_analysed(words in prop::collection::vec(prop::sample::select(WORDS), 0..40)) {
        everything(&words.join(" "));
    }

    #[test]
    fn queries_made_of_any_words_are_analysed(words in prop::collection::vec(prop::sample::select(WORDS), 0..20)) {
        everything(&format!("SELECT a FROM b WHERE {}", words.join(" ")));
    }

    /// A write or a lock must not look like a pure read, wherever the words stand.
    #[test]
    fn changes_and_locks_are_never_reads(
        before in prop::collection::vec(prop::sample::select(WORDS), 0..8),
        change in prop::sample::select(&["INSERT INTO t VALUES (1)", "DELETE FROM t", "UPDATE t SET a = 1", "SELECT 1 INTO t", "SELECT 1 FROM t FOR UPDATE"][..]),
        after in prop::collection::vec(prop::sample::select(WORDS), 0..8),
    ) {
        let sql = format!("{} {change} {}", before.join(" "), after.join(" "));
        let scan = scan(&sql, true);
        // Words before may make it a part of something that does not run it, or a literal of it.
        let inert = scan.statements.iter().any(|statement| {
            let word = statement.to_ascii_uppercase();
            ["EXPLAIN", "PREPARE", "DECLARE", "BEGIN", "COMMIT", "LOCK", "CREATE", "DO", "TRUNCATE", "END", "COPY", "SET"].iter().any(|kind| word.starts_with(kind))
        });
        if scan.well_formed && scan.statements.len() == 1 && !inert && !sql.contains('"') {
            let facts = analyse(scan.statements[0]);
            prop_assert!(!facts.read_only(), "{sql}: {facts:?}");
        }
    }
}
