//! A standby takes over.

use crate::cache::wire::Wire;
use crate::failover::{becomes_hit, client, hits, pair, pgditto, port, text, url};
use crate::fixture::{DATABASE, USER, eventually};

const SCHEMA: &str =
    "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'old'), (2, 'two')";
const READ: &str = "SELECT v FROM t WHERE id = 1";

#[test]
fn clients_that_are_idle_go_on_after_a_failover_and_see_no_error() {
    let (mut primary, standby) = pair(SCHEMA);
    let pgditto = pgditto(&url(&[&primary, &standby], ""), |_| {}, &primary);
    let (mut one, mut two) = (client(&pgditto), client(&pgditto));
    text(&mut two, "SET application_name = 'two'");
    becomes_hit(&pgditto, &mut one, READ);
    text(&mut one, "UPDATE t SET v = 'new' WHERE id = 1");
    assert_eq!(text(&mut one, READ), "new");
    becomes_hit(&pgditto, &mut two, READ);
    standby.catch_up(&primary);
    primary.stop(true);
    // Asked while there is no primary: it waits for one.
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let sql = "INSERT INTO t VALUES (3, 'three') RETURNING v";
            text(&mut one, sql)
        });
        standby.promote();
        assert_eq!(waiting.join().expect("no panic"), "three");
    });
    // What was set before is set on the new server, too.
    assert_eq!(text(&mut two, "SHOW application_name"), "two");
    assert_eq!(port(&mut two), standby.port.to_string());
    assert_eq!(text(&mut two, READ), "new");
    // The cache serves again, and what is written is seen.
    becomes_hit(&pgditto, &mut two, READ);
    text(&mut one, "UPDATE t SET v = 'newer' WHERE id = 1");
    assert_eq!(text(&mut two, READ), "newer");
    let metrics = pgditto.metrics();
    assert_eq!(metrics.sum("pgditto_server_changes_total", &[]), 1.0);
    let mut console = Wire::connect(pgditto.port, USER, "pgbouncer", &[]);
    let databases = text(&mut console, "SHOW DATABASES");
    let row = format!("app|127.0.0.1|{}|app|", standby.port);
    let row = databases.lines().find(|line| line.starts_with(&row));
    assert!(
        row.is_some_and(|row| row.ends_with("|serving")),
        "{databases}"
    );
    let servers = text(&mut console, "SHOW SERVERS");
    let is_new = |line: &str| line.contains(&format!("|127.0.0.1|{}|", standby.port));
    assert!(
        !servers.is_empty() && servers.lines().all(is_new),
        "{servers}"
    );
}

#[test]
fn of_what_was_lost_with_the_primary_nothing_is_answered() {
    let (mut primary, standby) = pair(SCHEMA);
    let pgditto = pgditto(&url(&[&primary, &standby], ""), |_| {}, &primary);
    let mut client = client(&pgditto);
    standby.cut_off();
    text(&mut client, "UPDATE t SET v = 'lost' WHERE id = 1");
    // A definition that the standby does not have, which the same transaction id may make otherwise.
    text(&mut client, "CREATE VIEW w AS SELECT 'lost' AS v");
    for sql in [READ, "SELECT v FROM w"] {
        becomes_hit(&pgditto, &mut client, sql);
        assert_eq!(text(&mut client, sql), "lost");
    }
    primary.stop(true);
    standby.promote();
    standby.psql("UPDATE t SET v = v WHERE false");
    assert_eq!(text(&mut client, READ), "old");
    assert_eq!(
        client.query("SELECT v FROM w").error().as_deref(),
        Some("42P01")
    );
    text(&mut client, "CREATE VIEW w AS SELECT 'made anew' AS v");
    for _ in 0..3 {
        assert_eq!(text(&mut client, "SELECT v FROM w"), "made anew");
    }
    becomes_hit(&pgditto, &mut client, READ);
    assert_eq!(text(&mut client, READ), "old");
}

#[test]
fn a_transaction_that_was_open_gets_one_error_and_then_goes_on() {
    let (mut primary, standby) = pair(SCHEMA);
    let pgditto = pgditto(&url(&[&primary, &standby], ""), |_| {}, &primary);
    let mut cut = client(&pgditto);
    text(&mut cut, "BEGIN");
    text(&mut cut, "UPDATE t SET v = 'never' WHERE id = 1");
    primary.stop(true);
    standby.promote();
    // Its connection is gone, as it would be without pgditto in between.
    assert!(
        cut.try_query("COMMIT")
            .is_none_or(|reply| reply.error().is_some())
    );
    assert_eq!(text(&mut client(&pgditto), READ), "old");
}

#[test]
fn while_there_is_no_primary_nothing_is_answered_and_clients_are_told_why() {
    let (mut primary, standby) = pair(SCHEMA);
    let pgditto = pgditto(
        &url(&[&primary, &standby], ""),
        |opts| {
            opts.set("pool.query_wait_timeout", "2s")
                .set("cache.ttl", "1h");
        },
        &primary,
    );
    let mut client = client(&pgditto);
    becomes_hit(&pgditto, &mut client, READ);
    primary.stop(true);
    pgditto.await_log("the guard is lost");
    let before = hits(&pgditto.metrics());
    // The standby would answer this, and it is not what is wanted.
    let reply = client.query(READ);
    assert_eq!(reply.error().as_deref(), Some("57P03"), "{reply:?}");
    assert!(
        format!("{reply:?}").contains("is a primary at present"),
        "{reply:?}"
    );
    assert_eq!(hits(&pgditto.metrics()), before);
    // The same client is served again when there is one.
    standby.promote();
    assert_eq!(text(&mut client, READ), "old");
}

