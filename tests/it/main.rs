//! One binary for every integration test: the real program, a real PostgreSQL, a real Redis.

mod fixture;

mod admin;
#[cfg(feature = "postgres-parser")]
mod analysis;
mod architecture;
mod auth;
mod authority;
mod bad_input;
mod cache;
mod catalog;
mod cli;
mod counted;
mod deploy;
mod direct_tls;
mod documents;
mod drivers;
mod failover;
mod listening;
mod notify;
mod own_process;
mod pooling;
mod protocol;
mod redis_tier;
mod reload;
mod replication;
mod running;
mod servers;
mod session_state;
mod soak;
mod statements;
mod stillness;
mod upstream;
mod vacated;
