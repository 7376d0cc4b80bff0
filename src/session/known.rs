//! What the server has said of statements before, as far as it would say the same now.

use std::sync::Arc;

use super::Session;
use super::decide::ReadPlan;
use super::shared::{Description, DescriptionKey, JudgementKey};
use super::state::Pin;
use super::statements::Statement;
use crate::cache::Moment;
use crate::catalog::{CatalogVersion, Judgement};
use crate::config::CacheMode;
use crate::wire::TransactionStatus;

impl Session {
    /// Whether the answer has the columns that the client was told of when it prepared the statement. What is
    /// not certain the server decides: it refuses a statement whose columns have changed.
    pub(super) fn has_columns_of_old(&self, statement: &Statement, plan: &ReadPlan) -> bool {
        self.still(statement, plan.terms.catalogue, |then| {
            then.read
                .as_ref()
                .is_ok_and(|read| read.columns == plan.columns)
        })
    }

    /// Whether the server would find the same types for the parameters that the statement does not
    /// declare as when the client prepared it: they stand beside the same columns, of the same types.
    pub(super) fn has_types_of_old(
        &self,
        statement: &Statement,
        catalogue: u64,
        now: &Judgement,
    ) -> bool {
        self.still(statement, catalogue, |then| {
            let keys = match (&then.read, &now.read) {
                (Ok(then), Ok(now)) => then.keys == now.keys,
                (then, now) => then.is_err() && now.is_err(),
            };
            let narrow = match (&then.narrow, &now.narrow) {
                (Some(then), Some(now)) => then.is_beside_the_same(now),
                (then, now) => then.is_none() && now.is_none(),
            };
            keys && narrow
        })
    }

    /// What held of a statement when the client prepared it holds in `catalogue`, too: nothing has
    /// changed since, or what it meant then is `alike`.
    fn still(
        &self,
        statement: &Statement,
        catalogue: u64,
        alike: impl FnOnce(&Judgement) -> bool,
    ) -> bool {
        let then = &statement.reading;
        let same_scope = then.scope == self.scope.digest;
        if then.catalogue == 0 {
            // The one turn since was the loading of the first picture.
            let turns = self.database.authority.catalogue_epoch() - then.epoch;
            return same_scope && turns == 1;
        }
        if then.catalogue == catalogue && same_scope {
            return true;
        }
        let key = JudgementKey {
            shape: statement.analysis.shape,
            statement_index: 0,
            catalog: CatalogVersion(then.catalogue),
            scope: then.scope,
        };
        let known = self.database.judgements.get(&key);
        known.is_some_and(|known| alike(&known))
    }

    /// The server would take a Parse of this statement: it has taken it from a session with
    /// the same settings, and the catalogue has not been seen to change since. Needs no
    /// guard: at worst the error comes with Bind in place of Parse.
    pub(super) fn is_known_good(&self, statement: &Statement) -> bool {
        if !self.may_use_descriptions() {
            return false;
        }
        let key = DescriptionKey {
            context: self.context.clone(),
            statement: statement.id,
        };
        let known = self.database.known_good.get(&key);
        let catalog = self.database.authority.catalog();
        known.is_some_and(|known| catalog.is_none_or(|catalog| catalog.version == known))
    }

    /// What the server said of this statement, if the catalogue is still the same.
    pub(super) fn description(&self, statement: &Arc<Statement>) -> Option<Arc<Description>> {
        if self.config.cache.mode != CacheMode::On || !self.may_use_descriptions() {
            return None;
        }
        let catalog = self.database.authority.catalog()?;
        self.database.authority.may_serve(Moment::now()).ok()?;
        let key = DescriptionKey {
            context: self.context.clone(),
            statement: statement.id,
        };
        self.database
            .descriptions
            .get(&key)
            .filter(|description| description.catalog == catalog.version)
    }

    /// Nothing on the session may change what a name means.
    pub(super) fn may_use_descriptions(&self) -> bool {
        self.effects.is_empty()
            && !self.tx.wrote
            && !self.tx.local_settings
            && self.tx.status != TransactionStatus::Failed
            && self.pins.iter().all(|pin| {
                !matches!(
                    pin,
                    Pin::TemporaryObjects | Pin::Setting | Pin::SessionAuthorization | Pin::Load
                )
            })
    }
}
