#!/bin/bash
# Schedule-Free AdamW beside cosine runs of several lengths, and with a short AdamW decay after it (arXiv 2405.15682, 2507.09846):
# a gpt2 of 2 layers, 64 wide, on bytes; about six minutes of one core. The rest is said in common.sh.
. "$(dirname "$0")/common.sh"
lengths="500 1000 2000 4000"
common='"batch": 8, "context": 64, "seed": 1'
shape=$work/shape.json
echo '{"model_type": "gpt2", "n_layer": 2, "n_embd": 64, "n_head": 4, "n_positions": 64, "vocab_size": 256}' >"$shape"

for steps in $lengths; do
    for rate in 0.002 0.004 0.008; do
        train "cosine/$steps/$rate" "\"method\":\"cosine\",\"rate\":$rate,\"length\":$steps" "{$common, \"steps\": $steps, \"learning_rate\": $rate,
            \"schedule\": {\"name\": \"cosine\", \"warmup_steps\": 50}}" cosine --shape "$shape"
    done
done

# No horizon: the schedule never asks for one.
for rate in 0.004; do
    train "constant/$rate" "\"method\":\"constant\",\"rate\":$rate,\"length\":4000" "{$common, \"steps\": 4000, \"learning_rate\": $rate,
        \"schedule\": {\"name\": \"constant\", \"warmup_steps\": 50}}" constant --shape "$shape"
done

free() {   # steps rate beta decoupling
    echo "{$common, \"steps\": $1, \"learning_rate\": $2, \"schedule\": {\"name\": \"constant\", \"warmup_steps\": 50},
        \"optimizer\": {\"name\": \"schedule_free_adamw\", \"betas\": [$3, 0.95]${4:+, \"decoupling\": $4}}}"
}
for setting in "0.002 0.9" "0.004 0.9" "0.008 0.9" "0.008 0.98" "0.016 0.98" "0.008 0.98 200"; do
    read -r rate beta decoupling <<<"$setting"
    train "free/$rate/$beta/${decoupling:-original}" \
        "\"method\":\"free\",\"rate\":$rate,\"beta\":$beta,\"decoupling\":${decoupling:-null},\"length\":4000" \
        "$(free 4000 "$rate" "$beta" "$decoupling")" free --shape "$shape"
done

# The best of them once more, stopped and continued at each length: the same run, and a decay of a tenth of its steps from there.
read -r rate beta decoupling < <(awk -v want=best -f bench/papers/schedule_free.awk "$rows")
setting=$rate/$beta/$decoupling
from=(--shape "$shape")
keep_models=yes
for steps in $lengths; do
    train "pieces/$setting/$steps" "\"method\":\"pieces\",\"rate\":$rate,\"length\":$steps" \
        "$(free "$steps" "$rate" "$beta" "${decoupling/original/}")" "pieces-$steps" "${from[@]}"
    from=(--checkpoint "$work/pieces-$steps")
done
keep_models=
for steps in $lengths; do
    rm -rf "$work/average"
    cp -r "$work/pieces-$steps" "$work/average"
    rm -f "$work/average/optimizer.safetensors" "$work/average/lag_report.json"
    for decay_rate in 0.0005 0.001 0.002; do
        train "decay/$setting/$steps/$decay_rate" "\"method\":\"decay\",\"rate\":$decay_rate,\"length\":$steps" "{${common/\"seed\": 1/\"seed\": 2},
            \"steps\": $((steps / 10)), \"learning_rate\": $decay_rate, \"schedule\": {\"name\": \"linear\", \"warmup_steps\": $((steps / 100))}}" \
            decay --checkpoint "$work/average"
    done
done
show
