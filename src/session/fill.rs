//! An answer on its way into the cache.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::cache::{Answer, Entry, Key, Leader, Stamp, StoreOptions};
use crate::catalog::Order;

/// Collects the frames of one answer while they pass to the client.
pub struct Fill {
    pub key: Key,
    pub stamp: Stamp,
    pub options: StoreOptions,
    pub leader: Option<Leader>,
    /// What the cache would have served in its place (`cache.mode = "shadow"`),
    /// and how far the two can be compared.
    pub shadow: Option<(Arc<Entry>, Order)>,
    row_description: Option<Bytes>,
    body: BytesMut,
    rows: u64,
    body_bytes_max: usize,
    state: State,
    started: Instant,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Collecting,
    Complete,
    Spoilt,
    TooLarge,
}

impl std::fmt::Debug for Fill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fill")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Fill {
    /// `stamp` was read before the query is sent; `now` is the moment of sending.
    pub fn new(
        key: Key,
        stamp: Stamp,
        options: StoreOptions,
        leader: Option<Leader>,
        body_bytes_max: usize,
        now: Instant,
    ) -> Self {
        Self {
            key,
            stamp,
            options,
            leader,
            shadow: None,
            row_description: None,
            body: BytesMut::new(),
            rows: 0,
            body_bytes_max,
            state: State::Collecting,
            started: now,
        }
    }

    pub fn describe(&mut self, frame: Bytes) {
        self.row_description = Some(frame);
    }

    /// Adds one DataRow or CommandComplete frame.
    pub fn push(&mut self, frame: &[u8]) {
        if self.state != State::Collecting {
            return;
        }
        if self.body.len() + frame.len() > self.body_bytes_max {
            self.state = State::TooLarge;
            self.body = BytesMut::new();
            return;
        }
        self.rows += u64::from(frame.first() == Some(&crate::wire::tag::backend::DATA_ROW));
        self.body.extend_from_slice(frame);
    }

    pub fn complete(&mut self) {
        if self.state == State::Collecting {
            self.state = State::Complete;
        }
    }

    pub fn spoil(&mut self) {
        self.state = State::Spoilt;
    }

    pub fn is_too_large(&self) -> bool {
        self.state == State::TooLarge
    }

    /// The finished answer, or `None` if it may not be kept.
    pub fn finish(self, now: Instant) -> Option<Finished> {
        if self.state != State::Complete {
            return None;
        }
        Some(Finished {
            key: self.key,
            stamp: self.stamp,
            options: self.options,
            leader: self.leader,
            shadow: self.shadow,
            answer: Answer {
                row_description: self.row_description,
                body: self.body.freeze(),
                rows: self.rows,
                cost: now.duration_since(self.started),
            },
        })
    }
}

/// An answer that may be kept.
pub struct Finished {
    pub key: Key,
    pub stamp: Stamp,
    pub options: StoreOptions,
    pub leader: Option<Leader>,
    pub shadow: Option<(Arc<Entry>, Order)>,
    pub answer: Answer,
}
