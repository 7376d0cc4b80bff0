//! Defaults that change under a running pgditto, and state that nobody announced.

use super::wire::{Batch, Wire};
use super::{House, Served, server};
use crate::fixture::eventually;

const SCHEMA: &str = "CREATE TABLE k (id int, at timestamptz, b bytea); INSERT INTO k VALUES (1, '2024-02-03 04:05:06Z', '\\x0aff');";
const READ: &str = "SELECT at, b FROM k";

#[test]
fn defaults_of_a_role_hold_for_sessions_that_begin_later() {
    let postgres = server();
    let house = House::on(&postgres, SCHEMA, |_| {});
    let mut before = house.pair();
    before.becomes_hit(READ);
    for ddl in [
        "ALTER ROLE app SET TimeZone = 'Asia/Tokyo'".to_owned(),
        format!(
            "ALTER DATABASE {} SET bytea_output = 'escape'",
            house.database
        ),
        format!(
            "ALTER ROLE app IN DATABASE {} SET search_path = elsewhere, public",
            house.database
        ),
    ] {
        before.write(&ddl);
        let mut after = house.pair();
        let look = |client: &mut Wire| {
            (
                client.query(READ).text(),
                client.query("SHOW search_path").text(),
            )
        };
        let truth = look(&mut after.direct);
        assert_eq!(look(&mut after.via), truth, "{ddl}: who begins now");
        // Their connection to the server was replaced.
        assert_eq!(look(&mut before.via), truth, "{ddl}: who was there before");
        house.before.take();
        after.becomes_hit(READ);
        after.hit(READ);
    }
    before.write("CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.k AS SELECT 2 AS id, now() AS at, '\\x00'::bytea AS b");
    let mut after = house.pair();
    after.becomes_hit(READ);
    after.invalidates(READ, "UPDATE k SET b = '\\x01'");
    let via = before.via.query(READ).text();
    assert_eq!(via, after.direct.query(READ).text());
}

/// Of a row policy, too: nobody who begins when the client has been told is shown what it let through before.
#[test]
fn whoever_logs_in_after_defaults_have_changed_has_the_new_ones() {
    const TENANT: &str =
        "SELECT current_setting('app.tenant', true), count(*), min(tenant) FROM mail";
    let postgres = server();
    postgres.psql("CREATE ROLE reader LOGIN");
    let house = House::on(
        &postgres,
        "CREATE TABLE mail (tenant text); INSERT INTO mail VALUES ('red'), ('blue'), ('blue');
         ALTER TABLE mail ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON mail USING (tenant = current_setting('app.tenant', true));
         GRANT SELECT ON mail TO PUBLIC",
        |_| {},
    );
    let database = &house.database;
    let mut operator = house.via_as("postgres", &[]);
    for statements in [
        &["ALTER ROLE reader SET app.tenant = 'red'".to_owned()][..],
        &[
            "BEGIN".to_owned(),
            format!("ALTER ROLE reader IN DATABASE {database} SET app.tenant = 'blue'"),
            "COMMIT".to_owned(),
        ],
        &[format!(
            "SELECT 1; ALTER ROLE reader IN DATABASE {database} RESET app.tenant"
        )],
        &["ALTER USER reader RESET ALL".to_owned()],
        &[format!("ALTER DATABASE {database} SET app.tenant TO blue")],
        &[format!(
            "ALTER DATABASE {database} RESET ALL; ALTER ROLE ALL SET app.tenant = 'red'"
        )],
        &[format!(
            "ALTER ROLE ALL IN DATABASE {database} SET app.tenant = 'blue'"
        )],
        &[
            format!("ALTER ROLE ALL IN DATABASE {database} RESET app.tenant"),
            "ALTER ROLE ALL RESET ALL".to_owned(),
        ],
    ] {
        let mut before = house.pair_as("reader", &[]);
        before.look(TENANT);
        before.both("BEGIN");
        before.both("SELECT txid_current()");
        for sql in statements {
            let reply = operator.query(sql);
            assert_eq!(reply.error(), None, "{sql}: {reply:?}");
        }
        let mut after = house.pair_as("reader", &[]);
        for _ in 0..3 {
            let ours = after.via.query(TENANT);
            let theirs = after.direct.query(TENANT);
            assert_eq!(ours.essence(), theirs.essence(), "{statements:?}");
        }
        // A transaction ends as it began, whatever comes after it.
        house.before.take();
        before.look(TENANT);
        before.both("COMMIT");
        assert_eq!(
            before.via.query(TENANT).text(),
            after.direct.query(TENANT).text()
        );
        house.before.take();
    }
}

