//! Reads a picture over one connection.

use std::collections::HashMap;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row};

use super::picture::{
    Builtin, Cast, Column, FkAction, ForeignKey, Function, Operator, Owner, Parameters, Picture,
    Reference, Referred, Relation, RelationKind, Schema, Trigger, TypeKind, UserType, Volatility,
};
use super::region::{ColumnNumber, Columns};
use super::roles::Role;
use super::settings::SETTING_EXPRESSIONS;
use super::{Catalog, CatalogVersion, queries};
use crate::sql;

/// How often a load is tried while the catalogue keeps changing under it.
const TRIES: usize = 5;

/// Why there is no picture. Nothing but the caller's attempt is lost.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("reading the system catalogues: {0}")]
    Upstream(#[from] tokio_postgres::Error),
    #[error("what a view or a function is made of is locked")]
    Locked,
    #[error("the catalogue changed during each of {TRIES} attempts to read it")]
    Unsettled,
}

/// Reads pictures. It needs no privilege but CONNECT, and leaves the connection as it was.
#[derive(Debug, Clone, Copy)]
pub struct Loader;

impl Loader {
    /// A picture of the database that `client` is connected to, and in no transaction.
    ///
    /// `pg_get_viewdef` and its like read the newest catalogue whatever the snapshot, and in a transaction of
    /// their own, so the picture holds only if the version is the same before and after.
    ///
    /// Dropping the future may leave the connection in a read-only transaction.
    pub async fn load(client: &Client) -> Result<Catalog, CatalogError> {
        for _ in 0..TRIES {
            // All requests are sent before the first answer is read: one round trip.
            let (earlier, version, picture, later) = tokio::join!(
                biased;
                Self::snapshot(client),
                Self::version(client),
                read_picture(client),
                Self::snapshot(client),
            );
            let picture = match picture {
                Ok(picture) => picture,
                Err(error) => {
                    if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) {
                        return Err(CatalogError::Locked);
                    }
                    // Should COMMIT have been refused, nothing must stay open.
                    client.batch_execute("ROLLBACK").await?;
                    return Err(error.into());
                }
            };
            let version = version?;
            if earlier? == later? || Self::version(client).await? == version {
                return Ok(Catalog::assemble(version, picture, sql::definition));
            }
        }
        Err(CatalogError::Unsettled)
    }

    /// The version that a picture read now would have. One query and one round trip, on a
    /// connection that is in no transaction.
    pub async fn version(client: &Client) -> Result<CatalogVersion, CatalogError> {
        let (begun, row, ended) = tokio::join!(
            biased;
            client.batch_execute(queries::BEGIN),
            client.query_typed_one(queries::VERSION, &[]),
            client.batch_execute("COMMIT"),
        );
        begun?;
        let row = row?;
        ended?;
        let text: &str = row.try_get(0)?;
        Ok(CatalogVersion(xxhash_rust::xxh3::xxh3_64(text.as_bytes())))
    }

    /// `pg_current_snapshot()`: while it reads the same, nothing has been committed, and so
    /// the version is the same too.
    pub async fn snapshot(client: &Client) -> Result<String, CatalogError> {
        let row = client.query_typed_one(queries::SNAPSHOT, &[]).await?;
        Ok(row.try_get(0)?)
    }
}

