use std::time::Duration;

use super::*;
use crate::sql::Bypass;

fn metrics() -> Arc<Metrics> {
    Metrics::new(&["listen", "temporary_objects"]).unwrap()
}

fn snapshot() -> Snapshot {
    Snapshot {
        upstream_reachable: true,
        clients: ClientCounts {
            connected: 7,
            active: 2,
            waiting: 1,
            logging_in: 1,
            limit: 100,
        },
        pools: vec![PoolSnapshot {
            database: "shop".into(),
            user: "app".into(),
            clients_active: 4,
            servers_active: 2,
            servers_idle: 3,
            wait_max: Duration::from_millis(1500),
            pool_size: 20,
            ..PoolSnapshot::default()
        }],
        databases: vec![DatabaseSnapshot {
            name: "shop".into(),
            host: Some("10.0.0.1".into()),
            port: 5432,
            dbname: "shop".into(),
            ..DatabaseSnapshot::default()
        }],
        authorities: vec![AuthoritySnapshot {
            database: "shop".into(),
            hindrance: Some(Bypass::NotAlone),
            ..AuthoritySnapshot::default()
        }],
        pinned: vec![("listen", 2)],
        ..Snapshot::default()
    }
}

#[track_caller]
fn assert_line(text: &str, line: &str) {
    assert!(text.lines().any(|l| l == line), "no {line:?} in\n{text}");
}

#[test]
fn every_reason_is_exported_before_it_happens() {
    let metrics = metrics();
    metrics.database("shop");
    let text = metrics.render(&snapshot()).unwrap();
    for reason in Bypass::ALL {
        let reason = reason.as_str();
        assert_line(
            &text,
            &format!("pgditto_bypasses_total{{database=\"shop\",reason=\"{reason}\"}} 0"),
        );
    }
    for reason in Invalidation::ALL {
        let reason = reason.as_str();
        assert_line(
            &text,
            &format!("pgditto_invalidations_total{{reason=\"{reason}\"}} 0"),
        );
    }
    for reason in Refusal::ALL {
        let reason = reason.as_str();
        assert_line(
            &text,
            &format!("pgditto_client_refusals_total{{reason=\"{reason}\"}} 0"),
        );
    }
    assert_line(&text, "pgditto_pins_total{reason=\"temporary_objects\"} 0");
    assert_line(
        &text,
        "pgditto_errors_total{class=\"23\",origin=\"upstream\"} 0",
    );
}

#[test]
fn each_outcome_counts_where_it_belongs() {
    let metrics = metrics();
    let shop = metrics.database("shop");
    let timing = Timing {
        upstream: Duration::from_millis(2),
        total: Duration::from_millis(3),
        ..Timing::default()
    };
    shop.statement(Outcome::Hit(Tier::Redis), &timing);
    shop.statement(Outcome::Miss, &timing);
    shop.statement(Outcome::Bypass(Bypass::Hint), &timing);
    shop.statement(Outcome::Write, &timing);
    shop.statement(Outcome::Local, &timing);
    let text = metrics.render(&snapshot()).unwrap();
    for outcome in Outcome::LABELS {
        assert_line(
            &text,
            &format!("pgditto_statements_total{{database=\"shop\",outcome=\"{outcome}\"}} 1"),
        );
    }
    assert_line(
        &text,
        "pgditto_hits_total{database=\"shop\",tier=\"redis\"} 1",
    );
    assert_line(
        &text,
        "pgditto_bypasses_total{database=\"shop\",reason=\"hint\"} 1",
    );
    assert_line(&text, "pgditto_hit_seconds_count{database=\"shop\"} 1");
    assert_line(&text, "pgditto_miss_seconds_count{database=\"shop\"} 1");
    assert_line(&text, "pgditto_upstream_seconds_count{database=\"shop\"} 3");
    assert_eq!(shop.totals().query_us, 6000);
}

#[test]
fn every_bypass_counts_under_its_own_name() {
    let metrics = metrics();
    let shop = metrics.database("shop");
    for (index, &reason) in Bypass::ALL.iter().enumerate() {
        assert_eq!(reason as usize, index, "{}", reason.as_str());
        shop.statement(Outcome::Bypass(reason), &Timing::default());
    }
    let text = metrics.render(&snapshot()).unwrap();
    for reason in Bypass::ALL {
        let reason = reason.as_str();
        assert_line(
            &text,
            &format!("pgditto_bypasses_total{{database=\"shop\",reason=\"{reason}\"}} 1"),
        );
    }
}

