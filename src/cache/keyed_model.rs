//! Keys, classes and the growing field against a simulated table, in random interleavings.
//!
//! As in [`super::model`] every step is one move, a schedule says who moves next, and each
//! [`Mutant`] breaks one rule that must be noticed. Here one table has rows (a, b) of two
//! values each; reads ask for rows by `a`, by `b`, by both or for all; writes know of
//! their rows as much as a statement may tell. The three steps of a class's birth and of the field's
//! growth are moves of their own, so that everybody else may come between them.

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use super::classes::Standing;
use super::field::{Level, Slot};
use super::tags::{Fit, Picture, Stamp, Tags};
use super::writer::{Learnable, Writer};
use crate::catalog::{Dependency, Footprint, Learned, Region};

const TABLE: u32 = 16384;
const A: i16 = 1;
const B: i16 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    None,
    PublishClassUnwalked,
    PublishClassBeforeWalk,
    PublishFieldUnwalked,
    PublishFieldBeforeWalk,
    OldFieldUnmarked,
    ClassesOfTheFirstWrite,
    GuessWhatIsUnknown,
    OldKeyOnly,
    NewKeyOnly,
    KeyedReadWithoutTable,
    KeyedReadWithoutWild,
    KeyedReadWithoutKey,
    WholeReadWithoutAny,
    WithoutWidening,
    WriterIgnoresPicture,
    UnmarkWideBeforeNarrowBump,
    UnmarkWideBeforeLearning,
    LearnFromNoRow,
    LearnAnotherRow,
    ForgetWhatIsNotLearned,
}

type Row = (u64, u64);

/// What a query asks for.
const QUERIES: [(Option<u64>, Option<u64>); 7] = [
    (Some(0), None),
    (Some(1), None),
    (None, Some(0)),
    (None, Some(1)),
    (Some(0), Some(0)),
    (Some(1), Some(1)),
    (None, None),
];

fn matches(query: usize, row: Row) -> bool {
    let (a, b) = QUERIES[query];
    a.is_none_or(|a| a == row.0) && b.is_none_or(|b| b == row.1)
}

