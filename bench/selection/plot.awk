# One plot: Spearman with the truth, top-1 regret and cost of each rule as functions of the step, on one problem (-v
# problem=…), means over seeds. SVG that follows the reader's light or dark theme.
function value(name,    at, rest) {
    at = index($0, "\"" name "\": ")
    if (!at) return ""
    rest = substr($0, at + length(name) + 4)
    if (substr(rest, 1, 1) == "\"") { rest = substr(rest, 2); return substr(rest, 1, index(rest, "\"") - 1) }
    match(rest, /^[^,}]*/)
    return substr(rest, 1, RLENGTH)
}
function add(key, number) { if (number != "" && number != "null") { sum[key] += number; count[key]++ } }
$1 == "step" && $2 == problem && /"rule": / {
    rule = value("rule")
    if (rule == "start" || rule == "exhaustive" || $4 < 20) next
    if (!(rule in seen)) { seen[rule] = 1; rules[++rule_count] = rule }
    if (!($4 in at)) { at[$4] = 1; steps[++step_count] = $4 }
    add("0:" rule ":" $4, value("spearman")); add("1:" rule ":" $4, value("regret_share")); add("2:" rule ":" $4, value("fraction"))
}
function x_of(step) { return 50 + 250 * (log(step) - log(steps[1])) / (log(steps[step_count]) - log(steps[1])) }
function y_of(panel, v) { return panel == 0 ? 40 + 220 * (1 - (v + 1) / 2) : 40 + 220 * (1 - v) }
function style(r) {
    return sprintf("stroke=\"hsl(%d 70%% 50%%)\" stroke-width=\"%s\"%s fill=\"none\"", (r - 1) * 360 / rule_count,
                   rules[r] == "agreement" ? 3 : 1.5, r % 2 ? "" : " stroke-dasharray=\"5 3\"")
}
END {
    print "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1020 400\" font-family=\"sans-serif\" font-size=\"11\">"
    print "<style>svg{background:#fff;color:#222}text{fill:currentColor}@media(prefers-color-scheme:dark){svg{background:#1b1d21;color:#ddd}}</style>"
    split("Spearman with the truth|top-1 regret, share of the spread|cost, share of training all to the end", titles, "|")
    for (panel = 0; panel < 3; panel++) {
        printf "<g transform=\"translate(%d 0)\"><text x=\"50\" y=\"26\" font-weight=\"bold\">%s</text>\n", panel * 330, titles[panel + 1]
        for (t = 0; t <= 4; t++) {
            v = panel == 0 ? t / 2 - 1 : t / 4
            printf "<line x1=\"50\" x2=\"300\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"currentColor\" stroke-opacity=\".15\"/><text x=\"44\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
                   y_of(panel, v), y_of(panel, v), y_of(panel, v) + 4, v
        }
        for (d = 10; d <= steps[step_count]; d *= 10)
            for (m = 2; m <= 10; m += m == 2 ? 3 : 5) if (d * m >= steps[1] && d * m <= steps[step_count])
                printf "<text x=\"%.1f\" y=\"276\" text-anchor=\"middle\">%d</text>\n", x_of(d * m), d * m
        for (r = 1; r <= rule_count; r++) {
            line = ""
            for (s = 1; s <= step_count; s++) {
                key = panel ":" rules[r] ":" steps[s]
                if (count[key]) line = line sprintf("%.1f,%.1f ", x_of(steps[s]), y_of(panel, sum[key] / count[key]))
            }
            printf "<polyline %s points=\"%s\"/>\n", style(r), line
        }
        print "</g>"
    }
    for (r = 1; r <= rule_count; r++)
        printf "<line x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\" %s/><text x=\"%d\" y=\"%d\">%s</text>\n", 50 + (r - 1) % 6 * 160,
               74 + (r - 1) % 6 * 160, 312 + int((r - 1) / 6) * 20, 312 + int((r - 1) / 6) * 20, style(r), 80 + (r - 1) % 6 * 160,
               316 + int((r - 1) / 6) * 20, rules[r]
    printf "<text x=\"50\" y=\"386\">%s: step on a logarithmic axis; rules that stop: the step is their cap; rules that stop candidates one by one: the mean steps per candidate</text>\n</svg>\n", problem
}
