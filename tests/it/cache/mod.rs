//! Never a wrong answer: whatever is answered from the cache is what PostgreSQL answers at that moment.
//!
//! Everything is seen from outside: each answer is compared with that of a direct connection, byte for byte,
//! and `/metrics` says who gave it.

mod added;
mod alone;
mod bystanders;
mod defaults;
mod documented;
mod encodings;
mod flights;
mod function_queries;
mod held;
mod hits;
mod invalidation;
mod keyed;
mod keys;
mod network;
mod outcomes;
mod portals;
mod privileges;
mod purity;
mod redis;
mod replication;
mod reread;
mod returned;
mod roles;
mod row_limits;
mod rules;
mod shadow;
mod temporary;
mod transactions;
mod verify;
mod views_keyed;
pub mod wire;
mod writes;

use std::cell::RefCell;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::fixture::{Metrics, Options, Pgditto, Postgres, eventually};
use wire::{Batch, Reply, Wire};

/// The server of all tests that leave it as it is; each has a database of its own on it.
static SHARED: LazyLock<Postgres> = LazyLock::new(server);

/// A server that asks nobody for a password.
fn server() -> Postgres {
    let postgres = Postgres::start(&[("max_prepared_transactions", "20")]);
    postgres.allow("host all all 127.0.0.1/32 trust");
    postgres
}

/// Who answered.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Served {
    Hit,
    /// The server, and the answer may be kept.
    Miss,
    /// The server, for this reason.
    Bypass(String),
    Write,
    /// pgditto, of itself.
    Local,
}

/// A database with a pgditto in front of it.
struct House<'a> {
    postgres: &'a Postgres,
    database: String,
    pgditto: Pgditto,
    /// The last scrape that nothing has happened since.
    before: RefCell<Option<Metrics>>,
}

impl House<'static> {
    /// A fresh database on the shared server, made by `schema`.
    fn new(schema: &str) -> Self {
        Self::with(schema, |_| {})
    }

    fn with(schema: &str, configure: impl FnOnce(&mut Options)) -> Self {
        House::on(&SHARED, schema, configure)
    }
}

impl<'a> House<'a> {
    fn on(postgres: &'a Postgres, schema: &str, configure: impl FnOnce(&mut Options)) -> Self {
        let database = fresh_database(postgres, schema);
        let pgditto = start(postgres, &database, configure);
        let house = House {
            postgres,
            database,
            pgditto,
            before: RefCell::default(),
        };
        house.serves();
        house
    }

    /// Waits until hits are served.
    fn serves(&self) {
        let mut client = self.via();
        eventually("hits are served", || {
            self.look(&mut client, "SELECT 1 AS one").1 == Served::Hit
        });
    }

    /// A connection through pgditto.
    fn via(&self) -> Wire {
        self.via_as("app", &[])
    }

    fn via_as(&self, user: &str, parameters: &[(&str, &str)]) -> Wire {
        Wire::connect(self.pgditto.port, user, &self.database, parameters)
    }

    /// A connection to the server itself.
    fn direct(&self) -> Wire {
        self.direct_as("app", &[])
    }

    fn direct_as(&self, user: &str, parameters: &[(&str, &str)]) -> Wire {
        Wire::connect(self.postgres.port, user, &self.database, parameters)
    }

