//! Stub.
pub struct Insight;
