/* staged: the two growths of staged training: every width in block-diagonal copies, or twice the layers with every
 * second one doing nothing at first. Recipes: methods 6.11 and appendix B.1. */
#include "growth/clone.h"
#include "growth/depth.h"

static const struct parameter parameters[] = {
    GROWTH_DEPTH_PARAMETERS,
    {.name = "width", .type = PARAMETER_INTEGER, .minimum = 1, .maximum = GROWTH_WIDTH_MAX,
     .summary = "width of the grown model, in place of layers: an integer multiple n >= 2 of the present one"},
    GROWTH_NOISE_PARAMETER,
    GROWTH_SEED_PARAMETER,
};

/* Exactly twice the layers. */
static int check_doubled(const struct growth_step *step, const struct depth *depth, struct error *error)
{
    (void)step;
    if (depth->from > GROWTH_LAYERS_MAX / 2)
        return error_set_at(error, ERROR_INVALID, depth->pointer, "the model has %d layers already, twice as many are "
                            "over the limit of %d: drop this operator", depth->from, GROWTH_LAYERS_MAX);
    if (depth->wanted != 2 * depth->from)
        return error_set_at(error, ERROR_INVALID, depth->pointer, "%s must be twice the %d there are (nearest valid: "
                            "%d), not %lld", depth->pointer + 1, depth->from, 2 * depth->from,
                            (long long)depth->wanted);
    return 0;
}

/* New layers 2i and 2i + 1 copy old layer i, the second one with its output projections set to 0. */
static int doubled_fill(const struct growth_step *step, const struct depth *depth, int32_t *layers, bool *identity,
                        struct error *error)
{
    (void)step, (void)error;
    for (int i = 0; i < depth->to; i++) {
        layers[i] = i / 2;
        identity[i] = i % 2 == 1;
    }
    return 0;
}

static int staged_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                       struct error *error)
{
    static const struct depth_rule rule = {.identity = true, .check = check_doubled, .fill = doubled_fill};
    static const char *const depths[] = {"layers", "encoder_layers", "decoder_layers"};
    int copies = 1, code;
    bool deeper = false;
    for (int i = 0; i < GROWTH_COUNT_OF(depths); i++)
        deeper = deeper || growth_step_has(step, depths[i]);
    if (deeper == growth_step_has(step, "width"))
        return error_set_at(error, ERROR_INVALID, "/width", "staged needs exactly one of width and layers: %s",
                            deeper ? "grow the other one by an operator of its own" : "give one of them");
    if (deeper) {
        stage->symmetry = SYMMETRY_NONE;
        return growth_depth_plan(step, &rule, from, stage, error);
    }
    if ((code = growth_clone_copies(step, from, &copies, error)) != 0)
        return code;
    stage->diagonal = true;
    return growth_clone_plan(stage, copies, error);
}

const struct growth_operator growth_op_staged = {
    .name = "staged",
    .summary = "width: n copies of every unit of stream, heads and MLP, side by side in block-diagonal matrices; layers: "
               "each followed by a copy of it that does nothing at first",
    .source = "Staged Training, arXiv 2203.06211",
    .symmetry_note = "copies of a width get equal gradients and never separate: give noise, or use hyperclone with its "
                     "noise_db",
    .promise = PROMISE_EXACT,
    .symmetry = SYMMETRY_KEPT,
    .families = 1u << FAMILY_GPT2 | GROWTH_LLAMA_FAMILIES | 1u << FAMILY_BERT | 1u << FAMILY_T5,
    .moments = "width: m/n and v/n^2, tiled, off the diagonal too; untied head and tied final norm m and v; layers: old "
               "ones keep theirs, new ones start at 0; step counters kept",
    .parameters = parameters,
    .parameter_count = GROWTH_COUNT_OF(parameters),
    .plan = staged_plan,
};
