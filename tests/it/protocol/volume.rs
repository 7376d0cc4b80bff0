//! Results and copies of any size pass in bounded memory, however slow the client is.

use std::sync::LazyLock;

use crate::fixture::{Frames, Pgditto, Postgres, Wait, Wire};

/// What pgditto may grow by while it passes on much more.
const GROWTH_MAX: u64 = 48 << 20;

static SERVERS: LazyLock<Postgres> = LazyLock::new(|| Postgres::start(&[]));

fn pgditto() -> Pgditto {
    Pgditto::start(&SERVERS, |options| {
        options.wait(Wait::Listening);
    })
}

/// Reads to ReadyForQuery: how many DataRows or CopyData, and how many bytes in them.
fn drain(wire: &mut Wire, tag: u8) -> (usize, usize) {
    let (mut rows, mut bytes) = (0, 0);
    loop {
        let message = wire.read().expect("more of the answer");
        assert_ne!(message.tag, b'E', "{message:?}");
        if message.tag == tag {
            rows += 1;
            bytes += message.body.len();
        }
        if message.tag == b'Z' {
            return (rows, bytes);
        }
    }
}

fn grows_little(pgditto: &Pgditto, before: u64) {
    let peak = pgditto.peak_bytes();
    let grown = peak.saturating_sub(before);
    assert!(grown < GROWTH_MAX, "from {before} to {peak}");
}

#[test]
fn a_million_rows() {
    let pgditto = pgditto();
    let mut wire = Wire::connect(pgditto.port);
    wire.value("SELECT 1");
    let before = pgditto.peak_bytes();
    let sql = "SELECT i, 'row ' || i FROM generate_series(1, 1000000) i";
    wire.send(Frames::new().query(sql).bytes());
    assert_eq!(drain(&mut wire, b'D').0, 1_000_000);
    wire.send(Frames::new().prepared(sql, &[]).sync().bytes());
    assert_eq!(drain(&mut wire, b'D').0, 1_000_000);
    grows_little(&pgditto, before);
}

#[test]
fn three_hundred_megabytes_while_nobody_reads() {
    let pgditto = pgditto();
    let mut slow = Wire::connect(pgditto.port);
    slow.value("SELECT 1");
    let before = pgditto.peak_bytes();
    let sql = "SELECT repeat('x', 1000000) FROM generate_series(1, 300)";
    slow.send(Frames::new().query(sql).bytes());
    // The answer has begun and waits; others are served meanwhile.
    assert_eq!(slow.read().map(|message| message.tag), Some(b'T'));
    let mut other = Wire::connect(pgditto.port);
    for _ in 0..100 {
        assert_eq!(other.value("SELECT 1"), "1");
    }
    let (rows, bytes) = drain(&mut slow, b'D');
    assert_eq!(rows, 300);
    assert!(bytes > 300_000_000);
    grows_little(&pgditto, before);
}

#[test]
fn more_than_two_gibibytes_in_one_result() {
    let pgditto = pgditto();
    let mut wire = Wire::connect(pgditto.port);
    wire.value("SELECT 1");
    let before = pgditto.peak_bytes();
    let sql = "SELECT repeat(chr(97 + i % 26), 1048576) FROM generate_series(1, 2100) i";
    wire.send(Frames::new().prepared(sql, &[]).sync().bytes());
    let (rows, bytes) = drain(&mut wire, b'D');
    assert_eq!(rows, 2100);
    assert!(bytes as u64 > 2 << 30, "{bytes}");
    grows_little(&pgditto, before);
}

#[test]
fn one_value_of_fifty_megabytes() {
    let pgditto = pgditto();
    let mut wire = Wire::connect(pgditto.port);
    wire.value("SELECT 1");
    let before = pgditto.peak_bytes();
    wire.send(Frames::new().query("SELECT repeat('y', 50000000)").bytes());
    assert!(drain(&mut wire, b'D').1 > 50_000_000);
    wire.send(
        Frames::new()
            .query("COPY (SELECT repeat('y', 50000000)) TO STDOUT")
            .bytes(),
    );
    assert!(drain(&mut wire, b'd').1 > 50_000_000);
    grows_little(&pgditto, before);
}

#[test]
fn a_parameter_of_fifty_megabytes() {
    let pgditto = pgditto();
    let mut wire = Wire::connect(pgditto.port);
    let long = "z".repeat(50_000_000);
    let frames = Frames::new().prepared("SELECT length($1)", &[&long]).sync();
    let answer = wire.ask(&frames);
    let row = answer
        .iter()
        .find(|message| message.tag == b'D')
        .expect("a row");
    assert_eq!(row.row(), [Some("50000000".to_owned())]);
}

#[test]
fn a_copy_of_two_hundred_megabytes() {
    let pgditto = pgditto();
    let mut wire = Wire::connect(pgditto.port);
    wire.rows("CREATE TABLE IF NOT EXISTS poured (line text)");
    let before = pgditto.peak_bytes();
    wire.send(Frames::new().query("COPY poured FROM STDIN").bytes());
    assert_eq!(
        wire.read_until(b"GE").last().map(|message| message.tag),
        Some(b'G')
    );
    let line = [vec![b'l'; 999_999], vec![b'\n']].concat();
    let data = Frames::new().copy_data(&line);
    for _ in 0..200 {
        wire.send(data.bytes());
    }
    wire.send(Frames::new().copy_done().bytes());
    assert_eq!(drain(&mut wire, b'D'), (0, 0));
    assert_eq!(wire.value("SELECT count(*) FROM poured"), "200");
    wire.rows("DROP TABLE poured");
    grows_little(&pgditto, before);
}

#[test]
fn a_pipeline_longer_than_any_buffer() {
    let pgditto = pgditto();
    let mut wire = Wire::connect(pgditto.port);
    wire.rows("CREATE TABLE IF NOT EXISTS piped (x int)");
    let mut frames = Frames::new().parse("s", "INSERT INTO piped VALUES ($1)");
    for number in 0..100_000 {
        frames = frames.bind("", "s", &[&number.to_string()]).execute("", 0);
    }
    let frames = frames.sync();
    let mut writer = wire.try_clone();
    std::thread::scope(|scope| {
        scope.spawn(move || writer.send(frames.bytes()));
        assert_eq!(drain(&mut wire, b'C').0, 100_000);
    });
    assert_eq!(wire.value("SELECT count(*) FROM piped"), "100000");
    wire.rows("DROP TABLE piped");
}
