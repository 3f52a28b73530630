/* A study with a landscape: measured at the start, at the multiples of `every` and at the end, of every candidate, also behind
 * masks and with schedule-free optimizers; the same bits by any workers and after kills. */
#include "tests/server/kill_parts.h"
#include "tests/support/service_world.h"

#include <math.h>
#include <stdlib.h>

static const char all_of_it[] =
    ", \"keep\": \"winner\", \"landscape\": {\"every\": 30, \"what\": [\"hessian\", \"preconditioned\", \"trace\", \"ntk\"]}";
static const char small_batch[] = "{\"batch\": 2, \"context\": 16, \"steps\": 1000, \"schedule\": {\"name\": \"constant\", "
                                  "\"warmup_steps\": 5}}";
static const char masked[] =
    "[{\"name\": \"stack\", \"operators\": [{\"op\": \"stack\", \"layers\": 4}]},"
    " {\"name\": \"masked\", \"operators\": [{\"op\": \"msg_depth\", \"layers\": 4, \"ramp_steps\": 30}]},"
    " {\"name\": \"again\", \"operators\": [{\"op\": \"stack\", \"layers\": 4}]}]";

static char *file_of(const char *place, const char *out, const char *name)
{
    char directory[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    struct error error = {0};
    char *text = NULL;
    size_t length;
    test_path(path, test_path(directory, place, out), name);
    assert_ok(file_read(path, 1 << 24, &text, &length, &error), &error);
    return text;
}

/* Number `column` of a CSV line; NaN where it is empty. */
static double csv_field(const char *line, int column)
{
    for (; column > 0; column--)
        line = strchr(line, ',') + 1;
    return *line == ',' || *line == '\n' ? (double)NAN : strtod(line, NULL);
}

static void check_curves(char *csv)
{
    static const char header[] = "candidate,seed,step,tokens,flops,loss,standard_error,raw_loss,learning_rate,hessian_1,"
                                 "preconditioned,trace,trace_error,ntk,stability_ratio\n";
    int measured = 0, rows = 0;
    assert_true(strncmp(csv, header, strlen(header)) == 0);
    for (char *line = strchr(csv, '\n') + 1; *line; line = strchr(line, '\n') + 1) {
        const double step = csv_field(line, 2);
        const bool wanted = step == 0 || step == 30 || step == 60 || step == 62;
        rows++;
        measured += wanted;
        for (int column = 9; column < 15; column++)
            assert_true(isfinite(csv_field(line, column)) == wanted);
        if (!wanted)
            continue;
        assert_true(csv_field(line, 10) > 0 && csv_field(line, 12) > 0 && csv_field(line, 13) > 0);
        if (step > 0)      /* 38: beta1 0.9 */
            assert_true(fabs(csv_field(line, 14) - csv_field(line, 8) * csv_field(line, 10) / 38) < 1e-6 * csv_field(line, 14));
    }
    assert_true(rows > measured && measured >= 2 * 2);
}

static void any_workers_and_kills_give_the_same_landscape(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES], first[FILE_PATH_BYTES], other[FILE_PATH_BYTES];
    const struct tiny_study study = {.candidates = masked, .training = small_batch, .more = all_of_it};
    static const char *const kills[] = {"landscape_step:90", "point_before_commit:2"};
    lag_place_make(place, &study);
    const struct lag_run reference = {.place = place, .store = "s1", .out = "o1", .flags = {"--workers", "1"}};
    char *one = lag_run_result(&reference);
    char *csv = file_of(place, "o1", "curves.csv"), *json = file_of(place, "o1", "curves.json");
    check_curves(csv);
    assert_contains(json, "\"landscape\": {\"hessian\": [");
    assert_contains(one, "\"landscape\": {\"every\": 30, \"top\": 1, "
                         "\"what\": [\"hessian\", \"preconditioned\", \"trace\", \"ntk\"]}");
    assert_null(strstr(one, "\"stability_ratio\": null"));      /* of the copy, too */
    for (int workers = 2; workers <= 3; workers++) {
        char store[8], out[8], number[8];
        snprintf(store, sizeof store, "s%d", workers);
        snprintf(out, sizeof out, "o%d", workers);
        snprintf(number, sizeof number, "%d", workers);
        char *more = lag_run_result(&(struct lag_run){.place = place, .store = store, .out = out, .flags = {"--workers", number}});
        assert_identical(one, more);
        assert_same_files(test_path(first, place, "o1"), test_path(other, place, out));
        memory_free(more);
    }
    for (size_t i = 0; i < sizeof kills / sizeof *kills; i++) {
        char store[16], out[16];
        snprintf(store, sizeof store, "kill%zu", i);
        snprintf(out, sizeof out, "killed%zu", i);
        struct lag_run run = {.place = place, .store = store, .flags = {"--workers", "2"}};
        print_message("  %s\n", kills[i]);
        assert_true(run_killed(&run, kills[i]));
        lag_check_clean(place, store);
        run.out = out;
        char *again = lag_run_result(&run);
        assert_identical(one, again);
        assert_same_files(test_path(first, place, "o1"), test_path(other, place, out));
        lag_check_clean(place, store);
        memory_free(again);
    }
    memory_free(csv);
    memory_free(json);
    memory_free(one);
    test_directory_remove(place);
}

