//! The whole protocol against a simulated database, in random interleavings.
//!
//! Every step of every writer and reader is one move, and a schedule says who moves
//! next. A read is legal if its answer held at some moment between its begin and
//! its end, given what had been acknowledged to a writer, or seen by a finished read,
//! before it began. Only the database is simulated, with a trigger and a view whose
//! meaning DDL changes; [`Tags`] and [`Cache`] are the real ones.
//!
//! [`Mutant`]s break one rule each; the same harness must catch every one of them, or
//! it would not prove much.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use smallvec::SmallVec;

use super::*;
use crate::catalog::{Footprint, RelationOid};
use crate::sql::ShapeId;

const RELATIONS: usize = 3;
/// Three tables and a view.
const QUERIES: usize = 4;
const VIEW: usize = 3;

fn oid(relation: usize) -> RelationOid {
    16384 + relation as u32
}

/// A rule that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    None,
    UnmarkBeforeBump,
    MarkAfterCommit,
    SettleAfterAcknowledgement,
    StampAtStore,
    ServeWithoutStamp,
    DropMarkWhenLost,
    AbortMeansNothingWhenLost,
    WithoutWidening,
    WidenAfterSettle,
    WriterIgnoresPicture,
    ReaderIgnoresPicture,
}

/// The database: which commit changed what each query answers.
#[derive(Default)]
struct Database {
    commit: u64,
    /// DDL done so far: odd means that writes to the first relation write the last as
    /// well, and that the view reads the second rather than the first.
    catalogue: u64,
    changes: [Vec<u64>; QUERIES],
}

/// What one picture of the catalogue says.
fn trigger(catalogue: u64) -> bool {
    !catalogue.is_multiple_of(2)
}

fn reads(catalogue: u64, query: usize) -> usize {
    match query {
        VIEW => usize::from(trigger(catalogue)),
        table => table,
    }
}

fn writes(catalogue: u64, relation: usize) -> SmallVec<[usize; 4]> {
    let mut all = SmallVec::from_slice(&[relation]);
    if relation == 0 && trigger(catalogue) {
        all.push(2);
    }
    all
}

impl Database {
    fn commit(&mut self, relations: &[usize], ddl: bool) -> u64 {
        self.commit += 1;
        if ddl {
            self.catalogue += 1;
            self.changes[VIEW].push(self.commit);
        }
        for query in 0..QUERIES {
            if relations.contains(&reads(self.catalogue, query)) {
                self.changes[query].push(self.commit);
            }
        }
        self.commit
    }

