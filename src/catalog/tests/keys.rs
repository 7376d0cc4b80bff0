//! Which rows a text confines a read, or a change, to.

use super::super::picture::{FkAction, Volatility};
use super::super::{Catalog, Dependency, Given, Region};
use super::builder::{Builder, scope};
use crate::sql::{Literals, analyse};

const TEXT: u32 = 25;
const VARCHAR: u32 = 1043;
const NUMERIC: u32 = 1700;

/// `t`: id is its key, tenant refers; `u (t_id, kind)`: both are its key; `v`: no key.
pub(super) fn builder() -> (Builder, u32) {
    use super::super::RelationKind::Table;
    let mut builder = Builder::new();
    let columns = ["id", "tenant", "name", "code", "price", "made"];
    let t = builder.relation("t", Table, &columns);
    let table = builder.of(t);
    table.columns[2].type_oid = TEXT;
    table.columns[3].type_oid = VARCHAR;
    table.columns[3].modifier = 4 + 3;
    table.columns[4].type_oid = NUMERIC;
    table.columns[5].generated = true;
    table.keys = vec![[1].into_iter().collect()];
    table.referencing = [2].into_iter().collect();
    let u = builder.relation("u", Table, &["t_id", "kind", "x"]);
    builder.of(u).keys = vec![[1, 2].into_iter().collect()];
    builder.relation("v", Table, &["t_id", "y"]);
    builder.picture.is_utf8 = true;
    for name in ["int8", "varchar", "numeric", "bpchar"] {
        builder.picture.builtin_types.push(name.into());
    }
    (builder, t)
}

fn given<'a>(sql: &'a str, parameters: &'a [Option<&'a [u8]>]) -> Given<'a> {
    Given {
        literals: Literals::of(sql),
        parameter_types: &[],
        inferred_now: true,
        parameters,
        formats: &[],
        utf8: true,
    }
}

const SEVEN: &[Option<&[u8]>] = &[Some(b"7"), Some(b"8"), None];

fn columns(catalog: &Catalog, region: &Region) -> String {
    let relation = catalog.relation(region.relation).unwrap();
    let name = |number: &i16| relation.columns[*number as usize - 1].name.clone();
    let names: Vec<_> = region.columns().iter().map(name).collect();
    format!("{}({})", relation.name, names.join(","))
}

/// The dependencies of a read: a relation with the columns that confine it, or by itself.
pub(super) fn reads(catalog: &Catalog, sql: &str) -> String {
    let judgement = catalog.judge(&analyse(sql), &scope());
    let read = judgement
        .read
        .unwrap_or_else(|reason| panic!("{sql}: {reason:?}"));
    let given = given(sql, SEVEN);
    let dependencies = read.keys.dependencies(&read.dependencies, &given);
    let all: Vec<_> = dependencies
        .iter()
        .map(|dependency| match dependency {
            Dependency::Relation(oid) => catalog.relation(*oid).unwrap().name.clone(),
            Dependency::Region(region) => columns(catalog, region),
        })
        .collect();
    all.join(" ")
}

/// The regions that a change touches, or `*`.
fn writes(catalog: &Catalog, sql: &str) -> String {
    let judgement = catalog.judge(&analyse(sql), &scope());
    let Some(narrow) = judgement.narrow else {
        return "*".into();
    };
    let mut footprint = judgement.footprint;
    footprint.narrow(narrow.relation, narrow.regions(&given(sql, SEVEN)));
    let regions = footprint.regions.iter();
    let all: Vec<_> = regions.map(|region| columns(catalog, region)).collect();
    all.join(" ")
}

