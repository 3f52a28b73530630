/* BERT (Devlin et al., 2019): learned positions and token types, attention that looks both ways, layer norm after each
 * addition, a transform before the tied head.
 *   x = norm(words[token] + positions[t] + types[type])
 *   per layer: x = norm1(x + attention(x)); x = norm2(x + mlp(x))
 *   hidden = norm(activation(transform(x)))
 * Pooler and next-sentence head take no part: their gradients stay 0. */
#include "model/network_family.h"

#include "model/block_attention.h"
#include "model/block_mask.h"
#include "model/block_mlp.h"

struct bert_block {
    struct norm_block norm1, norm2;    /* sum: stream + branch; out: first the branch alone, then the stream on */
    struct attention_block attention;
    struct mlp_block mlp;
};

struct bert {
    size_t tokens, positions, types;   /* offsets of the embeddings */
    struct norm_block embedding;       /* out: what the first block reads */
    struct linear transform;
    enum activation activation;
    void *before;                      /* (N, C): the transform before its activation */
    struct norm_block final;           /* sum: after it */
    void *d_here, *d_there;            /* (N, max(C, H D)): gradients of the stream, of either side of a norm by turns */
    void *d_wide;                      /* (N, max(FF, 3 H D)) */
    int layers;
    bool recompute;                    /* blocks share all buffers but norm2.out */
    struct bert_block blocks[];
};

