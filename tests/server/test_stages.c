/* A study in stages gives the same bytes for any number of workers, in little memory, and after a kill at every named
 * point in each of its phases; its chains are what `lag grow` and `lag train` give by hand; it is cancelled, resumed,
 * interrupted and deleted as a whole. */
#include "tests/server/control_parts.h"
#include "tests/server/kill_parts.h"

#include <cJSON.h>

#include "model/checkpoint.h"

static const char templates[] = "[{\"name\": \"stack\", \"operators\": [{\"op\": \"stack\"}], \"moments\": \"carry\"},"
                                " {\"name\": \"identity\", \"operators\": [{\"op\": \"identity\"}]}]";
static const char stage_training[] = "{\"batch\": 4, \"context\": 16, \"learning_rate\": 0.01, \"average\": {\"kind\": \"none\"},"
                                     " \"schedule\": {\"name\": \"constant\", \"warmup_steps\": 5}}";
static const struct tiny_study staged_study = {
    .name = "staged", .candidates = templates, .training = stage_training,
    .selection = "{\"max_k\": 51, \"valid_tokens\": 400}",
    .more = ", \"stages\": [{\"layers\": 3, \"steps\": 56}, {\"layers\": 4, \"steps\": 70}], \"baselines\": [\"gradual_last\", "
            "\"middle\"], \"keep\": \"all\"",
};

struct reference { char place[FILE_PATH_BYTES]; char *result; };