fn region(a: Option<u64>, b: Option<u64>) -> Region {
    let known = [(A, a), (B, b)];
    let known = known
        .into_iter()
        .filter_map(|(c, v)| Some((c, smallvec![v?])));
    Region::new(TABLE, known)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Write {
    /// INSERT of constants. After DDL a trigger turns `a` round.
    Insert(Row),
    /// UPDATE … WHERE a = …
    ByA(u64),
    ByB(u64),
    /// UPDATE … SET a = … WHERE a = …
    Move(u64),
    /// Nothing is known of its row.
    Unknown(Row),
    /// The table as a whole.
    Whole(Row),
    /// Marked as a whole, and then known to have touched one row.
    WideThenNarrow(Row),
    /// INSERT … RETURNING: `b` is known from the start, and what comes back tells `a`.
    Returning(Row),
    /// The same, of which nothing comes back.
    ReturningUnseen(Row),
    Ddl,
}

impl Write {
    fn from(choice: u8) -> Self {
        let bit = |n: u8| u64::from(choice >> n & 1);
        let row = (bit(0), bit(1));
        match choice >> 2 & 15 {
            0 | 1 => Self::Insert(row),
            2 => Self::Returning(row),
            3 => Self::ReturningUnseen(row),
            4 | 5 => Self::ByA(row.0),
            6 | 7 => Self::ByB(row.1),
            8 | 9 => Self::Move(row.0),
            10 | 11 => Self::Unknown(row),
            12 => Self::Whole(row),
            13 | 14 => Self::WideThenNarrow(row),
            _ => Self::Ddl,
        }
    }

    fn rows(self, turned: bool) -> SmallVec<[Row; 4]> {
        match self {
            Self::Insert((a, b)) | Self::Returning((a, b)) | Self::ReturningUnseen((a, b))
                if turned =>
            {
                smallvec![(1 - a, b)]
            }
            Self::Insert(row)
            | Self::Returning(row)
            | Self::ReturningUnseen(row)
            | Self::Unknown(row)
            | Self::Whole(row)
            | Self::WideThenNarrow(row) => smallvec![row],
            Self::ByA(a) => smallvec![(a, 0), (a, 1)],
            Self::ByB(b) => smallvec![(0, b), (1, b)],
            Self::Move(_) => smallvec![(0, 0), (0, 1), (1, 0), (1, 1)],
            Self::Ddl => smallvec![],
        }
    }

    fn footprint(self, turned: bool, mutant: Mutant) -> Footprint {
        let guess = mutant == Mutant::GuessWhatIsUnknown;
        let unknown = guess.then_some(0);
        let regions = match self {
            Self::Insert((_, b)) if turned => vec![region(unknown, Some(b))],
            Self::Insert((a, b)) => vec![region(Some(a), Some(b))],
            Self::ByA(a) => vec![region(Some(a), unknown)],
            Self::ByB(b) => vec![region(unknown, Some(b))],
            Self::Move(a) => match mutant {
                Mutant::OldKeyOnly => vec![region(Some(a), None)],
                Mutant::NewKeyOnly => vec![region(Some(1 - a), None)],
                _ => vec![region(Some(a), unknown), region(Some(1 - a), unknown)],
            },
            Self::Unknown(_) => vec![region(unknown, unknown)],
            Self::Returning((_, b)) | Self::ReturningUnseen((_, b)) => {
                vec![region(unknown, Some(b))]
            }
            Self::Whole(_) | Self::WideThenNarrow(_) => {
                return Footprint {
                    relations: smallvec![TABLE],
                    ..Footprint::default()
                };
            }
            Self::Ddl => return Footprint::catalogue(),
        };
        Footprint {
            regions,
            ..Footprint::default()
        }
    }
}

/// A writer, or, with a broken rule, only the counters that it found when it began.
enum Marker {
    Writer(Writer),
    /// It learns what it has touched when its rows have come.
    Learner(Writer, Option<(Learnable, Learned)>),
    Counters(SmallVec<[Slot; 4]>),
}

enum WriterAt {
    Idle,
    Judged(Write, Picture, Footprint),
    Sent(Write, Marker),
    Executed(Write, Marker, SmallVec<[Row; 4]>),
    Marked(Write, Marker, SmallVec<[Row; 4]>),
    Committed(Write, Marker, u64),
    HalfSettled(Writer, u64),
    HalfLearned(Writer, Learnable, Learned, u64),
    Settled(u64, bool),
}

enum ReaderAt {
    Idle,
    Begun(usize, u64),
    /// A class is being born for it.
    Announced(usize, u64, Picture, bool),
    Stamped(usize, u64, Stamp),
    Read(usize, u64, Stamp, u64),
}

enum GrowerAt {
    Idle,
    Announced(Level),
    Walked(Level),
    Done,
}

struct World {
    mutant: Mutant,
    tags: Arc<Tags>,
    commit: u64,
    /// DDL done so far.
    catalogue: u64,
    picture: Option<u64>,
    changes: [Vec<u64>; QUERIES.len()],
    entries: [Option<(Stamp, u64)>; QUERIES.len()],
    known: u64,
    hits: usize,
    /// Somebody holds the lock under which classes are born and the field grows.
    birth: bool,
}

impl World {
    fn new(mutant: Mutant) -> Self {
        Self {
            mutant,
            tags: Tags::new(2 << 20).unwrap(),
            commit: 0,
            catalogue: 0,
            picture: Some(0),
            changes: Default::default(),
            entries: Default::default(),
            known: 0,
            hits: 0,
            birth: false,
        }
    }

    fn turned(catalogue: u64) -> bool {
        !catalogue.is_multiple_of(2)
    }

    fn write(&mut self, at: WriterAt, choice: u8) -> WriterAt {
        match at {
            WriterAt::Idle => {
                let write = Write::from(choice);
                let footprint = match self.picture {
                    Some(picture) => write.footprint(Self::turned(picture), self.mutant),
                    None => Footprint::everything(),
                };
                WriterAt::Judged(write, self.tags.picture(), footprint)
            }
            WriterAt::Judged(write, picture, footprint) => {
                let picture = match self.mutant {
                    Mutant::WriterIgnoresPicture => self.tags.picture(),
                    _ => picture,
                };
                let mut writer = self.tags.writer();
                let learns = matches!(write, Write::Returning(_) | Write::ReturningUnseen(_));
                if learns && !footprint.everything {
                    let which = writer.touch_learnable(footprint.regions, picture);
                    let which = which.map(|which| (which, Learned::Nothing));
                    return WriterAt::Sent(write, Marker::Learner(writer, which));
                }
                writer.touch(&footprint, picture);
                if self.mutant == Mutant::ClassesOfTheFirstWrite && write != Write::Ddl {
                    writer.mark();
                    let slots = writer.slots();
                    writer.settle(false);
                    return WriterAt::Sent(write, Marker::Counters(slots));
                }
                WriterAt::Sent(write, Marker::Writer(writer))
            }
            WriterAt::Sent(write, marker) => {
                let rows = write.rows(Self::turned(self.catalogue));
                WriterAt::Executed(write, self.returned(write, marker, &rows, choice), rows)
            }
            WriterAt::Executed(write, mut marker, rows) => {
                match &mut marker {
                    Marker::Writer(writer) | Marker::Learner(writer, _) => writer.mark(),
                    Marker::Counters(slots) => slots.iter().for_each(|&slot| {
                        self.tags.field.counter(slot).unwrap().mark();
                    }),
                }
                if write == Write::Ddl {
                    self.picture = None;
                }
                WriterAt::Marked(write, marker, rows)
            }
            WriterAt::Marked(write, marker, rows) => {
                if choice.is_multiple_of(8) && write != Write::Ddl {
                    self.settle(marker, false);
                    return WriterAt::Idle;
                }
                self.commit += 1;
                self.catalogue += u64::from(write == Write::Ddl);
                for query in 0..QUERIES.len() {
                    if rows.iter().any(|&row| matches(query, row)) {
                        self.changes[query].push(self.commit);
                    }
                }
                WriterAt::Committed(write, marker, self.commit)
            }
            WriterAt::Committed(write, marker, commit) => {
                if write == Write::Ddl && self.mutant != Mutant::WithoutWidening {
                    self.tags.widen_in_flight();
                }
                if let (Write::WideThenNarrow((a, b)), Marker::Writer(wide)) = (write, &marker)
                    && !wide.touched().everything
                {
                    let narrow = Footprint {
                        regions: vec![region(Some(a), Some(b))],
                        ..Footprint::default()
                    };
                    let mut writer = self.tags.writer();
                    writer.touch(&narrow, self.tags.picture());
                    if self.mutant == Mutant::UnmarkWideBeforeNarrowBump {
                        self.settle(marker, false);
                        return WriterAt::HalfSettled(writer, commit);
                    }
                    writer.mark();
                    writer.settle(true);
                    self.settle(marker, false);
                } else if let Marker::Learner(mut writer, Some((which, learned))) = marker {
                    if self.mutant == Mutant::UnmarkWideBeforeLearning {
                        writer.unmark_loose();
                        return WriterAt::HalfLearned(writer, which, learned, commit);
                    }
                    writer.learn(which, &learned);
                    writer.settle(true);
                } else {
                    self.settle(marker, true);
                }
                WriterAt::Settled(commit, write == Write::Ddl)
            }
            WriterAt::HalfSettled(mut writer, commit) => {
                writer.mark();
                writer.settle(true);
                WriterAt::Settled(commit, false)
            }
            WriterAt::HalfLearned(mut writer, which, learned, commit) => {
                writer.learn(which, &learned);
                writer.settle(true);
                WriterAt::Settled(commit, false)
            }
            WriterAt::Settled(commit, ddl) => {
                self.known = self.known.max(commit);
                if ddl {
                    self.picture = Some(self.catalogue);
                }
                WriterAt::Idle
            }
        }
    }

    /// The rows have come: what they tell is known at once, or only after the commit.
    fn returned(&self, write: Write, marker: Marker, rows: &[Row], choice: u8) -> Marker {
        let Marker::Learner(mut writer, Some((which, _))) = marker else {
            return marker;
        };
        let forgets = self.mutant == Mutant::ForgetWhatIsNotLearned;
        if matches!(write, Write::ReturningUnseen(_)) {
            return Marker::Learner(writer, forgets.then_some((which, Learned::Nothing)));
        }
        let learned = match self.mutant {
            Mutant::LearnFromNoRow => Learned::Nothing,
            Mutant::LearnAnotherRow => Learned::Values(smallvec![(A, smallvec![1 - rows[0].0])]),
            _ => Learned::Values(smallvec![(A, smallvec![rows[0].0])]),
        };
        if choice.is_multiple_of(2) {
            writer.learn(which, &learned);
            return Marker::Learner(writer, None);
        }
        Marker::Learner(writer, Some((which, learned)))
    }

    fn settle(&self, marker: Marker, happened: bool) {
        match marker {
            Marker::Writer(writer) | Marker::Learner(writer, _) => writer.settle(happened),
            Marker::Counters(slots) => slots.iter().for_each(|&slot| {
                self.tags.field.counter(slot).unwrap().unmark(happened);
            }),
        }
    }

    fn dependency(query: usize) -> Dependency {
        match QUERIES[query] {
            (None, None) => Dependency::Relation(TABLE),
            (a, b) => Dependency::Region(region(a, b)),
        }
    }

    fn read(&mut self, at: ReaderAt, choice: u8) -> Result<ReaderAt, String> {
        Ok(match at {
            ReaderAt::Idle => ReaderAt::Begun(usize::from(choice) % QUERIES.len(), self.known),
            ReaderAt::Begun(query, floor) => {
                if let Some((stamp, snapshot)) = &self.entries[query]
                    && self.fits(stamp)
                {
                    let snapshot = *snapshot;
                    self.hits += 1;
                    self.answered("hit", query, floor, snapshot)?;
                    return Ok(ReaderAt::Idle);
                }
                let picture = self.tags.picture();
                if let Dependency::Region(region) = Self::dependency(query)
                    && !self.tags.classes.is_published(TABLE, &region.columns())
                {
                    if self.birth {
                        return Ok(ReaderAt::Begun(query, floor));
                    }
                    let standing = self.tags.classes.announce(TABLE, &region.columns());
                    assert_eq!(standing, Standing::Announced);
                    self.birth = true;
                    return Ok(ReaderAt::Announced(query, floor, picture, false));
                }
                self.stamp(query, floor, picture)
            }
            ReaderAt::Announced(query, floor, picture, false)
                if self.mutant != Mutant::PublishClassUnwalked =>
            {
                match self.mutant {
                    Mutant::PublishClassBeforeWalk => {
                        self.tags.classes.publish(TABLE, &Self::columns(query));
                    }
                    _ => self.tags.remark_in_flight(),
                }
                ReaderAt::Announced(query, floor, picture, true)
            }
            ReaderAt::Announced(query, floor, picture, _) => {
                match self.mutant {
                    Mutant::PublishClassBeforeWalk => self.tags.remark_in_flight(),
                    _ => self.tags.classes.publish(TABLE, &Self::columns(query)),
                }
                self.birth = false;
                self.stamp(query, floor, picture)
            }
            ReaderAt::Stamped(query, floor, stamp) => {
                ReaderAt::Read(query, floor, stamp, self.commit)
            }
            ReaderAt::Read(query, floor, stamp, snapshot) => {
                if self.fits(&stamp) {
                    self.entries[query] = Some((stamp, snapshot));
                }
                self.answered("read", query, floor, snapshot)?;
                ReaderAt::Idle
            }
        })
    }

    fn columns(query: usize) -> SmallVec<[i16; 2]> {
        match Self::dependency(query) {
            Dependency::Region(region) => region.columns(),
            Dependency::Relation(_) => SmallVec::new(),
        }
    }

    fn stamp(&self, query: usize, floor: u64, picture: Picture) -> ReaderAt {
        let mut stamp = self.tags.stamp([Self::dependency(query)], picture);
        let keyed = query < QUERIES.len() - 1;
        match self.mutant {
            Mutant::KeyedReadWithoutTable if keyed => stamp.forget(0),
            Mutant::KeyedReadWithoutWild if keyed => stamp.forget(1),
            Mutant::KeyedReadWithoutKey if keyed => stamp.forget(2),
            Mutant::WholeReadWithoutAny if !keyed => stamp.forget(1),
            _ => {}
        }
        ReaderAt::Stamped(query, floor, stamp)
    }

    fn fits(&self, stamp: &Stamp) -> bool {
        if self.mutant != Mutant::OldFieldUnmarked {
            return self.tags.fit(stamp) == Fit::Fresh;
        }
        let stands = |(slot, word): (u32, u64)| {
            let slot = Slot::from_bits(slot);
            let is_old = slot
                .level()
                .is_some_and(|level| level < self.tags.field.level());
            is_old || self.tags.field.counter(slot).unwrap().read().to_bits() == word
        };
        stamp.is_clean() && self.tags.same_generation(stamp) && stamp.words().all(stands)
    }

    fn grow(&mut self, at: GrowerAt) -> GrowerAt {
        match at {
            GrowerAt::Idle if self.birth => GrowerAt::Idle,
            GrowerAt::Idle => {
                let level = self.tags.field.announce_larger(self.tags.field.level());
                self.birth = true;
                GrowerAt::Announced(level.unwrap())
            }
            GrowerAt::Announced(level) => {
                match self.mutant {
                    Mutant::PublishFieldUnwalked => {}
                    Mutant::PublishFieldBeforeWalk => self.tags.field.publish_larger(level),
                    _ => self.tags.remark_in_flight(),
                }
                GrowerAt::Walked(level)
            }
            GrowerAt::Walked(level) => {
                match self.mutant {
                    Mutant::PublishFieldBeforeWalk => self.tags.remark_in_flight(),
                    _ => self.tags.field.publish_larger(level),
                }
                self.birth = false;
                GrowerAt::Done
            }
            GrowerAt::Done => GrowerAt::Done,
        }
    }

    /// Whether the answer of `snapshot` still held when all that is known by `floor` was.
    fn answered(
        &mut self,
        how: &str,
        query: usize,
        floor: u64,
        snapshot: u64,
    ) -> Result<(), String> {
        let changes = &self.changes[query];
        let first = changes.iter().rev().find(|&&c| c <= snapshot).copied();
        let next = changes.iter().find(|&&c| c > snapshot);
        if next.is_some_and(|&next| next <= floor) {
            return Err(format!(
                "{how} of {query} from {snapshot}, and {floor} was known"
            ));
        }
        self.known = self.known.max(first.unwrap_or(0));
        Ok(())
    }
}

const WRITERS: usize = 2;
const READERS: usize = 3;

fn run(mutant: Mutant, schedule: &[(u8, u8)]) -> Result<usize, String> {
    let mut world = World::new(mutant);
    let mut writers: Vec<_> = (0..WRITERS).map(|_| Some(WriterAt::Idle)).collect();
    let mut readers: Vec<_> = (0..READERS).map(|_| Some(ReaderAt::Idle)).collect();
    let mut grower = GrowerAt::Idle;
    for &(who, choice) in schedule {
        let who = usize::from(who) % (WRITERS + READERS + 1);
        if who < WRITERS {
            let at = writers[who].take().unwrap();
            writers[who] = Some(world.write(at, choice));
        } else if who < WRITERS + READERS {
            let reader = &mut readers[who - WRITERS];
            *reader = Some(world.read(reader.take().unwrap(), choice)?);
        } else if choice.is_multiple_of(4) || !matches!(grower, GrowerAt::Idle) {
            grower = world.grow(grower);
        }
    }
    for writer in writers.into_iter().flatten() {
        if let WriterAt::Marked(_, Marker::Writer(writer) | Marker::Learner(writer, _), _)
        | WriterAt::Committed(_, Marker::Writer(writer) | Marker::Learner(writer, _), _) = writer
        {
            writer.settle(true);
        }
    }
    Ok(world.hits)
}

/// Schedules from a seed, in which one actor often makes several moves in a row.
fn schedule(seed: u64) -> Vec<(u8, u8)> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 24
    };
    let mut schedule = Vec::new();
    while schedule.len() < 120 {
        let who = next() as u8 % (WRITERS + READERS + 1) as u8;
        for _ in 0..=next() % 5 {
            schedule.push((who, next() as u8));
        }
    }
    schedule
}

