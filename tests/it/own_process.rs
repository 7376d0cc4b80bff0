//! Answers that depend on what the server process has been through are those of a process that has served nobody else.

use crate::fixture::{Frames, Message, Pgditto, Postgres, Wait, Wire};

/// Two sessions on so many connections, and one that is directly connected.
struct Trio {
    postgres: Postgres,
    pgditto: Pgditto,
    one: Wire,
    two: Wire,
    direct: Wire,
}

fn trio(size: usize) -> Trio {
    let postgres = Postgres::start(&[("max_prepared_transactions", "2")]);
    postgres.psql("ALTER ROLE app SUPERUSER");
    let pgditto = Pgditto::start(&postgres, |options| {
        options
            .wait(Wait::Listening)
            .set("pool.default_pool_size", size);
    });
    Trio {
        one: Wire::connect(pgditto.port),
        two: Wire::connect(pgditto.port),
        direct: Wire::connect(postgres.port),
        pgditto,
        postgres,
    }
}

impl Trio {
    /// The first session and the directly connected one are told the same, byte for byte.
    fn same(&mut self, sql: &str) -> Vec<Message> {
        let direct = self.direct.query(sql);
        assert_eq!(self.one.query(sql), direct, "{sql}");
        direct
    }

    fn same_extended(&mut self, sql: &str) {
        let frames = Frames::new()
            .parse("", sql)
            .bind("", "", &[])
            .describe_portal("")
            .execute("", 0)
            .sync();
        assert_eq!(self.one.ask(&frames), self.direct.ask(&frames), "{sql}");
    }

    /// Both sessions use every connection of the pool, and so has somebody run `sql` in every process.
    fn run_by_others_everywhere(&mut self, sql: &str, size: usize) {
        let mut others: Vec<Wire> = (0..size)
            .map(|_| Wire::connect(self.pgditto.port))
            .collect();
        for other in &mut others {
            other.rows("BEGIN");
            other.rows(sql);
        }
        for other in &mut others {
            other.rows("COMMIT");
        }
    }

    /// What statements mean is known again: reads are answered from memory.
    fn await_catalogue(&mut self) {
        crate::fixture::eventually("a hit", || {
            let before = self.hits();
            self.two.rows("SELECT 'a hit'");
            self.hits() > before
        });
    }

    fn hits(&self) -> f64 {
        self.pgditto
            .metrics()
            .sum("pgditto_statements_total", &[("outcome", "hit")])
    }

    fn own_processes(&self) -> f64 {
        let metrics = self.pgditto.metrics();
        metrics.sum("pgditto_pinned_sessions", &[("reason", "own_process")])
    }

    fn processes(&self) -> String {
        let sql = "SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_activity \
                   WHERE usename = 'app' AND application_name NOT LIKE 'pgditto%'";
        self.postgres.psql(sql)
    }

    fn connections(&self) -> usize {
        let sql = "SELECT count(*) FROM pg_stat_activity \
                   WHERE usename = 'app' AND application_name NOT LIKE 'pgditto%'";
        let all: usize = self.postgres.psql(sql).parse().expect("a number");
        // One is the direct one.
        all - 1
    }
}

const PLPGSQL: &str = "DO 'BEGIN END'";

#[test]
fn a_setting_whose_library_only_others_have_loaded_can_be_set() {
    for size in [1, 2] {
        let mut trio = trio(size);
        trio.run_by_others_everywhere(PLPGSQL, size);
        trio.same("SET plpgsql.extra_foo_warnings = true");
        trio.same("SHOW plpgsql.extra_foo_warnings");
        // Nobody else's use of PL/pgSQL reaches the session any more.
        trio.two.rows(PLPGSQL);
        trio.same("SHOW plpgsql.extra_foo_warnings");
        trio.same("LOAD 'plpgsql'");
        trio.same("SET plpgsql.extra_foo_warnings = true");
        trio.same("SHOW plpgsql.extra_foo_warnings");
    }
}

