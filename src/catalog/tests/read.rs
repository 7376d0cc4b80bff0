use super::super::picture::{Owner, Referred, RelationKind, TypeKind, Volatility};
use super::builder::{Builder, INT, TIMESTAMPTZ, With, facts, name, scope, select};
use crate::catalog::{Catalog, NameScope, Order};
use crate::sql::{Bypass, Facts, Kind};

fn bypass(catalog: &Catalog, facts: &Facts) -> Option<Bypass> {
    catalog.judge_plain(facts).read.err()
}

fn dependencies(catalog: &Catalog, facts: &Facts) -> Vec<u32> {
    catalog
        .judge_plain(facts)
        .read
        .expect("cacheable")
        .dependencies
        .to_vec()
}

#[test]
fn a_table_is_its_own_dependency() {
    let mut b = Builder::new();
    let users = b.table("users");
    let catalog = b.build();
    let read = catalog
        .judge_plain(&select(&["users"]).column("users.id").column("a"))
        .read;
    let read = read.expect("cacheable");
    assert_eq!(read.dependencies.as_slice(), [users]);
    assert_eq!(read.relation_names, ["public.users"]);
}

#[test]
fn kinds_of_relation_that_are_not_cached() {
    let mut b = Builder::new();
    b.relation("f", RelationKind::Foreign, &["id"]);
    b.relation("s", RelationKind::Sequence, &[]);
    let typed = b.table("t");
    b.of(typed).columns[0].type_oid = 2205;
    let catalog = b.build();
    for (relation, reason) in [
        ("f", Bypass::ForeignTable),
        ("s", Bypass::Sequence),
        ("t", Bypass::UnsafeType),
        ("pg_class", Bypass::SystemCatalog),
        ("information_schema.tables", Bypass::SystemCatalog),
        ("nothing", Bypass::UnknownRelation),
        ("pg_temp.x", Bypass::TemporaryRelation),
    ] {
        assert_eq!(
            bypass(&catalog, &select(&[relation])),
            Some(reason),
            "{relation}"
        );
    }
}

#[test]
fn descendants_count_unless_only() {
    let mut b = Builder::new();
    let root = b.relation("root", RelationKind::Partitioned, &["id"]);
    let middle = b.relation("middle", RelationKind::Partitioned, &["id"]);
    let leaf = b.table("leaf");
    b.child(middle, root);
    b.child(leaf, middle);
    let catalog = b.build();
    assert_eq!(
        dependencies(&catalog, &select(&["root"])),
        [root, middle, leaf]
    );
    assert_eq!(dependencies(&catalog, &select(&["middle"])), [middle, leaf]);
    let mut only = select(&["root"]);
    only.relations[0].only = true;
    assert_eq!(dependencies(&catalog, &only), [root]);
}

#[test]
fn a_foreign_partition_taints_the_whole() {
    let mut b = Builder::new();
    let root = b.relation("root", RelationKind::Partitioned, &["id"]);
    let leaf = b.relation("leaf", RelationKind::Foreign, &["id"]);
    b.child(leaf, root);
    let catalog = b.build();
    assert_eq!(
        bypass(&catalog, &select(&["root"])),
        Some(Bypass::ForeignTable)
    );
}

#[test]
fn policies_add_what_they_read() {
    let mut b = Builder::new();
    let members = b.table("members");
    let clock = b.table("clock");
    let own = b.table("own");
    let shared = b.table("shared");
    let twice = b.table("twice");
    let itself = b.table("itself");
    b.builtin("now", false, true);
    b.policies(clock, select(&[]).calls("now", &[]), &[]);
    b.policies(own, select(&[]), &[]);
    b.policies(
        shared,
        select(&["public.members"]),
        &[Referred::Relation(members)],
    );
    // Another table's policies count where it is read.
    b.policies(
        twice,
        select(&["public.shared"]),
        &[Referred::Relation(shared)],
    );
    b.policies(itself, select(&["public.itself"]), &[]);
    let over = b.view("over", select(&["public.twice"]), &[]);
    b.refers(Owner::View(over), Referred::Relation(twice));
    let catalog = b.build();
    assert_eq!(dependencies(&catalog, &select(&["own"])), [own]);
    assert_eq!(
        dependencies(&catalog, &select(&["shared"])),
        [members, shared]
    );
    let all = [members, shared, twice];
    assert_eq!(dependencies(&catalog, &select(&["twice"])), all);
    assert_eq!(dependencies(&catalog, &select(&["over"])), all);
    let reason = |name| bypass(&catalog, &select(&[name]));
    assert_eq!(reason("clock"), Some(Bypass::StableFunction));
    assert_eq!(reason("itself"), Some(Bypass::RowSecurity));
}