static int reference_make(void **state)
{
    struct reference *reference = memory_new(sizeof *reference);
    lag_place_make(reference->place, &staged_study);
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

static void assert_comes_out_alike(const struct reference *reference, struct lag_run run, const char *out)
{
    char first[FILE_PATH_BYTES], second[FILE_PATH_BYTES];
    run.out = out;
    char *result = lag_run_result(&run);
    assert_identical(reference->result, result);
    assert_same_files(test_path(first, reference->place, "out"), test_path(second, reference->place, out));
    lag_check_clean(reference->place, run.store);
    memory_free(result);
}

/* ---- the answer */

static const cJSON *at(const cJSON *tree, const char *name)
{
    const cJSON *node = cJSON_GetObjectItem(tree, name);
    assert_non_null(node);
    return node;
}

static void the_result_lists_stages_and_the_comparison(void **state)
{
    const struct reference *reference = *state;
    cJSON *result = cJSON_Parse(reference->result);
    const cJSON *stages = at(result, "stages"), *ranking = at(at(result, "comparison"), "ranking"), *stage, *row;
    double search = 0, exhaustive = 0;
    int index = 0;
    cJSON_ArrayForEach(stage, stages) {
        assert_int_equal((int)at(stage, "stage")->valuedouble, ++index);
        assert_int_equal((int)at(stage, "layers")->valuedouble, index + 2);
        assert_int_equal((int)at(stage, "k")->valuedouble, 51);
        assert_string_equal(at(stage, "state")->valuestring, "succeeded");
        assert_int_equal(cJSON_GetArraySize(at(stage, "ranking")), 2);
        assert_non_null(strstr(at(at(stage, "choice"), "files")->valuestring, index == 1 ? "/candidates/stage-1/files/"
                                                                                        : "/candidates/"));
        assert_true(at(stage, "loss")->valuedouble < at(cJSON_GetArrayItem(at(stage, "ranking"), 0), "loss_at_0")->valuedouble);
        search += at(at(stage, "cost"), "search_flops")->valuedouble;
        exhaustive += at(at(stage, "cost"), "exhaustive_flops")->valuedouble;
    }
    assert_int_equal(index, 2);
    const cJSON *last = cJSON_GetArrayItem(stages, 1);
    static const char *const same[] = {"k", "status", "transition", "choice", "ranking", "rank_agreement"};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        assert_true(cJSON_Compare(at(result, same[i]), at(last, same[i]), true));
    assert_true(at(at(result, "cost"), "search_flops")->valuedouble == search);
    assert_true(at(at(result, "cost"), "fraction")->valuedouble == search / exhaustive);
    assert_int_equal((int)at(at(result, "comparison"), "steps")->valuedouble, 126);
    assert_int_equal(cJSON_GetArraySize(ranking), 3);
    cJSON_ArrayForEach(row, ranking) {
        assert_string_equal(at(row, "state")->valuestring, "completed");
        if (strcmp(at(row, "candidate")->valuestring, "adaptive") == 0)
            assert_true(at(row, "loss")->valuedouble == at(last, "loss")->valuedouble);
    }
    assert_int_equal((int)at(at(result, "recipe"), "step")->valuedouble, 70);
    assert_int_equal((int)at(at(result, "recipe"), "data_cursor")->valuedouble, 126);
    cJSON_Delete(result);
}

static void curves_have_stage_and_chain_behind_the_usual_columns(void **state)
{
    const struct reference *reference = *state;
    char path[FILE_PATH_BYTES], out[FILE_PATH_BYTES];
    size_t length;
    char *text = test_read_file(test_path(path, test_path(out, reference->place, "out"), "curves.csv"), &length);
    static const char head[] = "candidate,seed,step,tokens,flops,loss,standard_error,raw_loss,learning_rate,stage,chain\n";
    assert_int_equal(strncmp(text, head, strlen(head)), 0);
    assert_int_equal(count_of(text, "candidate,seed"), 1);
    assert_int_equal(count_of(text, ",51,") - count_of(text, ",51,0"), 2 * 2 + 2 * 2);   /* no point of a choice comes twice */
    assert_int_equal(count_of(text, ",1,adaptive\n") > 0 && count_of(text, ",2,middle\n") > 0, 1);
    memory_free(text);
    text = test_read_file(test_path(path, out, "plot.svg"), &length);
    assert_int_equal(count_of(text, "<svg"), 3);
    assert_int_equal(count_of(text, "</svg>"), 3);
    memory_free(text);
}

static void the_report_has_both_searches_below_the_overview(void **state)
{
    const struct reference *reference = *state;
    char path[FILE_PATH_BYTES], out[FILE_PATH_BYTES];
    size_t length;
    char *text = test_read_file(test_path(path, test_path(out, reference->place, "out"), "report.html"), &length);
    assert_int_equal(count_of(text, "<article id=\"stage-"), 2);
    assert_int_equal(count_of(text, "aria-label=\"Averaged loss\""), 2);
    assert_int_equal(count_of(text, "</html>"), 1);
    assert_int_equal(count_of(text, "Beside the baselines"), 1);
    assert_int_equal(count_of(text, ">adaptive<"), 1);
    memory_free(text);
}

/* ---- identical results */

static void two_and_four_workers_and_little_memory_give_the_files_of_one(void **state)
{
    const struct reference *reference = *state;
    char text[32];
    static const char *const counts[] = {"2", "4"};
    for (int i = 0; i < 2; i++) {
        char store[16], out[16];
        snprintf(store, sizeof store, "w%s", counts[i]);
        snprintf(out, sizeof out, "ow%s", counts[i]);
        assert_comes_out_alike(reference, (struct lag_run){.place = reference->place, .store = store,
                                                           .flags = {"--workers", counts[i]}}, out);
    }
    struct lag_run tight = {.place = reference->place, .store = "tight",
                            .flags = {"--workers", "1", "--memory", tiny_memory_text(text, 1, 1700 << 10)}};
    assert_comes_out_alike(reference, tight, "otight");
}

/* Crossings of a point lie in the first search, in a training, in the second search, and in the end. */
static void a_kill_at_every_named_point_of_every_phase_changes_nothing(void **state)
{
    const struct reference *reference = *state;
    static const char *const kills[] = {
        "admit_before_commit:2", "admit_after_commit:2", "admit_after_commit:3", "admit_before_commit:5", "admit_after_commit:8",
        "grow_done:2", "grow_done:5", "trial_save_begin:2", "trial_save_before_rename:5", "trial_save_after_rename:9",
        "slice_done:30", "slice_done:140", "evaluate_window:600", "point_before_commit:4", "point_after_commit:8", "decide:1",
        "decide:6", "rank_begin:1", "rank_begin:2", "rank_begin:5", "files_write:1", "files_before_rename:3",
        "finish_before_commit:1", "finish_after_commit:1", "finish_before_commit:2", "finish_after_commit:2",
        "finish_after_commit:4", "finish_before_commit:9", "finish_after_commit:9", "recover:4",
    };
    for (size_t i = 0; i < sizeof kills / sizeof kills[0]; i++) {
        char store[16], out[16];
        snprintf(store, sizeof store, "k%zu", i);
        snprintf(out, sizeof out, "ok%zu", i);
        struct lag_run run = {.place = reference->place, .store = store, .flags = {"--workers", "1"}};
        print_message("%s\n", kills[i]);
        assert_true(run_killed(&run, kills[i]));
        lag_check_clean(reference->place, store);
        assert_comes_out_alike(reference, run, out);
    }
}

static void many_kills_of_one_study_change_nothing(void **state)
{
    const struct reference *reference = *state;
    struct lag_run run = {.place = reference->place, .store = "many", .flags = {"--workers", "2"}};
    int killed = 0;
    while (killed < 12 && run_killed(&run, killed % 2 ? "slice_done:25" : "any:110"))
        killed++;
    assert_true(killed > 4);
    assert_comes_out_alike(reference, run, "many-out");
}

static void damage(const char *directory)
{
    struct file_names names;
    struct error error = {0};
    assert_ok(file_list(directory, &names, &error), &error);
    assert_true(names.count > 0);
    for (int i = 0; i < names.count; i++) {
        char path[FILE_PATH_BYTES];
        test_write_file(test_path(path, directory, names.names[i]), "no trial", 8);
    }
    file_names_free(&names);
}

/* The search's state of its choice, which its training has not read yet. */
static void a_damaged_state_that_is_taken_over_is_trained_anew(void **state)
{
    const struct reference *reference = *state;
    char studies[FILE_PATH_BYTES], store[FILE_PATH_BYTES], trials[FILE_PATH_BYTES];
    struct file_names names;
    struct error error = {0};
    struct lag_run run = {.place = reference->place, .store = "damaged", .flags = {"--workers", "1"}};
    assert_true(run_killed(&run, "admit_after_commit:5"));       /* whole, search, two baselines, training */
    test_path(studies, test_path(store, reference->place, "damaged"), "studies");
    assert_ok(file_list(studies, &names, &error), &error);
    snprintf(trials, sizeof trials, "%.1000s/%s/1/trials", studies, names.names[0]);
    file_names_free(&names);
    damage(trials);
    assert_comes_out_alike(reference, run, "damaged-out");
}

static void an_interrupt_saves_and_the_same_command_goes_on(void **state)
{
    const struct reference *reference = *state;
    struct process process;
    struct lag_run run = {.place = reference->place, .store = "cut", .flags = {"--workers", "1"}};
    lag_run_start(&process, &run);
    assert_true(process_read_until(&process, PROCESS_ERR, "step 51: leader middle"));
    process_signal(&process, SIGINT);
    process_wait(&process);
    assert_exit(&process, 130);
    assert_contains(process.text[PROCESS_ERR], "interrupted; everything is saved");
    process_free(&process);
    assert_comes_out_alike(reference, run, "cut-out");
}

/* ---- equal to what is done by hand */

static void lag_ok(const char *const *words)
{
    struct process process;
    process_run(&process, words, NULL);
    assert_exit(&process, 0);
    process_free(&process);
}

/* Grows `from` and trains the result for so many steps: the directory of the trained model in `trained`. */
static void by_hand(const char *place, const char *from, const char *operators, const char *moments, const char *steps,
                    const char *name, char trained[FILE_PATH_BYTES])
{
    char grown[FILE_PATH_BYTES], file[FILE_PATH_BYTES], data[FILE_PATH_BYTES], label[64], text[512];
    static const char source[] = "{\"train\": \"train.txt\"}";
    snprintf(label, sizeof label, "%s-grown", name);
    test_path(grown, place, label);
    test_path(trained, place, name);
    test_write_file(test_path(data, place, "data.json"), source, strlen(source));
    snprintf(text, sizeof text, "{\"steps\": %s, %s", steps, stage_training + 1);
    test_write_file(test_path(file, place, "hand.json"), text, strlen(text));
    lag_ok((const char *const[]){process_lag(), "grow", "--checkpoint", from, "--operators", operators, "--moments", moments,
                                 "--out", grown, NULL});
    lag_ok((const char *const[]){process_lag(), "train", "--checkpoint", grown, "--data", data, "--training", file,
                                 "--valid-tokens", "400", "--out", trained, NULL});
}

static void assert_same_model(const char *a, const char *b)
{
    struct checkpoint x, y;
    struct error error = {0};
    const struct checkpoint_load load = {.moments = true};
    assert_ok(checkpoint_load(&x, a, &load, &error), &error);
    assert_ok(checkpoint_load(&y, b, &load, &error), &error);
    assert_string_equal(x.hash, y.hash);
    assert_non_null(x.moments);
    assert_memory_equal(x.moments->raw, y.moments->raw, x.table.slab * sizeof(float));
    assert_memory_equal(x.moments->m, y.moments->m, x.table.slab * sizeof(float));
    assert_memory_equal(x.moments->v, y.moments->v, x.table.slab * sizeof(float));
    assert_int_equal(x.provenance.data_cursor, y.provenance.data_cursor);
    checkpoint_fini(&x);
    checkpoint_fini(&y);
}

/* The directory of a part's trained model in the reference store. */
static void part_directory(const char *place, const char *part, char directory[FILE_PATH_BYTES])
{
    char studies[FILE_PATH_BYTES], store[FILE_PATH_BYTES];
    struct file_names names;
    struct error error = {0};
    test_path(studies, test_path(store, place, "reference"), "studies");
    assert_ok(file_list(studies, &names, &error), &error);
    assert_int_equal(names.count, 1);
    snprintf(directory, FILE_PATH_BYTES, "%.1000s/%s/%s/candidates/0", studies, names.names[0], part);
    file_names_free(&names);
}

static void baselines_are_chains_of_lag_grow_and_lag_train(void **state)
{
    const char *place = ((const struct reference *)*state)->place;
    static const struct { const char *name, *first, *second, *part; } CASES[] = {
        {"gradual_last", "[{\"op\": \"gradual_last\", \"layers\": 3}]", "[{\"op\": \"gradual_last\", \"layers\": 4}]", "b1"},
        {"middle", "[{\"op\": \"middle\", \"layers\": 3, \"block\": 1}]",
         "[{\"op\": \"middle\", \"layers\": 4, \"block\": 1}]", "b2"},
    };
    for (int i = 0; i < 2; i++) {
        char base[FILE_PATH_BYTES], first[FILE_PATH_BYTES], second[FILE_PATH_BYTES], part[FILE_PATH_BYTES], name[64];
        by_hand(place, test_path(base, place, "base"), CASES[i].first, "reset", "56", CASES[i].name, first);
        snprintf(name, sizeof name, "%s-1", CASES[i].part);
        part_directory(place, name, part);
        assert_same_model(first, part);
        snprintf(name, sizeof name, "%s-two", CASES[i].name);
        by_hand(place, first, CASES[i].second, "reset", "70", name, second);
        snprintf(name, sizeof name, "%s-2", CASES[i].part);
        part_directory(place, name, part);
        assert_same_model(second, part);
    }
}

static void a_winner_trained_on_is_one_uninterrupted_run(void **state)
{
    const struct reference *reference = *state;
    cJSON *result = cJSON_Parse(reference->result);
    char from[FILE_PATH_BYTES], trained[FILE_PATH_BYTES], part[FILE_PATH_BYTES];
    test_path(from, reference->place, "base");
    for (int j = 0; j < 2; j++) {
        const cJSON *stage = cJSON_GetArrayItem(at(result, "stages"), j);
        const char *winner = at(at(stage, "choice"), "candidate")->valuestring;
        char operators[64], name[32];
        bool stack = strcmp(winner, "stack") == 0;
        snprintf(operators, sizeof operators, "[{\"op\": \"%s\", \"layers\": %d}]", stack ? "stack" : "identity", j + 3);
        snprintf(name, sizeof name, "adaptive-%d", j + 1);
        by_hand(reference->place, from, operators, stack && j > 0 ? "carry" : "reset", j ? "70" : "56", name, trained);
        part_directory(reference->place, j ? "2t" : "1t", part);
        assert_same_model(trained, part);
        memcpy(from, trained, sizeof from);
    }
    cJSON_Delete(result);
}

/* ---- trouble and control */

static void candidates_that_all_diverge_fail_the_study_with_the_stage(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES];
    struct process process;
    struct tiny_study study = staged_study;
    study.training = "{\"batch\": 4, \"context\": 16, \"learning_rate\": 100, \"clip\": 0,"
                     " \"schedule\": {\"name\": \"constant\", \"warmup_steps\": 0}}";
    lag_place_make(place, &study);
    for (int i = 0; i < 2; i++) {                  /* the same command tries again, and says the same */
        lag_run(&process, &(struct lag_run){.place = place});
        assert_exit(&process, 1);
        assert_contains(process.text[PROCESS_ERR], "stage 1 (3 layers): no candidate completed");
        assert_contains(process.text[PROCESS_ERR], "lower training.learning_rate");
        assert_contains(process.text[PROCESS_OUT], "\"state\": \"failed\"");
        process_free(&process);
    }
    lag_check_clean(place, NULL);
    test_directory_remove(place);
}

