//! A change that is sent with a RETURNING of ours behind it, so that its rows tell which keys it changes. The client
//! sees what it would have seen without: no rows, and not that there are any.
//!
//! ```text
//! Query            addition       text with RETURNING; its RowDescription and rows are hidden (exchange)
//! Bind             bind_added     the same of the unnamed portal, of a statement of its own upstream
//!   Describe         NoData       (translate)
//!   Execute          execute_added, then the portal is closed: it cannot be run twice
//! after the unit   ask_privileges what the role may read of the columns, once a picture
//! 42501, 42703, …  if the change stood alone it runs again as it was (forward)
//! ```

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use smallvec::SmallVec;

use super::Session;
use super::analysis::Analysis;
use super::decide::Meaning;
use super::exchange::Exchange;
use super::forward::Work;
use super::greeting;
use super::prepare::has_copy;
use super::shared::ReadableKey;
use super::state::Pin;
use super::statements::{Bound, ClientStatement, Statement};
use super::unnamed::{Finished, UnnamedPortal};
use super::upkeep::CONTROL_TIMEOUT;
use crate::cache::{Moment, Writer};
use crate::catalog::{ColumnNumber, Columns, Effects, KEYS_MAX, RelationOid, Returned};
use crate::config::CacheMode;
use crate::sql;
use crate::upstream::{Connection, Lease, UpstreamError};
use crate::wire::frontend::{self, Bind, Target};
use crate::wire::{Frame, TransactionStatus, tag};

/// Columns of which one unit asks whether they may be read.
const ASKED_MAX: usize = 16;

/// Why the server may refuse what it would have taken without the addition: a privilege, a column, its type or a
/// prepared statement has changed, and it was not seen yet.
const REFUSALS: [&[u8; 5]; 5] = [b"42501", b"42703", b"42P01", b"0A000", b"26000"];

/// A change with a RETURNING of ours.
#[derive(Debug)]
pub(super) struct Added {
    pub sql: Vec<u8>,
    pub told: AddedRows,
}

/// What its rows tell.
#[derive(Debug, Clone)]
pub(super) struct AddedRows {
    pub returned: Returned,
    /// By which version of the catalogue.
    pub catalogue: u64,
    relation: RelationOid,
    columns: Columns,
}

/// The additions of one unit.
#[derive(Debug, Default)]
pub(super) struct Additions {
    /// To what may be refused for their sake.
    rows: SmallVec<[AddedRows; 1]>,
    /// The server has taken the Bind of one.
    pub bound: bool,
}

impl Additions {
    pub fn any(&self) -> bool {
        !self.rows.is_empty()
    }
}

impl Session {
    /// `sql` with a RETURNING behind it, if a key that some answer is told by is known no other way, and if neither
    /// the client nor anything that runs can notice. `meaning` has been narrowed.
    pub(super) fn addition(
        &mut self,
        analysis: &Analysis,
        sql: &[u8],
        meaning: &Meaning,
    ) -> Option<Added> {
        let plan = meaning.single.as_ref()?.narrow.as_ref()?;
        let returnable = plan.returnable.as_ref()?;
        let footprint = &meaning.footprint;
        let regions = footprint.regions.as_slice();
        if footprint.everything || regions.len() > KEYS_MAX || !self.may_add() {
            return None;
        }
        let tags = &self.database.tags;
        let columns = tags.wanted(regions, |column| returnable.offers(column));
        if columns.is_empty() || analysis.single().is_none() {
            return None;
        }
        let catalog = self.database.authority.catalog()?;
        if catalog.version.0 != meaning.catalogue
            || !self.may_read(meaning.catalogue, plan.relation, &columns)
        {
            return None;
        }
        let (clause, returned) = catalog.returning(plan.relation, returnable, &columns)?;
        Some(Added {
            sql: append(sql, &clause)?,
            told: AddedRows {
                returned,
                catalogue: meaning.catalogue,
                relation: plan.relation,
                columns,
            },
        })
    }

