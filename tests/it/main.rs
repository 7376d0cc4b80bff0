//! One binary for every integration test: the real program, a real PostgreSQL, a real Redis.

mod fixture;

mod servers;
mod upstream;