    /// The same client twice: through pgditto, and directly to compare with.
    fn pair(&self) -> Pair<'_> {
        self.pair_as("app", &[])
    }

    fn pair_as(&self, user: &str, parameters: &[(&str, &str)]) -> Pair<'_> {
        Pair {
            house: self,
            via: self.via_as(user, parameters),
            direct: self.direct_as(user, parameters),
        }
    }

    /// Runs SQL as the application's user on a connection of its own, past pgditto.
    fn outside(&self, sql: &str) {
        let reply = self.direct().query(sql);
        assert_eq!(reply.error(), None, "{sql}: {reply:?}");
    }

    /// The same as the superuser.
    fn superuser(&self, sql: &str) {
        let reply = self.direct_as("postgres", &[]).query(sql);
        assert_eq!(reply.error(), None, "{sql}: {reply:?}");
    }

    /// Until one backend of this database waits for a lock: its pid.
    fn waiter(&self) -> String {
        let sql = format!(
            "SELECT pid FROM pg_stat_activity WHERE datname = '{}' AND wait_event_type = 'Lock'",
            self.database
        );
        let mut pid = String::new();
        eventually("it waits for a lock", || {
            pid = self.postgres.psql(&sql);
            pid.parse::<i32>().is_ok()
        });
        pid
    }

    /// Changes the catalogue as the superuser, past pgditto, and waits until the watch has found it. To be
    /// called when hits are served: what is undone before it was found is never found.
    fn superuser_seen(&self, ddl: &str) {
        let found = || {
            let log = self.pgditto.log();
            log.iter()
                .filter(|line| line.contains("changed from outside"))
                .count()
        };
        let before = found();
        self.superuser(ddl);
        eventually(&format!("found: {ddl}"), || found() > before);
    }

    /// Asks and says who answered. Nobody else may be asking anything meanwhile.
    fn look(&self, client: &mut Wire, sql: &str) -> (Reply, Served) {
        self.watch(|| client.query(sql))
    }

    fn look_batch(&self, client: &mut Wire, batch: &Batch) -> (Reply, Served) {
        self.watch(|| client.batch(batch))
    }

    /// Who answered the one unit that `ask` sends.
    fn watch<T>(&self, ask: impl FnOnce() -> T) -> (T, Served) {
        let count = |metrics: &Metrics| metrics.sum("pgditto_statements_total", &[]);
        let before = self.before.borrow_mut().take();
        let before = before.unwrap_or_else(|| {
            // What was asked last is counted after its last byte was sent: on a busy machine some time later.
            let mut last = self.pgditto.metrics();
            let mut still = 0;
            eventually("nothing is under way", || {
                let next = self.pgditto.metrics();
                still = if count(&next) == count(&last) {
                    still + 1
                } else {
                    0
                };
                last = next;
                (still == 4).then(|| std::mem::take(&mut last))
            })
        });
        let answer = ask();
        // Counted after the last byte was sent.
        let after = eventually("the statement is counted", || {
            let after = self.pgditto.metrics();
            (count(&after) > count(&before)).then_some(after)
        });
        assert_eq!(
            count(&after),
            count(&before) + 1.0,
            "somebody else asked, too"
        );
        let grew = |labels: &[(&str, &str)]| {
            let name = "pgditto_statements_total";
            after.sum(name, labels) > before.sum(name, labels)
        };
        let served = if grew(&[("outcome", "hit")]) {
            Served::Hit
        } else if grew(&[("outcome", "miss")]) {
            Served::Miss
        } else if grew(&[("outcome", "bypass")]) {
            Served::Bypass(reason(&before, &after))
        } else if grew(&[("outcome", "write")]) {
            Served::Write
        } else {
            Served::Local
        };
        (answer, served)
    }
}

impl Drop for House<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("database {}", self.database);
        }
    }
}

fn start(postgres: &Postgres, database: &str, configure: impl FnOnce(&mut Options)) -> Pgditto {
    Pgditto::start(postgres, |opts| {
        opts.set("auth.auth_type", "trust");
        opts.upstream(postgres.url_for("app", database));
        configure(opts);
    })
}

fn fresh_database(postgres: &Postgres, schema: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let database = format!("d{}", NEXT.fetch_add(1, Ordering::Relaxed));
    postgres.psql(&format!("CREATE DATABASE {database} OWNER app"));
    let mut maker = Wire::connect(postgres.port, "app", &database, &[]);
    let reply = maker.query(schema);
    assert_eq!(reply.error(), None, "{schema}: {reply:?}");
    database
}

