#include "tests/support/support.h"

#include <string.h>

#include "base/rng.h"
#include "trainer/corpus.h"

enum { TOKENS = 1000 };
static char directory[FILE_PATH_BYTES];
static struct corpus corpus;

/* Token i of the file: two bytes, so that neighbours tell their position. */
static int32_t token_at(uint64_t i)
{
    return (int32_t)(i * 7919 % 60000);
}

static int setup(void **state)
{
    (void)state;
    char path[FILE_PATH_BYTES];
    unsigned char bytes[2 * TOKENS];
    struct error error = {0};
    for (int i = 0; i < TOKENS; i++) {
        bytes[2 * i] = (unsigned char)token_at((uint64_t)i);
        bytes[2 * i + 1] = (unsigned char)(token_at((uint64_t)i) >> 8);
    }
    test_directory_make(directory);
    test_write_file(test_path(path, directory, "tokens.bin"), bytes, sizeof bytes);
    return corpus_open(&corpus, path, CORPUS_U16, 60000, 8, &error);
}

static int teardown(void **state)
{
    (void)state;
    corpus_close(&corpus);
    test_directory_remove(directory);
    return 0;
}

static void expect_row(const int32_t *inputs, const int32_t *targets, int context, uint64_t start)
{
    for (int t = 0; t < context; t++) {
        assert_int_equal(inputs[t], token_at((start + (uint64_t)t) % TOKENS));
        assert_int_equal(targets[t], token_at((start + (uint64_t)t + 1) % TOKENS));
    }
}

static void windows_are_spread_over_the_whole_corpus(void **state)
{
    (void)state;
    struct corpus sized = {.tokens = 1000};
    struct windows windows = windows_of(&sized, 10, 300);
    assert_int_equal(windows.possible, 99);
    assert_int_equal(windows.count, 30);
    for (int i = 0; i < windows.count; i++) {
        assert_int_equal(windows_position(&windows, i), i * 99 / 30 * 10);
        assert_true(windows_position(&windows, i) + 10 < 1000);
    }
    windows = windows_of(&sized, 10, 100000);
    assert_int_equal(windows.count, 99);
    for (int i = 0; i < 99; i++) {
        assert_int_equal(windows_position(&windows, i), 10 * i);
    }
    windows = windows_of(&sized, 10, 5);
    assert_int_equal(windows.count, 1);
    sized.tokens = 11;
    assert_int_equal(windows_of(&sized, 10, 100).count, 1);
    sized.tokens = 10;
    assert_int_equal(windows_of(&sized, 10, 100).count, 0);
    sized.tokens = 0;
    assert_int_equal(windows_of(&sized, 10, 100).count, 0);
}

static void positions_of_a_huge_corpus_do_not_overflow(void **state)
{
    (void)state;
    struct windows windows = {.possible = (UINT64_C(1) << 50) + 12345, .count = 1 << 30, .context = 8};
    const int index = (1 << 30) - 1;
    const unsigned __int128 product = (unsigned __int128)index * windows.possible;
    assert_true(windows_position(&windows, index) == (uint64_t)(product / (1u << 30)) * 8);
}

static void random_rows_equal_a_plain_loop_and_stay_inside(void **state)
{
    (void)state;
    const struct sampling sampling = {SAMPLER_RANDOM, 42, 3, 6, 8};
    int32_t tokens[9];
    struct error error = {0};
    for (uint64_t step = 0; step < 200; step++) {
        /* the stream is drawn one after the other: row r of step s is draw 6 s + r */
        struct rng rng = rng_stream(42, 3, RNG_DATA);
        rng.position = step * 6;
        for (int row = 0; row < 6; row++) {
            const uint64_t start = (uint64_t)(((unsigned __int128)rng_u64(&rng) * (TOKENS - 8)) >> 64);
            assert_true(start + 8 < TOKENS);
            assert_ok(sample_row(&sampling, &corpus, step, row, tokens, &error), &error);
            expect_row(tokens, tokens + 1, 8, start);
            assert_int_equal(sample_number(&sampling, step, row), step * 6 + (uint64_t)row);
        }
    }
}

static void random_starts_reach_both_ends(void **state)
{
    (void)state;
    struct corpus tiny = corpus;
    tiny.tokens = 12;   /* starts 0..3 for a context of 8 */
    const struct sampling sampling = {SAMPLER_RANDOM, 1, 0, 1, 8};
    int32_t tokens[9];
    int seen[4] = {0};
    struct error error = {0};
    for (uint64_t step = 0; step < 200; step++) {
        assert_ok(sample_row(&sampling, &tiny, step, 0, tokens, &error), &error);
        for (int start = 0; start < 4; start++) {
            seen[start] += tokens[0] == token_at((uint64_t)start);
        }
    }
    assert_int_equal(seen[0] + seen[1] + seen[2] + seen[3], 200);
    for (int start = 0; start < 4; start++) {
        assert_in_range(seen[start], 20, 90);
    }
}

static void sequential_rows_follow_each_other_modulo_the_length(void **state)
{
    (void)state;
    const struct sampling sampling = {SAMPLER_SEQUENTIAL, 1, 0, 3, 8};
    int32_t tokens[9];
    struct error error = {0};
    for (uint64_t step = 0; step < 100; step++) {
        for (int row = 0; row < 3; row++) {
            assert_ok(sample_row(&sampling, &corpus, step, row, tokens, &error), &error);
            expect_row(tokens, tokens + 1, 8, (step * 3 + (uint64_t)row) * 8);
        }
    }
    const uint64_t far = UINT64_C(1) << 61;   /* (far * 3) * 8 would overflow */
    assert_ok(sample_row(&sampling, &corpus, far, 0, tokens, &error), &error);
    expect_row(tokens, tokens + 1, 8, (uint64_t)((unsigned __int128)far * 24 % TOKENS));
}

static void a_corpus_without_a_whole_row_is_refused(void **state)
{
    (void)state;
    struct corpus tiny = corpus;
    tiny.tokens = 8;
    const struct sampling sampling = {SAMPLER_RANDOM, 1, 0, 1, 8};
    int32_t tokens[9];
    struct error error = {0};
    assert_fails(sample_row(&sampling, &tiny, 0, 0, tokens, &error), ERROR_INVALID, &error);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
TEST_MAIN(CASE(windows_are_spread_over_the_whole_corpus),
          CASE(positions_of_a_huge_corpus_do_not_overflow),
          CASE(random_rows_equal_a_plain_loop_and_stay_inside),
          CASE(random_starts_reach_both_ends),
          CASE(sequential_rows_follow_each_other_modulo_the_length),
          CASE(a_corpus_without_a_whole_row_is_refused))