#[test]
fn settings_of_the_server_that_are_read_again_count_for_everybody() {
    let postgres = server();
    let house = House::on(&postgres, SCHEMA, |_| {});
    let mut pair = house.pair();
    pair.becomes_hit(READ);
    for (name, value) in [("TimeZone", "Asia/Tokyo"), ("bytea_output", "escape")] {
        let old = pair.direct.query(READ).text();
        postgres.psql(&format!("ALTER SYSTEM SET {name} = '{value}'"));
        postgres.psql("SELECT pg_reload_conf()");
        eventually("the server has read them", || {
            pair.direct.query(READ).text() != old
        });
        let new = pair.direct.query(READ).text();
        eventually("so have we", || pair.via.query(READ).text() == new);
        house.before.take();
        pair.becomes_hit(READ);
        let mut later = house.pair();
        later.look(READ);
    }
}

#[test]
fn a_custom_setting_made_by_a_function_stays_with_its_session() {
    let house = House::with(
        &format!(
            "{SCHEMA} CREATE FUNCTION enter(who text) RETURNS void LANGUAGE plpgsql AS
                 $$BEGIN PERFORM set_config('app.who', who, false); END$$;
             CREATE FUNCTION other() RETURNS void LANGUAGE plpgsql AS $$BEGIN SET app.mood = 'fine'; END$$;"
        ),
        |opts| {
            opts.set("pool.default_pool_size", 2);
        },
    );
    let mut a = house.via();
    let mut b = house.via();
    let who = "SELECT coalesce(current_setting('app.who', true), '')";
    let set = |client: &mut Wire, sql: &str| assert_eq!(client.query(sql).error(), None, "{sql}");
    set(&mut a, "SELECT enter('a')");
    assert_eq!(b.query(who).text(), "", "another session's");
    assert_eq!(a.query(who).text(), "a");
    set(&mut b, "SELECT enter('b')");
    for _ in 0..3 {
        assert_eq!(a.query(who).text(), "a");
        assert_eq!(b.query(who).text(), "b");
    }
    set(
        &mut a,
        "DO $$BEGIN PERFORM set_config('app.block', 'a', false); END$$",
    );
    let block = "SELECT coalesce(current_setting('app.block', true), '')";
    assert_eq!(b.query(block).text(), "", "another session's");
    assert_eq!(a.query(block).text(), "a");
    set(&mut b, "SELECT other()");
    let mood = "SELECT coalesce(current_setting('app.mood', true), '')";
    assert_eq!(a.query(mood).text(), "", "another session's");
    assert_eq!(b.query(mood).text(), "fine");
}

#[test]
fn a_statement_prepared_before_its_table_changed_is_not_answered_in_another_shape() {
    let house = House::with(SCHEMA, |opts| {
        opts.set("pool.default_pool_size", 1);
    });
    let sql = "SELECT * FROM k";
    let mut prepare = Batch::default();
    prepare.parse("s", sql, &[]).describe(b'S', "s").sync();
    let mut run = Batch::default();
    run.bind("", "s", &[], &[], &[]).execute("", 0).sync();
    let mut old = house.pair();
    old.look_batch(&prepare);
    old.look_batch(&run);
    assert_eq!(old.look_batch(&run), Served::Hit);
    old.write("ALTER TABLE k ADD COLUMN more int DEFAULT 5");
    house.serves();
    // Somebody who prepares it now sees the table as it is.
    let mut new = house.pair();
    new.look_batch(&prepare);
    new.look_batch(&run);
    eventually("a hit", || new.look_batch(&run) == Served::Hit);
    // Somebody who was told of other columns is not answered in these.
    let ours = old.via.batch(&run);
    let theirs = old.direct.batch(&run);
    assert_eq!(theirs.error().as_deref(), Some("0A000"));
    assert_eq!(ours.error(), theirs.error(), "{ours:?}");
}

#[test]
fn a_refreshed_configuration_keeps_roles_apart() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    pair.becomes_hit(READ);
    house.pgditto.signal(crate::fixture::Signal::HUP);
    house.before.take();
    pair.hit(READ);
}
