#!/bin/bash
# make bench: training steps beside sgemm, size by size and family by family, five times each, medians at the end.
# BENCH_PYTHON=/path/to/python with torch and transformers adds the peer's rows, each right after ours. Rows go to
# bench/rows.jsonl (resumable: what is there is not measured again; remove the file for a fresh run).
set -euo pipefail
cd "$(dirname "$0")/.."
rows=bench/rows.jsonl
touch "$rows"
sizes=(
    "gpt2 6 384 6 256 8 256 8"      # family layers width heads vocabulary batch context steps
    "gpt2 4 128 4 256 16 128 24"
    "gpt2 12 768 12 50257 2 256 4"
    "llama 6 384 6 256 8 256 8"
    "llama 4 128 4 256 16 128 24"
    "bert 6 384 6 384 8 256 8"
    "bert 4 128 4 384 16 128 24"
    "t5 6 384 6 400 8 256 8"
    "t5 4 128 4 400 16 128 24"
)
measure() {   # round key command...
    local key="$1/$2"
    shift 2
    grep -qF "\"key\":\"$key\"" "$rows" && return
    local row
    row=$("$@" | tail -n 1) || { echo "failed: $*" >&2; return 1; }
    echo "{\"key\":\"$key\",\"row\":$row}" >>"$rows"
    echo "$key $row"
}
for round in 1 2 3 4 5; do
    for size in "${sizes[@]}"; do
        read -r family layers width heads vocabulary batch context steps <<<"$size"
        arguments=(--family "$family" --layers "$layers" --width "$width" --heads "$heads" --vocabulary "$vocabulary"
            --batch "$batch" --context "$context" --steps "$steps")
        name="$family-${layers}x$width"
        measure "$round" "$name" build/bench_train "${arguments[@]}"
        if [[ -n ${BENCH_PYTHON:-} && $family != t5 ]]; then
            measure "$round" "$name-torch-f32" "$BENCH_PYTHON" bench/peer_torch.py "${arguments[@]}"
            measure "$round" "$name-torch-bf16" "$BENCH_PYTHON" bench/peer_torch.py "${arguments[@]}" --dtype bf16
        fi
    done
done
bash bench/table.sh "$rows"
