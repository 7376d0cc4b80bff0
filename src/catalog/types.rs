//! Which types a statement may name, in casts or as functions, and still have one answer.

use super::builtin;
use super::names::NameScope;
use super::picture::{Owner, Referred, TypeKind, TypeOid};
use super::{Catalog, RelationOid};
use crate::sql::{Bypass, Facts, FunctionUse, ObjectName};

impl Catalog {
    /// AT TIME ZONE may be given a `time`, which makes it a `timetz` of today's offset.
    pub(super) fn zones_time(&self, facts: &Facts, scope: &NameScope) -> bool {
        let called = |names: &[&str]| {
            let mut functions = facts.functions.iter();
            functions.any(|used| names.contains(&used.name.name.as_str()))
        };
        let written = |name: &ObjectName| {
            let lower = name.name.to_ascii_lowercase();
            let plain = lower.split(['(', '[']).next().unwrap_or_default().trim();
            builtin::type_alias(plain.trim_start_matches('_')) == "time"
        };
        called(&["timezone"])
            && (called(&["time", "make_time"])
                || facts.types.iter().any(written)
                || facts
                    .relations
                    .iter()
                    .flat_map(|used| self.candidates(&used.name, scope))
                    .any(|oid| self.has_time(oid)))
    }

    /// A column of the relation holds a `time`.
    pub(super) fn has_time(&self, oid: RelationOid) -> bool {
        let columns = self.index.relation(oid).map_or(&[][..], |r| &r.columns);
        columns.iter().any(|column| {
            let mut parts = self.index.type_parts(column.type_oid).into_iter();
            parts.any(builtin::is_time_oid)
        })
    }

    /// A value of the type is checked by functions of users: of a domain, or of what is made of such. A text beside a column
    /// of it may become one unwritten.
    pub(super) fn is_checked_by_code(&self, oid: TypeOid) -> bool {
        let by_code = |target: &Referred| {
            let functions = self.index.functions_behind(*target);
            functions.into_iter().any(|f| !self.is_trusted(f))
        };
        self.index.type_parts(oid).into_iter().any(|part| {
            let known = self.index.user_type(part);
            known.is_some_and(|known| known.kind == TypeKind::Domain && known.checked)
                && self.index.references(Owner::Type(part)).iter().any(by_code)
        })
    }

    pub(super) fn is_type(&self, name: &str) -> bool {
        self.index.is_builtin_type(name) || self.index.types_called(name).next().is_some()
    }

    /// `name(x)` may be written for a cast.
    pub(super) fn check_type_function(
        &self,
        used: &FunctionUse,
        scope: &NameScope,
    ) -> Result<(), Bypass> {
        let name = used.name.name.as_str();
        if !self.is_type(name) || used.argument_count != 1 {
            return Err(Bypass::UserFunction);
        }
        if builtin::is_datetime_type(name) {
            return Err(Bypass::DatetimeText);
        }
        self.check_type(&used.name, scope)
    }

    pub(super) fn check_type(&self, written: &ObjectName, scope: &NameScope) -> Result<(), Bypass> {
        let lower = written.name.to_ascii_lowercase();
        let plain = lower.split(['(', '[']).next().unwrap_or_default().trim();
        let array = lower.contains('[') || plain.starts_with('_');
        let plain = plain.trim_start_matches('_');
        let name = if written.schema.is_none() {
            builtin::type_alias(plain)
        } else {
            plain
        };
        let own_schema = written.schema.as_deref().is_none_or(|s| s == "pg_catalog");
        let may_be_shadowed = written.schema.is_none()
            && name == plain
            && scope.search_path.iter().any(|s| s == "pg_catalog")
            && self.index.types_called(name).next().is_some();
        if own_schema && self.index.is_builtin_type(name) && !may_be_shadowed {
            let datetime = builtin::is_datetime_type(name) && array;
            return if builtin::is_unsafe_type(name) {
                Err(Bypass::UnsafeType)
            } else if datetime || builtin::is_datetime_range(name) {
                // '{today}' and '[today,)' hide the word from a look at the constant's start.
                Err(Bypass::DatetimeText)
            } else {
                Ok(())
            };
        }
        self.check_user_type(written, plain)
    }

    fn check_user_type(&self, written: &ObjectName, plain: &str) -> Result<(), Bypass> {
        let exact = written
            .name
            .split(['(', '['])
            .next()
            .unwrap_or_default()
            .trim();
        let of_schema = |schema: &str| written.schema.as_deref().is_none_or(|s| s == schema);
        let mut known = false;
        for name in [exact, plain] {
            for user_type in self
                .index
                .types_called(name)
                .filter(|t| of_schema(&t.schema))
            {
                known = true;
                let accepted = !user_type.checked
                    && !matches!(user_type.kind, TypeKind::Other)
                    && !self.index.is_unsafe_type(user_type.oid);
                if !accepted {
                    return Err(Bypass::UnsafeType);
                }
                if self.index.is_datetime(user_type.oid) {
                    return Err(Bypass::DatetimeText);
                }
            }
        }
        if known {
            Ok(())
        } else {
            Err(Bypass::UnsafeType)
        }
    }
}
