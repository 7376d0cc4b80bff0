//! LISTEN through pgditto: what PostgreSQL's own delivery promises, without an upstream connection for each listener.

use crate::fixture::{Frames, Message, Pgditto, Postgres, Script, Wire, eventually, same};

/// A server, and a pgditto with a single pooled connection before it.
fn servers() -> (Postgres, Pgditto) {
    let postgres = Postgres::start(&[]);
    let pgditto = Pgditto::start(&postgres, |options| {
        options.set("pool.default_pool_size", 1);
    });
    (postgres, pgditto)
}

/// Sender, channel and payload of a NotificationResponse.
fn heard(message: &Message) -> (u32, String, String) {
    assert_eq!(message.tag, b'A', "{message:?}");
    let mut texts = message.body[4..]
        .split(|&byte| byte == 0)
        .map(|text| String::from_utf8_lossy(text).into_owned());
    (
        u32::from_be_bytes(message.body[..4].try_into().expect("four bytes")),
        texts.next().expect("a channel"),
        texts.next().expect("a payload"),
    )
}

fn next(wire: &mut Wire) -> (u32, String, String) {
    heard(wire.read_until(b"A").last().expect("a notification"))
}

fn tags(messages: &[Message]) -> String {
    messages
        .iter()
        .map(|message| char::from(message.tag))
        .collect()
}

/// Payloads that came with the answer to a statement.
fn payloads(messages: &[Message]) -> Vec<String> {
    messages
        .iter()
        .filter(|message| message.tag == b'A')
        .map(|message| heard(message).2)
        .collect()
}

fn shared_connections(postgres: &Postgres) -> String {
    postgres.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgditto-listen'")
}

#[test]
fn twenty_listeners_share_one_connection_and_leave_the_pool_free() {
    let (postgres, pgditto) = servers();
    let mut listeners: Vec<Wire> = (0..20).map(|_| Wire::connect(pgditto.port)).collect();
    for listener in &mut listeners {
        listener.query("LISTEN news");
    }
    assert_eq!(shared_connections(&postgres), "1");
    assert_eq!(
        pgditto.metrics().sum("pgditto_listening_sessions", &[]),
        20.0
    );
    let mut worker = Wire::connect(pgditto.port);
    worker.query("NOTIFY news, 'hello'");
    for listener in &mut listeners {
        assert_eq!(
            next(listener),
            (worker.pid, "news".to_owned(), "hello".to_owned())
        );
        // They use the pool like everybody else.
        assert_eq!(listener.value("SELECT 1"), "1");
    }
    drop(listeners);
    eventually(
        "the shared connection is closed with its last listener",
        || shared_connections(&postgres) == "0",
    );
    assert_eq!(
        pgditto.metrics().sum("pgditto_listening_sessions", &[]),
        0.0
    );
}

#[test]
fn notifications_come_after_the_commit_and_outside_of_transactions() {
    let postgres = Postgres::start(&[]);
    let pgditto = Pgditto::start(&postgres, |_| {});
    let mut listener = Wire::connect(pgditto.port);
    let mut writer = Wire::connect(pgditto.port);
    listener.query("LISTEN c");
    writer.query("BEGIN; NOTIFY c, 'rolled back'; ROLLBACK");
    writer.query("BEGIN; NOTIFY c, 'one'; NOTIFY c, 'two'; NOTIFY c, 'one'; COMMIT");
    assert_eq!(next(&mut listener).2, "one");
    assert_eq!(next(&mut listener).2, "two");

    // Whether the transaction has reached the server or not.
    for begin in ["BEGIN", "BEGIN; SELECT txid_current()"] {
        listener.query(begin);
        for _ in 0..2 {
            writer.query("NOTIFY c, 'meanwhile'");
            assert_eq!(payloads(&listener.query("SHOW port")), [""; 0]);
        }
        // The same from two transactions comes twice.
        let answer = listener.query("COMMIT");
        assert_eq!(payloads(&answer), ["meanwhile", "meanwhile"]);
    }
}

