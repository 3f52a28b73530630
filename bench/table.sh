#!/bin/bash
# Writes the tables of bench/RESULTS.md from bench/rows.jsonl (BENCH_ROWS): what stands between <!-- table NAME --> and
# <!-- end --> is replaced, the prose around it stays.
set -euo pipefail
cd "$(dirname "$0")/.."
rows=${BENCH_ROWS:-bench/rows.jsonl}
results=${BENCH_RESULTS:-bench/RESULTS.md}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
awk -v folder="$work" -f bench/table.awk "$rows"
awk -v folder="$work" '
    /^<!-- end -->$/ { inside = 0 }
    !inside { print }
    /^<!-- table [a-z0-9]+ -->$/ {
        file = folder "/" $3
        while ((getline line < file) > 0) print line
        close(file)
        inside = 1
    }' "$results" >"$work/results"
cat "$work/results" >"$results"
