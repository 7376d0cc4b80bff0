//! From the first byte to the first ReadyForQuery.

use std::collections::HashSet;

use bytes::BytesMut;
use pgditto::wire::frontend;

use super::SETUP;
use crate::fixture::{
    Frames, Message, PASSWORD, Pgditto, Postgres, Script, Stage, Wait, Wire, eventually, same,
};

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
fn clients_of_old_protocols_are_told_so_in_theirs() {
    let (_postgres, pgditto) = servers();
    let mut wire = Wire::open(pgditto.port);
    wire.send(&[0, 0, 0, 8, 0, 2, 0, 0]);
    let told: Vec<u8> = std::iter::repeat_with(|| wire.read_byte())
        .take_while(|&byte| byte != 0)
        .collect();
    assert_eq!(
        String::from_utf8_lossy(&told),
        "EFATAL:  unsupported frontend protocol 2.0: server supports 3.0 to 3.2\n"
    );
}

#[test]
fn parameters_are_told_in_the_order_of_the_server() {
    let (postgres, pgditto) = servers();
    if postgres.major() > 15 {
        // It has none since.
        return;
    }
    let names = |port: u16| -> Vec<Vec<u8>> {
        let greeting = Wire::connect(port).greeting;
        let parameters = greeting.iter().filter(|message| message.tag == b'S');
        let name = |message: &Message| {
            message
                .body
                .split(|&byte| byte == 0)
                .next()
                .map(<[u8]>::to_vec)
        };
        parameters.filter_map(name).collect()
    };
    let direct = names(postgres.port);
    assert!(direct.len() > 10);
    assert_eq!(names(pgditto.port), direct);
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

/// PostgreSQL reads `options` first, wherever they stand, and of several the last.
#[test]
fn parameters_of_the_startup_packet_win_over_its_options() {
    let shown = ["SHOW work_mem", "SHOW geqo", "SHOW application_name"];
    let packet = |name: &str| {
        let script = Script::new();
        match name {
            "options first" => script
                .startup("options", "-c work_mem=5MB")
                .startup("work_mem", "6MB"),
            "options last" => script
                .startup("work_mem", "6MB")
                .startup("options", "-c work_mem=5MB"),
            "twice" => script
                .startup("application_name", "a")
                .startup("options", "-c work_mem=5MB")
                .startup("application_name", "b")
                .startup("options", "-c geqo=off"),
            _ => script.startup("options", "-c work_mem=5MB -c work_mem=7MB"),
        }
    };
    let mut stage = Stage::new(SETUP);
    for name in ["options first", "options last", "twice", "within"] {
        stage.play(&packet(name).queries(&shown));
    }
}

#[test]
fn switches_of_the_command_line_are_settings() {
    let mut stage = Stage::new(SETUP);
    for options in [
        "-e -fs -f nestloop",
        "-S 100 -eS200 -c geqo=off",
        "-E -j -n -T -v 3 -r /tmp/x -C work_mem --geqo=off --",
    ] {
        stage.play(&Script::new().startup("options", options).queries(&[
            "SHOW DateStyle",
            "SHOW enable_seqscan",
            "SHOW enable_nestloop",
            "SHOW work_mem",
            "SHOW geqo",
        ]));
    }
}

#[test]
fn resets_lead_back_to_the_startup_packet() {
    let startup = || {
        Script::new()
            .startup("application_name", "my app")
            .startup("TimeZone", "Asia/Tokyo")
            .startup("my.thing", "begun")
            .startup("options", "-c geqo=off")
    };
    let show = [
        "SHOW timezone",
        "SHOW my.thing",
        "SHOW geqo",
        "SHOW application_name",
        "SHOW work_mem",
    ];
    let set = "SET TimeZone = 'UTC'; SET my.thing = 'other'; SET geqo = on; SET work_mem = '5MB'; SET application_name = 'x'";
    let mut stage = Stage::new(SETUP);
    let cases = [
        &["RESET TimeZone", "RESET my.thing"][..],
        &[
            "SET TIME ZONE DEFAULT",
            "SET my.thing TO DEFAULT",
            "SET geqo = DEFAULT",
        ],
        &[
            "SET TIME ZONE LOCAL",
            "SET LOCAL my.thing TO DEFAULT",
            "SET LOCAL geqo TO DEFAULT",
        ],
        &["RESET ALL"],
        &[
            "SELECT set_config('TimeZone', NULL, false) IS NULL, set_config('geqo', NULL, true) IS NULL",
        ],
        &["SET my.thing = ''", "RESET application_name"],
        &["SELECT set_config('my.thing', '', false)"],
        &["RESET my.thing; SET my.thing = ''"],
        &[
            "SAVEPOINT a",
            "RESET TimeZone",
            "RESET my.thing",
            "ROLLBACK TO a",
        ],
    ];
    for (begin, end) in [("", ""), ("BEGIN", "COMMIT"), ("BEGIN", "ROLLBACK")] {
        let mut queries = Vec::new();
        for resets in cases {
            if begin.is_empty() && resets[0] == "SAVEPOINT a" {
                continue;
            }
            queries.push(set);
            queries.extend(Some(begin).filter(|sql| !sql.is_empty()));
            for reset in resets {
                queries.push(reset);
                queries.extend(show);
            }
            queries.extend(Some(end).filter(|sql| !sql.is_empty()));
            queries.extend(show);
        }
        stage.play(&startup().queries(&queries));
    }
    stage.play(&startup().queries(&[set, "DISCARD ALL"]).queries(&show));
    // Within one string, or one pipeline, too.
    let pipeline = [
        "RESET TimeZone",
        "SHOW TimeZone",
        "SET my.thing TO DEFAULT",
        "SHOW my.thing",
    ];
    let pipeline = pipeline
        .iter()
        .fold(Frames::new(), |frames, sql| frames.prepared(sql, &[]));
    stage.play(
        &startup()
            .queries(&[
                set,
                "RESET TimeZone; SHOW TimeZone; SELECT '2020-01-01 00:00Z'::timestamptz",
                "SET my.thing TO DEFAULT; SHOW my.thing; RESET ALL; SHOW geqo; SHOW my.thing",
                set,
                "BEGIN",
                "RESET ALL; SHOW TimeZone",
                "SET TimeZone = 'UTC'; RESET TimeZone; SHOW TimeZone",
                "ROLLBACK",
                "SHOW TimeZone",
            ])
            .ask(pipeline.sync())
            .queries(&show),
    );
    let mut role = Script::new().startup("options", "-c role=pg_monitor");
    stage
        .postgres
        .psql("GRANT pg_monitor, pg_read_all_data TO app");
    for sql in [
        "RESET ROLE",
        "SET ROLE NONE",
        "RESET ALL",
        "DISCARD ALL",
        "BEGIN; SET ROLE pg_read_all_data",
        "RESET ROLE",
        "SET LOCAL ROLE NONE",
        "COMMIT",
    ] {
        role = role.queries(&[sql, "SHOW role"]);
    }
    stage.play(&role);
}

/// Such a session has a connection of its own, and what it asked for is what RESET goes back to there.
#[test]
fn settings_that_only_a_connection_can_begin_with_are_in_force() {
    let mut stage = Stage::new(SETUP);
    stage.play(
        &Script::new()
            .startup("TimeZone", "Asia/Tokyo")
            .startup("my.thing", "it's \\ mine")
            .startup("options", "-P -c post_auth_delay=0 -c search_path=a,\\ b")
            .queries(&[
                "SHOW ignore_system_indexes",
                "SHOW TimeZone",
                "SHOW my.thing",
                "SHOW search_path",
                "SELECT count(*) FROM item",
                "SET TimeZone = 'UTC'; SET my.thing = 'other'",
                "RESET TimeZone; SHOW TimeZone; RESET my.thing; SHOW my.thing",
                "DISCARD ALL",
                "SHOW ignore_system_indexes",
                "SHOW my.thing",
                "SELECT count(*) FROM public.item",
            ]),
    );
    let pgditto = &stage.through;
    let options = [APP[0], APP[1], ("options", "-P")];
    let mut own = Wire::try_login(pgditto.port, 0, &options, PASSWORD).expect("let in");
    let mut other = Wire::connect(pgditto.port);
    let pinned = || {
        let metrics = pgditto.metrics();
        metrics.sum("pgditto_pinned_sessions", &[("reason", "connection_start")])
    };
    assert_eq!(pinned(), 1.0);
    let pid = own.value("SELECT pg_backend_pid()");
    for _ in 0..2 {
        assert_eq!(own.value("SHOW ignore_system_indexes"), "on");
        assert_eq!(other.value("SHOW ignore_system_indexes"), "off");
        own.rows("DISCARD ALL");
    }
    drop(own);
    // Nobody else gets its connection.
    eventually("it is gone", || pinned() == 0.0);
    assert_eq!(other.value("SHOW ignore_system_indexes"), "off");
    let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}");
    eventually("its connection is closed", || {
        stage.postgres.psql(&sql) == "0"
    });
}