#[test]
fn reads_are_confined_by_the_equalities_of_their_block() {
    let catalog = builder().0.build();
    for (sql, expected) in [
        ("SELECT * FROM t WHERE id = 7", "t(id)"),
        ("SELECT * FROM t WHERE 7 = t.id", "t(id)"),
        (
            "SELECT * FROM public.t AS x WHERE x.id = '7' AND x.price > 3",
            "t(id)",
        ),
        (
            "SELECT name FROM t WHERE (id = $1) AND tenant = $2",
            "t(id)",
        ),
        (
            "SELECT name FROM t WHERE tenant = $1 AND name = 'a'",
            "t(tenant)",
        ),
        (
            "SELECT name FROM t WHERE name = 'a' AND code = E'b' ORDER BY id LIMIT 3",
            "t(name,code)",
        ),
        (
            "SELECT count(*) FROM t WHERE tenant IN (1, 2, $1) GROUP BY name HAVING count(*) > 1",
            "t(tenant)",
        ),
        (
            "SELECT * FROM u WHERE t_id = 1 AND kind = 2 AND x = 3",
            "u(t_id,kind)",
        ),
        ("SELECT * FROM u WHERE t_id = 1 AND x = 3", "u(t_id)"),
        // Whatever is not certain.
        ("SELECT * FROM t WHERE id = 7 OR tenant = 1", "t"),
        ("SELECT * FROM t WHERE NOT id = 7", "t"),
        ("SELECT * FROM t WHERE id = $3", "t"),
        ("SELECT * FROM t WHERE id = NULL", "t"),
        ("SELECT * FROM t WHERE id = 7.0", "t"),
        ("SELECT * FROM t WHERE id = '7.0'", "t"),
        ("SELECT * FROM t WHERE id::text = '7'", "t"),
        ("SELECT * FROM t WHERE id + 0 = 7", "t"),
        ("SELECT * FROM t WHERE id = 3 + 4", "t"),
        ("SELECT * FROM t WHERE id NOT IN (7)", "t"),
        ("SELECT * FROM t WHERE price = 7", "t"),
        ("SELECT * FROM t WHERE made = 7", "t"),
        ("SELECT * FROM t WHERE name = 'a' COLLATE \"C\"", "t"),
        ("SELECT * FROM t x (a, b) WHERE x.id = 7", "t"),
        (
            "SELECT * FROM t WHERE id = 7 AND id IN (SELECT id FROM t)",
            "t",
        ),
        (
            "SELECT * FROM (SELECT * FROM t LIMIT 5) s WHERE id = 7",
            "t",
        ),
        ("SELECT * FROM t HAVING id = 7", "t"),
        ("SELECT * FROM t WHERE name = 'a'::text", "t(name)"),
        ("SELECT * FROM t WHERE id = 7::bigint", "t(id)"),
        ("SELECT * FROM t WHERE id = '7'::int", "t(id)"),
        ("SELECT * FROM t WHERE code::text = 'b'::varchar", "t(code)"),
        (
            "SELECT * FROM t WHERE code::text = ANY (ARRAY['a'::varchar, 'b'::varchar]::text[])",
            "t(code)",
        ),
        ("SELECT * FROM t WHERE id = 7.4::int", "t"),
        ("SELECT * FROM t WHERE id = '7'::numeric", "t"),
        ("SELECT * FROM t WHERE code = 'b'::varchar(1)", "t"),
        ("SELECT * FROM t WHERE code = 'b'::bpchar", "t"),
        (
            "SELECT * FROM t WHERE code = ANY (ARRAY['bc']::varchar(1)[])",
            "t",
        ),
        ("SELECT * FROM t WHERE name = $2::text", "t"),
        ("SELECT * FROM t WHERE $1 = id AND name = $1", "t(id)"),
        (
            "SELECT * FROM t WHERE id IN (1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17)",
            "t",
        ),
    ] {
        assert_eq!(reads(&catalog, sql), expected, "{sql}");
    }
}

