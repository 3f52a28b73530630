/* A study whose operator names another checkpoint (fuse): by path and by id, resumed after kills, refused when the other
 * model is another one or gone, and kept from being deleted; `lag grow` with it. */
#include "tests/server/control_parts.h"
#include "tests/server/kill_parts.h"

#include <cJSON.h>

#include "base/fault.h"
#include "model/checkpoint.h"
#include "server/partners.h"

static const struct tiny_study fuse_study = {
    .candidates = "[{\"name\": \"fused\", \"operators\": [{\"op\": \"fuse\", \"with\": \"other\"}]},"
                  " {\"name\": \"deep\", \"operators\": [{\"op\": \"identity\", \"layers\": 4},"
                  " {\"op\": \"hyperclone\", \"width\": 32}]}]",
    .selection = "{\"k\": 20, \"valid_tokens\": 400}",
};

/* A checkpoint of the base's shape, or one layer deeper, with other weights. */
static void make_other(const char *place, const char *name, uint64_t seed, int more_layers)
{
    char path[FILE_PATH_BYTES];
    struct checkpoint base, other;
    struct error error = {0};
    assert_ok(checkpoint_load(&base, test_path(path, place, "base"), NULL, &error), &error);
    struct shape shape = base.table.shape;
    shape.layers += more_layers;
    assert_ok(checkpoint_init(&other, &shape, &error), &error);
    checkpoint_randomize(&other, seed);
    assert_ok(checkpoint_save(&other, test_path(path, place, name), &(struct checkpoint_save){0}, &error), &error);
    checkpoint_fini(&other);
    checkpoint_fini(&base);
}

static void place_with_other(char place[FILE_PATH_BYTES])
{
    lag_place_make(place, &fuse_study);
    make_other(place, "other", 5, 0);
}

static cJSON *candidate_of(const cJSON *result, const char *name)
{
    cJSON *row;
    cJSON_ArrayForEach(row, cJSON_GetObjectItem(result, "ranking"))
        if (strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(row, "candidate")), name) == 0)
            return row;
    fail_msg("no candidate %s", name);
    return NULL;
}

static void run_trains_the_fused_model_and_finds_its_result_again(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES];
    place_with_other(place);
    struct lag_run run = {.place = place, .out = "out"};
    char *first = lag_run_result(&run), *again = lag_run_result(&run);
    cJSON *result = cJSON_Parse(first), *row = candidate_of(result, "fused");
    assert_contains(first, "\"state\": \"succeeded\"");
    assert_contains(first, "\"with\":\"other\",\"content\":\"");
    assert_true(cJSON_GetObjectItem(row, "loss")->valuedouble < cJSON_GetObjectItem(row, "loss_at_0")->valuedouble);
    assert_string_equal(first, again);
    cJSON_Delete(result);
    memory_free(first);
    memory_free(again);
    lag_check_clean(place, NULL);
    test_directory_remove(place);
}

/* The same path with other weights is another study; what is under way does not go on with them. */
static void another_content_is_another_study(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES];
    struct service_world world;
    struct answer answer;
    place_with_other(place);
    open_world(&world, place, &(struct world_options){0});
    submit(&world, "study.json", NULL, &answer);
    until_all_at(&world, answer.id, 4);
    world_close(&world);
    make_other(place, "other", 6, 0);
    open_world(&world, place, &(struct world_options){.recover = true});
    assert_int_equal(world_end(&world, answer.id), STUDY_FAILED);
    char *text = world_result(&world, answer.id);
    assert_contains(text, "give the one that was meant");
    memory_free(text);
    world_close(&world);
    test_directory_remove(place);
}

static void kills_change_nothing(void **state)
{
    (void)state;
    static const char *const kills[] = {"admit_after_commit:1", "grow_done:1", "point_after_commit:2"};
    char place[FILE_PATH_BYTES];
    place_with_other(place);
    struct lag_run whole = {.place = place, .store = "whole"};
    char *reference = lag_run_result(&whole);
    for (size_t i = 0; i < sizeof kills / sizeof kills[0]; i++) {
        char store[16];
        snprintf(store, sizeof store, "store%zu", i);
        struct lag_run run = {.place = place, .store = store};
        assert_true(run_killed(&run, kills[i]));
        char *resumed = lag_run_result(&run);
        assert_identical(reference, resumed);
        memory_free(resumed);
    }
    memory_free(reference);
    test_directory_remove(place);
}

