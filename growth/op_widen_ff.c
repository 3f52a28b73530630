/* widen_ff: more hidden units in every MLP, copies of the old ones, whose outgoing weights are split. Recipe: methods
 * appendix B.2. */
#include "growth/stage.h"

enum split_choice { SPLIT_EQUAL, SPLIT_UNEQUAL };

static const struct parameter parameters[] = {
    {.name = "ff", .type = PARAMETER_INTEGER, .required = true, .minimum = 1, .maximum = GROWTH_FF_MAX,
     .summary = "hidden units of the grown MLPs"},
    {.name = "split", .type = PARAMETER_CHOICE, .choices = "equal|unequal", .fallback = "\"equal\"",
     .summary = "shares of the outgoing weights among the copies of a unit: equal (the copies never separate) or "
                "unequal (drawn from the seed)"},
    GROWTH_NOISE_PARAMETER,
    GROWTH_SEED_PARAMETER,
};

static int widen_ff_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                         struct error *error)
{
    int64_t wanted = growth_step_integer(step, "ff");
    if (from->ff >= GROWTH_FF_MAX)
        return error_set_at(error, ERROR_INVALID, "/ff", "the MLPs have %d units already, the limit is %d: drop this "
                            "operator", from->ff, GROWTH_FF_MAX);
    if (wanted <= from->ff || wanted > GROWTH_FF_MAX)
        return error_set_at(error, ERROR_INVALID, "/ff", "ff must be above the present %d and at most %d (nearest "
                            "valid: %d), not %lld", from->ff, GROWTH_FF_MAX,
                            wanted <= from->ff ? from->ff + 1 : GROWTH_FF_MAX, (long long)wanted);
    stage->to.ff = (int)wanted;
    int code = growth_stage_units(stage, UNIT_FF, from->ff, stage->to.ff, error);
    if (code != 0)
        return code;
    stage->units[UNIT_FF].unequal = growth_step_integer(step, "split") == SPLIT_UNEQUAL;
    if (stage->units[UNIT_FF].unequal)
        stage->symmetry = SYMMETRY_BROKEN;
    return 0;
}

const struct growth_operator growth_op_widen_ff = {
    .name = "widen_ff",
    .summary = "more MLP units: new unit j copies old unit j mod ff, outgoing weights split among the copies",
    .source = "Net2Wider, arXiv 1511.05641",
    .symmetry_note = "with split equal the copies get equal gradients and never separate: split unequal, or noise, "
                     "separates them",
    .promise = PROMISE_EXACT,
    .symmetry = SYMMETRY_KEPT,
    .families = 1u << FAMILY_GPT2 | GROWTH_LLAMA_FAMILIES | 1u << FAMILY_BERT | 1u << FAMILY_T5,
    .moments = "incoming weights m a and v a^2 with the copy's share a; outgoing weights m and v; step counters kept",
    .parameters = parameters,
    .parameter_count = GROWTH_COUNT_OF(parameters),
    .plan = widen_ff_plan,
};
