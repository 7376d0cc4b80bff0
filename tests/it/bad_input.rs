//! Nonsense, malice and accidents: the right SQLSTATE or a clean close, in bounded time and
//! memory, and nobody else notices.

use bytes::BytesMut;
use pgditto::wire::frontend;

use crate::fixture::{
    Frames, Message, Options, Pgditto, Postgres, Script, Wait, Wire, error_code, same,
};

/// What pgditto may grow by for one client's nonsense.
const GROWTH_MAX: u64 = 64 << 20;

struct House {
    _postgres: Postgres,
    pgditto: Pgditto,
    /// Somebody who works meanwhile.
    neighbour: Wire,
}

impl House {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(configure: impl Fn(&mut Options)) -> Self {
        let postgres = Postgres::start(&[]);
        let pgditto = Pgditto::start(&postgres, |options| {
            options.wait(Wait::Listening);
            configure(options);
        });
        let mut neighbour = Wire::connect(pgditto.port);
        neighbour.rows("BEGIN; CREATE TABLE work (x int); INSERT INTO work VALUES (1)");
        Self {
            _postgres: postgres,
            pgditto,
            neighbour,
        }
    }

    fn port(&self) -> u16 {
        self.pgditto.port
    }

    /// The neighbour is as before, and so is the program.
    fn still_stands(&mut self) {
        assert_eq!(self.neighbour.value("SELECT count(*) FROM work"), "1");
        assert_eq!(Wire::connect(self.port()).value("SELECT 1"), "1");
        assert!(self.pgditto.status().is_none());
    }

    /// All that comes back after these first bytes.
    fn told(&self, bytes: &[u8]) -> Vec<Message> {
        let mut wire = Wire::open(self.port());
        wire.send(bytes);
        wire.read_until(&[])
    }
}

