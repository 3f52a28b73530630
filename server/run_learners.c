/* Learners of a seat's trial: their steps of a round are slices on different workers at the same time; the last to come back
 * leaves a round that is ready, which one further slice joins. What is lent to whom never decides a bit (trainer/kavg.h). */
#include <string.h>

#include "base/memory.h"
#include "server/metrics.h"
#include "server/run.h"
#include "server/service_state.h"
#include "trainer/kavg.h"

struct seat_part {
    struct slice slice;                 /* first: the pool's handle */
    struct seat *seat;
    int slot;                           /* worker slot while lent */
    bool lent;
    int64_t lent_ns, begun_ns;
};

int seat_parts_init(struct seat *seat, struct error *error)
{
    int count = seat->run->spec.training.learners.count;

    if (count < 2)
        return 0;
    seat->parts = memory_array((size_t)count, sizeof *seat->parts);
    if (!seat->parts)
        return error_set(error, ERROR_NO_MEMORY, "a candidate's learners: out of memory");
    seat->part_count = count;
    for (int i = 0; i < count; i++)
        seat->parts[i].seat = seat;
    return 0;
}

void seat_parts_fini(struct seat *seat)
{
    memory_free(seat->parts);
    seat->parts = NULL;
    seat->part_count = 0;
}

/* The next learner with steps left that no worker has; -1: none. */
static int idle_learner(const struct seat *seat)
{
    for (int i = 0; i < seat->part_count; i++)
        if (!seat->parts[i].lent && kavg_has_work(&seat->trial, i))
            return i;
    return -1;
}

bool seat_has_idle_learner(const struct seat *seat)
{
    return seat->state == SEAT_LENT && seat->parts_lent > 0 && !seat->joining && idle_learner(seat) >= 0;
}

static void part_body(struct pool_job *job)
{
    struct seat_part *part = job->owner;
    struct service *service = part->seat->run->service;
    struct slot *slot = &service->slots[part->slot];
    struct slice *slice = &part->slice;

    part->begun_ns = service_now(service);
    error_clear(&slice->error);
    slice->status = slot_scratch(slot, slice->trial, &slice->error);
    slice->scratch = slot->scratch;
    if (!slice->status)
        slice_run(slice);
}

static void part_trained(struct seat_part *part, double seconds)
{
    struct seat *seat = part->seat;
    struct run *run = seat->run;
    struct service_counts *counts = &run->service->counts;
    struct metrics *metrics = run->service->options.metrics;
    const struct training *training = &run->spec.training;
    double done = (double)part->slice.steps_done;
    double tokens = done * learners_rows(training, seat->trial.step) * training->context;
    double flops = tokens * run->study.candidates[seat->candidate].flops_per_token;

    run->study.candidates[seat->candidate].seconds += seconds;
    counts->train_seconds += seconds;
    if (metrics)
        metrics_observe(metrics, METRICS_QUEUE, (double)(part->begun_ns - part->lent_ns) * 1e-9);
    if (part->slice.part == SLICE_JOIN)
        return;
    counts->tokens += (uint64_t)tokens;
    counts->flops += flops;
    counts->step_flops[training->compute] += flops;
    counts->step_seconds[training->compute] += seconds;
    if (metrics && done > 0)
        metrics_observe(metrics, METRICS_STEP, seconds / done);
}

static void part_finished(struct pool_job *job, bool cancelled)
{
    struct seat_part *part = job->owner;
    struct seat *seat = part->seat;
    struct run *run = seat->run;
    struct service *service = run->service;
    struct slice *slice = &part->slice;

    service->slots[part->slot].busy = false;
    part->lent = false;
    seat->joining = false;
    seat->parts_lent--;
    if (seat->parts_lent == 0)
        seat->state = SEAT_IDLE;
    if (!cancelled) {
        part_trained(part, (double)(service_now(service) - part->begun_ns) * 1e-9);
        if (slice->status && slice->status != ERROR_CANCELLED)
            run_trouble(run, &slice->error);
        else if (slice->part == SLICE_JOIN && !slice->status)
            seat_moved(seat, slice->steps_done);
    }
    service_pump_soon(service);
}

static void part_lend(struct seat_part *part, int slot, enum slice_part what, int learner)
{
    struct seat *seat = part->seat;
    struct run *run = seat->run;
    struct service *service = run->service;
    struct slice *slice = &part->slice;

    slice->job = (struct pool_job){ .lane = POOL_TRAIN, .run = part_body, .done = part_finished, .owner = part };
    slice->trial = &seat->trial;
    slice->train = &run->sources.train;
    slice->part = what;
    slice->learner = learner;
    slice->steps_limit = seat_slice_steps(seat);
    slice->steps_done = 0;
    slice->status = 0;
    atomic_store(&slice->stop, false);
    part->slot = slot;
    part->lent = true;
    seat->joining = what == SLICE_JOIN;
    part->lent_ns = service_now(service);
    seat->parts_lent++;
    seat->state = SEAT_LENT;
    service->slots[slot].busy = true;
    run->study.candidates[seat->candidate].state = CANDIDATE_RUNNING;
    service->pool.submit(&service->pool, &slice->job);
}

void seat_lend_learner(struct seat *seat, int slot, uint64_t until)
{
    int learner;

    if (seat->parts_lent == 0)
        kavg_open(&seat->trial, until);
    learner = idle_learner(seat);
    if (learner >= 0)
        part_lend(&seat->parts[learner], slot, SLICE_LEARNER, learner);
    else if (seat->parts_lent == 0 && kavg_is_ready(&seat->trial))
        part_lend(&seat->parts[0], slot, SLICE_JOIN, 0);
}

void seat_stop_parts(struct seat *seat)
{
    struct pool *pool = &seat->run->service->pool;

    for (int i = 0; i < seat->part_count; i++)
        if (seat->parts[i].lent) {
            atomic_store(&seat->parts[i].slice.stop, true);
            pool->cancel(pool, &seat->parts[i].slice.job);
        }
}
