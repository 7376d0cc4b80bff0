//! As many columns as a result may have.

use super::SETUP;
use crate::fixture::{Frames, Script, same};

fn frames() -> Frames {
    Frames::new()
}

/// PostgreSQL's own limit is 1,664 in a result, and 1,600 in a table.
fn columns(count: usize, column: impl Fn(usize) -> String) -> String {
    (0..count).map(column).collect::<Vec<_>>().join(", ")
}

#[test]
fn sixteen_hundred_columns() {
    let select = |count| format!("SELECT {}", columns(count, |n| format!("{n} AS c{n}")));
    let table = format!(
        "CREATE TABLE wide ({})",
        columns(1600, |n| format!("c{n} int"))
    );
    let insert = format!(
        "INSERT INTO wide VALUES ({})",
        columns(1600, |n| n.to_string())
    );
    let formats: Vec<i16> = (0..1600).map(|n| n % 2).collect();
    let read = |formats: &[i16]| {
        frames()
            .bind_as("", "s", &[], &[], formats)
            .describe_portal("")
            .execute("", 0)
            .sync()
    };
    let script = Script::new()
        .queries(&[&select(1600), &select(1664), &select(1665), &table, &insert])
        .queries(&["SELECT * FROM wide", "SELECT * FROM wide"])
        .ask(
            frames()
                .parse("s", "SELECT * FROM wide")
                .describe_statement("s")
                .sync(),
        )
        .ask(read(&[]))
        .ask(read(&formats))
        .ask(read(&formats))
        .ask(read(&formats[1..]))
        .queries(&["UPDATE wide SET c1599 = -1", "SELECT * FROM wide"])
        .ask(read(&[1]));
    same(SETUP, script);
}

#[test]
fn as_many_parameters_as_there_may_be() {
    let sum = format!(
        "SELECT {}",
        (1..=1600)
            .map(|n| format!("${n}::int"))
            .collect::<Vec<_>>()
            .join(" + ")
    );
    let texts: Vec<String> = (1..=1600).map(|n| n.to_string()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let script = Script::new()
        .ask(frames().prepared(&sum, &texts).sync())
        .ask(frames().prepared(&sum, &texts[1..]).sync())
        .ask(frames().prepared(&sum, &texts).sync());
    same(SETUP, script);
}
