//! What operators see and do: the psql console and the HTTP listener.
//!
//! Both show the same tables ([`show`]), read from one [`House`], which the
//! composition root implements over the running process. The room reads, and hands
//! commands on; it changes nothing itself.

pub mod console;
pub mod house;
pub mod http;

mod show;
mod table;

pub use house::*;
pub use show::Show;
pub use table::{Cell, Column, Kind, Table};
