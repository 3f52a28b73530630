/* ul2: the seven denoisers, as often as each other, on models with and without a decoder of their own; text that can be
 * rebuilt, prefix, padding, mode tokens and limits. */
#include "tests/trainer/objective_world.h"

#include <math.h>

#include "model/network.h"

enum { CONTEXT = 256 };

/* mean 0: one run. */
struct denoiser_case { const char *title; double mean, density; int mode, seen; };

#define DENOISERS {{"R 3 15", 3, 0.15, 0, 0}, {"R 8 15", 8, 0.15, 0, 0}, {"S", 0, 0.25, 1, 0}, \
                   {"X 3 50", 3, 0.5, 2, 0}, {"X 8 50", 8, 0.5, 2, 0}, {"X 64 15", 64, 0.15, 2, 0}, \
                   {"X 64 50", 64, 0.5, 2, 0}}

/* Which denoiser makes `spans` runs of `noise` in `raw` tokens? */
static struct denoiser_case *recognise(struct denoiser_case *cases, int raw, int noise, int spans)
{
    for (int i = 0; i < 7; i++) {
        double wanted = fmax(1, nearbyint(raw * cases[i].density));
        double runs = cases[i].mean > 0 ? fmax(1, nearbyint(wanted / cases[i].mean)) : 1;
        if (noise == (int)wanted && spans == (int)runs)
            return &cases[i];
    }
    fail_msg("no denoiser makes %d runs of %d tokens in %d", spans, noise, raw);
    return NULL;
}

/* chi square with 6 degrees of freedom: beyond 26 in 2 of 10,000 cases. */
static void check_frequencies(const struct denoiser_case *cases, int draws)
{
    double squares = 0;
    for (int i = 0; i < 7; i++) {
        print_message("  %s: %d of %d\n", cases[i].title, cases[i].seen, draws);
        squares += pow(cases[i].seen - draws / 7.0, 2) / (draws / 7.0);
    }
    assert_close(squares, 26);
}

/* Numbers [used, size) are `filler`, and the mask tells them from the others. */
static void check_padding(const int32_t *tokens, const unsigned char *mask, int used, int size, int filler)
{
    for (int i = 0; i < size; i++) {
        if (mask != NULL)
            assert_int_equal(mask[i], i < used);
        if (i >= used)
            assert_int_equal(tokens[i], filler);
    }
}

static int length_until(const int32_t *tokens, int size, int filler)
{
    while (size > 0 && tokens[size - 1] == filler)
        size--;
    return size;
}

/* ---- encoder-decoder ---- */

static void check_sides(const struct batch *batch, int row, bool modes, const int32_t *text,
                        struct denoiser_case *cases)
{
    const int32_t *input = batch->inputs + row * batch->context;
    const int32_t *target = batch->targets + row * batch->decoder_context;
    const int32_t *shifted = batch->decoder_inputs + row * batch->decoder_context;
    int inputs = length_until(input, batch->context, PAD), spans;
    int targets = length_until(target, batch->decoder_context, TARGET_IGNORED);
    assert_int_equal(input[inputs - 1], END);
    int raw = rebuilt(input + modes, inputs - 1 - modes, target, targets, text, &spans);
    struct denoiser_case *found = recognise(cases, raw, targets - 1 - spans, spans);
    found->seen++;
    assert_int_equal(raw, CONTEXT);
    if (modes)
        assert_int_equal(input[0], MODE_TOKEN_R + found->mode);
    check_padding(input, batch->mask + row * batch->context, inputs, batch->context, PAD);
    check_padding(target, NULL, targets, batch->decoder_context, TARGET_IGNORED);
    assert_int_equal(shifted[0], PAD);
    assert_memory_equal(shifted + 1, target, sizeof *target * (size_t)(targets - 1));
    check_padding(shifted, batch->decoder_mask + row * batch->decoder_context, targets, batch->decoder_context, PAD);
}

