#include "server/train_team.h"

#include <uv.h>

#include "base/memory.h"
#include "trainer/kavg.h"

struct team_worker {
    struct slice slice;                 /* first: the pool's handle */
    struct train_team *team;
    bool busy;
};

struct train_team {
    uv_loop_t loop;
    struct pool pool;
    bool has_loop, has_pool;
    struct trial *trial;
    const struct corpus *train;
    struct team_worker *workers;
    int worker_count;
    int next;                           /* the learner that is lent next */
    struct error error;                 /* the first of a round */
};

static void lend(struct train_team *team);

static void worker_done(struct pool_job *job, bool cancelled)
{
    struct team_worker *worker = job->owner;
    struct train_team *team = worker->team;

    (void)cancelled;
    worker->busy = false;
    if (worker->slice.status && !team->error.code)
        team->error = worker->slice.error;
    lend(team);
}

/* Learners in order to whoever is free. */
static void lend(struct train_team *team)
{
    for (int i = 0; i < team->worker_count; i++) {
        struct team_worker *worker = &team->workers[i];
        struct slice *slice = &worker->slice;
        if (worker->busy)
            continue;
        if (team->next >= team->trial->kavg->count || team->error.code)
            return;
        slice->job = (struct pool_job){ .lane = POOL_TRAIN, .run = slice_job_run, .done = worker_done, .owner = worker };
        slice->trial = team->trial;
        slice->train = team->train;
        slice->part = SLICE_LEARNER;
        slice->learner = team->next++;
        slice->steps_limit = UINT64_MAX;
        atomic_store(&slice->stop, false);
        worker->busy = true;
        team->pool.submit(&team->pool, &slice->job);
    }
}

int train_team_round(struct train_team *team, const struct corpus *train, uint64_t until, struct error *error)
{
    team->train = train;
    team->next = 0;
    error_clear(&team->error);
    kavg_open(team->trial, until);
    if (trial_is_joined(team->trial))
        return 0;
    lend(team);
    uv_run(&team->loop, UV_RUN_DEFAULT);
    if (team->error.code) {
        *error = team->error;
        return (int)error->code;
    }
    kavg_join(team->trial, team->workers[0].slice.scratch);
    return 0;
}

static int team_open(struct train_team *team, struct error *error)
{
    const struct trial *trial = team->trial;

    if (uv_loop_init(&team->loop))
        return error_set(error, ERROR_NO_MEMORY, "the event loop: out of memory");
    team->has_loop = true;
    if (pool_uv_init(&team->pool, &team->loop, team->worker_count, error))
        return (int)error->code;
    team->has_pool = true;
    team->workers = memory_array((size_t)team->worker_count, sizeof *team->workers);
    if (!team->workers)
        return error_set(error, ERROR_NO_MEMORY, "the workers: out of memory");
    for (int i = 0; i < team->worker_count; i++) {
        team->workers[i].team = team;
        if (scratch_new(&team->workers[i].slice.scratch, trial->options.kernels, &trial->table, &trial->options.training,
                        error))
            return (int)error->code;
    }
    return 0;
}

int train_team_new(struct train_team **team, struct trial *trial, int workers, struct error *error)
{
    struct train_team *made = memory_new(sizeof *made);

    *team = NULL;
    if (!made)
        return error_set(error, ERROR_NO_MEMORY, "the workers: out of memory");
    made->trial = trial;
    made->worker_count = workers < trial->kavg->count ? workers : trial->kavg->count;
    if (team_open(made, error)) {
        train_team_free(made);
        return (int)error->code;
    }
    *team = made;
    return 0;
}

void train_team_free(struct train_team *team)
{
    if (!team)
        return;
    for (int i = 0; team->workers && i < team->worker_count; i++)
        scratch_free(team->workers[i].slice.scratch);
    memory_free(team->workers);
    if (team->has_pool)
        pool_uv_fini(&team->pool);
    if (team->has_loop)
        uv_loop_close(&team->loop);
    memory_free(team);
}
