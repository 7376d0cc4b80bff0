//! The extended query protocol: statements and portals over several units.

use super::SETUP;
use crate::fixture::{Frames, Pgditto, Postgres, Script, Wire, same};

fn frames() -> Frames {
    Frames::new()
}

fn begin() -> Script {
    Script::new().queries(&["BEGIN"])
}

#[test]
fn unnamed_statement_in_one_unit() {
    let script = Script::new()
        .ask(
            frames()
                .prepared("SELECT * FROM item ORDER BY id", &[])
                .sync(),
        )
        .ask(
            frames()
                .prepared("SELECT name FROM item WHERE id = $1", &["2"])
                .sync(),
        )
        .ask(
            frames()
                .prepared("INSERT INTO item VALUES ($1, $2, $3)", &["4", "pen", "1"])
                .sync(),
        )
        .ask(
            frames()
                .prepared("UPDATE item SET price = price + 1 RETURNING id", &[])
                .sync(),
        )
        .ask(frames().prepared("", &[]).sync())
        .ask(frames().prepared("SELECT 1/0", &[]).sync())
        .ask(frames().prepared("SELECT $1::int", &["x"]).sync())
        .ask(frames().prepared("SELEC", &[]).sync())
        .ask(frames().prepared("SELECT 1; SELECT 2", &[]).sync())
        .ask(frames().sync());
    same(SETUP, script);
}

#[test]
fn named_statement_over_several_units() {
    let script = Script::new()
        .ask(
            frames()
                .parse("s1", "SELECT name FROM item WHERE id = $1")
                .describe_statement("s1")
                .sync(),
        )
        .ask(frames().bind("", "s1", &["1"]).execute("", 0).sync())
        .ask(
            frames()
                .bind("", "s1", &["2"])
                .describe_portal("")
                .execute("", 0)
                .sync(),
        )
        .ask(frames().parse("s2", "SELECT count(*) FROM item").sync())
        .ask(
            frames()
                .bind("p", "s2", &[])
                .execute("p", 0)
                .bind("", "s1", &["3"])
                .execute("", 0)
                .sync(),
        )
        .ask(frames().describe_statement("s2").sync())
        .ask(frames().close_statement("s1").sync())
        .ask(frames().bind("", "s1", &["1"]).execute("", 0).sync())
        .ask(frames().bind("", "s2", &[]).execute("", 0).sync());
    same(SETUP, script);
}

#[test]
fn parameter_types_are_the_clients() {
    let script = Script::new()
        .ask(
            frames()
                .parse_typed("a", "SELECT $1", &[23])
                .describe_statement("a")
                .sync(),
        )
        .ask(
            frames()
                .parse_typed("b", "SELECT $1", &[25])
                .describe_statement("b")
                .sync(),
        )
        .ask(
            frames()
                .bind("", "a", &["7"])
                .describe_portal("")
                .execute("", 0)
                .sync(),
        )
        .ask(
            frames()
                .bind("", "b", &["7"])
                .describe_portal("")
                .execute("", 0)
                .sync(),
        )
        .ask(
            frames()
                .parse_typed("c", "SELECT $1 + $2", &[0, 23])
                .describe_statement("c")
                .sync(),
        )
        .ask(
            frames()
                .parse_typed("d", "BEGIN", &[23])
                .describe_statement("d")
                .sync(),
        )
        .ask(frames().bind("", "d", &[]).execute("", 0).sync());
    same(SETUP, script);
}

#[test]
fn formats_may_be_mixed() {
    let four = 4i32.to_be_bytes();
    let bind = |formats: &[i16]| {
        frames()
            .parse(
                "",
                "SELECT $1::int, name, price, $2::text FROM item ORDER BY id",
            )
            .bind_as("", "", &[1, 0], &[Some(&four[..]), Some(b"t")], formats)
            .describe_portal("")
            .execute("", 0)
            .sync()
    };
    let script = Script::new()
        .ask(bind(&[]))
        .ask(bind(&[0]))
        .ask(bind(&[1]))
        .ask(bind(&[1, 0, 0, 1]))
        .ask(bind(&[1, 0]))
        .ask(bind(&[2]))
        .ask(
            frames()
                .parse("", "SELECT $1::int")
                .bind_as("", "", &[1], &[Some(b"xy")], &[])
                .execute("", 0)
                .sync(),
        )
        .ask(
            frames()
                .parse("", "SELECT $1::int")
                .bind_as("", "", &[1, 1], &[Some(&four[..])], &[])
                .execute("", 0)
                .sync(),
        )
        .ask(
            frames()
                .parse("", "SELECT $1::int")
                .bind_as("", "", &[], &[None], &[])
                .execute("", 0)
                .sync(),
        );
    same(SETUP, script);
}

