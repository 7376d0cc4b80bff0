//! Scenes about when a snapshot is taken, and whose answer it is.

use std::thread;
use std::time::Duration;

use super::client::{Address, Client, Lost};
use super::history::History;
use super::reads::{Form, Way};
use super::tally::Scene;
use crate::cache::wire::Batch;
use crate::soak::random::Random;

const BETWEEN: Duration = Duration::from_millis(300);
/// What it asks is slow.
const BETWEEN_FOLLOWERS: Duration = Duration::from_secs(2);

/// A portal is bound, the row is written, and the portal is executed: its answer is as old as its Bind.
pub fn early_binds(history: &History, address: Address, random: &Random) {
    let mut binds = Client::new(history, address, random.branch(1), false, 110);
    let mut writes = Client::new(history, address, random.branch(2), false, 111);
    while !history.is_over() {
        let played = early_bind(history, &mut binds, &mut writes);
        history.tally.scene(Scene::EarlyBind, played.is_ok());
        thread::sleep(BETWEEN);
    }
}

fn early_bind(
    history: &History,
    binds: &mut Client<'_>,
    writes: &mut Client<'_>,
) -> Result<(), Lost> {
    let at = history.place("pb", 1);
    // What is in the cache is void, or Bind would have nothing to ask.
    write(history, writes, at)?;
    let sql = "SELECT id, version FROM pb WHERE id = 1";
    let mut begin = Batch::default();
    begin
        .parse("", sql, &[])
        .bind("", "", &[], &[], &[])
        .flush();
    if !binds.wire()?.try_until(&begin, b'2') {
        binds.wire = None;
        return Err(Lost);
    }
    let written = write(history, writes, at);
    binds.send(Batch::default().execute("", 0).sync())?;
    let form = Form {
        name: "read: literal",
        sql: sql.to_owned(),
        tables: vec!["pb"],
    };
    for _ in 0..2 {
        binds.read_form(at, 1, &form, Way::Undescribed)?;
    }
    written
}

/// Writes the next version of a row.
fn write(history: &History, writes: &mut Client<'_>, at: usize) -> Result<(), Lost> {
    let writing = history.write(at).ok_or(Lost)?;
    let row = &history.rows[at];
    writing.commits();
    let sql = format!(
        "UPDATE {} SET version = {} WHERE id = {}",
        row.table, writing.version, row.id
    );
    let written = writes.query(&sql).map(drop);
    match &written {
        Ok(()) => writing.acknowledged(),
        Err(Lost) => writing.unknown(),
    }
    written
}

/// A query is under way, the row is written, and somebody asks the same: the answer of the first is too old for him.
pub fn late_followers(history: &History, address: Address, random: &Random) {
    let mut writes = Client::new(history, address, random.branch(1), false, 112);
    let mut leads = Client::new(history, address, random.branch(2), false, 113);
    let mut follows = Client::new(history, address, random.branch(3), false, 114);
    for round in 0.. {
        if history.is_over() {
            return;
        }
        let played = late_follower(
            history,
            address,
            [&mut writes, &mut leads, &mut follows],
            round,
        );
        history.tally.scene(Scene::LateFollower, played.is_ok());
        thread::sleep(BETWEEN_FOLLOWERS);
    }
}

fn late_follower(
    history: &History,
    address: Address,
    [writes, leads, follows]: [&mut Client<'_>; 3],
    round: u64,
) -> Result<(), Lost> {
    let at = history.place("pb", 2);
    // Slow, and asked by nobody before.
    let sql = format!(
        "SELECT id, version FROM pb WHERE id = 2 AND {round} < (SELECT sum(g) FROM generate_series(1, 300000) g)"
    );
    thread::scope(|scope| {
        let leading = scope.spawn(|| leads.read_by(at, &sql));
        let running = super::scenes::until(
            address,
            &format!(
                "state = 'active' AND query LIKE '%AND {round} <%' AND pid <> pg_backend_pid()"
            ),
        );
        let written = write(history, writes, at);
        let in_time = !leading.is_finished();
        let followed = follows.read_by(at, &sql);
        let led = leading.join().unwrap_or(Err(Lost));
        let played = running && in_time;
        written.and(followed).and(led)?;
        played.then_some(()).ok_or(Lost)
    })
}
