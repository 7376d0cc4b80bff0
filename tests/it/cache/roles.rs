//! Who somebody is and may be, when that changes through pgditto: for whoever asks next, in every database.

use super::wire::Wire;
use super::{House, Pair, Served, server};
use crate::fixture::{Postgres, eventually};

const SCHEMA: &str = "
    CREATE TABLE secret (x int); INSERT INTO secret VALUES (42);
    CREATE TABLE mail (id int PRIMARY KEY, owner text); INSERT INTO mail VALUES (1, 'ann'), (2, 'bob'), (3, 'cat');
    ALTER TABLE mail ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON mail USING (owner = current_user);
    GRANT SELECT ON mail TO PUBLIC;
";
const SECRET: &str = "SELECT x FROM secret";
const MAIL: &str = "SELECT id, owner FROM mail ORDER BY id";

/// Roles belong to all databases of a server.
fn with_roles() -> Postgres {
    let postgres = server();
    postgres.psql(
        "CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE staff; GRANT staff TO app; GRANT ann TO app",
    );
    postgres
}

/// A pgditto that lets all of them in, the superuser as well, with `rules`.
fn house<'a>(postgres: &'a Postgres, schema: &str, rules: &str) -> House<'a> {
    House::on(postgres, schema, |opts| {
        let dir = std::env::temp_dir().join(format!(
            "pgditto-it-roles-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir_all(&dir).expect("a temporary folder");
        let file = dir.join("pgditto.toml");
        let users =
            ["ann", "bob", "postgres"].map(|name| format!("[[users]]\nname = \"{name}\"\n"));
        std::fs::write(&file, format!("{rules}{}", users.concat())).expect("space");
        opts.args(&["--config", file.to_str().expect("a plain name")]);
    })
}

fn told(client: &mut Wire, sql: &str) {
    let reply = client.query(sql);
    assert_eq!(reply.error(), None, "{sql}: {reply:?}");
}

#[test]
fn what_roles_are_and_belong_to_counts_from_the_answer_on() {
    let postgres = with_roles();
    let house = house(&postgres, SCHEMA, "");
    let mut root = house.via_as("postgres", &[]);
    let mut ann = house.pair_as("ann", &[]);
    told(
        &mut root,
        "GRANT SELECT ON secret TO staff; GRANT staff TO ann",
    );
    for (change, may) in [
        ("REVOKE staff FROM ann", false),
        ("ALTER ROLE ann SUPERUSER", true),
        ("ALTER ROLE ann NOSUPERUSER", false),
        ("DO $$BEGIN EXECUTE 'GRANT staff TO ann'; END$$", true),
        ("DROP OWNED BY staff", false),
        ("BEGIN; GRANT SELECT ON secret TO ann; COMMIT", true),
        ("DROP OWNED BY ann", false),
        ("ALTER TABLE secret OWNER TO ann", true),
        ("REASSIGN OWNED BY ann TO app", false),
        (
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO bob; GRANT bob TO ann",
            true,
        ),
        ("DO $$BEGIN REVOKE bob FROM ann; END$$", false),
    ] {
        if !may {
            house.before.take();
            ann.becomes_hit(SECRET);
        }
        told(&mut root, change);
        let (ours, theirs) = (ann.via.query(SECRET), ann.direct.query(SECRET));
        assert_eq!(theirs.error().is_none(), may, "{change}");
        assert_eq!(ours.error(), theirs.error(), "{change}");
        assert_eq!(ours.text(), theirs.text(), "{change}");
    }
    // Rows as well: whom policies bind is a matter of roles.
    for change in [
        "ALTER ROLE ann BYPASSRLS",
        "ALTER ROLE ann NOBYPASSRLS",
        "ALTER ROLE ann SUPERUSER",
        "ALTER ROLE ann NOSUPERUSER",
        "ALTER POLICY own ON mail USING (owner IN (current_user, 'cat'))",
    ] {
        let root = &mut root;
        ann.invalidates_by(MAIL, |_| told(root, change), change);
    }
}

#[test]
fn what_is_taken_from_a_role_in_one_database_is_taken_in_all() {
    let postgres = with_roles();
    let house = house(&postgres, SCHEMA, "");
    let there = super::fresh_database(&postgres, SCHEMA);
    let mut root = house.via_as("postgres", &[]);
    let mut root_there = Wire::connect(house.pgditto.port, "postgres", &there, &[]);
    told(&mut root_there, "GRANT SELECT ON secret TO staff");
    let mut ann = Wire::connect(house.pgditto.port, "ann", &there, &[]);
    for (grant, revoke) in [
        ("GRANT staff TO ann", "REVOKE staff FROM ann"),
        ("ALTER ROLE ann SUPERUSER", "ALTER ROLE ann NOSUPERUSER"),
    ] {
        told(&mut root, grant);
        eventually("hits there", || {
            house.before.take();
            house.look(&mut ann, SECRET).1 == Served::Hit
        });
        told(&mut root, revoke);
        assert_eq!(ann.query(SECRET).error().as_deref(), Some("42501"));
        assert_eq!(ann.query(SECRET).error().as_deref(), Some("42501"));
    }
}

#[test]
fn whoever_takes_on_another_session_user_is_served_as_that_one() {
    const WHO: &str = "SELECT session_user, current_user, count(*) FROM mail";
    let postgres = with_roles();
    let house = house(&postgres, SCHEMA, "");
    let (mut ann, mut bob) = (house.pair_as("ann", &[]), house.pair_as("bob", &[]));
    ann.becomes_hit(MAIL);
    bob.becomes_hit(MAIL);
    let mut root = house.pair_as("postgres", &[]);
    for change in [
        "SET SESSION AUTHORIZATION ann",
        "SET SESSION AUTHORIZATION bob",
        "SET ROLE NONE",
        "RESET SESSION AUTHORIZATION",
        "SET ROLE ann",
        "SET SESSION AUTHORIZATION bob",
        "BEGIN; SET LOCAL SESSION AUTHORIZATION ann; COMMIT",
        "SET SESSION AUTHORIZATION DEFAULT",
        "SELECT set_config('session_authorization', 'ann', false)",
        "RESET ALL",
        "DISCARD ALL",
    ] {
        root.both(change);
        for _ in 0..3 {
            root.look(MAIL);
            root.look(WHO);
        }
        house.before.take();
        ann.becomes_hit(MAIL);
    }
    assert_eq!(ann.via.query(MAIL).text(), "1|ann");
    assert_eq!(bob.via.query(MAIL).text(), "2|bob");
}

/// A rule vouches for it, and it runs with its owner's rights: who may call it is still asked.
#[test]
fn a_function_with_its_owners_rights_answers_only_those_who_may_call_it() {
    const PEEK: &str = "SELECT peek()";
    let postgres = with_roles();
    let house = house(
        &postgres,
        &format!(
            "{SCHEMA} CREATE FUNCTION peek() RETURNS int LANGUAGE sql STABLE SECURITY DEFINER AS 'SELECT x FROM secret';
             CREATE FUNCTION deposit(n int) RETURNS void LANGUAGE sql SECURITY DEFINER AS 'UPDATE secret SET x = x + n';
             REVOKE EXECUTE ON FUNCTION peek(), deposit(int) FROM PUBLIC;
             GRANT EXECUTE ON FUNCTION peek(), deposit(int) TO ann;
             CREATE VIEW window_ AS SELECT x FROM secret; GRANT SELECT ON window_ TO ann;"
        ),
        "[[cache.rules]]\nfunctions = [\"peek\"]\n",
    );
    let (mut app, mut ann) = (house.pair(), house.pair_as("ann", &[]));
    let mut bob = house.via_as("bob", &[]);
    let denied = |client: &mut Wire, sql: &str| {
        for _ in 0..2 {
            assert_eq!(client.query(sql).error().as_deref(), Some("42501"), "{sql}");
        }
        house.before.take();
    };
    app.becomes_hit(PEEK);
    ann.becomes_hit(PEEK);
    denied(&mut bob, PEEK);
    denied(&mut bob, "SELECT x FROM window_");
    denied(&mut ann.via, SECRET);
    // What it reads is known, and so is what the other one writes.
    let mut pay = |pair: &mut Pair<'_>, read: &str| {
        pair.invalidates_by(
            read,
            |_| drop(app.write("UPDATE secret SET x = x + 1")),
            read,
        );
        pair.invalidates(read, "SELECT deposit(5)");
    };
    pay(&mut ann, PEEK);
    pay(&mut ann, "SELECT x FROM window_");
    app.write("REVOKE EXECUTE ON FUNCTION peek() FROM ann");
    denied(&mut ann.via, PEEK);
    app.write("GRANT EXECUTE ON FUNCTION peek() TO ann");
    ann.becomes_hit(PEEK);
    // With the caller's rights it is refused like the table.
    app.write("ALTER FUNCTION peek() SECURITY INVOKER");
    denied(&mut ann.via, PEEK);
    app.becomes_hit(PEEK);
}

