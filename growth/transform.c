#include "growth/transform.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

/* Shares of the new units of one kind (NULL stands for 1 each), and which of them copy a unit that an earlier one
 * copies (NULL: none). */
struct unit_shares { double *of[UNIT_KIND_COUNT]; bool *further[UNIT_KIND_COUNT]; };

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

/* What reaches a copy of a kv head is what reaches the queries that it serves: of each old query of its group their
 * share. On average over the group, this is the copy's (exactly, where all queries of a group are split alike). */
static void kv_shares(const struct growth_plan_stage *stage, const double *query_shares, double *shares)
{
    const int32_t *queries = stage->units[UNIT_HEADS].source;
    int old_group = stage->from.heads / stage->from.kv_heads, group = stage->to.heads / stage->to.kv_heads;
    for (int kv = 0; kv < stage->to.kv_heads; kv++) {
        double sum = 0;
        for (int head = kv * group; head < (kv + 1) * group; head++)
            if (queries == NULL || queries[head] >= 0)
                sum += query_shares == NULL ? 1 : query_shares[head];
        shares[kv] = stage->units[UNIT_KV].source[kv] < 0 ? 1 : sum / old_group;
    }
}

/* seen: scratch of as many entries as the map has. */
static void mark_further(const struct unit_map *map, int32_t *seen, bool *further)
{
    memset(seen, 0, (size_t)map->count * sizeof *seen);
    for (int unit = 0; unit < map->count; unit++)
        if (map->source[unit] >= 0)
            further[unit] = seen[map->source[unit]]++ > 0;
}

/* In the order of enum unit_kind: kv heads after the heads that they serve. */
static int shares_init(const struct growth_transform *transform, enum unit_kind kind, struct unit_shares *all,
                       struct error *error)
{
    double **shares = &all->of[kind];
    const struct unit_map *map = &transform->stage->units[kind];
    *shares = NULL;
    if (map->source == NULL)
        return 0;
    size_t count = (size_t)map->count;
    int32_t *counts = memory_array(2 * count, sizeof *counts);
    double *sums = memory_array(count, sizeof *sums);
    *shares = memory_array(count, sizeof **shares);
    all->further[kind] = memory_array(count, sizeof *all->further[kind]);
    char name[16];
    snprintf(name, sizeof name, "%d", (int)kind);
    bool there = counts != NULL && sums != NULL && *shares != NULL && all->further[kind] != NULL;
    if (there && map->shares != NULL)
        memcpy(*shares, map->shares, count * sizeof **shares);
    else if (there && kind == UNIT_KV)
        kv_shares(transform->stage, all->of[UNIT_HEADS], *shares);
    else if (there)
        fill_shares(map, growth_transform_stream(transform, "split", name), counts, counts + count, sums, *shares);
    if (there)
        mark_further(map, counts, all->further[kind]);
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
            axis->further[position] = shares->further[kind] != NULL && shares->further[kind][unit];
            axis->share[position] = shares->of[kind] == NULL ? 1 : shares->of[kind][unit];
        }
        axis->has_new = axis->has_new || source < 0;
    }
    axis->changed = axis->changed || map->source != NULL;
    axis->written = map->written;
    axis->read = map->read;
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
    case AXIS_CONTEXT:
        spell_units(transform, UNIT_CONTEXT, shares, to->context, from->context, 1, 0, 0, axis);
        break;
    default:
        spell_plain(axis);
    }
}

static bool goes_on(const struct axis_map *axis, int position)
{
    int before = position - 1;
    bool consecutive = axis->source[before] < 0 ? axis->source[position] < 0
                                                : axis->source[position] == axis->source[before] + 1;
    return consecutive && axis->copy[position] == axis->copy[before] && axis->further[position] == axis->further[before]
           && axis->share[position] == axis->share[before];
}

static int runs_init(struct axis_map *axis, struct error *error)
{
    int count = 1;
    for (int position = 1; position < axis->count; position++)
        count += !goes_on(axis, position);
    axis->runs = memory_array((size_t)count, sizeof *axis->runs);
    if (axis->runs == NULL)
        return error_set(error, ERROR_NO_MEMORY, "no memory for the map of an axis of %d", axis->count);
    for (int position = 0; position < axis->count; position++) {
        if (position == 0 || !goes_on(axis, position))
            axis->runs[axis->run_count++] = (struct axis_run){
                .begin = position, .source = axis->source[position], .copy = axis->copy[position],
                .further = axis->further[position], .share = axis->share[position]};
        axis->runs[axis->run_count - 1].end = position + 1;
    }
    return 0;
}

static int axis_init(const struct growth_transform *transform, enum axis kind, const struct unit_shares *shares,
                     struct axis_map *axis, struct error *error)
{
    axis->count = kind == AXIS_NONE ? 1 : axis_size(kind, &transform->stage->to);
    size_t count = (size_t)axis->count;
    axis->source = memory_array(count, sizeof *axis->source);
    axis->copy = memory_array(count, sizeof *axis->copy);
    axis->further = memory_array(count, sizeof *axis->further);
    axis->share = memory_array(count, sizeof *axis->share);
    if (axis->source == NULL || axis->copy == NULL || axis->further == NULL || axis->share == NULL)
        return error_set(error, ERROR_NO_MEMORY, "no memory for the map of an axis of %d", axis->count);
    spell_axis(transform, kind, shares, axis);
    return runs_init(axis, error);
}

