/* The two-layer MLP: branch = activation(x W_up + b_up) W_down. */
#ifndef MODEL_BLOCK_MLP_H
#define MODEL_BLOCK_MLP_H

#include "model/block.h"

struct mlp_block {
    struct linear up, down;
    enum activation activation;
    void *hidden;              /* (N, FF), before the activation */
    void *activated;           /* (N, FF); may be hidden when there is no backward pass */
};

void mlp_block_bind(struct mlp_block *block, const struct tensor_table *table, int layer);
/* branch (N, C) from x (N, C), without the output's bias; NULL: only what the backward pass needs. */
void mlp_block_forward(const struct pass *pass, const struct mlp_block *block, const void *x, void *branch);
/* d_x (N, C) from d_branch (N, C); d_hidden (N, FF) is scratch. */
void mlp_block_backward(const struct pass *pass, const struct mlp_block *block, const void *x, const void *d_branch,
                        void *d_hidden, void *d_x);
/* The same with d_x += …; d_x may be d_branch: a stream that goes past the branch as well. */
void mlp_block_backward_add(const struct pass *pass, const struct mlp_block *block, const void *x, const void *d_branch,
                            void *d_hidden, void *d_x);

#endif
