//! Statements that are read anew, where the server would by now read their text as something else.
//!
//! PostgreSQL keeps what it made of a text when it was prepared, constants included, until something makes it look again:
//! an ANALYZE is enough. A connection that has no copy of it yet makes one of the text as it would be read now. So what a
//! client prepared means what it means now, on every connection: else whoever shares copies, or answers, with this
//! session would be given what another has made of the text under other settings, or of other tables.

use bytes::BytesMut;

use super::Session;
use super::analysis::Analysis;
use super::exchange::Exchange;
use super::expect::Expect;
use super::prepare::{has_copy, statement_of};
use super::shared::{JudgementKey, Shared};
use super::state::Pin;
use super::statements::{ClientStatement, OWN, Statement};
use crate::catalog::{CatalogVersion, Effects};
use crate::sql::Kind;
use crate::upstream::Connection;
use crate::wire::{Frame, TransactionStatus, frontend};

impl Session {
    /// [`Session::renew`] of all that the unit binds or describes.
    pub(super) fn renew_statements(&mut self, frames: &[Frame]) {
        for frame in frames {
            if let Some(name) = statement_of(frame) {
                self.renew(name);
            }
        }
    }

    /// What the client calls `name` is read as if it prepared it now, if that could be something else.
    pub(super) fn renew(&mut self, name: &[u8]) {
        let Some(prepared) = self.statements.as_prepared(name) else {
            return;
        };
        if self.tx.status == TransactionStatus::Failed {
            return;
        }
        // Before the look at what it means.
        let catalog = self.database.authority.catalog();
        if self.is_outdated(prepared) {
            if self.may_be_read_again(prepared) {
                let renewed = self.read_again(prepared);
                self.statements.insert(name, renewed);
            }
        } else if let Some(catalog) = catalog
            && let Some(prepared) = self.statements.as_prepared_mut(name)
        {
            prepared.means_the_same_in = catalog.version.0;
        }
    }

    /// The server could read the text as something else than when the statement was prepared.
    pub(super) fn is_outdated(&self, prepared: &ClientStatement) -> bool {
        let statement = &prepared.statement;
        let reading = &statement.reading;
        if !is_analysed(&statement.analysis) {
            return false;
        }
        if reading.context != self.context
            || reading.path != self.scope.path
            || prepared.apart && self.reads_as_others_do()
        {
            return true;
        }
        let authority = &self.database.authority;
        authority.catalog().is_some_and(|catalog| {
            let now = catalog.version.0;
            // The one turn since may have been the loading of the first picture.
            let first = reading.catalogue == 0 && authority.catalogue_epoch() - reading.epoch == 1;
            !first
                && now != reading.catalogue
                && now != prepared.means_the_same_in
                && !self.means_the_same(prepared)
        })
    }

    fn means_the_same(&self, prepared: &ClientStatement) -> bool {
        let statement = &prepared.statement;
        let key = JudgementKey {
            shape: statement.analysis.shape,
            statement_index: 0,
            catalog: CatalogVersion(statement.reading.catalogue),
            scope: statement.reading.scope,
        };
        let then = self.database.judgements.get(&key);
        let now = self.meaning(&statement.analysis).single;
        then.is_some() && then == now
    }

    /// The bytes of the text can be read by the rules by which they were read when it was prepared.
    fn may_be_read_again(&self, prepared: &ClientStatement) -> bool {
        let statement = &prepared.statement;
        statement.reading.rules.is_some() && self.rules(&statement.sql).is_some()
    }

    /// A copy of the statement can be made now, in the middle of a unit.
    pub(super) fn may_be_copied(&self, statement: &Statement) -> bool {
        statement.reading.rules.is_none() || self.rules(&statement.sql).is_some()
    }

