#!/bin/bash
# bash bench/operators/run.sh [TEXT]: every operator of the table on real text, beside a control of the same target whose
# layers are drawn, each trained to the end; then the table in bench/RESULTS.md. About 20 minutes of one core. What is trained
# is in bench/operators/studies.txt. TEXT is a file of bytes; without it ../shared/data/tinyshakespeare.txt.
#   OPERATORS_LAG     ./lag: the binary, already built
#   OPERATORS_WORK    build/bench-operators: bases and the studies' store; a bench that was stopped goes on from there
#   OPERATORS_ROWS    bench/operators/rows.jsonl: one row per finished candidate; a study with all its rows there is not run
#                     again, so remove the file (and OPERATORS_WORK) for a fresh bench
#   OPERATORS_ONLY    an extended regular expression of the studies that are run: all
#   OPERATORS_STEPS, OPERATORS_BASE_STEPS    1500 and 4000
set -euo pipefail
cd "$(dirname "$0")/../.."
text=${1:-../shared/data/tinyshakespeare.txt}
lag=$(realpath "${OPERATORS_LAG:-./lag}")
work=${OPERATORS_WORK:-build/bench-operators}
rows=${OPERATORS_ROWS:-bench/operators/rows.jsonl}
steps=${OPERATORS_STEPS:-1500}
base_steps=${OPERATORS_BASE_STEPS:-4000}
studies=bench/operators/studies.txt
commit=$(git describe --always --dirty 2>/dev/null || echo unknown)
machine=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | sed -n 1p)
[[ -f $text ]] || { echo "no text at $text; say: bash bench/operators/run.sh FILE" >&2; exit 2; }
mkdir -p "$work"
touch "$rows"
cp "$text" "$work/text"

# Every row of the operator table has a candidate of its own.
for op in $("$lag" operators --json | sed 's/{"op"/\n{"op"/g' | sed -n 's/^{"op": *"\([a-z_]*\)".*/\1/p'); do
    grep -q "\"op\": \"$op\"" "$studies" || { echo "$studies has no candidate of $op" >&2; exit 1; }
done

# Up to the rate in 50 steps, down to a tenth of it over the last quarter.
schedule() { echo "\"schedule\": {\"name\": \"wsd\", \"warmup_steps\": 50, \"decay_steps\": $(($1 / 4)), \"minimum\": 0.1}"; }

base() {   # name seed config
    [[ -f $work/$1/lag_report.json ]] && return
    echo "$3" >"$work/$1.json"
    echo "{\"batch\": 8, \"context\": 64, \"steps\": $base_steps, \"seed\": $2, $(schedule "$base_steps")}" >"$work/training-$1.json"
    rm -rf "${work:?}/$1"
    "$lag" train --shape "$work/$1.json" --data "$work/text" --training "$work/training-$1.json" --valid-tokens 20000 \
        --out "$work/$1" 2>"$work/$1.log" || { tail -n 3 "$work/$1.log" >&2; return 1; }
}

candidates() { awk -v wanted="$1" '/^study / { inside = $2 == wanted; next } inside && NF && !/^#/' "$studies"; }
is_done() {
    local name
    while read -r name _; do
        grep -qF "\"key\":\"$1/$name\"" "$rows" || return 1
    done < <(candidates "$1")
}

run_study() {   # name base context
    local list result before
    list=$(candidates "$1" | sed -E 's/^([^ ]+) +(.*)$/  {"name": "\1", "operators": \2}/; $!s/$/,/')
    cat >"$work/$1.study.json" <<JSON
{"name": "$1", "checkpoint": "$2", "data": {"train": "text"}, "candidates": [
$list],
 "training": {"batch": 8, "context": $3, "steps": $steps, $(schedule "$steps")},
 "selection": {"k": $steps, "valid_tokens": 20000}, "keep": "winner"}
JSON
    result=$("$lag" run "$work/$1.study.json" --store "$work/store" --workers 1 --json 2>"$work/$1.log") ||
        { echo "$1 did not finish:" >&2; tail -n 5 "$work/$1.log" >&2; return 1; }
    before=$(sed -n 's/.*"loss":\([0-9.]*\),.*/\1/p' "$work/$2/lag_report.json")
    sed 's/{"rank": /\n&/g' <<<"$result" | awk -v study="$1" -v base="$2" -v before="$before" -v commit="$commit" \
        -v machine="$machine" -v steps="$steps" -f bench/operators/rows.awk - "$work/$1.study.json" >"$work/$1.rows"
    grep -vF "\"key\":\"$1/" "$rows" >"$work/rows" || true
    cat "$work/rows" "$work/$1.rows" >"$rows"
    cat "$work/$1.rows"
}

base gpt2 1 '{"model_type": "gpt2", "n_layer": 3, "n_embd": 64, "n_head": 4, "n_positions": 64, "vocab_size": 256}'
base gpt2-other 2 '{"model_type": "gpt2", "n_layer": 3, "n_embd": 64, "n_head": 4, "n_positions": 64, "vocab_size": 256}'
base llama 1 '{"model_type": "llama", "num_hidden_layers": 3, "hidden_size": 64, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 176, "max_position_embeddings": 64, "vocab_size": 256,
    "rms_norm_eps": 1e-5, "tie_word_embeddings": false}'
while read -r _ name base context; do
    [[ $name =~ ${OPERATORS_ONLY:-.} ]] || continue
    is_done "$name" || run_study "$name" "$base" "$context"
done < <(grep '^study ' "$studies")
bash bench/table.sh bench/operators/table.awk "$rows"
