#!/bin/bash
# make demo: the whole of it on real text, without a download. Trains a small base on the C library's own header files,
# starts the service, sends a study with curl, follows its events, shows the ranking, fetches the winner.
# Leaves everything in demo-out/. DEMO_WORKERS, DEMO_STEPS (of the base) and DEMO_MAX_K change the sizes.
set -euo pipefail
cd "$(dirname "$0")/.."
out=demo-out
lag=$PWD/lag
server=
stop_server() {
    if [[ -n $server ]]; then
        kill -TERM "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
        server=
    fi
}
trap stop_server EXIT
trap 'exit 130' INT TERM
say() { printf '\n== %s\n' "$*"; }

rm -rf "$out"
mkdir -p "$out/data"

say "1. Text: the C library's header files, read as bytes; every tenth file is held out"
number=0
: >"$out/data/train.bin"
: >"$out/data/valid.bin"
while IFS= read -r file; do
    [[ -f $file && ! -L $file ]] || continue
    number=$((number + 1))
    if ((number % 10 == 0)); then cat "$file" >>"$out/data/valid.bin"; else cat "$file" >>"$out/data/train.bin"; fi
done < <(dpkg -L libc6-dev | grep '\.h$' | LC_ALL=C sort)
printf '%d files, %d bytes to train on, %d held out\n' "$number" \
    "$(stat -c %s "$out/data/train.bin")" "$(stat -c %s "$out/data/valid.bin")"
((number > 0)) || { echo "libc6-dev has no header files here; run: make deps" >&2; exit 1; }

say "2. The small model: 3 layers, 64 wide, trained from scratch"
cat >"$out/config.json" <<'JSON'
{"model_type": "gpt2", "n_layer": 3, "n_embd": 64, "n_head": 4, "n_positions": 64, "vocab_size": 256}
JSON
"$lag" train --shape "$out/config.json" --data "$out/data/train.bin" --valid "$out/data/valid.bin" \
    --batch 12 --context 64 --steps "${DEMO_STEPS:-4000}" --valid-tokens 12000 --out "$out/base"
base_loss=$(sed -n 's/.*"loss":\([0-9.]*\),.*/\1/p' "$out/base/lag_report.json" | awk '{ printf "%.3f", $1 }')
entropy=$(od -An -v -tu1 -w1 "$out/data/train.bin" | sort -n | uniq -c |
    awk '{ count[NR] = $1; all += $1 } END { for (i in count) { p = count[i] / all; h -= p * log(p) }; printf "%.3f", h }')
echo "Knowing only how often each byte occurs costs $entropy nats per byte; this model needs $base_loss."

say "3. The service, on a free port"
"$lag" serve --listen 127.0.0.1:0 --store "$out/store" --data-root "$out" \
    ${DEMO_WORKERS:+--workers "$DEMO_WORKERS"} >"$out/serve.out" 2>"$out/serve.log" &
server=$!
url=
for _ in $(seq 300); do
    url=$(sed -n 's/^listening on //p' "$out/serve.out")
    [[ -n $url ]] && break
    kill -0 "$server" 2>/dev/null || { cat "$out/serve.log" >&2; exit 1; }
    sleep 0.1
done
[[ -n $url ]] || { echo "the server did not say where it listens; see $out/serve.log" >&2; exit 1; }
until curl -sf "$url/readyz" >/dev/null; do sleep 0.1; done
echo "$url"

say "4. The question, sent with curl: eight ways to grow it to 6 layers"
cat >"$out/study.json" <<JSON
{"name": "C headers, 3 to 6 layers", "checkpoint": "base",
 "data": {"train": "data/train.bin", "valid": "data/valid.bin"},
 "candidates": [
  {"name": "stack",         "operators": [{"op": "stack", "layers": 6}]},
  {"name": "interleave",    "operators": [{"op": "interleave", "layers": 6}]},
  {"name": "middle by one", "operators": [{"op": "middle", "layers": 6, "block": 1}]},
  {"name": "first by one",  "operators": [{"op": "first", "layers": 6, "block": 1}]},
  {"name": "last by one",   "operators": [{"op": "gradual_last", "layers": 6, "block": 1}]},
  {"name": "mirror",        "operators": [{"op": "layer_map", "map": [0, 1, 2, 2, 1, 0]}]},
  {"name": "identity",      "operators": [{"op": "identity", "layers": 6}]},
  {"name": "random",        "operators": [{"op": "random", "layers": 6}]}],
 "training": {"batch": 12, "context": 64, "steps": 20000},
 "selection": {"max_k": ${DEMO_MAX_K:-800}, "valid_tokens": 12000}, "keep": "winner"}
