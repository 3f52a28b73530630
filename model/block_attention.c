#include "model/block_attention.h"

#include <math.h>

void attention_block_size(struct attention_block *block, const struct shape *shape, bool causal)
{
    block->heads = shape->heads;
    block->kv_heads = shape->kv_heads;
    block->head_size = shape->head_size;
    block->causal = causal;
    block->scale = 1 / sqrt((double)shape->head_size);
}

void attention_block_bind(struct attention_block *block, const struct tensor_table *table, int layer)
{
    block->qkv = linear_of(table, ROLE_QKV, ROLE_QKV_BIAS, layer);
    block->out = linear_of(table, ROLE_ATTENTION_OUT, ROLE_ATTENTION_OUT_BIAS, layer);
}

static struct attention attention_sizes(const struct attention_block *block, int rows, int context)
{
    int joined = (block->heads + 2 * block->kv_heads) * block->head_size;
    return (struct attention){
        .batch = rows,
        .heads = block->heads,
        .kv_heads = block->kv_heads,
        .head_size = block->head_size,
        .queries = context,
        .keys = context,
        .causal = block->causal,
        .scale = block->scale,
        .q_stride = joined,
        .kv_stride = joined,
        .out_stride = block->heads * block->head_size,
    };
}

size_t attention_block_scratch(const struct kernels *kernels, const struct attention_block *block, int context)
{
    struct attention sizes = {.head_size = block->head_size, .queries = context, .keys = context};
    return kernels->ops->attention_scratch(&sizes);
}

/* Where k and v begin within a joined row. */
static size_t key_offset(const struct attention_block *block)
{
    return (size_t)block->heads * (size_t)block->head_size;
}

static size_t value_offset(const struct attention_block *block)
{
    return key_offset(block) + (size_t)block->kv_heads * (size_t)block->head_size;
}

void attention_block_forward(const struct pass *pass, const struct attention_block *block, const void *x, void *branch)
{
    const struct kernels *kernels = pass->kernels;
    struct attention sizes = attention_sizes(block, pass->batch->rows, pass->batch->context);
    struct attention_forward buffers = {
        .q = block->joined,
        .k = numbers_at_const(kernels->element, block->joined, key_offset(block)),
        .v = numbers_at_const(kernels->element, block->joined, value_offset(block)),
        .out = block->attended,
        .lse = block->lse,
        .scratch = block->scratch,
    };
    linear_forward(pass, &block->qkv, pass->positions, x, block->joined);
    if (block->qkv.has_bias)
        kernels->ops->bias_add(block->joined, linear_bias(pass, &block->qkv), pass->positions, block->qkv.out);
    kernels->ops->attention(&sizes, &buffers);
    linear_forward(pass, &block->out, pass->positions, block->attended, branch);
}

void attention_block_backward(const struct pass *pass, const struct attention_block *block, const void *x,
                              const void *d_branch, void *d_attended, void *d_joined, void *d_x)
{
    const struct kernels *kernels = pass->kernels;
    size_t key = key_offset(block), value = value_offset(block), element = kernels->element;
    struct attention sizes = attention_sizes(block, pass->batch->rows, pass->batch->context);
    struct attention_backward buffers = {
        .q = block->joined,
        .k = numbers_at_const(element, block->joined, key),
        .v = numbers_at_const(element, block->joined, value),
        .out = block->attended,
        .lse = block->lse,
        .d_out = d_attended,
        .d_q = d_joined,
        .d_k = numbers_at(element, d_joined, key),
        .d_v = numbers_at(element, d_joined, value),
        .scratch = block->scratch,
    };
    linear_backward(pass, &block->out, pass->positions, block->attended, d_branch, d_attended);
    kernels->ops->attention_backward(&sizes, &buffers);
    linear_backward(pass, &block->qkv, pass->positions, x, d_joined, d_x);
}
