//! How clients read: every form of a query, by every way of the protocol, and the judgement of each answer.

use super::client::{Client, Lost};
use super::history::{Anomaly, Known};
use super::{COMES_AND_GOES, MOVES, UNLOGGED};
use crate::cache::wire::{Batch, Reply};

/// A query for a row.
pub struct Form {
    /// One of [`super::tally::OPERATIONS`].
    pub name: &'static str,
    /// `$1` is the key, if there is one.
    pub sql: String,
    /// Of which table each pair of columns is, (id, version); the first is that of the row.
    pub tables: Vec<&'static str>,
}

/// What those ask who almost only hit.
pub fn hot(table: &str, id: i64) -> String {
    format!("SELECT id, version FROM {table} WHERE id = {id}")
}

/// Every way to ask for the row `id` of a table; of the table whose row moves, for the row at the place `id`.
pub fn forms(table: &'static str, id: i64) -> Vec<Form> {
    let key = if table == MOVES { "place" } else { "id" };
    let form = |name, sql| Form {
        name,
        sql,
        tables: vec![table],
    };
    let mut forms = vec![
        form(
            "read: point",
            format!("SELECT id, version FROM {table} WHERE {key} = $1"),
        ),
        form(
            "read: IN list",
            format!("SELECT id, version FROM {table} WHERE {key} IN ($1, 7)"),
        ),
        form(
            "read: aggregate",
            format!("SELECT id, max(version) FROM {table} WHERE {key} = $1 GROUP BY id"),
        ),
        form(
            "read: view",
            format!("SELECT id, version FROM all_{table} WHERE {key} = $1"),
        ),
        form(
            "read: CTE",
            format!("WITH x AS (SELECT * FROM {table}) SELECT id, version FROM x WHERE {key} = $1"),
        ),
        form(
            "read: literal",
            format!("SELECT id, version FROM {table} WHERE {key} = {id}"),
        ),
        Form {
            name: "read: join",
            sql: format!(
                "SELECT a.id, a.version, b.id, b.version FROM {table} a JOIN v0 b ON b.id = 0 WHERE a.{key} = $1"
            ),
            tables: vec![table, "v0"],
        },
    ];
    if table != MOVES {
        forms.push(form(
            "read: IN list",
            format!("SELECT id, version FROM {table} WHERE id IN ($1, 0)"),
        ));
        forms.push(form(
            "read: whole table",
            format!("SELECT id, version FROM {table} ORDER BY id"),
        ));
        forms.push(form(
            "read: subquery",
            format!("SELECT {id}, (SELECT version FROM {table} WHERE id = {id})"),
        ));
    }
    if table == "pa" {
        forms.push(Form {
            name: "read: join",
            sql: "SELECT a.id, a.version, b.id, b.version FROM pa a LEFT JOIN pb b ON b.id = a.id - a.id WHERE a.id = $1".to_owned(),
            tables: vec!["pa", "pb"],
        });
    }
    forms
}

/// How an answer is asked for.
#[derive(Clone, Copy)]
pub enum Way {
    Simple,
    Unnamed,
    Binary,
    Prepared,
    /// Unnamed, and without a Describe.
    Undescribed,
}

/// Of a version of a row: whether an answer for `key` shows the row.
pub fn shows(table: &str, key: i64, version: i64) -> bool {
    match table {
        UNLOGGED => version > 0,
        COMES_AND_GOES => version % 3 != 0,
        MOVES => version % 3 == key,
        _ => true,
    }
}

