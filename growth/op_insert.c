/* identity, random: new blocks put between the old ones, that do nothing at first or start from the initial
 * distribution. */
#include <stdio.h>

#include "base/memory.h"
#include "growth/depth.h"

enum placement { PLACEMENT_INTERLEAVED, PLACEMENT_TOP };

static const struct parameter parameters[] = {
    GROWTH_DEPTH_PARAMETERS,
    {.name = "placement", .type = PARAMETER_CHOICE_OR_LIST, .minimum = 0, .maximum = GROWTH_LAYERS_MAX - 1,
     .choices = "interleaved|top", .fallback = "\"interleaved\"",
     .summary = "interleaved: spread evenly, one after each group of L/(L'-L) layers; top; or a list of the positions "
                "in the grown model where the new blocks stand"},
    GROWTH_NOISE_PARAMETER,
    GROWTH_SEED_PARAMETER,
};

/* There is one: fewer positions are marked than there are layers. */
static int nearest_free(const bool *fresh, int layers, int position)
{
    for (int distance = 1; distance < layers; distance++) {
        int below = position - distance, above = position + distance;
        if (below >= 0 && !fresh[below])
            return below;
        if (above < layers && !fresh[above])
            return above;
    }
    return 0;
}

static int mark_positions(const struct parameter_value *list, int layers, int added, bool *fresh, struct error *error)
{
    if (list->list_count != added)
        return error_set_at(error, ERROR_INVALID, "/placement", "placement must list %d positions, one per new block, "
                            "not %d", added, list->list_count);
    for (int i = 0; i < added; i++) {
        int32_t position = list->list[i];
        char pointer[32];
        snprintf(pointer, sizeof pointer, "/placement/%d", i);
        if (position < 0 || position >= layers)
            return error_set_at(error, ERROR_INVALID, pointer, "positions run from 0 to %d (nearest valid: %d), not %d",
                                layers - 1, position < 0 ? 0 : layers - 1, (int)position);
        if (fresh[position])
            return error_set_at(error, ERROR_INVALID, pointer, "position %d is listed twice (nearest valid: %d)",
                                (int)position, nearest_free(fresh, layers, position));
        fresh[position] = true;
    }
    return 0;
}

/* After old layer i stand floor((i + 1) p / L) - floor(i p / L) of the p new blocks: LLaMA-Pro's rule where p
 * divides L, and as even as possible elsewhere. */
static void mark_interleaved(int depth, int added, bool *fresh)
{
    int at = 0;
    for (int i = 0; i < depth; i++) {
        int before = (int)((int64_t)i * added / depth), after = (int)((int64_t)(i + 1) * added / depth);
        at++;
        for (int new_block = before; new_block < after; new_block++)
            fresh[at++] = true;
    }
}

/* fresh[i]: a new block stands at position i of the grown stack. */
static int mark(const struct growth_step *step, const struct depth *depth, bool *fresh, struct error *error)
{
    int added = depth->to - depth->from;
    if (growth_step_is_list(step, "placement"))
        return mark_positions(growth_step_value(step, "placement"), depth->to, added, fresh, error);
    if (growth_step_integer(step, "placement") == PLACEMENT_TOP) {
        for (int i = depth->from; i < depth->to; i++)
            fresh[i] = true;
        return 0;
    }
    mark_interleaved(depth->from, added, fresh);
    return 0;
}

/* `fresh` gets the marks of the new blocks, `layers` the old layers between them and -1 for new ones. */
static int insert_fill(const struct growth_step *step, const struct depth *depth, int32_t *layers, bool *fresh,
                       struct error *error)
{
    int old = 0, code = mark(step, depth, fresh, error);
    for (int i = 0; i < depth->to && code == 0; i++)
        layers[i] = fresh[i] ? -1 : old++;
    return code;
}

/* ---- identity ---- */

/* A new block copies the old layer below it (the lowest one at the bottom), output projections and their biases 0. */
static int identity_fill(const struct growth_step *step, const struct depth *depth, int32_t *layers, bool *identity,
                         struct error *error)
{
    int code = insert_fill(step, depth, layers, identity, error);
    int32_t below = 0;
    for (int i = 0; code == 0 && i < depth->to; i++) {
        if (identity[i])
            layers[i] = below;
        below = layers[i];
    }
    return code;
}

static int identity_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                         struct error *error)
{
    static const struct depth_rule rule = {.identity = true, .fill = identity_fill};
    return growth_depth_plan(step, &rule, from, stage, error);
}

const struct growth_operator growth_op_identity = {
    .name = "identity",
    .summary = "new blocks that do nothing at first: copies of the layer below with the output projections of "
               "attention and MLP, and their biases, set to 0; in bert the norm below moves to their end",
    .source = "LLaMA-Pro, arXiv 2401.02415",
    .symmetry_note = "",
    .promise = PROMISE_EXACT,
    .symmetry = SYMMETRY_NONE,
    .families = 1u << FAMILY_GPT2 | GROWTH_LLAMA_FAMILIES | 1u << FAMILY_BERT | 1u << FAMILY_T5,
    .moments = "old layers keep m, v and the step counter; new blocks start at 0",
    .parameters = parameters,
    .parameter_count = GROWTH_COUNT_OF(parameters),
    .plan = identity_plan,
};

/* ---- random ---- */

static int random_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                       struct error *error)
{
    static const struct depth_rule rule = {.identity = true, .fill = insert_fill};
    int code = growth_depth_plan(step, &rule, from, stage, error);
    memory_free(stage->identity);
    stage->identity = NULL;
    return code;
}

const struct growth_operator growth_op_random = {
    .name = "random",
    .summary = "new blocks from the initial distribution: N(0, 0.02), output projections by 1/sqrt(2 L') but in bert; "
               "t5: 1 over the root of what is summed over; the control",
    .source = "G_random, Du et al., arXiv 2405.15319; initialisation of GPT-2",
    .symmetry_note = "",
    .promise = PROMISE_NONE,
    .symmetry = SYMMETRY_NONE,
    .families = 1u << FAMILY_GPT2 | GROWTH_LLAMA_FAMILIES | 1u << FAMILY_BERT | 1u << FAMILY_T5,
    .moments = "old layers keep m, v and the step counter; new blocks start at 0",
    .parameters = parameters,
    .parameter_count = GROWTH_COUNT_OF(parameters),
    .plan = random_plan,
};
