//! What the rows that a change returns tell of the rows that it changed: values that its text leaves open, such as
//! the number that a sequence gave, or the tenant of a row that is changed by its key.

use smallvec::SmallVec;

use super::footprint::Effects;
use super::keys::{PlannedValue, WritePlan};
use super::names::{Meaning, NameScope};
use super::picture::{Column, Relation};
use super::region::{ColumnNumber, Columns, KEYS_MAX, Region};
use super::value::{KeyType, hash_stored};
use super::write::Reach;
use super::{Catalog, RelationOid};
use crate::sql::{Change, Conflict, Constant, Facts, Kind, Output};

/// The columns of the target that RETURNING shows as they were and as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returned {
    /// Values of one row.
    pub width: usize,
    pub columns: SmallVec<[ReturnedColumn; 2]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReturnedColumn {
    /// Among the values of a row, from 0.
    pub place: usize,
    pub number: ColumnNumber,
    key: KeyType,
}

impl ReturnedColumn {
    /// The hash of a value as it was returned in `format`, as that of equal constants; `None` if
    /// it is not certain. `utf8`: to a client that speaks UTF-8.
    pub fn hash(&self, value: &[u8], format: i16, utf8: bool) -> Option<u64> {
        hash_stored(value, format, self.key, utf8)
    }
}

impl WritePlan {
    /// The rows as they were have so few values in the columns of a unique key that there are at most [`KEYS_MAX`].
    fn is_of_few_rows(&self, relation: &Relation) -> bool {
        let Some(old) = self.plans().first() else {
            return false;
        };
        let values = |number: &ColumnNumber| {
            let column = old.columns.iter().find(|c| c.number == *number)?;
            let any_number = |value: &PlannedValue| {
                matches!(value, PlannedValue::Stated(Constant::Elements { .. }))
            };
            (!column.values.iter().any(any_number)).then_some(column.values.len())
        };
        let rows = |key: &Columns| {
            key.iter()
                .try_fold(1_usize, |rows, number| rows.checked_mul(values(number)?))
        };
        relation
            .keys
            .iter()
            .any(|key| rows(key).is_some_and(|rows| rows <= KEYS_MAX))
    }
}

impl Returned {
    /// Those of which not all of `regions` know the value; `None` if there is none.
    pub fn unknown_in(&self, regions: &[Region]) -> Option<Self> {
        let unknown = |column: &&ReturnedColumn| !regions.iter().all(|r| r.knows(column.number));
        let columns: SmallVec<_> = self.columns.iter().filter(unknown).copied().collect();
        (!columns.is_empty()).then_some(Self {
            width: self.width,
            columns,
        })
    }
}

/// The columns that a change without RETURNING could return: as they were and as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returnable {
    columns: SmallVec<[(ColumnNumber, KeyType); 4]>,
}

impl Returnable {
    pub fn offers(&self, column: ColumnNumber) -> bool {
        self.columns.iter().any(|(number, _)| *number == column)
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = ColumnNumber> {
        self.columns.iter().map(|(number, _)| *number)
    }
}

impl Catalog {
    /// What is to stand behind a change so that it returns these of the columns that it could, and what its rows tell
    /// then; `None` if they are not the relation's.
    pub fn returning(
        &self,
        relation: RelationOid,
        returnable: &Returnable,
        wanted: &[ColumnNumber],
    ) -> Option<(String, Returned)> {
        let relation = self.index.relation(relation)?;
        let mut clause = String::new();
        let mut columns = SmallVec::new();
        for (place, &number) in wanted.iter().enumerate() {
            let column = relation.columns.iter().find(|c| c.number == number)?;
            let (_, key) = returnable.columns.iter().find(|(n, _)| *n == number)?;
            clause.push_str(if place == 0 { " RETURNING " } else { ", " });
            clause.push_str(&format!("\"{}\"", column.name.replace('"', "\"\"")));
            columns.push(ReturnedColumn {
                place,
                number,
                key: *key,
            });
        }
        let width = wanted.len();
        (width > 0).then_some((clause, Returned { width, columns }))
    }

