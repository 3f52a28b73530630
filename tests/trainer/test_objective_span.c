/* span_corruption: T5's counts, every way to part a window as likely, and nothing lost: the text can be rebuilt from
 * input and target. */
#include "tests/trainer/objective_world.h"

#include <math.h>

#include "trainer/objective_span.h"

/* T5's own numbers: 568 tokens become an input of 512 and a target of 114 (Raffel et al., 2020, footnote to section
 * 3.1.4); the others by its formulas. */
static void lengths_are_those_of_t5(void **state)
{
    static const struct { int context, inputs, targets; } rows[] = {
        {568, 512, 114}, {512, 462, 104}, {256, 232, 52}, {128, 116, 26}, {30, 28, 6}, {10, 10, 4},
    };
    (void)state;
    struct objective_spec spec = span_spec(OBJECTIVE_SPAN_CORRUPTION, false);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct shape shape = model_shape(FAMILY_T5, rows[i].context);
        struct objective_sizes sizes = objective_sizes_of(&spec, &shape, rows[i].context);
        assert_int_equal(sizes.inputs, rows[i].inputs);
        assert_int_equal(sizes.targets, rows[i].targets);
        assert_true(sizes.decoder && !sizes.prefix && !sizes.mask && !sizes.decoder_mask);
    }
}

static void text_can_be_rebuilt_from_input_and_target(void **state)
{
    static const int contexts[] = {3, 4, 7, 9, 10, 17, 64, 255, 512};
    (void)state;
    struct objective_spec spec = span_spec(OBJECTIVE_SPAN_CORRUPTION, false);
    for (size_t i = 0; i < sizeof contexts / sizeof contexts[0]; i++) {
        const int context = contexts[i];
        struct shape shape = model_shape(FAMILY_T5, context);
        struct objective_parts parts;
        struct error error = {0};
        assert_ok(objective_check(&spec, &shape, context, &error), &error);
        assert_ok(objective_parts_make(&parts, &spec, &shape, 4, context, &error), &error);
        for (int row = 0; row < 4; row++) {
            int32_t *text = text_new(context, (uint64_t)row);
            objective_fill_row(&parts, row, context, text, rng_stream(1, 0, RNG_MASK), 77 + (uint64_t)row);
            struct batch batch = objective_batch(&parts, 4, context);
            const int32_t *input = batch.inputs + row * batch.context;
            const int32_t *target = batch.targets + row * batch.decoder_context;
            const int32_t *shifted = batch.decoder_inputs + row * batch.decoder_context;
            int spans, noise = (int)fmax(1, nearbyint(context * 0.15));
            assert_true(batch.context <= context && batch.decoder_context <= context);
            assert_int_equal(input[batch.context - 1], END);
            int length = rebuilt(input, batch.context - 1, target, batch.decoder_context, text, &spans);
            /* Rows of under ten have no room for sentinel and end: the last token is left out. */
            assert_int_equal(length, context < 10 ? context - 1 : context);
            assert_int_equal(batch.decoder_context, noise + spans + 1);
            assert_int_equal(shifted[0], PAD);
            assert_memory_equal(shifted + 1, target, sizeof *target * (size_t)(batch.decoder_context - 1));
            memory_free(text);
        }
        objective_parts_free(&parts);
    }
}

/* ---- the draw ---- */

/* 4 tokens of noise and 4 of text in 2 runs each: 3 ways each, 9 together, each as often. */
static void every_way_to_part_a_window_is_as_likely(void **state)
{
    enum { DRAWS = 9000 };
    (void)state;
    struct objective_spec spec = span_spec(OBJECTIVE_SPAN_CORRUPTION, false);
    const struct span_counts counts = {.raw = 8, .noise = 4, .spans = 2};
    int32_t text[9] = {10, 11, 12, 13, 14, 15, 16, 17, 18}, work[36], input[6], target[7];
    int seen[16] = {0}, ways = 0;
    double squares = 0;
    for (int draw = 0; draw < DRAWS; draw++) {
        struct objective_window window = {
            .spec = &spec, .tokens = text, .work = work,
            .rng = rng_at(rng_stream(5, 0, RNG_MASK), (uint64_t)draw * OBJECTIVE_DRAWS * 9),
        };
        span_write(&window, &counts, input, target);
        assert_true(input[0] < TEXT);            /* text comes first */
        int first_text = 1, first_noise = 1;
        while (input[first_text] < TEXT)
            first_text++;
        while (target[first_noise + 1] < TEXT)
            first_noise++;
        seen[4 * first_text + first_noise - 5]++;
    }
    for (int i = 0; i < 16; i++) {
        ways += seen[i] > 0;
        squares += seen[i] > 0 ? pow(seen[i] - 1000, 2) / 1000 : 0;
    }
    assert_int_equal(ways, 9);
    assert_close(squares, 30);     /* chi square, 8 degrees of freedom: beyond 30 in 2 of 10,000 cases */
}

