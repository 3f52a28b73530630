/* T5 (Raffel et al., 2020): encoder and decoder, root-mean-square norm before each branch, unscaled attention with a
 * bias by relative position, no other positions, no biases.
 *   stream = shared[token]
 *   encoder, per layer: stream += attention(norm(stream)); stream += mlp(norm(stream));   memory = norm(stream)
 *   decoder, per layer: stream += causal attention(norm(stream)); stream += attention of norm(stream) over memory;
 *                       stream += mlp(norm(stream));                                      hidden = norm(stream)
 * Each side runs as a pass of its own over its side of the batch. */
#include "model/network_family.h"

#include "model/block_attention.h"
#include "model/block_cross.h"
#include "model/block_gated_mlp.h"
#include "model/block_mask.h"
#include "model/block_mlp.h"

struct t5_block {
    struct norm_block norm_self, norm_cross, norm_mlp;
    struct attention_block self;
    struct cross_block cross;              /* norm_cross, cross: the decoder's blocks only */
    struct mlp_block mlp;                  /* one of the two, as the shape says */
    struct gated_mlp_block gated;
};

/* One of the two stacks. */
struct t5_stack {
    int first, count;                      /* blocks */
    struct relative_block relative;
    struct norm_block final;
};

struct t5 {
    size_t tokens;                         /* offset of the shared embedding */
    int width;
    bool gated;
    bool recompute;                        /* blocks share all buffers but norm_self.sum */
    struct t5_stack encoder, decoder;
    void *branch;                          /* (N, C): what a branch adds to the stream, until the next norm takes it */
    void *d_stream, *d_memory;             /* (N, C) */
    void *d_narrow;                        /* (N, max(C, H D)) */
    void *d_wide, *d_ups;                  /* (N, max(FF, (H + 2 G) D)); (N, FF) if gated */
    int32_t *maps;                         /* the stacks' maps of relative positions, behind the blocks */
    struct t5_block blocks[];              /* the encoder's, then the decoder's */
};

static size_t block_count(const struct shape *shape)
{
    return (size_t)shape->layers + (size_t)shape->decoder_layers;
}

