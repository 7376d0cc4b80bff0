//! An entry as bytes, and back.
//!
//! Whoever can write to Redis could put anything there, and so could a bug or another
//! version: every length is checked, the checksum covers every byte, the whole key stands
//! in the value, and whatever is off is a miss. The checksum finds accidents. It is
//! no proof of origin: Redis is trusted as the server is.

use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use crate::cache::entry::{Answer, Entry};
use crate::cache::moment::Moment;
use crate::config::Level;
use crate::sql::ShapeId;

/// Change it with the layout: values of other versions are misses.
const MAGIC: &[u8; 8] = b"pgditto1";

/// An entry as it was stored, and by whom.
#[derive(Debug, PartialEq)]
pub struct Value {
    /// The storing process and database ([`crate::cache::Tags`]).
    pub base: u128,
    pub generation: u64,
    /// The stamp's words; empty if it was not clean.
    pub words: Vec<(u32, u64)>,
    pub level: Level,
    pub catalogue: u64,
    /// On the storing machine's clock since boot: only its own process can use it.
    pub read_at: Moment,
    /// Milliseconds since 1970, by the storing machine's clock.
    pub read_at_ms: u64,
    pub ttl: Duration,
    pub shape: ShapeId,
    pub relations: SmallVec<[u32; 4]>,
    pub labels: SmallVec<[Box<str>; 1]>,
    pub answer: Answer,
}

/// Writes an entry.
pub fn encode(entry: &Entry, base: u128, now: Moment, now_ms: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(entry.weight());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&base.to_le_bytes());
    put(&mut out, entry.stamp.generation());
    put_bytes(&mut out, &entry.key);
    let words: Vec<_> = match entry.stamp.is_clean() {
        true => entry.stamp.words().collect(),
        false => Vec::new(),
    };
    put(&mut out, words.len() as u64);
    for (slot, word) in words {
        put(&mut out, u64::from(slot));
        put(&mut out, word);
    }
    put(&mut out, u64::from(entry.level == Level::Ttl));
    put(&mut out, entry.catalogue);
    put(&mut out, entry.read_at.as_nanos());
    put(&mut out, now_ms.saturating_sub(millis(entry.age(now))));
    put(&mut out, millis(entry.ttl));
    out.extend_from_slice(&entry.shape.0.to_le_bytes());
    put(&mut out, entry.relations.len() as u64);
    for &oid in &entry.relations {
        put(&mut out, u64::from(oid));
    }
    put(&mut out, entry.labels.len() as u64);
    for label in &entry.labels {
        put_bytes(&mut out, label.as_bytes());
    }
    put(&mut out, entry.answer.rows);
    put(
        &mut out,
        u64::try_from(entry.answer.cost.as_micros()).unwrap_or(u64::MAX),
    );
    put(&mut out, u64::from(entry.answer.row_description.is_some()));
    put_bytes(
        &mut out,
        entry.answer.row_description.as_deref().unwrap_or_default(),
    );
    put_bytes(&mut out, &entry.answer.body);
    let checksum = xxh3_64(&out);
    put(&mut out, checksum);
    out
}

