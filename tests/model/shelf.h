/* Cases that run one operation on a body: every form of the cpu body against the float reference, and the same bits
 * wherever the buffers lie. */
#ifndef TESTS_MODEL_SHELF_H
#define TESTS_MODEL_SHELF_H

#include "tests/model/numbers.h"

/* Buffers are carved from one block, each `skew` numbers off the 64-byte grid. */
struct shelf { float *numbers; size_t used, skew; };
enum { SHELF_NUMBERS = 1 << 18 };

static inline struct shelf shelf_new(size_t skew)
{
    struct shelf shelf = {.numbers = memory_array(SHELF_NUMBERS, sizeof(float)), .skew = skew};
    assert_non_null(shelf.numbers);
    return shelf;
}

static inline float *shelf_take(struct shelf *shelf, size_t n)
{
    float *taken = shelf->numbers + shelf->used + shelf->skew;
    shelf->used += (n + shelf->skew + 31) / 16 * 16;
    assert_true(shelf->used < SHELF_NUMBERS);
    return taken;
}

static inline float *shelf_normal(struct shelf *shelf, size_t n, uint64_t seed, float mean, float deviation)
{
    float *x = shelf_take(shelf, n);
    struct rng rng = rng_stream(seed, 1, RNG_PROBE);
    for (size_t i = 0; i < n; i++)
        x[i] = mean + deviation * (float)rng_normal(&rng);
    return x;
}

/* A case runs one operation with its backward on a fresh shelf and returns what it wrote, side by side. */
struct result { const float *parts[8]; size_t counts[8]; int count; };

static inline void result_add(struct result *result, const float *part, size_t count)
{
    result->parts[result->count] = part;
    result->counts[result->count++] = count;
}

typedef void run_case(const struct kernels *kernels, struct shelf *shelf, struct result *result);

static inline void check_bits(const struct result *a, const struct result *b)
{
    for (int i = 0; i < a->count; i++)
        assert_memory_equal(a->parts[i], b->parts[i], a->counts[i] * sizeof(float));
}

static inline void check_case(run_case *run, double bound)
{
    struct shelf expected_shelf = shelf_new(0);
    struct result expected = {.count = 0};
    run(kernels_ref_float(), &expected_shelf, &expected);
    for (const struct kernels *const *form = cpu_forms(); *form != NULL; form++) {
        struct shelf aligned_shelf = shelf_new(0);
        struct result aligned = {.count = 0};
        run(*form, &aligned_shelf, &aligned);
        for (int i = 0; i < aligned.count; i++)
            assert_close(relative_difference(aligned.parts[i], expected.parts[i], aligned.counts[i]), bound);
        for (size_t skew = 1; skew < 16; skew += 6) {
            struct shelf skewed_shelf = shelf_new(skew);
            struct result skewed = {.count = 0};
            run(*form, &skewed_shelf, &skewed);
            check_bits(&skewed, &aligned);
            memory_free(skewed_shelf.numbers);
        }
        memory_free(aligned_shelf.numbers);
    }
    memory_free(expected_shelf.numbers);
}

#endif
