//! Names of statements and portals: taken, unknown, closed, dropped.

use pgditto::wire::tag::backend as tag;

use super::SETUP;
use crate::fixture::{Frames, Script, same};

fn frames() -> Frames {
    Frames::new()
}

#[test]
fn a_name_that_is_taken_is_refused() {
    let script = Script::new()
        .ask(frames().parse("s", "SELECT 1").sync())
        .ask(frames().parse("s", "SELECT 2").sync())
        .ask(
            frames()
                .parse("s", "SELECT 1")
                .bind("", "s", &[])
                .execute("", 0)
                .sync(),
        )
        .ask(frames().bind("", "s", &[]).execute("", 0).sync())
        .ask(frames().parse("s", "SELEC 2").sync())
        .ask(frames().parse("s", "SELECT * FROM absent").sync())
        .ask(
            frames()
                .parse("t", "SELECT 1")
                .parse("t", "SELECT 2")
                .sync(),
        )
        .ask(frames().bind("", "t", &[]).execute("", 0).sync())
        .queries(&["BEGIN"])
        .ask(frames().parse("s", "SELECT 3").sync())
        .ask(frames().parse("s", "SELECT 3").sync())
        .ask(frames().parse("new", "SELECT 3").sync())
        .queries(&["ROLLBACK"])
        .ask(frames().bind("", "new", &[]).sync())
        .ask(frames().bind("", "s", &[]).execute("", 0).sync());
    same(SETUP, script);
}

#[test]
fn unknown_names_are_refused() {
    let script = Script::new()
        .ask(frames().bind("", "absent", &[]).sync())
        .ask(frames().bind("", "", &[]).sync())
        .ask(frames().describe_statement("absent").sync())
        .ask(frames().describe_statement("").sync())
        .ask(frames().describe_portal("absent").sync())
        .ask(frames().describe_portal("").sync())
        .ask(frames().execute("absent", 0).sync())
        .ask(frames().execute("", 0).sync())
        .ask(
            frames()
                .close_statement("absent")
                .close_portal("absent")
                .sync(),
        )
        .ask(frames().close_statement("").close_portal("").sync())
        .queries(&["BEGIN"])
        .ask(frames().bind("", "absent", &[]).sync())
        .ask(frames().bind("", "absent", &[]).sync())
        .queries(&["ROLLBACK"])
        .ask(
            frames()
                .parse("s", "SELECT 1")
                .bind("p", "s", &[])
                .bind("p", "s", &[])
                .sync(),
        )
        .ask(frames().parse("pgditto_1", "SELECT 1").sync())
        .ask(
            frames()
                .bind("", "pgditto_1", &[])
                .execute("", 0)
                .bind("", "pgditto_2", &[])
                .sync(),
        );
    same(SETUP, script);
}

#[test]
fn a_closed_name_is_free_again() {
    let script = Script::new()
        .ask(
            frames()
                .parse("s", "SELECT 1")
                .close_statement("s")
                .parse("s", "SELECT 2")
                .sync(),
        )
        .ask(frames().bind("", "s", &[]).execute("", 0).sync())
        .ask(frames().close_statement("s").sync())
        .ask(
            frames()
                .parse("s", "SELECT 3")
                .bind("", "s", &[])
                .execute("", 0)
                .sync(),
        )
        .ask(
            frames()
                .bind("", "s", &[])
                .close_statement("s")
                .execute("", 0)
                .sync(),
        )
        .ask(frames().bind("", "s", &[]).sync())
        // What comes after an error is not done.
        .ask(frames().parse("kept", "SELECT 4").sync())
        .ask(
            frames()
                .bind("", "absent", &[])
                .close_statement("kept")
                .parse("never", "SELECT 5")
                .sync(),
        )
        .ask(frames().bind("", "kept", &[]).execute("", 0).sync())
        .ask(frames().bind("", "never", &[]).execute("", 0).sync())
        // What came before it is.
        .ask(
            frames()
                .parse("made", "SELECT 6")
                .close_statement("kept")
                .bind("", "absent", &[])
                .sync(),
        )
        .ask(frames().bind("", "made", &[]).execute("", 0).sync())
        .ask(frames().bind("", "kept", &[]).execute("", 0).sync());
    same(SETUP, script);
}

