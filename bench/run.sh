#!/bin/bash
# make bench: training steps beside sgemm, size by size and family by family, five rounds, and the tables of
# bench/RESULTS.md from their medians. One process at a time: ours in float32, right after it the peer's, then ours in
# bfloat16.
#   BENCH_PYTHON     a python with bench/requirements.txt: adds PyTorch's rows (bench/peer_torch.py)
#   BENCH_ROUNDS     5
#   BENCH_COMPILED   rounds in which PyTorch's compiled rows are measured too: 1, for compiling takes longer than all else.
#                    Inductor's cache stays in BENCH_CACHE (a directory below TMPDIR), so that going on compiles nothing twice
#   BENCH_ONLY       an extended regular expression of the sizes, "scaling" and "instructions" that are measured: all
#   BENCH_ROWS       bench/rows.jsonl: what is there is not measured again, so a bench that was stopped goes on; remove the
#                    file for a fresh one
set -euo pipefail
cd "$(dirname "$0")/.."
export BENCH_ROWS=${BENCH_ROWS:-bench/rows.jsonl}
export TORCHINDUCTOR_CACHE_DIR=${BENCH_CACHE:-${TMPDIR:-/tmp}/lag-bench-inductor}
export OPENBLAS_NUM_THREADS=1
rounds=${BENCH_ROUNDS:-5}
compiled_rounds=${BENCH_COMPILED:-1}
commit=$(git describe --always --dirty 2>/dev/null || echo unknown)
machine=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | sed -n 1p)
flags="$(sed -n 's/^CFLAGS_release := //p' Makefile) ${CFLAGS:-}, kernels $(sed -n 's,^FLAGS_model/kernels_cpu := ,,p' Makefile)"
touch "$BENCH_ROWS"
sizes=(
    "gpt2 6 384 6 256 8 256 5"      # family layers width heads vocabulary batch context steps
    "gpt2 4 128 4 256 16 128 15"
    "gpt2 12 768 12 50257 2 256 3"
    "llama 6 384 6 256 8 256 5"
    "llama 4 128 4 256 16 128 15"
    "bert 6 384 6 384 8 256 5"
    "bert 4 128 4 384 16 128 15"
    "t5 6 384 6 400 8 256 5"
    "t5 4 128 4 400 16 128 15"
)
profiled='^gpt2-(6x384|4x128|12x768)|^(llama|bert|t5)-6x384'

has() { grep -qF "\"key\":\"$1\"" "$BENCH_ROWS"; }
keep() { echo "{\"key\":\"$1\",\"commit\":\"$commit\",\"machine\":\"$machine\",\"flags\":\"$flags\",\"row\":$2}" | tee -a "$BENCH_ROWS"; }
wanted() { [[ $1 =~ ${BENCH_ONLY:-.} ]]; }

ours() {   # key command...: the last line is the row
    local key=$1 row
    shift
    has "$key" && return
    row=$("$@" | tail -n 1) || { echo "failed: $*" >&2; return 1; }
    keep "$key" "$row"
}

peers() {   # round name arguments...: one process for all rows of a size that are not there yet
    local round=$1 name=$2 rows=() row model models=(transformers)
    shift 2
    [[ $name == gpt2-* ]] && models+=(plain)
    for model in "${models[@]}"; do
        for row in "$model-f32" "$model-bf16"; do
            has "$round/$name-$row" || rows+=("$row")
            ((round > compiled_rounds)) || has "$round/$name-$row-compiled" || rows+=("$row-compiled")
        done
    done
    ((${#rows[@]} > 0)) || return 0
    while IFS= read -r row; do
        keep "$round/$name-$(sed -n 's/.*"peer":"\([^"]*\)".*/\1/p' <<<"$row")" "$row"
    done < <("$BENCH_PYTHON" bench/peer_torch.py "$@" --rows "$(IFS=,; echo "${rows[*]}")" 2>/dev/null | grep '^{')
    for row in "${rows[@]}"; do
        has "$round/$name-$row" || { echo "failed: $BENCH_PYTHON bench/peer_torch.py $* --rows $row" >&2; return 1; }
    done
}

operations() {   # key command...: a row per operation
    local key=$1 rows row number=0
    shift
    has "$key/1" && return
    rows=$("$@") || { echo "failed: $*" >&2; return 1; }
    while IFS= read -r row; do
        number=$((number + 1))
        keep "$key/$number" "$row"
    done <<<"$rows"
}

for round in $(seq "$rounds"); do
    for size in "${sizes[@]}"; do
        read -r family layers width heads vocabulary batch context steps <<<"$size"
        arguments=(--family "$family" --layers "$layers" --width "$width" --heads "$heads" --vocabulary "$vocabulary"
            --batch "$batch" --context "$context" --steps "$steps")
        name="$family-${layers}x$width"
        wanted "$name" || continue
        ours "$round/$name" build/bench_train "${arguments[@]}"
        [[ -z ${BENCH_PYTHON:-} ]] || peers "$round" "$name" "${arguments[@]}"
        ours "$round/$name-bf16" build/bench_train "${arguments[@]}" --compute bf16
        if ((round == 1)) && [[ $name =~ $profiled ]]; then
            operations "1/profile/$name" build/bench_train "${arguments[@]}" --profile
        fi
    done
    if wanted scaling; then
        ours "$round/scaling" bash bench/scaling.sh
    fi
done
if wanted instructions; then
    operations 1/instructions bash bench/instructions.sh
fi
bash bench/table.sh
