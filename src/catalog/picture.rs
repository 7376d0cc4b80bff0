//! The rows of the system catalogues that matter, as they were at one moment.
//!
//! Nothing here draws conclusions: [`super::index`] does.

use super::RelationOid;
use super::region::{ColumnNumber, Columns};
use super::roles::Roles;

pub(crate) type FunctionOid = u32;
pub(crate) type TypeOid = u32;

/// The first oid of objects that are made after initdb.
pub(crate) const FIRST_USER_OID: u32 = 16384;

/// `pg_class.relkind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RelationKind {
    Table,
    Partitioned,
    View,
    MaterializedView,
    Foreign,
    Sequence,
    Composite,
}

impl RelationKind {
    pub(crate) fn from_relkind(relkind: &str) -> Option<Self> {
        Some(match relkind {
            "r" => Self::Table,
            "p" => Self::Partitioned,
            "v" => Self::View,
            "m" => Self::MaterializedView,
            "f" => Self::Foreign,
            "S" => Self::Sequence,
            "c" => Self::Composite,
            _ => return None,
        })
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Partitioned => "partitioned table",
            Self::View => "view",
            Self::MaterializedView => "materialized view",
            Self::Foreign => "foreign table",
            Self::Sequence => "sequence",
            Self::Composite => "composite type",
        }
    }
}

/// A relation that is not temporary.
#[derive(Debug, Clone)]
pub struct Relation {
    pub oid: RelationOid,
    pub schema: String,
    pub name: String,
    pub kind: RelationKind,
    pub owner: String,
    pub columns: Vec<Column>,
    /// The columns of its unique keys, the primary one first. They guide the choice of classes; nothing
    /// that must be true follows from them.
    pub(crate) keys: Vec<Columns>,
    /// The columns of its foreign keys, in the same way.
    pub(crate) referencing: Columns,
    /// A column draws from a sequence of its own without an expression that says so.
    pub has_identity: bool,
    /// The text of a view or materialised view, with every name outside pg_catalog qualified.
    pub(crate) definition: Option<String>,
    /// Where row-level security is enabled or forced: a query with the conditions of all policies that
    /// a read may be under, whatever the role.
    pub(crate) policies: Option<String>,
}

impl Relation {
    /// `schema.name`, as it is written in rules and on the console.
    pub fn qualified_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// It belongs to PostgreSQL itself.
    pub fn is_system(&self) -> bool {
        self.oid < FIRST_USER_OID
            || matches!(
                self.schema.as_str(),
                "pg_catalog" | "information_schema" | "pg_toast"
            )
    }

