#include "growth/ramps.h"

#include <endian.h>
#include <string.h>

#include "base/memory.h"
#include "growth/stage.h"

static int block_count(const struct shape *shape)
{
    return shape->layers + shape->decoder_layers;
}

/* What is new in this stage starts its ramp with the trial, as everything else that is masked does. */
static void compose_blocks(const struct growth_plan_stage *stage, const int32_t *before, int32_t *after)
{
    for (int block = 0; block < block_count(&stage->to); block++) {
        int32_t old = stage->layers == NULL ? block : stage->layers[block];
        after[block] = stage->masked != NULL && stage->masked[block] ? stage->ramp_steps : old < 0 ? 0 : before[old];
    }
}

static int most_blocks(const struct growth_plan *plan)
{
    int most = block_count(&plan->from);
    for (int s = 0; s < plan->stage_count; s++)
        if (block_count(&plan->stages[s].to) > most)
            most = block_count(&plan->stages[s].to);
    return most;
}

static const enum unit_kind KINDS[RAMP_UNITS] = {
    [RAMP_STREAM] = UNIT_WIDTH, [RAMP_HEADS] = UNIT_HEADS, [RAMP_FF] = UNIT_FF,
};

static int unit_count(const struct shape *shape, enum ramp_units units)
{
    return units == RAMP_STREAM ? shape->width : units == RAMP_HEADS ? shape->heads : shape->ff;
}

static bool masks_units(const struct growth_plan *plan, enum unit_kind kind)
{
    for (int s = 0; s < plan->stage_count; s++)
        if (plan->stages[s].ramp_steps > 0 && plan->stages[s].units[kind].source != NULL)
            return true;
    return false;
}

/* No stage makes fewer units than it found. */
static int compose_units(const struct growth_plan *plan, enum ramp_units units, struct growth_ramps *ramps,
                         struct error *error)
{
    int count = unit_count(&plan->to, units);
    if (!masks_units(plan, KINDS[units]))
        return 0;
    int32_t *map = memory_array(2 * (size_t)count, sizeof *map);
    if (map == NULL)
        return error_set(error, ERROR_NO_MEMORY, "no memory for the masks of %d units", count);
    int32_t *before = map + count;
    for (int s = 0; s < plan->stage_count; s++) {
        const struct unit_map *stage = &plan->stages[s].units[KINDS[units]];
        memcpy(before, map, (size_t)count * sizeof *map);
        for (int unit = 0; stage->source != NULL && unit < stage->count; unit++)
            map[unit] = stage->source[unit] < 0 ? plan->stages[s].ramp_steps : before[stage->source[unit]];
    }
    ramps->units[units] = map;
    ramps->unit_counts[units] = count;
    return 0;
}

static int ramps_fill(struct growth_ramps *ramps, const struct growth_plan *plan, struct error *error)
{
    size_t most = (size_t)most_blocks(plan);
    int32_t *maps = ramps->blocks = memory_array(2 * most, sizeof *maps);
    int code = 0;
    if (maps == NULL)
        return error_set(error, ERROR_NO_MEMORY, "no memory for the masks of %zu blocks", most);
    for (int s = 0; s < plan->stage_count; s++) {
        compose_blocks(&plan->stages[s], maps, maps + most);
        memcpy(maps, maps + most, most * sizeof *maps);
    }
    ramps->block_count = block_count(&plan->to);
    for (int units = 0; units < RAMP_UNITS && code == 0; units++)
        code = compose_units(plan, (enum ramp_units)units, ramps, error);
    return code;
}

int growth_ramps_init(struct growth_ramps *ramps, const struct growth_plan *plan, struct error *error)
{
    *ramps = (struct growth_ramps){.longest = plan->ramp_steps};
    int code = plan->ramp_steps == 0 ? 0 : ramps_fill(ramps, plan, error);
    if (code != 0)
        growth_ramps_fini(ramps);
    return code;
}

void growth_ramps_fini(struct growth_ramps *ramps)
{
    memory_free(ramps->blocks);
    for (int units = 0; units < RAMP_UNITS; units++)
        memory_free(ramps->units[units]);
    *ramps = (struct growth_ramps){0};
}

double growth_ramp_share(int32_t ramp, uint64_t step)
{
    return ramp <= 0 || step >= (uint64_t)ramp ? 1 : (double)step / ramp;
}

static void hash_map(struct hash_state *hash, const int32_t *map, int count)
{
    for (int i = 0; i < count; i++) {
        uint32_t entry = htole32((uint32_t)map[i]);
        hash_update(hash, &entry, sizeof entry);
    }
}