/* Over many windows of 256: 38 of them noise in 13 runs, in every part of the window alike. */
static void noise_is_spread_over_the_window(void **state)
{
    enum { CONTEXT = 256, DRAWS = 2000 };
    (void)state;
    struct objective_spec spec = span_spec(OBJECTIVE_SPAN_CORRUPTION, false);
    const struct span_counts counts = {.raw = CONTEXT, .noise = 38, .spans = 13};
    int32_t text[CONTEXT + 1], work[4 * (CONTEXT + 1)], input[CONTEXT], target[CONTEXT];
    double noisy[4] = {0};
    for (int i = 0; i <= CONTEXT; i++)
        text[i] = i % TEXT;
    for (int draw = 0; draw < DRAWS; draw++) {
        struct objective_window window = {
            .spec = &spec, .tokens = text, .work = work,
            .rng = rng_at(rng_stream(6, 0, RNG_MASK), (uint64_t)draw * OBJECTIVE_DRAWS * (CONTEXT + 1)),
        };
        span_write(&window, &counts, input, target);
        for (int i = 0; i < 38 + 13; i++)
            if (target[i] < TEXT)
                noisy[target[i] / 64]++;
        assert_int_equal(target[51], END);
    }
    /* Text comes first and noise last, so the ends are a little apart from 38 / 256. */
    for (int quarter = 0; quarter < 4; quarter++)
        assert_near(noisy[quarter] / (64.0 * DRAWS), 38.0 / 256, quarter == 0 || quarter == 3 ? 0.04 : 0.012);
    assert_true(noisy[0] < noisy[3]);
}

/* ---- streams ---- */

static void equal_numbers_give_equal_rows_whatever_row_they_are(void **state)
{
    enum { CONTEXT = 64 };
    (void)state;
    struct objective_spec spec = span_spec(OBJECTIVE_SPAN_CORRUPTION, false);
    struct shape shape = model_shape(FAMILY_T5, CONTEXT);
    struct objective_parts parts;
    struct error error = {0};
    int32_t *text = text_new(CONTEXT, 3);
    assert_ok(objective_parts_make(&parts, &spec, &shape, 3, CONTEXT, &error), &error);
    objective_fill_row(&parts, 0, CONTEXT, text, rng_stream(1, 0, RNG_MASK), 5);
    objective_fill_row(&parts, 1, CONTEXT, text, rng_stream(1, 0, RNG_MASK), 6);
    objective_fill_row(&parts, 2, CONTEXT, text, rng_stream(1, 0, RNG_MASK), 5);
    size_t inputs = (size_t)parts.sizes.inputs, targets = (size_t)parts.sizes.targets;
    assert_memory_equal(parts.inputs, parts.inputs + 2 * inputs, inputs * sizeof(int32_t));
    assert_memory_equal(parts.targets, parts.targets + 2 * targets, targets * sizeof(int32_t));
    assert_memory_not_equal(parts.targets, parts.targets + targets, targets * sizeof(int32_t));
    objective_fill_row(&parts, 1, CONTEXT, text, rng_stream(2, 0, RNG_MASK), 5);
    assert_memory_not_equal(parts.targets, parts.targets + targets, targets * sizeof(int32_t));
    objective_parts_free(&parts);
    memory_free(text);
}

/* ---- limits ---- */

static void what_is_missing_is_named(void **state)
{
    (void)state;
    struct objective_spec spec = span_spec(OBJECTIVE_SPAN_CORRUPTION, false), changed = spec;
    struct shape shape = model_shape(FAMILY_T5, 1024), other = model_shape(FAMILY_GPT2, 1024);
    changed.eos_token = TOKEN_NONE;
    refused(&changed, &shape, 512, "/eos_token");
    changed = spec;
    changed.pad_token = TOKEN_NONE;
    refused(&changed, &shape, 512, "/pad_token");
    changed = spec;
    changed.sentinel_first = TOKEN_NONE;
    changed.sentinel_count = 0;
    refused(&changed, &shape, 512, "/sentinel_first");
    changed = spec;
    changed.sentinel_count = 25;      /* a window of 512 has 26 runs */
    refused(&changed, &shape, 512, "/sentinel_count");
    refused(&spec, &shape, 2, "/objective");
    refused(&spec, &other, 512, "/objective");
    changed.sentinel_count = 26;
    struct error error = {0};
    assert_ok(objective_check(&changed, &shape, 512, &error), &error);
}

TEST_MAIN(cmocka_unit_test(lengths_are_those_of_t5), cmocka_unit_test(text_can_be_rebuilt_from_input_and_target),
          cmocka_unit_test(every_way_to_part_a_window_is_as_likely), cmocka_unit_test(noise_is_spread_over_the_window),
          cmocka_unit_test(equal_numbers_give_equal_rows_whatever_row_they_are),
          cmocka_unit_test(what_is_missing_is_named))
