//! The console of the running program: what it says is what there is.

use std::collections::BTreeMap;

use crate::fixture::{Frames, Options, Pgditto, Postgres, Wire, eventually};

/// A row by its columns' names.
type Row = BTreeMap<String, String>;

/// A console: pgditto's or PgBouncer's.
pub struct Console(pub Wire);

impl Console {
    fn of(pgditto: &Pgditto) -> Self {
        Self(Wire::connect_to(pgditto.port, "pgbouncer", &[]))
    }

    /// What SHOW shows; NULL is an empty text.
    fn show(&mut self, what: &str) -> Vec<Row> {
        let messages = self.0.query(&format!("SHOW {what}"));
        let columns = messages.iter().find(|message| message.tag == b'T');
        let columns = columns.unwrap_or_else(|| panic!("SHOW {what}: {messages:?}"));
        let columns = pgditto::wire::backend::row_description(&columns.body).expect("well-formed");
        let names: Vec<String> = columns
            .iter()
            .map(|column| String::from_utf8_lossy(column.name).into_owned())
            .collect();
        let row = |values: Vec<Option<String>>| {
            let values = values.into_iter().map(Option::unwrap_or_default);
            names.iter().cloned().zip(values).collect()
        };
        messages
            .iter()
            .filter(|message| message.tag == b'D')
            .map(|message| row(message.row()))
            .collect()
    }

    /// The only row of `what` in which `column` has this value.
    fn row(&mut self, what: &str, column: &str, value: &str) -> Row {
        let mut rows = self.show(what);
        rows.retain(|row| row[column] == value);
        assert_eq!(rows.len(), 1, "SHOW {what}: {column} = {value}: {rows:?}");
        rows.remove(0)
    }
}

fn postgres() -> Postgres {
    let postgres = Postgres::start(&[]);
    postgres.psql_as(
        "app",
        "CREATE TABLE item (id int PRIMARY KEY, name text); INSERT INTO item VALUES (1, 'one')",
    );
    postgres
}

fn start(postgres: &Postgres, configure: impl FnOnce(&mut Options)) -> Pgditto {
    Pgditto::start(postgres, |options| {
        options.set("auth.admin_users", "app");
        configure(options);
    })
}

/// With a configuration file beside the fixture's flags.
fn start_with(postgres: &Postgres, config: &str) -> (Pgditto, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pgditto.toml");
    std::fs::write(&file, config).expect("writable");
    let pgditto = start(postgres, |options| {
        options.args(&["--config", file.to_str().expect("plain")]);
    });
    (pgditto, folder)
}

#[test]
fn every_rule_counts_the_reads_that_it_decided() {
    let postgres = postgres();
    postgres.psql_as("app", "CREATE TABLE price (x int)");
    let (pgditto, folder) = start_with(
        &postgres,
        "[[cache.rules]]\ntables = [\"item\"]\ndatabases = [\"app\"]\ncache = false\n\
         [[cache.rules]]\ndatabases = [\"other\"]\ncache = false\n[[cache.rules]]\nttl = \"5s\"\n",
    );
    let mut client = Wire::connect(pgditto.port);
    let mut console = Console::of(&pgditto);
    let mut matched = || -> Vec<String> {
        let rows = console.show("CACHE_RULES");
        rows.into_iter().map(|row| row["matched"].clone()).collect()
    };
    eventually("the rules are asked", || {
        client.query("SELECT x FROM price");
        matched() != ["0", "0", "0"]
    });
    let before: u64 = matched()[2].parse().expect("a number");
    for _ in 0..3 {
        client.query("SELECT name FROM item");
        client.query("UPDATE item SET name = 'two'");
    }
    // One look for each Execute, though a unit that goes upstream is planned again.
    let two = Frames::new()
        .prepared("SELECT x FROM price", &[])
        .prepared("SELECT x + 1 FROM price", &[]);
    client.ask(&two.sync());
    let expected = ["3".to_owned(), "0".to_owned(), (before + 2).to_string()];
    assert_eq!(matched(), expected);

    let file = folder.path().join("pgditto.toml");
    let moved =
        "[[cache.rules]]\nttl = \"5s\"\n[[cache.rules]]\ntables = [\"item\"]\nttl = \"5s\"\n";
    std::fs::write(file, moved).expect("writable");
    let reloaded = Console::of(&pgditto).0.query("RELOAD");
    assert!(
        reloaded.iter().all(|message| message.tag != b'E'),
        "{reloaded:?}"
    );
    assert_eq!(matched(), ["0".to_owned(), (before + 2).to_string()]);
}