#[test]
fn own_notifications_come_before_the_answer_ends_and_name_their_session() {
    let (postgres, pgditto) = servers();
    let mut direct = Wire::connect(postgres.port);
    let mut through = Wire::connect(pgditto.port);
    for wire in [&mut direct, &mut through] {
        let own = wire.pid;
        assert_eq!(tags(&wire.query("LISTEN c")), "CZ");
        for round in 0..50 {
            let answer = wire.query(&format!("NOTIFY c, '{round}'"));
            assert_eq!(tags(&answer), "CAZ", "round {round}");
            assert_eq!(heard(&answer[1]), (own, "c".to_owned(), round.to_string()));
        }
        let answer = wire.ask(
            &Frames::new()
                .prepared("SELECT pg_notify('c', $1)", &["by function"])
                .sync(),
        );
        assert!(tags(&answer).ends_with("CAZ"), "{answer:?}");
        let answer = wire.query("BEGIN; NOTIFY c, 'block'");
        assert_eq!(payloads(&answer), [""; 0]);
        assert_eq!(tags(&wire.query("COMMIT")), "CAZ");
    }
}

#[test]
fn a_notification_from_elsewhere_names_its_backend() {
    let (postgres, pgditto) = servers();
    let mut listener = Wire::connect(pgditto.port);
    listener.query("LISTEN c");
    let mut direct = Wire::connect(postgres.port);
    direct.query("NOTIFY c, 'direct'");
    assert_eq!(next(&mut listener).0, direct.pid);
}

#[test]
fn the_extended_protocol_listens_too_byte_for_byte() {
    let (postgres, pgditto) = servers();
    // Each in a database of its own, lest one hears the other.
    postgres.psql("CREATE DATABASE apart OWNER app");
    let mut direct = Wire::connect_to(postgres.port, "apart", &[]);
    let mut through = Wire::connect(pgditto.port);
    let units = [
        Frames::new()
            .parse("", "LISTEN \"A b\"")
            .bind("", "", &[])
            .describe_portal("")
            .execute("", 0)
            .sync(),
        Frames::new().parse("l", "LISTEN other").sync(),
        Frames::new().bind("", "l", &[]).execute("", 0).sync(),
        Frames::new().prepared("NOTIFY \"A b\", 'x'", &[]).sync(),
        Frames::new().prepared("NOTIFY other, 'y'", &[]).sync(),
        Frames::new().prepared("UNLISTEN \"A b\"", &[]).sync(),
        Frames::new().prepared("NOTIFY \"A b\", 'z'", &[]).sync(),
        Frames::new().prepared("LISTEN select", &[]).sync(),
        Frames::new().prepared("UNLISTEN *", &[]).sync(),
        Frames::new().prepared("NOTIFY other, 'z'", &[]).sync(),
    ];
    for (at, unit) in units.iter().enumerate() {
        let [theirs, ours] = [&mut direct, &mut through].map(|wire| {
            let own = wire.pid.to_be_bytes();
            let mut answer = wire.ask(unit);
            for message in &mut answer {
                if message.tag == b'A' {
                    assert_eq!(message.body[..4], own, "unit {at}");
                    message.body = message.body.slice(4..);
                }
            }
            answer
                .iter()
                .map(|message| (message.tag, message.body.clone()))
                .collect::<Vec<_>>()
        });
        assert_eq!(ours, theirs, "unit {at}");
    }
    assert_eq!(shared_connections(&postgres), "0");
}

#[test]
fn who_unlistens_in_a_transaction_hears_nothing_of_it() {
    let unlisten = |sql: &str| Frames::new().prepared(sql, &[]).sync();
    let script = Script::new()
        .queries(&["LISTEN c", "LISTEN d"])
        .queries(&["BEGIN", "UNLISTEN c", "NOTIFY c, '1'", "COMMIT"])
        .queries(&["NOTIFY c, '2'", "NOTIFY d, '3'", "LISTEN c"])
        .queries(&["BEGIN", "NOTIFY c, '4'", "NOTIFY d, '5'", "UNLISTEN c"])
        .queries(&["COMMIT", "NOTIFY c, '6'", "LISTEN c"])
        .queries(&["UNLISTEN c; NOTIFY c, '7'; NOTIFY d, '8'", "LISTEN c"])
        .queries(&["BEGIN; UNLISTEN c; NOTIFY c, '9'; ROLLBACK"])
        .queries(&["NOTIFY c, '10'"])
        .queries(&["BEGIN; SAVEPOINT s; UNLISTEN c; RELEASE s; NOTIFY c, '11'"])
        .queries(&["COMMIT", "LISTEN c", "BEGIN; SAVEPOINT s"])
        .queries(&["UNLISTEN c; ROLLBACK TO s", "NOTIFY c, '12'; COMMIT"])
        .queries(&["BEGIN"])
        .ask(unlisten("UNLISTEN c"))
        .ask(unlisten("NOTIFY c, '13'"))
        .ask(unlisten("COMMIT"))
        .queries(&["LISTEN c", "NOTIFY c, '14'"])
        .queries(&["BEGIN", "UNLISTEN *", "NOTIFY c, '15'", "NOTIFY d, '16'"])
        .queries(&["COMMIT", "NOTIFY c, '17'", "LISTEN c"])
        .queries(&["BEGIN; UNLISTEN c; LISTEN c; NOTIFY c, '18'; COMMIT"])
        .queries(&["NOTIFY c, '19'", "UNLISTEN c", "NOTIFY c, '20'"])
        .queries(&["BEGIN; LISTEN c; NOTIFY c, '21'; COMMIT", "UNLISTEN c"])
        .queries(&["NOTIFY c, '22'", "LISTEN c"])
        .queries(&["BEGIN; NOTIFY c, '23'; LISTEN c; COMMIT", "SELECT 1"]);
    same("", script);
}

