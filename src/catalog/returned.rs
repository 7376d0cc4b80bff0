//! What the rows that a change returns tell of the rows that it changed: values that its text leaves open, such as
//! the number that a sequence gave, or the tenant of a row that is changed by its key.

use smallvec::SmallVec;

use super::Catalog;
use super::picture::{Column, Relation};
use super::region::{ColumnNumber, Region};
use super::value::{KeyType, hash_stored};
use crate::sql::{Change, Conflict, Facts, Kind, Output};

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

impl Catalog {
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