void growth_ramps_hash(const struct growth_ramps *ramps, struct hash_state *hash)
{
    if (ramps->longest == 0)
        return;
    hash_map(hash, ramps->blocks, ramps->block_count);
    for (int units = 0; units < RAMP_UNITS; units++) {
        hash_map(hash, &ramps->unit_counts[units], 1);      /* so that no two lists run into one */
        hash_map(hash, ramps->units[units], ramps->unit_counts[units]);
    }
}

/* ---- the shares of one step ---- */

static size_t numbers_of(const struct shape *shape, enum ramp_units units)
{
    return (size_t)unit_count(shape, units) * (size_t)(units == RAMP_HEADS ? shape->head_size : 1);
}

static size_t most_numbers(const struct shape *shape)
{
    size_t most = 0;
    for (int units = 0; units < RAMP_UNITS; units++)
        if (numbers_of(shape, (enum ramp_units)units) > most)
            most = numbers_of(shape, (enum ramp_units)units);
    return most;
}

size_t growth_masks_bytes(const struct kernels *kernels, const struct shape *shape)
{
    size_t numbers = most_numbers(shape);
    for (int units = 0; units < RAMP_UNITS; units++)
        numbers += numbers_of(shape, (enum ramp_units)units);
    return (size_t)block_count(shape) * sizeof(double) + numbers * kernels->element;
}

int growth_masks_init(struct growth_masks *masks, const struct shape *shape, const struct kernels *kernels,
                      struct error *error)
{
    *masks = (struct growth_masks){.kernels = kernels, .head_size = shape->head_size};
    masks->blocks = memory_array((size_t)block_count(shape), sizeof *masks->blocks);
    masks->host = memory_array(most_numbers(shape), kernels->element);
    bool there = masks->blocks != NULL && masks->host != NULL;
    for (int units = 0; units < RAMP_UNITS && there; units++) {
        masks->units[units] = kernels->alloc(numbers_of(shape, (enum ramp_units)units) * kernels->element);
        there = masks->units[units] != NULL;
    }
    if (there)
        return 0;
    growth_masks_fini(masks);
    return error_set(error, ERROR_NO_MEMORY, "no memory for the masks of %d blocks and their units", block_count(shape));
}

void growth_masks_fini(struct growth_masks *masks)
{
    memory_free(masks->blocks);
    memory_free(masks->host);
    for (int units = 0; units < RAMP_UNITS; units++)
        if (masks->units[units] != NULL)
            masks->kernels->release(masks->units[units]);
    *masks = (struct growth_masks){0};
}

/* One number as the kernels store it; returns what it became. */
static double put(const struct growth_masks *masks, size_t at, double share)
{
    if (masks->kernels->element == sizeof(double))
        return ((double *)masks->host)[at] = share;
    return (double)(((float *)masks->host)[at] = (float)share);
}

/* NULL: every share is 1. *sum: of the shares, as stored. */
static const void *fill_units(struct growth_masks *masks, const struct growth_ramps *ramps, enum ramp_units units,
                              uint64_t step, double *sum)
{
    int each = units == RAMP_HEADS ? masks->head_size : 1;
    size_t numbers = 0;
    bool whole = true;
    *sum = 0;
    for (int unit = 0; unit < ramps->unit_counts[units]; unit++) {
        double share = growth_ramp_share(ramps->units[units][unit], step);
        whole = whole && share == 1;
        for (int inner = 0; inner < each; inner++)
            *sum += put(masks, numbers++, share);
    }
    if (whole)
        return NULL;
    masks->kernels->upload(masks->units[units], masks->host, numbers * masks->kernels->element);
    return masks->units[units];
}

const struct masking *growth_masks_at(struct growth_masks *masks, const struct growth_ramps *ramps, uint64_t step)
{
    double unused;
    if (ramps == NULL || step >= ramps->longest)
        return NULL;
    for (int i = 0; i < ramps->block_count; i++)
        masks->blocks[i] = growth_ramp_share(ramps->blocks[i], step);
    masks->masking = (struct masking){.blocks = masks->blocks};
    masks->masking.stream = fill_units(masks, ramps, RAMP_STREAM, step, &masks->masking.stream_sum);
    masks->masking.heads = fill_units(masks, ramps, RAMP_HEADS, step, &unused);
    masks->masking.ff = fill_units(masks, ramps, RAMP_FF, step, &unused);
    return &masks->masking;
}
