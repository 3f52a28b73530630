/* Cancel, resume, delete, drain, and the same study asked for twice. Workers are threads here. */
#include "tests/server/control_parts.h"

static void cancelled_study_resumes_to_the_identical_result(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES];
    struct service_world world;
    struct answer answer, done;
    lag_place_make(place, &control_study);
    char *reference = undisturbed(place, "study.json");
    open_world(&world, place, &(struct world_options){.workers = 2});
    submit(&world, "study.json", NULL, &answer);
    for (uint64_t step = 0; step <= 30; step += 15) {
        until_all_at(&world, answer.id, step);
        done = control(&world, service_cancel, answer.id);
        assert_ok((int)done.error.code, &done.error);
        assert_int_equal(world_end(&world, answer.id), STUDY_CANCELLED);
        char *cancelled = world_result(&world, answer.id);
        assert_contains(cancelled, "\"state\": \"cancelled\"");
        memory_free(cancelled);
        done = control(&world, service_cancel, answer.id);         /* once more changes nothing */
        assert_ok((int)done.error.code, &done.error);
        done = control(&world, service_resume, answer.id);
        assert_ok((int)done.error.code, &done.error);
    }
    done = control(&world, service_resume, answer.id);
    assert_int_equal(done.error.code, ERROR_CONFLICT);
    assert_ends_like(&world, answer.id, reference);
    char *events = events_of(&world, answer.id);
    assert_int_equal(count_of(events, "event: end\n"), 1);
    assert_int_equal(count_of(events, "\"state\": \"cancelled\""), 3);
    assert_int_equal(count_of(events, "event: evaluation\n"), 4 * 20);
    memory_free(events);
    memory_free(reference);
    world_close(&world);
    test_directory_remove(place);
}

static void ended_study_is_not_cancelled_nor_resumed(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES];
    struct service_world world;
    struct answer answer, done;
    struct tiny_study study = {.selection = "{\"k\": 3, \"valid_tokens\": 100}"};
    lag_place_make(place, &study);
    open_world(&world, place, &(struct world_options){0});
    submit(&world, "study.json", NULL, &answer);
    assert_int_equal(world_end(&world, answer.id), STUDY_SUCCEEDED);
    done = control(&world, service_cancel, answer.id);
    assert_int_equal(done.error.code, ERROR_CONFLICT);
    assert_contains(done.error.message, "is succeeded");
    done = control(&world, service_resume, answer.id);
    assert_int_equal(done.error.code, ERROR_CONFLICT);
    done = control(&world, service_cancel, "study_none");
    assert_int_equal(done.error.code, ERROR_NOT_FOUND);
    done = control(&world, service_resume, "study_none");
    assert_int_equal(done.error.code, ERROR_NOT_FOUND);
    world_close(&world);
    test_directory_remove(place);
}

static void deleting_asks_who_still_needs_it(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES], path[FILE_PATH_BYTES], name[128];
    struct service_world world;
    struct answer answer, done;
    lag_place_make(place, &control_study);
    open_world(&world, place, &(struct world_options){0});
    submit(&world, "study.json", NULL, &answer);
    until_all_at(&world, answer.id, 51);
    done = delete_of(&world, "studies", answer.id);
    assert_int_equal(done.error.code, ERROR_CONFLICT);
    assert_contains(done.error.message, "cancel it first");
    done = control(&world, service_cancel, answer.id);
    assert_ok((int)done.error.code, &done.error);
    snprintf(name, sizeof name, "store/studies/%s", answer.id);
    assert_true(file_exists(test_path(path, place, name)));
    done = delete_of(&world, "studies", answer.id);
    assert_ok((int)done.error.code, &done.error);
    assert_false(file_exists(path));
    done = delete_of(&world, "studies", answer.id);
    assert_int_equal(done.error.code, ERROR_NOT_FOUND);
    done = delete_of(&world, "datasets", "data_none");
    assert_int_equal(done.error.code, ERROR_NOT_FOUND);
    world_close(&world);
    lag_check_clean(place, NULL);
    test_directory_remove(place);
}

