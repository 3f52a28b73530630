/* Random numbers, scratch buffers and central differences for the tests of kernels and networks. */
#ifndef TESTS_MODEL_NUMBERS_H
#define TESTS_MODEL_NUMBERS_H

#include "tests/support/support.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "model/kernels_bodies.h"

static inline void fill_normal(double *x, size_t n, uint64_t seed, double mean, double deviation)
{
    struct rng rng = rng_stream(seed, 0, RNG_PROBE);
    for (size_t i = 0; i < n; i++)
        x[i] = mean + deviation * rng_normal(&rng);
}

static inline double *doubles_new(size_t n, uint64_t seed)
{
    double *x = memory_array(n, sizeof *x);
    assert_non_null(x);
    fill_normal(x, n, seed, 0, 1);
    return x;
}

/* Normal floats; `from` numbers into a fresh block so that the start may be unaligned. */
static inline float *floats_new(size_t n, uint64_t seed)
{
    float *x = memory_array(n, sizeof *x);
    struct rng rng = rng_stream(seed, 0, RNG_PROBE);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)rng_normal(&rng);
    return x;
}

static inline double dot_doubles(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Largest |d value / d x[i] - gradient[i]|, relative to the largest gradient (at least 1), by central differences of
 * every x[i]. */
static inline double difference_residual(double (*value)(void *context), void *context, double *x,
                                         const double *gradient, size_t n)
{
    double worst = 0, largest = 1;
    for (size_t i = 0; i < n; i++) {
        double kept = x[i], step = 1e-5 * (1 + fabs(kept));
        x[i] = kept + step;
        double above = value(context);
        x[i] = kept - step;
        double below = value(context);
        x[i] = kept;
        double residual = fabs((above - below) / (2 * step) - gradient[i]);
        worst = residual <= worst ? worst : residual;
        largest = fmax(largest, fabs(gradient[i]));
    }
    return worst / largest;
}

/* Largest |a - b| relative to the largest |b|. */
static inline double relative_difference(const float *a, const float *b, size_t n)
{
    double largest = 1e-30;
    for (size_t i = 0; i < n; i++)
        largest = fmax(largest, fabs((double)b[i]));
    return largest_difference(a, b, n) / largest;
}

/* The forms of the cpu body that this processor runs; NULL-ended. */
static inline const struct kernels *const *cpu_forms(void)
{
    static const char *const names[] = {"portable", "avx2", "avx512"};
    static const struct kernels *forms[4];
    int count = 0;
    memset(forms, 0, sizeof forms);
    for (int i = 0; i < 3; i++) {
#if !defined(__x86_64__)
        if (i > 0)
            continue;
#endif
        const struct kernels *kernels = kernels_cpu_form(names[i]);
        if (kernels == NULL)
            print_message("    skipped: this processor lacks %s\n", names[i]);
        else
            forms[count++] = kernels;
    }
    return forms;
}

#endif