#[test]
fn wrong_number_of_parameters() {
    let script = Script::new()
        .ask(frames().parse("one", "SELECT $1::int").sync())
        .ask(frames().bind("", "one", &[]).execute("", 0).sync())
        .ask(frames().bind("", "one", &["1", "2"]).execute("", 0).sync())
        .ask(frames().bind("", "one", &["1"]).execute("", 0).sync())
        .ask(
            frames()
                .parse("", "SELECT $1::int")
                .bind("", "", &[])
                .sync(),
        )
        .ask(
            frames()
                .parse("b", "BEGIN")
                .bind("", "b", &["1"])
                .execute("", 0)
                .sync(),
        );
    same(SETUP, script);
}

#[test]
fn describing_alone() {
    let script = Script::new()
        .ask(
            frames()
                .parse("s", "SELECT id, name, price FROM item WHERE id = $1")
                .sync(),
        )
        .ask(frames().describe_statement("s").sync())
        .ask(
            frames()
                .describe_statement("s")
                .describe_statement("s")
                .sync(),
        )
        .ask(
            frames()
                .parse("", "UPDATE item SET name = $1")
                .describe_statement("")
                .sync(),
        )
        .ask(frames().describe_statement("").sync())
        .ask(frames().bind("p", "s", &["1"]).describe_portal("p").sync())
        .ask(frames().describe_portal("p").sync())
        .ask(frames().parse("e", "").describe_statement("e").sync())
        .ask(frames().parse("b", "BEGIN").describe_statement("b").sync())
        .ask(
            frames()
                .bind("", "b", &[])
                .describe_portal("")
                .execute("", 0)
                .sync(),
        )
        .ask(frames().describe_statement("s").sync())
        .ask(
            frames()
                .parse("", "ROLLBACK")
                .bind("", "", &[])
                .describe_portal("")
                .execute("", 0)
                .sync(),
        );
    same(SETUP, script);
}

#[test]
fn row_limits_suspend_the_portal() {
    let series = "SELECT i FROM generate_series(1, 7) i";
    let script = begin()
        .ask(
            frames()
                .parse("s", series)
                .bind("p", "s", &[])
                .describe_portal("p")
                .execute("p", 3)
                .sync(),
        )
        .ask(frames().execute("p", 3).sync())
        .queries(&["SELECT 'between'"])
        .ask(frames().execute("p", 3).sync())
        .ask(frames().execute("p", 3).sync())
        .ask(frames().close_portal("p").execute("p", 1).sync())
        .queries(&["ROLLBACK"])
        .ask(
            frames()
                .parse("", series)
                .bind("", "", &[])
                .execute("", 2)
                .execute("", 2)
                .execute("", 0)
                .sync(),
        )
        .ask(frames().execute("", 2).sync())
        .ask(
            frames()
                .parse(
                    "",
                    "INSERT INTO item SELECT i FROM generate_series(10, 13) i RETURNING id",
                )
                .bind("", "", &[])
                .execute("", 2)
                .execute("", 0)
                .sync(),
        );
    same(SETUP, script);
}

#[test]
fn portals_stay_open_over_sync_in_a_transaction() {
    let script = begin()
        .ask(
            frames()
                .parse("", "SELECT name FROM item ORDER BY id")
                .bind("a", "", &[])
                .sync(),
        )
        .ask(
            frames()
                .parse("", "SELECT id FROM item ORDER BY id")
                .bind("b", "", &[])
                .sync(),
        )
        .ask(
            frames()
                .execute("a", 1)
                .execute("b", 1)
                .execute("a", 1)
                .sync(),
        )
        .ask(frames().bind("a", "", &[]).sync())
        .queries(&[
            "ROLLBACK",
            "BEGIN",
            "DECLARE c CURSOR FOR SELECT id FROM item ORDER BY id",
        ])
        .ask(frames().describe_portal("c").execute("c", 2).sync())
        .queries(&["FETCH ALL FROM c", "COMMIT"])
        .ask(frames().execute("c", 2).sync());
    same(SETUP, script);
}

