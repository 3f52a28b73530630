/* Cross attention: queries from one stream, keys and values from another (an encoder's output). Its weights are the
 * second attention of a decoder's block. */
#ifndef MODEL_BLOCK_CROSS_H
#define MODEL_BLOCK_CROSS_H

#include "model/block.h"

/* The other stream: its pass (for rows, length and mask) and its numbers. */
struct cross_memory {
    const struct pass *pass;
    const void *numbers;       /* (N', C), N' = B T' */
    void *gradient;            /* (N', C), +=; NULL in a forward pass */
};

struct cross_block {
    struct linear query, key, value, out;
    int heads, kv_heads, head_size;
    double scale;
    void *queries;             /* (N, H D) */
    void *keys, *values;       /* (N', G D) */
    void *attended;            /* (N, H D) */
    void *masked;              /* (N, H D) scratch for masked heads, with gradients; may be the way back's d_joined */
    void *lse;                 /* (B, H, T) */
    void *scratch;             /* attention_block_scratch numbers */
};

void cross_block_size(struct cross_block *block, const struct shape *shape, double scale);
/* Buffers for `positions` of queries and `memory_positions` of the other stream, but the scratch. */
void cross_block_plan(struct cross_block *block, size_t positions, size_t memory_positions, struct carve *carve);
void cross_block_bind(struct cross_block *block, const struct tensor_table *table, int layer);
/* branch (N, C) = attention of x (N, C) over the memory, without the output's bias. */
void cross_block_forward(const struct pass *pass, const struct cross_block *block, const struct cross_memory *memory,
                         const void *x, void *branch);
/* d_x (N, C) from d_branch (N, C), and the memory's gradient. Scratch: d_attended (N, H D), which may be d_x; d_joined
 * (N, H D), then twice (N', G D). */
void cross_block_backward(const struct pass *pass, const struct cross_block *block, const struct cross_memory *memory,
                          const void *x, const void *d_branch, void *d_attended, void *d_joined, void *d_x);

#endif
