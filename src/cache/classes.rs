//! The classes of each relation: the column sets by whose values reads of it are told apart.
//!
//! A writer marks, for each class, the keys that it touches, so it must know of every
//! class that a stamp was taken by. Classes are born while writers are on their way,
//! in three steps, and so does the field of keys grow:
//!
//! 1. it is announced: whoever marks from here on marks in it;
//! 2. every registered writer that is marked puts its marks there, too;
//! 3. it is published: stamps may be taken by it.
//!
//! Were the second step left out, a fill could be stamped before a commit in flight, and
//! stay valid for ever.

use std::collections::HashMap;

use parking_lot::RwLock;
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::field::Slot;
use crate::catalog::{ColumnNumber, Columns, RelationOid};

/// Classes of one relation; reads by others depend on the relation as a whole.
const PER_RELATION_MAX: usize = 16;

/// Classes of one database.
const TOTAL_MAX: usize = 1 << 14;

#[derive(Debug, Clone)]
struct Class {
    columns: Columns,
    published: bool,
    /// Classes of the database that were there before.
    older: usize,
}

/// Whether reads may be told apart by a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Published,
    /// It has just been announced: the caller walks the writers, then publishes it.
    Announced,
    /// There are too many.
    Refused,
}

#[derive(Debug, Default)]
pub(super) struct Classes {
    by_relation: RwLock<HashMap<RelationOid, SmallVec<[Class; 2]>>>,
}

impl Classes {
    pub fn is_published(&self, relation: RelationOid, columns: &[ColumnNumber]) -> bool {
        self.by_relation.read().get(&relation).is_some_and(|all| {
            all.iter()
                .any(|class| class.published && class.columns.as_slice() == columns)
        })
    }

    /// The first step of a birth; one at a time.
    pub fn announce(&self, relation: RelationOid, columns: &[ColumnNumber]) -> Standing {
        let mut by_relation = self.by_relation.write();
        let total: usize = by_relation.values().map(SmallVec::len).sum();
        let all = by_relation.entry(relation).or_default();
        match all.iter().find(|class| class.columns.as_slice() == columns) {
            Some(Class {
                published: true, ..
            }) => Standing::Published,
            Some(_) => Standing::Announced,
            None if all.len() >= PER_RELATION_MAX || total >= TOTAL_MAX => Standing::Refused,
            None => {
                all.push(Class {
                    columns: columns.into(),
                    published: false,
                    older: total,
                });
                Standing::Announced
            }
        }
    }

    /// The last step of a birth.
    pub fn publish(&self, relation: RelationOid, columns: &[ColumnNumber]) {
        if let Some(all) = self.by_relation.write().get_mut(&relation) {
            for class in all {
                class.published |= class.columns.as_slice() == columns;
            }
        }
    }

    /// Calls `with` with the columns of each of the relation's first classes, announced ones among them: of those that there
    /// were when the database had `known`.
    pub fn each(&self, relation: RelationOid, known: usize, mut with: impl FnMut(&[ColumnNumber])) {
        if let Some(all) = self.by_relation.read().get(&relation) {
            let known = all.iter().filter(|class| class.older < known);
            known.for_each(|class| with(&class.columns));
        }
    }

    pub fn len(&self) -> usize {
        self.by_relation.read().values().map(SmallVec::len).sum()
    }
}

/// `wild[C]`: touched by whoever does not know which keys of the class it touches.
pub(super) fn wild(relation: RelationOid, columns: &[ColumnNumber]) -> Slot {
    Slot::table((class_hash(relation, columns) >> 32) as u32)
}

/// What tells a key of this class from the same key of another.
pub(super) fn class_hash(relation: RelationOid, columns: &[ColumnNumber]) -> u64 {
    let mut bytes: SmallVec<[u8; 32]> = SmallVec::new();
    for column in columns {
        bytes.extend_from_slice(&column.to_le_bytes());
    }
    xxh3_64_with_seed(&bytes, u64::from(relation))
}

/// The place of a key within the field of keys.
pub(super) fn key_hash(class: u64, key: u64) -> u64 {
    xxh3_64_with_seed(&key.to_le_bytes(), class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_known_to_writers_before_it_is_to_readers() {
        let classes = Classes::default();
        assert_eq!(classes.announce(1, &[2]), Standing::Announced);
        assert!(!classes.is_published(1, &[2]));
        let mut known = 0;
        classes.each(1, usize::MAX, |columns| {
            known += usize::from(columns == [2])
        });
        assert_eq!(known, 1);
        classes.publish(1, &[2]);
        assert!(classes.is_published(1, &[2]));
        assert_eq!(classes.announce(1, &[2]), Standing::Published);
        assert!(!classes.is_published(2, &[2]));
        assert!(!classes.is_published(1, &[2, 3]));
    }

    #[test]
    fn a_relation_has_a_bounded_number_of_classes() {
        let classes = Classes::default();
        for column in 1..=PER_RELATION_MAX as ColumnNumber {
            assert_eq!(classes.announce(1, &[column]), Standing::Announced);
        }
        assert_eq!(classes.announce(1, &[99]), Standing::Refused);
        assert_eq!(classes.announce(2, &[99]), Standing::Announced);
    }
}
