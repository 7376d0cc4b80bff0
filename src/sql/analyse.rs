//! The facts of one statement: its kind from its own words, the rest from the parser where the parser can be believed.

use sqlparser::ast::Statement;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token as Grammar, TokenWithSpan};

use super::Bypass;
use super::blocks::Derived;
use super::control;
use super::cursor::Cursor;
use super::facts::{Access, Facts, Kind, Stillness};
use super::kind::{self, classify};
use super::quiet;
use super::scan::scan;
use super::stillness::stillness;
use super::temporary;
use super::tokens::{Prepared, prepare};
use super::utility;
use super::vacancy::{changes_defaults, freed, vacated};
use super::walk::Walker;

/// Longer statements are not parsed: a tree of their size may not fit on the stack.
const STATEMENT_BYTES_MAX: usize = 16 * 1024;

/// The facts of one statement, as [`super::scan`] cuts them. It never panics, and what is not known completely says so:
/// `complete` is false, and `writes` and `locks` are true.
///
/// For PREPARE, DECLARE, COPY (…) and CREATE TEMP TABLE … AS they are the facts of the body; for EXPLAIN too, of which
/// nothing is written or locked unless it is run.
///
/// String constants are read as with standard_conforming_strings on. Where it is off, nothing that is said here holds.
pub fn analyse(statement: &str) -> Facts {
    let mut facts = definition(statement);
    facts.rows = Vec::new();
    for (number, block) in facts.blocks.iter_mut().enumerate() {
        let followed = |derived: &Derived| derived.branches.contains(&number);
        if !facts.derived.iter().any(followed) {
            // Nobody asks for its columns.
            block.shown = Vec::new();
        }
    }
    facts
}

/// The same of the query of a view, whose own rows are followed.
pub fn definition(statement: &str) -> Facts {
    let kind = classify(statement);
    let select = kind == Kind::Select;
    let whole = scan(statement, true);
    let mut facts = if whole.well_formed && whole.statements.len() <= 1 {
        by_kind(kind, statement)
    } else {
        Facts::unknown(kind)
    };
    if !select {
        facts.hazard = Some(if temporary::selects_into(statement, &facts.kind) {
            Bypass::SelectInto
        } else {
            Bypass::NotSelect
        });
    }
    facts.stillness = stillness(&facts.kind, statement);
    facts.executes = executed(&facts.kind, statement);
    facts.vacates = vacated(&facts.kind, statement);
    facts.frees_roles = freed(&facts.kind, statement);
    facts.to_default = control::sets_to_default(&facts.kind, statement);
    facts.changes_defaults = changes_defaults(&facts.kind, statement);
    if facts.hazard != Some(Bypass::DatetimeText) {
        facts.datetime_columns = None;
    }
    facts
}

/// The query that is all of the body of a function in SQL, which may be in standard SQL (`RETURN …`, `BEGIN ATOMIC … END`).
/// `None` if it is anything else, or not known to have one answer; or if a text in it could mean a moment that moves.
pub fn function_query(body: &str) -> Option<Facts> {
    let mut cursor = Cursor::new(body);
    let standard = if cursor.word("return") {
        Some(format!("SELECT {}", &body[cursor.position()..]))
    } else if cursor.words(&["begin", "atomic"]) {
        let rest = body[cursor.position()..].trim_end();
        let end = rest.len().checked_sub("end".len())?;
        let ends = rest.get(end..)?.eq_ignore_ascii_case("end");
        ends.then(|| rest[..end].to_owned())
    } else {
        None
    };
    let body = standard.as_deref().unwrap_or(body);
    let whole = scan(body, true);
    let [query] = whole.statements.as_slice() else {
        return None;
    };
    if !whole.well_formed || whole.clock_literal {
        return None;
    }
    let facts = analyse(query);
    (facts.kind == Kind::Select && facts.complete && facts.hazard.is_none()).then_some(facts)
}

