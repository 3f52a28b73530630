#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "tests/support/support.h"

/* The known-answer vectors of philox4x32-10 that its authors publish with Random123 (file kat_vectors). */
static void philox_gives_the_published_answers(void **state)
{
    (void)state;
    static const struct { uint32_t counter[4], key[2], block[4]; } rows[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint32_t block[4];
        rng_philox(rows[i].counter, rows[i].key, block);
        assert_memory_equal(block, rows[i].block, sizeof block);
    }
}

/* Saved studies depend on these: a change of the numbers is a change of the file format. Derived by hand from
 * rng_philox: the key is the block of (index, purpose) under the seed, draw d is half d % 2 of block d / 2. */
static void a_stream_is_philox_under_a_derived_key(void **state)
{
    (void)state;
    const uint32_t counter[4] = {0x89abcdef, 0x01234567, RNG_GROWTH, 0}, seed[2] = {0x9abcdef0, 0x12345678};
    uint32_t derived[4], block[4];
    rng_philox(counter, seed, derived);
    struct rng rng = rng_stream(0x123456789abcdef0u, 0x0123456789abcdefu, RNG_GROWTH);
    for (uint32_t b = 0; b < 3; b++) {
        const uint32_t position[4] = {b, 0, derived[2], derived[3]};
        rng_philox(position, derived, block);
        assert_true(rng_u64(&rng) == (block[0] | (uint64_t)block[1] << 32));
        assert_true(rng_u64(&rng) == (block[2] | (uint64_t)block[3] << 32));
    }
}

static void a_draw_depends_on_its_position_only(void **state)
{
    (void)state;
    struct rng stream = rng_stream(7, 3, RNG_DATA), walk = stream;
    for (uint64_t i = 0; i < 100; i++) {
        struct rng jump = rng_at(stream, i);
        assert_true(walk.position == i);
        assert_true(rng_u64(&walk) == rng_u64(&jump));
    }
    const uint64_t far[] = {UINT64_C(1) << 33, UINT64_C(1) << 40, UINT64_MAX - 1};
    for (size_t i = 0; i < 3; i++) {
        struct rng a = rng_at(stream, far[i]), b = rng_at(stream, far[i] - 1);
        rng_u64(&b);
        assert_true(rng_u64(&a) == rng_u64(&b));
    }
}

static void each_kind_of_draw_moves_as_far_as_it_says(void **state)
{
    (void)state;
    struct rng rng = rng_stream(1, 0, RNG_INIT);
    rng_u64(&rng);
    assert_int_equal(rng.position, 1);
    rng_normal(&rng);
    assert_int_equal(rng.position, 3);
    rng_uniform(&rng);
    assert_int_equal(rng.position, 4);
    rng_normal(&rng);
    assert_int_equal(rng.position, 6);
    rng_below(&rng, 10);
    assert_int_equal(rng.position, 7);
}

static void seeds_indexes_and_purposes_do_not_share_draws(void **state)
{
    (void)state;
    enum { STREAMS = 3 * 3 * 7, DRAWS = 16 };
    static uint64_t draws[STREAMS * DRAWS];
    size_t count = 0;
    for (uint64_t seed = 0; seed < 3; seed++)
        for (uint64_t index = 0; index < 3; index++)
            for (int purpose = RNG_DATA; purpose <= RNG_INIT; purpose++) {
                struct rng rng = rng_stream(seed, index, (enum rng_purpose)purpose);
                for (int i = 0; i < DRAWS; i++)
                    draws[count++] = rng_u64(&rng);
            }
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++)
            assert_true(draws[i] != draws[j]);
}

