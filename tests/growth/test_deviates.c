/* Normal draws from 16 bits: their distribution against the error function, their places in a stream, and the fast
 * filling of draws against one at a time. */
#include "tests/support/support.h"

#include <math.h>

#include "base/memory.h"
#include "growth/deviates.h"

static float *table_new(void)
{
    float *table = memory_array(DEVIATES_TABLE, sizeof *table);
    assert_non_null(table);
    deviates_table(table);
    return table;
}

static void every_value_is_its_quantile(void **state)
{
    float *table = table_new();
    double worst = 0, squares = 0;
    (void)state;
    for (int i = 0; i < DEVIATES_TABLE; i++)
        squares += (double)table[i] * (double)table[i];
    assert_near(squares / DEVIATES_TABLE, 1, 1e-7);
    for (int i = 0; i < DEVIATES_TABLE; i++) {
        double p = 0.5 + (i + 0.5) / (2.0 * DEVIATES_TABLE), upper = 0.5 * erfc((double)table[i] / sqrt(2));
        double density = exp(-(double)table[i] * (double)table[i] / 2) / sqrt(2 * acos(-1));
        worst = fmax(worst, fabs(upper - (1 - p)) / density);     /* distance from the quantile, to first order */
    }
    assert_close(worst, 3e-4);      /* the scale that makes the variance 1 moves the largest one most */
    memory_free(table);
}

static void a_piece_holds_what_the_whole_holds(void **state)
{
    enum { COUNT = 5000 };
    float *table = table_new(), whole[COUNT], piece[97];
    struct rng stream = rng_stream(4, 5, RNG_GROWTH);
    (void)state;
    deviates_fill(table, stream, 0, whole, COUNT);
    for (size_t first = 0; first + 97 < COUNT; first += 31) {
        deviates_fill(table, stream, first, piece, 97);
        assert_memory_equal(piece, whole + first, sizeof piece);
    }
    memory_free(table);
}

static void four_deviates_are_the_quarters_of_a_draw(void **state)
{
    float *table = table_new(), deviates[40];
    struct rng stream = rng_stream(9, 1, RNG_GROWTH), rng = stream;
    (void)state;
    deviates_fill(table, stream, 0, deviates, 40);
    for (int i = 0; i < 40; i += 4) {
        uint64_t draw = rng_u64(&rng);
        for (int part = 0; part < 4; part++) {
            uint64_t bits = draw >> 16 * part & 0xFFFF;
            float expected = bits < DEVIATES_TABLE ? table[bits] : -table[bits - DEVIATES_TABLE];
            assert_true(deviates[i + part] == expected);
        }
    }
    memory_free(table);
}

static void filled_draws_are_those_drawn_one_by_one(void **state)
{
    uint64_t draws[300];
    (void)state;
    for (uint64_t begin = 0; begin < 9; begin++)
        for (size_t count = 0; count < 300; count += 37) {
            struct rng one = rng_at(rng_stream(begin, count, RNG_GROWTH), (1ull << 33) - 40 + begin), many = one;
            rng_fill(&many, draws, count);
            for (size_t i = 0; i < count; i++)
                assert_true(draws[i] == rng_u64(&one));
            assert_int_equal(many.position, one.position);
        }
}

/* Published with the quantile function's algorithm: 0.975 and 0.9999. */
static void known_quantiles_are_met(void **state)
{
    float *table = table_new();
    (void)state;
    assert_near((double)table[(int)(0.475 * 2 * DEVIATES_TABLE)], 1.959963984540054, 3e-4);
    assert_near((double)table[(int)(0.4999 * 2 * DEVIATES_TABLE)], 3.719016485455709, 2e-2);
    memory_free(table);
}

TEST_MAIN(cmocka_unit_test(every_value_is_its_quantile), cmocka_unit_test(a_piece_holds_what_the_whole_holds),
          cmocka_unit_test(four_deviates_are_the_quarters_of_a_draw),
          cmocka_unit_test(filled_draws_are_those_drawn_one_by_one), cmocka_unit_test(known_quantiles_are_met))
