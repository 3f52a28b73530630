/* Part of the cpu body: operations on rows of numbers. See kernels_cpu.c. */

/* for each vector of a row: `c` is its first number, `left` how many of it exist */
#define EACH_VECTOR(c, left, width) \
    for (size_t c = 0, left = (width); c < (width); c += LANES, left -= left < LANES ? left : LANES)

static inline void add_into(float *to, const float *from, size_t width)
{
    EACH_VECTOR(c, left, width)
        vector_store_part(to + c, vector_load_part(to + c, left) + vector_load_part(from + c, left), left);
}

static void embed(const struct embedding *e, const int32_t *tokens, const void *table, const void *positions, void *x)
{
    size_t width = (size_t)e->width, context = (size_t)e->context, rows = (size_t)e->rows * context;
    for (size_t i = 0; i < rows; i++) {
        const float *token = (const float *)table + (size_t)tokens[i] * width;
        float *out = (float *)x + i * width;
        memcpy(out, token, width * sizeof(float));
        if (positions != NULL)
            add_into(out, (const float *)positions + i % context * width, width);
    }
}

static void embed_backward(const struct embedding *e, const int32_t *tokens, const void *d_x, void *d_table,
                           void *d_positions)
{
    size_t width = (size_t)e->width, context = (size_t)e->context, rows = (size_t)e->rows * context;
    for (size_t i = 0; i < rows; i++) {
        const float *d = (const float *)d_x + i * width;
        add_into((float *)d_table + (size_t)tokens[i] * width, d, width);
        if (d_positions != NULL)
            add_into((float *)d_positions + i % context * width, d, width);
    }
}

static void rows_select(void *x, const int32_t *rows, int count, int width)
{
    kernels_host_select(x, rows, count, (size_t)width * sizeof(float));
}

static void rows_restore(void *x, const int32_t *rows, int count, int total, int width)
{
    kernels_host_restore(x, rows, count, total, (size_t)width * sizeof(float));
}

static void bias_add(void *x, const void *bias, int rows, int width)
{
    float *row = x;
    for (size_t i = 0; i < (size_t)rows; i++, row += width) {
        for (size_t c = 0; c < (size_t)width; c += LANES)
            vector_expect(row + c + STREAM_AHEAD);
        add_into(row, bias, (size_t)width);
    }
}

static void blend(double a_, const void *x_, double b_, void *y_, size_t n)
{
    const float *x = x_;
    float *y = y_, a = (float)a_, b = (float)b_;
    EACH_VECTOR(i, left, n) {
        floats value = a * vector_load_part(x + i, left);
        vector_store_part(y + i, b_ != 0 ? value + b * vector_load_part(y + i, left) : value, left);
    }
}

static void scale_columns(void *x, const void *shares, int rows, int width)
{
    for (size_t i = 0; i < (size_t)rows; i++) {
        float *row = (float *)x + i * (size_t)width;
        EACH_VECTOR(c, left, (size_t)width)
            vector_store_part(row + c, vector_load_part(row + c, left) * vector_load_part((const float *)shares + c, left), left);
    }
}

typedef float real;
#include "model/kernels_masked_norm.h"

/* to (C) += the sum of `rows` rows of x (rows, C). */
static inline void rows_add_into(const float *x, float *to, const int rows, size_t width)
{
    EACH_VECTOR(c, left, width) {
        floats sum = vector_load_part(to + c, left);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            vector_expect(x + (size_t)(i + rows) * width + c);
            sum += vector_load_part(x + (size_t)i * width + c, left);
        }
        vector_store_part(to + c, sum, left);
    }
}

/* Rows are read as they lie, several at once. */
static void bias_backward(const void *d_x, void *d_bias, int rows, int width)
{
    enum { AT_ONCE = 8 };
    const float *x = d_x;
    for (; rows >= AT_ONCE; rows -= AT_ONCE, x += AT_ONCE * (size_t)width)
        rows_add_into(x, d_bias, AT_ONCE, (size_t)width);
    for (; rows > 0; rows--, x += width)
        rows_add_into(x, d_bias, 1, (size_t)width);
}

/* sum = x + branch + bias for one row, returning the mean of sum. Two sums at a time: one would wait for itself. */
static inline float norm_sum_row(const float *x, const float *branch, const float *bias, float *sum, size_t width)
{
    floats total = {0}, other = {0};
    EACH_VECTOR(c, left, width) {
        vector_expect(x + c + STREAM_AHEAD);
        floats value = vector_load_part(x + c, left);
        if (branch != NULL) {
            vector_expect(branch + c + STREAM_AHEAD);
            vector_expect(sum + c + STREAM_AHEAD);
            value += vector_load_part(branch + c, left);
            if (bias != NULL)
                value += vector_load_part(bias + c, left);
            vector_store_part(sum + c, value, left);
        }
        floats next = other + value;
        other = total;
        total = next;
    }
    return vector_sum(total + other) / (float)width;
}

