/* The cpu body but its products, compiled once per instruction set (LAG_FORM). Sums of floats run over fixed lanes;
 * those over a vocabulary are widened to double every CROSS_ENTROPY_BLOCK numbers. */
#include "model/kernels_bodies.h"

#include <math.h>
#include <stdbool.h>

#include "base/memory.h"
#include "model/network.h"
#include "model/kernels_cpu_vector.h"
#include "model/kernels_cpu_rows.h"
#include "model/kernels_cpu_attention.h"

enum { CROSS_ENTROPY_BLOCK = 512 };

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
    doubles low = {0}, high = {0};
    EACH_VECTOR(i, left, n) {
        float lanes[LANES];
        vector_store(lanes, vector_load_part(x + i, left));
        doubles first = vector_widen(lanes), second = vector_widen(lanes + LANES / 2);
        low += first * first;
        high += second * second;
    }
    return vector_sum_doubles(low + high);
}

static void adamw(const struct adamw_step *step, void *w_, void *m_, void *v_, const void *g_, size_t n)
{
    float *w = w_, *m = m_, *v = v_;
    const float *g = g_;
    float keep = (float)(1 - step->rate * step->decay), scale = (float)step->gradient_scale;
    float beta1 = (float)step->beta1, rest1 = (float)(1 - step->beta1);
    float beta2 = (float)step->beta2, rest2 = (float)(1 - step->beta2);
    float size = (float)(step->rate / step->correction1), widen = (float)(1 / sqrt(step->correction2));
    float epsilon = (float)step->epsilon;
    EACH_VECTOR(i, left, n) {
        floats scaled = scale * vector_load_part(g + i, left);
        floats first = beta1 * vector_load_part(m + i, left) + rest1 * scaled;
        floats second = beta2 * vector_load_part(v + i, left) + rest2 * scaled * scaled;
        floats denominator = vector_sqrt(second) * widen + epsilon;
        vector_store_part(m + i, first, left);
        vector_store_part(v + i, second, left);
        vector_store_part(w + i, keep * vector_load_part(w + i, left) - size * first / denominator, left);
    }
}

/* Largest logit of a row. */
static float logits_largest(const float *row, size_t vocabulary)
{
    floats largest = vector_of(row[0]);
    EACH_VECTOR(v, left, vocabulary) {
        floats value = vector_load_part(row + v, left);
        if (left < LANES)
            value = vector_select(vector_first(left), value, largest);
        largest = vector_max(value, largest);
    }
    return vector_largest(largest);
}

/* Sum of exp(row - largest); the exponentials are stored in `keep` (row itself) unless it is NULL. */
static double logits_exp_sum(const float *row, float largest, size_t vocabulary, float *keep)
{
    double total = 0;
    for (size_t start = 0; start < vocabulary; start += CROSS_ENTROPY_BLOCK) {
        size_t count = vocabulary - start < CROSS_ENTROPY_BLOCK ? vocabulary - start : CROSS_ENTROPY_BLOCK;
        floats sum = {0};
        EACH_VECTOR(v, left, count) {
            floats value = vector_exp(vector_load_part(row + start + v, left) - largest);
            if (left < LANES)
                value = vector_select(vector_first(left), value, vector_of(0));
            sum += value;
            if (keep != NULL)
                vector_store_part(keep + start + v, value, left);
        }
        total += (double)vector_sum(sum);
    }
    return total;
}

static void cross_entropy(const void *logits, const int32_t *targets, int rows, int vocabulary, double *losses)
{
    for (int i = 0; i < rows; i++) {
        const float *row = (const float *)logits + (size_t)i * (size_t)vocabulary;
        losses[i] = 0;
        if (targets[i] == TARGET_IGNORED)
            continue;
        float largest = logits_largest(row, (size_t)vocabulary);
        double sum = logits_exp_sum(row, largest, (size_t)vocabulary, NULL);
        losses[i] = log(sum) + ((double)largest - (double)row[targets[i]]);
    }
}

static void cross_entropy_gradient(void *logits, const int32_t *targets, int rows, int vocabulary_, double scale,
                                   double *losses)
{
    size_t vocabulary = (size_t)vocabulary_;
    for (int i = 0; i < rows; i++) {
        float *row = (float *)logits + (size_t)i * vocabulary;
        if (targets[i] == TARGET_IGNORED) {
            losses[i] = 0;
            zero(row, vocabulary);
            continue;
        }
        float largest = logits_largest(row, vocabulary), target = row[targets[i]];
        double sum = logits_exp_sum(row, largest, vocabulary, row);
        losses[i] = log(sum) + ((double)largest - (double)target);
        float factor = (float)(scale / sum), probability = row[targets[i]];
        EACH_VECTOR(v, left, vocabulary)
            vector_store_part(row + v, vector_load_part(row + v, left) * factor, left);
        row[targets[i]] = (float)(scale * ((double)probability / sum - 1));
    }
}

static const struct kernel_ops ops = {
    .product = kernels_blas_product,
    .embed = embed,
    .embed_backward = embed_backward,
    .bias_add = bias_add,
    .bias_backward = bias_backward,
    .layer_norm = layer_norm,
    .layer_norm_backward = layer_norm_backward,
    .activate = activate,
    .activate_backward = activate_backward,
    .attention = attention,
    .attention_backward = attention_backward,
    .attention_scratch = attention_scratch,
    .cross_entropy = cross_entropy,
    .cross_entropy_gradient = cross_entropy_gradient,
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
    .adamw = adamw,
    .ops = &ops,
};
