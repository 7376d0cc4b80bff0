#!/usr/bin/env bash
# Unpacks the source of PostgreSQL 15 as Debian packages it, without patches: all of it, or these of its folders.
# usage: scripts/conformance/source.sh TARGET [FOLDER…]   (it is downloaded once, and kept in target/source)
set -euo pipefail
target=$(realpath -m "$1")
folders=("${@:2}")
cd "$(dirname "$0")/../.."
kept=$PWD/target/source
major=15

download() {
    # apt reads source packages from lists of our own; the machine's configuration is left alone.
    local apt=$kept.part list version versions
    rm -rf "$apt"
    mkdir -p "$apt/parts" "$apt/lists/partial" "$apt/package"
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ ! -f "$list" ] || sed -nE 's/^deb([[:space:]])/deb-src\1/p' "$list" >>"$apt/sources.list"
    done
    touch "$apt/sources.list"
    for list in /etc/apt/sources.list.d/*.sources; do
        [ ! -f "$list" ] || sed 's/^Types:.*/Types: deb-src/' "$list" >"$apt/parts/$(basename "$list")"
    done
    local lists=(-o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts="$apt/parts"
        -o Dir::State::Lists="$apt/lists" -o Dir::Cache="$apt" -o APT::Sandbox::User=root)
    echo "downloading the source of postgresql-$major"
    apt-get -qq "${lists[@]}" update
    # The newest may be listed before, or after, the mirror has it.
    versions=$(apt-cache "${lists[@]}" showsrc "postgresql-$major" |
        sed -n 's/^Version: //p' | sort -Vru)
    for version in $versions; do
        (cd "$apt/package" && apt-get -qq "${lists[@]}" source --download-only "postgresql-$major=$version") && break
        echo "$version cannot be downloaded" >&2
        rm -f "$apt/package"/*
    done
    rm -rf "$kept"
    mv "$apt/package" "$kept"
    rm -rf "$apt"
}

compgen -G "$kept/postgresql-${major}_*.orig.tar.*" >/dev/null || download
mkdir -p "$target"
tar -xf "$kept"/postgresql-"$major"_*.orig.tar.* -C "$target" --strip-components=1 --wildcards "${folders[@]/#/*/}"
