//! A picture of the database: what names mean and what follows from touching them.

mod footprint;

pub use footprint::{Effects, Footprint, RelationOid};
mod stub;
pub use stub::*;
