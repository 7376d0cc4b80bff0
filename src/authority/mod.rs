//! The room `authority`.
