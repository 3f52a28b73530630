/* Llama (Touvron et al., 2023) and its kin mistral, qwen2 and mixtral: root-mean-square norm before each branch, causal
 * attention with rotary positions and grouped queries, gated MLP or experts.
 *   stream = embed_tokens[token]
 *   per layer: stream += attention(norm1(stream)); stream += mlp(norm2(stream))
 *   hidden = final norm(stream)
 * They differ in biases (the table), in the window of their attention and in experts (the shape). */
#include "model/network_family.h"

#include "model/block_attention.h"
#include "model/block_experts.h"
#include "model/block_gated_mlp.h"
#include "model/block_mask.h"

struct llama_block {
    struct norm_block norm1, norm2;
    struct attention_block attention;
    struct gated_mlp_block mlp;    /* one of the two, as the shape says */
    struct experts_block experts;
};

struct llama {
    size_t tokens;                 /* offset of the embedding */
    struct rotary_block rotary;
    struct norm_block final;
    void *branch;                  /* (N, C): what a branch adds to the stream, until the next norm takes it */
    void *d_stream, *d_narrow;     /* (N, C); (N, max(C, H D)) */
    void *d_wide, *d_ups;          /* (N, max(FF, (H + 2 G) D)); (N, FF); with experts (N, (H + 2 G) D), NULL */
    struct experts_scratch d_experts;
    double router_aux;
    bool sparse;                   /* experts in the MLP's place */
    int layers;
    bool recompute;                /* blocks share all buffers but norm1.sum */
    struct llama_block blocks[];
};

