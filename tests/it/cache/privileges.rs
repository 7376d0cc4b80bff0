//! Nobody is shown a row that the same statement would not show them.

use super::wire::Wire;
use super::{Batch, House, Pair, Served, server};
use crate::fixture::{Postgres, eventually};

const SCHEMA: &str = "
    CREATE TABLE open (x int); INSERT INTO open VALUES (1);
    CREATE TABLE secret (x int); INSERT INTO secret VALUES (42);
    CREATE TABLE parts (a int, b int); INSERT INTO parts VALUES (1, 2);
    CREATE VIEW window_ AS SELECT x FROM secret;
";

/// A server of its own, because roles belong to all of its databases, and a pgditto that lets them in.
fn with_roles() -> Postgres {
    let postgres = server();
    postgres.psql(
        "CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE staff; GRANT staff TO app; GRANT ann TO app",
    );
    postgres
}

fn house<'a>(postgres: &'a Postgres, schema: &str) -> House<'a> {
    House::on(postgres, schema, |opts| {
        let dir = std::env::temp_dir().join(format!("pgditto-it-users-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary folder");
        let file = dir.join("users.toml");
        std::fs::write(
            &file,
            "[[users]]\nname = \"ann\"\n[[users]]\nname = \"bob\"\n",
        )
        .expect("space");
        opts.args(&["--config", file.to_str().expect("a plain name")]);
    })
}

fn denied(client: &mut Wire, sql: &str) {
    assert_eq!(client.query(sql).error().as_deref(), Some("42501"), "{sql}");
}

#[test]
fn a_user_without_the_right_to_read_is_refused_whatever_is_kept() {
    let postgres = with_roles();
    let house = house(&postgres, SCHEMA);
    house.outside("GRANT SELECT ON open TO ann, bob; GRANT SELECT (a) ON parts TO ann");
    let mut app = house.pair();
    for sql in [
        "SELECT x FROM secret",
        "SELECT x FROM open",
        "SELECT * FROM parts",
        "SELECT x FROM window_",
    ] {
        app.becomes_hit(sql);
    }
    let mut ann = house.pair_as("ann", &[]);
    for _ in 0..2 {
        denied(&mut ann.via, "SELECT x FROM secret");
        denied(&mut ann.via, "SELECT x FROM window_");
        denied(&mut ann.via, "SELECT * FROM parts");
    }
    house.before.take();
    ann.becomes_hit("SELECT x FROM open");
    ann.becomes_hit("SELECT a FROM parts");
    // A view is read with its owner's rights.
    app.write("GRANT SELECT ON window_ TO ann");
    ann.becomes_hit("SELECT x FROM window_");
    denied(&mut ann.via, "SELECT x FROM secret");
}

