//! Which relations a name may mean to a session.

use smallvec::SmallVec;

use super::picture::Relation;
use super::{Catalog, RelationOid};
use crate::sql::ObjectName;

/// How a session resolves names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct NameScope {
    /// The schemas of `search_path`, `$user` already resolved.
    pub search_path: Vec<String>,
    /// The path and the role are not certain: a name without a schema may be found in any.
    pub anywhere: bool,
    /// The effective role.
    pub role: String,
    pub temporaries: Temporaries,
    /// Functions that a rule vouches for: `name` or `schema.name`. They are cached with the
    /// relations that their text names, if it can be read and writes nothing; one of an
    /// extension as if it touched and read no relation at all.
    pub vouched_functions: Vec<String>,
}

/// The temporary objects that a session may have, which come before all others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Temporaries {
    #[default]
    None,
    /// Some of these tables and no other relations, functions or types.
    Tables(Vec<OwnTable>),
    Any,
}

/// A temporary table; to whatever is written there, no code of a user's runs but that of types.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OwnTable {
    pub name: String,
    /// Writing to it may draw from a sequence.
    pub draws: bool,
}

/// More temporary tables than these are not told apart.
const OWN_TABLES_MAX: usize = 64;

impl Temporaries {
    /// Adds a table that is made now.
    pub fn add(&mut self, table: &OwnTable) {
        match self {
            Self::Any => {}
            Self::None => *self = Self::Tables(vec![table.clone()]),
            Self::Tables(tables) => {
                if let Some(known) = tables.iter_mut().find(|known| known.name == table.name) {
                    known.draws |= table.draws;
                } else if tables.len() < OWN_TABLES_MAX {
                    tables.push(table.clone());
                } else {
                    *self = Self::Any;
                }
            }
        }
    }

    /// Adds a relation that is there, of this name and `pg_class.relkind`; or something else.
    pub fn note(&mut self, name: Option<&str>, sort: Option<&str>) {
        match (name, sort) {
            (Some(name), Some("r")) => self.add(&OwnTable {
                name: name.to_owned(),
                draws: true,
            }),
            // Nothing is written to these by name.
            (Some(_), Some("i" | "S")) if *self != Self::Any => {
                if *self == Self::None {
                    *self = Self::Tables(Vec::new());
                }
            }
            _ => *self = Self::Any,
        }
    }

    /// Everything that is there is among these.
    pub fn has_all_of(&self, there: &Temporaries) -> bool {
        match (self, there) {
            (Self::Any, _) | (_, Self::None) => true,
            (Self::Tables(_), Self::Tables(tables)) => {
                tables.iter().all(|table| self.table(&table.name).is_some())
            }
            _ => false,
        }
    }

    pub(crate) fn is_none(&self) -> bool {
        *self == Self::None
    }

    pub fn table(&self, name: &str) -> Option<&OwnTable> {
        match self {
            Self::Tables(tables) => tables.iter().find(|table| table.name == name),
            Self::None | Self::Any => None,
        }
    }
}

impl NameScope {
    pub(crate) fn vouches(&self, schema: &str, name: &str) -> bool {
        self.vouched_functions
            .iter()
            .any(|vouched| vouched == name || vouched.split_once('.') == Some((schema, name)))
    }
}

/// What a name in a statement may mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Any of these. More than one where it is not known whether the role may use the
    /// schema that comes first: PostgreSQL passes over schemas without USAGE.
    Relations(SmallVec<[RelationOid; 2]>),
    /// A temporary relation, or it may be hidden by one.
    Temporary,
    /// A temporary table of which it is known what a write runs; or, once it is dropped, what else has the name.
    Own(OwnTable),
    Unknown,
}

impl Catalog {
    /// The relation that PostgreSQL would most likely find by this name. Temporary
    /// relations are not known.
    pub fn resolve(&self, name: &ObjectName, scope: &NameScope) -> Option<RelationOid> {
        self.candidates(name, scope).first().copied()
    }

    pub(crate) fn meaning(&self, name: &ObjectName, scope: &NameScope) -> Meaning {
        let schema = name.schema.as_deref();
        if schema.is_none_or(|schema| schema == "pg_temp")
            && let Some(table) = scope.temporaries.table(&name.name)
        {
            return Meaning::Own(table.clone());
        }
        let temporary = match schema {
            Some(schema) => schema.starts_with("pg_temp") || schema.starts_with("pg_toast_temp"),
            None => scope.temporaries == Temporaries::Any,
        };
        if temporary {
            return Meaning::Temporary;
        }
        match self.candidates(name, scope) {
            found if found.is_empty() => Meaning::Unknown,
            found => Meaning::Relations(found),
        }
    }

    pub(crate) fn candidates(
        &self,
        name: &ObjectName,
        scope: &NameScope,
    ) -> SmallVec<[RelationOid; 2]> {
        let within = |schema: &str| -> Option<&Relation> {
            self.index
                .relations_called(&name.name)
                .find(|r| r.schema == schema)
        };
        let mut found = SmallVec::new();
        if let Some(schema) = &name.schema {
            found.extend(within(schema).map(|r| r.oid));
            return found;
        }
        if scope.anywhere {
            found.extend(self.index.relations_called(&name.name).map(|r| r.oid));
            return found;
        }
        let implicit =
            (!scope.search_path.iter().any(|s| s == "pg_catalog")).then_some("pg_catalog");
        for schema in implicit
            .into_iter()
            .chain(scope.search_path.iter().map(String::as_str))
        {
            if let Some(relation) = within(schema) {
                found.push(relation.oid);
                if self.surely_usable(schema, &scope.role) {
                    break;
                }
            }
        }
        found
    }

    fn surely_usable(&self, schema: &str, role: &str) -> bool {
        if schema == "pg_catalog" || self.index.picture.roles.is_superuser(role) {
            return true;
        }
        match self.index.schema(schema).map(|s| &s.usage) {
            Some(None) => true,
            Some(Some(roles)) => roles.iter().any(|r| r == role),
            None => false,
        }
    }
}
