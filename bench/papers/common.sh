# What the experiments on papers share; each sources it and is called from anywhere: bash bench/papers/NAME.sh [TEXT]. TEXT is a
# file of bytes; without it ../shared/data/tinyshakespeare.txt.
#   PAPERS_LAG     ./lag: the binary, already built
#   PAPERS_WORK    build/bench-papers/NAME: models and logs
# A finished run is a row in bench/papers/NAME.jsonl and is not trained again: remove the file for a fresh experiment. The same
# binary on the same kind of processor gives the same numbers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
name=$(basename "$0" .sh)
text=${1:-../shared/data/tinyshakespeare.txt}
lag=$(realpath "${PAPERS_LAG:-./lag}")
work=${PAPERS_WORK:-build/bench-papers/$name}
rows=bench/papers/$name.jsonl
[[ -f $text ]] || { echo "no text at $text; say: bash bench/papers/$name.sh FILE" >&2; exit 2; }
mkdir -p "$work"
touch "$rows"

is_done() { grep -qF "\"key\":\"$1\"" "$rows"; }

# row KEY FIELDS LOG: the run's curve and its end; a diverged run ends in null.
row() {
    awk -v key="$1" -v fields="$2" '
        function value(field) { return match($0, "\"" field "\":[^,}]*") ? substr($0, RSTART + length(field) + 3, RLENGTH - length(field) - 3) : "null" }
        value("loss") ~ /^[0-9]/ {
            curve = curve (curve == "" ? "" : ",") sprintf("[%d,%.4f]", value("step"), value("loss"))
            loss = value("loss"); error = value("standard_error"); at = value("step")
        }
        { last = value("step"); if (value("train_loss") == "null") diverged = 1 }
        END {
            if (diverged || at != last || at == "") loss = error = "null"
            printf "{\"key\":\"%s\",%s,\"step\":%d,\"loss\":%s,\"standard_error\":%s,\"curve\":[%s]}\n", key, fields, last, loss, error, curve
        }' "$3" | tee -a "$rows" | cut -d[ -f1 | cut -c1-150
}

# train KEY FIELDS TRAINING OUT FROM...: one run, its row, its model in $work/OUT. FROM: --shape F or --checkpoint D.
train() {
    local key=$1 fields=$2 out=$work/$4 status=0
    is_done "$key" && [[ -d $out || -z ${keep_models:-} ]] && return
    echo "$3" >"$out.training.json"
    rm -rf "$out" "$out.log"
    "$lag" train "${@:5}" --data "$text" --training "$out.training.json" --valid-tokens "${valid_tokens:-20000}" --log "$out.log" \
        --out "$out" >/dev/null 2>"$out.errors" || status=$?
    if (( status )) && ! grep -q diverge "$out.errors"; then
        tail -n 3 "$out.errors" >&2
        return 1
    fi
    is_done "$key" || row "$key" "$fields" "$out.log"
    [[ -n ${keep_models:-} ]] || rm -rf "$out"
}

# The tables in bench/RESULTS.md and the plot.
show() {
    bash bench/table.sh "bench/papers/$name.awk" "$rows"
    awk -v plot=1 -f "bench/papers/$name.awk" "$rows" | awk -f bench/papers/plot.awk >"bench/papers/$name.svg"
}
