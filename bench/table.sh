#!/bin/bash
# The medians of bench/rows.jsonl as a Markdown table.
set -euo pipefail
awk '
    function number(text, name) { return match(text, "\"" name "\": *[-0-9.e+]+") ? substr(text, RSTART + length(name) + 3, RLENGTH - length(name) - 3) + 0 : "" }
    function median(list,   n, values, i, j, t) {
        n = split(list, values, " ")
        for (i = 2; i <= n; i++) for (j = i; j > 1 && values[j] + 0 < values[j - 1] + 0; j--) { t = values[j]; values[j] = values[j - 1]; values[j - 1] = t }
        return n ? values[int((n + 1) / 2)] : ""
    }
    {
        match($0, /"key":"[^"]*"/); key = substr($0, RSTART + 7, RLENGTH - 8); sub(/^[0-9]+\//, "", key)
        if (!(key in steps)) order[++count] = key
        steps[key] = steps[key] " " number($0, "step_ms"); tokens[key] = tokens[key] " " number($0, "tokens_per_second")
        gflops[key] = gflops[key] " " number($0, "gflops"); sgemm[key] = sgemm[key] " " number($0, "sgemm_gflops")
        ratio[key] = ratio[key] " " number($0, "ratio")
        peak[key] = number($0, "peak_bytes"); planned[key] = number($0, "planned_bytes")
    }
    END {
        print "| what | step, ms | tokens/s | GFLOP/s | sgemm GFLOP/s | ratio | peak MiB | planned MiB |"
        print "|---|---|---|---|---|---|---|---|"
        for (i = 1; i <= count; i++) {
            key = order[i]
            if (key ~ /torch/) printf "| %s | %.1f | %d | | | | | |\n", key, median(steps[key]), median(tokens[key])
            else printf "| **%s** | %.1f | %d | %.1f | %.1f | **%.3f** | %d | %d |\n", key, median(steps[key]), median(tokens[key]), median(gflops[key]), median(sgemm[key]), median(ratio[key]), peak[key] / 1048576, planned[key] / 1048576
        }
    }' "${1:-bench/rows.jsonl}"
