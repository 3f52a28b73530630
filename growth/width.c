#include "growth/width.h"

#include <stdio.h>

#include "base/memory.h"
#include "model/tensor.h"

/* ---- sizes ---- */

/* Multiples of `step` from `least` to `most` are valid (both multiples of it themselves). */
struct size_range { const char *name; int least, most, step; };

static int check_size(const struct size_range *range, int64_t wanted, const char *why, struct error *error)
{
    char pointer[32];
    int64_t nearest = wanted < range->least ? range->least
                      : wanted > range->most ? range->most
                                             : (wanted + range->step / 2) / range->step * range->step;
    if (nearest == wanted)
        return 0;
    snprintf(pointer, sizeof pointer, "/%s", range->name);
    return error_set_at(error, ERROR_INVALID, pointer, "%s must be from %d to %d%s (nearest valid: %lld), not %lld",
                        range->name, range->least, range->most, why, (long long)nearest, (long long)wanted);
}

/* Is something else to change? Then the width may stay. */
static bool changes_beside(const struct growth_step *step, const struct shape *from)
{
    return (growth_step_has(step, "heads") && growth_step_integer(step, "heads") != from->heads) ||
           (growth_step_has(step, "ff") && growth_step_integer(step, "ff") != from->ff);
}

static int resolve_width(const struct growth_step *step, const struct shape *from, struct shape *to,
                         struct error *error)
{
    char why[64] = "";
    bool filled = layout_of(from->family)->heads_fill_width;
    struct size_range range = {"width", from->width, GROWTH_WIDTH_MAX, filled ? from->head_size : 1};
    range.most = range.most / range.step * range.step;
    if (!changes_beside(step, from))
        range.least += range.step;
    if (range.most < range.least)
        range.most = range.least;
    if (filled)
        snprintf(why, sizeof why, " and a multiple of the head size %d", from->head_size);
    if (range.least > GROWTH_WIDTH_MAX)
        return error_set_at(error, ERROR_INVALID, "/width", "the model is %d wide already, the limit is %d: drop this "
                            "operator", from->width, GROWTH_WIDTH_MAX);
    int64_t wanted = growth_step_has(step, "width") ? growth_step_integer(step, "width") : from->width;
    int code = check_size(&range, wanted, why, error);
    to->width = (int)wanted;
    return code;
}

/* Queries that share kv heads stay with them: every kv head gets as many new ones. */
static int resolve_heads(const struct growth_step *step, const struct shape *from, struct shape *to,
                         struct error *error)
{
    char why[80] = "";
    bool filled = layout_of(from->family)->heads_fill_width, grouped = from->kv_heads < from->heads;
    struct size_range range = {"heads", from->heads, GROWTH_WIDTH_MAX / from->head_size, 1};
    if (filled) {
        range.least = range.most = to->width / from->head_size;
        snprintf(why, sizeof why, ", the width over the head size %d", from->head_size);
    } else if (grouped) {
        range.step = from->kv_heads;
        snprintf(why, sizeof why, " and a multiple of the %d kv heads", from->kv_heads);
    }
    range.most = range.most / range.step * range.step;
    if (range.most < range.least)
        range.most = range.least;
    int64_t wanted = growth_step_has(step, "heads") ? growth_step_integer(step, "heads") : range.least;
    int code = check_size(&range, wanted, why, error);
    to->heads = (int)wanted;
    to->kv_heads = grouped ? from->kv_heads : to->heads;
    return code;
}

static int resolve_ff(const struct growth_step *step, const struct shape *from, struct shape *to, struct error *error)
{
    const struct size_range range = {"ff", from->ff, GROWTH_FF_MAX > from->ff ? GROWTH_FF_MAX : from->ff, 1};
    int64_t wanted = growth_step_has(step, "ff") ? growth_step_integer(step, "ff") : from->ff;
    to->ff = (int)wanted;
    return check_size(&range, wanted, "", error);
}

/* ---- maps ---- */

static int fill_map(struct growth_plan_stage *stage, const struct width_rule *rule, struct unit_set set,
                    struct error *error)
{
    if (set.from == set.to)
        return 0;
    int code = growth_stage_units(stage, set.kind, set.from, set.to, error);
    if (code == 0)
        rule->fill(&set, stage->units[set.kind].source);
    return code;
}

/* Group by group, so that a new head reads the kv head that its source reads. */
static int fill_grouped_heads(struct growth_plan_stage *stage, const struct width_rule *rule, uint64_t seed,
                              struct error *error)
{
    const struct shape *from = &stage->from, *to = &stage->to;
    int old_group = from->heads / from->kv_heads, group = to->heads / to->kv_heads;
    int code = growth_stage_units(stage, UNIT_HEADS, from->heads, to->heads, error);
    for (int kv = 0; kv < to->kv_heads && code == 0; kv++) {
        int32_t *source = stage->units[UNIT_HEADS].source + (size_t)kv * group;
        const struct unit_set set = {UNIT_HEADS, kv, old_group, group, seed};
        rule->fill(&set, source);
        for (int head = 0; head < group; head++)
            if (source[head] >= 0)
                source[head] += kv * old_group;
    }
    return code;
}

static int fill_heads(struct growth_plan_stage *stage, const struct width_rule *rule, uint64_t seed,
                      struct error *error)
{
    const struct shape *from = &stage->from, *to = &stage->to;
    if (from->heads == to->heads)
        return 0;
    if (from->kv_heads < from->heads)
        return fill_grouped_heads(stage, rule, seed, error);
    int code = fill_map(stage, rule, (struct unit_set){UNIT_HEADS, 0, from->heads, to->heads, seed}, error);
    if (code != 0 || (code = growth_stage_units(stage, UNIT_KV, from->kv_heads, to->kv_heads, error)) != 0)
        return code;
    for (int head = 0; head < to->heads; head++)
        stage->units[UNIT_KV].source[head] = stage->units[UNIT_HEADS].source[head];
    return 0;
}

int growth_width_plan(const struct growth_step *step, const struct width_rule *rule, const struct shape *from,
                      struct growth_plan_stage *stage, struct error *error)
{
    struct shape *to = &stage->to;
    uint64_t seed = (uint64_t)growth_step_integer(step, "seed");
    int code = resolve_width(step, from, to, error);
    if (code != 0 || (code = resolve_heads(step, from, to, error)) != 0 ||
        (code = resolve_ff(step, from, to, error)) != 0)
        return code;
    const struct unit_set stream = {UNIT_WIDTH, 0, from->width, to->width, seed};
    const struct unit_set hidden = {UNIT_FF, 0, from->ff, to->ff, seed};
    if ((code = fill_map(stage, rule, stream, error)) != 0 || (code = fill_heads(stage, rule, seed, error)) != 0)
        return code;
    return fill_map(stage, rule, hidden, error);
}

void growth_width_new(const struct unit_set *set, int32_t *source)
{
    for (int unit = 0; unit < set->to; unit++)
        source[unit] = unit < set->from ? unit : -1;
}

bool growth_norms_center(enum family family)
{
    const struct layout *layout = layout_of(family);
    for (int i = 0; i < layout->row_count; i++)
        if (layout->rows[i].role == ROLE_NORM_BIAS)
            return true;
    return false;
}

bool growth_width_is_even(const struct growth_plan_stage *stage)
{
    const struct unit_map *map = &stage->units[UNIT_WIDTH];
    return map->source == NULL || map->count % stage->from.width == 0;
}
