//! A client's statement names → the names that upstream connections know.

use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::Session;
use super::analysis::Analysis;
use super::exchange::Exchange;
use super::expect::{Expect, NameChange};
use super::state::Pin;
use super::statements::{ClientStatement, Statement, is_upstream_name, upstream_id, upstream_name};
use super::translate::names_of_bind;
use crate::cache::Moment;
use crate::catalog::Effects;
use crate::sql::Kind;
use crate::upstream::{Connection, Prepared, Told};
use crate::wire::{
    ErrorReport, Frame, SqlState, TransactionStatus, WireError, backend, frontend,
    tag::frontend as tag,
};

/// Named statements that one client may have at once.
const CLIENT_STATEMENTS_MAX: usize = 100_000;

impl Session {
    /// SQL that names statements of the protocol (EXECUTE, DEALLOCATE) finds them on the connection
    /// under the names that the client gave them.
    pub(super) fn lend_names(
        &self,
        names: &[String],
        connection: &mut Connection,
        exchange: &mut Exchange,
    ) {
        let mut lent = false;
        for name in names {
            if let Some(statement) = self.statements.get(name.as_bytes()) {
                close_ours(name, connection, exchange);
                let (types, out) = (&statement.parameter_types, &mut exchange.outgoing);
                self.write_parse_as_then(name.as_bytes(), statement, types, out);
                lent = true;
            }
        }
        if lent {
            frontend::sync(&mut exchange.outgoing);
            exchange.expects.push_back(Expect::Hidden);
        }
    }

    /// The same where the unit goes on without a Sync.
    fn lend_amid(&self, analysis: &Analysis, connection: &mut Connection, exchange: &mut Exchange) {
        let mut names = Vec::new();
        if !matches!(analysis.kind(), Some(Kind::Deallocate { .. })) {
            self.named_in_sql(analysis, &mut names);
        }
        names.retain(|name| !exchange.lent_names.contains(name));
        for name in names {
            if let Some(statement) = self.statements.get(name.as_bytes())
                && self.may_be_copied(statement)
            {
                close_ours(&name, connection, exchange);
                let types = &statement.parameter_types;
                let hidden = Expect::hidden_parse();
                self.parse_as_then(name.as_bytes(), statement, types, hidden, exchange);
                exchange.lent = true;
                exchange.lent_names.push(name);
            }
        }
    }

    /// The end of [`Session::lend_names`], once the unit has had its Sync, or what ends it instead.
    pub(super) fn end_loan(&self, exchange: &mut Exchange) {
        let names = std::mem::take(&mut exchange.lent_names);
        for name in &names {
            frontend::close(
                &mut exchange.outgoing,
                frontend::Target::Statement,
                name.as_bytes(),
            );
        }
        if !names.is_empty() {
            frontend::sync(&mut exchange.outgoing);
            exchange.expects.push_back(Expect::Hidden);
        }
    }

    /// The statements of the protocol that this SQL names, or lists.
    pub(super) fn named_in_sql(&self, analysis: &Analysis, names: &mut Vec<String>) {
        if lists_statements(analysis) {
            names.extend(self.statements.names());
        }
        for name in names_in(analysis) {
            if self.statements.get(name.as_bytes()).is_some() && !names.contains(name) {
                names.push(name.clone());
            }
        }
    }

    /// What names in this SQL lead to on the connection: the client's own statements, and nothing that pgditto has prepared
    /// under such a name, for whatever session.
    pub(super) fn prepare_names(
        &self,
        analysis: &Analysis,
        connection: &mut Connection,
        exchange: &mut Exchange,
    ) {
        self.lend_amid(analysis, connection, exchange);
        for name in names_in(analysis) {
            if self.statements.get(name.as_bytes()).is_none() {
                close_ours(name, connection, exchange);
            }
        }
    }

