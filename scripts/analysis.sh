#!/usr/bin/env bash
# Compares the analysis of statements with PostgreSQL's own parser, over the fuzzer's texts and those of our tests.
# usage: scripts/analysis.sh   (SEED=… for other texts of the fuzzer)
set -euo pipefail
cd "$(dirname "$0")/.."

cargo clippy --locked --test it --features postgres-parser -- -D warnings
cargo test --locked --test it --features postgres-parser -- --nocapture --test-threads=1 analysis::