/* Until a part of that name is at work, with a step done. */
static void until_part_trains(struct service_world *world, const char *id, const char *name)
{
    char part[SERVICE_ID_BYTES];
    snprintf(part, sizeof part, "%.32s/%s", id, name);
    for (;;) {
        const struct run *run = service_run_find(world->service, part);
        if (run != NULL && run->has_study && run->study.candidates[0].step > 0)
            return;
        world_turn(world);
    }
}

static void cancelled_in_each_phase_and_resumed_it_comes_out_alike(void **state)
{
    const struct reference *reference = *state;
    static const char *const parts[] = {"1", "1t", "2", "2t"};
    struct service_world world;
    struct answer answer, done;
    open_world(&world, reference->place, &(struct world_options){.store = "cancelled", .workers = 2});
    submit(&world, "study.json", NULL, &answer);
    for (int i = 0; i < 4; i++) {
        until_part_trains(&world, answer.id, parts[i]);
        done = control(&world, service_cancel, answer.id);
        assert_ok((int)done.error.code, &done.error);
        assert_int_equal(world_end(&world, answer.id), STUDY_CANCELLED);
        char *text = json_of(&world, answer.id);
        assert_contains(text, "\"state\": \"cancelled\"");
        assert_contains(text, "\"stages\": [");
        memory_free(text);
        done = control(&world, service_resume, answer.id);
        assert_ok((int)done.error.code, &done.error);
    }
    assert_ends_like(&world, answer.id, reference->result);
    char *events = events_of(&world, answer.id);
    assert_int_equal(count_of(events, "event: end"), 1);
    assert_int_equal(count_of(events, "stage 2 of 2 begins: 4 layers, 70 steps"), 1);
    assert_true(count_of(events, "{\"stage\": 2, \"chain\": \"adaptive\"") > 0);
    assert_true(count_of(events, "{\"stage\": 1, \"chain\": \"middle\"") > 0);
    memory_free(events);
    struct buffer list;
    struct error error = {0};
    buffer_init(&list);
    assert_ok(service_list(world.service, "studies", NULL, 100, NULL, &list, &error), &error);
    assert_int_equal(count_of(list.data, "\"id\""), 1);
    buffer_fini(&list);
    done = delete_of(&world, "studies", answer.id);
    assert_ok((int)done.error.code, &done.error);
    char path[FILE_PATH_BYTES], store[FILE_PATH_BYTES];
    snprintf(path, sizeof path, "%.1000s/studies/%s", test_path(store, reference->place, "cancelled"), answer.id);
    assert_false(file_exists(path));
    world_close(&world);
    lag_check_clean(reference->place, "cancelled");
}

