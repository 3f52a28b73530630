#include "trainer/pool_queue.h"

#include "base/memory.h"
#include "base/check.h"
#include "base/rng.h"

/* The body that runs a job when the test says so. A job that libuv would hold counts as in flight, so that a seeded
 * order is one that real workers could have finished in. */
struct inline_body {
    struct pool_queue waiting[POOL_LANE_COUNT];
    struct pool_queue taken;         /* in flight, oldest first */
    struct pool_queue cancelled;     /* taken out; their done is still to be called */
    bool shuffled;
    struct rng rng;
};

static void inline_take(struct pool *pool)
{
    struct inline_body *body = pool->body;
    for (int lane = 0; lane < POOL_LANE_COUNT; lane++) {
        const int limit = pool_lane_limit(pool, (enum pool_lane)lane);
        while (pool->in_flight[lane] < limit && body->waiting[lane].first != NULL) {
            struct pool_job *job = pool_queue_pop(&body->waiting[lane]);
            job->queued = false;
            pool_queue_push(&body->taken, job);
            pool->in_flight[lane]++;
        }
    }
}

static void inline_submit(struct pool *pool, struct pool_job *job)
{
    struct inline_body *body = pool->body;
    CHECK(job->pool == NULL);
    job->pool = pool;
    job->queued = true;
    job->running = false;
    pool_queue_push(&body->waiting[job->lane], job);
    inline_take(pool);
}

static bool inline_cancel(struct pool *pool, struct pool_job *job)
{
    struct inline_body *body = pool->body;
    if (job->pool != pool || job->running) {
        return false;
    }
    if (pool_queue_remove(&body->waiting[job->lane], job)) {
        job->queued = false;
        pool_queue_push(&body->cancelled, job);
    } else if (pool_queue_remove(&body->taken, job)) {
        pool->in_flight[job->lane]--;
        pool_queue_push(&body->cancelled, job);
        inline_take(pool);
    }
    return true;   /* also when it was cancelled before */
}

/* The oldest job in flight, or one drawn from the seed. */
static struct pool_job *inline_choose(struct inline_body *body)
{
    int count = 0;
    for (const struct pool_job *job = body->taken.first; job != NULL; job = job->next) {
        count++;
    }
    struct pool_job *chosen = body->taken.first;
    if (body->shuffled && count > 1) {
        for (uint64_t skip = rng_below(&body->rng, (uint64_t)count); skip > 0; skip--) {
            chosen = chosen->next;
        }
    }
    return chosen;
}

bool pool_inline_step(struct pool *pool)
{
    struct inline_body *body = pool->body;
    struct pool_job *job = pool_queue_pop(&body->cancelled);
    if (job != NULL) {
        job->pool = NULL;
        job->done(job, true);
        return true;
    }
    job = inline_choose(body);
    if (job == NULL) {
        return false;
    }
    pool_queue_remove(&body->taken, job);
    job->running = true;
    job->run(job);
    job->running = false;
    job->pool = NULL;
    pool->in_flight[job->lane]--;
    inline_take(pool);
    job->done(job, false);
    return true;
}

void pool_inline_order(struct pool *pool, uint64_t seed)
{
    struct inline_body *body = pool->body;
    body->shuffled = true;
    body->rng = rng_stream(seed, 0, RNG_PROBE);
}

int pool_inline_init(struct pool *pool, int workers, struct error *error)
{
    int status = pool_check_workers(workers, error);
    if (status != 0) {
        return status;
    }
    struct inline_body *body = memory_new(sizeof *body);
    if (body == NULL) {
        return error_set(error, ERROR_NO_MEMORY, "No memory for the pool.");
    }
    *pool = (struct pool){.submit = inline_submit, .cancel = inline_cancel, .workers = workers, .body = body};
    return 0;
}

void pool_inline_fini(struct pool *pool)
{
    memory_free(pool->body);
    pool->body = NULL;
}
