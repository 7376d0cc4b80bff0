//! Several servers of which one is the primary: who is used, and what becomes of clients and of the cache when
//! another takes over.

mod choice;
mod takeover;

use crate::cache::wire::Wire;
use crate::fixture::{DATABASE, Metrics, Options, PASSWORD, Pgditto, Postgres, USER, eventually};

/// `app` at these servers, in libpq's form.
fn url(servers: &[&Postgres], query: &str) -> String {
    let hosts: Vec<String> = servers
        .iter()
        .map(|server| format!("127.0.0.1:{}", server.port))
        .collect();
    format!(
        "postgres://{USER}:{PASSWORD}@{}/{DATABASE}{query}",
        hosts.join(",")
    )
}

fn pgditto(url: &str, configure: impl FnOnce(&mut Options), server: &Postgres) -> Pgditto {
    Pgditto::start(server, |opts| {
        opts.upstream(url);
        opts.set("auth.auth_type", "trust");
        opts.set("auth.admin_users", USER);
        configure(opts);
    })
}

/// A primary with `schema`, and a standby that follows it.
fn pair(schema: &str) -> (Postgres, Postgres) {
    let primary = Postgres::start(&[]);
    primary.psql_as(USER, schema);
    let standby = primary.standby(&[]);
    standby.catch_up(&primary);
    (primary, standby)
}

fn client(pgditto: &Pgditto) -> Wire {
    Wire::connect(pgditto.port, USER, DATABASE, &[])
}

fn text(client: &mut Wire, sql: &str) -> String {
    let reply = client.query(sql);
    assert_eq!(reply.error(), None, "{sql}: {reply:?}");
    reply.text()
}

/// The port of the server that answers.
fn port(client: &mut Wire) -> String {
    text(client, "SELECT current_setting('port'), random() < 2")
        .split('|')
        .next()
        .expect("a column")
        .to_owned()
}

fn hits(metrics: &Metrics) -> f64 {
    metrics.sum("pgditto_statements_total", &[("outcome", "hit")])
}

/// Asks until the answer comes from the cache.
fn becomes_hit(pgditto: &Pgditto, client: &mut Wire, sql: &str) {
    eventually(&format!("a hit: {sql}"), || {
        let before = hits(&pgditto.metrics());
        text(client, sql);
        hits(&pgditto.metrics()) > before
    });
}
