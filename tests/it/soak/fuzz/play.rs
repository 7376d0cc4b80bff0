//! Plays a script on twin databases: one through pgditto, one directly.

use std::fmt;
use std::time::Instant;

use super::ask::{Ask, Client, lines};
use super::ground::Ground;
use super::oracle::Oracle;
use super::state::State;
use super::tally::Tally;
use crate::cache::wire::Reply;

/// Sessions of a script.
pub const SESSIONS: usize = 2;
const USER: &str = "app";

/// It makes a table that comes before another of its name.
const HIDES: &str = "TABLE other.k (";

#[derive(Clone, Debug)]
pub enum Step {
    /// A session asks this.
    Run(usize, Ask),
    /// A session asks this read, which is asked again after every step in the state that the session has.
    Read(usize, Ask),
    /// From now on this is asked after every step by this user.
    Watch(&'static str, Ask),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(who, ask) => write!(f, "{who}: {ask}"),
            Self::Read(who, ask) => write!(f, "{who}, then watched: {ask}"),
            Self::Watch(user, ask) => write!(f, "watch as {user}: {ask}"),
        }
    }
}

/// Where an answer was not the truth.
#[derive(Debug)]
pub struct Difference {
    pub step: usize,
    pub what: String,
    pub truth: Vec<String>,
    pub through: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "after step {}: {}", self.step, self.what)?;
        writeln!(f, "  PostgreSQL:\n    {}", self.truth.join("\n    "))?;
        write!(f, "  pgditto:\n    {}", self.through.join("\n    "))
    }
}

/// Plays the script on a new pair of databases, until the time is over.
///
/// # Errors
/// The first answer that is not the truth.
pub fn play(
    ground: &Ground,
    script: &[Step],
    until: Option<Instant>,
    tally: &mut Tally,
) -> Result<(), Difference> {
    let (ours, twin) = ground.twins();
    let mut first = ground.via(USER, &ours);
    ground.serves(&mut first);
    let before = ground.hits();
    let result = play_on(ground, script, until, tally, &ours, &twin);
    tally.hits += ground.hits() - before;
    tally.episodes += 1;
    drop(first);
    ground.clean(&ours, &twin);
    result
}

fn play_on(
    ground: &Ground,
    script: &[Step],
    until: Option<Instant>,
    tally: &mut Tally,
    ours: &str,
    twin: &str,
) -> Result<(), Difference> {
    let mut sessions: Vec<(Client, Client)> = (0..SESSIONS)
        .map(|_| {
            (
                Client::new(ground.direct(USER, twin), "b"),
                Client::new(ground.via(USER, ours), "a"),
            )
        })
        .collect();
    for (direct, via) in &sessions {
        let told = |client: &Client| vec![format!("{:?}", client.wire.parameters)];
        if direct.wire.parameters != via.wire.parameters {
            return Err(Difference {
                step: 0,
                what: "the parameters that a new session is told".to_owned(),
                truth: told(direct),
                through: told(via),
            });
        }
    }
    let mut oracle = Oracle::new(ground, ours);
    let mut names_move = false;
    for (at, step) in script.iter().enumerate() {
        if until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
        tally.steps += 1;
        // A prepared statement keeps the table that a name meant, and the columns of a function that returns a table's
        // rows, and a copy of it does not (ADR 10).
        let says = |what: &str| matches!(step, Step::Run(_, ask) if ask.sql.contains(what));
        names_move |= says(HIDES);
        if names_move || says(" COLUMN ") {
            oracle.forget();
            sessions.iter_mut().for_each(|(direct, via)| {
                direct.forget();
                via.forget();
            });
        }
        match step {
            Step::Watch(user, ask) => oracle.watch(State::login(user), ask),
            Step::Run(who, ask) | Step::Read(who, ask) => {
                let (direct, via) = &mut sessions[*who];
                let truth = direct.ask(ask);
                let through = via.ask(ask);
                same(ask, truth.as_ref(), through.as_ref(), false).map_err(|two| Difference {
                    step: at,
                    what: format!("session {who}: {ask}"),
                    truth: two.0,
                    through: two.1,
                })?;
                let answered = truth.is_some_and(|reply| reply.error().is_none());
                // The twin may be asked, even in a transaction: its snapshot, where it lasts, is taken.
                if matches!(step, Step::Read(..))
                    && answered
                    && let Some(state) = State::of(USER, direct)
                {
                    oracle.watch(state, ask);
                }
            }
        }
        oracle.check(at, tally)?;
    }
    Ok(())
}

/// Compares two answers.
///
/// # Errors
/// Both, in lines.
pub fn same(
    ask: &Ask,
    truth: Option<&Reply>,
    through: Option<&Reply>,
    same_database: bool,
) -> Result<(), (Vec<String>, Vec<String>)> {
    let of = |reply: Option<&Reply>| lines(reply, ask.ordered, same_database);
    let failed = |reply: Option<&Reply>| reply.and_then(Reply::error);
    // Who reads a text anew waits for its tables before it looks at the values.
    let has_waited = failed(truth).is_some() && failed(through).as_deref() == Some("55P03");
    let (truth, through) = (of(truth), of(through));
    if truth == through || has_waited {
        Ok(())
    } else {
        Err((truth, through))
    }
}