#[test]
fn a_view_with_its_readers_rights_shows_what_the_reader_may_see() {
    const OWN: &str = "SELECT x FROM own_secret";
    let postgres = with_roles();
    let house = house(
        &postgres,
        &format!(
            "{SCHEMA} CREATE VIEW own_secret WITH (security_invoker) AS SELECT x FROM secret;
             CREATE VIEW own_mail WITH (security_invoker = true) AS SELECT id, owner FROM mail;
             CREATE VIEW all_mail AS SELECT id, owner FROM mail;
             CREATE VIEW outer_mail AS SELECT id, owner FROM own_mail;
             GRANT SELECT ON own_secret, own_mail, all_mail, outer_mail TO PUBLIC;"
        ),
        "",
    );
    let mut app = house.pair();
    let mut ann = house.pair_as("ann", &[]);
    let mut bob = house.pair_as("bob", &[]);
    app.becomes_hit(OWN);
    for _ in 0..2 {
        assert_eq!(ann.via.query(OWN).error().as_deref(), Some("42501"));
    }
    app.write("GRANT SELECT ON secret TO ann");
    house.before.take();
    ann.becomes_hit(OWN);
    assert_eq!(bob.via.query(OWN).error().as_deref(), Some("42501"));
    app.write("REVOKE SELECT ON secret FROM ann");
    assert_eq!(ann.via.query(OWN).error().as_deref(), Some("42501"));
    house.before.take();
    let of = |view: &str| format!("SELECT id, owner FROM {view} ORDER BY id");
    for view in ["own_mail", "all_mail", "outer_mail"] {
        for pair in [&mut app, &mut ann, &mut bob] {
            pair.becomes_hit(&of(view));
        }
    }
    assert_eq!(ann.via.query(&of("own_mail")).text(), "1|ann");
    assert_eq!(bob.via.query(&of("own_mail")).text(), "2|bob");
    house.before.take();
    for (view, change) in [
        (
            "own_mail",
            "ALTER VIEW own_mail SET (security_invoker = false)",
        ),
        (
            "all_mail",
            "ALTER VIEW all_mail SET (security_invoker = true)",
        ),
    ] {
        ann.invalidates_by(&of(view), |_| drop(app.write(change)), change);
    }
}