    /// Of a change that `plan` says all of. Nobody notices that it returns what it could: it has no RETURNING, names
    /// nothing but its target, is of few rows, and what it runs does not look at its text.
    pub(super) fn plan_returnable(
        &self,
        facts: &Facts,
        scope: &NameScope,
        reach: &Reach,
        plan: &WritePlan,
    ) -> Option<Returnable> {
        let relation = self.index.relation(plan.relation)?;
        let of_block = |block: usize| {
            let alone = facts
                .blocks
                .get(block)
                .is_some_and(|b| b.sources.len() == 1);
            alone && plan.is_of_few_rows(relation)
        };
        let (of_few_rows, assigned) = match facts.change.as_ref()? {
            Change::Update { block, assigned } => (of_block(*block), assigned.as_slice()),
            Change::Delete { block } => (of_block(*block), &[][..]),
            Change::Insert { rows, conflict, .. } => (
                *conflict == Conflict::Nothing && rows.len() <= KEYS_MAX,
                &[][..],
            ),
        };
        // Whatever else it does must not be done twice, should the server refuse it at first.
        let sequences = Effects::SEQUENCE.union(Effects::SEQUENCE_READ);
        let is_target = |oids: &[RelationOid]| oids == [relation.oid];
        let names_target_only = facts.relations.iter().all(|used| {
            matches!(self.meaning(&used.name, scope), Meaning::Relations(oids) if is_target(&oids))
        });
        if !matches!(facts.kind, Kind::Insert | Kind::Update | Kind::Delete)
            || !of_few_rows
            || facts.returns
            || !facts.complete
            || !names_target_only
            || relation.policies.is_some()
            || reach.footprint.everything
            || !reach.followed.is_empty()
            || !reach.effects.without(sequences).is_empty()
            || reach.sees_text
        {
            return None;
        }
        let kept = |column: &&Column| assigned.iter().all(|(name, _)| *name != column.name);
        let columns: SmallVec<_> = relation
            .columns
            .iter()
            .filter(kept)
            .filter_map(|column| Some((column.number, self.key_type(column)?)))
            .collect();
        (!columns.is_empty()).then_some(Returnable { columns })
    }

    /// Of a change that touches `relation` in no way but by its own rows, before which nothing
    /// runs, and instead of which nothing runs: then RETURNING has exactly the rows that are changed.
    pub(super) fn plan_returned(&self, facts: &Facts, relation: &Relation) -> Option<Returned> {
        if !matches!(facts.kind, Kind::Insert | Kind::Update | Kind::Delete) {
            return None;
        }
        let kept = |column: &Column| match facts.change.as_ref() {
            // Of a row that was there already the values before are not returned.
            Some(Change::Insert { conflict, .. }) => *conflict == Conflict::Nothing,
            Some(Change::Update { assigned, .. }) => {
                assigned.iter().all(|(name, _)| *name != column.name)
            }
            Some(Change::Delete { .. }) => true,
            None => false,
        };
        let mut width = 0;
        let mut columns: SmallVec<[ReturnedColumn; 2]> = SmallVec::new();
        for output in &facts.returning {
            let shown: SmallVec<[Option<&Column>; 8]> = match output {
                Output::Column(name) => [relation.column(name)].into_iter().collect(),
                Output::All => relation.columns.iter().map(Some).collect(),
                Output::Other => [None].into_iter().collect(),
            };
            for column in shown {
                if let Some(column) = column
                    && kept(column)
                    && let Some(key) = self.key_type(column)
                    && !columns.iter().any(|known| known.number == column.number)
                {
                    columns.push(ReturnedColumn {
                        place: width,
                        number: column.number,
                        key,
                    });
                }
                width += 1;
            }
        }
        (!columns.is_empty()).then_some(Returned { width, columns })
    }
}