fn reason(before: &Metrics, after: &Metrics) -> String {
    let grown = after.0.iter().find(|(series, value)| {
        series.starts_with("pgditto_bypasses_total")
            && **value > before.0.get(*series).copied().unwrap_or(0.0)
    });
    grown
        .and_then(|(series, _)| series.split("reason=\"").nth(1))
        .and_then(|rest| rest.split('"').next())
        .map_or_else(|| "?".to_owned(), str::to_owned)
}

/// One client through pgditto and its twin on the server itself.
struct Pair<'a> {
    house: &'a House<'a>,
    via: Wire,
    direct: Wire,
}

impl Pair<'_> {
    /// Does the same on both sides, such as SET.
    fn both(&mut self, sql: &str) {
        for client in [&mut self.via, &mut self.direct] {
            let reply = client.query(sql);
            assert_eq!(reply.error(), None, "{sql}: {reply:?}");
        }
        self.house.before.take();
    }

    /// Does something through pgditto alone.
    fn write(&mut self, sql: &str) -> Reply {
        let reply = self.via.query(sql);
        assert_eq!(reply.error(), None, "{sql}: {reply:?}");
        self.house.before.take();
        reply
    }

    /// Reads on both sides; the answers must be the same to the byte.
    fn look(&mut self, sql: &str) -> Served {
        let (reply, served) = self.house.look(&mut self.via, sql);
        let truth = self.direct.query(sql);
        assert_eq!(reply.essence(), truth.essence(), "{served:?}: {sql}");
        served
    }

    fn look_batch(&mut self, batch: &Batch) -> Served {
        let (reply, served) = self.house.look_batch(&mut self.via, batch);
        let truth = self.direct.batch(batch);
        assert_eq!(reply.essence(), truth.essence(), "{served:?}");
        served
    }

    fn hit(&mut self, sql: &str) {
        assert_eq!(self.look(sql), Served::Hit, "{sql}");
    }

    fn miss(&mut self, sql: &str) {
        assert_eq!(self.look(sql), Served::Miss, "{sql}");
    }

    /// Answered by the server this time, whatever the reason.
    fn asked(&mut self, sql: &str) {
        let served = self.look(sql);
        assert!(
            matches!(served, Served::Miss | Served::Bypass(_)),
            "{served:?}: {sql}"
        );
    }

    fn bypass(&mut self, sql: &str, reason: &str) {
        assert_eq!(self.look(sql), Served::Bypass(reason.to_owned()), "{sql}");
    }

    /// Reads until it is a hit; every answer on the way must be right.
    fn becomes_hit(&mut self, sql: &str) {
        eventually(&format!("a hit: {sql}"), || self.look(sql) == Served::Hit);
    }

    /// However often it is asked, the server answers.
    fn never_hits(&mut self, sql: &str) {
        for _ in 0..3 {
            let (reply, served) = self.house.look(&mut self.via, sql);
            assert_eq!(reply.error(), None, "{sql}: {reply:?}");
            assert_ne!(served, Served::Hit, "{sql}");
        }
    }

    /// `read` is a hit; then `write`, through pgditto, changes what it answers: the next read knows.
    fn invalidates(&mut self, read: &str, write: &str) {
        self.invalidates_by(read, |pair| drop(pair.write(write)), write);
    }

    /// [`Pair::invalidates`] with any writing.
    fn invalidates_by(&mut self, read: &str, write: impl FnOnce(&mut Self), what: &str) {
        self.becomes_hit(read);
        let before = self.direct.query(read);
        write(self);
        self.house.before.take();
        let after = self.direct.query(read);
        assert_ne!(before, after, "the test changes nothing: {what}");
        let served = self.look(read);
        assert_ne!(served, Served::Hit, "{what}");
        self.becomes_hit(read);
    }

    /// `read` is a hit, and still one after `write`.
    fn leaves_alone(&mut self, read: &str, write: &str) {
        self.becomes_hit(read);
        self.write(write);
        self.hit(read);
    }
}
