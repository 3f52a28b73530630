/* add_heads: more attention heads, copies of the old ones, whose outgoing weights are split. Recipe: methods 6.12 and
 * appendix B.2. Not for gpt2 and bert, whose heads fill the width. */
#include "growth/stage.h"

#include "base/memory.h"
#include "model/tensor.h"

enum split_choice { SPLIT_EQUAL, SPLIT_UNEQUAL };

static const struct parameter parameters[] = {
    {.name = "heads", .type = PARAMETER_INTEGER, .required = true, .minimum = 1, .maximum = GROWTH_WIDTH_MAX,
     .summary = "query heads of the grown model: a multiple of its kv heads"},
    {.name = "kv_heads", .type = PARAMETER_INTEGER, .minimum = 1, .maximum = GROWTH_WIDTH_MAX,
     .summary = "kv heads of the grown model; default: as many as heads if that is so now, else the present ones"},
    {.name = "split", .type = PARAMETER_CHOICE, .choices = "equal|unequal", .fallback = "\"equal\"",
     .summary = "shares of the outgoing weights among the copies of a head: equal (the copies never separate) or "
                "unequal (drawn from the seed)"},
    GROWTH_NOISE_PARAMETER,
    GROWTH_SEED_PARAMETER,
};

/* ---- sizes ---- */

/* kv heads of the grown model; valid for any number of heads that check_heads lets pass. */
static int resolve_kv_heads(const struct growth_step *step, const struct shape *from, int64_t heads, int64_t *kv_heads,
                            struct error *error)
{
    if (!growth_step_has(step, "kv_heads")) {
        *kv_heads = from->kv_heads < from->heads ? from->kv_heads : heads;
        return 0;
    }
    *kv_heads = growth_step_integer(step, "kv_heads");
    int64_t most = heads > from->heads ? heads : from->heads;
    int64_t least = layout_of(from->family)->grouped_queries ? from->kv_heads : most;
    if (*kv_heads >= least && *kv_heads <= most)
        return 0;
    return error_set_at(error, ERROR_INVALID, "/kv_heads", "kv_heads must be from %lld to %lld (nearest valid: %lld), "
                        "not %lld", (long long)least, (long long)most, (long long)(*kv_heads < least ? least : most),
                        (long long)*kv_heads);
}

/* More heads, or as many if there are more kv heads. The fewest copies that a kv head gets must have room for all the
 * queries that read it now. */
static int64_t least_heads(const struct shape *from, int64_t kv_heads)
{
    int64_t group = from->heads / from->kv_heads, copies = kv_heads / from->kv_heads;
    int64_t needed = kv_heads * ((group + copies - 1) / copies);
    int64_t least = kv_heads > from->kv_heads ? from->heads : from->heads + 1;
    least = (least + kv_heads - 1) / kv_heads * kv_heads;
    return needed > least ? needed : least;
}

/* `step`: heads come in multiples of it. */
static int check_heads(const struct shape *from, int64_t heads, int64_t least, int64_t step, struct error *error)
{
    int64_t limit = GROWTH_WIDTH_MAX / from->head_size, most = limit / step * step;
    if (least > most)
        return error_set_at(error, ERROR_INVALID, "/heads", "%lld heads of size %d would be needed, the limit is %lld: "
                            "drop this operator, or give fewer kv_heads", (long long)least, from->head_size,
                            (long long)limit);
    int64_t nearest = heads < least ? least : heads > most ? most : (heads + step / 2) / step * step;
    nearest = nearest > most ? most : nearest;
    if (nearest == heads)
        return 0;
    return error_set_at(error, ERROR_INVALID, "/heads", "heads must be from %lld to %lld, in steps of %lld (nearest "
                        "valid: %lld), not %lld", (long long)least, (long long)most, (long long)step, (long long)nearest,
                        (long long)heads);
}

