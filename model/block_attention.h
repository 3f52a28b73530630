/* Self-attention. q, k and v come from one fused product, or from three where they are tensors of their own; a rotary
 * block turns q and k where the family has one. Honours the batch's mask and, when causal, its prefix. */
#ifndef MODEL_BLOCK_ATTENTION_H
#define MODEL_BLOCK_ATTENTION_H

#include "model/block.h"
#include "model/block_relative.h"
#include "model/block_rotary.h"

struct attention_block {
    bool fused;
    struct linear qkv;                     /* fused */
    struct linear query, key, value;       /* apart */
    struct linear out;
    int heads, kv_heads, head_size;
    bool causal;
    int window;                            /* sliding window, 0: none */
    double scale;
    const struct rotary_block *rotary;     /* NULL: none */
    const struct relative_block *relative; /* NULL: none */
    void *joined;              /* (N, (H + 2 G) D) fused; apart: (N, H D), (N, G D), (N, G D) one after another */
    void *attended;            /* (N, H D) */
    void *masked;              /* (N, H D) scratch for masked heads, with gradients; may be the way back's d_joined */
    void *lse;                 /* (B, H, T) */
    void *scratch;             /* attention_block_scratch numbers, shared by all layers */
};

/* Sizes and scale 1 / sqrt(D) from a shape; what carving needs. */
void attention_block_size(struct attention_block *block, const struct shape *shape, bool causal);
/* Numbers of scratch for passes of up to `context` positions a row. */
size_t attention_block_scratch(const struct kernels *kernels, const struct attention_block *block, int context);
/* Numbers of q, k and v of one position. */
size_t attention_block_joined(const struct attention_block *block);
/* Buffers for `positions`, but the scratch. */
void attention_block_plan(struct attention_block *block, size_t positions, struct carve *carve);
void attention_block_bind(struct attention_block *block, const struct tensor_table *table, int layer);
/* branch (N, C) = attention of x (N, C), without the output's bias. */
void attention_block_forward(const struct pass *pass, const struct attention_block *block, const void *x, void *branch);
/* d_x (N, C) from d_branch (N, C). Scratch: d_attended (N, H D), which may be d_x; d_joined (N, (H + 2 G) D). */
void attention_block_backward(const struct pass *pass, const struct attention_block *block, const void *x,
                              const void *d_branch, void *d_attended, void *d_joined, void *d_x);
/* The same with d_x += …; d_x may be d_branch: a stream that goes past the branch as well. d_attended is apart. */
void attention_block_backward_add(const struct pass *pass, const struct attention_block *block, const void *x,
                                  const void *d_branch, void *d_attended, void *d_joined, void *d_x);

#endif
