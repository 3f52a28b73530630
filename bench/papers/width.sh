#!/bin/bash
# Do the best rate and the curvature stay while the width grows fourfold (arXiv 2402.17457)? A gpt2 of 2 layers, 32, 64 and 128
# wide, drawn and trained under standard, mup and ntp whose base is 32 wide (bench/bench_width.c), then what `lag transfer` says
# of a trained model grown fourfold; about five minutes of one core. The rest is said in common.sh.
#   PAPERS_WIDTH     build/bench_width, built where it is missing
. "$(dirname "$0")/common.sh"
program=${PAPERS_WIDTH:-build/bench_width}
[[ -x $program ]] || make -s build/bench_width
steps=250
measured=0.004

for parametrization in standard mup ntp; do
    for width in 32 64 128; do
        # at the base all of them are the same
        [[ $width == 32 && $parametrization != standard ]] && continue
        for rate in 0.0005 0.001 0.002 0.004 0.008 0.016; do
            for seed in 1 2; do
                is_done "$parametrization/$width/$rate/$seed" ||
                    "$program" "$text" "$parametrization" "$width" "$rate" "$seed" "$steps" $([[ $rate != "$measured" ]] || echo measure) |
                    tee -a "$rows" | cut -c1-140
            done
        done
    done
done

# As a user would ask: a trained model, its fourfold clone, the same sweep.
shape=$work/shape.json
echo '{"model_type": "gpt2", "n_layer": 2, "n_embd": 32, "n_head": 2, "n_positions": 32, "vocab_size": 256}' >"$shape"
echo '{"batch": 8, "context": 32, "learning_rate": 0.004, "steps": 1000, "width_learning_rate": "given", "schedule": {"name": "wsd"}}' >"$work/standard.json"
echo '{"batch": 8, "context": 32, "steps": 1000, "learning_rate": 0.004, "schedule": {"name": "wsd"}}' >"$work/others.json"
[[ -d $work/base ]] || "$lag" train --shape "$shape" --data "$text" --training "$work/others.json" --out "$work/base" 2>"$work/base.log"
for parametrization in standard mup ntp; do
    is_done "transfer/$parametrization" && continue
    training=$work/others.json
    [[ $parametrization != standard ]] || training=$work/standard.json
    "$lag" transfer --checkpoint "$work/base" --operators '[{"op": "hyperclone", "width": 128, "noise_db": null}]' --data "$text" --training "$training" \
        --parametrization "$parametrization" --rates 0.0001,0.0003,0.001,0.003,0.01 --seeds 1 --steps 100 --json --out "$work/$parametrization.svg" \
        >"$work/$parametrization.transfer.json" 2>"$work/$parametrization.log" || { tail -n 3 "$work/$parametrization.log" >&2; exit 1; }
    tr '\n' ' ' <"$work/$parametrization.transfer.json" | sed "s/^ *{/{\"key\":\"transfer\/$parametrization\",/" >>"$rows"
    echo >>"$rows"
done
show
