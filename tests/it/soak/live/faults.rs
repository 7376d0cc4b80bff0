//! What strikes while the clients work.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Address, Client, Lost};
use super::history::History;
use super::proxy::Proxy;
use super::reads::shows;
use super::tally::{Fault, LONG, Served, Tally};
use super::{Focus, SETTINGS, UNLOGGED, upstream};
use crate::cache::wire::Wire;
use crate::fixture::{Metrics, Options, Pgditto, Postgres, Signal, eventually};
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
    /// What earlier lives of pgditto served.
    pub served: Served,
}

const PROXIED: &str =
    "usename = 'app' AND datname = current_database() AND pid <> pg_backend_pid()";

/// What the name of a guard's connection ends with.
const GUARD: &str = " [0-9a-f]{32}/[0-9]+$";

impl Stage<'_> {
    /// Strikes until the time is over.
    pub fn strike(&mut self, random: &mut Random, until: Instant, focus: Focus) {
        self.strike_on(random, until, focus);
        let (commits, slow) = self.proxy.commits_cut();
        for (fault, count) in [(Fault::CommitCut, commits), (Fault::SlowCommitCut, slow)] {
            (0..count).for_each(|_| self.tally().fault(fault, true));
        }
    }

    /// The crash of every server comes soon at least once.
    fn strike_on(&mut self, random: &mut Random, until: Instant, focus: Focus) {
        let long = until.saturating_duration_since(Instant::now()) >= LONG;
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
            if focus == Focus::Nothing {
                continue;
            }
            self.history.strikes.fetch_add(1, Ordering::SeqCst);
            match focus {
                Focus::Everything | Focus::Nothing => self.strike_any(random, round, long),
                Focus::Kills => self.kill_pgditto(Duration::from_secs(8)),
                Focus::Cuts => self.proxy.cut_next_commit(true),
                Focus::Crashes => self.crash(random),
                Focus::Prepared => self.prepare_and_kill(random),
                Focus::Standby => self.wait_for_standby(random),
                Focus::Silence => self.fall_silent(random, Duration::from_secs(4)),
                Focus::Elsewhere => self.lead_elsewhere(),
                Focus::Others => self.another_comes(random),
            }
            self.history.strikes.fetch_add(1, Ordering::SeqCst);
            self.sweep();
        }
    }

    /// What strikes in a run of everything. A long run strikes with a minute of silence, too.
    fn strike_any(&mut self, random: &mut Random, round: u64, long: bool) {
        match (round % 12, random.below(12)) {
            (5, _) | (_, 0) => self.crash(random),
            (9, _) | (_, 1) => self.kill_pgditto(Duration::from_millis(1_500)),
            (10, _) if long && round % 120 == 10 => {
                self.fall_silent(random, Duration::from_secs(60));
            }
            (_, 2..4) => self.terminate(Fault::BackendEnded, "true"),
            (_, 4..6) => self.terminate(
                Fault::BackendEndedAtWork,
                "query ~* 'commit|bump|update' AND state = 'active'",
            ),
            (10, 9..) => {
                let lasts = 1_500 + random.below(2_500) as u64;
                self.fall_silent(random, Duration::from_millis(lasts));
            }
            (11, 9..) => self.promote(random),
            (3, 9..) => self.another_comes(random),
            (7, 9..) => self.wait_for_standby(random),
            (1, 9..) => self.prepare_and_kill(random),
            (_, 6) => {
                let cut = self.proxy.cut(random, false);
                self.tally().fault(Fault::ConnectionCut, cut > 0);
            }
            (_, 7) => {
                let cut = self.proxy.cut(random, true);
                self.tally().fault(Fault::AllConnectionsCut, cut > 0);
            }
            (_, 8) => self.proxy.cut_next_commit(false),
            _ => self.proxy.cut_next_commit(true),
        }
    }

    /// What was prepared and forgotten would hold its row for ever.
    fn sweep(&self) {
        let old = "SELECT gid FROM pg_prepared_xacts \
             WHERE database = current_database() AND prepared < now() - interval '10 seconds'";
        for gid in self.ask(old).lines() {
            self.ask(&format!("ROLLBACK PREPARED '{gid}'"));
        }
    }

    fn tally(&self) -> &Tally {
        &self.history.tally
    }

    fn terminate(&self, fault: Fault, which: &str) {
        let sql = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {PROXIED} AND {which} ORDER BY random() LIMIT 1"
        );
        let ended = self.ask(&sql);
        self.tally().fault(fault, ended == "t");
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
        self.tally().fault(Fault::Crash, true);
        let lost = self.settle_history();
        self.tally().fault(Fault::CommitsLost, lost);
    }

    /// After what was lost with a server: whether acknowledged commits are gone.
    fn settle_history(&self) -> bool {
        // Prepared transactions live on, and hold their rows.
        let mut direct = Wire::connect(self.postgres.port, "postgres", self.address.database, &[]);
        let before = self.history.taken_back.load(Ordering::SeqCst);
        self.history.crash_ends(|row, newest| {
            let reply = direct.query(&format!(
                "SELECT version FROM {} WHERE id = {}",
                row.table, row.id
            ));
            let text = reply.text();
            if !text.is_empty() {
                return text.parse().unwrap_or_else(|_| panic!("{reply:?}"));
            }
            // What is unlogged is gone with all its versions.
            if row.table == UNLOGGED {
                self.tally().fault(Fault::UnloggedEmptied, newest > 0);
            }
            let absent = |version: &i64| !shows(row.table, row.id, *version);
            let newest = if row.table == UNLOGGED { 0 } else { newest };
            (0..=newest)
                .rev()
                .find(absent)
                .unwrap_or_else(|| panic!("{reply:?}"))
        });
        self.history.taken_back.load(Ordering::SeqCst) > before
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
        let lagged = self.settle_history();
        self.tally().fault(Fault::LaggingPromoted, lagged);
    }

    /// Whoever connects anew comes to a standby that lags, while older connections, the guard's too, stay where they are.
    fn lead_elsewhere(&self) {
        let standby = self.postgres.standby(SETTINGS);
        standby.cut_off();
        self.proxy.turn_to(standby.port);
        self.ask(&format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {PROXIED} AND application_name !~ '{GUARD}'"
        ));
        thread::sleep(Duration::from_secs(3));
        self.proxy.turn_to(self.postgres.port);
    }

    /// A second pgditto serves the database for a while, and knows nothing of the first one's writes.
    fn another_comes(&self, random: &Random) {
        let refused = || {
            self.try_metrics().map_or(0.0, |metrics| {
                metrics.sum("pgditto_bypasses_total", &[("reason", "not_alone")])
            })
        };
        let before = refused();
        self.second_serves(random, self.proxy);
        // While it is there the first one serves nothing, and says why.
        self.tally().fault(Fault::SecondPgditto, refused() > before);
    }

    /// Gives how many commits it brought about.
    fn second_serves(&self, random: &Random, way: &Proxy) -> u64 {
        let before = self.history.writes.load(Ordering::SeqCst);
        let second = Pgditto::start(self.postgres, |opts| {
            (self.configure)(opts);
            opts.upstream(upstream(way.port));
        });
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
        self.history.writes.load(Ordering::SeqCst) - before
    }

    /// Nothing passes between pgditto and the server for a while, and no connection ends.
    fn fall_silent(&self, random: &mut Random, lasts: Duration) {
        self.proxy.fall_silent(lasts);
        let patience = Instant::now() + Duration::from_secs(5);
        while self.proxy.silence().is_none() && Instant::now() < patience {
            thread::sleep(Duration::from_millis(5));
        }
        self.proxy.stay_awake();
        let begun = matches!(self.proxy.silence(), Some((true, _)));
        if begun && random.one_in(2) {
            // The first one knows nothing of it, and must have stopped by the time it writes.
            let written = self.second_serves(random, self.direct);
            let behind = matches!(self.proxy.silence(), Some((true, _)));
            self.tally()
                .fault(Fault::SecondBehindSilence, behind && written > 0);
        }
        while matches!(self.proxy.silence(), Some((true, _))) {
            thread::sleep(Duration::from_millis(20));
        }
        let commits = self.proxy.silence().map_or(0, |(_, commits)| commits);
        self.tally().fault(Fault::SilentCut, begun && commits > 0);
    }

    fn try_metrics(&self) -> Option<Metrics> {
        let reply = self.pgditto.try_http("GET", "/metrics")?;
        Some(Metrics::parse(&reply.body))
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
            let waiting = || {
                self.ask("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
                    != "0"
            };
            let waits_there = (0..200).any(|_| {
                let is = waiting();
                if !is {
                    thread::sleep(Duration::from_millis(10));
                }
                is
            });
            writing.withheld(waits_there);
            let cut = self.proxy.cut(random, true);
            // Nobody may see it before the standby has it, whoever has given up waiting.
            let mut looks = Client::new(history, self.address, random.branch(2), true, 313);
            let until = Instant::now() + Duration::from_millis(random.below(2_000) as u64);
            while Instant::now() < until {
                let _ = looks.read(at);
                thread::sleep(Duration::from_millis(20));
            }
            let held = waits_there && waiting();
            self.tally().fault(Fault::StandbyWaitCut, held && cut > 0);
            writing.withheld(false);
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
        // Until hits have begun, so that there is one to be wrong.
        let hits = || {
            self.try_metrics()
                .map_or(0.0, |metrics| Served::of(&metrics).hits)
        };
        let patience = Instant::now() + Duration::from_secs(5);
        while hits() == 0.0 && Instant::now() < patience {
            let _ = client.read(at);
        }
        let hot = super::reads::hot("v0", 3);
        for _ in 0..4 {
            let _ = client.read_by(at, &hot);
        }
        let mut direct = Client::new(history, self.address, random.branch(2), true, 312);
        let ended = direct.query("COMMIT PREPARED 'over_a_kill'");
        let struck = prepared.is_ok() && ended.is_ok();
        self.tally().fault(Fault::PreparedOverKill, struck);
        if struck {
            writing.acknowledged();
            let _ = client.read_by(at, &hot);
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
        if let Some(metrics) = self.try_metrics() {
            self.served += Served::of(&metrics);
        }
        // Somebody's slow commit is what a start barrier is for.
        let busy = eventually("somebody commits, or nobody does", {
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
        self.tally().fault(Fault::PgdittoKilled, true);
        if !patience.is_zero() {
            self.tally().fault(Fault::PgdittoKilledAtCommit, busy);
        }
    }
}
