/* Network: forward and backward of a shape over the kernel seam. What it is not: an optimizer, a thread.
 *
 * A network is a plan bound to one kernel body, one shape and one largest batch (rows, context); it owns its scratch
 * (activations), allocated once, so that a call allocates nothing. Weights and gradients are slabs laid out by the
 * shape's tensor table, of the kernel body's element (float, or double for the reference). The family's row supplies
 * the functions. Neither logits nor attention probabilities are ever held whole: the head and its cross-entropy
 * run in chunks of positions, attention in blocks of queries. Thread rule: one thread at a time; networks are
 * independent. */
#ifndef MODEL_NETWORK_H
#define MODEL_NETWORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "model/kernels.h"
#include "model/kernels_ops.h"
#include "model/masking.h"
#include "model/tensor.h"

enum { TARGET_IGNORED = -1 };

/* What a model reads and predicts. Zero and NULL where a family or objective has no use for a field. */
struct batch {
    int rows, context;                     /* B, T: at most the network's, as is decoder_context */
    const int32_t *inputs;                 /* (B, T) */
    const int32_t *targets;                /* (B, T), encoder-decoder: (B, T2); TARGET_IGNORED: nothing is predicted */
    const unsigned char *mask;             /* (B, T) 0: padding that nothing may attend to; NULL: none */
    const int32_t *types;                  /* (B, T) token types (bert); NULL: all 0 */
    const int32_t *prefix;                 /* (B) length of a bidirectional prefix (decoder-only models); NULL: none */
    int decoder_context;                   /* T2 (encoder-decoder) */
    const int32_t *decoder_inputs;         /* (B, T2) */
    const unsigned char *decoder_mask;     /* (B, T2); NULL: none */
    const struct masking *masking;         /* structures that are being grown in; NULL: none. Contract: the network has
                                            * gradients */
};

struct network;

/* The largest batch a network takes and what it can do with it. */
struct network_sizes {
    int rows, context;
    bool gradients;                        /* buffers are kept for a backward pass */
    bool tangents;                         /* with gradients: each buffer has a second half, for Hessian products */
    bool recompute;                        /* with gradients: of a block only its input is kept; the backward pass
                                            * computes the rest again (Chen et al., 2016), to the same bits */
    int decoder_context;                   /* of an encoder-decoder's other side; 0: as context */
    enum product_type product_type;        /* of the products of network_gradient, forward and backward; losses,
                                            * logits and Hessian products are float's whatever it says */
};

/* Bytes a network of these sizes allocates; with gradients: room for the backward pass. 0 on overflow. */
size_t network_bytes(const struct kernels *kernels, const struct shape *shape, int rows, int context, bool gradients);
size_t network_sizes_bytes(const struct kernels *kernels, const struct shape *shape, const struct network_sizes *sizes);
/* `table` must outlive the network. ERROR_NO_MEMORY, ERROR_INVALID (context beyond the shape's). Free with
 * network_free. */
int network_new(struct network **network, const struct kernels *kernels, const struct tensor_table *table, int rows,
                int context, bool gradients, struct error *error);
int network_new_sized(struct network **network, const struct kernels *kernels, const struct tensor_table *table,
                      const struct network_sizes *sizes, struct error *error);
void network_free(struct network *network);

/* row_losses[b] = sum over predicted positions of row b of -ln p(target); row_counts[b] = how many (either may be
 * NULL). Losses accumulate in double. Non-finite values pass through: the caller looks. Here and in gradients the head
 * runs over the positions that predict, no others. */
void network_loss(struct network *network, const void *weights, const struct batch *batch, double *row_losses,
                  int *row_counts);
/* gradients += scale * d(sum of losses)/d(weights); returns the sum of losses. gradients: a slab, zeroed by the caller
 * before the first micro-batch. */
double network_gradient(struct network *network, const void *weights, const struct batch *batch, double scale,
                        void *gradients);
/* The same with gradients = ...: for the first micro-batch. What the slab holds is not read. */
double network_gradient_first(struct network *network, const void *weights, const struct batch *batch, double scale,
                              void *gradients);
/* product += scale * H direction, H the Hessian of the sum of losses at the weights: the tangent of network_gradient
 * (Pearlmutter, 1994), exact up to rounding, about three times its work. direction, product: slabs as weights and
 * gradients. Returns the sum of losses. Contract: the network was made with tangents. */
double network_hessian_product(struct network *network, const void *weights, const void *direction,
                               const struct batch *batch, double scale, void *product);
/* product += scale * transpose(J) J direction, J the Jacobian of the logits of the positions that predict: the tangent of the
 * forward pass, and the ordinary way back from the logits' tangents. Nothing of size logits is held beside the head's chunk.
 * The eigenvalues of J transpose(J), the neural tangent kernel (Jacot et al., 2018), that are not 0 are those of this product.
 * Contract: the network was made with tangents. */
void network_jacobian_product(struct network *network, const void *weights, const void *direction,
                              const struct batch *batch, double scale, void *product);
/* The load-balance loss of the last pass (models with experts; Fedus et al., 2021, equations 4 to 6, as transformers'
 * load_balancing_loss_func: over all layers and every position that is no padding), unweighted; 0 where there is none.
 * What network_gradient and network_hessian_product differentiate is the sum of losses plus, per prediction of the batch,
 * the shape's router_aux times it; the losses that they and network_loss return are without. */
double network_balance(const struct network *network);
/* logits: (B, T, V) in the kernel body's element. For `lag logits`, the preservation check and tests. */
void network_logits(struct network *network, const void *weights, const struct batch *batch, void *logits);

#endif
