//! A set of rows of one relation, told by the values of some of its columns.

use smallvec::{SmallVec, smallvec};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::RelationOid;

/// `pg_attribute.attnum`.
pub type ColumnNumber = i16;

/// A class of regions: the columns that tell them. Sorted, without duplicates.
pub type Columns = SmallVec<[ColumnNumber; 2]>;

/// Combinations of values by which one region is told; beyond that it is not told at all.
pub const KEYS_MAX: usize = 16;

/// Hashes of the values that one column may have, made of canonical values: equal
/// values have equal hashes, whatever they were written like.
pub type Values = SmallVec<[u64; 1]>;

/// What a read depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dependency {
    Relation(RelationOid),
    /// No row outside of this region has any influence. Its columns are its class.
    Region(Region),
}

/// The rows of `relation` in which every column that is known has one of its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    pub relation: RelationOid,
    /// Sorted by column, each once.
    known: SmallVec<[(ColumnNumber, Values); 2]>,
}

/// What the rows of a region turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Learned {
    /// There are none.
    Nothing,
    /// Each has one of these values in each of these columns.
    Values(SmallVec<[(ColumnNumber, Values); 2]>),
}

impl Region {
    /// A column that comes twice keeps its first values: each of the two confines the rows.
    pub fn new(
        relation: RelationOid,
        known: impl IntoIterator<Item = (ColumnNumber, Values)>,
    ) -> Self {
        let mut known: SmallVec<[(ColumnNumber, Values); 2]> = known
            .into_iter()
            .filter(|(_, values)| !values.is_empty())
            .collect();
        known.sort_by_key(|(column, _)| *column);
        known.dedup_by_key(|(column, _)| *column);
        Self { relation, known }
    }

    /// The columns that are known.
    pub fn columns(&self) -> Columns {
        self.known.iter().map(|(column, _)| *column).collect()
    }

    pub fn knows(&self, column: ColumnNumber) -> bool {
        self.known.iter().any(|(known, _)| *known == column)
    }

    /// Its rows that `learned` leaves.
    #[must_use]
    pub fn with(&self, learned: &[(ColumnNumber, Values)]) -> Self {
        let known = self.known.iter().chain(learned).cloned();
        Self::new(self.relation, known)
    }

    /// One hash for each combination of values that `columns` may have in the region's
    /// rows; `None` if one of them is not known, or if there are more than [`KEYS_MAX`].
    pub fn keys(&self, columns: &[ColumnNumber]) -> Option<Values> {
        let mut keys: Values = smallvec![0];
        for column in columns {
            let at = self.known.binary_search_by_key(column, |known| known.0);
            let values = &self.known[at.ok()?].1;
            if keys.len() * values.len() > KEYS_MAX {
                return None;
            }
            keys = keys
                .iter()
                .flat_map(|&key| values.iter().map(move |value| combine(key, *value)))
                .collect();
        }
        Some(keys)
    }
}

fn combine(key: u64, value: u64) -> u64 {
    xxh3_64_with_seed(&value.to_le_bytes(), key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_has_a_key_for_each_combination_of_what_is_known() {
        let region = Region::new(1, [(3, smallvec![7]), (1, smallvec![1, 2])]);
        assert_eq!(region.columns().as_slice(), [1, 3]);
        assert_eq!(region.keys(&[3]).unwrap().len(), 1);
        assert_eq!(region.keys(&[1, 3]).unwrap().len(), 2);
        assert_eq!(region.keys(&[1, 2]), None);
        assert_eq!(region.keys(&[2]), None);
        let other = Region::new(1, [(1, smallvec![2]), (3, smallvec![7])]);
        let keys = region.keys(&[1, 3]).unwrap();
        assert!(keys.contains(&other.keys(&[1, 3]).unwrap()[0]));
    }

    #[test]
    fn columns_that_swap_their_values_are_told_apart() {
        let one = Region::new(1, [(1, smallvec![5]), (2, smallvec![6])]);
        let other = Region::new(1, [(1, smallvec![6]), (2, smallvec![5])]);
        assert_ne!(one.keys(&[1, 2]), other.keys(&[1, 2]));
    }

    #[test]
    fn too_many_combinations_are_not_told() {
        let many = |count: u64| (0..count).collect::<Values>();
        let region = Region::new(1, [(1, many(4)), (2, many(4)), (3, many(5))]);
        assert_eq!(region.keys(&[1, 2]).unwrap().len(), KEYS_MAX);
        assert_eq!(region.keys(&[1, 3]), None);
    }
}