#[test]
fn what_was_granted_can_be_taken_back() {
    let postgres = with_roles();
    let house = house(&postgres, SCHEMA);
    let mut app = house.pair();
    app.write(
        "CREATE FUNCTION by_function() RETURNS void LANGUAGE plpgsql AS 'BEGIN REVOKE SELECT ON secret FROM ann; END';
         CREATE FUNCTION by_sql() RETURNS void LANGUAGE sql AS 'REVOKE SELECT ON secret FROM ann';
         CREATE FUNCTION by_other() RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN PERFORM by_text(); RETURN 1; END';
         CREATE FUNCTION by_text() RETURNS void LANGUAGE plpgsql AS
             $$BEGIN EXECUTE format('REVOKE SELECT ON %I FROM ann', 'secret'); END$$;
         CREATE PROCEDURE by_call() LANGUAGE plpgsql AS 'BEGIN REVOKE SELECT ON secret FROM ann; END';
         CREATE PROCEDURE by_commit() LANGUAGE plpgsql AS
             'BEGIN REVOKE SELECT ON secret FROM ann; COMMIT; INSERT INTO tripped VALUES (0); ROLLBACK; END';
         CREATE TABLE tripped (x int);
         CREATE FUNCTION trip() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN REVOKE SELECT ON secret FROM ann; RETURN NULL; END';
         CREATE TRIGGER trip AFTER INSERT ON tripped FOR EACH ROW WHEN (NEW.x > 0) EXECUTE FUNCTION trip();
         CREATE CONSTRAINT TRIGGER deferred AFTER DELETE ON tripped DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION trip();",
    );
    // No lock says which table it was.
    let granted = app.direct.query(
        "BEGIN; GRANT SELECT ON secret TO ann; \
         SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation IN ('secret'::regclass, 'pg_class'::regclass) \
             AND mode LIKE '%Exclusive%'; ROLLBACK",
    );
    assert_eq!(granted.text(), "0", "{granted:?}");
    app.write("GRANT SELECT ON secret TO ann");
    let mut ann = house.pair_as("ann", &[]);
    ann.becomes_hit("SELECT x FROM secret");
    for (revoke, grant) in [
        (
            "REVOKE SELECT ON secret FROM ann",
            "GRANT SELECT ON secret TO ann",
        ),
        (
            "REVOKE USAGE ON SCHEMA public FROM PUBLIC, ann",
            "GRANT USAGE ON SCHEMA public TO PUBLIC",
        ),
        (
            "DO $$BEGIN REVOKE SELECT ON secret FROM ann; END$$",
            "GRANT SELECT ON secret TO ann",
        ),
        ("SELECT by_function()", "GRANT SELECT ON secret TO ann"),
        ("SELECT by_sql()", "GRANT SELECT ON secret TO ann"),
        (
            "SELECT x FROM open WHERE by_other() = 1",
            "GRANT SELECT ON secret TO ann",
        ),
        ("CALL by_call()", "GRANT SELECT ON secret TO ann"),
        ("CALL by_commit()", "GRANT SELECT ON secret TO ann"),
        (
            "INSERT INTO tripped VALUES (1)",
            "GRANT SELECT ON secret TO ann",
        ),
        (
            "BEGIN; DELETE FROM tripped; COMMIT",
            "GRANT SELECT ON secret TO ann",
        ),
        (
            "BEGIN; REVOKE ALL ON ALL TABLES IN SCHEMA public FROM ann; COMMIT",
            "GRANT SELECT ON secret TO ann",
        ),
        (
            "REVOKE SELECT ON secret FROM ann; GRANT SELECT ON secret TO staff",
            "GRANT SELECT ON secret TO PUBLIC",
        ),
    ] {
        if revoke.contains("SCHEMA public FROM PUBLIC") {
            house.superuser("ALTER SCHEMA public OWNER TO app");
        }
        let sql = "SELECT x FROM secret";
        assert_eq!(ann.look(sql), Served::Hit, "before {revoke}");
        app.write(revoke);
        let ours = ann.via.query(sql);
        let theirs = ann.direct.query(sql);
        assert!(theirs.error().is_some(), "{revoke}");
        assert_eq!(ours.error(), theirs.error(), "{revoke}");
        app.write(grant);
        house.before.take();
        ann.becomes_hit(sql);
    }
}

#[test]
fn taking_a_right_away_from_outside_is_seen_by_the_watch() {
    let postgres = with_roles();
    let house = house(&postgres, SCHEMA);
    house.superuser_seen("GRANT SELECT ON secret TO ann, staff");
    let mut ann = house.pair_as("ann", &[]);
    let sql = "SELECT x FROM secret";
    ann.becomes_hit(sql);
    for (revoke, grant) in [
        ("REVOKE SELECT ON secret FROM ann", "GRANT staff TO ann"),
        ("REVOKE staff FROM ann", "ALTER ROLE ann SUPERUSER"),
        (
            "ALTER ROLE ann NOSUPERUSER",
            "GRANT SELECT ON secret TO ann",
        ),
    ] {
        house.superuser_seen(revoke);
        assert_eq!(
            ann.via.query(sql).error(),
            ann.direct.query(sql).error(),
            "{revoke}"
        );
        house.serves();
        house.superuser_seen(grant);
        house.before.take();
        ann.becomes_hit(sql);
    }
}

