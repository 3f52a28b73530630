#include "growth/transform.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

/* Shares of the new units of one kind; NULL stands for 1 each. */
struct unit_shares { double *of[UNIT_KIND_COUNT]; };

/* Unequal weights of the c copies of a unit lie in [1, 3) and are at least 1/c apart (ranks, rotated at random per
 * unit), so that no two copies come out alike. */
static double unequal_weight(struct rng stream, int unit, int units, int source, int rank, int copies)
{
    struct rng jitter = rng_at(stream, (uint64_t)unit), rotation = rng_at(stream, (uint64_t)units + (uint64_t)source);
    int place = (rank + (int)rng_below(&rotation, (uint64_t)copies)) % copies;
    return 1 + 2 * (place + 0.5 * rng_uniform(&jitter)) / copies;
}

/* Shares of one map. counts, ranks, sums: scratch of as many entries as the map has, counts and ranks zeroed. */
static void fill_shares(const struct unit_map *map, struct rng stream, int32_t *counts, int32_t *ranks, double *sums,
                        double *shares)
{
    for (int unit = 0; unit < map->count; unit++)
        if (map->source[unit] >= 0)
            counts[map->source[unit]]++;
    for (int unit = 0; unit < map->count; unit++) {
        int source = map->source[unit];
        shares[unit] = 1;
        if (source < 0)
            continue;
        if (map->unequal && counts[source] > 1)
            shares[unit] = unequal_weight(stream, unit, map->count, source, ranks[source]++, counts[source]);
        sums[source] += shares[unit];
    }
    for (int unit = 0; unit < map->count; unit++)
        if (map->source[unit] >= 0)
            shares[unit] /= sums[map->source[unit]];
}

static int shares_init(const struct growth_transform *transform, enum unit_kind kind, double **shares,
                       struct error *error)
{
    const struct unit_map *map = &transform->stage->units[kind];
    *shares = NULL;
    if (map->source == NULL)
        return 0;
    size_t count = (size_t)map->count;
    int32_t *counts = memory_array(2 * count, sizeof *counts);
    double *sums = memory_array(count, sizeof *sums);
    *shares = memory_array(count, sizeof **shares);
    char name[16];
    snprintf(name, sizeof name, "%d", (int)kind);
    bool there = counts != NULL && sums != NULL && *shares != NULL;
    if (there)
        fill_shares(map, growth_transform_stream(transform, "split", name), counts, counts + count, sums, *shares);
    memory_free(counts);
    memory_free(sums);
    return there ? 0 : error_set(error, ERROR_NO_MEMORY, "no memory to split %d units", map->count);
}

/* Spells out units of `size` positions each from position `at` on; their old positions begin at `old_at`. */
static void spell_units(const struct growth_transform *transform, enum unit_kind kind, const struct unit_shares *shares,
                        int units, int old_units, int size, int at, int old_at, struct axis_map *axis)
{
    const struct unit_map *map = &transform->stage->units[kind];
    for (int unit = 0; unit < units; unit++) {
        int source = map->source == NULL ? unit : map->source[unit];
        for (int inner = 0; inner < size; inner++) {
            int position = at + unit * size + inner;
            axis->source[position] = source < 0 ? -1 : old_at + source * size + inner;
            axis->copy[position] = transform->stage->copies > 1 ? unit / old_units : 0;
            axis->share[position] = shares->of[kind] == NULL ? 1 : shares->of[kind][unit];
        }
    }
    axis->changed = axis->changed || map->source != NULL;
}

static void spell_plain(struct axis_map *axis)
{
    for (int position = 0; position < axis->count; position++) {
        axis->source[position] = position;
        axis->share[position] = 1;
    }
}

static void spell_axis(const struct growth_transform *transform, enum axis kind, const struct unit_shares *shares,
                       struct axis_map *axis)
{
    const struct shape *from = &transform->stage->from, *to = &transform->stage->to;
    int size = to->head_size, heads = to->heads * size, old_heads = from->heads * size;
    int kv = to->kv_heads * size, old_kv = from->kv_heads * size;
    switch (kind) {
    case AXIS_WIDTH:
        spell_units(transform, UNIT_WIDTH, shares, to->width, from->width, 1, 0, 0, axis);
        break;
    case AXIS_HEADS:
        spell_units(transform, UNIT_HEADS, shares, to->heads, from->heads, size, 0, 0, axis);
        break;
    case AXIS_HEAD_COUNT:
        spell_units(transform, UNIT_HEADS, shares, to->heads, from->heads, 1, 0, 0, axis);
        break;
    case AXIS_KV:
        spell_units(transform, UNIT_KV, shares, to->kv_heads, from->kv_heads, size, 0, 0, axis);
        break;
    case AXIS_QKV:
        spell_units(transform, UNIT_HEADS, shares, to->heads, from->heads, size, 0, 0, axis);
        spell_units(transform, UNIT_KV, shares, to->kv_heads, from->kv_heads, size, heads, old_heads, axis);
        spell_units(transform, UNIT_KV, shares, to->kv_heads, from->kv_heads, size, heads + kv,
                    old_heads + old_kv, axis);
        break;
    case AXIS_FF:
        spell_units(transform, UNIT_FF, shares, to->ff, from->ff, 1, 0, 0, axis);
        break;
    default:
        spell_plain(axis);
    }
}

