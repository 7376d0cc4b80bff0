//! One binary for every integration test: the real program, a real PostgreSQL, a real Redis.

mod fixture;

mod deploy;
mod drivers;
mod servers;
mod upstream;
