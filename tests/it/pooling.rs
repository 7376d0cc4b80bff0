//! Many clients on few connections, and what becomes of a connection when its client goes.

use std::sync::Barrier;
use std::thread;

use crate::fixture::{
    DATABASE, Frames, Options, PASSWORD, Pgditto, Postgres, USER, Wait, Wire, error_code,
    eventually, psql,
};

fn servers(configure: impl Fn(&mut Options)) -> (Postgres, Pgditto) {
    let postgres = Postgres::start(&[]);
    let pgditto = Pgditto::start(&postgres, |options| {
        options
            .wait(Wait::Listening)
            .set("pool.default_pool_size", 1);
        configure(options);
    });
    (postgres, pgditto)
}

/// How many connections of the application's user are open on the server, but for pgditto's own.
fn connections(postgres: &Postgres) -> usize {
    let sql = "SELECT count(*) FROM pg_stat_activity \
               WHERE usename = 'app' AND application_name NOT LIKE 'pgditto%'";
    postgres.psql(sql).parse().expect("a number")
}

#[test]
fn sixty_four_clients_on_ten_connections() {
    let (postgres, pgditto) = servers(|options| {
        options.set("pool.default_pool_size", 10);
    });
    postgres.psql_as(
        "app",
        "CREATE TABLE account (id int PRIMARY KEY, balance int);
         INSERT INTO account SELECT i, 100 FROM generate_series(0, 63) i",
    );
    let port = pgditto.port;
    thread::scope(|scope| {
        for client in 0..64 {
            scope.spawn(move || {
                let mut wire = Wire::connect(port);
                let move_one = "UPDATE account SET balance = balance + $1 WHERE id = $2";
                let answer = wire.ask(&Frames::new().parse("move", move_one).sync());
                assert_eq!(error_code(&answer), "");
                for round in 0..20 {
                    let (from, to) = (client, (client + round + 1) % 64);
                    // Always in the same order, so that nobody waits in a circle.
                    let (first, second) = (from.min(to).to_string(), from.max(to).to_string());
                    let sign = if from < to { ["-1", "1"] } else { ["1", "-1"] };
                    wire.rows("BEGIN");
                    let answer = wire.ask(
                        &Frames::new()
                            .bind("", "move", &[sign[0], &first])
                            .execute("", 0)
                            .bind("", "move", &[sign[1], &second])
                            .execute("", 0)
                            .sync(),
                    );
                    assert_eq!(error_code(&answer), "");
                    match round % 4 {
                        0 => assert_eq!(wire.error("SELECT 1/0"), "22012"),
                        1 => assert_eq!(wire.value("SELECT count(*) FROM account"), "64"),
                        _ => {}
                    }
                    wire.rows("COMMIT");
                }
            });
        }
    });
    assert_eq!(postgres.psql("SELECT sum(balance) FROM account"), "6400");
    assert!(connections(&postgres) <= 10, "{}", connections(&postgres));
}

/// Drawing from a sequence leaves something behind for `currval`, and keeps no connection for it.
#[test]
fn sixty_four_clients_that_insert_into_a_serial_table_starve_nobody() {
    let (postgres, pgditto) = servers(|options| {
        options
            .set("pool.default_pool_size", 10)
            .set("pool.query_wait_timeout", "20s");
    });
    postgres.psql_as(
        "app",
        "CREATE TABLE line (id serial PRIMARY KEY, client int)",
    );
    let port = pgditto.port;
    let all_have_inserted = Barrier::new(64);
    thread::scope(|scope| {
        for client in 0..64 {
            let all_have_inserted = &all_have_inserted;
            scope.spawn(move || {
                let mut wire = Wire::connect(port);
                let insert = format!("INSERT INTO line (client) VALUES ({client})");
                for _ in 0..10 {
                    assert_eq!(error_code(&wire.ask(&Frames::new().query(&insert))), "");
                }
                all_have_inserted.wait();
                for _ in 0..10 {
                    assert_eq!(error_code(&wire.ask(&Frames::new().query(&insert))), "");
                }
            });
        }
    });
    let counted = "SELECT count(*), count(DISTINCT client), max(id) FROM line";
    assert_eq!(postgres.psql(counted), "1280|64|1280");
    assert!(connections(&postgres) <= 10, "{}", connections(&postgres));
}

