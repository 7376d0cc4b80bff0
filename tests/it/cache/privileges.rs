//! Nobody is shown a row that the same statement would not show them.

use super::wire::Wire;
use super::{House, Pair, Served, server};
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
        app.write(revoke);
        let sql = "SELECT x FROM secret";
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

#[test]
fn rows_under_a_policy_come_from_the_server() {
    let postgres = with_roles();
    let house = house(
        &postgres,
        "CREATE TABLE mail (owner text, body text); INSERT INTO mail VALUES ('ann', 'a'), ('bob', 'b');
         ALTER TABLE mail ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON mail USING (owner = current_user OR owner = current_setting('app.who', true));
         GRANT SELECT ON mail TO PUBLIC;
         CREATE VIEW all_mail AS SELECT * FROM mail; GRANT SELECT ON all_mail TO PUBLIC;
         CREATE TABLE plain (owner text); INSERT INTO plain VALUES ('ann'), ('bob'); GRANT SELECT ON plain TO PUBLIC;",
    );
    let mut ann = house.pair_as("ann", &[]);
    let mut bob = house.pair_as("bob", &[]);
    for sql in [
        "SELECT body FROM mail",
        "SELECT count(*) FROM all_mail",
        "SELECT p.owner FROM plain p JOIN mail USING (owner)",
    ] {
        for pair in [&mut ann, &mut bob] {
            for _ in 0..2 {
                assert_eq!(
                    pair.look(sql),
                    Served::Bypass("row_security".into()),
                    "{sql}"
                );
            }
        }
    }
    ann.both("SET app.who = 'bob'");
    ann.look("SELECT body FROM mail ORDER BY body");
    // A policy that comes while an answer is kept.
    let mut app = house.pair();
    let plain = "SELECT owner FROM plain ORDER BY owner";
    ann.becomes_hit(plain);
    app.write("ALTER TABLE plain ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON plain USING (owner = current_user)");
    ann.asked(plain);
    bob.asked(plain);
    app.write("ALTER TABLE plain DISABLE ROW LEVEL SECURITY");
    ann.becomes_hit(plain);
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
