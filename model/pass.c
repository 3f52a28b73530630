#include "model/pass.h"

#include "model/kernels_tangents.h"

/* Where the tangent of a buffer or of weights lies; NULL of NULL. */
static const void *tangent(const struct pass *pass, const void *x)
{
    uintptr_t at = (uintptr_t)x, weights = (uintptr_t)pass->weights;
    if (x == NULL)
        return NULL;
    if (at >= weights && at - weights < pass->slab_bytes)
        return (const unsigned char *)pass->direction + (at - weights);
    return (const unsigned char *)x + pass->twin_bytes;
}

static void *tangent_to_write(const struct pass *pass, void *x)
{
    return (unsigned char *)x + pass->twin_bytes;
}

/* The product by the pass's type and scratch. */
static struct product product_of(const struct pass *pass, const struct product *product)
{
    struct product own = *product;
    own.type = pass->product_type;
    own.scratch = pass->product_scratch;
    return own;
}

/* The same with what there was kept. */
static struct product product_adding(const struct product *product)
{
    struct product adding = *product;
    adding.beta = 1;
    return adding;
}

void pass_product(const struct pass *pass, const struct product *product, const void *x, const void *weight, void *y)
{
    const struct kernel_ops *ops = pass->kernels->ops;
    struct product own = product_of(pass, product), adding = product_adding(&own);
    if (pass->direction != NULL) {
        ops->product(&own, tangent(pass, x), weight, tangent_to_write(pass, y));
        ops->product(&adding, x, tangent(pass, weight), tangent_to_write(pass, y));
    }
    ops->product(&own, x, weight, y);
}

void pass_product_gradient(const struct pass *pass, const struct product *product, const void *a, const void *b,
                           void *gradient)
{
    const struct kernel_ops *ops = pass->kernels->ops;
    struct product own = product_of(pass, product), adding = product_adding(&own);
    if (pass->direction == NULL) {
        ops->product(&own, a, b, gradient);
        return;
    }
    ops->product(&own, tangent(pass, a), b, gradient);
    ops->product(&adding, a, tangent(pass, b), gradient);
}

void pass_zero(const struct pass *pass, void *x, size_t n)
{
    pass->kernels->zero(x, n);
    if (pass->direction != NULL)
        pass->kernels->zero(tangent_to_write(pass, x), n);
}

void pass_take_tangent(const struct pass *pass, double scale, void *x, size_t n)
{
    pass->kernels->ops->blend(scale, tangent(pass, x), 0, x, n);
}

void pass_embed(const struct pass *pass, const struct embedding *embedding, const int32_t *tokens, const void *table,
                const void *positions, void *x)
{
    const struct kernel_ops *ops = pass->kernels->ops;
    ops->embed(embedding, tokens, table, positions, x);
    if (pass->direction != NULL)
        ops->embed(embedding, tokens, tangent(pass, table), tangent(pass, positions), tangent_to_write(pass, x));
}

void pass_embed_backward(const struct pass *pass, const struct embedding *embedding, const int32_t *tokens,
                         const void *d_x, void *d_table, void *d_positions)
{
    pass->kernels->ops->embed_backward(embedding, tokens, pass->direction != NULL ? tangent(pass, d_x) : d_x, d_table,
                                       d_positions);
}

void pass_rows_select(const struct pass *pass, void *x, const int32_t *rows, int count, int width)
{
    pass->kernels->ops->rows_select(x, rows, count, width);
    if (pass->direction != NULL)
        pass->kernels->ops->rows_select(tangent_to_write(pass, x), rows, count, width);
}

void pass_rows_restore(const struct pass *pass, void *x, const int32_t *rows, int count, int total, int width)
{
    pass->kernels->ops->rows_restore(x, rows, count, total, width);
    if (pass->direction != NULL)
        pass->kernels->ops->rows_restore(tangent_to_write(pass, x), rows, count, total, width);
}

void pass_bias_add(const struct pass *pass, void *x, const void *bias, int rows, int width)
{
    pass->kernels->ops->bias_add(x, bias, rows, width);
    if (pass->direction != NULL)
        pass->kernels->ops->bias_add(tangent_to_write(pass, x), tangent(pass, bias), rows, width);
}

void pass_bias_backward(const struct pass *pass, const void *d_x, void *d_bias, int rows, int width)
{
    pass->kernels->ops->bias_backward(pass->direction != NULL ? tangent(pass, d_x) : d_x, d_bias, rows, width);
}

void pass_blend(const struct pass *pass, double a, const void *x, double b, void *y, size_t n)
{
    if (pass->direction != NULL)
        pass->kernels->ops->blend(a, tangent(pass, x), b, tangent_to_write(pass, y), n);
    pass->kernels->ops->blend(a, x, b, y, n);
}

