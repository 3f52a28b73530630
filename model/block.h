/* Blocks: the parts that families are put together from, over the kernel seam. Each block is a plain value that holds
 * where its weights lie in a slab and which buffers keep what its backward pass needs; forward and backward take the
 * pass. What they are not: owners of memory (a network carves it), or aware of a family.
 *   here: carving, linear maps and norms; block_attention.h, block_mlp.h, block_head.h: the rest
 * Thread rule: as the network they belong to. (N positions of a pass = B T, C width.) */
#ifndef MODEL_BLOCK_H
#define MODEL_BLOCK_H

#include <stdbool.h>
#include <stddef.h>

#include "model/kernels.h"
#include "model/kernels_ops.h"
#include "model/masking.h"
#include "model/network.h"
#include "model/pass.h"
#include "model/tensor.h"

/* Cuts buffers out of one block of backend memory. With memory NULL it only adds up, so that the bytes stated before
 * anything is allocated are the bytes allocated, by construction. */
struct carve {
    const struct kernels *kernels;
    unsigned char *memory;
    size_t bytes;              /* taken so far; a multiple of 64 */
    unsigned char *host;       /* host memory beside it: numbers of positions, sums in double; no tangents */
    size_t host_bytes;
    bool overflow;
};

/* A buffer, 64-byte aligned; NULL while memory is NULL. */
void *carve_bytes(struct carve *carve, size_t bytes);
/* The same of rows * width numbers. */
void *carve_numbers(struct carve *carve, size_t rows, size_t width);
/* count * size bytes of the host's, aligned for any type; NULL while host is NULL. */
void *carve_host(struct carve *carve, size_t count, size_t size);

/* y = x W + b. */
struct linear {
    int in, out;
    bool out_first;            /* W is stored [out, in] */
    bool has_bias;
    double scale;              /* of the product; 0: 1, as of every map but a scaled head */
    size_t weight, bias;       /* offsets in a slab */
};

/* From the tensors of two roles; the bias is optional. */
struct linear linear_of(const struct tensor_table *table, enum role weight, enum role bias, int layer);
/* The same of the nth tensors of these roles in the layer. */
struct linear linear_of_nth(const struct tensor_table *table, enum role weight, enum role bias, int layer, int nth);
/* y (N, out) = x (N, in) W, without the bias: what comes next adds it while it reads y anyway. */
void linear_forward(const struct pass *pass, const struct linear *linear, int rows, const void *x, void *y);
/* d_x (N, in) = d_y (N, out) W^T; gradients of W and b from x and d_y. */
void linear_backward(const struct pass *pass, const struct linear *linear, int rows, const void *x, const void *d_y,
                     void *d_x);
/* The same with d_x += ...: for an x that several maps read. */
void linear_backward_add(const struct pass *pass, const struct linear *linear, int rows, const void *x,
                         const void *d_y, void *d_x);
/* y += bias, where there is one. */
void linear_add_bias(const struct pass *pass, const struct linear *linear, int rows, void *y);
/* The bias's numbers, NULL without one. */
const void *linear_bias(const struct pass *pass, const struct linear *linear);

/* A layer norm over the residual stream; without a bias in the table, a root-mean-square norm. */
struct norm_block {
    int width;
    double epsilon;
    bool rms;
    size_t gain, bias;         /* offsets in a slab */
    void *sum;                 /* (N, C): what is normalised, the residual stream at this place */
    void *out;                 /* (N, C) */
    void *statistics;          /* (N, 2) */
};

/* Buffers for `positions`. */
void norm_block_plan(struct norm_block *norm, size_t positions, size_t width, struct carve *carve);
/* Sets the weights of the nth norm of a layer (or of the final one). */
void norm_block_bind(struct norm_block *norm, const struct tensor_table *table, enum role gain, enum role bias,
                     int layer, int nth);
/* sum = x + branch + the bias of the linear map that made the branch; out = norm(sum). branch NULL: sum holds the
 * stream already. */
void norm_block_forward(const struct pass *pass, const struct norm_block *norm, const void *x, const void *branch,
                        const struct linear *branch_maker);
/* d_sum (N, C) += gradient through the norm. */
void norm_block_backward(const struct pass *pass, const struct norm_block *norm, const void *d_out, void *d_sum);

#endif
