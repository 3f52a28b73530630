/* The composed maps of a plan as JSON: what `validate` shows before any weight is touched. */
#include "growth/plan.h"

#include "base/memory.h"
#include "growth/stage.h"

static const struct { const char *name; enum unit_kind kind; } UNITS[] = {
    {"width", UNIT_WIDTH}, {"heads", UNIT_HEADS}, {"kv_heads", UNIT_KV}, {"ff", UNIT_FF},
};

static int unit_count(const struct shape *shape, enum unit_kind kind)
{
    switch (kind) {
    case UNIT_WIDTH: return shape->width;
    case UNIT_HEADS: return shape->heads;
    case UNIT_KV: return shape->kv_heads;
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
    for (int unit = 0; unit < from; unit++)
        composed[unit] = unit;
    for (int s = 0; s < plan->stage_count; s++) {
        const struct unit_map *map = &plan->stages[s].units[kind];
        for (int unit = 0; unit < map->count; unit++)
            scratch[unit] = map->source[unit] < 0 ? -1 : composed[map->source[unit]];
        for (int unit = 0; unit < map->count; unit++)
            composed[unit] = scratch[unit];
    }
    buffer_format(out, ",\"%s\":{\"from\":%d,\"to\":%d,\"slices\":[", name, from, to);
    slices_json(composed, to, out);
    buffer_text(out, "]}");
    memory_free(maps);
}

void growth_plan_json(const struct growth_plan *plan, struct buffer *out)
{
    buffer_text(out, "{");
    layers_json(plan, out);
    for (int i = 0; i < GROWTH_COUNT_OF(UNITS); i++)
        if (unit_count(&plan->to, UNITS[i].kind) != unit_count(&plan->from, UNITS[i].kind))
            units_json(plan, UNITS[i].name, UNITS[i].kind, out);
    buffer_text(out, "}");
}
