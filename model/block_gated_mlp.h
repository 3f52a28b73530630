/* The gated MLP (Shazeer, 2020: GLU variants): branch = (activation(x W_gate + b_gate) * (x W_up + b_up)) W_down. */
#ifndef MODEL_BLOCK_GATED_MLP_H
#define MODEL_BLOCK_GATED_MLP_H

#include "model/block.h"

struct gated_mlp_block {
    struct linear gate, up, down;
    enum activation activation;
    void *gates, *ups;         /* (N, FF), before the activation */
    void *gated;               /* (N, FF); may be gates when there is no backward pass */
};

/* Buffers for `positions`; `kept`: for a backward pass. */
void gated_mlp_block_plan(struct gated_mlp_block *block, size_t positions, int ff, bool kept, struct carve *carve);
void gated_mlp_block_bind(struct gated_mlp_block *block, const struct tensor_table *table, int layer);
/* branch (N, C) from x (N, C), without the output's bias; NULL: only what the backward pass needs. */
void gated_mlp_block_forward(const struct pass *pass, const struct gated_mlp_block *block, const void *x, void *branch);
/* d_x (N, C) from d_branch (N, C); d_gates, d_ups (N, FF) are scratch. */
void gated_mlp_block_backward(const struct pass *pass, const struct gated_mlp_block *block, const void *x,
                              const void *d_branch, void *d_gates, void *d_ups, void *d_x);

#endif
