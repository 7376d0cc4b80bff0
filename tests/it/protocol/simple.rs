//! The simple query protocol.

use super::SETUP;
use crate::fixture::{Frames, Script, same};

fn queries(texts: &[&str]) {
    same(SETUP, Script::new().queries(texts));
}

#[test]
fn select_returns_rows_and_tags() {
    queries(&[
        "SELECT * FROM item ORDER BY id",
        "SELECT 1 AS a, NULL AS b, 'x'::text, now() IS NOT NULL",
        "SELECT FROM item",
        "TABLE item",
        "VALUES (1, 'a'), (2, 'b')",
        "SHOW server_version",
        "EXPLAIN (COSTS off) SELECT * FROM item WHERE id = 1",
    ]);
}

#[test]
fn empty_queries() {
    queries(&["", " ", ";", ";;", "-- nothing", "/* nothing */", " ; ; "]);
}

#[test]
fn multi_statement_strings() {
    queries(&[
        "SELECT 1; SELECT 2",
        "INSERT INTO item VALUES (4, 'pen', 1); SELECT count(*) FROM item; DELETE FROM item WHERE id = 4",
        "SELECT 1;; SELECT 2;",
        "BEGIN; INSERT INTO item VALUES (5, 'cap', 1); COMMIT; SELECT count(*) FROM item",
        "BEGIN; SELECT 1",
        "SELECT 2; ROLLBACK; SELECT 3",
    ]);
}

#[test]
fn multi_statement_strings_with_errors() {
    queries(&[
        "INSERT INTO item VALUES (6, 'nib', 1); SELECT 1/0; SELECT 2",
        "SELECT count(*) FROM item",
        "SELECT 1; SELEC 2",
        "BEGIN; INSERT INTO item VALUES (6, 'nib', 1); COMMIT; SELECT 1/0",
        "SELECT count(*) FROM item",
        "BEGIN; SELECT 1/0; COMMIT",
        "SELECT 'still failed'",
        "ROLLBACK",
        "SELECT count(*) FROM item",
    ]);
}

#[test]
fn errors_come_with_all_their_fields() {
    queries(&[
        "SELECT * FROM absent",
        "SELECT absent FROM item",
        "SELEC 1",
        "SELECT boom(3)",
        "SELECT 1/0",
        "INSERT INTO item VALUES (1, 'twice', 1)",
        "SELECT 'abc'::int",
        "SELECT 'unterminated",
        "SELECT \u{0}",
        "SELECT 1",
    ]);
}

#[test]
fn error_after_rows() {
    queries(&[
        "SELECT boom(i) FROM generate_series(1, 5) i",
        "SELECT boom(i) FROM generate_series(1, 2) i",
    ]);
}

#[test]
fn notices_keep_their_order() {
    queries(&[
        "SELECT shout('a'), shout('b')",
        "SELECT shout(n) FROM (VALUES ('x'), ('y')) v(n)",
        "DROP TABLE IF EXISTS never_there",
        "DO $$ BEGIN RAISE WARNING 'w'; RAISE NOTICE 'n'; RAISE INFO 'i'; RAISE LOG 'l'; END $$",
        "SET client_min_messages = warning",
        "SELECT shout('quiet')",
    ]);
}

#[test]
fn parameters_are_reported_when_they_change() {
    queries(&[
        "SET application_name = 'mine'",
        "SET TimeZone = 'Europe/Paris'",
        "SET DateStyle = 'SQL, DMY'",
        "SELECT '2020-02-01'::date",
        "BEGIN",
        "SET TimeZone = 'UTC'; SET application_name = 'other'",
        "SHOW TimeZone",
        "ROLLBACK",
        "SHOW TimeZone",
        "SHOW application_name",
        "BEGIN; SET LOCAL TimeZone = 'Asia/Tokyo'; SHOW TimeZone; COMMIT",
        "SHOW TimeZone",
        "SET standard_conforming_strings = off",
        "SELECT 'a\\'b'",
        "RESET standard_conforming_strings",
        "SET client_encoding = 'LATIN1'",
        "SELECT 'caf\\351'",
        "RESET client_encoding",
        "RESET ALL",
        "SHOW DateStyle",
    ]);
}

#[test]
fn startup_settings_are_what_reset_goes_back_to() {
    let script = Script::new()
        .startup("TimeZone", "Europe/Rome")
        .startup("options", "-c search_path=information_schema -c geqo=off")
        .queries(&[
            "SHOW TimeZone",
            "SHOW search_path",
            "SHOW geqo",
            "SET search_path = public",
            "SHOW search_path",
            "RESET search_path",
            "SHOW search_path",
            "SET geqo = on",
            "RESET ALL",
            "SHOW geqo",
            "SHOW search_path",
            "BEGIN",
            "SET search_path = public",
            "RESET search_path",
            "SHOW search_path",
            "COMMIT",
            "SET search_path TO DEFAULT",
            "SHOW search_path",
            "DISCARD ALL",
            "SHOW search_path",
        ]);
    same(SETUP, script);
}

#[test]
fn function_calls() {
    let script = Script::new()
        // upper(text) and int4div(int, int)
        .ask(Frames::new().function_call(871, &["shout"]))
        .ask(Frames::new().function_call(154, &["7", "2"]))
        .ask(Frames::new().function_call(154, &["7", "0"]))
        .ask(Frames::new().function_call(154, &["7"]))
        .ask(Frames::new().function_call(99_999_999, &[]))
        .queries(&["BEGIN"])
        .ask(Frames::new().function_call(154, &["7", "2"]))
        .ask(Frames::new().function_call(154, &["7", "0"]))
        .ask(Frames::new().function_call(154, &["7", "2"]))
        .queries(&["ROLLBACK", "SELECT 1"]);
    same(SETUP, script);
}

#[test]
fn several_queries_in_one_write() {
    let frames = Frames::new()
        .query("SELECT 1")
        .query("SELECT 1/0")
        .query("")
        .query("BEGIN")
        .query("INSERT INTO item VALUES (9, 'last', 1)")
        .query("COMMIT")
        .query("SELECT count(*) FROM item");
    same(SETUP, Script::new().send(frames).ready(7));
}

#[test]
fn stray_copy_messages_are_dropped() {
    let script = Script::new()
        .ask(
            Frames::new()
                .copy_data(b"stray")
                .copy_done()
                .query("SELECT 1"),
        )
        .ask(Frames::new().copy_fail("stray").sync());
    same(SETUP, script);
}

#[test]
fn unknown_message_types_end_the_session() {
    let after = |before: Frames| {
        Script::new()
            .send(before.raw(b'?', b"what").query("SELECT 1"))
            .end()
    };
    same(SETUP, after(Frames::new()));
    same(SETUP, after(Frames::new().query("SELECT 1")));
    same(SETUP, after(Frames::new().parse("", "SELECT 1")));
}

#[test]
fn terminate_ends_the_session_in_any_state() {
    let end = |frames: Frames| Script::new().send(frames.terminate()).end();
    same(SETUP, end(Frames::new()));
    same(SETUP, end(Frames::new().query("SELECT 1")));
    same(SETUP, end(Frames::new().parse("", "SELECT 1")));
    same(SETUP, end(Frames::new().query("BEGIN").query("SELECT 1")));
}