#[test]
fn a_client_that_vanishes_in_a_transaction_leaves_nothing() {
    let (postgres, pgditto) = servers(|_| {});
    postgres.psql_as("app", "CREATE TABLE t (x int)");
    let mut gone = Wire::connect(pgditto.port);
    gone.rows("BEGIN; INSERT INTO t VALUES (1); SET TimeZone = 'Asia/Tokyo'");
    drop(gone);
    let mut next = Wire::connect(pgditto.port);
    assert_eq!(next.value("SELECT count(*) FROM t"), "0");
    assert_ne!(next.value("SHOW TimeZone"), "Asia/Tokyo");
    let mut gone = Wire::connect(pgditto.port);
    gone.rows("BEGIN");
    gone.send(
        Frames::new()
            .parse("", "INSERT INTO t VALUES (2)")
            .bind("", "", &[])
            .execute("", 0)
            .flush()
            .bytes(),
    );
    gone.read_until(b"C");
    drop(gone);
    assert_eq!(next.value("SELECT count(*) FROM t"), "0");
}

#[test]
fn a_client_that_vanishes_in_a_read_frees_its_connection() {
    let postgres = Postgres::start(&[]);
    postgres.psql_as(
        "app",
        "CREATE TABLE t AS SELECT generate_series(1, 2000) AS x",
    );
    let pgditto = Pgditto::start(&postgres, |options| {
        options
            .set("pool.default_pool_size", 1)
            .set("upstream.abandoned_timeout", "100ms");
    });
    // Until the catalogue is known any statement may be a write.
    let mut reader = Wire::connect(pgditto.port);
    eventually("reads are known as such, and cached", || {
        let sql = "SELECT count(*) + 0 * max(x) FROM t";
        reader.rows(sql);
        let hits = |metrics: crate::fixture::Metrics| metrics.sum("pgditto_hits_total", &[]);
        let before = hits(pgditto.metrics());
        reader.rows(sql);
        hits(pgditto.metrics()) > before
    });
    let running = "SELECT count(*) FROM pg_stat_activity \
                   WHERE state = 'active' AND query LIKE 'SELECT count(a.x)%' \
                   AND pid <> pg_backend_pid()";
    let mut gone = Wire::connect(pgditto.port);
    let endless = "SELECT count(a.x) FROM t a, t b, t c, t d";
    gone.send(Frames::new().query(endless).bytes());
    eventually("the statement runs", || postgres.psql(running) == "1");
    drop(gone);
    let mut next = Wire::connect(pgditto.port);
    assert_eq!(next.value("SELECT 1"), "1");
    eventually("the statement is cancelled", || {
        postgres.psql(running) == "0"
    });
}

#[test]
fn a_write_goes_on_without_its_client() {
    let (postgres, pgditto) = servers(|_| {});
    postgres.psql_as("app", "CREATE TABLE t (x int)");
    let mut gone = Wire::connect(pgditto.port);
    let slow = "INSERT INTO t SELECT 1 FROM pg_sleep(1)";
    let running =
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'INSERT%'";
    gone.send(Frames::new().query(slow).bytes());
    eventually("the statement runs", || postgres.psql(running) == "1");
    drop(gone);
    eventually("as direct, it comes to its end", || {
        postgres.psql("SELECT count(*) FROM t") == "1"
    });
    assert_eq!(
        Wire::connect(pgditto.port).value("SELECT count(*) FROM t"),
        "1"
    );
}

#[test]
fn statements_beyond_max_prepared_statements() {
    let (_postgres, pgditto) = servers(|options| {
        options.set("pool.max_prepared_statements", 3);
    });
    let mut one = Wire::connect(pgditto.port);
    let mut two = Wire::connect(pgditto.port);
    let prepare = |wire: &mut Wire, base: usize| {
        for n in 0..10 {
            let sql = format!("SELECT {}", base + n);
            let answer = wire.ask(&Frames::new().parse(&format!("s{n}"), &sql).sync());
            assert_eq!(error_code(&answer), "");
        }
    };
    prepare(&mut one, 0);
    prepare(&mut two, 100);
    for n in (0..10).rev() {
        let run = Frames::new()
            .bind("", &format!("s{n}"), &[])
            .execute("", 0)
            .sync();
        for (wire, base) in [(&mut one, 0), (&mut two, 100)] {
            let answer = wire.ask(&run);
            assert_eq!(
                answer[1].row(),
                [Some((base + n).to_string())],
                "{answer:?}"
            );
        }
    }
    // By its name the view shows a session its own; out of sight, all of the connection.
    one.rows(
        "CREATE FUNCTION kept() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN count(*) \
         FROM pg_prepared_statements WHERE name LIKE 'pgditto%'; END $$",
    );
    assert_eq!(one.value("SELECT kept()"), "3");
}