#[test]
fn the_role_that_a_session_takes_on_decides() {
    let postgres = with_roles();
    let house = house(&postgres, SCHEMA);
    house.outside("GRANT SELECT ON open TO ann");
    let mut app = house.pair();
    app.becomes_hit("SELECT x FROM secret");
    app.both("SET ROLE ann");
    denied(&mut app.via, "SELECT x FROM secret");
    app.becomes_hit("SELECT x FROM open");
    denied(&mut app.via, "SELECT x FROM secret");
    app.both("RESET ROLE");
    app.hit("SELECT x FROM secret");
    app.both("BEGIN");
    app.both("SET LOCAL ROLE ann");
    denied(&mut app.via, "SELECT x FROM secret");
    app.direct.query("ROLLBACK");
    app.via.query("ROLLBACK");
    house.before.take();
    app.hit("SELECT x FROM secret");
    app.both("SELECT set_config('role', 'ann', false)");
    denied(&mut app.via, "SELECT x FROM secret");
    app.both("SET ROLE NONE");
    app.hit("SELECT x FROM secret");
}

/// To the server a session stays whom it logged in as, however that role is called since, and whoever has its name.
#[test]
fn whoever_gets_the_name_of_a_role_is_served_nothing_of_its_former_owner_s() {
    const READ: &str = "SELECT x FROM secret";
    let postgres = with_roles();
    let house = House::on(&postgres, SCHEMA, |_| {});
    let mut operator = house.via_as("postgres", &[]);
    let mut app = house.via();
    let ended = |client: &mut Wire| {
        let reply = client.try_query(READ);
        reply.is_none_or(|reply| reply.error().as_deref() == Some("57P01"))
    };
    for (change, is_seen_at_once) in [
        (
            &["ALTER ROLE ann RENAME TO former; CREATE ROLE ann LOGIN"][..],
            true,
        ),
        (
            &["DROP OWNED BY bob, ann; DROP ROLE IF EXISTS nobody_such, ann; CREATE USER ann"],
            true,
        ),
        (
            &[
                "BEGIN",
                "ALTER USER ann RENAME TO former",
                "CREATE ROLE ann LOGIN",
                "COMMIT AND CHAIN",
                "ROLLBACK",
            ],
            true,
        ),
        (
            &["DO $$BEGIN ALTER ROLE ann RENAME TO former; CREATE ROLE ann LOGIN; END$$"],
            false,
        ),
    ] {
        house.superuser("GRANT SELECT ON secret TO ann");
        let mut ann = house.via_as("ann", &[]);
        let mut actor = house.via_as("postgres", &[]);
        actor.query("SET ROLE ann");
        for client in [&mut ann, &mut actor] {
            eventually("a hit", || {
                let (reply, served) = house.look(client, READ);
                reply.text() == "42" && served == Served::Hit
            });
        }
        for sql in change {
            let reply = operator.query(sql);
            assert_eq!(reply.error(), None, "{sql}: {reply:?}");
        }
        if is_seen_at_once {
            denied(&mut house.via_as("ann", &[]), READ);
            assert!(ended(&mut ann) && ended(&mut actor), "{change:?}");
        }
        eventually("the name is seen to be another's", || {
            let denied = house.via_as("ann", &[]).query(READ).error().as_deref() == Some("42501");
            let ended = ended(&mut ann) && ended(&mut actor);
            denied && ended
        });
        for _ in 0..2 {
            denied(&mut house.via_as("ann", &[]), READ);
        }
        house.before.take();
        assert_eq!(app.query("SELECT current_user").text(), "app");
        house.superuser("DO $$BEGIN DROP OWNED BY former; DROP ROLE former; EXCEPTION WHEN undefined_object THEN END$$");
    }
}

