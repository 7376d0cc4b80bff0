//! What a writer does in one step: with the real [`Writer`].

use super::bench::{footprint, regions};
use super::database::At;
use super::protocol::World;
use super::script::{Do, Happened, Rows};
use crate::cache::{KeptMark, Learnable, Picture, Writer};
use crate::catalog::{Footprint, Learned};

/// One writer of a world.
pub struct WriterAt {
    /// Its next move.
    pub next: usize,
    /// At its own node, and at the other.
    local: Option<Writer>,
    remote: Option<Writer>,
    kept: Option<KeptMark>,
    /// The picture, and whether it shows the trigger; `None` when there is none.
    judged: Option<(Picture, Option<bool>)>,
    learnable: Option<Learnable>,
    ran_with_trigger: bool,
    commit: Option<At>,
    commits: u8,
    /// The server that it has spoken to first.
    server: Option<u8>,
}

impl WriterAt {
    pub fn new() -> Self {
        Self {
            next: 0,
            local: None,
            remote: None,
            kept: None,
            judged: None,
            learnable: None,
            ran_with_trigger: false,
            commit: None,
            commits: 0,
            server: None,
        }
    }

    pub fn fingerprint(&self, world: &World<'_>, into: &mut Vec<u8>) {
        let picture = world.tags[0].picture();
        let judged = match self.judged {
            None => 0,
            Some((then, trigger)) => {
                1 + u8::from(then == picture)
                    + 2 * trigger.map_or(0, |trigger| 1 + u8::from(trigger))
            }
        };
        let local = self.local.as_ref();
        into.extend([
            self.next as u8,
            judged,
            u8::from(self.ran_with_trigger),
            self.commit.map_or(0, |at| at as u8),
            self.server.map_or(0, |server| 1 + server),
            local.map_or(0, |local| 1 + local.slots().len() as u8),
            u8::from(local.is_some_and(Writer::touches_everything)),
        ]);
    }

    /// Nobody holds a mark when the next world begins.
    pub fn end(&mut self) {
        for writer in [self.local.take(), self.remote.take()]
            .into_iter()
            .flatten()
        {
            writer.settle(false);
        }
        if let Some(kept) = self.kept.take() {
            kept.settle(false);
        }
    }
}

impl World<'_> {
    /// A step that has to wait.
    pub fn can_write(&self, writer: usize, step: Do) -> bool {
        match step {
            // The backend that was to commit is gone with its server.
            Do::Execute | Do::Commit | Do::CreateTrigger => {
                let server = self.writers[writer].server;
                server.unwrap_or(self.server) == self.server && self.may_use_the_server()
            }
            _ => true,
        }
    }

    pub fn write(&mut self, writer: usize, step: Do) {
        let mut at = std::mem::replace(&mut self.writers[writer], WriterAt::new());
        at.server.get_or_insert(self.server);
        self.write_as(writer, &mut at, step);
        self.writers[writer] = at;
    }

    fn write_as(&mut self, writer: usize, at: &mut WriterAt, step: Do) {
        let (local, remote) = (&self.tags[0], self.tags.last().expect("a node"));
        match step {
            Do::Judge => at.judged = Some((local.picture(), self.picture)),
            Do::Touch(rows) => {
                let (picture, touched) = self.judged(at, rows);
                let with = at.local.get_or_insert_with(|| local.writer());
                with.touch(&touched, picture);
            }
            Do::TouchCatalogue => {
                let with = at.local.get_or_insert_with(|| local.writer());
                with.touch(&Footprint::catalogue(), local.picture());
            }
            Do::TouchLearnable(rows) => {
                let picture = local.picture();
                let with = at.local.get_or_insert_with(|| local.writer());
                at.learnable = with.touch_learnable(regions(rows, self.relations), picture);
            }
            Do::Learn(key) => {
                let values = smallvec::smallvec![(super::bench::COLUMN, smallvec::smallvec![key])];
                if let (Some(which), Some(with)) = (at.learnable.take(), &mut at.local) {
                    with.learn(which, &Learned::Values(values));
                }
            }
            Do::Mark => at.local.as_mut().expect("it has touched").mark(),
            Do::MarkRemote => {
                let touched = at.local.as_ref().expect("it has touched").touched();
                at.remote = Some(remote.mark(&touched, remote.picture()));
            }
            Do::Execute => at.ran_with_trigger = self.trigger,
            Do::Commit | Do::CreateTrigger => self.commit(writer, at, step),
            Do::Settle(happened) => {
                at.local
                    .take()
                    .expect("it has touched")
                    .settle(happened == Happened::Yes);
            }
            Do::SettleRemote => at.remote.take().expect("it is marked").settle(true),
            Do::Release(happened) => {
                let with = at.local.as_mut().expect("it has touched");
                with.release(happened == Happened::Yes);
            }
            Do::Keep => at.kept = at.local.take().map(Writer::keep),
            Do::SettleKept(happened) => {
                at.kept
                    .take()
                    .expect("it was kept")
                    .settle(happened == Happened::Yes);
            }
            Do::Acknowledge => {
                if let Some(commit) = at.commit {
                    self.database.acknowledge(commit);
                }
            }
            Do::DropPicture => self.picture = None,
            Do::Widen => local.widen_in_flight(),
            Do::LoadPicture => self.picture = Some(self.trigger),
            Do::Crash => {
                self.database.lose_all();
                self.server += 1;
            }
            Do::Void => {
                local.empty();
                self.proved = self.server;
            }
            Do::Bump(rows) | Do::BumpRemote(rows) => {
                let touched = footprint(rows, self.relations);
                let tags = if step == Do::Bump(rows) {
                    local
                } else {
                    remote
                };
                tags.mark(&touched, tags.picture()).settle(true);
            }
            Do::Redate => {
                at.judged = at.judged.map(|(_, trigger)| (local.picture(), trigger));
            }
            Do::UnmarkLoose => at.local.as_mut().expect("it has touched").unmark_loose(),
        }
    }

    /// What a statement touches, by the picture that it was judged from.
    fn judged(&self, at: &WriterAt, rows: Rows) -> (Picture, Footprint) {
        let now = (self.tags[0].picture(), Some(false));
        let (picture, trigger) = at.judged.unwrap_or(now);
        let mut touched = match trigger {
            Some(_) => footprint(rows, self.relations),
            None => Footprint::everything(),
        };
        if trigger == Some(true) {
            touched.merge(&footprint(
                Rows::All(self.case.trigger_writes),
                self.relations,
            ));
        }
        (picture, touched)
    }

    fn commit(&mut self, writer: usize, at: &mut WriterAt, step: Do) {
        self.trigger |= step == Do::CreateTrigger;
        let mut written = self.case.writers[writer].writes.to_vec();
        if at.ran_with_trigger {
            written.push(Rows::All(self.case.trigger_writes));
        }
        // Each commit has a bit of its own, whoever came first.
        let bit = (writer * 2) as u8 + at.commits;
        at.commits += 1;
        let queries = self.case.queries;
        let seen = |query: usize| {
            let asked = queries.get(query);
            asked.is_some_and(|asked| written.iter().any(|&written| asked.sees(written)))
        };
        at.commit = Some(self.database.commit(bit, seen));
    }
}
