//! The quiescent oracle: what the cache may hold is asked again after every step, through pgditto and upstream.

use std::collections::{BTreeMap, VecDeque};

use super::ask::{Ask, Client};
use super::ground::Ground;
use super::play::{Difference, same};
use super::state::State;
use super::tally::Tally;

/// Entries that are asked again after every step, each a text with its values in one state of a session.
const LIVE: usize = 16;

/// Reads that somebody has asked, and one pair of sessions for each state in which they were.
///
/// A state is what the key of an entry follows: who has logged in, the role, and all that is set. A
/// session that comes into the same state another way finds the same entries.
pub struct Oracle<'a> {
    ground: &'a Ground,
    database: &'a str,
    live: VecDeque<(State, Ask)>,
    readers: BTreeMap<State, (Client, Client)>,
}

impl<'a> Oracle<'a> {
    pub fn new(ground: &'a Ground, database: &'a str) -> Self {
        Self {
            ground,
            database,
            live: VecDeque::new(),
            readers: BTreeMap::new(),
        }
    }

    /// From now on `ask` is asked after every step in this state; the oldest of too many no more.
    pub fn watch(&mut self, state: State, ask: &Ask) {
        let known = |(of, text): &(State, Ask)| *of == state && text == ask;
        if self.live.iter().any(known) {
            return;
        }
        if self.live.len() == LIVE {
            self.live.pop_front();
        }
        self.live.push_back((state, ask.clone()));
        let live = &self.live;
        self.readers
            .retain(|state, _| live.iter().any(|(of, _)| of == state));
    }

    /// Prepares anew from here on.
    pub fn forget(&mut self) {
        for (direct, via) in self.readers.values_mut() {
            direct.forget();
            via.forget();
        }
    }

    /// Asks every live read upstream and through pgditto.
    ///
    /// # Errors
    /// The first answer that is not the truth.
    pub fn check(&mut self, at: usize, tally: &mut Tally) -> Result<(), Difference> {
        let before = self.ground.hits();
        for (state, ask) in &self.live {
            if !self.readers.contains_key(state) {
                let mut pair = (
                    Client::new(self.ground.truth(&state.user, self.database), "a"),
                    Client::new(self.ground.via(&state.user, self.database), "a"),
                );
                let entered = (state.enter(&mut pair.0), state.enter(&mut pair.1));
                if entered.0 != entered.1 {
                    return Err(Difference {
                        step: at,
                        what: format!("a session that becomes {state}"),
                        truth: vec![format!("it may: {}", entered.0)],
                        through: vec![format!("it may: {}", entered.1)],
                    });
                }
                if !entered.0 {
                    tally.without += 1;
                    continue;
                }
                self.readers.insert(state.clone(), pair);
            }
            let Some((direct, via)) = self.readers.get_mut(state) else {
                continue;
            };
            let truth = direct.ask(ask);
            // The script holds locks that make readers wait for nothing.
            if truth.as_ref().and_then(|reply| reply.error()).as_deref() == Some("55P03") {
                tally.blocked += 1;
                continue;
            }
            let through = via.ask(ask);
            same(ask, truth.as_ref(), through.as_ref(), true).map_err(|two| Difference {
                step: at,
                what: format!("read as {state}: {ask}"),
                truth: two.0,
                through: two.1,
            })?;
            tally.asked += 1;
        }
        // Nobody else has asked since: each hit was one of these answers.
        tally.checks += (self.ground.hits() - before) as u64;
        Ok(())
    }
}
