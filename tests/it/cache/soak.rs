//! Many sessions at once, at random: nobody ever reads what is older than what they could know of.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::wire::{Batch, Reply, Wire};
use super::{House, SHARED};

const ROWS: usize = 6;
const TABLES: usize = 3;
const SESSIONS: u64 = 8;
const LASTS: Duration = Duration::from_secs(12);

/// What is known of one row.
#[derive(Default)]
struct Row {
    /// The last version whose commit was acknowledged.
    acknowledged: AtomicI64,
    /// The last version whose commit may have been sent. Anything above was never committed.
    begun: AtomicI64,
    /// Held while a version is written, so that versions rise in the order of their commits.
    writer: parking_lot::Mutex<()>,
}

type Rows = Arc<Vec<Row>>;

/// Small, fast and reproducible.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

fn table(row: usize) -> String {
    format!("v{}", row / ROWS)
}

fn id(row: usize) -> usize {
    row % ROWS
}

/// Ways to ask for one row's version.
fn ask(client: &mut Wire, random: &mut Random, row: usize) -> Reply {
    let (table, id) = (table(row), id(row));
    match random.below(6) {
        0 => client.query(&format!("SELECT version FROM {table} WHERE id = {id}")),
        1 => client.query(&format!("SELECT max(version) FROM {table} WHERE id = {id}")),
        2 => client.query(&format!("SELECT version FROM all_{table} WHERE id = {id}")),
        3 => client.query(&format!(
            "SELECT a.version FROM {table} a JOIN v0 b ON b.id = a.id WHERE a.id = {id}"
        )),
        _ => client.batch(&Batch::whole(
            &format!("SELECT version FROM {table} WHERE id = $1"),
            &[Some(id.to_string().as_bytes())],
        )),
    }
}

fn version(reply: &Reply) -> i64 {
    assert_eq!(reply.error(), None, "{reply:?}");
    reply.text().parse().unwrap_or_else(|_| panic!("{reply:?}"))
}

/// A read between two looks at what is known; `floor` is what this session has seen already.
fn read(client: &mut Wire, random: &mut Random, rows: &Rows, row: usize, floor: &mut [i64]) {
    let known = rows[row]
        .acknowledged
        .load(Ordering::SeqCst)
        .max(floor[row]);
    let seen = version(&ask(client, random, row));
    let possible = rows[row].begun.load(Ordering::SeqCst);
    assert!(
        seen >= known,
        "row {row}: version {seen} is older than {known}, which was known"
    );
    assert!(
        seen <= possible,
        "row {row}: version {seen} was never committed; {possible} was"
    );
    floor[row] = seen;
}

fn write(client: &mut Wire, random: &mut Random, rows: &Rows, row: usize) {
    let _alone = rows[row].writer.lock();
    let next = rows[row].begun.load(Ordering::SeqCst) + 1;
    let (table, id) = (table(row), id(row));
    let update = format!("UPDATE {table} SET version = {next} WHERE id = {id}");
    let good = |reply: Reply| assert_eq!(reply.error(), None, "{reply:?}");
    // What is never committed carries a version that nobody may see.
    let never = format!("UPDATE {table} SET version = 1000000000 WHERE id = {id}");
    let commits = |rows: &Rows| rows[row].begun.store(next, Ordering::SeqCst);
    match random.below(9) {
        0 => {
            good(client.query("BEGIN"));
            good(client.query(&never));
            assert_eq!(version(&ask(client, random, row)), 1_000_000_000);
            good(client.query("ROLLBACK"));
            return;
        }
        1 => {
            assert!(
                client
                    .query(&format!("{never}; SELECT 1 / 0"))
                    .error()
                    .is_some()
            );
            return;
        }
        2 => {
            good(client.query("BEGIN"));
            good(client.query(&update));
            assert_eq!(version(&ask(client, random, row)), next);
            commits(rows);
            good(client.query("COMMIT"));
        }
        3 => {
            commits(rows);
            good(client.query(&format!("BEGIN; {update}; COMMIT")));
        }
        4 => {
            commits(rows);
            good(client.batch(&Batch::whole(
                &format!("UPDATE {table} SET version = $1 WHERE id = {id}"),
                &[Some(next.to_string().as_bytes())],
            )));
        }
        5 => {
            commits(rows);
            good(client.query(&format!("SELECT bump('{table}', {id}, {next})")));
        }
        6 => {
            good(client.query("BEGIN"));
            good(client.query("SAVEPOINT s"));
            good(client.query(&never));
            good(client.query("ROLLBACK TO s"));
            good(client.query(&update));
            commits(rows);
            good(client.query("END"));
        }
        7 => {
            commits(rows);
            good(client.query(&format!(
                "UPDATE all_{table} SET version = {next} WHERE id = {id}"
            )));
        }
        _ => {
            commits(rows);
            good(client.query(&update));
        }
    }
    rows[row].acknowledged.store(next, Ordering::SeqCst);
}

