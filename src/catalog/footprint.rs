//! What a statement may touch, and what it may leave behind.

use smallvec::SmallVec;

use super::region::Region;

/// `pg_class.oid`.
pub type RelationOid = u32;

/// Regions of one footprint; where there are more, their relations are meant as a whole.
const REGIONS_MAX: usize = 256;

/// What a write may touch: a superset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Relations of which any row may be touched. Sorted, without duplicates.
    pub relations: SmallVec<[RelationOid; 4]>,
    /// Of other relations only rows of these are touched, as they were before or as they are after.
    pub regions: Vec<Region>,
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

    /// Definitions and roles may have changed, these in every database of the server.
    pub fn all_catalogues() -> Self {
        Self {
            shared_catalogue: true,
            ..Self::catalogue()
        }
    }

    pub fn is_nothing(&self) -> bool {
        !self.everything && self.relations.is_empty() && self.regions.is_empty()
    }

    /// Only rows of which some column is known.
    pub fn is_keyed(&self) -> bool {
        let known = |region: &Region| !region.columns().is_empty();
        !self.everything && self.relations.is_empty() && self.regions.iter().all(known)
    }

    fn has_whole(&self, oid: RelationOid) -> bool {
        self.relations.binary_search(&oid).is_ok()
    }

    fn add_whole(&mut self, oid: RelationOid) {
        if let Err(at) = self.relations.binary_search(&oid) {
            self.relations.insert(at, oid);
            self.regions.retain(|region| region.relation != oid);
        }
    }

    /// What was meant of the relation as a whole is meant of these regions only: to be
    /// called by whoever knows that nothing else of the relation is touched.
    pub fn narrow(&mut self, oid: RelationOid, regions: Vec<Region>) {
        if let Ok(at) = self.relations.binary_search(&oid) {
            self.relations.remove(at);
            self.add_regions(&regions);
        }
    }

    fn add_regions(&mut self, regions: &[Region]) {
        for region in regions {
            if !self.has_whole(region.relation) && !self.regions.contains(region) {
                self.regions.push(region.clone());
            }
        }
        if self.regions.len() > REGIONS_MAX {
            for region in std::mem::take(&mut self.regions) {
                self.add_whole(region.relation);
            }
        }
    }

    /// Adds what `other` touches.
    pub fn merge(&mut self, other: &Footprint) {
        self.everything |= other.everything;
        self.catalogue |= other.catalogue;
        self.shared_catalogue |= other.shared_catalogue;
        for &oid in &other.relations {
            self.add_whole(oid);
        }
        self.add_regions(&other.regions);
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
    /// Neither, but told: the number of the backend, by `pg_backend_pid`.
    pub const BACKEND_TOLD: Effects = Effects(1 << 9);
    /// State of the process that cannot be asked for: the seed of `random()`, connections of dblink,
    /// plans of [`REFINT`](super::REFINT).
    pub const PROCESS: Effects = Effects(1 << 10);

    /// Temporary tables that [`Judgement::makes`](super::Judgement::makes) names, and no others.
    pub const TEMPORARY_TABLE: Effects = Effects(1 << 11);
    /// Custom settings of whatever name: code runs a text that does not stand in it.
    pub const UNNAMED_SETTINGS: Effects = Effects(1 << 12);

    pub fn without(self, other: Effects) -> Effects {
        Effects(self.0 & !other.0)
    }

    pub fn intersection(self, other: Effects) -> Effects {
        Effects(self.0 & other.0)
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

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;

    fn key(relation: RelationOid, value: u64) -> Region {
        Region::new(relation, [(1, smallvec![value])])
    }

    fn keys(regions: Vec<Region>) -> Footprint {
        Footprint {
            regions,
            ..Footprint::default()
        }
    }

    #[test]
    fn a_relation_that_is_touched_as_a_whole_needs_no_regions() {
        let mut footprint = keys(vec![key(1, 1), key(2, 2)]);
        assert!(!footprint.is_nothing());
        footprint.merge(&Footprint {
            relations: smallvec![1],
            ..Footprint::default()
        });
        footprint.merge(&keys(vec![key(1, 3), key(2, 2), key(2, 3)]));
        assert_eq!(footprint.relations.as_slice(), [1]);
        assert_eq!(footprint.regions, [key(2, 2), key(2, 3)]);
    }

    #[test]
    fn too_many_regions_become_whole_relations() {
        let mut footprint = Footprint::nothing();
        for value in 0..=REGIONS_MAX as u64 {
            assert!(footprint.relations.is_empty());
            footprint.merge(&keys(vec![key(1, value)]));
        }
        assert_eq!(footprint.relations.as_slice(), [1]);
        assert!(footprint.regions.is_empty());
    }

    #[test]
    fn only_what_was_meant_as_a_whole_is_narrowed() {
        let mut footprint = Footprint {
            relations: smallvec![1, 2],
            ..Footprint::default()
        };
        footprint.narrow(1, vec![key(1, 5)]);
        footprint.narrow(3, vec![key(3, 5)]);
        assert_eq!(footprint.relations.as_slice(), [2]);
        assert_eq!(footprint.regions, [key(1, 5)]);
    }
}