    /// The first and last commit at which `query` answered as it did at `snapshot`.
    fn held(&self, query: usize, snapshot: u64) -> (u64, u64) {
        let changes = &self.changes[query];
        let first = changes.iter().rev().find(|&&c| c <= snapshot);
        let next = changes.iter().find(|&&c| c > snapshot);
        (
            first.copied().unwrap_or(0),
            next.map_or(u64::MAX, |next| next - 1),
        )
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Commits,
    Aborts,
    /// The connection is lost at COMMIT, which happens all the same.
    LostAndCommits,
    LostAndAborts,
    Ddl,
}

enum WriterAt {
    Idle,
    Judged {
        fate: Fate,
        relation: usize,
        picture: Picture,
        footprint: Footprint,
    },
    Sent {
        fate: Fate,
        relation: usize,
        writer: Writer,
    },
    Executed {
        fate: Fate,
        wrote: SmallVec<[usize; 4]>,
        writer: Writer,
    },
    Marked {
        fate: Fate,
        wrote: SmallVec<[usize; 4]>,
        writer: Writer,
    },
    Lost {
        happens: bool,
        wrote: SmallVec<[usize; 4]>,
        kept: Option<KeptMark>,
    },
    Gone {
        kept: Option<KeptMark>,
    },
    Committed {
        commit: u64,
        fate: Fate,
        writer: Writer,
    },
    Half {
        commit: u64,
        footprint: Footprint,
    },
    Settled {
        commit: u64,
        late: Option<Writer>,
        reload: bool,
    },
    Reload {
        late: Option<Writer>,
        reload: bool,
    },
}

enum ReaderAt {
    Idle,
    Begun {
        query: usize,
        floor: u64,
    },
    Judged {
        query: usize,
        floor: u64,
        picture: Picture,
        relation: Option<usize>,
    },
    Stamped {
        query: usize,
        floor: u64,
        picture: Picture,
        relation: Option<usize>,
        stamp: Stamp,
    },
    Read {
        query: usize,
        floor: u64,
        picture: Picture,
        relation: Option<usize>,
        stamp: Stamp,
        snapshot: u64,
    },
}

struct World {
    mutant: Mutant,
    tags: Arc<Tags>,
    cache: Arc<Cache>,
    database: Database,
    /// The picture of the catalogue that sessions have; `None` while it is reloaded.
    catalogue: Option<u64>,
    /// DDL that is about to commit or has not settled: until then there is no picture.
    changing: usize,
    /// The newest commit that somebody outside knows of.
    known: u64,
    clock: u64,
    hits: usize,
    /// The second tier: what was stored, as bytes.
    second: [Option<Bytes>; QUERIES],
}

type Verdict = Result<(), String>;

impl World {
    fn new(mutant: Mutant) -> Self {
        Self {
            mutant,
            tags: Tags::new(1 << 20).unwrap(),
            cache: Cache::new(&CacheConfig::default(), &RedisConfig::default()).unwrap(),
            database: Database::default(),
            catalogue: Some(0),
            changing: 0,
            known: 0,
            clock: 1,
            hits: 0,
            second: Default::default(),
        }
    }

    fn now(&mut self) -> Moment {
        self.clock += 1;
        Moment::from_nanos(self.clock)
    }

    fn key(&self, query: usize) -> Key {
        let mut key = KeyBuilder::new("model");
        key.field(&[query as u8]);
        key.finish(self.cache.secret())
    }

    fn footprint(catalogue: Option<u64>, relation: usize) -> Footprint {
        let mut footprint = Footprint::nothing();
        let Some(catalogue) = catalogue else {
            return Footprint::everything();
        };
        for relation in writes(catalogue, relation) {
            footprint.merge(&Footprint {
                relations: SmallVec::from_slice(&[oid(relation)]),
                ..Footprint::default()
            });
        }
        footprint
    }