    /// Sends a Parse of the text by the rules by which the client's Parse was read.
    pub(super) fn parse_as_then(
        &self,
        name: &[u8],
        statement: &Statement,
        parameter_types: &[u32],
        expect: Expect,
        exchange: &mut Exchange,
    ) {
        let out = &mut exchange.outgoing;
        let own = || Expect::Own { closes: 3 };
        let around = self.write_parse_as_then(name, statement, parameter_types, out);
        exchange.expects.extend(around.then(own));
        exchange.expects.push_back(expect);
        exchange.expects.extend(around.then(own));
    }

    /// Gives whether the settings had to be changed for it, and changed back.
    pub(super) fn write_parse_as_then(
        &self,
        name: &[u8],
        statement: &Statement,
        parameter_types: &[u32],
        out: &mut BytesMut,
    ) -> bool {
        let then = statement.reading.rules.as_ref();
        let now = self.rules(&statement.sql);
        let other = then.zip(now.as_ref()).filter(|(then, now)| then != now);
        if let Some((then, _)) = other {
            frontend::run_apart(out, &then.sql(), OWN.as_bytes());
        }
        frontend::parse(out, name, &statement.sql, parameter_types);
        if let Some((_, now)) = other {
            frontend::run_apart(out, &now.sql(), OWN.as_bytes());
        }
        other.is_some()
    }

    fn read_again(&self, prepared: &ClientStatement) -> ClientStatement {
        let statement = &prepared.statement;
        // The types of parameters stay what they were, whatever the table has become.
        let types = match prepared.told.get() {
            Some(shape) if !shape.parameter_types.is_empty() => &shape.parameter_types,
            _ => &statement.parameter_types,
        };
        let mut reading = self.reading(&statement.sql);
        if reading.rules != statement.reading.rules {
            reading.rules = statement.reading.rules.clone();
            reading.readable = false;
        }
        let Shared {
            statements,
            analyser,
            ..
        } = &*self.shared;
        let apart = !self.reads_as_others_do();
        let anew = match apart {
            true => statements.private(&statement.sql, types, analyser, &reading),
            false => statements.intern(&statement.sql, types, analyser, reading),
        };
        prepared.renewed(anew, apart)
    }

    /// The client's statement, of which a copy is about to be made on the connection: under a name of its own, where others
    /// would not read it as this session does now. `None`: it cannot be read as it was any more.
    pub(super) fn for_copy(
        &mut self,
        name: &[u8],
        connection: &mut Connection,
    ) -> Option<ClientStatement> {
        let prepared = self.statements.as_prepared(name)?.clone();
        if name.is_empty() || has_copy(&prepared, connection) {
            return Some(prepared);
        }
        let alike = prepared.apart || self.reads_as_others_do();
        if alike && !self.is_outdated(&prepared) || !is_analysed(&prepared.statement.analysis) {
            return Some(prepared);
        }
        if !self.may_be_read_again(&prepared) {
            return None;
        }
        let renewed = self.read_again(&prepared);
        self.statements.insert(name, renewed.clone());
        Some(renewed)
    }

    /// Nothing that only this session's transaction or connection knows of changes how it reads a text.
    pub(super) fn reads_as_others_do(&self) -> bool {
        let telling = Effects::SETTINGS
            .union(Effects::TEMPORARY)
            .union(Effects::TEMPORARY_TABLE)
            .union(Effects::LOAD);
        let changes_tables = self
            .writer
            .as_ref()
            .is_some_and(|writer| writer.touched().catalogue);
        let pinned = self.pins.iter().any(|pin| {
            matches!(
                pin,
                Pin::TemporaryObjects | Pin::Setting | Pin::SessionAuthorization | Pin::Load
            )
        });
        !self.effects.intersects(telling) && !self.tx.local_settings && !changes_tables && !pinned
    }
}

/// PostgreSQL makes something of it when it is prepared; of a utility it keeps the text.
fn is_analysed(analysis: &Analysis) -> bool {
    matches!(
        analysis.kind(),
        None | Some(
            Kind::Select | Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge | Kind::Unknown
        )
    )
}
