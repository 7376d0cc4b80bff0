//! Where counters stand: a fixed field for whole relations, and one that grows for keys.
//!
//! Two tags that share a counter cost each other a needless miss, never a stale hit. The
//! fields have no moment in which a counter does not exist yet, so a reader and a writer
//! who meet a relation for the first time cannot miss each other.
//!
//! The field of keys grows by a new, larger one, in which new stamps are taken. Counters are
//! not moved, and who was counted in a smaller one stays so: writers mark in all that there
//! are. How a new one begins: [`super::classes`].

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::counters::Counter;

/// Counters of whole relations of one database, 8 bytes each.
const TABLES: usize = 1 << 15;

/// Sizes of the field of keys, one after the other: 128 KiB to 32 MiB. Each costs a writer a mark.
const KEYS: [usize; 4] = [1 << 14, 1 << 17, 1 << 20, 1 << 22];

/// It grows when fewer than so many counters are left for each key in use: a write to one key voids
/// the answers of another as often as that one has its counter.
const COUNTERS_PER_KEY: usize = 32;

const LEVEL_SHIFT: u32 = 28;
const INDEX: u32 = (1 << LEVEL_SHIFT) - 1;

/// Where a tag's counter stands: a place that only this process understands. The upper
/// bits name the field: 0 is the relations', the others are those of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Slot(u32);

impl Slot {
    pub const EVERYTHING: Slot = Slot(u32::MAX);

    pub const fn to_bits(self) -> u32 {
        self.0
    }

    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Of a whole relation: `hash` is spread over its upper bits.
    pub fn table(hash: u32) -> Self {
        Self(hash >> (u32::BITS - TABLES.trailing_zeros()))
    }

    /// Of a key.
    pub fn key(hash: u64, level: Level) -> Self {
        let index = hash >> (u64::BITS - KEYS[level.0].trailing_zeros());
        Self(((level.0 as u32 + 1) << LEVEL_SHIFT) | index as u32)
    }

    /// The field of keys that it stands in.
    pub fn level(self) -> Option<Level> {
        let level = (self.0 >> LEVEL_SHIFT) as usize;
        (1..=KEYS.len()).contains(&level).then(|| Level(level - 1))
    }
}

/// One of the sizes of the field of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Level(usize);

/// All counters of one database.
#[derive(Debug)]
pub(super) struct Field {
    everything: Line<Counter>,
    tables: Box<[Counter]>,
    keys: [OnceLock<Keys>; KEYS.len()],
    /// How many of `KEYS` may be used.
    levels: usize,
    /// The field of which stamps are taken.
    read: AtomicUsize,
    /// The largest field in which writers mark.
    marked: AtomicUsize,
}

#[derive(Debug)]
struct Keys {
    counters: Box<[Counter]>,
    /// A bit for each counter that a stamp was taken of.
    used: Box<[AtomicU64]>,
    live: AtomicUsize,
}

/// Alone on its cache line: every read loads it, so no neighbour may write next to it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Line<T>(pub T);

impl Field {
    /// `bytes_max` bounds all fields of keys together.
    pub fn new(bytes_max: u64) -> Self {
        let mut bytes = 0;
        let fits = |counters: &&usize| {
            bytes += **counters as u64 * size_of::<Counter>() as u64;
            bytes <= bytes_max
        };
        let levels = KEYS.iter().take_while(fits).count();
        let field = Self {
            everything: Line::default(),
            tables: (0..TABLES).map(|_| Counter::default()).collect(),
            keys: Default::default(),
            levels,
            read: AtomicUsize::new(0),
            marked: AtomicUsize::new(0),
        };
        if levels > 0 {
            field.make(Level(0));
        }
        field
    }

    fn make(&self, level: Level) {
        self.keys[level.0].get_or_init(|| Keys {
            counters: (0..KEYS[level.0]).map(|_| Counter::default()).collect(),
            used: (0..KEYS[level.0] / 64)
                .map(|_| AtomicU64::default())
                .collect(),
            live: AtomicUsize::new(0),
        });
    }

    /// There are counters for keys.
    pub fn has_keys(&self) -> bool {
        self.levels > 0
    }

    pub fn everything(&self) -> &Counter {
        &self.everything.0
    }

    /// `None`: no such counter was ever handed out by this process.
    pub fn counter(&self, slot: Slot) -> Option<&Counter> {
        if slot == Slot::EVERYTHING {
            return Some(&self.everything.0);
        }
        let index = (slot.0 & INDEX) as usize;
        match slot.level() {
            Some(level) => self.keys[level.0].get()?.counters.get(index),
            None => self.tables.get(slot.0 as usize),
        }
    }

