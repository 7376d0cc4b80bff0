//! The room `catalog` against a real PostgreSQL.

use pgditto::catalog::{
    Catalog, CatalogVersion, Effects, Footprint, Loader, NameScope, RelationKind,
};
use pgditto::sql::{Access, Bypass, Facts, FunctionUse, Kind, ObjectName, RelationUse, analyse};
use tokio_postgres::Client;

use crate::fixture::{Postgres, connect};

async fn run(client: &Client, sql: &str) {
    let result = client.batch_execute(sql).await;
    result.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

async fn load(client: &Client) -> Catalog {
    Loader::load(client).await.expect("a picture")
}

async fn version(client: &Client) -> CatalogVersion {
    Loader::version(client).await.expect("a version")
}

fn scope() -> NameScope {
    NameScope {
        search_path: vec!["public".into()],
        role: "app".into(),
        ..NameScope::default()
    }
}

fn name(text: &str) -> ObjectName {
    let (schema, name) = match text.split_once('.') {
        Some((schema, name)) => (Some(schema.to_owned()), name),
        None => (None, text),
    };
    ObjectName {
        schema,
        name: name.to_owned(),
    }
}

fn facts(kind: Kind, access: Access, relation: &str) -> Facts {
    let mut facts = Facts::unknown(kind);
    facts.complete = true;
    facts.hazard = None;
    facts.locks = false;
    facts.writes = access == Access::Write;
    if !relation.is_empty() {
        facts.relations.push(RelationUse {
            name: name(relation),
            access,
            only: false,
            alias: None,
        });
    }
    facts
}

fn select(relation: &str) -> Facts {
    facts(Kind::Select, Access::Read, relation)
}

fn call(function: &str) -> Facts {
    let mut facts = select("");
    facts.functions.push(FunctionUse {
        field: false,
        name: name(function),
        argument_count: 1,
        literal_arguments: vec![None],
    });
    facts
}

fn read(catalog: &Catalog, facts: &Facts) -> Result<Vec<String>, Bypass> {
    let read = catalog.judge(facts, &scope()).read?;
    let names = read
        .dependencies
        .iter()
        .map(|&oid| catalog.relation_name(oid));
    let mut names: Vec<String> = names.map(|name| name.expect("a known relation")).collect();
    names.sort_unstable();
    Ok(names)
}

fn footprint(catalog: &Catalog, kind: Kind, relation: &str) -> Footprint {
    let facts = facts(kind, Access::Write, relation);
    catalog.judge(&facts, &scope()).footprint
}

/// Names of what is touched, or `everything`.
fn touched(catalog: &Catalog, kind: Kind, relation: &str) -> Vec<String> {
    let footprint = footprint(catalog, kind, relation);
    if footprint.everything {
        return vec!["everything".into()];
    }
    let names = footprint
        .relations
        .iter()
        .map(|&oid| catalog.relation_name(oid));
    let mut names: Vec<String> = names.map(|name| name.expect("a known relation")).collect();
    names.sort_unstable();
    names
}

const SCHEMA: &str = r"
CREATE TABLE users (id serial PRIMARY KEY, name text NOT NULL, at timestamptz DEFAULT now());
CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id int REFERENCES users ON DELETE CASCADE ON UPDATE SET NULL);
CREATE TABLE notes (id int, user_id int REFERENCES users);
CREATE TABLE events (id int, at date) PARTITION BY RANGE (at);
CREATE TABLE events_old PARTITION OF events FOR VALUES FROM ('2000-01-01') TO ('2020-01-01');
CREATE TABLE events_new PARTITION OF events FOR VALUES FROM ('2020-01-01') TO ('2040-01-01');
CREATE TABLE secured (id int);
ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
CREATE TABLE readers (name text, id int);
CREATE TABLE shared (id int);
ALTER TABLE shared ENABLE ROW LEVEL SECURITY;
CREATE POLICY listed ON shared USING (id IN (SELECT r.id FROM readers r WHERE r.name = current_user));
CREATE POLICY free ON shared FOR SELECT USING (id > 1000);
CREATE POLICY stored ON shared FOR INSERT WITH CHECK (now() > '2000-01-01');
CREATE TABLE fleeting (id int, until timestamptz);
ALTER TABLE fleeting ENABLE ROW LEVEL SECURITY;
CREATE POLICY fresh ON fleeting USING (until > now());
CREATE VIEW names AS SELECT name FROM users;
CREATE VIEW many_names AS SELECT name FROM names;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM users;
CREATE TABLE audit (what text);
CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN INSERT INTO audit VALUES (TG_OP); RETURN NEW; END$$;
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN IF TG_OP = 'UPDATE' THEN NEW.name := lower(NEW.name); END IF; RETURN NEW; END$$;
CREATE TABLE logged (id int);
CREATE TRIGGER log AFTER INSERT ON logged FOR EACH ROW EXECUTE FUNCTION log();
CREATE TABLE stamped (id int, name text);
CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON stamped FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE TRIGGER log_leaf AFTER INSERT ON events_old FOR EACH ROW EXECUTE FUNCTION log();
";

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_role_gets_the_whole_picture() {
    let postgres = Postgres::start(&[]);
    let client = connect(&postgres.url()).await;
    run(&client, SCHEMA).await;
    let catalog = load(&client).await;

    assert_eq!(
        read(&catalog, &select("users")),
        Ok(vec!["public.users".into()])
    );
    assert_eq!(
        read(&catalog, &select("events")),
        Ok(vec![
            "public.events".into(),
            "public.events_new".into(),
            "public.events_old".into()
        ])
    );
    assert_eq!(
        read(&catalog, &select("secured")),
        Ok(vec!["public.secured".into()])
    );
    assert_eq!(
        read(&catalog, &select("shared")),
        Ok(vec!["public.readers".into(), "public.shared".into()])
    );
    assert_eq!(
        read(&catalog, &select("fleeting")),
        Err(Bypass::StableFunction)
    );
    assert_eq!(
        read(&catalog, &select("pg_class")),
        Err(Bypass::SystemCatalog)
    );
    assert_eq!(
        read(&catalog, &select("information_schema.tables")),
        Err(Bypass::SystemCatalog)
    );
    assert_eq!(
        read(&catalog, &select("users_id_seq")),
        Err(Bypass::Sequence)
    );
    assert_eq!(
        read(&catalog, &select("counted")),
        Ok(vec!["public.counted".into()])
    );

    assert_eq!(touched(&catalog, Kind::Insert, "notes"), ["public.notes"]);
    assert_eq!(
        touched(&catalog, Kind::Delete, "users"),
        ["public.orders", "public.users"]
    );
    assert_eq!(
        touched(&catalog, Kind::Truncate, "users"),
        ["public.notes", "public.orders", "public.users"]
    );
    assert_eq!(
        touched(&catalog, Kind::Insert, "logged"),
        ["public.audit", "public.logged"]
    );
    assert_eq!(
        touched(&catalog, Kind::Insert, "stamped"),
        ["public.stamped"]
    );
    assert_eq!(
        touched(&catalog, Kind::Insert, "events_new"),
        ["public.events_new"]
    );
    assert_eq!(
        touched(&catalog, Kind::Insert, "events"),
        [
            "public.audit",
            "public.events",
            "public.events_new",
            "public.events_old"
        ]
    );
    assert_eq!(
        touched(&catalog, Kind::Insert, "many_names"),
        [
            "public.many_names",
            "public.names",
            "public.orders",
            "public.users"
        ]
    );
    assert_eq!(
        touched(&catalog, Kind::RefreshMaterializedView, "counted"),
        ["public.counted"]
    );

    let effects = |relation| {
        catalog
            .judge(&facts(Kind::Insert, Access::Write, relation), &scope())
            .effects
    };
    assert_eq!(effects("users"), Effects::SEQUENCE);
    assert_eq!(effects("orders"), Effects::SEQUENCE);
    assert_eq!(effects("notes"), Effects::NONE);

    let users = catalog.resolve(&name("users"), &scope()).expect("users");
    let relation = catalog.relation(users).expect("users");
    assert_eq!(
        (relation.kind, relation.columns.len()),
        (RelationKind::Table, 3)
    );
    assert_eq!(
        catalog
            .relations()
            .filter(|r| r.kind == RelationKind::View)
            .count(),
        2
    );
    let logged = catalog.resolve(&name("logged"), &scope()).expect("logged");
    assert!(catalog.has_user_triggers(logged) && !catalog.has_user_triggers(users));
}

