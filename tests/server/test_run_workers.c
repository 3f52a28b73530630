/* The same study gives the identical result and the same bytes in every file, whatever ran it: one, two or four workers,
 * little memory (trials parked on disk), another store; in float32 and with bfloat16 products. */
#include "tests/support/support.h"

#include <string.h>

#include "base/memory.h"
#include "tests/support/lag_run.h"

static void two_and_four_workers_give_the_files_of_one(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES], first[FILE_PATH_BYTES], other[FILE_PATH_BYTES];
    struct tiny_study study = {.more = ", \"keep\": \"all\""};
    lag_place_make(place, &study);
    struct lag_run run = {.place = place, .store = "s1", .out = "o1", .flags = {"--workers", "1"}};
    char *one = lag_run_result(&run);
    static const char *const others[][3] = {{"s2", "o2", "2"}, {"s4", "o4", "4"}};
    for (int i = 0; i < 2; i++) {
        run = (struct lag_run){.place = place, .store = others[i][0], .out = others[i][1],
                               .flags = {"--workers", others[i][2]}};
        char *more = lag_run_result(&run);
        assert_identical(one, more);
        assert_same_files(test_path(first, place, "o1"), test_path(other, place, others[i][1]));
        memory_free(more);
    }
    assert_contains(one, "\"state\": \"succeeded\"");
    memory_free(one);
    test_directory_remove(place);
}

static void bf16_study_is_the_same_by_any_workers_and_after_a_kill(void **state)
{
    (void)state;
    static const char in_bf16[] = "{\"batch\": 4, \"context\": 16, \"steps\": 1000, \"schedule\": {\"name\": \"constant\", "
                                  "\"warmup_steps\": 5}, \"compute\": \"bf16\"}";
    char place[FILE_PATH_BYTES], first[FILE_PATH_BYTES], other[FILE_PATH_BYTES];
    struct tiny_study study = {.training = in_bf16, .more = ", \"keep\": \"all\""};
    struct process process;
    lag_place_make(place, &study);
    struct lag_run run = {.place = place, .store = "s1", .out = "o1", .flags = {"--workers", "1"}};
    char *one = lag_run_result(&run);
    run = (struct lag_run){.place = place, .store = "s2", .flags = {"--workers", "2"},
                           .environment = {"LAG_KILL=slice_done:9"}};
    lag_run(&process, &run);
    assert_int_equal(process.signal, 9);
    process_free(&process);
    run = (struct lag_run){.place = place, .store = "s2", .out = "o2", .flags = {"--workers", "2"}};
    char *two = lag_run_result(&run);
    assert_contains(one, "\"state\": \"succeeded\"");
    assert_contains(one, "\"compute\": \"bf16\"");
    assert_identical(one, two);
    assert_same_files(test_path(first, place, "o1"), test_path(other, place, "o2"));
    memory_free(one);
    memory_free(two);
    test_directory_remove(place);
}

/* How often trials were parked: the kill strikes at the n-th time, so a run that survives n parks fewer. */
static void little_memory_parks_trials_and_changes_nothing(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES], first[FILE_PATH_BYTES], other[FILE_PATH_BYTES];
    struct tiny_study study = {0};
    struct process process;
    char text[32];
    const char *memory = tiny_memory_text(text, 1, 1700 << 10);
    lag_place_make(place, &study);
    struct lag_run run = {.place = place, .store = "s1", .out = "o1", .flags = {"--workers", "2"}};
    char *plain = lag_run_result(&run);
    run = (struct lag_run){.place = place, .store = "tight", .out = "o2", .flags = {"--workers", "1", "--memory", memory}};
    char *tight = lag_run_result(&run);
    assert_identical(plain, tight);
    assert_same_files(test_path(first, place, "o1"), test_path(other, place, "o2"));
    run = (struct lag_run){.place = place, .store = "parks", .flags = {"--workers", "1", "--memory", memory},
                           .environment = {"LAG_KILL=park:4"}};
    lag_run(&process, &run);
    assert_int_equal(process.signal, 9);
    process_free(&process);
    memory_free(plain);
    memory_free(tight);
    test_directory_remove(place);
}

static void finished_study_is_shown_again_without_work(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES], first[FILE_PATH_BYTES], other[FILE_PATH_BYTES];
    struct tiny_study study = {.selection = "{\"k\": 20, \"valid_tokens\": 500}"};
    lag_place_make(place, &study);
    struct lag_run run = {.place = place, .out = "o1"};
    char *once = lag_run_result(&run);
    run = (struct lag_run){.place = place, .out = "o2", .environment = {"LAG_KILL=slice_done:1"}};
    char *again = lag_run_result(&run);
    assert_string_equal(once, again);
    assert_same_files(test_path(first, place, "o1"), test_path(other, place, "o2"));
    lag_check_clean(place, NULL);
    memory_free(once);
    memory_free(again);
    test_directory_remove(place);
}

TEST_MAIN(cmocka_unit_test(two_and_four_workers_give_the_files_of_one),
          cmocka_unit_test(bf16_study_is_the_same_by_any_workers_and_after_a_kill),
          cmocka_unit_test(little_memory_parks_trials_and_changes_nothing),
          cmocka_unit_test(finished_study_is_shown_again_without_work))
