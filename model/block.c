#include "model/block.h"

enum { CARVE_ALIGN = 64 };

void *carve_bytes(struct carve *carve, size_t bytes)
{
    size_t end;
    if (__builtin_add_overflow(bytes, (size_t)CARVE_ALIGN - 1, &bytes) ||
        __builtin_add_overflow(carve->bytes, bytes / CARVE_ALIGN * CARVE_ALIGN, &end)) {
        carve->overflow = true;
        return NULL;
    }
    void *memory = carve->memory != NULL ? carve->memory + carve->bytes : NULL;
    carve->bytes = end;
    return memory;
}

void *carve_numbers(struct carve *carve, size_t rows, size_t width)
{
    size_t bytes;
    if (__builtin_mul_overflow(rows, width, &bytes) || __builtin_mul_overflow(bytes, carve->kernels->element, &bytes)) {
        carve->overflow = true;
        return NULL;
    }
    return carve_bytes(carve, bytes);
}

void *carve_host(struct carve *carve, size_t count, size_t size)
{
    size_t bytes, end;
    if (__builtin_mul_overflow(count, size, &bytes) || __builtin_add_overflow(bytes, (size_t)CARVE_ALIGN - 1, &bytes) ||
        __builtin_add_overflow(carve->host_bytes, bytes / CARVE_ALIGN * CARVE_ALIGN, &end)) {
        carve->overflow = true;
        return NULL;
    }
    void *memory = carve->host != NULL ? carve->host + carve->host_bytes : NULL;
    carve->host_bytes = end;
    return memory;
}

struct linear linear_of_nth(const struct tensor_table *table, enum role weight_role, enum role bias_role, int layer,
                            int nth)
{
    const struct tensor *weight = tensor_find_role(table, weight_role, layer, nth);
    const struct tensor *bias = tensor_find_role(table, bias_role, layer, nth);
    bool out_first = weight->row->input_axis == 1;
    return (struct linear){
        .in = weight->dims[out_first ? 1 : 0],
        .out = weight->dims[out_first ? 0 : 1],
        .out_first = out_first,
        .has_bias = bias != NULL,
        .weight = weight->offset,
        .bias = bias != NULL ? bias->offset : 0,
    };
}

struct linear linear_of(const struct tensor_table *table, enum role weight_role, enum role bias_role, int layer)
{
    return linear_of_nth(table, weight_role, bias_role, layer, 0);
}

static double scale_of(const struct linear *linear)
{
    return linear->scale != 0 ? linear->scale : 1;
}

const void *linear_bias(const struct pass *pass, const struct linear *linear)
{
    return linear->has_bias ? pass_weight(pass, linear->bias) : NULL;
}

void linear_forward(const struct pass *pass, const struct linear *linear, int rows, const void *x, void *y)
{
    struct product product = {
        .m = rows, .n = linear->out, .k = linear->in, .transpose_b = linear->out_first,
        .lda = linear->in, .ldb = linear->out_first ? linear->in : linear->out, .ldc = linear->out,
        .alpha = scale_of(linear),
    };
    pass_product(pass, &product, x, pass_weight(pass, linear->weight), y);
}

/* W += x^T d_y where W is stored [in, out], d_y^T x where it is stored [out, in]. */
static void linear_backward_weight(const struct pass *pass, const struct linear *linear, int rows, const void *x,
                                   const void *d_y)
{
    int m = linear->out_first ? linear->out : linear->in, n = linear->out_first ? linear->in : linear->out;
    struct product product = {
        .m = m, .n = n, .k = rows, .transpose_a = true, .lda = m, .ldb = n, .ldc = n,
        .alpha = scale_of(linear), .beta = pass->first ? 0 : 1,
    };
    pass_product_gradient(pass, &product, linear->out_first ? d_y : x, linear->out_first ? x : d_y,
                          pass_gradient(pass, linear->weight));
}