#[test]
fn views_are_followed_to_their_tables() {
    let mut b = Builder::new();
    let base = b.table("base");
    let hidden = b.table("hidden");
    // The outer view is made first: the order of oids must not matter.
    let outer = b.view("outer_view", select(&["public.inner_view"]), &[]);
    let inner = b.view(
        "inner_view",
        select(&["public.base"]),
        &[Referred::Relation(hidden)],
    );
    b.refers(Owner::View(outer), Referred::Relation(inner));
    let catalog = b.build();
    assert_eq!(
        dependencies(&catalog, &select(&["outer_view"])),
        [base, hidden]
    );
    let read = catalog
        .judge_plain(&select(&["outer_view"]))
        .read
        .expect("cacheable");
    assert!(
        read.relation_names
            .contains(&"public.inner_view".to_owned())
    );
}

#[test]
fn a_views_own_query_is_judged() {
    let mut b = Builder::new();
    b.table("base");
    let user = b.plpgsql("f", "begin return 1; end");
    b.view("clock", select(&["public.base"]).calls("now", &[]), &[]);
    b.view(
        "calls",
        select(&["public.base"]),
        &[Referred::Function(user)],
    );
    b.view("unreadable", Facts::unknown(Kind::Select), &[]);
    b.view("system", select(&["pg_class"]), &[]);
    let a = b.view("a", select(&["public.b"]), &[]);
    let c = b.view("b", select(&["public.a"]), &[Referred::Relation(a)]);
    b.refers(Owner::View(a), Referred::Relation(c));
    let catalog = b.build();
    for (view, reason) in [
        ("clock", Bypass::StableFunction),
        ("calls", Bypass::UserFunction),
        ("unreadable", Bypass::Unparsed),
        ("system", Bypass::SystemCatalog),
        ("a", Bypass::UnknownRelation),
    ] {
        assert_eq!(bypass(&catalog, &select(&[view])), Some(reason), "{view}");
    }
}

#[test]
fn a_materialised_view_hides_what_it_was_made_of() {
    let mut b = Builder::new();
    let base = b.table("base");
    let view = b.relation("m", RelationKind::MaterializedView, &["id"]);
    b.refers(Owner::Refresh(view), Referred::Relation(base));
    let catalog = b.build();
    assert_eq!(dependencies(&catalog, &select(&["m"])), [view]);
}

#[test]
fn common_table_expressions_are_no_relations() {
    let mut b = Builder::new();
    let users = b.table("users");
    let catalog = b.build();
    let cte = select(&["users", "recent"])
        .defines("recent")
        .column("recent.id");
    assert_eq!(dependencies(&catalog, &cte), [users]);
    // A name that is defined and that also is a relation counts as both.
    let shadow = select(&["users"]).defines("users");
    assert_eq!(dependencies(&catalog, &shadow), [users]);
}

#[test]
fn built_in_functions() {
    let catalog = Builder::new().build();
    let call = |function: &str| bypass(&catalog, &facts(Kind::Select).calls(function, &[]));
    assert_eq!(call("lower"), None);
    assert_eq!(call("pg_catalog.to_char"), None);
    assert_eq!(call("coalesce"), None);
    assert_eq!(call("now"), Some(Bypass::StableFunction));
    assert_eq!(call("random"), Some(Bypass::VolatileFunction));
    assert_eq!(call("nextval"), Some(Bypass::Sequence));
    assert_eq!(call("no_such"), Some(Bypass::UserFunction));
    assert_eq!(call("other.lower"), Some(Bypass::UserFunction));
}

#[test]
fn a_users_function_of_the_same_name_ends_trust() {
    let mut b = Builder::new();
    b.schema("elsewhere", None);
    b.function("elsewhere.lower", "sql", Volatility::Immutable, "select 1");
    b.extension_function("count", "citext", Volatility::Immutable);
    let catalog = b.build();
    let call = |function: &str| bypass(&catalog, &facts(Kind::Select).calls(function, &[None]));
    assert_eq!(call("lower"), Some(Bypass::UserFunction));
    assert_eq!(call("pg_catalog.lower"), None);
    assert_eq!(call("count"), None);
}

#[test]
fn functions_of_extensions_only_when_immutable() {
    let mut b = Builder::new();
    b.extension_function("similarity", "pg_trgm", Volatility::Immutable);
    b.extension_function("unaccent", "unaccent", Volatility::Stable);
    let catalog = b.build();
    let call = |function: &str| bypass(&catalog, &facts(Kind::Select).calls(function, &[None]));
    assert_eq!(call("similarity"), None);
    assert_eq!(call("unaccent"), Some(Bypass::UserFunction));
}

