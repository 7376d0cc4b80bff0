use std::cell::Cell;
use std::io::Write;
use std::time::Duration;

use parking_lot::Mutex;

use super::*;
use crate::metrics::Tier;
use crate::sql::Bypass;

const SQL: &str = "SELECT * FROM card WHERE number = '4111'";

fn insight(config: &SlowLogConfig) -> Arc<Insight> {
    let normalise = |sql: &str| sql.replace("'4111'", "$1");
    Insight::new(config, normalise, Metrics::new(&[]).unwrap())
}

fn event(shape: u128, total_ms: u64) -> Event<'static> {
    Event {
        database: "shop",
        user: "app",
        application_name: "till",
        client: "10.0.0.9:5000",
        shape: ShapeId(shape << 64),
        outcome: Outcome::Bypass(Bypass::VolatileFunction),
        timing: Timing {
            wait: Duration::from_millis(1),
            upstream: Duration::from_millis(total_ms.saturating_sub(1)),
            send: Duration::from_micros(10),
            total: Duration::from_millis(total_ms),
        },
        rows: 3,
        bytes: 100,
        sqlstate: None,
    }
}

/// What `body` writes to the log, as lines of JSON.
fn logged(body: impl FnOnce()) -> Vec<serde_json::Value> {
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);
    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let sink = Sink::default();
    let writer = sink.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, body);
    let written = String::from_utf8(sink.0.lock().clone()).unwrap();
    written
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_slow_statement_is_one_line_without_literals() {
    let lines = logged(|| insight(&SlowLogConfig::default()).record(&event(1, 1500), || SQL));
    assert_eq!(lines.len(), 1);
    let line = &lines[0];
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["message"], "slow query");
    assert_eq!(line["statement"], "SELECT * FROM card WHERE number = $1");
    assert_eq!(line["total_ms"], 1500.0);
    assert_eq!(line["wait_ms"], 1.0);
    assert_eq!(line["upstream_ms"], 1499.0);
    assert_eq!(line["send_ms"], 0.01);
    assert_eq!(line["outcome"], "bypass");
    assert_eq!(line["reason"], "volatile_function");
    assert_eq!(line["rows"], 3);
    assert_eq!(line["client"], "10.0.0.9:5000");
    assert_eq!(line["shape"], "0000000000000001");
}

#[test]
fn the_second_threshold_makes_it_an_error() {
    let lines = logged(|| insight(&SlowLogConfig::default()).record(&event(1, 5000), || SQL));
    assert_eq!(lines[0]["level"], "ERROR");
}

#[test]
fn literals_are_written_only_if_asked_for() {
    let config = SlowLogConfig {
        literals: true,
        ..SlowLogConfig::default()
    };
    let lines = logged(|| insight(&config).record(&event(1, 1500), || SQL));
    assert_eq!(lines[0]["statement"], SQL);
}

#[test]
fn thresholds_of_zero_are_never_passed() {
    let config = SlowLogConfig {
        warn: Duration::ZERO,
        error: Duration::ZERO,
        ..SlowLogConfig::default()
    };
    let lines = logged(|| insight(&config).record(&event(1, 1_000_000), || SQL));
    assert!(lines.is_empty());
}

#[test]
fn a_storm_of_slow_statements_writes_a_bounded_number_of_lines() {
    let insight = insight(&SlowLogConfig::default());
    let lines = logged(|| (0..1000).for_each(|_| insight.record(&event(1, 1500), || SQL)));
    // The second may turn in between.
    assert!(lines.len() <= 20, "{}", lines.len());
    assert_eq!(insight.queries(10)[0].count, 1000);
}

#[test]
fn the_last_slow_statements_are_shown_though_the_log_had_no_room_for_them() {
    let config = SlowLogConfig {
        max_per_second: 0,
        ..SlowLogConfig::default()
    };
    let insight = insight(&config);
    let lines = logged(|| {
        (0..300).for_each(|number| insight.record(&event(number, 1500), || SQL));
    });
    assert!(lines.is_empty());
    let slow = insight.slow();
    assert_eq!(slow.len(), 200);
    assert_eq!(slow[0].shape, ShapeId(299 << 64));
    assert_eq!(slow[199].shape, ShapeId(100 << 64));
    assert_eq!(slow[0].statement, "SELECT * FROM card WHERE number = $1");
}

#[test]
fn a_reload_moves_the_threshold() {
    let insight = insight(&SlowLogConfig::default());
    insight.reload(&SlowLogConfig {
        warn: Duration::from_millis(10),
        ..SlowLogConfig::default()
    });
    assert_eq!(logged(|| insight.record(&event(1, 20), || SQL)).len(), 1);
}

#[test]
fn the_text_of_a_fast_statement_of_a_known_shape_is_not_asked_for() {
    let insight = insight(&SlowLogConfig::default());
    let asked = Cell::new(0);
    for _ in 0..5 {
        insight.record(&event(1, 1), || {
            asked.set(asked.get() + 1);
            SQL
        });
    }
    assert_eq!(asked.get(), 1);
    assert!(insight.slow().is_empty());
}

#[test]
fn sums_by_shape_tell_hits_from_misses() {
    let insight = insight(&SlowLogConfig::default());
    let hit = Event {
        outcome: Outcome::Hit(Tier::Memory),
        ..event(7, 2)
    };
    let failed = Event {
        outcome: Outcome::Miss,
        sqlstate: Some(SqlState::QUERY_CANCELED),
        ..event(7, 4)
    };
    insight.record(&hit, || SQL);
    insight.record(&failed, || SQL);
    insight.record(&event(7, 6), || SQL);
    let [stats] = &insight.queries(10)[..] else {
        panic!("one shape");
    };
    assert_eq!((stats.count, stats.hits, stats.misses), (3, 1, 1));
    assert_eq!((stats.bypasses, stats.errors), (1, 1));
    assert_eq!(stats.last_bypass, "volatile_function");
    assert_eq!((stats.rows, stats.bytes), (9, 300));
    assert_eq!(stats.total, Duration::from_millis(12));
    assert_eq!(stats.total_max, Duration::from_millis(6));
    assert_eq!(stats.statement, "SELECT * FROM card WHERE number = $1");
    assert_eq!(insight.find_shape("0000000000000007"), Some(stats.shape));
}

#[test]
fn one_shape_in_two_databases_is_two() {
    let insight = insight(&SlowLogConfig::default());
    insight.record(&event(1, 1), || SQL);
    let other = Event {
        database: "bank",
        ..event(1, 1)
    };
    insight.record(&other, || SQL);
    assert_eq!(insight.queries(10).len(), 2);
}

#[test]
fn a_costly_shape_stays_while_thousands_come_once() {
    let insight = insight(&SlowLogConfig::default());
    for number in 0..20_000_u128 {
        let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let once = Event {
            shape: ShapeId(scattered),
            ..event(0, 1)
        };
        insight.record(&once, || SQL);
        insight.record(&event(1, 2), || SQL);
    }
    let queries = insight.queries(usize::MAX);
    assert!(queries.len() <= 1024, "{}", queries.len());
    assert_eq!(queries[0].shape, ShapeId(1 << 64));
    assert_eq!(queries[0].count, 20_000);
}

#[test]
fn a_long_statement_is_cut_at_a_character_and_kept_on_one_line() {
    let long = slow::capped(format!("SELECT\n'{}'", "ä".repeat(5000)));
    assert!(long.len() < 2100 && long.ends_with('…'));
    assert!(long.starts_with("SELECT 'ä"));
}
