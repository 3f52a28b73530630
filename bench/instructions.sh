#!/bin/bash
# Instructions of one training step by kernel, counted by callgrind: `bench/instructions.sh [bench_train flags]`, a gpt2 of
# 4 x 128 without flags. Prints one JSON line per operation. Valgrind knows no AVX-512 and no AMX: counted is the avx2 form
# with OpenBLAS's Haswell kernels, whose vectors are half as long. A small batch, for callgrind is slow: a few minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
arguments=("$@")
(($# > 0)) || arguments=(--family gpt2 --layers 4 --width 128 --heads 4 --vocabulary 256 --batch 2 --context 128)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
steps=2     # bench_train --profile: one to warm up, one that counts
OPENBLAS_CORETYPE=Haswell valgrind --tool=callgrind --callgrind-out-file="$work/out" -q \
    build/bench_train "${arguments[@]}" --form avx2 --profile --steps 1 >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
name=$(sed -n 's/^{"profile":"\([^"]*\)".*/\1/p' "$work/log" | sed -n 1p)
# Inclusive of what they call: the stopwatches of bench/profile.c, and the step as a whole. Where a function occurs in
# several lines (one per file of its text), the largest is the whole.
callgrind_annotate --inclusive=yes --threshold=100 --auto=no "$work/out" |
    awk -v name="$name" -v steps="$steps" '
    match($0, /:(timed_[a-z_]+|trial_step)( |$)/) {
        count = $1
        gsub(/,/, "", count)
        label = substr($0, RSTART + 1, RLENGTH - 1)
        sub(/ $/, "", label)
        sub(/^timed_/, "", label)
        if (label != "product" && count + 0 > most[label]) most[label] = count + 0
    }
    END {
        for (label in most) if (label != "trial_step") {
            rest += most[label]
            printf "%d {\"instructions\":\"%s\",\"operation\":\"%s\",\"millions\":%.2f,\"share\":%.4f}\n", most[label], name,
                label, most[label] / steps * 1e-6, most[label] / most["trial_step"]
        }
        printf "0 {\"instructions\":\"%s\",\"operation\":\"between operations\",\"millions\":%.2f,\"share\":%.4f}\n", name,
            (most["trial_step"] - rest) / steps * 1e-6, 1 - rest / most["trial_step"]
    }' | sort -k1,1nr | cut -d' ' -f2-