static void linear_backward_scaled(const struct pass *pass, const struct linear *linear, int rows, const void *x,
                                   const void *d_y, double kept, void *d_x)
{
    struct product product = {
        .m = rows, .n = linear->in, .k = linear->out, .transpose_b = !linear->out_first,
        .lda = linear->out, .ldb = linear->out_first ? linear->in : linear->out, .ldc = linear->in,
        .alpha = scale_of(linear), .beta = kept,
    };
    if (linear->has_bias)
        pass_bias_backward(pass, d_y, pass_gradient(pass, linear->bias), rows, linear->out);
    linear_backward_weight(pass, linear, rows, x, d_y);
    pass_product(pass, &product, d_y, pass_weight(pass, linear->weight), d_x);
}

void linear_backward(const struct pass *pass, const struct linear *linear, int rows, const void *x, const void *d_y,
                     void *d_x)
{
    linear_backward_scaled(pass, linear, rows, x, d_y, 0, d_x);
}

void linear_backward_add(const struct pass *pass, const struct linear *linear, int rows, const void *x,
                         const void *d_y, void *d_x)
{
    linear_backward_scaled(pass, linear, rows, x, d_y, 1, d_x);
}

void linear_add_bias(const struct pass *pass, const struct linear *linear, int rows, void *y)
{
    if (linear->has_bias)
        pass_bias_add(pass, y, linear_bias(pass, linear), rows, linear->out);
}

void norm_block_plan(struct norm_block *norm, size_t positions, size_t width, struct carve *carve)
{
    norm->sum = carve_numbers(carve, positions, width);
    norm->out = carve_numbers(carve, positions, width);
    norm->statistics = carve_numbers(carve, positions, 2);
}

void norm_block_bind(struct norm_block *norm, const struct tensor_table *table, enum role gain, enum role bias,
                     int layer, int nth)
{
    norm->width = table->shape.width;
    norm->epsilon = table->shape.norm_epsilon;
    norm->gain = tensor_find_role(table, gain, layer, nth)->offset;
    const struct tensor *shift = tensor_find_role(table, bias, layer, nth);
    norm->rms = shift == NULL;
    norm->bias = norm->rms ? 0 : shift->offset;
}

static struct norm norm_sizes(const struct pass *pass, const struct norm_block *norm)
{
    struct norm sizes = {.rows = pass->positions, .width = norm->width, .epsilon = norm->epsilon, .rms = norm->rms};
    if (pass->masking != NULL) {
        sizes.shares = pass->masking->stream;
        sizes.shares_sum = pass->masking->stream_sum;
    }
    return sizes;
}

void norm_block_forward(const struct pass *pass, const struct norm_block *norm, const void *x, const void *branch,
                        const struct linear *branch_maker)
{
    struct norm sizes = norm_sizes(pass, norm);
    struct norm_forward buffers = {
        .x = x,
        .branch = branch,
        .branch_bias = branch != NULL ? linear_bias(pass, branch_maker) : NULL,
        .gain = pass_weight(pass, norm->gain),
        .bias = norm->rms ? NULL : pass_weight(pass, norm->bias),
        .sum = norm->sum,
        .out = norm->out,
        .statistics = norm->statistics,
    };
    pass_layer_norm(pass, &sizes, &buffers);
}

void norm_block_backward(const struct pass *pass, const struct norm_block *norm, const void *d_out, void *d_sum)
{
    struct norm sizes = norm_sizes(pass, norm);
    struct norm_backward buffers = {
        .sum = norm->sum,
        .statistics = norm->statistics,
        .gain = pass_weight(pass, norm->gain),
        .d_out = d_out,
        .d_sum = d_sum,
        .d_gain = pass_gradient(pass, norm->gain),
        .d_bias = norm->rms ? NULL : pass_gradient(pass, norm->bias),
    };
    pass_layer_norm_backward(pass, &sizes, &buffers);
}
