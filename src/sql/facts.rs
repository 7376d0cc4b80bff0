//! What one statement says about itself, before any catalogue is asked.

use super::Bypass;
use super::blocks::{Block, Change, Derived, Output};

/// A name as PostgreSQL folds it: unquoted parts in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectName {
    pub schema: Option<String>,
    pub name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    Read,
    Write,
}

/// A name that stands where a relation may stand.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RelationUse {
    pub name: ObjectName,
    pub access: Access,
    /// `ONLY`: descendants are left out.
    pub only: bool,
    pub alias: Option<String>,
}

/// A function call as written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FunctionUse {
    pub name: ObjectName,
    pub argument_count: usize,
    /// One element an argument: the constant, where it is one that is kept.
    pub literal_arguments: Vec<Option<KnownArgument>>,
    /// Written as `(argument).name`, which may be a field of a row as well.
    pub field: bool,
}

/// A constant that a function is given.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KnownArgument {
    /// A string constant, decoded.
    Text(String),
    Boolean(bool),
}

impl FunctionUse {
    /// The string constant that is the first argument.
    pub fn first_text(&self) -> Option<&str> {
        match self.literal_arguments.first()? {
            Some(KnownArgument::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// `true` or `false` as the first argument.
    pub fn first_boolean(&self) -> Option<bool> {
        match self.literal_arguments.first()? {
            Some(KnownArgument::Boolean(value)) => Some(*value),
            _ => None,
        }
    }
}

/// A name that stands where a column may stand (`a.b.c` has the qualifier `[a, b]`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ColumnUse {
    pub qualifier: Vec<String>,
    pub name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

/// What sort of statement it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Kind {
    Empty,
    /// SELECT, VALUES, TABLE, WITH … SELECT, but for SELECT INTO, which is `Ddl` or `TemporaryDdl` (see [`Facts::writes`] for data-modifying ones).
    Select,
    Insert,
    Update,
    Delete,
    Merge,
    CopyFrom,
    CopyTo,
    Truncate,
    Begin {
        isolation: Option<Isolation>,
        read_only: Option<bool>,
        deferrable: bool,
    },
    Commit {
        chain: bool,
    },
    Rollback {
        chain: bool,
    },
    Savepoint,
    Release,
    RollbackTo,
    PrepareTransaction {
        gid: String,
    },
    CommitPrepared {
        gid: String,
    },
    RollbackPrepared,
    /// `SET [SESSION|LOCAL] name`; the name in lower case (`timezone` for SET TIME ZONE, `role`, `session_authorization`).
    /// SET SESSION CHARACTERISTICS sets several and has the name `session characteristics`.
    Set {
        name: String,
        local: bool,
    },
    SetTransaction,
    SetConstraints,
    /// `RESET name`; `None` is RESET ALL.
    Reset {
        name: Option<String>,
    },
    Show {
        name: String,
    },
    DiscardAll,
    DiscardOther,
    Prepare {
        name: String,
    },
    Execute {
        name: String,
    },
    /// `None` is DEALLOCATE ALL.
    Deallocate {
        name: Option<String>,
    },
    Declare {
        hold: bool,
    },
    Fetch,
    CloseCursor,
    Listen,
    Unlisten,
    Notify,
    Lock,
    Explain {
        analyze: bool,
    },
    Call,
    Do,
    Load,
    /// VACUUM, ANALYZE, CREATE INDEX, REINDEX, COMMENT, CLUSTER, CHECKPOINT.
    Maintenance,
    RefreshMaterializedView,
    /// CREATE TEMP …: touches nothing that is cached.
    TemporaryDdl,
    /// Everything else that is known to change the catalogue (GRANT, CREATE, ALTER, DROP, …).
    Ddl,
    Unknown,
}

/// Whether a statement would notice a snapshot or lock of a read that somebody else has going.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stillness {
    NotNeeded,
    /// Of one that began before it.
    Before,
    /// Of one that begins while it runs, too.
    During,
}

/// A temporary table by the text that makes it: to whatever is written there, nothing of a user's runs but what the
/// types of its columns run, if that holds for `calls` and `copies`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeTable {
    pub name: String,
    /// It may draw from sequences of its own.
    pub draws: bool,
    /// Functions that its defaults call.
    pub calls: Vec<ObjectName>,
    /// Relations whose defaults and constraints it may have.
    pub copies: Vec<ObjectName>,
}