static int deviates_init(struct growth_transform *transform, struct error *error)
{
    transform->deviates = memory_array(DEVIATES_TABLE, sizeof *transform->deviates);
    if (transform->deviates == NULL)
        return error_set(error, ERROR_NO_MEMORY, "no memory for the table of normal draws");
    deviates_table(transform->deviates);
    return 0;
}

int growth_transform_init(struct growth_transform *transform, const struct growth_plan_stage *stage,
                          const struct tensor_table *before, uint64_t seed, uint64_t list_hash, int index,
                          struct error *error)
{
    *transform = (struct growth_transform){
        .stage = stage, .before = before, .seed = seed + stage->seed, .list_hash = list_hash, .index = index,
    };
    struct unit_shares shares = {0};
    int code = 0;
    if (stage->partner != NULL && (stage->partner->checkpoint == NULL ||
                                   !shape_equal(&stage->from, &stage->partner->checkpoint->table.shape)))
        return error_set(error, ERROR_INTERNAL, "%s was planned with a checkpoint that is not here now",
                         stage->op->name);
    for (int kind = 0; kind < UNIT_KIND_COUNT && code == 0; kind++)
        code = shares_init(transform, (enum unit_kind)kind, &shares, error);
    for (int kind = 0; kind < AXIS_KINDS && code == 0; kind++)
        code = axis_init(transform, (enum axis)kind, &shares, &transform->axes[kind], error);
    if (code == 0)
        code = deviates_init(transform, error);
    for (int kind = 0; kind < UNIT_KIND_COUNT; kind++)
        memory_free(shares.of[kind]), memory_free(shares.further[kind]);
    if (code != 0)
        growth_transform_fini(transform);
    return code;
}

void growth_transform_fini(struct growth_transform *transform)
{
    for (int kind = 0; kind < AXIS_KINDS; kind++) {
        memory_free(transform->axes[kind].source);
        memory_free(transform->axes[kind].copy);
        memory_free(transform->axes[kind].further);
        memory_free(transform->axes[kind].share);
        memory_free(transform->axes[kind].runs);
    }
    memory_free(transform->deviates);
    *transform = (struct growth_transform){0};
}

struct rng growth_transform_stream(const struct growth_transform *transform, const char *purpose, const char *name)
{
    char text[TENSOR_NAME_BYTES + 64];
    int length = snprintf(text, sizeof text, "%016llx/%d/%s/%s", (unsigned long long)transform->list_hash,
                          transform->index, purpose, name);
    return rng_stream(transform->seed, hash_u64(text, (size_t)length), RNG_GROWTH);
}

/* Of the same row, or where the family changes of the same name; experts from the MLP that had their role. */
static bool is_source(const struct tensor *from, const struct tensor *to)
{
    if (to->row->presence == PRESENT_EXPERTS && from->row->presence != PRESENT_EXPERTS)
        return from->row->role == to->row->role;
    return from->expert == to->expert && (from->row == to->row || strcmp(from->row->name, to->row->name) == 0);
}

static const struct tensor *source_at(const struct tensor_table *before, const struct tensor *to, int layer)
{
    for (int i = 0; i < before->count; i++)
        if (before->tensors[i].layer == layer && is_source(&before->tensors[i], to))
            return &before->tensors[i];
    return NULL;
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
    return source_at(before, to, layer);
}

bool growth_tensor_is_upcycled(const struct growth_transform *transform, const struct tensor *to)
{
    return to->row->presence == PRESENT_EXPERTS && transform->stage->from.experts == 0;
}

struct share_means growth_share_means(const struct growth_transform *transform, const struct tensor *to)
{
    double experts = transform->stage->to.experts, top_k = transform->stage->to.top_k;
    if (!growth_tensor_is_upcycled(transform, to))
        return (struct share_means){1, 1};
    return (struct share_means){1 / experts, 1 / sqrt(experts * top_k)};
}

const struct tensor *growth_tensor_second(const struct growth_transform *transform, const struct tensor_table *before,
                                          const struct tensor *to)
{
    const int32_t *second = transform->stage->second;
    enum role role = to->row->role;
    if (second == NULL || to->layer < 0 || second[to->layer] < 0 || role == ROLE_NORM_GAIN || role == ROLE_NORM_BIAS)
        return NULL;
    return source_at(before, to, second[to->layer]);
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

double growth_role_factor(const struct growth_transform *transform, enum role role)
{
    double factor = growth_head_factor(transform, role);
    return role_is_gain(role) ? factor * transform->stage->norm_factor : factor;
}

bool growth_role_is_divided_norm(const struct shape *shape, enum role role)
{
    return shape->tied && (role == ROLE_FINAL_NORM_GAIN || role == ROLE_FINAL_NORM_BIAS);
}
