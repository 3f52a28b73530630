/* The kernel seam: every operation on tensors, as a struct of functions with two bodies.
 *   ref   plain loops, compiled for float and for double: the definition of correct
 *   cpu   vectorised loops, products of our own (AVX-512) or OpenBLAS's, picked at run time by what the processor supports
 * Memory that kernels work on is opaque to their users: alloc, release, upload and download are operations too.
 * Here: memory and what the trainer needs; the operations of a network are in model/kernels_ops.h. */
#ifndef MODEL_KERNELS_H
#define MODEL_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/shape.h"

/* One AdamW update of a run of parameters (Loshchilov & Hutter, 2017; decoupled decay, PyTorch's order):
 * w *= 1 - rate * decay;  g' = gradient_scale * g;  m = b1 m + (1 - b1) g';  v = b2 v + (1 - b2) g'^2;
 * w -= rate / correction1 * m / (sqrt(v / correction2) + epsilon),  correction_i = 1 - b_i^step. */
struct adamw_step {
    double rate, beta1, beta2, epsilon, decay, gradient_scale, correction1, correction2;
};

/* One step of gradient descent with momentum (Sutskever et al., 2013; PyTorch's order, without dampening):
 * g' = gradient_scale * g + decay * w;  b = momentum * b + g';  w -= rate * (nesterov ? g' + momentum * b : b). */
struct sgd_step {
    double rate, momentum, decay, gradient_scale;
    bool nesterov;
};

/* One step of a schedule-free optimizer (Defazio et al., arXiv 2405.15682, Algorithm 1) from the gradient g at
 * y = beta x + (1 - beta) z:  g' = gradient_scale * g;  with v: v = b2 v + (1 - b2) g'^2,
 * g' = g' / (sqrt(v / correction2) + epsilon);  z -= rate * (g' + decay * y), or decay * z;  x += weight * (z - x). */
struct schedule_free_step {
    double rate, beta, decay, gradient_scale, weight;
    double beta2, epsilon, correction2;      /* only with v */
    bool decay_at_z;
};

struct kernels {
    const char *name;          /* "ref", "ref double", "cpu" */
    size_t element;            /* bytes of one number: 4 or 8 */
    /* memory: zeroed, at least 64-byte aligned; NULL when short */
    void *(*alloc)(size_t bytes);
    void (*release)(void *memory);
    void (*upload)(void *to, const void *from, size_t bytes);      /* host -> backend */
    void (*download)(void *to, const void *from, size_t bytes);    /* backend -> host */
    /* vectors, used by the trainer */
    void (*zero)(void *x, size_t n);
    void (*lerp)(void *a, const void *b, double c, size_t n);       /* a += c (b - a) */
    double (*sum_squares)(const void *x, size_t n);                 /* double accumulation, fixed order */
    double (*dot)(const void *x, const void *y, size_t n);          /* likewise */
    void (*adamw)(const struct adamw_step *step, void *w, void *m, void *v, const void *g, size_t n);
    void (*sgd)(const struct sgd_step *step, void *w, void *b, const void *g, size_t n);
    void (*schedule_free)(const struct schedule_free_step *step, void *x, void *z, void *v, const void *g, size_t n);
                                                                    /* v NULL: gradient descent */
    /* products and network operations follow: see model/kernels_ops.h */
    const struct kernel_ops *ops;
    /* derivatives of operations along a direction, for Hessian-vector products: see model/kernels_tangents.h */
    const struct kernel_tangents *tangents;
};

const struct kernels *kernels_ref_float(void);
const struct kernels *kernels_ref_double(void);
/* The fast body. From any thread: the first call picks vector code and sets one BLAS thread. */
const struct kernels *kernels_cpu(void);
/* "OpenBLAS 0.3.21 SapphireRapids, avx512, bf16 amx": for the start-up line. */
const char *kernels_description(const struct kernels *kernels);
/* Are products of bfloat16 factors (PRODUCT_BF16) made by instructions for them? If not they are emulated: the same
 * meaning, but slower than float products. */
bool kernels_have_bf16(const struct kernels *kernels);

#endif