    /// Whether what is known of the session and its connection is all that there is to know.
    fn may_add(&self) -> bool {
        let unseen = Effects::SETTINGS
            .union(Effects::TEMPORARY)
            .union(Effects::TEMPORARY_TABLE)
            .union(Effects::LOAD);
        self.config.cache.learn_keys
            && self.config.cache.mode != CacheMode::Off
            && !self.adds_nothing
            && self.tx.status != TransactionStatus::Failed
            && !self.tx.local_settings
            // DDL of the same transaction is seen by nobody else yet.
            && !self.writer.as_ref().is_some_and(Writer::touches_everything)
            && !self.effects.intersects(unseen)
            && self.is_utf8()
            && self.standard_strings()
            && !self.tells_texts()
            && self.pins.iter().all(|pin| {
                !matches!(
                    pin,
                    Pin::TemporaryObjects | Pin::Setting | Pin::SessionAuthorization | Pin::Load
                )
            })
            && self.database.authority.may_serve(Moment::now()).is_ok()
    }

    /// Messages for the server's log, with texts of statements in them, reach the client.
    fn tells_texts(&self) -> bool {
        let own = self.settings.get("client_min_messages");
        let set = |name: &&str| self.settings.get(name).or(self.tx.custom(name)).is_some();
        self.defaults.tells_texts
            || own.is_some_and(greeting::tells_texts)
            || greeting::TEXT_TELLERS.iter().any(set)
    }

    /// Whether the role may SELECT these columns, as far as it was told; what is not known is asked after the unit.
    fn may_read(
        &mut self,
        catalogue: u64,
        relation: RelationOid,
        columns: &[ColumnNumber],
    ) -> bool {
        let mut may = true;
        for &column in columns {
            let key = ReadableKey {
                context: self.context.clone(),
                catalogue,
                relation,
                column,
            };
            match self.database.readable.get(&key) {
                Some(readable) => may &= readable,
                None => {
                    may = false;
                    let asked = (relation, column);
                    if self.unasked.len() < ASKED_MAX && !self.unasked.contains(&asked) {
                        self.unasked.push(asked);
                    }
                }
            }
        }
        may
    }

    /// Asks on a connection with the session's own settings, between transactions, what was not known. False when
    /// the connection was lost.
    pub(super) async fn ask_privileges(&mut self, lease: &mut Lease) -> bool {
        if self.unasked.is_empty() {
            return true;
        }
        let asked = std::mem::take(&mut self.unasked);
        self.unnamed_upstream = None;
        // What is asked later is no older than this.
        let Some(catalog) = self.database.authority.catalog() else {
            return true;
        };
        let items: Vec<String> = asked
            .iter()
            .map(|(relation, column)| {
                format!(
                    "pg_catalog.has_column_privilege({relation}::pg_catalog.oid, {column}::pg_catalog.int2, 'SELECT')"
                )
            })
            .collect();
        let deadline = std::time::Instant::now() + CONTROL_TIMEOUT;
        let sql = format!("SELECT {}", items.join(", "));
        match lease.simple(&sql, deadline.into()).await {
            Ok(rows) => {
                let answers = rows.into_iter().next().unwrap_or_default();
                for ((relation, column), answer) in asked.into_iter().zip(answers) {
                    let readable = answer.as_deref() == Some("t");
                    self.note_readable(catalog.version.0, relation, column, readable);
                }
                true
            }
            // Such as the session's own statement_timeout: it will be asked again.
            Err(UpstreamError::Server { .. }) => true,
            Err(_) => false,
        }
    }

    fn note_readable(
        &self,
        catalogue: u64,
        relation: RelationOid,
        column: ColumnNumber,
        readable: bool,
    ) {
        let key = ReadableKey {
            context: self.context.clone(),
            catalogue,
            relation,
            column,
        };
        self.database.readable.insert(key, readable);
    }

