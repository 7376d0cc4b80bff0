//! A client's frames → the frames that go upstream, with statement names as
//! the connection knows them, and what each may touch noted before it leaves.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::Session;
use super::decide::Meaning;
use super::exchange::{Exchange, Expect, NameChange};
use super::fill::Fill;
use super::serve::Miss;
use super::statements::{Statement, upstream_name};
use crate::cache::{Moment, Picture};
use crate::catalog::{Effects, Footprint};
use crate::sql::Kind;
use crate::upstream::Connection;
use crate::wire::{
    ErrorReport, Frame, SqlState, TransactionStatus, WireError, backend, frontend,
    tag::frontend as tag,
};

/// Named statements that one client may have at once.
const CLIENT_STATEMENTS_MAX: usize = 100_000;

impl Session {
    /// Queues a Query.
    pub(super) fn translate_query(
        &mut self,
        frame: &Frame,
        meaning: &Meaning,
        exchange: &mut Exchange,
        miss: &mut Miss,
    ) {
        self.touch(meaning);
        self.effects = self.effects.union(meaning.effects);
        let fill = self.begin_fill(0, exchange, miss);
        // A Query ends the unnamed statement.
        self.statements.remove(b"");
        self.unnamed_upstream = None;
        exchange.outgoing.extend_from_slice(frame.bytes());
        exchange.expects.push_back(Expect::Simple { fill });
    }

    /// Queues a FunctionCall: it may do anything.
    pub(super) fn translate_function_call(&mut self, frame: &Frame, exchange: &mut Exchange) {
        self.touch_everything();
        exchange.outgoing.extend_from_slice(frame.bytes());
        exchange.expects.push_back(Expect::Simple { fill: None });
    }

    /// Queues one message of the extended protocol, or one that comes while a unit is open.
    ///
    /// # Errors
    /// The message is malformed.
    pub(super) fn translate(
        &mut self,
        frame: &Frame,
        connection: &mut Connection,
        exchange: &mut Exchange,
        miss: &mut Miss,
    ) -> Result<(), WireError> {
        if exchange.copy_in {
            return self.translate_in_copy(frame, exchange);
        }
        // The server drops everything until Sync; no replies come.
        let skipping = exchange.is_skipping() && frame.tag() != tag::SYNC;
        if skipping {
            return Ok(());
        }
        match frame.tag() {
            tag::PARSE => self.translate_parse(frame, connection, exchange)?,
            tag::BIND => self.translate_bind(frame, connection, exchange)?,
            tag::DESCRIBE => self.translate_describe(frame, connection, exchange)?,
            tag::EXECUTE => self.translate_execute(frame, exchange, miss)?,
            tag::CLOSE => self.translate_close(frame, exchange)?,
            tag::SYNC => {
                exchange.open = false;
                exchange.outgoing.extend_from_slice(frame.bytes());
                exchange.expects.push_back(Expect::Sync);
                self.before_commit(exchange);
            }
            tag::QUERY => {
                // It follows messages that were not synced.
                let query = frontend::Query::read(frame.body())?;
                let analysis = self.analyse(query.sql);
                let meaning = self.meaning(&analysis);
                self.commit_inside |= meaning.may_commit_inside;
                self.translate_query(frame, &meaning, exchange, &mut Miss::default());
                self.before_commit(exchange);
                exchange.open = false;
            }
            tag::FUNCTION_CALL => {
                self.translate_function_call(frame, exchange);
                self.before_commit(exchange);
                exchange.open = false;
            }
            tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => {}
            _ => exchange.outgoing.extend_from_slice(frame.bytes()),
        }
        Ok(())
    }

    fn translate_in_copy(
        &mut self,
        frame: &Frame,
        exchange: &mut Exchange,
    ) -> Result<(), WireError> {
        match frame.tag() {
            tag::COPY_DONE | tag::COPY_FAIL => {
                exchange.copy_in = false;
                if matches!(exchange.expects.front(), Some(Expect::Simple { .. })) {
                    exchange.open = false;
                }
                self.before_commit(exchange);
            }
            // The server drops these while it copies.
            tag::SYNC | tag::FLUSH => return Ok(()),
            _ => {}
        }
        exchange.outgoing.extend_from_slice(frame.bytes());
        Ok(())
    }

