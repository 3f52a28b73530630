/* A reference for the operators that put n models side by side: every entry of every tensor and its moments, by plain loops
 * over the names of the Hugging Face file (tests/growth/plain.h). The n models are one, or two of a fusion. */
#ifndef TESTS_GROWTH_BLOCKS_H
#define TESTS_GROWTH_BLOCKS_H

#include "tests/growth/plain.h"

struct blocks {
    const struct checkpoint *models[2];    /* the parent; the other one of a fusion, else NULL */
    struct plain_maps maps;                /* tiled */
};

static UNUSED void blocks_init(struct blocks *blocks, const struct checkpoint *parent, const struct checkpoint *other,
                               int copies)
{
    const struct shape *shape = &parent->table.shape;
    struct plain_map *maps[] = {&blocks->maps.stream, &blocks->maps.heads, &blocks->maps.kv, &blocks->maps.ff};
    const int sizes[] = {shape->width, shape->heads, shape->kv_heads, shape->ff};
    *blocks = (struct blocks){.models = {parent, other}};
    blocks->maps.gain = 1;
    blocks->maps.head = shape->scaled_head ? sqrt(copies) : 1;
    for (int m = 0; m < 4; m++) {
        int32_t source[PLAIN_UNITS];
        for (int unit = 0; unit < copies * sizes[m]; unit++)
            source[unit] = unit % sizes[m];
        plain_map_set(maps[m], source, copies * sizes[m], sizes[m]);
    }
}

/* In which of the models an axis' position lies; -1: the axis counts nothing that grows. */
static UNUSED int blocks_side(const struct blocks *blocks, char letter, int position)
{
    struct plain_place place = plain_place_of(&blocks->maps, letter, position, blocks->models[0]->table.shape.head_size);
    return place.map == NULL ? -1 : place.unit / place.map->old;
}

struct block_entry { bool across, whole; int side; struct plain_entry plain; };

static UNUSED struct block_entry block_entry_of(const struct blocks *blocks, const struct tensor *to, int columns, int i,
                                                int j)
{
    const char *axes = plain_axes(to->name);
    bool matrix = axes[1] != '\0' && axes[1] != '!';
    int first = blocks_side(blocks, axes[0], i), second = matrix ? blocks_side(blocks, axes[1], j) : -1;
    struct block_entry entry = {.whole = first < 0 && second < 0, .side = first > second ? first : second};
    entry.across = first >= 0 && second >= 0 && first != second;
    entry.plain = plain_entry_of(&blocks->maps, &blocks->models[0]->table.shape, to, columns, i, j);
    if (first >= 0 && second >= 0)
        entry.plain.weight = entry.across ? 0 : 1;     /* on the diagonal nothing is shared out */
    return entry;
}

/* The value of model `side` in one of its slabs (0 weights, 1 m, 2 v). */
static UNUSED double block_value(const struct checkpoint *model, int slab, const struct tensor *from, size_t at)
{
    const float *values = slab == 0 ? model->weights : slab == 1 ? model->moments->m : model->moments->v;
    return (double)values[from->offset + at];
}

static UNUSED double block_mean(const struct checkpoint *model, const struct tensor *from)
{
    return plain_mean(model->moments->v + from->offset, from->count);
}

static UNUSED double block_expected(const struct blocks *blocks, int slab, const struct tensor *from,
                                    const struct block_entry *entry)
{
    const struct checkpoint *parent = blocks->models[0], *other = blocks->models[1];
    double scale = slab == 0 ? entry->plain.weight : slab == 1 ? entry->plain.moment
                                                               : entry->plain.moment * entry->plain.moment;
    bool knows = other != NULL && (slab == 0 || (other->moments != NULL &&
                 other->moments->steps[from - parent->table.tensors] > 0));
    double mean = 0;
    if (slab == 2)
        mean = knows ? (block_mean(parent, from) + block_mean(other, from)) / 2 : block_mean(parent, from);
    if (other == NULL)
        return scale * block_value(parent, slab, from, entry->plain.old);
    if (entry->across)
        return mean;           /* between the models: 0 weights, m 0, v the mean */
    if (entry->whole)
        return knows ? (block_value(parent, slab, from, entry->plain.old) +
                        block_value(other, slab, from, entry->plain.old)) / 2
                     : block_value(parent, slab, from, entry->plain.old);
    if (entry->side > 0 && !knows)
        return mean;
    return scale * block_value(entry->side > 0 ? other : parent, slab, from, entry->plain.old);
}

static UNUSED void blocks_check(const struct blocks *blocks, const struct checkpoint *grown)
{
    static const char *const slabs[] = {"weight", "m", "v"};
    const struct checkpoint *parent = blocks->models[0];
    for (int t = 0; t < grown->table.count; t++) {
        const struct tensor *to = &grown->table.tensors[t], *from = tensor_find(&parent->table, to->name);
        assert_non_null(from);
        for (int i = 0; i < to->dims[0]; i++)
            for (int j = 0; j < to->dims[1]; j++) {
                struct block_entry entry = block_entry_of(blocks, to, from->dims[1], i, j);
                size_t at = (size_t)i * (size_t)to->dims[1] + (size_t)j;
                for (int slab = 0; slab < (grown->moments != NULL ? 3 : 1); slab++)
                    plain_assert(to, slabs[slab], i, j, block_value(grown, slab, to, at),
                                 block_expected(blocks, slab, from, &entry));
            }
    }
}

#endif
