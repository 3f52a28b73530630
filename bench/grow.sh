#!/bin/bash
# Grows a model of a billion parameters from file to file, in depth and by hyperclone, each beside a copy of as many bytes,
# and prints medians of time, the peak of resident memory and the ratio. Skipped where less than 12 GB of disk are free. Bounds: 600 MB of
# resident memory, 1.5 times the copy's time; the last line says whether they hold.
set -euo pipefail
cd "$(dirname "$0")/.."
work=${BENCH_DIR:-${TMPDIR:-/tmp}}/lag-bench-grow
free=$(df --output=avail -B1000000000 "$(dirname "$work")" | tail -n 1)
if ((free < 12)); then
    echo "SKIPPED: $free GB are free in $(dirname "$work"), 12 are needed; BENCH_DIR names another place"
    exit 0
fi
trap 'rm -rf "$work"' EXIT
rm -rf "$work"
mkdir -p "$work"
build/bench_grow make "$work/parent"
field() { sed "s/.*\"$1\": \([0-9.]*\).*/\1/" <<<"$2"; }
# As many bytes as the grown model has: cp of the parent's shards over and over, and onto the disk like the model's.
copy_bytes() {
    local left=$1 shard number=0
    mkdir "$work/copy"
    while ((left > 0)); do
        for shard in "$work"/parent/*.safetensors; do
            ((left > 0)) || break
            number=$((number + 1))
            if (($(stat -c %s "$shard") <= left)); then
                cp "$shard" "$work/copy/$number"
            else
                head -c "$left" "$shard" >"$work/copy/$number"
            fi
            left=$((left - $(stat -c %s "$shard")))
        done
    done
    sync "$work"/copy/*
}
export -f copy_bytes
export work
verdict=held
rounds=${BENCH_ROUNDS:-3}
# One round: our time, its peak, the copy's time. Alternating, since a machine's first touch of its memory is slow.
round() {   # operators
    local row bytes copied
    row=$(${BENCH_ALONE:-} build/bench_grow run ./lag grow --checkpoint "$work/parent" --operators "$1" --out "$work/grown" 2>/dev/null | tail -n 1)
    bytes=$(cat "$work"/grown/*.safetensors | wc -c)
    rm -rf "$work/grown"
    copied=$(${BENCH_ALONE:-} build/bench_grow run bash -c "copy_bytes $bytes" | tail -n 1)
    rm -rf "$work/copy"
    echo "$bytes $(field seconds "$row") $(field peak_mib "$row") $(field seconds "$copied")"
}
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
measure() {   # name operators
    local rows="" i
    for ((i = 0; i < rounds; i++)); do rows+="$(round "$2")"$'\n'; done
    rows=${rows%$'\n'}
    awk -v name="$1" -v bytes="$(cut -d' ' -f1 <<<"$rows" | head -n 1)" -v s="$(cut -d' ' -f2 <<<"$rows" | median)" \
        -v p="$(cut -d' ' -f3 <<<"$rows" | sort -n | tail -n 1)" -v c="$(cut -d' ' -f4 <<<"$rows" | median)" 'BEGIN {
        printf "| %s | %.2f | %.1f | %.1f | %.2f | %.0f |\n", name, bytes / 1e9, s, c, s / c, p
        exit !(s / c <= 1.5 && p * 1.048576 <= 600) }' || verdict=broken
}
echo "| what | GB written | seconds | seconds of cp | ratio | peak MiB |"
echo "|---|---|---|---|---|---|"
measure depth '[{"op": "stack", "layers": 26}]'
measure hyperclone '[{"op": "hyperclone", "width": 4096}]'
measure "hyperclone without noise" '[{"op": "hyperclone", "width": 4096, "noise_db": null}]'
echo "bounds: $verdict"
[[ $verdict == held ]]
