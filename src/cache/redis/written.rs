//! Which keys this process has sent to Redis: a small filter, so that a strict lookup
//! does not travel for a value that cannot be there.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const BITS: usize = 1 << 20;
/// Beyond this many keys it would say "maybe" too often, and begins anew. What was
/// sent before is then out of reach until it is sent again, which costs only room.
const KEYS_MAX: usize = BITS / 8;

pub struct Written {
    bits: Box<[AtomicU64]>,
    keys: AtomicUsize,
}

impl Written {
    pub fn new() -> Self {
        Self {
            bits: (0..BITS / 64).map(|_| AtomicU64::new(0)).collect(),
            keys: AtomicUsize::new(0),
        }
    }

    pub fn note(&self, hash: u128) {
        if self.keys.fetch_add(1, Ordering::Relaxed) >= KEYS_MAX {
            self.keys.store(0, Ordering::Relaxed);
            for word in &self.bits {
                word.store(0, Ordering::Relaxed);
            }
        }
        for (word, bit) in places(hash) {
            self.bits[word].fetch_or(bit, Ordering::Relaxed);
        }
    }

    pub fn maybe(&self, hash: u128) -> bool {
        places(hash)
            .iter()
            .all(|&(word, bit)| self.bits[word].load(Ordering::Relaxed) & bit != 0)
    }
}

fn places(hash: u128) -> [(usize, u64); 2] {
    [hash as usize, (hash >> 64) as usize].map(|at| {
        let at = at % BITS;
        (at / 64, 1 << (at % 64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_found_and_little_else() {
        let written = Written::new();
        let hash = |n: u64| xxhash_rust::xxh3::xxh3_128(&n.to_le_bytes());
        for n in 0..10_000 {
            written.note(hash(n));
        }
        assert!((0..10_000).all(|n| written.maybe(hash(n))));
        let wrong = (10_000..20_000).filter(|&n| written.maybe(hash(n))).count();
        assert!(wrong < 100, "{wrong}");
    }

    #[test]
    fn it_begins_anew_when_it_is_full() {
        let written = Written::new();
        for n in 0..=KEYS_MAX as u128 {
            written.note(n << 64 | n);
        }
        assert!(!written.maybe(0));
        assert!(written.maybe((KEYS_MAX as u128) << 64 | KEYS_MAX as u128));
    }
}