#[test]
fn a_vouched_function_brings_the_relations_in_its_text() {
    let mut b = Builder::new();
    let users = b.table("users");
    let orders = b.table("orders");
    b.plpgsql(
        "total",
        "begin return (select sum(a) from orders where id = helper(x)); end",
    );
    b.function(
        "helper",
        "sql",
        Volatility::Stable,
        "select id from public.users",
    );
    b.plpgsql("dynamic", "begin execute 'select 1 from users'; end");
    b.plpgsql("writes", "begin delete from users; end");
    b.plpgsql("clock", "begin return now(); end");
    b.plpgsql("tenant", "begin return current_setting('app.tenant'); end");
    b.extension_function("opaque", "somewhere", Volatility::Volatile);
    let catalog = b.build();
    let vouched = NameScope {
        vouched_functions: [
            "total",
            "public.dynamic",
            "writes",
            "clock",
            "tenant",
            "opaque",
        ]
        .map(str::to_owned)
        .to_vec(),
        ..scope()
    };
    let call = |function: &str| {
        let facts = facts(Kind::Select).calls(function, &[]);
        catalog.judge(&facts, &vouched).read
    };
    assert_eq!(
        call("total").expect("vouched").dependencies.as_slice(),
        [users, orders]
    );
    assert_eq!(call("helper"), Err(Bypass::UserFunction));
    for function in ["dynamic", "writes", "clock", "tenant"] {
        assert_eq!(call(function), Err(Bypass::UserFunction), "{function}");
    }
    assert!(call("opaque").expect("vouched").dependencies.is_empty());
}

#[test]
fn settings_are_named_or_refused() {
    let catalog = Builder::new().build();
    let read = |arguments: &[Option<&str>]| {
        catalog
            .judge_plain(&facts(Kind::Select).calls("current_setting", arguments))
            .read
    };
    let custom = read(&[Some("App.Tenant"), None]).expect("cacheable");
    assert_eq!(custom.custom_settings, ["app.tenant"]);
    assert!(
        read(&[Some("TimeZone")])
            .expect("cacheable")
            .custom_settings
            .is_empty()
    );
    assert_eq!(read(&[None]), Err(Bypass::CustomSetting));
    assert_eq!(
        read(&[Some("application_name")]),
        Err(Bypass::CustomSetting)
    );
}

#[test]
fn columns_that_are_none() {
    let mut b = Builder::new();
    b.table("users");
    let by_row = b.plpgsql("full_name", "begin return 1; end");
    let place = b
        .picture
        .functions
        .iter()
        .position(|f| f.oid == by_row)
        .expect("made above");
    b.picture.functions[place].takes_row = true;
    let catalog = b.build();
    let read = |column: &str| {
        bypass(
            &catalog,
            &select(&["users"]).defines("total").column(column),
        )
    };
    assert_eq!(read("id"), None);
    assert_eq!(read("users"), None);
    assert_eq!(read("total"), None);
    assert_eq!(read("public.users.id"), None);
    assert_eq!(read("users.nothing"), Some(Bypass::UnknownColumn));
    assert_eq!(read("nothing"), Some(Bypass::UnknownColumn));
    assert_eq!(read("x.id"), Some(Bypass::UnknownColumn));
    assert_eq!(read("users.full_name"), Some(Bypass::UserFunction));
    assert_eq!(read("users.ctid"), Some(Bypass::SystemColumn));
}

#[test]
fn operators_and_casts_of_users() {
    let mut b = Builder::new();
    let trusted = b.extension_function("similarity_dist", "pg_trgm", Volatility::Immutable);
    let loud = b.plpgsql("op", "begin return 1; end");
    b.operator("<->", trusted);
    b.operator("@@@", loud);
    let catalog = b.build();
    let read = |operator: &str| {
        let mut facts = facts(Kind::Select);
        facts.operators.push(operator.into());
        bypass(&catalog, &facts)
    };
    assert_eq!(read("<->"), None);
    assert_eq!(read("+"), None);
    assert_eq!(read("@@@"), Some(Bypass::UserOperator));
}

#[test]
fn what_applies_unseen_ends_caching() {
    let mut b = Builder::new();
    let function = b.plpgsql("eq", "begin return true; end");
    b.operator("=", function);
    assert_eq!(
        bypass(&b.build(), &facts(Kind::Select)),
        Some(Bypass::UserOperator)
    );

    let mut b = Builder::new();
    let function = b.plpgsql("to_int", "begin return 1; end");
    b.cast(INT, function, false);
    assert_eq!(
        bypass(&b.build(), &facts(Kind::Select)),
        Some(Bypass::UserCast)
    );

    let mut b = Builder::new();
    b.cast(TIMESTAMPTZ, 0, true);
    assert_eq!(
        bypass(&b.build(), &facts(Kind::Select)),
        Some(Bypass::UserCast)
    );

    let mut b = Builder::new();
    b.cast(INT, 0, true);
    assert_eq!(bypass(&b.build(), &facts(Kind::Select)), None);
}