#[test]
fn idle_clients_outlive_a_restart_of_the_server() {
    let (mut postgres, pgditto) = servers(|_| {});
    let mut idle = Wire::connect(pgditto.port);
    idle.rows("SET TimeZone = 'Asia/Tokyo'");
    idle.ask(&Frames::new().parse("s", "SELECT 42").sync());
    let mut busy = Wire::connect(pgditto.port);
    busy.rows("BEGIN; SELECT 1");
    postgres.restart();
    assert_eq!(idle.value("SHOW TimeZone"), "Asia/Tokyo");
    let answer = idle.ask(&Frames::new().bind("", "s", &[]).execute("", 0).sync());
    assert_eq!(answer[1].row(), [Some("42".to_owned())]);
    // Its transaction is lost, and it is told so.
    let end = busy.read_until(&[]);
    assert_eq!(error_code(&end), "57P01", "{end:?}");
}

#[test]
fn a_terminated_backend_ends_what_it_was_busy_with_and_nothing_else() {
    let (postgres, pgditto) = servers(|_| {});
    let mut wire = Wire::connect(pgditto.port);
    let pid = wire.value("SELECT pg_backend_pid()");
    postgres.terminate(&pid);
    let next = wire.value("SELECT pg_backend_pid()");
    assert_ne!(pid, next, "an idle session is given another connection");
    wire.send(Frames::new().query("SELECT pg_sleep(600)").bytes());
    let running = format!("SELECT state FROM pg_stat_activity WHERE pid = {next}");
    eventually("the statement runs", || postgres.psql(&running) == "active");
    postgres.terminate(&next);
    let end = wire.read_until(&[]);
    assert_eq!(error_code(&end), "57P01", "{end:?}");
    assert_eq!(Wire::connect(pgditto.port).value("SELECT 1"), "1");
}

/// What pgditto does for itself on a connection, when a session begins or moves to it, may find that it has ended.
#[test]
fn connections_that_are_terminated_while_they_idle_are_missed_by_nobody() {
    let (postgres, pgditto) = servers(|_| {});
    let end_all = || {
        postgres.psql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE usename = 'app' AND application_name NOT LIKE 'pgditto%'",
        );
    };
    let mut moved = Wire::connect(pgditto.port);
    moved.rows("SET work_mem = '99MB'");
    for n in 1..=20 {
        let megabytes = format!("{n}MB");
        let parameters = [
            ("user", USER),
            ("database", DATABASE),
            ("work_mem", &megabytes),
        ];
        end_all();
        let mut begun = Wire::try_login(pgditto.port, 0, &parameters, PASSWORD).expect("let in");
        assert_eq!(begun.value("SHOW work_mem"), megabytes);
        end_all();
        assert_eq!(moved.value("SHOW work_mem"), "99MB");
        drop(begun);
        assert_eq!(Wire::connect(pgditto.port).value("SHOW work_mem"), "4MB");
    }
}

/// Everything that the server says up to the end of the connection.
fn farewell(wire: &mut Wire) -> String {
    format!("{:?}", wire.read_until(&[]))
}

/// What a session may have done before it idles, and its connection is taken away.
const BUSY: &[&str] = &[
    "BEGIN; SELECT 1",
    "BEGIN; SELECT 1/0",
    "CREATE TEMPORARY TABLE mine (a int)",
    "SELECT pg_advisory_lock(7)",
    "PREPARE mine AS SELECT 1",
    "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; COMMIT",
];