fn caught(mutant: Mutant) -> bool {
    (1..2000).any(|seed| run(mutant, &schedule(seed)).is_err())
}

#[test]
fn no_interleaving_serves_a_stale_key() {
    let mut hits = 0;
    for seed in 1..1000 {
        hits += run(Mutant::None, &schedule(seed)).unwrap();
    }
    assert!(hits > 1000, "only {hits} hits: the schedules prove nothing");
}

macro_rules! mutants {
    ($($name:ident: $mutant:ident;)*) => {
        $(#[test]
        fn $name() {
            assert!(caught(Mutant::$mutant), "{:?} went unnoticed", Mutant::$mutant);
        })*
    };
}

mutants! {
    a_class_born_without_the_marks_of_writers_is_caught: PublishClassUnwalked;
    a_field_grown_without_the_marks_of_writers_is_caught: PublishFieldUnwalked;
    an_old_field_that_is_no_longer_marked_is_caught: OldFieldUnmarked;
    marking_only_the_classes_of_the_first_write_is_caught: ClassesOfTheFirstWrite;
    guessing_an_unknown_key_is_caught: GuessWhatIsUnknown;
    forgetting_the_new_key_of_a_moved_row_is_caught: OldKeyOnly;
    forgetting_the_old_key_of_a_moved_row_is_caught: NewKeyOnly;
    a_keyed_read_that_ignores_writes_to_the_table_is_caught: KeyedReadWithoutTable;
    a_keyed_read_that_ignores_unknown_keys_is_caught: KeyedReadWithoutWild;
    a_keyed_read_that_ignores_its_key_is_caught: KeyedReadWithoutKey;
    a_whole_read_that_ignores_keyed_writes_is_caught: WholeReadWithoutAny;
    unmarking_wide_before_bumping_narrow_is_caught: UnmarkWideBeforeNarrowBump;
    learning_from_no_row_that_nothing_was_changed_is_caught: LearnFromNoRow;
    learning_the_key_of_another_row_is_caught: LearnAnotherRow;
    forgetting_what_was_not_learned_is_caught: ForgetWhatIsNotLearned;
}