#[test]
fn types_in_casts() {
    let mut b = Builder::new();
    b.user_type("mood", TypeKind::Enum, 0);
    b.user_type("moment", TypeKind::Domain, TIMESTAMPTZ);
    let positive = b.user_type("positive", TypeKind::Domain, INT);
    let place = b
        .picture
        .types
        .iter()
        .position(|t| t.oid == positive)
        .expect("made above");
    b.picture.types[place].checked = true;
    let catalog = b.build();
    let read = |written: &str| {
        let mut facts = facts(Kind::Select);
        facts.types.push(name(written));
        bypass(&catalog, &facts)
    };
    assert_eq!(read("integer"), None);
    assert_eq!(read("timestamp with time zone"), None);
    assert_eq!(read("pg_catalog.int4"), None);
    assert_eq!(read("int[]"), None);
    assert_eq!(read("mood"), None);
    assert_eq!(read("timestamptz[]"), Some(Bypass::DatetimeText));
    assert_eq!(read("daterange"), Some(Bypass::DatetimeText));
    assert_eq!(read("moment"), Some(Bypass::DatetimeText));
    assert_eq!(read("regclass"), Some(Bypass::UnsafeType));
    assert_eq!(read("positive"), Some(Bypass::UnsafeType));
    assert_eq!(read("unheard_of"), Some(Bypass::UnsafeType));
}

#[test]
fn what_the_text_says_comes_first() {
    let mut b = Builder::new();
    b.table("users");
    let catalog = b.build();
    let base = || select(&["users"]);
    let with = |change: &dyn Fn(&mut Facts)| {
        let mut facts = base();
        change(&mut facts);
        bypass(&catalog, &facts)
    };
    assert_eq!(with(&|f| f.kind = Kind::Update), Some(Bypass::NotSelect));
    assert_eq!(
        with(&|f| f.hazard = Some(Bypass::TableSample)),
        Some(Bypass::TableSample)
    );
    assert_eq!(with(&|f| f.complete = false), Some(Bypass::Unparsed));
    assert_eq!(with(&|f| f.writes = true), Some(Bypass::NotSelect));
    assert_eq!(with(&|f| f.locks = true), Some(Bypass::Locking));
}

#[test]
fn dates_made_of_dates_hold_no_text() {
    let mut b = Builder::new();
    let users = b.table("users");
    b.of(users).columns[0].type_oid = TIMESTAMPTZ;
    b.of(users).columns[1].type_oid = 25;
    let catalog = b.build();
    let read = |column: Option<&str>, defined: &str| {
        let mut facts = select(&["users"]).defines(defined);
        facts.hazard = Some(Bypass::DatetimeText);
        facts.datetime_columns = column.map(|c| facts.clone().column(c).columns);
        bypass(&catalog, &facts)
    };
    assert_eq!(read(Some("id"), "x"), None);
    assert_eq!(read(Some("users.id"), "x"), None);
    assert_eq!(read(Some("id"), "id"), Some(Bypass::DatetimeText));
    assert_eq!(read(Some("a"), "x"), Some(Bypass::DatetimeText));
    assert_eq!(read(Some("b"), "x"), Some(Bypass::DatetimeText));
    assert_eq!(read(None, "x"), Some(Bypass::DatetimeText));
}

#[test]
fn answers_that_are_left_open() {
    let mut b = Builder::new();
    b.table("whole");
    let floats = b.table("floats");
    b.of(floats).columns[0].type_oid = 701;
    for name in ["sum", "array_agg"] {
        b.builtin(name, false, false);
    }
    let mut limited = select(&["public.whole"]);
    limited.limited = true;
    let whole = b.relation_named("whole");
    b.view("limited", limited.clone(), &[Referred::Relation(whole)]);
    let catalog = b.build();
    let order = |facts: &Facts| catalog.judge_plain(facts).read.expect("cacheable").order;
    assert_eq!(order(&select(&["whole"])), Order::Multiset);
    assert_eq!(order(&limited), Order::Undetermined);
    assert_eq!(order(&select(&["limited"])), Order::Undetermined);
    assert_eq!(
        order(&select(&["whole"]).calls("sum", &[None])),
        Order::Multiset
    );
    assert_eq!(
        order(&select(&["floats"]).calls("sum", &[None])),
        Order::Undetermined
    );
    assert_eq!(
        order(&select(&["whole"]).calls("array_agg", &[None])),
        Order::Undetermined
    );
}
