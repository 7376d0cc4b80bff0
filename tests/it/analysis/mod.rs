//! The analysis of statements against PostgreSQL's own parser (`pg_query`): what our facts say is what its tree says, or
//! they say that they do not know.
//!
//! Relations, functions, types, columns, writes and locks of its tree are among ours; filters and assigned constants of
//! ours are in its tree; its assigned columns are among ours. The share of statements that are not known, by sort of
//! statement, is in `baseline.txt` and may not grow.

mod baseline;
mod blocks;
mod change;
mod corpus;
mod kinds;
mod names;
mod psql;
mod tree;

use std::path::Path;

use pgditto::sql::{self, Kind};
use serde_json::Value;

use baseline::Tally;
use names::Names;

/// Differences that are shown.
const SHOWN_MAX: usize = 60;

/// What became of the texts of one corpus.
#[derive(Default)]
struct Findings {
    tally: Tally,
    /// Texts that PostgreSQL's parser refuses.
    refused: usize,
    differences: Vec<String>,
}

impl Findings {
    fn of(texts: &[String]) -> Self {
        let mut findings = Self::default();
        for text in texts {
            findings.text(text);
        }
        findings
    }

    fn text(&mut self, text: &str) {
        let Some(theirs) = tree::parse(text) else {
            self.refused += 1;
            return;
        };
        let ours = sql::scan(text, true);
        if !ours.well_formed {
            if sql::analyse(text).complete {
                self.differences.push(format!("not well-formed: {text}"));
            }
            for statement in &theirs {
                self.tally.count(statement, true);
            }
            return;
        }
        if ours.statements.len() != theirs.len() {
            self.differences.push(format!(
                "{} statements, not {}: {text}",
                theirs.len(),
                ours.statements.len()
            ));
            return;
        }
        for (statement, whole) in ours.statements.iter().zip(&theirs) {
            match tree::parse(statement).as_deref() {
                Some([tree]) => self.statement(statement, tree),
                _ => self
                    .differences
                    .push(format!("cut to {statement:?}: {whole}")),
            }
        }
    }

    fn statement(&mut self, statement: &str, tree: &Value) {
        let facts = sql::analyse(statement);
        let mut wrong = Vec::new();
        if !kinds::agree(&facts.kind, tree) {
            wrong.push(format!("{:?}", facts.kind));
        }
        if facts.complete {
            let names = Names::of(tree, &facts.kind);
            wrong.extend(names.missing_in(&facts));
            let whole = matches!(
                facts.kind,
                Kind::Select | Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge
            );
            // Of a statement that is a part of another nothing is claimed.
            if whole || !facts.blocks.is_empty() {
                wrong.extend(blocks::claimed(&facts, &names, statement));
            }
            wrong.extend(change::claimed(&facts, tree, statement));
        }
        self.tally.count(tree, !facts.complete);
        if !wrong.is_empty() {
            self.differences
                .push(format!("{statement}\n    {}", wrong.join("\n    ")));
        }
    }

    fn check(&self, what: &str) {
        println!(
            "{what}: {} statements, {} not known, {} texts refused",
            self.tally.statements(),
            self.tally.unknown(),
            self.refused
        );
        for difference in self.differences.iter().take(SHOWN_MAX) {
            println!("- {difference}");
        }
        assert!(
            self.differences.is_empty(),
            "{what}: {} statements are not what PostgreSQL reads",
            self.differences.len()
        );
    }
}

/// `SEED` draws other sessions: of chance, as their shares are, so those of the first seed alone are compared.
#[test]
fn statements_of_the_fuzzer_are_what_postgres_reads() {
    let seed = seed();
    println!("seed {seed}");
    let findings = Findings::of(&corpus::asked_by_the_fuzzer(seed));
    findings.check("the fuzzer");
    println!("{}", findings.tally);
    if seed == FIRST_SEED {
        baseline::hold("fuzzer", &findings.tally);
    }
}

/// The corpus changes with every test, and many of its statements are there because they are not known: it has no baseline.
#[test]
fn statements_in_our_tests_are_what_postgres_reads() {
    let findings = Findings::of(&corpus::written_in_our_tests());
    findings.check("our tests");
    assert!(findings.tally.statements() > 1000, "{}", findings.tally);
}

/// `make analysis` fetches the scripts and names their folder.
#[test]
fn statements_of_the_tests_of_postgres_are_what_it_reads() {
    let folder = std::env::var_os("POSTGRES_SCRIPTS").expect("POSTGRES_SCRIPTS: a folder");
    let findings = Findings::of(&corpus::asked_by_scripts(Path::new(&folder)));
    findings.check("the tests of PostgreSQL");
    println!("{}", findings.tally);
    baseline::hold("postgres", &findings.tally);
}

const FIRST_SEED: u64 = 1;

fn seed() -> u64 {
    crate::soak::asked("SEED", FIRST_SEED)
}
