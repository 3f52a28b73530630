/* What the tests of a service's controls share: a place, a world in it, and steps that read like their names. */
#ifndef TESTS_SERVER_CONTROL_PARTS_H
#define TESTS_SERVER_CONTROL_PARTS_H

#include "tests/support/support.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "tests/support/lag_run.h"
#include "tests/support/service_world.h"

static const struct tiny_study control_study = {
    .selection = "{\"max_k\": 52, \"valid_tokens\": 400, \"evaluate_every\": 10}",
};

static inline void open_world(struct service_world *world, const char *place, const struct world_options *options)
{
    struct error error = {0};
    assert_ok(world_open(world, place, options, &error), &error);
    world_start(world);
}

static inline void submit(struct service_world *world, const char *file, const char *key, struct answer *answer)
{
    world_submit_file(world, file, key, answer);
    assert_ok((int)answer->error.code, &answer->error);
}

/* Until every candidate that is trained has at least `step` steps. */
static inline void until_all_at(struct service_world *world, const char *id, uint64_t step)
{
    for (;;) {
        const struct study *study = service_study(world->service, id);
        bool there = study != NULL;
        for (int i = 0; there && i < study->spec->candidate_count; i++)
            there = study->candidates[i].step >= step || study->candidates[i].same_as >= 0;
        if (there)
            return;
        world_turn(world);
    }
}

typedef int control_function(struct service *service, const char *id, service_callback *callback, void *context);

static inline struct answer control(struct service_world *world, control_function *function, const char *id)
{
    struct answer answer = {0};
    assert_int_equal(function(world->service, id, world_answer, &answer), 0);
    world_wait(world, &answer);
    return answer;
}

static inline struct answer delete_of(struct service_world *world, const char *kind, const char *id)
{
    struct answer answer = {0};
    assert_int_equal(service_delete(world->service, kind, id, world_answer, &answer), 0);
    world_wait(world, &answer);
    return answer;
}

/* The result of an undisturbed run, in a store of its own. */
static inline char *undisturbed(const char *place, const char *file)
{
    struct service_world world;
    struct answer answer;
    open_world(&world, place, &(struct world_options){.store = "undisturbed", .workers = 2});
    submit(&world, file, NULL, &answer);
    assert_int_equal(world_end(&world, answer.id), STUDY_SUCCEEDED);
    char *result = world_result(&world, answer.id);
    world_close(&world);
    return result;
}

static inline void assert_ends_like(struct service_world *world, const char *id, const char *reference)
{
    assert_int_equal(world_end(world, id), STUDY_SUCCEEDED);
    char *result = world_result(world, id);
    assert_identical(reference, result);
    memory_free(result);
}

static inline char *json_of(struct service_world *world, const char *id)
{
    struct buffer text;
    struct error error = {0};
    bool ended;
    buffer_init(&text);
    assert_ok(service_study_json(world->service, id, &text, &ended, &error), &error);
    return buffer_take(&text, NULL);
}

/* All events of a study as text. */
static inline char *events_of(struct service_world *world, const char *id)
{
    struct buffer text;
    struct error error = {0};
    uint64_t last = 0;
    bool ended;
    buffer_init(&text);
    assert_ok(service_events(world->service, id, &last, 1000000, &text, &ended, &error), &error);
    return buffer_take(&text, NULL);
}

static inline int count_of(const char *text, const char *piece)
{
    int count = 0;
    for (; (text = strstr(text, piece)) != NULL; text += strlen(piece))
        count++;
    return count;
}

#endif