    fn write(&mut self, at: WriterAt, choice: u8) -> WriterAt {
        match at {
            WriterAt::Idle => {
                let picture = self.tags.picture();
                let relation = usize::from(choice) % RELATIONS;
                let fate = match choice / 4 % 8 {
                    0 => Fate::Aborts,
                    1 => Fate::LostAndCommits,
                    2 => Fate::LostAndAborts,
                    3 | 4 => Fate::Ddl,
                    _ => Fate::Commits,
                };
                let footprint = match fate {
                    Fate::Ddl => Footprint::catalogue(),
                    _ => Self::footprint(self.catalogue, relation),
                };
                WriterAt::Judged {
                    fate,
                    relation,
                    picture,
                    footprint,
                }
            }
            WriterAt::Judged {
                fate,
                relation,
                picture,
                footprint,
            } => {
                let mut writer = self.tags.writer();
                let picture = match self.mutant {
                    Mutant::WriterIgnoresPicture => self.tags.picture(),
                    _ => picture,
                };
                writer.touch(&footprint, picture);
                WriterAt::Sent {
                    fate,
                    relation,
                    writer,
                }
            }
            WriterAt::Sent {
                fate,
                relation,
                writer,
            } => {
                // It may have waited behind DDL: the trigger counts that is there now.
                let wrote = match fate {
                    Fate::Ddl => SmallVec::new(),
                    _ => writes(self.database.catalogue, relation),
                };
                WriterAt::Executed {
                    fate,
                    wrote,
                    writer,
                }
            }
            WriterAt::Executed {
                fate,
                wrote,
                mut writer,
            } => {
                if self.mutant != Mutant::MarkAfterCommit {
                    writer.mark();
                }
                if fate == Fate::Ddl {
                    self.catalogue = None;
                    self.changing += 1;
                }
                WriterAt::Marked {
                    fate,
                    wrote,
                    writer,
                }
            }
            WriterAt::Marked {
                fate,
                wrote,
                mut writer,
            } => match fate {
                Fate::Aborts => {
                    writer.settle(false);
                    WriterAt::Idle
                }
                Fate::LostAndCommits | Fate::LostAndAborts => {
                    let kept = match self.mutant {
                        Mutant::DropMarkWhenLost => {
                            writer.settle(true);
                            None
                        }
                        _ => Some(writer.keep()),
                    };
                    WriterAt::Lost {
                        happens: fate == Fate::LostAndCommits,
                        wrote,
                        kept,
                    }
                }
                Fate::Commits | Fate::Ddl => {
                    let commit = self.database.commit(&wrote, fate == Fate::Ddl);
                    if self.mutant == Mutant::MarkAfterCommit {
                        return WriterAt::Committed {
                            commit,
                            fate,
                            writer,
                        };
                    }
                    writer.mark();
                    WriterAt::Committed {
                        commit,
                        fate,
                        writer,
                    }
                }
            },
            WriterAt::Lost {
                happens,
                wrote,
                kept,
            } => {
                if happens {
                    self.database.commit(&wrote, false);
                }
                WriterAt::Gone { kept }
            }
            WriterAt::Gone { kept } => {
                if let Some(kept) = kept {
                    kept.settle(self.mutant != Mutant::AbortMeansNothingWhenLost);
                }
                WriterAt::Idle
            }
            WriterAt::Committed {
                commit,
                fate,
                mut writer,
            } => {
                writer.mark();
                let ddl = fate == Fate::Ddl;
                let widen = ddl && self.mutant != Mutant::WithoutWidening;
                if widen && self.mutant != Mutant::WidenAfterSettle {
                    self.tags.widen_in_flight();
                }
                match self.mutant {
                    Mutant::UnmarkBeforeBump => {
                        let footprint = writer.touched();
                        writer.settle(false);
                        return WriterAt::Half { commit, footprint };
                    }
                    Mutant::SettleAfterAcknowledgement => {
                        writer.release(false);
                        return WriterAt::Settled {
                            commit,
                            late: Some(writer),
                            reload: ddl,
                        };
                    }
                    _ => writer.settle(true),
                }
                WriterAt::Settled {
                    commit,
                    late: None,
                    reload: ddl,
                }
            }
            WriterAt::Half { commit, footprint } => {
                self.tags.mark(&footprint, self.tags.picture()).settle(true);
                WriterAt::Settled {
                    commit,
                    late: None,
                    reload: footprint.catalogue,
                }
            }
            WriterAt::Settled {
                commit,
                late,
                reload,
            } => {
                self.known = self.known.max(commit);
                WriterAt::Reload { late, reload }
            }
            WriterAt::Reload { late, reload } => {
                if let Some(mut late) = late {
                    late.mark();
                    late.settle(true);
                }
                if reload {
                    if self.mutant == Mutant::WidenAfterSettle {
                        self.tags.widen_in_flight();
                    }
                    self.changing -= 1;
                    if self.changing == 0 {
                        self.catalogue = Some(self.database.catalogue);
                    }
                }
                WriterAt::Idle
            }
        }
    }

