//! Who waits for whom, our own readings of the database or clients' statements that would notice them.
//!
//! A reading holds a snapshot, which keeps VACUUM from what was deleted since, and the reading of the catalogue
//! holds for a moment ACCESS SHARE on what views are made of. A statement that may not meet them waits until those that
//! have begun are over. A snapshot that is taken later does not hold up what the statement's session had committed before,
//! so that most statements need no more; what locks at once or fails also keeps readings from beginning.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

/// How long statements may keep a reading waiting.
const READER_PATIENCE: Duration = Duration::from_secs(1);
/// How long readings may keep a statement waiting, and for how long it may keep them out.
const STATEMENT_PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Gate {
    inside: watch::Sender<Inside>,
    reader_patience: Duration,
    statement_patience: Duration,
}

#[derive(Default)]
struct Inside {
    readings: usize,
    statements: usize,
    /// From when on statements keep readings out no longer.
    until: Option<Instant>,
}

/// One of our readings, until it is dropped.
pub(super) struct Reading(watch::Sender<Inside>);

/// While it is there no reading begins, save one that has waited for a second.
pub struct Still(watch::Sender<Inside>);

impl Default for Gate {
    fn default() -> Self {
        Self {
            inside: watch::Sender::default(),
            reader_patience: READER_PATIENCE,
            statement_patience: STATEMENT_PATIENCE,
        }
    }
}

impl Gate {
    /// Begins a reading when no statement keeps it out. Cancel safe.
    pub async fn read(&self) -> Reading {
        let deadline = Instant::now() + self.reader_patience;
        let mut inside = self.inside.subscribe();
        loop {
            let until = inside.borrow_and_update().until;
            let entered = self.inside.send_if_modified(|inside| {
                let now = Instant::now();
                let free = inside.statements == 0 || inside.until.is_none_or(|until| until <= now);
                let enters = free || deadline <= now;
                inside.readings += usize::from(enters);
                enters
            });
            if entered {
                return Reading(self.inside.clone());
            }
            let patience = until.map_or(deadline, |until| until.min(deadline));
            let _ = timeout_at(patience, inside.changed()).await;
        }
    }

    /// Begins a reading that cannot wait; it takes no lock that a client's statement could meet.
    pub fn read_at_once(&self) -> Reading {
        self.inside.send_modify(|inside| inside.readings += 1);
        Reading(self.inside.clone())
    }

    /// Waits until no reading is on its way, for some seconds at most, and lets none begin. Cancel safe.
    pub async fn still(&self) -> Still {
        self.inside.send_modify(|inside| {
            inside.statements += 1;
            inside.until = Some(Instant::now() + self.statement_patience);
        });
        let still = Still(self.inside.clone());
        let mut inside = self.inside.subscribe();
        let over = inside.wait_for(|inside| inside.readings == 0);
        let _ = timeout(self.statement_patience, over).await;
        still
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.send_modify(|inside| inside.readings -= 1);
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        self.0.send_modify(|inside| inside.statements -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    async fn waits<T>(future: &mut (impl Future<Output = T> + Unpin)) -> bool {
        tokio::select! {
            biased;
            _ = future => false,
            () = tokio::task::yield_now() => true,
        }
    }

    #[tokio::test]
    async fn a_statement_waits_for_the_readings_that_have_begun() {
        let gate = Gate::default();
        let (first, second) = (gate.read().await, gate.read_at_once());
        let mut still = pin!(gate.still());
        assert!(waits(&mut still).await);
        drop(first);
        assert!(waits(&mut still).await);
        drop(second);
        assert!(!waits(&mut still).await);
    }

    #[tokio::test]
    async fn no_reading_begins_while_a_statement_wants_to_be_alone() {
        let gate = Gate::default();
        let still = gate.still().await;
        let mut reading = pin!(gate.read());
        assert!(waits(&mut reading).await);
        drop(still);
        assert!(!waits(&mut reading).await);
    }

    #[tokio::test]
    async fn neither_side_waits_for_ever() {
        let gate = Gate {
            reader_patience: Duration::from_millis(1),
            statement_patience: Duration::from_millis(1),
            ..Gate::default()
        };
        let _stuck = gate.read().await;
        let _long = gate.still().await;
        let _late = gate.read().await;
    }
}
