/* What goes wrong outside: a full disk, changed files, a damaged trial, a model that diverges, too little memory; each is
 * told plainly, and what can go on goes on to the same result. Jobs run in place, one by one. */
#include "tests/server/control_parts.h"

#include "base/fault.h"

static const struct world_options in_place = {.inline_pool = true, .workers = 2, .recover = true};

static void full_disk_pauses_the_study_with_the_reason(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES];
    struct service_world world;
    struct answer answer;
    struct error error = {0};
    enum study_state_name study_state = STUDY_RUNNING;
    lag_place_make(place, &control_study);
    char *reference = undisturbed(place, "study.json");
    open_world(&world, place, &in_place);
    submit(&world, "study.json", NULL, &answer);
    until_all_at(&world, answer.id, 50);
    for (int i = 0; i < 6; i++) {            /* six times in a row, longer pauses each time */
        int before = world.seconds;
        fault_arm(FAULT_WRITE, 1);
        while (fault_count(FAULT_WRITE) < 1)
            world_turn(&world);
        fault_arm(FAULT_WRITE, 0);
        world_settle(&world);
        assert_ok(service_study_state(world.service, answer.id, &study_state, &error), &error);
        assert_int_equal(study_state, STUDY_QUEUED);
        char *json = json_of(&world, answer.id);
        assert_contains(json, "\"state\": \"queued\"");
        assert_contains(json, "\"reason\": \"saving the trial to ");
        memory_free(json);
        assert_true(world.seconds - before <= 5);
    }
    struct buffer list;
    buffer_init(&list);
    assert_ok(service_list(world.service, "studies", "queued", 10, NULL, &list, &error), &error);
    assert_contains(list.data, answer.id);
    buffer_fini(&list);
    assert_ends_like(&world, answer.id, reference);
    char *events = events_of(&world, answer.id);
    assert_true(count_of(events, "\"state\": \"queued\"") >= 2);
    memory_free(events);
    memory_free(reference);
    world_close(&world);
    test_directory_remove(place);
}

static void cancel_of_a_paused_study_ends_it(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES];
    struct service_world world;
    struct answer answer, done;
    lag_place_make(place, &control_study);
    char *reference = undisturbed(place, "study.json");
    open_world(&world, place, &in_place);
    submit(&world, "study.json", NULL, &answer);
    until_all_at(&world, answer.id, 50);
    fault_arm(FAULT_WRITE, 1);
    while (fault_count(FAULT_WRITE) < 1)
        world_turn(&world);
    fault_arm(FAULT_WRITE, 0);
    done = control(&world, service_cancel, answer.id);
    assert_ok((int)done.error.code, &done.error);
    assert_int_equal(world_end(&world, answer.id), STUDY_CANCELLED);
    done = control(&world, service_resume, answer.id);
    assert_ok((int)done.error.code, &done.error);
    assert_ends_like(&world, answer.id, reference);
    memory_free(reference);
    world_close(&world);
    test_directory_remove(place);
}

/* The commit of a cancel fails: who asked is told, and the service goes on trying. */
static void cancel_that_could_not_be_written_is_tried_again(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES];
    struct service_world world;
    struct answer answer, done;
    lag_place_make(place, &control_study);
    open_world(&world, place, &in_place);
    submit(&world, "study.json", NULL, &answer);
    until_all_at(&world, answer.id, 9);
    done = (struct answer){0};
    assert_int_equal(service_cancel(world.service, answer.id, world_answer, &done), 0);
    while (!done.came) {                     /* no fsync works until it has been told */
        fault_arm(FAULT_FSYNC, 1);
        world_turn(&world);
    }
    fault_arm(FAULT_FSYNC, 0);
    assert_int_equal(done.error.code, ERROR_IO);
    assert_int_equal(world_end(&world, answer.id), STUDY_CANCELLED);
    world_close(&world);
    test_directory_remove(place);
}

static void changed_data_fails_the_study_until_it_is_put_back(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    struct service_world world;
    struct answer answer, done;
    lag_place_make(place, &control_study);
    char *reference = undisturbed(place, "study.json");
    open_world(&world, place, &in_place);
    submit(&world, "study.json", NULL, &answer);
    until_all_at(&world, answer.id, 20);
    world_close(&world);
    tiny_text_write(test_path(path, place, "train.txt"), 20000, 2);
    open_world(&world, place, &in_place);
    assert_int_equal(world_end(&world, answer.id), STUDY_FAILED);
    char *json = json_of(&world, answer.id);
    assert_contains(json, "train.txt is not what this study was admitted with; put the old file back and resume");
    memory_free(json);
    tiny_text_write(path, 20000, 1);
    done = control(&world, service_resume, answer.id);
    assert_ok((int)done.error.code, &done.error);
    assert_ends_like(&world, answer.id, reference);
    memory_free(reference);
    world_close(&world);
    test_directory_remove(place);
}