fn by_kind(kind: Kind, statement: &str) -> Facts {
    match kind {
        Kind::Select | Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge => {
            body(kind, statement)
        }
        Kind::Call => call(statement),
        Kind::Explain { analyze } => explain(analyze, statement),
        Kind::Prepare { .. } => prepared(kind, statement),
        Kind::Declare { .. } => declared(kind, statement),
        Kind::Truncate => utility::truncate(statement),
        Kind::Lock => utility::lock(statement),
        Kind::CopyFrom | Kind::CopyTo => utility::copy(kind, statement),
        Kind::RefreshMaterializedView => utility::refresh(statement),
        Kind::Maintenance => utility::maintenance(statement),
        Kind::TemporaryDdl => temporary::definition(statement),
        Kind::PrepareTransaction { .. } | Kind::CommitPrepared { .. } => Facts {
            literal_dependent: true,
            ..Facts::harmless(kind)
        },
        Kind::Empty
        | Kind::Begin { .. }
        | Kind::Commit { .. }
        | Kind::Rollback { .. }
        | Kind::Savepoint
        | Kind::Release
        | Kind::RollbackTo
        | Kind::RollbackPrepared
        | Kind::Set { .. }
        | Kind::SetTransaction
        | Kind::SetConstraints
        | Kind::Reset { .. }
        | Kind::Show { .. }
        | Kind::DiscardAll
        | Kind::DiscardOther
        | Kind::Deallocate { .. }
        | Kind::Fetch
        | Kind::CloseCursor
        | Kind::Listen
        | Kind::Unlisten
        | Kind::Notify => Facts::harmless(kind),
        Kind::Ddl => Facts {
            evaluates_nothing: quiet::evaluates_nothing(statement),
            temporary: temporary::dropped(statement),
            ..Facts::unknown(kind)
        },
        Kind::Execute { .. } | Kind::Do | Kind::Load | Kind::Unknown => Facts::unknown(kind),
    }
}

/// The facts of a query or change that is a part of a statement of another kind.
pub(super) fn inner(kind: Kind, text: &str) -> Facts {
    match classify(text) {
        known @ (Kind::Select | Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge) => {
            Facts {
                kind,
                // Constants are told by their place in the whole statement, which this is not.
                blocks: Vec::new(),
                derived: Vec::new(),
                rows: Vec::new(),
                change: None,
                returning: Vec::new(),
                ..body(known, text)
            }
        }
        _ => Facts::unknown(kind),
    }
}

/// The facts of a query or change.
pub(super) fn body(kind: Kind, text: &str) -> Facts {
    if text.len() > STATEMENT_BYTES_MAX {
        // Another text of this shape may be short enough.
        return Facts {
            hazard: Some(Bypass::TooLong),
            literal_dependent: true,
            ..Facts::unknown(kind)
        };
    }
    let Some(mut prepared) = prepare(text) else {
        return Facts::unknown(kind);
    };
    let Some(statement) = parse(std::mem::take(&mut prepared.tokens)) else {
        return Facts::unknown(kind);
    };
    let mut walker = Walker::default();
    walker.statement(&statement);
    if prepared.doubtful || !agrees(&kind, &statement) || !walker.accounts_for(&prepared) {
        let hazard = walker
            .hazard
            .filter(|hazard| *hazard != Bypass::DatetimeText)
            .or(Some(Bypass::Unparsed));
        return Facts {
            hazard,
            ..Facts::unknown(kind)
        };
    }
    facts(kind, prepared, walker)
}

fn parse(tokens: Vec<TokenWithSpan>) -> Option<Statement> {
    let dialect = PostgreSqlDialect {};
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let statement = parser.parse_statement().ok()?;
    (parser.peek_token().token == Grammar::EOF).then_some(statement)
}

/// Whether the parser's opinion of what it is agrees with ours.
fn agrees(kind: &Kind, statement: &Statement) -> bool {
    match statement {
        // A change behind WITH is a query to the parser.
        Statement::Query(_) => true,
        Statement::Insert(_) => *kind == Kind::Insert,
        Statement::Update(_) => *kind == Kind::Update,
        Statement::Delete(_) => *kind == Kind::Delete,
        Statement::Merge(_) => *kind == Kind::Merge,
        _ => false,
    }
}