#[test]
fn a_session_whose_idle_backend_is_terminated_hears_what_the_server_says_if_it_needs_it() {
    let (postgres, pgditto) = servers(|options| {
        options.set("pool.default_pool_size", 20);
    });
    for before in BUSY {
        let said = [pgditto.port, postgres.port].map(|port| {
            let mut wire = Wire::connect(port);
            wire.query(before);
            let pid = postgres.psql(
                "SELECT pid FROM pg_stat_activity WHERE usename = 'app'
                 AND application_name NOT LIKE 'pgditto%' ORDER BY query_start DESC LIMIT 1",
            );
            postgres.terminate(&pid);
            farewell(&mut wire)
        });
        assert!(said[0].contains("57P01"), "{before}: {}", said[0]);
        assert_eq!(said[0], said[1], "{before}");
    }
}

#[test]
fn sessions_that_need_their_connection_hear_what_the_server_says_when_it_restarts() {
    let (mut postgres, pgditto) = servers(|options| {
        options.set("pool.default_pool_size", 20);
    });
    let sessions = |port| {
        let begin = |sql: &&str| {
            let mut wire = Wire::connect(port);
            wire.query(sql);
            wire
        };
        BUSY.iter().map(begin).collect::<Vec<_>>()
    };
    let mut ours = sessions(pgditto.port);
    // Advisory locks are the database's.
    ours[3].rows("SELECT pg_advisory_unlock_all(), pg_advisory_lock(8)");
    let mut theirs = sessions(postgres.port);
    let mut idle = [(); 3].map(|()| Wire::connect(pgditto.port));
    idle[0].rows("SELECT 1");
    idle[1].rows("BEGIN");
    idle[2].rows("SET work_mem = '5MB'");
    postgres.restart();
    for (at, before) in BUSY.iter().enumerate() {
        let said = farewell(&mut ours[at]);
        assert!(said.contains("57P01"), "{before}: {said}");
        assert_eq!(said, farewell(&mut theirs[at]), "{before}");
    }
    // The others hear nothing, not even with their next answer.
    let mut truth = Wire::connect(postgres.port);
    truth.rows("SET work_mem = '5MB'");
    for sql in ["SHOW work_mem", "SELECT 1"] {
        assert_eq!(idle[2].query(sql), truth.query(sql));
    }
    truth.rows("RESET work_mem");
    assert_eq!(idle[0].query("SELECT 2"), truth.query("SELECT 2"));
    truth.rows("BEGIN");
    for sql in ["SELECT 3", "COMMIT"] {
        assert_eq!(idle[1].query(sql), truth.query(sql));
    }
}

#[test]
fn a_session_pooled_connection_that_is_terminated_ends_its_session() {
    let (postgres, pgditto) = servers(|options| {
        options.set("pool.pool_mode", "session");
    });
    let mut wire = Wire::connect(pgditto.port);
    let pid = wire.value("SELECT pg_backend_pid()");
    postgres.terminate(&pid);
    let said = farewell(&mut wire);
    assert!(said.contains("57P01"), "{said}");
}

#[test]
fn whoever_waits_too_long_for_a_connection_is_told_so() {
    let (_postgres, pgditto) = servers(|options| {
        options.set("pool.query_wait_timeout", "200ms");
    });
    let mut holder = Wire::connect(pgditto.port);
    let mut waiter = Wire::connect(pgditto.port);
    holder.rows("BEGIN; SELECT 1");
    let answer = waiter.query("SELECT 1 FROM pg_class LIMIT 1");
    assert_eq!(error_code(&answer), "53300", "{answer:?}");
    let unit = Frames::new()
        .prepared("SELECT 1 FROM pg_class LIMIT 1", &[])
        .sync();
    assert_eq!(error_code(&waiter.ask(&unit)), "53300");
    waiter.rows("BEGIN");
    assert_eq!(waiter.error("SELECT 1 FROM pg_class LIMIT 1"), "53300");
    assert_eq!(waiter.error("SELECT 1"), "25P02");
    holder.rows("COMMIT");
    waiter.rows("ROLLBACK");
    assert_eq!(waiter.value("SELECT 1"), "1");
}