static void flip_byte(const char *path, size_t from_end)
{
    size_t length;
    char *bytes = test_read_file(path, &length);
    assert_true(length > from_end);
    bytes[length - 1 - from_end] ^= 0x40;
    test_write_file(path, bytes, length);
    memory_free(bytes);
}

static void damaged_and_missing_trials_are_trained_anew(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES], path[FILE_PATH_BYTES], name[128];
    struct service_world world;
    struct answer answer;
    struct error error = {0};
    lag_place_make(place, &control_study);
    char *reference = undisturbed(place, "study.json");
    open_world(&world, place, &in_place);
    submit(&world, "study.json", NULL, &answer);
    until_all_at(&world, answer.id, 51);
    world_close(&world);
    snprintf(name, sizeof name, "store/studies/%s/trials/1.trial", answer.id);
    flip_byte(test_path(path, place, name), 100);
    snprintf(name, sizeof name, "store/studies/%s/trials/2.trial", answer.id);
    assert_ok(file_remove(test_path(path, place, name), &error), &error);
    open_world(&world, place, &in_place);
    assert_ends_like(&world, answer.id, reference);
    memory_free(reference);
    world_close(&world);
    lag_check_clean(place, NULL);
    test_directory_remove(place);
}

/* Every decision was taken, and only then a trial is lost that the files were to be written from. */
static void trial_lost_before_the_files_is_trained_anew(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES], path[FILE_PATH_BYTES], name[128];
    struct service_world world;
    struct answer answer;
    struct error error = {0};
    struct tiny_study study = control_study;
    study.more = ", \"keep\": \"all\"";
    lag_place_make(place, &study);
    char *reference = undisturbed(place, "study.json");
    open_world(&world, place, &in_place);
    submit(&world, "study.json", NULL, &answer);
    while (!service_study(world.service, answer.id) || !service_study(world.service, answer.id)->finished)
        world_turn(&world);
    snprintf(name, sizeof name, "store/studies/%s/trials/0.trial", answer.id);
    flip_byte(test_path(path, place, name), 100);
    snprintf(name, sizeof name, "store/studies/%s/trials/3.trial", answer.id);
    assert_ok(file_remove(test_path(path, place, name), &error), &error);
    assert_ends_like(&world, answer.id, reference);
    memory_free(reference);
    world_close(&world);
    lag_check_clean(place, NULL);
    test_directory_remove(place);
}

/* Puts a NaN into the weights, or their average, of an idle trial that has its point at `step`. */
static void poison_part(struct service_world *world, const char *id, int candidate, uint64_t step, bool average)
{
    const struct run *run = NULL;
    while (!run || !run->seats || !run->seats[candidate].resident || run->seats[candidate].state != SEAT_IDLE
           || !curve_at(&run->study.candidates[candidate].curve, step)) {
        world_turn(world);
        run = service_run_find(world->service, id);
    }
    const struct trial *trial = &run->seats[candidate].trial;
    ((float *)(average ? trial->average : trial->learners->weights))[3] = (float)NAN;
}

static void poison(struct service_world *world, const char *id, int candidate, uint64_t step)
{
    poison_part(world, id, candidate, step, false);
}

static void diverged_candidate_is_marked_and_the_study_goes_on(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES];
    struct service_world world;
    struct answer answer;
    lag_place_make(place, &control_study);
    open_world(&world, place, &in_place);
    submit(&world, "study.json", NULL, &answer);
    poison(&world, answer.id, 1, 17);
    assert_int_equal(world_end(&world, answer.id), STUDY_SUCCEEDED);
    char *result = world_result(&world, answer.id);
    assert_contains(result, "\"state\": \"diverged\"");
    assert_contains(result, "\"diverged_step\": ");
    assert_int_equal(count_of(result, "\"state\": \"completed\""), 3);
    assert_contains(result, "\\\"interleave\\\" diverged at step ");
    memory_free(result);
    world_close(&world);
    test_directory_remove(place);
}

/* Writes into the database of a closed store. */
static void tamper(const char *place, const char *update)
{
    char path[FILE_PATH_BYTES];
    sqlite3 *database;
    struct error error = {0};
    assert_ok(sql_open(&database, test_path(path, place, "store/lag.db"), false, &error), &error);
    assert_ok(sql_run(database, update, &error), &error);
    assert_int_equal(sqlite3_changes(database), 1);
    sqlite3_close(database);
}

/* One wrong row must not keep the others from going on, nor the service from being ready. */
static void stored_study_that_can_not_be_read_fails_alone(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES], update[256];
    struct service_world world;
    struct answer first, second;
    lag_place_make(place, &control_study);
    char *reference = undisturbed(place, "study.json");
    open_world(&world, place, &in_place);
    submit(&world, "study.json", "a", &first);
    submit(&world, "study.json", "b", &second);
    world_close(&world);
    snprintf(update, sizeof update, "UPDATE study SET request='{\"name\": }' WHERE id='%s'", first.id);
    tamper(place, update);
    open_world(&world, place, &in_place);
    assert_int_equal(world_end(&world, first.id), STUDY_FAILED);
    assert_true(service_ready(world.service, (char[256]){0}));
    assert_ends_like(&world, second.id, reference);
    memory_free(reference);
    world_close(&world);
    test_directory_remove(place);
}

