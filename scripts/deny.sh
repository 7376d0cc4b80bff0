#!/usr/bin/env bash
# usage: scripts/deny.sh CHECK...   runs `cargo deny check` with deny.toml, installing cargo-deny once.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! cargo deny --version >/dev/null 2>&1; then
    echo 'installing cargo-deny (once, a few minutes)'
    cargo install --locked --quiet cargo-deny --version '^0.20'
fi
exec cargo deny --locked --all-features check "$@"
