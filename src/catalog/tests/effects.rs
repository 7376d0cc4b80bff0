use super::builder::{Builder, With, facts};
use crate::catalog::picture::{Owner, TypeKind, Volatility};
use crate::catalog::{Catalog, Effects};
use crate::sql::{Facts, Kind, analyse};

fn effects(catalog: &Catalog, facts: &Facts) -> Effects {
    catalog.judge_plain(facts).effects
}

#[test]
fn of_kinds() {
    let catalog = Builder::new().build();
    let set = |local| Kind::Set {
        name: "x".into(),
        local,
    };
    for (kind, expected) in [
        (Kind::Select, Effects::NONE),
        (set(false), Effects::SETTINGS),
        (set(true), Effects::NONE),
        (Kind::SetTransaction, Effects::NONE),
        (Kind::Reset { name: None }, Effects::SETTINGS),
        (Kind::DiscardAll, Effects::ALL),
        (Kind::Listen, Effects::LISTEN),
        (Kind::Notify, Effects::NONE),
        (Kind::Prepare { name: "p".into() }, Effects::PREPARED),
        (Kind::Deallocate { name: None }, Effects::PREPARED),
        (Kind::Execute { name: "p".into() }, Effects::ALL),
        (Kind::Declare { hold: true }, Effects::CURSORS),
        (Kind::Declare { hold: false }, Effects::NONE),
        (Kind::CloseCursor, Effects::CURSORS),
        (Kind::TemporaryDdl, Effects::TEMPORARY),
        (Kind::Do, Effects::ALL),
        (Kind::Unknown, Effects::ALL),
    ] {
        assert_eq!(
            effects(&catalog, &facts(kind.clone())),
            expected,
            "{kind:?}"
        );
    }
    assert_eq!(
        effects(&catalog, &Facts::unknown(Kind::Select)),
        Effects::ALL
    );
}

#[test]
fn of_built_in_functions() {
    let catalog = Builder::new().build();
    let of = |function: &str| effects(&catalog, &facts(Kind::Select).calls(function, &[]));
    assert_eq!(of("set_config"), Effects::SETTINGS);
    assert_eq!(of("nextval"), Effects::SEQUENCE);
    assert_eq!(of("pg_advisory_lock"), Effects::ADVISORY_LOCKS);
    assert_eq!(of("query_to_xml"), Effects::ALL);
    assert_eq!(of("lower"), Effects::NONE);
    // The session sees it in the text.
    assert_eq!(of("currval"), Effects::NONE);
}

#[test]
fn of_serial_columns() {
    let mut b = Builder::new();
    let users = b.table("users");
    b.of(users).has_identity = true;
    let catalog = b.build();
    assert_eq!(
        effects(&catalog, &facts(Kind::Insert).writes_to("users")),
        Effects::SEQUENCE
    );
}

#[test]
fn of_unseen_reads_of_a_sequence() {
    let mut b = Builder::new();
    let users = b.table("users");
    b.calls_hidden(Owner::Write(users), "lastval");
    b.plpgsql("drawn", "begin return lastval(); end");
    let catalog = b.build();
    assert_eq!(
        effects(&catalog, &facts(Kind::Insert).writes_to("users")),
        Effects::SEQUENCE_READ
    );
    assert_eq!(
        effects(&catalog, &facts(Kind::Select).calls("drawn", &[])),
        Effects::SEQUENCE_READ
    );
}

#[test]
fn of_triggers_that_keep_plans_in_the_process() {
    let mut b = Builder::new();
    let (parent, child) = (b.table("parent"), b.table("child"));
    let symbol = "check_foreign_key";
    let cascades = b.function("cascades", "c", Volatility::Volatile, symbol);
    let of_another_kind = b.function("other", "internal", Volatility::Volatile, symbol);
    b.trigger(parent, cascades);
    b.trigger(child, of_another_kind);
    let catalog = b.build();
    let of = |table: &str| effects(&catalog, &facts(Kind::Delete).writes_to(table));
    assert!(of("parent").contains(Effects::PROCESS));
    assert!(!of("child").contains(Effects::PROCESS));
}

