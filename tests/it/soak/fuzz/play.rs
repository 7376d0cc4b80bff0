//! Plays a script on twin databases: one through pgditto, one directly.

use std::cell::Cell;
use std::fmt;
use std::time::Instant;

use super::ask::{Ask, Client, Mode, lines};
use crate::cache::wire::{Reply, Wire};
use crate::fixture::{Pgditto, Postgres, eventually};

/// Sessions of a script.
pub const SESSIONS: usize = 2;
/// Reads that are asked again after every step.
const LIVE: usize = 16;
/// Locks that the script itself holds are not waited for.
const SETTINGS: &[(&str, &str)] = &[("options", "-c lock_timeout=40ms")];
const READERS: &[&str] = &["app", "soak_alice"];

#[derive(Clone, Debug)]
pub enum Step {
    /// A session asks this.
    Run(usize, Ask),
    /// From now on this is asked after every step; the oldest such read is asked no more.
    Watch(Ask),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(who, ask) => write!(f, "{who}: {ask}"),
            Self::Watch(ask) => write!(f, "watch: {ask}"),
        }
    }
}

/// Where an answer was not the truth.
#[derive(Debug)]
pub struct Difference {
    pub step: usize,
    what: String,
    truth: Vec<String>,
    through: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "after step {}: {}", self.step, self.what)?;
        writeln!(f, "  PostgreSQL:\n    {}", self.truth.join("\n    "))?;
        write!(f, "  pgditto:\n    {}", self.through.join("\n    "))
    }
}

#[derive(Default, Debug)]
pub struct Tally {
    pub steps: u64,
    pub checks: u64,
    pub blocked: u64,
    pub episodes: u64,
    pub hits: f64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} episodes, {} steps, {} answers checked, {} not for a lock, {} hits",
            self.episodes, self.steps, self.checks, self.blocked, self.hits
        )
    }
}

/// A server with a database to copy, and a pgditto for all of its databases.
pub struct Ground {
    pub postgres: Postgres,
    pub pgditto: Pgditto,
    next: Cell<u32>,
}

impl Ground {
    pub fn new() -> Self {
        let postgres = Postgres::start(&[
            ("max_prepared_transactions", "20"),
            ("deadlock_timeout", "20ms"),
            ("autovacuum", "off"),
        ]);
        postgres.allow("host all all 127.0.0.1/32 trust");
        postgres.psql("CREATE ROLE soak_alice LOGIN; CREATE ROLE soak_bob LOGIN; GRANT soak_alice, soak_bob TO app");
        // Before PostgreSQL 15 only a superuser may set it, and both twins answer so.
        if postgres.major() >= 15 {
            postgres.psql("GRANT SET ON PARAMETER session_replication_role TO app");
        }
        postgres.psql("CREATE DATABASE fuzz_template OWNER app");
        let mut schema = include_str!("schema.sql").to_owned();
        if postgres.major() < 15 {
            schema = schema.replace("WITH (security_invoker)", "");
        }
        let made = Wire::connect(postgres.port, "app", "fuzz_template", &[]).query(&schema);
        assert_eq!(made.error(), None, "{made:?}");
        let pgditto = Pgditto::start(&postgres, |opts| {
            opts.set("auth.auth_type", "trust");
        });
        Self {
            postgres,
            pgditto,
            next: Cell::new(0),
        }
    }

    /// A pair of databases, made from the template.
    pub fn twins(&self) -> (String, String) {
        let n = self.next.get();
        self.next.set(n + 1);
        let (a, b) = (format!("fuzz_a{n}"), format!("fuzz_b{n}"));
        for name in [&a, &b] {
            let sql = format!("CREATE DATABASE {name} TEMPLATE fuzz_template OWNER app");
            eventually("nobody uses the template", || {
                Wire::connect(self.postgres.port, "postgres", "postgres", &[])
                    .query(&sql)
                    .error()
                    .is_none()
            });
        }
        (a, b)
    }

    /// Waits until hits are served on the database of `client`.
    pub fn serves(&self, client: &mut Wire) {
        let hits = || self.pgditto.metrics().sum("pgditto_hits_total", &[]);
        eventually("hits are served", || {
            let before = hits();
            client.query("SELECT 1 AS warm");
            hits() > before
        });
    }

    fn via(&self, user: &str, database: &str) -> Wire {
        Wire::connect(self.pgditto.port, user, database, SETTINGS)
    }

    fn direct(&self, user: &str, database: &str) -> Wire {
        Wire::connect(self.postgres.port, user, database, SETTINGS)
    }