#[test]
fn what_others_notify_is_not_heard_once_unlisten_is_committed() {
    let postgres = Postgres::start(&[]);
    let pgditto = Pgditto::start(&postgres, |_| {});
    for port in [postgres.port, pgditto.port] {
        let mut listener = Wire::connect(port);
        let mut writer = Wire::connect(port);
        for sql in ["LISTEN c", "LISTEN d", "BEGIN", "SELECT txid_current()"] {
            listener.query(sql);
        }
        writer.query("NOTIFY c, 'not heard'; NOTIFY d, 'heard'");
        listener.query("UNLISTEN c");
        assert_eq!(payloads(&listener.query("COMMIT")), ["heard"]);
        writer.query("NOTIFY c, 'not heard'");
        assert_eq!(payloads(&listener.query("NOTIFY d, 'last'")), ["last"]);
    }
}

#[test]
fn unlisten_and_discard_end_it() {
    let (_postgres, pgditto) = servers();
    for end in [
        "UNLISTEN c",
        "UNLISTEN *",
        "DISCARD ALL",
        "BEGIN; SELECT txid_current(); UNLISTEN c; COMMIT",
    ] {
        let mut listener = Wire::connect(pgditto.port);
        listener.query("LISTEN c");
        assert_eq!(payloads(&listener.query("NOTIFY c, 'a'")), ["a"]);
        listener.query(end);
        assert_eq!(payloads(&listener.query("NOTIFY c, 'b'")), [""; 0], "{end}");
        assert_eq!(
            pgditto.metrics().sum("pgditto_listening_sessions", &[]),
            0.0,
            "{end}"
        );
    }
    let mut listener = Wire::connect(pgditto.port);
    listener.query("LISTEN c");
    listener.query("BEGIN; SELECT txid_current(); UNLISTEN c; ROLLBACK");
    assert_eq!(payloads(&listener.query("NOTIFY c, 'a'")), ["a"]);
}

#[test]
fn listening_in_a_transaction_pins_and_hears_once() {
    let (postgres, pgditto) = servers();
    let mut listener = Wire::connect(pgditto.port);
    listener.query("LISTEN twice; LISTEN inside");
    assert_eq!(
        pgditto
            .metrics()
            .sum("pgditto_pinned_sessions", &[("reason", "listen")]),
        1.0
    );
    listener.query("UNLISTEN *");
    listener.query("LISTEN twice");
    listener.query("BEGIN");
    listener.query("LISTEN inside");
    listener.query("LISTEN twice");
    listener.query("COMMIT");
    assert_eq!(
        pgditto
            .metrics()
            .sum("pgditto_pinned_sessions", &[("reason", "listen")]),
        1.0
    );
    for channel in ["inside", "twice"] {
        let answer = listener.query(&format!("NOTIFY {channel}, 'own'"));
        assert_eq!(tags(&answer), "CAZ");
        assert_eq!(
            heard(&answer[1]),
            (listener.pid, channel.to_owned(), "own".to_owned())
        );
        postgres.psql(&format!(
            "\\c app\nNOTIFY {channel}, 'theirs'; NOTIFY {channel}, 'last'"
        ));
        assert_eq!(next(&mut listener).2, "theirs");
        assert_eq!(next(&mut listener).2, "last");
    }
    listener.query("UNLISTEN *");
    assert_eq!(
        pgditto
            .metrics()
            .sum("pgditto_pinned_sessions", &[("reason", "listen")]),
        0.0
    );
}

