#!/usr/bin/env bash
# pgbench in its three protocols, and its books balanced at the end.
# usage: session.sh URL TRANSACTIONS_PER_CLIENT CLIENTS THREADS
set -euo pipefail
url=$1
transactions=$2
clients=$3
threads=$4

fail() { echo "$1" >&2; exit 1; }

pgbench --initialize --scale=4 --quiet "$url" 2>&1 | tail -1
for mode in simple extended prepared; do
    # Three reads of an account for each TPC-B transaction: work for the cache while it is written to.
    report=$(timeout 120 pgbench --protocol="$mode" --client="$clients" --jobs="$threads" --transactions="$transactions" \
        --no-vacuum --builtin=tpcb-like@1 --builtin=select-only@3 "$url" 2>&1) || fail "$mode, ended with $?: $report"
    wanted=$((clients * transactions))
    grep -q "number of transactions actually processed: $wanted/$wanted" <<<"$report" || fail "$report"
    grep -qE 'number of failed transactions: 0 ' <<<"$report" || fail "$report"
    echo "ok $mode: $(grep -E '^tps' <<<"$report")"
done

# Every transaction of TPC-B adds the same amount to an account, a teller, a branch and the history.
sums=$(psql -XAtq -v ON_ERROR_STOP=1 -d "$url" <<'SQL'
SELECT sum(abalance) FROM pgbench_accounts;
SELECT sum(tbalance) FROM pgbench_tellers;
SELECT sum(bbalance) FROM pgbench_branches;
SELECT sum(delta) FROM pgbench_history;
SQL
)
[ "$(sort -u <<<"$sums" | wc -l)" = 1 ] || fail "the books do not balance: $sums"
echo "ok the sums agree: $(head -1 <<<"$sums")"