static void a_rate_above_the_edge_is_warned_of_with_the_rate_that_is_safe(void **state)
{
    (void)state;
    static const char training[] = "{\"batch\": 4, \"context\": 16, \"steps\": 1000, \"learning_rate\": 0.02, "
                                   "\"schedule\": {\"name\": \"constant\", \"warmup_steps\": 5}}";
    char place[FILE_PATH_BYTES];
    const struct tiny_study study = {.training = training, .more = ", \"landscape\": {\"what\": [\"preconditioned\"]}"};
    struct process process;
    lag_place_make(place, &study);
    lag_run(&process, &(struct lag_run){.place = place, .store = "s"});
    assert_exit(&process, 0);
    const char *result = process.text[PROCESS_OUT];
    assert_contains(result, "starts above the edge of stability: its stability ratio at step 0 is");
    assert_contains(result, "would be safe there without a warm-up");
    assert_contains(result, "v is taken as g^2 of one batch, near 0 in places");
    process_free(&process);
    test_directory_remove(place);
}

/* The optimizer sgd has no v: nothing is guessed there. */
static void the_warning_at_the_start_says_so_only_where_moments_are_guessed(void **state)
{
    (void)state;
    static const char training[] = "{\"batch\": 4, \"context\": 16, \"steps\": 1000, \"learning_rate\": 1, "
                                   "\"optimizer\": {\"name\": \"sgd\", \"momentum\": 0}, \"schedule\": {\"name\": \"constant\", "
                                   "\"warmup_steps\": 30}}";
    char place[FILE_PATH_BYTES];
    const struct tiny_study study = {.training = training, .more = ", \"landscape\": {\"what\": [\"preconditioned\"]}"};
    struct process process;
    lag_place_make(place, &study);
    lag_run(&process, &(struct lag_run){.place = place, .store = "s"});
    assert_exit(&process, 0);
    assert_contains(process.text[PROCESS_OUT], "so that a spike is likely");
    assert_null(strstr(process.text[PROCESS_OUT], "v is taken as"));
    process_free(&process);
    test_directory_remove(place);
}

static void an_evaluation_with_a_measurement_is_observed_once(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES];
    const struct tiny_study study = {.more = ", \"landscape\": {\"every\": 10, \"what\": [\"hessian\"]}"};
    struct service_world world;
    struct answer answer = {0};
    struct error error = {0};
    lag_place_make(place, &study);
    assert_ok(world_open(&world, place, &(struct world_options){.workers = 2}, &error), &error);
    world_start(&world);
    world_submit_file(&world, "study.json", NULL, &answer);
    assert_ok((int)answer.error.code, &answer.error);
    assert_int_equal(world_end(&world, answer.id), STUDY_SUCCEEDED);
    const struct histogram *evaluations = &world.metrics.histograms[METRICS_EVALUATION];
    uint64_t observed = 0;
    for (int i = 0; i <= METRICS_BOUNDS; i++)
        observed += evaluations->counts[i];
    assert_true(observed > 0);
    assert_int_equal(observed, world.service->counts.points);
    world_close(&world);
    test_directory_remove(place);
}

static void schedule_free_studies_have_one_too(void **state)
{
    (void)state;
    static const char training[] = "{\"batch\": 4, \"context\": 16, \"steps\": 1000, \"optimizer\": {\"name\": "
                                   "\"schedule_free_adamw\"}, \"schedule\": {\"name\": \"constant\", \"warmup_steps\": 5}}";
    char place[FILE_PATH_BYTES];
    const struct tiny_study study = {.training = training, .more = ", \"landscape\": {}"};
    lag_place_make(place, &study);
    char *result = lag_run_result(&(struct lag_run){.place = place, .store = "s", .out = "o"});
    assert_contains(result, "\"landscape\": {\"every\": null, \"top\": 1, \"what\": [\"hessian\", \"preconditioned\"]}");
    assert_null(strstr(result, "\"stability_ratio\": null"));
    memory_free(result);
    test_directory_remove(place);
}

static void memory_that_a_measurement_needs_is_counted_at_admission(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES], text[32];
    struct process process;
    const struct tiny_study plain = {.more = ""}, measured = {.more = ", \"landscape\": {\"top\": 16}"};
    const char *memory = tiny_memory_text(text, 1, 1700 << 10);
    lag_place_make(place, &plain);
    memory_free(lag_run_result(&(struct lag_run){.place = place, .store = "s", .flags = {"--workers", "1", "--memory", memory}}));
    test_directory_remove(place);
    lag_place_make(place, &measured);
    lag_run(&process, &(struct lag_run){.place = place, .store = "s", .flags = {"--workers", "1", "--memory", memory}});
    assert_exit(&process, 2);
    assert_contains(process.text[PROCESS_ERR], "training needs");
    process_free(&process);
    test_directory_remove(place);
}

TEST_MAIN(cmocka_unit_test(any_workers_and_kills_give_the_same_landscape),
          cmocka_unit_test(a_rate_above_the_edge_is_warned_of_with_the_rate_that_is_safe),
          cmocka_unit_test(the_warning_at_the_start_says_so_only_where_moments_are_guessed),
          cmocka_unit_test(an_evaluation_with_a_measurement_is_observed_once),
          cmocka_unit_test(schedule_free_studies_have_one_too),
          cmocka_unit_test(memory_that_a_measurement_needs_is_counted_at_admission))
