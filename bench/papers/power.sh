#!/bin/bash
# The power schedule (arXiv 2408.13359): the best WSD rate of eight cells (batches of 4 and 16, lengths over 8 times), constants
# fitted by `lag powerfit` to the six shorter ones, and then in all the power schedule with these constants, its whole
# curve times 1/4 to 4. A gpt2 of 1 layer, 16 wide, on bytes; about three minutes of one core. The rest is said in common.sh;
# the sweep's runs are bench/papers/power.runs.jsonl.
. "$(dirname "$0")/common.sh"
runs=bench/papers/power.runs.jsonl
batches="4 16"
lengths="262144 524288 1048576 2097152"
longest=2097152
shape=$work/shape.json
echo '{"model_type": "gpt2", "n_layer": 1, "n_embd": 16, "n_head": 1, "n_positions": 32, "vocab_size": 256}' >"$shape"
echo '{"batch": 8, "context": 32, "learning_rate": 0.004, "schedule": {"name": "wsd", "warmup_steps": 40}}' >"$work/training.json"

"$lag" powerfit --runs "$runs" --shape "$shape" --data "$text" --training "$work/training.json" --batches "${batches// /,}" \
    --lengths "${lengths// /,}" --rates 0.001,0.002,0.004,0.008,0.016,0.032 >"$work/all.txt"
grep -v "\"tokens\": $longest," "$runs" >"$work/shorter.jsonl"
cp "$runs" "$work/all.jsonl"

# The constants of the six shorter cells; where these do not resolve the power, of all; else there is nothing to try.
constant() { grep -o "\"training\": {.*}}" "$work/fit.json" | grep -o "\"$1\": [-0-9.e+]*" | sed 's/.*: //'; }
interval() { grep -o "\"$1\": {[^}]*}" "$work/fit.json" | sed -n 1p; }
cells=
for fitted in shorter all; do
    "$lag" powerfit --runs "$work/$fitted.jsonl" --json --out "$work/$fitted.svg" >"$work/fit.json"
    grep -q '"answer": "fitted"' "$work/fit.json" || continue
    cells=$fitted a=$(constant a) b=$(constant b) maximum=$(constant learning_rate)
    is_done "fit/$a/$b" || echo "{\"key\":\"fit/$a/$b\",\"fitted\":\"$fitted\",\"a\":$a,\"b\":$b,\"maximum\":$maximum,\"intervals\":{$(interval a),"\
        "$(interval b), $(interval batch_exponent)}}" >>"$rows"
    break
done

for tokens in ${cells:+$lengths}; do
    for batch in $batches; do
        steps=$((tokens / batch / 32))
        warmup=$((320 / batch < steps / 5 ? 320 / batch : steps / 5))
        for factor in 0.25 0.5 1 2 4; do
            schedule=$(awk -v a="$a" -v b="$b" -v maximum="$maximum" -v factor="$factor" -v warmup="$warmup" 'BEGIN {
                printf "\"learning_rate\": %.6g, \"schedule\": {\"name\": \"power\", \"a\": %.8g, \"b\": %s, \"warmup_steps\": %d, \"decay_form\": \"linear\"}",
                       maximum * factor, a * factor, b, warmup }')
            train "power/$a/$b/$batch/$tokens/$factor" "\"batch\":$batch,\"tokens\":$tokens,\"factor\":$factor" \
                "{\"batch\": $batch, \"context\": 32, \"steps\": $steps, \"seed\": 1, $schedule}" power --shape "$shape"
        done
    done
done
cat "$runs" "$rows" >"$work/rows.jsonl"
rows=$work/rows.jsonl
show