    fn read(&mut self, at: ReaderAt, choice: u8) -> Result<ReaderAt, String> {
        Ok(match at {
            ReaderAt::Idle => ReaderAt::Begun {
                query: usize::from(choice) % QUERIES,
                floor: self.known,
            },
            ReaderAt::Begun { query, floor } => ReaderAt::Judged {
                query,
                floor,
                picture: self.tags.picture(),
                relation: self.catalogue.map(|catalogue| reads(catalogue, query)),
            },
            ReaderAt::Judged {
                query,
                floor,
                picture,
                relation,
            } => {
                let terms = Terms {
                    level: Level::Strict,
                    ttl: Duration::from_secs(60),
                    catalogue: 0,
                };
                let now = self.now();
                let key = self.key(query);
                let found = match self.mutant {
                    Mutant::ServeWithoutStamp => self.cache.memory.find(&key),
                    _ if choice.is_multiple_of(4) => self.find_second(&key, query, &terms),
                    _ => match self.cache.lookup(&key, &self.tags, &terms, now) {
                        Lookup::Hit(entry) => Some(entry),
                        Lookup::Miss(_) => None,
                    },
                };
                if let Some(entry) = found {
                    self.hits += 1;
                    let snapshot = u64::from_le_bytes(entry.answer.body[..].try_into().unwrap());
                    self.answered("hit", query, floor, snapshot)?;
                    return Ok(ReaderAt::Idle);
                }
                let stamp = self.stamp(picture, relation);
                ReaderAt::Stamped {
                    query,
                    floor,
                    picture,
                    relation,
                    stamp,
                }
            }
            ReaderAt::Stamped {
                query,
                floor,
                picture,
                relation,
                stamp,
            } => ReaderAt::Read {
                query,
                floor,
                picture,
                relation,
                stamp,
                snapshot: self.database.commit,
            },
            ReaderAt::Read {
                query,
                floor,
                picture,
                relation,
                stamp,
                snapshot,
            } => {
                let stamp = match self.mutant {
                    Mutant::StampAtStore => self.stamp(picture, relation),
                    _ => stamp,
                };
                if relation.is_some() {
                    let options = StoreOptions {
                        read_at: self.now(),
                        ttl: Duration::from_secs(60),
                        level: Level::Strict,
                        catalogue: 0,
                        database: "model".into(),
                        relations: SmallVec::new(),
                        shape: ShapeId(query as u128),
                        labels: SmallVec::new(),
                    };
                    let answer = Answer {
                        row_description: None,
                        body: Bytes::copy_from_slice(&snapshot.to_le_bytes()),
                        rows: 1,
                        cost: Duration::ZERO,
                    };
                    let key = self.key(query);
                    let entry = self.cache.store(&key, stamp, answer, options, &self.tags);
                    if entry.resident.is_some() {
                        let value = redis::encode(&entry, self.tags.base(), self.now(), 0);
                        self.second[query] = Some(value.into());
                    }
                }
                self.answered("read", query, floor, snapshot)?;
                ReaderAt::Idle
            }
        })
    }

    /// As [`Cache::lookup_second`] does, between two moves of the others.
    fn find_second(&self, key: &Key, query: usize, terms: &Terms) -> Option<Arc<Entry>> {
        self.cache.memory.forget(key);
        let value = redis::decode(self.second[query].as_ref()?, key.bytes())?;
        let generation = self.tags.generation();
        let entry = self
            .cache
            .revive(key, &self.tags, generation, value, &"model".into())?;
        let now = Moment::from_nanos(self.clock);
        self.cache.judge(&entry, &self.tags, terms, now).ok()?;
        Some(self.cache.keep(key, entry))
    }

    fn stamp(&self, picture: Picture, relation: Option<usize>) -> Stamp {
        let picture = match self.mutant {
            Mutant::ReaderIgnoresPicture => self.tags.picture(),
            _ => picture,
        };
        match relation {
            Some(relation) => self.tags.stamp_whole(&[oid(relation)], picture),
            None => Stamp::never(),
        }
    }

