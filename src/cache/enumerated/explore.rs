//! Walks every interleaving of a small world, depth first, and each state once.
//!
//! A world may hold real counters, which cannot be copied: a state is reached again by making its moves
//! from the beginning. Only one world is there at a time.

use std::collections::HashSet;
use std::fmt::Debug;

/// A small case in which some actors make their moves one at a time.
pub trait World {
    type Move: Copy + Debug;

    /// Every move that somebody can make now.
    fn moves(&self) -> Vec<Self::Move>;

    /// # Errors
    /// What a client was told that PostgreSQL could not have told it.
    fn make(&mut self, step: Self::Move) -> Result<(), String>;

    /// All that tells what can still happen: two states with equal ones are the same.
    fn fingerprint(&self) -> Vec<u8>;

    /// Answers served from memory so far.
    fn hits(&self) -> usize;
}

/// The moves that led to a wrong answer, and the answer.
pub struct CounterExample {
    moves: Vec<String>,
    wrong: String,
}

pub struct Explored {
    states: usize,
    hits: usize,
    broken: Option<CounterExample>,
}

/// More states than this are not a small case any more.
const STATES_MAX: usize = 2_000_000;

pub fn explore<W: World>(begin: impl Fn() -> W) -> Explored {
    let mut seen = HashSet::new();
    let mut hits = 0;
    let mut todo: Vec<Vec<W::Move>> = vec![Vec::new()];
    while let Some(mut path) = todo.pop() {
        let mut world = begin();
        for &step in &path {
            if world.make(step).is_err() {
                drop(world);
                let broken = Some(shortest(&begin, path));
                return Explored {
                    states: seen.len(),
                    hits,
                    broken,
                };
            }
        }
        hits = hits.max(world.hits());
        // On from here without beginning again, as long as there is something new.
        while seen.insert(world.fingerprint()) {
            assert!(seen.len() < STATES_MAX, "the case is too large");
            let mut moves = world.moves();
            let Some(last) = moves.pop() else { break };
            todo.extend(moves.into_iter().map(|step| {
                let mut path = path.clone();
                path.push(step);
                path
            }));
            path.push(last);
            if world.make(last).is_err() {
                // It is made again, and found, from the beginning.
                todo.push(path);
                break;
            }
            hits = hits.max(world.hits());
        }
    }
    Explored {
        states: seen.len(),
        hits,
        broken: None,
    }
}

/// Leaves out the moves that a wrong answer does not need.
fn shortest<W: World>(begin: impl Fn() -> W, mut path: Vec<W::Move>) -> CounterExample {
    let wrong = |path: &[W::Move]| {
        let mut world = begin();
        for &step in path {
            let can = world.moves().iter().any(|can| same(can, &step));
            if !can {
                return None;
            }
            if let Err(wrong) = world.make(step) {
                return Some(wrong);
            }
        }
        None
    };
    let mut at = path.len();
    while at > 0 {
        at -= 1;
        let mut shorter = path.clone();
        shorter.remove(at);
        if wrong(&shorter).is_some() {
            path = shorter;
            at = path.len();
        }
    }
    CounterExample {
        wrong: wrong(&path).expect("the path that was found"),
        moves: path.iter().map(|step| format!("{step:?}")).collect(),
    }
}

fn same(a: &impl Debug, b: &impl Debug) -> bool {
    format!("{a:?}") == format!("{b:?}")
}

/// No interleaving gives a wrong answer, and some give one from memory.
#[track_caller]
pub fn safe<W: World>(begin: impl Fn() -> W) {
    let explored = explore(begin);
    println!("safe: {} states", explored.states);
    if let Some(found) = explored.broken {
        panic!("{}\n  {}", found.wrong, found.moves.join("\n  "));
    }
    assert!(
        explored.hits > 0,
        "nothing is ever served: this proves nothing"
    );
}

/// Some interleaving gives a wrong answer: it is printed.
#[track_caller]
pub fn broken<W: World>(begin: impl Fn() -> W) {
    let explored = explore(begin);
    let found = explored.broken.expect("a broken rule went unnoticed");
    println!("{}\n  {}", found.wrong, found.moves.join("\n  "));
}
