//! What a session has set, prepared and taken is its own on every connection, and nobody else's.

use crate::fixture::{Frames, Pgditto, Postgres, Wait, Wire, error_code, eventually};

struct Pair {
    postgres: Postgres,
    pgditto: Pgditto,
    port: u16,
    one: Wire,
    two: Wire,
}

/// Two sessions on one connection.
fn pair() -> Pair {
    let postgres = Postgres::start(&[]);
    let pgditto = Pgditto::start(&postgres, |options| {
        options
            .wait(Wait::Listening)
            .set("pool.default_pool_size", 1);
    });
    let port = pgditto.port;
    Pair {
        one: Wire::connect(port),
        two: Wire::connect(port),
        port,
        pgditto,
        postgres,
    }
}

impl Pair {
    fn pids(&mut self) -> [String; 2] {
        [&mut self.one, &mut self.two].map(|wire| wire.value("SELECT pg_backend_pid()"))
    }

    /// The first session's connection is not the second's.
    fn assert_pinned(&mut self) {
        let [one, two] = self.pids();
        assert_ne!(one, two);
        assert_eq!(self.pids(), [one, two]);
    }

    /// Both share the only connection.
    fn assert_shared(&mut self) {
        self.one.rows("SELECT 1");
        let [one, two] = self.pids();
        assert_eq!(one, two);
    }
}

#[test]
fn settings_follow_their_session() {
    let mut pair = pair();
    let names = [
        "search_path",
        "TimeZone",
        "DateStyle",
        "app.x",
        "work_mem",
        "application_name",
    ];
    let show = |wire: &mut Wire| {
        names.map(|name| {
            wire.value(&format!(
                "SELECT coalesce(current_setting('{name}', true), '')"
            ))
        })
    };
    let before = show(&mut pair.two);
    let values = [
        "a, b",
        "Asia/Tokyo",
        "German, DMY",
        "mine",
        "5MB",
        "it's \\ mine",
    ];
    for (name, value) in names.iter().zip(values) {
        let list = if *name == "search_path" {
            value.to_owned()
        } else {
            format!("'{}'", value.replace('\'', "''"))
        };
        pair.one.rows(&format!("SET {name} = {list}"));
        show(&mut pair.two);
    }
    assert_eq!(show(&mut pair.one), values);
    let unset = show(&mut pair.two);
    assert_eq!(unset[..5], before[..5]);
    assert_eq!(show(&mut pair.one), values);
    pair.one.rows("RESET TimeZone");
    assert_eq!(show(&mut pair.one)[1], before[1]);
    pair.one.rows("RESET ALL");
    assert_eq!(show(&mut pair.one), before);
    pair.assert_shared();
}

#[test]
fn settings_that_no_set_statement_made_follow_too() {
    let mut pair = pair();
    pair.one.rows(
        "SELECT set_config('TimeZone', 'Asia/Tokyo', false), set_config('app.y', 'mine', false)",
    );
    assert_ne!(pair.two.value("SHOW TimeZone"), "Asia/Tokyo");
    assert_eq!(pair.one.value("SHOW TimeZone"), "Asia/Tokyo");
    assert_eq!(pair.one.value("SHOW app.y"), "mine");
    pair.one.rows("DO $$ BEGIN PERFORM set_config('DateStyle', 'German', false); SET work_mem = '7MB'; END $$");
    assert_ne!(pair.two.value("SHOW work_mem"), "7MB");
    assert_eq!(pair.one.value("SHOW work_mem"), "7MB");
    pair.one.rows(
        "CREATE FUNCTION hide() RETURNS text LANGUAGE sql AS $$ SELECT set_config('search_path', 'hidden', false) $$",
    );
    pair.one.rows("SELECT hide()");
    assert_ne!(pair.two.value("SHOW search_path"), "hidden");
    assert_eq!(pair.one.value("SHOW search_path"), "hidden");
    let unit = Frames::new()
        .prepared("SELECT set_config($1, $2, false)", &["app.z", "bound"])
        .sync();
    assert_eq!(error_code(&pair.one.ask(&unit)), "");
    let theirs = pair
        .two
        .value("SELECT coalesce(current_setting('app.z', true), '')");
    assert_eq!(theirs, "");
    assert_eq!(pair.one.value("SHOW app.z"), "bound");
}

/// The catalogue has not been read again when the function is called, so its text is asked for.
#[test]
fn a_function_that_was_made_a_moment_ago_sets_for_its_own_session() {
    let mut pair = pair();
    for turn in 0..5 {
        let name = format!("hidden.s{turn}");
        pair.two.rows(&format!(
            "CREATE OR REPLACE FUNCTION sets() RETURNS void LANGUAGE plpgsql AS \
             $$BEGIN PERFORM set_config('{name}', 'secret', false); END$$"
        ));
        let mut one = Wire::connect(pair.port);
        one.rows("SELECT sets()");
        let shown = format!("SELECT coalesce(current_setting('{name}', true), '')");
        assert_eq!(pair.two.value(&shown), "");
        assert_eq!(one.value(&shown), "secret");
    }
}