#[test]
fn statements_outlive_a_rolled_back_transaction() {
    let script = Script::new()
        .queries(&["BEGIN"])
        .ask(frames().parse("s", "SELECT 1").sync())
        .queries(&["ROLLBACK"])
        .ask(frames().bind("", "s", &[]).execute("", 0).sync())
        .queries(&["BEGIN"])
        .ask(frames().close_statement("s").sync())
        .queries(&["ROLLBACK"])
        .ask(frames().bind("", "s", &[]).execute("", 0).sync());
    same(SETUP, script);
}

#[test]
fn the_unnamed_statement_is_dropped_by_a_query_and_by_a_failed_parse() {
    let unnamed = || frames().bind("", "", &[]).execute("", 0).sync();
    let parse = || frames().parse("", "SELECT 1").sync();
    let script = Script::new()
        .ask(parse())
        .ask(unnamed())
        .ask(unnamed())
        .queries(&["SELECT 2"])
        .ask(unnamed())
        .ask(parse())
        .queries(&[""])
        .ask(unnamed())
        .ask(parse())
        .queries(&["BEGIN"])
        .ask(unnamed())
        .ask(parse())
        .ask(unnamed())
        .queries(&["ROLLBACK"])
        .ask(parse())
        .ask(frames().parse("", "SELEC").sync())
        .ask(unnamed())
        .ask(parse())
        .ask(frames().parse("", "SELECT * FROM absent").sync())
        .ask(unnamed())
        .ask(parse())
        .ask(
            frames()
                .bind("", "absent", &[])
                .parse("", "SELECT 7")
                .sync(),
        )
        .ask(unnamed())
        .ask(frames().close_statement("").sync())
        .ask(unnamed());
    same(SETUP, script);
}

#[test]
fn deallocate_drops_statements_of_the_protocol() {
    let run = |name: &str| frames().bind("", name, &[]).execute("", 0).sync();
    let prepare = || {
        frames()
            .parse("s1", "SELECT 1")
            .parse("s2", "SELECT 2")
            .parse("Mixed Case", "SELECT 3")
            .sync()
    };
    let script = Script::new()
        .ask(prepare())
        .queries(&["DEALLOCATE s1"])
        .ask(run("s1"))
        .ask(run("s2"))
        .queries(&["DEALLOCATE PREPARE \"Mixed Case\"", "DEALLOCATE s1"])
        .ask(run("Mixed Case"))
        .ask(frames().prepared("DEALLOCATE s2", &[]).sync())
        .ask(run("s2"))
        .ask(prepare())
        .queries(&["DEALLOCATE ALL"])
        .ask(run("s1"))
        .ask(run("s2"))
        .ask(prepare())
        .ask(frames().prepared("DEALLOCATE ALL", &[]).sync())
        .ask(run("s1"))
        .ask(prepare())
        .queries(&["DISCARD ALL"])
        .ask(run("s1"))
        .ask(prepare())
        .queries(&["BEGIN", "DEALLOCATE s1", "ROLLBACK"])
        .ask(run("s1"))
        .ask(run("s2"))
        .queries(&["DEALLOCATE s2; SELECT 1/0"])
        .ask(run("s2"))
        .queries(&["DEALLOCATE ALL; SELECT 1/0"])
        .ask(run("Mixed Case"))
        .ask(prepare())
        .ask(run("s1"))
        .queries(&["BEGIN; SELECT 1/0", "DEALLOCATE s1", "ROLLBACK"])
        .ask(run("s1"));
    same(SETUP, script);
}

#[test]
fn sql_and_protocol_share_names() {
    let script = Script::new()
        .ask(frames().parse("s", "SELECT $1::int + 1").sync())
        .queries(&[
            "EXECUTE s(41)",
            "EXECUTE s(1); EXECUTE s(2)",
            "EXECUTE absent",
        ])
        .ask(frames().prepared("EXECUTE s(5)", &[]).sync())
        .ask(frames().bind("", "s", &["7"]).execute("", 0).sync())
        .queries(&["PREPARE q AS SELECT 'sql'", "EXECUTE q", "EXECUTE s(3)"])
        .ask(frames().bind("", "q", &[]).execute("", 0).sync())
        .ask(frames().describe_statement("q").sync())
        .ask(frames().parse("q", "SELECT 2").sync())
        .queries(&["PREPARE s AS SELECT 1", "DEALLOCATE q", "EXECUTE q"])
        .ask(frames().bind("", "q", &[]).execute("", 0).sync())
        .queries(&["PREPARE q AS SELECT 'again'"])
        .ask(frames().close_statement("q").sync())
        .queries(&["EXECUTE q"]);
    same(SETUP, script);
}

