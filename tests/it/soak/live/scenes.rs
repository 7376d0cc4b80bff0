//! What happens too seldom by chance: a few clients in step, again and again until the soak is over.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::client::{Address, Client, Lost};
use super::history::{Anomaly, History, Writing};
use super::tally::Scene;
use crate::cache::wire::{Reply, Wire};
use crate::soak::random::Random;

/// After a change of definitions there are no hits for a while, and others want some.
const BETWEEN_DEFINITIONS: Duration = Duration::from_secs(2);

/// Columns of each table of [`BORN`], by each of which it is read for the first time once.
pub const COLUMNS: usize = 14;
pub const BORN: [&str; 4] = ["c0", "c1", "c2", "c3"];

/// A writer that waits behind DDL runs with the trigger that the DDL makes, and so writes `dst`.
pub fn behind_ddl(history: &History, address: Address, random: &Random) {
    let mut maker = Client::new(history, address, random.branch(1), false, 90);
    let mut reader = Client::new(history, address, random.branch(2), false, 91);
    let (src, dst) = (history.place("src", 0), history.place("dst", 0));
    while !history.is_over() {
        let played = behind_ddl_once(history, address, &mut maker, &mut reader, src, dst);
        history.tally.scene(Scene::BehindDdl, played.is_ok());
        thread::sleep(BETWEEN_DEFINITIONS);
    }
}

fn behind_ddl_once(
    history: &History,
    address: Address,
    maker: &mut Client<'_>,
    reader: &mut Client<'_>,
    src: usize,
    dst: usize,
) -> Result<(), Lost> {
    maker.query("DROP TRIGGER IF EXISTS copies ON src")?;
    until_known(reader, dst)?;
    let (Some(one), Some(two)) = (history.write(src), history.write(dst)) else {
        return Ok(());
    };
    maker.query("BEGIN")?;
    maker.query(
        "CREATE TRIGGER copies AFTER UPDATE ON src FOR EACH ROW EXECUTE FUNCTION copy_over()",
    )?;
    one.commits();
    two.commits();
    let (a, b) = (one.version, two.version);
    let sql = format!("UPDATE src SET version = {a}, other = {b} WHERE id = 0");
    let answer = thread::scope(|scope| {
        let waits = scope.spawn(|| wait_and_commit(history, address, &sql));
        let waited = until_waiting(address, "UPDATE src");
        let made = maker.query("COMMIT");
        (waited, made, waits.join().unwrap_or(Err(Lost)))
    });
    // The trigger was made before the update could run.
    let known = answer.0 && answer.1.is_ok() && answer.2.is_ok();
    conclude(known, [one, two], reader, dst)
}

/// A writer that waits for a row fires a trigger whose function is replaced meanwhile, and then writes `fdst`.
pub fn behind_function(history: &History, address: Address, random: &Random) {
    let mut maker = Client::new(history, address, random.branch(1), false, 97);
    let mut reader = Client::new(history, address, random.branch(2), false, 98);
    while !history.is_over() {
        let played = behind_function_once(history, address, &mut maker, &mut reader);
        history.tally.scene(Scene::BehindFunction, played.is_ok());
        thread::sleep(BETWEEN_DEFINITIONS);
    }
}

fn function(body: &str) -> String {
    format!(
        "CREATE OR REPLACE FUNCTION follow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {body} RETURN NULL; END$$"
    )
}

fn behind_function_once(
    history: &History,
    address: Address,
    maker: &mut Client<'_>,
    reader: &mut Client<'_>,
) -> Result<(), Lost> {
    let (src, dst) = (history.place("fsrc", 0), history.place("fdst", 0));
    maker.query(&function(""))?;
    until_known(reader, dst)?;
    let (Some(one), Some(two)) = (history.write(src), history.write(dst)) else {
        return Ok(());
    };
    let (a, b) = (one.version, two.version);
    let sql = format!("UPDATE fsrc SET version = {a}, other = {b} WHERE id = 0");
    let mut holder = Client::new(history, address, Random::new(5), false, 99);
    holder.query("BEGIN")?;
    holder.query("SELECT FROM fsrc WHERE id = 0 FOR UPDATE")?;
    one.commits();
    two.commits();
    let answer = thread::scope(|scope| {
        let waits = scope.spawn(|| wait_and_commit(history, address, &sql));
        let waiting = until_waiting(address, "UPDATE fsrc");
        let made = maker.query(&function(
            "UPDATE fdst SET version = NEW.other WHERE id = 0;",
        ));
        let freed = holder.query("ROLLBACK");
        let waited = waits.join().unwrap_or(Err(Lost));
        waiting && made.and(freed).and(waited).is_ok()
    });
    // The function was replaced before the row was free.
    conclude(answer, [one, two], reader, dst)
}

