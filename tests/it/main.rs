//! One binary for every integration test.

mod redis_tier;
