# Tables and plot of bench/papers/power.jsonl and the sweep's runs, power.runs.jsonl. The last fit in the rows is the one shown.
function value(name) {
    if (!match($0, "\"" name "\": *[^,}]*")) return ""
    text = substr($0, RSTART, RLENGTH)
    sub(/^"[a-z_]*": */, "", text)
    return text
}
function interval(name,    text) {
    if (!match($0, "\"" name "\": \\{[^}]*\\}")) return ""
    text = substr($0, RSTART, RLENGTH)
    gsub(/[^-0-9.e+, ]/, "", text); gsub(/ +/, " ", text)
    split(text, parts, ",")
    return sprintf("%.3g to %.3g", number(parts[2]), number(parts[3]))
}
function number(text) { gsub(/^[^-0-9]*/, "", text); return text + 0 }
function cell(    c) {
    c = value("batch") ":" value("tokens")
    if (!(c in known)) { known[c] = 1; batches[value("batch") + 0] = 1; lengths[value("tokens") + 0] = 1 }
    return c
}
/"sweep":/ {
    c = cell(); n = ++count[c]
    rate[c ":" n] = value("learning_rate") + 0; loss[c ":" n] = value("loss") == "null" ? 1e9 : value("loss") + 0
}
/"key":"fit/ {
    fitted = /"fitted":"all"/ ? "all cells" : "the cells of the three shorter lengths"
    a = value("a"); b = value("b"); maximum = value("maximum")
    span["a"] = interval("a"); span["b"] = interval("b"); span["c"] = interval("batch_exponent")
    fit = "power/" a "/" b "/"
}
/"factor":/ {
    cell(); k = value("key"); gsub(/"/, "", k)
    power[k] = value("loss") == "null" ? 1e9 : value("loss") + 0
}
# The lowest point of the parabola through three points around the lowest loss, over ln(rate); 0 where that is at an end.
function best_rate(c,    i, j, t, n, order, low, x, y, d1, d2) {
    n = count[c]
    for (i = 1; i <= n; i++) order[i] = i
    for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (rate[c ":" order[j]] < rate[c ":" order[i]]) { t = order[i]; order[i] = order[j]; order[j] = t }
    low = 1
    for (i = 2; i <= n; i++) if (loss[c ":" order[i]] < loss[c ":" order[low]]) low = i
    lowest[c] = loss[c ":" order[low]]
    if (low == 1 || low == n) return -rate[c ":" order[low]]
    for (i = -1; i <= 1; i++) { x[i] = log(rate[c ":" order[low + i]]); y[i] = loss[c ":" order[low + i]] }
    d1 = (y[0] - y[-1]) / (x[0] - x[-1]); d2 = (y[1] - y[0]) / (x[1] - x[0])
    return exp((x[-1] + x[0]) / 2 - d1 * (x[1] - x[-1]) / 2 / (d2 - d1))
}
function sorted(set, into,    n, i, j, t, v) {
    n = 0
    for (v in set) into[++n] = v + 0
    for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (into[j] < into[i]) { t = into[i]; into[i] = into[j]; into[j] = t }
    return n
}
function shown(loss) { return loss > 1e8 ? "diverged" : sprintf("%.4f", loss) }
END {
    batch_count = sorted(batches, batch); length_count = sorted(lengths, tokens)
    factor_count = split("0.25 0.5 1 2 4", factors, " ")
    split("#1f77b4 #2ca02c #d62728", colours, " ")
    if (plot) {
        print "size 860 400"
        print "panel Best rate of WSD|training tokens|log|log"
        for (i = 1; i <= batch_count; i++) {
            print "series batch " batch[i] "|" colours[i] "|2|"
            for (j = 1; j <= length_count; j++) { best = best_rate(batch[i] ":" tokens[j]); if (best > 0) print tokens[j], best }
        }
        for (i = 1; fit && i <= batch_count; i++) {
            print "series " (i == 1 ? "β a T^b" : "") "|" colours[i] "|1|4 3"
            for (j = 1; j <= length_count; j++) print tokens[j], batch[i] * 32 / 4096 * a * exp(b * log(tokens[j]))
        }
        print "panel Power schedule: loss above the cell's best, cut at 0.25|the whole curve times|log|"
        print "range 0.22 4.5 0 0.25"
        for (i = 1; i <= batch_count; i++) for (j = 1; j <= length_count; j++) {
            print "series " (j == length_count ? "batch " batch[i] ", the thicker the longer the run" : "") "|" colours[i] "|" 0.8 + 0.5 * j "|"
            low = 1e9
            for (f = 1; f <= factor_count; f++) { k = fit batch[i] "/" tokens[j] "/" factors[f]; if (k in power && power[k] < low) low = power[k] }
            for (f = 1; f <= factor_count; f++) { k = fit batch[i] "/" tokens[j] "/" factors[f]; if (k in power && power[k] < 1e8) print factors[f], power[k] - low }
        }
        exit
    }
    file = folder "/power"
    if (fit)
        printf "Fitted to %s: a = %.3g (%s), b = %.3f (%s), cap %.4g; the best rate goes as the batch to the power of %s.\n\n",
               fitted, a, span["a"], b, span["b"], maximum, span["c"] >file
    else print "`lag powerfit` does not resolve how the best rate falls with tokens.\n" >file
    print "| batch | tokens | best WSD rate | its loss | β a T^b | power curve × ¼ | × ½ | × 1 | × 2 | × 4 | × 1 less best WSD |" >file
    print "|---|---|---|---|---|---|---|---|---|---|---|" >file
    for (i = 1; i <= batch_count; i++) for (j = 1; j <= length_count; j++) {
        c = batch[i] ":" tokens[j]
        best = best_rate(c); low = 1e9; at = 0
        for (f = 1; f <= factor_count; f++) { k = fit batch[i] "/" tokens[j] "/" factors[f]; if (k in power && power[k] < low) { low = power[k]; at = f } }
        wins[at]++
        k = fit batch[i] "/" tokens[j] "/1"
        if ((k in power) && power[k] - low < 0.01) near++
        cells++
        if (best > 0) { if (!least || best < least) least = best; if (best > most) most = best }
        printf "| %d | %d | %s | %.4f | %.4f |", batch[i], tokens[j], (best > 0 ? sprintf("%.4f", best) : sprintf("end of sweep, %.4g", -best)), lowest[c],
               (fit ? batch[i] * 32 / 4096 * a * exp(b * log(tokens[j])) : 0) >file
        for (f = 1; f <= factor_count; f++) {
            k = fit batch[i] "/" tokens[j] "/" factors[f]
            mark = f == at ? "**" : ""; printf " " mark "%s" mark " |", k in power ? shown(power[k]) : "–" >file
        }
        k = fit batch[i] "/" tokens[j] "/1"
        if (k in power) printf " %+.4f |\n", power[k] - lowest[c] >file
        else print " – |" >file
    }
    if (fit) printf "\nThe best WSD rate moves over a factor of %.1f. Of %d cells the constants as fitted are best in %d (× ½ in %d, " \
                    "× 2 in %d), and within 0.01 of the best in %d.\n",
           most / least, cells, wins[3] + 0, wins[2] + 0, wins[4] + 0, near + 0 >file
}