/// What a definition does, if all that it makes or drops are temporary tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemporaryTables {
    Made(MadeTable),
    Dropped(Vec<ObjectName>),
}

/// The facts of one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub kind: Kind,
    pub relations: Vec<RelationUse>,
    pub functions: Vec<FunctionUse>,
    /// Operators as written, without schema.
    pub operators: Vec<String>,
    /// Types named in casts and typed constants.
    pub types: Vec<ObjectName>,
    pub columns: Vec<ColumnUse>,
    /// Aliases, CTE names and output names that the statement itself defines.
    pub defined: Vec<String>,
    /// Why the statement is not cacheable whatever the catalogue says.
    pub hazard: Option<Bypass>,
    /// With the hazard [`Bypass::DatetimeText`]: the columns that are converted to a date or time. If each of them is of a
    /// date or time type (not `time` to `timetz`), no text is converted and there is no hazard. `None`: there is one in any case.
    pub datetime_columns: Option<Vec<ColumnUse>>,
    /// `*` or `t.*` stands somewhere, or a whole row may be meant.
    pub wildcard: bool,
    /// The outermost query has an ORDER BY.
    pub ordered: bool,
    /// LIMIT, OFFSET, FETCH FIRST or DISTINCT ON stands somewhere: without a total order any rows may be answered.
    pub limited: bool,
    /// It writes at some depth (INSERT, UPDATE, DELETE, MERGE, SELECT INTO, …) or its kind does.
    pub writes: bool,
    /// It locks rows or relations (FOR UPDATE/SHARE, LOCK).
    pub locks: bool,
    /// Of `Ddl` and `Maintenance`: running it runs nothing that a user wrote, but for event triggers.
    pub evaluates_nothing: bool,
    pub temporary: Option<TemporaryTables>,
    pub stillness: Stillness,
    /// The prepared statement that it runs, explains or makes a table of.
    pub executes: Option<String>,
    /// The database to which nobody may be connected while it runs.
    pub vacates: Option<String>,
    /// The roles of which no role has the name when it has run.
    pub frees_roles: Vec<String>,
    /// Sessions that begin when it has run begin with other settings.
    pub changes_defaults: bool,
    /// Of `Set`: to DEFAULT.
    pub to_default: bool,
    /// Everything above is known; when false the statement may do anything.
    pub complete: bool,
    /// The facts hold for this text only, not for every text of its shape.
    pub literal_dependent: bool,
    /// Every query block, and with it every place where a relation is read. Of a statement that
    /// is a part of another there are none.
    pub blocks: Vec<Block>,
    /// What sources of the blocks name by [`super::Source::derived`].
    pub derived: Vec<Derived>,
    /// Of a definition: the blocks whose rows together are its own, as in [`Derived`]; none where they may not be followed.
    pub rows: Vec<usize>,
    /// What it changes, where that is all that it changes.
    pub change: Option<Change>,
    /// What such a change returns; nothing where it is not known.
    pub returning: Vec<Output>,
    /// It has a RETURNING, known or not.
    pub returns: bool,
}

impl Facts {
    /// Facts of a statement of which only the kind is known.
    pub fn unknown(kind: Kind) -> Self {
        Self {
            kind,
            relations: Vec::new(),
            functions: Vec::new(),
            operators: Vec::new(),
            types: Vec::new(),
            columns: Vec::new(),
            defined: Vec::new(),
            hazard: Some(Bypass::Unparsed),
            datetime_columns: None,
            wildcard: false,
            ordered: false,
            limited: false,
            writes: true,
            locks: true,
            evaluates_nothing: false,
            temporary: None,
            stillness: Stillness::NotNeeded,
            executes: None,
            vacates: None,
            frees_roles: Vec::new(),
            changes_defaults: false,
            to_default: false,
            complete: false,
            literal_dependent: false,
            blocks: Vec::new(),
            derived: Vec::new(),
            rows: Vec::new(),
            change: None,
            returning: Vec::new(),
            returns: false,
        }
    }

    /// Facts of a statement that touches no relation and calls nothing.
    pub fn harmless(kind: Kind) -> Self {
        Self {
            hazard: Some(Bypass::NotSelect),
            writes: false,
            locks: false,
            complete: true,
            ..Self::unknown(kind)
        }
    }

    /// It neither writes nor locks as far as its own text says; what its functions do, only the catalogue knows.
    pub fn read_only(&self) -> bool {
        self.complete && !self.writes && !self.locks
    }
}
