//! Flushing: an operator's word that what was read until now is not to be served.
//!
//! Nothing is searched for. A flush writes down what it concerns and when, and an
//! entry that was read earlier is found void when it is looked up: so a fill that
//! is under way while the flush comes is void too, in either tier.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::entry::{Entry, TTL_MAX};
use super::moment::Moment;
use crate::catalog::RelationOid;
use crate::sql::ShapeId;

/// What to flush.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flush {
    All,
    /// By oid, in whichever database: of two relations that share it both go.
    Relation(RelationOid),
    Label(String),
    Shape(ShapeId),
}

/// More notes than this are taken for `All`.
const NOTES_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Flushes {
    /// The newest flush of any kind: entries read after it need no closer look.
    newest: AtomicU64,
    notes: RwLock<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    all: Moment,
    relations: HashMap<RelationOid, Moment>,
    labels: HashMap<Box<str>, Moment>,
    shapes: HashMap<ShapeId, Moment>,
}

impl Flushes {
    pub fn note(&self, what: &Flush, now: Moment) {
        let mut notes = self.notes.write();
        if notes.len() >= NOTES_MAX {
            notes.forget(now);
        }
        if notes.len() >= NOTES_MAX {
            *notes = Notes {
                all: now,
                ..Notes::default()
            };
        }
        match what {
            Flush::All => notes.all = now,
            Flush::Relation(oid) => put(&mut notes.relations, *oid, now),
            Flush::Label(label) => put(&mut notes.labels, label.as_str().into(), now),
            Flush::Shape(shape) => put(&mut notes.shapes, *shape, now),
        }
        // After the notes are written: who sees the new moment finds them.
        self.newest.fetch_max(now.as_nanos(), Ordering::AcqRel);
    }

    /// Whether `entry` was read before a flush that concerns it.
    pub fn voids(&self, entry: &Entry) -> bool {
        let read_at = entry.read_at;
        if read_at.as_nanos() > self.newest.load(Ordering::Acquire) {
            return false;
        }
        let notes = self.notes.read();
        let concerns = |at: Option<&Moment>| at.is_some_and(|at| read_at <= *at);
        read_at <= notes.all
            || concerns(notes.shapes.get(&entry.shape))
            || entry
                .relations
                .iter()
                .any(|oid| concerns(notes.relations.get(oid)))
            || entry
                .labels
                .iter()
                .any(|label| concerns(notes.labels.get(label)))
    }
}

fn put<K: Eq + Hash>(notes: &mut HashMap<K, Moment>, what: K, now: Moment) {
    notes.insert(what, now);
}

impl Notes {
    fn len(&self) -> usize {
        self.relations.len() + self.labels.len() + self.shapes.len()
    }

    /// Whatever was read before a note this old has expired.
    fn forget(&mut self, now: Moment) {
        let horizon = now - TTL_MAX;
        self.relations.retain(|_, at| *at > horizon);
        self.labels.retain(|_, at| *at > horizon);
        self.shapes.retain(|_, at| *at > horizon);
    }
}
