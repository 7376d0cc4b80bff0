//! The tables of the soak, and what stands about them.

use std::fmt::Write;

use super::scenes;

/// Each with its number of rows.
pub const TABLES: &[(&str, i64)] = &[
    ("v0", 4),
    ("v1", 4),
    ("v2", 2),
    ("src", 1),
    ("dst", 1),
    ("c0", 1),
    ("c1", 1),
    ("c2", 1),
    ("c3", 1),
    ("fsrc", 1),
    ("fdst", 1),
    (UNLOGGED, 2),
    ("pa", 3),
    ("pb", 3),
    (COMES_AND_GOES, 2),
    (MOVES, 1),
];
/// Its rows come with their first version, and go with a crash.
pub const UNLOGGED: &str = "u0";
/// Its rows are there in two versions of three.
pub const COMES_AND_GOES: &str = "g0";
/// Its row has another key with every version.
pub const MOVES: &str = "m0";
/// Rows that one transaction writes together, the same version to both.
pub const BONDS: [[(&str, i64); 2]; 2] = [[("pa", 0), ("pb", 0)], [("pa", 1), ("pa", 2)]];

/// Everything that clients read and write.
pub fn schema() -> String {
    let mut sql = String::from(
        "CREATE FUNCTION bump(t text, i int, n int) RETURNS void LANGUAGE plpgsql AS
             $$BEGIN EXECUTE format('UPDATE %I SET version = $1 WHERE id = $2', t) USING n, i; END$$;
         CREATE TABLE pauses (seconds float8);
         CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(NEW.seconds); RETURN NULL; END$$;
         CREATE CONSTRAINT TRIGGER pause AFTER INSERT ON pauses DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pause();
         CREATE TABLE ddl (id int);
         CREATE TABLE held (id int);
         CREATE TABLE acc_a (id int PRIMARY KEY, amount int);
         CREATE TABLE acc_b (id int PRIMARY KEY, amount int);
         INSERT INTO acc_a SELECT g, 1000 FROM generate_series(0, 2) g;
         INSERT INTO acc_b SELECT g, 1000 FROM generate_series(0, 2) g;
         CREATE VIEW acc_all AS SELECT * FROM acc_a UNION ALL SELECT * FROM acc_b;",
    );
    for (table, rows) in TABLES {
        let (kind, key, rows) = match *table {
            UNLOGGED => ("UNLOGGED", "id", 0),
            COMES_AND_GOES => ("", "id", 0),
            MOVES => ("", "place", *rows),
            _ => ("", "id", *rows),
        };
        // A string is as good as its parts: writing to one never fails.
        let _ = write!(
            sql,
            "CREATE {kind} TABLE {table} (id int, version int, other int, place int DEFAULT 0, PRIMARY KEY ({key}));
             INSERT INTO {table} SELECT g, 0, 0 FROM generate_series(0, {rows} - 1) g;
             CREATE VIEW all_{table} AS SELECT * FROM {table};"
        );
    }
    for table in scenes::BORN {
        for column in 0..scenes::COLUMNS {
            let _ = write!(
                sql,
                "ALTER TABLE {table} ADD COLUMN k{column} int DEFAULT 0;"
            );
        }
    }
    sql.push_str(
        "CREATE FUNCTION copy_over() RETURNS trigger LANGUAGE plpgsql AS
             $$BEGIN UPDATE dst SET version = NEW.other WHERE id = 0; RETURN NULL; END$$;
         CREATE FUNCTION follow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
         CREATE TRIGGER follows AFTER UPDATE ON fsrc FOR EACH ROW EXECUTE FUNCTION follow();
         CHECKPOINT;",
    );
    sql
}