    pub(super) fn translate_parse(
        &mut self,
        frame: &Frame,
        connection: &mut Connection,
        exchange: &mut Exchange,
    ) -> Result<(), WireError> {
        let parse = frontend::Parse::read(frame.body())?;
        if !self.is_text(parse.name) {
            return Err(WireError::Truncated);
        }
        let mut statement = self.intern(parse.sql, &parse.parameter_types);
        // What a name in SQL means is the session's own, and settled when the statement is prepared.
        if !self.is_shareable() || names_in(&statement.analysis).next().is_some() {
            statement = self.private_statement(parse.sql, &parse.parameter_types);
        }
        self.prepare_names(&statement.analysis, connection, exchange);
        let mut prepared = self.as_prepared_now(statement);
        let name = Bytes::copy_from_slice(parse.name);
        let change = NameChange {
            name: name.clone(),
            before: self.statements.as_prepared(&name).cloned(),
        };
        if name.is_empty() {
            exchange.outgoing.extend_from_slice(frame.bytes());
            exchange.expects.push_back(Expect::Parse {
                statement: None,
                visible: true,
                change: Some(change),
            });
            self.unnamed_upstream = Some((prepared.statement.id, prepared.told.clone()));
        } else if change.before.is_some() {
            // The server complains of the text first, if there is reason to.
            frontend::parse(
                &mut exchange.outgoing,
                b"",
                parse.sql,
                &parse.parameter_types,
            );
            exchange.expects.push_back(Expect::Parse {
                statement: None,
                visible: false,
                change: None,
            });
            self.unnamed_upstream = None;
            let name = String::from_utf8_lossy(&name);
            let message = format!("prepared statement \"{name}\" already exists");
            exchange.fail(&ErrorReport::error(SqlState::DUPLICATE_STATEMENT, message));
            return Ok(());
        } else if self.statements.len() >= CLIENT_STATEMENTS_MAX {
            exchange.fail(
                &ErrorReport::error(
                    SqlState::PROGRAM_LIMIT_EXCEEDED,
                    "too many prepared statements in one session",
                )
                .with_hint("Close those that are no longer used."),
            );
            return Ok(());
        } else if self.may_be_prepared_in_sql(&name) {
            // The server says so if PREPARE has taken the name.
            frontend::parse(
                &mut exchange.outgoing,
                &name,
                parse.sql,
                &parse.parameter_types,
            );
            exchange.expects.push_back(Expect::Parse {
                statement: None,
                visible: true,
                change: Some(change),
            });
            frontend::close(&mut exchange.outgoing, frontend::Target::Statement, &name);
            exchange.expects.push_back(Expect::Close {
                visible: false,
                evicted: None,
            });
            self.prepare_upstream(&prepared, connection, exchange, None);
        } else if self.is_read_alike() && has_copy(&prepared, connection) {
            let mut complete = BytesMut::new();
            backend::parse_complete(&mut complete);
            exchange.expects.push_back(Expect::Given {
                bytes: complete.freeze(),
                change: Some(change),
            });
        } else {
            if self.statements.holds(prepared.statement.id) {
                // The table may have changed since: the other name keeps what it was prepared as.
                let statement = self.private_statement(parse.sql, &parse.parameter_types);
                prepared = ClientStatement::shared(statement);
            }
            if prepared.told.get().is_some() {
                // What others were told may be of another time.
                prepared.told = Told::default();
            }
            self.prepare_upstream(&prepared, connection, exchange, Some(change));
        }
        self.statements.insert(&name, prepared);
        Ok(())
    }

    /// A Parse now would come to what an earlier one with the same context and catalogue came to.
    fn is_read_alike(&self) -> bool {
        let authority = &self.database.authority;
        authority.catalog().is_some()
            && authority.may_serve(Moment::now()).is_ok()
            && self.may_use_descriptions()
    }

    /// Sends a Parse of the statement under the name that upstream connections know it by;
    /// the client sees the reply to it if it changes one of the client's names.
    fn prepare_upstream(
        &mut self,
        prepared: &ClientStatement,
        connection: &mut Connection,
        exchange: &mut Exchange,
        change: Option<NameChange>,
    ) {
        let statement = &prepared.statement;
        let types = &statement.parameter_types;
        // Each copy says for itself what it is.
        let told = match prepared.told.get() {
            None => prepared.told.clone(),
            Some(_) => Told::default(),
        };
        self.send_parse(statement, types, &told, connection, exchange, change);
        exchange.learn(statement.upstream_name().as_bytes(), &told);
    }

    /// Sends a Parse of a statement of which no client knows.
    pub(super) fn prepare_added(
        &self,
        variant: &Statement,
        connection: &mut Connection,
        exchange: &mut Exchange,
    ) {
        let types = &variant.parameter_types;
        self.send_parse(variant, types, &variant.told, connection, exchange, None);
    }

    fn send_parse(
        &self,
        statement: &Statement,
        parameter_types: &[u32],
        told: &Told,
        connection: &mut Connection,
        exchange: &mut Exchange,
        change: Option<NameChange>,
    ) {
        // One that was read before a table changed must go, and one of which an error left
        // unclear whether it is there as well; there is no harm if it is not.
        let mut close = |id, evicted| {
            frontend::close(
                &mut exchange.outgoing,
                frontend::Target::Statement,
                upstream_name(id).as_bytes(),
            );
            exchange.expects.push_back(Expect::Close {
                visible: false,
                evicted,
            });
        };
        let copy = Prepared {
            at: Instant::now(),
            told: told.clone(),
        };
        if let Some((id, copy)) = connection.prepared.insert(statement.id, copy) {
            close(id, Some((id, copy)));
        }
        close(statement.id, None);
        self.metrics.server_parse();
        exchange.pending_parses.push(statement.id);
        let expect = Expect::Parse {
            statement: Some(statement.id),
            visible: change.is_some(),
            change,
        };
        let name = statement.upstream_name();
        self.parse_as_then(
            name.as_bytes(),
            statement,
            parameter_types,
            expect,
            exchange,
        );
    }

