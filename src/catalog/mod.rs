//! A picture of one database: what names mean and what follows from touching them.
//!
//! The room owns the closure over the system catalogues: which relations an answer
//! depends on, which a write may touch, what a statement may leave behind on its
//! connection. It knows nothing of clients, connections or the cache. A picture comes
//! from [`Loader`], never changes, and is replaced as a whole when [`CatalogVersion`] does.
//!
//! All doubt goes one way: to "not cacheable" for reads, to "everything" for writes.

mod array;
mod body;
mod builtin;
mod columns;
mod confined;
mod footprint;
mod function_queries;
mod functions;
mod index;
mod judge;
mod keys;
mod load;
mod maintain;
mod names;
mod order;
mod own_tables;
mod picture;
mod places;
mod queries;
mod read;
mod region;
mod returned;
mod roles;
mod settings;
mod sources;
#[cfg(test)]
mod tests;
mod types;
mod value;
mod write;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::sql::{Bypass, Facts};
use function_queries::FunctionQuery;
use functions::{Outcome, Outcomes};
use index::Index;
use picture::{Cast, FIRST_USER_OID, FunctionOid, Owner, Picture, Referred};
use places::Definition;
use read::Closure;

pub(crate) use builtin::{is_time_oid, is_unsafe_type_oid, keeps_process_state, runs_text};
pub use footprint::{Effects, Footprint, RelationOid};
pub use judge::Judgement;
pub use keys::{ReadPlan, WritePlan};
pub use load::{CatalogError, Loader};
pub use names::{NameScope, OwnTable, Temporaries};
pub use order::Order;
pub use picture::{Column, Relation, RelationKind};
pub use read::ReadFacts;
pub use region::{ColumnNumber, Columns, Dependency, KEYS_MAX, Learned, Region, Values};
pub use returned::{Returnable, Returned};
pub use roles::Roles;
use settings::Setters;
pub use settings::{CodeSettings, SETTING_CODE, SettingNames};
pub use value::Given;

/// A hash of the watched catalogues: equal versions, equal pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct CatalogVersion(pub u64);

impl std::fmt::Display for CatalogVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Operators that the grammar uses without writing them.
const IMPLICIT_OPERATORS: &[&str] = &[
    "=", "<>", "<", ">", "<=", ">=", "~~", "!~~", "~~*", "!~~*", "~", "!~",
];

/// Trigger functions in C, by their symbols, of the example module `refint`. They keep plans in the server's process,
/// with values of the statement that fired them first.
pub const REFINT: [&str; 2] = ["check_primary_key", "check_foreign_key"];

/// A picture of one database at one moment. Immutable.
#[derive(Debug)]
pub struct Catalog {
    pub version: CatalogVersion,
    index: Index,
    outcomes: Outcomes,
    /// What PostgreSQL's own functions in the queries of views and materialised views may do.
    definitions: HashMap<RelationOid, Outcome>,
    views: HashMap<RelationOid, Result<Closure, Bypass>>,
    /// The queries of those views that can be read.
    queries: HashMap<RelationOid, Definition>,
    function_queries: HashMap<FunctionOid, FunctionQuery>,
    /// What reading a relation under row-level security comes to, beyond its own rows.
    policies: HashMap<RelationOid, Result<Closure, Bypass>>,
    /// Why no statement of this database is cacheable, if none is.
    hazard: Option<Bypass>,
    settings: Arc<CodeSettings>,
}

impl Catalog {
    pub fn roles(&self) -> &Roles {
        &self.index.picture.roles
    }

    /// `analyse` reads the query of a view.
    pub(crate) fn assemble(
        version: CatalogVersion,
        picture: Picture,
        analyse: impl Fn(&str) -> Facts,
    ) -> Self {
        let index = Index::new(picture);
        let outcomes = Outcomes::new(&index);
        let texts = index
            .picture
            .relations
            .iter()
            .filter_map(|r| Some((r.oid, r.definition.as_ref()?)));
        let definitions = texts
            .map(|(oid, text)| (oid, functions::text_outcome(text)))
            .collect();
        let functions = index.picture.functions.iter();
        let function_queries = functions
            .filter_map(|f| Some((f.oid, FunctionQuery::of(f, &index)?)))
            .collect();
        let mut catalog = Self {
            version,
            index,
            outcomes,
            definitions,
            views: HashMap::new(),
            queries: HashMap::new(),
            function_queries,
            policies: HashMap::new(),
            hazard: None,
            settings: Arc::default(),
        };
        let picture = &catalog.index.picture;
        let bodies = picture.functions.iter().map(|f| &f.body);
        let queries = picture
            .relations
            .iter()
            .filter_map(|r| r.definition.as_ref());
        let mut names = SettingNames::default();
        for text in bodies.chain(queries).chain(&picture.setting_code) {
            names.add(text);
        }
        let functions = picture.functions.iter();
        let functions = functions.map(|f| (f.name.as_str(), f.body.as_str()));
        catalog.settings = Arc::new(CodeSettings {
            names,
            setters: Setters::of(functions),
        });
        catalog.hazard = catalog.find_hazard();
        catalog.read_all_hidden(analyse);
        catalog
    }

