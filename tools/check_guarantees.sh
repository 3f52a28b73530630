#!/bin/bash
# Every test that docs/guarantees.md names exists: `room/test_noun:name` is a test function of tests/room/test_noun.c that the
# program runs; a text behind it, in double quotes, is the name of a case in that file. No row of a table is without a test.
set -u
document=docs/guarantees.md
breaches=0
breach() {
    echo "$document: $1"
    breaches=$((breaches + 1))
}

reference='[a-z]+/(test|long)_[a-z0-9_]+:[a-z0-9_]+( "[^"]*")?'
named=0
while read -r program name text; do
    named=$((named + 1))
    source=tests/$program.c
    if [[ ! -f $source ]]; then
        breach "$source does not exist"
    elif ! grep -qE "[A-Za-z_]\($name[,)]" "$source"; then    # the list of tests has cmocka_unit_test(name) or the like
        breach "$source has no test $name, or does not run it"
    elif [[ -n $text ]] && ! grep -qF "$text" "$source"; then
        breach "$source has no case $text"
    fi
done < <(grep -oE "\`$reference\`" "$document" | tr -d '`' | sed 's/:/ /' | sort -u)

# Rows: lines of a table that are neither its head nor the line below the head.
while IFS=: read -r line row; do
    grep -qE "\`$reference\`" <<<"$row" || breach "line $line names no test"
done < <(awk '/^\|/ { if (previous) print NR ":" $0; if ($0 ~ /^\|[-|]+$/) previous = 1; next } { previous = 0 }' "$document" |
    grep -vE '^[0-9]+:\|[-|]+$')

((named > 0)) || breach "names no test at all"
echo "guarantees: $named tests named, $breaches breaches"
((breaches == 0))