#[tokio::test(flavor = "multi_thread")]
async fn code_of_users_is_found_wherever_it_hides() {
    let postgres = Postgres::start(&[]);
    let client = connect(&postgres.url()).await;
    run(
        &client,
        r"
        CREATE TABLE log (x int);
        CREATE FUNCTION loud(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
            $$BEGIN INSERT INTO log VALUES ($1); RETURN $1; END$$;
        CREATE FUNCTION quoting(int) RETURNS int LANGUAGE sql AS $$SELECT 'insert'::text::int + $1$$;
        CREATE AGGREGATE quiet_sum(int) (SFUNC = int4pl, STYPE = int);
        CREATE FUNCTION loud_step(int, int) RETURNS int LANGUAGE sql AS 'SELECT loud($1)';
        CREATE AGGREGATE loud_sum(int) (SFUNC = loud_step, STYPE = int);
        CREATE DOMAIN loud_domain AS int CHECK (loud(VALUE) > 0);
        CREATE FUNCTION loud_operator(int, int) RETURNS int LANGUAGE sql AS 'SELECT loud($1)';
        CREATE OPERATOR @@@ (LEFTARG = int, RIGHTARG = int, FUNCTION = loud_operator);
        CREATE TABLE by_default (x int DEFAULT loud(1));
        CREATE TABLE by_check (x int CHECK (loud(x) > 0));
        CREATE TABLE by_index (x int);
        CREATE INDEX ON by_index (loud(x));
        CREATE TABLE by_generation (x int, y int GENERATED ALWAYS AS (loud(x)) STORED);
        CREATE TABLE by_domain (x loud_domain);
        CREATE TABLE by_array_of_domain (x loud_domain[]);
        CREATE TABLE by_operator (x int CHECK ((x @@@ 1) > 0));
        CREATE TABLE by_partition (x int) PARTITION BY RANGE (loud(x));
        CREATE TABLE by_rule (x int);
        CREATE RULE r AS ON INSERT TO by_rule DO ALSO INSERT INTO log VALUES (1);
        CREATE TABLE by_policy (x int);
        CREATE POLICY p ON by_policy WITH CHECK (loud(x) > 0);
        CREATE TABLE by_condition (x int);
        CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER t BEFORE INSERT ON by_condition FOR EACH ROW WHEN (loud(NEW.x) > 0) EXECUTE FUNCTION nothing();
        CREATE VIEW by_view AS SELECT loud(x) FROM log;
        CREATE TABLE plain (x int DEFAULT abs(-1), u uuid DEFAULT gen_random_uuid(), CHECK (x > 0));
        CREATE INDEX ON plain (abs(x));
        ",
    )
    .await;
    let catalog = load(&client).await;
    for relation in catalog
        .relations()
        .map(|r| r.name.clone())
        .filter(|n| n.starts_with("by_"))
    {
        let touched = touched(&catalog, Kind::Insert, &relation);
        let log = ["public.log", "everything"];
        assert!(
            touched.iter().any(|name| log.contains(&name.as_str())),
            "{relation}: {touched:?}"
        );
    }
    assert_eq!(touched(&catalog, Kind::Insert, "plain"), ["public.plain"]);

    let reach = |facts: &Facts| !catalog.judge(facts, &scope()).footprint.is_nothing();
    assert!(
        reach(&select("by_view")) && reach(&select("by_policy")) && !reach(&select("by_index"))
    );
    for (function, loud, followed) in [
        ("loud", true, false),
        ("quoting", false, true),
        ("quiet_sum", false, false),
        ("loud_sum", true, false),
        ("loud_domain", true, false),
    ] {
        assert_eq!(reach(&call(function)), loud, "{function}");
        assert_eq!(
            read(&catalog, &call(function)).is_ok(),
            followed,
            "{function}"
        );
    }
    let mut operator = select("");
    operator.operators.push("@@@".into());
    assert!(reach(&operator));
    assert_eq!(read(&catalog, &operator), Err(Bypass::UserOperator));
    assert!(
        footprint(&catalog, Kind::Maintenance, "plain").everything,
        "an index calls loud()"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn code_of_users_is_found_in_standard_bodies() {
    let postgres = Postgres::start(&[]);
    let client = connect(&postgres.url()).await;
    run(
        &client,
        r"
        CREATE TABLE log (x int);
        CREATE FUNCTION loud(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
            $$BEGIN INSERT INTO log VALUES ($1); RETURN $1; END$$;
        CREATE FUNCTION standard(int) RETURNS int BEGIN ATOMIC SELECT loud($1); END;
        CREATE FUNCTION quiet(int) RETURNS int BEGIN ATOMIC SELECT abs($1); END;
        ",
    )
    .await;
    let catalog = load(&client).await;
    for (function, loud) in [("standard", true), ("quiet", false)] {
        let footprint = catalog.judge(&call(function), &scope()).footprint;
        assert_eq!(footprint.is_nothing(), !loud, "{function}");
        assert_eq!(read(&catalog, &call(function)).is_err(), loud, "{function}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn extensions_are_trusted_as_far_as_they_are_known() {
    let postgres = Postgres::start(&[]);
    for extension in [
        "citext",
        "pg_trgm",
        "uuid-ossp",
        "tablefunc",
        "hstore",
        "dblink",
    ] {
        postgres.psql(&format!("CREATE EXTENSION \"{extension}\""));
    }
    let client = connect(&postgres.url()).await;
    run(
        &client,
        r"
        CREATE TABLE people (id uuid DEFAULT uuid_generate_v4(), name citext, attributes hstore);
        CREATE INDEX ON people USING gin (name gin_trgm_ops);
        ",
    )
    .await;
    let catalog = load(&client).await;
    assert_eq!(
        read(&catalog, &select("people")),
        Ok(vec!["public.people".into()])
    );
    assert_eq!(touched(&catalog, Kind::Insert, "people"), ["public.people"]);
    for (function, reason) in [
        ("similarity", None),
        ("replace", None),
        ("lower", None),
        ("uuid_generate_v4", Some(Bypass::UserFunction)),
        ("crosstab", Some(Bypass::UserFunction)),
        ("dblink", Some(Bypass::UserFunction)),
    ] {
        assert_eq!(read(&catalog, &call(function)).err(), reason, "{function}");
    }
    let reach = |function| catalog.judge(&call(function), &scope()).footprint;
    assert!(reach("uuid_generate_v4").is_nothing());
    assert!(reach("crosstab").everything && reach("dblink").catalogue);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_no_meaning_changes_no_version() {
    let postgres = Postgres::start(&[("autovacuum", "off")]);
    let client = connect(&postgres.url()).await;
    run(&client, SCHEMA).await;
    run(
        &client,
        "INSERT INTO users (name) SELECT 'x' FROM generate_series(1, 1000)",
    )
    .await;
    let before = version(&client).await;
    for sql in [
        "ANALYZE",
        "VACUUM",
        "VACUUM (FREEZE, ANALYZE)",
        "VACUUM FULL users",
        "INSERT INTO users (name) VALUES ('y')",
        "TRUNCATE logged",
        "TRUNCATE users RESTART IDENTITY CASCADE",
        "REINDEX TABLE users",
        "CLUSTER users USING users_pkey",
        "REFRESH MATERIALIZED VIEW counted",
        "COMMENT ON TABLE users IS 'people'",
        "CREATE INDEX CONCURRENTLY plain ON users (name)",
        "CREATE TEMP TABLE t (id serial PRIMARY KEY, name text DEFAULT 'x' CHECK (name <> ''))",
        "CREATE TEMP VIEW tv AS SELECT t.name FROM t JOIN users USING (id)",
        "CREATE TEMP TABLE tc () INHERITS (users)",
        "CREATE INDEX ON t (lower(name))",
        "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TYPE pg_temp.mood AS (x int)",
        "CREATE TRIGGER log AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION log()",
        "CREATE RULE r AS ON INSERT TO t DO NOTHING",
        "DISCARD TEMP",
        "SELECT nextval('users_id_seq')",
    ] {
        run(&client, sql).await;
        assert_eq!(version(&client).await, before, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_a_meaning_changes_the_version() {
    let postgres = Postgres::start(&[]);
    let client = connect(&postgres.superuser_url()).await;
    run(&client, SCHEMA).await;
    run(
        &client,
        "CREATE TYPE mood AS ENUM ('good'); CREATE DOMAIN d AS int; CREATE SCHEMA other; CREATE ROLE somebody",
    )
    .await;
    let mut before = version(&client).await;
    for sql in [
        "CREATE TABLE fresh (id int)",
        "ALTER TABLE fresh ADD COLUMN x int",
        "ALTER TABLE fresh RENAME COLUMN x TO y",
        "ALTER TABLE fresh ALTER COLUMN y SET DEFAULT 1",
        "ALTER TABLE fresh ALTER COLUMN y SET DEFAULT 2",
        "ALTER TABLE fresh ALTER COLUMN y TYPE bigint",
        "ALTER TABLE fresh DROP COLUMN y",
        "ALTER TABLE fresh RENAME TO stale",
        "ALTER TABLE stale SET SCHEMA other",
        "ALTER TABLE other.stale ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY p ON other.stale USING (true)",
        "ALTER TABLE other.stale OWNER TO app",
        "GRANT SELECT ON users TO app",
        "GRANT SELECT (id) ON users TO somebody",
        "GRANT USAGE ON SCHEMA other TO somebody",
        "REVOKE EXECUTE ON FUNCTION pg_catalog.lower(text) FROM PUBLIC",
        "ALTER TABLE notes ADD CHECK (id > 0)",
        "ALTER TABLE notes ADD FOREIGN KEY (id) REFERENCES orders",
        "CREATE TRIGGER log AFTER UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION log()",
        "ALTER TABLE notes DISABLE TRIGGER log",
        "CREATE RULE r AS ON INSERT TO notes DO NOTHING",
        "CREATE OR REPLACE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE OR REPLACE VIEW names AS SELECT upper(name) AS name FROM users",
        "ALTER TYPE mood ADD VALUE 'bad'",
        "ALTER TYPE mood RENAME VALUE 'bad' TO 'worse'",
        "ALTER DOMAIN d ADD CHECK (VALUE > 0)",
        "CREATE INDEX ON users (lower(name))",
        "ALTER TABLE events DETACH PARTITION events_old",
        "CREATE TABLE heir () INHERITS (users)",
        "ALTER TABLE heir NO INHERIT users",
        "CREATE CAST (mood AS int) WITH INOUT",
        "CREATE OPERATOR @@@ (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl)",
        "ALTER SCHEMA other RENAME TO another",
        "CREATE EXTENSION citext",
        "ALTER ROLE somebody SET work_mem = '1MB'",
        "ALTER ROLE app IN DATABASE app SET search_path = another",
        "ALTER DATABASE app SET timezone = 'UTC'",
        "GRANT somebody TO app",
        "ALTER ROLE somebody RENAME TO nobody",
        "ALTER ROLE nobody BYPASSRLS",
        "CREATE TEXT SEARCH CONFIGURATION c (COPY = english)",
        "ALTER TEXT SEARCH CONFIGURATION c DROP MAPPING FOR word",
        "DROP MATERIALIZED VIEW counted",
        "DROP TABLE another.stale",
    ] {
        run(&client, sql).await;
        let after = version(&client).await;
        assert_ne!(after, before, "{sql}");
        before = after;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_snapshot_is_an_unchanged_catalogue() {
    let postgres = Postgres::start(&[("autovacuum", "off")]);
    let client = connect(&postgres.url()).await;
    let other = connect(&postgres.url()).await;
    let snapshot = async || Loader::snapshot(&client).await.expect("a snapshot");
    let before = snapshot().await;
    run(&other, "SELECT 1").await;
    assert_eq!(snapshot().await, before);
    run(&other, "CREATE TABLE t (id int)").await;
    assert_ne!(snapshot().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_leaves_no_trace_on_its_connection() {
    let postgres = Postgres::start(&[]);
    let client = connect(&postgres.url()).await;
    run(&client, "SET search_path = elsewhere; SET jit = on").await;
    let catalog = load(&client).await;
    assert_eq!(catalog.version, version(&client).await);
    let row = client
        .query_one("SHOW search_path", &[])
        .await
        .expect("a setting");
    assert_eq!(row.get::<_, String>(0), "elsewhere");
    // No transaction has been left open either.
    run(&client, "VACUUM").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_is_of_one_moment_while_the_catalogue_changes() {
    let postgres = Postgres::start(&[]);
    let client = connect(&postgres.url()).await;
    let writer = connect(&postgres.url()).await;
    run(
        &writer,
        "CREATE TABLE base (a int, b int); CREATE VIEW v AS SELECT a FROM base",
    )
    .await;
    let changes = tokio::spawn(async move {
        for round in 0..40 {
            let column = if round % 2 == 0 { "b" } else { "a" };
            run(
                &writer,
                &format!("DROP VIEW v; CREATE VIEW v AS SELECT {column} FROM base"),
            )
            .await;
        }
    });
    let mut loaded = 0;
    while !changes.is_finished() {
        if let Ok(catalog) = Loader::load(&client).await {
            loaded += 1;
            assert!(catalog.resolve(&name("v"), &scope()).is_some());
        }
    }
    changes.await.expect("the changes go through");
    let catalog = load(&client).await;
    assert!(loaded > 0 || catalog.resolve(&name("v"), &scope()).is_some());
}

/// Texts and what comes of them: the dependencies, or why there are none.
#[tokio::test(flavor = "multi_thread")]
async fn statements_as_applications_write_them() {
    let postgres = Postgres::start(&[]);
    postgres.psql("CREATE EXTENSION citext");
    let client = connect(&postgres.url()).await;
    run(&client, SCHEMA).await;
    run(
        &client,
        r"
        CREATE TABLE item (id bigint PRIMARY KEY, title text, tags text[], body jsonb, at timestamptz, day date,
            price numeric, email citext, owner int REFERENCES users);
        CREATE VIEW recent AS SELECT i.id, i.title, date_trunc('day', i.at) AS day, u.name
            FROM item i JOIN users u ON u.id = i.owner WHERE i.title LIKE 'a%' AND i.price > 1.5;
        CREATE VIEW today AS SELECT id FROM item WHERE day = CURRENT_DATE;
        CREATE VIEW tenant AS SELECT id FROM item WHERE title = current_setting('app.tenant');
        CREATE VIEW catalogue AS SELECT relname FROM pg_class;
        CREATE FUNCTION title_of(item) RETURNS text LANGUAGE sql STABLE AS 'SELECT $1.title';
        ",
    )
    .await;
    let catalog = load(&client).await;
    let item = Ok(vec!["item"]);
    // PostgreSQL called one of these functions volatile before 15.
    let zone = if postgres.major() >= 15 {
        item.clone()
    } else {
        Err(Bypass::VolatileFunction)
    };
    for (sql, expected) in [
        ("SELECT * FROM item WHERE id = $1", item.clone()),
        (
            "SELECT id, title AS t FROM public.item i WHERE i.owner = 5 ORDER BY i.at DESC LIMIT 10",
            item.clone(),
        ),
        (
            "SELECT count(*), max(price), lower(title) FROM item GROUP BY lower(title) HAVING count(*) > 1",
            item.clone(),
        ),
        ("SELECT i.body->>'a', i.tags[1] FROM item i", item.clone()),
        ("SELECT at AT TIME ZONE 'UTC' FROM item", zone),
        (
            "SELECT title FROM item WHERE email = 'A@b.c' AND id IN (1, 2) AND title ILIKE '%x%'",
            item.clone(),
        ),
        (
            "SELECT to_char(at, 'YYYY'), extract(year FROM day), coalesce(title, 'none') FROM item",
            item.clone(),
        ),
        (
            "SELECT at::date, day::timestamp, date(at), date_trunc('month', at) FROM item",
            item.clone(),
        ),
        (
            "SELECT row_number() OVER (PARTITION BY owner ORDER BY id) FROM item",
            item.clone(),
        ),
        (
            "WITH x AS (SELECT id FROM item) SELECT x.id FROM x",
            item.clone(),
        ),
        (
            "SELECT s.n FROM (SELECT count(*) AS n FROM item) s",
            item.clone(),
        ),
        (
            "SELECT CASE WHEN price > 1 THEN 'a' ELSE 'b' END FROM item WHERE day BETWEEN '2020-01-01' AND $1",
            item.clone(),
        ),
        ("SELECT 1", Ok(vec![])),
        ("SELECT g FROM generate_series(1, 3) g", Ok(vec![])),
        (
            "SELECT u.name, i.title FROM users u LEFT JOIN item i ON i.owner = u.id",
            Ok(vec!["item", "users"]),
        ),
        (
            "SELECT EXISTS (SELECT 1 FROM item WHERE owner = users.id) FROM users",
            Ok(vec!["item", "users"]),
        ),
        ("SELECT * FROM recent", Ok(vec!["item", "users"])),
        ("SELECT * FROM many_names", Ok(vec!["users"])),
        ("SELECT * FROM tenant", item.clone()),
        ("SELECT * FROM today", Err(Bypass::CurrentValue)),
        ("SELECT * FROM catalogue", Err(Bypass::SystemCatalog)),
        ("SELECT i.title_of FROM item i", Err(Bypass::UserFunction)),
        ("SELECT title_of(i) FROM item i", item.clone()),
        ("SELECT title::date FROM item", Err(Bypass::DatetimeText)),
        (
            "SELECT (body->>'day')::date FROM item",
            Err(Bypass::DatetimeText),
        ),
        ("SELECT now()", Err(Bypass::StableFunction)),
        ("SELECT random()", Err(Bypass::VolatileFunction)),
        ("SELECT age(at) FROM item", Err(Bypass::StableFunction)),
        ("SELECT nextval('users_id_seq')", Err(Bypass::Sequence)),
        ("SELECT 'item'::regclass", Err(Bypass::UnsafeType)),
        ("SELECT ctid FROM item", Err(Bypass::SystemColumn)),
        ("SELECT id FROM item FOR UPDATE", Err(Bypass::Locking)),
        ("SELECT current_catalog", Err(Bypass::CurrentValue)),
        ("SELECT * FROM missing", Err(Bypass::UnknownRelation)),
        ("SELECT missing FROM item", Err(Bypass::UnknownColumn)),
        (
            "INSERT INTO item (id) VALUES (1) RETURNING id",
            Err(Bypass::NotSelect),
        ),
    ] {
        let found = read(&catalog, &analyse(sql));
        let expected = expected.map(|names| {
            names
                .iter()
                .map(|n| format!("public.{n}"))
                .collect::<Vec<_>>()
        });
        assert_eq!(found, expected, "{sql}");
        let Ok(statement) = client.prepare(sql).await else {
            assert!(sql.contains("missing"), "{sql}");
            continue;
        };
        drop(statement);
    }
    for (sql, expected) in [
        (
            "INSERT INTO item (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET title = excluded.title",
            "item",
        ),
        (
            "UPDATE item SET at = now(), title = upper(title) WHERE id = 1",
            "item",
        ),
        ("DELETE FROM users WHERE id = 1", "orders users"),
        (
            "WITH gone AS (DELETE FROM users RETURNING id) INSERT INTO notes SELECT 1, id FROM gone",
            "notes orders users",
        ),
        (
            "WITH gone AS (DELETE FROM users RETURNING *) INSERT INTO users SELECT * FROM gone",
            "orders users",
        ),
        ("TRUNCATE users", "item notes orders users"),
        ("TRUNCATE users CASCADE", "everything"),
        ("COPY item FROM STDIN", "item"),
        ("EXPLAIN ANALYZE DELETE FROM item", "item"),
        ("EXPLAIN DELETE FROM item", ""),
        ("REFRESH MATERIALIZED VIEW CONCURRENTLY counted", "counted"),
        (
            "SELECT pg_advisory_lock(1), nextval('users_id_seq'), set_config('a.b', 'c', false)",
            "",
        ),
        ("VACUUM ANALYZE item", ""),
        ("CREATE INDEX ON item (title)", ""),
        // An expression is not read, so that it may be anything.
        ("CREATE INDEX ON item (lower(title))", "everything"),
        ("CREATE TEMP TABLE t AS SELECT * FROM item", ""),
        ("SET search_path = x", ""),
        ("BEGIN", ""),
        ("UPDATE logged SET id = 1", "audit logged"),
        ("SELECT title_of(i) FROM item i", ""),
        ("DO $$ BEGIN END $$", "everything"),
        ("ALTER TABLE item ADD x int", "everything"),
        ("GRANT SELECT ON item TO app", "everything"),
    ] {
        let found = catalog.judge(&analyse(sql), &scope()).footprint;
        let names = found
            .relations
            .iter()
            .map(|&oid| catalog.relation(oid).expect("known").name.clone());
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        let found = if found.everything {
            "everything".into()
        } else {
            names.join(" ")
        };
        assert_eq!(found, expected, "{sql}");
    }
}
