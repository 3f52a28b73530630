/* kill -9 at every named point, and at points drawn from a seed: the same command once more gives the identical result and
 * the same files, and the store is sound. */
#include "tests/server/kill_parts.h"

struct reference { char place[FILE_PATH_BYTES]; char *result; };

static int reference_make(void **state)
{
    struct reference *reference = memory_new(sizeof *reference);
    struct tiny_study study = {0};
    lag_place_make(reference->place, &study);
    reference->result = lag_run_result(&(struct lag_run){.place = reference->place, .store = "reference", .out = "out"});
    *state = reference;
    return 0;
}

static int reference_remove(void **state)
{
    struct reference *reference = *state;
    test_directory_remove(reference->place);
    memory_free(reference->result);
    memory_free(reference);
    return 0;
}

/* The restart, and everything it has to leave. */
static void finish_and_compare(const struct reference *reference, struct lag_run run, const char *out)
{
    char first[FILE_PATH_BYTES], second[FILE_PATH_BYTES];
    run.out = out;
    char *result = lag_run_result(&run);
    assert_identical(reference->result, result);
    assert_same_files(test_path(first, reference->place, "out"), test_path(second, reference->place, out));
    lag_check_clean(reference->place, run.store);
    memory_free(result);
}

static void every_named_point_survives_a_kill(void **state)
{
    const struct reference *reference = *state;
    static const char *const kills[] = {
        "admit_before_commit:1", "admit_after_commit:1", "grow_done:2", "trial_save_begin:3", "trial_save_before_rename:2",
        "trial_save_after_rename:5", "slice_done:30", "evaluate_window:150", "point_before_commit:3", "point_after_commit:6",
        "decide:2", "rank_begin:1", "files_write:2", "files_before_rename:3", "finish_before_commit:1",
        "finish_after_commit:1", "recover:1", "park:3"
    };
    assert_int_equal(sizeof kills / sizeof *kills + 3, FAULT_POINT_COUNT);     /* fit_step: test_ligo, landscape_step:
                                                                                  test_landscape, learners_joined: learners */
    for (size_t i = 0; i < sizeof kills / sizeof *kills; i++) {
        char store[32], out[32], text[32];
        const char *memory = tiny_memory_text(text, 1, 1700 << 10);
        snprintf(store, sizeof store, "store%zu", i);
        snprintf(out, sizeof out, "out%zu", i);
        struct lag_run run = {.place = reference->place, .store = store, .flags = {"--workers", "1", "--memory", memory}};
        print_message("%s\n", kills[i]);
        assert_true(run_killed(&run, kills[i]));
        lag_check_clean(reference->place, store);        /* a kill damages nothing */
        finish_and_compare(reference, run, out);
    }
}

/* Five kills of one study, each at a crossing drawn from the seed, the restarts among them. */
static void five_kills_of_one_study_change_nothing(void **state)
{
    const struct reference *reference = *state;
    struct rng rng = rng_stream(20261122, 0, RNG_PROBE);
    struct lag_run run = {.place = reference->place, .store = "five", .flags = {"--workers", "2"}};
    for (int i = 0; i < 5; i++) {
        char kill[32], stored[32];
        snprintf(kill, sizeof kill, "any:%d", 5 + (int)rng_below(&rng, 60));
        assert_true(run_killed(&run, kill));
        stored_state(reference->place, "five", stored);
        print_message("%s: %s\n", kill, stored);
    }
    finish_and_compare(reference, run, "five-out");
}

static void kill_while_recovering_changes_nothing(void **state)
{
    const struct reference *reference = *state;
    struct lag_run run = {.place = reference->place, .store = "again"};
    assert_true(run_killed(&run, "point_after_commit:2"));
    assert_true(run_killed(&run, "recover:1"));
    assert_true(run_killed(&run, "trial_save_begin:1"));
    assert_true(run_killed(&run, "finish_after_commit:1"));
    finish_and_compare(reference, run, "again-out");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_named_point_survives_a_kill),
        cmocka_unit_test(five_kills_of_one_study_change_nothing),
        cmocka_unit_test(kill_while_recovering_changes_nothing),
    };
    return cmocka_run_group_tests(tests, reference_make, reference_remove);
}
