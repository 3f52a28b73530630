/* GPT-2 (Radford et al., 2019): learned positions, layer norm before each branch, causal attention, two-layer MLP.
 *   stream = wte[token] + wpe[t]
 *   per layer: stream += attention(norm1(stream)); stream += mlp(norm2(stream))
 *   hidden = final norm(stream) */
#include "model/network_family.h"

#include "model/block_attention.h"
#include "model/block_mask.h"
#include "model/block_mlp.h"

struct gpt2_block {
    struct norm_block norm1, norm2;
    struct attention_block attention;
    struct mlp_block mlp;
};

struct gpt2 {
    size_t tokens, positions;      /* offsets of the embeddings */
    struct norm_block final;
    void *branch;                  /* (N, C): what a branch adds to the stream, until the next norm takes it */
    void *d_stream, *d_narrow;     /* (N, C) */
    void *d_wide;                  /* (N, max(FF, 3 C)) */
    int layers;
    bool recompute;                /* blocks share all buffers but norm1.sum */
    struct gpt2_block blocks[];
};

static size_t gpt2_state_bytes(const struct shape *shape)
{
    size_t bytes;
    if (__builtin_mul_overflow((size_t)shape->layers, sizeof(struct gpt2_block), &bytes) ||
        __builtin_add_overflow(bytes, sizeof(struct gpt2), &bytes))
        return 0;
    return bytes;
}

static size_t joined_width(const struct shape *shape)
{
    return ((size_t)shape->heads + 2 * (size_t)shape->kv_heads) * (size_t)shape->head_size;
}

/* Everything the backward pass of one layer needs. */
static void plan_block_kept(struct gpt2_block *block, const struct shape *shape, size_t positions, struct carve *carve)
{
    size_t ff = (size_t)shape->ff;
    norm_block_plan(&block->norm1, positions, (size_t)shape->width, carve);
    norm_block_plan(&block->norm2, positions, (size_t)shape->width, carve);
    attention_block_plan(&block->attention, positions, carve);
    block->mlp.hidden = carve_numbers(carve, positions, ff);
    block->mlp.activated = carve_numbers(carve, positions, ff);
}

/* Without a backward pass one stream and one of each buffer serve all layers, in place. */
static void plan_block_shared(struct gpt2_block *block, const struct shape *shape, size_t positions,
                              struct carve *carve)
{
    norm_block_plan(&block->norm1, positions, (size_t)shape->width, carve);
    block->norm2 = block->norm1;
    attention_block_plan(&block->attention, positions, carve);
    block->mlp.hidden = carve_numbers(carve, positions, (size_t)shape->ff);
    block->mlp.activated = block->mlp.hidden;
}

static void plan_backward(struct gpt2 *gpt2, const struct shape *shape, size_t positions, struct carve *carve)
{
    size_t wide = (size_t)shape->ff > joined_width(shape) ? (size_t)shape->ff : joined_width(shape);
    size_t attended = (size_t)shape->heads * (size_t)shape->head_size, width = (size_t)shape->width;
    gpt2->d_stream = carve_numbers(carve, positions, width);
    gpt2->d_narrow = carve_numbers(carve, positions, attended > width ? attended : width);
    gpt2->d_wide = carve_numbers(carve, positions, wide);
}

static void gpt2_plan(void *state, const struct shape *shape, const struct network_sizes *sizes, struct carve *carve)
{
    struct gpt2 counted = {.layers = 0}, *gpt2 = state != NULL ? state : &counted;
    struct gpt2_block first = {.mlp.activation = shape->activation};
    size_t positions = (size_t)sizes->rows * (size_t)sizes->context, width = (size_t)shape->width;
    attention_block_size(&first.attention, shape, true);
    first.attention.scratch =
        carve_numbers(carve, 1, attention_block_scratch(carve->kernels, &first.attention, sizes->context));
    gpt2->branch = carve_numbers(carve, positions, width);
    if (!sizes->gradients)
        plan_block_shared(&first, shape, positions, carve);
    gpt2->final = first.norm1;
    gpt2->recompute = sizes->gradients && sizes->recompute;
    if (gpt2->recompute)
        plan_block_kept(&first, shape, positions, carve);
    if (sizes->gradients) {
        plan_backward(gpt2, shape, positions, carve);
        norm_block_plan(&gpt2->final, positions, width, carve);
        first.attention.masked = gpt2->d_wide;
    }
    for (int layer = 0; layer < shape->layers && !carve->overflow; layer++) {
        struct gpt2_block block = first;
        if (sizes->gradients && !gpt2->recompute)
            plan_block_kept(&block, shape, positions, carve);
        if (gpt2->recompute && layer > 0)
            block.norm1.sum = carve_numbers(carve, positions, width);
        if (state != NULL)
            gpt2->blocks[layer] = block;
    }
    gpt2->layers = shape->layers;
}

