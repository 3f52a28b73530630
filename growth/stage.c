#include "growth/stage.h"

#include "base/check.h"
#include "base/memory.h"

static void unit_map_fini(struct unit_map *map)
{
    memory_free(map->source);
    memory_free(map->shares);
}

void growth_stage_fini(struct growth_plan_stage *stage)
{
    memory_free(stage->layers);
    memory_free(stage->identity);
    memory_free(stage->masked);
    memory_free(stage->second);
    for (int kind = 0; kind < UNIT_KIND_COUNT; kind++)
        unit_map_fini(&stage->units[kind]);
    *stage = (struct growth_plan_stage){0};
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