    pub fn has_column(&self, name: &str) -> bool {
        self.column(name).is_some()
    }

    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub type_oid: TypeOid,
    pub(crate) number: ColumnNumber,
    /// `pg_attribute.atttypmod`.
    pub(crate) modifier: i32,
    /// Its collation, if it has one, calls texts equal only if their bytes are.
    pub(crate) deterministic: bool,
    pub(crate) generated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FkAction {
    /// NO ACTION or RESTRICT: the referencing rows stay as they are.
    None,
    Cascade,
    /// SET NULL or SET DEFAULT.
    Set,
}

impl FkAction {
    pub(crate) fn from_code(code: &str) -> Self {
        match code {
            "a" | "r" => Self::None,
            "n" | "d" => Self::Set,
            // An action that is not known is taken for the strongest.
            _ => Self::Cascade,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct ForeignKey {
    pub referencing: RelationOid,
    pub referenced: RelationOid,
    pub on_delete: FkAction,
    pub on_update: FkAction,
}

#[derive(Debug, Clone)]
pub(crate) struct Trigger {
    pub relation: RelationOid,
    pub function: FunctionOid,
    /// BEFORE or INSTEAD OF: it may put other values into the row.
    pub early: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Volatility {
    Immutable,
    Stable,
    Volatile,
}

impl Volatility {
    pub(crate) fn from_provolatile(code: &str) -> Self {
        match code {
            "i" => Self::Immutable,
            "s" => Self::Stable,
            _ => Self::Volatile,
        }
    }
}

/// A function that is not PostgreSQL's own.
#[derive(Debug, Clone)]
pub(crate) struct Function {
    pub oid: FunctionOid,
    pub schema: String,
    pub name: String,
    pub language: String,
    pub volatility: Volatility,
    pub aggregate: bool,
    pub extension: Option<String>,
    /// It may be called as `row.name`: its first argument is a row or a pseudo-type.
    pub takes_row: bool,
    /// Its text; of those in C the symbol of [`super::REFINT`]; for an aggregate the functions that it is made of, each with a `(` behind it.
    pub body: String,
    pub returns: TypeOid,
    /// Of one in SQL that runs in its caller's role and settings, on arguments that are all written.
    pub parameters: Option<Parameters>,
    /// Its body is in standard SQL: names in it were looked up when it was made.
    pub bound: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Parameters {
    pub types: Vec<TypeOid>,
    /// Those that have one, of what it returns too.
    pub names: Vec<String>,
}

/// All functions of one name that are PostgreSQL's own.
#[derive(Debug, Clone)]
pub(crate) struct Builtin {
    pub name: String,
    pub volatile: bool,
    pub stable: bool,
    /// Names of output columns, for those that stand in FROM.
    pub outputs: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Operator {
    /// Zero where it has no such side.
    pub left: TypeOid,
    pub right: TypeOid,
    pub oid: u32,
    pub name: String,
    pub function: FunctionOid,
}

#[derive(Debug, Clone)]
pub(crate) struct Cast {
    pub target: TypeOid,
    /// 0: binary coercible or through text.
    pub function: FunctionOid,
    /// Through the types' text forms.
    pub in_out: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct UserType {
    pub oid: TypeOid,
    pub schema: String,
    pub name: String,
    pub kind: TypeKind,
    /// The domain's base, the array's element, the range's subtype.
    pub base: TypeOid,
    /// The composite's relation.
    pub relation: RelationOid,
    /// Its input and output functions are compiled code and not volatile (often stable, as the
    /// encoding, which is part of every key, matters to them), and no CHECK of a domain follows the clock or a setting by
    /// what PostgreSQL brings along.
    pub plain_io: bool,
    /// A domain with CHECK constraints.
    pub checked: bool,
    /// A digest of the labels of an enum, and of what they are called by.
    pub labels: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TypeKind {
    Base,
    Array,
    Composite,
    Domain,
    Enum,
    Range,
    Other,
}

/// `pg_depend`, where the referring object can run the one referred to without being asked by name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reference {
    pub owner: Owner,
    pub target: Referred,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    /// Defaults, generated columns, checks, the partition key: run by writes.
    Write(RelationOid),
    /// Index expressions and predicates, extended statistics: run by writes and by maintenance.
    Index(RelationOid),
    /// Policies: run by reads and writes.
    Policy(RelationOid),
    /// The query of a view, and the actions of a relation's other rules.
    View(RelationOid),
    /// The query of a materialised view: run by REFRESH only.
    Refresh(RelationOid),
    Function(FunctionOid),
    Type(TypeOid),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Referred {
    Relation(RelationOid),
    Function(FunctionOid),
    Operator(u32),
    Type(TypeOid),
    /// An operator class that belongs to no extension: its functions may do anything.
    OperatorClass,
}

#[derive(Debug, Clone)]
pub(crate) struct Schema {
    pub name: String,
    /// Roles that have USAGE by themselves; `None` is everybody.
    pub usage: Option<Vec<String>>,
}

/// One moment's rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Picture {
    pub schemas: Vec<Schema>,
    pub roles: Roles,
    pub relations: Vec<Relation>,
    /// (child, parent)
    pub inheritance: Vec<(RelationOid, RelationOid)>,
    pub foreign_keys: Vec<ForeignKey>,
    pub triggers: Vec<Trigger>,
    /// Relations with a rule other than a view's own.
    pub rules: Vec<RelationOid>,
    pub functions: Vec<Function>,
    pub builtins: Vec<Builtin>,
    pub builtin_types: Vec<String>,
    pub operators: Vec<Operator>,
    pub casts: Vec<Cast>,
    pub types: Vec<UserType>,
    pub references: Vec<Reference>,
    /// PostgreSQL's own functions, which `pg_depend` leaves out: names of those that expressions of the owner call.
    pub hidden_calls: Vec<(Owner, String)>,
    /// Expressions that set or read settings.
    pub setting_code: Vec<String>,
    /// Types with a user's `=` on either side.
    pub compared_by_users: Vec<TypeOid>,
    /// The database's encoding is UTF-8.
    pub is_utf8: bool,
    /// There is a collation that calls texts of different bytes equal.
    pub has_nondeterministic_collations: bool,
    /// Types with an operator class of a user's own.
    pub ordered_by_users: Vec<TypeOid>,
    /// The users' functions that these call.
    pub ordering_functions: Vec<FunctionOid>,
    /// Functions that DDL runs.
    pub event_triggers: Vec<FunctionOid>,
}
