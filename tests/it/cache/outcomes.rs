//! Commits of which nobody here knows how they ended: their connection is cut or falls silent, their backend crashes, or
//! they are cancelled. Values rise, so that whatever is served must be at least what was known before it was asked for.

use rustix::process::{Pid, Signal, kill_process};

use super::network::{LAST_WORDS, Network, Reach};
use super::wire::{Wire, query};
use super::{House, Pair, SHARED, Served, fresh_database, start};
use crate::fixture::{Options, Postgres, eventually};
use crate::soak::live::SLOW_COMMIT;
use crate::soak::live::proxy::Proxy;
use crate::soak::random::Random;

const SCHEMA: &str = "
    CREATE TABLE t (id int PRIMARY KEY, x int); INSERT INTO t VALUES (1, 0), (2, 0);
    CREATE TABLE gate (id int);
    CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN LOCK TABLE gate; RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON t DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION wait();
";
const READ: &str = "SELECT x FROM t WHERE id = 1";

const PLAIN: &str = "
    CREATE TABLE t (id int PRIMARY KEY, x int); INSERT INTO t VALUES (1, 0), (2, 0);
    CREATE TABLE other (id int);
";

/// A house whose way to the server leads through a port of the test's own.
fn house_by(port: u16, schema: &str, configure: impl FnOnce(&mut Options)) -> House<'static> {
    let database = fresh_database(&SHARED, schema);
    let pgditto = start(&SHARED, &database, |opts| {
        opts.upstream(format!(
            "postgres://app@127.0.0.1:{port}/{database}?sslmode=disable"
        ));
        configure(opts);
    });
    let house = House {
        postgres: &SHARED,
        database,
        pgditto,
        before: Default::default(),
    };
    house.serves();
    house
}

fn number(client: &mut Wire) -> i64 {
    let reply = client.query(READ);
    reply.text().parse().unwrap_or_else(|_| panic!("{reply:?}"))
}

/// Nothing older than what was there before it was asked for.
fn nothing_old(via: &mut Wire, direct: &mut Wire) {
    for _ in 0..15 {
        let known = number(direct);
        let read = number(via);
        assert!(read >= known, "{read} after {known}");
    }
}

fn waiting(house: &House<'_>) -> String {
    house.postgres.psql(&format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event_type = 'Lock'",
        house.database
    ))
}

/// A backend that does nothing at all, whatever it is told, until this is dropped.
struct Stopped(Pid);

