/* msg_width: new units with values of the initial distribution behind masks that rise from 0 to 1 while the model trains:
 * units of the stream in every norm, heads where they hand out, MLP units where they are read. */
#include "growth/width.h"

static const struct parameter parameters[] = {
    GROWTH_WIDTH_PARAMETERS,
    GROWTH_RAMP_PARAMETER,
    GROWTH_NOISE_PARAMETER,
    GROWTH_SEED_PARAMETER,
};

static int msg_width_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                          struct error *error)
{
    static const struct width_rule rule = {.fill = growth_width_new};
    int code = growth_width_plan(step, &rule, from, stage, error);
    for (enum unit_kind kind = UNIT_WIDTH; kind <= UNIT_FF; kind++)
        stage->units[kind].written = stage->units[kind].read = FILL_DRAW;
    stage->ramp_steps = (int)growth_step_integer(step, "ramp_steps");
    return code;
}

const struct growth_operator growth_op_msg_width = {
    .name = "msg_width",
    .summary = "any width: new units of the stream, heads and MLP units, drawn and masked: norms weigh a unit with its share "
               "c in their statistics and multiply what they give by c, heads and MLP units count for c; c rises from 0 to 1 "
               "over the first ramp_steps steps of training; no standard file before that",
    .source = "masked structural growth, arXiv 2305.02869; cofe-ai/MSG",
    .symmetry_note = "",
    .promise = PROMISE_EXACT,
    .symmetry = SYMMETRY_NONE,
    .families = 1u << FAMILY_GPT2 | GROWTH_LLAMA_FAMILIES | 1u << FAMILY_BERT | 1u << FAMILY_T5,
    .moments = "old entries keep m and v, new ones start with m 0 and the mean of the tensor's v; step counters kept",
    .parameters = parameters,
    .parameter_count = GROWTH_COUNT_OF(parameters),
    .plan = msg_width_plan,
};