    /// The connection knows what the client calls `name`; gives its name there.
    /// `None`: the client has no such statement, and the server will say so.
    pub(super) fn ensure_prepared(
        &mut self,
        name: &[u8],
        connection: &mut Connection,
        exchange: &mut Exchange,
    ) -> Option<Copy> {
        self.statements.as_prepared(name)?;
        let Some(prepared) = self.for_copy(name, connection) else {
            return Some(Copy::Unreadable);
        };
        let statement = &prepared.statement;
        self.prepare_names(&statement.analysis, connection, exchange);
        if name.is_empty() {
            match &self.unnamed_upstream {
                Some((id, told)) if *id == statement.id => {
                    if !told.agrees(&prepared.told) {
                        return Some(Copy::Changed(prepared.told));
                    }
                }
                _ => {
                    if !self.may_be_copied(statement) {
                        return Some(Copy::Unreadable);
                    }
                    let types = &statement.parameter_types;
                    self.parse_as_then(b"", statement, types, Expect::hidden_parse(), exchange);
                    self.unnamed_upstream = Some((statement.id, prepared.told.clone()));
                }
            }
            self.note_examined(name);
            return Some(Copy::There(prepared, Vec::new()));
        }
        if !has_copy(&prepared, connection) {
            if exchange.examined == Some(statement.id) {
                return Some(Copy::Changed(prepared.told));
            }
            if !self.may_be_copied(statement) {
                return Some(Copy::Unreadable);
            }
            self.prepare_upstream(&prepared, connection, exchange, None);
        }
        if !exchange.lent {
            self.note_examined(name);
        }
        let upstream = statement.upstream_name().into_bytes();
        Some(Copy::There(prepared, upstream))
    }

    /// Whether the statement of this Bind or Describe must be prepared on the connection, and may turn out to give
    /// other columns than the client was told of: then it is prepared and described, and the message has to wait for
    /// that. PostgreSQL refuses to run such a statement, and nothing of it must have run.
    pub(super) fn examine(
        &mut self,
        frame: &Frame,
        connection: &mut Connection,
        exchange: &mut Exchange,
    ) -> bool {
        let Some(name) = statement_of(frame) else {
            return false;
        };
        let Some(prepared) = self.statements.as_prepared(name) else {
            return false;
        };
        let there = match &self.unnamed_upstream {
            Some((id, told)) if name.is_empty() => {
                *id == prepared.statement.id && told.agrees(&prepared.told)
            }
            _ => !name.is_empty() && has_copy(prepared, connection),
        };
        if there
            || exchange.lent
            || exchange.examined == Some(prepared.statement.id)
            || self.tx.status == TransactionStatus::Failed
            || (self.is_current(&prepared.statement)
                && !prepared.is_unexamined()
                && !has_other_copy(prepared, connection))
        {
            return false;
        }
        let Some(prepared) = self.for_copy(name, connection) else {
            return false;
        };
        let Some(shape) = prepared.told.get() else {
            return false;
        };
        let statement = &prepared.statement;
        if !self.may_be_copied(statement) {
            return false;
        }
        // The types of parameters stay what they were, whatever the table has become.
        let types = match shape.parameter_types.is_empty() {
            true => &statement.parameter_types,
            false => &shape.parameter_types,
        };
        let told = Told::default();
        if name.is_empty() {
            self.parse_as_then(b"", statement, types, Expect::hidden_parse(), exchange);
            exchange.learn(b"", &told);
            self.unnamed_upstream = Some((statement.id, told));
        } else {
            self.send_parse(statement, types, &told, connection, exchange, None);
            exchange.learn(statement.upstream_name().as_bytes(), &told);
        }
        exchange.await_examination(statement.id);
        true
    }

    /// The connection's copy gives the columns that the client was told of, or the server refuses to run it.
    fn note_examined(&mut self, name: &[u8]) {
        if let Some(prepared) = self.statements.as_prepared_mut(name) {
            prepared.renewed = false;
        }
    }

