/* msg_depth: new blocks on top, copies of the old ones, behind a mask that rises from 0 to 1 while the model trains. */
#include "growth/depth.h"

static const struct parameter parameters[] = {
    GROWTH_DEPTH_PARAMETERS,
    GROWTH_RAMP_PARAMETER,
    GROWTH_NOISE_PARAMETER,
    GROWTH_SEED_PARAMETER,
};

/* The authors' default: the whole stack again as often as it fits, then its last layers. */
static int msg_depth_fill(const struct growth_step *step, const struct depth *depth, int32_t *layers, bool *masked,
                          struct error *error)
{
    int whole = depth->to / depth->from * depth->from, rest = depth->to - whole;
    (void)step;
    (void)error;
    for (int i = 0; i < depth->to; i++) {
        layers[i] = i < whole ? i % depth->from : depth->from - rest + (i - whole);
        masked[i] = i >= depth->from;
    }
    return 0;
}

static int msg_depth_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                          struct error *error)
{
    static const struct depth_rule rule = {.identity = true, .fill = msg_depth_fill};
    int code = growth_depth_plan(step, &rule, from, stage, error);
    stage->masked = stage->identity;     /* flags of the new blocks, which keep what they copy */
    stage->identity = NULL;
    stage->ramp_steps = (int)growth_step_integer(step, "ramp_steps");
    return code;
}

const struct growth_operator growth_op_msg_depth = {
    .name = "msg_depth",
    .summary = "new blocks on top, copies of the stack from its bottom on (of its last layers where it does not fit whole), "
               "masked: a block maps the stream x to x + c (block(x) - x), c rises from 0 to 1 over the first ramp_steps "
               "steps of training; no standard file before that",
    .source = "masked structural growth, arXiv 2305.02869; cofe-ai/MSG",
    .symmetry_note = "",
    .promise = PROMISE_EXACT,
    .symmetry = SYMMETRY_NONE,
    .families = 1u << FAMILY_GPT2 | GROWTH_LLAMA_FAMILIES | 1u << FAMILY_BERT | 1u << FAMILY_T5,
    .moments = "old layers keep m, v and the step counter; new blocks start at 0",
    .parameters = parameters,
    .parameter_count = GROWTH_COUNT_OF(parameters),
    .plan = msg_depth_plan,
};
