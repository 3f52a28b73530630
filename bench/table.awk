# Rows of bench/rows.jsonl to Markdown tables, one file per table in `folder`: medians over rounds, with the least and the
# most. A row's key is ROUND/NAME; a peer's NAME is a size's and the peer's.

function text_of(name) {
    if (!match($0, "\"" name "\":\"[^\"]*\"")) return ""
    return substr($0, RSTART + length(name) + 4, RLENGTH - length(name) - 5)
}
function number_of(name) {
    if (!match($0, "\"" name "\":[-0-9.e+]+")) return ""
    return substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3)
}
function note(name, value) { if (value != "") values[key, name] = values[key, name] " " value }
function sorted(list, into,    n, i, j, t) {
    n = split(list, into, " ")
    for (i = 2; i <= n; i++)
        for (j = i; j > 1 && into[j] + 0 < into[j - 1] + 0; j--) { t = into[j]; into[j] = into[j - 1]; into[j - 1] = t }
    return n
}
function median(k, name,    n, list) { n = sorted(values[k, name], list); return n ? list[int((n + 1) / 2)] + 0 : 0 }
function span(k, name, form,    n, list) {
    n = sorted(values[k, name], list)
    return n ? sprintf(form " to " form, list[1], list[n]) : ""
}
function rounds(k,    list) { return split(values[k, "step_ms"], list, " ") }
function shown(value, form) { return value ? sprintf(form, value) : "–" }
# The peers' row of that number type with the least median.
function best(size, type,    i, least, found) {
    for (i = 1; i <= peers[size]; i++)
        if (peer[size, i] ~ "-" type "(-|$)" && (!found || median(size "-" peer[size, i], "step_ms") < least)) {
            found = peer[size, i]
            least = median(size "-" found, "step_ms")
        }
    return found
}