    /// A name that the protocol does not know may be one of PREPARE. It is never one of
    /// another session, and never one of ours.
    pub(super) fn may_be_prepared_in_sql(&self, name: &[u8]) -> bool {
        let prepares =
            self.pins.contains(&Pin::SqlPrepare) || self.effects.intersects(Effects::PREPARED);
        prepares && !name.is_empty() && !is_upstream_name(name)
    }
}

/// The prepared statements that this SQL runs, makes or drops by name.
fn names_in(analysis: &Analysis) -> impl Iterator<Item = &String> {
    analysis
        .statements
        .iter()
        .filter_map(|facts| match &facts.kind {
            Kind::Prepare { name } | Kind::Deallocate { name: Some(name) } => Some(name),
            _ => facts.executes.as_ref(),
        })
}

/// It shows `pg_prepared_statements`.
fn lists_statements(analysis: &Analysis) -> bool {
    analysis.statements.iter().any(|facts| {
        let relations = facts.relations.iter().map(|used| &used.name.name);
        let functions = facts.functions.iter().map(|used| &used.name.name);
        relations
            .chain(functions)
            .any(|name| name.starts_with("pg_prepared_statement"))
    })
}

/// What lists the statements of its session meets the client's own, which have been lent, and none of ours: those that
/// are on the connection go. To be called when the portal of such a statement stands.
pub(super) fn hide_ours(analysis: &Analysis, connection: &mut Connection, exchange: &mut Exchange) {
    if !lists_statements(analysis) {
        return;
    }
    for (id, copy) in connection.prepared.take() {
        let target = frontend::Target::Statement;
        frontend::close(&mut exchange.outgoing, target, upstream_name(id).as_bytes());
        exchange.expects.push_back(Expect::Close {
            visible: false,
            evicted: Some((id, copy)),
        });
    }
}

/// Frees the name on the connection, if it is one of ours.
fn close_ours(name: &str, connection: &mut Connection, exchange: &mut Exchange) {
    if let Some(id) = upstream_id(name) {
        connection.prepared.remove(id);
        let target = frontend::Target::Statement;
        frontend::close(&mut exchange.outgoing, target, name.as_bytes());
        exchange.expects.push_back(Expect::Close {
            visible: false,
            evicted: None,
        });
    }
}

/// A client's statement on a connection.
pub(super) enum Copy {
    /// Under this name.
    There(ClientStatement, Vec<u8>),
    /// It gives other columns there than the client was told of.
    Changed(Told),
    /// It is not there, and its text meant something else under the settings with which the client prepared it.
    Unreadable,
}

pub(super) fn has_copy(prepared: &ClientStatement, connection: &mut Connection) -> bool {
    let copy = connection.prepared.get(prepared.statement.id);
    copy.is_some_and(|copy| prepared.takes(copy))
}

/// The copy there gives other columns: the catalogue has changed, seen or not.
fn has_other_copy(prepared: &ClientStatement, connection: &mut Connection) -> bool {
    let copy = connection.prepared.get(prepared.statement.id);
    copy.is_some_and(|copy| !copy.told.agrees(&prepared.told))
}

/// The name of the statement that a Bind binds or a Describe describes.
pub(super) fn statement_of(frame: &Frame) -> Option<&[u8]> {
    match frame.tag() {
        tag::BIND => names_of_bind(frame.body()).map(|(_, statement, _)| statement),
        tag::DESCRIBE => {
            let describe = frontend::Describe::read(frame.body()).ok()?;
            (describe.target == frontend::Target::Statement).then_some(describe.name)
        }
        _ => None,
    }
}

/// As PostgreSQL says it of a statement whose columns have changed since it was prepared.
pub(super) fn changed() -> ErrorReport {
    ErrorReport::error(
        SqlState::FEATURE_NOT_SUPPORTED,
        "cached plan must not change result type",
    )
    // By which pgjdbc and others know that it helps to prepare anew.
    .in_routine("RevalidateCachedQuery")
}

pub(super) fn unreadable() -> ErrorReport {
    ErrorReport::error(
        SqlState::FEATURE_NOT_SUPPORTED,
        "the prepared statement cannot be read any more as it was",
    )
    .with_hint(
        "client_encoding or standard_conforming_strings has changed since it was prepared: prepare it again.",
    )
}

/// `routine`: what looks for the unnamed one.
pub(super) fn no_statement(name: &[u8], routine: &'static str) -> ErrorReport {
    let (message, routine) = if name.is_empty() {
        let message = "unnamed prepared statement does not exist".to_owned();
        (message, routine)
    } else {
        let name = String::from_utf8_lossy(name);
        let message = format!("prepared statement \"{name}\" does not exist");
        (message, "FetchPreparedStatement")
    };
    ErrorReport::error(SqlState::INVALID_STATEMENT_NAME, message).in_routine(routine)
}
