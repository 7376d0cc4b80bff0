use super::super::picture::{FkAction, Owner, Referred, RelationKind, TypeKind, Volatility};
use super::builder::{Builder, With, facts, scope, select};
use crate::catalog::{Catalog, Effects, Footprint, NameScope, OwnTable, Temporaries};
use crate::sql::{Facts, Kind, analyse};

fn footprint(catalog: &Catalog, facts: &Facts) -> Footprint {
    catalog.judge_plain(facts).footprint
}

fn touched(catalog: &Catalog, facts: &Facts) -> Vec<u32> {
    let footprint = footprint(catalog, facts);
    assert!(!footprint.everything, "{footprint:?}");
    footprint.relations.to_vec()
}

fn write(kind: Kind, relation: &str) -> Facts {
    facts(kind).writes_to(relation)
}

const QUIET: &str =
    "begin new.a := now(); if tg_op = 'UPDATE' then new.id := old.id; end if; return new; end";
const AUDIT: &str = "begin insert into audit values (new.id); return new; end";

#[test]
fn a_write_touches_its_target_only() {
    let mut b = Builder::new();
    let users = b.table("users");
    b.table("orders");
    let catalog = b.build();
    for kind in [
        Kind::Insert,
        Kind::Update,
        Kind::Delete,
        Kind::Merge,
        Kind::CopyFrom,
        Kind::Truncate,
    ] {
        assert_eq!(
            touched(&catalog, &write(kind, "users").reads("orders")),
            [users]
        );
    }
    assert!(footprint(&catalog, &select(&["users"])).is_nothing());
}

#[test]
fn foreign_keys_carry_deletes_and_updates() {
    let mut b = Builder::new();
    let users = b.table("users");
    let orders = b.table("orders");
    let items = b.table("items");
    let logins = b.table("logins");
    let plain = b.table("plain");
    b.foreign_key(orders, users, FkAction::Cascade, FkAction::None);
    b.foreign_key(items, orders, FkAction::Cascade, FkAction::None);
    b.foreign_key(logins, users, FkAction::Set, FkAction::Cascade);
    b.foreign_key(plain, users, FkAction::None, FkAction::None);
    let catalog = b.build();
    assert_eq!(touched(&catalog, &write(Kind::CopyFrom, "users")), [users]);
    assert_eq!(
        touched(&catalog, &write(Kind::Insert, "users")),
        [users, logins]
    );
    assert_eq!(
        touched(&catalog, &write(Kind::Update, "users")),
        [users, logins]
    );
    assert_eq!(
        touched(&catalog, &write(Kind::Delete, "users")),
        [users, orders, items, logins]
    );
    assert_eq!(
        touched(&catalog, &write(Kind::Truncate, "users")),
        [users, orders, items, logins, plain]
    );
    // WITH d AS (DELETE FROM users …) INSERT INTO users: one target, two changes.
    let twice = write(Kind::Insert, "users").defines("d");
    assert_eq!(touched(&catalog, &twice), [users, orders, items, logins]);
    // What a data-modifying WITH does to which of its targets is not known.
    let with = write(Kind::Insert, "plain").writes_to("users");
    assert_eq!(
        touched(&catalog, &with),
        [users, orders, items, logins, plain]
    );
}

#[test]
fn partitions_and_their_ancestors() {
    let mut b = Builder::new();
    let root = b.relation("root", RelationKind::Partitioned, &["id"]);
    let leaf = b.table("leaf");
    let child = b.table("child");
    b.child(leaf, root);
    b.foreign_key(child, root, FkAction::Cascade, FkAction::None);
    let catalog = b.build();
    assert_eq!(
        touched(&catalog, &write(Kind::CopyFrom, "root")),
        [root, leaf]
    );
    assert_eq!(touched(&catalog, &write(Kind::CopyFrom, "leaf")), [leaf]);
    assert_eq!(
        touched(&catalog, &write(Kind::Delete, "leaf")),
        [leaf, child]
    );
    // An UPDATE may move a row, which deletes it.
    assert_eq!(
        touched(&catalog, &write(Kind::Update, "root")),
        [root, leaf, child]
    );
}