void pass_scale_columns(const struct pass *pass, void *x, const void *shares, int rows, int width)
{
    pass->kernels->ops->scale_columns(x, shares, rows, width);
    if (pass->direction != NULL)
        pass->kernels->ops->scale_columns(tangent_to_write(pass, x), shares, rows, width);
}

void pass_layer_norm(const struct pass *pass, const struct norm *norm, const struct norm_forward *f)
{
    pass->kernels->ops->layer_norm(norm, f);
    if (pass->direction == NULL)
        return;
    struct norm_forward tangents = {
        .x = tangent(pass, f->x), .branch = tangent(pass, f->branch), .branch_bias = tangent(pass, f->branch_bias),
        .gain = tangent(pass, f->gain), .bias = tangent(pass, f->bias), .sum = tangent_to_write(pass, f->sum),
        .out = tangent_to_write(pass, f->out), .statistics = tangent_to_write(pass, f->statistics),
    };
    pass->kernels->tangents->layer_norm(norm, f, &tangents);
}

void pass_layer_norm_backward(const struct pass *pass, const struct norm *norm, const struct norm_backward *b)
{
    if (pass->direction == NULL) {
        pass->kernels->ops->layer_norm_backward(norm, b);
        return;
    }
    struct norm_backward values = *b, tangents = {
        .sum = tangent(pass, b->sum), .statistics = tangent(pass, b->statistics), .gain = tangent(pass, b->gain),
        .d_out = tangent(pass, b->d_out), .d_sum = tangent_to_write(pass, b->d_sum), .d_gain = b->d_gain,
        .d_bias = b->d_bias,
    };
    values.d_gain = values.d_bias = NULL;
    pass->kernels->tangents->layer_norm_backward(norm, &values, &tangents);
}

void pass_activate(const struct pass *pass, enum activation activation, void *x, const void *bias, void *out, int rows,
                   int width)
{
    pass->kernels->ops->activate(activation, x, bias, out, rows, width);
    if (pass->direction != NULL)
        pass->kernels->tangents->activate(activation, x, tangent_to_write(pass, x), tangent(pass, bias),
                                          tangent_to_write(pass, out), rows, width);
}

void pass_activate_backward(const struct pass *pass, enum activation activation, const void *x, void *d, int rows,
                            int width)
{
    if (pass->direction != NULL)
        pass->kernels->tangents->activate_backward(activation, x, tangent(pass, x), d, tangent_to_write(pass, d), rows,
                                                   width);
    else
        pass->kernels->ops->activate_backward(activation, x, d, rows, width);
}

void pass_gate(const struct pass *pass, enum activation activation, const void *gate, const void *up, void *out,
               int rows, int width, int stride)
{
    pass->kernels->ops->gate(activation, gate, up, out, rows, width, stride);
    if (pass->direction == NULL)
        return;
    struct gate_sizes sizes = {activation, rows, width, stride};
    struct gate_forward values = {.gate = gate, .up = up, .out = out}, tangents = {
        .gate = tangent(pass, gate), .up = tangent(pass, up), .out = tangent_to_write(pass, out),
    };
    pass->kernels->tangents->gate(&sizes, &values, &tangents);
}

void pass_gate_backward(const struct pass *pass, enum activation activation, const void *gate, const void *up,
                        const void *d_out, void *d_gate, void *d_up, int rows, int width, int stride)
{
    if (pass->direction == NULL) {
        pass->kernels->ops->gate_backward(activation, gate, up, d_out, d_gate, d_up, rows, width, stride);
        return;
    }
    struct gate_sizes sizes = {activation, rows, width, stride};
    struct gate_backward values = {.gate = gate, .up = up, .d_out = d_out, .d_gate = d_gate, .d_up = d_up}, tangents = {
        .gate = tangent(pass, gate), .up = tangent(pass, up), .d_out = tangent(pass, d_out),
        .d_gate = tangent_to_write(pass, d_gate), .d_up = tangent_to_write(pass, d_up),
    };
    pass->kernels->tangents->gate_backward(&sizes, &values, &tangents);
}

void pass_rotate(const struct pass *pass, const struct rotation *rotation, const void *cosines, const void *sines,
                 void *x)
{
    pass->kernels->ops->rotate(rotation, cosines, sines, x);
    if (pass->direction != NULL)
        pass->kernels->ops->rotate(rotation, cosines, sines, tangent_to_write(pass, x));
}

