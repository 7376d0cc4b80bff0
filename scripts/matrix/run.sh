#!/usr/bin/env bash
# Runs the integration tests against each supported PostgreSQL, one after the other, and prints a table.
# VERSIONS="17 18" chooses versions, TESTS='test(catalog::)' chooses tests (nextest's filter language).
# The exit status is 0 if all passed.
set -euo pipefail
cd "$(dirname "$0")/../.."

read -ra versions <<<"${VERSIONS:-13 14 15 16 17 18}"
chosen="binary(it) & (${TESTS:-all()})"
needs=scripts/matrix/needs.txt
reports=$PWD/target/matrix
mkdir -p "$reports"

cargo nextest --version >/dev/null 2>&1 ||
    { echo "$0: needs cargo-nextest: cargo install --locked cargo-nextest" >&2; exit 1; }

client=$(pg_basebackup --version | grep -oP '\d+' | head -n 1)
# The tests that a server of this major version cannot pass, one a line.
left_out() {
    awk -v major="$1" -v client="$client" \
        '!/^#/ && ($1 == "client" ? major + 0 > client + 0 : $1 + 0 > major + 0) { print $2 }' "$needs"
}
count() { grep -oP "\d+(?= $2)" <<<"$1" || echo 0; }

# A test that was renamed must not silently run where it cannot pass, nor be counted where it is not.
cargo nextest list --locked --test it --message-format oneline >"$reports/tests.txt"
while read -r test; do
    grep -qx "pgditto::it $test" "$reports/tests.txt" || { echo "$needs: there is no test $test" >&2; exit 1; }
done < <(awk '!/^#/ { print $2 }' "$needs")

row='%-12s %7s %7s %20s  %s\n'
table=$(printf "$row" PostgreSQL passed failed 'not in this version' seconds)
status=0
for major in "${versions[@]}"; do
    PGBIN=$(scripts/matrix/fetch.sh "$major")
    export PGBIN
    release=$("$PGBIN/postgres" --version | awk '{ print $3 }')
    filter=$chosen
    for test in $(left_out "$major"); do
        filter="$filter - test(=$test)"
    done
    left_out "$major" | sed "s/^/not in this version, $major: /"
    report=$reports/$major.log
    echo "PostgreSQL $release: $report"
    cargo nextest run --profile matrix --locked --test it -E "$filter" >"$report" 2>&1 || status=1
    summary=$(grep -P '^ *Summary \[' "$report" || { tail -n 20 "$report" >&2; exit 1; })
    grep -P '^ +(FAIL|TIMEOUT|SIG\w+|TRY 3 \w+) ' <(sed '1,/^ *Summary \[/d' "$report") || true
    failed=$(($(count "$summary" failed) + $(count "$summary" 'timed out')))
    seconds=$(grep -oP '(?<=Summary \[) *\d+' <<<"$summary")
    table+=$'\n'$(printf "$row" "$release" "$(count "$summary" passed)" "$failed" "$(left_out "$major" | wc -l)" "$seconds")
done
printf '\n%s\n' "$table"
exit "$status"
