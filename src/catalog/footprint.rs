//! What a statement may touch, and what it may leave behind.

use smallvec::SmallVec;

/// `pg_class.oid`.
pub type RelationOid = u32;

/// What a write may touch: a superset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Sorted, without duplicates.
    pub relations: SmallVec<[RelationOid; 4]>,
    /// It may touch any relation of this database.
    pub everything: bool,
    /// It may change the catalogue: the picture must be loaded again. Implies `everything`.
    pub catalogue: bool,
    /// It may change what all databases of the server share (roles, settings). Implies `catalogue`.
    pub shared_catalogue: bool,
}

impl Footprint {
    pub fn nothing() -> Self {
        Self::default()
    }

    pub fn everything() -> Self {
        Self {
            everything: true,
            ..Self::default()
        }
    }

    pub fn catalogue() -> Self {
        Self {
            everything: true,
            catalogue: true,
            ..Self::default()
        }
    }

    pub fn is_nothing(&self) -> bool {
        !self.everything && self.relations.is_empty()
    }

    /// Adds what `other` touches.
    pub fn merge(&mut self, other: &Footprint) {
        self.everything |= other.everything;
        self.catalogue |= other.catalogue;
        self.shared_catalogue |= other.shared_catalogue;
        for &oid in &other.relations {
            if let Err(at) = self.relations.binary_search(&oid) {
                self.relations.insert(at, oid);
            }
        }
    }
}

/// What a statement may leave behind on its upstream connection, so that the
/// connection is read back before it serves anybody else. A set of flags.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effects(u16);

impl Effects {
    pub const NONE: Effects = Effects(0);
    pub const SETTINGS: Effects = Effects(1);
    pub const ADVISORY_LOCKS: Effects = Effects(1 << 1);
    pub const LISTEN: Effects = Effects(1 << 2);
    pub const TEMPORARY: Effects = Effects(1 << 3);
    pub const PREPARED: Effects = Effects(1 << 4);
    pub const CURSORS: Effects = Effects(1 << 5);
    pub const LOAD: Effects = Effects(1 << 6);
    /// `nextval`, `setval`, an INSERT into a serial column: the state of `currval` and `lastval`.
    pub const SEQUENCE: Effects = Effects(1 << 7);
    pub const ALL: Effects = Effects(0xff);
    /// Not left behind, but relied upon: code that the statement runs unseen calls `currval` or `lastval`.
    pub const SEQUENCE_READ: Effects = Effects(1 << 8);

    pub fn without(self, other: Effects) -> Effects {
        Effects(self.0 & !other.0)
    }

    pub fn union(self, other: Effects) -> Effects {
        Effects(self.0 | other.0)
    }

    pub fn contains(self, other: Effects) -> bool {
        self.0 & other.0 == other.0
    }

    pub fn intersects(self, other: Effects) -> bool {
        self.0 & other.0 != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}
