/* `lag run` on a tiny study: places, flags, outputs. A place is a directory with base/, train.txt, study.json. */
#ifndef TESTS_SUPPORT_LAG_RUN_H
#define TESTS_SUPPORT_LAG_RUN_H

#include "base/file.h"
#include "tests/support/process.h"
#include "tests/support/tiny_study.h"

enum { RUN_FLAGS_MAX = 8 };

struct lag_run {
    const char *place;                     /* with study.json */
    const char *store, *out;               /* names below the place; NULL: "store", none */
    const char *study;                     /* NULL: "study.json" */
    const char *flags[RUN_FLAGS_MAX];      /* further ones, NULL-terminated */
    const char *environment[4];            /* NULL-terminated */
};

/* lag run PLACE/study.json --store PLACE/store [--out PLACE/out] --json … */
void lag_run_start(struct process *process, const struct lag_run *run);
void lag_run(struct process *process, const struct lag_run *run);
/* Runs to the end with exit code 0 and returns the result's text (memory_free). */
char *lag_run_result(const struct lag_run *run);
/* `lag check` on the store says that all is well. */
void lag_check_clean(const char *place, const char *store);
/* A place of its own, with the study written; test_directory_remove takes it away. */
void lag_place_make(char place[FILE_PATH_BYTES], const struct tiny_study *study);

#endif
