#!/usr/bin/env bash
# Builds PostgreSQL's own tests, and the server that they run on, from Debian's source package; once, and again
# when the patches change.
# usage: scripts/conformance/prepare.sh   (leaves target/conformance/postgres, about six minutes)
set -euo pipefail
cd "$(dirname "$0")/../.."
patches=$PWD/scripts/conformance/patches
work=$PWD/target/conformance
major=15
patched=$(cat "$patches"/*.patch | sha256sum)
[ ! -e "$work/postgres/version" ] || [ "$(cat "$work/postgres/patched" 2>/dev/null)" != "$patched" ] || exit 0

# apt reads source packages from lists of our own; the machine's configuration is left alone.
apt=$work/apt
rm -rf "$apt" "$work/build" "$work/postgres"
mkdir -p "$apt/parts" "$apt/lists/partial" "$work/build"
for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ ! -f "$list" ] || sed -nE 's/^deb([[:space:]])/deb-src\1/p' "$list" >>"$apt/sources.list"
done
touch "$apt/sources.list"
for list in /etc/apt/sources.list.d/*.sources; do
    [ ! -f "$list" ] || sed 's/^Types:.*/Types: deb-src/' "$list" >"$apt/parts/$(basename "$list")"
done
lists=(-o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts="$apt/parts"
    -o Dir::State::Lists="$apt/lists" -o Dir::Cache="$apt")
apt_get() { apt-get -qq "${lists[@]}" -o APT::Sandbox::User=root "$@"; }
echo "downloading the source of postgresql-$major"
apt_get update
# The newest may be listed before, or after, the mirror has it.
versions=$(apt-cache "${lists[@]}" showsrc "postgresql-$major" |
    sed -n 's/^Version: //p' | sort -Vru)
for version in $versions; do
    (cd "$work/build" && apt_get source --download-only "postgresql-$major=$version") && break
    echo "$version cannot be downloaded" >&2
done
tar -xf "$work"/build/postgresql-"$major"_*.orig.tar.* -C "$work/build" --strip-components=1

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
rm -rf build apt