    /// The custom settings that code of users may set, or read.
    pub fn settings(&self) -> &Arc<CodeSettings> {
        &self.settings
    }

    pub fn relation(&self, oid: RelationOid) -> Option<&Relation> {
        self.index.relation(oid)
    }

    /// `schema.name`
    pub fn relation_name(&self, oid: RelationOid) -> Option<String> {
        self.index.relation(oid).map(Relation::qualified_name)
    }

    /// All relations that are the users' own.
    pub fn relations(&self) -> impl Iterator<Item = &Relation> {
        self.index
            .picture
            .relations
            .iter()
            .filter(|r| !r.is_system())
    }

    /// A write to the relation fires triggers that users wrote, its ancestors' included.
    pub fn has_user_triggers(&self, oid: RelationOid) -> bool {
        self.index
            .ancestry(oid)
            .into_iter()
            .any(|r| !self.index.triggers(r).is_empty())
    }

    /// Casts and operators that apply without being written make every statement doubtful.
    fn find_hazard(&self) -> Option<Bypass> {
        if self
            .index
            .picture
            .casts
            .iter()
            .any(|cast| self.is_hazardous(cast))
        {
            return Some(Bypass::UserCast);
        }
        IMPLICIT_OPERATORS
            .iter()
            .find_map(|operator| self.check_operator(operator).err())
    }

    fn is_hazardous(&self, cast: &Cast) -> bool {
        if cast.in_out {
            return self.index.is_datetime(cast.target) || self.index.is_unsafe_type(cast.target);
        }
        cast.function >= FIRST_USER_OID && !self.is_trusted(cast.function)
    }

    /// Reads views and policies, each after those that it is made of. One that is reached while it is being
    /// read is made of itself; PostgreSQL refuses to run it, and so it is left unknown.
    fn read_all_hidden(&mut self, analyse: impl Fn(&str) -> Facts) {
        let relations = self.index.picture.relations.iter();
        let mut pending: Vec<Owner> = relations.filter_map(hidden_in).collect();
        let mut entered = HashSet::new();
        while let Some(&owner) = pending.last() {
            if entered.insert(owner) {
                let references = self.index.references(owner).iter();
                let parts = references.flat_map(|target| match target {
                    Referred::Relation(part) => self.index.family(*part),
                    Referred::Function(called) => self.named_by_query(*called).to_vec(),
                    _ => Vec::new(),
                });
                let hidden = parts.filter_map(|part| hidden_in(self.index.relation(part)?));
                pending.extend(hidden.filter(|part| !entered.contains(part)));
                continue;
            }
            pending.pop();
            match owner {
                Owner::View(oid) if !self.views.contains_key(&oid) => {
                    if let Some(text) = self.definition(oid) {
                        let facts = analyse(text);
                        let view = self.read_hidden(owner, &facts);
                        if view.is_ok() {
                            self.queries.insert(oid, Definition::of(facts));
                        }
                        self.views.insert(oid, view);
                    }
                }
                Owner::Policy(oid) if !self.policies.contains_key(&oid) => {
                    if let Some(text) = self.index.relation(oid).and_then(|r| r.policies.as_deref())
                    {
                        let policies = self.read_hidden(owner, &analyse(text));
                        self.policies.insert(oid, policies);
                    }
                }
                _ => {}
            }
        }
    }

    fn definition(&self, oid: RelationOid) -> Option<&str> {
        self.index.relation(oid)?.definition.as_deref()
    }
}

/// What runs unseen where the relation is read.
fn hidden_in(relation: &Relation) -> Option<Owner> {
    match relation.kind {
        RelationKind::View => Some(Owner::View(relation.oid)),
        _ => relation
            .policies
            .as_ref()
            .map(|_| Owner::Policy(relation.oid)),
    }
}
