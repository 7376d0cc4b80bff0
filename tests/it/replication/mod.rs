//! Replication connections: PostgreSQL's own programs through pgditto, and the protocol by hand.

mod limits;
mod programs;
mod wire;

use crate::fixture::{Options, PASSWORD, Pgditto, Postgres, Wire};

/// A server from which the application may replicate, and a pgditto before it.
fn servers(configure: impl FnOnce(&mut Options)) -> (Postgres, Pgditto) {
    let postgres = Postgres::start(&[("wal_level", "logical"), ("synchronous_commit", "on")]);
    postgres.psql("ALTER ROLE app REPLICATION");
    postgres.allow("host replication app 127.0.0.1/32 scram-sha-256");
    postgres.psql_as(
        "app",
        "CREATE TABLE item (id int PRIMARY KEY, name text); INSERT INTO item VALUES (1, 'one')",
    );
    let pgditto = Pgditto::start(&postgres, configure);
    (postgres, pgditto)
}

/// A physical (`true`) or logical (`database`) replication connection.
fn walsender(pgditto: &Pgditto, replication: &str) -> Wire {
    Wire::connect_to(pgditto.port, "app", &[("replication", replication)])
}

/// libpq's words for how to reach pgditto.
fn conninfo(pgditto: &Pgditto) -> String {
    let port = pgditto.port;
    format!("host=127.0.0.1 port={port} user=app password={PASSWORD} sslmode=disable")
}
