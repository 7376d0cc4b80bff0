use super::builder::{Builder, name, scope, select};
use crate::catalog::{NameScope, Temporaries};
use crate::sql::Bypass;

fn path(schemas: &[&str]) -> NameScope {
    NameScope {
        search_path: schemas.iter().map(|s| (*s).to_owned()).collect(),
        ..scope()
    }
}

#[test]
fn the_search_path_decides() {
    let mut b = Builder::new();
    b.schema("app", None);
    let public = b.table("orders");
    let app = b.table("app.orders");
    let catalog = b.build();
    assert_eq!(
        catalog.resolve(&name("orders"), &path(&["app", "public"])),
        Some(app)
    );
    assert_eq!(
        catalog.resolve(&name("orders"), &path(&["public", "app"])),
        Some(public)
    );
    assert_eq!(catalog.resolve(&name("app.orders"), &path(&[])), Some(app));
    assert_eq!(catalog.resolve(&name("orders"), &path(&["missing"])), None);
}

#[test]
fn pg_catalog_comes_first_unless_listed() {
    let mut b = Builder::new();
    let own = b.table("pg_class");
    let catalog = b.build();
    assert_eq!(
        catalog.resolve(&name("pg_class"), &path(&["public"])),
        Some(1259)
    );
    assert_eq!(
        catalog.resolve(&name("pg_class"), &path(&["public", "pg_catalog"])),
        Some(own)
    );
}

#[test]
fn a_schema_that_the_role_may_not_use_leaves_both_possible() {
    let mut b = Builder::new();
    b.schema("secret", Some(&["boss"]));
    let secret = b.table("secret.orders");
    let public = b.table("orders");
    let catalog = b.build();
    let names = path(&["secret", "public"]);
    let read = catalog
        .judge(&select(&["orders"]), &names)
        .read
        .expect("cacheable");
    assert_eq!(read.dependencies.as_slice(), [secret, public]);

    let boss = NameScope {
        role: "boss".into(),
        ..names
    };
    let read = catalog
        .judge(&select(&["orders"]), &boss)
        .read
        .expect("cacheable");
    assert_eq!(read.dependencies.as_slice(), [secret]);
}

#[test]
fn temporary_objects_make_reads_doubtful() {
    let mut b = Builder::new();
    b.table("orders");
    let catalog = b.build();
    let names = NameScope {
        temporaries: Temporaries::Any,
        ..scope()
    };
    for relation in ["orders", "public.orders", "pg_temp.orders"] {
        let read = catalog.judge(&select(&[relation]), &names).read;
        assert_eq!(read, Err(Bypass::TemporaryRelation), "{relation}");
    }
    assert_eq!(
        catalog.judge_plain(&select(&["pg_temp_3.orders"])).read,
        Err(Bypass::TemporaryRelation)
    );
}
