# Tables of docs/selection.md from the rows that tables.sh makes: one file per table in `folder`.
# A row: what problem seed asked {JSON}. Numbers are means over seeds unless a table says otherwise.
function value(name,    at, rest) {
    at = index($0, "\"" name "\": ")
    if (!at) return ""
    rest = substr($0, at + length(name) + 4)
    if (substr(rest, 1, 1) == "\"") { rest = substr(rest, 2); return substr(rest, 1, index(rest, "\"") - 1) }
    match(rest, /^[^,}]*/)
    return substr(rest, 1, RLENGTH)
}
function add(key, number) { if (number != "" && number != "null") { sum[key] += number; count[key]++ } }
function mean(key) { return count[key] ? sum[key] / count[key] : "" }
function show(key, form, scale) { return count[key] ? sprintf(form, scale * sum[key] / count[key]) : "–" }
function truth(text) { return text == "true" ? 1 : text == "false" ? 0 : text }
{ what = $1; problem = $2; seed = $3; asked = $4 }
!(problem in known) { known[problem] = 1; problems[++problem_count] = problem }
!((problem, seed) in runs) { runs[problem, seed] = 1; seeds_of[problem]++ }
what == "default" && /"last_step"/ {
    candidates[problem] = value("candidates"); points[problem] = value("points"); last[problem] = value("last_step") + 0
    spread[problem] = value("spread"); noise[problem] = value("noise"); best[problem] = value("best")
    next
}
what == "calibration" {
    n = ++draws[problem]
    add("claim:" problem, value("p_best")); add("hit:" problem, truth(value("hit")))
    add("settle:" problem, truth(value("settled")))
    add("regret:" problem, value("regret_share")); add("tied:" problem, value("tied_share"))
    if (truth(value("settled"))) { add("sclaim:" problem, value("p_best")); add("shit:" problem, truth(value("hit"))) }
    next
}
/"rule": / {
    rule = value("rule")
    if (!(rule in rule_known)) { rule_known[rule] = 1; rules[++rule_count] = rule; kind[rule] = value("kind") }
    key = what ":" problem ":" asked ":" rule
    add("spearman:" key, value("spearman")); add("regret:" key, value("regret_share")); add("tied:" key, value("tied_share"))
    add("cost:" key, value("fraction")); add("settled:" key, truth(value("settled"))); add("step:" key, value("step"))
    add("hit:" key, truth(value("hit"))); add("p:" key, value("p_best"))
    if (what == "step" && !((problem, asked) in asked_known)) {
        asked_known[problem, asked] = 1; steps[problem, ++step_count[problem]] = asked
        if (!(asked in common)) all_steps[++all_count] = asked
        common[asked]++
    }
}
function head(file, columns) { gsub(/,/, " | ", columns); print "| " columns " |" >file; gsub(/[^|]+/, "---", columns); print "|" columns "|" >file }
function problems_table(    file, i, p) {
    file = folder "/problems"
    head(file, "problem,strategies,points,steps,seeds here,best in the end,spread (nats),noise of one seed (nats)")
    for (i = 1; i <= problem_count; i++) {
        p = problems[i]
        printf "| %s | %d | %d | %d | %d | %s | %.4f | %s |\n", p, candidates[p], points[p], last[p], seeds_of[p], best[p], spread[p],
               noise[p] == "null" ? "–" : sprintf("%.4f", noise[p]) >file
    }
}
# The study's defaults: one row per rule, one column group per problem.
function default_table(    file, i, r, columns, key) {
    file = folder "/default"
    columns = "rule"
    for (i = 1; i <= problem_count; i++) columns = columns "," problems[i]
    head(file, columns)
    for (r = 1; r <= rule_count; r++) {
        printf "| %s", rules[r] >file
        for (i = 1; i <= problem_count; i++) {
            key = "default:" problems[i] ":0:" rules[r]
            printf " | %s, %s, %s, %s at %s%s", show("spearman:" key, "%.2f", 1), show("regret:" key, "%.1f %%", 100),
                   show("tied:" key, "%.1f %%", 100), show("cost:" key, "%.1f %%", 100), show("step:" key, "%.0f", 1),
                   mean("settled:" key) < 1 ? "\\*" : "" >file
        }
        print " |" >file
    }
}
# Rules at fixed steps, one table per problem; a step of 0 is the loss right after growing.
function step_table(p,    file, i, s, r, columns, wanted, n, key) {
    file = folder "/" p
    printf "![Spearman, regret and cost of the rules over the step: %s](selection-%s.svg)\n\n", p, p >file
    n = split("20 51 106 221 461 952 1976 4098 8499 17627", wanted, " ")
    columns = "rule"
    for (s = 1; s <= n; s++) if ((p, nearest(p, wanted[s])) in asked_known && wanted[s] <= last[p]) columns = columns "," nearest(p, wanted[s])
    head(file, columns)
    for (r = 1; r <= rule_count; r++) {
        if (rules[r] == "start" || rules[r] == "exhaustive") continue
        printf "| %s", rules[r] >file
        for (s = 1; s <= n; s++) {
            if (!((p, nearest(p, wanted[s])) in asked_known) || wanted[s] > last[p]) continue
            key = "step:" p ":" nearest(p, wanted[s]) ":" rules[r]
            printf " | %s, %s", show("spearman:" key, "%.2f", 1), show("regret:" key, "%.0f %%", 100) >file
        }
        print " |" >file
    }
}
function nearest(p, step,    i, found, least, d) {
    least = 1e9
    for (i = 1; i <= step_count[p]; i++) {
        d = steps[p, i] - step; if (d < 0) d = -d
        if (d < least) { least = d; found = steps[p, i] }
    }
    return found
}
# A constant is the step: chosen on the other problems (least mean regret), judged on the one left out.
function left_out_table(    file, i, j, r, s, total, n, best_step, least, key, columns) {
    file = folder "/leftout"
    if (problem_count < 2) return
    columns = "rule"
    for (i = 1; i <= problem_count; i++) columns = columns "," problems[i]
    head(file, columns)
    for (r = 1; r <= rule_count; r++) {
        if (rules[r] == "start" || rules[r] == "exhaustive" || kind[rules[r]] == "stops") continue
        printf "| %s", rules[r] >file
        for (i = 1; i <= problem_count; i++) {
            least = 1e9; best_step = ""
            for (s = 1; s <= all_count; s++) {
                if (all_steps[s] == 0 || all_steps[s] > 1000 || common[all_steps[s]] == 0) continue
                total = 0; n = 0
                for (j = 1; j <= problem_count; j++) {
                    key = "regret:step:" problems[j] ":" all_steps[s] ":" rules[r]
                    if (j != i && count[key]) { total += mean(key); n++ }
                }
                key = "step:" problems[i] ":" all_steps[s] ":" rules[r]
                if (n && count["regret:" key] && total / n < least) { least = total / n; best_step = all_steps[s] }
            }
            key = "step:" problems[i] ":" best_step ":" rules[r]
            printf " | %s at %s", show("regret:" key, "%.1f %%", 100), best_step >file
        }
        print " |" >file
    }
}
# Hits and claims, and the interval of hits minus claims over problems drawn with replacement: a generator of our own, so
# that every awk draws the same.
function draw(most) { state = (state * 16807) % 2147483647; return int(state / 2147483647 * most) + 1 }
function calibration_table(    file, i, b, k, p, n, gap, gaps, hits, claims) {
    file = folder "/calibration"
    head(file, "problem,replays,settled,claimed p_best,hits,claimed where settled,hits where settled,regret of the choice,of its tie group")
    for (i = 1; i <= problem_count; i++) {
        p = problems[i]
        printf "| %s | %d | %s | %s | %s | %s | %s | %s | %s |\n", p, draws[p], show("settle:" p, "%.0f %%", 100),
               show("claim:" p, "%.3f", 1), show("hit:" p, "%.3f", 1), show("sclaim:" p, "%.3f", 1), show("shit:" p, "%.3f", 1),
               show("regret:" p, "%.1f %%", 100), show("tied:" p, "%.1f %%", 100) >file
    }
    if (problem_count < 2) return
    state = 20240
    for (b = 1; b <= 2000; b++) {
        hits = claims = n = 0
        for (i = 1; i <= problem_count; i++) {
            p = problems[draw(problem_count)]
            hits += mean("hit:" p); claims += mean("claim:" p); n++
        }
        gap = (hits - claims) / n
        for (k = b; k > 1 && gaps[k - 1] > gap; k--) gaps[k] = gaps[k - 1]
        gaps[k] = gap
    }
    printf "\nHits minus claims, 95 %% cluster-bootstrap interval by problem (2,000 draws of %d problems): %.3f to %.3f.\n", problem_count,
           gaps[50], gaps[1951] >file
}
END {
    problems_table(); default_table(); left_out_table(); calibration_table()
    for (i = 1; i <= problem_count; i++) step_table(problems[i])
}
