//! The keys of a write, learned from the rows that it returns while they pass to the client.

use smallvec::{SmallVec, smallvec};

use super::Session;
use super::decide::Meaning;
use super::exchange::Exchange;
use crate::cache::Learnable;
use crate::catalog::{Effects, KEYS_MAX, Learned, Returned, Values};
use crate::metrics::{Asker, Learning};
use crate::wire::backend;

/// Looks at the rows of one statement.
#[derive(Debug)]
pub struct Learner {
    which: Learnable,
    returned: Returned,
    asker: Asker,
    /// As in Bind: none, one for all, or one each.
    formats: SmallVec<[i16; 4]>,
    utf8: bool,
    rows: u64,
    /// For each of the columns what it was in any row; `None` where that is not known.
    values: SmallVec<[Option<Values>; 2]>,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Looking,
    Complete,
    Spoilt,
}

impl Learner {
    /// The body of a DataRow.
    pub fn row(&mut self, body: &[u8]) {
        if self.state != State::Looking {
            return;
        }
        let row = match backend::data_row(body) {
            Ok(row) if row.len() == self.returned.width => row,
            _ => return self.spoil(),
        };
        self.rows += 1;
        for (column, values) in self.returned.columns.iter().zip(&mut self.values) {
            let format = match self.formats.as_slice() {
                [] => Some(0),
                [all] => Some(*all),
                each => each.get(column.place).copied(),
            };
            let value = row.get(column.place).copied().flatten();
            let hash = value.zip(format);
            let hash = hash.and_then(|(value, format)| column.hash(value, format, self.utf8));
            match (values.as_mut(), hash) {
                (Some(known), Some(hash)) if known.contains(&hash) => {}
                (Some(known), Some(hash)) if known.len() < KEYS_MAX => known.push(hash),
                _ => *values = None,
            }
        }
        if self.values.iter().all(Option::is_none) {
            self.spoil();
        }
    }

    /// CommandComplete came with this tag. All rows must have been seen, and once.
    pub fn complete(&mut self, tag: &[u8]) {
        let count = std::str::from_utf8(tag).ok().and_then(|tag| {
            let (command, count) = tag.rsplit_once(' ')?;
            let change = matches!(command, "INSERT 0" | "UPDATE" | "DELETE");
            change.then(|| count.parse::<u64>().ok())?
        });
        let whole = self.state == State::Looking && count == Some(self.rows);
        self.state = if whole {
            State::Complete
        } else {
            State::Spoilt
        };
    }

    /// Not all of its rows are seen.
    pub fn spoil(&mut self) {
        self.state = State::Spoilt;
    }

    fn finish(self) -> (Learnable, Option<Learned>) {
        let learned = match self.state {
            State::Looking | State::Spoilt => None,
            State::Complete if self.rows == 0 => Some(Learned::Nothing),
            State::Complete => {
                let columns = self.returned.columns.iter().zip(self.values);
                let known = columns.filter_map(|(column, values)| Some((column.number, values?)));
                Some(Learned::Values(known.collect()))
            }
        };
        (self.which, learned)
    }
}

impl Session {
    /// [`Session::touch`] of a statement that is about to be sent, whose rows come in `formats`. If they may tell what it
    /// changes, its place among the learners of the unit.
    pub(super) fn touch_and_learn(
        &mut self,
        meaning: &Meaning,
        formats: &[i16],
        asker: Asker,
        exchange: &mut Exchange,
    ) -> Option<usize> {
        let (which, returned) = self.touch(meaning)?;
        let settings = self.effects.union(meaning.effects);
        let columns = returned.columns.len();
        exchange.learners.push(Learner {
            which,
            returned,
            asker,
            formats: SmallVec::from_slice(formats),
            utf8: self.is_utf8() && !settings.intersects(Effects::SETTINGS),
            rows: 0,
            values: smallvec![Some(Values::new()); columns],
            state: State::Looking,
        });
        Some(exchange.learners.len() - 1)
    }

    /// Narrows what the unit has touched to the rows that came back, before it is settled.
    pub(super) fn learn(&mut self, exchange: &mut Exchange) {
        for learner in std::mem::take(&mut exchange.learners) {
            let asker = learner.asker;
            let (which, learned) = learner.finish();
            let known = match (&mut self.writer, learned) {
                (Some(writer), Some(learned)) => writer.learn(which, &learned),
                _ => false,
            };
            let result = match known {
                true => Learning::Known,
                false => Learning::Unknown,
            };
            self.metrics.learned(result, asker);
        }
    }
}
