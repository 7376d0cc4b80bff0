//! A client's statement names → the names that upstream connections know.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::Session;
use super::analysis::Analysis;
use super::exchange::{Exchange, Expect, NameChange};
use super::state::Pin;
use super::statements::{Statement, UPSTREAM_PREFIX, upstream_name};
use crate::cache::Moment;
use crate::catalog::Effects;
use crate::sql::Kind;
use crate::upstream::Connection;
use crate::wire::{ErrorReport, Frame, SqlState, WireError, backend, frontend};

/// Named statements that one client may have at once.
const CLIENT_STATEMENTS_MAX: usize = 100_000;

impl Session {
    /// SQL that names statements of the protocol (EXECUTE, DEALLOCATE) finds them on the connection
    /// under the names that the client gave them.
    pub(super) fn lend_names(&self, names: &[String], exchange: &mut Exchange) {
        let mut lent = false;
        for name in names {
            if let Some(statement) = self.statements.get(name.as_bytes()) {
                frontend::parse(
                    &mut exchange.outgoing,
                    name.as_bytes(),
                    &statement.sql,
                    &statement.parameter_types,
                );
                lent = true;
            }
        }
        if lent {
            frontend::sync(&mut exchange.outgoing);
            exchange
                .expects
                .push_back(Expect::Hidden { may_fail: true });
        }
    }

    /// The end of [`Session::lend_names`].
    pub(super) fn take_names_back(&self, names: &[String], exchange: &mut Exchange) {
        for name in names {
            frontend::close(
                &mut exchange.outgoing,
                frontend::Target::Statement,
                name.as_bytes(),
            );
        }
        if !names.is_empty() {
            frontend::sync(&mut exchange.outgoing);
            exchange
                .expects
                .push_back(Expect::Hidden { may_fail: true });
        }
    }

    /// The statements of the protocol that this SQL names.
    pub(super) fn named_in_sql(&self, analysis: &Analysis, names: &mut Vec<String>) {
        for facts in analysis.statements.iter() {
            if let Kind::Execute { name }
            | Kind::Prepare { name }
            | Kind::Deallocate { name: Some(name) } = &facts.kind
                && self.statements.get(name.as_bytes()).is_some()
                && !names.contains(name)
            {
                names.push(name.clone());
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
        let mut statement = if self.is_shareable() {
            self.intern(parse.sql, &parse.parameter_types)
        } else {
            self.private_statement(parse.sql, &parse.parameter_types)
        };
        let name = Bytes::copy_from_slice(parse.name);
        let change = NameChange {
            name: name.clone(),
            before: self.statements.get(&name).cloned(),
        };
        if name.is_empty() {
            exchange.outgoing.extend_from_slice(frame.bytes());
            exchange.expects.push_back(Expect::Parse {
                statement: None,
                visible: true,
                change: Some(change),
            });
            self.unnamed_upstream = Some(statement.id);
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
            self.prepare_upstream(&statement, connection, exchange, None);
        } else if connection.prepared.contains(statement.id) && self.is_read_alike() {
            let mut complete = BytesMut::new();
            backend::parse_complete(&mut complete);
            exchange.expects.push_back(Expect::Given {
                bytes: complete.freeze(),
                change: Some(change),
            });
        } else {
            if self.statements.holds(statement.id) {
                // The table may have changed since: the other name keeps what it was prepared as.
                statement = self.private_statement(parse.sql, &parse.parameter_types);
            }
            self.prepare_upstream(&statement, connection, exchange, Some(change));
        }
        self.statements.insert(&name, statement);
        Ok(())
    }

    /// A Parse now would come to what an earlier one with the same context and catalogue came to.
    fn is_read_alike(&self) -> bool {
        let authority = &self.database.authority;
        authority.catalog().is_some()
            && authority.may_serve(Moment::now()).is_ok()
            && self.may_use_descriptions()
    }

    /// Sends a Parse of `statement` under the name that upstream connections know it by;
    /// the client sees the reply to it if it changes one of the client's names.
    fn prepare_upstream(
        &mut self,
        statement: &Arc<Statement>,
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
        if !connection.prepared.contains(statement.id)
            && let Some(evicted) = connection.prepared.insert(statement.id)
        {
            close(evicted, Some(evicted));
        }
        close(statement.id, None);
        self.metrics.server_parse();
        frontend::parse(
            &mut exchange.outgoing,
            statement.upstream_name().as_bytes(),
            &statement.sql,
            &statement.parameter_types,
        );
        exchange.pending_parses.push(statement.id);
        exchange.expects.push_back(Expect::Parse {
            statement: Some(statement.id),
            visible: change.is_some(),
            change,
        });
    }

    /// The connection knows what the client calls `name`; gives its name there.
    /// `None`: the client has no such statement, and the server will say so.
    pub(super) fn ensure_prepared(
        &mut self,
        name: &[u8],
        connection: &mut Connection,
        exchange: &mut Exchange,
    ) -> Option<(Arc<Statement>, Vec<u8>)> {
        let statement = self.statements.get(name)?.clone();
        if name.is_empty() {
            if self.unnamed_upstream != Some(statement.id) {
                frontend::parse(
                    &mut exchange.outgoing,
                    b"",
                    &statement.sql,
                    &statement.parameter_types,
                );
                exchange.expects.push_back(Expect::Parse {
                    statement: None,
                    visible: false,
                    change: None,
                });
                self.unnamed_upstream = Some(statement.id);
            }
            return Some((statement, Vec::new()));
        }
        if !connection.prepared.contains(statement.id) {
            self.prepare_upstream(&statement, connection, exchange, None);
        }
        let upstream = statement.upstream_name().into_bytes();
        Some((statement, upstream))
    }

    /// A name that the protocol does not know may be one of PREPARE. It is never one of
    /// another session, and never one of ours.
    pub(super) fn may_be_prepared_in_sql(&self, name: &[u8]) -> bool {
        let prepares =
            self.pins.contains(&Pin::SqlPrepare) || self.effects.intersects(Effects::PREPARED);
        prepares && !name.is_empty() && !name.starts_with(UPSTREAM_PREFIX.as_bytes())
    }
}

pub(super) fn no_statement(name: &[u8]) -> ErrorReport {
    let message = if name.is_empty() {
        "unnamed prepared statement does not exist".to_owned()
    } else {
        let name = String::from_utf8_lossy(name);
        format!("prepared statement \"{name}\" does not exist")
    };
    ErrorReport::error(SqlState::INVALID_STATEMENT_NAME, message)
}