/// Whichever of its triggers fire in this session, what they may write is known.
#[test]
fn a_trigger_counts_in_whatever_role_sessions_replicate() {
    let postgres = with_roles();
    let house = house(
        &postgres,
        "CREATE TABLE source (x int); CREATE TABLE copy1 (x int); CREATE TABLE copy2 (x int);
         CREATE FUNCTION first() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO copy1 VALUES (1); RETURN NULL; END';
         CREATE FUNCTION second() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO copy2 VALUES (1); RETURN NULL; END';
         CREATE TRIGGER a AFTER INSERT ON source FOR EACH ROW EXECUTE FUNCTION first();
         CREATE TRIGGER b AFTER INSERT ON source FOR EACH ROW EXECUTE FUNCTION second();
         ALTER TABLE source ENABLE REPLICA TRIGGER a; ALTER TABLE source DISABLE TRIGGER b;
         CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int REFERENCES parent ON DELETE CASCADE);
         INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (1), (2);",
        "",
    );
    let mut root = house.via_as("postgres", &[]);
    let mut app = house.pair();
    let insert = "INSERT INTO source VALUES (1)";
    told(&mut root, "SET session_replication_role = replica");
    app.invalidates_by(
        "SELECT count(*) FROM copy1",
        |_| told(&mut root, insert),
        "a replica's trigger",
    );
    app.write("ALTER TABLE source ENABLE ALWAYS TRIGGER b");
    let read = "SELECT count(*) FROM copy2";
    app.invalidates(read, insert);
    app.invalidates_by(read, |_| told(&mut root, insert), "as a replica");
    told(&mut root, "SET session_replication_role = origin");
    app.invalidates_by(
        "SELECT count(*) FROM child",
        |_| told(&mut root, "DELETE FROM parent WHERE id = 1"),
        "a cascade",
    );
}
