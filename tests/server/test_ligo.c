/* Operators that learn from data, at work: a study with ligo gives the same bytes for any number of workers and after kills
 * in the middle of a fit, counts what fitting costs, can be cancelled; `lag grow --data`. */
#include "tests/server/control_parts.h"
#include "tests/server/kill_parts.h"

#include <cJSON.h>

#include "model/checkpoint.h"

static const struct tiny_study ligo_study = {
    .candidates = "[{\"name\": \"learned\", \"operators\": [{\"op\": \"ligo\", \"layers\": 4, \"width\": 24, \"steps\": 8}]},"
                  " {\"name\": \"then\", \"operators\": [{\"op\": \"identity\", \"layers\": 3},"
                  " {\"op\": \"ligo\", \"layers\": 4, \"steps\": 5}]},"
                  " {\"name\": \"stack\", \"operators\": [{\"op\": \"stack\", \"layers\": 4}]}]",
    .selection = "{\"k\": 20, \"valid_tokens\": 400}", .more = ", \"keep\": \"all\"",
};

struct reference { char place[FILE_PATH_BYTES]; char *result; };

static int reference_make(void **state)
{
    struct reference *reference = memory_new(sizeof *reference);
    lag_place_make(reference->place, &ligo_study);
    reference->result = lag_run_result(&(struct lag_run){.place = reference->place, .store = "reference", .out = "out",
                                                         .flags = {"--workers", "1"}});
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

static double number_of(const cJSON *result, const char *candidate, const char *member)
{
    const cJSON *row;
    cJSON_ArrayForEach(row, cJSON_GetObjectItem(result, "ranking"))
        if (strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(row, "candidate")), candidate) == 0)
            return cJSON_GetObjectItem(row, member)->valuedouble;
    fail_msg("no candidate %s", candidate);
    return 0;
}

/* 20 steps of training, and those of the fit on top: a step of the fit is one of training and a little more. */
static void fitting_is_counted_and_the_model_trains(void **state)
{
    const struct reference *reference = *state;
    cJSON *result = cJSON_Parse(reference->result);
    static const struct { const char *name; double steps; } CASES[] = {{"learned", 8}, {"then", 5}, {"stack", 0}};
    const double tokens = 4 * 16;
    for (int i = 0; i < 3; i++) {
        const char *name = CASES[i].name;
        double step = tokens * number_of(result, name, "flops_per_token");
        double fitted = number_of(result, name, "flops_spent") - 20 * step;
        assert_true(fitted >= CASES[i].steps * step * (1 - 1e-12) && fitted <= 2 * CASES[i].steps * step);
        assert_true(CASES[i].steps == 0 || fitted > CASES[i].steps * step);
        assert_true(number_of(result, name, "loss") < number_of(result, name, "loss_at_0"));
    }
    cJSON_Delete(result);
}

static void two_and_four_workers_give_the_files_of_one(void **state)
{
    const struct reference *reference = *state;
    static const char *const counts[] = {"2", "4"};
    for (int i = 0; i < 2; i++) {
        char store[16], out[16], first[FILE_PATH_BYTES], second[FILE_PATH_BYTES];
        snprintf(store, sizeof store, "w%s", counts[i]);
        snprintf(out, sizeof out, "ow%s", counts[i]);
        struct lag_run run = {.place = reference->place, .store = store, .out = out, .flags = {"--workers", counts[i]}};
        char *result = lag_run_result(&run);
        assert_identical(reference->result, result);
        assert_same_files(test_path(first, reference->place, "out"), test_path(second, reference->place, out));
        memory_free(result);
    }
}

/* In the first fit, in the second, between them, and while the finished study's files are written, which fits again. */
static void kills_while_fitting_change_nothing(void **state)
{
    const struct reference *reference = *state;
    static const char *const kills[] = {"fit_step:1", "fit_step:6", "grow_done:1", "fit_step:11", "fit_step:16",
                                        "files_before_rename:1"};
    for (size_t i = 0; i < sizeof kills / sizeof kills[0]; i++) {
        char store[16], out[16], first[FILE_PATH_BYTES], second[FILE_PATH_BYTES];
        snprintf(store, sizeof store, "k%zu", i);
        snprintf(out, sizeof out, "ok%zu", i);
        struct lag_run run = {.place = reference->place, .store = store, .flags = {"--workers", "1"}};
        assert_true(run_killed(&run, kills[i]));
        lag_check_clean(reference->place, store);
        run.out = out;
        char *resumed = lag_run_result(&run);
        assert_identical(reference->result, resumed);
        assert_same_files(test_path(first, reference->place, "out"), test_path(second, reference->place, out));
        memory_free(resumed);
    }
}

static void until_growing(struct service_world *world, const char *id)
{
    for (;;) {
        const struct run *run = service_run_find(world->service, id);
        if (run != NULL && run->seats != NULL && run->seats[0].state == SEAT_GROWING)
            return;
        world_turn(world);
    }
}

/* A fit that would take hours: cancelled under way, and resumed, and cancelled again by the server's end. */
static void cancelling_ends_a_fit(void **state)
{
    (void)state;
    struct tiny_study study = ligo_study;
    struct service_world world;
    struct answer answer, done;
    char place[FILE_PATH_BYTES];
    study.candidates = "[{\"name\": \"long\", \"operators\": [{\"op\": \"ligo\", \"layers\": 64, \"steps\": 100000}]}]";
    lag_place_make(place, &study);
    open_world(&world, place, &(struct world_options){0});
    submit(&world, "study.json", NULL, &answer);
    until_growing(&world, answer.id);
    done = control(&world, service_cancel, answer.id);
    assert_ok((int)done.error.code, &done.error);
    assert_int_equal(world_end(&world, answer.id), STUDY_CANCELLED);
    done = control(&world, service_resume, answer.id);
    assert_ok((int)done.error.code, &done.error);
    until_growing(&world, answer.id);
    world_close(&world);
    lag_check_clean(place, NULL);
    test_directory_remove(place);
}