fn session(mut client: Wire, mut random: Random, rows: &Rows, until: Instant) -> u64 {
    let mut floor = vec![0; rows.len()];
    let mut reads = 0;
    while Instant::now() < until {
        let row = random.below(rows.len());
        match random.below(10) {
            0 => write(&mut client, &mut random, rows, row),
            1 => {
                assert_eq!(client.query("BEGIN").error(), None);
                for _ in 0..3 {
                    let row = random.below(rows.len());
                    read(&mut client, &mut random, rows, row, &mut floor);
                    reads += 1;
                }
                let end = if random.below(2) == 0 {
                    "COMMIT"
                } else {
                    "ROLLBACK"
                };
                assert_eq!(client.query(end).error(), None);
            }
            _ => {
                read(&mut client, &mut random, rows, row, &mut floor);
                reads += 1;
            }
        }
    }
    reads
}

fn schema() -> String {
    let mut schema = String::from(
        "CREATE FUNCTION bump(t text, i int, n int) RETURNS void LANGUAGE plpgsql AS
             $$BEGIN EXECUTE format('UPDATE %I SET version = $1 WHERE id = $2', t) USING n, i; END$$;",
    );
    for n in 0..TABLES {
        schema.push_str(&format!(
            "CREATE TABLE v{n} (id int PRIMARY KEY, version int);
             INSERT INTO v{n} SELECT g, 0 FROM generate_series(0, {}) g;
             CREATE VIEW all_v{n} AS SELECT * FROM v{n};",
            ROWS - 1
        ));
    }
    schema
}

#[test]
fn nobody_reads_what_is_older_than_what_was_acknowledged_or_was_never_committed() {
    let seed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |since| since.as_nanos() as u64 | 1);
    println!("seed {seed}");
    let house = House::on(&SHARED, &schema(), |opts| {
        opts.set("pool.default_pool_size", 5);
    });
    let rows: Rows = Arc::new((0..ROWS * TABLES).map(|_| Row::default()).collect());
    let until = Instant::now() + LASTS;
    let sessions: Vec<_> = (0..SESSIONS)
        .map(|n| {
            let (client, rows) = (house.via(), Arc::clone(&rows));
            let random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(n) | 1);
            thread::spawn(move || session(client, random, &rows, until))
        })
        .collect();
    let reads: u64 = sessions
        .into_iter()
        .map(|session| session.join().expect("every answer was right"))
        .sum();
    let metrics = house.pgditto.metrics();
    let hits = metrics.sum("pgditto_hits_total", &[]);
    println!("{reads} reads, {hits} hits");
    assert!(hits > 0.0 && hits < reads as f64);
    for (row, known) in rows.iter().enumerate() {
        let mut client = house.via();
        let truth = house.direct().query(&format!(
            "SELECT version FROM {} WHERE id = {}",
            table(row),
            id(row)
        ));
        assert_eq!(version(&truth), known.acknowledged.load(Ordering::SeqCst));
        assert_eq!(
            version(&ask(&mut client, &mut Random(1), row)),
            version(&truth)
        );
    }
}