#[test]
fn a_name_that_a_function_writes_oddly_is_set_for_its_own_session() {
    let mut pair = pair();
    pair.two
        .rows("CREATE TABLE k (id int PRIMARY KEY, v int); INSERT INTO k VALUES (1, 1)");
    let bodies = [
        "SET \"odd.%\" = 'secret'",
        "SET odd.\"%\" = 'secret'",
        "SET odd . % = 'secret'",
        "SET/**/odd.% = 'secret'",
        "PERFORM set_config/**/('odd.%', 'secret', false)",
        "PERFORM \"set_config\"('odd.%', 'secret', false)",
        r"PERFORM set_config('odd.%', left(E'secret\', true)', 6), false)",
    ];
    for (turn, body) in bodies.iter().enumerate() {
        let body = body.replace('%', &format!("s{turn}"));
        pair.two.rows(&format!(
            "CREATE FUNCTION odd{turn}() RETURNS void LANGUAGE plpgsql AS $f$BEGIN {body}; END$f$"
        ));
    }
    eventually_judged(&mut pair);
    for (turn, body) in bodies.iter().enumerate() {
        let mut one = Wire::connect(pair.port);
        one.rows(&format!("SELECT odd{turn}()"));
        let shown = format!("SELECT coalesce(current_setting('odd.s{turn}', true), '')");
        assert_eq!(pair.two.value(&shown), "", "{body}");
        assert_eq!(one.value(&shown), "secret", "{body}");
    }
    // Of a name that is put together nobody can ask.
    pair.two.rows(
        "CREATE FUNCTION joined() RETURNS void LANGUAGE plpgsql AS \
         $$BEGIN EXECUTE 'SET odd.' || 'joined = 1'; END$$",
    );
    // What a session asks before the function is known may have called it, and keeps its connection.
    let hits = |pair: &Pair| pair.pgditto.metrics().sum("pgditto_hits_total", &[]);
    eventually("a hit", || {
        let before = hits(&pair);
        pair.two = Wire::connect(pair.port);
        pair.two.rows("SELECT v FROM k WHERE id = 1");
        hits(&pair) > before
    });
    let mut one = Wire::connect(pair.port);
    one.rows("SELECT joined()");
    let shown = "SELECT coalesce(current_setting('odd.joined', true), '')";
    assert_eq!(pair.two.value(shown), "");
    assert_eq!(one.value(shown), "1");
}

/// What runs a text that is put together at run time, or comes from elsewhere, may set a custom setting of whatever name.
#[test]
fn settings_whose_names_stand_in_no_code_stay_with_their_session() {
    let mut pair = pair();
    pair.one.rows(
        "CREATE TABLE command (id int PRIMARY KEY, what text); \
         INSERT INTO command VALUES (1, 'SET app.first = ''mine'''), (2, 'SELECT set_config(''app.second'', ''mine'', false)'); \
         CREATE FUNCTION run_text(q text) RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE q; END'; \
         CREATE PROCEDURE run_stored(n int) LANGUAGE plpgsql AS $$ DECLARE q text; BEGIN SELECT what FROM command WHERE id = n INTO q; EXECUTE q; END $$; \
         CREATE FUNCTION run_part(q text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'SELECT ' || q; END $$; \
         CREATE TABLE watched (x text); \
         CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN EXECUTE NEW.x; RETURN NEW; END'; \
         CREATE TRIGGER t BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION fired(); \
         CREATE VIEW shown AS SELECT query_to_xml(what, true, false, '') AS v FROM command WHERE id = 2;",
    );
    fn shown(wire: &mut Wire, name: &str) -> String {
        wire.value(&format!(
            "SELECT coalesce(current_setting('app.{name}', true), '')"
        ))
    }
    let third = "SELECT set_config('app.third', 'mine', false)";
    let by_parameter = Frames::new()
        .prepared("SELECT query_to_xml($1, true, false, '')", &[third])
        .sync();
    assert_eq!(error_code(&pair.one.ask(&by_parameter)), "");
    assert_eq!(shown(&mut pair.two, "third"), "");
    assert_eq!(shown(&mut pair.one, "third"), "mine");
    pair.one.rows("DISCARD ALL");
    for (name, sql) in [
        ("first", "CALL run_stored(1)"),
        ("second", "CALL run_stored(2)"),
        ("second", "SELECT v FROM shown"),
        (
            "fourth",
            "SELECT run_text('SET app.' || 'fourth = ''mine''')",
        ),
        (
            "fifth",
            "INSERT INTO watched VALUES ('SET app.fi' || 'fth = ''mine''')",
        ),
        (
            "second",
            "DO $$ DECLARE q text; BEGIN SELECT what FROM command WHERE id = 2 INTO q; EXECUTE q; END $$",
        ),
        (
            "sixth",
            "SELECT query_to_xml('SELECT set_config(''app.sixth'', ''mine'', false)', true, false, '')",
        ),
        (
            "second",
            "EXPLAIN (ANALYZE, COSTS off) SELECT run_text(what) FROM command WHERE id = 2",
        ),
        (
            "second",
            "PREPARE p AS SELECT run_text(what) FROM command WHERE id = 2; EXECUTE p; DEALLOCATE p",
        ),
        (
            "seventh",
            "PREPARE p AS SELECT set_config('app.' || $1, 'mine', false); EXECUTE p('seventh'); DEALLOCATE p",
        ),
        (
            "second",
            "BEGIN; DECLARE c CURSOR FOR SELECT run_text(what) FROM command WHERE id = 2; FETCH c; COMMIT",
        ),
    ] {
        pair.one.rows(sql);
        assert_eq!(shown(&mut pair.two, name), "", "another's after {sql}");
        assert_eq!(shown(&mut pair.one, name), "mine", "its own after {sql}");
        pair.one.rows("DISCARD ALL");
        assert_eq!(shown(&mut pair.one, name), "", "after DISCARD ALL");
    }
}