static void wrong_references_are_refused_at_their_pointer(void **state)
{
    (void)state;
    static const struct { const char *with, *more, *pointer, *words; } CASES[] = {
        {"nowhere", "", "/candidates/0/operators/0/with", "nowhere"},
        {"../outside", "", "/candidates/0/operators/0/with", ""},
        {"ckpt_none", "", "/candidates/0/operators/0/with", "upload it first"},
        {"deeper", "", "/candidates/0/operators/0/with", "layers is 2 and 3"},
        {"other", ", \"content\": \"00ff\"", "/candidates/0/operators/0/content", "give the one that was meant"},
        {"train.txt", "", "/candidates/0/operators/0/with", ""},
    };
    char place[FILE_PATH_BYTES], candidates[256], path[FILE_PATH_BYTES];
    struct service_world world;
    place_with_other(place);
    make_other(place, "deeper", 7, 1);
    open_world(&world, place, &(struct world_options){0});
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct tiny_study study = fuse_study;
        struct answer answer = {0};
        snprintf(candidates, sizeof candidates, "[{\"operators\": [{\"op\": \"fuse\", \"with\": \"%s\"%s}]}]",
                 CASES[i].with, CASES[i].more);
        study.candidates = candidates;
        tiny_study_json(test_path(path, place, "wrong.json"), &study);
        world_submit_file(&world, "wrong.json", NULL, &answer);
        if (answer.error.code != ERROR_INVALID || answer.error.detail_count < 1
            || strcmp(answer.error.details[0].pointer, CASES[i].pointer) != 0
            || strstr(answer.error.message, CASES[i].words) == NULL)
            fail_msg("case %zu: %s (%s)", i, answer.error.message, answer.error.details[0].pointer);
    }
    world_close(&world);
    test_directory_remove(place);
}

static void text_parameters_are_checked_before_anything_is_read(void **state)
{
    (void)state;
    static const struct { const char *step, *pointer; } CASES[] = {
        {"{\"op\": \"fuse\"}", "/candidates/0/operators/0/with"},
        {"{\"op\": \"fuse\", \"with\": 3}", "/candidates/0/operators/0/with"},
        {"{\"op\": \"fuse\", \"with\": \"\"}", "/candidates/0/operators/0/with"},
        {"{\"op\": \"fuse\", \"with\": null}", "/candidates/0/operators/0/with"},
        {"{\"op\": \"fuse\", \"with\": \"other\", \"width\": 32}", "/candidates/0/operators/0/width"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char text[512];
        struct request *request;
        struct error error = {0};
        snprintf(text, sizeof text, "{\"checkpoint\": \"base\", \"data\": {\"train\": \"train.txt\"}, \"candidates\": "
                 "[{\"operators\": [%s]}]}", CASES[i].step);
        assert_int_equal(request_new(&request, text, strlen(text), &error), ERROR_INVALID);
        assert_string_equal(error.details[0].pointer, CASES[i].pointer);
    }
}

static void a_checkpoint_is_fused_by_id_and_kept_while_it_is_needed(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES], path[FILE_PATH_BYTES], candidates[256], upload[FILE_PATH_BYTES];
    struct service_world world;
    struct answer other = {0}, answer = {0}, done;
    struct error error = {0};
    place_with_other(place);
    open_world(&world, place, &(struct world_options){0});
    assert_ok(file_make_directory(test_path(upload, service_upload_directory(world.service), "1"), &error), &error);
    static const char *const files[] = {"config.json", "model.safetensors"};
    for (int i = 0; i < 2; i++) {
        char from[FILE_PATH_BYTES], to[FILE_PATH_BYTES];
        test_path(from, test_path(path, place, "other"), files[i]);
        assert_ok(file_copy(from, test_path(to, upload, files[i]), &error), &error);
    }
    assert_int_equal(service_accept_checkpoint(world.service, upload, world_answer, &other), 0);
    world_wait(&world, &other);
    assert_ok((int)other.error.code, &other.error);
    struct tiny_study study = fuse_study;
    snprintf(candidates, sizeof candidates, "[{\"name\": \"fused\", \"operators\": [{\"op\": \"fuse\", \"with\": "
             "\"%s\"}]}]", other.id);
    study.candidates = candidates;
    tiny_study_json(test_path(path, place, "by_id.json"), &study);
    submit(&world, "by_id.json", NULL, &answer);
    until_all_at(&world, answer.id, 2);
    done = delete_of(&world, "checkpoints", other.id);
    assert_int_equal(done.error.code, ERROR_CONFLICT);
    assert_contains(done.error.message, answer.id);
    assert_int_equal(world_end(&world, answer.id), STUDY_SUCCEEDED);
    done = delete_of(&world, "checkpoints", other.id);
    assert_ok((int)done.error.code, &done.error);
    world_close(&world);
    lag_check_clean(place, NULL);
    test_directory_remove(place);
}

