//! How clients write: one version of a row, committed in one of many ways, or not at all.

use std::thread;
use std::time::Duration;

use super::client::{Client, Lost};
use super::history::{NEVER, Writing};
use super::{COMES_AND_GOES, Focus, MOVES, UNLOGGED};
use crate::cache::wire::Batch;

/// Tables whose triggers write elsewhere: scenes alone write them.
const OF_SCENES: [&str; 2] = ["src", "fsrc"];

/// What brings a row of a table to a version.
fn sets(table: &str, id: i64, version: i64) -> String {
    let upsert = format!(
        "INSERT INTO {table} VALUES ({id}, {version}) \
         ON CONFLICT (id) DO UPDATE SET version = EXCLUDED.version"
    );
    match (table, id) {
        (UNLOGGED, _) => upsert,
        // The first waits for whoever writes the row, which DELETE does not if there is none yet.
        (COMES_AND_GOES, _) if version % 3 == 0 => {
            format!("{upsert}; DELETE FROM {table} WHERE id = {id}")
        }
        (COMES_AND_GOES, _) => upsert,
        (MOVES, _) => format!(
            "UPDATE {table} SET place = {}, version = {version} WHERE id = {id}",
            version % 3
        ),
        // With the row that it is bound to.
        ("pa", 0) => format!(
            "UPDATE pa SET version = {version} WHERE id = 0; UPDATE pb SET version = {version} WHERE id = 0"
        ),
        ("pa", _) => format!("UPDATE pa SET version = {version} WHERE id IN (1, 2)"),
        _ => format!("UPDATE {table} SET version = {version} WHERE id = {id}"),
    }
}

