//! A client's frames → the frames that go upstream, with statement names as
//! the connection knows them, and what each may touch noted before it leaves.

use bytes::{Bytes, BytesMut};

use super::Session;
use super::analysis::Analysis;
use super::decide::Meaning;
use super::exchange::Exchange;
use super::expect::{Alias, Expect, NameChange};
use super::prepare::{Copy, changed, hide_ours, no_statement, statement_of, unreadable};
use super::serve::Miss;
use super::statements::{Bound, told_apart};
use super::touch::{begins_or_ends_nothing, leaves_reads_alone};
use super::unnamed::UnnamedPortal;
use crate::metrics::Asker;
use crate::sql::Kind;
use crate::upstream::Connection;
use crate::wire::{Frame, TransactionStatus, WireError, backend, frontend, tag::frontend as tag};

impl Session {
    /// Queues a Query.
    pub(super) fn translate_query(
        &mut self,
        (frame, analysis): (&Frame, &Analysis),
        meaning: &mut Meaning,
        unsynced: bool,
        connection: &Connection,
        exchange: &mut Exchange,
        miss: &mut Miss,
    ) {
        let added = self.query_added(frame, analysis, meaning, exchange);
        let asker = match &added {
            Some(_) => Asker::Proxy,
            None => Asker::Client,
        };
        let learner = self.touch_and_learn(meaning, &[], asker, exchange);
        self.note_effects(meaning);
        let fill = self.begin_query_fill(connection, exchange, miss);
        // A Query ends the unnamed statement.
        self.statements.remove(b"");
        self.unnamed_upstream = None;
        match &added {
            Some(added) => frontend::query(&mut exchange.outgoing, &added.sql),
            None => exchange.outgoing.extend_from_slice(frame.bytes()),
        }
        exchange.expects.push_back(Expect::Simple {
            fill,
            learner,
            hidden: added.is_some(),
            unsynced,
        });
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
            learner: None,
            hidden: false,
            unsynced,
        });
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
        if exchange.holds() {
            exchange.hold(frame);
            return Ok(());
        }
        self.translate_next(frame, connection, exchange, miss)
    }

    /// [`Session::translate`] of the frame that is next in turn.
    pub(super) fn translate_next(
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
        if let Some(name) = statement_of(frame) {
            self.renew(name);
        }
        if self.examine(frame, connection, exchange) {
            exchange.hold_back(frame);
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
            && let Some(Copy::There(_, upstream)) =
                self.ensure_prepared(statement, connection, exchange)
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
            tag::BIND => Expect::Bind {
                alias: None,
                added: false,
            },
            tag::DESCRIBE => Expect::DescribePortal { hidden: false },
            tag::CLOSE => Expect::Close {
                visible: true,
                evicted: None,
            },
            _ => Expect::Execute {
                fill: None,
                learner: None,
                hidden: false,
                forgets: false,
            },
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
            tag::BIND => self.translate_bind(frame, connection, exchange, miss)?,
            tag::DESCRIBE => self.translate_describe(frame, connection, exchange)?,
            tag::EXECUTE => self.translate_execute(frame, connection, exchange)?,
            tag::CLOSE => self.translate_close(frame, exchange)?,
            tag::SYNC if self.hold_sync(frame, exchange) => {}
            tag::SYNC => {
                self.release_sync(exchange);
                exchange.synced();
                exchange.outgoing.extend_from_slice(frame.bytes());
                exchange.expects.push_back(Expect::Sync);
                self.end_loan(exchange);
                self.before_commit(exchange);
            }
            tag::QUERY => {
                // It follows messages that were not synced.
                let query = frontend::Query::read(frame.body())?;
                let analysis = self.analyse(query.sql);
                let mut meaning = self.meaning(&analysis);
                self.narrow(&mut meaning, &analysis, None);
                self.commit_inside |= meaning.may_commit_inside;
                self.prepare_names(&analysis, connection, exchange);
                hide_ours(&analysis, connection, exchange);
                self.replace_unnamed(analysis.kind());
                let mut miss = Miss::default();
                let (meaning, miss) = (&mut meaning, &mut miss);
                self.translate_query(
                    (frame, &analysis),
                    meaning,
                    true,
                    connection,
                    exchange,
                    miss,
                );
                self.end_loan(exchange);
                self.before_commit(exchange);
                exchange.open = false;
            }
            tag::FUNCTION_CALL => {
                self.translate_function_call(frame, true, exchange);
                self.end_loan(exchange);
                self.before_commit(exchange);
                exchange.open = false;
            }
            // It may be for a COPY of which the server has not told yet; else the server drops it.
            tag::COPY_DONE | tag::COPY_FAIL => {
                exchange.outgoing.extend_from_slice(frame.bytes());
                exchange.expects.push_back(Expect::CopyEnd);
            }
            tag::FLUSH if !frame.body().is_empty() => return Err(WireError::TrailingData),
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

    fn translate_bind(
        &mut self,
        frame: &Frame,
        connection: &mut Connection,
        exchange: &mut Exchange,
        miss: &mut Miss,
    ) -> Result<(), WireError> {
        let bind = frontend::Bind::read(frame.body())?;
        if !self.is_text(bind.statement) {
            return Err(WireError::Truncated);
        }
        let known = self.ensure_prepared(bind.statement, connection, exchange);
        if bind.portal.is_empty()
            && (known.is_some() || self.may_be_prepared_in_sql(bind.statement))
        {
            self.unnamed_portal = UnnamedPortal::Upstream;
        }
        let portal = Bytes::copy_from_slice(told_apart(bind.portal));
        let mut alias = None;
        let mut added = false;
        match known {
            Some(Copy::Changed(_)) => {
                exchange.fail(&changed());
                return Ok(());
            }
            Some(Copy::Unreadable) => {
                exchange.fail(&unreadable());
                return Ok(());
            }
            Some(Copy::There(prepared, upstream)) => {
                let mut statement = prepared.statement.clone();
                let mut upstream = upstream;
                self.plan_fill(&statement, &bind, connection, exchange, miss);
                self.portals
                    .insert(portal, Some(Bound::new(statement.clone(), frame)));
                match self.bind_added(&prepared, &bind, frame, connection, exchange) {
                    Some(variant) => {
                        added = true;
                        (statement, upstream) = variant;
                    }
                    None => {
                        let portal = bind.portal;
                        frontend::bind_raw(&mut exchange.outgoing, portal, &upstream, bind.tail);
                    }
                }
                if !upstream.is_empty() {
                    self.metrics.bind();
                    alias = Some(Alias {
                        statement,
                        upstream,
                        client: Bytes::copy_from_slice(bind.statement),
                    });
                }
            }
            None if self.may_be_prepared_in_sql(bind.statement) => {
                Self::unplan_fill(bind.portal, exchange);
                exchange.outgoing.extend_from_slice(frame.bytes());
                self.portals.insert(portal, None);
            }
            None => {
                exchange.fail(&no_statement(bind.statement, "exec_bind_message"));
                return Ok(());
            }
        }
        exchange.expects.push_back(Expect::Bind { alias, added });
        if let Some(statement) = self.statements.get(bind.statement) {
            hide_ours(&statement.analysis, connection, exchange);
        }
        Ok(())
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
            frontend::Target::Portal
                if describe.name.is_empty() && self.describe_unnamed(exchange) => {}
            frontend::Target::Portal => {
                let hidden = describe.name.is_empty()
                    && matches!(self.unnamed_portal, UnnamedPortal::Added(_));
                exchange.outgoing.extend_from_slice(frame.bytes());
                exchange
                    .expects
                    .push_back(Expect::DescribePortal { hidden });
            }
            frontend::Target::Statement => {
                let statement = match self.ensure_prepared(describe.name, connection, exchange) {
                    Some(Copy::There(prepared, upstream)) => {
                        frontend::describe(&mut exchange.outgoing, describe.target, &upstream);
                        Some((prepared, upstream))
                    }
                    Some(Copy::Changed(told)) => {
                        // As the server does: the parameters have been told when it looks at the columns.
                        if let Some(shape) = told.get() {
                            exchange.give(shape.parameters.clone());
                        }
                        exchange.fail(&changed());
                        return Ok(());
                    }
                    Some(Copy::Unreadable) => {
                        exchange.fail(&unreadable());
                        return Ok(());
                    }
                    None if self.may_be_prepared_in_sql(describe.name) => {
                        exchange.outgoing.extend_from_slice(frame.bytes());
                        None
                    }
                    None => {
                        let routine = "exec_describe_statement_message";
                        exchange.fail(&no_statement(describe.name, routine));
                        return Ok(());
                    }
                };
                let alias = statement.as_ref().map(|(prepared, upstream)| Alias {
                    statement: prepared.statement.clone(),
                    upstream: upstream.clone(),
                    client: Bytes::copy_from_slice(describe.name),
                });
                exchange.expects.push_back(Expect::DescribeStatement {
                    statement: statement.map(|(prepared, _)| prepared),
                    alias: alias.filter(|alias| !alias.upstream.is_empty()),
                });
            }
        }
        Ok(())
    }

    fn translate_execute(
        &mut self,
        frame: &Frame,
        connection: &mut Connection,
        exchange: &mut Exchange,
    ) -> Result<(), WireError> {
        let execute = frontend::Execute::read(frame.body())?;
        if execute.portal.is_empty() && self.execute_unnamed(exchange) {
            return Ok(());
        }
        let bound = self
            .portals
            .get(told_apart(execute.portal))
            .cloned()
            .flatten();
        let statement = bound.as_ref().map(|bound| bound.statement.clone());
        if let Some(statement) = &statement
            && let Some(Kind::Deallocate { name: Some(name) }) = statement.analysis.kind()
            && self.tx.status != TransactionStatus::Failed
            && let Some(before) = self.statements.as_prepared(name.as_bytes()).cloned()
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
        let forgets = matches!(
            statement
                .as_ref()
                .and_then(|statement| statement.analysis.kind()),
            Some(Kind::DiscardAll | Kind::Deallocate { name: None })
        );
        if forgets {
            // What comes after it in the same unit must be prepared again.
            connection.prepared.clear();
            self.unnamed_upstream = None;
        }
        let unnamed = execute.portal.is_empty();
        let added = unnamed.then(|| self.execute_added(exchange)).flatten();
        let mut learner = None;
        match &statement {
            // A portal that SQL declared, or none at all.
            None => {
                exchange.more_than_reads = true;
                self.hold.refused = true;
                self.touch_everything();
            }
            Some(statement) => {
                self.end_unnamed(statement.analysis.kind());
                let mut meaning = self.meaning(&statement.analysis);
                let frame = bound.as_ref().and_then(|bound| bound.bind.as_ref());
                let bind = frame.and_then(|frame| frontend::Bind::read(frame.body()).ok());
                let given = bind.as_ref().map(|bind| (statement.as_ref(), bind));
                self.narrow(&mut meaning, &statement.analysis, given);
                exchange.more_than_reads |=
                    !leaves_reads_alone(statement.analysis.kind(), &meaning);
                let formats = bind.as_ref().map(|bind| bind.result_formats.as_slice());
                // Of rows whose Bind has not been kept the formats are not known.
                meaning.returned = meaning.returned.filter(|_| formats.is_some());
                let mut formats = formats.unwrap_or_default();
                let mut asker = Asker::Client;
                if let Some(added) = &added {
                    asker = Asker::Proxy;
                    let same = added.catalogue == meaning.catalogue;
                    meaning.returned = same.then(|| added.returned.clone());
                    formats = &[];
                }
                self.note_work(&statement.analysis, &meaning);
                learner = self.touch_and_learn(&meaning, formats, asker, exchange);
                self.note_effects(&meaning);
                self.commit_inside |= meaning.may_commit_inside;
                self.note_statements(&statement.analysis);
                self.single_control &= self.executes_sent == 0;
                if meaning.may_commit_inside && !begins_or_ends_nothing(statement.analysis.kind()) {
                    // COMMIT, CALL and their like commit at Execute, before any Sync.
                    self.mark_now();
                }
            }
        }
        // Less than one row is no limit, too.
        let max_rows = u32::try_from(execute.max_rows).unwrap_or(0);
        let fill = self.begin_fill(execute.portal, max_rows, exchange);
        self.executes_sent += 1;
        let hidden = added.is_some();
        exchange.expects.push_back(Expect::Execute {
            fill,
            learner,
            hidden,
            forgets,
        });
        if forgets {
            for (name, before) in self.statements.take_named() {
                exchange.expects.push_back(Expect::Given {
                    bytes: Bytes::new(),
                    change: Some(NameChange {
                        name,
                        before: Some(before),
                    }),
                });
            }
        }
        if hidden {
            exchange.expects.push_back(Expect::Close {
                visible: false,
                evicted: None,
            });
        } else {
            exchange.outgoing.extend_from_slice(frame.bytes());
        }
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
                if close.name.is_empty() {
                    self.unnamed_portal = UnnamedPortal::Upstream;
                }
                Self::unplan_fill(close.name, exchange);
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
                    before: self.statements.as_prepared(close.name).cloned(),
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
}

/// Portal, statement and the rest of a Bind, whether or not the rest makes sense.
pub(super) fn names_of_bind(body: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (portal, rest) = body.split_at(memchr::memchr(0, body)?);
    let (statement, tail) = rest[1..].split_at(memchr::memchr(0, &rest[1..])?);
    Some((portal, statement, &tail[1..]))
}
