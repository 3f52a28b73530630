/* extend_context: more positions. Learned ones (gpt2, bert) get new rows; rotary and relative ones need none. */
#include "base/memory.h"
#include "growth/stage.h"
#include "model/tensor.h"

enum { CONTEXT_MAX = 1 << 20 };
enum positions_choice { POSITIONS_TILE, POSITIONS_DRAW };

static const struct parameter parameters[] = {
    {.name = "context", .type = PARAMETER_INTEGER, .required = true, .minimum = 1, .maximum = CONTEXT_MAX,
     .summary = "positions of the grown model"},
    {.name = "positions", .type = PARAMETER_CHOICE, .choices = "tile|draw", .fallback = "\"tile\"",
     .summary = "gpt2, bert: new rows of the position table: tile: those of the old positions over again; draw: from "
                "the initial distribution"},
    GROWTH_NOISE_PARAMETER,
    GROWTH_SEED_PARAMETER,
};

static bool has_position_table(enum family family)
{
    const struct layout *layout = layout_of(family);
    for (int i = 0; i < layout->row_count; i++)
        if (layout->rows[i].role == ROLE_POSITION_EMBEDDING)
            return true;
    return false;
}

/* No token of the old context reaches a new position: the old rows keep all of their gradient. */
static int position_map(struct growth_plan_stage *stage, bool draw, struct error *error)
{
    int from = stage->from.context, to = stage->to.context;
    struct unit_map *map = &stage->units[UNIT_CONTEXT];
    int code = growth_stage_units(stage, UNIT_CONTEXT, from, to, error);
    if (code != 0)
        return code;
    map->shares = memory_array((size_t)to, sizeof *map->shares);
    if (map->shares == NULL)
        return error_set(error, ERROR_NO_MEMORY, "no memory for a map of %d positions", to);
    map->written = FILL_DRAW;
    for (int position = 0; position < to; position++) {
        map->shares[position] = position < from;
        if (draw && position >= from)
            map->source[position] = -1;
    }
    return 0;
}

static int extend_context_plan(const struct growth_step *step, const struct shape *from,
                               struct growth_plan_stage *stage, struct error *error)
{
    int64_t wanted = growth_step_integer(step, "context");
    if (from->context >= CONTEXT_MAX)
        return error_set_at(error, ERROR_INVALID, "/context", "the model has %d positions already, the limit is %d: "
                            "drop this operator", from->context, CONTEXT_MAX);
    if (wanted <= from->context || wanted > CONTEXT_MAX)
        return error_set_at(error, ERROR_INVALID, "/context", "context must be above the present %d and at most %d "
                            "(nearest valid: %d), not %lld", from->context, CONTEXT_MAX,
                            wanted <= from->context ? from->context + 1 : CONTEXT_MAX, (long long)wanted);
    stage->to.context = (int)wanted;
    if (!has_position_table(from->family))
        return 0;
    return position_map(stage, growth_step_integer(step, "positions") == POSITIONS_DRAW, error);
}

const struct growth_operator growth_op_extend_context = {
    .name = "extend_context",
    .summary = "more positions; within the old context the function stays. gpt2, bert: the position table gets new rows; "
               "the others: only the length in the config, rotary angles and buckets stay",
    .source = "positions copied over again: Longformer, arXiv 2004.05150, section 5",
    .symmetry_note = "",
    .promise = PROMISE_EXACT,
    .symmetry = SYMMETRY_NONE,
    .families = 1u << FAMILY_GPT2 | GROWTH_LLAMA_FAMILIES | 1u << FAMILY_BERT | 1u << FAMILY_T5,
    .moments = "kept; new positions m = 0, v = mean of the table; step counters kept",
    .parameters = parameters,
    .parameter_count = GROWTH_COUNT_OF(parameters),
    .plan = extend_context_plan,
};