    /// # Errors
    /// The first answer that is not the truth.
    pub fn play(
        &self,
        script: &[Step],
        until: Option<Instant>,
        tally: &mut Tally,
    ) -> Result<(), Difference> {
        let (ours, twin) = self.twins();
        let mut first = self.via("app", &ours);
        self.serves(&mut first);
        let hits = |pgditto: &Pgditto| pgditto.metrics().sum("pgditto_hits_total", &[]);
        let before = hits(&self.pgditto);
        let result = self.play_on(script, until, tally, &ours, &twin);
        tally.hits += hits(&self.pgditto) - before;
        tally.episodes += 1;
        drop(first);
        self.clean(&ours, &twin);
        result
    }

    fn play_on(
        &self,
        script: &[Step],
        until: Option<Instant>,
        tally: &mut Tally,
        ours: &str,
        twin: &str,
    ) -> Result<(), Difference> {
        let mut sessions: Vec<(Client, Client)> = (0..SESSIONS)
            .map(|_| {
                (
                    Client::new(self.direct("app", twin), "b"),
                    Client::new(self.via("app", ours), "a"),
                )
            })
            .collect();
        let mut readers: Vec<(Client, Client)> = READERS
            .iter()
            .map(|user| {
                (
                    Client::new(self.direct(user, ours), "a"),
                    Client::new(self.via(user, ours), "a"),
                )
            })
            .collect();
        let mut live: Vec<&Ask> = Vec::new();
        for (at, step) in script.iter().enumerate() {
            if until.is_some_and(|until| Instant::now() >= until) {
                break;
            }
            tally.steps += 1;
            match step {
                Step::Watch(ask) => {
                    if live.len() == LIVE {
                        live.remove(0);
                    }
                    live.push(ask);
                }
                Step::Run(who, ask) => {
                    let (direct, via) = &mut sessions[*who];
                    compare(direct, via, ask, false).map_err(|two| Difference {
                        step: at,
                        what: format!("session {who}: {ask}"),
                        truth: two.0,
                        through: two.1,
                    })?;
                }
            }
            self.check(&mut readers, &live, at, tally)?;
        }
        Ok(())
    }

    /// Asks every live read through pgditto and directly on the same database.
    fn check(
        &self,
        readers: &mut [(Client, Client)],
        live: &[&Ask],
        at: usize,
        tally: &mut Tally,
    ) -> Result<(), Difference> {
        let mut blocked = 0;
        for (reader, (direct, via)) in readers.iter_mut().enumerate() {
            for ask in live {
                // The script holds locks that make readers wait for nothing.
                if blocked > 1 {
                    return Ok(());
                }
                tally.checks += 1;
                match compare(direct, via, ask, true) {
                    Ok(true) => {}
                    Ok(false) => {
                        blocked += 1;
                        tally.blocked += 1;
                    }
                    Err((truth, through)) => {
                        return Err(Difference {
                            step: at,
                            what: format!("read as {}: {ask}", READERS[reader]),
                            truth,
                            through,
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// Prepared transactions outlive their database's sessions.
    fn clean(&self, ours: &str, twin: &str) {
        for database in [ours, twin] {
            let mut client = Wire::connect(self.postgres.port, "postgres", database, &[]);
            let open = client
                .query("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()");
            for gid in open.text().lines() {
                client.query(&format!("ROLLBACK PREPARED '{gid}'"));
            }
        }
    }
}

/// Asks both; false when a lock was in the way.
fn compare(
    direct: &mut Client,
    via: &mut Client,
    ask: &Ask,
    same_database: bool,
) -> Result<bool, (Vec<String>, Vec<String>)> {
    let truth = direct.ask(ask);
    if same_database && truth.as_ref().and_then(|reply| reply.error()).as_deref() == Some("55P03") {
        return Ok(false);
    }
    let through = via.ask(ask);
    let failed =
        |reply: &Option<Reply>| reply.as_ref().is_some_and(|reply| reply.error().is_some());
    // A statement may have to be prepared again on another connection: of two errors another one may come first.
    if matches!(ask.mode, Mode::Prepared { .. }) && failed(&truth) && failed(&through) {
        return Ok(true);
    }
    let of = |reply: Option<&Reply>| lines(reply, ask.ordered, same_database);
    let (truth, through) = (of(truth.as_ref()), of(through.as_ref()));
    if truth == through {
        Ok(true)
    } else {
        Err((truth, through))
    }
}