/* Pearson's chi-squared over 256 cells has mean 255 and variance 510; six standard deviations around it. */
static void uniform_fills_its_cells_evenly(void **state)
{
    (void)state;
    enum { CELLS = 256, DRAWS = CELLS * 1000 };
    for (uint64_t seed = 1; seed <= 3; seed++) {
        int counts[CELLS] = {0};
        double sum = 0, chi_squared = 0;
        struct rng rng = rng_stream(seed, 0, RNG_PROBE);
        for (int i = 0; i < DRAWS; i++) {
            double u = rng_uniform(&rng);
            assert_true(u >= 0 && u < 1);
            counts[(int)(u * CELLS)]++;
            sum += u;
        }
        for (int i = 0; i < CELLS; i++)
            chi_squared += (counts[i] - 1000.0) * (counts[i] - 1000.0) / 1000.0;
        assert_near(chi_squared, CELLS - 1.0, 6 * sqrt(2.0 * (CELLS - 1)));
        assert_near(sum / DRAWS, 0.5, 5 / sqrt(12.0 * DRAWS));
    }
}

static void below_reaches_every_value_and_no_other(void **state)
{
    (void)state;
    struct rng rng = rng_stream(5, 5, RNG_BOOTSTRAP);
    const uint64_t bounds[] = {1, 2, 3, 7, 100, 1000};
    for (size_t b = 0; b < sizeof bounds / sizeof *bounds; b++) {
        int counts[1000] = {0};
        double expected = 2000;
        for (uint64_t i = 0; i < bounds[b] * 2000; i++) {
            uint64_t value = rng_below(&rng, bounds[b]);
            assert_true(value < bounds[b]);
            counts[value]++;
        }
        for (uint64_t i = 0; i < bounds[b]; i++)
            assert_true(fabs(counts[i] - expected) < 6 * sqrt(expected));
    }
    for (int i = 0; i < 100; i++)
        assert_true(rng_below(&rng, UINT64_MAX) < UINT64_MAX);
}

/* Moments of N(0, 1): 0, 1, 0, 3, with standard errors 1, sqrt 2, sqrt 15, sqrt 96 over sqrt n. */
static void normal_has_the_moments_of_the_normal_distribution(void **state)
{
    (void)state;
    enum { DRAWS = 400000 };
    double moments[4] = {0};
    int beyond_two = 0;
    struct rng rng = rng_stream(11, 2, RNG_GROWTH);
    for (int i = 0; i < DRAWS; i++) {
        double z = rng_normal(&rng), power = z;
        assert_true(isfinite(z));
        for (int m = 0; m < 4; m++, power *= z)
            moments[m] += power / DRAWS;
        beyond_two += fabs(z) > 2;
    }
    double unit = 5 / sqrt(DRAWS);
    assert_near(moments[0], 0, unit);
    assert_near(moments[1], 1, unit * sqrt(2));
    assert_near(moments[2], 0, unit * sqrt(15));
    assert_near(moments[3], 3, unit * sqrt(96));
    assert_near((double)beyond_two / DRAWS, erfc(sqrt(2)), unit * 0.21);
}

/* An even position takes one block for both halves, an odd one two: the numbers must agree. */
static void normal_is_the_same_from_odd_and_even_positions(void **state)
{
    (void)state;
    struct rng stream = rng_stream(1, 1, RNG_INIT);
    for (uint64_t position = 0; position < 50; position++) {
        struct rng parts = rng_at(stream, position), whole = parts;
        double u = rng_uniform(&parts), v = rng_uniform(&parts);
        double expected = sqrt(-2 * log(1 - u)) * cos(2 * acos(-1.0) * v);
        assert_true(fabs(rng_normal(&whole) - expected) <= 1e-12);
    }
}

TEST_MAIN(cmocka_unit_test(philox_gives_the_published_answers),
          cmocka_unit_test(a_stream_is_philox_under_a_derived_key),
          cmocka_unit_test(a_draw_depends_on_its_position_only),
          cmocka_unit_test(each_kind_of_draw_moves_as_far_as_it_says),
          cmocka_unit_test(seeds_indexes_and_purposes_do_not_share_draws),
          cmocka_unit_test(uniform_fills_its_cells_evenly), cmocka_unit_test(below_reaches_every_value_and_no_other),
          cmocka_unit_test(normal_has_the_moments_of_the_normal_distribution),
          cmocka_unit_test(normal_is_the_same_from_odd_and_even_positions))