#[test]
fn refusals_are_the_servers() {
    let (postgres, pgditto) = servers();
    let with = |name, value| [APP[0], APP[1], (name, value)];
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
        (&with("options", "-c work_mem=5XB"), PASSWORD),
        (&with("options", "-c default_tablespace=none"), PASSWORD),
        (&with("options", "-c client_min_messages=loud"), PASSWORD),
        (&with("options", "-c 1x.y=3"), PASSWORD),
        (&with("options", "-x"), PASSWORD),
        (&with("options", "-f X"), PASSWORD),
        (&with("options", "-e geqo"), PASSWORD),
        (&with("options", "--geqo"), PASSWORD),
        (&with("options", "-d3"), PASSWORD),
        (&with("options", "-B 16"), PASSWORD),
        (&with("role", "nobody"), PASSWORD),
        (&with("options", "-c log_connections=on"), PASSWORD),
        (&with("post_auth_delay", "x"), PASSWORD),
    ];
    for (parameters, password) in cases {
        let direct = refusal(postgres.port, parameters, password);
        let through = refusal(pgditto.port, parameters, password);
        if direct.code() != "28P01" {
            let told = |message: &Message| [b'M', b'D', b'H'].map(|field| message.field(field));
            assert_eq!(told(&direct), told(&through), "{parameters:?}");
        }
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
