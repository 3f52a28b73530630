/* The cpu body, compiled once per instruction set (LAG_FORM). Sums of floats run over fixed lanes. */
#include "model/kernels_bodies.h"

#include <math.h>
#include <stdbool.h>

#include "base/memory.h"
#include "model/kernels_bf16.h"
#include "model/network.h"
#include "model/kernels_cpu_vector.h"
#include "model/kernels_cpu_product.h"
#include "model/kernels_cpu_rows.h"
#include "model/kernels_cpu_activation.h"
#include "model/kernels_cpu_panel.h"
#include "model/kernels_cpu_attention.h"
#include "model/kernels_cpu_attention_backward.h"
#include "model/kernels_cpu_attention_rows.h"

/* Enough for either kind of block. */
static size_t attention_scratch(const struct attention *a)
{
    size_t blocks = attention_block_numbers(a), rows = attention_row_scratch(a);
    return blocks > rows ? blocks : rows;
}

static void zero(void *x, size_t n)
{
    memset(x, 0, n * sizeof(float));
}

static void lerp(void *a_, const void *b_, double c, size_t n)
{
    float *a = a_, factor = (float)c;
    const float *b = b_;
    EACH_VECTOR(i, left, n) {
        floats from = vector_load_part(a + i, left);
        vector_store_part(a + i, from + factor * (vector_load_part(b + i, left) - from), left);
    }
}

static double sum_squares(const void *x_, size_t n)
{
    const float *x = x_;
    doubles low = {0}, high = {0}, other_low = {0}, other_high = {0};
    EACH_VECTOR(i, left, n) {
        vector_expect(x + i + STREAM_AHEAD);
        float part[LANES];
        const float *lanes = x + i;
        if (left < LANES) {
            vector_store(part, vector_load_part(x + i, left));
            lanes = part;
        }
        doubles first = vector_widen(lanes), second = vector_widen(lanes + LANES / 2);
        doubles next_low = other_low + first * first, next_high = other_high + second * second;
        other_low = low;
        other_high = high;
        low = next_low;
        high = next_high;
    }
    return vector_sum_doubles(low + high + (other_low + other_high));
}

static double inner_product(const void *x_, const void *y_, size_t n)
{
    const float *x = x_, *y = y_;
    doubles low = {0}, high = {0};
    EACH_VECTOR(i, left, n) {
        float x_part[LANES], y_part[LANES];
        const float *x_lanes = x + i, *y_lanes = y + i;
        if (left < LANES) {
            vector_store(x_part, vector_load_part(x + i, left));
            vector_store(y_part, vector_load_part(y + i, left));
            x_lanes = x_part;
            y_lanes = y_part;
        }
        low += vector_widen(x_lanes) * vector_widen(y_lanes);
        high += vector_widen(x_lanes + LANES / 2) * vector_widen(y_lanes + LANES / 2);
    }
    return vector_sum_doubles(low + high);
}

#include "model/kernels_cpu_optimizer.h"
#include "model/kernels_cpu_entropy.h"
#include "model/kernels_cpu_tangent.h"
#include "model/kernels_cpu_attention_tangent.h"
#include "model/kernels_cpu_experts.h"

static void product_of_type(const struct product *p, const void *a, const void *b, void *c)
{
    if (p->type == PRODUCT_BF16)
        kernels_bf16_product(p, a, b, c);
    else
        product(p, a, b, c);
}

static size_t product_scratch_of_type(enum product_type type)
{
    return type == PRODUCT_BF16 ? kernels_bf16_scratch() : product_scratch(type);
}

static const struct kernel_ops ops = {
    .product = product_of_type,
    .product_scratch = product_scratch_of_type,
    .embed = embed,
    .embed_backward = embed_backward,
    .rows_select = rows_select,
    .rows_restore = rows_restore,
    .bias_add = bias_add,
    .bias_backward = bias_backward,
    .blend = blend,
    .scale_columns = scale_columns,
    .layer_norm = layer_norm,
    .layer_norm_backward = layer_norm_backward,
    .activate = activate,
    .activate_backward = activate_backward,
    .gate = gate,
    .gate_backward = gate_backward,
    .rotate = rotate,
    .attention = attention,
    .attention_backward = attention_backward,
    .attention_scratch = attention_scratch,
    .route = route,
    .route_backward = route_backward,
    .gather_rows = gather_rows,
    .combine_rows = combine_rows,
    .dot_rows = dot_rows,
    .cross_entropy = cross_entropy,
    .cross_entropy_gradient = cross_entropy_gradient,
};

static const struct kernel_tangents tangents = {
    .layer_norm = layer_norm_tangent,
    .layer_norm_backward = layer_norm_backward_tangent,
    .activate = activate_tangent,
    .activate_backward = activate_backward_tangent,
    .gate = gate_tangent,
    .gate_backward = gate_backward_tangent,
    .attention = attention_tangent,
    .attention_backward = attention_backward_tangent,
    .route = route_tangent,
    .route_backward = route_backward_tangent,
    .cross_entropy_gradient = cross_entropy_gradient_tangent,
};

const struct kernels KERNELS_IN(kernels_cpu, LAG_FORM) = {
    .name = "cpu",
    .element = sizeof(float),
    .alloc = kernels_host_alloc,
    .release = memory_free,
    .upload = kernels_host_copy,
    .download = kernels_host_copy,
    .zero = zero,
    .lerp = lerp,
    .sum_squares = sum_squares,
    .dot = inner_product,
    .adamw = adamw,
    .sgd = sgd,
    .schedule_free = schedule_free,
    .ops = &ops,
    .tangents = &tangents,
};
