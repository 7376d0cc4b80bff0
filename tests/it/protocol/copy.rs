//! COPY in and out, in both protocols, to its end and not.

use super::SETUP;
use crate::fixture::{Frames, Script, Stage, same};

fn frames() -> Frames {
    Frames::new()
}

const COPY: &str = "COPY item FROM STDIN";

fn count() -> Frames {
    frames().query("SELECT count(*) FROM item")
}

#[test]
fn copy_in_by_query() {
    let script = Script::new()
        .send(frames().query(COPY))
        .until(b'G')
        .ask(
            frames()
                .copy_data(b"10\ta\t1\n")
                .copy_data(b"11\tb")
                .copy_data(b"\t2\n")
                .copy_done(),
        )
        .ask(count())
        .send(frames().query(COPY))
        .until(b'G')
        .ask(frames().copy_done())
        // All in one write.
        .ask(frames().query(COPY).copy_data(b"12\tc\t1\n").copy_done())
        .ask(count())
        // Sync and Flush mean nothing meanwhile.
        .ask(
            frames()
                .query(COPY)
                .copy_data(b"13\tc\t1\n")
                .flush()
                .sync()
                .copy_data(b"14\tc\t1\n")
                .copy_done(),
        )
        .ask(count());
    same(SETUP, script);
}

#[test]
fn copy_in_by_query_that_fails() {
    let script = Script::new()
        .ask(
            frames()
                .query(COPY)
                .copy_data(b"20\ta\t1\n")
                .copy_fail("no more"),
        )
        .ask(count())
        // The server finds the mistake; the client goes on sending.
        .ask(frames().query(COPY).copy_data(b"20\ta\t1\nwrong\n"))
        .ask(
            frames()
                .copy_data(b"21\ta\t1\n")
                .copy_done()
                .query("SELECT 1"),
        )
        .ask(
            frames()
                .query(COPY)
                .copy_data(b"wrong\n")
                .copy_data(b"21\ta\t1\n")
                .copy_done(),
        )
        .ask(count())
        // It never begins; the data comes all the same.
        .ask(
            frames()
                .query("COPY absent FROM STDIN")
                .copy_data(b"1\n")
                .copy_done(),
        )
        .ask(count())
        .queries(&["BEGIN"])
        .ask(frames().query(COPY).copy_data(b"wrong\n").copy_done())
        .ask(count())
        .queries(&["ROLLBACK"])
        .ask(count());
    same(SETUP, script);
}

#[test]
fn copy_in_among_other_statements() {
    let script = Script::new()
        .ask(
            frames()
                .query("SELECT 1; COPY item FROM STDIN; SELECT 2; COPY item FROM STDIN; SELECT count(*) FROM item")
                .copy_data(b"30\ta\t1\n")
                .copy_done()
                .copy_data(b"31\ta\t1\n")
                .copy_done(),
        )
        .ask(
            frames()
                .query("COPY item FROM STDIN; SELECT 1/0")
                .copy_data(b"32\ta\t1\n")
                .copy_done(),
        )
        .ask(count())
        .queries(&["BEGIN"])
        .ask(frames().query(COPY).copy_data(b"33\ta\t1\n").copy_done())
        .ask(frames().query("ROLLBACK"))
        .ask(count());
    same(SETUP, script);
}

#[test]
fn copy_in_by_the_extended_protocol() {
    let copy = || frames().prepared(COPY, &[]);
    let script = Script::new()
        // As drivers do: Sync is sent with the Execute, and the server drops it.
        .send(copy().sync())
        .until(b'G')
        .ask(frames().copy_data(b"40\ta\t1\n").copy_done().sync())
        .send(copy().flush())
        .until(b'G')
        .ask(frames().copy_data(b"41\ta\t1\n").copy_done().sync())
        .ask(copy().sync().copy_data(b"42\ta\t1\n").copy_done().sync())
        .ask(copy().copy_data(b"43\ta\t1\n").copy_done().sync())
        .ask(count())
        .send(copy().sync())
        .until(b'G')
        .ask(frames().copy_fail("no more").sync())
        .send(copy().sync())
        .until(b'G')
        .send(frames().copy_data(b"wrong\n"))
        .until(b'E')
        .ask(frames().copy_data(b"44\ta\t1\n").copy_done().sync())
        .ask(frames().prepared("COPY absent FROM STDIN", &[]).sync())
        .ask(count());
    same(SETUP, script);
}

#[test]
fn copy_in_within_a_pipeline() {
    let script = Script::new()
        .ask(
            frames()
                .prepared("INSERT INTO item VALUES (50)", &[])
                .prepared(COPY, &[])
                .copy_data(b"51\ta\t1\n")
                .copy_done()
                .prepared("SELECT count(*) FROM item", &[])
                .sync(),
        )
        .ask(
            frames()
                .prepared("INSERT INTO item VALUES (52)", &[])
                .prepared(COPY, &[])
                .copy_data(b"wrong\n")
                .copy_done()
                .prepared("SELECT 'skipped'", &[])
                .sync(),
        )
        .ask(count());
    same(SETUP, script);
}

#[test]
fn other_messages_while_copying_are_refused() {
    let mut stage = Stage::new(SETUP);
    let script = Script::new().send(frames().query(COPY)).until(b'G');
    let script = script.send(frames().query("SELECT 1"));
    // Since version 14 that ends the session.
    let script = match stage.postgres.major() {
        ..14 => script.ready(1).ask(frames().query("SELECT 2")),
        _ => script.end(),
    };
    stage.play(&script);
}

#[test]
fn copy_out() {
    let script = Script::new()
        .queries(&[
            "COPY item TO STDOUT",
            "COPY (SELECT i, repeat('x', i) FROM generate_series(1, 300) i) TO STDOUT (FORMAT csv, HEADER)",
            "COPY (SELECT 1) TO STDOUT (FORMAT binary)",
            "COPY (SELECT repeat('long', 100000)) TO STDOUT",
            "COPY (SELECT boom(i) FROM generate_series(1, 5) i) TO STDOUT",
            "COPY absent TO STDOUT",
            "SELECT 1; COPY item TO STDOUT; SELECT 2",
        ])
        .ask(frames().prepared("COPY item TO STDOUT", &[]).sync())
        .ask(frames().prepared("COPY (SELECT boom(3)) TO STDOUT", &[]).sync())
        .ask(frames().prepared("COPY item TO STDOUT", &[]).prepared("SELECT 1", &[]).sync());
    same(SETUP, script);
}

#[test]
fn long_data_passes_in_pieces() {
    let mut line = b"60\t".to_vec();
    line.extend(std::iter::repeat_n(b'x', 3_000_000));
    line.extend_from_slice(b"\t1\n");
    let script = Script::new()
        .ask(frames().query(COPY).copy_data(&line).copy_done())
        .ask(
            frames()
                .prepared(COPY, &[])
                .sync()
                .copy_data(&[b"6", &line[1..]].concat())
                .copy_done()
                .sync(),
        )
        .queries(&[
            "SELECT id, length(name) FROM item ORDER BY id",
            "SELECT name FROM item WHERE id = 60",
        ]);
    same(SETUP, script);
}