    fn translate_parse(
        &mut self,
        frame: &Frame,
        connection: &mut Connection,
        exchange: &mut Exchange,
    ) -> Result<(), WireError> {
        let parse = frontend::Parse::read(frame.body())?;
        let statement = self.intern(parse.sql, &parse.parameter_types);
        let name = Bytes::copy_from_slice(parse.name);
        if name.is_empty() {
            exchange.outgoing.extend_from_slice(frame.bytes());
            exchange.expects.push_back(Expect::Parse {
                statement: None,
                visible: true,
            });
            self.unnamed_upstream = Some(statement.id);
        } else if self.statements.get(&name).is_some() {
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
        } else if connection.prepared.contains(statement.id)
            && self.tx.status != TransactionStatus::Failed
        {
            let mut complete = BytesMut::new();
            backend::parse_complete(&mut complete);
            exchange.expects.push_back(Expect::Given(complete.freeze()));
        } else {
            self.prepare_upstream(&statement, connection, exchange, true);
        }
        let before = self.statements.get(&name).cloned();
        exchange.note_name_change(NameChange {
            name: name.clone(),
            before,
        });
        self.statements.insert(&name, statement);
        Ok(())
    }

    /// Sends a Parse of `statement` under the name that upstream connections know it by.
    fn prepare_upstream(
        &mut self,
        statement: &Arc<Statement>,
        connection: &mut Connection,
        exchange: &mut Exchange,
        visible: bool,
    ) {
        if !connection.prepared.contains(statement.id) {
            if let Some(evicted) = connection.prepared.insert(statement.id) {
                frontend::close(
                    &mut exchange.outgoing,
                    frontend::Target::Statement,
                    upstream_name(evicted).as_bytes(),
                );
                exchange.expects.push_back(Expect::Close { visible: false });
            }
        }
        frontend::parse(
            &mut exchange.outgoing,
            statement.upstream_name().as_bytes(),
            &statement.sql,
            &statement.parameter_types,
        );
        exchange.pending_parses.push(statement.id);
        exchange.expects.push_back(Expect::Parse {
            statement: Some(statement.id),
            visible,
        });
    }