impl Stopped {
    fn new(pid: &str) -> Self {
        let pid = Pid::from_raw(pid.parse().expect("a number")).expect("a process");
        kill_process(pid, Signal::STOP).expect("it runs");
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may be gone.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// Writes `value`, and the network falls silent at the commit. When it has, and the commit has happened if it `arrives`,
/// says what is in the database, who asked for it, and the pid of the backend.
fn silent_commit(
    pair: &mut Pair<'_>,
    network: &Network,
    reach: Reach,
    value: i64,
    arrives: bool,
) -> (i64, Wire, String) {
    let before = number(&mut pair.direct);
    let mut writer = pair.house.via();
    let update = format!("UPDATE t SET x = {value} WHERE id = 1");
    for sql in ["BEGIN", &update] {
        let reply = writer.query(sql);
        assert_eq!(reply.error(), None, "{sql}: {reply:?}");
    }
    let pid = writer.query("SELECT pg_backend_pid()").text();
    network.fall_silent(reach, arrives);
    writer.send(&query(LAST_WORDS));
    network.await_silence();
    let known = if arrives { value } else { before };
    eventually("the commit has arrived", || {
        number(&mut pair.direct) == known
    });
    pair.house.before.take();
    (known, writer, pid)
}

/// A hit, before which there may be errors, since connections are made anew; nothing is wrong.
fn served_again(pair: &mut Pair<'_>, read: &str) {
    let house = pair.house;
    let hits = || house.pgditto.metrics().sum("pgditto_hits_total", &[]);
    eventually("a hit again", || {
        let before = hits();
        let (reply, truth) = (pair.via.query(read), pair.direct.query(read));
        assert!(reply.error().is_some() || reply.text() == truth.text());
        hits() > before
    });
    house.before.take();
}

/// Nothing comes and nothing ends: the mark stands, and others are served beside it.
#[test]
fn a_commit_whose_connection_falls_silent_keeps_its_mark_until_it_speaks_again() {
    let network = Network::towards(SHARED.port);
    let house = house_by(network.port, PLAIN, |_| {});
    let mut pair = house.pair();
    for (value, arrives) in [(1, true), (2, false)] {
        pair.becomes_hit(READ);
        let (_, mut writer, _) = silent_commit(&mut pair, &network, Reach::One, value, arrives);
        for _ in 0..6 {
            pair.bypass(READ, "marked");
            pair.becomes_hit("SELECT x FROM t WHERE id = 2");
            pair.becomes_hit("SELECT count(*) FROM other");
        }
        network.go_on();
        let reply = writer.reply().expect("an answer");
        assert_eq!((reply.error(), reply.tags()), (None, vec!["COMMIT".into()]));
        house.before.take();
        pair.asked(READ);
        pair.becomes_hit(READ);
        assert_eq!(number(&mut pair.via), value);
        house.before.take();
    }
}

#[test]
fn a_commit_whose_connection_never_speaks_again_is_resolved() {
    let network = Network::towards(SHARED.port);
    let house = house_by(network.port, PLAIN, |opts| {
        opts.set("upstream.query_timeout", "2s");
    });
    let mut pair = house.pair();
    let mut direct = house.direct();
    for (value, arrives) in [(1, true), (2, false)] {
        pair.becomes_hit(READ);
        let (known, mut writer, _) = silent_commit(&mut pair, &network, Reach::One, value, arrives);
        nothing_old(&mut pair.via, &mut direct);
        let reply = writer.reply().expect("a word about it");
        assert_eq!(reply.error().as_deref(), Some("57014"), "{reply:?}");
        nothing_old(&mut pair.via, &mut direct);
        house.before.take();
        pair.becomes_hit(READ);
        assert_eq!(number(&mut pair.via), known);
        network.forget();
        house.before.take();
    }
}

/// The connection is lost, and what has become of the commit is not known before its backend is gone.
#[test]
fn a_lost_commit_keeps_its_mark_as_long_as_its_backend_is_there() {
    let network = Network::towards(SHARED.port);
    let house = house_by(network.port, PLAIN, |_| {});
    let mut pair = house.pair();
    for (value, arrives) in [(1, true), (2, false)] {
        pair.becomes_hit(READ);
        let (known, mut writer, pid) =
            silent_commit(&mut pair, &network, Reach::One, value, arrives);
        let stopped = Stopped::new(&pid);
        network.end();
        assert!(writer.reply().is_none_or(|reply| reply.error().is_some()));
        house.before.take();
        for _ in 0..6 {
            pair.bypass(READ, "marked");
        }
        drop(stopped);
        pair.becomes_hit(READ);
        assert_eq!(number(&mut pair.via), known);
        house.before.take();
    }
}

/// Also the guard: what may be served ends with its lease, and after a while it is given up.
#[test]
fn a_network_that_falls_silent_in_a_commit_leaves_no_wrong_answer() {
    const OTHER: &str = "SELECT x FROM t WHERE id = 2";
    let network = Network::towards(SHARED.port);
    let house = house_by(network.port, PLAIN, |_| {});
    let mut pair = house.pair();
    let losses = || {
        let log = house.pgditto.log();
        log.iter()
            .filter(|line| line.contains("the guard is lost"))
            .count()
    };
    for (value, arrives) in [(1, true), (2, false)] {
        for read in [READ, OTHER] {
            served_again(&mut pair, read);
        }
        let mut readers = [house.via(), house.via(), house.via()];
        for reader in &mut readers {
            assert_eq!(number(reader), number(&mut pair.direct));
        }
        let before = losses();
        let (known, mut writer, _) = silent_commit(&mut pair, &network, Reach::All, value, arrives);
        let [marked, late, lasting] = &mut readers;
        marked.send(&query(READ));
        eventually("the lease is over", || {
            let labels = [("state", "serving")];
            let metrics = house.pgditto.metrics();
            metrics.sum("pgditto_guard_state", &labels) == 0.0
        });
        // Nobody here can know of it.
        house.outside(&format!("UPDATE t SET x = {value} WHERE id = 2"));
        late.send(&query(OTHER));
        eventually("the guard is given up", || losses() > before);
        lasting.send(&query(READ));
        network.go_on();
        for (reader, least) in [(marked, known), (late, value), (lasting, known)] {
            let reply = reader.reply().expect("an answer");
            let read = reply.text().parse::<i64>();
            assert!(
                reply.error().is_some() || read.is_ok_and(|read| read >= least),
                "{reply:?}"
            );
        }
        let said = writer.reply();
        let committed = said.is_some_and(|reply| reply.tags() == ["COMMIT"]);
        let least = if committed { value } else { known };
        assert!(number(&mut pair.direct) >= least);
        eventually("an answer", || pair.via.query(READ).error().is_none());
        for _ in 0..15 {
            let least = number(&mut pair.direct);
            let reply = pair.via.query(READ);
            let read = reply.text().parse::<i64>();
            assert!(reply.error().is_some() || read.is_ok_and(|read| read >= least));
        }
    }
    served_again(&mut pair, READ);
    assert_eq!(number(&mut pair.via), number(&mut pair.direct));
}

#[test]
fn a_commit_whose_connection_is_cut_is_resolved_before_anything_is_served() {
    let proxy = Proxy::start(SHARED.port, &Random::new(1));
    let house = house_by(proxy.port, SCHEMA, |_| {});
    let mut pair = house.pair();
    let mut direct = house.direct();
    let mut gate = house.direct();
    for value in 1..7 {
        pair.becomes_hit(READ);
        let slow = value % 2 == 0;
        if slow {
            gate.query("BEGIN; LOCK TABLE gate");
        }
        let mut writer = house.via();
        writer.query("BEGIN");
        let update = format!("UPDATE t SET x = {value} WHERE id = 1");
        assert_eq!(writer.query(&update).error(), None);
        // Not that of our own reading of the catalogue.
        proxy.cut_next_commit(true);
        writer.send(&query(SLOW_COMMIT));
        // Whether it has committed is not known, and is not said.
        let said = writer.reply();
        assert!(
            said.as_ref().is_none_or(|reply| reply.error().is_some()),
            "{said:?}"
        );
        nothing_old(&mut pair.via, &mut direct);
        house.before.take();
        pair.becomes_hit(READ);
        // It is over, one way or the other: what comes now changes nothing.
        if slow {
            assert_eq!(waiting(&house), "0");
            gate.query("COMMIT");
        }
        let (known, served) = (number(&mut direct), pair.look(READ));
        assert_eq!((number(&mut pair.via), served), (known, Served::Hit));
        house.before.take();
    }
}

#[test]
fn a_cancel_that_races_with_a_commit_leaves_no_wrong_answer() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let mut direct = house.direct();
    let cancel = |client: &Wire| Wire::send_packet(house.pgditto.port, &client.cancel_packet());
    // It strikes while the commit waits: nothing has been written.
    let mut gate = house.direct();
    gate.query("BEGIN; LOCK TABLE gate");
    pair.becomes_hit(READ);
    let mut writer = house.via();
    for sql in ["BEGIN", "UPDATE t SET x = 1000 WHERE id = 1"] {
        assert_eq!(writer.query(sql).error(), None);
    }
    writer.send(&query("COMMIT"));
    eventually("the commit waits", || waiting(&house) == "1");
    cancel(&writer);
    let error = writer.reply().expect("a word").error();
    assert_eq!(error.as_deref(), Some("57014"));
    house.before.take();
    pair.becomes_hit(READ);
    assert_eq!(pair.via.query(READ).text(), "0");
    gate.query("COMMIT");
    // It comes when it comes: the server says how it ended, and so do all later answers.
    let (mut committed, mut cancelled) = (0, 0);
    for value in 1..40 {
        house.before.take();
        pair.becomes_hit(READ);
        for sql in ["BEGIN", &format!("UPDATE t SET x = {value} WHERE id = 1")] {
            let reply = writer.query(sql);
            assert_eq!(reply.error(), None, "{sql}: {reply:?}");
        }
        let commit = if value % 3 == 0 {
            "COMMIT; SELECT count(*) FROM generate_series(1, 1000000)"
        } else {
            "COMMIT"
        };
        writer.send(&query(commit));
        cancel(&writer);
        let reply = writer.reply().expect("a word");
        let after = number(&mut pair.via);
        if reply.tags().first().is_some_and(|tag| tag == "COMMIT") {
            committed += 1;
            assert_eq!(after, value, "{reply:?}");
        } else {
            cancelled += 1;
            assert!(after < value, "{reply:?}");
        }
        nothing_old(&mut pair.via, &mut direct);
        writer.query("ROLLBACK");
    }
    println!("{committed} committed, {cancelled} cancelled");
}

/// One backend crashes, and the server begins anew: it calls itself as old as before, and yet commits that it had
/// acknowledged are gone, and so is what was unlogged.
#[test]
fn a_backend_that_crashes_takes_what_was_cached_along() {
    const FLEETING: &str = "SELECT count(*) FROM fleeting";
    let postgres = Postgres::start(&[
        ("synchronous_commit", "off"),
        ("wal_writer_delay", "10s"),
        ("wal_writer_flush_after", "0"),
    ]);
    postgres.allow("host all all 127.0.0.1/32 trust");
    let house = House::on(
        &postgres,
        "CREATE UNLOGGED TABLE fleeting (x int); INSERT INTO fleeting VALUES (1);
         CREATE TABLE t (id int PRIMARY KEY, x int); INSERT INTO t VALUES (1, 0);",
        |_| {},
    );
    let began = || postgres.psql("SELECT pg_postmaster_start_time()");
    postgres.psql("CHECKPOINT");
    let before = began();
    // Nobody writes down what is committed from here on.
    let writer = postgres.psql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'");
    let _stopped = Stopped::new(&writer);
    let mut client = house.via();
    for value in 1..20 {
        client.query(&format!("UPDATE t SET x = {value} WHERE id = 1"));
    }
    for read in [FLEETING, READ] {
        eventually("a hit", || house.look(&mut client, read).1 == Served::Hit);
    }
    // What is cached was acknowledged, and read from the server.
    assert_eq!(number(&mut client), 19);
    let mut doomed = house.direct();
    let pid = doomed.query("SELECT pg_backend_pid()").text();
    for pid in [&pid, &writer] {
        let process = Pid::from_raw(pid.parse().expect("a number")).expect("a process");
        kill_process(process, Signal::KILL).expect("it runs");
    }
    eventually("the server has begun anew", || {
        Wire::try_open(postgres.port, "app", &house.database)
            .and_then(|mut direct| direct.try_query(FLEETING))
            .is_some_and(|reply| reply.text() == "0")
    });
    assert_eq!(began(), before);
    let mut direct = house.direct();
    let mut via = house.via();
    assert!(number(&mut direct) < 19, "nothing was lost");
    for read in [FLEETING, READ] {
        // Whoever asks while connections are made anew may be told so; nobody is told what is gone.
        eventually("an answer", || via.query(read).error().is_none());
        for _ in 0..10 {
            assert_eq!(via.query(read).text(), direct.query(read).text(), "{read}");
        }
        eventually("a hit", || {
            house.before.take();
            let (reply, served) = house.look(&mut via, read);
            assert_eq!(reply.text(), direct.query(read).text(), "{read}");
            served == Served::Hit
        });
    }
}

/// In its commit: nobody knows whether that has happened, and the server begins anew.
#[test]
fn a_backend_that_crashes_in_its_commit_leaves_no_wrong_answer() {
    let postgres = super::server();
    let house = House::on(&postgres, SCHEMA, |_| {});
    let mut gate = house.direct();
    gate.query("BEGIN; LOCK TABLE gate");
    let mut via = house.via();
    eventually("a hit", || house.look(&mut via, READ).1 == Served::Hit);
    let mut writer = house.via();
    for sql in ["BEGIN", "UPDATE t SET x = 9 WHERE id = 1"] {
        assert_eq!(writer.query(sql).error(), None);
    }
    let pid = writer.query("SELECT pg_backend_pid()").text();
    writer.send(&query("COMMIT"));
    eventually("the commit waits", || waiting(&house) == "1");
    house.before.take();
    let (_, served) = house.look(&mut via, READ);
    assert_eq!(served, Served::Bypass("marked".into()));
    let backend = Pid::from_raw(pid.parse().expect("a number")).expect("a process");
    kill_process(backend, Signal::KILL).expect("it runs");
    assert!(writer.reply().is_none_or(|reply| reply.error().is_some()));
    eventually("everybody is thrown out", || {
        gate.try_query("SELECT 1").is_none()
    });
    let mut direct = eventually("the server has begun anew", || {
        Wire::try_open(postgres.port, "app", &house.database)
    });
    let mut via = house.via();
    eventually("an answer", || via.query(READ).error().is_none());
    nothing_old(&mut via, &mut direct);
    eventually("a hit", || {
        house.before.take();
        house.look(&mut via, READ).1 == Served::Hit
    });
    assert_eq!((number(&mut via), number(&mut direct)), (0, 0));
}