#[test]
fn a_text_that_begins_in_the_code_pins_nobody_and_leaves_nothing_to_others() {
    let mut pair = pair();
    pair.one.rows(
        "CREATE FUNCTION run_part(q text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'SELECT ' || q; END $$",
    );
    pair.one.rows("SELECT run_part('1')");
    pair.assert_shared();
    pair.one
        .rows("SELECT run_part('set_config(''app.ei' || 'ghth'', ''mine'', false)')");
    let shown = "SELECT coalesce(current_setting('app.eighth', true), '')";
    assert_eq!(pair.two.value(shown), "");
    pair.assert_shared();
}

#[test]
fn names_that_are_no_ascii_stay_with_their_session_in_whatever_encoding() {
    let mut pair = pair();
    pair.postgres.psql("CREATE ROLE \"é\"; GRANT \"é\" TO app");
    let schema = r#"SELECT coalesce(current_setting('search_path'), '') = E'\u00e9'"#;
    let role = r#"SELECT current_user = E'\u00e9'"#;
    for encoding in ["UTF8", "LATIN1", "WIN1252"] {
        pair.one
            .rows(&format!("SET client_encoding = '{encoding}'"));
        pair.one
            .rows(r"SELECT set_config('search_path', E'\u00e9', false)");
        assert_eq!(pair.two.value(schema), "f", "{encoding}");
        assert_eq!(pair.one.value(schema), "t", "{encoding}");
        pair.one.rows("RESET search_path");
        pair.one.rows(r#"SET ROLE U&"\00e9""#);
        assert_eq!(pair.two.value(role), "f", "{encoding}");
        assert_eq!(pair.one.value(role), "t", "{encoding}");
        pair.one.rows("RESET ROLE");
        pair.one.rows(r#"CREATE TEMP TABLE U&"\00e9" (x int)"#);
        pair.assert_pinned();
        pair.one.rows(r#"DROP TABLE U&"\00e9""#);
        pair.assert_shared();
        pair.one.rows(r#"BEGIN; LISTEN U&"\00e9"; COMMIT"#);
        pair.assert_pinned();
        pair.one.rows(r#"UNLISTEN U&"\00e9""#);
        pair.assert_shared();
    }
    pair.one.rows("RESET client_encoding");
    for name in ["app.é", "app.É", "É.x"] {
        let shown = format!("SELECT coalesce(current_setting('{name}', true), '')");
        pair.one.rows(&format!("SET {name} = 'mine'"));
        assert_eq!(pair.two.value(&shown), "", "{name}");
        assert_eq!(pair.one.value(&shown), "mine", "{name}");
        pair.one.rows("DISCARD ALL");
        pair.one
            .rows(&format!("SELECT set_config('{name}', 'mine', false)"));
        assert_eq!(pair.two.value(&shown), "", "{name}");
        assert_eq!(pair.one.value(&shown), "mine", "{name}");
        pair.one.rows("DISCARD ALL");
    }
}

#[test]
fn what_a_function_of_an_extension_sets_follows_too() {
    let mut pair = pair();
    pair.postgres.psql("CREATE EXTENSION pg_trgm");
    pair.two
        .rows("CREATE TABLE k (id int PRIMARY KEY, v int); INSERT INTO k VALUES (1, 1)");
    eventually_judged(&mut pair);
    let shown = "SELECT show_limit()";
    let before = pair.two.value(shown);
    pair.one.rows("SELECT set_limit(0.9)");
    assert_eq!(pair.two.value(shown), before);
    assert_eq!(pair.one.value(shown), "0.9");
    pair.two.rows(
        "CREATE FUNCTION limits() RETURNS void LANGUAGE plpgsql AS $$BEGIN PERFORM set_limit(0.8); END$$",
    );
    pair.one.rows("SELECT limits()");
    assert_eq!(pair.two.value(shown), before);
    assert_eq!(pair.one.value(shown), "0.8");
}

/// PostgreSQL does not note that an expression depends on one of its own functions.
#[test]
fn what_the_expressions_of_a_schema_set_follows_too() {
    let mut pair = pair();
    let sets = "set_config('work_mem', '77MB', false) IS NOT NULL";
    let names = "set_config('app.hidden', 'mine', false) IS NOT NULL";
    pair.postgres
        .psql("CREATE ROLE reader; GRANT reader TO app");
    pair.two.rows(&format!(
        "CREATE TABLE k (id int PRIMARY KEY, v int);
         CREATE TABLE by_default (a int, b bool DEFAULT ({sets}));
         CREATE TABLE by_check (a int CHECK ({sets}));
         CREATE DOMAIN checked AS int CHECK ({sets});
         CREATE TABLE by_domain (a int, b checked);
         CREATE TABLE by_partition (a int, b bool) PARTITION BY RANGE (a);
         CREATE TABLE part PARTITION OF by_partition (b DEFAULT ({sets})) FOR VALUES FROM (0) TO (9);
         CREATE TABLE by_trigger (a int);
         CREATE FUNCTION same() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER t BEFORE INSERT ON by_trigger FOR EACH ROW WHEN ({sets}) EXECUTE FUNCTION same();
         CREATE TABLE by_policy (a int); ALTER TABLE by_policy ENABLE ROW LEVEL SECURITY;
         INSERT INTO by_policy VALUES (1);
         CREATE POLICY p ON by_policy USING ({sets}); CREATE POLICY q ON by_policy FOR INSERT WITH CHECK ({names});
         GRANT ALL ON by_policy TO reader;
         CREATE VIEW by_view AS SELECT {names} AS named;
         CREATE FUNCTION by_argument(checked) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
         CREATE FUNCTION left_out(a bool DEFAULT {sets}) RETURNS bool LANGUAGE sql AS 'SELECT $1'"
    ));
    eventually_judged(&mut pair);
    let work_mem = "SHOW work_mem";
    let hidden = "SELECT coalesce(current_setting('app.hidden', true), '')";
    for (statement, shown, value) in [
        ("INSERT INTO by_default (a) VALUES (1)", work_mem, "77MB"),
        ("COPY by_default (a) FROM STDIN", work_mem, "77MB"),
        ("INSERT INTO by_check VALUES (1)", work_mem, "77MB"),
        ("INSERT INTO by_domain VALUES (1, 2)", work_mem, "77MB"),
        ("UPDATE by_domain SET b = 3", work_mem, "77MB"),
        ("SELECT 5::checked", work_mem, "77MB"),
        ("SELECT by_argument(5)", work_mem, "77MB"),
        ("SELECT left_out()", work_mem, "77MB"),
        ("INSERT INTO part (a) VALUES (1)", work_mem, "77MB"),
        ("INSERT INTO by_trigger VALUES (1)", work_mem, "77MB"),
        ("SET ROLE reader; SELECT * FROM by_policy", work_mem, "77MB"),
        ("SELECT * FROM by_view", hidden, "mine"),
        (
            "SET ROLE reader; INSERT INTO by_policy VALUES (2)",
            hidden,
            "mine",
        ),
    ] {
        let mut one = Wire::connect(pair.port);
        if statement.starts_with("COPY") {
            one.send(Frames::new().query(statement).bytes());
            one.read_until(b"G");
            one.ask(&Frames::new().copy_data(b"1\n").copy_done());
        } else {
            one.rows(statement);
        }
        assert_ne!(pair.two.value(shown), value, "{statement}");
        assert_eq!(one.value(shown), value, "{statement}");
    }
}

#[test]
fn settings_of_a_transaction_end_with_it() {
    let mut pair = pair();
    let zone = pair.one.value("SHOW TimeZone");
    pair.one.rows("BEGIN; SET TimeZone = 'Asia/Tokyo'");
    assert_eq!(pair.one.value("SHOW TimeZone"), "Asia/Tokyo");
    pair.one.rows("ROLLBACK");
    assert_eq!(pair.one.value("SHOW TimeZone"), zone);
    pair.one
        .rows("BEGIN; SET LOCAL TimeZone = 'Asia/Tokyo'; COMMIT");
    assert_eq!(pair.one.value("SHOW TimeZone"), zone);
    pair.one.rows("BEGIN; SET TimeZone = 'Asia/Tokyo'; SAVEPOINT a; SET TimeZone = 'UTC'; ROLLBACK TO a; COMMIT");
    assert_eq!(pair.two.value("SHOW TimeZone"), zone);
    assert_eq!(pair.one.value("SHOW TimeZone"), "Asia/Tokyo");
    pair.one.error("SET TimeZone = 'Europe/Paris'; SELECT 1/0");
    assert_eq!(pair.one.value("SHOW TimeZone"), "Asia/Tokyo");
    pair.assert_shared();
}

#[test]
fn a_short_statement_timeout_is_no_trouble() {
    let mut pair = pair();
    pair.one.rows("SET statement_timeout = '1ms'");
    pair.two.value("SELECT 1");
    assert_eq!(pair.one.error("SELECT pg_sleep(10)"), "57014");
    pair.one.rows("SET statement_timeout = 0");
    assert_eq!(pair.one.value("SHOW statement_timeout"), "0");
}

#[test]
fn roles_follow_their_session() {
    let mut pair = pair();
    pair.postgres
        .psql("CREATE ROLE helper; GRANT helper TO app");
    pair.one.rows("SET ROLE helper");
    assert_eq!(pair.two.value("SELECT current_user"), "app");
    assert_eq!(pair.one.value("SELECT current_user"), "helper");
    pair.one.rows("SET TimeZone = 'UTC'");
    assert_eq!(pair.two.value("SELECT current_user"), "app");
    assert_eq!(pair.one.value("SELECT current_user"), "helper");
    pair.one.rows("RESET ROLE");
    assert_eq!(pair.one.value("SELECT current_user"), "app");
    pair.assert_shared();
}

/// To the server the session would go on; here it cannot take the setting along, but it can do without it.
#[test]
fn a_session_gets_rid_of_a_setting_that_is_refused_by_now() {
    let mut pair = pair();
    pair.postgres.psql(
        "CREATE ROLE helper; CREATE ROLE other; GRANT other TO app; CREATE TABLE secret AS SELECT 1 AS x",
    );
    let extended = |sql: &str| {
        let begin = Frames::new().prepared("BEGIN", &[]);
        let unit = begin.prepared(sql, &[]).prepared("COMMIT", &[]);
        unit.sync()
    };
    let plain = |sql: &str| Frames::new().prepared(sql, &[]).sync();
    let query = |sql: &str| Frames::new().query(sql);
    // Never from memory.
    let who = "SELECT current_user FROM pg_sleep(0)";
    for (units, is) in [
        (vec![query("RESET ROLE")], "app"),
        (vec![query("SET ROLE other")], "other"),
        (vec![query("SET ROLE NONE; SELECT 1")], "app"),
        (vec![query("DISCARD ALL")], "app"),
        (vec![plain("RESET ROLE")], "app"),
        (vec![extended("RESET ROLE")], "app"),
        (
            vec![
                query("BEGIN"),
                query("RESET ROLE"),
                query(who),
                query("COMMIT"),
            ],
            "app",
        ),
    ] {
        pair.postgres.psql("GRANT helper TO app");
        pair.one.rows("SET app.mine = 'kept'; SET ROLE helper");
        pair.postgres.psql("REVOKE helper FROM app");
        // As long as nobody else is served there it stays on the connection.
        assert_eq!(pair.two.value(who), "app");
        // What would go on as that role is refused, and never runs as another.
        assert_eq!(pair.one.error(who), "42501");
        assert_eq!(pair.one.error("SELECT 1; RESET ROLE"), "42501");
        assert_eq!(pair.one.error("RESET app.mine"), "42501");
        assert_eq!(pair.one.error("SET LOCAL ROLE other"), "42501");
        // What comes to nothing has changed nothing.
        assert_eq!(pair.one.error("SET ROLE postgres"), "42501");
        assert_eq!(pair.one.error("RESET ROLE; SELECT 1/0"), "22012");
        assert_eq!(pair.one.error(who), "42501");
        pair.one.rows("BEGIN");
        pair.one.rows("RESET ROLE");
        assert_eq!(pair.one.value(who), "app");
        pair.one.rows("ROLLBACK");
        assert_eq!(pair.one.error(who), "42501");
        for unit in &units {
            let reply = pair.one.ask(unit);
            assert_eq!(error_code(&reply), "", "{is}: {reply:?}");
        }
        assert_eq!(pair.one.value(who), is);
        assert_eq!(pair.two.value(who), "app");
        let mine = "SELECT coalesce(current_setting('app.mine', true), '')";
        assert!(["kept", ""].contains(&pair.one.value(mine).as_str()));
        pair.one.rows("RESET ROLE");
    }
    let name = "default_text_search_config";
    let before = pair.two.value(&format!("SHOW {name}"));
    for sql in [
        format!("RESET {name}"),
        format!("SET {name} TO DEFAULT"),
        "RESET ALL".to_owned(),
        "DISCARD ALL".to_owned(),
    ] {
        pair.postgres
            .psql("CREATE TEXT SEARCH CONFIGURATION public.brief (COPY = pg_catalog.simple)");
        pair.one.rows(&format!("SET {name} = 'public.brief'"));
        pair.postgres
            .psql("DROP TEXT SEARCH CONFIGURATION public.brief");
        assert_eq!(pair.two.value(who), "app");
        assert_eq!(pair.one.error(who), "22023");
        pair.one.rows(&sql);
        assert_eq!(pair.one.value(&format!("SHOW {name}")), before, "{sql}");
    }
    pair.assert_shared();
}

#[test]
fn temporary_tables_pin_and_end() {
    let mut pair = pair();
    pair.assert_shared();
    pair.one.rows("CREATE TEMP TABLE mine AS SELECT 1 AS x");
    assert_eq!(pair.two.error("SELECT * FROM mine"), "42P01");
    assert_eq!(pair.one.value("SELECT x FROM mine"), "1");
    pair.assert_pinned();
    pair.one.rows("DROP TABLE mine");
    pair.assert_shared();
    pair.one.rows("BEGIN; CREATE TEMP TABLE brief (x int) ON COMMIT DROP; INSERT INTO brief VALUES (1); COMMIT");
    pair.assert_shared();
    pair.one
        .rows("DO $$ BEGIN CREATE TEMP TABLE inner_one (x int); END $$");
    assert_eq!(pair.two.error("SELECT * FROM inner_one"), "42P01");
    assert_eq!(pair.one.value("SELECT count(*) FROM inner_one"), "0");
    pair.one.rows("DISCARD ALL");
    assert_eq!(pair.one.error("SELECT * FROM inner_one"), "42P01");
    pair.assert_shared();
}

#[test]
fn temporary_objects_of_whatever_sort_pin_and_end() {
    let mut pair = pair();
    for (make, drop) in [
        ("COLLATION pg_temp.c FROM \"C\"", "COLLATION pg_temp.c"),
        (
            "TEXT SEARCH CONFIGURATION pg_temp.t (COPY = simple)",
            "TEXT SEARCH CONFIGURATION pg_temp.t",
        ),
        (
            "OPERATOR pg_temp.<<< (LEFTARG = int, RIGHTARG = int, FUNCTION = int4lt)",
            "OPERATOR pg_temp.<<< (int, int)",
        ),
        (
            "FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "FUNCTION pg_temp.f()",
        ),
        ("DOMAIN pg_temp.d AS int", "DOMAIN pg_temp.d"),
    ] {
        pair.one.rows(&format!("CREATE {make}"));
        pair.assert_pinned();
        pair.one.rows(&format!("DROP {drop}"));
        pair.assert_shared();
    }
}

#[test]
fn temp_buffers_can_be_set_where_others_have_had_temporary_tables() {
    let mut pair = pair();
    pair.two
        .rows("CREATE TEMP TABLE t AS SELECT 1; DROP TABLE t");
    pair.one.rows("SET temp_buffers = '2MB'");
    assert_eq!(pair.one.value("SHOW temp_buffers"), "2MB");
    pair.two
        .rows("CREATE TEMP TABLE t AS SELECT 1; DROP TABLE t");
    assert_eq!(pair.two.value("SHOW temp_buffers"), "8MB");
    assert_eq!(pair.one.value("SHOW temp_buffers"), "2MB");
    pair.one
        .rows("SELECT set_config('temp_buffers', '1MB', false)");
    assert_eq!(pair.one.value("SHOW temp_buffers"), "1MB");
    pair.one.rows("CREATE TEMP TABLE u AS SELECT 1");
    let changed = pair.one.query("SET temp_buffers = '3MB'");
    assert_eq!(error_code(&changed), "22023");
}

#[test]
fn advisory_locks_pin_and_end() {
    let mut pair = pair();
    pair.one.rows("SELECT pg_advisory_lock(7)");
    assert_eq!(pair.two.value("SELECT pg_try_advisory_lock(7)"), "f");
    pair.assert_pinned();
    assert_eq!(pair.one.value("SELECT pg_advisory_unlock(7)"), "t");
    pair.assert_shared();
    assert_eq!(pair.two.value("SELECT pg_try_advisory_lock(7)"), "t");
    assert_eq!(pair.two.value("SELECT pg_advisory_unlock(7)"), "t");
    pair.one
        .rows("BEGIN; SELECT pg_advisory_xact_lock(8); COMMIT");
    pair.assert_shared();
}

#[test]
fn settings_that_a_query_in_ddl_makes_or_of_odd_names_stay_with_their_session() {
    let long = format!("ten.{}", "a".repeat(70));
    let cut = &long[.."ten.".len() + 63];
    for (setting, sets) in [
        (
            "ten.c",
            "CREATE TABLE x AS SELECT set_config('ten.c', '1', false)".to_owned(),
        ),
        (&long, format!("SELECT set_config('{long}', '1', false)")),
        (cut, format!("SET {long} = 1")),
    ] {
        let mut pair = pair();
        pair.one.rows(&sets);
        let asked = format!("SELECT coalesce(current_setting('{setting}', true), '')");
        assert_eq!(pair.two.value(&asked), "", "{sets}");
        assert_eq!(pair.one.value(&asked), "1", "{sets}");
        pair.two.rows("SELECT 1");
        assert_eq!(pair.one.value(&asked), "1", "{sets}");
    }
}

#[test]
fn what_was_drawn_last_counts_wherever_it_was_drawn() {
    let postgres = Postgres::start(&[]);
    postgres.psql_as(
        "app",
        "CREATE SEQUENCE s START 101; CREATE TABLE t (id serial)",
    );
    let pgditto = Pgditto::start(&postgres, |options| {
        options
            .wait(Wait::Listening)
            .set("pool.default_pool_size", 2);
    });
    let [mut one, mut two, mut three] = [(); 3].map(|()| Wire::connect(pgditto.port));
    assert_eq!(one.value("SELECT nextval('s')"), "101");
    // The connection of the first draw is taken, and then that of the second.
    two.rows("BEGIN; SELECT count(*) FROM pg_description");
    one.rows("INSERT INTO t DEFAULT VALUES");
    three.rows("BEGIN; SELECT count(*) FROM pg_description");
    two.rows("COMMIT");
    assert_eq!(
        one.error("SELECT lastval()"),
        "55000",
        "it is lost, and nothing older is shown"
    );
    three.rows("COMMIT");
    one.rows("INSERT INTO t DEFAULT VALUES");
    assert_eq!(one.value("SELECT lastval()"), "2");
}

#[test]
fn a_call_that_is_written_as_a_field_leaves_behind_what_it_leaves() {
    let mut pair = pair();
    pair.one.rows("SELECT (7::bigint).pg_advisory_lock");
    pair.assert_pinned();
    pair.one.rows("SELECT (7::bigint).pg_advisory_unlock");
    pair.assert_shared();
    pair.one.rows("CREATE SEQUENCE s");
    pair.one.rows("SELECT ('s').nextval");
    assert_eq!(
        pair.two.error("SELECT currval('s')"),
        "55000",
        "it has drawn nothing"
    );
}

#[test]
fn cursors_with_hold_pin_and_end() {
    let mut pair = pair();
    pair.one
        .rows("BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT generate_series(1, 3); COMMIT");
    assert_eq!(pair.two.error("FETCH c"), "34000");
    assert_eq!(pair.one.value("FETCH c"), "1");
    pair.assert_pinned();
    assert_eq!(pair.one.value("FETCH c"), "2");
    pair.one.rows("CLOSE c");
    pair.assert_shared();
}

#[test]
fn prepare_in_sql_pins_and_ends() {
    let mut pair = pair();
    pair.one.rows("PREPARE p AS SELECT 'mine'");
    assert_eq!(pair.two.error("EXECUTE p"), "26000");
    pair.two.rows("PREPARE p AS SELECT 'theirs'");
    assert_eq!(pair.one.value("EXECUTE p"), "mine");
    assert_eq!(pair.two.value("EXECUTE p"), "theirs");
    pair.two.rows("DEALLOCATE p");
    pair.assert_pinned();
    pair.one.rows("DEALLOCATE ALL");
    assert_eq!(pair.one.error("EXECUTE p"), "26000");
    pair.assert_shared();
}

#[test]
fn loaded_libraries_pin_for_good() {
    let mut pair = pair();
    pair.postgres.psql("ALTER ROLE app SUPERUSER");
    pair.one.rows("LOAD 'auto_explain'");
    pair.assert_pinned();
    pair.one.rows("DISCARD ALL");
    pair.assert_pinned();
}

#[test]
fn a_pinned_session_that_ends_gives_its_connection_up() {
    let mut pair = pair();
    pair.one
        .rows("CREATE TEMP TABLE mine (x int); SELECT pg_advisory_lock(9); LISTEN news");
    let ended = std::mem::replace(&mut pair.one, Wire::connect(pair.port));
    drop(ended);
    crate::fixture::eventually("the lock is free", || {
        pair.two.value("SELECT pg_try_advisory_lock(9)") == "t"
    });
    assert_eq!(pair.one.error("SELECT * FROM mine"), "42P01");
}

/// What was drawn on the connection before is another session's.
#[test]
fn a_session_sees_no_sequence_that_another_has_drawn_from() {
    let mut pair = pair();
    pair.postgres
        .psql_as("app", "CREATE SEQUENCE s; CREATE SEQUENCE u");
    assert_eq!(pair.two.value("SELECT nextval('s')"), "1");
    assert_eq!(pair.one.value("SELECT nextval('u')"), "1");
    assert_eq!(pair.one.error("SELECT currval('s')"), "55000");
    assert_eq!(pair.one.value("SELECT currval('u')"), "1");

    pair.assert_shared();
    assert_eq!(pair.two.value("SELECT nextval('s')"), "2");
    pair.one.query("BEGIN");
    assert_eq!(pair.one.value("SELECT nextval('u')"), "2");
    assert_eq!(pair.one.value("SELECT currval('u')"), "2");
    assert_eq!(pair.one.error("SELECT currval('s')"), "55000");
    pair.one.query("ROLLBACK");
}

#[test]
fn defaults_that_read_a_sequence_see_their_sessions_own() {
    let postgres = Postgres::start(&[]);
    postgres.psql_as(
        "app",
        "CREATE SEQUENCE s; \
         CREATE FUNCTION drawn() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN lastval(); END'; \
         CREATE TABLE t (x int DEFAULT nextval('s'), y int DEFAULT -currval('s')); \
         CREATE TABLE v (x int DEFAULT nextval('s'), y int DEFAULT drawn())",
    );
    let pgditto = Pgditto::start(&postgres, |options| {
        options.set("pool.default_pool_size", 1);
    });
    let mut other = Wire::connect(pgditto.port);
    crate::fixture::eventually("the catalogue is known", || {
        other.rows("SELECT x FROM t");
        (pgditto.metrics().sum("pgditto_hits_total", &[]) > 0.0).then_some(())
    });
    for table in ["t", "v"] {
        let mut one = Wire::connect(pgditto.port);
        let given = format!("INSERT INTO {table} (x) VALUES (7) RETURNING abs(y)");
        other.value("SELECT nextval('s')");
        assert_eq!(one.error(&given), "55000", "{table}");
        let drawn = one.value(&format!("INSERT INTO {table} DEFAULT VALUES RETURNING x"));
        assert_ne!(other.value("SELECT nextval('s')"), drawn);
        assert_eq!(one.value(&given), drawn, "{table}");
    }
}

/// Nobody else knows of them yet, the picture of the catalogue included.
#[test]
fn definitions_that_read_a_sequence_pin_whoever_makes_them() {
    let mut pair = pair();
    pair.one.rows("CREATE SEQUENCE s");
    pair.one
        .rows("CREATE TABLE t (x int DEFAULT nextval('s'), y int DEFAULT -currval('s'))");
    pair.two.rows("SELECT nextval('s')");
    assert_eq!(
        pair.one
            .value("INSERT INTO t (x) VALUES (nextval('s')) RETURNING y"),
        "-2"
    );
    pair.two.rows("SELECT nextval('s')");
    assert_eq!(
        pair.one.value("INSERT INTO t (x) VALUES (7) RETURNING y"),
        "-2"
    );
    pair.assert_pinned();
    pair.one.rows("DISCARD ALL");
    pair.assert_shared();

    pair.one.rows(
        "CREATE FUNCTION drawn() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN LastVal(); END'",
    );
    pair.assert_pinned();
}

/// What keeps it from being shared is what is defined, not that something is.
#[test]
fn whoever_makes_a_serial_table_is_not_pinned() {
    let mut pair = pair();
    pair.one
        .rows("CREATE TABLE t (id serial PRIMARY KEY, x int)");
    for wanted in ["1", "3"] {
        let insert = "INSERT INTO t (x) VALUES (1) RETURNING id";
        assert_eq!(pair.one.value(insert), wanted);
        pair.two.rows(insert);
    }
    pair.assert_shared();
}

/// Its plans hold the values of the statement that made them: they are no other session's, and nobody gets its connection.
#[test]
fn triggers_of_refint_pin_whoever_fires_them() {
    let postgres = Postgres::start(&[]);
    postgres.psql(
        "CREATE EXTENSION refint; \
         CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int); \
         CREATE TRIGGER t AFTER DELETE OR UPDATE ON parent FOR EACH ROW \
             EXECUTE FUNCTION check_foreign_key(1, 'cascade', 'id', 'child', 'id'); \
         INSERT INTO parent SELECT generate_series(1, 9); INSERT INTO child SELECT id FROM parent; \
         GRANT ALL ON parent, child TO app",
    );
    let pgditto = Pgditto::start(&postgres, |options| {
        options.set("pool.default_pool_size", 1);
    });
    let port = pgditto.port;
    let mut pair = Pair {
        one: Wire::connect(port),
        two: Wire::connect(port),
        port,
        pgditto,
        postgres,
    };
    eventually("the catalogue is known", || {
        pair.two.rows("SELECT id FROM child");
        let hits = pair.pgditto.metrics().sum("pgditto_hits_total", &[]);
        hits > 0.0
    });
    for (one, two) in [(11, 12), (13, 14)] {
        // Without plans of its own, each session would give the other's rows its own first value.
        pair.one.rows(&format!(
            "UPDATE parent SET id = {one} WHERE id = {}",
            one - 10
        ));
        pair.two.rows(&format!(
            "UPDATE parent SET id = {two} WHERE id = {}",
            two - 10
        ));
    }
    pair.assert_pinned();
    let children = pair
        .postgres
        .psql("SELECT string_agg(id::text, ' ' ORDER BY id) FROM child");
    // Servers of later years keep no plans.
    assert!(
        ["5 6 7 8 9 11 11 12 12", "5 6 7 8 9 11 12 13 14"].contains(&children.as_str()),
        "{children}"
    );
}

#[test]
fn sequence_state_is_the_sessions_own() {
    let mut pair = pair();
    pair.postgres
        .psql_as("app", "CREATE SEQUENCE s; CREATE SEQUENCE u");
    assert_eq!(pair.one.error("SELECT currval('s')"), "55000");
    assert_eq!(pair.one.value("SELECT nextval('s')"), "1");
    assert_eq!(pair.one.value("SELECT currval('s')"), "1");
    assert_eq!(pair.one.value("SELECT lastval()"), "1");
    // Another session has no such state, though it is on the same connection.
    assert_eq!(pair.two.error("SELECT currval('s')"), "55000");
    assert_eq!(pair.two.error("SELECT lastval()"), "55000");
    assert_eq!(pair.two.value("SELECT nextval('s')"), "2");
    let mine = pair.one.query("SELECT currval('s')");
    // Lost and said so, or kept; never the other's.
    assert!(
        error_code(&mine) == "55000" || mine[1].row() == [Some("1".to_owned())],
        "{mine:?}"
    );
    pair.one.rows("SELECT nextval('s')");
    assert_eq!(pair.two.value("SELECT nextval('u')"), "1");
    assert_eq!(pair.one.value("SELECT currval('s')"), "3");
    assert_eq!(pair.one.value("SELECT lastval()"), "3");
}

#[test]
fn definitions_draw_nothing_from_sequences() {
    let mut pair = pair();
    pair.postgres.psql_as(
        "app",
        "CREATE TABLE k (id serial, v int); INSERT INTO k (v) VALUES (0);
         CREATE TABLE rls (tenant int); CREATE POLICY p ON rls USING (tenant = 1);
         CREATE FUNCTION draw() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN nextval('k_id_seq'); END $$",
    );
    let truth = Wire::connect(pair.postgres.port).query("SELECT lastval()");
    for sql in [
        "ALTER POLICY p ON rls USING (tenant = 2)",
        "COMMENT ON TABLE rls IS 'told apart'",
        "GRANT SELECT ON rls TO PUBLIC",
        "CREATE TABLE more (a int, b text DEFAULT 'x')",
        "ALTER TABLE more RENAME a TO c",
        "DROP TABLE more",
    ] {
        // What is judged while there is no picture means everything.
        eventually_judged(&mut pair);
        pair.one.rows(sql);
        eventually_judged(&mut pair);
        pair.two.rows("UPDATE k SET v = 1 WHERE id = 1");
        assert_eq!(pair.one.query("SELECT lastval()"), truth, "{sql}");
    }
    pair.assert_shared();
}

/// Returns once the catalogue is known again: hits are served then.
fn eventually_judged(pair: &mut Pair) {
    let hits = |pair: &Pair| pair.pgditto.metrics().sum("pgditto_hits_total", &[]);
    eventually("a hit", || {
        let before = hits(pair);
        pair.two.rows("SELECT v FROM k WHERE id = 1");
        hits(pair) > before
    });
}
