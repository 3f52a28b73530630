#include "model/block_attention.h"

#include <math.h>

#include "model/block_mask.h"

void attention_block_size(struct attention_block *block, const struct shape *shape, bool causal)
{
    block->heads = shape->heads;
    block->kv_heads = shape->kv_heads;
    block->head_size = shape->head_size;
    block->causal = causal;
    block->window = shape->window;
    block->scale = 1 / sqrt((double)shape->head_size);
}

size_t attention_block_joined(const struct attention_block *block)
{
    return ((size_t)block->heads + 2 * (size_t)block->kv_heads) * (size_t)block->head_size;
}

void attention_block_plan(struct attention_block *block, size_t positions, struct carve *carve)
{
    block->joined = carve_numbers(carve, positions, attention_block_joined(block));
    block->attended = carve_numbers(carve, positions, (size_t)block->heads * (size_t)block->head_size);
    block->lse = carve_numbers(carve, positions, (size_t)block->heads);
}

void attention_block_bind(struct attention_block *block, const struct tensor_table *table, int layer)
{
    block->fused = tensor_find_role(table, ROLE_QKV, layer, 0) != NULL;
    if (block->fused) {
        block->qkv = linear_of(table, ROLE_QKV, ROLE_QKV_BIAS, layer);
    } else {
        block->query = linear_of(table, ROLE_QUERY, ROLE_QUERY_BIAS, layer);
        block->key = linear_of(table, ROLE_KEY, ROLE_KEY_BIAS, layer);
        block->value = linear_of(table, ROLE_VALUE, ROLE_VALUE_BIAS, layer);
    }
    block->out = linear_of(table, ROLE_ATTENTION_OUT, ROLE_ATTENTION_OUT_BIAS, layer);
}

/* Where q, k and v (or their gradients) lie in a joined buffer. */
struct parts {
    void *q, *k, *v;
    int q_stride, kv_stride;
};

static struct parts parts_of(const struct pass *pass, const struct attention_block *block, void *joined)
{
    size_t element = pass->kernels->element, rows = block->fused ? 1 : (size_t)pass->positions;
    int queries = block->heads * block->head_size, keys = block->kv_heads * block->head_size;
    int whole = queries + 2 * keys;
    return (struct parts){
        .q = joined,
        .k = numbers_at(element, joined, rows * (size_t)queries),
        .v = numbers_at(element, joined, rows * (size_t)(queries + keys)),
        .q_stride = block->fused ? whole : queries,
        .kv_stride = block->fused ? whole : keys,
    };
}

static struct attention attention_sizes(const struct pass *pass, const struct attention_block *block,
                                        const struct parts *parts)
{
    const struct batch *batch = pass->batch;
    return (struct attention){
        .batch = batch->rows,
        .heads = block->heads,
        .kv_heads = block->kv_heads,
        .head_size = block->head_size,
        .queries = batch->context,
        .keys = batch->context,
        .causal = block->causal,
        .scale = block->scale,
        .q_stride = parts->q_stride,
        .kv_stride = parts->kv_stride,
        .out_stride = block->heads * block->head_size,
        .window = block->window,
        .prefix = block->causal ? batch->prefix : NULL,
        .key_mask = batch->mask,
        .bias_buckets = block->relative != NULL ? relative_block_buckets(block->relative, batch->context) : NULL,
        .buckets = block->relative != NULL ? block->relative->buckets : 0,
    };
}

size_t attention_block_scratch(const struct kernels *kernels, const struct attention_block *block, int context)
{
    struct attention sizes = {.head_size = block->head_size, .queries = context, .keys = context};
    return kernels->ops->attention_scratch(&sizes);
}

static void turn(const struct pass *pass, const struct attention_block *block, const struct parts *parts, bool back)
{
    if (block->rotary == NULL)
        return;
    rotary_block_turn(pass, block->rotary, block->heads, parts->q_stride, back, parts->q);
    rotary_block_turn(pass, block->rotary, block->kv_heads, parts->kv_stride, back, parts->k);
}