#[test]
fn views_lead_to_their_tables() {
    let mut b = Builder::new();
    let base = b.table("base");
    let view = b.view("v", select(&["public.base"]), &[Referred::Relation(base)]);
    let outer = b.view("w", select(&["public.v"]), &[Referred::Relation(view)]);
    let ruled = b.view(
        "ruled",
        select(&["public.base"]),
        &[Referred::Relation(base)],
    );
    b.picture.rules.push(ruled);
    let catalog = b.build();
    assert_eq!(
        touched(&catalog, &write(Kind::Update, "w")),
        [base, view, outer]
    );
    assert!(footprint(&catalog, &write(Kind::Update, "ruled")).everything);
}

#[test]
fn triggers_are_followed_into_their_functions() {
    let mut b = Builder::new();
    let stamped = b.table("stamped");
    let audited = b.table("audited");
    let audit = b.table("audit");
    let parent = b.relation("parent", RelationKind::Partitioned, &["id"]);
    let leaf = b.table("leaf");
    b.child(leaf, parent);
    let child = b.table("child");
    b.foreign_key(child, stamped, FkAction::Cascade, FkAction::None);
    let quiet = b.plpgsql("touch", QUIET);
    let loud = b.plpgsql("log", AUDIT);
    b.trigger(stamped, quiet);
    b.trigger(audited, loud);
    b.trigger(parent, loud);
    b.trigger(child, loud);
    let catalog = b.build();
    assert_eq!(
        touched(&catalog, &write(Kind::Update, "stamped")),
        [stamped]
    );
    assert_eq!(
        touched(&catalog, &write(Kind::Update, "audited")),
        [audited, audit]
    );
    assert_eq!(
        touched(&catalog, &write(Kind::Update, "leaf")),
        [audit, leaf]
    );
    // By the cascade.
    assert_eq!(
        touched(&catalog, &write(Kind::Delete, "stamped")),
        [stamped, audit, child]
    );
    assert!(catalog.has_user_triggers(leaf) && !catalog.has_user_triggers(audited + 1));
}

#[test]
fn hidden_code_of_users() {
    let mut b = Builder::new();
    let (by_default, by_index, by_type) = (
        b.table("by_default"),
        b.table("by_index"),
        b.table("by_type"),
    );
    let quiet = b.table("quiet");
    let loud = b.plpgsql("loud", AUDIT);
    let uuid = b.extension_function("uuid_generate_v4", "uuid-ossp", Volatility::Volatile);
    let domain = b.user_type("checked", TypeKind::Domain, 23);
    b.of(by_type).columns[0].type_oid = domain;
    b.refers(Owner::Write(by_default), Referred::Function(loud));
    b.refers(Owner::Index(by_index), Referred::Function(loud));
    b.refers(Owner::Type(domain), Referred::Function(loud));
    b.refers(Owner::Write(quiet), Referred::Function(uuid));
    let catalog = b.build();
    for target in ["by_default", "by_index", "by_type"] {
        assert!(
            footprint(&catalog, &write(Kind::Insert, target)).everything,
            "{target}"
        );
    }
    assert_eq!(touched(&catalog, &write(Kind::Insert, "quiet")), [quiet]);
    assert!(footprint(&catalog, &facts(Kind::Maintenance)).everything);
}

#[test]
fn functions_are_read_and_followed_by_name() {
    let mut b = Builder::new();
    let users = b.table("users");
    b.plpgsql("reads", "begin return (select count(*) from users); end");
    b.plpgsql("writes", "begin delete from users; end");
    b.function(
        "calls",
        "sql",
        Volatility::Stable,
        "select other.\"Writes\"(1)",
    );
    b.plpgsql("defines", "begin create table x (); end");
    b.plpgsql("dynamic", "begin execute q; end");
    b.function("python", "plpython3u", Volatility::Immutable, "");
    b.function(
        "selects_into",
        "sql",
        Volatility::Volatile,
        "select 1 into t",
    );
    b.plpgsql("xml", "begin return query_to_xml(q, true, true, ''); end");
    let catalog = b.build();
    let of = |function: &str| {
        let found = footprint(&catalog, &facts(Kind::Select).calls(function, &[]));
        (found.everything, found.catalogue)
    };
    assert_eq!(of("reads"), (false, false));
    for function in ["writes", "calls"] {
        let call = facts(Kind::Select).calls(function, &[]);
        assert_eq!(touched(&catalog, &call), [users], "{function}");
    }
    for function in [
        "defines",
        "dynamic",
        "python",
        "selects_into",
        "xml",
        "unheard_of",
    ] {
        assert_eq!(of(function), (true, true), "{function}");
    }
}

