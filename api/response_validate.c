/* The dry run: what a study would do, before anything is computed. */
#include <math.h>

#include "api/request.h"
#include "api/response_parts.h"
#include "growth/plan.h"
#include "model/kernels.h"
#include "study/curve.h"
#include "trainer/ligo_fit.h"

/* Sums over candidates. */
struct estimate { double steps, float32; uint64_t trial_bytes_all, trial_bytes_most, scratch_bytes_most; };

/* FLOPs of one candidate's steps up to the cap. */
static double step_flops(const struct study_spec *spec, const struct shape *shape)
{
    const struct training *training = &spec->training;
    double trained = (double)training_tokens(training, spec->selection.max_k);
    return trained * objective_flops_per_token(&training->objective, shape, training->context);
}

/* ... of its evaluations: forward alone is a third. */
static double evaluation_flops(const struct study_spec *spec, const struct shape *shape, int evaluations)
{
    const struct training *training = &spec->training;
    double evaluated = (double)evaluations * (double)spec->selection.valid_tokens * (1 + spec->selection.raw_share);
    return evaluated / 3 * objective_flops_per_token(&training->objective, shape, training->context);
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

/* Of measurements at 0, at the multiples of `every`, and at the last step. */
static double landscape_flops(const struct study_spec *spec, const struct shape *shape)
{
    const struct training *training = &spec->training;
    double every = (double)spec->landscape.every, last = (double)spec->selection.max_k;
    double times = 2 + (every > 0 && every < last ? floor((last - 1) / every) : 0);
    double forward = objective_flops_per_token(&training->objective, shape, training->context) / 3;
    if (!spec->landscape.asked) return 0;
    return times * landscape_passes(&spec->landscape) * forward * training->batch * training->context;
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
    double steps = step_flops(spec, &plan->to);
    double float32 = evaluation_flops(spec, &plan->to, evaluations) + landscape_flops(spec, &plan->to) + need->growth_flops;
    bool first = true;
    sum->steps += steps;
    sum->float32 += float32;
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
    member_number(out, &first, "flops", steps + float32);
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
    if (!code) code = grid_add(&grid, spec->landscape.asked ? spec->landscape.every : 0, error);
    if (code) {
        grid_fini(&grid);
        return code;
    }
    grid_round(&grid, learners_round_steps(&spec->training));
    int evaluations = grid.count;
    grid_fini(&grid);
    for (int i = 0; i < spec->candidate_count && !code; i++) {
        struct candidate_need need;
        struct growth_plan plan;
        code = growth_plan_init(&plan, parent, &spec->candidates[i].operators, error);
        if (code) break;
        code = candidate_measure(&plan, &spec->training, kernels_cpu(), &need, error);
        need.scratch_bytes += landscape_bytes(kernels_cpu(), &plan.to, &spec->training, &spec->landscape);
        if (!code) write_candidate(out, spec, i, &plan, &need, evaluations, sum);
        growth_plan_fini(&plan);
    }
    return code;
}

static void write_training_warnings(struct buffer *out, const struct study_spec *spec)
{
    const char *texts[TRAINING_WARNINGS_MAX];
    int count = training_warnings(&spec->training, kernels_cpu(), texts);
    buffer_text(out, "[");
    for (int i = 0; i < count; i++) {
        buffer_text(out, i ? ", " : "");
        buffer_json_string(out, texts[i]);
    }
    buffer_text(out, "]");
}

static double predicted_seconds(const struct estimate *sum, struct response_speed speed)
{
    if (speed.steps <= 0 || speed.float32 <= 0) return NAN;
    return sum->steps / speed.steps + sum->float32 / speed.float32;
}

/* Workers that have something to do: learners of one candidate work side by side. */
static int learners_busy(const struct study_spec *spec, int workers)
{
    int most = spec->candidate_count * spec->training.learners.count;
    if (most < 1) most = 1;
    return workers < most ? workers : most;
}

int response_validate(struct buffer *out, const struct study_spec *spec, const struct shape *parent,
                      struct response_speed speed, int workers, struct error *error)
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
    write_training_warnings(out, spec);
    member_unsigned(out, &first, "k_min", spec->selection.k_min);
    member_unsigned(out, &first, "max_k", spec->selection.max_k);
    member_number(out, &first, "flops", sum.steps + sum.float32);
    member_unsigned(out, &first, "bytes_least", (uint64_t)busy * (sum.trial_bytes_most + sum.scratch_bytes_most));
    member_unsigned(out, &first, "bytes_all", sum.trial_bytes_all + (uint64_t)busy * sum.scratch_bytes_most);
    member_number(out, &first, "workers", workers);
    member_number(out, &first, "predicted_seconds", predicted_seconds(&sum, speed) / learners_busy(spec, workers));
    buffer_text(out, "}\n");
    return out->failed ? error_set(error, ERROR_NO_MEMORY, "not enough memory for the answer; try again later") : 0;
}
