/* The composed maps of a plan as JSON: what `validate` shows before any weight is touched. */
#include "growth/plan.h"

#include "base/memory.h"
#include "growth/ramps.h"
#include "growth/stage.h"

static const struct { const char *name; enum unit_kind kind; } UNITS[] = {
    {"width", UNIT_WIDTH}, {"heads", UNIT_HEADS}, {"kv_heads", UNIT_KV}, {"ff", UNIT_FF},
    {"context", UNIT_CONTEXT},
};

static int unit_count(const struct shape *shape, enum unit_kind kind)
{
    switch (kind) {
    case UNIT_WIDTH: return shape->width;
    case UNIT_HEADS: return shape->heads;
    case UNIT_KV: return shape->kv_heads;
    case UNIT_CONTEXT: return shape->context;
    default: return shape->ff;
    }
}

static int block_count(const struct shape *shape)
{
    return shape->layers + shape->decoder_layers;
}

/* What stage by stage maps to: old = map[new], -1 for fresh. Fills `composed` (to's blocks) for stages[0..];
 * `scratch` as large. */
static void compose_layers(const struct growth_plan *plan, int32_t *composed, int32_t *scratch, bool *identity,
                           bool *identity_scratch)
{
    for (int i = 0; i < block_count(&plan->from); i++)
        composed[i] = i;
    for (int s = 0; s < plan->stage_count; s++) {
        const struct growth_plan_stage *stage = &plan->stages[s];
        if (stage->layers == NULL)
            continue;
        for (int i = 0; i < block_count(&stage->to); i++) {
            int32_t old = stage->layers[i];
            scratch[i] = old < 0 ? -1 : composed[old];
            identity_scratch[i] = (stage->identity != NULL && stage->identity[i]) || (old >= 0 && identity[old]);
        }
        for (int i = 0; i < block_count(&stage->to); i++) {
            composed[i] = scratch[i];
            identity[i] = identity_scratch[i];
        }
    }
}

/* Layer counts may shrink and grow again along a list: the most blocks that any stage has. */
static int most_blocks(const struct growth_plan *plan)
{
    int most = block_count(&plan->from);
    for (int s = 0; s < plan->stage_count; s++)
        if (block_count(&plan->stages[s].to) > most)
            most = block_count(&plan->stages[s].to);
    return most;
}

/* One stack's part of the map, layers counted within the stack: blocks from `first` (of the parent: from `base`) on. */
struct stack_part { const char *prefix; int first, count, base; };

static void stack_json(const struct stack_part *part, const int32_t *maps, const bool *flags, struct buffer *out)
{
    const char *comma = "";
    buffer_format(out, "\"%slayers\":[", part->prefix);
    for (int i = part->first; i < part->first + part->count; i++) {
        buffer_text(out, i > part->first ? "," : "");
        if (maps[i] < 0)
            buffer_text(out, "null");
        else
            buffer_format(out, "%d", (int)maps[i] - part->base);
    }
    buffer_format(out, "],\"%sidentity\":[", part->prefix);
    for (int i = part->first; i < part->first + part->count; i++)
        if (flags[i]) {
            buffer_format(out, "%s%d", comma, i - part->first);
            comma = ",";
        }
    buffer_text(out, "]");
}

static void layers_json(const struct growth_plan *plan, struct buffer *out)
{
    size_t most = (size_t)most_blocks(plan);
    int32_t *maps = memory_array(2 * most, sizeof *maps);
    bool *flags = memory_array(2 * most, sizeof *flags);
    if (maps == NULL || flags == NULL) {
        out->failed = true;
        memory_free(maps);
        memory_free(flags);
        return;
    }
    const struct stack_part stack = {"", 0, plan->to.layers, 0};
    const struct stack_part decoder = {"decoder_", plan->to.layers, plan->to.decoder_layers, plan->from.layers};
    compose_layers(plan, maps, maps + most, flags, flags + most);
    stack_json(&stack, maps, flags, out);
    if (decoder.count > 0) {
        buffer_text(out, ",");
        stack_json(&decoder, maps, flags, out);
    }
    memory_free(maps);
    memory_free(flags);
}