/* Killed between the commit of the point that shows it and the commit of the verdict: the next start judges again. */
static void divergence_is_seen_again_after_a_crash(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES];
    struct service_world world;
    struct answer answer;
    char *results[2];
    struct tiny_study study = {.selection = "{\"max_k\": 52, \"valid_tokens\": 400}"};     /* points at 42, 51, 52 */
    lag_place_make(place, &study);
    for (int i = 0; i < 2; i++) {
        struct world_options options = in_place;
        options.store = i ? "store" : "reference";
        open_world(&world, place, &options);
        submit(&world, "study.json", NULL, &answer);
        poison_part(&world, answer.id, 1, 42, true);
        until_all_at(&world, answer.id, 51);
        while (i && service_study(world.service, answer.id)->candidates[1].state != CANDIDATE_DIVERGED)
            world_turn(&world);
        if (i) {
            world_close(&world);
            tamper(place, "UPDATE candidate SET state='running', reason='', diverged_step=0 WHERE number=1");
            open_world(&world, place, &options);
        }
        assert_int_equal(world_end(&world, answer.id), STUDY_SUCCEEDED);
        results[i] = world_result(&world, answer.id);
        world_close(&world);
    }
    assert_contains(results[0], "the validation loss is not finite");
    assert_identical(results[0], results[1]);
    memory_free(results[0]);
    memory_free(results[1]);
    test_directory_remove(place);
}

static void all_diverged_fails_with_advice(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES];
    struct service_world world;
    struct answer answer;
    lag_place_make(place, &control_study);
    open_world(&world, place, &in_place);
    submit(&world, "study.json", NULL, &answer);
    for (int i = 0; i < 4; i++)
        poison(&world, answer.id, i, 4);
    assert_int_equal(world_end(&world, answer.id), STUDY_FAILED);
    char *result = world_result(&world, answer.id);
    assert_contains(result, "lower training.learning_rate");
    memory_free(result);
    world_close(&world);
    test_directory_remove(place);
}

static void equal_candidates_are_trained_once(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES];
    struct service_world world;
    struct answer answer;
    struct tiny_study study = control_study;
    study.candidates = "[{\"name\": \"a\", \"operators\": [{\"op\": \"stack\", \"layers\": 4}]},"
                       " {\"name\": \"b\", \"operators\": [{\"op\": \"layer_map\", \"map\": [0, 1, 0, 1]}]},"
                       " {\"name\": \"c\", \"operators\": [{\"op\": \"interleave\", \"layers\": 4}]}]";
    lag_place_make(place, &study);
    open_world(&world, place, &in_place);
    submit(&world, "study.json", NULL, &answer);
    assert_int_equal(world_end(&world, answer.id), STUDY_SUCCEEDED);
    char *result = world_result(&world, answer.id), *events = events_of(&world, answer.id);
    assert_contains(result, "\"same_as\": \"a\"");
    assert_contains(result, "\\\"b\\\" grew into the same weights as \\\"a\\\"");
    assert_int_equal(count_of(events, "event: evaluation\n"), 2 * 20);
    memory_free(events);
    memory_free(result);
    world_close(&world);
    test_directory_remove(place);
}

static void too_little_memory_is_refused_with_the_numbers(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES];
    struct service_world world;
    struct answer answer;
    lag_place_make(place, &control_study);
    open_world(&world, place, &(struct world_options){.memory_bytes = 1 << 20, .workers = 2});
    world_submit_file(&world, "study.json", NULL, &answer);
    assert_int_equal(answer.error.code, ERROR_INVALID);
    assert_contains(answer.error.message, " MiB with one trial per worker");
    assert_contains(answer.error.message, "the limit is 1.00 MiB");
    assert_string_equal(answer.error.details[0].pointer, "/candidates");
    world_close(&world);
    test_directory_remove(place);
}

TEST_MAIN(cmocka_unit_test(full_disk_pauses_the_study_with_the_reason),
          cmocka_unit_test(cancel_of_a_paused_study_ends_it),
          cmocka_unit_test(cancel_that_could_not_be_written_is_tried_again),
          cmocka_unit_test(changed_data_fails_the_study_until_it_is_put_back),
          cmocka_unit_test(damaged_and_missing_trials_are_trained_anew),
          cmocka_unit_test(trial_lost_before_the_files_is_trained_anew),
          cmocka_unit_test(diverged_candidate_is_marked_and_the_study_goes_on),
          cmocka_unit_test(stored_study_that_can_not_be_read_fails_alone),
          cmocka_unit_test(divergence_is_seen_again_after_a_crash),
          cmocka_unit_test(all_diverged_fails_with_advice),
          cmocka_unit_test(equal_candidates_are_trained_once),
          cmocka_unit_test(too_little_memory_is_refused_with_the_numbers))