/// What was written is known, or not; whoever reads `at` now finds it.
fn conclude(
    known: bool,
    written: [Writing<'_>; 2],
    reader: &mut Client<'_>,
    at: usize,
) -> Result<(), Lost> {
    for version in written {
        match known {
            true => version.acknowledged(),
            false => version.unknown(),
        }
    }
    for _ in 0..4 {
        reader.read(at)?;
    }
    known.then_some(()).ok_or(Lost)
}

/// Whether a statement that begins so is seen to wait for a lock, for some time.
fn until_waiting(address: Address, statement: &str) -> bool {
    until(
        address,
        &format!("wait_event_type = 'Lock' AND query LIKE '{statement}%'"),
    )
}

/// Whether some backend is seen to be so, for some time.
pub fn until(address: Address, is: &str) -> bool {
    let Some(mut looks) = Wire::try_open(address.direct_port, "postgres", address.database) else {
        return false;
    };
    let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE {is}");
    (0..100).any(|_| {
        let is = looks
            .try_query(&sql)
            .is_some_and(|reply| reply.text() != "0");
        if !is {
            thread::sleep(Duration::from_millis(10));
        }
        is
    })
}

/// Until the catalogue is known again every write means everything, and the next one must not.
fn until_known(reader: &mut Client<'_>, at: usize) -> Result<(), Lost> {
    for _ in 0..15 {
        reader.read(at)?;
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Writes, and leaves others time enough to read the old row, and to have it kept.
fn wait_and_commit(history: &History, address: Address, sql: &str) -> Result<Reply, Lost> {
    let mut waits = Client::new(history, address, Random::new(3), false, 92);
    waits.query("BEGIN")?;
    waits.query(sql)?;
    thread::sleep(Duration::from_millis(1_500));
    waits.query("COMMIT")
}

/// Reads begin to be told apart by a column while a write is under way that does not know it.
pub fn births(history: &History, address: Address, random: &Random) {
    let mut writer = Client::new(history, address, random.branch(1), false, 93);
    let mut reader = Client::new(history, address, random.branch(2), false, 94);
    let turns = (0..COLUMNS).flat_map(|column| BORN.map(|table| (table, column)));
    for (table, column) in turns.cycle() {
        if history.is_over() {
            return;
        }
        let played = birth(history, &mut writer, &mut reader, table, column);
        history.tally.scene(Scene::Birth, played.is_ok());
        thread::sleep(Duration::from_millis(100));
    }
}

fn birth(
    history: &History,
    writer: &mut Client<'_>,
    reader: &mut Client<'_>,
    table: &str,
    column: usize,
) -> Result<(), Lost> {
    let at = history.place(table, 0);
    let Some(writing) = history.write(at) else {
        return Ok(());
    };
    let next = writing.version;
    let read = format!("SELECT id, version FROM {table} WHERE k{column} = 0");
    writer.query("BEGIN")?;
    writer.query(&format!("UPDATE {table} SET version = {next} WHERE id = 0"))?;
    // What becomes of the read must not leave the transaction open.
    let born = reader.read_by(at, &read);
    writing.commits();
    if writer.query("COMMIT").is_ok() {
        writing.acknowledged();
    } else {
        writing.unknown();
    }
    reader.read_by(at, &read).and(born)
}

/// Whoever has a relation's lock is answered while others wait for theirs.
pub fn locks(history: &History, address: Address, random: &Random) {
    let mut holder = Client::new(history, address, random.branch(1), false, 95);
    for round in 0.. {
        if history.is_over() {
            return;
        }
        let played = lock(history, address, &mut holder, round);
        history.tally.scene(Scene::Lock, played.is_ok());
        thread::sleep(Duration::from_millis(200));
    }
}

fn lock(
    history: &History,
    address: Address,
    holder: &mut Client<'_>,
    round: u64,
) -> Result<(), Lost> {
    let direct = || Wire::try_open(address.direct_port, "postgres", address.database);
    // Nobody has asked this before.
    let read = format!("SELECT id, {round} FROM held");
    let waiting = |count: &str| {
        let Some(mut looks) = direct() else {
            return false;
        };
        let sql = "SELECT count(*) FROM pg_locks WHERE relation = 'held'::regclass AND NOT granted";
        (0..400).any(|_| {
            let is = looks
                .try_query(sql)
                .is_some_and(|reply| reply.text() == count);
            if !is {
                thread::sleep(Duration::from_millis(5));
            }
            is
        })
    };
    let answered = AtomicBool::new(false);
    let strikes = history.strikes.load(Ordering::SeqCst);
    thread::scope(|scope| {
        // On the server, so that it holds a lock.
        holder.query("BEGIN")?;
        holder.query("SELECT id, random() FROM held")?;
        scope.spawn(|| {
            if let Some(mut other) = direct() {
                let _ = other.try_query("BEGIN; LOCK TABLE held; ROLLBACK");
            }
        });
        let locks = waiting("1");
        scope.spawn(|| {
            let mut waiter = Client::new(history, address, Random::new(round), false, 96);
            let answer = waiter.query(&read);
            // Whoever struck its connection has answered nothing.
            let is = answer.is_ok() || waiter.is_cancelled();
            answered.store(is, Ordering::SeqCst);
        });
        let waits = locks && waiting("2");
        let said = holder.query(&read);
        let calm = strikes.is_multiple_of(2) && strikes == history.strikes.load(Ordering::SeqCst);
        // What strikes leaves connections behind that end a little later.
        let wrong = match said {
            Ok(_) => answered.load(Ordering::SeqCst),
            Err(Lost) => strikes == 0,
        };
        if waits && calm && wrong {
            history.report(
                Anomaly::Deadlocked,
                format!("whoever holds the lock waited for who waits for it: {read}"),
            );
        }
        holder.query("COMMIT")?;
        waits.then_some(()).ok_or(Lost)
    })
}
