//! What strikes while the clients work.

use std::thread;
use std::time::{Duration, Instant};

use super::client::{Address, Client, Lost};
use super::history::History;
use super::proxy::Proxy;
use super::{Focus, SETTINGS, UNLOGGED};
use crate::cache::wire::Wire;
use crate::fixture::{Options, Pgditto, Postgres, Signal, eventually};
use crate::soak::random::Random;

/// The servers, and the time between.
pub struct Stage<'a> {
    pub postgres: &'a mut Postgres,
    pub pgditto: &'a mut Pgditto,
    pub proxy: &'a Proxy,
    /// On the way of those who ask the server directly.
    pub direct: &'a Proxy,
    /// What each pgditto is told.
    pub configure: &'a dyn Fn(&mut Options),
    pub history: &'a History,
    pub address: Address,
    pub hits: f64,
}

const PROXIED: &str =
    "usename = 'app' AND datname = current_database() AND pid <> pg_backend_pid()";

impl Stage<'_> {
    /// Strikes until the time is over; the crash of every server comes soon at least once.
    pub fn strike(&mut self, random: &mut Random, until: Instant, focus: Focus) {
        for round in 0.. {
            let least = if focus == Focus::Everything {
                300
            } else {
                3_000
            };
            let pause = Instant::now() + Duration::from_millis(least + random.below(900) as u64);
            while Instant::now() < pause {
                if Instant::now() >= until || self.history.is_over() {
                    return;
                }
                thread::sleep(Duration::from_millis(10));
            }
            match focus {
                Focus::Everything => {}
                Focus::Nothing => continue,
                Focus::Kills => {
                    self.kill_pgditto(Duration::from_secs(8));
                    continue;
                }
                Focus::Crashes => {
                    self.crash(random);
                    continue;
                }
            }
            match (round % 12, random.below(12)) {
                (5, _) | (_, 0) => self.crash(random),
                (9, _) | (_, 1) => self.kill_pgditto(Duration::from_millis(1_500)),
                (_, 2..4) => self.terminate("true"),
                (_, 4..6) => self.terminate("query ~* 'commit|bump|update' AND state = 'active'"),
                (11, 9..) => self.promote(random),
                (3, 9..) => self.another_comes(random),
                (7, 9..) => self.wait_for_standby(random),
                (1, 9..) => self.prepare_and_kill(random),
                (_, 6) => self.proxy.cut(random, false),
                (_, 7) => self.proxy.cut(random, true),
                (_, 8) => self.proxy.cut_next_commit(false),
                _ => self.proxy.cut_next_commit(true),
            }
        }
    }

    fn terminate(&self, which: &str) {
        let sql = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {PROXIED} AND {which} ORDER BY random() LIMIT 1"
        );
        if let Some(mut wire) =
            Wire::try_open(self.postgres.port, "postgres", self.address.database)
        {
            let _ = wire.try_query(&sql);
        }
    }

    /// The server falls and rises; what it had not written to disk is gone.
    fn crash(&mut self, random: &mut Random) {
        self.history.crash_begins();
        if random.one_in(2) {
            self.postgres.stop(true);
        } else {
            self.postgres.kill9();
        }
        self.postgres.restart();
        self.settle_history();
    }

    /// After what was lost with a server.
    fn settle_history(&self) {
        // Prepared transactions live on, and hold their rows.
        let mut direct = Wire::connect(self.postgres.port, "postgres", self.address.database, &[]);
        self.history.crash_ends(|row| {
            let reply = direct.query(&format!(
                "SELECT version FROM {} WHERE id = {}",
                row.table, row.id
            ));
            let text = reply.text();
            // What is unlogged is gone with all its versions.
            let gone = row.table == UNLOGGED && text.is_empty();
            let version = if gone { Ok(0) } else { text.parse() };
            version.unwrap_or_else(|_| panic!("{reply:?}"))
        });
    }

    /// A standby that lags takes the place of the server.
    fn promote(&mut self, random: &mut Random) {
        let standby = self.postgres.standby(SETTINGS);
        standby.cut_off();
        thread::sleep(Duration::from_millis(random.below(1_000) as u64));
        self.history.crash_begins();
        self.postgres.stop(true);
        standby.promote();
        *self.postgres = standby;
        self.proxy.lead_to(self.postgres.port);
        self.direct.lead_to(self.postgres.port);
        self.settle_history();
    }

    /// A second pgditto serves the database for a while, and knows nothing of the first one's writes.
    fn another_comes(&self, random: &Random) {
        let second = Pgditto::start(self.postgres, |opts| (self.configure)(opts));
        let address = Address {
            port: second.port,
            ..self.address
        };
        thread::scope(|scope| {
            for n in 0..2 {
                let client = Client::new(
                    self.history,
                    address,
                    random.branch(300 + n),
                    false,
                    300 + n,
                );
                scope.spawn(|| client.run_briefly());
            }
        });
    }

    /// A commit waits for a synchronous standby that is not there when its link is cut.
    fn wait_for_standby(&self, random: &mut Random) {
        let history = self.history;
        let at = history.place("v1", 3);
        let Some(writing) = history.write(at) else {
            return;
        };
        self.ask("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
        self.ask("SELECT pg_reload_conf()");
        let mut client = Client::new(history, self.address, random.branch(1), false, 310);
        let answer = thread::scope(|scope| {
            let waits = scope.spawn(|| {
                client.query("BEGIN; SET LOCAL synchronous_commit = on")?;
                client.query(&format!(
                    "UPDATE v1 SET version = {} WHERE id = 3",
                    writing.version
                ))?;
                writing.commits();
                client.query("COMMIT")
            });
            let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
            for _ in 0..200 {
                if self.ask(waiting) != "0" {
                    break;
                }
                thread::sleep(Duration::from_millis(10));
            }
            self.proxy.cut(random, true);
            thread::sleep(Duration::from_millis(random.below(2_000) as u64));
            self.ask("ALTER SYSTEM RESET synchronous_standby_names");
            self.ask("SELECT pg_reload_conf()");
            waits.join().unwrap_or(Err(Lost))
        });
        match answer {
            Ok(_) => writing.acknowledged(),
            Err(Lost) => writing.unknown(),
        }
    }

    /// What was prepared through a pgditto that is killed is committed by somebody else.
    fn prepare_and_kill(&mut self, random: &Random) {
        let history = self.history;
        let at = history.place("v0", 3);
        let Some(writing) = history.write(at) else {
            return;
        };
        let mut client = Client::new(history, self.address, random.branch(1), false, 311);
        let prepared = client.query("BEGIN").and_then(|_| {
            client.query(&format!(
                "UPDATE v0 SET version = {} WHERE id = 3",
                writing.version
            ))?;
            writing.commits();
            client.query("PREPARE TRANSACTION 'over_a_kill'")
        });
        self.kill_pgditto(Duration::ZERO);
        for _ in 0..20 {
            let _ = client.read(at);
        }
        let mut direct = Client::new(history, self.address, random.branch(2), true, 312);
        let ended = direct.query("COMMIT PREPARED 'over_a_kill'");
        if prepared.is_ok() && ended.is_ok() {
            writing.acknowledged();
            let _ = client.read(at);
        } else {
            writing.unknown();
        }
    }

    /// Asks the server as its superuser; empty where there is no answer.
    fn ask(&self, sql: &str) -> String {
        Wire::try_open(self.postgres.port, "postgres", self.address.database)
            .and_then(|mut wire| wire.try_query(sql))
            .map(|reply| reply.text())
            .unwrap_or_default()
    }

    /// A crash of pgditto, with commits on their way.
    fn kill_pgditto(&mut self, patience: Duration) {
        if let Some(reply) = self.pgditto.try_http("GET", "/metrics") {
            self.hits += crate::fixture::Metrics::parse(&reply.body).sum("pgditto_hits_total", &[]);
        }
        // Somebody's slow commit is what a start barrier is for.
        eventually("somebody commits, or nobody does", {
            let deadline = Instant::now() + patience;
            let mut wire = Wire::try_open(self.postgres.port, "postgres", self.address.database);
            move || {
                let sql = format!(
                    "SELECT count(*) FROM pg_stat_activity WHERE {PROXIED} AND query = '{}' AND state = 'active'",
                    super::SLOW_COMMIT
                );
                let busy = wire
                    .as_mut()
                    .and_then(|wire| wire.try_query(&sql))
                    .is_some_and(|reply| reply.text() != "0");
                (busy || Instant::now() > deadline).then_some(busy)
            }
        });
        self.pgditto.signal(Signal::KILL);
        self.pgditto.restart();
    }
}
