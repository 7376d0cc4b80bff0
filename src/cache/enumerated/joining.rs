//! A node joins a fleet while another one commits. Plain rules: there is no fleet in the code yet.
//!
//! The joiner writes itself into the control row: that is a new epoch. It serves once every member has confirmed the epoch. A member
//! confirms once it knows the joiner and each commit that it has forwarded is settled, or marked at the joiner
//! too; one that does not is fenced: its backends are ended and awaited. Any step may be late for ever.
//!
//! Wrong is a joiner that serves the old value while the new one can be seen.

use super::explore::{self, broken, safe};

#[derive(Debug, Clone, Copy)]
struct Rules {
    /// The joiner waits until it is confirmed (or the member fenced), not for some fixed time.
    waits_to_be_confirmed: bool,
    /// The member confirms only when nothing that it has forwarded is unknown to the joiner.
    settles_first: bool,
    /// Fencing awaits the end of the member's backends.
    awaits_backends: bool,
}

const RULES: Rules = Rules {
    waits_to_be_confirmed: true,
    settles_first: true,
    awaits_backends: true,
};

/// How far the member's one commit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commit {
    None,
    Marked,
    Sent,
    Visible,
    Settled,
    /// The member was fenced.
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joiner {
    Absent,
    Entered,
    Serves,
}

/// The new value or the old one, and the version at the joiner when it was asked for.
type Value = (bool, u8);

#[derive(Debug, Clone, Copy)]
struct Joining {
    rules: Rules,
    commit: Commit,
    /// The new value can be seen; a backend may still be on its way to that.
    visible: bool,
    in_flight: bool,
    member_knows: bool,
    confirmed: bool,
    fenced: bool,
    joiner: Joiner,
    /// The member's mark at the joiner, and the joiner's version.
    marked: bool,
    version: u8,
    asked: Option<Value>,
    entry: Option<Value>,
    hits: usize,
}

#[derive(Debug, Clone, Copy)]
enum Move {
    Enter,
    MemberLearns,
    Mark,
    MarkAtJoiner,
    Send,
    BecomeVisible,
    Settle,
    Confirm,
    Fence,
    BeginToServe,
    Ask,
    Store,
    Serve,
}

fn joining(rules: Rules) -> impl Fn() -> Joining {
    move || Joining {
        rules,
        commit: Commit::None,
        visible: false,
        in_flight: false,
        member_knows: false,
        confirmed: false,
        fenced: false,
        joiner: Joiner::Absent,
        marked: false,
        version: 0,
        asked: None,
        entry: None,
        hits: 0,
    }
}

impl Joining {
    fn can(&self, step: Move) -> bool {
        let forwarded = matches!(self.commit, Commit::Marked | Commit::Sent | Commit::Visible);
        let fits = |(_, version): Value| !self.marked && version == self.version;
        match step {
            Move::Enter => self.joiner == Joiner::Absent,
            Move::MemberLearns => {
                self.joiner != Joiner::Absent && !self.member_knows && !self.fenced
            }
            Move::Mark => self.commit == Commit::None,
            Move::MarkAtJoiner => self.member_knows && forwarded && !self.marked,
            Move::Send => self.commit == Commit::Marked,
            Move::BecomeVisible => self.in_flight,
            Move::Settle => self.commit == Commit::Visible,
            Move::Confirm => {
                let settled = !forwarded || self.marked || !self.rules.settles_first;
                self.member_knows && !self.confirmed && !self.fenced && settled
            }
            // A backend that is on its way is awaited: it commits first, or it never does.
            Move::Fence => {
                let awaited = self.in_flight && self.rules.awaits_backends;
                self.joiner == Joiner::Entered && !self.confirmed && !self.fenced && !awaited
            }
            Move::BeginToServe => {
                let may = self.confirmed || self.fenced || !self.rules.waits_to_be_confirmed;
                self.joiner == Joiner::Entered && may
            }
            Move::Ask => self.joiner == Joiner::Serves && self.asked.is_none() && !self.marked,
            Move::Store => self.asked.is_some(),
            Move::Serve => self.joiner == Joiner::Serves && self.entry.is_some_and(fits),
        }
    }
}

impl explore::World for Joining {
    type Move = Move;

    fn moves(&self) -> Vec<Move> {
        let all = [
            Move::Enter,
            Move::MemberLearns,
            Move::Mark,
            Move::MarkAtJoiner,
            Move::Send,
            Move::BecomeVisible,
            Move::Settle,
            Move::Confirm,
            Move::Fence,
            Move::BeginToServe,
            Move::Ask,
            Move::Store,
            Move::Serve,
        ];
        all.into_iter().filter(|&step| self.can(step)).collect()
    }

    fn make(&mut self, step: Move) -> Result<(), String> {
        match step {
            Move::Enter => self.joiner = Joiner::Entered,
            Move::MemberLearns => self.member_knows = true,
            Move::Mark => {
                self.commit = Commit::Marked;
                self.marked |= self.member_knows;
            }
            Move::MarkAtJoiner => self.marked = true,
            Move::Send => {
                self.commit = Commit::Sent;
                self.in_flight = true;
            }
            Move::BecomeVisible => {
                self.visible = true;
                self.in_flight = false;
                if self.commit == Commit::Sent {
                    self.commit = Commit::Visible;
                }
            }
            Move::Settle => {
                self.commit = Commit::Settled;
                self.version += u8::from(self.member_knows);
                self.marked = false;
            }
            Move::Confirm => self.confirmed = true,
            Move::Fence => {
                self.fenced = true;
                self.commit = Commit::Ended;
                self.version += 1;
                self.marked = false;
            }
            Move::BeginToServe => self.joiner = Joiner::Serves,
            Move::Ask => self.asked = Some((self.visible, self.version)),
            Move::Store => self.entry = self.asked.take(),
            Move::Serve => {
                self.hits += 1;
                if self.entry.is_some_and(|(new, _)| new != self.visible) {
                    return Err(format!("the joiner serves the old value: {self:?}"));
                }
            }
        }
        Ok(())
    }

    fn fingerprint(&self) -> Vec<u8> {
        let same = Self { hits: 0, ..*self };
        format!("{same:?}").into_bytes()
    }

    fn hits(&self) -> usize {
        self.hits
    }
}

#[test]
fn a_joiner_that_every_member_has_confirmed_is_safe() {
    safe(joining(RULES));
}

#[test]
fn a_joiner_that_waits_for_some_time_is_not() {
    broken(joining(Rules {
        waits_to_be_confirmed: false,
        ..RULES
    }));
}

#[test]
fn a_member_that_confirms_with_a_commit_on_its_way_is_not() {
    broken(joining(Rules {
        settles_first: false,
        ..RULES
    }));
}

#[test]
fn fencing_a_member_without_awaiting_its_backends_is_not() {
    broken(joining(Rules {
        awaits_backends: false,
        ..RULES
    }));
}
