/* fpi, aki: bert2BERT. New units of stream, heads and MLPs are copies of old ones; aki gives them what the layer above
 * does. Recipe: methods 6.8. */
#include <stdio.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/rng.h"
#include "growth/width.h"

static const struct parameter parameters[] = {
    GROWTH_WIDTH_PARAMETERS,
    GROWTH_NOISE_PARAMETER,
    GROWTH_SEED_PARAMETER,
};

/* All old units over and over; of the last round, which is not whole, a random choice (Knuth's selection sampling). So
 * every unit is copied as often as any other, or once more: where the numbers allow it, all alike. */
static void copies_fill(const struct unit_set *set, int32_t *source)
{
    char name[32];
    int length = snprintf(name, sizeof name, "fpi/%d/%d", (int)set->kind, set->index);
    struct rng rng = rng_stream(set->seed, hash_u64(name, (size_t)length), RNG_GROWTH);
    int whole = set->to / set->from * set->from, at = whole;
    for (int unit = 0; unit < whole; unit++)
        source[unit] = unit % set->from;
    for (int unit = 0; at < set->to; unit++)
        if (rng_below(&rng, (uint64_t)(set->from - unit)) < (uint64_t)(set->to - at))
            source[at++] = unit;
}

/* ---- fpi ---- */

static int fpi_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                    struct error *error)
{
    static const struct width_rule rule = {.fill = copies_fill};
    int code = growth_width_plan(step, &rule, from, stage, error);
    if (!growth_width_is_even(stage))
        stage->inexact = "copies of a part of the stream shift the norms' mean and variance: exact only if the width "
                         "is an integer multiple of the present one";
    return code;
}

const struct growth_operator growth_op_fpi = {
    .name = "fpi",
    .summary = "any width: new units are copies of old ones, chosen evenly and at random, whose outgoing weights are "
               "divided by the number of copies; keeps the function if the width is an integer multiple of the present "
               "one, or stays",
    .source = "bert2BERT, arXiv 2110.07143; Net2Wider, arXiv 1511.05641",
    .symmetry_note = "the copies get equal gradients and never separate: noise above 0 separates them; aki makes none",
    .promise = PROMISE_EXACT,
    .symmetry = SYMMETRY_KEPT,
    .families = 1u << FAMILY_GPT2 | GROWTH_LLAMA_FAMILIES | 1u << FAMILY_BERT | 1u << FAMILY_T5,
    .moments = "m/c and v/c^2 at each of a unit's c copies, untied head and tied final norm m and v; step counters "
               "kept",
    .parameters = parameters,
    .parameter_count = GROWTH_COUNT_OF(parameters),
    .plan = fpi_plan,
};

/* ---- aki ---- */

/* The block above each in its own stack; the highest has none. */
static int second_blocks(const struct shape *shape, int32_t **second, struct error *error)
{
    int blocks = shape->layers + shape->decoder_layers;
    *second = memory_array((size_t)blocks, sizeof **second);
    if (*second == NULL)
        return error_set(error, ERROR_NO_MEMORY, "no memory for a map of %d layers", blocks);
    for (int block = 0; block < blocks; block++)
        (*second)[block] = block == shape->layers - 1 || block == blocks - 1 ? -1 : block + 1;
    return 0;
}

static int aki_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                    struct error *error)
{
    static const struct width_rule rule = {.fill = copies_fill};
    int code = growth_width_plan(step, &rule, from, stage, error);
    return code != 0 ? code : second_blocks(from, &stage->second, error);
}

const struct growth_operator growth_op_aki = {
    .name = "aki",
    .summary = "any width, as fpi, but what feeds the new units of a layer (rows of its matrices and their biases) is "
               "the layer's above; the highest layer copies its own",
    .source = "bert2BERT, arXiv 2110.07143",
    .symmetry_note = "copies in the highest layer start alike; the layers below them differ, and so separate them",
    .promise = PROMISE_NONE,
    .symmetry = SYMMETRY_BROKEN,
    .families = 1u << FAMILY_GPT2 | GROWTH_LLAMA_FAMILIES | 1u << FAMILY_BERT | 1u << FAMILY_T5,
    .moments = "m/c and v/c^2 at each of a unit's c copies, taken from where the weights are; step counters kept",
    .parameters = parameters,
    .parameter_count = GROWTH_COUNT_OF(parameters),
    .plan = aki_plan,
};
