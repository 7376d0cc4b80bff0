//! What confines a read through views, subqueries and common table expressions.

use super::super::picture::{Owner, Referred};
use super::builder::Builder;
use super::keys::{builder, reads};

const T: &[&str] = &["id", "tenant", "name", "code", "price", "made"];

fn with_views() -> Builder {
    let (mut builder, _) = builder();
    let mut view = |name: &str, columns: &[&str], sql: &str| {
        builder.view_of(name, columns, "t", sql);
    };
    view(
        "plain",
        T,
        "SELECT t.id, t.tenant, t.name, t.code, t.price, t.made FROM public.t",
    );
    view("other", &["number"], "SELECT t.id AS number FROM public.t");
    view("dear", &["id"], "SELECT id FROM public.t WHERE (price > 3)");
    view(
        "kind",
        &["id"],
        "SELECT t.id FROM public.t WHERE ((t.code)::text = 'x'::text)",
    );
    view(
        "grouped",
        &["tenant", "count"],
        "SELECT t.tenant, count(*) AS count FROM public.t GROUP BY t.tenant",
    );
    view(
        "sets",
        &["tenant", "count"],
        "SELECT t.tenant, count(*) AS count FROM public.t GROUP BY ROLLUP(t.tenant)",
    );
    view(
        "twice",
        &["id"],
        "SELECT t.id FROM public.t UNION ALL SELECT t_1.tenant AS id FROM public.t t_1",
    );
    view(
        "less",
        &["id"],
        "SELECT t.id FROM public.t EXCEPT SELECT t_1.id FROM public.t t_1",
    );
    view(
        "some",
        &["id"],
        "SELECT t.id FROM public.t ORDER BY t.id LIMIT 3",
    );
    view(
        "one",
        &["tenant", "id"],
        "SELECT DISTINCT ON (t.tenant) t.tenant, t.id FROM public.t",
    );
    view(
        "distinct",
        &["tenant"],
        "SELECT DISTINCT t.tenant FROM public.t",
    );
    view(
        "numbered",
        &["id", "n"],
        "SELECT t.id, count(*) OVER (ORDER BY t.id) AS n FROM public.t",
    );
    view(
        "computed",
        &["id", "name"],
        "SELECT (t.id + 1) AS id, t.name FROM public.t",
    );
    view(
        "shifted",
        &["id", "tenant"],
        "SELECT t.tenant AS id, t.id AS tenant FROM public.t",
    );
    view("untyped", &["price"], "SELECT t.id AS price FROM public.t");
    view(
        "again",
        &["id"],
        "SELECT t.id FROM public.t WHERE (t.tenant IN ( SELECT t_1.id FROM public.t t_1))",
    );
    let over = "SELECT grouped.tenant FROM public.grouped";
    builder.view_of("over", &["tenant"], "grouped", over);
    let names = |builder: &Builder, name| Referred::Relation(builder.relation_named(name));
    let joined = builder.view_of(
        "joined",
        &["id", "tenant", "t_id", "x"],
        "t",
        "SELECT t.id, t.tenant, u.t_id, u.x FROM (public.t LEFT JOIN public.u ON ((u.t_id = t.id)))",
    );
    let u = names(&builder, "u");
    builder.refers(Owner::View(joined), u);
    builder
}

