#!/usr/bin/env bash
# pgditto in front of a throwaway PostgreSQL with a small shop: a load on both, and a comparison.
# Everything lives in one temporary folder and ends with this script, also on Ctrl-C.
#   SECONDS_OF_LOAD=20   how long the load lasts
#   CLIENTS=64           how many clients there are
#   KEEP=1               stay up afterwards, to try by hand
set -euo pipefail
cd "$(dirname "$0")/.."
repository=$PWD
programs=$repository/target/release
SECONDS_OF_LOAD=${SECONDS_OF_LOAD:-20}
CLIENTS=${CLIENTS:-64}
KEEP=${KEEP:-}

folder=
postgres=
pgditto=
load=
clean_up() {
    trap '' INT TERM HUP
    [ -z "$load" ] || kill -KILL "$load" 2>/dev/null || true
    [ -z "$pgditto" ] || kill -KILL "$pgditto" 2>/dev/null || true
    # PostgreSQL's immediate shutdown; nobody will miss the data.
    [ -z "$postgres" ] || kill -QUIT "$postgres" 2>/dev/null || true
    wait 2>/dev/null || true
    [ -z "$folder" ] || rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

fail() {
    echo "demo: $1" >&2
    [ -z "${2:-}" ] || tail -n 20 "$2" >&2
    exit 1
}

newest_bin() {
    local found
    found=$(compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort -t/ -k5 -n | tail -n 1)
    [ -n "$found" ] || found=$(command -v initdb) || fail 'no PostgreSQL found; "make deps-demo" installs it'
    dirname "$found"
}

# Starts a program in place of this shell, so that its process id is the one that we know, apart from
# the terminal, so that Ctrl-C reaches this script alone, which then ends everything in order, and
# with a signal for the case that this script is killed.
become() {
    local signal=$1
    shift
    exec setpriv --pdeathsig "$signal" "${user[@]}" -- setsid "$@"
}

# PostgreSQL refuses to run as root.
user=()
[ "$(id -u)" != 0 ] || user=(--reuid postgres --regid postgres --clear-groups)

# A port below those that the kernel gives to outgoing connections, on which nobody listens.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

# wait_for WHAT PID LOG COMMAND...: until the command succeeds, for at most 30 seconds.
wait_for() {
    local what=$1 pid=$2 log=$3
    shift 3
    for _ in $(seq 300); do
        "$@" >/dev/null 2>&1 && return
        kill -0 "$pid" 2>/dev/null || fail "$what has ended" "$log"
        sleep 0.1
    done
    fail "$what is not ready after 30 seconds" "$log"
}

# In a shell of its own, which a refused connection may end.
ready() (
    exec 3<>"/dev/tcp/127.0.0.1/$http_port"
    printf 'GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
    read -r answer <&3
    [[ $answer == *' 200 '* ]]
)

echo 'building the release binary'
cargo build --release --locked --quiet --bin pgditto --example demo

bin=${PGBIN:-$(newest_bin)}
# Where PostgreSQL's user may go, unlike to a home folder.
folder=$(mktemp -d /tmp/pgditto-demo-XXXXXX)
[ "$(id -u)" != 0 ] || chown postgres "$folder"
postgres_port=$(free_port)
listen_port=$(free_port)
http_port=$(free_port)
cd "$folder"

echo "starting PostgreSQL $("$bin/postgres" --version | awk '{ print $3 }') with a shop of 100,000 orders"
(become KILL "$bin/initdb" -D "$folder/data" -U postgres -E UTF8 --locale=C.UTF-8 --no-sync \
    --auth-local=trust --auth-host=scram-sha-256) >"$folder/initdb.log" 2>&1 || fail 'initdb failed' "$folder/initdb.log"
(become QUIT "$bin/postgres" -D "$folder/data" -p "$postgres_port" \
    -c listen_addresses=127.0.0.1 -c unix_socket_directories="$folder" \
    -c shared_buffers=256MB -c max_connections=200) >"$folder/postgres.log" 2>&1 &
postgres=$!
as() { psql -XqAt -v ON_ERROR_STOP=1 -h "$folder" -p "$postgres_port" -U "$@"; }
wait_for PostgreSQL "$postgres" "$folder/postgres.log" as postgres -d postgres -c 'SELECT 1'
as postgres -d postgres -c "CREATE ROLE shop LOGIN PASSWORD 'secret'" -c 'CREATE DATABASE shop OWNER shop'
as shop -d shop -f "$repository/examples/demo/schema.sql"
as postgres -d shop -c 'VACUUM (FREEZE, ANALYZE)'
# The same shop twice: what one side writes must not disturb the other.
as postgres -d postgres -c 'CREATE DATABASE shop_direct TEMPLATE shop OWNER shop' -c CHECKPOINT

upstream="postgres://shop:secret@127.0.0.1:$postgres_port"
through="postgres://shop:secret@127.0.0.1:$listen_port/shop"
serve=("$programs/pgditto" serve --upstream "$upstream/shop"
    --listen "127.0.0.1:$listen_port" --http "127.0.0.1:$http_port")
echo "starting ${serve[*]//"$repository/"/}"
(user=() && become KILL "${serve[@]}") >"$folder/pgditto.log" 2>&1 &
pgditto=$!
wait_for pgditto "$pgditto" "$folder/pgditto.log" ready

cat <<TEXT

$CLIENTS clients for $SECONDS_OF_LOAD seconds, in turns directly and through pgditto. Of sixteen, fifteen read as fast
as they can (products, stock, customers, orders); one places orders and changes prices at a steady pace.
TEXT
"$programs/examples/demo" \
    --direct "$upstream/shop_direct" --behind "$upstream/shop" --through "$through" \
    --http "127.0.0.1:$http_port" --proxy-pid "$pgditto" --postgres-pid "$postgres" \
    --clients "$CLIENTS" --seconds "$SECONDS_OF_LOAD" &
load=$!
wait "$load" || fail 'the load failed' "$folder/pgditto.log"
load=

[ -n "$KEEP" ] || exit 0
cat <<TEXT
It stays up. To try by hand:
  through pgditto   psql '$through'
  directly          psql '$upstream/shop'
  console           psql 'postgres://shop:secret@127.0.0.1:$listen_port/pgbouncer' -c 'SHOW CACHE'
  metrics           curl http://127.0.0.1:$http_port/metrics
  log               less $folder/pgditto.log
Ctrl-C (or: kill $$) ends it and removes everything.
TEXT
wait "$pgditto" || fail 'pgditto has ended' "$folder/pgditto.log"
