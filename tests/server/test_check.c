/* lag check: a sound store is clean; every kind of damage is named with its repair, exit code 3. */
#include "tests/server/control_parts.h"

struct checked {
    char place[FILE_PATH_BYTES];
    char study[SERVICE_ID_BYTES], stopped[SERVICE_ID_BYTES], checkpoint[SERVICE_ID_BYTES], dataset[SERVICE_ID_BYTES];
};

static void upload(struct service_world *world, struct checked *it)
{
    char from[FILE_PATH_BYTES], to[FILE_PATH_BYTES], directory[FILE_PATH_BYTES];
    struct answer base = {0}, text = {0};
    struct error error = {0};
    static const char *const files[] = {"config.json", "model.safetensors"};
    assert_ok(file_make_directory(test_path(directory, service_upload_directory(world->service), "1"), &error), &error);
    for (int i = 0; i < 2; i++) {
        char name[64];
        snprintf(name, sizeof name, "base/%s", files[i]);
        assert_ok(file_copy(test_path(from, it->place, name), test_path(to, directory, files[i]), &error), &error);
    }
    assert_int_equal(service_accept_checkpoint(world->service, directory, world_answer, &base), 0);
    world_wait(world, &base);
    test_path(to, service_upload_directory(world->service), "2");
    assert_ok(file_copy(test_path(from, it->place, "train.txt"), to, &error), &error);
    assert_int_equal(service_accept_dataset(world->service, to, world_answer, &text), 0);
    world_wait(world, &text);
    snprintf(it->checkpoint, sizeof it->checkpoint, "%s", base.id);
    snprintf(it->dataset, sizeof it->dataset, "%s", text.id);
}

/* A store with an upload of each kind, a study that succeeded and one that was stopped with its trials on disk. */
static int checked_make(void **state)
{
    struct checked *it = memory_new(sizeof *it);
    struct service_world world;
    struct answer answer;
    char path[FILE_PATH_BYTES];
    struct tiny_study brief = {.selection = "{\"k\": 2, \"valid_tokens\": 100}"};
    assert_non_null(it);
    lag_place_make(it->place, &brief);
    tiny_study_json(test_path(path, it->place, "long.json"), &control_study);
    open_world(&world, it->place, &(struct world_options){0});
    upload(&world, it);
    submit(&world, "study.json", NULL, &answer);
    snprintf(it->study, sizeof it->study, "%s", answer.id);
    assert_int_equal(world_end(&world, answer.id), STUDY_SUCCEEDED);
    submit(&world, "long.json", NULL, &answer);
    snprintf(it->stopped, sizeof it->stopped, "%s", answer.id);
    until_all_at(&world, answer.id, 51);
    world_close(&world);
    *state = it;
    return 0;
}

static int checked_remove(void **state)
{
    struct checked *it = *state;
    test_directory_remove(it->place);
    memory_free(it);
    return 0;
}

static char *path_in(const struct checked *it, char path[FILE_PATH_BYTES], const char *format, const char *id)
{
    char name[256];
    snprintf(name, sizeof name, format, id);
    return test_path(path, it->place, name);
}

static void check(const struct checked *it, int code, const char *piece, const char *repair)
{
    char store[FILE_PATH_BYTES];
    struct process process;
    test_path(store, it->place, "store");
    process_run(&process, (const char *const[]){process_lag(), "check", store, NULL}, NULL);
    assert_exit(&process, code);
    assert_contains(process.text[PROCESS_OUT], piece);
    assert_contains(process.text[PROCESS_OUT], repair);
    process_free(&process);
}

/* Flips one bit, checks, and flips it back. */
static void check_flipped(const struct checked *it, const char *path, size_t from_end, const char *piece, const char *repair)
{
    size_t length;
    char *bytes = test_read_file(path, &length);
    assert_true(length > from_end);
    bytes[length - 1 - from_end] ^= 1;
    test_write_file(path, bytes, length);
    check(it, 3, piece, repair);
    bytes[length - 1 - from_end] ^= 1;
    test_write_file(path, bytes, length);
    memory_free(bytes);
    check(it, 0, " 0 found wrong", "");
}

static void sound_store_is_clean(void **state)
{
    const struct checked *it = *state;
    char store[FILE_PATH_BYTES];
    struct process process;
    check(it, 0, " 0 found wrong", "");
    test_path(store, it->place, "store");
    process_run(&process, (const char *const[]){process_lag(), "check", store, "--json", NULL}, NULL);
    assert_exit(&process, 0);
    assert_contains(process.text[PROCESS_OUT], "\"findings\":[]}");
    process_free(&process);
}