#[test]
fn a_condition_on_a_view_confines_what_the_view_is_made_of() {
    let catalog = with_views().build();
    for (sql, expected) in [
        ("SELECT * FROM plain WHERE id = 7", "t(id)"),
        ("SELECT * FROM plain p WHERE p.tenant = $1", "t(tenant)"),
        (
            "SELECT * FROM plain WHERE code = 'b' AND price = 3",
            "t(code)",
        ),
        ("SELECT * FROM plain p (a, b) WHERE a = 7", "t"),
        (
            "SELECT count(*) FROM plain WHERE tenant IN (1, 2) LIMIT 3",
            "t(tenant)",
        ),
        ("SELECT * FROM plain WHERE id = 7 OR tenant = 1", "t"),
        ("SELECT * FROM plain WHERE made = 7", "t"),
        ("SELECT * FROM plain", "t"),
        ("SELECT * FROM other WHERE number = 7", "t(id)"),
        ("SELECT * FROM dear WHERE id = 7", "t(id)"),
        ("SELECT * FROM kind", "t(code)"),
        ("SELECT * FROM kind WHERE id = 7", "t(id)"),
        ("SELECT * FROM grouped WHERE tenant = 7", "t(tenant)"),
        ("SELECT * FROM grouped WHERE count = 7", "t"),
        ("SELECT * FROM sets WHERE tenant = 7", "t"),
        ("SELECT * FROM twice WHERE id = 7", "t(tenant) t(id)"),
        ("SELECT * FROM less WHERE id = 7", "t"),
        ("SELECT * FROM some WHERE id = 7", "t"),
        ("SELECT * FROM one WHERE tenant = 7", "t"),
        ("SELECT * FROM distinct WHERE tenant = 7", "t(tenant)"),
        ("SELECT * FROM numbered WHERE id = 7", "t"),
        ("SELECT * FROM computed WHERE id = 7", "t"),
        ("SELECT * FROM computed WHERE name = 'a'", "t(name)"),
        ("SELECT * FROM shifted WHERE id = 7", "t(tenant)"),
        ("SELECT * FROM over WHERE tenant = 7", "t(tenant)"),
        ("SELECT * FROM untyped WHERE price = 7", "t"),
        ("SELECT * FROM again WHERE id = 7", "t"),
        ("SELECT * FROM joined WHERE id = 7", "t(id) u(t_id)"),
        ("SELECT * FROM joined WHERE tenant = 7", "t(tenant) u"),
        ("SELECT * FROM joined WHERE x = 7", "t u(x)"),
        ("SELECT * FROM joined WHERE t_id = 7", "t u(t_id)"),
        (
            "SELECT * FROM joined j JOIN v ON v.t_id = j.id WHERE v.t_id = 7",
            "t(id) u(t_id) v(t_id)",
        ),
        (
            "SELECT * FROM v LEFT JOIN plain p ON p.id = v.t_id AND p.id = 7",
            "t(id) v",
        ),
        (
            "SELECT * FROM v LEFT JOIN plain p ON p.id = v.t_id AND v.y = 7",
            "t v",
        ),
        (
            "SELECT * FROM plain p, t WHERE p.id = 7 AND t.id = 8",
            "t(id) t(id)",
        ),
        ("SELECT * FROM plain p, t WHERE p.id = 7", "t"),
        (
            "SELECT * FROM plain a, plain b WHERE a.id = 7 AND b.tenant = 8",
            "t(id) t(tenant)",
        ),
        (
            "SELECT * FROM plain WHERE id = 7 UNION SELECT * FROM plain",
            "t",
        ),
    ] {
        assert_eq!(reads(&catalog, sql), expected, "{sql}");
    }
}

#[test]
fn views_within_views_are_followed_to_a_limit() {
    let mut builder = with_views();
    let mut below = "plain".to_owned();
    for depth in 1..=8 {
        let name = format!("v{depth}");
        let sql = format!("SELECT {below}.id FROM public.{below}");
        builder.view_of(&name, &["id"], &below, &sql);
        below = name;
    }
    let catalog = builder.build();
    assert_eq!(reads(&catalog, "SELECT * FROM v7 WHERE id = 7"), "t(id)");
    assert_eq!(reads(&catalog, "SELECT * FROM v8 WHERE id = 7"), "t");
}

#[test]
fn what_a_view_reads_without_naming_it_is_read_as_a_whole() {
    let mut builder = with_views();
    let plain = builder.relation_named("plain");
    let v = builder.relation_named("v");
    builder.refers(Owner::View(plain), Referred::Relation(v));
    let t = builder.relation_named("t");
    builder.policies(
        t,
        crate::sql::analyse("SELECT id IN (SELECT t_id FROM public.u)"),
        &[],
    );
    let catalog = builder.build();
    for (sql, expected) in [
        ("SELECT * FROM plain WHERE id = 7", "t(id) u v"),
        (
            "SELECT * FROM plain p, v WHERE p.id = 7 AND v.t_id = 7",
            "t(id) u v",
        ),
        (
            "SELECT * FROM plain p, u WHERE p.id = 7 AND u.t_id = 7",
            "t(id) u v",
        ),
    ] {
        assert_eq!(reads(&catalog, sql), expected, "{sql}");
    }
}

