#!/bin/bash
# make selection: trains every candidate of a suite of growth problems to the end, so that selection rules can be
# compared on whole curves. Resumable: what is finished is not trained again, and a problem that was stopped goes on
# where it stopped. Every problem gets its first seed before any gets its second, the small problems first.
#   SELECTION_DIR       selection-out: data, small models, studies under way. To go on elsewhere, move it
#   SELECTION_CURVES    bench/selection/curves: finished curves, one gzipped curves.json per problem and seed
#   SELECTION_TEXT      ../shared/data/tinyshakespeare.txt: the text of all problems but "headers"
#   SELECTION_WORKERS   2: candidates trained at once
#   SELECTION_ONLY      an extended regular expression of the runs wanted, as "short-1" (problem, seed): all
#   SELECTION_SEEDS     1 2 3
# The binary is copied to SELECTION_DIR when the suite first starts and kept, so that building anew disturbs nothing;
# remove the copy to take the present one; SELECTION_DIR/lag-PROBLEM is taken for that problem alone. SIGTERM or Ctrl-C
# saves and stops.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD/bench/selection
dir=${SELECTION_DIR:-selection-out}
curves=${SELECTION_CURVES:-$here/curves}
text=${SELECTION_TEXT:-../shared/data/tinyshakespeare.txt}
problems=(short llama shakespeare headers bert width both long free)
mask='"format": "bytes", "objective": "mlm", "mask_token": 256, "special_tokens": [10, 257]'
bases=(                          # name shape text rate steps
    "shakespeare-2x48 gpt2-2x48 shakespeare 1e-3 6000"
    "shakespeare-3x64 gpt2-3x64 shakespeare 1e-3 6000"
    "shakespeare-4x48 gpt2-4x48 shakespeare 1e-3 6000"
    "headers-3x64 gpt2-3x64 headers 4e-3 6000"
    "llama-2x48 llama-2x48 shakespeare 1e-3 6000"
    "bert-3x64 bert-3x64 shakespeare 1e-3 12000"
)
train_bytes=3145728 valid_bytes=262144        # of the C headers
child=
stop() {
    [[ -z $child ]] || { kill -TERM "$child" 2>/dev/null || true; wait "$child" 2>/dev/null || true; }
    say "stopped; the same command goes on"
    exit 130
}
say() { printf '%s %s\n' "$(date -u +%H:%M:%S)" "$*"; }

# Runs one command so that a signal reaches it at once.
follow() {
    local code=0
    "$@" &
    child=$!
    wait "$child" || code=$?
    child=
    return $code
}

# Shakespeare: the last tenth is held out. C headers: the files of /usr/include itself in the order of their names, every
# tenth held out, both cut to fixed sizes. Other machines have other headers: data/sha256 says what was read.
make_data() {
    local number=0 size file
    [[ -e $dir/data/sha256 ]] && return
    mkdir -p "$dir/data"
    [[ -r $text ]] || { echo "no text at $text; name one with SELECTION_TEXT" >&2; exit 2; }
    size=$(stat -c %s "$text")
    head -c $((size - size / 10)) "$text" >"$dir/data/shakespeare-train.bin"
    tail -c $((size / 10)) "$text" >"$dir/data/shakespeare-valid.bin"
    : >"$dir/data/train" && : >"$dir/data/valid"
    while IFS= read -r file; do
        number=$((number + 1))
        if ((number % 10 == 0)); then cat "$file" >>"$dir/data/valid"; else cat "$file" >>"$dir/data/train"; fi
    done < <(find /usr/include -maxdepth 1 -type f -name '*.h' | LC_ALL=C sort)
    head -c $train_bytes "$dir/data/train" >"$dir/data/headers-train.bin"
    head -c $valid_bytes "$dir/data/valid" >"$dir/data/headers-valid.bin"
    rm "$dir/data/train" "$dir/data/valid"
    (cd "$dir/data" && sha256sum ./*.bin >sha256)
}

# A small model: the one that is grown. Trained once, with its decay, for all seeds.
make_base() {
    local name=$1 row shape corpus rate steps data
    [[ -e $dir/bases/$name/model.safetensors ]] && return
    for row in "${bases[@]}"; do [[ $row == "$name "* ]] && break; done
    read -r _ shape corpus rate steps <<<"$row"
    data="{\"train\": \"../data/$corpus-train.bin\", \"valid\": \"../data/$corpus-valid.bin\""
    [[ $shape == bert-* ]] && data+=", $mask"
    mkdir -p "$dir/bases"
    echo "$data}" >"$dir/bases/$name-data.json"
    cat >"$dir/bases/$name-training.json" <<JSON
{"batch": 16, "context": 64, "steps": $steps, "learning_rate": $rate,
 "schedule": {"name": "wsd", "warmup_steps": 100, "decay_steps": $((steps / 5))}, "seed": 1}
JSON
    say "training the small model $name, $steps steps"
    follow "$dir/lag" train --shape "$here/bases/$shape.json" --data "$dir/bases/$name-data.json" \
        --training "$dir/bases/$name-training.json" --valid-tokens 16384 --out "$dir/bases/$name.part" \
        >"$dir/logs/base-$name.log" 2>&1 || { tail -n 3 "$dir/logs/base-$name.log" >&2; return 1; }
    mv "$dir/bases/$name.part" "$dir/bases/$name"
}

# One problem with one seed: a study whose k is the horizon, so that every candidate is trained to the end.
run_study() {
    local problem=$1 seed=$2 name=$1-$2 binary=$dir/lag base code=0
    [[ -x $dir/lag-$problem ]] && binary=$dir/lag-$problem
    base=$(sed -n 's,.*"checkpoint": "bases/\([^"]*\)".*,\1,p' "$here/problems/$problem.json")
    make_base "$base" || return 1
    mkdir -p "$dir/studies" "$dir/stores"
    sed "s/\"seed\": 1\\b/\"seed\": $seed/" "$here/problems/$problem.json" >"$dir/studies/$name.json"
    say "$name"
    follow "$binary" run "$dir/studies/$name.json" --data-root "$dir" --store "$dir/stores/$name" \
        --workers "${SELECTION_WORKERS:-2}" --out "$dir/out/$name" >"$dir/logs/$name.log" 2>&1 || code=$?
    ((code == 0)) || { say "$name ended with exit code $code: $(tail -n 1 "$dir/logs/$name.log")"; return 1; }
    mkdir -p "$curves"
    gzip -9 -n -c "$dir/out/$name/curves.json" >"$curves/$name.json.gz.part"
    mv "$curves/$name.json.gz.part" "$curves/$name.json.gz"
    rm -rf "${dir:?}/stores/$name"
    say "$name is finished: $curves/$name.json.gz"
}

main() {
    local seed problem failed=0
    trap stop INT TERM
    mkdir -p "$dir/logs" "$dir/out"
    dir=$(cd "$dir" && pwd)
    exec 7>"$dir/lock"
    flock -n 7 || { echo "another suite runs in $dir" >&2; exit 1; }
    export OPENBLAS_NUM_THREADS=1
    [[ -x $dir/lag ]] || cp lag "$dir/lag"
    make_data
    for seed in ${SELECTION_SEEDS:-1 2 3}; do
        for problem in "${problems[@]}"; do
            [[ $problem-$seed =~ ${SELECTION_ONLY:-.} && ! -e $curves/$problem-$seed.json.gz ]] || continue
            run_study "$problem" "$seed" 7>&- || failed=1
        done
    done
    ((failed == 0)) && say "everything wanted is finished"
    exit $failed
}
main "$@"
