//! The same text in other bytes: what a session in another encoding writes is found by who reads in UTF-8.

use super::wire::{Batch, query};
use super::{House, SHARED, Served, fresh_database, start};

const SCHEMA: &str = "
    CREATE TABLE word (name text PRIMARY KEY, x int); INSERT INTO word VALUES ('ä', 1), ('b', 1), ('Ã¤', 1);
    CREATE TABLE tag (name varchar(2), x int); INSERT INTO tag VALUES ('ää', 1), ('bb', 1);
";

/// A Query in which every `?` is these bytes.
fn in_bytes(sql: &str, bytes: &[u8]) -> Vec<u8> {
    let mut parts = sql.split('?');
    let mut text = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        text.extend_from_slice(bytes);
        text.extend_from_slice(part.as_bytes());
    }
    // A string of the same length, of which the bytes are put in the place.
    let mut message = query(&"x".repeat(text.len()));
    let from = message.len() - 1 - text.len();
    message[from..from + text.len()].copy_from_slice(&text);
    message
}

#[test]
fn a_text_in_another_encoding_is_the_same_value() {
    let house = House::new(SCHEMA);
    let mut utf8 = house.pair();
    for parameters in [&[][..], &[("client_encoding", "LATIN1")]] {
        let mut latin = house.via_as("app", parameters);
        if parameters.is_empty() {
            assert_eq!(latin.query("SET client_encoding = 'LATIN1'").error(), None);
        }
        // In LATIN1 the bytes of the one are the UTF-8 of the other.
        for (read, bytes) in [
            ("ä", &b"\xe4"[..]),
            ("Ã¤", &b"\xc3\xa4"[..]),
            ("b", &b"b"[..]),
        ] {
            let read = format!("SELECT x FROM word WHERE name = '{read}'");
            let mut write = |sql: &str| {
                utf8.invalidates_by(
                    &read,
                    |_| {
                        latin.send(&in_bytes(sql, bytes));
                        let reply = latin.reply().expect("an answer");
                        assert_eq!(reply.error(), None, "{reply:?}");
                    },
                    sql,
                );
            };
            write("UPDATE word SET x = x + 1 WHERE name = '?'");
            write(
                "INSERT INTO word VALUES ('?', 1) ON CONFLICT (name) DO UPDATE SET x = word.x + 1",
            );
            write("DELETE FROM word WHERE name = '?'");
            write("INSERT INTO word VALUES ('?', 1)");
            let update = Batch::whole("UPDATE word SET x = x + 1 WHERE name = $1", &[Some(bytes)]);
            utf8.invalidates_by(
                &read,
                |_| assert_eq!(latin.batch(&update).error(), None),
                "a parameter",
            );
        }
        // A name in these bytes is a name in those.
        let read = "SELECT sum(x) FROM \"gä\"";
        utf8.write("DROP TABLE IF EXISTS \"gä\"; CREATE TABLE \"gä\" (x int); INSERT INTO \"gä\" VALUES (1)");
        utf8.invalidates_by(
            read,
            |_| {
                latin.send(&in_bytes("UPDATE \"g?\" SET x = x + 1", b"\xe4"));
                assert_eq!(latin.reply().expect("an answer").error(), None);
            },
            "a name",
        );
    }
}

#[test]
fn a_server_in_another_encoding_than_its_clients() {
    let database = fresh_database(&SHARED, "SELECT 1");
    let database = format!("{database}_latin1");
    SHARED.psql(&format!(
        "CREATE DATABASE {database} OWNER app ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    ));
    let pgditto = start(&SHARED, &database, |_| {});
    let house = House {
        postgres: &SHARED,
        database,
        pgditto,
        before: Default::default(),
    };
    let utf8 = &[("client_encoding", "UTF8")][..];
    let mut pair = house.pair_as("app", utf8);
    pair.write(SCHEMA);
    // Its own encoding is what clients speak that say nothing.
    let mut latin = house.via_as("app", &[]);
    pair.becomes_hit("SELECT x FROM word WHERE name = 'b'");
    for name in ["ä", "Ã¤", "b"] {
        let read = format!("SELECT x FROM word WHERE name = '{name}'");
        pair.invalidates(
            &read,
            &format!("UPDATE word SET x = x + 1 WHERE name = '{name}'"),
        );
        let bound = Batch::whole(
            "SELECT x FROM word WHERE name = $1",
            &[Some(name.as_bytes())],
        );
        pair.look_batch(&bound);
        assert_eq!(pair.look_batch(&bound), Served::Hit);
        pair.write(&format!("UPDATE word SET x = x + 1 WHERE name = '{name}'"));
        assert_ne!(pair.look_batch(&bound), Served::Hit);
    }
    for (read, bytes) in [("ä", &b"\xe4"[..]), ("Ã¤", &b"\xc3\xa4"[..])] {
        pair.invalidates_by(
            &format!("SELECT x FROM word WHERE name = '{read}'"),
            |_| {
                latin.send(&in_bytes(
                    "UPDATE word SET x = x + 1 WHERE name = '?'",
                    bytes,
                ));
                assert_eq!(latin.reply().expect("an answer").error(), None);
            },
            "by a client in LATIN1",
        );
    }
    // As long as its column may be in characters, and longer in bytes.
    pair.invalidates(
        "SELECT x FROM tag WHERE name = 'ää'",
        "UPDATE tag SET x = x + 1 WHERE name = 'ää'",
    );
}
