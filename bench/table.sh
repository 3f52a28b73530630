#!/bin/bash
# bash bench/table.sh [PROGRAM ROWS]: writes the tables that an awk program (bench/table.awk) makes of rows (bench/rows.jsonl,
# BENCH_ROWS) into bench/RESULTS.md: what stands between <!-- table NAME --> and <!-- end --> is replaced where the program
# made a table of that name; other tables and the prose stay.
set -euo pipefail
cd "$(dirname "$0")/.."
program=${1:-bench/table.awk}
rows=${2:-${BENCH_ROWS:-bench/rows.jsonl}}
results=${BENCH_RESULTS:-bench/RESULTS.md}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
awk -v folder="$work" -f "$program" "$rows"
awk -v folder="$work" '
    /^<!-- end -->$/ { inside = 0 }
    !inside { print }
    /^<!-- table [a-z0-9]+ -->$/ {
        file = folder "/" $3
        inside = 0
        for (; (getline line < file) > 0; inside = 1) print line
        close(file)
    }' "$results" >"$work/results"
cat "$work/results" >"$results"