#[test]
fn of_function_bodies() {
    let mut b = Builder::new();
    b.plpgsql("sets", "begin perform set_config('a.b', 'c', false); end");
    b.plpgsql("sets_too", "begin set a.b = 1; end");
    b.plpgsql("locally", "begin set local a.b = 1; end");
    b.plpgsql("locks", "begin perform pg_advisory_lock(1); end");
    b.plpgsql("listens", "begin listen channel; end");
    b.plpgsql("temps", "begin create temp table x (); end");
    b.plpgsql("dynamic", "begin execute 'select ' || q; end");
    b.plpgsql("elsewhere", "begin execute q; end");
    b.plpgsql("calls", "begin perform sets(); perform locks(); end");
    b.plpgsql("recursive_a", "begin perform recursive_b(); end");
    b.plpgsql(
        "recursive_b",
        "begin perform recursive_a(); perform sets(); end",
    );
    b.plpgsql("nothing", "begin return 1; end");
    let catalog = b.build();
    let of = |function: &str| effects(&catalog, &facts(Kind::Select).calls(function, &[]));
    assert_eq!(of("sets"), Effects::SETTINGS);
    assert_eq!(of("sets_too"), Effects::SETTINGS);
    assert_eq!(of("locally"), Effects::SETTINGS);
    assert_eq!(of("locks"), Effects::ADVISORY_LOCKS);
    assert_eq!(of("listens"), Effects::LISTEN);
    assert!(of("temps").contains(Effects::TEMPORARY));
    assert_eq!(of("dynamic"), Effects::ALL);
    let anything = Effects::ALL.union(Effects::UNNAMED_SETTINGS);
    assert_eq!(of("elsewhere"), anything);
    assert_eq!(
        of("calls"),
        Effects::SETTINGS.union(Effects::ADVISORY_LOCKS)
    );
    assert_eq!(of("recursive_a"), Effects::SETTINGS);
    assert_eq!(of("nothing"), Effects::NONE);
}

#[test]
fn of_triggers_behind_a_write_and_behind_functions_that_write() {
    let mut b = Builder::new();
    let users = b.table("users");
    let trigger = b.plpgsql(
        "on_users",
        "begin perform set_config('a.b', 'c', false); return new; end",
    );
    b.trigger(users, trigger);
    b.plpgsql("writer", "begin update users set a = 1; end");
    let catalog = b.build();
    assert_eq!(
        effects(&catalog, &facts(Kind::Update).writes_to("users")),
        Effects::SETTINGS
    );
    assert_eq!(
        effects(&catalog, &facts(Kind::Select).calls("writer", &[])),
        Effects::SETTINGS
    );
}

#[test]
fn of_definitions_that_evaluate_nothing() {
    let with = || {
        let mut b = Builder::new();
        b.plpgsql("draws", "BEGIN RETURN nextval('s'); END");
        b
    };
    let catalog = with().build();
    for sql in ["ALTER POLICY p ON t USING (a = 2)", "DROP TABLE t"] {
        assert_eq!(
            effects(&catalog, &analyse(sql)),
            Effects::TEMPORARY,
            "{sql}"
        );
    }
    let altered = effects(
        &catalog,
        &analyse("ALTER TABLE t ADD b int DEFAULT draws()"),
    );
    assert!(altered.contains(Effects::SEQUENCE));
    let mut b = with();
    let loud = b.plpgsql("on_ddl", "BEGIN PERFORM nextval('s'); END");
    b.picture.event_triggers.push(loud);
    let catalog = b.build();
    let dropped = effects(&catalog, &analyse("DROP TABLE t"));
    assert!(dropped.contains(Effects::SEQUENCE));
}

/// Libraries are loaded by whoever runs their code, and what was not loaded can still be set.
#[test]
fn orders_of_users_concern_values_of_their_types_alone() {
    let mut b = Builder::new();
    let compare = b.plpgsql("compare", "BEGIN RETURN 0; END");
    let mine = b.user_type("mine", TypeKind::Composite, 0);
    let parts = &mut b.picture;
    parts.ordered_by_users.push(mine);
    parts.ordering_functions.push(compare);
    let catalog = b.build();
    for (sql, loads) in [
        ("SELECT '2006-08-13'::timestamptz", false),
        ("SELECT '(1)'::mine", true),
        ("SELECT '{(1)}'::mine[]", true),
    ] {
        assert_eq!(catalog.judge_plain(&analyse(sql)).loads, loads, "{sql}");
    }
}
