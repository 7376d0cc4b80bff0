#!/usr/bin/env bash
# Compares the analysis of statements with PostgreSQL's own parser, over the statements of its own tests, the fuzzer's and ours.
# usage: scripts/analysis.sh   (SEED=… for other texts of the fuzzer)
set -euo pipefail
cd "$(dirname "$0")/.."

scripts=$PWD/target/analysis/src/test/regress/sql
if [ ! -d "$scripts" ]; then
    rm -rf target/analysis.part
    scripts/conformance/source.sh target/analysis.part src/test/regress/sql
    mv target/analysis.part target/analysis
fi

cargo clippy --locked --test it --features postgres-parser -- -D warnings
POSTGRES_SCRIPTS=$scripts cargo test --locked --test it --features postgres-parser -- --nocapture --test-threads=1 analysis::
