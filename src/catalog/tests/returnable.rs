//! What a change could return without anybody's notice.

use super::super::picture::{Owner, Referred, Volatility};
use super::super::{Catalog, RelationKind};
use super::builder::{Builder, scope, select};
use crate::sql::analyse;

/// `t`: id is its key; `u`: two columns are.
fn builder() -> (Builder, u32) {
    let mut builder = Builder::new();
    let t = builder.relation(
        "t",
        RelationKind::Table,
        &["id", "tenant", "Odd\"name", "price", "x"],
    );
    builder.of(t).keys = vec![[1].into_iter().collect()];
    builder.of(t).columns[3].type_oid = 1700;
    let u = builder.relation("u", RelationKind::Table, &["a", "b", "c"]);
    builder.of(u).keys = vec![[1, 2].into_iter().collect()];
    builder.builtin("current_query", true, false);
    for name in ["length", "max"] {
        builder.builtin(name, false, false);
    }
    (builder, t)
}

fn clause(catalog: &Catalog, sql: &str) -> String {
    let Some(plan) = catalog.judge(&analyse(sql), &scope()).narrow else {
        return String::new();
    };
    let Some(returnable) = plan.returnable else {
        return String::new();
    };
    let wanted: Vec<i16> = returnable.numbers().collect();
    let (clause, returned) = catalog
        .returning(plan.relation, &returnable, &wanted)
        .unwrap();
    assert_eq!(returned.width, wanted.len());
    clause
}

const UPDATE: &str = "UPDATE t SET x = x + 1 WHERE id = 1";
const CLAUSE: &str = " RETURNING \"id\", \"tenant\", \"Odd\"\"name\"";

#[test]
fn a_change_of_one_row_could_return_what_it_does_not_assign() {
    let catalog = builder().0.build();
    let with_x = format!("{CLAUSE}, \"x\"");
    for (sql, expected) in [
        (UPDATE, CLAUSE),
        (
            "UPDATE public.t AS a SET x = 1, price = 2 WHERE a.id = $1 AND a.x > 3",
            CLAUSE,
        ),
        ("UPDATE t SET (x, price) = (1, 2) WHERE id = $1", CLAUSE),
        (
            "UPDATE t SET x = (SELECT max(x) FROM t) WHERE id IN (1)",
            CLAUSE,
        ),
        ("DELETE FROM t WHERE id = 1", &with_x),
        (
            "DELETE FROM u WHERE b = 1 AND a = 2",
            " RETURNING \"a\", \"b\", \"c\"",
        ),
        ("DELETE FROM u WHERE a = 2", ""),
        ("DELETE FROM t WHERE id IN (1, $1)", &with_x),
        (
            "DELETE FROM u WHERE a IN (1, 2, 3, 4, 5) AND b IN (1, 2, 3, 4)",
            "",
        ),
        ("DELETE FROM t WHERE id = ANY ($1)", ""),
        ("DELETE FROM t WHERE id > 1", ""),
        ("DELETE FROM t WHERE id = 1 OR id = 1", ""),
        ("DELETE FROM t WHERE id = 1 RETURNING id", ""),
        ("DELETE FROM t WHERE id = 1 RETURNING a.b.c", ""),
        ("DELETE FROM t USING u WHERE id = 1", ""),
        ("UPDATE t SET x = c FROM u WHERE id = 1", ""),
        ("UPDATE t SET x = (SELECT max(c) FROM u) WHERE id = 1", ""),
        ("UPDATE t SET x = length(current_query()) WHERE id = 1", ""),
        ("UPDATE t SET x = pg_advisory_lock(1) WHERE id = 1", ""),
        ("UPDATE t SET x = none_such(1) WHERE id = 1", ""),
        ("INSERT INTO t VALUES (1)", &with_x),
        (
            "INSERT INTO t AS a (x) VALUES ($1), (length($2)) ON CONFLICT DO NOTHING",
            &with_x,
        ),
        (
            "INSERT INTO t (x) VALUES (1) ON CONFLICT (id) DO UPDATE SET x = 1",
            "",
        ),
        ("INSERT INTO t (x) VALUES (1) RETURNING id", ""),
        ("INSERT INTO t (x) VALUES ((SELECT max(c) FROM u))", ""),
        ("INSERT INTO t (x) SELECT 1", ""),
        ("INSERT INTO t DEFAULT VALUES", ""),
        ("WITH w AS (SELECT 1) INSERT INTO t (x) VALUES (1)", ""),
        (
            &format!("INSERT INTO t (x) VALUES (1){}", ", (2)".repeat(16)),
            "",
        ),
        ("WITH w AS (SELECT 1) UPDATE t SET x = 1 WHERE id = 1", ""),
        ("EXPLAIN ANALYZE UPDATE t SET x = 1 WHERE id = 1", ""),
    ] {
        assert_eq!(clause(&catalog, sql), expected, "{sql}");
    }
}

#[test]
fn nothing_is_returned_where_code_may_look_at_the_text() {
    let with = |change: &dyn Fn(&mut Builder, u32)| {
        let (mut builder, t) = builder();
        change(&mut builder, t);
        clause(&builder.build(), UPDATE)
    };
    let trigger = |language: &'static str, body: &'static str| {
        with(&|builder, t| {
            let function = builder.function("f", language, Volatility::Volatile, body);
            builder.trigger(t, function);
        })
    };
    assert_eq!(
        trigger("plpgsql", "BEGIN PERFORM pg_notify('a', NEW.x::text); END"),
        CLAUSE
    );
    assert_eq!(
        trigger("plpgsql", "BEGIN RAISE NOTICE '%', now(); RETURN NULL; END"),
        CLAUSE
    );
    for body in [
        "BEGIN RAISE NOTICE '%', current_query(); RETURN NULL; END",
        "BEGIN PERFORM query FROM pg_stat_activity; RETURN NULL; END",
        "BEGIN PERFORM pg_catalog.\"current_query\"(); END",
        "BEGIN EXECUTE 'x'; END",
    ] {
        assert_eq!(trigger("plpgsql", body), "", "{body}");
    }
    assert_eq!(trigger("c", ""), "");
    let called = with(&|builder, t| {
        builder.function("g", "sql", Volatility::Volatile, "SELECT current_query()");
        let body = "BEGIN PERFORM g(); RETURN NULL; END";
        let function = builder.function("f", "plpgsql", Volatility::Volatile, body);
        builder.trigger(t, function);
    });
    assert_eq!(called, "");
    let checked = with(&|builder, t| {
        let body = "SELECT current_query() <> ''";
        let function = builder.function("f", "sql", Volatility::Volatile, body);
        builder.refers(Owner::Write(t), Referred::Function(function));
    });
    assert_eq!(checked, "");
    assert_eq!(
        with(&|builder, t| builder.calls_hidden(Owner::Write(t), "current_query")),
        ""
    );
    assert_eq!(
        with(&|builder, t| builder.policies(t, select(&[]), &[])),
        ""
    );
    assert_eq!(with(&|builder, t| builder.of(t).keys.clear()), "");
}
