#include "model/block_cross.h"

#include "model/block_mask.h"

void cross_block_size(struct cross_block *block, const struct shape *shape, double scale)
{
    block->heads = shape->heads;
    block->kv_heads = shape->kv_heads;
    block->head_size = shape->head_size;
    block->scale = scale;
}

void cross_block_plan(struct cross_block *block, size_t positions, size_t memory_positions, struct carve *carve)
{
    size_t inner = (size_t)block->heads * (size_t)block->head_size;
    size_t kv = (size_t)block->kv_heads * (size_t)block->head_size;
    block->queries = carve_numbers(carve, positions, inner);
    block->keys = carve_numbers(carve, memory_positions, kv);
    block->values = carve_numbers(carve, memory_positions, kv);
    block->attended = carve_numbers(carve, positions, inner);
    block->lse = carve_numbers(carve, positions, (size_t)block->heads);
}

void cross_block_bind(struct cross_block *block, const struct tensor_table *table, int layer)
{
    block->query = linear_of_nth(table, ROLE_QUERY, ROLE_QUERY_BIAS, layer, 1);
    block->key = linear_of_nth(table, ROLE_KEY, ROLE_KEY_BIAS, layer, 1);
    block->value = linear_of_nth(table, ROLE_VALUE, ROLE_VALUE_BIAS, layer, 1);
    block->out = linear_of_nth(table, ROLE_ATTENTION_OUT, ROLE_ATTENTION_OUT_BIAS, layer, 1);
}

static struct attention attention_sizes(const struct pass *pass, const struct cross_block *block,
                                        const struct cross_memory *memory)
{
    return (struct attention){
        .batch = pass->batch->rows,
        .heads = block->heads,
        .kv_heads = block->kv_heads,
        .head_size = block->head_size,
        .queries = pass->batch->context,
        .keys = memory->pass->batch->context,
        .scale = block->scale,
        .q_stride = block->heads * block->head_size,
        .kv_stride = block->kv_heads * block->head_size,
        .out_stride = block->heads * block->head_size,
        .key_mask = memory->pass->batch->mask,
    };
}

static void project(const struct pass *pass, const struct linear *linear, const void *x, void *y)
{
    linear_forward(pass, linear, pass->positions, x, y);
    linear_add_bias(pass, linear, pass->positions, y);
}

void cross_block_forward(const struct pass *pass, const struct cross_block *block, const struct cross_memory *memory,
                         const void *x, void *branch)
{
    struct attention sizes = attention_sizes(pass, block, memory);
    struct attention_forward buffers = {
        .q = block->queries, .k = block->keys, .v = block->values, .out = block->attended, .lse = block->lse,
        .scratch = block->scratch,
    };
    project(pass, &block->query, x, block->queries);
    project(memory->pass, &block->key, memory->numbers, block->keys);
    project(memory->pass, &block->value, memory->numbers, block->values);
    pass_attention(pass, &sizes, &buffers);
    linear_forward(pass, &block->out, pass->positions, mask_heads(pass, block->out.in, block->attended, block->masked),
                   branch);
}

void cross_block_backward(const struct pass *pass, const struct cross_block *block, const struct cross_memory *memory,
                          const void *x, const void *d_branch, void *d_attended, void *d_joined, void *d_x)
{
    size_t element = pass->kernels->element, rows = (size_t)pass->positions;
    size_t memory_rows = (size_t)memory->pass->positions, inner = (size_t)block->heads * (size_t)block->head_size;
    void *d_keys = numbers_at(element, d_joined, rows * inner);
    void *d_values = numbers_at(element, d_keys, memory_rows * (size_t)block->kv_heads * (size_t)block->head_size);
    struct attention sizes = attention_sizes(pass, block, memory);
    struct attention_backward buffers = {
        .q = block->queries, .k = block->keys, .v = block->values, .out = block->attended, .lse = block->lse,
        .d_out = d_attended, .d_q = d_joined, .d_k = d_keys, .d_v = d_values, .scratch = block->scratch,
    };
    linear_backward(pass, &block->out, pass->positions,
                    mask_heads(pass, block->out.in, block->attended, block->masked), d_branch, d_attended);
    mask_heads_backward(pass, block->out.in, d_attended);
    pass_attention_backward(pass, &sizes, &buffers);
    linear_backward(pass, &block->query, pass->positions, x, d_joined, d_x);
    linear_backward_add(memory->pass, &block->key, memory->pass->positions, memory->numbers, d_keys, memory->gradient);
    linear_backward_add(memory->pass, &block->value, memory->pass->positions, memory->numbers, d_values,
                        memory->gradient);
}
