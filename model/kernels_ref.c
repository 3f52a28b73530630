/* The reference body: the definition of correct. Plain loops, every sum in double, mathematics from libm. Compiled
 * twice (LAG_FORM): numbers are stored as float or as double. */
#include "model/kernels_bodies.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "model/dtype.h"
#include "model/network.h"

/* Numbers as they are stored. */
typedef LAG_REAL real;

static void zero(void *x, size_t n)
{
    memset(x, 0, n * sizeof(real));
}

static void lerp(void *a_, const void *b_, double c, size_t n)
{
    real *a = a_;
    const real *b = b_;
    for (size_t i = 0; i < n; i++)
        a[i] = (real)(a[i] + c * ((double)b[i] - a[i]));
}

static double sum_squares(const void *x_, size_t n)
{
    const real *x = x_;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return sum;
}

static double inner_product(const void *x_, const void *y_, size_t n)
{
    const real *x = x_, *y = y_;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * y[i];
    return sum;
}

static void adamw(const struct adamw_step *step, void *w_, void *m_, void *v_, const void *g_, size_t n)
{
    real *w = w_, *m = m_, *v = v_;
    const real *g = g_;
    for (size_t i = 0; i < n; i++) {
        double scaled = step->gradient_scale * g[i];
        double decayed = w[i] * (1 - step->rate * step->decay);
        m[i] = (real)(step->beta1 * m[i] + (1 - step->beta1) * scaled);
        v[i] = (real)(step->beta2 * v[i] + (1 - step->beta2) * scaled * scaled);
        double denominator = sqrt(v[i] / step->correction2) + step->epsilon;
        w[i] = (real)(decayed - step->rate / step->correction1 * m[i] / denominator);
    }
}

static void sgd(const struct sgd_step *step, void *w_, void *b_, const void *g_, size_t n)
{
    real *w = w_, *b = b_;
    const real *g = g_;
    for (size_t i = 0; i < n; i++) {
        double gradient = step->gradient_scale * g[i] + step->decay * w[i];
        b[i] = (real)(step->momentum * b[i] + gradient);
        w[i] = (real)(w[i] - step->rate * (step->nesterov ? gradient + step->momentum * b[i] : b[i]));
    }
}

static void schedule_free(const struct schedule_free_step *step, void *x_, void *z_, void *v_, const void *g_, size_t n)
{
    real *x = x_, *z = z_, *v = v_;
    const real *g = g_;
    for (size_t i = 0; i < n; i++) {
        double direction = step->gradient_scale * g[i];
        double decayed = step->decay_at_z ? z[i] : step->beta * x[i] + (1 - step->beta) * z[i];
        if (v != NULL) {
            v[i] = (real)(step->beta2 * v[i] + (1 - step->beta2) * direction * direction);
            direction /= sqrt(v[i] / step->correction2) + step->epsilon;
        }
        z[i] = (real)(z[i] - step->rate * (direction + step->decay * decayed));
        x[i] = (real)(x[i] + step->weight * ((double)z[i] - x[i]));
    }
}

/* As the product takes its factors. */
static double factor(const struct product *p, real x)
{
    return p->type == PRODUCT_BF16 ? dtype_from_bf16(dtype_to_bf16((float)x)) : x;
}

static void product(const struct product *p, const void *a_, const void *b_, void *c_)
{
    const real *a = a_, *b = b_;
    real *c = c_;
    size_t lda = (size_t)p->lda, ldb = (size_t)p->ldb, ldc = (size_t)p->ldc;
    for (size_t i = 0; i < (size_t)p->m; i++)
        for (size_t j = 0; j < (size_t)p->n; j++) {
            double sum = 0;
            for (size_t k = 0; k < (size_t)p->k; k++)
                sum += factor(p, p->transpose_a ? a[k * lda + i] : a[i * lda + k]) *
                       factor(p, p->transpose_b ? b[j * ldb + k] : b[k * ldb + j]);
            double before = p->beta != 0 ? p->beta * c[i * ldc + j] : 0;
            c[i * ldc + j] = (real)(p->alpha * sum + before);
        }
}

static void embed(const struct embedding *e, const int32_t *tokens, const void *table_, const void *positions_,
                        void *x_)
{
    const real *table = table_, *positions = positions_;
    real *x = x_;
    size_t width = (size_t)e->width, context = (size_t)e->context, rows = (size_t)e->rows * context;
    for (size_t i = 0; i < rows; i++)
        for (size_t c = 0; c < width; c++)
            x[i * width + c] = table[(size_t)tokens[i] * width + c] +
                               (positions != NULL ? positions[i % context * width + c] : 0);
}