#[test]
fn a_condition_on_a_subquery_confines_what_it_is_made_of() {
    let catalog = with_views().build();
    for (sql, expected) in [
        ("SELECT * FROM (SELECT * FROM t) s WHERE s.id = 7", "t(id)"),
        ("SELECT * FROM (SELECT * FROM t) s (a, b) WHERE a = 7", "t"),
        (
            "SELECT * FROM (SELECT id AS a, tenant id FROM t) s WHERE id = 7",
            "t(tenant)",
        ),
        (
            "SELECT * FROM (SELECT t.*, u.x FROM t JOIN u ON u.t_id = t.id) s WHERE id = 7",
            "t(id) u(t_id)",
        ),
        (
            "SELECT * FROM (SELECT * FROM u JOIN v USING (t_id)) s WHERE t_id = 7",
            "u v",
        ),
        (
            "SELECT * FROM (SELECT * FROM (SELECT * FROM t ORDER BY id) a) b WHERE b.tenant = 7",
            "t(tenant)",
        ),
        (
            "SELECT * FROM (SELECT tenant, count(*) AS sum FROM t GROUP BY 1) s WHERE tenant = $1",
            "t(tenant)",
        ),
        (
            "SELECT * FROM (SELECT tenant FROM t GROUP BY GROUPING SETS ((tenant), ())) s WHERE tenant = 7",
            "t",
        ),
        (
            "SELECT * FROM (SELECT tenant, count(*) AS sum FROM t GROUP BY 1) s WHERE sum = 7",
            "t",
        ),
        (
            "SELECT * FROM (SELECT id FROM t UNION SELECT t_id FROM u) s WHERE id = 7",
            "t(id) u(t_id)",
        ),
        (
            "SELECT * FROM (SELECT id FROM t UNION ALL SELECT t_id FROM u UNION ALL SELECT y FROM v) s WHERE id = 7",
            "t(id) u(t_id) v(y)",
        ),
        (
            "SELECT * FROM (SELECT name FROM t UNION ALL SELECT code FROM t) s WHERE name = 'a'",
            "t",
        ),
        (
            "SELECT * FROM (SELECT id FROM t UNION ALL (SELECT t_id FROM u LIMIT 1)) s WHERE id = 7",
            "t u",
        ),
        (
            "SELECT * FROM (SELECT id FROM t UNION SELECT t_id FROM u EXCEPT SELECT y FROM v) s WHERE id = 7",
            "t u v",
        ),
        (
            "SELECT * FROM (SELECT id FROM t INTERSECT SELECT t_id FROM u) s WHERE id = 7",
            "t u",
        ),
        (
            "SELECT * FROM (SELECT * FROM v UNION ALL SELECT t_id, x FROM u) s WHERE y = 7",
            "u(x) v(y)",
        ),
        (
            "SELECT * FROM (SELECT id FROM t UNION ALL SELECT 7) s WHERE id = 7",
            "t",
        ),
        (
            "SELECT * FROM (SELECT id FROM t LIMIT 5) s WHERE id = 7",
            "t",
        ),
        (
            "SELECT * FROM (SELECT id FROM t OFFSET 5) s WHERE id = 7",
            "t",
        ),
        (
            "SELECT * FROM (SELECT id FROM t FETCH FIRST 5 ROWS ONLY) s WHERE id = 7",
            "t",
        ),
        (
            "SELECT * FROM (SELECT id, count(*) OVER () FROM t) s WHERE id = 7",
            "t",
        ),
        (
            "SELECT * FROM (SELECT id FROM t ORDER BY count(*) OVER (ORDER BY id)) s WHERE id = 7",
            "t",
        ),
        (
            "SELECT * FROM (SELECT DISTINCT ON (id) id FROM t) s WHERE id = 7",
            "t",
        ),
        (
            "SELECT * FROM (SELECT DISTINCT id FROM t) s WHERE id = 7",
            "t(id)",
        ),
        (
            "SELECT * FROM (SELECT current_role AS name FROM t) s WHERE name = 'a'",
            "t",
        ),
        (
            "SELECT * FROM v LEFT JOIN (SELECT * FROM t WHERE tenant = 3) s ON s.id = v.t_id AND s.id = 7",
            "t(id) v",
        ),
        (
            "SELECT * FROM v LEFT JOIN (SELECT * FROM t) s ON s.id = v.t_id AND v.y = 7",
            "t v",
        ),
        (
            "SELECT * FROM v LEFT JOIN (SELECT * FROM t) s ON s.id = v.t_id WHERE v.t_id = 7",
            "t(id) v(t_id)",
        ),
        (
            "SELECT * FROM u, LATERAL (SELECT * FROM t WHERE t.tenant = u.x) s WHERE s.id = 7 AND u.x = 1",
            "t(id) u(x)",
        ),
        // Joined under one name, the column may be of another type.
        (
            "SELECT * FROM t JOIN (SELECT price AS id FROM t) s USING (id) WHERE id = 7",
            "t",
        ),
        (
            "SELECT * FROM u JOIN (SELECT 7.0 AS t_id) s USING (t_id) WHERE t_id = 7",
            "u",
        ),
        (
            "SELECT * FROM u JOIN (SELECT t.id::numeric FROM t) s USING (t_id) WHERE t_id = 7",
            "t u",
        ),
        (
            "SELECT * FROM u NATURAL JOIN (VALUES (7)) x (t_id) WHERE t_id = 7",
            "u",
        ),
        (
            "SELECT * FROM (SELECT * FROM u JOIN (SELECT price AS t_id FROM t) p USING (t_id)) s WHERE t_id = 7",
            "t u",
        ),
        (
            "SELECT * FROM (SELECT u.* FROM u JOIN (SELECT price AS t_id FROM t) p USING (t_id)) s WHERE t_id = 7",
            "t u(t_id)",
        ),
        (
            "SELECT * FROM t JOIN (SELECT t_id AS id, x FROM u) s USING (id) WHERE id = 7",
            "t(id) u(t_id)",
        ),
        (
            "SELECT * FROM t FULL JOIN (SELECT t_id AS id, x FROM u) s USING (id) WHERE id = 7",
            "t(id) u",
        ),
    ] {
        assert_eq!(reads(&catalog, sql), expected, "{sql}");
    }
}

