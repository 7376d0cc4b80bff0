//! The simulated database: its states one after the other, and what is known of them.

/// As many queries as one case may ask.
pub const QUERIES_MAX: usize = 4;

/// What each query answers: a bit for each commit that it can see.
type State = [u8; QUERIES_MAX];

#[derive(Debug, Clone)]
pub struct Database {
    /// Every state that it has been in, the newest last. One commit (or a crash that loses some) makes one state.
    states: Vec<State>,
    /// The newest state that somebody must know of: its commit was acknowledged, or an answer has shown it.
    known: usize,
}

/// One of its states.
pub type At = usize;

impl Database {
    pub fn new() -> Self {
        Self {
            states: vec![State::default()],
            known: 0,
        }
    }

    /// `bit` is this commit's alone.
    pub fn commit(&mut self, bit: u8, is_seen_by: impl Fn(usize) -> bool) -> At {
        let mut state = *self.newest();
        for (query, answer) in state.iter_mut().enumerate() {
            if is_seen_by(query) {
                *answer |= 1 << bit;
            }
        }
        self.states.push(state);
        self.states.len() - 1
    }

    /// The server crashes and comes back without what it had not flushed.
    pub fn lose_all(&mut self) {
        self.states.push(State::default());
    }

    fn newest(&self) -> &State {
        self.states.last().expect("the first state stays")
    }

    /// What a snapshot sees now.
    pub fn snapshot(&self, query: usize) -> u8 {
        self.newest()[query]
    }

    /// Somebody is told of this commit.
    pub fn acknowledge(&mut self, commit: At) {
        self.known = self.known.max(commit);
    }

    /// Where a question that is asked now must not be answered from before.
    pub fn known(&self) -> At {
        self.known
    }

    /// A client gets `answer` to a question that was asked when `floor` was known.
    ///
    /// Legal if the database would have answered so in some state from `floor` to now. So one's own
    /// writes are seen (they were acknowledged), and reads never go back (what any answer has shown is known),
    /// across queries and connections. The earliest such state is taken: it obliges later answers least.
    ///
    /// # Errors
    /// There is no such state.
    pub fn answer(&mut self, how: &str, query: usize, floor: At, answer: u8) -> Result<(), String> {
        let legal = (floor..self.states.len()).find(|&at| self.states[at][query] == answer);
        match legal {
            Some(at) => self.known = self.known.max(at),
            None => {
                return Err(format!(
                    "{how} of query {query} gives {answer:02b}, but from state {floor} on, which was known, it is {:?}",
                    self.states[floor..]
                        .iter()
                        .map(|state| state[query])
                        .collect::<Vec<_>>()
                ));
            }
        }
        Ok(())
    }

    pub fn fingerprint(&self, into: &mut Vec<u8>) {
        into.push(self.known as u8);
        into.push(self.states.len() as u8);
        into.extend(self.states.iter().flatten());
    }
}
