//! What strikes while the clients work.

use std::thread;
use std::time::{Duration, Instant};

use super::Focus;
use super::history::History;
use super::proxy::Proxy;
use crate::cache::wire::Wire;
use crate::fixture::{Pgditto, Postgres, Signal, eventually};
use crate::soak::random::Random;

/// The servers, and the time between.
pub struct Stage<'a> {
    pub postgres: &'a mut Postgres,
    pub pgditto: &'a mut Pgditto,
    pub proxy: &'a Proxy,
    pub history: &'a History,
    pub database: &'a str,
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
        if let Some(mut wire) = Wire::try_open(self.postgres.port, "postgres", self.database) {
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
        // Prepared transactions live on, and hold their rows.
        let mut direct = Wire::connect(self.postgres.port, "postgres", self.database, &[]);
        self.history.crash_ends(|row| {
            let reply = direct.query(&format!(
                "SELECT version FROM {} WHERE id = {}",
                row.table, row.id
            ));
            reply.text().parse().unwrap_or_else(|_| panic!("{reply:?}"))
        });
    }

    /// A crash of pgditto, with commits on their way.
    fn kill_pgditto(&mut self, patience: Duration) {
        if let Some(reply) = self.pgditto.try_http("GET", "/metrics") {
            self.hits += crate::fixture::Metrics::parse(&reply.body).sum("pgditto_hits_total", &[]);
        }
        // Somebody's slow commit is what a start barrier is for.
        eventually("somebody commits, or nobody does", {
            let deadline = Instant::now() + patience;
            let mut wire = Wire::try_open(self.postgres.port, "postgres", self.database);
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