#[test]
fn equalities_carry_over_joins_to_where_rows_are_dropped() {
    let catalog = builder().0.build();
    for (sql, expected) in [
        (
            "SELECT * FROM t JOIN u ON u.t_id = t.id WHERE t.id = 7",
            "t(id) u(t_id)",
        ),
        (
            "SELECT * FROM t, u WHERE u.t_id = t.id AND u.t_id = 7",
            "t(id) u(t_id)",
        ),
        (
            "SELECT * FROM t JOIN u ON u.t_id = t.id AND t.id = 7",
            "t(id) u(t_id)",
        ),
        (
            "SELECT * FROM t JOIN u ON u.t_id = t.id JOIN v ON v.t_id = u.t_id WHERE t.id = 7",
            "t(id) u(t_id) v(t_id)",
        ),
        (
            "SELECT * FROM u JOIN v USING (t_id) WHERE u.t_id = 7",
            "u(t_id) v(t_id)",
        ),
        (
            "SELECT * FROM t LEFT JOIN u ON u.t_id = t.id WHERE t.id = 7",
            "t(id) u(t_id)",
        ),
        (
            "SELECT * FROM t LEFT JOIN u ON u.t_id = t.id WHERE u.t_id = 7",
            "t u(t_id)",
        ),
        ("SELECT * FROM t LEFT JOIN u ON u.t_id = 7", "t u(t_id)"),
        // The preserved side keeps its rows.
        ("SELECT * FROM t LEFT JOIN u ON t.id = 7", "t u"),
        (
            "SELECT * FROM t LEFT JOIN u ON u.t_id = t.id AND t.id = 7",
            "t u(t_id)",
        ),
        (
            "SELECT * FROM u RIGHT JOIN t ON u.t_id = t.id AND t.id = 7",
            "t u(t_id)",
        ),
        (
            "SELECT * FROM t RIGHT JOIN u ON u.t_id = t.id WHERE u.t_id = 7",
            "t(id) u(t_id)",
        ),
        (
            "SELECT * FROM t FULL JOIN u ON u.t_id = t.id AND t.id = 7",
            "t u",
        ),
        (
            "SELECT * FROM t FULL JOIN u ON u.t_id = t.id WHERE t.id = 7",
            "t(id) u",
        ),
        (
            "SELECT * FROM v LEFT JOIN (t JOIN u ON u.t_id = t.id AND t.id = 7) ON v.y = u.x",
            "t(id) u(t_id) v",
        ),
        (
            "SELECT * FROM (t LEFT JOIN u ON u.x = 7) JOIN v ON v.y = u.x",
            "t u(x) v",
        ),
        (
            "SELECT * FROM (t JOIN u ON u.t_id = t.id) AS j WHERE j.id = 7",
            "t u",
        ),
        ("SELECT * FROM t NATURAL JOIN u WHERE t.id = 7", "t(id) u"),
        (
            "SELECT * FROM t WHERE id = 7 AND EXISTS (SELECT FROM u WHERE u.t_id = t.id)",
            "t(id) u",
        ),
        (
            "SELECT * FROM t WHERE id = 7 AND EXISTS (SELECT FROM u WHERE u.t_id = 8)",
            "t(id) u(t_id)",
        ),
        (
            "SELECT * FROM t WHERE id = 7 UNION SELECT * FROM t WHERE id = 8",
            "t(id) t(id)",
        ),
        ("SELECT * FROM t WHERE id = 7 UNION SELECT * FROM t", "t"),
        (
            "SELECT (SELECT 1 FROM u, v JOIN t ON u.t_id = 7) FROM u WHERE u.t_id = 8",
            "t u v",
        ),
        (
            "WITH t AS (SELECT * FROM u) SELECT * FROM t WHERE t_id = 7",
            "u(t_id)",
        ),
        (
            "WITH w AS (SELECT * FROM u WHERE t_id = 7) SELECT * FROM w",
            "u(t_id)",
        ),
        (
            "SELECT * FROM t a JOIN t b ON a.id = b.tenant WHERE a.id = 7",
            "t(id) t(tenant)",
        ),
    ] {
        assert_eq!(reads(&catalog, sql), expected, "{sql}");
    }
}

