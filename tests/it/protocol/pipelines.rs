//! Many messages before an answer is read: errors skip to Sync, Flush asks for what there is.

use super::SETUP;
use crate::fixture::{Frames, Script, same};

fn frames() -> Frames {
    Frames::new()
}

fn insert(id: i32) -> Frames {
    let id = id.to_string();
    frames().prepared("INSERT INTO item VALUES ($1, 'p', 1)", &[&id])
}

fn join(all: impl IntoIterator<Item = Frames>) -> Frames {
    all.into_iter().fold(frames(), |whole, part| {
        whole.bytes_as_they_are(part.bytes())
    })
}

#[test]
fn error_in_the_middle_skips_to_sync() {
    let script = Script::new()
        .ask(join([insert(10), insert(11), insert(1), insert(12)]).sync())
        .queries(&["SELECT count(*) FROM item"])
        .ask(join([insert(10), frames().prepared("SELEC", &[]), insert(11)]).sync())
        .ask(join([insert(10), frames().bind("", "absent", &[]), insert(11)]).sync())
        .queries(&["SELECT count(*) FROM item", "BEGIN"])
        .ask(join([insert(10), insert(1), insert(11)]).sync())
        .ask(insert(12).sync())
        .queries(&["COMMIT", "SELECT count(*) FROM item"]);
    same(SETUP, script);
}

#[test]
fn several_syncs_in_one_write() {
    let frames = insert(10)
        .sync()
        .bytes_as_they_are(insert(1).sync().bytes());
    let frames = frames
        .bytes_as_they_are(insert(11).sync().bytes())
        .sync()
        .sync();
    let script = Script::new()
        .send(frames)
        .ready(5)
        .queries(&["SELECT count(*) FROM item"]);
    same(SETUP, script);
}

#[test]
fn transaction_in_one_unit() {
    let one = |sql: &str| frames().prepared(sql, &[]);
    let unit = |texts: &[&str]| join(texts.iter().map(|sql| one(sql))).sync();
    let script = Script::new()
        .ask(unit(&["BEGIN", "SELECT count(*) FROM item"]))
        .ask(unit(&["INSERT INTO item VALUES (20)", "COMMIT"]))
        .ask(unit(&["BEGIN", "INSERT INTO item VALUES (21)", "COMMIT"]))
        .ask(unit(&["BEGIN", "COMMIT", "BEGIN", "ROLLBACK"]))
        .ask(unit(&["BEGIN", "SELECT 1/0", "COMMIT"]))
        .ask(unit(&["COMMIT"]))
        .ask(unit(&[
            "INSERT INTO item VALUES (22)",
            "BEGIN",
            "INSERT INTO item VALUES (23)",
        ]))
        .ask(unit(&["ROLLBACK"]))
        .ask(unit(&[
            "INSERT INTO item VALUES (24)",
            "COMMIT",
            "SELECT 1/0",
        ]))
        .ask(unit(&["BEGIN", "COMMIT", "SELECT 1/0"]))
        .queries(&["SELECT id FROM item ORDER BY id"]);
    same(SETUP, script);
}

#[test]
fn flush_asks_for_what_there_is() {
    let script = Script::new()
        .send(
            frames()
                .parse("s", "SELECT id FROM item ORDER BY id")
                .describe_statement("s")
                .flush(),
        )
        .until(b'T')
        .send(frames().bind("", "s", &[]).execute("", 2).flush())
        .until(b's')
        .send(frames().execute("", 0).flush())
        .until(b'C')
        .ask(frames().sync())
        .send(frames().parse("t", "SELECT 1").flush())
        .until(b'1')
        .send(frames().bind("", "t", &[]).flush())
        .until(b'2')
        .ask(frames().execute("", 0).sync())
        .ask(frames().flush().flush().sync());
    same(SETUP, script);
}

#[test]
fn what_the_server_says_unasked_needs_no_flush() {
    let copy = |sql: &str| frames().parse("", sql).bind("", "", &[]).execute("", 0);
    let script = Script::new()
        .send(frames().parse("s", "SELEC"))
        .until(b'E')
        .send(frames().parse("s", "SELECT 1"))
        .ask(frames().sync())
        .send(frames().prepared("SELECT shout('a')", &[]))
        .until(b'N')
        .ask(frames().sync())
        .send(frames().bind("", "absent", &[]))
        .until(b'E')
        .ask(frames().sync())
        .send(insert(10))
        .send(frames().prepared("SELECT 1/0", &[]))
        .until(b'E')
        .ask(insert(11).sync())
        .send(copy("COPY item FROM STDIN"))
        .until(b'G')
        .send(frames().copy_data(b"12\tx\t1\n").copy_done())
        .ask(frames().sync())
        .send(copy("COPY (SELECT generate_series(1, 3000)) TO STDOUT"))
        .until(b'd')
        .ask(frames().sync())
        .queries(&["BEGIN"])
        .send(frames().prepared("SELECT shout('b')", &[]))
        .until(b'N')
        .send(frames().parse("t", "SELEC"))
        .until(b'E')
        .ask(frames().sync())
        .queries(&["COMMIT", "SELECT id FROM item ORDER BY id"]);
    same(SETUP, script);
}

