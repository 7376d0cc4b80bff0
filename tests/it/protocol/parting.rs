//! What a client had sent when it went away is run, as it would be directly.

use super::SETUP;
use crate::fixture::{
    Frames, Options, Pgditto, Postgres, Script, Stage, Wire, error_code, eventually, same,
};

fn frames() -> Frames {
    Frames::new()
}

/// A statement that takes a while, has an effect that no rollback takes back, and is not to be seen as a write.
const SLOW: &str = "SELECT setval('counted', 42) FROM pg_sleep(0.3)";

const COUNTED: &str = "CREATE SEQUENCE counted; CREATE TABLE done (x int);";

#[test]
fn what_came_before_the_end_of_the_stream_is_run_and_answered() {
    let script = Script::new()
        .send(
            frames()
                .query("INSERT INTO done VALUES (1)")
                .query(SLOW)
                .query("INSERT INTO done VALUES (2)")
                .query("SELECT count(*), (SELECT last_value FROM counted) FROM done"),
        )
        .hang_up()
        .end();
    same(COUNTED, script);
}

#[test]
fn a_read_is_answered_after_the_end_of_the_stream() {
    let script = Script::new()
        .queries(&["SELECT count(*) FROM item"])
        .send(
            frames()
                .query("SELECT count(*) FROM item")
                .query("SELECT max(a.id + b.id * 0) FROM item a, item b")
                .prepared("SELECT name FROM item WHERE id = $1", &["2"])
                .sync(),
        )
        .hang_up()
        .end();
    same(SETUP, script);
}

#[test]
fn a_transaction_that_was_sent_to_its_end_is_committed() {
    let insert = |id: &str| frames().prepared("INSERT INTO done VALUES ($1)", &[id]);
    let script = Script::new()
        .send(
            frames()
                .query("BEGIN")
                .query(SLOW)
                .query("INSERT INTO done VALUES (1)")
                .query("COMMIT")
                .bytes_as_they_are(insert("2").sync().bytes())
                .bytes_as_they_are(insert("3").sync().bytes())
                .query("SELECT x FROM done")
                .query("BEGIN")
                .query("INSERT INTO done VALUES (4)")
                .terminate(),
        )
        .hang_up()
        .end();
    same(COUNTED, script);
}

#[test]
fn an_error_among_what_was_sent_last_is_told() {
    let script = Script::new()
        .send(
            frames()
                .query(SLOW)
                .query("SELECT 1/0")
                .query("SELECT 2")
                .prepared("SELECT 3", &[])
                .prepared("SELEC", &[]),
        )
        .hang_up()
        .end();
    same(COUNTED, script);
}

#[test]
fn a_copy_that_is_broken_off_is_undone_and_says_so() {
    let copy = || frames().query("COPY done FROM STDIN").copy_data(b"1\n");
    let extended = || {
        let copy = frames().parse("", "COPY done FROM STDIN").bind("", "", &[]);
        copy.execute("", 0).flush().copy_data(b"1\n")
    };
    let mut stage = Stage::new(COUNTED);
    for broken_off in [
        copy(),
        copy().terminate(),
        copy().query("SELECT 1"),
        copy().bytes_as_they_are(b"d\0\0"),
        copy().copy_done().query("SELECT * FROM done").terminate(),
        extended(),
        extended().terminate(),
        extended().parse("", "SELECT 1").sync(),
    ] {
        stage.play(&Script::new().send(broken_off).hang_up().end());
    }
}

/// Plays on PostgreSQL itself and through pgditto, in a table and a sequence that are made anew for each.
fn on_both(play: impl Fn(&Postgres, u16)) {
    let postgres = Postgres::start(&[]);
    let pgditto = Pgditto::start(&postgres, |_: &mut Options| {});
    for port in [postgres.port, pgditto.port] {
        postgres.psql_as("app", COUNTED);
        play(&postgres, port);
        postgres.psql_as("app", "DROP SEQUENCE counted; DROP TABLE done");
    }
}

fn running(postgres: &Postgres, what: &str) -> usize {
    let active = format!(
        "SELECT count(*) FROM pg_stat_activity \
         WHERE state = 'active' AND strpos(query, '{what}') > 0 AND pid <> pg_backend_pid()"
    );
    postgres.psql(&active).parse().expect("a number")
}

