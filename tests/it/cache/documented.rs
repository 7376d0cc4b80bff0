//! `docs/what-is-cached.md` says what the program does: every row of its tables is asked for.

use super::wire::{Batch, Wire};
use super::{House, Pair, Served};
use crate::fixture::{eventually, repository};

/// One row of the document.
struct Row {
    example: String,
    asked: Asked,
    cached: Result<(), String>,
    /// What it depends on, where it is cached.
    depends: Option<String>,
}

enum Asked {
    Query,
    /// Bound, with the answer in this format.
    Bound(Vec<String>, u16),
    After(Vec<String>),
}

impl Row {
    /// `None`: no row of a table, or its head.
    fn read(line: &str) -> Option<Self> {
        let cells: Vec<&str> = line.strip_prefix("| ")?.split(" | ").collect();
        let [_, example, asked, cached, why] = cells[..] else {
            panic!("not five cells: {line}");
        };
        if example == "example" {
            return None;
        }
        let code = |cell: &str| -> Vec<String> {
            let parts = cell.split('`').skip(1).step_by(2);
            parts.map(str::to_owned).collect()
        };
        let words = code(asked);
        Some(Row {
            example: code(example).remove(0),
            asked: match asked.trim() {
                "" => Asked::Query,
                asked if asked.starts_with("after ") => Asked::After(words),
                asked => Asked::Bound(
                    words.into_iter().skip(1).step_by(2).collect(),
                    u16::from(asked.contains("binary")),
                ),
            },
            cached: match cached {
                "yes" => Ok(()),
                no => Err(code(no).remove(0)),
            },
            depends: (cached == "yes").then(|| code(why).remove(0)),
        })
    }

    fn ask(&self, pair: &mut Pair<'_>) -> Served {
        let house = pair.house;
        match &self.asked {
            Asked::Bound(values, format) => {
                let values: Vec<_> = values.iter().map(|value| Some(value.as_bytes())).collect();
                let mut batch = Batch::default();
                batch
                    .parse("", &self.example, &[])
                    .bind("", "", &[], &values, &[*format])
                    .describe(b'P', "")
                    .execute("", 0)
                    .sync();
                match self.cached {
                    Ok(()) => pair.look_batch(&batch),
                    Err(_) => house.look_batch(&mut pair.via, &batch).1,
                }
            }
            _ if self.cached.is_ok() => pair.look(&self.example),
            // No two answers need be the same.
            _ => house.look(&mut pair.via, &self.example).1,
        }
    }

    /// What the second run is, once nothing passes any more.
    fn run(&self, house: &House<'_>) -> Served {
        let mut pair = house.pair();
        if let Asked::After(statements) = &self.asked {
            statements.iter().for_each(|sql| pair.both(sql));
        }
        eventually(&format!("a lasting answer to {}", self.example), || {
            self.ask(&mut pair);
            let served = self.ask(&mut pair);
            let passes = ["catalog_stale", "guard", "marked"].map(str::to_owned);
            let lasts = match &served {
                // The catalogue may have been seen to change between the two.
                served if self.cached.is_ok() => *served == Served::Hit,
                Served::Bypass(reason) => !passes.contains(reason),
                _ => true,
            };
            lasts.then_some(served)
        })
    }
}

fn explain(console: &mut Wire, house: &House<'_>, sql: &str) -> String {
    let reply = console.query(&format!("EXPLAIN ON {} {sql}", house.database));
    assert_eq!(reply.error(), None, "{sql}: {reply:?}");
    reply.text()
}

/// What follows a label.
fn labelled<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    Some(line.trim())
}

