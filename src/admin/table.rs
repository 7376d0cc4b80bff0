//! A table as the console, the API and the status page show it.

/// What a column holds; the type that the console announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Int4,
    Int8,
    Numeric,
}

impl Kind {
    /// `pg_type.oid`.
    pub fn oid(self) -> u32 {
        match self {
            Kind::Text => 25,
            Kind::Int4 => 23,
            Kind::Int8 => 20,
            Kind::Numeric => 1700,
        }
    }

    /// `pg_type.typlen`.
    pub fn type_len(self) -> i16 {
        match self {
            Kind::Text | Kind::Numeric => -1,
            Kind::Int4 => 4,
            Kind::Int8 => 8,
        }
    }
}

/// A column's name and kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
}

pub(super) const fn text(name: &'static str) -> Column {
    let kind = Kind::Text;
    Column { name, kind }
}

pub(super) const fn int4(name: &'static str) -> Column {
    let kind = Kind::Int4;
    Column { name, kind }
}

pub(super) const fn int8(name: &'static str) -> Column {
    let kind = Kind::Int8;
    Column { name, kind }
}

pub(super) const fn numeric(name: &'static str) -> Column {
    let kind = Kind::Numeric;
    Column { name, kind }
}

/// A value. Numbers are whole: times are given in microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    Null,
    Text(String),
    Number(u64),
}

impl Cell {
    /// As it is printed; `None` is NULL.
    pub fn print(&self) -> Option<String> {
        match self {
            Cell::Null => None,
            Cell::Text(text) => Some(text.clone()),
            Cell::Number(number) => Some(number.to_string()),
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::Text(text)
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Cell::Number(number)
    }
}

impl From<u32> for Cell {
    fn from(number: u32) -> Self {
        Cell::Number(number.into())
    }
}

impl From<u16> for Cell {
    fn from(number: u16) -> Self {
        Cell::Number(number.into())
    }
}

impl From<usize> for Cell {
    fn from(number: usize) -> Self {
        Cell::Number(number as u64)
    }
}

/// 0 or 1, as PgBouncer has it.
impl From<bool> for Cell {
    fn from(flag: bool) -> Self {
        Cell::Number(flag.into())
    }
}

/// In microseconds.
impl From<std::time::Duration> for Cell {
    fn from(time: std::time::Duration) -> Self {
        Cell::Number(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Cell::Null, Into::into)
    }
}

/// A row of anything that makes a [`Cell`].
macro_rules! row {
    ($($cell:expr),* $(,)?) => { vec![$($crate::admin::table::Cell::from($cell)),*] };
}
pub(super) use row;

/// Columns and the rows below them.
#[derive(Debug, Clone)]
pub struct Table {
    pub columns: &'static [Column],
    pub rows: Vec<Vec<Cell>>,
}