static void flipped_bits_are_found(void **state)
{
    const struct checked *it = *state;
    char path[FILE_PATH_BYTES];
    check_flipped(it, path_in(it, path, "store/checkpoints/%s/model.safetensors", it->checkpoint), 1000,
                  "not what its name says", "delete the checkpoint and upload it again");
    check_flipped(it, path_in(it, path, "store/checkpoints/%s/config.json", it->checkpoint), 1,
                  it->checkpoint, "upload it again");
    check_flipped(it, path_in(it, path, "store/datasets/%s/tokens", it->dataset), 7, "not what its name says",
                  "delete the dataset and upload it again");
    check_flipped(it, path_in(it, path, "store/studies/%s/trials/2.trial", it->stopped), 5000, "2.trial",
                  "its trial is trained anew, with the same result");
    check_flipped(it, path_in(it, path, "store/studies/%s/candidates/0/model.safetensors", it->study), 2000,
                  "candidates/0", "it gives the identical result");
}

static void missing_documents_and_orphans_are_found(void **state)
{
    const struct checked *it = *state;
    char path[FILE_PATH_BYTES], aside[FILE_PATH_BYTES];
    struct error error = {0};
    static const char *const documents[] = {"curves.csv", "curves.json", "plot.svg", "report.html", "table.txt"};
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
        char name[64];
        snprintf(name, sizeof name, "store/studies/%%s/%s", documents[i]);
        path_in(it, path, name, it->study);
        assert_ok(file_rename(path, test_path(aside, it->place, "aside"), &error), &error);
        check(it, 3, documents[i], "missing from a study that succeeded");
        assert_ok(file_rename(aside, path, &error), &error);
    }
    static const char *const orphans[] = {"store/studies/study_x", "store/checkpoints/ckpt_x", "store/datasets/data_x"};
    for (int i = 0; i < 3; i++) {
        assert_ok(file_make_directory(test_path(path, it->place, orphans[i]), &error), &error);
        check(it, 3, strrchr(orphans[i], '/') + 1, "remove the directory");
        assert_ok(file_remove_tree(path, &error), &error);
    }
    check(it, 0, " 0 found wrong", "");
}

static void removed_item_is_found(void **state)
{
    const struct checked *it = *state;
    char path[FILE_PATH_BYTES], aside[FILE_PATH_BYTES];
    struct error error = {0};
    path_in(it, path, "store/datasets/%s/tokens", it->dataset);
    assert_ok(file_rename(path, test_path(aside, it->place, "aside"), &error), &error);
    check(it, 3, it->dataset, "upload it again");
    assert_ok(file_rename(aside, path, &error), &error);
}

static void findings_are_json_on_request(void **state)
{
    const struct checked *it = *state;
    char path[FILE_PATH_BYTES], store[FILE_PATH_BYTES];
    struct process process;
    struct error error = {0};
    assert_ok(file_make_directory(test_path(path, it->place, "store/studies/study_y"), &error), &error);
    test_path(store, it->place, "store");
    process_run(&process, (const char *const[]){process_lag(), "check", store, "--json", NULL}, NULL);
    assert_exit(&process, 3);
    assert_contains(process.text[PROCESS_OUT], "{\"where\":\"study_y\",\"what\":");
    assert_contains(process.text[PROCESS_OUT], "\"repair\":\"remove the directory");
    process_free(&process);
    assert_ok(file_remove_tree(path, &error), &error);
}

static void damaged_database_ends_with_exit_code_3(void **state)
{
    const struct checked *it = *state;
    char place[FILE_PATH_BYTES], path[FILE_PATH_BYTES], from[FILE_PATH_BYTES], study[FILE_PATH_BYTES];
    struct process process;
    struct error error = {0};
    size_t length;
    (void)path_in(it, from, "store/lag.db%s", "");
    test_directory_make(place);
    char *bytes = test_read_file(from, &length);
    memset(bytes + 4096, 0x5a, length - 4096);        /* all pages but the first */
    test_write_file(test_path(path, place, "lag.db"), bytes, length);
    memory_free(bytes);
    process_run(&process, (const char *const[]){process_lag(), "check", place, NULL}, NULL);
    assert_exit(&process, 3);
    process_free(&process);
    test_path(study, it->place, "study.json");
    process_run(&process, (const char *const[]){process_lag(), "run", study, "--store", place, NULL}, NULL);
    assert_exit(&process, 3);
    assert_contains(process.text[PROCESS_ERR], "lag check");
    process_free(&process);
    test_write_file(path, "no database at all, but long enough to look like one, or so it thinks ............", 80);
    process_run(&process, (const char *const[]){process_lag(), "check", place, NULL}, NULL);
    assert_exit(&process, 3);
    process_free(&process);
    assert_ok(file_remove(path, &error), &error);
    process_run(&process, (const char *const[]){process_lag(), "check", place, NULL}, NULL);
    assert_exit(&process, 2);
    assert_contains(process.text[PROCESS_ERR], "holds no store");
    process_free(&process);
    test_directory_remove(place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sound_store_is_clean),          cmocka_unit_test(flipped_bits_are_found),
        cmocka_unit_test(missing_documents_and_orphans_are_found), cmocka_unit_test(removed_item_is_found),
        cmocka_unit_test(findings_are_json_on_request),  cmocka_unit_test(damaged_database_ends_with_exit_code_3),
    };
    return cmocka_run_group_tests(tests, checked_make, checked_remove);
}