static void gpt2_bind(void *state, const struct tensor_table *table)
{
    struct gpt2 *gpt2 = state;
    gpt2->tokens = tensor_find_role(table, ROLE_TOKEN_EMBEDDING, -1, 0)->offset;
    gpt2->positions = tensor_find_role(table, ROLE_POSITION_EMBEDDING, -1, 0)->offset;
    norm_block_bind(&gpt2->final, table, ROLE_FINAL_NORM_GAIN, ROLE_FINAL_NORM_BIAS, -1, 0);
    for (int layer = 0; layer < gpt2->layers; layer++) {
        struct gpt2_block *block = &gpt2->blocks[layer];
        norm_block_bind(&block->norm1, table, ROLE_NORM_GAIN, ROLE_NORM_BIAS, layer, 0);
        norm_block_bind(&block->norm2, table, ROLE_NORM_GAIN, ROLE_NORM_BIAS, layer, 1);
        attention_block_bind(&block->attention, table, layer);
        mlp_block_bind(&block->mlp, table, layer);
    }
}

static struct embedding gpt2_embedding(const struct gpt2 *gpt2, const struct pass *pass)
{
    return (struct embedding){pass->batch->rows, pass->batch->context, gpt2->final.width};
}

/* From the stream and the branch before the block to the block's last branch; out NULL: that one is not wanted. */
static void block_forward(const struct gpt2 *gpt2, const struct pass *pass, const struct gpt2_block *block,
                          const void *stream, const void *branch, const struct linear *branch_maker, void *out)
{
    norm_block_forward(pass, &block->norm1, stream, branch, branch_maker);
    attention_block_forward(pass, &block->attention, block->norm1.out, gpt2->branch);
    norm_block_forward(pass, &block->norm2, block->norm1.sum, gpt2->branch, &block->attention.out);
    mlp_block_forward(pass, &block->mlp, block->norm2.out, out);
}

/* Where the stream behind a block lies once its branch is added. */
static void *stream_behind(const struct gpt2 *gpt2, int layer)
{
    return layer + 1 < gpt2->layers ? gpt2->blocks[layer + 1].norm1.sum : gpt2->final.sum;
}

/* Each branch waits in gpt2->branch, without its bias, for the next norm to add both to the stream. */
static void *gpt2_forward(const void *state, const struct pass *pass)
{
    const struct gpt2 *gpt2 = state;
    struct embedding embedding = gpt2_embedding(gpt2, pass);
    const void *stream = gpt2->blocks[0].norm1.sum, *branch = NULL;
    const struct linear *branch_maker = NULL;
    pass_embed(pass, &embedding, pass->batch->inputs, pass_weight(pass, gpt2->tokens),
               pass_weight(pass, gpt2->positions), gpt2->blocks[0].norm1.sum);
    for (int layer = 0; layer < gpt2->layers; layer++) {
        const struct gpt2_block *block = &gpt2->blocks[layer];
        block_forward(gpt2, pass, block, stream, branch, branch_maker, gpt2->branch);
        stream = block->norm2.sum;
        branch = gpt2->branch;
        branch_maker = &block->mlp.down;
        double share = mask_share(pass, layer);
        if (share != 1) {
            mask_branch(pass, share, embedding.width, block->norm1.sum, &(struct mask_parts){stream, branch, branch_maker},
                        stream_behind(gpt2, layer));
            stream = stream_behind(gpt2, layer);
            branch = NULL;
        }
    }
    norm_block_forward(pass, &gpt2->final, stream, branch, branch_maker);
    return gpt2->final.out;
}

static void *gpt2_hidden_gradient(const void *state)
{
    return ((const struct gpt2 *)state)->d_narrow;
}

/* d_stream is the gradient of the stream at the present place: a branch reads it, its norm adds to it. */
static void gpt2_backward(const void *state, const struct pass *pass)
{
    const struct gpt2 *gpt2 = state;
    struct embedding embedding = gpt2_embedding(gpt2, pass);
    pass_zero(pass, gpt2->d_stream, (size_t)pass->positions * (size_t)embedding.width);
    norm_block_backward(pass, &gpt2->final, gpt2->d_narrow, gpt2->d_stream);
    for (int layer = gpt2->layers - 1; layer >= 0; layer--) {
        const struct gpt2_block *block = &gpt2->blocks[layer];
        if (gpt2->recompute && layer < gpt2->layers - 1)    /* the last block's numbers are still there */
            block_forward(gpt2, pass, block, block->norm1.sum, NULL, NULL, NULL);
        double share = mask_share(pass, layer);
        mask_backward_begin(pass, share, embedding.width, gpt2->d_stream, stream_behind(gpt2, layer));
        mlp_block_backward(pass, &block->mlp, block->norm2.out, gpt2->d_stream, gpt2->d_wide, gpt2->d_narrow);
        norm_block_backward(pass, &block->norm2, gpt2->d_narrow, gpt2->d_stream);
        attention_block_backward(pass, &block->attention, block->norm1.out, gpt2->d_stream, gpt2->d_narrow,
                                 gpt2->d_wide, gpt2->d_narrow);
        norm_block_backward(pass, &block->norm1, gpt2->d_narrow, gpt2->d_stream);
        mask_backward_end(pass, share, embedding.width, stream_behind(gpt2, layer), gpt2->d_stream);
    }
    pass_embed_backward(pass, &embedding, pass->batch->inputs, gpt2->d_stream, pass_gradient(pass, gpt2->tokens),
                        pass_gradient(pass, gpt2->positions));
}

const struct network_family network_gpt2 = {
    .family = FAMILY_GPT2,
    .state_bytes = gpt2_state_bytes,
    .plan = gpt2_plan,
    .bind = gpt2_bind,
    .forward = gpt2_forward,
    .hidden_gradient = gpt2_hidden_gradient,
    .backward = gpt2_backward,
};