static void every_allocation_of_a_partner_may_fail(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    place_with_other(place);
    test_path(path, place, "other");
    for (int64_t n = 1;; n++) {
        struct partners partners;
        struct error error = {0};
        fault_arm(FAULT_ALLOC, n);
        int code = partners_init(&partners, 2, &error);
        if (code == 0)
            code = partners_add(&partners, path, true, &error);
        int64_t crossed = fault_count(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        assert_int_equal(partners.count, code == 0);
        partners_fini(&partners);
        assert_int_equal(code, crossed < n ? 0 : ERROR_NO_MEMORY);
        if (crossed < n)
            break;
    }
    test_directory_remove(place);
}

static void grow_fuses_and_names_what_it_can_not(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES], base[FILE_PATH_BYTES], with[FILE_PATH_BYTES], out[FILE_PATH_BYTES], list[FILE_PATH_BYTES + 64];
    struct process process;
    struct checkpoint grown;
    struct error error = {0};
    place_with_other(place);
    make_other(place, "deeper", 7, 1);
    test_path(base, place, "base"), test_path(out, place, "grown");
    snprintf(list, sizeof list, "[{\"op\": \"fuse\", \"with\": \"%s\"}]", test_path(with, place, "other"));
    process_run(&process, (const char *[]){process_lag(), "grow", "--checkpoint", base, "--operators", list, "--out", out,
                                           "--check", NULL}, NULL);
    assert_exit(&process, 0);
    assert_contains(process.text[PROCESS_OUT], "promise nothing");
    process_free(&process);
    assert_ok(checkpoint_load(&grown, out, NULL, &error), &error);
    assert_int_equal(grown.table.shape.width, 32);
    checkpoint_fini(&grown);
    snprintf(list, sizeof list, "[{\"op\": \"fuse\", \"with\": \"%s\"}]", base);      /* with itself: the same function */
    process_run(&process, (const char *[]){process_lag(), "grow", "--checkpoint", base, "--operators", list, "--out",
                                           test_path(out, place, "twice"), "--check", "--json", NULL}, NULL);
    assert_exit(&process, 0);
    cJSON *told = cJSON_Parse(process.text[PROCESS_OUT]);
    assert_true(cJSON_GetObjectItem(told, "preservation")->valuedouble < 1e-4);
    cJSON_Delete(told);
    process_free(&process);
    snprintf(list, sizeof list, "[{\"op\": \"fuse\", \"with\": \"%s\"}]", test_path(with, place, "deeper"));
    process_run(&process, (const char *[]){process_lag(), "grow", "--checkpoint", base, "--operators", list, "--out", out,
                                           NULL}, NULL);
    assert_exit(&process, 2);
    assert_contains(process.text[PROCESS_ERR], "layers is 2 and 3");
    process_free(&process);
    process_run(&process, (const char *[]){process_lag(), "grow", "--checkpoint", base, "--operators",
                                           "[{\"op\": \"fuse\", \"with\": \"/nowhere\"}]", "--out", out, NULL}, NULL);
    assert_exit(&process, 2);
    assert_contains(process.text[PROCESS_ERR], "operator 0 (fuse)");
    process_free(&process);
    test_directory_remove(place);
}

TEST_MAIN(cmocka_unit_test(run_trains_the_fused_model_and_finds_its_result_again),
          cmocka_unit_test(another_content_is_another_study),
          cmocka_unit_test(kills_change_nothing),
          cmocka_unit_test(wrong_references_are_refused_at_their_pointer),
          cmocka_unit_test(text_parameters_are_checked_before_anything_is_read),
          cmocka_unit_test(a_checkpoint_is_fused_by_id_and_kept_while_it_is_needed),
          cmocka_unit_test(every_allocation_of_a_partner_may_fail),
          cmocka_unit_test(grow_fuses_and_names_what_it_can_not))
