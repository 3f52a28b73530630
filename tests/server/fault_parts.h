/* What the fault tests share: a study of two steps in a service whose jobs run in place, so that the n-th crossing is the
 * same one every time; and the verdict: whatever failed once, the study ends with the identical result. */
#ifndef TESTS_SERVER_FAULT_PARTS_H
#define TESTS_SERVER_FAULT_PARTS_H

#include "tests/support/support.h"

#include <string.h>

#include "base/memory.h"
#include "tests/support/lag_run.h"
#include "tests/support/service_world.h"

struct fault_place {
    char place[FILE_PATH_BYTES];
    char *text;                    /* study.json */
    char *reference;               /* the result of the study that nothing happened to */
};

static const struct tiny_study two_steps = {
    .candidates = "[{\"name\": \"first\", \"operators\": [{\"op\": \"stack\", \"layers\": 3}]},"
                  " {\"name\": \"wide\", \"operators\": [{\"op\": \"hyperclone\", \"width\": 32}]}]",
    .training = "{\"batch\": 2, \"context\": 8, \"steps\": 2, \"schedule\": {\"name\": \"constant\", \"warmup_steps\": 1}}",
    .selection = "{\"k\": 2, \"valid_tokens\": 64, \"evaluate_every\": 1}",
    .more = ", \"keep\": \"winner\"",
};

/* The answer that a fault may lead to: what passes when asked again. */
static inline bool may_be_asked_again(enum error_code code)
{
    return code == ERROR_NO_MEMORY || code == ERROR_DISK_FULL || code == ERROR_IO;
}

static inline void open_fault_world(struct service_world *world, const char *place, const char *store)
{
    const struct world_options options = {.store = store, .inline_pool = true, .recover = true};
    struct error error = {0};
    assert_ok(world_open(world, place, &options, &error), &error);
    world_start(world);
    world_settle(world);
}

/* Sends the study until it is taken. */
static inline void submit_again(struct service_world *world, const struct fault_place *it, struct answer *answer)
{
    world_submit_text(world, it->text, "key", answer);
    assert_ok((int)answer->error.code, &answer->error);
}

/* Runs to the end, compares, closes, and takes the store away. */
static inline void end_and_compare(struct service_world *world, const struct fault_place *it, const char *id)
{
    char path[FILE_PATH_BYTES];
    assert_int_equal(world_end(world, id), STUDY_SUCCEEDED);
    char *result = world_result(world, id);
    assert_identical(it->reference, result);
    memory_free(result);
    assert_int_equal(world->service->memory_used, 0);
    assert_int_equal(test_count_temporaries(test_path(path, world->service->store.directory, "studies")), 0);
    snprintf(path, sizeof path, "%s", world->service->store.directory);
    world_close(world);
    test_directory_remove(path);
}

static inline int fault_place_make(void **state)
{
    struct fault_place *it = memory_new(sizeof *it);
    struct service_world world;
    struct answer answer;
    char path[FILE_PATH_BYTES];
    assert_non_null(it);
    test_directory_make(it->place);
    tiny_study_write(it->place, &two_steps);
    it->text = test_read_file(test_path(path, it->place, "study.json"), NULL);
    open_fault_world(&world, it->place, "reference");
    submit_again(&world, it, &answer);
    assert_int_equal(world_end(&world, answer.id), STUDY_SUCCEEDED);
    it->reference = world_result(&world, answer.id);
    world_close(&world);
    *state = it;
    return 0;
}

static inline int fault_place_remove(void **state)
{
    struct fault_place *it = *state;
    test_directory_remove(it->place);
    memory_free(it->reference);
    memory_free(it->text);
    memory_free(it);
    return 0;
}

/* The whole study, from its admission on, with the n-th crossing failed; false if there are fewer. */
static inline bool study_with_fault(const struct fault_place *it, enum fault_kind kind, int64_t n)
{
    struct service_world world;
    struct answer answer;
    fault_arm(kind, 0);
    open_fault_world(&world, it->place, "store");
    fault_arm(kind, n);
    world_submit_text(&world, it->text, "key", &answer);
    if (answer.error.code) {
        assert_true(may_be_asked_again(answer.error.code));
        submit_again(&world, it, &answer);
    }
    if (world_end(&world, answer.id) != STUDY_SUCCEEDED) {
        struct error error = {0};
        enum study_state_name ended = STUDY_QUEUED;
        char reason[512] = "";
        service_study_reason(world.service, answer.id, &ended, reason, &error);
        fail_msg("crossing %lld: the study %s: %s", (long long)n, study_state_text(ended), reason);
    }
    bool struck = fault_struck(kind, n);
    end_and_compare(&world, it, answer.id);
    return struck;
}

#endif
