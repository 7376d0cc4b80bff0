#!/usr/bin/env bash
# Builds PostgreSQL's own tests, and the server that they run on, from Debian's source package; once, and again
# when the patches change.
# usage: scripts/conformance/prepare.sh   (leaves target/conformance/postgres, about six minutes)
set -euo pipefail
cd "$(dirname "$0")/../.."
patches=$PWD/scripts/conformance/patches
work=$PWD/target/conformance
patched=$(cat "$patches"/*.patch | sha256sum)
[ ! -e "$work/postgres/version" ] || [ "$(cat "$work/postgres/patched" 2>/dev/null)" != "$patched" ] || exit 0

rm -rf "$work/build" "$work/postgres"
scripts/conformance/source.sh "$work/build"

echo "building it; the log is $work/build.log"
cd "$work/build"
# PostgreSQL's makefiles make what others need only in the outermost of several makes: ours must not be seen.
unset MAKELEVEL MAKEFLAGS MFLAGS
prefix=$work/postgres patches=$patches bash -eu >"$work/build.log" 2>&1 <<'BUILD' || {
    for patch in "$patches"/*.patch; do patch -p1 <"$patch"; done
    ./configure -q --prefix="$prefix" --without-readline --without-zlib --with-libxml
    make -s -j"$(nproc)"
    make -s install
    make -s -j"$(nproc)" -C src/test/regress
    make -s -C contrib/spi
    make -s -C src/test/isolation
    make -s -C src/test/modules/libpq_pipeline
BUILD
    tail -n 20 "$work/build.log" >&2
    exit 1
}

tests=$work/postgres/tests
mkdir -p "$tests"/{regress,isolation,pipeline}
cp -a src/test/regress/{sql,expected,data,resultmap,parallel_schedule,pg_regress,regress.so} "$tests/regress/"
cp -a contrib/spi/{refint,autoinc}.so "$tests/regress/"
cp -a src/test/isolation/{specs,expected,isolation_schedule,isolationtester,pg_isolation_regress} "$tests/isolation/"
cp -a src/test/modules/libpq_pipeline/libpq_pipeline "$tests/pipeline/"
rm -rf "$work/postgres/include" "$work/direct"
echo "$patched" >"$work/postgres/patched"
"$work/postgres/bin/postgres" --version | awk '{ print $3 }' >"$work/postgres/version"
cd "$work"
rm -rf build