#[test]
fn error_before_flush_waits_for_sync() {
    let script = Script::new()
        .send(frames().parse("s", "SELEC").flush())
        .until(b'E')
        .send(
            frames()
                .parse("t", "SELECT 1")
                .flush()
                .query("SELECT 'skipped'"),
        )
        .ask(frames().bind("", "t", &[]).execute("", 0).sync())
        .ask(frames().prepared("SELECT 1", &[]).sync())
        .send(frames().bind("", "absent", &[]).flush())
        .until(b'E')
        .ask(frames().sync())
        .queries(&["SELECT 1"]);
    same(SETUP, script);
}

#[test]
fn query_after_messages_without_sync() {
    let script = Script::new()
        .ask(
            frames()
                .parse("s", "SELECT 1")
                .bind("p", "s", &[])
                .query("SELECT 2"),
        )
        .ask(frames().bind("", "s", &[]).execute("", 0).sync())
        .ask(insert(30).query("SELECT count(*) FROM item"))
        .ask(insert(31).query("SELECT 1/0"))
        .queries(&["SELECT count(*) FROM item"])
        // An error before it: the Query, too, is skipped.
        .ask(insert(1).query("SELECT 'skipped'").sync())
        .ask(
            insert(1)
                .query("SELECT 'skipped'")
                .query("SELECT 'too'")
                .sync(),
        )
        .ask(insert(32).function_call(154, &["7", "2"]))
        .ask(insert(1).function_call(154, &["7", "2"]).sync())
        .queries(&["SELECT count(*) FROM item"]);
    same(SETUP, script);
}

#[test]
fn flush_then_query() {
    let script = Script::new()
        .send(frames().prepared("SELECT 1", &[]).flush())
        .until(b'C')
        .ask(frames().query("SELECT 2"))
        .send(insert(1).flush())
        .until(b'E')
        .send(frames().query("SELECT 'skipped'"))
        .ask(frames().sync())
        .queries(&["SELECT 3"]);
    same(SETUP, script);
}

#[test]
fn five_hundred_statements_in_one_unit() {
    let many = join((100..600).map(insert));
    let script = Script::new()
        .ask(many.sync())
        .queries(&["SELECT count(*) FROM item"])
        .ask(
            join((0..500).map(|n| {
                let (name, sql) = (format!("n{n}"), format!("SELECT {n}"));
                frames()
                    .parse(&name, &sql)
                    .bind("", &name, &[])
                    .execute("", 0)
            }))
            .sync(),
        )
        .ask(
            join(
                (0..500)
                    .rev()
                    .map(|n| frames().bind("", &format!("n{n}"), &[]).execute("", 0)),
            )
            .sync(),
        );
    same(SETUP, script);
}

#[test]
fn five_hundred_units_in_one_write() {
    let unit = |n: i32| match n % 5 {
        0 => frames().prepared("SELECT 1/0", &[]).sync(),
        1 => frames().query("SELECT 1"),
        2 => frames().parse(&format!("n{n}"), "SELECT 2").sync(),
        _ => frames().prepared("SELECT $1::int", &["3"]).sync(),
    };
    same(
        SETUP,
        Script::new().send(join((0..500).map(unit))).ready(500),
    );
}

#[test]
fn errors_in_a_pipeline_with_more_statements_than_a_connection_keeps() {
    let parse = |n: i32| frames().parse(&format!("n{n}"), &format!("SELECT {n}"));
    let script = Script::new()
        .queries(&["BEGIN"])
        .ask(join((0..250).map(parse)).sync())
        .ask(join([insert(1), join((250..300).map(parse))]).sync())
        .queries(&["ROLLBACK", "BEGIN"])
        .ask(frames().bind("", "n0", &[]).execute("", 0).sync())
        .ask(frames().bind("", "n249", &[]).execute("", 0).sync())
        .ask(frames().bind("", "n270", &[]).execute("", 0).sync())
        .queries(&["ROLLBACK"]);
    same(SETUP, script);
}