#[test]
fn code_that_writes_touches_what_it_names() {
    let mut b = Builder::new();
    let (plain, log, watched, deep) = (
        b.table("plain"),
        b.table("log"),
        b.table("watched"),
        b.table("deep"),
    );
    let dynamic = b.table("dynamic");
    b.table("öther");
    b.foreign_key(deep, watched, FkAction::Cascade, FkAction::None);
    let note = b.plpgsql("note", "begin insert into log values (1); end");
    let runs = b.plpgsql("runs", "begin execute q; end");
    b.trigger(watched, note);
    b.trigger(dynamic, runs);
    for (name, body) in [
        (
            "upserts",
            "insert into LOG values (1) on conflict (id) do update set a = 1",
        ),
        (
            "ignores",
            "insert into log select a from plain on conflict do nothing",
        ),
        ("sleeps", "perform pg_sleep(1); delete from \"log\""),
        ("cascades", "delete from watched"),
        ("calls", "perform cascades()"),
        ("block", "do 'x'; update log set a = 1"),
        ("empties", "truncate log"),
        ("unknown", "insert into nowhere values (1)"),
        ("own", "update pg_settings set a = 1; update log set a = 1"),
        ("letters", "update öther set a = 1; update log set a = 1"),
        ("reaches", "insert into dynamic values (1)"),
        ("commits", "update log set a = 1; commit"),
    ] {
        b.plpgsql(name, &format!("begin {body}; end"));
    }
    let catalog = b.build();
    let call = |function: &str| facts(Kind::Select).calls(function, &[]);
    assert_eq!(touched(&catalog, &call("upserts")), [log]);
    assert_eq!(touched(&catalog, &call("ignores")), [plain, log]);
    assert_eq!(touched(&catalog, &call("sleeps")), [log]);
    for function in ["cascades", "calls"] {
        assert_eq!(touched(&catalog, &call(function)), [log, watched, deep]);
    }
    for function in [
        "block", "empties", "unknown", "own", "letters", "reaches", "commits",
    ] {
        assert!(
            footprint(&catalog, &call(function)).everything,
            "{function}"
        );
    }
    let temporary = NameScope {
        temporaries: Temporaries::Any,
        ..scope()
    };
    assert!(
        catalog
            .judge(&call("upserts"), &temporary)
            .footprint
            .everything
    );
    // Nothing but what is asked for is followed; what is not, means everything.
    assert_eq!(
        touched(&catalog, &write(Kind::Insert, "watched")),
        [log, watched]
    );
    assert!(footprint(&catalog, &write(Kind::Insert, "dynamic")).everything);
    let planned = facts(Kind::Explain { analyze: false }).calls("upserts", &[]);
    assert!(footprint(&catalog, &planned).everything);
}

#[test]
fn built_ins_that_touch_nothing_and_some_that_may() {
    let catalog = Builder::new().build();
    let of = |function: &str| footprint(&catalog, &facts(Kind::Select).calls(function, &[]));
    for function in [
        "nextval",
        "set_config",
        "pg_advisory_lock",
        "pg_sleep",
        "random",
        "now",
    ] {
        assert!(of(function).is_nothing(), "{function}");
    }
    for function in ["query_to_xml", "lo_put"] {
        assert!(of(function).everything, "{function}");
    }
}

#[test]
fn a_view_that_calls_something_loud_is_a_write_when_read() {
    let mut b = Builder::new();
    let base = b.table("base");
    let loud = b.plpgsql("loud", AUDIT);
    b.view(
        "v",
        select(&["public.base"]),
        &[Referred::Relation(base), Referred::Function(loud)],
    );
    let catalog = b.build();
    assert!(footprint(&catalog, &select(&["v"])).everything);
    assert!(footprint(&catalog, &select(&["base"])).is_nothing());
}

