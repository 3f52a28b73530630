/* The dry run: what a study would do, before anything is computed. */
#include <math.h>

#include "api/request.h"
#include "api/response_parts.h"
#include "growth/plan.h"
#include "model/kernels.h"
#include "study/curve.h"
#include "trainer/ligo_fit.h"

/* Sums over candidates. */
struct estimate { double flops; uint64_t trial_bytes_all, trial_bytes_most, scratch_bytes_most; };

/* Training FLOPs of one candidate up to the cap, and of its evaluations (forward alone is a third). */
static double candidate_flops(const struct study_spec *spec, const struct shape *shape, int evaluations)
{
    const struct training *training = &spec->training;
    double per_token = objective_flops_per_token(&training->objective, shape, training->context);
    double trained = (double)spec->selection.max_k * training->batch * training->context;
    double evaluated = (double)evaluations * (double)spec->selection.valid_tokens * (1 + spec->selection.raw_share);
    return per_token * (trained + evaluated / 3);
}

static void write_shape(struct buffer *out, const struct shape *shape)
{
    bool first = true;
    buffer_text(out, "{");
    member_text(out, &first, "family", family_name(shape->family));
    member_number(out, &first, "layers", shape->layers);
    if (shape->decoder_layers > 0) member_number(out, &first, "decoder_layers", shape->decoder_layers);
    member_number(out, &first, "width", shape->width);
    member_number(out, &first, "heads", shape->heads);
    member_number(out, &first, "kv_heads", shape->kv_heads);
    member_number(out, &first, "head_size", shape->head_size);
    member_number(out, &first, "ff", shape->ff);
    if (shape->experts > 0) {
        member_number(out, &first, "experts", shape->experts);
        member_number(out, &first, "top_k", shape->top_k);
    }
    member_number(out, &first, "context", shape->context);
    member_number(out, &first, "vocabulary", shape->vocabulary);
    buffer_text(out, "}");
}

static void write_plan_warnings(struct buffer *out, const struct growth_plan *plan)
{
    buffer_text(out, "[");
    for (int i = 0; i < plan->warning_count; i++) {
        buffer_text(out, i ? ", " : "");
        buffer_json_string(out, plan->warnings[i]);
    }
    buffer_text(out, "]");
}

static void write_candidate(struct buffer *out, const struct study_spec *spec, int index,
                            const struct growth_plan *plan, const struct candidate_need *need, int evaluations,
                            struct estimate *sum)
{
    uint64_t bytes = need->bytes, scratch = need->scratch_bytes;
    double flops = candidate_flops(spec, &plan->to, evaluations) + need->growth_flops;
    bool first = true;
    sum->flops += flops;
    sum->trial_bytes_all += bytes;
    if (bytes > sum->trial_bytes_most) sum->trial_bytes_most = bytes;
    if (scratch > sum->scratch_bytes_most) sum->scratch_bytes_most = scratch;
    buffer_text(out, index ? ", {" : "{");
    member_text(out, &first, "candidate", spec->candidates[index].name);
    json_key(out, &first, "shape");
    write_shape(out, &plan->to);
    json_key(out, &first, "maps");
    growth_plan_json(plan, out);
    member_text(out, &first, "promise", plan->promise == PROMISE_EXACT ? "exact" : "none");
    member_unsigned(out, &first, "parameters", shape_parameters(&plan->to));
    member_number(out, &first, "flops_per_token",
                  objective_flops_per_token(&spec->training.objective, &plan->to, spec->training.context));
    member_number(out, &first, "flops", flops);
    member_unsigned(out, &first, "trial_bytes", bytes);
    member_unsigned(out, &first, "scratch_bytes", scratch);
    json_key(out, &first, "warnings");
    write_plan_warnings(out, plan);
    buffer_text(out, "}");
}

static int write_candidates(struct buffer *out, const struct study_spec *spec, const struct shape *parent,
                            struct estimate *sum, struct error *error)
{
    struct grid grid;
    int code = grid_init(&grid, spec->selection.max_k, spec->selection.evaluate_every, error);
    if (code) return code;
    int evaluations = grid.count;
    grid_fini(&grid);
    for (int i = 0; i < spec->candidate_count && !code; i++) {
        struct candidate_need need;
        struct growth_plan plan;
        code = growth_plan_init(&plan, parent, &spec->candidates[i].operators, error);
        if (code) break;
        code = candidate_measure(&plan, &spec->training, kernels_cpu(), &need, error);
        if (!code) write_candidate(out, spec, i, &plan, &need, evaluations, sum);
        growth_plan_fini(&plan);
    }
    return code;
}

static void write_warning_of_speed(struct buffer *out, const struct study_spec *spec)
{
    const char *slow = training_compute_warning(&spec->training, kernels_cpu());
    buffer_text(out, "[");
    if (slow) buffer_json_string(out, slow);
    buffer_text(out, "]");
}

int response_validate(struct buffer *out, const struct study_spec *spec, const struct shape *parent,
                      double flops_per_second, int workers, struct error *error)
{
    struct estimate sum = {0};
    bool first = true;
    int busy = workers < spec->candidate_count ? workers : spec->candidate_count;
    if (busy < 1) busy = 1;
    buffer_text(out, "{");
    json_key(out, &first, "request");
    request_echo(spec, out);
    json_key(out, &first, "parent");
    write_shape(out, parent);
    json_key(out, &first, "candidates");
    buffer_text(out, "[");
    int code = write_candidates(out, spec, parent, &sum, error);
    if (code) return code;
    buffer_text(out, "]");
    json_key(out, &first, "warnings");
    write_warning_of_speed(out, spec);
    member_unsigned(out, &first, "k_min", spec->selection.k_min);
    member_unsigned(out, &first, "max_k", spec->selection.max_k);
    member_number(out, &first, "flops", sum.flops);
    member_unsigned(out, &first, "bytes_least", (uint64_t)busy * (sum.trial_bytes_most + sum.scratch_bytes_most));
    member_unsigned(out, &first, "bytes_all", sum.trial_bytes_all + (uint64_t)busy * sum.scratch_bytes_most);
    member_number(out, &first, "workers", workers);
    member_number(out, &first, "predicted_seconds",
                  flops_per_second > 0 ? sum.flops / (flops_per_second * busy) : NAN);
    buffer_text(out, "}\n");
    return out->failed ? error_set(error, ERROR_NO_MEMORY, "not enough memory for the answer; try again later") : 0;
}
