/* Studies with candidates that are grown in behind masks: they end after the ramp, the same whatever runs them, leave
 * ordinary models behind, and `lag grow` says why it can not make such a file. */
#include "tests/server/kill_parts.h"

#include <string.h>

#include <cJSON.h>

#include "base/memory.h"
#include "model/checkpoint.h"
#include "tests/support/lag_run.h"

static const struct tiny_study masked_study = {
    .candidates = "[{\"name\": \"masked\", \"operators\": [{\"op\": \"msg_depth\", \"layers\": 4, \"ramp_steps\": 55}]},"
                  " {\"name\": \"faster\", \"operators\": [{\"op\": \"msg_depth\", \"layers\": 4, \"ramp_steps\": 30}]},"
                  " {\"name\": \"wide\", \"operators\": [{\"op\": \"msg_width\", \"width\": 24, \"ff\": 80}]},"
                  " {\"name\": \"stack\", \"operators\": [{\"op\": \"stack\", \"layers\": 4}]}]",
    .more = ", \"keep\": \"all\"",
};

static cJSON *row_of(const cJSON *result, const char *name)
{
    cJSON *row;
    cJSON_ArrayForEach(row, cJSON_GetObjectItem(result, "ranking"))
        if (strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(row, "candidate")), name) == 0)
            return row;
    fail_msg("no candidate %s", name);
    return NULL;
}

static double number_of(const cJSON *row, const char *name)
{
    const cJSON *item = cJSON_GetObjectItem(row, name);
    assert_true(cJSON_IsNumber(item));
    return item->valuedouble;
}

static void a_masked_candidate_starts_as_its_parent_and_ends_behind_its_ramp(void **state)
{
    static const char *const names[] = {"masked", "faster"};
    (void)state;
    char place[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    lag_place_make(place, &masked_study);
    struct lag_run run = {.place = place, .out = "out"};
    char *text = lag_run_result(&run);
    cJSON *result = cJSON_Parse(text);
    const char *status = cJSON_GetStringValue(cJSON_GetObjectItem(result, "status"));
    assert_true(strcmp(status, "settled") == 0 || strcmp(status, "provisional") == 0);
    assert_true(number_of(result, "k") >= 55);
    assert_contains(text, "\"state\": \"succeeded\"");
    for (int i = 0; i < 2; i++) {
        cJSON *row = row_of(result, names[i]);      /* equal bytes as stack, and yet models of their own */
        assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(row, "state")), "completed");
        assert_true(number_of(row, "preservation") == 0);
        assert_true(number_of(row, "loss") < number_of(row, "loss_at_0"));
        assert_true(number_of(row, "loss") != number_of(row_of(result, "stack"), "loss"));
    }
    assert_true(number_of(row_of(result, "masked"), "loss") != number_of(row_of(result, "faster"), "loss"));
    assert_true(number_of(row_of(result, "stack"), "preservation") > 1e-3);
    assert_true(number_of(row_of(result, "wide"), "preservation") < 1e-5);
    assert_true(number_of(row_of(result, "wide"), "loss") < number_of(row_of(result, "wide"), "loss_at_0"));
    assert_null(strstr(text, "same_as"));
    assert_false(file_exists(test_path(path, place, "out/masked/initial/model.safetensors")));
    assert_true(file_exists(test_path(path, place, "out/stack/initial/model.safetensors")));
    size_t length;
    char *report = test_read_file(test_path(path, place, "out/masked/lag_report.json"), &length);
    assert_contains(report, "\"ramp_steps\": 55");
    assert_contains(report, "\"initial\": \"not kept");
    memory_free(report);
    /* what is kept is an ordinary model */
    struct checkpoint loaded;
    struct error error = {0};
    assert_ok(checkpoint_load(&loaded, test_path(path, place, "out/masked"), NULL, &error), &error);
    assert_int_equal(loaded.table.shape.layers, 4);
    checkpoint_fini(&loaded);
    cJSON_Delete(result);
    memory_free(text);
    lag_check_clean(place, NULL);
    test_directory_remove(place);
}

static void workers_memory_and_kills_change_nothing(void **state)
{
    static const char *const kills[] = {"point_after_commit:6", "slice_done:30", "files_before_rename:2"};
    (void)state;
    char place[FILE_PATH_BYTES], first[FILE_PATH_BYTES], other[FILE_PATH_BYTES];
    lag_place_make(place, &masked_study);
    struct lag_run run = {.place = place, .store = "s1", .out = "o1", .flags = {"--workers", "1"}};
    char *one = lag_run_result(&run);
    static const char *const others[][5] = {
        {"s2", "o2", "2", NULL, NULL}, {"s4", "o4", "4", NULL, NULL}, {"tight", "o5", "1", "--memory", "1700K"},
    };
    for (int i = 0; i < 3; i++) {
        run = (struct lag_run){.place = place, .store = others[i][0], .out = others[i][1],
                               .flags = {"--workers", others[i][2], others[i][3], others[i][4]}};
        char *more = lag_run_result(&run);
        assert_identical(one, more);
        assert_same_files(test_path(first, place, "o1"), test_path(other, place, others[i][1]));
        memory_free(more);
    }
    for (int i = 0; i < 3; i++) {
        char store[16];
        snprintf(store, sizeof store, "killed%d", i);
        run = (struct lag_run){.place = place, .store = store};
        assert_true(run_killed(&run, kills[i]));
        char *resumed = lag_run_result(&run);
        assert_identical(one, resumed);
        memory_free(resumed);
    }
    memory_free(one);
    test_directory_remove(place);
}

static void grow_refuses_and_says_why(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES], base[FILE_PATH_BYTES], out[FILE_PATH_BYTES];
    struct process process;
    lag_place_make(place, &masked_study);
    test_path(base, place, "base");
    test_path(out, place, "grown");
    process_run(&process, (const char *const[]){process_lag(), "grow", "--checkpoint", base, "--operators",
                                                "[{\"op\": \"msg_depth\", \"layers\": 4}]", "--out", out, NULL}, NULL);
    assert_exit(&process, 2);
    assert_contains(process.text[PROCESS_ERR], "no standard file");
    assert_contains(process.text[PROCESS_ERR], "lag run");
    assert_false(file_exists(out));
    process_free(&process);
    test_directory_remove(place);
}

TEST_MAIN(cmocka_unit_test(a_masked_candidate_starts_as_its_parent_and_ends_behind_its_ramp),
          cmocka_unit_test(workers_memory_and_kills_change_nothing),
          cmocka_unit_test(grow_refuses_and_says_why))
