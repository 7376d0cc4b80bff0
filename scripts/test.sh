#!/usr/bin/env bash
# Runs every test; the runner's closing line is the last thing printed.
set -euo pipefail
cd "$(dirname "$0")/.."

if cargo nextest --version >/dev/null 2>&1; then
    exec cargo nextest run --locked "$@"
fi
# cargo's own runner has no time-outs, so the whole run gets one.
exec timeout --kill-after=30 45m cargo test --locked --all-targets "$@" -- --test-threads=2