#[test]
fn a_flag_of_the_process_that_an_extension_keeps_is_seen_by_nobody_else() {
    let mut trio = trio(1);
    // Whether it is known yet or not.
    trio.postgres.psql("CREATE EXTENSION isn");
    trio.same("SELECT isn_weak()");
    trio.two.rows("SELECT isn_weak(true)");
    trio.same("SELECT isn_weak()");
    trio.same("SELECT isn_weak(true)");
    trio.same("SELECT isn_weak()");
}

#[test]
fn such_a_setting_can_be_set_in_the_extended_protocol_and_by_set_config() {
    let mut trio = trio(1);
    trio.run_by_others_everywhere(PLPGSQL, 1);
    trio.same_extended("SET plpgsql.extra_foo_warnings = 'a'");
    trio.same_extended("SHOW plpgsql.extra_foo_warnings");
    trio.one = Wire::connect(trio.pgditto.port);
    trio.direct = Wire::connect(trio.postgres.port);
    trio.run_by_others_everywhere(PLPGSQL, 1);
    trio.same("SELECT set_config('plpgsql.extra_foo_warnings', 'b', false)");
    trio.same("SHOW plpgsql.extra_foo_warnings");
}

#[test]
fn a_setting_follows_to_where_others_have_loaded_its_library() {
    let mut trio = trio(1);
    trio.same("SET plpgsql.extra_foo_warnings = 'mine'");
    trio.two.rows(PLPGSQL);
    trio.same("SHOW plpgsql.extra_foo_warnings");
    trio.same("SELECT 1");
}

#[test]
fn who_has_loaded_the_library_itself_is_refused_as_directly() {
    for (size, load) in [(1, PLPGSQL), (2, "SELECT via_plpgsql()")] {
        let mut trio = trio(size);
        trio.postgres.psql_as(
            "app",
            "CREATE FUNCTION via_plpgsql() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'",
        );
        trio.run_by_others_everywhere(PLPGSQL, size);
        trio.same(load);
        trio.same("SET plpgsql.extra_foo_warnings = true");
        assert_eq!(trio.own_processes(), 0.0);
    }
}

#[test]
fn constants_load_no_library_whatever_temporary_objects_there_may_be() {
    let mut trio = trio(1);
    // A type of its is read by a function of a library.
    trio.two.rows("CREATE EXTENSION pg_trgm");
    trio.run_by_others_everywhere(PLPGSQL, 1);
    trio.await_catalogue();
    trio.same("BEGIN");
    trio.same("CREATE TEMP VIEW v AS SELECT 1 AS a");
    trio.same("SELECT '2006-08-13 12:34:56'::timestamptz");
    trio.same("ROLLBACK");
    trio.same("SET plpgsql.extra_foo_warnings = true");
}

#[test]
fn a_name_that_is_wrong_everywhere_costs_no_connection() {
    let mut trio = trio(1);
    trio.two.rows(PLPGSQL);
    let pid = trio.two.value("SELECT pg_backend_pid()");
    trio.same("SET custom.\"bad-guc\" = 42");
    trio.same("SET app.tenant = 7");
    trio.same("SELECT current_setting('app.tenant')");
    assert_eq!(trio.own_processes(), 0.0);
    assert_eq!(trio.two.value("SELECT pg_backend_pid()"), pid);
}

#[test]
fn the_limits_of_the_pool_hold() {
    let mut trio = trio(2);
    trio.run_by_others_everywhere(PLPGSQL, 2);
    trio.one.rows("SET plpgsql.extra_foo_warnings = true");
    crate::fixture::eventually("the replaced connection is gone", || {
        trio.connections() <= 2
    });
}

#[test]
fn a_seed_is_the_sessions_own() {
    for sql in [
        "SELECT setseed(0.25)",
        "SET seed = 0.25",
        "SELECT set_config('seed', '0.25', false)",
        "BEGIN; SELECT setseed(0.25); COMMIT",
    ] {
        let mut trio = trio(1);
        trio.two.rows("SELECT 1");
        trio.same(sql);
        for _ in 0..3 {
            trio.two.rows("SELECT random()");
            trio.same("SELECT random()");
        }
        assert_eq!(trio.own_processes(), 1.0, "{sql}");
        trio.one.rows("DISCARD ALL");
        // Nobody goes on with the sequence of numbers.
        let next = trio.direct.value("SELECT random()");
        assert_ne!(trio.two.value("SELECT random()"), next);
        assert_ne!(trio.one.value("SELECT random()"), next);
        assert_eq!(trio.own_processes(), 0.0);
    }
}

