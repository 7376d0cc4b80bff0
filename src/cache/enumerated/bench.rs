//! What all worlds of one case share: the real counters and flights. They are made once in a while, for making them takes long.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::script::Rows;
use crate::cache::{Cache, Key, KeyBuilder, Tags};
use crate::cache::{classes, tags::TagId};
use crate::catalog::{ColumnNumber, Dependency, Footprint, Region, RelationOid};
use crate::config::{CacheConfig, RedisConfig};

/// The column by which rows have their key.
pub const COLUMN: ColumnNumber = 1;

/// New counters after so many worlds, or classes would become too many.
const WORLDS_MAX: u32 = 256;
const KEY_BYTES: u64 = 1 << 17;

/// Made once for a case.
pub struct Bench {
    tags: RefCell<Vec<Arc<Tags>>>,
    worlds: Cell<u32>,
    pub cache: Arc<Cache>,
    pub keys: Vec<Key>,
    pub database: Arc<str>,
    pub runtime: tokio::runtime::Runtime,
}

impl Bench {
    pub fn new(nodes: usize, queries: usize) -> Self {
        let cache = Cache::new(&CacheConfig::default(), &RedisConfig::default()).unwrap();
        let key = |query| {
            let mut key = KeyBuilder::new("enumerated");
            key.field(&[query as u8]);
            key.finish(cache.secret())
        };
        Self {
            tags: RefCell::new(Self::tags(nodes)),
            worlds: Cell::new(0),
            database: "enumerated".into(),
            keys: (0..queries).map(key).collect(),
            cache,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap(),
        }
    }

    fn tags(nodes: usize) -> Vec<Arc<Tags>> {
        (0..nodes).map(|_| Tags::new(KEY_BYTES).unwrap()).collect()
    }

    /// Counters that nobody has marked, and relations that have no classes yet.
    pub fn fresh(&self) -> (Vec<Arc<Tags>>, [RelationOid; 2]) {
        let world = self.worlds.get() + 1;
        self.worlds.set(world % WORLDS_MAX);
        if world == WORLDS_MAX {
            let nodes = self.tags.borrow().len();
            *self.tags.borrow_mut() = Self::tags(nodes);
        }
        let relations = (0..)
            .map(|next| 16384 + 2 * (world + next * WORLDS_MAX))
            .map(|oid| [oid, oid + 1])
            .find(stand_apart);
        (self.tags.borrow().clone(), relations.unwrap())
    }
}

/// No two of their tags share a counter. (That costs a needless miss, and so a state that is not the same.)
fn stand_apart(relations: &[RelationOid; 2]) -> bool {
    let mut slots: Vec<_> = relations
        .iter()
        .flat_map(|&oid| {
            [
                Tags::slot(TagId::Table(oid)),
                Tags::slot(TagId::Any(oid)),
                classes::wild(oid, &[COLUMN]),
            ]
        })
        .collect();
    slots.sort();
    slots.dedup();
    slots.len() == 6
}

fn region(rows: Rows, relations: [RelationOid; 2]) -> Region {
    let known = match rows {
        Rows::Key(_, key) => Some((COLUMN, smallvec::smallvec![key])),
        Rows::All(_) | Rows::Some(_) => None,
    };
    Region::new(relations[rows.relation()], known)
}

pub fn footprint(rows: Rows, relations: [RelationOid; 2]) -> Footprint {
    match rows {
        Rows::All(relation) => Footprint {
            relations: smallvec::smallvec![relations[relation]],
            ..Footprint::default()
        },
        Rows::Some(_) | Rows::Key(..) => Footprint {
            regions: regions(rows, relations),
            ..Footprint::default()
        },
    }
}

pub fn regions(rows: Rows, relations: [RelationOid; 2]) -> Vec<Region> {
    vec![region(rows, relations)]
}

pub fn dependency(rows: Rows, relations: [RelationOid; 2]) -> Dependency {
    match rows {
        Rows::Key(..) => Dependency::Region(region(rows, relations)),
        Rows::All(relation) | Rows::Some(relation) => Dependency::Relation(relations[relation]),
    }
}
