#include "trainer/pool_queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "base/check.h"
#include "base/memory.h"

/* A job's way:
 *
 *     submit -> waiting[lane] -> (a request is free) -> libuv -> worker: run -> loop: done(false)
 *                  | cancel                               | uv_cancel
 *                  v                                      v
 *               cancelled -> sweep on the loop ------> loop: done(true)
 *
 * There are as many requests as jobs that may be inside libuv, and one more for the sweep; all allocated at init. */
struct uv_request {
    uv_work_t work;
    struct pool *pool;
    struct pool_job *job;
    struct uv_request *next_free;
    bool cancelled;
};

struct uv_body {
    uv_loop_t *loop;
    struct pool_queue waiting[POOL_LANE_COUNT];
    struct pool_queue cancelled;      /* taken out while waiting; their done is still to be called */
    uv_work_t sweep;                  /* brings us back to the loop's callbacks to call them */
    bool sweeping;
    struct uv_request *requests, *free;
};

static void uv_take(struct pool *pool);

static void request_run(uv_work_t *work)
{
    struct uv_request *request = work->data;
    request->job->run(request->job);
}

static void request_done(uv_work_t *work, int status)
{
    struct uv_request *request = work->data;
    struct pool *pool = request->pool;
    struct uv_body *body = pool->body;
    struct pool_job *job = request->job;
    pool->in_flight[job->lane]--;
    request->job = NULL;
    request->next_free = body->free;
    body->free = request;
    job->request = NULL;
    job->running = false;
    job->pool = NULL;
    uv_take(pool);
    job->done(job, status == UV_ECANCELED);
}

/* Hands jobs to libuv while their lanes have room. */
static void uv_take(struct pool *pool)
{
    struct uv_body *body = pool->body;
    for (int lane = 0; lane < POOL_LANE_COUNT; lane++) {
        const int limit = pool_lane_limit(pool, (enum pool_lane)lane);
        while (pool->in_flight[lane] < limit && body->waiting[lane].first != NULL) {
            struct pool_job *job = pool_queue_pop(&body->waiting[lane]);
            struct uv_request *request = body->free;
            body->free = request->next_free;
            request->job = job;
            request->cancelled = false;
            request->work.data = request;
            job->request = request;
            job->queued = false;
            job->running = true;
            pool->in_flight[lane]++;
            CHECK(uv_queue_work(body->loop, &request->work, request_run, request_done) == 0);
        }
    }
}

static void sweep_run(uv_work_t *work)
{
    (void)work;
}

static void sweep_done(uv_work_t *work, int status)
{
    (void)status;
    struct pool *pool = work->data;
    struct uv_body *body = pool->body;
    struct pool_queue cancelled = body->cancelled;
    body->cancelled = (struct pool_queue){NULL, NULL};
    body->sweeping = false;
    for (struct pool_job *job = pool_queue_pop(&cancelled); job != NULL; job = pool_queue_pop(&cancelled)) {
        job->pool = NULL;
        job->done(job, true);
    }
}

static void uv_submit(struct pool *pool, struct pool_job *job)
{
    struct uv_body *body = pool->body;
    CHECK(job->pool == NULL);
    job->pool = pool;
    job->queued = true;
    job->running = false;
    pool_queue_push(&body->waiting[job->lane], job);
    uv_take(pool);
}

/* An empty piece of work, cancelled at once so that it does not wait for a thread: its callback comes from the
 * loop. */
static void sweep_start(struct uv_body *body)
{
    if (!body->sweeping) {
        body->sweeping = true;
        CHECK(uv_queue_work(body->loop, &body->sweep, sweep_run, sweep_done) == 0);
        uv_cancel((uv_req_t *)&body->sweep);
    }
}

static bool uv_pool_cancel(struct pool *pool, struct pool_job *job)
{
    struct uv_body *body = pool->body;
    if (job->pool != pool) {
        return false;
    }
    if (job->queued) {
        pool_queue_remove(&body->waiting[job->lane], job);
        job->queued = false;
        pool_queue_push(&body->cancelled, job);
        sweep_start(body);
        return true;
    }
    struct uv_request *request = job->request;
    if (request == NULL) {
        return true;   /* cancelled before; its done follows */
    }
    if (!request->cancelled) {
        request->cancelled = uv_cancel((uv_req_t *)&request->work) == 0;
    }
    return request->cancelled;
}

static void requests_link(struct pool *pool, int count)
{
    struct uv_body *body = pool->body;
    for (int i = count - 1; i >= 0; i--) {
        body->requests[i].pool = pool;
        body->requests[i].next_free = body->free;
        body->free = &body->requests[i];
    }
}

int pool_uv_init(struct pool *pool, struct uv_loop_s *loop, int workers, struct error *error)
{
    int status = pool_check_workers(workers, error);
    if (status != 0) {
        return status;
    }
    const int count = workers + POOL_SERVICE_JOBS;
    struct uv_body *body = memory_new(sizeof *body);
    struct uv_request *requests = memory_array((size_t)count, sizeof *requests);
    char threads[16];
    snprintf(threads, sizeof threads, "%d", count);
    if (body == NULL || requests == NULL || setenv("UV_THREADPOOL_SIZE", threads, 1) != 0) {
        memory_free(requests);
        memory_free(body);
        return error_set(error, ERROR_NO_MEMORY, "No memory for the pool.");
    }
    body->loop = loop;
    body->requests = requests;
    body->sweep.data = pool;
    *pool = (struct pool){.submit = uv_submit, .cancel = uv_pool_cancel, .workers = workers, .body = body};
    requests_link(pool, count);
    return 0;
}

void pool_uv_fini(struct pool *pool)
{
    struct uv_body *body = pool->body;
    if (body == NULL) {
        return;
    }
    CHECK(pool->in_flight[POOL_TRAIN] == 0 && pool->in_flight[POOL_SERVICE] == 0 && !body->sweeping);
    memory_free(body->requests);
    memory_free(body);
    pool->body = NULL;
}
