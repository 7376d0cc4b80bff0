#!/usr/bin/env bash
# PostgreSQL's own tests, directly and through pgditto in transaction pooling with the cache on, compared.
# usage: scripts/conformance/run.sh [quick | regress | pipeline | isolation]   (nothing: all but quick)
#   PGDITTO=PATH   this program instead of a release build of this tree
# Results: target/conformance/results/RUN, with differs/FILE.diff for each file that is not the same. Direct runs are
# made once and kept in target/conformance/direct. The exit status is 0 if all differences are known ones.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD/scripts/conformance
work=$PWD/target/conformance
documented=$PWD/docs/conformance.md
pgditto=${PGDITTO:-$PWD/target/release/pgditto}
case ${1:-} in
    '' | quick | regress | pipeline | isolation) ;;
    *)
        sed -n 's/^# usage: /usage: /p' "$0" >&2
        exit 2
        ;;
esac
quick_files='test_setup transactions prepare portals sequence temp copy2 plpgsql guc advisory_lock'

[ -n "${PGDITTO:-}" ] || cargo build --release --locked --quiet --bin pgditto
"$here/prepare.sh"

# PostgreSQL refuses to run as root, and its user may not go into a home folder.
user=()
[ "$(id -u)" != 0 ] || user=(--reuid postgres --regid postgres --clear-groups)
folder=$(mktemp -d /tmp/pgditto-conformance-XXXXXX)
server= proxy=
clean_up() {
    trap '' INT TERM HUP
    [ -z "$proxy" ] || kill -KILL "$proxy" 2>/dev/null || true
    [ -z "$server" ] || kill -QUIT "$server" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

cp -r "$work/postgres/." "$folder/"
chmod -R go+rX "$folder"
[ "$(id -u)" != 0 ] || chown -R postgres "$folder"
cd "$folder"
bin=$folder/bin tests=$folder/tests
export LD_LIBRARY_PATH=$folder/lib PGCONNECT_TIMEOUT=20 PGHOST=127.0.0.1 PGUSER=postgres
unset PGOPTIONS PGDATABASE

as_user() { setpriv "${user[@]}" -- "$@"; }
fail() {
    echo "conformance: $1" >&2
    tail -n 20 "$2" >&2
    exit 1
}
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}
server_port=$(free_port)
proxy_port=$(free_port)
ask() { "$bin/psql" -XqAt -v ON_ERROR_STOP=1 -p "$1" -d "$2" -c "$3"; }
# wait_for PORT DATABASE PID LOG
wait_for() {
    for _ in $(seq 300); do
        ask "$1" "$2" 'SELECT 1' >/dev/null 2>&1 && return
        kill -0 "$3" 2>/dev/null || break
        sleep 0.1
    done
    fail "nothing answers on port $1" "$4"
}