static void every_order_of_finishing_gives_the_identical_result(void **state)
{
    const struct reference *reference = *state;
    for (unsigned seed = 1; seed <= 3; seed++) {
        struct service_world world;
        struct answer answer;
        char store[16];
        snprintf(store, sizeof store, "order%u", seed);
        open_world(&world, reference->place, &(struct world_options){.store = store, .workers = 3, .inline_pool = true,
                                                                     .order_seed = seed});
        submit(&world, "study.json", NULL, &answer);
        assert_ends_like(&world, answer.id, reference->result);
        world_close(&world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_result_lists_stages_and_the_comparison),
        cmocka_unit_test(curves_have_stage_and_chain_behind_the_usual_columns),
        cmocka_unit_test(the_report_has_both_searches_below_the_overview),
        cmocka_unit_test(two_and_four_workers_and_little_memory_give_the_files_of_one),
        cmocka_unit_test(a_kill_at_every_named_point_of_every_phase_changes_nothing),
        cmocka_unit_test(many_kills_of_one_study_change_nothing),
        cmocka_unit_test(a_damaged_state_that_is_taken_over_is_trained_anew),
        cmocka_unit_test(an_interrupt_saves_and_the_same_command_goes_on),
        cmocka_unit_test(baselines_are_chains_of_lag_grow_and_lag_train),
        cmocka_unit_test(a_winner_trained_on_is_one_uninterrupted_run),
        cmocka_unit_test(candidates_that_all_diverge_fail_the_study_with_the_stage),
        cmocka_unit_test(cancelled_in_each_phase_and_resumed_it_comes_out_alike),
        cmocka_unit_test(every_order_of_finishing_gives_the_identical_result),
    };
    return cmocka_run_group_tests(tests, reference_make, reference_remove);
}