static size_t bert_state_bytes(const struct shape *shape)
{
    size_t bytes;
    if (__builtin_mul_overflow((size_t)shape->layers, sizeof(struct bert_block), &bytes) ||
        __builtin_add_overflow(bytes, sizeof(struct bert), &bytes))
        return 0;
    return bytes;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Everything the backward pass of one layer needs. */
static void plan_block_kept(struct bert_block *block, const struct shape *shape, size_t positions, struct carve *carve)
{
    norm_block_plan(&block->norm1, positions, (size_t)shape->width, carve);
    norm_block_plan(&block->norm2, positions, (size_t)shape->width, carve);
    attention_block_plan(&block->attention, positions, carve);
    block->mlp.hidden = carve_numbers(carve, positions, (size_t)shape->ff);
    block->mlp.activated = carve_numbers(carve, positions, (size_t)shape->ff);
}

/* Without a backward pass two buffers serve all layers: each norm reads the stream from one, where it forms the sum, and
 * the branch from the other, where it leaves the new stream. */
static void plan_shared(struct bert *bert, struct bert_block *block, const struct shape *shape, size_t positions,
                        struct carve *carve)
{
    norm_block_plan(&bert->embedding, positions, (size_t)shape->width, carve);
    block->norm2 = bert->embedding;
    block->norm1 = bert->embedding;
    block->norm1.sum = bert->embedding.out;
    block->norm1.out = bert->embedding.sum;
    attention_block_plan(&block->attention, positions, carve);
    block->mlp.hidden = carve_numbers(carve, positions, (size_t)shape->ff);
    block->mlp.activated = block->mlp.hidden;
    bert->final = bert->embedding;
    bert->before = bert->final.sum;
}

static void plan_kept(struct bert *bert, const struct attention_block *attention, const struct shape *shape,
                      size_t positions, struct carve *carve)
{
    size_t width = (size_t)shape->width, narrow = larger(width, (size_t)shape->heads * (size_t)shape->head_size);
    norm_block_plan(&bert->embedding, positions, width, carve);
    norm_block_plan(&bert->final, positions, width, carve);
    bert->before = carve_numbers(carve, positions, width);
    bert->d_here = carve_numbers(carve, positions, narrow);
    bert->d_there = carve_numbers(carve, positions, narrow);
    bert->d_wide = carve_numbers(carve, positions, larger((size_t)shape->ff, attention_block_joined(attention)));
}

static void bert_plan(void *state, const struct shape *shape, const struct network_sizes *sizes, struct carve *carve)
{
    struct bert counted = {.layers = 0}, *bert = state != NULL ? state : &counted;
    struct bert_block first = {.mlp.activation = shape->activation};
    size_t positions = (size_t)sizes->rows * (size_t)sizes->context;
    attention_block_size(&first.attention, shape, false);
    first.attention.scratch =
        carve_numbers(carve, 1, attention_block_scratch(carve->kernels, &first.attention, sizes->context));
    if (sizes->gradients)
        plan_kept(bert, &first.attention, shape, positions, carve);
    else
        plan_shared(bert, &first, shape, positions, carve);
    if (sizes->gradients)
        first.attention.masked = bert->d_wide;
    bert->recompute = sizes->gradients && sizes->recompute;
    if (bert->recompute)
        plan_block_kept(&first, shape, positions, carve);
    for (int layer = 0; layer < shape->layers && !carve->overflow; layer++) {
        struct bert_block block = first;
        if (sizes->gradients && !bert->recompute)
            plan_block_kept(&block, shape, positions, carve);
        if (bert->recompute && layer > 0)
            block.norm2.out = carve_numbers(carve, positions, (size_t)shape->width);
        if (state != NULL)
            bert->blocks[layer] = block;
    }
    bert->layers = shape->layers;
}

static void bert_bind(void *state, const struct tensor_table *table)
{
    struct bert *bert = state;
    bert->tokens = tensor_find_role(table, ROLE_TOKEN_EMBEDDING, -1, 0)->offset;
    bert->positions = tensor_find_role(table, ROLE_POSITION_EMBEDDING, -1, 0)->offset;
    bert->types = tensor_find_role(table, ROLE_TYPE_EMBEDDING, -1, 0)->offset;
    bert->transform = linear_of(table, ROLE_TRANSFORM, ROLE_TRANSFORM_BIAS, -1);
    bert->activation = table->shape.activation;
    norm_block_bind(&bert->embedding, table, ROLE_EMBEDDING_NORM_GAIN, ROLE_EMBEDDING_NORM_BIAS, -1, 0);
    norm_block_bind(&bert->final, table, ROLE_FINAL_NORM_GAIN, ROLE_FINAL_NORM_BIAS, -1, 0);
    for (int layer = 0; layer < bert->layers; layer++) {
        struct bert_block *block = &bert->blocks[layer];
        norm_block_bind(&block->norm1, table, ROLE_NORM_GAIN, ROLE_NORM_BIAS, layer, 0);
        norm_block_bind(&block->norm2, table, ROLE_NORM_GAIN, ROLE_NORM_BIAS, layer, 1);
        attention_block_bind(&block->attention, table, layer);
        mlp_block_bind(&block->mlp, table, layer);
    }
}

/* The sum of the three embeddings into the norm's sum. Without types every token is of type 0, a bias; with them the
 * looked-up rows wait in the norm's out. Returns what the norm adds, NULL: nothing is left to add. */
static const void *embed(const struct bert *bert, const struct pass *pass)
{
    const struct norm_block *norm = &bert->embedding;
    struct embedding sizes = {.rows = pass->batch->rows, .context = pass->batch->context, .width = norm->width};
    pass_embed(pass, &sizes, pass->batch->inputs, pass_weight(pass, bert->tokens), pass_weight(pass, bert->positions),
               norm->sum);
    if (pass->batch->types == NULL) {
        pass_bias_add(pass, norm->sum, pass_weight(pass, bert->types), pass->positions, norm->width);
        return NULL;
    }
    pass_embed(pass, &sizes, pass->batch->types, pass_weight(pass, bert->types), NULL, norm->out);
    return norm->out;
}

static void embed_backward(const struct bert *bert, const struct pass *pass, const void *d_sum)
{
    struct embedding sizes = {
        .rows = pass->batch->rows, .context = pass->batch->context, .width = bert->embedding.width,
    };
    pass_embed_backward(pass, &sizes, pass->batch->inputs, d_sum, pass_gradient(pass, bert->tokens),
                        pass_gradient(pass, bert->positions));
    if (pass->batch->types == NULL)
        pass_bias_backward(pass, d_sum, pass_gradient(pass, bert->types), pass->positions, sizes.width);
    else
        pass_embed_backward(pass, &sizes, pass->batch->types, d_sum, pass_gradient(pass, bert->types), NULL);
}

/* Each branch, without its bias, waits where its norm leaves its result. */
static void block_forward(const struct pass *pass, const struct bert_block *block, const void *x)
{
    attention_block_forward(pass, &block->attention, x, block->norm1.out);
    norm_block_forward(pass, &block->norm1, x, block->norm1.out, &block->attention.out);
    mlp_block_forward(pass, &block->mlp, block->norm1.out, block->norm2.out);
    norm_block_forward(pass, &block->norm2, block->norm1.out, block->norm2.out, &block->mlp.down);
}

static void *bert_forward(const void *state, const struct pass *pass)
{
    const struct bert *bert = state;
    const struct linear no_bias = {.has_bias = false};
    void *x = bert->embedding.out;
    norm_block_forward(pass, &bert->embedding, bert->embedding.sum, embed(bert, pass), &no_bias);
    for (int layer = 0; layer < bert->layers; layer++) {
        const struct bert_block *block = &bert->blocks[layer];
        double share = mask_share(pass, layer);
        block_forward(pass, block, x);
        if (share != 1)
            mask_stream(pass, share, block->norm2.width, x, block->norm2.out);
        x = block->norm2.out;
    }
    return x;
}

static const void *bert_transform(const void *state, const struct pass *pass, const void *x)
{
    const struct bert *bert = state;
    linear_forward(pass, &bert->transform, pass->positions, x, bert->before);
    pass_activate(pass, bert->activation, bert->before, linear_bias(pass, &bert->transform), bert->final.sum,
                  pass->positions, bert->transform.out);
    norm_block_forward(pass, &bert->final, bert->final.sum, NULL, NULL);
    return bert->final.out;
}

static void *bert_hidden_gradient(const void *state)
{
    return ((const struct bert *)state)->d_there;
}

/* Through a norm: d_sum = what d_out makes of it. */
static void norm_backward(const struct pass *pass, const struct norm_block *norm, const void *d_out, void *d_sum)
{
    pass_zero(pass, d_sum, (size_t)pass->positions * (size_t)norm->width);
    norm_block_backward(pass, norm, d_out, d_sum);
}

static void bert_transform_backward(const void *state, const struct pass *pass)
{
    const struct bert *bert = state;
    void *here = bert->d_here, *there = bert->d_there;
    norm_backward(pass, &bert->final, there, here);
    pass_activate_backward(pass, bert->activation, bert->before, here, pass->positions, bert->transform.out);
    linear_backward(pass, &bert->transform, pass->positions, bert->blocks[bert->layers - 1].norm2.out, here, there);
}

/* d_there is the gradient behind a norm, d_here the one before it: of the sum, and, once the branch has added its own,
 * of the stream that the sum was made from. A second norm's turn is the other way round. */
static void bert_backward(const void *state, const struct pass *pass)
{
    const struct bert *bert = state;
    void *here = bert->d_here, *there = bert->d_there;
    for (int layer = bert->layers - 1; layer >= 0; layer--) {
        const struct bert_block *block = &bert->blocks[layer];
        const void *x = layer > 0 ? bert->blocks[layer - 1].norm2.out : bert->embedding.out;
        if (bert->recompute && layer < bert->layers - 1)    /* the last block's numbers are still there */
            block_forward(pass, block, x);
        double share = mask_share(pass, layer);
        mask_backward_begin(pass, share, block->norm2.width, there, block->norm2.out);
        norm_backward(pass, &block->norm2, there, here);
        mlp_block_backward_add(pass, &block->mlp, block->norm1.out, here, bert->d_wide, here);
        norm_backward(pass, &block->norm1, here, there);
        attention_block_backward_add(pass, &block->attention, x, there, here, bert->d_wide, there);
        mask_backward_end(pass, share, block->norm2.width, block->norm2.out, there);
    }
    norm_backward(pass, &bert->embedding, there, here);
    embed_backward(bert, pass, here);
}

const struct network_family network_bert = {
    .family = FAMILY_BERT,
    .state_bytes = bert_state_bytes,
    .plan = bert_plan,
    .bind = bert_bind,
    .forward = bert_forward,
    .transform = bert_transform,
    .transform_backward = bert_transform_backward,
    .hidden_gradient = bert_hidden_gradient,
    .backward = bert_backward,
};