#[test]
fn a_condition_on_a_common_table_expression_that_is_read_once_confines_it() {
    let catalog = with_views().build();
    for (sql, expected) in [
        (
            "WITH w AS (SELECT * FROM t) SELECT * FROM w WHERE tenant = $1",
            "t(tenant)",
        ),
        (
            "WITH w AS NOT MATERIALIZED (SELECT * FROM t) SELECT * FROM w WHERE tenant = $1",
            "t(tenant)",
        ),
        (
            "WITH w AS MATERIALIZED (SELECT * FROM t) SELECT * FROM w WHERE tenant = $1",
            "t",
        ),
        (
            "WITH w AS (SELECT * FROM t) SELECT * FROM w WHERE tenant = $1 AND EXISTS (SELECT FROM w)",
            "t",
        ),
        (
            "WITH w AS (SELECT * FROM t) SELECT * FROM w a JOIN w b ON a.id = 7 AND b.id = 7",
            "t",
        ),
        (
            "WITH w (a, b) AS (SELECT id, tenant FROM t) SELECT * FROM w WHERE a = 7",
            "t",
        ),
        (
            "WITH RECURSIVE w AS (SELECT * FROM t) SELECT * FROM w WHERE id = 7",
            "t",
        ),
        (
            "WITH w AS (SELECT * FROM t), x AS (SELECT * FROM w) SELECT * FROM x WHERE id = 7",
            "t(id)",
        ),
        (
            "WITH w AS (SELECT * FROM t) SELECT * FROM (WITH w AS (SELECT t_id AS id FROM u) SELECT * FROM w) s, w WHERE s.id = 7 AND w.id = 8",
            "t(id) u(t_id)",
        ),
        (
            "WITH w AS (SELECT * FROM plain) SELECT (SELECT count(*) FROM w WHERE id = 7)",
            "t(id)",
        ),
    ] {
        assert_eq!(reads(&catalog, sql), expected, "{sql}");
    }
}