#[test]
fn time_limits_end_statements_and_sessions() {
    let (postgres, pgditto) = servers(|options| {
        options
            .set("upstream.query_timeout", "300ms")
            .set("listen.idle_transaction_timeout", "300ms");
    });
    let mut slow = Wire::connect(pgditto.port);
    slow.send(Frames::new().query("SELECT pg_sleep(600)").bytes());
    assert_eq!(error_code(&slow.read_until(&[])), "57014");
    let mut idle = Wire::connect(pgditto.port);
    idle.rows("BEGIN; SELECT 1");
    assert_eq!(error_code(&idle.read_until(&[])), "25P03");
    let mut lazy = Wire::connect(pgditto.port);
    lazy.rows("BEGIN");
    assert_eq!(error_code(&lazy.read_until(&[])), "25P03");
    let left = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'";
    eventually("the slow statement has ended", || {
        postgres.psql(left) == "0"
    });
    assert_eq!(Wire::connect(pgditto.port).value("SELECT 1"), "1");
}

#[test]
fn idle_sessions_may_be_ended() {
    let (_postgres, pgditto) = servers(|options| {
        options.set("listen.client_idle_timeout", "200ms");
    });
    let mut idle = Wire::connect(pgditto.port);
    assert_eq!(error_code(&idle.read_until(&[])), "57P05");
}

#[test]
fn the_sessions_own_time_limits_for_being_idle_hold() {
    let (_postgres, pgditto) = servers(|_| {});
    let mut operator = Wire::connect(pgditto.port);
    let mut idle = Wire::connect(pgditto.port);
    idle.rows("SET idle_session_timeout = '200ms'");
    assert_eq!(error_code(&idle.read_until(&[])), "57P05");
    // As the default of its role they hold, too.
    operator.rows("ALTER ROLE app SET idle_in_transaction_session_timeout = '200ms'");
    operator.rows("ALTER ROLE app SET idle_session_timeout = '200ms'");
    let mut idle = Wire::connect(pgditto.port);
    assert_eq!(error_code(&idle.read_until(&[])), "57P05");
    let mut lazy = Wire::connect(pgditto.port);
    lazy.rows("BEGIN");
    assert_eq!(error_code(&lazy.read_until(&[])), "25P03");
}

#[test]
fn session_pooling_keeps_the_connection() {
    let (_postgres, pgditto) = servers(|options| {
        options
            .set("pool.pool_mode", "session")
            .set("pool.default_pool_size", 2);
    });
    let mut one = Wire::connect(pgditto.port);
    let mut two = Wire::connect(pgditto.port);
    let pids = [&mut one, &mut two].map(|wire| wire.value("SELECT pg_backend_pid()"));
    assert_ne!(pids[0], pids[1]);
    for _ in 0..5 {
        assert_eq!(one.value("SELECT pg_backend_pid()"), pids[0]);
        assert_eq!(two.value("SELECT pg_backend_pid()"), pids[1]);
    }
}

/// Every way in which SQL can tell a session its backend's number.
const TELLS: &[&str] = &[
    "SELECT pg_backend_pid()",
    "SELECT pid FROM pg_stat_activity WHERE pid = pg_backend_pid()",
    "SELECT told FROM by_view",
    "SELECT by_function()",
    "INSERT INTO by_trigger VALUES (0) RETURNING told",
];

/// By which backend a session is served, without its being told.
fn served_by(wire: &mut Wire, mark: &str) -> String {
    wire.value(&format!(
        "SELECT pid FROM pg_stat_get_activity(NULL) WHERE state = 'active' AND query LIKE '%{mark}%'"
    ))
}

#[test]
fn a_session_that_knows_its_backend_is_served_by_it_again() {
    let (postgres, pgditto) = servers(|options| {
        options.wait(Wait::Ready).set("pool.default_pool_size", 20);
    });
    postgres.psql_as(
        "app",
        "CREATE VIEW by_view AS SELECT pg_backend_pid() AS told;
         CREATE FUNCTION by_function() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN pg_backend_pid(); END';
         CREATE TABLE by_trigger (told int);
         CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.told = pg_backend_pid(); RETURN NEW; END';
         CREATE TRIGGER tell BEFORE INSERT ON by_trigger FOR EACH ROW EXECUTE FUNCTION tell()",
    );
    let mut plain = Wire::connect(pgditto.port);
    // By DDL of its own pgditto learns that there is something new.
    plain.rows("CREATE TABLE last ()");
    eventually("the catalogue is known", || {
        plain.rows("SELECT count(*) FROM last");
        pgditto.metrics().sum("pgditto_hits_total", &[]) > 0.0
    });
    for (round, tell) in TELLS.iter().enumerate() {
        let mut sessions = [Wire::connect(pgditto.port), Wire::connect(pgditto.port)];
        let pids = [0, 1].map(|i| sessions[i].value(tell));
        assert_ne!(pids[0], pids[1], "{tell}");
        for (turn, i) in [0, 1, 1, 0, 0, 1].into_iter().enumerate() {
            // Somebody else in between, who takes what came back last.
            plain.rows("BEGIN; SELECT 1; COMMIT");
            let pid = served_by(&mut sessions[i], &format!("mark-{round}-{turn}"));
            assert_eq!(pid, pids[i], "{tell}");
        }
    }
}