    /// Sends the Bind of the unnamed portal with an addition, in place of the client's: of which statement, and how it
    /// is called there. `None`: there is nothing to add, and nothing was sent.
    pub(super) fn bind_added(
        &mut self,
        prepared: &ClientStatement,
        bind: &Bind<'_>,
        frame: &Frame,
        connection: &mut Connection,
        exchange: &mut Exchange,
    ) -> Option<(Arc<Statement>, Vec<u8>)> {
        let statement = &prepared.statement;
        let facts = statement.analysis.single()?;
        if facts.change.is_none()
            || facts.returns
            || !bind.portal.is_empty()
            || exchange.lent
            || Bound::new(statement.clone(), frame).bind.is_none()
            || !self.may_add()
        {
            return None;
        }
        let analysis = &statement.analysis;
        let mut meaning = self.meaning(analysis);
        self.narrow(&mut meaning, analysis, Some((statement.as_ref(), bind)));
        let added = self.addition(analysis, &statement.sql, &meaning)?;
        // Types that the client did not declare are those of when it prepared the statement.
        let then = &statement.reading;
        let is_of_now = then.catalogue == meaning.catalogue && then.scope == self.scope.digest;
        let types = match prepared.told.get() {
            _ if is_of_now => &statement.parameter_types,
            Some(shape) => &shape.parameter_types,
            None => return None,
        };
        let variant = self.intern(&added.sql, types);
        if variant.is_retired() {
            return None;
        }
        // Whatever formats the client asked for, of no columns: ours are texts.
        let formats = 2 + 2 * bind.result_formats.len();
        let mut tail = BytesMut::from(bind.tail.get(..bind.tail.len().checked_sub(formats)?)?);
        tail.put_i16(0);
        let upstream = if bind.statement.is_empty() {
            self.parse_added_unnamed(&variant, exchange);
            Vec::new()
        } else {
            let prepared = ClientStatement::shared(variant.clone());
            if !has_copy(&prepared, connection) {
                self.prepare_added(&variant, connection, exchange);
            }
            variant.upstream_name().into_bytes()
        };
        frontend::bind_raw(&mut exchange.outgoing, b"", &upstream, &tail);
        exchange.additions.rows.push(added.told.clone());
        self.unnamed_portal = UnnamedPortal::Added(added.told);
        Some((variant, upstream))
    }

    fn parse_added_unnamed(&mut self, variant: &Arc<Statement>, exchange: &mut Exchange) {
        let there = matches!(&self.unnamed_upstream, Some((id, _)) if *id == variant.id);
        if !there {
            exchange.parse_unnamed(&variant.sql, &variant.parameter_types);
            self.unnamed_upstream = Some((variant.id, variant.told.clone()));
        }
    }

    /// What the rows of the unnamed portal tell, if something was added to its statement: it is executed, and closed.
    pub(super) fn execute_added(&mut self, exchange: &mut Exchange) -> Option<AddedRows> {
        let portal = std::mem::take(&mut self.unnamed_portal);
        let UnnamedPortal::Added(told) = portal else {
            self.unnamed_portal = portal;
            return None;
        };
        self.unnamed_portal = UnnamedPortal::Finished(Finished::Command);
        // It is of a command, for which a limit means nothing.
        frontend::execute(&mut exchange.outgoing, b"", 0);
        frontend::close(&mut exchange.outgoing, Target::Portal, b"");
        Some(told)
    }

    /// What the client's Query is sent as.
    pub(super) fn query_added(
        &mut self,
        frame: &Frame,
        analysis: &Analysis,
        meaning: &mut Meaning,
        exchange: &mut Exchange,
    ) -> Option<Added> {
        meaning
            .single
            .as_ref()?
            .narrow
            .as_ref()?
            .returnable
            .as_ref()?;
        let query = frontend::Query::read(frame.body()).ok()?;
        let added = self.addition(analysis, query.sql, meaning)?;
        meaning.returned = Some(added.told.returned.clone());
        exchange.additions.rows.push(added.told.clone());
        Some(added)
    }