/* Runs of consecutive old units as half-open ranges. */
static void slices_json(const int32_t *map, int count, struct buffer *out)
{
    for (int begin = 0; begin < count;) {
        int end = begin + 1;
        while (end < count && map[begin] >= 0 && map[end] == map[end - 1] + 1)
            end++;
        buffer_text(out, begin > 0 ? "," : "");
        if (map[begin] < 0)
            buffer_text(out, "null");
        else
            buffer_format(out, "[%d,%d]", (int)map[begin], (int)map[end - 1] + 1);
        begin = end;
    }
}

static void units_json(const struct growth_plan *plan, const char *name, enum unit_kind kind, struct buffer *out)
{
    int from = unit_count(&plan->from, kind), to = unit_count(&plan->to, kind);
    size_t most = (size_t)(from > to ? from : to);
    int32_t *maps = memory_array(2 * most, sizeof *maps);
    if (maps == NULL) {
        out->failed = true;
        return;
    }
    int32_t *composed = maps, *scratch = maps + most;
    int named = from;      /* units of the parent, then those of each partner, have a number */
    for (int unit = 0; unit < from; unit++)
        composed[unit] = unit;
    for (int s = 0; s < plan->stage_count; s++) {
        const struct growth_plan_stage *stage = &plan->stages[s];
        const struct unit_map *map = &stage->units[kind];
        int old = unit_count(&stage->from, kind);
        for (int unit = 0; unit < map->count; unit++) {
            bool other = stage->partner != NULL && unit >= old;
            scratch[unit] = map->source[unit] < 0 ? -1 : other ? named + map->source[unit]
                                                               : composed[map->source[unit]];
        }
        named += stage->partner != NULL ? old : 0;
        for (int unit = 0; unit < map->count; unit++)
            composed[unit] = scratch[unit];
    }
    buffer_format(out, ",\"%s\":{\"from\":%d,\"to\":%d,\"slices\":[", name, from, to);
    slices_json(composed, to, out);
    buffer_text(out, "]}");
    memory_free(maps);
}

/* Positions have no units where no table holds them. */
static bool is_mapped(const struct growth_plan *plan, enum unit_kind kind)
{
    for (int s = 0; s < plan->stage_count; s++)
        if (plan->stages[s].units[kind].source != NULL)
            return true;
    return false;
}

/* Which MLP each expert copies; a dense one counts as one expert. */
static void experts_json(const struct growth_plan *plan, struct buffer *out)
{
    int from = plan->from.experts > 0 ? plan->from.experts : 1, to = plan->to.experts;
    buffer_format(out, ",\"experts\":{\"from\":%d,\"to\":%d,\"slices\":[", from, to);
    for (int expert = 0; expert < to; expert++)
        buffer_text(out, expert > 0 ? ",[0,1]" : "[0,1]");
    buffer_text(out, "]}");
}

static void masked_json(const char *prefix, const int32_t *ramps, int count, struct buffer *out)
{
    const char *comma = "";
    buffer_format(out, ",\"%smasked\":[", prefix);
    for (int i = 0; i < count; i++)
        if (ramps[i] > 0) {
            buffer_format(out, "%s%d", comma, i);
            comma = ",";
        }
    buffer_text(out, "]");
}

static void ramps_json(const struct growth_plan *plan, struct buffer *out)
{
    struct growth_ramps ramps;
    struct error ignored = {0};
    if (growth_ramps_init(&ramps, plan, &ignored) != 0) {
        out->failed = true;
        return;
    }
    masked_json("", ramps.blocks, plan->to.layers, out);
    if (plan->to.decoder_layers > 0)
        masked_json("decoder_", ramps.blocks + plan->to.layers, plan->to.decoder_layers, out);
    buffer_format(out, ",\"ramp_steps\":%llu", (unsigned long long)ramps.longest);
    growth_ramps_fini(&ramps);
}

void growth_plan_json(const struct growth_plan *plan, struct buffer *out)
{
    buffer_text(out, "{");
    layers_json(plan, out);
    for (int i = 0; i < GROWTH_COUNT_OF(UNITS); i++)
        if (is_mapped(plan, UNITS[i].kind))
            units_json(plan, UNITS[i].name, UNITS[i].kind, out);
    if (plan->to.experts != plan->from.experts)
        experts_json(plan, out);
    if (plan->ramp_steps > 0)
        ramps_json(plan, out);
    buffer_text(out, "}");
}
