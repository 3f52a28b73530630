/* Growing the candidates: one job each, all before any is trained, so that equal ones are known whatever the order. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "growth/plan.h"
#include "server/run.h"
#include "server/service_state.h"

int run_grow_candidate(const struct run *run, int candidate, struct checkpoint *grown, struct error *error)
{
    const struct spec_candidate *wanted = &run->spec.candidates[candidate];
    struct growth_plan plan;

    if (growth_plan_init(&plan, &run->sources.parent.table.shape, &wanted->operators, error))
        return (int)error->code;
    growth_apply(&plan, &wanted->operators, &run->sources.parent, wanted->moments, run->spec.training.seed, grown, error);
    growth_plan_fini(&plan);
    return (int)error->code;
}

struct trial_options run_trial_options(const struct run *run, int candidate)
{
    struct error ignored = { 0 };
    struct growth_plan plan;
    double scale = 1;

    if (run->spec.training.width_rate_scaled
        && growth_plan_init(&plan, &run->sources.parent.table.shape, &run->spec.candidates[candidate].operators,
                            &ignored) == 0) {
        scale = 1 / plan.width_factor;
        growth_plan_fini(&plan);
    }
    return (struct trial_options){ .kernels = run->service->kernels, .training = run->spec.training,
                                   .hidden_rate_scale = scale, .sampler = run->spec.data.sampler, .seed_index = 0 };
}

static int grow_trial(struct seat *seat, struct error *error)
{
    struct run *run = seat->run;
    struct trial_options options = run_trial_options(run, seat->candidate);
    const struct shape *shape;
    struct checkpoint grown;

    if (run_grow_candidate(run, seat->candidate, &grown, error))
        return (int)error->code;
    shape = &grown.table.shape;
    memcpy(seat->hash, grown.hash, sizeof seat->hash);
    seat->parameters = grown.table.parameters;
    seat->flops_per_token = objective_flops_per_token(&run->spec.training.objective, shape, run->spec.training.context);
    if (growth_preservation(&run->sources.parent, &grown, run->service->kernels, run->spec.training.seed,
                            &seat->preservation, error) == 0)
        trial_init(&seat->trial, &grown, &options, error);
    checkpoint_fini(&grown);
    return (int)error->code;
}

static void grow_run(struct pool_job *job)
{
    struct seat *seat = job->owner;

    error_clear(&seat->error);
    grow_trial(seat, &seat->error);
    FAULT_POINT(grow_done);
}

static void grow_done(struct pool_job *job, bool cancelled)
{
    struct seat *seat = job->owner;
    struct run *run = seat->run;
    struct service *service = run->service;

    service->slots[seat->slot].busy = false;
    if (cancelled || seat->error.code || seat_buffers(seat, &seat->error)) {
        if (!cancelled && !seat->error.code)
            trial_fini(&seat->trial);
        service_memory_give(service, seat->bytes);
        seat->bytes = 0;
        seat->state = SEAT_EMPTY;
        if (seat->error.code == ERROR_INVALID)
            run_fail(run, &seat->error);
        else if (seat->error.code)
            run_pause(run, &seat->error);
    } else {
        seat->resident = true;
        seat->state = SEAT_IDLE;
        if (run->phase == RUN_ACTIVE)
            study_trained(&run->study, seat->candidate, 0);
    }
    service_pump_soon(service);
}

void seat_grow(struct seat *seat, int slot)
{
    struct service *service = seat->run->service;

    seat->state = SEAT_GROWING;
    seat->slot = slot;
    service->slots[slot].busy = true;
    seat->job = (struct pool_job){ .lane = POOL_TRAIN, .run = grow_run, .done = grow_done, .owner = seat };
    service->pool.submit(&service->pool, &seat->job);
}

bool run_all_grown(const struct run *run)
{
    for (int i = 0; i < run->spec.candidate_count; i++)
        if (!run->study.candidates[i].grown && !run->seats[i].hash[0])
            return false;
    return true;
}

void run_grown(struct run *run)
{
    for (int i = 0; i < run->spec.candidate_count; i++) {
        struct seat *seat = &run->seats[i];

        if (!run->study.candidates[i].grown)
            study_grown(&run->study, i, seat->hash, seat->parameters, seat->flops_per_token, seat->preservation,
                        run->loss_before);
        if (run->study.candidates[i].same_as >= 0)
            seat_release(seat);
        run_record_candidate(run, i);
    }
    run->phase = RUN_ACTIVE;
}
