/* zero_pad: new units that nothing is heard of at first. What writes them into the stream, or carries them out of a
 * head or an MLP, is 0; what reads them starts from the initial distribution, so that they learn (methods 6.5, 6.9). */
#include <math.h>

#include "growth/width.h"

static const struct parameter parameters[] = {
    GROWTH_WIDTH_PARAMETERS,
    GROWTH_NOISE_PARAMETER,
    GROWTH_SEED_PARAMETER,
};

/* Zeros make the mean square of the stream smaller by d / d': gains take the root of that back, and epsilon, which is
 * added to it, the whole. What a LayerNorm subtracts changes too, by the stream's mean: that can't be undone here. */
static void keep_the_norms(const struct shape *from, struct growth_plan_stage *stage)
{
    double ratio = (double)from->width / stage->to.width;
    stage->norm_factor = sqrt(ratio);
    stage->to.norm_epsilon = from->norm_epsilon * ratio;
    if (growth_norms_center(from->family))
        stage->inexact = "zeros in the stream shift the mean that LayerNorm subtracts: exact only with RMS norms "
                         "(llama and its kin, t5), or if the width stays; lemon is exact for gpt2";
}

static int zero_pad_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                         struct error *error)
{
    static const struct width_rule rule = {.fill = growth_width_new};
    int code = growth_width_plan(step, &rule, from, stage, error);
    if (code != 0)
        return code;
    stage->units[UNIT_WIDTH].written = FILL_ZERO;
    stage->units[UNIT_WIDTH].read = FILL_DRAW;
    for (enum unit_kind kind = UNIT_HEADS; kind <= UNIT_FF; kind++) {
        stage->units[kind].written = FILL_DRAW;
        stage->units[kind].read = FILL_ZERO;
    }
    if (stage->to.width > from->width)
        keep_the_norms(from, stage);
    return 0;
}

const struct growth_operator growth_op_zero_pad = {
    .name = "zero_pad",
    .summary = "any width: new units that do nothing at first (zeros where they enter the stream, initial values where "
               "they are read), gains by sqrt(d/d'), epsilon by d/d'; keeps the function of models with RMS norms",
    .source = "G_zero, Du et al., arXiv 2405.15319; Net2Net, arXiv 1511.05641",
    .symmetry_note = "",
    .promise = PROMISE_EXACT,
    .symmetry = SYMMETRY_NONE,
    .families = 1u << FAMILY_GPT2 | GROWTH_LLAMA_FAMILIES | 1u << FAMILY_BERT | 1u << FAMILY_T5,
    .moments = "old entries keep m and v (gains: times sqrt(d'/d) and d'/d), new ones start with m 0 and the mean of "
               "the tensor's v; step counters kept",
    .parameters = parameters,
    .parameter_count = GROWTH_COUNT_OF(parameters),
    .plan = zero_pad_plan,
};
