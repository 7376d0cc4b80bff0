//! SQL text → what is known of it without a catalogue, paid once per shape.

use std::sync::Arc;

use bytes::Bytes;
use moka::sync::Cache;

use crate::sql::{self, Facts, Hints, Kind, ShapeId};

/// What is known of one string of SQL.
#[derive(Debug)]
pub struct Analysis {
    /// One element a statement of the string.
    pub statements: Arc<[Facts]>,
    pub shape: ShapeId,
    /// The text that stands in a cache key: without comments that carry no meaning.
    pub key_text: Bytes,
    /// A string literal may mean a moment that moves, such as 'now'.
    pub clock_literal: bool,
    pub hints: Hints,
    /// False: not UTF-8, or quotes that do not end; nothing else here counts.
    pub understood: bool,
}

impl Analysis {
    /// Of a text that cannot be read: it may do anything.
    pub fn not_understood() -> Self {
        Self {
            statements: Arc::new([Facts::unknown(Kind::Unknown)]),
            shape: ShapeId(0),
            key_text: Bytes::new(),
            clock_literal: true,
            hints: Hints::default(),
            understood: false,
        }
    }

    /// The only statement of the string.
    pub fn single(&self) -> Option<&Facts> {
        match &*self.statements {
            [one] if self.understood => Some(one),
            _ => None,
        }
    }

    /// The kind of the only statement; `Empty` where there is none.
    pub fn kind(&self) -> Option<&Kind> {
        if self.understood && self.statements.is_empty() {
            return Some(&Kind::Empty);
        }
        self.single().map(|facts| &facts.kind)
    }

    /// The value of a SET LOCAL that gives a custom setting one string.
    pub fn local_custom(&self) -> Option<String> {
        matches!(self.kind(), Some(Kind::Set { local: true, .. })).then_some(())?;
        sql::local_custom_value(std::str::from_utf8(&self.key_text).ok()?)
    }

    /// True when some statement of the string may end a transaction or commit on its own.
    pub fn may_commit_inside(&self) -> bool {
        !self.understood
            || self.statements.iter().any(|facts| {
                matches!(
                    facts.kind,
                    Kind::Commit { .. }
                        | Kind::Rollback { .. }
                        | Kind::PrepareTransaction { .. }
                        | Kind::CommitPrepared { .. }
                        | Kind::RollbackPrepared
                        | Kind::Call
                        | Kind::Do
                        | Kind::Execute { .. }
                        | Kind::Begin { .. }
                        | Kind::Maintenance
                        | Kind::Ddl
                        | Kind::DiscardAll
                        | Kind::Unknown
                )
            })
    }
}

/// The analyses of shapes seen before, bounded by count.
pub struct Analyser {
    by_shape: Cache<ShapeId, Known>,
}

#[derive(Clone)]
enum Known {
    Shared(Arc<[Facts]>),
    /// The facts keep a literal, so every text is analysed for itself.
    PerText,
}

impl Analyser {
    pub fn new(shapes_max: u64) -> Self {
        Self {
            by_shape: Cache::new(shapes_max),
        }
    }

    /// Analyses one string of SQL as it came from a client with `standard_conforming_strings` on.
    pub fn analyse(&self, text: &[u8]) -> Analysis {
        let Ok(text) = std::str::from_utf8(text) else {
            return Analysis::not_understood();
        };
        let scan = sql::scan(text, true);
        if !scan.well_formed {
            return Analysis::not_understood();
        }
        let statements = match self.by_shape.get(&scan.shape) {
            Some(Known::Shared(facts)) => facts,
            Some(Known::PerText) => facts_of(&scan),
            None => {
                let facts = facts_of(&scan);
                let known = if facts.iter().any(|facts| facts.literal_dependent) {
                    Known::PerText
                } else {
                    Known::Shared(facts.clone())
                };
                self.by_shape.insert(scan.shape, known);
                facts
            }
        };
        Analysis {
            statements,
            shape: scan.shape,
            key_text: Bytes::copy_from_slice(scan.key_text.as_bytes()),
            clock_literal: scan.clock_literal,
            hints: scan.hints,
            understood: true,
        }
    }
}

fn facts_of(scan: &sql::Scan<'_>) -> Arc<[Facts]> {
    scan.statements
        .iter()
        .map(|statement| sql::analyse(statement))
        .collect()
}
