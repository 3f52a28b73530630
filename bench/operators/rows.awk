# A study's result, its ranking one entry a line, and the study itself (second file) to one row per candidate.
function number_of(name) {
    if (!match($0, "\"" name "\": *(null|[-0-9.e+]+)")) return "null"
    text = substr($0, RSTART, RLENGTH)
    sub(/^[^:]*: */, "", text)
    return text
}
FNR == NR && /"transition": \{/ {
    match($0, /"transition": \{"step": (null|[0-9]+)/)
    k = substr($0, RSTART, RLENGTH)
    sub(/.*: /, "", k)
}
FNR == NR && /^\{"rank": / {
    match($0, /"candidate": "[^"]*"/)
    name = substr($0, RSTART + 14, RLENGTH - 15)
    match($0, /"state": "[^"]*"/)
    result[name] = sprintf("\"%s,\"parameters\":%s,\"at_0\":%s,\"at_k\":%s,\"end\":%s,\"error\":%s,\"preservation\":%s",
        substr($0, RSTART, RLENGTH), number_of("parameters"), number_of("loss_at_0"), number_of("loss_at_transition"),
        number_of("loss"), number_of("standard_error"), number_of("preservation"))
    sub(/^""state": /, "\"state\":", result[name])
}
FNR != NR && /^  \{"name": / {
    match($0, /"name": "[^"]*"/)
    name = substr($0, RSTART + 9, RLENGTH - 10)
    operators = $0
    sub(/^[^[]*/, "", operators)
    sub(/\}\]?,?$/, "", operators)
    printf "{\"key\":\"%s/%s\",\"commit\":\"%s\",\"machine\":\"%s\",\"row\":{\"study\":\"%s\",\"candidate\":\"%s\",", study, name,
        commit, machine, study, name
    printf "\"operators\":%s,\"base\":\"%s\",\"before\":%s,\"steps\":%s,\"k\":%s,%s}}\n", operators, base, before, steps, k, result[name]
}