static int resolve_sizes(const struct growth_step *step, const struct shape *from, struct shape *to,
                         struct error *error)
{
    int64_t heads = growth_step_integer(step, "heads"), kv_heads = 0;
    int code = resolve_kv_heads(step, from, heads, &kv_heads, error);
    if (code != 0)
        return code;
    bool follow = !growth_step_has(step, "kv_heads") && from->kv_heads == from->heads;
    int64_t least = follow ? from->heads + 1 : least_heads(from, kv_heads);
    if ((code = check_heads(from, heads, least, follow ? 1 : kv_heads, error)) != 0)
        return code;
    to->heads = (int)heads;
    to->kv_heads = (int)kv_heads;
    return 0;
}

/* ---- maps ---- */

/* Old kv head of a new one. Groups that keep their size are copied whole, one list of them after another; if it
 * changes, the copies of a kv head stand side by side and share out its queries. */
static int kv_source(const struct shape *from, const struct shape *to, int kv)
{
    if (to->heads / to->kv_heads == from->heads / from->kv_heads)
        return kv % from->kv_heads;
    return (int)((int64_t)kv * from->kv_heads / to->kv_heads);
}

/* The places that the copies of one kv head offer are dealt to its old queries in turn: new head h reads kv head
 * floor(h / group), a copy of the one that its source reads. `dealt`: places taken so far, per old kv head. */
static void fill_heads(struct growth_plan_stage *stage, int32_t *dealt)
{
    const struct shape *from = &stage->from, *to = &stage->to;
    int old_group = from->heads / from->kv_heads, group = to->heads / to->kv_heads;
    for (int head = 0; head < to->heads; head++) {
        int old_kv = kv_source(from, to, head / group);
        stage->units[UNIT_HEADS].source[head] = old_kv * old_group + dealt[old_kv]++ % old_group;
    }
    for (int kv = 0; kv < to->kv_heads && stage->units[UNIT_KV].source != NULL; kv++)
        stage->units[UNIT_KV].source[kv] = kv_source(from, to, kv);
}

static int add_heads_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                          struct error *error)
{
    struct shape *to = &stage->to;
    int code = resolve_sizes(step, from, to, error);
    if (code != 0 || (code = growth_stage_units(stage, UNIT_HEADS, from->heads, to->heads, error)) != 0)
        return code;
    if (to->kv_heads > from->kv_heads &&
        (code = growth_stage_units(stage, UNIT_KV, from->kv_heads, to->kv_heads, error)) != 0)
        return code;
    int32_t *dealt = memory_array((size_t)from->kv_heads, sizeof *dealt);
    if (dealt == NULL)
        return error_set(error, ERROR_NO_MEMORY, "no memory to deal out %d heads", to->heads);
    fill_heads(stage, dealt);
    memory_free(dealt);
    stage->units[UNIT_HEADS].unequal = growth_step_integer(step, "split") == SPLIT_UNEQUAL;
    /* kv heads alone: each copy serves other queries, and so learns other things */
    if (stage->units[UNIT_HEADS].unequal || to->heads == from->heads)
        stage->symmetry = SYMMETRY_BROKEN;
    return 0;
}

const struct growth_operator growth_op_add_heads = {
    .name = "add_heads",
    .summary = "more heads, copies of the old ones that read the same kv head or a copy of it, outgoing weights split "
               "among the copies; t5: the columns of the relative position tables go along",
    .source = "Net2Wider, arXiv 1511.05641, for heads; groups as in apple/ml-hypercloning",
    .symmetry_note = "with split equal the copies get equal gradients and never separate: split unequal, or noise, "
                     "separates them",
    .promise = PROMISE_EXACT,
    .symmetry = SYMMETRY_KEPT,
    .families = GROWTH_LLAMA_FAMILIES | 1u << FAMILY_T5,
    .moments = "queries m a and v a^2 with the copy's share a, keys and values by the shares of the queries they "
               "serve; outgoing weights m and v; step counters kept",
    .parameters = parameters,
    .parameter_count = GROWTH_COUNT_OF(parameters),
    .plan = add_heads_plan,
};
