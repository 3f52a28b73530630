#include "tests/support/service_world.h"

#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "tests/support/support.h"

static struct clock log_clock;
static int worlds;

static int use_inline_pool(struct service_world *world, const struct world_options *options, struct error *error)
{
    world->uv_pool = world->service->pool;
    if (pool_inline_init(&world->service->pool, options->workers ? options->workers : 1, error)) {
        world->service->pool = world->uv_pool;
        world->inline_pool = false;
        return (int)error->code;
    }
    if (options->order_seed)
        pool_inline_order(&world->service->pool, options->order_seed);
    return 0;
}

int world_open(struct service_world *world, const char *place, const struct world_options *options, struct error *error)
{
    char store[FILE_PATH_BYTES];
    *world = (struct service_world){.inline_pool = options->inline_pool};
    snprintf(world->place, sizeof world->place, "%s", place);
    log_clock = clock_system();
    log_setup(2, LOG_ERROR + 1, true, &log_clock);
    world->clock = clock_settable(1000000000, 1700000000000 + 1000000 * (int64_t)++worlds);    /* each start is later */
    assert_int_equal(uv_loop_init(&world->loop), 0);
    metrics_init(&world->metrics);
    struct service_options settings = {
        .store = test_path(store, place, options->store ? options->store : "store"), .data_root = place,
        .workers = options->workers ? options->workers : 1,
        .memory_bytes = options->memory_bytes ? options->memory_bytes : (uint64_t)64 << 20, .clock = &world->clock,
        .loop = &world->loop, .version = "test", .metrics = &world->metrics, .recover = options->recover,
    };
    int status = service_open(&world->service, &settings, error);
    if (!status && options->inline_pool && use_inline_pool(world, options, error)) {
        status = (int)error->code;
        service_close(world->service);
    }
    if (status) {
        uv_run(&world->loop, UV_RUN_DEFAULT);
        assert_int_equal(uv_loop_close(&world->loop), 0);
    }
    return status;
}

void world_start(struct service_world *world)
{
    service_start(world->service);
}

static bool under_way(const struct service_world *world)
{
    const struct pool *pool = &world->service->pool;
    return pool->in_flight[POOL_TRAIN] > 0 || pool->in_flight[POOL_SERVICE] > 0;
}

static void second_passes(struct service_world *world)
{
    world->clock.set_ns += 1000000000;
    world->clock.set_wall_ms += 1000;
    if (++world->seconds > 100000)
        fail_msg("nothing happens any more: %s%s", world->service->trouble,
                 world->service->runs ? world->service->runs->reason : "");
    service_tick(world->service);
}

/* false: nothing to do at this moment */
static bool turn_now(struct service_world *world)
{
    if (world->inline_pool && pool_inline_step(&world->service->pool))
        return true;
    if (!world->inline_pool && under_way(world)) {
        uv_run(&world->loop, UV_RUN_ONCE);
        return true;
    }
    if (!world->service->pumping)
        return false;
    uv_run(&world->loop, UV_RUN_NOWAIT);
    return true;
}

void world_turn(struct service_world *world)
{
    if (!turn_now(world))
        second_passes(world);
}

void world_settle(struct service_world *world)
{
    while (turn_now(world))
        continue;
}

static void world_drained(void *context)
{
    struct service_world *world = context;
    world->drained = true;
}

void world_close(struct service_world *world)
{
    if (!world->drained)
        service_drain(world->service, world_drained, world);
    while (!world->drained)
        world_turn(world);
    if (world->inline_pool) {
        pool_inline_fini(&world->service->pool);
        world->service->pool = world->uv_pool;
    }
    service_close(world->service);
    uv_run(&world->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&world->loop), 0);
}

void world_answer(void *context, const struct error *error, const char *id, bool existed)
{
    struct answer *answer = context;
    assert_false(answer->came);
    answer->came = true;
    answer->error = *error;
    answer->existed = existed;
    snprintf(answer->id, sizeof answer->id, "%s", id ? id : "");
}

void world_wait(struct service_world *world, const struct answer *answer)
{
    while (!answer->came)
        world_turn(world);
}

enum study_state_name world_end(struct service_world *world, const char *id)
{
    enum study_state_name state = STUDY_QUEUED;
    struct error error = {0};
    for (;;) {
        error_clear(&error);
        if (!service_works_on(world->service, id)
            && service_study_state(world->service, id, &state, &error) != ERROR_NO_MEMORY) {
            assert_ok((int)error.code, &error);
            if (state != STUDY_QUEUED && state != STUDY_RUNNING)
                return state;
        }
        world_turn(world);
    }
}

void world_submit_text(struct service_world *world, const char *text, const char *key, struct answer *answer)
{
    struct study_submission submission = {.body = text, .body_length = strlen(text), .idempotency_key = key};
    *answer = (struct answer){0};
    if (service_submit(world->service, &submission, world_answer, answer)) {
        answer->came = true;
        error_set(&answer->error, ERROR_NO_MEMORY, "not even begun");
    }
    world_wait(world, answer);
}

void world_submit_file(struct service_world *world, const char *file, const char *key, struct answer *answer)
{
    char path[FILE_PATH_BYTES];
    char *text = test_read_file(test_path(path, world->place, file), NULL);
    world_submit_text(world, text, key, answer);
    memory_free(text);
}

char *world_result(struct service_world *world, const char *id)
{
    struct buffer text;
    struct error error = {0};
    bool ended = false;
    buffer_init(&text);
    assert_ok(service_study_json(world->service, id, &text, &ended, &error), &error);
    assert_true(ended);
    char *result = buffer_take(&text, NULL);
    assert_non_null(result);
    return result;
}