async fn read_picture(client: &Client) -> Result<Picture, tokio_postgres::Error> {
    let query = |sql: &'static str| client.query_typed(sql, &[]);
    let (
        begun,
        schemas,
        roles,
        relations,
        hidden_calls,
        inheritance,
        foreign_keys,
        triggers,
        event_triggers,
        rules,
        functions,
        builtins,
        operators,
        casts,
        builtin_types,
        types,
        references,
        ordered_by_users,
        keys,
        texts,
        ended,
        defining,
        definitions,
        setting_code,
        defined,
    ) = tokio::join!(
        biased;
        client.batch_execute(queries::BEGIN_PICTURE),
        query(queries::SCHEMAS),
        query(queries::ROLES),
        query(queries::RELATIONS),
        query(queries::HIDDEN_CALLS),
        query(queries::INHERITANCE),
        query(queries::FOREIGN_KEYS),
        query(queries::TRIGGERS),
        query(queries::EVENT_TRIGGERS),
        query(queries::RULES),
        query(queries::FUNCTIONS),
        query(queries::BUILTINS),
        query(queries::OPERATORS),
        query(queries::CASTS),
        query(queries::BUILTIN_TYPES),
        query(queries::TYPES),
        query(queries::REFERENCES),
        query(queries::ORDERED_BY_USERS),
        query(queries::KEYS),
        query(queries::TEXTS),
        client.batch_execute("COMMIT"),
        client.batch_execute(queries::BEGIN_DEFINITIONS),
        query(queries::DEFINITIONS),
        query(SETTING_EXPRESSIONS),
        client.batch_execute("COMMIT"),
    );
    begun?;
    defining?;
    let mut definitions = Definitions::read(definitions)?;
    // First of all: what comes behind it in a transaction that failed only says that it did.
    let mut relations: Vec<Relation> = rows(relations, relation)?.into_iter().flatten().collect();
    for relation in &mut relations {
        relation.definition = definitions.views.remove(&relation.oid);
        if let Some(policies) = &mut relation.policies {
            // Without its text it is a statement that nobody understands.
            *policies = definitions
                .policies
                .remove(&relation.oid)
                .unwrap_or_else(|| "?".into());
        }
    }
    add_keys(&mut relations, rows(keys, key)?);
    let mut functions = rows(functions, function)?;
    for function in &mut functions {
        if let Some(definition) = definitions.functions.remove(&function.oid) {
            standard_sql_body(&definition).clone_into(&mut function.body);
            function.bound = true;
        }
    }
    let operators = rows(operators, operator)?;
    let ordered_by_users: Vec<(u32, Vec<u32>)> = rows(ordered_by_users, |row| {
        Ok((row.try_get(0)?, row.try_get(1)?))
    })?;
    let texts: Vec<(bool, bool)> = rows(texts, |row| Ok((row.try_get(0)?, row.try_get(1)?)))?;
    let picture = Picture {
        schemas: rows(schemas, schema)?,
        roles: rows(roles, |row| {
            let role = Role {
                oid: row.try_get(1)?,
                is_superuser: row.try_get(2)?,
            };
            Ok((row.try_get(0)?, role))
        })?
        .into_iter()
        .collect(),
        relations,
        inheritance: rows(inheritance, |row| Ok((row.try_get(0)?, row.try_get(1)?)))?,
        foreign_keys: rows(foreign_keys, foreign_key)?,
        triggers: rows(triggers, |row| {
            Ok(Trigger {
                relation: row.try_get(0)?,
                function: row.try_get(1)?,
                early: row.try_get(2)?,
            })
        })?,
        event_triggers: rows(event_triggers, |row| row.try_get(0))?,
        rules: rows(rules, |row| row.try_get(0))?,
        functions,
        builtins: with_extract(rows(builtins, builtin)?),
        compared_by_users: compared_by_users(&operators),
        operators,
        is_utf8: texts.iter().any(|(utf8, _)| *utf8),
        has_nondeterministic_collations: texts.iter().any(|(_, any)| *any),
        casts: rows(casts, cast)?,
        builtin_types: rows(builtin_types, |row| row.try_get(0))?,
        types: rows(types, user_type)?,
        references: rows(references, reference)?.into_iter().flatten().collect(),
        setting_code: rows(setting_code, |row| row.try_get::<_, Option<_>>(0))?
            .into_iter()
            .flatten()
            .collect(),
        hidden_calls: rows(hidden_calls, hidden_call)?
            .into_iter()
            .flatten()
            .collect(),
        ordering_functions: ordered_by_users
            .iter()
            .flat_map(|(_, by)| by)
            .copied()
            .collect(),
        ordered_by_users: ordered_by_users.into_iter().map(|(of, _)| of).collect(),
    };
    ended?;
    defined?;
    Ok(picture)
}

type Outcome<T> = Result<T, tokio_postgres::Error>;

fn rows<T>(result: Outcome<Vec<Row>>, read: impl Fn(&Row) -> Outcome<T>) -> Outcome<Vec<T>> {
    result?.iter().map(read).collect()
}

/// By the oid of what they define.
#[derive(Default)]
struct Definitions {
    views: HashMap<u32, String>,
    policies: HashMap<u32, String>,
    functions: HashMap<u32, String>,
}

impl Definitions {
    fn read(result: Outcome<Vec<Row>>) -> Outcome<Self> {
        let mut definitions = Self::default();
        for row in result? {
            let of = match row.try_get(0)? {
                "v" => &mut definitions.views,
                "p" => &mut definitions.policies,
                _ => &mut definitions.functions,
            };
            if let Some(text) = row.try_get(2)? {
                of.insert(row.try_get(1)?, text);
            }
        }
        Ok(definitions)
    }
}

