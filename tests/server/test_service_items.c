/* Uploaded checkpoints and datasets: named by content, kept once, used by id, not deleted while a study needs them. */
#include "tests/server/control_parts.h"

static void copy_file(const char *from, const char *to)
{
    struct error error = {0};
    assert_ok(file_copy(from, to, &error), &error);
}

/* A copy of the place's base below the service's upload directory, as HTTP would leave it. */
static void upload_base(struct service_world *world, char directory[FILE_PATH_BYTES], const char *name)
{
    char from[FILE_PATH_BYTES], to[FILE_PATH_BYTES];
    struct error error = {0};
    assert_ok(file_make_directory(test_path(directory, service_upload_directory(world->service), name), &error), &error);
    copy_file(test_path(from, world->place, "base/config.json"), test_path(to, directory, "config.json"));
    copy_file(test_path(from, world->place, "base/model.safetensors"), test_path(to, directory, "model.safetensors"));
}

static struct answer accept_base(struct service_world *world, const char *name)
{
    char directory[FILE_PATH_BYTES];
    struct answer answer = {0};
    upload_base(world, directory, name);
    assert_int_equal(service_accept_checkpoint(world->service, directory, world_answer, &answer), 0);
    world_wait(world, &answer);
    assert_false(file_exists(directory));
    return answer;
}

static struct answer accept_text(struct service_world *world, const char *name)
{
    char from[FILE_PATH_BYTES], to[FILE_PATH_BYTES];
    struct answer answer = {0};
    copy_file(test_path(from, world->place, "train.txt"), test_path(to, service_upload_directory(world->service), name));
    assert_int_equal(service_accept_dataset(world->service, to, world_answer, &answer), 0);
    world_wait(world, &answer);
    assert_false(file_exists(to));
    return answer;
}

static void same_content_has_the_same_id(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES];
    struct service_world world;
    struct error error = {0};
    lag_place_make(place, &control_study);
    open_world(&world, place, &(struct world_options){0});
    struct answer first = accept_base(&world, "1"), again = accept_base(&world, "2");
    struct answer text = accept_text(&world, "3"), same = accept_text(&world, "4");
    assert_ok((int)first.error.code, &first.error);
    assert_ok((int)again.error.code, &again.error);
    assert_ok((int)text.error.code, &text.error);
    assert_false(first.existed || text.existed);
    assert_true(again.existed && same.existed);
    assert_string_equal(first.id, again.id);
    assert_string_equal(text.id, same.id);
    struct buffer shown;
    buffer_init(&shown);
    assert_ok(service_show(world.service, "checkpoints", first.id, &shown, &error), &error);
    assert_contains(shown.data, "\"layers\":2,\"width\":16");
    assert_fails(service_show(world.service, "datasets", first.id, &shown, &error), ERROR_NOT_FOUND, &error);
    buffer_fini(&shown);
    world_close(&world);
    lag_check_clean(place, NULL);
    test_directory_remove(place);
}

static void wrong_upload_is_refused_and_leaves_nothing(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES], directory[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    struct service_world world;
    struct answer answer = {0};
    struct file_names names;
    struct error error = {0};
    lag_place_make(place, &control_study);
    open_world(&world, place, &(struct world_options){0});
    upload_base(&world, directory, "1");
    test_write_file(test_path(path, directory, "model.safetensors"), "short", 5);
    assert_int_equal(service_accept_checkpoint(world.service, directory, world_answer, &answer), 0);
    world_wait(&world, &answer);
    assert_int_equal(answer.error.code, ERROR_INVALID);
    assert_null(strstr(answer.error.message, place));        /* says nothing of where the server keeps things */
    assert_false(file_exists(directory));
    assert_ok(file_list(test_path(path, place, "store/checkpoints"), &names, &error), &error);
    assert_int_equal(names.count, 0);
    file_names_free(&names);
    world_close(&world);
    test_directory_remove(place);
}

static void study_by_ids_gives_the_ranking_of_the_study_by_paths(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    struct service_world world;
    struct answer answer, done;
    lag_place_make(place, &control_study);
    char *by_paths = undisturbed(place, "study.json");
    open_world(&world, place, &(struct world_options){.workers = 2});
    struct answer base = accept_base(&world, "1"), text = accept_text(&world, "2");
    char *json = test_read_file(test_path(path, place, "study.json"), NULL);
    struct buffer request;
    buffer_init(&request);
    buffer_format(&request, "{\"name\": \"tiny\", \"checkpoint\": \"%s\", \"data\": {\"train\": \"%s\"}%s", base.id, text.id,
                  strchr(json, '}') + 1);
    world_submit_text(&world, request.data, NULL, &answer);
    assert_ok((int)answer.error.code, &answer.error);
    until_all_at(&world, answer.id, 4);
    done = delete_of(&world, "checkpoints", base.id);
    assert_int_equal(done.error.code, ERROR_CONFLICT);
    assert_contains(done.error.message, answer.id);
    done = delete_of(&world, "datasets", text.id);
    assert_int_equal(done.error.code, ERROR_CONFLICT);
    assert_int_equal(world_end(&world, answer.id), STUDY_SUCCEEDED);
    char *by_ids = world_result(&world, answer.id);
    /* From `transition` on: everything but the request. */
    char *left = strstr(by_paths, "\"loss\": "), *right = strstr(by_ids, "\"loss\": ");
    assert_non_null(left);
    assert_non_null(right);
    *strchr(left, ',') = *strchr(right, ',') = '\0';
    assert_string_equal(left, right);
    done = delete_of(&world, "checkpoints", base.id);
    assert_ok((int)done.error.code, &done.error);
    done = delete_of(&world, "datasets", text.id);
    assert_ok((int)done.error.code, &done.error);
    world_submit_text(&world, request.data, NULL, &answer);
    assert_int_equal(answer.error.code, ERROR_INVALID);
    assert_contains(answer.error.message, "upload it first");
    buffer_fini(&request);
    memory_free(json);
    memory_free(by_ids);
    memory_free(by_paths);
    world_close(&world);
    lag_check_clean(place, NULL);
    test_directory_remove(place);
}

static void leftovers_of_a_crash_are_tidied_at_the_next_start(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES], orphan[FILE_PATH_BYTES], trials[FILE_PATH_BYTES], name[128];
    struct service_world world;
    struct answer answer;
    struct error error = {0};
    struct tiny_study study = {.selection = "{\"k\": 2, \"valid_tokens\": 100}"};
    lag_place_make(place, &study);
    open_world(&world, place, &(struct world_options){0});
    submit(&world, "study.json", NULL, &answer);
    assert_int_equal(world_end(&world, answer.id), STUDY_SUCCEEDED);
    world_close(&world);
    snprintf(name, sizeof name, "store/studies/%s/trials", answer.id);
    assert_false(file_exists(test_path(trials, place, name)));
    assert_ok(file_make_directory(trials, &error), &error);
    assert_ok(file_make_directory(test_path(orphan, place, "store/studies/study_gone/trials"), &error), &error);
    open_world(&world, place, &(struct world_options){0});
    world_close(&world);
    assert_false(file_exists(trials));
    assert_false(file_exists(orphan));
    lag_check_clean(place, NULL);
    test_directory_remove(place);
}

TEST_MAIN(cmocka_unit_test(same_content_has_the_same_id), cmocka_unit_test(wrong_upload_is_refused_and_leaves_nothing),
          cmocka_unit_test(study_by_ids_gives_the_ranking_of_the_study_by_paths),
          cmocka_unit_test(leftovers_of_a_crash_are_tidied_at_the_next_start))