static void encoder_decoder_gets_sides_of_every_denoiser(void **state)
{
    enum { DRAWS = 3500 };
    (void)state;
    for (int modes = 0; modes < 2; modes++) {
        struct objective_spec spec = span_spec(OBJECTIVE_UL2, modes);
        struct shape shape = model_shape(FAMILY_T5, CONTEXT);
        struct denoiser_case cases[7] = DENOISERS;
        struct objective_parts parts;
        struct error error = {0};
        int32_t *text = text_new(CONTEXT, 4);
        int longest[2] = {0};
        assert_ok(objective_check(&spec, &shape, CONTEXT, &error), &error);
        assert_ok(objective_parts_make(&parts, &spec, &shape, 2, CONTEXT, &error), &error);
        for (int draw = 0; draw < DRAWS; draw++) {
            objective_fill_row(&parts, 1, CONTEXT, text, rng_stream(1, 0, RNG_MASK), (uint64_t)draw);
            struct batch batch = objective_batch(&parts, 2, CONTEXT);
            assert_true(batch.context <= CONTEXT && batch.decoder_context <= CONTEXT && batch.prefix == NULL);
            check_sides(&batch, 1, modes, text, cases);
            longest[0] |= batch.mask[2 * batch.context - 1];
            longest[1] |= batch.decoder_mask[2 * batch.decoder_context - 1];
        }
        assert_true(longest[0] && longest[1]);      /* no row is longer than it must be */
        check_frequencies(cases, DRAWS);
        objective_parts_free(&parts);
        memory_free(text);
    }
}

/* ---- decoder alone ---- */

static void check_joined(const struct batch *batch, int row, bool modes, const int32_t *text,
                         struct denoiser_case *cases)
{
    const int32_t *input = batch->inputs + row * batch->context, *target = batch->targets + row * batch->context;
    const unsigned char *mask = batch->mask + row * batch->context;
    int32_t joined[CONTEXT + 1];
    int prefix = batch->prefix[row], length = length_until(target, batch->context, TARGET_IGNORED), spans;
    memcpy(joined, input, sizeof *input * (size_t)length);
    joined[length] = target[length - 1];
    for (int t = 0; t < length; t++)
        assert_int_equal(target[t], t + 1 < prefix ? TARGET_IGNORED : joined[t + 1]);
    check_padding(input, mask, length, batch->context, END);
    int raw = rebuilt(joined + modes, prefix - modes, joined + prefix, length + 1 - prefix, text, &spans);
    struct denoiser_case *found = recognise(cases, raw, length - prefix - spans, spans);
    found->seen++;
    if (modes)
        assert_int_equal(input[0], MODE_TOKEN_R + found->mode);
    /* Left out is what would not fit, and no more: one token further needs at most four places. */
    assert_true(length <= CONTEXT && length > CONTEXT - 4);
}

static void decoder_alone_gets_a_prefix_and_its_target(void **state)
{
    enum { DRAWS = 3500 };
    (void)state;
    for (int modes = 0; modes < 2; modes++) {
        struct objective_spec spec = span_spec(OBJECTIVE_UL2, modes);
        struct shape shape = model_shape(FAMILY_GPT2, CONTEXT);
        struct denoiser_case cases[7] = DENOISERS;
        struct objective_parts parts;
        struct error error = {0};
        int32_t *text = text_new(CONTEXT, 4);
        spec.pad_token = TOKEN_NONE;
        assert_ok(objective_check(&spec, &shape, CONTEXT, &error), &error);
        assert_ok(objective_parts_make(&parts, &spec, &shape, 2, CONTEXT, &error), &error);
        for (int draw = 0; draw < DRAWS; draw++) {
            objective_fill_row(&parts, 1, CONTEXT, text, rng_stream(1, 0, RNG_MASK), (uint64_t)draw);
            struct batch batch = objective_batch(&parts, 2, CONTEXT);
            assert_int_equal(batch.context, CONTEXT);
            assert_true(batch.decoder_inputs == NULL && batch.decoder_context == 0);
            check_joined(&batch, 1, modes, text, cases);
        }
        check_frequencies(cases, DRAWS);
        objective_parts_free(&parts);
        memory_free(text);
    }
}

/* ---- small windows and limits ---- */