{
    key = text_of("key")
    sub(/^[0-9]+\//, "", key)
    if (key ~ /^profile\//) { order_of_profile[++profile_lines] = $0; next }
    if (key ~ /^instructions\//) { order_of_instructions[++instruction_lines] = $0; next }
    if (!(key in seen) && text_of("scaling") == "") {
        seen[key] = 1
        name = text_of("peer")
        if (name == "") sizes[++count] = key
        else {
            size = substr(key, 1, length(key) - length(name) - 1)
            peer[size, ++peers[size]] = name
            if (!(name in column)) { column[name] = 1; columns[++column_count] = name }
        }
    }
    note("step_ms", number_of("step_ms")); note("tokens", number_of("tokens_per_second")); note("gflops", number_of("gflops"))
    note("sgemm", number_of("sgemm_gflops")); note("ratio", number_of("ratio")); note("peak", number_of("peak_bytes"))
    note("planned", number_of("planned_bytes"))
    for (i = split("seconds_1 seconds_2 sgemm_1 sgemm_2 bound k", names, " "); i > 0; i--) note(names[i], number_of(names[i]))
    if (text_of("kernels") != "") built = text_of("kernels") ", compiler " text_of("compiler") ", flags " text_of("flags")
    if (text_of("torch") != "") torch = "torch " text_of("torch") ", transformers " text_of("transformers")
    if (text_of("machine") != "") machine = text_of("machine")
    if (text_of("commit") != "") commit = text_of("commit")
}

END {
    target["gpt2-6x384"] = 0.88; target["gpt2-4x128"] = 0.75; target["gpt2-12x768"] = 0.85
    target["llama-6x384"] = target["bert-6x384"] = target["t5-6x384"] = 0.83
    target["llama-4x128"] = target["bert-4x128"] = target["t5-4x128"] = 0.70

    file = folder "/machine"
    print "Processor: " machine ". Ours: " built ", commit " commit (torch == "" ? "" : ". Peer: " torch) "." >file

    file = folder "/steps"
    print "| what | rounds | step, ms | tokens/s | GFLOP/s | sgemm GFLOP/s | ratio | least to most | target |" >file
    print "|---|---|---|---|---|---|---|---|---|" >file
    for (i = 1; i <= count; i++) {
        k = sizes[i]
        printf "| %s | %d | %.1f | %d | %.1f | %.1f | **%.3f** | %s | %s |\n", k, rounds(k), median(k, "step_ms"),
            median(k, "tokens"), median(k, "gflops"), median(k, "sgemm"), median(k, "ratio"), span(k, "ratio", "%.3f"),
            shown(target[k], "%.2f") >file
    }

    file = folder "/peers"
    printf "| size | ours f32, ms | best PyTorch f32, ms | which | speed, ours ÷ PyTorch " >file
    print "| ours bf16, ms | best PyTorch bf16, ms | which | speed, ours ÷ PyTorch |" >file
    print "|---|---|---|---|---|---|---|---|---|" >file
    for (i = 1; i <= count; i++) {
        k = sizes[i]
        if (!peers[k]) continue
        line = "| " k
        for (type = 0; type < 2; type++) {
            own = median(type ? k "-bf16" : k, "step_ms")
            name = best(k, type ? "bf16" : "f32")
            other = name == "" ? 0 : median(k "-" name, "step_ms")
            line = line sprintf(" | %s | %s | %s | %s", shown(own, "%.1f"), shown(other, "%.1f"), name,
                                own && other ? sprintf("**%.2f**", other / own) : "–")
        }
        print line " |" >file
    }

    file = folder "/torch"
    line = "| size |"; rule = "|---|"
    for (j = 1; j <= column_count; j++) { line = line " " columns[j] " |"; rule = rule "---|" }
    print line >file
    print rule >file
    for (i = 1; i <= count; i++) {
        k = sizes[i]
        if (!peers[k]) continue
        line = "| " k " |"
        for (j = 1; j <= column_count; j++) line = line " " shown(median(k "-" columns[j], "step_ms"), "%.1f") " |"
        print line >file
    }

    file = folder "/memory"
    print "| what | peak MiB | planned MiB | off by MiB | off by | within 3 % or 16 MiB |" >file
    print "|---|---|---|---|---|---|" >file
    for (i = 1; i <= count; i++) {
        k = sizes[i]
        peak = median(k, "peak") / 1048576
        planned = median(k, "planned") / 1048576
        off = peak > planned ? peak - planned : planned - peak
        printf "| %s | %.1f | %.1f | %.1f | %.1f %% | %s |\n", k, peak, planned, off, 100 * off / peak,
            off <= 16 || off <= 0.03 * peak ? "yes" : "**no**" >file
    }

    file = folder "/scaling"
    print "| steps | 1 worker, s | 2 workers, s | ratio | least to most | bound | sgemm alone | two at once, sum |" >file
    print "|---|---|---|---|---|---|---|---|" >file
    if (values["scaling", "ratio"] != "")
        printf "| %d | %.1f | %.1f | **%.3f** | %s | %.3f | %.1f | %.1f |\n", median("scaling", "k"),
            median("scaling", "seconds_1"), median("scaling", "seconds_2"), median("scaling", "ratio"),
            span("scaling", "ratio", "%.3f"), median("scaling", "bound"), median("scaling", "sgemm_1"),
            median("scaling", "sgemm_2") >file

    # Operations down, sizes across.
    file = folder "/profile"
    for (i = 1; i <= profile_lines; i++) {
        $0 = order_of_profile[i]
        size = text_of("profile"); operation = text_of("operation")
        if (!(size in profile_seen)) { profile_seen[size] = 1; across[++across_count] = size }
        if (operation != "between operations" && !(operation in down_seen)) {
            down_seen[operation] = 1
            down[++down_count] = operation
        }
        calls = number_of("calls") > 0 ? sprintf(", %d", number_of("calls")) : ""
        cell[operation, size] = sprintf("%.1f %% (%.1f ms%s)", 100 * number_of("share"), number_of("ms"), calls)
    }
    down[++down_count] = "between operations"
    line = "| share (ms, calls of a step) |"; rule = "|---|"
    for (j = 1; j <= across_count; j++) { line = line " " across[j] " |"; rule = rule "---|" }
    print line >file
    print rule >file
    for (i = 1; i <= down_count; i++) {
        line = "| " down[i] " |"
        for (j = 1; j <= across_count; j++) {
            text = cell[down[i], across[j]]
            line = line " " (text == "" ? "–" : text) " |"
        }
        print line >file
    }

    file = folder "/instructions"
    print "| operation | million instructions of a step | share |" >file
    print "|---|---|---|" >file
    for (i = 1; i <= instruction_lines; i++) {
        $0 = order_of_instructions[i]
        printf "| %s | %.1f | %.1f %% |\n", text_of("operation"), number_of("millions"), 100 * number_of("share") >file
    }
}
