#include "server/workforce.h"

#include <stdbool.h>
#include <uv.h>

#include "base/memory.h"
#include "trainer/pool.h"

struct office;
struct worker {
    struct pool_job handle;
    struct office *office;
    int job;
    struct error error;
};

struct office {
    const struct workforce *workforce;
    uv_loop_t loop;
    struct pool pool;
    struct worker *workers;
    int count, next, ended;
    struct error error;                 /* of the first job that failed */
};

static void run_job(struct pool_job *handle)
{
    struct worker *worker = handle->owner;
    const struct workforce *workforce = worker->office->workforce;

    error_clear(&worker->error);
    workforce->run(workforce->owner, worker->job, &worker->error);
}

static void lend(struct worker *worker);

static void job_done(struct pool_job *handle, bool cancelled)
{
    struct worker *worker = handle->owner;
    struct office *office = worker->office;

    (void)cancelled;
    if (worker->error.code) {
        if (!office->error.code)
            office->error = worker->error;
        atomic_store(office->workforce->stop, true);
    } else {
        office->ended++;
        office->workforce->done(office->workforce->owner, worker->job);
    }
    lend(worker);
}

static void lend(struct worker *worker)
{
    struct office *office = worker->office;

    if (office->next == office->workforce->jobs || atomic_load(office->workforce->stop))
        return;
    worker->job = office->next++;
    worker->handle = (struct pool_job){ .lane = POOL_TRAIN, .run = run_job, .done = job_done, .owner = worker };
    office->pool.submit(&office->pool, &worker->handle);
}

static int work(struct office *office, struct error *error)
{
    const struct workforce *workforce = office->workforce;

    office->workers = memory_array((size_t)office->count, sizeof *office->workers);
    if (!office->workers)
        return error_set(error, ERROR_NO_MEMORY, "the workers: out of memory");
    for (int i = 0; i < office->count; i++) {
        office->workers[i].office = office;
        lend(&office->workers[i]);
    }
    uv_run(&office->loop, UV_RUN_DEFAULT);
    memory_free(office->workers);
    if (office->error.code)
        *error = office->error;
    else if (office->ended < workforce->jobs)
        error_set(error, ERROR_CANCELLED, "stopped after %d of %d runs", office->ended, workforce->jobs);
    return (int)error->code;
}

int workforce_run(const struct workforce *workforce, struct error *error)
{
    struct office office = { .workforce = workforce,
                             .count = workforce->workers < workforce->jobs ? workforce->workers : workforce->jobs };

    if (workforce->jobs == 0)
        return 0;
    if (uv_loop_init(&office.loop))
        return error_set(error, ERROR_NO_MEMORY, "there is no room for an event loop");
    if (pool_uv_init(&office.pool, &office.loop, office.count, error) == 0) {
        work(&office, error);
        pool_uv_fini(&office.pool);
    }
    uv_loop_close(&office.loop);
    return (int)error->code;
}