start_server() {
    setpriv --pdeathsig QUIT "${user[@]}" -- "$bin/postgres" -D "$folder/data" >>server.log 2>&1 &
    server=$!
    wait_for "$server_port" postgres "$server" server.log
}
# end PID SIGNAL
end() {
    kill "-$2" "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}
stop_server() { end "$server" INT; server=; }
# Everything that a run has left is gone.
reset_server() {
    [ -z "$server" ] || end "$server" QUIT
    rm -rf data
    cp -a pristine data
    start_server
}
# start_proxy POOL_SIZE
start_proxy() {
    setpriv --pdeathsig KILL -- "$pgditto" serve --upstream "postgres://postgres@127.0.0.1:$server_port/postgres" \
        --listen "127.0.0.1:$proxy_port" --http "127.0.0.1:$(free_port)" --set auth.auth_type=trust \
        --set "pool.default_pool_size=$1" >proxy.log 2>&1 &
    proxy=$!
    wait_for "$proxy_port" regression "$proxy" proxy.log
}
stop_proxy() { end "$proxy" QUIT; proxy=; }

make_server() {
    as_user "$bin/initdb" -N -A trust -U postgres --locale=C -E UTF8 -D data >initdb.log 2>&1 || fail 'initdb failed' initdb.log
    cat >>data/postgresql.conf <<CONF
listen_addresses = '127.0.0.1'
port = $server_port
unix_socket_directories = ''
max_connections = 200
fsync = off
wal_level = logical
max_wal_senders = 10
max_replication_slots = 10
max_prepared_transactions = 10
CONF
    start_server
    local database setting
    for database in regression isolation_regression; do
        ask "$server_port" postgres "CREATE DATABASE $database TEMPLATE template0"
        # What pg_regress sets for a database that it creates.
        for setting in lc_messages=C lc_monetary=C lc_numeric=C lc_time=C bytea_output=hex timezone_abbreviations=Default; do
            ask "$server_port" postgres "ALTER DATABASE $database SET ${setting%=*} TO '${setting#*=}'"
        done
    done
    stop_server
    cp -a data pristine
}

# Each suite leaves results/*.out in the folder `run`. usage: suite PORT WORDS...
regress() {
    local port=$1 words=$2 what=(--schedule="$tests/regress/parallel_schedule") more=()
    [[ $words != *quick* ]] || read -ra what <<<"$quick_files"
    [[ $words == *parallel* ]] || more+=(--max-connections=1)
    [[ $words != *extended* ]] || export PSQL_EXTENDED=1
    as_user timeout -k 10 1800 "$tests/regress/pg_regress" --use-existing --host=127.0.0.1 --port="$port" \
        --user=postgres --dbname=regression --bindir="$bin" --inputdir="$tests/regress" --outputdir="$folder/run" \
        --dlpath="$tests/regress" --launcher='timeout -k 5 180' --max-concurrent-tests=20 "${more[@]}" "${what[@]}"
}
isolation() {
    PGISOLATIONTIMEOUT=20 as_user timeout -k 10 1800 "$tests/isolation/pg_isolation_regress" --use-existing \
        --host=127.0.0.1 --port="$1" --user=postgres --dbname=isolation_regression --bindir="$bin" \
        --inputdir="$tests/isolation" --outputdir="$folder/run" --launcher='timeout -k 5 120' \
        --schedule="$tests/isolation/isolation_schedule"
}
pipeline() {
    local test out
    mkdir run/results
    for test in $("$tests/pipeline/libpq_pipeline" tests); do
        out=run/results/$test.out
        timeout -k 5 240 "$tests/pipeline/libpq_pipeline" -t run/trace "$test" \
            "host=127.0.0.1 port=$1 user=postgres dbname=regression" >"$out" 2>&1 </dev/null && echo 'exit 0' >>"$out" || echo "exit $?" >>"$out"
        # What these two have in flight at a time is up to the network.
        case $test in
            pipelined_insert | uniqviol) tail -n 1 "$out" >run/last && mv run/last "$out" ;;
            *) cat run/trace >>"$out" ;;
        esac
    done
}

# run SUITE PORT WORDS TARGET: runs it and moves what it leaves to TARGET.
run() {
    local suite=$1 port=$2 words=$3 target=$4
    rm -rf run
    mkdir run
    [ "$(id -u)" != 0 ] || chown postgres run
    ("$suite" "$port" "$words") >run.log 2>&1 || true
    mv run.log run/
    # Folders have names of one length, so that columns stay as wide.
    LC_ALL=C sed -i "s#$folder#/tmp/pgditto-conformance-folder#g" run/results/*.out
    rm -rf "$target"
    mkdir -p "$(dirname "$target")"
    cp -r run "$target"
}

unknown=
# conform SUITE WORDS POOL_SIZE DIRECT_RUNS
conform() {
    local suite=$1 words=$2 size=$3 times=$4 direct=() number name
    local kept=$work/direct/$suite-${words// /-}
    for number in $(seq "$times"); do
        direct+=("$kept-$number")
        [ ! -e "$kept-$number" ] || continue
        reset_server
        run "$suite" "$server_port" "$words" "$kept-$number"
    done
    name="$suite $words"
    reset_server
    start_proxy "$size"
    run "$suite" "$proxy_port" "$words" "$work/results/$suite-${words// /-}-$size"
    stop_proxy
    cp proxy.log "$work/results/$suite-${words// /-}-$size/"
    python3 "$here/compare.py" "$name, pool of $size" "$documented" \
        "$work/results/$suite-${words// /-}-$size" "${direct[@]}" || unknown=1
}

make_server
rm -rf "$work/results"
echo "PostgreSQL $(cat "$work/postgres/version"), $("$pgditto" --version), $(date -u +%F)"
for part in ${1:-regress pipeline isolation}; do
    case $part in
        quick)
            conform regress 'simple quick' 10 1
            conform regress 'extended quick' 10 1
            ;;
        regress)
            for size in 60 10; do
                conform regress 'simple serial' "$size" 3
                conform regress 'simple parallel' "$size" 3
                conform regress 'extended serial' "$size" 3
            done
            ;;
        pipeline) conform pipeline all 60 1 ;;
        isolation) conform isolation all 60 2 ;;
    esac
done
[ -z "$unknown" ] || fail 'differences that are not known' /dev/null
