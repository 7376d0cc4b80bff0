#!/usr/bin/env bash
# Installs, by package name, what the demo or the tests lack on Debian; does nothing when all is there.
# usage: scripts/deps.sh demo|test|conformance|analysis
set -euo pipefail
cd "$(dirname "$0")/.."

# Debian keeps servers out of the PATH of ordinary users.
PATH="$PATH:/usr/sbin:/sbin"
tools="$PWD/target/tools/bin"
missing=()

have() { command -v "$1" >/dev/null; }
have_file() { compgen -G "$1" >/dev/null; }
# need PACKAGE CHECK...: the package is missing if the check fails.
need() {
    local package=$1
    shift
    "$@" || missing+=("$package")
}

postgres_there() { [ -n "${PGBIN:-}" ] || have_file '/usr/lib/postgresql/*/bin/initdb' || have initdb; }
can_make_venv() { python3 -c 'import venv, ensurepip' 2>/dev/null; }

need gcc have cc
need postgresql postgres_there
if [ "${1:-}" = test ]; then
    need postgresql-client have psql
    need postgresql-contrib have pgbench
    need redis-server have redis-server
    need pgbouncer have pgbouncer
    need python3 have python3
    need python3-venv can_make_venv
    need nodejs have node
    need npm have npm
    # The compiler too: the driver's session is one source file.
    need default-jdk-headless have javac
    need libpostgresql-jdbc-java have_file /usr/share/java/postgresql.jar
    need systemd have systemd-analyze
fi
if [ "${1:-}" = conformance ]; then
    need make have make
    need patch have patch
    need dpkg-dev have dpkg-source
    need bzip2 have bzip2
    need pkg-config have pkg-config
    need libxml2-dev have_file /usr/include/libxml2
    need python3 have python3
fi

if [ "${1:-}" = analysis ]; then
    need bzip2 have bzip2
    # pg_query's bindings are made when it is built.
    need libclang-dev have_file '/usr/lib/llvm-*/lib/libclang.so*'
fi

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        echo "neither root nor sudo; ask an administrator for: $*" >&2
        exit 1
    fi
}

require_apt() {
    have apt-get && return
    echo "this is no Debian; install by hand what provides: $*" >&2
    exit 1
}

updated=
update() {
    [ -n "$updated" ] || as_root apt-get update -qq
    updated=1
}

# Debian starts a server as soon as it is installed, unless this file forbids it. The demo and the
# tests start their own, so none is wanted; a file that is there already is left alone.
policy=/usr/sbin/policy-rc.d
install_packages() {
    require_apt "$@"
    update
    local own_policy=
    if [ ! -e "$policy" ]; then
        own_policy=1
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
        trap 'as_root rm -f "$policy"' EXIT
    fi
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@"
    if [ -n "$own_policy" ]; then
        as_root rm -f "$policy"
        trap - EXIT
    fi
}

# Takes one program out of a package without installing it: promtool comes with a whole Prometheus
# server and thirty packages of its pages, and kubectl should be Debian's whatever else is there.
unpack_tool() {
    local package=$1 program=$2 folder
    [ -x "$tools/$(basename "$program")" ] && return
    require_apt "$package"
    mkdir -p "$tools"
    folder=$(mktemp -d)
    # apt drops root's rights for a download and must still be able to write there.
    chmod 755 "$folder"
    if ! (cd "$folder" && apt-get download -qq "$package" 2>/dev/null); then
        update
        (cd "$folder" && apt-get download -qq "$package")
    fi
    dpkg -x "$folder"/*.deb "$folder/content"
    cp "$folder/content/$program" "$tools/"
    rm -r "$folder"
    echo "unpacked $tools/$(basename "$program") from Debian's $package"
}

if [ "${#missing[@]}" -gt 0 ]; then
    echo "installing: ${missing[*]}"
    install_packages "${missing[@]}"
fi
if [ "${1:-}" = test ]; then
    unpack_tool kubernetes-client usr/bin/kubectl
    unpack_tool prometheus usr/bin/promtool
fi
