//! Transactions, and BEGIN that pgditto keeps back until it is needed.

use super::SETUP;
use crate::fixture::{Frames, Script, same};

fn queries(texts: &[&str]) {
    same(SETUP, Script::new().queries(texts));
}

#[test]
fn begin_and_end_with_nothing_between() {
    queries(&[
        "BEGIN",
        "COMMIT",
        "BEGIN",
        "ROLLBACK",
        "begin;",
        "end",
        "START TRANSACTION",
        "ABORT",
        "BEGIN ISOLATION LEVEL REPEATABLE READ",
        "COMMIT",
        "BEGIN WORK",
        "COMMIT WORK",
        "BEGIN; COMMIT",
        "BEGIN;",
        "COMMIT;",
        "BEGIN ISOLATION LEVEL NONSENSE",
        "BEGIN nonsense",
        "SELECT 1",
    ]);
}

#[test]
fn warnings_of_transactions_that_are_or_are_not() {
    queries(&[
        "COMMIT",
        "ROLLBACK",
        "BEGIN",
        "BEGIN",
        "COMMIT",
        "BEGIN",
        "SELECT 1",
        "BEGIN",
        "COMMIT",
        "SAVEPOINT a",
        "RELEASE a",
        "ROLLBACK TO a",
        "SET LOCAL TimeZone = 'UTC'",
        "COMMIT AND CHAIN",
        "SET TRANSACTION READ ONLY",
        "LOCK item",
    ]);
}

#[test]
fn failed_transactions() {
    queries(&[
        "BEGIN",
        "SELECT 1/0",
        "SELECT 1",
        "",
        "SHOW TimeZone",
        "BEGIN",
        "COMMIT",
        "BEGIN",
        "SELEC",
        "SELECT 1",
        "ROLLBACK",
        "BEGIN",
        "INSERT INTO item VALUES (9)",
        "SELECT absent",
        "COMMIT",
        "SELECT count(*) FROM item",
        "BEGIN",
        "SELECT absent",
        "END",
    ]);
}

#[test]
fn savepoints() {
    queries(&[
        "BEGIN",
        "SAVEPOINT a",
        "INSERT INTO item VALUES (4)",
        "SAVEPOINT b",
        "SELECT 1/0",
        "SELECT 1",
        "ROLLBACK TO b",
        "SELECT count(*) FROM item",
        "ROLLBACK TO SAVEPOINT a",
        "SELECT count(*) FROM item",
        "RELEASE a",
        "ROLLBACK TO a",
        "ROLLBACK TO b",
        "ROLLBACK",
        "BEGIN",
        "SAVEPOINT a",
        "SET TimeZone = 'Asia/Tokyo'",
        "ROLLBACK TO a",
        "SHOW TimeZone",
        "COMMIT",
    ]);
}

#[test]
fn chained_transactions() {
    queries(&[
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
        "INSERT INTO item VALUES (4)",
        "COMMIT AND CHAIN",
        "SHOW transaction_isolation",
        "ROLLBACK AND CHAIN",
        "SHOW transaction_isolation",
        "COMMIT",
        "BEGIN",
        "COMMIT AND CHAIN",
        "SELECT 1",
        "ROLLBACK",
        "BEGIN",
        "SELECT 1/0",
        "COMMIT AND CHAIN",
        "SELECT count(*) FROM item",
        "ROLLBACK",
        "BEGIN",
        "ROLLBACK AND NO CHAIN",
    ]);
}

#[test]
fn characteristics_of_transactions() {
    queries(&[
        "BEGIN",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SHOW transaction_isolation",
        "COMMIT",
        "BEGIN",
        "SELECT count(*) FROM item",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "ROLLBACK",
        "BEGIN READ ONLY",
        "DELETE FROM item",
        "ROLLBACK",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "DELETE FROM item",
        "BEGIN",
        "SHOW transaction_read_only",
        "COMMIT",
        "SET default_transaction_read_only = off",
        "SET default_transaction_isolation = 'serializable'",
        "BEGIN",
        "SHOW transaction_isolation",
        "COMMIT",
        "SHOW transaction_isolation",
    ]);
}