#[test]
fn a_seed_that_a_function_sets_is_the_sessions_own() {
    let mut trio = trio(1);
    trio.postgres.psql_as(
        "app",
        "CREATE FUNCTION seeded() RETURNS int LANGUAGE plpgsql AS \
         'BEGIN PERFORM setseed(0.5); RETURN 1; END'",
    );
    // A function that has just been made may not be known yet.
    crate::fixture::eventually("its seed is kept", || {
        trio.same("SELECT seeded()");
        trio.own_processes() == 1.0
    });
    trio.two.rows("SELECT random()");
    trio.same("SELECT random()");
}

#[test]
fn a_pin_to_a_process_keeps_no_read_out_of_the_cache() {
    let mut trio = trio(1);
    trio.postgres
        .psql_as("app", "CREATE TABLE plain AS SELECT 1 AS x");
    trio.one.rows("SELECT setseed(0.5)");
    let hits = |trio: &Trio| trio.pgditto.metrics().sum("pgditto_hits_total", &[]);
    crate::fixture::eventually("a hit", || {
        let before = hits(&trio);
        trio.one.rows("SELECT x FROM plain");
        hits(&trio) > before
    });
    assert_eq!(trio.own_processes(), 1.0);
}

const TEMPORARY: &str = "CREATE TEMP TABLE brief (x int) ON COMMIT DROP";

#[test]
fn the_search_path_without_what_is_implied_is_asked_of_whatever_process() {
    let mut trio = trio(1);
    trio.run_by_others_everywhere(TEMPORARY, 1);
    let before = trio.processes();
    trio.same("SELECT current_schemas(false)");
    assert_eq!(trio.processes(), before);
    trio.same("SELECT current_schemas(true)");
    assert_ne!(trio.processes(), before);
    trio.run_by_others_everywhere(TEMPORARY, 1);
    trio.same("SET search_path TO 'pg_temp', public");
    trio.same("SELECT array_length(current_schemas(false), 1)");
}

#[test]
fn others_temporary_schema_is_not_seen() {
    for size in [1, 2] {
        let mut trio = trio(size);
        trio.run_by_others_everywhere(TEMPORARY, size);
        trio.same("SELECT pg_my_temp_schema()");
        trio.run_by_others_everywhere(TEMPORARY, size);
        trio.same("SELECT current_schemas(true)");
        assert_eq!(trio.own_processes(), 0.0);
        trio.run_by_others_everywhere(TEMPORARY, size);
        trio.same("DROP TABLE pg_temp.k");
        trio.same("DROP FUNCTION IF EXISTS pg_temp.k(int)");
        trio.run_by_others_everywhere(TEMPORARY, size);
        trio.same("SET search_path TO 'pg_temp'");
        trio.same("BEGIN");
        trio.same("SELECT current_schema() ~ 'pg_temp'");
        trio.same("PREPARE TRANSACTION 'twophase_search'");
        trio.same("SET search_path TO DEFAULT");
        // One's own stays, as directly.
        trio.same("CREATE TEMP TABLE mine (x int)");
        trio.same("SELECT pg_my_temp_schema() <> 0");
    }
}

#[test]
fn a_session_that_reports_its_statistics_is_counted() {
    let mut trio = trio(1);
    trio.two.rows("SELECT 1");
    let sessions = "SELECT sessions FROM pg_stat_database WHERE datname = current_database()";
    trio.direct.rows("SELECT pg_stat_force_next_flush()");
    let before: u64 = trio.direct.value(sessions).parse().expect("a number");
    trio.one.rows("SELECT pg_stat_force_next_flush()");
    let after: u64 = trio.one.value(sessions).parse().expect("a number");
    assert!(after > before, "{before} {after}");
    assert_eq!(trio.own_processes(), 1.0);
}