    /// The field of keys that stamps are taken of.
    pub fn level(&self) -> Level {
        Level(self.read.load(Ordering::Acquire))
    }

    /// The fields of keys that a writer has to mark: all that there are.
    pub fn marked_levels(&self) -> impl Iterator<Item = Level> + use<> {
        (0..=self.marked.load(Ordering::Acquire)).map(Level)
    }

    /// Notes that a stamp of this key's counter is taken. True: the field has become too small.
    pub fn note_use(&self, slot: Slot) -> bool {
        let Some((level, keys)) = slot
            .level()
            .and_then(|level| Some((level, self.keys[level.0].get()?)))
        else {
            return false;
        };
        let index = (slot.0 & INDEX) as usize;
        let (word, bit) = (&keys.used[index / 64], 1 << (index % 64));
        if word.load(Ordering::Relaxed) & bit != 0
            || word.fetch_or(bit, Ordering::Relaxed) & bit != 0
        {
            return false;
        }
        let live = keys.live.fetch_add(1, Ordering::Relaxed) + 1;
        live * COUNTERS_PER_KEY > KEYS[level.0] && level.0 + 1 < self.levels
    }

    /// The first step of growing: writers mark in the next field as well. `None`: it is the last, or
    /// it has grown already since `from` was too small.
    pub fn announce_larger(&self, from: Level) -> Option<Level> {
        let next = Level(from.0 + 1);
        if self.level() != from || next.0 >= self.levels {
            return None;
        }
        self.make(next);
        self.marked.store(next.0, Ordering::Release);
        Some(next)
    }

    /// The last step, once every writer that is marked has its marks in `level`.
    pub fn publish_larger(&self, level: Level) {
        self.read.store(level.0, Ordering::Release);
    }

    /// What the fields of keys take, in bytes.
    pub fn key_bytes(&self) -> u64 {
        let counters: usize = self
            .keys
            .iter()
            .filter_map(|keys| Some(keys.get()?.counters.len()))
            .sum();
        (counters * size_of::<Counter>()) as u64
    }

    /// Counters of keys that are in use.
    pub fn live_keys(&self) -> u64 {
        let keys = self.keys[self.level().0].get();
        keys.map_or(0, |keys| keys.live.load(Ordering::Relaxed) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_of_keys_keeps_to_its_bytes() {
        assert!(!Field::new(0).has_keys());
        assert!(!Field::new((8 << 14) - 1).has_keys());
        let field = Field::new(8 << 14);
        assert!(field.has_keys());
        assert_eq!(field.announce_larger(field.level()), None);
        assert_eq!(field.key_bytes(), 8 << 14);
        assert_eq!(Field::new(64 << 20).levels, KEYS.len());
    }

    #[test]
    fn it_asks_for_a_larger_one_when_it_is_crowded_and_each_counter_counts_once() {
        let field = Field::new(2 << 20);
        let slot = |index: u64| Slot::key(index << 50, field.level());
        for index in 0..(KEYS[0] / COUNTERS_PER_KEY) as u64 {
            assert!(!field.note_use(slot(index)));
            assert!(!field.note_use(slot(index)));
        }
        assert!(field.note_use(slot(1 << 13)));
        let first = field.level();
        let next = field.announce_larger(first).unwrap();
        assert_eq!(field.level(), first);
        assert_eq!(field.marked_levels().collect::<Vec<_>>(), [first, next]);
        field.publish_larger(next);
        assert_eq!(field.marked_levels().collect::<Vec<_>>(), [first, next]);
        assert_eq!(field.announce_larger(first), None);
        assert_eq!(field.live_keys(), 0);
        // The last one that there is room for: it stays as it is.
        assert_eq!(field.announce_larger(next), None);
    }

    #[test]
    fn a_place_names_its_field() {
        assert_eq!(Slot::table(u32::MAX).level(), None);
        assert_eq!(Slot::EVERYTHING.level(), None);
        for (level, counters) in KEYS.iter().enumerate() {
            let slot = Slot::key(u64::MAX, Level(level));
            assert_eq!(slot.level(), Some(Level(level)));
            assert_eq!((slot.0 & INDEX) as usize, counters - 1);
        }
        assert!(Field::new(8 << 14).counter(Slot(3 << 28)).is_none());
        assert!(Field::new(8 << 14).counter(Slot(TABLES as u32)).is_none());
    }
}