#[test]
fn sql_finds_names_of_the_protocol_within_other_statements() {
    let script = Script::new()
        .ask(frames().parse("s", "SELECT $1::int + 1 AS n").sync())
        .ask(frames().parse("Mixed Case", "SELECT 7 AS n").sync())
        .queries(&[
            "EXPLAIN EXECUTE s(1)",
            "EXPLAIN ANALYZE VERBOSE EXECUTE absent",
            "EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) EXECUTE s(1)",
            "EXPLAIN (COSTS off) CREATE TABLE none AS EXECUTE s(4)",
            "CREATE TABLE a AS EXECUTE s(4)",
            "CREATE TABLE IF NOT EXISTS b (x) WITH (fillfactor = 50) AS EXECUTE \"Mixed Case\" WITH NO DATA",
            "CREATE TEMP TABLE c AS EXECUTE \"Mixed Case\"",
            "CREATE UNLOGGED TABLE d AS EXECUTE s(6); TABLE d",
            "CREATE TABLE e AS EXECUTE absent",
            "TABLE a",
            "TABLE b",
            "TABLE c",
            "DROP TABLE c",
        ])
        .ask(frames().prepared("EXPLAIN EXECUTE s(5)", &[]).sync())
        .ask(frames().prepared("CREATE TABLE f AS EXECUTE s(5)", &[]).sync())
        .ask(frames().parse("e", "EXPLAIN EXECUTE s(5)").sync())
        .ask(frames().bind("", "e", &[]).execute("", 0).sync())
        .queries(&["BEGIN", "CREATE TABLE g AS EXECUTE s(7)", "TABLE g", "ROLLBACK"])
        .queries(&["TABLE f", "EXECUTE s(1)", "DEALLOCATE s", "EXPLAIN EXECUTE s(1)"]);
    same(SETUP, script);
}

#[test]
fn a_client_may_use_names_like_those_that_pgditto_gives() {
    let run = |name: &str| frames().bind("", name, &[]).execute("", 0).sync();
    let names = (1..30).map(|n| format!("pgditto_{n}"));
    let guess = |script: Script, name: String| {
        script.queries(&[&format!("EXECUTE {name}"), &format!("DEALLOCATE {name}")])
    };
    let script = Script::new()
        .ask(frames().parse("s", "SELECT 1").sync())
        .ask(run("s"));
    let script = names
        .fold(script, guess)
        .ask(run("s"))
        .queries(&[
            "PREPARE pgditto_1 AS SELECT 'sql'",
            "PREPARE pgditto_absent AS SELECT 'sql'",
            "EXECUTE pgditto_1",
        ])
        .ask(run("pgditto_1"))
        .ask(run("pgditto_absent"))
        .ask(run("pgditto_2"))
        .ask(frames().describe_statement("pgditto_1").sync())
        .ask(frames().parse("pgditto_1", "SELECT 2").sync())
        .ask(frames().parse("pgditto_2", "SELECT 2").sync())
        .queries(&["EXECUTE pgditto_2", "EXPLAIN EXECUTE pgditto_1"])
        .ask(frames().close_statement("pgditto_1").sync())
        .ask(run("pgditto_1"))
        .ask(run("pgditto_2"))
        .queries(&["DEALLOCATE pgditto_2", "DEALLOCATE pgditto_absent"])
        .ask(run("pgditto_2"))
        .ask(run("s"));
    same(SETUP, script);
}

