/* layer_map: the depth map that the user writes, as a list of old layers or as slices of the old stack. */
#include <stdio.h>

#include "growth/depth.h"

static const struct parameter parameters[] = {
    {.name = "map", .type = PARAMETER_INTEGERS, .nullable = true, .minimum = 0, .maximum = GROWTH_LAYERS_MAX - 1,
     .summary = "old layer of every new layer, null for a new random one; either this or slices"},
    {.name = "slices", .type = PARAMETER_PAIRS, .minimum = 0, .maximum = GROWTH_LAYERS_MAX,
     .summary = "half-open ranges [a, b) of old layers, one after another; either this or map"},
    {.name = "encoder_map", .type = PARAMETER_INTEGERS, .nullable = true, .minimum = 0,
     .maximum = GROWTH_LAYERS_MAX - 1, .summary = "t5, in place of map: of the encoder alone"},
    {.name = "decoder_map", .type = PARAMETER_INTEGERS, .nullable = true, .minimum = 0,
     .maximum = GROWTH_LAYERS_MAX - 1, .summary = "t5, in place of map: of the decoder alone"},
    GROWTH_NOISE_PARAMETER,
    GROWTH_SEED_PARAMETER,
};

/* `name`: of the parameter, for messages. */
static int check_map(const struct parameter_value *map, const char *name, int depth, struct error *error)
{
    char pointer[48];
    snprintf(pointer, sizeof pointer, "/%s", name);
    if (map->list_count == 0)
        return error_set_at(error, ERROR_INVALID, pointer, "%s must name at least one layer, each from 0 to %d or null",
                            name, depth - 1);
    if (map->list_count > GROWTH_LAYERS_MAX)
        return error_set_at(error, ERROR_INVALID, pointer, "%s has %d layers, at most %d are possible", name,
                            map->list_count, GROWTH_LAYERS_MAX);
    for (int i = 0; i < map->list_count; i++) {
        int32_t layer = map->list[i];
        if (layer >= -1 && layer < depth)
            continue;
        snprintf(pointer, sizeof pointer, "/%s/%d", name, i);
        return error_set_at(error, ERROR_INVALID, pointer, "old layers run from 0 to %d (nearest valid: %d), not %d",
                            depth - 1, layer < 0 ? 0 : depth - 1, (int)layer);
    }
    return 0;
}

/* The maps of encoder and decoder; NULL: that stack stays as it is. */
struct maps { const struct parameter_value *of[2]; const char *name[2]; };

static int maps_plan(const struct maps *maps, const struct shape *from, struct growth_plan_stage *stage,
                     struct error *error)
{
    const int depths[2] = {from->layers, from->decoder_layers};
    int to[2] = {from->layers, from->decoder_layers}, code = 0;
    for (int stack = 0; stack < 2 && code == 0; stack++) {
        if (maps->of[stack] == NULL || depths[stack] == 0)
            continue;
        code = check_map(maps->of[stack], maps->name[stack], depths[stack], error);
        to[stack] = maps->of[stack]->list_count;
    }
    if (code != 0 || (code = growth_depth_blocks(stage, to[0], to[1], false, error)) != 0)
        return code;
    for (int stack = 0; stack < 2; stack++)
        for (int i = 0; i < to[stack] && maps->of[stack] != NULL; i++)
            growth_depth_stack(stage, stack == 1)[i] = maps->of[stack]->list[i];
    growth_depth_shift(stage);
    return 0;
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
    const int depths[2] = {from->layers, from->decoder_layers};
    int total = 0, code = 0;
    if (slices->list_count < 2)
        return error_set_at(error, ERROR_INVALID, "/slices", "slices must hold at least one range [a, b) of the layers "
                            "0 to %d", from->layers - 1);
    for (int stack = 0; stack < 2 && code == 0; stack++)
        if (depths[stack] > 0)
            code = slices_total(slices, depths[stack], &total, error);
    if (code != 0 ||
        (code = growth_depth_blocks(stage, total, from->decoder_layers > 0 ? total : 0, false, error)) != 0)
        return code;
    for (int stack = 0; stack < 2; stack++)
        for (int i = 0, at = 0; i + 1 < slices->list_count && depths[stack] > 0; i += 2)
            for (int32_t layer = slices->list[i]; layer < slices->list[i + 1]; layer++)
                growth_depth_stack(stage, stack == 1)[at++] = layer;
    growth_depth_shift(stage);
    return 0;
}

/* encoder_map and decoder_map: only where there are two stacks, and not beside map and slices. */
static int check_own(const struct growth_step *step, const struct shape *from, struct error *error)
{
    static const char *const pointers[] = {"/encoder_map", "/decoder_map"};
    bool both = growth_step_value(step, "map")->present || growth_step_value(step, "slices")->present;
    for (int i = 0; i < 2; i++)
        if (growth_step_value(step, pointers[i] + 1)->present && (both || from->decoder_layers == 0))
            return error_set_at(error, ERROR_INVALID, pointers[i], "%s", both ?
                                "map and slices set both stacks already: give one or the other" :
                                "only models with an encoder and a decoder have two stacks: give map instead");
    return 0;
}

static int layer_map_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                          struct error *error)
{
    const struct parameter_value *map = growth_step_value(step, "map"), *slices = growth_step_value(step, "slices");
    const struct parameter_value *encoder = growth_step_value(step, "encoder_map");
    const struct parameter_value *decoder = growth_step_value(step, "decoder_map");
    struct maps maps = {{map, map}, {"map", "map"}};
    int code = check_own(step, from, error);
    if (code != 0)
        return code;
    if (encoder->present || decoder->present)
        maps = (struct maps){{encoder->present ? encoder : NULL, decoder->present ? decoder : NULL},
                             {"encoder_map", "decoder_map"}};
    else if (map->present == slices->present)
        return error_set_at(error, ERROR_INVALID, map->present ? "/slices" : "/map",
                            "layer_map needs exactly one of map and slices: %s", map->present ? "drop one of the two"
                            : "give map, for example [0, 1, null]");
    return slices->present ? slices_plan(slices, from, stage, error) : maps_plan(&maps, from, stage, error);
}

const struct growth_operator growth_op_layer_map = {
    .name = "layer_map",
    .summary = "new layer i copies old layer map[i]; null is a new random layer; slices writes the same as ranges",
    .source = "any depth map, for example the partial stacks of Du et al., arXiv 2405.15319, H.3",
    .symmetry_note = "",
    .promise = PROMISE_NONE,
    .symmetry = SYMMETRY_NONE,
    .families = 1u << FAMILY_GPT2 | GROWTH_LLAMA_FAMILIES | 1u << FAMILY_BERT | 1u << FAMILY_T5,
    .moments = "copies keep m, v and the step counter of their layer; random layers start at 0",
    .parameters = parameters,
    .parameter_count = GROWTH_COUNT_OF(parameters),
    .plan = layer_map_plan,
};
