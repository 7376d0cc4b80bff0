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
    /// The effective role.
    pub role: String,
    /// The session may have temporary objects, which come before all others.
    pub temporary_objects: bool,
    /// Functions that a rule vouches for: `name` or `schema.name`. They are cached with the
    /// relations that their text names, if it can be read and writes nothing; one of an
    /// extension as if it touched and read no relation at all.
    pub vouched_functions: Vec<String>,
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
    Unknown,
}

impl Catalog {
    /// The relation that PostgreSQL would most likely find by this name. Temporary
    /// relations are not known.
    pub fn resolve(&self, name: &ObjectName, scope: &NameScope) -> Option<RelationOid> {
        self.candidates(name, scope).first().copied()
    }

    pub(crate) fn meaning(&self, name: &ObjectName, scope: &NameScope) -> Meaning {
        let temporary = match &name.schema {
            Some(schema) => schema.starts_with("pg_temp") || schema.starts_with("pg_toast_temp"),
            None => scope.temporary_objects,
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