// What is too narrow for chance. The actors: two writers, three readers, and who grows the field.
const FIRST: u8 = 0;
const SECOND: u8 = 1;
const READER: u8 = 2;
const OTHER: u8 = 3;
const GROWER: u8 = 5;

/// INSERT of (0, 0), then a move on which it does not abort.
const INSERT: u8 = 0;
const GO_ON: u8 = 1;
/// INSERT … RETURNING of (0, 0), which learns after its commit.
const RETURNING: u8 = 8;
/// The read of all rows.
const ALL: u8 = 6;
const DDL: u8 = 60;

/// So many moves of one actor, the first with a choice of its own.
fn moves(who: u8, choice: u8, count: usize) -> Vec<(u8, u8)> {
    let mut moves = vec![(who, choice)];
    moves.resize(count, (who, GO_ON));
    moves
}

fn tells_apart(mutant: Mutant, schedule: &[Vec<(u8, u8)>]) {
    let schedule = schedule.concat();
    assert!(run(mutant, &schedule).is_err(), "{mutant:?} went unnoticed");
    assert!(run(Mutant::None, &schedule).is_ok());
}

#[test]
fn a_class_published_before_it_has_the_marks_is_caught() {
    tells_apart(
        Mutant::PublishClassBeforeWalk,
        &[
            moves(FIRST, INSERT, 4),
            moves(READER, 0, 3),
            moves(OTHER, 0, 4),
            moves(FIRST, GO_ON, 3),
            moves(OTHER, 0, 2),
        ],
    );
}