static void every_context_from_the_least_on_fits(void **state)
{
    (void)state;
    for (int family = FAMILY_GPT2; family <= FAMILY_T5; family += FAMILY_T5 - FAMILY_GPT2)
        for (int context = 5; context < 40; context++) {
            struct objective_spec spec = span_spec(OBJECTIVE_UL2, true);
            struct shape shape = model_shape((enum family)family, context);
            struct objective_parts parts;
            struct error error = {0};
            int32_t *text = text_new(context, 9);
            assert_ok(objective_check(&spec, &shape, context, &error), &error);
            assert_ok(objective_parts_make(&parts, &spec, &shape, 1, context, &error), &error);
            assert_true(parts.sizes.inputs <= context && parts.sizes.targets <= context);
            for (uint64_t draw = 0; draw < 50; draw++) {
                int predicted = 0;
                objective_fill_row(&parts, 0, context, text, rng_stream(1, 0, RNG_VALIDATION), draw);
                for (int i = 0; i < parts.sizes.targets; i++)
                    predicted += parts.targets[i] != TARGET_IGNORED;
                assert_true(predicted >= 3);        /* a sentinel, a token, the end */
            }
            objective_parts_free(&parts);
            memory_free(text);
        }
}

static void what_is_missing_is_named(void **state)
{
    (void)state;
    struct objective_spec spec = span_spec(OBJECTIVE_UL2, true), changed = spec;
    struct shape t5 = model_shape(FAMILY_T5, 512), llama = model_shape(FAMILY_GPT2, 512);
    struct shape bert = model_shape(FAMILY_BERT, 512);
    changed.mode_tokens[MODE_S] = TOKEN_NONE;
    refused(&changed, &t5, 256, "/mode_tokens/s");
    changed = spec;
    changed.pad_token = TOKEN_NONE;
    refused(&changed, &t5, 256, "/pad_token");
    changed = spec;
    changed.eos_token = TOKEN_NONE;
    refused(&changed, &llama, 256, "/eos_token");
    changed = spec;
    changed.sentinel_count = 42;       /* 128 tokens of noise in 43 runs */
    refused(&changed, &t5, 256, "/sentinel_count");
    refused(&spec, &llama, 4, "/objective");
    refused(&spec, &bert, 256, "/objective");
}

/* ---- the batches run ---- */

static void networks_count_what_the_objective_predicts(void **state)
{
    enum { ROWS = 3, SHORT = 48 };
    (void)state;
    for (int family = FAMILY_GPT2; family <= FAMILY_T5; family += FAMILY_T5 - FAMILY_GPT2) {
        struct objective_spec spec = span_spec(OBJECTIVE_UL2, true);
        struct shape shape = model_shape((enum family)family, SHORT);
        struct objective_parts parts;
        struct tensor_table table;
        struct network *network;
        struct error error = {0};
        double losses[ROWS];
        int counts[ROWS];
        int32_t *text = text_new(SHORT, 1);
        assert_ok(tensor_table_init(&table, &shape, &error), &error);
        assert_ok(network_new(&network, kernels_cpu(), &table, ROWS, SHORT, false, &error), &error);
        assert_ok(objective_parts_make(&parts, &spec, &shape, ROWS, SHORT, &error), &error);
        float *weights = memory_array(table.slab, sizeof *weights);        /* all 0: every token as likely */
        for (int row = 0; row < ROWS; row++)
            objective_fill_row(&parts, row, SHORT, text, rng_stream(1, 0, RNG_MASK), (uint64_t)row);
        struct batch batch = objective_batch(&parts, ROWS, SHORT);
        network_loss(network, weights, &batch, losses, counts);
        for (int row = 0; row < ROWS; row++) {
            int predicted = 0;
            for (int i = 0; i < parts.sizes.targets; i++)
                predicted += parts.targets[row * parts.sizes.targets + i] != TARGET_IGNORED;
            assert_int_equal(counts[row], predicted);
            assert_near(losses[row] / counts[row], log(VOCABULARY), 1e-5);
        }
        memory_free(weights);
        memory_free(text);
        objective_parts_free(&parts);
        network_free(network);
        tensor_table_fini(&table);
    }
}

TEST_MAIN(cmocka_unit_test(encoder_decoder_gets_sides_of_every_denoiser),
          cmocka_unit_test(decoder_alone_gets_a_prefix_and_its_target),
          cmocka_unit_test(every_context_from_the_least_on_fits), cmocka_unit_test(what_is_missing_is_named),
          cmocka_unit_test(networks_count_what_the_objective_predicts))
