/* The tangents of a network's operations: what the `tangents` of a kernel body point to.
 *
 * A tangent is the derivative of what an operation writes when all it reads moves along a direction; the tangent of a
 * backward pass turns a gradient into a Hessian-vector product (Pearlmutter, 1994). Each function takes the buffers of
 * the operation (`values`) and, in a second struct of the same kind, their tangents. Linear operations have none here:
 * a product's is two products, and so with gather_rows, combine_rows and dot_rows; those of embed, bias_add, blend,
 * scale_columns, rotate and their backward are the operations themselves on tangents.
 *   X            after the operation X: reads values and the tangents of its inputs, writes (=) those of its outputs
 *   X_backward   in place of the operation: computes it too, but for weights, whose gradients in `values` are NULL;
 *                their tangents, where not NULL, are accumulated (+=)
 * The promises are those of model/kernels_ops.h. */
#ifndef MODEL_KERNELS_TANGENTS_H
#define MODEL_KERNELS_TANGENTS_H

#include "model/kernels_ops.h"

/* Rows and widths of a gate and its buffers; see gate of model/kernels_ops.h. */
struct gate_sizes {
    enum activation activation;
    int rows, width, stride;
};

struct gate_forward {
    const void *gate, *up;            /* (N, F), rows `stride` numbers apart */
    void *out;                        /* (N, F) */
};

struct gate_backward {
    const void *gate, *up;            /* (N, F), rows `stride` numbers apart, as d_gate and d_up */
    const void *d_out;                /* (N, F); may be d_gate or d_up, its tangent likewise */
    void *d_gate, *d_up;
};

struct kernel_tangents {
    /* values: sum and statistics as layer_norm left them (sum also where branch is NULL), gain. */
    void (*layer_norm)(const struct norm *norm, const struct norm_forward *values,
                       const struct norm_forward *tangents);
    void (*layer_norm_backward)(const struct norm *norm, const struct norm_backward *values,
                                const struct norm_backward *tangents);

    /* x with its bias, as activate left it. t_x (N, C) += t_bias (C) (NULL: none), t_out = f'(x) t_x. */
    void (*activate)(enum activation activation, const void *x, void *t_x, const void *t_bias, void *t_out, int rows,
                     int width);
    /* t_d = t_d f'(x) + d f''(x) t_x, d = d f'(x); the tangent of relu's slope is 0. */
    void (*activate_backward)(enum activation activation, const void *x, const void *t_x, void *d, void *t_d, int rows,
                              int width);

    void (*gate)(const struct gate_sizes *sizes, const struct gate_forward *values,
                 const struct gate_forward *tangents);
    void (*gate_backward)(const struct gate_sizes *sizes, const struct gate_backward *values,
                          const struct gate_backward *tangents);

    /* Each struct has a scratch of attention_scratch numbers of its own. */
    void (*attention)(const struct attention *attention, const struct attention_forward *values,
                      const struct attention_forward *tangents);
    void (*attention_backward)(const struct attention *attention, const struct attention_backward *values,
                               const struct attention_backward *tangents);

    /* The choice is constant. values: as route left them; tangents: probabilities holds the logits' tangents, in place,
     * chosen and sums have none (NULL). */
    void (*route)(const struct routing *routing, const struct routing_forward *values,
                  const struct routing_forward *tangents);
    /* tangents: balance, a constant, and chosen are NULL. */
    void (*route_backward)(const struct routing *routing, const struct routing_backward *values,
                           const struct routing_backward *tangents);

    /* cross_entropy_gradient, which also turns t_logits into the tangent of the gradient. */
    void (*cross_entropy_gradient)(void *logits, void *t_logits, const int32_t *targets, int rows, int vocabulary,
                                   double scale, double *losses);
};

#endif
