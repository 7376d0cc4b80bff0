//! When nobody asks any more: what is left in the cache is the truth, and nothing acknowledged is missing.

use std::sync::atomic::Ordering;

use super::client::{Address, Client};
use super::history::{Anomaly, History};
use super::reads::{SUMS, Way, forms, hot, pairs, shows};
use super::schema::MOVES;
use super::tally::Served;
use crate::cache::wire::Wire;
use crate::fixture::{Pgditto, eventually};
use crate::soak::random::Random;

const WAYS: [Way; 4] = [Way::Simple, Way::Unnamed, Way::Binary, Way::Prepared];

/// Asks what the clients asked, in their words and ways, once. Gives the hits among the answers.
pub fn end(history: &History, address: Address, pgditto: &Pgditto) -> Served {
    let mut direct = Wire::connect(address.direct_port, "postgres", address.database, &[]);
    let open =
        direct.query("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()");
    for gid in open.text().lines() {
        direct.query(&format!("ROLLBACK PREPARED '{gid}'"));
    }
    eventually("nobody writes any more", || {
        direct
            .query(
                "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state <> 'idle'",
            )
            .text()
            == "0"
    });
    assert!(
        pgditto.try_http("GET", "/readyz").is_some(),
        "pgditto stands"
    );
    let before = Served::of(&pgditto.metrics());
    let mut via = Client::new(history, address, Random::new(1), false, 400);
    for (at, row) in history.rows.iter().enumerate() {
        let keys = if row.table == MOVES {
            vec![0, 1, 2]
        } else {
            vec![row.id]
        };
        for key in keys {
            compare(history, &mut via, &mut direct, (at, key));
        }
        let sql = hot(row.table, row.id);
        let truth = direct.query(&sql).text();
        let said = via.query(&sql).map(|reply| reply.text());
        if said.as_ref().ok() != Some(&truth) {
            let said = said.unwrap_or_else(|_| "an error".to_owned());
            history.report(
                Anomaly::WrongInTheEnd,
                format!("{said} instead of {truth}: {sql}"),
            );
        }
        lost(history, at, &truth);
    }
    for sql in SUMS {
        let truth = direct.query(sql).text();
        let said = via.query(sql).map(|reply| reply.text());
        if said.unwrap_or_default() != truth {
            history.report(Anomaly::WrongInTheEnd, format!("not {truth}: {sql}"));
        }
    }
    let after = Served::of(&pgditto.metrics());
    Served {
        hits: after.hits - before.hits,
        others: after.others - before.others,
    }
}

/// Every form of a query for one row, by every way.
fn compare(history: &History, via: &mut Client<'_>, direct: &mut Wire, (at, key): (usize, i64)) {
    for form in forms(history.rows[at].table, key) {
        // Their order is open.
        let sorted = |mut rows: Vec<Vec<Option<i64>>>| {
            rows.sort();
            rows
        };
        let truth = direct.query(&form.sql.replace("$1", &key.to_string()));
        let truth = sorted(pairs(&truth, false));
        for way in WAYS {
            let said = via
                .read_form(at, key, &form, way)
                .map(|reply| sorted(pairs(&reply, matches!(way, Way::Binary))));
            if said.as_ref().ok() != Some(&truth) {
                let said = said.map_or("an error".to_owned(), |said| format!("{said:?}"));
                history.report(
                    Anomaly::WrongInTheEnd,
                    format!("{said} instead of {truth:?}: {}", form.sql),
                );
            }
        }
    }
}

/// Whether the server itself lacks what it acknowledged.
fn lost(history: &History, at: usize, truth: &str) {
    let row = &history.rows[at];
    let acknowledged = row.acknowledged.load(Ordering::SeqCst);
    let begun = row.begun.load(Ordering::SeqCst);
    let version = truth
        .split_once('|')
        .and_then(|(_, version)| version.parse::<i64>().ok());
    let kept = match version {
        Some(version) => version >= acknowledged,
        None => (acknowledged..=begun).any(|version| !shows(row.table, row.id, version)),
    };
    if !kept {
        history.report(
            Anomaly::Lost,
            format!(
                "{truth:?} of {} {}, and {acknowledged} was acknowledged",
                row.table, row.id
            ),
        );
    }
}