fn facts(kind: Kind, prepared: Prepared, mut walker: Walker) -> Facts {
    let changes = walker.changes()
        || matches!(
            kind,
            Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge
        );
    let locks = prepared.locks || walker.locks;
    let hazard = if changes {
        Some(Bypass::NotSelect)
    } else if locks {
        Some(Bypass::Locking)
    } else if prepared.into {
        Some(Bypass::SelectInto)
    } else if prepared.current_value {
        Some(Bypass::CurrentValue)
    } else {
        walker.hazard
    };
    let (blocks, change) = walker.confined(&prepared);
    Facts {
        kind,
        relations: walker.relations,
        functions: walker.functions,
        operators: walker.operators,
        types: walker.types,
        columns: walker.columns,
        defined: walker.defined,
        hazard,
        datetime_columns: walker.datetime_columns,
        wildcard: walker.wildcard,
        ordered: walker.ordered,
        limited: walker.limited,
        writes: changes || prepared.into,
        locks,
        evaluates_nothing: false,
        temporary: None,
        stillness: Stillness::NotNeeded,
        executes: None,
        vacates: None,
        frees_roles: Vec::new(),
        changes_defaults: false,
        to_default: false,
        complete: true,
        literal_dependent: walker.literal_dependent,
        blocks,
        derived: walker.derived,
        rows: walker.rows,
        change,
        returning: walker.returning,
        returns: walker.returns,
    }
}

/// CALL is read as the SELECT of the same call.
fn call(statement: &str) -> Facts {
    let mut cursor = Cursor::new(statement);
    cursor.next();
    let facts = inner(
        Kind::Call,
        &format!("SELECT {}", &statement[cursor.position()..]),
    );
    Facts {
        writes: true,
        ..facts
    }
}

fn explain(analyze: bool, statement: &str) -> Facts {
    let mut cursor = Cursor::new(statement);
    cursor.next();
    kind::explain(&mut cursor);
    let mut facts = inner(Kind::Explain { analyze }, &statement[cursor.position()..]);
    if facts.complete && !analyze {
        facts.writes = false;
        facts.locks = false;
        for mut relation in std::mem::take(&mut facts.relations) {
            relation.access = Access::Read;
            if !facts.relations.contains(&relation) {
                facts.relations.push(relation);
            }
        }
    }
    facts
}

/// EXECUTE name, alone or behind EXPLAIN and CREATE TABLE … AS.
fn executed(kind: &Kind, statement: &str) -> Option<String> {
    let mut cursor = Cursor::new(statement);
    match kind {
        Kind::Execute { name } => Some(name.clone()),
        Kind::Explain { .. } => {
            cursor.next();
            kind::explain(&mut cursor);
            let explained = &statement[cursor.position()..];
            match classify(explained) {
                Kind::Explain { .. } => None,
                kind => executed(&kind, explained),
            }
        }
        Kind::Ddl | Kind::TemporaryDdl if cursor.word("create") => {
            while !cursor.words(&["as", "execute"]) {
                cursor.next()?;
            }
            cursor.name()
        }
        _ => None,
    }
}

/// PREPARE name [(types)] AS statement.
fn prepared(kind: Kind, statement: &str) -> Facts {
    let mut cursor = Cursor::new(statement);
    cursor.next();
    cursor.name();
    if cursor.is_symbol(0, b'(') {
        cursor.parenthesised();
    }
    if !cursor.word("as") {
        return Facts::unknown(kind);
    }
    inner(kind, &statement[cursor.position()..])
}

fn declared(kind: Kind, statement: &str) -> Facts {
    let mut cursor = Cursor::new(statement);
    cursor.next();
    match kind::declare(&mut cursor) {
        Some(_) => inner(kind, &statement[cursor.position()..]),
        None => Facts::unknown(kind),
    }
}
