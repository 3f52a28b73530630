/* One study in a service whose jobs end in an order drawn from a seed, one at a time: whatever the order and however many
 * workers, the result is the one of first in, first out. And two studies at once don't disturb each other. */
#include "tests/support/support.h"

#include <string.h>

#include "base/memory.h"
#include "tests/support/lag_run.h"
#include "tests/support/service_world.h"

static char *run_ordered(const char *place, const char *store, int workers, uint64_t order, uint64_t memory)
{
    struct world_options options = {.store = store, .workers = workers, .inline_pool = true, .order_seed = order,
                                    .memory_bytes = memory};
    struct service_world world;
    struct answer answer;
    struct error error = {0};
    assert_ok(world_open(&world, place, &options, &error), &error);
    world_start(&world);
    world_submit_file(&world, "study.json", NULL, &answer);
    assert_ok((int)answer.error.code, &answer.error);
    assert_int_equal(world_end(&world, answer.id), STUDY_SUCCEEDED);
    char *result = world_result(&world, answer.id);
    world_close(&world);
    return result;
}

static void every_order_of_finishing_gives_the_identical_result(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES], store[16];
    struct tiny_study study = {.selection = "{\"max_k\": 52, \"valid_tokens\": 400}"};
    lag_place_make(place, &study);
    char *first = run_ordered(place, "fifo", 1, 0, 0);
    for (int i = 1; i <= 8; i++) {
        snprintf(store, sizeof store, "order%d", i);
        char *other = run_ordered(place, store, 1 + i % 4, (uint64_t)i, i > 4 ? tiny_memory(1 + i % 4, 1536 << 10) : 0);
        assert_identical(first, other);
        memory_free(other);
    }
    memory_free(first);
    test_directory_remove(place);
}

static void two_studies_at_once_give_what_each_gives_alone(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    struct tiny_study study = {.selection = "{\"max_k\": 52, \"valid_tokens\": 400}"};
    struct tiny_study other = {.name = "other", .selection = "{\"k\": 30, \"valid_tokens\": 300}",
                               .candidates = "[{\"name\": \"a\", \"operators\": [{\"op\": \"first\", \"layers\": 3}]},"
                                             " {\"name\": \"b\", \"operators\": [{\"op\": \"hyperclone\", \"width\": 32}]}]"};
    struct service_world world;
    struct answer answers[3];
    struct error error = {0};
    lag_place_make(place, &study);
    tiny_study_json(test_path(path, place, "other.json"), &other);
    char *alone = run_ordered(place, "alone", 1, 0, 0);
    struct world_options both = {.store = "both", .workers = 2, .memory_bytes = tiny_memory(2, 1536 << 10),
                                 .inline_pool = true, .order_seed = 5};
    assert_ok(world_open(&world, place, &both, &error), &error);
    world_start(&world);
    world_submit_file(&world, "other.json", NULL, &answers[0]);
    world_submit_file(&world, "study.json", NULL, &answers[1]);
    world_submit_file(&world, "other.json", NULL, &answers[2]);
    char *results[3];
    for (int i = 0; i < 3; i++) {
        assert_ok((int)answers[i].error.code, &answers[i].error);
        assert_int_equal(world_end(&world, answers[i].id), STUDY_SUCCEEDED);
        results[i] = world_result(&world, answers[i].id);
    }
    assert_identical(alone, results[1]);
    assert_identical(results[0], results[2]);
    assert_string_not_equal(answers[0].id, answers[2].id);
    assert_int_equal(world.service->memory_used, 0);
    world_close(&world);
    for (int i = 0; i < 3; i++)
        memory_free(results[i]);
    memory_free(alone);
    test_directory_remove(place);
}

TEST_MAIN(cmocka_unit_test(every_order_of_finishing_gives_the_identical_result),
          cmocka_unit_test(two_studies_at_once_give_what_each_gives_alone))