#[test]
fn what_the_document_says_of_each_construct_is_so() {
    let text = std::fs::read_to_string(repository().join("docs/what-is-cached.md")).unwrap();
    let schema = text
        .split("```")
        .nth(1)
        .unwrap()
        .strip_prefix("sql")
        .unwrap();
    let house = House::new(schema);
    house.superuser_seen(
        "CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER far FOREIGN DATA WRAPPER nowhere;
         CREATE FOREIGN TABLE far (id int) SERVER far; GRANT SELECT ON far TO app",
    );
    let mut console = Wire::connect(house.pgditto.port, "app", "pgditto", &[]);
    let rows: Vec<Row> = text.lines().filter_map(Row::read).collect();
    assert!(rows.len() > 70, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for row in &rows {
        let served = row.run(&house);
        let so = match (&row.cached, &served) {
            (Ok(()), Served::Hit) => true,
            (Err(reason), Served::Bypass(seen)) => reason == seen,
            // Not counted as reads.
            (Err(reason), Served::Write) => reason == "not_select",
            _ => false,
        };
        if !so {
            wrong.push(format!("{}\n    is {served:?}", row.example));
        }
        if let Some(depends) = &row.depends {
            let explained = explain(&mut console, &house, &row.example);
            let seen = labelled(&explained, "depends on:");
            // Which settings a session has it does not know.
            if seen != Some(depends) {
                wrong.push(format!("{}\n    depends on {seen:?}", row.example));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn explain_on_the_console_says_what_the_command_line_says_and_what_is_served_now() {
    let house = House::with(
        "CREATE TABLE t (id int PRIMARY KEY, x int); INSERT INTO t VALUES (1, 1)",
        |opts| {
            opts.set("cache.verify.sample", 1);
        },
    );
    let mut console = Wire::connect(house.pgditto.port, "app", "pgditto", &[]);
    let url = house.postgres.url_for("app", &house.database);
    for (sql, label, what) in [
        (
            "SELECT x FROM t WHERE id = 4711",
            "depends on:",
            "public.t (id = ?)",
        ),
        (
            "SELECT x FROM t WHERE id = $1",
            "depends on:",
            "public.t (id = $1)",
        ),
        (
            "SELECT x FROM t WHERE id = 4711",
            "key:",
            "database, user, role, session settings, text, result formats",
        ),
        (
            "SELECT x FROM t WHERE id = $1",
            "key:",
            "database, user, role, session settings, text, parameters, their types and formats, result formats",
        ),
        (
            "SELECT x, current_setting('app.tenant') FROM t",
            "key:",
            "database, user, role, session settings, text, result formats, app.tenant",
        ),
        (
            "SELECT x FROM t WHERE id = 'x'",
            "depends on:",
            "public.t (all rows)",
        ),
        (
            "UPDATE t SET x = 4711 WHERE id = $1",
            "may touch:",
            "public.t (id = $1 or id = $1 and x = ?)",
        ),
        (
            "DELETE FROM t WHERE id IN (4711, 4712)",
            "may touch:",
            "public.t (id in ?, ?)",
        ),
        (
            "DELETE FROM t WHERE id = 4711",
            "learns:",
            "x (by a RETURNING that is added, of those by which answers are told apart)",
        ),
        ("TRUNCATE t", "may touch:", "public.t (all rows)"),
        (
            "SELECT random()",
            "what helps:",
            "Compute the value in the application and pass it.",
        ),
        (
            "SELECT ';' || x FROM t; SELECT 4711",
            "decision:",
            "forwarded",
        ),
    ] {
        let shown = explain(&mut console, &house, sql);
        assert_eq!(labelled(&shown, label), Some(what), "{shown}");
        assert!(!shown.contains("4711"), "{shown}");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pgditto"));
        command.args(["explain", "--upstream", &url, sql]);
        let printed = crate::fixture::run(command, "");
        assert!(printed.success, "{printed:?}");
        assert_eq!(printed.stdout.trim_end(), shown, "{sql}");
    }
    // What is so only here and now.
    let read = "SELECT x FROM t WHERE id = 1";
    let mut client = house.via();
    client.query(read);
    house.outside("UPDATE t SET x = 2");
    eventually("the mismatch is found", || {
        client.query(read);
        explain(&mut console, &house, read).contains("mismatch")
    });
}
