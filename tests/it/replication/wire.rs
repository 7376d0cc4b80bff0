//! The protocol of replication, as it is direct.

use super::{servers, walsender};
use crate::fixture::{Frames, PASSWORD, Script, Stage, Wire, error_code, eventually};

fn frames() -> Frames {
    Frames::new()
}

/// What the scripts find in their database.
const SETUP: &str =
    "CREATE TABLE item (id int PRIMARY KEY, name text); INSERT INTO item VALUES (1, 'ink')";

fn stage() -> Stage {
    let stage = Stage::new(SETUP);
    stage.postgres.psql("ALTER ROLE app REPLICATION");
    stage
        .postgres
        .allow("host replication app 127.0.0.1/32 scram-sha-256");
    stage
}

fn logical() -> Script {
    Script::new().startup("replication", "database")
}

#[test]
fn sql_on_a_logical_connection_is_as_direct() {
    let mut stage = stage();
    stage.play(
        &logical()
            .startup("application_name", "reader")
            .startup("DateStyle", "German")
            .startup("options", "-c geqo=off")
            .queries(&[
                "SHOW geqo",
                "SHOW application_name",
                "SELECT '2020-02-01'::date",
                "SELECT * FROM item",
                "INSERT INTO item VALUES (2, 'paper') RETURNING *",
                "INSERT INTO item VALUES (2, 'again')",
                "BEGIN",
                "SELECT 1/0",
                "SELECT 1",
                "ROLLBACK",
                "SELECT 1; SELECT 2; SELEC",
                "SET search_path = pg_catalog",
                "",
                ";",
                "COPY public.item TO STDOUT",
                "SELECT repeat('x', 100000) FROM generate_series(1, 20)",
            ])
            .send(frames().query("COPY public.item FROM STDIN"))
            .until(b'G')
            .ask(frames().copy_data(b"7\tseven\n").copy_done())
            .send(frames().query("COPY public.item FROM STDIN"))
            .until(b'G')
            .ask(frames().copy_data(b"8\teight\n").copy_fail("no"))
            .queries(&["SELECT * FROM public.item ORDER BY id"])
            .send(
                frames()
                    .query("SELECT 1")
                    .query("SELECT 1/0")
                    .sync()
                    .query("INSERT INTO public.item VALUES (9)")
                    .terminate(),
            )
            .end(),
    );
}

#[test]
fn commands_of_replication_are_as_direct() {
    let mut stage = stage();
    let commands = [
        "SHOW wal_level",
        "TIMELINE_HISTORY 7",
        "READ_REPLICATION_SLOT absent",
        "DROP_REPLICATION_SLOT absent",
        "START_REPLICATION 0/1 TIMELINE 9",
        "START_REPLICATION SLOT absent LOGICAL 0/0",
        "BASE_BACKUP (NONSENSE)",
        "IDENTIFY_SYSTEM 1",
        "identify_system",
        "SELEC",
    ];
    stage.play(&logical().queries(&commands));
    let physical = Script::new()
        .startup("replication", "true")
        .queries(&commands);
    stage.play(&physical.queries(&["SELECT 1", "INSERT INTO item VALUES (2)"]));
}

#[test]
fn the_extended_protocol_is_refused_as_direct() {
    let mut stage = stage();
    let script = logical()
        .ask(frames().prepared("INSERT INTO item VALUES (5)", &[]).sync())
        .ask(
            frames()
                .parse("s", "SELECT 1")
                .describe_statement("s")
                .sync(),
        )
        .ask(frames().function_call(154, &["7", "2"]))
        .ask(frames().sync())
        .queries(&["SELECT * FROM item"]);
    stage.play(&script);
    let unknown = logical()
        .queries(&["SELECT 1"])
        .send(frames().raw(b'?', b"what"))
        .end();
    stage.play(&unknown);
}

#[test]
fn only_words_that_postgresql_knows_ask_for_replication() {
    let (postgres, pgditto) = servers(|_| {});
    let login = |port, value: &str, password: &str| {
        let parameters = [("user", "app"), ("database", "app"), ("replication", value)];
        Wire::try_login(port, 0, &parameters, password)
    };
    for value in ["", "maybe", "Database"] {
        let [direct, through] = [postgres.port, pgditto.port]
            .map(|port| login(port, value, PASSWORD).err().expect("refused"));
        assert_eq!(direct.code(), "22023", "{value:?}");
        for field in *b"SVCMH" {
            assert_eq!(direct.field(field), through.field(field), "{value:?}");
        }
    }
    for value in ["on", "yes", "1", "true"] {
        let mut physical = login(pgditto.port, value, PASSWORD).expect(value);
        assert_eq!(physical.rows("IDENTIFY_SYSTEM").len(), 1, "{value}");
        assert_eq!(error_code(&physical.query("SELECT 1")), "0A000", "{value}");
    }
    let mut plain = login(pgditto.port, "off", PASSWORD).expect("off");
    assert_eq!(plain.value("SELECT 1"), "1");
    // Who may not replicate is told so by the server, who is not who he says, by pgditto.
    let wrong = login(pgditto.port, "database", "wrong")
        .err()
        .expect("refused");
    assert_eq!(wrong.code(), "28P01");
    postgres.psql("ALTER ROLE app NOREPLICATION");
    let [direct, through] = [postgres.port, pgditto.port]
        .map(|port| login(port, "database", PASSWORD).err().expect("refused"));
    assert_eq!(
        (direct.code(), direct.field(b'M')),
        (through.code(), through.field(b'M'))
    );
}

#[test]
fn a_statement_is_cancelled_and_the_connection_goes_on() {
    let (postgres, pgditto) = servers(|_| {});
    let mut walsender = walsender(&pgditto, "database");
    walsender.send(frames().query("SELECT pg_sleep(100)").bytes());
    eventually("it sleeps", || {
        postgres.psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1"
    });
    let mut cancel = Wire::open(pgditto.port);
    let mut packet = bytes::BytesMut::new();
    pgditto::wire::frontend::cancel_request(&mut packet, walsender.pid, &walsender.key);
    cancel.send(&packet);
    assert_eq!(error_code(&walsender.until_ready()), "57014");
    assert_eq!(walsender.value("SELECT 1"), "1");
}

#[test]
fn a_stream_goes_both_ways_and_ends_when_the_client_says_so() {
    let (postgres, pgditto) = servers(|_| {});
    let mut walsender = walsender(&pgditto, "on");
    let position = walsender.rows("IDENTIFY_SYSTEM")[0][2]
        .clone()
        .expect("a position");
    walsender.send(
        frames()
            .query(&format!("START_REPLICATION {position}"))
            .bytes(),
    );
    walsender.read_until(b"W");
    postgres.psql("INSERT INTO item VALUES (2, 'needle in the log')");
    let needle = b"needle in the log";
    loop {
        let message = walsender.read().expect("WAL");
        assert_eq!(message.tag, b'd');
        if message
            .body
            .windows(needle.len())
            .any(|window| window == needle)
        {
            break;
        }
    }
    // Nothing but the stream has a place in it.
    let mut status = b"r".to_vec();
    status.extend_from_slice(&[0; 32]);
    status.push(1);
    walsender.send(frames().copy_data(&status).bytes());
    assert!(
        walsender
            .read_until(b"d")
            .iter()
            .any(|message| message.body[0] == b'k')
    );
    walsender.send(frames().copy_done().bytes());
    let end = walsender.until_ready();
    assert!(end.iter().any(|message| message.tag == b'c'), "{end:?}");
    assert_eq!(walsender.rows("IDENTIFY_SYSTEM").len(), 1);
}