static void embed_backward(const struct embedding *e, const int32_t *tokens, const void *d_x_, void *d_table_,
                                 void *d_positions_)
{
    const real *d_x = d_x_;
    real *d_table = d_table_, *d_positions = d_positions_;
    size_t width = (size_t)e->width, context = (size_t)e->context, rows = (size_t)e->rows * context;
    for (size_t i = 0; i < rows; i++)
        for (size_t c = 0; c < width; c++) {
            d_table[(size_t)tokens[i] * width + c] += d_x[i * width + c];
            if (d_positions != NULL)
                d_positions[i % context * width + c] += d_x[i * width + c];
        }
}

static void rows_select(void *x, const int32_t *rows, int count, int width)
{
    kernels_host_select(x, rows, count, (size_t)width * sizeof(real));
}

static void rows_restore(void *x, const int32_t *rows, int count, int total, int width)
{
    kernels_host_restore(x, rows, count, total, (size_t)width * sizeof(real));
}

static void bias_add(void *x_, const void *bias_, int rows, int width)
{
    real *x = x_;
    const real *bias = bias_;
    for (size_t i = 0; i < (size_t)rows; i++)
        for (size_t c = 0; c < (size_t)width; c++)
            x[i * (size_t)width + c] += bias[c];
}

static void bias_backward(const void *d_x_, void *d_bias_, int rows, int width)
{
    const real *d_x = d_x_;
    real *d_bias = d_bias_;
    for (size_t c = 0; c < (size_t)width; c++) {
        double sum = 0;
        for (size_t i = 0; i < (size_t)rows; i++)
            sum += d_x[i * (size_t)width + c];
        d_bias[c] = (real)(d_bias[c] + sum);
    }
}

static void blend(double a, const void *x_, double b, void *y_, size_t n)
{
    const real *x = x_;
    real *y = y_;
    for (size_t i = 0; i < n; i++)
        y[i] = (real)(a * x[i] + (b != 0 ? b * y[i] : 0));
}

static void scale_columns(void *x_, const void *shares_, int rows, int width)
{
    real *x = x_;
    const real *shares = shares_;
    for (size_t i = 0; i < (size_t)rows; i++)
        for (size_t c = 0; c < (size_t)width; c++)
            x[i * (size_t)width + c] *= shares[c];
}

/* Mean (0 for the root mean square norm) and 1 / standard deviation of a row. */
static void norm_statistics(const struct norm *norm, const real *x, double *mean, double *rstd)
{
    size_t width = (size_t)norm->width;
    double sum = 0, variance = 0;
    for (size_t c = 0; c < width && !norm->rms; c++)
        sum += x[c];
    *mean = sum / (double)width;
    for (size_t c = 0; c < width; c++)
        variance += (x[c] - *mean) * (x[c] - *mean);
    *rstd = 1 / sqrt(variance / (double)width + norm->epsilon);
}

#include "model/kernels_masked_norm.h"

static void layer_norm(const struct norm *norm, const struct norm_forward *f)
{
    if (norm->shares != NULL) {
        masked_norm(norm, f);
        return;
    }
    size_t width = (size_t)norm->width;
    const real *gain = f->gain, *bias = f->bias, *branch_bias = f->branch_bias;
    for (size_t i = 0; i < (size_t)norm->rows; i++) {
        const real *x = (const real *)f->x + i * width, *branch = f->branch;
        real *out = (real *)f->out + i * width, *statistics = (real *)f->statistics + 2 * i;
        double mean, rstd;
        if (branch != NULL) {
            real *sum = (real *)f->sum + i * width;
            for (size_t c = 0; c < width; c++)
                sum[c] = x[c] + branch[i * width + c] + (branch_bias != NULL ? branch_bias[c] : 0);
            x = sum;
        }
        norm_statistics(norm, x, &mean, &rstd);
        for (size_t c = 0; c < width; c++)
            out[c] = (real)((x[c] - mean) * rstd * gain[c] + (bias != NULL ? bias[c] : 0));
        statistics[0] = (real)mean;
        statistics[1] = (real)rstd;
    }
}

