//! Frames and messages of PostgreSQL's wire protocol, versions 3.0 to 3.2,
//! without any I/O.
//!
//! Bytes stay bytes: a [`Frame`] is one whole message, moved and never copied.
//! The views in [`frontend`] and [`backend`] borrow from a frame's body, check
//! every inner length against it, and refuse what is left over, so that no
//! message can be read differently here and at the other end. Encoders append
//! one whole message to a buffer.
//!
//! The room knows neither sockets nor SQL.
//! Source: the manual's chapter "Frontend/Backend Protocol".

pub mod backend;
pub mod frontend;
pub mod tag;

mod cursor;
mod error;
mod frame;
mod report;
mod sqlstate;
mod startup;
mod status;
mod write;

pub use error::WireError;
pub use frame::{Frame, FrameHeader, HEADER_LEN, frame_header, take_frame};
pub use report::{ErrorReport, Severity};
pub use sqlstate::SqlState;
pub use startup::{
    CANCEL_KEY_LEN_MAX, CANCEL_KEY_LEN_MIN, NEWEST_MINOR, Replication, Startup, StartupPacket,
    cancel_key_len, take_startup,
};
pub use status::TransactionStatus;
