//! pgditto: a sidecar for PostgreSQL that pools connections and answers
//! repeated reads from memory.
//!
//! The rooms are listed in the order in which a query meets them; a room may
//! use the ones above it and must not know the ones below
//! (`ARCHITECTURE.md` draws the way, `tests/it/architecture.rs` holds it).

pub mod planted;
pub mod wire;

pub mod auth;
pub mod config;
pub mod hosts;
pub mod tls;

pub mod sql;

pub mod metrics;

pub mod catalog;

pub mod cache;

pub mod authority;
pub mod notify;
pub mod upstream;

pub mod client;

pub mod insight;

pub mod session;

pub mod admin;

pub mod app;

pub mod cli;