    /// The unit may run again as it was, if the server refuses what was added: it is one change on its own.
    pub(super) fn may_run_plainly(&self, work: &Work<'_>, exchange: &Exchange) -> bool {
        if exchange.additions.rows.len() != 1
            || self.tx.status != TransactionStatus::Idle
            || self.tx.unsent_begin.is_some()
            || exchange.open
        {
            return false;
        }
        match work {
            Work::Query { .. } => true,
            Work::FunctionCall(_) => false,
            Work::Extended { frames, .. } => {
                let count = |tag| frames.iter().filter(|frame| frame.tag() == tag).count();
                count(tag::frontend::EXECUTE) == 1
                    && count(tag::frontend::BIND) == 1
                    && count(tag::frontend::QUERY) == 0
                    && count(tag::frontend::FUNCTION_CALL) == 0
            }
        }
    }

    /// What the server has refused is not added again under this catalogue.
    pub(super) fn note_refused(&mut self, exchange: &Exchange) -> bool {
        let code = exchange.outcome.error.as_ref();
        let refused =
            exchange.outcome.error_is_bare && code.is_some_and(|code| REFUSALS.contains(&code));
        if refused {
            for told in &exchange.additions.rows {
                for &column in &told.columns {
                    self.note_readable(told.catalogue, told.relation, column, false);
                }
            }
        }
        refused && exchange.additions.any()
    }

    /// The statements to which the unit gave names are prepared again when it runs again.
    pub(super) fn forget_prepared(&mut self, work: &Work<'_>) {
        let Work::Extended { frames, .. } = work else {
            return;
        };
        for frame in frames
            .iter()
            .filter(|frame| frame.tag() == tag::frontend::PARSE)
        {
            if let Ok(parse) = frontend::Parse::read(frame.body()) {
                self.statements.remove(parse.name);
            }
        }
    }

    /// A portal of ours whose Bind the server never came to leaves the one before it.
    pub(super) fn forget_unbound(&mut self, exchange: &Exchange) {
        if exchange.additions.any() && !exchange.additions.bound {
            self.unnamed_portal = UnnamedPortal::Upstream;
        }
    }
}

/// `sql`, which is one statement, with `clause` right behind its last token.
fn append(sql: &[u8], clause: &str) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(sql).ok()?;
    let scan = sql::scan(text, true);
    let [statement] = scan.statements.as_slice() else {
        return None;
    };
    let end = (statement.as_ptr() as usize).checked_sub(text.as_ptr() as usize)? + statement.len();
    let (before, after) =
        (scan.well_formed && text.is_char_boundary(end)).then(|| text.split_at(end))?;
    Some([before, clause, after].concat().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::append;

    #[test]
    fn a_clause_stands_behind_the_last_token() {
        for (sql, expected) in [
            ("DELETE FROM t", "DELETE FROM t+"),
            (" DELETE FROM t ; ", " DELETE FROM t+ ; "),
            ("DELETE FROM t -- all", "DELETE FROM t+ -- all"),
            ("DELETE FROM t--;", "DELETE FROM t+--;"),
            (
                "/* a */ DELETE /* b */ FROM t /* c */;;",
                "/* a */ DELETE /* b */ FROM t+ /* c */;;",
            ),
            (
                "DELETE FROM t WHERE a = ';--'",
                "DELETE FROM t WHERE a = ';--'+",
            ),
            (
                "DELETE FROM t WHERE a = 'ä'\n  'b' -- c\n;",
                "DELETE FROM t WHERE a = 'ä'\n  'b'+ -- c\n;",
            ),
            ("DELETE FROM t WHERE a = $1", "DELETE FROM t WHERE a = $1+"),
        ] {
            let text = append(sql.as_bytes(), "+").map(|text| String::from_utf8(text).unwrap());
            assert_eq!(text.as_deref(), Some(expected), "{sql}");
        }
        for sql in ["", "DELETE FROM t; SELECT 1", "DELETE FROM t WHERE a = '"] {
            assert_eq!(append(sql.as_bytes(), "+"), None, "{sql}");
        }
    }
}
