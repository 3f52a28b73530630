# Rows of bench/operators/rows.jsonl to a Markdown table in `folder`: per candidate its losses beside its study's control.
function text_of(name) {
    if (!match($0, "\"" name "\":\"[^\"]*\"")) return ""
    return substr($0, RSTART + length(name) + 4, RLENGTH - length(name) - 5)
}
function number_of(name) {
    if (!match($0, "\"" name "\":[-0-9.e+]+")) return ""
    return substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3)
}
function loss(value) { return value == "" ? "–" : sprintf("%.4f", value) }
function operators_of(    rest, list, name) {
    rest = $0
    while (match(rest, /"op": "[a-z_]+"/)) {
        name = substr(rest, RSTART + 7, RLENGTH - 8)
        list = list (list == "" ? "" : ", ") name
        rest = substr(rest, RSTART + RLENGTH)
    }
    return list
}

{
    n++
    study[n] = text_of("study"); candidate[n] = text_of("candidate"); operators[n] = operators_of()
    base[n] = text_of("base"); state[n] = text_of("state"); parameters[n] = number_of("parameters")
    before[n] = number_of("before"); at_0[n] = number_of("at_0"); k[n] = number_of("k"); at_k[n] = number_of("at_k")
    end[n] = number_of("end"); preservation[n] = number_of("preservation")
    if (candidate[n] == "random") control[study[n]] = end[n]
    steps = number_of("steps")
    if (text_of("commit") != "") commit = text_of("commit")
    if (text_of("machine") != "") machine = text_of("machine")
}
END {
    file = folder "/operators"
    print "| study, base | candidate | operators | parameters | before | at 0 | at k | at the end | random's end | end less random's | " \
        "start less end | preservation |" >file
    print "|---|---|---|---|---|---|---|---|---|---|---|---|" >file
    for (i = 1; i <= n; i++) {
        where = study[i] ", " base[i]
        printf "| %s | %s | %s | %d | %s | %s | %s | %s | %s | %s | %s | %s |\n", where == last ? "" : where, candidate[i],
            operators[i], parameters[i], loss(before[i]), loss(at_0[i]),
            at_k[i] == "" ? "–" : loss(at_k[i]) " (" k[i] ")", state[i] == "completed" ? loss(end[i]) : state[i],
            loss(control[study[i]]), candidate[i] == "random" ? "–" : sprintf("%+.4f", end[i] - control[study[i]]),
            sprintf(end[i] < at_0[i] ? "%.4f" : "**%.4f**", at_0[i] - end[i]),
            preservation[i] == "" ? "–" : sprintf("%.1e", preservation[i]) >file
        last = where
    }
    printf "\n%d candidates, %d steps each, commit %s, %s.\n", n, steps, commit, machine >file
}