impl Client<'_> {
    /// Reads one row by this query, and has it judged.
    pub fn read_by(&mut self, at: usize, sql: &str) -> Result<(), Lost> {
        let row = &self.history.rows[at];
        let (table, id) = (row.table, row.id);
        let known = self.known(&[table]);
        let form = Form {
            name: "read: literal",
            sql: sql.to_owned(),
            tables: vec![table],
        };
        let answer = pairs(&self.query(sql)?, false);
        self.judge(&form, (at, id), &known, &answer);
        Ok(())
    }

    /// What is known of the rows of these tables.
    fn known(&self, tables: &[&str]) -> Vec<(usize, Known)> {
        (0..self.history.rows.len())
            .filter(|&at| tables.contains(&self.history.rows[at].table))
            .map(|at| (at, self.history.known(at)))
            .collect()
    }

    /// Reads one row in one of many ways, or some with it, and has each judged.
    pub fn read(&mut self, at: usize) -> Result<(), Lost> {
        let row = &self.history.rows[at];
        let key = match row.table {
            MOVES => self.random.below(3) as i64,
            _ => row.id,
        };
        self.read_key(at, key)
    }

    /// [`Client::read`] of the row under this key.
    pub fn read_key(&mut self, at: usize, key: i64) -> Result<(), Lost> {
        let mut forms = forms(self.history.rows[at].table, key);
        let form = forms.swap_remove(self.random.below(forms.len()));
        let way = match self.random.below(8) {
            0..5 => Way::Simple,
            5 => Way::Unnamed,
            6 => Way::Binary,
            _ => Way::Prepared,
        };
        self.history.tally.operation(form.name);
        self.read_form(at, key, &form, way).map(drop)
    }

    /// Asks once, and has the answer judged; gives the answer.
    pub fn read_form(&mut self, at: usize, key: i64, form: &Form, way: Way) -> Result<Reply, Lost> {
        let known = self.known(&form.tables);
        let (reply, binary) = self.ask(&form.sql, key, way)?;
        self.judge(form, (at, key), &known, &pairs(&reply, binary));
        Ok(reply)
    }

    /// The answer, and whether it is binary.
    fn ask(&mut self, sql: &str, key: i64, way: Way) -> Result<(Reply, bool), Lost> {
        let value = key.to_string();
        let values = [Some(value.as_bytes())];
        let values: &[Option<&[u8]>] = if sql.contains("$1") { &values } else { &[] };
        let tally = &self.history.tally;
        match way {
            Way::Simple => {
                tally.operation("by simple query");
                let reply = self.query(&sql.replace("$1", &value))?;
                Ok((reply, false))
            }
            Way::Unnamed => {
                tally.operation("by unnamed statement");
                Ok((self.send(&Batch::whole(sql, values))?, false))
            }
            Way::Binary => {
                tally.operation("in binary");
                let mut batch = Batch::default();
                batch.parse("", sql, &[]).bind("", "", &[], values, &[1]);
                batch.describe(b'P', "").execute("", 0).sync();
                Ok((self.send(&batch)?, true))
            }
            Way::Undescribed => {
                let mut batch = Batch::default();
                batch.parse("", sql, &[]).bind("", "", &[], values, &[]);
                batch.execute("", 0).sync();
                Ok((self.send(&batch)?, false))
            }
            Way::Prepared => {
                tally.operation("by prepared statement");
                let name = format!("s{:x}", xxhash_rust::xxh3::xxh3_64(sql.as_bytes()));
                self.wire()?;
                let mut batch = Batch::default();
                if !self.prepared.contains(&name) {
                    batch.parse(&name, sql, &[]);
                }
                batch
                    .bind("", &name, &[], values, &[])
                    .execute("", 0)
                    .sync();
                let reply = self.send(&batch)?;
                self.prepared.push(name);
                Ok((reply, false))
            }
        }
    }

    /// Judges every row of an answer, and that the row is missing that was asked for.
    fn judge(
        &self,
        form: &Form,
        (at, key): (usize, i64),
        known: &[(usize, Known)],
        answer: &[Vec<Option<i64>>],
    ) {
        let history = self.history;
        let way = if self.direct {
            "directly"
        } else {
            "through pgditto"
        };
        let how = format!("{way}: {} of {key}", form.sql);
        let mut seen: Vec<(usize, i64)> = Vec::new();
        for row in answer {
            for (pair, table) in row.chunks(2).zip(&form.tables) {
                let &[Some(id), version] = pair else {
                    history.report(Anomaly::Missing, format!("{row:?}: {how}"));
                    continue;
                };
                // A subquery says so of a row that is not there.
                let Some(version) = version else { continue };
                seen.push((history.place(table, id), version));
            }
        }
        for &(place, version) in &seen {
            let (_, known) = known
                .iter()
                .find(|(known, _)| *known == place)
                .expect("of its tables");
            let row = &history.rows[place];
            let own = self
                .own
                .filter(|(own, _)| *own == place || row.bond == Some(*own));
            if let Some((_, own)) = own {
                if version != own {
                    history.report(
                        Anomaly::OwnWriteUnread,
                        format!("{} {version} instead of {own}: {how}", row.table),
                    );
                }
                continue;
            }
            if row.table == MOVES && place == at && version % 3 != key {
                history.report(Anomaly::Torn, format!("version {version}: {how}"));
            }
            history.judge(place, known, version, &how);
            // Both were written by one transaction, and read by one snapshot.
            for (other, there) in &seen {
                if row.bond == Some(*other) && *there != version {
                    history.report(
                        Anomaly::Torn,
                        format!("version {version} beside {there}: {how}"),
                    );
                }
            }
        }
        if seen.iter().any(|(place, _)| *place == at) {
            return;
        }
        let table = history.rows[at].table;
        match self.own.filter(|(own, _)| *own == at) {
            Some((_, own)) if shows(table, key, own) => {
                history.report(Anomaly::OwnWriteUnread, format!("no row: {how}"));
            }
            Some(_) => {}
            None => {
                let (_, known) = known
                    .iter()
                    .find(|(place, _)| *place == at)
                    .expect("asked for");
                let absent = |version| !shows(table, key, version);
                history.judge_absent(at, known, absent, &how);
            }
        }
    }

    pub(super) fn in_transaction(&mut self) -> Result<(), Lost> {
        self.query("BEGIN")?;
        for _ in 0..3 {
            let at = self.random.below(self.history.rows.len());
            self.read(at)?;
        }
        let end = *self.random.pick(&["COMMIT", "ROLLBACK", "END"]);
        self.query(end)?;
        self.history.tally.operation("read: in a transaction");
        Ok(())
    }

    /// What moves between two tables is neither made nor lost.
    pub(super) fn transfer(&mut self) -> Result<(), Lost> {
        self.history.tally.operation("transfer between tables");
        let (from, to) =
            *self
                .random
                .pick(&[("acc_a", "acc_b"), ("acc_b", "acc_a"), ("acc_a", "acc_a")]);
        let (a, b, n) = (
            self.random.below(3),
            self.random.below(3),
            1 + self.random.below(50) as i64,
        );
        let take = format!("UPDATE {from} SET amount = amount - {n} WHERE id = {a}");
        let give = format!("UPDATE {to} SET amount = amount + {n} WHERE id = {b}");
        match self.random.below(4) {
            0 => self.query(&format!("{take}; {give}")).map(drop),
            1 => {
                self.query("BEGIN")?;
                self.query(&take)?;
                self.sum_is(SUM - n, Anomaly::OwnWriteUnread)?;
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

    pub(super) fn sum(&mut self) -> Result<(), Lost> {
        self.sum_is(SUM, Anomaly::Torn)
    }

    /// Within the transaction that has only taken so far it is less by as much.
    fn sum_is(&mut self, sum: i64, otherwise: Anomaly) -> Result<(), Lost> {
        self.history.tally.operation("read: sum over two tables");
        let sql = *self.random.pick(&SUMS);
        let reply = if self.random.one_in(2) {
            self.query(sql)?
        } else {
            self.send(&Batch::whole(sql, &[]))?
        };
        if reply.text() != sum.to_string() {
            self.history.report(
                otherwise,
                format!("{} instead of {sum}: {sql}", reply.text()),
            );
        }
        Ok(())
    }
}

/// Of all amounts, always.
pub const SUM: i64 = 6000;

pub const SUMS: [&str; 3] = [
    "SELECT (SELECT sum(amount) FROM acc_a) + (SELECT sum(amount) FROM acc_b)",
    "SELECT sum(amount) FROM (SELECT amount FROM acc_a UNION ALL SELECT amount FROM acc_b) x",
    "SELECT sum(amount) FROM acc_all",
];

/// The integers in an answer, row by row.
pub fn pairs(reply: &Reply, binary: bool) -> Vec<Vec<Option<i64>>> {
    if !binary {
        let number = |text: &str| text.parse().ok();
        return reply
            .text()
            .lines()
            .map(|line| line.split('|').map(number).collect())
            .collect();
    }
    let rows = reply.messages.iter().filter(|(tag, _)| *tag == b'D');
    rows.map(|(_, body)| integers(body)).collect()
}

fn integers(body: &[u8]) -> Vec<Option<i64>> {
    let mut at = 2;
    let mut values = Vec::new();
    while let Some(length) = body.get(at..at + 4) {
        let length = i32::from_be_bytes(length.try_into().expect("four bytes"));
        at += 4;
        let Ok(length) = usize::try_from(length) else {
            values.push(None);
            continue;
        };
        let value = &body[at..at + length];
        let zero = if value.first().is_some_and(|first| *first > 127) {
            -1
        } else {
            0
        };
        values.push(Some(
            value
                .iter()
                .fold(zero, |sum, byte| sum << 8 | i64::from(*byte)),
        ));
        at += length;
    }
    values
}
