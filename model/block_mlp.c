#include "model/block_mlp.h"

#include "model/block_mask.h"

void mlp_block_bind(struct mlp_block *block, const struct tensor_table *table, int layer)
{
    block->up = linear_of(table, ROLE_UP, ROLE_UP_BIAS, layer);
    block->down = linear_of(table, ROLE_DOWN, ROLE_DOWN_BIAS, layer);
    block->activation = table->shape.activation;
}

void mlp_block_forward(const struct pass *pass, const struct mlp_block *block, const void *x, void *branch)
{
    linear_forward(pass, &block->up, pass->positions, x, block->hidden);
    pass_activate(pass, block->activation, block->hidden, linear_bias(pass, &block->up), block->activated,
                  pass->positions, block->up.out);
    mask_units(pass, pass->positions, block->up.out, block->activated);
    if (branch != NULL)
        linear_forward(pass, &block->down, pass->positions, block->activated, branch);
}

/* d_hidden (N, FF): the gradient before the activation. */
static void backward_to_hidden(const struct pass *pass, const struct mlp_block *block, const void *d_branch,
                               void *d_hidden)
{
    linear_backward(pass, &block->down, pass->positions, block->activated, d_branch, d_hidden);
    mask_units(pass, pass->positions, block->up.out, d_hidden);
    pass_activate_backward(pass, block->activation, block->hidden, d_hidden, pass->positions, block->up.out);
}

void mlp_block_backward(const struct pass *pass, const struct mlp_block *block, const void *x, const void *d_branch,
                        void *d_hidden, void *d_x)
{
    backward_to_hidden(pass, block, d_branch, d_hidden);
    linear_backward(pass, &block->up, pass->positions, x, d_hidden, d_x);
}

void mlp_block_backward_add(const struct pass *pass, const struct mlp_block *block, const void *x, const void *d_branch,
                            void *d_hidden, void *d_x)
{
    backward_to_hidden(pass, block, d_branch, d_hidden);
    linear_backward_add(pass, &block->up, pass->positions, x, d_hidden, d_x);
}
