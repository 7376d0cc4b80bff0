//! Until when a word of the server's holds: two processes beside one server, and a clock.
//!
//! A process enters itself at the server, then asks, and asks again, whether it is alone. While it knows that it is, it serves
//! from memory, until one lease after it *asked*. A process that is not alone serves nothing, and forwards its first write one
//! lease after it has found out: by then the other does not serve any more, however late its answers come. (A fleet's
//! control row is asked by the same rule.)
//!
//! Wrong is a write that is forwarded while the other still serves. Nothing here is real code but the rule: `authority` has it,
//! where rooms of the cache do not reach.

use super::explore::{self, broken, safe};

const LEASE: u8 = 3;
/// The end of time.
const END: u8 = 9;

#[derive(Debug, Clone, Copy)]
struct Rules {
    /// The lease is counted from the question, not from the answer.
    from_question: bool,
    /// So long does who is not alone wait before it writes.
    wait: u8,
    /// A process enters itself before it asks.
    enters_first: bool,
}

const RULES: Rules = Rules {
    from_question: true,
    wait: LEASE,
    enters_first: true,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    None,
    /// Asked at.
    Asked(u8),
    /// Asked at; whether it was alone when the server looked.
    Answered(u8, bool),
}

#[derive(Debug, Clone, Copy)]
struct Process {
    entered: bool,
    question: Question,
    serves_until: u8,
    /// What it was told last.
    alone: Option<bool>,
    /// Since when it knows that it is not.
    since: Option<u8>,
    wrote: bool,
}

struct Two {
    rules: Rules,
    now: u8,
    processes: [Process; 2],
    hits: usize,
}

#[derive(Debug, Clone, Copy)]
enum Move {
    Tick,
    Enter(usize),
    Ask(usize),
    /// The server looks, and its answer is on its way.
    Answer(usize),
    /// It arrives.
    Hear(usize),
    Write(usize),
}

fn two(rules: Rules) -> impl Fn() -> Two {
    let process = Process {
        entered: false,
        question: Question::None,
        serves_until: 0,
        alone: None,
        since: None,
        wrote: false,
    };
    move || Two {
        rules,
        now: 0,
        processes: [process; 2],
        hits: 0,
    }
}

impl Two {
    fn may_write(&self, who: usize) -> bool {
        let process = self.processes[who];
        let waited = match (process.alone, process.since) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(_), Some(since)) => self.now >= since + self.rules.wait,
        };
        process.entered && waited && !process.wrote
    }
}

impl explore::World for Two {
    type Move = Move;

    fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        for (who, process) in self.processes.iter().enumerate() {
            if !process.entered && (self.rules.enters_first || process.alone.is_some()) {
                moves.push(Move::Enter(who));
            }
            match process.question {
                Question::None if process.entered || !self.rules.enters_first => {
                    moves.push(Move::Ask(who));
                }
                Question::None => {}
                Question::Asked(_) => moves.push(Move::Answer(who)),
                Question::Answered(..) => moves.push(Move::Hear(who)),
            }
            if self.may_write(who) {
                moves.push(Move::Write(who));
            }
        }
        if self.now < END {
            moves.push(Move::Tick);
        }
        moves
    }

    fn make(&mut self, step: Move) -> Result<(), String> {
        let now = self.now;
        match step {
            Move::Tick => self.now += 1,
            Move::Enter(who) => self.processes[who].entered = true,
            Move::Ask(who) => self.processes[who].question = Question::Asked(now),
            Move::Answer(who) => {
                let alone = !self.processes[1 - who].entered;
                if let Question::Asked(at) = self.processes[who].question {
                    self.processes[who].question = Question::Answered(at, alone);
                }
            }
            Move::Hear(who) => {
                let process = &mut self.processes[who];
                if let Question::Answered(asked, alone) = process.question {
                    let from = if self.rules.from_question { asked } else { now };
                    process.question = Question::None;
                    process.alone = Some(alone);
                    match alone {
                        true => process.serves_until = process.serves_until.max(from + LEASE),
                        false => {
                            process.serves_until = 0;
                            process.since.get_or_insert(now);
                        }
                    }
                }
                self.hits += usize::from(now < process.serves_until);
            }
            Move::Write(who) => {
                self.processes[who].wrote = true;
                let other = self.processes[1 - who];
                if other.entered && now < other.serves_until {
                    return Err(format!(
                        "process {who} writes at {now}, and the other serves until {}",
                        other.serves_until
                    ));
                }
            }
        }
        Ok(())
    }

    fn fingerprint(&self) -> Vec<u8> {
        let mut all = vec![self.now];
        for process in &self.processes {
            let question = match process.question {
                Question::None => [0, 0],
                Question::Asked(at) => [1, at],
                Question::Answered(at, alone) => [2 + u8::from(alone), at],
            };
            all.extend(question);
            all.extend([
                u8::from(process.entered),
                // What is past is all the same.
                process.serves_until.saturating_sub(self.now),
                process.alone.map_or(2, u8::from),
                process.since.map_or(0, |since| 1 + since),
                u8::from(process.wrote),
            ]);
        }
        all
    }

    fn hits(&self) -> usize {
        self.hits
    }
}

#[test]
fn a_lease_counted_from_the_question_and_waited_for_is_safe() {
    safe(two(RULES));
}

#[test]
fn a_lease_counted_from_the_answer_is_not() {
    broken(two(Rules {
        from_question: false,
        ..RULES
    }));
}

#[test]
fn waiting_longer_does_not_mend_that() {
    broken(two(Rules {
        from_question: false,
        wait: 2 * LEASE,
        ..RULES
    }));
}

#[test]
fn waiting_less_than_a_lease_is_not() {
    broken(two(Rules {
        wait: LEASE - 1,
        ..RULES
    }));
}

#[test]
fn asking_before_one_has_entered_is_not() {
    broken(two(Rules {
        enters_first: false,
        ..RULES
    }));
}