#[test]
fn a_statement_whose_client_has_gone_comes_to_its_end() {
    const NOTIFY: &str = "SELECT pg_notify('done', 'x') FROM pg_advisory_xact_lock(7)";
    const SETVAL: &str = "SELECT setval('counted', 43) FROM pg_advisory_xact_lock(7)";
    const INSERT: &str = "INSERT INTO done SELECT 1 FROM pg_advisory_xact_lock(7)";
    on_both(|postgres, port| {
        let mut listener = Wire::connect(postgres.port);
        listener.rows("LISTEN done");
        let mut gate = Wire::connect(postgres.port);
        gate.rows("SELECT pg_advisory_lock(7)");
        let clients = [
            (NOTIFY, false),
            (SETVAL, true),
            (INSERT, false),
            (INSERT, true),
        ];
        for (before, (sql, goodbye)) in clients.into_iter().enumerate() {
            let mut gone = Wire::connect(port);
            let mut sent = frames().query(sql);
            if goodbye {
                sent = sent.terminate();
            }
            gone.send(sent.bytes());
            eventually("the statement runs", || {
                running(postgres, "advisory_xact_lock(7)") == before + 1
            });
        }
        assert_eq!(running(postgres, "advisory_xact_lock(7)"), clients.len());
        gate.rows("SELECT pg_advisory_unlock(7)");
        assert!(!listener.read_until(b"A").is_empty());
        let all = "SELECT (SELECT count(*) FROM done), (SELECT last_value FROM counted)";
        eventually("all have come to their ends", || {
            postgres.psql(all) == "2|43"
        });
    });
}

#[test]
fn what_was_sent_without_sync_has_run_when_the_client_goes() {
    on_both(|postgres, port| {
        let mut gone = Wire::connect(port);
        gone.send(
            frames()
                .prepared("BEGIN", &[])
                .prepared("SELECT setval('counted', 44) FROM pg_sleep(0.2)", &[])
                .prepared("INSERT INTO done VALUES (1)", &[])
                .prepared("COMMIT", &[])
                .prepared("INSERT INTO done VALUES (2)", &[])
                .bytes(),
        );
        gone.hang_up();
        assert!(gone.read_until(&[]).is_empty());
        let all = "SELECT (SELECT sum(x) FROM done), (SELECT last_value FROM counted)";
        eventually("what was committed stays", || postgres.psql(all) == "1|44");
    });
}

#[test]
fn a_transaction_that_a_client_left_open_is_rolled_back_at_once() {
    on_both(|postgres, port| {
        let mut gone = Wire::connect(port);
        gone.rows("BEGIN; INSERT INTO done VALUES (1)");
        gone.send(frames().query("INSERT INTO done VALUES (2)").bytes());
        drop(gone);
        // Waits for nobody's lock.
        let mut next = Wire::connect(port);
        eventually("the table is free", || {
            next.error("LOCK TABLE done IN EXCLUSIVE MODE NOWAIT") == "25P01"
                && next
                    .error("BEGIN; LOCK TABLE done IN EXCLUSIVE MODE NOWAIT; COMMIT")
                    .is_empty()
                || {
                    next.query("ROLLBACK");
                    false
                }
        });
        assert_eq!(postgres.psql("SELECT count(*) FROM done"), "0");
    });
}

#[test]
fn a_statement_without_its_client_is_given_up_in_the_end() {
    let postgres = Postgres::start(&[]);
    let pgditto = Pgditto::start(&postgres, |options| {
        options.set("upstream.abandoned_timeout", "100ms");
    });
    let mut gone = Wire::connect(pgditto.port);
    gone.send(frames().query("SELECT pg_sleep(600)").bytes());
    gone.hang_up();
    assert_eq!(error_code(&gone.read_until(&[])), "57014");
    eventually("the server has been told", || {
        running(&postgres, "SELECT pg_sleep") == 0
    });
    let given_up = pgditto
        .metrics()
        .sum("pgditto_abandoned_statements_total", &[]);
    assert_eq!(given_up, 1.0);
}