#[test]
fn changes_tell_the_rows_as_they_were_and_as_they_become() {
    let catalog = builder().0.build();
    for (sql, expected) in [
        ("UPDATE t SET price = price + 1 WHERE id = 7", "t(id)"),
        ("UPDATE t SET tenant = 3 WHERE id = 7", "t(id) t(id,tenant)"),
        ("UPDATE t SET id = 8 WHERE id = 7", "t(id) t(id)"),
        ("UPDATE t SET id = id + 1 WHERE id = 7", "t(id) t()"),
        (
            "UPDATE t SET (id, tenant) = (8, 9) WHERE id = 7",
            "t(id) t()",
        ),
        (
            "UPDATE t SET name = 'b' FROM u WHERE u.t_id = t.id AND u.t_id = $1",
            "t(id) t(id,name)",
        ),
        (
            "UPDATE t SET code = 'abcd' WHERE code = 'abcd'",
            "t(code) t()",
        ),
        ("UPDATE t SET price = 1", "t()"),
        ("DELETE FROM t WHERE id = 7", "t(id)"),
        ("DELETE FROM t AS x WHERE x.id IN (7, 8)", "t(id)"),
        ("DELETE FROM t WHERE id = 7 OR id = 8", "t()"),
        (
            "DELETE FROM t USING u WHERE t.id = u.t_id AND u.t_id = 7",
            "t(id)",
        ),
        (
            "INSERT INTO t VALUES (7, 1, 'a', 'abc', 1.5)",
            "t(id,tenant,name,code)",
        ),
        (
            "INSERT INTO t (name, id) VALUES ($1, 2), ('b', 3)",
            "t(id,name) t(id,name)",
        ),
        (
            "INSERT INTO t (id, code) VALUES (7, 'abc '), (DEFAULT, NULL), (7.4, 'a')",
            "t(id) t() t(code)",
        ),
        ("INSERT INTO t (id) OVERRIDING USER VALUE VALUES (7)", "*"),
        ("INSERT INTO t (id) SELECT 7", "*"),
        ("INSERT INTO t DEFAULT VALUES", "*"),
        (
            "INSERT INTO t (id, name) VALUES (7, 'a') ON CONFLICT DO NOTHING",
            "t(id,name)",
        ),
        (
            "INSERT INTO t (id, tenant) VALUES (7, 1) ON CONFLICT (id) DO UPDATE SET tenant = 2",
            "t(id,tenant) t(id,tenant) t(id)",
        ),
        (
            "INSERT INTO t (id, name) VALUES (7, 'a') ON CONFLICT (id) DO UPDATE SET name = excluded.name",
            "t(id,name) t(id)",
        ),
        (
            "INSERT INTO t (id) VALUES (7) ON CONFLICT ON CONSTRAINT t_pkey DO UPDATE SET tenant = 2",
            "*",
        ),
        (
            "WITH w AS (SELECT 1) UPDATE t SET price = 1 WHERE id = 7",
            "*",
        ),
        (
            "MERGE INTO t USING u ON t.id = u.t_id WHEN MATCHED THEN DELETE",
            "*",
        ),
        ("TRUNCATE t", "*"),
        ("EXPLAIN ANALYZE DELETE FROM t WHERE id = 7", "*"),
    ] {
        assert_eq!(writes(&catalog, sql), expected, "{sql}");
    }
}

#[test]
fn what_else_a_change_sets_in_motion_is_not_narrowed() {
    const SQL: &str = "DELETE FROM t WHERE id = 7";
    let narrowed = |change: &dyn Fn(&mut Builder, u32)| {
        let (mut builder, t) = builder();
        change(&mut builder, t);
        writes(&builder.build(), SQL)
    };
    assert_eq!(narrowed(&|_, _| {}), "t(id)");
    assert_eq!(narrowed(&|b, t| b.picture.rules.push(t)), "*");
    assert_eq!(
        narrowed(&|b, t| b.foreign_key(t, t, FkAction::Cascade, FkAction::None)),
        "*"
    );
    assert_eq!(
        narrowed(&|b, t| b.foreign_key(t, t, FkAction::None, FkAction::None)),
        "t(id)"
    );
    let parent = |b: &mut Builder, t| {
        let parent = b.table("parent");
        b.child(t, parent);
    };
    assert_eq!(narrowed(&parent), "*");
    let early = |b: &mut Builder, t| {
        let function = b.function("f", "sql", Volatility::Immutable, "SELECT 1");
        b.trigger(t, function);
        b.picture.triggers[0].early = true;
    };
    assert_eq!(narrowed(&early), "*");
    let cascade = |b: &mut Builder, t| {
        let u = b.relation_named("u");
        b.foreign_key(u, t, FkAction::Cascade, FkAction::None);
    };
    let (mut builder, t) = builder();
    cascade(&mut builder, t);
    let catalog = builder.build();
    let judgement = catalog.judge(&analyse(SQL), &scope());
    let mut footprint = judgement.footprint;
    let narrow = judgement.narrow.unwrap();
    footprint.narrow(t, narrow.regions(&given(SQL, &[])));
    assert_eq!(footprint.relations.len(), 1);
    assert_eq!(footprint.regions.len(), 1);
}