static size_t llama_state_bytes(const struct shape *shape)
{
    size_t bytes;
    if (__builtin_mul_overflow((size_t)shape->layers, sizeof(struct llama_block), &bytes) ||
        __builtin_add_overflow(bytes, sizeof(struct llama), &bytes))
        return 0;
    return bytes;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Everything the backward pass of one layer needs; without one, `block` serves all layers, in place. */
static void plan_block(struct llama_block *block, const struct shape *shape, size_t positions, bool kept,
                       struct carve *carve)
{
    norm_block_plan(&block->norm1, positions, (size_t)shape->width, carve);
    if (kept)
        norm_block_plan(&block->norm2, positions, (size_t)shape->width, carve);
    else
        block->norm2 = block->norm1;
    attention_block_plan(&block->attention, positions, carve);
    if (shape->experts > 0)
        experts_block_plan(&block->experts, shape, positions, kept, carve);
    else
        gated_mlp_block_plan(&block->mlp, positions, shape->ff, kept, carve);
}

static void plan_backward(struct llama *llama, const struct attention_block *attention, const struct shape *shape,
                          size_t positions, struct carve *carve)
{
    size_t ff = (size_t)shape->ff, width = (size_t)shape->width;
    size_t attended = (size_t)shape->heads * (size_t)shape->head_size;
    llama->d_stream = carve_numbers(carve, positions, width);
    llama->d_narrow = carve_numbers(carve, positions, larger(attended, width));
    if (shape->experts > 0) {
        llama->d_wide = carve_numbers(carve, positions, attention_block_joined(attention));
        experts_scratch_plan(&llama->d_experts, shape, positions, carve);
    } else {
        llama->d_wide = carve_numbers(carve, positions, larger(ff, attention_block_joined(attention)));
        llama->d_ups = carve_numbers(carve, positions, ff);
    }
}

static void llama_plan(void *state, const struct shape *shape, const struct network_sizes *sizes, struct carve *carve)
{
    struct llama counted = {.layers = 0}, *llama = state != NULL ? state : &counted;
    struct llama_block first = {.mlp.activation = shape->activation};
    size_t positions = (size_t)sizes->rows * (size_t)sizes->context;
    attention_block_size(&first.attention, shape, true);
    first.attention.scratch =
        carve_numbers(carve, 1, attention_block_scratch(carve->kernels, &first.attention, sizes->context));
    rotary_block_plan(&llama->rotary, shape, sizes->context, carve);
    llama->branch = carve_numbers(carve, positions, (size_t)shape->width);
    if (shape->experts > 0)
        experts_block_size(&first.experts, shape, positions, carve);
    llama->recompute = sizes->gradients && sizes->recompute;
    if (!sizes->gradients || llama->recompute)
        plan_block(&first, shape, positions, sizes->gradients, carve);
    llama->final = first.norm1;
    if (sizes->gradients) {
        plan_backward(llama, &first.attention, shape, positions, carve);
        norm_block_plan(&llama->final, positions, (size_t)shape->width, carve);
        first.attention.masked = llama->d_wide;
    }
    for (int layer = 0; layer < shape->layers && !carve->overflow; layer++) {
        struct llama_block block = first;
        if (sizes->gradients && !llama->recompute)
            plan_block(&block, shape, positions, true, carve);
        if (llama->recompute && layer > 0)
            block.norm1.sum = carve_numbers(carve, positions, (size_t)shape->width);
        if (state != NULL)
            llama->blocks[layer] = block;
    }
    llama->layers = shape->layers;
    llama->sparse = shape->experts > 0;
    llama->router_aux = shape->router_aux;
}

static void llama_bind(void *state, const struct tensor_table *table)
{
    struct llama *llama = state;
    llama->tokens = tensor_find_role(table, ROLE_TOKEN_EMBEDDING, -1, 0)->offset;
    rotary_block_bind(&llama->rotary, &table->shape);
    norm_block_bind(&llama->final, table, ROLE_FINAL_NORM_GAIN, ROLE_FINAL_NORM_BIAS, -1, 0);
    for (int layer = 0; layer < llama->layers; layer++) {
        struct llama_block *block = &llama->blocks[layer];
        norm_block_bind(&block->norm1, table, ROLE_NORM_GAIN, ROLE_NORM_BIAS, layer, 0);
        norm_block_bind(&block->norm2, table, ROLE_NORM_GAIN, ROLE_NORM_BIAS, layer, 1);
        attention_block_bind(&block->attention, table, layer);
        block->attention.rotary = &llama->rotary;
        if (llama->sparse)
            experts_block_bind(&block->experts, table, layer);
        else
            gated_mlp_block_bind(&block->mlp, table, layer);
    }
}

static struct embedding llama_embedding(const struct llama *llama, const struct pass *pass)
{
    return (struct embedding){pass->batch->rows, pass->batch->context, llama->final.width};
}

/* From the stream and the branch before the block to the block's last branch; out NULL: that one is not wanted. */
static void block_forward(const struct llama *llama, const struct pass *pass, const struct llama_block *block,
                          const void *stream, const void *branch, const struct linear *branch_maker, void *out)
{
    norm_block_forward(pass, &block->norm1, stream, branch, branch_maker);
    attention_block_forward(pass, &block->attention, block->norm1.out, llama->branch);
    norm_block_forward(pass, &block->norm2, block->norm1.sum, llama->branch, &block->attention.out);
    if (llama->sparse)
        experts_block_forward(pass, &block->experts, block->norm2.out, out);
    else
        gated_mlp_block_forward(pass, &block->mlp, block->norm2.out, out);
}

/* The map whose bias the next norm adds to the branch: of experts, which have none, the first one's. */
static const struct linear *branch_maker_of(const struct llama *llama, const struct llama_block *block)
{
    return llama->sparse ? &block->experts.down.first : &block->mlp.down;
}

/* Where the stream behind a block lies once its branch is added. */
static void *stream_behind(const struct llama *llama, int layer)
{
    return layer + 1 < llama->layers ? llama->blocks[layer + 1].norm1.sum : llama->final.sum;
}

/* Each branch waits in llama->branch, without its bias, for the next norm to add both to the stream. */
static void *llama_forward(const void *state, const struct pass *pass)
{
    const struct llama *llama = state;
    struct embedding embedding = llama_embedding(llama, pass);
    const void *stream = llama->blocks[0].norm1.sum, *branch = NULL;
    const struct linear *branch_maker = NULL;
    pass_embed(pass, &embedding, pass->batch->inputs, pass_weight(pass, llama->tokens), NULL,
               llama->blocks[0].norm1.sum);
    if (llama->sparse)
        balance_begin(llama->blocks[0].experts.balance, llama->blocks[0].experts.experts);
    for (int layer = 0; layer < llama->layers; layer++) {
        const struct llama_block *block = &llama->blocks[layer];
        block_forward(llama, pass, block, stream, branch, branch_maker, llama->branch);
        stream = block->norm2.sum;
        branch = llama->branch;
        branch_maker = branch_maker_of(llama, block);
        double share = mask_share(pass, layer);
        if (share != 1) {
            mask_branch(pass, share, embedding.width, block->norm1.sum, &(struct mask_parts){stream, branch, branch_maker},
                        stream_behind(llama, layer));
            stream = stream_behind(llama, layer);
            branch = NULL;
        }
    }
    norm_block_forward(pass, &llama->final, stream, branch, branch_maker);
    return llama->final.out;
}

static void *llama_hidden_gradient(const void *state)
{
    return ((const struct llama *)state)->d_narrow;
}

/* llama->d_narrow from llama->d_stream. */
static void mlp_backward(const struct llama *llama, const struct pass *pass, const struct llama_block *block)
{
    if (llama->sparse)
        experts_block_backward(pass, &block->experts, block->norm2.out, llama->d_stream, &llama->d_experts,
                               llama->d_narrow);
    else
        gated_mlp_block_backward(pass, &block->mlp, block->norm2.out, llama->d_stream, llama->d_wide, llama->d_ups,
                                 llama->d_narrow);
}

static double llama_balance(const void *state)
{
    return balance_loss(((const struct llama *)state)->blocks[0].experts.balance);
}

/* d_stream is the gradient of the stream at the present place: a branch reads it, its norm adds to it. Biases of the
 * branches' outputs are added where the next norm takes the branch, but their gradients are those of the maps. */
static void llama_backward(const void *state, const struct pass *pass)
{
    const struct llama *llama = state;
    struct embedding embedding = llama_embedding(llama, pass);
    pass_zero(pass, llama->d_stream, (size_t)pass->positions * (size_t)embedding.width);
    norm_block_backward(pass, &llama->final, llama->d_narrow, llama->d_stream);
    if (llama->sparse)
        balance_turn(llama->blocks[0].experts.balance, pass->mean_scale * llama->router_aux);
    for (int layer = llama->layers - 1; layer >= 0; layer--) {
        const struct llama_block *block = &llama->blocks[layer];
        if (llama->recompute && layer < llama->layers - 1)    /* the last block's numbers are still there */
            block_forward(llama, pass, block, block->norm1.sum, NULL, NULL, NULL);
        double share = mask_share(pass, layer);
        mask_backward_begin(pass, share, embedding.width, llama->d_stream, stream_behind(llama, layer));
        mlp_backward(llama, pass, block);
        norm_block_backward(pass, &block->norm2, llama->d_narrow, llama->d_stream);
        attention_block_backward(pass, &block->attention, block->norm1.out, llama->d_stream, llama->d_narrow,
                                 llama->d_wide, llama->d_narrow);
        norm_block_backward(pass, &block->norm1, llama->d_narrow, llama->d_stream);
        mask_backward_end(pass, share, embedding.width, stream_behind(llama, layer), llama->d_stream);
    }
    pass_embed_backward(pass, &embedding, pass->batch->inputs, llama->d_stream, pass_gradient(pass, llama->tokens),
                        NULL);
}

#define FAMILY_ROW(of_family, ...)                                                                \
    {                                                                                             \
        .family = of_family, .state_bytes = llama_state_bytes, .plan = llama_plan,                \
        .bind = llama_bind, .forward = llama_forward, .hidden_gradient = llama_hidden_gradient,   \
        .backward = llama_backward, __VA_ARGS__                                                   \
    }

const struct network_family network_llama = FAMILY_ROW(FAMILY_LLAMA);
const struct network_family network_mistral = FAMILY_ROW(FAMILY_MISTRAL);
const struct network_family network_qwen2 = FAMILY_ROW(FAMILY_QWEN2);
const struct network_family network_mixtral = FAMILY_ROW(FAMILY_MIXTRAL, .balance = llama_balance);
