use crate::sql::{Access, Bypass, Facts, Kind, KnownArgument, analyse};

/// The relations of a statement in one line: `t`, `s.t`, `only t`, and `!t` for one that is written.
fn relations(facts: &Facts) -> String {
    let one = |relation: &crate::sql::RelationUse| {
        let write = if relation.access == Access::Write {
            "!"
        } else {
            ""
        };
        let only = if relation.only { "only " } else { "" };
        let schema = relation
            .name
            .schema
            .as_ref()
            .map(|schema| format!("{schema}."))
            .unwrap_or_default();
        format!("{write}{only}{schema}{}", relation.name.name)
    };
    facts
        .relations
        .iter()
        .map(one)
        .collect::<Vec<_>>()
        .join(" ")
}

fn functions(facts: &Facts) -> String {
    let one = |function: &crate::sql::FunctionUse| {
        let schema = function
            .name
            .schema
            .as_ref()
            .map(|schema| format!("{schema}."))
            .unwrap_or_default();
        format!("{schema}{}/{}", function.name.name, function.argument_count)
    };
    facts
        .functions
        .iter()
        .map(one)
        .collect::<Vec<_>>()
        .join(" ")
}

fn types(facts: &Facts) -> String {
    let one = |name: &crate::sql::ObjectName| {
        name.schema.as_ref().map_or(name.name.clone(), |schema| {
            format!("{schema}.{}", name.name)
        })
    };
    facts.types.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn complete(sql: &str) -> Facts {
    let facts = analyse(sql);
    assert!(facts.complete, "{sql}: {facts:?}");
    facts
}

#[test]
fn relations_that_are_read() {
    for (sql, expected) in [
        ("SELECT 1", ""),
        ("SELECT * FROM t", "t"),
        ("SELECT * FROM S.T x", "s.t"),
        ("SELECT * FROM \"S\".\"T\" AS x(a, b)", "S.T"),
        ("SELECT * FROM db.s.t", "s.t"),
        (
            "SELECT * FROM a, b JOIN c ON true LEFT JOIN d USING (id) CROSS JOIN e NATURAL JOIN f",
            "a b c d e f",
        ),
        ("SELECT * FROM (a JOIN b ON true) x", "a b"),
        ("SELECT * FROM (SELECT * FROM t) x", "t"),
        (
            "SELECT * FROM a, LATERAL (SELECT * FROM b WHERE b.x = a.x) y",
            "a b",
        ),
        ("SELECT (SELECT max(x) FROM t)", "t"),
        ("SELECT 1 WHERE EXISTS (SELECT 1 FROM t)", "t"),
        ("SELECT 1 WHERE 1 IN (SELECT x FROM t)", "t"),
        (
            "SELECT 1 WHERE 1 NOT IN (SELECT x FROM t) AND 2 = ANY (SELECT y FROM u) AND 3 < ALL (SELECT z FROM v)",
            "v u t",
        ),
        ("SELECT ARRAY(SELECT x FROM t)", "t"),
        (
            "SELECT 1 LIMIT (SELECT x FROM t) OFFSET (SELECT y FROM u)",
            "t u",
        ),
        ("SELECT 1 FETCH FIRST 5 ROWS WITH TIES", ""),
        ("SELECT 1 ORDER BY (SELECT x FROM t)", "t"),
        ("SELECT DISTINCT ON ((SELECT x FROM t)) 1", "t"),
        (
            "SELECT count(*) FILTER (WHERE (SELECT x FROM t)) FROM u",
            "t u",
        ),
        (
            "SELECT count(*) OVER (PARTITION BY (SELECT x FROM t) ORDER BY (SELECT y FROM u)) FROM v",
            "t u v",
        ),
        (
            "SELECT count(*) OVER w FROM v WINDOW w AS (ORDER BY (SELECT x FROM t))",
            "v t",
        ),
        (
            "SELECT a FROM v GROUP BY (SELECT x FROM t) HAVING (SELECT y FROM u)",
            "v t u",
        ),
        (
            "SELECT a FROM v GROUP BY GROUPING SETS ((a), ()), ROLLUP (a), CUBE (a)",
            "v",
        ),
        (
            "SELECT CASE (SELECT x FROM a) WHEN (SELECT y FROM b) THEN (SELECT z FROM c) ELSE (SELECT z FROM d) END",
            "a b c d",
        ),
        ("SELECT f(x => (SELECT y FROM t))", "t"),
        ("SELECT * FROM f((SELECT y FROM t)) g", "t"),
        (
            "SELECT * FROM unnest((SELECT y FROM t)) WITH ORDINALITY",
            "t",
        ),
        (
            "SELECT a[(SELECT x FROM t):(SELECT y FROM u)] FROM v",
            "t u v",
        ),
        ("VALUES (1, (SELECT x FROM t))", "t"),
        ("SELECT * FROM (VALUES (1), (2)) v(x)", ""),
        (
            "SELECT a FROM t UNION ALL SELECT b FROM u EXCEPT (SELECT c FROM v INTERSECT SELECT d FROM w)",
            "w v u t",
        ),
        ("TABLE t", "t"),
        ("TABLE ONLY s.t ORDER BY 1", "only s.t"),
        ("SELECT * FROM a UNION ALL TABLE b", "b a"),
        ("(TABLE a) UNION (TABLE b)", "b a"),
        ("WITH x AS (TABLE t) TABLE x", "t"),
        ("SELECT * FROM ONLY t", "only t"),
        (
            "SELECT * FROM ONLY (s.t) x, ONLY u JOIN ONLY v ON true",
            "only s.t only u only v",
        ),
        ("SELECT * FROM \"only\"", "only"),
        ("SELECT * FROM t FETCH FIRST 5 ROWS ONLY", "t"),
        ("SELECT * FROM t FETCH NEXT ROW ONLY", "t"),
        ("SELECT x.only FROM t x", "t"),
        (
            "SELECT * FROM t TABLESAMPLE BERNOULLI (10) REPEATABLE (1)",
            "t",
        ),
    ] {
        assert_eq!(relations(&complete(sql)), expected, "{sql}");
    }
}

#[test]
fn common_tables_are_seen_where_postgres_sees_them() {
    for (sql, expected) in [
        ("WITH a AS (SELECT * FROM t) SELECT * FROM a", "t"),
        ("WITH a AS (SELECT * FROM a) SELECT * FROM a", "a"),
        (
            "WITH a AS (SELECT * FROM b), b AS (SELECT * FROM a) SELECT * FROM a, b",
            "b",
        ),
        (
            "WITH RECURSIVE a AS (SELECT 1 UNION ALL SELECT * FROM a) SELECT * FROM a",
            "",
        ),
        (
            "WITH RECURSIVE a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a",
            "",
        ),
        ("WITH a AS (SELECT 1) SELECT * FROM s.a", "s.a"),
        ("WITH \"A\" AS (SELECT 1) SELECT * FROM a", "a"),
        ("WITH a AS (SELECT 1) SELECT * FROM A", ""),
        (
            "SELECT * FROM (WITH a AS (SELECT 1) SELECT * FROM a) x, a",
            "a",
        ),
        (
            "(WITH a AS (SELECT 1) SELECT * FROM a) UNION SELECT * FROM a",
            "a",
        ),
        (
            "WITH a AS (SELECT 1) SELECT (SELECT * FROM a) ORDER BY (SELECT * FROM a)",
            "",
        ),
        ("WITH a AS (SELECT 1) INSERT INTO a SELECT * FROM a", "!a"),
        ("WITH a AS (SELECT 1) DELETE FROM a", "!a a"),
    ] {
        let facts = complete(sql);
        assert_eq!(relations(&facts), expected, "{sql}");
        assert!(
            facts
                .defined
                .iter()
                .any(|name| name.eq_ignore_ascii_case("a")),
            "{sql}"
        );
    }
}

#[test]
fn a_merge_within_a_with_is_a_write_or_not_understood() {
    let merge = "MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN DELETE RETURNING t.id";
    for sql in [
        format!("WITH m AS ({merge}) SELECT id FROM m"),
        format!("WITH a AS (SELECT 1), m AS MATERIALIZED ({merge}) SELECT m.id FROM m, a"),
        format!("SELECT * FROM (WITH m AS ({merge}) SELECT id FROM m) s"),
    ] {
        let facts = analyse(&sql);
        let written = relations(&facts).contains("!t");
        assert!(!facts.complete || (facts.writes && written), "{facts:?}");
    }
}

#[test]
fn relations_that_are_written() {
    for (sql, expected) in [
        ("INSERT INTO t (a, b) VALUES (1, 2)", "!t"),
        ("INSERT INTO s.t AS x DEFAULT VALUES", "!s.t"),
        ("INSERT INTO t SELECT * FROM u", "!t u"),
        ("INSERT INTO t (a) TABLE u", "!t u"),
        ("INSERT INTO t OVERRIDING SYSTEM VALUE VALUES (1)", "!t"),
        (
            "INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = excluded.a WHERE t.b = (SELECT x FROM u) RETURNING *",
            "!t u",
        ),
        ("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", "!t"),
        (
            "INSERT INTO t VALUES (1) ON CONFLICT ON CONSTRAINT c DO NOTHING RETURNING (SELECT 1 FROM u)",
            "!t u",
        ),
        ("UPDATE t SET a = 1", "!t t"),
        (
            "UPDATE ONLY t AS x SET a = (SELECT b FROM u) FROM v JOIN w ON true WHERE x.id = v.id",
            "!only t only t u v w",
        ),
        (
            "UPDATE t SET (a, b) = (SELECT c, d FROM u) WHERE CURRENT OF cur",
            "!t t u",
        ),
        (
            "DELETE FROM ONLY s.t USING u WHERE t.id = u.id RETURNING t.*",
            "!only s.t only s.t u",
        ),
        ("DELETE FROM t WHERE id IN (SELECT id FROM u)", "!t t u"),
        (
            "MERGE INTO t USING u ON t.id = u.id WHEN MATCHED AND u.x THEN UPDATE SET a = 1 WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (a) VALUES ((SELECT 1 FROM v))",
            "!t t u v",
        ),
        (
            "MERGE INTO ONLY t x USING (SELECT * FROM u) y ON x.id = y.id WHEN NOT MATCHED THEN DO NOTHING",
            "!only t only t u",
        ),
        (
            "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
            "!t t",
        ),
        (
            "WITH x AS (INSERT INTO t VALUES (1) RETURNING a), y AS (UPDATE u SET a = 1 RETURNING a) SELECT * FROM x, y",
            "!t !u u",
        ),
        (
            "WITH x AS (DELETE FROM t RETURNING *) INSERT INTO u SELECT * FROM x",
            "!t t !u",
        ),
        ("TRUNCATE a, ONLY s.b, c *", "!a !only s.b !c"),
        ("TRUNCATE TABLE a RESTART IDENTITY RESTRICT", "!a"),
        ("COPY t (a, b) FROM STDIN WITH (FORMAT csv)", "!t"),
        (
            "COPY (INSERT INTO t VALUES (1) RETURNING a) TO STDOUT",
            "!t",
        ),
        (
            "REFRESH MATERIALIZED VIEW CONCURRENTLY s.m WITH NO DATA",
            "!s.m",
        ),
        ("EXPLAIN ANALYZE DELETE FROM t", "!t t"),
        ("EXPLAIN (ANALYZE, COSTS off) UPDATE t SET a = 1", "!t t"),
        (
            "PREPARE p (int, timestamp with time zone) AS DELETE FROM t WHERE a = $1",
            "!t t",
        ),
        (
            "CREATE TEMP TABLE x AS WITH y AS (DELETE FROM t RETURNING *) SELECT * FROM y",
            "!t t",
        ),
    ] {
        let facts = complete(sql);
        assert_eq!(relations(&facts), expected, "{sql}");
        assert!(facts.writes && !facts.read_only(), "{sql}");
        assert!(facts.hazard.is_some(), "{sql}");
    }
}

#[test]
fn bodies_of_other_statements() {
    for (sql, expected) in [
        ("EXPLAIN DELETE FROM t", "t"),
        ("EXPLAIN (FORMAT json) SELECT * FROM t", "t"),
        ("EXPLAIN (SELECT * FROM t)", "t"),
        ("PREPARE p AS SELECT * FROM t", "t"),
        ("DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT * FROM t", "t"),
        ("COPY (SELECT * FROM t WHERE a = ')') TO STDOUT", "t"),
        ("COPY t TO STDOUT", "t"),
        ("CREATE TEMP TABLE x (a int DEFAULT f())", ""),
        (
            "CREATE TEMP TABLE /* AS */ x ON COMMIT DROP AS SELECT * FROM t WITH NO DATA",
            "t",
        ),
        ("CREATE TEMP TABLE x (a, b) AS TABLE t WITH DATA;", "t"),
        ("CREATE TEMP VIEW x AS SELECT * FROM t", ""),
        ("SELECT * INTO TEMPORARY TABLE x FROM t", "t"),
        (
            "LOCK TABLE ONLY a, s.b IN ACCESS EXCLUSIVE MODE NOWAIT",
            "only a s.b",
        ),
        ("VACUUM (FULL, VERBOSE) a, b (x, y)", "a b"),
        ("ANALYZE VERBOSE t", "t"),
        ("REINDEX TABLE CONCURRENTLY t", "t"),
        ("CLUSTER t USING i", "t"),
        (
            "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON ONLY s.t USING btree (a, b DESC NULLS LAST)",
            "only s.t",
        ),
        ("COMMENT ON TABLE t IS 'x'", ""),
        ("SET a = 1", ""),
        ("BEGIN", ""),
        ("LISTEN c", ""),
    ] {
        let facts = complete(sql);
        assert_eq!(relations(&facts), expected, "{sql}");
        assert!(!facts.writes, "{sql}");
        assert!(
            matches!(facts.hazard, Some(Bypass::NotSelect | Bypass::SelectInto)),
            "{sql}"
        );
    }
}

#[test]
fn what_is_not_known_may_do_anything() {
    for sql in [
        "",
        "nonsense",
        "SELECT",
        "SELECT 1 FROM",
        "SELECT 1 2",
        "SELECT 1; SELECT 2",
        "LOCK t IN SHARE MODE; DELETE FROM t",
        "SET a = 1; DELETE FROM t",
        "SET a = 'x",
        "SELECT x.as INTO y FROM z x",
        "SELECT * FROM Ä",
        "TRUNCATE Ä",
        "SELECT * FROM t *",
        "SELECT * FROM t FOR XML AUTO",
        "SELECT * FROM ROWS FROM (f())",
        "SELECT INTO x FROM y FROM z",
        "SELECT only FROM t",
        "SELECT update FROM t",
        "SELECT 1_000",
        "SELECT U&\"a\" FROM t",
        "SELECT * EXCLUDE (a) FROM t",
        "SELECT TOP 5 * FROM t",
        "SELECT xmlelement(name a)",
        "SELECT a FROM t GROUP BY ALL",
        "SELECT a OPERATOR(s.+) b FROM t",
        "SELECT * FROM JSON_TABLE('{}', '$' COLUMNS (a int PATH '$.a'))",
        "FROM t SELECT a",
        "INSERT t VALUES (1)",
        "INSERT INTO t SET a = 1",
        "UPDATE t SET a[1] = 2",
        "DELETE FROM t LIMIT 5",
        "TRUNCATE a CASCADE",
        "COPY t FROM PROGRAM 'x'",
        "COPY (SELECT 1) TO PROGRAM 'x'",
        "COPY t FROM STDIN WHERE f(a)",
        "VACUUM",
        "REINDEX DATABASE d",
        "CREATE INDEX ON t (lower(a))",
        "CREATE INDEX ON t (a) WHERE b",
        "CREATE TABLE t (a int)",
        "CREATE TEMP TABLE x AS EXECUTE p",
        "EXPLAIN EXECUTE p",
        "EXPLAIN CREATE TABLE x AS SELECT 1",
        "DO $$BEGIN END$$",
        "EXECUTE p",
        "LOAD 'x'",
        "GRANT a TO b",
    ] {
        let facts = analyse(sql);
        if sql.is_empty() {
            assert_eq!(facts.kind, Kind::Empty);
            continue;
        }
        assert!(
            !facts.complete && facts.writes && facts.locks && facts.hazard.is_some(),
            "{sql}: {facts:?}"
        );
        assert!(!facts.read_only(), "{sql}");
    }
}

#[test]
fn what_applications_send_is_known() {
    for sql in [
        r#"SELECT "users".* FROM "users" WHERE "users"."id" = $1 LIMIT $2"#,
        r#"SELECT 1 AS one FROM "users" WHERE "users"."email" ILIKE $1 AND "users"."deleted_at" IS NULL LIMIT 1"#,
        r#"SELECT COUNT(*) AS "__count" FROM "auth_user" INNER JOIN "b" ON ("auth_user"."id" = "b"."user_id") WHERE ("b"."x" IN ($1, $2) AND NOT ("b"."y" IS NOT NULL))"#,
        r#"SELECT "a"."id", COALESCE(SUM("b"."n"), 0) AS "total" FROM "a" LEFT OUTER JOIN "b" ON "a"."id" = "b"."a_id" GROUP BY "a"."id" HAVING SUM("b"."n") > $1 ORDER BY "total" DESC NULLS LAST, 1 ASC OFFSET 5"#,
        "select u1_0.id,u1_0.name from users u1_0 where u1_0.name like $1 escape '' order by u1_0.id offset $2 rows fetch first $3 rows only",
        "SELECT id, name FROM users WHERE id = ANY($1::bigint[]) AND tags @> ARRAY['a','b']::text[] AND data->>'k' = 'v'",
        "SELECT date_trunc('month', created_at) AS month, count(DISTINCT user_id) FROM events GROUP BY 1 ORDER BY 1",
        "SELECT json_agg(row_to_json(t)) FROM (SELECT id, jsonb_build_object('a', a, 'b', b) AS o FROM x) t",
        "SELECT *, row_number() OVER (PARTITION BY a ORDER BY b DESC) AS rn, lag(c, 1) OVER w FROM t WINDOW w AS (ORDER BY d ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW EXCLUDE TIES)",
        "WITH RECURSIVE tree(id, parent_id, depth) AS (SELECT id, parent_id, 1 FROM nodes WHERE parent_id IS NULL UNION ALL SELECT n.id, n.parent_id, depth + 1 FROM nodes n JOIN tree t ON n.parent_id = t.id) SELECT * FROM tree",
        "SELECT l_returnflag, sum(l_extendedprice * (1 - l_discount)) AS x FROM lineitem WHERE l_shipdate <= date '1998-12-01' - interval '90' day GROUP BY l_returnflag",
        "SELECT o_year, sum(CASE WHEN nation = 'BRAZIL' THEN volume ELSE 0 END) / sum(volume) FROM (SELECT extract(year FROM o_orderdate) AS o_year, l_extendedprice AS volume, n2.n_name AS nation FROM part, nation n2 WHERE o_orderdate BETWEEN date '1995-01-01' AND date '1996-12-31') AS all_nations GROUP BY o_year",
        "SELECT a.*, b.name FROM a LEFT JOIN LATERAL (SELECT name FROM b WHERE b.a_id = a.id ORDER BY b.id LIMIT 1) b ON true",
        "SELECT abalance FROM pgbench_accounts WHERE aid = 1",
        "UPDATE pgbench_accounts SET abalance = abalance + -5 WHERE aid = 1",
        "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 2, 3, 4, CURRENT_TIMESTAMP)",
        r#"INSERT INTO "users" ("name", "created_at") VALUES ($1, $2), (DEFAULT, $3) ON CONFLICT (lower("name")) WHERE "x" IS NULL DO UPDATE SET "name" = excluded."name" RETURNING "id""#,
        r#"UPDATE "users" SET "name" = $1, "updated_at" = now() WHERE "users"."id" = $2"#,
        r#"DELETE FROM "sessions" WHERE "expires" < $1"#,
        "SELECT t.oid, t.typname, n.nspname FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON t.typnamespace = n.oid WHERE t.oid = $1",
        "SELECT format('%s', VARIADIC a) FROM t",
        "SELECT * FROM a JOIN b USING (id, tenant_id) WHERE (a.x, a.y) = ($1, $2) AND a.z IS NOT DISTINCT FROM b.z",
        "SELECT name, value, type, status, data, date, time, key, version, year FROM settings",
        "SELECT * FROM größe",
    ] {
        complete(sql);
    }
}

#[test]
fn the_kind_is_known_where_the_parser_fails() {
    assert_eq!(analyse("INSERT INTO t VALUES (1").kind, Kind::Insert);
    assert_eq!(analyse("UPDATE t SET a[1] = 2").kind, Kind::Update);
    assert_eq!(analyse("SELECT * FROM JSON_TABLE(").kind, Kind::Select);
}

#[test]
fn functions_are_found_in_every_syntax() {
    for (sql, expected) in [
        (
            "SELECT lower(a), count(*), s.F(1, 2), \"Q\"() FROM t",
            "lower/1 count/0 s.f/2 Q/0",
        ),
        (
            "SELECT * FROM generate_series(1, 3) g, LATERAL f(g) AS x(a int)",
            "generate_series/2 f/1",
        ),
        (
            "SELECT * FROM unnest(a) WITH ORDINALITY AS x(y, n)",
            "unnest/1",
        ),
        (
            "SELECT extract(epoch FROM a), date_part('day', a) FROM t",
            "extract/2 date_part/2",
        ),
        (
            "SELECT substring(a FROM 1 FOR 2), substring(a, 1), substr(a, 2), position('x' IN a), overlay(a PLACING 'x' FROM 1) FROM t",
            "substring/3 substring/2 substr/2 position/2 overlay/3",
        ),
        ("SELECT substring(a FOR 2) FROM t", "substring/3"),
        (
            "SELECT trim(a), trim(LEADING 'x' FROM a), trim(TRAILING 'x' FROM a), ceil(a), floor(a), ceiling(a) FROM t",
            "btrim/1 ltrim/2 rtrim/2 ceil/1 floor/1 ceiling/1",
        ),
        ("SELECT a AT TIME ZONE 'UTC' FROM t", "timezone/2"),
        (
            "SELECT coalesce(lower(a), upper(b)), nullif(a, b), greatest(a, abs(b)), ROW(f(a)), least(1, 2) FROM t",
            "lower/1 upper/1 abs/1 f/1",
        ),
        ("SELECT (a, b) OVERLAPS (c, d) FROM t", "overlaps/4"),
        (
            "SELECT a LIKE b ESCAPE 'x', a SIMILAR TO b FROM t",
            "like_escape/2 similar_to_escape/1",
        ),
        (
            "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a), string_agg(DISTINCT a, ',' ORDER BY f(b)) FILTER (WHERE g(c)) FROM t",
            "percentile_cont/2 f/1 string_agg/2 g/1",
        ),
        (
            "SELECT row_number() OVER (PARTITION BY f(a) ORDER BY g(b) ROWS BETWEEN h(1) PRECEDING AND CURRENT ROW) FROM t",
            "row_number/0 f/1 g/1 h/1",
        ),
        ("SELECT make_interval(days => f(1))", "make_interval/1 f/1"),
        (
            "SELECT json_object('a': b, 'c': f(d)) FROM t",
            "json_build_object/2 f/1",
        ),
        ("SELECT a IS NORMALIZED FROM t", "is_normalized/1"),
        ("CALL s.p(f(1), 2)", "s.p/2 f/1"),
        (
            "SELECT left(a, 1), \"coalesce\"(a) FROM t",
            "left/2 coalesce/1",
        ),
    ] {
        assert_eq!(functions(&complete(sql)), expected, "{sql}");
    }
}

#[test]
fn operators_are_found_in_every_syntax() {
    for (sql, expected) in [
        ("SELECT a + b * -c FROM t", "+ * -"),
        (
            "SELECT a != b, a <> c, a ->> 'b' #>> c, a @> b, a && b, a ? b, a <-> b, a @@@ b FROM t",
            "<> #>> ->> @> && ? <-> @@@",
        ),
        (
            "SELECT a LIKE b, a NOT ILIKE b, a ~* b FROM t",
            "~~ !~~* ~*",
        ),
        ("SELECT a IN (1), a NOT IN (1) FROM t", "= <>"),
        (
            "SELECT a BETWEEN 1 AND 2, a NOT BETWEEN SYMMETRIC 1 AND 2 FROM t",
            ">= <= < >",
        ),
        (
            "SELECT a IS DISTINCT FROM b, CASE a WHEN 1 THEN 2 END FROM t",
            "=",
        ),
        ("SELECT a < ANY (b), a >= ALL (c) FROM t", "< >="),
        ("SELECT 1 FROM a JOIN b USING (x)", "="),
        ("SELECT 1 FROM a NATURAL JOIN b", "="),
        ("SELECT nullif(a, b) FROM t", "="),
        ("SELECT a OPERATOR(pg_catalog.+) b FROM t", "+"),
        ("SELECT NOT a AND b OR c IS NULL FROM t", ""),
    ] {
        assert_eq!(complete(sql).operators.join(" "), expected, "{sql}");
    }
}

#[test]
fn types_go_by_the_catalogue_names() {
    for (sql, expected) in [
        (
            "SELECT a::int, b::INTEGER, c::bigint, d::smallint, e::int8[], f::\"int\" FROM t",
            "int4 int8 int2 int",
        ),
        (
            "SELECT CAST(a AS character varying(3)), b::varchar, c::char(2), d::text FROM t",
            "varchar bpchar text",
        ),
        (
            "SELECT a::float, b::real, c::double precision, d::float(10), e::numeric(3,2), f::decimal FROM t",
            "float8 float4 numeric",
        ),
        (
            "SELECT a::json, b::jsonb, c::uuid, d::bool, e::boolean, f::bytea, g::inet FROM t",
            "json jsonb uuid bool bytea inet",
        ),
        (
            "SELECT 'x'::regclass, 'y'::s.mood, INTERVAL '1 day', DATE '2024-01-01', timestamp with time zone '2024-01-01'",
            "regclass s.mood date timestamptz",
        ),
        ("SELECT N'x'", "bpchar"),
        (
            "SELECT * FROM f() AS x(a int, b public.thing)",
            "int4 public.thing",
        ),
    ] {
        assert_eq!(types(&complete(sql)), expected, "{sql}");
    }
}

#[test]
fn columns_and_names_of_its_own() {
    let facts = complete("SELECT x.A, \"B\", s.t.c, (r).f, x.* FROM t x(a, d) ORDER BY out, ctid2");
    let columns: Vec<String> = facts
        .columns
        .iter()
        .map(|column| {
            column
                .qualifier
                .iter()
                .chain([&column.name])
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(".")
        })
        .collect();
    assert_eq!(columns, ["x.a", "B", "s.t.c", "r", ".f", "out", "ctid2"]);
    assert!(facts.wildcard && facts.ordered && !facts.limited);
    assert_eq!(facts.defined, ["a", "d", "x"]);
    let facts = complete(
        "WITH w(p) AS (SELECT 1 AS q) SELECT p AS r FROM w, generate_series(1, 2) LIMIT 1",
    );
    assert_eq!(facts.defined, ["w", "p", "q", "r", "generate_series"]);
    assert!(facts.limited && !facts.ordered);
    let long = "x".repeat(70);
    assert_eq!(
        complete(&format!("SELECT * FROM {long}")).relations[0]
            .name
            .name
            .len(),
        63
    );
}

#[test]
fn hazards() {
    for (sql, expected) in [
        ("SELECT * FROM t", None),
        ("SELECT * FROM t FOR UPDATE", Some(Bypass::Locking)),
        (
            "SELECT * FROM t FOR NO KEY UPDATE OF t SKIP LOCKED",
            Some(Bypass::Locking),
        ),
        (
            "SELECT * FROM t FOR KEY SHARE NOWAIT",
            Some(Bypass::Locking),
        ),
        (
            "SELECT * FROM (SELECT * FROM t FOR SHARE) x",
            Some(Bypass::Locking),
        ),
        ("SELECT substring(a FROM 1 FOR 2) FROM t", None),
        ("SELECT * INTO x FROM t", Some(Bypass::SelectInto)),
        (
            "SELECT * FROM t TABLESAMPLE SYSTEM (1)",
            Some(Bypass::TableSample),
        ),
        ("SELECT CURRENT_DATE", Some(Bypass::CurrentValue)),
        (
            "SELECT * FROM t WHERE a < LOCALTIMESTAMP(0)",
            Some(Bypass::CurrentValue),
        ),
        ("SELECT current_schema", Some(Bypass::CurrentValue)),
        (
            "SELECT user, current_user, session_user, current_role",
            None,
        ),
        ("SELECT a AS user, x.user, \"current_date\" FROM t x", None),
        ("SELECT ctid FROM t", Some(Bypass::SystemColumn)),
        ("SELECT t.xmin FROM t", Some(Bypass::SystemColumn)),
        (
            "SELECT '2024-01-01'::date, $1::timestamptz, DATE '2024-01-01', NULL::time",
            None,
        ),
        ("SELECT a::date FROM t", Some(Bypass::DatetimeText)),
        (
            "SELECT (j ->> 'd')::timestamptz FROM t",
            Some(Bypass::DatetimeText),
        ),
        (
            "SELECT CAST(a AS timestamp[]) FROM t",
            Some(Bypass::DatetimeText),
        ),
        ("SELECT date(a) FROM t", Some(Bypass::DatetimeText)),
        ("SELECT date_trunc('day', a)::date FROM t", None),
        ("SELECT (a AT TIME ZONE 'UTC')::date FROM t", None),
        ("SELECT '10:00'::timetz", Some(Bypass::DatetimeText)),
        (
            "SELECT * FROM json_to_record(j) AS x(d date)",
            Some(Bypass::DatetimeText),
        ),
        ("SELECT a::interval FROM t", None),
        ("SELECT a::date FROM t FOR UPDATE", Some(Bypass::Locking)),
        (
            "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
            Some(Bypass::NotSelect),
        ),
    ] {
        let facts = analyse(sql);
        assert_eq!(facts.hazard, expected, "{sql}");
        assert!(
            facts.complete || expected == Some(Bypass::SelectInto),
            "{sql}"
        );
    }
}

#[test]
fn conversions_of_columns_may_be_lifted_by_the_catalogue() {
    let columns = |sql: &str| {
        complete(sql).datetime_columns.map(|columns| {
            columns
                .into_iter()
                .map(|column| column.name)
                .collect::<Vec<_>>()
                .join(" ")
        })
    };
    assert_eq!(
        columns("SELECT a::date, (b + interval '1 day')::date, max(t.c)::date FROM t").as_deref(),
        Some("a b c")
    );
    assert_eq!(columns("SELECT a::date, f(b)::date FROM t"), None);
    assert_eq!(columns("SELECT f(b)::date, a::date FROM t"), None);
    assert_eq!(columns("SELECT a::text::date FROM t"), None);
    assert_eq!(columns("SELECT a::timetz FROM t"), None);
    assert_eq!(columns("SELECT a FROM t"), None);
}

#[test]
fn locks_are_kept_apart_from_writes() {
    let facts = complete("SELECT * FROM t FOR NO KEY UPDATE");
    assert!(facts.locks && !facts.writes);
    let facts = complete("LOCK t");
    assert!(facts.locks && !facts.writes);
    let facts = complete("EXPLAIN SELECT * FROM t FOR UPDATE");
    assert!(!facts.locks && !facts.writes);
}

#[test]
fn facts_that_hold_for_one_text_say_so() {
    let facts = complete("SELECT set_config('a.b', $1, false)");
    assert_eq!(
        facts.functions[0].literal_arguments,
        [
            Some(KnownArgument::Text("a.b".to_owned())),
            None,
            Some(KnownArgument::Boolean(false))
        ]
    );
    assert!(facts.literal_dependent);
    assert!(complete(r"SELECT nextval(E'\x61'::regclass)").functions[0].first_text() == Some("a"));
    let facts = complete("SELECT current_schemas(FALSE)");
    assert_eq!(facts.functions[0].first_boolean(), Some(false));
    assert!(!facts.literal_dependent);
    assert!(!complete("SELECT current_setting($1)").literal_dependent);
    assert!(!complete("SELECT lower('A'), coalesce(a, 'x') FROM t").literal_dependent);
    assert!(analyse("PREPARE TRANSACTION 'x'").literal_dependent);
    assert!(analyse("COMMIT PREPARED 'x'").literal_dependent);
    assert!(!analyse("LISTEN c").literal_dependent);
}

#[test]
fn returning_is_known_column_by_column() {
    let outputs = |sql: &str| -> String {
        let one = |output: &crate::sql::Output| match output {
            crate::sql::Output::Column(name) => name.clone(),
            crate::sql::Output::All => "*".to_owned(),
            crate::sql::Output::Other => "?".to_owned(),
        };
        let all: Vec<_> = analyse(sql).returning.iter().map(one).collect();
        all.join(" ")
    };
    for (sql, expected) in [
        ("INSERT INTO t (a) VALUES (1)", ""),
        ("INSERT INTO t (a) VALUES (1) RETURNING *", "*"),
        (
            "INSERT INTO s.t (a) VALUES (1) RETURNING ID, t.b AS x, \"C\", (d), a + 1, s.t.a, t",
            "id b C d ? ? t",
        ),
        (
            "INSERT INTO t AS o (a) VALUES (1) RETURNING o.a, t.a, o.*, user, \"user\", current_role",
            "a ? * ? user ?",
        ),
        ("UPDATE t SET a = 1 RETURNING *, t.*, b", "* * b"),
        ("UPDATE t SET a = 1 FROM u RETURNING t.*, u.b, c", "* ? c"),
        // How many columns it is depends on what else is there.
        ("UPDATE t SET a = 1 FROM u RETURNING *", ""),
        ("UPDATE t SET a = 1 FROM u RETURNING t.a, u.*", ""),
        ("UPDATE t SET a = 1 RETURNING a, (b).*", ""),
        ("DELETE FROM t x USING u RETURNING x.a, t.a, x.*", "a ? *"),
        ("DELETE FROM ONLY s.t RETURNING t.a, current_date", "a ?"),
        (
            "WITH w AS (SELECT 1) INSERT INTO t SELECT 1 RETURNING a",
            "",
        ),
        ("SELECT 1", ""),
    ] {
        assert_eq!(outputs(sql), expected, "{sql}");
    }
}

#[test]
fn a_constant_of_a_type_that_looks_like_a_column_with_an_alias_is_not_known() {
    for sql in ["SELECT pg_lsn '0/0'", "SELECT 1 > mood 'ok' FROM t"] {
        assert!(!analyse(sql).complete, "{sql}");
    }
    assert!(complete("SELECT text 'a', mood ok FROM t").complete);
}
