//! The shapes that are kept out of the cache since an answer of theirs was found wrong.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;

use crate::sql::ShapeId;

/// With so many shapes off the mistake lies deeper: everything is off then.
const SHAPES_MAX: usize = 1000;

/// The evidence against a shape, without values.
#[derive(Debug, Clone)]
pub struct Mismatch {
    pub database: String,
    pub shape: ShapeId,
    /// Without literals.
    pub statement: String,
    pub found_at: SystemTime,
    /// How long before the entry had been read.
    pub entry_age: Duration,
    pub cached_rows: u64,
    pub cached_hash: String,
    pub server_rows: u64,
    pub server_hash: String,
    /// What the entry depends on.
    pub relations: Vec<String>,
}

/// Shapes that are off.
#[derive(Default)]
pub struct Off {
    count: AtomicUsize,
    shapes: RwLock<HashMap<ShapeId, Mismatch>>,
}

impl Off {
    /// Whether statements of this shape are kept out of the cache.
    pub fn holds(&self, shape: ShapeId) -> bool {
        match self.count.load(Ordering::Acquire) {
            0 => false,
            SHAPES_MAX.. => true,
            _ => self.shapes.read().contains_key(&shape),
        }
    }

    /// False if it was off before; the first evidence is kept.
    pub(super) fn switch_off(&self, mismatch: Mismatch) -> bool {
        let mut shapes = self.shapes.write();
        if shapes.len() >= SHAPES_MAX || shapes.contains_key(&mismatch.shape) {
            return false;
        }
        shapes.insert(mismatch.shape, mismatch);
        self.count.store(shapes.len(), Ordering::Release);
        true
    }

    /// An operator's word that these may be cached again: all, or the one of this id. How many there were.
    pub fn clear(&self, id: Option<&str>) -> usize {
        let mut shapes = self.shapes.write();
        let before = shapes.len();
        shapes.retain(|shape, _| id.is_some_and(|id| !shape.to_string().eq_ignore_ascii_case(id)));
        self.count.store(shapes.len(), Ordering::Release);
        before - shapes.len()
    }

    /// Those that are off, the oldest first.
    pub fn all(&self) -> Vec<Mismatch> {
        let mut all: Vec<Mismatch> = self.shapes.read().values().cloned().collect();
        all.sort_by_key(|mismatch| mismatch.found_at);
        all
    }

    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mismatch(shape: u128) -> Mismatch {
        Mismatch {
            database: "d".into(),
            shape: ShapeId(shape << 64),
            statement: "SELECT ?".into(),
            found_at: SystemTime::UNIX_EPOCH,
            entry_age: Duration::ZERO,
            cached_rows: 1,
            cached_hash: String::new(),
            server_rows: 1,
            server_hash: String::new(),
            relations: Vec::new(),
        }
    }

    #[test]
    fn a_shape_is_off_until_it_is_cleared() {
        let off = Off::default();
        assert!(off.switch_off(mismatch(1)));
        assert!(!off.switch_off(mismatch(1)));
        assert!(off.switch_off(mismatch(2)));
        assert!(off.holds(ShapeId(1 << 64)) && !off.holds(ShapeId(3 << 64)));
        assert_eq!(off.clear(Some("0000000000000003")), 0);
        assert_eq!(off.clear(Some("0000000000000001")), 1);
        assert!(!off.holds(ShapeId(1 << 64)) && off.holds(ShapeId(2 << 64)));
        assert_eq!(off.clear(None), 1);
        assert!(!off.holds(ShapeId(2 << 64)) && off.is_empty());
    }

    #[test]
    fn with_too_many_off_everything_is() {
        let off = Off::default();
        for shape in 0..SHAPES_MAX as u128 {
            off.switch_off(mismatch(shape));
        }
        assert!(off.holds(ShapeId(u128::MAX)));
        assert!(!off.switch_off(mismatch(u128::from(u64::MAX))));
        assert_eq!(off.len(), SHAPES_MAX);
    }
}
