//! A picture in a few words.

use std::collections::HashMap;

use super::super::picture::{
    Builtin, Cast, Column, FkAction, ForeignKey, Function, Operator, Owner, Picture, Reference,
    Referred, Relation, RelationKind, Schema, Trigger, TypeKind, UserType, Volatility,
};
use super::super::region::Columns;
use super::super::{Catalog, CatalogVersion, Judgement, NameScope};
use crate::sql::{
    Access, ColumnUse, Facts, FunctionUse, Kind, KnownArgument, ObjectName, RelationUse,
};

pub const INT: u32 = 23;
pub const TIMESTAMPTZ: u32 = 1184;

/// Names are `schema.name`, or `name` in `public`. Oids are given out in order from 20001.
pub struct Builder {
    pub picture: Picture,
    pub definitions: HashMap<String, Facts>,
    next: u32,
}

pub fn split(name: &str) -> (String, String) {
    let (schema, name) = name.split_once('.').unwrap_or(("public", name));
    (schema.to_owned(), name.to_owned())
}

impl Builder {
    pub fn new() -> Self {
        let mut builder = Self {
            picture: Picture::default(),
            definitions: HashMap::new(),
            next: 20_000,
        };
        for name in ["public", "pg_catalog"] {
            builder.schema(name, None);
        }
        for (name, volatile, stable) in [
            ("count", false, false),
            ("lower", false, false),
            ("to_char", false, true),
            ("now", false, true),
            ("random", true, false),
            ("current_setting", false, true),
            ("set_config", true, false),
            ("nextval", true, false),
            ("currval", true, false),
            ("query_to_xml", true, false),
            ("pg_advisory_lock", true, false),
            ("pg_sleep", true, false),
            ("lo_put", true, false),
        ] {
            builder.builtin(name, volatile, stable);
        }
        for name in [
            "int4",
            "text",
            "timestamptz",
            "regclass",
            "daterange",
            "uuid",
        ] {
            builder.picture.builtin_types.push(name.into());
        }
        let oid = builder.relation("pg_catalog.pg_class", RelationKind::Table, &["relname"]);
        builder.of(oid).oid = 1259;
        builder
    }

    pub fn builtin(&mut self, name: &str, volatile: bool, stable: bool) {
        self.picture.builtins.push(Builtin {
            name: name.into(),
            volatile,
            stable,
            outputs: Vec::new(),
        });
    }

    pub fn relation_named(&self, name: &str) -> u32 {
        let found = self.picture.relations.iter().find(|r| r.name == name);
        found.expect("it was made here").oid
    }

