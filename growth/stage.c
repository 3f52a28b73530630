#include "growth/stage.h"

#include "base/check.h"
#include "base/memory.h"

void growth_stage_fini(struct growth_plan_stage *stage)
{
    memory_free(stage->layers);
    memory_free(stage->identity);
    for (int kind = 0; kind < UNIT_KIND_COUNT; kind++)
        memory_free(stage->units[kind].source);
    *stage = (struct growth_plan_stage){0};
}

int growth_stage_layers(struct growth_plan_stage *stage, int layers, bool with_identity, struct error *error)
{
    CHECK(stage->layers == NULL && layers > 0);
    stage->layers = memory_array((size_t)layers, sizeof *stage->layers);
    if (with_identity)
        stage->identity = memory_array((size_t)layers, sizeof *stage->identity);
    if (stage->layers == NULL || (with_identity && stage->identity == NULL))
        return error_set(error, ERROR_NO_MEMORY, "no memory for a map of %d layers", layers);
    stage->to.layers = layers;
    return 0;
}

int growth_stage_units(struct growth_plan_stage *stage, enum unit_kind kind, int from, int to, struct error *error)
{
    struct unit_map *map = &stage->units[kind];
    CHECK(map->source == NULL && from > 0 && to >= from);
    map->source = memory_array((size_t)to, sizeof *map->source);
    if (map->source == NULL)
        return error_set(error, ERROR_NO_MEMORY, "no memory for a map of %d units", to);
    map->count = to;
    for (int unit = 0; unit < to; unit++)
        map->source[unit] = unit % from;
    return 0;
}

int growth_stage_more_layers(const struct growth_step *step, const struct shape *from, int *layers,
                             struct error *error)
{
    int64_t wanted = growth_step_integer(step, "layers");
    if (from->layers >= GROWTH_LAYERS_MAX)
        return error_set_at(error, ERROR_INVALID, "/layers", "the model has %d layers already, the limit is %d: drop "
                            "this operator", from->layers, GROWTH_LAYERS_MAX);
    if (wanted <= from->layers || wanted > GROWTH_LAYERS_MAX)
        return error_set_at(error, ERROR_INVALID, "/layers", "layers must be above the %d there are and at most %d "
                            "(nearest valid: %d), not %lld", from->layers, GROWTH_LAYERS_MAX,
                            wanted <= from->layers ? from->layers + 1 : GROWTH_LAYERS_MAX, (long long)wanted);
    *layers = (int)wanted;
    return 0;
}
