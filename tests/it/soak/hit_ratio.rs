//! How much of the hits does invalidation leave, of those that are possible? The same sequence of reads and
//! writes is played through pgditto, and on two models: one voids exactly what a write
//! changes, the other all that reads the written table. The figures are ratios, so they
//! hold on a slow machine as well.

use std::collections::HashSet;
use std::fmt::Write;

use super::random::Random;
use super::{asked, fresh_seed};
use crate::fixture::{Frames, Pgditto, Postgres, Wire};

/// One operation in so many is a write.
const WRITE_IN: usize = 10;

/// What an answer may lose against perfect invalidation, in points of the hit ratio.
const POINTS: f64 = 2.0;

struct Mix {
    name: &'static str,
    read: &'static str,
    write: &'static str,
    /// Rows that share an answer.
    rows_of_answer: usize,
    /// The write is of a row that nobody has read.
    inserts: bool,
}

const MIXES: &[Mix] = &[
    Mix {
        name: "reads by key, writes by key",
        read: "SELECT v FROM item WHERE id = $1",
        write: "UPDATE item SET v = v + 1 WHERE id = $1",
        rows_of_answer: 1,
        inserts: false,
    },
    Mix {
        name: "reads by tenant, writes by tenant and key",
        read: "SELECT count(*), sum(v) FROM item WHERE tenant = $1",
        write: "UPDATE item SET v = v + 1 WHERE tenant = $2 AND id = $1",
        rows_of_answer: 100,
        inserts: false,
    },
];

const RETURNING: &[Mix] = &[
    Mix {
        name: "reads by tenant, writes by key that return the tenant",
        read: "SELECT count(*), sum(v) FROM item WHERE tenant = $1",
        write: "UPDATE item SET v = v + 1 WHERE id = $1 RETURNING tenant",
        rows_of_answer: 100,
        inserts: false,
    },
    Mix {
        name: "reads by tenant, writes by key",
        read: "SELECT count(*), sum(v) FROM item WHERE tenant = $1",
        write: "UPDATE item SET v = v + 1 WHERE id = $1",
        rows_of_answer: 100,
        inserts: false,
    },
    Mix {
        name: "reads by key, inserts that return the key",
        read: "SELECT v FROM item WHERE id = $1",
        write: "INSERT INTO item (tenant, v) VALUES ($1, 0) RETURNING id",
        rows_of_answer: 1,
        inserts: true,
    },
    Mix {
        name: "reads by key, inserts",
        read: "SELECT v FROM item WHERE id = $1",
        write: "INSERT INTO item (tenant, v) VALUES ($1, 0)",
        rows_of_answer: 1,
        inserts: true,
    },
];

/// Numbers below `n`; the first are the most frequent.
enum Draw {
    Uniform(usize),
    /// Cumulated weights.
    Zipf(Vec<f64>),
}

impl Draw {
    fn zipf(n: usize, exponent: f64) -> Self {
        let weights = (1..=n).scan(0.0, |sum, rank| {
            *sum += (rank as f64).powf(-exponent);
            Some(*sum)
        });
        Self::Zipf(weights.collect())
    }

    fn next(&self, random: &mut Random) -> usize {
        match self {
            Self::Uniform(n) => random.below(*n),
            Self::Zipf(sums) => {
                let share = random.next() as f64 / u64::MAX as f64;
                let at = share * sums.last().expect("a weight");
                sums.partition_point(|sum| *sum < at).min(sums.len() - 1)
            }
        }
    }
}

/// Of the second half of the operations, when all is warm.
struct Outcome {
    reads: usize,
    hits: usize,
    perfect: usize,
    by_table: usize,
}

impl Outcome {
    fn percent(&self, hits: usize) -> f64 {
        100.0 * hits as f64 / self.reads as f64
    }
}

/// What one cache would hold.
#[derive(Default)]
struct Model {
    held: HashSet<usize>,
}

impl Model {
    fn hits(&mut self, answer: usize) -> bool {
        !self.held.insert(answer)
    }
}