/* Sum of (x - mean)^2 over a row. */
static inline float norm_squares_row(const float *x, float mean, size_t width)
{
    floats squares = {0}, other = {0};
    EACH_VECTOR(c, left, width) {
        floats away = vector_load_part(x + c, left) - mean;
        if (left < LANES)
            away = vector_select(vector_first(left), away, vector_of(0));
        floats next = other + away * away;
        other = squares;
        squares = next;
    }
    return vector_sum(squares + other);
}

static void layer_norm(const struct norm *norm, const struct norm_forward *f)
{
    if (norm->shares != NULL) {
        masked_norm(norm, f);
        return;
    }
    size_t width = (size_t)norm->width;
    const float *gain = f->gain, *bias = f->bias;
    for (size_t i = 0; i < (size_t)norm->rows; i++) {
        const float *x = (const float *)f->x + i * width;
        const float *branch = f->branch != NULL ? (const float *)f->branch + i * width : NULL;
        float *sum = branch != NULL ? (float *)f->sum + i * width : NULL, *out = (float *)f->out + i * width;
        float mean = norm_sum_row(x, branch, f->branch_bias, sum, width);
        if (norm->rms)
            mean = 0;
        const float *from = branch != NULL ? sum : x;
        float rstd = 1.0f / sqrtf(norm_squares_row(from, mean, width) / (float)width + (float)norm->epsilon);
        EACH_VECTOR(c, left, width) {
            vector_expect(out + c + STREAM_AHEAD);
            floats n = (vector_load_part(from + c, left) - mean) * rstd;
            floats b = bias != NULL ? vector_load_part(bias + c, left) : vector_of(0);
            vector_store_part(out + c, n * vector_load_part(gain + c, left) + b, left);
        }
        ((float *)f->statistics)[2 * i] = mean;
        ((float *)f->statistics)[2 * i + 1] = rstd;
    }
}

/* to += what */
static inline void vector_add_part(float *to, floats what, size_t left)
{
    vector_store_part(to, vector_load_part(to, left) + what, left);
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
    const float *gain = b->gain;
    float *d_gain = b->d_gain, *d_bias = b->d_bias;
    for (size_t i = 0; i < (size_t)norm->rows; i++) {
        const float *sum = (const float *)b->sum + i * width, *d_out = (const float *)b->d_out + i * width;
        float *d_sum = (float *)b->d_sum + i * width;
        float mean = ((const float *)b->statistics)[2 * i], rstd = ((const float *)b->statistics)[2 * i + 1];
        floats sum_d = {0}, sum_dn = {0};
        EACH_VECTOR(c, left, width) {
            vector_expect(sum + c + STREAM_AHEAD);
            vector_expect(d_out + c + STREAM_AHEAD);
            vector_expect(d_sum + c + STREAM_AHEAD);
            floats up = vector_load_part(d_out + c, left), d = up * vector_load_part(gain + c, left);
            floats n = (vector_load_part(sum + c, left) - mean) * rstd;
            sum_d += d;
            sum_dn += d * n;    /* lanes beyond the row: d is 0 */
            vector_add_part(d_gain + c, up * n, left);
            if (d_bias != NULL)
                vector_add_part(d_bias + c, up, left);
        }
        float mean_d = norm->rms ? 0 : vector_sum(sum_d) / (float)width, mean_dn = vector_sum(sum_dn) / (float)width;
        EACH_VECTOR(c, left, width) {
            floats d = vector_load_part(d_out + c, left) * vector_load_part(gain + c, left);
            floats n = (vector_load_part(sum + c, left) - mean) * rstd;
            vector_add_part(d_sum + c, rstd * (d - mean_d - n * mean_dn), left);
        }
    }
}

static void rotate(const struct rotation *r, const void *cosines, const void *sines, void *x)
{
    size_t half = (size_t)r->head_size / 2, positions = (size_t)r->positions;
    float sign = r->inverse ? -1.0f : 1.0f;
    for (size_t i = 0; i < (size_t)r->batch * positions; i++) {
        const float *cosine = (const float *)cosines + i % positions * half;
        const float *sine = (const float *)sines + i % positions * half;
        for (size_t h = 0; h < (size_t)r->heads; h++) {
            float *low = (float *)x + i * (size_t)r->stride + h * 2 * half, *high = low + half;
            EACH_VECTOR(d, left, half) {
                vector_expect(low + d + STREAM_AHEAD);
                vector_expect(high + d + STREAM_AHEAD);
                floats a = vector_load_part(low + d, left), b = vector_load_part(high + d, left);
                floats c = vector_load_part(cosine + d, left), s = sign * vector_load_part(sine + d, left);
                vector_store_part(low + d, a * c - b * s, left);
                vector_store_part(high + d, b * c + a * s, left);
            }
        }
    }
}
