#!/bin/sh
# Installs the Debian packages that are missing. Offline and quick when nothing is. Asks for the thing itself (a command, a
# pkg-config module, a header), not for the package, so that another provider of it counts too.
set -eu

missing=""
want() {    # want PACKAGE COMMAND...: the command must succeed
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}
has() { command -v "$1"; }
has_module() { pkg-config --exists "$1"; }
has_header() { printf '#include <%s>\n' "$1" | cc -E -o /dev/null -; }

want gcc has cc
want libc6-dev has_header stdio.h
want make has make
want pkg-config has pkg-config
want libmicrohttpd-dev has_module libmicrohttpd
want libcjson-dev has_module libcjson
want libopenblas-dev has_module openblas
want libuv1-dev has_module libuv
want libsqlite3-dev has_module sqlite3
want nettle-dev has_module nettle
want libcmocka-dev has_module cmocka
want libcurl4-openssl-dev has_module libcurl
want curl has curl
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    as_root="none"
fi
if [ "$as_root" = none ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "These packages are missing:$missing" >&2
    echo "Install them and try again:" >&2
    echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends$missing" >&2
    exit 1
fi

echo "Installing:$missing"
# A list that can't be refreshed (one of several mirrors away) is not yet a reason to stop: the installation decides.
$as_root apt-get -q -o DPkg::Lock::Timeout=120 update || echo "apt-get update failed; trying with the lists there are" >&2
# shellcheck disable=SC2086 # word splitting is what we want of $missing
$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 install --no-install-recommends \
    $missing