#[test]
fn a_listener_with_a_connection_of_its_own_hears_nothing_inside_a_transaction() {
    let (postgres, pgditto) = servers();
    let mut listener = Wire::connect(pgditto.port);
    listener.query("LISTEN one; LISTEN two");
    let extended = Frames::new().parse("", "BEGIN").bind("", "", &[]);
    for begin in [Frames::new().query("BEGIN"), extended.execute("", 0).sync()] {
        listener.ask(&begin);
        postgres.psql("\\c app\nNOTIFY one, 'meanwhile'");
        for _ in 0..5 {
            let answer = listener.query("SELECT 1");
            assert_eq!(tags(&answer), "TDCZ");
        }
        assert_eq!(payloads(&listener.query("COMMIT")), ["meanwhile"]);
    }
}

#[test]
fn a_listener_with_a_connection_of_its_own_hears_what_was_notified_before_its_next_answer() {
    let (_postgres, pgditto) = servers();
    let mut listener = Wire::connect(pgditto.port);
    let mut notifier = Wire::connect(pgditto.port);
    let hits = || pgditto.metrics().sum("pgditto_hits_total", &[]);
    eventually("the answer is known", || {
        notifier.query("SELECT 1 AS x");
        hits() > 0.0
    });
    listener.query("LISTEN one; LISTEN two");
    for round in 0..30 {
        notifier.query(&format!("NOTIFY two, '{round}'"));
        let answer = listener.query("SELECT 1 AS x");
        assert_eq!(payloads(&answer), [round.to_string()]);
    }
}

#[test]
fn the_server_can_be_asked_for_the_channels() {
    let (_postgres, pgditto) = servers();
    let mut listener = Wire::connect(pgditto.port);
    listener.query("LISTEN a");
    listener.query("LISTEN \"B c\"");
    let channels = "SELECT string_agg(c, ',' ORDER BY c) FROM pg_listening_channels() c";
    assert_eq!(listener.value(channels), "B c,a");
    assert_eq!(payloads(&listener.query("NOTIFY a, 'x'")), ["x"]);
    listener.query("UNLISTEN *");
    listener.query("LISTEN a");
    listener.query("BEGIN; SELECT txid_current()");
    assert_eq!(listener.error(channels), "0A000");
    listener.query("ROLLBACK");
    assert_eq!(listener.value(channels), "a");
}

#[test]
fn a_listener_that_may_have_missed_something_is_ended() {
    let (postgres, pgditto) = servers();
    let mut idle = Wire::connect(pgditto.port);
    let mut busy = Wire::connect(pgditto.port);
    for wire in [&mut idle, &mut busy] {
        wire.query("LISTEN c");
    }
    busy.query("BEGIN; SELECT txid_current()");
    postgres.psql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgditto-listen'",
    );
    assert_eq!(
        idle.read_until(&[]).last().expect("an error").code(),
        "08006"
    );
    // A transaction may end first.
    assert_eq!(busy.value("SELECT 1"), "1");
    busy.query("COMMIT");
    assert_eq!(
        busy.read_until(&[]).last().expect("an error").code(),
        "08006"
    );
    assert_eq!(
        pgditto
            .metrics()
            .sum("pgditto_listeners_ended_total", &[("reason", "lost")]),
        2.0
    );
    let mut again = Wire::connect(pgditto.port);
    again.query("LISTEN c");
    assert_eq!(payloads(&again.query("NOTIFY c, 'back'")), ["back"]);
}

#[test]
fn a_listener_that_takes_nothing_is_ended_before_it_fills_the_memory() {
    let postgres = Postgres::start(&[]);
    let pgditto = Pgditto::start(&postgres, |options| {
        options.set("listen.notification_buffer_size", "8kB");
    });
    let mut listener = Wire::connect(pgditto.port);
    let mut reader = Wire::connect(pgditto.port);
    let mut writer = Wire::connect(pgditto.port);
    listener.query("LISTEN c");
    reader.query("LISTEN c");
    listener.query("BEGIN");
    for round in 0..10 {
        writer.query(&format!(
            "SELECT pg_notify('c', '{round}' || repeat('x', 1000))"
        ));
        assert!(next(&mut reader).2.starts_with(&round.to_string()));
    }
    listener.query("COMMIT");
    let answer = listener.read_until(&[]);
    assert_eq!(answer.last().expect("an error").code(), "54000");
    assert_eq!(
        pgditto
            .metrics()
            .sum("pgditto_listeners_ended_total", &[("reason", "full")]),
        1.0
    );
}