#[test]
fn everybody_is_served_the_rows_that_the_policies_show_him() {
    let postgres = with_roles();
    let house = house(
        &postgres,
        "CREATE TABLE mail (id int PRIMARY KEY, owner text, body text);
         INSERT INTO mail VALUES (1, 'ann', 'a'), (2, 'bob', 'b'), (3, 'cat', 'c');
         ALTER TABLE mail ENABLE ROW LEVEL SECURITY;
         CREATE TABLE deputy (name text, of text);
         CREATE POLICY own ON mail USING (owner = current_user);
         CREATE POLICY deputy ON mail FOR SELECT
             USING (EXISTS (SELECT FROM deputy d WHERE d.name = current_user AND d.of = mail.owner));
         CREATE VIEW all_mail AS SELECT * FROM mail;
         GRANT SELECT, INSERT, UPDATE, DELETE ON mail, deputy TO PUBLIC; GRANT SELECT ON all_mail TO PUBLIC;",
    );
    let mut app = house.pair();
    let mut ann = house.pair_as("ann", &[]);
    let mut bob = house.pair_as("bob", &[]);
    let all = "SELECT body FROM mail ORDER BY body";
    let one = "SELECT body FROM mail WHERE id = 2";
    let counted = "SELECT count(*) FROM all_mail";
    let joined =
        "SELECT m.body, u.body FROM mail m LEFT JOIN mail u ON u.id = m.id + 1 ORDER BY m.id";
    for sql in [all, one, counted, joined] {
        for pair in [&mut ann, &mut bob, &mut app] {
            pair.becomes_hit(sql);
        }
    }
    assert_eq!(ann.via.query(all).text(), "a");
    assert_eq!(bob.via.query(all).text(), "b");
    // What the policies read counts like what the statement names.
    for sql in [all, one] {
        ann.invalidates(sql, "INSERT INTO deputy VALUES ('ann', 'bob')");
        ann.invalidates(sql, "DELETE FROM deputy");
    }
    // By key, as where there are no policies; the owner sees and writes everything.
    app.leaves_alone(one, "UPDATE mail SET body = 'd' WHERE id = 3");
    bob.invalidates_by(
        one,
        |_| drop(app.write("UPDATE mail SET body = 'e' WHERE id = 2")),
        "by the owner",
    );
    // Who asks decides, however he became it.
    house.superuser_seen("GRANT bob TO ann");
    ann.becomes_hit(all);
    ann.both("SET ROLE bob");
    ann.becomes_hit(all);
    assert_eq!(ann.via.query(all).text(), "e");
    ann.both("RESET ROLE");
    ann.hit(all);
    ann.both("SET row_security = off");
    assert_eq!(ann.via.query(all).error().as_deref(), Some("42501"));
    assert_eq!(ann.direct.query(all).error().as_deref(), Some("42501"));
}

#[test]
fn policies_change_what_is_served_from_their_commit_on() {
    let postgres = with_roles();
    let house = house(
        &postgres,
        "CREATE TABLE plain (owner text); INSERT INTO plain VALUES ('ann'), ('bob'); GRANT SELECT ON plain TO PUBLIC;",
    );
    let mut app = house.pair();
    let mut ann = house.pair_as("ann", &[]);
    let sql = "SELECT owner FROM plain ORDER BY owner";
    for ddl in [
        "ALTER TABLE plain ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY own ON plain USING (owner = current_user)",
        "ALTER POLICY own ON plain USING (owner <> current_user)",
        "ALTER POLICY own ON plain TO bob",
        "CREATE POLICY more ON plain FOR SELECT TO ann USING (owner IN ('ann', 'bob'))",
        "BEGIN; CREATE POLICY less ON plain AS RESTRICTIVE USING (owner = 'bob'); COMMIT",
        "DROP POLICY less ON plain",
        "DO $$BEGIN DROP POLICY more ON plain; END$$",
        "ALTER TABLE plain DISABLE ROW LEVEL SECURITY",
    ] {
        ann.invalidates_by(sql, |_| drop(app.write(ddl)), ddl);
    }
    for ddl in [
        "ALTER TABLE plain ENABLE ROW LEVEL SECURITY",
        "ALTER ROLE ann BYPASSRLS",
        "ALTER ROLE ann NOBYPASSRLS",
        "ALTER TABLE plain OWNER TO ann",
        "ALTER TABLE plain FORCE ROW LEVEL SECURITY",
    ] {
        ann.invalidates_by(sql, |pair| pair.house.superuser_seen(ddl), ddl);
    }
}