/// Reads a value of exactly this key. `None` if anything is off.
pub fn decode(value: &Bytes, key: &[u8]) -> Option<Value> {
    let end = value.len().checked_sub(8)?;
    let checksum = u64::from_le_bytes(value[end..].try_into().ok()?);
    if xxh3_64(&value[..end]) != checksum {
        return None;
    }
    let mut input = Input {
        bytes: value,
        at: 0,
        end,
    };
    if input.take(MAGIC.len())? != MAGIC {
        return None;
    }
    let base = u128::from_le_bytes(input.take(16)?.try_into().ok()?);
    let generation = input.number()?;
    if input.bytes()? != key {
        return None;
    }
    let words = (0..input.count(16)?)
        .map(|_| Some((u32::try_from(input.number()?).ok()?, input.number()?)))
        .collect::<Option<_>>()?;
    let level = match input.number()? {
        0 => Level::Strict,
        1 => Level::Ttl,
        _ => return None,
    };
    let catalogue = input.number()?;
    let read_at = Moment::from_nanos(input.number()?);
    let read_at_ms = input.number()?;
    let ttl = Duration::from_millis(input.number()?);
    let shape = ShapeId(u128::from_le_bytes(input.take(16)?.try_into().ok()?));
    let relations = (0..input.count(8)?)
        .map(|_| u32::try_from(input.number()?).ok())
        .collect::<Option<_>>()?;
    let labels = (0..input.count(8)?)
        .map(|_| Some(Box::from(std::str::from_utf8(&input.bytes()?).ok()?)))
        .collect::<Option<_>>()?;
    let rows = input.number()?;
    let cost = Duration::from_micros(input.number()?);
    let described = input.number()? == 1;
    let row_description = input.bytes()?;
    let body = input.bytes()?;
    (input.at == end).then_some(Value {
        base,
        generation,
        words,
        level,
        catalogue,
        read_at,
        read_at_ms,
        ttl,
        shape,
        relations,
        labels,
        answer: Answer {
            row_description: described.then_some(row_description),
            body,
            rows,
            cost,
        },
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn put(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

struct Input<'a> {
    bytes: &'a Bytes,
    at: usize,
    end: usize,
}

impl Input<'_> {
    fn take(&mut self, len: usize) -> Option<&[u8]> {
        let from = self.at;
        let to = from.checked_add(len).filter(|&to| to <= self.end)?;
        self.at = to;
        Some(&self.bytes[from..to])
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    /// How many items of at least `item_bytes` follow: no more than there is room for.
    fn count(&mut self, item_bytes: usize) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count <= (self.end - self.at) / item_bytes).then_some(count)
    }

    /// Shares the value's memory.
    fn bytes(&mut self) -> Option<Bytes> {
        let len = usize::try_from(self.number()?).ok()?;
        let from = self.at;
        self.take(len)?;
        Some(self.bytes.slice(from..from + len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::entry::StoreOptions;
    use crate::cache::tags::Tags;

    fn entry(tags: &Tags) -> Entry {
        let stamp = tags.stamp_whole(&[16384, 9], tags.picture());
        let answer = Answer {
            row_description: Some(Bytes::from_static(b"Trow")),
            body: Bytes::from_static(b"Dbody"),
            rows: 3,
            cost: Duration::from_micros(77),
        };
        let options = StoreOptions {
            read_at: Moment::from_nanos(5_000_000_000),
            ttl: Duration::from_secs(60),
            level: Level::Ttl,
            catalogue: 4,
            database: "db".into(),
            relations: SmallVec::from_slice(&[16384, 9]),
            shape: ShapeId(u128::MAX - 1),
            labels: SmallVec::from_iter([Box::from("a"), Box::from("")]),
        };
        Entry::new(&Bytes::from_static(b"key"), stamp, answer, options)
    }

    #[test]
    fn an_entry_comes_back_as_it_was() {
        let tags = Tags::new(1 << 20).unwrap();
        let entry = entry(&tags);
        let bytes = encode(&entry, 12, Moment::from_nanos(7_000_000_000), 1_000_000);
        let value = decode(&bytes.into(), b"key").unwrap();
        assert_eq!(value.answer, entry.answer);
        assert_eq!(value.base, 12);
        assert_eq!(value.generation, tags.generation());
        assert_eq!(value.read_at, entry.read_at);
        assert_eq!(value.read_at_ms, 998_000);
        assert_eq!(value.ttl, entry.ttl);
        assert_eq!(value.level, Level::Ttl);
        assert_eq!((value.catalogue, value.shape), (4, entry.shape));
        assert_eq!(value.relations, entry.relations);
        assert_eq!(value.labels, entry.labels);
        assert_eq!(value.words, entry.stamp.words().collect::<Vec<_>>());
    }

    #[test]
    fn a_value_of_another_key_or_with_one_wrong_byte_is_a_miss() {
        let tags = Tags::new(1 << 20).unwrap();
        let bytes = encode(&entry(&tags), 1, Moment::from_nanos(6_000_000_000), 9);
        let good = Bytes::from(bytes.clone());
        assert!(decode(&good, b"key").is_some());
        assert!(decode(&good, b"kez").is_none());
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0x40;
            assert!(decode(&wrong.into(), b"key").is_none(), "byte {at}");
            assert!(decode(&good.slice(..at), b"key").is_none(), "cut at {at}");
        }
    }

    #[test]
    fn lengths_that_lie_are_a_miss_even_under_a_right_checksum() {
        let tags = Tags::new(1 << 20).unwrap();
        let bytes = encode(&entry(&tags), 1, Moment::from_nanos(6_000_000_000), 9);
        let content = bytes.len() - 8;
        for at in 0..content {
            let mut wrong = bytes[..content].to_vec();
            wrong[at] = wrong[at].wrapping_add(1);
            if let Some(upper) = wrong.get_mut(at + 6) {
                *upper = 0xff;
            }
            let checksum = xxh3_64(&wrong);
            put(&mut wrong, checksum);
            // It must not panic; that what it gives is the wrong answer cannot be told.
            let _ = decode(&wrong.into(), b"key");
        }
        let mut long = bytes[..content].to_vec();
        long.push(0);
        let checksum = xxh3_64(&long);
        put(&mut long, checksum);
        assert!(decode(&long.into(), b"key").is_none());
    }
}