void pass_attention(const struct pass *pass, const struct attention *attention, const struct attention_forward *f)
{
    pass->kernels->ops->attention(attention, f);
    if (pass->direction == NULL)
        return;
    struct attention_forward tangents = {
        .q = tangent(pass, f->q), .k = tangent(pass, f->k), .v = tangent(pass, f->v),
        .bias_table = tangent(pass, f->bias_table), .out = tangent_to_write(pass, f->out),
        .lse = tangent_to_write(pass, f->lse), .scratch = tangent_to_write(pass, f->scratch),
    };
    pass->kernels->tangents->attention(attention, f, &tangents);
}

void pass_attention_backward(const struct pass *pass, const struct attention *attention,
                             const struct attention_backward *b)
{
    if (pass->direction == NULL) {
        pass->kernels->ops->attention_backward(attention, b);
        return;
    }
    struct attention_backward values = *b, tangents = {
        .q = tangent(pass, b->q), .k = tangent(pass, b->k), .v = tangent(pass, b->v), .out = tangent(pass, b->out),
        .lse = tangent(pass, b->lse), .d_out = tangent(pass, b->d_out), .bias_table = tangent(pass, b->bias_table),
        .d_q = tangent_to_write(pass, b->d_q), .d_k = tangent_to_write(pass, b->d_k),
        .d_v = tangent_to_write(pass, b->d_v), .d_bias_table = b->d_bias_table,
        .scratch = tangent_to_write(pass, b->scratch),
    };
    values.d_bias_table = NULL;
    pass->kernels->tangents->attention_backward(attention, &values, &tangents);
}

void pass_route(const struct pass *pass, const struct routing *routing, const struct routing_forward *f)
{
    pass->kernels->ops->route(routing, f);
    if (pass->direction == NULL)
        return;
    struct routing_forward tangents = {
        .probabilities = tangent_to_write(pass, f->probabilities), .shares = tangent_to_write(pass, f->shares),
    };
    pass->kernels->tangents->route(routing, f, &tangents);
}

void pass_route_backward(const struct pass *pass, const struct routing *routing, const struct routing_backward *b)
{
    if (pass->direction == NULL) {
        pass->kernels->ops->route_backward(routing, b);
        return;
    }
    struct routing_backward tangents = {
        .probabilities = tangent(pass, b->probabilities), .shares = tangent(pass, b->shares),
        .d_shares = tangent(pass, b->d_shares), .d_logits = tangent_to_write(pass, b->d_logits),
    };
    pass->kernels->tangents->route_backward(routing, b, &tangents);
}

static struct row_exchange exchange_adding(const struct row_exchange *exchange)
{
    struct row_exchange adding = *exchange;
    adding.add = true;
    return adding;
}

void pass_gather_rows(const struct pass *pass, const struct row_exchange *exchange, const void *weights, const void *x,
                      void *rows)
{
    const struct kernel_ops *ops = pass->kernels->ops;
    struct row_exchange adding = exchange_adding(exchange);
    ops->gather_rows(exchange, weights, x, rows);
    if (pass->direction == NULL)
        return;
    ops->gather_rows(exchange, weights, tangent(pass, x), tangent_to_write(pass, rows));
    if (weights != NULL)
        ops->gather_rows(&adding, tangent(pass, weights), x, tangent_to_write(pass, rows));
}

void pass_combine_rows(const struct pass *pass, const struct row_exchange *exchange, const void *weights, const void *rows,
                       void *x)
{
    const struct kernel_ops *ops = pass->kernels->ops;
    struct row_exchange adding = exchange_adding(exchange);
    ops->combine_rows(exchange, weights, rows, x);
    if (pass->direction == NULL)
        return;
    ops->combine_rows(exchange, weights, tangent(pass, rows), tangent_to_write(pass, x));
    if (weights != NULL)
        ops->combine_rows(&adding, tangent(pass, weights), rows, tangent_to_write(pass, x));
}

void pass_dot_rows(const struct pass *pass, const struct row_exchange *exchange, const void *a, const void *b, void *dots)
{
    const struct kernel_ops *ops = pass->kernels->ops;
    struct row_exchange adding = exchange_adding(exchange);
    ops->dot_rows(exchange, a, b, dots);
    if (pass->direction == NULL)
        return;
    ops->dot_rows(exchange, tangent(pass, a), b, tangent_to_write(pass, dots));
    ops->dot_rows(&adding, a, tangent(pass, b), tangent_to_write(pass, dots));
}

void pass_cross_entropy_gradient(const struct pass *pass, void *logits, const int32_t *targets, int rows,
                                 int vocabulary, double scale, double *losses)
{
    if (pass->direction != NULL)
        pass->kernels->tangents->cross_entropy_gradient(logits, tangent_to_write(pass, logits), targets, rows,
                                                        vocabulary, scale, losses);
    else
        pass->kernels->ops->cross_entropy_gradient(logits, targets, rows, vocabulary, scale, losses);
}