/// Everybody sees the rows of the tenant whom a setting names.
const BILLS: &str = "
    CREATE TABLE bill (id int PRIMARY KEY, tenant int, total int);
    INSERT INTO bill SELECT g, g % 2, g FROM generate_series(1, 6) g;
    ALTER TABLE bill ENABLE ROW LEVEL SECURITY;
    CREATE POLICY tenant ON bill USING (tenant::text = current_setting('app.tenant'));
    GRANT SELECT, UPDATE ON bill TO ann;
";

#[test]
fn a_tenant_is_served_his_rows_whoever_had_the_connection_before() {
    let postgres = with_roles();
    let house = house(&postgres, BILLS);
    let sql = "SELECT id, total FROM bill ORDER BY id";
    let (mut one, mut two) = (house.pair_as("ann", &[]), house.pair_as("ann", &[]));
    // Without the setting the server refuses.
    assert_eq!(one.via.query(sql).error(), one.direct.query(sql).error());
    one.both("SET app.tenant = '1'");
    two.both("SET app.tenant = '0'");
    one.becomes_hit(sql);
    two.becomes_hit(sql);
    assert_ne!(one.via.query(sql), two.via.query(sql));
    one.invalidates(sql, "UPDATE bill SET total = total + 1");
    two.becomes_hit(sql);
    one.both("SET app.tenant = '0'");
    one.hit(sql);
}

