/* lemon: a wider model of any width. New units of the stream hold what its norms turn into 0: the mean of the old ones
 * where norms take the mean off, 0 where they do not. Gains and epsilon make up for the change of variance. Recipe: methods
 * appendix B.3. */
#include <math.h>

#include "growth/width.h"

static const struct parameter parameters[] = {
    GROWTH_WIDTH_PARAMETERS,
    GROWTH_NOISE_PARAMETER,
    GROWTH_SEED_PARAMETER,
};

/* Whole copies of the stream, and new units for the rest; heads and MLP units are copied in turn. */
static void lemon_fill(const struct unit_set *set, int32_t *source)
{
    int whole = set->kind == UNIT_WIDTH ? set->to / set->from * set->from : set->to;
    for (int unit = 0; unit < set->to; unit++)
        source[unit] = unit < whole ? unit % set->from : -1;
}

static int lemon_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                      struct error *error)
{
    static const struct width_rule rule = {.fill = lemon_fill};
    int code = growth_width_plan(step, &rule, from, stage, error);
    if (code != 0)
        return code;
    double copies = stage->to.width / from->width;
    double variance = copies * from->width / stage->to.width;     /* eta^2 */
    stage->norm_factor = sqrt(variance);
    stage->to.norm_epsilon = variance * from->norm_epsilon;
    for (int kind = 0; kind < UNIT_KIND_COUNT; kind++)
        stage->units[kind].unequal = true;
    stage->units[UNIT_WIDTH].written = growth_norms_center(from->family) ? FILL_MEAN : FILL_ZERO;
    stage->units[UNIT_WIDTH].read = FILL_DRAW;
    if (layout_of(from->family)->post_norm && variance < 1)
        stage->inexact = "where norms stand after the additions only whole copies keep the function: give a width that "
                         "is a multiple of the present one";
    return 0;
}

const struct growth_operator growth_op_lemon = {
    .name = "lemon",
    .summary = "a model of any larger width with the same function: whole copies with unequal shares, then units that "
               "its norms turn into 0, under gains and an epsilon made smaller; bert: exact for multiples of the width",
    .source = "LEMON, arXiv 2310.07999",
    .symmetry_note = "unequal shares separate the copies once the weights that carry them have moved",
    .promise = PROMISE_EXACT,
    .symmetry = SYMMETRY_BROKEN,
    .families = 1u << FAMILY_GPT2 | GROWTH_LLAMA_FAMILIES | 1u << FAMILY_BERT | 1u << FAMILY_T5,
    .moments = "incoming weights m a and v a^2 with the copy's share a, gains by 1/eta; new units m = 0, v = mean of the "
               "tensor; step counters kept",
    .parameters = parameters,
    .parameter_count = GROWTH_COUNT_OF(parameters),
    .plan = lemon_plan,
};
