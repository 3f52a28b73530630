#!/bin/bash
# Proves the Dockerfile without a container engine: a base image from debootstrap, built and run by buildah in a chroot.
# Checks that the container's server answers, that its health check agrees, that it does not run as root, and that
# SIGTERM ends it cleanly. All of it lives under build/docker. Needs root (or user namespaces set up for buildah) and a
# package mirror; where it can't run it says SKIPPED and returns 77.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$PWD/build/docker
suite=bookworm
expected_uid=10001
container="" server=""

skip() {
    echo "docker-check: SKIPPED: $1"
    exit 77
}

fail() {
    echo "docker-check: FAILED: $1" >&2
    [[ -f $work/server.log ]] && tail -n 20 "$work/server.log" >&2
    exit 1
}

builder() { buildah --storage-driver vfs --root "$work/storage" --runroot "$work/run" "$@"; }

clean_up() {
    [[ -n $server ]] && kill -9 "$server" 2>/dev/null
    [[ -n $container ]] && builder rm "$container" >/dev/null 2>&1
    return 0
}
trap clean_up EXIT

install_tools() {
    local missing=()
    command -v buildah >/dev/null || missing+=(buildah)
    command -v debootstrap >/dev/null || missing+=(debootstrap)
    command -v curl >/dev/null || missing+=(curl)
    ((${#missing[@]} > 0)) || return 0
    [[ $(id -u) == 0 ]] || skip "needs ${missing[*]}; install them, or run as root"
    apt-get -q update || true
    DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "${missing[@]}" ||
        skip "${missing[*]} can't be installed here"
}

# The machine's own mirror of the suite, so that a local one is used where there is one.
mirror_of_suite() {
    apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(CREATED_BY) $(REPO_URI)' |
        awk -v suite="$suite" '$1 == suite && $2 == "main" && $3 == "Packages" { print $4; exit }'
}

make_base() {
    local mirror scratch
    builder inspect --type image lag-base >/dev/null 2>&1 && return
    mirror=$(mirror_of_suite)
    [[ -n $mirror ]] || skip "apt knows no mirror of $suite main on this machine"
    rm -rf "$work/base"
    debootstrap --variant=minbase "$suite" "$work/base" "$mirror" >"$work/debootstrap.log" 2>&1 || {
        tail -n 5 "$work/debootstrap.log" >&2
        fail "debootstrap could not make the base system"
    }
    rm -f "$work/base/var/cache/apt/archives/"*.deb
    scratch=$(builder from scratch)
    builder add --quiet "$scratch" "$work/base" / >/dev/null
    builder commit --quiet --rm "$scratch" lag-base >/dev/null
    rm -rf "$work/base"
}

free_port() {
    local port
    for port in $(shuf -i 20000-30000 -n 50); do
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
}

# The process named lag among the descendants of $1.
find_server() {
    local child
    for child in $(cat "/proc/$1/task/"*/children 2>/dev/null); do
        if [[ $(cat "/proc/$child/comm" 2>/dev/null) == lag ]]; then
            echo "$child"
        else
            find_server "$child"
        fi
    done
}

in_container() { builder run --isolation chroot --env "LAG_LISTEN=127.0.0.1:$port" "$container" -- "$@"; }

install_tools
mkdir -p "$work"
echo "docker-check: the base system"
make_base
echo "docker-check: the image"
builder bud --format docker --isolation chroot --build-arg BASE=localhost/lag-base --tag lag-check . \
    >"$work/build.log" 2>&1 || { tail -n 30 "$work/build.log" >&2; fail "the image does not build"; }

echo "docker-check: the server in the container"
port=$(free_port)
container=$(builder from lag-check)
in_container lag serve >"$work/server.log" 2>&1 &
runner=$!
for _ in $(seq 100); do
    kill -0 "$runner" 2>/dev/null || fail "the server ended before it answered"
    curl -fsS "http://127.0.0.1:$port/livez" >/dev/null 2>&1 && break
    sleep 0.2
done
curl -fsS "http://127.0.0.1:$port/livez" >/dev/null || fail "/livez does not answer"
server=$(find_server "$runner" | head -n 1)
[[ -n $server ]] || fail "the server's process was not found"
uid=$(awk '/^Uid:/ { print $2 }' "/proc/$server/status")
[[ $uid == "$expected_uid" ]] || fail "the server runs as user $uid, not $expected_uid"
in_container lag health >/dev/null || fail "the health check says no while /livez says yes"
kill -TERM "$server"
status=0
wait "$runner" || status=$?
server=""
((status == 0)) || fail "SIGTERM ended the server with status $status, not 0"
if in_container lag health >/dev/null 2>&1; then
    fail "the health check says yes while no server runs"
fi
echo "docker-check: passed: built, answered, user $uid, healthy, stopped by SIGTERM"