/// As frameworks do it: each transaction says first on whose behalf it is.
#[test]
fn a_transaction_that_is_somebody_for_its_own_length_is_served_as_such() {
    let postgres = with_roles();
    let house = house(&postgres, BILLS);
    let sql = "SELECT id, total FROM bill ORDER BY id";
    let (mut one, mut two) = (house.pair_as("ann", &[]), house.pair_as("ann", &[]));
    let begin_as = |pair: &mut Pair<'_>, tenant: &str| {
        pair.both("BEGIN");
        pair.both(&format!("SET LOCAL app.tenant = '{tenant}'"));
    };
    for (pair, tenant) in [(&mut one, "1"), (&mut two, "0")] {
        pair.both(&format!("SET app.tenant = '{tenant}'"));
        pair.becomes_hit(sql);
    }
    // What is said for the session holds between transactions, and nowhere else.
    begin_as(&mut one, "0");
    one.hit(sql);
    one.both("SET LOCAL app.tenant TO '1';");
    one.hit(sql);
    one.both("SAVEPOINT s");
    one.both("SET LOCAL app.tenant = '0'");
    one.hit(sql);
    one.both("ROLLBACK TO s");
    one.bypass(sql, "local_settings");
    one.both("COMMIT");
    one.hit(sql);
    // It ends with its transaction, though another begins at once.
    for end in [
        "COMMIT AND CHAIN",
        "ROLLBACK AND CHAIN",
        "COMMIT; BEGIN",
        "ROLLBACK; BEGIN",
    ] {
        begin_as(&mut one, "0");
        one.hit(sql);
        one.both(end);
        one.bypass(sql, "local_settings");
        one.both("COMMIT");
        one.hit(sql);
    }
    begin_as(&mut one, "0");
    let mut batch = Batch::default();
    for statement in ["COMMIT", "BEGIN", sql] {
        batch.parse("", statement, &[]);
        batch.bind("", "", &[], &[], &[]).execute("", 0);
    }
    one.look_batch(batch.sync());
    one.look(sql);
    one.both("COMMIT");
    // A value that nobody else has had is filled within the transaction.
    begin_as(&mut one, "7");
    one.miss(sql);
    one.hit(sql);
    one.both("ROLLBACK");
    // What is not one string is not known.
    for set in [
        "SET LOCAL app.tenant = 1",
        "SET LOCAL app.tenant TO DEFAULT",
        "SET LOCAL app.tenant = E'\\x30'",
        "SET LOCAL work_mem = '1MB'",
        "SET app.tenant = '0'",
        "SELECT set_config('app.tenant', '0', true)",
    ] {
        begin_as(&mut one, "1");
        one.both(set);
        one.never_hits(sql);
        one.both("ROLLBACK");
    }
    // In one unit with what reads it.
    for (first, second) in [("0", "1"), ("1", "0")] {
        one.both("BEGIN");
        for tenant in [first, second, first] {
            let mut batch = Batch::default();
            batch.parse("", &format!("SET LOCAL app.tenant = '{tenant}'"), &[]);
            batch.bind("", "", &[], &[], &[]).execute("", 0);
            batch.parse("", sql, &[]).bind("", "", &[], &[], &[]);
            batch.execute("", 0).sync();
            one.look_batch(&batch);
            one.look(sql);
        }
        one.both("COMMIT");
        one.look(sql);
    }
    // Bound before the setting, executed after it.
    one.both("BEGIN");
    let mut batch = Batch::default();
    batch.parse("", sql, &[]).bind("late", "", &[], &[], &[]);
    batch.parse("", "SET LOCAL app.tenant = '0'", &[]);
    batch.bind("", "", &[], &[], &[]).execute("", 0);
    batch.execute("late", 0).sync();
    one.look_batch(&batch);
    one.look(sql);
    one.both("COMMIT");
    one.look(sql);
    // A write of one tenant's reaches him in either way of saying who he is.
    begin_as(&mut two, "1");
    two.look(sql);
    two.both("COMMIT");
    one.write("UPDATE bill SET total = total + 1");
    begin_as(&mut two, "1");
    two.asked(sql);
    two.hit(sql);
    two.both("COMMIT");
}

#[test]
fn who_somebody_is_can_be_answered_from_memory() {
    let postgres = with_roles();
    let house = house(
        &postgres,
        "CREATE VIEW who AS SELECT current_user AS u, session_user AS s; GRANT SELECT ON who TO PUBLIC",
    );
    let (mut app, mut ann) = (house.pair(), house.pair_as("ann", &[]));
    for sql in [
        "SELECT current_user, session_user, user, current_role",
        "SELECT * FROM who",
    ] {
        for pair in [&mut app, &mut ann] {
            pair.becomes_hit(sql);
        }
        app.both("SET ROLE ann");
        app.miss(sql);
        app.becomes_hit(sql);
        app.both("RESET ROLE");
        app.hit(sql);
    }
}

#[test]
fn users_do_not_share_answers_that_depend_on_who_asks() {
    let postgres = with_roles();
    let house = house(
        &postgres,
        "CREATE TABLE open (x text); INSERT INTO open VALUES ('everybody''s'); GRANT SELECT ON open TO PUBLIC;",
    );
    house.superuser(
        "CREATE SCHEMA ann AUTHORIZATION ann; CREATE TABLE ann.open (x text); INSERT INTO ann.open VALUES ('ann''s'); \
         GRANT SELECT ON ann.open TO ann",
    );
    let mut app = house.pair();
    app.becomes_hit("SELECT x FROM open");
    let mut ann: Pair<'_> = house.pair_as("ann", &[]);
    eventually("the schema is known", || {
        house.before.take();
        ann.look("SELECT x FROM open") == Served::Hit
    });
    assert_eq!(ann.via.query("SELECT x FROM open").text(), "ann's");
    assert_eq!(app.via.query("SELECT x FROM open").text(), "everybody's");
}
