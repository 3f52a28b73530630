#include "tests/support/lag_run.h"

#include <string.h>

#include "base/memory.h"
#include "tests/support/support.h"

void lag_place_make(char place[FILE_PATH_BYTES], const struct tiny_study *study)
{
    test_directory_make(place);
    tiny_study_write(place, study);
}

void lag_run_start(struct process *process, const struct lag_run *run)
{
    char study[FILE_PATH_BYTES], store[FILE_PATH_BYTES], out[FILE_PATH_BYTES];
    const char *arguments[8 + RUN_FLAGS_MAX + 1] = {process_lag(), "run"};
    int count = 2;
    arguments[count++] = test_path(study, run->place, run->study ? run->study : "study.json");
    arguments[count++] = "--store";
    arguments[count++] = test_path(store, run->place, run->store ? run->store : "store");
    arguments[count++] = "--json";
    if (run->out) {
        arguments[count++] = "--out";
        arguments[count++] = test_path(out, run->place, run->out);
    }
    for (int i = 0; i < RUN_FLAGS_MAX && run->flags[i]; i++)
        arguments[count++] = run->flags[i];
    process_start(process, arguments, run->environment);
}

void lag_run(struct process *process, const struct lag_run *run)
{
    lag_run_start(process, run);
    process_wait(process);
}

char *lag_run_result(const struct lag_run *run)
{
    struct process process;
    lag_run(&process, run);
    assert_exit(&process, 0);
    char *text = memory_string(process.text[PROCESS_OUT]);
    assert_non_null(text);
    process_free(&process);
    return text;
}

void lag_check_clean(const char *place, const char *store)
{
    char path[FILE_PATH_BYTES];
    const char *arguments[] = {process_lag(), "check", test_path(path, place, store ? store : "store"), NULL};
    struct process process;
    process_run(&process, arguments, NULL);
    assert_exit(&process, 0);
    assert_contains(process.text[PROCESS_OUT], " 0 found wrong");
    process_free(&process);
}
