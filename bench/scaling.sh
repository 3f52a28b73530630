#!/bin/bash
# What a second worker brings: the same study of 8 candidates (gpt2, 3 layers of 128 grown to 6) by `lag run` with one
# worker and with two, and the machine's own answer beside it, in the same run: the rate of sgemm in one process and the
# sum of the rates of two at once. Prints one JSON line; `bound` is 1.06 times what the machine allows.
# SCALING_K: steps of each candidate.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
lag=$PWD/lag
sgemm=$PWD/build/bench_train
steps=${SCALING_K:-24}

rate() { sed -n 's/.*"sgemm_gflops":\([0-9.]*\).*/\1/p' "$@"; }
# One process, then two at once; each a line of its own in $work/one, $work/two.
rates() {
    "$sgemm" --sgemm-only 2 | rate >>"$work/one"
    "$sgemm" --sgemm-only 2 >"$work/a" &
    "$sgemm" --sgemm-only 2 >"$work/b"
    wait $!
    awk '{ sum += $1 } END { print sum }' <(rate "$work/a" "$work/b") >>"$work/two"
}
middle() { sort -g "$1" | awk '{ line[NR] = $1 } END { print line[int((NR + 1) / 2)] }'; }
# Seconds of the study with $1 workers, in a store of its own.
seconds() {
    local begin end
    begin=$(date +%s%N)
    "$lag" run "$work/study.json" --workers "$1" --store "$work/store-$1" --out "$work/out-$1" >"$work/log-$1" 2>&1 ||
        { cat "$work/log-$1" >&2; return 1; }
    end=$(date +%s%N)
    awk -v n="$((end - begin))" 'BEGIN { printf "%.2f", n * 1e-9 }'
}

cat >"$work/config.json" <<'JSON'
{"model_type": "gpt2", "n_layer": 3, "n_embd": 128, "n_head": 4, "n_positions": 128, "vocab_size": 256}
JSON
awk 'BEGIN { srand(1); for (i = 0; i < 400000; i++) printf "%c", 97 + int(26 * rand() * rand()) }' >"$work/train.bin"
"$lag" train --shape "$work/config.json" --data "$work/train.bin" --steps 2 --valid-tokens 2000 --out "$work/base" >/dev/null 2>&1
cat >"$work/study.json" <<JSON
{"name": "scaling", "checkpoint": "base", "data": {"train": "train.bin"},
 "candidates": [
  {"name": "stack",         "operators": [{"op": "stack", "layers": 6}]},
  {"name": "interleave",    "operators": [{"op": "interleave", "layers": 6}]},
  {"name": "middle by one", "operators": [{"op": "middle", "layers": 6, "block": 1}]},
  {"name": "first by one",  "operators": [{"op": "first", "layers": 6, "block": 1}]},
  {"name": "last by one",   "operators": [{"op": "gradual_last", "layers": 6, "block": 1}]},
  {"name": "mirror",        "operators": [{"op": "layer_map", "map": [0, 1, 2, 2, 1, 0]}]},
  {"name": "identity",      "operators": [{"op": "identity", "layers": 6}]},
  {"name": "random",        "operators": [{"op": "random", "layers": 6}]}],
 "training": {"batch": 16, "context": 128, "steps": 20000},
 "selection": {"k": $steps, "valid_tokens": 4096}, "keep": "winner"}
JSON
rates
one=$(seconds 1)
rates
two=$(seconds 2)
rates
cmp -s "$work/out-1/curves.csv" "$work/out-2/curves.csv" || { echo "the curves differ between one and two workers" >&2; exit 1; }
awk -v k="$steps" -v one="$one" -v two="$two" -v rate1="$(middle "$work/one")" -v rate2="$(middle "$work/two")" 'BEGIN {
    printf "{\"scaling\":\"gpt2 3x128 to 6x128\",\"candidates\":8,\"k\":%d,\"seconds_1\":%s,\"seconds_2\":%s,", k, one, two
    printf "\"sgemm_1\":%s,\"sgemm_2\":%s,\"ratio\":%.4f,\"bound\":%.4f}\n", rate1, rate2, two / one, 1.06 * rate1 / rate2 }'
