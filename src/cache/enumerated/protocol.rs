//! The world of the protocol: writers and readers with their scripts, the real counters, the simulated database.

use std::sync::Arc;

use super::bench::Bench;
use super::database::{Database, QUERIES_MAX};
use super::explore;
use super::reader::{ReaderAt, fingerprint_of};
use super::script::{Case, Do, Read};
use super::writer::WriterAt;
use crate::cache::{Entry, Tags};
use crate::catalog::RelationOid;

pub struct World<'a> {
    pub case: &'a Case,
    pub bench: &'a Bench,
    /// Of each node.
    pub tags: Vec<Arc<Tags>>,
    pub relations: [RelationOid; 2],
    pub database: Database,
    pub writers: Vec<WriterAt>,
    pub readers: Vec<ReaderAt>,
    /// What each node remembers, by query.
    pub entries: Vec<[Option<Arc<Entry>>; QUERIES_MAX]>,
    /// Who has led the last flight, by query.
    pub leader: [usize; QUERIES_MAX],
    /// Which reader a class is being born for, and how many of its steps are left.
    pub birth: Option<usize>,
    pub births_left: u8,
    /// Whether there is the trigger, and whether the picture shows it; there may be no picture.
    pub trigger: bool,
    pub picture: Option<bool>,
    /// How often the server has crashed, and with which server the guard was last made.
    pub server: u8,
    pub proved: u8,
    pub hits: usize,
}

/// Who moves, and his steps.
#[derive(Clone, Copy)]
pub enum Move {
    Write(usize, &'static [Do]),
    Read(usize, &'static [Read]),
}

impl std::fmt::Debug for Move {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Write(who, steps) => write!(f, "writer {who}: {steps:?}"),
            Self::Read(who, steps) => write!(f, "reader {who}: {steps:?}"),
        }
    }
}

impl<'a> World<'a> {
    pub fn new(case: &'a Case, bench: &'a Bench) -> Self {
        let (tags, relations) = bench.fresh();
        let mut world = Self {
            case,
            bench,
            entries: tags.iter().map(|_| Default::default()).collect(),
            tags,
            relations,
            database: Database::new(),
            writers: case.writers.iter().map(|_| WriterAt::new()).collect(),
            readers: case.readers.iter().map(|_| ReaderAt::default()).collect(),
            leader: [0; QUERIES_MAX],
            birth: None,
            births_left: 0,
            trigger: false,
            picture: Some(false),
            server: 0,
            proved: 0,
            hits: 0,
        };
        for (writer, writing) in case.writers.iter().enumerate() {
            for &step in writing.before {
                world.write(writer, step);
            }
        }
        for (reader, reading) in case.readers.iter().enumerate() {
            for &step in reading.before {
                world.read(reader, step).expect("nothing is served yet");
            }
        }
        world
    }

    /// A new connection is used only if the guard lives on the same server.
    pub fn may_use_the_server(&self) -> bool {
        !self.case.proves || self.server == self.proved
    }
}

impl explore::World for World<'_> {
    type Move = Move;

    fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        for (who, (at, writing)) in self.writers.iter().zip(&self.case.writers).enumerate() {
            if let Some(&steps) = writing.script.get(at.next)
                && steps.iter().all(|&step| self.can_write(who, step))
            {
                moves.push(Move::Write(who, steps));
            }
        }
        for (who, (at, reading)) in self.readers.iter().zip(&self.case.readers).enumerate() {
            if !self.is_over(who) {
                let steps = reading.script[at.next];
                if steps.iter().all(|&step| self.can_read(who, step)) {
                    moves.push(Move::Read(who, steps));
                }
            }
        }
        moves
    }

    fn make(&mut self, step: Move) -> Result<(), String> {
        match step {
            Move::Write(who, steps) => {
                for &step in steps {
                    self.write(who, step);
                }
                self.writers[who].next += 1;
            }
            Move::Read(who, steps) => {
                for &step in steps {
                    self.read(who, step)?;
                }
                self.readers[who].next += 1;
            }
        }
        Ok(())
    }

    fn fingerprint(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(96);
        self.database.fingerprint(&mut all);
        for writer in &self.writers {
            writer.fingerprint(self, &mut all);
        }
        for (at, reading) in self.readers.iter().zip(&self.case.readers) {
            at.fingerprint(self, reading.node, &mut all);
        }
        for (node, entries) in self.entries.iter().enumerate() {
            for entry in entries {
                fingerprint_of(entry.as_ref(), self, node, &mut all);
            }
        }
        let picture = self.picture.map_or(2, u8::from);
        let birth = self.birth.map_or(9, |who| who as u8);
        all.extend([
            u8::from(self.trigger),
            picture,
            birth,
            self.births_left,
            self.server,
            self.proved,
        ]);
        all
    }

    fn hits(&self) -> usize {
        self.hits
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        for writer in &mut self.writers {
            writer.end();
        }
    }
}