#[test]
fn a_field_published_before_it_has_the_marks_is_caught() {
    tells_apart(
        Mutant::PublishFieldBeforeWalk,
        &[
            moves(READER, 0, 6),
            moves(FIRST, INSERT, 4),
            moves(GROWER, 0, 2),
            moves(OTHER, 0, 4),
            moves(FIRST, GO_ON, 3),
            moves(OTHER, 0, 2),
        ],
    );
}

#[test]
fn unmarking_wide_before_marking_what_was_learned_is_caught() {
    tells_apart(
        Mutant::UnmarkWideBeforeLearning,
        &[
            moves(READER, 0, 6),
            moves(FIRST, RETURNING, 6),
            moves(OTHER, ALL, 4),
            moves(READER, 0, 2),
        ],
    );
}

#[test]
fn keys_that_are_not_widened_by_ddl_are_caught() {
    tells_apart(
        Mutant::WithoutWidening,
        &[
            moves(SECOND, INSERT, 2),
            moves(FIRST, DDL, 7),
            moves(READER, 1, 6),
            moves(SECOND, GO_ON, 5),
            moves(READER, 1, 2),
        ],
    );
}

#[test]
fn keys_from_an_old_picture_are_caught() {
    tells_apart(
        Mutant::WriterIgnoresPicture,
        &[
            moves(SECOND, INSERT, 1),
            moves(FIRST, DDL, 7),
            moves(READER, 1, 6),
            moves(SECOND, GO_ON, 6),
            moves(READER, 1, 2),
        ],
    );
}