#[test]
fn a_primary_that_answers_nothing_is_left_for_the_one_that_does() {
    let (primary, standby) = pair(SCHEMA);
    let pgditto = pgditto(
        &url(&[&primary, &standby], ""),
        |opts| {
            opts.set("upstream.server_connect_timeout", "1s");
        },
        &primary,
    );
    let mut client = client(&pgditto);
    becomes_hit(&pgditto, &mut client, READ);
    standby.catch_up(&primary);
    primary.freeze(true);
    standby.promote();
    pgditto.await_log("the guard stands again");
    assert_eq!(port(&mut client), standby.port.to_string());
    text(&mut client, "UPDATE t SET v = 'here' WHERE id = 1");
    // It comes back and still believes itself the primary: nobody goes there.
    primary.freeze(false);
    becomes_hit(&pgditto, &mut client, READ);
    assert_eq!(text(&mut client, READ), "here");
    assert_eq!(port(&mut client), standby.port.to_string());
}

#[test]
fn a_switch_back_and_forth_is_followed() {
    let (mut primary, mut standby) = pair(SCHEMA);
    let pgditto = pgditto(&url(&[&primary, &standby], ""), |_| {}, &primary);
    let mut client = client(&pgditto);
    becomes_hit(&pgditto, &mut client, READ);
    standby.catch_up(&primary);
    primary.stop(false);
    standby.promote();
    text(&mut client, "UPDATE t SET v = 'second' WHERE id = 1");
    primary.rejoin(&standby);
    primary.catch_up(&standby);
    becomes_hit(&pgditto, &mut client, READ);
    standby.stop(false);
    primary.promote();
    text(&mut client, "UPDATE t SET v = 'third' WHERE id = 1");
    assert_eq!(text(&mut client, READ), "third");
    becomes_hit(&pgditto, &mut client, READ);
    assert_eq!(port(&mut client), primary.port.to_string());
    assert_eq!(
        pgditto.metrics().sum("pgditto_server_changes_total", &[]),
        2.0
    );
}

#[test]
fn a_standby_that_is_promoted_in_place_serves_nothing_that_was_read_before() {
    let (primary, standby) = pair(SCHEMA);
    let query = "?target_session_attrs=any";
    let pgditto = pgditto(&url(&[&standby, &primary], query), |_| {}, &primary);
    let mut client = client(&pgditto);
    for _ in 0..3 {
        assert_eq!(text(&mut client, READ), "old");
    }
    primary.psql("UPDATE t SET v = 'replayed' WHERE id = 1");
    standby.catch_up(&primary);
    standby.promote();
    eventually("hits", || {
        let before = hits(&pgditto.metrics());
        assert_eq!(text(&mut client, READ), "replayed");
        hits(&pgditto.metrics()) > before
    });
    assert!(
        pgditto
            .log()
            .iter()
            .any(|line| line.contains("was promoted"))
    );
}

#[test]
fn a_cancel_goes_to_the_server_of_the_connection() {
    let (mut primary, standby) = pair(SCHEMA);
    let pgditto = pgditto(&url(&[&primary, &standby], ""), |_| {}, &primary);
    let mut client = client(&pgditto);
    assert_eq!(text(&mut client, READ), "old");
    primary.stop(true);
    standby.promote();
    assert_eq!(port(&mut client), standby.port.to_string());
    let cancel = client.cancel_packet();
    std::thread::scope(|scope| {
        let sleeping = scope.spawn(|| client.query("SELECT pg_sleep(600)"));
        let asleep =
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(600)%'";
        eventually("it sleeps", || standby.psql(asleep) == "1");
        Wire::send_packet(pgditto.port, &cancel);
        let reply = sleeping.join().expect("no panic");
        assert_eq!(reply.error().as_deref(), Some("57014"), "{reply:?}");
    });
}

#[test]
fn who_listens_is_told_and_hears_again_on_the_new_primary() {
    let (mut primary, standby) = pair(SCHEMA);
    let pgditto = pgditto(&url(&[&primary, &standby], ""), |_| {}, &primary);
    let mut listener = client(&pgditto);
    text(&mut listener, "LISTEN news");
    primary.stop(true);
    standby.promote();
    // As with a connection of its own, which would be gone.
    eventually("it is told", || {
        listener
            .try_query("SELECT 1")
            .is_none_or(|reply| reply.error().is_some())
    });
    let mut listener = Wire::connect(pgditto.port, USER, DATABASE, &[]);
    text(&mut listener, "LISTEN news");
    let heard = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%-listen'";
    assert_eq!(standby.psql(heard), "1");
    standby.psql("NOTIFY news, 'from the new primary'");
    eventually("it hears", || {
        let reply = listener.query("SELECT 1");
        format!("{reply:?}").contains("from the new primary")
    });
}