    fn answered(&mut self, how: &str, query: usize, floor: u64, snapshot: u64) -> Verdict {
        let (first, last) = self.database.held(query, snapshot);
        if last < floor {
            return Err(format!(
                "{how} of query {query}: the answer of commit {first} held until {last}, and {floor} was known"
            ));
        }
        self.known = self.known.max(first);
        Ok(())
    }
}

const WRITERS: usize = 3;
const READERS: usize = 4;

/// Runs one schedule: a byte pair says who moves and what he chooses. Gives the hits.
fn run(mutant: Mutant, schedule: &[(u8, u8)]) -> Result<usize, String> {
    let mut world = World::new(mutant);
    let mut writers: Vec<_> = (0..WRITERS).map(|_| Some(WriterAt::Idle)).collect();
    let mut readers: Vec<_> = (0..READERS).map(|_| Some(ReaderAt::Idle)).collect();
    for &(who, choice) in schedule {
        let who = usize::from(who) % (WRITERS + READERS + 1);
        if who < WRITERS {
            let at = writers[who].take().unwrap();
            writers[who] = Some(world.write(at, choice));
        } else if who < WRITERS + READERS {
            let reader = &mut readers[who - WRITERS];
            *reader = Some(world.read(reader.take().unwrap(), choice)?);
        } else if choice == 0 {
            world.tags.empty();
        }
    }
    Ok(world.hits)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn no_interleaving_serves_a_stale_answer(
        schedule in proptest::collection::vec(any::<(u8, u8)>(), 0..300)
    ) {
        let verdict = run(Mutant::None, &schedule);
        prop_assert!(verdict.is_ok(), "{verdict:?}");
    }
}

/// Schedules from a seed, in which one actor often makes several moves in a row: rare
/// interleavings of long pauses, which is where the races are.
fn schedule(seed: u64) -> Vec<(u8, u8)> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 24
    };
    let mut schedule = Vec::new();
    while schedule.len() < 300 {
        let who = next() as u8 % (WRITERS + READERS) as u8;
        for _ in 0..=next() % 6 {
            schedule.push((who, next() as u8));
        }
    }
    schedule
}

fn caught(mutant: Mutant) -> bool {
    (1..4000).any(|seed| run(mutant, &schedule(seed)).is_err())
}

#[test]
fn the_protocol_stands_in_the_schedules_that_catch_the_mutants() {
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
    unmarking_before_the_bump_is_caught: UnmarkBeforeBump;
    marking_after_the_commit_is_caught: MarkAfterCommit;
    settling_after_the_acknowledgement_is_caught: SettleAfterAcknowledgement;
    stamping_when_storing_is_caught: StampAtStore;
    serving_without_the_stamp_is_caught: ServeWithoutStamp;
    dropping_the_mark_of_a_lost_connection_is_caught: DropMarkWhenLost;
    taking_a_lost_commit_for_an_abort_is_caught: AbortMeansNothingWhenLost;
    not_widening_writers_in_flight_is_caught: WithoutWidening;
    a_footprint_from_an_old_picture_is_caught: WriterIgnoresPicture;
    dependencies_from_an_old_picture_are_caught: ReaderIgnoresPicture;
}

/// Too narrow for chance: a write waits behind DDL that gives its table a trigger; a reader
/// has looked at the old catalogue, and fills once the DDL has settled.
#[test]
fn widening_after_the_catalogue_has_settled_is_caught() {
    const DDL: (u8, u8) = (0, 12);
    const WRITE: (u8, u8) = (1, 24);
    const FILL: (u8, u8) = (3, 2);
    const HIT: (u8, u8) = (4, 2);
    let mut schedule = vec![WRITE; 2];
    schedule.extend([FILL; 2]);
    schedule.extend([DDL; 6]);
    schedule.extend([FILL; 3]);
    schedule.extend([WRITE; 5]);
    schedule.extend([HIT; 3]);
    assert!(run(Mutant::WidenAfterSettle, &schedule).is_err());
    assert!(run(Mutant::None, &schedule).is_ok());
}