#[test]
fn an_invented_sqlstate_makes_no_series_of_its_own() {
    let metrics = metrics();
    metrics.error(SqlState(*b"ZZ999"), ErrorOrigin::Upstream);
    metrics.error(SqlState(*b"23505"), ErrorOrigin::Upstream);
    let text = metrics.render(&snapshot()).unwrap();
    assert_line(
        &text,
        "pgditto_errors_total{class=\"other\",origin=\"upstream\"} 1",
    );
    assert_line(
        &text,
        "pgditto_errors_total{class=\"23\",origin=\"upstream\"} 1",
    );
}

#[test]
fn gauges_show_the_snapshot_and_forget_what_is_gone() {
    let metrics = metrics();
    let text = metrics.render(&snapshot()).unwrap();
    assert_line(&text, "pgditto_clients{state=\"idle\"} 3");
    assert_line(&text, "pgditto_pinned_sessions{reason=\"listen\"} 2");
    assert_line(
        &text,
        "pgditto_guard_state{database=\"shop\",state=\"not_alone\"} 1",
    );
    assert_line(
        &text,
        "pgditto_guard_state{database=\"shop\",state=\"serving\"} 0",
    );
    assert_line(
        &text,
        "pgditto_pool_connections{database=\"shop\",state=\"idle\",user=\"app\"} 3",
    );
    let text = metrics.render(&Snapshot::default()).unwrap();
    assert!(!text.contains("pgditto_pool_connections{"));
    assert!(!text.contains("pgbouncer_pools_server_idle_connections{"));
}

#[test]
fn names_of_the_well_known_exporter_are_there() {
    let metrics = metrics();
    let shop = metrics.database("shop");
    shop.assigned(Duration::from_millis(250));
    shop.transaction(Duration::from_secs(1));
    shop.received(10);
    let text = metrics.render(&snapshot()).unwrap();
    for line in [
        "pgbouncer_up 1",
        "pgbouncer_pools_client_active_connections{database=\"shop\",user=\"app\"} 4",
        "pgbouncer_pools_server_idle_connections{database=\"shop\",user=\"app\"} 3",
        "pgbouncer_pools_client_maxwait_seconds{database=\"shop\",user=\"app\"} 1.5",
        "pgbouncer_stats_client_wait_seconds_total{database=\"shop\"} 0.25",
        "pgbouncer_stats_server_in_transaction_seconds_total{database=\"shop\"} 1",
        "pgbouncer_stats_received_bytes_total{database=\"shop\"} 10",
        "pgbouncer_stats_queries_pooled_total{database=\"shop\"} 0",
        "pgbouncer_databases_paused{database=\"shop\",force_user=\"\",host=\"10.0.0.1\",name=\"shop\",pool_mode=\"\",port=\"5432\"} 0",
        "pgbouncer_config_max_client_connections 100",
        "pgbouncer_used_clients 7",
        "pgbouncer_free_servers 3",
    ] {
        assert_line(&text, line);
    }
}

#[test]
fn counters_read_at_scrape_never_fall() {
    let metrics = metrics();
    let mut snapshot = snapshot();
    snapshot.cache.stale = 5;
    metrics.render(&snapshot).unwrap();
    snapshot.cache.stale = 7;
    let text = metrics.render(&snapshot).unwrap();
    assert_line(&text, "pgditto_cache_lookups_total{result=\"stale\"} 7");
    snapshot.cache.stale = 0;
    let text = metrics.render(&snapshot).unwrap();
    assert_line(&text, "pgditto_cache_lookups_total{result=\"stale\"} 7");
}

#[test]
fn averages_are_of_the_last_period_only() {
    let metrics = metrics();
    let shop = metrics.database("shop");
    for _ in 0..120 {
        shop.transaction(Duration::from_millis(4));
    }
    assert_eq!(metrics.stats()[0].averages.0.transactions, 0);
    metrics.roll(Duration::from_secs(60));
    let averages = metrics.stats()[0].averages.0;
    assert_eq!((averages.transactions, averages.transaction_us), (2, 4000));
    metrics.roll(Duration::from_secs(60));
    assert_eq!(metrics.stats()[0].averages, Averages::default());
    assert_eq!(metrics.stats()[0].totals.transactions, 120);
}

#[test]
fn databases_beyond_the_bound_are_counted_together() {
    let metrics = metrics();
    for number in 0..DATABASES_MAX + 10 {
        let database = metrics.database(&format!("d{number}"));
        database.statement(Outcome::Miss, &Timing::default());
    }
    let stats = metrics.stats();
    assert_eq!(stats.len(), DATABASES_MAX + 1);
    let other = stats.iter().find(|s| s.database == OTHER_DATABASES);
    assert_eq!(other.unwrap().totals.misses, 10);
}