static int axis_init(const struct growth_transform *transform, enum axis kind, const struct unit_shares *shares,
                     struct axis_map *axis, struct error *error)
{
    axis->count = kind == AXIS_NONE ? 1 : axis_size(kind, &transform->stage->to);
    size_t count = (size_t)axis->count;
    axis->source = memory_array(count, sizeof *axis->source);
    axis->copy = memory_array(count, sizeof *axis->copy);
    axis->share = memory_array(count, sizeof *axis->share);
    if (axis->source == NULL || axis->copy == NULL || axis->share == NULL)
        return error_set(error, ERROR_NO_MEMORY, "no memory for the map of an axis of %d", axis->count);
    spell_axis(transform, kind, shares, axis);
    return 0;
}

int growth_transform_init(struct growth_transform *transform, const struct growth_plan_stage *stage, uint64_t seed,
                          uint64_t list_hash, int index, struct error *error)
{
    *transform = (struct growth_transform){
        .stage = stage, .seed = seed + stage->seed, .list_hash = list_hash, .index = index,
    };
    struct unit_shares shares = {0};
    int code = 0;
    for (int kind = 0; kind < UNIT_KIND_COUNT && code == 0; kind++)
        code = shares_init(transform, (enum unit_kind)kind, &shares.of[kind], error);
    for (int kind = 0; kind < AXIS_KINDS && code == 0; kind++)
        code = axis_init(transform, (enum axis)kind, &shares, &transform->axes[kind], error);
    for (int kind = 0; kind < UNIT_KIND_COUNT; kind++)
        memory_free(shares.of[kind]);
    if (code != 0)
        growth_transform_fini(transform);
    return code;
}

void growth_transform_fini(struct growth_transform *transform)
{
    for (int kind = 0; kind < AXIS_KINDS; kind++) {
        memory_free(transform->axes[kind].source);
        memory_free(transform->axes[kind].copy);
        memory_free(transform->axes[kind].share);
    }
    *transform = (struct growth_transform){0};
}

struct rng growth_transform_stream(const struct growth_transform *transform, const char *purpose, const char *name)
{
    char text[TENSOR_NAME_BYTES + 64];
    int length = snprintf(text, sizeof text, "%016llx/%d/%s/%s", (unsigned long long)transform->list_hash,
                          transform->index, purpose, name);
    return rng_stream(transform->seed, hash_u64(text, (size_t)length), RNG_GROWTH);
}

const struct tensor *growth_tensor_source(const struct growth_transform *transform, const struct tensor_table *before,
                                          const struct tensor *to)
{
    struct norm_origin origin = growth_norm_origin(transform, to);
    int layer = to->layer;
    if (origin.kind != NORM_AS_MAPPED)
        return origin.kind == NORM_UNIT ? NULL : tensor_find_role(before, origin.role, origin.layer, origin.nth);
    if (layer >= 0 && transform->stage->layers != NULL)
        layer = transform->stage->layers[layer];
    if (to->layer >= 0 && layer < 0)
        return NULL;
    for (int i = 0; i < before->count; i++)
        if (before->tensors[i].row == to->row && before->tensors[i].layer == layer)
            return &before->tensors[i];
    return NULL;
}

bool growth_role_is_output(enum role role)
{
    return role == ROLE_ATTENTION_OUT || role == ROLE_ATTENTION_OUT_BIAS || role == ROLE_DOWN ||
           role == ROLE_DOWN_BIAS;
}

double growth_head_factor(const struct growth_transform *transform, enum role role)
{
    const struct shape *from = &transform->stage->from, *to = &transform->stage->to;
    if (!to->scaled_head || (role != ROLE_HEAD && !growth_role_is_divided_norm(to, role)))
        return 1;
    return sqrt((double)to->width / from->width);
}

bool growth_role_is_divided_norm(const struct shape *shape, enum role role)
{
    return shape->tied && (role == ROLE_FINAL_NORM_GAIN || role == ROLE_FINAL_NORM_BIAS);
}
