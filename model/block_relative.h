/* Relative positions of T5 (Raffel et al., 2020): a number per head and bucket of distances is added to the scores. One
 * table serves all layers of a stack. */
#ifndef MODEL_BLOCK_RELATIVE_H
#define MODEL_BLOCK_RELATIVE_H

#include "model/block.h"

struct relative_block {
    size_t table;              /* offset in a slab: (buckets, H) */
    int buckets, context;      /* context: the map's */
    int32_t *map;              /* relative_map_numbers, host memory; bucket of s - t at [s - t + context - 1] */
};

/* The bucket of distance key - query, as transformers' _relative_position_bucket in float32: half of the buckets (of
 * each direction) for exact distances, the others on a logarithmic scale up to `farthest`. One-directional: all keys
 * ahead share bucket 0. Contract: buckets and farthest as shape_check wants them. */
int relative_bucket(int distance, bool bidirectional, int buckets, int farthest);

static inline size_t relative_map_numbers(int context)
{
    return 2 * (size_t)context - 1;
}

/* Fills `map`, which the block keeps, for rows of up to `context` positions. nth: of the table's tensors. */
void relative_block_bind(struct relative_block *block, const struct tensor_table *table, int nth, bool bidirectional,
                         int context, int32_t *map);

/* What attention looks up with `queries` as many keys. */
static inline const int32_t *relative_block_buckets(const struct relative_block *block, int queries)
{
    return block->map + (block->context - queries);
}

#endif