#[test]
fn what_is_bound_after_deallocate_all_in_the_same_unit_must_be_prepared_after_it() {
    let run = |name: &str| frames().bind("", name, &[]).execute("", 0).sync();
    let script =
        ["DEALLOCATE ALL", "DISCARD ALL"]
            .into_iter()
            .fold(Script::new(), |script, all| {
                let prepare = || {
                    frames()
                        .parse("s", "SELECT 1")
                        .parse("t", "SELECT 2")
                        .parse("all", all)
                        .parse("", "SELECT 'unnamed'")
                        .sync()
                };
                let forget = || frames().bind("", "all", &[]).execute("", 0);
                script
                    .ask(prepare())
                    .ask(forget().bind("", "s", &[]).execute("", 0).sync())
                    .ask(run("s"))
                    .ask(run("all"))
                    .ask(run(""))
                    .ask(prepare())
                    .ask(
                        forget()
                            .parse("s", "SELECT 'anew'")
                            .bind("", "s", &[])
                            .execute("", 0)
                            .bind("", "", &[])
                            .execute("", 0)
                            .sync(),
                    )
                    .ask(run("s"))
                    .ask(run(""))
                    .ask(run("t"))
                    .ask(prepare())
                    .ask(frames().close_statement("s").sync())
                    .ask(prepare())
                    // Prepared before it in the same unit.
                    .ask(forget().sync())
                    .ask(
                        frames()
                            .parse("all", all)
                            .parse("u", "SELECT 3")
                            .bind("", "all", &[])
                            .execute("", 0)
                            .bind("", "u", &[])
                            .execute("", 0)
                            .sync(),
                    )
                    .ask(run("u"))
                    // It does not come to it.
                    .ask(prepare())
                    .ask(
                        frames()
                            .bind("", "absent", &[])
                            .bind("", "all", &[])
                            .execute("", 0)
                            .sync(),
                    )
                    .ask(run("s"))
                    .queries(&["BEGIN"])
                    .ask(forget().sync())
                    .ask(run("s"))
                    .queries(&["ROLLBACK"])
                    .ask(run("s"))
                    .ask(run("t"))
                    // What comes after it fails.
                    .ask(forget().sync())
                    .ask(prepare())
                    .ask(
                        forget()
                            .parse("v", "SELECT 1/0")
                            .bind("", "v", &[])
                            .execute("", 0)
                            .sync(),
                    )
                    .ask(run("t"))
                    .ask(run("v"))
                    .queries(&["DEALLOCATE ALL"])
            });
    same(SETUP, script);
}

#[test]
fn what_pgditto_runs_by_itself_leaves_the_unnamed_statement_and_portal() {
    let apart = |sql: &str| {
        frames()
            .parse("n", sql)
            .bind("np", "n", &[])
            .execute("np", 0)
            .close_portal("np")
            .close_statement("n")
            .sync()
    };
    let rest = || frames().execute("", 0).sync();
    let suspend = || {
        frames()
            .parse("", "SELECT generate_series(1, 3)")
            .bind("", "", &[])
            .execute("", 1)
            .sync()
    };
    let again = || frames().bind("", "", &[]).execute("", 2).sync();
    let script = Script::new()
        .startup("DateStyle", "German")
        .queries(&["CREATE SEQUENCE seq", "SET work_mem = '1MB'", "BEGIN"])
        .ask(suspend())
        .ask(apart("RESET DateStyle"))
        .ask(rest())
        .ask(again())
        .ask(apart("SET TimeZone = 'UTC'"))
        .ask(rest())
        .ask(apart("RESET ALL"))
        .ask(rest())
        .ask(again())
        .queries(&["COMMIT", "SHOW DateStyle", "SET LOCAL x.y = 1"])
        // A session that keeps its connection.
        .queries(&["PREPARE pinned AS SELECT 1"])
        .ask(frames().parse("", "SELECT 'unnamed'").sync())
        .ask(frames().bind("", "", &[]).execute("", 0).sync())
        .ask(apart("SET work_mem = '2MB'"))
        .ask(frames().bind("", "", &[]).execute("", 0).sync())
        .ask(apart("RESET DateStyle"))
        .ask(frames().bind("", "", &[]).execute("", 0).sync())
        .ask(apart("LISTEN here"))
        .ask(frames().bind("", "", &[]).execute("", 0).sync())
        .ask(apart("SELECT * FROM pg_listening_channels()"))
        .ask(frames().bind("", "", &[]).execute("", 0).sync());
    same(SETUP, script);
}

#[test]
fn sql_finds_a_name_of_the_protocol_when_its_unit_comes_in_parts() {
    let described = |name: &str, sql: &str| frames().parse(name, sql).describe_statement(name);
    let script = Script::new()
        .ask(frames().parse("s", "SELECT $1::int + 1 AS n").sync())
        .send(described("e", "EXECUTE s(41)").flush())
        .until(b'T')
        .ask(frames().bind("", "e", &[]).execute("", 0).sync())
        .ask(frames().bind("", "e", &[]).execute("", 0).sync())
        .queries(&["SELECT 'between'", "EXECUTE s(1)"])
        .send(described("", "EXECUTE s(2)").flush())
        .until(b'T')
        .ask(frames().query("SELECT 'instead of Sync'"))
        .send(described("", "EXECUTE absent").flush())
        .until(b'n')
        .ask(frames().bind("", "", &[]).execute("", 0).sync())
        .ask(frames().bind("", "s", &["7"]).execute("", 0).sync())
        .ask(frames().close_statement("s").sync())
        .ask(frames().prepared("EXECUTE s(5)", &[]).sync());
    same(SETUP, script);
}

