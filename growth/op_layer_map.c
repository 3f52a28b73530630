/* layer_map: the depth map that the user writes, as a list of old layers or as slices of the old stack. */
#include <stdio.h>

#include "growth/stage.h"

static const struct parameter parameters[] = {
    {.name = "map", .type = PARAMETER_INTEGERS, .nullable = true, .minimum = 0, .maximum = GROWTH_LAYERS_MAX - 1,
     .summary = "old layer of every new layer, null for a new random one; either this or slices"},
    {.name = "slices", .type = PARAMETER_PAIRS, .minimum = 0, .maximum = GROWTH_LAYERS_MAX,
     .summary = "half-open ranges [a, b) of old layers, one after another; either this or map"},
    GROWTH_NOISE_PARAMETER,
    GROWTH_SEED_PARAMETER,
};

static int map_plan(const struct parameter_value *map, const struct shape *from, struct growth_plan_stage *stage,
                    struct error *error)
{
    if (map->list_count == 0)
        return error_set_at(error, ERROR_INVALID, "/map", "map must name at least one layer, each from 0 to %d or null",
                            from->layers - 1);
    if (map->list_count > GROWTH_LAYERS_MAX)
        return error_set_at(error, ERROR_INVALID, "/map", "map has %d layers, at most %d are possible", map->list_count,
                            GROWTH_LAYERS_MAX);
    for (int i = 0; i < map->list_count; i++) {
        int32_t layer = map->list[i];
        if (layer >= -1 && layer < from->layers)
            continue;
        char pointer[32];
        snprintf(pointer, sizeof pointer, "/map/%d", i);
        return error_set_at(error, ERROR_INVALID, pointer, "old layers run from 0 to %d (nearest valid: %d), not %d",
                            from->layers - 1, layer < 0 ? 0 : from->layers - 1, (int)layer);
    }
    int code = growth_stage_layers(stage, map->list_count, false, error);
    for (int i = 0; code == 0 && i < map->list_count; i++)
        stage->layers[i] = map->list[i];
    return code;
}

/* The sum of the slices' lengths, or a refusal. */
static int slices_total(const struct parameter_value *slices, int depth, int *total, struct error *error)
{
    *total = 0;
    for (int i = 0; i + 1 < slices->list_count; i += 2) {
        int32_t begin = slices->list[i], end = slices->list[i + 1];
        char pointer[32];
        snprintf(pointer, sizeof pointer, "/slices/%d", i / 2);
        if (begin < 0 || end > depth || begin >= end) {
            int low = begin < 0 ? 0 : begin >= depth ? depth - 1 : begin;
            int high = end > depth ? depth : end <= low ? low + 1 : end;
            return error_set_at(error, ERROR_INVALID, pointer, "a slice [a, b) needs 0 <= a < b <= %d (nearest valid: "
                                "[%d, %d]), not [%d, %d]", depth, low, high, (int)begin, (int)end);
        }
        *total += end - begin;
        if (*total > GROWTH_LAYERS_MAX)
            return error_set_at(error, ERROR_INVALID, pointer, "the slices have over %d layers together: drop some",
                                GROWTH_LAYERS_MAX);
    }
    return 0;
}

static int slices_plan(const struct parameter_value *slices, const struct shape *from, struct growth_plan_stage *stage,
                       struct error *error)
{
    int total;
    if (slices->list_count < 2)
        return error_set_at(error, ERROR_INVALID, "/slices", "slices must hold at least one range [a, b) of the layers "
                            "0 to %d", from->layers - 1);
    int code = slices_total(slices, from->layers, &total, error);
    if (code != 0 || (code = growth_stage_layers(stage, total, false, error)) != 0)
        return code;
    int at = 0;
    for (int i = 0; i + 1 < slices->list_count; i += 2)
        for (int32_t layer = slices->list[i]; layer < slices->list[i + 1]; layer++)
            stage->layers[at++] = layer;
    return 0;
}

static int layer_map_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                          struct error *error)
{
    const struct parameter_value *map = growth_step_value(step, "map"), *slices = growth_step_value(step, "slices");
    if (map->present == slices->present)
        return error_set_at(error, ERROR_INVALID, map->present ? "/slices" : "/map",
                            "layer_map needs exactly one of map and slices: %s", map->present ? "drop one of the two"
                            : "give map, for example [0, 1, null]");
    return map->present ? map_plan(map, from, stage, error) : slices_plan(slices, from, stage, error);
}

const struct growth_operator growth_op_layer_map = {
    .name = "layer_map",
    .summary = "new layer i copies old layer map[i]; null is a new random layer; slices writes the same as ranges",
    .source = "any depth map, for example the partial stacks of Du et al., arXiv 2405.15319, H.3",
    .symmetry_note = "",
    .promise = PROMISE_NONE,
    .symmetry = SYMMETRY_NONE,
    .families = 1u << FAMILY_GPT2,
    .moments = "copies keep m, v and the step counter of their layer; random layers start at 0",
    .parameters = parameters,
    .parameter_count = GROWTH_COUNT_OF(parameters),
    .plan = layer_map_plan,
};
