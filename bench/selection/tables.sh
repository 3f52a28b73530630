#!/bin/bash
# bash bench/selection/tables.sh: replays every rule on the suite's curves and writes the tables of docs/selection.md and
# its plots, docs/selection-PROBLEM.svg. Trains nothing; minutes. Problems whose curves are not there yet are left out.
#   SELECTION_CURVES    bench/selection/curves
#   SELECTION_REPLAYS   200: replays per problem and seed for the calibration of p_best
#   SELECTION_OUT       docs: where the document and the plots are
set -euo pipefail
cd "$(dirname "$0")/../.."
here=bench/selection
curves=${SELECTION_CURVES:-$here/curves}
out=${SELECTION_OUT:-docs}
lag=${LAG_BINARY:-./lag}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Answers of all rules as lines: what problem seed asked truths, then one JSON object.
answers() {   # what problem seed asked command...
    local head="$1 $2 $3 $4"
    shift 4
    "$@" | sed -n -e "s/^{\"rule\"/$head &/p" -e "s/^{\"p_best\"/$head &/p" -e "s/^{\"candidates\": [0-9]/$head &/p"
}

shopt -s nullglob
for packed in "$curves"/*.json.gz; do
    gzip -dc "$packed" >"$work/$(basename "$packed" .gz)"
done
for file in "$work"/*-[0-9].json; do
    name=$(basename "$file" .json) problem=${name%-*} seed=${name##*-}
    seeds=("$work/$problem"-[0-9].json)
    truth=$(IFS=,; echo "${seeds[*]}")
    answers default "$problem" "$seed" 0 "$lag" replay "$file" --truth "$truth" --json
    answers calibration "$problem" "$seed" 0 "$lag" replay "$file" --truth "$truth" --json \
        --resample "${SELECTION_REPLAYS:-200}" --rule agreement
    for step in 0 $(awk 'BEGIN { for (v = 4; v < 20001; v *= 1.2) print int(v) }' | sort -nu); do
        ((step <= $(grep -o '"step": [0-9]*' "$file" | tail -n 1 | tr -dc 0-9))) || break
        ((step == 0 || step >= 20)) || continue
        answers step "$problem" "$seed" "$step" "$lag" replay "$file" --truth "$truth" --json \
            --step $((step ? step : 1)) --max-k $((step ? step : 1))
    done
done >"$work/rows"
for problem in $(awk '!seen[$2]++ { print $2 }' "$work/rows"); do
    awk -v problem="$problem" -f "$here/plot.awk" "$work/rows" >"$out/selection-$problem.svg"
done
BENCH_RESULTS=$out/selection.md bash bench/table.sh "$here/tables.awk" "$work/rows"
