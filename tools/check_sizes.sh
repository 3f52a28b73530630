#!/bin/bash
# Files of at most 500 lines, functions of at most 80, lines of at most 132 columns, a Makefile of at most 120 lines.
# A function opens with "{" in column 0, or at the end of a line that starts in column 0, and closes with "}" in column 0.
set -u
files=$(find base model growth trainer study api server tests bench -name '*.[ch]' 2>/dev/null | sort)
# shellcheck disable=SC2086 # one word per file is wanted
LC_ALL=C awk -v file_most=500 -v function_most=80 -v column_most=132 '
    function breach(text) { print text; breaches++ }
    FNR == 1 { if (name != "") end_file(); name = FILENAME; opened = 0; previous = 0 }
    function end_file() { if (previous > file_most) breach(name ": " previous " lines, at most " file_most) }
    { previous = FNR }
    length($0) > column_most {    # of UTF-8 only the first byte of a character counts; mawk knows bytes only
        line = $0
        gsub(/[\200-\277]/, "", line)
        if (length(line) > column_most) breach(FILENAME ":" FNR ": " length(line) " columns, at most " column_most)
    }
    /\t/ { breach(FILENAME ":" FNR ": a tab; indent with spaces") }
    /[ ]$/ { breach(FILENAME ":" FNR ": white space at the end") }
    # Types and tables open alike, but they are not functions: struct, enum, union and anything with "=".
    !opened && (/^\{/ || (/^[A-Za-z_].*\{$/ && !/=/ && !/^(static )?(const )?(struct|enum|union)( [a-z_]+)? \{$/)) {
        opened = FNR
    }
    opened && /^\}/ {
        if (FNR - opened + 1 > function_most)
            breach(FILENAME ":" opened ": a function of " FNR - opened + 1 " lines, at most " function_most)
        opened = 0
    }
    END { end_file(); print "sizes: " breaches + 0 " breaches"; exit breaches > 0 }' $files
status=$?
lines=$(wc -l <Makefile)
((lines <= 120)) || { echo "Makefile: $lines lines, at most 120"; status=1; }
exit $status