/// Everybody else has set `app.tenant`, and nobody has it any more.
const TENANT: &str = "SET LOCAL app.tenant = '7'";

#[test]
fn others_custom_settings_have_never_been_heard_of() {
    for size in [1, 2] {
        let mut trio = trio(size);
        for sql in [
            "SELECT current_setting('app.tenant', true) IS NULL",
            "SELECT current_setting('app.tenant')",
            "SHOW app.tenant",
            "DO $$BEGIN IF current_setting('app.tenant', true) = '' THEN RAISE 'heard'; END IF; END$$",
            "SELECT current_setting('app.tenant', true); SET app.tenant = '1'; RESET app.tenant",
        ] {
            trio.run_by_others_everywhere(TENANT, size);
            trio.same(sql);
        }
        // From then on it is empty for the session itself, wherever it is.
        trio.run_by_others_everywhere("SELECT 1", size);
        trio.same("SHOW app.tenant");
        trio.same("SHOW app.other");
        trio.same("RESET app.other");
        trio.run_by_others_everywhere("SELECT pg_backend_pid()", size);
        trio.same("SHOW app.other");
        // So it is after a transaction that had it, whatever has become of that.
        for end in ["COMMIT", "ROLLBACK"] {
            let setting = format!("app.{end}");
            trio.same("BEGIN");
            trio.same(&format!("SET LOCAL {setting} = 'mine'"));
            trio.same(&format!("SELECT current_setting('{setting}', true)"));
            trio.same(end);
            trio.run_by_others_everywhere("SELECT pg_backend_pid()", size);
            trio.same(&format!("SELECT current_setting('{setting}', true)"));
            trio.same_extended(&format!("SELECT current_setting('{setting}', true)"));
            trio.same(&format!("SHOW {setting}"));
        }
        assert_eq!(trio.own_processes(), 0.0);
    }
}

#[test]
fn a_function_that_sets_for_the_transaction_makes_the_session_hear() {
    let mut trio = trio(2);
    trio.two.rows(
        "CREATE TABLE doc (id int DEFAULT 1, tenant text DEFAULT current_setting('app.tenant', true));
         CREATE FUNCTION direct(t text) RETURNS void LANGUAGE plpgsql AS
           $$BEGIN PERFORM set_config('app.tenant', t, true); END$$;
         CREATE FUNCTION set_local(t text) RETURNS void LANGUAGE plpgsql AS
           $$BEGIN SET LOCAL app.tenant = 'x'; END$$;
         CREATE FUNCTION nested(t text) RETURNS void LANGUAGE plpgsql AS $$BEGIN PERFORM direct(t); END$$",
    );
    trio.await_catalogue();
    for call in [
        "SELECT direct('7')",
        "SELECT set_local('7')",
        "SELECT nested('7')",
        "DO $$BEGIN PERFORM set_config('app.tenant', '7', true); END$$",
        "DO $$BEGIN SET LOCAL app.tenant = '7'; END$$",
    ] {
        trio.one = Wire::connect(trio.pgditto.port);
        trio.direct = Wire::connect(trio.postgres.port);
        trio.run_by_others_everywhere("SET LOCAL app.tenant = 'theirs'", 2);
        trio.same("INSERT INTO doc DEFAULT VALUES RETURNING tenant");
        for sql in [
            "BEGIN",
            call,
            "INSERT INTO doc DEFAULT VALUES RETURNING tenant",
            "COMMIT",
        ] {
            trio.same(sql);
        }
        for _ in 0..3 {
            trio.run_by_others_everywhere("SELECT pg_backend_pid()", 2);
            trio.same("INSERT INTO doc DEFAULT VALUES RETURNING tenant");
        }
    }
    // Who has set it before costs no process, and who sets it first neither.
    let processes =
        "SELECT array_agg(pid ORDER BY pid) FROM pg_stat_activity WHERE usename = 'app'";
    let before = trio.postgres.psql(processes);
    let mut newcomer = Wire::connect(trio.pgditto.port);
    for wire in [&mut trio.one, &mut newcomer] {
        for sql in ["BEGIN", "SELECT direct('7')", "SELECT * FROM doc", "COMMIT"] {
            wire.rows(sql);
        }
    }
    assert_eq!(trio.postgres.psql(processes), before);
}