#[test]
fn garbage_on_the_port() {
    let mut house = House::new();
    let code = |bytes: &[u8]| error_code(&house.told(bytes));
    assert_eq!(code(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "08P01");
    assert_eq!(code(&[0xff; 64]), "08P01");
    assert_eq!(code(&[0, 0, 0, 3]), "08P01");
    assert_eq!(code(&[0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0]), "08P01");
    // Protocol 2.0.
    assert_eq!(code(&[0, 0, 0, 8, 0, 4, 0, 0]), "0A000");
    // No terminator, no user, half a pair.
    assert_eq!(code(&[0, 0, 0, 9, 0, 3, 0, 0, b'x']), "08P01");
    assert_eq!(code(&[0, 0, 0, 9, 0, 3, 0, 0, 0]), "28000");
    assert_eq!(code(b"\0\0\0\x0f\0\x03\0\0user\0\0\0"), "28000");
    // A CancelRequest for nobody, too short, too long.
    assert_eq!(
        house
            .told(&[0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 1])
            .len(),
        0
    );
    house.told(&[0, 0, 0, 8, 4, 210, 22, 46]);
    house.still_stands();
}

#[test]
fn a_startup_packet_that_never_ends() {
    let mut house = House::with(|options| {
        options.set("listen.client_login_timeout", "300ms");
    });
    for begin in [&b""[..], b"\0", b"\0\0\0\x50\0\x03\0\0user\0app"] {
        // Nobody says anything more: the door is closed.
        assert_eq!(house.told(begin).len(), 0);
    }
    // Neither is a password waited for without end.
    let mut packet = BytesMut::new();
    frontend::startup(&mut packet, 0, &[("user", "app"), ("database", "app")]);
    let told = house.told(&packet);
    assert!(told.iter().all(|message| message.tag != b'Z'), "{told:?}");
    house.still_stands();
}

#[test]
fn impossible_lengths_end_the_session() {
    let mut house = House::new();
    for header in [
        &[b'Q', 0, 0, 0, 3][..],
        &[b'Q', 0xff, 0xff, 0xff, 0xff],
        &[b'P', 0, 0, 0, 0],
        &[b'd', 0x80, 0, 0, 0],
    ] {
        let mut wire = Wire::connect(house.port());
        wire.send(header);
        assert_eq!(error_code(&wire.read_until(&[])), "08P01", "{header:?}");
    }
    house.still_stands();
}

#[test]
fn a_length_of_two_gigabytes_costs_nothing() {
    let mut house = House::new();
    let before = house.pgditto.peak_bytes();
    for tag in *b"QPBdF" {
        let mut wire = Wire::connect(house.port());
        wire.send(&[tag, 0x7f, 0xff, 0xff, 0xff]);
        wire.send(&[b'x'; 4096]);
        assert_eq!(
            error_code(&wire.read_until(&[])),
            "08P01",
            "{}",
            char::from(tag)
        );
    }
    let grown = house.pgditto.peak_bytes() - before;
    assert!(grown < GROWTH_MAX, "{grown}");
    house.still_stands();
}

#[test]
fn half_a_message_and_silence() {
    let mut house = House::new();
    let half = |bytes: &[u8]| {
        let mut wire = Wire::connect(house.port());
        wire.send(bytes);
        wire
    };
    let whole = Frames::new().query("SELECT 1");
    let silent = [
        half(&whole.bytes()[..3]),
        half(&whole.bytes()[..9]),
        half(Frames::new().parse("", "SELECT 1").bytes()),
        half(Frames::new().parse("", "SELECT 1").flush().bytes()),
    ];
    house.still_stands();
    drop(silent);
    house.still_stands();
}

#[test]
fn malformed_messages_are_refused_as_the_server_refuses_them() {
    let bad = |tag: u8, body: &[u8]| Frames::new().raw(tag, body);
    let all = [
        bad(b'Q', b"SELECT 1"),
        bad(b'Q', b"SELECT 1\0more"),
        bad(b'Q', b""),
        bad(b'P', b"").sync(),
        bad(b'P', b"name").sync(),
        bad(b'P', b"\0SELECT 1\0\0\x05").sync(),
        bad(b'P', b"\0SELECT 1\0\xff\xff").sync(),
        bad(b'P', b"\0SELECT 1\0\0\0more").sync(),
        bad(b'B', b"").sync(),
        bad(b'D', b"").sync(),
        bad(b'D', b"X\0").sync(),
        bad(b'C', b"X\0").sync(),
        bad(b'C', b"S").sync(),
        bad(b'E', b"\0").sync(),
        bad(b'E', b"\0\0\0").sync(),
        bad(b'F', b"\0").sync(),
        bad(b'S', b"more"),
    ];
    let script = all.into_iter().fold(Script::new(), |script, frames| {
        let zeros = frames.bytes()[0];
        // FunctionCall and Query answer for themselves, and the Sync behind answers again.
        let ready = if zeros == b'F' { 2 } else { 1 };
        script.send(frames).ready(ready)
    });
    same("", script.queries(&["SELECT 1"]));
}

#[test]
fn binds_whose_lengths_lie() {
    let prepared = || Frames::new().parse("", "SELECT $1::text");
    let bind = |body: &[u8]| prepared().raw(b'B', body).execute("", 0).sync();
    let script = Script::new()
        .ask(bind(b"\0\0\0\0\0\x01\0\0\0\x7fabc\0\0"))
        .ask(bind(b"\0\0\0\0\0\x01\x7f\xff\xff\xffabc\0\0"))
        .ask(bind(b"\0\0\0\0\0\x02\0\0\0\x01a\0\0"))
        .ask(bind(b"\0\0\0\0\xff\xff"))
        .ask(bind(b"\0\0\x7f\xff\0\x01"))
        .ask(bind(b"\0\0\0\0\0\x01\0\0\0\x01a\0\x05\0\0"))
        .ask(bind(b"\0\0\0\0\0\x01\0\0\0\x01a\0\0more"))
        .ask(bind(b"\0\0\0\0\0\x01\0\0\0\x01a\0\0"));
    same("", script);
}

#[test]
fn more_parameters_than_anybody_has() {
    let list = |count: usize| {
        (1..=count)
            .map(|n| format!("${n}::int"))
            .collect::<Vec<_>>()
            .join("+")
    };
    let values = vec!["1"; 65_535];
    let script = Script::new()
        .ask(
            Frames::new()
                .parse("", &format!("SELECT {}", list(500)))
                .bind("", "", &values[..500])
                .execute("", 0)
                .sync(),
        )
        .ask(
            Frames::new()
                .parse("", "SELECT $1::int")
                .bind("", "", &values)
                .execute("", 0)
                .sync(),
        )
        .ask(
            Frames::new()
                .parse("", "SELECT ($65535)::int")
                .bind("", "", &values)
                .execute("", 0)
                .sync(),
        )
        .ask(Frames::new().parse("", "SELECT $65536::int").sync())
        .ask(Frames::new().parse("", "SELECT $1000000::int").sync())
        .queries(&["SELECT 1"]);
    same("", script);
}

#[test]
fn text_that_is_not_utf8() {
    let query = |bytes: &[u8]| Frames::new().raw(b'Q', &[bytes, b"\0"].concat());
    let script = Script::new()
        .ask(query(b"SELECT '\xff'"))
        .ask(query(b"\xc3\x28"))
        .ask(query(b"SELECT 1 -- \xe9"))
        .ask(Frames::new().raw(b'P', b"\0SELECT '\xff'\0\0\0").sync())
        .ask(Frames::new().raw(b'P', b"\xff\0SELECT 1\0\0\0").sync())
        .ask(Frames::new().raw(b'B', b"\0\xff\0\0\0\0\0\0\0").sync())
        .ask(
            Frames::new()
                .parse("", "SELECT $1::text")
                .raw(b'B', b"\0\0\0\0\0\x01\0\0\0\x01\xff\0\0")
                .execute("", 0)
                .sync(),
        )
        .ask(
            Frames::new()
                .parse("", "SELECT $1::text")
                .raw(b'B', b"\0\0\0\0\0\x01\0\0\0\x01\0\0\0")
                .execute("", 0)
                .sync(),
        )
        .queries(&["SELECT 1", "SET client_encoding = 'SQL_ASCII'"])
        .ask(query(b"SELECT '\xff'"))
        .queries(&["SET client_encoding = 'SJIS'"])
        // The second byte of a character here is a backslash elsewhere.
        .ask(query(b"SELECT '\x95\x5c', 1"))
        .queries(&["RESET client_encoding", "SELECT 1"]);
    same("", script);
}

#[test]
fn sql_nested_ten_thousand_deep() {
    let wrap = |open: &str, middle: &str, close: &str| {
        format!(
            "SELECT {}{middle}{}",
            open.repeat(10_000),
            close.repeat(10_000)
        )
    };
    let mut house = House::new();
    let mut wire = Wire::connect(house.port());
    let texts = [
        wrap("(", "1", ")"),
        wrap("(SELECT ", "1", ")"),
        wrap("ARRAY[", "1", "]"),
        wrap("NOT ", "true", ""),
        wrap("- ", "1", ""),
        wrap("1 + ", "1", ""),
        wrap("CASE WHEN true THEN ", "1", " END"),
        wrap("/*", "", "*/ 1"),
        format!("SELECT 1 {}", "UNION ALL SELECT 1 ".repeat(10_000)),
    ];
    let mut direct = Wire::connect(house._postgres.port);
    for text in &texts {
        let (through, expected) = (wire.error(text), direct.error(text));
        assert_eq!(through, expected, "{}", &text[..40]);
        let unit = Frames::new().prepared(text, &[]).sync();
        assert_eq!(error_code(&wire.ask(&unit)), expected, "{}", &text[..40]);
    }
    house.still_stands();
}

#[test]
fn twenty_megabytes_of_sql() {
    let mut house = House::new();
    let mut wire = Wire::connect(house.port());
    let long = format!("SELECT length('{}')", "x".repeat(20_000_000));
    assert_eq!(wire.value(&long), "20000000");
    let answer = wire.ask(&Frames::new().prepared(&long, &[]).sync());
    assert_eq!(error_code(&answer), "");
    let list = format!(
        "SELECT count(*) FROM (VALUES (1){}) v",
        ",(1)".repeat(200_000)
    );
    assert_eq!(wire.value(&list), "200001");
    let many = "SELECT 1;".repeat(20_000);
    assert_eq!(wire.rows(&many).len(), 20_000);
    house.still_stands();
}

#[test]
fn thousands_of_prepared_statements() {
    let mut house = House::new();
    let mut wire = Wire::connect(house.port());
    let before = house.pgditto.peak_bytes();
    for chunk in 0..50 {
        let frames = (0..200).fold(Frames::new(), |frames, n| {
            let n = chunk * 200 + n;
            frames.parse(&format!("s{n}"), &format!("SELECT {n} AS a{n}"))
        });
        assert_eq!(error_code(&wire.ask(&frames.sync())), "");
    }
    for n in [0, 1, 5_000, 9_999] {
        let run = Frames::new()
            .bind("", &format!("s{n}"), &[])
            .execute("", 0)
            .sync();
        assert_eq!(wire.ask(&run)[1].row(), [Some(n.to_string())]);
    }
    // On the connection there are no more than it may keep.
    wire.rows(
        "CREATE FUNCTION kept() RETURNS bigint LANGUAGE plpgsql AS \
         'BEGIN RETURN count(*) FROM pg_prepared_statements; END'",
    );
    let kept = wire.value("SELECT kept()");
    assert!(kept.parse::<usize>().expect("a number") <= 201, "{kept}");
    let grown = house.pgditto.peak_bytes() - before;
    assert!(grown < 2 * GROWTH_MAX, "{grown}");
    house.still_stands();
}

#[test]
fn names_of_any_length() {
    let long = "n".repeat(5_000);
    let script = Script::new()
        .ask(Frames::new().parse(&long, "SELECT 1").sync())
        .ask(
            Frames::new()
                .bind(&long, &long, &[])
                .execute(&long, 0)
                .sync(),
        )
        .ask(Frames::new().bind("", &long[1..], &[]).sync())
        .ask(Frames::new().close_statement(&long).sync());
    same("", script);
}