#[test]
fn what_a_session_knew_of_its_backend_ends_with_discard_all_and_with_the_session() {
    let (postgres, pgditto) = servers(|options| {
        options.set("pool.default_pool_size", 50);
    });
    // As many sessions at once as there are connections: do they take this one, too?
    let is_anybodys = |pid: &str| {
        let mut others: Vec<Wire> = (0..connections(&postgres))
            .map(|_| Wire::connect(pgditto.port))
            .collect();
        let serve = |wire: &mut Wire| {
            wire.rows("BEGIN; SELECT 1");
            served_by(wire, "others")
        };
        let pids: Vec<String> = others.iter_mut().map(serve).collect();
        pids.iter().any(|other| other == pid)
    };
    let mut one = Wire::connect(pgditto.port);
    let pid = one.value("SELECT pg_backend_pid()");
    assert!(!is_anybodys(&pid));
    one.rows("DISCARD ALL");
    assert!(is_anybodys(&pid));
    let pid = one.value("SELECT pg_backend_pid()");
    assert!(!is_anybodys(&pid));
    drop(one);
    eventually("its session is gone", || is_anybodys(&pid));
}

/// Asks for far more than any buffer holds, and reads nothing of it.
fn stalled(pgditto: &Pgditto) -> Wire {
    let mut wire = Wire::connect(pgditto.port);
    let sql = "SELECT repeat('x', 1000000) FROM generate_series(1, 1000)";
    wire.send(Frames::new().query(sql).bytes());
    wire
}

#[test]
fn a_client_that_reads_nothing_can_be_ended_and_frees_its_connection() {
    let postgres = Postgres::start(&[]);
    let ended = |key: &str, value: &str, order: Option<&str>| {
        let pgditto = Pgditto::start(&postgres, |options| {
            options
                .set("pool.default_pool_size", 1)
                .set("auth.admin_users", "app")
                .set(key, value);
        });
        let mut wire = stalled(&pgditto);
        if let Some(order) = order {
            eventually("the answer is stuck", || {
                let sql = "SELECT count(*) FROM pg_stat_activity \
                           WHERE wait_event = 'ClientWrite' AND query LIKE '%repeat%'";
                postgres.psql(sql) == "1"
            });
            let output = psql(&pgditto.url("app", "pgbouncer"), &["-c", order], "");
            assert!(output.success, "{output:?}");
        }
        eventually("its statement is over", || {
            let sql = "SELECT count(*) FROM pg_stat_activity \
                       WHERE state = 'active' AND query LIKE '%repeat%' AND pid <> pg_backend_pid()";
            postgres.psql(sql) == "0"
        });
        if let Some("KILL app") = order {
            psql(&pgditto.url("app", "pgbouncer"), &["-c", "RESUME app"], "");
        }
        let mut other = Wire::connect(pgditto.port);
        assert_eq!(other.value("SELECT 1"), "1");
        // What had come before the end can still be read, and then there is nothing more.
        while let Some(message) = wire.read() {
            assert!(b"TDE".contains(&message.tag), "{message:?}");
        }
        pgditto.metrics().sum("pgditto_client_stalls_total", &[])
    };
    assert_eq!(ended("listen.client_write_timeout", "300ms", None), 1.0);
    assert_eq!(ended("upstream.query_timeout", "300ms", None), 0.0);
    assert_eq!(ended("log.level", "info", Some("KILL app")), 0.0);
}
