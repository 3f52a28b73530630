# Table and plot of bench/papers/schedule_free.jsonl; -v want=best: rate, beta and decoupling of the best Schedule-Free run.
function value(name) {
    if (!match($0, "\"" name "\":(\"[^\"]*\"|[^,}]*)")) return ""
    return substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3)
}
function better(loss, key) { return loss != "null" && (!(key in best) || loss + 0 < best[key]) }
function points(line,    parts, count, i, pair) {
    sub(/.*"curve":\[\[/, "", line); sub(/\]\]}.*/, "", line)
    count = split(line, parts, /\],\[/)
    for (i = 1; i <= count; i++) { split(parts[i], pair, ","); if (pair[1] >= 100) print pair[1], pair[2] }
}
/"method":"cosine"/ {
    length_ = value("length"); lengths[length_] = 1; cosine[length_ ":" value("rate")] = value("loss"); rates[value("rate")] = 1
    if (better(value("loss"), "cosine" length_)) {
        best["cosine" length_] = value("loss") + 0; rate["cosine" length_] = value("rate"); line["cosine" length_] = $0
    }
}
/"method":"constant"/ && better(value("loss"), "constant") {
    best["constant"] = value("loss") + 0; rate["constant"] = value("rate"); line["constant"] = $0
}
/"method":"free"/ {
    frees[++free_count] = $0
    if (better(value("loss"), "free")) {
        best["free"] = value("loss") + 0; rate["free"] = value("rate"); line["free"] = $0
        beta = value("beta"); decoupling = value("decoupling")
    }
}
/"method":"pieces"/ || /"method":"decay"/ {
    split(value("key"), path, "/")
    setting = path[2] "/" path[3] "/" path[4] "/" value("length")
    if (/"method":"pieces"/) pieces[setting] = value("loss")
    else if (better(value("loss"), "decay" setting)) { best["decay" setting] = value("loss") + 0; rate["decay" setting] = value("rate") }
}
# The loss of a curve at a step, straight between its points over ln(step).
function at(curve, step,    parts, count, i, a, b) {
    sub(/.*"curve":\[\[/, "", curve); sub(/\]\]}.*/, "", curve)
    count = split(curve, parts, /\],\[/)
    for (i = 2; i <= count; i++) {
        split(parts[i - 1], a, ","); split(parts[i], b, ",")
        if (b[1] >= step) return a[2] + (b[2] - a[2]) * log(step / a[1]) / log(b[1] / a[1])
    }
    return b[2]
}
# The best cosine run of a length between those that were trained, straight over ln(length).
function envelope(step,    low, high, l) {
    for (l in lengths) {
        if (l + 0 <= step && (!low || l + 0 > low)) low = l + 0
        if (l + 0 >= step && (!high || l + 0 < high)) high = l + 0
    }
    if (!high || low == high) return low == high ? sprintf("%.4f", best["cosine" low]) : "–"
    return sprintf("%.4f", best["cosine" low] + (best["cosine" high] - best["cosine" low]) * log(step / low) / log(high / low))
}
function named(row,    saved, text) {
    saved = $0; $0 = row
    text = "β " value("beta") (value("decoupling") == "null" ? "" : ", C " value("decoupling")) ", " value("rate")
    $0 = saved
    return text
}
END {
    if (want == "best") { print rate["free"], beta, decoupling == "null" ? "original" : decoupling; exit }
    for (l in lengths) order[++n] = l + 0
    for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (order[j] < order[i]) { t = order[i]; order[i] = order[j]; order[j] = t }
    setting = rate["free"] "/" beta "/" (decoupling == "null" ? "original" : decoupling) "/"
    if (plot) {
        print "size 760 420"
        print "panel Validation loss, nats per byte|training steps|log|"
        print "range 200 4700 1.75 2.55"
        for (i = 1; i <= n; i++) {
            print "series " (i == 1 ? "cosine, 500 to 4000 steps, each at its best rate" : "") "|#7a869a|1.4|"
            points(line["cosine" order[i]])
        }
        print "series constant rate, AdamW|#2ca02c|1.4|6 3"; points(line["constant"])
        print "series Schedule-Free AdamW, one run|#d62728|2.2|"; points(line["free"])
        print "series with a decay of a tenth from there|#1f77b4|0|"
        for (i = 1; i <= n; i++) if (("decay" setting order[i]) in best) print order[i] * 1.1, best["decay" setting order[i]]
        exit
    }
    file = folder "/schedulefree"
    print "| steps | best cosine of this length (rate) | constant rate there | Schedule-Free there | less cosine | + a tenth of AdamW decay (rate) | cosine of so many steps, between lengths |" >file
    print "|---|---|---|---|---|---|---|" >file
    for (i = 1; i <= n; i++) {
        l = order[i]
        free_here = (setting l) in pieces ? pieces[setting l] : at(line["free"], l)
        printf "| %d | %.4f (%s) | %.4f | **%.4f** | %+.4f | %s | %s |\n", l, best["cosine" l], rate["cosine" l], at(line["constant"], l), free_here,
               free_here - best["cosine" l], ("decay" setting l) in best ? sprintf("%.4f (%s)", best["decay" setting l], rate["decay" setting l]) : "–", envelope(l * 1.1) >file
    }
    print "" >file
    print "| Schedule-Free: β, rate | loss at 4000 |" >file
    print "|---|---|" >file
    for (i = 1; i <= free_count; i++) {
        $0 = frees[i]
        printf "| %s | %s |\n", named(frees[i]), value("loss") == "null" ? "diverged" : sprintf("%.4f ± %.4f", value("loss"), value("standard_error")) >file
    }
}
