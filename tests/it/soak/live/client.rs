//! What the clients do: reads of many forms, and writes that commit in many ways.

use std::thread;
use std::time::Duration;

use super::history::{Anomaly, History, Known, NEVER, Writing};
use super::{Focus, UNLOGGED};
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
    history: &'a History,
    address: Address,
    random: Random,
    direct: bool,
    wire: Option<Wire>,
    prepared: Vec<String>,
    number: u64,
    gid: u64,
    focus: Focus,
}

/// The connection ended, or the server said no: nobody knows.
pub struct Lost;

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
            let sql = format!("SELECT id, version FROM {table} WHERE id = {id}");
            let _ = self.read_by(at, &sql);
        }
    }

    /// Reads one row by this query, and has it judged.
    pub fn read_by(&mut self, at: usize, sql: &str) -> Result<(), Lost> {
        let known = self.history.known(at);
        for (_, version) in pairs(&self.query(sql)?, false) {
            self.history.judge(at, &known, version, sql);
        }
        Ok(())
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
            let pause = *self.random.pick(if focus == Focus::Kills {
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
            let rest = if focus == Focus::Kills { 4_000 } else { 2_000 };
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
        self.query(super::SLOW_COMMIT).map(drop)
    }

    fn wire(&mut self) -> Result<&mut Wire, Lost> {
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
    fn send(&mut self, batch: &Batch) -> Result<Reply, Lost> {
        let reply = self.wire()?.try_batch(batch);
        match reply {
            Some(reply) if reply.error().is_none() && reply.status != '-' => Ok(reply),
            Some(reply) if reply.status == 'I' => Err(Lost),
            Some(reply) if reply.status == 'E' => {
                if self.wire()?.try_query("ROLLBACK").is_none() {
                    self.wire = None;
                }
                Err(Lost)
            }
            _ => {
                self.wire = None;
                Err(Lost)
            }
        }
    }

    pub fn query(&mut self, sql: &str) -> Result<Reply, Lost> {
        self.send(Batch::default().query(sql))
    }

    /// Rows of (id, version), by any way of asking.
    fn rows(&mut self, sql: &str, id: i64) -> Result<Vec<(i64, i64)>, Lost> {
        let text = sql.replace("$1", &id.to_string());
        let value = id.to_string();
        let values = [Some(value.as_bytes())];
        let values: &[Option<&[u8]>] = if sql.contains("$1") { &values } else { &[] };
        let mut batch = Batch::default();
        let binary = match self.random.below(8) {
            0..5 => {
                batch.query(&text);
                false
            }
            5 => {
                batch = Batch::whole(sql, values);
                false
            }
            6 => {
                batch.parse("", sql, &[]).bind("", "", &[], values, &[1]);
                batch.describe(b'P', "").execute("", 0).sync();
                true
            }
            _ => {
                let name = format!("s{:x}", xxhash_rust::xxh3::xxh3_64(sql.as_bytes()));
                self.wire()?;
                if !self.prepared.contains(&name) {
                    batch.parse(&name, sql, &[]);
                }
                batch
                    .bind("", &name, &[], values, &[])
                    .execute("", 0)
                    .sync();
                let reply = self.send(&batch)?;
                self.prepared.push(name);
                return Ok(pairs(&reply, false));
            }
        };
        let reply = self.send(&batch)?;
        Ok(pairs(&reply, binary))
    }

    /// Reads one row, or some with it, and has each judged.
    pub fn read(&mut self, at: usize) -> Result<Vec<(i64, i64)>, Lost> {
        let row = &self.history.rows[at];
        let (table, id) = (row.table, row.id);
        let known: Vec<(usize, Known)> = self
            .history
            .rows_of(table)
            .into_iter()
            .map(|at| (at, self.history.known(at)))
            .collect();
        let sql = match self.random.below(9) {
            0 => format!("SELECT id, version FROM {table} WHERE id = $1"),
            1 => format!("SELECT id, version FROM {table} WHERE id IN ($1, 0)"),
            2 => format!("SELECT id, max(version) FROM {table} WHERE id = $1 GROUP BY id"),
            3 => format!("SELECT id, version FROM all_{table} WHERE id = $1"),
            4 => format!(
                "SELECT a.id, a.version FROM {table} a JOIN v0 b ON b.id = 0 WHERE a.id = $1"
            ),
            5 => format!("SELECT id, version FROM {table} ORDER BY id"),
            6 => {
                format!("WITH x AS (SELECT * FROM {table}) SELECT id, version FROM x WHERE id = $1")
            }
            7 => format!("SELECT {id}, (SELECT version FROM {table} WHERE id = {id})"),
            _ => format!("SELECT id, version FROM {table} WHERE id = {id}"),
        };
        let rows = self.rows(&sql, id)?;
        for &(id, version) in &rows {
            let place = self.history.place(table, id);
            if let Some((_, known)) = known.iter().find(|(at, _)| *at == place) {
                let way = if self.direct {
                    "directly"
                } else {
                    "through pgditto"
                };
                self.history
                    .judge(place, known, version, &format!("{way}: {sql}"));
            }
        }
        // What is not there is older than all that was written.
        if table == UNLOGGED && rows.iter().all(|(there, _)| *there != id) {
            let known = known.iter().find(|(place, _)| *place == at);
            let (place, known) = known.expect("it was asked for");
            self.history.judge(*place, known, 0, &sql);
        }
        Ok(rows)
    }

    fn in_transaction(&mut self) -> Result<(), Lost> {
        self.query("BEGIN")?;
        for _ in 0..3 {
            let at = self.random.below(self.history.rows.len());
            self.read(at)?;
        }
        let end = *self.random.pick(&["COMMIT", "ROLLBACK", "END"]);
        self.query(end).map(drop)
    }

    /// What moves between two tables is neither made nor lost.
    fn transfer(&mut self) -> Result<(), Lost> {
        let (from, to) =
            *self
                .random
                .pick(&[("acc_a", "acc_b"), ("acc_b", "acc_a"), ("acc_a", "acc_a")]);
        let (a, b, n) = (
            self.random.below(3),
            self.random.below(3),
            1 + self.random.below(50),
        );
        let take = format!("UPDATE {from} SET amount = amount - {n} WHERE id = {a}");
        let give = format!("UPDATE {to} SET amount = amount + {n} WHERE id = {b}");
        match self.random.below(4) {
            0 => self.query(&format!("{take}; {give}")).map(drop),
            1 => {
                self.query("BEGIN")?;
                self.query(&take)?;
                self.sum()?;
                self.query("ROLLBACK").map(drop)
            }
            2 if from != to => self.query(&format!("WITH x AS ({take}) {give}")).map(drop),
            _ => {
                self.query("BEGIN")?;
                self.query(&take)?;
                self.query(&give)?;
                self.query("COMMIT").map(drop)
            }
        }
    }

    fn sum(&mut self) -> Result<(), Lost> {
        let sql = *self.random.pick(&[
            "SELECT (SELECT sum(amount) FROM acc_a) + (SELECT sum(amount) FROM acc_b)",
            "SELECT sum(amount) FROM (SELECT amount FROM acc_a UNION ALL SELECT amount FROM acc_b) x",
            "SELECT sum(amount) FROM acc_all",
        ]);
        let reply = if self.random.one_in(2) {
            self.query(sql)?
        } else {
            self.send(&Batch::whole(sql, &[]))?
        };
        // Within the transaction that has only taken so far it is less.
        if reply.status == 'I' && reply.text() != "6000" {
            self.history
                .report(Anomaly::Torn, format!("{}: {sql}", reply.text()));
        }
        Ok(())
    }

    fn write(&mut self, at: usize) -> Result<(), Lost> {
        let history = self.history;
        if ["src", "fsrc"].contains(&history.rows[at].table) {
            // Their triggers write elsewhere.
            return Ok(());
        }
        let Some(writing) = history.write(at) else {
            return Ok(());
        };
        match self.write_version(at, &writing) {
            Ok(true) => {
                writing.acknowledged();
                // Reading what was just written finds it.
                self.read(at).map(drop)
            }
            Ok(false) => Ok(()),
            Err(Lost) => {
                writing.unknown();
                Err(Lost)
            }
        }
    }

    /// Writes it in one of many ways; false if it was not to happen.
    fn write_version(&mut self, at: usize, writing: &Writing<'_>) -> Result<bool, Lost> {
        let (table, id, next) = (
            self.history.rows[at].table,
            self.history.rows[at].id,
            writing.version,
        );
        let unlogged = table == UNLOGGED;
        let set = |version: i64| match unlogged {
            true => format!(
                "INSERT INTO {table} VALUES ({id}, {version}) \
                 ON CONFLICT (id) DO UPDATE SET version = EXCLUDED.version"
            ),
            false => format!("UPDATE {table} SET version = {version} WHERE id = {id}"),
        };
        let (update, never) = (set(next), set(NEVER + next));
        // What means everything, or changes the catalogue, leaves nothing to hit for a while.
        let way = match self
            .random
            .below(if self.focus == Focus::Crashes { 10 } else { 60 })
        {
            // What is prepared is on the disk at once.
            7 if self.focus == Focus::Crashes => 12,
            n if self.focus == Focus::Crashes => *[0, 1, 2, 3, 5, 6, 7].get(n).unwrap_or(&12),
            0 => 4,
            1 => 9,
            2 => 11,
            n => *[0, 1, 2, 3, 5, 6, 7, 8, 10, 12].get(n % 10).unwrap_or(&12),
        };
        match way {
            // They need the row.
            3 | 4 | 6 if unlogged => {
                writing.commits();
                self.query(&update)?;
            }
            0 => {
                self.query("BEGIN")?;
                self.query(&never)?;
                self.query("ROLLBACK")?;
                return Ok(false);
            }
            1 => {
                // Its failure is what is wanted.
                let _ = self.query(&format!("{never}; SELECT 1 / 0"));
                return Ok(false);
            }
            2 => {
                writing.commits();
                self.query(&format!("BEGIN; {update}; COMMIT"))?;
            }
            3 => {
                writing.commits();
                let sql = format!("UPDATE {table} SET version = $1 WHERE id = {id}");
                self.send(&Batch::whole(&sql, &[Some(next.to_string().as_bytes())]))?;
            }
            4 => {
                writing.commits();
                self.query(&format!("SELECT bump('{table}', {id}, {next})"))?;
            }
            5 => {
                self.query("BEGIN")?;
                self.query("SAVEPOINT s")?;
                self.query(&never)?;
                self.query("ROLLBACK TO s")?;
                self.query(&update)?;
                writing.commits();
                self.query("END")?;
            }
            6 => {
                writing.commits();
                self.query(&format!(
                    "UPDATE all_{table} SET version = {next} WHERE id = {id}"
                ))?;
            }
            7 => {
                self.query(&format!("{update}; BEGIN"))?;
                writing.commits();
                self.query("COMMIT")?;
            }
            8 => return self.write_prepared(&update, writing),
            9 => {
                self.query("BEGIN")?;
                self.query(&update)?;
                self.query("ALTER TABLE ddl ADD COLUMN IF NOT EXISTS more int")?;
                writing.commits();
                self.query("COMMIT")?;
            }
            10 => {
                // A cancel that races with the commit.
                self.query("BEGIN")?;
                self.query(&update)?;
                writing.commits();
                let cancel = self.wire()?.cancel_packet();
                let (port, late) = (self.address.port, self.random.below(3_000) as u64);
                let cancels = thread::spawn(move || {
                    thread::sleep(Duration::from_micros(late));
                    Wire::send_packet(port, &cancel);
                });
                let answer = self.query("COMMIT");
                let _ = cancels.join();
                answer?;
            }
            11 => {
                writing.commits();
                let pause = *self.random.pick(&["0.1", "0.2", "1.2"]);
                self.query("BEGIN")?;
                self.query(&format!("INSERT INTO pauses VALUES ({pause})"))?;
                self.query(&update)?;
                self.query("COMMIT")?;
            }
            _ => {
                self.query("BEGIN")?;
                self.query(&update)?;
                writing.commits();
                self.query("COMMIT")?;
            }
        }
        Ok(true)
    }

    /// Two phases; somebody else says how it ends.
    fn write_prepared(&mut self, update: &str, writing: &Writing<'_>) -> Result<bool, Lost> {
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
        let direct = self.random.one_in(2);
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

/// The rows of (id, version) in an answer.
fn pairs(reply: &Reply, binary: bool) -> Vec<(i64, i64)> {
    if !binary {
        let number = |text: &str| text.parse().ok();
        return reply
            .text()
            .lines()
            .filter_map(|line| line.split_once('|'))
            .filter_map(|(id, version)| Some((number(id)?, number(version)?)))
            .collect();
    }
    let int = |bytes: &[u8]| Some(i64::from(i32::from_be_bytes(bytes.try_into().ok()?)));
    let rows = reply.messages.iter().filter(|(tag, _)| *tag == b'D');
    rows.filter_map(|(_, body)| Some((int(body.get(6..10)?)?, int(body.get(14..18)?)?)))
        .collect()
}