#[test]
fn begin_and_a_statement_that_fails_before_or_after_parsing() {
    let one = |sql: &str| Frames::new().prepared(sql, &[]).sync();
    let script = Script::new()
        .queries(&["BEGIN"])
        .ask(Frames::new().bind("", "absent", &[]).sync())
        .ask(one("SELECT 1"))
        .queries(&["ROLLBACK", "BEGIN"])
        .ask(Frames::new().parse("p", "SELECT 1").sync())
        .queries(&["COMMIT"])
        .ask(Frames::new().bind("", "p", &[]).execute("", 0).sync())
        .ask(
            Frames::new()
                .parse("begin", "BEGIN")
                .parse("commit", "COMMIT")
                .parse("rollback", "ROLLBACK")
                .sync(),
        )
        .ask(Frames::new().bind("", "begin", &[]).execute("", 0).sync())
        .ask(Frames::new().bind("", "p", &[]).execute("", 0).sync())
        .ask(Frames::new().bind("", "commit", &[]).execute("", 0).sync())
        .ask(Frames::new().bind("", "commit", &[]).execute("", 0).sync())
        .ask(Frames::new().bind("", "begin", &[]).execute("", 0).sync())
        .ask(Frames::new().bind("", "begin", &[]).execute("", 0).sync())
        .ask(one("SELECT 1/0"))
        .ask(Frames::new().bind("", "p", &[]).execute("", 0).sync())
        .ask(
            Frames::new()
                .bind("", "rollback", &[])
                .execute("", 0)
                .sync(),
        )
        .ask(Frames::new().bind("", "begin", &[]).execute("", 1).sync())
        .ask(Frames::new().bind("x", "begin", &[]).sync())
        .ask(
            Frames::new()
                .bind("", "rollback", &[])
                .describe_portal("")
                .execute("", 0)
                .sync(),
        );
    same(SETUP, script);
}

#[test]
fn two_phase_commit_is_as_the_server_says() {
    queries(&[
        "BEGIN",
        "INSERT INTO item VALUES (4)",
        "PREPARE TRANSACTION 'x'",
        "COMMIT PREPARED 'x'",
        "ROLLBACK PREPARED 'absent'",
        "SELECT count(*) FROM item",
    ]);
}

#[test]
fn cursors() {
    queries(&[
        "DECLARE c CURSOR FOR SELECT 1",
        "BEGIN",
        "DECLARE c CURSOR FOR SELECT id FROM item ORDER BY id",
        "FETCH 2 FROM c",
        "MOVE c",
        "FETCH c",
        "CLOSE c",
        "FETCH c",
        "ROLLBACK",
        "BEGIN",
        "DECLARE h CURSOR WITH HOLD FOR SELECT id FROM item ORDER BY id",
        "COMMIT",
        "FETCH 1 FROM h",
        "SELECT 'between'",
        "FETCH ALL FROM h",
        "CLOSE h",
        "FETCH h",
        "CLOSE ALL",
    ]);
}

/// A descriptor of a large object is good for its transaction, on the connection that opened it.
#[test]
fn large_objects() {
    queries(&[
        "SELECT lo_create(4711)",
        "BEGIN",
        "SELECT lo_open(4711, 393216)",
        "SELECT lowrite(0, 'some bytes'::bytea)",
        "SELECT lo_lseek(0, 5, 0)",
        "SELECT loread(0, 100)",
        "SELECT lo_tell(0)",
        "SELECT lo_truncate(0, 4)",
        "COMMIT",
        "SELECT loread(0, 1)",
        "SELECT lo_get(4711)",
        "SELECT lo_get(4711)",
        "SELECT lo_put(4711, 2, 'lid'::bytea)",
        "SELECT lo_get(4711)",
        "BEGIN",
        "SELECT lo_from_bytea(4712, 'gone'::bytea)",
        "ROLLBACK",
        "SELECT lo_get(4712)",
        "SELECT lo_unlink(4711)",
        "SELECT lo_get(4711)",
    ]);
}

/// The functions of libpq's large objects are called by FunctionCall.
#[test]
fn large_objects_by_function_call() {
    let (create, open, write, read, seek) = (715, 952, 955, 954, 956);
    let call = |function, arguments: &[&str]| Frames::new().function_call(function, arguments);
    same(
        SETUP,
        Script::new()
            .ask(call(create, &["4711"]))
            .ask(Frames::new().query("BEGIN"))
            .ask(call(open, &["4711", "393216"]))
            .ask(call(write, &["0", "some bytes"]))
            .ask(call(seek, &["0", "5", "0"]))
            .ask(call(read, &["0", "100"]))
            .ask(Frames::new().query("COMMIT"))
            .ask(call(read, &["0", "100"]))
            .ask(Frames::new().query("SELECT lo_get(4711)")),
    );
}

#[test]
fn a_session_that_terminates_itself() {
    same(
        SETUP,
        Script::new()
            .queries(&["SELECT count(*) FROM item", "SET app.x = 'y'"])
            .send(Frames::new().query("SELECT pg_terminate_backend(pg_backend_pid())"))
            .end(),
    );
    same(
        SETUP,
        Script::new()
            .queries(&["BEGIN", "INSERT INTO item VALUES (5)"])
            .send(Frames::new().query("SELECT pg_terminate_backend(pg_backend_pid())"))
            .end(),
    );
}
