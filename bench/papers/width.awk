# Tables and plot of bench/papers/width.jsonl.
function value(name) {
    if (!match($0, "\"" name "\": *(\"[^\"]*\"|[^,}]*)")) return ""
    text = substr($0, RSTART, RLENGTH)
    sub(/^"[a-z_0-9]*": */, "", text); gsub(/"/, "", text)
    return text
}
# Means over the seeds at every rate; curvature: geometric means over the seeds.
function take(p, w,    line, parts, n, i, numbers, c) {
    c = p ":" w
    rates[value("rate") + 0] = 1
    if (value("loss") == "null") lost[c ":" value("rate") + 0] = 1
    losses[c ":" value("rate") + 0] += value("loss"); runs[c ":" value("rate") + 0]++
    line = $0
    if (!sub(/.*"landscape":\[\[/, "", line)) return
    measured = value("rate") + 0
    sub(/\]\].*/, "", line)
    n = split(line, parts, /\],\[/)
    for (i = 1; i <= n; i++) {
        split(parts[i], numbers, ",")
        steps[numbers[1]] = 1
        if (numbers[2] > 0) { hessian[c ":" numbers[1]] += log(numbers[2]); hessians[c ":" numbers[1]]++ }
        if (numbers[3] > 0) { ratio[c ":" numbers[1]] += log(numbers[5]); ratios[c ":" numbers[1]]++ }
        if (numbers[4] > 0) { ntk[c ":" numbers[1]] += log(numbers[4]); ntks[c ":" numbers[1]]++ }
    }
}
/"parametrization":/ && /"landscape":/ && /"width":/ && !/"key":"transfer/ {
    if (value("width") == 32) { take("standard", 32); take("mup", 32); take("ntp", 32) } else take(value("parametrization"), value("width") + 0)
}
/"key":"transfer\// {
    p = value("key"); sub(/.*\//, "", p)
    if (match($0, /"reason": *"[^"]*"/)) reason[p] = substr($0, RSTART + 11, RLENGTH - 12)
}
function sorted(set, into,    n, i, j, t, v) {
    n = 0
    for (v in set) into[++n] = v + 0
    for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (into[j] < into[i]) { t = into[i]; into[i] = into[j]; into[j] = t }
    return n
}
function mean(c, r) { return lost[c ":" r] || !runs[c ":" r] ? 1e9 : losses[c ":" r] / runs[c ":" r] }
# The lowest point of the parabola through the lowest loss and its neighbours, over ln(rate); an end of the sweep is negative.
function best_rate(c,    i, low, x, y, d1, d2) {
    low = 1
    for (i = 2; i <= rate_count; i++) if (mean(c, rate[i]) < mean(c, rate[low])) low = i
    lowest = mean(c, rate[low])
    if (low == 1 || low == rate_count) return -rate[low]
    for (i = -1; i <= 1; i++) { x[i] = log(rate[low + i]); y[i] = mean(c, rate[low + i]) }
    if (y[1] > 1e8) return rate[low]
    d1 = (y[0] - y[-1]) / (x[0] - x[-1]); d2 = (y[1] - y[0]) / (x[1] - x[0])
    return exp((x[-1] + x[0]) / 2 - d1 * (x[1] - x[-1]) / 2 / (d2 - d1))
}
function at(sums, counts, c, step) { return counts[c ":" step] ? exp(sums[c ":" step] / counts[c ":" step]) : 0 }
# Geometric mean over the measurements of the second half.
function late(sums, counts, c,    i, sum, n) {
    for (i = 1; i <= step_count; i++) if (step[i] * 2 >= step[step_count] && counts[c ":" step[i]]) { sum += sums[c ":" step[i]] / counts[c ":" step[i]]; n++ }
    return n ? exp(sum / n) : 0
}
function curve_of(title, sums, counts, factor,    k, p, w, i) {
    for (k = 1; k <= 3; k++) {
        print "panel " title ", " names[k] "|training steps||log"
        print "range 0 " step[step_count] " " low_of(sums, counts, factor) " " high_of(sums, counts, factor)
        for (w = 1; w <= 3; w++) {
            print "series |" colours[w] "|1.8|"
            for (i = 1; i <= step_count; i++) { v = at(sums, counts, names[k] ":" widths[w], step[i]); if (v > 0) print step[i], factor * v }
        }
    }
}
function low_of(sums, counts, factor,    k, low, v) { for (k in sums) { v = factor * exp(sums[k] / counts[k]); if (!low || v < low) low = v } return low / 1.2 }
function high_of(sums, counts, factor,    k, high, v) { for (k in sums) { v = factor * exp(sums[k] / counts[k]); if (v > high) high = v } return high * 1.2 }
END {
    rate_count = sorted(rates, rate); step_count = sorted(steps, step)
    split("standard mup ntp", names, " "); split("32 64 128", widths, " ")
    split("#1f77b4 #2ca02c #d62728", colours, " ")
    if (plot) {
        print "size 960 840 3"
        for (k = 1; k <= 3; k++) {
            print "panel Loss at the end, " names[k] "|learning rate|log|"
            print "range 0.00045 0.018 2.4 3.2"
            for (w = 1; w <= 3; w++) {
                print "series " widths[w] " wide|" colours[w] "|1.8|"
                for (i = 1; i <= rate_count; i++) if (mean(names[k] ":" widths[w], rate[i]) < 1e8) print rate[i], mean(names[k] ":" widths[w], rate[i])
            }
        }
        curve_of("Rate × sharpness", hessian, hessians, measured)
        curve_of("NTK", ntk, ntks, 1)
        exit
    }
    file = folder "/width"
    printf "| | width |" >file
    for (i = 1; i <= rate_count; i++) printf " %s |", rate[i] >file
    print " best rate | rate × sharpness at 0 | second half | stability ratio, second half | NTK at 0 | second half |" >file
    printf "|---|---|---|---|---|---|---|---|" >file
    for (i = 1; i <= rate_count; i++) printf "---|" >file
    print "" >file
    for (k = 1; k <= 3; k++) for (w = 1; w <= 3; w++) {
        c = names[k] ":" widths[w]; best = best_rate(c)
        printf "| %s | %d |", w == 1 ? names[k] : "", widths[w] >file
        for (i = 1; i <= rate_count; i++) {
            v = mean(c, rate[i])
            mark = v == lowest ? "**" : ""; printf " " mark "%s" mark " |", (v > 1e8 ? "diverged" : sprintf("%.3f", v)) >file
        }
        printf " %s | %.3f | %.3f | %.2f | %.0f | %.0f |\n", (best > 0 ? sprintf("%.4f", best) : "end of sweep"), measured * at(hessian, hessians, c, 0),
               measured * late(hessian, hessians, c), late(ratio, ratios, c), at(ntk, ntks, c, 0), late(ntk, ntks, c) >file
        first[k] = (w == 1) ? best : first[k]
        if (w == 3) { moved[k] = best / first[k]; sharp[k] = late(hessian, hessians, c) / late(hessian, hessians, names[k] ":32"); 
            kernel[k] = late(ntk, ntks, c) / late(ntk, ntks, names[k] ":32") }
    }
    print "" >file
    print "| 128 wide over 32 wide | best rate | sharpness, second half | NTK, second half | `lag transfer`, a trained model and its fourfold clone |" >file
    print "|---|---|---|---|---|" >file
    for (k = 1; k <= 3; k++)
        printf "| %s | %s | %.2f | %.2f | %s |\n", names[k], (moved[k] > 0 ? sprintf("%.2f", moved[k]) : "end of sweep"), sharp[k], kernel[k],
               names[k] in reason ? reason[names[k]] : "–" >file
}
