#!/usr/bin/env bash
# Runs one of the long instruments of tests/it/soak: fuzz, soak, direct-writers, planted or hit-ratio. The exit status says what it found.
set -euo pipefail
cd "$(dirname "$0")/.."

fuzz=soak::fuzz::random_sessions_answer_as_on_a_twin_database_and_every_hit_is_the_truth
soak=soak::live::nobody_reads_what_is_older_than_what_was_known_whatever_is_cut_and_killed
direct=soak::live::outside::nobody_reads_what_an_outside_writer_overwrote_longer_than_ttl_ago
planted=(
    soak::planted::the_soak_finds_what_each_step_of_the_protocol_prevents
    soak::planted::a_whole_protocol_withstands_each_strike_by_itself
)
hits=(
    soak::hit_ratio::invalidation_by_key_keeps_the_hits_that_perfect_invalidation_would
    soak::hit_ratio::keys_that_come_back_with_a_write_keep_the_hits_that_perfect_invalidation_would
)

run() { exec cargo test --locked --test it "$@" --exact --nocapture; }

case "${1:-}" in
    fuzz) export SECONDS_OF_FUZZ="${SECONDS_OF_FUZZ:-1200}"; run --release -- "$fuzz" ;;
    soak) export SECONDS_OF_SOAK="${SECONDS_OF_SOAK:-3600}"; run --release -- "$soak" ;;
    direct-writers) export SECONDS_OF_SOAK="${SECONDS_OF_SOAK:-600}"; run --release -- "$direct" ;;
    planted)
        # A target of its own, so that no binary with planted faults lies where others look for pgditto.
        export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/planted"
        run --features planted-faults -- "${planted[@]}" --test-threads 1
        ;;
    hit-ratio)
        export ROWS_OF_HIT_RATIO="${ROWS_OF_HIT_RATIO:-100000}" OPERATIONS_OF_HIT_RATIO="${OPERATIONS_OF_HIT_RATIO:-400000}"
        run --release -- "${hits[@]}" --test-threads 1
        ;;
    *) echo "usage: $0 fuzz|soak|direct-writers|planted|hit-ratio" >&2; exit 2 ;;
esac
