/* Growing the candidates: one job each, all before any is trained, so that equal ones are known whatever the order. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "growth/plan.h"
#include "server/run.h"
#include "server/service_state.h"
#include "trainer/optimizer.h"

const struct shape *run_base(const struct run *run)
{
    return run->whole ? &run->whole->sources.facts.parent : &run->sources.facts.parent;
}

int run_grow_candidate(const struct run *run, int candidate, struct checkpoint *grown, struct error *error)
{
    const struct spec_candidate *wanted = &run->spec.candidates[candidate];
    struct ligo_fit fit = { .kernels = run->service->kernels, .training = run->spec.training,
                            .sampler = run->spec.data.sampler, .seed_index = 0, .train = &run->sources.train,
                            .stop = &run->stop };
    struct growth_learner learner = ligo_fit_learner(&fit);
    struct growth_options options = { .moments = wanted->moments, .seed = run->spec.training.seed, .learner = &learner,
                                      .parametrization = run->spec.training.parametrization, .base = run_base(run) };
    struct growth_plan plan;

    if (growth_plan_init(&plan, &run->sources.parent.table.shape, &wanted->operators, error))
        return (int)error->code;
    growth_apply_with(&plan, &wanted->operators, &run->sources.parent, &options, grown, error);
    growth_plan_fini(&plan);
    return (int)error->code;
}

struct trial_options run_trial_options(const struct run *run, int candidate)
{
    return (struct trial_options){ .kernels = run->service->kernels, .training = run->spec.training,
                                   .hidden_rate_scale = run->seats[candidate].rate_scale,
                                   .base = *run_base(run),
                                   .sampler = run->spec.data.sampler, .seed_index = 0,
                                   .ramps = &run->seats[candidate].ramps };
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
    struct candidate_need need;

    if (candidate_measure(plan, training, run->service->kernels, &need, error))
        return (int)error->code;
    seat->shape = plan->to;
    seat->trial_bytes = need.bytes;
    run->study.candidates[seat->candidate].growth_flops = need.growth_flops;
    seat->rate_scale = training_hidden_rate_scale(training, plan->width_factor);
    need.scratch_bytes += landscape_bytes(run->service->kernels, &plan->to, training, &run->spec.landscape);
    if (need.scratch_bytes > run->scratch_bytes)
        run->scratch_bytes = need.scratch_bytes;
    if (seat_parts_init(seat, error) || growth_ramps_init(&seat->ramps, plan, error))
        return (int)error->code;
    for (int i = 0; i < plan->warning_count; i++) {
        char text[sizeof plan->warnings[0] + SPEC_NAME_MAX + 8];
        snprintf(text, sizeof text, "\"%s\": %s", run->spec.candidates[seat->candidate].name, plan->warnings[i]);
        if (add_warning(run, text, error))
            return (int)error->code;
    }
    return 0;
}

/* Only where moments are carried does another optimizer's state matter. */
static int warn_of_state(struct run *run, struct error *error)
{
    const char *text = optimizer_state_warning(run->spec.training.optimizer.name, run->sources.parent.moments);
    bool carried = false;

    for (int i = 0; i < run->spec.candidate_count; i++)
        carried = carried || run->spec.candidates[i].moments != MOMENTS_RESET;
    return carried && text ? add_warning(run, text, error) : 0;
}

int run_plan_seats(struct run *run, struct error *error)
{
    const char *texts[TRAINING_WARNINGS_MAX];
    int count = training_warnings(&run->spec.training, run->service->kernels, texts);
    char text[128];

    snprintf(text, sizeof text, "the checkpoint's config.json has dropout %.3g; it is trained as 0",
             run->sources.facts.dropout);
    if (run->sources.facts.dropout > 0 && add_warning(run, text, error))
        return (int)error->code;
    for (int i = 0; i < count; i++)
        if (add_warning(run, texts[i], error))
            return (int)error->code;
    if (warn_of_state(run, error))
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

/* Equal bytes behind other masks are another model. */
static void hash_grown(struct seat *seat, const struct checkpoint *grown)
{
    struct hash_state state;
    uint8_t digest[HASH_BYTES];

    memcpy(seat->hash, grown->hash, sizeof seat->hash);
    if (seat->ramps.longest == 0)
        return;
    hash_begin(&state);
    hash_update(&state, grown->hash, strlen(grown->hash));
    growth_ramps_hash(&seat->ramps, &state);
    hash_end(&state, digest);
    hash_hex(digest, seat->hash);
}

static int grow_trial(struct seat *seat, struct error *error)
{
    struct run *run = seat->run;
    struct trial_options options = run_trial_options(run, seat->candidate);
    struct growth_probe probe = { .ramps = &seat->ramps, .kernels = run->service->kernels,
                                  .seed = run->spec.training.seed };
    const struct shape *shape;
    struct checkpoint grown;

    if (run_grow_candidate(run, seat->candidate, &grown, error))
        return (int)error->code;
    shape = &grown.table.shape;
    hash_grown(seat, &grown);
    seat->parameters = grown.table.parameters;
    seat->flops_per_token = objective_flops_per_token(&run->spec.training.objective, shape, run->spec.training.context);
    probe.parent = &run->sources.parent;
    probe.grown = &grown;
    if (growth_preservation_masked(&probe, &seat->preservation, error) == 0)
        trial_init(&seat->trial, &grown, &options, error);
    if (!error->code)
        seat->trial.first_data_step = run->first_data_step;
    checkpoint_fini(&grown);
    return (int)error->code;
}

static void grow_run(struct pool_job *job)
{
    struct seat *seat = job->owner;
    struct slot *slot = &seat->run->service->slots[seat->slot];

    error_clear(&seat->error);
    if (seat->run->study.candidates[seat->candidate].growth_flops > 0) {
        scratch_free(slot->scratch);          /* a fit makes its own in its place */
        slot->scratch = NULL;
    }
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
