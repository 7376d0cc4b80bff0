//! The operator's side.
pub mod house;
pub use house::*;
