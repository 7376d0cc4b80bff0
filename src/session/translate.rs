//! A client's frames → the frames that go upstream, with statement names as
//! the connection knows them, and what each may touch noted before it leaves.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::Session;
use super::analysis::Analysis;
use super::decide::Meaning;
use super::exchange::{Alias, Exchange, Expect, NameChange};
use super::fill::Fill;
use super::serve::Miss;
use super::state::Pin;
use super::statements::{Statement, UPSTREAM_PREFIX, told_apart, upstream_name};
use crate::cache::{Moment, Picture};
use crate::catalog::{Effects, Footprint};
use crate::planted::{Step, planted};
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
        unsynced: bool,
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
        exchange
            .expects
            .push_back(Expect::Simple { fill, unsynced });
    }

    /// Queues a FunctionCall: it may do anything.
    pub(super) fn translate_function_call(
        &mut self,
        frame: &Frame,
        unsynced: bool,
        exchange: &mut Exchange,
    ) {
        self.touch_everything();
        exchange.outgoing.extend_from_slice(frame.bytes());
        exchange.expects.push_back(Expect::Simple {
            fill: None,
            unsynced,
        });
    }

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
        match self.translate_message(frame, connection, exchange, miss) {
            // It makes no sense, but where it ends is known: the server says what is wrong with it.
            Err(error) if !error.is_fatal() => {
                self.translate_malformed(frame, connection, exchange);
                Ok(())
            }
            translated => translated,
        }
    }

    /// Queues a message of the extended protocol that cannot be read. The server fails at it.
    fn translate_malformed(
        &mut self,
        frame: &Frame,
        connection: &mut Connection,
        exchange: &mut Exchange,
    ) {
        self.touch_everything();
        if frame.tag() == tag::BIND
            && let Some((portal, statement, tail)) = names_of_bind(frame.body())
            && let Some((_, upstream)) = self.ensure_prepared(statement, connection, exchange)
        {
            frontend::bind_raw(&mut exchange.outgoing, portal, &upstream, tail);
        } else {
            exchange.outgoing.extend_from_slice(frame.bytes());
        }
        exchange.expects.push_back(match frame.tag() {
            tag::PARSE => Expect::Parse {
                statement: None,
                visible: true,
                change: None,
            },
            tag::BIND => Expect::Bind { alias: None },
            tag::DESCRIBE => Expect::DescribePortal,
            tag::CLOSE => Expect::Close {
                visible: true,
                evicted: None,
            },
            _ => Expect::Execute { fill: None },
        });
    }

    fn translate_message(
        &mut self,
        frame: &Frame,
        connection: &mut Connection,
        exchange: &mut Exchange,
        miss: &mut Miss,
    ) -> Result<(), WireError> {
        match frame.tag() {
            tag::PARSE => self.translate_parse(frame, connection, exchange)?,
            tag::BIND => self.translate_bind(frame, connection, exchange)?,
            tag::DESCRIBE => self.translate_describe(frame, connection, exchange)?,
            tag::EXECUTE => self.translate_execute(frame, connection, exchange, miss)?,
            tag::CLOSE => self.translate_close(frame, exchange)?,
            tag::SYNC => {
                exchange.synced();
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
                self.translate_query(frame, &meaning, true, exchange, &mut Miss::default());
                self.before_commit(exchange);
                exchange.open = false;
            }
            tag::FUNCTION_CALL => {
                self.translate_function_call(frame, true, exchange);
                self.before_commit(exchange);
                exchange.open = false;
            }
            // It may be for a COPY of which the server has not told yet; else the server drops it.
            tag::COPY_DONE | tag::COPY_FAIL => {
                exchange.outgoing.extend_from_slice(frame.bytes());
                exchange.expects.push_back(Expect::CopyEnd);
            }
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

    fn translate_bind(
        &mut self,
        frame: &Frame,
        connection: &mut Connection,
        exchange: &mut Exchange,
    ) -> Result<(), WireError> {
        let bind = frontend::Bind::read(frame.body())?;
        if !self.is_text(bind.statement) {
            return Err(WireError::Truncated);
        }
        let known = self.ensure_prepared(bind.statement, connection, exchange);
        let portal = Bytes::copy_from_slice(told_apart(bind.portal));
        let mut alias = None;
        match known {
            Some((statement, upstream)) => {
                frontend::bind_raw(&mut exchange.outgoing, bind.portal, &upstream, bind.tail);
                self.portals.insert(portal, Some(statement));
                if !upstream.is_empty() {
                    alias = Some(Alias {
                        upstream,
                        client: Bytes::copy_from_slice(bind.statement),
                    });
                }
            }
            None if self.may_be_prepared_in_sql(bind.statement) => {
                exchange.outgoing.extend_from_slice(frame.bytes());
                self.portals.insert(portal, None);
            }
            None => {
                exchange.fail(&no_statement(bind.statement));
                return Ok(());
            }
        }
        exchange.expects.push_back(Expect::Bind { alias });
        Ok(())
    }

    /// A name that the protocol does not know may be one of PREPARE. It is never one of
    /// another session, and never one of ours.
    pub(super) fn may_be_prepared_in_sql(&self, name: &[u8]) -> bool {
        let prepares =
            self.pins.contains(&Pin::SqlPrepare) || self.effects.intersects(Effects::PREPARED);
        prepares && !name.is_empty() && !name.starts_with(UPSTREAM_PREFIX.as_bytes())
    }

    fn translate_describe(
        &mut self,
        frame: &Frame,
        connection: &mut Connection,
        exchange: &mut Exchange,
    ) -> Result<(), WireError> {
        let describe = frontend::Describe::read(frame.body())?;
        if !self.is_text(describe.name) {
            return Err(WireError::Truncated);
        }
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
                    None if self.may_be_prepared_in_sql(describe.name) => {
                        exchange.outgoing.extend_from_slice(frame.bytes());
                        None
                    }
                    None => {
                        exchange.fail(&no_statement(describe.name));
                        return Ok(());
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
        connection: &mut Connection,
        exchange: &mut Exchange,
        miss: &mut Miss,
    ) -> Result<(), WireError> {
        let execute = frontend::Execute::read(frame.body())?;
        let statement = self
            .portals
            .get(told_apart(execute.portal))
            .cloned()
            .flatten();
        if let Some(statement) = &statement
            && let Some(Kind::Deallocate { name: Some(name) }) = statement.analysis.kind()
            && self.tx.status != TransactionStatus::Failed
            && let Some(before) = self.statements.get(name.as_bytes()).cloned()
        {
            // The connection keeps it for others; only the client's name goes.
            let name = Bytes::copy_from_slice(name.as_bytes());
            self.statements.remove(&name);
            let mut complete = BytesMut::new();
            backend::command_complete(&mut complete, "DEALLOCATE");
            exchange.expects.push_back(Expect::Given {
                bytes: complete.freeze(),
                change: Some(NameChange {
                    name,
                    before: Some(before),
                }),
            });
            self.executes_sent += 1;
            return Ok(());
        }
        if let Some(Kind::DiscardAll | Kind::Deallocate { name: None }) = statement
            .as_ref()
            .and_then(|statement| statement.analysis.kind())
        {
            // What comes after it in the same unit must be prepared again.
            connection.prepared.clear();
            self.unnamed_upstream = None;
        }
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
        if !self.is_text(close.name) {
            return Err(WireError::Truncated);
        }
        match close.target {
            frontend::Target::Portal => {
                self.portals.remove(told_apart(close.name));
                exchange.outgoing.extend_from_slice(frame.bytes());
                exchange.expects.push_back(Expect::Close {
                    visible: true,
                    evicted: None,
                });
            }
            frontend::Target::Statement
                if self.statements.get(close.name).is_none()
                    && self.may_be_prepared_in_sql(close.name) =>
            {
                exchange.outgoing.extend_from_slice(frame.bytes());
                exchange.expects.push_back(Expect::Close {
                    visible: true,
                    evicted: None,
                });
            }
            frontend::Target::Statement => {
                // The connection keeps it for others; only the client's name goes.
                let change = NameChange {
                    name: Bytes::copy_from_slice(close.name),
                    before: self.statements.get(close.name).cloned(),
                };
                self.statements.remove(close.name);
                let mut complete = BytesMut::new();
                backend::close_complete(&mut complete);
                exchange.expects.push_back(Expect::Given {
                    bytes: complete.freeze(),
                    change: Some(change),
                });
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
        if planted(Step::NoMark) || planted(Step::AfterAcknowledgement) {
            return;
        }
        if let Some(writer) = &mut self.writer {
            self.database.authority.mark(writer);
            if planted(Step::BeforeOnly) {
                self.database.authority.release(writer, true);
            }
        }
    }
}

/// BEGIN and ROLLBACK make nothing visible.
fn begins_or_ends_nothing(kind: Option<&Kind>) -> bool {
    matches!(kind, Some(Kind::Begin { .. } | Kind::Rollback { .. }))
}

fn no_statement(name: &[u8]) -> ErrorReport {
    let message = if name.is_empty() {
        "unnamed prepared statement does not exist".to_owned()
    } else {
        let name = String::from_utf8_lossy(name);
        format!("prepared statement \"{name}\" does not exist")
    };
    ErrorReport::error(SqlState::INVALID_STATEMENT_NAME, message)
}

/// Portal, statement and the rest of a Bind whose rest makes no sense.
fn names_of_bind(body: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (portal, rest) = body.split_at(memchr::memchr(0, body)?);
    let (statement, tail) = rest[1..].split_at(memchr::memchr(0, &rest[1..])?);
    Some((portal, statement, &tail[1..]))
}