#[test]
fn portals_end_with_their_transaction() {
    let script = Script::new()
        .ask(frames().parse("s", "SELECT 1").bind("p", "s", &[]).sync())
        .ask(frames().execute("p", 0).sync())
        .ask(frames().bind("", "s", &[]).sync())
        .ask(frames().execute("", 0).sync());
    same(SETUP, script);
}

#[test]
fn commands_of_all_kinds() {
    let one = |sql: &str| frames().prepared(sql, &[]).sync();
    let script = [
        "CREATE TABLE made (x int)",
        "INSERT INTO made SELECT 1",
        "SHOW search_path",
        "EXPLAIN (COSTS off) SELECT 1",
        "SET search_path = public",
        "VALUES (1)",
        "DO $$ BEGIN RAISE NOTICE 'done'; END $$",
        "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO made VALUES (2); COMMIT; END $$",
        "CALL p()",
        "TABLE made",
        "VACUUM made",
        "LISTEN l",
        "NOTIFY l",
        "UNLISTEN *",
        "DISCARD ALL",
        "DROP TABLE made",
    ]
    .into_iter()
    .fold(Script::new(), |script, sql| script.ask(one(sql)));
    same(SETUP, script);
}

#[test]
fn transactions_in_the_extended_protocol() {
    let one = |sql: &str| frames().prepared(sql, &[]).sync();
    let script = [
        "BEGIN",
        "INSERT INTO item VALUES (4, 'pen', 1)",
        "COMMIT",
        "BEGIN",
        "COMMIT",
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
        "SHOW transaction_isolation",
        "SELECT 1/0",
        "SELECT 1",
        "COMMIT",
        "BEGIN",
        "SELEC",
        "ROLLBACK",
        "START TRANSACTION READ ONLY",
        "DELETE FROM item",
        "ROLLBACK",
        "SELECT count(*) FROM item",
    ]
    .into_iter()
    .fold(Script::new(), |script, sql| script.ask(one(sql)));
    same(SETUP, script);
}

#[test]
fn a_flush_with_a_body_is_an_error() {
    let script = Script::new()
        .send(frames().raw(b'H', b"x"))
        .until(b'E')
        .send(frames().query("SELECT 'skipped'"))
        .ask(frames().sync())
        .ask(frames().parse("s", "SELECT 1").sync())
        .send(frames().parse("", "SELECT 1").raw(b'H', b"x"))
        .until(b'E')
        .ask(frames().sync())
        .queries(&["SELECT 1"]);
    same(SETUP, script);
}

/// Drivers go by it, and psql shows it (`\errverbose`).
#[test]
fn errors_name_the_routine_that_postgres_names() {
    let postgres = Postgres::start(&[]);
    let pgditto = Pgditto::start(&postgres, |_| {});
    let asked = [
        frames().bind("", "absent", &[]).sync(),
        frames().bind("", "", &[]).sync(),
        frames().describe_statement("absent").sync(),
        frames().describe_statement("").sync(),
        frames().describe_portal("").sync(),
        frames().execute("", 0).sync(),
        frames().query("SELECT 1").execute("", 0).sync(),
        frames().query("BEGIN; SELECT 1/0").query("SELECT 1"),
        frames()
            .query("BEGIN; SELECT 1/0")
            .prepared("SELECT 1", &[])
            .sync(),
        frames().raw(b'?', b""),
    ];
    let routines = |port: u16| -> Vec<String> {
        let mut refused = Wire::try_login(port, 0, &[("user", "app")], "wrong").err();
        let mut named = vec![refused.take().expect("a refusal").field(b'R')];
        for frames in &asked {
            let mut wire = Wire::connect(port);
            wire.send(frames.bytes());
            wire.hang_up();
            let errors = wire.read_until(&[]);
            let errors = errors.iter().filter(|message| message.tag == b'E');
            named.extend(errors.map(|error| error.field(b'R')));
        }
        named
    };
    let direct = routines(postgres.port);
    assert_eq!(direct.len(), asked.len() + 3, "{direct:?}");
    assert_eq!(routines(pgditto.port), direct);
}
