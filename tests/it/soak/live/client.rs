//! One client: its connection, and what it does all day. How it reads is in `reads`, how it writes in `writes`.

use std::thread;
use std::time::Duration;

use super::history::{History, Writing};
use super::tally::Fault;
use super::{Focus, SLOW_COMMIT};
use crate::cache::wire::{Batch, Reply, Wire};
use crate::soak::random::Random;

/// Where clients connect to.
#[derive(Clone, Copy)]
pub struct Address {
    pub port: u16,
    pub direct_port: u16,
    pub database: &'static str,
}

pub struct Client<'a> {
    pub(super) history: &'a History,
    pub(super) address: Address,
    pub(super) random: Random,
    pub(super) direct: bool,
    pub(super) wire: Option<Wire>,
    pub(super) prepared: Vec<String>,
    pub(super) number: u64,
    pub(super) gid: u64,
    pub(super) focus: Focus,
    /// What it has written in its open transaction: the place and the version.
    pub(super) own: Option<(usize, i64)>,
    /// The SQLSTATE of the last error since the last answer without one.
    pub(super) error: Option<String>,
}

/// The connection ended, or the server said no: nobody knows.
pub struct Lost;

/// The server says that a statement was cancelled, or pgditto that it took too long.
const CANCELLED: &str = "57014";

impl<'a> Client<'a> {
    pub fn new(
        history: &'a History,
        address: Address,
        random: Random,
        direct: bool,
        number: u64,
    ) -> Self {
        Self {
            history,
            address,
            random,
            direct,
            wire: None,
            prepared: Vec::new(),
            number,
            gid: 0,
            focus: Focus::Everything,
            own: None,
            error: None,
        }
    }

    /// Until the soak is over.
    pub fn run(mut self, reads_only: bool, focus: Focus) {
        self.focus = focus;
        while !self.history.is_over() {
            // Half of all concerns the first rows, so that they are hits.
            let among = if self.random.one_in(2) {
                3
            } else {
                self.history.rows.len()
            };
            let at = self.random.below(among);
            if self.direct {
                thread::sleep(Duration::from_millis(1));
            }
            let _ = match self.random.below(40) {
                0..3 if !reads_only => self.write(at),
                3 if !reads_only => self.transfer(),
                4 => self.sum(),
                5 => self.in_transaction(),
                _ => self.read(at).map(drop),
            };
        }
    }

    /// Reads a few rows in one way, until the soak is over: almost only hits.
    pub fn run_hot(mut self) {
        let rows = [("v0", 0), ("v0", 1), ("v0", 2), ("v2", 0), ("dst", 0)];
        while !self.history.is_over() {
            let (table, id) = *self.random.pick(&rows);
            let at = self.history.place(table, id);
            let _ = self.read_by(at, &super::reads::hot(table, id));
        }
    }

    /// Some reads and writes.
    pub fn run_briefly(mut self) {
        for _ in 0..60 {
            let at = self.random.below(self.history.rows.len());
            let _ = match self.random.below(4) {
                0 => self.write(at),
                _ => self.read(at).map(drop),
            };
        }
    }

    /// Commits that take their time, so that something may happen to them.
    pub fn run_slow(mut self, focus: Focus) {
        while !self.history.is_over() {
            let at = self.history.place("v0", self.random.below(3) as i64);
            let pause = *self.random.pick(if focus.is_about_slow_commits() {
                &["2.5"]
            } else {
                &["0.2", "0.2", "0.4", "0.4", "0.4", "2.0", "4.0"] as &[&str]
            });
            if let Some(writing) = self.history.write(at) {
                match self.write_slowly(at, &writing, pause) {
                    Ok(()) => writing.acknowledged(),
                    Err(Lost) => writing.unknown(),
                }
            }
            // Hits need a while in which nothing is marked.
            let rest = if focus.is_about_slow_commits() {
                4_000
            } else {
                2_000
            };
            thread::sleep(Duration::from_millis(
                rest + self.random.below(1_000) as u64,
            ));
        }
    }

    fn write_slowly(&mut self, at: usize, writing: &Writing<'_>, pause: &str) -> Result<(), Lost> {
        let (row, next) = (&self.history.rows[at], writing.version);
        let update = format!(
            "UPDATE {} SET version = {next} WHERE id = {}",
            row.table, row.id
        );
        self.query("BEGIN")?;
        self.query(&format!("INSERT INTO pauses VALUES ({pause})"))?;
        self.query(&update)?;
        writing.commits();
        let cancel = self.focus == Focus::Everything && self.random.one_in(4);
        let late = Duration::from_millis(self.random.below(300) as u64);
        let answer = if cancel {
            self.query_and_cancel(SLOW_COMMIT, late)
        } else {
            self.query(SLOW_COMMIT)
        };
        let stopped = answer.is_err() && self.is_cancelled();
        let tally = &self.history.tally;
        if cancel {
            tally.fault(Fault::CommitCancelled, stopped);
        } else if pause == "4.0" {
            tally.fault(Fault::CommitTimedOut, stopped);
        }
        answer.map(drop)
    }

    /// The last answer said that its statement was cancelled, or took too long.
    pub fn is_cancelled(&self) -> bool {
        self.error.as_deref() == Some(CANCELLED)
    }

    /// Asks, and sends a cancel a while later.
    pub(super) fn query_and_cancel(&mut self, sql: &str, late: Duration) -> Result<Reply, Lost> {
        let cancel = self.wire()?.cancel_packet();
        let port = if self.direct {
            self.address.direct_port
        } else {
            self.address.port
        };
        let cancels = thread::spawn(move || {
            thread::sleep(late);
            Wire::send_packet(port, &cancel);
        });
        let answer = self.query(sql);
        let _ = cancels.join();
        answer
    }

    pub(super) fn wire(&mut self) -> Result<&mut Wire, Lost> {
        if self.wire.is_none() {
            self.prepared.clear();
            let port = if self.direct {
                self.address.direct_port
            } else {
                self.address.port
            };
            // Another role, so that no start barrier waits for those who only look on.
            let user = if self.direct { "postgres" } else { "app" };
            self.wire = Wire::try_open(port, user, self.address.database);
            if self.wire.is_none() {
                // The server is being restarted.
                thread::sleep(Duration::from_millis(20));
            }
        }
        self.wire.as_mut().ok_or(Lost)
    }

    /// Sends and waits; an error or the end of the connection is a loss, and what is open is rolled back.
    pub(super) fn send(&mut self, batch: &Batch) -> Result<Reply, Lost> {
        let reply = self.wire()?.try_batch(batch);
        self.error = reply.as_ref().and_then(Reply::error);
        match reply {
            Some(reply) if self.error.is_none() && reply.status != '-' => return Ok(reply),
            Some(reply) if reply.status == 'I' => {}
            Some(reply) if reply.status == 'E' => {
                if self.wire()?.try_query("ROLLBACK").is_none() {
                    self.wire = None;
                }
            }
            _ => self.wire = None,
        }
        let error = self.error.as_deref();
        self.history.tally.error(error.unwrap_or("connection lost"));
        Err(Lost)
    }

    pub fn query(&mut self, sql: &str) -> Result<Reply, Lost> {
        self.send(Batch::default().query(sql))
    }
}