#[test]
fn types_that_are_compared_in_other_ways_are_no_keys() {
    let of = |change: &dyn Fn(&mut Builder, u32), sql| {
        let (mut builder, t) = builder();
        change(&mut builder, t);
        reads(&builder.build(), sql)
    };
    let by_name = "SELECT * FROM t WHERE name = 'a'";
    assert_eq!(of(&|_, _| {}, by_name), "t(name)");
    assert_eq!(
        of(&|b, t| b.of(t).columns[2].deterministic = false, by_name),
        "t"
    );
    assert_eq!(of(&|b, _| b.picture.is_utf8 = false, by_name), "t");
    assert_eq!(
        of(&|b, _| b.picture.compared_by_users.push(VARCHAR), by_name),
        "t"
    );
    let by_id = "SELECT * FROM t WHERE id = 7";
    assert_eq!(of(&|b, _| b.picture.compared_by_users.push(20), by_id), "t");
    assert_eq!(of(&|b, _| b.picture.is_utf8 = false, by_id), "t(id)");
}

#[test]
fn a_relation_that_is_reached_in_another_way_too_is_read_as_a_whole() {
    use super::super::picture::Referred;
    let (mut builder, t) = builder();
    let facts = analyse("SELECT id FROM public.t");
    builder.view("w", facts, &[Referred::Relation(t)]);
    let catalog = builder.build();
    assert_eq!(reads(&catalog, "SELECT * FROM w WHERE id = 7"), "t");
    assert_eq!(reads(&catalog, "SELECT * FROM t, w WHERE t.id = 7"), "t");
}

#[test]
fn equal_values_have_equal_keys_however_they_are_carried() {
    let catalog = builder().0.build();
    let key = |sql: &str| {
        let judgement = catalog.judge(&analyse(sql), &scope());
        let read = judgement.read.unwrap();
        match &read
            .keys
            .dependencies(&read.dependencies, &given(sql, SEVEN))[0]
        {
            Dependency::Region(region) => region.keys(&[1]).unwrap(),
            Dependency::Relation(_) => panic!("{sql}"),
        }
    };
    let seven = key("SELECT * FROM t WHERE id = 7");
    for sql in [
        "SELECT * FROM t WHERE id = $1",
        "SELECT * FROM t WHERE id = ' +07 '",
        "SELECT /* 1 */ * FROM t WHERE id = $$7$$",
        "SELECT * FROM t JOIN u ON t.id = u.t_id WHERE u.t_id = '7'",
    ] {
        assert_eq!(key(sql), seven, "{sql}");
    }
    assert_ne!(key("SELECT * FROM t WHERE id = -7"), seven);
    assert_ne!(key("SELECT * FROM t WHERE id = $2"), seven);
}

/// What the rows of a change tell: `column@place` of so many.
fn tells(catalog: &Catalog, sql: &str) -> String {
    let judgement = catalog.judge(&analyse(sql), &scope());
    let Some(narrow) = judgement.narrow else {
        return "*".into();
    };
    let regions = narrow.regions(&given(sql, SEVEN));
    let returned = narrow.returned.as_ref();
    let Some(returned) = returned.and_then(|returned| returned.unknown_in(&regions)) else {
        return String::new();
    };
    let relation = catalog.relation(narrow.relation).unwrap();
    let name = |number: i16| &relation.columns[number as usize - 1].name;
    let columns = returned.columns.iter();
    let all: Vec<_> = columns
        .map(|column| format!("{}@{}", name(column.number), column.place))
        .collect();
    format!("{} of {}", all.join(" "), returned.width)
}

