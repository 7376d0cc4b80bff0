//! What confines the rows that a statement reads or changes: query blocks, the relations
//! that they name, and the equalities that hold for every row that matters.

use super::facts::{ColumnUse, ObjectName};

/// A constant of a statement. Facts hold for a shape, so it is told by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Constant {
    /// A string constant of no type: the token of that number, comments not counted.
    Text(usize),
    /// A number: the token of that number. It is no integer if the lexer does not say so.
    Number {
        token: usize,
        negative: bool,
    },
    Boolean(bool),
    /// `$n`
    Parameter {
        number: usize,
        /// It stands in the statement more than once: unless it is declared, its type
        /// may come from another place.
        repeated: bool,
    },
    /// The elements of `$n`, which is an array: `= ANY ($n)`.
    Elements {
        number: usize,
        /// As of a parameter.
        repeated: bool,
        cast: Option<ArrayOf>,
    },
    /// A constant that is cast: `'x'::text`, `7::bigint`.
    Typed {
        token: usize,
        negative: bool,
        /// It is a string constant, else a number.
        quoted: bool,
        cast: ArrayOf,
    },
}

/// What a constant is cast to, or what the array is of that a parameter is cast to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArrayOf {
    Integers,
    /// By a name that users may give to a type of theirs.
    Texts,
    /// As above.
    Uuids,
}

/// What stands in a FROM, or is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// By which columns are qualified; empty if by nothing.
    pub alias: String,
    /// `None`: a subquery, a function, a common table expression.
    pub relation: Option<ObjectName>,
    /// Of a subquery or common table expression whose rows may be followed: which of the statement's.
    pub derived: Option<usize>,
    /// Its columns may have other names here.
    pub renamed: bool,
    pub level: usize,
}

/// A subquery in FROM, or a common table expression, of which a condition on its columns may be asked of what it is made
/// of: without LIMIT, window functions and all else that would make a row depend on others of other values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derived {
    /// The blocks whose rows together are its rows.
    pub branches: Vec<usize>,
    /// How many sources have its rows.
    pub uses: usize,
}

/// What stands in the output of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// A column as it is, under this name.
    Column { name: String, seen: Seen },
    /// All columns of one source, or `None`: of all sources.
    All(Option<String>),
    /// One column of anything else. Without a name of its own PostgreSQL finds one.
    Expression { name: Option<String> },
}

/// A column, and the sources of the block among which its name is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub column: ColumnUse,
    pub from: usize,
    pub to: usize,
    /// It is cast to `text`.
    pub as_text: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Equal {
    Column(Seen),
    /// It is one of these.
    Constants(Vec<Constant>),
}

/// `left = right`, for every row of a level that matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub left: Seen,
    pub right: Equal,
    pub level: usize,
}

/// Names that stand for columns of several sources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Merged {
    /// Those of USING.
    pub names: Vec<String>,
    /// There is a natural join: any name may.
    pub natural: bool,
}

impl Merged {
    pub fn has(&self, name: &str) -> bool {
        self.natural || self.names.iter().any(|merged| merged == name)
    }
}

/// One SELECT, UPDATE or DELETE without its subqueries.
///
/// Level 0 is the block as a whole: its filters are those of WHERE and of inner joins. The
/// nullable side of an outer join is a level of its own within another. Rows of a source
/// matter only if the filters of its level, and of all levels around that, may hold: a filter is
/// null-rejecting, and a row that it drops leaves no trace but a row extended by NULLs,
/// which a filter further out drops just the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Block {
    pub sources: Vec<Source>,
    pub filters: Vec<Filter>,
    /// For each level the one around it; level 0 has none.
    pub levels: Vec<usize>,
    /// Names may mean something else than they seem to: nothing is known of its filters.
    pub opaque: bool,
    /// By what of its sources are joined under one name, whose type may be another than each of theirs.
    pub merged: Merged,
    /// Its columns in order, where it is a part of what [`Derived`] or [`super::Facts::rows`] names.
    pub shown: Vec<Shown>,
}

impl Block {
    /// The filters that hold for the rows of a level.
    pub fn filters_of(&self, level: usize) -> impl Iterator<Item = &Filter> {
        let around = self.levels_around(level);
        self.filters
            .iter()
            .filter(move |filter| !self.opaque && around.contains(&filter.level))
    }

    fn levels_around(&self, level: usize) -> Vec<usize> {
        let mut around = vec![level];
        let mut at = level;
        while at > 0 && around.len() <= self.levels.len() {
            at = self.levels.get(at).copied().unwrap_or(0);
            around.push(at);
        }
        around
    }
}

/// What a statement assigns to a column: a constant, or what is not known.
pub type Assigned = Option<Constant>;

/// INSERT, UPDATE or DELETE of one relation, at the top of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Insert {
        /// `None`: the relation's own, in order.
        columns: Option<Vec<String>>,
        rows: Vec<Vec<Assigned>>,
        conflict: Conflict,
    },
    /// The target is the first source of this block.
    Update {
        block: usize,
        assigned: Vec<(String, Assigned)>,
    },
    Delete {
        block: usize,
    },
}

/// What stands in RETURNING.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A column of the target.
    Column(String),
    /// All columns of the target, in order.
    All,
    /// One column of anything else.
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conflict {
    /// No ON CONFLICT, or DO NOTHING.
    Nothing,
    /// DO UPDATE of a row that is equal in these columns.
    Update {
        columns: Vec<String>,
        assigned: Vec<(String, Assigned)>,
    },
    /// Which row is updated is not known.
    Unknown,
}
