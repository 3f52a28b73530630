#include "bench/profile.h"

#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#include "model/kernels_ops.h"

/* X(code, name) */
#define ENTRIES(X)                                                                                                      \
    X(PRODUCT_FORWARD, "products, forward") X(PRODUCT_INPUT, "products, gradient of inputs")                             \
    X(PRODUCT_WEIGHT, "products, gradient of weights")                                                                  \
    X(ATTENTION, "attention") X(ATTENTION_BACKWARD, "attention, backward")                                              \
    X(ACTIVATE, "activation") X(ACTIVATE_BACKWARD, "activation, backward") X(GATE, "gate") X(GATE_BACKWARD, "gate, backward") \
    X(NORM, "norm") X(NORM_BACKWARD, "norm, backward") X(ROTATE, "rotation")                                            \
    X(BIAS, "bias") X(BIAS_BACKWARD, "bias, backward") X(EMBED, "embedding") X(EMBED_BACKWARD, "embedding, backward")    \
    X(ENTROPY, "cross-entropy") X(ROWS, "gather and scatter of rows") X(ZERO, "zero")                                    \
    X(SUM_SQUARES, "sum of squares") X(ADAMW, "AdamW") X(LERP, "average")                                            \
    X(SGD, "SGD") X(SCHEDULE_FREE, "schedule-free")
enum entry {
#define X(code, name) code,
    ENTRIES(X)
#undef X
    ENTRY_COUNT
};
static const char *const names[] = {
#define X(code, name) name,
    ENTRIES(X)
#undef X
};

static struct {
    const struct kernels *inner;
    struct kernels kernels;
    struct kernel_ops ops;
    struct { unsigned long long calls; double seconds; } rows[ENTRY_COUNT];
    struct product gradient;        /* the last one of a weight; k 0: its input's has come since */
} profile;

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Runs a statement under the row's stopwatch. */
#define TIMED(entry, statement)                          \
    do {                                                 \
        double begin = now();                            \
        statement;                                       \
        profile.rows[entry].seconds += now() - begin;    \
        profile.rows[entry].calls++;                     \
    } while (0)

/* ---- products: a function for each direction, so that callgrind tells them apart too */

static __attribute__((noinline)) void timed_product_forward(const struct product *p, const void *a, const void *b, void *c)
{
    TIMED(PRODUCT_FORWARD, profile.inner->ops->product(p, a, b, c));
}

static __attribute__((noinline)) void timed_product_input(const struct product *p, const void *a, const void *b, void *c)
{
    TIMED(PRODUCT_INPUT, profile.inner->ops->product(p, a, b, c));
}

static __attribute__((noinline)) void timed_product_weight(const struct product *p, const void *a, const void *b, void *c)
{
    TIMED(PRODUCT_WEIGHT, profile.inner->ops->product(p, a, b, c));
}

/* A weight's gradient sums over rows: a is transposed. The gradient of the input comes next (model/block.c), with as many
 * rows and the weight's sizes the other way round. */
static bool is_input_gradient(const struct product *product)
{
    const struct product *last = &profile.gradient;

    return last->k == product->m && ((last->m == product->n && last->n == product->k) ||
                                     (last->m == product->k && last->n == product->n));
}

static void timed_product(const struct product *product, const void *a, const void *b, void *c)
{
    if (product->transpose_a) {
        profile.gradient = *product;
        timed_product_weight(product, a, b, c);
        return;
    }
    bool input = is_input_gradient(product);
    profile.gradient = (struct product){0};
    if (input)
        timed_product_input(product, a, b, c);
    else
        timed_product_forward(product, a, b, c);
}

/* ---- the rest: the operation of that name */

#define FORWARD(entry, operation, parameters, arguments)                       \
    static void timed_##operation parameters                                   \
    {                                                                          \
        TIMED(entry, profile.inner->ops->operation arguments);                 \
    }

FORWARD(EMBED, embed, (const struct embedding *e, const int32_t *t, const void *table, const void *p, void *x),
        (e, t, table, p, x))
FORWARD(EMBED_BACKWARD, embed_backward, (const struct embedding *e, const int32_t *t, const void *d, void *table, void *p),
        (e, t, d, table, p))
FORWARD(BIAS, bias_add, (void *x, const void *bias, int rows, int width), (x, bias, rows, width))
FORWARD(BIAS_BACKWARD, bias_backward, (const void *d, void *bias, int rows, int width), (d, bias, rows, width))
FORWARD(NORM, layer_norm, (const struct norm *norm, const struct norm_forward *f), (norm, f))
FORWARD(NORM_BACKWARD, layer_norm_backward, (const struct norm *norm, const struct norm_backward *b), (norm, b))
FORWARD(ACTIVATE, activate, (enum activation f, void *x, const void *bias, void *out, int rows, int width),
        (f, x, bias, out, rows, width))