#[test]
fn returned_columns_tell_what_the_text_leaves_open() {
    let catalog = builder().0.build();
    for (sql, expected) in [
        ("INSERT INTO t (tenant) VALUES (1)", ""),
        (
            "INSERT INTO t (tenant) VALUES (1) RETURNING id",
            "id@0 of 1",
        ),
        ("INSERT INTO t (id) VALUES (1) RETURNING id", ""),
        (
            "INSERT INTO t (id) VALUES (1 + 1) RETURNING 1, id",
            "id@1 of 2",
        ),
        ("INSERT INTO t (id) VALUES ($3) RETURNING id", "id@0 of 1"),
        (
            "INSERT INTO t (id) VALUES (1), (DEFAULT) RETURNING id, id",
            "id@0 of 2",
        ),
        (
            "INSERT INTO t (tenant) VALUES (1) RETURNING *",
            "id@0 name@2 code@3 of 6",
        ),
        (
            "INSERT INTO t (tenant) VALUES (1) RETURNING price, t.*, made",
            "id@1 name@3 code@4 of 8",
        ),
        (
            "INSERT INTO t (tenant) VALUES (1) ON CONFLICT DO NOTHING RETURNING id",
            "id@0 of 1",
        ),
        (
            "INSERT INTO t (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = 'a' RETURNING tenant",
            "",
        ),
        ("INSERT INTO t SELECT 1 RETURNING id", "*"),
        (
            "UPDATE t SET name = 'a' WHERE id = 7 RETURNING tenant",
            "tenant@0 of 1",
        ),
        (
            "UPDATE t SET name = 'a' WHERE id = 7 RETURNING id, name",
            "",
        ),
        (
            "UPDATE t SET tenant = 8 WHERE id = 7 RETURNING tenant, id, price, nothing",
            "",
        ),
        (
            "UPDATE t SET (name, tenant) = (SELECT 'a', 1) RETURNING *",
            "id@0 code@3 of 6",
        ),
        (
            "UPDATE t SET name = 'a' FROM v WHERE id = t_id RETURNING y, t_id, tenant",
            "tenant@2 of 3",
        ),
        (
            "DELETE FROM t WHERE tenant = 1 RETURNING id, tenant",
            "id@0 of 2",
        ),
        ("DELETE FROM t RETURNING made, price, code", "code@2 of 3"),
        ("EXPLAIN ANALYZE DELETE FROM t RETURNING code", "*"),
    ] {
        assert_eq!(tells(&catalog, sql), expected, "{sql}");
    }
}

#[test]
fn a_returned_value_has_the_hash_of_an_equal_constant() {
    let catalog = builder().0.build();
    let column = |sql: &str, at: usize| {
        let judgement = catalog.judge(&analyse(sql), &scope());
        judgement.narrow.unwrap().returned.unwrap().columns[at]
    };
    const SQL: &str = "INSERT INTO t VALUES ($1, 2, 'abc') RETURNING *";
    let judgement = catalog.judge(&analyse(SQL), &scope());
    let region = &judgement.narrow.unwrap().regions(&given(SQL, SEVEN))[0];
    let of = |number: i16, value: u64| {
        let known = region.keys(&[number]).unwrap();
        known
            == Region::new(region.relation, [(number, [value].into_iter().collect())])
                .keys(&[number])
                .unwrap()
    };
    let id = column(SQL, 0);
    assert!(of(1, id.hash(b"7", 0, false).unwrap()));
    assert!(of(1, id.hash(&7_i32.to_be_bytes(), 1, false).unwrap()));
    assert!(!of(1, id.hash(b"8", 0, true).unwrap()));
    assert_eq!(id.hash(b"7", 2, true), None);
    assert_eq!(id.hash(b"QUERY PLAN", 0, true), None);
    let name = column(SQL, 2);
    assert!(of(3, name.hash(b"abc", 0, true).unwrap()));
    assert!(of(3, name.hash(b"abc", 1, true).unwrap()));
    assert!(!of(3, name.hash(b"abc ", 0, true).unwrap()));
    assert_eq!(name.hash(b"abc", 0, false), None);
}