static size_t t5_state_bytes(const struct shape *shape)
{
    size_t bytes, maps;
    if (__builtin_mul_overflow(block_count(shape), sizeof(struct t5_block), &bytes) ||
        __builtin_mul_overflow(2 * relative_map_numbers(shape->context), sizeof(int32_t), &maps) ||
        __builtin_add_overflow(bytes, maps, &bytes) || __builtin_add_overflow(bytes, sizeof(struct t5), &bytes))
        return 0;
    return bytes;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void plan_mlp(struct t5_block *block, const struct shape *shape, size_t positions, bool kept,
                     struct carve *carve)
{
    if (shape->gated) {
        gated_mlp_block_plan(&block->gated, positions, shape->ff, kept, carve);
        return;
    }
    block->mlp.hidden = carve_numbers(carve, positions, (size_t)shape->ff);
    block->mlp.activated = kept ? carve_numbers(carve, positions, (size_t)shape->ff) : block->mlp.hidden;
}

/* N of either side, and of what both use. */
struct t5_positions {
    size_t encoder, decoder, most;
    bool shared;                           /* one block's buffers serve all blocks */
};

static struct t5_positions positions_of(const struct network_sizes *sizes)
{
    struct t5_positions at = {
        .encoder = (size_t)sizes->rows * (size_t)sizes->context,
        .decoder = (size_t)sizes->rows * (size_t)sizes->decoder_context,
        .shared = !sizes->gradients || sizes->recompute,
    };
    at.most = larger(at.encoder, at.decoder);
    return at;
}

/* Everything the backward pass of one layer needs; without one, `block` serves all layers, in place. */
static void plan_block(struct t5_block *block, const struct shape *shape, const struct t5_positions *at, bool kept,
                       bool decoder, struct carve *carve)
{
    size_t positions = !kept || at->shared ? at->most : decoder ? at->decoder : at->encoder;
    size_t width = (size_t)shape->width;
    norm_block_plan(&block->norm_self, positions, width, carve);
    block->norm_cross = block->norm_mlp = block->norm_self;
    if (kept && decoder)
        norm_block_plan(&block->norm_cross, positions, width, carve);
    if (kept)
        norm_block_plan(&block->norm_mlp, positions, width, carve);
    attention_block_plan(&block->self, positions, carve);
    if (decoder)
        cross_block_plan(&block->cross, positions, at->encoder, carve);
    plan_mlp(block, shape, positions, kept, carve);
}

static void plan_backward(struct t5 *t5, const struct attention_block *attention, const struct shape *shape,
                          const struct t5_positions *at, struct carve *carve)
{
    size_t positions = at->most;
    size_t ff = (size_t)shape->ff, width = (size_t)shape->width;
    size_t attended = (size_t)shape->heads * (size_t)shape->head_size;
    t5->d_stream = carve_numbers(carve, positions, width);
    t5->d_memory = carve_numbers(carve, at->encoder, width);
    t5->d_narrow = carve_numbers(carve, positions, larger(attended, width));
    t5->d_wide = carve_numbers(carve, positions, larger(ff, attention_block_joined(attention)));
    if (shape->gated)
        t5->d_ups = carve_numbers(carve, positions, ff);
}

/* What all blocks have alike. */
static struct t5_block block_sized(const struct shape *shape, int context, struct carve *carve)
{
    struct t5_block block = {.mlp.activation = shape->activation};
    attention_block_size(&block.self, shape, false);
    block.self.scale = 1;
    cross_block_size(&block.cross, shape, 1);
    block.self.scratch = carve_numbers(carve, 1, attention_block_scratch(carve->kernels, &block.self, context));
    block.cross.scratch = block.self.scratch;
    return block;
}

static void plan_blocks(struct t5 *t5, bool write, const struct t5_block *first, const struct shape *shape,
                        const struct network_sizes *sizes, struct carve *carve)
{
    const struct t5_positions at = positions_of(sizes);
    for (int i = 0; i < t5->encoder.count + t5->decoder.count && !carve->overflow; i++) {
        bool decoder = i >= t5->decoder.first;
        struct t5_block block = *first;
        block.self.causal = decoder;
        if (sizes->gradients && !t5->recompute)
            plan_block(&block, shape, &at, true, decoder, carve);
        if (t5->recompute && i > 0)
            block.norm_self.sum = carve_numbers(carve, decoder ? at.decoder : at.encoder, (size_t)shape->width);
        if (write) {
            block.self.relative = decoder ? &t5->decoder.relative : &t5->encoder.relative;
            t5->blocks[i] = block;
        }
    }
}

static void t5_plan(void *state, const struct shape *shape, const struct network_sizes *sizes, struct carve *carve)
{
    struct t5 counted = {.width = 0}, *t5 = state != NULL ? state : &counted;
    const struct t5_positions at = positions_of(sizes);
    size_t width = (size_t)shape->width;
    int longest = sizes->context > sizes->decoder_context ? sizes->context : sizes->decoder_context;
    struct t5_block first = block_sized(shape, longest, carve);
    t5->width = shape->width;
    t5->gated = shape->gated;
    t5->encoder.count = t5->decoder.first = shape->layers;
    t5->decoder.count = shape->decoder_layers;
    t5->branch = carve_numbers(carve, at.most, width);
    norm_block_plan(&t5->encoder.final, at.encoder, width, carve);
    t5->recompute = sizes->gradients && sizes->recompute;
    if (at.shared)
        plan_block(&first, shape, &at, sizes->gradients, true, carve);
    if (sizes->gradients) {
        plan_backward(t5, &first.self, shape, &at, carve);
        norm_block_plan(&t5->decoder.final, at.decoder, width, carve);
        first.self.masked = first.cross.masked = t5->d_wide;
    } else {
        t5->decoder.final = first.norm_self;
    }
    plan_blocks(t5, state != NULL, &first, shape, sizes, carve);
    if (state != NULL)
        t5->maps = (int32_t *)(t5->blocks + block_count(shape));
}

static void bind_block(const struct t5 *t5, struct t5_block *block, const struct tensor_table *table, int layer)
{
    bool decoder = layer >= t5->decoder.first;
    norm_block_bind(&block->norm_self, table, ROLE_NORM_GAIN, ROLE_NORM_BIAS, layer, 0);
    norm_block_bind(&block->norm_mlp, table, ROLE_NORM_GAIN, ROLE_NORM_BIAS, layer, decoder ? 2 : 1);
    attention_block_bind(&block->self, table, layer);
    if (decoder) {
        norm_block_bind(&block->norm_cross, table, ROLE_NORM_GAIN, ROLE_NORM_BIAS, layer, 1);
        cross_block_bind(&block->cross, table, layer);
    }
    if (t5->gated)
        gated_mlp_block_bind(&block->gated, table, layer);
    else
        mlp_block_bind(&block->mlp, table, layer);
}

static void t5_bind(void *state, const struct tensor_table *table)
{
    struct t5 *t5 = state;
    int context = table->shape.context;
    t5->tokens = tensor_find_role(table, ROLE_TOKEN_EMBEDDING, -1, 0)->offset;
    relative_block_bind(&t5->encoder.relative, table, 0, true, context, t5->maps);
    relative_block_bind(&t5->decoder.relative, table, 1, false, context, t5->maps + relative_map_numbers(context));
    norm_block_bind(&t5->encoder.final, table, ROLE_NORM_GAIN, ROLE_NORM_BIAS, -1, 0);
    norm_block_bind(&t5->decoder.final, table, ROLE_FINAL_NORM_GAIN, ROLE_FINAL_NORM_BIAS, -1, 0);
    for (int i = 0; i < t5->encoder.count + t5->decoder.count; i++)
        bind_block(t5, &t5->blocks[i], table, i);
}

/* ---- forward ---- */

/* The map whose product makes the MLP's branch. */
static const struct linear *mlp_down(const struct t5 *t5, const struct t5_block *block)
{
    return t5->gated ? &block->gated.down : &block->mlp.down;
}

/* From the stream and the branch before the block to the block's last branch; out NULL: that one is not wanted. memory
 * NULL: the encoder. */
static void block_forward(const struct t5 *t5, const struct pass *pass, const struct t5_block *block,
                          const struct cross_memory *memory, const void *stream, const void *branch,
                          const struct linear *maker, void *out)
{
    norm_block_forward(pass, &block->norm_self, stream, branch, maker);
    attention_block_forward(pass, &block->self, block->norm_self.out, t5->branch);
    stream = block->norm_self.sum;
    maker = &block->self.out;
    if (memory != NULL) {
        norm_block_forward(pass, &block->norm_cross, stream, t5->branch, maker);
        cross_block_forward(pass, &block->cross, memory, block->norm_cross.out, t5->branch);
        stream = block->norm_cross.sum;
        maker = &block->cross.out;
    }
    norm_block_forward(pass, &block->norm_mlp, stream, t5->branch, maker);
    if (t5->gated)
        gated_mlp_block_forward(pass, &block->gated, block->norm_mlp.out, out);
    else
        mlp_block_forward(pass, &block->mlp, block->norm_mlp.out, out);
}

/* Where the stream behind the i-th block of a stack lies once its branch is added. */
static void *stream_behind(const struct t5 *t5, const struct t5_stack *stack, int i)
{
    return i + 1 < stack->count ? t5->blocks[stack->first + i + 1].norm_self.sum : stack->final.sum;
}

/* Each branch waits in t5->branch for the next norm to add it to the stream. */
static void stack_forward(const struct t5 *t5, const struct t5_stack *stack, const struct pass *pass,
                          const struct cross_memory *memory)
{
    struct embedding embedding = {pass->batch->rows, pass->batch->context, t5->width};
    const struct t5_block *blocks = t5->blocks + stack->first;
    const void *stream = blocks[0].norm_self.sum, *branch = NULL;
    const struct linear *maker = NULL;
    pass_embed(pass, &embedding, pass->batch->inputs, pass_weight(pass, t5->tokens), NULL, blocks[0].norm_self.sum);
    for (int i = 0; i < stack->count; i++) {
        const struct t5_block *block = &blocks[i];
        block_forward(t5, pass, block, memory, stream, branch, maker, t5->branch);
        stream = block->norm_mlp.sum;
        branch = t5->branch;
        maker = mlp_down(t5, block);
        double share = mask_share(pass, stack->first + i);
        if (share != 1) {
            mask_branch(pass, share, t5->width, block->norm_self.sum, &(struct mask_parts){stream, branch, maker},
                        stream_behind(t5, stack, i));
            stream = stream_behind(t5, stack, i);
            branch = NULL;
        }
    }
    norm_block_forward(pass, &stack->final, stream, branch, maker);
}

/* Both passes and the memory between them; they point at each other, so this stays where it was filled. */
struct t5_sides {
    struct batch encoder_batch, decoder_batch;
    struct pass encoder, decoder;
    struct cross_memory memory;
};

static void sides_fill(struct t5_sides *sides, const struct t5 *t5, const struct pass *pass)
{
    const struct batch *batch = pass->batch;
    sides->encoder_batch = (struct batch){
        .rows = batch->rows, .context = batch->context, .inputs = batch->inputs, .mask = batch->mask,
    };
    sides->decoder_batch = batch_predicting(batch);
    sides->encoder = pass_over(pass, &sides->encoder_batch);
    sides->decoder = pass_over(pass, &sides->decoder_batch);
    sides->memory = (struct cross_memory){&sides->encoder, t5->encoder.final.out, t5->d_memory};
}

static void *t5_forward(const void *state, const struct pass *pass)
{
    const struct t5 *t5 = state;
    struct t5_sides sides;
    sides_fill(&sides, t5, pass);
    stack_forward(t5, &t5->encoder, &sides.encoder, NULL);
    stack_forward(t5, &t5->decoder, &sides.decoder, &sides.memory);
    return t5->decoder.final.out;
}

/* ---- backward ---- */

static void *t5_hidden_gradient(const void *state)
{
    return ((const struct t5 *)state)->d_narrow;
}

static void mlp_backward(const struct t5 *t5, const struct pass *pass, const struct t5_block *block)
{
    if (t5->gated)
        gated_mlp_block_backward(pass, &block->gated, block->norm_mlp.out, t5->d_stream, t5->d_wide, t5->d_ups,
                                 t5->d_narrow);
    else
        mlp_block_backward(pass, &block->mlp, block->norm_mlp.out, t5->d_stream, t5->d_wide, t5->d_narrow);
}

/* d_stream is the gradient of the stream at the present place: a branch reads it, its norm adds to it. d_out: of the
 * stack's last norm. */
static void stack_backward(const struct t5 *t5, const struct t5_stack *stack, const struct pass *pass,
                           const struct cross_memory *memory, const void *d_out)
{
    struct embedding embedding = {pass->batch->rows, pass->batch->context, t5->width};
    pass_zero(pass, t5->d_stream, (size_t)pass->positions * (size_t)t5->width);
    norm_block_backward(pass, &stack->final, d_out, t5->d_stream);
    int last = stack->first + stack->count - 1;
    for (int i = last; i >= stack->first; i--) {
        const struct t5_block *block = &t5->blocks[i];
        if (t5->recompute && (memory == NULL || i < last))    /* the very last block's numbers are still there */
            block_forward(t5, pass, block, memory, block->norm_self.sum, NULL, NULL, NULL);
        double share = mask_share(pass, i);
        void *behind = stream_behind(t5, stack, i - stack->first);
        mask_backward_begin(pass, share, t5->width, t5->d_stream, behind);
        mlp_backward(t5, pass, block);
        norm_block_backward(pass, &block->norm_mlp, t5->d_narrow, t5->d_stream);
        if (memory != NULL) {
            cross_block_backward(pass, &block->cross, memory, block->norm_cross.out, t5->d_stream, t5->d_narrow,
                                 t5->d_wide, t5->d_narrow);
            norm_block_backward(pass, &block->norm_cross, t5->d_narrow, t5->d_stream);
        }
        attention_block_backward(pass, &block->self, block->norm_self.out, t5->d_stream, t5->d_narrow, t5->d_wide,
                                 t5->d_narrow);
        norm_block_backward(pass, &block->norm_self, t5->d_narrow, t5->d_stream);
        mask_backward_end(pass, share, t5->width, behind, t5->d_stream);
    }
    pass_embed_backward(pass, &embedding, pass->batch->inputs, t5->d_stream, pass_gradient(pass, t5->tokens), NULL);
}

static void t5_backward(const void *state, const struct pass *pass)
{
    const struct t5 *t5 = state;
    struct t5_sides sides;
    sides_fill(&sides, t5, pass);
    pass_zero(pass, t5->d_memory, (size_t)sides.encoder.positions * (size_t)t5->width);
    stack_backward(t5, &t5->decoder, &sides.decoder, &sides.memory, t5->d_narrow);
    stack_backward(t5, &t5->encoder, &sides.encoder, NULL, t5->d_memory);
}

const struct network_family network_t5 = {
    .family = FAMILY_T5,
    .state_bytes = t5_state_bytes,
    .plan = t5_plan,
    .bind = t5_bind,
    .forward = t5_forward,
    .hidden_gradient = t5_hidden_gradient,
    .backward = t5_backward,
};
