//! What a reader does in one step: with the real stamps and flights.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use super::bench::{COLUMN, dependency};
use super::database::At;
use super::protocol::World;
use super::script::{Read, Rows};
use crate::cache::classes::Standing;
use crate::cache::{
    Answer, Entry, Fit, Flight, Follower, Leader, Moment, Picture, Stamp, StoreOptions, Terms,
};
use crate::config::Level;
use crate::sql::ShapeId;

/// One reader of a world.
#[derive(Default)]
pub struct ReaderAt {
    /// Its next move.
    pub next: usize,
    /// What was known when it asked.
    floor: At,
    picture: Option<(Picture, Option<bool>)>,
    stamp: Option<Stamp>,
    answer: Option<u8>,
    leads: Option<Leader>,
    follows: Option<(Follower, usize, bool)>,
    /// It has said that its query leaves.
    sent: bool,
    /// Its flight has landed: with what.
    landed: Option<Arc<Entry>>,
    over: bool,
}

impl ReaderAt {
    pub fn fingerprint(&self, world: &World<'_>, node: usize, into: &mut Vec<u8>) {
        let tags = &world.tags[node];
        let (follows, late) = match self.follows {
            Some((_, whom, late)) => (1 + whom as u8, late),
            None => (0, false),
        };
        if self.over {
            into.push(u8::MAX);
            return fingerprint_of(self.landed.as_ref(), world, node, into);
        }
        let old = self.picture.is_some_and(|(then, _)| then != tags.picture());
        let stamp = self.stamp.as_ref();
        into.extend([
            self.next as u8,
            self.floor as u8,
            u8::from(old),
            stamp.map_or(9, |stamp| tags.fit(stamp) as u8),
            self.answer.map_or(u8::MAX, |answer| answer),
            u8::from(self.leads.is_some()) + 2 * u8::from(self.sent),
            follows + 16 * u8::from(late),
        ]);
        fingerprint_of(self.landed.as_ref(), world, node, into);
    }
}

/// What an entry still tells: what it answers, and whether it stands.
pub fn fingerprint_of(
    entry: Option<&Arc<Entry>>,
    world: &World<'_>,
    node: usize,
    into: &mut Vec<u8>,
) {
    match entry {
        None => into.push(9),
        Some(entry) => into.extend([
            world.tags[node].fit(&entry.stamp) as u8,
            entry.answer.body[0],
        ]),
    }
}

const TERMS: Terms = Terms {
    level: Level::Strict,
    ttl: Duration::from_secs(3600),
    catalogue: 0,
};