fn schema(row: &Row) -> Outcome<Schema> {
    let public: bool = row.try_get::<_, Option<bool>>(1)?.unwrap_or(false);
    let roles: Option<Vec<String>> = row.try_get(2)?;
    Ok(Schema {
        name: row.try_get(0)?,
        usage: (!public).then(|| roles.unwrap_or_default()),
    })
}

fn relation(row: &Row) -> Outcome<Option<Relation>> {
    let Some(kind) = RelationKind::from_relkind(row.try_get(3)?) else {
        return Ok(None);
    };
    let names: Vec<String> = row.try_get::<_, Option<_>>(6)?.unwrap_or_default();
    let types: Vec<u32> = row.try_get::<_, Option<_>>(7)?.unwrap_or_default();
    let numbers: Vec<ColumnNumber> = row.try_get::<_, Option<_>>(9)?.unwrap_or_default();
    let modifiers: Vec<i32> = row.try_get::<_, Option<_>>(10)?.unwrap_or_default();
    let deterministic: Vec<bool> = row.try_get::<_, Option<_>>(11)?.unwrap_or_default();
    let generated: Vec<bool> = row.try_get::<_, Option<_>>(12)?.unwrap_or_default();
    let told = numbers
        .into_iter()
        .zip(modifiers)
        .zip(deterministic.into_iter().zip(generated));
    let columns = names.into_iter().zip(types).zip(told).map(
        |((name, type_oid), ((number, modifier), (deterministic, generated)))| Column {
            name,
            type_oid,
            number,
            modifier,
            deterministic,
            generated,
        },
    );
    Ok(Some(Relation {
        oid: row.try_get(0)?,
        schema: row.try_get(1)?,
        name: row.try_get(2)?,
        kind,
        owner: row.try_get::<_, Option<_>>(4)?.unwrap_or_default(),
        columns: columns.collect(),
        keys: Vec::new(),
        referencing: Columns::new(),
        has_identity: row.try_get::<_, Option<_>>(8)?.unwrap_or_default(),
        definition: None,
        policies: row.try_get::<_, bool>(5)?.then(String::new),
    }))
}

fn foreign_key(row: &Row) -> Outcome<ForeignKey> {
    Ok(ForeignKey {
        referencing: row.try_get(0)?,
        referenced: row.try_get(1)?,
        on_delete: FkAction::from_code(row.try_get(2)?),
        on_update: FkAction::from_code(row.try_get(3)?),
    })
}

fn function(row: &Row) -> Outcome<Function> {
    let types: Option<Vec<u32>> = row.try_get(10)?;
    let names: Option<Vec<String>> = row.try_get(11)?;
    let parameters = types.map(|types| Parameters {
        types,
        names: names.unwrap_or_default(),
    });
    Ok(Function {
        oid: row.try_get(0)?,
        schema: row.try_get(1)?,
        name: row.try_get(2)?,
        language: row.try_get(3)?,
        volatility: Volatility::from_provolatile(row.try_get(4)?),
        aggregate: row.try_get(5)?,
        extension: row.try_get(6)?,
        takes_row: row.try_get(7)?,
        body: row.try_get::<_, Option<_>>(8)?.unwrap_or_default(),
        returns: row.try_get(9)?,
        parameters,
        bound: false,
    })
}

/// The body alone of what `pg_get_functiondef` writes for a function in standard SQL.
fn standard_sql_body(definition: &str) -> &str {
    let starts = ["\nBEGIN ATOMIC", "\nRETURN "];
    let start = starts.iter().filter_map(|word| definition.find(word)).min();
    start.map_or(definition, |at| &definition[at..])
}

fn builtin(row: &Row) -> Outcome<Builtin> {
    Ok(Builtin {
        name: row.try_get(0)?,
        volatile: row.try_get(1)?,
        stable: row.try_get(2)?,
        outputs: row.try_get::<_, Option<_>>(3)?.unwrap_or_default(),
    })
}

/// Before PostgreSQL 14 EXTRACT is grammar for `date_part`, and there is no function of that name.
fn with_extract(mut builtins: Vec<Builtin>) -> Vec<Builtin> {
    let named = |name: &str| builtins.iter().find(|builtin| builtin.name == name);
    if named("extract").is_none()
        && let Some(date_part) = named("date_part")
    {
        let extract = Builtin {
            name: "extract".to_owned(),
            ..date_part.clone()
        };
        builtins.push(extract);
    }
    builtins
}

