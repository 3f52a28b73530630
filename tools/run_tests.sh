#!/bin/bash
# run_tests.sh LOGS PROGRAM...: runs each program, two at a time (JOBS), keeps its output in LOGS/<name>.log, prints one
# line per program and closes with "N passed, N failed". A cmocka program counts its tests; a script counts as one. A
# program that dies, hangs (LIMIT seconds) or leaks counts as one failure more than its tests say. Non-zero on failure.
set -u

# One program, in a process of its own: prints its line, leaves "<passed> <failed> <skipped>" in <name>.count.
run_one() {
    local program=$1 name log status=0 started passed failed skipped
    name=${program#build/*/}
    name=${name#tests/}
    name=${name//\//_}
    log=$LOGS/$name.log
    started=$SECONDS
    if [[ $program == *.sh ]]; then
        timeout --kill-after=10 "$LIMIT" bash "$program" >"$log" 2>&1 </dev/null || status=$?
        passed=$((status == 0)) failed=$((status != 0)) skipped=0
    else
        timeout --kill-after=10 "$LIMIT" $WRAP "./$program" >"$log" 2>&1 </dev/null || status=$?
        # cmocka's closing lines, one set per group.
        read -r passed failed skipped < <(awk '
            /^\[  PASSED  \] [0-9]+ test\(s\)/ { passed += $4 }
            /^\[  FAILED  \] [0-9]+ test\(s\)/ { failed += $4 }
            /^\[  SKIPPED \] [0-9]+ test\(s\)/ { skipped += $4 }
            END { print passed + 0, failed + 0, skipped + 0 }' "$log")
        # Dead before the end, or unhappy after it (a leak): cmocka has not counted that.
        if ((status != 0 && status != failed)) || ((passed + failed + skipped == 0)); then
            failed=$((failed + 1))
        fi
    fi
    echo "$passed $failed $skipped" >"$LOGS/$name.count"
    report "$name" "$log" "$status" "$passed" "$failed" "$skipped" $((SECONDS - started))
}

report() {
    local name=$1 log=$2 status=$3 passed=$4 failed=$5 skipped=$6 seconds=$7 word=ok note=""
    ((failed == 0)) || word=FAIL
    ((skipped == 0)) || note=", $skipped skipped"
    ((status != 124)) || note+=", stopped after $LIMIT s"
    ((status <= 128)) || note+=", ended by signal $((status - 128))"
    printf '%-4s  %-40s %4d passed, %d failed%s  (%d s)\n' "$word" "$name" "$passed" "$failed" "$note" "$seconds"
    ((failed == 0)) || { echo "----- the end of $log"; tail -n 60 "$log"; echo "-----"; }
}

LOGS=$1
shift
LIMIT=${LIMIT:-900}
JOBS=${JOBS:-2}
root=$(pwd)
# ThreadSanitizer needs the classic address layout; where the system lets us have it, take it.
WRAP=""
[[ $LOGS == *tsan* ]] && setarch -R true 2>/dev/null && WRAP="setarch -R"
export LSAN_OPTIONS="suppressions=$root/tests/support/lsan.supp:print_suppressions=0"
export TSAN_OPTIONS="suppressions=$root/tests/support/tsan.supp:halt_on_error=0:exitcode=66"
# No detect_stack_use_after_return: its frames are aligned to 32 bytes, and AVX-512 code keeps 64-byte values on the stack.
export ASAN_OPTIONS="detect_leaks=1:allocator_may_return_null=1"
export UBSAN_OPTIONS="print_stacktrace=1"
[[ -n ${LAG_BINARY:-} ]] && export LAG_BINARY="$root/${LAG_BINARY#"$root/"}"
export LOGS LIMIT WRAP
export -f run_one report

rm -rf "$LOGS"
mkdir -p "$LOGS"
printf '%s\0' "$@" | xargs -0 -r -n 1 -P "$JOBS" bash -c 'run_one "$1"' run_one

count() { cat "$LOGS"/*.count 2>/dev/null | awk -v column="$1" '{ sum += $column } END { print sum + 0 }'; }
failed=$(count 2)
# A runner that was itself stopped leaves no count: that is a failure, too.
lost=$(($# - $(find "$LOGS" -name '*.count' | wc -l)))
((lost <= 0)) || { echo "$lost programs left no result"; failed=$((failed + lost)); }
skipped=$(count 3)
((skipped == 0)) || { echo "$skipped skipped:"; grep -h '^\[  SKIPPED \] [a-z]' "$LOGS"/*.log | sort -u; }
echo "$(count 1) passed, $failed failed"
((failed == 0))
