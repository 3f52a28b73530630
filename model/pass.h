/* A pass: one forward, or forward and backward, call of a network; and the operations that blocks are made of.
 *
 * An ordinary pass hands each operation on to the kernel body. A pass with a direction (network_hessian_product) also
 * takes the derivative of everything along it: each buffer of the network has a twin that holds its tangent, at the
 * same place of the network's other half of memory; the twin of the weights is the direction; and the gradients' slab
 * receives their tangents, which are the Hessian's product with the direction (Pearlmutter, 1994), not the gradients.
 * So a family that is written over these functions, or over blocks, has its tangents with that. What buffers they may
 * be given: the network's own and, for weights, what pass_weight and pass_gradient return. Thread rule: as the
 * network's. */
#ifndef MODEL_PASS_H
#define MODEL_PASS_H

#include <stdbool.h>
#include <stddef.h>

#include "model/kernels.h"
#include "model/kernels_ops.h"
#include "model/network.h"

struct pass {
    const struct kernels *kernels;
    const struct batch *batch;
    int positions;             /* N = rows * context of the batch */
    enum product_type product_type;
    void *product_scratch;     /* the network's own; see struct product */
    const void *weights;       /* slab */
    void *gradients;           /* slab, +=; NULL: forward only */
    bool first;                /* gradients of weights that enter products are written (=): they hold nothing yet */
    const int32_t *selected;   /* (N) the pass is over these positions of the batch, ascending; NULL: all of them */
    const void *direction;     /* slab; NULL: an ordinary pass */
    size_t slab_bytes;         /* with a direction: of each slab */
    size_t twin_bytes;         /* with a direction: from a buffer to its twin */
    const struct masking *masking;   /* NULL: none */
    double mean_scale;         /* with gradients: their scale times the number of predictions, the weight of what is added
                                * to the mean of the losses */
};

/* The same pass over one side of an encoder-decoder's batch, or whatever batch stands for it. */
static inline struct pass pass_over(const struct pass *pass, const struct batch *batch)
{
    struct pass side = *pass;
    side.batch = batch;
    side.positions = batch->rows * batch->context;
    return side;
}

/* The side that predicts: the decoder's of an encoder-decoder, else the batch itself. */
static inline struct batch batch_predicting(const struct batch *batch)
{
    if (batch->decoder_inputs == NULL)
        return *batch;
    return (struct batch){
        .rows = batch->rows, .context = batch->decoder_context, .inputs = batch->decoder_inputs,
        .targets = batch->targets, .mask = batch->decoder_mask,
    };
}

static inline const void *pass_weight(const struct pass *pass, size_t offset)
{
    return numbers_at_const(pass->kernels->element, pass->weights, offset);
}

static inline void *pass_gradient(const struct pass *pass, size_t offset)
{
    return numbers_at(pass->kernels->element, pass->gradients, offset);
}

/* The operations of model/kernels_ops.h; products take type and scratch from the pass. y = x w + beta y, where w is a
 * weight; and the gradient of a weight. */
void pass_product(const struct pass *pass, const struct product *product, const void *x, const void *weight, void *y);
void pass_product_gradient(const struct pass *pass, const struct product *product, const void *a, const void *b,
                           void *gradient);
void pass_zero(const struct pass *pass, void *x, size_t n);
/* x (n) = scale times its tangent, which stays. Only with a direction. */
void pass_take_tangent(const struct pass *pass, double scale, void *x, size_t n);
void pass_embed(const struct pass *pass, const struct embedding *embedding, const int32_t *tokens, const void *table,
                const void *positions, void *x);
void pass_embed_backward(const struct pass *pass, const struct embedding *embedding, const int32_t *tokens,
                         const void *d_x, void *d_table, void *d_positions);
void pass_rows_select(const struct pass *pass, void *x, const int32_t *rows, int count, int width);
void pass_rows_restore(const struct pass *pass, void *x, const int32_t *rows, int count, int total, int width);
void pass_bias_add(const struct pass *pass, void *x, const void *bias, int rows, int width);
void pass_bias_backward(const struct pass *pass, const void *d_x, void *d_bias, int rows, int width);
void pass_scale_columns(const struct pass *pass, void *x, const void *shares, int rows, int width);
void pass_blend(const struct pass *pass, double a, const void *x, double b, void *y, size_t n);
void pass_layer_norm(const struct pass *pass, const struct norm *norm, const struct norm_forward *buffers);
void pass_layer_norm_backward(const struct pass *pass, const struct norm *norm, const struct norm_backward *buffers);
/* With a direction out may not be x. */
void pass_activate(const struct pass *pass, enum activation activation, void *x, const void *bias, void *out, int rows,
                   int width);
void pass_activate_backward(const struct pass *pass, enum activation activation, const void *x, void *d, int rows,
                            int width);
/* With a direction out may be neither gate nor up. */
void pass_gate(const struct pass *pass, enum activation activation, const void *gate, const void *up, void *out,
               int rows, int width, int stride);
void pass_gate_backward(const struct pass *pass, enum activation activation, const void *gate, const void *up,
                        const void *d_out, void *d_gate, void *d_up, int rows, int width, int stride);
void pass_rotate(const struct pass *pass, const struct rotation *rotation, const void *cosines, const void *sines,
                 void *x);
void pass_attention(const struct pass *pass, const struct attention *attention,
                    const struct attention_forward *buffers);
void pass_attention_backward(const struct pass *pass, const struct attention *attention,
                             const struct attention_backward *buffers);
void pass_route(const struct pass *pass, const struct routing *routing, const struct routing_forward *buffers);
void pass_route_backward(const struct pass *pass, const struct routing *routing,
                         const struct routing_backward *buffers);
void pass_gather_rows(const struct pass *pass, const struct row_exchange *exchange, const void *weights, const void *x,
                      void *rows);
void pass_combine_rows(const struct pass *pass, const struct row_exchange *exchange, const void *weights, const void *rows,
                       void *x);
void pass_dot_rows(const struct pass *pass, const struct row_exchange *exchange, const void *a, const void *b, void *dots);
void pass_cross_entropy_gradient(const struct pass *pass, void *logits, const int32_t *targets, int rows,
                                 int vocabulary, double scale, double *losses);

#endif