JSON
echo "curl -d @$out/study.json -H 'Content-Type: application/json' $url/v1/studies"
curl -sS --fail-with-body -H 'Content-Type: application/json' --data-binary "@$out/study.json" "$url/v1/studies" >"$out/admitted.json" ||
    { cat "$out/admitted.json" >&2; exit 1; }
study=$(sed -n 's/.*"id": *"\([^"]*\)".*/\1/p' "$out/admitted.json" | head -n 1)
echo "admitted as $study"

say "5. Its events, as they come (each candidate is trained on the thread pool)"
curl -sSN "$url/v1/studies/$study/events" | tee "$out/events.txt" | awk '
    /^event: / { kind = $2 }
    /^data: / {
        text = substr($0, 7)
        if (kind == "evaluation" && match(text, /"step": *[0-9]+/)) {
            step = substr(text, RSTART, RLENGTH); sub(/.*: */, "", step)
            if (++seen[step] == 1 && step + 0 > 0) { printf "\r  trained and evaluated up to step %-6s", step; fflush() }
        } else if (kind == "decision") {
            match(text, /"reason": *"([^"\\]|\\.)*"/); reason = substr(text, RSTART, RLENGTH)
            sub(/^"reason": *"/, "", reason); sub(/"$/, "", reason); gsub(/\\"/, "\"", reason)
            if (length(reason) > 150) reason = substr(reason, 1, 147) "..."
            printf "\r\033[K  decision at step %s: %s\n", step_of(text), reason; fflush()
        } else if (kind == "end") exit
    }
    function step_of(text,   value) { match(text, /"step": *[0-9]+/); value = substr(text, RSTART, RLENGTH); sub(/.*: */, "", value); return value }
' || true
printf '\n'

say "6. The answer"
curl -sS --fail-with-body "$url/v1/studies/$study?wait=600" >"$out/result.json"
curl -sS --fail-with-body -H 'Accept: text/plain' "$url/v1/studies/$study" | tee "$out/table.txt"
curl -sS --fail-with-body "$url/v1/studies/$study/plot.svg" >"$out/plot.svg"
curl -sS --fail-with-body "$url/v1/studies/$study/report" >"$out/report.html"
curl -sS --fail-with-body "$url/v1/studies/$study/curves.csv" >"$out/curves.csv"
choice=$(sed -n 's/.*"choice": *{"candidate": *"\([^"]*\)".*/\1/p' "$out/result.json")
[[ -n $choice ]] || { echo "no candidate was chosen; see $out/result.json" >&2; exit 1; }
mkdir -p "$out/winner"
files="$url/v1/studies/$study/candidates/${choice// /%20}/files"
for file in config.json model.safetensors optimizer.safetensors lag_report.json README.md; do
    curl -sS --fail-with-body "$files/$file" >"$out/winner/$file"
done

say "7. What you are looking at"
cat <<TEXT
"at 0" is each candidate's loss right after growing, "loss" the one after k steps of training, both on text that
no candidate has seen. Candidates that keep the small model's function start lowest; whether that is worth
anything shows only after a short lag. lag trains all of them on the same batches until the order that the curves
show agrees with the order that their slopes predict, and says how sure it is. "$choice" was chosen.
TEXT
"$lag" eval --checkpoint "$out/winner" --data "$out/data/valid.bin" | sed 's/^/lag eval on the files fetched: /;2s/^.*fetched: /  /'
cat <<TEXT

  report      $out/report.html     (open it in a browser: all of it on one page)
  plot        $out/plot.svg
  winner      $out/winner/         (transformers: GPT2LMHeadModel.from_pretrained("$out/winner"))
  result      $out/result.json, $out/curves.csv
TEXT