    pub fn oid(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    pub fn schema(&mut self, name: &str, usage: Option<&[&str]>) {
        self.picture.schemas.push(Schema {
            name: name.into(),
            usage: usage.map(|roles| roles.iter().map(|r| (*r).to_owned()).collect()),
        });
    }

    pub fn relation(&mut self, name: &str, kind: RelationKind, columns: &[&str]) -> u32 {
        let oid = self.oid();
        let (schema, name) = split(name);
        self.picture.relations.push(Relation {
            oid,
            schema,
            name,
            kind,
            owner: "owner".into(),
            columns: columns
                .iter()
                .zip(1..)
                .map(|(name, number)| Column {
                    name: (*name).into(),
                    type_oid: INT,
                    number,
                    modifier: -1,
                    deterministic: true,
                    generated: false,
                })
                .collect(),
            keys: Vec::new(),
            referencing: Columns::new(),
            has_identity: false,
            definition: None,
            policies: None,
        });
        oid
    }

    pub fn table(&mut self, name: &str) -> u32 {
        self.relation(name, RelationKind::Table, &["id", "a"])
    }

    pub fn of(&mut self, oid: u32) -> &mut Relation {
        let found = self.picture.relations.iter_mut().find(|r| r.oid == oid);
        found.expect("it was made here")
    }

    /// A view whose text reads as `facts`, and which is known to refer to `targets`.
    pub fn view(&mut self, name: &str, facts: Facts, targets: &[Referred]) -> u32 {
        let oid = self.relation(name, RelationKind::View, &["id", "a"]);
        let text = format!("view {oid}");
        self.of(oid).definition = Some(text.clone());
        self.definitions.insert(text, facts);
        for &target in targets {
            self.refers(Owner::View(oid), target);
        }
        oid
    }

    /// A view of this query, with columns like those of `like`, which is what it refers to.
    pub fn view_of(&mut self, name: &str, columns: &[&str], like: &str, sql: &str) -> u32 {
        let oid = self.relation(name, RelationKind::View, columns);
        let base = self.relation_named(like);
        let types = self.of(base).columns.clone();
        let view = self.of(oid);
        view.definition = Some(sql.into());
        for column in &mut view.columns {
            if let Some(known) = types.iter().find(|known| known.name == column.name) {
                column.type_oid = known.type_oid;
                column.modifier = known.modifier;
            }
        }
        self.definitions
            .insert(sql.into(), crate::sql::definition(sql));
        self.refers(Owner::View(oid), Referred::Relation(base));
        oid
    }

    /// Row-level security on a relation, whose policies read as `facts` and refer to `targets`.
    pub fn policies(&mut self, oid: u32, facts: Facts, targets: &[Referred]) {
        let text = format!("policies {oid}");
        self.of(oid).policies = Some(text.clone());
        self.definitions.insert(text, facts);
        for &target in targets {
            self.refers(Owner::Policy(oid), target);
        }
    }

    pub fn refers(&mut self, owner: Owner, target: Referred) {
        self.picture.references.push(Reference { owner, target });
    }

    /// An expression of `owner` calls one of PostgreSQL's own functions.
    pub fn calls_hidden(&mut self, owner: Owner, name: &str) {
        self.picture.hidden_calls.push((owner, name.into()));
    }

    pub fn child(&mut self, child: u32, parent: u32) {
        self.picture.inheritance.push((child, parent));
    }

    pub fn foreign_key(
        &mut self,
        referencing: u32,
        referenced: u32,
        on_delete: FkAction,
        on_update: FkAction,
    ) {
        self.picture.foreign_keys.push(ForeignKey {
            referencing,
            referenced,
            on_delete,
            on_update,
        });
    }

    pub fn function(
        &mut self,
        name: &str,
        language: &str,
        volatility: Volatility,
        body: &str,
    ) -> u32 {
        let oid = self.oid();
        let (schema, name) = split(name);
        self.picture.functions.push(Function {
            oid,
            schema,
            name,
            language: language.into(),
            volatility,
            aggregate: false,
            extension: None,
            takes_row: false,
            body: body.into(),
            returns: 23,
            parameters: None,
            bound: false,
        });
        oid
    }

    pub fn plpgsql(&mut self, name: &str, body: &str) -> u32 {
        self.function(name, "plpgsql", Volatility::Volatile, body)
    }

    /// An immutable C function of an extension.
    pub fn extension_function(
        &mut self,
        name: &str,
        extension: &str,
        volatility: Volatility,
    ) -> u32 {
        let oid = self.function(name, "c", volatility, "");
        let last = self.picture.functions.last_mut().expect("just made");
        last.extension = Some(extension.into());
        oid
    }

    pub fn trigger(&mut self, relation: u32, function: u32) {
        self.picture.triggers.push(Trigger {
            relation,
            function,
            early: false,
        });
    }

    pub fn operator(&mut self, name: &str, function: u32) -> u32 {
        let oid = self.oid();
        self.picture.operators.push(Operator {
            left: 0,
            right: 0,
            oid,
            name: name.into(),
            function,
        });
        oid
    }

    pub fn cast(&mut self, target: u32, function: u32, in_out: bool) {
        self.picture.casts.push(Cast {
            target,
            function,
            in_out,
        });
    }

    pub fn user_type(&mut self, name: &str, kind: TypeKind, base: u32) -> u32 {
        let oid = self.oid();
        let (schema, name) = split(name);
        self.picture.types.push(UserType {
            oid,
            schema,
            name,
            kind,
            base,
            relation: 0,
            plain_io: true,
            checked: false,
            labels: 0,
        });
        oid
    }

    pub fn build(self) -> Catalog {
        let definitions = self.definitions;
        Catalog::assemble(CatalogVersion(1), self.picture, |text| {
            definitions[text].clone()
        })
    }
}

pub fn scope() -> NameScope {
    NameScope {
        search_path: vec!["public".into()],
        role: "app".into(),
        ..NameScope::default()
    }
}

impl Catalog {
    pub fn judge_plain(&self, facts: &Facts) -> Judgement {
        self.judge(facts, &scope())
    }
}

/// Facts of a statement that is fully known.
pub fn facts(kind: Kind) -> Facts {
    let writes = !matches!(
        kind,
        Kind::Select | Kind::Explain { .. } | Kind::Declare { .. } | Kind::TemporaryDdl
    );
    Facts {
        hazard: None,
        writes,
        locks: false,
        complete: true,
        ..Facts::unknown(kind)
    }
}

pub fn name(text: &str) -> ObjectName {
    match text.split_once('.') {
        Some((schema, name)) => ObjectName {
            schema: Some(schema.into()),
            name: name.into(),
        },
        None => ObjectName {
            schema: None,
            name: text.into(),
        },
    }
}

/// To write statements as chains.
pub trait With: Sized {
    fn reads(self, relation: &str) -> Self;
    fn writes_to(self, relation: &str) -> Self;
    fn calls(self, function: &str, arguments: &[Option<&str>]) -> Self;
    fn column(self, text: &str) -> Self;
    fn defines(self, name: &str) -> Self;
}

impl With for Facts {
    fn reads(mut self, relation: &str) -> Self {
        self.relations.push(RelationUse {
            name: name(relation),
            access: Access::Read,
            only: false,
            alias: None,
        });
        self
    }

    fn writes_to(mut self, relation: &str) -> Self {
        self = self.reads(relation);
        let last = self.relations.last_mut().expect("just pushed");
        last.access = Access::Write;
        self.writes = true;
        self
    }

    fn calls(mut self, function: &str, arguments: &[Option<&str>]) -> Self {
        self.functions.push(FunctionUse {
            field: false,
            name: name(function),
            argument_count: arguments.len(),
            literal_arguments: arguments
                .iter()
                .map(|a| a.map(|text| KnownArgument::Text(text.to_owned())))
                .collect(),
        });
        self
    }

    fn column(mut self, text: &str) -> Self {
        let mut parts: Vec<String> = text.split('.').map(str::to_owned).collect();
        let name = parts.pop().expect("split gives one at least");
        self.columns.push(ColumnUse {
            qualifier: parts,
            name,
        });
        self
    }

    fn defines(mut self, name: &str) -> Self {
        self.defined.push(name.into());
        self
    }
}

pub fn select(relations: &[&str]) -> Facts {
    relations
        .iter()
        .fold(facts(Kind::Select), |facts, relation| facts.reads(relation))
}