#[test]
fn a_default_stands_again_after_a_transaction_that_had_another_value() {
    let mut trio = trio(2);
    trio.two.rows("ALTER ROLE app SET app.tenant = 'default'");
    trio.direct = Wire::connect(trio.postgres.port);
    crate::fixture::eventually("the default", || {
        trio.one = Wire::connect(trio.pgditto.port);
        trio.one.value("SELECT current_setting('app.tenant', true)") == "default"
    });
    for sql in [
        "BEGIN",
        "SET LOCAL app.tenant = 'mine'",
        "SHOW app.tenant",
        "COMMIT",
    ] {
        trio.same(sql);
    }
    for _ in 0..3 {
        trio.run_by_others_everywhere("SET LOCAL app.tenant = 'theirs'", 2);
        trio.same("SHOW app.tenant");
    }
}

#[test]
fn code_that_reads_a_custom_setting_has_never_heard_of_it() {
    let mut trio = trio(2);
    trio.two.rows(
        "CREATE TABLE doc (id int, tenant int); INSERT INTO doc VALUES (1, 7);
         CREATE ROLE tenant; GRANT ALL ON doc TO tenant;
         ALTER TABLE doc ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON doc USING (tenant = current_setting('app.tenant', true)::int);
         CREATE TABLE log (who text DEFAULT current_setting('app.who', true));
         CREATE FUNCTION asks() RETURNS text VOLATILE LANGUAGE plpgsql AS
           $$BEGIN RETURN coalesce(current_setting('app.asked', true), 'unheard'); END$$",
    );
    trio.await_catalogue();
    for (setting, sql) in [
        ("tenant", "SELECT * FROM doc"),
        ("tenant", "UPDATE doc SET id = 2"),
        ("who", "INSERT INTO log DEFAULT VALUES RETURNING who"),
        ("asked", "SELECT asks()"),
    ] {
        let others = format!("SET LOCAL app.{setting} = '7'");
        trio.same("SET ROLE tenant");
        if setting == "who" || setting == "asked" {
            trio.same("RESET ROLE");
        }
        trio.run_by_others_everywhere(&others, 2);
        trio.same(sql);
        trio.run_by_others_everywhere(&others, 2);
        trio.same_extended(sql);
        // Whatever a transaction begins with, it may read the setting later.
        trio.run_by_others_everywhere(&others, 2);
        for sql in ["BEGIN", "SELECT 1", sql, "ROLLBACK"] {
            trio.same(sql);
        }
    }
    trio.run_by_others_everywhere("SET LOCAL app.tenant = '7'", 2);
    trio.same("BEGIN");
    trio.same("SET LOCAL app.tenant = '7'");
    trio.same("SELECT * FROM doc");
    trio.same("COMMIT");
    assert_eq!(trio.own_processes(), 0.0);
}

#[test]
fn a_custom_setting_that_begins_empty_costs_no_processes() {
    for in_its_files in [false, true] {
        let settings: &[_] = if in_its_files {
            &[("app.tenant", "")]
        } else {
            &[]
        };
        let postgres = Postgres::start(settings);
        if !in_its_files {
            postgres.psql("ALTER ROLE app SET App.Tenant = ''");
        }
        let pgditto = Pgditto::start(&postgres, |options| {
            options.set("pool.default_pool_size", 1);
        });
        let mut one = Wire::connect(pgditto.port);
        let mut two = Wire::connect(pgditto.port);
        let asked = |wire: &mut Wire| {
            assert_eq!(
                wire.value("SELECT current_setting('app.tenant', true) = ''"),
                "t"
            );
            postgres.psql(
                "SELECT array_agg(pid ORDER BY pid) FROM pg_stat_activity WHERE usename = 'app'",
            )
        };
        two.rows("BEGIN");
        two.rows("SET LOCAL app.tenant = '7'");
        two.rows("COMMIT");
        asked(&mut one);
        let processes = asked(&mut one);
        two.rows("SELECT 1");
        assert_eq!(asked(&mut one), processes);
    }
}