/* Drained again and again, at whatever moment: nothing is lost, nothing is told twice. */
static void drained_study_goes_on_at_the_next_start(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES];
    struct service_world world;
    struct answer answer;
    lag_place_make(place, &control_study);
    char *reference = undisturbed(place, "study.json");
    open_world(&world, place, &(struct world_options){.workers = 2, .recover = true});
    submit(&world, "study.json", NULL, &answer);
    for (int turns = 5; turns < 60; turns += 9) {
        for (int i = 0; i < turns && service_works_on(world.service, answer.id); i++)
            world_turn(&world);
        world_close(&world);
        open_world(&world, place, &(struct world_options){.workers = 1 + turns % 2, .recover = true});
        assert_true(service_ready(world.service, (char[256]){0}));
    }
    assert_ends_like(&world, answer.id, reference);
    char *events = events_of(&world, answer.id);
    assert_int_equal(count_of(events, "event: end\n"), 1);
    assert_int_equal(count_of(events, "event: evaluation\n"), 4 * 20);
    memory_free(events);
    memory_free(reference);
    world_close(&world);
    lag_check_clean(place, NULL);
    test_directory_remove(place);
}

static void drain_during_admission_leaves_the_study_queued(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES];
    struct service_world world;
    struct answer answer = {0};
    lag_place_make(place, &control_study);
    char *reference = undisturbed(place, "study.json");
    char *text = test_read_file(test_path((char[FILE_PATH_BYTES]){0}, place, "study.json"), NULL);
    open_world(&world, place, &(struct world_options){0});
    struct study_submission submission = {.body = text, .body_length = strlen(text)};
    assert_int_equal(service_submit(world.service, &submission, world_answer, &answer), 0);
    world_close(&world);
    assert_true(answer.came);
    assert_ok((int)answer.error.code, &answer.error);
    open_world(&world, place, &(struct world_options){.recover = true});
    assert_ends_like(&world, answer.id, reference);
    world_close(&world);
    memory_free(text);
    memory_free(reference);
    test_directory_remove(place);
}

static void idempotency_key_names_one_study(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    struct service_world world;
    struct answer first, again, other, twins[2] = {{0}, {0}};
    struct tiny_study study = {.selection = "{\"k\": 2, \"valid_tokens\": 100}"};
    struct tiny_study changed = {.selection = "{\"k\": 3, \"valid_tokens\": 100}"};
    lag_place_make(place, &study);
    tiny_study_json(test_path(path, place, "changed.json"), &changed);
    open_world(&world, place, &(struct world_options){0});
    submit(&world, "study.json", "one", &first);
    assert_false(first.existed);
    submit(&world, "study.json", "one", &again);
    assert_true(again.existed);
    assert_string_equal(first.id, again.id);
    world_submit_file(&world, "changed.json", "one", &other);
    assert_int_equal(other.error.code, ERROR_CONFLICT);
    assert_contains(other.error.message, first.id);
    submit(&world, "changed.json", "two", &other);
    assert_string_not_equal(first.id, other.id);

    /* Two at the same moment: one is stored, the other one finds it. */
    char *text = test_read_file(test_path(path, place, "study.json"), NULL);
    struct study_submission submission = {.body = text, .body_length = strlen(text), .idempotency_key = "three"};
    for (int i = 0; i < 2; i++)
        assert_int_equal(service_submit(world.service, &submission, world_answer, &twins[i]), 0);
    world_wait(&world, &twins[0]);
    world_wait(&world, &twins[1]);
    assert_ok((int)twins[0].error.code, &twins[0].error);
    assert_ok((int)twins[1].error.code, &twins[1].error);
    assert_string_equal(twins[0].id, twins[1].id);
    assert_int_equal(twins[0].existed + twins[1].existed, 1);
    memory_free(text);
    world_close(&world);
    test_directory_remove(place);
}

TEST_MAIN(cmocka_unit_test(cancelled_study_resumes_to_the_identical_result),
          cmocka_unit_test(ended_study_is_not_cancelled_nor_resumed),
          cmocka_unit_test(deleting_asks_who_still_needs_it),
          cmocka_unit_test(drained_study_goes_on_at_the_next_start),
          cmocka_unit_test(drain_during_admission_leaves_the_study_queued),
          cmocka_unit_test(idempotency_key_names_one_study))
