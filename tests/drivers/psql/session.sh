#!/usr/bin/env bash
# One session of everything a person does with psql. usage: session.sh URL
set -euo pipefail
url=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

sql() { psql -XAtq -v ON_ERROR_STOP=1 -d "$url" "$@"; }
fail() { echo "$1" >&2; exit 1; }
# expect WHAT ACTUAL WANTED
expect() { [ "$2" = "$3" ] || fail "$1: '$2' instead of '$3'"; }
ok() { echo "ok $1"; }

sql <<'SQL' 2>"$folder/notices"
DROP SCHEMA IF EXISTS drv_psql CASCADE;
CREATE SCHEMA drv_psql;
CREATE TABLE drv_psql.item (id int PRIMARY KEY, name text, price numeric);
INSERT INTO drv_psql.item VALUES (1, 'tea', 3.50), (2, 'cup', 8);
SQL
ok tables

for round in 1 2 3 4 5; do
    sql -c "UPDATE drv_psql.item SET price = $round WHERE id = 1"
    answers=$(sql <<'SQL'
SELECT name, price FROM drv_psql.item WHERE id = 1;
SELECT name, price FROM drv_psql.item WHERE id = 1;
SELECT name, price FROM drv_psql.item WHERE id = 2;
SQL
    )
    expect 'reads after a write' "$answers" $'tea|'"$round"$'\ntea|'"$round"$'\ncup|8'
done
ok 'reads see writes'

answers=$(sql <<'SQL'
BEGIN;
INSERT INTO drv_psql.item VALUES (10, 'pot', 20);
SELECT count(*) FROM drv_psql.item;
COMMIT;
SELECT count(*) FROM drv_psql.item;
BEGIN;
DELETE FROM drv_psql.item;
SELECT count(*) FROM drv_psql.item;
ROLLBACK;
SELECT count(*) FROM drv_psql.item;
BEGIN;
INSERT INTO drv_psql.item VALUES (11, 'jug', 9);
SAVEPOINT here;
INSERT INTO drv_psql.item VALUES (12, 'pan', 9);
SELECT count(*) FROM drv_psql.item;
ROLLBACK TO here;
SELECT count(*) FROM drv_psql.item;
COMMIT;
SELECT count(*) FROM drv_psql.item;
SQL
)
expect transactions "$(tr '\n' ' ' <<<"$answers")" '3 3 0 3 5 4 4 '
ok transactions

answers=$(sql <<'SQL'
PREPARE named (int) AS SELECT name FROM drv_psql.item WHERE id = $1;
EXECUTE named (1);
EXECUTE named (2);
EXECUTE named (1);
DEALLOCATE named;
SELECT 1 \; SELECT 2 \; SELECT 3;
SELECT 4 AS n \gset
SELECT :n + 1;
SELECT name FROM drv_psql.item WHERE id = 1 \gdesc
SQL
)
expect 'prepared and many statements' "$(tr '\n' ' ' <<<"$answers")" 'tea cup tea 1 2 3 5 name|text '
ok 'prepared statements'

# More rows than one fetch of psql's own cursor.
answers=$(sql -v FETCH_COUNT=100 -c 'SELECT generate_series(1, 1000)' | md5sum)
expect FETCH_COUNT "$answers" "$(seq 1000 | md5sum)"
ok cursors

seq 1000 | awk '{ print $1 ",row " $1 }' >"$folder/in.csv"
sql -c 'CREATE TABLE drv_psql.bulk (id int, name text)'
sql -c "\\copy drv_psql.bulk FROM '$folder/in.csv' (FORMAT csv)"
sql -c "\\copy (SELECT * FROM drv_psql.bulk ORDER BY id) TO '$folder/out.csv' (FORMAT csv)"
cmp "$folder/in.csv" "$folder/out.csv" || fail 'COPY out is not what went in'
if echo 'no number,x' | sql -c '\copy drv_psql.bulk FROM pstdin (FORMAT csv)' 2>"$folder/errors"; then
    fail 'COPY of wrong data passed'