#[test]
fn names_that_mean_nothing_yet_mean_everything() {
    let mut b = Builder::new();
    b.table("users");
    let catalog = b.build();
    assert!(footprint(&catalog, &write(Kind::Insert, "unheard_of")).everything);
    let temporary = NameScope {
        temporaries: Temporaries::Any,
        ..scope()
    };
    assert!(
        catalog
            .judge(&write(Kind::Insert, "users"), &temporary)
            .footprint
            .everything
    );
    let qualified = catalog.judge(&write(Kind::Insert, "public.users"), &temporary);
    assert!(!qualified.footprint.everything);
    assert!(footprint(&catalog, &Facts::unknown(Kind::Insert)).everything);
    assert!(footprint(&catalog, &Facts::unknown(Kind::TemporaryDdl)).everything);
    let system = footprint(&catalog, &write(Kind::Update, "pg_catalog.pg_class"));
    assert!(system.shared_catalogue && system.catalogue && system.everything);
}

#[test]
fn queries_that_fill_a_temporary_table_may_write() {
    let mut b = Builder::new();
    let log = b.table("log");
    b.table("t");
    let catalog = b.build();
    for sql in [
        "CREATE TEMP TABLE x AS WITH q AS (DELETE FROM log WHERE id = 2 RETURNING *) SELECT * FROM q",
        "CREATE TEMP TABLE x AS WITH q AS (UPDATE log SET a = 2 RETURNING a) SELECT q.a FROM q, t",
        "WITH q AS (INSERT INTO log VALUES (1, 2) RETURNING *) SELECT * INTO TEMP x FROM q",
    ] {
        let judged = catalog.judge_plain(&analyse(sql));
        assert_eq!(judged.footprint.relations.as_slice(), [log], "{sql}");
        assert_eq!(judged.narrow, None, "{sql}");
    }
    for sql in [
        "CREATE TEMP TABLE x AS SELECT * FROM log",
        "SELECT * INTO TEMP x FROM log",
        "CREATE TEMP TABLE x (a int, b text DEFAULT 'x')",
        "CREATE TEMP VIEW x AS SELECT * FROM log",
    ] {
        assert!(footprint(&catalog, &analyse(sql)).is_nothing(), "{sql}");
    }
    for sql in [
        "CREATE TEMP TABLE x AS EXECUTE p",
        "CREATE TEMP TABLE x AS SELECT 1 FROM log WHERE",
    ] {
        let judged = catalog.judge_plain(&analyse(sql));
        assert!(judged.footprint.everything, "{sql}");
        assert!(judged.effects.contains(Effects::ALL), "{sql}");
    }
}

#[test]
fn what_may_be_a_temporary_view_may_call_what_writes() {
    let mut b = Builder::new();
    b.table("t");
    b.table("audit");
    b.plpgsql("loud", AUDIT);
    let loud = b.build();
    let quiet = Builder::new().build();
    let any = NameScope {
        temporaries: Temporaries::Any,
        ..scope()
    };
    let own = NameScope {
        temporaries: Temporaries::Tables(vec![OwnTable {
            name: "mine".into(),
            draws: false,
        }]),
        ..scope()
    };
    let touches = |catalog: &Catalog, sql: &str, scope: &NameScope| {
        catalog.judge(&analyse(sql), scope).footprint.everything
    };
    for sql in [
        "SELECT * FROM tv",
        "SELECT 1 FROM public.t, pg_temp.tv",
        "TABLE tv",
        "EXPLAIN ANALYZE SELECT * FROM tv",
        "DECLARE c CURSOR FOR SELECT * FROM tv",
        "CREATE TEMP TABLE z AS SELECT * FROM tv",
    ] {
        assert!(touches(&loud, sql, &any), "{sql}");
        assert!(!touches(&quiet, sql, &any), "{sql}");
    }
    assert!(!touches(&loud, "SELECT * FROM public.t", &any));
    assert!(!touches(&loud, "SELECT * FROM mine, pg_temp.mine m", &own));
}