fn operator(row: &Row) -> Outcome<Operator> {
    Ok(Operator {
        oid: row.try_get(0)?,
        name: row.try_get(1)?,
        function: row.try_get(2)?,
        left: row.try_get(3)?,
        right: row.try_get(4)?,
    })
}

/// Types that a user's `=` may compare; where one takes any type, those of all keys.
fn compared_by_users(operators: &[Operator]) -> Vec<u32> {
    const KEYS: [u32; 7] = [16, 20, 21, 23, 25, 1043, 2950];
    // "any", anyarray and the like.
    const ANY: [u32; 11] = [
        2276, 2277, 2283, 2776, 3500, 3831, 4537, 5077, 5078, 5079, 5080,
    ];
    let mut types = Vec::new();
    for operator in operators.iter().filter(|operator| operator.name == "=") {
        for side in [operator.left, operator.right] {
            types.push(side);
            if ANY.contains(&side) {
                types.extend(KEYS);
            }
        }
    }
    types
}

/// One key: its relation, its columns, and whether it is a foreign one.
fn key(row: &Row) -> Outcome<(u32, Columns, bool)> {
    let columns: Vec<ColumnNumber> = row.try_get::<_, Option<_>>(1)?.unwrap_or_default();
    let mut columns: Columns = columns.into();
    columns.sort_unstable();
    let sort: &str = row.try_get(2)?;
    Ok((row.try_get(0)?, columns, sort == "c"))
}

fn add_keys(relations: &mut [Relation], keys: Vec<(u32, Columns, bool)>) {
    let places: HashMap<u32, usize> = relations
        .iter()
        .enumerate()
        .map(|(place, relation)| (relation.oid, place))
        .collect();
    for (oid, columns, foreign) in keys {
        let Some(relation) = places.get(&oid).map(|&place| &mut relations[place]) else {
            continue;
        };
        if foreign {
            relation.referencing.extend(columns);
        } else if columns.first().is_some_and(|&column| column > 0) {
            relation.keys.push(columns);
        }
    }
}

fn cast(row: &Row) -> Outcome<Cast> {
    Ok(Cast {
        target: row.try_get(0)?,
        function: row.try_get(1)?,
        in_out: row.try_get(2)?,
    })
}

fn user_type(row: &Row) -> Outcome<UserType> {
    Ok(UserType {
        oid: row.try_get(0)?,
        schema: row.try_get(1)?,
        name: row.try_get(2)?,
        kind: match row.try_get(3)? {
            "a" => TypeKind::Array,
            "b" => TypeKind::Base,
            "c" => TypeKind::Composite,
            "d" => TypeKind::Domain,
            "e" => TypeKind::Enum,
            "r" => TypeKind::Range,
            _ => TypeKind::Other,
        },
        base: row.try_get(4)?,
        relation: row.try_get(5)?,
        plain_io: row.try_get(6)?,
        checked: row.try_get(7)?,
        labels: row.try_get::<_, Option<_>>(8)?.unwrap_or_default(),
    })
}

fn reference(row: &Row) -> Outcome<Option<Reference>> {
    let Some(owner) = owner(row)? else {
        return Ok(None);
    };
    let oid: u32 = row.try_get(3)?;
    let target = match row.try_get(2)? {
        "f" => Referred::Function(oid),
        "o" => Referred::Operator(oid),
        "t" => Referred::Type(oid),
        "k" => Referred::OperatorClass,
        _ => Referred::Relation(oid),
    };
    Ok(Some(Reference { owner, target }))
}

fn hidden_call(row: &Row) -> Outcome<Option<(Owner, String)>> {
    let name = row.try_get(2)?;
    Ok(owner(row)?.map(|owner| (owner, name)))
}

fn owner(row: &Row) -> Outcome<Option<Owner>> {
    let oid: u32 = row.try_get(1)?;
    Ok(Some(match row.try_get(0)? {
        "w" => Owner::Write(oid),
        "i" => Owner::Index(oid),
        "p" => Owner::Policy(oid),
        "v" => Owner::View(oid),
        "m" => Owner::Refresh(oid),
        "f" => Owner::Function(oid),
        "t" => Owner::Type(oid),
        _ => return Ok(None),
    }))
}
