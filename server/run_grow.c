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
    return (struct trial_options){ .kernels = run->service->kernels, .training = run->spec.training,
                                   .hidden_rate_scale = run->seats[candidate].rate_scale,
                                   .sampler = run->spec.data.sampler, .seed_index = 0 };
}

/* ---- plans: what a candidate will be, before it is grown */

static int add_warning(struct run *run, const char *text, struct error *error)
{
    const char **list = memory_resize(run->warnings, (size_t)(run->warning_count + 1) * sizeof *list);

    if (!list)
        return error_set(error, ERROR_NO_MEMORY, "study %s: out of memory", run->row.id);
    run->warnings = list;
    list[run->warning_count] = memory_string(text);
    if (!list[run->warning_count])
        return error_set(error, ERROR_NO_MEMORY, "study %s: out of memory", run->row.id);
    run->warning_count++;
    return 0;
}

static int take_plan(struct run *run, struct seat *seat, const struct growth_plan *plan, struct error *error)
{
    const struct training *training = &run->spec.training;
    uint64_t scratch = scratch_bytes(run->service->kernels, &plan->to, training);

    seat->shape = plan->to;
    seat->trial_bytes = trial_bytes(&plan->to, training);
    seat->rate_scale = training->width_rate_scaled ? 1 / plan->width_factor : 1;
    if (scratch > run->scratch_bytes)
        run->scratch_bytes = scratch;
    for (int i = 0; i < plan->warning_count; i++) {
        char text[sizeof plan->warnings[0] + SPEC_NAME_MAX + 8];
        snprintf(text, sizeof text, "\"%s\": %s", run->spec.candidates[seat->candidate].name, plan->warnings[i]);
        if (add_warning(run, text, error))
            return (int)error->code;
    }
    return 0;
}

int run_plan_seats(struct run *run, struct error *error)
{
    const char *slow = training_compute_warning(&run->spec.training, run->service->kernels);
    char text[128];

    snprintf(text, sizeof text, "the checkpoint's config.json has dropout %.3g; it is trained as 0",
             run->sources.facts.dropout);
    if (run->sources.facts.dropout > 0 && add_warning(run, text, error))
        return (int)error->code;
    if (slow && add_warning(run, slow, error))
        return (int)error->code;
    for (int i = 0; i < run->spec.candidate_count && !error->code; i++) {
        struct growth_plan plan;
        if (growth_plan_init(&plan, &run->sources.parent.table.shape, &run->spec.candidates[i].operators, error))
            break;
        take_plan(run, &run->seats[i], &plan, error);
        growth_plan_fini(&plan);
    }
    return (int)error->code;
}

/* ---- growing */

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

    bool grown = !cancelled && !seat->error.code;

    service->slots[seat->slot].busy = false;
    if (grown && seat_buffers(seat, &seat->error)) {
        trial_fini(&seat->trial);
        grown = false;
    }
    if (!grown) {
        service_memory_give(service, seat->bytes);
        seat->bytes = 0;
        seat->state = SEAT_EMPTY;
        if (seat->error.code)
            run_trouble(run, &seat->error);
    } else {
        seat->resident = seat->known = true;
        seat->state = SEAT_IDLE;
        seat->saved_ns = service_now(service);
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
        if (!run->study.candidates[i].grown && !run->seats[i].known)
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