FORWARD(ACTIVATE_BACKWARD, activate_backward, (enum activation f, const void *x, void *d, int rows, int width),
        (f, x, d, rows, width))
FORWARD(GATE, gate, (enum activation f, const void *g, const void *up, void *out, int rows, int width, int stride),
        (f, g, up, out, rows, width, stride))
FORWARD(GATE_BACKWARD, gate_backward, (enum activation f, const void *g, const void *up, const void *d, void *d_g,
                                       void *d_up, int rows, int width, int stride),
        (f, g, up, d, d_g, d_up, rows, width, stride))
FORWARD(ROTATE, rotate, (const struct rotation *r, const void *cosines, const void *sines, void *x), (r, cosines, sines, x))
FORWARD(ATTENTION, attention, (const struct attention *a, const struct attention_forward *f), (a, f))
FORWARD(ATTENTION_BACKWARD, attention_backward, (const struct attention *a, const struct attention_backward *b), (a, b))
FORWARD(ENTROPY, cross_entropy, (const void *logits, const int32_t *t, int rows, int vocabulary, double *losses),
        (logits, t, rows, vocabulary, losses))
FORWARD(ENTROPY, cross_entropy_gradient, (void *logits, const int32_t *t, int rows, int vocabulary, double scale,
                                          double *losses),
        (logits, t, rows, vocabulary, scale, losses))

FORWARD(ROWS, rows_select, (void *x, const int32_t *rows, int count, int width), (x, rows, count, width))
FORWARD(ROWS, rows_restore, (void *x, const int32_t *rows, int count, int total, int width), (x, rows, count, total, width))

static void timed_zero(void *x, size_t n)
{
    TIMED(ZERO, profile.inner->zero(x, n));
}

static void timed_lerp(void *a, const void *b, double c, size_t n)
{
    TIMED(LERP, profile.inner->lerp(a, b, c, n));
}

static double timed_sum_squares(const void *x, size_t n)
{
    double sum;

    TIMED(SUM_SQUARES, sum = profile.inner->sum_squares(x, n));
    return sum;
}

static void timed_adamw(const struct adamw_step *step, void *w, void *m, void *v, const void *g, size_t n)
{
    TIMED(ADAMW, profile.inner->adamw(step, w, m, v, g, n));
}

static void timed_sgd(const struct sgd_step *step, void *w, void *b, const void *g, size_t n)
{
    TIMED(SGD, profile.inner->sgd(step, w, b, g, n));
}

static void timed_schedule_free(const struct schedule_free_step *step, void *x, void *z, void *v, const void *g, size_t n)
{
    TIMED(SCHEDULE_FREE, profile.inner->schedule_free(step, x, z, v, g, n));
}

/* ---- the body */

const struct kernels *profile_kernels(const struct kernels *kernels)
{
    profile.inner = kernels;
    profile.kernels = *kernels;
    profile.ops = *kernels->ops;
    profile.kernels.ops = &profile.ops;
    profile.kernels.zero = timed_zero;
    profile.kernels.lerp = timed_lerp;
    profile.kernels.sum_squares = timed_sum_squares;
    profile.kernels.adamw = timed_adamw;
    profile.kernels.sgd = timed_sgd;
    profile.kernels.schedule_free = timed_schedule_free;
#define X(operation) profile.ops.operation = timed_##operation;
    X(product) X(embed) X(embed_backward) X(bias_add) X(bias_backward) X(layer_norm) X(layer_norm_backward) X(activate)
    X(activate_backward) X(gate) X(gate_backward) X(rotate) X(attention) X(attention_backward) X(cross_entropy)
    X(cross_entropy_gradient) X(rows_select) X(rows_restore)
#undef X
    return &profile.kernels;
}

void profile_clear(void)
{
    for (int i = 0; i < ENTRY_COUNT; i++) {
        profile.rows[i].calls = 0;
        profile.rows[i].seconds = 0;
    }
}

void profile_print(const char *family, int layers, int width, int steps, double seconds)
{
    static const char line[] = "{\"profile\":\"%s-%dx%d\",\"operation\":\"%s\",\"calls\":%.0f,\"ms\":%.3f,\"share\":%.4f}\n";
    double rest = seconds;

    for (int i = 0; i < ENTRY_COUNT; i++) {
        if (profile.rows[i].calls == 0)
            continue;
        rest -= profile.rows[i].seconds;
        printf(line, family, layers, width, names[i], (double)profile.rows[i].calls / steps,
               profile.rows[i].seconds / steps * 1e3, profile.rows[i].seconds / seconds);
    }
    printf(line, family, layers, width, "between operations", 0.0, rest / steps * 1e3, rest / seconds);
}