static void grow_in(struct process *process, const char *place, const char *operators, const char *out,
                    const char *const *more)
{
    char base[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    const char *words[16] = {process_lag(), "grow", "--checkpoint", test_path(base, place, "base"), "--operators", operators,
                             "--out", test_path(path, place, out)};
    for (int i = 0; more[i] != NULL; i++)
        words[8 + i] = more[i];
    process_run(process, words, NULL);
}

static void load_grown(const char *place, const char *name, struct checkpoint *checkpoint)
{
    char path[FILE_PATH_BYTES];
    struct error error = {0};
    const struct checkpoint_load load = {.moments = true};
    assert_ok(checkpoint_load(checkpoint, test_path(path, place, name), &load, &error), &error);
}

static void grow_fits_on_data(void **state)
{
    const char *place = ((const struct reference *)*state)->place;
    static const char list[] = "[{\"op\": \"ligo\", \"layers\": 3, \"width\": 24, \"steps\": 3}]";
    char train[FILE_PATH_BYTES], data[FILE_PATH_BYTES];
    struct process process;
    struct checkpoint a, b;
    static const char text[] = "{\"train\": \"train.txt\"}";
    test_path(train, place, "train.txt");
    test_write_file(test_path(data, place, "data.json"), text, strlen(text));
    grow_in(&process, place, list, "ga", (const char *[]){"--data", train, "--check", NULL});
    assert_exit(&process, 0);
    assert_contains(process.text[PROCESS_OUT], "promise nothing");
    process_free(&process);
    grow_in(&process, place, list, "gb", (const char *[]){"--data", data, "--moments", "carry", NULL});
    assert_exit(&process, 0);
    process_free(&process);
    load_grown(place, "ga", &a);
    load_grown(place, "gb", &b);
    assert_int_equal(a.table.shape.layers, 3);
    assert_int_equal(a.table.shape.width, 24);
    assert_string_equal(a.hash, b.hash);
    checkpoint_fini(&a);
    checkpoint_fini(&b);
}

/* With the study's training object `lag grow` writes the bytes that the study's candidate began with. */
static void grow_fits_with_a_studys_training(void **state)
{
    const struct reference *reference = *state;
    char training[FILE_PATH_BYTES], train[FILE_PATH_BYTES], first[FILE_PATH_BYTES];
    size_t lengths[2];
    struct process process;
    static const char list[] = "[{\"op\": \"ligo\", \"layers\": 4, \"width\": 24, \"steps\": 8}]";
    cJSON *result = cJSON_Parse(reference->result);
    char *text = cJSON_PrintUnformatted(cJSON_GetObjectItem(cJSON_GetObjectItem(result, "request"), "training"));
    test_write_file(test_path(training, reference->place, "training.json"), text, strlen(text));
    test_path(train, reference->place, "train.txt");
    grow_in(&process, reference->place, list, "gc", (const char *[]){"--data", train, "--training", training, NULL});
    assert_exit(&process, 0);
    process_free(&process);
    char *begun = test_read_file(test_path(first, reference->place, "out/learned/initial/model.safetensors"), &lengths[0]);
    char *grown = test_read_file(test_path(first, reference->place, "gc/model.safetensors"), &lengths[1]);
    assert_true(lengths[0] > 1000 && lengths[0] == lengths[1]);
    assert_memory_equal(begun, grown, lengths[0]);
    memory_free(begun);
    memory_free(grown);
    cJSON_free(text);
    cJSON_Delete(result);
}

static void grow_says_what_data_is_for(void **state)
{
    const char *place = ((const struct reference *)*state)->place;
    char train[FILE_PATH_BYTES];
    struct process process;
    test_path(train, place, "train.txt");
    grow_in(&process, place, "[{\"op\": \"stack\", \"layers\": 3}, {\"op\": \"ligo\", \"layers\": 4}]", "none",
            (const char *[]){NULL});
    assert_exit(&process, 2);
    assert_contains(process.text[PROCESS_ERR], "operator 1 (ligo) learns from data: give --data");
    process_free(&process);
    grow_in(&process, place, "[{\"op\": \"stack\", \"layers\": 3}]", "none", (const char *[]){"--data", train, NULL});
    assert_exit(&process, 2);
    assert_contains(process.text[PROCESS_ERR], "--data is for operators that learn");
    process_free(&process);
    grow_in(&process, place, "[{\"op\": \"stack\", \"layers\": 3}]", "none", (const char *[]){"--training", "x", NULL});
    assert_exit(&process, 2);
    assert_contains(process.text[PROCESS_ERR], "--training is for operators that learn");
    process_free(&process);
    grow_in(&process, place, "[{\"op\": \"ligo\", \"layers\": 4}]", "none", (const char *[]){"--data", "/nowhere", NULL});
    assert_exit(&process, 2);
    process_free(&process);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fitting_is_counted_and_the_model_trains),
        cmocka_unit_test(two_and_four_workers_give_the_files_of_one),
        cmocka_unit_test(kills_while_fitting_change_nothing),
        cmocka_unit_test(cancelling_ends_a_fit),
        cmocka_unit_test(grow_fits_on_data),
        cmocka_unit_test(grow_fits_with_a_studys_training),
        cmocka_unit_test(grow_says_what_data_is_for),
    };
    return cmocka_run_group_tests(tests, reference_make, reference_remove);
}