fi
grep -q 'invalid input syntax for type integer' "$folder/errors" || fail "$(cat "$folder/errors")"
expect 'after COPY' "$(sql -c 'SELECT count(*) FROM drv_psql.bulk')" 1000
ok COPY

# Errors do not end the session, and a failed transaction says so until it is rolled back.
psql -XAtq -v VERBOSITY=sqlstate -d "$url" >"$folder/answers" 2>"$folder/errors" <<'SQL'
SELEC 1;
INSERT INTO drv_psql.item VALUES (1, 'again', 0);
BEGIN;
INSERT INTO drv_psql.item VALUES (1, 'again', 0);
SELECT 1;
COMMIT;
SELECT 'alive';
SQL
expect errors "$(grep -oE '[0-9A-Z]{5}$' "$folder/errors" | tr '\n' ' ')" '42601 23505 23505 25P02 '
expect 'after errors' "$(cat "$folder/answers")" alive
ok errors

psql -XAtq -d "$url" >"$folder/answers" 2>&1 <<'SQL'
SELECT 1/0;
\errverbose
CREATE TEMP SEQUENCE countdown;
SELECT 1 / (4 - nextval('countdown')) AS n \watch 0.01
SET app.mine = 'gone';
\c
SELECT coalesce(current_setting('app.mine', true), 'new');
SQL
errors=$(grep -c 'division by zero' "$folder/answers")
expect '\errverbose and \watch' "$errors $(grep -c 'LOCATION:  int4div' "$folder/answers")" '3 1'
grep -q '^ERROR:  22012: division by zero' "$folder/answers" || fail "$(cat "$folder/answers")"
expect '\c' "$(tail -n 1 "$folder/answers")" new
ok 'watch, errverbose, connect'

# Prompts, which only a terminal shows, tell the user, the database and the state of the transaction.
script -qec "psql -Xq -v PROMPT1='<%n@%/%x> ' -d '$url'" /dev/null >"$folder/answers" 2>&1 <<'SQL'
BEGIN;
SELEC;
ROLLBACK;
\q
SQL
prompts=$(grep -o '<[^>]*>' "$folder/answers" | uniq | tr -d '\n')
expect prompts "$prompts" "$(sql -c "SELECT format('<%1\$s@%2\$s><%1\$s@%2\$s*><%1\$s@%2\$s!><%1\$s@%2\$s>', session_user, current_database())")"
ok prompts

# SIGINT makes psql send a cancel request; -c alone would end psql, a script goes on.
psql -XAtq -d "$url" >"$folder/answers" 2>"$folder/errors" <<'SQL' &
SELECT 'begin';
SELECT pg_sleep(30);
SELECT 'after';
SQL
child=$!
for _ in $(seq 200); do
    running=$(sql -c "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(30);'")
    [ "$running" = 0 ] || break
    sleep 0.1
done
expect 'a statement to cancel' "$running" 1
# A shell starts background children deaf to SIGINT, but psql has a handler of its own.
kill -INT "$child"
wait "$child" || true
grep -q 'canceling statement due to user request' "$folder/errors" || fail "no cancel: $(cat "$folder/errors")"
running=$(sql -c "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(30);'")
expect 'nothing goes on' "$running" 0
ok cancel

answers=$(psql -XAtq -v VERBOSITY=sqlstate -d "$url" 2>&1 <<'SQL'
SET statement_timeout = '100ms';
SELECT pg_sleep(30);
SHOW statement_timeout;
RESET statement_timeout;
SHOW statement_timeout;
DO $$ BEGIN RAISE NOTICE 'hear, hear'; END $$;
LISTEN drv_psql;
NOTIFY drv_psql, 'payload';
SQL
)
case $answers in
*57014*100ms*'NOTICE'*'Asynchronous notification "drv_psql" with payload "payload"'*) ;;
*) fail "timeout, settings, notice, notification: $answers" ;;
esac
ok 'timeouts, notices, notifications'

answers=$(sql -c '\dt drv_psql.*' | wc -l)
expect 'the catalogue' "$answers" 2
options=$(PGOPTIONS='-c work_mem=1234kB' sql -c 'SHOW work_mem')
expect 'options at the start' "$options" 1234kB
ok 'catalogue and options'
