#include "model/block_gated_mlp.h"

#include "model/block_mask.h"

void gated_mlp_block_plan(struct gated_mlp_block *block, size_t positions, int ff, bool kept, struct carve *carve)
{
    block->gates = carve_numbers(carve, positions, (size_t)ff);
    block->ups = carve_numbers(carve, positions, (size_t)ff);
    block->gated = kept ? carve_numbers(carve, positions, (size_t)ff) : block->gates;
}

void gated_mlp_block_bind(struct gated_mlp_block *block, const struct tensor_table *table, int layer)
{
    block->gate = linear_of(table, ROLE_GATE, ROLE_GATE_BIAS, layer);
    block->up = linear_of(table, ROLE_UP, ROLE_UP_BIAS, layer);
    block->down = linear_of(table, ROLE_DOWN, ROLE_DOWN_BIAS, layer);
    block->activation = table->shape.activation;
}

void gated_mlp_block_forward(const struct pass *pass, const struct gated_mlp_block *block, const void *x, void *branch)
{
    int rows = pass->positions, width = block->up.out;
    linear_forward(pass, &block->gate, rows, x, block->gates);
    linear_forward(pass, &block->up, rows, x, block->ups);
    linear_add_bias(pass, &block->gate, rows, block->gates);
    linear_add_bias(pass, &block->up, rows, block->ups);
    pass_gate(pass, block->activation, block->gates, block->ups, block->gated, rows, width, width);
    mask_units(pass, rows, width, block->gated);
    if (branch != NULL)
        linear_forward(pass, &block->down, rows, block->gated, branch);
}

void gated_mlp_block_backward(const struct pass *pass, const struct gated_mlp_block *block, const void *x,
                              const void *d_branch, void *d_gates, void *d_ups, void *d_x)
{
    int rows = pass->positions, width = block->up.out;
    linear_backward(pass, &block->down, rows, block->gated, d_branch, d_gates);
    mask_units(pass, rows, width, d_gates);
    pass_gate_backward(pass, block->activation, block->gates, block->ups, d_gates, d_gates, d_ups, rows, width, width);
    linear_backward(pass, &block->gate, rows, x, d_gates, d_x);
    linear_backward_add(pass, &block->up, rows, x, d_ups, d_x);
}