#[test]
fn a_statement_is_read_under_the_settings_of_its_session() {
    let query = "SELECT '01/02/2020'::date - '2020-01-01'::date";
    let ask = || frames().prepared(query, &[]).sync();
    let script = Script::new()
        .ask(
            frames()
                .parse("mdy", query)
                .bind("", "mdy", &[])
                .execute("", 0)
                .sync(),
        )
        .queries(&["SET DateStyle = 'DMY'"])
        .ask(frames().parse("dmy", query).sync())
        .ask(ask())
        .ask(frames().bind("", "dmy", &[]).execute("", 0).sync())
        .ask(frames().bind("", "dmy", &[]).execute("", 0).sync())
        .queries(&[
            "CREATE SCHEMA a",
            "CREATE TABLE a.item (x text)",
            "SET search_path = a",
        ])
        .ask(frames().parse("a", "SELECT * FROM item").sync())
        .queries(&["SET search_path = public"])
        .ask(frames().parse("b", "SELECT * FROM item").sync())
        .ask(frames().bind("", "b", &[]).execute("", 0).sync());
    same(SETUP, script);
}

#[test]
fn a_statement_prepared_after_a_change_of_the_table_sees_it() {
    let query = "SELECT * FROM item WHERE id = 1";
    let script = Script::new()
        .ask(
            frames()
                .parse("before", query)
                .bind("", "before", &[])
                .execute("", 0)
                .sync(),
        )
        .queries(&["ALTER TABLE item ADD COLUMN more text DEFAULT 'm'"])
        .ask(
            frames()
                .parse("after", query)
                .describe_statement("after")
                .bind("", "after", &[])
                .execute("", 0)
                .sync(),
        )
        .ask(frames().bind("", "before", &[]).execute("", 0).sync())
        .queries(&["DROP TABLE item"])
        .ask(frames().parse("gone", query).sync())
        .ask(frames().bind("", "after", &[]).execute("", 0).sync());
    same(SETUP, script);
}

#[test]
fn sql_finds_what_was_prepared_before_it_without_a_sync() {
    let execute = |name: &str| frames().parse(name, "EXECUTE s").describe_statement(name);
    let run = |name: &str| frames().bind("", name, &[]).execute("", 0);
    let script = Script::new()
        // As asyncpg does.
        .send(
            frames()
                .parse("s", "SELECT 1 AS one")
                .describe_statement("s")
                .flush(),
        )
        .until(tag::ROW_DESCRIPTION)
        .send(execute("e").flush())
        .until(tag::ROW_DESCRIPTION)
        .ask(run("e").sync())
        .ask(frames().close_statement("s").sync())
        .ask(run("e").sync())
        // All in one.
        .ask(
            frames()
                .parse("s", "SELECT 2 AS two")
                .bytes_as_they_are(execute("f").bytes())
                .bytes_as_they_are(run("f").bytes())
                .prepared("EXPLAIN (COSTS off) EXECUTE s", &[])
                .sync(),
        )
        .send(frames().parse("t", "SELECT 3").flush())
        .send(frames().query("EXECUTE t"))
        .ready(1);
    same(SETUP, script);
}

#[test]
fn a_session_is_shown_its_own_statements_under_their_own_names() {
    let list = "SELECT name, statement, parameter_types, from_sql FROM pg_prepared_statements ORDER BY name";
    let count = "SELECT count(*) FROM pg_catalog.pg_prepared_statement()";
    let ask = |sql: &str| frames().prepared(sql, &[]).sync();
    let script = Script::new()
        .queries(&[list, count])
        .ask(frames().parse("b", "SELECT $1::int").sync())
        .ask(frames().parse_typed("A", "SELECT $1", &[25]).sync())
        .ask(frames().prepared("SELECT 7", &[]).sync())
        .queries(&[list, count])
        .ask(ask(list))
        .ask(
            frames()
                .parse("list", list)
                .bind("", "list", &[])
                .execute("", 0)
                .sync(),
        )
        .ask(frames().bind("", "list", &[]).execute("", 1).sync())
        .queries(&[
            "BEGIN",
            "PREPARE c AS SELECT 9",
            list,
            "EXECUTE c",
            "COMMIT",
        ])
        .ask(ask(list))
        .ask(frames().close_statement("b").sync())
        .queries(&[list, "DEALLOCATE ALL", count])
        .ask(frames().bind("", "A", &["x"]).execute("", 0).sync());
    same(SETUP, script);
}
