//! From the first byte to the first ReadyForQuery.

use std::collections::HashSet;

use bytes::BytesMut;
use pgditto::wire::frontend;

use super::SETUP;
use crate::fixture::{Message, PASSWORD, Pgditto, Postgres, Script, Wait, Wire, same};

fn servers() -> (Postgres, Pgditto) {
    let postgres = Postgres::start(&[]);
    let pgditto = Pgditto::start(&postgres, |options| {
        options.wait(Wait::Listening);
    });
    (postgres, pgditto)
}

const APP: [(&str, &str); 2] = [("user", "app"), ("database", "app")];

/// The first message that answers this startup packet.
fn first_answer(port: u16, minor: u16, parameters: &[(&str, &str)]) -> Message {
    let mut wire = Wire::open(port);
    let mut packet = BytesMut::new();
    frontend::startup(&mut packet, minor, parameters);
    wire.send(&packet);
    wire.read().expect("an answer")
}

fn refusal(port: u16, parameters: &[(&str, &str)], password: &str) -> Message {
    match Wire::try_login(port, 0, parameters, password) {
        Err(message) => message,
        Ok(_) => panic!("{parameters:?} was let in"),
    }
}

#[test]
fn newer_protocols_are_negotiated() {
    let (_postgres, pgditto) = servers();
    let mut plain = Wire::try_login(pgditto.port, 0, &APP, PASSWORD).expect("3.0");
    assert_eq!(plain.key.len(), 4);
    assert_eq!(plain.value("SELECT 1"), "1");
    let mut newer = Wire::try_login(pgditto.port, 2, &APP, PASSWORD).expect("3.2");
    assert_eq!(newer.key.len(), 32);
    assert_eq!(newer.value("SELECT 1"), "1");
    assert!(newer.greeting.iter().all(|message| message.tag != b'v'));

    let future = first_answer(pgditto.port, 9999, &APP);
    assert_eq!(future.tag, b'v');
    // The whole version, as PostgreSQL sends it.
    assert_eq!(&future.body[..], &[0, 3, 0, 2, 0, 0, 0, 0]);
    let options = [APP[0], APP[1], ("_pq_.unheard_of", "1")];
    let answer = first_answer(pgditto.port, 0, &options);
    assert_eq!(answer.tag, b'v');
    assert!(answer.body.ends_with(b"_pq_.unheard_of\0"), "{answer:?}");
    let mut wire = Wire::try_login(pgditto.port, 9999, &options, PASSWORD).expect("let in");
    assert_eq!(wire.value("SELECT 1"), "1");
}

#[test]
fn encryption_is_declined_where_there_is_none() {
    let (_postgres, pgditto) = servers();
    let mut wire = Wire::open(pgditto.port);
    let mut packet = BytesMut::new();
    frontend::ssl_request(&mut packet);
    wire.send(&packet);
    assert_eq!(wire.read_byte(), b'N');
    // GSSENCRequest.
    wire.send(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30]);
    assert_eq!(wire.read_byte(), b'N');
    packet.clear();
    frontend::startup(&mut packet, 0, &APP);
    wire.send(&packet);
    wire.log_in(&APP, PASSWORD).expect("let in");
    assert_eq!(wire.value("SELECT 1"), "1");
}

#[test]
fn keys_are_unique_and_never_a_process() {
    let (_postgres, pgditto) = servers();
    let sessions: Vec<Wire> = (0..20).map(|_| Wire::connect(pgditto.port)).collect();
    let pids: HashSet<u32> = sessions.iter().map(|wire| wire.pid).collect();
    let keys: HashSet<_> = sessions.iter().map(|wire| wire.key.clone()).collect();
    assert_eq!((pids.len(), keys.len()), (20, 20));
    assert!(pids.iter().all(|pid| *pid > 4_194_304), "{pids:?}");
}

#[test]
fn settings_of_the_startup_packet_are_in_force() {
    let script = Script::new()
        .startup("application_name", "my app")
        .startup("DateStyle", "German")
        .startup("client_encoding", "LATIN1")
        .startup("app.tenant", "blue")
        .startup(
            "options",
            "-c geqo=off -c search_path=a,\\ b --work-mem=5MB",
        )
        .queries(&[
            "SHOW application_name",
            "SHOW DateStyle",
            "SHOW client_encoding",
            "SHOW app.tenant",
            "SHOW geqo",
            "SHOW search_path",
            "SHOW work_mem",
            "SELECT '2020-02-01'::date",
            "SET app.tenant = 'red'",
            "SHOW app.tenant",
        ]);
    same(SETUP, script);
}

#[test]
fn refusals_are_the_servers() {
    let (postgres, pgditto) = servers();
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("user", "app"), ("database", "absent")], PASSWORD),
        (&APP, "wrong"),
        (&[("user", "nobody"), ("database", "app")], PASSWORD),
        (
            &[
                ("user", "app"),
                ("database", "app"),
                ("DateStyle", "nonsense"),
            ],
            PASSWORD,
        ),
        (
            &[
                ("user", "app"),
                ("database", "app"),
                ("no_such_setting", "1"),
            ],
            PASSWORD,
        ),
        (
            &[
                ("user", "app"),
                ("database", "app"),
                ("max_connections", "1"),
            ],
            PASSWORD,
        ),
        (
            &[
                ("user", "app"),
                ("database", "app"),
                ("log_statement", "all"),
            ],
            PASSWORD,
        ),
        (
            &[
                ("user", "app"),
                ("database", "app"),
                ("options", "-c geqo=maybe"),
            ],
            PASSWORD,
        ),
        (
            &[("user", "app"), ("database", "app"), ("options", "-c")],
            PASSWORD,
        ),
        (&[("database", "app")], PASSWORD),
    ];
    for (parameters, password) in cases {
        let direct = refusal(postgres.port, parameters, password);
        let through = refusal(pgditto.port, parameters, password);
        assert_eq!(
            (direct.field(b'V'), direct.code()),
            (through.field(b'V'), through.code()),
            "{parameters:?}\n{direct:?}\n{through:?}"
        );
    }
    assert_eq!(Wire::connect(pgditto.port).value("SELECT 1"), "1");
}

#[test]
fn one_client_too_many_is_told_so() {
    let postgres = Postgres::start(&[]);
    let pgditto = Pgditto::start(&postgres, |options| {
        options
            .wait(Wait::Listening)
            .set("listen.max_client_conn", 2);
    });
    let _one = Wire::connect(pgditto.port);
    let _two = Wire::connect(pgditto.port);
    let three = Wire::try_login(
        pgditto.port,
        0,
        &[("user", "app"), ("database", "app")],
        "secret",
    );
    assert_eq!(three.err().expect("one too many").code(), "53300");
}