fn play(pgditto: &Pgditto, mix: &Mix, draw: &Draw, operations: usize, seed: u64) -> Outcome {
    let mut random = Random::new(seed);
    let mut clients: Vec<Wire> = (0..4).map(|_| Wire::connect(pgditto.port)).collect();
    for client in &mut clients {
        let prepared = Frames::new()
            .parse("read", mix.read)
            .parse("write", mix.write);
        client.ask(&prepared.sync());
    }
    let hits = || pgditto.metrics().sum("pgditto_hits_total", &[]) as usize;
    let (mut exact, mut table) = (Model::default(), Model::default());
    let mut outcome = Outcome {
        reads: 0,
        hits: 0,
        perfect: 0,
        by_table: 0,
    };
    let mut before = 0;
    for number in 0..operations {
        let warm = number >= operations / 2;
        if number == operations / 2 {
            before = hits();
        }
        let row = draw.next(&mut random);
        let answer = row / mix.rows_of_answer;
        let client = &mut clients[number % 4];
        let (row, tenant) = (row.to_string(), answer.to_string());
        let writes = random.one_in(WRITE_IN);
        let bound = if writes {
            if !mix.inserts {
                exact.held.remove(&answer);
            }
            table.held.clear();
            let both = [row.as_str(), tenant.as_str()];
            let needed = if mix.write.contains("$2") { 2 } else { 1 };
            Frames::new().bind("", "write", &both[..needed])
        } else {
            let (perfect, by_table) = (exact.hits(answer), table.hits(answer));
            outcome.reads += usize::from(warm);
            outcome.perfect += usize::from(warm && perfect);
            outcome.by_table += usize::from(warm && by_table);
            let key = if mix.rows_of_answer == 1 { row } else { tenant };
            Frames::new().bind("", "read", &[&key])
        };
        let messages = client.ask(&bound.execute("", 0).sync());
        assert!(
            messages.iter().any(|message| message.tag == b'C'),
            "{}: {messages:?}",
            mix.name
        );
    }
    outcome.hits = hits() - before;
    outcome
}

/// `make hit-ratio`: `ROWS_OF_HIT_RATIO` and `OPERATIONS_OF_HIT_RATIO` for a larger table and a longer run.
#[test]
fn invalidation_by_key_keeps_the_hits_that_perfect_invalidation_would() {
    compare(MIXES);
}

#[test]
fn keys_that_come_back_with_a_write_keep_the_hits_that_perfect_invalidation_would() {
    compare(RETURNING);
}

fn compare(mixes: &[Mix]) {
    let rows = asked("ROWS_OF_HIT_RATIO", 1000) as usize;
    let operations = asked("OPERATIONS_OF_HIT_RATIO", 12_000) as usize;
    let seed = fresh_seed();
    let postgres = Postgres::start(&[]);
    postgres.psql_as(
        "app",
        &format!(
            "CREATE TABLE item (id serial PRIMARY KEY, tenant int NOT NULL, v int NOT NULL); \
             INSERT INTO item SELECT g, g / 100, 0 FROM generate_series(0, {rows} - 1) g; \
             SELECT setval('item_id_seq', {rows}); \
             CREATE INDEX ON item (tenant); ANALYZE item"
        ),
    );
    let mut table = format!("seed {seed}, {rows} rows, {operations} operations\n");
    let mut low = Vec::new();
    for mix in mixes {
        for (shape, draw) in [
            ("Zipf 0.99", Draw::zipf(rows, 0.99)),
            ("uniform", Draw::Uniform(rows)),
        ] {
            let pgditto = Pgditto::start(&postgres, |options| {
                // A busy machine must not empty the cache, which is not what is measured.
                options.set("cache.ttl", "1h").set("cache.lease", "10s");
            });
            let outcome = play(&pgditto, mix, &draw, operations, seed);
            let [got, perfect, by_table] =
                [outcome.hits, outcome.perfect, outcome.by_table].map(|hits| outcome.percent(hits));
            let line = format!(
                "{}, {shape}: {got:.1} % hits; perfect invalidation {perfect:.1} %, by table {by_table:.1} %",
                mix.name
            );
            writeln!(table, "{line}").expect("a string");
            if got < perfect - POINTS {
                low.push(line);
            }
        }
    }
    println!("{table}");
    assert!(low.is_empty(), "{low:#?}");
}
