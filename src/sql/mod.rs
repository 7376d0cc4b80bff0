//! SQL text → shape, kind, relations, functions: pure, and without a catalogue.
//!
//! [`scan`] is for every text that comes by: one pass over its bytes. [`analyse`] is for the first text of a shape: it
//! parses. Neither knows which session asks, and both are total.

mod analyse;
mod blocks;
mod bounds;
mod control;
mod cursor;
mod elsewhere;
mod facts;
mod hints;
mod kind;
mod lexer;
mod literal;
mod literals;
mod operators;
mod quiet;
mod reason;
mod remedy;
mod scan;
mod sets;
mod shape;
mod stillness;
mod temporary;
#[cfg(test)]
mod tests;
mod tokens;
mod utility;
mod vacancy;
mod vocabulary;
mod walk;

pub use analyse::{analyse, definition, function_query};
pub use blocks::{
    ArrayOf, Assigned, Block, Change, Conflict, Constant, Derived, Equal, Filter, Merged, Output,
    Seen, Shown, Source,
};
pub use control::{Channel, channel, is_start_transaction, local_custom_value};
pub use elsewhere::{calls_with_text_from_elsewhere, runs_text_from_elsewhere};
pub use facts::{
    Access, ColumnUse, Facts, FunctionUse, Isolation, Kind, KnownArgument, MadeTable, ObjectName,
    RelationUse, Stillness, TemporaryTables,
};
pub use hints::Hints;
pub use literal::clock_text;
pub use literals::{Literal, Literals};
pub use reason::Bypass;
pub use scan::{Scan, scan};
pub use sets::{Setting, custom_settings, is_custom_name, settings_read};
pub use shape::shape_text;

/// A statement's shape: what is left of it when the literals are taken out, as a 128-bit fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShapeId(pub u128);

impl std::fmt::Display for ShapeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", (self.0 >> 64) as u64)
    }
}