impl Client<'_> {
    pub(super) fn write(&mut self, at: usize) -> Result<(), Lost> {
        let history = self.history;
        if OF_SCENES.contains(&history.rows[at].table) {
            return Ok(());
        }
        let Some(writing) = history.write(at) else {
            return Ok(());
        };
        let written = self.write_version(at, &writing);
        self.own = None;
        match written {
            Ok(true) => {
                writing.acknowledged();
                // Reading what was just written finds it.
                self.read(at)
            }
            Ok(false) => Ok(()),
            Err(Lost) => {
                writing.unknown();
                Err(Lost)
            }
        }
    }

    /// Reads what was just written and not committed: it is there for who wrote it.
    fn read_own(&mut self, at: usize, version: i64) -> Result<(), Lost> {
        self.own = Some((at, version));
        let read = self.read(at);
        self.own = None;
        read
    }

    /// Writes it in one of many ways; false if it was not to happen.
    fn write_version(&mut self, at: usize, writing: &Writing<'_>) -> Result<bool, Lost> {
        let (row, next) = (&self.history.rows[at], writing.version);
        let (table, id) = (row.table, row.id);
        let (update, never) = (sets(table, id, next), sets(table, id, NEVER + next));
        // What means everything, or changes the catalogue, leaves nothing to hit for a while.
        let crashes = self.focus == Focus::Crashes;
        let way = match self.random.below(if crashes { 10 } else { 60 }) {
            // What is prepared is on the disk at once.
            7 if crashes => 12,
            n if crashes => *[0, 1, 2, 3, 5, 6, 7].get(n).unwrap_or(&12),
            0 => 4,
            1 => 9,
            2 => 11,
            3 | 4 => 13,
            5..8 => 14,
            n => *[0, 1, 2, 3, 5, 6, 7, 8, 10, 12].get(n % 10).unwrap_or(&12),
        };
        // They need a row that is there, and one row alone.
        let whole = [UNLOGGED, COMES_AND_GOES, MOVES, "pa"].contains(&table);
        let way = match way {
            3 | 4 | 6 | 13 if whole => 12,
            way => way,
        };
        let tally = &self.history.tally;
        match way {
            0 => {
                tally.operation("write: rolled back");
                self.query("BEGIN")?;
                self.query(&never)?;
                self.read_own(at, NEVER + next)?;
                self.query("ROLLBACK")?;
                return Ok(false);
            }
            1 => {
                tally.operation("write: failed");
                // Its failure is what is wanted.
                let _ = self.query(&format!("{never}; SELECT 1 / 0"));
                return Ok(false);
            }
            2 => {
                tally.operation("write: in one string");
                writing.commits();
                self.query(&format!("BEGIN; {update}; COMMIT"))?;
            }
            3 => {
                tally.operation("write: with a parameter");
                writing.commits();
                let sql = format!("UPDATE {table} SET version = $1 WHERE id = {id}");
                self.send(&Batch::whole(&sql, &[Some(next.to_string().as_bytes())]))?;
            }
            4 => {
                tally.operation("write: in a function");
                writing.commits();
                self.query(&format!("SELECT bump('{table}', {id}, {next})"))?;
            }
            5 => {
                tally.operation("write: after a savepoint");
                self.query("BEGIN")?;
                self.query("SAVEPOINT s")?;
                self.query(&never)?;
                self.read_own(at, NEVER + next)?;
                self.query("ROLLBACK TO s")?;
                self.read(at)?;
                self.query(&update)?;
                self.read_own(at, next)?;
                writing.commits();
                self.query("END")?;
            }
            6 => {
                tally.operation("write: through a view");
                writing.commits();
                self.query(&format!(
                    "UPDATE all_{table} SET version = {next} WHERE id = {id}"
                ))?;
            }
            7 => {
                tally.operation("write: before a BEGIN");
                self.query(&format!("{update}; BEGIN"))?;
                self.read_own(at, next)?;
                writing.commits();
                self.query("COMMIT")?;
            }
            8 => return self.write_prepared(&update, writing),
            9 => {
                tally.operation("write: with DDL");
                self.query("BEGIN")?;
                self.query(&update)?;
                self.query("ALTER TABLE ddl ADD COLUMN IF NOT EXISTS more int")?;
                writing.commits();
                self.query("COMMIT")?;
            }
            10 => {
                tally.operation("write: with a cancel");
                // A cancel that races with the commit.
                self.query("BEGIN")?;
                self.query(&update)?;
                writing.commits();
                let late = Duration::from_micros(self.random.below(3_000) as u64);
                self.query_and_cancel("COMMIT", late)?;
            }
            11 => {
                tally.operation("write: with a slow commit");
                writing.commits();
                let pause = *self.random.pick(&["0.1", "0.2", "1.2"]);
                self.query("BEGIN")?;
                self.query(&format!("INSERT INTO pauses VALUES ({pause})"))?;
                self.query(&update)?;
                self.query("COMMIT")?;
            }
            13 => {
                tally.operation("write: long before its Sync");
                writing.commits();
                let mut batch = Batch::default();
                batch
                    .parse("", &update, &[])
                    .bind("", "", &[], &[], &[])
                    .execute("", 0)
                    .flush();
                if !self.wire()?.try_until(&batch, b'C') {
                    self.wire = None;
                    return Err(Lost);
                }
                // Others read, and what they read is kept.
                thread::sleep(Duration::from_millis(self.random.below(30) as u64));
                self.send(Batch::default().sync())?;
            }
            14 => {
                tally.operation("write: at COMMIT AND CHAIN");
                self.query("BEGIN")?;
                self.query(&update)?;
                writing.commits();
                self.query("COMMIT AND CHAIN")?;
                // The next transaction is none of its business.
                let _ = self.query("ROLLBACK");
            }
            _ => {
                tally.operation("write: plain");
                self.query("BEGIN")?;
                self.query(&update)?;
                if self.random.one_in(2) {
                    self.read_own(at, next)?;
                }
                writing.commits();
                self.query("COMMIT")?;
            }
        }
        Ok(true)
    }

    /// Two phases; somebody else says how it ends.
    fn write_prepared(&mut self, update: &str, writing: &Writing<'_>) -> Result<bool, Lost> {
        self.history.tally.operation("write: in two phases");
        self.gid += 1;
        let gid = format!("soak_{}_{}", self.number, self.gid);
        self.query("BEGIN")?;
        self.query(update)?;
        writing.commits();
        let prepared = self.query(&format!("PREPARE TRANSACTION '{gid}'"));
        let commit = self.random.below(3) > 0;
        let end = if commit {
            "COMMIT PREPARED"
        } else {
            "ROLLBACK PREPARED"
        };
        // Only its own user may end it, and the superuser.
        let direct = self.direct || self.random.one_in(2);
        let mut other = Client::new(self.history, self.address, self.random.branch(7), direct, 0);
        // It holds a lock: it must not stay, whatever becomes of servers.
        let mut ended = false;
        for _ in 0..200 {
            ended = other.query(&format!("{end} '{gid}'")).is_ok();
            if ended || prepared.is_err() || other.wire.is_some() {
                break;
            }
        }
        prepared?;
        if ended && commit { Ok(true) } else { Err(Lost) }
    }
}
