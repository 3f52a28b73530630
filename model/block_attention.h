/* Self-attention with q, k and v from one fused product: joined (N, (H + 2 G) D) holds them side by side. */
#ifndef MODEL_BLOCK_ATTENTION_H
#define MODEL_BLOCK_ATTENTION_H

#include "model/block.h"

struct attention_block {
    struct linear qkv, out;
    int heads, kv_heads, head_size;
    bool causal;
    double scale;
    void *joined;              /* (N, (H + 2 G) D) */
    void *attended;            /* (N, H D) */
    void *lse;                 /* (B, H, T) */
    void *scratch;             /* attention_block_scratch numbers, shared by all layers */
};

/* Sizes and scale 1 / sqrt(D) from a shape; what carving needs. */
void attention_block_size(struct attention_block *block, const struct shape *shape, bool causal);
/* Numbers of scratch for passes of up to `context` positions a row. */
size_t attention_block_scratch(const struct kernels *kernels, const struct attention_block *block, int context);
void attention_block_bind(struct attention_block *block, const struct tensor_table *table, int layer);
/* branch (N, C) = attention of x (N, C), without the output's bias. */
void attention_block_forward(const struct pass *pass, const struct attention_block *block, const void *x, void *branch);
/* d_x (N, C) from d_branch (N, C). Scratch: d_attended (N, H D), which may be d_x; d_joined (N, (H + 2 G) D). */
void attention_block_backward(const struct pass *pass, const struct attention_block *block, const void *x,
                              const void *d_branch, void *d_attended, void *d_joined, void *d_x);

#endif
