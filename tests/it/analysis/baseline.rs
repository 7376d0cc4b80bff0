//! Which share of the statements is not known, by sort of statement, and that it does not grow.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::tree::node;

#[derive(Debug, Default, Clone, Copy)]
struct Share {
    statements: usize,
    unknown: usize,
}

impl Share {
    fn more_than(self, before: Self) -> bool {
        if before.statements == 0 {
            return self.unknown > 0;
        }
        self.unknown * before.statements > before.unknown * self.statements
    }
}

/// By the name of the sort of statement in PostgreSQL's tree.
#[derive(Default)]
pub struct Tally(BTreeMap<String, Share>);

impl Tally {
    pub fn count(&mut self, statement: &Value, unknown: bool) {
        let sort = node(statement).map_or("", |(sort, _)| sort);
        let sort = sort.strip_suffix("Stmt").unwrap_or(sort);
        let share = self.0.entry(sort.to_owned()).or_default();
        share.statements += 1;
        share.unknown += usize::from(unknown);
    }

    pub fn statements(&self) -> usize {
        self.0.values().map(|share| share.statements).sum()
    }

    pub fn unknown(&self) -> usize {
        self.0.values().map(|share| share.unknown).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (sort, share) in &self.0 {
            let Share {
                statements,
                unknown,
            } = share;
            let percent = *unknown as f64 * 100.0 / *statements as f64;
            writeln!(
                f,
                "{sort:30} {statements:6} statements, {unknown:6} not known, {percent:5.1} %"
            )?;
        }
        Ok(())
    }
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/analysis/baseline.txt")
}

/// Lines of a corpus: its name, a sort of statement, statements, of which unknown.
fn known(corpus: &str) -> BTreeMap<String, Share> {
    let text = std::fs::read_to_string(file()).expect("the baseline");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut shares = BTreeMap::new();
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [of, sort, statements, unknown] = words.as_slice() else {
            panic!("no line of the baseline: {line}");
        };
        if *of == corpus {
            let count = |word: &str| -> usize {
                word.parse().unwrap_or_else(|_| panic!("no number: {line}"))
            };
            let share = Share {
                statements: count(statements),
                unknown: count(unknown),
            };
            shares.insert((*sort).to_owned(), share);
        }
    }
    shares
}

/// Of each sort of statement no larger share is unknown than in the baseline, and a sort that it has not is known.
///
/// The corpus has to be the same each time: another one has other shares.
pub fn hold(corpus: &str, tally: &Tally) {
    let lines: Vec<String> = tally
        .0
        .iter()
        .map(|(sort, share)| format!("{corpus} {sort} {} {}", share.statements, share.unknown))
        .collect();
    let before = known(corpus);
    let becomes = lines.join("\n");
    assert!(!before.is_empty(), "no baseline; it is:\n{becomes}");
    for (sort, now) in &tally.0 {
        let before = before.get(sort).copied().unwrap_or_default();
        assert!(
            !now.more_than(before),
            "{sort}: {} of {} statements are not known, and {} of {} were. Where that is right, the baseline becomes:\n{}",
            now.unknown,
            now.statements,
            before.unknown,
            before.statements,
            becomes
        );
    }
}

#[test]
fn a_share_grows_with_the_statements_that_are_gone_too() {
    let share = |statements, unknown| Share {
        statements,
        unknown,
    };
    assert!(!share(200, 20).more_than(share(100, 10)));
    assert!(share(200, 21).more_than(share(100, 10)));
    assert!(share(50, 10).more_than(share(100, 10)));
    assert!(share(1, 1).more_than(share(0, 0)));
    assert!(!share(1, 0).more_than(share(0, 0)));
}