static void project(const struct pass *pass, const struct linear *linear, const void *x, void *y)
{
    linear_forward(pass, linear, pass->positions, x, y);
    linear_add_bias(pass, linear, pass->positions, y);
}

void attention_block_forward(const struct pass *pass, const struct attention_block *block, const void *x, void *branch)
{
    struct parts parts = parts_of(pass, block, block->joined);
    struct attention sizes = attention_sizes(pass, block, &parts);
    struct attention_forward buffers = {
        .q = parts.q, .k = parts.k, .v = parts.v, .out = block->attended, .lse = block->lse, .scratch = block->scratch,
    };
    if (block->relative != NULL)
        buffers.bias_table = pass_weight(pass, block->relative->table);
    if (block->fused) {
        project(pass, &block->qkv, x, block->joined);
    } else {
        project(pass, &block->query, x, parts.q);
        project(pass, &block->key, x, parts.k);
        project(pass, &block->value, x, parts.v);
    }
    turn(pass, block, &parts, false);
    pass_attention(pass, &sizes, &buffers);
    linear_forward(pass, &block->out, pass->positions, mask_heads(pass, block->out.in, block->attended, block->masked),
                   branch);
}

/* Down to the gradients of q, k and v, in d_joined. */
static struct parts backward_to_parts(const struct pass *pass, const struct attention_block *block,
                                      const void *d_branch, void *d_attended, void *d_joined)
{
    struct parts parts = parts_of(pass, block, block->joined), d_parts = parts_of(pass, block, d_joined);
    struct attention sizes = attention_sizes(pass, block, &parts);
    struct attention_backward buffers = {
        .q = parts.q, .k = parts.k, .v = parts.v, .out = block->attended, .lse = block->lse, .d_out = d_attended,
        .d_q = d_parts.q, .d_k = d_parts.k, .d_v = d_parts.v, .scratch = block->scratch,
    };
    if (block->relative != NULL) {
        buffers.bias_table = pass_weight(pass, block->relative->table);
        buffers.d_bias_table = pass_gradient(pass, block->relative->table);
    }
    linear_backward(pass, &block->out, pass->positions,
                    mask_heads(pass, block->out.in, block->attended, block->masked), d_branch, d_attended);
    mask_heads_backward(pass, block->out.in, d_attended);
    pass_attention_backward(pass, &sizes, &buffers);
    turn(pass, block, &d_parts, true);
    return d_parts;
}

void attention_block_backward(const struct pass *pass, const struct attention_block *block, const void *x,
                              const void *d_branch, void *d_attended, void *d_joined, void *d_x)
{
    struct parts d_parts = backward_to_parts(pass, block, d_branch, d_attended, d_joined);
    if (block->fused) {
        linear_backward(pass, &block->qkv, pass->positions, x, d_joined, d_x);
        return;
    }
    linear_backward(pass, &block->query, pass->positions, x, d_parts.q, d_x);
    linear_backward_add(pass, &block->key, pass->positions, x, d_parts.k, d_x);
    linear_backward_add(pass, &block->value, pass->positions, x, d_parts.v, d_x);
}

void attention_block_backward_add(const struct pass *pass, const struct attention_block *block, const void *x,
                                  const void *d_branch, void *d_attended, void *d_joined, void *d_x)
{
    struct parts d_parts = backward_to_parts(pass, block, d_branch, d_attended, d_joined);
    if (block->fused) {
        linear_backward_add(pass, &block->qkv, pass->positions, x, d_joined, d_x);
        return;
    }
    linear_backward_add(pass, &block->query, pass->positions, x, d_parts.q, d_x);
    linear_backward_add(pass, &block->key, pass->positions, x, d_parts.k, d_x);
    linear_backward_add(pass, &block->value, pass->positions, x, d_parts.v, d_x);
}