    /// The connection knows what the client calls `name`; gives its name there.
    /// `None`: the client has no such statement, and the server will say so.
    fn ensure_prepared(
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
                });
                self.unnamed_upstream = Some(statement.id);
            }
            return Some((statement, Vec::new()));
        }
        if !connection.prepared.contains(statement.id) {
            self.prepare_upstream(&statement, connection, exchange, false);
        }
        let upstream = statement.upstream_name().into_bytes();
        Some((statement, upstream))
    }

    fn translate_bind(
        &mut self,
        frame: &Frame,
        connection: &mut Connection,
        exchange: &mut Exchange,
    ) -> Result<(), WireError> {
        let bind = frontend::Bind::read(frame.body())?;
        let known = self.ensure_prepared(bind.statement, connection, exchange);
        let portal = Bytes::copy_from_slice(bind.portal);
        match known {
            Some((statement, upstream)) => {
                frontend::bind_raw(&mut exchange.outgoing, bind.portal, &upstream, bind.tail);
                self.portals.insert(portal, Some(statement));
            }
            None => {
                exchange.outgoing.extend_from_slice(frame.bytes());
                self.portals.insert(portal, None);
            }
        }
        exchange.expects.push_back(Expect::Bind);
        Ok(())
    }

    fn translate_describe(
        &mut self,
        frame: &Frame,
        connection: &mut Connection,
        exchange: &mut Exchange,
    ) -> Result<(), WireError> {
        let describe = frontend::Describe::read(frame.body())?;
        match describe.target {
            frontend::Target::Portal => {
                exchange.outgoing.extend_from_slice(frame.bytes());
                exchange.expects.push_back(Expect::DescribePortal);
            }
            frontend::Target::Statement => {
                let statement = match self.ensure_prepared(describe.name, connection, exchange) {
                    Some((statement, upstream)) => {
                        frontend::describe(&mut exchange.outgoing, describe.target, &upstream);
                        Some(statement)
                    }
                    None => {
                        exchange.outgoing.extend_from_slice(frame.bytes());
                        None
                    }
                };
                exchange
                    .expects
                    .push_back(Expect::DescribeStatement { statement });
            }
        }
        Ok(())
    }

    fn translate_execute(
        &mut self,
        frame: &Frame,
        exchange: &mut Exchange,
        miss: &mut Miss,
    ) -> Result<(), WireError> {
        let execute = frontend::Execute::read(frame.body())?;
        let statement = self.portals.get(execute.portal).cloned().flatten();
        match &statement {
            // A portal that SQL declared, or none at all.
            None => self.touch_everything(),
            Some(statement) => {
                let meaning = self.meaning(&statement.analysis);
                self.touch(&meaning);
                self.effects = self.effects.union(meaning.effects);
                self.commit_inside |= meaning.may_commit_inside;
                self.note_statements(&statement.analysis);
                self.single_control &= self.executes_sent == 0;
                if meaning.may_commit_inside && !begins_or_ends_nothing(statement.analysis.kind()) {
                    // COMMIT, CALL and their like commit at Execute, before any Sync.
                    self.mark_now();
                }
            }
        }
        let fill = if execute.max_rows == 0 {
            let place = self.executes_sent;
            self.begin_fill(place, exchange, miss)
        } else {
            None
        };
        self.executes_sent += 1;
        exchange.outgoing.extend_from_slice(frame.bytes());
        exchange.expects.push_back(Expect::Execute { fill });
        Ok(())
    }

    fn translate_close(&mut self, frame: &Frame, exchange: &mut Exchange) -> Result<(), WireError> {
        let close = frontend::Close::read(frame.body())?;
        match close.target {
            frontend::Target::Portal => {
                self.portals.remove(close.name);
                exchange.outgoing.extend_from_slice(frame.bytes());
                exchange.expects.push_back(Expect::Close { visible: true });
            }
            frontend::Target::Statement => {
                // The connection keeps it for others; only the client's name goes.
                let before = self.statements.get(close.name).cloned();
                exchange.note_name_change(NameChange {
                    name: Bytes::copy_from_slice(close.name),
                    before,
                });
                self.statements.remove(close.name);
                let mut complete = BytesMut::new();
                backend::close_complete(&mut complete);
                exchange.expects.push_back(Expect::Given(complete.freeze()));
            }
        }
        Ok(())
    }

    /// Begins to collect the answer of the Execute at `place`, if it was planned.
    fn begin_fill(
        &mut self,
        place: usize,
        exchange: &mut Exchange,
        miss: &mut Miss,
    ) -> Option<usize> {
        let at = miss
            .plans
            .iter()
            .position(|(planned, _)| *planned == place)?;
        let (_, mut plan) = miss.plans.swap_remove(at);
        if self.tx.wrote {
            return None;
        }
        // Before the bytes leave: the snapshot is taken at Bind.
        plan.options.read_at = Moment::now();
        let stamp = self
            .database
            .tags
            .stamp(&plan.options.relations, plan.picture);
        let leader = if place == 0 { miss.leader.take() } else { None };
        if let Some(leader) = &leader {
            leader.sent(&stamp);
        }
        let bytes_max = self.shared.cache.entry_bytes_max();
        let mut fill = Fill::new(
            plan.key,
            stamp,
            plan.options,
            leader,
            bytes_max,
            Instant::now(),
        );
        fill.shadow = miss.shadow.take().map(|entry| (entry, plan.order));
        exchange.fills.push(fill);
        Some(exchange.fills.len() - 1)
    }

    /// Notes what a statement may touch, before it leaves.
    pub(super) fn touch(&mut self, meaning: &Meaning) {
        self.note_meaning(meaning);
        if !meaning.footprint.is_nothing() {
            self.touch_footprint(&meaning.footprint, meaning.picture);
        }
    }

    fn touch_everything(&mut self) {
        let picture = self.database.tags.picture();
        self.tx.wrote = true;
        self.tx.locked = true;
        self.commit_inside = true;
        self.effects = self.effects.union(Effects::ALL);
        let footprint = Footprint {
            shared_catalogue: true,
            ..Footprint::catalogue()
        };
        self.touch_footprint(&footprint, picture);
    }

    fn touch_footprint(&mut self, footprint: &Footprint, picture: Picture) {
        let database = &self.database;
        let writer = self.writer.get_or_insert_with(|| database.tags.writer());
        database.authority.touch(writer, footprint, picture);
    }

    /// Marks what this transaction touched, if what was just queued may commit it.
    pub(super) fn before_commit(&mut self, exchange: &Exchange) {
        let implicit = self.tx.status == TransactionStatus::Idle && self.tx.unsent_begin.is_none();
        // COPY commits after CopyDone, which comes through here again.
        if exchange.copy_in {
            return;
        }
        if implicit || self.commit_inside {
            self.mark_now();
        }
    }

    pub(super) fn mark_now(&mut self) {
        if let Some(writer) = &mut self.writer {
            self.database.authority.mark(writer);
        }
    }
}

/// BEGIN and ROLLBACK make nothing visible.
fn begins_or_ends_nothing(kind: Option<&Kind>) -> bool {
    matches!(kind, Some(Kind::Begin { .. } | Kind::Rollback { .. }))
}