/* With n = (sum - mean) rstd and d = d_out gain: d_sum = rstd (d - mean(d) - n mean(d n)); without a mean the middle
 * term is 0. */
static void layer_norm_backward(const struct norm *norm, const struct norm_backward *b)
{
    if (norm->shares != NULL) {
        masked_norm_backward(norm, b);
        return;
    }
    size_t width = (size_t)norm->width;
    const real *gain = b->gain;
    real *d_gain = b->d_gain, *d_bias = b->d_bias;
    for (size_t i = 0; i < (size_t)norm->rows; i++) {
        const real *sum = (const real *)b->sum + i * width, *d_out = (const real *)b->d_out + i * width;
        real *d_sum = (real *)b->d_sum + i * width;
        double mean = ((const real *)b->statistics)[2 * i], rstd = ((const real *)b->statistics)[2 * i + 1];
        double mean_d = 0, mean_dn = 0;
        for (size_t c = 0; c < width; c++) {
            double n = (sum[c] - mean) * rstd, d = (double)d_out[c] * gain[c];
            mean_d += norm->rms ? 0 : d / (double)width;
            mean_dn += d * n / (double)width;
        }
        for (size_t c = 0; c < width; c++) {
            double n = (sum[c] - mean) * rstd, d = (double)d_out[c] * gain[c];
            d_sum[c] = (real)(d_sum[c] + rstd * (d - mean_d - n * mean_dn));
            d_gain[c] = (real)(d_gain[c] + d_out[c] * n);
            if (d_bias != NULL)
                d_bias[c] += d_out[c];
        }
    }
}

static void rotate(const struct rotation *r, const void *cosines_, const void *sines_, void *x_)
{
    const real *cosines = cosines_, *sines = sines_;
    size_t half = (size_t)r->head_size / 2;
    for (size_t i = 0; i < (size_t)r->batch * (size_t)r->positions; i++)
        for (size_t h = 0; h < (size_t)r->heads; h++) {
            real *x = (real *)x_ + i * (size_t)r->stride + h * 2 * half;
            for (size_t d = 0; d < half; d++) {
                size_t at = i % (size_t)r->positions * half + d;
                double cosine = cosines[at], sine = r->inverse ? -sines[at] : sines[at];
                double low = x[d], high = x[d + half];
                x[d] = (real)(low * cosine - high * sine);
                x[d + half] = (real)(high * cosine + low * sine);
            }
        }
}

#include "model/kernels_ref_activation.h"

/* ln of the sum of exp(x), shifted by the maximum. */
static double log_sum_exp(const real *x, size_t n)
{
    double largest = x[0], sum = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > largest)
            largest = x[i];
    for (size_t i = 0; i < n; i++)
        sum += exp(x[i] - largest);
    return largest + log(sum);
}

static void cross_entropy(const void *logits, const int32_t *targets, int rows, int vocabulary, double *losses)
{
    for (size_t i = 0; i < (size_t)rows; i++) {
        const real *row = (const real *)logits + i * (size_t)vocabulary;
        losses[i] = targets[i] == TARGET_IGNORED ? 0 : log_sum_exp(row, (size_t)vocabulary) - row[targets[i]];
    }
}

static void cross_entropy_gradient(void *logits, const int32_t *targets, int rows, int vocabulary, double scale,
                                         double *losses)
{
    cross_entropy(logits, targets, rows, vocabulary, losses);
    for (size_t i = 0; i < (size_t)rows; i++) {
        real *row = (real *)logits + i * (size_t)vocabulary;
        double lse = log_sum_exp(row, (size_t)vocabulary);
        for (int v = 0; v < vocabulary; v++)
            row[v] = targets[i] == TARGET_IGNORED ? 0 : (real)(scale * (exp(row[v] - lse) - (v == targets[i])));
    }
}

#include "model/kernels_ref_attention.h"
#include "model/kernels_ref_tangent.h"
#include "model/kernels_ref_attention_tangent.h"
#include "model/kernels_ref_experts.h"

static size_t product_scratch(enum product_type type)
{
    (void)type;
    return 0;
}

static const struct kernel_ops ops = {
    .product = product,
    .product_scratch = product_scratch,
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

const struct kernels KERNELS_IN(kernels_ref, LAG_FORM) = {
    .name = sizeof(real) == sizeof(double) ? "ref double" : "ref",
    .element = sizeof(real),
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