#[test]
fn kinds_that_touch_nothing() {
    let catalog = Builder::new().build();
    for kind in [
        Kind::Empty,
        Kind::Commit { chain: false },
        Kind::Set {
            name: "x".into(),
            local: false,
        },
        Kind::Show { name: "x".into() },
        Kind::DiscardAll,
        Kind::Prepare { name: "p".into() },
        Kind::Fetch,
        Kind::Notify,
        Kind::Lock,
        Kind::TemporaryDdl,
        Kind::Maintenance,
        Kind::Explain { analyze: false },
        Kind::Declare { hold: false },
    ] {
        assert!(
            footprint(&catalog, &facts(kind.clone())).is_nothing(),
            "{kind:?}"
        );
    }
    // What is known by its first words alone stays harmless where the rest does not matter.
    let set = Facts::unknown(Kind::Set {
        name: "x".into(),
        local: true,
    });
    assert!(footprint(&catalog, &set).is_nothing());
}

#[test]
fn kinds_that_touch_everything() {
    let mut b = Builder::new();
    b.table("users");
    b.plpgsql("proc", "begin delete from users; end");
    let catalog = b.build();
    let ddl = |f: Footprint| (f.everything, f.catalogue, f.shared_catalogue);
    assert_eq!(
        ddl(footprint(&catalog, &facts(Kind::Ddl))),
        (true, true, true)
    );
    assert_eq!(
        ddl(footprint(&catalog, &write(Kind::Ddl, "users"))),
        (true, true, false)
    );
    assert_eq!(
        ddl(footprint(&catalog, &facts(Kind::Do))),
        (true, true, false)
    );
    assert_eq!(
        ddl(footprint(&catalog, &facts(Kind::Unknown))),
        (true, true, true)
    );
    assert_eq!(
        ddl(footprint(&catalog, &facts(Kind::Call).calls("proc", &[]))),
        (true, false, false)
    );
    assert_eq!(
        ddl(footprint(&catalog, &facts(Kind::Call))),
        (true, true, false)
    );
    let execute = facts(Kind::Execute { name: "p".into() });
    assert_eq!(ddl(footprint(&catalog, &execute)), (true, false, false));
    for kind in [
        Kind::Explain { analyze: true },
        Kind::Explain { analyze: false },
        Kind::TemporaryDdl,
    ] {
        assert!(footprint(&catalog, &Facts::unknown(kind)).everything);
    }
}

#[test]
fn refreshing_touches_the_materialised_view() {
    let mut b = Builder::new();
    let base = b.table("base");
    let view = b.relation("m", RelationKind::MaterializedView, &["id"]);
    let loud_view = b.relation("n", RelationKind::MaterializedView, &["id"]);
    let loud = b.plpgsql("loud", AUDIT);
    b.refers(Owner::Refresh(view), Referred::Relation(base));
    b.refers(Owner::Refresh(loud_view), Referred::Function(loud));
    let catalog = b.build();
    assert_eq!(
        touched(&catalog, &write(Kind::RefreshMaterializedView, "m")),
        [view]
    );
    assert!(footprint(&catalog, &write(Kind::RefreshMaterializedView, "n")).everything);
    assert!(footprint(&catalog, &facts(Kind::RefreshMaterializedView)).everything);
}

#[test]
fn an_index_that_may_call_a_function_changes_the_catalogue() {
    let mut b = Builder::new();
    b.table("t");
    let catalog = b.build();
    for sql in [
        "CREATE INDEX ON t (a)",
        "CREATE UNIQUE INDEX i ON t USING btree (id DESC NULLS LAST, a text_pattern_ops) INCLUDE (a)",
        "CREATE INDEX ON t (a COLLATE \"C\" text_pattern_ops ASC)",
        "VACUUM t",
        "ANALYZE",
    ] {
        assert!(footprint(&catalog, &analyse(sql)).is_nothing(), "{sql}");
    }
    for sql in [
        "CREATE INDEX ON t (imm(a))",
        "CREATE INDEX ON t (a) WHERE imm(a) > 0",
        "CREATE INDEX ON t USING gist (a, (imm(a)))",
        "CREATE INDEX ON t (a my_ops)",
    ] {
        assert!(footprint(&catalog, &analyse(sql)).catalogue, "{sql}");
    }
}

#[test]
fn event_triggers_run_with_ddl() {
    let mut b = Builder::new();
    let loud = b.plpgsql("on_ddl", AUDIT);
    b.picture.event_triggers.push(loud);
    let catalog = b.build();
    for kind in [Kind::TemporaryDdl, Kind::Maintenance] {
        assert!(footprint(&catalog, &facts(kind)).everything);
    }
}