impl World<'_> {
    /// A step that has to wait.
    pub fn can_read(&self, reader: usize, step: Read) -> bool {
        let at = &self.readers[reader];
        match step {
            Read::Snapshot => self.may_use_the_server(),
            Read::Wait | Read::WaitAndTakeAny => match at.follows {
                Some((_, whom, _)) => self.readers[whom].leads.is_none(),
                None => true,
            },
            // One birth at a time.
            Read::Announce => self.birth.is_none_or(|whose| whose == reader),
            Read::Stamp => {
                let keyed = matches!(self.asked(reader), Rows::Key(..));
                !keyed || self.is_born(reader) || self.birth.is_none_or(|whose| whose == reader)
            }
            _ => true,
        }
    }

    fn asked(&self, reader: usize) -> Rows {
        self.case.queries[self.case.readers[reader].query]
    }

    pub fn is_over(&self, reader: usize) -> bool {
        let at = &self.readers[reader];
        at.over || at.next >= self.case.readers[reader].script.len()
    }

    /// # Errors
    /// What the client was told is wrong.
    pub fn read(&mut self, reader: usize, step: Read) -> Result<(), String> {
        if self.readers[reader].over {
            return Ok(());
        }
        let mut at = std::mem::take(&mut self.readers[reader]);
        let verdict = self.read_as(reader, &mut at, step);
        self.readers[reader] = at;
        verdict
    }

    fn read_as(&mut self, reader: usize, at: &mut ReaderAt, step: Read) -> Result<(), String> {
        let (query, node) = (
            self.case.readers[reader].query,
            self.case.readers[reader].node,
        );
        let tags = Arc::clone(&self.tags[node]);
        match step {
            Read::Ask => {
                at.floor = self.database.known();
                at.picture = Some((tags.picture(), self.picture));
            }
            Read::LookUp | Read::LookUpMarksOnly => {
                let Some(entry) = self.entries[node][query].clone() else {
                    return Ok(());
                };
                let serves = match step {
                    Read::LookUp => tags.fit(&entry.stamp) == Fit::Fresh,
                    _ => self.is_unmarked(reader),
                };
                if serves {
                    at.over = true;
                    return self.serve("a hit", at, query, &entry);
                }
            }
            Read::Join => match self.bench.cache.flight(&self.bench.keys[query], &tags) {
                Flight::Lead(leader) => {
                    at.leads = Some(leader);
                    self.leader[query] = reader;
                }
                Flight::Follow(follower) => {
                    let whom = self.leader[query];
                    at.follows = Some((follower, whom, self.readers[whom].sent));
                }
                Flight::Full => {}
            },
            Read::Wait | Read::WaitAndTakeAny => {
                let Some((follower, whom, _)) = at.follows.take() else {
                    return Ok(());
                };
                let found = match step {
                    Read::Wait => self.bench.runtime.block_on(follower.wait(&tags, &TERMS)),
                    _ => self.readers[whom].landed.clone(),
                };
                if let Some(entry) = found {
                    at.over = true;
                    return self.serve("another's answer", at, query, &entry);
                }
            }
            Read::Announce | Read::Walk | Read::Publish => self.bear(reader, step),
            Read::Stamp => at.stamp = Some(self.stamp(reader, at)),
            Read::Sent => {
                at.sent = at.leads.is_some();
                if let (Some(leader), Some(stamp)) = (&at.leads, &at.stamp) {
                    leader.sent(stamp);
                }
            }
            Read::Snapshot => at.answer = Some(self.database.snapshot(query)),
            Read::Store | Read::StoreUnlessMarked | Read::StoreAlways => {
                if step != Read::Store {
                    at.stamp = Some(self.stamp(reader, at));
                }
                let stamp = at.stamp.take().expect("it was taken");
                let stands = match step {
                    Read::StoreAlways => true,
                    _ => tags.fit(&stamp) == Fit::Fresh,
                };
                let entry = self.entry(query, stamp, at.answer.expect("it has come"));
                if stands {
                    self.entries[node][query] = Some(Arc::clone(&entry));
                }
                if let Some(leader) = at.leads.take() {
                    at.landed = Some(Arc::clone(&entry));
                    leader.finish(Some(entry));
                }
            }
            Read::Answer => {
                at.over = true;
                let answer = at.answer.expect("it has come");
                return self
                    .database
                    .answer("an answer of the server", query, at.floor, answer);
            }
        }
        Ok(())
    }

    fn serve(
        &mut self,
        how: &str,
        at: &ReaderAt,
        query: usize,
        entry: &Entry,
    ) -> Result<(), String> {
        self.hits += 1;
        let answer = entry.answer.body[0];
        self.database.answer(how, query, at.floor, answer)
    }

    /// Nobody who touches what it asks for is on the way to commit.
    fn is_unmarked(&self, reader: usize) -> bool {
        let tags = &self.tags[self.case.readers[reader].node];
        let asked = dependency(self.asked(reader), self.relations);
        tags.stamp([asked], tags.picture()).is_clean()
    }

    fn stamp(&self, reader: usize, at: &ReaderAt) -> Stamp {
        let (picture, seen) = at.picture.expect("it has asked");
        let tags = &self.tags[self.case.readers[reader].node];
        match seen {
            Some(_) => tags.stamp([dependency(self.asked(reader), self.relations)], picture),
            None => Stamp::never(),
        }
    }

    fn entry(&self, query: usize, stamp: Stamp, answer: u8) -> Arc<Entry> {
        let options = StoreOptions {
            read_at: Moment::now(),
            ttl: TERMS.ttl,
            level: Level::Strict,
            catalogue: 0,
            database: Arc::clone(&self.bench.database),
            relations: SmallVec::new(),
            shape: ShapeId(0),
            labels: SmallVec::new(),
        };
        let answer = Answer {
            row_description: None,
            body: Bytes::copy_from_slice(&[answer]),
            rows: 1,
            cost: Duration::ZERO,
        };
        let key = self.bench.keys[query].bytes();
        Arc::new(Entry::new(key, stamp, answer, options))
    }

    /// Whether the class of its key is there.
    fn is_born(&self, reader: usize) -> bool {
        let relation = self.relations[self.asked(reader).relation()];
        let tags = &self.tags[self.case.readers[reader].node];
        tags.classes.is_published(relation, &[COLUMN])
    }

    /// A step in the birth of the class of its key.
    fn bear(&mut self, reader: usize, step: Read) {
        let relation = self.relations[self.asked(reader).relation()];
        let tags = &self.tags[self.case.readers[reader].node];
        if step == Read::Announce && !self.is_born(reader) {
            let standing = tags.classes.announce(relation, &[COLUMN]);
            assert_eq!(standing, Standing::Announced);
            self.birth = Some(reader);
            let script = self.case.readers[reader].script.iter().copied().flatten();
            let steps = script.filter(|step| matches!(step, Read::Walk | Read::Publish));
            self.births_left = steps.count() as u8;
        } else if self.birth == Some(reader) {
            match step {
                Read::Walk => tags.remark_in_flight(),
                _ => tags.classes.publish(relation, &[COLUMN]),
            }
            self.births_left -= 1;
            if self.births_left == 0 {
                self.birth = None;
            }
        }
    }
}
